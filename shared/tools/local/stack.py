"""The local stack: Kafka, Redis and services as processes of this machine."""

import math
import os
import signal
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Self

from shared.contracts.service import Process, Service
from shared.tools.local import jars, java, ports, state
from shared.tools.local.errors import LocalStackError
from shared.tools.local.kafka import LocalKafka
from shared.tools.local.paths import CHECKOUT, Home, cache_folder, default_home
from shared.tools.local.probes import http_is_ready
from shared.tools.local.program import Echo, Program, silent
from shared.tools.local.redis import LocalRedis, find_server
from shared.tools.local.services import manifests
from shared.tools.local.supervisor import Supervisor

KAFKA_PORT, REDIS_PORT = 9092, 6379
_SERVICE_STOP_S = 15.0
_LOOK_S = 0.5


@dataclass(kw_only=True)
class Stack:
    """A running Kafka, Redis and services; a context manager that leaves nothing behind.

    Entering it blocks until everything is ready: a second or two where the jars are there.

    Parameters
    ----------
    home
        Folder of data, logs and run state; the checkout's `.shoploop` if None. One stack at a time
        may use it. Data in it is kept.
    services
        Names, or declarations, of the services to run. With none, only Kafka and Redis run.
    random_ports
        Take free ports, not the usual ones: Kafka 9092, Redis 6379, services as in their manifests,
        each to be overridden by SHOPLOOP_KAFKA_PORT, SHOPLOOP_REDIS_PORT, SHOPLOOP_<SERVICE>_PORT,
        where 0 takes a free one.
    replicas
        Process, as `recommender/http`, to how many of it run beside each other on its port. Each has
        a port of its own besides for its probes and metrics; the second one is the program
        `recommender/http-2`.
    kafka, redis
        Address of one that runs already (`host:port`, `redis://…`); none is started then. Once the
        stack runs, these are the addresses in use.
    keep_alive
        Start again what dies. Otherwise the first program to die ends all, and the next method
        called, or leaving the context, raises its error.
    prepare
        Called with the stack when Kafka and Redis are ready, before the services start.
    environ
        The environment that the programs get, and where the port settings are read.
    root
        The folder that holds `services/`.
    echo
        Gets every line that the programs print.
    progress
        Gets (bytes done, bytes in all) while Kafka's jars are downloaded.

    Raises
    ------
    LocalStackError
        Something is missing, taken, broken, or died; says what to do.

    Examples
    --------
    >>> with Stack(home=folder, services=("collector",), random_ports=True) as stack:
    ...     httpx.post(stack.url("collector") + "/v1/events", json=event)
    ...     stack.kill("kafka")
    ...     stack.restart("kafka")
    """

    home: Path | None = None
    services: Sequence[str | Service] = ()
    random_ports: bool = False
    replicas: Mapping[str, int] = field(default_factory=dict)
    kafka: str = ""
    redis: str = ""
    keep_alive: bool = False
    prepare: Callable[["Stack"], None] = lambda stack: None
    environ: Mapping[str, str] = field(default_factory=lambda: dict(os.environ))
    root: Path = CHECKOUT
    echo: Echo = silent
    progress: jars.Progress = lambda done, total: None

    _home: Home = field(init=False, repr=False)
    _supervisor: Supervisor = field(init=False, repr=False)
    _resources: ExitStack = field(init=False, repr=False, default_factory=ExitStack)
    _ports: dict[str, int] = field(init=False, repr=False, default_factory=dict)
    _reserved: ports.Reservation = field(init=False, repr=False, default_factory=ports.Reservation)
    _declared: tuple[Service, ...] = field(init=False, repr=False, default=())
    _infrastructure: tuple[str, ...] = field(init=False, repr=False, default=())
    _ready: bool = field(init=False, repr=False, default=False)

    def __enter__(self) -> Self:
        """Start everything, or nothing."""
        self._home = Home(self.home.resolve()) if self.home else default_home(self.environ)
        self._declared = manifests(self.services)
        self._check_replicas()
        with ExitStack() as resources:
            self._home.make()
            resources.enter_context(state.sole_use(self._home))
            resources.callback(self._reserved.close)
            self._choose_ports()
            self._supervisor = Supervisor(
                self._home.logs, restart=self.keep_alive, echo=self.echo, changed=self._record
            )
            resources.callback(state.erase, self._home)
            resources.callback(self._stop)
            self._start_infrastructure()
            self.prepare(self)
            self._start_services()
            self._ready = True
            self._record()
            self._resources = resources.pop_all()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Stop everything; then raise what ended the stack, unless an error is on its way."""
        self._resources.close()
        if error is None:
            self._supervisor.check()

    def url(self, name: str) -> str:
        """Give the address of a service (its first process with a port) or of one process."""
        for key, port in self._ports.items():
            if name in (key, key.partition("/")[0]):
                return _url(port)
        raise LookupError(f"{name!r} has no port here; there are: {', '.join(self._ports)}")

    def urls(self) -> dict[str, str]:
        """Give the addresses of all facades, by the names of their processes."""
        return {name: self.url(name) for name in self._ports if name in self._facades()}

    def pid(self, name: str) -> int:
        """Give the process id of a program: `kafka`, `redis`, `collector/http`."""
        self._supervisor.check()
        return self._supervisor.child(name).pid

    def programs(self) -> tuple[str, ...]:
        """Give the names of all programs of this stack."""
        return tuple(child.program.name for child in self._supervisor.children())

    def kill(self, name: str, *, stay_down: bool = False) -> None:
        """Kill a program with SIGKILL and wait until it is gone.

        It stays down until `restart`, or, in one that is kept alive, comes back by itself unless
        told to `stay_down`.
        """
        self._supervisor.check()
        self._supervisor.kill(name, stay_down=stay_down)

    def restart(self, name: str, timeout_s: float = 120.0) -> None:
        """Start a program again, after a clean stop if it runs, and wait until it is ready."""
        self._supervisor.check()
        self._supervisor.revive(name, timeout_s)

    def suspend(self, name: str) -> None:
        """Freeze a program, as a machine that hangs would; see `resume`."""
        self._supervisor.child(name).suspend()

    def resume(self, name: str) -> None:
        """Let a frozen program go on."""
        self._supervisor.child(name).signal(signal.SIGCONT)

    def wait_ready(self, name: str, timeout_s: float = 120.0) -> None:
        """Wait until a program is ready; raise if it died or is not ready in time."""
        self._supervisor.wait_ready(name, timeout_s)

    def wait(self, timeout_s: float | None = None) -> None:
        """Block until the time is up or a program's death ends all, whose error is raised."""
        until = math.inf if timeout_s is None else time.monotonic() + timeout_s
        # In short waits: a signal that another thread took would not end a long one.
        while (left_s := until - time.monotonic()) > 0:
            if self._supervisor.ended.wait(min(left_s, _LOOK_S)):
                break
        self._supervisor.check()

    def service_env(self) -> dict[str, str]:
        """Give the environment of the services, for a program that wants to reach this stack."""
        addresses = {
            "SHOPLOOP_HOME": str(self._home.root),
            "SHOPLOOP_KAFKA": self.kafka,
            "SHOPLOOP_REDIS": self.redis,
        }
        for service in self._declared:
            for process in service.processes[::-1]:
                port = self._ports.get(f"{service.name}/{process.name}")
                if process.port and port:
                    addresses[port_setting(service.name)] = str(port)
        return {**self.environ, **addresses, "PYTHONUNBUFFERED": "1"}

    def _check_replicas(self) -> None:
        able = {
            f"{service.name}/{process.name}"
            for service in self._declared
            for process in service.processes
            if process.port and process.shares_port
        }
        for name, count in self.replicas.items():
            if name not in able or count < 1:
                raise LocalStackError(
                    f"there cannot be {count} of {name!r} on one port",
                    f"name one that can, and a number from 1: {', '.join(sorted(able)) or 'none'}",
                )

    def _choose_ports(self) -> None:
        usual = {} if self.kafka else {"kafka": KAFKA_PORT}
        usual |= {} if self.redis else {"redis": REDIS_PORT}
        for service in self._declared:
            for process in service.processes:
                if port := process.port or process.probes:
                    usual[f"{service.name}/{process.name}"] = port
        if self.random_ports:
            self._ports = dict(zip(usual, self._reserved.take(len(usual)), strict=True))
            return
        for name, usual_port in usual.items():
            named = name.partition("/")[0] if name in self._facades() else name.replace("/", "-")
            setting = port_setting(named)
            port = int(self.environ.get(setting, usual_port)) or self._reserved.take(1)[0]
            ports.require_free(port, name, setting=f"set {setting}")
            self._ports[name] = port

    def _facades(self) -> set[str]:
        return {f"{s.name}/{p.name}" for s in self._declared for p in s.processes if p.port}

    def _start_infrastructure(self) -> None:
        programs = []
        if not self.redis:
            redis = LocalRedis(self._home.redis, self._ports.pop("redis"), find_server())
            redis.prepare()
            self.redis = redis.url
            programs.append(redis.program(self.environ))
        if not self.kafka:
            programs.append(self._kafka())
        self._infrastructure = tuple(program.name for program in programs)
        self._start(programs)

    def _kafka(self) -> Program:
        runtime, cache = java.find_or_install(self.environ), cache_folder(self.environ)
        jars.class_path(cache, self.progress)
        (controller_port,) = self._reserved.take(1)
        kafka = LocalKafka(
            self._home.kafka, self._ports.pop("kafka"), controller_port, runtime, cache
        )
        kafka.prepare()
        self.kafka = kafka.bootstrap
        return kafka.program(self.environ)

    def _start_services(self) -> None:
        self._start(
            [
                program
                for service in self._declared
                for process in service.processes
                for program in self._programs(service, process)
            ]
        )

    def _start(self, programs: Sequence[Program]) -> None:
        for program in programs:
            self._supervisor.start(program)
        for program in programs:
            self._supervisor.wait_ready(program.name)

    def _programs(self, service: Service, process: Process) -> list[Program]:
        """Give a process's replicas; the only one has the port for itself."""
        name = f"{service.name}/{process.name}"
        argv = [sys.executable, "-m", f"services.{service.name}", process.name]
        count = self.replicas.get(name, 1)
        port = self._ports.get(name)
        if count == 1:
            return [self._program(name, argv, port, {})]
        shared = {"SHOPLOOP_SHARED_PORT": str(port)}
        return [
            self._program(f"{name}-{number}" if number > 1 else name, argv, own, shared)
            for number, own in enumerate(self._reserved.take(count), start=1)
        ]

    def _program(
        self, name: str, argv: Sequence[str], port: int | None, more: Mapping[str, str]
    ) -> Program:
        env = {**self.service_env(), **more}
        if port:
            env["SHOPLOOP_PORT"] = str(port)
        return Program(
            name=name,
            argv=argv,
            env=env,
            cwd=self.root,
            ready=partial(http_is_ready, _url(port)) if port else lambda: True,
            port=port,
            stop_s=_SERVICE_STOP_S,
        )

    def _stop(self) -> None:
        services = [name for name in self.programs() if name not in self._infrastructure]
        self._supervisor.stop([services])

    def _url_of(self, program: Program) -> str | None:
        if program.port is None or program.name in self._infrastructure:
            return None
        return _url(program.port)

    def _record(self) -> None:
        processes = tuple(
            state.RunningProcess(
                name=child.program.name,
                pid=child.pid,
                born=state.born(child.pid),
                port=child.program.port,
                url=self._url_of(child.program),
            )
            for child in self._supervisor.children()
        )
        me = os.getpid()
        state.write(
            self._home,
            state.RunState(me, state.born(me), self.kafka, self.redis, self._ready, processes),
        )


def _url(port: int) -> str:
    return f"http://{ports.HOST}:{port}"


def port_setting(name: str) -> str:
    """Give the name of the environment variable that overrides a usual port."""
    return f"SHOPLOOP_{name.upper().replace('-', '_')}_PORT"
