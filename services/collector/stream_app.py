"""Faust as the stream uses it: its settings, and a cure for a way in which it loses records."""

from collections.abc import Mapping
from typing import Any

import faust
from mode import CrashingSupervisor

from services.collector.stream_log import APP_ID
from shared.runtime.bus.settings import connection
from shared.runtime.settings import Settings


class InOrder:
    """Makes sure that no record of a partition is skipped, whatever the library does."""

    def __init__(self) -> None:
        self._next: dict[tuple[str, int], int] = {}

    def check(self, message: Any) -> None:
        """Note a record that is about to be handled.

        Raises
        ------
        RuntimeError
            Records before it were never handled. Nothing of them is committed, so that the process
            reads them when it starts again.
        """
        place = message.topic, message.partition
        expected = self._next.get(place, message.offset)
        if message.offset > expected:
            raise RuntimeError(f"{place} goes on at {message.offset}, expected {expected}")
        self._next[place] = max(expected, message.offset + 1)

    def forget(self) -> None:
        """Begin anew after a rebalance."""
        self._next.clear()


def faust_app(settings: Settings, partitions: int) -> Any:
    """Return the Faust app without its steps."""
    app = faust.App(
        APP_ID,
        broker=[f"kafka://{server.strip()}" for server in settings.kafka.split(",")],
        broker_credentials=credentials(connection(settings)),
        store="memory://",
        datadir=str(settings.home / "stream"),
        web_enabled=False,
        key_serializer="raw",
        value_serializer="raw",
        processing_guarantee="at_least_once",
        topic_allow_declare=False,
        topic_disable_leader=True,
        topic_partitions=partitions,
        table_standby_replicas=0,
        broker_session_timeout=10.0,
        broker_heartbeat_interval=3.0,
        consumer_auto_offset_reset="earliest",
        stream_buffer_maxsize=1024,
        stream_wait_empty=True,
        agent_supervisor=CrashingSupervisor,
    )
    connect: Any = app.on_rebalance_complete.connect
    connect(_hold, weak=False)
    return app


def credentials(given: Mapping[str, Any]) -> Any:
    """Return what Faust calls the arguments of a connection; None where it is a plain one."""
    if "sasl_mechanism" in given:
        return faust.SASLCredentials(
            username=given["sasl_plain_username"],
            password=given["sasl_plain_password"],
            mechanism=given["sasl_mechanism"],
            ssl_context=given.get("ssl_context"),
        )
    return faust.SSLCredentials(given["ssl_context"]) if "ssl_context" in given else None


async def _hold(app: Any, **kwargs: Any) -> None:
    """Let no record pass until the recovery has found where to go on.

    Faust begins to deliver before that, and then clears its queues: records that were read and not
    yet handled would be gone, and the acknowledgements of those that were handled, too.
    """
    app.flow_control.suspend()


def table(app: Any, name: str, partitions: int) -> Any:
    """Return a table of bytes by bytes."""
    return app.Table(
        name,
        partitions=partitions,
        key_type=bytes,
        value_type=bytes,
    )


def raw_topic(app: Any, *names: str) -> Any:
    """Return topics whose records are taken as they are, tombstones included."""
    return app.topic(
        *names,
        key_type=bytes,
        value_type=bytes,
        allow_empty=True,
    )
