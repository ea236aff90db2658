"""What one shopper did lately: the input of every model at serving time."""

from collections.abc import Iterable
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
        moment = np.zeros(len(self), dtype=np.int64)
        np.cumsum(self.times_s[1:] != self.times_s[:-1], out=moment[1:])
        return np.asarray(moment[-1] - moment)

    def newest(self, n: int) -> Self:
        """Return the newest `n` events."""
        cut = max(len(self) - n, 0)
        return type(self)(self.items[cut:], self.weights[cut:], self.times_s[cut:])

    def distinct(self) -> Self:
        """Return one event an item, at its newest time, with its greatest weight.

        A dislike wins over everything before it, and is undone by what comes after it: the
        sign of the newest event decides.
        """
        items, weights = self.items.tolist(), self.weights.tolist()
        newest = {item: place for place, item in enumerate(items)}
        if len(newest) == len(items):
            return self
        greatest: dict[int, float] = {}
        for item, weight in zip(items, weights, strict=True):
            if weight > greatest.get(item, 0.0):
                greatest[item] = weight
        keep = sorted(newest.values())
        kept = [greatest[items[at]] if weights[at] > 0 else weights[at] for at in keep]
        chosen = np.array(kept, dtype=self.weights.dtype)
        return type(self)(self.items[keep], chosen, self.times_s[keep])
