"""docs/install.md: apps of each framework, built from the npm package alone, show live counts."""

from __future__ import annotations

import gzip
import json
import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import pytest
from playwright.sync_api import Browser, Page, expect

from lab.harness import npm
from lab.harness.clients import Api, eventually
from local.ports import free_port
from local.settings import ROOT
from tests.stack.conftest import Stack, new_space
from tests.support.missing import missing
from tests.support.servers import serving_files

pytestmark = [pytest.mark.stack, pytest.mark.browser]

SOURCES = ROOT / "tests" / "recipes"
HOME = ROOT / ".local" / "recipes"
OLDEST_NODE = 20
QUIET = ("--no-audit", "--no-fund", "--no-package-lock")
SOON = 15_000  # milliseconds
WITHIN = 2_000  # a change that is pushed
ENTRIES = ("", "/react", "/vue", "/svelte", "/elements", "/legacy")


@dataclass(frozen=True)
class App:
    """A reader's app, with spaces that no other test uses."""

    folder: Path
    course: str
    site: str

    def run(self, tool: str, *args: str, **environment: str) -> str:
        """Run a tool of the frameworks in the app; UnavailableError with its output if it fails."""
        command = HOME / "node_modules" / ".bin" / tool
        environment["NEXT_TELEMETRY_DISABLED"] = "1"
        variables = [f"{name}={value}" for name, value in environment.items()]
        return npm.run("env", *variables, str(command), *args, cwd=self.folder)


@pytest.fixture(scope="module")
def package(stack: Stack) -> Iterator[Path]:
    """A folder in which the package is installed, as the stack serves it; nothing else is."""
    if shutil.which("npm") is None:
        missing("npm", "install it, with Node 20 or later.")
    HOME.mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(dir=HOME, prefix="app-"))
    try:
        with urlopen(f"{stack.outputs['origin']}/headcount-live.tgz", timeout=20) as answer:
            (folder / "headcount-live.tgz").write_bytes(answer.read())
        (folder / "package.json").write_text('{"private": true, "type": "module"}')
        npm.run("npm", "install", *QUIET, "./headcount-live.tgz", cwd=folder)
        yield folder
    finally:
        shutil.rmtree(folder)


@pytest.fixture
def app(request: pytest.FixtureRequest, package: Path, stack: Stack) -> App:
    """The recipe that the test names, with this stack's address."""
    try:
        npm.install(SOURCES, HOME, oldest_node=OLDEST_NODE)
    except npm.UnavailableError as error:
        missing("The frameworks of the recipes", str(error))
    name = request.param
    app = App(package / name, new_space(name, "course"), new_space(name))
    shutil.copytree(SOURCES / name, app.folder, dirs_exist_ok=True)
    for path in app.folder.rglob("*.*"):
        text = path.read_text().replace("https://YOUR-HTTP-URL", stack.outputs["origin"])
        path.write_text(text.replace("course:intro", app.course).replace("site:main", app.site))
    return app


def recipe(name: str) -> Any:
    """Mark a test with the app that it builds."""
    return pytest.mark.parametrize("app", [pytest.param(name, id=name)], indirect=True)


@contextmanager
def visitor(browser: Browser, address: str) -> Iterator[tuple[Page, list[str]]]:
    """A tab, and the addresses of what it posts. The page must write no error or warning."""
    posted: list[str] = []
    wrong: list[str] = []
    context = browser.new_context()
    page = context.new_page()
    page.on("request", lambda one: posted.append(one.url) if one.method == "POST" else None)
    page.on("pageerror", lambda error: wrong.append(str(error)))

    def note(message: Any) -> None:
        if message.type in {"error", "warning"} and "favicon.ico" not in message.location["url"]:
            wrong.append(message.text)

    page.on("console", note)
    try:
        page.goto(address)
        yield page, posted
    finally:
        context.close()
    assert wrong == []


def joins(api: Api, space: str) -> None:
    """Somebody else enters."""
    api.beat(space, "someone-else")


def chapters(api: Api, space: str) -> dict[str, int]:
    """People by chapter."""
    facets = api.headcount(space)["facets"]
    return {one["value"]: one["people"] for one in facets.get("chapter", [])}


# ------------------------------------------------------------------------------------- the package


