"""Headers for browsers, limits on input, and what no log may contain."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable
from typing import Any

import pytest
from headcount.auth.tokens import MAX_TOKEN
from headcount.documents.openapi import systems

from lab.harness.engines import Engine
from lab.harness.events import http_event, socket_event
from lab.harness.fakes import SECRET, aws_error
from lab.harness.world import SITE, Answer, World
from tests.conftest import Worlds
from tests.handlers.test_api import fail, logged, site
from tests.handlers.test_scopes import filled

PRESENCE = f"/v1/spaces/{SITE}/presence"

# ----------------------------------------------------------------------------- headers for browsers


ORIGINS = [
    *("https://a.example.test.evil.test", "https://evil.test/https://a.example.test"),
    *("https://xa.example.test", "https://example.test", "http://a.example.test", "null", ""),
    *("https://A.example.test", "https://a.example.test:443", "https://a.example.test/", "*"),
    *("https://a.example.test https://b.example.test", "https://*.example.test", "https://"),
]


@pytest.mark.parametrize("method", ["OPTIONS", "GET", "POST"])
def test_an_origin_is_allowed_only_if_listed_exactly(
    memory: Engine, worlds: Worlds, method: str
) -> None:
    world = worlds(memory, AllowedOrigins="https://a.example.test, https://b.example.test")
    for origin in ORIGINS:
        answer = world.http(method, PRESENCE, headers={"origin": origin})
        assert "access-control-allow-origin" not in answer.headers, origin
        assert answer.headers["vary"] == "origin"
    listed = world.http(method, PRESENCE, headers={"origin": "https://a.example.test"})
    assert listed.headers["access-control-allow-origin"] == "https://a.example.test"


def test_no_page_may_send_cookies_from_elsewhere(memory_world: World) -> None:
    answer = memory_world.http("OPTIONS", PRESENCE, headers={"origin": "https://shop.example.test"})
    assert "access-control-allow-credentials" not in answer.headers


def test_named_origins_may_send_credentials_as_beacons_of_json_do(
    memory: Engine, worlds: Worlds
) -> None:
    world = worlds(memory, AllowedOrigins="https://a.example.test")
    for method in ("OPTIONS", "POST"):
        headers = {"origin": "https://a.example.test", "content-type": "application/json"}
        named = world.http(method, PRESENCE, headers=headers, body={"sessionId": "s1"})
        assert named.headers["access-control-allow-origin"] == "https://a.example.test"
        assert named.headers["access-control-allow-credentials"] == "true"
        other = world.http(method, PRESENCE, headers={"origin": "https://b.example.test"})
        assert "access-control-allow-credentials" not in other.headers


SAFE = {
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "strict-transport-security": "max-age=31536000",
}


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", PRESENCE),
        ("GET", f"/v1/spaces/{SITE}"),
        ("HEAD", f"/v1/spaces/{SITE}"),
        ("OPTIONS", PRESENCE),
        ("GET", "/v1/spaces"),
        ("GET", "/nothing"),
        ("PUT", PRESENCE),
        ("GET", "/rest/v1/heartbeats"),
        ("POST", "/rest/v1/heartbeats"),
        ("POST", "/api/query"),
        ("GET", "/openapi.json"),
    ],
)
def test_every_answer_of_the_api_has_security_headers(
    memory_world: World, method: str, path: str
) -> None:
    answer = memory_world.http(method, path, body={"sessionId": "s1", "page_path": "/"})
    assert SAFE.items() <= answer.headers.items()
    policy = answer.headers["content-security-policy"]
    assert policy == "default-src 'none'; frame-ancestors 'none'"
    kept = {"GET /openapi.json", f"GET /v1/spaces/{SITE}", f"HEAD /v1/spaces/{SITE}"}
    if method != "OPTIONS" and f"{method} {path}" not in kept:
        assert answer.headers["cache-control"] == "no-store"


@pytest.mark.parametrize("code", ["ThrottlingException", "ValidationException"])
def test_error_answers_have_security_headers_too(memory_world: World, code: str) -> None:
    fail(memory_world, aws_error(code))
    answer = memory_world.http("POST", PRESENCE, body={"sessionId": "s1"})
    assert answer.status in {500, 503}
    assert SAFE.items() <= answer.headers.items()


@pytest.mark.parametrize("path", ["/dashboard", "/admin/live", "/headcount.js", "/dashboard/nope"])
def test_the_dashboard_has_security_headers_and_forbids_framing(
    memory_world: World, path: str
) -> None:
    headers = site(memory_world, path)["headers"]
    assert SAFE.items() <= headers.items()
    assert "frame-ancestors 'none'" in headers["content-security-policy"]
    assert "unsafe" not in headers["content-security-policy"]


def test_a_refused_socket_gets_the_apis_own_error(memory_world: World) -> None:
    answer = Answer.of(memory_world.connect("c1", token="nonsense"))
    assert (answer.status, answer.body["success"]) == (401, False)


# ------------------------------------------------------------ origins that may use a token's cookie

GOOD, EVIL, OWN = "https://good.example.test", "https://evil.test", "https://api.example.test"
DOES_SOMETHING = {
    "/v1/erasures": {"userId": "u1"},
    f"/v1/spaces/{SITE}/messages": {"text": "Hello"},
    f"/v1/spaces/{SITE}/removals": {"userId": "u1"},
}
THEIR_PAGES: list[dict[str, str]] = [
    {"origin": EVIL},
    {"origin": EVIL, "sec-fetch-site": "cross-site"},
    {"origin": "https://other.example.test", "sec-fetch-site": "same-site"},
    {"origin": "null"},
    {"origin": "*"},
    {"origin": ""},
    {"origin": f"{OWN}.evil.test"},
    {"origin": f"{OWN}:8443"},
    {"origin": "http://api.example.test"},
    {"origin": f"{GOOD}.evil.test"},
]
OUR_PAGES: list[dict[str, str]] = [
    {"origin": OWN},
    {"origin": OWN, "sec-fetch-site": "same-origin"},
    # Behind the edge, which does not forward its host to the API.
    {"origin": "https://edge.example.test", "sec-fetch-site": "same-origin"},
    {"origin": GOOD},
    {"origin": GOOD, "sec-fetch-site": "cross-site"},
    {"origin": GOOD, "sec-fetch-site": "same-site"},
    {"origin": "http://localhost:8787", "host": "localhost:8787", "x-forwarded-proto": "http"},
]


def with_cookies(engine: Engine, worlds: Worlds, origins: str = GOOD) -> World:
    """A deployment that accepts tokens from a cookie."""
    return worlds(engine, Settings="token-cookie=hc", AllowedOrigins=origins)


@pytest.mark.parametrize("path", DOES_SOMETHING)
def test_a_page_of_another_origin_can_not_use_a_visitors_cookie(
    memory: Engine, worlds: Worlds, path: str
) -> None:
    for origins in (GOOD, "*", "* null"):
        world = with_cookies(memory, worlds, origins)
        before = world.snapshot()
        for page in [*THEIR_PAGES, {}, {"sec-fetch-site": "cross-site"}]:
            answer = world.http(
                "POST",
                path,
                body=json.dumps(DOES_SOMETHING[path]),
                headers={"content-type": "text/plain", **page},
                cookies=[f"hc={world.admin}"],
            )
            assert answer.status == 401, (origins, page)
        assert world.snapshot() == before


@pytest.mark.parametrize("page", OUR_PAGES)
@pytest.mark.parametrize("path", DOES_SOMETHING)
def test_our_own_pages_and_those_allowed_by_name_send_the_cookie(
    memory: Engine, worlds: Worlds, path: str, page: dict[str, str]
) -> None:
    world = with_cookies(memory, worlds)
    cookies = [f"hc={world.admin}"]
    answer = world.http("POST", path, body=DOES_SOMETHING[path], headers=page, cookies=cookies)
    assert answer.status < 300, answer


@pytest.mark.parametrize(
    ("page", "status"),
    [
        ({}, 200),  # browsers send no origin with same-origin reads
        ({"sec-fetch-site": "same-origin"}, 200),
        ({"sec-fetch-site": "none"}, 200),
        ({"sec-fetch-site": "same-site"}, 401),
        ({"sec-fetch-site": "cross-site"}, 401),
        ({"origin": EVIL}, 401),
    ],
)
@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_reads_take_the_cookie_unless_another_site_asks(
    memory: Engine, worlds: Worlds, method: str, page: dict[str, str], status: int
) -> None:
    world = with_cookies(memory, worlds)
    answer = world.http(method, "/v1/spaces", headers=page, cookies=[f"hc={world.admin}"])
    assert answer.status == status


def connected(world: World, page: dict[str, str], query: dict[str, str] | None = None) -> int:
    """The answer to a browser that opens a socket from a page, with an admin's cookie."""
    headers = {"Cookie": f"hc={world.admin}", **page}
    event = socket_event("CONNECT", "c1", headers=headers, query=query)
    return int(world.invoke("socket", event)["statusCode"])


