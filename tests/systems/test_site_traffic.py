"""Site traffic: the REST routes and PostgREST's protocol, call by call and field by field."""

from __future__ import annotations

import json
from typing import Any

import pytest
from headcount.systems.site_traffic_postgrest import (
    MAX_INSERT_BODY,
    MAX_INSERT_ROWS,
    MAX_STRANGERS_ROWS,
)

from lab.harness.engines import Engine
from lab.harness.fakes import aws_error
from lab.harness.world import Answer, World
from tests.conftest import Worlds

HEARTBEATS = "/rest/v1/heartbeats"
LIVE = "/rest/v1/rpc/get_live_traffic"
DAILY = "/rest/v1/rpc/get_daily_active_users"
ADA, BEN = "2b1d5a0e-7a5c-4d0f-9b57-1f4f5f3c0a01", "2b1d5a0e-7a5c-4d0f-9b57-1f4f5f3c0a02"
ANON_KEY = "eyJhbGciOiJIUzI1NiJ9.e30.of-another-project"


def sent_by_client(key: str = ANON_KEY, **more: str) -> dict[str, str]:
    """The headers of supabase-js."""
    return {
        "apikey": key,
        "authorization": f"Bearer {key}",
        "accept": "*/*",
        "x-client-info": "supabase-js/2.109.0; runtime=node",
        **more,
    }


def row(session: str, user: str | None = None, page: str = "/") -> dict[str, Any]:
    """The row that ``startHeartbeat`` inserts."""
    return {"session_id": session, "user_id": user, "page_path": page}


def post(
    world: World,
    path: str,
    body: Any,
    key: str = ANON_KEY,
    query: dict[str, str] | None = None,
    **headers: str,
) -> Answer:
    """A POST as supabase-js sends it."""
    sent = sent_by_client(key, **{"content-profile": "public", **headers})
    return world.http("POST", path, body=body, query=query, headers=sent)


def insert(world: World, *rows: dict[str, Any], key: str = ANON_KEY) -> None:
    """Heartbeats that must be accepted: one as an object, several as a list."""
    body: Any = rows[0] if len(rows) == 1 else list(rows)
    answer = post(world, HEARTBEATS, body, key)
    assert (answer.status, answer.body) == (201, None), answer


def heartbeat(world: World, session: str, user: str | None = None, page: str = "/") -> Answer:
    """A heartbeat by REST that must be accepted."""
    fields = {"sessionId": session, "userId": user, "pagePath": page}
    answer = world.http("POST", "/api/heartbeats", body=fields)
    assert answer.status == 200, answer
    return answer


def rpc(world: World, path: str, **args: Any) -> Any:
    """The single row that a function returns to an admin."""
    answer = post(world, path, args, world.admin)
    assert answer.status == 200, answer
    (found,) = answer.body
    return found


def live(world: World) -> tuple[int, int, int, int]:
    """active_users, active_sessions, authenticated_users, anonymous_sessions."""
    found = rpc(world, LIVE)
    return (
        found["active_users"],
        found["active_sessions"],
        found["authenticated_users"],
        found["anonymous_sessions"],
    )


def daily(world: World, **args: Any) -> tuple[int, int, int]:
    """unique_sessions, unique_users, total_heartbeats."""
    found = rpc(world, DAILY, **args)
    return found["unique_sessions"], found["unique_users"], found["total_heartbeats"]


def daily_by_rest(world: World, **query: str) -> Any:
    """The daily traffic by REST."""
    answer = world.get("/api/traffic/daily", token=world.admin, **query)
    assert answer.status == 200, answer
    return answer.body


def is_problem(answer: Answer, status: int, code: str, *words: str) -> bool:
    """PostgREST's error format."""
    assert answer.body.keys() == {"code", "message", "details", "hint"}, answer
    return (
        (answer.status, answer.body["code"]) == (status, code)
        and all(word in answer.body["message"] for word in words)
        and answer.headers["access-control-allow-origin"] == "*"
    )


