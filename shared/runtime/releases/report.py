"""Telling of what happened to a release."""

from collections.abc import Awaitable, Callable
from typing import Literal

from shared.contracts.errors import Retryable
from shared.contracts.events import ReleaseChanged
from shared.contracts.events.loop import Change
from shared.runtime.releases.port import Manifest
from shared.runtime.telemetry import log

Report = Callable[[ReleaseChanged], Awaitable[None]]
PointerChange = Literal["promoted", "canary", "taken_back", "rolled_back", "restored"]
"""What can happen to the pointer."""

MAX_REASON = 4096

_log = log(__name__)


async def unreported(change: ReleaseChanged) -> None:
    """Tell nobody."""


async def tell(report: Report, change: ReleaseChanged) -> None:
    """Report, and go on when nobody can be told: the pointer has the truth."""
    try:
        await report(change)
    except Retryable as away:
        _log.warning("release change not reported", change=change.change, reason=str(away))


def change_of(manifest: Manifest, change: Change) -> ReleaseChanged:
    """Return the event that something happened to the release; its metrics are the plain numbers."""
    figures = {k: float(v) for k, v in manifest.metrics.items() if isinstance(v, int | float)}
    return ReleaseChanged(
        model=manifest.model,
        version=manifest.version,
        change=change,
        previous=manifest.parent,
        metrics=figures,
    )
