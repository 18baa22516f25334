"""Hostile input for every route and every frame, within a time limit, and repeatable by its seed.

report = fuzz(60, seed=7)  # seconds
assert not report.server_errors, report.server_errors
"""

from __future__ import annotations

import base64
import json
import random
import string
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cache
from importlib import import_module
from typing import Any

import jwt
from headcount.systems.course_viewers_convex import FUNCTION_FAILED
from headcount.web.routing import MODULE_OF_PATH, Route

from lab.harness.clock import Clock
from lab.harness.containers import CONTAINERS
from lab.harness.engines import Meter, memory_engine
from lab.harness.events import http_event, socket_event
from lab.harness.template import template
from lab.harness.world import SITE, World, world_on

MAX_ERRORS = 20
"""The number of errors after which a run stops."""

_HOUSEKEEPING = 250
"""The number of inputs after which everything stored is counted, published, swept and aggregated.
"""

_METHODS = ("GET", "POST", "PUT", "DELETE", "PATCH", "HEAD", "OPTIONS", "TRACE", "get", "", "B{}")

_TEXTS = [
    "",
    " ",
    "0",
    "-1",
    "null",
    "NaN",
    "\x00",
    "a\x00b",
    "\r\nset-cookie: a=b",
    "\ud800",  # half a character
    "x\udfff",
    "\u202e\u2066rtl",
    "e\u0301" * 60,
    "\U0001f469\u200d\U0001f4bb" * 40,
    "\ufeff",
    "\u2028",
    "../../etc/passwd",
    "..%2f..",
    "%",
    "%00",
    "%zz",
    "<script>alert(1)</script>",
    "'; DROP TABLE presence; --",
    "${jndi:ldap://example.test}",
    "{{7*7}}",
    "__proto__",
    "#",
    "site:main#0",
    "kind:",
    ":id",
    "site:" + "x" * 128,
    "site:" + "x" * 129,
    "2026-11-21",
    "2026-02-30",
    "0000-00-00",
    "9999-12-31T23:59:59.999Z",
    "2026-11-21T12:00:00+99:99",
    "1e309",
    "٣",  # a digit, but not in ASCII
    "x" * 255,
    "x" * 256,
    "é" * 700,
    "x" * 5_000,
]
_NUMBERS = ["0", "-0", "-0.0", "-1", "1.5", "1e3", "1e400", "-1e400", "1e-400", "NaN", "Infinity"]
_NUMBERS += ["-Infinity", "9" * 400, "9007199254740993", "-9223372036854775809", "86401", "0.1"]
_VALUES: list[Any] = [None, True, False, [], {}, [[]], [None], {"": ""}, {"a": {"b": {"c": []}}}]

