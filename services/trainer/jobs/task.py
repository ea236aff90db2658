"""What a job is told and what it gives back; both cross a process boundary as files."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
from msgspec import Struct

from services.trainer.core.gate import Verdict
from shared.contracts.artifact import Artifact, Contents, pack, unpack
from shared.contracts.errors import Invalid

Progress = Callable[[str, float], None]
"""Told the phase and the share in [0, 1] that is done."""


class Task(Struct, frozen=True, kw_only=True):
    """One training.

    `due` are reasons to renew a release that is as good as the one in service; `current` tells of
    that one: its version, its card and what it was trained on, with its content beside the task;
    `online` what it brought. `options` are the job's own.
    """

    job: str
    lake: str
    now_s: float
    seed: int = 7
    threads: int = 2
    forced: bool = False
    due: tuple[str, ...] = ()
    current: dict[str, Any] | None = None
    online: list[dict[str, Any]] = []
    options: dict[str, Any] = {}


class Outcome(Struct, frozen=True, kw_only=True):
    """What came of it: a reason why not, or a candidate with the gate's verdict.

    The candidate's content lies beside the outcome.
    """

    failed: str | None = None
    verdict: Verdict | None = None
    trained_on: dict[str, Any] = {}
    metrics: dict[str, Any] = {}
    card: dict[str, Any] = {}
    golden: list[dict[str, Any]] = []


class Folder:
    """The files of one task."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def write_task(self, task: Task, current: Artifact | None) -> None:
        """Store what the job is told."""
        self.path.mkdir(parents=True, exist_ok=True)
        if current is not None:
            self._write("current", current)
        (self.path / "task.json").write_bytes(msgspec.json.encode(task))

    def task(self) -> Task:
        """Return what the job is told."""
        return msgspec.json.decode((self.path / "task.json").read_bytes(), type=Task)

    def current(self) -> Artifact:
        """Return the content of the release in service."""
        return self._read("current")

    def write_outcome(self, outcome: Outcome, artifact: Artifact | None) -> None:
        """Store what came of it; the outcome last, so that it is there only with all of it."""
        if artifact is not None:
            self._write("candidate", artifact)
        (self.path / "outcome.json").write_bytes(msgspec.json.encode(outcome))

    def outcome(self) -> Outcome | None:
        """Return what came of it, None if the job did not get that far.

        What a power failure or older code left, and cannot be read, is none either.
        """
        try:
            return msgspec.json.decode((self.path / "outcome.json").read_bytes(), type=Outcome)
        except (FileNotFoundError, msgspec.DecodeError, UnicodeDecodeError):
            return None

    def candidate(self) -> Artifact:
        """Return the content of the candidate; `Invalid` when it is damaged."""
        return self._read("candidate")

    def _write(self, name: str, artifact: Artifact) -> None:
        contents, buffers = pack(artifact)
        with (self.path / f"{name}.content").open("wb") as out:
            for buffer in buffers:
                out.write(buffer)
        (self.path / f"{name}.json").write_bytes(msgspec.json.encode(contents))

    def _read(self, name: str) -> Artifact:
        try:
            contents = msgspec.json.decode((self.path / f"{name}.json").read_bytes(), type=Contents)
            content = (self.path / f"{name}.content").read_bytes()
        except (FileNotFoundError, msgspec.DecodeError, UnicodeDecodeError) as error:
            raise Invalid(f"the job's {name} cannot be read: {error}") from error
        return unpack(contents, content)
