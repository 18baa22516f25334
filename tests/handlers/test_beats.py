"""Beats and leaves through the real handlers: retries, duplicates, and any order."""

from __future__ import annotations

import json

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lab.harness.clock import Clock
from lab.harness.engines import Engine
from lab.harness.events import http_event
from lab.harness.world import SITE, World, world_on


def test_a_steady_beat_is_one_write_call_and_invokes_nothing(world: World) -> None:
    world.beat("s1", page="/")
    world.settle()
    world.clock.advance(30)
    with world.engine.metered() as meter:
        world.beat("s1", page="/")
    assert meter.operations == ["GetItem", "UpdateItem"]
    assert world.filtered("count") == []


def test_beats_read_a_spaces_count_once_a_second(memory_world: World) -> None:
    world = memory_world
    for number in range(5):
        world.beat(f"s{number}")
    world.settle()
    world.clock.advance(30)
    with world.engine.metered(capacity=True) as meter:
        for number in range(5):
            world.beat(f"s{number}")
        world.clock.advance(0.999)
        world.beat("s0")
        world.clock.advance(0.001)
        world.beat("s1")
    assert meter.writes == ["UpdateItem"] * 7
    reads = [call for call in meter.calls if call.operation == "GetItem"]
    assert len(reads) == 2
    assert all(call.tables == {world.tables["headcounts"].name} for call in reads)


def test_a_beat_answers_with_the_count_the_lease_and_the_next_beat(world: World) -> None:
    first = world.beat("s1").body
    assert first == {
        "success": True,
        "space": SITE,
        "count": 1,
        "version": 0,
        "leaseSeconds": 60,
        "nextBeatIn": 30,
    }
    world.beat("s2")
    world.settle()
    world.clock.advance(30)
    second = world.beat("s1").body
    assert (second["count"], second["version"]) == (2, 1)


def test_the_gateways_answers_name_the_cheaper_door(memory_world: World) -> None:
    body = {"sessionId": "s1"}
    event = http_event("POST", f"/v1/spaces/{SITE}/presence", body=body, request="r1")
    url = "https://abc.lambda-url.us-east-1.on.aws/"
    answer = memory_world.invoke("beat", {**event, "stageVariables": {"beatUrl": url}})
    assert json.loads(answer["body"])["beatAt"] == url
    event = http_event("POST", f"/v1/spaces/{SITE}/presence", body=body, request="r2")
    assert "beatAt" not in json.loads(memory_world.invoke("beat", event)["body"])
    assert [row["session"] for row in memory_world.presence_rows()] == ["s1"]


def test_a_hidden_tab_has_a_longer_lease_and_beats_less_often(memory_world: World) -> None:
    answer = memory_world.beat("s1", state="hidden").body
    assert (answer["leaseSeconds"], answer["nextBeatIn"]) == (180, 60)


@pytest.mark.parametrize(
    ("space", "lease"), [("activity:main", 600), ("link:abc", 300), ("course:c1", 60)]
)
def test_each_kind_has_its_lease(memory_world: World, space: str, lease: int) -> None:
    assert memory_world.beat("s1", space).body["leaseSeconds"] == lease


def test_a_join_that_is_sent_twice_is_one_visit(world: World) -> None:
    world.beat("s1", request="r1")
    before = world.snapshot()
    world.clock.advance(1)
    world.beat("s1", request="r1")
    assert world.snapshot() == before
    world.settle()
    assert world.headcount()["views"]["total"] == 1


def test_a_steady_beat_that_is_sent_twice_counts_once(world: World) -> None:
    world.beat("s1")
    world.clock.advance(30)
    world.beat("s1", request="again")
    before = world.presence_rows()
    world.beat("s1", request="again")
    assert world.presence_rows() == before
    assert before[0]["beats"] == {"2026-11-21": 2}


def test_a_leave_that_is_sent_twice_is_one_leave(world: World) -> None:
    world.beat("s1")
    world.clock.advance(5)
    world.leave("s1", request="bye")
    before = world.presence_rows()
    world.clock.advance(5)
    world.leave("s1", request="bye")
    world.leave("s1")
    assert world.presence_rows() == before


