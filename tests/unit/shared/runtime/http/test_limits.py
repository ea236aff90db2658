"""Token buckets."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.runtime.http.limits import Buckets


def test_a_bucket_refills_at_its_rate() -> None:
    """Callers would be locked out for too long, or not at all."""
    buckets = Buckets(2, burst_s=1)
    assert [buckets.take("a", 0) for _ in range(3)] == [0, 0, 0.5]
    assert buckets.take("a", 0.5) == 0
    assert buckets.take("a", 0.75) == pytest.approx(0.25)
    assert buckets.take("b", 0.75) == 0


def test_the_longest_silent_caller_is_forgotten_first() -> None:
    """Memory would grow with every address on the internet."""
    buckets = Buckets(1, burst_s=1, remembered=2)
    for caller in ("a", "b", "c"):
        assert buckets.take(caller, 0) == 0
    assert buckets.take("c", 0) > 0
    assert buckets.take("a", 0) == 0


@given(
    st.floats(0.1, 100),
    st.lists(st.floats(0, 1), min_size=1, max_size=200),
)
def test_nobody_gets_more_than_rate_and_burst(rate: float, gaps: list[float]) -> None:
    """One caller could take everything."""
    buckets, now, taken = Buckets(rate), 0.0, 0
    for gap in gaps:
        now += gap
        taken += buckets.take("a", now) == 0
    assert taken <= rate * now + max(1.0, 2 * rate) + 1e-6
