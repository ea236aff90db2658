"""Identifiers: what they look like and how a new one is made."""

from typing import NewType

UserId = NewType("UserId", str)
"""A pseudonym (see `shared.runtime.privacy`); the shop's own user id never gets past a door."""
AnonId = NewType("AnonId", str)
ItemId = NewType("ItemId", str)

MAX_ID_BYTES = 256


def uuid7(now_ms: int, entropy: bytes) -> str:
    """Return a UUID version 7 (RFC 9562, section 5.7), which sorts by time.

    Parameters
    ----------
    now_ms : int
        Milliseconds since 1970, below 2**48.
    entropy : bytes
        At least 10 random bytes.
    """
    number = (now_ms << 80) | int.from_bytes(entropy[:10], "big")
    number = number & ~(0xF << 76) | (0x7 << 76)
    number = number & ~(0x3 << 62) | (0x2 << 62)
    text = f"{number:032x}"
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"
