"""No one ends, extends, reads or impersonates another: through every system's API."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
from headcount.model.person import own_id
from headcount.store.attributes import encode

from lab.harness.engines import Engine
from lab.harness.events import socket_event
from lab.harness.sizes import item_size
from lab.harness.world import SITE, Answer, World
from tests.conftest import Worlds

Send = Callable[..., Answer]
ACTIVITY = "/api/analytics/live-activity"
COURSE = "/api/courses/c1/presence"
LINK = "/api/send/realtime/l1"


def post(path: str, **body: Any) -> Send:
    def send(world: World, token: str | None = None, **more: Any) -> Answer:
        fields = {key: value for key, value in {**body, **more}.items() if value is not None}
        return world.http("POST", path, body=fields, token=token)

    return send


def convex(function: str) -> Send:
    def send(world: World, token: str | None = None, **args: Any) -> Answer:
        fields = {key: value for key, value in args.items() if value is not None}
        body = {"path": f"liveViewers:{function}", "args": [{"courseId": "c1", **fields}]}
        return world.http("POST", "/api/mutation", body=body, token=token)

    return send


def delete(path: str) -> Send:
    def send(world: World, token: str | None = None, **query: Any) -> Answer:
        fields = {key: value for key, value in query.items() if value is not None}
        return world.http("DELETE", path, query=fields, token=token)

    return send


@dataclass(frozen=True)
class SystemApi:
    """A system's API: how its clients beat and leave. ``ids``: its names of session and user."""

    beat: Send
    leave: Send
    ids: tuple[str, str] = ("sessionId", "userId")

    def named(self, session: str | None, user: str | None) -> dict[str, str | None]:
        return dict(zip(self.ids, (session, user), strict=True))


SYSTEM_APIS = {
    "native": SystemApi(
        post(f"/v1/spaces/{SITE}/presence"), post(f"/v1/spaces/{SITE}/presence/leave")
    ),
    "native, by DELETE": SystemApi(
        post(f"/v1/spaces/{SITE}/presence"), delete(f"/v1/spaces/{SITE}/presence")
    ),
    "site": SystemApi(
        post("/api/heartbeats", pagePath="/"), post(f"/v1/spaces/{SITE}/presence/leave")
    ),
    "postgrest": SystemApi(
        post("/rest/v1/heartbeats", page_path="/"),
        post(f"/v1/spaces/{SITE}/presence/leave"),
        ("session_id", "user_id"),
    ),
    "live activity": SystemApi(
        post(ACTIVITY, activityType="browsing"),
        post("/v1/spaces/activity:main/presence/leave"),
    ),
}
COURSES = {
    "course": SystemApi(post(COURSE), delete(COURSE)),
    "convex": SystemApi(convex("recordPresence"), convex("removePresence")),
}


def rows(world: World) -> dict[str, dict[str, Any]]:
    return {row["session"]: row for row in world.presence_rows()}


# ----------------------------------------------------------------- sessions that a token has proved


@pytest.mark.parametrize("way", SYSTEM_APIS.values(), ids=SYSTEM_APIS)
def test_a_claim_does_not_take_over_a_session_that_a_token_proved(
    memory_world: World, way: SystemApi
) -> None:
    world = memory_world
    assert way.beat(world, world.token(sub="u1"), **way.named("s1", "u1")).status in {200, 201}
    before = world.snapshot()
    world.clock.advance(20)
    refused = way.beat(world, **way.named("s1", "u2"))
    assert refused.status == 403
    assert "A token proved who this session belongs to" in str(refused.body)
    assert world.snapshot() == before
    stranger = world.token(sub="u2")
    assert way.beat(world, stranger, **way.named("s1", "u1")).status == 403
    assert world.snapshot() == before


@pytest.mark.parametrize("way", SYSTEM_APIS.values(), ids=SYSTEM_APIS)
def test_a_session_without_its_token_is_no_longer_proven(
    memory_world: World, way: SystemApi
) -> None:
    world = memory_world
    way.beat(world, world.token(sub="u1"), **way.named("s1", "u1"))
    assert rows(world)["s1"]["verified"] is True
    world.clock.advance(20)
    assert way.beat(world, **way.named("s1", "u1")).status in {200, 201}
    assert "verified" not in rows(world)["s1"]


