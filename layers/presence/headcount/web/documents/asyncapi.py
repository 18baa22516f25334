"""The AsyncAPI document: what is said over WebSockets, from the types that say it."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal, NotRequired

from pydantic import Field
from typing_extensions import TypedDict, is_typeddict

import headcount
from headcount.beats import MAX_AVATAR, MAX_NAME, MAX_PAGE
from headcount.containers import CONTAINER_ID
from headcount.messages import (
    Details,
    Engagement,
    Facets,
    Identifier,
    Quality,
    Seq,
    VisitorId,
    text_up_to,
)
from headcount.spaces import ID
from headcount.systems.stream_analytics.containers import ContainerData
from headcount.systems.stream_analytics.state import MetricsData, OverviewData
from headcount.web.answers import Headcount, Notice
from headcount.web.documents.schemas import Schema, Schemas, space

# ------------------------------------------------------------------------------ what clients say


class Subscribe(TypedDict):
    """Hear a space: its headcount comes at once, then every version, in order."""

    action: Literal["subscribe"]
    space: str


class Unsubscribe(TypedDict):
    """Hear a space no more."""

    action: Literal["unsubscribe"]
    space: str


class Snapshot(TypedDict):
    """Say a space's headcount once more, or once."""

    action: Literal["snapshot"]
    space: str


class Ping(TypedDict):
    """Is anybody there? Keeps the connection open, too: it is closed after 10 silent minutes."""

    action: Literal["ping"]


class Beat(TypedDict):
    """Still here, and on this: the body of a beat over HTTP, but for the session. It is answered
    where ``answer`` asks for it."""

    action: Literal["beat"]
    visitorId: NotRequired[VisitorId]
    userId: NotRequired[Identifier]
    name: NotRequired[Annotated[str, text_up_to(MAX_NAME)]]
    avatar: NotRequired[Annotated[str, text_up_to(MAX_AVATAR)]]
    page: NotRequired[Annotated[str, text_up_to(MAX_PAGE)]]
    facets: NotRequired[Facets]
    state: NotRequired[Literal["active", "hidden"]]
    seq: NotRequired[Seq]
    quality: NotRequired[Quality]
    engagement: NotRequired[Engagement]
    details: NotRequired[Details]
    changed: NotRequired[bool]
    answer: NotRequired[bool]


Heartbeat = Annotated[
    str, Field(description="Any text: the client is still there, and wants to know how things are.")
]


# -------------------------------------------------------------------------------- what they hear


class HeadcountMessage(TypedDict):
    """A version of a space's numbers. Versions come in order, one by one; repeats are possible."""

    type: Literal["headcount"]
    space: str
    version: int
    asOf: str
    data: Headcount


class Alert(TypedDict):
    """What a version set off: ``people`` now. A milestone says its ``threshold``, a spike the
    people ``before`` and its rule."""

    id: str
    name: str
    type: Literal["milestone", "spike"]
    people: int
    threshold: NotRequired[int]
    before: NotRequired[int]
    factor: NotRequired[float]
    minutes: NotRequired[int]
    atLeast: NotRequired[int]


class AlertMessage(TypedDict):
    """An alert, right after the version that set it off. One that is said again has the same id."""

    type: Literal["alert"]
    space: str
    version: int
    at: str
    alert: Alert


class NoticeMessage(TypedDict):
    """The message to everyone changed with this version; null: there is none any more."""

    type: Literal["notice"]
    space: str
    version: int
    at: str
    notice: Notice | None


class Pong(TypedDict):
    """The answer to a ping."""

    type: Literal["pong"]


class PresentMessage(TypedDict):
    """The answer to a beat that asks for one: people in the space, and what everyone is told."""

    type: Literal["present"]
    space: str
    count: int
    version: int
    notice: NotRequired[Notice]


class ErrorMessage(TypedDict):
    """What is wrong with what the client said; ``space``: where it named one; ``retryAfter``: the
    seconds after which it may say it again."""

    type: Literal["error"]
    error: str
    space: NotRequired[str]
    retryAfter: NotRequired[int]


