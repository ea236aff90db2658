"""What one source says of items, in the unit of the blended score."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from shared.learning.arrays import Floats


class Source(NamedTuple):
    """A source that has something to say of many items.

    Parameters
    ----------
    factor : float
        What the source's own scores were multiplied with to make parts of the blended score.
    parts : (m,) float32
        Number to part; numbers from m on have none.
    """

    name: str
    factor: float
    parts: Floats

    def add_to(self, total: Floats) -> None:
        """Add the parts to the (n,) scores."""
        total[: len(self.parts)] += self.parts

    def at(self, numbers: Sequence[int]) -> list[float]:
        """Return the parts of `numbers`."""
        known, part = len(self.parts), self.parts.item
        return [part(n) if n < known else 0.0 for n in numbers]


class Few(NamedTuple):
    """A source that has something to say of a few items only; else as `Source`."""

    name: str
    factor: float
    parts: Mapping[int, float]

    def add_to(self, total: Floats) -> None:
        """Add the parts to the (n,) scores."""
        total[list(self.parts)] += list(self.parts.values())

    def at(self, numbers: Sequence[int]) -> list[float]:
        """Return the parts of `numbers`."""
        return [self.parts.get(n, 0.0) for n in numbers]
