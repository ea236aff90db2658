"""The key-value port on a Redis or Valkey, version 7 or later."""

import hashlib
import os
import re
from collections.abc import AsyncIterator, Coroutine, Sequence
from typing import Any, cast

from redis.asyncio import Redis
from redis.exceptions import NoScriptError, RedisError, ResponseError

from shared.contracts.errors import Retryable
from shared.contracts.service import Key, Service
from shared.runtime.clock import Clock, SystemClock
from shared.runtime.kv.commands import Command, Commands, Grants, expiries
from shared.runtime.kv.port import Args, Pipeline, Script, Value
from shared.runtime.kv.wire import checked, wire

EPOCH = "shoploop:epoch"
CONNECTIONS = 32
TIMEOUT_S = 2.0
_SYNC_S = 2.0
"""With ``appendfsync everysec`` Redis writes to disk within two seconds."""


def connect(url: str, *, timeout_s: float = TIMEOUT_S) -> Redis:
    """Return a client that connects when first used, and again when it has to.

    `timeout_s` bounds connecting and each answer.
    """
    return Redis.from_url(
        url,
        socket_timeout=timeout_s,
        socket_connect_timeout=timeout_s,
        socket_keepalive=True,
        protocol=3,
    )


class RedisKeyValue(Commands[Coroutine[Any, Any, Any]]):
    """Commands on the key spaces that `service` declares; see `KeyValue` for what each promises.

    Parameters
    ----------
    redis : redis.asyncio.Redis
        A client that gives back bytes, such as `connect` makes. Closed by `close`.
    service : Service
        Whose manifest grants the keys.
    timeout_s : float
        Longest time for one command or pipeline, waiting for a connection included.
    connections : int
        At most so many sockets.
    clock : Clock, optional
        Waits where Redis cannot tell that it is done.
    """

    def __init__(
        self,
        redis: Redis,
        service: Service,
        *,
        timeout_s: float = TIMEOUT_S,
        connections: int = CONNECTIONS,
        clock: Clock | None = None,
    ) -> None:
        super().__init__(Grants(service), self._one)
        self._send = wire(redis, connections=connections, timeout_s=timeout_s)
        self._clock = clock or SystemClock()

    async def scan(self, key: Key) -> AsyncIterator[str]:
        """Yield the full names of all keys in the space; may repeat one."""
        name = self._grants.name(key, ("",) * len(key.params)).partition("{")[0]
        literal = re.sub(r"([*?\[\]\\])", r"\\\1", name)
        pattern = f"{literal}{{*" if key.params else literal
        cursor = 0
        while True:
            command = ("SCAN", cursor, "MATCH", pattern, "COUNT", 1000)
            ((reached, names),) = checked(await self._send([command]))
            for found in names:
                yield found.decode()
            cursor = int(reached)
            if cursor == 0:
                return

    def pipeline(self) -> Pipeline:
        """Return a new pipeline."""
        return _Pipeline(self)

    def script(self, source: str) -> Script:
        """Return a Lua script bound to this store."""
        return _Script(self, source)

    async def epoch(self) -> str:
        """Return the name of what Redis remembers; a new one once it has forgotten everything."""
        fresh = os.urandom(8).hex()
        answers = await self._send([("SET", EPOCH, fresh, "NX"), ("GET", EPOCH)])
        return cast(bytes, checked(answers)[1]).decode()

    async def durable(self) -> None:
        """Return when all that was written before is on Redis's disk."""
        # WAITAOF answers for the writes of its own connection, so one is made there.
        commands = [("SET", f"{EPOCH}:sync", 1), ("WAITAOF", 1, 0, int(_SYNC_S * 1000))]
        try:
            _, (written, _) = checked(await self._send(commands, timeout_s=2 * _SYNC_S))
        except ResponseError as error:
            if "unknown command" not in str(error):
                raise Retryable(f"Redis cannot keep this durably: {error}") from error
            # Redis before 7.2 cannot tell; its promise to flush each second is waited out.
            await self._clock.sleep(_SYNC_S)
            return
        if not written:
            raise Retryable(f"Redis did not reach its disk within {_SYNC_S:g} s")

    async def healthy(self) -> bool:
        """Whether Redis answers now; never raises."""
        try:
            checked(await self._send([("PING",)]))
        except (Retryable, RedisError):
            return False
        return True

    async def close(self) -> None:
        """Free the connections."""
        await self._send.close()

    async def run(self, commands: Sequence[Command]) -> list[Any]:
        """Send the commands in one round trip and return what each promises."""
        sent = [command.args for command in commands if command.args]
        if not sent:
            return [command.empty for command in commands]
        answers = iter(checked(await self._send([*sent, *expiries(commands)])))
        return [
            command.read(next(answers)) if command.args else command.empty for command in commands
        ]

    async def run_script(
        self, source: str, sha: str, keys: Sequence[tuple[Key, Args]], args: Sequence[Value]
    ) -> Any:
        """Run by hash; a Redis that does not know the script is given its text."""
        names = [self._grants.name(key, at) for key, at in keys]
        rest = (len(names), *names, *args)
        try:
            return checked(await self._send([("EVALSHA", sha, *rest)]))[0]
        except NoScriptError:
            return checked(await self._send([("EVAL", source, *rest)]))[0]

    async def _one(self, command: Command) -> Any:
        return (await self.run((command,)))[0]


class _Pipeline(Commands[None]):
    """Collects commands of one store; `execute` starts the next collection."""

    def __init__(self, store: RedisKeyValue) -> None:
        self._store = store
        self._queue: list[Command] = []
        super().__init__(store._grants, self._queue.append)

    async def execute(self) -> list[Any]:
        queue = self._queue.copy()
        self._queue.clear()
        return await self._store.run(queue)


class _Script:
    def __init__(self, store: RedisKeyValue, source: str) -> None:
        self._store = store
        self._source = source
        self._sha = hashlib.sha1(source.encode(), usedforsecurity=False).hexdigest()

    async def __call__(self, keys: Sequence[tuple[Key, Args]], args: Sequence[Value] = ()) -> Any:
        return await self._store.run_script(self._source, self._sha, keys, args)
