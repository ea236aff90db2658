"""A table of a user's own becomes events, or is refused with the column that is wrong."""

from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.contracts.errors import Invalid
from shared.learning.features.interactions import Interactions

RIGHT: dict[str, list[Any]] = {
    "user": ["ann", "bob", "ann"],
    "item": [30, 10, 30],
    "time": [1.5, 2.0, 0.5],
}


def test_rows_become_events_in_their_order() -> None:
    """Every shopper would be credited with somebody else's events."""
    events, users, items = Interactions.from_frame(pd.DataFrame(RIGHT))
    assert users.ids == ("ann", "bob")
    assert items.ids == ("30", "10")
    assert events.user.tolist() == [0, 1, 0]
    assert events.item.tolist() == [0, 1, 0]
    assert events.time_s.tolist() == [1.5, 2.0, 0.5]
    assert events.weight.tolist() == [1, 1, 1]
    assert (events.n_users, events.n_items) == (2, 2)


def test_columns_have_the_names_that_the_user_gave_them() -> None:
    """Somebody's table would have to be renamed, and a sorted one be read by its old index."""
    table = pd.DataFrame(
        {"who": ["b", "a"], "what": ["x", "y"], "when": [2, 1], "stars": [5, 3], "note": ["", None]}
    ).sort_values("when")
    events, users, items = Interactions.from_frame(
        table, user="who", item="what", time="when", weight="stars"
    )
    assert users.ids == ("a", "b")
    assert items.ids == ("y", "x")
    assert events.user.tolist() == [0, 1]
    assert events.time_s.tolist() == [1, 2]
    assert events.weight.tolist() == [3, 5]


@pytest.mark.parametrize("unit", ["s", "ms", "us", "ns"])
def test_moments_become_seconds_whatever_their_zone_and_unit(unit: str) -> None:
    """Events of two time zones would change their order, or all fall into one moment."""
    naive = pd.to_datetime(pd.Series(["1970-01-02 00:00:00", "1970-01-01 00:00:30"])).dt.as_unit(
        unit
    )
    for when in (naive, naive.dt.tz_localize("UTC").dt.tz_convert("Asia/Shanghai")):
        table = pd.DataFrame({"user": ["a", "b"], "item": ["x", "x"], "time": when})
        assert Interactions.from_frame(table)[0].time_s.tolist() == [86_400, 30]


@pytest.mark.parametrize("kind", ["object", "category", "string", "str"])
def test_ids_may_be_kept_in_any_of_the_pandas_string_types(kind: str) -> None:
    """A table would be refused for how it was read from a file."""
    table = pd.DataFrame(RIGHT).astype({"user": kind})
    assert Interactions.from_frame(table)[1].ids == ("ann", "bob")


@pytest.mark.parametrize(
    ("wrong", "reason"),
    [
        ({"user": [1.0, 2.0, 1.0]}, "user: ids must be"),
        ({"item": [True, False, True]}, "item: ids must be"),
        ({"item": ["x", 1.5, "y"]}, "item: ids must be"),
        ({"user": ["ann", None, "bob"]}, "user: row 1"),
        ({"time": [1.0, 2.0, np.nan]}, "time: row 2"),
        ({"time": ["2024-01-01", "2024-01-02", "2024-01-03"]}, "time: must hold numbers"),
        ({"time": [1.0, 2.0, np.inf]}, "finite"),
        ({"stars": ["5", "4", "3"]}, "stars: must hold numbers"),
    ],
)
def test_a_column_that_does_not_fit_is_named(wrong: dict[str, list[Any]], reason: str) -> None:
    """A half-read table would train a model of nonsense, or end in a traceback of pandas."""
    table = pd.DataFrame({**RIGHT, "stars": [1, 2, 3], **wrong})
    with pytest.raises(Invalid, match=reason):
        Interactions.from_frame(table, weight="stars")


def test_a_column_that_is_missing_or_twofold_is_named() -> None:
    """A misspelt name would end in a KeyError, and a doubled one in a wrong guess."""
    table = pd.DataFrame(RIGHT)
    with pytest.raises(Invalid, match=r"shopper: .*\['user', 'item', 'time'\]"):
        Interactions.from_frame(table, user="shopper")
    with pytest.raises(Invalid, match="user: "):
        Interactions.from_frame(pd.concat([table, table["user"]], axis=1))


def test_an_empty_table_is_no_events() -> None:
    """A shop's first, still empty export would be an error."""
    events, users, items = Interactions.from_frame(pd.DataFrame(RIGHT).head(0))
    assert (len(events), len(users), len(items)) == (0, 0, 0)


@given(st.lists(st.tuples(st.text(max_size=3), st.integers(0, 9)), min_size=1, max_size=20))
def test_numbers_and_ids_give_the_table_back(rows: list[tuple[str, int]]) -> None:
    """Ids would be mixed up on the way, so that the wrong item is recommended."""
    table = pd.DataFrame(rows, columns=["user", "item"]).assign(time=0.0)
    events, users, items = Interactions.from_frame(table)
    pairs = zip(events.user.tolist(), events.item.tolist(), strict=True)
    assert [(users.name(u), int(items.name(i))) for u, i in pairs] == rows
