"""What the collector declares of itself."""

from shared.contracts.service import Process, Route, Service
from shared.contracts.topics import (
    BEHAVIOUR,
    BEHAVIOUR_REJECTED,
    CATALOG,
    ERASURES,
    IDENTITIES,
    ITEM_ACTIVITY,
    ORDERS,
    SESSIONS,
    SHOPPERS,
)
from shared.contracts.vault import VAULT

SERVICE = Service(
    name="collector",
    about="Takes in what happens in a shop, keeps it through any failure, and turns it into sessions and counts.",
    processes=(
        Process("http", "doors, write-ahead log and relay to Kafka", port=8001, memory_mib=512),
        Process("stream", "sessions and item activity, windowed", memory_mib=384, probes=8011),
    ),
    reads=(BEHAVIOUR, IDENTITIES, ERASURES),
    writes=(
        BEHAVIOUR,
        BEHAVIOUR_REJECTED,
        ORDERS,
        CATALOG,
        SHOPPERS,
        IDENTITIES,
        ERASURES,
        SESSIONS,
        ITEM_ACTIVITY,
    ),
    keys=(VAULT,),
    routes=(
        Route("POST", "/v1/events", "events", "what shoppers do: one event, a list, or a batch"),
        Route("POST", "/v1/beacon", "events", "the same from navigator.sendBeacon, as text/plain"),
        Route("GET", "/v1/pixel.gif", "events", "one event in an image's address"),
        Route("POST", "/v1/ga4", "events", "GA4's measurement protocol"),
        Route("POST", "/v1/segment/{kind}", "events", "Segment's track, page, identify, batch, …"),
        Route("POST", "/v1/identities", "events", "an anonymous visitor is this user"),
        Route("POST", "/v1/orders", "events", "the life of orders; secret keys only"),
        Route("PUT", "/v1/catalog", "admin", "products as they are now"),
        Route("POST", "/v1/catalog", "admin", "products as they are now"),
        Route("DELETE", "/v1/catalog/{product_id:path}", "admin", "a product is gone"),
        Route("POST", "/v1/shoppers", "admin", "what the shop knows of people"),
        Route("POST", "/v1/erasures", "admin", "forget a person"),
        Route("GET", "/v1/receipts/{event_id:path}", "events", "what became of an event"),
    ),
)
