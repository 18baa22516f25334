"""Alert rules: what sets them off, when again, and who is notified."""

from __future__ import annotations

import json
from typing import Any

import pytest

from lab.harness.engines import Engine
from lab.harness.fakes import aws_error
from lab.harness.world import SITE, World
from tests.conftest import Worlds
from tests.support.moderation import act, ask, frames_of

TOPIC = "arn:aws:sns:us-east-1:123456789012:alerts"
SPIKE = {"type": "spike", "factor": 2, "minutes": 5, "atLeast": 4}


def milestone(people: int) -> dict[str, Any]:
    return {"type": "milestone", "people": people}


def come(world: World, *sessions: str, space: str = SITE) -> None:
    for session in sessions:
        world.beat(session, space)
    world.settle()


def go(world: World, *sessions: str) -> None:
    for session in sessions:
        world.leave(session)
    world.settle()


def stay(world: World, minutes: float, *sessions: str) -> None:
    """Time passes, the sessions beat, no one joins or leaves."""
    for _ in range(round(minutes * 2)):
        world.clock.advance(30)
        for session in sessions:
            world.beat(session)
        world.settle()


def alerts(world: World, connection: str = "c1") -> list[str]:
    return [frame["alert"]["name"] for frame in frames_of(world, connection, "alert")]


def state(world: World, name: str) -> tuple[str, str | None]:
    (found,) = [one for one in act(world, "GET", "alerts").body["alerts"] if one["name"] == name]
    return found["state"], found["lastFiredAt"]


# --------------------------------------------------------------------------------------- milestones


def test_a_milestone_is_sent_right_after_the_version_that_reached_it(world: World) -> None:
    act(world, "PUT", "alerts/two", milestone(2))
    world.settle()
    world.subscribe("c1")
    come(world, "s1")
    come(world, "s2")
    frames = world.management.frames["c1"]
    assert [(frame["type"], frame["version"]) for frame in frames] == [
        ("headcount", 1),
        ("headcount", 2),
        ("headcount", 3),
        ("alert", 3),
    ]
    alert = dict(frames[-1]["alert"])
    assert len(alert.pop("id")) == 24
    assert alert == {"name": "two", "type": "milestone", "people": 2, "threshold": 2}
    assert frames[-1]["space"] == SITE
    assert frames[-1]["at"] == frames[-2]["asOf"]


def test_around_a_milestone_a_rule_pauses(world: World) -> None:
    act(world, "PUT", "alerts/two", milestone(2))
    world.subscribe("c1")
    come(world, "s1", "s2")
    for _ in range(12):
        go(world, "s2")
        come(world, "s2")
    assert alerts(world) == ["two"]
    assert state(world, "two")[0] == "fired"
    for _ in range(11):
        world.clock.advance(30)
        come(world, "s1", "s2")
    assert alerts(world) == ["two"], "nothing has changed since"
    come(world, "s3")
    assert alerts(world) == ["two", "two"], "it follows when the pause is over"
    come(world, "s4")
    assert alerts(world) == ["two", "two"]


def test_an_alert_whose_condition_has_ended_does_not_follow(world: World) -> None:
    act(world, "PUT", "alerts/two", milestone(2))
    world.subscribe("c1")
    come(world, "s1", "s2")
    go(world, "s2")
    come(world, "s2")
    go(world, "s2")
    for _ in range(11):
        world.clock.advance(30)
        come(world, "s1")
    go(world, "s1")
    come(world, "s1")
    assert alerts(world) == ["two"]
    come(world, "s2")
    assert alerts(world) == ["two", "two"]


def test_a_milestone_is_sent_once_and_again_only_after_the_number_fell(world: World) -> None:
    act(world, "PUT", "alerts/two", milestone(2))
    world.subscribe("c1")
    come(world, "s1", "s2")
    come(world, "s3")
    go(world, "s3")
    come(world, "s4")
    assert alerts(world) == ["two"]
    go(world, "s4", "s2")
    assert state(world, "two")[0] == "armed"
    world.clock.advance(5 * 60)
    come(world, "s1", "s2")
    assert alerts(world) == ["two", "two"]
    assert state(world, "two")[0] == "fired"
    ids = {frame["alert"]["id"] for frame in frames_of(world, "c1", "alert")}
    assert len(ids) == 2


