"""A release made of what was loaded, and until it is served."""

import time
from collections.abc import Mapping
from typing import Any

import msgspec

from shared.contracts.errors import Invalid, Retryable
from shared.tools.demo.doors import Doors, wait_for
from shared.tools.demo.steps import Step, Steps

MODEL = "recommend"
WHY = "the demo asked for it"
OPEN = frozenset({"queued", "running"})
SERVED_S = 60.0
K = 10
LOOK_S = 0.2


class Trained(msgspec.Struct, frozen=True, kw_only=True):
    """The release in service after a training.

    `state` is the job's: done, or refused where the gate kept the older release for `reason`.
    `offline` holds, by scorer (``candidate``, ``popularity``, each model alone), the figures on the
    newest part of the history, which the tried models had not seen; `asked` shoppers each.
    `phases` are the seconds of the job's phases, to a fifth of a second.
    """

    version: str
    state: str
    reason: str | None
    asked: int
    offline: dict[str, Any]
    verdict: dict[str, Any]
    trained_on: dict[str, Any]
    seconds: float
    phases: dict[str, float]


def train(doors: Doors, steps: Steps) -> Trained:
    """Ask for a training and show how far it is until it has ended.

    Raises
    ------
    Invalid
        It failed; the text says why.
    """
    words, began = steps.words, time.perf_counter()
    with steps.step("train") as step:
        asked = str(doors.job(MODEL, WHY)["id"])
        phases: dict[str, float] = {}
        job = _ended(doors, asked, step, steps, phases)
        refused_first = job["state"] == "refused" and not _compared(job)
        if job["state"] not in {"done", "refused"} or refused_first:
            text = "error.refused" if refused_first else "error.failed"
            raise Invalid(words(text, reason=job.get("reason") or job["state"]))
        model = doors.model(MODEL)
        if job["state"] == "done":
            step.done(words("train.done", version=model["version"]))
        else:
            step.done(words("train.kept", reason=job.get("reason")))
    card = model["card"]
    return Trained(
        version=model["version"],
        state=job["state"],
        reason=job.get("reason"),
        asked=card["asked"],
        offline=card["offline"],
        verdict=job.get("verdict") or card["gate"],
        trained_on={
            name: value for name, value in model["trained_on"].items() if name != "offsets"
        },
        seconds=time.perf_counter() - began,
        phases={phase: round(seconds, 1) for phase, seconds in phases.items()},
    )


def until_served(doors: Doors, version: str, user: str, too_late: str) -> None:
    """Wait until `user` gets a list from this release; raises `Retryable` with the text."""

    def served() -> bool:
        page = doors.recommend(user, scenario="cart", k=1)
        return bool(page["release"] == version and page["rung"] == "current")

    if not wait_for(served, timeout_s=SERVED_S, every_s=0.05):
        raise Retryable(too_late)


def _compared(job: Mapping[str, Any]) -> bool:
    """Whether the gate held the candidate against a release, which stays in service."""
    return bool(job["verdict"]["reference"] != "popularity")


def _ended(
    doors: Doors, asked: str, step: Step, steps: Steps, phases: dict[str, float]
) -> dict[str, Any]:
    step.of(1.0)
    seen = steps.clock()
    while True:
        job = doors.progress(asked)
        if job.get("state", "queued") not in OPEN:
            return job
        phase, now = job.get("phase", "waiting"), steps.clock()
        phases[phase] = phases.get(phase, 0.0) + now - seen
        seen = now
        step.at(job.get("share", 0.0), steps.words.phase(phase))
        time.sleep(LOOK_S)
