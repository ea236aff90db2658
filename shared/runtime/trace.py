"""W3C trace context: one line that ties a request, its events and their effects together."""

import os
import re
from contextvars import ContextVar
from typing import NamedTuple

_TRACEPARENT = re.compile(r"00-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})")
_NO_TRACE = "0" * 32
_NO_SPAN = "0" * 16

_PAGE = 100
_drawn: list[str] = []
os.register_at_fork(after_in_child=_drawn.clear)


def _entropy() -> str:
    """Return 48 random hexadecimal digits; the kernel is asked once for many, as it takes long."""
    while True:
        try:
            return _drawn.pop()
        except IndexError:
            page = os.urandom(24 * _PAGE).hex()
            _drawn.extend(page[at : at + 48] for at in range(0, len(page), 48))


class Trace(NamedTuple):
    """A place in a trace; `str()` is the header ``traceparent`` (W3C Trace Context, section 3.2)."""

    trace_id: str
    span_id: str
    flags: str = "01"

    def __str__(self) -> str:
        return f"00-{self.trace_id}-{self.span_id}-{self.flags}"

    def child(self) -> "Trace":
        """Return a new span of the same trace."""
        return Trace(self.trace_id, _entropy()[:16], self.flags)


def new_trace() -> Trace:
    """Return the first span of a new trace."""
    entropy = _entropy()
    return Trace(entropy[:32], entropy[32:])


def parse(traceparent: str | bytes | None) -> Trace | None:
    """Return the trace that a caller is in; None for a missing or malformed header.

    A malformed header starts a new trace, as the specification wants; it is no error.
    """
    if traceparent is None:
        return None
    if isinstance(traceparent, bytes):
        traceparent = traceparent.decode("latin-1")
    found = _TRACEPARENT.fullmatch(traceparent)
    if found is None or found[1] == _NO_TRACE or found[2] == _NO_SPAN:
        return None
    return Trace(found[1], found[2], found[3])


current: ContextVar[Trace | None] = ContextVar("shoploop_trace", default=None)
"""The trace of the request or event being handled; publishers put it into `traceparent`."""


def traceparent() -> str | None:
    """Return the header for what the current request or event causes; None outside of one."""
    trace = current.get()
    return None if trace is None else str(trace)
