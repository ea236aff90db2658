"""From topics to the lake: each record once, whatever is killed in between."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from services.trainer.history import Lake
from services.trainer.intake import GROUP, Intake
from services.trainer.manifest import SERVICE
from shared.contracts.topics import BEHAVIOUR
from shared.runtime.bus.memory import MemoryBus
from shared.runtime.bus.port import TopicPartition
from tests.component.trainer.conftest import viewed
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
