"""Existing clients work unmodified: the npm packages and the plain calls of the five systems.

Each test runs in Node, and on a page of another origin in Chromium. Writers read their own
writes at once; tests wait for asynchronous counts.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import pytest
from playwright.sync_api import Browser

from lab.harness.clients import Api, eventually, settled
from tests.stack import javascript
from tests.stack.conftest import Stack, new_space
from tests.stack.javascript import Runtime, Site, ThrownError, UnavailableError
from tests.support.missing import missing

pytestmark = pytest.mark.stack

ANON_KEY = "eyJhbGciOiJIUzI1NiJ9.e30.of-another-project"
WITHIN = 10
"""Seconds until numbers that are counted asynchronously must show."""


@pytest.fixture(scope="package")
def node() -> Iterator[Runtime]:
    """The clients in Node."""
    try:
        with javascript.node() as runtime:
            yield runtime
    except UnavailableError as error:
        missing("The runtime of the npm clients", str(error))


@pytest.fixture(scope="package")
def elsewhere(browser: Browser) -> Iterator[Site]:
    """A customer's site, whose pages have the clients."""
    try:
        with javascript.site(browser) as site:
            yield site
    except UnavailableError as error:
        missing("The bundler of the npm clients", str(error))


@pytest.fixture(scope="package")
def chromium(elsewhere: Site) -> Iterator[Runtime]:
    """The clients on a page."""
    with elsewhere.visitor() as tab:
        yield tab


@pytest.fixture(
    params=["node", pytest.param("chromium", marks=[pytest.mark.browser, pytest.mark.exhaustive])]
)
def js(request: pytest.FixtureRequest) -> Runtime:
    """Node and Chromium in turn."""
    runtime: Runtime = request.getfixturevalue(request.param)
    return runtime


def new_id(word: str) -> str:
    """A new id, with "stk-" in it."""
    return new_space(word).partition(":")[2]


# ------------------------------------------------------------------------------- 000, live activity


@dataclass(frozen=True)
class Activity:
    """The calls of a page of the live activity system; logs out every user it signed in."""

    js: Runtime
    url: str
    token: str
    sessions: dict[str, dict[str, Any]] = field(default_factory=dict)

    def heartbeat(self, **activity: Any) -> Any:
        session = {"userId": activity.get("userId"), "sessionId": activity.get("sessionId")}
        answer = self.js.call("activity.heartbeat", self.url, activity)
        if answer["status"] == 200:
            self.sessions[answer["body"]["activityId"]] = session
        return answer

    def listed(self, max_age: int | None = None) -> Any:
        answer = self.js.call("activity.list", self.url, self.token, max_age)
        assert answer["status"] == 200, answer
        return answer["body"]

    def find(self, user: str) -> list[Any]:
        return [shown for shown in self.listed()["activities"] if shown["userId"] == user]

    def logout(self, session: dict[str, Any]) -> Any:
        return self.js.call("activity.logout", self.url, session)


@pytest.fixture
def activity(js: Runtime, stack: Stack) -> Iterator[Activity]:
    """The shared space of live activity, left as it was."""
    activity = Activity(js, stack.outputs["origin"], stack.outputs["adminToken"])
    yield activity
    for session in activity.sessions.values():
        activity.logout(session)


def test_a_watching_users_heartbeat_is_listed_at_once(activity: Activity) -> None:
    user, session, film = new_id("user"), new_id("session"), new_id("film")
    sent = {
        "userId": user,
        "sessionId": session,
        "activityType": "watching",
        "contentId": film,
        "contentTitle": "Example Movie",
        "contentType": "movie",
        "seasonNumber": 1,
        "episodeNumber": 2,
        "currentPosition": 1800,
        "duration": 3600,
        "quality": "1080p",
        "country": "US",
    }
    before = activity.listed()["stats"]
    began = time.time() * 1000

    answer = activity.heartbeat(**sent)

    assert answer["body"] == {"success": True, "activityId": f"live_{user}_{session}"}
    listed = activity.listed()
    (shown,) = [each for each in listed["activities"] if each["userId"] == user]
    assert {name: shown[name] for name in sent} == sent
    assert shown["id"] == f"live_{user}_{session}"
    assert shown["isActive"] is True
    assert began - 5000 < shown["startedAt"] <= shown["lastHeartbeat"] < began + 60_000
    stats = listed["stats"]
    assert stats["totalActive"] == before["totalActive"] + 1
    assert stats["watching"] == before["watching"] + 1
    assert stats["browsing"] == before["browsing"]
    assert stats["byDevice"][shown["deviceType"]] >= 1
    assert stats["byCountry"]["US"] == before["byCountry"].get("US", 0) + 1
    assert {
        "contentId": film,
        "contentTitle": "Example Movie",
        "contentType": "movie",
        "count": 1,
    } in stats["topContent"]


