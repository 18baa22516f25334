"""The AsyncAPI document, from the types of the WebSocket messages."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal, NotRequired

from pydantic import Field
from typing_extensions import TypedDict, is_typeddict

import headcount
from headcount.documents.schemas import Schema, Schemas, space_schema
from headcount.model.container import CONTAINER_ID
from headcount.model.people import MOST_PEOPLE
from headcount.model.space import ID, KIND, ROLLUP
from headcount.model.viewer import NamedViewer
from headcount.systems.stream_analytics.containers import ContainerData
from headcount.systems.stream_analytics.state import MetricsData, OverviewData
from headcount.web.answers import Headcount, Notice, RolledUp, Whereabouts
from headcount.web.bodies import (
    Avatar,
    Details,
    Engagement,
    Facets,
    Identifier,
    Name,
    Page,
    Quality,
    Seq,
    VisitorId,
)

# ---------------------------------------------------------------------------- sent by the client


class Subscribe(TypedDict):
    """Subscribe to a space, or to a roll-up by its id: its headcount comes at once, then every
    version, in order."""

    action: Literal["subscribe"]
    space: str


class Unsubscribe(TypedDict):
    """Unsubscribe from a space."""

    action: Literal["unsubscribe"]
    space: str


class Snapshot(TypedDict):
    """Get a space's current headcount, subscribed or not."""

    action: Literal["snapshot"]
    space: str


People = Annotated[list[str], Field(min_length=1, max_length=MOST_PEOPLE)]


class Watch(TypedDict):
    """Watch people by their keys, such as ``u:ada``: where they are comes at once, then what
    changes. Watched once more, they come once more."""

    action: Literal["watch"]
    people: People


class Unwatch(TypedDict):
    """Watch these people no longer; without ``people``: nobody."""

    action: Literal["unwatch"]
    people: NotRequired[People]


class Ping(TypedDict):
    """Check the connection and keep it open: after 10 idle minutes it is closed."""

    action: Literal["ping"]


class Beat(TypedDict):
    """Still here, and doing this: the body of a beat over HTTP, without the session. Only a beat
    with ``answer: true`` is answered."""

    action: Literal["beat"]
    visitorId: NotRequired[VisitorId]
    userId: NotRequired[Identifier]
    name: NotRequired[Name]
    avatar: NotRequired[Avatar]
    page: NotRequired[Page]
    facets: NotRequired[Facets]
    state: NotRequired[Literal["active", "hidden"]]
    seq: NotRequired[Seq]
    quality: NotRequired[Quality]
    engagement: NotRequired[Engagement]
    details: NotRequired[Details]
    changed: NotRequired[bool]
    answer: NotRequired[bool]


Heartbeat = Annotated[
    str, Field(description="Any text: keeps the connection open, and asks for the current state.")
]


# ---------------------------------------------------------------------------- sent by the server


class HeadcountMessage(TypedDict):
    """A version of a space's numbers. Versions come in order, one by one; repeats are possible."""

    type: Literal["headcount"]
    space: str
    version: int
    asOf: str
    data: Headcount | RolledUp


class Alert(TypedDict):
    """An alert that a version set off, with its ``people``. A milestone has its ``threshold``, a
    spike the people ``before`` and its rule."""

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
    """An alert, right after the version that set it off. A repeated alert has the same id."""

    type: Literal["alert"]
    space: str
    version: int
    at: str
    alert: Alert


class NoticeMessage(TypedDict):
    """The message to everyone changed with this version; null if it ended."""

    type: Literal["notice"]
    space: str
    version: int
    at: str
    notice: Notice | None


class PeopleMessage(TypedDict):
    """Where people are whom the client watches from now on, 25 in a message."""

    type: Literal["people"]
    people: list[Whereabouts]
    at: str


class PersonMessage(Whereabouts):
    """A watched person came, went or moved, as of ``at``. It may repeat what is known; one whose
    ``at`` is earlier than that of the last one is to be ignored."""

    type: Literal["person"]
    event: Literal["online", "offline", "moved"]
    at: str


class Pong(TypedDict):
    """The response to a ping."""

    type: Literal["pong"]


class PresentMessage(TypedDict):
    """The response to a beat that asks for one: the people in the space, and the message to
    everyone."""

    type: Literal["present"]
    space: str
    count: int
    version: int
    notice: NotRequired[Notice]


class CountMessage(TypedDict):
    """The people in a space: on connecting, then when they change, within the space's budget.
    ``viewers``: up to 20 of them, if the caller may see names. Versions grow, with gaps."""

    type: Literal["count"]
    space: str
    count: int
    version: int
    viewers: NotRequired[list[NamedViewer]]


class ErrorMessage(TypedDict):
    """What is wrong with a message of the client's. ``space``: the space it named, if any.
    ``retryAfter``: seconds after which to send it again."""

    type: Literal["error"]
    error: str
    space: NotRequired[str]
    retryAfter: NotRequired[int]


class Metrics(TypedDict):
    """A stream's numbers: on connecting, when they change, and after a heartbeat."""

    type: Literal["metrics"]
    data: MetricsData


class Analytics(TypedDict):
    """All streams' numbers: on connecting, within 2 s of a change, and after a heartbeat."""

    type: Literal["analytics"]
    data: OverviewData


class ContainerState(ContainerData):
    """A container at the time ``at``. ``version`` grows with every change."""

    version: int
    at: str


class ContainerMessage(TypedDict):
    """A container's state: on connecting if it is known, when it changes, and after a heartbeat."""

    type: Literal["container"]
    data: ContainerState


# ---------------------------------------------------------------------------------- the document


