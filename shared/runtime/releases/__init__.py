"""Releases of models through Redis: publish, promote, follow."""

from shared.runtime.releases.port import Loaded, Releases

__all__ = ["Loaded", "Releases"]
