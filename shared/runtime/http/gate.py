"""Who may come in: keys, scopes, origins, rates."""

import binascii
from base64 import b64decode
from collections.abc import Mapping
from urllib.parse import parse_qs

from starlette.types import Scope

from shared.contracts.service import Route
from shared.runtime.clock import Clock
from shared.runtime.http.limits import Buckets
from shared.runtime.http.problems import Problem, too_many
from shared.runtime.keys import ApiKey, ApiKeys
from shared.runtime.settings import Settings

Headers = Mapping[bytes, bytes]
_CHALLENGE = {"WWW-Authenticate": 'Bearer realm="shoploop"'}


class Gate:
    """Admits or refuses a request by its key, its origin and its caller's rate."""

    def __init__(self, keys: ApiKeys, settings: Settings, clock: Clock) -> None:
        self._keys = keys
        self._clock = clock
        self._proxies = settings.trusted_proxies
        self._by_key = Buckets(settings.key_rate_per_s)
        self._by_address = Buckets(settings.ip_rate_per_s)

    def admit(self, route: Route, headers: Headers, scope: Scope) -> ApiKey | None:
        """Return the caller's key, None where an open route needs none.

        Raises
        ------
        Problem
            401 without a valid key, 403 for a key without the scope or from a wrong origin, 429
            above the rate.
        """
        key = self._key(route, headers, scope)
        if key is None and route.scope != "open":
            raise Problem(
                401,
                "Send a valid key in the header Authorization: Bearer KEY, or X-Api-Key: KEY.",
                headers=_CHALLENGE,
            )
        if key is not None:
            self._check(key, route, headers)
        self._pace(key, headers, scope)
        return key

    def _key(self, route: Route, headers: Headers, scope: Scope) -> ApiKey | None:
        text = _presented(headers)
        if text is not None:
            return self._keys.find(text)
        # Pixels and beacons cannot send headers; no other route takes a key from an address,
        # which ends up in histories and proxies' logs.
        if route.scope != "events" or b"key=" not in scope["query_string"]:
            return None
        # As latin-1, which holds any byte: a caller may send what is neither ASCII nor escaped.
        query = parse_qs(scope["query_string"].decode("latin-1"))
        key = self._keys.find(query.get("key", [""])[0])
        if key is not None and not key.publishable:
            raise Problem(
                401,
                "A secret key was sent in an address: revoke it, and send the new one in a header.",
                headers=_CHALLENGE,
            )
        return key

    def _check(self, key: ApiKey, route: Route, headers: Headers) -> None:
        if not key.may(route.scope):
            raise Problem(
                403,
                f"This needs a key with the scope {route.scope!r}; yours has {', '.join(key.scopes)}.",
            )
        if key.publishable and key.origins:
            origin = headers.get(b"origin")
            if not key.from_origin(None if origin is None else origin.decode("latin-1")):
                raise Problem(403, "This key may not be used from pages of this origin.")

    def _pace(self, key: ApiKey | None, headers: Headers, scope: Scope) -> None:
        now_s = self._clock.monotonic()
        if key is None or key.publishable:
            wait_s = self._by_address.take(_address(scope, headers, self._proxies), now_s)
        else:
            wait_s = self._by_key.take(key.sha256, now_s)
        if wait_s:
            raise too_many("You ask too often: wait as Retry-After says.", after_s=wait_s)


def _presented(headers: Headers) -> bytes | None:
    """Return the key in the headers; a basic user, as Segment's libraries send it, counts."""
    given = headers.get(b"authorization")
    if given is None:
        return headers.get(b"x-api-key")
    kind, _, text = given.partition(b" ")
    if kind.lower() != b"basic":
        return text.strip()
    try:
        return b64decode(text, validate=True).partition(b":")[0]
    except binascii.Error:
        return b""


def _address(scope: Scope, headers: Headers, proxies: int) -> object:
    """Return the address to pace by: the peer's, or what the outermost trusted proxy saw."""
    if proxies:
        hops = headers.get(b"x-forwarded-for", b"").split(b",")
        if len(hops) >= proxies:
            return hops[-proxies].strip()
    client = scope.get("client")
    return client[0] if client else None
