"""The HTTP API: every route's answers, and that errors store nothing."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

import headcount
import pytest
from headcount.web.http import MAX_BODY

from lab.harness.containers import CONTAINERS
from lab.harness.engines import Engine
from lab.harness.events import http_event
from lab.harness.fakes import aws_error
from lab.harness.world import SITE, Answer, World
from tests.conftest import Worlds

PRESENCE = f"/v1/spaces/{SITE}/presence"


def is_error(answer: Answer, status: int) -> bool:
    """The API's own error format, and the right status."""
    return (
        answer.status == status
        and answer.body["success"] is False
        and len(answer.body["error"].split()) > 3
        and answer.headers["access-control-allow-origin"] == "*"
        and answer.headers["content-type"].startswith("application/json")
    )


# ------------------------------------------------------------------------------------- correct rows


def test_a_headcount_has_every_number(world: World) -> None:
    world.beat("s1", visitorId="v1", userId="u1", page="/a", facets={"device": "phone"})
    world.beat("s2", visitorId="v1", userId="u1", page="/a", facets={"device": "phone"})
    world.beat("s3", visitorId="v3", page="/b", facets={"device": "desktop"})
    world.settle()
    assert world.get(f"/v1/spaces/{SITE}").body == {
        "success": True,
        "space": SITE,
        "people": 2,
        "signedIn": 1,
        "anonymous": 1,
        "sessions": 3,
        "signedInSessions": 2,
        "anonymousSessions": 1,
        "facets": {
            "device": [
                {"value": "phone", "count": 2, "people": 1},
                {"value": "desktop", "count": 1, "people": 1},
            ],
            "page": [
                {"value": "/a", "count": 2, "people": 1},
                {"value": "/b", "count": 1, "people": 1},
            ],
        },
        "peak": {"people": 2, "at": "2026-11-21T12:00:00.000Z"},
        "peakSessions": 3,
        "avgSeconds": None,
        "quality": {},
        "engagement": {},
        "views": {"total": 3, "today": 3, "week": 3, "month": 3},
        "accuracy": {
            "people": 1,
            "because": "No visit has ended yet. One that ends without a leave counts until its "
            "lease is over.",
        },
        "version": 1,
        "asOf": "2026-11-21T12:00:00.000Z",
    }


def test_an_unknown_space_has_zeroes(memory_world: World) -> None:
    body = memory_world.get("/v1/spaces/site:quiet").body
    assert (body["people"], body["version"], body["peak"]) == (0, 0, None)
    assert body["facets"] == {}


@pytest.mark.parametrize("path", ["/v1/spaces/site%3Amain", "/v1/spaces/site:main"])
def test_a_space_may_come_encoded_or_decoded(memory_world: World, path: str) -> None:
    memory_world.http("POST", f"{path}/presence", body={"sessionId": "s1"})
    memory_world.settle()
    assert memory_world.get(path).body["people"] == 1


def test_every_character_a_space_may_have_works_in_every_route(memory_world: World) -> None:
    world = memory_world
    space = "link:aZ9._~@:+-"
    for path in (quote(space, safe=""), space):
        assert world.http("POST", f"/v1/spaces/{path}/presence", body={"sessionId": "s"}).body
        for tail in ("", "/viewers", "/timeline", "/days"):
            answer = world.get(f"/v1/spaces/{path}{tail}", token=world.admin)
            assert answer.status == 200, (path, tail, answer)
    world.settle()
    assert world.people(space) == 1