@pytest.mark.parametrize("page", THEIR_PAGES)
def test_no_page_from_elsewhere_opens_a_socket_with_a_visitors_cookie(
    memory: Engine, worlds: Worlds, page: dict[str, str]
) -> None:
    for origins in (GOOD, "*"):
        world = with_cookies(memory, worlds, origins)
        assert connected(world, page) == 401
        assert world.tables["subscriptions"].rows() == []
        assert connected(world, page, {"token": world.admin}) == 200  # which the page has itself


def test_a_socket_of_another_origins_page_is_present_without_a_verified_user(
    memory: Engine, worlds: Worlds
) -> None:
    world = with_cookies(memory, worlds)
    query = {"space": SITE, "sessionId": "s1"}
    for page, user in (({"Origin": EVIL}, None), ({"Origin": GOOD}, "u1")):
        headers = {"Cookie": f"hc={world.token(sub='u1')}", **page}
        event = socket_event("CONNECT", f"of {user}", headers=headers, query=query)
        assert world.invoke("socket", event)["statusCode"] == 200
        (row,) = world.presence_rows()
        assert row.get("user") == user


@pytest.mark.parametrize(
    "page",
    [
        {"Origin": "https://socket.example.test"},
        {"Origin": GOOD},
        {"Origin": "https://edge.example.test", "Sec-Fetch-Site": "same-origin"},
        {"Origin": "http://localhost:8787", "Host": "localhost:8787", "X-Forwarded-Proto": "http"},
        {},  # no browser
    ],
)
def test_our_own_pages_open_sockets_with_the_cookie(
    memory: Engine, worlds: Worlds, page: dict[str, str]
) -> None:
    assert connected(with_cookies(memory, worlds), page) == 200


