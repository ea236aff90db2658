"""The collector's stream: behaviour becomes closed sessions and counts of items.

Three steps, each at least once, each idempotent:

1. ``split`` reads behaviour, identities and erasures, and appends what they mean for each visitor
   and each item to topics of its own, by partition. It also marks there how far it has read.
2. ``visitors`` folds its topic into sessions and publishes those that are over; it forgets people
   partition by partition, and answers for the collector when all have.
3. ``items`` folds its topic into activity and publishes what has changed.

A record is committed when all that follows from it is in Kafka; the state after it lies in a
changelog, where each value says which source offsets are in it (`services.collector.core.keyed`).
The tables are kept in memory: they are bounded by the folds' limits, come back from the changelog
in seconds, and need neither a disk nor RocksDB's block caches, of which each partition has one.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import faust
import msgspec

from services.collector import stream_log, stream_split
from services.collector.core.activity import Activity
from services.collector.core.keyed import Changes, Forget, Mark
from services.collector.core.sessions import Sessions
from services.collector.manifest import SERVICE
from services.collector.stream_app import InOrder, faust_app, raw_topic, table
from services.collector.stream_log import APP_ID, Appender, Entry, changelog_of, inputs_of
from services.collector.stream_partitions import Partitions, Rows
from services.collector.stream_split import OnItems, OnVisitors, Raw, Refused, source_of
from shared.contracts.ids import UserId
from shared.contracts.topics import BEHAVIOUR, ERASURES, ITEM_ACTIVITY, SESSIONS
from shared.runtime import metrics
from shared.runtime.app import App, Check, Ports
from shared.runtime.bus import Bus, Record, admin
from shared.runtime.bus.settings import connection
from shared.runtime.clock import Clock
from shared.runtime.erasure import answered
from shared.runtime.settings import Settings

VISITORS, ITEMS = stream_log.TABLES
MARK_EVERY_S = 5.0
MARGIN_MS = 1000
"""A record may be in the log for so long before we hear of it."""
BATCH = 500
BATCH_WAIT_S = 0.05
FOLD_BATCH, FOLD_WAIT_S = 50, 0.02
"""Fewer: each record of a fold's holds what a whole batch of behaviour brought for a partition."""
Stored = Sequence[tuple[bytes, bytes | None]]
TakeIn = Callable[[int, bytes], Awaitable[tuple[Stored, Rows]]]
_SECONDS = {
    step: metrics.PROCESS_SECONDS.labels(f"stream-{step}") for step in ("split", *stream_log.TABLES)
}


