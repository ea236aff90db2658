"""Slow callers are hung up on; those who ask, or are being answered, are left alone."""

import asyncio
from functools import partial
from types import SimpleNamespace

import pytest
import uvicorn
from uvicorn.server import ServerState

from shared.runtime.http.answers import Outbox, Protocol
from shared.runtime.http.heads import Heads

GET = b"GET / HTTP/1.1\r\nhost: x\r\n\r\n"
LIMIT_S = 0.1
PATIENCE_S = 20.0
ANSWER = b"x" * 64_000


@pytest.fixture
async def served():
    """Return an address, and what an answer waits for."""
    go_on = asyncio.Event()

    async def app(scope, receive, send):
        if scope["path"] == "/slow":
            await go_on.wait()
        head = [(b"content-length", b"%d" % len(ANSWER))]
        await send({"type": "http.response.start", "status": 200, "headers": head})
        await send({"type": "http.response.body", "body": ANSWER})

    config = uvicorn.Config(app, lifespan="off", log_config=None, timeout_keep_alive=60)
    config.load()
    factory = partial(
        Protocol, config=config, server_state=ServerState(), app_state={}, outbox=Outbox(),
        heads=Heads(LIMIT_S),
    )  # fmt: skip
    server = await asyncio.get_running_loop().create_server(factory, "127.0.0.1", 0)
    async with server, asyncio.timeout(PATIENCE_S):
        yield partial(asyncio.open_connection, *server.sockets[0].getsockname()), go_on


async def answer(reader):
    head = await reader.readuntil(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200")
    return await reader.readexactly(len(ANSWER))


@pytest.mark.parametrize("sent", [b"", b"GET / HTTP/1.1\r\n", GET + b"GET / HT"])
async def test_who_sends_no_whole_head_is_hung_up_on(served, sent):
    """A few thousand such connections, from one machine, would shut everybody out."""
    connect, _ = served
    reader, writer = await connect()
    writer.write(sent)
    if sent.startswith(GET):
        await answer(reader)
    assert await reader.read() == b""


async def test_a_header_now_and_then_does_not_buy_time(served):
    """A slow loris is never silent for long."""
    connect, _ = served
    reader, writer = await connect()
    writer.write(b"GET / HTTP/1.1\r\n")
    ended = asyncio.ensure_future(reader.read())
    while not ended.done():
        writer.write(b"x: y\r\n")
        await asyncio.wait({ended}, timeout=LIMIT_S / 10)
    assert isinstance(ended.exception(), ConnectionError | None)


async def test_an_answer_may_take_its_time(served):
    """A slow answer would be cut, and the request be sent again."""
    connect, go_on = served
    reader, writer = await connect()
    writer.write(GET.replace(b"/ ", b"/slow "))
    late, lazy = await connect()
    assert await late.read() == b"", "the idle one went in the meantime"
    lazy.close()
    go_on.set()
    assert await answer(reader) == ANSWER
    writer.close()


class Stuck:
    """A connection whose peer reads nothing."""

    cycle = None

    def __init__(self, connections):
        self.connections, self.transport, self.closing = connections, self, False
        self.aborted = asyncio.Event()
        connections.add(self)

    def close(self):
        self.closing = True

    def is_closing(self):
        return self.closing

    def abort(self):
        assert self.closing, "first what was answered may still be read"
        self.connections.remove(self)
        self.aborted.set()


class Busy(Stuck):
    """A connection that has had another request at each look."""

    @property
    def cycle(self):
        return SimpleNamespace(response_complete=True)


async def test_who_never_reads_is_dropped_and_who_goes_on_asking_is_not():
    """Closing waits for what is unsent, so that such connections would gather."""
    connections = set()
    stuck, busy = Stuck(connections), Busy(connections)
    Heads(LIMIT_S).watch(stuck)
    async with asyncio.timeout(PATIENCE_S):
        await stuck.aborted.wait()
    assert not busy.closing
    connections.clear()
