"""`python -m tests.benchmarks [NAME ...]`: run benchmarks, one JSON line each on stdout."""

import argparse
import importlib
import os
import pkgutil
import sys
import tempfile
from pathlib import Path

import tests.benchmarks
from tests.benchmarks.registry import BENCHMARKS, Context, find, lines


def _load_all() -> None:
    for module in pkgutil.iter_modules(tests.benchmarks.__path__):
        if module.name.startswith("bench_"):
            importlib.import_module(f"tests.benchmarks.{module.name}")


def main() -> int:
    """Run what was asked for, or all."""
    parser = argparse.ArgumentParser(prog="shoploop bench", description=__doc__)
    parser.add_argument("names", nargs="*", help="all when none is given")
    parser.add_argument(
        "--data", type=Path, default=Path(os.environ.get("SHOPLOOP_DATA", "../shared/data"))
    )
    parser.add_argument("--list", action="store_true", help="print the names and stop")
    options = parser.parse_args()
    _load_all()
    if options.list:
        print("\n".join(name for known in BENCHMARKS for name in known.names))
        return 0
    wanted = [find(name) for name in options.names] if options.names else BENCHMARKS
    for known in dict.fromkeys(wanted):
        with tempfile.TemporaryDirectory(prefix="shoploop-bench-") as work:
            figures = known.run(Context(options.data.resolve(), Path(work)))
        for line in lines(known, figures):
            print(line, flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
