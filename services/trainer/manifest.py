"""What the trainer declares of itself."""

from datetime import timedelta

from shared.contracts.service import Key, Process, Route, Service
from shared.contracts.topics import (
    BEHAVIOUR,
    CATALOG,
    DECISIONS,
    ERASURES,
    IDENTITIES,
    MODELS,
    ORDERS,
    SESSIONS,
    SHOPPERS,
)

RECOMMEND = "recommend"
RATINGS = "ratings"

JOB = Key(
    name="trainer-job",
    params=("id",),
    kind="string",
    about="One job: what was asked for, how far it is, what came of it.",
    ttl=timedelta(days=30),
    bound="the newest 200 are listed",
)
JOBS = Key(
    name="trainer-jobs",
    params=(),
    kind="zset",
    about="Ids of jobs by the time they were asked for.",
    bound="200 members",
)
CANCELLED = Key(
    name="trainer-cancelled",
    params=("id",),
    kind="string",
    about="There for a job that somebody wants to end.",
    ttl=timedelta(days=1),
)

CANARY = Key(
    name="trainer-canary",
    params=("model",),
    kind="string",
    about="The release on its way from the gate to everybody: who gets it, since when, the figures.",
    bound="one a model",
)
REPLICAS = Key(
    name="trainer-replicas",
    params=("model", "version"),
    kind="hash",
    about="What each replica said of a release: when it loaded it, or why it refused.",
    ttl=timedelta(days=7),
    bound="one field a machine",
)

SERVICE = Service(
    name="trainer",
    about="History to datasets to models to gates to releases.",
    processes=(
        Process("http", "Takes jobs, tells of jobs, releases and what they brought.", 8002, 256),
        Process(
            "worker",
            "Keeps the history and runs jobs in a child process.",
            memory_mib=4096,
            probes=8012,
        ),
    ),
    reads=(
        BEHAVIOUR,
        ORDERS,
        CATALOG,
        SESSIONS,
        DECISIONS,
        SHOPPERS,
        IDENTITIES,
        ERASURES,
        MODELS,
    ),
    writes=(MODELS, ERASURES),
    routes=(
        Route("POST", "/v1/jobs", "train", "Ask for a job."),
        Route("GET", "/v1/jobs", "train", "The newest jobs."),
        Route("GET", "/v1/jobs/{id}", "train", "One job with its progress and outcome."),
        Route("POST", "/v1/jobs/{id}/cancel", "train", "End a job that waits or runs."),
        Route("GET", "/v1/models/{name}", "train", "The release in service, with its card."),
        Route("GET", "/v1/reports/feedback", "train", "Clicks, orders and revenue per release."),
    ),
    keys=(JOB, JOBS, CANCELLED, CANARY, REPLICAS),
    releases=(RECOMMEND, RATINGS),
)
