"""Views: a replica knows the whole topic before it answers."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import pytest

from shared.contracts.envelope import Envelope, utc
from shared.contracts.errors import Invalid, Retryable
from shared.contracts.events import Product
from shared.contracts.service import Process, Service
from shared.contracts.topics import CATALOG, wrap
from shared.runtime.bus.memory import MemoryBroker, MemoryBus
from shared.runtime.bus.port import Handler, Received
from shared.runtime.bus.records import Outgoing
from shared.runtime.clock import FakeClock
from shared.runtime.follow import ViewLoop
from shared.runtime.loop import Limits

SERVICE = Service(
    name="svc",
    about="Tests views.",
    processes=(Process("http", "answers"),),
    views=(CATALOG,),
    writes=(CATALOG,),
)
PATIENCE_S = 20.0


def product(item: str) -> Envelope[Product]:
    return wrap(CATALOG, Product(id=item, title=item), id=item, source="test", time=utc(0))


class Scene:
    """A broker with a catalogue, and a loop that follows it."""

    def __init__(self, limits: Limits | None = None) -> None:
        self.broker = MemoryBroker()
        self.clock = FakeClock()
        self.bus = MemoryBus(self.broker, SERVICE, clock=self.clock)
        self.limits = limits or Limits(batch=3)
        self.known: set[str] = set()
        self.stop = asyncio.Event()
        self.loop = self.new_loop(self.note)

    def new_loop(self, handler: Handler) -> ViewLoop:
        return ViewLoop(self.bus, SERVICE, {CATALOG: handler}, clock=self.clock, limits=self.limits)

    async def note(self, batch: Sequence[Received[Product]]) -> None:
        for received in batch:
            if received.envelope is None:
                self.known.discard(received.key)
            else:
                self.known.add(received.key)

    async def until(self, done: Callable[[], bool]) -> None:
        async with asyncio.timeout(PATIENCE_S):
            while not done():
                await asyncio.sleep(0.001)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        task = asyncio.create_task(self.loop.run(self.stop))
        try:
            yield
        finally:
            self.stop.set()
            await asyncio.wait_for(task, PATIENCE_S)


async def test_it_is_unready_until_everything_was_handled() -> None:
    """A replica that answers with half a catalogue calls products unknown that are on sale."""
    entered, hold = asyncio.Event(), asyncio.Event()

    async def slow(batch: Sequence[Received[Product]]) -> None:
        entered.set()
        await hold.wait()
        await scene.note(batch)

    scene = Scene()
    scene.loop = scene.new_loop(slow)
    await scene.bus.publish_all(CATALOG, [product(f"p{i}") for i in range(20)])
    async with scene.running():
        await asyncio.wait_for(entered.wait(), PATIENCE_S)
        assert "catalog" in (scene.loop.unready() or "")
        hold.set()
        await scene.until(lambda: scene.loop.unready() is None)
        assert len(scene.known) == 20
        await scene.bus.tombstone(CATALOG, "p3")
        await scene.until(lambda: "p3" not in scene.known)
        assert scene.loop.unready() is None


async def test_an_empty_catalogue_is_ready_at_once() -> None:
    """A new shop could never start."""
    scene = Scene()
    async with scene.running():
        await scene.until(lambda: scene.loop.unready() is None)


async def test_a_wrong_record_is_skipped_and_the_view_becomes_ready() -> None:
    """One bad product would keep every replica from starting."""

    async def handler(batch: Sequence[Received[Product]]) -> None:
        if any(r.key == "bad" for r in batch):
            raise Invalid("no price")
        await scene.note(batch)

    scene = Scene()
    scene.loop = scene.new_loop(handler)
    scene.broker.append("catalog", Outgoing(b"poison", b"\xff", ()), 0.0)
    await scene.bus.publish_all(CATALOG, [product(p) for p in ("a", "bad", "b", "c")])
    async with scene.running():
        await scene.until(lambda: scene.loop.unready() is None)
    assert scene.known == {"a", "b", "c"}
    assert scene.broker.records("svc-dlq") == []


async def test_what_is_away_is_waited_for() -> None:
    """A product would be missing from the view for ever because Redis was away for a second."""
    tries = 0

    async def handler(batch: Sequence[Received[Product]]) -> None:
        nonlocal tries
        tries += 1
        if tries < 4:
            raise Retryable("away")
        await scene.note(batch)

    scene = Scene()
    scene.loop = scene.new_loop(handler)
    await scene.bus.publish(CATALOG, product("a"))
    async with scene.running():
        await scene.until(lambda: scene.loop.unready() is None)
    assert scene.known == {"a"}


async def test_a_stop_ends_a_handler_that_waits() -> None:
    """A process could not stop while Redis is away."""
    entered = asyncio.Event()

    async def handler(batch: Sequence[Received[Product]]) -> None:
        entered.set()
        raise Retryable("away")

    scene = Scene()
    scene.loop = scene.new_loop(handler)
    await scene.bus.publish(CATALOG, product("a"))
    async with scene.running():
        await asyncio.wait_for(entered.wait(), PATIENCE_S)


@pytest.mark.parametrize("away", ["opening", "waiting", "retrying"])
async def test_a_stop_is_heard_while_something_is_away(away: str) -> None:
    """A process told to end would sleep on until it is cut short, and count as failed."""
    entered = asyncio.Event()

    async def hang(*args: Any, **kwargs: Any) -> Any:
        entered.set()
        await asyncio.Event().wait()

    async def handler(batch: Sequence[Received[Product]]) -> None:
        raise Retryable("away")

    scene = Scene(replace(Limits(), hand_over_s=1e6))
    await scene.bus.publish(CATALOG, product("a"))
    if away == "opening":
        scene.bus.view = hang  # type: ignore[method-assign]
    else:
        scene.broker.down = away == "waiting"
        scene.clock.sleep = hang  # type: ignore[method-assign]
        scene.loop = scene.new_loop(handler)
    async with scene.running():
        await asyncio.wait_for(entered.wait(), PATIENCE_S)


async def test_a_handler_that_hangs_is_abandoned() -> None:
    """A hung handler would keep the process from ever stopping."""
    entered = asyncio.Event()

    async def handler(batch: Sequence[Received[Product]]) -> None:
        entered.set()
        await asyncio.Event().wait()

    scene = Scene(replace(Limits(), hand_over_s=0.05))
    scene.loop = scene.new_loop(handler)
    await scene.bus.publish(CATALOG, product("a"))
    async with scene.running():
        await asyncio.wait_for(entered.wait(), PATIENCE_S)


async def test_a_bug_in_a_handler_ends_the_process() -> None:
    """A view that quietly stopped following serves yesterday's catalogue."""

    async def handler(batch: Sequence[Received[Product]]) -> None:
        raise ZeroDivisionError

    scene = Scene()
    loop = scene.new_loop(handler)
    await scene.bus.publish(CATALOG, product("a"))
    with pytest.raises(ZeroDivisionError):
        await asyncio.wait_for(loop.run(scene.stop), PATIENCE_S)


async def test_a_broker_that_is_away_at_the_start_is_waited_for() -> None:
    """Services start in any order."""
    scene = Scene()
    scene.broker.down = True
    async with scene.running():
        slept = scene.clock.monotonic()
        await scene.until(lambda: scene.clock.monotonic() > slept)
        assert scene.loop.unready() is not None
        scene.broker.down = False
        await scene.bus.publish(CATALOG, product("a"))
        await scene.until(lambda: scene.known == {"a"} and scene.loop.unready() is None)