@pytest.mark.parametrize("name", ["native", "site", "postgrest"])
def test_a_beat_without_a_user_signs_out(memory_world: World, name: str) -> None:
    world, way = memory_world, SYSTEM_APIS[name]
    way.beat(world, world.token(sub="u1"), **way.named("s1", None))
    world.clock.advance(20)
    assert way.beat(world, **way.named("s1", None)).status in {200, 201}
    row = rows(world)["s1"]
    assert "user" not in row
    assert "verified" not in row


@pytest.mark.parametrize("heartbeat", [{}, {"currentPage": 2}])
def test_a_link_viewers_heartbeat_without_their_token_signs_them_out(
    world: World, heartbeat: dict[str, int]
) -> None:
    token = world.token(sub="u1")
    send = post(LINK, sessionId="s1")
    send(world, token, action="join", email="ada@example.test")
    world.clock.advance(20)
    with world.engine.metered() as meter:
        send(world, token, action="heartbeat")
    assert meter.writes == ["UpdateItem"], "with their token it is a steady beat"
    row = rows(world)["s1"]
    assert (row["user"], row["verified"]) == ("u1", True)
    for other in (None, world.token(sub="u2")):
        world.clock.advance(20)
        assert send(world, other, action="heartbeat", **heartbeat).status == 200
        row = rows(world)["s1"]
        assert "user" not in row
        assert "verified" not in row


@pytest.mark.parametrize("way", SYSTEM_APIS.values(), ids=SYSTEM_APIS)
def test_a_user_id_opens_no_session_of_that_user(memory_world: World, way: SystemApi) -> None:
    world = memory_world
    way.beat(world, world.token(sub="u1"), **way.named("secret-1", "u1"))
    before = rows(world)["secret-1"]
    world.clock.advance(20)
    way.beat(world, **way.named("mine", "u1"))
    way.leave(world, **way.named("mine", "u1"))
    way.leave(world, **way.named("u1", "u1"))
    for guess in ("live_u1_", "live_u1_s1", "live_u1_u1"):
        delete(ACTIVITY)(world, id=guess)
    assert rows(world)["secret-1"] == before


@pytest.mark.parametrize("limit", ["0", "20"])
def test_a_list_of_heartbeats_that_takes_over_a_proven_session_is_refused_as_a_whole(
    memory: Engine, worlds: Worlds, limit: str
) -> None:
    world = worlds(memory, Limits=f"beats-per-session={limit}")
    way = SYSTEM_APIS["postgrest"]
    way.beat(world, world.token(sub="u1"), session_id="proven")
    before = world.snapshot()
    world.clock.advance(20)
    fresh = {"session_id": "fresh", "page_path": "/"}
    takeover = {"session_id": "proven", "user_id": "u2", "page_path": "/b"}
    refused = world.http("POST", "/rest/v1/heartbeats", body=[fresh, takeover])
    assert refused.status == 403
    assert refused.body["code"] == "42501"
    assert world.snapshot() == before
    signed_out = {"session_id": "proven", "page_path": "/"}
    refused = world.http("POST", "/rest/v1/heartbeats", body=[fresh, signed_out, takeover])
    assert refused.status == 403, "row by row, as it would be alone"
    assert world.snapshot() == before


# ------------------------------------------------------------- sessions that are named after people


@pytest.mark.parametrize("way", COURSES.values(), ids=COURSES)
def test_in_a_course_no_one_changes_a_verified_viewer(memory_world: World, way: SystemApi) -> None:
    world = memory_world
    proven = own_id("course:c1", "proven", "u1")
    assert way.beat(world, world.token(sub="u1"), chapterId="one").status == 200
    before = rows(world)[proven]
    world.clock.advance(20)
    for who in (
        {"userId": "u1"},
        {"sessionId": "u1"},
        {"sessionId": proven},
        {"userId": "u1", "sessionId": proven},
        {"userId": "u1", "anonymous": True},
    ):
        for token in (None, "nonsense", world.token(sub="u1", lives=-60), world.token(sub="u2")):
            way.beat(world, token, **who, chapterId="two")
            way.leave(world, token, **{key: one for key, one in who.items() if key != "anonymous"})
    assert rows(world)[proven] == before
    assert way.leave(world, world.token(sub="u1")).status == 200
    assert rows(world)[proven]["kind"] == "leave"


