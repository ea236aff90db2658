"""One process of a service, from its settings to its exit code."""

import asyncio
import contextlib
import gc
import os
import signal
import sys
import threading
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, TypeVar, cast

import uvloop

from shared.contracts.errors import Invalid, NotFound, Retryable
from shared.contracts.service import Process, Service
from shared.contracts.topics import Topic
from shared.runtime import telemetry
from shared.runtime.app import App, Check, Ports
from shared.runtime.bus import admin
from shared.runtime.bus.settings import connection
from shared.runtime.delivery import BackOff
from shared.runtime.follow import ViewLoop
from shared.runtime.http import Readiness, make_app
from shared.runtime.keys import ApiKeys, Secrets, load, load_or_generate
from shared.runtime.loop import Limits, WorkLoop
from shared.runtime.ports import OpenPorts, open_ports
from shared.runtime.server import Listener
from shared.runtime.settings import Settings, read
from shared.runtime.stopping import unless

S = TypeVar("S", bound=Settings)
T = TypeVar("T")
Build = Callable[[str, S, Ports], App]
KEYS_S = 2.0
"""How long a revoked key may still open a door."""

_SWITCH_S = 0.001
"""A thread waits this long at most for the interpreter, where Python's default is 5 ms."""
_YOUNG_OBJECTS = 50_000
"""A batch makes thousands of objects and no cycles: scanning them seven hundred at a time cost a
third of the time spent on it."""

_log = telemetry.log(__name__)


def run(service: Service, settings: type[S], build: Build[S]) -> None:
    """Run the process that the command line names, until SIGTERM or SIGINT; ends the interpreter.

    The whole of a service's `__main__`::

        run(SERVICE, Settings, build)

    `build(process, settings, ports)` puts the process of that name together. Kafka and Redis may
    be away at the start: what needs them waits and says so, what does not goes on. Exit codes: 0
    after a signal, 2 for a wrong command line or keys that cannot be read, 1 for any other failure.
    """
    process = _chosen(service, sys.argv[1:])
    given = read(settings)
    telemetry.configure(service.name, process.name, level=given.log_level)
    _log.info("starting", pid=os.getpid(), **given.described())
    secrets = _secrets(given)
    runner = _Runner(service, process, given, secrets, open_ports(service, given, secrets))
    try:
        uvloop.run(runner.run(build))
    except BaseException as error:
        if isinstance(error, SystemExit):
            raise
        _log.critical("the process ends because a part of it failed", exc_info=error)
        # Threads of a broken part must not keep a dead process alive.
        sys.stderr.flush()
        os._exit(1)


def _spare_pauses() -> None:
    """Keep the collector of garbage off what is there for good: a walk through it takes 30 ms."""
    sys.setswitchinterval(_SWITCH_S)
    gc.freeze()
    gc.set_threshold(_YOUNG_OBJECTS, 20, 50)


def _chosen(service: Service, arguments: list[str]) -> Process:
    names = [process.name for process in service.processes]
    if not arguments and len(names) == 1:
        return service.processes[0]
    if len(arguments) != 1 or arguments[0] not in names:
        print(f"usage: python -m services.{service.name} {{{','.join(names)}}}", file=sys.stderr)
        raise SystemExit(2)
    return service.process(arguments[0])


def _secrets(settings: Settings) -> Secrets:
    try:
        return (load if settings.production else load_or_generate)(settings.keys_file)
    except (NotFound, Invalid, OSError) as error:
        print(error, file=sys.stderr)
        raise SystemExit(2) from None