def test_viewers_are_the_live_sessions_with_all_their_fields(world: World) -> None:
    token = world.token(sub="u1")
    world.beat(
        "s1",
        token=token,
        visitorId="v1",
        name="Ada",
        avatar="https://example.test/a.png",
        page="/a",
        facets={"device": "phone"},
        state="hidden",
    )
    world.beat("s2", userId="u2")
    world.beat("s3")
    world.leave("s3")
    assert world.get(f"/v1/spaces/{SITE}/viewers", token=world.admin).body == {
        "success": True,
        "viewers": [
            {
                "sessionId": "s1",
                "visitorId": "v1",
                "userId": "u1",
                "verified": True,
                "name": "Ada",
                "avatar": "https://example.test/a.png",
                "page": "/a",
                "facets": {"device": "phone"},
                "quality": {},
                "engagement": {},
                "details": {},
                "state": "hidden",
                "joinedAt": "2026-11-21T12:00:00.000Z",
                "lastSeen": "2026-11-21T12:00:00.000Z",
            },
            {
                "sessionId": "s2",
                "visitorId": None,
                "userId": "u2",
                "verified": False,
                "name": None,
                "avatar": None,
                "page": None,
                "facets": {},
                "quality": {},
                "engagement": {},
                "details": {},
                "state": "active",
                "joinedAt": "2026-11-21T12:00:00.000Z",
                "lastSeen": "2026-11-21T12:00:00.000Z",
            },
        ],
        "cursor": None,
    }


def test_pages_of_viewers_list_each_once_and_skip_those_who_left(memory_world: World) -> None:
    world = memory_world
    for number in range(7):
        world.beat(f"s{number}")
    world.leave("s0")
    world.leave("s3")
    for limit in (1, 2, 3, 5, 7, 100):
        pages = list(pages_of(world, limit))
        assert [one for page in pages for one in page] == ["s1", "s2", "s4", "s5", "s6"]
        assert all(len(page) <= limit for page in pages)


def pages_of(world: World, limit: int) -> Iterator[list[str]]:
    """The session ids on each page of the viewers."""
    query = {"limit": str(limit)}
    while True:
        body = world.get(f"/v1/spaces/{SITE}/viewers", token=world.admin, **query).body
        yield [one["sessionId"] for one in body["viewers"]]
        if body["cursor"] is None:
            return
        query["cursor"] = body["cursor"]


def test_live_spaces_come_largest_first(world: World) -> None:
    for number in range(3):
        world.beat(f"s{number}", "course:large")
    world.beat("s1", "course:small")
    world.beat("s1", SITE)
    world.beat("s2", "course:empty")
    world.leave("s2", "course:empty")
    world.settle()
    answer = world.get("/v1/spaces", token=world.admin, kind="course")
    assert [(one["space"], one["people"]) for one in answer.body["spaces"]] == [
        ("course:large", 3),
        ("course:small", 1),
    ]
    everywhere = world.get("/v1/spaces", token=world.admin).body["spaces"]
    assert [one["space"] for one in everywhere] == ["course:large", "course:small", SITE]
    peak = world.get("/v1/spaces/course:large").body["peak"]
    assert peak["people"] == everywhere[0]["peak"]["people"] == 3
    assert everywhere[0]["peak"] == peak


def test_the_kinds_that_a_token_may_read_are_listed_with_the_spaces_they_name(
    memory: Engine, worlds: Worlds
) -> None:
    world = worlds(memory, Kinds="site:ids=main+blog,counts=public course link:lease=300")

    def listed(scopes: str, **query: str) -> list[tuple[str, list[str]]]:
        token = world.token(sub="u1", headcount_scopes=scopes)
        body = world.get("/v1/spaces", token=token, **query).body
        return [(one["kind"], one["spaces"]) for one in body["kinds"]]

    everything = [("site", ["site:main", "site:blog"]), ("course", []), ("link", [])]
    assert listed("read:*") == everything
    assert listed("read:*", kind="course") == [("course", [])]
    assert listed("read:site:blog read:link:*") == [("site", ["site:blog"]), ("link", [])]
    assert listed("read:course:42") == []


def test_a_timeline_is_the_last_hour_unless_asked_for_another(world: World) -> None:
    world.beat("s1")
    world.sweep()
    world.clock.set("2026-11-21T13:30:00Z")
    world.beat("s2")
    world.sweep()
    path = f"/v1/spaces/{SITE}/timeline"
    points = world.get(path, token=world.admin).body["points"]
    assert [point["at"] for point in points] == ["2026-11-21T13:30:00.000Z"]
    asked = {"from": "2026-11-21T12:00:00Z", "to": "2026-11-21T13:00:00+00:00"}
    points = world.get(path, token=world.admin, **asked).body["points"]
    assert [point["at"] for point in points] == ["2026-11-21T12:00:00.000Z"]


