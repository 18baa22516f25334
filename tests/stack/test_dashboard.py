"""The dashboard in a real browser."""

from __future__ import annotations

import csv
import gzip
import json
import re
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from playwright.sync_api import (
    Browser,
    ConsoleMessage,
    Download,
    Locator,
    Page,
    Request,
    Route,
    ViewportSize,
    WebSocketRoute,
    expect,
)

from lab.harness.clients import Api, beat, eventually, path_of
from local import bench_dashboard
from local.bundle import Bundler
from tests.stack.conftest import Stack

pytestmark = [pytest.mark.stack, pytest.mark.browser]

# The browser's own messages for a socket that can't be opened and for an answer other than 2xx.
NETWORK_NOISE = re.compile(r"^(WebSocket connection to|Failed to load resource)")
REPORT_VIOLATIONS = """
  addEventListener('securitypolicyviolation', ({ violatedDirective, blockedURI }) =>
    console.error(`CSP violation: ${violatedDirective} ${blockedURI}`));
"""


@dataclass
class Watched:
    """A page, its console errors, and all hosts it requested."""

    page: Page
    origin: str
    complaints: list[str] = field(default_factory=list)
    hosts: set[str] = field(default_factory=set)

    def watch(self) -> None:
        """Record from now on."""
        self.page.on("console", self._console)
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.on("request", self._request)
        self.page.on("websocket", lambda socket: self.hosts.add(urlsplit(socket.url).netloc))
        self.page.add_init_script(REPORT_VIOLATIONS)

    def open(self, stack: Stack, space: str, rest: str = "") -> None:
        """The dashboard's own URL, with the space added, and any other settings."""
        self.page.goto(f"{stack.outputs['dashboardUrl']}&space={space}{rest}")

    def open_view(self, stack: Stack, view: str, rest: str = "") -> None:
        """The dashboard on one of its views."""
        self.page.goto(f"{stack.outputs['dashboardUrl']}&view={view}{rest}")

    def answers(self, path: str, body: Any) -> None:
        """Answer requests for this path with a body, or with a function's result."""

        def answer(route: Route) -> None:
            made = body(route.request) if callable(body) else body
            route.fulfill(json={"success": True, **made})

        self.page.route(re.compile(path), answer)

    def tab(self, name: str) -> None:
        """Open a tab of the space."""
        self.page.locator("#tabs").get_by_role("link", name=name, exact=True).click()

    def choose(self, action: str) -> None:
        """Choose from the menu of actions."""
        self.page.get_by_test_id("menu-open").click()
        self.page.get_by_test_id("menu").get_by_text(action, exact=True).click()

    def saves(self, name: str) -> list[list[str]]:
        """The rows of the CSV file that the only visible button of that name saves."""
        with self.page.expect_download() as saved:
            self.page.locator(f'[data-csv="{name}"]').click()
        return rows_of(saved.value)

    def shows(self, name: str, text: str, within: float = 3) -> None:
        """Wait for a number on the page."""
        expect(self.page.get_by_test_id(name)).to_have_text(text, timeout=within * 1000)

    def _console(self, message: ConsoleMessage) -> None:
        if message.type in ("error", "warning"):
            self.complaints.append(message.text)

    def _request(self, request: Request) -> None:
        url = urlsplit(request.url)
        if url.scheme in ("http", "https", "ws", "wss"):
            self.hosts.add(url.netloc)


def rows_of(download: Download) -> list[list[str]]:
    """The rows of a downloaded CSV file."""
    text = Path(download.path()).read_text(encoding="utf-8-sig")
    return list(csv.reader(text.splitlines()))


def fits_its_window(page: Page) -> None:
    """No element needs sideways scrolling, once charts have followed the window's new size."""

    def too_wide() -> Any:
        return page.evaluate(
            """() => document.documentElement.scrollWidth <= innerWidth ? [] :
              [...document.querySelectorAll('main *')]
                .filter((node) => node.getBoundingClientRect().right > innerWidth)
                .map((node) => node.outerHTML.slice(0, 120))"""
        )

    eventually(lambda: too_wide() == [], 5, too_wide)


@pytest.fixture
def watched(browser: Browser, stack: Stack) -> Iterator[Watched]:
    """A fresh tab that must log no error and request nothing outside the stack."""
    context = browser.new_context()
    watched = Watched(context.new_page(), stack.outputs["origin"])
    watched.watch()
    yield watched
    context.close()
    assert [words for words in watched.complaints if not NETWORK_NOISE.match(words)] == []
    assert watched.hosts <= {urlsplit(watched.origin).netloc}


def test_the_number_changes_without_a_reload(
    stack: Stack, api: Api, space: str, watched: Watched
) -> None:
    watched.open(stack, space)
    watched.shows("people", "0", within=10)
    watched.shows("connection", "Live", within=10)
    expect(watched.page.get_by_test_id("empty")).to_be_visible()

    api.beat(space, "tab-1", userId="u1", name="Uma", page="/pricing")

    watched.shows("people", "1")
    watched.shows("signed-in", "1")
    watched.shows("anonymous", "0")
    watched.shows("sessions", "1")
    watched.shows("peak", "1")
    expect(watched.page.get_by_test_id("empty")).to_be_hidden()
    expect(watched.page.get_by_test_id("arrived")).to_have_text(
        "✓ It works: the first visitor is here."
    )
    expect(watched.page.get_by_test_id("as-of")).to_contain_text("As of")
    expect(watched.page.get_by_test_id("error")).to_be_hidden()
    assert watched.complaints == []


def test_pages_and_sessions_are_listed(
    stack: Stack, api: Api, space: str, watched: Watched
) -> None:
    watched.open(stack, space)
    watched.shows("connection", "Live", within=10)
    for number, page in enumerate(["/docs", "/docs", "/blog"]):
        api.beat(space, f"tab-{number}", visitorId=f"v{number}", page=page)

    watched.shows("people", "3")
    rows = watched.page.get_by_test_id("top-pages").get_by_test_id("top-page")
    expect(rows).to_have_count(2)
    expect(rows.first).to_contain_text("/docs")
    expect(rows.first).to_contain_text("2")
    expect(watched.page.get_by_test_id("timeline")).to_be_visible()
    watched.tab("People")
    viewers = watched.page.get_by_test_id("viewers").get_by_test_id("viewer")
    expect(viewers).to_have_count(3, timeout=8000)

    api.leave(space, "tab-2")
    expect(viewers).to_have_count(2, timeout=8000)
    watched.tab("Live")
    watched.shows("people", "2")
    expect(rows).to_have_count(1)
    assert watched.complaints == []


def test_names_are_shown_as_text(stack: Stack, api: Api, space: str, watched: Watched) -> None:
    words = "<img src=x onerror=alert(1)>"
    api.beat(space, "tab-1", userId="u1", name=words, page="/<script>alert(1)</script>")

    watched.open(stack, space)

    expect(watched.page.get_by_test_id("top-page")).to_contain_text("<script>", timeout=10_000)
    watched.tab("People")
    expect(watched.page.get_by_test_id("viewer")).to_contain_text(words, timeout=10_000)
    assert watched.complaints == []


def test_another_space_can_be_chosen(
    stack: Stack, api: Api, spaces: Callable[[str], str], watched: Watched
) -> None:
    one, other = spaces("one"), spaces("other")
    for number in range(2):
        api.beat(other, f"tab-{number}")
    watched.open(stack, one)
    watched.shows("people", "0", within=10)

    box = watched.page.get_by_test_id("space-input")
    box.fill(other)
    box.press("Enter")

    watched.shows("people", "2", within=5)
    watched.shows("connection", "Live", within=5)
    api.beat(one, "tab-9")
    api.beat(other, "tab-2")
    watched.shows("people", "3")


def test_a_space_is_found_by_the_part_behind_the_colon_and_a_wrong_name_is_called_so(
    stack: Stack, api: Api, spaces: Callable[..., str], watched: Watched
) -> None:
    page = watched.page
    busy, quiet = spaces("busy", "course"), spaces("quiet")
    api.beat(busy, "tab-1")
    api.beat(quiet, "tab-1")
    api.leave(quiet, "tab-1")
    eventually(lambda: api.headcount(quiet)["version"] > 0, 10)
    page.goto(f"{stack.outputs['dashboardUrl']}&space={busy.split(':')[1]}")
    watched.shows("title", busy, within=12)

    for name, at in (("nothing at all", ""), ("stk-nothing", "&view=spaces")):
        page.goto(f"{stack.outputs['dashboardUrl']}{at}" + ("" if at else f"&space={name}"))
        if at:
            page.get_by_test_id("space-input").fill(name)
            page.keyboard.press("Enter")
        problem = page.get_by_test_id("space-problem")
        expect(problem).to_contain_text(f"There is no space “{name}”", timeout=12_000)
        expect(problem).to_contain_text("kind:id")
        watched.shows("title", "Spaces")

    # Nobody is there now, but somebody was.
    page.get_by_test_id("space-input").fill(quiet.split(":")[1])
    page.keyboard.press("Enter")
    watched.shows("title", quiet, within=12)


def test_spaces_are_chosen_from_a_list_with_arrow_keys(
    stack: Stack, api: Api, spaces: Callable[..., str], watched: Watched
) -> None:
    page, box = watched.page, watched.page.get_by_test_id("space-input")
    mark = f"pick{time.time_ns()}"
    one, other = spaces(f"{mark}-a"), spaces(f"{mark}-b")
    for number in range(2):
        api.beat(other, f"tab-{number}", visitorId=f"v{number}")
    api.beat(one, "tab-1")
    watched.open_view(stack, "streams")
    box.fill(mark)
    options = page.get_by_test_id("space-options").get_by_role("option")
    expect(options).to_have_count(2, timeout=12_000)
    expect(options.first).to_have_accessible_name(re.compile(f"{other} +2 people"))
    expect(box).to_have_attribute("aria-expanded", "true")
    box.press("ArrowDown")
    box.press("ArrowDown")
    expect(page.get_by_role("option", selected=True).filter(visible=True)).to_contain_text(one)
    box.press("Escape")
    expect(options.first).to_be_hidden()
    box.press("ArrowDown")
    box.press("ArrowDown")
    box.press("Enter")
    watched.shows("title", other, within=10)
    watched.shows("people", "2", within=8)
    expect(box).to_have_value("")


