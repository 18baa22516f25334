"""What a client asks of a function's row is done or refused, never ignored."""

from __future__ import annotations

from typing import Any

import pytest

from lab.harness.events import http_event
from lab.harness.world import Answer, World

LIVE, DAILY = "/rest/v1/rpc/get_live_traffic", "/rest/v1/rpc/get_daily_active_users"
ROW = {
    "active_users": 1,
    "active_sessions": 2,
    "authenticated_users": 1,
    "anonymous_sessions": 1,
    "top_pages": [{"path": "/a", "count": 2}],
}


@pytest.fixture
def traffic(memory_world: World) -> World:
    rows = [
        {"session_id": "s1", "user_id": None, "page_path": "/a"},
        {"session_id": "s2", "user_id": "ada", "page_path": "/a"},
    ]
    assert memory_world.http("POST", "/rest/v1/heartbeats", body=rows).status == 201
    memory_world.settle()
    return memory_world


def ask(
    world: World, query: str = "", path: str = LIVE, method: str = "GET", **headers: str
) -> Any:
    """The answer to a request with this query string."""
    sent = {"authorization": f"Bearer {world.admin}"}
    sent |= {name.replace("_", "-"): value for name, value in headers.items()}
    event = http_event(method, LIVE, headers=sent, **({"body": {}} if method == "POST" else {}))
    return Answer.of(world.invoke("api", {**event, "rawQueryString": query}))


@pytest.mark.parametrize("method", ["GET", "POST"])
@pytest.mark.parametrize(
    ("query", "matches"),
    [
        ("active_sessions=eq.999999", False),
        ("active_sessions=eq.2", True),
        ("active_sessions=neq.2", False),
        ("active_sessions=gt.1&active_sessions=lt.3", True),
        ("active_sessions=gt.1&active_sessions=lt.2", False),
        ("active_sessions=gte.2", True),
        ("active_sessions=lte.1", False),
        ("active_sessions=not.eq.2", False),
        ("active_sessions=in.(1,2)", True),
        ("active_sessions=not.in.(1,2)", False),
        ("active_sessions=is.null", False),
        ("top_pages=not.is.null", True),
        ("active_sessions=isdistinct.2", False),
        ("active_sessions=eq(any).{2,5}", True),
        ("active_sessions=gt(all).{1,2}", False),
        ("or=(active_users.eq.9,active_sessions.eq.2)", True),
        ("or=(active_sessions.eq.1,and(active_sessions.eq.2,active_users.lt.1))", False),
        ("not.or=(active_users.eq.9,active_sessions.eq.2)", False),
        ("limit=0", False),
        ("limit=1", True),
        ("offset=1", False),
        ("order=active_sessions.desc.nullslast", True),
    ],
)
def test_filters_and_ranges_decide(traffic: World, query: str, matches: bool, method: str) -> None:
    answer = ask(traffic, query, method=method)
    assert (answer.status, answer.body) == (200, [ROW] if matches else [])


@pytest.mark.parametrize(
    ("query", "status", "code"),
    [
        ("mood=eq.1", 400, "42703"),
        ("order=mood", 400, "42703"),
        ("order=active_users.up", 400, "PGRST100"),
        ("select=mood", 400, "42703"),
        ("select=n:active_users", 400, "PGRST100"),
        ("select=active_users::text", 400, "PGRST100"),
        ("select=active_users.sum()", 400, "PGRST100"),
        ("active_users=eq.many", 400, "22P02"),
        ("active_users=eq.", 400, "22P02"),
        ("active_users=like.2*", 404, "42883"),
        ("active_users=fts.a", 404, "42883"),
        ("top_pages=eq.[]", 404, "42883"),
        ("active_users=is.true", 400, "42804"),
        ("active_users=in.1,2", 400, "PGRST100"),
        ("top_pages->0=eq.1", 400, "PGRST100"),
        ("or=active_users.eq.1", 400, "PGRST100"),
        ("or=(active_users)", 400, "PGRST100"),
        ("limit=-1", 416, "PGRST103"),
        ("limit=ten", 400, "PGRST100"),
        ("offset=-1", 400, "2201X"),
        ("mood=happy", 404, "PGRST202"),
    ],
)
def test_what_is_not_offered_is_refused(traffic: World, query: str, status: int, code: str) -> None:
    answer = ask(traffic, query)
    assert (answer.status, answer.body["code"]) == (status, code), answer


def test_a_filter_of_a_post_that_is_none_is_refused(traffic: World) -> None:
    answer = ask(traffic, "active_users=2", method="POST")
    assert (answer.status, answer.body["code"]) == (400, "PGRST100")


