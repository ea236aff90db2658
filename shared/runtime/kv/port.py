"""What a service may do with Redis: commands on declared key spaces, alone or in a pipeline."""

from collections.abc import AsyncIterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from typing import Any, Protocol

from shared.contracts.service import Key

Value = bytes | str | int | float
Args = tuple[str, ...]


class Script(Protocol):
    """A Lua script, loaded once and run by its hash."""

    async def __call__(self, keys: Sequence[tuple[Key, Args]], args: Sequence[Value] = ()) -> Any:
        """Run it; KEYS are the declared keys, ARGV the args. Raises `Retryable` when Redis is away.

        Renews no `ttl`: a script that writes sets the expiry itself.
        """
        ...


class Pipeline(Protocol):
    """Commands sent in one round trip; not atomic. Results come from `execute` in their order.

    Each command gives what the command of the same name of `KeyValue` returns; `hmget` gives a
    list with None for absent fields.
    """

    def get(self, key: Key, *at: str) -> None: ...
    def set(self, key: Key, *at: str, value: Value, only_new: bool = False) -> None: ...
    def delete(self, key: Key, *at: str) -> None: ...
    def hset(self, key: Key, *at: str, values: Mapping[str, Value]) -> None: ...
    def hgetall(self, key: Key, *at: str) -> None: ...
    def hmget(self, key: Key, *at: str, fields: Sequence[str]) -> None: ...
    def hdel(self, key: Key, *at: str, fields: Sequence[str]) -> None: ...
    def zadd(
        self, key: Key, *at: str, scores: Mapping[str, float], newest: bool = False
    ) -> None: ...
    def zrem(self, key: Key, *at: str, members: Sequence[str]) -> None: ...
    def ztrim(self, key: Key, *at: str, keep: int) -> None: ...
    def zrange_desc(self, key: Key, *at: str, count: int) -> None: ...
    def sadd(self, key: Key, *at: str, members: Sequence[str]) -> None: ...
    def srem(self, key: Key, *at: str, members: Sequence[str]) -> None: ...
    def smembers(self, key: Key, *at: str) -> None: ...
    async def execute(self) -> list[Any]: ...


class KeyValue(Protocol):
    """Commands on declared keys; every one raises `UndeclaredKey` or, with Redis away, `Retryable`.

    A key space with a `ttl` has it renewed by every write. Strings come back as bytes. A command
    that does not fit the key's `kind` is a TypeError. Nothing is retried here: after `Retryable`
    a write may or may not have happened.
    """

    async def get(self, key: Key, *at: str) -> bytes | None:
        """Return the value, None if absent."""
        ...

    async def set(self, key: Key, *at: str, value: Value, only_new: bool = False) -> bool:
        """Store; False if `only_new` and there was one."""
        ...

    async def delete(self, key: Key, *at: str) -> bool:
        """Remove, whatever its kind; True if there was one."""
        ...

    async def hgetall(self, key: Key, *at: str) -> dict[bytes, bytes]:
        """Return all fields, empty if absent."""
        ...

    async def hmget(self, key: Key, *at: str, fields: Sequence[str]) -> list[bytes | None]:
        """Return the fields in their order, None where absent."""
        ...

    async def hset(self, key: Key, *at: str, values: Mapping[str, Value]) -> int:
        """Set fields; return how many were new."""
        ...

    async def hdel(self, key: Key, *at: str, fields: Sequence[str]) -> int:
        """Remove fields; return how many there were."""
        ...

    async def zadd(
        self, key: Key, *at: str, scores: Mapping[str, float], newest: bool = False
    ) -> int:
        """Add members; return how many were new.

        With `newest` a lower score never replaces a higher one (idempotent by nature).
        """
        ...

    async def zrem(self, key: Key, *at: str, members: Sequence[str]) -> int:
        """Remove members; return how many there were."""
        ...

    async def ztrim(self, key: Key, *at: str, keep: int) -> int:
        """Keep the `keep` members of highest score; return how many went."""
        ...

    async def zrange_desc(self, key: Key, *at: str, count: int) -> list[tuple[bytes, float]]:
        """Return up to `count` members, highest score first."""
        ...

    async def smembers(self, key: Key, *at: str) -> AbstractSet[bytes]:
        """Return the set's members."""
        ...

    async def sadd(self, key: Key, *at: str, members: Sequence[str]) -> int:
        """Add; return how many were new."""
        ...

    async def srem(self, key: Key, *at: str, members: Sequence[str]) -> int:
        """Remove members; return how many there were."""
        ...

    def scan(self, key: Key) -> AsyncIterator[str]:
        """Yield the full names of all keys in the space; may repeat one. For operators, not requests."""
        ...

    def pipeline(self) -> Pipeline:
        """Return a new pipeline."""
        ...

    def script(self, source: str) -> Script:
        """Return a Lua script bound to this store."""
        ...

    async def epoch(self) -> str:
        """Return the name of what Redis remembers; a new one once it has forgotten everything.

        A view whose epoch has changed is gone and is rebuilt from the log.
        """
        ...

    async def durable(self) -> None:
        """Return when all that was written before is on Redis's disk; for a vault or an outbox.

        Raises `Retryable` when that cannot be had: Redis is away or keeps no append-only file.
        """
        ...

    async def healthy(self) -> bool:
        """Whether Redis answers now; never raises."""
        ...

    async def close(self) -> None:
        """Free the connections."""
        ...
