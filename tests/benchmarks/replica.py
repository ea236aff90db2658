"""`python -m tests.benchmarks.replica REDIS FOLDER NUMBER`: follow a model, print each version served."""

import asyncio
import sys
from pathlib import Path

import numpy as np
from redis.asyncio import Redis

from shared.contracts.artifact import Artifact
from shared.contracts.service import ModelUse, Process, Service
from shared.runtime import keys
from shared.runtime.clock import SystemClock
from shared.runtime.releases.folder import ReleaseFolder
from shared.runtime.releases.port import Provenance
from shared.runtime.releases.redis import RedisReleases, Storage
from shared.runtime.releases.signing import Signer, Verifier

MODEL = "weights"
SERVICE = Service(
    "bench",
    "Serves weights.",
    (Process("http", ""),),
    models=(ModelUse(MODEL, "none"),),
    releases=(MODEL,),
)


def make_keys(work: Path) -> None:
    """Make the installation's keys in the folder."""
    keys.load_or_generate(work / "keys.json")


def open_releases(redis: Redis, work: Path, name: str) -> RedisReleases:
    """Return releases that keep their copies in a folder of their own."""
    secrets = keys.load(work / "keys.json")
    verifier = Verifier(secrets.release_public)
    folders = [ReleaseFolder(work / name / part, verifier, 1 << 30) for part in ("shared", "cache")]
    return RedisReleases(
        redis=redis,
        service=SERVICE,
        storage=Storage(shared=folders[0], cache=folders[1]),
        verifier=verifier,
        clock=SystemClock(),
        signer=Signer(secrets.release_private or b""),
    )


def publish(address: str, work: Path, content: np.ndarray) -> str:
    """Publish and promote a release; return its version."""

    async def once() -> str:
        async with Redis.from_url(address) as redis:
            releases = open_releases(redis, work, "trainer")
            manifest = await releases.publish(
                MODEL,
                Artifact("weights", {"w": content}),
                Provenance(trained_on={}, metrics={}, card={}),
            )
            pointer = await releases.pointer(MODEL)
            await releases.promote(MODEL, manifest.version, epoch=pointer.epoch)
            return manifest.version

    return asyncio.run(once())


async def main() -> None:
    """Print the version whenever another one is in service."""
    address, work, name = sys.argv[1], Path(sys.argv[2]), f"replica-{sys.argv[3]}"
    async with Redis.from_url(address) as redis:
        following = open_releases(redis, work, name).follow(
            MODEL, lambda artifact: artifact.arrays["w"], smoke=lambda model, golden: None
        )
        task = asyncio.create_task(following.run())
        served = None
        while not task.done():
            live = following.current
            if live is not None and live.version != served:
                served = live.version
                print(served, flush=True)
            await asyncio.sleep(0.002)
        await task


if __name__ == "__main__":
    asyncio.run(main())
