"""What a shopper allows, as far as this request tells."""

from functools import lru_cache

from shared.contracts.consent import PURPOSES, spelled
from shared.contracts.errors import Invalid

_NONE_WORDS = frozenset({"none", "denied"})
_ALL_WORDS = frozenset({"all", "granted"})


@lru_cache(maxsize=1024)
def granted(stated: str | None, gpc: bool) -> str | None:
    """Return the envelope's spelling of the purposes that are allowed; None if nobody was asked.

    Global Privacy Control (W3C, header ``Sec-GPC: 1``) asks that data be not sold or shared and
    not used for targeted advertising. It refuses marketing always. It refuses personalisation too,
    unless the shopper granted that to this shop expressly.

    Raises
    ------
    Invalid
        `stated` names a purpose that does not exist.
    """
    if stated is None:
        return "analytics" if gpc else None
    words = set(stated.replace(",", " ").split())
    if words & _ALL_WORDS:
        words = set(PURPOSES)
    elif words <= _NONE_WORDS:
        words = set()
    if unknown := words - set(PURPOSES):
        known = ", ".join((*PURPOSES, "none"))
        raise Invalid(
            f"unknown purpose {sorted(unknown)[0]!r}; there are: {known}", field="consent"
        )
    if gpc:
        words.discard("marketing")
    return spelled(words)
