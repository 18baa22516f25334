"""The React hooks in real React with effects run twice, on pages of another origin."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import pytest
from playwright.sync_api import (
    Browser,
    Page,
    Playwright,
    Request,
    Route,
    WebSocketRoute,
    expect,
)

from lab.harness.clients import Api, settled
from local.picture import CHROMIUM_ARGS, find_chromium
from tests.stack import javascript
from tests.stack.conftest import Stack, new_space
from tests.stack.javascript import REACT, REACT_BUNDLE, Site, UnavailableError
from tests.support.missing import missing

pytestmark = [pytest.mark.stack, pytest.mark.browser, pytest.mark.exhaustive]

LARGEST = 6 * 1024  # bytes, minified and gzipped, as served
LINKS = "**/api/send/realtime/**"
REAL_TIME = "**/api/v1/analytics/real-time/*"
SOCKETS = "**/ws?*"


@pytest.fixture(scope="package")
def react_site(browser: Browser) -> Iterator[Site]:
    """A customer's site, made with React."""
    try:
        with javascript.site(browser, REACT_BUNDLE) as site:
            yield site
    except UnavailableError as error:
        missing("The bundler of the React pages", str(error))


@dataclass(frozen=True)
class App:
    """A tab with the app, and its requests."""

    page: Page
    sent: list[Request]

    def configure(self, **settings: Any) -> None:
        self.page.evaluate("(settings) => app.configure(settings)", settings)

    def show(self, name: str, place: str = "", **props: Any) -> None:
        self.page.evaluate("(given) => app.show(...given)", [name, props, place or name])

    def remove(self, place: str) -> None:
        self.page.evaluate("(place) => app.remove(place)", place)

    def hide(self, *, hidden: bool = True) -> None:
        self.page.evaluate("(hidden) => app.hide(hidden)", hidden)

    def sees(self, text: str, place: str = "main", within: float = 8) -> None:
        expect(self.page.locator(place)).to_contain_text(text, timeout=within * 1000)

    def press(self, name: str) -> None:
        self.page.get_by_role("button", name=name).click()

    def settle(self) -> None:
        """Wait until every request is answered."""
        self.page.wait_for_timeout(100)
        for request in list(self.sent):
            request.response()
        self.page.wait_for_timeout(50)

    def wait_for_a_beat(self) -> None:
        """Run the clock to the next request, which is scheduled once the last is answered."""
        self.settle()
        self.page.clock.fast_forward(31_000)

    def bodies(self, path: str, method: str = "POST") -> list[Any]:
        """The requests to that path."""
        return [
            json.loads(request.post_data or "null")
            for request in self.sent
            if path in request.url and request.method == method
        ]


# A page's requests in its last moments may arrive late: they are kept, for the test to send.
KEEP_LEAVES = """(() => {
  const send = navigator.sendBeacon;
  navigator.sendBeacon = (url, data) => {
    if (!globalThis.keepsLeaves) return send.call(navigator, url, data);
    const kept = JSON.parse(localStorage.getItem("late") ?? "[]");
    localStorage.setItem("late", JSON.stringify([...kept, { url, data }]));
    return true;
  };
})()"""


@pytest.fixture
def visit(react_site: Site, stack: Stack) -> Callable[..., Any]:
    """Open the site, as a new visitor."""

    @contextmanager
    def visit(*, token: str | None = None, path: str = "/") -> Iterator[App]:
        with react_site.visitor(path, with_clock=True) as tab:
            app = App(tab.page, [])
            tab.page.on("request", lambda request: app.sent.append(request))  # noqa: PLW0108
            tab.page.evaluate(KEEP_LEAVES)
            app.configure(origin=stack.outputs["origin"], token=token)
            yield app

    return visit


@pytest.fixture
def app(visit: Callable[..., Any]) -> Iterator[App]:
    """A visitor."""
    with visit() as app:
        yield app


@pytest.fixture
def admin(visit: Callable[..., Any], stack: Stack) -> Iterator[App]:
    """An admin."""
    with visit(token=stack.outputs["adminToken"]) as app:
        yield app


@pytest.fixture
def name(request: pytest.FixtureRequest) -> str:
    """An id that no other test uses."""
    return new_space(request.node.originalname[5:50]).partition(":")[2]


