"""Telemetry in beats: quality, engagement, details; device and country from headers."""

from __future__ import annotations

from typing import Any

import pytest

from lab.harness.engines import Engine
from lab.harness.world import World
from tests.conftest import Worlds

STREAM = "stream:s1"
PHONE = {
    "user-agent": "Mozilla/5.0 (iPhone; CPU iPhone OS 17_4 like Mac OS X) Mobile Safari/604.1",
    "cloudfront-viewer-country": "IS",
}


def viewer(world: World, space: str = STREAM) -> Any:
    (found,) = world.get(f"/v1/spaces/{space}/viewers", token=world.admin).body["viewers"]
    return found


def test_telemetry_is_shown_and_invokes_nothing(world: World) -> None:
    world.beat("s1", STREAM, details={"position": 10, "title": "Ada"}, quality={"latency": 80})
    world.settle()
    world.clock.advance(30)
    world.beat("s1", STREAM, details={"position": 40.5}, quality={"latency": 90.25})
    assert world.filtered("count") == []
    assert viewer(world)["details"] == {"position": 40.5}
    assert viewer(world)["quality"] == {"latency": 90.25}


def test_a_beat_without_telemetry_keeps_the_last_values(world: World) -> None:
    world.beat("s1", STREAM, details={"position": 10}, engagement={"chat": 2})
    world.beat("s1", STREAM)
    world.beat("s1", STREAM, page="/other")
    assert viewer(world)["details"] == {"position": 10}
    assert viewer(world)["engagement"] == {"chat": 2}


def test_a_new_visit_starts_without_the_old_ones_telemetry(memory_world: World) -> None:
    memory_world.beat("s1", STREAM, engagement={"chat": 2})
    memory_world.leave("s1", STREAM)
    memory_world.beat("s1", STREAM)
    assert viewer(memory_world)["engagement"] == {}


def test_quality_is_the_mean_of_the_sessions_that_send_it(world: World) -> None:
    world.beat("s1", STREAM, quality={"latency": 80, "bandwidth": 4})
    world.beat("s2", STREAM, quality={"latency": 100})
    world.beat("s3", STREAM)
    world.settle()
    assert world.headcount(STREAM)["quality"] == {
        "bandwidth": {"sessions": 1, "mean": 4},
        "latency": {"sessions": 2, "mean": 90},
    }


def test_quality_that_moved_is_published_by_the_minutes_sweep(world: World) -> None:
    world.beat("s1", STREAM, quality={"latency": 80})
    world.settle()
    world.clock.advance(30)
    world.beat("s1", STREAM, quality={"latency": 200})
    world.clock.advance(25)
    report = world.sweep()
    world.settle()
    assert world.headcount(STREAM)["quality"]["latency"]["mean"] == 200
    assert report["repaired"] == []  # nothing had drifted
    before = world.headcount(STREAM)["version"]
    world.sweep()
    world.settle()
    assert world.headcount(STREAM)["version"] == before


def test_engagement_adds_up_over_visits_that_go_on_and_that_ended(world: World) -> None:
    world.beat("s1", STREAM, engagement={"chat": 2, "share": 1})
    world.beat("s2", STREAM, engagement={"chat": 5})
    world.settle()
    assert world.headcount(STREAM)["engagement"] == {"chat": 7, "share": 1}
    world.clock.advance(20)
    world.beat("s1", STREAM, engagement={"chat": 4, "share": 1})
    world.leave("s1", STREAM)
    world.settle()
    assert world.headcount(STREAM)["engagement"] == {"chat": 9, "share": 1}
    world.clock.advance(100)
    world.sweep()  # s2 crashed
    world.settle()
    assert world.headcount(STREAM)["engagement"] == {"chat": 9, "share": 1}
    assert world.people(STREAM) == 0


def test_an_end_that_is_delivered_twice_adds_engagement_once(world: World) -> None:
    world.beat("s1", STREAM, engagement={"chat": 3})
    world.settle()
    world.leave("s1", STREAM)
    records = world.filtered("count")
    world.count(records)
    world.count(records)
    world.settle()
    assert world.headcount(STREAM)["engagement"] == {"chat": 3}


def test_a_visit_that_began_and_ended_in_one_batch_adds_its_engagement_once(world: World) -> None:
    world.beat("s1", STREAM, engagement={"chat": 3})
    world.leave("s1", STREAM)
    records = world.filtered("count")
    world.count(records)
    world.count(records)
    world.settle()
    body = world.headcount(STREAM)
    assert (body["engagement"], body["views"]["total"]) == ({"chat": 3}, 1)


def test_ends_that_the_stream_lost_add_their_engagement_when_they_are_deleted(world: World) -> None:
    world.beat("s1", STREAM, engagement={"chat": 3})
    world.settle()
    world.leave("s1", STREAM)
    world.filtered("count")  # lost
    world.clock.advance(400)
    world.sweep()
    world.beat("s2", STREAM)
    world.settle()
    assert world.headcount(STREAM)["engagement"] == {"chat": 3}


def test_a_days_engagement_is_in_its_row_and_totals_are_in_the_timeline(world: World) -> None:
    world.beat("s1", STREAM, engagement={"chat": 3})
    world.beat("s2", STREAM)
    world.settle()
    world.leave("s1", STREAM)
    world.settle()
    world.sweep()
    (point,) = world.get(f"/v1/spaces/{STREAM}/timeline", token=world.admin).body["points"]
    assert point["engagement"] == {"chat": 3}
    world.clock.set("2026-11-22T01:00:00Z")
    world.daily()
    (day,) = world.get(f"/v1/spaces/{STREAM}/days", token=world.admin).body["days"]
    assert day["engagement"] == {"chat": 3}


