"""What one shopper did lately: the input of every model at serving time."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Self

import numpy as np

from shared.learning.arrays import Floats, Ints

Event = tuple[int, float, float]
"""Item number, weight, time in seconds."""


@dataclass(frozen=True)
class History:
    """Events of one shopper, oldest first.

    Parameters
    ----------
    items : (n,) integers
    weights : (n,) floats
        Negative for an explicit dislike.
    times_s : (n,) floats, rising
        Equal times happened together.
    """

    items: Ints
    weights: Floats
    times_s: Floats

    @classmethod
    def of(cls, events: Iterable[Event]) -> Self:
        """Sort (item, weight, time_s) events by time; those at one moment keep their order."""
        table = np.array(sorted(events, key=lambda e: e[2]), dtype=np.float64).reshape(-1, 3)
        return cls(table[:, 0].astype(np.int32), table[:, 1].astype(np.float32), table[:, 2])

    @classmethod
    def sequence(cls, items: Ints) -> Self:
        """Return events of weight 1, one after the other."""
        n = len(items)
        return cls(np.asarray(items), np.ones(n, dtype=np.float32), np.arange(n, dtype=np.float64))

    def __len__(self) -> int:
        return len(self.items)

    @cached_property
    def age_rank(self) -> Ints:
        """How many distinct moments came after each event: 0 for the newest basket."""
        if len(self) == 0:
            return np.zeros(0, dtype=np.int64)
        rank = np.zeros(len(self), dtype=np.int64)
        rank[:-1] = (self.times_s[:0:-1] != self.times_s[-2::-1]).cumsum()[::-1]
        return rank

    def newest(self, n: int) -> Self:
        """Return the newest `n` events."""
        cut = max(len(self) - n, 0)
        return type(self)(self.items[cut:], self.weights[cut:], self.times_s[cut:])

    def distinct(self) -> Self:
        """Return one event an item; see `distinct`."""
        items = self.items.tolist()
        places, weights = distinct(items, self.weights.tolist())
        if len(places) == len(items):
            return self
        chosen = np.array(weights, dtype=self.weights.dtype)
        return type(self)(self.items[places], chosen, self.times_s[places])


def distinct(items: Sequence[int], weights: Sequence[float]) -> tuple[list[int], list[float]]:
    """Return the places that one event an item keeps of a history, oldest first, and their weights.

    An item is kept at its newest event with its greatest weight. A dislike wins over everything
    before it, and is undone by what comes after it: the sign of the newest event decides.
    """
    newest = {item: place for place, item in enumerate(items)}
    if len(newest) == len(items):
        return list(range(len(items))), list(weights)
    greatest: dict[int, float] = {}
    for item, weight in zip(items, weights, strict=True):
        if weight > greatest.get(item, 0.0):
            greatest[item] = weight
    places = sorted(newest.values())
    return places, [greatest[items[at]] if weights[at] > 0 else weights[at] for at in places]
