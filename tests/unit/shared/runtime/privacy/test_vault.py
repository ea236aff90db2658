"""The vault of people's keys."""

import asyncio
from base64 import urlsafe_b64decode, urlsafe_b64encode

import pytest
from fakeredis import FakeServer

from shared.contracts.errors import Invalid, NotFound, Undeclared
from shared.contracts.ids import UserId
from shared.contracts.service import Process, Service
from shared.runtime.clock import FakeClock
from shared.runtime.privacy import VAULT, RedisVault
from tests.fixtures.redis import memory_kv, memory_redis

SERVICE = Service("testing", "A test.", (Process("http", "It."),), keys=(VAULT,))
ANN, BOB = UserId("ann-pseudonym"), UserId("bob-pseudonym")
TEXT = "Ann Example, 12 Any Street, 上海"


def vault(server: FakeServer, key: bytes | None = b"v" * 32) -> RedisVault:
    """Open a vault over the Redis of this test."""
    return RedisVault(memory_kv(SERVICE, clock=FakeClock(), server=server), key)


async def test_what_was_sealed_opens_for_its_person_and_field_alone() -> None:
    """An address could be read as another person's, or as another field."""
    one, other = vault(server := FakeServer()), vault(server)
    sealed = await one.seal(ANN, "address", TEXT)
    await one.seal(BOB, "address", "elsewhere")
    assert await other.open(ANN, "address", sealed) == TEXT
    for user, field in ((BOB, "address"), (ANN, "name")):
        with pytest.raises(Invalid):
            await one.open(user, field, sealed)


async def test_nothing_readable_leaves_the_vault() -> None:
    """Whoever reads the topics or Redis would read people's names."""
    one = vault(server := FakeServer())
    first, second = [await one.seal(ANN, "name", TEXT) for _ in range(2)]
    assert first != second
    assert b"Ann" not in urlsafe_b64decode(first)
    stored = await memory_redis(server).get(VAULT.of(ANN))
    assert len(stored) == 12 + 32 + 16


@pytest.mark.parametrize("place", [0, 11, 12, 40, -1])
async def test_a_changed_byte_is_noticed(place: int) -> None:
    """Somebody who can write to a topic could change an address unseen."""
    one = vault(FakeServer())
    raw = bytearray(urlsafe_b64decode(await one.seal(ANN, "name", TEXT)))
    raw[place] ^= 1
    with pytest.raises(Invalid):
        await one.open(ANN, "name", urlsafe_b64encode(raw).decode())


@pytest.mark.parametrize("sealed", ["", "x", "not base64 €", "AAAA"])
async def test_rubbish_is_invalid(sealed: str) -> None:
    """A wrong field in a topic would crash a service."""
    one = vault(FakeServer())
    await one.seal(ANN, "name", TEXT)
    with pytest.raises(Invalid):
        await one.open(ANN, "name", sealed)


async def test_forgetting_is_for_good() -> None:
    """A forgotten person's data could be read again."""
    one, other = vault(server := FakeServer()), vault(server)
    sealed = await one.seal(ANN, "name", TEXT)
    assert await one.forgotten(ANN) is False
    assert await one.forget(ANN) is True
    assert await one.forget(ANN) is False
    assert await other.forgotten(ANN) is True
    for attempt in (other.open(ANN, "name", sealed), other.seal(ANN, "name", TEXT)):
        with pytest.raises(NotFound):
            await attempt
    assert await memory_redis(server).get(VAULT.of(ANN)) == b""


async def test_a_person_without_a_key_can_be_forgotten() -> None:
    """Events that arrive later would make a key for somebody who asked to be forgotten."""
    one = vault(FakeServer())
    assert await one.forget(BOB) is False
    with pytest.raises(NotFound):
        await one.seal(BOB, "name", TEXT)


async def test_replicas_agree_on_a_persons_first_key() -> None:
    """What one replica sealed, another could not open."""
    server = FakeServer()
    vaults = [vault(server) for _ in range(8)]
    sealed = await asyncio.gather(*(v.seal(ANN, "name", TEXT) for v in vaults))
    assert {await vaults[0].open(ANN, "name", text) for text in sealed} == {TEXT}


async def test_a_stolen_redis_is_no_use_without_the_installations_key() -> None:
    """A copy of Redis would be a copy of the customer file."""
    server = FakeServer()
    sealed = await vault(server).seal(ANN, "name", TEXT)
    with pytest.raises(Invalid):
        await vault(server, b"w" * 32).open(ANN, "name", sealed)
    keyless = vault(server, None)
    with pytest.raises(Undeclared):
        await keyless.open(ANN, "name", sealed)
    assert await keyless.forget(ANN) is True
