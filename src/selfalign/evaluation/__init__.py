"""Room: is a model better, and how sure are we."""
