"""Where candidates come from: every source scores items, and keeps its own score."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple, Self

import numpy as np

from services.recommender.core.person import WEIGHT, Person
from services.recommender.core.query import Query, Rules
from services.recommender.core.shelf import Shelf
from shared.learning.arrays import Floats, Ints
from shared.learning.features.history import History

ANCHOR_WEIGHT = 5.0
"""What is being looked at counts like a purchase."""
MAX_EVENTS = 60
"""Newest events of a live history that models read."""


class Source(NamedTuple):
    """Scores of one source: ``factor * scores`` goes into the blend.

    `scores` is (n_model,) for a model and (n,) otherwise.
    """

    name: str
    scores: Floats
    factor: float

    def at(self, numbers: Ints) -> list[float]:
        """Return this source's part of the blended score of `numbers`, to six decimals."""
        if numbers.max(initial=0) < len(self.scores):
            scores = self.scores[numbers]
        else:
            known = numbers < len(self.scores)
            scores = np.where(known, self.scores[np.where(known, numbers, 0)], 0)
        parts: list[float] = (scores.astype(np.float64) * self.factor).round(6).tolist()
        return parts


class Read(History):
    """A history with one event an item, made once for all models."""

    def distinct(self) -> Self:
        """Return itself."""
        return self

    def newest(self, n: int) -> Self:
        """Return the newest `n` events."""
        return self if len(self) <= n else super().newest(n)

    @classmethod
    def once(cls, history: History) -> Self:
        """Return one event an item of `history`, as `History.distinct` does."""
        items = history.items.tolist()
        distinct = history if len(set(items)) == len(items) else history.distinct()
        return cls(distinct.items, distinct.weights, distinct.times_s)


def history_of(
    person: Person, anchors: Sequence[str], shelf: Shelf, rules: Rules, now_s: float
) -> Read:
    """Return what the release's models read: known events, and the anchors as the newest."""
    events = person.events[:MAX_EVENTS]
    find = shelf.modelled.get
    numbers = [find(member[1:], -1) for member, _ in reversed(events)]
    weights = [WEIGHT[member[0]] for member, _ in reversed(events)]
    times = [time_s for _, time_s in reversed(events)]
    if anchors:
        at_s = max(now_s, times[-1]) if times else now_s
        numbers += [find(anchor.encode(), -1) for anchor in anchors]
        weights += [ANCHOR_WEIGHT] * len(anchors)
        times += [at_s] * len(anchors)
    items = np.array(numbers, dtype=np.int32)
    known = items >= 0
    when = np.array(times)[known]
    # Against the newest event, as in training: who comes back after a year is not a stranger.
    faded = np.exp2((when - when.max(initial=-np.inf)) / rules.half_life_s)
    strength = (np.array(weights)[known] * faded).astype(np.float32)
    return Read.once(History(items[known], strength, when))


def personal(shelf: Shelf, history: Read, bought: Ints) -> list[Source]:
    """Return each model's scores for this history, scaled so that its best item has 1.

    The models are learnt for what is new to a shopper. They find most alike to a history what is
    in it, and so say nothing of the numbers `bought`: `repeat` knows whether those are wanted again.
    """
    sources: list[Source] = []
    met = bought[bought < shelf.n_model]
    if len(history) == 0:
        return sources
    for name, model in shelf.models.items():
        weight = shelf.weights.get(name, 0.0)
        if weight == 0:
            continue
        scores = model.scores(history)
        peak = float(scores.max(initial=0))
        if peak > 0:
            scores[met] = 0
            sources.append(Source(name, scores, weight / peak))
    return sources


def repeat(
    shelf: Shelf, bought: Mapping[str, Sequence[float]], rules: Rules, now_s: float
) -> Source | None:
    """Return how often and how lately each item was bought, the best scaled to 1.

    The release's model knows besides when an item is due again; without one, and for items that
    it does not know, it is the frequency with a half-life alone. None without purchases.
    """
    lines = [
        (number, time_s)
        for item, times in bought.items()
        if (number := shelf.number(item)) is not None
        for time_s in times
    ]
    if not lines:
        return None
    numbers, times = np.array(lines).T
    age_s = np.maximum(now_s - times, 0)
    frequency = np.exp2(-age_s / rules.repeat_half_life_s)
    scores = np.bincount(numbers.astype(np.int64), weights=frequency, minlength=len(shelf))
    if shelf.again is not None:
        known = numbers < shelf.n_model
        purchases = History.of([(int(n), 1.0, t) for n, t in np.array(lines)[known]])
        scores[: shelf.n_model] = shelf.again.scores(purchases, now_s=now_s)
    peak = float(scores.max(initial=0))
    if peak <= 0:
        return None
    weight = shelf.weights.get("repeat", 0.0)
    return Source("repeat", scores.astype(np.float32), weight / peak)


def same_category(shelf: Shelf, query: Query) -> Source | None:
    """Return a bonus for the anchors' own categories, for when no model knows any anchor."""
    if not query.anchors:
        return None
    paths = np.unique(shelf.path[shelf.numbers_of(query.anchors)])
    alike = np.isin(shelf.path, paths[paths > 0])
    return Source("category", alike.astype(np.float32), 1.0) if alike.any() else None


def everybody(shelf: Shelf) -> list[Source]:
    """Return the sources that are the same for all, which `Shelf.base` sums."""
    return [
        Source(name, scores, weight)
        for name, scores in shelf.static.items()
        if (weight := shelf.weights.get(name, 0.0))
    ]
