"""Local ridge-SLIM that also learns the order of events."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar, Self

import numpy as np

from shared.contracts.errors import Invalid
from shared.learning.arrays import Floats, Ints
from shared.learning.features.interactions import Interactions
from shared.learning.models.baskets import baskets, mean_weight
from shared.learning.models.csr import Csr
from shared.learning.models.item_to_item import ItemToItem
from shared.learning.sparse import (
    Sparse,
    column_norms,
    cosine,
    csr,
    hollow,
    largest_in_rows,
    sparse,
    stacked,
)

_BLOCK = 256
"""Items worked on at once: a dense block of 256 x 20,000 floats is 20 MB."""

_DENSE = 6_000
"""Items up to which regressing on all of them is done by one inversion."""


@dataclass(frozen=True)
class SlimSettings:
    """Settings of `LocalSlim`.

    Parameters
    ----------
    neighbours : int
        Items that each item is regressed on; all of them when there are no more.
    ridge : float
        Penalty of squared weights, in events.
    order : float
        In [0, 1]: share of the loss that predicts the next event from what came before; the
        rest predicts each item from all others of the user, whatever their order.
    window : int
        Events before an event that predict it in training.
    recency : float
        In (0, 1]: strength left of an event one moment older, in training and serving.
    max_history : int
        Newest events of a user that training and serving look at.
    """

    neighbours: int = 50
    ridge: float = 60.0
    order: float = 0.7
    window: int = 5
    recency: float = 0.7
    max_history: int = 50

    def __post_init__(self) -> None:
        if min(self.neighbours, self.window, self.max_history) < 1 or self.ridge <= 0:
            raise Invalid("neighbours, window, max_history and ridge must be positive")
        if not (0 <= self.order <= 1 and 0 < self.recency <= 1):
            raise Invalid("order must lie in [0, 1] and recency in (0, 1]")


class LocalSlim(ItemToItem):
    """Item-item weights from one small ridge regression for each item.

    SLIM (Ning and Karypis 2011) with an l2 penalty, restricted for each item to its most
    cosine-similar items, so that the cost grows with items x neighbours^3 instead of items^3.
    The loss mixes SLIM's with the transition loss of SLIST (Choi et al. 2021, section 3.3):
    the recency-weighted past predicts the next event, which makes the weights directed.
    """

    KIND: ClassVar[str] = "slim"

    @classmethod
    def fit(
        cls, interactions: Interactions, settings: SlimSettings | None = None, *, workers: int = 2
    ) -> Self:
        """Learn from positive events; empty input gives all-zero scores.

        Deterministic, whatever the number of `workers` (threads).
        """
        chosen = settings or SlimSettings()
        moments = Moments.of(interactions, chosen)
        if chosen.neighbours >= interactions.n_items - 1 and interactions.n_items <= _DENSE:
            weights = Csr.of(sparse(_solve_all(moments, chosen.ridge)))
        else:
            count = min(chosen.neighbours, max(interactions.n_items - 1, 1))
            neighbours = largest_in_rows(moments.likeness, count)
            solved = _solve(moments, neighbours, chosen.ridge, workers)
            weights = _matrix(neighbours, solved)
        return cls(weights, chosen.recency, chosen.max_history)


@dataclass(frozen=True)
class Moments:
    """What the regressions need of the events.

    Parameters
    ----------
    sources : CSR (n_examples, n_items)
        The predicting side of both losses' examples; its Gram matrix is the left-hand side.
    target : CSR (n_items, n_items)
        Right-hand side: row = item to predict, column = item that predicts it.
    likeness : CSR (n_items, n_items)
        Cosine of target and source, to choose neighbours; empty diagonal.
    """

    sources: Sparse
    target: Sparse
    likeness: Sparse

    @classmethod
    def of(cls, interactions: Interactions, settings: SlimSettings) -> Self:
        """Build both losses' matrices from ordered, capped, positive events."""
        events = interactions.positive().newest(settings.max_history)
        whole, _ = baskets(events)
        past, following = transitions(events, settings.window, settings.recency)
        together = (whole.T @ whole).tocsr()
        after = (following.T @ past).tocsr()
        share = settings.order
        return cls(
            sources=stacked(np.sqrt(1 - share) * whole, np.sqrt(share) * past),
            target=hollow((1 - share) * together + share * after),
            likeness=hollow(
                (1 - share) * cosine(together, column_norms(whole), column_norms(whole))
                + share * cosine(after, column_norms(following), column_norms(past))
            ),
        )

    def gram_rows(self, start: int, end: int) -> Floats:
        """Return rows `start` to `end` of the left-hand side, dense."""
        return np.asarray((self._turned[start:end] @ self.sources).toarray(), dtype=np.float32)

    @cached_property
    def _turned(self) -> Sparse:
        return self.sources.T.tocsr()


