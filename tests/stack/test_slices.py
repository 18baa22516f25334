"""Every row of a card limits the whole screen: its numbers against those of the sessions put in."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from random import Random
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, Route, expect

from lab.harness.clients import Api, beat, eventually
from local.bundle import Bundler
from tests.stack.conftest import Stack
from tests.stack.test_dashboard import Watched, barriers, watched

__all__ = ["watched"]

pytestmark = [pytest.mark.stack, pytest.mark.browser]

FACETS = {
    "page": ["/", "/pricing", "/café & co"],
    "referrer": ["news.example", "www.search.example"],
    "device": ["mobile", "desktop"],
    "browser": ["Chrome", "Firefox"],
    "language": ["de", "en"],
    "visitor": ["new", "returning"],
}
Person = dict[str, str]
Rows = dict[str, tuple[int, int]]


def crowd(api: Api, space: str) -> list[Person]:
    """Forty people in one tab each, with facets at random. Hidden tabs have the longer lease."""
    random = Random(11)  # noqa: S311 - the same crowd each time
    people = [{name: random.choice(of) for name, of in FACETS.items()} for _ in range(40)]
    api.all(
        beat(
            space,
            f"s{number:02d}",
            visitorId=f"v{number}",
            page=one["page"],
            state="hidden",
            facets={name: value for name, value in one.items() if name != "page"},
        )
        for number, one in enumerate(people)
    )
    return people


def of_slice(people: list[Person], where: Person) -> list[Person]:
    return [one for one in people if where.items() <= one.items()]


def rows(page: Page, facet: str) -> Rows:
    """What a card shows: value -> (people, sessions)."""
    table = page.locator(f"[aria-labelledby=facet-{facet}] table tbody")
    found: list[list[str]] = table.evaluate(
        "(body) => [...body.rows].map((row) => [...row.cells].map((cell) => cell.innerText.trim()))"
    )
    return {text: (int(people), int(sessions)) for text, people, sessions in found}


LABELS = {"de": "German", "en": "English"}


def label(facet: str, value: str) -> str:
    if facet in {"device", "visitor"}:
        return value.capitalize()
    return LABELS.get(value, value)


def shows_slice(page: Page, people: list[Person], where: Person) -> None:
    """Wait until each number of the screen is that of the people put in."""
    here = of_slice(people, where)
    wanted: dict[str, Any] = {"people": str(len(here)), "sessions": str(len(here))}
    for facet in FACETS:
        counts = Counter(label(facet, one[facet]) for one in here)
        wanted[facet] = {text: (number, number) for text, number in counts.items()}

    def shown() -> dict[str, Any]:
        numbers = {name: page.get_by_test_id(name).inner_text() for name in ("people", "sessions")}
        return {**numbers, **{facet: rows(page, facet) for facet in FACETS}}

    eventually(lambda: shown() == wanted, 30, last=lambda: (shown(), wanted))


def pick(page: Page, facet: str, text: str) -> None:
    page.locator(f"[aria-labelledby=facet-{facet}]").get_by_role(
        "button", name=text, exact=True
    ).click()


def test_every_card_of_a_slice_has_the_numbers_of_its_sessions(
    stack: Stack, api: Api, spaces: Callable[..., str], watched: Watched
) -> None:
    space, page = spaces("slice"), watched.page
    people = crowd(api, space)
    watched.open(stack, space)
    shows_slice(page, people, {})

    pick(page, "page", "/café & co")
    shows_slice(page, people, {"page": "/café & co"})
    expect(page.get_by_test_id("slice")).to_contain_text("Page: /café & co")
    page.locator("[aria-labelledby=facet-device] .pick", has_text="Mobile").press("Enter")
    where = {"page": "/café & co", "device": "mobile"}
    shows_slice(page, people, where)
    here = len(of_slice(people, where))
    expect(page.get_by_test_id("slice")).to_contain_text(f"{here} of 40 people.")

    # It is live, and its link opens the same.
    more = {**people[0], **where}
    facets = {name: value for name, value in more.items() if name != "page"}
    api.beat(space, "s99", visitorId="v99", page=more["page"], state="hidden", facets=facets)
    people.append(more)
    shows_slice(page, people, where)
    page.reload()
    shows_slice(page, people, where)

    watched.tab("People")
    expect(page.locator("#viewers-count")).to_have_text(
        f"{here + 1} of 41 sessions", timeout=30_000
    )
    expect(page.get_by_test_id("viewer")).to_have_count(here + 1)
    watched.tab("Live")

    page.get_by_role("button", name="Remove the filter Page: /café & co").click()
    shows_slice(page, people, {"device": "mobile"})
    page.get_by_test_id("slice").get_by_role("button", name="Clear").click()
    shows_slice(page, people, {})
    expect(page.get_by_test_id("slice")).to_be_hidden()


def test_the_device_filter_finds_as_many_as_the_card_says(
    stack: Stack, api: Api, spaces: Callable[..., str], watched: Watched
) -> None:
    space, page = spaces("slice"), watched.page
    messages = [
        beat(space, f"t{n:03d}", state="hidden", facets={"device": ["mobile", "tv"][n % 2]})
        for n in range(172)
    ]
    api.all(messages)
    watched.open(stack, space, "&tab=people")
    page.locator("#viewers-device").select_option("mobile", timeout=30_000)
    expect(page.locator("#viewers-count")).to_have_text(
        "1–50 of 86 matches in 172 sessions", timeout=30_000
    )
    watched.tab("Live")
    eventually(lambda: rows(page, "device")["Mobile"] == (86, 86), 30)


COUNTRIES = {"US": 9, "BR": 4, "IN": 1, "MT": 1}  # Malta is too small for the map


def of_countries(api: Api, space: str) -> None:
    api.all(
        beat(space, f"{code}-{n}", state="hidden", facets={"country": code})
        for code, people in COUNTRIES.items()
        for n in range(people)
    )


def test_the_map_shades_countries_by_their_people_and_picks_them_as_their_rows_do(
    stack: Stack, api: Api, spaces: Callable[..., str], watched: Watched
) -> None:
    space, page = spaces("map"), watched.page
    of_countries(api, space)
    watched.open(stack, space)
    shapes = page.locator(".map path.here")
    codes = "(shapes) => Object.fromEntries(shapes.map((one) => [one.id, one.textContent]))"
    texts = {"US": "United States: 9 people", "BR": "Brazil: 4 people", "IN": "India: 1 person"}
    eventually(lambda: shapes.evaluate_all(codes) == texts, 30)
    assert rows(page, "country")["Malta"] == (1, 1)
    assert page.locator(".map #AR").text_content() == "Argentina"
    fills = page.locator(".map").evaluate(
        """(map) => ['US', 'BR', 'IN', 'AR', 'CN'].map(
            (code) => getComputedStyle(map.querySelector(`#${code}`)).fill)"""
    )
    assert fills[3] == fills[4]
    assert len(set(fills)) == 4

    page.locator(".map #CN").click()  # nobody is there
    expect(page.get_by_test_id("slice")).to_be_hidden()
    page.locator(".map #BR").click()
    expect(page.get_by_test_id("slice")).to_contain_text("Country: Brazil")
    eventually(lambda: rows(page, "country") == {"Brazil": (4, 4)}, 30)
    watched.shows("people", "4", within=30)
    expect(shapes).to_have_count(1)
    row = page.locator("[aria-labelledby=facet-country]").get_by_role("button", name="Brazil")
    expect(row).to_have_attribute("aria-pressed", "true")
    page.locator(".map #BR").click()
    expect(page.get_by_test_id("slice")).to_be_hidden()
    expect(shapes).to_have_count(3, timeout=30_000)


def test_countries_are_a_table_where_the_map_can_not_be_loaded(
    stack: Stack, api: Api, spaces: Callable[..., str], watched: Watched
) -> None:
    space, page = spaces("map"), watched.page
    of_countries(api, space)
    asked: list[str] = []

    def refuse(route: Route) -> None:
        asked.append(route.request.url)
        route.fulfill(status=503)

    page.route("**/dashboard/countries.svg", refuse)
    watched.open(stack, space)
    eventually(lambda: len(rows(page, "country")) == len(COUNTRIES) and len(asked) == 1, 30)
    pick(page, "country", "Malta")
    eventually(lambda: rows(page, "country") == {"Malta": (1, 1)}, 30)
    expect(page.locator(".map")).to_have_count(0)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_slice_is_accessible(
    stack: Stack, api: Api, spaces: Callable[..., str], browser: Browser, scheme: Any
) -> None:
    Bundler().install("axe-core")
    space = spaces("slice")
    people = crowd(api, space)
    context = browser.new_context(color_scheme=scheme, reduced_motion="reduce")
    context.add_init_script(path=Bundler().state / "node_modules" / "axe-core" / "axe.min.js")
    page = context.new_page()
    page.goto(f"{stack.outputs['dashboardUrl']}&space={space}&where=visitor:new")
    shows_slice(page, people, {"visitor": "new"})
    assert barriers(page) == []
    context.close()
