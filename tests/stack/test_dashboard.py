"""The dashboard in a real browser."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import (
    Browser,
    ConsoleMessage,
    Page,
    Request,
    WebSocketRoute,
    expect,
)

from tests.stack.clients import Api
from tests.stack.conftest import Stack

pytestmark = [pytest.mark.stack, pytest.mark.browser]

# What the browser itself says of a socket that can't be opened or of an answer that is no 2xx.
NETWORK_NOISE = re.compile(r"^(WebSocket connection to|Failed to load resource)")
REPORT_VIOLATIONS = """
  addEventListener('securitypolicyviolation', ({ violatedDirective, blockedURI }) =>
    console.error(`CSP violation: ${violatedDirective} ${blockedURI}`));
"""


@dataclass
class Watched:
    """A page, all it complained of, and all hosts it spoke to."""

    page: Page
    origin: str
    complaints: list[str] = field(default_factory=list)
    hosts: set[str] = field(default_factory=set)

    def watch(self) -> None:
        """From now on."""
        self.page.on("console", self._console)
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.on("request", self._request)
        self.page.on("websocket", lambda socket: self.hosts.add(urlsplit(socket.url).netloc))
        self.page.add_init_script(REPORT_VIOLATIONS)

    def open(self, stack: Stack, space: str) -> None:
        """The dashboard's own URL, with the space added."""
        self.page.goto(f"{stack.outputs['dashboardUrl']}&space={space}")

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


@pytest.fixture
def watched(browser: Browser, stack: Stack) -> Iterator[Watched]:
    """A fresh tab that must not complain, nor speak to anybody but the stack."""
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
    viewers = watched.page.get_by_test_id("viewers").get_by_test_id("viewer")
    expect(viewers).to_have_count(3, timeout=8000)

    api.leave(space, "tab-2")
    watched.shows("people", "2")
    expect(rows).to_have_count(1)
    expect(viewers).to_have_count(2, timeout=8000)
    expect(watched.page.get_by_test_id("timeline")).to_be_visible()
    assert watched.complaints == []


def test_names_are_shown_as_text(stack: Stack, api: Api, space: str, watched: Watched) -> None:
    words = "<img src=x onerror=alert(1)>"
    api.beat(space, "tab-1", userId="u1", name=words, page="/<script>alert(1)</script>")

    watched.open(stack, space)

    expect(watched.page.get_by_test_id("viewer")).to_contain_text(words, timeout=10_000)
    expect(watched.page.get_by_test_id("top-page")).to_contain_text("<script>")
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


def test_a_bad_token_leads_to_the_form_and_a_good_one_opens(
    stack: Stack, space: str, watched: Watched
) -> None:
    page = watched.page
    page.goto(f"{watched.origin}/dashboard#space={space}")
    form = page.get_by_test_id("token-form")
    expect(form).to_be_visible()

    form.get_by_role("textbox").fill("not.a.token")
    form.get_by_role("button").click()
    # Three reads are refused at once: the last of them may have lost its words, hence the 401.
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
