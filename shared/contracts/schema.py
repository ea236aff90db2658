"""JSON Schema and AsyncAPI of the topics, made from their declarations."""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import msgspec

from shared.contracts.envelope import Envelope
from shared.contracts.examples import EXAMPLES
from shared.contracts.service import Service
from shared.contracts.topics import Topic

DRAFT = "https://json-schema.org/draft/2020-12/schema"
ALWAYS = ("specversion", "datacontenttype")
"""Have a default in the code and are written all the same, as CloudEvents demands."""
Schema = dict[str, Any]


def schema_of(topic: Topic[Any]) -> Schema:
    """Return the JSON Schema of the topic's records, self-contained, with an example."""
    body, parts = _generated(topic, "#/$defs/{name}")
    return {
        "$schema": DRAFT,
        "$id": f"/schemas/{topic.type}.json",
        **body,
        "title": topic.type,
        "description": topic.about,
        "examples": [example_of(topic)],
        "$defs": parts,
    }


def example_of(topic: Topic[Any]) -> Any:
    """Return an example of a record's value, as JSON."""
    return msgspec.json.decode(EXAMPLES[topic.name])


def asyncapi(topics: Sequence[Topic[Any]], services: Sequence[Service]) -> Schema:
    """Return the AsyncAPI 3.0 document of the topics and of who sends and receives on them."""
    messages: Schema = {}
    schemas: Schema = {}
    for topic in topics:
        body, parts = _generated(topic, "#/components/schemas/{name}")
        messages[topic.type] = _message(topic)
        schemas |= {**parts, topic.type: {**body, "description": topic.about}}
    return {
        "asyncapi": "3.0.0",
        "info": {
            "title": "shoploop",
            "version": "1.0.0",
            "description": "What the services say to each other. Generated: change the topics.",
        },
        "defaultContentType": "application/cloudevents+json",
        "channels": {topic.name: _channel(topic) for topic in topics},
        "operations": dict(_operations(services)),
        "components": {"messages": messages, "schemas": dict(sorted(schemas.items()))},
    }


def _generated(topic: Topic[Any], template: str) -> tuple[Schema, Schema]:
    kind: Any = Envelope[topic.event]  # type: ignore[name-defined]
    (root,), parts = msgspec.json.schema_components([kind], ref_template=template)
    body = parts.pop(root["$ref"].rpartition("/")[2])
    for owner, field in _moments(msgspec.inspect.type_info(kind)):
        target = body if owner is Envelope else parts[owner.__name__]
        _add_format(target["properties"][field])
    body["properties"]["type"] = {"const": topic.type}
    body["required"] = [*ALWAYS, *body["required"]]
    for part in (body, *parts.values()):
        part["description"] = " ".join(part.get("description", "").split())
    return body, dict(sorted(parts.items()))


def _moments(info: Any) -> Iterator[tuple[type[Any], str]]:
    """Yield the fields of a struct, and of those within it, that are moments in time."""
    for inner in _within(info):
        if not isinstance(inner, msgspec.inspect.StructType):
            continue
        owner = getattr(inner.cls, "__origin__", inner.cls)
        for field in inner.fields:
            if any(isinstance(t, msgspec.inspect.DateTimeType) for t in _within(field.type)):
                yield owner, field.encode_name
            yield from _moments(field.type)


def _within(info: Any) -> Iterator[Any]:
    """Yield a type and, for unions and collections, what it is made of."""
    yield info
    for name in ("types", "item_types"):
        for inner in getattr(info, name, ()):
            yield from _within(inner)
    for name in ("item_type", "value_type"):
        inner = getattr(info, name, None)
        if inner is not None:
            yield from _within(inner)


def _add_format(schema: Schema) -> None:
    for branch in (schema, *schema.get("anyOf", ())):
        if branch.get("type") == "string":
            branch["format"] = "date-time"


def _message(topic: Topic[Any]) -> Schema:
    return {
        "name": topic.type,
        "title": topic.event.__name__,
        "summary": topic.about,
        "contentType": "application/cloudevents+json",
        "payload": {"$ref": f"#/components/schemas/{topic.type}"},
        "bindings": {"kafka": {"key": {"type": "string", "description": topic.key}}},
        "examples": [{"payload": example_of(topic)}],
    }


def _channel(topic: Topic[Any]) -> Schema:
    keep = {} if topic.keep is None else {"retention.ms": int(topic.keep.total_seconds() * 1000)}
    return {
        "address": topic.name,
        "description": topic.about,
        "messages": {topic.type: {"$ref": f"#/components/messages/{topic.type}"}},
        "bindings": {
            "kafka": {
                "partitions": topic.partitions.production,
                "replicas": topic.replication(production=True),
                "topicConfiguration": {"cleanup.policy": [topic.cleanup], **keep},
            }
        },
    }


def _operations(services: Iterable[Service]) -> Iterator[tuple[str, Schema]]:
    for service in services:
        for action, used in (
            ("send", service.writes),
            ("receive", (*service.reads, *service.views)),
        ):
            for topic in used:
                yield (
                    f"{service.name}-{action}-{topic.name}",
                    {
                        "action": action,
                        "channel": {"$ref": f"#/channels/{topic.name}"},
                        "summary": f"{service.name}: {service.about}",
                    },
                )
