"""`shoploop evaluate`: how well the models do on a file, with the noise of the answer."""

import json
import time
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from shared.contracts.errors import Invalid
from shared.learning.evaluation import ratings as by_ratings
from shared.learning.evaluation import sequences as by_sequences
from shared.learning.evaluation.bootstrap import mean_interval
from shared.learning.evaluation.judge import report

app = typer.Typer(help="Measure the models on a file of your own.", no_args_is_help=True)


@app.callback()
def root() -> None:
    """Keep `recommend` a command of its own beside those to come."""


@app.command()
def recommend(
    sequences: Annotated[
        Path | None,
        typer.Option(help="Lines of: user, then items in the order of time. The last is the test."),
    ] = None,
    ratings: Annotated[
        Path | None,
        typer.Option(help="user,item,rating[,time] by tabs or commas; a header is understood."),
    ] = None,
    trials: Annotated[int, typer.Option(min=1, help="Settings tried on validation events.")] = 10,
    seeds: Annotated[int, typer.Option(min=1, help="Random splits of a ratings file.")] = 3,
    seed: Annotated[int, typer.Option(min=0, help="The same seed gives the same answer.")] = 0,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON line, no table.")] = False,
) -> None:
    """Choose settings on validation events, judge once on test events, full rankings."""
    if (sequences is None) == (ratings is None):
        raise typer.BadParameter("give one of --sequences and --ratings")
    started = time.monotonic()
    try:
        if sequences is not None:
            answer = _sequences(sequences, trials=trials, seed=seed)
        elif ratings is not None:
            answer = _ratings(ratings, trials=trials, seeds=seeds, seed=seed)
    except (Invalid, OSError, UnicodeDecodeError) as error:
        typer.echo(f"{sequences or ratings}: {error}", err=True)
        raise typer.Exit(2) from error
    answer["seconds"] = round(time.monotonic() - started, 1)
    if as_json:
        typer.echo(json.dumps(answer))
    else:
        _print(answer)


def _sequences(path: Path, *, trials: int, seed: int) -> dict[str, Any]:
    with path.open(encoding="utf-8") as lines:
        given = by_sequences.Sequences.read(lines)
    result = by_sequences.evaluate(given, trials=trials, seed=seed)
    return {
        "file": str(path),
        "users": len(given.of_user),
        "items": len(given.items),
        "asked": len(result.refit),
        "model": "slim",
        "settings": asdict(result.tuned.best),
        "validation_ndcg@10": result.tuned.score,
        "refit": report(result.refit, by_sequences.PLACES, result.popularity, seed=seed),
        "strict": report(result.strict, by_sequences.PLACES, result.popularity, seed=seed),
    }


def _ratings(path: Path, *, trials: int, seeds: int, seed: int) -> dict[str, Any]:
    with path.open(encoding="utf-8", newline="") as lines:
        given = by_ratings.read_ratings(lines)
    errors = by_ratings.evaluate_errors(given, seed=seed)
    rankings = [
        by_ratings.evaluate_ranking(given, trials=trials, seed=seed + n) for n in range(seeds)
    ]
    reports = [report(r.lists, by_ratings.PLACES, r.popularity, seed=seed) for r in rankings]
    squared = mean_interval(errors.squared, seed=seed)
    return {
        "file": str(path),
        "users": given.n_users,
        "items": given.n_items,
        "ratings": len(given),
        "rmse": {"mean": errors.rmse, "low": squared.low**0.5, "high": squared.high**0.5},
        "rmse_settings": [asdict(settings) for settings in errors.settings],
        "ndcg@10_mean": sum(_mean(one["ndcg@10"]) for one in reports) / len(reports),
        "settings": [asdict(ranking.tuned.best) for ranking in rankings],
        "splits": reports,
    }


def _mean(value: Mapping[str, float] | float) -> float:
    return value if isinstance(value, float) else value["mean"]


def _print(answer: Mapping[str, Any]) -> None:
    console = Console()
    table = Table("measure", "value", "95% interval")
    for name, value in _flat(answer):
        if isinstance(value, Mapping):
            table.add_row(
                name, f"{value['mean']:.4f}", f"{value['low']:.4f} to {value['high']:.4f}"
            )
        else:
            table.add_row(name, f"{value:.4f}" if isinstance(value, float) else str(value), "")
    console.print(table)


def _flat(answer: Mapping[str, Any], prefix: str = "") -> list[tuple[str, Any]]:
    rows: list[tuple[str, Any]] = []
    for name, value in answer.items():
        if isinstance(value, Mapping) and set(value) != {"mean", "low", "high"}:
            rows += _flat(value, f"{prefix}{name} ")
        elif isinstance(value, list) and value and isinstance(value[0], Mapping):
            for number, one in enumerate(value):
                rows += _flat(one, f"{prefix}{name}[{number}] ")
        else:
            rows.append((f"{prefix}{name}", value))
    return rows