def test_progress_and_the_end_of_watching_show_at_once(activity: Activity) -> None:
    me = {"userId": new_id("user"), "sessionId": new_id("session")}
    film = {"contentId": new_id("film"), "contentTitle": "Film", "duration": 3600}
    for position in (0, 5, 10):
        activity.heartbeat(**me, activityType="watching", **film, currentPosition=position)
        (shown,) = activity.find(me["userId"])
        assert (shown["activityType"], shown["currentPosition"]) == ("watching", position)

    activity.heartbeat(**me, activityType="browsing")

    (shown,) = activity.find(me["userId"])
    assert shown["activityType"] == "browsing"
    assert shown["contentId"] is None


def test_logout_ends_the_activity_at_once(activity: Activity) -> None:
    me = {"userId": new_id("user"), "sessionId": new_id("session")}
    activity.heartbeat(**me, activityType="browsing")
    assert len(activity.find(me["userId"])) == 1

    assert activity.logout(me) == {"status": 200, "body": {"success": True}}

    assert activity.find(me["userId"]) == []


@pytest.mark.browser
def test_the_device_is_derived_from_the_sending_browser(chromium: Runtime, stack: Stack) -> None:
    activity = Activity(chromium, stack.outputs["origin"], stack.outputs["adminToken"])
    me = {"userId": new_id("user"), "sessionId": new_id("session")}
    activity.heartbeat(**me, activityType="browsing")

    (shown,) = activity.find(me["userId"])

    assert shown["deviceType"] == "desktop"
    activity.logout(me)


@pytest.mark.browser
def test_a_closed_page_ends_its_activity(elsewhere: Site, node: Runtime, stack: Stack) -> None:
    activity = Activity(node, stack.outputs["origin"], stack.outputs["adminToken"])
    me = {"userId": new_id("user"), "sessionId": new_id("session")}
    with elsewhere.visitor() as tab:
        tab.call("activity.heartbeat", activity.url, {**me, "activityType": "browsing"})
        assert len(activity.find(me["userId"])) == 1
        tab.call("activity.logoutOnUnload", activity.url, me)
        tab.page.close(run_before_unload=True)

        eventually(lambda: activity.find(me["userId"]) == [], WITHIN, last=activity.listed)


def test_an_activity_without_a_session_is_refused_with_the_missing_field(
    activity: Activity,
) -> None:
    answer = activity.heartbeat(userId=new_id("user"), activityType="browsing")

    assert answer["status"] == 400
    assert answer["body"]["success"] is False
    assert "sessionId" in answer["body"]["error"]


def test_the_list_of_activities_is_for_admins(activity: Activity) -> None:
    answer = activity.js.call("activity.list", activity.url, None, None)

    assert answer["status"] == 401
    assert answer["body"]["success"] is False


# ------------------------------------------------------------------------------ 001, course viewers


@dataclass(frozen=True)
class Course:
    """A course, as pages with the `convex` package see it."""

    js: Runtime
    url: str
    admin: str
    id: str

    def record(self, token: str | None = None, **args: Any) -> Any:
        args = {"courseId": self.id, **args}
        return self.js.call("courses.recordPresence", self.url, token, args)

    def remove(self, token: str | None = None, **args: Any) -> Any:
        args = {"courseId": self.id, **args}
        return self.js.call("courses.removePresence", self.url, token, args)

    def count(self) -> Any:
        return self.js.call("courses.getLiveViewerCount", self.url, None, {"courseId": self.id})

    def viewers(self, **args: Any) -> Any:
        args = {"courseId": self.id, **args}
        return self.js.call("courses.getActiveViewers", self.url, self.admin, args)


@pytest.fixture
def course(js: Runtime, stack: Stack) -> Course:
    """A course that no other test uses."""
    return Course(js, stack.outputs["origin"], stack.outputs["adminToken"], new_id("course"))


def test_every_viewer_of_a_course_is_counted_at_once(course: Course) -> None:
    assert course.count() == {"total": 0, "byChapter": {}}
    course.record(userId="ada", chapterId="intro")
    assert course.count() == {"total": 1, "byChapter": {"intro": 1}}
    course.record(userId="ben", chapterId="intro")
    assert course.count() == {"total": 2, "byChapter": {"intro": 2}}
    course.record(userId="cyd")
    assert course.count() == {"total": 3, "byChapter": {"intro": 2}}


def test_three_tabs_of_one_user_are_one_viewer(course: Course) -> None:
    for tab in "abc":
        course.record(userId="ada", sessionId=f"{course.id}-{tab}", chapterId="intro")
    course.record(userId="ada", chapterId="intro")

    assert course.count() == {"total": 1, "byChapter": {"intro": 1}}
    assert [viewer["userId"] for viewer in course.viewers()] == ["ada"]


