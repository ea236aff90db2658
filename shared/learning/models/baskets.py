"""Events as a matrix of users and items."""

import numpy as np

from shared.learning.features.interactions import Interactions
from shared.learning.sparse import Sparse, csr


def baskets(events: Interactions) -> tuple[Sparse, float]:
    """Return the (n_users, n_items) matrix of each pair's greatest weight, and their mean.

    The entries are divided by that mean, so that penalties mean the same for every shop.
    """
    order = np.lexsort((events.weight, events.item, events.user))
    ranked = events.where(order)
    pair = ranked.user.astype(np.int64) * events.n_items + ranked.item
    greatest = ranked.where(np.append(pair[1:] != pair[:-1], True)[: len(pair)])
    scale = mean_weight(greatest)
    shape = (events.n_users, events.n_items)
    return csr(greatest.user, greatest.item, greatest.weight / scale, shape), scale


def mean_weight(events: Interactions) -> float:
    """Return the mean weight of positive events; 1 when there is none."""
    return float(events.weight.mean()) if len(events) else 1.0
