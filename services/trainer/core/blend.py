"""Several models as one list: each score scaled to its best, weighted and added."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from services.trainer.core.weights import WEIGHTS, Weights
from shared.learning.arrays import Floats
from shared.learning.evaluation.judge import Score
from shared.learning.features.history import History
from shared.learning.models.bundle import Bundle
from shared.learning.models.ids import IdIndex
from shared.learning.models.popularity import Popularity
from shared.learning.models.repeat import RepeatPurchase
from shared.learning.models.scale import damped, scaled


def sources(models: Mapping[str, Any], half_life_s: float) -> dict[str, Score]:
    """Return name to scorer: (n_items,) scores of at most 1 for a history as it has faded.

    Parameters
    ----------
    models : mapping
        Name to model. Repeat purchases are left out: they are judged by shoppers who bought
        before, not by what is new to them.
    half_life_s : float
        Seconds after which an event of the history says half as much.
    """
    read = _Faded(half_life_s)
    return {
        name: _always(damped(model.item_scores))
        if isinstance(model, Popularity)
        else _of(model, read)
        for name, model in models.items()
        if not isinstance(model, RepeatPurchase)
    }


def blended(scorers: Mapping[str, Score], weights: Weights) -> Score:
    """Return the scorer that adds the sources up; weights of unknown sources say nothing."""
    used = [(score, np.float32(weights.get(name, 0.0))) for name, score in scorers.items()]

    def scores(history: History) -> Floats:
        parts = [score(history) * weight for score, weight in used if weight]
        # One of weight 0 still tells how many items there are.
        return np.asarray(sum(parts) if parts else used[0][0](history) * np.float32(0))

    return scores


def faded(history: History, half_life_s: float) -> History:
    """Return the history with each weight halved every `half_life_s` before its newest event."""
    if len(history) == 0:
        return history
    age_s = history.times_s[-1] - history.times_s
    weights = history.weights * np.exp2(-age_s / half_life_s)
    return History(history.items, weights.astype(np.float32), history.times_s)


def transplanted(bundle: Bundle, items: IdIndex, half_life_s: float) -> Score:
    """Return the blend of a release as it is, in the numbers of `items`; what it misses has 0."""
    theirs = bundle.ids["items"]
    number = np.array([theirs.get(name) if name in theirs else -1 for name in items.ids])
    known = number >= 0
    scorer = blended(sources(bundle.models, half_life_s), dict(bundle.meta.get("weights", WEIGHTS)))

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


class _Faded:
    """The last history asked about, faded once for all models."""

    def __init__(self, half_life_s: float) -> None:
        self._half_life_s = half_life_s
        self._last: tuple[History | None, History | None] = (None, None)

    def __call__(self, history: History) -> History:
        asked, read = self._last
        if asked is not history or read is None:
            read = faded(history, self._half_life_s)
            self._last = (history, read)
        return read


def _of(model: Any, read: _Faded) -> Score:
    return lambda history: scaled(model.scores(read(history)))


def _always(scores: Floats) -> Score:
    return lambda _: scores
