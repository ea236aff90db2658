"""What every model promises, whatever it computes."""

import subprocess
import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from shared.contracts.artifact import Artifact, pack, unpack
from shared.contracts.errors import Invalid
from shared.learning.features.history import History
from shared.learning.features.interactions import Interactions
from shared.learning.models.biased_factors import BiasedFactors
from shared.learning.models.blend import Blend
from shared.learning.models.bundle import MODELS, Bundle, load
from shared.learning.models.filled_svd import FilledSvd
from shared.learning.models.ials import Ials, IalsSettings
from shared.learning.models.ids import IdIndex
from shared.learning.models.item_knn import ItemKnn
from shared.learning.models.popularity import Popularity, Trending
from shared.learning.models.pure_svd import PureSvd
from shared.learning.models.repeat import RepeatPurchase, RepeatSettings
from shared.learning.models.slim import LocalSlim, SlimSettings

SMALL_SLIM = SlimSettings(neighbours=4, ridge=1.0)
SMALL_IALS = IalsSettings(factors=4, iterations=3)


def events(seed: int, n: int = 300) -> Interactions:
    rng = np.random.default_rng(seed)
    return Interactions(
        rng.integers(0, 30, n),
        rng.integers(0, 12, n),
        rng.integers(0, 1000, n).astype(float),
        rng.integers(1, 6, n).astype(float),
        30,
        12,
    )


def blend(data: Interactions) -> Blend:
    parts = {"a": LocalSlim.fit(data, SMALL_SLIM), "b": Ials.fit(data, SMALL_IALS)}
    return Blend.fit(parts, {"a": 0.7, "b": 0.3}, [ANN])


ANN = History.of([(3, 1.0, 10.0), (5, 2.0, 20.0), (3, 1.0, 30.0), (7, -1.0, 40.0)])

FITS: dict[str, Callable[[Interactions], Any]] = {
    "slim": lambda data: LocalSlim.fit(data, SMALL_SLIM),
    "ials": lambda data: Ials.fit(data, SMALL_IALS, seed=3),
    "item-knn": ItemKnn.fit,
    "pure-svd": lambda data: PureSvd.fit(data, rank=3, seed=3),
    "popularity": lambda data: Popularity.fit(data, now_s=1000.0, half_life_s=500.0),
    "trending": lambda data: Trending.fit(data, now_s=1000.0, window_s=100.0, before_s=900.0),
    "repeat": lambda data: RepeatPurchase.fit(data, RepeatSettings(timing=1.0)),
    "ratings": lambda data: BiasedFactors.fit(data, seed=3),
    "filled-svd": lambda data: FilledSvd.fit(data, rank=3),
    "blend": blend,
}
SCORERS = ["slim", "ials", "item-knn", "pure-svd", "popularity", "trending", "blend"]
EXPLAINERS = ["slim", "ials", "item-knn", "pure-svd", "blend"]


def answers(model: Any) -> np.ndarray[Any, Any]:
    """Whatever the model predicts, as numbers."""
    if isinstance(model, RepeatPurchase):
        return np.asarray(model.scores(ANN, now_s=200.0))
    if isinstance(model, BiasedFactors | FilledSvd):
        pairs = [(u, i) for u in range(30) for i in range(12)]
        values = [model.predict(u, i) for u, i in pairs]
        return np.array([v if isinstance(v, float) else v.value for v in values])
    return np.asarray(model.scores(ANN))


def through_a_release(artifact: Artifact) -> Artifact:
    contents, parts = pack(artifact)
    # An odd first byte misaligns all arrays, as a neighbour of odd length does in a release.
    return unpack(contents, memoryview(b"x" + b"".join(bytes(p) for p in parts))[1:])


def test_every_kind_is_under_the_contract() -> None:
    """A model left out here could break in a release unseen."""
    assert set(FITS) == set(MODELS)


@pytest.mark.parametrize("kind", FITS)
def test_saved_equals_loaded(kind: str) -> None:
    """Shoppers would see other lists from a release than the ones that were judged."""
    model = FITS[kind](events(1))
    again = load(through_a_release(model.to_artifact()))
    assert model.to_artifact().kind == kind
    assert np.array_equal(answers(model), answers(again))


@pytest.mark.parametrize("kind", FITS)
def test_same_seed_same_model(kind: str) -> None:
    """A release could not be made again from its history, so nobody could check it."""
    assert np.array_equal(answers(FITS[kind](events(1))), answers(FITS[kind](events(1))))