@pytest.mark.parametrize("entry", ENTRIES)
def test_an_entry_can_be_imported_where_there_is_no_browser(package: Path, entry: str) -> None:
    """None of React, Vue and Svelte is installed here."""
    needs = {"/react": "react", "/legacy": "react", "/vue": "vue"}
    if entry in needs:  # a stand-in with the names that the module imports
        stub = package / "node_modules" / needs[entry]
        stub.mkdir(exist_ok=True)
        (stub / "package.json").write_text('{"main": "index.cjs"}')
        names = "createElement useCallback useEffect useMemo useRef useState useSyncExternalStore"
        names += " onScopeDispose shallowReactive toRefs toValue watch"
        (stub / "index.cjs").write_text("".join(f"exports.{one} = 0;\n" for one in names.split()))
    script = f"import * as all from 'headcount-live{entry}'; console.log(Object.keys(all).length)"
    try:
        shown = npm.run("node", "--input-type=module", "--eval", script, cwd=package)
    finally:
        if entry in needs:
            shutil.rmtree(stub)
    assert int(shown) > 1


def test_no_module_is_larger_than_what_is_served(package: Path, api: Api) -> None:
    folder = package / "node_modules" / "headcount-live"
    names = ["headcount.js", "headcount-live.js", "headcount-elements.js", "headcount-react.js"]
    for name in names:
        code, _, comment = (folder / name).read_text().rpartition("//# sourceMappingURL=")
        mapped = json.loads((folder / comment.strip()).read_text())
        assert f"src/{name}" in mapped["sources"]
        assert all(mapped["sourcesContent"])
        assert len(gzip.compress(code.encode())) <= len(
            gzip.compress(api.request("GET", f"/{name}").text.encode())
        )


PAGE = """<!doctype html>
<script type="module">
  import * as headcount from "./headcount-live/index.js";
  globalThis.shown = [];
  Object.assign(globalThis, headcount, {
    go: (space, options) => {
      globalThis.here = headcount.follow(space, options);
      globalThis.stop = here.subscribe((state) => shown.push(state));
    },
    now: () => here.get(),
  });
  globalThis.ready = true;
</script>"""


@pytest.fixture
def plain(package: Path, browser: Browser) -> Iterator[Page]:
    """A page with the package's modules as they are."""
    (package / "node_modules" / "index.html").write_text(PAGE)
    with serving_files(package / "node_modules") as address:
        context = browser.new_context()
        page = context.new_page()
        page.goto(address)
        page.wait_for_function("globalThis.ready")
        yield page
        context.close()


def test_a_space_is_a_store(plain: Page, stack: Stack, api: Api, space: str) -> None:
    """Its count, who is here, its message; this tab leaves it, is back, and is gone."""
    plain.evaluate(
        "([endpoint, token]) => { configure({ endpoint }); identify({ name: 'Ada', token }); }",
        [stack.outputs["origin"], stack.outputs["adminToken"]],
    )
    plain.evaluate("(space) => go(space, { names: true })", space)
    assert plain.evaluate("shown[0]") == {
        "count": None,
        "people": [],
        "viewers": [],
        "notice": None,
        "error": None,
        "connected": False,
        "stale": False,
    }
    plain.wait_for_function("now().count === 1 && now().connected", timeout=SOON)
    plain.wait_for_timeout(1_500)
    for session in ("s1", "s2"):
        api.beat(space, session, userId="ben", name="Ben")
    plain.wait_for_function("now().count === 2", timeout=SOON)
    plain.wait_for_function("now().viewers.length === 3", timeout=SOON)
    people = plain.evaluate("now().people.map(({ name, userId }) => [name, userId])")
    assert sorted(people) == [["Ada", None], ["Ben", "ben"]]
    plain.evaluate("here.update({ facets: { chapter: 'end' } })")
    eventually(lambda: chapters(api, space) == {"end": 1}, 10)
    plain.evaluate("here.leave()")
    eventually(lambda: api.headcount(space)["people"] == 1, 10)
    assert plain.evaluate("[now().count, now().connected]") == [None, False]
    plain.evaluate("here.start()")
    plain.wait_for_function("now().count === 2 && now().connected", timeout=SOON)
    eventually(lambda: api.headcount(space)["people"] == 2, 10)
    plain.evaluate("stop(); void here.subscribe(() => {})")  # built again in one turn
    plain.wait_for_timeout(1_000)
    assert api.headcount(space)["people"] == 2
    assert plain.evaluate("now().connected")
    plain.evaluate("leave()")  # the client's own: of all spaces
    eventually(lambda: api.headcount(space)["people"] == 1, 10)


