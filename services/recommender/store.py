"""The Redis keys of the manifest, read and written."""

import asyncio
import zlib
from collections.abc import Iterator, Mapping, Sequence

import msgspec

from services.recommender.core.keep import Kept, Members
from services.recommender.core.person import Row, Rows
from services.recommender.manifest import (
    BOUGHT,
    BUILT,
    DEEDS,
    EXPLANATION,
    HISTORY,
    MARKS,
    OPTED_OUT,
)
from shared.contracts.errors import Retryable
from shared.contracts.service import Key
from shared.runtime.kv import KeyValue
from shared.runtime.telemetry import log

_log = log(__name__)

KEEP: Mapping[str, int] = {HISTORY.name: 200, MARKS.name: 400, BOUGHT.name: 400}
"""Newest members of each sorted set that stay when it is trimmed."""
TRIM_AFTER = 50
"""Members added to a set between two trimmings, which cost as much as the adding."""
_COUNTED = 100_000
READ_EVENTS = 60
READ_MARKS = 400
READ_BOUGHT = 400
_YES = b"1"
_WRITE_AT_ONCE = 2000
_PER_PERSON = 4


class People:
    """What is kept of each person; a person is a pseudonym or an anonymous id.

    All methods raise `Retryable` when Redis is away.
    """

    def __init__(self, kv: KeyValue) -> None:
        self._kv = kv
        self._grown: dict[tuple[str, str], int] = {}
        self._waiting: list[tuple[Sequence[str], asyncio.Future[list[Rows]]]] = []
        self._reading: asyncio.Task[None] | None = None

    async def keep(self, kept: Kept) -> bool:
        """Add the members; the same ones again change nothing.

        False when Redis has forgotten what was built in it, and must be given all again.
        """
        sets: list[tuple[Key, dict[str, Members]]] = [
            (HISTORY, kept.history),
            (MARKS, kept.marks),
            (BOUGHT, kept.bought),
        ]
        pipeline, queued = self._kv.pipeline(), 0
        for key, people in sets:
            for person, members in people.items():
                pipeline.zadd(key, person, scores=members, newest=True)
                if self._full(key, person, len(members)):
                    pipeline.ztrim(key, person, keep=KEEP[key.name])
                queued += 1
                if queued % _WRITE_AT_ONCE == 0:
                    await pipeline.execute()
        pipeline.get(BUILT)
        *_, built = await pipeline.execute()
        return built is not None

    async def opt(self, person: str, *, out: bool) -> None:
        """Note whether the person's history may be used."""
        if out:
            await self._kv.set(OPTED_OUT, person, value=_YES)
        else:
            await self._kv.delete(OPTED_OUT, person)

    async def read(self, *people: str) -> list[Rows]:
        """Return what is kept of each; requests that wait at the same time share a round trip."""
        answer: asyncio.Future[list[Rows]] = asyncio.get_running_loop().create_future()
        self._waiting.append((people, answer))
        if self._reading is None or self._reading.done():
            self._reading = asyncio.create_task(self._read_waiting())
        return await answer

    async def forget(self, person: str) -> int:
        """Remove all that is kept of what the person did; return how many keys there were."""
        pipeline = self._kv.pipeline()
        for key in DEEDS:
            pipeline.delete(key, person)
        return sum(await pipeline.execute())

    async def built(self) -> bool:
        """Whether the views were built since Redis last lost its memory."""
        return await self._kv.get(BUILT) is not None

    async def set_built(self) -> None:
        """Note that the views are built."""
        await self._kv.set(BUILT, value=_YES)

    def _full(self, key: Key, person: str, added: int) -> bool:
        """Whether to trim: once for every `TRIM_AFTER` members that this process added."""
        grown = self._grown.get((key.name, person), 0) + added
        full = grown >= TRIM_AFTER
        if len(self._grown) >= _COUNTED:
            self._grown.clear()
        self._grown[key.name, person] = 0 if full else grown
        return full

    async def _read_waiting(self) -> None:
        while self._waiting:
            waiting, self._waiting = self._waiting, []
            try:
                rows = await self._rows([person for people, _ in waiting for person in people])
                for people, answer in waiting:
                    if not answer.done():
                        answer.set_result([next(rows) for _ in people])
                    else:
                        for _ in people:
                            next(rows)
            except Retryable as away:
                for _, answer in waiting:
                    if not answer.done():
                        answer.set_exception(Retryable(str(away)))
            finally:
                for _, answer in waiting:
                    answer.cancel()

    async def _rows(self, people: Sequence[str]) -> Iterator[Rows]:
        pipeline = self._kv.pipeline()
        for person in people:
            pipeline.zrange_desc(HISTORY, person, count=READ_EVENTS)
            pipeline.zrange_desc(MARKS, person, count=READ_MARKS)
            pipeline.zrange_desc(BOUGHT, person, count=READ_BOUGHT)
            pipeline.get(OPTED_OUT, person)
        answers = iter(await pipeline.execute())
        rows = zip(*[answers] * _PER_PERSON, strict=True)
        return (Rows(h, m, b, out is not None) for h, m, b, out in rows)


