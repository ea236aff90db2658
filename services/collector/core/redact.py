"""What is kept of an event that was not taken: its bytes, with no user id of the shop in them."""

import re
from collections.abc import Callable

import msgspec

from shared.contracts.errors import Invalid

KEPT_BYTES = 64 << 10
_USER = re.compile(
    rb'("(?:uid|(?:user|customer)[\W_]{0,3}(?:id)?)"\s*:\s*)'
    rb'("(?:[^"\\]++|\\.)*+"?|[\[{].*|(?!null\b)[^\s"\[{,}\]]++)',
    re.IGNORECASE | re.DOTALL,
)
"""A name for a person, ours or another's, and a value: text, anything that has parts (of which no
end is sought), or a number."""


def redacted(original: bytes, pseudonym: Callable[[str], str]) -> tuple[bytes, bool]:
    """Return `original` with the values of user fields replaced, and whether it was cut.

    Works on bytes, since what was not taken may be no JSON.
    """
    cut = original[:KEPT_BYTES]

    def hidden(match: re.Match[bytes]) -> bytes:
        try:
            named = pseudonym(_text(match[2]))
        except Invalid:
            named = ""
        return match[1] + b'"' + named.encode() + b'"'

    return _USER.sub(hidden, cut), len(cut) < len(original)


def _text(value: bytes) -> str:
    try:
        return str(msgspec.json.decode(value))
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return value.decode("utf-8", "replace")
