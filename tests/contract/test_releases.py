"""What both adapters of the releases port promise."""

import asyncio
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from redis.asyncio import Redis

from shared.contracts.artifact import Artifact
from shared.contracts.errors import Invalid, NotFound, UndeclaredModel
from shared.contracts.events import ReleaseChanged
from shared.contracts.service import ModelUse, Process, Service
from shared.runtime.clock import FakeClock
from shared.runtime.releases import Following, Provenance, Releases
from shared.runtime.releases.folder import ReleaseFolder
from shared.runtime.releases.memory import MemoryReleases
from shared.runtime.releases.redis import RedisReleases, Storage
from shared.runtime.releases.signing import Signer, Verifier
from shared.tools.local.ports import random_ports
from tests.contract.releases_servers import redis_server

SIGNER = Signer(b"s" * 32)
VERIFIER = Verifier([SIGNER.public])
SERVICE = Service(
    name="loop",
    about="Publishes and reads.",
    processes=(Process("http", "all"),),
    models=(ModelUse("toy", "nothing"),),
    releases=("toy",),
)


@pytest.fixture(scope="module")
def redis_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    (port,) = random_ports(1)
    with redis_server(tmp_path_factory.mktemp("redis"), port):
        yield f"redis://127.0.0.1:{port}"


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def told() -> list[ReleaseChanged]:
    return []


@pytest.fixture(params=["memory", pytest.param("redis", marks=pytest.mark.redis)])
async def releases(
    request: pytest.FixtureRequest, tmp_path: Path, clock: FakeClock, told: list[ReleaseChanged]
) -> AsyncIterator[Releases]:
    async def report(change: ReleaseChanged) -> None:
        told.append(change)

    if request.param == "memory":
        yield MemoryReleases(clock=clock, cache=tmp_path / "cache", report=report)
        return
    redis = Redis.from_url(request.getfixturevalue("redis_url"))
    await redis.flushall()
    yield RedisReleases(
        redis=redis,
        service=SERVICE,
        storage=storage(tmp_path),
        verifier=VERIFIER,
        clock=clock,
        signer=SIGNER,
        report=report,
    )
    await redis.aclose()


def storage(path: Path, inline_bytes: int = 64 << 20) -> Storage:
    limit = 100 << 20
    return Storage(
        shared=ReleaseFolder(path / "shared", VERIFIER, limit),
        cache=ReleaseFolder(path / "cache", VERIFIER, limit),
        inline_bytes=inline_bytes,
        max_bytes=limit,
    )


def artifact(value: int, size: int = 10) -> Artifact:
    return Artifact("toy", {"x": np.full(size, value, dtype=np.int32)}, {"n": value}, {"b": b"hi"})


async def published(releases: Releases, clock: FakeClock, value: int) -> str:
    clock.advance(1)
    provenance = Provenance(
        trained_on={"rows": 3}, metrics={"ndcg": 0.5}, card={"why": "test"}, golden=[{"n": value}]
    )
    return (await releases.publish("toy", artifact(value), provenance)).version


async def live(releases: Releases, clock: FakeClock, value: int) -> str:
    version = await published(releases, clock, value)
    await releases.promote("toy", version, epoch=(await releases.pointer("toy")).epoch)
    return version


def load(artifact: Artifact) -> int:
    return int(artifact.arrays["x"][0])


def smoke(model: int, golden: Sequence[Mapping[str, Any]]) -> str | None:
    wrong = [g for g in golden if g["n"] != model]
    return f"wanted {wrong[0]['n']}, got {model}" if wrong else None


@asynccontextmanager
async def following(releases: Releases) -> AsyncIterator[Following[int]]:
    follower = releases.follow("toy", load, smoke=smoke)
    task = asyncio.create_task(follower.run())
    yield follower
    task.cancel()


async def until(condition: Any) -> None:
    async with asyncio.timeout(20):
        while not condition():
            await asyncio.sleep(0.01)


def serves(follower: Following[int], value: int) -> bool:
    return follower.current is not None and follower.current.model == value