class Snapshot(msgspec.Struct, frozen=True, array_like=True):
    """What is needed to explain one list: who asked for what, and what was known then.

    `shown` pairs each item with the parts of its score by source; `rows` are the history's rows,
    newest first; `factors` is what each source's scores were multiplied with.
    """

    request_id: str
    person: str | None
    time_s: float
    scenario: str
    anchors: tuple[str, ...]
    release: str
    rung: str
    shown: list[tuple[str, dict[str, float]]]
    factors: dict[str, float]
    rows: Sequence[Row]


class Explanations:
    """Snapshots of the latest lists, in a fixed number of slots."""

    def __init__(self, kv: KeyValue, *, slots: int) -> None:
        self._kv = kv
        self._slots = slots
        self._waiting: list[Snapshot] = []
        self._keeping: asyncio.Task[None] | None = None
        self._encode = msgspec.msgpack.Encoder().encode
        self._decoder = msgspec.msgpack.Decoder(Snapshot)

    def put(self, snapshot: Snapshot) -> None:
        """Store it soon; while Redis is away it is lost, for an answer does not wait for it."""
        self._waiting.append(snapshot)
        if self._keeping is None or self._keeping.done():
            self._keeping = asyncio.create_task(self._keep_waiting())

    async def _keep_waiting(self) -> None:
        while self._waiting:
            waiting, self._waiting = self._waiting[-self._slots :], []
            try:
                await self.keep(waiting)
            except Retryable as away:
                _log.warning("explanations not kept", count=len(waiting), reason=str(away))

    async def keep(self, snapshots: Sequence[Snapshot]) -> None:
        """Store them; each may take the slot of an older one. Raises `Retryable`."""
        pipeline = self._kv.pipeline()
        for snapshot in snapshots:
            slot = self._slot(snapshot.request_id)
            pipeline.set(EXPLANATION, slot, value=self._encode(snapshot))
        await pipeline.execute()

    async def find(self, request_id: str) -> Snapshot | None:
        """Return the snapshot, None if it is gone. Raises `Retryable`."""
        stored = await self._kv.get(EXPLANATION, self._slot(request_id))
        snapshot = None if stored is None else self._decoder.decode(stored)
        return snapshot if snapshot and snapshot.request_id == request_id else None

    async def forget(self, people: frozenset[str]) -> int:
        """Remove every snapshot of these people; return how many there were. Reads all slots."""
        removed = 0
        for start in range(0, self._slots, _WRITE_AT_ONCE):
            slots = [str(n) for n in range(start, min(start + _WRITE_AT_ONCE, self._slots))]
            reads = self._kv.pipeline()
            for slot in slots:
                reads.get(EXPLANATION, slot)
            deletes = self._kv.pipeline()
            for slot, stored in zip(slots, await reads.execute(), strict=True):
                if stored is not None and self._decoder.decode(stored).person in people:
                    deletes.delete(EXPLANATION, slot)
                    removed += 1
            await deletes.execute()
        return removed

    def _slot(self, request_id: str) -> str:
        return str(zlib.crc32(request_id.encode()) % self._slots)
