"""Views: whole topics read from their start by every replica, for as long as the process lives."""

import asyncio
from collections.abc import Mapping
from typing import Any

from shared.contracts.errors import Retryable
from shared.contracts.service import Service
from shared.contracts.topics import Topic
from shared.runtime import metrics
from shared.runtime.bus.port import Bus, Handler, Record, TopicPartition, View
from shared.runtime.clock import Clock
from shared.runtime.delivery import Abandoned, Delivery, Effects, Refusal
from shared.runtime.loop import Limits
from shared.runtime.stopping import unless
from shared.runtime.telemetry import log

_log = log(__name__)


class ViewLoop:
    """Follows topics whole and gives every record to its handler; built once, `run` once.

    A record that is wrong is logged, counted and skipped: each replica sees it, and whoever works
    the topic in a group puts it aside.
    """

    def __init__(
        self,
        bus: Bus,
        service: Service,
        handlers: Mapping[Topic[Any], Handler],
        *,
        clock: Clock,
        limits: Limits | None = None,
    ) -> None:
        self._bus = bus
        self._topics = tuple(handlers)
        self._service = service.name
        self._clock = clock
        self._limits = limits or Limits()
        self._effects = Effects(
            {t.name: (t, h) for t, h in handlers.items()},
            service.name,
            clock,
            self._limits.back_off,
        )
        self._deliveries: dict[TopicPartition, Delivery] = {}
        self._caught_up = False
        self._view: View | None = None

    async def run(self, stop: asyncio.Event) -> None:
        """Follow until `stop` is set; the handler may finish its batch. Errors as `WorkLoop.run`.

        A broker that is away is waited for; the topics are then read from their start again.
        """
        failures = 0
        while not stop.is_set():
            try:
                self._view = await unless(stop, self._bus.view(self._topics))
                failures = 0
                if self._view is not None:
                    await self._follow(self._view, stop)
            except Retryable as error:
                failures += 1
                seconds = self._limits.back_off.wait_s(failures, error)
                _log.warning("will open the view again", reason=str(error), in_s=seconds)
                await unless(stop, self._clock.sleep(seconds))

    def unready(self) -> str | None:
        """Return what is missing until all has been read that was there at the start, else None."""
        if self._view is not None and self._view.caught_up:
            self._caught_up = True
        if self._caught_up:
            return None
        names = ", ".join(t.name for t in self._topics)
        return f"still reading {names} from the start"

    async def _follow(self, view: View, stop: asyncio.Event) -> None:
        reading = asyncio.create_task(self._read(view))
        stopping = asyncio.create_task(stop.wait())
        try:
            await asyncio.wait({reading, stopping}, return_when=asyncio.FIRST_COMPLETED)
            self.unready()
        finally:
            stopping.cancel()
            for delivery in self._deliveries.values():
                delivery.leaving = True
            await view.close()
            waiting = any(delivery.waiting for delivery in self._deliveries.values())
            if not waiting:
                await asyncio.wait({reading}, timeout=self._limits.hand_over_s)
            reading.cancel()
            await asyncio.wait({reading})
            self._deliveries.clear()
        if not reading.cancelled() and not isinstance(reading.exception(), Abandoned):
            reading.result()

    async def _read(self, view: View) -> None:
        async for records in view.records():
            delivery = self._delivery(TopicPartition(records[0].topic, records[0].partition))
            at = 0
            while at < len(records) and not delivery.leaving:
                at += await delivery.some(records[at : at + self._limits.batch])

    def _delivery(self, partition: TopicPartition) -> Delivery:
        if partition not in self._deliveries:
            self._deliveries[partition] = Delivery(self._effects, self._skip)
        return self._deliveries[partition]

    async def _skip(self, record: Record, refusal: Refusal) -> None:
        metrics.DEAD_LETTERS.labels(self._service, "skipped").inc()
        _log.error("record skipped", position=str(record.position), reason=refusal.reason)
