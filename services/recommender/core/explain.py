"""Why an item stands in a list: exact parts of its score, and the greatest of them in words."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Literal, NamedTuple

import numpy as np

from services.recommender.core.catalog import Catalog
from services.recommender.core.person import ACTIONS, Row
from services.recommender.core.shelf import Shelf
from shared.learning.features.history import History

Lang = Literal["en", "zh"]
LANGS: tuple[Lang, ...] = ("en", "zh")
ANCHOR = "anchor"


class Part(NamedTuple):
    """One summand of a score; `item` and `action` tell which event of the history it comes from.

    `action` is ``anchor`` for what was being looked at. Negative parts speak against the item.
    """

    source: str
    part: float
    item: str | None = None
    action: str | None = None


_BECAUSE: Mapping[str, tuple[str, str]] = {
    "view_item": ("because you viewed {}", "因为您浏览过“{}”"),
    "select_item": ("because you looked at {}", "因为您看过“{}”"),
    "add_to_wishlist": ("because you wished for {}", "因为您收藏了“{}”"),
    "add_to_cart": ("because you put {} into the cart", "因为您把“{}”加入了购物车"),
    "begin_checkout": ("because you were about to buy {}", "因为您准备购买“{}”"),
    "purchase": ("because you bought {}", "因为您购买过“{}”"),
    "rate_item": ("because you rated {}", "因为您评价过“{}”"),
    ANCHOR: ("goes with {}", "与“{}”相配"),
}
_SOURCES: Mapping[str, tuple[str, str]] = {
    "repeat": ("you buy this again and again", "您经常购买"),
    "popular": ("popular with other shoppers", "很多顾客喜欢"),
    "trending": ("in demand right now", "近期热门"),
    "newest": ("new in the shop", "新品上架"),
    "category": ("of the same category", "同类商品"),
}
_CHOSEN_FOR_YOU = ("chosen for you", "为您推荐")


def parts_of(
    item: str,
    told: Mapping[str, float],
    *,
    shelf: Shelf | None,
    history: History,
    actions: Mapping[str, str],
    factors: Mapping[str, float],
) -> list[Part]:
    """Return the parts of the item's score; they add up to the sum of `told`.

    Parameters
    ----------
    item : str
        One of the list.
    told : mapping
        Source to its part of the score, as it was given in the answer.
    shelf : Shelf or None
        Made of the release that gave the answer; without it a source is one part.
    history : History
        What the release's models read then.
    actions : mapping
        Item of the history to its newest action.
    factors : mapping
        Source to what its scores were multiplied with.
    """
    number = None if shelf is None else shelf.number(item)
    parts: list[Part] = []
    for source, total in told.items():
        model = shelf.models.get(source) if shelf else None
        if shelf is None or model is None or number is None or number >= shelf.n_model:
            parts.append(Part(source, total))
            continue
        items, values = model.contributions(history.distinct(), number)
        for other, value in zip(items.tolist(), values.tolist(), strict=True):
            if value:
                name = shelf.item(other)
                parts.append(Part(source, value * factors[source], name, actions.get(name)))
    return sorted(parts, key=lambda part: -abs(part.part))


def actions_of(rows: Sequence[Row], anchors: Iterable[str]) -> dict[str, str]:
    """Return each item of the history with its newest action; an anchor is one itself."""
    actions = {member[1:].decode(): _action(member[:1].decode()) for member, _ in reversed(rows)}
    return actions | dict.fromkeys(anchors, ANCHOR)


def because(parts: Sequence[Part], catalog: Catalog, lang: Lang) -> str:
    """Return the greatest reason in words; parts of one item from several sources count together."""
    sums: dict[tuple[str, str | None], float] = {}
    for part in parts:
        key = (part.action, part.item) if part.action else (part.source, None)
        sums[key] = sums.get(key, 0.0) + part.part
    what, item = max(sums, key=lambda key: sums[key], default=("", None))
    place = LANGS.index(lang)
    if item is not None and what in _BECAUSE:
        return _BECAUSE[what][place].format(catalog.title(item, lang))
    return _SOURCES.get(what, _CHOSEN_FOR_YOU)[place]


def language(accepted: str) -> Lang:
    """Return the first language of an Accept-Language header that we speak, English else."""
    for choice in accepted.lower().split(","):
        tag = choice.split(";")[0].strip().split("-")[0]
        if tag == "zh":
            return "zh"
        if tag == "en":
            return "en"
    return "en"


def _action(code: str) -> str:
    return "rate_item" if code.isdigit() else ACTIONS.get(code, code)


def total(parts: Iterable[Part]) -> float:
    """Return the sum of the parts."""
    return float(np.sum([part.part for part in parts]))
