"""Releases of models through Redis: publish, promote, follow."""

from shared.runtime.releases.port import (
    Following,
    Loaded,
    Manifest,
    Moved,
    Pointer,
    Provenance,
    Releases,
)

__all__ = ["Following", "Loaded", "Manifest", "Moved", "Pointer", "Provenance", "Releases"]
