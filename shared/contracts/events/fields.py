"""Field types with their bounds, so that a wrong value is refused while it is decoded."""

from typing import Annotated

from msgspec import Meta

Id = Annotated[str, Meta(min_length=1, max_length=256)]
Text = Annotated[str, Meta(max_length=4096)]
Name = Annotated[str, Meta(max_length=512)]
MOST_CENTS = 10**12
Cents = Annotated[int, Meta(ge=0, le=MOST_CENTS)]
"""An amount of money in minor units of the currency that stands beside it."""
Currency = Annotated[str, Meta(pattern="^[A-Z]{3}$")]
Quantity = Annotated[int, Meta(ge=1, le=1_000_000)]
Count = Annotated[int, Meta(ge=0)]
Share = Annotated[float, Meta(ge=0, le=1)]
Weight = Annotated[float, Meta(gt=0)]
Position = Annotated[int, Meta(ge=0, le=100_000)]
"""Place in a list, counted from 0."""
