"""Rankings and predicted ratings on a table of ratings."""

import csv
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace

import numpy as np

from shared.contracts.errors import Invalid
from shared.learning.arrays import Floats
from shared.learning.evaluation.judge import Questions
from shared.learning.evaluation.metrics import Lists, ndcg
from shared.learning.evaluation.splits import Split, folds, random_per_user
from shared.learning.evaluation.tuning import Tuned, random_search
from shared.learning.features.interactions import Interactions
from shared.learning.models.biased_factors import BiasedFactors, RatingSettings
from shared.learning.models.blend import Blend
from shared.learning.models.ials import Ials, IalsSettings
from shared.learning.models.slim import LocalSlim, SlimSettings

PLACES = 10
"""Length of the lists that are judged."""

ALL = 1_000_000
"""No cap: without an order, the newest events of a user are no better than the others."""


def read_ratings(lines: Iterable[str]) -> Interactions:
    """Read ``user, item, rating[, time]`` divided by tabs or commas, with or without a header.

    A header's names may carry a type (``user_id:token``). The weight is the rating; without
    time all events have time 0.

    Raises
    ------
    Invalid
        A row with too few columns or a rating or time that is no finite number.
    """
    users: dict[str, int] = {}
    items: dict[str, int] = {}
    rows = [
        (users.setdefault(user, len(users)), items.setdefault(item, len(items)), rating, time)
        for user, item, rating, time in _parsed(lines)
    ]
    if not rows:
        raise Invalid("the file holds no rating")
    table = np.array(rows, dtype=np.float64)
    user, item = table[:, 0].astype(np.int32), table[:, 1].astype(np.int32)
    return Interactions(user, item, table[:, 3], table[:, 2], len(users), len(items))


def _parsed(lines: Iterable[str]) -> Iterator[tuple[str, str, float, float]]:
    stream = iter(lines)
    first = next(stream, "")
    delimiter = "\t" if "\t" in first else ","
    for place, row in enumerate(csv.reader(_chained(first, stream), delimiter=delimiter), start=1):
        if not row or (place == 1 and not _is_number(row[2:3])):
            continue
        if len(row) < 3:
            raise Invalid("expected user, item and rating", field=f"line {place}")
        if not _is_number(row[2:4]):
            raise Invalid("rating and time must be finite numbers", field=f"line {place}")
        yield row[0], row[1], float(row[2]), float(row[3]) if len(row) > 3 else 0.0


def _chained(first: str, rest: Iterator[str]) -> Iterator[str]:
    yield first
    yield from rest


def _is_number(cells: list[str]) -> bool:
    try:
        return bool(cells) and bool(np.isfinite([float(cell) for cell in cells]).all())
    except ValueError:
        return False


_INNER = 3
"""Held-out tenths that settings are judged by."""

START_IALS = IalsSettings(
    factors=32, unobserved=0.4, regularisation=0.012, iterations=10, max_history=ALL
)
START_SLIM = SlimSettings(neighbours=2000, ridge=400, order=0, recency=1, window=1, max_history=ALL)


@dataclass(frozen=True)
class BlendSettings:
    """Settings of iALS and SLIM together; `slim_share` is SLIM's share of the blend."""

    ials: IalsSettings = START_IALS
    slim: SlimSettings = START_SLIM
    slim_share: float = 0.2


@dataclass(frozen=True)
class RankingResult:
    """One random split: settings chosen inside its training part, lists for its test part."""

    tuned: Tuned[BlendSettings]
    lists: Lists
    popularity: Floats


def evaluate_ranking(ratings: Interactions, *, trials: int, seed: int) -> RankingResult:
    """Hold out a random quarter of each user's items; whoever rated an item wanted it.

    Parameters
    ----------
    ratings : Interactions
        Their values and times are not looked at.
    trials : int
        At most so many settings are tried inside the training part.
    seed : int
        Of the splits, the drawing and the models.

    Raises
    ------
    Invalid
        So few ratings that nothing can be held out.
    """
    wanted = replace(ratings, weight=np.ones(len(ratings)))
    split = random_per_user(wanted, 0.25, seed=seed)
    questions = _questions(split)
    tuned = tune(split.train, trials=trials, seed=seed)
    model = fit_blend(split.train, tuned.best, seed=seed)
    lists = questions.ask(model.scores, PLACES)
    popularity = np.bincount(split.train.item, minlength=ratings.n_items)
    return RankingResult(tuned, lists, popularity.astype(np.float64))


