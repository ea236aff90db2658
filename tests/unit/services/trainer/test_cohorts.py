"""Who counts for a canary, and how often."""

from pathlib import Path

import pytest

from services.trainer.cohorts import Cohorts, Sides, cohorts
from services.trainer.feedback import Windows
from shared.contracts.events import Candidate, Decision
from shared.contracts.topics import DECISIONS
from shared.runtime.releases.pointer import gets_canary
from tests.fixtures.lake import Writer

SIDES = Sides("v2", 50, "v1")
PEOPLE = [f"user-{n}" for n in range(40)]
OURS = [one for one in PEOPLE if gets_canary("v2", one, 50)]
THEIRS = [one for one in PEOPLE if one not in OURS]


class Shop(Writer):
    """A lake with decisions of two releases and what followed."""

    requests = 0

    def visit(
        self,
        user: str | None,
        *,
        click: bool = False,
        release: str = "",
        at: float = 1000.0,
        items: int = 1,
        rung: str = "current",
    ) -> None:
        self.requests += 1
        shown = tuple(Candidate(f"item-{n}", n, 1.0) for n in range(items))
        given = release or ("v2" if user in OURS else "v1")
        decision = Decision(
            request_id=f"r{self.requests}", service="recommender", scenario="home", shown=shown,
            release=given, rung=rung,  # type: ignore[arg-type]
        )  # fmt: skip
        self.put(DECISIONS, decision, at=at, userid=user)
        if click:
            self.did(user, "item-0", "select_item", request_id=f"r{self.requests}", at=at + 5)

    def found(self, since_s: float = 0.0) -> Cohorts:
        return cohorts(self.lake, SIDES, since_s=since_s, windows=Windows())


@pytest.fixture
def shop(tmp_path: Path) -> Shop:
    return Shop(tmp_path)


def pairs(found: Cohorts) -> dict[str, tuple[int, int]]:
    return {one.name.split()[-1]: (one.canary, one.others) for one in found.counts}


def test_a_shopper_counts_once(shop: Shop) -> None:
    """One eager shopper would decide about a release for all."""
    for _ in range(5):
        shop.visit(OURS[0], click=True)
    shop.visit(OURS[1])
    shop.visit(THEIRS[0], click=True)
    found = shop.found()
    assert pairs(found)["clicked"] == (1, 1)
    assert (found.lists, found.shoppers) == (6, 2)


def test_the_side_is_what_chance_gave(shop: Shop) -> None:
    """A replica that is late with the canary would make it look unloved."""
    shop.visit(OURS[0], release="v1", click=True)
    found = shop.found()
    assert pairs(found)["clicked"] == (1, 0)
    assert (found.lists, found.shoppers) == (0, 0)


def test_only_these_two_releases_since_the_beginning_count(shop: Shop) -> None:
    """Last week's clicks, or another model's, would be credited to one side alone."""
    shop.visit(THEIRS[0], click=True, at=500.0)
    shop.visit(THEIRS[1], click=True, release="v0")
    shop.visit(None, click=True, release="v1")
    assert pairs(shop.found(since_s=900.0))["clicked"] == (0, 0)


def test_empty_and_fallback_lists_are_noticed(shop: Shop) -> None:
    """A release that has nothing to show would pass, since nobody can dislike nothing."""
    shop.visit(OURS[0], items=0)
    shop.visit(OURS[1], rung="popular")
    shop.visit(THEIRS[0])
    found = pairs(shop.found())
    assert (found["list"], found["models"]) == ((1, 0), (1, 0))


def test_no_lists_at_all(shop: Shop) -> None:
    """A canary in a shop without shoppers would stop the trainer."""
    assert shop.found().lists == 0
    assert all(one.canary == one.others == 0 for one in shop.found().counts)
