"""Each way into a secured Kafka, for everything that talks to it."""

import asyncio
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from uuid import uuid4

import pytest
import typer
from faust.transport.drivers.aiokafka import credentials_to_aiokafka_auth
from typer.testing import CliRunner

from services.collector.relay.kafka import KafkaSink
from services.collector.stream_app import credentials
from services.collector.stream_log import changelog_of
from shared.contracts.envelope import utc
from shared.contracts.errors import Retryable
from shared.contracts.events import Behaviour, Touched
from shared.contracts.service import Process, Service
from shared.contracts.topics import BEHAVIOUR, wrap
from shared.runtime.bus import admin, groups
from shared.runtime.bus.kafka import KafkaBus
from shared.runtime.bus.port import Record
from shared.runtime.bus.settings import KafkaSettings, connection
from shared.runtime.clock import SystemClock
from shared.runtime.loop import WorkLoop
from shared.runtime.settings import Settings, WrongSettings, read
from shared.tools.cli import topics
from tests.fixtures.secured import Secured, make_certificates, secured_kafka

KINDS = ("SASL_PLAINTEXT", "SASL_SSL", "SSL")
PATIENCE_S = 60.0
Run = Callable[..., str]


@pytest.fixture(scope="module")
def secured(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Secured]:
    with secured_kafka(tmp_path_factory.mktemp("secured")) as kafka:
        yield kafka


