"""Events as a matrix of users and items."""

import numpy as np

from shared.learning.features.interactions import Interactions
from shared.learning.sparse import Sparse, csr


def baskets(events: Interactions) -> tuple[Sparse, float]:
    """Return the (n_users, n_items) matrix of each pair's greatest weight, and their mean.

    The entries are divided by that mean, so that penalties mean the same for every shop.
    """
    pair = events.user.astype(np.int64) * events.n_items + events.item
    order = np.argsort(pair, kind="stable")
    first = np.flatnonzero(np.diff(pair[order], prepend=-1))
    shape = (events.n_users, events.n_items)
    if len(first) == 0:
        return csr(events.user, events.item, events.weight, shape), 1.0
    greatest = np.maximum.reduceat(events.weight[order], first)
    scale = float(greatest.mean())
    distinct = order[first]
    return csr(events.user[distinct], events.item[distinct], greatest / scale, shape), scale


def mean_weight(events: Interactions) -> float:
    """Return the mean weight of positive events; 1 when there is none."""
    return float(events.weight.mean()) if len(events) else 1.0
