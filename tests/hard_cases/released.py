"""A release's rows and answers after one scenario, frozen: releases read each other's data.

``rows/released.json`` was written by the code of a release, and is written again for the next one:

    cd <a checkout of the release>
    PYTHONPATH=.:layers/presence python <path of this file> <where to write>/released.json
"""

from __future__ import annotations

import base64
import json
import sys
from collections.abc import Iterable
from hashlib import blake2b
from pathlib import Path
from typing import Any

from lab.harness import engines
from lab.harness.clock import Clock
from lab.harness.world import SITE, World, world_on

RELEASED = Path(__file__).parent / "rows" / "released.json"
PARAMETERS = {
    "ShardsPerSpace": "2",
    "Containers": "cluster=live,task-definition=encoder,subnets=subnet-1",
}
STREAM = "/api/v1/analytics/streams/live-1"
QUESTIONS = [
    *[f"/v1/spaces/{SITE}{tail}" for tail in ("", "/viewers", "/timeline", "/days")],
    *[f"/v1/spaces/{SITE}/{what}" for what in ("alerts", "messages", "removals")],
    *[f"/v1/spaces?kind={kind}" for kind in ("site", "course", "link", "stream", "activity")],
    "/v1/spaces/site:large",
    "/v1/spaces/stream:live-1",
    "/api/analytics/live-activity",
    "/api/courses/c1/viewers/count",
    "/api/courses/c1/viewers",
    "/api/send/realtime/abc",
    f"{STREAM}/metrics",
    "/api/v1/analytics/real-time/live-1",
    "/api/v1/analytics/comprehensive/live-1",
    "/api/v1/analytics/historical/channel-1",
    "/api/streams",
    "/api/streams/live-1",
    "/api/traffic/live",
    "/api/traffic/daily?date=2026-11-20",
]


def run_scenario(world: World) -> None:
    """Two days of a deployment: every table gets every sort of row."""
    world.clock.set("2026-11-20T10:00:00Z")
    for number in range(3):
        world.beat(f"y{number}", visitorId=f"v{number}", page="/", request=f"y{number}")
    world.settle()
    world.clock.advance(40)
    world.sweep()
    world.leave("y0", request="y0-leaves")
    world.settle()
    world.clock.set("2026-11-20T23:59:40Z")
    world.beat("midnight", visitorId="v9", request="midnight-1")
    world.settle()
    world.clock.advance(30)
    world.beat("midnight", visitorId="v9", request="midnight-2")
    world.sweep()
    world.settle()
    world.clock.set("2026-11-21T01:00:00Z")
    world.sweep()
    world.settle()
    world.daily()
    world.clock.set("2026-11-21T12:00:00Z")
    _moderate(world)
    _visit(world)
    _use_the_systems(world)
    _listen(world)
    world.settle()
    world.clock.advance(10)
    world.sweep()
    world.settle()


def _visit(world: World) -> None:
    facts = {"visitorId": "v1", "page": "/a", "facets": {"plan": "pro"}}
    world.beat("steady", **facts, seq=1, request="steady-1")
    world.beat("tab", **facts, request="tab-1")
    world.beat("leaves", visitorId="v2", seq=1, request="leaves-1")
    world.beat("user", userId="u1", name="Ada", avatar="https://example.test/a", request="user-1")
    world.beat("signs-in", visitorId="v4", request="signs-in-1")
    world.beat("signs-out", userId="u5", visitorId="v5", request="signs-out-1")
    world.beat("hidden", visitorId="v6", state="hidden", request="hidden-1")
    world.beat("crashes", visitorId="v7", request="crashes-1")
    proven = world.token(sub="u8", name="Grace")
    world.beat("proven", token=proven, request="proven-1")
    for number in range(20):  # more facets than fit beside the numbers
        words = [blake2b(bytes([number, one]), digest_size=20).hexdigest() for one in range(6)]
        facets = {f"facet{one}": word for one, word in enumerate(words)}
        world.beat(f"l{number}", "site:large", facets=facets, request=f"l{number}")
    world.settle()
    world.clock.advance(20)
    world.beat("steady", **facts, seq=2, request="steady-2")
    world.beat("tab", **{**facts, "page": "/b"}, request="tab-2")
    world.leave("leaves", seq=2, request="leaves-2")
    world.leave("overtaken", seq=7, request="overtaken")
    world.beat("signs-in", visitorId="v4", userId="u4", request="signs-in-2")
    world.beat("signs-out", visitorId="v5", request="signs-out-2")
    world.settle()


