"""A process as an operator sees it: its answers, its signals, its exit code. Nothing else runs."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from shared.tools.local.ports import random_ports

ROOT = Path(__file__).parents[2]
DEADLINE_S = 60.0
NOWHERE = {"SHOPLOOP_KAFKA": "127.0.0.1:1", "SHOPLOOP_REDIS": "redis://127.0.0.1:1/0"}
PROGRAM = """
import asyncio, sys
from dataclasses import replace
from fastapi import APIRouter
from shared.contracts.errors import Retryable
from shared.contracts.service import Process, Route, Service
from shared.contracts.topics import BEHAVIOUR
from shared.runtime import process as runtime
from shared.runtime.app import App
from shared.runtime.bus.memory import MemoryBroker, MemoryBus
from shared.runtime.bus.records import Outgoing
from shared.runtime.process import run
from shared.runtime.settings import Settings

SERVICE = Service(
    "hello", "Says hello.",
    (
        Process("http", "Answers.", 1), Process("worker", "Reads."), Process("broken", "Fails."),
        Process("unready", "Waits for a broker."), Process("stuck", "Reads and never ends."),
    ),
    reads=(BEHAVIOUR,),
    routes=(Route("GET", "/v1/slow", "open", "Answers after a while."),),
)

def with_a_record_in_memory(service, settings, secrets):
    broker = MemoryBroker()
    broker.append("behaviour", Outgoing(b"k", None, ()), 0.0)
    opened = open_ports(service, settings, secrets)
    bus = MemoryBus(broker, service, clock=opened.ports.clock)
    return replace(opened, ports=replace(opened.ports, bus=bus))

if sys.argv[1:] == ["stuck"]:
    open_ports, runtime.open_ports = runtime.open_ports, with_a_record_in_memory
    runtime.admin.ensure_topics = lambda *_, **__: []

def build(process, settings, ports):
    async def fail():
        await asyncio.sleep(0.1)
        raise ZeroDivisionError("planted")
    async def read(batch): pass
    async def hang(batch):
        print("handling", flush=True)
        await asyncio.Event().wait()
    async def stop(): print("flushed", flush=True)
    async def wait_for_redis(): await ports.kv.epoch()
    if process == "broken":
        return App(tasks={"fail": fail}, stop=stop)
    if process == "stuck":
        return App(handlers={BEHAVIOUR: hang}, stop=stop)
    if process == "unready":
        return App(handlers={BEHAVIOUR: read}, stop=stop)
    if process == "worker":
        return App(handlers={BEHAVIOUR: read}, start=wait_for_redis, stop=stop)
    router = APIRouter()
    @router.get("/v1/slow")
    async def slow():
        print("asked", flush=True)
        await asyncio.sleep(1)
        return "done"
    return App(router=router, stop=stop)

run(SERVICE, Settings, build)
"""


class Run:
    """One process of the service, with an HTTP port that was free."""

    def __init__(self, folder: Path, process: str, **settings: str) -> None:
        program = folder / "program.py"
        program.write_text(PROGRAM)
        (self.port,) = random_ports(1)
        defaults = {"SHOPLOOP_PORT": str(self.port), "SHOPLOOP_HOME": str(folder / "home")}
        self.process = subprocess.Popen(
            [sys.executable, str(program), *process.split()],
            env={**os.environ, "PYTHONPATH": str(ROOT), **NOWHERE, **defaults, **settings},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def get(self, path: str, port: int | None = None) -> tuple[int, dict[str, object]]:
        """Ask, as soon as the process listens on its own port or on this one."""
        port = port or self.port
        deadline = time.monotonic() + DEADLINE_S
        while True:
            try:
                with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}") as answer:
                    return answer.status, json.load(answer)
            except urllib.error.HTTPError as error:
                return error.code, json.load(error)
            except OSError:
                if time.monotonic() > deadline or self.process.poll() is not None:
                    raise
                time.sleep(0.05)

    def end(self, number: signal.Signals | None = None) -> tuple[int, str, list[dict[str, str]]]:
        """Wait for the end, after a signal if one is named; exit code, output, log lines."""
        if number is not None:
            self.process.send_signal(number)
        output, errors = self.process.communicate(timeout=DEADLINE_S)
        lines = [json.loads(line) for line in errors.splitlines() if line.startswith("{")]
        self.errors = errors
        return self.process.returncode, output, lines


Start = Callable[..., Run]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Start processes that do not outlive the test."""
    started: list[Run] = []

    def run(process: str, **settings: str) -> Run:
        started.append(Run(tmp_path, process, **settings))
        return started[-1]

    yield run
    for one in started:
        one.process.kill()
        one.process.communicate()


