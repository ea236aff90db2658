"""State per key in one partition of a log, folded so that a replay of the log changes nothing.

The records of one key may come from several partitions of the *source* topic, each in order, and
parts of the log may be read again after a crash. Two marks make the fold idempotent: every state
holds the source offset that it last took in, per source partition; and `Progress` holds the same
for the whole partition, stored last in each step. A key without state is therefore one that never
was or one whose records lie at or below `Progress`, and a step that was cut short is taken again.

Time is in the log too. `Mark` says that a source partition has been read up to a moment; the
frontier is the least of them, and nothing closes but by the frontier. Reading the log again
therefore takes every decision again in the same way, however late that happens.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Generic, NamedTuple, Protocol, TypeVar

import msgspec
from msgspec import Struct

PROGRESS = b"progress"
_KEY = b"key:"

Offsets = dict[int, int]


class Keyed(Protocol):
    """An input of a fold: it belongs to `key` and was made of one source record."""

    @property
    def key(self) -> str:
        """Whose state it changes."""
        ...

    @property
    def offset(self) -> int:
        """The offset of the source record."""
        ...


class Mark(Struct, frozen=True, array_like=True, tag=True):
    """Partition `source` of `sources` has been read up to `at_ms` and will bring nothing older."""

    source: int
    sources: int
    at_ms: int


class Forget(Struct, frozen=True, array_like=True, tag=True):
    """Drop what is kept of these people and visitors, as the record at `offset` of `source` asks.

    It goes from partition to partition; `removed` counts the keys that those before have dropped.
    `request` is the id of the event that asks, `user` the person in it.
    """

    source: int
    offset: int
    ids: tuple[str, ...]
    user: str
    request: str
    removed: int = 0


class Progress(Struct, array_like=True):
    """How far a partition's log has been taken in."""

    applied: Offsets = {}
    marks: Offsets = {}
    frontier_ms: int = 0


class State(Protocol):
    """What is kept for a key."""

    applied: Offsets


S = TypeVar("S", bound=State)
In = TypeVar("In", bound=Keyed)
Out = TypeVar("Out")
In_contra = TypeVar("In_contra", bound=Keyed, contravariant=True)


class Advanced(NamedTuple, Generic[S, Out]):
    """A key's state after time has passed, what to publish, and whether to drop the key then."""

    state: S
    told: Sequence[Out]
    gone: bool


class Fold(Protocol[In_contra, S, Out]):
    """What to do with the inputs of one key, and with time that passes."""

    @property
    def state(self) -> type[S]:
        """The type of what is kept for a key."""
        ...

    @property
    def limit(self) -> int:
        """How many keys one partition may hold."""
        ...

    def add(self, state: S | None, item: In_contra) -> S:
        """Return the state after `item`; `state` may be changed in place."""
        ...

    def due_ms(self, state: S) -> int:
        """Return the frontier from which `advance` has something to do."""
        ...

    def advance(self, key: str, state: S, now_ms: int, *, leave: bool) -> Advanced[S, Out]:
        """Let time pass until `now_ms`; with `leave` the key must go."""
        ...

    def concerns(self, key: str, state: S, ids: frozenset[str]) -> bool:
        """Whether the state says something of one of `ids`."""
        ...


class Changes(NamedTuple, Generic[Out]):
    """The outcome of one step: publish, then write the rows in order, then go on."""

    publish: Sequence[Out]
    rows: Sequence[tuple[bytes, bytes | None]]


