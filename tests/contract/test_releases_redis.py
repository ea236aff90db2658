"""Releases on a real Redis when something is wrong with it, or with what is in it."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import msgspec
import numpy as np
import pytest
from redis.asyncio import Redis

from shared.contracts.artifact import Artifact
from shared.contracts.errors import Invalid, Retryable
from shared.contracts.events import ReleaseChanged
from shared.runtime.clock import FakeClock
from shared.runtime.releases import Provenance
from shared.runtime.releases.keys import PART, POINTER
from shared.runtime.releases.manifest import canonical, signed
from shared.runtime.releases.redis import RedisReleases
from shared.runtime.releases.signing import Signer, Verifier
from shared.tools.local.ports import random_ports
from tests.contract.releases_servers import redis_server
from tests.contract.test_releases import (
    SERVICE,
    SIGNER,
    VERIFIER,
    following,
    live,
    load,
    published,
    redis_url,
    serves,
    smoke,
    storage,
    until,
)

pytestmark = pytest.mark.redis
__all__ = ["redis_url"]
MIB = 1 << 20


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def told() -> list[ReleaseChanged]:
    return []


@pytest.fixture
async def redis(redis_url: str) -> AsyncIterator[Redis]:
    async with Redis.from_url(redis_url) as client:
        await client.flushall()
        yield client


@pytest.fixture
def releases(
    redis: Redis, tmp_path: Path, clock: FakeClock, told: list[ReleaseChanged]
) -> RedisReleases:
    return build(redis, tmp_path, clock, told)


def build(
    redis: Redis,
    path: Path,
    clock: FakeClock,
    told: list[ReleaseChanged],
    *,
    signer: Signer = SIGNER,
    inline_bytes: int = 64 * MIB,
) -> RedisReleases:
    async def report(change: ReleaseChanged) -> None:
        told.append(change)

    return RedisReleases(
        redis=redis,
        service=SERVICE,
        storage=storage(path, inline_bytes),
        verifier=VERIFIER,
        clock=clock,
        signer=signer,
        report=report,
    )


async def large(releases: RedisReleases, mib: int = 3) -> str:
    content = Artifact("toy", {"x": np.arange(mib * MIB // 4, dtype=np.int32)})
    nothing = Provenance(trained_on={}, metrics={}, card={})
    return (await releases.publish("toy", content, nothing)).version


async def refusal(releases: RedisReleases, told: list[ReleaseChanged]) -> str:
    """Let a follower that serves nothing meet the release; return why it refused."""
    follower = releases.follow("toy", load, smoke=smoke)
    await follower.synchronise()
    assert follower.current is None
    assert told[-1].change == "rejected"
    return str(told[-1].reason)


async def test_a_changed_byte_is_refused(
    redis: Redis, releases: RedisReleases, clock: FakeClock, told: list[ReleaseChanged]
) -> None:
    """Whoever can write to Redis could decide what shoppers see."""
    version = await live(releases, clock, 1)
    await redis.setrange(PART.of("toy", version, "0"), 5, b"\x07")
    assert "does not match its sha256" in await refusal(releases, told)


async def test_a_truncated_chunk_is_refused(
    redis: Redis, releases: RedisReleases, told: list[ReleaseChanged]
) -> None:
    """Half a model would be read as a whole one."""
    version = await large(releases)
    await releases.promote("toy", version, epoch=0)
    key = PART.of("toy", version, "1")
    await redis.set(key, (await redis.get(key))[: MIB // 2])
    assert "chunk 1 is 524288 bytes, 1048576 expected" in await refusal(releases, told)


async def test_an_oversized_chunk_is_refused_without_reading_it_whole(
    redis: Redis, releases: RedisReleases, clock: FakeClock, told: list[ReleaseChanged]
) -> None:
    """A chunk of 500 MB in Redis would take the memory of every service."""
    version = await live(releases, clock, 1)
    key = PART.of("toy", version, "0")
    size = await redis.strlen(key)
    await redis.setrange(key, 8 * MIB, b"x")
    assert f"chunk 0 is {size + 1} bytes" in await refusal(releases, told)


async def test_a_missing_chunk_cannot_be_promoted(redis: Redis, releases: RedisReleases) -> None:
    """All replicas would fail to load what the operator has just made live."""
    version = await large(releases)
    await redis.delete(PART.of("toy", version, "2"))
    with pytest.raises(Invalid, match=r"incomplete: .*:2 is missing"):
        await releases.promote("toy", version, epoch=0)
    assert await redis.hgetall(POINTER.of("toy")) == {}


async def test_a_stranger_s_signature_is_refused(
    redis: Redis,
    releases: RedisReleases,
    tmp_path: Path,
    clock: FakeClock,
    told: list[ReleaseChanged],
) -> None:
    """A release from outside would be trusted because it is well formed."""
    stranger = build(redis, tmp_path / "other", clock, told, signer=Signer(b"x" * 32))
    version = await published(stranger, clock, 1)
    with pytest.raises(Invalid, match="no trusted key"):
        await releases.promote("toy", version, epoch=0)
    await redis.hset(POINTER.of("toy"), mapping={"current": version, "epoch": "1"})
    assert "no trusted key" in await refusal(releases, told)


async def test_a_manifest_changed_after_signing_is_refused(
    redis: Redis, releases: RedisReleases, clock: FakeClock, told: list[ReleaseChanged]
) -> None:
    """The model card or the golden examples could be rewritten under a good signature."""
    key = PART.of("toy", await live(releases, clock, 1), "manifest")
    await redis.set(key, (await redis.get(key)).replace(b'"why":"test"', b'"why":"fake"'))
    assert "no trusted key" in await refusal(releases, told)


async def test_a_release_of_another_model_is_refused(
    redis: Redis, releases: RedisReleases, clock: FakeClock, told: list[ReleaseChanged]
) -> None:
    """A well-signed price model would be loaded as a recommender."""
    version = await published(releases, clock, 1)
    manifest = msgspec.structs.replace(await releases.manifest("toy", version), model="prices")
    await redis.set(PART.of("toy", version, "manifest"), signed(manifest, SIGNER)[1])
    await redis.hset(POINTER.of("toy"), mapping={"current": version, "epoch": "1"})
    assert "the release is prices" in await refusal(releases, told)


@pytest.mark.parametrize(
    ("shape", "reason"),
    [((2**33, 2**33), "does not match"), ((2**32,), "does not match"), ((-1,), "cannot be read")],
)
async def test_a_hostile_shape_is_refused_before_allocation(
    shape: tuple[int, ...],
    reason: str,
    redis: Redis,
    releases: RedisReleases,
    clock: FakeClock,
    told: list[ReleaseChanged],
) -> None:
    """One manifest of a few hundred bytes could bring every service down."""
    version = await published(releases, clock, 1)
    key = PART.of("toy", version, "manifest")
    fields = msgspec.json.decode(await redis.get(key))
    fields["contents"]["parts"][0]["shape"] = shape
    fields["signature"] = SIGNER.sign(canonical(fields))
    await redis.set(key, msgspec.json.encode(fields))
    await redis.hset(POINTER.of("toy"), mapping={"current": version, "epoch": "1"})
    assert reason in await refusal(releases, told)


async def test_a_pointer_of_garbage_is_refused_with_a_reason(
    redis: Redis, releases: RedisReleases
) -> None:
    """An operator's slip in redis-cli would crash the services instead of naming itself."""
    await redis.hset(POINTER.of("toy"), mapping={"current": "../../x", "epoch": "many"})
    with pytest.raises(Invalid, match="pointer cannot be read"):
        await releases.pointer("toy")


