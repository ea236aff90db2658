"""Events to effects, a few lines each; every effect may happen twice without harm."""

from collections.abc import Callable, Sequence
from typing import Any

from services.recommender.core.activity import Activity
from services.recommender.core.catalog import Catalog
from services.recommender.core.keep import kept_of
from services.recommender.store import Explanations, People
from shared.contracts.consent import allows
from shared.contracts.ids import AnonId, UserId
from shared.runtime.bus import Received
from shared.runtime.bus.port import Handler
from shared.runtime.clock import Clock
from shared.runtime.erasure import Clear

CLOCK_SKEW_S = 60.0


def on_people_doing(people: People, clock: Clock, on_amnesia: Callable[[], None]) -> Handler:
    """Return the handler of behaviour and orders: into the histories, one round trip a batch.

    `on_amnesia` is called when Redis turns out to have forgotten what was built in it.
    """

    async def handle(batch: Sequence[Received[Any]]) -> None:
        envelopes = (received.envelope for received in batch)
        latest_s = clock.now() + CLOCK_SKEW_S
        if not await people.keep(kept_of((e for e in envelopes if e is not None), latest_s)):
            on_amnesia()

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


def clearing(people: People, explanations: Explanations) -> Clear:
    """Return what removes a person from the views, for the handler of erasures."""

    async def clear(user: UserId, anonids: tuple[AnonId, ...]) -> dict[str, int]:
        ids = (user, *anonids)
        return {
            "views": sum([await people.forget(person) for person in ids]),
            "explanations": await explanations.forget(frozenset(ids)),
        }

    return clear
