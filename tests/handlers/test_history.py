"""A space's history in steps: beside an earlier period, what is usual, and what admins noted."""

from __future__ import annotations

from statistics import median, quantiles
from typing import Any

import pytest
from headcount.model.headcount import Point
from headcount.model.series import Step, merged, pack_steps, steps_of, unpack_steps, usual_of
from headcount.times import DAY, HOUR, MINUTE, iso

from lab.harness.clock import NOON
from lab.harness.world import SITE, World

WEEK = 7 * DAY
PATH = f"/v1/spaces/{SITE}"


def sampled(world: World, people: dict[int, int]) -> None:
    """Store samples: people by minute (epoch milliseconds)."""
    history = world.services("api").history
    history.add_points(Point(SITE, at, count, count + 1) for at, count in people.items())


def history(world: World, **query: str) -> Any:
    answer = world.get(f"{PATH}/history", token=world.admin, **query)
    assert answer.status == 200, answer
    return answer.body


def period(start: int, end: int) -> dict[str, str]:
    return {"from": iso(start), "to": iso(end)}


def test_a_step_is_the_mean_of_its_minutes_and_has_their_peak(memory_world: World) -> None:
    world = memory_world
    begin = NOON - HOUR
    sampled(world, {begin + n * MINUTE: n for n in (0, 1, 2, 3, 4, 5, 9)})
    body = history(world, **period(begin, begin + 15 * MINUTE), step="5")
    assert body["step"] == 5
    assert body["people"] == [2, (5 + 9) / 5, 0]
    assert body["sessions"] == [3, (6 + 10) / 5, 0]
    assert body["peaks"] == [4, 9, 0]
    assert (body["from"], body["to"]) == (iso(begin), iso(begin + 15 * MINUTE))
    assert body["since"] == iso(begin)
    assert "compared" not in body
    assert "usual" not in body


def test_before_the_first_sample_and_from_now_on_nothing_is_known(memory_world: World) -> None:
    world = memory_world
    sampled(world, {NOON - 10 * MINUTE: 4})
    body = history(world, **period(NOON - 15 * MINUTE, NOON + 10 * MINUTE), step="5")
    assert body["people"] == [None, 4 / 5, 0, None, None]
    empty = world.get("/v1/spaces/site:docs/history", token=world.admin).body
    assert (empty["since"], {*empty["people"]}) == (None, {None})


def test_a_period_is_compared_with_the_time_before_as_far_as_that_is_known(
    memory_world: World,
) -> None:
    world = memory_world
    begin, before = NOON - HOUR, NOON - HOUR - DAY
    sampled(world, {begin + n * MINUTE: 6 for n in range(30)})
    sampled(world, {before + n * MINUTE: 3 for n in range(10, 60)})
    query = {**period(begin, NOON), "step": "10", "compare": iso(before)}
    body = history(world, **query)
    assert body["people"] == [6, 6, 6, 0, 0, 0]
    assert body["compared"]["people"] == [None, 3, 3, 3, 3, 3]
    assert body["compared"]["from"] == iso(before)
    assert body["compared"]["to"] == iso(before + HOUR)


@pytest.mark.parametrize("known", [0, 1, 2, 3, 4])
def test_the_usual_is_by_the_weeks_that_are_known(memory_world: World, known: int) -> None:
    world = memory_world
    begin = NOON - HOUR
    weeks = [10, 30, 20, 40][:known]
    for n, people in enumerate(weeks, start=1):
        sampled(world, {begin - n * WEEK + m * MINUTE: people for m in range(60)})
    body = history(world, **period(begin, NOON), step="30", usual="true")
    usual = body["usual"]
    assert usual["weeks"] == known
    if known < 2:
        assert usual["median"] == [None, None]
        return
    assert usual["median"] == [median(weeks)] * 2
    for low, middle, high in zip(usual["low"], usual["median"], usual["high"], strict=True):
        assert min(weeks) <= low <= middle <= high <= max(weeks)


def test_minutes_that_were_not_sampled_are_in_no_mean() -> None:
    points = [Point(SITE, n * MINUTE, 8, 8) for n in (0, 1, 8, 9)]
    found = steps_of(
        points,
        [(2 * MINUTE, 7 * MINUTE)],
        start=0,
        end=10 * MINUTE,
        step=10 * MINUTE,
        known=(0, 10 * MINUTE),
    )
    assert found[0] is not None
    assert found[0].people == 8
    late = [Point(SITE, n * MINUTE, 8, 8) for n in (0, 2)]
    (one,) = steps_of(late, [], start=0, end=3 * MINUTE, step=HOUR, known=(0, HOUR))
    assert one is not None
    assert one.people == 8
    assert usual_of([[one, None], [None, None]]) == [None, None]


