"""Many scores to one, and the best of them."""

from collections.abc import Iterable

import numpy as np

from services.recommender.core.candidates import Source
from services.recommender.core.shelf import Shelf
from shared.learning.arrays import Floats, Ints

_STRIDE = 16


def blend(shelf: Shelf, sources: Iterable[Source]) -> Floats:
    """Return the (n,) weighted sum of the sources over what holds for everybody."""
    total = shelf.base.copy()
    for source in sources:
        total[: len(source.scores)] += source.scores * np.float32(source.factor)
    return total


def best(scores: Floats, n: int) -> Ints:
    """Return the numbers of the `n` best, best first; the lower number wins a tie.

    ``-inf`` is never chosen. A bound guessed from every sixteenth score leaves little to sort;
    the result is exact, since a bound that lets too few through is dropped.
    """
    bound = np.float32(-np.inf)
    if len(scores) > _STRIDE * n // 2:
        sample = scores[::_STRIDE]
        place = max(len(sample) - max(2 * n // _STRIDE, 8), 0)
        bound = np.partition(sample, place)[place]
    near = np.flatnonzero(scores >= bound)
    if len(near) < n:
        near = np.arange(len(scores))
    near = near[np.argsort(-scores[near], kind="stable")[:n]]
    return near[scores[near] > -np.inf]