def test_a_store_says_what_is_wrong_once(plain: Page, stack: Stack, space: str) -> None:
    words: list[str] = []
    plain.on("console", lambda message: words.append(message.text))
    plain.evaluate("(space) => go(space)", space)
    assert "configure({ endpoint })" in plain.evaluate("now().error")
    assert plain.evaluate("now().connected") is False
    plain.evaluate("(endpoint) => go('nothing:1', { endpoint })", stack.outputs["origin"])
    plain.wait_for_function("now().error?.includes('make run KINDS')", timeout=SOON)
    plain.evaluate(
        "([space, endpoint]) => go(space, { endpoint, names: true })",
        [space, stack.outputs["origin"]],
    )
    plain.wait_for_function("now().count === 1", timeout=SOON)
    plain.wait_for_timeout(1_000)
    ours = [text for text in words if text.startswith("Headcount")]
    assert [text.split(":")[0] for text in ours] == [
        "Headcount needs the address of its API",
        "Headcount stopped in nothing",
        "Headcount shows no names of site",
    ]


def test_a_store_of_a_count_for_admins_says_so_until_one_signs_in(
    plain: Page, stack: Stack
) -> None:
    space = new_space("admins", "activity")
    plain.evaluate(
        "([space, endpoint]) => { configure({ endpoint }); go(space); }",
        [space, stack.outputs["origin"]],
    )
    plain.wait_for_function("now().error?.startsWith('Only admins may read')", timeout=SOON)
    assert plain.evaluate("[now().count, now().connected]") == [None, False]
    plain.evaluate("(token) => identify({ token })", stack.outputs["adminToken"])
    plain.wait_for_function("now().count === 1 && now().error === null", timeout=SOON)


def test_names_come_once_the_reader_has_signed_in(
    plain: Page, stack: Stack, api: Api, space: str
) -> None:
    asked: list[str] = []
    plain.on("request", lambda one: "/viewers" in one.url and asked.append(one.url))
    api.beat(space, "s1", userId="ben", name="Ben")
    plain.evaluate(
        "([space, endpoint]) => { configure({ endpoint }); go(space, { names: true }); }",
        [space, stack.outputs["origin"]],
    )
    plain.wait_for_function("now().count === 2", timeout=SOON)
    api.beat(space, "s2", userId="cleo", name="Cleo")
    plain.wait_for_function("now().count === 3", timeout=SOON)
    plain.wait_for_timeout(6_000)
    assert len(asked) == 1, "a refused reader does not ask again"
    plain.evaluate("(token) => identify({ token })", stack.outputs["adminToken"])
    plain.wait_for_function("now().people.length === 3", timeout=SOON)


@pytest.mark.exhaustive
@recipe("vite-react")
def test_the_linters_of_packages_find_nothing(app: App) -> None:
    """Modules are ESM only, so a `require` of them is what attw may complain about."""
    tarball = str(app.folder.parent / "headcount-live.tgz")
    assert "All good!" in app.run("publint", tarball, "--strict")
    attw = app.run("attw", tarball, "--ignore-rules", "cjs-resolves-to-esm", "--no-color")
    assert "No problems found" in attw


# -------------------------------------------------------------------------------------- frameworks


@pytest.mark.exhaustive
@recipe("vite-react")
def test_a_fresh_vite_app_shows_a_live_count(app: App, browser: Browser, api: Api) -> None:
    assert app.run("tsc", "--project", ".") == ""
    app.run("vite", "build")
    with (
        serving_files(app.folder / "dist") as address,
        visitor(browser, address) as (page, posted),
    ):
        sentence = page.locator("main > span")
        expect(sentence).to_have_text("1 person is viewing this", timeout=SOON)
        beats = [url for url in posted if url.endswith("/presence")]
        assert len(beats) == 1, "in StrictMode, from two components and an element"
        chapter = page.locator("main > p")
        expect(chapter).to_have_text("1 here now")
        expect(chapter).to_have_attribute("title", "")
        expect(page.get_by_role("button", name="1 person")).to_be_visible()
        page.wait_for_timeout(1_500)
        joins(api, app.course)
        expect(sentence).to_have_text("2 people are viewing this", timeout=WITHIN)
        expect(chapter).to_have_text("2 here now")
        expect(page.get_by_role("button", name="2 people")).to_be_visible()
        page.get_by_text("Next chapter").click()
        eventually(lambda: chapters(api, app.course) == {"2": 1}, 10)


@pytest.mark.exhaustive
@recipe("next")
def test_a_fresh_next_app_shows_a_live_count(app: App, browser: Browser, api: Api) -> None:
    """Rendered on the server, hydrated, and not left when a link leads to the next page."""
    app.run("next", "build")
    with next_server(app) as address:
        with urlopen(address) as answer:
            assert "<span>Live</span>" in answer.read().decode()
        with visitor(browser, address) as (page, posted):
            sentence = page.locator("body > span").first
            expect(sentence).to_have_text("1 person is viewing this", timeout=SOON)
            page.wait_for_timeout(1_500)
            joins(api, app.site)
            expect(sentence).to_have_text("2 people are viewing this", timeout=WITHIN)
            page.get_by_text("About").click()
            expect(page.get_by_text("Home")).to_be_visible(timeout=SOON)
            eventually(lambda: ["/about", 1] in pages(api, app.site), 10)
            expect(sentence).to_have_text("2 people are viewing this")
            assert not [url for url in posted if url.endswith("/leave")]
        eventually(lambda: api.headcount(app.site)["people"] == 1, 10)


