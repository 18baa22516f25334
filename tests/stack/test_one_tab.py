"""One tab is one session, whatever the page does; what is only shown decides nobody's presence."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from dataclasses import dataclass

import pytest
from playwright.sync_api import Page, Playwright

from lab.harness.clients import Api, Dashboard
from tests.stack.conftest import Stack, new_space
from tests.stack.test_client import Site, becomes, pages_of, serving_for_back, warnings_of
from tests.stack.test_client import site as site  # noqa: PLC0414 - a fixture

pytestmark = [pytest.mark.stack, pytest.mark.browser]

GONE = 3.0
"""Seconds within which a visitor is gone whose page closed."""
FORBIDDEN = """
  for (const name of ["localStorage", "sessionStorage"])
    Object.defineProperty(globalThis, name, {
      get() { throw new DOMException("no", "SecurityError"); },
    });
"""
PLAIN = "<!doctype html><title>Plain</title><a href=/next>next</a>"


@pytest.fixture
def kept(stack: Stack, space: str, playwright: Playwright) -> Iterator[Site]:
    """A site in a browser that keeps pages for its Back button."""
    with serving_for_back(playwright, stack, space) as site:
        yield site


@dataclass(frozen=True)
class Watched:
    """A space's numbers, and every version that a dashboard received."""

    api: Api
    space: str
    socket: Dashboard

    @property
    def now(self) -> tuple[int, int, int]:
        """People, sessions and views."""
        body = self.api.headcount(self.space)
        return body["people"], body["sessions"], body["views"]["total"]

    def become(self, people: int, sessions: int, views: int) -> None:
        """Wait until these are the numbers."""
        becomes(lambda: self.now, (people, sessions, views))

    @property
    def pages(self) -> list[str]:
        """The pages with anyone."""
        return pages_of(self.api, self.space)

    @property
    def seen(self) -> list[int]:
        """The people of all versions with anyone."""
        frames = self.socket.headcounts(self.space)
        people = [frame.message["data"]["people"] for frame in frames]
        return people[next((i for i, number in enumerate(people) if number), 0) :]


@pytest.fixture
def watched(site: Site, stack: Stack) -> Iterator[Watched]:
    """The site's space."""
    with stack.dashboard() as socket:
        socket.subscribe(site.space)
        yield Watched(stack.api, site.space, socket)


def click(page: Page, href: str) -> None:
    """Click a link to a page, and wait for it."""
    page.evaluate(
        """(href) => {
          const link = document.body.appendChild(document.createElement("a"));
          Object.assign(link, { href, textContent: href });
          link.click();
        }""",
        href,
    )


def go(page: Page, href: str) -> None:
    click(page, href)
    page.wait_for_url(f"**{href}", timeout=20_000)


def script(site: Site, **attributes: str) -> str:
    """The client's tag with other attributes."""
    given = {"src": site.script, "data_space": site.space, **attributes}
    words = " ".join(f'{name.replace("_", "-")}="{value}"' for name, value in given.items())
    return f'<script type="module" {words}></script>'


# ---------------------------------------------------------------------------------- page by page


def test_next_pages_reloads_and_slow_pages_are_one_view_and_no_number_falls(
    site: Site, watched: Watched
) -> None:
    page = site.open("/a")
    watched.become(1, 1, 1)
    go(page, "/b")
    page.reload()
    with page.expect_navigation():
        page.evaluate("setTimeout(() => location.reload())")
    go(page, "/slow")
    watched.become(1, 1, 1)
    becomes(lambda: watched.pages, ["/slow"])
    time.sleep(GONE)
    assert set(watched.seen) == {1}
    assert watched.now == (1, 1, 1)


def test_a_closed_tab_is_gone_within_3_seconds(site: Site, watched: Watched) -> None:
    page = site.open("/a")
    watched.become(1, 1, 1)
    page.close(run_before_unload=True)
    closed_at = time.time()
    watched.become(0, 0, 1)
    assert watched.socket.headcounts(site.space)[-1].at - closed_at < GONE


