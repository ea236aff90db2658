"""The Kafka adapter while its broker is killed: nothing acknowledged is lost, nothing needs a restart."""

import asyncio
import sys
from collections import Counter
from collections.abc import AsyncIterator, Iterator, Sequence
from uuid import uuid4

import pytest
from msgspec import Struct

from shared.contracts.envelope import utc
from shared.contracts.errors import Retryable
from shared.contracts.service import Process, Service
from shared.contracts.topics import Partitions, Topic, days, wrap
from shared.runtime.bus import admin
from shared.runtime.bus.kafka import KafkaBus
from shared.runtime.bus.port import Position, Received
from shared.runtime.bus.settings import KafkaSettings
from shared.runtime.clock import SystemClock
from shared.runtime.follow import ViewLoop
from shared.runtime.loop import Limits, WorkLoop
from shared.tools.local import Stack

pytestmark = pytest.mark.kafka
PATIENCE_S = 90.0
CLOCK = SystemClock()


class Said(Struct, frozen=True):
    who: str
    what: int


def declared(topic_name: str, service_name: str) -> tuple[Topic[Said], Service]:
    topic = Topic(topic_name, Said, "", "who", lambda e: e.data.who, days(7), Partitions(3, 3))
    service = Service(
        service_name, "", (Process("worker", ""),), reads=(topic,), views=(topic,), writes=(topic,)
    )
    return topic, service


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """A broker of these tests' own, to be killed."""
    with Stack(home=tmp_path_factory.mktemp("killed"), services=(), random_ports=True) as stack:
        yield stack


class Scene:
    def __init__(self, stack: Stack, topic: Topic[Said], service: Service) -> None:
        self.stack = stack
        self.topic = topic
        self.service = service
        self.bus = self.new_bus()
        self.acknowledged: dict[int, Position] = {}
        self.got: Counter[int] = Counter()
        self.order: dict[str, list[int]] = {}

    def new_bus(self, publish_timeout_s: float = 10.0) -> KafkaBus:
        settings = KafkaSettings(publish_timeout_s=publish_timeout_s)
        return KafkaBus(self.stack.kafka, self.service, clock=CLOCK, settings=settings)

    def event(self, n: int):
        said = Said(f"user {n % 7}", n)
        return wrap(self.topic, said, id=f"{n}", source="test", time=utc(0))

    async def publish(self, numbers: Sequence[int]) -> None:
        """Publish until acknowledged, as a relay does."""
        while True:
            try:
                if len(numbers) == 1:
                    positions = [await self.bus.publish(self.topic, self.event(numbers[0]))]
                else:
                    events = [self.event(n) for n in numbers]
                    positions = await self.bus.publish_all(self.topic, events)
            except Retryable:
                await asyncio.sleep(0.05)
            else:
                self.acknowledged |= dict(zip(numbers, positions, strict=True))
                return

    async def handle(self, batch: Sequence[Received[Said]]) -> None:
        for received in batch:
            said = received.envelope.data
            self.got[said.what] += 1
            self.order.setdefault(said.who, []).append(said.what)

    async def until(self, done) -> None:
        async with asyncio.timeout(PATIENCE_S):
            while not done():
                await asyncio.sleep(0.02)

    async def kill_and_restart(self, *, away_s: float = 0.0) -> None:
        await asyncio.to_thread(self.stack.kill, "kafka")
        if away_s:
            await asyncio.sleep(away_s)
        await asyncio.to_thread(self.stack.restart, "kafka")


@pytest.fixture
async def scene(stack: Stack) -> AsyncIterator[Scene]:
    topic, service = declared(f"said-{uuid4().hex[:12]}", f"svc-{uuid4().hex[:8]}")
    wanted = [admin.wanted(topic, production=False)]
    wanted += admin.wanted_of(service.name, production=False)
    await asyncio.to_thread(admin.ensure_topics, stack.kafka, wanted)
    scene = Scene(stack, topic, service)
    yield scene
    await scene.bus.close()


async def test_a_broker_killed_under_load_loses_nothing_acknowledged(scene: Scene) -> None:
    """Whoever got a receipt for an order must find the order."""
    work = WorkLoop(scene.bus, scene.service, {scene.topic: scene.handle}, clock=CLOCK)
    seen_by_view: set[int] = set()

    async def note(batch: Sequence[Received[Said]]) -> None:
        seen_by_view.update(r.envelope.data.what for r in batch)

    view = ViewLoop(scene.bus, scene.service, {scene.topic: note}, clock=CLOCK)
    stop, enough = asyncio.Event(), asyncio.Event()
    loops = [asyncio.create_task(loop.run(stop)) for loop in (work, view)]

    async def load(first: int, size: int) -> None:
        n = first
        while not enough.is_set():
            await scene.publish([n + 7 * i for i in range(size)])
            n += 7 * size

    # One publisher a shopper, as the collector has: else its repetition is no matter of order.
    publishers = [asyncio.create_task(load(k, 1 if k % 2 else 20)) for k in range(7)]
    await scene.until(lambda: len(scene.acknowledged) > 2_000)
    for _ in range(2):
        await scene.kill_and_restart()
        have = len(scene.acknowledged)
        await scene.until(lambda have=have: len(scene.acknowledged) > have + 2_000)
    enough.set()
    await asyncio.gather(*publishers)
    await scene.until(lambda: scene.acknowledged.keys() <= scene.got.keys())
    await scene.until(lambda: scene.acknowledged.keys() <= seen_by_view)
    stop.set()
    await asyncio.gather(*loops)
    assert view.unready() is None
    for numbers in scene.order.values():
        firsts = list(dict.fromkeys(numbers))
        assert firsts == sorted(firsts), "an event overtook an earlier one of the same shopper"


