"""Whether a candidate may replace the release in service."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal

from msgspec import Struct

from shared.learning.arrays import Floats
from shared.learning.evaluation import gate
from shared.learning.evaluation.bootstrap import Interval
from shared.learning.evaluation.gate import Guardrail, Margin, Measure

Decision = Literal["promote", "refuse"]
POPULARITY = "popularity"
"""What a first release is held against."""
MIN_QUESTIONS = 50
"""Below this the noise is larger than any difference worth having."""


GUARDRAILS: Mapping[str, Guardrail] = MappingProxyType(
    {
        "coverage": Guardrail(share_of_current=0.5),
        # Not a fixed floor: there are shops of which a hundredth of the items makes most of the sales.
        "variety": Guardrail(share_of_current=0.5),
    }
)
"""Side metrics and their bounds. coverage: share of the items ever shown. variety: share of the
places that do not go to the most popular hundredth of the items."""


class Side(Struct, frozen=True, kw_only=True):
    """A side metric of candidate and reference, and what the candidate's must reach.

    `low` and `high` bound the interval of how far it lies above that.
    """

    candidate: float
    reference: float
    bound: float
    low: float
    high: float


class Verdict(Struct, frozen=True, kw_only=True):
    """What the gate decided, and why; `difference` is candidate minus reference in nDCG@10."""

    decision: Decision
    reasons: tuple[str, ...]
    reference: str
    difference: float
    low: float
    high: float
    questions: int
    sides: dict[str, Side] = {}

    @property
    def passed(self) -> bool:
        """Whether the candidate may be promoted."""
        return self.decision == "promote"


@dataclass(frozen=True)
class Contest:
    """A candidate and what it is held against.

    Parameters
    ----------
    reference : str
        Name of the other side: a version, or ``popularity`` for a first release.
    candidate, other : (n_questions,) floats
        nDCG@10 of both sides for the same shoppers.
    sides : mapping
        Side metric to how it is measured of candidate and other, higher is better.
    due : sequence of str
        Reasons to renew a release that is as good: its age, a request, an erasure.
    forced : bool
        Whoever asked for the job takes the responsibility; a refusal is only noted.
    """

    reference: str
    candidate: Floats
    other: Floats
    sides: Mapping[str, Measure]
    due: Sequence[str] = ()
    forced: bool = False


def judge(contest: Contest, *, seed: int) -> Verdict:
    """Promote what is better by more than noise, or as good within noise and due; else refuse.

    Noise is the 95 % bootstrap interval of the shoppers' paired differences; so it is for the
    guardrails, which refuse only what lies below its bound with the whole interval. With too few
    shoppers to tell, a candidate passes if it is due.
    """
    n = len(contest.candidate)
    if n < MIN_QUESTIONS:
        reason = f"only {n} shoppers could be asked; {MIN_QUESTIONS} are needed to tell"
        return _verdict(contest, gate.Verdict(True, Interval(0, 0, 0), (), {}), [reason])
    rails = {} if contest.reference == POPULARITY else GUARDRAILS
    found = gate.judge(
        contest.candidate, contest.other, sides=contest.sides, guardrails=rails, seed=seed
    )
    if not found.passed:
        return _verdict(contest, found, found.reasons)
    how = "better than {} by more than" if found.difference.low > 0 else "as good as {} within"
    return _verdict(contest, found, [how.format(contest.reference) + " noise"])


def _verdict(contest: Contest, found: gate.Verdict, reasons: Sequence[str]) -> Verdict:
    promoted = found.passed and (found.difference.low > 0 or bool(contest.due))
    told = [*reasons, *contest.due] if promoted else [*reasons]
    if not promoted and contest.forced:
        promoted, told = True, [*told, "forced by whoever asked for the job"]
    return Verdict(
        decision="promote" if promoted else "refuse",
        reasons=tuple(told),
        reference=contest.reference,
        difference=found.difference.mean,
        low=found.difference.low,
        high=found.difference.high,
        questions=len(contest.candidate),
        sides={name: _side(margin) for name, margin in found.margins.items()},
    )


def _side(margin: Margin) -> Side:
    return Side(
        candidate=margin.value,
        reference=margin.current,
        bound=margin.bound,
        low=margin.above.low,
        high=margin.above.high,
    )
