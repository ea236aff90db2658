"""Many commands in one round trip, at a fraction of the client's own pipeline's cost.

The pipeline of `redis.asyncio` spends some 13 µs of Python on a command (a coroutine and a timer
for each answer) and its pool 50 µs on a connection; one write and one loop over the parser spend
3 and 10. Connecting, authentication, TLS and parsing stay the library's.
"""

import asyncio
import time
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from typing import Any, Protocol, cast

import hiredis
from redis.asyncio import Connection, Redis
from redis.asyncio.connection import SSLConnection, UnixDomainSocketConnection
from redis.exceptions import (
    AskError,
    BusyLoadingError,
    ClusterError,
    ConnectionError,
    MasterDownError,
    OutOfMemoryError,
    ReadOnlyError,
    RedisError,
    TimeoutError,
    TryAgainError,
)

from shared.contracts.errors import Retryable
from shared.runtime.kv.port import Value

AWAY = (
    ConnectionError,
    TimeoutError,
    BusyLoadingError,
    MasterDownError,
    OutOfMemoryError,
    ReadOnlyError,
    TryAgainError,
    OSError,
    asyncio.TimeoutError,
)
"""What passes when it is tried again later."""


_pack = cast("Callable[[tuple[Value, ...]], bytes]", hiredis.pack_command)

_SWEEP_S = 0.25


class Wire(Protocol):
    """Sends commands and returns the raw answers, errors among them as values."""

    async def __call__(
        self, commands: Sequence[tuple[Value, ...]], *, timeout_s: float | None = None
    ) -> list[Any]:
        """Send all, then return as many answers, in order; raises `Retryable`."""
        ...

    async def close(self) -> None:
        """Free the connections."""
        ...


def wire(redis: Redis, *, connections: int, timeout_s: float) -> Wire:
    """Return the fastest way to reach `redis`: directly on sockets where its client has such."""
    real = (Connection, SSLConnection, UnixDomainSocketConnection)
    if redis.connection_pool.connection_class in real:
        return _Sockets(redis, connections, timeout_s)
    return _Client(redis)


class _Sockets:
    """Writes to the client's connections and reads with their parsers.

    At most `connections` are open; more callers at once wait for one within their `timeout_s`.
    """

    def __init__(self, redis: Redis, connections: int, timeout_s: float) -> None:
        self._redis = redis
        self._timeout_s = timeout_s
        self._free = asyncio.Semaphore(connections)
        self._idle: list[Any] = []
        self._due: dict[Any, float] = {}
        self._tls: Any = None
        self._sweeping = False

    async def __call__(
        self, commands: Sequence[tuple[Value, ...]], *, timeout_s: float | None = None
    ) -> list[Any]:
        sent = b"".join([_pack(command) for command in commands])
        allowed_s = timeout_s or self._timeout_s
        try:
            async with asyncio.timeout(allowed_s) if self._free.locked() else nullcontext():
                await self._free.acquire()
            try:
                return await self._exchange(sent, len(commands), allowed_s)
            finally:
                self._free.release()
        except AWAY as error:
            raise _retryable(error) from error

    async def close(self) -> None:
        while self._idle:
            await self._idle.pop().disconnect()
        await self._redis.aclose()

    async def _exchange(self, sent: bytes, count: int, allowed_s: float) -> list[Any]:
        connection = await self._connected()
        self._limit(connection, allowed_s)
        # The library's own reader and writer; its public calls cost a timer for each answer.
        try:
            connection._writer.write(sent)
            read = connection._parser.read_response
            answers = [await read() for _ in range(count)]
        except BaseException as error:
            # Answers may still be under way; nobody else must get them.
            late = self._due.pop(connection, None) is None
            await connection.disconnect(nowait=True)
            if late and isinstance(error, AWAY):
                raise TimeoutError(f"no answer within {allowed_s:g} s") from error
            raise
        self._due.pop(connection, None)
        if ReadOnlyError in map(type, answers):
            # A primary no more; its name may lead to the new one by now.
            await connection.disconnect(nowait=True)
        else:
            self._idle.append(connection)
        return answers

    def _limit(self, connection: Any, allowed_s: float) -> None:
        self._due[connection] = time.monotonic() + allowed_s
        if not self._sweeping:
            self._sweeping = True
            self._sweep_soon()

    def _sweep_soon(self) -> None:
        # One timer for all: one for each command would double what a command costs.
        asyncio.get_running_loop().call_later(min(_SWEEP_S, self._timeout_s / 4), self._sweep)

    def _sweep(self) -> None:
        now = time.monotonic()
        for connection in [c for c, due in self._due.items() if due < now]:
            del self._due[connection]
            connection._writer.transport.abort()
        self._sweeping = bool(self._due)
        if self._sweeping:
            self._sweep_soon()

    async def _connected(self) -> Any:
        while self._idle:
            connection = self._idle.pop()
            if not connection._reader.at_eof():
                return connection
            await connection.disconnect(nowait=True)
        fresh: Any = self._redis.connection_pool.make_connection()  # type: ignore[no-untyped-call]
        if isinstance(fresh, SSLConnection):
            # Reading the certificates takes 20 ms, in which the loop stands still.
            fresh.ssl_context = self._tls = self._tls or fresh.ssl_context
        try:
            await fresh.connect()
        except AWAY:
            self._tls = None  # the certificates may have been renewed
            raise
        return fresh


class _Client:
    """The client's own pipeline, for clients without sockets."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis

    async def __call__(
        self, commands: Sequence[tuple[Value, ...]], *, timeout_s: float | None = None
    ) -> list[Any]:
        pipeline = self._redis.pipeline(transaction=False)
        for command in commands:
            pipeline.execute_command(*command)
        try:
            return list(await pipeline.execute(raise_on_error=False))
        except AWAY as error:
            raise _retryable(error) from error

    async def close(self) -> None:
        await self._redis.aclose()


def checked(answers: list[Any]) -> list[Any]:
    """Return the answers; raises the first error among them, as `Retryable` where it passes."""
    for answer in answers:
        if isinstance(answer, AWAY):
            raise _retryable(answer) from answer
        if isinstance(answer, AskError | ClusterError):
            raise RedisError(
                "this Redis is one of a cluster, which is not supported yet: name a single server"
            ) from answer
        if isinstance(answer, RedisError):
            raise answer
    return answers


def _retryable(error: BaseException) -> Retryable:
    return Retryable(f"Redis is away: {error or type(error).__name__}")
