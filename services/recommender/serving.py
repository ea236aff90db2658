"""From a request to an answer: what is live in this process, put together."""

from dataclasses import dataclass, replace

from services.recommender.core.activity import Activity
from services.recommender.core.answer import Answer, answer
from services.recommender.core.catalog import Catalog
from services.recommender.core.person import Person, Rows
from services.recommender.core.query import Query, Rules
from services.recommender.core.shelf import Shelf, Stock
from services.recommender.recorder import Recorder
from services.recommender.store import Explanations, People, Snapshot
from shared.contracts.envelope import Envelope, utc
from shared.contracts.errors import Retryable
from shared.contracts.events import Decision
from shared.contracts.ids import uuid7
from shared.contracts.topics import DECISIONS, wrap
from shared.learning.models.bundle import Bundle
from shared.runtime.app import Ports
from shared.runtime.releases.port import Following, Loaded

NO_RELEASE = "none"
_VERSIONS_AT_ONCE = 3
_FADED_S = 600.0
"""After this a shelf is made anew though nothing has changed: what it holds fades with time."""


@dataclass
class _Made:
    stock: Stock
    shelf: Shelf
    catalog_version: int
    activity_version: int
    at_s: float


class Shelves:
    """The shelf of each release in service, made anew when what it shows has changed or faded.

    Parameters
    ----------
    refresh_s : float
        Least time between two makings for changes of catalogue or counts alone.
    """

    def __init__(
        self,
        following: Following[Bundle],
        catalog: Catalog,
        activity: Activity,
        rules: Rules,
        *,
        refresh_s: float,
    ) -> None:
        self._following = following
        self.catalog = catalog
        self._activity = activity
        self._rules = rules
        self._refresh_s = refresh_s
        self._made: dict[str, _Made] = {}

    def current(self, user: str | None, now_s: float) -> tuple[Shelf, float | None]:
        """Return the shelf for this user, and the age in seconds of its release if there is one."""
        loaded = self._following.for_user(user)
        version = loaded.version if loaded else NO_RELEASE
        made = self._made.get(version)
        if made is None:
            made = self._make(self._stock(loaded), now_s)
        elif made.stock.rung != (loaded.rung if loaded else None):
            made = self._make(made.stock.on(loaded.rung if loaded else None), now_s)
        elif self._outdated(made, now_s):
            made = self._make(made.stock, now_s)
        return made.shelf, loaded.age_s if loaded else None

    def of(self, version: str) -> Shelf | None:
        """Return the shelf of a release that is in service here, None for any other."""
        made = self._made.get(version)
        return made.shelf if made else None

    def beside(self, bundle: Bundle, version: str, now_s: float) -> Shelf:
        """Return a shelf for a release that is not in service, to explain what it said."""
        stock = Stock.of(bundle, version, None, self.catalog)
        return stock.shelf(self.catalog, self._activity, self._rules, now_s)

    def _stock(self, loaded: Loaded[Bundle] | None) -> Stock:
        if loaded is None:
            return Stock.of(None, NO_RELEASE, None, self.catalog)
        return Stock.of(loaded.model, loaded.version, loaded.rung, self.catalog)

    def _outdated(self, made: _Made, now_s: float) -> bool:
        versions = (made.catalog_version, made.activity_version)
        unchanged = versions == (self.catalog.version, self._activity.version)
        # A clock that was put back must not keep a shelf in service.
        return abs(now_s - made.at_s) >= (_FADED_S if unchanged else self._refresh_s)

    def _make(self, stock: Stock, now_s: float) -> _Made:
        shelf = stock.shelf(self.catalog, self._activity, self._rules, now_s)
        made = _Made(stock, shelf, self.catalog.version, self._activity.version, now_s)
        self._made.pop(stock.version, None)
        self._made[stock.version] = made
        while len(self._made) > _VERSIONS_AT_ONCE:
            self._made.pop(next(iter(self._made)))
        return made


@dataclass(frozen=True)
class Who:
    """Who asks: a pseudonym, an anonymous id, or both; `personalised` False is their wish."""

    user: str | None = None
    anonid: str | None = None
    personalised: bool = True

    @property
    def ids(self) -> list[str]:
        """The ids under which things are kept."""
        return [one for one in (self.user, self.anonid) if one]


@dataclass(frozen=True)
class Served:
    """An answer with what must be told beside it.

    `degraded` names what was not there: ``release`` (none, stale or from disk), ``history``.
    """

    request_id: str
    answer: Answer
    release: str
    age_s: float | None
    degraded: list[str]


@dataclass(frozen=True)
class Serving:
    """Everything that an answer needs."""

    ports: Ports
    people: People
    shelves: Shelves
    recorder: Recorder
    explanations: Explanations
    rules: Rules

    def knows(self, item: str) -> bool:
        """Whether the item is in the catalogue now."""
        return self.shelves.catalog.holds(item)

    async def recommend(self, who: Who, query: Query, given: Rows | None = None) -> Served:
        """Answer one request and record the decision; one round trip to Redis.

        `given` are rows that came with the request and are read beside those that are kept.
        """
        person, degraded = await self._person(who, given)
        now_s = self.ports.clock.now()
        shelf, age_s = self.shelves.current(who.user or who.anonid, now_s)
        if shelf.rung != "current":
            degraded.append("release")
        anchored = _anchored(query, person)
        made = answer(shelf, anchored, person, self.rules, now_s=now_s, rng=self.ports.rng)
        # Not rng.bytes, which takes twenty times as long.
        entropy = self.ports.rng.bit_generator.random_raw(2).tobytes()
        request_id = uuid7(int(now_s * 1000), entropy)
        served = Served(request_id, made, shelf.release, age_s, degraded)
        self.explanations.put(_snapshot(served, who, anchored, person, now_s))
        await self.recorder.put(_decision(served, who, anchored, now_s))
        return served

    async def _person(self, who: Who, given: Rows | None) -> tuple[Person, list[str]]:
        degraded: list[str] = []
        kept: list[Rows] = []
        if who.ids:
            try:
                kept = await self.people.read(*who.ids)
            except Retryable:
                degraded.append("history")
        if given is not None:
            kept.append(given)
        return Person.of(*kept, personalised=who.personalised), degraded


def _anchored(query: Query, person: Person) -> Query:
    """Return the query of a cart with what lies in the cart by our own knowledge."""
    if query.scenario != "cart" or query.anchors:
        return query
    return replace(query, anchors=tuple(sorted(person.cart)))


def _decision(served: Served, who: Who, query: Query, now_s: float) -> Envelope[Decision]:
    made = served.answer
    decision = Decision(
        request_id=served.request_id,
        service="recommender",
        scenario=query.scenario,
        shown=tuple(made.shown),
        release=served.release,
        rung=made.rung,
        personalised=made.personalised,
        withheld=dict(made.withheld),
    )
    return wrap(
        DECISIONS,
        decision,
        id=served.request_id,
        source="/recommender",
        time=utc(now_s),
        userid=who.user,
        anonid=who.anonid,
    )


def _snapshot(served: Served, who: Who, query: Query, person: Person, now_s: float) -> Snapshot:
    return Snapshot(
        served.request_id,
        who.user or who.anonid,
        now_s,
        query.scenario,
        query.anchors,
        served.release,
        served.answer.rung,
        [(shown.item_id, shown.sources) for shown in served.answer.shown],
        dict(served.answer.factors),
        person.events,
    )
