import pytest

from services.recommender.core.ladder import rung_of


@pytest.mark.parametrize(
    ("release", "modelled", "popular", "rung"),
    [
        ("current", True, True, "current"),
        ("stale", True, True, "stale"),
        ("disk", True, False, "disk"),
        ("current", False, True, "popular"),
        (None, False, True, "popular"),
        (None, False, False, "static"),
    ],
)
def test_the_rung_is_what_the_answer_rests_on(
    release: str | None, modelled: bool, popular: bool, rung: str
) -> None:
    """A list of best sellers would be booked as the model's work."""
    assert rung_of(release, modelled=modelled, popular=popular) == rung  # type: ignore[arg-type]
