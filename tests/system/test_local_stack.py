import os
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest
import redis
from kafka import KafkaConsumer, KafkaProducer, TopicPartition

from shared.contracts.service import Process, Service
from shared.tools.local import LocalStackError, Stack, ports, state
from shared.tools.local.paths import CHECKOUT, Home

pytestmark = [pytest.mark.kafka, pytest.mark.redis]

ECHO = Service("echo", "answers", (Process("http", "facade", port=8123), Process("worker", "work")))
TWINS = Service("echo", "answers", (Process("http", "facade", port=8123, shares_port=True),))
PROGRAM = """
import http.server, os, subprocess, sys, time

if sys.argv[1] == "worker":
    time.sleep(1000)

class Ready(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()
        shared = os.environ.get("SHOPLOOP_SHARED_PORT", "")
        self.wfile.write(shared.encode() or os.environ["SHOPLOOP_KAFKA"].encode())

http.server.HTTPServer(("127.0.0.1", int(os.environ["SHOPLOOP_PORT"])), Ready).serve_forever()
"""
SUPERVISOR = """
import sys, time
from pathlib import Path
from shared.tools.local import Stack

with Stack(home=Path(sys.argv[1]), random_ports=True):
    time.sleep(1000)
"""


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A checkout with one service."""
    package = tmp_path / "root" / "services" / "echo"
    package.mkdir(parents=True)
    # Without it the checkout's own `services`, which is on the path, would be taken.
    (package.parent / "__init__.py").touch()
    (package / "__main__.py").write_text(PROGRAM)
    return tmp_path / "root"


def until(condition: Callable[[], bool], within_s: float = 60.0) -> None:
    """Wait for a condition; fail if it does not come."""
    deadline = time.monotonic() + within_s
    while not condition():
        assert time.monotonic() < deadline, "it did not come to pass"
        time.sleep(0.02)


def test_data_outlive_a_kill_and_a_restart(tmp_path: Path) -> None:
    """An acknowledged event or a vault's key would be gone after a crash."""
    with Stack(home=tmp_path, random_ports=True) as stack:
        _make_topic(stack.kafka, "kept")
        producer = KafkaProducer(bootstrap_servers=stack.kafka, acks="all")
        producer.send("kept", b"an event").get(timeout=20)
        producer.close()
        with redis.Redis.from_url(stack.redis) as client:
            client.set("key", "of a person")
        for name in ("kafka", "redis"):
            stack.kill(name)
            stack.restart(name)
        assert _read(stack.kafka, "kept") == [b"an event"]
    with Stack(home=tmp_path, random_ports=True) as stack:
        assert _read(stack.kafka, "kept") == [b"an event"]
        with redis.Redis.from_url(stack.redis) as client:
            assert client.get("key") == b"of a person"
            assert client.config_get("maxmemory-policy") == {"maxmemory-policy": "noeviction"}


def test_services_are_started_with_their_addresses(tmp_path: Path, root: Path) -> None:
    """A service would talk to another stack than the one that started it."""
    with Stack(home=tmp_path / "home", services=(ECHO,), root=root, random_ports=True) as stack:
        with urllib.request.urlopen(stack.url("echo") + "/readyz") as answer:
            assert answer.read().decode() == stack.kafka
        assert set(stack.programs()) == {"kafka", "redis", "echo/http", "echo/worker"}
        recorded = state.read(Home(tmp_path / "home"))
        assert recorded
        assert recorded.ready
        pids = [process.pid for process in recorded.processes]
        with pytest.raises(LocalStackError, match="already running"):
            Stack(home=tmp_path / "home").__enter__()
    assert not any(psutil.pid_exists(pid) for pid in pids)
    assert state.read(Home(tmp_path / "home")) is None