def test_a_token_that_a_page_sends_itself_is_taken_from_anywhere(
    memory: Engine, worlds: Worlds
) -> None:
    world = with_cookies(memory, worlds, "*")
    evil = {"origin": EVIL, "sec-fetch-site": "cross-site"}
    assert world.http("GET", "/v1/spaces", token=world.admin, headers=evil).status == 200
    by_query = world.http("GET", "/v1/spaces", query={"token": world.admin}, headers=evil)
    assert by_query.status == 200


# ---------------------------------------------------------------------------------- limits on input

LONG = "x" * 9_000


@pytest.mark.parametrize(
    ("method", "rule", "name"),
    [
        (route.method, route.rule, query.name)
        for system in systems()
        for route in system.ROUTES
        for query in route.query
    ],
)
def test_a_query_of_any_length_is_answered_and_stores_nothing(
    memory_world: World, method: str, rule: str, name: str
) -> None:
    world = memory_world
    before = world.snapshot()
    answer = world.http(method, filled(rule), query={name: LONG}, token=world.admin)
    assert answer.status < 500
    assert LONG not in json.dumps(answer.body)
    assert world.snapshot() == before


def test_a_token_over_the_limit_is_not_looked_at(memory_world: World) -> None:
    token = memory_world.token(headcount="admin", more="x" * MAX_TOKEN)
    answer = memory_world.get("/v1/spaces", token=token)
    assert answer.status == 401
    assert "too long" in answer.body["error"]
    assert memory_world.secrets.reads == 0
    memory_world.beat("s1", token=token)
    assert memory_world.secrets.reads == 0


# ----------------------------------------------------------------------------- logs without secrets

NAMES = ("Ada Lovelace", "ada@example.test", "secret-session", "secret-visitor", "secret-user")


