"""The worker when what it needs is away or damaged at the worst moment; no model is trained here."""

import asyncio
import itertools
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from services.trainer import child
from services.trainer.core.gate import Verdict
from services.trainer.history import Lake
from services.trainer.jobs.task import Folder, Outcome
from services.trainer.manifest import CANARY, JOB, JOBS, RECOMMEND, REPLICAS, SERVICE
from services.trainer.plan import LOOK_S, Planner
from services.trainer.rollout import Rollout
from services.trainer.settings import Settings
from services.trainer.store import Canaries, Job, Jobs
from services.trainer.worker import Worker
from shared.contracts.artifact import Artifact
from shared.contracts.errors import Invalid, NotFound, Retryable
from shared.runtime.app import Ports
from shared.runtime.bus.memory import MemoryBus
from shared.runtime.privacy import HmacPseudonyms, RedisVault
from shared.runtime.releases import Provenance
from tests.fixtures.redis import memory_kv
from tests.fixtures.service import Surroundings

ARTIFACT = Artifact("toy", {"x": np.arange(3)})
PASSED = Outcome(
    verdict=Verdict(
        decision="promote", reasons=("better",), reference="v1", difference=0.1, low=0.0, high=0.2,
        questions=100,
    ),
)  # fmt: skip
DEADLINE_S = 20.0
CHANGES = frozenset({"set", "zadd", "publish", "promote"})
QUESTIONS = frozenset({"get", "pipeline", "pointer", "versions", "zrange_desc"})


class UpToDate:
    """An intake that is never behind."""

    async def caught_up(self, timeout_s: float) -> bool:
        return True


class Failing:
    """A port of which the n-th call, counted over all ports, fails before or after its effect."""

    def __init__(self, port: Any, fails: Callable[[], bool], *, after: bool) -> None:
        self._port, self._fails, self._after = port, fails, after

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._port, name)
        if name not in CHANGES | QUESTIONS:
            return found

        def call(*args: Any, **kwargs: Any) -> Any:
            if name == "pipeline":
                return found()
            return self._called(found, args, kwargs)

        return call

    async def _called(self, found: Any, args: Any, kwargs: Any) -> Any:
        fails = self._fails()
        if fails and not self._after:
            raise Retryable("away")
        given = await found(*args, **kwargs)
        if fails:
            raise Retryable("the answer got lost")
        return given


class Scene:
    """A worker over ports in memory, whose jobs leave `outcome` at once."""

    def __init__(self, around: Surroundings, monkeypatch: pytest.MonkeyPatch) -> None:
        self.around = around
        self.settings = Settings(
            home=around.folder, train_first_events=10**9, train_every_hours=10**9
        )
        kv = memory_kv(SERVICE, clock=around.clock, server=around.redis)
        self.jobs = Jobs(kv)
        self.kv = kv
        self.ports = Ports(
            bus=MemoryBus(around.broker, SERVICE, clock=around.clock),
            kv=kv,
            releases=around.releases,
            pseudonyms=HmacPseudonyms(b"0" * 16),
            vault=RedisVault(kv, None),
            clock=around.clock,
            rng=np.random.default_rng(1),
        )
        self.ran = 0

        async def run(folder: Folder, *_: Any) -> None:
            self.ran += 1
            folder.write_outcome(PASSED, ARTIFACT)

        monkeypatch.setattr(child, "run", run)

    def fail(self, nth: int, *, after: bool) -> Callable[[], bool]:
        """Let the n-th call fail; return whether it was reached."""
        calls: list[None] = []

        def fails() -> bool:
            calls.append(None)
            return len(calls) == nth

        self.ports = replace(
            self.ports,
            kv=Failing(self.ports.kv, fails, after=after),
            releases=Failing(self.ports.releases, fails, after=after),
        )
        return lambda: len(calls) >= nth

    async def asked(self, **fields: Any) -> None:
        job = Job(id="j1", job=RECOMMEND, asked_at=self.around.clock.now(), by="test")
        await self.jobs.save(msgspec.structs.replace(job, **fields))

    def worker(self) -> Worker:
        lake, ports = Lake(self.settings.lake_folder), self.ports
        jobs, canaries = Jobs(ports.kv), Canaries(ports.kv)
        planner = Planner(ports, self.settings, lake, jobs, canaries)
        rollout = Rollout(ports, self.settings, lake, jobs, canaries)
        intake: Any = UpToDate()
        return Worker(ports, self.settings, lake, intake, jobs, planner, rollout)

    @asynccontextmanager
    async def working(self) -> AsyncIterator[asyncio.Task[None]]:
        task = asyncio.create_task(self.worker().run())
        try:
            yield task
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    async def ended(self, job_id: str = "j1") -> Job:
        """Return the job once it has ended; fails when the worker dies."""
        async with self.working() as task:
            deadline = time.monotonic() + DEADLINE_S
            while time.monotonic() < deadline:
                job = await self.jobs.get(job_id)
                if job.ended_at is not None:
                    await self._next_round()
                    return job
                if task.done():
                    task.result()
                await asyncio.sleep(0.001)
        raise AssertionError(f"the job did not end: {job}")

    async def _next_round(self) -> None:
        """Wait until the worker has done what comes after a job's end, and sleeps."""
        clock = self.around.clock
        async with asyncio.timeout(DEADLINE_S):
            ended_at = clock.now()
            while clock.now() == ended_at:
                await asyncio.sleep(0.001)

    async def released(self) -> str:
        """Publish a release and put it into service."""
        provenance = Provenance(trained_on={}, metrics={}, card={})
        version = (await self.around.releases.publish(RECOMMEND, ARTIFACT, provenance)).version
        epoch = (await self.around.releases.pointer(RECOMMEND)).epoch
        await self.around.releases.promote(RECOMMEND, version, epoch=epoch)
        self.around.clock.advance(1)
        return version


