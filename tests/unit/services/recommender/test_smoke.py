"""What a release must show before it answers anybody."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.recommender.smoke import smoke_bundle
from services.trainer.core.recipe import Recipe, fit_all
from services.trainer.jobs.recommend import golden
from shared.contracts.artifact import pack, unpack
from shared.learning.features.interactions import Interactions
from shared.learning.models.bundle import Bundle
from shared.learning.models.ids import IdIndex
from shared.learning.models.popularity import Popularity
from shared.learning.models.repeat import RepeatPurchase


def popular(*scores: float) -> Bundle:
    """Return a bundle of popularity alone."""
    ids = IdIndex(f"i{n}" for n in range(len(scores)))
    return Bundle({"items": ids}, {"popular": Popularity(np.array(scores, np.float32))}, {})


def example(*items: str) -> Mapping[str, Any]:
    """Return a golden list for nobody."""
    return {"history": [], "top": {"popular": list(items)}}


def test_equal_scores_may_come_in_another_order() -> None:
    """On another processor a sound release would be refused, for sums in another order."""
    loaded = popular(1, 1 + 1e-6, 1 - 1e-6, 1, 0.5)
    assert smoke_bundle(loaded, [example("i0", "i2")]) is None
    assert smoke_bundle(loaded, [example("i4", "i2")]) is not None


@pytest.mark.parametrize(
    ("expected", "passes"),
    [
        (["i0", "i1", "i2", "i3", "i4"], True),
        (["i0", "i1", "i2", "i3", "i9"], True),
        (["i0", "i1", "i2", "i8", "i9"], False),
        (["i0", "i1", "i2", "i3", "unheard-of"], True),
        (["i0", "i1", "unheard-of", "i9", "i8"], False),
        ([], True),
    ],
)
def test_four_of_five_must_agree(expected: list[str], passes: bool) -> None:
    """A release whose names are shifted would be served."""
    loaded = popular(*range(10, 0, -1))
    assert (smoke_bundle(loaded, [example(*expected)]) is None) is passes


EVENTS = st.lists(
    st.tuples(
        st.integers(0, 4),
        st.integers(0, 7),
        st.sampled_from([0.0, 1.0, 1e6, 1e8]),
        st.sampled_from([1.0, 5.0, -5.0]),
    ),
    max_size=30,
)


@settings(max_examples=30, deadline=None)
@given(EVENTS, st.integers(1, 8))
def test_every_release_passes_its_own_examples(
    events: list[tuple[int, int, float, float]], n_items: int
) -> None:
    """A small or odd shop's release would be trained, and refused by everybody who serves."""
    user, item, time_s, weight = np.array(events, dtype=float).reshape(-1, 4).T
    data = Interactions(
        user.astype(np.int32), item.astype(np.int32) % n_items, time_s, weight, 5, n_items
    ).ordered()
    models = {**fit_all(data, replace(Recipe(), seed=1), 1), "repeat": RepeatPurchase.fit(data)}
    bundle = Bundle({"items": IdIndex(f"茶 {n}" for n in range(n_items))}, models, {})
    contents, parts = pack(bundle.to_artifact())
    # An odd first byte misaligns all arrays, as a neighbour of odd length does in a release.
    content = memoryview(b"x" + b"".join(map(bytes, parts)))[1:]
    loaded = Bundle.from_artifact(unpack(contents, content))
    assert smoke_bundle(loaded, golden(bundle)) is None
