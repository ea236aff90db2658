"""Buying again: personal frequency with a half-life, and whether the item is due."""

from dataclasses import dataclass
from typing import Any, ClassVar, Self

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
        order = np.argsort(purchases.items, kind="stable")
        items, counts = np.unique(purchases.items, return_counts=True)
        total = np.zeros(self.n_items, dtype=np.float32)
        total[items] = self.wanted(
            items, counts, purchases.times_s[order], purchases.weights[order], now_s=now_s
        )
        return total

    def wanted(
        self,
        items: Ints,
        counts: Ints,
        times_s: Floats,
        weights: Floats | float = 1.0,
        *,
        now_s: float,
    ) -> Floats:
        """Return the score of each of the (m,) distinct `items` that a shopper bought.

        Each was bought as often as the (m,) `counts` say; the (n,) `times_s` and `weights` are
        those of all purchases of the first item, then of the second, and so on.
        """
        if len(items) == 0:
            return np.zeros(0)
        starts = counts.cumsum() - counts
        frequency = np.add.reduceat(self._frequency(times_s, now_s) * weights, starts)
        first, last = np.minimum.reduceat(times_s, starts), np.maximum.reduceat(times_s, starts)
        return np.asarray(frequency * self._due(last, self._gap(items, first, last, counts), now_s))

    def contributions(self, purchases: History, item: int, *, now_s: float) -> tuple[Ints, Floats]:
        """Return the purchases' items and parts, which add up to the score of `item`."""
        parts = np.zeros(len(purchases))
        mine = purchases.items == item
        if mine.any():
            times_s = purchases.times_s[mine]
            due = self._due(times_s.max(), self._own_gap(item, times_s), now_s)
            parts[mine] = purchases.weights[mine] * self._frequency(times_s, now_s) * due
        return purchases.items, parts

    def due_in_s(self, purchases: History, item: int, *, now_s: float) -> float:
        """Return the seconds until the usual gap has passed; negative when overdue.

        ``inf`` for an item never bought.
        """
        times_s = purchases.times_s[purchases.items == item]
        if len(times_s) == 0:
            return float("inf")
        return float(times_s.max() + self._own_gap(item, times_s) - now_s)

    def _frequency(self, times_s: Floats, now_s: float) -> Floats:
        return np.asarray(np.exp2(np.minimum(times_s - now_s, 0) / self.settings.half_life_s))

    def _own_gap(self, item: int, times_s: Floats) -> Floats:
        return self._gap(item, times_s.min(), times_s.max(), len(times_s))

    def _gap(self, items: Any, first_s: Any, last_s: Any, count: Any) -> Floats:
        """Return the seconds expected until the item is bought again, for one item or many."""
        return np.asarray((last_s - first_s + self.gaps_s[items]) / count)

    def _due(self, last_s: Any, gap_s: Floats, now_s: float) -> Floats:
        """Return how much of the waiting time after the last purchase is over, in [0, 1]."""
        if self.settings.timing == 0:
            return np.ones_like(gap_s)
        wait_s = np.maximum(self.settings.timing * gap_s, 1.0)
        return np.asarray(-np.expm1(np.minimum(last_s - now_s, 0) / wait_s))

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
