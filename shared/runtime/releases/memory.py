"""Releases in the memory of one process, for tests: the same promises without a Redis."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar, cast

import msgspec

from shared.contracts.artifact import Artifact, Contents
from shared.contracts.errors import NotFound, Retryable
from shared.contracts.events.loop import Change
from shared.runtime.clock import Clock
from shared.runtime.releases.folder import ReleaseFolder
from shared.runtime.releases.follow import Follower, Wait
from shared.runtime.releases.package import Package, packaged
from shared.runtime.releases.pointer import (
    canary_reason,
    expect_epoch,
    promoted,
    rolled_back,
    with_canary,
    without_canary,
)
from shared.runtime.releases.port import Manifest, Moved, Pointer, Provenance, Smoke
from shared.runtime.releases.report import Report, change_of, tell, unreported
from shared.runtime.releases.signing import Signer, Verifier

M = TypeVar("M")
_SEED = bytes(range(32))


@dataclass(kw_only=True)
class MemoryReleases:
    """The port `Releases` without a network; `away` makes every method raise `Retryable`.

    Parameters
    ----------
    clock : Clock
    cache : Path
        Where followers keep their last good release.
    """

    clock: Clock
    cache: Path
    report: Report = unreported
    away: bool = False
    by: str = "memory"
    _packages: dict[tuple[str, str], Package] = field(default_factory=dict)
    _pointers: dict[str, Pointer] = field(default_factory=dict)
    _history: dict[str, list[Moved]] = field(default_factory=dict)
    _changed: asyncio.Event = field(default_factory=asyncio.Event)

    async def publish(self, model: str, artifact: Artifact, provenance: Provenance) -> Manifest:
        """As the port."""
        base = Manifest(
            model=model,
            version="",
            contents=Contents(kind=artifact.kind),
            parent=(await self.pointer(model)).current,
            created_at=self.clock.now(),
            **vars(provenance),
        )
        package = packaged(base, artifact, Signer(_SEED), 1 << 40)
        self._packages[model, package.manifest.version] = package
        await tell(self.report, change_of(package.manifest, "published"))
        return package.manifest

    async def pointer(self, model: str) -> Pointer:
        """As the port."""
        if self.away:
            raise Retryable("Redis does not answer")
        return self._pointers.get(model, Pointer())

    async def promote(
        self, model: str, version: str, *, epoch: int, reason: str | None = None
    ) -> Pointer:
        """As the port."""
        after = promoted(await self._at(model, epoch), version)
        return await self._move(model, after, self._moved("promoted", version, reason))

    async def canary(
        self, model: str, version: str, *, percent: int, epoch: int, reason: str | None = None
    ) -> Pointer:
        """As the port."""
        after = with_canary(await self._at(model, epoch), version, percent)
        return await self._move(
            model, after, self._moved("canary", version, canary_reason(percent, reason))
        )

    async def take_back(self, model: str, *, epoch: int, reason: str | None = None) -> Pointer:
        """As the port."""
        before = await self._at(model, epoch)
        moved = self._moved("taken_back", str(before.canary), reason)
        return await self._move(model, without_canary(before), moved)

    async def roll_back(self, model: str, *, epoch: int, reason: str | None = None) -> Pointer:
        """As the port."""
        after = rolled_back(await self._at(model, epoch), await self.versions(model))
        return await self._move(
            model, after, self._moved("rolled_back", str(after.current), reason)
        )

    async def history(self, model: str, count: int = 50) -> list[Moved]:
        """As the port."""
        await self.pointer(model)
        return self._history.get(model, [])[: -count - 1 : -1]

    async def restore(self, model: str) -> Pointer | None:
        """Find nothing missing: memory forgets all at once, with its readers."""

    async def manifest(self, model: str, version: str) -> Manifest:
        """As the port."""
        return (await self.package(model, version)).manifest

    async def versions(self, model: str) -> list[str]:
        """As the port."""
        await self.pointer(model)
        return sorted((v for m, v in self._packages if m == model), reverse=True)

    async def fetch(self, manifest: Manifest) -> Artifact:
        """As the port."""
        return (await self.package(manifest.model, manifest.version)).artifact()

    async def package(self, model: str, version: str) -> Package:
        """Return a stored release; `NotFound` if there is none."""
        await self.pointer(model)
        try:
            return self._packages[model, version]
        except KeyError:
            raise NotFound(f"no release {model} {version}") from None

    @asynccontextmanager
    async def hints(self, model: str) -> AsyncIterator[Wait]:
        """Give a function that waits for any pointer to move, or a time."""
        await self.pointer(model)

        async def wait(seconds: float) -> None:
            try:
                async with asyncio.timeout(seconds):
                    await self._changed.wait()
            except TimeoutError:
                await self.pointer(model)

        yield wait

    def follow(self, model: str, load: Callable[[Artifact], M], *, smoke: Smoke[M]) -> Follower[M]:
        """As the port."""
        folder = ReleaseFolder(self.cache, Verifier([Signer(_SEED).public]), 1 << 40)
        return Follower(model, self, load, smoke, folder, self.clock, self.report)

    async def _at(self, model: str, epoch: int) -> Pointer:
        pointer = await self.pointer(model)
        expect_epoch(model, pointer.epoch, epoch)
        return pointer

    def _moved(self, change: Change, version: str, reason: str | None) -> Moved:
        return Moved(
            at_s=self.clock.now(), change=change, version=version, reason=reason, by=self.by
        )

    async def _move(self, model: str, after: Pointer, moved: Moved) -> Pointer:
        package = await self.package(model, moved.version)
        self._pointers[model] = after
        self._history.setdefault(model, []).append(moved)
        self._changed.set()
        self._changed = asyncio.Event()
        told = change_of(package.manifest, cast(Change, moved.change))
        await tell(self.report, msgspec.structs.replace(told, reason=moved.reason, by=moved.by))
        return after