def test_after_a_download_the_tab_is_still_here_and_its_end_is_noticed(
    site: Site, watched: Watched
) -> None:
    page = site.open("/a")
    watched.become(1, 1, 1)
    with page.expect_download():
        click(page, "/file")
    time.sleep(GONE)
    assert watched.now == (1, 1, 1)
    page.goto("about:blank")
    watched.become(0, 0, 1)


def test_back_and_forward_with_kept_pages_are_one_view(kept: Site, stack: Stack) -> None:
    with stack.dashboard() as socket:
        socket.subscribe(kept.space)
        watched = Watched(stack.api, kept.space, socket)
        page = kept.open("/a")
        watched.become(1, 1, 1)
        page.evaluate("globalThis.kept = true")
        go(page, "/b")
        page.go_back(wait_until="commit")
        assert page.evaluate("globalThis.kept")
        becomes(lambda: watched.pages, ["/a"])
        page.go_forward(wait_until="commit")
        becomes(lambda: watched.pages, ["/b"])
        time.sleep(GONE)
        assert watched.now == (1, 1, 1)
        assert set(watched.seen) == {1}
        page.close(run_before_unload=True)
        watched.become(0, 0, 1)


def test_where_storage_is_refused_five_links_are_one_person_and_one_view(
    site: Site, watched: Watched
) -> None:
    site.context.add_init_script(FORBIDDEN)
    page = site.open("/a")
    watched.become(1, 1, 1)
    for name in "bcdef":
        go(page, f"/{name}")
    becomes(lambda: watched.pages, ["/f"])
    time.sleep(GONE)
    assert watched.now == (1, 1, 1)
    assert set(watched.seen) == {1}
    page.close(run_before_unload=True)
    watched.become(0, 0, 1)


def test_where_nothing_can_be_kept_nobody_counts_twice(site: Site, watched: Watched) -> None:
    site.context.add_init_script(FORBIDDEN + "window.name = 'of the page';")
    page = site.open("/a")
    watched.become(1, 1, 1)
    for name in "bcd":
        go(page, f"/{name}")
        becomes(lambda: watched.now[:2], (1, 1))
    assert page.evaluate("window.name") == "of the page"
    assert max(watched.seen) == 1


def test_a_tab_that_was_duplicated_on_a_plain_page_is_a_second_session(
    site: Site, watched: Watched
) -> None:
    site.pages["/plain"] = PLAIN
    page = site.open("/one")
    watched.become(1, 1, 1)
    go(page, "/plain")
    with page.expect_popup() as opened:
        page.evaluate("void window.open(location.href)")  # it has a copy of the session storage
    copy = opened.value
    copy.wait_for_load_state()
    for tab in (page, copy):
        go(tab, "/next")
    watched.become(1, 2, 2)
    copy.close(run_before_unload=True)
    watched.become(1, 1, 2)


# ------------------------------------------------------------------------- several in one page


def test_several_copies_of_the_script_are_one_session(site: Site, watched: Watched) -> None:
    copy = script(site, src=f"{site.script}?v=1")
    site.more.append(copy)
    page = site.open("/a")
    watched.become(1, 1, 1)
    go(page, "/b")
    becomes(lambda: watched.pages, ["/b"])
    time.sleep(GONE)
    assert watched.now == (1, 1, 1)
    page.close(run_before_unload=True)
    watched.become(0, 0, 1)


def test_a_page_with_frames_is_one_session_on_its_own_page(site: Site, watched: Watched) -> None:
    site.pages["/framed"] = site.html + "<iframe src=/inner></iframe><iframe src=/other></iframe>"
    tab = site.tab("/framed")
    for path in ("/inner", "/other"):
        tab.until(lambda path=path: any(frame.url.endswith(path) for frame in tab.page.frames))
    time.sleep(1)
    watched.become(1, 1, 1)
    pages = watched.api.headcount(site.space)["facets"]["page"]
    assert [one["value"] for one in pages] == ["/framed"]
    tab.page.evaluate("document.querySelector('iframe').remove()")
    time.sleep(GONE)
    assert watched.now == (1, 1, 1)
    tab.page.close(run_before_unload=True)
    watched.become(0, 0, 1)


