"""The idempotent producer behind `KafkaBus`: started on first use, replaced when it is broken."""

import asyncio
from collections import defaultdict, deque
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

from aiokafka import AIOKafkaProducer
from aiokafka.errors import (
    KafkaError,
    MessageSizeTooLargeError,
    RecordListTooLargeError,
    TopicAuthorizationFailedError,
    UnknownTopicOrPartitionError,
)

from shared.contracts.errors import Invalid, Retryable
from shared.contracts.topics import NO_KEY
from shared.runtime import metrics
from shared.runtime.bus.partition import partition_of
from shared.runtime.bus.port import Position
from shared.runtime.bus.records import Outgoing
from shared.runtime.bus.settings import KafkaSettings
from shared.runtime.telemetry import log

_log = log(__name__)


class Producer:
    """Appends records with acks=all; a retry inside the client never doubles or reorders them.

    What waits in memory is bounded: one batch of `settings.batch_bytes` for each partition, and
    callers wait for its room. Safe to use from many tasks of one event loop.
    """

    def __init__(self, bootstrap: str, settings: KafkaSettings, *, name: str) -> None:
        self._bootstrap = bootstrap
        self._settings = settings
        self._name = name
        self._client: AIOKafkaProducer | None = None
        self._starting = asyncio.Lock()
        self._retired: set[asyncio.Task[None]] = set()

    async def append(self, topic: str, record: Outgoing, now: float) -> Position:
        """Append and wait for the acknowledgement; see `Bus.publish` for the errors."""
        async with self._sending(topic, 1) as client:
            partitions = len(await client.partitions_for(topic))
            acknowledged = await client.send(
                topic,
                value=record.value,
                key=record.key,
                partition=_partition(record, partitions),
                headers=list(record.headers),
                timestamp_ms=int(now * 1000),
            )
            at = await acknowledged
            return Position(topic, at.partition, at.offset)

    async def append_all(
        self, topic: str, records: Sequence[Outgoing], now: float
    ) -> list[Position]:
        """Append in batches of one partition; positions are in the order of `records`."""
        async with self._sending(topic, len(records)) as client:
            partitions = len(await client.partitions_for(topic))
            chosen = defaultdict(list)
            for i, record in enumerate(records):
                chosen[_partition(record, partitions)].append(i)
            positions: dict[int, Position] = {}
            sends = [
                _send_batches(client, topic, partition, {i: records[i] for i in indexes}, now)
                for partition, indexes in chosen.items()
            ]
            # All run to their end: none may go on in the background after an error was reported.
            for sent in await asyncio.gather(*sends, return_exceptions=True):
                if isinstance(sent, BaseException):
                    raise sent
                positions |= sent
            return [positions[i] for i in range(len(records))]

    async def answers(self) -> bool:
        """Whether the broker answers a metadata request; never raises, `KafkaError`s included."""
        try:
            async with asyncio.timeout(self._settings.health_timeout_s):
                client = await self._started()
                await client.client.fetch_all_metadata()
        except (KafkaError, TimeoutError, OSError):
            return False
        return True

    async def close(self) -> None:
        """Wait for what is under way, at most `publish_timeout_s`, and disconnect."""
        client, self._client = self._client, None
        if client is not None:
            await _stop(client, self._settings.publish_timeout_s)
        await asyncio.gather(*self._retired)

    @asynccontextmanager
    async def _sending(self, topic: str, records: int) -> AsyncIterator[AIOKafkaProducer]:
        client = None
        waiting = metrics.PRODUCER_QUEUE_MESSAGES.labels(self._name)
        waiting.inc(records)
        try:
            async with asyncio.timeout(self._settings.publish_timeout_s):
                client = await self._started()
                yield client
        except (KafkaError, TimeoutError, OSError) as error:
            metrics.PRODUCER_ERRORS.labels(type(error).__name__).inc(records)
            if client is not None and _is_broken(client, error):
                self._retire(client, error)
            raise _translated(error, topic) from error
        finally:
            waiting.dec(records)

    async def _started(self) -> AIOKafkaProducer:
        async with self._starting:
            if self._client is None:
                client = AIOKafkaProducer(
                    bootstrap_servers=self._bootstrap,
                    client_id=self._name,
                    enable_idempotence=True,
                    acks="all",
                    linger_ms=0,
                    max_batch_size=self._settings.batch_bytes,
                    max_request_size=self._settings.request_bytes,
                    request_timeout_ms=self._settings.request_timeout_ms,
                    retry_backoff_ms=self._settings.retry_backoff_ms,
                    **self._settings.connection,
                )
                try:
                    await client.start()
                except BaseException:
                    await _stop(client, 1.0)
                    raise
                self._client = client
            return self._client

    def _retire(self, client: AIOKafkaProducer, error: BaseException) -> None:
        """Let the next call start another: this one's sequence numbers are of no use any more."""
        if client is self._client:
            self._client = None
            _log.warning("producer replaced", service=self._name, reason=repr(error))
            retiring = asyncio.create_task(_stop(client, 1.0))
            self._retired.add(retiring)
            retiring.add_done_callback(self._retired.discard)


def _partition(record: Outgoing, partitions: int) -> int:
    return partition_of(NO_KEY.encode() if record.key is None else record.key, partitions)


async def _send_batches(
    client: AIOKafkaProducer, topic: str, partition: int, records: dict[int, Outgoing], now: float
) -> dict[int, Position]:
    """Send the records in as many batches as they need; return where each of them lies."""
    batches: list[tuple[list[int], Any]] = []
    waiting = deque(records.items())
    while waiting:
        builder = client.create_batch()
        held = _fill(builder, waiting, int(now * 1000))
        batches.append((held, await client.send_batch(builder, topic, partition=partition)))
    positions = {}
    for indexes, acknowledged in batches:
        first = (await acknowledged).offset
        for n, i in enumerate(indexes):
            positions[i] = Position(topic, partition, first + n)
    return positions


def _fill(builder: Any, waiting: deque[tuple[int, Outgoing]], timestamp_ms: int) -> list[int]:
    """Move records into the batch until it is full; a batch takes its first record always."""
    held = []
    while waiting:
        i, (key, value, headers) = waiting[0]
        kept = builder.append(key=key, value=value, timestamp=timestamp_ms, headers=list(headers))
        if kept is None:
            break
        held.append(i)
        waiting.popleft()
    builder.close()
    return held


def _is_broken(client: AIOKafkaProducer, error: BaseException) -> bool:
    """Whether the client can send no more.

    A batch that is refused for good leaves a gap in the partition's sequence numbers, after which
    the broker refuses every later batch of this producer.
    """
    if isinstance(error, KafkaError) and not error.retriable:
        return not isinstance(error, TopicAuthorizationFailedError)
    task = client._sender.sender_task  # the client has no public word for "dead"
    return task is None or task.done()


def _translated(error: BaseException, topic: str) -> Exception:
    if isinstance(error, MessageSizeTooLargeError | RecordListTooLargeError):
        return Invalid(f"the broker takes no record of that size in {topic!r}: {error}")
    if isinstance(error, UnknownTopicOrPartitionError):
        return Retryable(f"there is no topic {topic!r}: run `shoploop topics create`")
    if isinstance(error, TopicAuthorizationFailedError):
        return PermissionError(f"the broker does not let us write to {topic!r}")
    return Retryable(f"the broker did not take the record for {topic!r} in time: {error!r}")


async def _stop(client: AIOKafkaProducer, seconds: float) -> None:
    try:
        async with asyncio.timeout(seconds):
            await client.stop()
    except (KafkaError, TimeoutError, OSError):
        await client.client.close()
