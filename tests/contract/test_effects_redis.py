"""Effects in Redis, and those that leave the system: once, through replays and crashes."""

import asyncio
from collections import Counter
from datetime import timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from redis.asyncio import Redis
from redis.exceptions import ResponseError

from shared.contracts.errors import Retryable
from shared.contracts.service import Key, Service
from shared.runtime.bus.port import Position
from shared.runtime.effects import Ledger, OncePerOffset
from shared.runtime.kv import RedisKeyValue
from tests.fixtures.redis import memory_kv

APPLIED = Key("applied", (), "hash", "Next offset of each partition.")
COUNTS = Key("counts", (), "hash", "Views of each item.")
SENT = Key("sent", ("id",), "string", "Mails that were sent.", ttl=timedelta(days=40))
SERVICE = Service("svc", "", (), keys=(APPLIED, COUNTS, SENT))
COUNT = "redis.call('HINCRBY', keys[1], event.item, event.n)"


def place(offset: int, partition: int = 0) -> Position:
    return Position("behaviour", partition, offset)


async def counted(kv: RedisKeyValue) -> dict[str, int]:
    return {k.decode(): int(v) for k, v in (await kv.hgetall(COUNTS)).items()}


@settings(max_examples=25)
@given(
    items=st.lists(st.sampled_from(["a", "b", "ö 漢 😀", 'q"\\']), max_size=12),
    restarts=st.lists(st.tuples(st.integers(0, 12), st.integers(0, 12)), max_size=4),
    size=st.integers(1, 5),
)
def test_counts_in_redis_are_right_for_a_replay_from_every_offset(
    items: list[str], restarts: list[tuple[int, int]], size: int
) -> None:
    """Law: a view in Redis would over-count after each restart of its worker."""

    async def main() -> None:
        kv = memory_kv(SERVICE)
        count = OncePerOffset(kv, APPLIED, COUNT)
        for start, end in [*restarts, (0, len(items))]:
            events = [(place(i), {"item": items[i], "n": 1}) for i in range(len(items))][start:end]
            if start > await _next(kv):
                continue  # Kafka never skips ahead of what was committed
            for at in range(0, len(events), size):
                await count(events[at : at + size], keys=[(COUNTS, ())])
        assert await counted(kv) == Counter(items)

    asyncio.run(main())


async def _next(kv: RedisKeyValue) -> int:
    return int((await kv.hgetall(APPLIED)).get(b"behaviour/0", b"0"))


async def test_what_was_done_is_told_and_partitions_are_kept_apart(any_redis: Redis) -> None:
    """Offset 5 of one partition says nothing of another's."""
    kv = RedisKeyValue(any_redis, SERVICE)
    count = OncePerOffset(kv, APPLIED, COUNT)
    keys = [(COUNTS, ())]
    assert await count([(place(i), {"item": "a", "n": 1}) for i in (3, 4, 9)], keys=keys) == 3
    assert await count([(place(i), {"item": "a", "n": 1}) for i in (4, 9, 10)], keys=keys) == 1
    assert await count([(place(0, 1), {"item": "a", "n": 1})], keys=keys) == 1
    assert await count([], keys=keys) == 0
    assert await counted(kv) == {"a": 5}
    assert await kv.hgetall(APPLIED) == {b"behaviour/0": b"11", b"behaviour/1": b"1"}
    with pytest.raises(ValueError, match="one partition"):
        await count([(place(0), {}), (place(0, 1), {})])


async def test_offsets_stay_exact_beyond_32_bits(any_redis: Redis) -> None:
    """Lua counts in floating point: a rounded offset would skip or repeat events."""
    kv = RedisKeyValue(any_redis, SERVICE)
    count, large = OncePerOffset(kv, APPLIED, COUNT), 2**52
    for offset in (large, large, large + 1, large):
        await count([(place(offset), {"item": "a", "n": 1})], keys=[(COUNTS, ())])
    assert await counted(kv) == {"a": 2}
    assert await kv.hgetall(APPLIED) == {b"behaviour/0": str(large + 2).encode()}


async def test_an_effect_that_fails_keeps_those_before_it(any_redis: Redis) -> None:
    """A repeated call would otherwise count the first events of the batch twice."""
    kv = RedisKeyValue(any_redis, SERVICE)
    count = OncePerOffset(kv, APPLIED, "if event.n < 0 then error('negative') end " + COUNT)
    events = [(place(i), {"item": "a", "n": n}) for i, n in enumerate([1, 1, -1, 1])]
    for _ in range(2):
        with pytest.raises(ResponseError, match="negative"):
            await count(events, keys=[(COUNTS, ())])
    assert await counted(kv) == {"a": 2}
    assert await count(events[3:], keys=[(COUNTS, ())]) == 1


