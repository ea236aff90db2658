"""From topics to the lake: each record once, whatever is killed in between."""

import asyncio
import itertools
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec
import polars as pl
import pytest

from services.trainer.history import Lake
from services.trainer.intake import GROUP, Intake
from services.trainer.manifest import SERVICE
from shared.contracts.envelope import encode, header
from shared.contracts.events import Product
from shared.contracts.topics import BEHAVIOUR, CATALOG
from shared.runtime.bus.memory import MemoryBus, MemoryWork
from shared.runtime.bus.port import Record, TopicPartition
from shared.runtime.bus.records import Outgoing
from tests.component.trainer.conftest import START_S, around_event, viewed
from tests.fixtures.service import Surroundings


class Killed(BaseException):
    """The process ends here."""


class Fragile(Lake):
    """A lake whose process dies before or after the n-th file is there."""

    def __init__(self, path: Path, *, at: int, after: bool) -> None:
        super().__init__(path)
        self._left, self._after = at, after

    def append(self, partition: TopicPartition, rows: pl.DataFrame, first: int, last: int) -> None:
        self._left -= 1
        if self._left == 0 and not self._after:
            raise Killed
        super().append(partition, rows, first, last)
        if self._left == 0:
            raise Killed


def intake(around: Surroundings, lake: Lake, flush_records: int = 7) -> Intake:
    bus = MemoryBus(around.broker, SERVICE, clock=around.clock)
    return Intake(bus, lake, around.clock, flush_records=flush_records, flush_s=1000.0)


@asynccontextmanager
async def running(reader: Intake) -> AsyncIterator[None]:
    task = asyncio.create_task(reader.run())
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def publish(around: Surroundings, numbers: Sequence[int]) -> None:
    views = [viewed(f"user-{n % 5}", f"item-{n}", n) for n in numbers]
    await around.bus.publish_all(BEHAVIOUR, views)


def items(lake: Lake) -> list[str]:
    return sorted(lake.scan("behaviour").select("item").collect()["item"].to_list())


def expected(count: int) -> list[str]:
    return sorted(f"item-{n}" for n in range(count))


async def test_everything_arrives_once(around: Surroundings) -> None:
    """Models would be trained on less or more than what happened."""
    lake = Lake(around.folder / "lake")
    await publish(around, range(50))
    reader = intake(around, lake)
    async with running(reader):
        assert await reader.caught_up(20)
    assert items(lake) == expected(50)


@pytest.mark.parametrize("after", [False, True])
@pytest.mark.parametrize("at", [1, 2, 3, 5])
async def test_a_kill_around_any_file_neither_loses_nor_doubles(
    around: Surroundings, at: int, after: bool
) -> None:
    """A crash between file and commit would lose or repeat a part of the history."""
    path = around.folder / "lake"
    first = intake(around, Fragile(path, at=at, after=after))
    task = asyncio.create_task(first.run())
    for start in range(0, 40, 10):
        await publish(around, range(start, start + 10))
        reached = asyncio.create_task(first.caught_up(20))
        await asyncio.wait({task, reached}, return_when=asyncio.FIRST_COMPLETED)
        reached.cancel()
    with pytest.raises(Killed):
        await asyncio.wait_for(task, 20)
    await publish(around, range(40, 60))
    second = intake(around, Lake(path))
    async with running(second):
        assert await second.caught_up(20)
    assert items(Lake(path)) == expected(60)


async def test_files_decide_and_not_the_group_s_offsets(around: Surroundings) -> None:
    """A group that was moved by an operator would leave a hole in the history."""
    lake = Lake(around.folder / "lake")
    await publish(around, range(30))
    for partition in around.broker.partitions("behaviour"):
        around.broker.committed[GROUP, partition] = 5
    reader = intake(around, lake)
    async with running(reader):
        assert await reader.caught_up(20)
    assert items(lake) == expected(30)


async def test_a_record_that_is_no_event_is_put_aside(around: Surroundings) -> None:
    """One broken record would stop the history for ever, or vanish without a trace."""
    await publish(around, range(3))
    other: Any = viewed("user-1", "x", 1)
    record = around.broker.records("behaviour")[0]
    log = around.broker.log(TopicPartition("behaviour", record.partition))
    log[0] = type(record)(
        record.topic, record.partition, 0, record.key, b"{no json", (), record.timestamp_ms
    )
    lake = Lake(around.folder / "lake")
    reader = intake(around, lake)
    async with running(reader):
        assert await reader.caught_up(20)
    assert other is not None
    assert len(items(lake)) == 2
    assert [r.value for r in around.broker.records("trainer-dlq")] == [b"{no json"]


