"""The images, built and run: an event goes in at one container and changes another's answer."""

import json
import os
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

import httpx
import pytest

from shared.tools.local import ports
from shared.tools.local.paths import CHECKOUT
from shared.tools.local.services import manifests, names
from shared.tools.local.stack import port_setting

pytestmark = [pytest.mark.containers, pytest.mark.timeout(1800)]

PROJECT = "shoploop-test"


def compose(env: dict[str, str], *arguments: str) -> str:
    """Run docker compose; its output is in the error if it fails."""
    command = ["docker", "compose", "--project-name", PROJECT, *arguments]
    done = subprocess.run(
        command, cwd=CHECKOUT, env=env, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, f"{command}: {done.stdout[-3000:]}{done.stderr[-3000:]}"
    return done.stdout


def until(condition: Callable[[], bool], within_s: float = 90.0) -> None:
    """Wait for a condition; fail if it does not come."""
    deadline = time.monotonic() + within_s
    while not condition():
        assert time.monotonic() < deadline, "it did not come to pass"
        time.sleep(0.1)


@pytest.fixture(scope="module")
def containers() -> Iterator[dict[str, httpx.Client]]:
    """Build and start everything on free ports; give a client with all rights for each service."""
    if (
        shutil.which("docker") is None
        or subprocess.run(["docker", "info"], capture_output=True, check=False).returncode
    ):
        pytest.skip("needs a Docker engine")
    facades = [s.name for s in manifests(names()) if any(p.port for p in s.processes)]
    taken = dict(zip(facades, ports.random_ports(len(facades)), strict=True))
    env = dict(os.environ) | {port_setting(name): str(port) for name, port in taken.items()}
    try:
        compose(env, "up", "--build", "--wait", "--wait-timeout", "300")
        kept = json.loads(compose(env, "exec", "-T", "collector-http", "cat", "/keys/keys.json"))
        key = next(key["key"] for key in kept["api_keys"] if key["name"] == "owner")
        yield {
            name: httpx.Client(
                base_url=f"http://127.0.0.1:{port}",
                headers={"Authorization": f"Bearer {key}"},
                timeout=30,
            )
            for name, port in taken.items()
        }
    except AssertionError:
        print(compose(env, "logs", "--no-color", "--tail", "40"))
        raise
    finally:
        compose(env, "down", "--volumes", "--remove-orphans", "--timeout", "20")


def test_every_facade_is_ready(containers: dict[str, httpx.Client]) -> None:
    """An image would lack a package, a folder it may write to, or the address of a broker."""
    for name, client in containers.items():
        answer = client.get("/readyz")
        assert answer.status_code == httpx.codes.OK, f"{name}: {answer.text}"


def test_an_event_changes_a_recommendation(containers: dict[str, httpx.Client]) -> None:
    """The loop would not turn in containers, though every part of it is ready."""
    collector, recommender = containers["collector"], containers["recommender"]
    products = [{"id": f"tea-{n}", "title": f"Tea {n}", "price_cents": 100 + n} for n in range(5)]
    assert collector.put("/v1/catalog", json=products).is_success

    def recommended() -> list[str]:
        answer = recommender.get("/v1/recommendations/ann", params={"k": 5})
        assert answer.is_success, answer.text
        return [item["item_id"] for item in answer.json()["items"]]

    until(lambda: len(recommended()) == len(products))
    event = _event("ann", "hide_item", "tea-3")
    assert collector.post("/v1/events", json=event).is_success
    until(lambda: _receipt(collector, event["id"])["state"] == "published")
    until(lambda: "tea-3" not in recommended())


def test_no_container_runs_as_root(containers: dict[str, httpx.Client]) -> None:
    """A hole in a service would be root in its container."""
    ids = subprocess.run(
        ["docker", "ps", "-q", "--filter", f"label=com.docker.compose.project={PROJECT}"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout.split()
    assert ids
    for container in ids:
        seen = json.loads(
            subprocess.run(
                ["docker", "inspect", container], capture_output=True, text=True, check=True
            ).stdout
        )[0]
        if seen["Config"]["Image"].startswith("shoploop-"):
            assert seen["Config"]["User"] == "10001"
            assert seen["HostConfig"]["ReadonlyRootfs"]


def _event(user: str, action: str, item: str) -> dict[str, Any]:
    return {
        "id": str(uuid4()),
        "userid": user,
        "time": datetime.now(UTC).isoformat(),
        "data": {"action": action, "items": [{"id": item}]},
    }


def _receipt(collector: httpx.Client, event_id: str) -> dict[str, Any]:
    answer = collector.get(f"/v1/receipts/{event_id}")
    receipt: dict[str, Any] = answer.json()
    return receipt