def everywhere(token: str) -> list[dict[str, Any]]:
    """Requests with the token in each valid and invalid place."""
    return [
        {"headers": {"authorization": f"Bearer {token}"}},
        {"headers": {"authorization": token, "apikey": token}},
        {"query": {"token": token}},
        {"query": {"sessionId": "secret-session", "id": token, "cursor": token, "from": token}},
        {"cookies": [f"session={token}"]},
        {"headers": {"cookie": f"session={token}"}},
    ]


REQUESTS = [
    ("POST", PRESENCE),
    ("DELETE", PRESENCE),
    ("GET", "/v1/spaces"),
    ("GET", f"/v1/spaces/{SITE}/viewers"),
    ("POST", f"/v1/spaces/{SITE}/removals"),
    ("POST", "/api/send/realtime/l1"),
    ("POST", "/api/courses/c1/presence"),
    ("POST", "/api/analytics/live-activity"),
    ("POST", "/rest/v1/heartbeats"),
    ("POST", "/api/mutation"),
    ("GET", "/nothing"),
]
FIELDS = {
    "sessionId": "secret-session",
    "session_id": "secret-session",
    "visitorId": "secret-visitor",
    "userId": "secret-user",
    "user_id": "secret-user",
    "name": "Ada Lovelace",
    "userName": "Ada Lovelace",
    "email": "ada@example.test",
    "page_path": "/secret",
    "action": "join",
    "activityType": "browsing",
    "path": "liveViewers:recordPresence",
    "args": [{"courseId": "c1", "sessionId": "secret-session", "userName": "Ada Lovelace"}],
}


def broken_by(code: str) -> Callable[[World], None]:
    return lambda world: fail(world, aws_error(code))


def raising(world: World) -> None:
    fail(world, RuntimeError("the process is in a bad way"))


def without_its_secret(world: World) -> None:
    def get_secret_value(**_: str) -> None:
        raise aws_error("AccessDeniedException")

    world.secrets.get_secret_value = get_secret_value  # type: ignore[method-assign,assignment]


KEYS_OUT_OF_REACH = "keys out of reach"
TROUBLES: dict[str, Callable[[World], object]] = {
    "none": id,
    KEYS_OUT_OF_REACH: id,
    "throttled": broken_by("ThrottlingException"),
    "refused by DynamoDB": broken_by("ValidationException"),
    "a fault of ours": raising,
    "no secret": without_its_secret,
}


@pytest.fixture
def written(
    caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> Callable[[], str]:
    """Everything logged or printed so far."""
    return lambda: logged(caplog) + "".join(capfd.readouterr())


@pytest.mark.parametrize("trouble", TROUBLES)
def test_no_log_holds_a_token_a_secret_or_a_name(
    memory: Engine, worlds: Worlds, written: Callable[[], str], trouble: str
) -> None:
    jwks = "https://127.0.0.1:1/jwks.json" if trouble == KEYS_OUT_OF_REACH else ""
    world = worlds(memory, Settings="token-cookie=session", JwksUrl=jwks)
    TROUBLES[trouble](world)
    tokens = [
        world.admin,
        world.token(sub="secret-user", name="Ada Lovelace"),
        world.token(sub="secret-user", lives=-600),
        world.admin[:-3] + "AAA",
        "no-token-at-all-but-a-secret",
    ]
    for number, ((method, path), token) in enumerate(itertools.product(REQUESTS, tokens)):
        places = everywhere(token)  # six places for five tokens: each token is in each place once
        carried = places[number % len(places)]
        answer = world.http(method, path, body={**FIELDS, "token": token}, **carried)
        assert token not in json.dumps(answer.body)
    for token in tokens:
        for path in (None, "/api/ws/analytics/realtime", f"/api/ws/{token}"):
            world.connect("c1", token=token, path=path)
        world.send("c1", {"action": "subscribe", "space": SITE, "token": token})
        world.invoke("socket", socket_event("DISCONNECT", "c1"))
        world.invoke("site", http_event("GET", "/dashboard", query={"token": token}))
        world.invoke("site", http_event("GET", f"/dashboard/{token}"))
    lines = written()
    for secret in (*tokens, SECRET, *NAMES):
        assert secret not in lines
    if trouble != "none":
        assert "Traceback" in lines, "the error is still logged"
