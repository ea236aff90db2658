"""Where candidates come from: every source scores items, and keeps its own score."""

from collections.abc import Collection, Mapping, Sequence
from typing import Self

import numpy as np

from services.recommender.core.person import WEIGHT, Person
from services.recommender.core.query import Query, Rules
from services.recommender.core.shelf import Shelf
from services.recommender.core.source import Few, Source
from shared.learning.features.history import History, distinct
from shared.learning.models.repeat import RepeatPurchase

ANCHOR_WEIGHT = 5.0
"""What is being looked at counts like a purchase."""
MAX_EVENTS = 60
"""Newest events of a live history that models read."""
_FAINT = 1e-30
"""Best score up to which a model says nothing: scaled to 1, it would leave the range of float32."""


class Read(History):
    """A history with one event an item, made once for all models."""

    def distinct(self) -> Self:
        """Return itself."""
        return self

    def newest(self, n: int) -> Self:
        """Return the newest `n` events."""
        return self if len(self) <= n else super().newest(n)


def history_of(
    person: Person, anchors: Sequence[str], shelf: Shelf, rules: Rules, now_s: float
) -> Read:
    """Return what the release's models read: known events, and the anchors as the newest."""
    events = person.events[:MAX_EVENTS]
    find = shelf.modelled.get
    known = [
        (number, WEIGHT[member[0]], time_s)
        for member, time_s in reversed(events)
        if (number := find(member[1:])) is not None
    ]
    if anchors:
        at_s = max(now_s, events[0][1]) if events else now_s
        met = (find(anchor.encode()) for anchor in anchors)
        known += [(number, ANCHOR_WEIGHT, at_s) for number in met if number is not None]
    # Against the newest event, as in training: who comes back after a year is not a stranger.
    newest_s = known[-1][2] if known else now_s
    faded = [weight * 0.5 ** ((newest_s - at) / rules.half_life_s) for _, weight, at in known]
    places, weights = distinct([number for number, _, _ in known], faded)
    return Read(
        np.array([known[place][0] for place in places], dtype=np.int32),
        np.array(weights, dtype=np.float32),
        np.array([known[place][2] for place in places]),
    )


def knows(shelf: Shelf, person: Person) -> bool:
    """Whether the release's models know anything of what the person did themselves."""
    return any(member[1:] in shelf.modelled for member, _ in person.events[:MAX_EVENTS])


def personal(shelf: Shelf, history: Read, bought: Collection[int]) -> list[Source]:
    """Return each model's scores for this history, scaled so that its best item has 1.

    The models are learnt for what is new to a shopper. They find most alike to a history what is
    in it, and so say nothing of the numbers `bought`: `repeat` knows whether those are wanted again.
    """
    sources: list[Source] = []
    met = [number for number in bought if number < shelf.n_model]
    if len(history) == 0:
        return sources
    for name, model in shelf.models.items():
        weight = shelf.weights.get(name, 0.0)
        if weight == 0:
            continue
        scores = model.scores(history)
        peak = float(scores.max(initial=0))
        if peak > _FAINT:
            factor = weight / peak
            parts = scores * np.float32(factor)
            parts[met] = 0
            sources.append(Source(name, factor, parts))
    return sources


def repeat(
    shelf: Shelf, bought: Mapping[int, Sequence[float]], rules: Rules, now_s: float
) -> Few | None:
    """Return how often and how lately each number of `bought` was, the best scaled to 1.

    The release's model knows besides when an item is due again; without one, and for items that
    it does not know, it is the frequency with a half-life alone. None without purchases.
    """
    n_model = shelf.n_model if shelf.again else 0
    scores = {n: _frequency(at, rules, now_s) for n, at in bought.items() if n >= n_model}
    scores |= _wanted(shelf.again, {n: at for n, at in bought.items() if n < n_model}, now_s)
    peak = max(scores.values(), default=0.0)
    if peak <= 0:
        return None
    factor = shelf.weights.get("repeat", 0.0) / peak
    return Few("repeat", factor, {number: factor * score for number, score in scores.items()})


def _wanted(
    again: RepeatPurchase | None, bought: Mapping[int, Sequence[float]], now_s: float
) -> dict[int, float]:
    if again is None or not bought:
        return {}
    items, counts = np.array(list(bought)), np.array([len(at) for at in bought.values()])
    times_s = np.array([time_s for at in bought.values() for time_s in at])
    scores = again.wanted(items, counts, times_s, now_s=now_s)
    return dict(zip(bought, scores.tolist(), strict=True))


def _frequency(times_s: Sequence[float], rules: Rules, now_s: float) -> float:
    return float(sum(0.5 ** (max(now_s - t, 0.0) / rules.repeat_half_life_s) for t in times_s))


def same_category(shelf: Shelf, query: Query) -> Source | None:
    """Return a bonus for the anchors' own categories, for when no model knows any anchor."""
    if not query.anchors:
        return None
    paths = np.unique(shelf.path[shelf.numbers_of(query.anchors)])
    alike = np.isin(shelf.path, paths[paths > 0])
    return Source("category", 1.0, alike.astype(np.float32)) if alike.any() else None
