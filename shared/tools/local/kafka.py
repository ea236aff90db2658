"""A real Apache Kafka on this machine: one node, KRaft, from the published jars.

Its data stays in the home between starts. The session timeout between broker and controller is
short, so that a broker killed with kill -9 is taken back within seconds, not after the usual nine.
"""

import base64
import hashlib
import os
import shutil
import subprocess
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from shared.tools.local import jars
from shared.tools.local.errors import LocalStackError
from shared.tools.local.java import Java
from shared.tools.local.ports import HOST
from shared.tools.local.probes import kafka_is_ready
from shared.tools.local.program import Program

VERSION = "4.3.1"

# Measured with the demo's load: the broker stays below 400 MiB in all and never runs out of heap.
_MEMORY = ("-Xms64m", "-Xmx320m", "-XX:MaxDirectMemorySize=128m", "-XX:ReservedCodeCacheSize=64m")
_JVM = ("-XX:+UseSerialGC", "-XX:-UsePerfData", "-XX:+ExitOnOutOfMemoryError", "-Xlog:disable")
_JVM_QUIET = ("--sun-misc-unsafe-memory-access=allow",)  # else a warning at each start

# An archive of loaded classes makes every start but the first two to three times as fast. Since
# Java 25 there is a better kind, which needs no archive of the runtime's own; small runtimes, such
# as the wheel's, come without one. Making it takes seconds, at the first clean stop.
_AHEAD_OF_TIME = 25
_ARCHIVING = {
    False: ("-XX:SharedArchiveFile={}", "-XX:ArchiveClassesAtExit={}"),
    True: ("-XX:AOTCache={}", "-XX:AOTCacheOutput={}"),
}
_STOP_S, _ARCHIVE_S = 10.0, 60.0

_LOGGER = "-Dorg.slf4j.simpleLogger"
_LOGGING = (
    f"{_LOGGER}.defaultLogLevel=warn",
    f"{_LOGGER}.showDateTime=true",
    f"{_LOGGER}.dateTimeFormat=HH:mm:ss.SSS",
    # Both warn of what is normal on one node: of becoming the controller, of a second close.
    f"{_LOGGER}.log.org.apache.kafka.controller.QuorumController=error",
    f"{_LOGGER}.log.org.apache.kafka.clients.NetworkClient=error",
)

_PROPERTIES = {
    "process.roles": "broker,controller",
    "node.id": "1",
    "listener.security.protocol.map": "BROKER:PLAINTEXT,CONTROLLER:PLAINTEXT",
    "inter.broker.listener.name": "BROKER",
    "controller.listener.names": "CONTROLLER",
    "auto.create.topics.enable": "false",
    "offsets.topic.replication.factor": "1",
    "offsets.topic.num.partitions": "4",
    "transaction.state.log.replication.factor": "1",
    "transaction.state.log.min.isr": "1",
    "transaction.state.log.num.partitions": "4",
    "share.coordinator.state.topic.replication.factor": "1",
    "share.coordinator.state.topic.min.isr": "1",
    "group.initial.rebalance.delay.ms": "0",
    "group.min.session.timeout.ms": "1000",
    "log.cleaner.dedupe.buffer.size": str(16 << 20),
    "broker.session.timeout.ms": "1500",
    "broker.heartbeat.interval.ms": "500",
    "num.network.threads": "2",
    "num.io.threads": "4",
    "background.threads": "4",
}


