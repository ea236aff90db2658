"""The routes' OpenAPI, from the structs that are really read and written."""

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

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


def answered(content: type[Any]) -> Mapping[int | str, dict[str, Any]]:
    """Return the responses of a route that answers with this struct."""
    json = {"application/json": {"schema": schema_of(content)}}
    return {200: {"description": "Done", "content": json}}


def asked(parameters: Sequence[Schema], body: type[Any] | None = None) -> Schema:
    """Return what a route takes beside its path."""
    extra: Schema = {"parameters": list(parameters)} if parameters else {}
    if body is not None:
        extra["requestBody"] = {"content": {"application/json": {"schema": schema_of(body)}}}
    return extra


def in_path(path: str) -> list[Schema]:
    """Return the parameters in a path of FastAPI's spelling."""
    names = [part[1:-1] for part in path.split("/") if part.startswith("{")]
    return [{"name": name, "in": "path", "required": True, "schema": _ID} for name in names]


def schema_of(struct: type[Any]) -> Schema:
    """Return the struct's JSON schema without references."""
    (found,), components = msgspec.json.schema_components([struct])
    resolved = _resolved(found, components)
    assert isinstance(resolved, dict)
    return resolved


def _resolved(part: Any, components: Mapping[str, Any]) -> Any:
    if isinstance(part, dict):
        if "$ref" in part:
            return _resolved(components[part["$ref"].rpartition("/")[2]], components)
        return {name: _resolved(value, components) for name, value in part.items()}
    if isinstance(part, list | tuple):
        return [_resolved(value, components) for value in part]
    return part
