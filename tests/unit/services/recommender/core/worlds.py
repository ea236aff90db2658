"""Small shops for the tests of the core."""

from collections.abc import Iterable, Mapping

import numpy as np

from services.recommender.core.activity import Activity
from services.recommender.core.catalog import Catalog
from services.recommender.core.query import Rules
from services.recommender.core.shelf import Shelf, Stock
from shared.contracts.events import Product
from shared.learning.models.bundle import Bundle
from shared.learning.models.csr import Csr
from shared.learning.models.ials import Ials, IalsSettings
from shared.learning.models.ids import IdIndex
from shared.learning.models.popularity import Popularity
from shared.learning.models.slim import LocalSlim

NOW_S = 1_700_000_000.0


def product(item: str, category: tuple[str, ...] = (), **fields: object) -> Product:
    return Product(id=item, title=item.title(), category=category, **fields)  # type: ignore[arg-type]


def catalog_of(products: Iterable[Product], since_s: float = NOW_S) -> Catalog:
    catalog = Catalog()
    for one in products:
        catalog.put(one, since_s)
    return catalog


def slim(ids: IdIndex, weights: Mapping[tuple[str, str], float]) -> LocalSlim:
    dense = np.zeros((len(ids), len(ids)), dtype=np.float32)
    for (source, target), weight in weights.items():
        dense[ids.get(source), ids.get(target)] = weight
    rows, columns = np.nonzero(dense)
    bounds = np.r_[0, np.cumsum(np.bincount(rows, minlength=len(ids)))].astype(np.int64)
    return LocalSlim(Csr(bounds, columns.astype(np.int32), dense[rows, columns], len(ids)), 0.5, 50)


def random_bundle(items: list[str], seed: int) -> Bundle:
    """Return a bundle of SLIM, iALS and popularity with random weights of both signs."""
    rng = np.random.default_rng(seed)
    ids = IdIndex(items)
    weights = {(a, b): float(rng.normal()) for a in items for b in items if a != b}
    factors = rng.normal(size=(len(items), 4)).astype(np.float32)
    models = {
        "slim": slim(ids, weights),
        "ials": Ials(factors, IalsSettings(factors=4), 1.0),
        "popular": Popularity(rng.integers(0, 9, len(items)).astype(np.float32)),
    }
    return Bundle({"items": ids}, models, {})


def shelf_of(bundle: Bundle | None, catalog: Catalog, rules: Rules | None = None) -> Shelf:
    stock = Stock.of(bundle, "v1", "current" if bundle else None, catalog)
    return stock.shelf(catalog, Activity(catalog), rules or Rules(), NOW_S)