_GOOD: dict[str, list[Any]] = {
    "/v1/spaces/<space>/presence": [
        {
            "sessionId": "s1",
            "visitorId": "v1",
            "userId": "u1",
            "name": "Ada",
            "avatar": "https://example.test/a.png",
            "page": "/",
            "facets": {"device": "mobile"},
            "state": "hidden",
            "seq": 5,
            "quality": {"latency": 20.5},
            "engagement": {"chat": 1},
        },
        {"sessionId": "s2"},
    ],
    "/v1/spaces/<space>/presence/leave": [{"sessionId": "s1", "seq": 9}],
    "/v1/spaces/<space>/alerts/<name>": [
        {"type": "milestone", "people": 3},
        {"type": "spike", "factor": 2, "minutes": 5, "atLeast": 10},
    ],
    "/v1/spaces/<space>/messages": [{"text": "Hello", "level": "info", "minutes": 1}],
    "/v1/spaces/<space>/removals": [{"userId": "u9", "minutes": 1, "reason": "rude"}],
    "/v1/erasures": [{"userId": "u9"}],
    "/api/analytics/live-activity": [
        {
            "userId": "u1",
            "sessionId": "s1",
            "activityType": "watching",
            "contentId": "c1",
            "contentTitle": "Film",
            "currentPosition": 5,
            "duration": 60,
            "variant": "B",
        }
    ],
    "/api/courses/<course>/presence": [{"userId": "u1", "userName": "Ada", "chapterId": "ch1"}],
    "/api/send/realtime/<linkId>": [
        {"action": "join", "sessionId": "s1", "fingerprint": "f1", "currentPage": 2},
        {"action": "heartbeat", "sessionId": "s1"},
        {"action": "leave", "sessionId": "s1", "duration": 12},
    ],
    "/api/streams": [{"id": "live-1", "title": "Opening", "channelId": "channel-1"}],
    "/api/v1/analytics/streams/<id>/events": [
        {"type": "chat", "count": 2},
        {"type": "revenue", "amount": 1.5},
    ],
    "/api/v1/analytics/streams/<id>/infrastructure": [{"source": "rtmp", "bandwidth": 5_000}],
    "/api/heartbeats": [{"sessionId": "s1", "pagePath": "/", "userId": "u1"}],
    "/rest/v1/heartbeats": [
        {"session_id": "s1", "page_path": "/", "user_id": "u1"},
        [{"session_id": "s1", "page_path": "/"}, {"session_id": "s2", "page_path": "/b"}],
    ],
    "/rest/v1/rpc/get_daily_active_users": [{"for_date": "2026-11-21"}],
    **{
        path: [
            {"path": f"liveViewers:{name}", "format": "convex_encoded_json", "args": [args]}
            for name, args in (
                ("recordPresence", {"courseId": "c1", "userId": "u1", "chapterId": "ch1"}),
                ("removePresence", {"courseId": "c1", "userId": "u1"}),
                ("getLiveViewerCount", {"courseId": "c1"}),
                ("getActiveViewers", {"courseId": "c1", "limit": 5}),
            )
        ]
        for path in ("/api/query", "/api/mutation", "/api/action", "/api/query_ts")
    },
}
"""Valid bodies by route, which are then spoilt; other routes take no body, or an empty one."""

_FRAMES: list[Any] = [
    {"action": action, "space": space}
    for action in ("subscribe", "unsubscribe", "snapshot", "ping")
    for space in (SITE, "course:c1", "stream:live-1")
]
_FEEDS = ["/api/ws/analytics/realtime", "/api/ws/streams/live-1/metrics", "/api/ws/container/c1"]
_PARAMETERS = {"space": [SITE, "course:c1", "link:l1", "stream:live-1", "activity:main", "x:1"]}
_QUERIES: dict[str, list[str]] = {
    "columns": ['"session_id","page_path"', "session_id", "nothing"],
    "select": ["*", "people", "total_users,top_pages"],
    "limit": ["1", "100"],
    "cursor": ["WzAsInMxIl0", "WzAsbnVsbF0", "W10", "AAAA"],
    "on_conflict": ["session_id"],
    "order": ["created_at.desc"],
    "or": ["(session_id.eq.1)"],
    "kind": ["site"],
    "sessionId": ["s1"],
    "id": ["live_u1_s1"],
}
_HEADERS: dict[str, list[str]] = {
    "content-type": ["application/json", "text/plain", "application/xml", "multipart/form-data"],
    "user-agent": ["Mozilla/5.0 (iPhone; Mobile)", "curl/8", ""],
    "cloudfront-viewer-country": ["DE", "de", "XXX"],
    "prefer": ["return=representation", "return=minimal,count=exact", "resolution=merge"],
    "accept": ["application/vnd.pgrst.object+json", "text/csv"],
    "accept-profile": ["private"],
    "range": ["0-9", "9-0"],
    "origin": ["https://example.test", "null"],
    "idempotency-key": ["key-1"],
    "apikey": ["anon"],
    "if-none-match": ["*"],
    "x-forwarded-for": ["203.0.113.9"],
}


@dataclass(slots=True)
class FuzzReport:
    """The result of a run: the number of inputs and of each status, and the server's errors with
    their inputs: crashes, 5xx, errors without a message or in an unknown format, and refusals that
    stored something."""

    inputs: int = 0
    by_status: dict[int, int] = field(default_factory=dict)
    server_errors: list[str] = field(default_factory=list)


