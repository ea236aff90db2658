"""Several models as one list: each score scaled to its best, weighted and added."""

from collections.abc import Mapping
from itertools import product
from typing import Any

import numpy as np

from shared.learning.arrays import Floats
from shared.learning.evaluation.judge import Score
from shared.learning.features.history import History
from shared.learning.models.bundle import Bundle
from shared.learning.models.ids import IdIndex
from shared.learning.models.popularity import Popularity
from shared.learning.models.repeat import RepeatPurchase

Weights = Mapping[str, float]
WEIGHTS: Weights = {"slim": 1.0, "ials": 0.3, "knn": 0.3, "popular": 0.1, "trending": 0.02}
TRENDING_SHARE = 0.2
"""Of the weight of `popular`: by the two alone come the lists of those of whom nothing is known."""


class Parts:
    """The models' scaled scores for one history, worked out once for all blends.

    Parameters
    ----------
    models : mapping
        Name to model.
    half_life_s : float
        Seconds after which an event of the history says half as much.
    """

    def __init__(self, models: Mapping[str, Any], half_life_s: float) -> None:
        # Repeat purchases are judged by shoppers who bought before, not by what is new to them.
        apart = Popularity | RepeatPurchase
        self._readers = {n: m for n, m in models.items() if not isinstance(m, apart)}
        self._static = {
            n: _damped(m.item_scores) for n, m in models.items() if isinstance(m, Popularity)
        }
        self._half_life_s = half_life_s
        self._last: tuple[History | None, dict[str, Floats]] = (None, {})

    def of(self, history: History) -> dict[str, Floats]:
        """Return name to (n_items,) scores of at most 1."""
        if self._last[0] is not history:
            read = faded(history, self._half_life_s)
            live = {name: _scaled(m.scores(read)) for name, m in self._readers.items()}
            self._last = (history, {**live, **self._static})
        return self._last[1]

    def one(self, name: str) -> Score:
        """Return the scorer that is the model `name` alone."""
        return lambda history: self.of(history)[name]

    def blend(self, weights: Weights) -> Score:
        """Return the scorer that adds the models up."""
        used = [(name, np.float32(weight)) for name, weight in weights.items() if weight]

        def scores(history: History) -> Floats:
            parts = self.of(history)
            total = np.zeros_like(next(iter(parts.values())))
            for name, weight in used:
                if name in parts:
                    total += parts[name] * weight
            return total

        return scores


def faded(history: History, half_life_s: float) -> History:
    """Return the history with each weight halved every `half_life_s` before its newest event."""
    if len(history) == 0:
        return history
    age_s = history.times_s[-1] - history.times_s
    weights = history.weights * np.exp2(-age_s / half_life_s)
    return History(history.items, weights.astype(np.float32), history.times_s)


def weights_to_try() -> list[Weights]:
    """Return the blends among which the best on one half of the shoppers is chosen."""
    grid = product((0.3, 1.0), (0.0, 0.5), (0.0, 1.0), (0.03, 0.2))
    return [
        {
            "slim": slim,
            "ials": ials,
            "knn": knn,
            "popular": popular,
            "trending": TRENDING_SHARE * popular,
        }
        for slim, ials, knn, popular in grid
    ]


def transplanted(bundle: Bundle, items: IdIndex, half_life_s: float) -> Score:
    """Return the blend of a release as it is, in the numbers of `items`; what it misses has 0."""
    theirs = bundle.ids["items"]
    number = np.array([theirs.get(name) if name in theirs else -1 for name in items.ids])
    known = number >= 0
    scorer = Parts(bundle.models, half_life_s).blend(bundle.meta.get("weights", WEIGHTS))

    def scores(history: History) -> Floats:
        met = known[history.items]
        read = History(
            number[history.items[met]].astype(np.int32),
            history.weights[met],
            history.times_s[met],
        )
        out = np.zeros(len(items), dtype=np.float32)
        out[known] = scorer(read)[number[known]]
        return out

    return scores


def _scaled(scores: Floats) -> Floats:
    peak = float(scores.max(initial=0))
    return np.asarray(scores / np.float32(peak)) if peak > 0 else np.zeros_like(scores)


def _damped(scores: Floats) -> Floats:
    """Return logarithms of counts, so that the first does not drown the others."""
    return _scaled(np.log1p(np.maximum(scores, 0)).astype(np.float32))
