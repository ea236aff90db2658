"""Programs kept together: started, watched, killed, restarted, stopped in order."""

import signal
import threading
import time
from collections import defaultdict, deque
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from shared.tools.local.errors import LocalStackError
from shared.tools.local.program import Child, Echo, Program, silent
from shared.tools.local.words import last_words

_POLL_S = 0.05
_DEATHS_ALLOWED, _DEATHS_WINDOW_S = 10, 60.0
_FIRST_BACKOFF_S, _LONGEST_BACKOFF_S = 0.2, 5.0


class Supervisor:
    """Runs programs; the first to die by itself ends all, or is started again.

    Parameters
    ----------
    logs
        Folder for one log file a program.
    restart
        Start again what died, after a growing pause. A program that dies more than ten times a
        minute by itself ends all even so.
    echo
        Gets every line of output.
    changed
        Called after each start of a program.
    """

    def __init__(
        self,
        logs: Path,
        *,
        restart: bool = False,
        echo: Echo = silent,
        changed: Callable[[], None] = lambda: None,
    ) -> None:
        self.failure: LocalStackError | None = None
        self.ended = threading.Event()
        self._logs, self._restart, self._echo, self._changed = logs, restart, echo, changed
        self._children: dict[str, Child] = {}
        self._down: set[str] = set()
        self._due: dict[str, float] = {}
        self._deaths: defaultdict[str, deque[float]] = defaultdict(deque)
        self._lock = threading.RLock()
        # Children die with the thread that started them, so one long-lived thread starts them all.
        self._starter = ThreadPoolExecutor(1, thread_name_prefix="starter")
        self._watcher = threading.Thread(target=self._watch, name="watcher", daemon=True)
        self._watcher.start()

    def children(self) -> tuple[Child, ...]:
        """Give the current run of every program, in the order of the first starts."""
        with self._lock:
            return tuple(self._children.values())

    def start(self, program: Program) -> None:
        """Start a program without waiting until it is ready."""
        with self._lock:
            log = self._logs / f"{program.name.replace('/', '-')}.log"
            make = self._starter.submit(Child, program, log, self._echo)
            try:
                self._children[program.name] = make.result()
            except OSError as error:
                raise LocalStackError(
                    f"cannot start {program.name}: {error}", "free memory or processes, try again"
                ) from error
            self._down.discard(program.name)
            self._due.pop(program.name, None)
        self._changed()

    def wait_ready(self, name: str, timeout_s: float = 120.0) -> None:
        """Wait until a program is ready.

        Raises
        ------
        LocalStackError
            It died, or is not ready in time; its last lines of output are in the message.
        """
        deadline = time.monotonic() + timeout_s
        while True:
            self.check()
            child = self.child(name)
            dead = child.exit_code() is not None
            if dead and not self._restart:
                raise self._died(child)
            if not dead and child.program.ready():
                return
            if time.monotonic() > deadline:
                raise LocalStackError(
                    f"{name} is not ready after {timeout_s:.0f} s; its last words:\n"
                    + _indented(child.tail),
                    f"look into {self._logs}",
                )
            time.sleep(_POLL_S)

    def check(self) -> None:
        """Raise the failure that ended all, if there was one."""
        if self.failure:
            raise self.failure

    def child(self, name: str) -> Child:
        """Give the current run of a program; LookupError lists the ones there are."""
        with self._lock:
            if name not in self._children:
                raise LookupError(
                    f"no program {name!r} here; there are: {', '.join(self._children)}"
                )
            return self._children[name]

    def kill(self, name: str, *, stay_down: bool = False) -> None:
        """Kill a program with SIGKILL, its own children included, and wait until it is gone.

        It is started again at once if this supervisor restarts, unless it is to `stay_down` until
        `revive`.
        """
        with self._lock:
            child = self.child(name)
            self._down.add(name)
            child.signal(signal.SIGKILL)
            child.reap(5.0)
            if self._restart and not stay_down:
                self._due[name] = time.monotonic()

    def revive(self, name: str, timeout_s: float = 120.0) -> None:
        """Start a program again, after a clean stop if it runs, and wait until it is ready."""
        with self._lock:
            child = self.child(name)
            self._down.add(name)
            if child.exit_code() is None:
                child.stop()
            child.reap(child.program.stop_s)
            self.start(child.program)
        self.wait_ready(name, timeout_s)

    def stop(self, groups: Sequence[Iterable[str]] = ()) -> list[str]:
        """Stop everything: first the groups, one after the other, then the rest. Idempotent.

        Returns
        -------
        list of str
            The programs that did not stop in their time and were killed.
        """
        self.ended.set()
        if threading.current_thread() is not self._watcher:
            self._watcher.join()
        late: list[str] = []
        with self._lock:
            for group in (*groups, tuple(self._children)):
                late += self._stop_together([n for n in group if n in self._children])
        self._starter.shutdown()
        return late

    def _stop_together(self, names: Sequence[str]) -> list[str]:
        children = [self._children.pop(name) for name in names]
        running = [child for child in children if child.exit_code() is None]
        for child in running:
            child.stop()
            child.signal(signal.SIGCONT)  # a suspended program hears SIGTERM only when it goes on
        begun, late = time.monotonic(), []
        for child in children:
            left_s = max(0.0, begun + child.program.stop_s - time.monotonic())
            if not child.reap(left_s):
                late.append(child.program.name)
            elif child in running:
                child.program.stopped()
        return late

    def _watch(self) -> None:
        while not self.ended.wait(_POLL_S):
            with self._lock:
                for child in self.children():
                    if child.exit_code() is not None and child.program.name not in self._down:
                        self._on_death(child)
                self._start_due()
            if self.failure:
                self.stop()

    def _start_due(self) -> None:
        for name, due in tuple(self._due.items()):
            if due <= time.monotonic():
                try:
                    self.start(self._children[name].program)
                except LocalStackError as error:
                    self.failure = error

    def _on_death(self, child: Child) -> None:
        child.reap(0)
        name, now, deaths = child.program.name, time.monotonic(), self._deaths[child.program.name]
        self._down.add(name)
        while deaths and deaths[0] < now - _DEATHS_WINDOW_S:
            deaths.popleft()
        deaths.append(now)
        if not self._restart or len(deaths) > _DEATHS_ALLOWED:
            self.failure = self.failure or self._died(child)
        else:
            pause_s = min(_FIRST_BACKOFF_S * 2 ** (len(deaths) - 1), _LONGEST_BACKOFF_S)
            self._due[name] = now + pause_s

    def _died(self, child: Child) -> LocalStackError:
        code = child.exit_code() or 0
        how = (
            f"was killed by {signal.Signals(-code).name}" if code < 0 else f"ended with code {code}"
        )
        return LocalStackError(
            f"{child.program.name} {how}; its last words:\n" + _indented(child.tail),
            f"the whole log is in {self._logs}",
        )


def _indented(tail: Iterable[str]) -> str:
    return "\n".join(f"    {line}" for line in last_words(tail)) or "    (it said nothing)"
