"""The Redis keys of releases; all keys of a model hash to one slot of a cluster."""

from datetime import timedelta

from shared.contracts.service import Key

POINTER = Key(
    "release",
    ("model",),
    "hash",
    "Which release of the model is live.",
    bound="five fields a model",
)
PART = Key(
    "release",
    ("model", "version", "part"),
    "string",
    "A release's manifest, and its content in immutable chunks numbered from 0.",
    bound="the five newest versions and those that the pointer names",
)
VERSIONS = Key(
    "release-versions",
    ("model",),
    "zset",
    "The published versions by the time they were made.",
    bound="five a model, and those that the pointer names",
)
LOG = Key(
    "release-log",
    ("model",),
    "stream",
    "What happened to the pointer, newest last.",
    bound="1,000 entries a model",
)
RELEASE_KEYS = (POINTER, PART, VERSIONS, LOG)

MANIFEST = "manifest"
UNFINISHED_TTL = timedelta(hours=1)
"""Chunks without a manifest are what a crash left behind."""


def hint_channel(model: str) -> str:
    """Return the channel on which a change of the model's pointer is announced."""
    return POINTER.of(model)
