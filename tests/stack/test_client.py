"""headcount.js on pages of another origin, in a real browser."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler
from typing import Any
from urllib.parse import quote
from urllib.request import Request as HttpRequest
from urllib.request import urlopen

import pytest
from playwright.sync_api import (
    Browser,
    BrowserContext,
    Error,
    Page,
    Playwright,
    Request,
    Response,
    Route,
)

from lab.harness.clients import Api, beat, settled
from local.picture import CHROMIUM_ARGS, find_chromium
from tests.stack.conftest import Stack, new_space
from tests.support.servers import Quiet, listening

pytestmark = [pytest.mark.stack, pytest.mark.browser]


MINUTE = 60_000
SLOW = 3.0
"""Seconds that the page /slow takes: more than the grace of a page that closed."""
HIDE = """
  let hidden = false;
  Object.defineProperties(Document.prototype, {
    hidden: { get: () => hidden },
    visibilityState: { get: () => (hidden ? "hidden" : "visible") },
  });
  globalThis.hide = (now) => {
    hidden = now;
    document.dispatchEvent(new Event("visibilitychange"));
  };
"""


@dataclass
class Tab:
    """A page, and its messages: beats as their JSON, leaves as ``{"leave": ...}``."""

    page: Page
    script: str
    sent: list[dict[str, Any]] = field(default_factory=list)
    answered: list[int] = field(default_factory=list)
    words: list[str] = field(default_factory=list)

    def watch(self) -> None:
        """Record from now on."""
        self.page.on("request", self._request)
        self.page.on("response", self._answer)
        self.page.on("console", lambda message: self.words.append(message.text))

    def call(self, words: str) -> Any:
        """Run something with the client's module as ``client``."""
        script = json.dumps(self.script)
        return self.page.evaluate(f"import({script}).then((client) => {{ {words} }})")

    @property
    def beats(self) -> list[dict[str, Any]]:
        """The beats it sent."""
        return [one for one in self.sent if "leave" not in one]

    def until(self, holds: Callable[[], Any], within: float = 5) -> None:
        """Wait for it, and process the browser's events meanwhile."""
        deadline = time.monotonic() + within
        while not holds():
            assert time.monotonic() < deadline, (self.sent[-3:], self.answered[-3:], self.words)
            self.page.wait_for_timeout(30)

    def beat_after(self, action: Callable[[], Any]) -> dict[str, Any]:
        """The beat that an action sends at once."""
        self.page.wait_for_timeout(30)
        before = len(self.beats)
        action()
        self.until(lambda: len(self.beats) > before)
        self.page.wait_for_timeout(100)  # the answer
        return self.beats[before]

    def _answer(self, answer: Response) -> None:
        if answer.request.method == "POST":
            self.answered.append(answer.status)

    def _request(self, request: Request) -> None:
        if request.method != "POST" or "/presence" not in request.url:
            return
        body = json.loads(request.post_data or "")
        self.sent.append({"leave": body} if request.url.endswith("/leave") else body)


@dataclass(frozen=True)
class Site:
    """A site that embeds the client; every path is a page of it."""

    origin: str
    script: str
    space: str
    context: BrowserContext
    complaints: list[str]
    attributes: dict[str, str] = field(default_factory=dict)
    """Attributes of the script's tag, beside src and data-space."""
    more: list[str] = field(default_factory=list)
    """More HTML in every page."""
    pages: dict[str, str] = field(default_factory=dict)
    """The HTML of other pages, by their paths."""

    @property
    def html(self) -> str:
        """Serve its pages."""
        attributes = "".join(f' {name}="{value}"' for name, value in self.attributes.items())
        return (
            f'<script type="module" src="{self.script}" data-space="{self.space}"{attributes}>'
            '</script><a href="/next">next</a> '
            '<a href="/spa" onclick="event.preventDefault()">app</a>' + "".join(self.more)
        )

    def open(self, path: str = "/") -> Page:
        """A new tab."""
        return self.tab(path).page

    def tab(self, path: str = "/", *init: str, clock: bool = False) -> Tab:
        """A new tab that is watched. ``init``: scripts to run first; ``clock``: a fake clock."""
        page = self.context.new_page()
        page.on("pageerror", lambda error: self.complaints.append(str(error)))
        for script in init:
            page.add_init_script(script)
        if clock:
            page.clock.install()
        tab = Tab(page, self.script)
        tab.watch()
        page.goto(self.origin + path)
        return tab


@pytest.fixture
def site(browser: Browser, stack: Stack, space: str) -> Iterator[Site]:
    """A site in a browser that keeps no pages for its Back button."""
    with serving(browser, stack, space) as site:
        yield site