def test_a_viewer_is_in_the_chapter_they_were_in_last(course: Course) -> None:
    count = course.js.call(
        "courses.followChapters", course.url, course.id, "ada", ["one", "two", "three"]
    )

    assert count == {"total": 1, "byChapter": {"three": 1}}
    assert [viewer["chapterId"] for viewer in course.viewers()] == ["three"]


def test_the_badge_of_a_course_without_a_chapter_works(course: Course) -> None:
    count = course.js.call("courses.mountBadge", course.url, course.id, "ada")

    assert count == {"total": 1, "byChapter": {}}


def test_viewers_are_listed_with_name_avatar_chapter_and_times(course: Course) -> None:
    began = time.time() * 1000
    avatar = "https://example.com/ada.png"
    course.record(userId="ada", userName="Ada", userAvatar=avatar, chapterId="intro")

    (viewer,) = course.viewers()

    times = viewer.pop("joinedAt"), viewer.pop("lastSeen")
    claimed = {"userId": "ada", "verified": False, "name": "Ada", "chapterId": "intro"}
    assert viewer == {**claimed, "avatar": None}  # a stranger's picture, of any host
    assert all(began - 5000 < moment < began + 60_000 for moment in times), times


def test_a_signed_in_viewers_identity_comes_from_their_token(course: Course, stack: Stack) -> None:
    token = stack.token(sub="ada", name="Ada", picture="https://example.com/ada.png")

    course.record(token, chapterId="intro")

    (viewer,) = course.viewers()
    assert (viewer["userId"], viewer["name"]) == ("ada", "Ada")
    assert viewer["avatar"] == "https://example.com/ada.png"
    course.remove(token)
    assert course.count() == {"total": 0, "byChapter": {}}


def test_at_most_twenty_viewers_are_listed_and_all_are_counted(course: Course) -> None:
    people = [{"userId": f"user-{number}", "userName": f"User {number}"} for number in range(25)]

    course.js.call("courses.crowd", course.url, course.id, people)

    assert course.count() == {"total": 25, "byChapter": {}}
    assert len({viewer["userId"] for viewer in course.viewers()}) == 20
    assert len(course.viewers(limit=5)) == 5
    args = (course.url, course.admin, course.id)
    assert len(course.js.call("courses.getFirstViewers", *args, 5)) == 5


def test_a_removed_viewer_is_gone_at_once_and_may_come_back(course: Course) -> None:
    course.record(userId="ada", chapterId="intro")
    course.record(userId="ben", chapterId="intro")

    course.remove(userId="ada")

    assert course.count() == {"total": 1, "byChapter": {"intro": 1}}
    course.record(userId="ada", chapterId="intro")
    assert course.count() == {"total": 2, "byChapter": {"intro": 2}}


def test_a_private_viewer_is_counted_and_not_named(course: Course) -> None:
    course.record(userId="ada", userName="Ada", anonymous=True)

    assert course.count()["total"] == 1
    assert "Ada" not in str(course.viewers())
    assert "ada" not in [viewer["userId"] for viewer in course.viewers()]


def test_courses_do_not_see_each_others_viewers(course: Course) -> None:
    course.record(userId="ada")

    other = Course(course.js, course.url, course.admin, new_id("course"))

    assert other.count() == {"total": 0, "byChapter": {}}


def test_a_function_of_any_kind_is_called_by_its_name(course: Course) -> None:
    args = {"courseId": course.id, "userId": "ada", "chapterId": "one"}
    assert (
        course.js.call("courses.anyFunction", course.url, "liveViewers:recordPresence", args)
        is None
    )

    def count() -> Any:
        args = {"courseId": course.id}
        return course.js.call(
            "courses.anyFunction", course.url, "liveViewers:getLiveViewerCount", args
        )

    eventually(lambda: count()["total"] == 1, WITHIN, last=count)
    with pytest.raises(ThrownError, match="Could not find public function"):
        course.js.call("courses.anyFunction", course.url, "liveViewers:getMoods", {})


def test_the_list_of_viewers_needs_a_token(course: Course) -> None:
    course.record(userId="ada")

    with pytest.raises(ThrownError, match="token"):
        course.js.call("courses.getActiveViewers", course.url, None, {"courseId": course.id})


def test_clear_auth_signs_out(course: Course) -> None:
    course.record(userId="ada")

    seen = course.js.call("courses.signOut", course.url, course.admin, course.id)

    assert [viewer["userId"] for viewer in seen["before"]] == ["ada"]
    assert seen["after"] == "refused"


def test_a_query_at_one_timestamp_is_answered(course: Course) -> None:
    course.record(userId="ada")

    count = course.js.call("courses.consistentCount", course.url, course.id)

    assert count == {"total": 1, "byChapter": {}}


