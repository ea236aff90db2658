"""The images, built and run: the loop turns in them, they can do no harm, and they get up again."""

import json
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from subprocess import CalledProcessError
from typing import Any
from uuid import uuid4

import docker
import httpx
import pytest
from docker.errors import DockerException
from docker.models.containers import Container
from testcontainers.compose import DockerCompose

from shared.contracts.service import Process
from shared.tools.local import ports
from shared.tools.local.paths import CHECKOUT
from shared.tools.local.services import manifests, names
from shared.tools.local.stack import port_setting

pytestmark = [pytest.mark.containers, pytest.mark.timeout(1800)]

PROJECT = "shoploop-test"
SERVICES = manifests(names())
PROCESSES = {f"{s.name}-{process.name}": process for s in SERVICES for process in s.processes}
FACADES = [s.name for s in SERVICES if any(process.port for process in s.processes)]
MIB = 2**20
PRODUCTS = [{"id": f"tea-{n}", "title": f"Tea {n}", "price_cents": 100 + n} for n in range(8)]


@dataclass(frozen=True)
class Stack:
    """A running composition: its engine, and a client with all rights for each facade."""

    engine: docker.DockerClient
    clients: dict[str, httpx.Client]

    def container(self, service: str) -> Container:
        """Return one service's container as it is now."""
        return self.containers()[service]

    def containers(self) -> dict[str, Container]:
        """Return all containers of the composition by service, stopped ones too."""
        label = "com.docker.compose.service"
        chosen = {"label": f"com.docker.compose.project={PROJECT}"}
        return {c.labels[label]: c for c in self.engine.containers.list(all=True, filters=chosen)}

    def send(self, user: str, action: str, item: str) -> str:
        """Send what a shopper does with an item; return the event's id."""
        event = {
            "id": str(uuid4()),
            "userid": user,
            "time": datetime.now(UTC).isoformat(),
            "data": {"action": action, "items": [{"id": item}]},
        }
        answer = self.clients["collector"].post("/v1/events", json=event)
        assert answer.is_success, answer.text
        return str(event["id"])

    def job(self, job_id: str) -> dict[str, Any]:
        """Return what the trainer says of a job."""
        found: dict[str, Any] = self.clients["trainer"].get(f"/v1/jobs/{job_id}").json()
        return found

    def state(self, event_id: str) -> str:
        """Return what the receipt says has become of an event."""
        return str(self.clients["collector"].get(f"/v1/receipts/{event_id}").json()["state"])

    def page(self, user: str) -> dict[str, Any]:
        """Return what is recommended to a shopper; nothing while nobody answers."""
        path, count = f"/v1/recommendations/{user}", len(PRODUCTS)
        try:
            answer = self.clients["recommender"].get(path, params={"k": count})
        except httpx.TransportError:
            return {}
        page: dict[str, Any] = answer.json()
        return page

    def recommended(self, user: str) -> set[str]:
        """Return the items that are recommended to a shopper."""
        return {item["item_id"] for item in self.page(user).get("items", ())}


def until(condition: Callable[[], bool], what: str, within_s: float = 120.0) -> None:
    """Wait for a condition; fail if it does not come."""
    deadline = time.monotonic() + within_s
    while not condition():
        assert time.monotonic() < deadline, f"it did not come to pass: {what}"
        time.sleep(0.2)


@pytest.fixture(scope="module")
def engine() -> Iterator[docker.DockerClient]:
    """The Docker engine, if one answers."""
    try:
        client = docker.from_env(timeout=60)
        client.ping()
    except DockerException as error:
        pytest.skip(f"needs a Docker engine: {error}")
    yield client
    client.close()


@pytest.fixture(scope="module")
def stack(engine: docker.DockerClient) -> Iterator[Stack]:
    """Everything built, started on free ports, found healthy, and stocked with a few products."""
    taken = dict(zip(FACADES, ports.random_ports(len(FACADES)), strict=True))
    compose = DockerCompose(CHECKOUT, build=True)
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("COMPOSE_PROJECT_NAME", PROJECT)
        for name, port in taken.items():
            environment.setenv(port_setting(name), str(port))
        try:
            compose.start()
            running = Stack(engine, _clients(compose, taken))
            assert running.clients["collector"].put("/v1/catalog", json=PRODUCTS).is_success
            until(lambda: len(running.recommended("ann")) == len(PRODUCTS), "a full list")
            yield running
        except CalledProcessError as error:
            pytest.fail(
                f"{error.cmd}: {error.stderr.decode()[-3000:]}{compose.get_logs()[0][-9000:]}"
            )
        finally:
            compose.stop()


def _clients(compose: DockerCompose, taken: dict[str, int]) -> dict[str, httpx.Client]:
    kept, _, _ = compose.exec_in_container(["cat", "/keys/keys.json"], "collector-http")
    key = next(key["key"] for key in json.loads(kept)["api_keys"] if key["name"] == "owner")
    headers = {"Authorization": f"Bearer {key}"}
    return {
        name: httpx.Client(base_url=f"http://127.0.0.1:{port}", headers=headers, timeout=30)
        for name, port in taken.items()
    }


