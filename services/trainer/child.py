"""A job's own process: bounded in memory and time, at low priority, ended with its worker."""

import asyncio
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path

import msgspec

from services.trainer.jobs.task import Folder
from shared.contracts.errors import Invalid

ROOT = Path(__file__).resolve().parents[2]
LOOK_S = 0.5
ERRORS = "errors.txt"

Tell = Callable[[str, float], Awaitable[None]]
Wanted = Callable[[], Awaitable[bool]]


class Cancelled(Exception):
    """Somebody wanted the job to end."""


@dataclass(frozen=True)
class Bounds:
    """What a job may use."""

    memory_mib: int
    threads: int
    timeout_s: float


async def run(folder: Folder, bounds: Bounds, tell: Tell, still_wanted: Wanted) -> None:
    """Run the task in `folder` to its outcome.

    Raises
    ------
    Cancelled
        It was ended because it was no longer wanted.
    Invalid
        It died without an outcome, or took too long; the text says why as far as is known.
    """
    with (folder.path / ERRORS).open("wb") as errors:
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "services.trainer.jobs", str(folder.path), str(bounds.memory_mib),
            stdin=PIPE, stdout=PIPE, stderr=errors, cwd=ROOT, env=_environment(bounds),
        )  # fmt: skip
        following = asyncio.create_task(_follow(process, tell))
        try:
            async with asyncio.timeout(bounds.timeout_s):
                await _end(process, still_wanted)
        except TimeoutError:
            raise Invalid(f"it took longer than {bounds.timeout_s:g} s and was ended") from None
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
            following.cancel()
            await asyncio.gather(following, return_exceptions=True)
    if process.returncode != 0:
        raise Invalid(_last_words(folder.path / ERRORS, process.returncode))


async def _end(process: Process, still_wanted: Wanted) -> None:
    waiting = asyncio.create_task(process.wait())
    try:
        while not waiting.done():
            await asyncio.wait({waiting}, timeout=LOOK_S)
            if not waiting.done() and not await still_wanted():
                raise Cancelled
    finally:
        waiting.cancel()


async def _follow(process: Process, tell: Tell) -> None:
    assert process.stdout is not None
    async for line in process.stdout:
        try:
            said = msgspec.json.decode(line)
            await tell(str(said["phase"]), float(said["share"]))
        except (msgspec.DecodeError, KeyError, TypeError, ValueError):
            # A library's own chatter on standard output is no progress.
            continue


def _environment(bounds: Bounds) -> dict[str, str]:
    """Return all that a job gets to know: no address, no secret.

    One thread each for linear algebra: the jobs' own threads use the cores. Memory that a large
    array leaves is kept for the next one, as each new page costs the kernel time.
    """
    return {
        "MALLOC_ARENA_MAX": "1",
        "MALLOC_MMAP_THRESHOLD_": str(1 << 30),
        "MALLOC_TRIM_THRESHOLD_": str(1 << 30),
        "OPENBLAS_NUM_THREADS": "1",
        "OMP_NUM_THREADS": "1",
        "POLARS_MAX_THREADS": str(bounds.threads),
        "LC_ALL": "C.UTF-8",
    }


def _last_words(errors: Path, code: int | None) -> str:
    lines = errors.read_text(errors="replace").strip().splitlines()
    return f"the job's process ended with {code}: {lines[-1] if lines else 'it said nothing'}"
