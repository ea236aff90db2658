"""A benchmark is a function with a name, a unit and the figures it is held to."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Context:
    """Where a benchmark finds data and leaves its files; `seed` fixes everything that is drawn."""

    data: Path
    work: Path
    seed: int = 7


@dataclass(frozen=True)
class Figure:
    """One measured value; `n` is how many measurements are behind it."""

    value: float
    n: int
    detail: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Benchmark:
    """Produces the figures of all `names` in one run, since some come out of the same load."""

    names: tuple[str, ...]
    unit: str
    must: tuple[float | None, ...]
    aim: tuple[float | None, ...]
    run: Callable[[Context], Mapping[str, Figure]]


BENCHMARKS: list[Benchmark] = []


def benchmark(
    *names: str, unit: str, must: tuple[float | None, ...], aim: tuple[float | None, ...]
) -> Callable[
    [Callable[[Context], Mapping[str, Figure]]], Callable[[Context], Mapping[str, Figure]]
]:
    """Register a function that returns a `Figure` for each of `names`."""

    def register(
        run: Callable[[Context], Mapping[str, Figure]],
    ) -> Callable[[Context], Mapping[str, Figure]]:
        if not len(names) == len(must) == len(aim):
            raise ValueError(f"{names}: as many limits as names are needed")
        BENCHMARKS.append(Benchmark(names, unit, must, aim, run))
        return run

    return register


def find(name: str) -> Benchmark:
    """Return the benchmark that gives `name`; LookupError lists the names there are."""
    for known in BENCHMARKS:
        if name in known.names:
            return known
    names = ", ".join(n for b in BENCHMARKS for n in b.names)
    raise LookupError(f"there is no benchmark {name!r}; there are: {names}")


def lines(known: Benchmark, figures: Mapping[str, Figure]) -> list[str]:
    """Return the JSON lines of one run."""
    found = []
    for name, must, aim in zip(known.names, known.must, known.aim, strict=True):
        figure = figures[name]
        found.append(
            json.dumps(
                {
                    "name": name,
                    "value": round(figure.value, 6),
                    "unit": known.unit,
                    "must": must,
                    "aim": aim,
                    "n": figure.n,
                    "detail": dict(figure.detail),
                },
                ensure_ascii=False,
            )
        )
    return found