def test_a_beacon_may_send_its_leave_as_plain_text(memory_world: World) -> None:
    memory_world.beat("s1")
    answer = memory_world.http(
        "POST",
        f"{PRESENCE}/leave",
        headers={"content-type": "text/plain;charset=UTF-8"},
        body='{"sessionId":"s1"}',
        encode=True,
    )
    assert answer.body == {"success": True, "space": SITE}
    assert memory_world.live_sessions() == []


def test_a_leave_by_delete_names_its_session_in_the_query(memory_world: World) -> None:
    memory_world.beat("s1", seq=1)
    query = {"sessionId": "s1", "seq": "2"}
    assert memory_world.http("DELETE", PRESENCE, query=query).status == 200
    assert memory_world.live_sessions() == []
    (row,) = memory_world.presence_rows()
    assert row["seq"] == 2


# ------------------------------------------------------------------------------------------- access


def test_a_token_proves_its_user(memory_world: World) -> None:
    memory_world.beat("s1", token=memory_world.token(sub="u1"))
    (row,) = memory_world.presence_rows()
    assert (row["user"], row["verified"]) == ("u1", True)


def test_a_userid_without_a_token_is_a_claim(memory_world: World) -> None:
    memory_world.beat("s1", userId="u1")
    (row,) = memory_world.presence_rows()
    assert row["user"] == "u1"
    assert "verified" not in row


def test_an_admin_may_act_for_anyone(memory_world: World) -> None:
    memory_world.beat("s1", userId="u1", token=memory_world.token(sub="boss", headcount="admin"))
    memory_world.beat("s2", token=memory_world.token(sub="boss", headcount="admin"))
    first, second = memory_world.presence_rows()
    assert (first["user"], first["verified"]) == ("u1", True)
    assert "user" not in second


def test_a_token_does_not_act_for_another_user(memory_world: World) -> None:
    before = memory_world.snapshot()
    answer = memory_world.http(
        "POST",
        PRESENCE,
        body={"sessionId": "s1", "userId": "u2"},
        token=memory_world.token(sub="u1"),
    )
    assert is_error(answer, 403)
    assert memory_world.snapshot() == before


@pytest.mark.parametrize("value", ["nonsense", "a.b.c", "ünïcode", "x" * 3000])
def test_on_an_open_route_a_foreign_bearer_token_means_anonymous(
    memory_world: World, value: str
) -> None:
    memory_world.beat("s1", token=value)
    (row,) = memory_world.presence_rows()
    assert "verified" not in row


def nested_token() -> str:
    header = base64.urlsafe_b64encode(b"[" * 7_000).decode().rstrip("=")
    return f"{header}.e30.e30"


def test_a_token_of_deep_nesting_means_anonymous(memory_world: World) -> None:
    memory_world.beat("s1", token=nested_token())
    assert memory_world.live_sessions() == ["s1"]


def test_a_token_of_deep_nesting_is_refused_where_an_admin_is_needed(memory_world: World) -> None:
    assert is_error(memory_world.get("/v1/spaces", token=nested_token()), 401)


def test_where_users_must_be_verified_a_claim_is_refused(memory: Engine, worlds: Worlds) -> None:
    world = worlds(memory, RequireVerifiedUsers="true")
    before = world.snapshot()
    answer = world.http("POST", PRESENCE, body={"sessionId": "s1", "userId": "u1"})
    assert is_error(answer, 401)
    assert world.snapshot() == before
    world.beat("s1", token=world.token(sub="u1"))
    world.beat("s2")
    assert world.live_sessions() == ["s1", "s2"]


ADMIN_ROUTES = [
    "/v1/spaces",
    f"/v1/spaces/{SITE}/viewers",
    f"/v1/spaces/{SITE}/timeline",
    f"/v1/spaces/{SITE}/days",
    "/v1/spaces/activity:main",  # a kind whose counts are not public
]