def test_people_who_are_there_already_set_off_no_new_milestone(world: World) -> None:
    come(world, "s1", "s2")
    world.subscribe("c1")
    act(world, "PUT", "alerts/two", milestone(2))
    world.settle()
    assert alerts(world) == []
    assert state(world, "two") == ("fired", None)
    go(world, "s2")
    come(world, "s2")
    assert alerts(world) == ["two"]


def test_a_rule_that_is_put_and_reached_in_one_version_is_set_off(memory_world: World) -> None:
    memory_world.stream_alone()
    memory_world.subscribe("c1")
    memory_world.beat("s1")
    memory_world.count(memory_world.filtered("count"))
    act(memory_world, "PUT", "alerts/one", milestone(1))
    memory_world.settle()
    assert alerts(memory_world) == ["one"]


def test_a_rule_that_changes_while_set_off_waits_for_its_new_number(world: World) -> None:
    act(world, "PUT", "alerts/rule", milestone(2))
    world.subscribe("c1")
    come(world, "s1", "s2", "s3")
    for body in (milestone(2), milestone(1), milestone(4)):
        act(world, "PUT", "alerts/rule", body)
        world.settle()
    assert alerts(world) == ["rule"]
    come(world, "s4")
    assert alerts(world) == ["rule", "rule"]
    assert frames_of(world, "c1", "alert")[-1]["alert"]["threshold"] == 4


def test_a_deleted_rule_is_silent(world: World) -> None:
    act(world, "PUT", "alerts/two", milestone(2))
    come(world, "s1")
    world.subscribe("c1")
    act(world, "DELETE", "alerts/two")
    come(world, "s2")
    assert alerts(world) == []
    assert act(world, "GET", "alerts").body["alerts"] == []


def test_deleting_a_rule_by_itself_is_published(memory_world: World) -> None:
    act(memory_world, "PUT", "alerts/one", SPIKE)
    come(memory_world, "s1")
    before = memory_world.headcount()["version"]
    act(memory_world, "DELETE", "alerts/one")
    memory_world.settle()
    assert memory_world.headcount()["version"] == before + 1
    (row,) = memory_world.tables["headcounts"].rows()
    assert "alerts" not in row  # and its state


def test_rules_of_a_space_do_not_concern_another(memory_world: World) -> None:
    act(memory_world, "PUT", "alerts/one", milestone(1), space="site:other")
    memory_world.subscribe("c1")
    come(memory_world, "s1")
    assert alerts(memory_world) == []


def test_people_of_several_shards_count_together(memory: Engine, worlds: Worlds) -> None:
    world = worlds(memory, ShardsPerSpace="3")
    act(world, "PUT", "alerts/five", milestone(5))
    world.subscribe("c1")
    for number in range(6):
        come(world, f"s{number}")
    assert alerts(world) == ["five"]


# ------------------------------------------------------------------------------------------- spikes


def test_a_spike_is_so_many_times_the_people_of_some_minutes_ago(world: World) -> None:
    act(world, "PUT", "alerts/spike", SPIKE)
    come(world, "s1", "s2")
    stay(world, 10, "s1", "s2")
    world.subscribe("c1")
    come(world, "s3")
    assert alerts(world) == []
    come(world, "s4")
    (frame,) = frames_of(world, "c1", "alert")
    alert = {name: value for name, value in frame["alert"].items() if name != "id"}
    assert alert == {"name": "spike", "people": 4, "before": 2, **SPIKE}
    come(world, "s5")
    assert alerts(world) == ["spike"]  # it goes on
    assert state(world, "spike") == ("fired", frame["at"])


def test_a_slow_rise_is_no_spike(world: World) -> None:
    act(world, "PUT", "alerts/spike", SPIKE)
    here = ["s0", "s1", "s2", "s3"]
    come(world, *here[:2])
    stay(world, 6, *here[:2])
    come(world, here[2])
    stay(world, 6, *here[:3])
    come(world, here[3])
    stay(world, 6, *here)
    world.subscribe("c1")
    for number in range(4, 10):
        come(world, f"s{number}")
        here.append(f"s{number}")
        stay(world, 3, *here)
    assert alerts(world) == []


