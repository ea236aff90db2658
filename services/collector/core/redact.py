"""What is kept of an event that was not taken: its bytes, with no user id of the shop in them."""

import re
from collections.abc import Callable

KEPT_BYTES = 64 << 10
_USER = re.compile(rb'("user(?:_?id|Id)?"\s*:\s*)("(?:[^"\\]|\\.){0,1024}"?|-?\d{1,32})')


def redacted(original: bytes, pseudonym: Callable[[str], str]) -> tuple[bytes, bool]:
    """Return `original` with the values of user fields replaced, and whether it was cut.

    Works on bytes, since what was not taken may be no JSON.
    """
    cut = original[:KEPT_BYTES]

    def hidden(match: re.Match[bytes]) -> bytes:
        user = match[2].decode("utf-8", "replace").strip('"')
        return match[1] + b'"' + pseudonym(user).encode() + b'"'

    return _USER.sub(hidden, cut), len(cut) < len(original)