def becomes(read: Callable[[], Any], expected: Any) -> None:
    """Wait for it."""
    assert settled(read, expected) == expected


def hold(app: App, pattern: str) -> list[Route]:
    """Hold requests back from the API until they are released."""
    held: list[Route] = []
    # Playwright sets an attribute on handlers, which a builtin does not allow.
    app.page.route(pattern, lambda route: held.append(route))  # noqa: PLW0108
    return held


def wait_for(app: App, held: list[Any], number: int = 1) -> None:
    for _ in range(100):
        if len(held) >= number:
            return
        app.page.wait_for_timeout(50)
    pytest.fail(f"only {len(held)} of {number}")


# ------------------------------------------------------------- reloads and two tabs of one browser


def reload(app: App, api: Api) -> list[Callable[[], None]]:
    """Reload the page. Returns its leaves, to be sent."""
    app.settle()
    app.page.evaluate("void (globalThis.keepsLeaves = true)")
    app.page.reload()
    app.page.evaluate(KEEP_LEAVES)
    app.configure(origin=api.origin)
    late = json.loads(app.page.evaluate("localStorage.getItem('late') ?? '[]'"))
    app.page.evaluate("localStorage.removeItem('late')")

    def sender(url: str, data: str | None = None) -> Callable[[], None]:
        def send() -> None:
            path = url.removeprefix(api.origin)
            assert api.request("POST", path, data=data and data.encode()).status == 200

        return send

    return [sender(**one) for one in late]


def stays(read: Callable[[], Any], expected: Any) -> None:
    """Hold for longer than a count takes to follow."""
    for _ in range(6):
        assert read() == expected
        time.sleep(0.5)


def test_a_reloaded_course_page_is_one_viewer_throughout(app: App, api: Api, name: str) -> None:
    def viewers() -> Any:
        views = api.get(f"/v1/spaces/course:{name}").body["views"]["total"]
        return api.request("GET", f"/api/courses/{name}/viewers/count").body["total"], views

    def show() -> None:
        app.show("LiveViewerBadge", courseId=name, user={"userId": "ada", "name": "Ada"})

    show()
    becomes(viewers, (1, 1))
    for _ in range(2):
        (late,) = reload(app, api)
        show()
        app.sees("Watching: 1")
        app.settle()
        late()
        stays(viewers, (1, 1))
    app.remove("LiveViewerBadge")
    becomes(viewers, (0, 1))


def test_one_of_two_tabs_on_a_course_may_close(app: App, api: Api, name: str) -> None:
    def viewers() -> Any:
        views = api.get(f"/v1/spaces/course:{name}").body["views"]["total"]
        return api.request("GET", f"/api/courses/{name}/viewers/count").body["total"], views

    other = App(app.page.context.new_page(), [])
    other.page.goto(app.page.url)
    for tab in app, other:
        tab.configure(origin=api.origin)
        tab.show("LiveViewerBadge", courseId=name, user={"userId": "ada"})
        tab.sees("Watching: 1")
    becomes(viewers, (1, 1))
    other.page.wait_for_timeout(500)
    other.page.close(run_before_unload=True)
    stays(viewers, (1, 1))
    app.page.close(run_before_unload=True)
    becomes(viewers, (0, 1))


def test_a_reloaded_app_is_one_activity_throughout(app: App, api: Api) -> None:
    user = app.page.evaluate("app.session().userId")

    def sessions() -> Any:
        listed = api.get("/api/analytics/live-activity").body["activities"]
        return [(one["sessionId"], one["startedAt"]) for one in listed if one["userId"] == user]

    app.show("App")
    app.settle()
    before = sessions()
    assert len(before) == 1
    (late,) = reload(app, api)
    app.show("App")
    app.settle()
    late()
    stays(sessions, before)
    app.remove("App")
    becomes(sessions, [])


def test_a_reloaded_link_is_one_view_throughout(
    app: App, api: Api, link: Callable[[], Any], name: str
) -> None:
    app.show("LinkPage", linkId=name, visitorSession=VISITOR)
    becomes(link, (1, 1, [(None, 1)]))
    (late,) = reload(app, api)
    app.show("LinkPage", linkId=name, visitorSession=VISITOR)
    app.settle()
    late()
    stays(link, (1, 1, [(None, 1)]))
    app.remove("LinkPage")
    becomes(link, (0, 1, []))


