"""Ranges that settings name beside their type, so that a value out of them is refused at the door.

key=value  ->  "`stage3.fine_tuning.rank`: input should be greater than or equal to 1; correct it"

What is refused here costs a second; what a trainer refuses costs the hours before it.
"""

from typing import Annotated

from pydantic import Field

AtLeastOne = Annotated[int, Field(ge=1)]
AtLeastTwo = Annotated[int, Field(ge=2)]
NotNegative = Annotated[int, Field(ge=0)]
TrainerSeed = Annotated[int, Field(ge=0, lt=2**32)]
"""What every generator of random numbers that a trainer seeds can take."""

Positive = Annotated[float, Field(gt=0)]
ZeroOrMore = Annotated[float, Field(ge=0)]
Share = Annotated[float, Field(ge=0, le=1)]
LessThanAll = Annotated[float, Field(ge=0, lt=1)]
"""A share that leaves something: of dropout, of warming up."""
Nucleus = Annotated[float, Field(gt=0, le=1)]
"""`top_p`: the share of probability that is drawn from; 1 is all of it."""
