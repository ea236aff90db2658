"""One request from beginning to end: candidates, blend, filters, rerank, explore."""

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.random import Generator

from services.recommender.core import candidates, explore, filters
from services.recommender.core.blend import blend
from services.recommender.core.ladder import rung_of
from services.recommender.core.person import Person
from services.recommender.core.query import Query, Rules
from services.recommender.core.rerank import reranked
from services.recommender.core.shelf import Shelf
from services.recommender.core.source import Few, Source
from shared.contracts.events import Candidate
from shared.contracts.events.decisions import Rung
from shared.learning.arrays import Floats, Ints
from shared.learning.models.ranking import best

_COMPARED = 4
DECIMALS = 6
"""Of the parts of a score that are told."""


@dataclass(frozen=True)
class Answer:
    """A list and how it came about.

    Attributes
    ----------
    shown : list of Candidate
        Best first; `sources` of each add up to its `score`.
    withheld : mapping
        Reason to how many items it kept out: of all that the request asks for, and for
        ``unavailable`` of the best candidates.
    considered : int
        Candidates that were filtered and reranked.
    factors : mapping
        Source to what its scores were multiplied with; with the history and the release they
        are all that is needed to explain the list.
    personalised : bool
        Whether the shopper's own history had a say.
    reason : str or None
        Why the list is empty or short, in words.
    """

    shown: list[Candidate]
    withheld: Mapping[str, int]
    considered: int
    factors: Mapping[str, float]
    personalised: bool
    rung: Rung
    reason: str | None


@dataclass(frozen=True)
class _Pool:
    """What is left after the filters, best first."""

    numbers: Ints
    scores: Floats
    withheld: Mapping[str, int]


def answer(
    shelf: Shelf, query: Query, person: Person, rules: Rules, *, now_s: float, rng: Generator
) -> Answer:
    """Return the list for one request; about 0.3 ms for 20,000 items and 50 events."""
    history = candidates.history_of(person, query.anchors, shelf, rules, now_s)
    bought = shelf.numbered(person.bought)
    models = candidates.personal(shelf, history, bought)
    wanted = candidates.repeat(shelf, bought, rules, now_s)
    alike = None if len(history) else candidates.same_category(shelf, query)
    others = [source for source in (wanted, alike) if source is not None]
    total = blend(shelf, [*models, *others])
    if query.scenario == "again":
        total = _only(total, list(bought))
    if query.filtered:
        total[~filters.narrowed(shelf, query)] = -np.inf
    pool = _pool(shelf, total, filters.withheld(shelf, query, person, bought, rules), query, rules)
    chosen = _ranked(shelf, pool, query, rules)
    cold = _cold(shelf, total, chosen, query)
    sources = [*models, *others, *shelf.everybody]
    shown = _shown(shelf, chosen, cold, sources, rules.explore, rng)
    return Answer(
        shown=shown,
        withheld=pool.withheld,
        considered=len(pool.numbers),
        factors={source.name: source.factor for source in sources},
        personalised=wanted is not None or (bool(models) and candidates.knows(shelf, person)),
        rung=rung_of(shelf.rung, modelled=bool(models), popular=shelf.popular),
        reason=_reason(shelf, query, person, len(shown)),
    )


def _only(total: Floats, numbers: list[int]) -> Floats:
    kept = np.full_like(total, -np.inf)
    kept[numbers] = total[numbers]
    return kept


def _pool(
    shelf: Shelf, total: Floats, withheld: Mapping[str, Ints], query: Query, rules: Rules
) -> _Pool:
    """Take the best, without what must not be shown; `total` loses what was withheld."""
    counts = {
        reason: int(np.count_nonzero(total[numbers] > -np.inf))
        for reason, numbers in withheld.items()
    }
    for numbers in withheld.values():
        total[numbers] = -np.inf
    numbers = best(total, rules.pool)
    may = shelf.open(numbers)
    counts["unavailable"] = len(numbers) - int(np.count_nonzero(may))
    if len(numbers) - counts["unavailable"] < min(2 * query.k, len(numbers)):
        # So much of the top is out of stock that only a look at everything will do.
        total[~shelf.open(np.arange(len(shelf)))] = -np.inf
        numbers = best(total, rules.pool)
    else:
        numbers = numbers[may]
    told = {reason: count for reason, count in counts.items() if count}
    return _Pool(numbers, total[numbers], told)


def _ranked(shelf: Shelf, pool: _Pool, query: Query, rules: Rules) -> list[int]:
    """Return the chosen numbers; caps and diversity are for lists that mean to show a choice."""
    if query.scenario == "again" or len(pool.numbers) == 0:
        return [int(number) for number in pool.numbers[: query.k]]
    cap = query.k if query.category else max(math.ceil(query.k * rules.category_share), 1)
    paths = shelf.path[pool.numbers]
    # Diversity looks at the best few; the caps may have to look further.
    near = pool.numbers[: _COMPARED * query.k]
    counts = np.bincount(paths[: len(near)])
    if counts[0] + np.minimum(counts[1:], cap).sum() < query.k:
        near = pool.numbers
    places = reranked(
        pool.scores[: len(near)] / max(float(pool.scores[0]), 1e-12),
        paths[: len(near)],
        query.k,
        cap=cap,
        diversity=rules.diversity,
        vectors=_vectors(shelf, near) if rules.diversity else None,
    )
    chosen: list[int] = near[places].tolist()
    return chosen


def _vectors(shelf: Shelf, numbers: Ints) -> Floats | None:
    if shelf.vectors is None:
        return None
    known = numbers < len(shelf.vectors)
    if known.all():
        return shelf.vectors[numbers]
    return np.where(known[:, None], shelf.vectors[np.where(known, numbers, 0)], np.float32(0))


def _cold(shelf: Shelf, total: Floats, chosen: list[int], query: Query) -> list[int]:
    """Return what may be tried out on the last place: new, allowed, and not shown above it.

    Uses `total` up.
    """
    if query.scenario == "again" or len(chosen) < 2 or len(shelf.cold) == 0:
        return []
    total[chosen[:-1]] = -np.inf
    cold: list[int] = shelf.cold[(total[shelf.cold] > -np.inf) & shelf.open(shelf.cold)].tolist()
    return cold


def _shown(
    shelf: Shelf,
    chosen: list[int],
    cold: list[int],
    sources: list[Source | Few],
    share: float,
    rng: Generator,
) -> list[Candidate]:
    if not chosen:
        return []
    last = explore.last_place(chosen[-1], cold, share, rng)
    numbers = [*chosen[:-1], last.number]
    said = [(s.name, parts) for s in sources if any(parts := s.at(numbers))]
    propensities = [1.0] * (len(numbers) - 1) + [last.propensity]
    shown = []
    for place, number in enumerate(numbers):
        told = {name: part for name, parts in said if (part := round(parts[place], DECIMALS))}
        item = shelf.item(number)
        shown.append(Candidate(item, place, math.fsum(told.values()), propensities[place], told))
    return shown


def _reason(shelf: Shelf, query: Query, person: Person, shown: int) -> str | None:
    if shown >= query.k:
        return None
    if not shelf.catalog.known.any():
        return "the catalogue is empty"
    if query.scenario == "again" and not person.bought:
        return "nothing was bought yet" if person.personalised else "purchases are not used"
    return f"only {shown} items pass the filters" if shown else "no item passes the filters"
