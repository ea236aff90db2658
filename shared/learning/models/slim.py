"""Local ridge-SLIM that also learns the order of events."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
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
    columns_of,
    cosine,
    csr,
    gram,
    hollow,
    picked,
    sparse,
    strongest,
)

_CELLS = 1 << 24
"""Floats of left-hand sides that one thread holds at once: 64 MB."""

_ROWS = 1 << 21
"""Floats of dense rows that one thread gathers from: 8 MB, near the cache."""

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
            weights = Csr.of(_solve(moments, chosen, workers))
        return cls(weights, chosen.recency, chosen.max_history)


@dataclass(frozen=True)
class Moments:
    """What the regressions need of the events.

    Parameters
    ----------
    left : CSR (n_items, n_items)
        Left-hand side: the Gram matrix of the predicting sides of both losses' examples.
    target : CSR (n_items, n_items)
        Right-hand side: row = item to predict, column = item that predicts it.
    likeness : CSR (n_items, n_items)
        Cosine of target and source, to choose neighbours; empty diagonal.
    """

    left: Sparse
    target: Sparse
    likeness: Sparse

    @classmethod
    def of(cls, interactions: Interactions, settings: SlimSettings) -> Self:
        """Build both losses' matrices from ordered, capped, positive events."""
        events = interactions.positive().newest(settings.max_history)
        whole, _ = baskets(events)
        past, following = transitions(events, settings.window, settings.recency)
        together, after = gram(whole, whole), gram(following, past)
        share, norms = settings.order, column_norms(whole)
        return cls(
            left=(1 - share) * together + share * gram(past, past),
            target=hollow((1 - share) * together + share * after),
            likeness=hollow(
                (1 - share) * cosine(together, norms, norms)
                + share * cosine(after, column_norms(following), column_norms(past))
            ),
        )


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
    left = moments.left.toarray().astype(np.float64) + ridge * np.eye(moments.left.shape[0])
    inverse = np.linalg.inv(left)
    free = inverse @ moments.target.T.toarray()
    weights = free - inverse * (np.diag(free) / np.diag(inverse))
    np.fill_diagonal(weights, 0)
    return np.asarray(weights)


def _solve(moments: Moments, settings: SlimSettings, workers: int) -> Sparse:
    """Return the (source, target) weights when each item is regressed on its neighbours."""
    nearest = strongest(moments.likeness, settings.neighbours)
    items = np.flatnonzero(np.diff(nearest.indptr))
    count = min(settings.neighbours, max(nearest.shape[0] - 1, 1))
    neighbours = columns_of(nearest[items], count)
    weights = np.zeros(neighbours.shape, dtype=np.float32)
    step = max(_CELLS // count**2, 1)

    def solve(start: int) -> None:
        mine = neighbours[start : start + step]
        left = _left_sides(moments.left, mine)
        left[:, np.arange(count), np.arange(count)] += settings.ridge
        targets = np.repeat(items[start : start + step], count)
        right = picked(moments.target, targets, np.maximum(mine, 0).ravel()).reshape(mine.shape)
        right[mine < 0] = 0
        weights[start : start + step] = np.linalg.solve(left, right[..., None])[..., 0]

    with ThreadPoolExecutor(workers) as pool:
        list(pool.map(solve, range(0, len(items), step)))
    row, place = np.nonzero(neighbours >= 0)
    return csr(neighbours[row, place], items[row], weights[row, place], nearest.shape)


def _left_sides(gram_matrix: Sparse, neighbours: Ints) -> Floats:
    """Return (n, count, count): the Gram matrix between the neighbours of each item; 0 for none.

    Goes once through those rows of the matrix that are somebody's neighbour, a few at a time:
    dense ones to gather from, of which only what was written is cleared again.
    """
    n_items, (n, count) = gram_matrix.shape[0], neighbours.shape
    left = np.zeros((n, count, count), dtype=np.float32)
    places = np.argsort(neighbours, axis=None, kind="stable")
    places = places[np.count_nonzero(neighbours < 0) :]
    owner, place = np.divmod(places, count)
    source = neighbours.ravel()[places]
    # One column more, which stays empty, for places without a neighbour.
    width, columns = n_items + 1, np.where(neighbours < 0, n_items, neighbours)
    step = max(_ROWS // width, 1)
    rows = np.zeros(step * width, dtype=np.float32)
    starts = np.arange(0, n_items, step)
    bounds = np.searchsorted(source, np.append(starts, n_items))
    for start, first, last in zip(starts, bounds[:-1], bounds[1:], strict=True):
        if first == last:
            continue
        ends = gram_matrix.indptr[start : start + step + 1]
        stored = slice(ends[0], ends[-1])
        written = np.repeat(np.arange(len(ends) - 1) * width, np.diff(ends))
        written += gram_matrix.indices[stored]
        rows[written] = gram_matrix.data[stored]
        mine = slice(first, last)
        wanted = columns[owner[mine]] + ((source[mine] - start) * width)[:, None]
        left[owner[mine], place[mine]] = rows.take(wanted)
        rows[written] = 0
    return left
