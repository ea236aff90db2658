"""HTTP: requests to queries, answers to JSON."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import msgspec
from msgspec import Struct
from starlette.requests import Request
from starlette.routing import Route
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
from services.recommender.schema import EXPLANATION, LIST, RELATED
from services.recommender.serving import Served, Serving, Who
from shared.contracts.errors import NotFound
from shared.contracts.events import Candidate
from shared.contracts.events.decisions import Rung
from shared.runtime.app import Described

JSON = b"application/json"
Answer = Callable[[Request], Awaitable[Any]]
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


class Direct:
    """A raw endpoint: what `answer` returns is sent as JSON, with nothing in between."""

    def __init__(self, answer: Answer) -> None:
        self._answer = answer

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        body = _encode(await self._answer(Request(scope, receive, send)))
        headers = [(b"content-type", JSON), (b"content-length", b"%d" % len(body))]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": body})


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


def routes(facade: Facade) -> list[Route]:
    """Return the routes of the manifest; the paths are those that are described."""
    answers: dict[str, Answer] = {
        "/v1/recommendations/{user}": facade.recommend,
        "/v1/recommendations/session": facade.session,
        "/v1/items/{id}/related": facade.related,
        "/v1/ratings/{user}/{item}": facade.rating,
        "/v1/explanations/{request_id}": facade.explanation,
    }
    return [Route(path, Direct(answers[path]), methods=[method]) for method, path in DESCRIBED]


DESCRIBED: Mapping[tuple[str, str], Described] = {
    ("GET", "/v1/recommendations/{user}"): Described(gives={200: Page}, parameters=LIST),
    ("POST", "/v1/recommendations/session"): Described(
        takes=(Session,),
        example={"events": [{"action": "view_item", "item": "tea"}], "k": 5},
        gives={200: Page},
    ),
    ("GET", "/v1/items/{id}/related"): Described(gives={200: Page}, parameters=RELATED),
    ("GET", "/v1/ratings/{user}/{item}"): Described(gives={200: PredictedRating}),
    ("GET", "/v1/explanations/{request_id}"): Described(
        gives={200: Explanation}, parameters=EXPLANATION
    ),
}
"""What the routes take and give."""


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
