"""The catalogue in columns: what a filter must know of an item, by row."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from shared.contracts.events import Product
from shared.learning.arrays import Bools, Floats, Ints

SEPARATOR = "/"
NO_PRICE = -1
_FIRST_ROWS = 1024


class Catalog:
    """All items that were ever mentioned, one row each, numbered in the order of their mention.

    A row is never given to another item, so that numbers handed out stay true; an item that is
    gone, or was mentioned by a release or a count only, is closed.

    Attributes
    ----------
    ids : list of str
        Row to item id.
    version : int
        Rises with every change.
    """

    def __init__(self) -> None:
        self.ids: list[str] = []
        self.version = 0
        self._row: dict[str, int] = {}
        # Lists of strings and a sparse dict: what the garbage collector need not look through.
        self._titles: list[str] = []
        self._translations: dict[int, Mapping[str, str]] = {}
        self._paths: dict[tuple[str, ...], int] = {(): 0}
        self._brands: dict[str, int] = {}
        self._known = np.zeros(_FIRST_ROWS, dtype=bool)
        self._open = np.zeros(_FIRST_ROWS, dtype=bool)
        self._price = np.full(_FIRST_ROWS, NO_PRICE, dtype=np.int64)
        self._path = np.zeros(_FIRST_ROWS, dtype=np.int32)
        self._brand = np.full(_FIRST_ROWS, -1, dtype=np.int32)
        self._since = np.zeros(_FIRST_ROWS, dtype=np.float64)

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def known(self) -> Bools:
        """Whether each row is in the catalogue now."""
        return self._known[: len(self)]

    @property
    def open(self) -> Bools:
        """Whether each row may be shown now: in the catalogue, in stock and not hidden."""
        return self._open[: len(self)]

    @property
    def price(self) -> Ints:
        """Each row's price in cents, `NO_PRICE` where it is not known."""
        return self._price[: len(self)]

    @property
    def path(self) -> Ints:
        """The number of each row's category path; 0 for none."""
        return self._path[: len(self)]

    @property
    def brand(self) -> Ints:
        """The number of each row's brand; -1 for none."""
        return self._brand[: len(self)]

    @property
    def since(self) -> Floats:
        """When each row first came into the catalogue, in seconds since 1970."""
        return self._since[: len(self)]

    def row(self, item: str) -> int:
        """Return the item's row; an item that was never mentioned gets a closed one."""
        row = self._row.get(item)
        if row is None:
            row = self._row[item] = len(self.ids)
            self.ids.append(item)
            self._titles.append(item)
            self._grow()
            self.version += 1
        return row

    def find(self, item: str) -> int | None:
        """Return the item's row, or None if it was never mentioned."""
        return self._row.get(item)

    def holds(self, item: str) -> bool:
        """Whether the item is in the catalogue now, in stock or not."""
        row = self._row.get(item)
        return row is not None and bool(self._known[row])

    def title(self, item: str, lang: str) -> str:
        """Return the item's title in the language, else the shop's own, else its id."""
        row = self._row.get(item)
        if row is None:
            return item
        for tag, text in self._translations.get(row, {}).items():
            if tag.lower().split("-")[0] == lang:
                return text
        return self._titles[row]

    def put(self, product: Product, time_s: float) -> None:
        """Take the product as it is now."""
        row = self.row(product.id)
        if not self._known[row]:
            self._since[row] = time_s
        self._known[row] = True
        self._open[row] = product.available and not product.hidden
        self._price[row] = NO_PRICE if product.price_cents is None else product.price_cents
        self._path[row] = self._paths.setdefault(product.category, len(self._paths))
        self._brand[row] = (
            -1
            if product.brand is None
            else self._brands.setdefault(product.brand, len(self._brands))
        )
        self._titles[row] = product.title
        self._translations.pop(row, None)
        if product.titles:
            self._translations[row] = product.titles
        self.version += 1

    def remove(self, item: str) -> None:
        """Close the item's row: its product is gone."""
        row = self._row.get(item)
        if row is not None:
            self._known[row] = self._open[row] = False
            self._titles[row] = item
            self._translations.pop(row, None)
            self.version += 1

    def within(self, category: str) -> Bools:
        """Return which path numbers lie in a category: (n_paths,) mask to index with `path`.

        `category` is a path from the root joined by ``/``, or the name of any one level of it.
        """
        wanted = tuple(category.split(SEPARATOR))
        mask = np.zeros(len(self._paths), dtype=bool)
        for path, number in self._paths.items():
            mask[number] = path[: len(wanted)] == wanted or category in path
        return mask

    def _grow(self) -> None:
        if len(self.ids) <= len(self._known):
            return
        for name, fill in _FILL.items():
            old: NDArray[Any] = getattr(self, name)
            new = np.full(2 * len(old), fill, dtype=old.dtype)
            new[: len(old)] = old
            setattr(self, name, new)


_FILL: Mapping[str, float] = {
    "_known": 0,
    "_open": 0,
    "_price": NO_PRICE,
    "_path": 0,
    "_brand": -1,
    "_since": 0,
}