async def test_a_published_release_reads_as_it_was_written(
    releases: Releases, clock: FakeClock
) -> None:
    """The recommender would score with other weights than the trainer evaluated."""
    manifest = await releases.manifest("toy", await published(releases, clock, 7))
    read = await releases.fetch(manifest)
    assert (read.arrays["x"] == 7).all()
    assert (read.meta, read.blobs, manifest.trained_on) == ({"n": 7}, {"b": b"hi"}, {"rows": 3})


async def test_nothing_is_live_before_it_is_promoted(releases: Releases, clock: FakeClock) -> None:
    """A candidate that no gate has seen would answer shoppers."""
    await published(releases, clock, 1)
    assert (await releases.pointer("toy")).current is None


async def test_promotion_at_an_old_epoch_is_refused(releases: Releases, clock: FakeClock) -> None:
    """Of two trainers or operators the slower one would silently win."""
    first = await live(releases, clock, 1)
    second = await published(releases, clock, 2)
    with pytest.raises(Invalid, match="has moved"):
        await releases.promote("toy", second, epoch=0)
    assert (await releases.pointer("toy")).current == first


async def test_promoting_what_does_not_exist_is_refused(releases: Releases) -> None:
    """A typing error of the operator would take the model out of service."""
    with pytest.raises(NotFound):
        await releases.promote("toy", "20240101t000000000-abcdef", epoch=0)


async def test_five_versions_are_kept_and_those_in_use(
    releases: Releases, clock: FakeClock
) -> None:
    """Redis would fill up, or lose the release that a roll-back needs."""
    if isinstance(releases, MemoryReleases):
        pytest.skip("memory keeps all")
    versions = [await live(releases, clock, n) for n in range(8)]
    assert await releases.versions("toy") == versions[:2:-1]
    with pytest.raises(NotFound):
        await releases.manifest("toy", versions[0])


async def test_roll_back_walks_to_older_releases(releases: Releases, clock: FakeClock) -> None:
    """An operator could not get behind two bad releases in a row."""
    one, two, three = [await live(releases, clock, n) for n in (1, 2, 3)]
    pointer = await releases.roll_back("toy", epoch=3)
    assert (pointer.current, pointer.previous, pointer.epoch) == (two, one, 4)
    pointer = await releases.roll_back("toy", epoch=4)
    assert (pointer.current, pointer.previous) == (one, None)
    with pytest.raises(Invalid, match="no previous"):
        await releases.roll_back("toy", epoch=5)
    assert await releases.manifest("toy", three)


async def test_followers_swap_to_a_promoted_release(
    releases: Releases, clock: FakeClock, told: list[ReleaseChanged]
) -> None:
    """Shoppers would go on seeing yesterday's model."""
    async with following(releases) as follower:
        assert follower.current is None
        for value in (1, 2):
            version = await live(releases, clock, value)
            await until(lambda value=value: serves(follower, value))
            assert follower.current is not None
            assert follower.current.version == version
            assert follower.current.rung == "current"
    # A replica may be quicker than whoever moved the pointer.
    assert sorted(t.change for t in told) == sorted(["published", "promoted", "loaded"] * 2)


async def test_a_release_that_fails_its_golden_examples_is_refused(
    releases: Releases, clock: FakeClock, told: list[ReleaseChanged]
) -> None:
    """A model that loads but answers nonsense would replace a good one."""
    async with following(releases) as follower:
        await live(releases, clock, 1)
        await until(lambda: serves(follower, 1))
        bad = Provenance(trained_on={}, metrics={}, card={}, golden=[{"n": 99}])
        clock.advance(1)
        version = (await releases.publish("toy", artifact(2), bad)).version
        await releases.promote("toy", version, epoch=1)
        await until(lambda: any(t.change == "rejected" for t in told))
        assert serves(follower, 1)
        assert follower.current is not None
        assert follower.current.rung == "stale"
    (refusal,) = [t for t in told if t.change == "rejected"]
    assert "wanted 99, got 2" in str(refusal.reason)


async def test_the_canary_gets_its_share_of_users(releases: Releases, clock: FakeClock) -> None:
    """A risky release would hit everyone, or nobody, instead of one user in five."""
    async with following(releases) as follower:
        await live(releases, clock, 1)
        await until(lambda: serves(follower, 1))
        canary = await published(releases, clock, 2)
        await releases.canary("toy", canary, percent=20, epoch=1)
        users = [f"user-{n}" for n in range(2000)]
        await until(lambda: any(_model(follower, u) == 2 for u in users))
        share = sum(_model(follower, u) == 2 for u in users) / len(users)
        assert 0.16 < share < 0.24
        assert _model(follower, users[0]) == _model(follower, users[0])
        assert _model(follower, None) == 1
        await releases.promote("toy", canary, epoch=2)
        await until(lambda: serves(follower, 2))
        assert {_model(follower, u) for u in users} == {2}


