"""What small and odd shops make of the jobs."""

import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.trainer.core.recipe import Recipe
from services.trainer.jobs import ratings, recommend
from services.trainer.jobs.task import Folder, Task
from shared.contracts.artifact import Artifact
from shared.contracts.errors import Invalid
from shared.contracts.events import Product
from shared.contracts.topics import CATALOG
from shared.learning.models.bundle import Bundle
from tests.fixtures.lake import NOW_S, Writer

JOBS = {"recommend": recommend.run, "ratings": ratings.run}
ACTIONS = ("view_item", "purchase", "hide_item", "remove_from_cart", "rate_item")


@dataclass(frozen=True)
class Deed:
    """Somebody does something to an item, at one of a few moments."""

    user: int
    item: int
    action: str
    day: int


deeds = st.builds(
    Deed, st.integers(0, 5), st.integers(0, 4), st.sampled_from(ACTIONS), st.integers(1, 3)
)
rounds = st.lists(st.lists(deeds, max_size=15), min_size=2, max_size=2)


@settings(max_examples=30)
@given(rounds, st.integers(0, 4), st.sampled_from((0, 1)))
def test_any_shop_gets_models_or_a_reason(done: list[list[Deed]], products: int, tune: int) -> None:
    """A shop of one hour, or one that only strangers visit, would read of an error in the code."""
    with tempfile.TemporaryDirectory() as home:
        writer, current = Writer(Path(home, "lake")), {}
        for number in range(products):
            writer.put(CATALOG, Product(id=f"item-{number}", title="a thing"))
        for lot in done:
            for deed in lot:
                stars = {"rating": 1.0 + deed.item} if deed.action == "rate_item" else {}
                writer.did(
                    f"user-{deed.user}", f"item-{deed.item}", deed.action,
                    at=86_400.0 * deed.day, **stars,
                )  # fmt: skip
            for job, run in JOBS.items():
                folder, known = Folder(Path(home, job)), current.get(job)
                task = Task(
                    job=job, lake=str(writer.lake.path), now_s=NOW_S, due=("it is old",),
                    current=known, options={"tune": tune} if job == "recommend" else {},
                )  # fmt: skip
                folder.write_task(task, folder.candidate() if known else None)
                try:
                    outcome, candidate = run(task, writer.lake, folder, lambda *_: None)
                except Invalid:
                    continue
                folder.write_outcome(outcome, candidate)
                Bundle.from_artifact(folder.candidate())
                current[job] = {
                    "version": "v1", "trained_on": outcome.trained_on, "card": outcome.card,
                }  # fmt: skip


@pytest.mark.parametrize("recipe", [{}, {"recipe": Recipe().to_json()}])
@pytest.mark.parametrize("until_s", [0.0, 2 * NOW_S])
def test_a_release_of_other_code_does_not_keep_the_next_one_away(
    tmp_path: Path, recipe: dict[str, Any], until_s: float
) -> None:
    """After an upgrade that changes a model's form no model would ever be trained again."""
    writer, folder = Writer(tmp_path / "lake"), Folder(tmp_path / "job")
    for number in range(3):
        writer.put(CATALOG, Product(id=f"item-{number}", title="a thing"))
        writer.did(f"user-{number}", f"item-{number}", at=86_400.0 * number)
        writer.did(f"user-{number}", f"item-{(number + 1) % 3}", at=86_400.0 * (number + 3))
    current = {"version": "v1", "trained_on": {"until_s": until_s}, "card": recipe}
    task = Task(
        job="recommend",
        lake=str(writer.lake.path),
        now_s=NOW_S,
        due=("it is old",),
        current=current,
    )
    folder.write_task(task, Artifact("of-old", {}))
    outcome, _ = recommend.run(task, writer.lake, folder, lambda *_: None)
    assert outcome.verdict is not None
    assert outcome.verdict.passed
    assert outcome.verdict.reference == ("v1" if recipe else "popularity")
