"""The audit: wrong published numbers are found, reported and repaired, and no others."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from headcount.logs import name_of
from headcount.metric_lines import MetricLines
from headcount.store.counts import pack_facets
from headcount.store.keys import count_part
from headcount.times import SECOND, parse_iso
from headcount.usecases.audit import IN_FLIGHT
from headcount.usecases.cleanup import SweepFailedError
from headcount.usecases.count import RecountContendedError, Recounter

from lab.harness.engines import Engine
from lab.harness.template import template
from lab.harness.world import SITE, World
from tests.conftest import Worlds
from tests.support.emf import metrics

QUIET = IN_FLIGHT / SECOND + 1
"""Seconds until everything on its way has arrived."""

OTHER = "link:1"


def drifted(world: World) -> list[str]:
    """The spaces that a sweep finds and repairs."""
    return [one["space"] for one in world.sweep()["repaired"]]


def settled(world: World, *, space: str = SITE) -> None:
    """Three tabs of two people, counted and published some time ago."""
    world.beat("s1", space, visitorId="v1", page="/a")
    world.beat("s2", space, visitorId="v1", page="/b")
    world.beat("s3", space, userId="u1", page="/a")
    world.settle()
    world.clock.advance(QUIET)


def numbers(world: World, space: str = SITE) -> dict[str, Any]:
    body = world.headcount(space)
    return {name: body[name] for name in ("people", "signedIn", "sessions", "facets")}


def put(world: World, role: str, key: dict[str, str], **values: Any) -> None:
    """Write some of a row's attributes by hand; None removes one."""
    table = world.tables[role]
    kept = {name: value for name, value in values.items() if value is not None}
    update = "SET " + ", ".join(f"#{name} = :{name}" for name in kept) if kept else ""
    if taken := values.keys() - kept.keys():
        update += " REMOVE " + ", ".join(f"#{name}" for name in taken)
    more: dict[str, Any] = {}
    if kept:
        more["ExpressionAttributeValues"] = {f":{name}": value for name, value in kept.items()}
    world.engine.client.update_item(
        TableName=table.name,
        Key={name: {"S": value} for name, value in key.items()},
        UpdateExpression=update,
        ExpressionAttributeNames={f"#{name}": name for name in values},
        **more,
    )


def delete(world: World, role: str, **key: str) -> None:
    """Delete a row by hand."""
    world.engine.client.delete_item(
        TableName=world.tables[role].name,
        Key={name: {"S": value} for name, value in key.items()},
    )


def n(number: int) -> dict[str, str]:
    return {"N": str(number)}


COUNT = {"space": SITE, "part": count_part(0)}
HEAD = {"space": SITE}
FACETS = {"B": pack_facets({"page": {"/a": (7, 7)}})}


def tamper_a_count(world: World) -> None:
    put(world, "counts", COUNT, sessions=n(9), anonymous=n(9))


def tamper_a_count_and_have_it_published(world: World) -> None:
    put(world, "headcounts", HEAD, counted=n(0))  # else its version says that it is published
    tamper_a_count(world)
    world.settle()
    assert world.people() == 10


def tamper_a_counts_facets(world: World) -> None:
    put(world, "counts", COUNT, facets=FACETS)
    world.settle()


def tamper_the_published_people(world: World) -> None:
    put(world, "headcounts", HEAD, anonymous=n(9))
    assert world.people() == 10


def tamper_the_published_facets(world: World) -> None:
    put(world, "headcounts", HEAD, facets=FACETS)


def delete_a_count(world: World) -> None:
    delete(world, "counts", **COUNT)


def delete_what_is_published(world: World) -> None:
    delete(world, "headcounts", **HEAD)
    assert world.people() == 0


def invent_a_shard(world: World) -> None:
    put(
        world,
        "counts",
        {"space": SITE, "part": count_part(7)},
        version=n(1),
        sessions=n(4),
        anonymous=n(4),
        counted_at=n(world.clock() - IN_FLIGHT - 1),
    )
    world.settle()
    assert world.people() == 6


def delete_a_session(world: World) -> None:
    delete(world, "presence", partition=f"{SITE}#0", session="s3")


def take_it_out_of_the_index(world: World) -> None:
    put(world, "headcounts", HEAD, live=None)
    assert world.get("/v1/spaces", token=world.admin, kind="site").body["spaces"] == []