# ----------------------------------------------------------------------------------- link analytics

VISITOR = {"sessionId": "s1", "fingerprint": "f1"}


@pytest.fixture
def link(api: Api, name: str) -> Callable[[], Any]:
    """The link's numbers: (viewers now, views ever, [(email, page)])."""

    def read() -> Any:
        body = api.get(f"/api/send/realtime/{name}").body
        viewers = [(one["email"], one["currentPage"]) for one in body["activeViewers"]]
        return body["metrics"]["activeViewers"], body["metrics"]["totalViews"], viewers

    return read


def test_a_viewer_is_there_from_mount_to_unmount_and_counted_once(
    app: App, link: Callable[[], Any], name: str
) -> None:
    app.show("LinkPage", linkId=name, visitorSession=VISITOR, email="a@example.com")
    becomes(link, (1, 1, [("a@example.com", 1)]))

    app.press("Page 3")
    becomes(link, (1, 1, [("a@example.com", 3)]))
    app.wait_for_a_beat()
    app.settle()
    app.remove("LinkPage")

    becomes(link, (0, 1, []))
    app.page.clock.fast_forward(120_000)
    app.settle()
    actions = [body["action"] for body in app.bodies(name)]
    assert actions == ["join", "heartbeat", "heartbeat", "leave"]


def test_nothing_is_sent_until_there_is_a_session_and_an_email_is_no_new_view(
    app: App, link: Callable[[], Any], name: str
) -> None:
    app.show("LinkPage", linkId=name)
    app.page.wait_for_timeout(200)
    assert app.bodies(name) == []

    app.show("LinkPage", linkId=name, visitorSession=VISITOR)
    becomes(link, (1, 1, [(None, 1)]))
    app.show("LinkPage", linkId=name, visitorSession=VISITOR, email="a@example.com")

    becomes(link, (1, 1, [("a@example.com", 1)]))
    app.settle()
    assert [body["action"] for body in app.bodies(name)] == ["join", "join"]


def test_a_page_that_is_only_prerendered_counts_nobody(
    app: App, link: Callable[[], Any], name: str
) -> None:
    app.page.evaluate(
        "Object.defineProperty(document, 'prerendering', "
        "{ configurable: true, get: () => !globalThis.shown })"
    )
    app.show("LinkPage", linkId=name, visitorSession=VISITOR)
    app.page.wait_for_timeout(500)
    assert app.bodies(name) == []
    assert link() == (0, 0, [])
    app.page.evaluate("shown = true; document.dispatchEvent(new Event('prerenderingchange'))")
    becomes(link, (1, 1, [(None, 1)]))


def test_an_answer_of_something_else_is_tried_again(
    app: App, link: Callable[[], Any], name: str
) -> None:
    app.page.route(LINKS, lambda route: route.fulfill(body="<html>Sign in to the WLAN</html>"))
    app.show("LinkPage", linkId=name, visitorSession=VISITOR)
    app.page.wait_for_timeout(500)
    app.page.unroute(LINKS)
    app.page.clock.fast_forward(3_000)
    becomes(link, (1, 1, [(None, 1)]))


def test_ids_may_be_numbers_and_what_is_wrong_is_in_the_console_once(
    app: App, link: Callable[[], Any], name: str
) -> None:
    words: list[str] = []
    app.page.on("console", lambda message: words.append(message.text))
    app.show("LinkPage", linkId=name, visitorSession={"sessionId": 42, "fingerprint": 7})
    becomes(link, (1, 1, [(None, 1)]))
    app.remove("LinkPage")
    becomes(link, (0, 1, []))
    app.show("LinkPage", linkId=name, visitorSession={"sessionId": "~ours", "fingerprint": "f"})
    app.page.wait_for_timeout(500)
    app.page.clock.fast_forward(10 * 60_000)
    app.page.wait_for_timeout(500)
    warnings = [text for text in words if text.startswith("Headcount: ")]
    assert warnings == [
        "Headcount: sessionId must not begin with '~': such ids are Headcount's own."
    ]