@pytest.mark.parametrize("way", COURSES.values(), ids=COURSES)
def test_in_a_course_an_admin_may_end_a_verified_viewer(
    memory_world: World, way: SystemApi
) -> None:
    world = memory_world
    way.beat(world, world.token(sub="u1"))
    way.leave(world, world.admin, userId="u1")
    assert rows(world)[own_id("course:c1", "proven", "u1")]["kind"] == "leave"


EVERY_WAY_TO_NAME_A_SESSION: dict[str, Callable[[World, str], Answer]] = {
    **{
        f"{name}, beat": lambda world, session, way=way: way.beat(world, **way.named(session, "u1"))
        for name, way in SYSTEM_APIS.items()
    },
    **{
        f"{name}, leave": lambda world, session, way=way: way.leave(world, sessionId=session)
        for name, way in SYSTEM_APIS.items()
    },
    **{
        f"link, {action}": lambda world, session, action=action: post(LINK)(
            world, action=action, sessionId=session
        )
        for action in ("join", "heartbeat", "leave")
    },
    **{
        f"{name}, {what}": lambda world, session, send=send: send(world, sessionId=session)
        for name, way in COURSES.items()
        for what, send in (("beat", way.beat), ("leave", way.leave))
    },
}


@pytest.mark.parametrize(
    "send", EVERY_WAY_TO_NAME_A_SESSION.values(), ids=EVERY_WAY_TO_NAME_A_SESSION
)
def test_no_client_can_name_a_session_derived_from_a_person(
    memory_world: World, send: Callable[[World, str], Answer]
) -> None:
    world = memory_world
    COURSES["course"].beat(world, world.token(sub="u1"))
    before = world.snapshot()
    refused = send(world, own_id("course:c1", "proven", "u1"))
    assert refused.status in {400, 560}
    assert world.snapshot() == before


@pytest.mark.parametrize("way", COURSES.values(), ids=COURSES)
def test_a_private_viewer_of_a_course_is_not_revealed(memory_world: World, way: SystemApi) -> None:
    world = memory_world
    way.beat(world, world.token(sub="u1"), anonymous=True, chapterId="x")
    way.beat(world, sessionId=own_id("course:c1", "proven", "u1"), chapterId="y")
    way.beat(world, userId="u1", anonymous=True, chapterId="y")
    way.beat(world, userId="u2", anonymous=True, chapterId="y")
    counts = world.get("/api/courses/c1/viewers/count").body
    assert (counts["total"], counts["byChapter"]) == (3, {"x": 1, "y": 2})


@pytest.mark.parametrize("space", ["course:c1", "link:c1"])
def test_no_client_can_name_a_visitor_derived_from_a_person(
    memory_world: World, space: str
) -> None:
    world = memory_world
    body = {"sessionId": "s1", "visitorId": own_id(space, "proven", "u1")}
    refused = world.http("POST", f"/v1/spaces/{space}/presence", body=body)
    assert refused.status == 400
    assert refused.body["error"] == (
        "visitorId must not begin with '~': such ids are Headcount's own."
    )
    assert world.presence_rows() == []


# --------------------------------------------------------------------- where users must be verified


@pytest.mark.parametrize(
    "way", [*SYSTEM_APIS.values(), *COURSES.values()], ids=[*SYSTEM_APIS, *COURSES]
)
def test_where_users_must_be_verified_no_system_accepts_a_claim(
    memory: Engine, worlds: Worlds, way: SystemApi
) -> None:
    world = worlds(memory, RequireVerifiedUsers="true")
    before = world.snapshot()
    claims = way.named("s1", "u1")
    for token in (None, "nonsense", world.token(sub="u1", lives=-60)):
        answer = way.beat(world, token, **claims)
        assert answer.status in {401, 560}
        assert "needs that user's token" in str(answer.body)
    assert way.beat(world, world.token(sub="u2"), **claims).status in {403, 560}
    assert world.snapshot() == before
    assert way.beat(world, world.token(sub="u1"), **claims).status in {200, 201}
    assert {row["user"] for row in world.presence_rows()} == {"u1"}


