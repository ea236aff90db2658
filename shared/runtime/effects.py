"""Three ways to have an effect once though its event comes twice, in order of preference.

1. `Newest`: the effect is idempotent by nature; set by id and keep the newer. In Redis the same is
   ``KeyValue.zadd(..., newest=True)``.
2. `Applied`, `Checkpoint` and `OncePerOffset`: the offset is stored with the state in one step, and
   what lies before it is skipped. Memory grows with partitions, not with events. When a topic was
   deleted and begun anew, its offsets begin anew too: delete the state with it.
3. `Ledger`: ids of what left the system (a mail, a coupon), for as long as a replay may reach back.
"""

import os
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, Generic, Literal, Protocol, TypeVar
from uuid import uuid4

import msgspec

from shared.contracts.errors import Retryable
from shared.contracts.service import Key
from shared.runtime import metrics
from shared.runtime.bus.port import Position, TopicPartition
from shared.runtime.kv.port import Args, KeyValue, Value

K = TypeVar("K")
V = TypeVar("V")
Stamp = tuple[float | str, ...]
"""What makes one write newer than another; the last part breaks ties, such as (time_s, event id)."""


class Newest(Mapping[K, V], Generic[K, V]):
    """Values by id of which the newest wins, whatever the order and number of the writes.

    Parameters
    ----------
    graves : int
        So many removed ids are remembered, so that an older write that comes late or again does not
        bring them back.
    """

    def __init__(self, *, graves: int = 100_000) -> None:
        self._values: dict[K, V] = {}
        self._stamps: dict[K, Stamp] = {}
        self._graves: dict[K, Stamp] = {}
        self._most_graves = graves

    def put(self, key: K, value: V, stamp: Stamp) -> bool:
        """Set `key` unless it was set or removed under a newer or the same stamp."""
        if not self._is_newer(key, stamp):
            return False
        self._graves.pop(key, None)
        self._values[key], self._stamps[key] = value, stamp
        return True

    def remove(self, key: K, stamp: Stamp) -> bool:
        """Remove `key` unless it was set or removed under a newer or the same stamp."""
        if not self._is_newer(key, stamp):
            return False
        self._values.pop(key, None)
        self._stamps.pop(key, None)
        self._graves.pop(key, None)
        self._graves[key] = stamp
        for oldest in list(islice(self._graves, max(0, len(self._graves) - self._most_graves))):
            del self._graves[oldest]
        return True

    def _is_newer(self, key: K, stamp: Stamp) -> bool:
        known = self._stamps.get(key) or self._graves.get(key)
        return known is None or stamp > known

    def __getitem__(self, key: K) -> V:
        return self._values[key]

    def __iter__(self) -> Iterator[K]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)


class Placed(Protocol):
    """Anything that knows its place in a topic."""

    @property
    def position(self) -> Position:
        """Topic, partition and offset."""
        ...


P = TypeVar("P", bound=Placed)


class Applied:
    """How far a state has taken each partition in; the state and this belong together.

    `handler` names it in the metric of events that were skipped.
    """

    def __init__(
        self, offsets: Mapping[TopicPartition, int] | None = None, *, handler: str = "local"
    ) -> None:
        self._next = dict(offsets or {})
        self._skipped = metrics.EFFECTS_DEDUPLICATED.labels(handler)

    def take(self, batch: Sequence[P]) -> list[P]:
        """Return what is not in the state yet, and count it as taken in.

        Change the state before the next ``await``: whoever looks in between sees a lie.
        """
        fresh = []
        for item in batch:
            topic, partition, offset = item.position
            at = TopicPartition(topic, partition)
            if offset >= self._next.get(at, 0):
                fresh.append(item)
                self._next[at] = offset + 1
        self._skipped.inc(len(batch) - len(fresh))
        return fresh

    def offsets(self) -> dict[TopicPartition, int]:
        """Return the offset of the NEXT record that is not in the state, for each partition."""
        return dict(self._next)


class _Saved(msgspec.Struct, frozen=True):
    version: int
    offsets: dict[str, dict[int, int]]
    state: bytes


class Checkpoint:
    """A state and its offsets in one file, replaced whole or not at all.

    Save inside the handler, before it returns: then nothing is committed that is not on the disk.
    """

    def __init__(self, path: Path) -> None:
        self._path = path

    def save(self, applied: Applied, state: bytes) -> None:
        """Write and sync; blocks for as long as the disk takes. OSError leaves the old one."""
        offsets: dict[str, dict[int, int]] = {}
        for (topic, partition), offset in applied.offsets().items():
            offsets.setdefault(topic, {})[partition] = offset
        incoming = self._path.with_name(self._path.name + ".new")
        with incoming.open("wb") as file:
            file.write(msgspec.msgpack.encode(_Saved(1, offsets, state)))
            file.flush()
            os.fsync(file.fileno())
        incoming.replace(self._path)
        _sync_folder(self._path.parent)

    def load(self, *, handler: str = "local") -> tuple[Applied, bytes | None]:
        """Return what was saved last; nothing applied and None where there is none."""
        try:
            content = self._path.read_bytes()
        except FileNotFoundError:
            return Applied(handler=handler), None
        saved = msgspec.msgpack.decode(content, type=_Saved)
        offsets = {
            TopicPartition(topic, partition): offset
            for topic, partitions in saved.offsets.items()
            for partition, offset in partitions.items()
        }
        return Applied(offsets, handler=handler), saved.state