def test_a_space_has_a_heading_and_tabs_that_are_links(
    stack: Stack, api: Api, space: str, watched: Watched
) -> None:
    page = watched.page
    api.beat(space, "tab-1", userId="u1", name="Uma", page="/a")
    watched.open(stack, space)
    expect(page.get_by_role("heading", level=1)).to_have_text(space, timeout=10_000)
    watched.shows("people", "1", within=10)
    expect(page).to_have_title(f"1 · {space} — Headcount")
    tabs = page.locator("#tabs").get_by_role("link")
    expect(tabs.filter(visible=True)).to_have_text(["Live", "History", "People"])
    shown = {"Live": "top-pages", "History": "heat", "People": "viewer"}
    for name in ("People", "History", "Live"):
        watched.tab(name)
        expect(page.locator("#tabs [aria-current]")).to_have_text(name)
        for one, card in shown.items():
            expect(page.get_by_test_id(card)).to_be_visible(visible=one == name, timeout=10_000)
    watched.tab("History")
    assert parse_qs(urlsplit(page.url).fragment) == {"space": [space], "tab": ["history"]}
    page.reload()
    expect(page.get_by_test_id("heat")).to_be_visible(timeout=10_000)
    page.go_back()
    expect(page.get_by_test_id("top-pages")).to_be_visible(timeout=10_000)


@pytest.mark.parametrize(
    "link", ["days History days", "hours History heat", "sessions People viewers"]
)
def test_links_to_a_section_land_on_its_card_although_content_comes_late(
    stack: Stack, api: Api, space: str, watched: Watched, link: str
) -> None:
    section, tab, card = link.split()
    page = watched.page
    for number in range(12):
        api.beat(space, f"tab-{number}", userId=f"u{number}")
    eventually(lambda: api.headcount(space)["people"] == 12, 10)
    page.set_viewport_size({"width": 900, "height": 400})
    late: list[Route] = []

    released = False

    def keep(route: Route) -> None:
        if released:
            route.continue_()
        else:
            late.append(route)

    page.route(re.compile("/(timeline|history|days|viewers)"), keep)
    watched.open(stack, space, f"&section={section}")
    expect(page.locator("#tabs [aria-current]")).to_have_text(tab, timeout=10_000)
    watched.shows("people", "12", within=10)
    eventually(lambda: late, 10)
    released = True
    for route in late:
        route.continue_()
    if section == "sessions":
        expect(page.get_by_test_id("viewer")).to_have_count(12, timeout=10_000)
    else:
        expect(page.locator("#heat-note")).to_contain_text("in this period", timeout=10_000)

    def place() -> Any:
        return page.evaluate(
            """id => {
              const { top } = document.getElementById(id).getBoundingClientRect();
              const { scrollHeight } = document.documentElement;
              return { top, ends: scrollY + innerHeight >= scrollHeight - 1 };
            }""",
            f"{card}-title",
        )

    def landed() -> bool:
        at = place()
        return bool(abs(at["top"] - 16) < 2 or (at["ends"] and 16 <= at["top"] < 400))

    eventually(landed, 10, last=place)


def test_a_token_that_may_only_see_people_lands_on_people(
    stack: Stack, space: str, watched: Watched
) -> None:
    page = watched.page
    token = stack.token(sub="stk-friend", headcount_scopes="people:u:stk-ada")
    page.goto(f"{watched.origin}/dashboard#token={token}")
    watched.shows("title", "People", within=10)
    expect(page.get_by_test_id("space-input")).to_be_hidden()
    expect(page.get_by_test_id("error")).to_be_hidden()
    assert "view=people" in page.url


def test_without_a_socket_the_dashboard_polls(
    stack: Stack, api: Api, space: str, watched: Watched
) -> None:
    cut = False
    routes: list[WebSocketRoute] = []

    def route(socket: WebSocketRoute) -> None:
        if cut:
            socket.close()
        else:
            socket.connect_to_server()
            routes.append(socket)

    watched.page.route_web_socket(re.compile(".*"), route)
    watched.open(stack, space)
    watched.shows("connection", "Live", within=10)

    cut = True
    for socket in routes:
        socket.close()
    api.beat(space, "tab-1")
    connection = watched.page.get_by_test_id("connection")
    expect(connection).to_contain_text("Polling", timeout=10_000)
    watched.shows("people", "1", within=8)
    api.beat(space, "tab-2")
    watched.shows("people", "2", within=8)

    cut = False
    watched.shows("connection", "Live", within=35)


def test_a_lower_version_is_shown_only_if_it_is_later(
    stack: Stack, api: Api, space: str, watched: Watched
) -> None:
    """Later: the numbers were restored from a backup, and versions restarted."""
    received: list[Any] = []
    late: list[bool] = []
    sockets: list[WebSocketRoute] = []

    def route(socket: WebSocketRoute) -> None:
        def record(frame: str | bytes) -> None:
            received.append(json.loads(frame))
            if not late:
                socket.send(frame)

        socket.connect_to_server().on_message(record)
        sockets.append(socket)

    watched.page.route_web_socket(re.compile(".*"), route)
    watched.open(stack, space)
    watched.shows("connection", "Live", within=10)
    for number in (1, 2):
        api.beat(space, f"tab-{number}")
        watched.shows("people", str(number), within=8)
    last = [message for message in received if message["type"] == "headcount"][-1]

    def say(version: int, *, seconds: float, people: int) -> None:
        at = datetime.fromisoformat(last["asOf"]) + timedelta(seconds=seconds)
        as_of = at.isoformat(timespec="milliseconds").replace("+00:00", "Z")
        data = {**last["data"], "people": people, "version": version, "asOf": as_of}
        sockets[-1].send(json.dumps({**last, "version": version, "asOf": as_of, "data": data}))

    say(last["version"] - 1, seconds=-1, people=41)
    watched.page.wait_for_timeout(200)
    watched.shows("people", "2")
    late.append(True)
    api.beat(space, "tab-3")
    eventually(lambda: api.headcount(space)["people"] == 3, 10)
    watched.page.get_by_role("button", name="Refresh now").click()
    watched.shows("people", "3")
    say(last["version"], seconds=0.001, people=42)  # from before the read
    watched.page.wait_for_timeout(200)
    watched.shows("people", "3")
    say(1, seconds=60, people=43)
    watched.shows("people", "43")
    say(2, seconds=61, people=44)
    watched.shows("people", "44")


def test_a_bad_token_leads_to_the_form_and_a_good_one_opens(
    stack: Stack, space: str, watched: Watched
) -> None:
    page = watched.page
    page.goto(f"{watched.origin}/dashboard#space={space}")
    form = page.get_by_test_id("token-form")
    expect(form).to_be_visible()

    form.get_by_role("textbox").fill("not.a.token")
    form.get_by_role("button").click()
    # Three reads are refused at once: the last may show only its status, 401.
    expect(page.get_by_test_id("error")).to_contain_text(re.compile("token"), timeout=8000)
    expect(form).to_be_visible()

    form.get_by_role("textbox").fill(stack.outputs["adminToken"])
    form.get_by_role("button").click()
    watched.shows("people", "0", within=8)
    watched.shows("connection", "Live", within=8)
    expect(page.get_by_test_id("error")).to_be_hidden()
    assert stack.outputs["adminToken"] not in page.url


def test_the_token_does_not_stay_in_the_address(stack: Stack, space: str, watched: Watched) -> None:
    watched.open(stack, space)
    watched.shows("connection", "Live", within=10)

    assert json.dumps(stack.outputs["adminToken"])[1:-1] not in watched.page.url


# --------------------------------------------------------------------------------------- all spaces


def test_spaces_are_searched_by_name_and_kind_and_open_by_a_link(
    stack: Stack, api: Api, spaces: Callable[..., str], watched: Watched
) -> None:
    crowded, quiet = spaces("crowded"), spaces("quiet", "course")
    for number in range(3):
        api.beat(crowded, f"tab-{number}")
    api.beat(quiet, "tab-1")
    watched.open_view(stack, "spaces", "&q=stk-")
    rows = watched.page.get_by_test_id("space-row")
    expect(rows.filter(has_text=crowded)).to_contain_text("3", timeout=12_000)
    expect(rows.filter(has_text=quiet)).to_be_visible(timeout=12_000)

    watched.page.get_by_role("button", name="course", exact=True).click()
    expect(rows.filter(has_text=crowded)).to_have_count(0)
    watched.page.locator("#spaces-search").fill("no such space")
    expect(watched.page.get_by_test_id("spaces-empty")).to_contain_text("Clear the search")
    watched.page.locator("#spaces-search").fill(quiet)
    expect(rows).to_have_count(1)
    assert parse_qs(urlsplit(watched.page.url).fragment)["kind"] == ["course"]
    assert [row[0] for row in watched.saves("spaces")] == ["space", quiet]

    rows.get_by_role("link").click()
    watched.shows("people", "1", within=8)
    watched.page.go_back()
    expect(rows).to_have_count(1)


def test_an_empty_screen_has_a_snippet_to_copy_and_turns_green_at_the_first_beat(
    stack: Stack, watched: Watched
) -> None:
    page = watched.page
    one = {"people": 1, "sessions": 1, "signedIn": 0, "anonymous": 1, "peak": None}
    here: list[dict[str, Any]] = []
    kinds = [{"kind": "site", "spaces": []}]
    watched.answers("/v1/spaces$", lambda _: {"spaces": here, "kinds": kinds})
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    watched.open_view(stack, "spaces")
    snippet = f'<script type="module" src="{watched.origin}/headcount.js" data-space="site:main">'
    expect(page.get_by_test_id("first-snippet")).to_contain_text(snippet, timeout=10_000)
    expect(page.get_by_test_id("spaces-arrived")).to_be_hidden()
    page.get_by_role("button", name="Copy").click()
    expect(page.get_by_role("button", name="Copied")).to_be_visible()
    assert page.evaluate("navigator.clipboard.readText()") == f"{snippet}</script>"
    here.append({"space": "site:main", "asOf": minutes_ago(0), **one})
    arrived = page.get_by_test_id("spaces-arrived")
    expect(arrived).to_have_text("✓ It works: 1 person in site:main.", timeout=12_000)
    expect(page.get_by_test_id("first-snippet")).to_be_hidden()