@pytest.fixture
def site_kept_for_back(stack: Stack, space: str, playwright: Playwright) -> Iterator[Site]:
    """A site in a browser that keeps pages for its Back button, as people's browsers do."""
    with serving_for_back(playwright, stack, space) as site:
        yield site


@contextmanager
def serving_for_back(playwright: Playwright, stack: Stack, space: str) -> Iterator[Site]:
    """A site in a browser of its own that keeps pages for its Back button."""
    browser = playwright.chromium.launch(
        executable_path=find_chromium(),
        args=CHROMIUM_ARGS,
        ignore_default_args=["--disable-back-forward-cache"],
    )
    with serving(browser, stack, space) as site:
        yield site
    browser.close()


@contextmanager
def serving(browser: Browser, stack: Stack, space: str) -> Iterator[Site]:
    """A site on its own port, in its own browser profile; it must see no error."""
    script = f"{stack.outputs['origin']}/headcount.js"

    class Answers(Quiet, BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            if self.path == "/moved.js":
                self.send_response(302)
                self.send_header("location", script)
                self.end_headers()
                return
            if self.path == "/slow":
                time.sleep(SLOW)
            body = site.pages.get(self.path, site.html).encode()
            self.send_response(200)
            if self.path == "/file":
                self.send_header("content-disposition", "attachment; filename=file.html")
            self.send_header("content-type", "text/html; charset=utf-8")
            self.end_headers()
            with suppress(ConnectionError):  # a browser that was closed meanwhile
                self.wfile.write(body)

    with listening(Answers) as origin:
        context = browser.new_context()
        site = Site(origin, script, space, context, [])
        yield site
        context.close()
    assert site.complaints == []


def becomes(read: Callable[[], Any], expected: Any) -> None:
    """Wait for it."""
    assert settled(read, expected) == expected


@pytest.fixture
def here(api: Api, site: Site) -> Callable[[], tuple[int, int, list[str]]]:
    """(people, sessions, pages) as published."""

    def read() -> tuple[int, int, list[str]]:
        body = api.headcount(site.space)
        pages = [facet["value"] for facet in body["facets"].get("page", [])]
        return body["people"], body["sessions"], sorted(pages)

    return read


def test_one_script_line_makes_a_tab_present_until_it_closes(
    site: Site, here: Callable[[], Any]
) -> None:
    first = site.open("/a")
    becomes(here, (1, 1, ["/a"]))
    second = site.open("/b")  # another tab of the same visitor
    becomes(here, (1, 2, ["/a", "/b"]))
    second.close(run_before_unload=True)
    becomes(here, (1, 1, ["/a"]))
    first.close(run_before_unload=True)
    becomes(here, (0, 0, []))


def test_a_page_change_within_a_single_page_app_is_noticed(
    site: Site, here: Callable[[], Any]
) -> None:
    page = site.open("/a")
    becomes(here, (1, 1, ["/a"]))
    page.evaluate("history.pushState({}, '', '/b')")
    becomes(here, (1, 1, ["/b"]))


def test_a_link_to_the_next_page_goes_on_with_the_same_visit(
    api: Api, site: Site, here: Callable[[], Any]
) -> None:
    page = site.open("/a")
    becomes(here, (1, 1, ["/a"]))
    page.get_by_role("link", name="next").click()
    becomes(here, (1, 1, ["/next"]))
    assert api.headcount(site.space)["views"]["total"] == 1


def test_the_page_receives_the_count_and_can_identify_and_leave(
    api: Api, site: Site, here: Callable[[], Any]
) -> None:
    page = site.open("/a")
    becomes(here, (1, 1, ["/a"]))
    received = page.evaluate(
        """async (script) => {
          const { identify } = await import(script);
          const received = new Promise((resolve) =>
            addEventListener("headcount", ({ detail }) => resolve(detail), { once: true }));
          identify({ userId: "ada", name: "Ada" });
          return received;
        }""",
        site.script,
    )
    assert (received["space"], received["count"]) == (site.space, 1)
    becomes(lambda: api.headcount(site.space)["signedIn"], 1)
    viewers = api.get(f"/v1/spaces/{quote(site.space, safe='')}/viewers").body["viewers"]
    assert [(viewer["userId"], viewer["name"]) for viewer in viewers] == [("ada", "Ada")]
    page.evaluate("async (script) => (await import(script)).leave()", site.script)
    becomes(here, (0, 0, []))


def test_back_from_the_browsers_cache_is_present_again_at_once(
    site_kept_for_back: Site, api: Api
) -> None:
    site = site_kept_for_back
    page = site.open("/a")
    becomes(lambda: api.headcount(site.space)["sessions"], 1)
    page.evaluate("window.kept = true")
    page.get_by_role("link", name="next").click()
    page.wait_for_url("**/next")
    for path in "bcdef":  # the page in between sends its own messages
        page.evaluate(f"history.replaceState({{}}, '', '/{path}')")
    becomes(lambda: pages_of(api, site.space), ["/f"])
    page.go_back(wait_until="commit")
    assert page.evaluate("window.kept"), "the browser did not keep the page"
    becomes(lambda: pages_of(api, site.space), ["/a"])


def pages_of(api: Api, space: str) -> list[str]:
    return [facet["value"] for facet in api.headcount(space)["facets"].get("page", [])]


def test_a_link_that_the_page_handles_itself_is_no_navigation(
    site: Site, here: Callable[[], Any]
) -> None:
    page = site.open("/a")
    becomes(here, (1, 1, ["/a"]))
    page.get_by_role("link", name="app").click()
    page.close(run_before_unload=True)
    becomes(here, (0, 0, []))


# ----------------------------------------------------------------------------- crash, hidden, sleep


@dataclass(frozen=True)
class Crash:
    """A space with a visitor in it, and a visitor whose browser crashed."""

    space: str
    at: float


@pytest.fixture(scope="module")
def crash(browser: Browser, stack: Stack) -> Iterator[Crash]:
    """Runs before the other tests; the last test checks the result."""
    space = new_space("crash")
    with serving(browser, stack, space) as site, serving(browser, stack, space) as other:
        site.open("/stays")
        victim = other.open("/crashes")
        becomes(lambda: stack.api.headcount(space)["people"], 2)
        with pytest.raises(Error):  # the page can't answer
            victim.goto("chrome://crash", timeout=5000)
        yield Crash(space, time.time())


def test_a_crashed_tab_sends_nothing_and_stays_for_its_lease(crash: Crash, api: Api) -> None:
    assert api.headcount(crash.space)["people"] == 2


@pytest.mark.exhaustive
def test_a_tab_hidden_for_ten_minutes_does_not_flap(
    site: Site, here: Callable[[], Any], api: Api
) -> None:
    tab = site.tab("/a", HIDE, clock=True)
    becomes(here, (1, 1, ["/a"]))
    version = api.headcount(site.space)["version"]
    assert tab.beat_after(lambda: tab.page.evaluate("hide(true)"))["state"] == "hidden"
    becomes(lambda: api.headcount(site.space)["version"], version + 1)
    lease = api.beat(site.space, "another", state="hidden")["leaseSeconds"]
    api.leave(site.space, "another")
    for _ in range(10):
        # Browsers do the same: each timer fires at most once a minute.
        beat = tab.beat_after(lambda: tab.page.clock.fast_forward(MINUTE))
        assert beat["state"] == "hidden"
    assert lease > 2 * 60, "one lost beat must not end the visit"
    assert tab.beats == tab.sent, "it never left"
    assert here() == (1, 1, ["/a"])
    assert tab.beat_after(lambda: tab.page.evaluate("hide(false)"))["state"] == "active"


def test_a_hidden_tab_leaves_where_that_is_wanted_and_comes_back(
    site: Site, here: Callable[[], Any]
) -> None:
    site.attributes["data-hidden"] = "leave"
    tab = site.tab("/a", HIDE)
    becomes(here, (1, 1, ["/a"]))
    tab.page.evaluate("hide(true)")
    becomes(here, (0, 0, []))
    tab.page.evaluate("hide(false)")
    becomes(here, (1, 1, ["/a"]))
    assert len(tab.beats) == 2


def test_a_computer_that_wakes_up_is_present_at_once(site: Site, here: Callable[[], Any]) -> None:
    tab = site.tab("/a", clock=True)
    becomes(here, (1, 1, ["/a"]))
    # While it slept, no timer ran.
    tab.page.clock.set_system_time(time.time() + 20 * 60)
    tab.beat_after(lambda: tab.page.clock.fast_forward(10_000))


def test_a_clock_that_is_set_back_stops_no_beats(site: Site, here: Callable[[], Any]) -> None:
    tab = site.tab("/a", clock=True)
    becomes(here, (1, 1, ["/a"]))
    tab.page.clock.set_system_time(time.time() - 86_400)
    tab.beat_after(lambda: tab.page.clock.fast_forward(10_000))


def test_without_a_network_it_backs_off_and_reconnects_at_once(
    site: Site, here: Callable[[], Any]
) -> None:
    tab = site.tab("/a", clock=True)
    becomes(here, (1, 1, ["/a"]))
    site.context.set_offline(True)
    before = len(tab.beats)
    for _ in range(60):
        tab.page.clock.fast_forward(10_000)
        tab.page.evaluate("history.pushState({}, '', `/b${Math.random()}`)")
    assert 8 <= len(tab.beats) - before <= 20  # in ten minutes, with sixty changes
    tab.page.evaluate("history.pushState({}, '', '/c')")
    tab.beat_after(lambda: site.context.set_offline(False))
    becomes(here, (1, 1, ["/c"]))


# -------------------------------------------------------------------------------------------- beats


def test_it_beats_at_the_interval_the_server_asks_for(site: Site, here: Callable[[], Any]) -> None:
    tab = site.tab("/a", clock=True)
    becomes(here, (1, 1, ["/a"]))
    tab.page.clock.fast_forward(26_000)
    tab.page.wait_for_timeout(100)
    assert len(tab.beats) == 1
    tab.beat_after(lambda: tab.page.clock.fast_forward(4_500))
    assert [beat["seq"] for beat in tab.beats] == [1, 3]  # 2 was for a leave


def test_every_page_of_an_app_is_noticed_once(site: Site, here: Callable[[], Any]) -> None:
    site.attributes["data-route"] = "hash"
    tab = site.tab("/a")
    becomes(here, (1, 1, ["/a"]))
    for step, page in [
        ("history.replaceState({}, '', '/b')", "/b"),
        ("history.pushState({}, '', '/c#one')", "/c#one"),
        ("location.hash = 'two'", "/c#two"),
        ("history.back()", "/c#one"),
        ("history.back()", "/b"),
    ]:
        beat = tab.beat_after(lambda step=step: tab.page.evaluate(step))
        assert beat["page"] == page
    tab.page.evaluate("history.replaceState({ scroll: 9 }, '')")
    assert len(tab.beats) == 6


def test_a_reload_goes_on_with_the_same_visit_and_its_numbers(
    site: Site, here: Callable[[], Any], api: Api
) -> None:
    tab = site.tab("/a")
    becomes(here, (1, 1, ["/a"]))
    again = tab.beat_after(tab.page.reload)
    assert again["sessionId"] == tab.beats[0]["sessionId"]
    assert again["seq"] > tab.beats[0]["seq"]
    assert tab.sent == tab.beats
    assert api.headcount(site.space)["views"]["total"] == 1


def test_progress_is_sent_every_few_seconds_and_changes_at_once(
    site: Site, here: Callable[[], Any], api: Api
) -> None:
    tab = site.tab("/a", clock=True)
    becomes(here, (1, 1, ["/a"]))
    before = len(tab.beats)
    for position in range(40):  # a player's timeupdate, four times a second
        tab.call(f"client.update({{ details: {{ position: {position} }} }})")
        tab.page.clock.run_for(250)
    assert 1 <= len(tab.beats) - before <= 3
    news = tab.beat_after(
        lambda: tab.call(
            "client.update({ page: '/film', "
            "facets: { activity: 'watching', part: 7, none: null } })"
        )
    )
    assert news["page"] == "/film"
    sources = {"entry": "/a", "visitor": "new"}
    assert news["facets"] == {"activity": "watching", "part": "7", **sources}
    assert news["details"] == {"position": 39}
    becomes(here, (1, 1, ["/film"]))
    viewers = api.get(f"/v1/spaces/{quote(site.space, safe='')}/viewers").body["viewers"]
    assert viewers[0]["details"] == {"position": 39}


def test_identifying_once_holds_for_all_spaces_and_a_token_proves_it(
    site: Site, stack: Stack, api: Api
) -> None:
    other = new_space("other")
    site.more.append(
        f'<script type="module" src="{site.script}" data-space="{other}" data-facet-part="b">'
        "</script>"
    )
    tab = site.tab("/a")
    for space in (site.space, other):
        becomes(lambda space=space: api.headcount(space)["anonymous"], 1)
    assert api.headcount(other)["facets"]["part"][0]["value"] == "b"
    token = json.dumps(stack.token(sub="ada"))
    tab.call(f"client.identify({{ name: 'Ada', token: async () => {token} }})")
    for space in (site.space, other):
        becomes(lambda space=space: api.headcount(space)["signedIn"], 1)
        (viewer,) = api.get(f"/v1/spaces/{quote(space, safe='')}/viewers").body["viewers"]
        assert (viewer["userId"], viewer["verified"]) == ("ada", True)
    tab.call("client.identify({ token: () => null })")
    becomes(lambda: api.headcount(other)["anonymous"], 1)
    tab.call("client.leave()")
    for space in (site.space, other):
        becomes(lambda space=space: api.headcount(space)["sessions"], 0)
    tab.call("client.start()")
    becomes(lambda: api.headcount(other)["sessions"], 1)


def test_a_listener_receives_the_count_now_and_when_it_changes(
    site: Site, here: Callable[[], Any], api: Api
) -> None:
    tab = site.tab("/a", clock=True)
    becomes(here, (1, 1, ["/a"]))
    tab.call("globalThis.received = []; client.subscribe(({ count }) => received.push(count))")
    tab.until(lambda: tab.page.evaluate("received") == [1])
    api.beat(site.space, "another", visitorId="another")
    becomes(lambda: here()[0], 2)
    tab.page.wait_for_timeout(1_200)  # the count in an answer may be a second old
    tab.page.clock.fast_forward(31_000)
    tab.until(lambda: tab.page.evaluate("received") == [1, 2])
    tab.beat_after(lambda: tab.page.clock.fast_forward(31_000))
    assert tab.page.evaluate("received") == [1, 2]


def test_two_connects_are_one_session_until_both_disconnect(
    site: Site, api: Api, spaces: Callable[[str], str]
) -> None:
    tab = site.tab("/a")
    space = spaces("twice")
    tab.call(
        f"globalThis.held = [1, 2].map(() => client.connect({{ space: {json.dumps(space)} }}))"
    )
    becomes(lambda: api.headcount(space)["sessions"], 1)
    assert tab.page.evaluate("held[0] === held[1] && (held[0].release(), held[0].count)") == 1
    tab.page.wait_for_timeout(200)
    assert [one for one in tab.sent if "leave" in one] == []
    tab.page.evaluate("held[1].release()")
    becomes(lambda: api.headcount(space)["sessions"], 0)


# ------------------------------------------------------------------------------------------ trouble


def test_one_request_at_a_time_however_much_happens(site: Site, here: Callable[[], Any]) -> None:
    tab = site.tab("/a")
    becomes(here, (1, 1, ["/a"]))
    held: list[Route] = []
    tab.page.route("**/presence", lambda route: held.append(route))  # noqa: PLW0108 - playwright marks it
    for number in range(20):
        tab.page.evaluate(f"history.pushState({{}}, '', '/{number}')")
    tab.until(lambda: held)
    assert len(held) == 1
    held[0].continue_()
    tab.until(lambda: len(held) > 1)
    assert json.loads(held[1].request.post_data or "")["page"] == "/19"
    held[1].continue_()
    becomes(here, (1, 1, ["/19"]))
    assert len(held) == 2


@pytest.mark.parametrize("status", [429, 503])
def test_retry_after_of_a_busy_server_is_respected(
    site: Site, here: Callable[[], Any], status: int
) -> None:
    tab = site.tab("/a", clock=True)
    becomes(here, (1, 1, ["/a"]))
    headers = {"retry-after": "90", "access-control-allow-origin": "*"}
    headers["access-control-expose-headers"] = "retry-after"
    tab.page.route(
        "**/presence", lambda route: route.fulfill(status=status, headers=headers, body="{}")
    )
    tab.beat_after(lambda: tab.page.evaluate("history.pushState({}, '', '/b')"))
    before = len(tab.beats)
    tab.page.clock.fast_forward(80_000)
    tab.page.evaluate("history.pushState({}, '', '/c')")
    tab.page.wait_for_timeout(100)
    assert len(tab.beats) == before
    tab.page.unroute("**/presence")
    tab.beat_after(lambda: tab.page.clock.fast_forward(12_000))
    becomes(here, (1, 1, ["/c"]))


def test_retry_after_is_shown_to_pages_of_other_origins(api: Api, site: Site) -> None:
    method, path, message = beat(site.space, "much")
    for _ in range(60):
        headers = {"origin": site.origin}
        answer = api.request(method, path, body=message, headers=headers)
        if answer.status == HTTPStatus.TOO_MANY_REQUESTS:
            break
    assert int(answer.headers["retry-after"]) >= 1
    assert "retry-after" in answer.headers["access-control-expose-headers"]


def warnings_of(tab: Tab) -> list[str]:
    return [words for words in tab.words if words.startswith("Headcount")]


def test_a_permanent_error_is_reported_once_and_not_retried(
    site: Site, api: Api, here: Callable[[], Any]
) -> None:
    site.attributes["data-user"] = "x" * 129
    tab = site.tab("/a", clock=True)
    tab.until(lambda: warnings_of(tab))
    assert "at most 128 bytes" in warnings_of(tab)[0]
    tab.page.clock.fast_forward(10 * MINUTE)
    tab.page.wait_for_timeout(100)
    assert len(tab.beats) == len(warnings_of(tab)) == 1
    tab.call("client.identify({ userId: 7 })")
    becomes(here, (1, 1, ["/a"]))


def test_wrong_arguments_throw_no_errors_in_the_page(site: Site) -> None:
    tab = site.tab("/a")
    tab.call(
        """
        const loop = {}; loop.loop = loop;
        for (const nonsense of [undefined, null, 5, "x", {}, { details: loop }, { facets: 3 }]) {
          client.identify(nonsense);
          client.update(nonsense);
          for (const space of [undefined, "", "no-kind", "\ud800"]) {
            const presence = client.connect({ ...nonsense, space });
            presence.update(nonsense);
            presence.start();
            presence.leave();
          }
        }
        client.connect();
        client.connect({ space: "site:x", endpoint: "nowhere" });
        """
    )
    tab.page.wait_for_timeout(300)


# ---------------------------------------------------------------------------------- admins' actions

RECORD_EVENTS = """
  globalThis.received = [];
  for (const type of ["headcount-notice", "headcount-removed"])
    addEventListener(type, ({ detail }) => received.push([type, detail]));
"""
OPEN = {"access-control-allow-origin": "*", "access-control-expose-headers": "retry-after"}


def notice_of(name: str, seconds: float) -> dict[str, str]:
    until = datetime.fromtimestamp(time.time() + seconds, UTC).isoformat()
    return {"id": name, "text": f"This is {name}.", "level": "info", "until": until}


@dataclass
class Admin:
    """A fake API: the answers to a tab's beats."""

    tab: Tab
    notice: dict[str, str] | None = None
    retry_after: int = 0
    asked: int = 0

    def __post_init__(self) -> None:
        self.tab.page.route("**/presence", self._answer)

    def _answer(self, route: Route) -> None:
        self.asked += 1
        if self.retry_after:
            headers = OPEN | {"retry-after": str(self.retry_after)}
            route.fulfill(status=403, headers=headers, body='{"error": "You were removed."}')
            return
        answer: dict[str, Any] = {"count": 1, "version": 1, "nextBeatIn": 30}
        if self.notice:
            answer["notice"] = self.notice
        route.fulfill(headers=OPEN, body=json.dumps(answer))

    def received(self) -> list[Any]:
        """The events that the page received; of notices their ids."""
        return [
            (detail["notice"] or {}).get("id") if kind == "headcount-notice" else kind
            for kind, detail in self.tab.page.evaluate("received")
        ]


def test_a_message_is_received_once_and_its_end_once(site: Site, here: Callable[[], Any]) -> None:
    tab = site.tab("/a", RECORD_EVENTS, clock=True)
    becomes(here, (1, 1, ["/a"]))
    shown = f"client.connect({{ space: {json.dumps(site.space)} }}).notice"
    assert tab.call(f"return {shown}") is None
    admin = Admin(tab)

    def beat() -> None:
        tab.beat_after(lambda: tab.page.clock.fast_forward(31_000))

    admin.notice = first = notice_of("first", 3600)
    beat()
    assert tab.page.evaluate("received") == [
        ["headcount-notice", {"space": site.space, "notice": first}]
    ]
    assert tab.call(f"return {shown}") == first
    beat()
    assert admin.received() == ["first"]
    admin.notice = notice_of("second", 3600)
    beat()
    admin.notice = None
    beat()
    beat()
    assert admin.received() == ["first", "second", None]
    assert tab.call(f"return {shown}") is None


def test_a_message_ends_on_time_despite_late_answers(site: Site, here: Callable[[], Any]) -> None:
    tab = site.tab("/a", RECORD_EVENTS, clock=True)
    becomes(here, (1, 1, ["/a"]))
    admin = Admin(tab, notice_of("short", 45))
    tab.beat_after(lambda: tab.page.clock.fast_forward(31_000))
    assert admin.received() == ["short"]
    tab.beat_after(lambda: tab.page.clock.run_for(31_000))
    tab.until(lambda: admin.received() == ["short", None])
    admin.notice = notice_of("past", -3600)  # this computer's clock is ahead
    tab.beat_after(lambda: tab.page.clock.fast_forward(31_000))
    assert admin.received() == ["short", None, "past"]


def test_a_removed_visitor_is_quiet_until_the_removal_ends_and_tries_again(
    site: Site, here: Callable[[], Any]
) -> None:
    tab = site.tab("/a", RECORD_EVENTS, HIDE, clock=True)
    becomes(here, (1, 1, ["/a"]))
    admin = Admin(tab, retry_after=600)
    tab.beat_after(lambda: tab.page.evaluate("history.pushState({}, '', '/b')"))
    ((kind, detail),) = tab.page.evaluate("received")
    assert (kind, detail["space"]) == ("headcount-removed", site.space)
    now = tab.page.evaluate("Date.now()") / 1000
    assert 590 < datetime.fromisoformat(detail["until"]).timestamp() - now <= 600
    for _ in range(9):
        tab.page.clock.fast_forward(MINUTE)
        tab.page.evaluate("history.pushState({}, '', `/b${Math.random()}`)")
        tab.page.evaluate("hide(!document.hidden)")
        tab.call("client.update({ facets: { part: String(Math.random()) } })")
    tab.page.evaluate("dispatchEvent(new Event('online'))")
    tab.call("client.identify()")  # no user, as before
    tab.call("client.leave(); client.start()")
    tab.page.wait_for_timeout(200)
    assert admin.asked == 1
    assert tab.sent == tab.beats, "it never left"
    admin.retry_after = 0
    tab.beat_after(lambda: tab.page.clock.fast_forward(MINUTE))
    tab.beat_after(lambda: tab.page.clock.fast_forward(31_000))
    assert admin.received() == ["headcount-removed"]
    assert warnings_of(tab) == []


def test_another_user_is_tried_at_once_after_a_removal(site: Site, here: Callable[[], Any]) -> None:
    tab = site.tab("/a", RECORD_EVENTS, clock=True)
    becomes(here, (1, 1, ["/a"]))
    admin = Admin(tab, retry_after=3600)
    tab.beat_after(lambda: tab.call("client.identify({ userId: 'ada' })"))
    tab.call("client.identify({ userId: 'ada', name: 'Ada' })")
    tab.page.wait_for_timeout(200)
    assert admin.asked == 1
    admin.retry_after = 0
    beat = tab.beat_after(lambda: tab.call("client.identify({ userId: 'bea' })"))
    assert beat["userId"] == "bea"
    tab.beat_after(lambda: tab.page.clock.fast_forward(31_000))


def test_a_removal_of_a_signed_out_user_stops_no_one_else(
    site: Site, api: Api, here: Callable[[], Any]
) -> None:
    tab = site.tab("/a", RECORD_EVENTS)
    becomes(here, (1, 1, ["/a"]))
    held: list[Route] = []
    tab.page.route("**/presence", lambda route: held.append(route))  # noqa: PLW0108 - playwright marks it
    tab.call("client.identify({ userId: 'ada' })")
    tab.until(lambda: held)
    tab.call("client.identify({ userId: 'bea' })")
    held[0].fulfill(status=403, headers=OPEN | {"retry-after": "3600"}, body="{}")
    tab.until(lambda: len(held) > 1)
    assert json.loads(held[1].request.post_data or "")["userId"] == "bea"
    held[1].continue_()
    becomes(lambda: api.headcount(site.space)["signedIn"], 1)
    assert tab.page.evaluate("received") == []


def test_an_admins_messages_and_removals_reach_the_page(
    site: Site, api: Api, here: Callable[[], Any]
) -> None:
    tab = site.tab("/a", RECORD_EVENTS, clock=True)
    tab.call("client.identify({ userId: 'ada' })")
    becomes(here, (1, 1, ["/a"]))
    of_space = f"/v1/spaces/{quote(site.space, safe='')}"

    def act(what: str, **body: Any) -> Any:
        answer = api.request("POST", f"{of_space}/{what}", token=api.token, body=body)
        assert answer.status < 300, answer
        return answer.body

    def beats_until(kind: str) -> Any:
        """The events that the page received, which may take up to two seconds."""
        deadline = time.monotonic() + 10
        while True:
            for received, detail in tab.page.evaluate("received"):
                if received == kind:
                    return detail
            assert time.monotonic() < deadline, tab.answered
            tab.page.evaluate("history.replaceState({}, '', `/${Math.random()}`)")
            tab.page.wait_for_timeout(500)

    message = act("messages", text="We start in five minutes.", level="warning", seconds=300)
    notice = beats_until("headcount-notice")["notice"]
    assert notice == {
        "id": message["id"],
        "text": "We start in five minutes.",
        "level": "warning",
        "until": message["until"],
    }
    removal = act("removals", userId="ada", seconds=600)
    detail = beats_until("headcount-removed")
    apart = datetime.fromisoformat(detail["until"]) - datetime.fromisoformat(removal["until"])
    assert abs(apart.total_seconds()) < 30
    becomes(lambda: here()[:2], (0, 0))
    assert tab.answered[-1] == 403
    before = len(tab.beats)
    tab.page.clock.fast_forward(5 * MINUTE)
    tab.page.wait_for_timeout(200)
    assert len(tab.beats) == before
    refused = tab.answered.count(403)
    tab.call("client.identify({ userId: 'bea' })")  # tried, but the session is removed too
    tab.until(lambda: tab.answered.count(403) == refused + 1)
    assert tab.beats[-1]["userId"] == "bea"
    assert warnings_of(tab) == []
    other = site.tab("/b")
    other.call("client.identify({ userId: 'bea' })")  # only a claim, in the same browser
    other.until(lambda: 403 in other.answered)
    assert here()[:2] == (0, 0)


# ------------------------------------------------------------------------------------------ privacy

SIGNALS = {
    "dnt": "Object.defineProperty(navigator, 'doNotTrack', { get: () => '1' })",
    "gpc": "Object.defineProperty(navigator, 'globalPrivacyControl', { get: () => true })",
}
STORED = "[Object.keys(localStorage), Object.keys(sessionStorage)].flat()"


@pytest.mark.parametrize("signal", SIGNALS)
def test_do_not_track_is_respected_where_the_site_wants_it(
    signal: str, site: Site, here: Callable[[], Any]
) -> None:
    asking = site.tab("/asks", SIGNALS[signal])
    becomes(here, (1, 1, ["/asks"]))
    asking.page.close()
    site.context.clear_cookies()
    site.attributes["data-respect"] = "dnt gpc"
    tab = site.tab("/a", SIGNALS[signal], "localStorage.clear()")
    tab.call("client.start(); client.update({ page: '/b' })")
    tab.page.wait_for_timeout(200)
    assert tab.sent == []
    assert tab.page.evaluate(STORED) == []


def test_nothing_is_sent_or_stored_before_consent(
    site: Site, here: Callable[[], Any], api: Api, spaces: Callable[[str], str]
) -> None:
    site.attributes["data-consent"] = "manual"
    tab = site.tab("/a")
    later = spaces("later")  # the consent given for the page's first space holds for the next
    tab.call(f"client.connect({{ space: {json.dumps(later)} }}); client.identify({{ userId: 1 }})")
    tab.page.evaluate("history.pushState({}, '', '/b')")
    tab.page.wait_for_timeout(200)
    assert tab.sent == []
    assert tab.page.evaluate(STORED) == []
    tab.call("client.start()")
    becomes(here, (1, 1, ["/b"]))
    becomes(lambda: api.headcount(later)["signedIn"], 1)
    tab.call("client.forget()")
    becomes(here, (0, 0, []))
    assert tab.page.evaluate(STORED) == []


def test_consent_may_be_a_promise_a_function_or_a_no(
    site: Site, api: Api, spaces: Callable[[str], str]
) -> None:
    site.attributes["data-consent"] = "manual"
    tab = site.tab("/a")
    answers = {
        "Promise.resolve(true)": 1,
        "async () => true": 1,
        "Promise.resolve(false)": 0,
        "Promise.reject(new Error('closed'))": 0,
        "false": 0,
    }
    asked = [(spaces("consent"), consent, there) for consent, there in answers.items()]
    for space, consent, _ in asked:
        tab.call(f"client.connect({{ space: {json.dumps(space)}, consent: {consent} }})")
    for space, _, there in sorted(asked, key=lambda one: -one[2]):
        becomes(lambda space=space: api.headcount(space)["sessions"], there)


def test_a_browser_that_forbids_storage_is_counted_too(site: Site, here: Callable[[], Any]) -> None:
    forbidden = """
      for (const name of ["localStorage", "sessionStorage"])
        Object.defineProperty(globalThis, name, {
          get() { throw new DOMException("no", "SecurityError"); },
        });
      Object.defineProperty(crypto, "randomUUID", { value: undefined }); // as on http
    """
    tab = site.tab("/a", forbidden)
    becomes(here, (1, 1, ["/a"]))
    assert len(tab.beats[0]["sessionId"]) == 32
    assert "visitorId" not in tab.beats[0]
    tab.page.close(run_before_unload=True)
    becomes(here, (0, 0, []))


# -------------------------------------------------------------------------------------------- files


def served(stack: Stack, path: str) -> tuple[bytes, str]:
    """The bytes as sent, and their type."""
    request = HttpRequest(stack.outputs["origin"] + path, headers={"accept-encoding": "gzip"})
    with urlopen(request, timeout=10) as answer:
        assert answer.headers["content-encoding"] == "gzip"
        assert answer.headers["access-control-allow-origin"] == "*"
        return answer.read(), answer.headers["content-type"]


def test_the_client_is_smaller_than_5_kilobytes(stack: Stack) -> None:
    content, kind = served(stack, "/headcount.js")
    assert len(content) < 5120
    assert kind.startswith("text/javascript")


def test_types_are_served_beside_it(stack: Stack) -> None:
    for path in ("/headcount.d.ts", "/headcount-elements.d.ts"):
        assert served(stack, path)[1].startswith("application/typescript")


# ---------------------------------------------------------------------------------- after the crash


def test_a_crashed_tab_is_gone_after_its_lease(crash: Crash, api: Api) -> None:
    lease = api.beat(crash.space, "witness", visitorId="witness")["leaseSeconds"]
    time.sleep(max(0, crash.at + lease + 1 - time.time()))
    api.leave(crash.space, "witness")  # a change: the space is counted again
    becomes(lambda: api.headcount(crash.space)["people"], 1)
