"""Many scores to one."""

from collections.abc import Iterable

from services.recommender.core.shelf import Shelf
from services.recommender.core.source import Few, Source
from shared.learning.arrays import Floats


def blend(shelf: Shelf, sources: Iterable[Source | Few]) -> Floats:
    """Return the (n,) sum of the sources and of what holds for everybody."""
    total = shelf.base.copy()
    for source in sources:
        source.add_to(total)
    return total
