"""Many scores to one."""

from collections.abc import Iterable

import numpy as np

from services.recommender.core.candidates import Source
from services.recommender.core.shelf import Shelf
from shared.learning.arrays import Floats


def blend(shelf: Shelf, sources: Iterable[Source]) -> Floats:
    """Return the (n,) weighted sum of the sources over what holds for everybody."""
    total = shelf.base.copy()
    for source in sources:
        total[: len(source.scores)] += source.scores * np.float32(source.factor)
    return total