PLANTED = [
    tamper_a_count,
    tamper_a_count_and_have_it_published,
    tamper_a_counts_facets,
    tamper_the_published_people,
    tamper_the_published_facets,
    delete_a_count,
    delete_what_is_published,
    invent_a_shard,
    delete_a_session,
    take_it_out_of_the_index,
]


@pytest.mark.parametrize("plant", PLANTED, ids=lambda plant: plant.__name__)
def test_planted_drift_is_reported_and_repaired(
    world: World, plant: Callable[[World], None]
) -> None:
    settled(world)
    expected = numbers(world)
    world.beat("s4", OTHER)
    world.settle()
    plant(world)
    assert drifted(world) == [SITE]
    world.settle()
    if plant is delete_a_session:
        expected = {
            "people": 1,
            "signedIn": 0,
            "sessions": 2,
            "facets": {
                "page": [
                    {"value": "/b", "count": 1, "people": 1},
                    {"value": "/a", "count": 1, "people": 0},
                ]
            },
        }
    assert numbers(world) == expected
    listed = world.get("/v1/spaces", token=world.admin, kind="site").body["spaces"]
    assert [one["space"] for one in listed] == [SITE]
    assert drifted(world) == []
    world.settle()
    world.clock.advance(QUIET - 5)
    assert drifted(world) == []


def leave_and_lose(world: World) -> None:
    for session in ("s1", "s2", "s3"):
        world.leave(session)
    world.filtered("count")  # lost


def join_and_lose(world: World) -> None:
    world.beat("s4", page="/c")
    world.filtered("count")  # lost


def change_and_lose(world: World) -> None:
    world.beat("s3", userId="u1", page="/moved")
    world.filtered("count")  # lost


def count_and_lose(world: World) -> None:
    world.beat("s4", page="/c")
    world.count(world.filtered("count"))
    world.filtered("publish")  # lost


@pytest.mark.parametrize(
    "lose",
    [join_and_lose, leave_and_lose, change_and_lose, count_and_lose],
    ids=lambda lose: lose.__name__,
)
def test_a_lost_batch_is_on_its_way_at_first_and_drift_at_the_next_sweep(
    world: World, lose: Callable[[World], None]
) -> None:
    world.stream_alone()
    world.subscribe("c1")
    settled(world)
    before = numbers(world)
    lose(world)
    assert drifted(world) == []
    assert numbers(world) == before
    for session, fields in (
        ("s1", {"visitorId": "v1", "page": "/a"}),
        ("s2", {"visitorId": "v1", "page": "/b"}),
        ("s4", {"page": "/c"}),
    ):
        if session in world.live_sessions():
            world.beat(session, **fields)
    world.clock.advance(QUIET)
    if "s3" in world.live_sessions():  # counts by its last beat
        world.beat("s3", userId="u1", page="/moved" if lose is change_and_lose else "/a")
    assert drifted(world) == [SITE]
    world.settle()
    assert world.headcount()["sessions"] == len(world.live_sessions())
    assert numbers(world) != before
    versions = world.versions("c1")
    assert versions == list(range(len(versions)))
    assert drifted(world) == []


def test_an_end_that_the_stream_lost_is_drift_two_sweeps_later(world: World) -> None:
    settled(world)
    world.clock.advance(60)
    assert world.sweep()["ended"] == 3
    world.filtered("count")  # lost
    found = []
    for _ in range(2):
        world.clock.advance(60)
        found += drifted(world)
        world.settle()
    assert found == [SITE]
    assert world.people() == 0


def test_a_wrong_number_of_an_empty_space_is_found_by_its_index(
    world: World,
) -> None:
    put(
        world,
        "headcounts",
        HEAD,
        live={"S": "site"},
        version=n(3),
        sessions=n(5),
        anonymous=n(5),
        as_of=n(world.clock() - IN_FLIGHT - 1),
    )
    world.clock.advance(120)
    assert world.people() == 5
    assert drifted(world) == [SITE]
    world.settle()
    assert (world.people(), world.headcount()["version"]) == (0, 4)
    assert drifted(world) == []


@pytest.mark.parametrize("live", [None, {"S": "link"}], ids=["not listed", "listed elsewhere"])
def test_a_wrong_number_of_an_empty_space_is_found_within_the_hour_without_its_index(
    world: World, live: Any
) -> None:
    world.beat("s1")
    world.settle()
    world.leave("s1")
    world.settle()
    world.clock.advance(600)
    world.sweep()
    world.settle()
    put(world, "headcounts", HEAD, sessions=n(5), anonymous=n(5), live=live)
    found = []
    for _ in range(60):
        world.clock.advance(60)
        found += drifted(world)
        world.settle()
    assert found == [SITE]
    assert world.people() == 0


