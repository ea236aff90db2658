"""Several models and the ids they share, as one artifact."""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, ClassVar, Protocol, Self

from shared.contracts.artifact import Artifact, Json
from shared.contracts.errors import Invalid
from shared.learning.models.ials import Ials
from shared.learning.models.ids import IdIndex
from shared.learning.models.item_knn import ItemKnn
from shared.learning.models.popularity import Popularity, Trending
from shared.learning.models.reader import Reader
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
    {model.KIND: model for model in (LocalSlim, Ials, ItemKnn, Popularity, Trending)}
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
        packed = {name: index.pack() for name, index in self.ids.items()}
        arrays = {f"{n}/{key}": a for n, part in parts.items() for key, a in part.arrays.items()}
        blobs = {f"{n}/{key}": b for n, part in parts.items() for key, b in part.blobs.items()}
        arrays |= {f"{name}.offsets": bounds for name, (bounds, _) in packed.items()}
        blobs |= {name: text for name, (_, text) in packed.items()}
        models = {n: {"kind": part.kind, "meta": dict(part.meta)} for n, part in parts.items()}
        meta = {"ids": list(self.ids), "models": models, "meta": dict(self.meta)}
        return Artifact(self.KIND, arrays, meta, blobs)

    @classmethod
    def from_artifact(cls, artifact: Artifact) -> Self:
        """Rebuild ids and models; Invalid when a kind is unknown or a part is missing."""
        read = Reader(artifact, cls.KIND)
        ids = {name: read.ids(name) for name in artifact.meta.get("ids", ())}
        models = {
            name: load(_part(artifact, name, entry))
            for name, entry in artifact.meta.get("models", {}).items()
        }
        return cls(ids, models, artifact.meta.get("meta", {}))


def load(artifact: Artifact) -> Model:
    """Return the model in `artifact`, whatever its kind; Invalid when the kind is unknown."""
    if artifact.kind not in MODELS:
        raise Invalid(f"no model of kind {artifact.kind!r} is known")
    return MODELS[artifact.kind].from_artifact(artifact)


def _part(artifact: Artifact, name: str, entry: Mapping[str, Json]) -> Artifact:
    prefix = f"{name}/"
    return Artifact(
        kind=entry["kind"],
        arrays={
            k.removeprefix(prefix): a for k, a in artifact.arrays.items() if k.startswith(prefix)
        },
        meta=entry["meta"],
        blobs={
            k.removeprefix(prefix): b for k, b in artifact.blobs.items() if k.startswith(prefix)
        },
    )