def test_replicas_share_the_port_of_their_process(tmp_path: Path, root: Path) -> None:
    """A second core would stay idle, or a probe would ask one replica about the other."""
    with Stack(
        home=tmp_path / "home",
        services=(TWINS,),
        replicas={"echo/http": 2},
        kafka="127.0.0.1:1",
        redis="redis://127.0.0.1:1/0",
        root=root,
        random_ports=True,
    ) as stack:
        assert stack.programs() == ("echo/http", "echo/http-2")
        recorded = state.read(Home(tmp_path / "home"))
        assert recorded
        own = [process.url for process in recorded.processes]
        assert len({*own, stack.url("echo")}) == 3
        for url in own:
            with urllib.request.urlopen(f"{url}/readyz") as answer:
                assert stack.url("echo").endswith(":" + answer.read().decode())


@pytest.mark.parametrize("wrong", [{"echo/worker": 2}, {"echo/http": 0}, {"nothing": 2}])
def test_what_cannot_share_a_port_is_refused(tmp_path: Path, wrong: dict[str, int]) -> None:
    """Two collectors with one log would each spoil what the other keeps."""
    stack = Stack(home=tmp_path, services=(TWINS,), replicas=wrong, random_ports=True)
    with pytest.raises(LocalStackError, match=r"name one that can.*echo/http"):
        stack.__enter__()


def test_the_death_of_a_service_is_told(tmp_path: Path, root: Path) -> None:
    """A test or demo would hang on a stack of which half is gone."""

    def run() -> None:
        with Stack(home=tmp_path / "home", services=(ECHO,), root=root, random_ports=True) as stack:
            os.kill(stack.pid("echo/worker"), signal.SIGTERM)
            stack.wait(30)

    with pytest.raises(LocalStackError, match="echo/worker was killed by SIGTERM"):
        run()


def test_a_killed_supervisor_leaves_nothing_behind(tmp_path: Path) -> None:
    """Brokers would pile up on the machines of developers and CI."""
    supervisor = subprocess.Popen(
        [sys.executable, "-c", SUPERVISOR, str(tmp_path)], cwd=CHECKOUT, env={**os.environ}
    )
    try:
        until(lambda: bool((found := state.read(Home(tmp_path))) and found.ready))
        recorded = state.read(Home(tmp_path))
        assert recorded
    finally:
        supervisor.kill()
        supervisor.wait()
    until(lambda: not any(process.is_alive() for process in recorded.processes))
    with Stack(home=tmp_path, random_ports=True):
        pass


def test_a_port_that_is_taken_is_named_with_its_owner(tmp_path: Path) -> None:
    """A person with a Redis of their own would have to guess what to do."""
    (port,) = ports.random_ports(1)
    taker = ports.socket.create_server((ports.HOST, port))
    environ = {**os.environ, "SHOPLOOP_REDIS_PORT": str(port), "SHOPLOOP_KAFKA_PORT": "0"}
    with (
        taker,
        pytest.raises(LocalStackError, match=f"port {port}, wanted for redis, is taken") as raised,
    ):
        Stack(home=tmp_path, environ=environ).__enter__()
    assert f"pid {os.getpid()}" in raised.value.problem
    assert "SHOPLOOP_REDIS_PORT" in raised.value.cure


def test_addresses_that_are_given_are_used(tmp_path: Path) -> None:
    """A shop with brokers of its own would get another one beside them."""
    with Stack(home=tmp_path, kafka="broker:9092", redis="redis://cache:6379/0") as stack:
        assert stack.programs() == ()
        assert stack.service_env()["SHOPLOOP_KAFKA"] == "broker:9092"


def _make_topic(bootstrap: str, name: str) -> None:
    from kafka.admin import KafkaAdminClient

    admin = KafkaAdminClient(bootstrap_servers=bootstrap)
    admin.create_topics({name: {"num_partitions": 1, "replication_factor": 1}})
    admin.close()


def _read(bootstrap: str, topic: str) -> list[bytes]:
    consumer = KafkaConsumer(bootstrap_servers=bootstrap, auto_offset_reset="earliest")
    consumer.assign([TopicPartition(topic, 0)])
    deadline, values = time.monotonic() + 20, []
    while not values and time.monotonic() < deadline:
        for records in consumer.poll(timeout_ms=500).values():
            values += [record.value for record in records]
    consumer.close()
    return values
