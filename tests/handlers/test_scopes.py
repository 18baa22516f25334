"""Who may call what: every route, and every frame of a socket, by a token's claims."""

from __future__ import annotations

import re
from typing import Any

import pytest
from headcount.documents.openapi import systems
from headcount.model.access import Action
from headcount.web.routing import Route, Who

from lab.harness.engines import Engine
from lab.harness.events import http_event, socket_event
from lab.harness.template import template
from lab.harness.world import Answer, World
from tests.conftest import Worlds

KINDS = "site course link stream activity"  # without public counts
SITE = "site:main"
CONTAINER = "0" * 31 + "1"

ANYONE = "anyone"
ANY_TOKEN = "any token"
SOMEWHERE = "kind:id"
ACCESS = {
    ("POST", "/v1/spaces/<space>/presence"): ANYONE,
    ("DELETE", "/v1/spaces/<space>/presence"): ANYONE,
    ("POST", "/v1/spaces/<space>/presence/leave"): ANYONE,
    ("GET", "/v1/spaces"): f"read:{SOMEWHERE}",
    ("GET", "/v1/spaces/<space>"): "read:<space>",
    ("GET", "/v1/kinds/<kind>"): "read:<kind>:*",
    ("GET", "/v1/kinds/<kind>/timeline"): "read:<kind>:*",
    ("GET", "/v1/kinds/<kind>/history"): "read:<kind>:*",
    ("GET", "/v1/kinds/<kind>/days"): "read:<kind>:*",
    ("GET", "/v1/kinds/<kind>/explain"): "people:<kind>:*",
    ("GET", "/v1/rollups"): f"read:{SOMEWHERE}",
    ("GET", "/v1/groups/<group>"): "read:~group:<group>",
    ("GET", "/v1/groups/<group>/explain"): "people:~group:<group>",
    ("GET", "/v1/groups/<group>/timeline"): "read:~group:<group>",
    ("GET", "/v1/groups/<group>/history"): "read:~group:<group>",
    ("GET", "/v1/groups/<group>/days"): "read:~group:<group>",
    ("GET", "/v1/spaces/<space>/viewers"): "people:<space>",
    ("GET", "/v1/spaces/<space>/slice"): "read:<space>",
    ("GET", "/v1/spaces/<space>/explain"): "people:<space>",
    ("GET", "/v1/spaces/<space>/snapshot"): "people:<space>",
    ("GET", "/v1/spaces/<space>/timeline"): "read:<space>",
    ("GET", "/v1/spaces/<space>/history"): "read:<space>",
    ("GET", "/v1/spaces/<space>/days"): "read:<space>",
    ("GET", "/v1/costs"): "read:*",
    ("GET", "/v1/spaces/<space>/alerts"): "moderate:<space>",
    ("PUT", "/v1/spaces/<space>/alerts/<name>"): "moderate:<space>",
    ("DELETE", "/v1/spaces/<space>/alerts/<name>"): "moderate:<space>",
    ("POST", "/v1/spaces/<space>/messages"): "moderate:<space>",
    ("GET", "/v1/spaces/<space>/messages"): "moderate:<space>",
    ("DELETE", "/v1/spaces/<space>/messages"): "moderate:<space>",
    ("POST", "/v1/spaces/<space>/removals"): "moderate:<space>",
    ("GET", "/v1/spaces/<space>/removals"): "moderate:<space>",
    ("DELETE", "/v1/spaces/<space>/removals/<removal>"): "moderate:<space>",
    ("POST", "/v1/spaces/<space>/marks"): "moderate:<space>",
    ("GET", "/v1/spaces/<space>/audit"): "moderate:<space>",
    ("PUT", "/v1/spaces/<space>/engagement/<name>"): "moderate:<space>",
    ("POST", "/v1/people/lookup"): "people:<person>",
    ("GET", "/v1/people/<person>"): "people:<person>",
    ("POST", "/v1/erasures"): "erase:*",
    ("GET", "/v1/erasures"): "erase:*",
    ("GET", "/v1/erasures/<erasure>"): "erase:*",
    ("POST", "/v1/shares"): f"share:{SOMEWHERE}",
    ("GET", "/v1/shares"): f"share:{SOMEWHERE}",
    ("DELETE", "/v1/shares/<share>"): f"share:{SOMEWHERE}",
    ("GET", "/v1/token"): ANY_TOKEN,  # tests/handlers/test_shares.py
    ("POST", "/api/analytics/live-activity"): ANYONE,
    ("GET", "/api/analytics/live-activity"): "people:activity:main",
    ("DELETE", "/api/analytics/live-activity"): ANYONE,
    ("POST", "/api/analytics/live-activity/leave"): ANYONE,
    ("POST", "/api/courses/<course>/presence"): ANYONE,
    ("DELETE", "/api/courses/<course>/presence"): ANYONE,
    ("POST", "/api/courses/<course>/presence/leave"): ANYONE,
    ("GET", "/api/courses/<course>/viewers/count"): "read:course:<course>",
    ("GET", "/api/courses/<course>/viewers"): "people:course:<course>",
    ("POST", "/api/query"): ANYONE,  # its functions are tested separately below
    ("POST", "/api/mutation"): ANYONE,
    ("POST", "/api/action"): ANYONE,
    ("POST", "/api/function"): ANYONE,
    ("POST", "/api/run/<module>/<export>"): ANYONE,
    ("POST", "/api/query_ts"): ANYONE,
    ("POST", "/api/query_at_ts"): ANYONE,
    ("GET", "/api/send/realtime/<linkId>"): "people:link:<linkId>",
    ("POST", "/api/send/realtime/<linkId>"): ANYONE,
    ("POST", "/api/streams"): f"ingest:{SOMEWHERE}",
    ("GET", "/api/streams"): f"read:{SOMEWHERE}",
    ("GET", "/api/streams/<id>"): "read:stream:<id>",
    ("POST", "/api/streams/<id>/start"): "ingest:stream:<id>",
    ("POST", "/api/streams/<id>/stop"): "ingest:stream:<id>",
    ("GET", "/api/v1/analytics/streams/<id>/metrics"): "read:stream:<id>",
    ("POST", "/api/v1/analytics/streams/<id>/events"): ANYONE,  # of a session that is here
    ("POST", "/api/v1/analytics/streams/<id>/infrastructure"): "ingest:stream:<id>",
    ("GET", "/api/v1/analytics/real-time/<id>"): "read:stream:<id>",
    ("GET", "/api/v1/analytics/comprehensive/<id>"): "read:stream:<id>",
    ("GET", "/api/v1/analytics/historical/<id>"): "read:stream:*",
    ("POST", "/api/containers/launch/<eventId>"): "containers:*",
    ("POST", "/api/containers/stop/<containerId>"): "containers:*",
    ("GET", "/api/containers/status/<containerId>"): "containers:*",
    ("POST", "/api/heartbeats"): ANYONE,
    ("GET", "/api/traffic/live"): "read:site:main",
    ("GET", "/api/traffic/daily"): "read:site:main",
    ("POST", "/rest/v1/heartbeats"): ANYONE,  # except to get the rows back
    ("GET", "/rest/v1/heartbeats"): "people:site:main",
    ("POST", "/rest/v1/rpc/get_live_traffic"): "read:site:main",
    ("GET", "/rest/v1/rpc/get_live_traffic"): "read:site:main",
    ("POST", "/rest/v1/rpc/get_daily_active_users"): "read:site:main",
    ("GET", "/rest/v1/rpc/get_daily_active_users"): "read:site:main",
    ("POST", "/rest/v1/rpc/<function>"): ANYONE,
    ("GET", "/rest/v1/rpc/<function>"): ANYONE,
    ("POST", "/rest/v1/<table>"): ANYONE,
    ("GET", "/rest/v1/<table>"): ANYONE,
    ("GET", "/metrics"): f"read:{SOMEWHERE}",
    ("GET", "/openapi.json"): ANYONE,
    ("GET", "/healthz"): ANYONE,
    ("GET", "/asyncapi.json"): ANYONE,
}
ROUTES = {(route.method, route.rule): route for system in systems() for route in system.ROUTES}
PERSON = "u:x1"
PARAMETERS = {
    "space": SITE,
    "kind": "site",
    "group": "all",
    "containerId": CONTAINER,
    "person": PERSON,
}  # every other parameter: a word
BODIES = {"/v1/people/lookup": {"people": [PERSON]}}