@pytest.mark.parametrize("path", ADMIN_ROUTES)
def test_admins_routes_ask_for_an_admin(memory_world: World, path: str) -> None:
    world = memory_world
    missing = world.get(path)
    assert is_error(missing, 401)
    assert missing.headers["www-authenticate"].startswith("Bearer")
    assert is_error(world.get(path, token="nonsense"), 401)
    assert is_error(world.get(path, token=world.token(lives=-60, headcount="admin")), 401)
    assert is_error(world.get(path, token=world.token(sub="u1")), 403)
    assert world.get(path, token=world.admin).status == 200
    assert world.get(path, token=world.admin).status == 200


def test_public_counts_need_no_token(memory_world: World) -> None:
    assert memory_world.get(f"/v1/spaces/{SITE}").status == 200


def test_no_route_without_an_admin_token_shows_a_session_or_a_name(memory_world: World) -> None:
    world = memory_world
    world.beat("secret-session", visitorId="secret-visitor", userId="secret-user", name="Ada")
    world.settle()
    shown = json.dumps(
        [
            world.get(f"/v1/spaces/{SITE}").body,
            *(world.get(path).body for path in ADMIN_ROUTES),
            world.beat("s2").body,
        ]
    )
    assert "secret" not in shown
    assert "Ada" not in shown


def test_the_secret_is_fetched_once(memory_world: World) -> None:
    for _ in range(3):
        memory_world.get("/v1/spaces", token=memory_world.admin)
    assert memory_world.secrets.reads == 1
    for _ in range(3):
        memory_world.beat("s1", token=memory_world.admin)
    assert memory_world.secrets.reads == 2  # once by each function


def test_beats_without_a_token_never_ask_for_the_secret(memory_world: World) -> None:
    memory_world.beat("s1")
    memory_world.get(f"/v1/spaces/{SITE}")
    assert memory_world.secrets.reads == 0


# ------------------------------------------------------------------------------------------- errors

BAD_BEATS: list[Any] = [
    None,
    "no json",
    "[" * 8_000,
    "[]",
    '"text"',
    "7",
    "{}",
    {"sessionId": ""},
    {"sessionId": 7},
    {"sessionId": None},
    {"sessionId": "s" * 129},
    {"sessionId": "s\n1"},
    '{"sessionId": "\\ud800"}',
    {"sessionId": "s1", "seq": -1},
    {"sessionId": "s1", "seq": 2**53 + 1},
    {"sessionId": "s1", "seq": "1"},
    {"sessionId": "s1", "seq": True},
    {"sessionId": "s1", "seq": 1.5},
    {"sessionId": "s1", "state": "sleeping"},
    {"sessionId": "s1", "facets": []},
    {"sessionId": "s1", "facets": {"page": "/"}},
    {"sessionId": "s1", "facets": {"device": 7}},
    {"sessionId": "s1", "facets": {"1": "x"}},
    {"sessionId": "s1", "facets": {"a.b": "x"}},
]


@pytest.mark.parametrize("body", BAD_BEATS, ids=lambda body: str(body)[:40])
def test_a_bad_beat_is_a_400_and_stores_nothing(memory_world: World, body: Any) -> None:
    with memory_world.engine.metered() as meter:
        assert is_error(memory_world.http("POST", PRESENCE, body=body), 400)
    assert meter.calls == []


@pytest.mark.parametrize("body", BAD_BEATS[:13], ids=lambda body: str(body)[:40])
def test_a_bad_leave_is_a_400_and_stores_nothing(memory_world: World, body: Any) -> None:
    with memory_world.engine.metered() as meter:
        assert is_error(memory_world.http("POST", f"{PRESENCE}/leave", body=body), 400)
    assert meter.calls == []


@pytest.mark.parametrize(
    "query",
    [
        None,
        {"sessionId": ""},
        {"sessionId": "s1", "seq": "x"},
        {"sessionId": "s1", "seq": "-1"},
        {"sessionId": "s1", "seq": "1.5"},
        {"sessionId": "s1", "seq": "٣"},
        {"sessionId": "s1", "seq": "9" * 5_000},
    ],
    ids=lambda query: str(query)[:40],
)
def test_a_bad_delete_is_a_400_and_stores_nothing(memory_world: World, query: Any) -> None:
    with memory_world.engine.metered() as meter:
        assert is_error(memory_world.http("DELETE", PRESENCE, query=query), 400)
    assert meter.calls == []


