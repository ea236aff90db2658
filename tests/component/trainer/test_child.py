"""A job's process when it may not go on."""

import asyncio
import subprocess
import sys
from pathlib import Path

import pytest

from services.trainer import child
from services.trainer.child import Bounds
from services.trainer.jobs.task import Folder, Task
from shared.contracts.errors import Invalid

PLENTY = Bounds(memory_mib=1024, threads=1, timeout_s=60)


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    made = Folder(tmp_path / "job")
    made.write_task(Task(job="recommend", lake=str(tmp_path / "lake"), now_s=1.7e9), None)
    return made


async def unheard(phase: str, share: float) -> None:
    """Ignore progress."""


async def wanted() -> bool:
    return True


async def test_a_reason_comes_back_from_the_child(folder: Folder) -> None:
    """The operator would not learn why there is no model."""
    phases = []

    async def tell(phase: str, share: float) -> None:
        phases.append(phase)

    await child.run(folder, PLENTY, tell, wanted)
    outcome = folder.outcome()
    assert outcome is not None
    assert "no events yet" in str(outcome.failed)
    assert phases == ["read the history"]


async def test_a_job_beyond_its_memory_is_ended(folder: Folder) -> None:
    """A training would take the memory of the services beside it."""
    outcome, died = None, ""
    try:
        await child.run(folder, Bounds(memory_mib=16, threads=1, timeout_s=60), unheard, wanted)
        outcome = folder.outcome()
    except Invalid as reason:
        died = str(reason)
    assert "ended with" in died or "more memory than 16 MiB" in str(outcome)


async def test_a_job_beyond_its_time_is_ended(folder: Folder) -> None:
    """A training that hangs would block all that come after it."""
    with pytest.raises(Invalid, match=r"longer than 0\.01 s"):
        await child.run(folder, Bounds(memory_mib=1024, threads=1, timeout_s=0.01), unheard, wanted)
    assert folder.outcome() is None


async def test_an_unwanted_job_is_ended(folder: Folder) -> None:
    """A cancelled training would go on using the machine."""

    async def unwanted() -> bool:
        return False

    look, child.LOOK_S = child.LOOK_S, 0.001
    try:
        with pytest.raises(child.Cancelled):
            await child.run(folder, PLENTY, unheard, unwanted)
    finally:
        child.LOOK_S = look


async def test_the_child_knows_no_secret(folder: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
    """A flaw in a numeric library would reach the address and password of Redis."""
    monkeypatch.setenv("SHOPLOOP_REDIS", "redis://:password@host:1/0")
    assert not {k for k in child._environment(PLENTY) if k.startswith("SHOPLOOP")}


async def test_a_child_ends_with_its_worker(folder: Folder) -> None:
    """After a kill -9 of the worker two trainings would run side by side."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", ORPHAN, str(folder.path), stdin=subprocess.PIPE, cwd=child.ROOT
    )
    assert process.stdin is not None
    process.stdin.close()
    assert await asyncio.wait_for(process.wait(), 60) == 1


ORPHAN = """
import threading, time
from services.trainer.jobs import __main__ as job
threading.Thread(target=job._end_with_the_worker, daemon=True).start()
time.sleep(60)
"""
