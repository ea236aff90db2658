"""What runs in a home: written by its supervisor, read by whoever wants to know or to end it."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import msgspec
import psutil

from shared.tools.local.errors import LocalStackError
from shared.tools.local.paths import Home


class RunningProcess(msgspec.Struct, frozen=True):
    """One supervised process. `born` tells it from a later one with the same pid."""

    name: str
    pid: int
    born: float
    port: int | None = None
    url: str | None = None

    def is_alive(self) -> bool:
        """Tell whether this very process still runs."""
        return is_alive(self.pid, self.born)


class RunState(msgspec.Struct, frozen=True):
    """A running stack: its supervisor, its addresses, its processes."""

    supervisor: int
    born: float
    kafka: str
    redis: str
    ready: bool
    processes: tuple[RunningProcess, ...] = ()

    def is_alive(self) -> bool:
        """Tell whether its supervisor still runs."""
        return is_alive(self.supervisor, self.born)


def is_alive(pid: int, born: float) -> bool:
    """Tell whether the process `pid` that started at `born` (seconds of the epoch) still runs."""
    try:
        process = psutil.Process(pid)
        return bool(process.create_time() == born and process.status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


def born(pid: int) -> float:
    """Give the moment a process started, in seconds of the epoch; 0 if it is gone already."""
    try:
        return float(psutil.Process(pid).create_time())
    except psutil.NoSuchProcess:
        return 0.0


def read(home: Home) -> RunState | None:
    """Read what runs, or ran last, in a home; None if nothing is recorded."""
    try:
        return msgspec.json.decode(home.run_file.read_bytes(), type=RunState)
    except (FileNotFoundError, msgspec.DecodeError):
        return None


def write(home: Home, state: RunState) -> None:
    """Replace the record, whole or not at all."""
    incoming = home.run_file.with_suffix(".new")
    incoming.write_bytes(msgspec.json.format(msgspec.json.encode(state)))
    incoming.replace(home.run_file)


def erase(home: Home) -> None:
    """Forget the record."""
    home.run_file.unlink(missing_ok=True)


@contextmanager
def sole_use(home: Home) -> Iterator[None]:
    """Hold a home for this process, and end what a killed supervisor may have left behind.

    Raises
    ------
    LocalStackError
        Another stack runs there.
    """
    with home.lock_file.open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise _in_use(home) from error
        _end_leftovers(home)
        yield


def _in_use(home: Home) -> LocalStackError:
    state = read(home)
    who = f" (pid {state.supervisor})" if state else ""
    return LocalStackError(
        f"a stack is already running in {home.root}{who}",
        "use that one, end it with `shoploop down`, or start another with --home FOLDER",
    )


def _end_leftovers(home: Home) -> None:
    state = read(home)
    if state is None:
        return
    recorded = {process.pid for process in state.processes if process.is_alive()}
    groups = {process.pid for process in state.processes}
    left = [
        process
        for process in psutil.process_iter()
        if process.pid in recorded or _is_grandchild(process, groups, home)
    ]
    for process in left:
        with suppress(psutil.NoSuchProcess):
            process.kill()
    psutil.wait_procs(left, timeout=10)
    erase(home)


def _is_grandchild(process: psutil.Process, groups: set[int], home: Home) -> bool:
    """Tell whether a service of this home, now gone, started this process."""
    try:
        return os.getpgid(process.pid) in groups and (
            process.environ().get("SHOPLOOP_HOME") == str(home.root)
        )
    except (psutil.Error, OSError):
        return False
