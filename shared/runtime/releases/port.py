"""Publishing and following releases of models."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, Literal, Protocol, TypeVar

from msgspec import Struct

from shared.contracts.artifact import Artifact, Contents
from shared.contracts.events.decisions import Rung

M = TypeVar("M")
CHUNK_BYTES = 1 << 20


class Manifest(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What a release says of itself; the signature covers every other field."""

    model: str
    version: str
    contents: Contents
    chunk_bytes: int = CHUNK_BYTES
    chunks: tuple[str, ...] = ()
    """The sha256 of each chunk."""
    store: Literal["redis", "folder"] = "redis"
    """Where the content is: in chunks beside this manifest, or in the release folder."""
    parent: str | None = None
    code: str = ""
    trained_on: dict[str, Any] = {}
    """Offset ranges by topic and partition, time window, rows."""
    metrics: dict[str, Any] = {}
    card: dict[str, Any] = {}
    golden: list[dict[str, Any]] = []
    """Examples with the answers that a loaded model must give."""
    created_at: float = 0.0
    signature: str = ""


@dataclass(frozen=True, kw_only=True)
class Provenance:
    """Where a release comes from; its fields are those of `Manifest`."""

    trained_on: Mapping[str, Any]
    metrics: Mapping[str, Any]
    card: Mapping[str, Any]
    golden: Sequence[Mapping[str, Any]] = ()
    code: str = ""


class Pointer(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Which release is live; `epoch` counts the changes."""

    current: str | None = None
    previous: str | None = None
    canary: str | None = None
    canary_percent: int = 0
    epoch: int = 0


class Moved(Struct, frozen=True, kw_only=True):
    """One change of the pointer: when (seconds since 1970), what, to which version, why, by whom.

    `change` is promoted, canary, taken_back, rolled_back or restored.
    """

    at_s: float
    change: str
    version: str
    reason: str | None = None
    by: str | None = None


Smoke = Callable[[M, Sequence[Mapping[str, Any]]], str | None]
"""Asks a freshly loaded model the golden examples; returns what is wrong, or None."""


@dataclass(frozen=True)
class Loaded(Generic[M]):
    """A model in service and the rung it stands on.

    The rung is ``current`` while the pointer was seen to name this release within the last half
    minute, ``disk`` when it was loaded from disk and the pointer not seen yet, else ``stale``.
    `age_s` counts from when the release was made.
    """

    model: M
    version: str
    rung: Rung
    age_s: float
    manifest: Manifest | None


class Following(Protocol[M]):
    """A model that follows its pointer in the background; `current` is one reference, never awaited."""

    @property
    def current(self) -> Loaded[M] | None:
        """The release to answer with now; None only if none was ever seen, on disk neither."""
        ...

    def for_user(self, user: str | None) -> Loaded[M] | None:
        """As `current`, or the canary for its share of users (by hash)."""
        ...

    async def run(self) -> None:
        """Poll, fetch, verify, load, smoke-test and swap for ever; a task of the App."""
        ...


class Releases(Protocol):
    """Access to the releases in Redis; every method raises `Retryable` when it is away."""

    async def publish(self, model: str, artifact: Artifact, provenance: Provenance) -> Manifest:
        """Write immutable chunks, then the signed manifest; live only after `promote`."""
        ...

    async def pointer(self, model: str) -> Pointer:
        """Return the pointer (all None, epoch 0, before the first release)."""
        ...

    async def promote(
        self, model: str, version: str, *, epoch: int, reason: str | None = None
    ) -> Pointer:
        """Make `version` current if the epoch has not moved and no chunk is missing, else `Invalid`.

        The five newest versions are kept.
        """
        ...

    async def canary(
        self, model: str, version: str, *, percent: int, epoch: int, reason: str | None = None
    ) -> Pointer:
        """Serve `version` to that share of users; at 0 replicas only load and test it."""
        ...

    async def take_back(self, model: str, *, epoch: int, reason: str | None = None) -> Pointer:
        """End the canary, whatever state its release is in; `Invalid` if there is none."""
        ...

    async def roll_back(self, model: str, *, epoch: int, reason: str | None = None) -> Pointer:
        """Make the previous release current again."""
        ...

    async def history(self, model: str, count: int = 50) -> list[Moved]:
        """Return the newest changes of the pointer, newest first."""
        ...

    async def restore(self, model: str) -> Pointer | None:
        """Give an empty Redis its releases and pointer back, from what the publisher kept on disk.

        Returns the pointer, or None when Redis had one or nothing was kept. Whoever publishes
        calls this now and then; it is cheap when nothing is missing.
        """
        ...

    async def manifest(self, model: str, version: str) -> Manifest:
        """Return and verify a manifest; `NotFound` or `Invalid`."""
        ...

    async def versions(self, model: str) -> list[str]:
        """Return the kept versions, newest first."""
        ...

    async def fetch(self, manifest: Manifest) -> Artifact:
        """Read, verify and unpack the content; `Invalid` when truncated or tampered with."""
        ...

    def follow(
        self,
        model: str,
        load: Callable[[Artifact], M],
        *,
        smoke: Smoke[M],
    ) -> Following[M]:
        """Return a follower; `smoke` returns what is wrong with the loaded model, or None."""
        ...
