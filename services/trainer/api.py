"""HTTP: jobs, releases with their cards, what they brought."""

import asyncio
from typing import Annotated, Any, Literal

import msgspec
from fastapi import APIRouter, Path, Query, Response
from pydantic import BaseModel, ConfigDict, Field

from services.trainer.core.rated import Kind
from services.trainer.feedback import Windows, online, report
from services.trainer.history import Lake
from services.trainer.manifest import SERVICE
from services.trainer.store import OPEN, Canaries, Job, Jobs
from shared.contracts.errors import Invalid, NotFound
from shared.contracts.ids import uuid7
from shared.runtime.app import Ports

JSON = "application/json"


class AskedJob(BaseModel):
    """A job to be run.

    `force` releases the candidate whatever the gate says. `model` and `rank` are for ratings:
    which model is released, from then on also by the schedule. `tune` is for recommend: so many
    recipes are tried, and the best is used from then on.
    """

    model_config = ConfigDict(extra="forbid")

    job: Literal["recommend", "ratings"]
    force: bool = False
    why: str = Field("asked for", max_length=500, description="kept in the model card")
    model: Kind | None = None
    rank: int | None = Field(None, ge=1, le=500, description="factors kept by filled-svd")

    tune: int | None = Field(None, ge=0, le=100, description="recipes tried")

    def options(self) -> dict[str, Any]:
        """Return the job's own options as they were given."""
        given = self.model_dump(include={"model", "rank", "tune"}, exclude_none=True)
        for name in given:
            if (name == "tune") != (self.job == "recommend"):
                raise Invalid(f"is no option of the job {self.job}", field=name)
        return given


def router(ports: Ports, jobs: Jobs, canaries: Canaries, lake: Lake, windows: Windows) -> APIRouter:
    """Return the routes of the manifest."""
    routes = APIRouter()

    @routes.post("/v1/jobs", status_code=202)
    async def ask(asked: AskedJob) -> Response:
        """Queue a job; one of its kind that waits already is returned instead."""
        now_s = ports.clock.now()
        job = Job(
            id=uuid7(int(now_s * 1000), ports.rng.bytes(10)),
            job=asked.job,
            asked_at=now_s,
            by="request",
            due=(asked.why,),
            forced=asked.force,
            options=asked.options(),
        )
        return _json(await jobs.ask(job), status=202)

    @routes.get("/v1/jobs")
    async def listed(limit: Annotated[int, Query(ge=1, le=200)] = 50) -> Response:
        """Return the newest jobs, newest first."""
        return _json({"jobs": await jobs.newest(limit)})

    @routes.get("/v1/jobs/{id}")
    async def one(id: Annotated[str, Path(max_length=64)]) -> Response:
        """Return a job with its progress and outcome."""
        return _json(await jobs.get(id))

    @routes.post("/v1/jobs/{id}/cancel")
    async def cancel(id: Annotated[str, Path(max_length=64)]) -> Response:
        """End a job that waits or runs; it ends within a second or so."""
        job = await jobs.get(id)
        if job.state not in OPEN:
            raise Invalid(f"the job has ended already: {job.state}")
        await jobs.cancel(id)
        return _json(job)

    @routes.get("/v1/models/{name}")
    async def model(name: Annotated[str, Path(max_length=100)]) -> Response:
        """Return the release in service, its card and figures, and the canary beside it.

        `history` tells what became of earlier releases: promoted, taken back, rolled back, and why.
        """
        card = await _card(ports, lake, windows, name)
        return _json({**card, "canary": await canaries.get(name)})

    @routes.get("/v1/reports/feedback")
    async def feedback() -> Response:
        """Return click-through, conversion and revenue per release and scenario, personalised or not."""
        rows = await asyncio.to_thread(report, lake, windows)
        return _json({"windows": msgspec.to_builtins(windows), "rows": rows})

    return routes


async def _card(ports: Ports, lake: Lake, windows: Windows, name: str) -> dict[str, Any]:
    if name not in SERVICE.releases:
        raise NotFound(f"there is no model {name!r}; there are: {', '.join(SERVICE.releases)}")
    pointer = await ports.releases.pointer(name)
    if pointer.current is None:
        raise NotFound(f"{name} has no release yet: POST /v1/jobs trains one")
    manifest = await ports.releases.manifest(name, pointer.current)
    return {
        "model": name,
        "version": manifest.version,
        "pointer": pointer,
        "versions": await ports.releases.versions(name),
        "history": await ports.releases.history(name),
        "created_at": manifest.created_at,
        "parent": manifest.parent,
        "bytes": manifest.contents.bytes,
        "trained_on": manifest.trained_on,
        "metrics": manifest.metrics,
        "card": manifest.card,
        "online": await asyncio.to_thread(online, lake, manifest.version, windows),
    }


def _json(value: Any, *, status: int = 200) -> Response:
    return Response(msgspec.json.encode(value), status_code=status, media_type=JSON)
