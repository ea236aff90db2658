"""The topics that only the stream uses, and sure writing to chosen partitions of them."""

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from typing import Any, NamedTuple, ParamSpec

from aiokafka.errors import KafkaError
from faust.exceptions import ProducerSendError

from shared.contracts.errors import Retryable
from shared.contracts.topics import days
from shared.runtime.bus.admin import Wanted
from shared.runtime.clock import Clock
from shared.runtime.telemetry import log

Args = ParamSpec("Args")

APP_ID = "collector-stream"
TABLES = ("visitors", "items")
KEEP = days(7)
"""Records of the stream's own topics; by far longer than the stream may stand still."""
_PIECE = 200
_WAITS_S = (0.1, 0.3, 1.0, 3.0)
_log = log(__name__)


class Entry(NamedTuple):
    """A record to append to a certain partition."""

    topic: str
    partition: int
    key: bytes | None
    value: bytes | None


def inputs_of(table: str) -> str:
    """Return the topic whose records change the table."""
    return f"{APP_ID}-{table}-inputs"


def changelog_of(table: str) -> str:
    """Return the compacted topic that the table is recovered from; the name is Faust's."""
    return f"{APP_ID}-{table}-changelog"


def wanted(partitions: int, replication: int) -> list[Wanted]:
    """Return what the stream's own topics should be like."""
    records = {"retention.ms": str(int(KEEP.total_seconds() * 1000))}
    state = {"cleanup.policy": "compact", "segment.ms": "3600000"}
    return [
        Wanted(name, partitions, replication, config)
        for table in TABLES
        for name, config in ((inputs_of(table), records), (changelog_of(table), state))
    ]


class Appender:
    """Appends records in order per partition and returns when the broker has them all.

    Waits for a broker that is away, however long: what is read is not committed meanwhile, so that
    the topics hold what this process does not.

    Parameters
    ----------
    producer : callable
        Returns Faust's producer.
    """

    def __init__(self, producer: Callable[[], Any], clock: Clock) -> None:
        self._producer = producer
        self._clock = clock

    async def append(self, entries: Iterable[Entry]) -> None:
        """Append; entries that were refused together are all sent again, in their order."""
        waiting = list(entries)
        for start in range(0, len(waiting), _PIECE):
            piece = waiting[start : start + _PIECE]
            await self.surely(self._append, piece)

    async def surely(
        self, send: Callable[Args, Awaitable[Any]], *args: Args.args, **kwargs: Args.kwargs
    ) -> None:
        """Call `send` until the broker has taken it."""
        attempt = 0
        while True:
            try:
                await send(*args, **kwargs)
                return
            except (Retryable, KafkaError, ProducerSendError, OSError) as error:
                wait_s = _WAITS_S[min(attempt, len(_WAITS_S) - 1)]
                _log.warning("the broker is away", reason=repr(error), wait_s=wait_s)
                await self._clock.sleep(wait_s)
                attempt += 1

    async def _append(self, entries: list[Entry]) -> None:
        producer = self._producer()
        sent = [
            await producer.send(e.topic, e.key, e.value, e.partition, None, None) for e in entries
        ]
        await asyncio.gather(*sent)
