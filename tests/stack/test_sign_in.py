"""How people get into the dashboard: an issuer's sign-in, share links, tokens with few scopes."""

from __future__ import annotations

import os
import re
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, WebSocket, expect

from lab.harness.clients import Api, eventually
from lab.harness.engines import Engine
from lab.harness.world import World
from local.ports import free_port
from local.settings import STACK_NAME
from tests.conftest import Worlds
from tests.stack import javascript
from tests.stack.conftest import Stack
from tests.stack.test_dashboard import NETWORK_NOISE, REPORT_VIOLATIONS
from tests.support.missing import missing

pytestmark = [pytest.mark.stack, pytest.mark.browser]

TIMEOUT = 30_000
"""Milliseconds: the stack shares two cores with the browser and the issuer."""
LIFE = 12
"""Seconds of the issuer's tokens: half of it is the margin for renewing them."""
AUDIENCE = "https://headcount.example.test"


@dataclass
class Tab:
    """A tab, its complaints, and the addresses of its sockets."""

    page: Page
    complaints: list[str] = field(default_factory=list)
    sockets: list[str] = field(default_factory=list)

    def watch(self, origin: str) -> None:
        """Record from now on what the dashboard itself complains about."""

        def note(text: str) -> None:
            if self.page.url.startswith(origin) and not NETWORK_NOISE.match(text):
                self.complaints.append(text)

        def opened(socket: WebSocket) -> None:
            self.sockets.append(socket.url)

        self.page.on("console", lambda message: message.type == "error" and note(message.text))
        self.page.on("pageerror", lambda error: note(str(error)))
        self.page.on("websocket", opened)
        self.page.add_init_script(REPORT_VIOLATIONS)

    def token(self) -> str | None:
        """The token that the dashboard uses."""
        found: str | None = self.page.evaluate("sessionStorage['headcount.token'] ?? null")
        return found

    def is_live(self) -> None:
        """Wait until the socket is open."""
        expect(self.page.get_by_test_id("connection")).to_have_text("Live", timeout=TIMEOUT)

    def is_signed_out(self, words: str = "") -> None:
        """Wait for the form, and for the reason."""
        expect(self.page.get_by_test_id("token-form")).to_be_visible(timeout=TIMEOUT)
        expect(self.page.get_by_test_id("error")).to_contain_text(words)
        assert self.token() is None


@pytest.fixture
def tabs(browser: Browser, stack: Stack) -> Iterator[Callable[[], Tab]]:
    """Tabs of people who have nothing in common; none may complain."""
    contexts: list[BrowserContext] = []
    made: list[Tab] = []

    def open_tab() -> Tab:
        contexts.append(browser.new_context())
        tab = Tab(contexts[-1].new_page())
        tab.watch(stack.outputs["origin"])
        made.append(tab)
        return tab

    yield open_tab
    for context in contexts:
        context.close()
    assert [tab.complaints for tab in made if tab.complaints] == []


@pytest.fixture
def tab(tabs: Callable[[], Tab]) -> Tab:
    """One such tab."""
    return tabs()


# --------------------------------------------------------------------------------- OpenID Connect


@dataclass(frozen=True)
class Issuer:
    """A running issuer, and how to make the stack use it."""

    url: str
    use: Callable[[str], None]


