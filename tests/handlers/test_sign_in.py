"""What the site tells the dashboard about signing people in, from what an issuer publishes."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Iterator
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from jwt.algorithms import RSAAlgorithm

from lab.harness.engines import Engine
from lab.harness.events import http_event
from lab.harness.world import World
from tests.cli.conftest import served
from tests.conftest import Worlds

KEY = rsa.generate_private_key(public_exponent=65537, key_size=2048)
SETTINGS = "sign-in-client=dashboard"


class Issuer:
    """A WSGI app that publishes what the test says; ``asked`` are the paths it was asked for."""

    def __init__(self) -> None:
        self.url = ""
        self.changes: dict[str, Any] = {}
        self.asked: list[str] = []
        self.down = False

    def document(self) -> dict[str, Any]:
        found = {
            "issuer": self.url,
            "authorization_endpoint": f"{self.url}/auth",
            "token_endpoint": f"{self.url}/token",
            "jwks_uri": f"{self.url}/keys",
            "userinfo_endpoint": f"{self.url}/me",
            **self.changes,
        }
        return {name: value for name, value in found.items() if value is not None}

    def __call__(self, environ: Any, start_response: Callable[..., Any]) -> list[bytes]:
        """Answer."""
        path = environ["PATH_INFO"]
        self.asked.append(path)
        if self.down:
            start_response("503 Service Unavailable", [])
            return [b""]
        keys = [RSAAlgorithm.to_jwk(KEY.public_key(), as_dict=True) | {"kid": "k1", "use": "sig"}]
        found = {
            "/.well-known/openid-configuration": self.document(),
            "/keys": {"keys": keys},
        }.get(path)
        start_response("200 OK" if found else "404 Not Found", [])
        return [json.dumps(found).encode()]


@pytest.fixture
def issuer() -> Iterator[Issuer]:
    issuer = Issuer()
    for url in served(issuer):
        issuer.url = url
        yield issuer


Local = Callable[..., World]


@pytest.fixture
def local(memory: Engine, worlds: Worlds, issuer: Issuer) -> Local:
    """A world on an emulator, which takes an issuer of this machine by http."""

    def make(settings: str = SETTINGS, *, endpoint: str = "http://localhost:4566") -> World:
        world = worlds(memory, Settings=settings, TokenIssuer=issuer.url, TokenAudience="here")
        environment = world.environment
        world.environment = lambda name: environment(name) | {"AWS_ENDPOINT_URL": endpoint}  # type: ignore[method-assign]
        return world

    return make


@pytest.fixture
def world(local: Local) -> World:
    return local()


def config(world: World) -> Any:
    answer = world.invoke("site", http_event("GET", "/dashboard/config.json"))
    return json.loads(base64.b64decode(answer["body"]))["signIn"]


def connect_src(world: World, path: str = "/dashboard") -> list[str]:
    headers = world.invoke("site", http_event("GET", path))["headers"]
    policy = headers["content-security-policy"].split("; ")
    (found,) = (one.split()[1:] for one in policy if one.startswith("connect-src"))
    return list(found)


OWN = ["'self'", "wss://socket.example.test"]


def test_the_page_learns_the_issuer_s_endpoints_and_may_call_its_origin(
    world: World, issuer: Issuer
) -> None:
    assert config(world) == {
        "server": {
            "issuer": issuer.url,
            "authorization_endpoint": f"{issuer.url}/auth",
            "token_endpoint": f"{issuer.url}/token",
        },
        "clientId": "dashboard",
        "scope": "openid",
        "token": "access",
        "audience": {},
    }
    assert connect_src(world) == [*OWN, issuer.url]
    assert connect_src(world, "/headcount.js") == OWN
    assert len(issuer.asked) == 1, "it is asked once an hour"


def test_the_settings_say_what_is_asked_for(local: Local) -> None:
    rest = "sign-in-scopes=openid+offline_access,sign-in-token=id,sign-in-audience=audience"
    found = config(local(f"{SETTINGS},{rest}"))
    assert (found["scope"], found["token"]) == ("openid offline_access", "id")
    assert found["audience"] == {"audience": "here"}


def test_the_token_s_endpoint_may_be_elsewhere_as_cognito_s_is(
    world: World, issuer: Issuer
) -> None:
    issuer.changes = {
        "authorization_endpoint": "https://login.example.test/oauth2/authorize",
        "token_endpoint": "https://login.example.test/oauth2/token",
        "revocation_endpoint": "https://login.example.test/oauth2/revoke",
    }
    assert connect_src(world) == [*OWN, "https://login.example.test"]


@pytest.mark.parametrize(
    "changes",
    [
        {"issuer": "https://another.example.test"},
        {"token_endpoint": None},
        {"authorization_endpoint": None},
        {"authorization_endpoint": "javascript:alert(1)"},
        {"token_endpoint": "https://a.example.test; script-src *"},
        {"token_endpoint": "https://*"},
        {"token_endpoint": "https://user@a.example.test/token"},
        {"token_endpoint": 5},
        {"end_session_endpoint": "data:text/html,x"},
    ],
    ids=str,
)
def test_what_an_issuer_must_not_say_is_not_used(
    world: World, issuer: Issuer, changes: dict[str, Any]
) -> None:
    issuer.changes = changes
    assert config(world).keys() == {"problem"}
    assert connect_src(world) == OWN


def test_http_is_for_an_issuer_on_this_machine_only(local: Local, issuer: Issuer) -> None:
    assert config(local(endpoint="")).keys() == {"problem"}
    assert issuer.asked


def test_an_issuer_that_is_down_is_asked_again_later(world: World, issuer: Issuer) -> None:
    issuer.down = True
    assert "can't be reached" in config(world)["problem"]
    assert connect_src(world) == OWN
    issuer.down = False
    assert len(issuer.asked) == 1


def test_without_an_issuer_the_screen_says_what_is_missing(memory: Engine, worlds: Worlds) -> None:
    world = worlds(memory, Settings=SETTINGS)
    assert "TokenIssuer" in config(world)["problem"]
    assert connect_src(world) == OWN


def test_a_page_with_another_policy_has_another_tag(
    memory: Engine, worlds: Worlds, world: World
) -> None:
    def tag(of: World) -> str:
        return str(of.invoke("site", http_event("GET", "/dashboard"))["headers"]["etag"])

    assert tag(world) != tag(worlds(memory))


def test_the_address_of_the_key_set_may_be_that_of_the_discovery(
    memory: Engine, worlds: Worlds, issuer: Issuer
) -> None:
    discovery = f"{issuer.url}/.well-known/openid-configuration"
    world = worlds(memory, JwksUrl=discovery, TokenIssuer=issuer.url)
    claims = {"sub": "u1", "iss": issuer.url, "exp": 2**33, "headcount": "admin"}
    claims["exp"] = int(jwt.decode(world.admin, options={"verify_signature": False})["exp"])
    token = jwt.encode(claims, KEY, algorithm="RS256", headers={"kid": "k1"})
    assert world.get("/v1/token", token=token).status == 200
    assert world.get("/v1/token", token=world.admin).status == 401
    assert issuer.asked == ["/.well-known/openid-configuration", "/keys"]


def test_a_discovery_names_no_key_set_with_another_scheme(
    memory: Engine, worlds: Worlds, issuer: Issuer
) -> None:
    issuer.changes = {"jwks_uri": "file:///etc/passwd"}
    world = worlds(memory, JwksUrl=f"{issuer.url}/.well-known/openid-configuration")
    token = jwt.encode({"sub": "u1", "exp": 2**31}, KEY, algorithm="RS256", headers={"kid": "k1"})
    assert world.get("/v1/token", token=token).status == 503
