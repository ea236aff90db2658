"""The demo as a newcomer runs it, and what the stack takes when it is over."""

import io
import os
import time
from collections.abc import Mapping

import psutil
from rich.console import Console

from shared.tools.demo.run import Demo
from shared.tools.demo.steps import Steps
from shared.tools.demo.words import Words
from shared.tools.local.stack import Stack
from tests.benchmarks.registry import Context, Figure, benchmark

SETTLE_S = 20.0


@benchmark("demo-seconds", "idle-memory-mib", unit="s; MiB", must=(120, 2_560), aim=(60, 1_536))
def demo(context: Context) -> Mapping[str, Figure]:
    """`shoploop demo` with the whole year, jars and packages being there; then idle for 20 s.

    Memory is the proportional share (PSS) of every program of the stack and its children.
    """
    began = time.perf_counter()
    turn = Demo(
        home=context.work,
        steps=Steps(Console(file=io.StringIO()), Words("en")),
        seed=context.seed,
        households=None,
        environ=dict(os.environ),
        random_ports=True,
    )
    with turn.stack() as stack:
        report = turn.turn(stack)
        took = time.perf_counter() - began
        time.sleep(SETTLE_S)
        memory = {name: _mib(stack, name) for name in stack.programs()}
    steps = {step: round(seconds, 1) for step, seconds in report.steps.items()}
    return {
        "demo-seconds": Figure(took, 1, steps),
        "idle-memory-mib": Figure(sum(memory.values()), 1, memory),
    }


def _mib(stack: Stack, name: str) -> float:
    program = psutil.Process(stack.pid(name))
    family = [program, *program.children(recursive=True)]
    return round(sum(p.memory_full_info().pss for p in family) / (1 << 20), 1)
