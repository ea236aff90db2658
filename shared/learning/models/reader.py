"""Typed reading of an artifact, so that a damaged or foreign one is refused with a reason."""

from dataclasses import dataclass

import numpy as np

from shared.contracts.artifact import Array, Artifact
from shared.contracts.errors import Invalid
from shared.learning.arrays import Floats, Ints
from shared.learning.models.ids import IdIndex


@dataclass(frozen=True)
class Reader:
    """The parts of an artifact of one kind; every access raises Invalid when it does not fit."""

    artifact: Artifact
    kind: str

    def __post_init__(self) -> None:
        if self.artifact.kind != self.kind:
            raise Invalid(f"expected an artifact of kind {self.kind}, not {self.artifact.kind}")

    def _array(self, name: str) -> Array:
        if name not in self.artifact.arrays:
            raise Invalid(f"the artifact {self.kind} lacks the array {name}")
        # A view into a release's bytes may be misaligned, which makes every later access slow.
        return np.require(self.artifact.arrays[name], requirements="A")

    def ints(self, name: str, ndim: int = 1) -> Ints:
        """Return an integer array of `ndim` axes."""
        array = self._array(name)
        if array.ndim != ndim or not np.issubdtype(array.dtype, np.integer):
            raise Invalid(f"{self.kind}.{name} must hold integers in {ndim} axes")
        return array

    def floats(self, name: str, *shape: int) -> Floats:
        """Return a finite floating array; -1 in `shape` allows any length."""
        array = self._array(name)
        fits = array.ndim == len(shape) and all(
            want in (-1, got) for want, got in zip(shape, array.shape, strict=True)
        )
        if not fits or not np.issubdtype(array.dtype, np.floating):
            raise Invalid(f"{self.kind}.{name} must hold floats of shape {shape}")
        if not np.isfinite(array).all():
            raise Invalid(f"{self.kind}.{name} must be finite")
        return array

    def int(self, name: str) -> int:
        """Return a whole number of the meta data."""
        value = self.artifact.meta.get(name)
        if not isinstance(value, int) or isinstance(value, bool):
            raise Invalid(f"{self.kind}.{name} must be a whole number")
        return value

    def float(self, name: str) -> float:
        """Return a number of the meta data."""
        value = self.artifact.meta.get(name)
        if not isinstance(value, int | float) or isinstance(value, bool):
            raise Invalid(f"{self.kind}.{name} must be a number")
        return float(value)

    def ids(self, name: str) -> IdIndex:
        """Return the ids that `IdIndex.pack` stored under `name`."""
        if name not in self.artifact.blobs:
            raise Invalid(f"the artifact {self.kind} lacks the blob {name}")
        return IdIndex.unpack(self.ints(f"{name}.offsets"), self.artifact.blobs[name])