def filled(text: str) -> str:
    return re.sub(r"<(\w+)>", lambda match: PARAMETERS.get(match[1], "x1"), text)


@pytest.fixture
def world(memory: Engine, worlds: Worlds) -> World:
    return worlds(
        memory, Kinds=KINDS, Containers="cluster=cluster,task-definition=task", RollUps="on"
    )


def ask(world: World, route: Route, token: str | None) -> Answer:
    headers = {"authorization": f"Bearer {token}"} if token else {}
    path = filled(route.rule)
    body = BODIES.get(route.rule)
    event = http_event(route.method, path, headers=headers, body=body, request=world.new_id())
    return Answer.of(world.invoke(template().function_of(route.method, path), event))


def token(world: World, *scopes: str) -> str:
    return world.token(sub="service", headcount_scopes=" ".join(scopes))


# -------------------------------------------------------------------------------------- every route


def test_the_access_to_every_route_is_declared_here_and_there() -> None:
    assert ROUTES.keys() == ACCESS.keys()
    for key, route in ROUTES.items():
        named = {Who.ANYONE: ANYONE, Who.HOLDER: ANY_TOKEN}
        access = named.get(route.who, str(route.needs))
        assert access == ACCESS[key], key


@pytest.mark.parametrize(
    "key",
    [key for key, scope in ACCESS.items() if scope not in {ANYONE, ANY_TOKEN}],
    ids=" ".join,
)
def test_a_route_accepts_admins_and_tokens_with_the_scope(
    world: World, key: tuple[str, str]
) -> None:
    route = ROUTES[key]
    action, _, where = filled(ACCESS[key]).partition(":")
    others = [f"{one}:*" for one in Action if one != action]
    elsewhere = [f"{action}:other:*", f"{action}:site:mainly", f"{action}:stream:other"]
    if where != SOMEWHERE:
        others += elsewhere
    before = world.snapshot()
    assert ask(world, route, None).status == 401
    assert ask(world, route, "nonsense").status == 401
    assert ask(world, route, world.token(sub="u1")).status == 403
    refused = ask(world, route, token(world, *others))
    assert refused.status == 403
    assert f"it needs the scope {action}:{where}" in str(refused.body)
    assert world.snapshot() == before

    allowed = ask(world, route, world.admin)
    assert allowed.status not in {401, 403, 500}, allowed
    if where == SOMEWHERE:
        right = [f"{action}:stream:x1", f"*:{SITE}", f"{action}:*"]
    else:
        right = [f"{action}:{where}", f"*:{where}", f"{action}:*", "*:*"]
        if ":" in where and where != PERSON:
            right.append(f"{action}:{where.partition(':')[0]}:*")
    for scope in right:
        assert ask(world, route, token(world, scope)).status == allowed.status, scope