def test_a_page_change_is_a_change_of_the_same_visit(world: World) -> None:
    world.beat("s1", page="/a")
    world.settle()
    world.clock.advance(5)
    world.beat("s1", page="/b")
    world.settle()
    body = world.headcount()
    assert body["facets"]["page"] == [{"value": "/b", "count": 1, "people": 1}]
    assert body["views"]["total"] == 1


def test_a_change_that_is_marked_as_one_is_one_write_call(world: World) -> None:
    world.beat("s1", page="/a", name="Ada", seq=1)
    world.settle()
    world.clock.advance(5)
    with world.engine.metered() as meter:
        assert world.beat("s1", page="/b", seq=2, changed=True).status == 200
    assert meter.writes == ["UpdateItem"]
    world.settle()
    body = world.headcount()
    assert body["facets"]["page"] == [{"value": "/b", "count": 1, "people": 1}]
    assert body["views"]["total"] == 1


def test_a_beat_that_is_wrongly_marked_as_a_change_is_steady(world: World) -> None:
    world.beat("s1", page="/a")
    world.settle()
    world.clock.advance(30)
    world.beat("s1", page="/a", changed=True)
    assert world.filtered("count") == []
    (row,) = world.presence_rows()
    assert (row["kind"], row["last_seen"]) == ("beat", world.clock())


def test_a_beat_after_the_lease_continues_the_visit(world: World) -> None:
    world.beat("s1")
    world.settle()
    world.clock.advance(75)
    world.beat("s1")
    (record,) = world.filtered("count")
    assert record["dynamodb"]["NewImage"]["kind"] == {"S": "change"}
    world.count([record])
    world.settle()
    body = world.headcount()
    assert (body["people"], body["views"]["total"]) == (1, 1)


def test_a_beat_with_little_lease_left_is_recounted(world: World) -> None:
    world.beat("s1")
    world.settle()
    world.clock.advance(55)
    world.beat("s1")
    assert len(world.filtered("count")) == 1


def test_coming_back_after_a_leave_is_a_new_visit(world: World) -> None:
    world.beat("s1")
    world.clock.advance(10)
    world.leave("s1")
    world.clock.advance(10)
    world.beat("s1")
    world.settle()
    assert world.headcount()["views"]["total"] == 2
    assert world.people() == 1


def test_a_leave_that_overtakes_its_join_wins(world: World) -> None:
    world.leave("s1", seq=2)
    world.beat("s1", seq=1)
    world.settle()
    assert world.live_sessions() == []
    assert world.headcount()["version"] == 0
    world.beat("s1", seq=3)
    world.settle()
    assert world.people() == 1
    assert world.headcount()["views"]["total"] == 1


def test_a_second_later_leave_keeps_a_beat_between_the_two_out(world: World) -> None:
    world.beat("s1", seq=1)
    world.leave("s1", seq=2)
    world.settle()
    world.leave("s1", seq=4)
    world.beat("s1", seq=3)
    world.settle()
    assert world.people() == 0
    assert world.live_sessions() == []


def test_a_leave_of_an_unknown_session_without_a_number_stores_nothing(world: World) -> None:
    world.leave("nobody")
    assert world.presence_rows() == []


def test_without_numbers_the_order_of_arrival_decides(world: World) -> None:
    world.beat("s1")
    world.leave("s1")
    world.beat("s1")
    assert world.live_sessions() == ["s1"]


def test_of_two_joins_at_once_one_is_the_visit(world: World) -> None:
    presence = world.tables["presence"].name
    with world.engine.interrupted("PutItem", presence, lambda: world.beat("s1", page="/b")):
        world.beat("s1", page="/a")
    world.settle()
    body = world.headcount()
    assert (body["people"], body["sessions"], body["views"]["total"]) == (1, 1, 1)


def test_a_leave_that_loses_a_race_against_a_beat_is_retried(world: World) -> None:
    world.beat("s1")
    world.clock.advance(10)
    presence = world.tables["presence"].name
    with world.engine.interrupted("PutItem", presence, lambda: world.beat("s1")) as raced:
        world.leave("s1")
    assert raced
    assert world.live_sessions() == []
    (row,) = world.presence_rows()
    assert row["beats"] == {"2026-11-21": 2}