def test_a_frame_that_is_alone_with_the_client_is_present_until_it_is_removed(
    site: Site, watched: Watched
) -> None:
    site.pages["/outer"] = PLAIN + "<iframe src=/inner></iframe><iframe src=/other></iframe>"
    page = site.open("/outer")
    watched.become(1, 1, 1)
    page.evaluate("document.querySelector('iframe').remove()")
    time.sleep(GONE)
    assert watched.now == (1, 1, 1)
    page.evaluate("document.querySelector('iframe').remove()")
    watched.become(0, 0, 1)


# --------------------------------------------------------------- pages that replace their content

SWAPS = {
    "the body": "document.body.replaceWith(next.body)",
    "its content": "document.body.innerHTML = next.body.innerHTML",
}
SWAP = """
  async ([html, how]) => {
    const next = new DOMParser().parseFromString(html, "text/html");
    history.pushState({}, "", "/swapped");
    (new Function("next", how))(next);
    // As libraries do: scripts that were parsed elsewhere never run.
    if (%s) for (const inert of document.body.querySelectorAll("script")) {
      const script = document.createElement("script");
      for (const { name, value } of inert.attributes) script.setAttribute(name, value);
      inert.replaceWith(script);
    }
  }
"""


@pytest.mark.parametrize("how", SWAPS)
@pytest.mark.parametrize("run", [True, False], ids=["run", "inert"])
def test_a_page_whose_content_is_swapped_leaves_the_old_space_and_has_the_new_page(
    site: Site, stack: Stack, how: str, run: bool
) -> None:
    api, old = stack.api, new_space("swapped")
    site.pages["/a"] = f"<body>{script(site)}{script(site, data_space=old)}<p>one</p></body>"
    new = f"<body><p>two</p>{script(site, data_page='/shown')}</body>"
    tab = site.tab("/a")
    for space in (site.space, old):
        becomes(lambda space=space: api.headcount(space)["people"], 1)
    tab.page.evaluate(SWAP % json.dumps(run), [new, SWAPS[how]])
    becomes(lambda: api.headcount(old)["people"], 0)
    becomes(lambda: pages_of(api, site.space), ["/shown"])
    assert api.headcount(site.space)["views"]["total"] == 1
    tab.page.evaluate("document.querySelector('script').dataset.page = '/later'")
    becomes(lambda: pages_of(api, site.space), ["/later"])


def test_a_script_that_its_loader_removes_at_once_stays_present(
    site: Site, watched: Watched
) -> None:
    site.pages["/a"] = "<!doctype html><body>"
    page = site.open("/a")
    page.evaluate(
        """([src, space]) => {
          const script = document.createElement("script");
          Object.assign(script, { src, type: "module", onload: () => script.remove() });
          script.dataset.space = space;
          document.head.append(script);
        }""",
        [site.script, site.space],
    )
    watched.become(1, 1, 1)
    page.evaluate("document.body.append(document.createElement('p'))")
    time.sleep(1)
    assert watched.now == (1, 1, 1)


def test_a_router_by_the_navigation_api_is_noticed_at_once(site: Site) -> None:
    tab = site.tab("/a")
    tab.until(lambda: tab.answered)
    tab.page.evaluate(
        "navigation.addEventListener('navigate', (event) => event.intercept({ handler() {} }))"
    )
    beat = tab.beat_after(lambda: tab.page.evaluate("void navigation.navigate('/routed')"))
    assert beat["page"] == "/routed"
    beat = tab.beat_after(lambda: click(tab.page, "/linked"))
    assert beat["page"] == "/linked"


