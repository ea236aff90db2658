"""The door at which a person is forgotten; one service has it."""

from collections.abc import Awaitable, Callable

import msgspec
from msgspec import Struct
from starlette.requests import Request
from starlette.responses import Response

from shared.contracts.errors import Invalid
from shared.runtime.app import Described, Ports
from shared.runtime.erasure import forget


class Wish(Struct, frozen=True, forbid_unknown_fields=True):
    """Whom to forget: the shop's own id."""

    user: str


class Begun(Struct, frozen=True):
    """What was asked of all services.

    `event_id` is what their answers in the topic `erasures` name as their cause.
    """

    event_id: str
    user: str
    anonids: int


ERASURES = Described(takes=(Wish,), example={"user": "u1"}, gives={202: Begun})


def erasures(
    ports: Ports, source: str, settled: Callable[[], Awaitable[None]]
) -> Callable[[Request], Awaitable[Response]]:
    """Return the endpoint of ``POST /v1/erasures`` (scope admin).

    It answers 202 once the person's key is destroyed and the services are told; see
    `shared.runtime.erasure.forget` for what the service has to declare, and for `settled`.
    """

    async def erase(request: Request) -> Response:
        wish = _wish(await request.body())
        user = ports.pseudonyms.of(wish.user)
        event = await forget(ports, user, source=source, settled=settled)
        begun = Begun(event.id, event.data.user, len(event.data.anonids))
        return Response(msgspec.json.encode(begun), 202, media_type="application/json")

    return erase


def _wish(body: bytes) -> Wish:
    try:
        return msgspec.json.decode(body, type=Wish)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise Invalid(f'send {{"user": "…"}}, with the shop\'s own id: {error}') from None
