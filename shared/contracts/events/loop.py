"""Events of the loop itself: releases, erasures, counts."""

from datetime import datetime
from typing import Literal

from msgspec import Struct

from shared.contracts.events.fields import Count, Id, Name, Text

Change = Literal[
    "published",
    "promoted",
    "refused",
    "rolled_back",
    "loaded",
    "rejected",
    "canary",
    "taken_back",
]
"""What can happen to a release."""


class ReleaseChanged(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What happened to a release; `metrics` are offline figures unless `online` says otherwise.

    `canary`: some shoppers get it, or (at 0 %, as `reason` says) replicas load it and nobody does;
    `taken_back`: the canary was ended without a promotion. `rolled_back` names the release that
    is in service again. `loaded` and `rejected` are said by a serving process, on the machine
    `replica`.
    """

    model: Name
    version: Name
    change: Change
    previous: Name | None = None
    reason: Text | None = None
    metrics: dict[str, float] = {}
    online: dict[str, float] = {}
    by: Name | None = None
    replica: Name | None = None


class Erasure(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Forget this person, or (with `service`) what that service removed."""

    user: Id
    anonids: tuple[Id, ...] = ()
    service: Name | None = None
    removed: dict[str, int] = {}


class AuditCount(Struct, frozen=True, kw_only=True):
    """How many ids passed a stage in one minute, and the XOR of their 64-bit hashes."""

    stage: Name
    minute: datetime
    count: Count
    digest: Name
