"""How the pointer moves: pure functions from one pointer to the next."""

import zlib
from collections.abc import Mapping, Sequence

import msgspec

from shared.contracts.errors import Invalid
from shared.runtime.releases.port import Moved, Pointer


def promoted(before: Pointer, version: str) -> Pointer:
    """Return the pointer with `version` live and no canary; promoting twice keeps the previous."""
    previous = before.previous if before.current == version else before.current
    return Pointer(current=version, previous=previous, epoch=before.epoch + 1)


def with_canary(before: Pointer, version: str, percent: int) -> Pointer:
    """Return the pointer with `version` served to `percent` of the users.

    At 0 it is loaded and tested by every replica and served to nobody.
    """
    if not 0 <= percent <= 100:
        raise Invalid("must lie in 0 … 100", field="percent")
    if before.current is None:
        raise Invalid("there is no release in service beside which it could be tried")
    if before.current == version:
        raise Invalid(f"{version} is in service for everybody already")
    return msgspec.structs.replace(
        before, canary=version, canary_percent=percent, epoch=before.epoch + 1
    )


def canary_reason(percent: int, reason: str | None) -> str:
    """Return to whom a canary is served, and why."""
    share = f"served to {percent} % of the users" if percent else "only loaded by replicas"
    return share if reason is None else f"{share}: {reason}"


def without_canary(before: Pointer) -> Pointer:
    """Return the pointer with the release in service for everybody; `Invalid` without a canary."""
    if before.canary is None:
        raise Invalid("there is no canary to take back")
    return Pointer(current=before.current, previous=before.previous, epoch=before.epoch + 1)


def gets_canary(version: str, user: str, percent: int) -> bool:
    """Whether this user is among the `percent` who get the canary; a user's answer never changes.

    The version is hashed too, or the same people would try every canary.
    """
    return zlib.crc32(f"{version}/{user}".encode()) % 100 < percent


def rolled_back(before: Pointer, versions: Sequence[str]) -> Pointer:
    """Return the pointer with the previous release live, and the one before that as previous.

    `versions` are those there are, newest first.
    """
    if before.previous is None:
        raise Invalid("there is no previous release to go back to")
    older = [version for version in versions if version < before.previous]
    return Pointer(
        current=before.previous, previous=older[0] if older else None, epoch=before.epoch + 1
    )


def restored(kept: Pointer, versions: Sequence[str]) -> Pointer:
    """Return what `kept` says as far as `versions` (newest first, not empty) still has it."""
    current = kept.current if kept.current in versions else versions[0]
    previous = kept.previous if kept.previous in versions and kept.previous != current else None
    return Pointer(current=current, previous=previous, epoch=kept.epoch + 1)


def expect_epoch(model: str, actual: int, expected: int) -> None:
    """Raise `Invalid` when someone else has moved the pointer in the meantime."""
    if actual != expected:
        raise Invalid(
            f"the pointer of {model} has moved: epoch {actual}, expected {expected}; look again"
        )


def from_fields(fields: Mapping[str, str]) -> Pointer:
    """Return the pointer of a hash's fields; `Invalid` when they are not those of a pointer."""
    try:
        return msgspec.convert(fields, Pointer, strict=False)
    except msgspec.ValidationError as error:
        raise Invalid(f"the pointer cannot be read: {error}") from error


def to_fields(pointer: Pointer) -> dict[str, str]:
    """Return the hash's fields; what is absent stays absent."""
    fields = {k: str(v) for k, v in msgspec.to_builtins(pointer).items() if v is not None}
    return {**fields, "epoch": str(pointer.epoch)}


def moved(at_s: float, fields: Mapping[bytes, bytes]) -> Moved:
    """Return the change that an entry of the log tells of."""
    texts = {name.decode(): value.decode() for name, value in fields.items()}
    return Moved(
        at_s=at_s,
        change=texts["change"],
        version=texts["version"],
        reason=texts.get("reason") or None,
        by=texts.get("by") or None,
    )