@dataclass(frozen=True, slots=True)
class _Channel:
    name: str
    address: str
    title: str
    description: str
    received: tuple[Any, ...]  # by the server
    sent: tuple[Any, ...]
    query: Mapping[str, str] = field(default_factory=dict)
    """Parameters other than the token, and their descriptions."""


_FEED = "The server answers any message with the current state."

CHANNELS = (
    _Channel(
        "dashboard",
        "/ws",
        "Dashboards",
        "Headcounts of the spaces that the client subscribes to, 50 at most, and where people are "
        "whom it watches, 100 at most.",
        (Subscribe, Unsubscribe, Snapshot, Watch, Unwatch, Ping),
        (
            HeadcountMessage,
            AlertMessage,
            NoticeMessage,
            PeopleMessage,
            PersonMessage,
            Pong,
            ErrorMessage,
        ),
    ),
    _Channel(
        "presence",
        "/ws",
        "Viewers",
        "Presence by connection: opening it with a space and a session is the join, closing it the "
        "leave. Anyone may connect; a token proves who they are. With `listen=count` it also gets "
        "the space's count.",
        (Beat, Ping),
        (PresentMessage, CountMessage, Pong, ErrorMessage),
        {
            "space": "The space to join. Required.",
            "sessionId": "One per tab. Required.",
            "listen": "count: send the space's count as it changes.",
            **dict.fromkeys(
                ("visitorId", "userId", "name", "avatar", "page", "state"), "As in a beat."
            ),
            "seq": "As in a beat, in digits.",
            "facets": "As in a beat, as a JSON object.",
            "changed": "As in a beat: true or false.",
        },
    ),
    _Channel(
        "count",
        "/ws",
        "Listeners",
        "The count of a space, for anyone where counts are public, else with a token that may read "
        "it. The client is not present in the space.",
        (Ping,),
        (CountMessage, Pong, ErrorMessage),
        {"space": "The space to listen to. Required.", "listen": "count. Required."},
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
The WebSocket feeds of dashboards, and presence by connection for viewers. Viewers need no token.
The other channels are for admins and for tokens with a scope for them, such as `read:site:main` or
`read:site:*` for spaces, `people:u:ada` to watch a person, `read:stream:*` for all streams,
`containers:*` for containers.
The token is a JWT in `?token=` (for browsers), in the Authorization header or in a cookie; without
a valid one the connection is refused with 401 or 403.

The addresses are those of the edge (`EdgeWebSocketUrl`) and of a local stack. The WebSocket API
itself (`WebSocketUrl`) has a single address, where the query parameter `path` names the feed, for
example `?path=/api/ws/analytics/realtime&token=...`; without `path` it is a dashboard.

The clients of the npm package `convex` have an address of their own, `/api/{version}/sync`. Its
protocol is that package's, and not described here."""


def document(kinds: Sequence[str], cookie: str) -> dict[str, Any]:
    """The document of a deployment with these kinds of spaces and this token cookie, if any."""
    received = dict.fromkeys(one for channel in CHANNELS for one in channel.received)
    sent = dict.fromkeys(one for channel in CHANNELS for one in channel.sent)
    schemas = Schemas(bodies=received, answers=sent)
    messages = {
        **{_name(one): _message(one, schemas.of_body(one)) for one in received},
        **{_name(one): _message(one, schemas.of_answer(one)) for one in sent},
    }
    components = schemas.components
    for name, schema in components.items():
        # A space's id has one schema, except in errors, which repeat the id that the client sent.
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
            "schemas": {**components, "Space": _space_schema(kinds)},
            "securitySchemes": _schemes(cookie),
        },
    }


def _space_schema(kinds: Sequence[str]) -> Schema:
    schema = space_schema(kinds)
    space, example = schema["pattern"].strip("^$"), schema["example"]
    rollup = f"{ROLLUP}kind:({'|'.join(sorted(kinds))})|{ROLLUP}group:{KIND.pattern}"
    return {"type": "string", "pattern": f"^({space}|{rollup})$", "examples": [example]}


def _name(message: Any) -> str:
    if not is_typeddict(message):
        return "heartbeat"
    name = str(message.__name__).removesuffix("Message")
    return name[0].lower() + name[1:]


def _message(message: Any, schema: Schema) -> dict[str, Any]:
    summary = inspect.getdoc(message) if is_typeddict(message) else schema["description"]
    text = {} if is_typeddict(message) else {"contentType": "text/plain"}
    return {"name": _name(message), "summary": summary, "payload": schema, **text}


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
            for one in (*channel.received, *channel.sent)
        },
        "bindings": {"ws": {"method": "GET", "query": query, "bindingVersion": "0.1.0"}},
    }
    if "{id}" in channel.address:
        pattern = (CONTAINER_ID if channel.name == "container" else ID).pattern
        made["parameters"] = {"id": {"description": f"Its id: {pattern}"}}
    return made


def _operations(channel: _Channel) -> list[tuple[str, dict[str, Any]]]:
    """The server's operations, as AsyncAPI defines them: it receives what clients send."""
    return [
        (f"{channel.name}_{action}", _operation(channel, action, messages))
        for action, messages in (("receive", channel.received), ("send", channel.sent))
    ]


def _operation(channel: _Channel, action: str, messages: Sequence[Any]) -> dict[str, Any]:
    direction = "From the client" if action == "receive" else "To the client"
    return {
        "action": action,
        "channel": {"$ref": f"#/channels/{channel.name}"},
        "summary": f"{direction}: {channel.title.lower()}",
        "messages": [
            {"$ref": f"#/channels/{channel.name}/messages/{_name(one)}"} for one in messages
        ],
    }