def _use_the_systems(world: World) -> None:
    def post(path: str, body: object, *, status: int = 200, admin: bool = False) -> None:
        token = world.admin if admin else None
        answer = world.http("POST", path, body=body, token=token, request=f"post {path} {body}")
        assert answer.status == status, answer

    watching = {"activityType": "watching", "contentId": "film", "currentPosition": 7}
    post("/api/analytics/live-activity", {"userId": "u1", "sessionId": "s1", **watching})
    post("/api/courses/c1/presence", {"userId": "u1", "userName": "Ada", "chapterId": "ch1"})
    for name in ("s1", "s2"):
        post(
            "/api/send/realtime/abc",
            {"action": "join", "sessionId": name, "fingerprint": f"f-{name}", "currentPage": 1},
        )
    post("/api/send/realtime/abc", {"action": "leave", "sessionId": "s2", "duration": 12})
    stream = {"id": "live-1", "title": "Opening", "channelId": "channel-1"}
    post("/api/streams", stream, status=201, admin=True)
    post("/api/streams/live-1/start", {}, admin=True)
    for number, chat in enumerate((0, 2)):
        world.beat(
            f"w{number}",
            "stream:live-1",
            quality={"bandwidth": 1000 + number, "latency": 30.5},
            engagement={"chat": chat},
            request=f"w{number}",
        )
    world.settle()
    world.leave("w1", "stream:live-1", request="w1-leaves")
    post(f"{STREAM}/events", {"type": "share"}, admin=True)
    post(f"{STREAM}/events", {"type": "revenue", "amount": 12.5}, admin=True)
    post(f"{STREAM}/infrastructure", {"source": "rtmp", "bandwidth": 5000, "load": 0.5}, admin=True)
    post("/rest/v1/heartbeats", {"session_id": "rest", "page_path": "/a"}, status=201)


def _moderate(world: World) -> None:
    def act(method: str, tail: str, body: object) -> None:
        path = f"/v1/spaces/{SITE}/{tail}"
        answer = world.http(method, path, body=body, token=world.admin, request=f"{method} {tail}")
        assert answer.status == 200, answer

    act("PUT", "alerts/many", {"type": "milestone", "people": 3})
    act("POST", "messages", {"text": "We close at noon.", "minutes": 60})
    act("POST", "removals", {"userId": "rude", "minutes": 60})


def _listen(world: World) -> None:
    world.subscribe("c1")
    world.connect("c2", path="/api/ws/analytics/realtime")
    world.connect("c3", path="/api/ws/streams/live-1/metrics")


def answers(world: World, questions: Iterable[str] = QUESTIONS) -> dict[str, Any]:
    """An admin's answers."""
    found = {}
    for question in questions:
        path, _, query = question.partition("?")
        asked = dict(pair.split("=") for pair in query.split("&") if pair)
        answer = world.get(path, token=world.admin, **asked)
        assert answer.status == 200, (question, answer)
        found[question] = answer.body
    return found


def dump(world: World) -> dict[str, list[Any]]:
    """Every row of every table, as DynamoDB's JSON."""
    return {
        role: [
            _portable(item)
            for page in world.engine.client.get_paginator("scan").paginate(TableName=table.name)
            for item in page["Items"]
        ]
        for role, table in world.tables.items()
    }


def load(world: World, rows: dict[str, list[Any]]) -> None:
    """Put these rows into a world's empty tables, without stream records."""
    for role, items in rows.items():
        for item in items:
            row = _restored(item)
            if "cause" in row:
                row["cause"] = {"S": "0"}  # each engine has its own sequence numbers
            world.tables[role].put(row)
    for function in ("count", "publish"):
        world.filtered(function)


def _portable(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _portable(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [_portable(inner) for inner in value]
    return base64.b64encode(value).decode() if isinstance(value, bytes) else value


def _restored(value: Any) -> Any:
    if isinstance(value, dict):
        return {
            key: base64.b64decode(inner)
            if key == "B" and isinstance(inner, str)
            else _restored(inner)
            for key, inner in value.items()
        }
    return [_restored(inner) for inner in value] if isinstance(value, list) else value


def frozen(world: World) -> dict[str, Any]:
    """The scenario's rows, and the answers computed from them."""
    run_scenario(world)
    return {"now": world.clock(), "rows": dump(world), "answers": answers(world)}


def text_of(written: dict[str, Any]) -> str:
    """JSON with a row per line, for readable diffs."""

    def line(value: Any) -> str:
        return json.dumps(value, separators=(",", ":"), sort_keys=True)

    rows = ",\n".join(
        f'"{role}":[\n' + ",\n".join(sorted(map(line, items))) + "\n]"
        for role, items in sorted(written["rows"].items())
    )
    answered = ",\n".join(f"{line(path)}:{line(body)}" for path, body in written["answers"].items())
    return f'{{"now":{written["now"]},\n"rows":{{\n{rows}\n}},\n"answers":{{\n{answered}\n}}}}\n'


if __name__ == "__main__":
    open_engine = getattr(engines, "memory_engine", engines.moto_engine)
    with open_engine() as engine, world_on(engine, Clock(), **PARAMETERS) as world:
        written = frozen(world)
    Path(sys.argv[1]).write_text(text_of(written))
