"""What every service may rely on in the key-value store, in memory and on a real Redis."""

from collections.abc import AsyncIterator
from datetime import timedelta

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from redis.asyncio import Redis

from shared.contracts.errors import Retryable, UndeclaredKey
from shared.contracts.service import Key, Process, Service
from shared.runtime.clock import FakeClock
from shared.runtime.kv import KeyValue, RedisKeyValue, connect

WORD = Key("word", ("user",), "string", "A word.")
BRIEF = Key("brief", ("user",), "string", "A word for a while.", ttl=timedelta(seconds=100))
CARD = Key("card", ("user", "field"), "hash", "Fields.")
SEEN = Key("seen", ("user",), "zset", "Items by time.", ttl=timedelta(seconds=100))
TAGS = Key("tags", ("user",), "set", "Tags.")
ONLY = Key("only", (), "string", "One value.")
FOREIGN = Key("foreign", ("user",), "string", "Of another service.")
SERVICE = Service(
    "testing", "A test.", (Process("http", "It."),), keys=(WORD, BRIEF, CARD, SEEN, TAGS, ONLY)
)


@pytest.fixture
async def kv(any_redis: Redis) -> AsyncIterator[KeyValue]:
    """The store under test."""
    store = RedisKeyValue(any_redis, SERVICE, clock=FakeClock())
    yield store
    await store.close()


async def test_a_value_is_read_as_it_was_set(kv: KeyValue) -> None:
    """A view would answer with the wrong thing, or with what was deleted."""
    assert await kv.get(WORD, "ann") is None
    assert await kv.set(WORD, "ann", value="tea") is True
    assert await kv.get(WORD, "ann") == b"tea"
    assert await kv.get(WORD, "bob") is None
    assert await kv.delete(WORD, "ann") is True
    assert await kv.delete(WORD, "ann") is False
    await kv.set(ONLY, value=7)
    assert await kv.get(ONLY) == b"7"


async def test_the_first_of_two_wins_a_new_key(kv: KeyValue) -> None:
    """Two replicas would both believe that they took the slot."""
    assert await kv.set(BRIEF, "ann", value="1", only_new=True) is True
    assert await kv.set(BRIEF, "ann", value="2", only_new=True) is False
    assert await kv.get(BRIEF, "ann") == b"1"


async def test_hashes_keep_their_fields(kv: KeyValue) -> None:
    """A profile would lose fields, or mix those of two people."""
    assert await kv.hset(CARD, "ann", "x", values={"name": "Ann", "age": 7}) == 2
    assert await kv.hset(CARD, "ann", "x", values={"age": 8}) == 0
    assert await kv.hgetall(CARD, "ann", "x") == {b"name": b"Ann", b"age": b"8"}
    assert await kv.hmget(CARD, "ann", "x", fields=["age", "none"]) == [b"8", None]
    assert await kv.hdel(CARD, "ann", "x", fields=["age", "none"]) == 1
    assert await kv.hgetall(CARD, "ann", "y") == {}


async def test_scores_rank_and_trim(kv: KeyValue) -> None:
    """A history would keep the oldest instead of the newest items."""
    assert await kv.zadd(SEEN, "ann", scores={"a": 1, "b": 2, "c": 3}) == 3
    assert await kv.zrange_desc(SEEN, "ann", count=2) == [(b"c", 3.0), (b"b", 2.0)]
    assert await kv.ztrim(SEEN, "ann", keep=2) == 1
    assert await kv.zrange_desc(SEEN, "ann", count=9) == [(b"c", 3.0), (b"b", 2.0)]
    assert await kv.zrem(SEEN, "ann", members=["c", "z"]) == 1
    assert await kv.zrange_desc(SEEN, "ann", count=0) == []
    assert await kv.zrange_desc(SEEN, "bob", count=5) == []
    assert await kv.ztrim(SEEN, "ann", keep=0) == 1