@pytest.mark.parametrize(
    "key", [key for key, scope in ACCESS.items() if scope == ANYONE], ids=" ".join
)
def test_an_open_route_needs_no_token(world: World, key: tuple[str, str]) -> None:
    for asked_by in (None, "nonsense", world.token(sub="u1"), token(world, "read:*"), world.admin):
        assert ask(world, ROUTES[key], asked_by).status not in {401, 403, 500}


# -------------------------------------------------------------------------------- sources of events


def test_a_list_of_spaces_shows_those_that_the_token_may_read(world: World) -> None:
    for space in (SITE, "site:blog", "course:c1", "course:c2"):
        world.beat("s1", space)
    world.settle()

    def seen(*scopes: str, **query: str) -> set[str]:
        answer = world.get("/v1/spaces", token=token(world, *scopes), **query)
        return {one["space"] for one in answer.body["spaces"]}

    assert seen("read:site:main") == {SITE}
    assert seen("read:course:*", "*:site:blog") == {"course:c1", "course:c2", "site:blog"}
    assert seen("read:course:*", kind="site") == set()
    assert seen("read:site:main", "people:*") == {SITE}
    assert seen("read:*") == {SITE, "site:blog", "course:c1", "course:c2"}

    def scraped(*scopes: str) -> set[str]:
        text = world.get("/metrics", token=token(world, *scopes)).body or ""
        return set(re.findall(r'headcount_people{space="([^"]+)"', text))

    assert scraped("read:site:main") == {SITE}
    assert scraped("read:course:*", "people:*") == {"course:c1", "course:c2"}
    assert scraped("read:*") == {SITE, "site:blog", "course:c1", "course:c2"}


