"""Where candidates come from: every source scores items, and keeps its own score."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from services.recommender.core.person import WEIGHT, Person
from services.recommender.core.query import Query, Rules
from services.recommender.core.shelf import Shelf
from shared.learning.arrays import Floats, Ints
from shared.learning.features.history import History

ANCHOR_WEIGHT = 5.0
"""What is being looked at counts like a purchase."""
MAX_EVENTS = 100
"""Newest events of a live history that models read."""


class Source(NamedTuple):
    """Scores of one source: ``factor * scores`` goes into the blend.

    `scores` is (n_model,) for a model and (n,) otherwise.
    """

    name: str
    scores: Floats
    factor: float

    def at(self, numbers: Ints) -> Floats:
        """Return this source's part of the blended score of `numbers`."""
        known = numbers < len(self.scores)
        return np.where(known, self.scores[np.where(known, numbers, 0)], 0) * self.factor


def history_of(
    person: Person, anchors: Sequence[str], shelf: Shelf, rules: Rules, now_s: float
) -> History:
    """Return what the release's models read: known events, and the anchors as the newest."""
    find = shelf.catalog.find
    rows, weights, times = [], [], []
    for member, time_s in person.events[:MAX_EVENTS]:
        row = find(member[1:].decode())
        if row is not None and row < len(shelf.numbers):
            rows.append(row)
            weights.append(WEIGHT.get(member[0], 0.0))
            times.append(time_s)
    looked_at = shelf.numbers_of(anchors)
    at = max(now_s, times[0]) if times else now_s
    numbers = np.concatenate([shelf.numbers[np.array(rows[::-1], dtype=np.int64)], looked_at])
    strength = np.array(weights[::-1] + [ANCHOR_WEIGHT] * len(looked_at))
    when = np.array(times[::-1] + [at] * len(looked_at))
    known = numbers < shelf.n_model
    numbers, strength, when = numbers[known], strength[known], when[known]
    # Against the newest event, as in training: who comes back after a year is not a stranger.
    strength *= np.exp2((when - when.max(initial=0)) / rules.half_life_s)
    return History(numbers.astype(np.int32), strength.astype(np.float32), when)


def personal(shelf: Shelf, history: History) -> list[Source]:
    """Return each model's scores for this history, scaled so that its best item has 1."""
    if len(history) == 0:
        return []
    read = history.distinct()
    sources = []
    for name, model in shelf.models.items():
        weight = shelf.weights.get(name, 0.0)
        if weight == 0:
            continue
        scores = model.scores(read)
        peak = float(scores.max(initial=0))
        if peak > 0:
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
        Source(name, scores, shelf.weights.get(name, 0.0)) for name, scores in shelf.static.items()
    ]
