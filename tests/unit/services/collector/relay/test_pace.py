import pytest

from services.collector.relay.relay import pace


@pytest.mark.parametrize(
    ("records", "elapsed_s", "expected"),
    [
        (1, 1.0, 0.002),  # one a second: no reason to wait
        (1, 0.005, 0.002),  # 200 a second
        (12, 0.012, 0.025),  # 1,000 a second
        (500, 0.005, 0.01),  # 100,000 a second
        (10_000, 0.01, 0.002),  # 1,000,000 a second
        (1, 0.0, 0.002),
    ],
)
def test_groups_wait_only_where_it_pays(records, elapsed_s, expected):
    """A shopper's click must reach the recommender at once, and a rush must not be eaten by requests."""
    assert pace(records, elapsed_s) == pytest.approx(expected)
