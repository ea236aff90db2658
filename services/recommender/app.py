"""The one place where the recommender is put together."""

from services.recommender.api import DESCRIBED, Facade, routes
from services.recommender.core.activity import Activity
from services.recommender.core.catalog import Catalog
from services.recommender.explaining import Explaining
from services.recommender.handlers import (
    clearing,
    on_catalog,
    on_item_activity,
    on_people_doing,
    on_shoppers,
)
from services.recommender.manifest import RATINGS, RECOMMEND, SERVICE
from services.recommender.ratings import Ratings, load_ratings, smoke_ratings
from services.recommender.rebuild import Rebuild
from services.recommender.recorder import Recorder
from services.recommender.serving import Serving, Shelves
from services.recommender.settings import Settings
from services.recommender.smoke import smoke_bundle
from services.recommender.store import Explanations, People
from shared.contracts.topics import (
    BEHAVIOUR,
    CATALOG,
    ERASURES,
    ITEM_ACTIVITY,
    ORDERS,
    SHOPPERS,
)
from shared.learning.models.bundle import Bundle
from shared.runtime.app import App, Check, Ports
from shared.runtime.erasure import erasure_handler


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
    recorder = Recorder(ports.bus, ports.clock, waiting=settings.decision_queue)
    shelves = Shelves(recommend, catalog, activity, rules, refresh_s=settings.shelf_refresh_s)
    serving = Serving(ports, People(ports.kv), shelves, recorder, explanations, rules)
    explaining = Explaining(serving, explanations)
    facade = Facade(serving, explaining, Ratings(rated), settings.page_size)
    return App(
        views={CATALOG: on_catalog(catalog), ITEM_ACTIVITY: on_item_activity(activity)},
        routes=routes(facade),
        described=DESCRIBED,
        tasks={
            "follow-recommend": recommend.run,
            "follow-ratings": rated.run,
            "decisions": recorder.run,
        },
        stop=recorder.flush,
    )


def _worker(settings: Settings, ports: Ports) -> App:
    people = People(ports.kv)
    explanations = Explanations(ports.kv, slots=settings.explanation_slots)
    rebuild = Rebuild(ports, people)
    doing = on_people_doing(people, ports.clock, rebuild.ask)
    erasing = erasure_handler(SERVICE, ports, clearing(people, explanations))
    return App(
        handlers={
            BEHAVIOUR: doing,
            ORDERS: doing,
            SHOPPERS: on_shoppers(people),
            ERASURES: erasing,
        },
        tasks={"rebuild": rebuild.run},
        checks=(Check("views", rebuild.unready),),
    )
