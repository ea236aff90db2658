"""What everybody does lately, from the windowed counts of items."""

import numpy as np

from services.recommender.core.catalog import Catalog
from shared.contracts.events import ItemActivity
from shared.learning.arrays import Floats, Ints
from shared.learning.features.weights import BY_ACTION

WEEK_S = 604_800.0
_LAST_WINDOW = 2
_DAY = 1


class Activity:
    """The newest counts of each item, in the catalogue's rows.

    Attributes
    ----------
    version : int
        Rises with every change.
    """

    def __init__(self, catalog: Catalog) -> None:
        self._catalog = catalog
        self.version = 0
        self._demand = np.zeros(len(catalog), dtype=np.float32)
        self._growth = np.zeros(len(catalog), dtype=np.float32)
        self._ended = np.zeros(len(catalog), dtype=np.float64)

    def put(self, counts: ItemActivity) -> None:
        """Take the item's counts, unless newer ones are there."""
        row = self._catalog.row(counts.item_id)
        self._fit(row + 1)
        ended = counts.ended.timestamp()
        if ended < self._ended[row]:
            return
        self._ended[row] = ended
        self._demand[row] = (
            BY_ACTION["view_item"] * counts.views[_LAST_WINDOW]
            + BY_ACTION["add_to_cart"] * counts.carts[_LAST_WINDOW]
            + BY_ACTION["purchase"] * counts.buys[_LAST_WINDOW]
        )
        self._growth[row] = max(counts.growth[_DAY], 0.0)
        self.version += 1

    def remove(self, item: str) -> None:
        """Forget the item's counts."""
        row = self._catalog.find(item)
        if row is not None and row < len(self._ended):
            self._demand[row] = self._growth[row] = self._ended[row] = 0
            self.version += 1

    def popular(self, rows: Ints, now_s: float) -> Floats:
        """Return the weighted demand of the last week for `rows`; a week that is over fades."""
        self._fit(len(self._catalog))
        age = np.maximum(now_s - self._ended[rows], 0.0)
        return (self._demand[rows] * np.exp2(-age / WEEK_S)).astype(np.float32)

    def trending(self, rows: Ints, now_s: float) -> Floats:
        """Return growth over the last day for `rows`, in standard errors, 0 for none."""
        self._fit(len(self._catalog))
        fresh = now_s - self._ended[rows] < WEEK_S
        return np.where(fresh, self._growth[rows], np.float32(0))

    def _fit(self, rows: int) -> None:
        missing = rows - len(self._ended)
        if missing > 0:
            # Doubling keeps the cost of a first fill linear.
            more = max(missing, len(self._ended))
            self._demand = np.pad(self._demand, (0, more))
            self._growth = np.pad(self._growth, (0, more))
            self._ended = np.pad(self._ended, (0, more))
