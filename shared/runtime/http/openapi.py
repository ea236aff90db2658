"""The OpenAPI document of a facade: what FastAPI knows of its routes, and what the others say."""

import re
from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any

import msgspec
from fastapi import FastAPI

from shared.contracts.service import Service
from shared.runtime.app import Described

JSON = "application/json"
REFERENCE = "#/components/schemas/{name}"
Document = dict[str, Any]


def description(
    service: Service, api: FastAPI, described: Mapping[tuple[str, str], Described]
) -> Document:
    """Return FastAPI's document with the manifest's scopes and the raw routes.

    Parameters
    ----------
    service : Service
        Has all routes.
    api : FastAPI
        Describes what it routes itself.
    described : mapping
        (method, path) of a raw route to what it takes and gives.
    """
    document: Document = dict(api.openapi())
    components = document.setdefault("components", {})
    components["securitySchemes"] = _SCHEMES
    schemas = components.setdefault("schemas", {})
    for unused in ("HTTPValidationError", "ValidationError"):
        schemas.pop(unused, None)
    schemas["Problem"] = _PROBLEM_SCHEMA
    paths: Document = document.setdefault("paths", {})
    for route in service.routes:
        path = _CONVERTER.sub("", route.path)
        raw = _raw(path, described.get((route.method, route.path), Described()), schemas)
        operation = paths.setdefault(path, {}).setdefault(route.method.lower(), raw)
        operation["summary"] = route.about
        answers = operation.setdefault("responses", {})
        if "operationId" in operation:
            answers.pop("422", None)  # FastAPI's own form of it, which a service never gives
        answers["default"] = _PROBLEM
        if route.scope != "open":
            operation["security"] = [{"key": [route.scope]}, {"header": [route.scope]}]
    return document


def _raw(path: str, said: Described, schemas: Document) -> Document:
    named = re.findall(r"{(\w+)}", path)
    operation: Document = {
        "parameters": [
            *({"name": n, "in": "path", "required": True, "schema": _TEXT} for n in named),
            *said.parameters,
        ],
        "responses": {
            str(status): _answer(status, kind, schemas) for status, kind in said.gives.items()
        },
    }
    if said.takes:
        content = {"schema": _schema(said.takes, schemas), "example": said.example}
        operation["requestBody"] = {"required": True, "content": {JSON: content}}
    if said.about:
        operation["description"] = said.about
    return operation


def _answer(status: int, kind: Any, schemas: Document) -> Document:
    phrase = {"description": HTTPStatus(status).phrase}
    if kind is None:
        return phrase
    answer = {**phrase, "content": {JSON: {"schema": _schema([kind], schemas)}}}
    if status >= HTTPStatus.BAD_REQUEST:
        answer["content"] |= _PROBLEM["content"]
    return answer


def _schema(kinds: Sequence[Any], schemas: Document) -> Document:
    """Return the schema of any of `kinds`; what it refers to comes into `schemas`."""
    roots, parts = msgspec.json.schema_components(kinds, ref_template=REFERENCE)
    for name, part in parts.items():
        if schemas.setdefault(name, part) != part:
            raise ValueError(f"two different things are called {name}")
    return roots[0] if len(roots) == 1 else {"anyOf": list(roots)}


_CONVERTER = re.compile(r":\w+(?=})")
"""What Starlette wants to know of a path's parameter, as ``:path`` in ``{id:path}``."""

_PROBLEM: Mapping[str, Any] = {
    "description": "What is wrong, and what to do (RFC 9457)",
    "content": {"application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}},
}
_SCHEMES = {
    "key": {"type": "http", "scheme": "bearer"},
    "header": {"type": "apiKey", "in": "header", "name": "X-Api-Key"},
}
_TEXT = {"type": "string"}
_PROBLEM_SCHEMA = {
    "type": "object",
    "required": ["type", "title", "status", "detail", "instance"],
    "properties": {
        "type": _TEXT,
        "title": _TEXT,
        "status": {"type": "integer"},
        "detail": _TEXT,
        "instance": _TEXT,
        "errors": {
            "type": "array",
            "items": {"type": "object", "properties": {"field": _TEXT, "reason": _TEXT}},
        },
    },
}
