"""What every part of a report is: frozen, strict, and the same in `report.json` as in memory."""

from pydantic import BaseModel, ConfigDict


class Part(BaseModel):
    """Base of what a report is made of."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)
