"""Events to effects, a few lines each; every effect may happen twice without harm."""

from collections.abc import Sequence
from typing import Any

from services.recommender.core.activity import Activity
from services.recommender.core.catalog import Catalog
from services.recommender.core.keep import kept_of
from services.recommender.manifest import SERVICE
from services.recommender.store import Explanations, People
from shared.contracts.consent import allows
from shared.contracts.envelope import utc
from shared.contracts.events import Erasure
from shared.contracts.topics import ERASURES, wrap
from shared.runtime.bus import Bus, Received
from shared.runtime.bus.port import Handler
from shared.runtime.clock import Clock

CLOCK_SKEW_S = 60.0


def on_people_doing(people: People, clock: Clock) -> Handler:
    """Return the handler of behaviour and orders: into the histories, one round trip a batch."""

    async def handle(batch: Sequence[Received[Any]]) -> None:
        envelopes = (received.envelope for received in batch)
        latest_s = clock.now() + CLOCK_SKEW_S
        await people.keep(kept_of((e for e in envelopes if e is not None), latest_s))

    return handle


def on_shoppers(people: People) -> Handler:
    """Return the handler of shoppers: whether each one's history may be used."""

    async def handle(batch: Sequence[Received[Any]]) -> None:
        for received in batch:
            if received.envelope is None:
                await people.opt(received.key, out=False)
                continue
            shopper = received.envelope.data
            wanted = shopper.personalised and allows(shopper.consent, "personalisation")
            await people.opt(shopper.user, out=not wanted)

    return handle


def on_catalog(catalog: Catalog) -> Handler:
    """Return the follower of the catalogue."""

    async def handle(batch: Sequence[Received[Any]]) -> None:
        for received in batch:
            if received.envelope is None:
                catalog.remove(received.key)
            else:
                catalog.put(received.envelope.data, received.envelope.time_s)

    return handle


def on_item_activity(activity: Activity) -> Handler:
    """Return the follower of everybody's counts."""

    async def handle(batch: Sequence[Received[Any]]) -> None:
        for received in batch:
            if received.envelope is None:
                activity.remove(received.key)
            else:
                activity.put(received.envelope.data)

    return handle


def on_erasures(bus: Bus, people: People, explanations: Explanations, clock: Clock) -> Handler:
    """Return the handler that forgets people, and answers with what it removed."""

    async def handle(batch: Sequence[Received[Any]]) -> None:
        for received in batch:
            if received.envelope is None or received.envelope.data.service is not None:
                continue
            asked = received.envelope.data
            ids = (asked.user, *asked.anonids)
            removed = {
                "views": sum([await people.forget(person) for person in ids]),
                "explanations": await explanations.forget(frozenset(ids)),
            }
            answer = Erasure(user=asked.user, service=SERVICE.name, removed=removed)
            envelope = wrap(
                ERASURES,
                answer,
                id=f"{received.envelope.id}/{SERVICE.name}",
                source=f"/{SERVICE.name}",
                time=utc(clock.now()),
                causedby=received.envelope.id,
            )
            await bus.publish(ERASURES, envelope)

    return handle