def healthy(container: Container) -> bool:
    """Tell whether a container runs and its health check passes."""
    state = container.attrs["State"]
    return bool(state["Running"] and state["Health"]["Status"] == "healthy")


@pytest.mark.parametrize("name", FACADES)
def test_every_facade_is_ready(stack: Stack, name: str) -> None:
    """An image would lack a package, a folder it may write to, or the address of a broker."""
    answer = stack.clients[name].get("/readyz")
    assert answer.status_code == httpx.codes.OK, answer.text


def test_every_container_is_healthy_and_has_never_been_restarted(stack: Stack) -> None:
    """A process would fall over at its start, and be carried through by its restarts."""
    for name, container in stack.containers().items():
        assert healthy(container), f"{name}: {container.attrs['State']}"
        assert container.attrs["RestartCount"] == 0, name
        assert not container.attrs["State"]["OOMKilled"], name


def test_an_event_changes_a_recommendation(stack: Stack) -> None:
    """The loop would not turn in containers, though every part of it is ready."""
    event = stack.send("ann", "hide_item", "tea-3")
    until(lambda: stack.state(event) == "published", "the event in Kafka")
    until(lambda: "tea-3" not in stack.recommended("ann"), "a list without the item")
    assert len(stack.recommended("ann")) == len(PRODUCTS) - 1


def test_a_release_is_trained_and_served(stack: Stack) -> None:
    """The trainer's image would lack what only a job imports, or its release reach nobody."""
    for shopper in range(20):
        for step in range(3):
            event = stack.send(f"shopper-{shopper}", "view_item", f"tea-{(shopper + step) % 8}")
    until(lambda: stack.state(event) == "published", "the events in Kafka")
    asked = {"job": "recommend", "force": True}
    job = stack.clients["trainer"].post("/v1/jobs", json=asked).raise_for_status().json()
    until(lambda: stack.job(job["id"])["state"] not in {"queued", "running"}, "the job's end")
    ended = stack.job(job["id"])
    assert ended["version"], ended
    until(lambda: stack.page("dora").get("release") == ended["version"], "the release served")


@pytest.mark.parametrize(("name", "process"), PROCESSES.items(), ids=PROCESSES)
def test_a_running_container_is_held_to_its_limits(
    stack: Stack, name: str, process: Process
) -> None:
    """A hole in a service would be root, write to its own code, or eat the machine's memory."""
    container = stack.container(name)
    assert container.stats(stream=False)["memory_stats"]["limit"] == process.memory_mib * MIB
    assert _run(container, "id -u") == "10001"
    assert "Read-only file system" in _run(container, "touch /app/shared/planted.py 2>&1")
    assert "Read-only file system" in _run(container, "touch /usr/local/bin/planted 2>&1")
    assert _run(container, "touch /tmp/x /data/x && rm /tmp/x /data/x && echo written") == "written"
    status = dict(
        line.split(":\t") for line in _run(container, "cat /proc/self/status").splitlines()
    )
    assert int(status["CapBnd"], 16) == 0
    assert status["NoNewPrivs"] == "1"


def test_only_facades_are_published_and_on_the_loopback_address_alone(stack: Stack) -> None:
    """Kafka and Redis, which ask for no password, would be open to the network."""
    for name, container in stack.containers().items():
        bound = [at for at in container.attrs["HostConfig"]["PortBindings"].values() if at]
        addresses = [place["HostIp"] for places in bound for place in places]
        process = PROCESSES.get(name)
        assert addresses == (["127.0.0.1"] if process and process.port else []), name


def test_a_recommender_that_is_killed_comes_back_with_what_it_knew(stack: Stack) -> None:
    """A crash at night would stay until somebody looks, or bring hidden items back."""
    stack.send("bob", "hide_item", "tea-5")
    until(lambda: "tea-5" not in stack.recommended("bob"), "a list without the item")
    # All processes but the first, which is the engine's init: nothing tells it to stop.
    stack.container("recommender-http").exec_run(["sh", "-c", "kill -9 -1"])
    until(lambda: stack.container("recommender-http").attrs["RestartCount"] == 1, "a restart")
    until(lambda: healthy(stack.container("recommender-http")), "a healthy recommender")
    expected = {product["id"] for product in PRODUCTS} - {"tea-5"}
    until(lambda: stack.recommended("bob") == expected, "the list of before")


def test_a_kafka_that_is_killed_costs_no_event_and_no_answer(stack: Stack) -> None:
    """A broker's crash would empty the shop's pages, or lose what shoppers do meanwhile."""
    before = stack.recommended("cleo")
    kafka = stack.container("kafka")
    kafka.kill("SIGKILL")
    assert kafka.wait(timeout=60)["StatusCode"] != 0
    event = stack.send("cleo", "hide_item", "tea-7")
    assert stack.state(event) == "spooled"
    assert stack.recommended("cleo") == before
    kafka.start()
    until(lambda: stack.state(event) == "published", "the event in Kafka")
    until(lambda: stack.recommended("cleo") == before - {"tea-7"}, "a list without the item")
    until(lambda: all(map(healthy, stack.containers().values())), "a healthy stack")


def _run(container: Container, command: str) -> str:
    output: bytes = container.exec_run(["sh", "-c", command]).output
    return output.decode().strip()