@pytest.fixture(scope="module")
def issuer(stack: Stack) -> Iterator[Issuer]:
    """oidc-provider. Its access tokens carry the stack's own signature, as the stack checks other
    tests' tokens meanwhile; its id tokens carry its own."""
    try:
        home = javascript.install()
    except javascript.UnavailableError as error:
        missing("The clients' packages", str(error))
    port = free_port()
    with subprocess.Popen(
        ["node", "issuer.mjs"],
        cwd=home,
        env={
            **os.environ,
            "PORT": str(port),
            "DASHBOARD": stack.outputs["origin"],
            "SECRET": stack.secret(),
            "LIFE": str(LIFE),
        },
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        url = f"http://localhost:{port}"
        functions = stack.client("lambda")
        name = stack.client("cloudformation").describe_stack_resource(
            StackName=STACK_NAME, LogicalResourceId="SiteFunction"
        )["StackResourceDetail"]["PhysicalResourceId"]
        before = functions.get_function_configuration(FunctionName=name)["Environment"]["Variables"]

        def use(client: str) -> None:
            settings = f"sign-in-client={client},sign-in-audience=resource"
            changed = {"SETTINGS": settings, "TOKEN_ISSUER": url, "TOKEN_AUDIENCE": AUDIENCE}
            configure({**before, **(changed if client else {})})
            eventually(lambda: (configured() is not None) is bool(client), 20, configured)

        def configure(variables: dict[str, str]) -> None:
            functions.update_function_configuration(
                FunctionName=name, Environment={"Variables": variables}
            )

        def configured() -> Any:
            body = stack.api.request("GET", "/dashboard/config.json").body["signIn"]
            return body and (body.get("clientId"), body.get("problem"))

        yield Issuer(url, use)
        use("")
        process.terminate()


@pytest.fixture
def verified(worlds: Worlds, memory: Engine, issuer: Issuer) -> Callable[[str], None]:
    """Has the API itself verify a token, by the keys that the issuer's discovery names."""

    def verify(token: str) -> None:
        for audience, status in (("renews", 200), ("another", 401)):
            world: World = worlds(
                memory,
                JwksUrl=f"{issuer.url}/.well-known/openid-configuration",
                TokenIssuer=issuer.url,
                TokenAudience=audience,
            )
            answer = world.get("/v1/token", token=token)
            assert answer.status == status, answer
            if status == 200:
                assert (answer.body["admin"], answer.body["name"]) == (True, "Ms uma")

    return verify


def sign_in(page: Page, name: str) -> None:
    """Sign in at the issuer's page."""
    page.get_by_test_id("sign-in-issuer").click()
    page.locator("input[name=login]").fill(name)
    page.locator("input[name=password]").fill("any")
    page.locator("button[type=submit]").click()


def test_a_person_signs_in_stays_signed_in_and_signs_out(
    stack: Stack, space: str, issuer: Issuer, tab: Tab, verified: Callable[[str], None]
) -> None:
    issuer.use("renews")
    page = tab.page
    page.goto(f"{stack.outputs['origin']}/dashboard#space={space}")
    sign_in(page, "uma")

    tab.is_live()
    address = urlsplit(page.url)
    assert (address.path, address.query, address.fragment) == ("/dashboard", "", f"space={space}")
    first = tab.token()
    assert first is not None
    assert parse_qs(urlsplit(tab.sockets[-1]).query)["token"] == [first]
    id_token = page.evaluate("JSON.parse(sessionStorage['headcount.session']).idToken")
    verified(id_token)

    requests: list[str] = []
    page.on("framenavigated", lambda frame: requests.append(frame.url))
    changed = "first => sessionStorage['headcount.token'] !== first"
    page.wait_for_function(changed, arg=first, timeout=TIMEOUT)
    assert requests == [], "the page stayed"
    page.get_by_test_id("menu-open").click()
    page.get_by_role("link", name="Connection").click()
    with page.expect_websocket(timeout=TIMEOUT) as opened:
        page.get_by_role("button", name="Reconnect").click()
    assert parse_qs(urlsplit(opened.value.url).query)["token"] not in ([first], [None])
    tab.is_live()

    page.get_by_test_id("menu-open").click()
    page.get_by_role("button", name="Sign out").click()
    page.get_by_role("button", name="Yes, sign me out").click()
    tab.is_signed_out()
    assert page.evaluate("Object.keys(sessionStorage)") == []
    page.get_by_test_id("sign-in-issuer").click()
    expect(page.locator("input[name=login]")).to_be_visible()  # the issuer forgot them, too


def test_without_a_refresh_token_the_page_goes_to_the_issuer_and_comes_back(
    stack: Stack, space: str, issuer: Issuer, tab: Tab
) -> None:
    issuer.use("redirects")
    page = tab.page
    page.goto(f"{stack.outputs['origin']}/dashboard#space={space}&range=day")
    sign_in(page, "uma")
    tab.is_live()
    first = tab.token()
    with page.expect_request(lambda one: "prompt=none" in one.url, timeout=TIMEOUT):
        pass
    page.wait_for_url(re.compile(r"/dashboard#"))
    tab.is_live()
    assert tab.token() not in {None, first}
    assert urlsplit(page.url).fragment == f"space={space}&range=day"

    # The issuer's own session is over: then it is not asked a second time.
    page.context.clear_cookies()
    tab.is_signed_out("Your session has ended")


def test_an_answer_that_this_tab_did_not_ask_for_signs_nobody_in(
    stack: Stack, issuer: Issuer, tab: Tab
) -> None:
    issuer.use("renews")
    page, origin = tab.page, stack.outputs["origin"]
    answer = f"{origin}/dashboard?code=somebody-elses&state=any&iss={issuer.url}"
    page.goto(answer)
    tab.is_signed_out("not started in this tab")
    assert urlsplit(page.url).query == ""

    page.get_by_test_id("sign-in-issuer").click()
    expect(page.locator("input[name=login]")).to_be_visible()
    asked: list[str] = []
    page.on("request", lambda one: one.method == "POST" and asked.append(one.url))
    page.goto(answer)
    tab.is_signed_out("Signing in failed")
    assert asked == [], "no code was exchanged"

    page.goto(f"{origin}/dashboard?error=access_denied&error_description=No&state=any")
    tab.is_signed_out("not started in this tab")


def test_only_the_page_may_call_the_issuer_and_nothing_else(
    stack: Stack, api: Api, issuer: Issuer
) -> None:
    issuer.use("renews")
    policy = api.request("GET", "/dashboard").headers["content-security-policy"]
    (connect,) = (one for one in policy.split("; ") if one.startswith("connect-src"))
    assert connect.split() == ["connect-src", "'self'", issuer.url]
    assert "default-src 'none'" in policy
    script = api.request("GET", "/dashboard/dashboard.js").headers["content-security-policy"]
    assert issuer.url not in script
    issuer.use("")
    policy = api.request("GET", "/dashboard").headers["content-security-policy"]
    assert issuer.url not in policy


# ------------------------------------------------------------------------------------ share links


def test_a_link_is_made_opened_and_revoked(
    stack: Stack, api: Api, space: str, tabs: Callable[[], Tab]
) -> None:
    api.beat(space, "tab-1", userId="u1", name="Uma", page="/pricing")
    admin, guest = tabs(), tabs()
    page = admin.page
    page.goto(f"{stack.outputs['dashboardUrl']}&space={space}")
    admin.is_live()
    page.get_by_test_id("menu-open").click()
    page.get_by_test_id("share-open").click()
    dialog = page.get_by_test_id("share")
    dialog.get_by_label("Label").fill("Lobby")
    dialog.get_by_role("button", name="Create link").click()
    expect(page.get_by_test_id("share-url")).to_have_value(re.compile("share_"), timeout=8000)
    url = page.get_by_test_id("share-url").input_value()
    assert url.startswith(f"{stack.outputs['origin']}/dashboard#token=share_")

    seen = guest.page
    seen.goto(url)
    guest.is_live()
    assert "share_" not in seen.url
    expect(seen.get_by_test_id("people")).to_have_text("1")
    expect(seen.get_by_test_id("top-page").first).to_contain_text("/pricing")
    expect(seen.get_by_test_id("limits")).to_contain_text("A shared view")
    for hidden in ("viewers", "extras", "share-open"):
        expect(seen.get_by_test_id(hidden)).to_be_hidden()
    expect(seen.get_by_role("link", name="Live activity")).to_be_hidden()
    assert "Uma" not in seen.content()
    api.beat(space, "tab-2")
    expect(seen.get_by_test_id("people")).to_have_text("2")

    dialog.get_by_role("button", name="Revoke Lobby").click()
    mine = page.get_by_test_id("share-links").get_by_role("listitem").filter(has_text="Lobby")
    expect(mine).to_have_count(0)
    revoked = time.monotonic()
    guest.is_signed_out("was revoked")
    assert time.monotonic() - revoked < 10
    seen.goto(url)
    guest.is_signed_out("was revoked")


def test_a_link_to_a_kind_may_open_the_wall_display(
    api: Api, space: str, spaces: Callable[..., str], tab: Tab
) -> None:
    api.beat(space, "tab-1", name="Uma", userId="u1")
    made = act_with(api, {"space": space, "view": "wall", "expiresIn": 60})
    page = tab.page
    page.goto(made["url"])
    tab.is_live()
    expect(page.get_by_test_id("people")).to_have_text("1")
    expect(page.locator("#nav")).to_be_hidden()
    assert page.locator("html").get_attribute("class") == "wall"
    page.keyboard.press("Escape")
    expect(page.locator("#nav")).to_be_visible()

    link = spaces("wall", "link")
    api.beat(link, "tab-1")
    kind = act_with(api, {"kind": "link"})  # one that has no other log
    refused: list[str] = []
    page.on("response", lambda one: one.status >= 400 and refused.append(one.url))
    page.goto(kind["url"])
    row = page.get_by_test_id("space-row").filter(has_text=link)
    expect(row).to_be_visible(timeout=10_000)
    row.get_by_role("link").click()
    tab.is_live()
    expect(page.get_by_test_id("people")).to_have_text("1")
    assert refused == [], "nothing is asked for that the link does not allow"


def act_with(api: Api, body: Any) -> Any:
    """Make a share link through the API."""
    answer = api.request("POST", "/v1/shares", body=body, token=api.token)
    assert answer.status == 201, answer.text
    return answer.body


# ------------------------------------------------------------------------ tokens with few scopes


def test_a_token_with_few_scopes_is_not_signed_out_but_shown_what_it_may_see(
    stack: Stack, api: Api, space: str, tab: Tab
) -> None:
    api.beat(space, "tab-1", userId="u1", name="Uma")
    token = stack.token(sub="pm", headcount_scopes="read:site:*")
    page, origin = tab.page, stack.outputs["origin"]
    page.goto(f"{origin}/dashboard#token={token}&space={space}")
    tab.is_live()
    expect(page.get_by_test_id("people")).to_have_text("1")
    expect(page.get_by_test_id("viewers")).to_be_hidden()
    expect(page.get_by_test_id("extras")).to_be_hidden()
    expect(page.get_by_test_id("limits")).to_contain_text(f"people:{space}")
    expect(page.get_by_role("link", name="Live activity")).to_be_hidden()
    expect(page.get_by_role("link", name="Streams")).to_be_hidden()

    page.goto(f"{origin}/dashboard#view=live")  # by an old bookmark
    expect(page.get_by_test_id("error")).to_contain_text("people:activity:main", timeout=10_000)
    expect(page.get_by_test_id("token-form")).to_be_hidden()
    page.get_by_role("link", name="Spaces").click()
    expect(page.get_by_test_id("space-row").filter(has_text=space)).to_be_visible(timeout=10_000)
    expect(page.get_by_test_id("error")).to_be_hidden()
    assert tab.token() == token


def test_the_short_link_of_make_run_opens_the_dashboard(stack: Stack, api: Api, tab: Tab) -> None:
    short = stack.outputs["shortUrl"]
    assert len(short) <= len(stack.outputs["origin"]) + 12
    tab.page.goto(short)
    tab.is_live()
    assert tab.token() == stack.outputs["adminToken"]
    assert tab.page.url == f"{stack.outputs['origin']}/dashboard#view=spaces"
    for wrong in ("/d", "/d/", "/d/AAAAAAAA", f"{urlsplit(short).path}/"):
        assert api.request("GET", wrong).status == 404
