"""What every bus adapter promises; `tests/contract` runs one suite against each."""

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, NamedTuple, Protocol, TypeVar

from shared.contracts.envelope import Envelope, Headers
from shared.contracts.topics import Topic

E = TypeVar("E")


class TopicPartition(NamedTuple):
    """One partition of one topic."""

    topic: str
    partition: int


class Position(NamedTuple):
    """Where a record lies."""

    topic: str
    partition: int
    offset: int


@dataclass(frozen=True, slots=True)
class Record:
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


@dataclass(frozen=True, slots=True)
class Received(Generic[E]):
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

        Never returns records of a paused or revoked partition.
        """
        ...

    async def commit(self, offsets: Mapping[TopicPartition, int]) -> None:
        """Store the offset of the NEXT record to read for each partition.

        A partition that is no longer ours is left out silently: its new owner reads the records
        again. Blocks until the broker has answered; raises `Retryable` when it does not.
        """
        ...

    def seek(self, partition: TopicPartition, offset: int) -> None:
        """Read `partition` from `offset` at the next poll."""
        ...

    def pause(self, partition: TopicPartition) -> None:
        """Return nothing of `partition` until `resume`."""
        ...

    def resume(self, partition: TopicPartition) -> None:
        """Undo `pause`."""
        ...

    def assignment(self) -> frozenset[TopicPartition]:
        """Return the partitions that are ours now."""
        ...

    async def close(self) -> None:
        """Leave the group at once."""
        ...


class View(Protocol):
    """A replica's own reading of whole topics, from their start, outside any group."""

    def records(self) -> AsyncIterator[Sequence[Record]]:
        """Yield batches for ever, in order per partition."""
        ...

    @property
    def caught_up(self) -> bool:
        """Whether all that was in the topics when the view was opened has been yielded and taken."""
        ...

    async def close(self) -> None:
        """Stop reading; `records` ends."""
        ...


class Bus(Protocol):
    """A service's access to topics; refuses those that its manifest does not declare."""

    async def publish(self, topic: Topic[E], envelope: Envelope[E]) -> Position:
        """Append under `topic.key_of(envelope)` and wait until the broker has it on all replicas.

        Raises `Retryable` when the broker does not answer in time (the record may or may not be
        there: publish again under the same id), `UndeclaredTopic` before anything is sent.
        """
        ...

    async def publish_all(
        self, topic: Topic[E], envelopes: Sequence[Envelope[E]]
    ) -> list[Position]:
        """As `publish`, for many; order is kept per key, and all are there when it returns."""
        ...

    async def tombstone(self, topic: Topic[Any], key: str) -> Position:
        """Publish a record without a value; compaction then drops the key."""
        ...

    async def dead_letter(self, record: Record, *, reason: str, attempt: int) -> None:
        """Publish the original key, bytes and headers, with the reason, to the service's own topic."""
        ...

    async def work(self, topics: Sequence[Topic[Any]], *, group: str, rebalance: Rebalance) -> Work:
        """Join `group`; a group without committed offsets begins at the start."""
        ...

    async def view(self, topics: Sequence[Topic[Any]]) -> View:
        """Follow `topics` from their start."""
        ...

    async def healthy(self) -> bool:
        """Whether the broker answers now; never raises."""
        ...

    async def close(self) -> None:
        """Flush what was published and free the connections."""
        ...


Handler = Callable[[Sequence[Received[Any]]], Awaitable[None]]
"""Takes a batch of one partition in order. Raises `Invalid` only for a batch of one."""
