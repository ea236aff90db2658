"""Jobs in Redis: asked for by the facade, worked off by the worker."""

from typing import Any, Literal

import msgspec
from msgspec import Struct

from services.trainer.core.gate import Verdict
from services.trainer.manifest import CANCELLED, JOB, JOBS
from shared.contracts.errors import NotFound
from shared.runtime.kv import KeyValue

State = Literal["queued", "running", "done", "refused", "failed", "cancelled"]
KEPT = 200
OPEN: tuple[State, ...] = ("queued", "running")


class Job(Struct, frozen=True, kw_only=True):
    """One job. Times are seconds since 1970.

    `state`: done means released; refused that the gate kept the release in service; failed that
    there is no candidate, with the `reason`. `phase` and `share` in [0, 1] tell how far it is.
    `due` are reasons to renew a release that is as good. `options` are the job's own.
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
    verdict: Verdict | None = None
    metrics: dict[str, float] = {}


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
        raw = await self._kv.get(JOB, job_id)
        if raw is None:
            raise NotFound(f"there is no job {job_id!r}")
        return msgspec.json.decode(raw, type=Job)

    async def newest(self, count: int = KEPT) -> list[Job]:
        """Return the newest jobs, newest first."""
        ids = [member.decode() for member, _ in await self._kv.zrange_desc(JOBS, count=count)]
        pipeline = self._kv.pipeline()
        for job_id in ids:
            pipeline.get(JOB, job_id)
        found = await pipeline.execute() if ids else []
        return [msgspec.json.decode(raw, type=Job) for raw in found if raw is not None]

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
