"""What operators do, against a real broker: create, check, measure, replay, re-drive."""

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from uuid import uuid4

import pytest
from msgspec import Struct

from shared.contracts.envelope import utc
from shared.contracts.errors import Invalid, NotFound, Retryable
from shared.contracts.service import Process, Service
from shared.contracts.topics import Partitions, Topic, days, wrap
from shared.runtime.bus import admin, dead_letters, groups
from shared.runtime.bus.kafka import KafkaBus
from shared.runtime.bus.port import Received
from shared.runtime.clock import SystemClock
from shared.runtime.loop import Limits, WorkLoop

pytestmark = pytest.mark.kafka
PATIENCE_S = 40.0


class Said(Struct, frozen=True):
    who: str
    what: int


@dataclass
class Scene:
    """A topic of three partitions, and a service whose handler refuses what it is told to."""

    address: str
    topic: Topic[Said]
    service: Service
    bus: KafkaBus
    refused: set[int]
    seen: list[int]

    async def publish(self, *what: int) -> None:
        await self.bus.publish_all(self.topic, [self.event(n) for n in what])

    def event(self, n: int):
        said = Said(f"user {n}", n)
        return wrap(self.topic, said, id=f"{n}", source="test", time=utc(0))

    async def handle(self, batch: Sequence[Received[Said]]) -> None:
        numbers = [r.envelope.data.what for r in batch if r.envelope is not None]
        if self.refused & set(numbers):
            raise Invalid(f"no {min(self.refused & set(numbers))}")
        self.seen += numbers

    async def work_until(self, count: int, *, letters: int = 0) -> None:
        """Run the service until it has handled so many, and put so many aside."""
        limits = Limits(commit_s=0.0)
        loop = WorkLoop(
            self.bus, self.service, {self.topic: self.handle}, clock=SystemClock(), limits=limits
        )
        stop = asyncio.Event()
        task = asyncio.create_task(loop.run(stop))
        async with asyncio.timeout(PATIENCE_S):
            while len(self.seen) < count or len(await self.letters()) < letters:
                await asyncio.sleep(0.01)
        stop.set()
        await task

    async def letters(self) -> list[dead_letters.Letter]:
        return await asyncio.to_thread(dead_letters.letters, self.address, self.service.name)

    async def lag(self) -> dict[int, groups.Lag]:
        group = {self.service.name: [self.topic.name]}
        found = await asyncio.to_thread(groups.lag, self.address, group, now=time.time())
        return {item.partition: item for item in found if item.topic == self.topic.name}

    async def replay(self, target: groups.Target, **how) -> list[groups.Moved]:
        name, topic = self.service.name, self.topic.name
        return await asyncio.to_thread(groups.replay, self.address, name, topic, target, **how)


@pytest.fixture
async def scene(kafka_address: str) -> AsyncIterator[Scene]:
    topic = new_topic()
    service = Service(
        f"svc-{uuid4().hex[:8]}", "", (Process("worker", ""),), reads=(topic,), writes=(topic,)
    )
    wanted = [admin.wanted(topic, production=False)]
    wanted += admin.wanted_of(service.name, production=False)
    await asyncio.to_thread(admin.ensure_topics, kafka_address, wanted)
    bus = KafkaBus(kafka_address, service, clock=SystemClock())
    yield Scene(kafka_address, topic, service, bus, set(), [])
    await bus.close()


def new_topic(partitions: int = 3) -> Topic[Said]:
    return Topic(
        f"said-{uuid4().hex[:12]}", Said, "", "who", lambda e: e.data.who, days(7),
        Partitions(partitions, 3 * partitions),
    )  # fmt: skip


def test_topics_are_created_once_and_are_then_as_declared(kafka_address: str) -> None:
    """Every start of the stack creates topics: a second one must find nothing to do."""
    wanted = [admin.wanted(new_topic(), production=False) for _ in range(3)]
    names = [w.name for w in wanted]
    assert [d.problem for d in admin.check_topics(kafka_address, wanted)] == ["does not exist"] * 3
    assert admin.ensure_topics(kafka_address, wanted) == names
    assert admin.ensure_topics(kafka_address, wanted) == []
    assert admin.check_topics(kafka_address, wanted) == []


def test_a_topic_with_too_few_partitions_is_told_and_the_others_are_made(
    kafka_address: str,
) -> None:
    """Keys would silently move, and order break, if someone just added partitions."""
    small, other = (
        admin.wanted(new_topic(2), production=False),
        admin.wanted(new_topic(), production=False),
    )
    admin.ensure_topics(kafka_address, [small])
    wider = small._replace(partitions=5)
    with pytest.raises(Invalid, match=f"{small.name}: has 2 partitions, 5 are declared.*new topic"):
        admin.ensure_topics(kafka_address, [wider, other])
    assert admin.check_topics(kafka_address, [other]) == []
    [drift] = admin.check_topics(kafka_address, [wider])
    assert drift.problem == "has 2 partitions, 5 are declared"


def test_a_setting_that_drifted_is_told_with_the_cure(kafka_address: str) -> None:
    """A retention that someone shortened by hand loses history without a sound."""
    wanted = admin.wanted(new_topic(), production=False)
    admin.ensure_topics(kafka_address, [wanted])
    declared = wanted._replace(config={**wanted.config, "retention.ms": "1000"})
    [drift] = admin.check_topics(kafka_address, [declared])
    assert "retention.ms is 604800000, declared is 1000" in drift.problem
    assert f"--topic {wanted.name} --add-config retention.ms=1000" in drift.cure


