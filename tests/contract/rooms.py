"""Which files a service has, by what its manifest declares."""

from collections.abc import Iterator
from pathlib import Path

from shared.contracts.service import Service

ALWAYS = ("__init__.py", "__main__.py", "manifest.py", "settings.py", "app.py", "core/__init__.py")


def missing_rooms(root: Path, service: Service) -> list[str]:
    """Return the files that the service should have and has not."""
    return [room for room in _rooms(service) if not (root / room).is_file()]


def _rooms(service: Service) -> Iterator[str]:
    folder = f"services/{service.name}"
    yield from (f"{folder}/{room}" for room in (*ALWAYS, "README.md", "requirements.lock"))
    if service.routes:
        yield f"{folder}/api.py"
    if any(key.view for key in service.keys):
        yield f"{folder}/store.py"
    streams = any(process.name == "stream" for process in service.processes)
    if streams:
        yield f"{folder}/stream.py"
    elif service.reads or service.views:
        yield f"{folder}/handlers.py"