def fuzz(seconds: float, seed: int, *, inputs: int | None = None) -> FuzzReport:
    """Send hostile input to a new world, for this many seconds or up to this many inputs."""
    chance = random.Random(seed)  # noqa: S311 - not a secret
    report = FuzzReport()
    statuses: Counter[int] = Counter()
    until = time.monotonic() + seconds
    with memory_engine() as engine, world_on(engine, Clock(), **CONTAINERS) as world:
        attacker = Attacker(world, chance)
        with engine.metered() as meter:
            while report.inputs != inputs and time.monotonic() < until:
                report.inputs += 1
                meter.calls.clear()
                hostile = attacker.next()
                try:
                    status, wrong = hostile.send(meter)
                except Exception as error:
                    status, wrong = 0, f"raised {error!r}"
                statuses[status] += 1
                if report.inputs % _HOUSEKEEPING == 0:
                    wrong = wrong or attacker.process_stored()
                if wrong:
                    event = ascii(hostile.event)[:3_000]
                    report.server_errors.append(f"input {report.inputs}: {wrong}: {event}")
                    if len(report.server_errors) >= MAX_ERRORS:
                        break
    report.by_status = dict(sorted(statuses.items()))
    return report


@dataclass(frozen=True, slots=True)
class Input:
    """An event for a function, and a call that sends it and checks the answer."""

    event: dict[str, Any]
    send: Callable[[Meter], tuple[int, str]]
    """Returns the status, and what is wrong with the answer ("" if nothing is)."""


