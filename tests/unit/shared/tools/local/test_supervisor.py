import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from shared.tools.local.errors import LocalStackError
from shared.tools.local.program import Program
from shared.tools.local.supervisor import Supervisor

ENV = {"PATH": os.environ["PATH"]}
FOREVER = "while :; do sleep 0.05; done"


def shell(name: str, script: str, cwd: Path, *, stop_s: float = 5.0) -> Program:
    """A program in shell that is ready when it has made a file of its own name."""
    return Program(
        name=name,
        argv=["sh", "-c", script],
        env=ENV,
        cwd=cwd,
        ready=(cwd / name).exists,
        stop_s=stop_s,
    )


def until(condition: Callable[[], bool], within_s: float = 20.0) -> None:
    """Wait for a condition; fail if it does not come."""
    deadline = time.monotonic() + within_s
    while not condition():
        assert time.monotonic() < deadline, "it did not come to pass"
        time.sleep(0.01)


@pytest.fixture
def supervisor(tmp_path: Path) -> Iterator[Supervisor]:
    """One that lets the first death end all."""
    supervisor = Supervisor(tmp_path / "logs")
    yield supervisor
    supervisor.stop()


@pytest.fixture
def reviving(tmp_path: Path) -> Iterator[Supervisor]:
    """One that starts again what dies."""
    supervisor = Supervisor(tmp_path / "logs", restart=True)
    yield supervisor
    supervisor.stop()


def test_ready_is_waited_for_and_output_logged(supervisor: Supervisor, tmp_path: Path) -> None:
    """The demo would talk to a service that is not there yet, and nobody could read why."""
    supervisor.start(shell("a", f"echo hello; touch a; {FOREVER}", tmp_path))
    supervisor.wait_ready("a")
    until(lambda: "hello" in (tmp_path / "logs" / "a.log").read_text())


def test_a_death_before_ready_shows_the_last_words(supervisor: Supervisor, tmp_path: Path) -> None:
    """A person would wait a minute for a service that died at once."""
    supervisor.start(shell("a", "echo no such file; exit 3", tmp_path))
    with pytest.raises(LocalStackError, match=r"a ended with code 3(.|\n)*no such file"):
        supervisor.wait_ready("a")


def test_not_ready_in_time_is_said(supervisor: Supervisor, tmp_path: Path) -> None:
    """A service that hangs at its start would hang the demo."""
    supervisor.start(shell("a", FOREVER, tmp_path))
    with pytest.raises(LocalStackError, match="a is not ready after"):
        supervisor.wait_ready("a", timeout_s=0.2)


def test_the_first_death_ends_all(supervisor: Supervisor, tmp_path: Path) -> None:
    """Half a stack would go on and look alive."""
    supervisor.start(shell("a", FOREVER, tmp_path))
    other = supervisor.child("a").pid
    supervisor.start(shell("b", "exit 7", tmp_path))
    assert supervisor.ended.wait(10)
    until(lambda: not supervisor.children() and not psutil.pid_exists(other))
    with pytest.raises(LocalStackError, match="b ended with code 7"):
        supervisor.check()


def test_a_kill_on_purpose_ends_nothing(supervisor: Supervisor, tmp_path: Path) -> None:
    """Outages could not be tried out."""
    for name in ("a", "b"):
        supervisor.start(shell(name, f"touch {name}; {FOREVER}", tmp_path))
        supervisor.wait_ready(name)
    supervisor.kill("a")
    assert supervisor.child("a").exit_code() == -signal.SIGKILL
    supervisor.revive("a")
    assert supervisor.child("a").exit_code() is None
    assert supervisor.child("b").exit_code() is None
    supervisor.check()


def test_what_dies_is_started_again(reviving: Supervisor, tmp_path: Path) -> None:
    """Chaos runs would end at their first fault."""
    reviving.start(shell("a", f"touch a; {FOREVER}", tmp_path))
    reviving.wait_ready("a")
    first = reviving.child("a").pid
    os.kill(first, signal.SIGKILL)
    until(lambda: reviving.child("a").pid != first)
    reviving.check()


def test_what_is_to_stay_down_stays_down(reviving: Supervisor, tmp_path: Path) -> None:
    """An outage of minutes would be over in a moment."""
    reviving.start(shell("a", FOREVER, tmp_path))
    reviving.start(shell("b", FOREVER, tmp_path))
    down, up = reviving.child("a").pid, reviving.child("b").pid
    reviving.kill("a", stay_down=True)
    reviving.kill("b")
    until(lambda: reviving.child("b").pid != up)
    assert reviving.child("a").pid == down


def test_a_program_that_cannot_live_ends_all_in_the_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A broken deploy would restart for ever without anybody being told."""
    monkeypatch.setattr("shared.tools.local.supervisor._FIRST_BACKOFF_S", 0.001)
    monkeypatch.setattr("shared.tools.local.supervisor._LONGEST_BACKOFF_S", 0.001)
    supervisor = Supervisor(tmp_path / "logs", restart=True)
    supervisor.start(shell("a", "exit 1", tmp_path))
    assert supervisor.ended.wait(30)
    with pytest.raises(LocalStackError, match="a ended with code 1"):
        supervisor.check()
    supervisor.stop()


def test_groups_stop_in_order_and_cleanly(supervisor: Supervisor, tmp_path: Path) -> None:
    """Services would lose their broker before they have flushed to it."""
    for name in ("broker", "service"):
        script = f"trap 'echo {name} >>order; exit 0' TERM; touch {name}; {FOREVER}"
        supervisor.start(shell(name, script, tmp_path))
        supervisor.wait_ready(name)
    assert supervisor.stop([["service"]]) == []
    assert (tmp_path / "order").read_text().split() == ["service", "broker"]


def test_one_that_will_not_stop_is_killed_with_its_children(
    supervisor: Supervisor, tmp_path: Path
) -> None:
    """A process would be left behind that holds a port or a lock."""
    script = f"trap '' TERM; sleep 1000 & echo $! >a; {FOREVER}"
    supervisor.start(shell("a", script, tmp_path, stop_s=0.2))
    until(lambda: (tmp_path / "a").exists() and (tmp_path / "a").read_text().strip() != "")
    grandchild = int((tmp_path / "a").read_text())
    assert supervisor.stop() == ["a"]
    until(lambda: _is_gone(grandchild))


def test_a_frozen_program_can_be_stopped(supervisor: Supervisor, tmp_path: Path) -> None:
    """A stack with a suspended program could not be ended cleanly."""
    supervisor.start(shell("a", f"touch a; {FOREVER}", tmp_path))
    supervisor.wait_ready("a")
    supervisor.child("a").suspend()
    assert supervisor.stop() == []


def test_an_unknown_name_lists_the_known(supervisor: Supervisor, tmp_path: Path) -> None:
    """A misspelt name in a test would be a puzzle."""
    supervisor.start(shell("a", FOREVER, tmp_path))
    with pytest.raises(LookupError, match="there are: a"):
        supervisor.kill("b")


def _is_gone(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True
