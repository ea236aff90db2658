"""What everybody wants: counts with decay, and growth against the expected rate."""

from dataclasses import dataclass
from typing import ClassVar, Self

import numpy as np

from shared.contracts.artifact import Artifact
from shared.contracts.errors import Invalid
from shared.learning.arrays import Floats
from shared.learning.features.history import History
from shared.learning.features.interactions import Interactions
from shared.learning.features.weights import DAY_S
from shared.learning.models.reader import Reader


@dataclass(frozen=True)
class Popularity:
    """The same scores for every shopper.

    Parameters
    ----------
    item_scores : (n_items,) float32
    """

    KIND: ClassVar[str] = "popularity"

    item_scores: Floats

    @classmethod
    def fit(
        cls, interactions: Interactions, *, now_s: float, half_life_s: float = float("inf")
    ) -> Self:
        """Sum each item's positive weights, halved every `half_life_s` seconds of age."""
        events = interactions.positive()
        left = np.exp2(-np.maximum(now_s - events.time_s, 0) / half_life_s)
        return cls(_per_item(events, events.weight * left))

    @property
    def n_items(self) -> int:
        """How many items the model scores."""
        return len(self.item_scores)

    def scores(self, history: History) -> Floats:
        """Return the (n_items,) scores; the history does not matter."""
        return self.item_scores

    def to_artifact(self) -> Artifact:
        """Return the scores as an array."""
        return Artifact(self.KIND, {"item_scores": self.item_scores}, {}, {})

    @classmethod
    def from_artifact(cls, artifact: Artifact) -> Self:
        """Rebuild the model; Invalid when the artifact is of another kind or damaged."""
        return cls(Reader(artifact, cls.KIND).floats("item_scores", -1))


class Trending(Popularity):
    """Growth of an item in the newest window against the rate before it, in standard errors."""

    KIND: ClassVar[str] = "trending"

    @classmethod
    def fit(  # type: ignore[override]
        cls,
        interactions: Interactions,
        *,
        now_s: float,
        window_s: float = DAY_S,
        before_s: float = 28 * DAY_S,
        prior: float = 1.0,
    ) -> Self:
        """Compare the events in ``(now - window, now]`` with the `before_s` seconds before them.

        Parameters
        ----------
        interactions : Interactions
            Positive events count with their weight.
        now_s, window_s, before_s : float
            Seconds; what lies after `now_s` is ignored.
        prior : float
            Events expected of an item never seen before; damps the growth of rare items.
        """
        if window_s <= 0 or before_s <= 0 or prior <= 0:
            raise Invalid("window_s, before_s and prior must be positive")
        events = interactions.positive()
        age = now_s - events.time_s
        recent = _per_item(events.where((age >= 0) & (age < window_s)))
        earlier = _per_item(events.where((age >= window_s) & (age < window_s + before_s)))
        return cls(growth(recent, earlier * np.float32(window_s / before_s), prior))


def growth(seen: Floats, expected: Floats, prior: float = 1.0) -> Floats:
    """Return ``(seen - expected) / sqrt(expected + prior)``, the z-score of Poisson counts."""
    return np.asarray((seen - expected) / np.sqrt(expected + np.float32(prior)))


def _per_item(events: Interactions, weights: Floats | None = None) -> Floats:
    chosen = events.weight if weights is None else weights
    return np.bincount(events.item, weights=chosen, minlength=events.n_items).astype(np.float32)
