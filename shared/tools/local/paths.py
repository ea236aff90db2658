"""Where the local stack keeps its things."""

import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from shared.tools.local.errors import LocalStackError

CHECKOUT = Path(__file__).resolve().parents[3]
"""The folder that holds `services/` and `shared/`."""

NEEDED_MIB = 1024
"""Free disk space below which a stack is not started."""


@dataclass(frozen=True, slots=True)
class Home:
    """The folder of one local stack: the data of Kafka and Redis, logs, keys, run state.

    Two stacks never share a home; what is in it survives a restart and a kill.
    """

    root: Path

    @property
    def kafka(self) -> Path:
        """Kafka's data, configuration and class archives."""
        return self.root / "kafka"

    @property
    def redis(self) -> Path:
        """Redis's append-only file."""
        return self.root / "redis"

    @property
    def logs(self) -> Path:
        """One rotating log file for each process."""
        return self.root / "logs"

    @property
    def run_file(self) -> Path:
        """What runs now: pids, ports, addresses. See `state`."""
        return self.root / "run.json"

    @property
    def lock_file(self) -> Path:
        """Held by the supervisor as long as it lives; the kernel lets go of it after a kill."""
        return self.root / "run.lock"

    def make(self) -> None:
        """Create the folder.

        Raises
        ------
        LocalStackError
            It cannot be written to, or its disk is all but full.
        """
        try:
            self.logs.mkdir(parents=True, exist_ok=True)
            free_mib = shutil.disk_usage(self.root).free >> 20
        except OSError as error:
            raise LocalStackError(
                f"cannot write to {self.root}: {error.strerror}",
                "choose another folder with --home or SHOPLOOP_HOME",
            ) from error
        if free_mib < NEEDED_MIB:
            raise LocalStackError(
                f"the disk of {self.root} has {free_mib} MiB left; {NEEDED_MIB} MiB are needed",
                "free some space, or choose a folder on another disk with --home or SHOPLOOP_HOME",
            )


def default_home(environ: Mapping[str, str] = os.environ) -> Home:
    """Give the home named by SHOPLOOP_HOME, else `.shoploop` in the checkout."""
    named = environ.get("SHOPLOOP_HOME")
    return Home(Path(named).resolve() if named else CHECKOUT / ".shoploop")


def cache_folder(environ: Mapping[str, str] = os.environ) -> Path:
    """Give the folder for downloads that all checkouts of one person share."""
    named = environ.get("XDG_CACHE_HOME")
    return (Path(named) if named else Path.home() / ".cache") / "shoploop"
