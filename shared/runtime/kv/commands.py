"""The port's commands as Redis wants them, and its answers as the port promises them."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Generic, NamedTuple, TypeVar

from shared.contracts.service import Key, KeyKind, Service
from shared.runtime.kv.port import Value

R = TypeVar("R")


class Command(NamedTuple):
    """One Redis command; without `args` nothing is sent and `empty` is the answer."""

    args: tuple[Value, ...]
    read: Callable[[Any], Any]
    empty: Any = None
    ttl_s: int = 0
    """Lifetime to give to the key after the command; 0 leaves it."""


class Grants:
    """The key spaces that a manifest declares."""

    def __init__(self, service: Service) -> None:
        self._service = service
        # By identity: hashing a dataclass of six fields would cost more than the rest.
        self._ttl_s = {id(key): _lifetime(key) for key in service.keys}

    def name(self, key: Key, at: tuple[str, ...], kind: KeyKind | None = None) -> str:
        """Return the Redis key; raises `UndeclaredKey`, or TypeError for a space of another kind."""
        if id(key) not in self._ttl_s:
            self._service.may_use_key(key)
        if kind is not None and kind != key.kind:
            raise TypeError(f"{key.name} is declared as {key.kind}, not {kind}")
        return key.of(*at)

    def ttl_s(self, key: Key) -> int:
        """Return the lifetime that a write renews; 0 if there is none."""
        found = self._ttl_s.get(id(key))
        return _lifetime(key) if found is None else found


class Commands(Generic[R]):
    """Builds the port's commands; `emit` decides what a call gives: an answer, or a place in a queue."""

    def __init__(self, grants: Grants, emit: Callable[[Command], R]) -> None:
        self._grants = grants
        self._emit = emit

    def get(self, key: Key, *at: str) -> R:
        """See `KeyValue.get`."""
        return self._emit(Command(("GET", self._grants.name(key, at, "string")), _as_is))

    def set(self, key: Key, *at: str, value: Value, only_new: bool = False) -> R:
        """See `KeyValue.set`."""
        args: tuple[Value, ...] = ("SET", self._grants.name(key, at, "string"), value)
        if ttl_s := self._grants.ttl_s(key):
            args += ("EX", ttl_s)
        return self._emit(Command((*args, "NX") if only_new else args, _done))

    def delete(self, key: Key, *at: str) -> R:
        """See `KeyValue.delete`."""
        return self._emit(Command(("UNLINK", self._grants.name(key, at)), bool))

    def hgetall(self, key: Key, *at: str) -> R:
        """See `KeyValue.hgetall`."""
        return self._emit(Command(("HGETALL", self._grants.name(key, at, "hash")), _fields))

    def hmget(self, key: Key, *at: str, fields: Sequence[str]) -> R:
        """See `KeyValue.hmget`."""
        name = self._grants.name(key, at, "hash")
        return self._emit(Command(("HMGET", name, *fields) if fields else (), list, []))

    def hset(self, key: Key, *at: str, values: Mapping[str, Value]) -> R:
        """See `KeyValue.hset`."""
        return self._write("HSET", key, at, "hash", _flat(values))

    def hdel(self, key: Key, *at: str, fields: Sequence[str]) -> R:
        """See `KeyValue.hdel`."""
        return self._write("HDEL", key, at, "hash", fields)

    def zadd(self, key: Key, *at: str, scores: Mapping[str, float], newest: bool = False) -> R:
        """See `KeyValue.zadd`."""
        args: tuple[Value, ...] = tuple(
            part for member, score in scores.items() for part in (score, member)
        )
        return self._write("ZADD", key, at, "zset", ("GT", *args) if newest and args else args)

    def zrem(self, key: Key, *at: str, members: Sequence[str]) -> R:
        """See `KeyValue.zrem`."""
        return self._write("ZREM", key, at, "zset", members)

    def ztrim(self, key: Key, *at: str, keep: int) -> R:
        """See `KeyValue.ztrim`."""
        return self._write("ZREMRANGEBYRANK", key, at, "zset", (0, -1 - max(keep, 0)))

    def zrange_desc(self, key: Key, *at: str, count: int) -> R:
        """See `KeyValue.zrange_desc`."""
        name = self._grants.name(key, at, "zset")
        args = ("ZRANGE", name, 0, count - 1, "REV", "WITHSCORES") if count > 0 else ()
        return self._emit(Command(args, _scored, []))

    def sadd(self, key: Key, *at: str, members: Sequence[str]) -> R:
        """See `KeyValue.sadd`."""
        return self._write("SADD", key, at, "set", members)

    def srem(self, key: Key, *at: str, members: Sequence[str]) -> R:
        """See `KeyValue.srem`."""
        return self._write("SREM", key, at, "set", members)

    def smembers(self, key: Key, *at: str) -> R:
        """See `KeyValue.smembers`."""
        return self._emit(Command(("SMEMBERS", self._grants.name(key, at, "set")), set))

    def _write(
        self, verb: str, key: Key, at: tuple[str, ...], kind: KeyKind, args: Sequence[Value]
    ) -> R:
        name = self._grants.name(key, at, kind)
        if not args:
            return self._emit(Command((), int, 0))
        return self._emit(Command((verb, name, *args), int, 0, self._grants.ttl_s(key)))


def expiries(commands: Iterable[Command]) -> list[tuple[Value, ...]]:
    """Return one EXPIRE for each key that was written and has a lifetime."""
    lifetimes = {command.args[1]: command.ttl_s for command in commands if command.ttl_s}
    return [("EXPIRE", name, ttl_s) for name, ttl_s in lifetimes.items()]


def _lifetime(key: Key) -> int:
    return 0 if key.ttl is None else max(1, int(key.ttl.total_seconds()))


def _as_is(answer: Any) -> Any:
    return answer


def _done(answer: Any) -> bool:
    return answer is not None


def _flat(values: Mapping[str, Value]) -> tuple[Value, ...]:
    return tuple(part for pair in values.items() for part in pair)


# A server speaks in maps and pairs (RESP3) or in flat lists (RESP2); both are read.


def _fields(answer: Any) -> dict[bytes, bytes]:
    if isinstance(answer, dict):
        return answer
    return dict(zip(answer[::2], answer[1::2], strict=True))


def _scored(answer: Any) -> list[tuple[bytes, float]]:
    nested = answer and isinstance(answer[0], (list, tuple))
    pairs = answer if nested else zip(answer[::2], answer[1::2], strict=True)
    return [(member, float(score)) for member, score in pairs]
