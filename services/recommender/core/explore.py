"""One place for what nobody knows yet, with the probability of each outcome."""

from collections.abc import Sequence
from typing import NamedTuple

from numpy.random import Generator


class Place(NamedTuple):
    """An item at the last position, and how probable it was there."""

    number: int
    propensity: float


def last_place(greedy: int, cold: Sequence[int], share: float, rng: Generator) -> Place:
    """Return `greedy`, or with probability `share` one of `cold`, each equally probable.

    The propensities of all that could have stood there add up to 1.

    Parameters
    ----------
    greedy : int
        What stands there by its score.
    share : float
        In [0, 1].
    cold : sequence of distinct numbers
        Without what stands higher in the list; may hold `greedy`.
    rng : Generator
        Where chance comes from.
    """
    if not cold or share <= 0:
        return Place(greedy, 1.0)
    pick = greedy
    if rng.random() < share:
        pick = cold[int(rng.integers(len(cold)))]
    return Place(pick, propensity(pick, greedy, cold, share))


def propensity(number: int, greedy: int, cold: Sequence[int], share: float) -> float:
    """Return the probability that `last_place` gives `number`."""
    explored = share / len(cold) if number in cold else 0.0
    return explored + (1.0 - share if number == greedy else 0.0)
