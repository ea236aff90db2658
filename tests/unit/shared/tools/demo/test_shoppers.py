"""Simulated shoppers, and how sure one can be of what they did."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.tools.demo.shoppers import CURIOSITY, Share, difference, visit
from shared.tools.demo.shopping import choose

LIST = tuple("abcdefghij")


def test_ranks_are_looked_at_with_one_over_rank() -> None:
    """A figure of the report would rest on another model than it says."""
    rng, n = np.random.default_rng(1), 6_000
    visits = [visit(LIST, frozenset(LIST), rng) for _ in range(n)]
    looked = np.array([sum(place in v.bought for v in visits) / n for place in range(10)])
    assert looked == pytest.approx(1 / np.arange(1, 11), abs=0.02)


def test_the_unwanted_is_clicked_now_and_then_and_never_bought() -> None:
    """A list of what nobody wants would seem to sell."""
    rng, n = np.random.default_rng(2), 6_000
    visits = [visit(LIST[:1], frozenset("z"), rng) for _ in range(n)]
    assert sum(len(v.clicked) for v in visits) / n == pytest.approx(CURIOSITY, abs=0.006)
    assert not any(v.bought for v in visits)


@given(st.sets(st.sampled_from(LIST)), st.integers(0, 999))
def test_what_is_bought_was_clicked_and_wanted(wants: set[str], seed: int) -> None:
    """An order would carry what its shopper did not choose."""
    found = visit(LIST, frozenset(wants), np.random.default_rng(seed))
    assert set(found.bought) <= set(found.clicked)
    assert all(LIST[place] in wants for place in found.bought)


def test_shares_have_wilsons_bounds() -> None:
    """An interval would claim more than so few shoppers can tell."""
    # By hand: z² = 3.8415, (0.25 + 0.0960) / 1.1921 ± 1.96 · sqrt(0.009375 + 0.0024) / 1.1921
    low, high = Share(5, 20).bounds
    assert (low, high) == pytest.approx((0.1119, 0.4687), abs=1e-3)
    assert Share(0, 0).bounds == (0.0, 1.0)


def test_a_difference_has_newcombes_bounds() -> None:
    """A lift would be told that chance alone explains."""
    # The worked example of Newcombe (1998), table II: 56/70 and 48/80.
    found = difference(Share(56, 70), Share(48, 80))
    assert found == pytest.approx((0.2, 0.0524, 0.3339), abs=1e-4)


@given(st.integers(1, 80), st.data())
def test_an_interval_holds_its_value(n: int, data: st.DataObject) -> None:
    """A report would contradict itself."""
    new = Share(data.draw(st.integers(0, n)), n)
    old = Share(data.draw(st.integers(0, n)), n)
    gap = difference(new, old)
    assert gap.low <= gap.value <= gap.high
    assert new.bounds[0] <= new.value <= new.bounds[1]


def test_households_that_were_not_here_come_first() -> None:
    """A second run's shoppers would want what they have bought in the first."""
    wants = dict.fromkeys(range(10), ("a",))
    first = choose(wants, (), 4, seed=3)
    second = choose(wants, first, 4, seed=3)
    third = choose(wants, [*first, *second], 4, seed=3)
    assert len(set(first)) == len(set(second)) == len(set(third)) == 4
    assert not set(first) & set(second)
    assert set(range(10)) - {*first, *second} <= set(third)
    assert choose(wants, (), 4, seed=3) == first
