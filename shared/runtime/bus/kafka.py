"""The bus on Apache Kafka, by aiokafka."""

import asyncio
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any, TypeVar

from aiokafka import AIOKafkaConsumer, ConsumerRebalanceListener, structs
from aiokafka.errors import (
    CommitFailedError,
    ConsumerStoppedError,
    GroupAuthorizationFailedError,
    IllegalStateError,
    KafkaError,
    TopicAuthorizationFailedError,
    UnknownTopicOrPartitionError,
)

from shared.contracts.envelope import Envelope
from shared.contracts.errors import Retryable
from shared.contracts.service import Service
from shared.contracts.topics import Topic, dead_letters
from shared.runtime.bus.port import Position, Rebalance, Record, TopicPartition
from shared.runtime.bus.producer import Producer
from shared.runtime.bus.records import Origin, Outgoing, dead_letter, outgoing, redrives
from shared.runtime.bus.settings import KafkaSettings
from shared.runtime.clock import Clock
from shared.runtime.telemetry import log

E = TypeVar("E")
_log = log(__name__)
_Forbidden = (TopicAuthorizationFailedError, GroupAuthorizationFailedError)


class KafkaBus:
    """A service's bus on the brokers at `bootstrap` (``host:port,…``).

    Connects on first use, inside a running event loop. A broker that goes away and comes back is
    survived by every part; only what waits for it raises `Retryable`.
    """

    def __init__(
        self,
        bootstrap: str,
        service: Service,
        *,
        clock: Clock,
        settings: KafkaSettings | None = None,
        release: str = "dev",
    ) -> None:
        self._bootstrap = bootstrap
        self._service = service
        self._clock = clock
        self._settings = settings or KafkaSettings()
        self._origin = Origin(service.name, release)
        self._producer = Producer(bootstrap, self._settings, name=service.name)

    async def publish(self, topic: Topic[E], envelope: Envelope[E]) -> Position:
        """See `Bus.publish`."""
        self._service.may_write(topic)
        return await self._append(topic.name, outgoing(topic, envelope))

    async def publish_all(
        self, topic: Topic[E], envelopes: Sequence[Envelope[E]]
    ) -> list[Position]:
        """See `Bus.publish_all`."""
        self._service.may_write(topic)
        records = [outgoing(topic, e) for e in envelopes]
        if not records:
            return []
        return await self._producer.append_all(topic.name, records, self._clock.now())

    async def tombstone(self, topic: Topic[Any], key: str) -> Position:
        """See `Bus.tombstone`."""
        self._service.may_write(topic)
        return await self._append(topic.name, Outgoing(key.encode(), None, ()))

    async def dead_letter(self, record: Record, *, reason: str, attempt: int) -> None:
        """See `Bus.dead_letter`."""
        put_aside = dead_letter(
            record, self._origin, reason=reason, attempt=attempt, now=self._clock.now()
        )
        await self._append(dead_letters(self._service.name), put_aside)

    async def work(
        self, topics: Sequence[Topic[Any]], *, group: str, rebalance: Rebalance
    ) -> "KafkaWork":
        """See `Bus.work`."""
        for topic in topics:
            self._service.may_read(topic)
        consumer = self._consumer(group)
        work = KafkaWork(consumer, rebalance, self._settings.commit_timeout_s)
        names = [*(t.name for t in topics), redrives(self._service.name)]
        consumer.subscribe(names, listener=work.listener)
        await self._start(consumer)
        return work

    async def view(self, topics: Sequence[Topic[Any]]) -> "KafkaView":
        """See `Bus.view`."""
        for topic in topics:
            self._service.may_read(topic)
        consumer = self._consumer(None)
        consumer.subscribe([t.name for t in topics])
        await self._start(consumer)
        try:
            ends = await consumer.end_offsets(consumer.assignment())
        except KafkaError as error:
            await consumer.stop()
            raise Retryable(f"the broker did not tell the topics' ends: {error!r}") from error
        return KafkaView(consumer, ends)

    async def healthy(self) -> bool:
        """See `Bus.healthy`."""
        return await self._producer.answers()

    async def close(self) -> None:
        """See `Bus.close`."""
        await self._producer.close()

    async def _append(self, topic: str, record: Outgoing) -> Position:
        return await self._producer.append(topic, record, self._clock.now())

    def _consumer(self, group: str | None) -> AIOKafkaConsumer:
        settings = self._settings
        return AIOKafkaConsumer(
            bootstrap_servers=self._bootstrap,
            client_id=self._service.name,
            group_id=group,
            enable_auto_commit=False,
            auto_offset_reset="earliest",
            fetch_max_wait_ms=settings.fetch_wait_ms,
            max_partition_fetch_bytes=settings.fetch_bytes_per_partition,
            request_timeout_ms=settings.request_timeout_ms,
            retry_backoff_ms=settings.retry_backoff_ms,
            session_timeout_ms=settings.session_timeout_ms,
            heartbeat_interval_ms=settings.heartbeat_ms,
            rebalance_timeout_ms=settings.rebalance_timeout_ms,
            **settings.connection,
        )

    async def _start(self, consumer: AIOKafkaConsumer) -> None:
        try:
            async with asyncio.timeout(self._settings.join_timeout_s):
                await consumer.start()
        except BaseException as error:
            await consumer.stop()
            if isinstance(error, UnknownTopicOrPartitionError):
                raise Retryable("a topic does not exist: run `shoploop topics create`") from error
            if isinstance(error, KafkaError | TimeoutError | OSError) and not isinstance(
                error, _Forbidden
            ):
                raise Retryable(f"cannot read from the broker: {error!r}") from error
            raise


