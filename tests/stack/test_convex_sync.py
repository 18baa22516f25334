"""Convex's own reactive clients, unmodified, over the sync socket: in Node and in Chromium."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, expect

from lab.harness.clients import eventually
from tests.stack import javascript
from tests.stack.conftest import Stack, new_space
from tests.stack.javascript import REACT_BUNDLE, Runtime, Site, UnavailableError
from tests.support.missing import missing

pytestmark = pytest.mark.stack

WITHIN = 10
"""Seconds for what is not measured."""
ROUNDS = 10
COUNT = "getLiveViewerCount"


@pytest.fixture(scope="module")
def node() -> Iterator[Runtime]:
    """The clients in Node."""
    try:
        with javascript.node() as runtime:
            yield runtime
    except UnavailableError as error:
        missing("The runtime of the npm clients", str(error))


@dataclass(frozen=True)
class Client:
    """A client of the package in Node."""

    js: Runtime
    name: str

    def call(self, what: str, *args: Any) -> Any:
        return self.js.call(f"sync.{what}", self.name, *args)

    def follow(self, query: str = COUNT, key: str = "count", **args: Any) -> None:
        self.call("follow", key, query, args)

    def last(self, key: str = "count") -> Any:
        return self.call("last", key)

    def shows(self, total: int, within: float = WITHIN) -> None:
        eventually(lambda: (self.last() or {}).get("total") == total, within, last=self.last)

    def mutate(self, mutation: str, **args: Any) -> Any:
        return self.call("mutate", mutation, args)


@pytest.fixture(params=["react", "plain"])
def client(request: pytest.FixtureRequest, node: Runtime, stack: Stack) -> Iterator[Client]:
    """``ConvexReactClient`` and ``ConvexClient`` in turn."""
    client = Client(node, new_space("client"))
    client.call("open", request.param, stack.outputs["origin"])
    yield client
    client.call("close")


@pytest.fixture
def course() -> str:
    """A course that no other test uses."""
    return new_space("course").partition(":")[2]


Enter = Callable[..., None]


@pytest.fixture
def enter(node: Runtime, stack: Stack) -> Enter:
    """Viewers who come by HTTP."""

    def enter(course: str, user: str, *, leave: bool = False, **more: Any) -> None:
        call = "courses.removePresence" if leave else "courses.recordPresence"
        args = {"courseId": course, "userId": user, **more}
        node.call(call, stack.outputs["origin"], None, args)

    return enter


def test_a_query_follows_viewers_who_come_change_and_leave(
    client: Client, course: str, enter: Enter
) -> None:
    client.follow(courseId=course)
    client.shows(0)
    enter(course, "ada", chapterId="intro")
    eventually(
        lambda: client.last() == {"total": 1, "byChapter": {"intro": 1}}, WITHIN, last=client.last
    )
    time.sleep(1.1)
    enter(course, "ada", chapterId="loops")
    eventually(
        lambda: client.last() == {"total": 1, "byChapter": {"loops": 1}}, WITHIN, last=client.last
    )
    time.sleep(1.1)
    enter(course, "ada", leave=True)
    client.shows(0)


def test_several_queries_share_a_socket_and_one_ends(
    client: Client, course: str, enter: Enter
) -> None:
    client.follow(courseId=course)
    client.follow(courseId=f"{course}-2", key="other")
    client.shows(0)
    enter(f"{course}-2", "ada")
    eventually(
        lambda: client.last("other")["total"] == 1, WITHIN, last=lambda: client.last("other")
    )
    client.call("unfollow", "other")
    enter(f"{course}-2", "ben")
    enter(course, "ada")
    client.shows(1)
    assert client.last("other")["total"] == 1
    assert client.call("sockets") == 1


def test_a_mutation_settles_when_the_query_shows_it(client: Client, course: str) -> None:
    client.follow(courseId=course)
    client.shows(0)
    assert client.mutate("recordPresence", courseId=course, userId="ada") is None
    assert client.last()["total"] == 1
    assert client.mutate("removePresence", courseId=course, userId="ada") is None
    assert client.last()["total"] == 0
    assert client.call("state")["hasInflightRequests"] is False


def test_an_optimistic_update_gives_way_to_the_count(client: Client, course: str) -> None:
    client.follow(courseId=course)
    client.shows(0)
    shown = client.call(
        "mutateOptimistically", "count", "recordPresence", {"courseId": course, "userId": "ada"}
    )
    assert [one["total"] for one in shown] == [100, 1]


def test_a_failed_mutation_and_query_throw_our_message(client: Client, course: str) -> None:
    with pytest.raises(javascript.ThrownError, match="The viewer is missing"):
        client.mutate("recordPresence", courseId=course)
    client.follow("getActiveViewers", courseId=course)
    eventually(lambda: "A token is missing" in str(client.last()), WITHIN, last=client.last)


def test_tokens_prove_open_names_and_are_cleared(client: Client, course: str, stack: Stack) -> None:
    admin = stack.outputs["adminToken"]
    client.call("setAuth", admin, stack.token(sub="root", headcount="admin"))
    eventually(lambda: True in client.call("signedIn"), WITHIN)
    client.follow("getActiveViewers", "list", courseId=course)
    eventually(lambda: client.last("list") == [], WITHIN, last=lambda: client.last("list"))
    client.mutate("recordPresence", courseId=course, userId="ada", userName="Ada")
    (viewer,) = client.last("list")
    assert (viewer["name"], viewer["verified"]) == ("Ada", True)
    client.call("clearAuth")
    eventually(
        lambda: "A token is missing" in str(client.last("list")),
        WITHIN,
        last=lambda: client.last("list"),
    )


def test_a_token_of_another_deployment_signs_nobody_in(client: Client, course: str) -> None:
    client.call("setAuth", "eyJhbGciOiJIUzI1NiJ9.e30.of-another-project")
    eventually(lambda: client.call("signedIn")[-1:] == [False], WITHIN)
    client.follow(courseId=course)
    client.shows(0)


def test_a_client_whose_connection_is_cut_comes_back(
    client: Client, course: str, enter: Enter
) -> None:
    client.follow(courseId=course)
    client.shows(0)
    client.call("cut")
    enter(course, "ada")
    assert client.mutate("recordPresence", courseId=course, userId="ben") is None
    client.shows(2)
    assert client.call("sockets") > 1
    enter(course, "ada", leave=True)
    client.shows(1)


@pytest.mark.exhaustive
def test_a_page_that_only_listens_stays_connected(
    client: Client, course: str, enter: Enter
) -> None:
    """The client reconnects if it hears nothing for a minute: it is pinged."""
    client.follow(courseId=course)
    client.shows(0)
    time.sleep(75)
    assert client.call("sockets") == 1
    enter(course, "ada")
    client.shows(1)


# ------------------------------------------------------------------------------------------- React


@pytest.fixture(scope="module")
def pages(browser: Browser) -> Iterator[Site]:
    """A customer's site, made with React."""
    try:
        with javascript.site(browser, REACT_BUNDLE) as site:
            yield site
    except UnavailableError as error:
        missing("The bundler of the React pages", str(error))