@dataclass(frozen=True, slots=True)
class LocalKafka:
    """A broker that keeps its data in `folder` and listens on `port` of the loopback interface.

    Parameters
    ----------
    folder
        Data and configuration. One broker at a time may use it.
    port, controller_port
        Free ports. They may differ from one start to the next.
    java
        The runtime.
    cache
        Where brokers share their jars and an archive of loaded classes, which the first clean stop
        writes and which halves the time of every later start.
    """

    folder: Path
    port: int
    controller_port: int
    java: Java
    cache: Path

    @property
    def bootstrap(self) -> str:
        """The address for clients, `host:port`."""
        return f"{HOST}:{self.port}"

    def prepare(self) -> None:
        """Write the configuration and, the first time, format the data folder.

        Raises
        ------
        LocalStackError
            The folder holds the data of another cluster, or cannot be formatted.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        lines = [f"{key}={value}" for key, value in self._properties().items()]
        self._configuration.write_text("\n".join(lines) + "\n")
        cluster = self._cluster_id()
        formatted_as = self._formatted_as()
        if formatted_as is None:
            self._format(cluster)
        elif formatted_as != cluster:
            raise self._broken(
                f"{self._data} belongs to the Kafka cluster {formatted_as}, not to {cluster}"
            )

    def program(self, env: Mapping[str, str]) -> Program:
        """Give the broker as a program to supervise."""
        archive, fresh = self._class_archive(), self.folder / "classes.new"
        used, recorded = _ARCHIVING[self.java.version >= _AHEAD_OF_TIME]
        option = used.format(archive) if archive.exists() else recorded.format(fresh)
        return Program(
            name="kafka",
            argv=[*self._java(*_MEMORY, option), "kafka.Kafka", str(self._configuration)],
            # One arena: glibc would otherwise keep tens of MiB for each of the JVM's threads.
            env={**env, "MALLOC_ARENA_MAX": "1"},
            cwd=self.folder,
            ready=lambda: kafka_is_ready(self.bootstrap),
            port=self.port,
            stop_s=_STOP_S if archive.exists() else _ARCHIVE_S,
            stopped=lambda: _move_into_place(fresh, archive),
        )

    @property
    def _data(self) -> Path:
        return self.folder / "data"

    @property
    def _configuration(self) -> Path:
        return self.folder / "server.properties"

    def _properties(self) -> dict[str, str]:
        return _PROPERTIES | {
            "controller.quorum.voters": f"1@{HOST}:{self.controller_port}",
            "listeners": f"BROKER://{self.bootstrap},CONTROLLER://{HOST}:{self.controller_port}",
            "log.dirs": str(self._data),
        }

    def _java(self, *options: str) -> list[str]:
        quiet = _JVM_QUIET if self.java.version >= _AHEAD_OF_TIME else ()
        return [
            str(self.java.path),
            *options,
            *_JVM,
            *quiet,
            *_LOGGING,
            "-cp",
            jars.class_path(self.cache),
        ]

    def _class_archive(self) -> Path:
        """One archive for each Java and class path: another one's would be refused."""
        made_from = f"{self.java.path.resolve()} {self.java.version} {VERSION}"
        return self.cache / f"classes-{hashlib.sha256(made_from.encode()).hexdigest()[:12]}.jsa"

    def _cluster_id(self) -> str:
        """The id that this folder got at its first start; kept beside the data, not in it."""
        path = self.folder / "cluster-id"
        if not path.exists():
            path.write_text(_new_cluster_id())
        return path.read_text().strip()

    def _formatted_as(self) -> str | None:
        meta = self._data / "meta.properties"
        if not meta.exists():
            if self._data.exists() and any(self._data.iterdir()):
                raise self._broken(f"{self._data} holds files but no {meta.name}")
            return None
        pairs = (line.partition("=") for line in meta.read_text().splitlines())
        return {key.strip(): value.strip() for key, _, value in pairs}.get("cluster.id")

    def _format(self, cluster: str) -> None:
        command = [
            *self._java("-XX:TieredStopAtLevel=1"),
            *("kafka.tools.StorageTool", "format", "-t", cluster, "-c", str(self._configuration)),
        ]
        done = subprocess.run(command, check=False, capture_output=True, text=True)
        if done.returncode:
            shutil.rmtree(self._data, ignore_errors=True)  # else the next start takes it as done
            raise self._broken(f"Kafka cannot format {self._data}: {done.stderr.strip()[-500:]}")

    def _broken(self, problem: str) -> LocalStackError:
        return LocalStackError(
            problem,
            f"put that cluster's data back, or give up the events in it: rm -r {self.folder}",
        )


def _new_cluster_id() -> str:
    """Give a random id in Kafka's spelling; a leading dash would look like an option to its tools."""
    while True:
        fresh = base64.urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")
        if not fresh.startswith("-"):
            return fresh


def _move_into_place(fresh: Path, archive: Path) -> None:
    """Publish a class archive whole or not at all; the cache may be on another disk."""
    if fresh.exists():
        incoming = archive.with_name(f"{archive.name}.{os.getpid()}")
        shutil.move(fresh, incoming)
        incoming.replace(archive)