async def test_a_replayed_older_event_does_not_win_over_a_newer(kv: KeyValue) -> None:
    """A replay would move shoppers back in time."""
    await kv.zadd(SEEN, "ann", scores={"a": 5}, newest=True)
    await kv.zadd(SEEN, "ann", scores={"a": 3, "b": 1}, newest=True)
    assert await kv.zrange_desc(SEEN, "ann", count=9) == [(b"a", 5.0), (b"b", 1.0)]


async def test_sets_count_what_is_new(kv: KeyValue) -> None:
    """A segment would count members twice."""
    assert await kv.sadd(TAGS, "ann", members=["a", "b"]) == 2
    assert await kv.sadd(TAGS, "ann", members=["b", "c"]) == 1
    assert await kv.smembers(TAGS, "ann") == {b"a", b"b", b"c"}
    assert await kv.srem(TAGS, "ann", members=["a", "z"]) == 1
    assert await kv.smembers(TAGS, "bob") == set()


async def test_nothing_to_write_is_no_error(kv: KeyValue) -> None:
    """A worker would crash on an event without items."""
    assert await kv.hset(CARD, "ann", "x", values={}) == 0
    assert await kv.zadd(SEEN, "ann", scores={}) == 0
    assert await kv.zadd(SEEN, "ann", scores={}, newest=True) == 0
    assert await kv.sadd(TAGS, "ann", members=[]) == 0
    assert await kv.zrem(SEEN, "ann", members=[]) == 0
    assert await kv.hmget(CARD, "ann", "x", fields=[]) == []


async def test_each_write_renews_the_life_of_a_key(kv: KeyValue, any_redis: Redis) -> None:
    """Active shoppers would lose their history, or Redis would grow without end."""
    name = SEEN.of("ann")
    for write in (
        lambda: kv.zadd(SEEN, "ann", scores={"a": 1, "b": 2}),
        lambda: kv.ztrim(SEEN, "ann", keep=5),
        lambda: kv.zrem(SEEN, "ann", members=["b"]),
    ):
        await write()
        assert await any_redis.ttl(name) == 100
        await any_redis.persist(name)
    await kv.set(BRIEF, "ann", value="x")
    assert await any_redis.ttl(BRIEF.of("ann")) == 100
    await kv.set(WORD, "ann", value="x")
    assert await any_redis.ttl(WORD.of("ann")) == -1


async def test_a_pipeline_answers_in_the_order_of_its_commands(
    kv: KeyValue, any_redis: Redis
) -> None:
    """A request would take one shopper's history for another's."""
    pipe = kv.pipeline()
    pipe.zadd(SEEN, "ann", scores={"a": 1, "b": 2})
    pipe.sadd(TAGS, "ann", members=[])
    pipe.zrange_desc(SEEN, "ann", count=1)
    pipe.hset(CARD, "ann", "x", values={"f": "v"})
    pipe.hmget(CARD, "ann", "x", fields=["f", "g"])
    pipe.ztrim(SEEN, "ann", keep=1)
    pipe.zrange_desc(SEEN, "ann", count=9)
    pipe.set(WORD, "ann", value="w", only_new=True)
    pipe.set(WORD, "ann", value="v", only_new=True)
    pipe.get(WORD, "ann")
    pipe.smembers(TAGS, "ann")
    pipe.delete(WORD, "ann")
    assert await pipe.execute() == [
        2, 0, [(b"b", 2.0)], 1, [b"v", None], 1, [(b"b", 2.0)], True, False, b"w", set(), True,
    ]  # fmt: skip
    assert await any_redis.ttl(SEEN.of("ann")) == 100
    assert await pipe.execute() == []
    pipe.get(WORD, "ann")
    assert await pipe.execute() == [None]


async def test_a_large_pipeline_comes_back_whole(kv: KeyValue) -> None:
    """A worker's batch would stand still or lose commands."""
    pipe = kv.pipeline()
    for number in range(3000):
        pipe.zadd(SEEN, f"u{number}", scores={"i" * 100: number})
        pipe.zrange_desc(SEEN, f"u{number}", count=1)
    answers = await pipe.execute()
    assert answers[0::2] == [1] * 3000
    assert [pairs[0][1] for pairs in answers[1::2]] == list(range(3000))


