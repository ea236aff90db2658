"""A service's dead letters: list them, and send them back to that service alone."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

from kafka import KafkaConsumer, KafkaProducer, TopicPartition
from kafka.admin import OffsetSpec
from kafka.errors import KafkaError
from kafka.structs import OffsetAndMetadata

from shared.contracts.envelope import header
from shared.contracts.errors import NotFound, Retryable
from shared.contracts.topics import dead_letters
from shared.runtime.bus.admin import admin
from shared.runtime.bus.port import Position, Record
from shared.runtime.bus.records import redrive_marker, redrives

READ_TIMEOUT_MS = 5_000
SEND_TIMEOUT_S = 15


class Letter(NamedTuple):
    """A dead letter: where it lay, what is wrong with it, and whether it was sent back already."""

    offset: int
    origin: Position
    reason: str
    attempt: int
    release: str
    time: str
    redriven: bool
    record: Record


def letters(bootstrap: str, service: str, **connection: Any) -> list[Letter]:
    """Return all of the service's dead letters that are kept, oldest first.

    Raises
    ------
    NotFound
        The service has no dead-letter topic.
    """
    return list(_read(bootstrap, service, connection))


def redrive(
    bootstrap: str,
    service: str,
    *,
    chosen: Callable[[Letter], bool] | None = None,
    **connection: Any,
) -> list[Letter]:
    """Send dead letters back to the service, and return them.

    Without `chosen` all that were not sent before. They keep their bytes, key and headers; what
    fails again becomes a new dead letter that names the same origin. Safe to repeat: the events
    keep their ids.
    """
    sent = []
    producer = KafkaProducer(
        bootstrap_servers=bootstrap, acks="all", enable_idempotence=True, **connection
    )
    try:
        for letter in _read(bootstrap, service, connection):
            if not letter.redriven if chosen is None else chosen(letter):
                record = letter.record
                producer.send(
                    redrives(service),
                    key=record.key,
                    value=record.value,
                    headers=list(record.headers),
                ).get(SEND_TIMEOUT_S)
                sent.append(letter)
    except KafkaError as error:
        raise Retryable(f"{len(sent)} were sent back, then the broker failed: {error}") from error
    finally:
        producer.close()
    if chosen is None and sent:
        _remember(bootstrap, service, sent[-1].offset + 1, connection)
    return sent


def _read(bootstrap: str, service: str, connection: Any) -> Iterator[Letter]:
    topic = dead_letters(service)
    partition = TopicPartition(topic, 0)
    with admin(bootstrap, **connection) as client:
        if topic not in client.list_topics():
            raise NotFound(f"there is no topic {topic!r}: is {service!r} a service?")
        end = client.list_partition_offsets({partition: OffsetSpec.LATEST})[partition].offset
        known = client.list_group_offsets([redrive_marker(service)]).get(
            redrive_marker(service), {}
        )
    redriven = known[partition].offset if partition in known else 0
    consumer = KafkaConsumer(bootstrap_servers=bootstrap, enable_auto_commit=False, **connection)
    try:
        consumer.assign([partition])
        consumer.seek_to_beginning(partition)
        while consumer.position(partition) < end:
            found = consumer.poll(timeout_ms=READ_TIMEOUT_MS)
            if not found:
                raise Retryable(f"the broker stopped sending {topic!r} before its end")
            yield from (_letter(r, redriven) for r in found[partition] if r.offset < end)
    finally:
        consumer.close()


def _letter(found: Any, redriven: int) -> Letter:
    headers = tuple(found.headers)

    def text(name: str) -> str:
        return (header(headers, name) or b"").decode("utf-8", "replace")

    def number(name: str) -> int:
        return int(text(name)) if text(name).isdigit() else -1

    return Letter(
        offset=found.offset,
        origin=Position(text("dlq-topic"), number("dlq-partition"), number("dlq-offset")),
        reason=text("dlq-reason"),
        attempt=number("dlq-attempt"),
        release=text("dlq-release"),
        time=text("dlq-time"),
        redriven=found.offset < redriven,
        record=Record(
            found.topic, found.partition, found.offset, found.key, found.value, headers,
            found.timestamp,
        ),
    )  # fmt: skip


def _remember(bootstrap: str, service: str, offset: int, connection: Any) -> None:
    partition = TopicPartition(dead_letters(service), 0)
    with admin(bootstrap, **connection) as client:
        client.alter_group_offsets(
            redrive_marker(service), {partition: OffsetAndMetadata(offset, "", None)}
        )


def reasons(found: Sequence[Letter]) -> list[tuple[str, int]]:
    """Return the reasons with their counts, the most frequent first."""
    counts: dict[str, int] = {}
    for letter in found:
        counts[letter.reason] = counts.get(letter.reason, 0) + 1
    return sorted(counts.items(), key=lambda item: (-item[1], item[0]))
