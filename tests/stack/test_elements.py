"""headcount-elements.js on pages of another origin, under a strict Content-Security-Policy."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cache
from http.server import BaseHTTPRequestHandler

import pytest
from playwright.sync_api import Browser, Locator, Page, Route, expect

from lab.harness.clients import Api
from local.bundle import Bundler
from local.settings import UsageError
from tests.stack.conftest import Stack, new_space
from tests.support.missing import missing
from tests.support.servers import Quiet, listening

pytestmark = [pytest.mark.stack, pytest.mark.browser]

SOON = 10_000
REPORT_VIOLATIONS = """
  addEventListener('securitypolicyviolation', ({ violatedDirective, blockedURI }) =>
    (globalThis.violations ??= []).push(`${violatedDirective} ${blockedURI}`));
"""


@dataclass
class Host:
    """A page of a customer's site with elements; it must see no error and break no policy."""

    page: Page
    origin: str
    stack: Stack
    html: str = ""
    complaints: list[str] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)

    @property
    def document(self) -> str:
        """Serve the page."""
        script = f"{self.stack.outputs['origin']}/headcount-elements.js"
        return (
            '<!doctype html><html lang="en"><head><title>Host</title></head><body><main>'
            f'<h1>Host</h1>{self.html}</main><script type="module" src="{script}"></script>'
        )

    @property
    def policy(self) -> str:
        """Allow scripts and connections of the stack only, and no inline style."""
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

    class Site(Quiet, BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = host.document.encode()
            self.send_response(200)
            self.send_header("content-type", "text/html; charset=utf-8")
            self.send_header("content-security-policy", host.policy)
            self.end_headers()
            self.wfile.write(body)

    with listening(Site) as origin:
        context = browser.new_context(viewport={"width": 900, "height": 1200})
        host = Host(context.new_page(), origin, stack)
        host.page.add_init_script(REPORT_VIOLATIONS)
        host.page.on("pageerror", lambda error: host.complaints.append(str(error)))
        host.page.on("request", lambda request: host.asked.append(request.url))
        yield host
        violations = host.page.evaluate("globalThis.violations ?? []")
        context.close()
    assert host.complaints == []
    assert violations == []


def course() -> str:
    return new_space("badge", "course")


def part(page: Page, name: str) -> Locator:
    """A part of an element."""
    return page.locator(f'[part~="{name}"]')


# -------------------------------------------------------------------------------------------- badge


def test_a_badge_counts_its_reader_and_shows_names_to_those_allowed(host: Host, api: Api) -> None:
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
    page.keyboard.press("Escape")  # the focus is elsewhere: it may cover what one wants to read
    expect(tip).to_be_hidden()
    facets = api.headcount(space)["facets"]
    assert facets["chapter"] == [{"value": "one", "count": 1, "people": 1}]


def test_a_tooltip_that_is_open_before_the_first_count_fills_by_itself(
    host: Host, api: Api
) -> None:
    space = course()
    api.beat(space, "s1", userId="u1", name="Ann")
    held: list[Route] = []
    may_pass = False
    host.page.route(
        "**/presence", lambda route: route.continue_() if may_pass else held.append(route)
    )
    page = host.open(f'<headcount-badge space="{space}"></headcount-badge>')
    page.get_by_role("button").focus()
    expect(part(page, "tooltip")).to_be_visible()
    assert held
    may_pass = True
    for route in held:
        route.continue_()
    expect(part(page, "viewer")).to_have_count(2, timeout=SOON)
    expect(part(page, "tooltip")).to_contain_text("Ann")


def test_a_badge_whose_reader_must_not_see_names_requests_none(host: Host) -> None:
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


@pytest.mark.parametrize("passive", ["", "passive"])
@pytest.mark.parametrize(
    ("space", "reason"),
    [("", "Set the attribute space."), ("course", "The space is not valid."), ("no:where", "kind")],
)
def test_a_badge_without_a_space_says_so_and_never_looks_live(
    host: Host, space: str, reason: str, passive: str
) -> None:
    words: list[str] = []
    host.page.on("console", lambda message: words.append(message.text))
    page = host.open(f'<headcount-badge space="{space}" {passive}></headcount-badge>')
    badge = part(page, "badge")
    expect(badge).to_have_attribute("data-state", "stopped", timeout=SOON)
    expect(badge).to_contain_text("Stopped")
    assert "here now" not in badge.inner_text()
    badge.focus()
    expect(part(page, "tooltip")).to_contain_text(reason)
    page.wait_for_timeout(500)
    ours = [text for text in words if "adcount" in text and "Failed to load" not in text]
    assert len(ours) == 1
    green = page.evaluate(
        "getComputedStyle(document.querySelector('headcount-badge')"
        ".shadowRoot.querySelector('.pulse')).backgroundColor"
    )
    page.evaluate("document.querySelector('headcount-badge').setAttribute('space', 'course:x')")
    expect(badge).to_have_attribute("data-state", "live", timeout=SOON)
    assert green != page.evaluate(
        "getComputedStyle(document.querySelector('headcount-badge')"
        ".shadowRoot.querySelector('.pulse')).backgroundColor"
    )


def test_a_badge_is_a_sentence_within_a_sentence(host: Host, api: Api) -> None:
    space = course()
    label = "Now {n} person is|Now {n} people are viewing this"
    page = host.open(
        f'<p>Live: <headcount-badge plain space="{space}" label="{label}"></headcount-badge>!'
        "</p><p>One line.</p>"
    )
    badge = page.get_by_role("button")
    expect(badge).to_have_text("Now 1 person is viewing this", timeout=SOON)
    expect(part(page, "count")).to_have_text("1")
    heights = [page.locator("p").nth(n).bounding_box() for n in (0, 1)]
    assert heights[0]
    assert heights[1]
    assert heights[0]["height"] < 1.5 * heights[1]["height"]
    api.beat(space, "s1")
    expect(badge).to_have_text("Now 2 people are viewing this", timeout=SOON)


def test_a_badge_that_knows_nothing_can_be_hidden_and_warns_once(host: Host) -> None:
    words: list[str] = []
    host.page.on("console", lambda message: words.append(message.text))
    host.page.route("**/presence", lambda route: route.abort())
    host.page.clock.install()
    badge = f'<headcount-badge space="{course()}" when-unknown="hide"></headcount-badge>'
    page = host.open(badge + badge, signed_in=False)
    button = page.get_by_role("button").first
    expect(button).to_be_hidden()
    page.clock.fast_forward(30_000)
    page.wait_for_timeout(200)
    (warning,) = [text for text in words if "<headcount-badge>" in text]
    assert "no count of course:" in warning
    page.unroute("**/presence")
    page.clock.fast_forward(60_000)
    expect(button).to_be_visible(timeout=SOON)
    expect(button).to_have_text("1 here now")


def test_a_badge_shows_up_to_five_people_to_those_allowed(host: Host, api: Api) -> None:
    space = course()
    api.beat(space, "s1", userId="u1", name="Ada")
    page = host.open(f'<headcount-badge avatars space="{space}"></headcount-badge>')
    expect(part(page, "avatars").locator(".avatar")).to_have_text(["A", ""], timeout=SOON)
    for number in range(2, 8):
        api.beat(space, f"s{number}", userId=f"u{number}", name=f"Ben {number}")
    expect(part(page, "avatars").locator(".avatar")).to_have_count(5, timeout=SOON)


def test_a_badge_asks_once_for_names_that_its_reader_may_not_see(host: Host, api: Api) -> None:
    """Until they sign in: then with the next beat, even if nobody came."""
    words: list[str] = []
    host.page.on("console", lambda message: words.append(message.text))
    space = course()
    badge = f'<headcount-badge avatars names space="{space}"></headcount-badge>'
    page = host.open(badge, signed_in=False)
    expect(part(page, "count")).to_have_text("1", timeout=SOON)
    page.clock.install()
    for number in range(2, 4):
        api.beat(space, f"s{number}", userId=f"u{number}", name=f"Ben {number}")
        expect(part(page, "count")).to_have_text(str(number), timeout=SOON)
        page.clock.fast_forward(6_000)
        page.get_by_role("button").hover()
        page.wait_for_timeout(300)
        page.mouse.move(0, 900)
    assert len([url for url in host.asked if "/viewers" in url]) == 1
    (warning,) = [text for text in words if "<headcount-badge>" in text]
    assert f"no names of {space}" in warning
    host.sign_in()
    page.clock.fast_forward(31_000)  # the next beat
    expect(part(page, "avatars").locator(".avatar")).to_have_count(3, timeout=SOON)


def test_a_badge_of_a_count_for_admins_says_so_once(host: Host) -> None:
    words: list[str] = []
    host.page.on("console", lambda message: words.append(message.text))
    space = new_space("admins", "activity")
    page = host.open(f'<headcount-badge space="{space}"></headcount-badge>' * 2, signed_in=False)
    badge = part(page, "badge").first
    expect(badge).to_have_attribute("data-state", "stopped", timeout=SOON)
    badge.focus()
    expect(part(page, "tooltip").first).to_contain_text("administrator's token")
    (warning,) = [text for text in words if "<headcount-badge>" in text]
    assert f"no count of {space}" in warning


def test_the_dot_is_as_near_to_the_words_without_pictures(host: Host) -> None:
    page = host.open(f'<headcount-badge space="{course()}"></headcount-badge>', signed_in=False)
    expect(part(page, "count")).to_have_text("1", timeout=SOON)
    dot, words = (page.locator(one).bounding_box() for one in (".pulse", ".sentence"))
    assert dot
    assert words
    assert words["x"] - dot["x"] - dot["width"] == pytest.approx(8, abs=1)


# ------------------------------------------------------------------------------------------ widgets


def test_the_live_widget_shows_a_links_numbers_and_viewers(host: Host, api: Api) -> None:
    link = new_space("link").partition(":")[2]
    page = host.open(f'<headcount-live link="{link}" refresh-interval="60000"></headcount-live>')
    expect(part(page, "empty")).to_be_visible(timeout=SOON)
    for number in range(6):
        body = {"action": "join", "sessionId": f"s{number}", "email": f"v{number}@example.test"}
        api.request("POST", f"/api/send/realtime/{link}", body=body)
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
    assert values[3].endswith("–"), "no visit has ended, so there is no average"
    expect(part(page, "status")).to_have_text("Live")


def test_a_widget_without_a_token_asks_for_one_and_goes_on_with_it(host: Host) -> None:
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


def test_the_chart_of_a_stream_has_an_axis_and_says_what_is_below_the_pointer(host: Host) -> None:
    stream = new_space("chart").partition(":")[2]
    now = 1_800_000_000_000  # a whole minute
    points = [
        {"timestamp": iso(now - minute * 60_000), "viewers": 60 - minute, "chatActivity": None}
        for minute in range(60, -1, -1)
    ]

    def with_points(route: Route) -> None:
        answer = route.fetch()
        route.fulfill(response=answer, json={**answer.json(), "viewerTimeline": points})

    host.page.route("**/real-time/*", with_points)
    page = host.open(f'<headcount-stream stream-id="{stream}" auto-refresh="false">')
    axis = part(page, "axis")
    expect(part(page, "chart")).to_contain_text("60", timeout=SOON)
    expect(part(page, "chart")).to_contain_text("0")
    times = page.evaluate(
        "(now) => [3_600_000, 1_800_000, 0].map((ago) => new Date(now - ago)"
        ".toLocaleTimeString('en', { hour: 'numeric', minute: '2-digit' }))",
        now,
    )
    expect(axis).to_have_text(f"{times[0]}{times[2]}")
    box = part(page, "timeline").bounding_box()
    assert box
    page.mouse.move(box["x"] + box["width"] / 2 + 1, box["y"] + 20)
    expect(page.get_by_text(f"{times[1]}: 30", exact=True)).to_be_visible()
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] - 200)
    expect(page.get_by_text(f"{times[1]}: 30", exact=True)).to_be_hidden()


def iso(at: int) -> str:
    """Epoch milliseconds as the API writes them."""
    return datetime.fromtimestamp(at / 1000, UTC).isoformat().replace("+00:00", "Z")


def test_a_stream_without_auto_refresh_loads_once_and_on_demand(host: Host) -> None:
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


# ------------------------------------------------------------------------------------ any framework


def test_properties_set_before_the_element_is_defined_are_kept_and_reflected(host: Host) -> None:
    page = host.page
    page.route("**/headcount-elements.js", lambda route: route.abort())
    host.open('<headcount-live link="x" id="early"></headcount-live>', signed_in=False)
    page.evaluate("Object.assign(early, { link: 'stk-early', refreshInterval: 7000, token: 't' })")
    page.unroute("**/headcount-elements.js")
    script = json.dumps(f"{host.stack.outputs['origin']}/headcount-elements.js?again")
    page.evaluate(f"import({script})")
    page.evaluate(f"import({script.replace('again', 'and-again')})")  # defines no element twice
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


# ------------------------------------------------------------------------------------ accessibility


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
    # Through the debugger, because the page's policy allows no such script.
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
