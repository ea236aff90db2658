"""What a service showed, said, sent or withheld, and with what probability."""

from typing import Annotated, Literal

from msgspec import Meta, Struct

from shared.contracts.events.fields import Id, Name, Position, Share

Rung = Literal["current", "stale", "disk", "popular", "static"]
"""The step of the degradation ladder that an answer came from, best first."""


class Candidate(Struct, frozen=True, omit_defaults=True):
    """An item that was chosen; `sources` gives the score of each source that proposed it.

    `propensity` is the probability that this item stood at this position.
    """

    item_id: Id
    position: Position
    score: float
    propensity: Share = 1.0
    sources: dict[str, float] = {}


class Decision(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One answer to one request; feedback comes back under `request_id`."""

    request_id: Id
    service: Name
    scenario: Name
    shown: Annotated[tuple[Candidate, ...], Meta(max_length=200)]
    release: Name
    rung: Rung
    personalised: bool = True
    withheld: dict[str, int] = {}
    variant: Name | None = None
