"""Predicted ratings, with the parts that make them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from msgspec import Struct

from shared.contracts.artifact import Artifact
from shared.contracts.errors import NotFound, Retryable
from shared.contracts.events.decisions import Rung
from shared.learning.models.bundle import Bundle
from shared.runtime.releases.port import Following

MODEL = "ratings"
LOWEST, HIGHEST = 1.0, 5.0
_TOLERANCE = 0.01


class RatingModel(Protocol):
    """A model that says how a rating comes about."""

    def parts(self, user: int | None, item: int | None) -> Mapping[str, float]:
        """Return named summands of the rating; None stands for one that it has never seen."""
        ...


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
        Retryable
            No ratings model was released yet.
        """
        loaded = self.following.for_user(user)
        if loaded is None:
            raise Retryable("no ratings model was released yet")
        ids = loaded.model.ids
        numbers = ids["users"].get(user), ids["items"].get(item)
        if numbers[1] is None and not in_catalog:
            raise NotFound(f"there is no item {item!r} in the catalogue, nor a rating of it")
        parts = dict(loaded.model.models[MODEL].parts(*numbers))
        return PredictedRating(
            item,
            min(max(sum(parts.values()), LOWEST), HIGHEST),
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
    if not {"users", "items"} <= set(bundle.ids) or MODEL not in bundle.models:
        return f"the bundle lacks users, items or the model {MODEL!r}"
    model: RatingModel = bundle.models[MODEL]
    for example in golden:
        user = bundle.ids["users"].get(example["user"])
        item = bundle.ids["items"].get(example["item"])
        said = sum(model.parts(user, item).values())
        if abs(said - example["rating"]) > _TOLERANCE:
            return f"gives {said:.3f} where {example['rating']:.3f} was released"
    return None
