"""What people do with tabs, in Chromium and Firefox: people and views are true at each step."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from lab.harness.clients import Api, settled
from tests.stack.conftest import Stack, new_space
from tests.stack.javascript import HOOKS_BUNDLE
from tests.stack.puppets import BrowserTab, Puppet, puppet
from tests.support.servers import Quiet, listening

pytestmark = [pytest.mark.stack, pytest.mark.browser, pytest.mark.exhaustive]

SLOW = 5.0
"""Seconds that the page /slow takes."""
GRACE = 4.0
"""Seconds after which a number that is to fall has fallen, and every dashboard knows."""

CRASHED = 2.0
"""Seconds within which a tab that crashed is gone."""


@dataclass(frozen=True)
class Kind:
    """A way of being present on a page. ``copies``: sessions and views after a tab was duplicated;
    ``leaves``: it says so when its page closes; ``hides``: it leaves while its page is hidden."""

    name: str
    space: str  # its kind, or a space that all share
    copies: tuple[int, int] = (2, 2)
    leaves: bool = True
    hides: bool = False

    @property
    def is_shared(self) -> bool:
        """Other tests are in the same space."""
        return ":" in self.space


KINDS = [
    Kind("script", "site"),
    Kind("badge", "site"),
    Kind("useViewerTracking", "link", copies=(1, 1)),
    Kind("useViewerCount", "course", copies=(1, 1)),
    Kind("AnalyticsProvider", "activity:main", hides=True),
    Kind("startHeartbeat", "site:main", copies=(1, 1), leaves=False),
]
BROWSERS = ["chromium", "firefox"]


@dataclass
class Visit:
    """A tab, who is in its space, and how often they came."""

    api: Api
    kind: Kind
    origin: str
    space: str
    user: str
    views_before: int
    tab: BrowserTab

    @property
    def now(self) -> tuple[int, int, int]:
        """People, sessions and views."""
        body = numbers(self.api, self.space)
        views = body["views"]["total"] - self.views_before
        if not self.kind.is_shared:
            return body["people"], body["sessions"], views
        viewers = self.api.get(f"{path_of(self.space)}/viewers?limit=100").body["viewers"]
        ours = [viewer for viewer in viewers if viewer["userId"] == self.user]
        return len({viewer["userId"] for viewer in ours}), len(ours), views


def numbers(api: Api, space: str) -> Any:
    """The published numbers, as an admin reads them."""
    return api.get(path_of(space)).body


def path_of(space: str) -> str:
    return f"/v1/spaces/{quote(space, safe='')}"


def page_of(kind: Kind, origin: str, space: str, user: str) -> str:
    """The HTML of every page of a site that uses the kind."""
    # Firefox says that it is automated, and robots are not counted.
    person = "Object.defineProperty(Navigator.prototype, 'webdriver', { get: () => false })"
    start = f"<!doctype html><title>Page</title><body><script>{person}</script>"
    if kind.name == "script":
        return (
            f'{start}<script type="module" src="{origin}/headcount.js" data-space="{space}">'
            "</script>"
        )
    if kind.name == "badge":
        return (
            f'{start}<headcount-badge space="{space}"></headcount-badge>'
            f'<script type="module" src="{origin}/headcount-elements.js"></script>'
        )
    given = {"hook": kind.name, "origin": origin, "id": space.partition(":")[2], "user": user}
    settings = f"<script>globalThis.presence = {json.dumps(given)}</script>"
    return f"{start}{settings}<script src=/presence.js></script>"


@contextmanager
def serving(html: str) -> Iterator[str]:
    """A site of which every path is a page, until the block ends; its origin."""

    class Site(Quiet, BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            if self.path == "/slow":
                time.sleep(SLOW)
            is_script = self.path == "/presence.js"
            body = HOOKS_BUNDLE.read_bytes() if is_script else html.encode()
            self.send_response(200)
            self.send_header("content-type", "text/javascript" if is_script else "text/html")
            if self.path == "/file":
                self.send_header("content-disposition", "attachment; filename=file.html")
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            with suppress(ConnectionError):  # a browser that was closed meanwhile
                self.wfile.write(body)

    with listening(Site) as origin:
        yield origin


@contextmanager
def visits(stack: Stack, kinds: list[Kind], browser: Puppet) -> Iterator[list[Visit]]:
    """A tab for each kind, on a site of its own."""
    with ExitStack() as sites:
        found = []
        for kind in kinds:
            space = kind.space if kind.is_shared else new_space(kind.name.lower(), kind.space)
            user = new_space("user").partition(":")[2]
            before = numbers(stack.api, space)["views"]["total"]
            html = page_of(kind, stack.outputs["origin"], space, user)
            origin = sites.enter_context(serving(html))
            tab = browser.open(origin + "/a")
            found.append(Visit(stack.api, kind, origin, space, user, before, tab))
        yield found


def each(step: str, all_visits: list[Visit], act: Callable[[BrowserTab], object]) -> None:
    """Do something in each tab: none is more or fewer people or views for it, then or later."""
    for visit in all_visits:
        act(visit.tab)
    are(step, all_visits, lambda _: (1, 1, 1))


def are(step: str, all_visits: list[Visit], wanted: Callable[[Kind], tuple[int, int, int]]) -> None:
    """These are the numbers, and they stay so when every page that closed has been noticed."""
    for visit in all_visits:
        truth = wanted(visit.kind)
        assert settled(lambda visit=visit: visit.now, truth) == truth, (visit.kind.name, step)
    time.sleep(GRACE)
    for visit in all_visits:
        assert visit.now == wanted(visit.kind), (visit.kind.name, step)


@pytest.mark.parametrize("browser_name", BROWSERS)
def test_a_tab_is_one_person_and_one_view_until_it_closes(
    stack: Stack, tmp_path: Path, browser_name: str
) -> None:
    with puppet(browser_name, tmp_path) as browser, visits(stack, KINDS, browser) as all_visits:
        are("load", all_visits, lambda _: (1, 1, 1))
        each("reload button", all_visits, lambda tab: tab.reload())
        each("reload by script", all_visits, lambda tab: tab.move("location.reload()", "/a"))
        each("link", all_visits, lambda tab: tab.go("/b"))
        each("slow link", all_visits, lambda tab: tab.click("/slow"))
        each("slow page", all_visits, lambda tab: tab.arrives("/slow"))
        each("download", all_visits, lambda tab: tab.click("/file"))
        each("back", all_visits, lambda tab: tab.move("history.back()", "/b"))
        each("forward", all_visits, lambda tab: tab.move("history.forward()", "/slow"))
        copies = [visit.tab.duplicate() for visit in all_visits]
        are("duplicate", all_visits, lambda kind: (1, *kind.copies))
        for copy in copies:
            copy.close()
        are("one of two closed", all_visits, lambda kind: (1, 1, kind.copies[1]))
        leaving = [one for one in all_visits if one.kind.leaves]
        for visit in leaving:
            visit.tab.close()
        are("closed", leaving, lambda kind: (0, 0, kind.copies[1]))


@pytest.mark.parametrize("browser_name", BROWSERS)
def test_where_storage_is_blocked_a_tab_is_one_person_and_one_view(
    stack: Stack, tmp_path: Path, browser_name: str
) -> None:
    with (
        puppet(browser_name, tmp_path, is_forbidden=True) as browser,
        visits(stack, KINDS, browser) as all_visits,
    ):
        for visit in all_visits:
            assert visit.tab.evaluate(
                "(() => { try { return !localStorage } catch { return true } })()"
            ), "the storage is not blocked"
        are("load", all_visits, lambda _: (1, 1, 1))
        for path in ("/b", "/c"):
            for visit in all_visits:
                visit.tab.go(path)
        each("links", all_visits, lambda tab: tab.go("/d"))
        each("reload button", all_visits, lambda tab: tab.reload())
        leaving = [one for one in all_visits if one.kind.leaves]
        for visit in leaving:
            visit.tab.close()
        are("closed", leaving, lambda _: (0, 0, 1))


@pytest.mark.parametrize("is_killed", [False, True], ids=["crash", "kill"])
def test_a_tab_that_crashes_in_chromium_is_gone_at_once(
    stack: Stack, tmp_path: Path, is_killed: bool
) -> None:
    leaving = [kind for kind in KINDS if kind.leaves]
    with puppet("chromium", tmp_path) as browser, visits(stack, leaving, browser) as all_visits:
        are("load", all_visits, lambda _: (1, 1, 1))
        # The pages that go on are as present as ever.
        each("link", all_visits, lambda tab: tab.go("/b"))
        each("back", all_visits, lambda tab: tab.move("history.back()", "/a"))
        each("reload button", all_visits, lambda tab: tab.reload())
        seen = [visit for visit in all_visits if not visit.kind.hides]  # a frozen page is hidden
        each("frozen", seen, lambda tab: tab.freeze())
        each("thawed", seen, lambda tab: tab.freeze(is_frozen=False))
        for visit in all_visits:
            visit.tab.crash(is_killed=is_killed)
            crashed_at = time.monotonic()
            assert settled(lambda visit=visit: visit.now, (0, 0, 1)) == (0, 0, 1), visit.kind.name
            assert time.monotonic() - crashed_at < CRASHED, visit.kind.name
        are("crash", all_visits, lambda _: (0, 0, 1))


@pytest.mark.parametrize("browser_name", BROWSERS)
def test_a_browser_that_crashes_is_gone_after_its_lease(
    stack: Stack, tmp_path: Path, browser_name: str
) -> None:
    with (
        puppet(browser_name, tmp_path) as browser,
        visits(stack, [KINDS[0]], browser) as (visit,),
    ):
        are("load", [visit], lambda _: (1, 1, 1))
        browser.crash()
        crashed_at = time.time()
        are("crash", [visit], lambda _: (1, 1, 1))
        lease = stack.api.beat(visit.space, "witness", visitorId="witness")["leaseSeconds"]
        time.sleep(max(0, crashed_at + lease + 1 - time.time()))
        stack.api.leave(visit.space, "witness")
        are("lease", [visit], lambda _: (0, 0, 2))