class _Runner:
    """What a process does side by side, and the order in which it begins and ends."""

    def __init__(
        self, service: Service, process: Process, settings: Settings, secrets: Secrets, opened: OpenPorts
    ) -> None:  # fmt: skip
        self._service = service
        self._process = process
        self._settings = settings
        self._keys = ApiKeys(secrets.api_keys, settings.keys_file)
        self._opened = opened
        self._readiness = Readiness()
        self._asked_to_stop = asyncio.Event()
        self._stop_loops = asyncio.Event()
        self._topics_exist = asyncio.Event()
        self._deadline = _Deadline(settings.drain_s + settings.shutdown_s)

    async def run(self, build: Build[Any]) -> None:
        """Begin, run until a signal, end in order; raises what a part raised."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._asked_to_stop.set)
        app = build(self._process.name, self._settings, self._opened.ports)
        self._readiness.checks += app.checks
        http = self._listener(app)
        try:
            await unless(self._asked_to_stop, _insist("start", app.start))
            if not self._asked_to_stop.is_set():
                _spare_pauses()
                async with asyncio.TaskGroup() as group:
                    await self._until_stopped(group, app, http)
        finally:
            self._deadline.start()
            await app.stop()
            await self._opened.close()
            self._deadline.met()
        _log.info("stopped")

    async def _until_stopped(
        self, group: asyncio.TaskGroup, app: App, http: Listener | None
    ) -> None:
        def begin(name: str, part: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
            task = group.create_task(part, name=name)
            task.add_done_callback(self._note_end)
            return task

        background = [begin("keys", self._follow_keys())]
        if topics := self._topics():
            background.append(begin("topics", self._ensure_topics(topics)))
        background += [begin(name, _endless(name, task)) for name, task in app.tasks.items()]
        loops = [begin("loop", self._consume(loop)) for loop in self._loops(app)]
        serving = begin("http", http.serve()) if http else None
        await self._asked_to_stop.wait()
        self._deadline.start()
        self._readiness.hold = "shutting down"
        _log.info("shutting down", deadline_s=self._settings.shutdown_s)
        await asyncio.sleep(self._settings.drain_s)
        if http is not None and serving is not None:
            http.end()
            await serving
        self._stop_loops.set()
        await asyncio.gather(*loops)
        await _ended(background)

    def _note_end(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and task.exception() is not None:
            _log.error("a part failed", part=task.get_name(), exc_info=task.exception())
            self._deadline.start()

    def _listener(self, app: App) -> Listener | None:
        settings, process = self._settings, self._process
        port = process.port if settings.port is None else settings.port
        if port is None:
            return None
        # A worker with a port has probes and metrics there, and none of the service's routes.
        facade = self._service if process.port is not None else _without_routes(self._service)
        asgi = make_app(
            facade,
            app,
            keys=self._keys,
            settings=settings,
            clock=self._opened.ports.clock,
            readiness=self._readiness,
        )
        return Listener(asgi, settings, port, self._readiness)

    def _loops(self, app: App) -> list[WorkLoop | ViewLoop]:
        ports, service = self._opened.ports, self._service
        # Requests may take half of the time before, and what is flushed needs some after.
        limits = Limits(hand_over_s=self._settings.shutdown_s / 3)
        loops: list[WorkLoop | ViewLoop] = []
        if app.handlers:
            group = service.name if app.group is None else f"{service.name}-{app.group}"
            loops.append(
                WorkLoop(
                    ports.bus, service, app.handlers, clock=ports.clock, group=group, limits=limits
                )
            )
        if app.views:
            loops.append(ViewLoop(ports.bus, service, app.views, clock=ports.clock, limits=limits))
        for loop in loops:
            self._readiness.checks.append(Check(type(loop).__name__, _asking(loop.unready)))
        if loops:
            self._readiness.checks.append(Check("topics", _asking(self._topics_missing)))
        return loops

    def _topics_missing(self) -> str | None:
        if self._topics_exist.is_set():
            return None
        return f"no Kafka has answered yet at {self._settings.kafka}"

    async def _consume(self, loop: WorkLoop | ViewLoop) -> None:
        await unless(self._asked_to_stop, self._topics_exist.wait())
        if self._topics_exist.is_set():
            await loop.run(self._stop_loops)

    def _topics(self) -> list[Topic[Any]]:
        service = self._service
        return list(dict.fromkeys((*service.reads, *service.views, *service.writes)))

    async def _ensure_topics(self, topics: list[Topic[Any]]) -> None:
        production = self._settings.production
        wanted = [admin.wanted(t, production=production) for t in topics]
        wanted += admin.wanted_of(self._service.name, production=production)

        async def ensure() -> None:
            made = await _in_daemon(
                lambda: admin.ensure_topics(
                    self._settings.kafka, wanted, **connection(self._settings)
                )
            )
            if made:
                _log.info("topics created", topics=made)

        await _insist("topics", ensure)
        self._topics_exist.set()

    async def _follow_keys(self) -> None:
        while True:
            await asyncio.sleep(KEYS_S)
            if self._keys.refresh():
                _log.info("keys read again")


class _Deadline:
    """Ends the process, come what may, some time after it was told to end or has failed."""

    def __init__(self, seconds: float) -> None:
        self._timer = threading.Timer(seconds, self._pass)
        self._timer.daemon = True
        self._started = False

    def start(self) -> None:
        """Begin to count, if that has not begun yet."""
        if not self._started:
            self._started = True
            self._timer.start()

    def met(self) -> None:
        """All has ended in time."""
        self._timer.cancel()

    def _pass(self) -> None:
        _log.critical("did not end in time and is cut short")
        sys.stderr.flush()
        os._exit(1)


async def _ended(tasks: list[asyncio.Task[None]]) -> None:
    """Cancel the tasks until they are gone: `asyncio.wait_for` swallows that in Python 3.11."""
    running = set(tasks)
    while running:
        for task in running:
            task.cancel()
        _, running = await asyncio.wait(running, timeout=0.2)


def _without_routes(service: Service) -> Service:
    return Service(service.name, service.about, service.processes)


def _asking(unready: Callable[[], str | None]) -> Callable[[], Awaitable[str | None]]:
    async def ask() -> str | None:
        return unready()

    return ask


async def _in_daemon(step: Callable[[], T]) -> T:
    """Run a blocking step in a thread that the end of the process does not wait for."""
    loop = asyncio.get_running_loop()
    done: asyncio.Future[T] = loop.create_future()

    def settle(result: T | None, error: BaseException | None) -> None:
        if done.cancelled():
            return
        if error is None:
            done.set_result(cast(T, result))
        else:
            done.set_exception(error)

    def work() -> None:
        result, failure = None, None
        try:
            result = step()
        except Exception as error:
            failure = error
        with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits any more
            loop.call_soon_threadsafe(settle, result, failure)

    threading.Thread(target=work, daemon=True).start()
    return await done


async def _endless(name: str, task: Callable[[], Awaitable[None]]) -> None:
    await task()
    raise RuntimeError(f"the task {name!r} ended, and never should")


async def _insist(what: str, step: Callable[[], Awaitable[None]]) -> None:
    """Try a step until what it needs is there; every wait is logged."""
    back_off, failures = BackOff(), 0
    while True:
        try:
            return await step()
        except Retryable as error:
            failures += 1
            wait_s = back_off.wait_s(failures, error)
            _log.warning("waiting", step=what, reason=str(error), tries=failures, in_s=wait_s)
            await asyncio.sleep(wait_s)
