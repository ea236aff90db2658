"""Rating models put to the test: a random quarter of the ratings is held back."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from services.trainer.core.gate import Decision, Verdict
from shared.learning.arrays import Floats
from shared.learning.evaluation.bootstrap import Interval, mean_interval, paired_difference
from shared.learning.evaluation.splits import random_per_user
from shared.learning.features.interactions import Interactions
from shared.learning.models.biased_factors import BiasedFactors
from shared.learning.models.filled_svd import FilledSvd

TEST_SHARE = 0.25
LEAST = 50
"""Held-back ratings below which nothing can be told."""
DENSE_CELLS = 4_000_000
"""A filled matrix above this is not compared: 32 MB of floats."""
SVD_RANK = 3
ITEM_MEAN = "item-mean"


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

    def verdict(
        self, current: Mapping[str, Any] | None, *, due: Sequence[str], forced: bool
    ) -> Verdict:
        """Pass what predicts better than the items' means by more than noise, and is due or new.

        A release in service is always renewed by a due one: both are the same recipe.
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


def rating_trial(ratings: Interactions, *, seed: int) -> RatingTrial:
    """Fit on three quarters of each user's ratings, predict the rest."""
    train, test = random_per_user(ratings, TEST_SHARE, seed=seed)
    if len(train) == 0 or len(test) == 0:
        return RatingTrial({"candidate": np.zeros(0), ITEM_MEAN: np.zeros(0)}, seed)
    model = BiasedFactors.fit(train, seed=seed)
    predicted = {
        "candidate": model.predict_many(test.user, test.item),
        ITEM_MEAN: _item_means(train)[test.item],
    }
    if ratings.n_users * ratings.n_items <= DENSE_CELLS:
        rank = min(SVD_RANK, ratings.n_users, ratings.n_items)
        matrix = FilledSvd.fit(train, rank=rank, centre=True).matrix()
        predicted["filled-svd"] = matrix[test.user, test.item]
    return RatingTrial({n: (p - test.weight) ** 2 for n, p in predicted.items()}, seed)


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