class Attacker:
    """Makes the inputs, at random."""

    def __init__(self, world: World, chance: random.Random) -> None:
        self._world = world
        self._chance = chance
        self._routes = routes()
        expired = world.token(lives=-60, headcount="admin")
        forged = world.token(secret="another secret, also long enough", headcount="admin")
        unsigned = jwt.encode({"headcount": "admin", "exp": 2**40}, "", algorithm="none")
        self._tokens = [
            world.admin,
            world.token(sub="u1", name="\ud800", picture="x" * 5_000),
            world.token(sub="\ud800", name="x" * 5_000),
            world.token(sub="x" * 5_000, name="a\x00b"),
            world.token(sub="a#b\x00\u202e", headcount=["admin"]),
            expired,
            forged,
            unsigned,
            world.admin[:-4],
            world.admin.rpartition(".")[0] + ".",
            "a.b.c",
            "....",
            "Bearer",
            "\x00",
            "é",
            "x" * 9_000,
        ]
        for connection in ("c1", "c2"):
            world.connect(connection)

    # ------------------------------------------------------------------------------------ inputs

    def next(self) -> Input:
        """The next input."""
        self._world.clock.advance(self._chance.choice([0, 0, 0.2, 1, 15]))
        if self._chance.random() < 0.1:
            return self._frame()
        return self._request()

    def process_stored(self) -> str:
        """Process everything stored, now and over a day; returns what fails."""
        world = self._world
        try:
            world.settle()
            world.clock.advance(61)
            world.sweep()
            world.settle()
            for space in (SITE, "course:c1", "stream:live-1", "link:l1", "activity:main"):
                body = world.headcount(space)
                json.dumps(body, allow_nan=False).encode()
            if self._chance.random() < 0.2:
                world.clock.advance(86_400)
                world.sweep()
                world.settle()
                world.daily()
        except Exception as error:
            return f"what was stored can't be processed: {error!r}"
        return ""

    def _request(self) -> Input:
        route = self._chance.choice(self._routes)
        path = self._path(route.rule)
        method = route.method if self._often() else self._chance.choice(_METHODS)
        headers = self._some(_HEADERS)
        cookies = None
        token = self._token()
        if token is not None:
            where = self._chance.random()
            if where < 0.8:
                headers["authorization"] = f"Bearer {token}"
            elif where < 0.9:
                headers["authorization"] = self._chance.choice(["Basic ", "bearer  ", ""]) + token
            else:
                cookies = [f"headcount={token}", self._text()]
        names = {query.name: _QUERIES.get(query.name, []) for query in route.query}
        query = self._some({**_QUERIES, **names}, at_most=2)
        query.update(self._some(names))
        if token is not None and self._seldom():
            query["token"] = token
        event = http_event(
            method,
            path,
            query={name: _sound(value) for name, value in query.items()},
            headers=headers,
            cookies=cookies,
            request=self._world.new_id() if self._often() else "request-1",
        )
        event.update(self._body(route))
        function = template().function_of(method, path)
        return Input(event, lambda meter: self._ask(function, event, meter))

    def _frame(self) -> Input:
        connection = self._chance.choice(["c1", "c2", "unknown"])
        kind = "MESSAGE" if self._often() else self._chance.choice(["CONNECT", "DISCONNECT"])
        query: dict[str, str] = {}
        body = None
        if kind == "MESSAGE":
            body = self._json(self._chance.choice(_FRAMES))
        if kind == "CONNECT":
            query = {"token": self._token() or ""}
            if self._seldom(0.5):
                query["path"] = (
                    self._chance.choice(_FEEDS) if self._seldom(0.5) else self._hostile_path()
                )
        event = socket_event(kind, connection, body=body, query=query)
        return Input(event, lambda meter: self._say(event, meter))

    def _path(self, rule: str) -> str:
        parts = []
        for part in rule.split("/"):
            if part.startswith("<"):
                known = _PARAMETERS.get(part[1:-1], ["c1", "live-1", "l1", "many", "channel-1"])
                parts.append(self._chance.choice(known) if self._often() else self._hostile_part())
            else:
                parts.append(self._hostile_part() if self._seldom(0.02) else part)
        path = "/".join(parts)
        if self._seldom(0.05):
            return self._hostile_path()
        return path + self._chance.choice(["/", "//", "%00", ";a=b", "/../"]) * self._seldom(0.05)

    def _hostile_part(self) -> str:
        text = self._text()
        encoded = "".join(f"%{byte:02x}" for byte in text.encode(errors="replace"))
        return self._chance.choice([text.replace("/", "%2F"), encoded[:3_000], ".", "..", ""])

    def _hostile_path(self) -> str:
        parts = [self._hostile_part() for _ in range(self._chance.randrange(1, 6))]
        return self._chance.choice(["", "/", "//", "/v1/spaces/"]) + "/".join(parts)

    def _token(self) -> str | None:
        if self._seldom(0.7):
            return self._world.admin if self._often() else None
        return self._chance.choice(self._tokens)

    # ------------------------------------------------------------------------------------- bodies

    def _body(self, route: Route) -> dict[str, Any]:
        if route.method in {"GET", "DELETE"} and self._often():
            return {}
        text = self._json(self._chance.choice(_GOOD.get(route.rule, [{}])))
        if self._seldom(0.2):
            raw = text.encode(errors="surrogatepass")
            if self._seldom(0.3):
                raw = self._chance.randbytes(self._chance.randrange(40)) + raw
            encoded = base64.b64encode(raw).decode()
            return {"body": encoded[: -1 if self._seldom() else None], "isBase64Encoded": True}
        return {"body": text}

    def _json(self, good: Any) -> str:
        """A valid body as JSON, or spoilt."""
        if self._seldom(0.25):
            return json.dumps(good)
        spoilt = json.loads(json.dumps(good))
        for _ in range(self._chance.choice([1, 1, 2, 4])):
            spoilt = self._spoil(spoilt)
        text = json.dumps(spoilt, ensure_ascii=self._often())
        number = self._chance.choice(_NUMBERS)
        text = text.replace('"a number"', number)
        match self._chance.randrange(14):
            case 0:
                text = text[: self._chance.randrange(len(text) + 1)]
            case 1:
                text = text[:-1] + f',"sessionId":{number},"sessionId":"twice"' + text[-1:]
            case 2:
                text = "[" * self._chance.choice([2, 200, 7_000]) + text
            case 3:
                text = self._chance.choice(["\ufeff", " " * 20_000, "\x00"]) + text
            case 4:
                text = self._text()
        return text

    def _spoil(self, value: Any) -> Any:
        """The value with one change: something replaced, omitted, added or wrapped."""
        chance = self._chance
        if isinstance(value, dict) and value and self._often():
            name = chance.choice(list(value))
            spoilt = dict(value)
            what = chance.randrange(6)
            if what == 0:
                del spoilt[name]
            elif what == 1:
                spoilt[self._text()] = self._value()
            elif what == 2:
                spoilt |= {f"extra{number}": "x" for number in range(chance.choice([1, 9, 300]))}
            else:
                spoilt[name] = self._spoil(value[name])
            return spoilt
        if isinstance(value, list) and value and self._often():
            spoilt_list = list(value)
            index = chance.randrange(len(spoilt_list))
            spoilt_list[index] = self._spoil(spoilt_list[index])
            # Limited, because a few rounds, or lists in lists, would fill the memory.
            small = len(str(value)) < 1_000 and len(str(spoilt_list)) < 10_000
            return spoilt_list * (chance.choice([1, 1, 1, 2, 120]) if small else 1)
        if self._seldom():
            return [value]
        return self._value()

    def _value(self) -> Any:
        chance = self._chance
        match chance.randrange(6):
            case 0:
                return "a number"
            case 1:
                return chance.choice(_VALUES)
            case 2:
                deep: Any = self._text()
                for _ in range(chance.choice([3, 60, 400])):
                    deep = [deep] if chance.random() < 0.5 else {"a": deep}
                return deep
            case 3:
                return {self._text(): self._text() for _ in range(chance.choice([1, 5, 40]))}
        return self._text()

    def _text(self) -> str:
        if self._seldom(0.2):
            letters = string.printable + "äß漢\u200b\U0001f600"
            return "".join(self._chance.choices(letters, k=self._chance.randrange(1, 40)))
        return self._chance.choice(_TEXTS)

    def _some(self, known: dict[str, list[str]], at_most: int = 4) -> dict[str, str]:
        found = {}
        for name in self._chance.sample(sorted(known), min(at_most, len(known))):
            if self._seldom(0.3):
                good = known[name]
                found[name] = self._chance.choice(good) if good and self._often() else self._text()
        return found

    def _often(self) -> bool:
        return self._chance.random() < 0.8

    def _seldom(self, how: float = 0.1) -> bool:
        return self._chance.random() < how

    # ------------------------------------------------------------------------------------ answers

    def _ask(self, function: str, event: dict[str, Any], meter: Meter) -> tuple[int, str]:
        response = json.loads(json.dumps(self._world.invoke(function, event)))  # as Lambda does
        status = response["statusCode"]
        wrong = "".join(_faults(event, response, stored=_stored(meter)))
        return status, wrong

    def _say(self, event: dict[str, Any], meter: Meter) -> tuple[int, str]:
        api = self._world.management
        connection = event["requestContext"]["connectionId"]
        before = len(api.frames[connection])
        response = json.loads(json.dumps(self._world.invoke("socket", event)))
        received = api.frames[connection][before:]
        status = response["statusCode"]
        if status != 200 and event["requestContext"]["eventType"] == "CONNECT":
            return status, "".join(_faults(event, response, stored=_stored(meter)))
        if status != 200:
            return status, f"answered {status}"
        if any(frame.get("type") == "error" for frame in received):
            if not all(isinstance(one.get("error"), str) and one["error"] for one in received):
                return 400, "an error without a message"
            return 400, "a refused frame stored something" if _stored(meter) else ""
        return 200, ""


