"""`shoploop new`: the rooms of a new service, with a small thing in them that works."""

import keyword
import re
from collections.abc import Iterator
from pathlib import Path
from string import Template
from typing import Annotated

import typer
from rich.console import Console

from shared.contracts.errors import Invalid
from shared.tools.local import services
from shared.tools.local.paths import CHECKOUT

ROOMS = Path(__file__).parent / "rooms"
_NAME = re.compile(r"[a-z][a-z0-9]{1,29}")
_FIRST_PORT = 8001
_PROBES = 10
"""Behind the facade's port comes, so much later, its worker's."""


def new(
    name: Annotated[str, typer.Argument(help="The service's name: one lower-case word.")],
) -> None:
    """Write the rooms of a new service, its tests and its containers."""
    console = Console(stderr=True, highlight=False)
    for path in written(CHECKOUT, name):
        console.print(f"[green]✓[/] {path.relative_to(CHECKOUT)}")
    console.print(
        f"\nIt runs: put its own thinking into services/{name}/core/, declare what it needs in its\n"
        "manifest.py, then `shoploop map` and `shoploop test`. docs/guides/add-a-service.md says how."
    )


def written(root: Path, name: str) -> list[Path]:
    """Write the rooms and tests of service `name`, and enter it where services are listed.

    Returns the files that were written or changed.

    Raises
    ------
    Invalid
        The name is no plain word, or there is such a service.
    """
    _accept(root, name)
    given = {"name": name, "module": name, "port": str(_free_port(root))}
    given["probes"] = str(int(given["port"]) + _PROBES)
    paths = []
    for template, path in _places(root, name):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(Template(template.read_text()).substitute(given))
        paths.append(path)
    lock = root / "services" / name / "requirements.lock"
    lock.write_text((root / "services" / "recommender" / "requirements.lock").read_text())
    return [*paths, lock, _compose(root, given), _project(root, name)]


def _accept(root: Path, name: str) -> None:
    if not _NAME.fullmatch(name) or keyword.iskeyword(name):
        raise Invalid(
            f"{name!r} is no name for a service: take one lower-case word, such as search"
        )
    if (root / "services" / name).exists():
        raise Invalid(f"there is a folder services/{name} already")


def _places(root: Path, name: str) -> Iterator[tuple[Path, Path]]:
    """Yield each template and where its text goes."""
    goals = {
        "service": root / "services" / name,
        "tests/unit": root / "tests" / "unit" / "services" / name,
        "tests/component": root / "tests" / "component" / name,
    }
    for folder, goal in goals.items():
        for template in sorted((ROOMS / folder).rglob("*.txt")):
            yield template, goal / template.relative_to(ROOMS / folder).with_suffix("")


def _free_port(root: Path) -> int:
    """Return the next port that no manifest of the tree takes."""
    taken = {
        int(port)
        for name in services.names(root)
        for port in re.findall(
            r"\b80\d\d\b", (root / "services" / name / "manifest.py").read_text()
        )
    }
    return next(port for port in range(_FIRST_PORT, 9000) if port not in taken)


def _compose(root: Path, given: dict[str, str]) -> Path:
    """Enter the service's containers and its volume."""
    anchor = Template("""x-$name: &$name
  <<: *process
  image: shoploop-$name
  build: {context: ., args: {SERVICE: $name}}
  volumes: ["$name:/data", "keys:/keys"]

""").substitute(given)
    containers = Template(
        """
  $name-http:
    <<: *$name
    command: [http]
    ports: ["127.0.0.1:$${SHOPLOOP_$upper_PORT:-$port}:$port"]
    environment: {<<: *addresses, SHOPLOOP_PORT: $port}
    mem_limit: 256m
  $name-worker:
    <<: *$name
    command: [worker]
    environment: {<<: *addresses, SHOPLOOP_PORT: $probes}
    mem_limit: 256m
""".replace("$upper", given["name"].upper())
    ).substitute(given)
    path = root / "docker-compose.yml"
    text = path.read_text()
    text = _put(text, anchor, before="services:\n", path=path)
    text = _put(text, containers, before="\nvolumes:\n", path=path)
    path.write_text(text.rstrip() + f"\n  {given['name']}:\n")
    return path


def _project(root: Path, name: str) -> Path:
    """Enter the service's extra, and that no other service imports it."""
    path = root / "pyproject.toml"
    text = _put(path.read_text(), f"{name} = []\n", before="local = [", path=path)
    independent = re.search(r'type = "independence"\nmodules = \[[^\]]*', text)
    if independent is None:
        raise Invalid(f"{path.name} lists no independent services any more: enter {name} by hand")
    listed = independent.group().rstrip().rstrip(",")
    text = text.replace(independent.group(), f'{listed}, "services.{name}"')
    path.write_text(text)
    return path


def _put(text: str, piece: str, *, before: str, path: Path) -> str:
    """Return `text` with `piece` before the line that begins with `before`."""
    at = text.find(before) if before.startswith("\n") else text.find(f"\n{before}") + 1
    if at <= 0:
        raise Invalid(
            f"{path.name} has no {before.strip()!r} any more: enter this by hand\n{piece}"
        )
    return text[:at] + piece + text[at:]
