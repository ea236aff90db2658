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
        parts = self._parts(purchases, now_s)
        total = np.bincount(purchases.items, weights=parts, minlength=self.n_items)
        return total.astype(np.float32)

    def contributions(self, purchases: History, item: int, *, now_s: float) -> tuple[Ints, Floats]:
        """Return the purchases' items and parts, which add up to the score of `item`."""
        return purchases.items, self._parts(purchases, now_s) * (purchases.items == item)

    def due_in_s(self, purchases: History, item: int, *, now_s: float) -> float:
        """Return the seconds until the usual gap has passed; negative when overdue.

        ``inf`` for an item never bought.
        """
        if item not in purchases.items:
            return float("inf")
        last, gap = self._last_and_gap(purchases)
        at = int(np.flatnonzero(purchases.items == item)[-1])
        return float(last[at] + gap[at] - now_s)

    def _parts(self, purchases: History, now_s: float) -> Floats:
        age = np.maximum(now_s - purchases.times_s, 0)
        frequency = purchases.weights * np.exp2(-age / self.settings.half_life_s)
        last, gap = self._last_and_gap(purchases)
        if self.settings.timing == 0:
            return np.asarray(frequency)
        wait = np.maximum(self.settings.timing * gap, 1.0)
        return np.asarray(frequency * -np.expm1(-np.maximum(now_s - last, 0) / wait))

    def _last_and_gap(self, purchases: History) -> tuple[Floats, Floats]:
        """Return for each purchase the last one of its item and that item's expected gap."""
        _, place = np.unique(purchases.items, return_inverse=True)
        n = int(place.max(initial=-1)) + 1
        first, last = np.full(n, np.inf), np.full(n, -np.inf)
        np.minimum.at(first, place, purchases.times_s)
        np.maximum.at(last, place, purchases.times_s)
        gaps = np.bincount(place, minlength=n) - 1
        prior = self.gaps_s[purchases.items]
        own = (last - first)[place]
        return last[place], (own + prior) / (gaps[place] + 1)

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