def test_too_few_people_are_no_spike(memory_world: World) -> None:
    act(memory_world, "PUT", "alerts/spike", SPIKE)
    come(memory_world, "s1")
    stay(memory_world, 10, "s1")
    memory_world.subscribe("c1")
    come(memory_world, "s2", "s3")
    assert alerts(memory_world) == []


def test_the_next_spike_is_measured_from_the_people_who_stayed(world: World) -> None:
    act(world, "PUT", "alerts/spike", SPIKE)
    world.subscribe("c1")
    four = [f"a{number}" for number in range(4)]
    come(world, *four)
    assert alerts(world) == ["spike"]
    stay(world, 10, *four)  # no version ends it
    come(world, *(f"b{number}" for number in range(3)))
    assert alerts(world) == ["spike"]  # 7 are not twice 4


def test_a_spike_right_after_one_that_no_version_ended_is_sent(world: World) -> None:
    act(world, "PUT", "alerts/spike", SPIKE)
    world.subscribe("c1")
    four = [f"a{number}" for number in range(4)]
    come(world, *four)
    stay(world, 10, *four)
    come(world, *(f"b{number}" for number in range(4)))  # 8 in one version
    assert alerts(world) == ["spike", "spike"]


def test_unknown_numbers_before_the_rule_are_no_spike(memory_world: World) -> None:
    come(memory_world, "s1")
    stay(memory_world, 1, "s1")
    memory_world.subscribe("c1")
    come(memory_world, "s2", "s3")  # published a moment ago: five minutes ago is not known
    act(memory_world, "PUT", "alerts/spike", SPIKE)
    memory_world.settle()
    come(memory_world, "s4", "s5", "s6", "s7")
    assert alerts(memory_world) == []


def test_the_memory_of_an_hours_spike_stays_small(memory_world: World) -> None:
    world = memory_world
    act(world, "PUT", "alerts/spike", {**SPIKE, "minutes": 60, "factor": 1000})
    come(world, "s0")
    for number in range(1, 130):
        world.clock.advance(60)
        world.beat("s0")
        (world.leave if number % 2 else world.beat)("s1")
        world.settle()
    (row,) = [row for row in world.tables["headcounts"].rows() if row["space"] == SITE]
    assert len(row["alerts"]) < 400
    memory = world.services("publish").headcounts.get(SITE).alerts
    assert 55 <= len(memory.samples) <= 64


# ---------------------------------------------------------------------------- crashes and audiences


def test_an_alert_of_a_publish_that_crashed_is_sent_at_the_retry(world: World) -> None:
    world.stream_alone()
    act(world, "PUT", "alerts/one", milestone(1))
    world.settle()
    world.subscribe("c1")
    world.beat("s1")
    world.count(world.filtered("count"))
    batch = world.filtered("publish")
    subscriptions = world.tables["subscriptions"].name

    def crash() -> None:
        raise RuntimeError("the process died here")

    with world.engine.interrupted("Query", subscriptions, crash), pytest.raises(RuntimeError):
        world.invoke("publish", {"Records": batch})
    assert alerts(world) == []
    world.publish(batch)
    assert alerts(world) == ["one"]
    come(world, "s2")
    assert alerts(world) == ["one"]


def test_an_alert_that_is_sent_again_has_the_same_id(memory: Engine, worlds: Worlds) -> None:
    world = worlds(memory, Settings=f"alert-topic={TOPIC}")
    world.stream_alone()
    act(world, "PUT", "alerts/one", milestone(1))
    world.settle()
    world.subscribe("c1")
    world.beat("s1")
    world.count(world.filtered("count"))
    batch = world.filtered("publish")
    world.publish(batch)
    world.publish(batch)
    world.run_deferred()
    first, second = frames_of(world, "c1", "alert")
    assert first == second
    assert world.sns.messages == [first, first]


def test_alerts_to_large_audiences_are_chunks_after_their_version(
    memory: Engine, worlds: Worlds
) -> None:
    world = worlds(memory, Limits="inline-fanout=0")
    act(world, "PUT", "alerts/one", milestone(1))
    world.settle()
    world.subscribe("c1")
    come(world, "s1")
    assert [frame["type"] for frame in world.management.frames["c1"]] == [
        "headcount",
        "headcount",
        "alert",
    ]


