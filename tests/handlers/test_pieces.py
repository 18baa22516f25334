"""Sweeps and days that are too large for one invocation: all parts together do the same as one."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest
from headcount.settings import Settings
from headcount.store.table import Segment
from headcount.times import SECOND
from headcount.usecases import daily as aggregating
from headcount.usecases.audit import IN_FLIGHT
from headcount.usecases.cleanup import READ_BUDGET, ROWS_OF_A_SPACE, SweepFailedError
from headcount.wiring import ROW_THREADS, Services
from msgspec.structs import replace

from lab.harness import memory as memory_engine
from lab.harness.clock import NOON, Clock
from lab.harness.engines import Engine
from lab.harness.fakes import aws_error
from lab.harness.template import template
from lab.harness.world import SITE, World, world_on
from tests.conftest import Worlds
from tests.support.emf import metrics

SPACES = (SITE, "course:1", "course:2", "link:1")
QUIET = IN_FLIGHT / SECOND + 1


@pytest.fixture
def small_pages(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pages of a few rows."""
    monkeypatch.setattr(memory_engine, "_PAGE_BYTES", 1_500)


@pytest.fixture
def world(memory: Engine, worlds: Worlds, small_pages: None) -> World:
    """A deployment whose table is soon too large for one invocation, with pages of a few rows."""
    return in_pieces(worlds(memory, ShardsPerSpace="3"))


def in_pieces(world: World, rows: int = 2 * ROWS_OF_A_SPACE) -> World:
    """The number of rows from which the cleanup sweeps in segments."""
    services: Any = world.services("cleanup")
    services.sweeper = replace(services.sweeper, rows_per_invocation=rows)
    return world


def come(world: World, number: int = 10) -> None:
    """That many tabs in each space, of fewer people, all counted and published some time ago."""
    for space in SPACES:
        for tab in range(number):
            world.beat(f"s{tab}", space, visitorId=f"v{tab % 7}", page=f"/{tab % 3}")
    world.settle()
    world.clock.advance(1)


def lie_empty(world: World) -> None:
    """The cleanup finds the table large, and then every lease runs out."""
    come(world)
    world.sweep()
    world.run_pieces()
    world.clock.advance(400)


def ends(world: World) -> Counter[str]:
    """The number of ledger entries of each visit's end."""
    return Counter(visit["id"] for visit in world.ledger() if "ended_at" in visit)


def swept(world: World) -> dict[str, Any]:
    """A whole sweep, in any number of parts: the sum of their reports."""
    report = world.sweep()
    every = [report, *world.run_pieces()]
    total: dict[str, Any] = {
        name: sum(one[name] for one in every) for name in ("ended", "deleted", "moved", "sampled")
    }
    total["sessions"] = sum(one["sessions"] for one in every[1:] or every)
    total["repaired"] = [drift["space"] for one in every for drift in one["repaired"]]
    total["left"] = report["left"]
    return total


# ---------------------------------------------------------------------------------- small and large


def test_a_small_table_is_one_scan_and_no_message(memory_world: World) -> None:
    come(memory_world, 2)
    memory_world.clock.advance(60)  # after the hourly full check
    with memory_world.engine.metered() as meter:
        report = memory_world.sweep()
    assert (report["left"], report["rows"]) == (0, 8)
    assert memory_world.queue.pieces == []
    assert meter.operations.count("Scan") == 1


def test_a_large_table_is_left_to_segments_which_are_stored(world: World) -> None:
    come(world)
    assert world.sweep()["left"] >= 2
    world.run_pieces()
    with world.engine.metered() as meter:
        assert world.sweep()["left"] >= 2
    presence = world.tables["presence"].name
    assert not [call for call in meter.calls if presence in call.tables]  # it has cached the size


def test_a_table_that_is_small_again_is_swept_in_one_go(world: World) -> None:
    come(world)
    world.sweep()
    world.run_pieces()
    world.clock.advance(600)
    swept(world)  # ends them
    world.settle()
    world.clock.advance(600)
    swept(world)  # deletes them
    world.settle()
    report = swept(world)
    assert (report["left"], world.presence_rows()) == (0, [])


def test_every_segment_is_a_separate_message(world: World) -> None:
    come(world)
    left = world.sweep()["left"]
    assert len(world.queue.pieces) == left
    assert len({piece["body"] for piece in world.queue.pieces}) == left


# -------------------------------------------------------------------------- as one invocation would