NO_SPACES = [
    *("invented:1", "site", "site:", ":main", "Site:main", "site:a b", "site:" + "x" * 129),
    *("site:é", "site:%00", "site:%E2%98%83", "site:main%2Fpresence", "%"),
]


@pytest.mark.parametrize("route", ["POST presence", "POST presence/leave", "GET ", "GET viewers"])
def test_an_invalid_space_is_a_400_and_stores_nothing(memory_world: World, route: str) -> None:
    method, _, tail = route.partition(" ")
    body = {"sessionId": "s1", "seq": 1} if method == "POST" else None
    before = memory_world.snapshot()
    for space in NO_SPACES:
        path = f"/v1/spaces/{space}/{tail}".rstrip("/")
        answer = memory_world.http(method, path, body=body, token=memory_world.admin)
        assert is_error(answer, 400), space
    assert memory_world.snapshot() == before


@pytest.mark.parametrize("space", ["site:a#0", 'site:"a"', "site:a`b", "site:a\\b"])
def test_a_space_of_other_characters_is_a_400_too(memory_world: World, space: str) -> None:
    answer = memory_world.get(f"/v1/spaces/{space}", token=memory_world.admin)
    assert is_error(answer, 400), answer


HUGE = {"to": "9999-12-31T23:59:59-23:59"}


def cursor(value: object) -> str:
    return base64.urlsafe_b64encode(json.dumps(value).encode()).decode().rstrip("=")


@pytest.mark.parametrize(
    ("path", "query"),
    [
        ("viewers", {"limit": "0"}),
        ("viewers", {"limit": "101"}),
        ("viewers", {"limit": "-1"}),
        ("viewers", {"limit": "x"}),
        ("viewers", {"limit": ""}),
        ("viewers", {"limit": "٣"}),
        ("viewers", {"limit": "9" * 5_000}),
        ("viewers", {"limit": "0000059999"}),
        ("viewers", {"cursor": "nonsense"}),
        ("viewers", {"cursor": ""}),
        ("viewers", {"cursor": "é"}),
        ("viewers", {"cursor": cursor([0])}),
        ("viewers", {"cursor": cursor([-1, None])}),
        ("viewers", {"cursor": cursor([100, None])}),
        ("viewers", {"cursor": cursor(["0", None])}),
        ("viewers", {"cursor": cursor([0, ""])}),
        ("viewers", {"cursor": cursor([0, 7])}),
        ("viewers", {"cursor": cursor([0, "x" * 129])}),
        ("viewers", {"cursor": cursor([0, "\ud800"])}),
        ("viewers", {"cursor": cursor({"a": 1})}),
        ("viewers", {"cursor": cursor(7)}),
        pytest.param(
            "viewers",
            {"cursor": base64.urlsafe_b64encode(b"[" * 50_001).decode().rstrip("=")},
            id="a deeply nested cursor",
        ),
        ("timeline", {"from": "yesterday"}),
        ("timeline", {"to": ""}),
        ("timeline", {"from": "2026-11-21T12:00:00Z", "to": "2026-11-21T11:00:00Z"}),
        ("timeline", {"from": "2026-11-01", "to": "2026-11-21"}),
        ("timeline", {"to": "0001-01-01T00:00:00Z"}),
        pytest.param(
            "timeline",
            {"from": "0001-01-01T00:00:00+23:59", "to": "0001-01-01T00:00:00+23:59"},
        ),
        ("timeline", {**HUGE, "from": HUGE["to"]}),
        ("days", {"from": "2026-11-31"}),
        ("days", {"from": "20261121"}),
        ("days", {"from": "2026-11-21T00:00:00Z"}),
        ("days", {"from": "2026-11-22", "to": "2026-11-21"}),
        ("days", {"from": "2025-01-01", "to": "2026-11-21"}),
        ("days", {"to": "0001-01-01"}),
        ("days", {"from": "9999-12-31", "to": "9999-12-31"}),
    ],
    ids=lambda value: str(value)[:60],
)
def test_a_bad_query_is_a_400(memory_world: World, path: str, query: dict[str, str]) -> None:
    memory_world.beat("s1")
    answer = memory_world.get(f"/v1/spaces/{SITE}/{path}", token=memory_world.admin, **query)
    assert is_error(answer, 400), answer


