"""The recommender's release: item-item, factors, popular and trending, blended; repeat purchases."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from typing import Any

import msgspec
import numpy as np

from services.trainer.core.blend import blended, sources, transplanted
from services.trainer.core.recipe import SOURCES, Recipe, fit_ials, fit_knn, fit_simple, fit_slim
from services.trainer.core.split import questions, split
from services.trainer.core.trial import CANDIDATE, Reference, Trial, trial
from services.trainer.core.tune import RecommendOptions, tuned
from services.trainer.core.weights import Weights
from services.trainer.dataset import Dataset, dataset
from services.trainer.history import Lake
from services.trainer.jobs.task import Folder, Outcome, Progress, Task
from shared.contracts.artifact import Artifact
from shared.contracts.errors import Invalid
from shared.learning.evaluation.splits import Split
from shared.learning.features.history import History
from shared.learning.features.interactions import Interactions
from shared.learning.models.bundle import Bundle
from shared.learning.models.pure_svd import PureSvd
from shared.learning.models.ranking import top
from shared.learning.models.repeat import RepeatPurchase

ASKED = 1_000
"""Shoppers that are asked: the interval of their mean is about 0.01 wide in nDCG."""
GOLDEN_K = 5
SVD_RANK = 32
REPEAT = "repeat"


@dataclass(frozen=True)
class Plan:
    """What is needed all along: the task, the data, their split and its time in seconds."""

    task: Task
    data: Dataset
    split: Split
    split_s: float
    folder: Folder
    progress: Progress


def run(
    task: Task, lake: Lake, folder: Folder, progress: Progress
) -> tuple[Outcome, Artifact | None]:
    """Train, evaluate, judge; Invalid when there is nothing to learn from."""
    progress("read the history", 0.0)
    found = dataset(lake, now_ms=int(task.now_s * 1000))
    # Once for all models, each of which needs them so.
    data = replace(found, events=found.events.ordered())
    plan = Plan(task, data, *split(data.events), folder, progress)
    options = msgspec.convert(task.options, RecommendOptions)
    recipe = _start(task)
    if options.tune:
        recipe = _tuned(plan, recipe, options.tune)
    tried = _try(plan, recipe)
    recipe = replace(recipe, weights=dict(tried.weights))
    verdict = tried.verdict(due=task.due, forced=task.forced, seed=task.seed)
    # Factors also tell how alike items are, so they are released whatever their weight.
    released = {name for name, weight in recipe.weights.items() if weight} | {"ials"}
    models = _fit(plan, data.events, recipe, (0.55, 0.95), only=released)
    models[REPEAT] = RepeatPurchase.fit(data.purchases)
    bundle = Bundle(
        ids={"items": data.items}, models=models, meta={"weights": dict(recipe.weights)}
    )
    progress("write the card", 0.95)
    offline = tried.offline(task.seed)
    outcome = Outcome(
        verdict=verdict,
        trained_on=_trained_on(lake, data),
        metrics=_flat(offline[CANDIDATE]),
        card={
            "recipe": recipe.to_json(),
            "tuned": options.tune > 0 or _was_tuned(task),
            "split_s": plan.split_s,
            "asked": tried.asked,
            "offline": offline,
            "gate": msgspec.to_builtins(verdict),
            "events": data.counts,
            "parent_online": task.online,
        },
        golden=golden(bundle),
    )
    return outcome, bundle.to_artifact()


def _start(task: Task) -> Recipe:
    """Return the recipe that was tuned for this shop, else the usual one."""
    theirs = _recipe_of(task) if _was_tuned(task) else None
    return theirs or Recipe(seed=task.seed)


def _weights_of(task: Task) -> Weights | None:
    """Return the blend of the release in service; None if there is none that can be read."""
    theirs = _recipe_of(task)
    return theirs.weights if theirs else None


def _was_tuned(task: Task) -> bool:
    return bool(task.current and task.current["card"].get("tuned"))


def _recipe_of(task: Task) -> Recipe | None:
    """Return the recipe of the release in service; None if this code cannot read it."""
    try:
        return Recipe.from_json(task.current["card"]["recipe"]) if task.current else None
    except (KeyError, msgspec.ValidationError):
        return None


def _tuned(plan: Plan, start: Recipe, trials: int) -> Recipe:
    def tell(tried: int) -> None:
        plan.progress(f"try recipe {tried} of {trials}", 0.05 + 0.3 * tried / (trials + 1))

    found = tuned(plan.split.train, start, trials, workers=plan.task.threads, tell=tell)
    return found.best


def _try(plan: Plan, recipe: Recipe) -> Trial:
    past = plan.split.train
    models = _fit(plan, past, recipe, (0.05, 0.4))
    asked = questions(plan.split, limit=ASKED, seed=plan.task.seed)
    plan.progress("evaluate", 0.4)
    return trial(
        models,
        asked,
        _reference(plan, recipe),
        weights=_weights_of(plan.task),
        half_life_s=recipe.live_half_life_s,
        extra={"pure-svd": PureSvd.fit(past, rank=SVD_RANK, seed=recipe.seed)},
    )


def _fit(
    plan: Plan,
    events: Interactions,
    recipe: Recipe,
    span: tuple[float, float],
    only: Collection[str] = SOURCES,
) -> dict[str, Any]:
    """Fit the models of the sources `only`; `span` is the share of the job that this takes."""
    start, end = span
    threads = plan.task.threads
    models = {n: model for n, model in fit_simple(events).items() if n in only}
    plan.progress("fit item-item weights", start)
    if "slim" in only:
        models["slim"] = fit_slim(events, recipe, threads)
    if "knn" in only:
        models["knn"] = fit_knn(events, recipe)
    plan.progress("fit factors", start + (end - start) * 0.6)
    if "ials" in only:
        models["ials"] = fit_ials(events, recipe, threads)
    return models


def _reference(plan: Plan, recipe: Recipe) -> Reference | None:
    """Return the release in service, in a form that has not seen the future.

    If it was trained before the split, it is asked as it is. If it knows what lies behind the
    split, its recipe is held against the candidate's on the same past instead. None if there is
    none, or none that this code can read.
    """
    current = plan.task.current
    if current is None:
        return None
    version = str(current["version"])
    theirs = _recipe_of(plan.task)
    if theirs is None or current["trained_on"].get("until_s", np.inf) <= plan.split_s:
        bundle = _bundle_of(plan.folder)
        if bundle is not None:
            scorer = transplanted(bundle, plan.data.items, recipe.live_half_life_s)
            return Reference(version, scorer)
    if theirs is None:
        return None
    if replace(theirs, weights=recipe.weights) == recipe:
        return Reference(version, weights=theirs.weights)
    fitted = _fit(plan, plan.split.train, theirs, (0.4, 0.5))
    scorers = sources(fitted, theirs.live_half_life_s)
    return Reference(version, blended(scorers, theirs.weights))


def _bundle_of(folder: Folder) -> Bundle | None:
    """Return the release in service; None if this code cannot read it, which older code made."""
    try:
        return Bundle.from_artifact(folder.current())
    except Invalid:
        return None


def golden(bundle: Bundle) -> list[dict[str, Any]]:
    """Return histories of popular items with the lists that each model gives for them.

    They hold no person's history, and a loaded release must give them again.
    """
    items = bundle.ids["items"]
    known = top(bundle.models["popular"].scores(History.of([])), 6).items
    examples = []
    for chosen in (known[:1], known[1:3], known[3:6]):
        history = History.sequence(chosen)
        lists = {
            name: [
                items.name(int(number))
                for number in top(model.scores(history), GOLDEN_K, history.items).items
            ]
            for name, model in bundle.models.items()
            if name != REPEAT
        }
        examples.append({"history": [items.name(int(n)) for n in chosen], "top": lists})
    return [example for example in examples if example["history"]]


def _trained_on(lake: Lake, data: Dataset) -> dict[str, Any]:
    since_s, until_s = data.window_s
    return {
        "since_s": since_s,
        "until_s": until_s,
        "events": len(data.events),
        "items": len(data.items),
        "shoppers": len(data.users),
        "offsets": lake.ranges(),
    }


def _flat(figures: Mapping[str, Any]) -> dict[str, float]:
    flat: dict[str, float] = {}
    for name, value in figures.items():
        if isinstance(value, dict):
            flat |= {
                name: value["mean"],
                f"{name}_low": value["low"],
                f"{name}_high": value["high"],
            }
        else:
            flat[name] = value
    return flat
