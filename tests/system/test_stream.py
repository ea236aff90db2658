"""The stream as a process on a real Kafka, killed with SIGKILL while it works."""

import asyncio
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from kafka.admin import KafkaAdminClient, NewTopic

from services.collector.stream_log import changelog_of
from shared.contracts import topics
from shared.contracts.envelope import decode, encode, utc
from shared.contracts.events import Behaviour, Erasure, Identity, ItemActivity, Session, Touched
from shared.contracts.topics import Topic, dead_letters, wrap
from shared.tools.local import Stack

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(900)]
DEADLINE_S = 150.0
PARTITIONS = 3
WORKER = [sys.executable, "-m", "services.collector", "stream"]


@dataclass
class Broker:
    """A Kafka of this module's own, since the stream's topics have fixed names."""

    stack: Stack
    log: Path
    process: subprocess.Popen[bytes] | None = None

    @contextmanager
    def worker(self) -> Iterator[subprocess.Popen[bytes]]:
        """Run one process of the stream; it is killed at the end unless it is gone."""
        with self.log.open("ab") as log:
            env = {**os.environ, **self.stack.service_env()}
            process = subprocess.Popen(WORKER, env=env, stderr=log, stdout=log)
        self.process = process
        try:
            yield process
        finally:
            process.kill()
            process.wait()

    async def send(self, topic: Topic[Any], *envelopes: Any) -> None:
        async with AIOKafkaProducer(bootstrap_servers=self.stack.kafka, linger_ms=5) as producer:
            sent = [
                await producer.send(topic.name, encode(e), key=topic.key_of(e).encode())
                for e in envelopes
            ]
            await asyncio.gather(*sent)

    async def read(self, *names: str) -> dict[str, list[Any]]:
        """Return all records of the topics."""
        async with AIOKafkaConsumer(bootstrap_servers=self.stack.kafka) as consumer:
            there = await consumer.topics()
            found: dict[str, list[Any]] = {name: [] for name in names}
            parts = [TopicPartition(n, p) for n in names if n in there for p in range(PARTITIONS)]
            consumer.assign(parts)
            ends = await consumer.end_offsets(parts)
            for part in parts:
                consumer.seek(part, 0)
                while await consumer.position(part) < ends[part]:
                    for record in (await consumer.getmany(part, timeout_ms=500)).get(part, []):
                        found[part.topic].append(record)
            return found

    async def sessions(self) -> list[Session]:
        """Return the published sessions; each that was published again was the same."""
        records = (await self.read(topics.SESSIONS.name))[topics.SESSIONS.name]
        once: dict[str, Session] = {}
        for record in records:
            session = decode(record.value, Session).data
            assert once.setdefault(session.session_id, session) == session
        return list(once.values())

    async def activity(self) -> dict[str, ItemActivity]:
        records = (await self.read(topics.ITEM_ACTIVITY.name))[topics.ITEM_ACTIVITY.name]
        return {e.item_id: e for e in (decode(r.value, ItemActivity).data for r in records)}


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Broker]:
    home = tmp_path_factory.mktemp("stream")
    with Stack(home=home, services=(), random_ports=True) as stack:
        admin = KafkaAdminClient(bootstrap_servers=stack.kafka)
        names = [*topics.TOPICS, dead_letters("collector")]
        admin.create_topics(
            [NewTopic(n, num_partitions=PARTITIONS, replication_factor=1) for n in names]
        )
        admin.close()
        yield Broker(stack, home / "worker.log")


async def eventually(broker: Broker, reached: Any) -> None:
    """Wait until `reached` returns True; fail with the worker's last lines when it does not."""
    deadline = time.monotonic() + DEADLINE_S
    while not await reached():
        died = broker.process is not None and broker.process.poll() is not None
        if died or time.monotonic() > deadline:
            pytest.fail("not reached in time:\n" + broker.log.read_text()[-3000:])
        await asyncio.sleep(0.5)


