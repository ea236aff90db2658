"""Which events to leave out when the log fills, so that those of value still fit."""

from shared.contracts.events.behaviour import Action

_BEGIN: dict[str, float] = {
    "page_view": 0.5,
    "view_item_list": 0.5,
    "view_promotion": 0.5,
    "view_item": 0.6,
    "search": 0.6,
    "view_cart": 0.6,
    "select_promotion": 0.7,
    "select_item": 0.7,
    "add_to_wishlist": 0.8,
    "add_to_cart": 0.8,
    "remove_from_cart": 0.8,
    "begin_checkout": 0.8,
}
"""How full the log is when sampling of an action begins. Others (purchases, refunds, what a shopper
says of an item or of consent) are never left out."""
_LOWEST_BEGIN = min(_BEGIN.values())
_LEAST = 0.05


def kept_share(action: Action, fill: float) -> float:
    """Return the probability with which an event of `action` is kept.

    1 until the action's mark is reached, falling linearly to .05 where the log is full.
    """
    if fill <= _LOWEST_BEGIN:
        return 1.0
    begin = _BEGIN.get(action)
    if begin is None or fill <= begin:
        return 1.0
    return max(_LEAST, 1 - (fill - begin) / (1 - begin))


def keeps(digest: int, share: float) -> bool:
    """Whether the event with this digest is among the share that is kept.

    Decided by the id, not by a die: an event that is sent again meets the same fate.
    """
    return (digest >> 11) * 2.0**-53 < share
