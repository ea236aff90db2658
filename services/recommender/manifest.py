"""What the recommender declares of itself."""

from datetime import timedelta

from shared.contracts.service import Key, ModelUse, Process, Route, Service
from shared.contracts.topics import (
    BEHAVIOUR,
    CATALOG,
    DECISIONS,
    ERASURES,
    ITEM_ACTIVITY,
    MODELS,
    ORDERS,
    SHOPPERS,
)

RECOMMEND = "recommend"
RATINGS = "ratings"

HISTORY = Key(
    name="recommender-history",
    params=("person",),
    kind="zset",
    about="What a person did lately: <code><item>, scored by the time of the newest such event.",
    ttl=timedelta(days=60),
    bound="about 250 members a person",
)
MARKS = Key(
    name="recommender-marks",
    params=("person",),
    kind="zset",
    about="What went into and out of a person's cart and was hidden or shown again.",
    ttl=timedelta(days=180),
    bound="about 450 members a person",
)
BOUGHT = Key(
    name="recommender-bought",
    params=("person",),
    kind="zset",
    about="Order lines of a person, and those that were given back.",
    ttl=timedelta(days=400),
    bound="about 450 members a person",
)
OPTED_OUT = Key(
    name="recommender-opted-out",
    params=("person",),
    kind="string",
    about="There for a person whose history is not to be used.",
    bound="one byte for each such person",
)
EXPLANATION = Key(
    name="recommender-explanation",
    params=("slot",),
    kind="string",
    about="What is needed to explain one list; a newer list may take the slot.",
    ttl=timedelta(days=1),
    bound="a fixed number of slots",
)
BUILT = Key(
    name="recommender-built",
    params=(),
    kind="string",
    about="There once the views have been built from the log.",
    bound="one byte",
)
DEEDS = (HISTORY, MARKS, BOUGHT)
"""Key spaces of what one person did; whether it may be used follows the topic of shoppers alone."""

SERVICE = Service(
    name="recommender",
    about="What to show whom.",
    processes=(
        Process(
            "http",
            "Answers requests from the release, the catalogue and live history.",
            8003,
            shares_port=True,
        ),
        Process(
            "worker", "Keeps what each person did lately in Redis.", memory_mib=256, probes=8013
        ),
    ),
    reads=(BEHAVIOUR, ORDERS, SHOPPERS, ERASURES),
    views=(CATALOG, ITEM_ACTIVITY),
    writes=(DECISIONS, MODELS, ERASURES),
    routes=(
        Route("GET", "/v1/recommendations/{user}", "serve", "A list for a known shopper."),
        Route("POST", "/v1/recommendations/session", "serve", "A list for an anonymous shopper."),
        Route("GET", "/v1/items/{id}/related", "serve", "What goes with an item."),
        Route("GET", "/v1/ratings/{user}/{item}", "serve", "A predicted rating with its parts."),
        Route("GET", "/v1/explanations/{request_id}", "serve", "Why a list was as it was."),
    ),
    keys=(*DEEDS, OPTED_OUT, EXPLANATION, BUILT),
    models=(
        ModelUse(RECOMMEND, "what is popular now, else the newest items in stock"),
        ModelUse(RATINGS, "answers 503 until there is one"),
    ),
)