def test_a_link_viewers_fingerprint_is_no_user(memory: Engine, worlds: Worlds) -> None:
    world = worlds(memory, RequireVerifiedUsers="true")
    answer = post(LINK)(world, action="join", sessionId="s1", fingerprint="f1")
    assert answer.status == 200
    assert "user" not in rows(world)["s1"]


# -------------------------------------------------------------------- subjects that are no user ids

NO_USER_IDS = ["x" * 129, "x" * 6_000, "ä" * 65, "u1\n", "\x7f"]


@pytest.mark.parametrize(
    "way", [*SYSTEM_APIS.values(), *COURSES.values()], ids=[*SYSTEM_APIS, *COURSES]
)
@pytest.mark.parametrize("subject", NO_USER_IDS, ids=range(len(NO_USER_IDS)))
def test_a_subject_that_is_no_valid_user_id_is_not_stored(
    memory_world: World, way: SystemApi, subject: str
) -> None:
    world = memory_world
    before = world.snapshot()
    token = world.token(sub=subject)
    answer = way.beat(world, token, **way.named("s1", None))
    if way is SYSTEM_APIS["live activity"]:  # its beats must name a user, which this token's can't
        assert answer.status in {400, 403}
    else:
        assert answer.status in {403, 560}
        assert "The token's subject can't be a userId here" in str(answer.body)
    assert world.snapshot() == before


def test_a_subject_that_is_no_valid_user_id_is_not_stored_by_other_apis_either(
    memory_world: World,
) -> None:
    world = memory_world
    before = world.snapshot()
    token = world.token(sub="x" * 129)
    assert post(LINK)(world, token, action="join", sessionId="s1").status == 403
    query = {"space": SITE, "sessionId": "s1", "token": token}
    event = socket_event("CONNECT", "c1", query=query)
    assert world.invoke("socket", event)["statusCode"] == 403
    admin = world.token(sub="x" * 129, headcount="admin")
    assert post(COURSE)(world, admin).status == 403
    assert world.snapshot() == before


@pytest.mark.parametrize("subject", NO_USER_IDS, ids=range(len(NO_USER_IDS)))
def test_a_token_with_such_a_subject_may_read(memory: Engine, worlds: Worlds, subject: str) -> None:
    world = worlds(memory, Kinds="site:names=users")
    world.beat("s1", userId="u1")
    token = world.token(sub=subject, headcount_scopes="read:* people:*")
    for path in ("/v1/spaces", f"/v1/spaces/{SITE}", f"/v1/spaces/{SITE}/viewers"):
        assert world.get(path, token=token).status == 200


def test_a_token_makes_a_row_no_larger(memory_world: World) -> None:
    world = memory_world
    long = {"page": "/" + "p" * 299, "facets": {f"f{n}": "x" * 60 for n in range(3)}}
    short, largest = world.token(sub="u1"), world.token(sub="u" * 128)
    assert SYSTEM_APIS["native"].beat(world, short, sessionId="s1", **long).status == 200
    for session, claim in (("s2", None), ("s3", "u" * 128)):
        answer = SYSTEM_APIS["native"].beat(world, largest, sessionId=session, userId=claim, **long)
        assert answer.status == 200
    query = {"space": SITE, "sessionId": "s4", "page": long["page"], "token": largest}
    query["facets"] = json.dumps(long["facets"])
    event = socket_event("CONNECT", "c1", query=query)
    assert world.invoke("socket", event)["statusCode"] == 200
    rows = {row["session"]: row for row in world.presence_rows()}
    assert rows["s1"]["page"] == long["page"]
    for session in ("s2", "s3", "s4"):
        assert rows[session]["user"] == "u" * 128
        assert len(rows[session]["page"]) < len(long["page"])
    assert max(item_size(encode(row)) for row in rows.values()) <= 1024
