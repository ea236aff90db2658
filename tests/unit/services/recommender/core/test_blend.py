import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from services.recommender.core.blend import best


@given(
    arrays(
        np.float32, st.integers(0, 400), elements=st.sampled_from([-np.inf, -1.0, 0.0, 0.5, 2.0])
    ),
    st.integers(1, 40),
)
def test_the_best_are_those_of_a_full_sort(scores: np.ndarray, n: int) -> None:
    """The guessed bound would lose an item that belongs into the list."""
    order = np.argsort(-scores, kind="stable")
    expected = [i for i in order.tolist() if scores[i] > -np.inf][:n]
    assert best(scores, n).tolist() == expected


def test_a_bound_that_lets_too_few_through_is_dropped() -> None:
    """A catalogue whose every sixteenth item is good would give short lists."""
    scores = np.zeros(1600, dtype=np.float32)
    scores[::16] = np.arange(1, 101)
    assert (
        best(scores, 120).tolist()
        == [*range(1584, -1, -16), *[i for i in range(22) if i % 16]][:120]
    )
