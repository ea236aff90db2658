"""What only a real Redis can show: it goes away, comes back, is slow, writes to its disk."""

import asyncio
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from shared.contracts.errors import Retryable
from shared.contracts.service import Key, Process, Service
from shared.runtime.kv import RedisKeyValue, connect
from shared.tools.local.ports import random_ports
from tests.contract.releases_servers import redis_server

pytestmark = pytest.mark.redis
WORD = Key("word", ("user",), "string", "A word.")
SERVICE = Service("testing", "A test.", (Process("http", "It."),), keys=(WORD,))


@pytest.fixture
def port(tmp_path: Path) -> Iterator[int]:
    """A Redis of this test's own."""
    (chosen,) = random_ports(1)
    with redis_server(tmp_path, chosen):
        yield chosen


async def test_a_restarted_redis_is_found_again(tmp_path: Path) -> None:
    """Every service would have to be restarted with Redis."""
    (port,) = random_ports(1)
    kv = RedisKeyValue(connect(f"redis://127.0.0.1:{port}/0"), SERVICE)
    with redis_server(tmp_path, port):
        await asyncio.gather(*(kv.set(WORD, f"u{n}", value=n) for n in range(50)))
        before = await kv.epoch()
    with pytest.raises(Retryable):
        await kv.get(WORD, "u1")
    with redis_server(tmp_path, port):
        assert await kv.get(WORD, "u1") is None
        assert await kv.epoch() != before
        await asyncio.gather(*(kv.set(WORD, f"u{n}", value=n) for n in range(50)))
    await kv.close()


async def test_a_slow_answer_is_given_up_and_never_taken_for_the_next(tmp_path: Path) -> None:
    """A shopper would get the answer that another one's request gave up."""
    (port,) = random_ports(1)
    with redis_server(tmp_path, port) as server:
        kv = RedisKeyValue(connect(f"redis://127.0.0.1:{port}/0"), SERVICE, timeout_s=1)
        await kv.set(WORD, "ann", value="right")
        slow = kv.script("return 'late'")
        assert await slow([]) == b"late"
        server.send_signal(signal.SIGSTOP)
        with pytest.raises(Retryable):
            await slow([])
        server.send_signal(signal.SIGCONT)
        deadline = time.monotonic() + 30
        while not await kv.healthy():
            assert time.monotonic() < deadline
        assert await kv.get(WORD, "ann") == b"right"
        await kv.close()


async def test_a_cancelled_request_leaves_no_answer_behind(port: int) -> None:
    """A shopper would get the answer of a request that was cancelled."""
    kv = RedisKeyValue(connect(f"redis://127.0.0.1:{port}/0"), SERVICE, connections=1)
    for n in range(20):
        await kv.set(WORD, f"u{n}", value=n)
    for n in range(20):
        task = asyncio.ensure_future(kv.get(WORD, f"u{n}"))
        for _ in range(n % 4):
            await asyncio.sleep(0)
        task.cancel()
        assert await kv.get(WORD, "u7") == b"7"
    await kv.close()


async def test_more_callers_than_connections_wait_for_one(port: int) -> None:
    """A burst of requests would open sockets without a bound."""
    redis = connect(f"redis://127.0.0.1:{port}/0")
    kv = RedisKeyValue(redis, SERVICE, connections=4)
    await asyncio.gather(*(kv.set(WORD, f"u{n}", value=n) for n in range(500)))
    answers = await asyncio.gather(*(kv.get(WORD, f"u{n}") for n in range(500)))
    assert answers == [str(n).encode() for n in range(500)]
    assert len(await redis.client_list()) <= 4 + 1
    await kv.close()


async def test_durable_needs_an_append_only_file(port: int) -> None:
    """A person would be told of an erasure that a power cut undoes."""
    redis = connect(f"redis://127.0.0.1:{port}/0")
    kv = RedisKeyValue(redis, SERVICE)
    with pytest.raises(Retryable, match="durably"):
        await kv.durable()
    await redis.config_set("appendonly", "yes")
    deadline = time.monotonic() + 30
    while (await redis.info("persistence"))["aof_rewrite_in_progress"]:
        assert time.monotonic() < deadline
        await asyncio.sleep(0.01)
    await kv.set(WORD, "ann", value="x")
    await kv.durable()
    await redis.aclose()
    await kv.close()
