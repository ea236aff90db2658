"""Logs as JSON lines, and what a process tells of itself.

Metrics are in `shared.runtime.metrics`, trace context in `shared.runtime.trace`. A log line never
holds a payload or an address: fields of such names are dropped whoever writes them.
"""

import logging
import sys
from collections.abc import Mapping, MutableMapping
from typing import Any, TextIO

import msgspec
import structlog

from shared.runtime import trace

FORBIDDEN = frozenset(
    {"payload", "body", "value", "data", "ip", "client", "remote_addr", "email", "phone", "address",
     "name_of_person", "token", "password", "authorization", "api_key"}
)  # fmt: skip
"""Names of log fields that are dropped before a line is written."""

_QUIET = {
    "kafka": logging.CRITICAL,
    "aiokafka": logging.CRITICAL,
    "asyncio": logging.WARNING,
    "httpx": logging.WARNING,
    "httpcore": logging.WARNING,
    "uvicorn": logging.WARNING,
}
_encode = msgspec.json.Encoder(enc_hook=repr).encode


def log(name: str) -> structlog.stdlib.BoundLogger:
    """Return the logger of a module; its events are short facts, details are fields.

    >>> log(__name__).info("release loaded", model="slim", version="…")
    """
    logger: structlog.stdlib.BoundLogger = structlog.get_logger(name)
    return logger


def configure(
    service: str, process: str, *, level: str = "info", stream: TextIO | None = None
) -> None:
    """Send structlog's and the standard library's logs to `stream` (standard error) as JSON lines.

    Each line has ``ts`` (UTC), ``level``, ``service``, ``process``, ``event`` and, inside a request
    or an event, ``trace_id``; the consumer loop binds ``event_id``, ``topic``, ``partition`` and
    ``offset`` with `structlog.contextvars`.
    """
    shared: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True, key="ts"),
        _Identity({"service": service, "process": process}),
        _add_trace,
        structlog.processors.format_exc_info,
        _drop_forbidden,
    ]
    formatter = structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=shared,
        processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, _render],
    )
    handler = logging.StreamHandler(stream or sys.stderr)
    handler.setFormatter(formatter)
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
    if root.level > logging.DEBUG:
        # Clients report each try to reconnect; the runtime says once what it waits for.
        for chatty, least in _QUIET.items():
            logging.getLogger(chatty).setLevel(least)
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            *shared,
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )


class _Identity:
    """Says on every line which process wrote it."""

    def __init__(self, fields: Mapping[str, str]) -> None:
        self._fields = fields

    def __call__(
        self, logger: Any, method: str, event: MutableMapping[str, Any]
    ) -> MutableMapping[str, Any]:
        event.update(self._fields)
        return event


def _add_trace(
    logger: Any, method: str, event: MutableMapping[str, Any]
) -> MutableMapping[str, Any]:
    current = trace.current.get()
    if current is not None:
        event.setdefault("trace_id", current.trace_id)
    return event


def _drop_forbidden(
    logger: Any, method: str, event: MutableMapping[str, Any]
) -> MutableMapping[str, Any]:
    for field in FORBIDDEN & event.keys():
        del event[field]
    return event


def _render(logger: Any, method: str, event: MutableMapping[str, Any]) -> str:
    first = {name: event.pop(name) for name in ("ts", "level", "event") if name in event}
    return _encode(first | dict(event)).decode()