NOW = time.time()
LONG_AGO = NOW - 4 * 3600


def behaviour(ident: str, at_s: float, *, anonid: str, **more: Any) -> Any:
    event = {"action": "view_item", "items": (Touched("milk"),)} | more
    envelope = {key: event.pop(key) for key in ("userid", "consent") if key in event}
    return wrap(
        topics.BEHAVIOUR,
        Behaviour(**event),
        id=ident,
        source="test",
        time=utc(at_s),
        anonid=anonid,
        **envelope,
    )


async def test_kill_9_loses_and_doubles_nothing(broker: Broker) -> None:
    """If this fails, a crash of the stream changes what models and shoppers see as popular."""
    rng = random.Random(7)
    visitors = [f"visitor {n}" for n in range(300)]
    events = []
    for n in range(6000):
        action = rng.choice(["view_item", "view_item", "add_to_cart", "purchase"])
        items = tuple(Touched(f"item {i}") for i in rng.sample(range(200), rng.randint(1, 3)))
        # Users' events lie in other partitions than those of the anonymous visitors they were.
        visitor = rng.choice(visitors)
        user = f"user of {visitor}" if rng.random() < 0.3 else None
        at_s = LONG_AGO + rng.choice([0, 3600, 7200]) + rng.random() * 600
        events.append(
            behaviour(f"k{n}", at_s, anonid=visitor, userid=user, action=action, items=items)
        )
    given = Counter((e.data.action, i.id) for e in events for i in e.data.items)

    for start in range(0, len(events), 1500):
        with broker.worker() as process:
            sending = asyncio.create_task(
                broker.send(topics.BEHAVIOUR, *events[start : start + 1500])
            )
            await _some_progress(broker)
            await asyncio.sleep(rng.random() * 6)
            process.send_signal(signal.SIGKILL)
            await sending

    async def settled() -> bool:
        return sum(len(s.steps) for s in await broker.sessions()) >= len(events)

    with broker.worker():
        await eventually(broker, settled)
        sessions = await broker.sessions()
        steps = [step.event_id for s in sessions for step in s.steps]
        assert sorted(steps) == sorted(e.id for e in events)

        async def counted() -> bool:
            told = await broker.activity()
            sums = sum(a.views[2] + a.carts[2] + a.buys[2] for a in told.values())
            return sums >= sum(given.values())

        await eventually(broker, counted)
    told = await broker.activity()
    for kind, action in ("views", "view_item"), ("carts", "add_to_cart"), ("buys", "purchase"):
        counts = {item: getattr(a, kind)[2] for item, a in told.items()}
        assert counts == {item: given[action, item] for item in told}


async def test_an_erased_person_is_dropped_from_all_partitions_and_counted(broker: Broker) -> None:
    """If this fails, a shop cannot prove that open sessions of the person are gone."""
    visitors = [f"e {n}" for n in range(8)]  # of one person, over all partitions
    events = [behaviour(f"e{v}", time.time(), anonid=v, userid="E") for v in visitors]
    asked = wrap(topics.ERASURES, Erasure(user="E"), id="ask-e", source="t", time=utc(NOW))

    async def rows() -> dict[bytes, bytes | None]:
        name = changelog_of("visitors")
        return {r.key.partition(b"key:")[2]: r.value for r in (await broker.read(name))[name]}

    async def all_kept() -> bool:
        kept = await rows()
        return all(kept.get(v.encode()) is not None for v in visitors)

    async def all_gone() -> bool:
        kept = await rows()
        return all(kept.get(v.encode()) is None for v in visitors)

    async def answer() -> list[Erasure]:
        records = (await broker.read(topics.ERASURES.name))[topics.ERASURES.name]
        told = [decode(r.value, Erasure) for r in records]
        return [e.data for e in told if e.causedby == asked.id]

    with broker.worker():
        await broker.send(topics.BEHAVIOUR, *events)
        await eventually(broker, all_kept)
        await broker.send(topics.ERASURES, asked)
        await eventually(broker, answer)
        await eventually(broker, all_gone)
    expected = Erasure(user="E", service="collector", removed={"visitors": len(visitors)})
    assert await answer() == [expected]