def test_two_components_of_one_session_are_one_viewer_until_both_are_gone(
    app: App, link: Callable[[], Any], name: str
) -> None:
    for place in ("first", "second"):
        app.show("LinkPage", place, linkId=name, visitorSession=VISITOR)
    becomes(link, (1, 1, [(None, 1)]))
    app.remove("first")
    app.page.wait_for_timeout(200)
    assert [body["action"] for body in app.bodies(name)] == ["join"]
    app.remove("second")
    becomes(link, (0, 1, []))


def test_a_join_under_way_does_not_outlive_the_unmount(
    app: App, link: Callable[[], Any], name: str
) -> None:
    held = hold(app, LINKS)
    app.show("LinkPage", linkId=name, visitorSession=VISITOR)
    wait_for(app, held)
    app.remove("LinkPage")
    wait_for(app, held, 2)
    held[1].continue_()  # the leave arrives first
    held[0].continue_()
    wait_for(app, held, 3)
    held[2].continue_()

    becomes(link, (0, 1, []))
    assert [body["action"] for body in app.bodies(name)] == ["join", "leave", "leave"]


def test_a_closed_page_leaves_the_link(
    visit: Callable[..., Any], link: Callable[[], Any], name: str
) -> None:
    with visit() as app:
        app.show("LinkPage", linkId=name, visitorSession=VISITOR)
        becomes(link, (1, 1, [(None, 1)]))
        app.page.close(run_before_unload=True)
        becomes(link, (0, 1, []))


def test_a_page_that_comes_back_soon_from_the_browsers_cache_continues_the_view(
    react_site: Site, playwright: Playwright, stack: Stack, link: Callable[[], Any], name: str
) -> None:
    browser = playwright.chromium.launch(
        executable_path=find_chromium(),
        args=CHROMIUM_ARGS,
        ignore_default_args=["--disable-back-forward-cache"],
    )
    with Site(react_site.origin, browser).visitor() as tab:
        app = App(tab.page, [])
        app.configure(origin=stack.outputs["origin"])
        app.show("LinkPage", linkId=name, visitorSession=VISITOR)
        becomes(link, (1, 1, [(None, 1)]))
        tab.page.evaluate("window.kept = true")
        tab.page.goto(f"{react_site.origin}/next")
        becomes(link, (0, 1, []))
        tab.page.go_back(wait_until="commit")
        assert tab.page.evaluate("window.kept"), "the browser did not keep the page"
        becomes(link, (1, 1, [(None, 1)]))
    browser.close()


def test_the_widget_polls_and_refreshes(admin: App, api: Api, name: str) -> None:
    admin.show("LinkWidget", linkId=name)
    admin.sees("Viewers: 0")

    def join(session: str) -> None:
        body = {"action": "join", "sessionId": session, "email": f"{session}@example.com"}
        assert api.request("POST", f"/api/send/realtime/{name}", body=body).status == 200

    join("ada")
    admin.page.clock.fast_forward(5_000)
    admin.sees("Viewers: 1")
    join("ben")
    admin.press("Refresh")
    admin.sees("ben@example.com on page 1")

    admin.remove("LinkWidget")
    before = len(admin.bodies(name, "GET"))
    admin.page.clock.fast_forward(60_000)
    admin.page.wait_for_timeout(100)
    assert len(admin.bodies(name, "GET")) == before


def test_an_error_is_shown_the_data_stay_and_a_token_fixes_it(
    app: App, stack: Stack, name: str
) -> None:
    app.show("LinkWidget", linkId=name)
    app.sees("token", "[role=alert]")
    app.page.evaluate(
        "(token) => app.configure({ token: async () => token })", stack.outputs["adminToken"]
    )
    app.sees("Viewers: 0")
    expect(app.page.get_by_role("alert")).to_have_count(0)

    app.page.route(LINKS, lambda route: route.abort())
    app.press("Refresh")
    app.sees("Headcount can't be reached.", "[role=alert]")
    app.sees("Viewers: 0")
    app.page.unroute(LINKS)
    app.page.clock.fast_forward(3_000)
    expect(app.page.get_by_role("alert")).to_have_count(0, timeout=8000)