class Metrics(TypedDict):
    """A stream's numbers: at once, when they change, and in answer to a heartbeat."""

    type: Literal["metrics"]
    data: MetricsData


class Analytics(TypedDict):
    """All streams' numbers: at once, within 2 s of a change, and in answer to a heartbeat."""

    type: Literal["analytics"]
    data: OverviewData


class ContainerState(ContainerData):
    """A container at a moment (``at``). ``version`` grows with every change."""

    version: int
    at: str


class ContainerMessage(TypedDict):
    """A container's state: where it is known at once, when it changes, and in answer to a
    heartbeat."""

    type: Literal["container"]
    data: ContainerState


# ---------------------------------------------------------------------------------- the document


@dataclass(frozen=True, slots=True)
class _Channel:
    name: str
    address: str
    title: str
    description: str
    said: tuple[Any, ...]  # by the client
    heard: tuple[Any, ...]
    query: Mapping[str, str] = field(default_factory=dict)
    """Parameters beside the token, and what they are."""


_FEED = "A client that says anything at all is told how things are."

CHANNELS = (
    _Channel(
        "dashboard",
        "/ws",
        "Dashboards",
        "Headcounts of the spaces that the client subscribes to, at most 50.",
        (Subscribe, Unsubscribe, Snapshot, Ping),
        (HeadcountMessage, AlertMessage, NoticeMessage, Pong, ErrorMessage),
    ),
    _Channel(
        "presence",
        "/ws",
        "Viewers",
        "Presence by connection: opening it with a space and a session is the join, closing it the "
        "leave. Anyone may; a token proves who they are.",
        (Beat, Ping),
        (PresentMessage, Pong, ErrorMessage),
        {
            "space": "Where to be. Required.",
            "sessionId": "One per tab. Required.",
            **dict.fromkeys(
                ("visitorId", "userId", "name", "avatar", "page", "state"), "As in a beat."
            ),
            "seq": "As in a beat, in digits.",
            "facets": "As in a beat, as a JSON object.",
            "changed": "As in a beat: true or false.",
        },
    ),
    _Channel(
        "realtime",
        "/api/ws/analytics/realtime",
        "All streams",
        f"The numbers of all streams together. {_FEED}",
        (Heartbeat,),
        (Analytics,),
    ),
    _Channel(
        "metrics",
        "/api/ws/streams/{id}/metrics",
        "A stream",
        f"The numbers of a stream. {_FEED}",
        (Heartbeat,),
        (Metrics,),
    ),
    _Channel(
        "container",
        "/api/ws/container/{id}",
        "A container",
        f"The state of a container. {_FEED}",
        (Heartbeat,),
        (ContainerMessage,),
    ),
)

_DESCRIPTION = """\
What dashboards hear over WebSockets, and how viewers are present by one. All but the latter is for
admins, and for tokens with a scope that allows it: `read:site:main` or `read:site:*` for such
spaces, `read:stream:*` for all streams together, `containers:*` for containers. The token is a JWT
in `?token=` (what browsers can send), the Authorization header or a cookie; without a valid one the
connection is refused with 401 or 403.

The addresses are those behind the edge (`EdgeWebSocketUrl`) and on a local stack. The WebSocket API
itself (`WebSocketUrl`) has one address only: there the feed is named by the query parameter `path`,
for example `?path=/api/ws/analytics/realtime&token=...`, and no `path` means a dashboard."""