async def test_a_busy_shop_s_history_is_up_to_date_too(
    around: Surroundings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where events never pause nobody would be forgotten, and each training wait a minute for it."""
    lake, poll, numbers = Lake(around.folder / "lake"), MemoryWork.poll, itertools.count(50)

    async def busy(self: MemoryWork, **limits: Any) -> Any:
        await publish(around, [next(numbers)])
        await asyncio.sleep(0)
        return await poll(self, **limits)

    monkeypatch.setattr(MemoryWork, "poll", busy)
    await publish(around, range(50))
    reader = intake(around, lake, flush_records=10**6)
    async with running(reader):
        assert await reader.caught_up(20)
        assert set(expected(50)) <= set(items(lake))


async def test_who_asks_while_another_is_answered_is_not_answered_with_the_old(
    around: Surroundings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A person's last event would stay in the history after they were forgotten."""
    lake, ends, asked = Lake(around.folder / "lake"), MemoryWork.ends, asyncio.Event()
    go_on = asyncio.Event()

    async def slow(self: MemoryWork) -> Any:
        found = await ends(self)
        asked.set()
        await go_on.wait()
        return found

    monkeypatch.setattr(MemoryWork, "ends", slow)
    await publish(around, range(5))
    reader = intake(around, lake, flush_records=10**6)
    async with running(reader):
        first = asyncio.create_task(reader.caught_up(20))
        await asyncio.wait_for(asked.wait(), 20)
        await publish(around, range(5, 10))
        second = asyncio.create_task(reader.caught_up(20))
        await asyncio.sleep(0)
        go_on.set()
        assert await first
        assert await second
        assert items(lake) == expected(10)


async def test_a_full_disk_is_waited_for(around: Surroundings) -> None:
    """The trainer would die at every start until somebody makes room, and lose nothing less."""
    lake = Lake(around.folder / "lake")
    await publish(around, range(10))
    for partition in around.broker.partitions("behaviour"):
        folder = around.folder / "lake" / "behaviour" / str(partition.partition)
        folder.mkdir(parents=True)
        last = len(around.broker.log(partition)) - 1
        (folder / f"{0:020}-{last:020}.draft").symlink_to("/dev/full")
    received: list[int] = []
    reader = intake(around, lake, flush_records=10**6)
    reader.received = received.append
    async with running(reader):
        assert await reader.caught_up(20)
    assert items(lake) == expected(10)
    assert sum(received) == 10


def redriven(around: Surroundings, record: Record, value: bytes | None) -> None:
    """Send a dead letter back with other bytes, which stand for code that can read them."""
    about = {
        "dlq-topic": record.topic,
        "dlq-partition": record.partition,
        "dlq-offset": record.offset,
    }
    headers = tuple((name, str(what).encode()) for name, what in about.items())
    around.broker.append("trainer-redrive", Outgoing(record.key, value, headers), 0.0)


async def test_what_comes_back_from_the_dead_letters_is_in_the_history_once(
    around: Surroundings,
) -> None:
    """A re-drive would kill the trainer at every start, or bring nothing back."""
    await publish(around, range(6))
    records = around.broker.records("behaviour")
    redriven(around, records[0], encode(viewed("user-1", "item-6", 6)))
    redriven(around, records[1], b"{no json")
    model = Record("models", 0, 0, b"m", b"{}", (), 0)
    redriven(around, model, b"{}")
    redriven(around, records[2], encode(viewed("user-1", "item-7", 7)))
    around.broker.append("trainer-redrive", Outgoing(b"k", b"{}", ()), 0.0)
    path = around.folder / "lake"
    for _ in range(2):
        reader = intake(around, Lake(path))
        async with running(reader):
            assert await reader.caught_up(20)
        assert items(Lake(path)) == expected(8)
        around.broker.committed.clear()
    letters = [
        (r.value, header(r.headers, "dlq-topic")) for r in around.broker.records("trainer-dlq")
    ]
    assert letters == [(b"{no json", b"behaviour")]


async def test_a_product_that_comes_back_does_not_replace_a_newer_one(around: Surroundings) -> None:
    """A re-drive would bring yesterday's catalogue back, or lose today's."""
    for n, title in enumerate(["old", "refused", "new"]):
        product = Product(id="tea", title=title)
        await around.bus.publish(CATALOG, around_event(CATALOG, product, f"p{n}", START_S))
    late = encode(around_event(CATALOG, Product(id="tea", title="refused"), "p1", START_S))
    lake = Lake(around.folder / "lake")
    log = [r for r in around.broker.records("catalog") if r.value is not None]
    log_of = around.broker.log(TopicPartition("catalog", log[0].partition))
    log_of[1] = msgspec.structs.replace(log_of[1], value=b"{no json")
    redriven(around, log_of[1], late)
    reader = intake(around, lake)
    async with running(reader):
        assert await reader.caught_up(20)
    assert lake.scan("catalog").collect()["title"].to_list() == ["new"]
    log_of[2] = msgspec.structs.replace(log_of[2], value=b"{no json")
    again = intake(around, Lake(around.folder / "another"))
    around.broker.committed.clear()
    async with running(again):
        assert await again.caught_up(20)
    assert again.lake.scan("catalog").collect()["title"].to_list() == ["refused"]


async def test_a_broker_that_is_away_is_waited_for(around: Surroundings) -> None:
    """An outage of Kafka would end the trainer."""
    lake = Lake(around.folder / "lake")
    around.broker.down = True
    reader = intake(around, lake)
    async with running(reader):
        await asyncio.sleep(0.01)
        around.broker.down = False
        await publish(around, range(10))
        assert await reader.caught_up(20)
    assert items(lake) == expected(10)