def test_a_slow_answer_is_waited_for_and_one_of_another_link_is_not_shown(
    admin: App, name: str
) -> None:
    held = hold(admin, LINKS)
    admin.show("LinkWidget", linkId=name)
    wait_for(admin, held)
    admin.page.clock.fast_forward(15_000)
    admin.press("Refresh")
    admin.page.wait_for_timeout(200)
    assert len(held) == 1

    admin.show("LinkWidget", linkId=f"{name}-2")
    wait_for(admin, held, 2)
    numbers = {"success": True, "metrics": {"activeViewers": 99}, "activeViewers": []}
    headers = {"access-control-allow-origin": "*"}
    held[0].fulfill(json=numbers, headers=headers)
    admin.page.wait_for_timeout(200)
    admin.sees("Loading")
    held[1].fulfill(json=numbers | {"metrics": {"activeViewers": 2}}, headers=headers)
    admin.sees("Viewers: 2")


def test_a_hidden_tab_does_not_poll_and_refreshes_when_visible(admin: App, name: str) -> None:
    admin.show("LinkWidget", linkId=name)
    admin.sees("Viewers: 0")
    admin.hide()
    before = len(admin.bodies(name, "GET"))
    admin.page.clock.fast_forward(600_000)
    admin.page.wait_for_timeout(100)
    assert len(admin.bodies(name, "GET")) == before
    admin.hide(hidden=False)
    admin.page.wait_for_timeout(300)
    assert len(admin.bodies(name, "GET")) == before + 1


# ------------------------------------------------------------------------------------ live activity

FILM = {"contentId": "film", "contentTitle": "Film", "contentType": "movie", "quality": "1080p"}


@pytest.fixture
def doing(app: App, api: Api) -> Callable[[], Any]:
    """The visitor's listed activities: [(activity, title, position)]."""
    user = app.page.evaluate("app.session().userId")

    def read() -> Any:
        listed = api.get("/api/analytics/live-activity").body["activities"]
        return [
            (one["activityType"], one["contentTitle"], one["currentPosition"])
            for one in listed
            if one["userId"] == user
        ]

    return read


def test_an_activity_follows_the_visitors_actions(app: App, doing: Callable[[], Any]) -> None:
    app.show("App")
    becomes(doing, [("browsing", None, 0)])
    app.press("Preview")
    becomes(doing, [("watching", "Movie Title", 0)])
    app.press("Stop")
    becomes(doing, [("browsing", None, 0)])
    app.settle()
    assert len(app.bodies("live-activity")) == 3, "mounted twice, it beats once"
    app.wait_for_a_beat()
    app.settle()
    assert len(app.bodies("live-activity")) == 4
    app.remove("App")
    becomes(doing, [])
    app.page.clock.fast_forward(120_000)
    app.settle()
    assert len(app.bodies("live-activity")) == 4 + 1
    assert len(app.bodies("live-activity/leave")) == 1


def test_progress_is_sent_every_five_seconds_and_a_player_that_closes_browses(
    app: App, doing: Callable[[], Any]
) -> None:
    app.show("App", film=FILM)
    becomes(doing, [("browsing", None, 0)])

    def play(event: str, at: float) -> None:
        app.page.evaluate(
            """([event, at]) => {
              const video = document.querySelector("video");
              for (const [name, value] of Object.entries({ currentTime: at, duration: 3600.4 }))
                Object.defineProperty(video, name, { configurable: true, value });
              video.dispatchEvent(new Event(event));
            }""",
            [event, at],
        )

    play("play", 0)
    becomes(doing, [("watching", "Film", 0)])
    before = len(app.bodies("live-activity"))
    for at in range(1, 20):
        play("timeupdate", at / 4)
    app.page.wait_for_timeout(200)
    assert len(app.bodies("live-activity")) == before
    app.page.clock.fast_forward(5_000)
    becomes(doing, [("watching", "Film", 5)])
    assert len(app.bodies("live-activity")) == before + 1

    app.show("App")
    becomes(doing, [("browsing", None, 0)])


