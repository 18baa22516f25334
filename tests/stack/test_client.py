"""headcount.js on pages of another origin, in a real browser."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any
from urllib.parse import quote

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, Playwright

from local.picture import CHROMIUM_ARGS, find_chromium
from tests.stack.clients import Api, settled
from tests.stack.conftest import Stack

pytestmark = [pytest.mark.stack, pytest.mark.browser]


@dataclass(frozen=True)
class Site:
    """A site that embeds the client; every path is a page of it."""

    origin: str
    script: str
    space: str
    context: BrowserContext
    complaints: list[str]

    def open(self, path: str = "/") -> Page:
        """A new tab."""
        page = self.context.new_page()
        page.on("pageerror", lambda error: self.complaints.append(str(error)))
        page.goto(self.origin + path)
        return page


@pytest.fixture
def site(browser: Browser, stack: Stack, space: str) -> Iterator[Site]:
    """A site in a browser that keeps no pages for its Back button."""
    with serving(browser, stack, space) as site:
        yield site


@pytest.fixture
def site_kept_for_back(stack: Stack, space: str, playwright: Playwright) -> Iterator[Site]:
    """A site in a browser that does, as people's browsers do."""
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
    """A site on a port of its own, in a browser profile of its own; it must see no error."""
    script = f"{stack.outputs['origin']}/headcount.js"

    class Pages(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = (
                f'<script type="module" src="{script}" data-space="{space}"></script>'
                '<a href="/next">next</a> <a href="/spa" onclick="event.preventDefault()">app</a>'
            ).encode()
            self.send_response(200)
            self.send_header("content-type", "text/html")
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: Any) -> None:
            return

    server = ThreadingHTTPServer(("127.0.0.1", 0), Pages)
    Thread(target=server.serve_forever, daemon=True).start()
    context = browser.new_context()
    site = Site(f"http://127.0.0.1:{server.server_port}", script, space, context, [])
    yield site
    context.close()
    server.shutdown()
    server.server_close()
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


def test_the_page_hears_the_count_and_can_identify_and_leave(
    api: Api, site: Site, here: Callable[[], Any]
) -> None:
    page = site.open("/a")
    becomes(here, (1, 1, ["/a"]))
    heard = page.evaluate(
        """async (script) => {
          const { identify } = await import(script);
          const heard = new Promise((resolve) =>
            addEventListener("headcount", ({ detail }) => resolve(detail), { once: true }));
          identify({ userId: "ada", name: "Ada" });
          return heard;
        }""",
        site.script,
    )
    assert (heard["space"], heard["count"]) == (site.space, 1)
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
    for path in "bcdef":  # the page in between sends messages of its own
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
