"""The dashboard's history of a month, compared with an oracle of the rows that are stored."""

from __future__ import annotations

import math
import os
import re
import statistics
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Any
from unittest import mock
from urllib.parse import parse_qs, urlsplit
from zoneinfo import ZoneInfo

import boto3
import pytest
from headcount.model.series import Step, pack_steps
from headcount.model.visit import QUARTER, Day
from headcount.store.history import HistoryTable
from headcount.times import day_start
from playwright.sync_api import Browser, Page, expect

from lab.harness.clients import eventually
from local.settings import aws_environment
from tests.stack.conftest import Stack
from tests.stack.test_dashboard import Watched, place_of_peak

pytestmark = [pytest.mark.stack, pytest.mark.browser]

DAYS = 66
HERE = "America/Los_Angeles"


@dataclass(frozen=True)
class Month:
    """The stored days of a space, until yesterday: views, people and peaks of each quarter."""

    space: str
    today: date
    """When it was stored: midnight may pass meanwhile."""
    first: date
    views: dict[date, list[int]]
    people: dict[date, list[int]]

    def _sum(self, rows: dict[date, list[int]], start: datetime, end: datetime) -> list[int]:
        return [
            number
            for day, numbers in rows.items()
            for n, number in enumerate(numbers)
            if start <= datetime(day.year, day.month, day.day, tzinfo=UTC) + n * QUARTERS < end
        ]

    def views_in(self, start: datetime, end: datetime) -> int:
        """Views from one moment to another."""
        return sum(self._sum(self.views, start, end))

    def people_in(self, start: datetime, end: datetime) -> list[int]:
        """People of the quarters from one moment to another."""
        return self._sum(self.people, start, end)


QUARTERS = timedelta(milliseconds=QUARTER)


@pytest.fixture(scope="module")
def month(stack: Stack) -> Month:
    """Two months and some days in which each quarter differs, until yesterday."""
    today = datetime.now(UTC).date()
    space = f"course:stk-month-{today:%m%d}-{os.urandom(3).hex()}"
    with mock.patch.dict(os.environ, aws_environment(stack.settings), clear=True):
        client: Any = boto3.Session().client("dynamodb")
        (table,) = [name for name in client.list_tables()["TableNames"] if "HistoryTable" in name]
        history = HistoryTable(client, table, timeline_days=30, day_rows_days=400)
        views: dict[date, list[int]] = {}
        people: dict[date, list[int]] = {}
        for ago in range(DAYS, 0, -1):
            day = today - timedelta(days=ago)
            views[day] = [(ago * 31 + n * 17) % (7 + ago % 3) for n in range(96)]
            people[day] = [1 + (ago * 13 + n * 29) % (20 + ago % 5) for n in range(96)]
            row = Day(
                date=day.isoformat(),
                unique_people=100 + ago,
                unique_sessions=150 + ago,
                views=sum(views[day]),
                beats=1_000 + ago,
                peak=max(people[day]) + 2,
                avg_seconds=60 + ago,
                unique_users=10 + ago,
                quarters=tuple(views[day]),
            )
            history.add_days([(space, row)])
            steps = [Step(float(one), float(one * 2), one + 2) for one in people[day]]
            history.add_steps(space, row.date, pack_steps(steps))
    assert day_start(row.date) < day_start(today.isoformat())
    return Month(space, today, today - timedelta(days=DAYS), views, people)


@pytest.fixture
def open_in(browser: Browser, stack: Stack, month: Month) -> Iterator[Callable[..., Page]]:
    """Opens the space's history in a time zone; the pages must log no error."""
    opened: list[Watched] = []

    def open_in(zone: str, rest: str = "", **options: Any) -> Page:
        context = browser.new_context(timezone_id=zone, locale="en-GB", **options)
        watched = Watched(context.new_page(), stack.outputs["origin"])
        watched.watch()
        opened.append(watched)
        watched.open(stack, month.space, f"&tab=history{rest}")
        expect(watched.page.locator("#heat-note")).to_contain_text("Busiest", timeout=30_000)
        return watched.page

    yield open_in
    for watched in opened:
        watched.page.context.close()
    assert [words for watched in opened for words in watched.complaints] == []


def changed(now: float, before: float) -> str:
    """As the dashboard writes it: computed here by other means."""
    percent = math.floor((now - before) * 100 / before + 0.5)
    return f"+{percent}%" if percent > 0 else f"−{-percent}%" if percent < 0 else "±0%"


def midnight(day: date, zone: str) -> datetime:
    return datetime(day.year, day.month, day.day, tzinfo=ZoneInfo(zone))


def cells(page: Page, table: str) -> list[list[str]]:
    rows = page.get_by_test_id(table).locator("tbody tr").all()
    return [row.locator("td").all_inner_texts() for row in rows]