def test_an_index_that_lists_an_empty_space_is_repaired(world: World) -> None:
    world.beat("s1")
    world.settle()
    world.leave("s1")
    world.settle()
    world.clock.advance(QUIET)
    put(world, "headcounts", HEAD, live={"S": "site"})
    assert drifted(world) == [SITE]
    world.settle()
    assert world.services("cleanup").headcounts.live("site") == []
    assert drifted(world) == []


def test_a_drift_report_has_the_published_and_the_actual_numbers(
    memory_world: World, caplog: pytest.LogCaptureFixture
) -> None:
    world = memory_world
    settled(world)
    tamper_the_published_people(world)
    (drift,) = world.sweep()["repaired"]
    assert drift == {
        "space": SITE,
        "version": 1,
        "published_people": 10,
        "published_sessions": 3,
        "people": 2,
        "sessions": 3,
        "shards": [0],
    }
    (record,) = [one for one in caplog.records if "drifted" in one.message]
    assert vars(record) | drift == vars(record)


# ---------------------------------------------------------------------------------- unreadable rows


def garbage(world: World) -> dict[str, str]:
    put(world, "headcounts", HEAD, facets={"B": b"\x00garbage"})
    return {"row": SITE, "error": "error"}


def words_for_numbers(world: World) -> dict[str, str]:
    put(world, "headcounts", HEAD, signed_in={"S": "many"})
    return {"row": SITE, "error": "TypeError"}


def a_map_of_words(world: World) -> dict[str, str]:
    put(world, "headcounts", HEAD, views={"M": {"2026-11-21": {"S": "two"}}})
    return {"row": SITE, "error": "TypeError"}


def a_version_that_is_none(world: World) -> dict[str, str]:
    put(world, "headcounts", HEAD, version={"S": "one"})
    return {"row": SITE, "error": "TypeError"}


def a_garbage_count(world: World) -> dict[str, str]:
    put(world, "counts", COUNT, facets={"B": b"\x00garbage"}, version={"S": "one"})
    return {"row": SITE, "error": "TypeError"}


GARBAGE = [garbage, words_for_numbers, a_map_of_words, a_version_that_is_none, a_garbage_count]


@pytest.mark.parametrize("plant", GARBAGE, ids=lambda plant: plant.__name__)
def test_an_unreadable_row_stops_no_one_and_is_repaired(
    memory_world: World,
    plant: Callable[[World], dict[str, str]],
    caplog: pytest.LogCaptureFixture,
) -> None:
    world = memory_world
    world.beat("s4", OTHER)
    settled(world)
    expected = numbers(world)
    reported = plant(world)
    put(world, "headcounts", {"space": OTHER}, anonymous=n(9))
    caplog.clear()
    assert world.get("/v1/spaces", token=world.admin).status == 200
    assert world.get(f"/v1/spaces/{SITE}", token=world.admin).status == 200
    assert world.get(f"/v1/spaces/{SITE}/explain", token=world.admin).body["verdict"] == "drift"
    assert world.beat("s1", visitorId="v1", page="/a").status == 200
    assert drifted(world) == [OTHER, SITE]
    (record, *_) = [one for one in caplog.records if "can't be read" in one.message]
    assert vars(record) | reported == vars(record)
    world.settle()
    assert numbers(world) == expected
    assert world.people(OTHER) == 1
    world.clock.advance(QUIET)
    caplog.clear()
    assert drifted(world) == []
    assert not [one for one in caplog.records if "can't be read" in one.message]


def test_an_unreadable_row_goes_on_from_its_version(memory_world: World) -> None:
    world = memory_world
    settled(world)
    put(world, "headcounts", HEAD, version=n(41), facets={"B": b"\x00garbage"})
    assert world.headcount()["version"] == 41
    world.beat("s4", page="/c")
    world.settle()
    assert (world.headcount()["version"], world.headcount()["sessions"]) == (42, 4)


def test_an_unreadable_row_of_an_empty_space_is_repaired_within_the_hour(
    memory_world: World,
) -> None:
    world = memory_world
    world.beat("s1")
    world.settle()
    world.leave("s1")
    world.settle()
    world.clock.advance(600)
    world.sweep()
    words_for_numbers(world)
    found = []
    for _ in range(60):
        world.clock.advance(60)
        found += drifted(world)
        world.settle()
    assert found == [SITE]
    assert world.services("cleanup").headcounts.get(SITE).readable


