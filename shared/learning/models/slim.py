"""Local ridge-SLIM that also learns the order of events."""

from dataclasses import dataclass
from typing import ClassVar, Self

import numpy as np

from shared.contracts.errors import Invalid
from shared.learning.arrays import Floats, Ints
from shared.learning.features.interactions import Interactions
from shared.learning.models.baskets import baskets, mean_weight
from shared.learning.models.csr import Csr
from shared.learning.models.item_to_item import ItemToItem
from shared.learning.sparse import Sparse, column_norms, cosine, csr, hollow, largest_in_rows

_BLOCK = 256
"""Items worked on at once: a dense block of 256 x 20,000 floats is 20 MB."""


@dataclass(frozen=True)
class SlimSettings:
    """Settings of `LocalSlim`.

    Parameters
    ----------
    neighbours : int
        Items that each item is regressed on.
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
    def fit(cls, interactions: Interactions, settings: SlimSettings | None = None) -> Self:
        """Learn from positive events; deterministic. Empty input gives all-zero scores."""
        chosen = settings or SlimSettings()
        moments = Moments.of(interactions, chosen)
        neighbours = largest_in_rows(moments.likeness, chosen.neighbours)
        weights = _solve(moments, neighbours, chosen.ridge)
        return cls(_matrix(neighbours, weights), chosen.recency, chosen.max_history)


@dataclass(frozen=True)
class Moments:
    """What the regressions need of the events.

    Parameters
    ----------
    sides : tuple of (sources, share)
        Matrices whose Gram matrices, weighted with their share, make the left-hand side.
    target : CSR (n_items, n_items)
        Right-hand side: row = item to predict, column = item that predicts it.
    likeness : CSR (n_items, n_items)
        Cosine of target and source, to choose neighbours; empty diagonal.
    """

    sides: tuple[tuple[Sparse, float], ...]
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
            sides=((whole, 1 - share), (past, share)),
            target=hollow((1 - share) * together + share * after),
            likeness=hollow(
                (1 - share) * cosine(together, column_norms(whole), column_norms(whole))
                + share * cosine(after, column_norms(following), column_norms(past))
            ),
        )

    def gram_rows(self, start: int, end: int) -> Floats:
        """Return rows `start` to `end` of the left-hand side, dense."""
        rows = sum(share * (side[:, start:end].T @ side) for side, share in self._columns())
        return np.asarray(rows.toarray(), dtype=np.float32)

    def _columns(self) -> list[tuple[Sparse, float]]:
        return [(side, share) for side, share in self.sides if share > 0]


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
    followed = np.unique(np.concatenate([empty, *rows]))
    past = csr(
        np.concatenate([empty, *rows]),
        np.concatenate([empty, *items]),
        np.concatenate([empty.astype(float), *values]),
        shape,
    )
    return past, csr(followed, events.item[followed], np.sqrt(weight[followed]), shape)


def _solve(moments: Moments, neighbours: Ints, ridge: float) -> Floats:
    """Return the (n_items, count) weights of each item's neighbours; 0 where there is none."""
    n_items, count = neighbours.shape
    left = np.zeros((n_items, count, count), dtype=np.float32)
    where = np.maximum(neighbours, 0)
    sources = np.argsort(neighbours, axis=None, kind="stable")
    sources = sources[np.count_nonzero(neighbours < 0) :]
    owner, place = np.divmod(sources, count)
    source = neighbours[owner, place]
    for start in range(0, n_items, _BLOCK):
        span = slice(*np.searchsorted(source, [start, start + _BLOCK]))
        if span.start < span.stop:
            rows = moments.gram_rows(start, min(start + _BLOCK, n_items))
            gathered = rows[(source[span] - start)[:, None], where[owner[span]]]
            left[owner[span], place[span]] = gathered
    missing = neighbours < 0
    weights = np.zeros((n_items, count), dtype=np.float32)
    for start in range(0, n_items, _BLOCK):
        part = slice(start, start + _BLOCK)
        absent = missing[part]
        matrix = left[part] * ~absent[:, None, :]
        matrix[:, np.arange(count), np.arange(count)] += ridge
        right = moments.target[part].toarray()
        right = np.take_along_axis(right, where[part], axis=1) * ~absent
        weights[part] = np.linalg.solve(matrix, right[..., None])[..., 0]
    return weights


def _matrix(neighbours: Ints, weights: Floats) -> Csr:
    n_items = len(neighbours)
    target, place = np.nonzero(neighbours >= 0)
    source = neighbours[target, place]
    return Csr.of(csr(source, target, weights[target, place], (n_items, n_items)))