def tune(events: Interactions, *, trials: int, seed: int) -> Tuned[BlendSettings]:
    """Choose iALS's settings, then SLIM's ridge, then their shares.

    Each is judged by the mean over random tenths of the events that are held out in turn: one
    tenth alone is too noisy to tell good settings apart.
    """
    tenths = [random_per_user(events, 0.1, seed=seed + n) for n in range(1, _INNER + 1)]
    inner = [(split.train, _questions(split)) for split in tenths]

    def score(fit: Callable[[Interactions], Ials | LocalSlim | Blend]) -> float:
        lists = [questions.ask(fit(train).scores, PLACES) for train, questions in inner]
        return float(np.mean([ndcg(one, PLACES).mean() for one in lists]))

    ials = random_search(
        START_IALS,
        draw_ials,
        lambda settings: score(lambda train: Ials.fit(train, settings, seed=seed)),
        trials=trials,
        patience=trials,
        seed=seed,
    ).best
    ridges = [replace(START_SLIM, ridge=ridge) for ridge in (400.0, 800.0)]
    slim = max(ridges, key=lambda one: score(lambda train: LocalSlim.fit(train, one)))
    parts = {
        id(train): _fit_parts(train, BlendSettings(ials, slim), seed=seed) for train, _ in inner
    }
    tried = []
    for share in (0.0, 0.1, 0.2, 0.3, 0.5, 1.0):
        value = score(lambda train, s=share: _mix(parts[id(train)], s, train, seed=seed))  # type: ignore[misc]
        tried.append((BlendSettings(ials, slim, share), value))
    best, value = max(tried, key=lambda trial: trial[1])
    return Tuned(best, value, tuple(tried))


def _questions(split: Split) -> Questions:
    questions = Questions.of(split.train, split.test)
    if not questions.histories:
        raise Invalid("too few ratings: of no user can one be held out that may be shown")
    return questions


def draw_ials(rng: np.random.Generator, best: IalsSettings) -> IalsSettings:
    """Draw settings around the best ones so far; the two penalties act against each other."""
    return replace(
        best,
        factors=int(rng.choice([24, 32, 48])),
        unobserved=float(np.clip(best.unobserved * np.exp(rng.normal(0, 0.4)), 0.01, 2)),
        regularisation=float(np.clip(best.regularisation * np.exp(rng.normal(0, 0.3)), 1e-4, 1)),
    )


def fit_blend(train: Interactions, settings: BlendSettings, *, seed: int) -> Blend:
    """Fit both models and put them on one scale."""
    parts = _fit_parts(train, settings, seed=seed)
    return _mix(parts, settings.slim_share, train, seed=seed)


def _fit_parts(
    train: Interactions, settings: BlendSettings, *, seed: int
) -> dict[str, Ials | LocalSlim]:
    return {
        "ials": Ials.fit(train, settings.ials, seed=seed),
        "slim": LocalSlim.fit(train, settings.slim),
    }


def _mix(
    parts: dict[str, Ials | LocalSlim], slim_share: float, train: Interactions, *, seed: int
) -> Blend:
    histories = Questions.of(train, train, exclude_seen=False).sample(200, seed=seed).histories
    return Blend.fit(parts, {"ials": 1 - slim_share, "slim": slim_share}, histories)


@dataclass(frozen=True)
class ErrorResult:
    """Errors of predicted ratings, each made by a model that never saw the rating.

    Parameters
    ----------
    settings : tuple of RatingSettings
        Chosen for each fold inside its training part.
    squared : (n,) floats
        Squared error of each rating.
    of_fold : (count,) floats
        Root mean squared error of each fold.
    """

    settings: tuple[RatingSettings, ...]
    squared: Floats
    of_fold: Floats

    @property
    def rmse(self) -> float:
        """Mean over the folds of the root mean squared error."""
        return float(self.of_fold.mean())


def evaluate_errors(ratings: Interactions, *, count: int = 5, seed: int = 0) -> ErrorResult:
    """Predict each of `count` random folds from the others; Invalid for fewer ratings than folds."""
    if len(ratings) < count:
        raise Invalid(f"too few ratings: {count} folds need one each")
    squared = np.zeros(len(ratings))
    chosen, errors = [], []
    for test in folds(len(ratings), count, seed=seed):
        train = ratings.where(~test)
        settings = choose_factors(train, seed=seed)
        model = BiasedFactors.fit(train, settings, seed=seed)
        error = model.predict_many(ratings.user[test], ratings.item[test]) - ratings.weight[test]
        squared[test] = error**2
        chosen.append(settings)
        errors.append(np.sqrt((error**2).mean()))
    return ErrorResult(tuple(chosen), squared, np.array(errors))


def choose_factors(ratings: Interactions, *, seed: int) -> RatingSettings:
    """Return the number of factors that predicts a held-out tenth best; the scale is the data's."""
    low, high = float(ratings.weight.min()), float(ratings.weight.max())
    scale = RatingSettings(lowest=low, highest=max(high, low + 1e-6))
    held = folds(len(ratings), 10, seed=seed)[0]
    if held.all():
        return scale

    def error(settings: RatingSettings) -> float:
        model = BiasedFactors.fit(ratings.where(~held), settings, seed=seed)
        guess = model.predict_many(ratings.user[held], ratings.item[held])
        return float(((guess - ratings.weight[held]) ** 2).mean())

    return min((replace(scale, factors=d) for d in (5, 8, 12)), key=error)
