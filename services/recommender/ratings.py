"""Predicted ratings, with the parts that make them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from msgspec import Struct

from shared.contracts.artifact import Artifact
from shared.contracts.errors import Invalid, NotFound
from shared.contracts.events.decisions import Rung
from shared.learning.models.biased_factors import BiasedFactors
from shared.learning.models.bundle import Bundle
from shared.learning.models.filled_svd import FilledSvd
from shared.runtime.http import Problem
from shared.runtime.releases.port import Following

LOWEST, HIGHEST = 1.0, 5.0
_TOLERANCE = 0.01


class PredictedRating(Struct, frozen=True):
    """What the shopper would probably say of the item, from 1 to 5.

    `parts` add up to the rating before it is held within the scale. `known_user` and `known_item`
    tell whether the model has seen ratings of theirs; without, their parts are missing.
    """

    item_id: str
    rating: float
    parts: dict[str, float]
    known_user: bool
    known_item: bool
    release: str
    rung: Rung
    age_s: float


@dataclass(frozen=True)
class Ratings:
    """Answers from the release of ratings."""

    following: Following[Bundle]

    def predict(self, user: str, item: str, *, in_catalog: bool) -> PredictedRating:
        """Return the prediction; an unknown shopper gets what all together say of the item.

        Raises
        ------
        NotFound
            Nothing is known of the item, by the ratings and by the catalogue neither.
        Problem
            503: no ratings model was released yet.
        """
        loaded = self.following.for_user(user)
        if loaded is None:
            raise Problem(
                503,
                "No ratings model was released yet. The trainer makes one when it is asked: "
                'POST /v1/jobs with {"job": "ratings"}.',
                headers={"Retry-After": "60"},
            )
        ids = loaded.model.ids
        numbers = ids["users"].get(user), ids["items"].get(item)
        if numbers[1] is None and not in_catalog:
            raise NotFound(f"there is no item {item!r} in the catalogue, nor a rating of it")
        parts = parts_of(_model(loaded.model), *numbers)
        return PredictedRating(
            item,
            _held(sum(parts.values())),
            parts,
            numbers[0] is not None,
            numbers[1] is not None,
            loaded.version,
            loaded.rung,
            round(loaded.age_s, 1),
        )


def load_ratings(artifact: Artifact) -> Bundle:
    """Rebuild the bundle; `Invalid` when it does not fit."""
    return Bundle.from_artifact(artifact)


def smoke_ratings(bundle: Bundle, golden: Sequence[Mapping[str, Any]]) -> str | None:
    """Return what is wrong with a bundle of a rating model, or None.

    A golden example is ``{"user": id, "item": id, "rating": number}``.
    """
    if not {"users", "items"} <= set(bundle.ids):
        return "the bundle has no ids of users and items"
    try:
        model = _model(bundle)
    except Invalid as error:
        return str(error)
    for example in golden:
        user = bundle.ids["users"].get(example["user"])
        item = bundle.ids["items"].get(example["item"])
        said = _held(sum(parts_of(model, user, item).values()))
        if abs(said - _held(example["rating"])) > _TOLERANCE:
            return f"gives {said:.3f} where {example['rating']:.3f} was released"
    return None


def parts_of(
    model: BiasedFactors | FilledSvd, user: int | None, item: int | None
) -> dict[str, float]:
    """Return the summands of a rating; None stands for one that the model has never seen.

    For biased factors: ``mean``, ``user``, ``item`` and ``interaction``. For the decomposition of
    the filled matrix: the user's mean if it was centred, and a part for each factor; an unknown
    user or item is taken for the mean of all.
    """
    if isinstance(model, BiasedFactors):
        said = model.predict(user, item)
        return {
            "mean": said.mean,
            "user": said.user_bias,
            "item": said.item_bias,
            "interaction": said.interaction,
        }
    mine = model.users.mean(axis=0) if user is None else model.users[user]
    theirs = model.items.mean(axis=0) if item is None else model.items[item]
    mean = model.user_means.mean() if user is None else model.user_means[user]
    factors = {f"factor_{n + 1}": float(part) for n, part in enumerate(mine * theirs)}
    return {"user": float(mean), **factors} if mean else factors


def _model(bundle: Bundle) -> BiasedFactors | FilledSvd:
    """Return the model that the release is served from: named in its meta, else the first."""
    served = bundle.meta.get("serve")
    for name, model in bundle.models.items():
        if isinstance(model, BiasedFactors | FilledSvd) and served in (None, name):
            return model
    raise Invalid("the bundle has no model of ratings")


def _held(rating: float) -> float:
    return min(max(rating, LOWEST), HIGHEST)
