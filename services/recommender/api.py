"""HTTP: requests to queries, answers to JSON."""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import msgspec
from fastapi import APIRouter
from fastapi.routing import APIRoute
from msgspec import Struct
from starlette.requests import Request
from starlette.types import Receive, Scope, Send

from services.recommender.core.query import Query
from services.recommender.explaining import Explaining, Explanation
from services.recommender.ratings import PredictedRating, Ratings
from services.recommender.request import (
    Session,
    checked_id,
    first,
    lang_of,
    params_of,
    personalised,
    query_of,
    rows_of,
    session_of,
)
from services.recommender.schema import (
    EXPLANATION,
    LIST,
    RELATED,
    Schema,
    answered,
    asked,
    in_path,
)
from services.recommender.serving import Served, Serving, Who
from shared.contracts.errors import NotFound
from shared.contracts.events import Candidate
from shared.contracts.events.decisions import Rung

JSON = b"application/json"
Endpoint = Callable[[Request], Awaitable[Any]]
_encode = msgspec.json.Encoder().encode


class Page(Struct, frozen=True):
    """A list, best first.

    `request_id` comes back with the events that follow from the list. `rung` is the step of the
    degradation ladder, `age_s` how old the release is, `degraded` what was not there. `withheld`
    counts, by reason, the items that were kept out. `reason` says why a list is short.
    """

    request_id: str
    scenario: str
    items: list[Candidate]
    personalised: bool
    release: str
    rung: Rung
    age_s: float | None
    considered: int
    withheld: dict[str, int]
    degraded: list[str]
    reason: str | None


class Direct(APIRoute):
    """A route that FastAPI documents and does not touch otherwise: every microsecond counts.

    What its endpoint returns is sent as JSON.
    """

    def __init__(self, path: str, endpoint: Callable[..., Any], **options: Any) -> None:
        super().__init__(path, endpoint, **options)

        async def app(scope: Scope, receive: Receive, send: Send) -> None:
            body = _encode(await endpoint(Request(scope, receive, send)))
            headers = [(b"content-type", JSON), (b"content-length", b"%d" % len(body))]
            await send({"type": "http.response.start", "status": 200, "headers": headers})
            await send({"type": "http.response.body", "body": body})

        self.app = app


@dataclass(frozen=True)
class Facade:
    """The endpoints; each raises `Invalid`, `NotFound` or `Retryable`, which become problems."""

    serving: Serving
    explaining: Explaining
    ratings: Ratings
    page_size: int

    async def recommend(self, request: Request) -> Page:
        """Answer with a list for a known shopper."""
        params = params_of(request)
        query = query_of(params, self.page_size)
        anonid = checked_id("anonid", first(params, "anonid")) if "anonid" in params else None
        who = Who(self._user(request), anonid, personalised(request, params))
        return _page(query, await self.serving.recommend(who, query))

    async def session(self, request: Request) -> Page:
        """Answer with a list for an anonymous shopper, whose events may come with the request."""
        asked, query = await session_of(request, self.page_size)
        wanted = asked.personalised and personalised(request, params_of(request))
        who = Who(None, asked.anonid, wanted)
        rows = rows_of(asked, self.serving.ports.clock.now())
        return _page(query, await self.serving.recommend(who, query, rows))

    async def related(self, request: Request) -> Page:
        """Answer with what goes with an item, for nobody in particular."""
        item = checked_id("id", request.path_params["id"])
        if not self.serving.knows(item):
            raise NotFound(f"there is no item {item!r} in the catalogue")
        asked = query_of({**params_of(request), "scenario": ["home"]}, self.page_size)
        query = replace(asked, scenario="product", anchors=(item,))
        return _page(query, await self.serving.recommend(Who(), query))

    async def rating(self, request: Request) -> PredictedRating:
        """Answer with a predicted rating."""
        item = checked_id("item", request.path_params["item"])
        known = self.serving.knows(item)
        return self.ratings.predict(self._user(request), item, in_catalog=known)

    async def explanation(self, request: Request) -> Explanation:
        """Answer with why a list was as it was."""
        lang = lang_of(request)
        return await self.explaining.explain(request.path_params["request_id"], lang)

    def _user(self, request: Request) -> str:
        """Return the pseudonym of the shopper in the path: the shop's own id ends here."""
        return self.serving.ports.pseudonyms.of(checked_id("user", request.path_params["user"]))


def router(facade: Facade) -> APIRouter:
    """Return the routes of the manifest."""
    routes = APIRouter(route_class=Direct)
    get, post = _adder(routes, "GET"), _adder(routes, "POST")
    get("/v1/recommendations/{user}", facade.recommend, Page, LIST)
    post("/v1/recommendations/session", facade.session, Page, (), Session)
    get("/v1/items/{id}/related", facade.related, Page, RELATED)
    get("/v1/ratings/{user}/{item}", facade.rating, PredictedRating)
    get("/v1/explanations/{request_id}", facade.explanation, Explanation, EXPLANATION)
    return routes


def _adder(routes: APIRouter, method: str) -> Callable[..., None]:
    def add(
        path: str,
        endpoint: Endpoint,
        answer: type[Any],
        parameters: Sequence[Schema] = (),
        body: type[Any] | None = None,
    ) -> None:
        routes.add_api_route(
            path,
            endpoint,
            methods=[method],
            responses=dict(answered(answer)),
            response_model=None,
            openapi_extra=asked([*in_path(path), *parameters], body),
        )

    return add


def _page(query: Query, served: Served) -> Page:
    made = served.answer
    return Page(
        served.request_id,
        query.scenario,
        made.shown,
        made.personalised,
        served.release,
        made.rung,
        None if served.age_s is None else round(served.age_s, 1),
        made.considered,
        dict(made.withheld),
        served.degraded,
        made.reason,
    )
