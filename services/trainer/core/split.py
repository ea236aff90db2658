"""Past and future: what a model may see, and what it is asked about."""

import numpy as np

from shared.learning.evaluation.judge import Questions
from shared.learning.evaluation.splits import Split, by_time
from shared.learning.features.interactions import Interactions

DAY_S = 86_400.0
TEST_SHARE = 0.1
LONGEST_TEST_S = 28 * DAY_S


def split(events: Interactions) -> tuple[Split, float]:
    """Put the newest tenth of the events, at most 28 days, into the future; return the cut too."""
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
    chosen = np.zeros(past.n_users, dtype=bool)
    chosen[drawn[: 2 * limit]] = True
    wanted = future.where(chosen[future.user] & (future.weight > 0))
    asked = Questions.of(past.where(chosen[past.user]), wanted).sample(limit, seed=seed)
    return Questions([h.newest(max_history) for h in asked.histories], asked.relevant)
