"""The compose file and the Dockerfile against what the manifests declare."""

import re
from typing import Any

import pytest
import yaml

from shared.contracts.service import Process, Service
from shared.tools.local import services
from shared.tools.local.kafka import VERSION
from shared.tools.local.paths import CHECKOUT
from shared.tools.local.stack import port_setting

SERVICES = services.manifests(services.names())
PROCESSES = [(service, process) for service in SERVICES for process in service.processes]
INFRASTRUCTURE = {"kafka": f"apache/kafka:{VERSION}", "redis": "valkey/valkey:8"}


def process_name(case: Service | Process) -> str:
    """Name a parameter after the service or process."""
    return case.name


@pytest.fixture(scope="module")
def compose() -> dict[str, Any]:
    """The compose file, anchors resolved."""
    parsed: dict[str, Any] = yaml.safe_load((CHECKOUT / "docker-compose.yml").read_text())
    return parsed


@pytest.fixture(scope="module")
def dockerfile() -> str:
    """The Dockerfile's text."""
    return (CHECKOUT / "Dockerfile").read_text()


def test_there_is_one_container_for_each_process(compose: dict[str, Any]) -> None:
    """A service would be missing in containers, or a container would run what nobody declares."""
    declared = {f"{service.name}-{process.name}" for service, process in PROCESSES}
    assert set(compose["services"]) == declared | set(INFRASTRUCTURE)


@pytest.mark.parametrize(("service", "process"), PROCESSES, ids=process_name)
def test_a_container_is_what_the_manifest_declares(
    compose: dict[str, Any], service: Service, process: Process
) -> None:
    """A process would get another port, too little memory, or run another service."""
    container = compose["services"][f"{service.name}-{process.name}"]
    assert container["build"]["args"] == {"SERVICE": service.name}
    assert container["command"] == [process.name]
    assert container["mem_limit"] == f"{process.memory_mib}m"
    outside = f"${{{port_setting(service.name)}:-{process.port}}}"
    published = [f"127.0.0.1:{outside}:{process.port}"] if process.port else []
    assert container.get("ports", []) == published
    assert container["environment"].get("SHOPLOOP_PORT") == (process.port or process.probes)


@pytest.mark.parametrize(("service", "process"), PROCESSES, ids=process_name)
def test_a_container_can_do_no_harm(
    compose: dict[str, Any], service: Service, process: Process
) -> None:
    """A hole in a service would be a hole in the machine."""
    container = compose["services"][f"{service.name}-{process.name}"]
    assert container["read_only"] is True
    assert container["tmpfs"] == ["/tmp"]
    assert container["cap_drop"] == ["ALL"]
    assert container["security_opt"] == ["no-new-privileges:true"]
    assert not container.get("privileged")


@pytest.mark.parametrize(("service", "process"), PROCESSES, ids=process_name)
def test_a_container_keeps_its_data_and_waits_for_the_brokers(
    compose: dict[str, Any], service: Service, process: Process
) -> None:
    """A write-ahead log would be lost with its container, or keys differ between services."""
    container = compose["services"][f"{service.name}-{process.name}"]
    assert container["volumes"] == [f"{service.name}:/data", "keys:/keys"]
    assert set(compose["volumes"]) >= {service.name, "keys"}
    conditions = {on: how["condition"] for on, how in container["depends_on"].items()}
    assert conditions == dict.fromkeys(INFRASTRUCTURE, "service_healthy")


@pytest.mark.parametrize(("name", "image"), INFRASTRUCTURE.items())
def test_brokers_are_pinned_bounded_watched_and_private(
    compose: dict[str, Any], name: str, image: str
) -> None:
    """A broker without a password would be open, eat the machine, or change its version."""
    container = compose["services"][name]
    assert container["image"] == image
    assert "ports" not in container
    assert container["mem_limit"]
    assert container["healthcheck"]["test"][0] == "CMD"
    assert any(volume.startswith(f"{name}:") for volume in container["volumes"])


def test_redis_never_evicts_and_keeps_a_log(compose: dict[str, Any]) -> None:
    """The vault's keys would be thrown away under memory pressure or lost with the container."""
    command = compose["services"]["redis"]["command"]
    assert {"--maxmemory-policy noeviction", "--appendonly yes"} <= set(command)


def test_images_start_from_a_pinned_tag(dockerfile: str) -> None:
    """Two builds of one commit would hold different Pythons."""
    assert set(re.findall(r"^FROM (\S+)", dockerfile, re.MULTILINE)) == {"python:3.12-slim"}
    assert "# syntax=" not in dockerfile


def test_images_run_without_privileges_and_with_a_health_check(dockerfile: str) -> None:
    """A hole in a service would be root in its container, and a hung one would go unseen."""
    assert re.findall(r"^USER (\S+)", dockerfile, re.MULTILINE) == ["10001"]
    assert re.search(r"^HEALTHCHECK .*\\\n\s+CMD .*/readyz", dockerfile, re.MULTILINE)


def test_images_hold_hashed_packages_only(dockerfile: str) -> None:
    """A package replaced on its way would get into the image."""
    installs = re.findall(r"pip install(?:[^\n]*\\\n)*[^\n]*", dockerfile)
    assert installs
    assert all("--require-hashes" in line and "--no-deps" in line for line in installs)


@pytest.mark.parametrize("service", SERVICES, ids=process_name)
def test_an_image_holds_the_versions_that_are_tested(service: Service) -> None:
    """Containers would run other versions than every test."""
    tested = _pins("requirements.lock")
    held = _pins(f"services/{service.name}/requirements.lock")
    assert held
    assert {name: tested.get(name) for name in held} == held


@pytest.mark.parametrize(
    "lock", ["requirements", "requirements-test", "requirements-demo", "requirements-java"]
)
def test_a_lock_names_no_address_and_hashes_everything(lock: str) -> None:
    """An installation would depend on one machine's mirror, or take whatever it is given."""
    text = (CHECKOUT / f"{lock}.lock").read_text()
    assert "://" not in text
    assert "--index-url" not in text
    entries = re.split(r"\n(?=\S)", text.strip())
    assert all("--hash=sha256:" in entry for entry in entries)


def _pins(path: str) -> dict[str, str]:
    text = (CHECKOUT / path).read_text()
    return dict(re.findall(r"^([a-z0-9._-]+)(?:\[[a-z0-9,-]+\])?==(\S+)", text, re.MULTILINE))
