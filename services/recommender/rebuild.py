"""Building the views again when Redis has forgotten them."""

import asyncio
from collections.abc import Sequence
from typing import Any

from services.recommender.handlers import on_people_doing, on_shoppers
from services.recommender.manifest import SERVICE
from services.recommender.store import People
from shared.contracts.errors import Retryable
from shared.contracts.topics import BEHAVIOUR, ERASURES, ORDERS, SHOPPERS, Topic
from shared.runtime.app import Ports
from shared.runtime.bus import Received
from shared.runtime.bus.port import Handler
from shared.runtime.follow import ViewLoop
from shared.runtime.telemetry import log

RETRY_S = 2.0
_LOOK_S = 0.05
_log = log(__name__)


class Rebuild:
    """Reads the log from its start whenever the views are missing.

    What is kept twice stays as it was, so the group's own reading goes on beside it.
    """

    def __init__(self, ports: Ports, people: People) -> None:
        self._ports = ports
        self._people = people
        doing = on_people_doing(people, ports.clock, lambda: None)
        self._handlers: dict[Topic[Any], Handler] = {
            BEHAVIOUR: doing,
            ORDERS: doing,
            SHOPPERS: on_shoppers(people),
            ERASURES: self._on_erasures,
        }
        self._erased: set[str] = set()
        self._asked = asyncio.Event()
        self._asked.set()

    def ask(self) -> None:
        """Let the views be looked at, and built if they are missing."""
        self._asked.set()

    async def run(self) -> None:
        """Build whenever asked, for ever; a task of the App."""
        while True:
            await self._asked.wait()
            try:
                if not await self._people.built():
                    _log.info("building the views from the log")
                    await self._read_all()
                    await self._people.set_built()
            except Retryable as away:
                _log.warning("the views wait to be built", reason=str(away))
                await self._ports.clock.sleep(RETRY_S)
            else:
                self._asked.clear()

    async def unready(self) -> str | None:
        """Return what is missing, None when the views are there."""
        return "the views are being built from the log" if self._asked.is_set() else None

    async def _read_all(self) -> None:
        loop = ViewLoop(self._ports.bus, SERVICE, self._handlers, clock=self._ports.clock)
        stop = asyncio.Event()
        reading = asyncio.create_task(loop.run(stop))
        try:
            while loop.unready() is not None and not reading.done():
                await asyncio.wait({reading}, timeout=_LOOK_S)
        finally:
            stop.set()
            await reading
        # Topics are read side by side: only now is all there that must be forgotten again.
        for person in self._erased:
            await self._people.forget(person)

    async def _on_erasures(self, batch: Sequence[Received[Any]]) -> None:
        for received in batch:
            if received.envelope is not None:
                self._erased |= {received.envelope.data.user, *received.envelope.data.anonids}