async def test_a_pointer_of_garbage_takes_nothing_out_of_service(
    redis: Redis, releases: RedisReleases, clock: FakeClock
) -> None:
    """One wrong field would end every replica, and end it again after each start."""
    await live(releases, clock, 1)
    async with following(releases) as follower:
        await until(lambda: serves(follower, 1))
        good = await redis.hgetall(POINTER.of("toy"))
        await redis.hset(POINTER.of("toy"), "epoch", "many")
        await until(lambda: follower.current and follower.current.rung == "stale")
        await redis.hset(POINTER.of("toy"), mapping=good)
        await live(releases, clock, 2)
        await until(lambda: serves(follower, 2))


async def test_a_release_above_the_limit_lies_in_the_folder(
    redis: Redis, tmp_path: Path, clock: FakeClock, told: list[ReleaseChanged]
) -> None:
    """Large models would fill Redis; or the ones in the folder would go unverified."""
    releases = build(redis, tmp_path, clock, told, inline_bytes=MIB)
    version = await large(releases, 2)
    await releases.promote("toy", version, epoch=0)
    assert await redis.exists(PART.of("toy", version, "0")) == 0
    assert (await releases.fetch(await releases.manifest("toy", version))).arrays["x"][-1] == (
        2 * MIB // 4 - 1
    )
    content = tmp_path / "shared" / "toy" / version / "content"
    content.write_bytes(content.read_bytes()[:-4] + b"\0\0\0\0")
    assert "do not match their sha256" in await refusal(releases, told)
    content.unlink()
    with pytest.raises(Exception, match="cannot be read"):
        await releases.promote("toy", version, epoch=1)