def document(kinds: Sequence[str], cookie: str) -> dict[str, Any]:
    """The document of a deployment with these kinds of spaces and this token cookie, if any."""
    said = dict.fromkeys(one for channel in CHANNELS for one in channel.said)
    heard = dict.fromkeys(one for channel in CHANNELS for one in channel.heard)
    schemas = Schemas(bodies=said, answers=heard)
    messages = {
        **{_name(one): _message(one, schemas.body(one)) for one in said},
        **{_name(one): _message(one, schemas.answer(one)) for one in heard},
    }
    components = schemas.components
    for name, schema in components.items():
        # A space is written the same everywhere; an error says it as it was asked for.
        if name != ErrorMessage.__name__ and "space" in schema.get("properties", {}):
            schema["properties"]["space"] = {"$ref": "#/components/schemas/Space"}
    return {
        "asyncapi": "3.0.0",
        "info": {
            "title": "Headcount over WebSockets",
            "version": headcount.__version__,
            "description": _DESCRIPTION,
            "license": {"name": "MIT"},
        },
        "defaultContentType": "application/json",
        "servers": {"deployment": _server(cookie)},
        "channels": {channel.name: _channel(channel) for channel in CHANNELS},
        "operations": {
            name: operation for channel in CHANNELS for name, operation in _operations(channel)
        },
        "components": {
            "messages": messages,
            "schemas": {**components, "Space": _space(kinds)},
            "securitySchemes": _schemes(cookie),
        },
    }


def _space(kinds: Sequence[str]) -> Schema:
    schema = space(kinds)
    return {**schema, "examples": [schema.pop("example")]} if "example" in schema else schema


def _name(said: Any) -> str:
    if not is_typeddict(said):
        return "heartbeat"
    name = str(said.__name__).removesuffix("Message")
    return name[0].lower() + name[1:]


def _message(said: Any, schema: Schema) -> dict[str, Any]:
    described = inspect.getdoc(said) if is_typeddict(said) else schema["description"]
    text = {} if is_typeddict(said) else {"contentType": "text/plain"}
    return {"name": _name(said), "summary": described, "payload": schema, **text}


def _server(cookie: str) -> dict[str, Any]:
    return {
        "host": "{host}",
        "protocol": "wss",
        "description": "The deployment's edge, or a local stack (there the protocol is ws).",
        "variables": {"host": {"description": "For example d111111abcdef8.cloudfront.net."}},
        "security": [{"$ref": f"#/components/securitySchemes/{name}"} for name in _schemes(cookie)],
    }


def _schemes(cookie: str) -> dict[str, Any]:
    schemes: dict[str, Any] = {
        "token": {"type": "httpApiKey", "in": "query", "name": "token"},
        "bearer": {"type": "http", "scheme": "bearer", "bearerFormat": "JWT"},
    }
    if cookie:
        schemes["cookie"] = {"type": "httpApiKey", "in": "cookie", "name": cookie}
    return schemes


def _channel(channel: _Channel) -> dict[str, Any]:
    whose = "The viewer's token." if channel.query else "An admin's token, or one with the scope."
    texts = {"token": whose, **channel.query}
    query: Schema = {
        "type": "object",
        "properties": {
            name: {"type": "string", "description": text} for name, text in texts.items()
        },
    }
    made: dict[str, Any] = {
        "address": channel.address,
        "title": channel.title,
        "description": channel.description,
        "messages": {
            _name(one): {"$ref": f"#/components/messages/{_name(one)}"}
            for one in (*channel.said, *channel.heard)
        },
        "bindings": {"ws": {"method": "GET", "query": query, "bindingVersion": "0.1.0"}},
    }
    if "{id}" in channel.address:
        pattern = (CONTAINER_ID if channel.name == "container" else ID).pattern
        made["parameters"] = {"id": {"description": f"Its id: {pattern}"}}
    return made


def _operations(channel: _Channel) -> list[tuple[str, dict[str, Any]]]:
    """As AsyncAPI has it, ours: we receive what clients say, and send what they hear."""
    return [
        (f"{channel.name}_{action}", _operation(channel, action, messages))
        for action, messages in (("receive", channel.said), ("send", channel.heard))
    ]


def _operation(channel: _Channel, action: str, messages: Sequence[Any]) -> dict[str, Any]:
    who = "What the client says" if action == "receive" else "What the client hears"
    return {
        "action": action,
        "channel": {"$ref": f"#/channels/{channel.name}"},
        "summary": f"{who}: {channel.title.lower()}",
        "messages": [
            {"$ref": f"#/channels/{channel.name}/messages/{_name(one)}"} for one in messages
        ],
    }