def pages(api: Api, space: str) -> list[list[Any]]:
    """Pages with their people."""
    return [[one["value"], one["people"]] for one in api.headcount(space)["facets"]["page"]]


@contextmanager
def next_server(app: App) -> Iterator[str]:
    """Next's own server of the built app, until the block ends."""
    port = free_port()
    command = HOME / "node_modules" / ".bin" / "next"
    with (app.folder / "log").open("wb") as log:
        server = subprocess.Popen(
            [command, "start", "--port", str(port), "--hostname", "127.0.0.1"],
            cwd=app.folder,
            env={**os.environ, "NEXT_TELEMETRY_DISABLED": "1"},
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    try:
        eventually(lambda: "Ready" in (app.folder / "log").read_text(), 60)
        yield f"http://127.0.0.1:{port}"
    finally:
        os.killpg(server.pid, signal.SIGTERM)
        server.wait(10)


@pytest.mark.exhaustive
@recipe("vue")
def test_a_fresh_vue_app_shows_a_live_count(app: App, browser: Browser, api: Api) -> None:
    assert app.run("vue-tsc", "--project", ".") == ""
    shows_chapters(app, browser, api)


@pytest.mark.exhaustive
@recipe("svelte")
def test_a_fresh_svelte_app_shows_a_live_count(app: App, browser: Browser, api: Api) -> None:
    assert "0 errors and 0 warnings" in app.run("svelte-check", "--tsconfig", "tsconfig.json")
    shows_chapters(app, browser, api)


def shows_chapters(app: App, browser: Browser, api: Api) -> None:
    """A page with the count of a course, a button to the next chapter, and a badge."""
    app.run("vite", "build", NODE_ENV="development")  # so that the framework warns
    with (
        serving_files(app.folder / "dist") as address,
        visitor(browser, address) as (page, _),
    ):
        here = page.locator("css:light=p")
        expect(here).to_have_text("1 here now", timeout=SOON)
        page.wait_for_timeout(1_500)
        joins(api, app.course)
        expect(here).to_have_text("2 here now", timeout=WITHIN)
        expect(page.get_by_role("button", name="2 people")).to_be_visible()
        page.get_by_text("Next chapter").click()
        eventually(lambda: chapters(api, app.course) == {"2": 1}, 10)


@pytest.mark.exhaustive
@recipe("eleventy")
def test_a_static_site_shows_a_live_count(app: App, browser: Browser, api: Api) -> None:
    (app.folder / "node_modules").symlink_to("../node_modules")
    app.run("eleventy")
    with (
        serving_files(app.folder / "_site") as address,
        visitor(browser, address) as (page, _),
    ):
        badge = page.get_by_role("button")
        expect(badge).to_have_text("1 person is reading this", timeout=SOON)
        page.wait_for_timeout(1_500)
        joins(api, app.site)
        expect(badge).to_have_text("2 people are reading this", timeout=WITHIN)


PARSE = """
  import engine from "php-parser";
  import { readFileSync } from "node:fs";
  const parser = new engine.Engine({ parser: { extractDoc: false } });
  const { children: [hook] } = parser.parseEval(readFileSync("functions.php", "utf8"));
  const [event, callback] = hook.expression.arguments;
  const [call] = callback.body.children;
  const [{ items: given }] = call.expression.arguments;
  const items = given.map(({ key, value }) => [key.value, value.value]);
  const names = [hook.expression.what.name, event.value, call.expression.what.name];
  console.log(JSON.stringify({ names, attributes: Object.fromEntries(items) }));
"""


@pytest.mark.exhaustive
@recipe("wordpress")
def test_the_script_tag_of_wordpress_counts_its_reader(
    app: App, browser: Browser, api: Api
) -> None:
    """The PHP is parsed; WordPress itself prints the attributes as they are."""
    parsed = json.loads(npm.run("node", "--input-type=module", "--eval", PARSE, cwd=app.folder))
    assert parsed["names"] == ["add_action", "wp_footer", "wp_print_script_tag"]
    attributes = "".join(f' {name}="{value}"' for name, value in parsed["attributes"].items())
    (app.folder / "index.html").write_text(f"<!doctype html><script{attributes}></script>")
    with (
        serving_files(app.folder) as address,
        visitor(browser, address),
    ):
        eventually(lambda: api.headcount(app.site)["people"] == 1, 10)
