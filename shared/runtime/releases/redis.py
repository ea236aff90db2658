"""Releases in Redis: immutable chunks, a signed manifest, a pointer that is compared and set."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import NamedTuple, TypeVar, cast

import msgspec
from redis.asyncio import Redis
from redis.exceptions import RedisError

from shared.contracts.artifact import Artifact, Contents, unpack
from shared.contracts.errors import Invalid, NotFound, Retryable, UndeclaredModel
from shared.contracts.events import ReleaseChanged
from shared.contracts.service import Service
from shared.runtime.clock import Clock
from shared.runtime.releases.folder import ReleaseFolder
from shared.runtime.releases.follow import Follower, Wait
from shared.runtime.releases.keys import (
    LOG,
    MANIFEST,
    PART,
    POINTER,
    UNFINISHED_TTL,
    VERSIONS,
    hint_channel,
)
from shared.runtime.releases.manifest import (
    MAX_MANIFEST_BYTES,
    check_chunk,
    checked_name,
    chunk_lengths,
    verified,
)
from shared.runtime.releases.package import Package, packaged
from shared.runtime.releases.pointer import (
    canary_reason,
    expect_epoch,
    from_fields,
    moved,
    promoted,
    restored,
    rolled_back,
    to_fields,
    with_canary,
    without_canary,
)
from shared.runtime.releases.port import CHUNK_BYTES, Manifest, Moved, Pointer, Provenance, Smoke
from shared.runtime.releases.report import (
    MAX_REASON,
    PointerChange,
    Report,
    change_of,
    tell,
    unreported,
)
from shared.runtime.releases.scripts import MOVE, PRUNE
from shared.runtime.releases.signing import Signer, Verifier
from shared.runtime.telemetry import log

M = TypeVar("M")
_log = log(__name__)
KEPT = 5
_AT_ONCE = 16
"""Chunks asked for in one round trip: bounds what the client's buffers hold."""


@dataclass(frozen=True)
class Storage:
    """Where contents lie and how large they may be.

    Parameters
    ----------
    shared : ReleaseFolder
        Holds contents above `inline_bytes` for all services, and a copy of each release that
        this service publishes, so that a Redis that forgot everything can be filled again.
    cache : ReleaseFolder
        This service's own last good release of each model.
    inline_bytes : int
        The largest content that goes into Redis.
    max_bytes : int
        The largest content that is read at all.
    """

    shared: ReleaseFolder
    cache: ReleaseFolder
    inline_bytes: int = 64 << 20
    max_bytes: int = 2 << 30


class _Move(NamedTuple):
    change: PointerChange
    version: str
    reason: str | None


