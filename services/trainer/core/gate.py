"""Whether a candidate may replace the release in service."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal

from msgspec import Struct

from shared.learning.arrays import Floats
from shared.learning.evaluation import gate
from shared.learning.evaluation.bootstrap import Interval
from shared.learning.evaluation.gate import Guardrail

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


class Verdict(Struct, frozen=True, kw_only=True):
    """What the gate decided, and why; `difference` is candidate minus reference in nDCG@10."""

    decision: Decision
    reasons: tuple[str, ...]
    reference: str
    difference: float
    low: float
    high: float
    questions: int

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
        Side metric to the values of candidate and other, higher is better.
    due : sequence of str
        Reasons to renew a release that is as good: its age, a request, an erasure.
    forced : bool
        Whoever asked for the job takes the responsibility; a refusal is only noted.
    """

    reference: str
    candidate: Floats
    other: Floats
    sides: Mapping[str, tuple[float, float]]
    due: Sequence[str] = ()
    forced: bool = False


def judge(contest: Contest, *, seed: int) -> Verdict:
    """Promote what is better by more than noise, or as good within noise and due; else refuse.

    Noise is the 95 % bootstrap interval of the shoppers' paired differences. With too few
    shoppers to tell, a candidate passes if it is due.
    """
    n = len(contest.candidate)
    if n < MIN_QUESTIONS:
        reason = f"only {n} shoppers could be asked; {MIN_QUESTIONS} are needed to tell"
        return _verdict(contest, Interval(0.0, 0.0, 0.0), _if_due(contest), [reason])
    rails = {} if contest.reference == POPULARITY else GUARDRAILS
    found = gate.judge(
        contest.candidate, contest.other, sides=contest.sides, guardrails=rails, seed=seed
    )
    if not found.passed:
        return _verdict(contest, found.difference, "refuse", found.reasons)
    if found.difference.low > 0:
        reason = f"better than {contest.reference} by more than noise"
        return _verdict(contest, found.difference, "promote", [reason])
    reason = f"as good as {contest.reference} within noise"
    return _verdict(contest, found.difference, _if_due(contest), [reason])


def _if_due(contest: Contest) -> Decision:
    return "promote" if contest.due else "refuse"


def _verdict(
    contest: Contest, difference: Interval, decision: Decision, reasons: Sequence[str]
) -> Verdict:
    told = [*reasons, *contest.due] if decision == "promote" else [*reasons]
    if decision == "refuse" and contest.forced:
        decision, told = "promote", [*told, "forced by whoever asked for the job"]
    return Verdict(
        decision=decision,
        reasons=tuple(told),
        reference=contest.reference,
        difference=difference.mean,
        low=difference.low,
        high=difference.high,
        questions=len(contest.candidate),
    )