def test_what_the_stack_cost_yesterday_is_estimated_beside_the_spaces(
    stack: Stack, watched: Watched
) -> None:
    (daily,) = [
        one["FunctionName"]
        for one in stack.client("lambda").list_functions()["Functions"]
        if "DailyFunction" in one["FunctionName"]
    ]
    stack.client("lambda").invoke(FunctionName=daily, Payload=b"{}")
    (day,) = stack.api.get("/v1/costs").body["days"]
    watched.open_view(stack, "spaces")
    shown = watched.page.get_by_test_id("all-cost")
    expect(shown).to_contain_text(f"${day['dollars']:.2f} on {day['date']}", timeout=12_000)


# -------------------------------------------------------------------------------- a space's history


def minutes_ago(minutes: float) -> str:
    return (datetime.now(UTC) - timedelta(minutes=minutes)).isoformat()


def test_the_timeline_is_read_with_keys_over_an_hour_a_day_and_a_week(
    stack: Stack, space: str, watched: Watched
) -> None:
    asked: list[float] = []

    def timeline(request: Request) -> dict[str, Any]:
        query = parse_qs(urlsplit(request.url).query)
        first, last = (datetime.fromisoformat(query[name][0]) for name in ("from", "to"))
        asked.append(round((last - first) / timedelta(hours=1)))
        points = [{"at": minutes_ago(n), "people": n, "sessions": 2 * n} for n in range(50, 0, -1)]
        return {"points": points}

    watched.answers("/timeline", timeline)
    watched.open(stack, space)
    slider = watched.page.get_by_test_id("timeline")
    watched.shows("trend", "▼ 10 fewer than 10 minutes ago", within=10)

    slider.focus()
    slider.press("Home")
    slider.press("End")
    slider.press("ArrowLeft")
    expect(slider).to_have_attribute("aria-valuetext", re.compile("1 person · 2 sessions"))
    expect(slider.locator(".readout")).to_be_visible()
    rows = watched.saves("timeline")
    assert rows[0] == ["at", "people", "sessions"]
    assert ["50", "100"] in [row[1:] for row in rows]

    for name, hours in (("Day", 24), ("Week", 168)):
        watched.page.get_by_role("button", name=name, exact=True).click()
        expect(watched.page.locator("#timeline-title")).to_contain_text(f"{hours % 161}")
        expect(slider).to_have_attribute("aria-valuetext", re.compile("0 people"))
        eventually(lambda hours=hours: hours in asked, 10)
    assert "range=week" in watched.page.url
    assert watched.complaints == []


