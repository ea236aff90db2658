"""Callers who take for ever over the head of a request, or over reading an answer, are hung up on.

uvicorn bounds how long a connection is idle, and the front how long an answer takes; between the
two a caller who sends a header every ten seconds would hold a connection without end.
"""

import asyncio
from collections.abc import Collection
from typing import Any, NamedTuple

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

_LOOKS = 10
"""Looks at all connections in the time that each has; a request itself costs nothing."""


class _Wait(NamedTuple):
    """Since when a connection has had no request under way, and the last that it had."""

    last: RequestResponseCycle | None
    since_s: float


class Heads:
    """Bounds the time from a connection's start, or its last answer, to the next complete head.

    Parameters
    ----------
    limit_s : float
        After this the connection is closed; what it did not read of its answers is thrown away when
        as much time has passed again.
    """

    def __init__(self, limit_s: float) -> None:
        self._limit_s = limit_s
        self._looking = False
        self._waits: dict[HttpToolsProtocol, _Wait] = {}

    def watch(self, connection: HttpToolsProtocol) -> None:
        """Bound a connection, and all others of its server, from now on."""
        if not self._looking:
            self._looking = True
            self._look_soon(connection.connections)

    def _look_soon(self, connections: Collection[Any]) -> None:
        wait_s = self._limit_s / _LOOKS
        asyncio.get_running_loop().call_later(wait_s, self._look, connections)

    def _look(self, connections: Collection[Any]) -> None:
        now_s = asyncio.get_running_loop().time()
        idle = [c for c in connections if _has_no_request(c)]
        self._waits = {connection: self._looked_at(connection, now_s) for connection in idle}
        self._looking = bool(connections)
        if self._looking:
            self._look_soon(connections)

    def _looked_at(self, connection: HttpToolsProtocol, now_s: float) -> _Wait:
        before = self._waits.get(connection)
        if before is None or before.last is not connection.cycle:
            return _Wait(connection.cycle, now_s)
        waited_s = now_s - before.since_s
        if waited_s > 2 * self._limit_s:
            connection.transport.abort()
        elif waited_s > self._limit_s:
            connection.transport.close()
        return before


def _has_no_request(connection: HttpToolsProtocol) -> bool:
    cycle = connection.cycle
    return cycle is None or cycle.response_complete or connection.transport.is_closing()