@pytest.mark.parametrize("kind", FITS)
def test_a_new_fit_forgets(kind: str) -> None:
    """An erased shopper's events would live on in the next release."""
    fresh = answers(FITS[kind](events(2)))
    FITS[kind](events(1))
    assert np.array_equal(answers(FITS[kind](events(2))), fresh)
    assert not np.array_equal(answers(FITS[kind](events(1))), fresh)


@pytest.mark.parametrize("kind", FITS)
def test_another_models_artifact_is_refused(kind: str) -> None:
    """A service would serve numbers of another model instead of keeping its last good one."""
    artifact = FITS[kind](events(1)).to_artifact()
    with pytest.raises(Invalid, match="expected an artifact"):
        MODELS[kind].from_artifact(Artifact("other", artifact.arrays, artifact.meta, {}))


@pytest.mark.parametrize("kind", FITS)
def test_a_missing_part_is_refused(kind: str) -> None:
    """A truncated release would crash the service at the first request."""
    artifact = FITS[kind](events(1)).to_artifact()
    for name in artifact.arrays:
        rest = {key: array for key, array in artifact.arrays.items() if key != name}
        with pytest.raises(Invalid):
            load(Artifact(kind, rest, artifact.meta, artifact.blobs))


@pytest.mark.parametrize("kind", ["slim", "item-knn"])
def test_rows_for_fewer_items_are_refused(kind: str) -> None:
    """A shopper of one of the last items would get an error page for as long as it is served."""
    whole = FITS[kind](events(1)).to_artifact()
    bounds = whole.arrays["indptr"][:-3]
    arrays = {"indptr": bounds} | {
        name: whole.arrays[name][: bounds[-1]] for name in ("indices", "values")
    }
    with pytest.raises(Invalid, match="a row of weights for each"):
        load(Artifact(kind, arrays, whole.meta, {}))


def test_a_blend_of_nothing_is_refused() -> None:
    """A blend whose shares were all tuned to 0 would fail at the first shopper instead."""
    parts = {"a": LocalSlim.fit(events(1), SMALL_SLIM)}
    with pytest.raises(Invalid, match="above 0"):
        Blend.fit(parts, {"a": 0.0}, [ANN])


@pytest.mark.parametrize("kind", SCORERS)
def test_no_events_and_no_history_give_finite_scores(kind: str) -> None:
    """The first shopper of a new shop would get an error page."""
    nobody = History.of([])
    empty = FITS[kind](events(1, n=0))
    for scores in (empty.scores(ANN), empty.scores(nobody), FITS[kind](events(1)).scores(nobody)):
        assert scores.shape == (12,)
        assert np.isfinite(scores).all()


@pytest.mark.parametrize("kind", EXPLAINERS)
def test_contributions_add_up_to_the_score(kind: str) -> None:
    """'Because you viewed …' would name items that are not the reason."""
    model = FITS[kind](events(1))
    for item in range(12):
        items, parts = model.contributions(ANN, item)
        assert set(items.tolist()) <= {3, 5, 7}
        assert parts.sum() == pytest.approx(model.scores(ANN)[item], abs=1e-5)


def test_a_bundle_keeps_models_ids_and_notes() -> None:
    """A recommender would translate its numbers to the wrong products."""
    data = events(1)
    items = IdIndex([f"sku {n} ☕" for n in range(12)])
    models = {kind: FITS[kind](data) for kind in ("slim", "popularity", "blend")}
    again = Bundle.from_artifact(
        through_a_release(Bundle({"items": items}, models, {"note": 1}).to_artifact())
    )
    assert again.ids["items"] == items
    assert again.meta == {"note": 1}
    for kind, model in models.items():
        assert np.array_equal(answers(again.models[kind]), answers(model))


def test_serving_needs_numpy_alone() -> None:
    """Serving processes would load scipy: more memory, slower starts, a missing package."""
    code = """
import sys, numpy as np
from shared.learning.features.history import History
from shared.learning.models.bundle import load
from shared.learning.models.csr import Csr
from shared.learning.models.slim import LocalSlim
model = LocalSlim(Csr(np.array([0, 1, 1]), np.array([1]), np.array([.5], np.float32), 2), .7, 9)
history = History.of([(0, 1.0, 1.0)])
model = load(model.to_artifact())
assert model.scores(history).tolist() == [0, .5]
model.contributions(history, 1), model.related(0, 3)
assert not {"scipy", "sklearn", "pandas"} & set(sys.modules), "heavy import"
"""
    run = subprocess.run([sys.executable, "-c", code], check=False, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
