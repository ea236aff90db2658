"""A serving service's side: follow the pointer, verify, load beside, test, swap."""

import asyncio
import math
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from typing import Generic, Protocol, TypeVar

from shared.contracts.artifact import Artifact
from shared.contracts.errors import Invalid, NotFound, Retryable
from shared.contracts.events import ReleaseChanged
from shared.contracts.events.decisions import Rung
from shared.runtime import metrics
from shared.runtime.clock import Clock
from shared.runtime.releases.folder import ReleaseFolder
from shared.runtime.releases.package import Package
from shared.runtime.releases.pointer import gets_canary
from shared.runtime.releases.port import Loaded, Manifest, Pointer, Smoke
from shared.runtime.releases.report import MAX_REASON, Report, change_of, tell, unreported
from shared.runtime.telemetry import log

M = TypeVar("M")
Wait = Callable[[float], Awaitable[None]]
"""Returns when a change was announced, or after so many seconds."""

POLL_S = 2.0
STALE_AFTER_S = 30.0
TRY_AGAIN_S = 60.0
"""A refused release is looked at again after this, since a publisher may have repaired it."""

_log = log(__name__)


class Source(Protocol):
    """Where a follower reads releases; all raise `Retryable` when it is away."""

    async def pointer(self, model: str) -> Pointer:
        """Return the pointer."""
        ...

    async def package(self, model: str, version: str) -> Package:
        """Return a verified release; `NotFound` or `Invalid`."""
        ...

    def hints(self, model: str) -> AbstractAsyncContextManager[Wait]:
        """Give a function that waits for a change to be announced."""
        ...


@dataclass(frozen=True)
class _Live(Generic[M]):
    model: M
    manifest: Manifest
    from_disk: bool


@dataclass(frozen=True)
class _Refusal:
    reason: str
    at: float


