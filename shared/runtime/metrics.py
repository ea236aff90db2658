"""Every metric of every service, declared once; a test checks that each one is used.

Labels are drawn from closed sets (routes, topics, outcomes), never from ids or addresses.
"""

from prometheus_client import Counter, Gauge, Histogram

_FAST = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 10)
_SLOW = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300)

HTTP_REQUESTS = Counter(
    "http_requests", "Requests answered.", ["service", "route", "method", "code"]
)
HTTP_SECONDS = Histogram(
    "http_request_seconds", "From the request line to the answer.", ["service", "route"],
    buckets=_FAST,
)  # fmt: skip
HTTP_IN_FLIGHT = Gauge("http_in_flight", "Requests being answered now.", ["service"])
HTTP_REFUSED = Counter(
    "http_refused", "Requests turned away before a route saw them.", ["service", "reason"]
)

COLLECTOR_EVENTS = Counter(
    "collector_events",
    "Events by what became of them: accepted, rejected, duplicate, bot, shed.",
    ["type", "outcome"],
)
COLLECTOR_ACK_SECONDS = Histogram(
    "collector_ack_seconds", "From taking an event in to its receipt.", ["level"], buckets=_FAST
)
COLLECTOR_SPOOL_BYTES = Gauge("collector_spool_bytes", "Size of the write-ahead log.")
COLLECTOR_SPOOL_EVENTS = Gauge("collector_spool_events", "Events in the log not yet in Kafka.")
COLLECTOR_SPOOL_OLDEST_SECONDS = Gauge(
    "collector_spool_oldest_seconds", "Age of the oldest event in the log not yet in Kafka."
)

PRODUCER_QUEUE_MESSAGES = Gauge(
    "producer_queue_messages", "Records handed to the producer and not yet acknowledged.", ["service"]
)  # fmt: skip
PRODUCER_ERRORS = Counter("producer_errors", "Records that the broker did not take.", ["code"])
CONSUMER_LAG_SECONDS = Gauge(
    "consumer_lag_seconds", "Age of the oldest record not yet handled.", ["group", "topic"]
)
CONSUMER_REBALANCES = Counter("consumer_rebalances", "Times partitions moved.", ["group"])
CONSUMER_STOPPED = Gauge(
    "consumer_partition_stopped",
    "1 while a partition is stopped because too many of its records were dead-lettered.",
    ["group", "topic", "partition"],
)
STREAM_KEYS = Gauge(
    "stream_keys", "Visitors, or items, of which the stream holds state.", ["table"]
)
PROCESS_SECONDS = Histogram("process_seconds", "Handling of one batch.", ["handler"], buckets=_FAST)
RETRIES = Counter("retries", "Batches tried again because something was away.", ["handler"])
DEAD_LETTERS = Counter("dlq", "Records put aside, by the kind of reason.", ["service", "reason"])
EFFECTS_DEDUPLICATED = Counter(
    "effects_deduplicated", "Events seen again whose effect was already there.", ["handler"]
)
EVENT_TO_EFFECT_SECONDS = Histogram(
    "event_to_effect_seconds", "From receiving an event to its effect.", ["service"], buckets=_SLOW
)

MODEL_INFO = Gauge("model_info", "1 for the release in service.", ["model", "version", "rung"])
MODEL_AGE_SECONDS = Gauge("model_age_seconds", "Age of the release in service.", ["model"])
MODEL_SWAPS = Counter("model_swap", "Releases loaded or refused.", ["model", "outcome"])
MODEL_LOAD_SECONDS = Histogram(
    "model_load_seconds", "Fetch, verify, load and smoke-test.", ["model"], buckets=_SLOW
)
DEGRADED = Gauge(
    "degraded", "1 while a model's current release is not what is answered with.", ["model"]
)

DECISIONS_DROPPED = Counter(
    "decisions_dropped", "Decisions not published because Kafka stayed away.", ["service"]
)
