"""Consent per purpose, as it travels with every event."""

from collections.abc import Iterable
from typing import Literal, get_args

Purpose = Literal["analytics", "personalisation", "marketing"]
PURPOSES: tuple[Purpose, ...] = get_args(Purpose)
"""analytics: counted and trained on in aggregate. personalisation: used for this person's own
answers. marketing: contacted."""

ALL = " ".join(PURPOSES)
NONE = "none"


def spelled(purposes: Iterable[str]) -> str:
    """Return the envelope's spelling: granted purposes in a fixed order, or ``none``."""
    granted = set(purposes)
    return " ".join(p for p in PURPOSES if p in granted) or NONE


def allows(consent: str | None, purpose: Purpose) -> bool:
    """Whether `consent`, as spelled in an envelope, grants `purpose`; None means it was never asked.

    A shop that does not ask (None) relies on a legal basis of its own, so that everything but
    marketing is allowed.
    """
    if consent is None:
        return purpose != "marketing"
    return purpose in consent.split()
