"""The sink on a real Kafka: aiokafka's idempotent producer, fed with ready batches."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.errors import KafkaError, KafkaTimeoutError

from services.collector.relay.batch import Batches, RecordBatch
from services.collector.relay.sink import LOG_HEADER, SEQ_HEADER, Slot
from services.collector.wal.format import Named, Record
from services.collector.wal.index import Place
from shared.contracts.errors import Retryable

_BATCH_BYTES = 512 << 10
_SETTLE_S = 0.25
_MOST_IDLE = 20
"""Empty fetches of half a second in a row, after which the look back begins anew."""
_CLOSE_S = 2.0


class KafkaSink:
    """See `Sink`.

    The idempotent producer numbers its batches and repeats one until the broker has it, so that
    within a connection nothing is stored twice or overtaken. Across connections the headers
    `wal_log` and `wal_seq` of each record say what is there.

    Parameters
    ----------
    bootstrap : str
        ``host:port``, several with commas.
    log : str
        Id of the write-ahead log.
    topics : sequence of (name, type)
        The CloudEvents type of each topic's events.
    **connection
        Further arguments of every client: security.
    """

    def __init__(
        self, bootstrap: str, *, log: str, topics: Sequence[Named], **connection: Any
    ) -> None:
        self._bootstrap = bootstrap
        self._connection = connection
        self._log = log.encode()
        self._batches = Batches(log, topics, most_bytes=_BATCH_BYTES)
        self._producer: Any = None

    async def open(self) -> None:
        """Connect."""
        producer = AIOKafkaProducer(
            bootstrap_servers=self._bootstrap,
            client_id="collector-relay",
            acks="all",
            enable_idempotence=True,
            linger_ms=0,
            max_batch_size=_BATCH_BYTES,
            max_request_size=4 << 20,
            request_timeout_ms=30_000,
            retry_backoff_ms=50,
            **self._connection,
        )
        try:
            await producer.start()
        except (KafkaError, OSError) as error:
            await producer.stop()
            raise Retryable(f"{type(error).__name__}: {error}") from error
        self._producer = producer

    async def partitions(self, topic: str) -> int:
        """Return how many partitions the topic has."""
        try:
            return len(await self._producer.partitions_for(topic))
        except (KafkaError, OSError) as error:
            raise Retryable(
                f"topic {topic} cannot be used ({type(error).__name__}); `shoploop topics` makes it"
            ) from error

    async def write(self, batches: Mapping[Slot, Sequence[Record]]) -> dict[Slot, list[int]]:
        """Append each batch in order; see `Sink.write`."""
        sends = [self._append(slot, records) for slot, records in batches.items()]
        try:
            # All must end before a failure is told: none may go on behind the look back.
            results = await asyncio.gather(*sends, return_exceptions=True)
        except asyncio.CancelledError:
            await self.close()
            raise
        for result in results:
            if isinstance(result, (KafkaError, OSError)):
                raise Retryable(f"{type(result).__name__}: {result}") from result
            if isinstance(result, BaseException):
                raise result
        return dict(zip(batches, results, strict=True))  # type: ignore[arg-type]

    async def _append(self, slot: Slot, records: Sequence[Record]) -> list[int]:
        batches = self._batches.of(slot.topic, records)
        sent = [(batch.record_count(), await self._send(batch, slot)) for batch in batches]
        offsets: list[int] = []
        for count, future in sent:
            base = (await future).offset
            offsets.extend(range(base, base + count))
        return offsets

    async def _send(self, batch: RecordBatch, slot: Slot) -> Any:
        while True:
            try:
                return await self._producer.send_batch(batch, slot.topic, partition=slot.partition)
            except KafkaTimeoutError:
                # The batch before it still waits for the broker; this one was not queued.
                continue

    async def written_since(self, topics: Sequence[str], at_ms: int) -> dict[int, Place]:
        """Read the ends of the topics; see `Sink.written_since`."""
        found: dict[int, Place] = {}
        try:
            async with self._consumer() as consumer:
                slots = [
                    TopicPartition(topic, p)
                    for topic in topics
                    for p in await self._producer.partitions_for(topic)
                ]
                starts = await self._starts(consumer, slots, at_ms)
                quiet = 0
                # A request of a killed process may still lie in the broker's queue.
                while quiet < 2:
                    ends = await consumer.end_offsets(list(starts))
                    behind = {tp: end for tp, end in ends.items() if starts[tp] < end}
                    news = await self._collect(consumer, behind, starts, found) if behind else 0
                    quiet = 0 if news else quiet + 1
                    await asyncio.sleep(_SETTLE_S)
        except (KafkaError, OSError) as error:
            raise Retryable(f"{type(error).__name__}: {error}") from error
        return found

    async def _starts(
        self, consumer: Any, slots: Sequence[TopicPartition], at_ms: int
    ) -> dict[TopicPartition, int]:
        by_time = await consumer.offsets_for_times(dict.fromkeys(slots, at_ms))
        # None: nothing that young is there yet.
        ends = await consumer.end_offsets(list(slots))
        return {tp: hit.offset if (hit := by_time[tp]) else ends[tp] for tp in slots}

    async def _collect(
        self,
        consumer: Any,
        ends: Mapping[TopicPartition, int],
        starts: dict[TopicPartition, int],
        found: dict[int, Place],
    ) -> int:
        """Read each partition from its start to its end, move the starts; return how many were ours."""
        before = len(found)
        consumer.assign(list(ends))
        for tp in ends:
            consumer.seek(tp, starts[tp])
        idle = 0
        while any(starts[tp] < end for tp, end in ends.items()):
            fetched = await consumer.getmany(timeout_ms=500)
            idle = 0 if fetched else idle + 1
            if idle > _MOST_IDLE:
                raise Retryable("the topics cannot be read to their ends")
            for tp, records in fetched.items():
                for record in records:
                    headers = dict(record.headers)
                    if headers.get(LOG_HEADER) == self._log:
                        place = Place(tp.topic, tp.partition, record.offset)
                        found[int(headers[SEQ_HEADER])] = place
            for tp in ends:
                starts[tp] = await consumer.position(tp)
        return len(found) - before

    @contextlib.asynccontextmanager
    async def _consumer(self) -> AsyncIterator[Any]:
        consumer = AIOKafkaConsumer(
            bootstrap_servers=self._bootstrap,
            client_id="collector-look-back",
            group_id=None,
            enable_auto_commit=False,
            auto_offset_reset="earliest",
            **self._connection,
        )
        try:
            await consumer.start()
            yield consumer
        finally:
            await consumer.stop()

    async def close(self) -> None:
        """Drop the connection; what was not sent is not sent."""
        producer, self._producer = self._producer, None
        if producer is None:
            return
        # Its own `stop` would flush, which a broker that is away never lets end. The sender is
        # private, and the only other way to be sure that no batch goes out behind the look back.
        await producer.client.close()
        with contextlib.suppress(TimeoutError, KafkaError, OSError):
            async with asyncio.timeout(_CLOSE_S):
                await producer._sender.close()
        producer._closed = True