# ----------------------------------------------------------------- wrong pages, long and odd texts


def test_what_is_only_shown_may_be_too_long(site: Site, api: Api, watched: Watched) -> None:
    site.attributes.update(
        {
            "data-avatar": "https://example.com/" + "a" * 327,
            "data-facet-title": "é" * 35,
            "data-name": "😀" * 60,
            "data-user": "ada",
        }
    )
    tab = site.tab("/a")
    watched.become(1, 1, 1)
    facets = api.headcount(site.space)["facets"]
    assert facets["title"][0]["value"] == "é" * 32
    assert warnings_of(tab) == []
    tab.call(
        "client.identify({ userId: 'ada', avatar: `data:image/png;base64,${'A'.repeat(99999)}` })"
    )
    assert tab.beat_after(lambda: tab.call("client.update({ page: '/b' })"))["userId"] == "ada"


def test_pages_are_readable_and_kept_apart(site: Site, api: Api) -> None:
    start = "/новости/2026/как-выбрать-"
    for what in ("велосипед-для-города", "ноутбук-для-учёбы"):
        site.open(start + what)
    pages = {start + "велосипед-для-города", start + "ноутбук-для-учёбы"}
    becomes(
        lambda: {one["value"] for one in api.headcount(site.space)["facets"].get("page", [])}, pages
    )


@pytest.mark.parametrize("body", ["<html>Sign in to the WLAN</html>", "{}", "null"])
def test_an_answer_of_something_else_is_no_answer(site: Site, body: str) -> None:
    events = "addEventListener('headcount', (event) => (globalThis.got ??= []).push(event.detail))"
    site.context.route("**/presence", lambda route: route.fulfill(body=body))
    tab = site.tab("/a", events, clock=True)
    tab.until(lambda: tab.answered)
    tab.page.wait_for_timeout(200)
    site.context.unroute("**/presence")
    tab.beat_after(lambda: tab.page.clock.fast_forward(3_000))
    tab.until(lambda: tab.page.evaluate("globalThis.got"))
    assert [one["count"] for one in tab.page.evaluate("got")] == [1]


def test_a_script_that_is_redirected_or_inline_is_counted(
    site: Site, stack: Stack, watched: Watched
) -> None:
    other = new_space("inline")
    site.pages["/a"] = script(site, src="/moved.js") + (
        f'<script type="module" data-space="{other}">import {json.dumps(site.script)}</script>'
    )
    site.open("/a")
    watched.become(1, 1, 1)
    becomes(lambda: stack.api.headcount(other)["people"], 1)


@pytest.mark.parametrize("options", [{"endpoint": "file:///app/main.js"}, {"space": "course"}])
def test_a_page_that_is_wrong_is_warned_about_once(site: Site, options: dict[str, str]) -> None:
    site.pages["/a"] = "<!doctype html>"
    tab = site.tab("/a")
    given = json.dumps({"space": site.space} | options)
    tab.call(f"client.connect({given}); client.connect({given}); client.start()")
    tab.until(lambda: warnings_of(tab))
    tab.page.wait_for_timeout(300)
    assert len(warnings_of(tab)) == 1


def test_an_ipad_is_a_tablet(site: Site, api: Api) -> None:
    agent = (
        "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605.1.15 Version/18 Safari/605"
    )
    site.context.set_extra_http_headers({"user-agent": agent})
    claims = (
        f"Object.defineProperty(navigator, 'userAgent', {{ get: () => {json.dumps(agent)} }});"
        "Object.defineProperty(navigator, 'maxTouchPoints', { get: () => touches });"
    )
    for touches in (0, 5):
        site.tab("/a", claims.replace("touches", str(touches)))
    becomes(
        lambda: {
            one["value"]: one["count"] for one in api.headcount(site.space)["facets"]["device"]
        },
        {"desktop": 1, "tablet": 1},
    )
