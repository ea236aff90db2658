"""Names and addresses are encrypted before anything else sees them."""

import asyncio
from typing import Any

from msgspec.structs import replace

from services.collector.core.consent import granted
from services.collector.core.incoming import Fault, Incoming, Parsed
from services.collector.core.people import Person
from shared.contracts.errors import Invalid, NotFound
from shared.contracts.events import Shopper
from shared.runtime.privacy import Pseudonyms, Vault


async def seal(
    parsed: Parsed[Any], vault: Vault, pseudonyms: Pseudonyms, *, gpc: bool
) -> Parsed[Any]:
    """Return `parsed` with every `Person` as the `Shopper` that may leave the collector.

    A person who was forgotten, or whose consent names what does not exist, becomes a fault, and
    nothing of what was sent of them is kept. Raises `Retryable` when the vault is away.
    """

    async def one(index: int, incoming: Incoming[Any]) -> tuple[int, Incoming[Any]] | Fault:
        try:
            return index, await _shopper(incoming, vault, pseudonyms, gpc)
        except Invalid as error:
            return Fault(index, error.reason, error.field, incoming.id)
        except NotFound:
            return Fault(index, "this person was forgotten", "user", incoming.id)

    people = [(i, e) for i, e in parsed.events if type(e.data) is Person]
    done = await asyncio.gather(*(one(index, incoming) for index, incoming in people))
    sealed = {index: found for (index, _), found in zip(people, done, strict=True)}
    events: list[tuple[int, Incoming[Any]]] = []
    faults = [_without_original(f) for f in parsed.faults]
    for index, incoming in parsed.events:
        if type(incoming.data) is not Person:
            events.append((index, incoming))
        elif isinstance(found := sealed[index], Fault):
            faults.append(found)
        else:
            events.append(found)
    return replace(parsed, events=events, faults=faults)


async def _shopper(
    incoming: Incoming[Person], vault: Vault, pseudonyms: Pseudonyms, gpc: bool
) -> Incoming[Shopper]:
    person = incoming.data
    user = pseudonyms.of(person.user)
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
