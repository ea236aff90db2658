"""Jobs in Redis: asked for by the facade, worked off by the worker."""

from typing import Any, Literal, TypeVar

import msgspec
from msgspec import Struct

from services.trainer.core.canary import Finding
from services.trainer.core.gate import Verdict
from services.trainer.manifest import CANARY, CANCELLED, JOB, JOBS, REPLICAS
from shared.contracts.errors import NotFound
from shared.runtime.kv import KeyValue

R = TypeVar("R")
State = Literal["queued", "running", "done", "refused", "failed", "cancelled"]
Stage = Literal["tried by replicas", "canary", "in service", "taken back", "replaced"]
"""How far a release has come from the gate to everybody."""
KEPT = 200
OPEN: tuple[State, ...] = ("queued", "running")


class Job(Struct, frozen=True, kw_only=True):
    """One job. Times are seconds since 1970.

    `state`: done means released; refused that the gate kept the release in service; failed that
    there is no candidate, with the `reason`. `phase` and `share` in [0, 1] tell how far it is.
    `due` are reasons to renew a release that is as good. `options` are the job's own. `stage` is
    how far its release has come since, and `stage_reason` why.
    """

    id: str
    job: str
    state: State = "queued"
    asked_at: float
    by: str
    due: tuple[str, ...] = ()
    forced: bool = False
    options: dict[str, Any] = {}
    started_at: float | None = None
    ended_at: float | None = None
    attempt: int = 0
    phase: str = "waiting"
    share: float = 0.0
    reason: str | None = None
    version: str | None = None
    stage: Stage | None = None
    stage_reason: str | None = None
    verdict: Verdict | None = None
    metrics: dict[str, float] = {}


class Canary(Struct, frozen=True, kw_only=True):
    """A release beside the one in service. Times are seconds since 1970.

    `epoch` is the pointer's, so that what somebody else did to it is seen. `percent` of the
    shoppers get it; at 0 replicas try whether they can load it. `job` made it; None for a canary
    that was set by hand, which is guarded and not led on. `lists` of it were shown to `shoppers`.
    """

    model: str
    version: str
    epoch: int
    percent: int
    began_at: float
    stage_at: float
    job: str | None = None
    lists: int = 0
    shoppers: int = 0
    finding: Finding | None = None


class Said(Struct, frozen=True, kw_only=True):
    """What a replica said of a release: that it loaded it, or why it `refused`."""

    at: float
    refused: str | None = None


class Canaries:
    """The canary of each model; every method raises `Retryable` when Redis is away.

    A record that other code left, and that cannot be read, is none; so it is for `Jobs`.
    """

    def __init__(self, kv: KeyValue) -> None:
        self._kv = kv

    async def get(self, model: str) -> Canary | None:
        """Return it, if there is one."""
        return _read(await self._kv.get(CANARY, model), Canary)

    async def save(self, canary: Canary) -> Canary:
        """Store it."""
        await self._kv.set(CANARY, canary.model, value=msgspec.json.encode(canary))
        return canary

    async def forget(self, canary: Canary) -> None:
        """Remove it, and what replicas said of it."""
        await self._kv.delete(REPLICAS, canary.model, canary.version)
        await self._kv.delete(CANARY, canary.model)

    async def note(self, model: str, version: str, replica: str, said: Said) -> None:
        """Keep the last that a replica said of a release."""
        await self._kv.hset(REPLICAS, model, version, values={replica: msgspec.json.encode(said)})

    async def said(self, model: str, version: str) -> dict[str, Said]:
        """Return replica to what it said last."""
        found = await self._kv.hgetall(REPLICAS, model, version)
        said = {replica.decode(): _read(raw, Said) for replica, raw in found.items()}
        return {replica: one for replica, one in said.items() if one is not None}


class Jobs:
    """The newest jobs; every method raises `Retryable` when Redis is away."""

    def __init__(self, kv: KeyValue) -> None:
        self._kv = kv

    async def save(self, job: Job) -> Job:
        """Store it."""
        await self._kv.set(JOB, job.id, value=msgspec.json.encode(job))
        await self._kv.zadd(JOBS, scores={job.id: job.asked_at})
        await self._kv.ztrim(JOBS, keep=KEPT)
        return job

    async def get(self, job_id: str) -> Job:
        """Return it, or raise `NotFound`."""
        job = _read(await self._kv.get(JOB, job_id), Job)
        if job is None:
            raise NotFound(f"there is no job {job_id!r}")
        return job

    async def newest(self, count: int = KEPT) -> list[Job]:
        """Return the newest jobs, newest first."""
        ids = [member.decode() for member, _ in await self._kv.zrange_desc(JOBS, count=count)]
        pipeline = self._kv.pipeline()
        for job_id in ids:
            pipeline.get(JOB, job_id)
        found = await pipeline.execute() if ids else []
        return [job for raw in found if (job := _read(raw, Job)) is not None]

    async def ask(self, job: Job) -> Job:
        """Queue it, or return the one of its kind that waits already."""
        for waiting in await self.newest():
            if waiting.job == job.job and waiting.state == "queued":
                return waiting
        return await self.save(job)

    async def next(self) -> Job | None:
        """Return the job that waits longest, if any does."""
        waiting = [job for job in await self.newest() if job.state == "queued"]
        return waiting[-1] if waiting else None

    async def cancel(self, job_id: str) -> None:
        """Note that the job is to end."""
        await self._kv.set(CANCELLED, job_id, value=b"1")

    async def cancelled(self, job_id: str) -> bool:
        """Whether somebody wants the job to end."""
        return await self._kv.get(CANCELLED, job_id) is not None


def _read(raw: bytes | None, kind: type[R]) -> R | None:
    try:
        return None if raw is None else msgspec.json.decode(raw, type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None