# ------------------------------------------------------------------------------------- live traffic


def test_live_traffic_has_the_columns_and_numbers_of_the_sql(world: World) -> None:
    insert(world, row("s1", ADA, "/a"))
    insert(world, row("s2", ADA, "/b"))
    insert(world, row("s3", BEN, "/a"))
    insert(world, row("s4", None, "/a"))
    assert post(world, LIVE, {}, world.admin).body == [
        {
            "active_users": 2,
            "active_sessions": 4,
            "authenticated_users": 3,
            "anonymous_sessions": 1,
            "top_pages": [{"path": "/a", "count": 3}, {"path": "/b", "count": 1}],
        }
    ]
    assert world.get("/api/traffic/live", token=world.admin).body == {
        "success": True,
        "activeUsers": 2,
        "activeSessions": 4,
        "authenticatedUsers": 3,
        "anonymousSessions": 1,
        "topPages": [{"path": "/a", "count": 3}, {"path": "/b", "count": 1}],
    }


def test_a_site_without_visitors_has_zeros_and_no_top_pages(world: World) -> None:
    assert rpc(world, LIVE) == {
        "active_users": 0,
        "active_sessions": 0,
        "authenticated_users": 0,
        "anonymous_sessions": 0,
        "top_pages": None,
    }
    assert world.get("/api/traffic/live", token=world.admin).body["topPages"] is None


def test_top_pages_are_the_five_with_most_sessions(memory_world: World) -> None:
    for page, sessions in (("/a", 1), ("/b", 2), ("/c", 3), ("/d", 1), ("/e", 2), ("/f", 4)):
        for number in range(sessions):
            heartbeat(memory_world, f"{page}{number}", page=page)
    assert rpc(memory_world, LIVE)["top_pages"] == [
        {"path": "/f", "count": 4},
        {"path": "/c", "count": 3},
        {"path": "/b", "count": 2},
        {"path": "/e", "count": 2},
        {"path": "/a", "count": 1},
    ]


def test_a_page_called_other_is_a_page(memory_world: World) -> None:
    heartbeat(memory_world, "s1", page="other")
    heartbeat(memory_world, "s2", page="/")
    heartbeat(memory_world, "s3", page="other")
    assert rpc(memory_world, LIVE)["top_pages"] == [
        {"path": "other", "count": 2},
        {"path": "/", "count": 1},
    ]


def test_a_heartbeat_answers_the_count_and_when_the_next_is_due(world: World) -> None:
    assert heartbeat(world, "s1").body == {
        "success": True,
        "count": 1,
        "version": 0,
        "leaseSeconds": 60,
        "nextBeatIn": 30,
    }
    heartbeat(world, "s2")
    world.settle()
    world.clock.advance(30)
    assert heartbeat(world, "s1").body["count"] == 2


def test_a_session_is_active_for_sixty_seconds(world: World) -> None:
    insert(world, row("s1", ADA))
    world.settle()
    world.clock.advance(59.999)
    assert live(world) == (1, 1, 1, 0)
    world.clock.advance(0.001)
    assert live(world) == (0, 0, 0, 0)
    assert rpc(world, LIVE)["top_pages"] is None
    insert(world, row("s1", ADA))
    assert live(world) == (1, 1, 1, 0)


def test_a_repeated_heartbeat_is_the_same_session_and_a_heartbeat_more(world: World) -> None:
    for _ in range(3):
        insert(world, row("s1"))
    world.settle()
    assert live(world) == (0, 1, 0, 1)
    assert daily(world) == (1, 0, 3)


def test_a_visitor_who_signs_in_is_a_user_and_no_visitor_any_more(world: World) -> None:
    insert(world, row("s1"))
    insert(world, row("s1", ADA))
    assert live(world) == (1, 1, 1, 0)
    insert(world, row("s1"))
    assert live(world) == (0, 1, 0, 1)


