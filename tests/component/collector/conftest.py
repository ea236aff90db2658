"""The collector's HTTP process on a memory broker."""

import asyncio
import itertools
import time
from dataclasses import replace

import pytest

from services.collector.app import DOOR_TOPICS, build
from services.collector.manifest import SERVICE
from services.collector.relay.sink import LOG_HEADER, SEQ_HEADER, Heads
from services.collector.settings import CollectorSettings
from services.collector.spool import named
from services.collector.wal.index import Place
from shared.contracts.errors import Retryable
from shared.runtime.bus.records import Outgoing


class BrokerSink:
    """The relay's sink on the memory broker.

    `lose_acks` appends a batch and then fails, so often; `takes` lets batches pass while it is set.
    """

    def __init__(self, broker, log, topics):
        self.broker, self.log, self.topics = broker, log, topics
        self.heads = Heads(log, topics)
        self.lose_acks = 0
        self.takes = asyncio.Event()
        self.takes.set()

    async def open(self):
        self.broker.answer()

    async def partitions(self, topic):
        return len(self.broker.partitions(topic))

    async def write(self, batches):
        await self.takes.wait()
        offsets = {}
        for slot, records in batches.items():
            offsets[slot] = []
            for r in records:
                out = Outgoing(r.key, r.value, tuple(self.heads.of(r)))
                at = self.broker.append(slot.topic, out, r.at_ms / 1000)
                assert at.partition == slot.partition
                offsets[slot].append(at.offset)
            if self.lose_acks:
                self.lose_acks -= 1
                raise Retryable("the acknowledgement got lost")
        return offsets

    async def written_since(self, topics, at_ms):
        self.broker.answer()
        found = {}
        for record in itertools.chain(*map(self.broker.records, topics)):
            headers = dict(record.headers)
            if headers.get(LOG_HEADER) == self.log.encode() and record.timestamp_ms >= at_ms:
                place = Place(record.topic, record.partition, record.offset)
                found[int(headers[SEQ_HEADER])] = place
        return found

    async def close(self):
        pass


async def until(condition, what="the condition"):
    """Return the first true value of `condition()`; fail loudly if there is none for a minute."""
    deadline = time.monotonic() + 60
    while not (value := condition()):
        assert time.monotonic() < deadline, f"{what} did not come true"
        await asyncio.sleep(0.005)
    return value


@pytest.fixture
def collector(component, around):
    """Return ``open(**settings)``; the component has `sink` beside the usual attributes."""

    async def opened(**given):
        made = []

        def sink(log):
            made.append(BrokerSink(around.broker, log, named(DOOR_TOPICS)))
            return made[-1]

        def built(process, settings, ports):
            app = build(process, settings, ports, sink=sink)
            # The others wait by the clock, which a test's lets run away.
            tasks = {name: app.tasks[name] for name in ("relay", "tidy")}
            return replace(app, tasks=tasks)

        given.setdefault("spool_group_s", 0)
        service = await component(SERVICE, built, "http", CollectorSettings, **given)
        service.sink = await until(lambda: made and made[0], "the relay's start")
        return service

    return opened