@pytest.mark.parametrize("chapter", ["größe", "$intro"])
def test_a_chapter_that_the_client_could_not_read_back_is_refused(
    course: Course, chapter: str
) -> None:
    with pytest.raises(ThrownError, match="chapterId"):
        course.record(userId="ada", chapterId=chapter)

    assert course.count() == {"total": 0, "byChapter": {}}


def test_an_unknown_function_is_named_in_the_error(course: Course) -> None:
    with pytest.raises(ThrownError) as thrown:
        course.js.call("courses.callUnknownFunction", course.url)

    assert "liveViewers:getViewerMood" in thrown.value.message
    assert not thrown.value.message.startswith("{"), "the client shows the raw body"


@pytest.mark.parametrize(
    ("args", "error"),
    [
        ({}, "userId"),
        ({"userId": 7}, "userId"),
        ({"userId": "ada", "chapterId": ["a"]}, "chapterId"),
        ({"userId": "ada", "courseId": None}, "courseId"),
        ({"userId": "ada", "courseId": "no such/course"}, "courseId"),
    ],
    ids=["no user", "number", "list", "no course", "bad course"],
)
def test_wrong_arguments_are_named_in_the_error(
    course: Course, args: dict[str, Any], error: str
) -> None:
    with pytest.raises(ThrownError, match=error) as thrown:
        course.record(**args)

    assert not thrown.value.message.startswith("{"), "the client shows the raw body"
    assert course.count()["total"] == 0


# ------------------------------------------------------------------------------ 002, link analytics


@dataclass(frozen=True)
class Link:
    """A shared link, as the manual calls see it."""

    js: Runtime
    url: str
    admin: str
    id: str

    def join(self, **viewer: Any) -> Any:
        return self.taken(self.js.call("links.join", self.url, self.id, viewer))

    def heartbeat(self, **viewer: Any) -> Any:
        return self.taken(self.js.call("links.heartbeat", self.url, self.id, viewer))

    def leave(self, **viewer: Any) -> Any:
        return self.taken(self.js.call("links.leave", self.url, self.id, viewer))

    def read(self) -> tuple[dict[str, Any], list[dict[str, Any]]]:
        """(metrics, active viewers)"""
        answer = self.js.call("links.metrics", self.url, self.admin, self.id)
        assert answer["status"] == 200, answer
        assert answer["body"]["success"] is True
        return answer["body"]["metrics"], answer["body"]["activeViewers"]

    @staticmethod
    def taken(answer: Any) -> None:
        assert answer == {"status": 200, "body": {"success": True}}


@pytest.fixture
def link(js: Runtime, stack: Stack) -> Link:
    """A link that no other test uses."""
    return Link(js, stack.outputs["origin"], stack.outputs["adminToken"], new_id("link"))


def test_a_links_viewer_is_shown_at_once_with_email_and_page(link: Link) -> None:
    began = time.time() * 1000
    link.join(sessionId="session-1", fingerprint="print-1", email="user@example.com")
    link.heartbeat(sessionId="session-1", currentPage=3)

    metrics, (viewer,) = link.read()

    assert metrics["activeViewers"] == 1
    assert metrics["peakConcurrentViewers"] == 1
    joined, active = viewer.pop("joinedAt"), viewer.pop("lastActivity")
    assert began - 5000 < joined <= active < began + 60_000
    assert 0 <= viewer.pop("duration") < 60
    assert viewer == {"sessionId": "session-1", "email": "user@example.com", "currentPage": 3}


def test_two_windows_of_one_visitor_are_two_sessions_on_a_link(link: Link) -> None:
    link.join(sessionId="session-1", fingerprint="print-1")
    link.join(sessionId="session-2", fingerprint="print-1")

    _, viewers = link.read()

    assert sorted(viewer["sessionId"] for viewer in viewers) == ["session-1", "session-2"]


@pytest.mark.usefixtures("one_day")
def test_a_view_is_counted_once_per_join_and_not_per_heartbeat(link: Link) -> None:
    for _ in range(2):  # a join that is sent again is the same view
        link.join(sessionId="session-1", fingerprint="print-1", email="user@example.com")
    for page in (1, 2, 3):
        link.heartbeat(sessionId="session-1", currentPage=page)
    link.join(sessionId="session-2", fingerprint="print-2", email="other@example.com")

    def views() -> list[int]:
        metrics, _ = link.read()
        names = ("totalViews", "viewsToday", "viewsThisWeek", "viewsThisMonth")
        return [metrics[name] for name in names]

    assert settled(views, [2, 2, 2, 2], WITHIN) == [2, 2, 2, 2]


def test_leaving_a_link_takes_the_viewer_off_and_counts_the_duration(link: Link) -> None:
    link.join(sessionId="session-1", fingerprint="print-1", email="user@example.com")
    link.leave(sessionId="session-1", duration=180)

    metrics, viewers = link.read()

    assert (metrics["activeViewers"], viewers) == (0, [])

    def durations() -> tuple[Any, Any]:
        metrics, _ = link.read()
        return metrics["totalViews"], metrics["avgViewDuration"]

    assert settled(durations, (1, 180), WITHIN) == (1, 180)