class KafkaWork:
    """A member of a Kafka consumer group (classic protocol, eager rebalance)."""

    def __init__(
        self, consumer: AIOKafkaConsumer, rebalance: Rebalance, commit_timeout_s: float
    ) -> None:
        self._consumer = consumer
        self._commit_timeout_s = commit_timeout_s
        self.listener = _Listener(rebalance)

    async def poll(
        self, *, max_records: int, timeout_s: float
    ) -> Mapping[TopicPartition, list[Record]]:
        """See `Work.poll`."""
        try:
            # The client waits without end while partitions are handed out anew; it never returns
            # records of partitions that are gone, and a cancelled call has taken none.
            async with asyncio.timeout(timeout_s * 2 + 0.05):
                found = await self._consumer.getmany(
                    timeout_ms=timeout_s * 1000, max_records=max_records
                )
        except TimeoutError:
            return {}
        except KafkaError as error:
            if isinstance(error, _Forbidden):
                raise
            raise Retryable(f"the broker does not let us read on: {error!r}") from error
        return {TopicPartition(*p): _records(records) for p, records in found.items()}

    async def commit(self, offsets: Mapping[TopicPartition, int]) -> None:
        """See `Work.commit`."""
        ours = self._consumer.assignment()
        kept = {p: offset for p, offset in offsets.items() if p in ours}
        if not kept:
            return
        try:
            async with asyncio.timeout(self._commit_timeout_s):
                await self._consumer.commit({_their(p): offset for p, offset in kept.items()})
        except (CommitFailedError, IllegalStateError) as error:
            _log.info("offsets left to the partitions' new owner", reason=type(error).__name__)
        except (KafkaError, TimeoutError) as error:
            if isinstance(error, _Forbidden):
                raise
            raise Retryable(f"the broker did not store the offsets: {error!r}") from error

    def seek(self, partition: TopicPartition, offset: int) -> None:
        """See `Work.seek`."""
        if partition in self._consumer.assignment():
            self._consumer.seek(_their(partition), offset)

    def pause(self, partition: TopicPartition) -> None:
        """See `Work.pause`."""
        if partition in self._consumer.assignment():
            self._consumer.pause(_their(partition))

    def resume(self, partition: TopicPartition) -> None:
        """See `Work.resume`."""
        if partition in self._consumer.assignment():
            self._consumer.resume(_their(partition))

    def assignment(self) -> frozenset[TopicPartition]:
        """See `Work.assignment`."""
        return self.listener.assigned

    async def ends(self) -> Mapping[TopicPartition, int]:
        """See `Work.ends`."""
        async with self._asking("the topics' ends"):
            ends = await self._consumer.end_offsets(self._consumer.assignment())
        return {TopicPartition(*p): end for p, end in ends.items()}

    async def reached(self, ends: Mapping[TopicPartition, int]) -> bool:
        """See `Work.reached`."""
        async with self._asking("how far we are"):
            for partition, end in ends.items():
                if partition not in self._consumer.assignment():
                    return False
                if await self._consumer.position(_their(partition)) < end:
                    return False
        return True

    @asynccontextmanager
    async def _asking(self, what: str) -> AsyncIterator[None]:
        try:
            async with asyncio.timeout(self._commit_timeout_s):
                yield
        except (KafkaError, TimeoutError, IllegalStateError) as error:
            if isinstance(error, _Forbidden):
                raise
            raise Retryable(f"the broker did not tell {what}: {error!r}") from error

    async def close(self) -> None:
        """See `Work.close`."""
        self.listener.silent = True
        await _stop(self._consumer)


