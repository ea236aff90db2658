"""Answers leave whole and together, and uncommon ones as uvicorn sends them."""

import asyncio

import pytest
import uvicorn
from uvicorn.server import ServerState

from shared.runtime.http.answers import Outbox, Protocol
from shared.runtime.http.heads import Heads

GET = b"GET / HTTP/1.1\r\nhost: x\r\n\r\n"


class Transport:
    """Keeps what is written."""

    def __init__(self):
        self.writes, self.closed = [], False

    def get_extra_info(self, name, default=None):
        return ("127.0.0.1", 1) if name in ("peername", "sockname") else default

    def write(self, data):
        assert not self.closed, "written to a closed connection"
        self.writes.append(data)

    def is_closing(self):
        return self.closed

    def close(self):
        self.closed = True

    def pause_reading(self):
        pass

    resume_reading = pause_reading


def app_of(*messages, fail=False):
    """Return an app that sends the messages."""

    async def app(scope, receive, send):
        for message in messages:
            await send(message)
        if fail:
            raise ValueError

    return app


def start(*headers, status=200):
    return {"type": "http.response.start", "status": status, "headers": list(headers)}


def body(content, more=False):
    return {"type": "http.response.body", "body": content, "more_body": more}


LENGTH_2 = (b"content-length", b"2")


async def settle():
    for _ in range(10):
        await asyncio.sleep(0)


def connected(app, outbox=None):
    """Return a connection to the app and its transport."""
    config = uvicorn.Config(app, lifespan="off", log_config=None)
    config.load()
    state = ServerState()
    ours = {"outbox": outbox or Outbox(), "heads": Heads(60)}
    protocol = Protocol(config=config, server_state=state, app_state={}, **ours)
    transport = Transport()
    protocol.connection_made(transport)
    return protocol, transport


async def exchange(app, request=GET):
    protocol, transport = connected(app)
    protocol.data_received(request)
    await settle()
    protocol.connection_lost(None)
    return transport


async def test_head_and_body_leave_in_one_write():
    """A caller is woken once for an answer, and its bytes are those of HTTP/1.1."""
    transport = await exchange(app_of(start(LENGTH_2, (b"x-a", b"1")), body(b"ok")))
    assert transport.writes == [b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\nx-a: 1\r\n\r\nok"]


async def test_two_requests_in_one_packet_are_answered_in_order():
    """A pipelining caller gets both answers, the first first."""
    transport = await exchange(app_of(start(LENGTH_2), body(b"ok")), GET * 2)
    assert b"".join(transport.writes).count(b"\r\n\r\nok") == 2


@pytest.mark.parametrize(
    ("request_", "messages", "ends"),
    [
        (GET, (start(), body(b"a", more=True), body(b"b")), b"1\r\na\r\n1\r\nb\r\n0\r\n\r\n"),
        (GET.replace(b"GET", b"HEAD"), (start(LENGTH_2), body(b"ok")), b"\r\n\r\n"),
        (GET, (start(status=204), body(b"")), b"\r\n\r\n"),
    ],
)
async def test_uncommon_answers_are_left_to_uvicorn(request_, messages, ends):
    """A stream, a HEAD or an empty answer would be framed wrongly, and the connection be lost."""
    transport = await exchange(app_of(*messages), request_)
    assert b"".join(transport.writes).endswith(ends)


async def test_a_caller_that_asks_for_it_is_hung_up_on():
    """A caller that reads to the end would wait for ever."""
    asks = GET.replace(b"host: x", b"host: x\r\nconnection: close")
    transport = await exchange(app_of(start(LENGTH_2), body(b"ok")), asks)
    assert transport.closed
    assert b"connection: close\r\n" in b"".join(transport.writes)


async def test_a_header_cannot_end_its_line():
    """A value with a line break would let a stranger write headers of our answers."""
    bad = start(LENGTH_2, (b"x-a", b"1\r\nset-cookie: a=b"))
    transport = await exchange(app_of(bad, body(b"ok")))
    assert b"set-cookie" not in b"".join(transport.writes)


async def test_a_failure_between_head_and_body_is_a_500():
    """A caller would otherwise wait for a body that never comes."""
    transport = await exchange(app_of(start(LENGTH_2), fail=True))
    assert transport.writes[0].startswith(b"HTTP/1.1 500")


async def test_answers_are_out_before_a_server_that_stops_hangs_up():
    """A sender would send again what was taken, because its answer was dropped."""
    outbox = Outbox()
    protocol, transport = connected(app_of(start(LENGTH_2), body(b"ok")), outbox)
    protocol.data_received(GET)
    await asyncio.sleep(0)
    protocol.shutdown()
    assert transport.closed
    assert transport.writes


async def test_one_who_left_does_not_keep_the_others_waiting():
    """Answers of a turn leave together: a dead connection among them must not stop them."""
    outbox, gone, there = Outbox(), Transport(), Transport()
    gone.close()
    outbox.put(gone, b"a")
    outbox.put(there, b"b")
    await settle()
    assert there.writes == [b"b"]
