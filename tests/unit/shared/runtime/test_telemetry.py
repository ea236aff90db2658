"""Logs, trace context and the list of metrics."""

import ast
import io
import json
import logging
from collections.abc import Iterator
from pathlib import Path

import pytest
import structlog
from hypothesis import given
from hypothesis import strategies as st

from shared.runtime import metrics, telemetry, trace

ROOT = Path(__file__).parents[4]


@pytest.fixture
def lines() -> Iterator[io.StringIO]:
    """Configure logging for the test, and put back what was before."""
    root = logging.getLogger()
    before, level = root.handlers[:], root.level
    stream = io.StringIO()
    telemetry.configure("testing", "http", stream=stream)
    yield stream
    root.handlers[:] = before
    root.setLevel(level)
    structlog.reset_defaults()


def written(lines: io.StringIO) -> dict[str, object]:
    """Return the one line that was logged."""
    (line,) = lines.getvalue().splitlines()
    return dict(json.loads(line))


def test_a_line_says_who_and_where(lines: io.StringIO) -> None:
    """Nobody could follow one event through the services' logs."""
    token = trace.current.set(trace.Trace("a" * 32, "b" * 16))
    with structlog.contextvars.bound_contextvars(event_id="e1", topic="orders", offset=7):
        telemetry.log("x").info("took it", rows=3)
    trace.current.reset(token)
    line = written(lines)
    assert line.pop("ts", "").endswith("Z")  # type: ignore[attr-defined]
    assert line == {
        "level": "info",
        "event": "took it",
        "service": "testing",
        "process": "http",
        "trace_id": "a" * 32,
        "event_id": "e1",
        "topic": "orders",
        "offset": 7,
        "rows": 3,
    }


def test_libraries_log_in_the_same_form(lines: io.StringIO) -> None:
    """A log collector would choke on lines that are no JSON."""
    logging.getLogger("some.library").warning("took %d s", 3)
    line = written(lines)
    assert line["event"] == "took 3 s"
    assert line["service"] == "testing"


@pytest.mark.parametrize("field", sorted(telemetry.FORBIDDEN))
def test_payloads_and_addresses_never_reach_a_log(lines: io.StringIO, field: str) -> None:
    """Logs would hold people's data, which no erasure reaches."""
    telemetry.log("x").info("request", **{field: "personal"})
    assert "personal" not in lines.getvalue()


@given(st.binary(min_size=24, max_size=24), st.integers(0, 255))
def test_a_trace_survives_its_header(raw: bytes, flags: int) -> None:
    """Traces would break at every service."""
    given_trace = trace.Trace(raw[:16].hex(), raw[16:].hex(), f"{flags:02x}")
    parsed = trace.parse(str(given_trace).encode())
    zero = not any(raw[:16]) or not any(raw[16:])
    assert parsed == (None if zero else given_trace)


@pytest.mark.parametrize(
    "header",
    [None, "", b"", "00-1-2-3", "01-" + "a" * 32 + "-" + "b" * 16 + "-01", "00-" + "A" * 32],
)
def test_a_malformed_trace_is_none(header: str | bytes | None) -> None:
    """A wrong header of a caller would fail his request."""
    assert trace.parse(header) is None


def test_a_child_stays_in_its_trace() -> None:
    """Cause and effect would look unrelated."""
    parent = trace.new_trace()
    child = parent.child()
    assert child.trace_id == parent.trace_id
    assert child.span_id != parent.span_id


def unused(declared: set[str], root: Path) -> set[str]:
    """Return the metrics that no code outside the list mentions."""
    used: set[str] = set()
    for path in [*root.glob("shared/**/*.py"), *root.glob("services/**/*.py")]:
        if path.name == "metrics.py" and path.parent.name == "runtime":
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Attribute):
                used.add(node.attr)
            elif isinstance(node, ast.ImportFrom):
                used.update(alias.name for alias in node.names)
    return declared - used


def test_every_declared_metric_is_used() -> None:
    """A dashboard would show a line that never moves."""
    declared = {name for name in vars(metrics) if name.isupper() and not name.startswith("_")}
    assert len(declared) > 20
    assert unused(declared, ROOT) == set()


def test_an_unused_metric_is_found(tmp_path: Path) -> None:
    """The check above could pass whatever is declared."""
    folder = tmp_path / "shared"
    folder.mkdir()
    (folder / "x.py").write_text("metrics.USED.inc()")
    assert unused({"USED", "IDLE"}, tmp_path) == {"IDLE"}


def test_every_trace_is_another_one() -> None:
    """Two requests under one id could not be told apart, nor the feedback on their answers."""
    ids = {trace.new_trace() for _ in range(1000)}
    ids |= {trace.Trace("a" * 32, "b" * 16).child() for _ in range(1000)}
    assert len({i.span_id for i in ids}) == 2000
    assert len({i.trace_id for i in ids}) == 1001
    assert all(trace.parse(str(i)) == i for i in ids)
