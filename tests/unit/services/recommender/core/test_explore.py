import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.recommender.core.explore import last_place, propensity


@given(
    st.integers(0, 20),
    st.lists(st.integers(0, 20), unique=True, max_size=10),
    st.floats(0.001, 1),
)
def test_propensities_add_up_to_one(greedy: int, cold: list[int], share: float) -> None:
    """Every off-policy estimate would be off by what is missing."""
    if not cold:
        assert last_place(greedy, cold, share, np.random.default_rng(0)).propensity == 1.0
        return
    could = {greedy, *cold}
    assert sum(propensity(n, greedy, cold, share) for n in could) == pytest.approx(1.0)


def test_frequencies_are_the_propensities() -> None:
    """What is logged would not be what is drawn."""
    rng = np.random.default_rng(3)
    places = [last_place(7, [7, 8, 9], 0.3, rng) for _ in range(20_000)]
    for number, expected in ((7, 0.8), (8, 0.1), (9, 0.1)):
        drawn = [place for place in places if place.number == number]
        assert len(drawn) / len(places) == pytest.approx(expected, abs=0.01)
        assert {round(place.propensity, 9) for place in drawn} == {expected}


def test_nothing_is_tried_out_where_it_is_switched_off() -> None:
    """A shop that wants no exploration would get some."""
    assert last_place(1, [2, 3], 0.0, np.random.default_rng(0)) == (1, 1.0)
