"""How the pointer moves: pure functions from one pointer to the next."""

from collections.abc import Mapping, Sequence

import msgspec

from shared.contracts.errors import Invalid
from shared.runtime.releases.port import Pointer


def promoted(before: Pointer, version: str) -> Pointer:
    """Return the pointer with `version` live and no canary; promoting twice keeps the previous."""
    previous = before.previous if before.current == version else before.current
    return Pointer(current=version, previous=previous, epoch=before.epoch + 1)


def with_canary(before: Pointer, version: str, percent: int) -> Pointer:
    """Return the pointer with `version` served to `percent` of the users; 0 ends the canary."""
    if not 0 <= percent <= 100:
        raise Invalid("must lie in 0 … 100", field="percent")
    return msgspec.structs.replace(
        before,
        canary=version if percent else None,
        canary_percent=percent,
        epoch=before.epoch + 1,
    )


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
