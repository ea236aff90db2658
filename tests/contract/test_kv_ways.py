"""Other ways to a Redis than in the clear to a single server: encrypted, replicated, in a cluster."""

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from redis.exceptions import MovedError, RedisError

from shared.contracts.errors import Retryable
from shared.contracts.service import Key, Process, Service
from shared.runtime.kv import RedisKeyValue, connect
from shared.runtime.kv.wire import checked
from shared.tools.local.ports import random_ports
from tests.contract.releases_servers import redis_server
from tests.fixtures.secured import make_certificates

pytestmark = pytest.mark.redis
WORD = Key("word", ("user",), "string", "A word.")
SERVICE = Service("testing", "A test.", (Process("http", "It."),), keys=(WORD,))
PATIENCE_S = 20.0


def store(url: str) -> RedisKeyValue:
    return RedisKeyValue(connect(url), SERVICE)


@asynccontextmanager
async def encrypted(folder: Path, port: int) -> AsyncIterator[int]:
    """Yield a port where the server at `port` is reached with TLS."""
    make_certificates(folder)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(folder / "broker.pem")

    async def pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while content := await reader.read(1 << 16):
                writer.write(content)
        except OSError:
            pass
        writer.close()

    async def relay(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        from_server, to_server = await asyncio.open_connection("127.0.0.1", port)
        await asyncio.gather(pump(reader, to_server), pump(from_server, writer))

    server = await asyncio.start_server(relay, "127.0.0.1", 0, ssl=context)
    async with server:
        yield server.sockets[0].getsockname()[1]


async def test_an_encrypted_way_works_and_strangers_are_refused(tmp_path: Path) -> None:
    """Redis as a service is reached with TLS alone, and someone in between must be noticed."""
    (port,) = random_ports(1)
    with redis_server(tmp_path, port):
        async with encrypted(tmp_path, port) as secure:
            trusting = store(f"rediss://127.0.0.1:{secure}/0?ssl_ca_certs={tmp_path / 'ca.pem'}")
            words = [trusting.set(WORD, f"u{n}", value="x" * 10_000) for n in range(100)]
            await asyncio.gather(*words)
            assert await trusting.get(WORD, "u99") == b"x" * 10_000
            await trusting.close()
            wary = store(f"rediss://127.0.0.1:{secure}/0")
            with pytest.raises(Retryable, match="certificate"):
                await wary.get(WORD, "u1")
            await wary.close()


async def test_certificates_are_read_once_until_they_do_not_hold(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A burst would stand still while each connection reads them, or a renewal need a restart."""
    made, create = [], ssl.create_default_context
    monkeypatch.setattr(ssl, "create_default_context", lambda *a: made.append(a) or create(*a))
    (port,) = random_ports(1)
    make_certificates(tmp_path)
    trusted = (tmp_path / "old.pem", tmp_path / "ca.pem")
    (tmp_path / "ca.pem").rename(tmp_path / "old.pem")
    with redis_server(tmp_path, port):
        async with encrypted(tmp_path, port) as secure:
            made.clear()
            kv = store(f"rediss://127.0.0.1:{secure}/0?ssl_ca_certs={trusted[0]}")
            with pytest.raises(Retryable, match="certificate"):
                await kv.get(WORD, "u0")
            trusted[1].rename(trusted[0])
            await asyncio.gather(*(kv.set(WORD, f"u{n}", value=n) for n in range(100)))
            await kv.close()
    assert len(made) == 2


async def test_one_of_a_cluster_is_refused_plainly(tmp_path: Path) -> None:
    """It would take some keys and refuse others, by their hash."""
    # One of a cluster listens at 10,000 above too, where most ports are outgoing connections'.
    port = min(random_ports(50))
    with redis_server(tmp_path, port, "--cluster-enabled", "yes"):
        kv = store(f"redis://127.0.0.1:{port}/0")
        with pytest.raises(RedisError, match="one of a cluster"):
            await kv.set(WORD, "ann", value=1)
        await kv.close()
    with pytest.raises(RedisError, match="one of a cluster"):
        checked([b"OK", MovedError("7 127.0.0.1:7001")])


async def test_a_primary_that_has_become_a_replica_is_left(tmp_path: Path) -> None:
    """After a fail-over every write would be refused until the processes are started again."""
    (port,) = random_ports(1)
    with redis_server(tmp_path, port):
        kv, operator = (
            store(f"redis://127.0.0.1:{port}/0"),
            connect(f"redis://127.0.0.1:{port}/0"),
        )
        await kv.set(WORD, "ann", value="a")
        before = await operator.info("clients")
        await operator.execute_command("REPLICAOF", "127.0.0.1", "1")
        with pytest.raises(Retryable):
            await kv.set(WORD, "ann", value="b")
        async with asyncio.timeout(PATIENCE_S):
            while (await operator.info("clients"))["connected_clients"] >= before[
                "connected_clients"
            ]:
                await asyncio.sleep(0.01)
        await kv.close()
        await operator.aclose()
