"""The one place where the recommender is put together."""

import asyncio
from collections.abc import Mapping
from typing import Any

from services.recommender.api import router
from services.recommender.core.activity import Activity
from services.recommender.core.catalog import Catalog
from services.recommender.explaining import Explaining
from services.recommender.handlers import (
    on_catalog,
    on_erasures,
    on_item_activity,
    on_people_doing,
    on_shoppers,
)
from services.recommender.manifest import RATINGS, RECOMMEND, SERVICE
from services.recommender.ratings import Ratings, load_ratings, smoke_ratings
from services.recommender.recorder import Recorder
from services.recommender.serving import Serving, Shelves
from services.recommender.settings import Settings
from services.recommender.smoke import smoke_bundle
from services.recommender.store import Explanations, People
from shared.contracts.errors import Retryable
from shared.contracts.topics import (
    BEHAVIOUR,
    CATALOG,
    ERASURES,
    ITEM_ACTIVITY,
    ORDERS,
    SHOPPERS,
    Topic,
)
from shared.learning.models.bundle import Bundle
from shared.runtime.app import App, Check, Ports
from shared.runtime.bus.port import Handler
from shared.runtime.follow import ViewLoop

REBUILD_CHECK_S = 2.0
"""How often the worker looks whether Redis has forgotten everything."""


def build(process: str, settings: Settings, ports: Ports) -> App:
    """Return the process called `process`, put together but not started."""
    return _http(settings, ports) if process == "http" else _worker(settings, ports)


def _http(settings: Settings, ports: Ports) -> App:
    catalog = Catalog()
    activity = Activity(catalog)
    rules = settings.rules()
    recommend = ports.releases.follow(RECOMMEND, Bundle.from_artifact, smoke=smoke_bundle)
    rated = ports.releases.follow(RATINGS, load_ratings, smoke=smoke_ratings)
    explanations = Explanations(ports.kv, slots=settings.explanation_slots)
    recorder = Recorder(ports.bus, explanations, ports.clock, waiting=settings.decision_queue)
    shelves = Shelves(recommend, catalog, activity, rules, refresh_s=settings.shelf_refresh_s)
    serving = Serving(ports, People(ports.kv), shelves, recorder, rules)
    routes = router(
        serving,
        Explaining(serving, explanations),
        Ratings(rated),
        page_size=settings.page_size,
    )
    return App(
        views={CATALOG: on_catalog(catalog), ITEM_ACTIVITY: on_item_activity(activity)},
        router=routes,
        # The same routes again, so that they are answered without FastAPI's own layers.
        routes=routes.routes,
        tasks={
            "follow-recommend": recommend.run,
            "follow-ratings": rated.run,
            "decisions": recorder.run,
        },
        stop=recorder.flush,
    )


def _worker(settings: Settings, ports: Ports) -> App:
    people = People(ports.kv)
    doing = on_people_doing(people, ports.clock)
    explanations = Explanations(ports.kv, slots=settings.explanation_slots)
    handlers: dict[Topic[Any], Handler] = {
        BEHAVIOUR: doing,
        ORDERS: doing,
        SHOPPERS: on_shoppers(people),
        ERASURES: on_erasures(ports.bus, people, explanations, ports.clock),
    }
    rebuild = Rebuild(ports, people, handlers)
    return App(
        handlers=handlers,
        tasks={"rebuild": rebuild.run},
        checks=(Check("views", rebuild.unready),),
    )


class Rebuild:
    """Reads the log again when Redis has forgotten what was built from it."""

    def __init__(
        self, ports: Ports, people: People, handlers: Mapping[Topic[Any], Handler]
    ) -> None:
        self._ports = ports
        self._people = people
        self._handlers = handlers
        self._missing: str | None = "not looked yet"

    async def run(self) -> None:
        """Look for ever; a task of the App."""
        while True:
            try:
                if not await self._people.built():
                    self._missing = "building the views from the log"
                    await self._read_all()
                    await self._people.set_built()
                self._missing = None
            except Retryable as away:
                self._missing = str(away)
            await self._ports.clock.sleep(REBUILD_CHECK_S)

    async def unready(self) -> str | None:
        """Return what is missing."""
        return self._missing

    async def _read_all(self) -> None:
        """Take everything again; what is there already stays as it is."""
        loop = ViewLoop(self._ports.bus, SERVICE, self._handlers, clock=self._ports.clock)
        stop = asyncio.Event()
        reading = asyncio.create_task(loop.run(stop))
        while not reading.done() and loop.unready() is not None:
            await self._ports.clock.sleep(REBUILD_CHECK_S / 20)
        stop.set()
        await reading