def test_monitors_are_answered(memory_world: World) -> None:
    answer = memory_world.get("/healthz")
    assert answer.status == 200
    assert answer.body == {"success": True, "version": headcount.__version__}
    assert memory_world.http("HEAD", "/healthz").status == 200


def test_a_kind_that_is_not_declared_is_a_400(memory_world: World) -> None:
    assert is_error(memory_world.get("/v1/spaces", token=memory_world.admin, kind="invented"), 400)
    assert is_error(memory_world.get("/v1/spaces", token=memory_world.admin, kind="<b>"), 400)


@pytest.mark.parametrize(
    "path",
    ["/nothing", "/v1", "/v2/spaces", "/v1/spaces/site:main/nothing", "/v1/spaces/a/b/c", "//"],
)
@pytest.mark.parametrize("method", ["GET", "POST", "PUT"])
def test_a_path_with_nothing_there_is_a_404(memory_world: World, method: str, path: str) -> None:
    assert is_error(memory_world.http(method, path), 404)


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("GET", PRESENCE, "DELETE, POST"),
        ("PUT", PRESENCE, "DELETE, POST"),
        ("GET", f"{PRESENCE}/leave", "POST"),
        ("DELETE", f"{PRESENCE}/leave", "POST"),
        ("POST", "/v1/spaces", "GET"),
        ("DELETE", f"/v1/spaces/{SITE}", "GET"),
        ("PATCH", f"/v1/spaces/{SITE}/viewers", "GET"),
        ("POST", f"/v1/spaces/{SITE}/timeline", "GET"),
        ("POST", f"/v1/spaces/{SITE}/days", "GET"),
    ],
)
def test_a_method_that_does_not_work_is_a_405_that_names_those_that_do(
    memory_world: World, method: str, path: str, allowed: str
) -> None:
    answer = memory_world.http(method, path, body={"sessionId": "s1"})
    assert is_error(answer, 405)
    assert answer.headers["allow"] == allowed


@pytest.mark.parametrize("tail", ["", "/leave"])
@pytest.mark.parametrize("encode", [False, True])
def test_a_body_over_the_limit_is_a_413_and_stores_nothing(
    memory_world: World, tail: str, *, encode: bool
) -> None:
    frame = len(json.dumps({"sessionId": "s1", "more": ""}))
    fits = json.dumps({"sessionId": "s1", "more": "x" * (MAX_BODY - frame)})
    assert len(fits) == MAX_BODY
    before = memory_world.snapshot()
    for body in (fits + " ", json.dumps({"sessionId": "s1", "more": "x" * 3 * MAX_BODY})):
        assert is_error(memory_world.http("POST", PRESENCE + tail, body=body, encode=encode), 413)
    assert memory_world.snapshot() == before
    assert memory_world.http("POST", PRESENCE + tail, body=fits, encode=encode).status == 200


def test_unknown_fields_are_ignored(memory_world: World) -> None:
    memory_world.beat("s1", novelty={"a": [1, 2]})
    (row,) = memory_world.presence_rows()
    assert "novelty" not in row


# ----------------------------------------------------------------------------------------- failures


def fail(world: World, error: Exception) -> None:
    """Every call of the HTTP API's functions to DynamoDB fails from now on."""

    class Failing:
        def __getattr__(self, name: str) -> Any:
            def call(*_: Any, **__: Any) -> Any:
                raise error

            return call

    for function in ("beat", "api"):
        broken: Any = world.services(function)
        broken.dynamodb = Failing()


def logged(caplog: pytest.LogCaptureFixture) -> str:
    """Everything that was logged: lines, stack traces and extra fields."""
    return caplog.text + "".join(str(vars(record)) for record in caplog.records)