@pytest.fixture
def scene(around: Surroundings, monkeypatch: pytest.MonkeyPatch) -> Scene:
    return Scene(around, monkeypatch)


@pytest.mark.parametrize("after", [False, True])
async def test_an_outage_at_any_call_leaves_no_job_halfway(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, after: bool
) -> None:
    """A job would run for ever in the list, and no model of its kind be trained again."""
    for nth in itertools.count(1):
        scene = Scene(Surroundings(tmp_path / f"{nth}"), monkeypatch)
        await scene.asked()
        reached = scene.fail(nth, after=after)
        job = await scene.ended()
        versions = await scene.around.releases.versions(RECOMMEND)
        pointer = await scene.around.releases.pointer(RECOMMEND)
        assert (job.state, versions, pointer.current) == ("done", [job.version], job.version), nth
        assert job.attempt == 1, nth
        if nth > 15 and not reached():
            return
        assert nth < 100


async def test_outages_are_not_held_against_a_job(scene: Scene) -> None:
    """After three short outages the operator would read that the worker died three times."""
    await scene.asked()
    pointer, tries = scene.around.releases.pointer, itertools.count(1)

    async def often_away(model: str) -> Any:
        if scene.ran == 0 and next(tries) <= 10:
            raise Retryable("away")
        return await pointer(model)

    scene.around.releases.pointer = often_away  # type: ignore[method-assign]
    job = await scene.ended()
    assert (job.state, job.attempt) == ("done", 1)


async def test_a_full_disk_is_waited_for_with_the_candidate(scene: Scene) -> None:
    """An hour of training would be lost, or the worker die again and again over it."""
    await scene.asked()
    publish, tries = scene.around.releases.publish, itertools.count(1)

    async def full(*args: Any) -> Any:
        if next(tries) <= 5:
            raise OSError(28, "No space left on device")
        return await publish(*args)

    scene.around.releases.publish = full  # type: ignore[method-assign]
    assert (await scene.ended()).state == "done"
    assert scene.ran == 1


async def test_what_cannot_be_published_fails_with_the_reason(scene: Scene) -> None:
    """A trainer without the signing key would end and begin again for ever, without a word."""
    await scene.asked()

    async def keyless(*args: Any) -> Any:
        raise Invalid("trainer has no key to sign releases with")

    scene.around.releases.publish = keyless  # type: ignore[method-assign]
    job = await scene.ended()
    assert (job.state, job.reason) == ("failed", "trainer has no key to sign releases with")
    assert not list(scene.settings.jobs_folder.iterdir())


@pytest.mark.parametrize("content", [b"", b"{", b'{"verdict": {"decision": "maybe"}}', b'"\xff"'])
async def test_an_outcome_that_cannot_be_read_is_none(scene: Scene, content: bytes) -> None:
    """After a power failure or an upgrade the worker would die at every start."""
    await scene.asked(state="running", attempt=1)
    folder = scene.settings.jobs_folder / "j1"
    folder.mkdir(parents=True)
    (folder / "outcome.json").write_bytes(content)
    job = await scene.ended()
    assert (job.state, job.attempt, scene.ran) == ("done", 2, 1)


