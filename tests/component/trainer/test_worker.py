"""What becomes of jobs when the worker dies, the gate refuses, or time passes."""

from collections.abc import Awaitable, Callable

import msgspec
import numpy as np

from services.trainer.core.gate import Verdict
from services.trainer.jobs.task import Folder, Outcome
from services.trainer.manifest import SERVICE
from services.trainer.plan import LOOK_S, Planner
from services.trainer.settings import Settings
from services.trainer.store import Canaries, Canary, Job, Jobs
from shared.contracts.artifact import Artifact
from shared.contracts.topics import MODELS
from shared.runtime.app import Ports
from shared.runtime.releases import Provenance
from tests.component.trainer.conftest import START_S, Trainer
from tests.fixtures.redis import memory_kv
from tests.fixtures.service import Surroundings

Start = Callable[..., Awaitable[Trainer]]
Shop = Callable[[], Awaitable[None]]
ARTIFACT = Artifact("toy", {"x": np.arange(3)})


def verdict(decision: str, *reasons: str) -> Verdict:
    return Verdict(
        decision=decision,  # type: ignore[arg-type]
        reasons=reasons, reference="v1", difference=0.0, low=0.0, high=0.0, questions=100,
    )  # fmt: skip


async def left_behind(around: Surroundings, job: Job, outcome: Outcome | None = None) -> Jobs:
    """Leave what a dead worker leaves."""
    jobs = Jobs(memory_kv(SERVICE, clock=around.clock, server=around.redis))
    await jobs.save(job)
    if outcome is not None:
        folder = Folder(Settings(home=around.folder).jobs_folder / job.id)
        folder.path.mkdir(parents=True)
        folder.write_outcome(outcome, ARTIFACT)
    return jobs


def running_job(**fields: object) -> Job:
    job = Job(id="j1", job="recommend", state="running", asked_at=START_S, by="request", attempt=1)
    return msgspec.structs.replace(job, **fields)


async def test_a_job_whose_worker_died_runs_again(
    trainer: Start, shop: Shop, around: Surroundings
) -> None:
    """A restart would leave a job running for ever in the list, and no model."""
    await shop()
    await left_behind(around, running_job(due=("asked for",)))
    job = await (await trainer()).ended("j1")
    assert (job["state"], job["attempt"]) == ("done", 2)


async def test_a_job_that_kills_its_worker_is_given_up(
    trainer: Start, shop: Shop, around: Surroundings
) -> None:
    """One poisonous job would restart the worker for ever."""
    await shop()
    await left_behind(around, running_job(attempt=3))
    job = await (await trainer()).ended("j1")
    assert job["state"] == "failed"
    assert "died 3 times" in job["reason"]


async def test_a_finished_candidate_is_released_without_training_again(
    trainer: Start, around: Surroundings
) -> None:
    """A crash in the last second would cost an hour of training."""
    await left_behind(around, running_job(), Outcome(verdict=verdict("promote", "better")))
    job = await (await trainer()).ended("j1")
    assert job["state"] == "done"
    pointer = await around.releases.pointer("recommend")
    assert pointer.current == job["version"]
    assert (await around.releases.manifest("recommend", job["version"])).code


async def test_what_was_released_already_is_not_released_twice(
    trainer: Start, around: Surroundings
) -> None:
    """A crash between promoting and noting it would move the roll-back target away."""
    provenance = Provenance(trained_on={}, metrics={}, card={"job": "j1"})
    version = (await around.releases.publish("recommend", ARTIFACT, provenance)).version
    await around.releases.promote("recommend", version, epoch=0)
    await left_behind(around, running_job(), Outcome(verdict=verdict("promote", "better")))
    job = await (await trainer()).ended("j1")
    assert job["version"] == version
    assert (await around.releases.pointer("recommend")).epoch == 1


async def test_what_was_published_already_is_not_published_twice(
    trainer: Start, around: Surroundings
) -> None:
    """Each crash between publishing and promoting would leave a release that nobody uses."""
    provenance = Provenance(trained_on={}, metrics={}, card={"job": "j1"})
    version = (await around.releases.publish("recommend", ARTIFACT, provenance)).version
    await left_behind(around, running_job(), Outcome(verdict=verdict("promote", "better")))
    job = await (await trainer()).ended("j1")
    assert (job["version"], job["stage"]) == (version, "in service")
    assert await around.releases.versions("recommend") == [version]