@pytest.mark.parametrize("code", ["ThrottlingException", "ProvisionedThroughputExceededException"])
def test_throttling_is_a_503_with_retry_after(memory_world: World, code: str) -> None:
    fail(memory_world, aws_error(code))
    answer = memory_world.http("POST", PRESENCE, body={"sessionId": "s1"})
    assert is_error(answer, 503)
    assert int(answer.headers["retry-after"]) > 0
    assert is_error(memory_world.get(f"/v1/spaces/{SITE}"), 503)


def test_an_unexpected_error_is_a_500_without_details(
    memory_world: World, caplog: pytest.LogCaptureFixture
) -> None:
    fail(memory_world, aws_error("ValidationException"))
    answer = memory_world.http("POST", PRESENCE, body={"sessionId": "s1"}, request="req-77")
    assert is_error(answer, 500)
    assert "req-77" in answer.body["error"]
    assert "ValidationException" not in json.dumps(answer.body)
    assert "ValidationException" in logged(caplog)


def test_a_clients_error_is_not_logged(
    memory_world: World, caplog: pytest.LogCaptureFixture
) -> None:
    memory_world.http("POST", PRESENCE, body="{}")
    memory_world.get("/v1/spaces")
    memory_world.get("/nothing")
    assert logged(caplog) == ""


def test_no_token_and_no_name_is_logged_when_things_go_wrong(
    memory_world: World, caplog: pytest.LogCaptureFixture
) -> None:
    fail(memory_world, aws_error("ThrottlingException"))
    memory_world.http(
        "POST",
        PRESENCE,
        body={"sessionId": "secret-session", "name": "Ada"},
        query={"token": memory_world.admin},
    )
    memory_world.get("/v1/spaces", token=memory_world.admin)
    lines = logged(caplog)
    assert "dependency busy" in lines
    assert memory_world.admin not in lines
    assert "secret-session" not in lines
    assert "Ada" not in lines


# --------------------------------------------------------------------------------------------- CORS


def test_a_preflight_is_answered_for_any_path(memory_world: World) -> None:
    answer = memory_world.http("OPTIONS", PRESENCE, headers={"origin": "https://shop.example.test"})
    assert answer.status == 204
    assert answer.headers["access-control-allow-origin"] == "*"
    assert "POST" in answer.headers["access-control-allow-methods"]
    assert "authorization" in answer.headers["access-control-allow-headers"]


def test_only_listed_origins_are_allowed_where_origins_are_listed(
    memory: Engine, worlds: Worlds
) -> None:
    world = worlds(memory, AllowedOrigins="https://a.example.test https://b.example.test")
    for method, path in (("OPTIONS", PRESENCE), ("GET", f"/v1/spaces/{SITE}"), ("GET", "/x")):
        known = world.http(method, path, headers={"origin": "https://b.example.test"})
        assert known.headers["access-control-allow-origin"] == "https://b.example.test"
        other = world.http(method, path, headers={"origin": "https://evil.example.test"})
        assert "access-control-allow-origin" not in other.headers
        assert known.headers["vary"] == other.headers["vary"] == "origin"


# ------------------------------------------------------------------------------------ the dashboard


def site(world: World, path: str, **headers: str) -> Any:
    event = http_event("GET", path, headers={k.replace("_", "-"): v for k, v in headers.items()})
    return world.invoke("site", event)


@pytest.mark.parametrize("path", ["/dashboard", "/headcount.js", "/dashboard/nope"])
def test_a_head_of_a_file_is_its_get_without_the_body(memory_world: World, path: str) -> None:
    got = site(memory_world, path)
    head = memory_world.invoke("site", http_event("HEAD", path))
    assert head == {"statusCode": got["statusCode"], "headers": got["headers"]}


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE", "OPTIONS"])
def test_nothing_is_sent_to_the_dashboard(memory_world: World, method: str) -> None:
    answer = Answer.of(memory_world.invoke("site", http_event(method, "/dashboard")))
    assert is_error(answer, 405)
    assert answer.headers["allow"] == "GET, HEAD"