def lives(world: World) -> list[Any]:
    """Everything that a sweep handles, and the result."""
    reports = []
    come(world)
    world.beat("s3", SITE, page="/elsewhere")
    world.leave("s4", "course:1")
    world.settle()
    reports.append(swept(world))
    world.clock.advance(30)
    for tab in range(0, 10, 3):
        world.beat(f"s{tab}", SITE, visitorId=f"v{tab % 7}", page=f"/{tab % 3}")
    world.settle()
    world.clock.advance(31)
    reports.append(swept(world))
    world.settle()
    world.clock.advance(331)
    reports.append(swept(world))
    world.settle()
    world.clock.advance(300)
    reports.append(swept(world))
    world.settle()
    return [
        [{name: one[name] for name in one if name not in {"left", "sampled"}} for one in reports],
        [world.headcount(space)["views"] for space in SPACES],
        [world.headcount(space)["people"] for space in SPACES],
        sorted(world.live_sessions()),
        sorted((row["space"], row["ended_at"], row["ended_by"]) for row in world.ledger()),
    ]


@pytest.mark.usefixtures("small_pages")
def test_parts_give_the_same_result_as_one_invocation(memory: Engine) -> None:
    with world_on(memory, Clock(), ShardsPerSpace="3") as one:
        expected = lives(one)
    for rows in (1, 15, 30):
        with world_on(memory, Clock(), ShardsPerSpace="3") as other:
            assert lives(in_pieces(other, rows)) == expected, rows


def test_every_space_has_a_point_a_minute_with_the_published_numbers(world: World) -> None:
    come(world)
    assert swept(world)["sampled"] == len(SPACES)
    points = [
        (row["space"], row["people"], row["sessions"]) for row in world.tables["history"].rows()
    ]
    assert points == [(space, 7, 10) for space in sorted(SPACES)]


def test_no_visit_ends_twice_however_often_a_piece_is_done(world: World) -> None:
    lie_empty(world)
    world.sweep()
    pieces = [*world.queue.pieces]
    world.queue.pieces += pieces
    done = world.run_pieces()
    assert sum(one["ended"] for one in done) == 40
    world.settle()
    assert set(ends(world).values()) == {1}
    assert len(ends(world)) == 40
    assert [world.people(space) for space in SPACES] == [0, 0, 0, 0]


def test_a_piece_that_is_lost_is_done_by_the_next_sweep_and_no_other_waits(world: World) -> None:
    lie_empty(world)
    world.sweep()
    del world.queue.pieces[0]
    first = sum(one["ended"] for one in world.run_pieces())
    assert 20 < first < 40
    again = swept(world)
    assert first + again["ended"] == 40
    world.settle()
    assert set(ends(world).values()) == {1}


def test_a_piece_that_fails_half_way_is_done_again(world: World) -> None:
    lie_empty(world)
    world.sweep()
    piece = {"Records": [world.queue.pieces[0]]}

    def fail() -> None:
        raise aws_error("InternalServerError", 500, "Scan")

    presence = world.tables["presence"].name
    with (
        world.engine.interrupted("Scan", presence, fail),
        pytest.raises(Exception, match="InternalServerError"),
    ):
        world.invoke("cleanup", piece)
    world.run_pieces()
    world.settle()
    assert len(ends(world)) == 40