@dataclass(frozen=True, kw_only=True)
class RedisReleases:
    """The port `Releases` on a Redis.

    Parameters
    ----------
    redis : redis.asyncio.Redis
        A client that gives back bytes (``decode_responses=False``).
    service : Service
        Only its `models` can be read, only its `releases` changed.
    storage, verifier, clock
    signer : Signer, optional
        Needed to publish.
    report : async callable, optional
        Told of every change made here and of every release loaded or rejected by a follower.
    """

    redis: Redis
    service: Service
    storage: Storage
    verifier: Verifier
    clock: Clock
    signer: Signer | None = None
    report: Report = unreported

    async def publish(self, model: str, artifact: Artifact, provenance: Provenance) -> Manifest:
        """Write immutable chunks, then the signed manifest; live only after `promote`."""
        self._may_change(model)
        if self.signer is None:
            raise Invalid(f"{self.service.name} has no key to sign releases with")
        # A Redis that forgot everything must not make the releases on disk look superfluous.
        await self.restore(model)
        base = Manifest(
            model=checked_name(model),
            version="",
            contents=Contents(kind=artifact.kind),
            parent=(await self.pointer(model)).current,
            code=provenance.code,
            trained_on=dict(provenance.trained_on),
            metrics=dict(provenance.metrics),
            card=dict(provenance.card),
            golden=[dict(example) for example in provenance.golden],
            created_at=self.clock.now(),
        )
        package = await asyncio.to_thread(
            packaged, base, artifact, self.signer, self.storage.inline_bytes
        )
        await asyncio.to_thread(self.storage.shared.save, package)
        await self._upload(package)
        await tell(self.report, change_of(package.manifest, "published"))
        return package.manifest

    async def _upload(self, package: Package) -> None:
        manifest, raw, content = package
        model, version = manifest.model, manifest.version
        view, keys = memoryview(content), self._chunk_keys(manifest)
        async with _reachable():
            for number, key in enumerate(keys):
                start = number * manifest.chunk_bytes
                chunk = bytes(view[start : start + manifest.chunk_bytes])
                await self.redis.set(key, chunk, ex=UNFINISHED_TTL)
            async with self.redis.pipeline(transaction=True) as finish:
                for key in keys:
                    finish.persist(key)
                finish.set(PART.of(model, version, MANIFEST), raw)
                finish.zadd(VERSIONS.of(model), {version: manifest.created_at})
                await finish.execute()

    async def restore(self, model: str) -> Pointer | None:
        """Give an empty Redis its releases and pointer back, from what the publisher kept on disk.

        A damaged release is passed over; if it was the current one, the newest whole one is.
        """
        self._may_change(model)
        shared = self.storage.shared
        live = await self.pointer(model)
        if live.current is not None:
            await asyncio.to_thread(shared.save_pointer, model, live)
            return None
        kept = await asyncio.to_thread(shared.pointer, model)
        if kept is None or kept.current is None:
            return None
        whole = await self._upload_kept(model)
        if not whole:
            return None
        after = restored(kept, whole)
        move = _Move("restored", str(after.current), "Redis had forgotten everything")
        try:
            return await self._move(model, after, move, expected=live.epoch)
        except Invalid:
            if (await self.pointer(model)).epoch == live.epoch:
                raise
            # Somebody else has restored it, or promoted, in the meantime.
            return None

    async def _upload_kept(self, model: str) -> list[str]:
        shared, whole = self.storage.shared, []
        for version in await asyncio.to_thread(shared.versions, model):
            try:
                package = await asyncio.to_thread(shared.package, model, version)
                await asyncio.to_thread(package.artifact)
            except (Invalid, NotFound) as damage:
                _log.warning(
                    "release not restored", model=model, version=version, reason=str(damage)
                )
                continue
            await self._upload(package)
            whole.append(version)
        return whole

    async def pointer(self, model: str) -> Pointer:
        """Return the pointer (all None, epoch 0, before the first release)."""
        self._may_read(model)
        async with _reachable():
            fields = cast(dict[bytes, bytes], await self.redis.hgetall(POINTER.of(model)))
        return from_fields({name.decode(): value.decode() for name, value in fields.items()})

    async def promote(
        self, model: str, version: str, *, epoch: int, reason: str | None = None
    ) -> Pointer:
        """Make `version` current if the epoch has not moved and no chunk is missing, else `Invalid`."""
        after = promoted(await self._at(model, epoch), version)
        await self._move(model, after, _Move("promoted", version, reason), expected=epoch)
        await self._prune(model, after)
        return after

    async def canary(
        self, model: str, version: str, *, percent: int, epoch: int, reason: str | None = None
    ) -> Pointer:
        """Serve `version` to `percent` of the users; at 0 replicas only load and test it."""
        after = with_canary(await self._at(model, epoch), version, percent)
        move = _Move("canary", version, canary_reason(percent, reason))
        return await self._move(model, after, move, expected=epoch)

    async def take_back(self, model: str, *, epoch: int, reason: str | None = None) -> Pointer:
        """End the canary, whatever state its release is in; `Invalid` if there is none."""
        before = await self._at(model, epoch)
        after, move = without_canary(before), _Move("taken_back", str(before.canary), reason)
        return await self._move(model, after, move, expected=epoch)

    async def roll_back(self, model: str, *, epoch: int, reason: str | None = None) -> Pointer:
        """Make the previous release current again; the one before that becomes the previous."""
        after = rolled_back(await self._at(model, epoch), await self.versions(model))
        move = _Move("rolled_back", str(after.current), reason)
        return await self._move(model, after, move, expected=epoch)

    async def history(self, model: str, count: int = 50) -> list[Moved]:
        """Return the newest changes of the pointer, newest first."""
        self._may_read(model)
        async with _reachable():
            found = await self.redis.xrevrange(LOG.of(model), count=count)
        entries = cast(list[tuple[bytes, dict[bytes, bytes]]], found)
        return [
            moved(int(entry_id.partition(b"-")[0]) / 1000, fields) for entry_id, fields in entries
        ]

    async def _at(self, model: str, epoch: int) -> Pointer:
        self._may_change(model)
        pointer = await self.pointer(model)
        expect_epoch(model, pointer.epoch, epoch)
        return pointer

    async def _move(self, model: str, after: Pointer, move: "_Move", *, expected: int) -> Pointer:
        manifest = await self._whole(model, move)
        parts = self._part_keys(manifest) if manifest else []
        keys = [POINTER.of(model), LOG.of(model), *parts]
        fields = [text for pair in to_fields(after).items() for text in pair]
        what = (move.change, move.version, move.reason or "", self.service.name)
        arguments = [str(expected), hint_channel(model), *what, *fields]
        async with _reachable():
            outcome, detail = await self.redis.eval(MOVE, len(keys), *keys, *arguments)
        if outcome == b"epoch":
            expect_epoch(model, int(detail), expected)
        if outcome == b"missing":
            raise Invalid(f"{model} {move.version} is incomplete: {detail.decode()} is missing")
        await asyncio.to_thread(self.storage.shared.save_pointer, model, after)
        if move.change != "restored":
            about = ReleaseChanged(model=model, version=move.version, change=move.change)
            told = change_of(manifest, move.change) if manifest else about
            reason = move.reason and move.reason[:MAX_REASON]
            by = self.service.name
            await tell(self.report, msgspec.structs.replace(told, reason=reason, by=by))
        return after

    async def _whole(self, model: str, move: "_Move") -> Manifest | None:
        """Return the release that comes into service; None for one that goes, which may be damaged."""
        if move.change == "taken_back":
            return None
        manifest = await self.manifest(model, move.version)
        if manifest.store == "folder":
            await asyncio.to_thread(self.storage.shared.content, manifest)
        return manifest

    async def _prune(self, model: str, pointer: Pointer) -> None:
        """Remove all but the newest five versions and those that the pointer names."""
        versions = await self.versions(model)
        for version in versions[KEPT:]:
            # Its manifest may be unreadable by now, so all chunks that there can be are named.
            chunks = range(-(-self.storage.inline_bytes // CHUNK_BYTES))
            parts = [PART.of(model, version, str(part)) for part in (MANIFEST, *chunks)]
            keys = [POINTER.of(model), VERSIONS.of(model), *parts]
            async with _reachable():
                await self.redis.eval(PRUNE, len(keys), *keys, version)
        named = {v for v in (pointer.current, pointer.previous, pointer.canary) if v}
        await asyncio.to_thread(self.storage.shared.prune, model, named.union(versions[:KEPT]))

    async def manifest(self, model: str, version: str) -> Manifest:
        """Return and verify a manifest; `NotFound` or `Invalid`."""
        return (await self._manifest(model, version))[0]

    async def _manifest(self, model: str, version: str) -> tuple[Manifest, bytes]:
        self._may_read(model)
        key = PART.of(model, checked_name(version), MANIFEST)
        async with _reachable():
            raw = cast(bytes, await self.redis.getrange(key, 0, MAX_MANIFEST_BYTES))
        if not raw:
            raise NotFound(f"no release {model} {version}")
        limit = self.storage.max_bytes
        manifest = verified(
            raw, model=model, version=version, verifier=self.verifier, max_bytes=limit
        )
        return manifest, raw

    async def versions(self, model: str) -> list[str]:
        """Return the kept versions, newest first."""
        self._may_read(model)
        async with _reachable():
            found = cast(list[bytes], await self.redis.zrevrange(VERSIONS.of(model), 0, -1))
        return [version.decode() for version in found]

    async def fetch(self, manifest: Manifest) -> Artifact:
        """Read, verify and unpack the content; `Invalid` when truncated or tampered with."""
        return await asyncio.to_thread(unpack, manifest.contents, await self._content(manifest))

    async def package(self, model: str, version: str) -> Package:
        """Return a release with its chunks checked; `NotFound` or `Invalid`."""
        manifest, raw = await self._manifest(model, version)
        return Package(manifest, raw, await self._content(manifest))

    async def _content(self, manifest: Manifest) -> bytes | bytearray:
        self._may_read(manifest.model)
        if manifest.store == "folder":
            return await asyncio.to_thread(self.storage.shared.content, manifest)
        content = bytearray(manifest.contents.bytes)
        lengths, keys = chunk_lengths(manifest), self._chunk_keys(manifest)
        for first in range(0, len(keys), _AT_ONCE):
            span = range(first, min(first + _AT_ONCE, len(keys)))
            async with _reachable(), self.redis.pipeline(transaction=False) as pipe:
                for number in span:
                    # One byte more than expected tells a longer chunk without reading it all.
                    pipe.getrange(keys[number], 0, lengths[number])
                chunks = await pipe.execute()
            for number, chunk in zip(span, chunks, strict=True):
                await asyncio.to_thread(check_chunk, manifest, number, chunk)
                start = number * manifest.chunk_bytes
                content[start : start + len(chunk)] = chunk
        return content

    def follow(self, model: str, load: Callable[[Artifact], M], *, smoke: Smoke[M]) -> Follower[M]:
        """Return a follower; `smoke` returns what is wrong with the loaded model, or None."""
        self._may_read(model)
        return Follower(model, self, load, smoke, self.storage.cache, self.clock, self.report)

    @asynccontextmanager
    async def hints(self, model: str) -> AsyncIterator[Wait]:
        """Give a function that waits for a change of the pointer to be announced, or a time."""
        async with _reachable(), self.redis.pubsub(ignore_subscribe_messages=True) as channel:
            await channel.subscribe(hint_channel(model))

            async def wait(seconds: float) -> None:
                async with _reachable():
                    await channel.get_message(timeout=seconds)

            yield wait

    def _chunk_keys(self, manifest: Manifest) -> list[str]:
        if manifest.store == "folder":
            return []
        count = len(manifest.chunks)
        return [PART.of(manifest.model, manifest.version, str(n)) for n in range(count)]

    def _part_keys(self, manifest: Manifest) -> list[str]:
        own = PART.of(manifest.model, manifest.version, MANIFEST)
        return [own, *self._chunk_keys(manifest)]

    def _may_read(self, model: str) -> None:
        if model not in self.service.releases:
            self.service.may_use_model(model)

    def _may_change(self, model: str) -> None:
        if model not in self.service.releases:
            raise UndeclaredModel(f"{self.service.name} does not declare releases of {model!r}")


@asynccontextmanager
async def _reachable() -> AsyncIterator[None]:
    try:
        yield
    except (RedisError, OSError) as error:
        raise Retryable(f"Redis does not answer: {error}") from error
