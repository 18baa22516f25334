"""Counts are pushed to pages: badges, hooks and clients, in a real browser on a running stack."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from headcount.model.pushes import PushBudget
from playwright.sync_api import Browser, BrowserContext, Page, WebSocket, expect

from lab.harness.clients import Api, Dashboard, eventually
from tests.stack.conftest import Stack, new_space
from tests.support.servers import Quiet, listening

pytestmark = [pytest.mark.stack, pytest.mark.browser]

SOON = 10_000
WITHIN = 1.0
"""Seconds in which every badge has to show a change."""
BADGES = 20
TIMES = 10
BUDGET = PushBudget()


@dataclass
class Host:
    """A customer's site whose pages are what the test sets."""

    origin: str
    context: BrowserContext
    html: str = ""
    sockets: list[WebSocket] = field(default_factory=list)
    beats: list[str] = field(default_factory=list)

    def open(self) -> Page:
        """A page in a tab of its own."""
        page = self.context.new_page()
        page.on("websocket", self._note_socket)
        page.on("request", self._note)
        page.goto(self.origin)
        return page

    def _note_socket(self, socket: WebSocket) -> None:
        self.sockets.append(socket)

    def _note(self, request: Any) -> None:
        if request.url.endswith("/presence"):
            self.beats.append(request.url)

    @property
    def opened(self) -> list[dict[str, list[str]]]:
        """The parameters of the sockets that were opened."""
        return [parse_qs(urlsplit(one.url).query) for one in self.sockets]


