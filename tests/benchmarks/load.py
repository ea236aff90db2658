"""A small HTTP/1.1 load generator: prepared requests, kept connections, nothing parsed but lengths.

A general client costs as much time as the servers that are measured here, and both share the
machine's cores.
"""

import asyncio
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from urllib.parse import urlsplit

import numpy as np


def request(
    url: str, *, method: str = "GET", body: bytes = b"", headers: Mapping[str, str] | None = None
) -> bytes:
    """Return the bytes of one request."""
    parts = urlsplit(url)
    target = parts.path + (f"?{parts.query}" if parts.query else "")
    lines = [f"{method} {target} HTTP/1.1", f"Host: {parts.netloc}", f"Content-Length: {len(body)}"]
    lines += [f"{name}: {value}" for name, value in (headers or {}).items()]
    return "\r\n".join([*lines, "", ""]).encode() + body


@dataclass
class Answers:
    """What came back: latencies in seconds, and how often each status."""

    latencies: list[float] = field(default_factory=list)
    statuses: dict[int, int] = field(default_factory=dict)
    elapsed_s: float = 0.0

    def add(self, status: int, latency: float) -> None:
        """Count one answer."""
        self.statuses[status] = self.statuses.get(status, 0) + 1
        self.latencies.append(latency)

    def quantile_ms(self, q: float) -> float:
        """Return a quantile of the latencies in milliseconds."""
        return float(np.quantile(self.latencies, q)) * 1000

    @property
    def failed(self) -> int:
        """How many answers were not 2xx."""
        return sum(n for status, n in self.statuses.items() if not 200 <= status < 300)


class Connection(asyncio.Protocol):
    """One kept connection with at most one request under way."""

    def __init__(self) -> None:
        self._transport: asyncio.Transport | None = None
        self._buffer = b""
        self._answer: asyncio.Future[tuple[int, bytes]] | None = None

    @classmethod
    async def open(cls, url: str) -> "Connection":
        """Connect to the host of `url`."""
        parts = urlsplit(url)
        loop = asyncio.get_running_loop()
        _, protocol = await loop.create_connection(cls, parts.hostname, parts.port)
        return protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        self._transport = transport  # type: ignore[assignment]

    def data_received(self, data: bytes) -> None:
        """Complete the answer when all of it is there."""
        self._buffer += data
        end = self._buffer.find(b"\r\n\r\n")
        if end < 0 or self._answer is None:
            return
        head = self._buffer[:end].lower()
        at = head.find(b"content-length:")
        length = 0 if at < 0 else int(head[at + 15 :].split(b"\r\n", 1)[0])
        if len(self._buffer) < end + 4 + length:
            return
        body, self._buffer = (
            self._buffer[end + 4 : end + 4 + length],
            self._buffer[end + 4 + length :],
        )
        answer, self._answer = self._answer, None
        answer.set_result((int(head[9:12]), body))

    def connection_lost(self, error: Exception | None) -> None:
        """Fail the answer that will not come."""
        if self._answer is not None and not self._answer.done():
            self._answer.set_exception(error or ConnectionResetError("closed by the server"))

    async def send(self, payload: bytes) -> tuple[int, bytes]:
        """Return status and body of the answer."""
        if self._transport is None or self._transport.is_closing():
            raise ConnectionResetError("not connected")
        self._answer = asyncio.get_running_loop().create_future()
        self._transport.write(payload)
        return await self._answer

    def close(self) -> None:
        """Hang up."""
        if self._transport is not None:
            self._transport.close()


async def closed_loop(
    url: str, payloads: Iterator[bytes] | Sequence[bytes], *, connections: int, seconds: float = 1e9
) -> Answers:
    """Send the payloads over so many connections, each waiting for its answer; stop after `seconds`."""
    answers, source = Answers(), iter(payloads)
    began = time.perf_counter()

    async def worker() -> None:
        connection = await Connection.open(url)
        for payload in source:
            at = time.perf_counter()
            if at - began > seconds:
                break
            status, _ = await connection.send(payload)
            answers.add(status, time.perf_counter() - at)
        connection.close()

    await asyncio.gather(*(worker() for _ in range(connections)))
    answers.elapsed_s = time.perf_counter() - began
    return answers


async def open_loop(
    url: str, payload: Callable[[int], bytes], *, rate: float, seconds: float, connections: int = 64
) -> Answers:
    """Send at a fixed rate whatever the answers do; latency counts from the planned moment."""
    answers, free = Answers(), asyncio.Queue[Connection]()
    for _ in range(connections):
        free.put_nowait(await Connection.open(url))
    began = time.perf_counter()

    async def one(number: int, planned: float) -> None:
        connection = await free.get()
        status, _ = await connection.send(payload(number))
        answers.add(status, time.perf_counter() - planned)
        free.put_nowait(connection)

    async with asyncio.TaskGroup() as tasks:
        for number in range(int(rate * seconds)):
            planned = began + number / rate
            await asyncio.sleep(max(0.0, planned - time.perf_counter()))
            tasks.create_task(one(number, planned))
    answers.elapsed_s = time.perf_counter() - began
    while not free.empty():
        free.get_nowait().close()
    return answers