def test_a_list_of_streams_shows_those_that_the_token_may_read(world: World) -> None:
    for stream in ("a", "b"):
        world.http("POST", "/api/streams", body={"id": stream}, token=world.admin)
    answer = world.get("/api/streams", token=token(world, "read:stream:a", "read:site:*"))
    assert [one["id"] for one in answer.body["streams"]] == ["a"]


def test_a_stream_is_registered_with_its_scope(world: World) -> None:
    def register(scope: str, **body: Any) -> int:
        answer = world.http("POST", "/api/streams", body=body, token=token(world, scope))
        return answer.status

    assert register("ingest:stream:a", id="b") == 403
    assert register("ingest:stream:a") == 403  # it can't choose its id
    assert register("ingest:stream:a", id="a") == 201
    assert register("ingest:stream:*") == 201


def test_a_refused_registration_without_an_id_names_the_scope(world: World) -> None:
    answer = world.http("POST", "/api/streams", body={}, token=token(world, "ingest:stream:a"))
    assert "the scope ingest:stream:*, " in answer.body["error"]


def test_revenue_needs_the_scope_of_its_stream(world: World) -> None:
    path, revenue = "/api/v1/analytics/streams/a/events", {"type": "revenue", "amount": 5}
    before = world.snapshot()
    assert world.http("POST", path, body=revenue).status == 401
    for scope in ("read:*", "ingest:stream:b"):
        assert world.http("POST", path, body=revenue, token=token(world, scope)).status == 403
    assert world.snapshot() == before
    assert (
        world.http("POST", path, body=revenue, token=token(world, "ingest:stream:a")).status == 200
    )


def test_to_have_rows_back_needs_the_scope_of_people(world: World) -> None:
    def insert(*scopes: str) -> int:
        row = {"session_id": "s1", "page_path": "/"}
        headers = {"prefer": "return=representation"}
        given = token(world, *scopes) if scopes else None
        answer = world.http("POST", "/rest/v1/heartbeats", body=row, headers=headers, token=given)
        return answer.status

    assert (insert(), insert("read:*"), insert("people:site:other")) == (401, 403, 403)
    assert world.live_sessions() == []
    assert insert("people:site:main") == 201


@pytest.mark.parametrize(
    ("function", "scope"),
    [("getLiveViewerCount", "read:course:c1"), ("getActiveViewers", "people:course:c1")],
)
def test_a_convex_function_needs_the_scope_of_its_course(
    world: World, function: str, scope: str
) -> None:
    body = {"path": f"liveViewers:{function}", "args": [{"courseId": "c1"}]}

    def call(*scopes: str) -> Answer:
        given = token(world, *scopes) if scopes else None
        return world.http("POST", "/api/query", body=body, token=given)

    assert "A token is missing" in call().body["errorMessage"]
    for other in ("moderate:*", scope.replace("c1", "c2")):
        assert f"the scope {scope}" in call(other).body["errorMessage"]
    assert call(scope).body["status"] == "success"