class Stream:
    """The steps, on a Faust app.

    Parameters
    ----------
    app : faust.App
        Not started yet.
    bus : Bus
        Of the collector; sessions, activity and dead letters go through it.
    appender : Appender
        Writes the stream's own topics.
    partitions : int
        Of the stream's own topics.
    """

    def __init__(
        self, app: Any, bus: Bus, appender: Appender, clock: Clock, *, partitions: int
    ) -> None:
        self._bus = bus
        self._clock = clock
        self._app = app
        self._count = partitions
        self._appender = appender
        self._marked_ms: dict[int, int] = {}
        self._read_ms: dict[int, int] = {}
        self._owned: set[Any] | None = None
        self._order = InOrder()
        self._visitors_table = table(app, VISITORS, partitions)
        self._items_table = table(app, ITEMS, partitions)
        self._visitors = Partitions(Sessions(), self._visitors_table.data)
        self._items = Partitions(Activity(), self._items_table.data)
        self._decode_visitors = msgspec.msgpack.Decoder(OnVisitors).decode
        self._decode_items = msgspec.msgpack.Decoder(OnItems).decode
        self._declare()

    def _declare(self) -> None:
        app = self._app
        sources = raw_topic(app, *(topic.name for topic in stream_split.SOURCES))
        app.agent(sources, name="split")(self.split)
        app.agent(raw_topic(app, inputs_of(VISITORS)), name="visitors")(self.fold_visitors)
        app.agent(raw_topic(app, inputs_of(ITEMS)), name="items")(self.fold_items)
        app.timer(MARK_EVERY_S, name="mark")(self.mark)
        app.on_partitions_assigned.connect(self.assigned)

    @property
    def unready(self) -> str | None:
        """What keeps the steps from going on, if anything does."""
        if self._owned is None or self._app.rebalancing or not self._app.flow_control.is_active():
            return "partitions are being taken over"
        return None

    async def split(self, stream: Any) -> None:
        """Step 1: append what behaviour means to the stream's own topics."""
        async for events in stream.noack_take(BATCH, within=BATCH_WAIT_S):
            began = self._clock.monotonic()
            for event in events:
                if (
                    event.message.topic == BEHAVIOUR.name
                ):  # the others are compacted: they have gaps
                    self._order.check(event.message)
            records = [self._raw(event.message) for event in events if event.message.value]
            parts = stream_split.split(records, self._count)
            await self._appender.append(
                [*_entries(VISITORS, parts.visitors), *_entries(ITEMS, parts.items)]
            )
            for refused in parts.refused:
                await self._put_aside(refused)
            for record in records:
                source = source_of(record.topic, record.partition)
                self._read_ms[source] = max(self._read_ms.get(source, 0), record.seen_ms)
            for event in events:
                await stream.ack(event)
            _SECONDS["split"].observe(self._clock.monotonic() - began)

    async def fold_visitors(self, stream: Any) -> None:
        """Step 2: sessions."""
        await self._fold(stream, VISITORS, self._to_sessions)

    async def fold_items(self, stream: Any) -> None:
        """Step 3: activity."""
        await self._fold(stream, ITEMS, self._to_activity)

    async def _fold(self, stream: Any, table: str, take_in: TakeIn) -> None:
        """Take records in one by one, write what they changed at once, then commit them."""
        async for events in stream.noack_take(FOLD_BATCH, within=FOLD_WAIT_S):
            began = self._clock.monotonic()
            entries: list[Entry] = []
            for event in events:
                self._order.check(event.message)
                number = event.message.partition
                changes, rows = await take_in(number, event.message.value)
                for row, value in changes:
                    rows.apply(row, value)
                    entries.append(Entry(changelog_of(table), number, rows.stored_as(row), value))
            await self._appender.append(entries)
            for event in events:
                await stream.ack(event)
            _SECONDS[table].observe(self._clock.monotonic() - began)

    async def _to_sessions(self, number: int, value: bytes) -> tuple[Stored, Rows]:
        record = self._decode_visitors(value)
        partition, rows = self._visitors[number]
        if isinstance(record, Mark):
            changes = partition.mark(record)
        elif isinstance(record, Forget):
            changes = partition.forget(record)
            await self._pass_on(record, number, changes)
        else:
            changes = partition.add(record.source, record.items)
        sessions = changes.publish
        if sessions:
            await self._appender.surely(self._bus.publish_all, SESSIONS, sessions)
        return changes.rows, rows

    async def _to_activity(self, number: int, value: bytes) -> tuple[Stored, Rows]:
        record = self._decode_items(value)
        partition, rows = self._items[number]
        if isinstance(record, Mark):
            changes = partition.mark(record)
        else:
            changes = partition.add(record.source, record.items)
        await self._publish_activity(changes.publish)
        return changes.rows, rows

    async def mark(self) -> None:
        """Tell the folds how far behaviour has been read."""
        now_ms = int(self._clock.now() * 1000) - MARGIN_MS
        behind_ms = [0]
        sources = self._app.consumer.topic_partitions(BEHAVIOUR.name)
        for partition in self._own_behaviour():
            source = source_of(BEHAVIOUR.name, partition)
            at_ms = now_ms if self._caught_up(partition) else self._read_ms.get(source)
            if at_ms is not None:
                behind_ms.append(now_ms - at_ms)
                self._marked_ms[source] = max(at_ms, self._marked_ms.get(source, 0))
                value = stream_split.encode(Mark(source, sources, at_ms))
                await self._appender.append(
                    Entry(inputs_of(table), target, None, value)
                    for table in stream_log.TABLES
                    for target in range(self._count)
                )
        metrics.CONSUMER_LAG_SECONDS.labels(APP_ID, BEHAVIOUR.name).set(max(behind_ms) / 1000)
        metrics.STREAM_KEYS.labels(VISITORS).set(self._visitors.keys())
        metrics.STREAM_KEYS.labels(ITEMS).set(self._items.keys())

    async def assigned(self, app: Any, assigned: set[Any], **kwargs: Any) -> None:
        """Give up the state of partitions that are another's now; read the rest again."""
        metrics.CONSUMER_REBALANCES.labels(APP_ID).inc()
        for name, partitions in ((VISITORS, self._visitors), (ITEMS, self._items)):
            for lost in (self._owned or set()) - assigned:
                if lost.topic in {changelog_of(name), inputs_of(name)}:
                    partitions.give_up(lost.partition)
            partitions.reload()
        self._owned = set(assigned)
        self._order.forget()

    def _own_behaviour(self) -> list[int]:
        return sorted(tp.partition for tp in self._owned or () if tp.topic == BEHAVIOUR.name)

    def _caught_up(self, partition: int) -> bool:
        """Whether all that the broker has was split, appended and committed."""
        consumer = self._app.consumer
        tp = faust.types.TP(BEHAVIOUR.name, partition)
        highwater = consumer.highwater(tp)
        if highwater is None:
            return False
        # The consumer's own account; it offers no public way to ask it.
        return bool((consumer._committed_offset[tp] or 0) >= highwater)

    def _raw(self, message: Any) -> Raw:
        seen_ms = int(message.timestamp * 1000)
        source = source_of(message.topic, message.partition)
        # What was marked as past is past, also for a record that waited in the collector's log.
        seen_ms = max(seen_ms, self._marked_ms.get(source, 0))
        return Raw(
            message.topic, message.partition, message.offset, message.key, message.value, seen_ms
        )

    async def _put_aside(self, refused: Refused) -> None:
        raw = refused.record
        record = Record(raw.topic, raw.partition, raw.offset, raw.key, raw.value, (), raw.seen_ms)
        await self._appender.surely(self._bus.dead_letter, record, reason=refused.reason, attempt=1)
        metrics.DEAD_LETTERS.labels(SERVICE.name, "unreadable").inc()

    async def _pass_on(self, forget: Forget, number: int, changes: Changes[Any]) -> None:
        """Let the next partition forget the person, too; the last one tells what all removed."""
        if not changes.rows:
            return  # read again: it was passed on before it was stored
        removed = forget.removed + sum(value is None for _, value in changes.rows)
        if number + 1 < self._count:
            passed = stream_split.encode(msgspec.structs.replace(forget, removed=removed))
            await self._appender.append([Entry(inputs_of(VISITORS), number + 1, None, passed)])
            return
        answer = answered(
            self._clock, SERVICE.name, UserId(forget.user), forget.request, {"visitors": removed}
        )
        await self._appender.surely(self._bus.publish, ERASURES, answer)

    async def _publish_activity(self, told: Sequence[Any]) -> None:
        gone = [item for item in told if isinstance(item, str)]
        news = [item for item in told if not isinstance(item, str)]
        if news:
            await self._appender.surely(self._bus.publish_all, ITEM_ACTIVITY, news)
        for item in gone:
            await self._appender.surely(self._bus.tombstone, ITEM_ACTIVITY, item)