def test_feeds_receive_no_alerts(memory_world: World) -> None:
    world = memory_world
    act(world, "PUT", "alerts/one", milestone(1), space="stream:st1")
    world.connect("f1", path="/api/ws/streams/st1/metrics")
    world.connect("f2", path="/api/ws/analytics/realtime")
    world.settle()
    come(world, "s1", space="stream:st1")
    assert {frame["type"] for frame in world.management.frames["f1"]} == {"metrics"}
    assert {frame["type"] for frame in world.management.frames["f2"]} <= {"analytics"}


# -------------------------------------------------------------------------------------------- topic


def test_the_topic_gets_the_dashboards_alerts(memory: Engine, worlds: Worlds) -> None:
    world = worlds(memory, Settings=f"alert-topic={TOPIC}")
    act(world, "PUT", "alerts/one", milestone(1))
    world.subscribe("c1")
    come(world, "s1")
    (sent,) = world.sns.published
    assert sent["TopicArn"] == TOPIC
    assert json.loads(sent["Message"]) == frames_of(world, "c1", "alert")[0]
    assert {name: one["StringValue"] for name, one in sent["MessageAttributes"].items()} == {
        "space": SITE,
        "name": "one",
        "type": "milestone",
    }


def test_the_topic_gets_alerts_also_without_dashboards(memory: Engine, worlds: Worlds) -> None:
    world = worlds(memory, Settings=f"alert-topic={TOPIC}")
    act(world, "PUT", "alerts/one", milestone(1))
    come(world, "s1")
    assert len(world.sns.published) == 1


def test_without_a_topic_nothing_is_sent(memory_world: World) -> None:
    act(memory_world, "PUT", "alerts/one", milestone(1))
    come(memory_world, "s1")
    assert memory_world.sns.published == []


def test_a_topic_that_fails_delays_no_version(memory: Engine, worlds: Worlds) -> None:
    world = worlds(memory, Settings=f"alert-topic={TOPIC}")
    world.sns.error = aws_error("InternalErrorException", 500, "Publish")
    act(world, "PUT", "alerts/one", milestone(1))
    world.subscribe("c1")
    world.beat("s1")
    world.count(world.filtered("count"))
    world.publish(world.filtered("publish"))
    assert world.people() == 1
    assert alerts(world) == ["one"]
    event = world.queue.take_deferred()
    assert event is not None
    with pytest.raises(Exception, match="InternalErrorException"):
        world.invoke("deferred", event)  # the queue retries
    world.sns.error = None
    world.invoke("deferred", event)
    assert len(world.sns.published) == 1


# --------------------------------------------------------------------------------------- the routes


def test_rules_are_listed_by_name_as_they_were_put(world: World) -> None:
    act(world, "PUT", "alerts/z", milestone(3))
    act(world, "PUT", "alerts/a", {**SPIKE, "factor": 1.5})
    assert act(world, "GET", "alerts").body == {
        "success": True,
        "space": SITE,
        "alerts": [
            {"name": "a", **SPIKE, "factor": 1.5, "state": "armed", "lastFiredAt": None},
            {"name": "z", **milestone(3), "state": "armed", "lastFiredAt": None},
        ],
    }


def test_a_space_has_20_rules_at_most(memory_world: World) -> None:
    for number in range(20):
        act(memory_world, "PUT", f"alerts/r{number}", milestone(1))
    refused = ask(memory_world, "PUT", "alerts/r20", milestone(1), token=memory_world.admin)
    assert refused.status == 409
    assert refused.body["error"].startswith("This space has 20 alert rules")
    act(memory_world, "PUT", "alerts/r7", milestone(2))
    act(memory_world, "PUT", "alerts/r0", milestone(1), space="site:other")
    assert len(act(memory_world, "GET", "alerts").body["alerts"]) == 20
    memory_world.subscribe("c1")
    come(memory_world, "s1")
    assert len(alerts(memory_world)) == 19