@dataclass
class Follower(Generic[M]):
    """Keeps a verified model in service; what is in service only ever gives way to a better one.

    A release is refused, and the one in service kept, when its signature, model, shapes, hashes
    or golden answers are wrong.

    Parameters
    ----------
    model : str
    source : Source
    load, smoke : callables
        Run in a thread beside the serving loop; whatever they raise is a refusal.
    cache : ReleaseFolder
        Keeps the release in service for a start without Redis.
    clock, report
    """

    model: str
    source: Source
    load: Callable[[Artifact], M]
    smoke: Smoke[M]
    cache: ReleaseFolder
    clock: Clock
    report: Report = unreported
    _live: _Live[M] | None = field(default=None, init=False)
    _canary: _Live[M] | None = field(default=None, init=False)
    _percent: int = field(default=0, init=False)
    _confirmed_at: float | None = field(default=None, init=False)
    _away: bool = field(default=False, init=False)
    _shown: tuple[str, str, str] | None = field(default=None, init=False)
    _refused: dict[str, _Refusal] = field(default_factory=dict, init=False)

    @property
    def current(self) -> Loaded[M] | None:
        """The release to answer with now; None only if none was ever seen, on disk neither."""
        return None if self._live is None else self._loaded(self._live)

    def for_user(self, user: str | None) -> Loaded[M] | None:
        """As `current`, or the canary for its share of users (by hash)."""
        canary = self._canary
        if canary is None or user is None:
            return self.current
        chosen = gets_canary(canary.manifest.version, user, self._percent)
        return self._loaded(canary) if chosen else self.current

    @property
    def refused(self) -> dict[str, str]:
        """Versions that were not taken into service, and why."""
        return {version: refusal.reason for version, refusal in self._refused.items()}

    async def run(self) -> None:
        """Poll, fetch, verify, load, smoke-test and swap for ever; a task of the App."""
        await self.load_from_disk()
        while True:
            try:
                async with self.source.hints(self.model) as wait:
                    await self.synchronise()
                    self._within_reach(None)
                    while True:
                        await wait(POLL_S)
                        await self.synchronise()
            except (Retryable, Invalid) as away:
                self._within_reach(str(away))
                await self.clock.sleep(POLL_S)

    def _within_reach(self, problem: str | None) -> None:
        if problem is not None and not self._away:
            _log.warning("releases out of reach", model=self.model, reason=problem)
        if problem is None and self._away:
            _log.info("releases within reach again", model=self.model)
        self._away = problem is not None

    async def load_from_disk(self) -> None:
        """Take the newest whole release that this service kept, if there is one."""
        for version in await asyncio.to_thread(self.cache.versions, self.model):
            try:
                package = await asyncio.to_thread(self.cache.package, self.model, version)
                self._live = await asyncio.to_thread(self._checked, package, True)
            except (Invalid, NotFound) as damage:
                _log.warning("kept release refused", version=version, reason=str(damage))
            else:
                return

    async def synchronise(self) -> None:
        """Bring what is in service in line with the pointer, once."""
        try:
            pointer = await self.source.pointer(self.model)
            if pointer.current is not None:
                await self._take_current(pointer.current)
            await self._take_canary(pointer)
            self._forgive({pointer.current, pointer.canary})
        finally:
            self._measure()

    async def _take_current(self, version: str) -> None:
        if self._live is None or self._live.manifest.version != version:
            taken = await self._acquire(version, keep=True)
            if taken is None:
                if self._confirmed_at is not None:
                    self._confirmed_at = -math.inf
                return
            self._live = taken
        self._confirmed_at = self.clock.monotonic()

    async def _take_canary(self, pointer: Pointer) -> None:
        wanted = pointer.canary if pointer.canary != pointer.current else None
        if wanted is None:
            self._canary = None
        elif self._canary is None or self._canary.manifest.version != wanted:
            self._canary = await self._acquire(wanted, keep=False)
        self._percent = pointer.canary_percent

    def _forgive(self, named: set[str | None]) -> None:
        """Forget refusals of what is no longer asked for: asked for again, it is reported anew."""
        self._refused = {v: refusal for v, refusal in self._refused.items() if v in named}

    async def _acquire(self, version: str, *, keep: bool) -> _Live[M] | None:
        before = self._refused.get(version)
        began = self.clock.monotonic()
        if before is not None and began - before.at < TRY_AGAIN_S:
            return None
        try:
            package = await self.source.package(self.model, version)
            live = await asyncio.to_thread(self._checked, package, False)
        except (Invalid, NotFound) as refusal:
            await self._refuse(version, str(refusal))
            return None
        self._refused.pop(version, None)
        metrics.MODEL_SWAPS.labels(self.model, "loaded").inc()
        metrics.MODEL_LOAD_SECONDS.labels(self.model).observe(self.clock.monotonic() - began)
        if keep:
            await asyncio.to_thread(self._keep, package)
        await tell(self.report, change_of(package.manifest, "loaded"))
        return live

    def _checked(self, package: Package, from_disk: bool) -> _Live[M]:
        try:
            model = self.load(package.artifact())
            wrong = self.smoke(model, package.manifest.golden)
        except Invalid:
            raise
        except Exception as error:
            # Whatever a model's code trips over, the release in service must go on answering.
            raise Invalid(f"the model cannot be loaded: {type(error).__name__}: {error}") from error
        if wrong is not None:
            raise Invalid(f"golden examples: {wrong}")
        return _Live(model, package.manifest, from_disk)

    def _keep(self, package: Package) -> None:
        try:
            self.cache.save(package)
            self.cache.prune(self.model, {package.manifest.version})
        except OSError as error:
            _log.warning("release not kept on disk", model=self.model, reason=str(error))

    async def _refuse(self, version: str, reason: str) -> None:
        before = self._refused.get(version)
        self._refused[version] = _Refusal(reason, self.clock.monotonic())
        if before is None or before.reason != reason:
            metrics.MODEL_SWAPS.labels(self.model, "refused").inc()
            _log.error("release refused", model=self.model, version=version, reason=reason)
            change = ReleaseChanged(
                model=self.model, version=version, change="rejected", reason=reason[:MAX_REASON]
            )
            await tell(self.report, change)

    def _measure(self) -> None:
        now = self.current
        shown = None if now is None else (self.model, now.version, now.rung)
        if self._shown is not None and shown != self._shown:
            metrics.MODEL_INFO.remove(*self._shown)
        self._shown = shown
        metrics.DEGRADED.labels(self.model).set(now is None or now.rung != "current")
        if now is not None:
            metrics.MODEL_INFO.labels(self.model, now.version, now.rung).set(1)
            metrics.MODEL_AGE_SECONDS.labels(self.model).set(now.age_s)

    def _loaded(self, live: _Live[M]) -> Loaded[M]:
        age_s = max(self.clock.now() - live.manifest.created_at, 0.0)
        return Loaded(live.model, live.manifest.version, self._rung(live), age_s, live.manifest)

    def _rung(self, live: _Live[M]) -> Rung:
        if self._confirmed_at is None:
            return "disk" if live.from_disk else "stale"
        fresh = self.clock.monotonic() - self._confirmed_at <= STALE_AFTER_S
        return "current" if fresh else "stale"