def test_a_batch_that_is_delivered_twice_counts_once(world: World) -> None:
    for number in range(12):
        world.beat(f"s{number:02d}", page=f"/{number}")
    world.leave("s00")
    batch = world.filtered("count")
    world.count(batch)
    world.settle()
    ledger, numbers = world.ledger(), world.headcount()
    world.count(batch)
    world.settle()
    assert world.ledger() == ledger
    again = world.headcount()
    assert {**again, "version": 0, "asOf": ""} == {**numbers, "version": 0, "asOf": ""}
    assert again["views"]["total"] == 12


def test_batches_cut_differently_the_second_time_keep_the_ledger_whole(world: World) -> None:
    world.beat("s1")
    world.clock.advance(10)
    world.leave("s1")
    join, leave = world.filtered("count")
    world.count([join])
    world.count([join, leave])
    (visit,) = world.ledger()
    assert visit["ended_by"] == "leave"


def test_an_unreadable_record_does_not_hold_up_the_others(
    memory_world: World, caplog: pytest.LogCaptureFixture
) -> None:
    world = memory_world
    world.beat("s1")
    (record,) = world.filtered("count")
    broken = {"eventID": "e0", "dynamodb": {"NewImage": {"partition": {"S": "site:main#0"}}}}
    world.count([broken, record])
    world.settle()
    assert world.people() == 1
    assert "unreadable record" in caplog.text


def test_of_two_recounts_at_once_the_slow_one_does_not_win(world: World) -> None:
    world.beat("s1")
    stale = world.filtered("count")

    def faster() -> None:
        world.beat("s2")
        world.count(world.filtered("count"))

    with world.engine.interrupted("PutItem", world.tables["counts"].name, faster) as raced:
        world.count(stale)
    assert raced
    world.settle()
    assert world.people() == 2
    (numbers, _) = world.tables["counts"].rows()
    assert (numbers["part"], numbers["sessions"], numbers["version"]) == ("shard#0", 2, 2)


def test_recounts_of_a_space_are_paced(memory_world: World) -> None:
    world = memory_world
    world.beat("s1")
    world.settle()
    world.clock.slept.clear()
    world.clock.advance(0.4)
    for number in range(2, 5):
        assert sum(world.clock.slept) == 0
        world.beat(f"s{number}")
        world.count(world.filtered("count"))
    assert sum(world.clock.slept) == pytest.approx(0.6)


def test_a_lone_join_is_counted_and_published_at_once(memory_world: World) -> None:
    memory_world.beat("s1")
    memory_world.settle()
    assert sum(memory_world.clock.slept) == 0


Steps = st.lists(
    st.tuples(
        st.sampled_from(["beat", "leave", "wait", "sweep", "settle", "count twice"]),
        st.integers(0, 2),
        st.integers(0, 1),
    ),
    max_size=14,
)


@given(steps=Steps)
@settings(
    max_examples=12,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
def test_in_any_sequence_the_numbers_equal_the_rows_and_the_views_the_ledger(
    memory: Engine, steps: list[tuple[str, int, int]]
) -> None:
    with world_on(memory, Clock()) as world:
        for action, who, page in steps:
            match action:
                case "beat":
                    world.beat(f"s{who}", visitorId=f"v{who % 2}", page=f"/{page}")
                case "leave":
                    world.leave(f"s{who}")
                case "wait":
                    world.clock.advance(20 + 30 * page)
                case "sweep":
                    world.sweep()
                case "count twice":
                    batch = world.filtered("count")
                    world.count(batch)
                    world.count(batch)
                case _:
                    world.settle()
        world.settle()
        world.sweep()
        world.settle()
        body = world.headcount()
        assert body["sessions"] == len(world.live_sessions())
        assert body["views"]["total"] == len(world.ledger())
        assert sorted(row["session"] for row in world.ledger() if "ended_at" not in row) == sorted(
            world.live_sessions()
        )
