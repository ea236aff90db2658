"""Decisions on their way to the topic, behind the answers."""

import asyncio

from shared.contracts.envelope import Envelope
from shared.contracts.errors import Retryable
from shared.contracts.events import Decision
from shared.contracts.topics import DECISIONS
from shared.runtime import metrics
from shared.runtime.bus import Bus
from shared.runtime.clock import Clock
from shared.runtime.telemetry import log

BATCH = 500
BETWEEN_S = 0.05
"""From one group to the next: a request to Kafka costs as much as a hundred decisions in it."""
WAIT_S = 0.02
"""How long an answer waits for room; a decision is feedback, and still worth less than an answer."""
RETRY_S = 0.5
_log = log(__name__)


class Recorder:
    """A bounded queue of decisions, published in groups by one task.

    While Kafka is away the queue fills; then each answer waits up to `WAIT_S` for room, and after
    that its decision is dropped and counted.
    """

    def __init__(self, bus: Bus, clock: Clock, *, waiting: int) -> None:
        self._bus = bus
        self._clock = clock
        self._queue: asyncio.Queue[Envelope[Decision]] = asyncio.Queue(waiting)
        self._under_way: list[Envelope[Decision]] = []

    async def put(self, decision: Envelope[Decision]) -> bool:
        """Take the decision; False if there was no room for it."""
        try:
            self._queue.put_nowait(decision)
        except asyncio.QueueFull:
            try:
                async with asyncio.timeout(WAIT_S):
                    await self._queue.put(decision)
            except TimeoutError:
                metrics.DECISIONS_DROPPED.labels("recommender").inc()
                return False
        return True

    async def run(self) -> None:
        """Publish for ever; a task of the App."""
        while True:
            self._under_way.append(await self._queue.get())
            await self._publish()
            await self._clock.sleep(BETWEEN_S)

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
        await self._bus.publish_all(DECISIONS, self._under_way)
        self._under_way.clear()
