"""Which program is killed when: all of it drawn from a seed."""

import time
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from shared.tools.local.stack import Stack

LONGEST_PAUSE_S = 2.0
LONGEST_OUTAGE_S = 3.0


class Fault(NamedTuple):
    """Kill `victim` after a pause and leave it down for so long."""

    victim: str
    pause_s: float
    outage_s: float


def draw(seed: int, victims: Sequence[str]) -> Fault:
    """Return the fault of a seed: any victim, any moment; every fourth is down for a while."""
    rng = np.random.default_rng(seed)
    long = rng.random() < 0.25
    return Fault(
        victim=str(rng.choice(victims)),
        pause_s=float(rng.uniform(0, LONGEST_PAUSE_S)),
        outage_s=float(rng.uniform(0, LONGEST_OUTAGE_S)) if long else 0.0,
    )


def strike(stack: Stack, fault: Fault) -> None:
    """Carry it out with SIGKILL; returns when the victim is ready again."""
    time.sleep(fault.pause_s)
    stack.kill(fault.victim, stay_down=True)
    time.sleep(fault.outage_s)
    stack.restart(fault.victim)
