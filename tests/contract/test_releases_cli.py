"""`shoploop release` as an operator types it, on a real Redis and Kafka."""

import asyncio
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
from redis import Redis

from shared.contracts.artifact import Artifact
from shared.contracts.service import Process, Service
from shared.runtime import keys
from shared.runtime.bus import admin
from shared.runtime.clock import SystemClock
from shared.runtime.kv import connect
from shared.runtime.releases import Provenance
from shared.runtime.releases.folder import ReleaseFolder
from shared.runtime.releases.keys import PART, POINTER
from shared.runtime.releases.redis import RedisReleases, Storage
from shared.runtime.releases.signing import Signer, Verifier
from shared.tools.cli.main import main
from shared.tools.local.services import names

pytestmark = [pytest.mark.kafka, pytest.mark.redis]
MODEL = "toy"
TRAINER = Service("publisher", "", (Process("worker", ""),), releases=(MODEL,))


class Said(NamedTuple):
    """What a command ended with and printed."""

    code: int
    out: str
    err: str


@pytest.fixture
def home(
    tmp_path: Path, kafka_address: str, redis_address: str, monkeypatch: pytest.MonkeyPatch
) -> Path:
    """An installation with keys of its own and no release."""
    keys.load_or_generate(tmp_path / "keys.json")
    admin.ensure_topics(kafka_address, admin.wanted_by(names(), production=False))
    monkeypatch.setenv("SHOPLOOP_HOME", str(tmp_path))
    monkeypatch.setenv("SHOPLOOP_KAFKA", kafka_address)
    monkeypatch.setenv("SHOPLOOP_REDIS", redis_address)
    with Redis.from_url(redis_address) as redis:
        for key in redis.scan_iter("release*"):
            redis.delete(key)
    return tmp_path


@pytest.fixture
def redis(home: Path, redis_address: str) -> Iterator[Redis]:
    with Redis.from_url(redis_address) as client:
        yield client


@pytest.fixture
def publish(home: Path, redis_address: str) -> Callable[[int], str]:
    """Return what makes a signed release, as the trainer does, and gives its version."""
    secrets = keys.load(home / "keys.json")

    async def published(value: int) -> str:
        assert secrets.release_private is not None
        client, verifier = connect(redis_address), Verifier(secrets.release_public)
        folder = ReleaseFolder(home / "releases", verifier, 1 << 30)
        releases = RedisReleases(
            redis=client, service=TRAINER, storage=Storage(folder, folder), verifier=verifier,
            clock=SystemClock(), signer=Signer(secrets.release_private),
        )  # fmt: skip
        content = Artifact("toy", {"x": np.array([value])})
        nothing = Provenance(trained_on={}, metrics={}, card={})
        try:
            return (await releases.publish(MODEL, content, nothing)).version
        finally:
            await client.aclose()

    return lambda value: asyncio.run(published(value))


@pytest.fixture
def run(home: Path, capsys: pytest.CaptureFixture[str]) -> Callable[..., Said]:
    def run(*arguments: str) -> Said:
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            main(["release", *arguments])
        printed = capsys.readouterr()
        return Said(int(ended.value.code or 0), printed.out, printed.err)

    return run


Run = Callable[..., Said]
Publish = Callable[[int], str]


def states(run: Run) -> dict[str, str]:
    rows: list[dict[str, Any]] = json.loads(run("list", MODEL, "--json").out)
    return {row["version"]: row["state"] for row in rows}


def test_a_release_goes_into_service_and_back(run: Run, publish: Publish) -> None:
    """The operator's way out of a bad release would not be there when it is needed."""
    one, two = publish(1), publish(2)
    assert states(run) == {one: "kept", two: "kept"}
    assert run("promote", MODEL, one).code == 0
    assert run("promote", MODEL, two, "--reason", "newer").code == 0
    assert states(run) == {two: "in service", one: "previous"}
    said = run("rollback", MODEL, "--reason", "complaints")
    assert (said.code, f"{one} is in service" in said.out) == (0, True)
    assert states(run) == {one: "in service", two: "kept"}