def transitions(events: Interactions, window: int, recency: float) -> tuple[Sparse, Sparse]:
    """Return the recency-weighted past of each event and the event itself, one row an event.

    The past of an event are the `window` events of the same user before it; the newest has
    age 0. Both matrices are (n_events, n_items) and carry the square root of the event's
    weight, so that their products are weighted by it.
    """
    rank, n = events.time_rank(), len(events)
    weight = events.weight / mean_weight(events)
    rows, items, values = [], [], []
    for lag in range(1, min(window, n - 1) + 1):
        now = np.flatnonzero(events.user[lag:] == events.user[:-lag]) + lag
        before = now - lag
        age = rank[now - 1] - rank[before]
        rows.append(now)
        items.append(events.item[before])
        values.append(recency**age * weight[before] * np.sqrt(weight[now]))
    shape = (n, events.n_items)
    empty = np.zeros(0, dtype=np.int64)
    followed = np.flatnonzero(events.user[1:] == events.user[:-1]) + 1
    past = csr(
        np.concatenate([empty, *rows]),
        np.concatenate([empty, *items]),
        np.concatenate([empty.astype(float), *values]),
        shape,
    )
    return past, csr(followed, events.item[followed], np.sqrt(weight[followed]), shape)


def _solve_all(moments: Moments, ridge: float) -> Floats:
    """Return the (source, target) weights when each item is regressed on all others at once.

    EASE's closed form (Steck 2019), for any right-hand side: of the inverse P of the left-hand
    side, ``w_j = P r_j - P[:, j] (P r_j)[j] / P[j, j]`` is the solution with ``w_j[j] = 0``.
    """
    n_items = moments.sources.shape[1]
    left = moments.gram_rows(0, n_items).astype(np.float64) + ridge * np.eye(n_items)
    inverse = np.linalg.inv(left)
    free = inverse @ moments.target.T.toarray()
    weights = free - inverse * (np.diag(free) / np.diag(inverse))
    np.fill_diagonal(weights, 0)
    return np.asarray(weights)


def _solve(moments: Moments, neighbours: Ints, ridge: float, workers: int) -> Floats:
    """Return the (n_items, count) weights of each item's neighbours; 0 where there is none."""
    left = _left_sides(moments, neighbours, workers)
    n_items, count = neighbours.shape
    weights = np.zeros((n_items, count), dtype=np.float32)

    def solve(start: int) -> None:
        part = slice(start, start + _BLOCK)
        present = neighbours[part] >= 0
        matrix = left[part] * present[:, None, :]
        matrix[:, np.arange(count), np.arange(count)] += ridge
        right = moments.target[part].toarray()
        right = np.take_along_axis(right, np.maximum(neighbours[part], 0), axis=1) * present
        weights[part] = np.linalg.solve(matrix, right[..., None])[..., 0]

    with ThreadPoolExecutor(workers) as pool:
        list(pool.map(solve, range(0, n_items, _BLOCK)))
    return weights


def _left_sides(moments: Moments, neighbours: Ints, workers: int) -> Floats:
    """Return (n_items, count, count): the Gram matrix between the neighbours of each item.

    Goes through the Gram matrix once, block by block of its rows, as it does not fit in memory.
    """
    n_items, count = neighbours.shape
    left = np.zeros((n_items, count, count), dtype=np.float32)
    columns = np.maximum(neighbours, 0)
    places = np.argsort(neighbours, axis=None, kind="stable")
    owner, place = np.divmod(places[np.count_nonzero(neighbours < 0) :], count)
    source = neighbours[owner, place]

    def gather(start: int) -> None:
        first, last = np.searchsorted(source, [start, start + _BLOCK])
        if first < last:
            rows = moments.gram_rows(start, min(start + _BLOCK, n_items))
            mine = owner[first:last]
            wanted = rows[(source[first:last] - start)[:, None], columns[mine]]
            left[mine, place[first:last]] = wanted

    with ThreadPoolExecutor(workers) as pool:
        list(pool.map(gather, range(0, n_items, _BLOCK)))
    return left


def _matrix(neighbours: Ints, weights: Floats) -> Csr:
    n_items = len(neighbours)
    target, place = np.nonzero(neighbours >= 0)
    source = neighbours[target, place]
    return Csr.of(csr(source, target, weights[target, place], (n_items, n_items)))
