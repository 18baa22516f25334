"""The activity log: complete, in order, and written before the action."""

from __future__ import annotations

from typing import Any

import pytest

from lab.harness.world import SITE, World
from tests.support.moderation import act, ask


def actions(world: World, **query: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = act(world, "GET", "audit", query=query or None).body["acts"]
    return found


RULE = {"type": "milestone", "people": 2}


def do_all_actions(world: World) -> list[str]:
    """Each action once, a second apart; returns their names."""
    token = world.token(headcount="admin", sub="ada")

    def do(method: str, tail: str, body: Any = None) -> Any:
        world.clock.advance(1)
        answer = ask(world, method, tail, body, token=token)
        assert answer.status == 200, answer
        return answer.body

    do("PUT", "alerts/two", RULE)
    do("DELETE", "alerts/two")
    do("POST", "messages", {"text": "hello"})
    do("DELETE", "messages")
    removed = do("POST", "removals", {"userId": "u1", "seconds": 60, "reason": "spam"})
    do("DELETE", f"removals/{removed['id']}")
    return [
        "putAlert",
        "deleteAlert",
        "sendMessage",
        "endMessage",
        "removePerson",
        "liftRemoval",
    ]


def test_every_action_is_kept_with_its_admin_time_and_parameters(world: World) -> None:
    done = do_all_actions(world)
    found = actions(world)[::-1]
    assert [one["what"] for one in found] == done
    assert {one["who"] for one in found} == {"ada"}
    assert [one["at"] for one in found] == [f"2026-11-21T12:00:0{n}.000Z" for n in range(1, 7)]
    assert len({one["id"] for one in found}) == 6
    parameters = {one["what"]: one["parameters"] for one in found}
    assert parameters["putAlert"] == {"name": "two", **RULE}
    assert parameters["deleteAlert"] == {"name": "two"}
    message = parameters["sendMessage"]
    assert (message["text"], message["level"]) == ("hello", "info")
    assert message["until"] == "2026-11-21T12:05:03.000Z"
    assert parameters["endMessage"] == {"id": message["id"]}
    removal = parameters["removePerson"]
    assert {name: removal[name] for name in ("userId", "reason", "until")} == {
        "userId": "u1",
        "reason": "spam",
        "until": "2026-11-21T12:01:05.000Z",
    }
    assert parameters["liftRemoval"] == {"id": removal["id"], "userId": "u1"}


def test_an_admin_whose_token_has_no_subject_is_logged_as_admin(memory_world: World) -> None:
    act(memory_world, "PUT", "alerts/two", RULE)
    assert [one["who"] for one in actions(memory_world)] == ["admin"]


def test_no_token_is_in_the_record(memory_world: World) -> None:
    do_all_actions(memory_world)
    assert memory_world.admin not in str(memory_world.tables["history"].rows())


def test_an_action_that_can_not_be_logged_is_not_performed(memory_world: World) -> None:
    world = memory_world
    world.beat("s1", userId="u1")
    act(world, "PUT", "alerts/one", RULE)
    act(world, "POST", "messages", {"text": "hello"})
    removed = act(world, "POST", "removals", {"userId": "u2"}).body["id"]
    before = [world.tables["counts"].rows(), world.presence_rows()]

    def fail() -> None:
        raise RuntimeError("the history can't be written")

    for method, tail, body in (
        ("PUT", "alerts/two", RULE),
        ("DELETE", "alerts/one", None),
        ("POST", "messages", {"text": "other"}),
        ("DELETE", "messages", None),
        ("POST", "removals", {"userId": "u1"}),
        ("DELETE", f"removals/{removed}", None),
    ):
        with world.engine.interrupted("PutItem", world.tables["history"].name, fail):
            assert ask(world, method, tail, body, token=world.admin).status == 500
    assert [world.tables["counts"].rows(), world.presence_rows()] == before


def test_starting_and_stopping_a_stream_is_kept(world: World) -> None:
    token = world.token(headcount="admin", sub="ada")
    for action in ("start", "stop"):
        world.clock.advance(1)
        answer = world.http("POST", f"/api/streams/st1/{action}", token=token)
        assert answer.status == 200
    found = act(world, "GET", "audit", space="stream:st1").body["acts"]
    assert [(one["who"], one["what"]) for one in found] == [
        ("ada", "stopStream"),
        ("ada", "startStream"),
    ]


def test_stopping_an_unknown_stream_is_not_logged(memory_world: World) -> None:
    answer = memory_world.http("POST", "/api/streams/st1/stop", token=memory_world.admin)
    assert answer.status == 404
    assert memory_world.tables["history"].rows() == []


def test_the_record_is_asked_for_by_time_both_ends_included(world: World) -> None:
    do_all_actions(world)
    found = actions(world, **{"from": "2026-11-21T12:00:02Z", "to": "2026-11-21T12:00:04Z"})
    assert [one["what"] for one in found] == ["endMessage", "sendMessage", "deleteAlert"]
    assert actions(world, to="2026-11-21T12:00:00Z") == []
    world.clock.advance(31 * 86_400)
    assert actions(world) == []
    assert len(actions(world, **{"from": "2026-11-01T00:00:00Z"})) == 6


def test_the_newest_500_are_listed(memory_world: World) -> None:
    for number in range(501):
        memory_world.clock.advance(1)
        history = memory_world.services("api").history
        from headcount.model.moderation import AuditEntry

        history.add_audit_entry(
            AuditEntry(SITE, memory_world.clock(), f"id{number}", "ada", "test", {})
        )
    found = actions(memory_world)
    assert len(found) == 500
    assert (found[0]["id"], found[-1]["id"]) == ("id500", "id1")


def test_the_record_stays_as_long_as_the_rows_of_days(memory_world: World) -> None:
    act(memory_world, "PUT", "alerts/two", RULE)
    (row,) = memory_world.tables["history"].rows()
    assert row["ttl"] == memory_world.clock() // 1000 + 400 * 86_400


def test_the_record_is_no_part_of_timeline_or_days(memory_world: World) -> None:
    do_all_actions(memory_world)
    for tail, name in (("timeline", "points"), ("days", "days")):
        assert act(memory_world, "GET", tail).body[name] == []


@pytest.mark.parametrize(
    ("query", "sentence"),
    [
        ({"from": "yesterday"}, "'from' must be a time in ISO 8601"),
        ({"to": "1999-01-01"}, "'to' must be a time in ISO 8601"),
        (
            {"from": "2026-11-22T00:00:00Z", "to": "2026-11-21T00:00:00Z"},
            "'from' must not be later than 'to'.",
        ),
    ],
)
def test_invalid_times_are_refused(
    memory_world: World, query: dict[str, str], sentence: str
) -> None:
    answer = ask(memory_world, "GET", "audit", query=query, token=memory_world.admin)
    assert answer.status == 400
    assert answer.body["error"].startswith(sentence)


def test_the_record_is_for_admins(memory_world: World) -> None:
    assert ask(memory_world, "GET", "audit").status == 401
    assert ask(memory_world, "GET", "audit", token=memory_world.token(sub="u1")).status == 403
