import numpy as np
import pytest

from services.recommender.core.activity import WEEK_S, Activity
from services.recommender.core.catalog import Catalog
from shared.contracts.envelope import utc
from shared.contracts.events import ItemActivity
from tests.unit.services.recommender.core.worlds import NOW_S


def counts(item: str, views: float, ended_s: float = NOW_S, growth: float = 0.0) -> ItemActivity:
    return ItemActivity(
        item_id=item,
        ended=utc(ended_s),
        views=(0.0, 0.0, views),
        carts=(0.0, 0.0, 1.0),
        buys=(0.0, 0.0, 2.0),
        growth=(0.0, growth, 0.0),
    )


def test_demand_is_weighted_and_fades() -> None:
    """Views would count like purchases, or last year's best seller would lead for ever."""
    activity = Activity(Catalog())
    activity.put(counts("a", 4.0))
    rows = np.array([0])
    assert activity.popular(rows, NOW_S).tolist() == [4 + 3 * 1 + 5 * 2]
    assert activity.popular(rows, NOW_S + WEEK_S) == pytest.approx([17 / 2])


def test_older_counts_do_not_replace_newer_ones() -> None:
    """A replay of the topic would bring last week back."""
    activity = Activity(Catalog())
    activity.put(counts("a", 4.0, growth=2.5))
    activity.put(counts("a", 100.0, ended_s=NOW_S - 60, growth=9.0))
    assert activity.trending(np.array([0]), NOW_S).tolist() == [2.5]
    activity.remove("a")
    assert activity.popular(np.array([0]), NOW_S).tolist() == [0.0]
