"""Link analytics: the old system's requests, through the real handlers."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier
from typing import Any

import pytest
from headcount.model.person import hashed_fingerprint
from headcount.systems import link_analytics
from headcount.usecases import read as reading
from headcount.web.calls import Call
from headcount.web.http import Request

from lab.harness.clock import NOON
from lab.harness.engines import Engine
from lab.harness.events import http_event
from lab.harness.world import SECRET, Answer, World
from tests.conftest import Worlds

PATH = "/api/send/realtime/link-1"
SPACE = "link:link-1"

JOIN = {"action": "join", "sessionId": "s1", "fingerprint": "print-1", "email": "user@example.com"}
HEARTBEAT = {"action": "heartbeat", "sessionId": "s1", "currentPage": 3}
LEAVE = {"action": "leave", "sessionId": "s1", "duration": 180}


def send(world: World, body: object, **more: Any) -> Answer:
    """Send a message; it may be refused."""
    return world.http("POST", PATH, body=body, **more)


def post(world: World, fields: dict[str, Any], **more: Any) -> None:
    """A message that must be accepted."""
    answer = send(world, fields, **more)
    assert (answer.status, answer.body) == (200, {"success": True}), answer


def join(world: World, session: str = "s1", **fields: Any) -> None:
    post(world, {"action": "join", "sessionId": session, **fields})


def heartbeat(world: World, session: str = "s1", **fields: Any) -> None:
    post(world, {"action": "heartbeat", "sessionId": session, **fields})


def leave(world: World, session: str = "s1", **fields: Any) -> None:
    post(world, {"action": "leave", "sessionId": session, **fields})


def read(world: World) -> Any:
    """The analytics, as an admin gets them."""
    answer = world.get(PATH, token=world.admin)
    assert answer.status == 200, answer
    assert answer.body["success"] is True
    return answer.body


def metrics(world: World) -> Any:
    return read(world)["metrics"]


def viewers(world: World) -> list[str]:
    return [viewer["sessionId"] for viewer in read(world)["activeViewers"]]


def only(world: World) -> Any:
    (viewer,) = read(world)["activeViewers"]
    return viewer


def views(world: World) -> list[int]:
    """In total, today, this week, this month."""
    numbers = metrics(world)
    return [
        numbers[name] for name in ("totalViews", "viewsToday", "viewsThisWeek", "viewsThisMonth")
    ]


def refused(world: World, answer: Answer, *words: str, status: int = 400) -> None:
    """A clear message, and nothing stored."""
    assert answer.status == status, answer
    assert answer.body["success"] is False
    assert len(answer.body["error"].split()) > 3
    for word in words:
        assert word in answer.body["error"], answer.body
    assert world.presence_rows() == []


# -------------------------------------------------------------------------- the document's examples


@pytest.mark.parametrize("shards", ["1", "3"])
def test_the_documents_calls_lead_to_the_documents_answer(
    engine: Engine, worlds: Worlds, shards: str
) -> None:
    world = worlds(engine, ShardsPerSpace=shards)
    post(world, JOIN)
    world.settle()
    world.clock.advance(60)
    join(world, "s2", fingerprint="print-2")
    world.settle()
    world.clock.advance(60)
    post(world, HEARTBEAT)
    assert read(world) == {
        "success": True,
        "metrics": {
            "activeViewers": 2,
            "totalViews": 2,
            "viewsToday": 2,
            "viewsThisWeek": 2,
            "viewsThisMonth": 2,
            "peakConcurrentViewers": 2,
            "avgViewDuration": 0,
        },
        "activeViewers": [
            {
                "sessionId": "s1",
                "email": "user@example.com",
                "joinedAt": NOON,
                "lastActivity": NOON + 120_000,
                "currentPage": 3,
                "duration": 120,
            },
            {
                "sessionId": "s2",
                "email": None,
                "joinedAt": NOON + 60_000,
                "lastActivity": NOON + 60_000,
                "currentPage": 1,
                "duration": 60,
            },
        ],
    }
    post(world, LEAVE)
    body = read(world)
    assert viewers(world) == ["s2"]
    assert (body["metrics"]["activeViewers"], body["metrics"]["avgViewDuration"]) == (1, 180)
    assert body["metrics"]["peakConcurrentViewers"] == 2
    world.settle()
    assert read(world)["metrics"] == body["metrics"]


def test_a_link_without_views_has_zeros(world: World) -> None:
    body = read(world)
    assert set(body["metrics"].values()) == {0}
    assert body["activeViewers"] == []


def test_links_are_separate(memory_world: World) -> None:
    join(memory_world)
    other = "/api/send/realtime/link-2"
    memory_world.http("POST", other, body={**JOIN, "sessionId": "s2"})
    assert viewers(memory_world) == ["s1"]
    answer = memory_world.get(other, token=memory_world.admin)
    assert [viewer["sessionId"] for viewer in answer.body["activeViewers"]] == ["s2"]


# --------------------------------------------------------------------------------------------- join


def test_five_joins_of_one_session_are_one_view(world: World) -> None:
    for _ in range(5):
        post(world, JOIN)
    assert views(world) == [1, 1, 1, 1]
    world.settle()
    assert views(world) == [1, 1, 1, 1]
    assert len(world.ledger()) == 1


@pytest.mark.dynamodb_local
def test_five_joins_at_once_are_one_view(local: Engine, worlds: Worlds) -> None:
    world = worlds(local)
    services = world.services("api")
    barrier = Barrier(5)

    def report(number: int) -> Any:
        event = http_event("POST", PATH, body=JOIN, request=f"race-{number}")
        barrier.wait()
        return link_analytics.report(
            Call(services, Request.from_event(event), {"linkId": "link-1"})
        )

    with ThreadPoolExecutor(5) as pool:
        assert list(pool.map(report, range(5))) == [{"success": True}] * 5
    assert views(world) == [1, 1, 1, 1]
    world.settle()
    assert views(world) == [1, 1, 1, 1]
    assert len(world.ledger()) == 1


def test_a_join_replaces_the_viewers_identity(memory_world: World) -> None:
    join(memory_world, email="a@example.com", currentPage=4)
    assert (only(memory_world)["email"], only(memory_world)["currentPage"]) == ("a@example.com", 4)
    join(memory_world, email="b@example.com")
    assert (only(memory_world)["email"], only(memory_world)["currentPage"]) == ("b@example.com", 1)
    join(memory_world)
    assert only(memory_world)["email"] is None


def test_a_join_without_fingerprint_email_and_page_is_anonymous_on_page_one(
    memory_world: World,
) -> None:
    nothing: list[dict[str, Any]] = [
        {},
        {"fingerprint": "", "email": ""},
        {"fingerprint": None, "email": None},
    ]
    for fields in nothing:
        join(memory_world, **fields)
        join(memory_world, "s2", **fields)
        assert [viewer["email"] for viewer in read(memory_world)["activeViewers"]] == [None, None]
        assert only_page(memory_world) == {1}
        memory_world.settle()
        assert memory_world.headcount(SPACE)["people"] == 2


def only_page(world: World) -> set[Any]:
    return {viewer["currentPage"] for viewer in read(world)["activeViewers"]}


def test_a_fingerprint_is_stored_only_as_its_hash(world: World) -> None:
    fingerprint = "fp-very-recognisable"
    join(world, fingerprint=fingerprint)
    join(world, "s2", fingerprint=fingerprint)
    world.settle()
    assert fingerprint not in json.dumps(world.snapshot(), default=str)
    first, second = world.presence_rows()
    assert first["visitor"] == second["visitor"]
    assert len(first["visitor"]) == 32
    # Not one that anybody else could compute.
    assert first["visitor"] != hashed_fingerprint(fingerprint)
    assert first["visitor"] == hashed_fingerprint(fingerprint, SECRET)
    headcount = world.headcount(SPACE)
    assert (headcount["people"], headcount["sessions"]) == (1, 2)


# ------------------------------------------------------------------------------ heartbeat and leave


@pytest.mark.parametrize("shards", ["1", "3"])
def test_a_heartbeat_keeps_the_viewer_and_the_page_unless_it_sends_one(
    memory: Engine, worlds: Worlds, shards: str
) -> None:
    world = worlds(memory, ShardsPerSpace=shards)
    post(world, JOIN)
    world.settle()
    fields: dict[str, Any]
    for fields, page in ({}, 1), ({"currentPage": 7}, 7), ({"currentPage": None}, 7):
        world.clock.advance(30)
        heartbeat(world, **fields)
        shown = only(world)
        assert (shown["email"], shown["currentPage"]) == ("user@example.com", page)
        assert shown["lastActivity"] == world.clock()
    assert shown["duration"] == 90
    assert views(world) == [1, 1, 1, 1]


def test_a_heartbeat_on_the_same_page_invokes_nothing(world: World) -> None:
    post(world, JOIN)
    post(world, HEARTBEAT)
    world.settle()
    world.clock.advance(30)
    with world.engine.metered() as meter:
        post(world, HEARTBEAT)
        world.clock.advance(0.6)
        post(world, HEARTBEAT)
    # The check for a removal: once a second per process.
    assert meter.operations == ["GetItem", "UpdateItem", "UpdateItem"]
    assert world.filtered("count") == []


def test_a_heartbeat_after_the_leave_changes_nothing(world: World) -> None:
    post(world, JOIN)
    post(world, LEAVE)
    before = world.snapshot()
    world.clock.advance(1)
    post(world, HEARTBEAT)
    assert world.snapshot() == before
    assert viewers(world) == []


def test_a_join_after_the_leave_is_a_new_view(world: World) -> None:
    post(world, JOIN)
    post(world, LEAVE)
    world.settle()
    world.clock.advance(1)
    post(world, JOIN)
    assert views(world) == [2, 2, 2, 2]
    assert only(world)["joinedAt"] == NOON + 1000
    world.settle()
    assert views(world) == [2, 2, 2, 2]


# -------------------------------------------------------------------- two pages with one session


@pytest.mark.parametrize("shards", ["1", "3"])
def test_a_session_that_joined_twice_is_hidden_by_a_leave_and_back_with_a_heartbeat(
    engine: Engine, worlds: Worlds, shards: str
) -> None:
    world = worlds(engine, ShardsPerSpace=shards)
    post(world, JOIN)
    world.settle()
    world.clock.advance(1)
    post(world, JOIN)
    post(world, LEAVE)
    assert viewers(world) == []
    world.settle()
    assert world.headcount(SPACE)["sessions"] == 0
    world.clock.advance(20)
    post(world, HEARTBEAT)
    assert only(world)["joinedAt"] == NOON
    world.settle()
    assert world.headcount(SPACE)["sessions"] == 1
    assert views(world) == [1, 1, 1, 1]
    post(world, {**LEAVE, "duration": 50})  # of the page that was left
    world.settle()
    assert viewers(world) == []
    post(world, HEARTBEAT)
    assert viewers(world) == []
    assert metrics(world)["avgViewDuration"] == 50


def test_a_hidden_session_that_stays_silent_ended_with_its_leave(world: World) -> None:
    for _ in range(2):
        post(world, JOIN)
    world.clock.advance(60)
    post(world, LEAVE)
    world.settle()
    world.clock.advance(60)
    world.sweep()
    world.settle()
    assert metrics(world)["avgViewDuration"] == 180
    (visit,) = world.ledger()
    assert visit["ended_at"] == NOON + 60_000


def test_a_leave_hides_also_where_the_counting_clock_is_behind(world: World) -> None:
    for _ in range(2):
        post(world, JOIN)
    post(world, LEAVE)
    world.clock.advance(-30)
    world.settle()
    assert viewers(world) == []
    assert world.headcount(SPACE)["sessions"] == 0


def test_a_hidden_session_is_explained_as_left_and_can_be_ended_natively(world: World) -> None:
    for _ in range(2):
        post(world, JOIN)
    world.clock.advance(60)
    post(world, {**LEAVE, "duration": None})
    world.settle()
    answer = world.get(f"/v1/spaces/{SPACE}/explain", token=world.admin)
    (row,) = answer.body["notCounted"]
    assert (row["reason"], row["at"]) == ("left", "2026-11-21T12:01:00.000Z")
    world.clock.advance(20)
    body = {"sessionId": "s1"}
    assert world.http("POST", f"/v1/spaces/{SPACE}/presence/leave", body=body).status == 200
    world.settle()
    assert metrics(world)["avgViewDuration"] == 60
    post(world, HEARTBEAT)
    assert viewers(world) == []


def test_a_join_after_a_leave_that_hid_is_a_new_view(world: World) -> None:
    for _ in range(2):
        post(world, JOIN)
    post(world, LEAVE)
    world.settle()
    world.clock.advance(1)
    post(world, JOIN)
    world.settle()
    assert views(world) == [2, 2, 2, 2]
    assert only(world)["joinedAt"] == NOON + 1000
    post(world, LEAVE)
    post(world, HEARTBEAT)
    assert viewers(world) == []


def test_two_leaves_end_a_session_that_joined_twice(world: World) -> None:
    for _ in range(2):
        post(world, JOIN)
    for _ in range(2):
        post(world, LEAVE)
    post(world, HEARTBEAT)
    world.settle()
    assert viewers(world) == []
    assert views(world) == [1, 1, 1, 1]


@pytest.mark.parametrize("tab", [{}, {"tabId": "t1"}])
def test_a_late_leave_of_the_page_before_changes_nothing(world: World, tab: dict[str, Any]) -> None:
    join(world, seq=1, **tab)
    join(world, seq=3, **tab)
    leave(world, seq=2, **tab)
    assert viewers(world) == ["s1"]
    heartbeat(world, seq=4, **tab)
    world.settle()
    assert viewers(world) == ["s1"]
    assert views(world) == [1, 1, 1, 1]
    leave(world, seq=5, **tab)
    heartbeat(world, seq=4, **tab)
    join(world, seq=3, **tab)
    assert viewers(world) == []
    assert views(world) == [1, 1, 1, 1]


def test_a_leave_without_a_number_still_ends_a_numbered_view(world: World) -> None:
    join(world, seq=1, tabId="t1")
    leave(world)
    heartbeat(world, seq=2, tabId="t1")
    assert viewers(world) == []


@pytest.mark.parametrize("shards", ["1", "3"])
def test_a_leave_that_overtakes_its_join_ends_nothing_and_the_view_counts(
    memory: Engine, worlds: Worlds, shards: str
) -> None:
    world = worlds(memory, ShardsPerSpace=shards)
    leave(world, seq=2, tabId="t1")
    assert world.presence_rows() == []
    join(world, seq=1, tabId="t1", fingerprint="print-1")
    leave(world, seq=3, tabId="t1")  # the hook's, once the join is answered
    assert viewers(world) == []
    assert views(world) == [1, 1, 1, 1]


@pytest.mark.parametrize("numbers", [True, False])
def test_one_of_two_tabs_with_one_session_may_close(world: World, numbers: bool) -> None:
    def number(seq: int) -> dict[str, int]:
        return {"seq": seq} if numbers else {}

    join(world, tabId="t1", **number(1))
    join(world, tabId="t2", **number(1))
    leave(world, tabId="t1", **number(2))
    world.settle()
    assert viewers(world) == ["s1"]
    heartbeat(world, tabId="t1", **number(1))  # was under way
    leave(world, tabId="t2", **number(2))
    world.settle()
    assert viewers(world) == []
    assert views(world) == [1, 1, 1, 1]


def test_a_tabs_steady_heartbeat_is_one_write(world: World) -> None:
    join(world, tabId="t1", seq=1)
    world.settle()
    world.clock.advance(30)
    with world.engine.metered() as meter:
        heartbeat(world, tabId="t1", seq=2)
    assert meter.operations == ["GetItem", "UpdateItem"]
    assert world.filtered("count") == []


@pytest.mark.parametrize(
    ("fields", "sentence"),
    [
        ({"seq": "1"}, "seq must be a whole number."),
        ({"seq": -1}, "seq must be 0 or more."),
        ({"seq": 2**53 + 1}, "seq must be at most 2^53."),
        ({"tabId": 7}, "tabId must be a string."),
        ({"tabId": ""}, "tabId must not be empty."),
    ],
)
@pytest.mark.parametrize("action", ["join", "heartbeat", "leave"])
def test_a_wrong_tab_or_number_is_refused(
    memory_world: World, action: str, fields: dict[str, Any], sentence: str
) -> None:
    answer = send(memory_world, {"action": action, "sessionId": "s1", **fields})
    refused(memory_world, answer, sentence)


def test_a_viewer_is_gone_after_five_minutes_without_a_heartbeat(world: World) -> None:
    post(world, JOIN)
    world.settle()
    world.clock.advance(299.999)
    assert viewers(world) == ["s1"]
    world.clock.advance(0.001)
    assert viewers(world) == []
    assert metrics(world)["activeViewers"] == 0


def test_the_cleanup_ends_a_view_after_five_minutes_without_a_heartbeat(world: World) -> None:
    post(world, JOIN)
    world.clock.advance(90)
    post(world, HEARTBEAT)
    world.settle()
    world.clock.advance(299)
    world.sweep()
    world.settle()
    assert viewers(world) == ["s1"]
    world.clock.advance(1)
    world.sweep()
    world.settle()
    assert viewers(world) == []
    # An expired visit lasts until its last message.
    assert metrics(world)["avgViewDuration"] == 90
    assert world.headcount(SPACE)["sessions"] == 0


def test_a_heartbeat_before_the_cleanup_goes_on_with_the_same_view(world: World) -> None:
    post(world, JOIN)
    world.settle()
    world.clock.advance(301)
    post(world, HEARTBEAT)
    assert only(world)["joinedAt"] == NOON
    assert views(world) == [1, 1, 1, 1]


def test_a_heartbeat_after_the_cleanup_is_a_new_view_of_the_same_viewer(world: World) -> None:
    post(world, JOIN)
    world.settle()
    world.clock.advance(301)
    world.sweep()
    world.settle()
    post(world, HEARTBEAT)
    shown = only(world)
    assert (shown["email"], shown["joinedAt"]) == ("user@example.com", world.clock())
    assert views(world) == [2, 2, 2, 2]


def test_a_heartbeat_of_an_unknown_session_is_an_anonymous_viewer(memory_world: World) -> None:
    heartbeat(memory_world)
    shown = only(memory_world)
    assert (shown["email"], shown["currentPage"]) == (None, None)
    assert views(memory_world) == [1, 1, 1, 1]


def test_a_leave_of_an_unknown_session_is_accepted(world: World) -> None:
    post(world, LEAVE)
    assert world.presence_rows() == []


def test_a_second_leave_changes_nothing(world: World) -> None:
    post(world, JOIN)
    post(world, LEAVE)
    before = world.snapshot()
    world.clock.advance(9)
    leave(world, duration=9)
    assert world.snapshot() == before
    assert metrics(world)["avgViewDuration"] == 180


@pytest.mark.parametrize(
    ("fields", "seconds"),
    [
        ({}, 42),
        ({"duration": None}, 42),
        ({"duration": 0}, 0),
        ({"duration": 7.6}, 8),
        ({"duration": 86_400}, 86_400),
    ],
)
def test_a_duration_is_the_clients_if_it_sends_one(
    memory_world: World, fields: dict[str, Any], seconds: int
) -> None:
    post(memory_world, JOIN)
    memory_world.clock.advance(42)
    leave(memory_world, **fields)
    assert metrics(memory_world)["avgViewDuration"] == seconds


def test_the_average_is_over_the_last_hundred_views(memory_world: World) -> None:
    world = memory_world
    for number in range(101):
        join(world, f"s{number}")
        world.clock.advance(1)
        leave(world, f"s{number}", duration=80_000 if number == 0 else number)
        if number % 10 == 0:
            world.settle()
            world.sweep()
        if number == 99:
            assert metrics(world)["avgViewDuration"] == round((80_000 + sum(range(1, 100))) / 100)
    last = round(sum(range(1, 101)) / 100)
    assert metrics(world)["avgViewDuration"] == last
    world.settle()
    assert metrics(world)["avgViewDuration"] == last
    assert metrics(world)["totalViews"] == 101


def test_the_peak_is_of_sessions_and_stays(world: World) -> None:
    for session in ("s1", "s2", "s3"):
        join(world, session, fingerprint="same")
    world.settle()
    leave(world, "s1")
    leave(world, "s2")
    world.settle()
    numbers = metrics(world)
    assert (numbers["activeViewers"], numbers["peakConcurrentViewers"]) == (1, 3)


# ---------------------------------------------------------------------------------------- calendars


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        ("2026-11-17T23:59:59Z", "2026-11-18T00:00:00Z", [2, 1, 2, 2]),  # a Tuesday ends
        ("2026-11-22T23:59:59Z", "2026-11-23T00:00:00Z", [2, 1, 1, 2]),  # a Sunday ends
        ("2026-11-30T23:59:59Z", "2026-12-01T00:00:00Z", [2, 1, 2, 1]),  # a month, inside a week
        ("2026-12-31T23:59:59Z", "2027-01-01T00:00:00Z", [2, 1, 2, 1]),  # a year, inside week 53
        ("2027-01-03T23:59:59Z", "2027-01-04T00:00:00Z", [2, 1, 1, 2]),  # ISO week 1 begins
    ],
)
def test_views_count_in_their_utc_day_iso_week_and_month(
    world: World, before: str, after: str, expected: list[int]
) -> None:
    world.clock.set(before)
    join(world, "s1")
    assert views(world) == [1, 1, 1, 1]
    world.settle()
    world.clock.set(after)
    assert views(world) == [1, *[count - 1 for count in expected[1:]]]
    join(world, "s2")
    assert views(world) == expected
    world.settle()
    assert views(world) == expected


# -------------------------------------------------------------------------------------------- lists


def test_viewers_come_in_the_order_they_joined(memory_world: World) -> None:
    for session in ("z", "m", "a"):
        join(memory_world, session)
        memory_world.clock.advance(1)
    heartbeat(memory_world, "z", currentPage=2)
    assert viewers(memory_world) == ["z", "m", "a"]


def test_a_long_list_is_cut_but_the_metrics_count_everyone(
    memory_world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(5):
        join(memory_world, f"s{number}")
        memory_world.clock.advance(1)
    monkeypatch.setattr(link_analytics, "MAX_LINK_VIEWERS", 3)
    assert viewers(memory_world) == ["s0", "s1", "s2"]
    assert metrics(memory_world)["activeViewers"] == 5
    monkeypatch.setattr(reading, "LIVE_UP_TO", 2)
    memory_world.settle()
    assert len(viewers(memory_world)) == 2
    assert metrics(memory_world)["activeViewers"] == 5


def test_a_page_of_the_native_api_that_is_no_number_is_null(memory_world: World) -> None:
    memory_world.beat("s1", SPACE, page="/intro")
    memory_world.beat("s2", SPACE, page="٣")
    assert only_page(memory_world) == {None}


def test_reading_changes_nothing(world: World) -> None:
    post(world, JOIN)
    world.settle()
    world.clock.advance(400)
    before = world.snapshot()
    read(world)
    assert world.snapshot() == before


# ----------------------------------------------------------------------------------------- refusals


@pytest.mark.parametrize("field", ["action", "sessionId"])
def test_a_required_field_that_is_not_right_is_named(memory_world: World, field: str) -> None:
    fields: dict[str, Any] = dict(JOIN)
    del fields[field]
    refused(memory_world, send(memory_world, fields), field, "missing")
    for wrong in (None, "", 7, True, ["x"], {"x": "y"}, "x\x00", "\ud800", "x" * 129):
        refused(memory_world, send(memory_world, {**fields, field: wrong}), field)


@pytest.mark.parametrize(
    ("field", "wrongs"),
    [
        ("fingerprint", [7, True, ["x"], {}, "a\x00", "\ud800", "x" * 4097]),
        ("email", [7, True, ["x"], {}]),
        ("currentPage", ["3", "intro", 0, -1, 1.5, True, [1], 2**31 + 1, 10**400]),
        ("duration", ["180", -1, -0.001, 86_400.1, 86_401, True, [1], 10**400]),
    ],
)
def test_an_optional_field_that_is_not_right_is_named(
    memory_world: World, field: str, wrongs: list[object]
) -> None:
    for wrong in wrongs:
        for action in ("join", "heartbeat", "leave"):
            fields = {"action": action, "sessionId": "s1", field: wrong}
            refused(memory_world, send(memory_world, fields), field, "must")


@pytest.mark.parametrize(
    ("sent", "shown"),
    [("a\r\nBcc: b", "a Bcc: b"), ("x" * 255, "x" * 254), ("ü" * 128, "ü" * 127)],
)
def test_an_email_is_only_shown_so_the_viewer_counts(
    memory_world: World, sent: str, shown: str
) -> None:
    join(memory_world, "s1", email=sent)
    assert only(memory_world)["email"] == shown


def test_a_duration_that_is_refused_leaves_the_viewer_where_it_was(memory_world: World) -> None:
    post(memory_world, JOIN)
    answer = send(memory_world, {**LEAVE, "duration": 86_401})
    assert answer.body["error"] == "duration must be at most 86400."
    assert viewers(memory_world) == ["s1"]
    text = '{"action": "leave", "sessionId": "s1", "duration": NaN}'
    assert send(memory_world, text).body["error"] == "duration must be a number."
    assert viewers(memory_world) == ["s1"]


def test_the_longest_texts_are_accepted(memory_world: World) -> None:
    email = "e" * 242 + "@example.com"
    join(memory_world, "s" * 128, email=email, fingerprint="f" * 4096)
    assert only(memory_world)["email"] == email


def test_fields_beyond_the_document_are_ignored(memory_world: World) -> None:
    join(memory_world, userAgent="x", joinedAt=1, lastActivity=2)
    assert only(memory_world)["joinedAt"] == NOON


def test_a_body_that_is_no_object_is_refused(memory_world: World) -> None:
    for body in ("", "{", "null", "[]", '"x"', "7", "[" * 5_000):
        refused(memory_world, send(memory_world, body), "body", "JSON")
    answer = send(memory_world, {**JOIN, "fingerprint": "x" * 17_000})
    refused(memory_world, answer, "too large", status=413)


@pytest.mark.parametrize("link", ["a%20b", "a%23b", "%00", "x" * 129, "ü", "a%2Fb"])
def test_an_invalid_link_is_refused(memory_world: World, link: str) -> None:
    answer = memory_world.http("POST", f"/api/send/realtime/{link}", body=JOIN)
    refused(memory_world, answer, "not valid")


def test_errors_repeat_nothing_personal(memory_world: World) -> None:
    secret = "ada@example.com"
    for fields in ({"email": [secret]}, {"action": secret}, {"sessionId": [secret]}):
        answer = send(memory_world, {**JOIN, **fields})
        assert answer.status == 400
        assert secret not in str(answer.body)


def test_hostile_texts_come_back_as_they_were(memory_world: World) -> None:
    text = "<script>alert(1)</script>'; DROP TABLE x; --\u202e"
    join(memory_world, text, email=text)
    assert (only(memory_world)["sessionId"], only(memory_world)["email"]) == (text, text)


# ------------------------------------------------------------------------------------------- access


def test_only_admins_see_the_viewers(memory_world: World) -> None:
    for token, status in [
        (None, 401),
        ("nonsense", 401),
        (memory_world.token(headcount="admin", lives=-60), 401),
        (memory_world.token(headcount="admin", secret="x" * 40), 401),
        (memory_world.token(sub="u1"), 403),
    ]:
        refused(memory_world, memory_world.get(PATH, token=token), status=status)


def test_a_foreign_bearer_token_is_an_anonymous_viewer(memory_world: World) -> None:
    for fields in (JOIN, HEARTBEAT):
        post(memory_world, fields, token="nonsense")
    assert viewers(memory_world) == ["s1"]
    post(memory_world, LEAVE, token="nonsense")
    assert viewers(memory_world) == []


@pytest.mark.parametrize("shards", ["1", "3"])
def test_a_viewer_with_a_token_is_that_user(memory: Engine, worlds: Worlds, shards: str) -> None:
    world = worlds(memory, ShardsPerSpace=shards, RequireVerifiedUsers="true")
    token = world.token(sub="ada")
    post(world, JOIN, token=token)
    post(world, {**JOIN, "sessionId": "s2", "fingerprint": "print-2"}, token=token)
    post(world, HEARTBEAT)
    post(world, {**JOIN, "sessionId": "s3"})
    world.settle()
    headcount = world.headcount(SPACE)
    assert (headcount["people"], headcount["signedIn"], headcount["sessions"]) == (2, 1, 3)
    post(world, LEAVE)
    assert viewers(world) == ["s2", "s3"]


def test_another_method_is_answered_with_the_allowed_ones(memory_world: World) -> None:
    for method in ("PUT", "PATCH", "DELETE"):
        answer = memory_world.http(method, PATH, body=JOIN)
        refused(memory_world, answer, "GET, POST", status=405)
        assert answer.headers["allow"] == "GET, POST"


@pytest.mark.parametrize("path", ["/api/send/realtime", "/api/send/realtime/", f"{PATH}/x"])
def test_a_path_without_one_link_is_not_found(memory_world: World, path: str) -> None:
    refused(memory_world, memory_world.http("POST", path, body=JOIN), status=404)


@pytest.mark.parametrize("action", ["join", "heartbeat", "leave"])
def test_a_session_that_is_named_like_our_own_is_refused(memory_world: World, action: str) -> None:
    body = {"action": action, "sessionId": "~s1"}
    answer = memory_world.http("POST", "/api/send/realtime/link-1", body=body)
    assert answer.status == 400
    assert memory_world.presence_rows() == []


def test_a_visit_counts_though_its_session_came_back_before_the_recount(
    memory_world: World,
) -> None:
    join(memory_world)
    memory_world.settle()
    leave(memory_world, duration=180)
    join(memory_world)
    memory_world.settle()
    assert metrics(memory_world)["avgViewDuration"] == 180
    assert metrics(memory_world)["totalViews"] == 2