def test_a_scope_makes_no_one_an_admin(world: World) -> None:
    answer = world.http(
        "POST",
        "/v1/spaces/site:main/presence",
        body={"sessionId": "s1", "userId": "u1"},
        token=token(world, "*:*"),
    )
    assert answer.status == 403, "only an admin acts for others"


def test_where_a_scope_is_a_claim_of_another_name(memory: Engine, worlds: Worlds) -> None:
    world = worlds(memory, Kinds=KINDS, Settings="scope-claim=permissions")
    path = f"/v1/spaces/{SITE}"
    assert world.get(path, token=world.token(permissions=[f"read:{SITE}"])).status == 200
    assert world.get(path, token=token(world, f"read:{SITE}")).status == 403


# ------------------------------------------------------------------------------------------ sockets

FEEDS = {
    None: f"read:{SOMEWHERE}",
    "/api/ws/analytics/realtime": "read:stream:*",
    "/api/ws/streams/a/metrics": "read:stream:a",
    f"/api/ws/container/{CONTAINER}": "containers:*",
}


@pytest.mark.parametrize("path", FEEDS)
def test_a_socket_opens_for_a_token_with_the_scope(world: World, path: str | None) -> None:
    action, _, where = FEEDS[path].partition(":")
    # With the scope for people, a socket watches them.
    others = {*Action} - {action} - ({Action.PEOPLE} if path is None else set())
    wrong = [f"{one}:*" for one in others]
    if path is not None:
        wrong += [f"{action}:stream:b", f"{action}:site:*"]
    for connection, given in (
        ("user", world.token(sub="u1")),
        ("wrong", token(world, *wrong)),
    ):
        answer = world.connect(connection, token=given, path=path)
        assert answer["statusCode"] == 403
    query = {"path": path} if path else None
    assert world.invoke("socket", socket_event("CONNECT", "c0", query=query))["statusCode"] == 401
    assert world.tables["subscriptions"].rows() == []
    right = f"{action}:{'site:main' if path is None else where}"
    assert world.connect("right", token=token(world, right), path=path) == {"statusCode": 200}


@pytest.mark.parametrize("action", ["subscribe", "snapshot"])
def test_a_socket_receives_the_spaces_that_its_token_may_read(world: World, action: str) -> None:
    world.connect("c1", token=token(world, "read:site:*", "people:course:*"))
    world.send("c1", {"action": action, "space": SITE})
    before = world.tables["subscriptions"].rows()
    for space in ("course:c1", "stream:a"):
        world.send("c1", {"action": action, "space": space})
    assert world.tables["subscriptions"].rows() == before
    world.send("c1", {"action": "ping"})
    headcount, *errors, pong = world.management.frames["c1"]
    assert (headcount["type"], headcount["space"], pong) == ("headcount", SITE, {"type": "pong"})
    assert [(one["type"], one["space"]) for one in errors] == [
        ("error", "course:c1"),
        ("error", "stream:a"),
    ]
    assert "the scope read:course:c1" in errors[0]["error"]


def test_a_containers_socket_receives_no_space(world: World) -> None:
    path = f"/api/ws/container/{CONTAINER}"
    world.connect("c1", token=token(world, "containers:*"), path=path)
    before = world.tables["subscriptions"].rows()
    world.send("c1", {"action": "subscribe", "space": SITE})
    assert world.tables["subscriptions"].rows() == before


def test_an_unknown_connection_receives_nothing(world: World) -> None:
    world.send("c1", {"action": "subscribe", "space": SITE})
    (answer,) = world.management.frames["c1"]
    assert (answer["type"], answer["space"]) == ("error", SITE)
    assert world.tables["subscriptions"].rows() == []
