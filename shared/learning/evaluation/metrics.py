"""Ranking metrics over full rankings, one value a user, so that their noise can be told.

Sampled-negative variants are left out on purpose: they order models wrongly (Krichene and
Rendle 2020).
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Self

import numpy as np

from shared.contracts.errors import Invalid
from shared.learning.arrays import Bools, Floats, Ints
from shared.learning.models.ranking import Ranked


@dataclass(frozen=True)
class Lists:
    """Ranked lists and which of their places were right.

    Parameters
    ----------
    items : (n_users, k) integers
        Best first; -1 fills up a short list.
    hits : (n_users, k) bool
        Whether the item at this place was relevant.
    relevant : (n_users,) integers
        How many items were relevant, in the list or not; at least 1.
    """

    items: Ints
    hits: Bools
    relevant: Ints

    @classmethod
    def of(cls, ranked: Sequence[Ranked], relevant: Sequence[Ints], k: int) -> Self:
        """Judge the first `k` items of each list by the user's relevant items."""
        if len(ranked) != len(relevant):
            raise Invalid("each list needs its relevant items")
        items = np.full((len(ranked), k), -1, dtype=np.int32)
        hits = np.zeros((len(ranked), k), dtype=bool)
        for row, (one, wanted) in enumerate(zip(ranked, relevant, strict=True)):
            shown = one.items[:k]
            items[row, : len(shown)] = shown
            hits[row, : len(shown)] = np.isin(shown, wanted)
        counts = np.array([len(np.unique(wanted)) for wanted in relevant], dtype=np.int64)
        return cls(items, hits, counts)

    def __len__(self) -> int:
        return len(self.items)

    def where(self, rows: Ints) -> Self:
        """Return the lists of some of the users; a row may be asked for more than once."""
        return type(self)(self.items[rows], self.hits[rows], self.relevant[rows])


def hit_rate(lists: Lists, k: int) -> Floats:
    """Return 1 for each user with a relevant item among the first `k`, else 0."""
    return np.asarray(lists.hits[:, :k].any(axis=1), dtype=np.float64)


def recall(lists: Lists, k: int) -> Floats:
    """Return the share of each user's relevant items among the first `k`."""
    found = lists.hits[:, :k].sum(axis=1)
    return np.asarray(found / lists.relevant, dtype=np.float64)


def ndcg(lists: Lists, k: int) -> Floats:
    """Return each user's discounted gain over that of the best possible list (binary gains)."""
    discount = 1 / np.log2(np.arange(2, k + 2))
    gain = lists.hits[:, :k] @ discount[: lists.hits.shape[1]]
    best = np.cumsum(discount)[np.minimum(lists.relevant, k) - 1]
    return np.asarray(gain / best, dtype=np.float64)


def reciprocal_rank(lists: Lists, k: int) -> Floats:
    """Return 1 / the place of each user's first relevant item; 0 beyond `k`."""
    hits = lists.hits[:, :k]
    return np.where(hits.any(axis=1), 1 / (hits.argmax(axis=1) + 1), 0.0)


PER_USER: Mapping[str, Callable[[Lists, int], Floats]] = MappingProxyType(
    {"ndcg": ndcg, "recall": recall, "hit_rate": hit_rate, "mrr": reciprocal_rank}
)


def coverage(lists: Lists, k: int, n_items: int) -> float:
    """Return the share of all items that some list shows."""
    return float(np.count_nonzero(exposure(lists, k, n_items)) / n_items)


def gini(lists: Lists, k: int, n_items: int) -> float:
    """Return the inequality of exposure: 0 when all items are shown alike, near 1 for one."""
    shown = np.sort(exposure(lists, k, n_items)).astype(np.float64)
    total = shown.sum()
    if total == 0:
        return 0.0
    place = np.arange(1, n_items + 1)
    return float((2 * place - n_items - 1) @ shown / (n_items * total))


def novelty(lists: Lists, k: int, popularity: Floats) -> float:
    """Return the mean ``-log2`` probability of the shown items, in bits.

    Parameters
    ----------
    lists : Lists
        The lists shown.
    k : int
        Places that count.
    popularity : (n_items,) floats
        Training events of each item; one more is added, so that a new item has a finite value.
    """
    share = (popularity + 1) / (popularity + 1).sum()
    shown = lists.items[:, :k]
    return float(-np.log2(share[shown[shown >= 0]]).mean()) if np.any(shown >= 0) else 0.0


def exposure(lists: Lists, k: int, n_items: int) -> Ints:
    """Return how many of the lists show each item among their first `k`."""
    shown = lists.items[:, :k]
    return np.bincount(shown[shown >= 0], minlength=n_items)
