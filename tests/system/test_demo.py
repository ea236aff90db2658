"""The demo as its user runs it, on a part of the year."""

import json
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from shared.tools.local.paths import CHECKOUT

pytestmark = [pytest.mark.kafka, pytest.mark.redis, pytest.mark.timeout(900)]

HOUSEHOLDS = 400
MAIN = "from shared.tools.cli.main import main; main()"


def _run(*options: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", MAIN, "demo", "--exit", "--random-ports", *options],
        cwd=CHECKOUT,
        capture_output=True,
        text=True,
        check=False,
    )


def _demo(home: Path, lang: str) -> str:
    """Run the demo to its end and return what it printed."""
    found = _run("--home", str(home), "--households", str(HOUSEHOLDS), "--lang", lang)
    assert found.returncode == 0, found.stdout + found.stderr
    return found.stdout


def _running(home: Path) -> list[str]:
    """Return the command lines of processes that work in the home."""
    lines = []
    for process in psutil.process_iter(["environ", "cmdline"]):
        environ, command = process.info["environ"] or {}, process.info["cmdline"] or []
        if environ.get("SHOPLOOP_HOME") == str(home) or str(home) in " ".join(command):
            lines.append(" ".join(command))
    return lines


def test_the_loop_turns_twice(tmp_path: Path) -> None:
    """Whoever tries shoploop would see an error, a wrong figure, or processes left behind."""
    home = tmp_path / "home"
    printed = _demo(home, "en")
    report = json.loads((home / "demo-report.json").read_bytes())
    assert not _running(home)
    assert "What happened" in printed

    assert report["households"] == HOUSEHOLDS
    assert report["loaded"]["duplicates"] == 0
    assert report["loaded"]["orders"] > 1_000
    assert report["trained"]["state"] == "done"
    assert report["trained"]["version"]
    assert report["click"]["ms"] is not None
    assert report["click"]["before"] != report["click"]["after"]
    joined, sent, arms = report["joined"], report["sent"], report["joined"]["arms"].values()
    assert joined["complete"]
    assert sum(arm["visits"] for arm in arms) == sent["lists"]
    assert sum(arm["clicks"] for arm in arms) == sent["clicks"]
    assert all(arm["visits"] for arm in arms)
    assert set(report["steps"]) > {"start", "orders", "train", "shop", "feedback"}

    again = _demo(home, "zh")
    second = json.loads((home / "demo-report.json").read_bytes())
    assert not _running(home)
    assert "本次结果" in again
    assert second["loaded"]["known"]
    assert second["joined"]["complete"]
    lists = sum(arm["visits"] for arm in second["joined"]["arms"].values())
    assert lists == second["sent"]["lists"]


def test_a_home_that_cannot_be_is_named(tmp_path: Path) -> None:
    """A wrong option would end in a stack trace, which tells nobody what to do."""
    taken = tmp_path / "file"
    taken.write_text("no folder")
    found = _run("--home", str(taken))
    assert found.returncode == 1
    assert "→" in found.stderr
    assert "Traceback" not in found.stderr