async def test_a_refused_candidate_is_reported_and_not_released(
    trainer: Start, around: Surroundings
) -> None:
    """A worse model would go live; or nobody would learn that training is in vain."""
    outcome = Outcome(verdict=verdict("refuse", "worse than v1"), metrics={"ndcg@10": 0.1})
    await left_behind(around, running_job(), outcome)
    running = await trainer()
    job = await running.ended("j1")
    assert (job["state"], job["reason"]) == ("refused", "worse than v1")
    (told,) = running.worker.published(MODELS)
    assert (told.data.change, told.data.reason) == ("refused", "worse than v1")
    assert (await around.releases.pointer("recommend")).current is None


async def test_a_second_request_joins_the_one_that_waits(around: Surroundings) -> None:
    """An impatient operator would queue ten trainings."""
    jobs = await left_behind(around, running_job(id="a"))
    first = await jobs.ask(running_job(id="b", state="queued"))
    second = await jobs.ask(running_job(id="c", state="queued"))
    assert (first.id, second.id) == ("b", "b")


async def planner(around: Surroundings, ports: Ports, **given: object) -> Planner:
    from services.trainer.history import Lake

    settings = Settings(home=around.folder, **given)  # type: ignore[arg-type]
    return Planner(ports, settings, Lake(settings.lake_folder), Jobs(ports.kv), Canaries(ports.kv))


async def reasons(plan: Planner, around: Surroundings) -> list[str]:
    around.clock.advance(LOOK_S)
    return [reason for job in await plan.due() if job.job == "recommend" for reason in job.due]


async def test_models_are_due_by_time_events_and_erasures(
    trainer: Start, around: Surroundings
) -> None:
    """A shop's model would grow old, or be trained without end."""
    ports = (await trainer()).http.ports
    plan = await planner(around, ports, train_every_hours=24, train_after_events=100)
    assert await reasons(plan, around) == []
    provenance = Provenance(trained_on={}, metrics={}, card={})
    version = (await around.releases.publish("recommend", ARTIFACT, provenance)).version
    await around.releases.promote("recommend", version, epoch=0)
    plan.received(99)
    assert await reasons(plan, around) == []
    plan.received(1)
    assert await reasons(plan, around) == ["100 new events"]
    plan.started("recommend")
    assert await reasons(plan, around) == []
    plan.erased()
    assert await reasons(plan, around) == ["a person was erased"]
    plan.started("recommend")
    around.clock.advance(24 * 3600)
    assert await reasons(plan, around) == ["24 hours have passed"]


async def test_nothing_is_due_while_a_canary_is_on_its_way(
    trainer: Start, around: Surroundings
) -> None:
    """A busy shop would begin each trial anew, and no release would ever come into service."""
    ports = (await trainer()).http.ports
    plan = await planner(around, ports, train_after_events=100)
    provenance = Provenance(trained_on={}, metrics={}, card={})
    version = (await around.releases.publish("recommend", ARTIFACT, provenance)).version
    await around.releases.promote("recommend", version, epoch=0)
    plan.received(100)
    on_its_way = Canary(
        model="recommend", version="2", epoch=2, percent=10, began_at=0, stage_at=0, job="j1"
    )
    await plan.canaries.save(on_its_way)
    assert await reasons(plan, around) == []
    await plan.canaries.save(msgspec.structs.replace(on_its_way, job=None))
    assert await reasons(plan, around) == ["100 new events"]


async def test_a_candidate_that_passed_is_led_on_as_a_canary(
    trainer: Start, around: Surroundings
) -> None:
    """What passed the gate would go to all shoppers, though some were to try it first."""
    provenance = Provenance(trained_on={}, metrics={}, card={})
    live = (await around.releases.publish("recommend", ARTIFACT, provenance)).version
    await around.releases.promote("recommend", live, epoch=0)
    around.clock.advance(1)
    await left_behind(around, running_job(), Outcome(verdict=verdict("promote", "better")))
    running = await trainer(canary_percent=10, canary_hours=10**6)
    job = await running.ended("j1")
    assert (job["state"], job["stage"]) == ("done", "tried by replicas"), job
    pointer = await around.releases.pointer("recommend")
    assert (pointer.current, pointer.canary) == (live, job["version"])
    card = await running.get("/v1/models/recommend")
    assert card["canary"]["version"] == job["version"]
    assert [move["change"] for move in card["history"]] == ["canary", "promoted"]