async def test_the_stream_outlives_its_broker(broker: Broker) -> None:
    """If this fails, a broker that is killed and comes back takes the stream's work with it."""
    events = [behaviour(f"b{n}", LONG_AGO, anonid=f"b{n % 50}") for n in range(1500)]
    with broker.worker():
        await _ready(broker)
        await broker.send(topics.BEHAVIOUR, *events)
        broker.stack.kill("kafka")
        broker.stack.restart("kafka")

        async def settled() -> bool:
            told = [step.event_id for s in await broker.sessions() for step in s.steps]
            mine = [ident for ident in told if ident.startswith("b")]
            assert len(mine) == len(set(mine))
            return len(mine) == len(events)

        await eventually(broker, settled)


async def _ready(broker: Broker) -> None:
    """Wait until the worker marks the time, which it does once it owns its partitions."""
    await _some_progress(broker)


async def _some_progress(broker: Broker) -> None:
    """Wait until this run of the worker wrote state, so that it dies in the middle of its work."""

    async def moved() -> bool:
        return await _changelog_size(broker) > before

    before = await _changelog_size(broker)
    await eventually(broker, moved)


async def _changelog_size(broker: Broker) -> int:
    names = ("collector-stream-visitors-changelog", "collector-stream-items-changelog")
    return sum(map(len, (await broker.read(*names)).values()))


async def test_a_shopper_is_followed_from_anonymous_to_known(broker: Broker) -> None:
    """If this fails, consent, robots, logins or erasures are not honoured in the stream."""
    said_no, robot = "none", 0.9
    await broker.send(
        topics.BEHAVIOUR,
        behaviour("p1", LONG_AGO, anonid="p", items=(Touched("tea"),)),
        behaviour("p2", LONG_AGO + 60, anonid="p", items=(Touched("tea"),), consent=said_no),
        behaviour("p3", LONG_AGO + 90, anonid="p", items=(Touched("tea"),), bot=robot),
        behaviour(
            "p4", LONG_AGO + 99, anonid="p", userid="P", action="search", query="tea", items=()
        ),
        behaviour("q1", LONG_AGO, anonid="q", items=(Touched("tea"),), weight=4.0),
        behaviour("gone", time.time(), anonid="r", userid="R", items=()),
    )
    link = wrap(
        topics.IDENTITIES, Identity(anonid="q", user="Q"), id="l", source="t", time=utc(NOW)
    )
    await broker.send(topics.IDENTITIES, link)
    forget = wrap(topics.ERASURES, Erasure(user="R"), id="f", source="t", time=utc(NOW))
    await broker.send(topics.ERASURES, forget)
    async with AIOKafkaProducer(bootstrap_servers=broker.stack.kafka) as producer:
        await producer.send_and_wait(topics.BEHAVIOUR.name, b"no event", key=b"p")

    async def put_aside() -> set[tuple[bytes, bytes]]:
        # The broker is shared with other tests, which put letters of their own there.
        name = dead_letters("collector")
        return {(dead.key, dead.value) for dead in (await broker.read(name))[name]}

    async def told() -> bool:
        persons = {s.person for s in await broker.sessions()}
        tea = (await broker.activity()).get("tea")
        counted = tea is not None and tea.views[2] >= 5.0
        return {"P", "Q"} <= persons and counted and (b"p", b"no event") in await put_aside()

    with broker.worker() as process:
        await eventually(broker, told)
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 0
    mine = {s.person: s for s in await broker.sessions() if s.person in {"P", "Q", "R"}}
    assert [step.event_id for step in mine["P"].steps] == ["p1", "p4"]
    assert mine["P"].known
    assert mine["Q"].known
    assert (await broker.activity())["tea"].views[2] == 5.0