async def test_a_service_reaches_only_what_it_declares(kv: KeyValue) -> None:
    """A manifest could lie about who uses what."""
    with pytest.raises(UndeclaredKey, match="foreign"):
        await kv.get(FOREIGN, "ann")
    with pytest.raises(UndeclaredKey):
        kv.pipeline().get(FOREIGN, "ann")
    with pytest.raises(UndeclaredKey):
        await kv.script("return 1")([(FOREIGN, ("ann",))])
    with pytest.raises(UndeclaredKey):
        await anext(kv.scan(FOREIGN))
    twin = Key("word", ("user",), "string", "A word.")
    assert await kv.set(twin, "ann", value="x") is True


async def test_a_command_must_fit_the_declared_kind(kv: KeyValue) -> None:
    """The map of keys would show something else than what is there."""
    with pytest.raises(TypeError, match="declared as string"):
        await kv.sadd(WORD, "ann", members=["a"])
    with pytest.raises(TypeError):
        await kv.get(WORD)


async def test_a_script_runs_even_after_redis_forgot_it(kv: KeyValue, any_redis: Redis) -> None:
    """After a restart of Redis every decision would fail."""
    add = kv.script("redis.call('SET', KEYS[1], ARGV[1]) return {KEYS[2], ARGV[2]}")
    keys = [(WORD, ("ann",)), (TAGS, ("ann",))]
    expected = [TAGS.of("ann").encode(), b"2"]
    assert await add(keys, ["x", 2]) == expected
    await any_redis.script_flush()
    assert await add(keys, ["y", 2]) == expected
    assert await kv.get(WORD, "ann") == b"y"


async def test_scan_finds_the_keys_of_its_space_alone(kv: KeyValue) -> None:
    """An operator would clear too much, or too little."""
    for user in ("ann", "b:o{b}*", "😀 x"):
        await kv.set(WORD, user, value="x")
    await kv.sadd(TAGS, "ann", members=["a"])
    await kv.set(ONLY, value="x")
    found = {name async for name in kv.scan(WORD)}
    assert found == {WORD.of("ann"), WORD.of("b:o{b}*"), WORD.of("😀 x")}
    assert [name async for name in kv.scan(ONLY)] == ["only"]


async def test_redis_that_forgot_everything_has_a_new_epoch(kv: KeyValue, any_redis: Redis) -> None:
    """Views would stay empty for ever after a lost Redis."""
    before = await kv.epoch()
    assert await kv.epoch() == before
    await any_redis.flushall()
    assert await kv.epoch() != before


@pytest.mark.parametrize("any_redis", ["memory"], indirect=True)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(users=st.lists(st.text(min_size=1, max_size=20), min_size=2, max_size=2, unique=True))
async def test_two_people_never_share_a_key(kv: KeyValue, users: list[str]) -> None:
    """One shopper would see another's profile, whatever characters the shop has in its ids."""
    ann, bob = users
    await kv.hset(CARD, ann, "x", values={"who": ann.encode("utf-8", "surrogatepass")})
    await kv.hset(CARD, bob, "x", values={"who": b"bob"})
    assert (await kv.hgetall(CARD, ann, "x"))[b"who"] == ann.encode("utf-8", "surrogatepass")
    assert CARD.of(ann, "b") != CARD.of(f"{ann}:b", "")


async def test_a_redis_that_is_away_may_be_tried_again() -> None:
    """A worker would crash, or put good events aside, because Redis restarts."""
    kv = RedisKeyValue(connect("redis://127.0.0.1:1/0", timeout_s=1), SERVICE)
    with pytest.raises(Retryable):
        await kv.get(WORD, "ann")
    with pytest.raises(Retryable):
        await kv.script("return 1")([])
    with pytest.raises(Retryable):
        await kv.epoch()
    assert await kv.healthy() is False
    await kv.close()