def test_what_admins_note_and_send_are_marks(memory_world: World) -> None:
    world = memory_world
    world.beat("tab-1")
    for path, body in (
        ("marks", {"text": "Release 2.3"}),
        ("messages", {"text": "We start."}),
        ("marks", {"text": "Newsletter"}),
    ):
        answer = world.http("POST", f"{PATH}/{path}", token=world.admin, body=body)
        assert answer.status == 200, answer
        world.clock.advance(60)
    world.http("DELETE", f"{PATH}/messages", token=world.admin)
    reader = world.token(headcount_scopes=f"read:{SITE}")
    found = world.get(f"{PATH}/history", token=reader).body["marks"]
    assert [(one["what"], one["text"]) for one in found] == [
        ("mark", "Release 2.3"),
        ("message", "We start."),
        ("mark", "Newsletter"),
    ]
    assert found[0]["at"] == iso(NOON)
    later = {"from": iso(NOON + MINUTE), "to": iso(NOON + MINUTE + 1)}
    assert [one["text"] for one in history(world, **later)["marks"]] == ["We start."]
    refused = world.http("POST", f"{PATH}/marks", token=reader, body={"text": "x"})
    assert refused.status == 403
    for text in ("", " ", "x" * 101):
        answer = world.http("POST", f"{PATH}/marks", token=world.admin, body={"text": text})
        assert answer.status == 400, text


@pytest.mark.parametrize(
    ("query", "words"),
    [
        ({"from": iso(NOON - 33 * DAY)}, "32 days"),
        ({"from": iso(NOON - 7 * DAY)}, "3000 steps"),
        ({"from": iso(NOON - 8 * DAY), "step": "60", "usual": "true"}, "7 days"),
        ({"step": "0"}, "'step'"),
        ({"usual": "yes"}, "'usual'"),
        ({"compare": "yesterday"}, "'compare'"),
    ],
)
def test_what_is_too_long_or_wrong_is_refused(
    memory_world: World, query: dict[str, str], words: str
) -> None:
    answer = memory_world.get(f"{PATH}/history", token=memory_world.admin, **query)
    assert answer.status == 400
    assert words in answer.body["error"]


def test_views_are_kept_by_the_quarter_of_an_hour(memory_world: World) -> None:
    world = memory_world
    world.clock.set("2026-11-21T10:14:59Z")
    world.beat("tab-1")
    world.clock.set("2026-11-21T10:15:00Z")
    world.beat("tab-2")
    world.beat("tab-3")
    world.settle()
    views = [0] * 40 + [1, 2]

    def days(**query: str) -> Any:
        return world.get(f"{PATH}/days", token=world.admin, **query).body["days"]

    (today,) = days(quarters="true")
    assert today["viewsByQuarter"] == views
    for name in ("tab-1", "tab-2", "tab-3"):
        world.leave(name)
    world.settle()
    world.clock.set("2026-11-22T01:00:00Z")
    world.daily()
    (stored,) = days(quarters="true")
    assert stored["viewsByQuarter"] == views
    assert stored["views"] == sum(views)
    assert "viewsByQuarter" not in days()[0]


def test_a_day_is_stored_in_quarters_of_an_hour_and_read_without_its_minutes(
    memory_world: World,
) -> None:
    world = memory_world
    yesterday = NOON - NOON % DAY - DAY
    world.clock.set(iso(yesterday + 10 * HOUR))
    world.beat("tab-1")
    world.settle()
    sampled(world, {yesterday + 10 * HOUR + n * MINUTE: n + 1 for n in range(40)})
    world.clock.advance(60)
    world.leave("tab-1")
    world.settle()
    world.clock.set(iso(yesterday + DAY + HOUR))
    asked = {**period(yesterday + 9 * HOUR, yesterday + DAY + 30 * MINUTE), "step": "15"}
    by_minutes = history(world, **asked)
    assert by_minutes["people"][4:8] == [8, 23, round(sum(range(31, 41)) / 15, 2), 0]
    assert world.daily() == 1
    table = world.tables["history"]
    (stored,) = [row for row in table.rows() if row["at"].startswith("steps#")]
    assert len(stored["steps"]) < 300
    # As if they were past their retention.
    for row in [row for row in table.rows() if row["at"].startswith("minute#")]:
        key = {name: {"S": row[name]} for name in ("space", "at")}
        world.engine.client.delete_item(TableName=table.name, Key=key)
    by_steps = history(world, **asked)
    known = [n for n, one in enumerate(by_minutes["people"]) if one is not None]
    for name in ("people", "sessions", "peaks"):
        assert [by_steps[name][n] for n in known] == [by_minutes[name][n] for n in known], name
    hours = history(world, **{**asked, "step": "60"})
    assert hours["peaks"][1] == 40
    assert hours["people"][1] == pytest.approx(sum(by_steps["people"][4:8]) / 4, abs=0.01)


def test_steps_are_packed_and_merged_without_loss() -> None:
    steps = [None, Step(0, 0, 0), Step(1.25, 2.5, 300), Step(12345.67, 99999.99, 1 << 20), None]
    assert unpack_steps(pack_steps(steps)) == steps
    assert merged(steps, 1) == steps
    assert merged([None, None, Step(2, 4, 5), None, Step(1, 1, 1), Step(3, 3, 9)], 2) == [
        None,
        Step(2, 4, 5),
        Step(2, 2, 9),
    ]


def test_the_usual_is_between_the_quartiles() -> None:
    for values in ([4.0, 1.0], [7.0, 1.0, 3.0], [9.0, 2.0, 2.0, 40.0]):
        (found,) = usual_of([[Step(value, value, 9)] for value in values])
        assert found is not None
        expected = quantiles(values, n=4, method="inclusive")
        assert [found.low, found.median, found.high] == pytest.approx(expected)
