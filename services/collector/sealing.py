"""Nothing is learnt of who was forgotten, and names and addresses are encrypted before anything sees them."""

import asyncio
from typing import Any

from msgspec.structs import replace

from services.collector.core.consent import granted
from services.collector.core.incoming import Fault, Incoming, Parsed
from services.collector.core.people import Claim, Person
from shared.contracts.errors import Invalid, NotFound
from shared.contracts.events import Shopper
from shared.contracts.ids import UserId
from shared.runtime.privacy import Pseudonyms, Vault

FORGOTTEN = "this person was forgotten, for good: one who comes back needs a new user id"


async def seal(
    parsed: Parsed[Any], vault: Vault, pseudonyms: Pseudonyms, *, gpc: bool
) -> Parsed[Any]:
    """Return `parsed` with every `Person` as the `Shopper` that may leave the collector.

    What is said of a person who was forgotten becomes a fault, be it a trait, an address or which
    visitor they are; so does a consent that names what does not exist. Nothing of what was sent of
    them is kept. Raises `Retryable` when the vault is away.
    """

    async def one(index: int, incoming: Incoming[Any]) -> tuple[int, Incoming[Any]] | Fault:
        try:
            user = pseudonyms.of(incoming.data.user)
            if await vault.forgotten(user):
                return Fault(index, FORGOTTEN, "user", incoming.id)
            if type(incoming.data) is Claim:
                return index, incoming
            return index, await _shopper(incoming, user, vault, gpc)
        except Invalid as error:
            return Fault(index, error.reason, error.field, incoming.id)
        except NotFound:
            # Forgotten since it was asked.
            return Fault(index, FORGOTTEN, "user", incoming.id)

    people = [n for n, (_, e) in enumerate(parsed.events) if type(e.data) in (Person, Claim)]
    done = await asyncio.gather(*(one(*parsed.events[n]) for n in people))
    found = dict(zip(people, done, strict=True))
    events: list[tuple[int, Incoming[Any]]] = []
    faults = [_without_original(f) for f in parsed.faults]
    for n, taken in enumerate(parsed.events):
        sealed = found.get(n, taken)
        if isinstance(sealed, Fault):
            faults.append(sealed)
        else:
            events.append(sealed)
    return replace(parsed, events=events, faults=faults)


async def _shopper(
    incoming: Incoming[Person], user: UserId, vault: Vault, gpc: bool
) -> Incoming[Shopper]:
    person = incoming.data
    secret, traits = person.parted()
    sealed = {field: await vault.seal(user, field, text) for field, text in secret.items()}
    consent = person.consent if person.consent is not None else incoming.consent
    shopper = Shopper(
        user=user,
        sealed=sealed,
        traits=traits,
        consent=granted(consent, gpc=gpc),
        personalised=person.personalised,
        locale=person.locale,
    )
    known = {f: getattr(incoming, f) for f in Incoming.__struct_fields__}
    return Incoming(**known | {"data": shopper, "userid": person.user})


def _without_original(fault: Fault) -> Fault:
    return replace(fault, original=b"")
