"""Artifacts of several models put into one, and taken apart again."""

from collections.abc import Mapping
from typing import TypeVar

from shared.contracts.artifact import Artifact, Json
from shared.contracts.errors import Invalid

T = TypeVar("T")


def nest(
    kind: str, parts: Mapping[str, Artifact], meta: Mapping[str, Json] | None = None
) -> Artifact:
    """Return one artifact; the arrays and blobs of a part are named ``part/name``."""
    return Artifact(
        kind=kind,
        arrays={
            f"{n}/{key}": array for n, part in parts.items() for key, array in part.arrays.items()
        },
        meta={
            "parts": {n: {"kind": part.kind, "meta": dict(part.meta)} for n, part in parts.items()},
            **(meta or {}),
        },
        blobs={f"{n}/{key}": blob for n, part in parts.items() for key, blob in part.blobs.items()},
    )


def unnest(artifact: Artifact) -> dict[str, Artifact]:
    """Return the parts; Invalid when the artifact does not say what they are."""
    parts = artifact.meta.get("parts")
    if not isinstance(parts, Mapping):
        raise Invalid(f"the artifact {artifact.kind} does not name its parts")
    return {name: _part(artifact, name, entry) for name, entry in parts.items()}


def _part(artifact: Artifact, name: str, entry: Json) -> Artifact:
    if not isinstance(entry, Mapping) or not isinstance(entry.get("kind"), str):
        raise Invalid(f"the part {name} of {artifact.kind} has no kind")
    prefix = f"{name}/"
    return Artifact(
        kind=entry["kind"],
        arrays=_below(artifact.arrays, prefix),
        meta=entry.get("meta", {}),
        blobs=_below(artifact.blobs, prefix),
    )


def _below(named: Mapping[str, T], prefix: str) -> dict[str, T]:
    return {key.removeprefix(prefix): v for key, v in named.items() if key.startswith(prefix)}
