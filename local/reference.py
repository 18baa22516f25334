"""The OpenAPI and AsyncAPI documents as pages: calls, messages and what is in them, in Markdown.

Pages that the site's search reads, instead of a viewer that is a program in the browser.
"""

import json
from collections.abc import Iterator
from typing import Any

Schema = dict[str, Any]


def http_calls(document: dict[str, Any]) -> str:
    """A page of every call, by tag."""
    lines = ["# HTTP calls", "", _text(document["info"]["description"]), ""]
    lines += ["A deployment serves this as `/openapi.json`. [The API](api.md) explains it.", ""]
    for tag in document["tags"]:
        lines += [f"## Calls: {tag['name']}", "", _text(tag.get("description", "")), ""]
        for path, calls in document["paths"].items():
            for method, call in calls.items():
                if tag["name"] in call.get("tags", ()):
                    lines += _call(f"{method.upper()} {path}", call, document)
    return "\n".join([*lines, *_schemas(document)])


def websocket_messages(document: dict[str, Any]) -> str:
    """A page of every channel with its messages, and what each message holds."""
    lines = ["# WebSocket messages", "", _text(document["info"]["description"]), ""]
    lines += [
        "A deployment serves this as `/asyncapi.json`. [WebSockets](websocket.md) explains it."
    ]
    for channel, operations in _by_channel(document):
        lines += ["", f"## {channel['title']}: {channel['address']}", ""]
        lines += [_text(channel.get("description", "")), ""]
        query = channel.get("bindings", {}).get("ws", {}).get("query", {})
        lines += _fields(query, document)
        for operation in operations:
            # The deployment receives what a client sends.
            direction = {"receive": "You send", "send": "You get"}[operation["action"]]
            lines += [f"**{direction}**", ""]
            for reference in operation["messages"]:
                message = resolve(reference, document)
                about = _line(message.get("summary", ""))
                lines += [f"- {_type(message['payload'])}: {about or message['name']}"]
            lines += [""]
    return "\n".join([*lines, "", *_schemas(document)])


def resolve(value: Schema, document: dict[str, Any]) -> Schema:
    """A value, or what its reference leads to."""
    while "$ref" in value:
        found: Any = document
        for name in value["$ref"].removeprefix("#/").split("/"):
            found = found[name.replace("~1", "/").replace("~0", "~")]
        value = found
    return value


def _by_channel(document: dict[str, Any]) -> Iterator[tuple[Schema, list[Schema]]]:
    for name, channel in document["channels"].items():
        reference = {"$ref": f"#/channels/{name}"}
        yield (
            channel,
            [one for one in document["operations"].values() if one["channel"] == reference],
        )


def _call(title: str, call: Schema, document: dict[str, Any]) -> Iterator[str]:
    yield from (f"### {title}", "", _text(call.get("description") or call["summary"]), "")
    given = [resolve(one, document) for one in call.get("parameters", ())]
    if given:
        yield from ("| parameter | in | type | |", "|---|---|---|---|")
        for one in given:
            needed = "" if one.get("required") else "optional. "
            about = needed + _line(one.get("description", ""))
            yield f"| `{one['name']}` | {one['in']} | {_type(one['schema'])} | {about} |"
        yield ""
    body = resolve(call.get("requestBody", {}), document)
    yield from (f"Body ({kind}): {_type(schema)}\n" for kind, schema in _content(body))
    yield from ("| status | answer | |", "|---|---|---|")
    for status, reference in call["responses"].items():
        answer = resolve(reference, document)
        types = ", ".join(_type(schema) for _, schema in _content(answer))
        yield f"| {status} | {types} | {_line(answer.get('description', ''))} |"
    yield ""


def _content(of: Schema) -> list[tuple[str, Schema]]:
    return [(kind, one.get("schema", {})) for kind, one in of.get("content", {}).items()]


def _schemas(document: dict[str, Any]) -> Iterator[str]:
    yield from ("## What is in them", "")
    for name, schema in sorted(document["components"]["schemas"].items()):
        yield from (f"### {name}", "", _text(schema.get("description", "")), "")
        if schema.get("properties"):
            yield from _fields(schema, document)
        else:
            yield from (_type({**schema, "description": ""}), "")


def _fields(schema: Schema, document: dict[str, Any]) -> Iterator[str]:
    properties = schema.get("properties", {})
    if not properties:
        return
    yield from ("| field | type | |", "|---|---|---|")
    for name, of in properties.items():
        optional = "" if name in schema.get("required", ()) else "optional. "
        about = optional + _line(resolve(of, document).get("description", ""))
        yield f"| `{name}` | {_type(of)} | {about} |"
    yield ""


def _type(schema: Schema) -> str:
    """A schema in a few words; those with a name are links."""
    if "$ref" in schema:
        name = schema["$ref"].rpartition("/")[2]
        return f"[{name}](#{name.lower()})"
    if values := schema.get("enum") or ([schema["const"]] if "const" in schema else []):
        return " or ".join(map(_code, values))
    for choice in ("oneOf", "anyOf", "allOf"):
        if choice in schema:
            joint = " and " if choice == "allOf" else " or "
            return joint.join(dict.fromkeys(map(_type, schema[choice])))
    kind = schema.get("type", "any value")
    if kind == "array":
        return f"list of {_type(schema.get('items', {}))}"
    if kind == "object":
        return _object(schema)
    return " or ".join(kind) if isinstance(kind, list) else f"{kind}{_bounds(schema)}"


def _object(schema: Schema) -> str:
    if properties := schema.get("properties"):
        inner = ", ".join(f"`{name}`: {_type(one)}" for name, one in properties.items())
        return f"{{{inner}}}"
    values = schema.get("additionalProperties")
    return f"object of {_type(values)}" if isinstance(values, dict) and values else "object"


def _bounds(schema: Schema) -> str:
    low = schema.get("minimum", schema.get("minLength"))
    high = schema.get("maximum", schema.get("maxLength"))
    if low is None and high is None:
        return f", {schema['format']}" if "format" in schema else ""
    unit = " characters" if schema["type"] == "string" else ""
    if high is None:
        return f", at least {low}{unit}"
    return f", {low or 0} to {high}{unit}"


def _code(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value)
    return f"`{text}`" if text else "empty"


def _text(text: str) -> str:
    """A docstring's paragraphs, with its double backticks as Markdown's."""
    return text.replace("``", "`").strip()


def _line(text: str) -> str:
    """A text for a table's cell."""
    return " ".join(_text(text).split()).replace("|", "\\|")
