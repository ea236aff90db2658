"""Decisions on their way to the topic and explanations to their slots, behind the answers."""

import asyncio
from typing import NamedTuple

from services.recommender.store import Explanations, Snapshot
from shared.contracts.envelope import Envelope
from shared.contracts.errors import Retryable
from shared.contracts.events import Decision
from shared.contracts.topics import DECISIONS
from shared.runtime import metrics
from shared.runtime.bus import Bus
from shared.runtime.clock import Clock
from shared.runtime.telemetry import log

BATCH = 200
WAIT_S = 0.02
"""How long an answer waits for room; a decision is feedback, and still worth less than an answer."""
RETRY_S = 0.5
_log = log(__name__)


class Record(NamedTuple):
    """What is kept of one answer."""

    decision: Envelope[Decision]
    snapshot: Snapshot


class Recorder:
    """A bounded queue of records, published in batches by one task.

    While Kafka is away the queue fills; then each answer waits up to `WAIT_S` for room, and after
    that its record is dropped and counted.
    """

    def __init__(self, bus: Bus, explanations: Explanations, clock: Clock, *, waiting: int) -> None:
        self._bus = bus
        self._explanations = explanations
        self._clock = clock
        self._queue: asyncio.Queue[Record] = asyncio.Queue(waiting)
        self._under_way: list[Record] = []

    async def put(self, record: Record) -> bool:
        """Take the record; False if there was no room for it."""
        try:
            self._queue.put_nowait(record)
        except asyncio.QueueFull:
            try:
                async with asyncio.timeout(WAIT_S):
                    await self._queue.put(record)
            except TimeoutError:
                metrics.DECISIONS_DROPPED.labels("recommender").inc()
                return False
        return True

    async def run(self) -> None:
        """Publish for ever; a task of the App."""
        while True:
            self._under_way.append(await self._queue.get())
            await self._publish()

    async def flush(self) -> None:
        """Publish what is waiting, once; what Kafka does not take now is dropped and counted."""
        while self._under_way or not self._queue.empty():
            self._take()
            try:
                await self._once()
            except Retryable as away:
                lost = len(self._under_way) + self._queue.qsize()
                metrics.DECISIONS_DROPPED.labels("recommender").inc(lost)
                _log.error("decisions lost at the end", count=lost, reason=str(away))
                return

    async def _publish(self) -> None:
        while self._under_way:
            self._take()
            try:
                await self._once()
            except Retryable as away:
                _log.warning("decisions wait", count=len(self._under_way), reason=str(away))
                await self._clock.sleep(RETRY_S)

    def _take(self) -> None:
        while len(self._under_way) < BATCH and not self._queue.empty():
            self._under_way.append(self._queue.get_nowait())

    async def _once(self) -> None:
        try:
            await self._explanations.keep([record.snapshot for record in self._under_way])
        except Retryable as away:
            # A list that cannot be explained is still a decision to learn from.
            _log.warning("explanations not kept", count=len(self._under_way), reason=str(away))
        await self._bus.publish_all(DECISIONS, [record.decision for record in self._under_way])
        self._under_way.clear()
