"""Past and future: what a model may see, and what it is asked about."""

import numpy as np

from shared.learning.arrays import Ints
from shared.learning.evaluation.judge import Questions
from shared.learning.evaluation.splits import Split, by_time
from shared.learning.features.interactions import Interactions

DAY_S = 86_400.0
TEST_SHARE = 0.1
LONGEST_TEST_S = 28 * DAY_S


def split(events: Interactions) -> tuple[Split, float]:
    """Put the newest tenth of the events, at most 28 days, into the future; return the cut too.

    Where they all happened at one moment, all are the future.
    """
    if len(events) == 0:
        return Split(events, events), 0.0
    newest = float(events.time_s.max())
    cut_s = max(float(np.quantile(events.time_s, 1 - TEST_SHARE)), newest - LONGEST_TEST_S)
    return by_time(events, cut_s), cut_s


def questions(parts: Split, *, limit: int, seed: int, max_history: int = 200) -> Questions:
    """Ask up to `limit` shoppers with a past for what they liked in the future and had not met."""
    past, future = parts
    known = np.bincount(past.user, minlength=past.n_users) > 0
    able = np.flatnonzero(np.bincount(future.user, future.weight > 0, past.n_users) * known)
    drawn = np.random.default_rng(seed).permutation(able)
    # Some met all of it before, so a few more are drawn than are asked.
    chosen = np.sort(drawn[: 2 * limit])
    wanted = _of_users(future.where(future.weight > 0), chosen)
    asked = Questions.of(_of_users(past, chosen), wanted).sample(limit, seed=seed)
    return Questions([h.newest(max_history) for h in asked.histories], asked.relevant)


def _of_users(events: Interactions, users: Ints) -> Interactions:
    """Return the events of `users` (rising), who are numbered anew in their order."""
    number = np.full(events.n_users, -1, dtype=np.int32)
    number[users] = np.arange(len(users))
    theirs = number[events.user]
    kept = theirs >= 0
    return Interactions(
        theirs[kept],
        events.item[kept],
        events.time_s[kept],
        events.weight[kept],
        len(users),
        events.n_items,
    )