def test_a_canary_is_set_and_taken_back_with_its_reason(run: Run, publish: Publish) -> None:
    """Nobody could see what is tried, on whom, or why it is not any more."""
    one, two = publish(1), publish(2)
    run("promote", MODEL, one)
    assert run("canary", MODEL, two, "--percent", "0").code == 0
    assert states(run)[two] == "canary, 0 %"
    assert "for 10 %" in run("canary", MODEL, two, "--percent", "10").out
    assert states(run)[two] == "canary, 10 %"
    assert run("take-back", MODEL, "--reason", "it shows nothing").code == 0
    assert states(run) == {one: "in service", two: "taken back"}
    assert f"{two} was taken back: it shows nothing" in run("list", MODEL).out


def test_what_is_wrong_is_said_and_changes_nothing(
    run: Run, publish: Publish, redis: Redis
) -> None:
    """A slip of the operator would take the model out of service, or end in a stack trace."""
    one = publish(1)
    run("promote", MODEL, one)
    before = redis.hgetall(POINTER.of(MODEL))
    wrong = [
        (("promote", MODEL, "20200101t000000000-abcdef"), "no release toy 20200101"),
        (("promote", MODEL, "../../etc/passwd"), "no name of a model or version"),
        (("promote", "no-such-model", one), "no release no-such-model"),
        (("rollback", MODEL), "no previous release"),
        (("take-back", MODEL), "no canary"),
        (("canary", MODEL, one, "--percent", "10"), "in service for everybody already"),
        (("show", "no-such-model"), "has no release yet"),
    ]
    for arguments, expected in wrong:
        said = run(*arguments)
        assert (said.code, expected in said.err) == (1, True), (arguments, said)
    for percent in ("101", "-1", "many"):
        assert run("canary", MODEL, one, "--percent", percent).code == 2
    assert redis.hgetall(POINTER.of(MODEL)) == before


@pytest.mark.parametrize("command", ["promote", "canary"])
@pytest.mark.parametrize("part", ["manifest", "0"])
def test_a_tampered_release_is_not_put_into_service(
    run: Run, publish: Publish, redis: Redis, command: str, part: str
) -> None:
    """Every replica would refuse what the operator has just announced."""
    one, two = publish(1), publish(2)
    run("promote", MODEL, one)
    key = PART.of(MODEL, two, part)
    redis.setrange(key, int(redis.strlen(key)) // 2, b"\x07")
    said = run(command, MODEL, two, *(("--percent", "10") if command == "canary" else ()))
    assert said.code == 1
    assert "✗" in said.err
    assert redis.hget(POINTER.of(MODEL), "current") == one.encode()
    assert redis.hget(POINTER.of(MODEL), "canary") is None
    if part == "manifest":
        assert states(run)[two].startswith("damaged")


def test_nobody_is_rolled_back_to_a_release_that_was_tampered_with(
    run: Run, publish: Publish, redis: Redis
) -> None:
    """The way out would lead to what no replica can load."""
    one, two = publish(1), publish(2)
    run("promote", MODEL, one)
    run("promote", MODEL, two)
    redis.setrange(PART.of(MODEL, one, "0"), 5, b"\x07")
    said = run("rollback", MODEL)
    assert (said.code, "does not match its sha256" in said.err) == (1, True)
    assert redis.hget(POINTER.of(MODEL), "current") == two.encode()


def test_a_move_at_the_same_moment_is_not_overwritten(
    run: Run, publish: Publish, redis: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of two operators, or of one and the trainer, the slower would silently win."""
    one, two = publish(1), publish(2)
    run("promote", MODEL, one)
    look = RedisReleases.package

    async def overtaken(self: RedisReleases, model: str, version: str) -> Any:
        redis.hincrby(POINTER.of(MODEL), "epoch", 1)
        return await look(self, model, version)

    monkeypatch.setattr(RedisReleases, "package", overtaken)
    said = run("promote", MODEL, two)
    assert said.code == 1
    assert "has moved: epoch 2, expected 1; look again" in said.err
    assert redis.hget(POINTER.of(MODEL), "current") == one.encode()


def test_without_redis_the_command_says_so(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """An operator in a hurry would read a stack trace."""
    monkeypatch.setenv("SHOPLOOP_REDIS", "redis://127.0.0.1:1/0")
    said = run("list", MODEL)
    assert (said.code, "Redis does not answer" in said.err) == (1, True)
