"""HMAC pseudonyms."""

import hashlib
import hmac
from base64 import urlsafe_b64encode
from functools import lru_cache

from shared.contracts.errors import Invalid
from shared.contracts.ids import MAX_ID_BYTES, UserId

REMEMBERED = 50_000
"""Pseudonyms kept at hand, about 10 MiB."""


class HmacPseudonyms:
    """HMAC-SHA-256 (RFC 2104) under the installation's key, cut to 128 bits, in base64url.

    Whoever has the key can find the pseudonym of an id, nobody can find the id of a pseudonym but
    by trying ids: the key is as secret as the ids are personal, and changing it makes strangers of
    all shoppers.

    Parameters
    ----------
    key : bytes
        At least 16 bytes.
    """

    def __init__(self, key: bytes) -> None:
        if len(key) < 16:
            raise ValueError("a pseudonym key has at least 16 bytes")
        keyed = hmac.new(key, digestmod=hashlib.sha256)

        @lru_cache(maxsize=REMEMBERED)
        def of(user: str) -> UserId:
            named = keyed.copy()
            named.update(_checked(user))
            return UserId(urlsafe_b64encode(named.digest()[:16])[:22].decode())

        self._of = of

    def of(self, user: str) -> UserId:
        """Return the pseudonym of one of the shop's user ids, 22 characters."""
        return self._of(user)


def _checked(user: str) -> bytes:
    raw = user.encode("utf-8", "surrogatepass")
    if not raw or user.isspace():
        raise Invalid("a user id is not empty", field="user")
    if len(raw) > MAX_ID_BYTES:
        raise Invalid(f"a user id has at most {MAX_ID_BYTES} bytes", field="user")
    return raw