@contextmanager
def serving(browser: Browser) -> Iterator[Host]:
    """Serve the site."""

    class Site(Quiet, BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = f"<!doctype html><title>Host</title>{host.html}".encode()
            self.send_response(200)
            self.send_header("content-type", "text/html; charset=utf-8")
            self.end_headers()
            self.wfile.write(body)

    with listening(Site) as origin:
        context = browser.new_context()
        host = Host(origin, context)
        try:
            yield host
        finally:
            context.close()


@pytest.fixture
def host(browser: Browser) -> Iterator[Host]:
    with serving(browser) as host:
        yield host


@pytest.fixture
def space() -> str:
    return new_space("live")


def elements(stack: Stack, html: str) -> str:
    script = f"{stack.outputs['origin']}/headcount-elements.js"
    return f'{html}<script type="module" src="{script}"></script>'


READ = """() => [...document.querySelectorAll('headcount-badge')]
  .map((one) => one.shadowRoot.querySelector('[part=count]').textContent)"""


def shown(pages: list[Page]) -> list[str]:
    """What every badge of these pages shows."""
    return [count for page in pages for count in page.evaluate(READ)]


def all_show(pages: list[Page], badges: int, count: int, within: float) -> float:
    """Wait until every badge shows this count; returns after how many seconds they did."""
    began = time.monotonic()
    while shown(pages) != [str(count)] * badges:
        assert time.monotonic() - began < within, (shown(pages), count)
        time.sleep(0.02)
    return time.monotonic() - began


def is_listened(host: Host, number: int) -> None:
    """Wait until this many sockets listen, and have heard."""
    deadline = time.monotonic() + 15
    while sum("listen" in one for one in host.opened) < number:
        assert time.monotonic() < deadline, host.opened
        host.context.pages[0].wait_for_timeout(50)  # sleeping would take in no events
    for page in host.context.pages:
        page.wait_for_function(
            "[...globalThis[Symbol.for('headcount:live')].values()].every((one) => one.isOpen)"
        )


@pytest.mark.parametrize("tabs", [1, pytest.param(4, marks=pytest.mark.exhaustive)])
def test_every_badge_is_right_within_a_second(
    host: Host, stack: Stack, api: Api, space: str, tabs: int
) -> None:
    """Ten times a join and a leave over HTTP, more than a second apart, and a margin for the story
    that runs beside. The presence of a tab's badges is one session."""
    badge = f'<headcount-badge space="{space}"></headcount-badge>'
    host.html = elements(stack, badge * (BADGES // tabs))
    pages = [host.open() for _ in range(tabs)]
    all_show(pages, BADGES, 1, 20)  # one browser is one visitor
    is_listened(host, tabs)
    time.sleep(1.2)
    took = []
    for number in range(TIMES):
        api.beat(space, f"s{number}")
        took.append(all_show(pages, BADGES, 2, WITHIN))
        time.sleep(1.2)
        api.leave(space, f"s{number}")
        took.append(all_show(pages, BADGES, 1, WITHIN))
        time.sleep(1.2)
    assert len(host.sockets) == tabs
    print(f"{BADGES} badges in {tabs} tabs: {max(took):.2f} s at most, {sorted(took)[10]:.2f} s")


def test_a_passive_badge_hears_the_count_too(
    host: Host, stack: Stack, api: Api, space: str
) -> None:
    host.html = elements(stack, f'<headcount-badge space="{space}" passive></headcount-badge>')
    page = host.open()
    all_show([page], 1, 0, 15)
    is_listened(host, 1)
    time.sleep(1)
    api.beat(space, "s1")
    all_show([page], 1, 1, WITHIN)
    assert host.beats == []


def test_a_badge_whose_socket_is_refused_falls_back_to_beats(
    host: Host, stack: Stack, api: Api, space: str
) -> None:
    """Its number follows with the next beat, which a change of the page brings forward."""
    host.context.add_init_script(
        """globalThis.WebSocket = class extends EventTarget {
          constructor() {
            super();
            setTimeout(() => this.onclose?.());
            (globalThis.tried ??= []).push(1);
          }
          close() {}
        }"""
    )
    host.html = elements(stack, f'<headcount-badge space="{space}"></headcount-badge>')
    page = host.open()
    all_show([page], 1, 1, 15)
    page.wait_for_function("globalThis.tried?.length > 1", timeout=15_000)
    api.beat(space, "s1")
    eventually(lambda: api.headcount(space)["people"] == 2, 10)
    time.sleep(1.2)
    page.evaluate("history.pushState(null, '', '/next')")
    all_show([page], 1, 2, 5)
    assert page.locator("headcount-badge[stale]").count() == 0


def test_a_badge_says_when_it_is_not_up_to_date(
    host: Host, stack: Stack, api: Api, space: str
) -> None:
    host.html = elements(stack, f'<headcount-badge space="{space}"></headcount-badge>')
    page = host.context.new_page()
    page.clock.install()
    page.goto(host.origin)
    expect(page.locator("[part=count]")).to_have_text("1", timeout=SOON)
    page.clock.run_for(2_000)
    expect(page.locator("headcount-badge[stale]")).to_have_count(0)
    host.context.set_offline(True)
    page.evaluate(
        "addEventListener('headcount-stale', ({ detail }) => (globalThis.stale = detail))"
    )
    # Browsers cut open sockets when they are offline, this one does not.
    page.evaluate("globalThis[Symbol.for('headcount:live')].forEach((one) => one.pause())")
    for _ in range(50):
        page.clock.run_for(1_000)
    expect(page.locator("headcount-badge[stale]")).to_have_count(1)
    assert page.evaluate("globalThis.stale") == {"space": space}
    title = page.locator("[part=badge]").get_attribute("title") or ""
    assert title.startswith("Not up to date: the last count came at ")
    host.context.set_offline(False)
    for _ in range(90):
        page.clock.run_for(1_000)
        if not page.locator("headcount-badge[stale]").count():
            break
    expect(page.locator("headcount-badge[stale]")).to_have_count(0)
    expect(page.locator("[part=badge]")).to_have_attribute("title", "")


def test_a_tab_that_is_present_by_socket_listens_on_it(
    host: Host, stack: Stack, api: Api, space: str
) -> None:
    client = f"{stack.outputs['origin']}/headcount.js"
    host.html = f"""
      <output></output>
      <script type="module">
        import {{ connect }} from "{client}";
        const presence = connect({{ space: "{space}", presence: "socket" }});
        presence.subscribe(({{ count }}) => (document.querySelector("output").textContent = count));
      </script>"""
    page = host.open()
    number = page.locator("output")
    expect(number).to_have_text("1", timeout=SOON)
    time.sleep(2)
    for change in range(3):
        api.beat(space, f"s{change}")
        expect(number).to_have_text(str(change + 2), timeout=WITHIN * 1000)
        time.sleep(1.2)
    assert host.beats == []
    (asked,) = host.opened
    assert (asked["listen"], asked["space"]) == (["count"], [space])
    assert "sessionId" in asked


@pytest.mark.exhaustive
def test_many_changes_are_within_the_budget_and_the_last_count_arrives(
    stack: Stack, api: Api, space: str
) -> None:
    """A listener's socket, without a browser. Ten people come one by one, then go, and so on."""
    url = f"{stack.outputs['webSocketUrl']}?space={space}&listen=count"
    with Dashboard(stack.loop, url) as listener:
        eventually(lambda: listener.frames, 10)
        for number in range(37):
            act = api.beat if number % 20 < 10 else api.leave
            act(space, f"s{number % 10}")
            time.sleep(1.1)
        changed_at = time.time() - 1.1
        last = eventually(
            lambda: [one for one in listener.frames if one.at > changed_at + 2],
            31,
            last=lambda: listener.frames[-1],
        )
        assert [one.message["count"] for one in last] == [api.headcount(space)["people"]]
        print(f"the last count came after {last[0].at - changed_at:.1f} s")
        versions = [frame.message["version"] for frame in listener.frames]
        assert versions == sorted(versions)
        assert len(versions) - 1 <= BUDGET.burst + BUDGET.overdraft + 2
