import asyncio
import errno

import pytest

from services.collector.wal.disk import Disk
from services.collector.wal.log import Bounds, LogFull
from tests.unit.services.collector.wal.conftest import record


class MoodyDisk(Disk):
    """A disk that fails while `error` is set, after writing half of what it was given."""

    def __init__(self):
        self.error = None
        self.syncs = 0
        self.fail_sync = False

    def append(self, fd, blob):
        if self.error is not None and not self.fail_sync:
            super().append(fd, blob[: len(blob) // 2])
            raise OSError(self.error, "no")
        super().append(fd, blob)

    def sync(self, fd):
        self.syncs += 1
        if self.error is not None and self.fail_sync:
            raise OSError(self.error, "no")
        super().sync(fd)


async def all_of(log, after=0):
    read = []
    while (read[-1].seq if read else after) < log.last:
        async with asyncio.timeout(10):
            read += await log.read(read[-1].seq if read else after)
    return read


async def test_what_was_durable_is_there_after_a_restart(opened):
    """An acknowledged event that a restart forgets is a lost sale in every figure."""
    records = [record(i) for i in range(1, 101)]
    async with opened() as (log, _, _):
        log.append(records[:60])
        log.append(records[60:])
        await log.durable(100)
    async with opened() as (log, seen, found):
        assert seen == records
        assert (log.last, found.torn_bytes, found.damaged_bytes) == (100, 0, 0)
        assert await all_of(log) == records


async def test_the_number_goes_on_behind_what_kafka_had(opened):
    """A number given twice would make the relay think that Kafka has a record it never saw."""
    async with opened(after=40) as (log, _, _):
        assert log.last == 40
        log.append([record(41)])
        await log.durable(41)
    async with opened() as (log, seen, _):
        assert [r.seq for r in seen] == [41]


async def test_groups_share_a_sync(opened):
    """One sync an event would bring the collector down to the disk's few hundred a second."""
    disk = MoodyDisk()
    async with opened(disk=disk, group_s=0.05) as (log, _, _):
        log.append([record(1)])
        await log.durable(1)
        before = disk.syncs
        for seq in range(2, 202):
            log.append([record(seq)])
        await log.durable(201)
        assert disk.syncs - before <= 3


async def test_a_torn_tail_is_cut(opened, tmp_path):
    """A half-written record must not hide the ones that are appended behind it."""
    async with opened() as (log, _, _):
        log.append([record(1), record(2)])
        await log.durable(2)
    (path,) = (tmp_path / "log").glob("*.wal")
    path.write_bytes(path.read_bytes()[:-3])
    async with opened() as (log, seen, found):
        assert [r.seq for r in seen] == [1]
        assert found.torn_bytes > 0
        log.append([record(2, value=b"again")])
        await log.durable(2)
    async with opened() as (_, seen, _):
        assert [r.value for r in seen] == [b"value 1", b"again"]


async def test_damage_in_the_middle_costs_the_damaged_record_only(opened, tmp_path, caplog):
    """A bad sector must be seen and counted, and must not take healthy records along."""
    async with opened() as (log, _, _):
        log.append([record(i) for i in range(1, 6)])
        await log.durable(5)
    (path,) = (tmp_path / "log").glob("*.wal")
    content = bytearray(path.read_bytes())
    content[content.index(b"value 3")] ^= 1
    path.write_bytes(content)
    async with opened() as (log, seen, found):
        assert [r.seq for r in seen] == [1, 2, 4, 5]
        assert found.salvaged == 2
        assert found.damaged_bytes > 0
        assert [r.seq for r in await all_of(log)] == [1, 2, 4, 5]
    assert "is damaged" in caplog.text
    assert path.with_suffix(".corrupt").exists()
    async with opened() as (_, seen, found):
        assert [r.seq for r in seen] == [1, 2, 4, 5]
        assert found.damaged_bytes == 0


@pytest.mark.parametrize("n", [3, 600])
async def test_a_damaged_header_costs_no_record(opened, tmp_path, n):
    """One bad byte at a segment's start must not cost all that was promised in it."""
    async with opened() as (log, _, _):
        log.append([record(i) for i in range(1, n + 1)])
        await log.durable(n)
    (path,) = (tmp_path / "log").glob("*.wal")
    content = bytearray(path.read_bytes())
    content[20] ^= 1
    path.write_bytes(content)
    for _ in range(2):
        async with opened() as (log, seen, _):
            assert seen == [record(i) for i in range(1, n + 1)]
            assert await all_of(log) == seen
    assert path.with_suffix(".corrupt").read_bytes() == content


async def test_the_relay_reads_files_when_memory_is_short(opened):
    """With Kafka away for an hour memory must stay bounded and the order whole."""
    bounds = Bounds(tail_bytes=1000)
    async with opened(bounds=bounds, segment_bytes=4000) as (log, _, _):
        for seq in range(1, 301):
            log.append([record(seq)])
            if seq % 20 == 0:
                await log.durable(seq)
        assert log._tail_bytes <= 1000
        assert [r.seq for r in await all_of(log)] == list(range(1, 301))


async def test_released_segments_are_deleted(opened, tmp_path):
    """What Kafka has must free its place, or the log fills without an outage."""
    async with opened(segment_bytes=2000) as (log, _, _):
        for seq in range(1, 101):
            log.append([record(seq)])
            await log.durable(seq)
        stored = log.stored_bytes
        assert log.release(50) > 0
        assert log.stored_bytes < stored
        assert [r.seq for r in await all_of(log, after=50)] == list(range(51, 101))
        first = min((tmp_path / "log").glob("*.wal"))
        assert 1 < int(first.stem) <= 51


@pytest.mark.parametrize("fail_sync", [False, True])
async def test_a_full_disk_refuses_and_recovers_without_loss(opened, fail_sync):
    """A full disk must turn senders away, never lose what was promised, and end by itself."""
    disk = MoodyDisk()
    async with opened(disk=disk) as (log, _, _):
        log.append([record(1)])
        await log.durable(1)
        disk.error, disk.fail_sync = errno.ENOSPC, fail_sync
        log.append([record(2)])
        with pytest.raises(LogFull):
            await log.durable(2)
        assert log.fill == 1
        with pytest.raises(LogFull):
            log.append([record(3)])
        disk.error = None
        async with asyncio.timeout(10):
            while log.durable_seq < 2:
                await asyncio.sleep(0.005)
        assert log.fault is None
        log.append([record(3)])
        await log.durable(3)
        assert [r.seq for r in await all_of(log)] == [1, 2, 3]
    async with opened() as (_, seen, found):
        assert [r.seq for r in seen] == [1, 2, 3]
        assert found.damaged_bytes == 0


async def test_the_bound_refuses_before_the_disk_does(opened):
    """A log without a bound would fill the disk that Kafka and Redis write to."""
    async with opened(bounds=Bounds(disk_bytes=2000)) as (log, _, _):
        seq = 0
        while log.fill < 1:
            seq += 1
            log.append([record(seq)])
            await log.durable(seq)
        assert 10 < seq < 40
        with pytest.raises(LogFull):
            log.append([record(seq + 1)])
        assert log.stored_bytes < 2200


async def test_two_processes_cannot_share_a_folder(opened, tmp_path):
    """Two writers would give one number to two events, and the relay would drop one of them."""
    from services.collector.wal.log import Log

    async with opened():
        with pytest.raises(LogFull):
            Log(tmp_path / "log", []).claim()


async def test_who_waits_for_the_disk_does_not_wait_for_a_large_group(opened):
    """A rush of events that nobody waits for would hold up an order by as long as it gathers."""
    async with opened(unawaited_s=60) as (log, _, _):
        for first in (1, 1001):
            log.append([record(seq) for seq in range(first, first + 1000)])
            await log.durable(first + 999)
        log.append([record(2001)])
        async with asyncio.timeout(10):
            await log.durable(2001)


async def test_a_group_that_gathers_is_written_when_the_log_closes(opened):
    """A stop would take as long as the group may gather, and a killed one lose it."""
    async with opened(unawaited_s=60) as (log, _, _):
        for first in (1, 1001):
            log.append([record(seq) for seq in range(first, first + 1000)])
            await log.durable(first + 999)
        log.append([record(2001)])
        async with asyncio.timeout(10):
            await log.close()
    async with opened() as (log, seen, _):
        assert seen[-1].seq == 2001