def test_what_is_wanted_for_production_has_replicas_and_no_unclean_election() -> None:
    """An acknowledged order would be lost with one machine."""
    topic = new_topic()
    for wanted in (
        admin.wanted(topic, production=True),
        *admin.wanted_of("svc", production=True),
    ):
        assert wanted.replication == 3
        assert wanted.config["min.insync.replicas"] == "2"
        assert wanted.config["unclean.leader.election.enable"] == "false"
    assert admin.wanted(topic, production=True).partitions == 9


def test_no_broker_is_said_plainly(monkeypatch: pytest.MonkeyPatch) -> None:
    """An operator who mistypes an address would read a stack trace."""
    monkeypatch.setattr(admin, "CONNECT_TIMEOUT_MS", 300)
    with pytest.raises(Retryable, match=r"no Kafka broker answers at 127\.0\.0\.1:1"):
        admin.check_topics("127.0.0.1:1", [])


async def test_lag_counts_records_and_seconds(scene: Scene) -> None:
    """An operator must see that recommendations are ten minutes old before shoppers do."""
    assert {item.records for item in (await scene.lag()).values()} == {0}
    await scene.publish(*range(20))
    before = await scene.lag()
    assert sum(item.records for item in before.values()) == 20
    assert all(item.seconds is not None and 0 <= item.seconds < 60 for item in before.values())
    assert {item.committed for item in before.values()} == {None}
    await scene.work_until(20)
    after = await scene.lag()
    assert {(item.records, item.seconds) for item in after.values()} == {(0, 0.0)}
    assert scene.service.name in await asyncio.to_thread(
        groups.groups_of, scene.address, [scene.service.name]
    )


async def test_a_replay_from_the_start_reads_everything_again(scene: Scene) -> None:
    """A view that was computed wrongly is repaired by reading again."""
    await scene.publish(*range(10))
    await scene.work_until(10)
    dry = await scene.replay(groups.Target("start"), dry=True)
    assert sum(item.records for item in (await scene.lag()).values()) == 0
    moved = await scene.replay(groups.Target("start"))
    assert moved == dry
    assert all(m.before is not None and m.after == 0 for m in moved)
    await scene.work_until(20)
    assert sorted(scene.seen) == sorted([*range(10), *range(10)])


async def test_a_replay_from_a_time_reads_what_came_since(scene: Scene) -> None:
    """After a bad release only the hours since it are read again."""
    await scene.publish(*range(10))
    # Kafka keeps milliseconds: the moment must lie strictly between the two.
    last = time.time()
    while time.time() < last + 0.005:
        await asyncio.sleep(0.001)
    moment = time.time()
    while time.time() < moment + 0.005:
        await asyncio.sleep(0.001)
    await scene.publish(*range(10, 16))
    await scene.work_until(16)
    await scene.replay(groups.Target("time", moment))
    await scene.work_until(22)
    assert sorted(scene.seen[16:]) == list(range(10, 16))
    future = await scene.replay(groups.Target("time", time.time() + 3600))
    assert all(m.before == m.after for m in future), "nothing is so young: nothing to read again"


async def test_a_replay_to_an_offset_is_kept_within_what_there_is(scene: Scene) -> None:
    """An offset beyond the end would skip events that are yet to come."""
    await scene.publish(*range(30))
    held = {p: item.end for p, item in (await scene.lag()).items()}
    [moved] = await scene.replay(groups.Target("offset", 10**9), partition=1)
    assert moved.after == held[1]
    [moved] = await scene.replay(groups.Target("offset", 3), partition=1)
    assert (moved.partition, moved.before, moved.after) == (1, held[1], 3)
    with pytest.raises(NotFound, match="no partition 7"):
        await scene.replay(groups.Target("start"), partition=7)


async def test_a_group_at_work_is_not_moved(scene: Scene) -> None:
    """The running members would commit over it, and the operator believe that it was done."""
    await scene.publish(1)
    stop = asyncio.Event()
    loop = WorkLoop(scene.bus, scene.service, {scene.topic: scene.handle}, clock=SystemClock())
    task = asyncio.create_task(loop.run(stop))
    async with asyncio.timeout(PATIENCE_S):
        while not scene.seen:
            await asyncio.sleep(0.01)
    with pytest.raises(Invalid, match="stop all"):
        await scene.replay(groups.Target("start"))
    stop.set()
    await task


async def test_dead_letters_are_listed_and_come_back_when_the_cause_is_gone(scene: Scene) -> None:
    """A purchase that a bug refused must still count after the bug is fixed."""
    name, address = scene.service.name, scene.address
    scene.refused |= {3, 5, 8}
    await scene.publish(*range(10))
    await scene.work_until(7, letters=3)
    found = await scene.letters()
    assert sorted(x.reason for x in found) == ["no 3", "no 5", "no 8"]
    assert {x.origin.topic for x in found} == {scene.topic.name}
    assert dead_letters.reasons(found) == [("no 3", 1), ("no 5", 1), ("no 8", 1)]
    scene.refused -= {3, 5}
    sent = await asyncio.to_thread(
        dead_letters.redrive, address, name, chosen=lambda x: x.reason == "no 3"
    )
    assert [x.reason for x in sent] == ["no 3"]
    await scene.work_until(8)
    assert scene.seen[7:] == [3]
    assert len(await asyncio.to_thread(dead_letters.redrive, address, name)) == 3
    await scene.work_until(10, letters=4)
    assert sorted(scene.seen[8:]) == [3, 5], "sent again by the operator's own wish"
    found = await scene.letters()
    assert [x.redriven for x in found] == [True, True, True, False]
    first, again = found[[x.reason for x in found].index("no 8")], found[3]
    assert (again.reason, again.origin) == ("no 8", first.origin)


def test_dead_letters_of_nobody_are_refused(kafka_address: str) -> None:
    """A mistyped name would look like a service without dead letters."""
    with pytest.raises(NotFound, match="nobody-dlq"):
        dead_letters.letters(kafka_address, "nobody")
