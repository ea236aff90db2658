"""The wrapper at the root: what it brings, and what it says when it cannot."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from shared.tools.local.paths import CHECKOUT

STUB = """#!/bin/sh
printf '%s\\n' "$@" >>"{log}"
case "$*" in {broken}) exit 1 ;; esac
"""


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A checkout that has the wrapper and its locks, and nothing installed."""
    for path in (CHECKOUT / "shoploop", *CHECKOUT.glob("requirements*.lock")):
        shutil.copy(path, tmp_path)
    return tmp_path


def stub(path: Path, log: Path, broken: str = "nothing") -> Path:
    """Make a program that logs its arguments, and fails on some."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(STUB.format(log=log, broken=broken))
    path.chmod(0o755)
    return path


def run(checkout: Path, *arguments: str, **env: str) -> subprocess.CompletedProcess[str]:
    """Run the wrapper with nothing but the system's programs on the path."""
    return subprocess.run(
        [checkout / "shoploop", *arguments],
        env={"PATH": os.defpath, "SHOPLOOP_INSTALLER": "pip", **env},
        capture_output=True,
        text=True,
        check=False,
    )


def installed(checkout: Path, *sets: str) -> Path:
    """Make a `.venv` in which these sets of packages are installed; give the log of its Python."""
    log = checkout / "log"
    stub(checkout / ".venv" / "bin" / "python", log)
    for name in sets:
        suffix = "" if name == "base" else f"-{name}"
        shutil.copy(
            checkout / f"requirements{suffix}.lock", checkout / ".venv" / f"installed-{name}.lock"
        )
    return log


def test_what_is_installed_is_run_at_once(checkout: Path) -> None:
    """Every command would wait for an installer; arguments with spaces would fall apart."""
    log = installed(checkout, "base")
    assert run(checkout, "import", "my orders.csv").returncode == 0
    assert log.read_text().splitlines() == [
        str(checkout / ".venv" / "bin" / "shoploop"),
        "import",
        "my orders.csv",
    ]


@pytest.mark.parametrize(
    ("command", "sets"),
    [
        ("up", {"base"}),
        ("demo", {"base", "demo"}),
        ("check", {"base", "test"}),
        ("test", {"base", "test", "demo"}),
        ("chaos", {"base", "test", "demo"}),
    ],
)
def test_a_command_brings_what_it_needs_and_no_more(
    checkout: Path, command: str, sets: set[str]
) -> None:
    """The demo would install test tools, or the tests would lack them."""
    log = installed(checkout)
    (checkout / ".venv" / "bin" / "python").write_text(
        STUB.format(log=log, broken="nothing")
        + f'case "$*" in *purelib*) echo "{checkout}" ;; esac\n'
    )
    assert run(checkout, command, SHOPLOOP_PYTHON=sys.executable).returncode == 0
    brought = {path.stem.removeprefix("installed-") for path in (checkout / ".venv").glob("*.lock")}
    assert brought == sets
    assert log.read_text().split().count("--require-hashes") == len(sets)
    assert (checkout / "shoploop.pth").read_text().strip() == str(checkout)


def test_a_changed_lock_is_installed(checkout: Path) -> None:
    """After an update the code would run with yesterday's packages."""
    log = installed(checkout, "base")
    (checkout / "requirements.lock").write_text("new==1\n")
    stub(checkout / ".venv" / "bin" / "python", log, broken="*install*")
    ended = run(checkout, "up", SHOPLOOP_PYTHON=sys.executable)
    assert ended.returncode == 1
    assert "requirements.lock could not be installed" in ended.stderr
    assert (checkout / ".venv" / "unfinished").exists()


def test_no_python_says_what_to_install(checkout: Path) -> None:
    """A person on a bare machine would see `not found`."""
    ended = run(checkout, "up", SHOPLOOP_PYTHON="/no/python")
    assert ended.returncode == 1
    assert "needs Python 3.11 or newer" in ended.stderr


def test_debian_without_venv_names_the_one_package(checkout: Path) -> None:
    """A person on Debian would see a traceback of ensurepip."""
    python = checkout / "python"
    python.write_text(
        f'#!/bin/sh\ncase "$*" in *ensurepip*) exit 1 ;; esac\nexec {sys.executable} "$@"\n'
    )
    python.chmod(0o755)
    ended = run(checkout, "up", SHOPLOOP_PYTHON=str(python))
    assert ended.returncode == 1
    assert "-venv), then run this again" in ended.stderr