@contextmanager
def listening() -> Iterator[int]:
    """A port that somebody listens on."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        yield int(taken.getsockname()[1])


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_facade_serves_without_kafka_and_redis_and_ends_cleanly(
    start: Start, number: signal.Signals
) -> None:
    """An outage of the broker would take the doors of the shop with it."""
    run = start("http")
    assert run.get("/readyz") == (200, {"ready": True, "missing": {}})
    code, output, lines = run.end(number)
    assert code == 0
    assert output == "flushed\n"
    assert lines[-1]["event"] == "stopped"


def test_a_worker_without_its_broker_waits_and_says_so(start: Start) -> None:
    """Services would have to be started in the right order, and fail at each restart of Kafka."""
    run = start("worker")
    deadline = time.monotonic() + DEADLINE_S
    assert run.process.stderr is not None
    for line in run.process.stderr:
        if "waiting" in line or time.monotonic() > deadline:
            break
    waiting = json.loads(line)
    assert waiting["event"] == "waiting"
    assert "Redis is away" in waiting["reason"]
    assert run.end(signal.SIGTERM)[0] == 0


def test_a_handler_that_does_not_end_is_abandoned_in_time(start: Start) -> None:
    """Whoever waits would cost all others what they have to flush, and each deploy look like a crash."""
    run = start("stuck", SHOPLOOP_SHUTDOWN_S="3")
    assert run.process.stdout is not None
    assert run.process.stdout.readline() == "handling\n"
    code, output, lines = run.end(signal.SIGTERM)
    assert (code, output) == (0, "flushed\n")
    assert lines[-1]["event"] == "stopped"


def test_a_failed_part_ends_the_process_loudly(start: Start) -> None:
    """A process would live on without the part that does its work."""
    code, output, lines = start("broken").end()
    assert code == 1
    assert output == "flushed\n"
    failed = next(line for line in lines if line["event"] == "a part failed")
    assert failed["part"] == "fail"
    assert "planted" in failed["exception"]


def test_a_request_under_way_is_finished(start: Start) -> None:
    """Every deploy would fail some shoppers' requests."""
    run = start("http")
    run.get("/livez")
    with socket.create_connection(("127.0.0.1", run.port)) as shopper:
        shopper.sendall(b"GET /v1/slow HTTP/1.1\r\nHost: x\r\n\r\n")
        assert run.process.stdout is not None
        assert run.process.stdout.readline() == "asked\n"
        run.process.send_signal(signal.SIGTERM)
        answer = b""
        while chunk := shopper.recv(4096):
            answer += chunk
    assert answer.startswith(b"HTTP/1.1 200")
    assert answer.endswith(b'"done"')
    assert run.end()[0] == 0


@pytest.mark.parametrize(
    ("process", "settings", "says"),
    [
        ("", {}, "usage: python -m services.hello {http,worker,broken,unready,stuck}"),
        ("nothing", {}, "usage:"),
        ("http", {"SHOPLOOP_LOG_LEVEL": "loud"}, "SHOPLOOP_LOG_LEVEL='loud'"),
        ("http", {"SHOPLOOP_ENVIRONMENT": "production"}, "shoploop keys init"),
    ],
)
def test_a_wrong_start_says_what_is_wrong(
    start: Start, process: str, settings: dict[str, str], says: str
) -> None:
    """An operator would read a stack trace, or nothing at all."""
    run = start(process, **settings)
    code, _, _ = run.end()
    assert code != 0
    assert says in run.errors
    assert "Traceback" not in run.errors


def test_replicas_answer_on_one_port_once_they_are_ready(start: Start) -> None:
    """A machine's other cores would stay idle, or shoppers get the fallback of a replica at its start."""
    (port,) = random_ports(1)
    unready = start("unready", SHOPLOOP_SHARED_PORT=str(port))
    assert unready.get("/readyz")[0] == 503
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", port))
    first, second = (start("http", SHOPLOOP_SHARED_PORT=str(port)) for _ in range(2))
    for run in (first, second):
        assert run.get("/readyz")[0] == 200
    assert all(first.get("/readyz", port)[0] == 200 for _ in range(20))
    assert first.end(signal.SIGTERM)[0] == 0
    assert all(second.get("/readyz", port)[0] == 200 for _ in range(20))


def test_a_taken_port_is_named(start: Start) -> None:
    """Two stacks on one machine would fail without a word about why."""
    with listening() as port:
        run = start("http", SHOPLOOP_PORT=str(port))
        assert run.end()[0] != 0
    assert f"cannot listen on 127.0.0.1:{port}" in run.errors
    assert "SHOPLOOP_PORT" in run.errors