class OncePerOffset:
    """An effect in Redis and the offset of its event in one step, by a Lua script.

    Parameters
    ----------
    applied : Key
        A hash with one field for each partition: the next offset. No `ttl`: an offset that is
        forgotten repeats effects. In a Redis Cluster it shares its hash tag with the effect's keys.
    effect : str
        The body of a Lua function of ``keys``, the names given with the call, and ``event``, the
        decoded payload. Redis takes nothing back when a script fails: look first, then write.

    Examples
    --------
    >>> count = OncePerOffset(kv, APPLIED, "redis.call('HINCRBY', keys[1], event.item, 1)")
    >>> await count([(r.position, {"item": r.key}) for r in batch], keys=[(VIEWS, ())])
    """

    def __init__(self, kv: KeyValue, applied: Key, effect: str) -> None:
        self._applied = applied
        self._script = kv.script(_ONCE_PER_OFFSET.replace("--EFFECT--", effect))
        self._skipped = metrics.EFFECTS_DEDUPLICATED.labels(applied.name)

    async def __call__(
        self,
        events: Iterable[tuple[Position, Any]],
        *,
        at: Args = (),
        keys: Sequence[tuple[Key, Args]] = (),
    ) -> int:
        """Have the effect of those events that had none yet; return how many.

        The events are of one partition, in order; a payload is what JSON can hold. Raises
        `Retryable` when Redis is away: the same call again does what is missing.
        """
        items = list(events)
        if not items:
            return 0
        places = {TopicPartition(p.topic, p.partition) for p, _ in items}
        if len(places) != 1:
            raise ValueError(f"the events of one call are of one partition, not of {len(places)}")
        args: list[Value] = [str(*places)]
        for position, payload in items:
            args += [position.offset, msgspec.json.encode(payload)]
        done = int(await self._script([(self._applied, at), *keys], args))
        self._skipped.inc(len(items) - done)
        return done


# The offset is stored also when an effect fails, for the events before it had theirs.
_ONCE_PER_OFFSET = """
local function effect(keys, event)
  --EFFECT--
end
local keys = {}
for i = 2, #KEYS do keys[i - 1] = KEYS[i] end
local applied, field = KEYS[1], ARGV[1]
local next_offset = tonumber(redis.call('HGET', applied, field) or '0')
local done, failure = 0, nil
for i = 2, #ARGV, 2 do
  local offset = tonumber(ARGV[i])
  if offset >= next_offset then
    local ok, err = pcall(effect, keys, cjson.decode(ARGV[i + 1]))
    if not ok then
      failure = err
      break
    end
    next_offset, done = offset + 1, done + 1
  end
end
if done > 0 then redis.call('HSET', applied, field, string.format('%.0f', next_offset)) end
if failure then return redis.error_reply(type(failure) == 'table' and failure.err or tostring(failure)) end
return done
"""


class Ledger:
    """Ids of effects that leave the system, so that each is had once.

    Parameters
    ----------
    entries : Key
        Strings with the param ``id`` and a `ttl` no shorter than the topic's retention and the time
        that a replay may reach back: what is forgotten is done again.
    """

    def __init__(self, kv: KeyValue, entries: Key) -> None:
        if entries.ttl is None:
            raise ValueError(f"{entries.name} needs a ttl: a ledger without one grows for ever")
        self._kv = kv
        self._entries = entries
        self._mine = f"begun {uuid4().hex}".encode()
        self._begun: dict[str, bool] = {}  # whether it happened, until the entry says so
        self._skipped = metrics.EFFECTS_DEDUPLICATED.labels(entries.name)

    async def once(
        self,
        id: str,
        effect: Callable[[], Awaitable[None]],
        *,
        unfinished: Literal["repeat", "skip"],
    ) -> bool:
        """Run `effect` unless the ledger says that `id` had it; True if it ran.

        An effect that raises `Retryable` says that it certainly did not happen, and may run again.
        Any other end short of success (an error, a kill) leaves it open whether it happened, and
        `unfinished` decides for the next time: ``repeat`` what the receiver can recognise, ``skip``
        what must never come twice. One process at a time works on an id.
        """
        if not await self._may_begin(id, unfinished):
            self._skipped.inc()
            return False
        self._begun[id] = False
        try:
            await effect()
        except Retryable:
            del self._begun[id]
            await self._kv.delete(self._entries, id)
            raise
        self._begun[id] = True
        await self._close(id)
        return True

    async def _close(self, id: str) -> None:
        await self._kv.set(self._entries, id, value=_DONE)
        del self._begun[id]

    async def _may_begin(self, id: str, unfinished: str) -> bool:
        if self._begun.get(id):
            await self._close(id)  # it happened here; only the entry could not be written
            return False
        if await self._kv.set(self._entries, id, value=self._mine, only_new=True):
            return True
        found = await self._kv.get(self._entries, id)
        if found == _DONE:
            return False
        if found == self._mine and id not in self._begun:
            return True  # the answer to our own entry got lost, before the effect began
        return unfinished == "repeat"


_DONE = b"done"


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
