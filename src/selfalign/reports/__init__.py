"""Floor 4: what people read. Reads records, calls no model."""