class Partition(Generic[In, S, Out]):
    """The keys of one partition.

    Parameters
    ----------
    fold : Fold
    rows : mapping
        What was stored before, by row key; the caller applies each step's rows to it.
    """

    def __init__(self, fold: Fold[In, S, Out], rows: Mapping[bytes, bytes]) -> None:
        self._fold = fold
        self._rows = rows
        self._encoder = msgspec.msgpack.Encoder()
        self._decoder = msgspec.msgpack.Decoder(fold.state)
        stored = rows.get(PROGRESS)
        self._progress = (
            Progress() if stored is None else msgspec.msgpack.decode(stored, type=Progress)
        )
        self._due = {
            key: fold.due_ms(self._decoder.decode(value))
            for row, value in rows.items()
            if (key := key_of(row)) is not None
        }
        self._soonest = min(self._due.values(), default=0)

    def __len__(self) -> int:
        return len(self._due)

    @property
    def frontier_ms(self) -> int:
        """The moment up to which every source partition has been read."""
        return self._progress.frontier_ms

    def add(self, source: int, items: Iterable[In]) -> Changes[Out]:
        """Take in the items of one record, all from the partition `source`, in order of offset."""
        below = self._progress.applied.get(source, -1)
        changed: dict[str, S] = {}
        newest = below
        for item in items:
            if item.offset <= below:
                continue
            newest = max(newest, item.offset)
            state = changed.get(item.key) or self._load(item.key)
            if state is None or state.applied.get(source, -1) < item.offset:
                state = self._fold.add(state, item)
                state.applied[source] = item.offset
            changed[item.key] = state
        if newest == below:
            return Changes((), ())
        self._progress.applied[source] = newest
        return Changes((), [*map(self._stored, changed.items()), self._progress_row()])

    def mark(self, mark: Mark) -> Changes[Out]:
        """Let time pass; what is due closes, and above the limit what is due first leaves."""
        progress = self._progress
        if mark.at_ms <= progress.marks.get(mark.source, -1):
            return Changes((), ())
        progress.marks[mark.source] = mark.at_ms
        if len(progress.marks) == mark.sources:
            progress.frontier_ms = max(progress.frontier_ms, min(progress.marks.values()))
        if progress.frontier_ms < self._soonest and len(self._due) <= self._fold.limit:
            return Changes((), [self._progress_row()])
        return self._advance(progress.frontier_ms)

    def _advance(self, now_ms: int) -> Changes[Out]:
        publish: list[Out] = []
        rows: list[tuple[bytes, bytes | None]] = []
        leaving = self._leaving()
        due = {key for key, at in self._due.items() if at <= now_ms}
        for key in sorted(due | leaving):
            advanced = self._fold.advance(key, self._need(key), now_ms, leave=key in leaving)
            publish.extend(advanced.told)
            gone = advanced.gone
            rows.append(self._dropped(key) if gone else self._stored((key, advanced.state)))
        self._soonest = min(self._due.values(), default=now_ms)
        return Changes(publish, [*rows, self._progress_row()])

    def forget(self, forget: Forget) -> Changes[Out]:
        """Drop every key that says something of the ids."""
        if forget.offset <= self._progress.applied.get(forget.source, -1):
            return Changes((), ())
        self._progress.applied[forget.source] = forget.offset
        ids = frozenset(forget.ids)
        keys = [key for key in self._due if self._fold.concerns(key, self._need(key), ids)]
        return Changes((), [*map(self._dropped, keys), self._progress_row()])

    def _leaving(self) -> set[str]:
        excess = len(self._due) - self._fold.limit
        if excess <= 0:
            return set()
        return set(sorted(self._due, key=lambda key: (self._due[key], key))[:excess])

    def _load(self, key: str) -> S | None:
        value = self._rows.get(row_of(key)) if key in self._due else None
        return None if value is None else self._decoder.decode(value)

    def _need(self, key: str) -> S:
        return self._decoder.decode(self._rows[row_of(key)])

    def _stored(self, entry: tuple[str, S]) -> tuple[bytes, bytes]:
        key, state = entry
        due = self._due[key] = self._fold.due_ms(state)
        self._soonest = min(self._soonest, due)
        return row_of(key), self._encoder.encode(state)

    def _dropped(self, key: str) -> tuple[bytes, None]:
        del self._due[key]
        return row_of(key), None

    def _progress_row(self) -> tuple[bytes, bytes]:
        return PROGRESS, self._encoder.encode(self._progress)


def row_of(key: str) -> bytes:
    """Return the row that holds the state of `key`."""
    return _KEY + key.encode()


def key_of(row: bytes) -> str | None:
    """Return the key whose state the row holds, None for `PROGRESS`."""
    return row.removeprefix(_KEY).decode() if row.startswith(_KEY) else None


def apply(rows: dict[bytes, bytes], changes: Iterable[tuple[bytes, bytes | None]]) -> None:
    """Write `changes` into `rows` in their order; None removes."""
    for row, value in changes:
        if value is None:
            rows.pop(row, None)
        else:
            rows[row] = value
