import os
import subprocess
from pathlib import Path

import pytest

from shared.tools.local import state
from shared.tools.local.errors import LocalStackError
from shared.tools.local.paths import Home


@pytest.fixture
def home(tmp_path: Path) -> Home:
    """An empty home."""
    home = Home(tmp_path)
    home.make()
    return home


def _state(process: state.RunningProcess) -> state.RunState:
    me = os.getpid()
    return state.RunState(me, state.born(me), "k:1", "redis://r", True, (process,))


def test_what_is_written_is_read(home: Home) -> None:
    """`shoploop status` and `down` would speak of another stack."""
    written = _state(state.RunningProcess(name="a", pid=1, born=2.0, port=3, url="http://a"))
    state.write(home, written)
    assert state.read(home) == written
    assert written.is_alive()


@pytest.mark.parametrize("content", ["", "{", '{"supervisor": "x"}'])
def test_a_damaged_record_counts_as_none(home: Home, content: str) -> None:
    """A stack could never be started again after a torn write."""
    home.run_file.write_text(content)
    assert state.read(home) is None


def test_another_process_with_the_same_pid_is_not_ours(home: Home) -> None:
    """`down` would end a stranger's process after a reboot."""
    assert not state.is_alive(os.getpid(), born=1.0)


def test_two_stacks_cannot_share_a_home(home: Home) -> None:
    """Two brokers would write into one log."""
    with (
        state.sole_use(home),
        pytest.raises(LocalStackError, match="already running"),
        state.sole_use(home),
    ):
        pass


def test_what_a_killed_supervisor_left_is_ended(home: Home) -> None:
    """The next start would find its ports and locks held by an orphan."""
    orphan = subprocess.Popen(["sleep", "1000"], process_group=0)
    stranger = subprocess.Popen(["sleep", "1000"])
    try:
        ours = state.RunningProcess(name="a", pid=orphan.pid, born=state.born(orphan.pid))
        state.write(home, _state(ours))
        with state.sole_use(home):
            assert not ours.is_alive()
            assert stranger.poll() is None
    finally:
        stranger.kill()
        stranger.wait()
        orphan.kill()
