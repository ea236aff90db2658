"""Which events a model may learn from and which it is asked for."""

from typing import NamedTuple

import numpy as np

from shared.contracts.errors import Invalid
from shared.learning.arrays import Bools, Ints
from shared.learning.features.interactions import Interactions


class Split(NamedTuple):
    """Events to learn from and events to predict; both keep the numbering of the whole."""

    train: Interactions
    test: Interactions


def by_time(events: Interactions, cut_s: float) -> Split:
    """Put events at or after `cut_s` into the test: the only split without a look ahead."""
    later = events.time_s >= cut_s
    return Split(events.where(~later), events.where(later))


def by_time_share(events: Interactions, test_share: float) -> Split:
    """Cut at the time after which about `test_share` of the events lie."""
    if not 0 < test_share < 1:
        raise Invalid("must lie between 0 and 1", field="test_share")
    if len(events) == 0:
        return Split(events, events)
    return by_time(events, float(np.quantile(events.time_s, 1 - test_share)))


def leave_last_out(events: Interactions, last: int = 1) -> Split:
    """Put the `last` newest events of every user with more than that into the test."""
    ordered = events.ordered()
    counts = np.bincount(ordered.user, minlength=events.n_users)
    age = np.cumsum(counts)[ordered.user] - 1 - np.arange(len(ordered))
    test = (age < last) & (counts[ordered.user] > last)
    return Split(ordered.where(~test), ordered.where(test))


def random_per_user(events: Interactions, test_share: float, *, seed: int) -> Split:
    """Put a random `test_share` of each user's events, rounded, into the test."""
    order = np.lexsort((np.random.default_rng(seed).random(len(events)), events.user))
    counts = np.bincount(events.user, minlength=events.n_users)
    place = np.empty(len(events), dtype=np.int64)
    place[order] = np.arange(len(events)) - (np.cumsum(counts) - counts)[events.user[order]]
    test = place < np.rint(test_share * counts)[events.user]
    return Split(events.where(~test), events.where(test))


def folds(n: int, count: int, *, seed: int) -> list[Bools]:
    """Return `count` masks of n events that share out the events at random, alike in size."""
    place: Ints = np.random.default_rng(seed).permutation(n) % count
    return [place == fold for fold in range(count)]
