"""Faults under load, as a figure."""

import os
from collections.abc import Mapping

import msgspec

from shared.tools.chaos.run import run
from tests.benchmarks.registry import Context, Figure, benchmark


@benchmark("chaos-lost", "chaos-doubled", unit="events", must=(0, 0), aim=(0, 0))
def chaos(context: Context) -> Mapping[str, Figure]:
    """200 seeded kills, or SHOPLOOP_CHAOS_SEEDS of them; missing effects count as lost."""
    seeds = int(os.environ.get("SHOPLOOP_CHAOS_SEEDS", "200"))
    verdict = run(context.work, range(seeds))
    detail = msgspec.to_builtins(verdict)
    return {
        "chaos-lost": Figure(verdict.lost + verdict.missing_effects, verdict.acknowledged, detail),
        "chaos-doubled": Figure(verdict.doubled, verdict.acknowledged, detail),
    }
