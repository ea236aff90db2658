"""A program that runs as a supervised child process."""

import logging
import os
import re
import signal
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from logging.handlers import RotatingFileHandler
from pathlib import Path

_LAUNCHER = Path(__file__).with_name("launch.py")
_LOG_BYTES = 10 << 20
_LOG_FILES = 3
_TAIL_LINES = 400
_COLOURS = (36, 32, 33, 35, 34, 96, 92, 93, 95, 94)
_ANSI = re.compile(r"\x1b\[[0-9;]*m")

Echo = Callable[[str, str], None]
"""Called with (program name, one line of its output), from that program's own thread."""


def silent(name: str, line: str) -> None:
    """Show nothing; the log files have it all."""


def coloured(name: str, line: str) -> None:
    """Print a line behind its program's name, in a colour of its own on a terminal."""
    if sys.stdout.isatty():
        colour = _COLOURS[sum(name.encode()) % len(_COLOURS)]
        text = f"\x1b[{colour}m{name:>18} │\x1b[0m {line}\n"
    else:
        text = f"{name:>18} | {_ANSI.sub('', line)}\n"
    sys.stdout.write(text)
    sys.stdout.flush()


@dataclass(frozen=True, slots=True, kw_only=True)
class Program:
    """What to start, and how to tell that it is ready.

    Parameters
    ----------
    name
        Unique in a stack: `kafka`, `redis`, `collector/http`.
    argv, env, cwd
        As for `subprocess`; `env` is complete, nothing is inherited.
    ready
        Tells whether the running program can do its job. Blocks for a second at most.
    port
        Where it listens, if it does.
    stop_s
        Seconds that a clean stop may take before it is killed.
    stopped
        Called after a clean stop.
    """

    name: str
    argv: Sequence[str]
    env: Mapping[str, str]
    cwd: Path
    ready: Callable[[], bool] = field(default=lambda: True)
    port: int | None = None
    stop_s: float = 10.0
    stopped: Callable[[], None] = field(default=lambda: None)


class Child:
    """One run of a program, in a process group of its own, dying with the thread that started it.

    Its output goes line by line to `log` and to `echo`; the last lines stay in `tail`.
    """

    def __init__(self, program: Program, log: Path, echo: Echo = silent) -> None:
        self.program = program
        self.tail: deque[str] = deque(maxlen=_TAIL_LINES)
        log.parent.mkdir(parents=True, exist_ok=True)
        self._log = RotatingFileHandler(log, maxBytes=_LOG_BYTES, backupCount=_LOG_FILES)
        self._echo = echo
        self._process = subprocess.Popen(
            [sys.executable, "-I", "-S", str(_LAUNCHER), str(os.getpid()), *program.argv],
            env=dict(program.env),
            cwd=program.cwd,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            process_group=0,
        )
        self._reader = threading.Thread(
            target=self._read, name=f"log of {program.name}", daemon=True
        )
        self._reader.start()

    @property
    def pid(self) -> int:
        """The process, which is also its group."""
        return self._process.pid

    def exit_code(self) -> int | None:
        """Give the exit code (negative: the signal that killed it), None while it runs."""
        return self._process.poll()

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to the process alone; nothing happens if it is gone."""
        self._process.send_signal(number)

    def suspend(self) -> None:
        """Freeze the process and wait until all its threads stand still; SIGCONT lets it go on."""
        self.signal(signal.SIGSTOP)
        # Its end is waited for as well: who is dead never stops. The exit code stays for `poll`.
        with suppress(ChildProcessError):
            os.waitid(os.P_PID, self.pid, os.WSTOPPED | os.WEXITED | os.WNOWAIT)

    def stop(self) -> None:
        """Ask for a clean stop and return at once; see `reap`."""
        self.signal(signal.SIGTERM)

    def reap(self, timeout_s: float) -> bool:
        """Wait for the end, then kill what is left of the process group, its own children included.

        Returns
        -------
        bool
            Whether it ended by itself in time.
        """
        try:
            self._process.wait(timeout_s)
            in_time = True
        except subprocess.TimeoutExpired:
            in_time = False
        with suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)
        self._process.wait()
        self._reader.join(timeout=2)
        self._log.close()
        return in_time

    def _read(self) -> None:
        assert self._process.stdout is not None
        with self._process.stdout as output:
            for line in map(str.rstrip, output):
                self.tail.append(line)
                self._log.emit(logging.makeLogRecord({"msg": line}))
                self._echo(self.program.name, line)