@pytest.mark.parametrize("version", [n(0), n(-3), {"S": "one"}, None])
@pytest.mark.parametrize("role", ["headcounts", "counts"])
def test_a_version_that_nothing_follows_is_repaired_once(
    world: World, role: str, version: Any
) -> None:
    settled(world)
    expected = numbers(world)
    key = HEAD if role == "headcounts" else COUNT
    put(world, "headcounts", HEAD, counted=n(0))
    put(world, role, key, version=version, sessions=n(9))
    assert drifted(world) == [SITE]
    world.settle()
    assert numbers(world) == expected
    world.clock.advance(QUIET)
    assert drifted(world) == []


@pytest.mark.parametrize("values", [{"expires_at": {"S": "soon"}}, {"beats": {"S": "many"}}])
def test_an_unreadable_session_is_not_counted_and_stops_no_one(
    world: World, values: dict[str, Any]
) -> None:
    settled(world)
    put(world, "presence", {"partition": f"{SITE}#0", "session": "s3"}, **values)
    assert drifted(world) == [SITE]
    world.settle()
    assert (world.people(), world.headcount()["sessions"]) == (1, 2)
    world.clock.advance(QUIET)
    assert drifted(world) == []


def test_a_space_whose_repair_fails_blocks_no_other(
    memory_world: World, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    world = memory_world
    world.beat("s4", OTHER)
    settled(world)
    for space in (OTHER, SITE):
        put(world, "headcounts", {"space": space}, anonymous=n(9))
    real = Recounter.recount

    def recount(self: Recounter, space: str, *rest: Any) -> Any:
        if space == OTHER:
            raise RecountContendedError(space)
        return real(self, space, *rest)

    with monkeypatch.context() as patched:
        patched.setattr(Recounter, "recount", recount)
        with pytest.raises(SweepFailedError, match="swept: 1;"):
            world.sweep()
    (failed,) = [one for one in caplog.records if one.message == "not swept"]
    assert vars(failed)["space"] == name_of(OTHER)
    assert [vars(one)["space"] for one in caplog.records if "drifted" in one.message] == [SITE]
    world.settle()
    assert (world.people(), world.people(OTHER)) == (2, 9)
    assert drifted(world) == [OTHER]


# ----------------------------------------------------------------------------------------- no drift


def test_a_join_between_the_scan_and_the_comparison_is_no_drift(memory_world: World) -> None:
    world = memory_world
    settled(world)

    def join() -> None:
        world.beat("s4")
        world.count(world.filtered("count"))

    with world.engine.interrupted("Query", world.tables["counts"].name, join) as raced:
        assert drifted(world) == []
    assert raced
    world.settle()
    assert world.headcount()["sessions"] == 4


@pytest.mark.parametrize("counted", [False, True], ids=["not counted", "not published"])
@pytest.mark.parametrize("role", ["presence", "counts", "headcounts"])
def test_a_join_at_any_moment_of_the_sweep_is_no_drift(
    memory_world: World, role: str, *, counted: bool
) -> None:
    world = memory_world
    settled(world)
    for number in range(8):
        session = f"j{number}"

        def join(session: str = session) -> None:
            world.beat(session)
            if counted:
                world.count(world.filtered("count"))

        for operation in ("GetItem", "Query", "Scan"):
            with world.engine.interrupted(operation, world.tables[role].name, join):
                assert drifted(world) == []
        world.clock.advance(1)


@pytest.mark.parametrize("look", [1, 2], ids=["the first", "the second"])
def test_a_publication_right_before_a_look_at_what_is_published_is_no_drift(
    memory_world: World, look: int
) -> None:
    world = memory_world
    settled(world)
    world.beat("s1", OTHER)  # not listed as live yet either
    looks: list[str] = []

    def publish_before_the_look() -> None:
        looks.append("look")
        if len(looks) == look:
            world.count(world.filtered("count"))
            world.publish(world.filtered("publish"))

    heads = world.tables["headcounts"].name
    with world.engine.interrupted("GetItem", heads, publish_before_the_look, times=9):
        assert drifted(world) == []
    assert len(looks) >= look
    assert world.people(OTHER) == 1


def test_a_publication_under_way_is_no_drift(memory_world: World) -> None:
    world = memory_world
    settled(world)
    world.beat("s4")
    world.count(world.filtered("count"))
    assert drifted(world) == []
    world.settle()
    assert world.headcount()["sessions"] == 4


def test_a_lease_that_runs_out_during_the_sweep_is_no_drift(memory_world: World) -> None:
    world = memory_world
    settled(world)
    world.clock.advance(60 - QUIET - 0.001)

    def pass_time() -> None:
        world.clock.advance(1)

    with world.engine.interrupted("GetItem", world.tables["headcounts"].name, pass_time) as raced:
        report = world.sweep()
    assert raced
    assert (report["ended"], report["repaired"]) == (0, [])


@pytest.mark.parametrize("late", [0, 10, 59])
def test_ends_that_are_not_counted_yet_when_the_next_sweep_looks_are_no_drift(
    memory_world: World, late: int
) -> None:
    world = memory_world
    settled(world)
    world.clock.advance(60 - QUIET + late)
    assert world.sweep()["ended"] == 3
    world.clock.advance(10)
    assert drifted(world) == []
    world.settle()
    assert world.people() == 0
    world.clock.advance(60)
    assert drifted(world) == []


def test_ends_of_leases_that_ran_out_long_ago_are_no_drift(memory_world: World) -> None:
    world = memory_world
    settled(world)
    world.clock.advance(3600)
    report = world.sweep()
    assert (report["ended"], report["repaired"]) == (3, [])


def test_a_busy_space_whose_counts_are_seconds_behind_is_no_drift(memory_world: World) -> None:
    world = memory_world
    settled(world)
    for second in range(90):
        world.clock.advance(1)
        world.beat(f"j{second}", visitorId=f"v{second % 7}", page=f"/{second % 3}")
        if second % 4 == 0 and second > 4:
            world.leave(f"j{second - 3}")
        if second % 6 == 0:
            world.count(world.filtered("count"))
        if second % 6 == 2:
            world.publish(world.filtered("publish"))
        if second % 5 == 0:
            assert drifted(world) == []


def test_a_session_that_moves_to_another_shard_is_no_drift(memory: Engine, worlds: Worlds) -> None:
    world = worlds(memory, ShardsPerSpace="3")
    for number in range(12):
        world.beat(f"s{number}", visitorId=f"v{number}")
    world.settle()
    world.clock.advance(20)
    for number in range(12):
        world.beat(f"s{number}", visitorId=f"v{number}", userId=f"u{number}")
        assert drifted(world) == []
    world.settle()
    world.clock.advance(QUIET)
    assert drifted(world) == []


def test_more_shards_than_before_are_no_drift(memory: Engine, worlds: Worlds) -> None:
    world = worlds(memory)
    for number in range(12):
        world.beat(f"s{number}", visitorId=f"v{number}")
    world.settle()
    world.clock.advance(QUIET)
    world.redeploy(ShardsPerSpace="4")
    for _ in range(3):
        assert drifted(world) == []
        world.settle()
        world.clock.advance(10)
    assert world.headcount()["sessions"] == 12


# -------------------------------------------------------------------- overdue recounts and versions


def test_a_stalled_count_while_sessions_join_is_drift(memory_world: World) -> None:
    world = memory_world
    settled(world)
    found = []
    for number in range(8):
        world.clock.advance(5)
        world.beat(f"j{number}")
        world.filtered("count")  # count does not run
        found += drifted(world)
        world.publish(world.filtered("publish"))
    assert found == [SITE]
    assert world.headcount()["sessions"] > 5


def test_a_stalled_publish_while_sessions_join_is_drift(memory_world: World) -> None:
    world = memory_world
    world.stream_alone()
    settled(world)
    found = []
    for number in range(8):
        world.clock.advance(5)
        world.beat(f"j{number}")
        world.count(world.filtered("count"))
        found += drifted(world)
    assert set(found) == {SITE}


# --------------------------------------------------------------------------------------- the metric


def test_each_sweep_emits_a_metric_of_the_drift_it_found(
    memory: Engine, worlds: Worlds, capsys: pytest.CaptureFixture[str]
) -> None:
    world = worlds(memory, Limits="sweeps-per-minute=2")
    settled(world)
    tamper_the_published_people(world)
    world.sweep()
    swept = [line for line in metrics(capsys.readouterr().out) if "Drift" in line]
    first, second = swept
    assert [first["Drift"], second["Drift"]] == [1, 0]
    assert [first["Sessions"], second["Ended"]] == [3, 3]
    assert first["_aws"]["Timestamp"] + 30 * SECOND == second["_aws"]["Timestamp"]


def test_the_alarm_is_on_the_emitted_metric(capsys: pytest.CaptureFixture[str]) -> None:
    alarm = template().resolve(template().resources["DriftAlarm"]["Properties"])
    stack = template().environment("cleanup")["STACK"]
    MetricLines(stack, lambda: 1).write(metrics={"Drift": 1})
    (line,) = metrics(capsys.readouterr().out)
    (directive,) = line["_aws"]["CloudWatchMetrics"]
    assert alarm["Namespace"] == directive["Namespace"]
    assert [alarm["MetricName"]] == [one["Name"] for one in directive["Metrics"]]
    (dimensions,) = directive["Dimensions"]
    assert alarm["Dimensions"] == [{"Name": name, "Value": line[name]} for name in dimensions]
    assert (alarm["Statistic"], alarm["Threshold"], alarm["Period"]) == ("Sum", 0, 300)
    assert alarm["ComparisonOperator"] == "GreaterThanThreshold"
    assert alarm["TreatMissingData"] == "notBreaching"
    assert template().functions["cleanup"]["LoggingConfig"]["ApplicationLogLevel"] == "INFO"


def test_a_stream_with_other_sequence_numbers_is_published(world: World) -> None:
    """A restored table of Counts, or a record sent by hand: all later records may have lower
    sequence numbers than the one behind the published version."""
    settled(world)
    put(world, "headcounts", HEAD, cause={"S": "9" * 21 + "0" * 19})
    world.leave("s3")
    world.settle()
    assert numbers(world)["people"] == 1
    world.clock.advance(QUIET)
    assert drifted(world) == []


# --------------------------------------------------------------------------- clocks that were wrong


def test_a_number_published_by_a_clock_that_was_ahead_is_repaired_in_a_quiet_space(
    memory_world: World,
) -> None:
    world = memory_world
    world.stream_alone()
    settled(world)
    world.leave("s2")
    world.count(world.filtered("count"))
    right = world.clock()
    world.clock.advance(24 * 3600)
    world.settle()
    world.clock.now = right + 60 * SECOND
    assert world.headcount()["views"]["today"] == 0
    world.sweep()
    world.settle()
    head = world.headcount()
    assert (head["views"]["today"], parse_iso(head["asOf"])) == (3, world.clock())


def test_drift_is_repaired_beside_a_session_written_by_a_clock_that_was_ahead(
    memory_world: World,
) -> None:
    world = memory_world
    settled(world)
    world.clock.advance(3600)
    world.beat("s1", visitorId="v1", page="/ahead")
    world.clock.advance(-3600)
    for session, page in (("s1", "/ahead"), ("s2", "/b")):
        world.beat(session, visitorId="v1", page=page)
    world.beat("s3", userId="u1", page="/a")
    world.settle()
    world.clock.advance(QUIET)
    tamper_a_count_and_have_it_published(world)
    drifted(world)  # which repairs the session
    world.settle()
    for session, page in (("s1", "/ahead"), ("s2", "/b")):
        world.beat(session, visitorId="v1", page=page)
    world.beat("s3", userId="u1", page="/a")
    world.clock.advance(QUIET)
    drifted(world)
    world.settle()
    assert numbers(world)["people"] == 2


def test_the_index_is_repaired_where_it_has_a_space_under_another_kind(
    memory_world: World,
) -> None:
    world = memory_world
    settled(world)
    put(world, "headcounts", HEAD, live={"S": "link"})
    assert drifted(world) == [SITE]
    world.settle()
    services = world.services("cleanup")
    assert (services.headcounts.live("link"), services.headcounts.live("site")) == ([], [SITE])


@pytest.mark.parametrize("role", ["headcounts", "counts"])
def test_engagement_is_lowered_to_the_rows_once_nothing_is_on_its_way(
    memory_world: World, role: str
) -> None:
    world = memory_world
    world.beat("s4", engagement={"chat": 2})
    settled(world)
    world.leave("s4")
    world.settle()
    name = "engagement_all" if role == "headcounts" else "engagement"
    key = HEAD if role == "headcounts" else COUNT
    put(world, "headcounts", HEAD, counted=n(0))
    put(world, role, key, **{name: {"M": {"chat": n(900)}}})
    world.settle()
    counts = []
    for _ in range(10):
        world.clock.advance(40)
        for session, visitor, page in (("s1", "v1", "/a"), ("s2", "v1", "/b")):
            world.beat(session, visitorId=visitor, page=page)
        world.beat("s3", userId="u1", page="/a")
        world.sweep()
        world.settle()
        counts.append(world.headcount()["engagement"]["chat"])
    assert counts[0] >= 900
    assert counts[-1] == 2
