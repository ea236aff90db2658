"""What services declare of themselves, against each other and against their rooms."""

import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from shared.contracts.errors import Invalid
from shared.contracts.service import Service
from shared.contracts.topics import TOPICS
from shared.tools.cli.new import written
from shared.tools.local import services
from shared.tools.local.paths import CHECKOUT
from tests.contract.rooms import missing_rooms

SERVICES = services.manifests(services.names())


def named(service: Service) -> str:
    """Name a parameter after the service."""
    return service.name


@pytest.mark.parametrize("service", SERVICES, ids=named)
def test_a_service_has_all_its_rooms(service: Service) -> None:
    """If this fails, who knows one service does not know this one."""
    assert missing_rooms(CHECKOUT, service) == []


@pytest.mark.parametrize("service", SERVICES, ids=named)
def test_every_topic_that_is_read_is_written_by_someone(service: Service) -> None:
    """If this fails, a service waits for events that never come."""
    written_topics = {topic for other in SERVICES for topic in other.writes}
    assert {t.name for t in (*service.reads, *service.views) if t not in written_topics} == set()


@pytest.mark.parametrize("service", SERVICES, ids=named)
def test_every_topic_is_a_declared_one(service: Service) -> None:
    """If this fails, a topic is made that no schema, map or access rule knows."""
    used = (*service.reads, *service.views, *service.writes)
    assert all(TOPICS.get(topic.name) is topic for topic in used)
    assert max(Counter(service.reads + service.views).values(), default=1) == 1
    assert max(Counter(service.writes).values(), default=1) == 1


@pytest.mark.parametrize("service", SERVICES, ids=named)
def test_every_model_has_a_maker_and_a_fallback(service: Service) -> None:
    """If this fails, a facade waits for a release that nobody makes, or has no answer meanwhile."""
    made = {model for other in SERVICES for model in other.releases}
    assert {use.name for use in service.models} <= made
    assert all(use.fallback for use in service.models)


@pytest.mark.parametrize("service", SERVICES, ids=named)
def test_what_is_kept_in_redis_is_bounded_and_can_be_rebuilt(service: Service) -> None:
    """If this fails, Redis grows without end, or holds what is lost with it."""
    for key in service.keys:
        assert key.ttl is not None or key.bound, f"{key.name} has neither a ttl nor a bound"
        assert key.view or key.name == "vault", f"{key.name} cannot be rebuilt from the log"


def test_ports_routes_and_key_spaces_belong_to_one_service() -> None:
    """If this fails, two services take one port or overwrite each other's keys."""
    processes = [process for service in SERVICES for process in service.processes]
    ports = Counter(port for p in processes for port in (p.port, p.probes) if port)
    keys = Counter(name for s in SERVICES for name in {k.name for k in s.keys})
    makers = Counter(model for s in SERVICES for model in s.releases)
    for counted in (ports, keys, makers):
        assert [name for name, n in counted.items() if n > 1] == []
    for service in SERVICES:
        routes = Counter((r.method, r.path) for r in service.routes)
        assert [route for route, n in routes.items() if n > 1] == []


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """Return a copy of the checkout in which a service was made."""
    for name in ("services", "shared", "tests"):
        unneeded = shutil.ignore_patterns("__pycache__", ".*")
        shutil.copytree(CHECKOUT / name, tmp_path / name, ignore=unneeded)
    for file in (path for path in CHECKOUT.iterdir() if path.is_file()):
        shutil.copy(file, tmp_path)
    written(tmp_path, "greeter")
    return tmp_path


def ran(tree: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run Python in the tree."""
    return subprocess.run(
        (sys.executable, *arguments), cwd=tree, check=False, capture_output=True, text=True
    )


def test_a_new_service_passes_every_check(tree: Path) -> None:
    """If this fails, `shoploop new` writes what the project itself refuses."""
    suites = (
        "tests/unit/services/greeter",
        "tests/component/greeter",
        "tests/contract/test_house_rules.py",
        "tests/contract/test_containers.py",
        "tests/contract/test_manifests.py::test_a_service_has_all_its_rooms",
        "tests/contract/test_manifests.py::test_what_is_kept_in_redis_is_bounded_and_can_be_rebuilt",
    )
    done = ran(tree, "-m", "pytest", "-q", "-k", "greeter or rule or container", *suites)
    assert done.returncode == 0, done.stdout
    made = ("services/greeter", "tests/unit/services/greeter", "tests/component/greeter")
    for check in (("format", "--check"), ("check",)):
        style = ran(tree, "-m", "ruff", *check, *made)
        assert style.returncode == 0, style.stdout
    types = ran(tree, "-m", "mypy", "--cache-dir", str(tree / "cache"), "services/greeter")
    assert types.returncode == 0, types.stdout


@pytest.mark.parametrize(
    "room", ["app.py", "handlers.py", "store.py", "api.py", "core/__init__.py"]
)
def test_a_missing_room_is_named(tmp_path: Path, room: str) -> None:
    """If this fails, a service without a room passes, and the next reader looks for it in vain."""
    (recommender,) = (service for service in SERVICES if service.name == "recommender")
    folder = tmp_path / "services" / "recommender"
    shutil.copytree(CHECKOUT / "services" / "recommender", folder)
    (folder / room).unlink()
    assert missing_rooms(tmp_path, recommender) == [f"services/recommender/{room}"]


@pytest.mark.parametrize("name", ["", "Search", "two words", "class", "../x", "collector", "a-b"])
def test_a_wrong_name_is_refused(name: str) -> None:
    """If this fails, a folder is made that Python cannot import, or one is overwritten."""
    with pytest.raises(Invalid):
        written(CHECKOUT, name)
