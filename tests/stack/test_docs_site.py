"""The documentation site: built strictly, served at /docs, and found in by its search."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from html.parser import HTMLParser
from http.client import HTTPConnection
from pathlib import Path
from urllib.request import urlopen

import pytest
from markdown_it import MarkdownIt
from playwright.sync_api import Browser, Page, TimeoutError

from lab.harness.clients import eventually
from local import docs
from local.settings import UsageError
from tests.docs.pages import pages
from tests.stack.conftest import Stack

pytestmark = pytest.mark.stack

FIRST_RESULTS = 2
"""Pages of a search's results that somebody sees without scrolling."""
COUNTED = {"li", "ul", "ol", "table", "tr", "td", "pre", "h2", "h3", "strong", "img", "blockquote"}


class Elements(HTMLParser):
    """Counts the elements of a page's article, or of all HTML without one."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.found: Counter[str] = Counter()
        self._inside = "<article" not in html
        self.feed(html)

    def handle_starttag(self, tag: str, _: list[tuple[str, str | None]]) -> None:
        self._inside |= tag == "article"
        if self._inside and tag in COUNTED:
            self.found[tag] += 1

    def handle_endtag(self, tag: str) -> None:
        self._inside &= tag != "article"


@pytest.fixture(scope="module")
def site() -> Path:
    """The built site."""
    docs.build()
    return docs.SITE


def test_a_page_has_the_same_lists_and_tables_as_on_github(site: Path) -> None:
    github = MarkdownIt("commonmark").enable("table")
    differ = {}
    for page in pages():
        name = "" if page.path.name == "README.md" else page.path.stem
        expected = Elements(github.render(page.text)).found
        found = Elements((site / name / "index.html").read_text()).found
        differ |= {page.name: (expected - found, found - expected)} if expected != found else {}
    assert not differ


def test_every_page_is_in_the_navigation(site: Path) -> None:
    home = (site / "index.html").read_text()
    for page in pages():
        if page.path.name != "README.md":
            assert f'href="{page.path.stem}/"' in home, page.name


def test_links_that_lead_nowhere_fail_the_build(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sources = docs.sources()
    broken = ["nowhere.md", "deploy.md#nowhere", "local/run.py"]
    sources["pages/install.md"] += "".join(f"\n[a]({one})\n" for one in broken).encode()
    monkeypatch.setattr(docs, "sources", lambda: sources)
    for name in ("BUILD", "SITE"):
        monkeypatch.setattr(docs, name, tmp_path / name)
    monkeypatch.setattr(docs, "STAMP", tmp_path / "SITE" / "stamp")
    with pytest.raises(UsageError) as failed:
        docs.build()
    assert all(one in str(failed.value) for one in broken)
    assert not (tmp_path / "SITE").exists()


def test_nothing_is_built_again_without_a_change(site: Path) -> None:
    assert docs.build() is False


def test_the_local_stack_serves_it(site: Path, stack: Stack) -> None:
    with urlopen(f"{stack.outputs['origin']}/docs", timeout=docs.LIMIT) as answer:
        assert answer.url == f"{stack.outputs['origin']}/docs/"
        assert "script-src 'self';" in answer.headers["content-security-policy"]
        assert b"<h1" in answer.read()


@pytest.mark.parametrize(
    "path", ["nothing/", "../run.log", "%2e%2e/docs-build/lock", "..%2fdocs-build%2flock"]
)
def test_what_is_not_the_sites_is_not_served(path: str, site: Path, stack: Stack) -> None:
    connection = HTTPConnection("localhost", stack.settings.port, timeout=60)
    connection.request("GET", f"/docs/{path}")
    answer = connection.getresponse()
    assert answer.status == 404
    connection.close()


@pytest.fixture(scope="module")
def reader(browser: Browser, site: Path, stack: Stack) -> Iterator[Page]:
    """The first page, in a browser; nothing fails in it, and nothing comes from elsewhere."""
    origin = stack.outputs["origin"]
    wrong: list[str] = []
    page = browser.new_page()
    page.on("pageerror", lambda error: wrong.append(str(error)))
    page.on("console", lambda line: wrong.append(line.text) if line.type == "error" else None)
    page.on("request", lambda one: None if one.url.startswith(origin) else wrong.append(one.url))
    page.goto(f"{origin}/docs")
    yield page
    page.close()
    assert not wrong


@pytest.mark.browser
@pytest.mark.parametrize(
    ("words", "found"),
    [
        ("N people are viewing this", "/docs/recipes/#show-n-people-are-viewing-this"),
        ("add a kind", "/docs/recipes/#add-a-kind"),
        ("give a colleague access", "/docs/recipes/#give-a-colleague-access"),
        ("what is a view", "/docs/metrics/#what-is-a-view"),
        ("webhook", "/docs/events/#webhooks"),
        ("deploy", "/docs/deploy/"),
    ],
)
def test_a_newcomer_finds_it_by_the_search(words: str, found: str, reader: Page) -> None:
    box = reader.locator("input.md-search__input")

    def results() -> list[str]:
        box.fill(words)
        box.press("End")  # the page listens to keys; again, until it has loaded the index
        items = reader.locator(".md-search-result__item")
        try:
            items.first.wait_for(timeout=2000)
        except TimeoutError:
            return []
        listed: list[str] = items.evaluate_all(
            "(all, first) => all.slice(0, first).flatMap(one => [...one.querySelectorAll('a')])"
            ".map(link => { const {pathname, hash} = new URL(link.href); return pathname + hash })",
            FIRST_RESULTS,
        )
        return listed

    eventually(lambda: found in results(), 60, last=results)