def test_a_hidden_tab_is_not_active_and_is_again_when_it_is_seen(
    app: App, doing: Callable[[], Any]
) -> None:
    app.show("App")
    becomes(doing, [("browsing", None, 0)])
    app.hide()
    becomes(doing, [])
    app.page.clock.fast_forward(600_000)
    app.page.wait_for_timeout(200)
    assert doing() == []
    app.hide(hidden=False)
    becomes(doing, [("browsing", None, 0)])
    app.page.close(run_before_unload=True)
    becomes(doing, [])


def test_a_browser_keeps_its_user_a_tab_its_session(app: App) -> None:
    session = app.page.evaluate("app.session()")
    app.page.reload()
    assert app.page.evaluate("app.session()") == session
    other = app.page.context.new_page()
    other.goto(app.page.url)
    second = other.evaluate("app.session()")
    assert second["userId"] == session["userId"]
    assert second["sessionId"] != session["sessionId"]


def test_the_signed_in_user_is_the_activitys_user(app: App, api: Api, name: str) -> None:
    app.show("App")
    app.configure(userId=name)

    def users() -> list[str]:
        listed = api.get("/api/analytics/live-activity").body["activities"]
        mine = app.page.evaluate("app.session().sessionId")
        return [one["userId"] for one in listed if one["sessionId"] == mine]

    becomes(users, [name])


# ----------------------------------------------------------------------------------- course viewers


def test_two_viewers_of_a_course_see_each_other_come_and_go(
    visit: Callable[..., Any], api: Api, name: str
) -> None:
    def count() -> Any:
        body = api.request("GET", f"/api/courses/{name}/viewers/count").body
        return body["total"], body["byChapter"]

    with visit() as ada, visit() as ben:
        ada.show("LiveViewerBadge", courseId=name, chapterId="intro")
        ada.sees("Watching: 1, this chapter: 1")
        ben.show("LiveViewerBadge", courseId=name, chapterId="intro")
        ben.sees("Watching: 2, this chapter: 2")
        ada.wait_for_a_beat()
        ada.sees("Watching: 2, this chapter: 2")
        ben.show("LiveViewerBadge", courseId=name, chapterId="end")
        becomes(count, (2, {"intro": 1, "end": 1}))
        ben.remove("LiveViewerBadge")
        becomes(count, (1, {"intro": 1}))
        ada.wait_for_a_beat()
        ada.sees("Watching: 1, this chapter: 1")
        ada.page.close(run_before_unload=True)
        becomes(count, (0, {}))


def test_names_are_shown_where_they_may_be_seen(
    visit: Callable[..., Any], stack: Stack, name: str
) -> None:
    user = {"userId": "ada", "name": "Ada"}
    for token, title in ((None, ""), (stack.outputs["adminToken"], "Ada")):
        with visit(token=token) as app:
            course = f"{name}-{title}"  # who only claims to be Ada is another person than Ada
            app.show("LiveViewerBadge", courseId=course, user=user, showAvatars=True)
            app.sees("Watching: 1")
            expect(app.page.locator("span")).to_have_attribute("title", title, timeout=8000)


def test_a_badge_counts_its_reader_before_the_first_answer(app: App, name: str) -> None:
    hold(app, "**/api/courses/**")
    app.show("LiveViewerBadge", courseId=name)
    app.sees("Watching: 1")


def test_the_hook_for_convexs_own_client_counts_its_reader_and_others(
    app: App, api: Api, stack: Stack, name: str
) -> None:
    who = {"userId": "ada", "userName": "Ada"}
    app.show("ConvexBadge", address=stack.outputs["origin"], courseId=name, who=who, chapterId="1")
    app.sees("Viewers: 1")
    api.beat(f"course:{name}", "ben", userId="ben")
    app.wait_for_a_beat()
    app.sees("Viewers: 2")
    app.remove("ConvexBadge")
    becomes(lambda: api.headcount(f"course:{name}")["people"], 1)


# --------------------------------------------------------------------------------- stream analytics


def watch(api: Api, stream: str, session: str) -> None:
    api.beat(f"stream:{stream}", session, userId=session)