@pytest.mark.parametrize(
    ("body", "sentence"),
    [
        ({}, "type must be 'milestone' or 'spike'"),
        ([], "type must be 'milestone' or 'spike'"),
        ({"type": "flood"}, "type must be 'milestone' or 'spike'"),
        ({"type": ["spike"]}, "type must be 'milestone' or 'spike'"),
        ({"type": "milestone"}, "people is missing: send it as a number."),
        (milestone(0), "people must be 1 or more."),
        ({"type": "milestone", "people": "2"}, "people must be a whole number."),
        ({"type": "milestone", "people": 2.5}, "people must be a whole number."),
        ({"type": "milestone", "people": True}, "people must be a whole number."),
        (milestone(10**12), "people must be at most 1000000000."),
        ({**SPIKE, "factor": 1}, "factor must be more than 1."),
        ({**SPIKE, "factor": "2"}, "factor must be a number."),
        ({**SPIKE, "minutes": 0}, "minutes must be 1 or more."),
        ({**SPIKE, "minutes": 61}, "minutes must be at most 60."),
        ({**SPIKE, "atLeast": 0}, "atLeast must be 1 or more."),
        ({"type": "spike", "factor": 2, "minutes": 5}, "atLeast is missing: send it as a number."),
    ],
)
def test_an_invalid_rule_is_refused(memory_world: World, body: Any, sentence: str) -> None:
    answer = ask(memory_world, "PUT", "alerts/rule", body, token=memory_world.admin)
    assert answer.status == 400
    assert answer.body["error"].startswith(sentence)
    assert memory_world.tables["counts"].rows() == []
    assert memory_world.tables["history"].rows() == []


@pytest.mark.parametrize("raw", ["", "{", '{"type": "spike", "factor": NaN}', '"spike"'])
def test_a_body_that_is_no_rule_is_refused(memory_world: World, raw: str) -> None:
    answer = ask(memory_world, "PUT", "alerts/rule", raw, token=memory_world.admin)
    assert answer.status == 400
    assert memory_world.tables["counts"].rows() == []


@pytest.mark.parametrize("name", ["-x", "a%20b", "%23", "x" * 65, "%00", "a%2Fb"])
def test_an_invalid_name_is_refused(memory_world: World, name: str) -> None:
    answer = ask(memory_world, "PUT", f"alerts/{name}", milestone(1), token=memory_world.admin)
    assert answer.status == 400
    assert memory_world.tables["counts"].rows() == []


def test_an_unknown_rule_can_not_be_deleted(memory_world: World) -> None:
    answer = ask(memory_world, "DELETE", "alerts/none", token=memory_world.admin)
    assert answer.status == 404
    assert memory_world.tables["history"].rows() == []


@pytest.mark.parametrize(
    ("method", "tail"),
    [("GET", "alerts"), ("PUT", "alerts/one"), ("DELETE", "alerts/one")],
)
def test_rules_are_for_admins(memory_world: World, method: str, tail: str) -> None:
    token = memory_world.token(sub="u1")
    assert ask(memory_world, method, tail, milestone(1)).status == 401
    assert ask(memory_world, method, tail, milestone(1), token="x").status == 401
    assert ask(memory_world, method, tail, milestone(1), token=token).status == 403
    assert memory_world.tables["counts"].rows() == []


def test_an_invalid_space_has_no_rules(memory_world: World) -> None:
    for space in ("nope:1", "site", "site:a b"):
        answer = ask(
            memory_world, "PUT", "alerts/one", milestone(1), space=space, token=memory_world.admin
        )
        assert answer.status == 400


def test_other_methods_are_refused(memory_world: World) -> None:
    answer = ask(memory_world, "POST", "alerts", milestone(1), token=memory_world.admin)
    assert (answer.status, answer.headers["allow"]) == (405, "GET")
    answer = ask(memory_world, "GET", "alerts/one", token=memory_world.admin)
    assert (answer.status, answer.headers["allow"]) == (405, "DELETE, PUT")
    assert ask(memory_world, "GET", "alerts/one/two", token=memory_world.admin).status == 404


def test_pages_of_other_origins_may_put(memory_world: World) -> None:
    answer = ask(memory_world, "OPTIONS", "alerts/one", headers={"origin": "https://a.example"})
    assert "PUT" in answer.headers["access-control-allow-methods"]
