"""Forgetting a person, with one service that answers."""

import asyncio
from typing import Any

import pytest

from shared.contracts.errors import NotFound
from shared.contracts.events import Erasure, Identity, Shopper
from shared.contracts.ids import AnonId, UserId
from shared.contracts.service import Key, Process, Service
from shared.contracts.topics import ERASURES, IDENTITIES, SHOPPERS, Topic
from shared.contracts.vault import VAULT
from shared.runtime.app import App, Ports
from shared.runtime.bus.records import Outgoing
from shared.runtime.erasure import answers, erasure_handler, forget, keep_forgotten
from shared.runtime.settings import Settings
from tests.fixtures.service import DEADLINE_S, Component, Open

NOTES = Key("notes", ("person",), "string", "A view of a person.")
SERVICE = Service(
    "notes",
    "Notes about people.",
    (Process("worker", "Keeps notes."), Process("guard", "Keeps people forgotten.")),
    reads=(ERASURES, IDENTITIES),
    writes=(ERASURES, IDENTITIES, SHOPPERS),
    keys=(VAULT, NOTES),
)
ANN, BOB = UserId("ann"), UserId("bob")


def build(process: str, settings: Settings, ports: Ports) -> App:
    """A service with one view."""

    async def guard() -> None:
        await keep_forgotten(ports)

    if process == "guard":
        return App(tasks={"forgotten": guard})

    async def clear(user: UserId, anonids: tuple[AnonId, ...]) -> dict[str, int]:
        gone = [await ports.kv.delete(NOTES, person) for person in (user, *anonids)]
        return {"notes": sum(gone)}

    return App(handlers={ERASURES: erasure_handler(SERVICE, ports, clear)})


@pytest.fixture
async def notes(component: Open) -> Component:
    """The service, with Ann under two anonymous ids and Bob under one."""
    opened = await component(SERVICE, build, "worker")
    for anonid, user in (("a1", ANN), ("a2", ANN), ("b1", BOB), ("a3", ANN), ("a3", BOB)):
        await opened.publish(IDENTITIES, Identity(anonid=anonid, user=user))
        await opened.ports.kv.set(NOTES, anonid, value="seen")
    await opened.publish(SHOPPERS, Shopper(user=ANN), Shopper(user=BOB))
    return opened


def spoil(notes: Component, topic: Topic[Any]) -> None:
    """Put records into the topic that are no events."""
    for value in (b"{no json", b'{"specversion":"2.0"}', b"\xff"):
        notes.around.broker.append(topic.name, Outgoing(b"\xff", value, ()), 0.0)


async def test_every_trace_of_a_person_goes_and_no_other(notes: Component) -> None:
    """Somebody who asked to be forgotten would still be known, or somebody else be lost."""
    sealed = await notes.ports.vault.seal(ANN, "name", "Ann")
    kept = await notes.ports.vault.seal(BOB, "name", "Bob")
    request = await forget(notes.ports, ANN, source="test")
    await notes.settle()
    assert request.data == Erasure(user=ANN, anonids=("a1", "a2"))
    assert sorted(notes.tombstones(IDENTITIES)) == ["a1", "a2"]
    assert notes.tombstones(SHOPPERS) == [ANN]
    assert [await notes.ports.kv.get(NOTES, a) for a in ("a1", "a2")] == [None, None]
    assert await notes.ports.kv.get(NOTES, "b1") == b"seen"
    assert await notes.ports.vault.open(BOB, "name", kept) == "Bob"
    with pytest.raises(NotFound):
        await notes.ports.vault.open(ANN, "name", sealed)


async def test_services_answer_with_what_they_removed(notes: Component) -> None:
    """The shop could not prove to the person that the data is gone."""
    request = await forget(notes.ports, ANN, source="test")
    got = await asyncio.wait_for(anext(answers(notes.ports.bus, request.id)), DEADLINE_S)
    assert got == ("notes", {"notes": 2})


@pytest.mark.parametrize("appended", [False, True])
async def test_an_answer_that_is_tried_again_says_the_same(
    notes: Component, appended: bool
) -> None:
    """The shop would read that nothing was removed, because Kafka was away for a moment."""
    request = Erasure(user=ANN, anonids=(AnonId("a1"), AnonId("a2")))
    await notes.settle()
    envelope = notes.envelope(ERASURES, request)
    await notes.around.bus.publish(ERASURES, envelope)
    notes.around.broker.fail_next_publish(3, appended=appended)
    await notes.settle()
    said = [e.data for e in notes.published(ERASURES) if e.causedby == envelope.id]
    assert said == [Erasure(user=ANN, service="notes", removed={"notes": 2})] * len(said)
    assert len(said) == (4 if appended else 1)


async def test_an_interrupted_request_is_asked_again(notes: Component) -> None:
    """A person would stay half forgotten after Kafka was away for a moment."""
    notes.around.broker.fail_next_publish(1, appended=False)
    with pytest.raises(Exception, match="did not take"):
        await forget(notes.ports, ANN, source="test")
    request = await forget(notes.ports, ANN, source="test")
    assert request.data.anonids == ("a1", "a2")


async def test_a_record_that_is_no_event_holds_up_nobody(notes: Component) -> None:
    """One bad record would keep everybody from being forgotten."""
    for topic in (IDENTITIES, ERASURES):
        spoil(notes, topic)
    request = await forget(notes.ports, ANN, source="test")
    await notes.settle()
    assert request.data.anonids == ("a1", "a2")
    got = await asyncio.wait_for(anext(answers(notes.ports.bus, request.id)), DEADLINE_S)
    assert got == ("notes", {"notes": 2})


async def test_a_lost_redis_does_not_bring_a_person_back(notes: Component, component: Open) -> None:
    """After a restore of an old Redis, forgotten people could be read again."""
    spoil(notes, ERASURES)
    await forget(notes.ports, ANN, source="test")
    await notes.settle()
    assert await notes.ports.kv.delete(VAULT, ANN)
    assert not await notes.ports.vault.forgotten(ANN)
    await component(SERVICE, build, "guard")

    async def until_forgotten() -> None:
        while not await notes.ports.vault.forgotten(ANN):
            await asyncio.sleep(0.01)

    await asyncio.wait_for(until_forgotten(), DEADLINE_S)
    assert not await notes.ports.vault.forgotten(BOB)