def test_two_tabs_of_a_browser_are_one_session_on_the_page_that_beat_last(world: World) -> None:
    for _ in range(3):
        for page in ("/a", "/b"):
            world.clock.advance(15)
            insert(world, row("s1", ADA, page))
            assert live(world) == (1, 1, 1, 0)
            assert rpc(world, LIVE)["top_pages"] == [{"path": page, "count": 1}]
    world.settle()
    assert daily(world) == (1, 1, 6)
    assert world.headcount()["views"]["total"] == 1


def test_a_late_heartbeat_of_the_page_before_changes_nothing(world: World) -> None:
    tab = {"sessionId": "s1", "tabId": "one"}
    for page, seq, status in ("/a", 1, 200), ("/b", 3, 200), ("/a", 2, 200), ("/a", -1, 400):
        body = {**tab, "pagePath": page, "seq": seq}
        assert world.http("POST", "/api/heartbeats", body=body).status == status
    assert rpc(world, LIVE)["top_pages"] == [{"path": "/b", "count": 1}]
    other = {**tab, "tabId": "two", "pagePath": "/c", "seq": 1}
    assert world.http("POST", "/api/heartbeats", body=other).status == 200
    assert rpc(world, LIVE)["top_pages"] == [{"path": "/c", "count": 1}]


def test_a_steady_heartbeat_invokes_nothing(memory_world: World) -> None:
    insert(memory_world, row("s1", ADA, "/a"))
    memory_world.settle()
    memory_world.clock.advance(30)
    insert(memory_world, row("s1", ADA, "/a"))
    assert memory_world.filtered("count") == []


def test_rest_postgrest_and_native_beats_belong_to_one_site(memory_world: World) -> None:
    heartbeat(memory_world, "s1", ADA)
    insert(memory_world, row("s1", ADA))
    memory_world.beat("s2", page="/")
    assert live(memory_world) == (1, 2, 1, 1)
    memory_world.leave("s1")
    assert live(memory_world) == (0, 1, 0, 1)


@pytest.mark.parametrize("shards", ["1", "3"])
def test_shards_change_no_number(memory: Engine, worlds: Worlds, shards: str) -> None:
    world = worlds(memory, ShardsPerSpace=shards)
    insert(world, *[row(f"s{number}", None, f"/{number % 2}") for number in range(8)])
    insert(world, row("s0", ADA, "/0"), row("s1", ADA, "/1"), row("s2", BEN, "/0"))
    expected = (2, 8, 3, 5)
    assert live(world) == expected
    world.settle()
    assert live(world) == expected
    assert rpc(world, LIVE)["top_pages"] == [{"path": "/1", "count": 4}, {"path": "/0", "count": 4}]
    assert daily(world) == (8, 2, 11)