def test_a_row_that_can_not_be_ended_delays_no_other(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    lie_empty(world)
    presence = world.services("cleanup").presence
    replace_row = presence.replace

    def fail_for_one(old: Any, new: Any) -> Any:
        if (old.space, old.id) == ("course:1", "s3"):
            raise aws_error("ProvisionedThroughputExceededException", 400, "PutItem")
        return replace_row(old, new)

    monkeypatch.setattr(presence, "replace", fail_for_one)
    world.sweep()
    failed = 0
    while (event := world.queue.take_piece()) is not None:
        try:
            world.invoke("cleanup", event)
        except SweepFailedError:
            failed += 1
    assert failed == 1
    world.settle()
    assert len(ends(world)) == 39


def test_the_number_of_sessions_is_emitted_once_by_every_kind_of_sweep(
    world: World, capsys: pytest.CaptureFixture[str]
) -> None:
    come(world)
    capsys.readouterr()
    swept(world)
    sessions = [one["Sessions"] for one in metrics(capsys.readouterr().out) if "Sessions" in one]
    assert sessions == [40]


# ------------------------------------------------------------------------------------------- limits


def test_work_without_time_left_is_passed_on_and_done(world: World) -> None:
    lie_empty(world)
    left = world.sweep()["left"]
    presence = world.tables["presence"].name
    at, done = world.clock(), []
    with world.engine.interrupted(
        "Scan", presence, lambda: world.clock.advance(READ_BUDGET / SECOND), times=1_000
    ):
        while (event := world.queue.take_piece()) is not None:
            world.clock.now = at  # they run in parallel
            done.append(world.invoke("cleanup", event))
    assert len(done) == left + sum(one["left"] for one in done) > 2 * left
    assert sum(one["ended"] for one in done) == 40
    world.settle()
    assert set(ends(world).values()) == {1}
    assert [world.people(space) for space in SPACES] == [0, 0, 0, 0]


@pytest.mark.usefixtures("small_pages")
def test_a_shard_that_is_seen_in_two_parts_is_no_drift_and_is_sampled_once(
    memory: Engine, worlds: Worlds
) -> None:
    world = in_pieces(worlds(memory), rows=1)  # one shard each, and a page is too large
    come(world)
    world.clock.advance(QUIET)
    for space in SPACES:
        for tab in range(10):
            world.beat(f"s{tab}", space, visitorId=f"v{tab % 7}", page=f"/{tab % 3}")
    world.settle()
    world.sweep()
    done = world.run_pieces()
    assert sum(one["left"] for one in done) >= len(SPACES)
    assert [one["repaired"] for one in done if one["repaired"]] == []
    assert sum(one["sampled"] for one in done) == len(SPACES)
    assert sum(one["sessions"] for one in done) == 40


def test_a_piece_that_waited_for_minutes_is_left_to_later_sweeps(world: World) -> None:
    lie_empty(world)
    left = world.sweep()["left"]
    world.clock.advance(121)
    assert world.run_pieces() == [{}] * left
    assert swept(world)["ended"] == 40


def test_a_function_of_the_cleanup_has_time_for_its_work() -> None:
    timeout = template().functions["cleanup"]["Timeout"]
    queue = template().resources["PieceQueue"]["Properties"]
    assert (
        timeout >= 2 * READ_BUDGET / SECOND
    )  # rows are ended, counted and compared after the read
    assert queue["VisibilityTimeout"] >= 6 * timeout
    (source,) = template().events("cleanup", "SQS")
    assert source["BatchSize"] == 1
    assert source["ScalingConfig"]["MaximumConcurrency"] <= 1_000


# -------------------------------------------------------------------------------------------- drift


def wrong_count(world: World) -> None:
    table = world.tables["counts"]
    row = next(row for row in table.rows() if row["space"] == "course:1" and "sessions" in row)
    key = {"space": {"S": row["space"]}, "part": {"S": row["part"]}}
    world.engine.client.update_item(
        TableName=table.name,
        Key=key,
        UpdateExpression="SET sessions = :n",
        ExpressionAttributeValues={":n": {"N": "77"}},
    )


def no_count(world: World) -> None:
    table = world.tables["counts"]
    for row in table.rows():
        if row["space"] == "course:1" and row["part"].startswith("shard#"):
            key = {"space": {"S": row["space"]}, "part": {"S": row["part"]}}
            world.engine.client.delete_item(TableName=table.name, Key=key)
            return


def no_headcount(world: World) -> None:
    table = world.tables["headcounts"]
    world.engine.client.delete_item(TableName=table.name, Key={"space": {"S": "course:1"}})


def no_rows(world: World) -> None:
    table = world.tables["presence"]
    for row in table.rows():
        if row["partition"].startswith("course:1#"):
            key = {"partition": {"S": row["partition"]}, "session": {"S": row["session"]}}
            world.engine.client.delete_item(TableName=table.name, Key=key)


def no_rows_nor_index(world: World) -> None:
    no_rows(world)
    world.engine.client.update_item(
        TableName=world.tables["headcounts"].name,
        Key={"space": {"S": "course:1"}},
        UpdateExpression="REMOVE live",
    )
    world.clock.set("2026-11-21T13:00:05Z")  # once an hour everything is checked
    for space in set(SPACES) - {"course:1"}:
        for tab in range(10):
            world.beat(f"s{tab}", space, visitorId=f"v{tab % 7}", page=f"/{tab % 3}")
    world.settle()


@pytest.mark.parametrize("harm", [wrong_count, no_count, no_headcount, no_rows, no_rows_nor_index])
def test_drift_is_found_and_repaired_and_no_other_space_is_touched(
    world: World, harm: Callable[[World], None]
) -> None:
    come(world)
    world.clock.advance(QUIET)
    harm(world)
    world.filtered("publish")  # changes by hand invoke no function
    report = swept(world)
    assert set(report["repaired"]) == {"course:1"}
    world.settle()
    people = 0 if harm in {no_rows, no_rows_nor_index} else 7
    assert world.people("course:1") == people
    world.clock.advance(1)
    assert swept(world)["repaired"] == []


@pytest.mark.usefixtures("small_pages")
def test_drift_is_found_in_a_shard_that_takes_several_pieces(
    memory: Engine, worlds: Worlds
) -> None:
    world = in_pieces(worlds(memory), rows=1)
    come(world)
    world.clock.advance(QUIET)
    wrong_count(world)
    world.filtered("publish")
    assert swept(world)["repaired"] == ["course:1"]
    world.settle()
    assert world.people("course:1") == 7


@pytest.mark.usefixtures("small_pages")
def test_a_shard_that_lost_all_its_rows_is_found_beside_intact_ones(
    memory: Engine, worlds: Worlds
) -> None:
    world = in_pieces(worlds(memory, ShardsPerSpace="3"))
    come(world)
    counted = world.services("count").counts.space(SITE).shards
    deserted = max(count.shard for count in counted if count.rows)
    assert deserted != min(count.shard for count in counted if count.rows)
    rows = [row for row in world.presence_rows() if row["partition"] == f"{SITE}#{deserted}"]
    for row in rows:
        key = {name: {"S": row[name]} for name in ("partition", "session")}
        world.engine.client.delete_item(TableName=world.tables["presence"].name, Key=key)
    people = len({row["visitor"] for row in rows})
    world.filtered("count")
    world.clock.advance(QUIET)
    assert swept(world)["repaired"] == [SITE]
    world.settle()
    assert world.people() == 7 - people < 7


def test_a_lost_batch_is_found_in_its_shard_alone(world: World) -> None:
    come(world)
    world.beat("late", "course:2", visitorId="v99")
    world.filtered("count")  # lost
    world.clock.advance(QUIET)
    (drift,) = [drift for one in [world.sweep(), *world.run_pieces()] for drift in one["repaired"]]
    assert (drift["space"], len(drift["shards"])) == ("course:2", 1)
    assert (drift["published_sessions"], drift["sessions"]) == (10, 11)


@pytest.mark.usefixtures("small_pages")
def test_sessions_move_to_their_shards_in_pieces_too(memory: Engine, worlds: Worlds) -> None:
    world = worlds(memory)
    come(world)
    world.redeploy(ShardsPerSpace="4")
    in_pieces(world)
    assert swept(world)["moved"] > 20
    world.settle()
    world.clock.advance(1)
    assert swept(world)["moved"] == 0
    assert [world.people(space) for space in SPACES] == [7, 7, 7, 7]
    assert len(world.live_sessions()) == 40


# ----------------------------------------------------------------------------------------- segments


def test_segments_are_the_whole_table_and_a_shard_is_in_one(engine: Engine, worlds: Worlds) -> None:
    world = worlds(engine, ShardsPerSpace="3")
    for space in SPACES:
        for tab in range(6):
            world.beat(f"s{tab}", space, visitorId=f"v{tab}")
    presence = world.services("cleanup").presence
    found = [
        [row for page in presence.scan(Segment(number, 4)) for row in page] for number in range(4)
    ]
    everyone = Counter((row.space, row.id) for rows in found for row in rows)
    assert len(everyone) == 24
    assert set(everyone.values()) == {1}
    shards = [{(row.space, row.shard) for row in rows} for rows in found]
    assert sum(map(len, shards)) == len(set().union(*shards))


@pytest.mark.usefixtures("small_pages")
def test_a_scan_goes_on_after_a_row(engine: Engine, worlds: Worlds) -> None:
    world = worlds(engine)
    come(world, 4)
    presence = world.services("cleanup").presence
    rows = [row for page in presence.scan() for row in page]
    after = rows[5].space, rows[5].shard, rows[5].id
    assert [row for page in presence.scan(after=after) for row in page] == rows[6:]


# ------------------------------------------------------------------------------------------ at once


def test_rows_are_ended_at_once() -> None:
    """Each waits until the others are under way too: one by one, they would wait forever."""
    services = Services(Settings({}))
    together = threading.Barrier(ROW_THREADS)
    everyone = range(ROW_THREADS)
    with services.threads as threads:
        assert sorted(threads.map(lambda _: together.wait(timeout=20), everyone)) == [*everyone]


def test_visits_are_ended_at_once_but_for_those_that_add_to_the_same_totals(world: World) -> None:
    world.beat("s1", SITE, engagement={"chat": 1})
    world.beat("s2", SITE, engagement={"chat": 2})
    world.beat("s3", SITE)
    world.beat("s4", SITE)
    world.settle()
    for tab in range(1, 5):
        world.leave(f"s{tab}", SITE)
    visits = world.services("count").visits
    groups: list[int] = []

    def at_once(act: Callable[[Any], Any], what: Any) -> Any:
        every = list(what)
        groups.append(len(every))
        return map(act, every)

    visits._in_parallel = at_once  # type: ignore[assignment]
    world.settle()
    assert sum(groups) == 2
    assert len(ends(world)) == 4
    assert world.headcount()["engagement"] == {"chat": 3}


# --------------------------------------------------------------------------------------------- days


@pytest.fixture
def night(world: World, monkeypatch: pytest.MonkeyPatch) -> World:
    """The night after a day in four spaces, one of them large; three are too many for one run."""
    come(world)
    for tab in range(300):
        world.beat(f"x{tab}", "course:2", visitorId=f"x{tab}")
    world.settle()
    world.clock.set("2026-11-22T01:00:00Z")
    monkeypatch.setattr(aggregating, "VISITS_PER_INVOCATION", 300)
    monkeypatch.setattr(aggregating, "MAX_VISITS_OF_A_PIECE", 600)
    return world


def days(world: World) -> dict[str, int]:
    """Space -> unique people in the day's row."""
    return {
        row["space"]: row["unique_people"]
        for row in world.tables["history"].rows()
        if row["at"].startswith("day#")
    }


EXPECTED = {SITE: 7, "course:1": 7, "course:2": 307, "link:1": 7}


def test_a_day_of_many_visits_is_divided_by_spaces(night: World) -> None:
    report = night.invoke("daily", {})
    assert report["left"] > 0
    assert report["written"] + report["left"] == 4
    assert "course:2" in days(night)  # too large for the others
    night.run_pieces()
    assert days(night) == EXPECTED
    before = night.snapshot()
    night.invoke("daily", {})
    night.run_pieces()
    assert night.snapshot() == before


def test_what_a_day_used_is_the_sum_of_its_parts_however_it_is_divided(
    night: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    def read() -> Any:
        return night.services("api").history.uses("2026-11-21", "2026-11-21")

    night.invoke("daily", {})
    begun = read()["2026-11-21"]
    night.run_pieces()
    (in_parts,) = read().values()
    assert in_parts.views == 340
    assert begun.views < in_parts.views, "the other parts were not aggregated yet"
    monkeypatch.setattr(aggregating, "VISITS_PER_INVOCATION", 100_000)
    night.invoke("daily", {})  # again, in fewer parts: rows of the others are left
    assert list(read().values()) == [in_parts]


def test_spaces_of_a_day_that_failed_are_done_again_and_no_other_is_lost(night: World) -> None:
    night.invoke("daily", {})
    visits = night.tables["visits"].name
    piece = {"Records": [night.queue.pieces[0]]}

    def fail() -> None:
        raise aws_error("InternalServerError", 500, "Query")

    with night.engine.interrupted("Query", visits, fail), pytest.raises(RuntimeError):
        night.invoke("cleanup", piece)
    assert days(night) != EXPECTED
    night.run_pieces()
    assert days(night) == EXPECTED


def test_a_day_of_few_visits_is_not_divided(memory_world: World) -> None:
    come(memory_world)
    memory_world.clock.set("2026-11-22T01:00:00Z")
    assert memory_world.invoke("daily", {}) == {"written": 4}
    assert memory_world.queue.pieces == []


def test_a_piece_of_a_day_that_has_begun_to_expire_zeroes_nothing(night: World) -> None:
    night.invoke("daily", {})
    night.clock.advance(8 * 86_400)
    with pytest.raises(ValueError, match="begun to expire"):
        night.run_pieces()
    assert night.clock() > NOON
