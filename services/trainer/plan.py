"""When a model is trained again without anybody asking."""

import asyncio
from dataclasses import dataclass, field

import polars as pl

from services.trainer.history import Lake
from services.trainer.manifest import RATINGS, RECOMMEND
from services.trainer.settings import Settings
from services.trainer.store import OPEN, Canaries, Job, Jobs
from shared.contracts.errors import Invalid, NotFound
from shared.contracts.ids import uuid7
from shared.runtime.app import Ports

HOUR_S = 3600.0
LEAST_GAP_S = 600.0
"""Between two jobs of one model that nobody asked for."""
LOOK_S = 5.0


@dataclass
class Planner:
    """Names the jobs that are due: by time, by new events, because a person was erased.

    The first release of a model is due once there are `train_first_events` events. While a canary
    is on its way nothing is due: it is decided within `canary_hours`.
    """

    ports: Ports
    settings: Settings
    lake: Lake
    jobs: Jobs
    canaries: Canaries
    models: tuple[str, ...] = (RECOMMEND, RATINGS)
    _new: dict[str, int] = field(default_factory=dict, init=False)
    _erased: set[str] = field(default_factory=set, init=False)
    _looked_at: float = field(default=float("-inf"), init=False)

    def received(self, count: int) -> None:
        """Take note of new events in the lake."""
        for model in self.models:
            self._new[model] = self._new.get(model, 0) + count

    def erased(self) -> None:
        """Take note that somebody was forgotten."""
        self._erased.update(self.models)

    def started(self, model: str) -> None:
        """Begin to count anew: a job of the model runs."""
        self._new[model] = 0
        self._erased.discard(model)

    async def due(self) -> list[Job]:
        """Return the jobs to be asked for now; looks every few seconds only."""
        now = self.ports.clock.monotonic()
        if now - self._looked_at < LOOK_S:
            return []
        self._looked_at = now
        jobs = await self.jobs.newest()
        found = []
        for model in self.models:
            reasons = await self._reasons(model, [job for job in jobs if job.job == model])
            if not reasons:
                continue
            if await asyncio.to_thread(self._has_material, model):
                found.append(self._job(model, reasons))
        return found

    async def _reasons(self, model: str, jobs: list[Job]) -> list[str]:
        if any(job.state in OPEN for job in jobs):
            return []
        now_s, new = self.ports.clock.now(), self._new.get(model, 0)
        last_s = max((job.asked_at for job in jobs), default=float("-inf"))
        if now_s - last_s < LEAST_GAP_S:
            return []
        canary = await self.canaries.get(model)
        if canary is not None and canary.job is not None:
            # Each new release would begin the trial anew, and none would ever come into service.
            return []
        pointer = await self.ports.releases.pointer(model)
        if pointer.current is None:
            events = await asyncio.to_thread(self._first, model, last_s)
            return ["there is no release yet"] if events >= self.settings.train_first_events else []
        made_s = await self._made_s(model, pointer.current)
        reasons = []
        if now_s - max(made_s, last_s) >= self.settings.train_every_hours * HOUR_S:
            reasons.append(f"{self.settings.train_every_hours:g} hours have passed")
        if new >= self.settings.train_after_events:
            reasons.append(f"{new} new events")
        if model in self._erased:
            reasons.append("a person was erased")
        return reasons

    async def _made_s(self, model: str, version: str) -> float:
        try:
            return (await self.ports.releases.manifest(model, version)).created_at
        except (Invalid, NotFound):
            # As old as can be: it cannot be read any more, and only another one heals that.
            return 0.0

    def _first(self, model: str, last_s: float) -> int:
        """Return the events that speak for a first try, or for another after a failed one."""
        if last_s > float("-inf"):
            return self._new.get(model, 0)
        rows = [self.lake.scan(topic).select(pl.len()) for topic in ("behaviour", "orders")]
        return sum(int(frame.collect().item()) for frame in rows)

    def _has_material(self, model: str) -> bool:
        if model != RATINGS:
            return True
        rated = self.lake.scan("behaviour").filter(pl.col("rating").is_not_null()).head(1)
        return rated.collect().height > 0

    def _job(self, model: str, reasons: list[str]) -> Job:
        now_s = self.ports.clock.now()
        return Job(
            id=uuid7(int(now_s * 1000), self.ports.rng.bytes(10)),
            job=model,
            asked_at=now_s,
            by="schedule",
            due=tuple(reasons),
        )