def test_a_larger_site_comes_as_published(
    memory_world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("headcount.usecases.read.LIVE_UP_TO", 2)
    insert(memory_world, *[row(f"s{number}", ADA) for number in range(3)])
    memory_world.settle()
    insert(memory_world, row("s3"))
    assert live(memory_world) == (1, 3, 3, 0)
    memory_world.clock.advance(5)
    memory_world.settle()
    assert live(memory_world) == (1, 4, 3, 1)


# --------------------------------------------------------------------------------------------- days


def test_a_day_counts_sessions_users_and_heartbeats(world: World) -> None:
    insert(world, row("s1", ADA), row("s2", ADA), row("s3", BEN), row("s4"))
    insert(world, row("s4"))
    world.settle()
    assert daily(world) == (4, 2, 5)
    assert daily(world, for_date="2026-11-21") == (4, 2, 5)
    assert daily_by_rest(world) == {
        "success": True,
        "date": "2026-11-21",
        "uniqueSessions": 4,
        "uniqueUsers": 2,
        "totalHeartbeats": 5,
        "uniqueActiveUsers": 3,
    }


def test_a_person_who_signs_in_mid_day_is_one_active_user(world: World) -> None:
    """The SQL's COALESCE(user_id, session_id) counted them twice."""
    insert(world, row("s1"))
    insert(world, row("s1", ADA))
    world.settle()
    body = daily_by_rest(world)
    assert (body["uniqueActiveUsers"], body["uniqueUsers"], body["uniqueSessions"]) == (1, 1, 1)


def test_every_user_of_a_shared_browser_is_counted_that_day(world: World) -> None:
    insert(world, row("s1"))
    insert(world, row("s1", ADA))
    insert(world, row("s1"))
    insert(world, row("s1", BEN))
    insert(world, row("s1"))
    world.settle()
    assert daily(world) == (1, 2, 5)
    world.clock.advance(61)
    world.sweep()
    world.settle()
    assert daily(world) == (1, 2, 5), "the same after the visit"
    assert daily_by_rest(world)["uniqueActiveUsers"] == 2


def test_a_visit_over_midnight_is_in_both_days_with_each_days_heartbeats(world: World) -> None:
    world.clock.set("2026-11-21T23:59:15Z")
    insert(world, row("s1", ADA))
    world.clock.advance(30)
    insert(world, row("s1", ADA))
    world.clock.advance(30)
    insert(world, row("s1", ADA))
    world.settle()
    assert daily(world, for_date="2026-11-21") == (1, 1, 2)
    assert daily(world) == daily(world, for_date="2026-11-22") == (1, 1, 1)
    world.clock.set("2026-11-22T00:02:00Z")
    world.sweep()
    world.settle()
    assert daily(world, for_date="2026-11-21") == (1, 1, 2)
    world.clock.set("2026-11-22T01:00:00Z")
    world.daily()
    assert daily(world, for_date="2026-11-21") == (1, 1, 2)
    assert daily(world) == (1, 1, 1)


def test_a_day_is_kept_when_its_heartbeats_are_long_gone(memory_world: World) -> None:
    insert(memory_world, row("s1", ADA), row("s2"))
    memory_world.settle()
    memory_world.clock.set("2026-11-22T01:00:00Z")
    memory_world.sweep()
    memory_world.settle()
    memory_world.daily()
    memory_world.clock.set("2027-10-21T12:00:00Z")
    assert daily(memory_world, for_date="2026-11-21") == (2, 1, 2)
    assert daily_by_rest(memory_world, date="2026-11-21")["uniqueActiveUsers"] == 2


@pytest.mark.parametrize("date", ["2026-11-20", "2020-02-29", "2026-11-22", "0001-01-01"])
def test_a_day_without_visitors_has_zeros(memory_world: World, date: str) -> None:
    insert(memory_world, row("s1", ADA))
    memory_world.settle()
    assert daily(memory_world, for_date=date) == (0, 0, 0)
    body = daily_by_rest(memory_world, date=date)
    assert (body["date"], body["uniqueSessions"], body["uniqueActiveUsers"]) == (date, 0, 0)


@pytest.mark.parametrize(
    "date", ["2026-11-21T23:59:59.999Z", "2026-11-21 00:00:00+00", "2026-11-21", None]
)
def test_a_date_may_come_as_a_javascript_date_does(memory_world: World, date: str | None) -> None:
    insert(memory_world, row("s1", ADA))
    memory_world.settle()
    assert daily(memory_world, for_date=date) == (1, 1, 1)


@pytest.mark.parametrize(
    ("date", "code"),
    [
        ("the day before", "22007"),
        ("", "22007"),
        ("2026-1-1", "22007"),
        ("2026-11-21x", "22007"),
        ("٢٠٢٦-١١-٢١", "22007"),
        (20261121, "22007"),
        ({}, "22007"),
        ("2026-02-30", "22008"),
        ("2026-13-01", "22008"),
        ("0000-01-01", "22008"),
    ],
)
def test_a_wrong_date_is_refused(memory_world: World, date: Any, code: str) -> None:
    answer = post(memory_world, DAILY, {"for_date": date}, memory_world.admin)
    assert is_problem(answer, 400, code, "date")
    if isinstance(date, str):
        answer = memory_world.get(DAILY, token=memory_world.admin, for_date=date)
        assert is_problem(answer, 400, code)
        answer = memory_world.get("/api/traffic/daily", token=memory_world.admin, date=date)
        assert (answer.status, answer.body["success"]) == (400, False)


# ------------------------------------------------------------------------------------------- access


ADMINS = [
    ("POST", LIVE),
    ("GET", LIVE),
    ("POST", DAILY),
    ("GET", DAILY),
    ("GET", HEARTBEATS),
    ("GET", "/api/traffic/live"),
    ("GET", "/api/traffic/daily"),
]


@pytest.mark.parametrize(("method", "path"), ADMINS)
def test_only_admins_read(memory_world: World, method: str, path: str) -> None:
    user = memory_world.token(sub=ADA)
    for token, status in ((None, 401), (ANON_KEY, 401), (user, 403)):
        answer = memory_world.http(method, path, token=token, body={} if method == "POST" else None)
        assert answer.status == status
        if path.startswith("/rest/"):
            assert is_problem(answer, status, "42501")
        else:
            assert answer.body["success"] is False


def test_an_admins_token_beside_the_sites_key_may_read(memory_world: World) -> None:
    headers = sent_by_client() | {"authorization": f"Bearer {memory_world.admin}"}
    assert memory_world.http("POST", LIVE, body={}, headers=headers).status == 200


@pytest.mark.parametrize("key", [ANON_KEY, "anon", "sb_publishable_x"])
def test_any_key_may_insert_anonymously(memory_world: World, key: str) -> None:
    insert(memory_world, row("s1"), key=key)
    assert live(memory_world) == (0, 1, 0, 1)


def test_a_users_token_proves_the_user(memory_world: World) -> None:
    token = memory_world.token(sub=ADA)
    insert(memory_world, row("s1", ADA), key=token)
    insert(memory_world, row("s2"), key=token)
    assert all(one["user"] == ADA and one["verified"] for one in memory_world.presence_rows())
    answer = post(memory_world, HEARTBEATS, row("s3", BEN), token)
    assert is_problem(answer, 403, "42501", "userId")
    assert len(memory_world.presence_rows()) == 2


def test_where_users_must_be_proven_a_claim_is_refused(memory: Engine, worlds: Worlds) -> None:
    world = worlds(memory, RequireVerifiedUsers="true")
    answer = post(world, HEARTBEATS, [row("s1"), row("s2", ADA)])
    assert is_problem(answer, 401, "42501")
    fields = {"sessionId": "s1", "userId": ADA, "pagePath": "/"}
    assert world.http("POST", "/api/heartbeats", body=fields).status == 401
    assert world.presence_rows() == []
    insert(world, row("s1"))
    insert(world, row("s2", ADA), key=world.token(sub=ADA))
    assert live(world) == (1, 2, 1, 1)


# -------------------------------------------------------------------------------- PostgREST's table


def test_a_bulk_insert_names_its_columns(memory_world: World) -> None:
    columns = {"columns": '"session_id","user_id","page_path"'}
    rows = [{"session_id": "s1", "page_path": "/a"}, row("s2", ADA, "/b")]
    answer = post(memory_world, HEARTBEATS, rows, query=columns, prefer="missing=default")
    assert (answer.status, answer.body) == (201, None)
    assert live(memory_world) == (1, 2, 1, 1)


def test_two_rows_of_one_session_are_two_heartbeats(world: World) -> None:
    insert(world, row("s1", None, "/a"), row("s1", ADA, "/b"), row("s2"))
    world.settle()
    assert live(world) == (1, 2, 1, 1)
    assert daily(world) == (2, 1, 3)
    assert world.headcount()["views"]["total"] == 2


def test_an_upsert_is_an_insert(memory_world: World) -> None:
    answer = post(memory_world, HEARTBEATS, row("s1"), prefer="resolution=merge-duplicates")
    assert answer.status == 201
    assert live(memory_world)[1] == 1


def test_an_empty_list_inserts_nothing(memory_world: World) -> None:
    assert post(memory_world, HEARTBEATS, []).status == 201
    assert memory_world.presence_rows() == []


def test_the_server_sets_id_and_time(memory_world: World) -> None:
    sent = row("s1") | {"id": "mine", "created_at": "2001-01-01T00:00:00Z"}
    insert(memory_world, sent)
    assert live(memory_world)[1] == 1
    (stored,) = memory_world.presence_rows()
    assert stored["last_seen"] == memory_world.clock()


def test_counted_rows_are_in_the_content_range(memory_world: World) -> None:
    answer = post(memory_world, HEARTBEATS, [row("s1"), row("s2")], prefer="count=exact")
    assert answer.headers["content-range"] == "*/2"
    answer = post(memory_world, LIVE, {}, memory_world.admin, prefer="count=exact")
    assert answer.headers["content-range"] == "0-0/1"


def test_an_admin_may_have_the_rows_back(memory_world: World) -> None:
    shown = {"prefer": "return=representation"}
    answer = post(memory_world, HEARTBEATS, row("s1", ADA, "/a"), memory_world.admin, **shown)
    assert answer.status == 201
    (stored,) = answer.body
    assert stored.pop("id")
    assert stored == {
        "session_id": "s1",
        "user_id": ADA,
        "page_path": "/a",
        "created_at": "2026-11-21T12:00:00.000Z",
    }
    single = {"accept": "application/vnd.pgrst.object+json"}
    answer = post(
        memory_world,
        HEARTBEATS,
        row("s1"),
        memory_world.admin,
        {"select": "session_id,page_path"},
        **shown,
        **single,
    )
    assert answer.body == {"session_id": "s1", "page_path": "/"}


def test_a_caller_who_must_not_read_rows_gets_none_back(memory_world: World) -> None:
    for key, status in ((ANON_KEY, 401), (memory_world.token(sub=ADA), 403)):
        answer = post(memory_world, HEARTBEATS, row("s1"), key, prefer="return=representation")
        assert is_problem(answer, status, "42501")
    assert memory_world.presence_rows() == []


def test_a_single_of_two_rows_is_refused_before_anything_is_stored(memory_world: World) -> None:
    headers = {"prefer": "return=representation", "accept": "application/vnd.pgrst.object+json"}
    answer = post(memory_world, HEARTBEATS, [row("s1"), row("s2")], memory_world.admin, **headers)
    assert is_problem(answer, 406, "PGRST116")
    assert memory_world.presence_rows() == []


@pytest.mark.parametrize(
    ("change", "code", "detail"),
    [
        ({"session_id": None}, "23502", "session_id"),
        ({"page_path": None}, "23502", "page_path"),
        ({"session_id": 7}, "22P02", "session_id"),
        ({"session_id": ""}, "22P02", "session_id"),
        ({"session_id": "s" * 129}, "22P02", "session_id"),
        ({"session_id": "~s"}, "22P02", "session_id"),
        ({"session_id": "a\x00b"}, "22P02", "session_id"),
        ({"user_id": 7}, "22P02", "user_id"),
        ({"user_id": ""}, "22P02", "user_id"),
        ({"user_id": ["a"]}, "22P02", "user_id"),
        ({"user_id": "u" * 129}, "22P02", "user_id"),
        ({"page_path": 7}, "22P02", "page_path"),
        ({"page_path": ""}, "22P02", "page_path"),
        ({"page_path": "\n"}, "22P02", "page_path"),
        ({"mood": "good"}, "PGRST204", "mood"),
        ({"a\n<b>": 1}, "PGRST204", "a"),
    ],
)
def test_one_wrong_row_is_named_and_none_is_stored(
    memory_world: World, change: dict[str, Any], code: str, detail: str
) -> None:
    wrong = row("s1", ADA, "/a") | change
    for body in (wrong, [row("s2"), wrong]):
        assert is_problem(post(memory_world, HEARTBEATS, body), 400, code, detail)
    names = {"session_id": "sessionId", "user_id": "userId", "page_path": "pagePath"}
    if detail in names:
        fields = {names[key]: value for key, value in wrong.items()}
        answer = memory_world.http("POST", "/api/heartbeats", body=fields)
        assert (answer.status, answer.body["success"]) == (400, False)
        assert names[detail] in answer.body["error"]
    assert memory_world.presence_rows() == []


@pytest.mark.parametrize("name", ["session_id", "page_path"])
def test_a_missing_column_is_named(memory_world: World, name: str) -> None:
    sent = row("s1")
    del sent[name]
    answer = post(memory_world, HEARTBEATS, sent)
    assert is_problem(answer, 400, "23502", f'"{name}"', "not-null")
    camel = {"session_id": "sessionId", "page_path": "pagePath"}[name]
    answer = memory_world.http("POST", "/api/heartbeats", body=sent)
    assert (answer.status, camel in answer.body["error"]) == (400, True)


def test_an_unknown_column_in_columns_is_refused(memory_world: World) -> None:
    query = {"columns": '"session_id","mood"'}
    assert is_problem(
        post(memory_world, HEARTBEATS, [row("s1")], query=query), 400, "PGRST204", "mood"
    )


@pytest.mark.parametrize("body", [None, "", "{", "[1]", '"s1"', "session_id\ns1", "7"])
def test_a_body_that_is_no_row_is_refused(memory_world: World, body: str | None) -> None:
    assert is_problem(post(memory_world, HEARTBEATS, body), 400, "PGRST102")


def test_too_many_rows_or_bytes_are_refused(memory_world: World) -> None:
    server = memory_world.token(headcount_scopes="ingest:site:main")
    most = [row(f"s{number}") for number in range(MAX_INSERT_ROWS)]
    insert(memory_world, *most, key=server)
    before = memory_world.snapshot()
    rows = [*most, row("one more")]
    answer = post(memory_world, HEARTBEATS, rows, server)
    assert is_problem(answer, 413, "54000", str(MAX_INSERT_ROWS))
    for key in (ANON_KEY, memory_world.token(headcount_scopes="ingest:site:other")):
        answer = post(memory_world, HEARTBEATS, most[: MAX_STRANGERS_ROWS + 1], key)
        assert is_problem(answer, 413, "54000", "ingest:site:main")
    large = json.dumps(row("s2")) + " " * MAX_INSERT_BODY
    assert is_problem(post(memory_world, HEARTBEATS, large), 413, "54000")
    assert is_problem(post(memory_world, HEARTBEATS, [row("s3")] * 21, server), 413, "54000", "20")
    assert memory_world.snapshot() == before


def test_a_long_path_is_counted_under_its_beginning(memory_world: World) -> None:
    insert(memory_world, row("s1", None, "/" + "ä" * 400))
    heartbeat(memory_world, "s2", page="/" + "ä" * 400)
    assert rpc(memory_world, LIVE)["top_pages"] == [{"path": "/" + "ä" * 149, "count": 2}]


def test_heartbeats_are_not_kept_one_by_one_for_admins_either(memory_world: World) -> None:
    answer = memory_world.get(HEARTBEATS, token=memory_world.admin, select="*")
    assert is_problem(answer, 400, "0A000", "can't be read")
    assert "get_live_traffic" in answer.body["hint"]


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("DELETE", HEARTBEATS),
        ("PATCH", HEARTBEATS),
        ("PUT", LIVE),
        ("DELETE", DAILY),
        ("GET", "/api/heartbeats"),
        ("POST", "/api/traffic/live"),
    ],
)
def test_other_methods_are_refused(memory_world: World, method: str, path: str) -> None:
    answer = memory_world.http(method, path, token=memory_world.admin)
    assert answer.status == 405
    assert answer.headers["allow"]
    if path.startswith("/rest/"):
        assert is_problem(answer, 405, "PGRST117")