def test_days_of_engagement_are_deleted_after_their_retention(world: World) -> None:
    world.beat("s1", STREAM, engagement={"chat": 3})
    world.leave("s1", STREAM)
    world.settle()
    world.clock.set("2026-11-30T01:00:00Z")
    world.beat("s2", STREAM)
    world.settle()
    world.daily()
    (row,) = [row for row in world.tables["counts"].rows() if row["part"] == "engagement"]
    assert set(row) == {"space", "part", "chat", "ttl"}


@pytest.mark.parametrize(
    ("fields", "sentence"),
    [
        ({"quality": {"latency": "80"}}, "a value in quality must be a number."),
        ({"quality": {"latency": True}}, "a value in quality must be a number."),
        ({"quality": {"1st": 1}}, "quality has a name that is not valid"),
        ({"quality": {f"n{n}": 1 for n in range(9)}}, "quality must hold at most 8 names"),
        ({"quality": [1]}, "quality must be an object"),
        ({"engagement": {"chat": -1}}, "a value in engagement must be 0 or more."),
        ({"engagement": {"chat": 1.5}}, "a value in engagement must be a whole number."),
        ({"details": {"title": None}}, "a value in details must be"),
        ({"details": {"title": {}}}, "a value in details must be"),
    ],
)
def test_invalid_telemetry_is_refused_with_a_reason(
    memory_world: World, fields: dict[str, Any], sentence: str
) -> None:
    answer = memory_world.http(
        "POST", f"/v1/spaces/{STREAM}/presence", body={"sessionId": "s1", **fields}
    )
    assert answer.status == 400
    assert answer.body["error"].startswith(sentence), answer.body
    assert memory_world.presence_rows() == []


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity", "1e400", "1" + "0" * 400])
def test_invalid_numbers_are_refused(memory_world: World, number: str) -> None:
    raw = f'{{"sessionId": "s1", "quality": {{"latency": {number}}}}}'
    answer = memory_world.http("POST", f"/v1/spaces/{STREAM}/presence", body=raw)
    assert answer.status == 400
    assert memory_world.presence_rows() == []


def test_a_browsers_device_and_the_edges_country_become_facets(world: World) -> None:
    for number in range(2):
        world.http(
            "POST",
            f"/v1/spaces/{STREAM}/presence",
            body={"sessionId": f"s{number}"},
            headers=PHONE,
        )
    world.settle()
    facets = world.headcount(STREAM)["facets"]
    assert facets["device"] == [{"value": "mobile", "count": 2, "people": 2}]
    assert facets["country"] == [{"value": "IS", "count": 2, "people": 2}]


def test_the_clients_own_device_takes_precedence(memory_world: World) -> None:
    body = {"sessionId": "s1", "facets": {"device": "tv", "country": "FI"}}
    memory_world.http("POST", f"/v1/spaces/{STREAM}/presence", body=body, headers=PHONE)
    facets = viewer(memory_world)["facets"]
    assert (facets["device"], facets["country"]) == ("tv", "FI")


@pytest.mark.parametrize("country", ["ZZZ", "is", "", "../"])
def test_an_invalid_country_makes_no_facet(memory_world: World, country: str) -> None:
    headers = {"user-agent": "curl/8.5.0", "cloudfront-viewer-country": country}
    body = {"sessionId": "s1"}
    memory_world.http("POST", f"/v1/spaces/{STREAM}/presence", body=body, headers=headers)
    assert viewer(memory_world)["facets"] == {}


def test_telemetry_moves_with_its_session_to_another_shard(memory: Engine, worlds: Worlds) -> None:
    world = worlds(memory, ShardsPerSpace="5")
    for user in ("u1", "u2", "u3", "u4"):
        world.beat("s1", STREAM, userId=user, engagement={"chat": 2}, quality={"latency": 5})
    world.settle()
    body = world.headcount(STREAM)
    assert (body["sessions"], body["engagement"]) == (1, {"chat": 2})
    world.leave("s1", STREAM)
    world.settle()
    assert world.headcount(STREAM)["engagement"] == {"chat": 2}


def test_the_mean_of_the_last_visits_is_published(world: World) -> None:
    for number, seconds in enumerate((10, 20, 50)):
        world.beat(f"s{number}")
        world.settle()
        world.clock.advance(seconds)
        world.leave(f"s{number}")
    world.settle()
    assert 26 <= world.headcount()["avgSeconds"] <= 28


def test_ids_that_begin_like_our_own_are_refused(memory_world: World) -> None:
    for call in (
        {"method": "POST", "path": "/v1/spaces/site:main/presence", "body": {"sessionId": "~x"}},
        {
            "method": "POST",
            "path": "/v1/spaces/site:main/presence/leave",
            "body": {"sessionId": "~x"},
        },
        {
            "method": "DELETE",
            "path": "/v1/spaces/site:main/presence",
            "query": {"sessionId": "~x"},
        },
    ):
        answer = memory_world.http(**call)  # type: ignore[arg-type]
        assert answer.status == 400
        assert "must not begin with '~'" in answer.body["error"]


def test_only_engagement_that_the_kind_names_is_counted(memory: Engine, worlds: Worlds) -> None:
    world = worlds(memory, Kinds="stream room:engagement=poll")
    path = "/v1/spaces/{}/presence"
    body = {"sessionId": "s1", "engagement": {"poll": 1}}
    answer = world.http("POST", path.format(STREAM), body=body)
    assert answer.status == 400
    assert "chat, reaction, share" in answer.body["error"]
    assert world.http("POST", path.format("room:a"), body=body).status == 200
    assert len(world.presence_rows()) == 1