@pytest.mark.parametrize(
    "path", ["/dashboard", "/dashboard/", "/dashboard/index.html", "/admin/live"]
)
def test_the_dashboard_is_a_page_that_may_load_nothing_foreign(
    memory_world: World, path: str
) -> None:
    answer = site(memory_world, path)
    assert answer["statusCode"] == 200
    assert answer["headers"]["content-type"].startswith("text/html")
    assert "default-src 'none'" in answer["headers"]["content-security-policy"]
    assert b"<html" in base64.b64decode(answer["body"])


@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_the_origin_itself_leads_to_the_dashboard(memory_world: World, method: str) -> None:
    answer = memory_world.invoke("site", http_event(method, "/"))
    assert (answer["statusCode"], answer["headers"]["location"]) == (302, "dashboard")
    assert "body" not in answer


def test_the_dashboard_gets_the_sockets_address(memory_world: World) -> None:
    answer = site(memory_world, "/dashboard/config.json")
    assert json.loads(base64.b64decode(answer["body"])) == {
        "socketUrl": "wss://socket.example.test/live",
        "signIn": None,
        "containers": False,
    }


def test_the_dashboard_offers_containers_where_a_cluster_is_configured(
    memory: Engine, worlds: Worlds
) -> None:
    world = worlds(memory, **CONTAINERS)
    answer = site(world, "/dashboard/config.json")
    assert json.loads(base64.b64decode(answer["body"]))["containers"] is True


def test_an_unchanged_dashboard_file_is_not_sent_again(memory_world: World) -> None:
    tag = site(memory_world, "/dashboard")["headers"]["etag"]
    answer = site(memory_world, "/dashboard", if_none_match=tag)
    assert answer["statusCode"] == 304
    assert "body" not in answer


def test_the_dashboard_is_sent_compressed_to_browsers_that_can(memory_world: World) -> None:
    plain, packed = (
        site(memory_world, "/dashboard/index.html", **headers)
        for headers in ({}, {"accept_encoding": "gzip, br"})
    )
    assert packed["headers"]["content-encoding"] == "gzip"
    assert len(packed["body"]) < len(plain["body"])


@pytest.mark.parametrize("name", ["nothing.js", "..%2Fapp.py", "../app.py", "static/index.html"])
def test_nothing_but_the_dashboards_files_is_served(memory_world: World, name: str) -> None:
    assert site(memory_world, f"/dashboard/{name}")["statusCode"] == 404


def test_head_is_answered_like_get_without_a_body(memory_world: World) -> None:
    answer = memory_world.http("HEAD", f"/v1/spaces/{SITE}")
    assert (answer.status, answer.body) == (200, None)
    assert memory_world.http("HEAD", f"/v1/spaces/{SITE}/viewers").status == 401


def test_the_methods_of_a_path_are_named_once(memory_world: World) -> None:
    answer = memory_world.http("PUT", f"/v1/spaces/{SITE}/presence")
    assert (answer.status, answer.headers["allow"]) == (405, "DELETE, POST")


@pytest.mark.parametrize(
    ("token", "lives"), [(None, "public, max-age=1"), ("whatever", "no-store")]
)
def test_public_counts_may_be_cached_for_a_second_without_a_token(
    memory_world: World, token: str | None, lives: str
) -> None:
    answer = memory_world.http("GET", f"/v1/spaces/{SITE}", token=token)
    assert answer.headers["cache-control"] == lives
    assert (
        memory_world.http("GET", "/v1/spaces/activity:main", token=memory_world.admin).headers[
            "cache-control"
        ]
        == "no-store"
    )


def test_a_preflight_allows_a_librarys_headers(memory_world: World) -> None:
    asked = "apikey,authorization,content-profile,x-client-info, bad header!"
    answer = memory_world.http(
        "OPTIONS", "/rest/v1/heartbeats", headers={"access-control-request-headers": asked}
    )
    allowed = answer.headers["access-control-allow-headers"].split(", ")
    assert {"apikey", "content-profile", "x-client-info", "authorization"} <= set(allowed)
    assert not [name for name in allowed if " " in name or "!" in name]
