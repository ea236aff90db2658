"""What the routes take in their addresses, as OpenAPI says it."""

from typing import Any

from services.recommender.core.explain import LANGS
from services.recommender.core.query import SCENARIOS
from services.recommender.request import MAX_ID, MAX_ITEMS, MAX_K, MAX_PRICE_CENTS

Schema = dict[str, Any]
_ID = {"type": "string", "minLength": 1, "maxLength": MAX_ID}
_IDS = {"type": "array", "items": _ID, "maxItems": MAX_ITEMS}
_PRICE = {"type": "integer", "minimum": 0, "maximum": MAX_PRICE_CENTS}


def _asked(name: str, schema: Schema, about: str) -> Schema:
    return {"name": name, "in": "query", "schema": schema, "description": about}


_NARROW = (
    _asked("k", {"type": "integer", "minimum": 1, "maximum": MAX_K}, "Length of the list."),
    _asked("category", {"type": "string", "maxLength": 512}, "Path joined by /, or one level."),
    _asked("min_price", _PRICE, "In cents, included."),
    _asked("max_price", _PRICE, "In cents, included."),
    _asked("exclude", _IDS, "Items not to show; may be repeated."),
)
LIST = (
    _asked("scenario", {"enum": list(SCENARIOS), "default": "home"}, "Where the list stands."),
    _asked("item", _ID, "The item of the page, for scenario product."),
    _asked("cart", _IDS, "What lies in the cart, for scenario cart; known where it is missing."),
    *_NARROW,
    _asked("anonid", _ID, "The shopper's anonymous id, whose history counts as well."),
    _asked("personalised", {"type": "boolean", "default": True}, "False: by popularity only."),
)
RELATED = _NARROW
EXPLANATION = (_asked("lang", {"enum": list(LANGS)}, "Else by Accept-Language."),)
