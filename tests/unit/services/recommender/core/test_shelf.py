import numpy as np
import pytest

from services.recommender.core.activity import Activity
from services.recommender.core.query import Rules
from services.recommender.core.shelf import Stock
from shared.contracts.envelope import utc
from shared.contracts.events import ItemActivity
from tests.unit.services.recommender.core.worlds import (
    NOW_S,
    catalog_of,
    product,
    random_bundle,
    shelf_of,
)


def test_numbers_are_the_releases_first_and_the_catalogues_after() -> None:
    """A model's score would be given to another item."""
    catalog = catalog_of([product("new"), product("b")])
    shelf = shelf_of(random_bundle(["a", "b"], 0), catalog)
    assert [shelf.item(number) for number in range(3)] == ["a", "b", "new"]
    assert [shelf.number(item) for item in ("a", "b", "new", "none")] == [0, 1, 2, None]
    assert shelf.open(np.arange(3)).tolist() == [False, True, True]


def test_the_base_is_the_weighted_sum_of_what_holds_for_everybody() -> None:
    """The parts told in an answer would not add up to the order that it has."""
    rules = Rules(weights={"popular": 0.5, "trending": 0.2, "newest": 0.1})
    catalog = catalog_of([product(item) for item in "abcd"], NOW_S - 7 * 86_400)
    shelf = shelf_of(random_bundle(list("abc"), 1), catalog, rules)
    total = sum(rules.weights[name] * scores for name, scores in shelf.static.items())
    assert shelf.base == pytest.approx(total)
    assert shelf.static["popular"].max() == 1.0
    assert shelf.static["newest"][shelf.number("d")] == pytest.approx(0.5)


def test_a_releases_own_weights_win() -> None:
    """What the trainer found best would not be served."""
    bundle = random_bundle(list("ab"), 1)
    learnt = type(bundle)(bundle.ids, bundle.models, {"weights": {"slim": 0.25}})
    shelf = shelf_of(learnt, catalog_of([product("a")]))
    assert (shelf.weights["slim"], shelf.weights["ials"]) == (0.25, 0.3)


def test_without_counts_the_newest_come_first() -> None:
    """A shop's first day would have an arbitrary front page."""
    catalog = catalog_of([product("old")], NOW_S - 100)
    catalog.put(product("new"), NOW_S)
    shelf = shelf_of(None, catalog)
    assert shelf.popular is False
    assert shelf.base[shelf.number("new")] > shelf.base[shelf.number("old")]


def test_one_view_today_does_not_outdo_a_year() -> None:
    """Whatever was looked at first on a quiet day would head every newcomer's list."""
    bundle = random_bundle(list("abc"), 1)
    learnt = bundle.models["popular"].item_scores
    assert learnt.tolist().count(learnt.max()) == 1
    catalog = catalog_of([product(item) for item in "abc"])
    activity = Activity(catalog)
    least = "abc"[int(learnt.argmin())]
    one_view = ItemActivity(
        item_id=least,
        ended=utc(NOW_S),
        views=(1.0, 1.0, 1.0),
        carts=(0.0, 0.0, 0.0),
        buys=(0.0, 0.0, 0.0),
        growth=(0.0, 0.0, 0.0),
    )
    activity.put(one_view)
    shelf = Stock.of(bundle, "v1", "current", catalog).shelf(catalog, activity, Rules(), NOW_S)
    popular = shelf.static["popular"]
    assert popular[shelf.number(least)] < popular.max()
    assert popular.argmax() == learnt.argmax()
