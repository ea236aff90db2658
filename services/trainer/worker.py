"""The worker's round: plan jobs, run the oldest, release what passes, keep the lake tidy."""

import asyncio
import shutil
from dataclasses import dataclass, field
from typing import Any

import msgspec

from services.trainer import child
from services.trainer.feedback import Windows, online
from services.trainer.history import Lake
from services.trainer.intake import Intake
from services.trainer.jobs.task import Folder, Outcome, Task
from services.trainer.plan import Planner
from services.trainer.rollout import Rollout
from services.trainer.settings import Settings
from services.trainer.store import Job, Jobs
from shared.contracts.artifact import Artifact
from shared.contracts.envelope import utc
from shared.contracts.errors import Invalid, NotFound, Retryable
from shared.contracts.events import ReleaseChanged
from shared.contracts.ids import uuid7
from shared.contracts.topics import MODELS, wrap
from shared.runtime.app import Ports
from shared.runtime.code import code_version
from shared.runtime.releases import Manifest, Provenance
from shared.runtime.telemetry import log

ROUND_S = 0.5
AGAIN_S = 2.0
CATCH_UP_S = 60.0
TIDY_S = 600.0
SERVICE_NAME = "trainer"

_log = log(__name__)


@dataclass
class Worker:
    """Runs one job at a time, so that two never share the memory of one.

    `lake_in_use` is held while a job reads the lake or files of it are rewritten.
    """

    ports: Ports
    settings: Settings
    lake: Lake
    intake: Intake
    jobs: Jobs
    planner: Planner
    rollout: Rollout
    lake_in_use: asyncio.Lock = field(default_factory=asyncio.Lock)
    erasing: int = field(default=0, init=False)
    """How many erasures want the lake; a running job makes way for them and begins anew."""
    _tidied_at: float = field(default=0.0, init=False)

    async def run(self) -> None:
        """Work for ever; Redis, Kafka or room on the disk is waited for."""
        died = interrupted = True
        while True:
            try:
                if interrupted:
                    await self._recover(died=died)
                    died = interrupted = False
                for due in await self.planner.due():
                    await self.jobs.ask(due)
                job = await self.jobs.next()
                if job is None:
                    await self._idle()
                else:
                    await self._work(job)
            except (Retryable, NotFound, OSError) as away:
                interrupted = True
                _log.warning("the worker waits", reason=str(away))
                await self.ports.clock.sleep(AGAIN_S)

    async def erase(self, people: list[str]) -> dict[str, int]:
        """Remove people from the history; a job that has read them begins anew without them."""
        self.erasing += 1
        try:
            async with self.lake_in_use, self.rollout.reads_lake:
                removed = await asyncio.to_thread(self.lake.erase, people)
        finally:
            self.erasing -= 1
        self.planner.erased()
        return removed

    async def _recover(self, *, died: bool) -> None:
        """Take up what was left halfway: release what was ready, run again what was not.

        Only a worker that `died` over it is held against a job, not one that had to wait.
        """
        for job in await self.jobs.newest():
            if job.state != "running":
                continue
            if self._folder(job).outcome() is not None:
                await self._finish(job)
            elif died and job.attempt >= self.settings.train_attempts:
                await self._end(
                    job, "failed", reason=f"the worker died {job.attempt} times over it"
                )
            else:
                attempt = job.attempt if died else job.attempt - 1
                await self.jobs.save(
                    _changed(job, state="queued", attempt=attempt, phase="waiting", share=0.0)
                )

    async def keep_releases(self) -> None:
        """Watch for ever that Redis has the releases, also while a job runs; a task of the App."""
        while True:
            try:
                for model in self.planner.models:
                    if await self.ports.releases.restore(model):
                        _log.warning("Redis had forgotten the releases", model=model)
            except (Retryable, Invalid, NotFound, OSError) as reason:
                _log.warning("releases not looked after", reason=str(reason))
            await self.ports.clock.sleep(AGAIN_S)

    async def _idle(self) -> None:
        now = self.ports.clock.monotonic()
        if now - self._tidied_at >= TIDY_S:
            self._tidied_at = now
            async with self.lake_in_use, self.rollout.reads_lake:
                await asyncio.to_thread(self.lake.merge)
        await self.ports.clock.sleep(ROUND_S)

    async def _work(self, job: Job) -> None:
        if await self.jobs.cancelled(job.id):
            await self._end(job, "cancelled", reason="before it began")
            return
        self.planner.started(job.job)
        job = await self.jobs.save(
            _changed(
                job,
                state="running",
                started_at=self.ports.clock.now(),
                attempt=job.attempt + 1,
                phase="bring the history up to date",
            )
        )
        if not await self.intake.caught_up(CATCH_UP_S):
            _log.warning("the history is behind; trained on what is there", job=job.id)
        try:
            await self._train(job)
        except child.Cancelled:
            if await self.jobs.cancelled(job.id):
                await self._end(job, "cancelled", reason="while it ran")
            else:
                await self.jobs.save(_changed(job, state="queued", attempt=job.attempt - 1))
        except (Invalid, OSError) as reason:
            await self._end(job, "failed", reason=str(reason))
        else:
            await self._finish(job)

    async def _train(self, job: Job) -> None:
        folder = self._folder(job)
        # There is one job at a time: what else lies there was left by a kill.
        shutil.rmtree(self.settings.jobs_folder, ignore_errors=True)
        bounds = child.Bounds(
            self.settings.train_memory_mib,
            self.settings.train_threads,
            self.settings.train_timeout_s,
        )

        async def tell(phase: str, share: float) -> None:
            await self._try_save(_changed(job, phase=phase, share=share))

        async def still_wanted() -> bool:
            return not self.erasing and not await self._cancelled(job)

        async with self.lake_in_use:
            task, current = await self._task(job)
            await asyncio.to_thread(folder.write_task, task, current)
            await child.run(folder, bounds, tell, still_wanted)

    async def _task(self, job: Job) -> tuple[Task, Artifact | None]:
        current, artifact = await self._current(job.job)
        known = {
            "version": current.version,
            "trained_on": current.trained_on,
            "card": current.card,
        } if current else None  # fmt: skip
        windows = Windows(self.settings.click_minutes, self.settings.purchase_hours)
        figures = (
            await asyncio.to_thread(online, self.lake, current.version, windows) if current else []
        )
        task = Task(
            job=job.job,
            lake=str(self.lake.path.resolve()),
            now_s=self.ports.clock.now(),
            threads=self.settings.train_threads,
            forced=job.forced,
            due=job.due if current else ("there is no release yet",),
            current=known,
            online=figures,
            options=job.options or (current.card.get("options", {}) if current else {}),
        )
        return task, artifact

    async def _current(self, model: str) -> tuple[Manifest | None, Artifact | None]:
        """Return the release in service; nothing of one that is damaged, or it would be the last."""
        pointer = await self.ports.releases.pointer(model)
        manifest = await self._manifest(model, pointer.current) if pointer.current else None
        if manifest is None:
            return None, None
        try:
            return manifest, await self.ports.releases.fetch(manifest)
        except (Invalid, NotFound) as damage:
            _unreadable(model, manifest.version, damage)
            return None, None

    async def _manifest(self, model: str, version: str) -> Manifest | None:
        try:
            return await self.ports.releases.manifest(model, version)
        except (Invalid, NotFound) as damage:
            _unreadable(model, version, damage)
            return None

    async def _finish(self, job: Job) -> None:
        folder = self._folder(job)
        outcome = folder.outcome()
        if outcome is None or outcome.failed is not None or outcome.verdict is None:
            reason = outcome.failed if outcome else "the job left no outcome that can be read"
            await self._end(job, "failed", reason=reason)
        elif outcome.verdict.passed:
            await self._release(job, outcome, folder)
        else:
            await self._refuse(job, outcome)

    async def _release(self, job: Job, outcome: Outcome, folder: Folder) -> None:
        assert outcome.verdict is not None
        why, version = "; ".join(outcome.verdict.reasons), None
        try:
            version = await self._published(job) or await self._publish(job, outcome, folder)
            stage = await self.rollout.begin(job.job, version, job=job.id, reason=why)
        except Invalid as reason:
            await self._end(job, "failed", reason=str(reason), version=version, outcome=outcome)
        else:
            job = _changed(job, stage=stage)
            await self._end(job, "done", version=version, outcome=outcome)

    async def _publish(self, job: Job, outcome: Outcome, folder: Folder) -> str:
        artifact = await asyncio.to_thread(folder.candidate)
        provenance = Provenance(
            trained_on=outcome.trained_on,
            metrics=outcome.metrics,
            card={**outcome.card, "job": job.id},
            golden=outcome.golden,
            code=self.settings.code_version or code_version(SERVICE_NAME),
        )
        return (await self.ports.releases.publish(job.job, artifact, provenance)).version

    async def _published(self, job: Job) -> str | None:
        """Return the version that this job has published already, before its worker died."""
        pointer = await self.ports.releases.pointer(job.job)
        newest = (await self.ports.releases.versions(job.job))[:1]
        for version in filter(None, (*newest, pointer.canary, pointer.current)):
            manifest = await self._manifest(job.job, version)
            if manifest is not None and manifest.card.get("job") == job.id:
                return version
        return None

    async def _refuse(self, job: Job, outcome: Outcome) -> None:
        assert outcome.verdict is not None
        reason = "; ".join(outcome.verdict.reasons)
        now_s = self.ports.clock.now()
        change = ReleaseChanged(
            model=job.job,
            version=f"candidate-of-{job.id}",
            change="refused",
            reason=reason,
            metrics=outcome.metrics,
        )
        envelope = wrap(
            MODELS,
            change,
            id=uuid7(int(now_s * 1000), self.ports.rng.bytes(10)),
            source=SERVICE_NAME,
            time=utc(now_s),
        )
        await self.ports.bus.publish(MODELS, envelope)
        await self._end(job, "refused", reason=reason, outcome=outcome)

    async def _end(
        self,
        job: Job,
        state: str,
        *,
        reason: str | None = None,
        version: str | None = None,
        outcome: Outcome | None = None,
    ) -> None:
        figures = {"verdict": outcome.verdict, "metrics": outcome.metrics} if outcome else {}
        ended = _changed(
            job,
            state=state,
            reason=reason,
            version=version,
            ended_at=self.ports.clock.now(),
            phase="ended",
            share=1.0,
            **figures,
        )
        await self.jobs.save(ended)
        shutil.rmtree(self._folder(job).path, ignore_errors=True)
        _log.info("job ended", job=job.id, kind=job.job, state=state, reason=reason)

    async def _cancelled(self, job: Job) -> bool:
        try:
            return await self.jobs.cancelled(job.id)
        except Retryable:
            return False

    async def _try_save(self, job: Job) -> None:
        try:
            await self.jobs.save(job)
        except Retryable as away:
            _log.warning("progress not stored", job=job.id, reason=str(away))

    def _folder(self, job: Job) -> Folder:
        return Folder(self.settings.jobs_folder / job.id)


def _unreadable(model: str, version: str, damage: Exception) -> None:
    _log.error("a release cannot be read", model=model, version=version, reason=str(damage))


def _changed(job: Job, **fields: Any) -> Job:
    return msgspec.structs.replace(job, **fields)
