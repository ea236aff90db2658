"""From scores to a list."""

from typing import NamedTuple

import numpy as np

from shared.learning.arrays import Floats, Ints

_NONE = np.zeros(0, dtype=np.int32)


class Ranked(NamedTuple):
    """Items and their scores, best first."""

    items: Ints
    scores: Floats


def top(scores: Floats, k: int, exclude: Ints = _NONE) -> Ranked:
    """Return the `k` best items that are not in `exclude`; the lower number wins a tie.

    Parameters
    ----------
    scores : (n_items,) floats
        ``-inf`` marks an item that must not be shown.
    k : int
        Length of the list; fewer come back where fewer may be shown.
    exclude : integers
        Items that must not be shown.
    """
    scores = scores.copy()
    scores[exclude] = -np.inf
    k = min(k, len(scores))
    if k <= 0:
        return Ranked(_NONE, np.zeros(0, dtype=np.float32))
    # Everything as good as the k-th is a candidate, or ties would be cut by memory order.
    bound = np.partition(scores, len(scores) - k)[len(scores) - k]
    near = np.flatnonzero((scores >= bound) & (scores > -np.inf))
    best = near[np.argsort(-scores[near], kind="stable")[:k]]
    return Ranked(best.astype(np.int32), scores[best])
