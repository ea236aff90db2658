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
    rows.reverse()
    numbers = shelf.numbers[np.array(rows, dtype=np.int64)]
    when = np.array(times[::-1], dtype=np.float64)
    strength = np.array(weights[::-1]) * np.exp2(-np.maximum(now_s - when, 0) / rules.half_life_s)
    looked_at = shelf.numbers_of(anchors)
    numbers = np.concatenate([numbers, looked_at])
    known = numbers < shelf.n_model
    newest = max(now_s, times[0]) if times else now_s
    return History(
        numbers[known].astype(np.int32),
        np.concatenate([strength, np.full(len(looked_at), ANCHOR_WEIGHT)])[known].astype(
            np.float32
        ),
        np.concatenate([when, np.full(len(looked_at), newest)])[known],
    )


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

    Personal frequency with a half-life; None for a shopper without purchases.
    """
    scores = np.zeros(len(shelf), dtype=np.float32)
    for item, times in bought.items():
        number = shelf.number(item)
        if number is not None:
            age_s = np.maximum(now_s - np.array(times), 0)
            scores[number] = np.exp2(-age_s / rules.repeat_half_life_s).sum()
    peak = float(scores.max(initial=0))
    if peak == 0:
        return None
    return Source("repeat", scores, shelf.weights.get("repeat", 0.0) / peak)


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
