"""A log in a temporary folder, opened and closed around each use."""

from contextlib import asynccontextmanager

import pytest

from services.collector.wal.format import Record
from services.collector.wal.log import Log
from services.collector.wal.writer import Pace

TOPICS = [("behaviour", "shoploop.behaviour.v1"), ("catalog", "shoploop.catalog.v1")]


def record(seq, *, value=None, topic="behaviour"):
    """A record whose bytes follow from its number."""
    return Record(
        seq,
        1000 + seq,
        topic,
        b"user%d" % (seq % 5),
        b"value %d" % seq if value is None else value,
        b"id%d" % seq,
        (seq * 2654435761) | 2,
    )


@pytest.fixture
def opened(tmp_path):
    """Open the log of this test's folder; yields (log, recovered records, what was found)."""

    @asynccontextmanager
    async def opener(*, after=0, disk=None, bounds=None, **pace):
        pace = {"group_s": 0, "retry_s": 0.01, **pace}
        log = Log(tmp_path / "log", TOPICS, disk=disk, bounds=bounds, pace=Pace(**pace))
        seen = []
        log.claim()
        found = log.open(seen.append, after=after)
        log.start()
        try:
            yield log, seen, found
        finally:
            await log.close()

    return opener