class Mailbox:
    """Takes mails; can be away, or take one and not say so."""

    def __init__(self) -> None:
        self.mails: list[str] = []
        self.fails: list[Exception | None] = []

    def send(self, mail: str, *, taken: bool = True):
        async def effect() -> None:
            failure = self.fails.pop(0) if self.fails else None
            if failure is None or not isinstance(failure, Retryable):
                self.mails.append(mail)
            if failure is not None:
                raise failure

        return effect


async def test_a_mail_is_sent_once(any_redis: Redis) -> None:
    """A replay of a campaign would write to all its customers again."""
    kv, box = RedisKeyValue(any_redis, SERVICE), Mailbox()
    assert await Ledger(kv, SENT).once("m1", box.send("hello"), unfinished="skip")
    for ledger in (Ledger(kv, SENT), Ledger(kv, SENT)):
        assert not await ledger.once("m1", box.send("hello"), unfinished="repeat")
    assert box.mails == ["hello"]


async def test_a_mail_that_was_surely_not_sent_is_sent_later(any_redis: Redis) -> None:
    """A mail server that is away for a minute would cost a customer the coupon."""
    kv, box = RedisKeyValue(any_redis, SERVICE), Mailbox()
    ledger = Ledger(kv, SENT)
    box.fails = [Retryable("no connection"), Retryable("no connection")]
    for _ in range(2):
        with pytest.raises(Retryable):
            await ledger.once("m1", box.send("hello"), unfinished="skip")
    assert await ledger.once("m1", box.send("hello"), unfinished="skip")
    assert box.mails == ["hello"]


@pytest.mark.parametrize(("unfinished", "mails"), [("repeat", 2), ("skip", 1)])
async def test_who_calls_decides_what_an_unknown_end_means(
    any_redis: Redis, unfinished: str, mails: int
) -> None:
    """A coupon must not come twice; an order confirmation must come."""
    kv, box = RedisKeyValue(any_redis, SERVICE), Mailbox()
    box.fails = [TimeoutError()]
    with pytest.raises(TimeoutError):
        await Ledger(kv, SENT).once("m1", box.send("hello"), unfinished=unfinished)
    for _ in range(2):
        await Ledger(kv, SENT).once("m1", box.send("hello"), unfinished=unfinished)
    assert len(box.mails) == mails


class Flaky:
    """A store whose n-th write is done, or not, and answered with an error either way."""

    def __init__(self, kv: RedisKeyValue, at: int, *, written: bool) -> None:
        self._kv, self._at, self._written, self.calls = kv, at, written, 0

    async def set(self, key: Key, *at: str, value: bytes, only_new: bool = False) -> bool:
        return await self._maybe(lambda: self._kv.set(key, *at, value=value, only_new=only_new))

    async def delete(self, key: Key, *at: str) -> bool:
        return await self._maybe(lambda: self._kv.delete(key, *at))

    async def get(self, key: Key, *at: str) -> bytes | None:
        return await self._kv.get(key, *at)

    async def _maybe(self, write) -> bool:
        self.calls += 1
        if self.calls != self._at:
            return await write()
        if self._written:
            await write()
        raise Retryable("Redis did not answer")


@pytest.mark.parametrize("unfinished", ["repeat", "skip"])
@pytest.mark.parametrize("written", [True, False])
@pytest.mark.parametrize("at", [1, 2, 3])
@pytest.mark.parametrize("fails", [[], [Retryable("away")]])
async def test_an_answer_that_gets_lost_neither_loses_nor_doubles_a_mail(
    unfinished: str, written: bool, at: int, fails: list[Exception]
) -> None:
    """A hiccup of Redis at any step would send a coupon twice, or never."""
    box = Mailbox()
    box.fails = list(fails)
    ledger = Ledger(Flaky(memory_kv(SERVICE), at, written=written), SENT)  # type: ignore[arg-type]
    for _ in range(6):
        try:
            await ledger.once("m1", box.send("hello"), unfinished=unfinished)
        except Retryable:
            continue
    assert box.mails == ["hello"]


def test_a_ledger_without_an_end_is_refused() -> None:
    """It would fill Redis with the ids of years."""
    with pytest.raises(ValueError, match="ttl"):
        Ledger(memory_kv(SERVICE), APPLIED)
