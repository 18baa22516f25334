"""Presence by connection: opening a WebSocket is the join, closing it the leave."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from botocore.exceptions import ClientError
from headcount.model.beat import MAX_TOTAL_BYTES
from headcount.model.session import RETURN_GRACE, SOCKET_LEASE
from headcount.store.attributes import encode
from headcount.web.held_sessions import RETURNING

from lab.harness.engines import Engine
from lab.harness.events import socket_event
from lab.harness.fakes import aws_error
from lab.harness.sizes import item_size
from lab.harness.world import SITE, World
from tests.conftest import Worlds
from tests.support.moderation import act

OK = {"statusCode": 200}
LOST = 1006
LEASE = 60
MINUTE = 60
CHROME = {"User-Agent": "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) Chrome/131.0.0.0"}


def attend(world: World, connection: str, session: str = "s1", **fields: Any) -> None:
    """A connection that must be accepted."""
    assert world.connect_viewer(connection, session, **fields) == OK


def row(world: World, session: str = "s1") -> dict[str, Any]:
    (found,) = [one for one in world.presence_rows() if one["session"] == session]
    return found


def visits(world: World) -> list[tuple[Any, ...]]:
    """The ledger's entries, without the visits' ids."""
    names = ("session", "joined_at", "ended_at", "ended_by")
    return sorted(tuple(visit.get(name) for name in names) for visit in world.ledger())


def refused(answer: Any, status: int) -> None:
    assert answer["statusCode"] == status, answer


# ------------------------------------------------------------------------------ joining and leaving


def test_connecting_is_a_join_and_closing_is_a_leave(world: World) -> None:
    attend(world, "c1", visitorId="v1", page="/", seq=1)
    world.settle()
    assert world.people() == 1
    assert row(world)["expires_at"] == world.clock() + SOCKET_LEASE * 1000
    world.clock.advance(30)
    world.disconnect_viewer("c1")
    world.settle()
    assert world.people() == 0
    assert visits(world) == [("s1", row(world)["joined_at"], world.clock(), "leave")]
    assert world.headcount()["avgSeconds"] == 30


@pytest.mark.parametrize("code", [1000, 1001, 1005])
def test_every_other_end_is_a_leave_at_once(memory_world: World, code: int) -> None:
    attend(memory_world, "c1")
    memory_world.disconnect_viewer("c1", code)
    assert row(memory_world)["kind"] == "leave"


def test_the_connections_fields_are_in_the_numbers(memory_world: World) -> None:
    world = memory_world
    attend(world, "c1", userId="u1", page="/a", facets={"chapter": "2"}, headers=CHROME)
    world.settle()
    head = world.headcount()
    assert (head["people"], head["signedIn"]) == (1, 1)
    facets = {name: values[0]["value"] for name, values in head["facets"].items()}
    assert facets == {
        "page": "/a",
        "chapter": "2",
        "device": "desktop",
        "browser": "Chrome",
        "os": "macOS",
    }
    world.send_beat("c1", userId="u1", page="/b", facets={"chapter": "3"})
    world.settle()
    facets = {n: values[0]["value"] for n, values in world.headcount()["facets"].items()}
    assert (facets["page"], facets["chapter"], facets["device"]) == ("/b", "3", "desktop")


def test_beats_invoke_nothing_and_are_not_answered(world: World) -> None:
    attend(world, "c1", page="/", seq=1)
    world.settle()
    version = world.headcount()["version"]
    for seq in range(2, 9):
        world.clock.advance(9 * MINUTE)
        world.send_beat("c1", page="/", seq=seq)
        assert world.filtered("count") == []
        world.sweep()
        world.settle()
        assert world.live_sessions() == ["s1"]
    assert world.headcount()["version"] == version
    assert "c1" not in world.management.frames
    assert world.headcount()["views"]["total"] == 1


def test_an_answer_is_sent_on_request(memory_world: World) -> None:
    world = memory_world
    attend(world, "c1")
    world.settle()
    world.clock.advance(2)
    world.send_beat("c1", answer=True)
    act(world, "POST", "messages", {"text": "Back at noon."})
    world.settle()
    world.clock.advance(2)
    world.send_beat("c1", answer=True)
    plain, with_notice = world.management.frames["c1"]
    assert plain == {"type": "present", "space": SITE, "count": 1, "version": 1}
    assert with_notice["notice"]["text"] == "Back at noon."


def test_a_ping_is_answered_and_extends_nothing(memory_world: World) -> None:
    attend(memory_world, "c1")
    before = memory_world.snapshot()
    memory_world.clock.advance(60)
    memory_world.send("c1", {"action": "ping"})
    assert memory_world.management.frames["c1"] == [{"type": "pong"}]
    assert memory_world.snapshot() == before


# --------------------------------------------------------------------------------------- flickering


def test_a_drop_and_return_within_the_kinds_lease_is_no_flap(world: World) -> None:
    attend(world, "c1", page="/", seq=1)
    world.settle()
    version = world.headcount()["version"]
    world.clock.advance(5 * MINUTE)
    world.disconnect_viewer("c1", LOST)
    assert row(world)["expires_at"] == world.clock() + LEASE * 1000
    world.clock.advance(LEASE - 10)
    world.sweep()
    attend(world, "c2", page="/", seq=2)
    assert world.filtered("count") == []
    world.settle()
    assert world.headcount()["version"] == version
    assert row(world)["expires_at"] == world.clock() + SOCKET_LEASE * 1000
    world.clock.advance(10)
    world.disconnect_viewer("c2")
    world.settle()
    assert len(world.ledger()) == 1
    assert world.headcount()["avgSeconds"] == 5 * MINUTE + LEASE


def test_a_closed_page_counts_for_its_grace_and_the_next_one_continues_the_visit(
    world: World,
) -> None:
    attend(world, "c1", page="/", seq=1)
    world.settle()
    version = world.headcount()["version"]
    world.clock.advance(5 * MINUTE)
    world.disconnect_viewer("c1", RETURNING)
    assert row(world)["expires_at"] == world.clock() + RETURN_GRACE
    world.send_beat("c1", page="/late", changed=True, seq=2)  # overtaken by the end
    assert row(world)["expires_at"] == world.clock() + RETURN_GRACE
    world.clock.advance(1)
    with world.engine.metered() as meter:
        attend(world, "c2", page="/", seq=3, changed=True)
    assert meter.operations.count("UpdateItem") + meter.operations.count("PutItem") <= 2
    world.settle()
    assert world.headcount()["version"] == version + 1  # a change, but of no number
    assert world.headcount()["views"]["total"] == 1
    assert row(world)["expires_at"] == world.clock() + SOCKET_LEASE * 1000


def test_a_closed_page_whose_tab_is_not_back_is_gone_within_3_seconds(world: World) -> None:
    attend(world, "c1")
    world.settle()
    world.clock.advance(5 * MINUTE)
    world.disconnect_viewer("c1", RETURNING)
    left_at = world.clock()
    world.count(world.filtered("count"))
    world.clock.advance(max(world.queue.delays))
    world.settle()
    assert world.people() == 0
    assert world.clock() - left_at < 3_000
    world.clock.advance(MINUTE)
    world.sweep()
    world.settle()
    assert visits(world)[0][2:] == (left_at, "leave")


def test_a_session_that_does_not_return_is_gone_after_the_kinds_lease(world: World) -> None:
    attend(world, "c1")
    world.settle()
    world.clock.advance(5 * MINUTE)
    world.disconnect_viewer("c1", LOST)
    lost_at = world.clock()
    world.clock.advance(LEASE - 1)
    world.sweep()
    assert world.live_sessions() == ["s1"]
    world.clock.advance(1)
    world.sweep()
    world.settle()
    assert world.people() == 0
    assert visits(world)[0][2:] == (lost_at + LEASE * 1000, "expiry")
    assert world.headcount()["avgSeconds"] == 5 * MINUTE


def test_a_drop_makes_no_lease_longer(memory: Engine, worlds: Worlds) -> None:
    world = worlds(memory, Kinds="site:lease=3600")
    attend(world, "c1")
    ends = row(world)["expires_at"]
    world.clock.advance(60)
    world.disconnect_viewer("c1", LOST)
    assert row(world)["expires_at"] == ends


@pytest.mark.parametrize("code", [1000, LOST])
def test_the_late_end_of_the_old_connection_changes_nothing(world: World, code: int) -> None:
    attend(world, "c1", page="/", seq=1)
    world.settle()
    version = world.headcount()["version"]
    world.clock.advance(110 * MINUTE)
    world.send_beat("c1", page="/", seq=2)  # its lease had run out: counted again
    world.settle()
    version = world.headcount()["version"]
    attend(world, "c2", page="/", seq=3)
    before = world.presence_rows()
    world.disconnect_viewer("c1", code)
    assert world.presence_rows() == before
    world.settle()
    assert world.headcount()["version"] == version
    assert len(world.ledger()) == 1


def test_an_old_connections_late_beat_does_not_take_the_session_back(world: World) -> None:
    attend(world, "c1", seq=1)
    attend(world, "c2", seq=3)
    world.send_beat("c1", seq=2)
    world.disconnect_viewer("c1")
    assert world.live_sessions() == ["s1"]


def test_a_beat_overtaken_by_its_connections_end_revives_no_session(world: World) -> None:
    attend(world, "c1", seq=1)
    world.disconnect_viewer("c1")
    world.send_beat("c1", seq=2)
    attend(world, "c1", seq=3, request="late")
    assert world.live_sessions() == []
    attend(world, "c2", seq=4)
    assert world.live_sessions() == ["s1"]


def test_deliveries_that_come_twice_change_nothing(world: World) -> None:
    attend(world, "c1", request="r1")
    once = world.snapshot()
    attend(world, "c1", request="r1")
    assert world.snapshot() == once
    world.disconnect_viewer("c1", LOST, request="r2")
    once = world.snapshot()
    world.clock.advance(5)
    world.disconnect_viewer("c1", LOST, request="r2")
    assert world.snapshot() == once
    attend(world, "c2")
    world.disconnect_viewer("c2", request="r3")
    once = world.snapshot()
    world.clock.advance(5)
    world.disconnect_viewer("c2", request="r3")
    assert world.snapshot() == once


def test_an_end_without_a_disconnect_is_noticed_when_the_lease_runs_out(world: World) -> None:
    attend(world, "c1", seq=1)
    world.settle()
    world.clock.advance(9 * MINUTE)
    world.send_beat("c1", seq=2)
    world.clock.advance(SOCKET_LEASE - 1)
    world.sweep()
    world.settle()
    assert world.people() == 1
    world.clock.advance(1)
    world.sweep()
    world.settle()
    assert world.people() == 0
    assert visits(world)[0][3] == "expiry"
    assert world.headcount()["avgSeconds"] == 9 * MINUTE


# ----------------------------------------------------------------------------------- other messages


def test_the_same_steps_by_connection_and_by_http_give_the_same_numbers(
    memory: Engine, worlds: Worlds
) -> None:
    def by_http(world: World) -> dict[str, Callable[..., Any]]:
        return {
            "come": world.beat,
            "say": world.beat,
            "go": world.leave,
        }

    def by_connection(world: World) -> dict[str, Callable[..., Any]]:
        return {
            "come": lambda session, **fields: attend(world, f"c-{session}", session, **fields),
            "say": lambda session, **fields: world.send_beat(f"c-{session}", **fields),
            "go": lambda session: world.disconnect_viewer(f"c-{session}"),
        }

    results = []
    for way in (by_http, by_connection):
        world = worlds(memory, Kinds="site:lease=3600,hidden=3600", ShardsPerSpace="2")
        world.clock.set("2026-11-21T12:00:00Z")
        do = way(world)
        heads = []
        for step in (
            lambda do=do: do["come"]("s1", visitorId="v1", page="/"),
            lambda do=do: do["come"]("s2", visitorId="v1", page="/a"),
            lambda do=do: do["come"]("s3", page="/a", facets={"chapter": "1"}),
            lambda do=do: do["say"]("s1", visitorId="v1", userId="u1", page="/"),
            lambda do=do: do["say"]("s3", page="/b", facets={"chapter": "2"}),
            lambda do=do: do["say"]("s2", visitorId="v1", page="/a", state="hidden"),
            lambda do=do: do["go"]("s2"),
            lambda do=do: do["go"]("s1"),
        ):
            step()
            world.settle()
            world.sweep()
            heads.append(world.headcount())
            world.clock.set("2026-11-21T12:00:00Z")
            world.clock.advance(20 * len(heads))
        results.append((heads, visits(world)))
    assert results[0] == results[1]
    assert len(results[0][1]) == 3


def test_a_beat_over_http_takes_the_session_from_its_connection(world: World) -> None:
    attend(world, "c1", page="/", seq=1)
    world.beat("s1", page="/", seq=2)
    assert row(world)["expires_at"] == world.clock() + LEASE * 1000
    before = world.presence_rows()
    world.disconnect_viewer("c1")
    assert world.presence_rows() == before


def test_a_leave_over_http_is_one_and_the_connections_end_no_second(world: World) -> None:
    attend(world, "c1", seq=1)
    world.leave("s1", seq=2)
    before = world.presence_rows()
    world.disconnect_viewer("c1")
    world.send_beat("c1", seq=3)
    assert world.presence_rows() == before
    assert before[0]["kind"] == "leave"


def test_a_connected_session_is_shown_among_activities_even_when_quiet(memory_world: World) -> None:
    attend(memory_world, "c1", space="activity:main", facets={"activity": "watching"})
    memory_world.settle()
    memory_world.clock.advance(8 * MINUTE)
    answer = memory_world.get("/api/analytics/live-activity", token=memory_world.admin)
    assert [one["sessionId"] for one in answer.body["activities"]] == ["s1"]


def test_sessions_are_found_in_any_shard(memory: Engine, worlds: Worlds) -> None:
    world = worlds(memory, ShardsPerSpace="4")
    for number in range(8):
        attend(world, f"c{number}", f"s{number}", visitorId=f"v{number}", seq=1)
    for number in range(8):
        world.send_beat(f"c{number}", visitorId=f"v{number}", userId=f"u{number}", seq=2)
    world.settle()
    assert world.headcount()["signedIn"] == 8
    for number in range(8):
        world.disconnect_viewer(f"c{number}")
    world.settle()
    assert world.people() == 0
    assert len(world.ledger()) == 8


# ----------------------------------------------------------------------------------------- refusals


@pytest.mark.parametrize(
    ("fields", "status"),
    [
        ({"space": "nothing:here"}, 400),
        ({"space": "site"}, 400),
        ({"space": ""}, 400),
        ({"session": ""}, 400),
        ({"session": "~own"}, 400),
        ({"facets": "{"}, 400),
        ({"facets": "[1]"}, 400),
        ({"facets": "[" * 9_000}, 400),
        ({"seq": "-1"}, 400),
        ({"seq": "x"}, 400),
        ({"state": "asleep"}, 400),
    ],
)
def test_invalid_messages_are_refused_and_store_nothing(
    memory_world: World, fields: dict[str, Any], status: int
) -> None:
    before = memory_world.snapshot()
    session = fields.pop("session", "s1")
    refused(memory_world.connect_viewer("c1", session, **fields), status)
    assert memory_world.snapshot() == before


@pytest.mark.parametrize("query", [{"space": SITE}, {"sessionId": "s1"}])
def test_a_space_or_a_session_alone_is_refused(memory_world: World, query: dict[str, str]) -> None:
    before = memory_world.snapshot()
    refused(memory_world.invoke("socket", socket_event("CONNECT", "c1", query=query)), 400)
    assert memory_world.snapshot() == before


def test_a_session_that_connects_too_often_is_refused_and_stores_nothing(
    memory_world: World,
) -> None:
    world = memory_world
    for number in range(20):
        attend(world, f"c{number}")
    before = world.snapshot()
    answer = world.connect_viewer("c20", "s1")
    refused(answer, 429)
    assert answer["headers"]["retry-after"] == "1"
    assert world.snapshot() == before
    world.send_beat("c19")
    (frame,) = world.management.frames["c19"]
    assert frame["error"].startswith("This session sends too much")
    assert frame["retryAfter"] == 1
    assert world.snapshot() == before
    world.clock.advance(1)
    attend(world, "c20")


def test_lost_connections_do_not_extend_the_limit(memory_world: World) -> None:
    for number in range(20):
        attend(memory_world, f"c{number}")
        memory_world.disconnect_viewer(f"c{number}", LOST)
    refused(memory_world.connect_viewer("c20", "s1"), 429)


def test_a_removed_person_is_refused_and_their_beat_answered_with_why(world: World) -> None:
    attend(world, "c1", visitorId="v1", seq=1)
    world.settle()
    act(world, "POST", "removals", {"visitorId": "v1", "seconds": 600})
    world.settle()
    world.clock.advance(1)
    assert world.people() == 0
    before = world.snapshot()
    refused(world.connect_viewer("c2", "s2", visitorId="v1"), 403)
    world.send_beat("c1", visitorId="v1", seq=2)
    (frame,) = world.management.frames["c1"]
    assert frame["error"].startswith("You were removed from this space.")
    assert 590 <= frame["retryAfter"] <= 600
    world.disconnect_viewer("c1")
    assert world.snapshot() == before


def test_a_wrong_beat_is_answered_with_an_error(memory_world: World) -> None:
    attend(memory_world, "c1")
    before = memory_world.snapshot()
    memory_world.send_beat("c1", page=7)
    assert memory_world.management.frames["c1"] == [
        {"type": "error", "error": "page must be a string."}
    ]
    assert memory_world.snapshot() == before


def test_a_beat_can_not_name_another_session(memory_world: World) -> None:
    attend(memory_world, "c1")
    attend(memory_world, "c2", "s2")
    memory_world.send_beat("c1", sessionId="s2", space="site:other", page="/mine")
    assert row(memory_world)["page"] == "/mine"
    assert "page" not in row(memory_world, "s2")


def test_a_presence_socket_can_not_subscribe_and_a_dashboard_is_not_present(
    memory_world: World,
) -> None:
    attend(memory_world, "c1", token=memory_world.admin)
    for action in ("subscribe", "snapshot"):
        memory_world.send("c1", {"action": action, "space": SITE})
    assert [frame["type"] for frame in memory_world.management.frames["c1"]] == ["error", "error"]
    memory_world.connect("d1")
    memory_world.send_beat("d1")
    (frame,) = memory_world.management.frames["d1"]
    assert frame["error"].startswith("This connection holds no session")


# -------------------------------------------------------------------------------------------- users


def test_a_token_proves_the_user_for_as_long_as_the_connection_lasts(
    memory: Engine, worlds: Worlds
) -> None:
    world = worlds(memory, RequireVerifiedUsers="true")
    refused(world.connect_viewer("c1", "s1", userId="u1"), 401)
    assert world.presence_rows() == []
    token = world.token(sub="u1", name="Ada")
    refused(world.connect_viewer("c1", "s1", userId="u2", token=token), 403)
    assert world.presence_rows() == []
    attend(world, "c1", token=token)
    assert (row(world)["user"], row(world)["verified"]) == ("u1", True)
    world.send_beat("c1", page="/b")
    assert (row(world)["user"], row(world)["verified"]) == ("u1", True)
    world.send_beat("c1", userId="u2")
    (frame,) = world.management.frames["c1"]
    assert "not the token's subject" in frame["error"]
    attend(world, "c2", "s2")
    world.send_beat("c2", userId="u2")
    assert "needs that user's token" in world.management.frames["c2"][0]["error"]
    assert "user" not in row(world, "s2")


def test_no_one_takes_over_a_session_that_a_token_proved(memory_world: World) -> None:
    attend(memory_world, "c1", token=memory_world.token(sub="u1"))
    before = memory_world.snapshot()
    refused(memory_world.connect_viewer("c2", "s1", userId="u2"), 403)
    assert memory_world.snapshot() == before


def test_an_admins_connection_may_act_for_anyone(memory_world: World) -> None:
    attend(memory_world, "c1", userId="u1", token=memory_world.admin)
    memory_world.send_beat("c1", userId="u2")
    assert (row(memory_world)["user"], row(memory_world)["verified"]) == ("u2", True)


# ------------------------------------------------------------------------------------------ trouble


def test_an_end_that_races_with_a_rotation_leaves_the_new_connection_alone(
    memory_world: World,
) -> None:
    world = memory_world
    attend(world, "c1", seq=1)
    presence = world.tables["presence"].name

    def rotate() -> None:
        attend(world, "c2", seq=2)

    with world.engine.interrupted("PutItem", presence, rotate):
        world.disconnect_viewer("c1")
    assert world.live_sessions() == ["s1"]
    assert row(world)["kind"] == "beat"


def test_an_end_of_a_kind_that_is_declared_no_more_is_left_to_the_lease(
    memory_world: World,
) -> None:
    attend(memory_world, "c1", space="course:c1")
    memory_world.redeploy(Kinds="site")
    memory_world.disconnect_viewer("c1")
    assert row(memory_world)["kind"] == "join"


def test_a_connection_that_is_gone_when_it_is_answered_still_ends_its_visit(
    memory_world: World,
) -> None:
    attend(memory_world, "c1")
    memory_world.management.set_gone("c1")
    memory_world.send("c1", {"action": "ping"})
    memory_world.send_beat("c1", page=7)
    memory_world.disconnect_viewer("c1")
    assert row(memory_world)["kind"] == "leave"


# -------------------------------------------------------------------------------------------- costs


@pytest.mark.dynamodb_local
def test_what_a_connection_costs(worlds: Worlds, local: Engine) -> None:
    world = worlds(local, Limits="beats-per-session=0")

    def units(step: Callable[[], Any]) -> tuple[list[str], float, float]:
        with local.metered(capacity=True) as meter:
            step()
        return meter.writes, meter.write_units, meter.read_units

    attend(world, "c0", "s0")  # the space's count is cached for a second
    facts = {"visitorId": "v1", "page": "/"}
    joined = units(lambda: attend(world, "c1", seq=1, **facts))
    steady = units(lambda: world.send_beat("c1", seq=2, **facts))
    moved = units(lambda: world.send_beat("c1", seq=3, page="/b", visitorId="v1", changed=True))
    rotated = units(lambda: attend(world, "c2", seq=4, page="/b", visitorId="v1"))
    late = units(lambda: world.disconnect_viewer("c1"))
    left = units(lambda: world.disconnect_viewer("c2"))
    assert joined == (["PutItem", "PutItem"], 2.0, 0.0)
    assert steady == (["UpdateItem"], 1.0, 0.5)
    assert moved == (["UpdateItem"], 1.0, 0.5)
    assert rotated == (["UpdateItem", "PutItem"], 2.0, 0.0)
    assert late == ([], 0.0, 2.0)
    assert left == (["PutItem"], 1.0, 2.0)


@pytest.mark.parametrize("space", [SITE, "course:" + "c" * 36])
def test_the_largest_row_is_one_write_unit_even_after_nine_days(
    memory_world: World, space: str
) -> None:
    connection, request = "L0SM9cOFvHcCIhw=", "JKJaXmPLvHcESHA="
    fields = {
        "visitorId": "v" * 36,
        "userId": "u" * 36,
        "name": "n" * 60,
        "facets": {f"facet{number}": "x" * 10 for number in range(8)},
        "state": "hidden",
        "seq": 2**53,
        "token": memory_world.token(sub="u" * 36),
    }
    left = MAX_TOTAL_BYTES - len(space) - 36 * 3 - 60 - 8 * 16 - len("c" + connection)
    fields |= {"page": "p" * (left // 2), "avatar": "a" * (left - left // 2)}
    session = "s" * 36
    attend(memory_world, connection, "o" * 36, space=space, **{**fields, "name": "n" * 61})
    assert "avatar" not in row(memory_world, "o" * 36)
    attend(memory_world, connection, session, space=space, request=request, **fields)
    stored = row(memory_world, session)
    stored["beats"] = {f"2026-12-{day:02d}": 2880 for day in range(1, 10)}
    assert 900 < item_size(encode(stored)) <= 1024


def test_a_store_that_fails_refuses_the_connection(memory_world: World) -> None:
    def fail() -> None:
        raise aws_error("ThrottlingException")

    presence = memory_world.tables["presence"].name
    with (
        memory_world.engine.interrupted("UpdateItem", presence, fail),
        pytest.raises(ClientError),
    ):
        memory_world.connect_viewer("c1", "s1")
    assert memory_world.presence_rows() == []
    assert memory_world.tables["subscriptions"].rows() == []