async def test_a_redis_that_forgot_everything_is_filled_again(
    redis: Redis, releases: RedisReleases, clock: FakeClock
) -> None:
    """After a lost Redis no service could start until the next training, and none roll back."""
    first, second = await live(releases, clock, 1), await live(releases, clock, 2)
    async with following(releases) as follower:
        await until(lambda: serves(follower, 2))
        await redis.flushall()
        pointer = await releases.restore("toy")
        assert pointer is not None
        assert (pointer.current, pointer.previous, pointer.epoch) == (second, first, 3)
        assert await releases.versions("toy") == [second, first]
        await releases.roll_back("toy", epoch=3)
        await until(lambda: serves(follower, 1))
    assert await releases.restore("toy") is None


async def test_of_two_that_restore_at_once_neither_fails(
    redis: Redis, releases: RedisReleases, clock: FakeClock
) -> None:
    """A training that ends just after Redis was lost would be thrown away."""
    version = await live(releases, clock, 1)
    await redis.flushall()
    restored = await asyncio.gather(*[releases.restore("toy") for _ in range(3)])
    assert [pointer.current for pointer in restored if pointer] == [version]
    assert (await releases.pointer("toy")).epoch == 2


async def test_a_damaged_copy_is_not_restored(
    redis: Redis, releases: RedisReleases, tmp_path: Path, clock: FakeClock
) -> None:
    """The trainer would fill Redis with a release that every service refuses."""
    first, second = await live(releases, clock, 1), await live(releases, clock, 2)
    (tmp_path / "shared" / "toy" / second / "content").write_bytes(b"short")
    await redis.flushall()
    pointer = await releases.restore("toy")
    assert pointer is not None
    assert pointer.current == first


async def test_publishing_into_an_empty_redis_keeps_the_older_releases(
    redis: Redis, releases: RedisReleases, clock: FakeClock
) -> None:
    """The first training after a lost Redis would throw away what a roll-back needs."""
    first = await live(releases, clock, 1)
    await redis.flushall()
    second = await live(releases, clock, 2)
    assert await releases.versions("toy") == [second, first]
    assert (await releases.pointer("toy")).previous == first


async def test_without_redis_the_last_good_release_is_read_from_disk(
    tmp_path: Path, clock: FakeClock, told: list[ReleaseChanged]
) -> None:
    """A restart while Redis is down would leave the shop without recommendations."""
    folder = tmp_path / "redis"
    folder.mkdir()
    (port,) = random_ports(1)
    redis = Redis.from_url(f"redis://127.0.0.1:{port}")
    releases = build(redis, tmp_path, clock, told)
    with redis_server(folder, port):
        await live(releases, clock, 5)
        await releases.follow("toy", load, smoke=smoke).synchronise()
    with pytest.raises(Retryable):
        await releases.pointer("toy")
    clock.advance(3600)
    async with following(releases) as follower:
        await until(lambda: serves(follower, 5))
        assert follower.current is not None
        assert follower.current.rung == "disk"
        assert follower.current.age_s >= 3600
        with redis_server(folder, port):
            await releases.restore("toy")
            await until(lambda: follower.current and follower.current.rung == "current")
        clock.advance(31)
        assert follower.current.rung == "stale"
    await redis.aclose()


