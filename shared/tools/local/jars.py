"""Apache Kafka's published jars, pinned by content.

`kafka.lock` lists every jar with its SHA-256 and size, so nothing but exactly these bytes is run,
and no dependency resolution happens on a user's machine. jgo downloads them from Maven Central
into the cache that all checkouts share.
"""

import fcntl
import hashlib
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from shared.tools.local.errors import LocalStackError

LOCK = Path(__file__).with_name("kafka.lock")

Progress = Callable[[int, int], None]
"""Called with (bytes done, bytes in all)."""


@dataclass(frozen=True, slots=True)
class Jar:
    """One line of the lock: Maven coordinates and what the file must be."""

    group: str
    artifact: str
    version: str
    sha256: str
    size: int

    def path(self, cache: Path) -> Path:
        """Give the file's place below a cache folder, in a Maven repository's layout."""
        folder = cache / Path(*self.group.split(".")) / self.artifact / self.version
        return folder / f"{self.artifact}-{self.version}.jar"

    def is_in(self, cache: Path) -> bool:
        """Tell whether a complete file is there. Its hash was checked when it came."""
        path = self.path(cache)
        return path.is_file() and path.stat().st_size == self.size


def read_lock(path: Path = LOCK) -> tuple[Jar, ...]:
    """Read the pinned jars, in class path order."""
    jars = []
    for line in path.read_text().splitlines():
        coordinates, sha256, size = line.split()
        group, artifact, version = coordinates.split(":")
        jars.append(Jar(group, artifact, version, sha256, int(size)))
    return tuple(jars)


def class_path(cache: Path, progress: Progress = lambda done, total: None) -> str:
    """Give Kafka's class path, downloading what is missing. Safe to call from several processes.

    Parameters
    ----------
    cache
        A folder kept between calls.
    progress
        Called as the bytes come; not at all if nothing is missing.

    Raises
    ------
    LocalStackError
        A jar cannot be downloaded or is not the pinned one.
    """
    jars = read_lock()
    if any(not jar.is_in(cache) for jar in jars):
        with _locked(cache):
            _download([jar for jar in jars if not jar.is_in(cache)], cache, progress)
    return ":".join(str(jar.path(cache)) for jar in jars)


@contextmanager
def _locked(cache: Path) -> Iterator[None]:
    cache.mkdir(parents=True, exist_ok=True)
    with (cache / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _download(jars: Sequence[Jar], cache: Path, progress: Progress) -> None:
    total, done = sum(jar.size for jar in jars), 0
    progress(done, total)
    with ThreadPoolExecutor(max_workers=6) as pool:
        for finished in as_completed([pool.submit(partial(_fetch, jar, cache)) for jar in jars]):
            done += finished.result().size
            progress(done, total)


def _fetch(jar: Jar, cache: Path) -> Jar:
    from jgo.maven import MavenContext

    path = jar.path(cache)
    path.unlink(missing_ok=True)
    project = MavenContext(repo_cache=cache, timeout=60).project(jar.group, jar.artifact)
    try:
        project.at_version(jar.version).artifact().resolve()
    except (OSError, RuntimeError) as error:
        path.unlink(missing_ok=True)
        raise LocalStackError(
            f"cannot download {path.name}, a part of Apache Kafka: {error}",
            "check the network and start again (what came so far is kept), or name a running "
            "broker with SHOPLOOP_KAFKA=host:port",
        ) from error
    if hashlib.sha256(path.read_bytes()).hexdigest() != jar.sha256:
        path.unlink()
        raise LocalStackError(
            f"{path.name} is not the file pinned in {LOCK.name}",
            "start again; if it stays so, do not trust the network between you and Maven Central",
        )
    return jar
