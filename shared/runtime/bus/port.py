"""What every bus adapter promises; `tests/contract` runs one suite against each."""

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from typing import Any, Generic, NamedTuple, Protocol, TypeVar

from msgspec import Struct

from shared.contracts.envelope import Envelope, Headers
from shared.contracts.topics import Topic

E = TypeVar("E")


class TopicPartition(NamedTuple):
    """One partition of one topic."""

    topic: str
    partition: int

    def __str__(self) -> str:
        return f"{self.topic}/{self.partition}"


class Position(NamedTuple):
    """Where a record lies."""

    topic: str
    partition: int
    offset: int

    def __str__(self) -> str:
        return f"{self.topic}/{self.partition}@{self.offset}"


# Structs and not dataclasses: a frozen dataclass costs a microsecond more to make, for each record.
class Record(Struct, frozen=True, gc=False):
    """A record as the broker gives it; `value` None is a tombstone."""

    topic: str
    partition: int
    offset: int
    key: bytes | None
    value: bytes | None
    headers: Headers
    timestamp_ms: int

    @property
    def position(self) -> Position:
        """Topic, partition and offset."""
        return Position(self.topic, self.partition, self.offset)


class Received(Struct, Generic[E], frozen=True):
    """A decoded record: `envelope` is None for a tombstone of `key`."""

    envelope: Envelope[E] | None
    key: str
    position: Position


class Rebalance(Protocol):
    """Told of partitions that come and go; `revoked` must finish or abandon its work in time."""

    async def assigned(self, partitions: Sequence[TopicPartition]) -> None:
        """These are ours from now on."""
        ...

    async def revoked(self, partitions: Sequence[TopicPartition]) -> None:
        """Stop, commit what is done; after the return another member owns them."""
        ...


class Work(Protocol):
    """Membership in a consumer group: partitions are shared, offsets committed explicitly."""

    async def poll(
        self, *, max_records: int, timeout_s: float
    ) -> Mapping[TopicPartition, list[Record]]:
        """Return records in order per partition; empty after `timeout_s` without any.

        Never returns records of a paused or revoked partition. Raises `Retryable` when the group
        cannot be worked in any more: close, and join again.
        """
        ...

    async def commit(self, offsets: Mapping[TopicPartition, int]) -> None:
        """Store the offset of the NEXT record to read for each partition.

        A partition that is no longer ours is left out silently: its new owner reads the records
        again. Blocks until the broker has answered; raises `Retryable` when it does not.
        """
        ...

    def seek(self, partition: TopicPartition, offset: int) -> None:
        """Read `partition` from `offset` at the next poll; nothing if it is no longer ours."""
        ...

    def pause(self, partition: TopicPartition) -> None:
        """Return nothing of `partition` until `resume`; nothing if it is no longer ours.

        A partition that is assigned anew is not paused.
        """
        ...

    def resume(self, partition: TopicPartition) -> None:
        """Undo `pause`."""
        ...

    def assignment(self) -> frozenset[TopicPartition]:
        """Return the partitions that are ours now; empty while they are handed out anew."""
        ...

    async def ends(self) -> Mapping[TopicPartition, int]:
        """Return the offset that the next record of each of our partitions will have.

        Asks the broker; raises `Retryable` when it does not answer.
        """
        ...

    async def reached(self, ends: Mapping[TopicPartition, int]) -> bool:
        """Whether `poll` has returned all that lies before `ends`; False while one is not ours.

        Raises `Retryable` when the broker has to be asked and does not answer.
        """
        ...

    async def close(self) -> None:
        """Leave the group at once, without a call of `revoked`."""
        ...


class View(Protocol):
    """A replica's own reading of whole topics, from their start, outside any group."""

    def records(self) -> AsyncIterator[Sequence[Record]]:
        """Yield batches of one partition each, in order, until `close`. Call it once."""
        ...

    @property
    def caught_up(self) -> bool:
        """Whether all that was in the topics when the view was opened has been yielded and taken.

        A batch counts as taken when the next one is asked for.
        """
        ...

    async def close(self) -> None:
        """Stop reading; `records` ends."""
        ...


class Bus(Protocol):
    """A service's access to topics; refuses those that its manifest does not declare."""

    async def publish(self, topic: Topic[E], envelope: Envelope[E]) -> Position:
        """Append under `topic.key_of(envelope)` and wait until the broker has it on all replicas.

        Raises `Retryable` when the broker does not answer in time (the record may or may not be
        there: publish again under the same id), `Invalid` for an envelope that no record can hold,
        `UndeclaredTopic` before anything is sent.
        """
        ...

    async def publish_all(
        self, topic: Topic[E], envelopes: Sequence[Envelope[E]]
    ) -> list[Position]:
        """As `publish`, for many; order is kept per key, and all are there when it returns.

        After an error some may be there; they are then published again under the same ids.
        """
        ...

    async def tombstone(self, topic: Topic[Any], key: str) -> Position:
        """Publish a record without a value; compaction then drops the key."""
        ...

    async def dead_letter(self, record: Record, *, reason: str, attempt: int) -> None:
        """Publish the original key, bytes and headers, with the reason, to the service's own topic."""
        ...

    async def work(self, topics: Sequence[Topic[Any]], *, group: str, rebalance: Rebalance) -> Work:
        """Join `group` for `topics` and for what is re-driven to this service.

        A group without committed offsets begins at the start. Re-driven records lie in a topic of
        their own (`records.redrives`) and name the original one in the header ``dlq-topic``. Raises
        `Retryable` when the broker is away or a topic does not exist (yet).
        """
        ...

    async def view(self, topics: Sequence[Topic[Any]]) -> View:
        """Follow `topics` from their start; raises as `work`."""
        ...

    async def healthy(self) -> bool:
        """Whether the broker answers now; never raises."""
        ...

    async def close(self) -> None:
        """Flush what was published and free the connections."""
        ...


Handler = Callable[[Sequence[Received[Any]]], Awaitable[None]]
"""Takes a batch of one partition in order; it may see the same records again.

`Invalid` puts a record aside: raised for a batch of several, the same records come again one by one,
so that only the wrong one goes. `Retryable` makes the same batch come again after a while.
"""
