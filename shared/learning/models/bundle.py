"""Several models and the ids they share, as one artifact."""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, ClassVar, Protocol, Self

from shared.contracts.artifact import Artifact, Json
from shared.contracts.errors import Invalid
from shared.learning.models.biased_factors import BiasedFactors
from shared.learning.models.blend import Blend
from shared.learning.models.filled_svd import FilledSvd
from shared.learning.models.ials import Ials
from shared.learning.models.ids import IdIndex
from shared.learning.models.item_knn import ItemKnn
from shared.learning.models.nesting import nest, unnest
from shared.learning.models.popularity import Popularity, Trending
from shared.learning.models.pure_svd import PureSvd
from shared.learning.models.reader import Reader
from shared.learning.models.repeat import RepeatPurchase
from shared.learning.models.slim import LocalSlim


class Model(Protocol):
    """What every model can do."""

    KIND: ClassVar[str]

    def to_artifact(self) -> Artifact:
        """Return the model's content."""
        ...

    @classmethod
    def from_artifact(cls, artifact: Artifact) -> Self:
        """Rebuild the model; Invalid when the artifact does not fit."""
        ...


MODELS: Mapping[str, type[Model]] = MappingProxyType(
    {
        model.KIND: model
        for model in (
            BiasedFactors,
            Blend,
            FilledSvd,
            Ials,
            ItemKnn,
            LocalSlim,
            Popularity,
            PureSvd,
            RepeatPurchase,
            Trending,
        )
    }
)
"""Kind of artifact to the class that reads it."""


@dataclass(frozen=True)
class Bundle:
    """What one release of a recommender holds.

    Parameters
    ----------
    ids : mapping
        Name (``items``, ``users``) to the ids that the models' numbers stand for.
    models : mapping
        Name (of a candidate source, say) to the fitted model.
    meta : mapping
        Whatever JSON the release's maker wants to keep beside them.
    """

    KIND: ClassVar[str] = "bundle"

    ids: Mapping[str, IdIndex]
    models: Mapping[str, Any]
    meta: Mapping[str, Json]

    def to_artifact(self) -> Artifact:
        """Return one artifact; a model's arrays are named ``model/array``."""
        parts = {name: model.to_artifact() for name, model in self.models.items()}
        nested = nest(self.KIND, parts, {"ids": list(self.ids), "meta": dict(self.meta)})
        packed = {name: index.pack() for name, index in self.ids.items()}
        return Artifact(
            kind=self.KIND,
            arrays={**nested.arrays, **{f"{n}.offsets": ends for n, (ends, _) in packed.items()}},
            meta=nested.meta,
            blobs={**nested.blobs, **{n: text for n, (_, text) in packed.items()}},
        )

    @classmethod
    def from_artifact(cls, artifact: Artifact) -> Self:
        """Rebuild ids and models; Invalid when a kind is unknown or a part is missing."""
        read = Reader(artifact, cls.KIND)
        ids = {name: read.ids(name) for name in artifact.meta.get("ids", ())}
        models = {name: load(part) for name, part in unnest(artifact).items()}
        return cls(ids, models, artifact.meta.get("meta", {}))


def load(artifact: Artifact) -> Model:
    """Return the model in `artifact`, whatever its kind; Invalid when the kind is unknown."""
    if artifact.kind not in MODELS:
        raise Invalid(f"no model of kind {artifact.kind!r} is known")
    return MODELS[artifact.kind].from_artifact(artifact)
