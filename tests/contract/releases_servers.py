"""A Redis of its own for the tests of releases, on a free port."""

import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from shared.tools.local.redis import find_server


@contextmanager
def redis_server(folder: Path, port: int, *more: str) -> Iterator[subprocess.Popen[bytes]]:
    """Run a Redis until the block ends; it accepts connections when the block begins."""
    options = ["--port", str(port), "--bind", "127.0.0.1", "--dir", str(folder), "--save", ""]
    with subprocess.Popen(
        [str(find_server()), *options, *more], stdout=subprocess.DEVNULL
    ) as server:
        try:
            _wait(port, time.monotonic() + 20)
            yield server
        finally:
            server.kill()


def _wait(port: int, deadline: float) -> None:
    while time.monotonic() < deadline:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
        except OSError:
            time.sleep(0.02)
        else:
            return
    raise TimeoutError("Redis did not start")