def test_another_schema_is_refused(memory_world: World) -> None:
    answer = post(memory_world, HEARTBEATS, row("s1"), **{"content-profile": "private"})
    assert is_problem(answer, 406, "PGRST106")
    headers = sent_by_client(memory_world.admin, **{"accept-profile": "private"})
    assert is_problem(memory_world.http("GET", LIVE, headers=headers), 406, "PGRST106")


def test_a_busy_dependency_is_reported_in_postgrests_shape(
    memory_world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    def busy(*_: Any, **__: Any) -> None:
        raise aws_error("ThrottlingException")

    insert(memory_world, row("s1"))
    monkeypatch.setattr(memory_world.services("api").presence, "steady", busy)
    answer = post(memory_world, HEARTBEATS, row("s1"))
    assert is_problem(answer, 503, "53000", "busy")


# ---------------------------------------------------------------------------- PostgREST's functions


@pytest.mark.parametrize("path", [LIVE, DAILY])
def test_a_function_answers_post_and_get_a_list_or_a_single_object(
    memory_world: World, path: str
) -> None:
    insert(memory_world, row("s1", ADA))
    memory_world.settle()
    (found,) = post(memory_world, path, {}, memory_world.admin).body
    headers = sent_by_client(memory_world.admin, **{"accept-profile": "public"})
    assert memory_world.http("GET", path, headers=headers).body == [found]
    assert memory_world.http("POST", path, headers=headers).body == [found]
    single = {"accept": "application/vnd.pgrst.object+json"}
    assert post(memory_world, path, {}, memory_world.admin, **single).body == found
    assert memory_world.http("GET", path, headers=headers | single).body == found


def test_only_the_selected_columns_are_answered(memory_world: World) -> None:
    query = {"select": "active_users,active_sessions"}
    answer = post(memory_world, LIVE, {}, memory_world.admin, query)
    assert answer.body == [{"active_users": 0, "active_sessions": 0}]
    answer = post(memory_world, LIVE, {}, memory_world.admin, {"select": "mood"})
    assert is_problem(answer, 400, "42703", "mood")


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_an_unknown_function_or_table_is_an_error_and_no_empty_list(
    memory_world: World, method: str
) -> None:
    for token in (None, memory_world.admin):
        answer = memory_world.http(method, "/rest/v1/rpc/get_moods", token=token, body={})
        assert is_problem(answer, 404, "PGRST202", "get_moods")
        answer = memory_world.http(method, "/rest/v1/moods", token=token, body={})
        assert is_problem(answer, 404, "PGRST205", "public.moods")
    assert is_problem(memory_world.http(method, "/rest/v1/a/b/c"), 404, "PGRST125")


@pytest.mark.parametrize("path", [LIVE, DAILY])
def test_an_argument_that_a_function_does_not_have_is_refused(
    memory_world: World, path: str
) -> None:
    answer = post(memory_world, path, {"mood": 1}, memory_world.admin)
    assert is_problem(answer, 404, "PGRST202", "mood")
    assert is_problem(post(memory_world, path, [1], memory_world.admin), 400, "PGRST102")


def test_rest_accepts_the_tables_own_column_names_too(memory_world: World) -> None:
    answer = memory_world.http("POST", "/api/heartbeats", body=row("s1", ADA, "/a"))
    assert answer.status == 200
    assert live(memory_world) == (1, 1, 1, 0)


def test_an_undeclared_site_kind_is_named(memory: Engine, worlds: Worlds) -> None:
    world = worlds(memory, Kinds="course")
    assert is_problem(post(world, HEARTBEATS, row("s1")), 400, "22P02", "site")