def test_a_stream_is_followed_by_a_socket(admin: App, api: Api, name: str) -> None:
    admin.page.route(REAL_TIME, lambda route: route.abort())
    admin.show("CustomAnalytics", streamId=name)
    admin.sees("Headcount can't be reached.", "[role=alert]")
    watch(api, name, "ada")
    admin.sees("Viewers: 1")
    admin.sees("Status: Live")
    admin.sees("As of: 20")
    admin.page.unroute(REAL_TIME)
    admin.press("Refresh")
    expect(admin.page.get_by_text("Points: 0")).to_have_count(0, timeout=8000)
    watch(api, name, "ben")
    admin.sees("Viewers: 2")


def test_a_socket_may_have_the_documents_path(
    admin: App, stack: Stack, api: Api, name: str
) -> None:
    opened: list[str] = []
    admin.page.on("websocket", lambda socket: opened.append(socket.url))
    admin.configure(socketUrl=stack.outputs["origin"].replace("http", "ws"))
    admin.show("CustomAnalytics")
    admin.sees("Status: Live")
    wait_for(admin, opened)
    assert "/api/ws/analytics/realtime?token=" in opened[0]
    admin.show("CustomAnalytics", streamId=name)
    wait_for(admin, opened, 2)
    assert f"/api/ws/streams/{name}/metrics?token=" in opened[1]
    assert len(opened) == 2, "mounted twice, it connects once"


def test_without_a_socket_a_stream_is_polled(admin: App, api: Api, name: str) -> None:
    refused: list[WebSocketRoute] = []

    def refuse(socket: WebSocketRoute) -> None:
        refused.append(socket)
        socket.close()

    admin.page.route_web_socket(SOCKETS, refuse)
    admin.show("CustomAnalytics", streamId=name)
    admin.sees("Status: Live")
    wait_for(admin, refused)
    watch(api, name, "ada")
    admin.page.clock.fast_forward(5_000)
    admin.sees("Viewers: 1")
    expect(admin.page.get_by_text("Points: 0")).to_have_count(0, timeout=8000)
    for _ in range(4):
        admin.page.clock.fast_forward(10_000)
        admin.page.wait_for_timeout(100)
    assert 2 <= len(refused) <= 6, "it is retried, less and less often"
    admin.remove("CustomAnalytics")
    before = len(refused), len(admin.sent)
    admin.page.clock.fast_forward(300_000)
    admin.page.wait_for_timeout(100)
    assert (len(refused), len(admin.sent)) == before


def test_a_socket_that_closes_is_opened_again_and_kept_by_heartbeats(admin: App, name: str) -> None:
    opened: list[WebSocketRoute] = []
    received: list[str | bytes] = []
    frame = json.dumps({"type": "metrics", "data": {"currentViewers": 7}})

    def answer(socket: WebSocketRoute) -> None:
        opened.append(socket)

        def record(message: str | bytes) -> None:
            received.append(message)
            socket.send(frame)

        socket.on_message(record)
        socket.send(frame)

    admin.page.route_web_socket(SOCKETS, answer)
    admin.show("CustomAnalytics", streamId=name)
    admin.sees("Viewers: 7")
    admin.page.clock.fast_forward(61_000)
    wait_for(admin, received)
    assert json.loads(received[0]) == {"type": "heartbeat"}
    opened[0].close()
    admin.page.clock.fast_forward(2_000)
    wait_for(admin, opened, 2)
    admin.sees("Viewers: 7")

    opened[1].on_message(lambda _: None)  # the connection is dead
    admin.page.clock.fast_forward(61_000)
    admin.page.wait_for_timeout(100)
    admin.page.clock.fast_forward(21_000)
    admin.page.wait_for_timeout(100)
    admin.page.clock.fast_forward(3_000)
    wait_for(admin, opened, 3)


def test_streams_that_are_live_are_listed_and_counted_together(
    admin: App, api: Api, name: str
) -> None:
    api.request("POST", f"/api/streams/{name}/start", token=api.token)
    watch(api, name, "ada")
    admin.show("CustomAnalytics", enableWebSocket=False)
    admin.sees("Status: Live")
    admin.press("Streams")
    admin.sees(f"{name}")
    api.request("POST", f"/api/streams/{name}/stop", token=api.token)


