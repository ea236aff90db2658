"""The topics that only the stream uses, and sure writing to chosen partitions of them."""

import asyncio
from collections import defaultdict
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Any, NamedTuple, ParamSpec

from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError

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
_BATCH_BYTES = 512 << 10
_REQUEST_BYTES = 4 << 20
_SEGMENT_BYTES = str(32 << 20)
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
    # A restart reads the changelog whole, and only segments that are full or old are compacted.
    state = {"cleanup.policy": "compact", "segment.ms": "3600000", "segment.bytes": _SEGMENT_BYTES}
    return [
        Wanted(name, partitions, replication, config)
        for table in TABLES
        for name, config in ((inputs_of(table), records), (changelog_of(table), state))
    ]


class Appender:
    """Appends records in order per partition and returns when the broker has them all.

    Waits for a broker that is away, however long: what is read is not committed meanwhile, so that
    the topics hold what this process does not. Connects on first use.
    """

    def __init__(self, bootstrap: str, clock: Clock, **connection: Any) -> None:
        self._bootstrap = bootstrap
        self._connection = connection
        self._clock = clock
        self._producer: AIOKafkaProducer | None = None
        self._starting = asyncio.Lock()

    async def append(self, entries: Iterable[Entry]) -> None:
        """Append; those of a partition are sent again from the first that was refused."""
        parts: dict[tuple[str, int], list[Entry]] = defaultdict(list)
        for entry in entries:
            parts[entry.topic, entry.partition].append(entry)
        while parts:
            await self.surely(self._send, parts)

    async def surely(
        self, send: Callable[Args, Awaitable[Any]], *args: Args.args, **kwargs: Args.kwargs
    ) -> None:
        """Call `send` until the broker has taken it."""
        attempt = 0
        while True:
            try:
                await send(*args, **kwargs)
                return
            except (Retryable, KafkaError, OSError) as error:
                wait_s = _WAITS_S[min(attempt, len(_WAITS_S) - 1)]
                _log.warning("the broker is away", reason=repr(error), wait_s=wait_s)
                await self._clock.sleep(wait_s)
                attempt += 1

    async def close(self) -> None:
        """Free the connection; nothing is under way then."""
        producer, self._producer = self._producer, None
        if producer is not None:
            await producer.stop()

    async def _send(self, parts: dict[tuple[str, int], list[Entry]]) -> None:
        """Send one batch of each partition and take off what was acknowledged."""
        producer = await self._started()
        sent = []
        for place, waiting in parts.items():
            batch = producer.create_batch()
            taken = _fill(batch, waiting)
            sent.append(
                (place, taken, await producer.send_batch(batch, place[0], partition=place[1]))
            )
        try:
            for place, taken, acknowledged in sent:
                await acknowledged
                del parts[place][:taken]
                if not parts[place]:
                    del parts[place]
        except KafkaError:
            # Its numbering of batches may have a gap now, which the broker would hold against it.
            await self.close()
            raise

    async def _started(self) -> AIOKafkaProducer:
        async with self._starting:
            if self._producer is None:
                producer = AIOKafkaProducer(
                    bootstrap_servers=self._bootstrap,
                    client_id=APP_ID,
                    acks="all",
                    enable_idempotence=True,
                    max_batch_size=_BATCH_BYTES,
                    max_request_size=_REQUEST_BYTES,
                    **self._connection,
                )
                try:
                    await producer.start()
                except KafkaError:
                    await producer.stop()
                    raise
                self._producer = producer
            return self._producer


def _fill(batch: Any, waiting: Sequence[Entry]) -> int:
    """Put entries into the batch until it is full; return how many. The first always fits."""
    for n, entry in enumerate(waiting):
        if batch.append(key=entry.key, value=entry.value, timestamp=None) is None:
            batch.close()
            return n
    batch.close()
    return len(waiting)
