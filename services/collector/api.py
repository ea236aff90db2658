"""The collector's HTTP routes."""

from collections.abc import Sequence
from typing import Any

from fastapi import APIRouter
from msgspec import to_builtins
from pydantic import BaseModel, Field
from starlette.requests import Request
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from services.collector.core import ga4, pixel, segment
from services.collector.core.decode import Shape
from services.collector.core.incoming import Parsed
from services.collector.core.people import Claim, Person
from services.collector.intake import Desk, Intake, Read, Seal, refusal
from services.collector.receipts import Receipts, State
from services.collector.spool import Spool
from services.collector.wal.log import LogFull
from shared.contracts.errors import Invalid
from shared.contracts.events import Behaviour, Order, Product
from shared.contracts.topics import CATALOG
from shared.runtime.http import Problem

__all__ = ["router", "routes"]
_GIF = (
    b"GIF89a\x01\x00\x01\x00\x80\x00\x00\x00\x00\x00\xff\xff\xff!\xf9\x04\x01\x00\x00\x00\x00"
    b",\x00\x00\x00\x00\x01\x00\x01\x00\x00\x02\x02D\x01\x00;"
)
_KINDS = ("track", "page", "screen", "identify", "alias", "batch")


def routes(desk: Desk, seal: Seal) -> Sequence[Route]:
    """Return the doors where every microsecond counts."""
    most = desk.settings.max_events

    def native(event: type[Any], *, flat: bool = True, of_person: bool = False) -> Read:
        shape = Shape(event, most=most, flat=flat, of_person=of_person)
        return lambda body, scope: shape.parse(body)

    def from_segment(body: bytes, scope: Scope) -> Parsed[Any]:
        kind = scope["path_params"]["kind"]
        if kind not in _KINDS:
            raise Problem(404, f"Segment's calls are {', '.join(_KINDS)}.")
        return segment.parse(body, kind, most=most)

    events = Intake("/v1/events", desk, native(Behaviour, of_person=True))
    beacon = Intake("/v1/beacon", desk, native(Behaviour, of_person=True))
    from_ga4 = Intake("/v1/ga4", desk, lambda body, scope: ga4.parse(body, most=most))
    by_segment = Intake("/v1/segment", desk, from_segment, seal=seal)
    catalog = Intake("/v1/catalog", desk, native(Product, flat=False))
    orders = Intake("/v1/orders", desk, native(Order, of_person=True), secret=True)
    shoppers = Intake("/v1/shoppers", desk, native(Person), seal=seal)
    identities = Intake("/v1/identities", desk, native(Claim), seal=seal)
    return [
        Route("/v1/events", events, methods=["POST"]),
        Route("/v1/beacon", beacon, methods=["POST"]),
        Route("/v1/ga4", from_ga4, methods=["POST"]),
        Route("/v1/segment/{kind}", by_segment, methods=["POST"]),
        Route("/v1/pixel.gif", Pixel(desk), methods=["GET"]),
        Route("/v1/catalog", catalog, methods=["POST", "PUT"]),
        Route("/v1/orders", orders, methods=["POST"]),
        Route("/v1/shoppers", shoppers, methods=["POST"]),
        Route("/v1/identities", identities, methods=["POST"]),
    ]


class Pixel(Intake):
    """One event in the query of an image; the image comes whatever became of the event."""

    def __init__(self, desk: Desk) -> None:
        super().__init__(
            "/v1/pixel.gif",
            desk,
            lambda body, scope: pixel.parse(scope["query_string"]),
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        await self.answer(scope, receive)
        headers = [(b"content-type", b"image/gif"), (b"content-length", b"%d" % len(_GIF))]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": _GIF})


class ReceiptAnswer(BaseModel):
    """What became of an event."""

    id: str
    state: State = Field(
        description="spooled: in the log, on its way. published: in Kafka. rejected: not taken. "
        "unknown: never seen, or longer ago than `since`."
    )
    durable: bool | None = Field(None, description="whether it would survive a loss of power")
    topic: str | None = None
    partition: int | None = None
    offset: int | None = None
    reason: str | None = Field(None, description="why it was rejected")
    field: str | None = Field(None, description="the wrong value's path")
    since: float | None = Field(None, description="receipts older than this may be forgotten")


class Deleted(BaseModel):
    """A product was taken out of the catalogue."""

    id: str
    event_id: str
    ack: str


def router(desk: Desk, receipts: Receipts, spool: Spool) -> APIRouter:
    """Return the routes that are rarely called."""
    api = APIRouter()

    @api.get("/v1/receipts/{event_id:path}", response_model_exclude_none=True)
    async def receipt(event_id: str) -> ReceiptAnswer:
        return ReceiptAnswer(**to_builtins(receipts.of(event_id)))

    @api.delete("/v1/catalog/{product_id:path}", status_code=202)
    async def remove(product_id: str, request: Request) -> Deleted:
        if not 1 <= len(product_id) <= 256:
            raise Invalid("a product id has 1 to 256 characters", field="product_id")
        context = desk.context("/v1/catalog", request.scope)
        try:
            outcome = desk.door.gone(CATALOG, product_id, context)
        except LogFull as full:
            raise refusal(full, spool) from full
        key = request.state.key
        ack = await desk.reached(outcome.last, "disk" if key is None else key.ack)
        return Deleted(id=product_id, event_id=outcome.assigned[0], ack=ack)

    return api
