"""headcount-elements.js on pages of another origin, under a strict Content-Security-Policy."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any

import pytest
from playwright.sync_api import Browser, Locator, Page, expect

from local.bundle import Bundler
from local.settings import UsageError
from tests.stack.clients import Api
from tests.stack.conftest import Stack, new_space
from tests.support.missing import missing

pytestmark = [pytest.mark.stack, pytest.mark.browser]

SOON = 10_000
REPORT_VIOLATIONS = """
  addEventListener('securitypolicyviolation', ({ violatedDirective, blockedURI }) =>
    (globalThis.violations ??= []).push(`${violatedDirective} ${blockedURI}`));
"""


@dataclass
class Host:
    """A page of somebody's site with elements; it must see no error and break no policy."""

    page: Page
    origin: str
    stack: Stack
    html: str = ""
    complaints: list[str] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)

    @property
    def document(self) -> str:
        """What it serves."""
        script = f"{self.stack.outputs['origin']}/headcount-elements.js"
        return (
            '<!doctype html><html lang="en"><head><title>Host</title></head><body><main>'
            f'<h1>Host</h1>{self.html}</main><script type="module" src="{script}"></script>'
        )

    @property
    def policy(self) -> str:
        """Scripts and connections of the stack alone, and no inline style."""
        origin = self.stack.outputs["origin"]
        socket = self.stack.outputs["webSocketUrl"].split("/ws")[0]
        return (
            f"default-src 'none'; script-src {origin}; connect-src {origin} {socket}; "
            "require-trusted-types-for 'script'; trusted-types 'none'"
        )

    def open(self, html: str, *, signed_in: bool = True) -> Page:
        """Show it; ``signed_in``: with an admin's token, set as a property."""
        self.html = html
        self.page.goto(self.origin)
        if signed_in:
            self.sign_in()
        return self.page

    def sign_in(self) -> None:
        """Give every element the token."""
        token = json.dumps(self.stack.outputs["adminToken"])
        self.page.evaluate(
            f"""document.querySelectorAll('main > *').forEach((one) => {{
              if (one.localName.startsWith('headcount-')) one.token = {token};
            }})"""
        )


@pytest.fixture
def host(browser: Browser, stack: Stack) -> Iterator[Host]:
    """A site with one page."""

    class Pages(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = host.document.encode()
            self.send_response(200)
            self.send_header("content-type", "text/html; charset=utf-8")
            self.send_header("content-security-policy", host.policy)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: Any) -> None:
            return

    server = ThreadingHTTPServer(("127.0.0.1", 0), Pages)
    Thread(target=server.serve_forever, daemon=True).start()
    context = browser.new_context(viewport={"width": 900, "height": 1200})
    host = Host(context.new_page(), f"http://127.0.0.1:{server.server_port}", stack)
    host.page.add_init_script(REPORT_VIOLATIONS)
    host.page.on("pageerror", lambda error: host.complaints.append(str(error)))
    host.page.on("request", lambda request: host.asked.append(request.url))
    yield host
    violations = host.page.evaluate("globalThis.violations ?? []")
    context.close()
    server.shutdown()
    server.server_close()
    assert host.complaints == []
    assert violations == []


def course() -> str:
    return new_space("badge", "course")


def part(page: Page, name: str) -> Locator:
    """A part of an element."""
    return page.locator(f'[part~="{name}"]')


# --------------------------------------------------------------------------------------- badge


def test_a_badge_counts_its_reader_and_shows_names_to_whom_may_see_them(
    host: Host, api: Api
) -> None:
    space = course()
    for number in range(7):
        api.beat(space, f"s{number}", userId=f"u{number}", name=f"Viewer {number}")
    page = host.open(f'<headcount-badge space="{space}" chapter="one"></headcount-badge>')
    expect(part(page, "count")).to_have_text("8", timeout=SOON)
    assert not [url for url in host.asked if url.endswith("/viewers?limit=5")]

    page.get_by_role("button").hover()
    tip = part(page, "tooltip")
    expect(tip).to_contain_text("8 people here now")
    expect(part(page, "viewer")).to_have_count(5, timeout=SOON)
    expect(tip).to_contain_text("Viewer 3")
    expect(tip).to_contain_text("and 3 more")
    page.keyboard.press("Tab")
    page.keyboard.press("Escape")
    expect(tip).to_be_hidden()
    facets = api.headcount(space)["facets"]
    assert facets["chapter"] == [{"value": "one", "count": 1, "people": 1}]


def test_a_badge_whose_reader_may_see_no_names_asks_for_none(host: Host) -> None:
    page = host.open(f'<headcount-badge space="{course()}"></headcount-badge>', signed_in=False)
    expect(part(page, "count")).to_have_text("1", timeout=SOON)
    page.get_by_role("button").focus()
    expect(part(page, "tooltip")).to_have_text("1 person here now")
    assert not [url for url in host.asked if "/viewers" in url]