def test_a_viewer_who_must_not_see_a_stream_gets_an_error(app: App, name: str) -> None:
    app.show("CustomAnalytics", streamId=name)
    app.sees("token", "[role=alert]")
    app.sees("Status: Offline")
    app.press("Streams")
    app.sees("Active: ")


def test_a_stream_that_is_not_enabled_is_not_asked_for(admin: App, name: str) -> None:
    admin.show("CustomAnalytics", streamId=name, enabled=False)
    admin.page.wait_for_timeout(200)
    assert admin.sent == []
    admin.sees("Status: Offline")


# ------------------------------------------------------------------------------------- site traffic


def test_a_visitor_beats_at_once_and_every_30_seconds_and_may_sign_in(
    visit: Callable[..., Any], api: Api, name: str
) -> None:
    with visit(path=f"/{name}") as app:

        def listed() -> list[Any]:
            body = api.get("/v1/spaces/site:main/viewers?limit=100").body
            return [one["userId"] for one in body["viewers"] if one["page"] == f"/{name}"]

        app.show("Site")
        becomes(listed, [None])
        app.show("Site", user={"id": name})
        becomes(listed, [name])
        sent = len(app.bodies("/api/heartbeats"))
        assert sent <= 3
        app.wait_for_a_beat()
        wait_for(app, app.bodies("/api/heartbeats")[sent:])
        app.remove("Site")
        sent = len(app.bodies("/api/heartbeats"))
        app.page.clock.fast_forward(120_000)
        app.page.wait_for_timeout(100)
        bodies = app.bodies("/api/heartbeats")
        assert len(bodies) == sent
        assert len({body["sessionId"] for body in bodies}) == 1


def test_the_traffic_card_shows_and_polls(admin: App, api: Api, name: str) -> None:
    admin.show("LiveTrafficCard")
    admin.sees("Active Now: ")
    api.request("POST", "/api/heartbeats", body={"sessionId": name, "pagePath": f"/{name}"})
    admin.page.clock.fast_forward(10_000)
    expect(admin.page.locator("main")).not_to_contain_text("Active Now: 0", timeout=8000)


# ------------------------------------------------------------------------------------- the elements


def test_an_element_takes_its_token_from_react(app: App, stack: Stack, name: str) -> None:
    script = f"{stack.outputs['origin']}/headcount-elements.js"
    app.page.add_script_tag(url=script, type="module")
    app.page.evaluate("() => customElements.whenDefined('headcount-live')")
    with app.page.expect_response(LINKS) as answered:
        app.show("LinkCard", link=name, token=stack.outputs["adminToken"])
    assert answered.value.status == 200


# ----------------------------------------------------------------------------------------- the file


def test_the_file_is_served_small_with_types_and_needs_no_build_step(
    react_site: Site, stack: Stack, api: Api, name: str
) -> None:
    script = f"{stack.outputs['origin']}/headcount-react.js"
    answer = api.request("GET", "/headcount-react.js", headers={"accept-encoding": "gzip"})
    assert int(answer.headers["content-length"]) < LARGEST
    types = api.request("GET", "/headcount-react.d.ts")
    assert types.status == 200
    assert "useViewerTracking" in types.text
    page = f"""
      import {{ createElement, createRoot }} from "react";
      import {{ useViewerCount }} from "{script}";
      const Badge = () => createElement("p", null, "Here: " + useViewerCount("{name}").total);
      createRoot(document.body).render(createElement(Badge));"""
    with react_site.visitor() as tab:
        tab.page.route("**/react.js", lambda route: route.fulfill(path=REACT / "built/react.js"))
        tab.page.add_script_tag(type="importmap", content='{"imports": {"react": "/react.js"}}')
        tab.page.add_script_tag(type="module", content=page)
        expect(tab.page.locator("p")).to_have_text("Here: 1")
        becomes(lambda: api.headcount(f"course:{name}")["people"], 1)


def test_pages_render_on_a_server_where_there_is_no_window(react_site: Site) -> None:
    rendered = json.loads(javascript.run("node", "react/built/server.mjs"))
    assert rendered["session"] is None
    assert "Watching: <!-- -->1" in rendered["LiveViewerBadge"]


def test_the_types_fit_the_pages(react_site: Site) -> None:
    assert javascript.run("node_modules/.bin/tsc", "--project", "react") == ""