@pytest.mark.parametrize(("zone", "back"), [("UTC", 9), (HERE, 9), ("Asia/Kolkata", 8)])
def test_chosen_days_and_those_before_are_as_stored_in_any_zone(
    month: Month, open_in: Callable[..., Page], zone: str, back: int
) -> None:
    last = month.today - timedelta(days=4)
    days = [last - timedelta(days=n) for n in range(back)][::-1]
    page = open_in(zone, f"&period=custom&from={days[0]}&to={last}")
    start, end = midnight(days[0], zone), midnight(last + timedelta(days=1), zone)
    before = midnight(days[0] - timedelta(days=back), zone)
    views, earlier = month.views_in(start, end), month.views_in(before, start)
    expect(page.get_by_test_id("past-views")).to_have_text(f"{views:,}", timeout=20_000)
    change = page.get_by_test_id("past-views-change")
    expect(change).to_have_text(f"{changed(views, earlier)} ({earlier:,} before)")
    people = month.people_in(start, end)
    expect(page.get_by_test_id("past-peak")).to_have_text(str(max(people) + 2))
    mean = float(page.get_by_test_id("past-mean").inner_text())
    assert mean == pytest.approx(sum(people) / len(people), abs=0.01)

    shown = cells(page, "days" if zone == "UTC" else "zone-days")
    assert len(shown) == back
    for row, day in zip(shown, days[::-1], strict=True):
        begin, over = midnight(day, zone), midnight(day + timedelta(days=1), zone)
        own, was = (
            month.views_in(begin - timedelta(days=n), over - timedelta(days=n)) for n in (0, back)
        )
        here = month.people_in(begin, over)
        assert re.search(rf"\b{day.day}\b", row[0])
        if zone == "UTC":
            ago = (month.today - day).days
            numbers = [100 + ago, 10 + ago, 150 + ago, own]
            assert row[1:6] == [*(f"{one:,}" for one in numbers), changed(own, was)]
            assert row[6:] == [str(max(here) + 2), f"{(60 + ago) // 60} m {(60 + ago) % 60:02} s"]
        else:
            assert row[1:3] == [f"{own:,}", changed(own, was)]
            assert float(row[3]) == pytest.approx(sum(here) / len(here), abs=0.01)
            assert row[4] == str(max(here) + 2)
    note = page.get_by_test_id("days-note")
    if zone == "UTC":
        expect(note).to_be_empty()
    else:
        expect(note).to_contain_text("once per UTC day")


def test_the_days_chart_is_read_day_by_day(month: Month, open_in: Callable[..., Page]) -> None:
    last = month.today - timedelta(days=2)
    first = last - timedelta(days=9)
    page = open_in("UTC", f"&period=custom&from={first}&to={last}&compare=week")
    chart = page.get_by_test_id("days-chart")
    chart.focus()
    chart.press("Home")
    week = timedelta(days=7)
    own, was = sum(month.views[first]), sum(month.views[first - week])
    words = f"{own} views · {was:,} before · {changed(own, was)}"
    expect(chart).to_have_attribute("aria-valuetext", re.compile(re.escape(words)))
    expect(chart).to_have_attribute("aria-valuemax", "9")
    ago = (month.today - first).days
    for metric, number in (("people", 100 + ago), ("peak", max(month.people[first]) + 2)):
        page.get_by_test_id("days-metric").select_option(metric)
        chart.press("Home")
        expect(chart).to_have_attribute("aria-valuetext", re.compile(f" {number} {metric}"))


def test_before_the_first_day_there_is_nothing_to_compare_with(
    month: Month, open_in: Callable[..., Page]
) -> None:
    first, last = month.first + timedelta(days=2), month.first + timedelta(days=6)
    day = timedelta(days=1)
    page = open_in("UTC", f"&period=custom&from={first}&to={last}")
    views = sum(sum(month.views[first + timedelta(days=n)]) for n in range(5))
    expect(page.get_by_test_id("past-views")).to_have_text(f"{views:,}", timeout=20_000)
    expect(page.get_by_test_id("past-views-change")).to_have_text("– nothing to compare with")
    # Only the last two of the five days before are stored.
    pairs = [
        (sum(month.views[last - n * day]), sum(month.views[last - (n + 5) * day])) for n in (0, 1)
    ]
    assert [row[5] for row in cells(page, "days")] == [*(changed(*two) for two in pairs), *"–––"]


