"""Runs one job in this process: ``python -m services.trainer.jobs <folder> <memory MiB>``.

Started by the worker, which reads progress as JSON lines from standard output and closes standard
input when the job is to end.
"""

import os
import resource
import sys
import threading
from collections.abc import Callable, Mapping
from pathlib import Path

import msgspec

from services.trainer.history import Lake
from services.trainer.jobs import ratings, recommend
from services.trainer.jobs.task import Folder, Outcome, Progress, Task
from shared.contracts.artifact import Artifact
from shared.contracts.errors import Invalid

Run = Callable[[Task, Lake, Folder, Progress], tuple[Outcome, Artifact | None]]
JOBS: Mapping[str, Run] = {"recommend": recommend.run, "ratings": ratings.run}
LOW_PRIORITY = 10


def main(folder: Folder, memory_mib: int) -> None:
    """Run the job; its outcome is in the folder afterwards."""
    os.nice(LOW_PRIORITY)
    limit = memory_mib << 20
    resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))
    task = folder.task()
    try:
        outcome, artifact = JOBS[task.job](task, Lake(Path(task.lake)), folder, _tell)
    except Invalid as reason:
        outcome, artifact = Outcome(failed=str(reason)), None
    except MemoryError:
        outcome, artifact = Outcome(failed=f"it needs more memory than {memory_mib} MiB"), None
    folder.write_outcome(outcome, artifact)


def _tell(phase: str, share: float) -> None:
    line = msgspec.json.encode({"phase": phase, "share": round(share, 3)})
    sys.stdout.buffer.write(line + b"\n")
    sys.stdout.buffer.flush()


def _end_with_the_worker() -> None:
    # Not through sys.stdin, whose lock would be held when the interpreter ends.
    while os.read(0, 1024):
        pass
    os._exit(1)


if __name__ == "__main__":
    threading.Thread(target=_end_with_the_worker, daemon=True).start()
    main(Folder(Path(sys.argv[1])), int(sys.argv[2]))
