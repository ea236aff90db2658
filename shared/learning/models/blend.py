"""A weighted sum of models, each put on the same scale first."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, Protocol, Self

import numpy as np

from shared.contracts.artifact import Artifact
from shared.contracts.errors import Invalid
from shared.learning.arrays import Floats, Ints
from shared.learning.features.history import History
from shared.learning.models.ials import Ials
from shared.learning.models.item_knn import ItemKnn
from shared.learning.models.nesting import nest, unnest
from shared.learning.models.pure_svd import PureSvd
from shared.learning.models.reader import Reader
from shared.learning.models.slim import LocalSlim


class Explained(Protocol):
    """A model whose scores are sums over the history."""

    KIND: ClassVar[str]

    @property
    def n_items(self) -> int:
        """How many items the model scores."""
        ...

    def scores(self, history: History) -> Floats:
        """Return the (n_items,) scores."""
        ...

    def contributions(self, history: History, item: int) -> tuple[Ints, Floats]:
        """Return history items and their parts of the score of `item`."""
        ...

    def to_artifact(self) -> Artifact:
        """Return the model's content."""
        ...


_BLENDED = {model.KIND: model for model in (LocalSlim, Ials, ItemKnn, PureSvd)}


@dataclass(frozen=True)
class Blend:
    """``scores = sum of factor * scores`` over its models; linear, so explanations stay exact.

    Parameters
    ----------
    models : mapping
        Name to fitted model; all score the same items.
    factors : mapping
        Name to factor: the model's share divided by the spread of its scores.
    """

    KIND: ClassVar[str] = "blend"

    models: Mapping[str, Explained]
    factors: Mapping[str, float]

    @classmethod
    def fit(
        cls,
        models: Mapping[str, Explained],
        shares: Mapping[str, float],
        histories: Sequence[History],
    ) -> Self:
        """Divide each model's share by the mean standard deviation of its scores.

        Parameters
        ----------
        models : mapping
            Name to fitted model.
        shares : mapping
            Name to share, not negative; a model of share 0 is left out.
        histories : sequence of History
            A sample of shoppers on whom the spread is measured.
        """
        if set(shares) != set(models) or min(shares.values(), default=-1.0) < 0:
            raise Invalid("each model needs a share that is not negative")
        if not any(shares.values()):
            raise Invalid("one model at least needs a share above 0")
        kept = {name: model for name, model in models.items() if shares[name] > 0}
        factors = {n: shares[n] / _spread(model, histories) for n, model in kept.items()}
        return cls(kept, factors)

    @property
    def n_items(self) -> int:
        """How many items the model scores."""
        return next(iter(self.models.values())).n_items

    def scores(self, history: History) -> Floats:
        """Return the (n_items,) scores; all zero for an empty history."""
        parts = [self.factors[name] * model.scores(history) for name, model in self.models.items()]
        return np.asarray(sum(parts[1:], start=parts[0]), dtype=np.float32)

    def contributions(self, history: History, item: int) -> tuple[Ints, Floats]:
        """Return distinct history items and their signed parts, which add up to the score."""
        items, parts = [], []
        for name, model in self.models.items():
            seen, values = model.contributions(history, item)
            items.append(seen)
            parts.append(values * self.factors[name])
        distinct, place = np.unique(np.concatenate(items), return_inverse=True)
        total = np.bincount(place, weights=np.concatenate(parts), minlength=len(distinct))
        return distinct, np.asarray(total, dtype=np.float64)

    def to_artifact(self) -> Artifact:
        """Return the models as parts of one artifact."""
        parts = {name: model.to_artifact() for name, model in self.models.items()}
        return nest(self.KIND, parts, {f"factor/{n}": f for n, f in self.factors.items()})

    @classmethod
    def from_artifact(cls, artifact: Artifact) -> Self:
        """Rebuild the models; Invalid when one is of a kind that cannot be blended."""
        read = Reader(artifact, cls.KIND)
        models: dict[str, Explained] = {}
        for name, part in unnest(artifact).items():
            if part.kind not in _BLENDED:
                raise Invalid(f"a model of kind {part.kind!r} cannot be blended")
            models[name] = _BLENDED[part.kind].from_artifact(part)
        if not models or len({model.n_items for model in models.values()}) > 1:
            raise Invalid("a blend needs models that score the same items")
        return cls(models, {name: read.float(f"factor/{name}") for name in models})


def _spread(model: Explained, histories: Sequence[History]) -> float:
    spread = [float(model.scores(history).std()) for history in histories]
    return max(float(np.mean(spread)) if spread else 1.0, 1e-12)
