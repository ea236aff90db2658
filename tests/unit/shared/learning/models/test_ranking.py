"""From scores to lists: exact, though little is sorted."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from shared.learning.models.ranking import best, top
from shared.learning.models.scale import damped, scaled

SCORES = arrays(
    np.float32, st.integers(0, 400), elements=st.sampled_from([-np.inf, -1.0, 0.0, 0.5, 2.0])
)


@given(SCORES, st.integers(0, 40))
def test_the_best_are_those_of_a_full_sort(scores: np.ndarray, n: int) -> None:
    """The guessed bound would lose an item that belongs into the list."""
    order = np.argsort(-scores, kind="stable")
    expected = [i for i in order.tolist() if scores[i] > -np.inf][:n]
    assert best(scores, n).tolist() == expected


@given(SCORES, st.integers(0, 40), st.sets(st.integers(0, 399)))
def test_what_is_left_out_changes_nothing_else(
    scores: np.ndarray, k: int, left_out: set[int]
) -> None:
    """A bought item would be shown, or others would move when it is hidden."""
    exclude = np.array(sorted(i for i in left_out if i < len(scores)), dtype=np.int32)
    before = scores.copy()
    shown = top(scores, k, exclude)
    kept = [i for i in best(scores, len(scores)).tolist() if i not in left_out]
    assert shown.items.tolist() == kept[:k]
    assert shown.scores.tolist() == scores[shown.items].tolist()
    assert scores.tolist() == before.tolist()


def test_a_bound_that_lets_too_few_through_is_dropped() -> None:
    """A catalogue whose every sixteenth item is good would give short lists."""
    scores = np.zeros(1600, dtype=np.float32)
    scores[::16] = np.arange(1, 101)
    assert (
        best(scores, 120).tolist()
        == [*range(1584, -1, -16), *[i for i in range(22) if i % 16]][:120]
    )


def test_scales_are_worked_out_by_hand() -> None:
    """One model would drown the others in a blend."""
    assert scaled(np.array([4.0, -2.0, 1.0], dtype=np.float32)).tolist() == [1.0, -0.5, 0.25]
    assert scaled(np.array([-3.0, 0.0], dtype=np.float32)).tolist() == [0.0, 0.0]
    counts = np.array([-1.0, 0.0, np.e - 1, np.e**2 - 1], dtype=np.float32)
    assert damped(counts).tolist() == pytest.approx([0.0, 0.0, 0.5, 1.0])
