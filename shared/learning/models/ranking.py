"""From scores to a list."""

from typing import Any, NamedTuple

import numpy as np

from shared.learning.arrays import Floats, Ints

_NONE = np.zeros(0, dtype=np.int32)
_STRIDE = 16


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
    if len(exclude):
        scores = scores.copy()
        scores[exclude] = -np.inf
    items = best(scores, k)
    return Ranked(items.astype(np.int32), scores[items])


def best(scores: Floats, n: int) -> Ints:
    """Return the numbers of the `n` best, best first; the lower number wins a tie.

    ``-inf`` is never chosen. A bound guessed from every sixteenth score leaves little to sort;
    the result is exact, since a bound that lets too few through is replaced by the n-th score.
    """
    n = min(n, len(scores))
    if n <= 0:
        return _NONE
    found = _from(scores, n, _guessed(scores, n))
    if len(found) < n:
        found = _from(scores, n, np.sort(scores)[len(scores) - n])
    found = found[np.argsort(-scores[found], kind="stable")[:n]]
    return found[scores[found] > -np.inf]


def _guessed(scores: Floats, n: int) -> np.floating[Any]:
    """Return a score that about `n` to `4 n` others reach."""
    # Sorted, not partitioned: numpy's partition is slow where most scores are one and the same.
    sample = np.sort(scores[::_STRIDE])
    place = max(len(sample) - max(2 * n // _STRIDE, 8), 0)
    return sample[place]  # type: ignore[no-any-return]


def _from(scores: Floats, n: int, bound: np.floating[Any]) -> Ints:
    """Return all above the bound and, of those at it, the first that are needed to make `n`.

    Those at it may be a whole catalogue of zeros, which must not be sorted.
    """
    above = np.flatnonzero(scores > bound)
    if len(above) >= n:
        return above
    return np.concatenate([above, np.flatnonzero(scores == bound)[: n - len(above)]])
