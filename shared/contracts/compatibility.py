"""What may change in a schema, so that every record that was ever written is understood.

A schema may only gain optional fields, and take more values than it did: BACKWARD_TRANSITIVE in the
words of Kafka's schema registries, and a little stricter, since an older reader must go on finding
the fields it needs. A breaking change is a new version, published beside the old one.
"""

from collections.abc import Iterator, Mapping
from typing import Any

from shared.contracts.errors import Invalid

Schema = dict[str, Any]

_AT_MOST = ("maxLength", "maximum", "exclusiveMaximum", "maxItems")
_AT_LEAST = ("minLength", "minimum", "exclusiveMinimum", "minItems")


def breaks(old: Schema, new: Schema) -> list[str]:
    """Return what in `new` does not understand, or no longer says, what `old` allows; empty if all is well.

    Each entry begins with the path of the field.
    """
    return list(_breaks(_Resolved(old), old, _Resolved(new), new, "$"))


class _Resolved:
    """Looks up references of one document."""

    def __init__(self, document: Schema) -> None:
        self._parts: Mapping[str, Schema] = document.get("$defs", {})

    def of(self, schema: Any) -> Schema:
        """Return what the schema says, its reference followed; true is anything, false nothing."""
        if isinstance(schema, bool):
            return {} if schema else {"not": {}}
        if "$ref" not in schema:
            return dict(schema)
        name = schema["$ref"].rpartition("/")[2]
        if name not in self._parts:
            raise Invalid(f"{schema['$ref']} leads nowhere")
        return self.of(self._parts[name])


def _breaks(olds: _Resolved, old: Any, news: _Resolved, new: Any, path: str) -> Iterator[str]:
    old, new = olds.of(old), news.of(new)
    if old == {"not": {}} or not new:
        return
    if "anyOf" in old:
        for branch in old["anyOf"]:
            yield from _breaks(olds, branch, news, new, path)
        return
    if "anyOf" in new:
        attempts = [list(_breaks(olds, old, news, branch, path)) for branch in new["anyOf"]]
        yield from min(attempts, key=len)
        return
    narrower = next(_narrower(old, new), None)
    if narrower is not None:
        yield f"{path}: {narrower}"
        return
    yield from _object_breaks(olds, old, news, new, path)
    yield from _array_breaks(olds, old, news, new, path)


def _narrower(old: Schema, new: Schema) -> Iterator[str]:
    """Yield how the values of `new` are fewer than those of `old`, looking at this level alone."""
    before, after = _values(old), _values(new)
    if after is not None:
        if before is None:
            yield f"any value became one of {sorted(map(str, after))}"
        elif gone := [value for value in before if value not in after]:
            yield f"no longer takes {', '.join(map(repr, gone))}"
        return
    if not _types(old, before) <= _widened(new):
        yield f"{old.get('type', 'anything')} became {new.get('type', 'nothing')}"
    for names, sign in ((_AT_MOST, 1), (_AT_LEAST, -1)):
        for name in names:
            if name in new and (name not in old or sign * (new[name] - old[name]) < 0):
                yield f"{name} {old.get(name, 'unbounded')} became {new[name]}"
    if "pattern" in new and new["pattern"] != old.get("pattern"):
        yield f"pattern {old.get('pattern', 'none')} became {new['pattern']}"


def _values(schema: Schema) -> list[Any] | None:
    if "const" in schema:
        return [schema["const"]]
    return schema.get("enum")


def _types(schema: Schema, values: list[Any] | None) -> set[str]:
    if "type" in schema:
        given = schema["type"]
        return {given} if isinstance(given, str) else set(given)
    names = {str: "string", bool: "boolean", int: "integer", float: "number", type(None): "null"}
    return {names[type(v)] for v in values or ()} or {"anything"}


def _widened(schema: Schema) -> set[str]:
    if "type" not in schema:
        return {"anything", "string", "boolean", "integer", "number", "null", "object", "array"}
    types = _types(schema, None)
    return types | {"integer"} if "number" in types else types


def _object_breaks(
    olds: _Resolved, old: Schema, news: _Resolved, new: Schema, path: str
) -> Iterator[str]:
    before, after = old.get("properties", {}), new.get("properties", {})
    required, demanded = set(old.get("required", ())), set(new.get("required", ()))
    for name in before:
        if name not in after:
            yield f"{path}.{name}: is gone"
        else:
            yield from _breaks(olds, before[name], news, after[name], f"{path}.{name}")
    for name in sorted(demanded - required):
        yield f"{path}.{name}: is required now, and was not"
    for name in sorted((required - demanded) & after.keys()):
        yield f"{path}.{name}: was always there, and is optional now"
    if isinstance(old.get("additionalProperties"), dict) and "additionalProperties" in new:
        yield from _breaks(
            olds, old["additionalProperties"], news, new["additionalProperties"], f"{path}.*"
        )


def _array_breaks(
    olds: _Resolved, old: Schema, news: _Resolved, new: Schema, path: str
) -> Iterator[str]:
    pairs = zip(old.get("prefixItems", ()), new.get("prefixItems", ()), strict=False)
    for n, (before, after) in enumerate(pairs):
        yield from _breaks(olds, before, news, after, f"{path}[{n}]")
    if "items" in old and "items" in new:
        yield from _breaks(olds, old["items"], news, new["items"], f"{path}[]")