def test_a_heartbeat_without_fingerprint_keeps_the_visitor_who_joined(link: Link) -> None:
    link.join(sessionId="session-1", fingerprint="print-1", email="user@example.com")
    link.heartbeat(sessionId="session-1", currentPage=2)

    metrics, viewers = link.read()

    assert metrics["activeViewers"] == 1
    assert [viewer["email"] for viewer in viewers] == ["user@example.com"]


def test_an_unknown_action_on_a_link_is_refused(link: Link) -> None:
    answer = link.js.call("links.post", link.url, link.id, {"action": "dance", "sessionId": "s"})

    assert answer["status"] == 400
    assert answer["body"]["success"] is False
    assert "action" in answer["body"]["error"]
    assert link.read()[0]["activeViewers"] == 0


def test_who_views_a_link_is_for_admins(link: Link) -> None:
    answer = link.js.call("links.metrics", link.url, None, link.id)

    assert answer["status"] == 401
    assert answer["body"]["success"] is False


# ---------------------------------------------------------------------------- 003, stream analytics


@dataclass(frozen=True)
class Stream:
    """A stream, as its channel's dashboard sees it."""

    js: Runtime
    url: str
    token: str
    id: str

    def ask(self, method: str, path: str, body: Any = None) -> Any:
        answer = self.js.call("streams.request", self.url, self.token, method, path, body)
        assert answer["status"] == 200, answer
        return answer["body"]

    def socket_url(self, path: str, token: str | None = None) -> str:
        base = self.url.replace("http", "ws", 1)
        return f"{base}{path}?token={self.token if token is None else token}"

    @property
    def metrics_path(self) -> str:
        return f"/api/ws/streams/{self.id}/metrics"


@dataclass(frozen=True)
class Feed:
    """A WebSocket of a dashboard."""

    js: Runtime
    name: str

    def messages(self) -> list[Any]:
        messages = self.js.call("streams.messages", self.name)
        assert messages is not None, "the socket was closed"
        return list(messages)

    def last(self, kind: str) -> Any:
        """The newest data of that type, or None."""
        found = [message["data"] for message in self.messages() if message.get("type") == kind]
        return found[-1] if found else None

    def say(self, message: Any) -> None:
        self.js.call("streams.say", self.name, message)


@pytest.fixture
def stream(js: Runtime, stack: Stack) -> Stream:
    """A stream that no other test uses."""
    return Stream(js, stack.outputs["origin"], stack.outputs["adminToken"], new_id("stream"))


@pytest.fixture
def feeds(js: Runtime) -> Iterator[Callable[[str], Feed]]:
    """Sockets by URL, closed at the end."""
    names: list[str] = []

    def connect(url: str) -> Feed:
        name = uuid.uuid4().hex
        js.call("streams.connect", name, url)
        names.append(name)
        return Feed(js, name)

    yield connect
    for name in names:
        js.call("streams.close", name)


def watch(api: Api, stream: Stream, session: str) -> None:
    """A viewer of the stream."""
    api.beat(f"stream:{stream.id}", session, userId=session, facets={"device": "desktop"})


def test_a_started_stream_is_live_in_the_list_until_it_stops(stream: Stream) -> None:
    def listed() -> list[str]:
        streams = stream.ask("GET", "/api/streams")["streams"]
        return [one["status"] for one in streams if one["id"] == stream.id]

    assert stream.ask("POST", f"/api/streams/{stream.id}/start")["status"] == "live"
    assert stream.ask("GET", f"/api/streams/{stream.id}")["id"] == stream.id
    assert listed() == ["live"]

    assert stream.ask("POST", f"/api/streams/{stream.id}/stop")["status"] == "stopped"

    assert listed() == ["stopped"]


def test_the_viewers_of_a_stream_are_in_its_numbers(stream: Stream, api: Api) -> None:
    watch(api, stream, "ada")
    watch(api, stream, "ben")

    metrics = stream.ask("GET", f"/api/v1/analytics/streams/{stream.id}/metrics")
    real_time = stream.ask("GET", f"/api/v1/analytics/real-time/{stream.id}")
    everything = stream.ask("GET", f"/api/v1/analytics/comprehensive/{stream.id}")

    assert metrics["currentViewers"] == real_time["currentViewers"] == 2
    assert real_time["deviceDistribution"] == {"desktop": 2}
    assert everything["metrics"]["currentViewers"] == 2
    assert metrics["bandwidth"] is None, "it was never reported"