@cache
def routes() -> list[Route]:
    """Every route."""
    modules = dict.fromkeys(MODULE_OF_PATH.values())
    return [route for module in modules for route in import_module(module).ROUTES]


def _stored(meter: Meter) -> bool:
    return any(not call.failed for call in meter.calls if call.operation in meter.writes)


def _sound(text: str) -> str:
    """A text that can be in a query: the gateway decodes it as UTF-8."""
    return text.encode(errors="replace").decode()


def _faults(event: dict[str, Any], response: dict[str, Any], *, stored: bool) -> Iterator[str]:
    status = response["statusCode"]
    text = response.get("body") or ""
    if status >= 500 and not (status == FUNCTION_FAILED and '"errorMessage"' in text):
        yield f"answered {status}"
    text.encode()
    for name, value in response["headers"].items():
        if not isinstance(value, str) or set(value) & set("\r\n\x00"):
            yield f"header {name}: {value!r}"
    if status < 400 or event["requestContext"].get("http", {}).get("method") == "HEAD":
        if text and "json" in response["headers"].get("content-type", ""):
            json.loads(text, parse_constant=_no_constant)
        return
    if stored and "removed from this space" not in text:  # that refusal ends the session
        yield f"{status} stored something"
    body = json.loads(text)
    message = body.get("error") or body.get("message") or body.get("errorMessage")
    if not isinstance(message, str) or not message:
        yield f"{status} without a message"
    elif message.startswith("Something went wrong"):  # an internal error with another status
        yield f"{status} for an internal error"
    elif body.get("success") is not False and not {"code", "status"} & set(body):
        yield f"{status} in an unknown format"


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is not JSON")
