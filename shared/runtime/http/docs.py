"""A page for people about a facade: its OpenAPI document as HTML that needs nothing from elsewhere.

No script, no font, no picture: it shows the same in a network without an internet, and what it may
load is forbidden by `POLICY` as on every answer.
"""

import json
import re
from base64 import b64encode
from collections.abc import Iterator, Mapping
from hashlib import sha256
from html import escape
from typing import Any

STYLE = (
    "body{font:16px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem;color:#222}"
    "h1{margin-bottom:0}details{border:1px solid #ddd;border-radius:6px;margin:.5rem 0;padding:.4rem .8rem}"
    "summary{cursor:pointer}summary b{display:inline-block;min-width:4.5rem;color:#05529c}"
    "code,pre{font:14px/1.5 ui-monospace,monospace}pre{background:#f5f5f5;padding:.6rem;overflow:auto}"
    "table{border-collapse:collapse;margin:.4rem 0}th,td{text-align:left;vertical-align:top;"
    "padding:.15rem 1rem .15rem 0}th{color:#666;font-weight:normal}.scope{color:#777}"
    "@media(prefers-color-scheme:dark){body{background:#181818;color:#ddd}summary b{color:#7ab8f5}"
    "pre{background:#262626}details{border-color:#444}}"
)
_HASH = b64encode(sha256(STYLE.encode()).digest()).decode()
POLICY = f"default-src 'none'; style-src 'sha256-{_HASH}'; frame-ancestors 'none'".encode()
"""What a browser may load for any of our answers: this page's style, and nothing else."""

_DEEPEST = 3
"""Fields within fields within fields: deeper ones are in the OpenAPI document."""


def page(document: Mapping[str, Any]) -> bytes:
    """Return the page about an OpenAPI document of `probes.description`."""
    info = document["info"]
    title = escape(info["title"])
    return "".join(
        (
            '<!doctype html><html lang="en"><meta charset="utf-8">',
            '<meta name="viewport" content="width=device-width">',
            f"<title>{title}</title><style>{STYLE}</style>",
            f"<h1>{title}</h1><p>{escape(info.get('description', ''))}</p>",
            "<p>Send a key with every request, <code>Authorization: Bearer KEY</code> or ",
            "<code>X-Api-Key: KEY</code>. What is wrong with a request is answered as a problem ",
            "(RFC 9457) that says what to do. For programs: ",
            '<a href="openapi.json">openapi.json</a>.</p>',
            *_operations(document),
        )
    ).encode()


def _operations(document: Mapping[str, Any]) -> Iterator[str]:
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            scopes = [
                s for kind in operation.get("security", ()) for s in next(iter(kind.values()))
            ]
            scope = f"key: {scopes[0]}" if scopes else "no key"
            yield (
                f"<details><summary><b>{method.upper()}</b><code>{escape(path)}</code> "
                f'{escape(operation.get("summary", ""))} <span class="scope">({scope})</span></summary>'
            )
            about = operation.get("description")
            yield f"<p>{_prose(about)}</p>" if about else ""
            yield from _call(path, method.upper(), operation, document)
            yield "</details>"


def _call(
    path: str, method: str, operation: Mapping[str, Any], document: Mapping[str, Any]
) -> Iterator[str]:
    """Yield what goes in, an example, and what comes out."""
    parameters = operation.get("parameters", ())
    rows = [
        (p["name"], p["in"], _type(p["schema"], document), p.get("description", ""), p.get("required"))
        for p in parameters
    ]  # fmt: skip
    yield _rows("Parameters", [(*row[:4], "" if row[4] else "optional") for row in rows])
    asked = operation.get("requestBody", {})
    body = _schema(asked)
    yield _rows("Body", list(_fields(body, document)))
    with_body = f" \\\n  --json '{escape(_example(asked))}'" if body else ""
    yield (
        f"<pre>curl -X {method} -H 'Authorization: Bearer KEY'{with_body} \\\n"
        f"  http://HOST{escape(path)}</pre>"
    )
    for status, answer in operation.get("responses", {}).items():
        if status != "default":
            yield _rows(f"Answer {status}", list(_fields(_schema(answer), document)))


def _prose(text: str) -> str:
    """Return text in which names stand in backticks."""
    return re.sub("`([^`]+)`", r"<code>\1</code>", escape(text))


def _rows(title: str, rows: list[tuple[str, ...]]) -> str:
    if not rows:
        return ""
    cells = ("".join(f"<td>{escape(cell)}</td>" for cell in row[1:]) for row in rows)
    lines = (
        f"<tr><td><code>{escape(row[0])}</code></td>{rest}</tr>"
        for row, rest in zip(rows, cells, strict=True)
    )
    return f"<table><tr><th>{title}</th></tr>{''.join(lines)}</table>"


def _schema(part: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the schema of the first kind of content, empty if there is none."""
    contents = list(part.get("content", {}).values())
    schema: Mapping[str, Any] = contents[0].get("schema", {}) if contents else {}
    return schema


def _example(part: Mapping[str, Any]) -> str:
    """Return an example of a body, three dots if there is none."""
    contents = list(part.get("content", {}).values())
    example = contents[0].get("example") if contents else None
    return "{…}" if example is None else json.dumps(example, ensure_ascii=False)


def _fields(
    schema: Mapping[str, Any], document: Mapping[str, Any], within: str = "", depth: int = 1
) -> Iterator[tuple[str, ...]]:
    """Yield name, type, description and whether it may be left out, of each field."""
    schema = _resolved(schema, document)
    if depth > _DEEPEST:
        return
    if "anyOf" in schema:
        # The first is the usual one; that there are others is said in words.
        yield from _fields(schema["anyOf"][0], document, within, depth)
        return
    if schema.get("type") == "array":
        yield from _fields(schema["items"], document, f"{within}[]", depth)
        return
    required = schema.get("required", ())
    for name, field in schema.get("properties", {}).items():
        path = f"{within}.{name}" if within else name
        optional = "" if name in required else "optional"
        about = str(field.get("description", "")).partition("\n")[0]
        yield path, _type(field, document), about, optional
        yield from _fields(field, document, path, depth + 1)


def _resolved(schema: Mapping[str, Any], document: Mapping[str, Any]) -> Mapping[str, Any]:
    reference = schema.get("$ref")
    if reference is None:
        return schema
    found: Mapping[str, Any] = document["components"]["schemas"][reference.rpartition("/")[2]]
    return found


def _type(schema: Mapping[str, Any], document: Mapping[str, Any]) -> str:
    """Return a schema in a few words: integer 1 to 200, default 50."""
    schema = _resolved(schema, document)
    if "anyOf" in schema:
        return " or ".join(_type(one, document) for one in schema["anyOf"])
    if "enum" in schema:
        return " | ".join(map(str, schema["enum"]))
    words = str(schema.get("type", "any"))
    if words == "array":
        words = f"list of {_type(schema['items'], document)}"
    low, high = schema.get("minimum"), schema.get("maximum")
    if low is not None and high is not None:
        words += f" {low:.15g} to {high:.15g}"
    elif low is not None:
        words += f" from {low:.15g}"
    default = schema.get("default")
    return words if default in (None, {}, []) else f"{words}, default {json.dumps(default)}"
