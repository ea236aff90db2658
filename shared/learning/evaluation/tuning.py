"""Random search for settings (Bergstra and Bengio 2012), stopped when it no longer helps."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Generic, TypeVar

import numpy as np

from shared.contracts.errors import Invalid

S = TypeVar("S")


@dataclass(frozen=True)
class Tuned(Generic[S]):
    """The best settings, their validation score, and every trial in the order made."""

    best: S
    score: float
    trials: tuple[tuple[S, float], ...]


def random_search(
    start: S,
    draw: Callable[[np.random.Generator, S], S],
    score: Callable[[S], float],
    *,
    trials: int,
    patience: int,
    seed: int,
) -> Tuned[S]:
    """Score the start and then drawn settings; keep the best.

    Parameters
    ----------
    start : settings
        Tried first, so that the result is never worse than the defaults.
    draw : callable
        (generator, best so far) to new settings.
    score : callable
        Settings to their score on validation events, higher is better; never on test events.
    trials, patience : int
        Stop after so many trials, or so many in a row without a new best.
    seed : int
        Of the drawing; the same seed tries the same settings.
    """
    if trials < 1 or patience < 1:
        raise Invalid("trials and patience must be positive")
    rng = np.random.default_rng(seed)
    best, top = start, score(start)
    done = [(start, top)]
    idle = 0
    while len(done) < trials and idle < patience:
        settings = draw(rng, best)
        value = score(settings)
        done.append((settings, value))
        idle += 1
        if value > top:
            best, top, idle = settings, value, 0
    return Tuned(best, top, tuple(done))


def log_uniform(rng: np.random.Generator, low: float, high: float) -> float:
    """Draw a number whose logarithm is uniform between those of `low` and `high`."""
    return float(np.exp(rng.uniform(np.log(low), np.log(high))))


def near(
    rng: np.random.Generator, value: float, spread: float, *, low: float, high: float
) -> float:
    """Draw around `value` by a factor of about ``1 ± spread``, within the bounds."""
    return float(np.clip(value * np.exp(rng.normal(0, spread)), low, high))


def describe(settings: object) -> Mapping[str, object]:
    """Return the fields of settings, for a report."""
    return dict(vars(settings))