def test_a_badge_that_is_taken_off_the_page_leaves_and_one_that_is_moved_stays(
    host: Host, api: Api
) -> None:
    space = course()
    page = host.open(f'<p></p><headcount-badge space="{space}"></headcount-badge>')
    expect(part(page, "count")).to_have_text("1", timeout=SOON)
    page.evaluate("document.querySelector('p').append(document.querySelector('headcount-badge'))")
    page.wait_for_timeout(800)
    assert not [url for url in host.asked if url.endswith("/leave")]
    with page.expect_request("**/leave"):
        page.evaluate("document.querySelector('headcount-badge').remove()")


def test_a_passive_badge_shows_a_count_and_is_not_in_it(host: Host, api: Api) -> None:
    space = course()
    api.beat(space, "s1")
    api.beat(space, "s2")
    page = host.open(
        f'<headcount-badge space="{space}" passive refresh-interval="1000"></headcount-badge>',
        signed_in=False,
    )
    expect(part(page, "count")).to_have_text("2", timeout=SOON)


# ------------------------------------------------------------------------------------- widgets


def test_the_live_widget_shows_a_links_numbers_and_viewers(host: Host, api: Api) -> None:
    link = new_space("link").partition(":")[2]
    page = host.open(f'<headcount-live link="{link}" refresh-interval="60000"></headcount-live>')
    expect(part(page, "empty")).to_be_visible(timeout=SOON)
    for number in range(6):
        said = {"action": "join", "sessionId": f"s{number}", "email": f"v{number}@example.test"}
        api.request("POST", f"/api/send/realtime/{link}", body=said)
    page.get_by_role("button", name="Refresh").click()
    expect(part(page, "viewer")).to_have_count(5, timeout=SOON)
    expect(part(page, "viewer").first).to_contain_text("v0@example.test")
    expect(part(page, "viewer").first).to_contain_text("Page 1")
    values = part(page, "metric").all_inner_texts()
    assert [text.split("\n")[0] for text in values] == [
        "Active now",
        "Total views",
        "Views today",
        "Average time",
        "This week",
        "This month",
        "Peak viewers",
    ]
    assert values[0].endswith("6")
    expect(part(page, "status")).to_have_text("Live")


def test_a_widget_without_a_token_says_what_it_needs_and_goes_on_with_one(host: Host) -> None:
    page = host.open("<headcount-traffic></headcount-traffic>", signed_in=False)
    expect(page.get_by_role("alert")).to_contain_text("administrator's token", timeout=SOON)
    page.wait_for_timeout(300)
    assert len([url for url in host.asked if url.endswith("/api/traffic/live")]) == 1
    host.sign_in()
    expect(page.get_by_role("alert")).to_be_hidden(timeout=SOON)
    expect(part(page, "metric")).to_have_count(3)


def test_the_traffic_card_shows_sessions_and_the_top_pages(host: Host, api: Api) -> None:
    for number in range(2):
        api.beat("site:main", f"stk-traffic-{number}", page="/stk-traffic")
    page = host.open("<headcount-traffic></headcount-traffic>")
    expect(part(page, "page").filter(has_text="/stk-traffic")).to_contain_text("2", timeout=SOON)
    for number in range(2):
        api.leave("site:main", f"stk-traffic-{number}")


def test_the_stream_dashboard_follows_by_socket_and_polls_without(host: Host, api: Api) -> None:
    stream = new_space("stream").partition(":")[2]
    space = f"stream:{stream}"
    quality = {"bandwidth": 4200, "latency": 85}
    api.beat(space, "s1", facets={"device": "tablet", "country": "NL"}, quality=quality)
    page = host.open(f'<headcount-stream stream-id="{stream}" refresh-interval="60000">')
    expect(part(page, "status")).to_have_text("Live", timeout=2 * SOON)  # its function is cold
    expect(part(page, "metric").first).to_contain_text("1", timeout=SOON)
    expect(part(page, "devices")).to_contain_text("tablet", timeout=SOON)
    expect(part(page, "countries")).to_contain_text("Netherlands")
    api.beat(space, "s2")
    expect(part(page, "metric").first).to_contain_text("2", timeout=SOON)  # by the socket

    host.page.route_web_socket("**", lambda socket: socket.close())
    page = host.open(f'<headcount-stream stream-id="{stream}" refresh-interval="1000">')
    expect(part(page, "status")).to_have_text("Polling", timeout=SOON)
    api.beat(space, "s3")
    expect(part(page, "metric").first).to_contain_text("3", timeout=SOON)


def test_a_stream_without_auto_refresh_loads_once_and_when_told(host: Host) -> None:
    page = host.open("<p></p>")
    token = json.dumps(host.stack.outputs["adminToken"])
    page.evaluate(
        f"""document.querySelector("main").append(Object.assign(
              document.createElement("headcount-stream"),
              {{ streamId: "stk-paused", autoRefresh: false, refreshInterval: 1000,
                 token: {token} }}))"""
    )
    expect(part(page, "status")).to_have_text("Paused", timeout=SOON)

    def loads() -> int:
        page.wait_for_timeout(1200)
        return len([url for url in host.asked if "/real-time/stk-paused" in url])

    before = loads()
    assert loads() == before
    page.get_by_role("button", name="Refresh").click()
    assert loads() == before + 1