def test_the_peak_is_marked_on_the_chart_and_in_words(
    stack: Stack, api: Api, space: str, watched: Watched
) -> None:
    watched.answers(
        "/timeline",
        lambda _: {
            "points": [
                {"at": minutes_ago(n), "people": n // 10, "sessions": 9} for n in range(40, 0, -1)
            ]
        },
    )
    watched.open(stack, space)
    page = watched.page
    slider, key = page.get_by_test_id("timeline"), page.get_by_test_id("key-peak")
    expect(key).to_contain_text("Peak: 4 people, ", timeout=15_000)
    slider.focus()
    slider.press("Home")
    slider.press("ArrowRight")
    eventually(lambda: "peak: 4" in heard(slider, 25), 15)
    x, y = place_of_peak(page, "timeline")
    assert x == pytest.approx(20 / 60, abs=0.05)
    assert y == pytest.approx(0, abs=0.05)  # 4 is the top of the scale

    # The space's own peak is exact, and may be between two samples.
    for number in range(6):
        api.beat(space, f"tab-{number}", visitorId=f"v{number}")
    watched.shows("people", "6", within=15)
    for number in range(5):
        api.leave(space, f"tab-{number}")
    watched.shows("people", "1", within=15)
    expect(key).to_contain_text("Peak: 6 people, ", timeout=15_000)
    expect(page.locator("#timeline-summary")).to_contain_text("peak 6 people")
    eventually(lambda: place_of_peak(page, "timeline")[0] > 0.9, 15)
    assert watched.complaints == []


def heard(slider: Locator, steps: int) -> list[str]:
    """What is read of the points from the first one on."""
    slider.press("Home")
    texts = []
    for _ in range(steps):
        texts += (slider.get_attribute("aria-valuetext") or "").split(" · ")
        slider.press("ArrowRight")
    return texts


def place_of_peak(page: Page, chart: str) -> tuple[float, float]:
    """Where a chart's ring is, as shares of its width and height from the top left."""
    over = page.get_by_test_id(chart).locator(".u-over").bounding_box()
    ring = page.get_by_test_id(chart).locator(".summit").bounding_box()
    assert over is not None
    assert ring is not None
    return (
        (ring["x"] + ring["width"] / 2 - over["x"]) / over["width"],
        (ring["y"] + ring["height"] / 2 - over["y"]) / over["height"],
    )


def test_pages_that_rise_are_named_with_what_they_are_compared_with(
    stack: Stack, api: Api, space: str, watched: Watched
) -> None:
    page = watched.page
    page.clock.install()
    for number in range(2):
        api.beat(space, f"tab-{number}", visitorId=f"v{number}", page="/pricing", state="hidden")
    watched.open(stack, space)
    watched.shows("people", "2", within=15)
    watched.shows("connection", "Live", within=15)
    rising = page.get_by_test_id("rising")
    for number in range(2, 7):
        api.beat(space, f"tab-{number}", visitorId=f"v{number}", page="/pricing", state="hidden")
    watched.shows("people", "7", within=15)
    expect(rising).to_be_hidden()  # seconds are too short a time to compare

    page.clock.fast_forward(6 * 60_000)
    api.beat(space, "tab-8", visitorId="v8", page="/docs", state="hidden")
    watched.shows("people", "8", within=15)
    expect(rising).to_have_text(
        re.compile(r"^Rising since \d+:\d\d\D*: /pricing 7 \([012] then\)$"), timeout=15_000
    )
    page.get_by_role("button", name="/docs", exact=True).click()
    expect(rising).to_be_hidden()  # of a part, nothing was seen before


RECORD_LABELS = """
  window.labels = [];
  const { fillText } = CanvasRenderingContext2D.prototype;
  CanvasRenderingContext2D.prototype.fillText = function (text, x, y, ...rest) {
    const { width } = this.measureText(text);
    const before = { center: width / 2, right: width, end: width }[this.textAlign] ?? 0;
    const left = this.getTransform().e + x - before;
    const px = Number(/([\\d.]+)px/.exec(this.font)[1]) / devicePixelRatio;
    labels.push({ text, px, cut: left < 0 || left + width > this.canvas.width });
    return fillText.call(this, text, x, y, ...rest);
  };
"""
THOUSANDS = "labels.some(({ text }) => /^\\d+,000$/.test(text))"
SMALL_TEXTS = """() => [...document.querySelectorAll('body *')]
  .filter((one) => [...one.childNodes].some((node) => node.nodeType === 3 && node.data.trim()))
  .filter((one) => one.checkVisibility() && parseFloat(getComputedStyle(one).fontSize) < 12)
  .map((one) => one.outerHTML.slice(0, 120))"""


@pytest.mark.parametrize("density", [1, 2, 3])
def test_labels_have_12_pixels_and_none_is_cut_on_every_density(
    browser: Browser, stack: Stack, space: str, density: int
) -> None:
    context = browser.new_context(device_scale_factor=density)
    context.add_init_script(RECORD_LABELS)
    watched = Watched(context.new_page(), stack.outputs["origin"])
    watched.watch()
    page = watched.page

    def timeline(request: Request) -> dict[str, Any]:
        query = parse_qs(urlsplit(request.url).query)
        last = datetime.fromisoformat(query["to"][0])
        points = [(last - timedelta(hours=n / 2)).isoformat() for n in range(336, 0, -1)]
        return {"points": [{"at": at, "people": 123_456, "sessions": 1} for at in points]}

    watched.answers("/timeline", timeline)
    for width, span in ((1280, "hour"), (390, "day"), (390, "week")):
        page.set_viewport_size({"width": width, "height": 844})
        page.goto("about:blank")
        watched.open(stack, space, f"&range={span}")
        eventually(lambda: page.evaluate(THOUSANDS), 15, last=lambda: page.evaluate("labels"))
        watched.shows("people", "0", within=10)
        drawn = page.evaluate("labels")
        assert len(drawn) > 4
        assert [one for one in drawn if one["px"] < 12] == []
        assert [one for one in drawn if one["cut"]] == []
        assert page.evaluate(SMALL_TEXTS) == []
    context.close()


# ----------------------------------------------------------------------------------------- sessions


def test_sessions_are_filtered_with_progress_and_quality_and_the_filter_is_a_link(
    stack: Stack, api: Api, space: str, watched: Watched
) -> None:
    api.beat(space, "tab-1", userId="u1", name="Uma", facets={"device": "tablet"}, page="/a")
    api.beat(space, "tab-2", quality={"bandwidth": 4200}, facets={"quality": "720p"}, page="/b")
    watched.open(stack, space, "&tab=people&who=anonymous")
    viewers = watched.page.get_by_test_id("viewer")
    expect(viewers).to_have_count(1, timeout=12_000)
    expect(viewers).to_contain_text("720p · 4.2 Mbit/s")
    expect(watched.page.locator("#viewers-count")).to_have_text("1 of 2 sessions")

    watched.page.locator("#viewers-who").select_option("")
    expect(viewers).to_have_count(2, timeout=12_000)
    watched.page.locator("#viewers-search").fill("uma")
    expect(viewers).to_have_count(1, timeout=12_000)
    watched.page.locator("#viewers-search").fill("nobody like that")
    expect(watched.page.locator("#viewers-none")).to_be_visible(timeout=12_000)
    watched.page.get_by_role("button", name="Clear filters").click()
    expect(viewers).to_have_count(2, timeout=12_000)
    watched.page.locator("#viewers-device").select_option("tablet")
    expect(viewers).to_have_count(1, timeout=12_000)
    assert "device=tablet" in watched.page.url


def viewer(number: int, **rest: Any) -> dict[str, Any]:
    """A session as the API lists it."""
    return {
        "sessionId": f"s{number:04}",
        "visitorId": None,
        "userId": None,
        "verified": False,
        "name": None,
        "avatar": None,
        "page": f"/{number}",
        "facets": {},
        "quality": {},
        "engagement": {},
        "details": {},
        "state": "active",
        "joinedAt": minutes_ago(9),
        "lastSeen": minutes_ago(0),
        **rest,
    }


def thousand_sessions(request: Request) -> dict[str, Any]:
    """A page of them; one in ten is on a tablet."""
    query = parse_qs(urlsplit(request.url).query)
    first = int(query.get("cursor", ["0"])[0])
    last = first + int(query["limit"][0])
    devices = ["tablet", *["desktop"] * 9]
    found = [viewer(n, facets={"device": devices[n % 10]}) for n in range(1000)]
    counts: dict[str, int] = {}
    if query.keys() & {"where", "q"}:
        device = query.get("where", ["device:"])[0].removeprefix("device:")
        text = query.get("q", [""])[0]
        found = [
            one
            for one in found
            if text in one["sessionId"] and (not device or one["facets"]["device"] == device)
        ]
        counts = {"total": len(found), "of": 1000}
    cursor = str(last) if last < len(found) else None
    return {"viewers": found[first:last], "cursor": cursor, **counts}


def test_a_filter_is_for_all_sessions_and_not_for_the_first_hundred(
    stack: Stack, api: Api, space: str, watched: Watched
) -> None:
    api.beat(space, "tab-1")
    watched.answers("/viewers", thousand_sessions)
    count = watched.page.locator("#viewers-count")
    watched.open(stack, space, "&tab=people&device=tablet")
    expect(count).to_have_text("1–50 of 100 matches in 1,000 sessions", timeout=20_000)
    watched.page.reload()  # without a filter, the first hundred are read
    watched.page.locator("#viewers-device").select_option("")
    watched.page.locator("#viewers-search").fill("s0997")
    expect(watched.page.get_by_test_id("viewer")).to_have_count(1, timeout=20_000)


def test_a_thousand_sessions_are_shown_fifty_at_a_time(
    stack: Stack, api: Api, space: str, watched: Watched
) -> None:
    api.beat(space, "tab-1")
    watched.answers("/viewers", thousand_sessions)
    watched.open(stack, space, "&tab=people")
    viewers = watched.page.get_by_test_id("viewer")
    expect(viewers).to_have_count(50, timeout=12_000)
    more = watched.page.get_by_role("button", name="Load more")
    expect(more).to_be_visible()
    for _ in range(4):  # each doubles the rows; the button may be gone by the last
        more.dispatch_event("click")
        watched.page.wait_for_timeout(200)
    expect(more).to_be_hidden(timeout=8000)
    expect(watched.page.locator("#viewers-count")).to_have_text("1–50 of 1,000")
    watched.page.get_by_role("button", name="Next").click()
    expect(viewers.first).to_contain_text("/50")
    expect(viewers).to_have_count(50)
    watched.page.locator("#viewers-search").fill("s0999")
    expect(viewers).to_have_count(1, timeout=12_000)
    expect(watched.page.locator("#viewers-count")).to_have_text("1 of 1,000 sessions")


def test_what_a_spreadsheet_would_run_is_exported_as_text(
    stack: Stack, api: Api, space: str, watched: Watched
) -> None:
    names = ["=1+1", "+1", "-1", "@SUM(A1)", '"quoted", and more', "plain"]
    for number, name in enumerate(names):
        api.beat(space, f"tab-{number}", userId=f"u{number}", name=name)
    watched.open(stack, space, "&tab=people")
    expect(watched.page.get_by_test_id("viewer")).to_have_count(len(names), timeout=12_000)

    head, *rows = watched.saves("viewers")
    exported = {row[head.index("user")]: row[head.index("name")] for row in rows}
    assert [exported[f"u{number}"] for number in range(len(names))] == [
        *("'=1+1", "'+1", "'-1", "'@SUM(A1)", '"quoted", and more', "plain"),
    ]


# --------------------------------------------------------------------------- pausing, stale numbers


def test_a_paused_space_does_not_change_and_shows_what_waits(
    stack: Stack, api: Api, space: str, watched: Watched
) -> None:
    api.beat(space, "tab-1")
    watched.open(stack, space)
    watched.shows("connection", "Live", within=10)
    watched.shows("people", "1", within=8)

    watched.page.get_by_test_id("pause").click()
    api.beat(space, "tab-2")
    expect(watched.page.get_by_test_id("as-of")).to_contain_text("newer version", timeout=8000)
    expect(watched.page.get_by_test_id("as-of")).to_contain_text("Paused")
    watched.shows("people", "1")

    watched.page.get_by_test_id("refresh").click()
    watched.shows("people", "2")
    expect(watched.page.get_by_test_id("as-of")).to_contain_text("Paused")
    api.beat(space, "tab-3")
    expect(watched.page.get_by_test_id("as-of")).to_contain_text("1 newer version", timeout=8000)
    watched.page.get_by_test_id("pause").click()
    watched.shows("people", "3")
    expect(watched.page.get_by_test_id("as-of")).to_contain_text("As of")


ACTIVITY = {
    "id": "live_u1_s1",
    "userId": "u1",
    "sessionId": "s1",
    "activityType": "watching",
    "contentId": "12345",
    "contentTitle": "Example Movie",
    "contentType": "movie",
    "seasonNumber": 1,
    "episodeNumber": 2,
    "currentPosition": 1800,
    "duration": 3600,
    "quality": "1080p",
    "deviceType": "desktop",
    "country": "US",
    "isActive": True,
}


def activities(watching: int, browsing: int) -> dict[str, Any]:
    """An answer of GET /api/analytics/live-activity."""
    now = int(time.time() * 1000)
    times = dict.fromkeys(("startedAt", "lastHeartbeat", "createdAt", "updatedAt"), now)
    here = [
        {**ACTIVITY, **times, "sessionId": f"s{n}"}
        if n < watching
        else {**ACTIVITY, **times, "sessionId": f"s{n}", "activityType": "browsing"}
        for n in range(watching + browsing)
    ]
    countries = {"US": 3, "GB": 2, "CA": 2, "DE": 1, "FR": 1, "JP": 1}
    content = {**{name: ACTIVITY[name] for name in ("contentId", "contentTitle", "contentType")}}
    return {
        "activities": here,
        "stats": {
            "totalActive": len(here),
            "watching": watching,
            "browsing": browsing,
            "byDevice": {"desktop": 3, "mobile": 1},
            "byCountry": countries,
            "topContent": [{**content, "count": watching}],
        },
    }


def test_admin_live_is_the_old_screen_refreshed_every_five_seconds(
    stack: Stack, watched: Watched
) -> None:
    answer = activities(3, 1)
    reads: list[float] = []

    def read(_: Request) -> dict[str, Any]:
        reads.append(time.monotonic())
        return answer

    watched.answers("/api/analytics/live-activity", read)
    page = watched.page
    page.goto(f"{watched.origin}/admin/live#token={stack.outputs['adminToken']}")
    numbers = {"active": "4", "watching": "3", "browsing": "1", "devices": "2"}
    for name, number in numbers.items():
        watched.shows(f"live-{name}", number, within=10)
    assert urlsplit(page.url).path == "/admin/live"
    expect(page.get_by_role("table", name="Device Breakdown")).to_contain_text("75%")
    expect(page.get_by_role("table", name="Top 5 Countries").locator("tbody tr")).to_have_count(5)
    expect(page.get_by_role("table", name="Most Watched Right Now")).to_contain_text(
        "Example Movie"
    )
    session = page.get_by_test_id("activity").first
    for words in ("movie · S1 E2", "30:00 / 1:00:00", "1080p", "Desktop", "United States", "ago"):
        expect(session).to_contain_text(words)
    expect(session.get_by_role("progressbar")).to_have_attribute("value", "0.5")
    expect(page.get_by_test_id("as-of")).to_contain_text("refreshed every 5 s")

    answer = activities(0, 2)
    watched.shows("live-watching", "0", within=8)

    page.get_by_test_id("pause").click()
    answer = activities(5, 0)
    paused_at = len(reads)
    page.wait_for_timeout(5500)
    watched.shows("live-watching", "0")
    assert len(reads) == paused_at
    page.get_by_test_id("refresh").click()
    watched.shows("live-watching", "5")
    answer = activities(6, 0)
    page.get_by_test_id("pause").click()
    watched.shows("live-watching", "6")

    page.locator("#live-kind").select_option("browsing")
    expect(page.locator("#live-none")).to_be_visible()
    page.locator("#live-kind").select_option("")
    assert len(watched.saves("live")) == 7
    assert watched.saves("live-country")[1] == ["US", "3"]
    assert watched.complaints == []


def test_heartbeats_of_the_old_client_reach_admin_live(
    stack: Stack, api: Api, watched: Watched
) -> None:
    user = f"stk-{time.time_ns()}"
    heartbeat = {"userId": user, "sessionId": "s1", "activityType": "browsing"}
    answer = api.request("POST", "/api/analytics/live-activity", body=heartbeat)
    assert answer.status == 200
    watched.open_view(stack, "live", f"&q={user}")
    expect(watched.page.get_by_test_id("activity")).to_have_count(1, timeout=12_000)
    person = watched.page.get_by_test_id("activity").get_by_role("link")
    expect(person).to_have_text(f"{user} (not verified)")
    expect(person).to_have_attribute("href", f"/dashboard#view=people&person=c:{user}")


def test_numbers_that_can_not_be_refreshed_are_called_out_of_date(
    stack: Stack, watched: Watched
) -> None:
    cut = False
    path = re.compile("/api/analytics/live-activity")
    watched.page.route(
        path,
        lambda route: (
            route.abort() if cut else route.fulfill(json={"success": True, **activities(1, 0)})
        ),
    )
    watched.page.clock.install()
    watched.open_view(stack, "live")
    watched.shows("live-active", "1", within=10)
    cut = True
    watched.page.clock.run_for(21_000)
    expect(watched.page.get_by_test_id("as-of")).to_contain_text("Out of date", timeout=8000)
    watched.shows("live-active", "1")
    cut = False
    watched.page.clock.run_for(6_000)
    expect(watched.page.get_by_test_id("as-of")).to_contain_text("refreshed every", timeout=8000)


def test_an_error_shows_the_servers_message(stack: Stack, watched: Watched) -> None:
    words = "The table is being restored: try again in a minute."
    watched.page.route(
        re.compile("/api/streams$"),
        lambda route: route.fulfill(status=503, json={"success": False, "error": words}),
    )
    watched.open_view(stack, "streams")
    expect(watched.page.get_by_test_id("error")).to_have_text(words, timeout=10_000)


def test_a_space_that_does_not_exist_leaves_no_error_behind(stack: Stack, watched: Watched) -> None:
    page = watched.page
    watched.open_view(stack, "connection")
    watched.shows("connection", "Live", within=10)
    page.evaluate("location.hash = '#space=nothing:1'")
    expect(page.get_by_test_id("error")).to_contain_text("not declared", timeout=10_000)
    page.go_back()
    # To subscribe was refused, and so is to unsubscribe, once another view is open.
    refused = page.locator("#events li").filter(has_text="not declared")
    expect(refused).to_have_count(2, timeout=20_000)
    expect(page.get_by_test_id("error")).to_be_hidden()


# -------------------------------------------------------------------------------- kinds and groups

ROLLUP = {
    "kind": None,
    "group": None,
    "people": 1234,
    "signedIn": 1000,
    "anonymous": 234,
    "sessions": 2345,
    "peak": {"people": 5678, "at": "2026-11-20T10:00:00.000Z"},
    "spaces": 17,
    "asOf": "2026-11-21T10:00:00.000Z",
}


def test_kinds_and_groups_are_listed_groups_first_without_unused_kinds(
    stack: Stack, watched: Watched
) -> None:
    listed = [
        {**ROLLUP, "space": "~kind:course", "kind": "course", "people": 7, "spaces": 3},
        {**ROLLUP, "space": "~kind:link", "kind": "link", "people": 0, "peak": None},
        {**ROLLUP, "space": "~kind:site", "kind": "site", "people": 9},
        {**ROLLUP, "space": "~group:all", "group": "all"},
    ]
    watched.answers("/v1/rollups$", {"rollups": listed})
    watched.open_view(stack, "spaces")
    rows = watched.page.get_by_test_id("rollup-row")
    expect(rows).to_have_count(3, timeout=12_000)
    expect(rows.locator("td:nth-child(1)")).to_have_text(["allgroup", "sitekind", "coursekind"])
    numbers = ["1,234", "1,000", "234", "2,345", "17", "5,678"]
    expect(rows.first.locator("td:not(:first-child)")).to_have_text(numbers)
    expect(watched.page.locator("#all-people-once")).to_contain_text("1,234 distinct")
    head, first, *_ = watched.saves("rollups")
    numbers = ["1234", "1000", "234", "2345", "17", "5678"]
    assert first == ["", "all", *numbers, ROLLUP["asOf"]]
    assert head[2:8] == ["people", "signed in", "anonymous", "sessions", "spaces", "peak"]


def test_a_kind_is_live_like_a_space_with_what_it_has(
    stack: Stack, api: Api, spaces: Callable[..., str], watched: Watched
) -> None:
    """Other tests' links may end meanwhile: the numbers are those of the API then, too."""
    page, visitor = watched.page, f"stk-{time.time_ns()}"
    one, other = spaces("once", "link"), spaces("twice", "link")
    api.beat(one, "tab-1", visitorId=visitor)
    watched.open_view(stack, "spaces")
    row = page.get_by_test_id("rollup-row").filter(has_text="link")
    row.get_by_role("link").click(timeout=20_000)
    expect(page.locator("#now-title")).to_have_text("People in the kind link")
    watched.shows("connection", "Live", within=10)

    def shown() -> dict[str, str]:
        names = ("people", "signed-in", "anonymous", "sessions", "peak", "spaces-in")
        return {name: page.get_by_test_id(name).inner_text() for name in names}

    def counted() -> dict[str, str]:
        body = act(api, "GET", "/v1/kinds/link")
        assert body["people"] == body["signedIn"] + body["anonymous"]
        return {
            "people": f"{body['people']:,}",
            "signed-in": f"{body['signedIn']:,}",
            "anonymous": f"{body['anonymous']:,}",
            "sessions": f"{body['sessions']:,}",
            "peak": f"{body['peak']['people']:,}",
            "spaces-in": f"{body['spaces']:,}",
        }

    def sessions_here() -> list[tuple[str, str]]:
        found = act(api, "GET", "/v1/kinds/link/explain?limit=100")["sessions"]
        return sorted((s["space"], s["person"]["id"]) for s in found if s["space"] in (one, other))

    api.beat(other, "tab-2", visitorId=visitor)
    both = sorted([(one, visitor), (other, visitor)])
    eventually(lambda: sessions_here() == both, 15, last=sessions_here)
    eventually(lambda: shown() == counted(), 30, last=lambda: (shown(), counted()))
    assert act(api, "GET", "/v1/kinds/link/explain")["inSeveralSpaces"] >= 1
    for hidden in ("engagement", "share-open", "extras", "empty", "viewers"):
        expect(page.get_by_test_id(hidden)).to_be_hidden()
    expect(page.get_by_test_id("timeline")).to_be_visible()
    expect(page.get_by_test_id("limits")).to_contain_text("Each person counts once")
    assert parse_qs(urlsplit(page.url).fragment)["space"] == ["~kind:link"]

    api.leave(one, "tab-1")
    api.leave(other, "tab-2")
    eventually(lambda: sessions_here() == [], 15, last=sessions_here)
    eventually(lambda: shown() == counted(), 30, last=lambda: (shown(), counted()))
    page.go_back()
    expect(page.get_by_test_id("rollup-row").first).to_be_visible()
    assert watched.complaints == []


def test_without_rollups_their_part_is_not_offered(
    stack: Stack, api: Api, space: str, watched: Watched
) -> None:
    asked: list[str] = []

    def refuse(route: Route) -> None:
        asked.append(route.request.url)
        route.fulfill(status=404, json={"success": False, "error": "There are no roll-ups."})

    api.beat(space, "tab-1")
    watched.page.route(re.compile("/v1/rollups$"), refuse)
    watched.open_view(stack, "spaces", f"&q={space}")
    expect(watched.page.get_by_test_id("space-row")).to_have_count(1, timeout=12_000)
    watched.page.get_by_test_id("refresh").click()
    expect(watched.page.get_by_test_id("rollups")).to_be_hidden()
    expect(watched.page.get_by_test_id("error")).to_be_hidden()
    assert len(asked) == 1


# ------------------------------------------------------------------------------------------- people


def beat_as(stack: Stack, token: str, space: str, session: str, **rest: Any) -> None:
    method, path, message = beat(space, session, **rest)
    assert stack.api.request(method, path, body=message, token=token).status == 200


def test_a_person_is_found_and_followed_live_from_one_page_to_the_next(
    stack: Stack, api: Api, spaces: Callable[..., str], watched: Watched
) -> None:
    page, ada = watched.page, f"stk-ada-{time.time_ns()}"
    site, course = spaces("found"), spaces("found", "course")
    token = stack.token(sub=ada)
    beat_as(stack, token, site, "tab-1", page="/a", state="hidden")
    beat_as(stack, token, course, "tab-2", page="/lesson", state="hidden")
    beat_as(stack, token, course, "tab-3", page="/lesson", state="hidden")
    api.beat(site, "tab-4", userId=ada, state="hidden")  # a longer lease than this test

    def sessions() -> list[int]:
        found = [act(api, "GET", f"/v1/people/{key}%3A{ada}")["spaces"] for key in "uc"]
        return [sum(one["sessions"] for one in here) for here in found]

    eventually(lambda: sessions() == [3, 1], 15, last=sessions)
    lookups: list[str] = []
    page.on("request", lambda one: "/lookup" in one.url and lookups.append(one.url))
    watched.open_view(stack, "people")
    page.get_by_role("searchbox", name="Person").fill(ada)
    page.get_by_role("button", name="Find").click()

    proven, claimed = (page.get_by_test_id("person").filter(has_text=f"{k}:{ada}") for k in "uc")
    expect(proven).to_contain_text("Online", timeout=10_000)
    expect(proven).to_contain_text("in 2 spaces")
    place = proven.get_by_test_id("place")
    in_course = place.filter(has_text=course)
    expect(in_course.locator("td").nth(1)).to_have_text("/lesson")
    expect(in_course.locator("td").nth(2)).to_have_text("2")
    expect(in_course.locator("td").nth(3)).to_have_text("Verified")
    on_site = place.filter(has_text=site).locator("td")
    expect(on_site.nth(1)).to_have_text("/a")
    expect(on_site.nth(4)).to_have_text(re.compile(r"^\d+ "))
    expect(claimed.get_by_test_id("place")).to_contain_text("Not verified")
    watched.shows("connection", "Live", within=10)
    assert parse_qs(urlsplit(page.url).fragment)["person"] == [ada]

    eventually(lambda: len(lookups) >= 2, 5)
    before = len(lookups)
    beat_as(stack, token, site, "tab-1", page="/b", state="hidden")
    expect(on_site.nth(1)).to_have_text("/b", timeout=10_000)
    expect(proven.get_by_role("listitem").first).to_contain_text(f"Moved: {site} /b")
    api.leave(course, "tab-2")
    api.leave(course, "tab-3")
    expect(place).to_have_count(1, timeout=10_000)
    assert [row[1:5] for row in watched.saves("person 0")[1:]] == [[site, "/b", "1", "true"]]
    api.leave(site, "tab-1")
    expect(proven).to_contain_text("Not here", timeout=10_000)
    expect(proven).to_contain_text(re.compile(r"last seen \d+ s ago"))
    expect(claimed).to_contain_text("Online")
    assert len(lookups) == before, "all of that came over the socket"
    assert watched.complaints == []


def test_who_is_searched_next_is_followed_too(
    stack: Stack, api: Api, space: str, watched: Watched
) -> None:
    page, user = watched.page, f"stk-{time.time_ns()}"
    lookups: list[str] = []
    page.on("request", lambda one: "/lookup" in one.url and lookups.append(one.url))
    api.beat(space, "tab-1", userId=user, state="hidden")
    cards, place = page.get_by_test_id("person"), page.get_by_test_id("place")
    watched.open_view(stack, "people", f"&person={user}")
    expect(cards).to_have_count(2, timeout=10_000)
    expect(place).to_have_count(1, timeout=10_000)
    watched.shows("connection", "Live", within=10)
    for key, people, path in ((f"c:{user}", 1, "/a"), (user, 2, "/b")):
        page.get_by_role("searchbox", name="Person").fill(key)
        before = len(lookups)
        page.get_by_role("button", name="Find").click()
        expect(cards).to_have_count(people)
        eventually(lambda n=before + people: len(lookups) == n, 10)
        expect(place).to_contain_text("Not verified", timeout=10_000)
        api.beat(space, "tab-1", userId=user, page=path, state="hidden")
        expect(place).to_contain_text(path, timeout=10_000)
        assert len(lookups) == before + people


def test_a_row_of_the_sessions_leads_to_its_person(
    stack: Stack, api: Api, space: str, watched: Watched
) -> None:
    user, visitor = f"stk-u/{time.time_ns()}", f"stk-v-{time.time_ns()}"
    api.beat(space, "tab-1", userId=user, name="Uma", page="/a")
    api.beat(space, "tab-2", visitorId=visitor, page="/b")
    page = watched.page
    for name, key, there in (("Uma", f"c:{user}", "/a"), ("Anonymous", f"v:{visitor}", "/b")):
        watched.open(stack, space, "&tab=people")
        page.get_by_test_id("viewer").get_by_role("link", name=name).click(timeout=12_000)
        expect(page.get_by_test_id("person")).to_contain_text(key)
        watched.shows("title", name if name == "Uma" else key)
        expect(page.get_by_test_id("place")).to_contain_text(there, timeout=10_000)
        page.get_by_test_id("place").get_by_role("link").click()
        watched.shows("people", "2", within=10)
    avatars = page.get_by_test_id("avatars").get_by_role("link")
    expect(avatars).to_have_text(["UUma"], timeout=10_000)
    expect(page.locator("#who-all")).to_have_text("and 1 more")
    avatars.click()
    expect(page.get_by_test_id("person")).to_contain_text("Uma")
    page.get_by_role("searchbox", name="Person").fill("uma")  # whatever the case
    page.get_by_role("button", name="Find").click()
    here = page.get_by_test_id("person").filter(has=page.get_by_test_id("place"))
    expect(here).to_contain_text(f"c:{user}", timeout=10_000)
    assert watched.complaints == []


def test_somebody_whom_the_token_may_not_see_is_refused_without_signing_out(
    stack: Stack, api: Api, space: str, watched: Watched
) -> None:
    friend, page = f"stk-friend-{time.time_ns()}", watched.page
    beat_as(stack, stack.token(sub=friend), space, "tab-1", page="/a")
    scopes = f"read:{space} people:{space} people:u:{friend}"
    token = stack.token(sub="stk-watcher", headcount_scopes=scopes)
    page.goto(f"{watched.origin}/dashboard#token={token}&view=people&person=u:stk-stranger")
    card = page.get_by_test_id("person")
    expect(card).to_contain_text("it needs the scope people:u:stk-stranger", timeout=10_000)
    watched.shows("connection", "Live", within=10)
    expect(page.get_by_test_id("token-form")).to_be_hidden()

    page.get_by_role("searchbox", name="Person").fill(f"u:{friend}")
    page.get_by_role("button", name="Find").click()
    expect(page.get_by_test_id("place")).to_contain_text("/a", timeout=10_000)
    beat_as(stack, stack.token(sub=friend), space, "tab-1", page="/b")
    expect(page.get_by_test_id("place")).to_contain_text("/b", timeout=10_000)

    api.beat(space, "tab-2", visitorId="stk-nobody")
    page.get_by_test_id("place").get_by_role("link").click()
    watched.tab("People")
    rows = page.get_by_test_id("viewer")
    expect(rows).to_have_count(2, timeout=12_000)
    expect(rows.get_by_role("link")).to_have_text([friend])
    expect(page.get_by_test_id("error")).to_be_hidden()


def test_without_a_socket_a_person_is_looked_up_again_and_again(
    stack: Stack, space: str, watched: Watched
) -> None:
    page, ada = watched.page, f"stk-ada-{time.time_ns()}"
    page.route_web_socket(re.compile(".*"), lambda socket: socket.close())
    watched.open_view(stack, "people", f"&person=u:{ada}")
    card = page.get_by_test_id("person")
    expect(card).to_contain_text("not seen in the last seven days", timeout=10_000)
    beat_as(stack, stack.token(sub=ada), space, "tab-1", page="/a")
    expect(page.get_by_test_id("connection")).to_contain_text("Polling", timeout=20_000)
    expect(page.get_by_test_id("place")).to_contain_text("/a", timeout=20_000)


def test_where_nobody_can_be_looked_up_it_says_how_to_turn_that_on(
    stack: Stack, watched: Watched
) -> None:
    words = "This deployment does not know where people are. Deploy it with people=on in Settings."
    watched.page.route(
        re.compile("/v1/people/"),
        lambda route: route.fulfill(status=404, json={"success": False, "error": words}),
    )
    watched.open_view(stack, "people", "&person=v:1")
    expect(watched.page.get_by_test_id("person")).to_contain_text(words, timeout=10_000)
    expect(watched.page.get_by_test_id("error")).to_be_hidden()


# ------------------------------------------------------------------------------------------ streams


def test_a_stream_is_registered_started_watched_and_stopped(
    stack: Stack, api: Api, watched: Watched
) -> None:
    page, stream = watched.page, f"stk-{time.time_ns()}"
    watched.open_view(stack, "streams", f"&q={stream}")
    page.get_by_label("ID", exact=True).fill(stream)
    page.get_by_label("Title", exact=True).fill("Opening night")
    page.get_by_role("button", name="Register").click()
    row = page.get_by_test_id("stream-row")
    expect(row).to_contain_text("Idle", timeout=10_000)
    row.get_by_role("button", name="Start").click()
    expect(row).to_contain_text("Live", timeout=8000)
    assert watched.saves("streams")[1][:2] == [stream, "Opening night"]

    space = f"stream:{stream}"
    report = {"source": "rtmp", "bandwidth": 6000, "latency": 40, "errorRate": 0.01}
    path = f"/api/v1/analytics/streams/{stream}"
    api.request("POST", f"{path}/infrastructure", body=report, token=api.token)
    api.request("POST", f"{path}/events", body={"type": "chat", "count": 7}, token=api.token)
    api.beat(space, "tab-1", quality={"bandwidth": 4200, "latency": 85})
    row.get_by_role("link").click()
    watched.shows("title", "Opening night", within=10)
    watched.tab("Stream")
    panel = page.get_by_test_id("stream")
    for words in ("Live since", "4.2 Mbit/s", "85 ms", "rtmp", "6 Mbit/s", "1%"):
        expect(panel).to_contain_text(words, timeout=10_000)
    engagement = panel.locator("#stream-engagement")
    expect(engagement).to_contain_text("Chat messages7")
    expect(engagement).to_contain_text("per view7")
    watched.tab("Live")
    watched.shows("engagement", "7")  # the same number of the same version
    watched.tab("Stream")
    watched.choose("Stop stream")
    expect(panel).to_contain_text("Stopped since", timeout=8000)
    assert ["bandwidth", "4200"] in watched.saves("stream")
    assert watched.complaints == []


CONTAINER = {
    "containerId": "c13b4cb40f1f",
    "eventId": "event-42",
    "lastStatus": "RUNNING",
    "desiredStatus": "RUNNING",
    "healthStatus": None,
    "createdAt": None,
    "startedAt": None,
    "stoppedAt": None,
    "stoppedReason": None,
}


def test_containers_are_launched_and_stopped_and_a_refusal_says_why(
    stack: Stack, watched: Watched
) -> None:
    page = watched.page
    watched.open_view(stack, "streams")
    expect(page.locator("#streams-list-title")).to_be_visible(timeout=10_000)
    expect(page.locator("#containers-card")).to_be_hidden()  # no cluster is configured
    config = stack.api.request("GET", "/dashboard/config.json").body
    assert config["containers"] is False
    page.route(
        re.compile("/dashboard/config.json"),
        lambda route: route.fulfill(json={**config, "containers": True}),
    )
    page.reload()
    page.get_by_label("Launch a container for the event").fill("event-42")
    page.get_by_role("button", name="Launch").click()
    expect(page.locator("#containers-problem")).to_contain_text("task-definition", timeout=10_000)

    watched.answers("/api/containers/launch/event-42", {**CONTAINER, "status": "running"})
    watched.answers("/api/containers/stop/", {**CONTAINER, "status": "stopping"})
    page.get_by_role("button", name="Launch").click()
    row = page.get_by_test_id("containers").locator("tbody tr")
    expect(row).to_contain_text("Running")
    expect(page.locator("#containers-problem")).to_be_hidden()
    row.get_by_role("button", name="Stop").click()
    expect(row).to_contain_text("Stopping")


# --------------------------------------------------------------------- the socket, keys, the screen


def test_the_sockets_own_state_is_shown(
    stack: Stack, api: Api, space: str, watched: Watched
) -> None:
    page = watched.page
    watched.open(stack, space)
    watched.shows("connection", "Live", within=10)
    api.beat(space, "tab-1")
    watched.shows("people", "1", within=8)
    watched.choose("Connection")
    socket = page.get_by_test_id("socket")
    fact = lambda name: socket.locator("div", has=page.get_by_text(name, exact=True))  # noqa: E731
    expect(fact("State")).to_contain_text("Live")
    expect(fact("Connected since")).to_contain_text(re.compile(r"\d+ s"))
    expect(fact("Frames received")).to_contain_text(re.compile(r"[2-9]"))
    expect(fact("Skipped versions").locator("dd")).to_have_text("0")
    expect(fact("Reconnects").locator("dd")).to_have_text("0")
    page.get_by_role("button", name="Reconnect").click()
    expect(fact("Reconnects").locator("dd")).to_have_text("1", timeout=8000)
    assert stack.outputs["adminToken"] not in page.content()


def test_every_view_is_reached_by_keys(stack: Stack, watched: Watched) -> None:
    page = watched.page
    watched.open_view(stack, "spaces")
    expect(page.locator("#view-spaces")).to_be_visible(timeout=10_000)
    keys = {"2": "live", "3": "streams", "4": "people", "5": "connection", "1": "spaces"}
    for key, name in keys.items():
        page.keyboard.press(key)
        expect(page.locator(f"#view-{name}")).to_be_visible()
    page.keyboard.press("/")
    expect(page.locator("#spaces-search")).to_be_focused()
    page.keyboard.type("p?")
    expect(page.locator("#spaces-search")).to_have_value("p?")
    page.locator("#main").focus()
    page.keyboard.press("p")
    expect(page.get_by_test_id("pause")).to_have_text("Resume")
    page.keyboard.press("p")
    page.keyboard.press("?")
    expect(page.get_by_role("dialog", name="Keyboard shortcuts")).to_be_visible()
    page.get_by_role("checkbox").uncheck()
    page.keyboard.press("Escape")
    page.keyboard.press("2")
    expect(page.locator("#view-spaces")).to_be_visible()


def test_a_wall_display_fills_the_screen_without_names(
    stack: Stack, api: Api, space: str, watched: Watched
) -> None:
    page = watched.page
    api.beat(space, "tab-1", userId="u1", name="Uma")
    watched.open(stack, space)
    watched.shows("people", "1", within=12)
    watched.choose("Full screen")
    page.wait_for_function("Boolean(document.fullscreenElement)")
    expect(page.get_by_test_id("people")).to_be_visible()
    expect(page.get_by_test_id("extras")).to_be_hidden()
    expect(page.get_by_test_id("menu-open")).to_be_hidden()
    page.keyboard.press("f")
    expect(page.get_by_test_id("extras")).to_be_visible()


CUT = """() => [...document.querySelectorAll('h1, .card, .card *, .connection')]
  .filter((one) => one.checkVisibility() && getComputedStyle(one).clipPath === 'none')
  .map((one) => [one, one.getBoundingClientRect()])
  .filter(([, at]) => at.width && (at.bottom > innerHeight + 1 || at.right > innerWidth + 1))
  .map(([one]) => one.outerHTML.slice(0, 120))"""
CONTROLS = """[...document.querySelectorAll('button:enabled, select, input, nav a, summary')]
  .filter((one) => one.checkVisibility()).map((one) => one.id || one.textContent)"""
SIZE = "id => parseFloat(getComputedStyle(document.getElementById(id)).fontSize)"


def test_a_wall_names_the_space_scales_its_type_and_cuts_nothing_off(
    browser: Browser, stack: Stack, api: Api, space: str
) -> None:
    for number in range(8):
        facets = {"device": f"d{number}", "country": "DE", "plan": "pro", "team": "a"}
        api.beat(space, f"tab-{number}", page=f"/page-{number}", facets=facets, state="hidden")
    context = browser.new_context()
    context.add_init_script(RECORD_LABELS)
    watched = Watched(context.new_page(), stack.outputs["origin"])
    watched.watch()
    page = watched.page
    sizes: dict[tuple[int, int], dict[str, float]] = {}
    for size in ((1280, 720), (3840, 2160), (1080, 1920)):
        page.set_viewport_size({"width": size[0], "height": size[1]})
        page.goto("about:blank")
        watched.open(stack, space, "&show=wall")
        watched.shows("title", space, within=10)
        watched.shows("people", "8", within=12)
        expect(page.get_by_test_id("top-page").first).to_be_visible(timeout=10_000)
        eventually(lambda: page.evaluate(CUT) == [], 10, last=lambda: page.evaluate(CUT))
        assert page.evaluate(CONTROLS) == []
        sizes[size] = {id_: page.evaluate(SIZE, id_) for id_ in ("title", "people", "peak-at")}
        sizes[size]["axis"] = page.evaluate("labels.at(-1).px")
        assert page.evaluate("labels.filter(({ cut }) => cut)") == []
    small, large, upright = sizes.values()
    assert all(large[name] > 2 * small[name] for name in small)
    assert all(upright[name] > small[name] for name in small)
    assert min(small.values()) >= 12
    page.keyboard.press("Escape")
    expect(page.get_by_test_id("menu-open")).to_be_visible()
    context.close()


# ----------------------------------------------------------------------- alerts, messages, removals


def act(api: Api, method: str, path: str, body: Any = None) -> Any:
    """An admin's action on a space, through the API."""
    answer = api.request(method, path, body=body, token=api.token)
    assert answer.status == 200, answer.text
    return answer.body


def test_an_alert_is_a_toast_and_stays_in_a_list(
    stack: Stack, api: Api, space: str, watched: Watched
) -> None:
    page = watched.page
    act(api, "PUT", f"{path_of(space)}/alerts/full-house", {"type": "milestone", "people": 2})
    watched.open(stack, space)
    watched.shows("connection", "Live", within=10)
    watched.shows("people", "0", within=8)
    page.wait_for_timeout(2000)  # a rule takes effect within two seconds
    expect(page.get_by_test_id("alerts-heard")).to_be_hidden()

    for number in range(2):
        api.beat(space, f"tab-{number}", visitorId=f"v{number}")
    words = "full-house: 2 people, reached your goal of 2"
    toast = page.get_by_test_id("toast")
    expect(toast).to_have_count(1, timeout=10_000)
    expect(toast).to_have_role("status")
    expect(toast).to_contain_text(words)
    toast.get_by_role("button", name="Dismiss").click()
    expect(toast).to_have_count(0)
    expect(page.get_by_test_id("alerts-heard")).to_contain_text(words)
    assert watched.saves("alerts")[1][1:4] == ["full-house", "milestone", "2"]
    assert watched.complaints == []


def test_an_alert_that_is_sent_twice_is_one_toast_that_goes_by_itself(
    stack: Stack, space: str, watched: Watched
) -> None:
    page = watched.page
    sockets: list[WebSocketRoute] = []

    def route(socket: WebSocketRoute) -> None:
        socket.connect_to_server()
        sockets.append(socket)

    page.route_web_socket(re.compile(".*"), route)
    watched.open(stack, space)
    watched.shows("connection", "Live", within=10)
    alert = {"id": "a1", "name": "<b>rush</b>", "type": "spike", "people": 40, "before": 10}
    rule = {"factor": 2, "minutes": 5, "atLeast": 20}
    frame = {"type": "alert", "space": space, "version": 3, "at": minutes_ago(0)}
    for _ in range(2):
        sockets[-1].send(json.dumps({**frame, "alert": {**alert, **rule}}))
    toast = page.get_by_test_id("toast")
    expect(toast).to_contain_text("<b>rush</b>: 40 people, up from 10 in 5 minutes")
    expect(toast).to_have_count(1)
    expect(page.locator("#alerts-list li")).to_have_count(1)
    expect(toast).to_have_count(0, timeout=13_000)
    expect(page.locator("#alerts-list li")).to_have_count(1)


def test_a_notice_is_a_banner_until_it_ends(
    stack: Stack, api: Api, space: str, watched: Watched
) -> None:
    page = watched.page
    watched.open(stack, space)
    watched.shows("connection", "Live", within=10)
    notice = page.get_by_test_id("notice")
    expect(notice).to_be_hidden()

    message = {"text": "<i>Soon</i>", "level": "warning", "seconds": 60}
    act(api, "POST", f"{path_of(space)}/messages", message)
    expect(notice).to_have_text("Warning to everyone: <i>Soon</i>", timeout=8000)
    page.reload()
    expect(notice).to_contain_text("<i>Soon</i>", timeout=10_000)  # with the headcount
    watched.shows("connection", "Live", within=10)
    act(api, "DELETE", f"{path_of(space)}/messages")
    expect(notice).to_be_hidden(timeout=8000)

    act(api, "POST", f"{path_of(space)}/messages", {"text": "Brief", "seconds": 5})
    expect(notice).to_have_text("Message to everyone: Brief", timeout=4500)
    expect(notice).to_be_hidden(timeout=8000)
    assert watched.complaints == []


def test_a_rule_is_added_and_deleted_and_a_message_sent_and_ended(
    stack: Stack, api: Api, space: str, watched: Watched
) -> None:
    page = watched.page
    watched.open(stack, space)
    watched.shows("connection", "Live", within=10)
    card = page.get_by_test_id("extras")
    expect(card.get_by_role("button", name="Save rule")).to_be_hidden()
    summary = card.locator("summary")
    summary.focus()
    summary.press("Enter")
    expect(page.locator("#rules-none")).to_be_visible(timeout=8000)
    rules_none = "No rules yet. Milestone: people reach N. Spike: N× within minutes."
    expect(page.locator("#rules-none")).to_have_text(rules_none)
    expect(page.locator("#message-none")).to_contain_text("No active message. ")

    rules = page.get_by_test_id("rules").get_by_role("listitem")
    card.get_by_label("Name").fill("rush")
    card.get_by_label("Type").select_option("spike")
    card.get_by_label("Factor").fill("1")
    card.get_by_role("button", name="Save rule").click()
    expect(page.get_by_test_id("extras-problem")).to_contain_text("factor", timeout=8000)
    card.get_by_label("Factor").fill("1.5")
    card.get_by_role("button", name="Save rule").click()
    expect(rules).to_contain_text(
        "At 1.5× within 5 minutes, from 10 people on · waiting", timeout=8000
    )
    expect(page.get_by_test_id("extras-problem")).to_be_hidden()
    expect(card.get_by_label("Factor")).to_be_hidden()
    card.get_by_label("Name").fill("full-house")
    card.get_by_label("People", exact=True).fill("7")
    card.get_by_role("button", name="Save rule").click()
    expect(rules).to_have_count(2, timeout=8000)
    card.get_by_role("button", name="Delete the rule rush").click()
    expect(rules).to_have_count(1, timeout=8000)
    expect(rules).to_contain_text("At 7+ people")
    left = act(api, "GET", f"{path_of(space)}/alerts")["alerts"]
    assert [(one["name"], one["people"]) for one in left] == [("full-house", 7)]

    card.get_by_label("Text").fill("We start.")
    card.get_by_label("Level").select_option("warning")
    card.get_by_label("Minutes").last.fill("2")
    card.get_by_role("button", name="Send").click()
    notice = page.get_by_test_id("notice")
    expect(notice).to_have_text("Warning to everyone: We start.", timeout=8000)
    card.get_by_role("button", name="End message").click()
    expect(notice).to_be_hidden(timeout=8000)
    path = f"{path_of(space)}/messages"
    eventually(lambda: act(api, "GET", path)["message"] is None, 5)

    actions = page.get_by_test_id("actions").get_by_role("listitem")
    expect(actions).to_have_count(5, timeout=8000)
    expect(actions.first).to_contain_text("Message ended")
    expect(actions.filter(has_text="Alert “full-house” saved")).to_have_count(1)
    assert len(watched.saves("audit")) == 6


def open_removal(page: Page) -> None:
    page.get_by_role("button", name="Actions for Uma").first.click()
    page.get_by_test_id("row-menu").get_by_role("button", name="Remove…").click()


def test_a_person_is_removed_from_the_list_and_the_removal_lifted(
    stack: Stack, api: Api, space: str, watched: Watched
) -> None:
    page = watched.page
    api.beat(space, "tab-1", userId="u1", name="Uma")
    api.beat(space, "tab-2", visitorId="v2")
    watched.open(stack, space, "&tab=people")
    viewers = page.get_by_test_id("viewer")
    expect(viewers).to_have_count(2, timeout=12_000)
    watched.shows("connection", "Live", within=8)

    open_removal(page)
    dialog = page.get_by_role("dialog", name="Remove from this space")
    expect(dialog).to_contain_text("Uma, user u1")
    expect(dialog.get_by_label("For how long")).to_have_value("3600")
    dialog.get_by_role("button", name="Cancel").click()
    expect(dialog).to_be_hidden()
    open_removal(page)
    dialog.get_by_label("Reason").fill("spam")
    dialog.get_by_role("button", name="Remove").click()
    expect(dialog).to_be_hidden(timeout=8000)
    expect(page.get_by_test_id("toast")).to_contain_text("Uma is removed until")
    expect(viewers).to_have_count(1, timeout=12_000)
    (removal,) = act(api, "GET", f"{path_of(space)}/removals")["removals"]
    assert (removal["userId"], removal["sessionId"], removal["reason"]) == ("u1", None, "spam")

    watched.tab("Live")
    page.get_by_test_id("extras").locator("summary").click()
    removals = page.get_by_test_id("removals").get_by_role("listitem")
    expect(removals).to_contain_text("user u1", timeout=8000)
    expect(removals).to_contain_text("spam")
    page.get_by_role("button", name="Lift the removal of user u1").click()
    expect(page.locator("#removals-none")).to_be_visible(timeout=8000)
    expect(page.locator("#removals-none")).to_contain_text("No one is removed. Use ⋯")
    assert act(api, "GET", f"{path_of(space)}/removals")["removals"] == []
    assert watched.complaints == []


# -------------------------------------------------------------------- weight, safety, accessibility


def test_the_first_paint_and_long_tasks_are_measured(browser: Browser, stack: Stack) -> None:
    paint, numbers = bench_dashboard.first_paint(browser, stack.outputs["dashboardUrl"])
    assert paint > 0
    assert numbers > 0
    page = browser.new_page()
    page.add_init_script(bench_dashboard.OBSERVE_TASKS)
    page.goto(stack.outputs["origin"] + "/dashboard")
    page.evaluate("longTasks.splice(0)")
    page.evaluate("setTimeout(() => { const at = Date.now(); while (Date.now() < at + 120); })")
    longest: list[float] = []

    def noticed() -> bool:
        longest.append(page.evaluate(bench_dashboard.TAKE_TASKS))
        return max(longest) > 100

    eventually(noticed, 10, lambda: longest)
    page.close()


def test_the_whole_page_weighs_less_than_150_kilobytes(stack: Stack, api: Api) -> None:
    page = api.request("GET", "/dashboard")
    linked = set(re.findall(r'(?:href|src)="(/dashboard/[^"#]+)"', page.text))
    assert {"/dashboard/dashboard.js", "/dashboard/dashboard.css"} <= linked
    loaded = {"/dashboard/config.json", "/dashboard/countries.svg"}  # by the script
    files = [api.request("GET", path) for path in sorted({*linked, *loaded})]
    assert {answer.status for answer in files} == {200}
    weight = sum(len(gzip.compress(answer.text.encode())) for answer in [page, *files])
    assert weight < 150_000
    policy = page.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert "http://" not in policy


VIEWS = {
    "spaces": "view=spaces",
    "space": "space={space}",
    "history": "space={space}&tab=history",
    "here": "space={space}&tab=people",
    "stream": "space=stream:{id}&tab=stream",
    "live": "view=live",
    "streams": "view=streams",
    "people": "view=people&person=v:{visitor}",
    "rollup": "space=~group:all",
    "connection": "view=connection",
}


TURNED = (
    "document.addEventListener('readystatechange', () => { document.documentElement.dir = 'rtl'; })"
)
WINDOW: ViewportSize = {"width": 1280, "height": 800}
# At 200 % zoom a window has half as many pixels, each of them twice as dense.
LOOKS: dict[str, dict[str, Any]] = {
    "light": {"color_scheme": "light"},
    "dark": {"color_scheme": "dark"},
    "forced-colours": {"forced_colors": "active"},
    "zoomed": {"viewport": {"width": 640, "height": 400}, "device_scale_factor": 2},
    "right-to-left": {},
}


@pytest.mark.parametrize(
    "look",
    ["light", *(pytest.param(one, marks=pytest.mark.exhaustive) for one in list(LOOKS)[1:])],
)
def test_no_view_has_a_barrier_and_each_fits_a_phone(
    browser: Browser, stack: Stack, api: Api, spaces: Callable[..., str], look: str
) -> None:
    Bundler().install("axe-core")
    space, stream = spaces("axe"), spaces("axe", "stream")
    for number in range(3):
        # Hidden tabs have the longer lease: no one goes while all views are looked at.
        rest = {"facets": {"device": "tablet", "country": "DE"}, "page": "/a", "state": "hidden"}
        api.beat(space, f"tab-{number}", userId=f"u{number}", name="Uma", **rest)
    visitor = f"stk-{time.time_ns()}"
    api.beat(stream, "tab-1", visitorId=visitor, quality={"bandwidth": 4200}, state="hidden")
    act(api, "PUT", f"{path_of(space)}/alerts/rush", {"type": "milestone", "people": 9})
    act(api, "POST", f"{path_of(space)}/messages", {"text": "Hello", "level": "warning"})
    act(api, "POST", f"{path_of(space)}/removals", {"userId": "gone", "reason": "spam"})
    watched = open_in_look(browser, stack, look)
    page = watched.page
    window = page.viewport_size or WINDOW
    page.goto(f"{watched.origin}/dashboard")
    expect(page.get_by_test_id("token-form")).to_be_visible(timeout=10_000)
    direction = page.evaluate("document.documentElement.dir")
    assert (direction == "rtl") == (look == "right-to-left")
    forced = page.evaluate("matchMedia('(forced-colors: active)').matches")
    assert forced == (look == "forced-colours")
    found = {"sign-in": barriers(page)}
    page.evaluate("document.getElementById('sign-in-issuer').hidden = false")
    found["issuer"] = barriers(page)
    watched.answers("/api/analytics/live-activity", activities(2, 1))
    token = stack.outputs["adminToken"]
    for name, place in VIEWS.items():
        id_ = stream.removeprefix("stream:")
        there = place.format(space=space, id=id_, visitor=visitor)
        page.goto(f"{watched.origin}/dashboard#token={token}&{there}")
        settled(page, name)
        if name == "space":
            page.get_by_test_id("extras").locator("summary").click()
            for shown in ("rules", "removals", "actions", "notice"):
                expect(page.get_by_test_id(shown)).to_be_visible(timeout=8000)
        found[name] = barriers(page)
        page.set_viewport_size({"width": 390, "height": 844})
        fits_its_window(page)
        page.set_viewport_size({"width": 320, "height": 640})  # as 1,280 pixels at 400 % zoom
        fits_its_window(page)
        page.evaluate("document.documentElement.dir = 'rtl'")
        fits_its_window(page)
        page.evaluate("dir => { document.documentElement.dir = dir; }", direction)
        page.set_viewport_size(window)
        found |= barriers_of_what_opens(watched, name)
    page.keyboard.press("?")
    found["keys"] = barriers(page)
    page.context.close()
    assert found == {name: [] for name in found}
    assert [words for words in watched.complaints if not NETWORK_NOISE.match(words)] == []


def open_in_look(browser: Browser, stack: Stack, look: str) -> Watched:
    """A page with axe-core that looks so."""
    context = browser.new_context(**{"viewport": WINDOW, "reduced_motion": "reduce", **LOOKS[look]})
    if look == "right-to-left":
        context.add_init_script(TURNED)
    context.add_init_script(path=Bundler().state / "node_modules" / "axe-core" / "axe.min.js")
    watched = Watched(context.new_page(), stack.outputs["origin"])
    watched.watch()
    return watched


def barriers_of_what_opens(watched: Watched, view: str) -> dict[str, list[str]]:
    """In a view's dialogs and menus."""
    page, found = watched.page, {}
    if view == "space":
        watched.choose("Share…")
        expect(page.get_by_test_id("share")).to_be_visible()
        found["share"] = barriers(page)
        page.keyboard.press("Escape")
        page.get_by_test_id("menu-open").click()
        found["menu"] = barriers(page)
        page.keyboard.press("Escape")
        page.get_by_test_id("space-input").focus()
        expect(page.get_by_test_id("space-options")).to_be_visible(timeout=8000)
        found["switcher"] = barriers(page)
    if view == "here":
        open_removal(page)
        found["removal"] = barriers(page)
        page.keyboard.press("Escape")
    return found


def settled(page: Page, view: str) -> None:
    """Wait until a view shows its data."""
    shown = {
        "space": page.locator(".map .here"),
        "history": page.get_by_test_id("heat"),
        "here": page.get_by_test_id("viewer").nth(2),
        "stream": page.get_by_test_id("stream"),
        "live": page.get_by_test_id("activity").nth(2),
        "spaces": page.get_by_test_id("rollup-row").first,
        "people": page.get_by_test_id("place"),
        "rollup": page.get_by_test_id("spaces-in"),
    }
    expect(shown.get(view, page.locator(f"#view-{view}"))).to_be_visible(timeout=12_000)


def barriers(page: Page) -> list[str]:
    """A summary of axe-core's findings."""
    found = page.evaluate("axe.run()")["violations"]
    return [f"{one['id']}: {node['html'][:200]}" for one in found for node in one["nodes"]]
