"""A whole recommender on ports that need no network."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import fakeredis
import httpx
import numpy as np
import pytest

from services.recommender.app import build
from services.recommender.manifest import RECOMMEND, SERVICE
from services.recommender.settings import Settings
from shared.contracts.envelope import Envelope, utc
from shared.contracts.events import Behaviour, Order, Product, Touched
from shared.contracts.service import Process, Service
from shared.contracts.topics import BEHAVIOUR, CATALOG, ORDERS, TOPICS, Topic, wrap
from shared.learning.models.bundle import Bundle
from shared.learning.models.csr import Csr
from shared.learning.models.ids import IdIndex
from shared.learning.models.popularity import Popularity
from shared.learning.models.slim import LocalSlim
from shared.runtime.app import App, Ports
from shared.runtime.bus.memory import MemoryBroker, MemoryBus
from shared.runtime.clock import FakeClock, SystemClock
from shared.runtime.follow import ViewLoop
from shared.runtime.http import make_app
from shared.runtime.keys import ApiKeys, make
from shared.runtime.kv import RedisKeyValue
from shared.runtime.loop import Limits, WorkLoop
from shared.runtime.privacy import HmacPseudonyms, RedisVault
from shared.runtime.releases.memory import MemoryReleases
from shared.runtime.releases.port import Provenance

PATIENCE_S = 20.0
_OUTSIDE = Service(
    name="outside",
    about="Everything that the recommender only reads from.",
    processes=(Process("http", "A test."),),
    reads=tuple(TOPICS.values()),
    writes=tuple(TOPICS.values()),
)


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


@dataclass
class Shop:
    """A recommender with both processes running, and the world around it."""

    client: httpx.AsyncClient
    broker: MemoryBroker
    outside: MemoryBus
    ports: Ports
    clock: FakeClock
    releases: MemoryReleases
    redis_server: fakeredis.FakeServer
    http: App
    _count: int = field(default=0)

    async def send(self, topic: Topic[Any], event: Any, **attributes: Any) -> Envelope[Any]:
        """Publish an event as the collector would."""
        self._count += 1
        given = {"id": f"event-{self._count}", "source": "/test", "time": utc(self.clock.now())}
        envelope = wrap(topic, event, **{**given, **attributes})
        await self.outside.publish(topic, envelope)
        return envelope

    async def sell(self, *ids: str, **fields: Any) -> None:
        """Put products into the catalogue."""
        for item in ids:
            fields_of = {"title": item.title(), "price_cents": 500, **fields}
            await self.send(CATALOG, Product(id=item, **fields_of))

    async def does(self, user: str, action: Any, *items: str, **fields: Any) -> None:
        """Let a known shopper do something."""
        attributes = {k: fields.pop(k) for k in ("time", "consent", "id") if k in fields}
        event = Behaviour(action=action, items=tuple(map(Touched, items)), **fields)
        await self.send(BEHAVIOUR, event, userid=self.ports.pseudonyms.of(user), **attributes)

    async def orders(self, user: str, order: Order) -> None:
        """Let an order of a known shopper reach a status."""
        await self.send(ORDERS, order, userid=self.ports.pseudonyms.of(user))

    async def release(self, made: Bundle, model: str = RECOMMEND, **provenance: Any) -> str:
        """Publish and promote a release; return its version."""
        given = {"trained_on": {}, "metrics": {}, "card": {}, **provenance}
        manifest = await self.releases.publish(model, made.to_artifact(), Provenance(**given))
        epoch = (await self.releases.pointer(model)).epoch
        await self.releases.promote(model, manifest.version, epoch=epoch)
        return manifest.version

    async def get(self, path: str, **options: Any) -> dict[str, Any]:
        """Return the JSON of a request that must succeed."""
        response = await self.client.get(path, **options)
        assert response.status_code == 200, response.text
        answer: dict[str, Any] = response.json()
        return answer

    async def items(self, path: str, **options: Any) -> list[str]:
        """Return the ids of a list."""
        return [item["item_id"] for item in (await self.get(path, **options))["items"]]

    async def eventually(self, test: Callable[[], Awaitable[Any]]) -> Any:
        """Return the first true answer of `test`, asked until a deadline."""
        async with asyncio.timeout(PATIENCE_S):
            while not (found := await test()):
                self.clock.advance(1.0)
                await asyncio.sleep(0.005)
        return found

    def decisions(self) -> list[Any]:
        """Return the records of decisions so far."""
        return self.broker.records("decisions")


@asynccontextmanager
async def opened(folder: Path, **given: Any) -> AsyncIterator[Shop]:
    """Run both processes until the end of the block."""
    clock = FakeClock()
    broker, server = MemoryBroker(), fakeredis.FakeServer()
    redis = fakeredis.FakeAsyncRedis(server=server)
    kv = RedisKeyValue(redis, SERVICE, clock=clock)
    releases = MemoryReleases(clock=clock, cache=folder / "releases")
    ports = Ports(
        bus=MemoryBus(broker, SERVICE, clock=clock),
        kv=kv,
        releases=releases,
        pseudonyms=HmacPseudonyms(b"p" * 32),
        vault=RedisVault(kv, b"v" * 32),
        clock=clock,
        rng=np.random.default_rng(7),
    )
    settings = Settings(home=folder, explore=0.0, shelf_refresh_s=0.0, **given)
    text, key = make("test", ("serve",))
    http, worker = build("http", settings, ports), build("worker", settings, ports)
    asgi = make_app(SERVICE, http, keys=ApiKeys([key]), settings=settings, clock=clock)
    transport = httpx.ASGITransport(app=asgi)
    headers = {"Authorization": f"Bearer {text}"}
    stop = asyncio.Event()
    loops = [
        ViewLoop(ports.bus, SERVICE, http.views, clock=SystemClock()).run(stop),
        WorkLoop(
            ports.bus, SERVICE, worker.handlers, clock=SystemClock(), limits=Limits(poll_s=0.01)
        ).run(stop),
    ]
    async with AsyncExitStack() as stack:
        client = httpx.AsyncClient(transport=transport, base_url="http://shop", headers=headers)
        await stack.enter_async_context(client)
        running = [asyncio.ensure_future(loop) for loop in loops]
        # The worker's own task looks every other second for a Redis that forgot; under a clock that
        # does not wait it would never do anything else.
        tasks = [asyncio.ensure_future(task()) for task in http.tasks.values()]
        outside = MemoryBus(broker, _OUTSIDE, clock=clock)
        try:
            yield Shop(client, broker, outside, ports, clock, releases, server, http)
        finally:
            stop.set()
            await asyncio.gather(*running)
            await _cancelled(tasks)


async def _cancelled(tasks: list[asyncio.Future[None]]) -> None:
    """End the tasks; fakeredis swallows a cancellation that comes in the middle of a pipeline."""
    left = set(tasks)
    while left:
        for task in left:
            task.cancel()
        _, left = await asyncio.wait(left, timeout=0.05)


@pytest.fixture
async def shop(tmp_path: Path) -> AsyncIterator[Shop]:
    async with opened(tmp_path) as running:
        yield running