async def test_a_damaged_release_on_disk_is_not_served(
    releases: RedisReleases, tmp_path: Path, clock: FakeClock
) -> None:
    """The disk would be trusted more than Redis."""
    version = await live(releases, clock, 5)
    await releases.follow("toy", load, smoke=smoke).synchronise()
    content = tmp_path / "cache" / "toy" / version / "content"
    content.write_bytes(bytes(content.stat().st_size))
    follower = releases.follow("toy", load, smoke=smoke)
    await follower.load_from_disk()
    assert follower.current is None
    # What Redis has takes its place: the next start may have to do without Redis.
    await follower.synchronise()
    cold = releases.follow("toy", load, smoke=smoke)
    await cold.load_from_disk()
    assert serves(cold, 5)


async def test_a_refused_release_is_taken_once_it_is_whole_again(
    redis: Redis, releases: RedisReleases, clock: FakeClock, told: list[ReleaseChanged]
) -> None:
    """A repaired release would need a restart of every replica, and a broken one flood the log."""
    version = await live(releases, clock, 1)
    key = PART.of("toy", version, "0")
    whole = await redis.get(key)
    await redis.set(key, whole[:-1])
    follower = releases.follow("toy", load, smoke=smoke)
    for _ in range(3):
        await follower.synchronise()
    assert [t.change for t in told].count("rejected") == 1
    await redis.set(key, whole)
    clock.advance(61)
    await follower.synchronise()
    assert serves(follower, 1)


async def test_a_canary_is_never_what_a_cold_start_serves(
    releases: RedisReleases, clock: FakeClock
) -> None:
    """With Redis away a restart would serve the canary to everybody."""
    await live(releases, clock, 1)
    await releases.canary("toy", await published(releases, clock, 2), percent=50, epoch=1)
    await releases.follow("toy", load, smoke=smoke).synchronise()
    cold = releases.follow("toy", load, smoke=smoke)
    await cold.load_from_disk()
    assert serves(cold, 1)


async def test_a_canary_that_lost_a_chunk_is_taken_back_all_the_same(
    redis: Redis, releases: RedisReleases, clock: FakeClock
) -> None:
    """The one release that must go could not be got rid of."""
    await live(releases, clock, 1)
    canary = await published(releases, clock, 2)
    await releases.canary("toy", canary, percent=50, epoch=1)
    await redis.delete(PART.of("toy", canary, "0"), PART.of("toy", canary, "manifest"))
    assert (await releases.take_back("toy", epoch=2)).canary is None


async def test_a_refusal_is_told_anew_when_the_canary_is_tried_again(
    redis: Redis, releases: RedisReleases, clock: FakeClock, told: list[ReleaseChanged]
) -> None:
    """A second try of the same broken canary would go to shoppers without a word."""
    await live(releases, clock, 1)
    canary = await published(releases, clock, 2)
    await redis.setrange(PART.of("toy", canary, "0"), 5, b"\x07")
    follower = releases.follow("toy", load, smoke=smoke)
    for epoch in (1, 3):
        await releases.canary("toy", canary, percent=0, epoch=epoch)
        await follower.synchronise()
        await releases.take_back("toy", epoch=epoch + 1)
        await follower.synchronise()
    assert [t.version for t in told if t.change == "rejected"] == [canary, canary]


async def test_keys_can_be_changed_without_a_gap(
    redis: Redis, tmp_path: Path, clock: FakeClock, told: list[ReleaseChanged]
) -> None:
    """After a change of keys the release in service would count as tampered with."""
    await live(build(redis, tmp_path, clock, told), clock, 1)
    both = RedisReleases(
        redis=redis,
        service=SERVICE,
        storage=storage(tmp_path),
        verifier=Verifier([Signer(b"n" * 32).public, SIGNER.public]),
        clock=clock,
    )
    follower = both.follow("toy", load, smoke=smoke)
    await asyncio.wait_for(follower.synchronise(), 20)
    assert serves(follower, 1)
