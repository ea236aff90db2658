"""A whole recommender on ports that need no network: both processes beside each other."""

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

from services.recommender.app import build
from services.recommender.manifest import RECOMMEND, SERVICE
from services.recommender.settings import Settings
from shared.contracts.events import Behaviour, Decision, Order, Product, Touched
from shared.contracts.topics import BEHAVIOUR, CATALOG, DECISIONS, ORDERS
from shared.learning.models.bundle import Bundle
from shared.learning.models.csr import Csr
from shared.learning.models.ids import IdIndex
from shared.learning.models.popularity import Popularity
from shared.learning.models.slim import LocalSlim
from shared.runtime.releases.port import Provenance
from tests.fixtures.service import Component, Open, Surroundings

PATIENCE_S = 20.0


def bundle(
    items: Iterable[str],
    weights: dict[tuple[str, str], float],
    popularity: Iterable[float],
    **meta: Any,
) -> Bundle:
    """Return a bundle of a SLIM with these (from, to) weights and of popularity."""
    ids = IdIndex(items)
    dense = np.zeros((len(ids), len(ids)), dtype=np.float32)
    for (source, target), weight in weights.items():
        dense[ids.get(source), ids.get(target)] = weight
    rows, columns = np.nonzero(dense)
    bounds = np.r_[0, np.cumsum(np.bincount(rows, minlength=len(ids)))].astype(np.int64)
    slim = Csr(bounds, columns.astype(np.int32), dense[rows, columns], len(ids))
    popular = Popularity(np.array(list(popularity), dtype=np.float32))
    return Bundle({"items": ids}, {"slim": LocalSlim(slim, 0.8, 50), "popular": popular}, meta)


GROCER = bundle(
    ["bread", "butter", "jam", "tea", "milk"],
    {("bread", "butter"): 0.9, ("bread", "jam"): 0.5, ("tea", "milk"): 0.8, ("jam", "tea"): -0.2},
    [50, 20, 10, 30, 5],
)


@dataclass
class Shop:
    """A recommender with the world around it."""

    http: Component
    worker: Component

    @property
    def around(self) -> Surroundings:
        """Broker, Redis, releases and clock."""
        return self.http.around

    def user(self, name: str) -> str:
        """Return a shopper's pseudonym."""
        return self.http.ports.pseudonyms.of(name)

    async def sell(self, *ids: str, **fields: Any) -> None:
        """Put products into the catalogue."""
        given = {"title": "", "price_cents": 500, **fields}
        products = [
            Product(**{**given, "id": i, "title": fields.get("title", i.title())}) for i in ids
        ]
        await self.http.publish(CATALOG, *products)
        await self.http.settle()

    async def does(self, user: str, action: Any, *items: str, **fields: Any) -> None:
        """Let a known shopper do something, and have it taken in."""
        attributes = {k: fields.pop(k) for k in ("time", "consent", "id") if k in fields}
        event = Behaviour(action=action, items=tuple(map(Touched, items)), **fields)
        await self.worker.publish(BEHAVIOUR, event, userid=self.user(user), **attributes)
        await self.worker.settle()

    async def order(self, user: str, order: Order) -> None:
        """Let an order of a known shopper reach a status."""
        await self.worker.publish(ORDERS, order, userid=self.user(user))
        await self.worker.settle()

    async def release(self, made: Bundle, model: str = RECOMMEND) -> str:
        """Publish and promote a release; return its version."""
        releases = self.around.releases
        provenance = Provenance(trained_on={}, metrics={}, card={})
        manifest = await releases.publish(model, made.to_artifact(), provenance)
        epoch = (await releases.pointer(model)).epoch
        await releases.promote(model, manifest.version, epoch=epoch)
        return manifest.version

    async def serve(self, made: Bundle) -> str:
        """Release, and wait until it is served."""
        version = await self.release(made)

        async def served() -> bool:
            return bool((await self.get("/v1/recommendations/nobody"))["release"] == version)

        await self.eventually(served)
        return version

    async def get(self, path: str, **options: Any) -> Any:
        """Return the JSON of a request that must succeed."""
        response = await self.http.http.get(path, **options)
        assert response.status_code == 200, response.text
        return response.json()

    async def items(self, path: str, **options: Any) -> list[str]:
        """Return the ids of a list."""
        return [item["item_id"] for item in (await self.get(path, **options))["items"]]

    async def eventually(self, test: Callable[[], Awaitable[Any]]) -> Any:
        """Return the first true answer of `test`, asked until a deadline."""
        async with asyncio.timeout(PATIENCE_S):
            while not (found := await test()):
                await asyncio.sleep(0.005)
        return found

    async def decision(self, request_id: str) -> Decision:
        """Return the decision of a request once it is published."""

        async def there() -> Decision | None:
            found = (envelope.data for envelope in self.http.published(DECISIONS))
            return next((d for d in found if d.request_id == request_id), None)

        found: Decision = await self.eventually(there)
        return found


@pytest.fixture
async def shop(component: Open) -> Shop:
    """An open shop without goods and without a release."""
    given = {"explore": 0.0, "shelf_refresh_s": 0.0}
    worker = await component(SERVICE, build, "worker", Settings, **given)
    http = await component(SERVICE, build, "http", Settings, **given)
    return Shop(http, worker)


@pytest.fixture
async def grocer(shop: Shop) -> Shop:
    """A shop with five products and a release that knows them."""
    await shop.sell("bread", "butter", "jam", "tea", "milk")
    await shop.serve(GROCER)
    return shop