@pytest.fixture(params=KINDS)
def settings(
    secured: Secured, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> Settings:
    """What the environment says for one kind of listener."""
    return set_up(secured, request.param, monkeypatch)


def set_up(secured: Secured, kind: str, monkeypatch: pytest.MonkeyPatch) -> Settings:
    for name, value in secured.settings(kind).items():
        monkeypatch.setenv(name, value)
    return read(Settings)


def bus_of(service: Service, settings: Settings) -> KafkaBus:
    how = KafkaSettings(connection=connection(settings), publish_timeout_s=5.0)
    return KafkaBus(settings.kafka, service, clock=SystemClock(), settings=how)


def reader(name: str) -> Service:
    return Service(name, "", (Process("p", ""),), reads=(BEHAVIOUR,), writes=(BEHAVIOUR,))


def viewed(item: str):
    event = Behaviour(action="view_item", items=(Touched(item),))
    return wrap(BEHAVIOUR, event, id=uuid4().hex, source="t", time=utc(time.time()), anonid="ann")


def run(*arguments: str) -> str:
    root = typer.Typer()
    topics.mount(root)
    done = CliRunner().invoke(root, [*arguments])
    assert done.exit_code == 0, done.output
    return done.output


@pytest.mark.kafka
async def test_an_event_goes_all_the_ways(settings: Settings) -> None:
    """One part that forgets the password, or the certificate, and the shop stands still."""
    name, clock, how = f"svc-{uuid4().hex[:8]}", SystemClock(), connection(settings)
    group = f"recommender-{name}"
    service = reader(name)
    await asyncio.to_thread(run, "topics", "create")
    await asyncio.to_thread(run, "topics", "check")
    wanted = admin.wanted_of(name, production=False)
    await asyncio.to_thread(admin.ensure_topics, settings.kafka, wanted, **how)
    bus, stop, seen = bus_of(service, settings), asyncio.Event(), []

    async def handle(batch) -> None:
        seen.extend(batch)
        stop.set()

    await bus.publish(BEHAVIOUR, viewed("tea"))
    letter = Record(BEHAVIOUR.name, 0, 0, b"ann", b"x", (), 0)
    await bus.dead_letter(letter, reason="too cold", attempt=1)
    async with asyncio.timeout(PATIENCE_S):
        await WorkLoop(bus, service, {BEHAVIOUR: handle}, clock=clock, group=group).run(stop)
    await bus.close()
    assert seen
    sink = KafkaSink(settings.kafka, log="x", topics=[(BEHAVIOUR.name, "x.v1")], **how)
    await sink.open()
    assert await sink.partitions(BEHAVIOUR.name)
    assert await sink.written_since([BEHAVIOUR.name], 0) == {}
    await sink.close()
    assert name in await asyncio.to_thread(run, "lag", group, "--json")
    assert "too cold" in await asyncio.to_thread(run, "dlq", "list", name, "--json")
    assert "1 sent back" in await asyncio.to_thread(run, "dlq", "redrive", name)
    moved = await asyncio.to_thread(run, "replay", group, BEHAVIOUR.name, "--from-start")
    assert f"{BEHAVIOUR.name}/0" in moved


@pytest.mark.kafka
async def test_the_stream_comes_in_too(
    secured: Secured, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Sessions and activity would be missing where Kafka is secured."""
    settings = set_up(secured, "SASL_SSL", monkeypatch)
    how, table = connection(settings), changelog_of("items")
    await asyncio.to_thread(run, "topics", "create")
    bus = bus_of(reader("test"), settings)
    await bus.publish(BEHAVIOUR, viewed("milk"))
    await bus.close()

    def recorded() -> int:
        found = groups.lag(settings.kafka, {"nobody": [table]}, now=0, **how)
        return sum(item.end for item in found)

    worker = [sys.executable, "-m", "services.collector", "stream"]
    env = {**os.environ, "SHOPLOOP_HOME": str(tmp_path), "SHOPLOOP_PORT": "0"}
    with (tmp_path / "log").open("wb") as log:
        process = subprocess.Popen(worker, env=env, stdout=log, stderr=log)
    try:
        async with asyncio.timeout(PATIENCE_S):
            while not await asyncio.to_thread(recorded):
                assert process.poll() is None, (tmp_path / "log").read_text()[-2000:]
    finally:
        process.kill()
        process.wait()


@pytest.mark.parametrize("kind", KINDS)
def test_faust_is_told_the_same(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The stream would come with another user, or without encryption."""
    make_certificates(tmp_path)
    settings = set_up(Secured(dict.fromkeys(KINDS, "kafka:9093"), tmp_path), kind, monkeypatch)
    how = connection(settings)
    told = credentials_to_aiokafka_auth(credentials(how))
    assert {name: value for name, value in told.items() if value is not None} == how


@pytest.mark.kafka
@pytest.mark.parametrize(
    ("kind", "wrong", "why"),
    [
        (
            "SASL_PLAINTEXT",
            {"SHOPLOOP_KAFKA_PASSWORD": "guess"},
            "SaslAuthenticationFailed|password be wrong",
        ),
        ("SASL_SSL", {"SHOPLOOP_KAFKA_CA": ""}, "CERTIFICATE_VERIFY_FAILED"),
        ("SSL", {"SHOPLOOP_KAFKA_CERTIFICATE": ""}, "SSL"),
    ],
)
async def test_whoever_may_not_in_is_told_so(
    secured: Secured, monkeypatch: pytest.MonkeyPatch, kind: str, wrong: dict[str, str], why: str
) -> None:
    """An operator would look for a broker that is down."""
    set_up(secured, kind, monkeypatch)
    for name, value in wrong.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(admin, "CONNECT_TIMEOUT_MS", 2000)
    settings = read(Settings)
    bus = bus_of(reader("test"), settings)
    with pytest.raises(Retryable):
        await bus.publish(BEHAVIOUR, viewed("tea"))
    await bus.close()
    with pytest.raises(Retryable, match=f"lets us in by {kind} at .*({why})"):
        await asyncio.to_thread(admin.check_topics, settings.kafka, [], **connection(settings))


def test_what_is_missing_for_a_login_is_said_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """A service would start, and never reach a broker."""
    monkeypatch.setenv("SHOPLOOP_KAFKA_SECURITY", "SASL_SSL")
    with pytest.raises(WrongSettings) as wrong:
        read(Settings)
    lines = str(wrong.value).splitlines()[1:]
    assert [line.partition("=")[0].strip() for line in lines] == [
        "SHOPLOOP_KAFKA_USER",
        "SHOPLOOP_KAFKA_PASSWORD",
    ]


def test_a_file_that_is_no_certificate_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A stack trace of the TLS library says nothing of which setting was meant."""
    (tmp_path / "ca.pem").write_text("no certificate")
    monkeypatch.setenv("SHOPLOOP_KAFKA_SECURITY", "SSL")
    monkeypatch.setenv("SHOPLOOP_KAFKA_CA", str(tmp_path / "ca.pem"))
    with pytest.raises(WrongSettings, match="KAFKA_CA"):
        connection(read(Settings))


def test_a_password_is_never_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    """Settings are printed at every start, and logs are kept and copied."""
    monkeypatch.setenv("SHOPLOOP_KAFKA_PASSWORD", "topsecret")
    assert "topsecret" not in str(read(Settings).described())
