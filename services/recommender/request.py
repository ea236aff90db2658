"""Reading requests: every wrong value is named, nothing is guessed."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any
from urllib.parse import parse_qs

import msgspec
from msgspec import Struct
from starlette.requests import Request

from services.recommender.core.explain import LANGS, Lang, language
from services.recommender.core.keep import line
from services.recommender.core.person import CODES, Row, Rows
from services.recommender.core.query import SCENARIOS, Query, Scenario
from shared.contracts.errors import Invalid
from shared.contracts.events.behaviour import Action
from shared.contracts.events.fields import Id

MAX_ID = 256
"""Characters, as in events: what the catalogue holds can be asked for."""
MAX_K = 100
MAX_ITEMS = 200
MAX_PRICE_CENTS = 10**12
_SWITCH = {"true": True, "1": True, "false": False, "0": False}


class Did(Struct, frozen=True, forbid_unknown_fields=True):
    """One thing that an anonymous shopper did; `at` is now where it is missing."""

    action: Action
    item: Id
    at: datetime | None = None


class Session(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What is asked for a shopper without an account.

    `events` are the session's, oldest first; those that the collector has under `anonid` are
    read as well. The rest is as in the query of ``GET /v1/recommendations/{user}``.
    """

    anonid: Id | None = None
    events: tuple[Did, ...] = ()
    scenario: Scenario = "home"
    item: Id | None = None
    cart: tuple[Id, ...] = ()
    k: int | None = None
    category: str | None = None
    min_price: int | None = None
    max_price: int | None = None
    exclude: tuple[Id, ...] = ()
    personalised: bool = True


_session = msgspec.json.Decoder(Session)


Params = Mapping[str, list[str]]
"""Name to its values, in their order."""


def params_of(request: Request) -> Params:
    """Return the query string's parameters; one without a value has an empty one."""
    text = request.scope["query_string"]
    return parse_qs(text.decode("utf-8", "replace"), keep_blank_values=True) if text else {}


def first(params: Params, name: str, default: str = "") -> str:
    """Return the first value of a parameter."""
    values = params.get(name)
    return values[0] if values else default


def query_of(params: Params, page_size: int) -> Query:
    """Return the query in a request's parameters.

    Raises
    ------
    Invalid
        Names the parameter and what it must be.
    """
    scenario = first(params, "scenario", "home")
    if scenario not in SCENARIOS:
        raise Invalid(f"must be one of {', '.join(SCENARIOS)}", field="scenario")
    item, cart = params.get("item", ()), params.get("cart", ())
    return _checked(
        Query(
            scenario=scenario,
            k=_whole(params, "k", page_size),
            anchors=_anchors(scenario, item, cart),
            category=first(params, "category") or None,
            min_price=_whole(params, "min_price", None),
            max_price=_whole(params, "max_price", None),
            exclude=frozenset(_ids("exclude", params.get("exclude", ()))),
        )
    )


async def session_of(request: Request, page_size: int) -> tuple[Session, Query]:
    """Return what the body asks for; raises `Invalid`."""
    try:
        session = _session.decode(await request.body() or b"{}")
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise Invalid(str(error)) from error
    if len(session.events) > MAX_ITEMS:
        raise Invalid(f"at most {MAX_ITEMS} events", field="events")
    item = [] if session.item is None else [session.item]
    query = Query(
        scenario=session.scenario,
        k=page_size if session.k is None else session.k,
        anchors=_anchors(session.scenario, item, session.cart),
        category=session.category or None,
        min_price=session.min_price,
        max_price=session.max_price,
        exclude=frozenset(_ids("exclude", session.exclude)),
    )
    return session, _checked(query)


def rows_of(session: Session, now_s: float) -> Rows:
    """Return the session's events as they would be kept; without a time each is a moment."""
    history: list[Row] = []
    bought: list[Row] = []
    count = len(session.events)
    for place, did in enumerate(session.events):
        code = CODES.get(did.action)
        if code is None:
            continue
        at_s = now_s - (count - 1 - place) if did.at is None else min(_seconds(did.at), now_s)
        history.append(((code + did.item).encode(), at_s))
        if did.action == "purchase":
            bought.append((line("+", "", did.item).encode(), at_s))
    history.reverse()
    history.sort(key=lambda row: -row[1])
    return Rows(history, marks=history, bought=bought)


def checked_id(name: str, value: str) -> str:
    """Return the id; raises `Invalid` for one that no event could carry."""
    if not 1 <= len(value) <= MAX_ID:
        raise Invalid(f"an id has 1 to {MAX_ID} characters", field=name)
    return value


def personalised(request: Request, params: Params) -> bool:
    """Whether the shopper lets their history be used: Sec-GPC and ``personalised=false`` refuse."""
    if any(name == b"sec-gpc" and value == b"1" for name, value in request.scope["headers"]):
        return False
    value = first(params, "personalised", "true").lower()
    if value not in _SWITCH:
        raise Invalid("must be true or false", field="personalised")
    return _SWITCH[value]


def lang_of(request: Request) -> Lang:
    """Return the language of the answer, by ``lang`` or the Accept-Language header."""
    wanted = first(params_of(request), "lang")
    if not wanted:
        return language(request.headers.get("accept-language", ""))
    for lang in LANGS:
        if wanted.lower().split("-")[0] == lang:
            return lang
    raise Invalid(f"must be one of {', '.join(LANGS)}", field="lang")


def _anchors(scenario: str, item: Sequence[str], cart: Sequence[str]) -> tuple[str, ...]:
    if scenario == "product" and not item:
        raise Invalid("scenario product needs the item of the page", field="item")
    chosen = item if scenario == "product" else cart if scenario == "cart" else ()
    return tuple(dict.fromkeys(_ids("item" if scenario == "product" else "cart", chosen)))


def _ids(name: str, values: Sequence[str]) -> list[str]:
    if len(values) > MAX_ITEMS:
        raise Invalid(f"at most {MAX_ITEMS}", field=name)
    return [checked_id(name, value) for value in values]


def _whole(params: Params, name: str, default: Any) -> Any:
    value = first(params, name)
    if name not in params:
        return default
    if len(value) > 15 or not value.removeprefix("-").isdecimal():
        raise Invalid(f"must be a whole number, not {value[:40]!r}", field=name)
    return int(value)


def _checked(query: Query) -> Query:
    if not 1 <= query.k <= MAX_K:
        raise Invalid(f"must lie in 1 … {MAX_K}", field="k")
    for name in ("min_price", "max_price"):
        price = getattr(query, name)
        if price is not None and not 0 <= price <= MAX_PRICE_CENTS:
            raise Invalid(f"must lie in 0 … {MAX_PRICE_CENTS} cents", field=name)
    if (query.min_price or 0) > (MAX_PRICE_CENTS if query.max_price is None else query.max_price):
        raise Invalid("must not lie above max_price", field="min_price")
    if query.category is not None and len(query.category) > 512:
        raise Invalid("at most 512 characters", field="category")
    return query


def _seconds(at: datetime) -> float:
    return (at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp()