def test_the_zone_and_the_period_are_chosen_and_every_card_obeys(
    stack: Stack, month: Month, open_in: Callable[..., Page]
) -> None:
    page = open_in(HERE)
    stack.api.request(
        "POST",
        f"/v1/spaces/{month.space}/marks",
        body={"text": "<b>Release</b> 2.3"},
        token=stack.api.token,
    )
    expect(page.locator("#days-zone")).to_have_text(f"Last 28 days · {HERE}")
    expect(page.locator("#heat-zone")).to_contain_text(HERE)
    page.get_by_test_id("zone").select_option("UTC")
    expect(page.locator("#days-zone")).to_have_text("Last 28 days · UTC", timeout=20_000)
    expect(page.locator("#heat-zone")).to_contain_text("UTC")
    expect(page.get_by_test_id("days")).to_be_visible()
    expect(page.get_by_test_id("zone-days")).to_be_hidden()
    expect(page.get_by_test_id("past-marks")).to_contain_text("<b>Release</b> 2.3")

    page.get_by_test_id("period").select_option("week")
    expect(page.locator("#past-title")).to_have_text("Last 7 days", timeout=20_000)
    expect(page.locator("#past-key-usual")).to_contain_text("4 weeks", timeout=20_000)
    page.get_by_test_id("compare").select_option("week")
    expect(page.locator("#past-key-before")).to_have_text("A week earlier", timeout=20_000)
    settings = parse_qs(urlsplit(page.url).fragment)
    assert (settings["period"], settings["compare"]) == (["week"], ["week"])
    page.get_by_test_id("compare").select_option("none")
    expect(page.locator("#past-key-before")).to_be_hidden(timeout=20_000)
    page.reload()
    expect(page.get_by_test_id("period")).to_have_value("week", timeout=20_000)
    expect(page.get_by_test_id("zone")).to_have_value("UTC")
    page.get_by_test_id("period").select_option("custom")
    expect(page.get_by_label("From", exact=True)).to_be_visible()
    yesterday = (month.today - timedelta(days=1)).isoformat()
    page.get_by_label("To", exact=True).fill(yesterday)
    page.get_by_label("From", exact=True).fill(yesterday)
    eventually(lambda: f"from={yesterday}&to={yesterday}" in page.url, 10)


def test_the_peak_of_a_period_is_marked_and_in_words(
    month: Month, open_in: Callable[..., Page]
) -> None:
    first, last = month.today - timedelta(days=5), month.today - timedelta(days=4)
    page = open_in("UTC", f"&period=custom&from={first}&to={last}")
    people = month.people[first] + month.people[last]
    most = max(people) + 2
    expect(page.get_by_test_id("past-key-peak")).to_contain_text(
        f"Peak: {most} people, ", timeout=20_000
    )
    chart = page.get_by_test_id("past")
    chart.focus()
    chart.press("Home")
    pages, rest = divmod(people.index(max(people)), 60)
    for key, times in (("PageUp", pages), ("ArrowRight", rest)):
        for _ in range(times):
            chart.press(key)
    expect(chart).to_have_attribute("aria-valuetext", re.compile(rf" · peak: {most}\b"))
    x, _ = place_of_peak(page, "past")
    assert x == pytest.approx(people.index(max(people)) / len(people), abs=0.02)


def test_spaces_above_their_usual_are_named_and_those_without_weeks_are_not(
    stack: Stack, month: Month, spaces: Callable[..., str], open_in: Callable[..., Page]
) -> None:
    new = spaces("new")
    for number in range(50):
        rest = {"visitorId": f"v{number}", "state": "hidden"}
        stack.api.beat(month.space, f"tab-{number}", **rest)
        if number < 6:
            stack.api.beat(new, f"tab-{number}", **rest)
    page = open_in("UTC")
    row = page.get_by_test_id("space-row")
    page.goto(f"{stack.outputs['dashboardUrl']}&view=spaces&q={month.space}")

    def shown() -> tuple[str, str]:
        """What the screen says, and what it should."""
        now = datetime.now(UTC)
        quarter = (now.hour * 60 + now.minute) // 15
        weeks = [month.people[now.date() - timedelta(days=7 * n)][quarter] for n in range(1, 5)]
        _, median, high = statistics.quantiles(weeks, method="inclusive")
        assert max(high, 1.5 * median) < 50
        times = math.floor(500 / median + 0.5) / 10
        return row.get_by_test_id("rise").inner_text(), f"↑ {times:g}× usual"

    expect(row).to_contain_text("50", timeout=15_000)
    eventually(lambda: len(set(shown())) == 1, 40, shown)
    expect(row.get_by_test_id("rise")).to_have_attribute("title", re.compile("half of 4 weeks"))

    with page.expect_response(re.compile(r"/history\?.*usual=true"), timeout=20_000):
        page.goto(f"{stack.outputs['dashboardUrl']}&view=spaces&q={new}")
    expect(row).to_contain_text("6")
    expect(row.get_by_test_id("rise")).to_be_empty()
