"""The services of a checkout, found by their manifests."""

import importlib
from collections.abc import Iterable
from pathlib import Path

from shared.contracts.service import Service
from shared.tools.local.errors import LocalStackError
from shared.tools.local.paths import CHECKOUT


def names(root: Path = CHECKOUT) -> tuple[str, ...]:
    """Give the names of all services that have a manifest, in order."""
    return tuple(sorted(path.parent.name for path in (root / "services").glob("*/manifest.py")))


def manifest(name: str) -> Service:
    """Give the declaration of one service.

    Raises
    ------
    LocalStackError
        There is no such service.
    """
    if name not in names():
        raise LocalStackError(
            f"there is no service {name!r}", f"choose among: {', '.join(names()) or 'none yet'}"
        )
    declared = importlib.import_module(f"services.{name}.manifest").SERVICE
    assert isinstance(declared, Service)
    return declared


def manifests(chosen: Iterable[str | Service]) -> tuple[Service, ...]:
    """Give the declarations of the chosen services; a declaration stands for itself."""
    return tuple(one if isinstance(one, Service) else manifest(one) for one in chosen)
