"""Removing a person: their sessions end, and no API lets them return before the removal ends."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

import pytest
from headcount.model.moderation import MAX_DENIED

from lab.harness.engines import Engine
from lab.harness.world import SITE, Answer, World
from tests.conftest import Worlds
from tests.support.moderation import act, ask, try_beat


def remove(world: World, *, space: str = SITE, **body: Any) -> Any:
    """A removal that takes effect."""
    answer = act(world, "POST", "removals", body, space=space).body
    world.settle()
    world.clock.advance(1)  # a process caches a space for at most a second
    return answer


def refused(answer: Answer, seconds: int) -> None:
    """About that many seconds more: paced publishing takes some of them."""
    assert answer.status == 403, answer
    assert max(1, seconds - 5) <= int(answer.headers["retry-after"]) <= seconds
    assert "retry-after" in answer.headers["access-control-expose-headers"]
    assert answer.body["error"].startswith("You were removed from this space.")


def test_a_removed_users_tabs_all_end_and_can_not_come_back(world: World) -> None:
    for session in ("s1", "s2", "s3"):
        world.beat(session, userId="u1", visitorId="v1")
    world.beat("s4", userId="u2")
    world.settle()
    removed = remove(world, userId="u1")
    assert removed["ended"] == 3
    assert removed["until"] == "2026-11-21T13:00:00.000Z"
    assert world.live_sessions() == ["s4"]
    assert world.people() == 1
    before = world.snapshot()
    for session in ("s1", "s9"):
        refused(try_beat(world, session, userId="u1"), 3599)
    assert world.snapshot() == before
    world.beat("s4", userId="u2")
    world.beat("s1", "site:other", userId="u1")


def test_a_removed_visitor_stays_removed_in_another_tab_and_signed_in(world: World) -> None:
    world.beat("s1", visitorId="v1")
    remove(world, visitorId="v1", seconds=60)
    refused(try_beat(world, "s1", visitorId="v1"), 59)
    refused(try_beat(world, "s2", visitorId="v1"), 59)
    refused(try_beat(world, "s2", visitorId="v1", userId="u1"), 59)
    refused(try_beat(world, "s1"), 59)  # the session itself
    world.beat("s5", visitorId="v2")  # what can't be prevented


def test_the_visitor_of_a_signed_in_session_can_be_removed(world: World) -> None:
    world.beat("s1", visitorId="v1", userId="u1")
    assert remove(world, visitorId="v1")["ended"] == 1
    assert world.live_sessions() == []


def test_a_removed_session_is_gone_alone(world: World) -> None:
    world.beat("s1", userId="u1")
    world.beat("s2", userId="u1")
    assert remove(world, sessionId="s1")["ended"] == 1
    assert world.live_sessions() == ["s2"]
    refused(try_beat(world, "s1", userId="u1"), 3599)
    world.beat("s2", userId="u1")


def test_a_person_who_was_never_there_can_be_removed(world: World) -> None:
    assert remove(world, userId="u1")["ended"] == 0
    refused(try_beat(world, "s1", userId="u1"), 3599)
    assert world.presence_rows() == []


def test_a_removal_ends_when_its_time_comes(world: World) -> None:
    remove(world, userId="u1", until="2026-11-21T12:10:00Z")
    world.clock.set("2026-11-21T12:09:59Z")
    refused(try_beat(world, "s1", userId="u1"), 1)
    world.clock.set("2026-11-21T12:10:00Z")
    assert world.beat("s1", userId="u1").body["success"]
    assert act(world, "GET", "removals").body["removals"] == []


def test_a_removal_is_lifted(world: World) -> None:
    world.beat("s1", userId="u1")
    removed = remove(world, userId="u1")
    refused(try_beat(world, "s1", userId="u1"), 3599)
    act(world, "DELETE", f"removals/{removed['id']}")
    world.settle()
    world.clock.advance(1)
    world.beat("s1", userId="u1")
    world.settle()
    assert world.people() == 1
    again = ask(world, "DELETE", f"removals/{removed['id']}", token=world.admin)
    assert again.status == 404


def test_a_second_removal_counts_from_its_own_time(world: World) -> None:
    first = remove(world, userId="u1", seconds=60)
    second = remove(world, userId="u1", seconds=600)
    assert second["id"] == first["id"]
    refused(try_beat(world, "s1", userId="u1"), 600)
    assert len(act(world, "GET", "removals").body["removals"]) == 1
    remove(world, userId="u1", seconds=1)
    world.clock.advance(1)
    world.beat("s1", userId="u1")


def test_a_session_that_beat_before_the_removal_was_known_is_ended_by_its_next_beat(
    world: World,
) -> None:
    world.beat("s1", userId="u1")
    act(world, "POST", "removals", {"userId": "u1"})
    world.beat("s1", userId="u1")  # it is not published yet
    world.settle()
    assert world.live_sessions() == ["s1"]
    world.clock.advance(1)
    refused(try_beat(world, "s1", userId="u1"), 3599)
    world.settle()
    assert world.live_sessions() == []
    assert world.people() == 0


def test_a_removal_holds_within_two_seconds(memory_world: World) -> None:
    world = memory_world
    world.beat("s1", userId="u1")
    world.settle()
    world.clock.advance(30)
    world.beat("s1", userId="u1")  # this process has just read the space
    start = world.clock()
    act(world, "POST", "removals", {"userId": "u1"})
    world.settle()
    world.clock.now = max(world.clock.now, start + 2000)
    refused(try_beat(world, "s1", userId="u1"), 3598)


def test_the_list_has_person_end_reason_and_admin(world: World) -> None:
    token = world.token(headcount="admin", sub="ada")
    ask(world, "POST", "removals", {"visitorId": "v1", "reason": "spam"}, token=token)
    world.clock.advance(60)
    remove(world, userId="u1", seconds=60)
    assert act(world, "GET", "removals").body == {
        "success": True,
        "space": SITE,
        "removals": [
            {
                "id": act(world, "GET", "removals").body["removals"][0]["id"],
                "userId": "u1",
                "verified": None,
                "visitorId": None,
                "sessionId": None,
                "until": "2026-11-21T12:02:00.000Z",
                "at": "2026-11-21T12:01:00.000Z",
                "by": "admin",
                "reason": None,
            },
            {
                "id": act(world, "GET", "removals").body["removals"][1]["id"],
                "userId": None,
                "verified": None,
                "visitorId": "v1",
                "sessionId": None,
                "until": "2026-11-21T13:00:00.000Z",
                "at": "2026-11-21T12:00:00.000Z",
                "by": "ada",
                "reason": "spam",
            },
        ],
    }


def test_no_id_and_no_reason_is_public(memory_world: World) -> None:
    remove(memory_world, userId="user-1", reason="the reason")
    (row,) = memory_world.tables["headcounts"].rows()
    assert "user-1" not in str(row)
    assert "the reason" not in str(row)
    answer = try_beat(memory_world, "s1", userId="user-1")
    assert "user-1" not in str(answer)
    assert "the reason" not in str(answer)


def test_dashboards_see_the_number_fall(world: World) -> None:
    world.beat("s1", userId="u1")
    world.beat("s2", userId="u2")
    world.settle()
    world.subscribe("c1")
    remove(world, userId="u1")
    assert world.management.frames["c1"][-1]["data"]["people"] == 1
    versions = world.versions("c1")
    assert versions == list(range(versions[0], versions[-1] + 1))


def test_tabs_in_any_shard_end(memory: Engine, worlds: Worlds) -> None:
    world = worlds(memory, ShardsPerSpace="3")
    for number in range(8):
        world.beat(f"s{number}", visitorId="v1", userId=f"u{number}")
    world.beat("other", visitorId="v2")
    world.settle()
    assert remove(world, visitorId="v1")["ended"] == 8
    assert world.live_sessions() == ["other"]
    assert world.people() == 1
    refused(try_beat(world, "s1", userId="u1", visitorId="v1"), 3599)


def test_tabs_that_a_deployment_with_more_shards_left_end_too(
    memory: Engine, worlds: Worlds
) -> None:
    world = worlds(memory, ShardsPerSpace="5")
    for number in range(8):
        world.beat(f"s{number}", visitorId="v1", userId=f"u{number}")
    world.settle()
    world.redeploy(ShardsPerSpace="1")
    assert remove(world, visitorId="v1")["ended"] == 8


def test_a_removal_that_the_stream_lost_is_published_by_the_minutes_sweep(world: World) -> None:
    world.beat("s2")
    world.settle()
    act(world, "POST", "removals", {"userId": "u1"})
    assert len(world.filtered("publish")) == 1  # lost
    world.sweep()
    world.settle()
    world.clock.advance(1)
    refused(try_beat(world, "s1", userId="u1"), 3599)


def test_the_daily_run_deletes_removals_that_ran_out(world: World) -> None:
    remove(world, userId="u1", seconds=60)
    remove(world, userId="u2", seconds=30 * 86_400)
    world.clock.set("2026-11-22T01:00:00Z")
    world.daily()
    (row,) = world.tables["counts"].rows()
    assert row["value"] == "u2"
    world.clock.set("2026-12-25T01:00:00Z")  # long after the last visitor
    world.daily()
    assert world.tables["counts"].rows() == []
    world.settle()
    (head,) = world.tables["headcounts"].rows()
    assert "denied" not in head


def test_100_people_may_be_removed_at_a_time(memory_world: World) -> None:
    world = memory_world
    for number in range(100):
        act(world, "POST", "removals", {"userId": f"u{number}", "seconds": 60 + number})
    refused_one = ask(world, "POST", "removals", {"userId": "u100"}, token=world.admin)
    assert refused_one.status == 409
    assert refused_one.body["error"].startswith("100 people are removed from this space")
    act(world, "POST", "removals", {"userId": "u99", "seconds": 500})
    world.settle()
    world.clock.advance(1)
    for number in (0, 50, 99):
        assert try_beat(world, "s1", userId=f"u{number}").status == 403
    world.beat("s1", userId="u100")
    world.clock.advance(60)
    act(world, "POST", "removals", {"userId": "u100"})  # one ran out


def test_people_are_listed_before_their_sessions_if_space_is_short(memory_world: World) -> None:
    world = memory_world
    for number in range(4):
        for tab in range(50):
            world.beat(f"s{number}-{tab}", userId=f"u{number}")
    world.settle()
    for number in range(4):
        assert remove(world, userId=f"u{number}")["ended"] == 50
    head = world.services("api").headcounts.get(SITE)
    assert len(head.denied) == MAX_DENIED
    for number in range(4):
        refused(try_beat(world, "new", userId=f"u{number}"), 3597 + number)


# ------------------------------------------------------------------------------------ other systems


def convex(world: World, course: str, **args: Any) -> Answer:
    body = {
        "path": "liveViewers:recordPresence",
        "format": "convex_encoded_json",
        "args": [{"courseId": course, **args}],
    }
    return world.http("POST", "/api/mutation", body=body)


def test_live_activity_is_denied(memory_world: World) -> None:
    world = memory_world
    path = "/api/analytics/live-activity"
    body = {"userId": "u1", "sessionId": "s1", "activityType": "browsing"}
    assert world.http("POST", path, body=body).status == 200
    assert remove(world, space="activity:main", userId="u1")["ended"] == 1
    refused(world.http("POST", path, body=body), 3599)
    refused(world.http("POST", path, body={**body, "sessionId": "s2"}), 3599)
    assert world.live_sessions() == []


def test_course_viewers_are_denied_named_or_not(memory_world: World) -> None:
    world = memory_world
    path = "/api/courses/c1/presence"
    assert world.http("POST", path, body={"userId": "u1"}).status == 200
    assert world.http("POST", path, body={"userId": "u2", "anonymous": True}).status == 200
    assert remove(world, space="course:c1", userId="u1")["ended"] == 1
    remove(world, space="course:c1", userId="u2")  # an anonymous person can't be found by name
    refused(world.http("POST", path, body={"userId": "u1"}), 3598)
    refused(world.http("POST", path, body={"userId": "u1", "anonymous": True}), 3598)
    assert len(world.live_sessions()) == 1
    refused(world.http("POST", path, body={"userId": "u2", "anonymous": True}), 3599)
    assert world.live_sessions() == []
    answer = convex(world, "c1", userId="u1")
    assert answer.body["status"] == "error"
    assert answer.body["errorMessage"].startswith("You were removed from this space.")
    assert world.http("POST", "/api/courses/c2/presence", body={"userId": "u1"}).status == 200


def test_link_viewers_are_denied_also_by_heartbeats_without_an_identity(
    memory_world: World,
) -> None:
    world = memory_world
    path = "/api/send/realtime/l1"
    join = {"action": "join", "sessionId": "s1", "fingerprint": "f1"}
    heartbeat = {"action": "heartbeat", "sessionId": "s1", "currentPage": 2}
    assert world.http("POST", path, body=join).status == 200
    world.settle()
    (viewer,) = world.get("/v1/spaces/link:l1/viewers", token=world.admin).body["viewers"]
    assert remove(world, space="link:l1", visitorId=viewer["visitorId"])["ended"] == 1
    refused(world.http("POST", path, body=heartbeat), 3599)
    refused(world.http("POST", path, body={**join, "sessionId": "s2"}), 3599)
    again = remove(world, space="link:l1", visitorId=viewer["visitorId"])
    assert again["ended"] == 0  # and its session is still linked to them
    world.clock.advance(600)
    world.sweep()  # the row that linked the session is deleted
    assert world.presence_rows() == []
    refused(world.http("POST", path, body=heartbeat), 2999)
    assert world.presence_rows() == []
    assert world.http("POST", path, body={**join, "sessionId": "s3", "fingerprint": "f2"}).status


@pytest.mark.parametrize("known_as", ["userId", "visitorId"])
def test_a_heartbeat_brings_no_removed_link_viewer_back(memory_world: World, known_as: str) -> None:
    world = memory_world
    path = "/api/send/realtime/l1"
    join = {"action": "join", "sessionId": "s1", "fingerprint": "f1", "email": "u1@example.test"}
    token = world.token(sub="u1") if known_as == "userId" else None
    assert world.http("POST", path, body=join, token=token).status == 200
    world.clock.advance(301)
    world.sweep()  # no session is live to be ended, so the session itself is not denied
    (row,) = world.presence_rows()
    removed = {"userId": "u1"} if token else {"visitorId": row["visitor"]}
    assert remove(world, space="link:l1", **removed)["ended"] == 0
    before = world.snapshot()
    heartbeat = {"action": "heartbeat", "sessionId": "s1"}
    for ours in (token, None, world.token(sub="u2")):
        refused(world.http("POST", path, body=heartbeat, token=ours), 3599)
    assert world.snapshot() == before
    assert world.http("POST", path, body={**heartbeat, "sessionId": "s2"}).status == 200


def test_a_removed_users_token_starts_no_session_by_a_heartbeat(memory_world: World) -> None:
    world = memory_world
    remove(world, space="link:l1", userId="u1")
    heartbeat = {"action": "heartbeat", "sessionId": "s1"}
    path, token = "/api/send/realtime/l1", world.token(sub="u1")
    refused(world.http("POST", path, body=heartbeat, token=token), 3599)
    assert world.presence_rows() == []


@pytest.mark.parametrize("shards", ["1", "3"])
def test_a_viewer_who_joined_a_link_before_the_removal_was_known_is_ended_by_a_heartbeat(
    memory: Engine, worlds: Worlds, shards: str
) -> None:
    world = worlds(memory, ShardsPerSpace=shards)
    path = "/api/send/realtime/l1"
    join = {"action": "join", "sessionId": "s0", "fingerprint": "f1"}
    assert world.http("POST", path, body=join).status == 200
    world.settle()
    (row,) = world.presence_rows()
    act(world, "POST", "removals", {"visitorId": row["visitor"]}, space="link:l1")
    assert world.http("POST", path, body={**join, "sessionId": "s1"}).status == 200
    world.settle()
    assert world.live_sessions() == ["s1"]
    world.clock.advance(20)
    heartbeat = {"action": "heartbeat", "sessionId": "s1"}
    assert world.http("POST", path, body=heartbeat).status == 403
    assert world.live_sessions() == []


def test_others_heartbeats_go_on_after_a_removal(memory_world: World) -> None:
    world = memory_world
    path = "/api/send/realtime/l1"
    join = {"action": "join", "sessionId": "s1", "fingerprint": "f1"}
    assert world.http("POST", path, body=join).status == 200
    remove(world, space="link:l1", userId="u1")
    world.clock.advance(20)
    heartbeat = {"action": "heartbeat", "sessionId": "s1"}
    with world.engine.metered() as meter:
        assert world.http("POST", path, body=heartbeat).status == 200
    assert meter.writes == ["UpdateItem"]
    assert world.live_sessions() == ["s1"]


def test_stream_viewers_are_denied(memory_world: World) -> None:
    memory_world.beat("s1", "stream:st1", userId="u1")
    assert remove(memory_world, space="stream:st1", userId="u1")["ended"] == 1
    refused(try_beat(memory_world, "s1", "stream:st1", userId="u1"), 3599)


def test_site_traffic_is_denied(memory_world: World) -> None:
    world = memory_world
    body = {"sessionId": "s1", "userId": "u1", "pagePath": "/"}
    assert world.http("POST", "/api/heartbeats", body=body).status == 200
    assert remove(world, userId="u1")["ended"] == 1
    refused(world.http("POST", "/api/heartbeats", body=body), 3599)


def test_a_list_of_heartbeats_with_a_removed_person_is_refused_as_a_whole(
    memory_world: World,
) -> None:
    world = memory_world
    remove(world, userId="u1")
    rows = [
        {"session_id": "s2", "page_path": "/"},
        {"session_id": "s1", "user_id": "u1", "page_path": "/"},
    ]
    answer = world.http("POST", "/rest/v1/heartbeats", body=rows)
    assert answer.status == 403
    assert answer.headers["retry-after"] == "3599"
    assert answer.body["message"].startswith("You were removed from this space.")
    assert world.presence_rows() == []
    assert world.http("POST", "/rest/v1/heartbeats", body=rows[:1]).status == 201


def test_a_removed_person_may_still_leave(memory_world: World) -> None:
    remove(memory_world, userId="u1")
    memory_world.leave("s1")


def test_a_users_token_does_not_help(memory_world: World) -> None:
    token = memory_world.token(sub="u1")
    memory_world.beat("s1", token=token)
    assert remove(memory_world, userId="u1")["ended"] == 1
    refused(try_beat(memory_world, "s2", token=token), 3599)


# --------------------------------------------------------------------------------------- the routes


@pytest.mark.parametrize(
    ("body", "sentence"),
    [
        ({}, "Name one person: send userId, visitorId or sessionId."),
        ([], "The body must be a JSON object, for example"),
        ({"userId": "u1", "visitorId": "v1"}, "Name one person"),
        ({"userId": ""}, "userId must not be empty."),
        ({"userId": 5}, "userId must be a string."),
        ({"userId": "x" * 129}, "userId must be at most 128 bytes"),
        ({"userId": "a\u0000"}, "userId must not contain control characters."),
        ({"userId": "u1", "seconds": 0}, "seconds must be 1 or more."),
        ({"userId": "u1", "seconds": 2_592_001}, "seconds must be at most 2592000."),
        ({"userId": "u1", "seconds": "60"}, "seconds must be a whole number."),
        ({"userId": "u1", "until": "tomorrow"}, "'until' must be a time in ISO 8601"),
        ({"userId": "u1", "until": "2026-11-21T12:00:00Z"}, "until must be in the future"),
        ({"userId": "u1", "until": "2026-12-21T12:00:01Z"}, "until must be within 30 days"),
        ({"userId": "u1", "until": 5}, "until must be a string."),
        (
            {"userId": "u1", "until": "2026-11-22T12:00:00Z", "seconds": 5},
            "Send until or seconds, not both.",
        ),
        ({"userId": "u1", "reason": "x" * 201}, "reason must be at most 200 bytes"),
    ],
)
def test_an_invalid_removal_is_refused(memory_world: World, body: Any, sentence: str) -> None:
    answer = ask(memory_world, "POST", "removals", body, token=memory_world.admin)
    assert answer.status == 400
    assert answer.body["error"].startswith(sentence), answer.body
    assert memory_world.tables["counts"].rows() == []
    assert memory_world.tables["history"].rows() == []


@pytest.mark.parametrize("name", ["0" * 16, "x", "..", "%00", "0" * 17])
def test_an_unknown_removal_can_not_be_lifted(memory_world: World, name: str) -> None:
    answer = ask(
        memory_world, "DELETE", f"removals/{quote(name, safe='%')}", token=memory_world.admin
    )
    assert answer.status == 404


@pytest.mark.parametrize(
    ("method", "tail"), [("GET", "removals"), ("POST", "removals"), ("DELETE", "removals/x")]
)
def test_removals_are_for_admins(memory_world: World, method: str, tail: str) -> None:
    memory_world.beat("s1", userId="u1")
    token = memory_world.token(sub="u1")
    body = {"userId": "u1"}
    assert ask(memory_world, method, tail, body).status == 401
    assert ask(memory_world, method, tail, body, token=token).status == 403
    assert memory_world.live_sessions() == ["s1"]
    assert memory_world.tables["history"].rows() == []