async def test_a_canary_at_nothing_is_loaded_and_told_of(
    releases: Releases, clock: FakeClock, told: list[ReleaseChanged]
) -> None:
    """Shoppers would be the first to try whether a release can be loaded at all."""
    async with following(releases) as follower:
        await live(releases, clock, 1)
        await until(lambda: serves(follower, 1))
        shadow = await published(releases, clock, 2)
        await releases.canary("toy", shadow, percent=0, epoch=1)
        await until(lambda: ("loaded", shadow) in {(t.change, t.version) for t in told})
        assert {_model(follower, f"user-{n}") for n in range(200)} == {1}


async def test_a_canary_is_taken_back_with_its_reason(
    releases: Releases, clock: FakeClock, told: list[ReleaseChanged]
) -> None:
    """Nobody could learn afterwards why a release is not in service."""
    first = await live(releases, clock, 1)
    canary = await published(releases, clock, 2)
    await releases.canary("toy", canary, percent=50, epoch=1)
    with pytest.raises(Invalid, match="has moved"):
        await releases.take_back("toy", epoch=1, reason="too late")
    pointer = await releases.take_back("toy", epoch=2, reason="it shows nothing")
    assert (pointer.current, pointer.canary, pointer.epoch) == (first, None, 3)
    with pytest.raises(Invalid, match="no canary"):
        await releases.take_back("toy", epoch=3)
    newest = (await releases.history("toy"))[0]
    assert (newest.change, newest.version, newest.reason) == (
        "taken_back", canary, "it shows nothing",
    )  # fmt: skip
    assert newest.by == told[-1].by is not None
    assert (told[-1].change, told[-1].version, told[-1].reason) == (
        "taken_back", canary, "it shows nothing",
    )  # fmt: skip


async def test_the_history_names_every_move_newest_first(
    releases: Releases, clock: FakeClock
) -> None:
    """An operator would have to guess what a colleague, or the trainer, has done."""
    assert await releases.history("toy") == []
    one, two = await live(releases, clock, 1), await published(releases, clock, 2)
    await releases.canary("toy", two, percent=5, epoch=1)
    await releases.promote("toy", two, epoch=2, reason="no harm found")
    await releases.roll_back("toy", epoch=3, reason="complaints")
    moves = await releases.history("toy")
    assert [(m.change, m.version, m.reason) for m in moves] == [
        ("rolled_back", one, "complaints"),
        ("promoted", two, "no harm found"),
        ("canary", two, "served to 5 % of the users"),
        ("promoted", one, None),
    ]
    assert len(await releases.history("toy", count=2)) == 2


def _model(follower: Following[int], user: str | None) -> int:
    loaded = follower.for_user(user)
    assert loaded is not None
    return loaded.model


async def test_what_json_cannot_hold_is_refused_before_anything_is_written(
    releases: Releases,
) -> None:
    """A release with an unreadable manifest would be found out by the services only."""
    broken = Provenance(trained_on={}, metrics={"x": object()}, card={})
    with pytest.raises(Invalid, match="JSON"):
        await releases.publish("toy", artifact(1), broken)
    assert await releases.versions("toy") == []


@pytest.mark.redis
async def test_an_undeclared_model_is_out_of_reach(redis_url: str, tmp_path: Path) -> None:
    """A service's manifest, and the map drawn from it, would not tell the truth."""
    async with Redis.from_url(redis_url) as redis:
        other = RedisReleases(
            redis=redis,
            service=Service(name="x", about="", processes=(), models=(ModelUse("toy", ""),)),
            storage=storage(tmp_path),
            verifier=VERIFIER,
            clock=FakeClock(),
        )
        with pytest.raises(UndeclaredModel):
            await other.pointer("prices")
        with pytest.raises(UndeclaredModel):
            await other.promote("toy", "1", epoch=0)