async def test_no_broker_is_retryable_and_its_return_is_enough(scene: Scene) -> None:
    """A collector that must be restarted after an outage of Kafka loses what it holds."""
    await scene.bus.publish(scene.topic, scene.event(0))
    impatient, fresh = scene.new_bus(publish_timeout_s=0.5), scene.new_bus(publish_timeout_s=0.5)
    await impatient.publish(scene.topic, scene.event(1))
    await asyncio.to_thread(scene.stack.kill, "kafka")
    for bus in (impatient, fresh):
        assert not await bus.healthy()
        with pytest.raises(Retryable, match=scene.topic.name):
            await bus.publish(scene.topic, scene.event(2))
        with pytest.raises(Retryable, match=scene.topic.name):
            await bus.publish_all(scene.topic, [scene.event(n) for n in range(3, 9)])
    with pytest.raises(Retryable):
        await fresh.view([scene.topic])
    await asyncio.to_thread(scene.stack.restart, "kafka")
    for bus in (impatient, fresh):
        async with asyncio.timeout(PATIENCE_S):
            while not await bus.healthy():
                await asyncio.sleep(0.05)
        scene.bus = bus
        await scene.publish([9])
        await bus.close()
    scene.bus = scene.new_bus()


async def test_a_broker_that_hangs_is_given_up_in_time(scene: Scene) -> None:
    """A frozen machine keeps its connections open: every request would hang with it."""
    bus = scene.new_bus(publish_timeout_s=0.5)
    await bus.publish(scene.topic, scene.event(0))
    scene.stack.suspend("kafka")
    try:
        with pytest.raises(Retryable):
            await bus.publish(scene.topic, scene.event(1))
        assert not await bus.healthy()
    finally:
        scene.stack.resume("kafka")
    async with asyncio.timeout(PATIENCE_S):
        while not await bus.healthy():
            await asyncio.sleep(0.05)
    await scene.bus.close()
    scene.bus = bus
    await scene.publish([2])


async def test_a_topic_that_does_not_exist_says_what_to_do(stack: Stack) -> None:
    """Nothing is created behind the operator's back, with the wrong partitions."""
    topic = Topic("never-made", Said, "", "who", lambda e: e.data.who, days(1))
    service = Service("svc-x", "", (), reads=(topic,), views=(topic,), writes=(topic,))
    settings = KafkaSettings(publish_timeout_s=1.0, join_timeout_s=1.0)
    bus = KafkaBus(stack.kafka, service, clock=CLOCK, settings=settings)
    event = wrap(topic, Said("ann", 1), id="1", source="test", time=utc(0))
    with pytest.raises(Retryable, match="never-made"):
        await bus.publish(topic, event)
    with pytest.raises(Retryable):
        await bus.view([topic])
    await bus.close()


async def test_members_that_come_and_go_lose_nothing_and_repeat_little(scene: Scene) -> None:
    """Scaling a service out and in during a sale must not cost a purchase."""
    limits = Limits(batch=50)

    async def slowly(batch: Sequence[Received[Said]]) -> None:
        await scene.handle(batch)
        await asyncio.sleep(0.002)

    def member() -> tuple[asyncio.Task[None], asyncio.Event]:
        stop = asyncio.Event()
        loop = WorkLoop(
            scene.new_bus(), scene.service, {scene.topic: slowly}, clock=CLOCK, limits=limits
        )
        return asyncio.create_task(loop.run(stop)), stop

    first, stop_first = member()
    for n in range(0, 3_000, 10):
        await scene.publish(list(range(n, n + 10)))
        if n == 500:
            second, stop_second = member()
        if n == 2_000:
            await scene.until(lambda: len(scene.got) > 1_500)
            stop_second.set()
            await second
    await scene.until(lambda: len(scene.got) == 3_000)
    stop_first.set()
    await first
    assert set(scene.got.values()) == {1}, "orderly hand-overs repeat nothing"


async def hang_in_group(address: str, topic_name: str, service_name: str) -> None:
    """Join as that service, say so, and never finish the first batch; runs in a process of its own."""
    topic, service = declared(topic_name, service_name)

    async def hang(batch: Sequence[Received[Said]]) -> None:
        print("hangs", flush=True)
        await asyncio.Event().wait()

    bus = KafkaBus(address, service, clock=CLOCK)
    await WorkLoop(bus, service, {topic: hang}, clock=CLOCK).run(asyncio.Event())


async def test_a_killed_member_is_replaced_and_what_it_held_is_read_again(scene: Scene) -> None:
    """A worker that was killed would keep its partitions for ever, or take events with it."""
    await scene.publish(list(range(100)))
    code = f"import asyncio, {__name__} as m; asyncio.run(m.hang_in_group(*__import__('sys').argv[1:]))"
    child = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", code, scene.stack.kafka, scene.topic.name, scene.service.name),
        stdout=asyncio.subprocess.PIPE,
    )
    assert child.stdout is not None
    async with asyncio.timeout(PATIENCE_S):
        while b"hangs" not in await child.stdout.readline():
            assert child.returncode is None
    child.kill()
    await child.wait()
    stop = asyncio.Event()
    heir = WorkLoop(scene.bus, scene.service, {scene.topic: scene.handle}, clock=CLOCK)
    inherits = asyncio.create_task(heir.run(stop))
    await scene.until(lambda: len(scene.got) == 100)
    stop.set()
    await inherits
