"""Rating models, and their test: a random quarter of the ratings is held back."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Annotated, Any, Literal

import numpy as np
from msgspec import Meta, Struct

from services.trainer.core.gate import Decision, Verdict
from shared.contracts.errors import Invalid
from shared.learning.arrays import Floats, Ints
from shared.learning.evaluation.bootstrap import Interval, mean_interval, paired_difference
from shared.learning.evaluation.splits import random_per_user
from shared.learning.features.interactions import Interactions
from shared.learning.models.biased_factors import BiasedFactors
from shared.learning.models.filled_svd import FilledSvd

RatingModel = BiasedFactors | FilledSvd
Kind = Literal["biased-factors", "filled-svd"]
TEST_SHARE = 0.25
LEAST = 50
"""Held-back ratings below which nothing can be told."""
DENSE_CELLS = 4_000_000
"""Largest matrix that is filled: 32 MB of floats."""
ITEM_MEAN = "item-mean"
LOWEST, HIGHEST = 1.0, 5.0


class RatingOptions(Struct, frozen=True, kw_only=True):
    """Which model of ratings is released.

    `biased-factors` learns its regularisation and knows nothing of gaps. `filled-svd` decomposes
    the filled matrix and keeps `rank` factors; right for small shops with few gaps, and easy to
    check by hand.
    """

    model: Kind = "biased-factors"
    rank: Annotated[int, Meta(ge=1, le=500)] = 3


def fit(ratings: Interactions, options: RatingOptions, *, seed: int) -> RatingModel:
    """Return the model that the options ask for; the rank is cut to the sides of the matrix.

    Raises
    ------
    Invalid
        The matrix is too large to be filled.
    """
    if options.model == "biased-factors":
        return BiasedFactors.fit(ratings, seed=seed)
    cells = ratings.n_users * ratings.n_items
    if cells > DENSE_CELLS:
        raise Invalid(
            f"{ratings.n_users} shoppers x {ratings.n_items} items are too many to fill the "
            "matrix of their ratings: use biased-factors"
        )
    return FilledSvd.fit(ratings, rank=min(options.rank, ratings.n_users, ratings.n_items))


def predictions(model: RatingModel, users: Ints, items: Ints) -> Floats:
    """Return the predicted ratings of these pairs, within the scale."""
    if isinstance(model, BiasedFactors):
        return model.predict_many(users, items)
    return np.clip(model.matrix()[users, items], LOWEST, HIGHEST)


@dataclass(frozen=True)
class RatingTrial:
    """Squared errors of each model on the ratings that were held back.

    Parameters
    ----------
    errors : mapping
        Model to (n,) squared errors; ``candidate`` and ``item-mean`` among them.
    """

    errors: Mapping[str, Floats]
    seed: int

    def verdict(self, *, due: Sequence[str], forced: bool) -> Verdict:
        """Pass what predicts better than the items' means by more than noise, or as well and is due.

        Ratings have no time of their own to be split by, so that the release in service has seen
        what is held back; its recipe is the candidate's.
        """
        n = len(self.errors["candidate"])
        if n < LEAST:
            found = Interval(0.0, 0.0, 0.0)
            passed = bool(due)
            reasons = [f"only {n} ratings could be held back; {LEAST} are needed to tell", *due]
        else:
            found = paired_difference(
                self.errors[ITEM_MEAN], self.errors["candidate"], seed=self.seed
            )
            passed = found.high >= 0 and (found.low > 0 or bool(due))
            reasons = [_said(found), *(due if passed else ())]
        if forced and not passed:
            passed, reasons = True, [*reasons, "forced by whoever asked for the job"]
        decision: Decision = "promote" if passed else "refuse"
        return Verdict(
            decision=decision,
            reasons=tuple(reasons),
            reference=ITEM_MEAN,
            difference=found.mean,
            low=found.low,
            high=found.high,
            questions=n,
        )

    def offline(self) -> dict[str, Any]:
        """Return each model's root mean squared error with its interval."""
        return {
            name: {"rmse": _root(mean_interval(errors, seed=self.seed))}
            for name, errors in self.errors.items()
            if len(errors)
        }

    def metrics(self) -> dict[str, float]:
        """Return the candidate's error as plain numbers."""
        rmse = self.offline().get("candidate", {}).get("rmse", {})
        return {f"rmse_{bound}": value for bound, value in rmse.items()}


def rating_trial(ratings: Interactions, options: RatingOptions, *, seed: int) -> RatingTrial:
    """Fit on three quarters of each user's ratings, predict the rest."""
    train, test = random_per_user(ratings, TEST_SHARE, seed=seed)
    if len(train) == 0 or len(test) == 0:
        return RatingTrial({"candidate": np.zeros(0), ITEM_MEAN: np.zeros(0)}, seed)
    predicted = {
        "candidate": predictions(fit(train, options, seed=seed), test.user, test.item),
        ITEM_MEAN: _item_means(train)[test.item],
    }
    for other in OTHERS:
        if other != options and _affordable(other, ratings):
            model = fit(train, other, seed=seed)
            predicted[other.model] = predictions(model, test.user, test.item)
    return RatingTrial({n: (p - test.weight) ** 2 for n, p in predicted.items()}, seed)


OTHERS = (RatingOptions(), RatingOptions(model="filled-svd"))
"""What a candidate is compared with, beside the items' means."""


def _affordable(options: RatingOptions, ratings: Interactions) -> bool:
    return options.model != "filled-svd" or ratings.n_users * ratings.n_items <= DENSE_CELLS


def _item_means(ratings: Interactions) -> Floats:
    counts = np.bincount(ratings.item, minlength=ratings.n_items)
    total = np.bincount(ratings.item, weights=ratings.weight, minlength=ratings.n_items)
    mean = float(ratings.weight.mean())
    return np.where(counts > 0, total / np.maximum(counts, 1), mean)


def _said(found: Interval) -> str:
    if found.low > 0:
        return "predicts better than the items' means by more than noise"
    if found.high < 0:
        return "predicts worse than the items' means by more than noise"
    return "predicts as well as the items' means within noise"


def _root(interval: Interval) -> dict[str, float]:
    return {name: float(np.sqrt(value)) for name, value in asdict(interval).items()}
