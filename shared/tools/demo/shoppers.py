"""Simulated shoppers: what they look at, click and buy, given what they really went on to buy.

Position-based model (Joachims, Swaminathan, Schnabel 2017, section 5.1): the place at rank r is looked
at with probability 1/r. What is looked at is clicked and bought if the household bought it in its
two held-out weeks; otherwise it is clicked out of curiosity with a small probability.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

from numpy.random import Generator

CURIOSITY = 0.02
_Z = 1.959963984540054


class Visit(NamedTuple):
    """The places of a list, from 0, that a shopper clicked, and those that they bought."""

    clicked: tuple[int, ...]
    bought: tuple[int, ...]


def visit(shown: Sequence[str], wants: frozenset[str], rng: Generator) -> Visit:
    """Let a shopper read a list from top to bottom; takes two draws for each place."""
    clicked, bought = [], []
    for place, item in enumerate(shown):
        looked, curious = rng.random(2)
        if looked >= 1 / (place + 1):
            continue
        if item in wants:
            bought.append(place)
        if item in wants or curious < CURIOSITY:
            clicked.append(place)
    return Visit(tuple(clicked), tuple(bought))


class Share(NamedTuple):
    """Hits among n, with a 95 % interval (Wilson 1927)."""

    hits: int
    n: int

    @property
    def value(self) -> float:
        """The observed share, 0 for n = 0."""
        return self.hits / self.n if self.n else 0.0

    @property
    def bounds(self) -> tuple[float, float]:
        """Where the share lies; (0, 1) for n = 0."""
        if self.n == 0:
            return 0.0, 1.0
        z2 = _Z * _Z
        centre = (self.value + z2 / (2 * self.n)) / (1 + z2 / self.n)
        spread = self.value * (1 - self.value) / self.n + z2 / (4 * self.n * self.n)
        half = _Z * math.sqrt(spread) / (1 + z2 / self.n)
        return max(min(centre - half, self.value), 0.0), min(max(centre + half, self.value), 1.0)


class Difference(NamedTuple):
    """One share minus another, with a 95 % interval (Newcombe 1998, method 10)."""

    value: float
    low: float
    high: float


def difference(new: Share, old: Share) -> Difference:
    """Return new minus old, of two independent groups."""
    gap = new.value - old.value
    (new_low, new_high), (old_low, old_high) = new.bounds, old.bounds
    low = gap - math.hypot(new.value - new_low, old_high - old.value)
    high = gap + math.hypot(new_high - new.value, old.value - old_low)
    return Difference(gap, low, high)
