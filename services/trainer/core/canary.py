"""Whether a canary does harm, from counts that may be looked at as often as one likes.

Chance puts a shopper among those who get the canary, with a known probability. If it makes no
difference, then of all shoppers to whom something happened (a click, say) each is one of the
canary's with just that probability, whatever the hour, the season and the shopper: a coin of known
weight. What speaks against the coin is measured by a likelihood ratio, mixed over a beta
distribution of weights; it is a martingale, so that it exceeds 1/alpha at any time at all with
probability alpha at most (Ville's inequality). Lindon and Malek (2022), Anytime-Valid Inference for
Multinomial Count Data, NeurIPS 35, sections 2 to 4.

A shopper counts once, the first time: that is what was drawn by chance. Their further clicks are
no further draws, and taking them for such would raise false alarms.
"""

import math
from collections.abc import Callable, Sequence
from typing import Literal

from msgspec import Struct

ALPHA = 0.05
"""Probability of taking back a canary that does no harm, over all measures and all looks."""
SPREAD = 0.5
"""Standard deviation of the mixture, as the logarithm of the ratio: most changes lie within
a factor of e. It decides only how soon something is found, never how often falsely."""
_HALVINGS = 50

Action = Literal["promote", "take back", "wait"]
Better = Literal["more", "fewer"]


class Counts(Struct, frozen=True, kw_only=True):
    """How many shoppers something happened to at least once, in both groups.

    `better` says which way is good; `decides` that enough of it lets a canary pass, while the
    others only guard.
    """

    name: str
    canary: int = 0
    others: int = 0
    better: Better = "more"
    decides: bool = False


class Measured(Struct, frozen=True, kw_only=True):
    """Counts, and how many times as often it happened to the canary's shoppers as to the others.

    The bounds hold at all looks together; None means that there is no upper one.
    """

    name: str
    canary: int
    others: int
    ratio: float | None
    low: float
    high: float | None

    def __str__(self) -> str:
        ratio, high = ("?" if x is None else f"{x:.2f}" for x in (self.ratio, self.high))
        return f"{self.name} {ratio} times as often [{self.low:.2f}, {high}]"


class Finding(Struct, frozen=True, kw_only=True):
    """What is to be done with the canary, why, and the figures behind it."""

    action: Action
    reason: str
    measured: tuple[Measured, ...] = ()


def judge(counts: Sequence[Counts], *, share: float, margin: float) -> Finding:
    """Take back what is worse beyond doubt, promote what is not worse by `margin`, else wait.

    Parameters
    ----------
    counts : sequence of Counts
        One measure each; `ALPHA` is divided among them (Bonferroni).
    share : float
        Probability in (0, 1) with which a shopper is the canary's.
    margin : float
        In (0, 1): so much less often may the deciding measure happen to the canary's shoppers.
    """
    alpha = ALPHA / len(counts)
    measured = [_measured(one, share, alpha) for one in counts]
    worse = [str(m) for one, m in zip(counts, measured, strict=True) if _worse(one, m)]
    if worse:
        return _finding("take back", f"worse beyond doubt: {'; '.join(worse)}", measured)
    deciding = [m for one, m in zip(counts, measured, strict=True) if one.decides]
    told = "; ".join(map(str, deciding))
    if deciding and all(m.low >= 1 - margin for m in deciding):
        return _finding("promote", f"no harm found: {told}", measured)
    wanted = f"neither harm shown nor at least {1 - margin:.2f} times as often"
    return _finding("wait", f"{wanted}: {told}", measured)


def bounds(canary: int, others: int, *, share: float, alpha: float) -> tuple[float, float]:
    """Return the canary's share of the shoppers it happened to: bounds that hold at all times.

    They are where the mixture's likelihood ratio reaches 1/alpha.
    """
    n = canary + others
    if n == 0:
        return 0.0, 1.0
    observed, limit = canary / n, -math.log(alpha)

    def excess(weight: float) -> float:
        return log_evidence(canary, others, weight=weight, share=share) - limit

    low = _crossing(excess, 0.0, observed) if canary else 0.0
    high = _crossing(excess, 1.0, observed) if others else 1.0
    return low, high


def log_evidence(canary: int, others: int, *, weight: float, share: float) -> float:
    """Return the logarithm of what the counts say against a coin of this weight.

    `share` is the centre of the mixture; `weight` lies in (0, 1).
    """
    certainty = 1 / (SPREAD * SPREAD * share * (1 - share))
    a, b = certainty * share, certainty * (1 - share)
    mixed = _log_beta(a + canary, b + others) - _log_beta(a, b)
    return mixed - canary * math.log(weight) - others * math.log1p(-weight)


def _measured(one: Counts, share: float, alpha: float) -> Measured:
    low, high = bounds(one.canary, one.others, share=share, alpha=alpha)
    n = one.canary + one.others
    return Measured(
        name=one.name,
        canary=one.canary,
        others=one.others,
        ratio=_ratio(one.canary / n, share) if n else None,
        low=_ratio(low, share) or 0.0,
        high=_ratio(high, share),
    )


def _worse(one: Counts, measured: Measured) -> bool:
    if one.better == "more":
        return measured.high is not None and measured.high < 1
    return measured.low > 1


def _finding(action: Action, reason: str, measured: Sequence[Measured]) -> Finding:
    return Finding(action=action, reason=reason, measured=tuple(measured))


def _ratio(weight: float, share: float) -> float | None:
    """Return how many times as often, from the canary's share of those it happened to."""
    if weight >= 1:
        return None
    return weight / (1 - weight) * (1 - share) / share


def _crossing(excess: Callable[[float], float], outside: float, inside: float) -> float:
    """Return where `excess`, positive at `outside` and not at `inside`, is zero."""
    for _ in range(_HALVINGS):
        middle = (outside + inside) / 2
        if middle == outside:
            break
        if excess(middle) > 0:
            outside = middle
        else:
            inside = middle
    return outside


def _log_beta(a: float, b: float) -> float:
    return math.lgamma(a) + math.lgamma(b) - math.lgamma(a + b)
