import os
import signal
import subprocess
import sys

from services.collector.wal.log import Log
from tests.unit.services.collector.wal.conftest import TOPICS

WRITER = """
import asyncio, sys
from pathlib import Path
from services.collector.wal.log import Log
from services.collector.wal.writer import Pace
from tests.unit.services.collector.wal.conftest import TOPICS, record

async def main():
    log = Log(Path(sys.argv[1]), TOPICS, pace=Pace(segment_bytes=20_000, group_s=0))
    log.claim()
    log.open(lambda r: None)
    log.start()
    seq = log.last
    while True:
        log.append([record(s) for s in range(seq + 1, seq + 8)])
        seq += 7
        await log.durable(seq)
        print(seq, flush=True)

asyncio.run(main())
"""


def test_kill_nine_loses_nothing_that_was_acknowledged(tmp_path):
    """The collector's promise: whatever was answered with 202 is there after any crash."""
    acknowledged = 0
    for round_ in range(3):
        child = subprocess.Popen(
            [sys.executable, "-c", WRITER, str(tmp_path)], stdout=subprocess.PIPE, text=True
        )
        assert child.stdout is not None
        for _ in range(30 + 17 * round_):
            acknowledged = int(child.stdout.readline())
        child.send_signal(signal.SIGKILL)
        acknowledged = max([acknowledged, *map(int, child.stdout.read().split())])
        child.wait()
        log = Log(tmp_path, TOPICS)
        log.claim()
        read = []
        log.open(read.append)
        assert [r.seq for r in read] == list(range(1, len(read) + 1))
        assert all(r.value == b"value %d" % r.seq for r in read)
        assert len(read) >= acknowledged
        os.close(log._lock_fd)
