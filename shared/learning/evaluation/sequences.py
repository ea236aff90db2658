"""Next-item prediction on sequences: leave the last item out, rank all others."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from shared.contracts.errors import Invalid
from shared.learning.arrays import Floats, Ints
from shared.learning.evaluation.judge import Questions
from shared.learning.evaluation.metrics import Lists, ndcg
from shared.learning.evaluation.tuning import Tuned, log_uniform, random_search
from shared.learning.features.history import History
from shared.learning.features.interactions import Interactions
from shared.learning.models.ids import IdIndex
from shared.learning.models.slim import LocalSlim, SlimSettings

PLACES = 10
"""Length of the lists that are judged."""


@dataclass(frozen=True)
class Sequences:
    """Each user's items in the order of time.

    Parameters
    ----------
    items : IdIndex
        Ids in the order in which they first occur.
    of_user : sequence of integers
        One array a user.
    """

    items: IdIndex
    of_user: Sequence[Ints]

    def __post_init__(self) -> None:
        if not any(len(sequence) > 2 for sequence in self.of_user):
            raise Invalid("no user has the three items that training, validation and test need")

    @classmethod
    def read(cls, lines: Iterable[str]) -> "Sequences":
        """Read lines of ``user item item …`` divided by white space; blank lines are skipped.

        Raises
        ------
        Invalid
            A line without item, a user on two lines, or nobody with three items.
        """
        numbers: dict[str, int] = {}
        seen: set[str] = set()
        rows = []
        for place, line in enumerate(lines, start=1):
            user, *items = line.split() or [""]
            if not user:
                continue
            if not items or user in seen:
                raise Invalid(
                    f"user {user} " + ("comes twice" if items else "has no item"),
                    field=f"line {place}",
                )
            seen.add(user)
            row = [numbers.setdefault(item, len(numbers)) for item in items]
            rows.append(np.array(row, dtype=np.int32))
        return cls(IdIndex(numbers), rows)

    def without_last(self, n: int) -> Interactions:
        """Return all events but the last `n` of users who have three or more."""
        cut = [s[: len(s) - n] if len(s) > 2 else s for s in self.of_user]
        return Interactions.of_sequences(cut, len(self.items))

    def question(self, place: int) -> Questions:
        """Ask for the item `place` from the end, given what came before; -1 is the last one."""
        asked = [s for s in self.of_user if len(s) > 2 and s[place] not in s[:place]]
        if not asked:
            raise Invalid("every item to predict was seen before, so there is nothing to rank")
        return Questions(
            [History.sequence(s[:place]) for s in asked], [s[place:][:1] for s in asked]
        )


@dataclass(frozen=True)
class SequenceResult:
    """Settings chosen on validation items, and the lists made for the test items.

    Parameters
    ----------
    tuned : Tuned
    refit : Lists
        By weights learnt from everything but the test items.
    strict : Lists
        By weights that never saw the validation items, though the histories hold them.
    popularity : (n_items,) floats
        Events of each item in what `refit` learnt from.
    """

    tuned: Tuned[SlimSettings]
    refit: Lists
    strict: Lists
    popularity: Floats


def evaluate(
    sequences: Sequences, *, trials: int = 10, sample: int = 6000, seed: int = 0
) -> SequenceResult:
    """Tune on the second-last items, then judge once on the last.

    Parameters
    ----------
    sequences : Sequences
        At least one user with three items.
    trials : int
        At most so many settings are tried.
    sample : int
        Users on whom a trial is scored; the test asks all.
    seed : int
        Of drawing users and settings.
    """
    early, late = sequences.without_last(2), sequences.without_last(1)
    validation = sequences.question(-2).sample(sample, seed=seed)

    def score(settings: SlimSettings) -> float:
        lists = validation.ask(LocalSlim.fit(early, settings).scores, PLACES)
        return float(ndcg(lists, PLACES).mean())

    tuned = random_search(
        SlimSettings(), draw_slim, score, trials=trials, patience=trials, seed=seed
    )
    test = sequences.question(-1)
    return SequenceResult(
        tuned,
        test.ask(LocalSlim.fit(late, tuned.best).scores, PLACES),
        test.ask(LocalSlim.fit(early, tuned.best).scores, PLACES),
        np.bincount(late.item, minlength=late.n_items).astype(np.float64),
    )


def draw_slim(rng: np.random.Generator, best: SlimSettings) -> SlimSettings:
    """Draw settings, half of the time around the best ones so far."""
    if rng.random() < 0.5:
        return replace(
            best,
            ridge=float(np.clip(best.ridge * np.exp(rng.normal(0, 0.4)), 1, 1000)),
            order=float(np.clip(best.order + rng.normal(0, 0.1), 0, 1)),
            recency=float(np.clip(best.recency + rng.normal(0, 0.08), 0.3, 1)),
        )
    return SlimSettings(
        neighbours=int(rng.choice([50, 75, 100])),
        ridge=log_uniform(rng, 20, 200),
        order=float(rng.uniform(0.3, 0.9)),
        window=int(rng.choice([5, 10])),
        recency=float(rng.uniform(0.5, 0.9)),
    )
