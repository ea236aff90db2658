"""Buying again: personal frequency with a half-life, and whether the item is due."""

from dataclasses import dataclass
from typing import ClassVar, Self

import numpy as np

from shared.contracts.artifact import Artifact
from shared.contracts.errors import Invalid
from shared.learning.arrays import Floats, Ints
from shared.learning.features.history import History
from shared.learning.features.interactions import Interactions
from shared.learning.features.weights import DAY_S
from shared.learning.models.reader import Reader


@dataclass(frozen=True)
class RepeatSettings:
    """Settings of `RepeatPurchase`.

    Parameters
    ----------
    half_life_s : float
        Age at which a purchase counts half.
    timing : float
        Share of the usual gap within which an item counts as just bought; 0 for no timing.
    prior_gaps : float
        Gaps between purchases that the mean of all items counts for in an item's mean gap.
    """

    half_life_s: float = 70 * DAY_S
    timing: float = 0.01
    prior_gaps: float = 5.0

    def __post_init__(self) -> None:
        if self.half_life_s <= 0 or self.timing < 0 or self.prior_gaps <= 0:
            raise Invalid("half_life_s and prior_gaps must be positive, timing not negative")


@dataclass(frozen=True)
class RepeatPurchase:
    """Scores of the items a shopper bought before.

    ``score[j] = due[j] * sum over purchases of weight * 0.5**(age / half_life)``, where
    ``due[j] = 1 - exp(-elapsed / (timing * gap))`` rises from 0 just after a purchase to 1. The
    gap is the item's, drawn to the shopper's own once there are purchases to tell it.

    Parameters
    ----------
    gaps_s : (n_items,) float32
        Mean seconds between two purchases of the item by one shopper.
    """

    KIND: ClassVar[str] = "repeat"

    gaps_s: Floats
    settings: RepeatSettings

    @classmethod
    def fit(cls, purchases: Interactions, settings: RepeatSettings | None = None) -> Self:
        """Learn the items' gaps from purchases (positive events)."""
        chosen = settings or RepeatSettings()
        item, gap = _gaps(purchases.positive())
        usual = float(gap.mean()) if len(gap) else 30 * DAY_S
        total = np.bincount(item, weights=gap, minlength=purchases.n_items)
        count = np.bincount(item, minlength=purchases.n_items)
        gaps = (total + chosen.prior_gaps * usual) / (count + chosen.prior_gaps)
        return cls(gaps.astype(np.float32), chosen)

    @property
    def n_items(self) -> int:
        """How many items the model scores."""
        return len(self.gaps_s)

    def scores(self, purchases: History, *, now_s: float) -> Floats:
        """Return the (n_items,) scores; zero for items that the shopper never bought."""
        total = np.zeros(self.n_items, dtype=np.float32)
        items, scores = self.wanted(purchases, now_s=now_s)
        total[items] = scores
        return total

    def wanted(self, purchases: History, *, now_s: float) -> tuple[Ints, Floats]:
        """Return the distinct items that the shopper bought, rising, and the score of each."""
        items, place = np.unique(purchases.items, return_inverse=True)
        total = np.bincount(place, weights=self._frequency(purchases, now_s), minlength=len(items))
        return items, total * self._due(items, place, purchases.times_s, now_s)

    def contributions(self, purchases: History, item: int, *, now_s: float) -> tuple[Ints, Floats]:
        """Return the purchases' items and parts, which add up to the score of `item`."""
        items, place = np.unique(purchases.items, return_inverse=True)
        due = self._due(items, place, purchases.times_s, now_s)[place]
        parts = self._frequency(purchases, now_s) * due
        return purchases.items, parts * (purchases.items == item)

    def due_in_s(self, purchases: History, item: int, *, now_s: float) -> float:
        """Return the seconds until the usual gap has passed; negative when overdue.

        ``inf`` for an item never bought.
        """
        items, place = np.unique(purchases.items, return_inverse=True)
        at = int(np.searchsorted(items, item))
        if at == len(items) or items[at] != item:
            return float("inf")
        last, gap = self._last_and_gap(items, place, purchases.times_s)
        return float(last[at] + gap[at] - now_s)

    def _frequency(self, purchases: History, now_s: float) -> Floats:
        age_s = np.maximum(now_s - purchases.times_s, 0)
        return np.asarray(purchases.weights * np.exp2(-age_s / self.settings.half_life_s))

    def _due(self, items: Ints, place: Ints, times_s: Floats, now_s: float) -> Floats:
        """Return for each of `items` how much of its waiting time is over, in [0, 1]."""
        if self.settings.timing == 0:
            return np.ones(len(items))
        last, gap = self._last_and_gap(items, place, times_s)
        wait_s = np.maximum(self.settings.timing * gap, 1.0)
        return np.asarray(-np.expm1(-np.maximum(now_s - last, 0) / wait_s))

    def _last_and_gap(self, items: Ints, place: Ints, times_s: Floats) -> tuple[Floats, Floats]:
        """Return for each of `items` when it was last bought and the gap expected after that.

        `place` tells for each of the purchases, oldest first, which of `items` it is.
        """
        first, last = np.empty(len(items)), np.empty(len(items))
        # The last assignment to a place stays.
        last[place] = times_s
        first[place[::-1]] = times_s[::-1]
        purchases = np.bincount(place, minlength=len(items))
        return last, (last - first + self.gaps_s[items]) / purchases

    def to_artifact(self) -> Artifact:
        """Return the gaps as an array and the settings as JSON."""
        return Artifact(self.KIND, {"gaps_s": self.gaps_s}, dict(vars(self.settings)), {})

    @classmethod
    def from_artifact(cls, artifact: Artifact) -> Self:
        """Rebuild the model; Invalid when the artifact is of another kind or damaged."""
        read = Reader(artifact, cls.KIND)
        settings = RepeatSettings(
            read.float("half_life_s"), read.float("timing"), read.float("prior_gaps")
        )
        return cls(read.floats("gaps_s", -1), settings)


def _gaps(purchases: Interactions) -> tuple[Ints, Floats]:
    """Return item and seconds between consecutive purchases of one item by one user."""
    order = np.lexsort((purchases.time_s, purchases.item, purchases.user))
    bought = purchases.where(order)
    again = (bought.user[1:] == bought.user[:-1]) & (bought.item[1:] == bought.item[:-1])
    gap = np.diff(bought.time_s)
    # A second line of the same basket is not a return to the shop.
    again &= gap > 0
    return bought.item[1:][again], gap[again]