class _Listener(ConsumerRebalanceListener):  # type: ignore[misc]
    """Keeps what is ours and passes the word on."""

    def __init__(self, rebalance: Rebalance) -> None:
        self.assigned: frozenset[TopicPartition] = frozenset()
        self.silent = False
        self._rebalance = rebalance

    async def on_partitions_revoked(self, revoked: Iterable[Any]) -> None:
        self.assigned = frozenset()
        if not self.silent:
            await self._rebalance.revoked(sorted(TopicPartition(*p) for p in revoked))

    async def on_partitions_assigned(self, assigned: Iterable[Any]) -> None:
        self.assigned = frozenset(TopicPartition(*p) for p in assigned)
        if not self.silent:
            await self._rebalance.assigned(sorted(self.assigned))


class KafkaView:
    """Whole topics read without a group, from their start."""

    _POLL_S = 0.2
    _POLL_RECORDS = 1_000  # some 5 ms of unpacking, in a process that answers requests

    def __init__(self, consumer: AIOKafkaConsumer, ends: Mapping[Any, int]) -> None:
        self._consumer = consumer
        # An end of 0 is an empty partition; positions tell the rest, because compaction and
        # retention leave offsets at which no record is.
        self._missing = {p: end for p, end in ends.items() if end > 0}
        self._closed = False

    async def records(self) -> AsyncIterator[Sequence[Record]]:
        """See `View.records`."""
        while not self._closed:
            try:
                found = await self._consumer.getmany(
                    timeout_ms=self._POLL_S * 1000, max_records=self._POLL_RECORDS
                )
            except ConsumerStoppedError:
                return
            except KafkaError as error:
                if isinstance(error, _Forbidden):
                    raise
                raise Retryable(f"the broker does not let us read on: {error!r}") from error
            for records in found.values():
                yield _records(records)
                if self._closed:
                    return
            await self._note_positions()

    @property
    def caught_up(self) -> bool:
        """See `View.caught_up`."""
        return not self._missing

    async def close(self) -> None:
        """See `View.close`."""
        self._closed = True
        await _stop(self._consumer)

    async def _note_positions(self) -> None:
        for partition, end in list(self._missing.items()):
            try:
                async with asyncio.timeout(self._POLL_S):
                    position = await self._consumer.position(partition)
            except TimeoutError:
                continue
            if position >= end:
                del self._missing[partition]


def _their(partition: TopicPartition) -> Any:
    return structs.TopicPartition(*partition)


def _records(found: Sequence[Any]) -> list[Record]:
    return [
        Record(r.topic, r.partition, r.offset, r.key, r.value, r.headers, r.timestamp)
        for r in found
    ]


async def _stop(consumer: AIOKafkaConsumer) -> None:
    try:
        async with asyncio.timeout(5.0):
            await consumer.stop()
    except (KafkaError, TimeoutError, OSError) as error:
        _log.info("left the broker without a goodbye", reason=repr(error))