def test_what_viewers_do_is_counted(stream: Stream) -> None:
    for kind in ("chat", "chat", "reaction", "share"):
        stream.ask("POST", f"/api/v1/analytics/streams/{stream.id}/events", {"type": kind})

    def done() -> list[int]:
        body = stream.ask("GET", f"/api/v1/analytics/real-time/{stream.id}")
        return [body["chatMessages"], body["reactions"], body["shares"]]

    assert settled(done, [2, 1, 1], WITHIN) == [2, 1, 1]


def test_streams_are_started_and_read_by_admins_alone(stream: Stream) -> None:
    for method, path in (
        ("POST", f"/api/streams/{stream.id}/start"),
        ("GET", "/api/streams"),
        ("GET", f"/api/v1/analytics/comprehensive/{stream.id}"),
    ):
        answer = stream.js.call("streams.request", stream.url, None, method, path, None)
        assert (answer["status"], answer["body"]["success"]) == (401, False), path


def test_a_metrics_feed_sends_the_numbers_at_once_and_at_every_change(
    stream: Stream, api: Api, feeds: Callable[[str], Feed]
) -> None:
    feed = feeds(stream.socket_url(stream.metrics_path))
    eventually(lambda: feed.last("metrics"), WITHIN, last=feed.messages)
    assert feed.last("metrics")["currentViewers"] == 0

    watch(api, stream, "ada")

    eventually(lambda: feed.last("metrics")["currentViewers"] == 1, WITHIN, last=feed.messages)
    assert {
        "currentViewers",
        "peakViewers",
        "totalViews",
        "avgViewDuration",
        "chatMessages",
        "bandwidth",
        "quality",
        "buffering",
        "errors",
    } <= feed.last("metrics").keys()


def test_a_heartbeat_on_a_feed_is_answered(stream: Stream, feeds: Callable[[str], Feed]) -> None:
    feed = feeds(stream.socket_url(stream.metrics_path))
    eventually(feed.messages, WITHIN)
    before = len(feed.messages())

    feed.say({"type": "heartbeat"})

    eventually(lambda: len(feed.messages()) > before, WITHIN, last=feed.messages)


def test_the_realtime_feed_sends_the_totals_of_all_streams(
    stream: Stream, api: Api, feeds: Callable[[str], Feed]
) -> None:
    feed = feeds(stream.socket_url("/api/ws/analytics/realtime"))
    eventually(lambda: feed.last("analytics"), WITHIN, last=feed.messages)
    first = feed.last("analytics")
    assert first.keys() >= {
        "totalViewers",
        "activeStreams",
        "revenueToday",
        "avgEngagement",
        "errorRate",
        "serverLoad",
    }

    # One more than all the others, who may expire meanwhile.
    for number in range(first["totalViewers"] + 1):
        watch(api, stream, f"ada{number}")

    def rose() -> bool:
        return bool(feed.last("analytics")["totalViewers"] > first["totalViewers"])

    eventually(rose, WITHIN, last=feed.messages)


@pytest.mark.parametrize("token", ["nonsense", ""])
def test_a_feed_without_a_valid_token_is_refused(
    stream: Stream, feeds: Callable[[str], Feed], token: str
) -> None:
    for path in ("/api/ws/analytics/realtime", stream.metrics_path):
        with pytest.raises(ThrownError, match="before it was open"):
            feeds(stream.socket_url(path, token))


# -------------------------------------------------------------------------------- 004, site traffic


@dataclass(frozen=True)
class Traffic:
    """The site's traffic, as pages with `supabase-js` see it."""

    js: Runtime
    url: str
    admin: str
    sessions: list[str] = field(default_factory=list)
    page: str = field(default_factory=lambda: f"/{new_id('page')}")

    def row(self, user: str | None = None, **more: Any) -> dict[str, Any]:
        """A heartbeat of a new session on this test's page."""
        session = f"stk-{uuid.uuid4()}"
        self.sessions.append(session)
        return {"session_id": session, "user_id": user, "page_path": self.page, **more}

    def insert(self, rows: Any, key: str = ANON_KEY) -> None:
        answer = self.js.call("traffic.insert", self.url, key, rows)
        assert answer == {"data": None, "error": None, "status": 201}

    def rpc(self, name: str, args: Any = None, options: Any = None) -> Any:
        """The first row of an admin's answer."""
        answer = self.js.call("traffic.rpc", self.url, self.admin, name, args or {}, options or {})
        assert (answer["error"], answer["status"]) == (None, 200), answer
        (row,) = answer["data"]
        return row

    def live(self) -> Any:
        return self.rpc("get_live_traffic")

    def on_page(self) -> int:
        """How many sessions the top pages show for this test's page."""
        pages = self.live()["top_pages"] or []
        return sum(page["count"] for page in pages if page["path"] == self.page)