# ----------------------------------------------------------------------------------- any framework


def test_properties_set_before_the_element_is_defined_are_kept_and_reflected(host: Host) -> None:
    page = host.page
    page.route("**/headcount-elements.js", lambda route: route.abort())
    host.open('<headcount-live link="x" id="early"></headcount-live>', signed_in=False)
    page.evaluate("Object.assign(early, { link: 'stk-early', refreshInterval: 7000, token: 't' })")
    page.unroute("**/headcount-elements.js")
    script = json.dumps(f"{host.stack.outputs['origin']}/headcount-elements.js?again")
    page.evaluate(f"import({script})")
    page.evaluate(f"import({script.replace('again', 'and-again')})")  # defines nothing twice
    assert page.evaluate(
        "[early.link, early.getAttribute('link'), early.refreshInterval,"
        " early.getAttribute('refresh-interval'), early.token, early.getAttribute('token')]"
    ) == ["stk-early", "stk-early", 7000, "7000", "t", None]
    page.evaluate("early.setAttribute('link', 'stk-late')")
    assert page.evaluate("early.link") == "stk-late"


def test_words_can_be_translated_and_numbers_follow_the_language(host: Host, api: Api) -> None:
    space = course()
    page = host.open(
        f'<div lang="ar" dir="rtl"><headcount-badge space="{space}"></headcount-badge></div>'
    )
    expect(part(page, "count")).to_have_text("1", timeout=SOON)
    script = json.dumps(f"{host.stack.outputs['origin']}/headcount-elements.js")
    page.evaluate(
        f"import({script}).then(({{ translate }}) => translate({{ watching: 'هنا الآن' }}))"
    )
    expect(part(page, "label")).to_have_text("هنا الآن")
    boxes = [part(page, name).bounding_box() for name in ("count", "pulse")]
    assert boxes[0]
    assert boxes[1]
    assert boxes[0]["x"] < boxes[1]["x"]  # from the right


# ---------------------------------------------------------------------------------- accessibility


PULSE = """
  getComputedStyle(
    document.querySelector("headcount-badge").shadowRoot.querySelector(".pulse"), "::after",
  ).animationName
"""
VIOLATIONS = """
  axe.run().then(({ violations }) => JSON.stringify(violations.map(({ id, nodes }) =>
    [id, nodes.map(({ target, failureSummary }) => [target, failureSummary])])))
"""


@cache
def axe() -> str:
    """axe-core's source."""
    bundler = Bundler()
    bundler.install("axe-core")
    return (bundler.state / "node_modules" / "axe-core" / "axe.min.js").read_text()


def test_axe_finds_nothing_in_light_and_dark_from_left_and_right(host: Host, api: Api) -> None:
    try:
        source = axe()
    except UsageError as error:
        missing("axe-core", str(error))
    space, stream = course(), new_space("axe", "stream")
    for number in range(3):
        api.beat(space, f"s{number}", userId=f"u{number}", name=f"Viewer {number}")
        api.beat(stream, f"s{number}", facets={"device": "mobile", "country": "NL"})
    page = host.open(
        f'<headcount-badge space="{space}"></headcount-badge>'
        f'<headcount-live space="{space}"></headcount-live>'
        "<headcount-traffic></headcount-traffic>"
        f'<headcount-stream stream-id="{stream.partition(":")[2]}"></headcount-stream>'
    )
    page.get_by_role("button").first.focus()
    expect(page.locator('headcount-badge [part="viewer"]')).to_have_count(4, timeout=SOON)
    expect(part(page, "countries")).to_contain_text("Netherlands", timeout=SOON)
    page.emulate_media(reduced_motion="reduce")
    assert page.evaluate(PULSE) == "none"
    # Over the debugger: the page's own policy allows no such script.
    debugger = page.context.new_cdp_session(page)
    debugger.send("Runtime.evaluate", {"expression": source})
    for theme, direction in [("light", "ltr"), ("dark", "ltr"), ("light", "rtl"), ("dark", "rtl")]:
        page.evaluate(
            """([theme, direction]) => {
              const { style } = document.documentElement;
              document.documentElement.dir = direction;
              style.colorScheme = theme;
              style.background = theme === "dark" ? "#0d0f13" : "#ffffff";
              style.color = theme === "dark" ? "#ffffff" : "#000000";
            }""",
            [theme, direction],
        )
        asked = {"expression": VIOLATIONS, "awaitPromise": True, "returnByValue": True}
        found = debugger.send("Runtime.evaluate", asked)
        assert json.loads(found["result"]["value"]) == [], (theme, direction)
