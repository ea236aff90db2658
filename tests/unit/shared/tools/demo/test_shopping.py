"""What the demo reads out of the trainer's report."""

from typing import Any

from shared.tools.demo.shopping import Arm, arms_of, since

COUNTS = {"requests": 10, "clicked": 3, "bought": 1, "clicks": 4}


def row(scenario: str, personalised: bool, release: str = "v1", **more: int) -> dict[str, Any]:
    key = {"service": "recommender", "release": release, "scenario": scenario}
    return {**key, "personalised": personalised, **COUNTS, **more}


def test_rows_of_the_report_become_arms() -> None:
    """Lists for nobody in particular would be counted as the model's, or another release's."""
    rows = [
        row("home", True),
        row("home", False, clicked=1),
        row("again", True),
        row("again", False, requests=2, clicked=0, bought=0, clicks=0),
        row("home", True, release="v0"),
        row("cart", True),
    ]
    assert arms_of(rows, "v1") == {
        "again": Arm(visits=12, clicked=3, bought=1, clicks=4),
        "home": Arm(visits=10, clicked=3, bought=1, clicks=4),
        "popular": Arm(visits=10, clicked=1, bought=1, clicks=4),
    }


def test_what_came_in_earlier_runs_does_not_count() -> None:
    """A second run would report the shoppers of the first as its own."""
    earlier = arms_of([row("home", True)], "v1")
    now = arms_of([row("home", True, requests=30, clicked=9)], "v1")
    assert since(earlier, now)["home"] == Arm(visits=20, clicked=6, bought=0, clicks=0)
    assert since(now, now)["popular"] == Arm()