def test_csv_has_a_head_and_the_row(traffic: World) -> None:
    event = http_event(
        "GET", LIVE, headers={"authorization": f"Bearer {traffic.admin}", "accept": "text/csv"}
    )
    response = traffic.invoke("api", event)
    assert response["headers"]["content-type"] == "text/csv; charset=utf-8"
    head, row = response["body"].split("\n")
    assert head == "active_users,active_sessions,authenticated_users,anonymous_sessions,top_pages"
    assert row == '1,2,1,1,"[{""path"": ""/a"", ""count"": 2}]"'
    event["rawQueryString"] = "select=active_users&limit=0"
    assert traffic.invoke("api", event)["body"] == "active_users"


SINGLE = "application/vnd.pgrst.object+json"


def test_one_object_of_no_rows_is_refused_as_maybe_single_expects(traffic: World) -> None:
    assert ask(traffic, accept=SINGLE).body == ROW
    answer = ask(traffic, "active_users=eq.9", accept=SINGLE)
    assert (answer.status, answer.body["code"]) == (406, "PGRST116")
    assert answer.body["details"] == "The result contains 0 rows"


def test_nulls_are_left_out_for_who_asks_for_it(memory_world: World) -> None:
    assert ask(memory_world).body[0]["top_pages"] is None
    stripped = ask(memory_world, accept=f"{SINGLE};nulls=stripped").body
    assert "top_pages" not in stripped
    assert "active_users" in stripped


@pytest.mark.parametrize(
    "media", ["application/geo+json", "application/xml", "application/vnd.pgrst.plan+text"]
)
def test_other_formats_are_refused(traffic: World, media: str) -> None:
    answer = ask(traffic, accept=media)
    assert (answer.status, answer.body["code"]) == (406, "PGRST107")
    assert ask(traffic, accept=f"{media}, */*;q=0.1").status == 200


def test_a_range_header_cuts_reads(traffic: World) -> None:
    assert ask(traffic, range="0-0").body == [ROW]
    assert ask(traffic, range="1-5").body == []
    assert ask(traffic, method="POST", range="1-5").body == [ROW]  # of reads alone
    for wrong in ("5-1", "x"):
        answer = ask(traffic, range=wrong)
        assert (answer.status, answer.body["code"]) == (416, "PGRST103")


def test_counts_say_which_rows_of_how_many(traffic: World) -> None:
    exact = {"prefer": "count=exact"}
    assert ask(traffic, **exact).headers["content-range"] == "0-0/1"
    empty = ask(traffic, "active_users=eq.9", **exact)
    assert (empty.status, empty.headers["content-range"]) == (200, "*/0")
    none = ask(traffic, "limit=0", **exact)
    assert (none.status, none.headers["content-range"]) == (206, "*/1")
    beyond = ask(traffic, "offset=3", **exact)
    assert (beyond.status, beyond.body["code"]) == (416, "PGRST103")
    assert "content-range" not in ask(traffic).headers


@pytest.mark.parametrize(
    "prefer", ["count=guess", "tx=rollback", "handling=strict, mood=good", "timezone=Europe/Rome"]
)
def test_preferences_that_are_not_kept_are_refused(traffic: World, prefer: str) -> None:
    answer = ask(traffic, prefer=prefer)
    assert (answer.status, answer.body["code"]) == (400, "PGRST122")


def test_an_insert_is_not_filtered_and_has_no_other_conflicts(memory_world: World) -> None:
    row = {"session_id": "s1", "page_path": "/a"}
    for query, code in (
        ("session_id=eq.s1", "0A000"),
        ("limit=1", "0A000"),
        ("on_conflict=session_id", "42P10"),
    ):
        event = http_event("POST", "/rest/v1/heartbeats", body=row)
        answer = Answer.of(memory_world.invoke("api", {**event, "rawQueryString": query}))
        assert (answer.status, answer.body["code"]) == (400, code)
    memory_world.settle()
    assert memory_world.people() == 0


@pytest.mark.parametrize(
    ("word", "sessions"),
    [
        *(("yesterday", 1), (" Yesterday ", 1), ("today", 0), ("now", 0), ("tomorrow", 0)),
        *(("epoch", 0), ("infinity", 0), ("-infinity", 0)),
    ],
)
def test_a_day_may_be_one_of_postgres_words(memory_world: World, word: str, sessions: int) -> None:
    memory_world.beat("s1")
    memory_world.settle()
    memory_world.clock.advance(60)
    memory_world.leave("s1")
    memory_world.settle()
    memory_world.clock.set("2026-11-22T12:00:00Z")
    answer = memory_world.http("POST", DAILY, body={"for_date": word}, token=memory_world.admin)
    assert (answer.status, answer.body[0]["unique_sessions"]) == (200, sessions)


def test_pages_may_send_what_is_refused_with_its_own_code(memory_world: World) -> None:
    headers = {"origin": "https://a.example", "access-control-request-method": "PATCH"}
    allowed = memory_world.http("OPTIONS", "/rest/v1/heartbeats", headers=headers)
    assert "PATCH" in allowed.headers["access-control-allow-methods"].split(", ")
    answer = memory_world.http("PATCH", "/rest/v1/heartbeats", body={})
    assert (answer.status, answer.body["code"]) == (405, "PGRST117")