class Worker:
    """The Faust app inside a process of the runtime, which owns signals, logs and the event loop."""

    def __init__(self, settings: Settings, ports: Ports) -> None:
        self._settings = settings
        self._ports = ports
        self._appender = Appender(settings.kafka, ports.clock, **connection(settings))
        self._app: Any = None
        self._stream: Stream | None = None

    async def unready(self) -> str | None:
        """Why nothing is being processed; None while all goes on."""
        return "starting" if self._stream is None else self._stream.unready

    async def start(self) -> None:
        """Make the topics where they are missing; `Retryable` while the broker is away."""
        await asyncio.to_thread(_ensure_topics, self._settings)

    async def work(self) -> None:
        """Run until cancelled; raises what made the app crash."""
        for chatty in ("faust", "mode"):
            logging.getLogger(chatty).setLevel(logging.WARNING)
        partitions = partitions_of(self._settings)
        self._app = faust_app(self._settings, partitions)
        bus, clock = self._ports.bus, self._ports.clock
        self._stream = Stream(self._app, bus, self._appender, clock, partitions=partitions)
        await self._app.start()
        await self._app.wait_until_stopped()
        if self._app.crash_reason is not None:
            raise self._app.crash_reason

    async def stop(self) -> None:
        """Finish what is under way, commit it and leave the group."""
        if self._app is not None:
            await self._app.stop()
        await self._appender.close()


def build(process: str, settings: Settings, ports: Ports) -> App:
    """Return the collector's stream process."""
    assert process == "stream", process
    worker = Worker(settings, ports)
    return App(
        start=worker.start,
        tasks={"stream": worker.work},
        stop=worker.stop,
        checks=(Check("stream", worker.unready),),
    )


def _ensure_topics(settings: Settings) -> None:
    production = settings.production
    sources = [admin.wanted(topic, production=production) for topic in stream_split.SOURCES]
    own = stream_log.wanted(partitions_of(settings), BEHAVIOUR.replication(production=production))
    admin.ensure_topics(settings.kafka, [*sources, *own], **connection(settings))


def partitions_of(settings: Settings) -> int:
    """Return how many partitions the stream's own topics have."""
    counts = BEHAVIOUR.partitions
    return counts.production if settings.production else counts.local


def _entries(table: str, parts: dict[int, list[Any]]) -> list[Entry]:
    topic = inputs_of(table)
    return [
        Entry(topic, target, None, value)
        for target, records in parts.items()
        for record in records
        for value in stream_split.values(record)
    ]