@pytest.fixture
def traffic(js: Runtime, stack: Stack, api: Api) -> Iterator[Traffic]:
    """The space that all of a site's pages share, left as it was."""
    traffic = Traffic(js, stack.outputs["origin"], stack.outputs["adminToken"])
    # Other tests' visitors may be there until their leases end.
    eventually(lambda: traffic.live()["active_sessions"] == 0, 70, last=traffic.live)
    yield traffic
    for session in traffic.sessions:
        api.leave("site:main", session)


def difference(after: Any, before: Any) -> dict[str, int]:
    """The growth of each number."""
    return {name: after[name] - before[name] for name in after if name != "top_pages"}


def test_heartbeats_of_visitors_and_users_are_in_the_live_traffic_at_once(
    traffic: Traffic,
) -> None:
    ada, ben = str(uuid.uuid4()), str(uuid.uuid4())
    before = traffic.live()

    traffic.insert(traffic.row())
    traffic.insert(traffic.row(ada))
    traffic.insert(traffic.row(ada))
    traffic.insert(traffic.row(ben))

    after = traffic.live()
    assert difference(after, before) == {
        "active_users": 2,
        "active_sessions": 4,
        "authenticated_users": 3,  # rows with a user, as the SQL counts them
        "anonymous_sessions": 1,
    }
    assert {"path": traffic.page, "count": 4} in after["top_pages"]
    assert len(after["top_pages"]) <= 5


def test_a_repeated_heartbeat_is_the_same_session(traffic: Traffic) -> None:
    row = traffic.row()
    before = traffic.live()

    for _ in range(3):
        traffic.insert(row)

    assert difference(traffic.live(), before)["active_sessions"] == 1
    assert traffic.on_page() == 1


def test_heartbeats_may_come_in_bulk(traffic: Traffic) -> None:
    before = traffic.live()

    traffic.insert([traffic.row(), traffic.row(str(uuid.uuid4()))])

    assert difference(traffic.live(), before)["active_sessions"] == 2


def test_a_visitor_who_signs_in_is_one_user_and_no_visitor_any_more(traffic: Traffic) -> None:
    row = traffic.row()
    before = traffic.live()
    traffic.insert(row)
    traffic.insert(row | {"user_id": str(uuid.uuid4())})

    assert difference(traffic.live(), before) == {
        "active_users": 1,
        "active_sessions": 1,
        "authenticated_users": 1,
        "anonymous_sessions": 0,
    }


@pytest.mark.parametrize("key", ["anon", "sb_publishable_stk", ANON_KEY])
def test_any_key_may_insert_heartbeats(traffic: Traffic, key: str) -> None:
    traffic.insert(traffic.row(), key)

    assert traffic.on_page() == 1


def test_a_session_counts_for_the_page_it_is_on(traffic: Traffic) -> None:
    row = traffic.row()
    traffic.insert(row)
    assert traffic.on_page() == 1

    traffic.insert(row | {"page_path": f"{traffic.page}/next"})

    assert traffic.on_page() == 0


def test_no_visitors_key_may_read_the_traffic(traffic: Traffic) -> None:
    for name in ("get_live_traffic", "get_daily_active_users"):
        answer = traffic.js.call("traffic.rpc", traffic.url, ANON_KEY, name, {}, {})

        assert answer["data"] is None
        assert answer["status"] in {401, 403}
        assert answer["error"]["code"] == "42501"
        assert answer["error"]["message"]


def test_the_heartbeats_themselves_are_never_shown(traffic: Traffic) -> None:
    traffic.insert(traffic.row())

    answer = traffic.js.call("traffic.readTable", traffic.url, ANON_KEY)

    assert answer["error"]["code"]
    assert answer["data"] is None


def test_an_admins_session_token_beside_the_sites_key_may_read(traffic: Traffic) -> None:
    answer = traffic.js.call(
        "traffic.rpcSignedIn", traffic.url, ANON_KEY, traffic.admin, "get_live_traffic"
    )

    assert answer["error"] is None
    assert answer["data"][0]["active_sessions"] >= 0


@pytest.mark.usefixtures("one_day")
def test_daily_active_users_of_today_count_todays_heartbeats(traffic: Traffic) -> None:
    user = str(uuid.uuid4())
    today = datetime.now(UTC).date().isoformat()
    before = traffic.rpc("get_daily_active_users")
    rows = [traffic.row(), traffic.row(user), traffic.row(user)]

    traffic.insert(rows)
    traffic.insert(rows[0])

    expected = {"unique_sessions": 3, "unique_users": 1, "total_heartbeats": 4}
    for args in ({}, {"for_date": today}):

        def grown(args: dict[str, str] = args) -> dict[str, int]:
            return difference(traffic.rpc("get_daily_active_users", args), before)

        assert settled(grown, expected, WITHIN) == expected, args


