"""Predicted ratings: biased factors, held against item means and the SVD of the filled matrix."""

from typing import Any

import msgspec
import numpy as np

from services.trainer.core.rated import RatingModel, RatingOptions, fit, rating_trial
from services.trainer.dataset import Dataset, ratings
from services.trainer.history import Lake
from services.trainer.jobs.task import Folder, Outcome, Progress, Task
from shared.contracts.artifact import Artifact
from shared.learning.models.biased_factors import BiasedFactors
from shared.learning.models.bundle import Bundle

MODEL = "ratings"
GOLDEN_ITEMS = 5


def run(
    task: Task, lake: Lake, folder: Folder, progress: Progress
) -> tuple[Outcome, Artifact | None]:
    """Train, evaluate, judge; Invalid when there is no rating."""
    progress("read the history", 0.0)
    options = msgspec.convert(task.options, RatingOptions)
    data = ratings(lake, now_ms=int(task.now_s * 1000))
    progress("evaluate", 0.1)
    tried = rating_trial(data.events, options, seed=task.seed)
    verdict = tried.verdict(due=task.due, forced=task.forced)
    progress("fit", 0.6)
    model = fit(data.events, options, seed=task.seed)
    bundle = Bundle(ids={"items": data.items, "users": data.users}, models={MODEL: model}, meta={})
    outcome = Outcome(
        verdict=verdict,
        trained_on=_trained_on(lake, data),
        metrics=tried.metrics(),
        card={
            "offline": tried.offline(),
            "gate": msgspec.to_builtins(verdict),
            "events": data.counts,
            "options": msgspec.to_builtins(options),
        },
        golden=golden(model, data),
    )
    return outcome, bundle.to_artifact()


def golden(model: RatingModel, data: Dataset) -> list[dict[str, Any]]:
    """Return what an unknown shopper would say of the most rated items: no person's answer."""
    counts = np.bincount(data.events.item, minlength=len(data.items))
    return [
        {"user": "", "item": data.items.name(int(item)), "rating": _of_nobody(model, int(item))}
        for item in np.argsort(-counts, kind="stable")[:GOLDEN_ITEMS]
    ]


def _of_nobody(model: RatingModel, item: int) -> float:
    if isinstance(model, BiasedFactors):
        return float(model.predict(None, item).value)
    return float(model.user_means.mean() + model.users.mean(axis=0) @ model.items[item])


def _trained_on(lake: Lake, data: Dataset) -> dict[str, Any]:
    since_s, until_s = data.window_s
    return {
        "since_s": since_s,
        "until_s": until_s,
        "ratings": len(data.events),
        "items": len(data.items),
        "shoppers": len(data.users),
        "offsets": lake.ranges(),
    }