@pytest.fixture
def page(pages: Site) -> Iterator[Page]:
    """A page of that site."""
    with pages.visitor() as tab:
        yield tab.page


def show(page: Page, stack: Stack, course: str, **props: Any) -> None:
    """Mount the course player's badge."""
    given = {"address": stack.outputs["origin"], "courseId": course, **props}
    page.evaluate("(props) => app.show('LivePage', props)", given)


@pytest.mark.browser
def test_use_query_is_right_within_a_second_of_every_join_and_leave(
    page: Page, stack: Stack, course: str, enter: Enter
) -> None:
    show(page, stack, course)
    badge = page.locator("#LivePage b")
    expect(badge).to_have_text("0", timeout=WITHIN * 1000)
    took = []
    for _ in range(ROUNDS):
        for leave in (False, True):
            time.sleep(1.2)
            began = time.monotonic()
            enter(course, "ada", leave=leave)
            expect(badge).to_have_text("0" if leave else "1", timeout=WITHIN * 1000)
            took.append(time.monotonic() - began)
    print(f"seconds since the request was sent: {[round(one, 2) for one in took]}")
    assert max(took) <= 1


@pytest.mark.browser
def test_the_badge_as_it_was_counts_its_reader_and_leaves(
    page: Page, stack: Stack, course: str, node: Runtime
) -> None:
    """In React's strict mode, which mounts twice: it records, removes, and records at once."""
    show(page, stack, course, chapterId="intro", token=stack.token(sub="ada", name="Ada"))
    badge = page.locator("#LivePage b")
    expect(badge).to_have_text("1", timeout=WITHIN * 1000)
    expect(badge).to_have_attribute("title", '{"intro":1}')
    url, admin = stack.outputs["origin"], stack.outputs["adminToken"]

    def viewers() -> Any:
        return node.call("courses.getActiveViewers", url, admin, {"courseId": course})

    def named() -> list[tuple[str, bool]]:
        return [(one["userId"], one["verified"]) for one in viewers()]

    eventually(lambda: named() == [("ada", True)], WITHIN, last=named)
    page.evaluate("app.show('LivePage', {})")
    eventually(lambda: viewers() == [], WITHIN, last=viewers)
