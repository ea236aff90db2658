"""Consumer groups from an operator's side: how far behind they are, and reading again."""

from collections.abc import Mapping, Sequence
from typing import Any, Literal, NamedTuple

from kafka import KafkaAdminClient, KafkaConsumer, TopicPartition
from kafka.admin import OffsetSpec
from kafka.errors import NoError
from kafka.structs import OffsetAndMetadata

from shared.contracts.errors import Invalid, NotFound
from shared.runtime.bus.admin import admin
from shared.runtime.bus.records import redrive_marker

READ_TIMEOUT_MS = 5_000


class Lag(NamedTuple):
    """What a group has not yet handled of a partition.

    `committed` None means that the group never committed there and will begin at `start`. `seconds`
    is the age of the oldest record not handled, 0 when there is none, None when it is not known.
    """

    group: str
    topic: str
    partition: int
    start: int
    committed: int | None
    end: int
    seconds: float | None

    @property
    def records(self) -> int:
        """Offsets between the group and the end; compaction may have left fewer records."""
        return max(0, self.end - self.next)

    @property
    def next(self) -> int:
        """The offset that the group reads next."""
        return self.start if self.committed is None else max(self.committed, self.start)


class Moved(NamedTuple):
    """Where a group stands in a partition before and after a replay was ordered."""

    topic: str
    partition: int
    before: int | None
    after: int


class Target(NamedTuple):
    """From where a group shall read again.

    ``Target("start")``, ``Target("end")``, ``Target("time", seconds since 1970)`` or
    ``Target("offset", n)``; clamped to what the partition holds.
    """

    kind: Literal["start", "end", "time", "offset"]
    value: float = 0


def lag(
    bootstrap: str, groups: Mapping[str, Sequence[str]], *, now: float, **connection: Any
) -> list[Lag]:
    """Return the lag of every partition of every group, the furthest behind first.

    `groups` maps a group to the topics that it is known to read; those where it has committed are
    added. `now` is in seconds since 1970.
    """
    found = []
    with admin(bootstrap, **connection) as client:
        there = set(client.list_topics())
        committed = client.list_group_offsets(list(groups)) if groups else {}
        for group, topics in groups.items():
            offsets = committed.get(group, {})
            names = {t for t in topics if t in there} | {p.topic for p in offsets}
            found += [
                Lag(group, p.topic, p.partition, start, _offset(offsets.get(p)), end, None)
                for p, (start, end) in _bounds(client, names & there).items()
            ]
    ages = _ages(bootstrap, [item for item in found if item.records], now, connection)
    dated = [item._replace(seconds=ages.get(item) if item.records else 0.0) for item in found]
    return sorted(dated, key=lambda item: (-(item.seconds or 0.0), -item.records, item[:3]))


def groups_of(bootstrap: str, services: Sequence[str], **connection: Any) -> list[str]:
    """Return the groups of these services that the broker knows: ``<service>[-<group>]``."""
    with admin(bootstrap, **connection) as client:
        known = [g["group_id"] for g in client.list_groups()]
    own = [g for g in known for s in services if g == s or g.startswith(f"{s}-")]
    return sorted({*own} - {redrive_marker(s) for s in services})


def replay(
    bootstrap: str,
    group: str,
    topic: str,
    target: Target,
    *,
    partition: int | None = None,
    dry: bool = False,
    **connection: Any,
) -> list[Moved]:
    """Let `group` read `topic` again from `target`; with `dry` only say what would be done.

    Effects are not repeated where they are idempotent by nature or stored with the offset; a ledger
    of ids forgets after its time, so a replay from before that would repeat what left the system.

    Raises
    ------
    Invalid
        The group has members at work: the broker moves only groups that nobody is in.
    NotFound
        There is no such topic or partition.
    """
    with admin(bootstrap, **connection) as client:
        if topic not in client.list_topics():
            raise NotFound(f"there is no topic {topic!r}")
        bounds = {
            p: b for p, b in _bounds(client, {topic}).items() if partition in (None, p.partition)
        }
        if not bounds:
            raise NotFound(f"{topic!r} has no partition {partition}")
        before = client.list_group_offsets([group]).get(group, {})
        after = _resolved(client, target, bounds)
        if not dry:
            _move(client, group, after)
    return [
        Moved(p.topic, p.partition, _offset(before.get(p)), offset)
        for p, offset in sorted(after.items())
    ]


def _move(client: KafkaAdminClient, group: str, offsets: Mapping[TopicPartition, int]) -> None:
    members = client.describe_groups([group])[group].get("members", [])
    if members:
        raise Invalid(
            f"{len(members)} of its processes are at work in the group {group!r}: stop all, then replay"
        )
    wanted = {p: OffsetAndMetadata(o, "", None) for p, o in offsets.items()}
    answers = client.alter_group_offsets(group, wanted)
    wrong = {p: e.__name__ for p, e in answers.items() if e is not NoError}
    if wrong:
        raise Invalid(f"the broker did not move the group {group!r}: {wrong}")


def _resolved(
    client: KafkaAdminClient, target: Target, bounds: Mapping[TopicPartition, tuple[int, int]]
) -> dict[TopicPartition, int]:
    match target.kind:
        case "start":
            return {p: start for p, (start, _) in bounds.items()}
        case "end":
            return {p: end for p, (_, end) in bounds.items()}
        case "offset":
            return {p: min(max(int(target.value), s), e) for p, (s, e) in bounds.items()}
        case "time":
            at = client.list_partition_offsets(dict.fromkeys(bounds, int(target.value * 1000)))
            # No record so young: there is nothing to read again.
            return {p: at[p].offset if at[p].offset >= 0 else bounds[p][1] for p in bounds}


def _bounds(client: KafkaAdminClient, topics: set[str]) -> dict[TopicPartition, tuple[int, int]]:
    """Return the first offset that is kept, and the one behind the last, of each partition."""
    if not topics:
        return {}
    partitions = [
        TopicPartition(t["name"], p["partition_index"])
        for t in client.describe_topics(sorted(topics))
        for p in t["partitions"]
    ]
    starts = client.list_partition_offsets(dict.fromkeys(partitions, OffsetSpec.EARLIEST))
    ends = client.list_partition_offsets(dict.fromkeys(partitions, OffsetSpec.LATEST))
    return {p: (starts[p].offset, ends[p].offset) for p in sorted(partitions)}


def _offset(committed: Any) -> int | None:
    return None if committed is None or committed.offset < 0 else int(committed.offset)


def _ages(
    bootstrap: str, behind: Sequence[Lag], now: float, connection: Mapping[str, Any]
) -> dict[Lag, float]:
    """Read the record at which each partition stands, and return how old it is."""
    ages: dict[Lag, float] = {}
    if not behind:
        return ages
    consumer = KafkaConsumer(
        bootstrap_servers=bootstrap, enable_auto_commit=False, max_poll_records=1, **connection
    )
    try:
        for item in behind:
            partition = TopicPartition(item.topic, item.partition)
            consumer.assign([partition])
            consumer.seek(partition, item.next)
            for records in consumer.poll(timeout_ms=READ_TIMEOUT_MS).values():
                ages[item] = max(0.0, now - records[0].timestamp / 1000)
    finally:
        consumer.close()
    return ages