def test_a_day_without_visitors_has_zeros(traffic: Traffic) -> None:
    zeros = {"unique_sessions": 0, "unique_users": 0, "total_heartbeats": 0}
    args = {"for_date": "2020-02-29"}

    assert traffic.rpc("get_daily_active_users", args) == zeros
    assert traffic.rpc("get_daily_active_users", args, {"get": True}) == zeros


def test_a_function_may_be_asked_for_its_single_row(traffic: Traffic) -> None:
    for how in ("rpcSingle", "rpcMaybeSingle"):
        answer = traffic.js.call(
            f"traffic.{how}", traffic.url, traffic.admin, "get_live_traffic", {}
        )

        assert answer["error"] is None, how
        assert answer["data"].keys() == {
            "active_users",
            "active_sessions",
            "authenticated_users",
            "anonymous_sessions",
            "top_pages",
        }


def test_what_a_page_asks_of_the_row_is_done_or_refused(traffic: Traffic) -> None:
    def ask(*steps: list[Any], name: str = "get_live_traffic") -> Any:
        return traffic.js.call("traffic.rpcWith", traffic.url, traffic.admin, name, {}, steps)

    assert ask(["eq", "active_users", 999_999])["data"] == []
    assert ask(["limit", 0])["data"] == []
    assert ask(["range", 1, 2])["data"] == []
    assert len(ask(["gte", "active_users", 0], ["order", "active_users"])["data"]) == 1
    assert len(ask(["or", "active_users.gte.0,active_sessions.eq.9"])["data"]) == 1
    assert ask(["csv"])["data"].startswith("active_users,active_sessions,")
    nobody = ["eq", "active_users", 999_999]
    assert ask(nobody, ["maybeSingle"]) == {"data": None, "error": None, "status": 200}
    assert ask(nobody, ["single"])["error"]["code"] == "PGRST116"
    assert ask(["eq", "mood", 1])["error"]["code"] == "42703"
    assert ask(["like", "active_users", "1%"])["error"]["code"] == "42883"
    assert ask(["explain"])["error"]["code"] == "PGRST107"


def test_a_reader_can_get_the_inserted_heartbeat_back(traffic: Traffic) -> None:
    row, before = traffic.row(), traffic.live()

    answer = traffic.js.call("traffic.insertAndSelect", traffic.url, ANON_KEY, row)

    assert answer["error"]["code"] == "42501"  # as in the table's policies
    assert difference(traffic.live(), before)["active_sessions"] == 0

    answer = traffic.js.call("traffic.insertAndSelect", traffic.url, traffic.admin, row)

    assert (answer["error"], answer["status"]) == (None, 201)
    assert row.items() <= answer["data"].items()
    assert difference(traffic.live(), before)["active_sessions"] == 1


@pytest.mark.parametrize("absent", ["session_id", "page_path"])
def test_a_heartbeat_without_a_required_field_is_refused_by_its_name(
    traffic: Traffic, absent: str
) -> None:
    row = traffic.row()
    del row[absent]
    before = traffic.live()

    answer = traffic.js.call("traffic.insert", traffic.url, ANON_KEY, row)

    assert answer["status"] == 400
    assert answer["error"]["code"] == "23502"
    assert absent in answer["error"]["message"]
    assert difference(traffic.live(), before)["active_sessions"] == 0


def test_an_unknown_function_is_an_error_and_no_empty_result(traffic: Traffic) -> None:
    answer = traffic.js.call("traffic.rpc", traffic.url, traffic.admin, "get_moods", {}, {})

    assert answer["status"] == 404
    assert answer["error"]["code"] == "PGRST202"
    assert "get_moods" in answer["error"]["message"]


def test_a_wrong_date_is_an_error(traffic: Traffic) -> None:
    answer = traffic.js.call(
        "traffic.rpc",
        traffic.url,
        traffic.admin,
        "get_daily_active_users",
        {"for_date": "some day"},
        {},
    )

    assert answer["status"] == 400
    assert answer["error"]["code"] in {"22007", "22008"}


@pytest.mark.browser
def test_the_heartbeat_service_makes_a_page_present_and_follows_its_user(
    node: Runtime, stack: Stack, api: Api, elsewhere: Site
) -> None:
    traffic = Traffic(node, stack.outputs["origin"], stack.outputs["adminToken"])
    before = traffic.live()
    with elsewhere.visitor(traffic.page) as tab:
        session = tab.call("traffic.openSite", traffic.url, ANON_KEY, None)
        eventually(lambda: traffic.on_page() == 1, WITHIN, last=traffic.live)
        assert difference(traffic.live(), before)["anonymous_sessions"] == 1

        tab.call("traffic.signIn", str(uuid.uuid4()))

        eventually(
            lambda: difference(traffic.live(), before)["authenticated_users"] == 1,
            WITHIN,
            last=traffic.live,
        )
        assert difference(traffic.live(), before)["active_sessions"] == 1
        tab.call("traffic.leaveSite")
    api.leave("site:main", session)