@pytest.mark.parametrize("name", ["candidate.json", "candidate.content"])
@pytest.mark.parametrize("content", [None, b"", b'{"kind": "\xff"}'])
async def test_a_damaged_candidate_fails_with_the_reason(
    scene: Scene, name: str, content: bytes | None
) -> None:
    """After a power failure the worker would die at every start."""
    await scene.asked(state="running", attempt=1)
    folder = Folder(scene.settings.jobs_folder / "j1")
    folder.path.mkdir(parents=True)
    folder.write_outcome(PASSED, ARTIFACT)
    (folder.path / name).unlink() if content is None else (folder.path / name).write_bytes(content)
    job = await scene.ended()
    assert job.state == "failed"
    assert job.reason
    assert await scene.around.releases.versions(RECOMMEND) == []


@pytest.mark.parametrize("damaged", ["manifest", "fetch"])
@pytest.mark.parametrize("error", [Invalid("a chunk is wrong"), NotFound("no release")])
async def test_a_damaged_release_does_not_keep_the_next_one_away(
    scene: Scene, damaged: str, error: Exception
) -> None:
    """What only a new release can heal would keep every new release from being made."""
    live = await scene.released()
    read = getattr(scene.around.releases, damaged)

    async def broken(*args: Any) -> Any:
        named = args[-1] if damaged == "manifest" else args[0].version
        if named == live:
            raise error
        return await read(*args)

    setattr(scene.around.releases, damaged, broken)
    scene.settings = scene.settings.model_copy(update={"train_every_hours": 24})
    planner = scene.worker().planner
    scene.around.clock.advance(LOOK_S)
    due = [job.due for job in await planner.due() if job.job == RECOMMEND]
    assert due == ([("24 hours have passed",)] if damaged == "manifest" else [])
    await scene.asked()
    job = await scene.ended()
    assert job.state == "done"
    assert (await scene.around.releases.pointer(RECOMMEND)).current == job.version != live


@pytest.mark.parametrize("raw", [b"", b"{", b'{"id": "j0"}', b'{"state": "dreaming"}', b'"\xff"'])
async def test_records_of_other_code_are_none(scene: Scene, raw: bytes) -> None:
    """After an upgrade the worker would die at every start, and the list of jobs be an error."""
    await scene.kv.set(JOB, "j0", value=raw)
    await scene.kv.zadd(JOBS, scores={"j0": 1.0})
    await scene.kv.set(CANARY, RECOMMEND, value=raw)
    await scene.kv.hset(REPLICAS, RECOMMEND, "v1", values={"shop@1": raw})
    await scene.asked()
    assert (await scene.ended()).state == "done"
    assert [job.id for job in await scene.jobs.newest()] == ["j1"]
    with pytest.raises(NotFound):
        await scene.jobs.get("j0")
    assert await Canaries(scene.kv).get(RECOMMEND) is None
    assert await Canaries(scene.kv).said(RECOMMEND, "v1") == {}


@pytest.mark.parametrize(
    ("error", "state"),
    [(Invalid("it took too long"), "failed"), (child.Cancelled(), "cancelled"), (OSError(28), "failed")],
)  # fmt: skip
async def test_an_ended_job_leaves_nothing_on_the_disk(
    scene: Scene, monkeypatch: pytest.MonkeyPatch, error: Exception, state: str
) -> None:
    """Each failed training would keep a copy of the release in service, until the disk is full."""

    async def die(folder: Folder, *_: Any) -> None:
        assert (folder.path / "current.content").exists()
        await scene.jobs.cancel("j1")
        raise error

    left = scene.settings.jobs_folder / "of-a-killed-worker"
    left.mkdir(parents=True)
    await scene.released()
    await scene.asked()
    monkeypatch.setattr(child, "run", die)
    assert (await scene.ended()).state == state
    assert not list(scene.settings.jobs_folder.iterdir())


@pytest.mark.parametrize(("task", "asks"), [("keep_releases", "restore"), ("rollout", "pointer")])
@pytest.mark.parametrize("error", [Retryable("away"), Invalid("damaged"), OSError(28, "full")])
async def test_those_who_look_after_releases_go_on(
    scene: Scene, task: str, asks: str, error: Exception
) -> None:
    """An outage or a full disk would end the worker, and with it all that runs beside it."""
    tries, again = itertools.count(), asyncio.Event()

    async def fail(model: str) -> None:
        if next(tries) > 3:
            again.set()
        raise error

    setattr(scene.around.releases, asks, fail)
    worker = scene.worker()
    run = worker.keep_releases if task == "keep_releases" else worker.rollout.run
    running = asyncio.create_task(run())
    waiting = asyncio.create_task(again.wait())
    await asyncio.wait({running, waiting}, timeout=DEADLINE_S, return_when=asyncio.FIRST_COMPLETED)
    running.cancel()
    assert again.is_set()
