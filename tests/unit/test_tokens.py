"""Tokens: what is accepted, what is refused, and where a request carries one."""

from __future__ import annotations

import base64
import json
import time
import urllib.error
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from headcount.errors import BusyError, ForbiddenError, UnauthorizedError
from headcount.tokens import (
    LEEWAY,
    Caller,
    TokenSettings,
    Verifier,
    require_admin,
    token_in,
)
from jwt.algorithms import ECAlgorithm, RSAAlgorithm

from tests.support.fakes import SECRET

RSA = rsa.generate_private_key(public_exponent=65537, key_size=2048)
EC = ec.generate_private_key(ec.SECP256R1())
JWKS = "https://issuer.example.test/.well-known/jwks.json"


def claims(**more: Any) -> dict[str, Any]:
    return {"sub": "u1", "exp": int(time.time()) + 600, **more}


def hs256(more: dict[str, Any] | None = None, *, secret: str = SECRET) -> str:
    return jwt.encode(claims(**(more or {})), secret, algorithm="HS256")


def verifier(admin_claim: str = "headcount=admin", **settings: str) -> Verifier:
    return Verifier(TokenSettings(admin_claim, **settings), lambda: SECRET)


def refused(token: str, **settings: str) -> str:
    with pytest.raises(UnauthorizedError) as error:
        verifier(**settings).verify(token)
    return error.value.message


def test_a_valid_token_speaks_for_its_subject() -> None:
    assert verifier().verify(hs256()) == Caller("u1", admin=False)
    assert verifier().verify(hs256({"headcount": "admin"})) == Caller("u1", admin=True)


def test_an_expired_token_is_told_so() -> None:
    assert "expired" in refused(hs256({"exp": int(time.time()) - LEEWAY - 5}))


def test_clocks_may_differ_a_little() -> None:
    now = int(time.time())
    assert verifier().verify(hs256({"exp": now - LEEWAY + 10, "nbf": now + LEEWAY - 10}))


def unsigned() -> str:
    return jwt.encode(claims(headcount="admin"), None, algorithm="none")


@pytest.mark.parametrize(
    "token",
    [
        pytest.param(hs256(secret="x" * 40), id="another secret"),
        pytest.param(unsigned(), id="no algorithm"),
        pytest.param(jwt.encode({"sub": "u1"}, SECRET, algorithm="HS256"), id="no end"),
        pytest.param(hs256({"nbf": int(time.time()) + 600}), id="not valid yet"),
        pytest.param(hs256({"iat": int(time.time()) + 600}), id="issued in the future"),
        pytest.param(hs256({"sub": 7}), id="a subject that is no text"),
        pytest.param(jwt.encode(claims(), SECRET * 2, algorithm="HS512"), id="another algorithm"),
        pytest.param(hs256()[:-4] + "AAAA", id="a signature changed"),
        pytest.param("", id="nothing"),
        pytest.param("a.b", id="two parts"),
        pytest.param("a.b.c", id="no JSON"),
        pytest.param("é.è.à", id="no ASCII"),
    ],
)
def test_a_token_that_is_not_ours_is_refused(token: str) -> None:
    assert "not valid here" in refused(token)


def test_a_claim_changed_without_the_secret_is_refused() -> None:
    head, _, signature = hs256().split(".")
    forged = json.dumps(claims(headcount="admin")).encode()
    body = base64.urlsafe_b64encode(forged).decode().rstrip("=")
    assert "not valid here" in refused(f"{head}.{body}.{signature}")


def test_issuer_and_audience_are_checked_where_they_are_set() -> None:
    good = hs256({"iss": "me", "aud": ["others", "headcount"]})
    both = {"issuer": "me", "audience": "headcount"}
    assert verifier(**both).verify(good)
    assert "not valid here" in refused(good, issuer="you")
    assert "not valid here" in refused(good, audience="you")
    assert "not valid here" in refused(hs256(), **both)
    assert verifier().verify(good)


@pytest.mark.parametrize(
    ("setting", "claim", "admin"),
    [
        ("headcount=admin", {"headcount": "admin"}, True),
        ("headcount=admin", {"headcount": ["viewer", "admin"]}, True),
        ("headcount=admin", {"headcount": "administrator"}, False),
        ("headcount=admin", {"headcount": True}, False),
        ("headcount=admin", {"headcount": {"admin": 1}}, False),
        ("headcount=admin", {"headcount": None}, False),
        ("headcount=admin", {}, False),
        ("is_admin", {"is_admin": True}, True),
        ("is_admin=true", {"is_admin": True}, True),
        ("is_admin", {"is_admin": "true"}, True),
        ("is_admin", {"is_admin": False}, False),
        ("is_admin", {"is_admin": 1}, False),
        ("cognito:groups=ops", {"cognito:groups": ["ops"]}, True),
    ],
)
def test_the_admin_claim_equals_or_lists_its_value(
    setting: str, claim: dict[str, Any], *, admin: bool
) -> None:
    assert verifier(setting).verify(hs256(claim)).admin is admin


def test_the_secret_is_asked_for_once_and_only_when_needed() -> None:
    asked: list[int] = []

    def secret() -> str:
        asked.append(1)
        return SECRET

    lazy = Verifier(TokenSettings("headcount=admin"), secret)
    assert asked == []
    lazy.verify(hs256())
    lazy.verify(hs256())
    assert len(asked) == 1


# ----------------------------------------------------------------------------------------- key sets


class Issuer:
    """A key set at a URL, as PyJWKClient fetches it."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.up = True
        self.fetched = 0
        keys = [
            {**RSAAlgorithm.to_jwk(RSA.public_key(), as_dict=True), "kid": "rsa", "use": "sig"},
            {**ECAlgorithm.to_jwk(EC.public_key(), as_dict=True), "kid": "ec", "use": "sig"},
        ]
        issuer = self

        def fetch_data(client: jwt.PyJWKClient) -> Any:
            issuer.fetched += 1
            if not issuer.up:
                raise jwt.PyJWKClientConnectionError("down") from urllib.error.URLError("down")
            assert client.jwk_set_cache is not None
            client.jwk_set_cache.put({"keys": keys})
            return {"keys": keys}

        monkeypatch.setattr(jwt.PyJWKClient, "fetch_data", fetch_data)


@pytest.fixture
def issuer(monkeypatch: pytest.MonkeyPatch) -> Issuer:
    return Issuer(monkeypatch)


def rs256(kid: str = "rsa", key: Any = RSA, **more: Any) -> str:
    return jwt.encode(claims(**more), key, algorithm="RS256", headers={"kid": kid})


def test_a_token_of_the_key_set_is_accepted(issuer: Issuer) -> None:
    by_keys = verifier(jwks_url=JWKS)
    assert by_keys.verify(rs256(headcount="admin")) == Caller("u1", admin=True)
    es256 = jwt.encode(claims(), EC, algorithm="ES256", headers={"kid": "ec"})
    assert by_keys.verify(es256) == Caller("u1", admin=False)
    assert issuer.fetched == 1


def test_a_key_that_is_not_in_the_set_is_refused(issuer: Issuer) -> None:
    stranger = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    assert "not valid here" in refused(rs256(key=stranger), jwks_url=JWKS)
    assert "not valid here" in refused(rs256(kid="unknown"), jwks_url=JWKS)


def test_a_public_key_is_never_taken_for_a_shared_secret(issuer: Issuer) -> None:
    public = RSA.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    head = base64.urlsafe_b64encode(b'{"alg":"HS256","typ":"JWT","kid":"rsa"}').rstrip(b"=")
    body = base64.urlsafe_b64encode(json.dumps(claims(headcount="admin")).encode()).rstrip(b"=")
    hmac = jwt.algorithms.HMACAlgorithm(jwt.algorithms.HMACAlgorithm.SHA256)
    signature = base64.urlsafe_b64encode(hmac.sign(head + b"." + body, public)).rstrip(b"=")
    forged = b".".join([head, body, signature]).decode()
    assert "not valid here" in refused(forged, jwks_url=JWKS)


def test_the_shared_secret_does_not_open_what_a_key_set_guards(issuer: Issuer) -> None:
    token = jwt.encode(claims(), SECRET, algorithm="HS256", headers={"kid": "rsa"})
    assert "not valid here" in refused(token, jwks_url=JWKS)
    assert "not valid here" in refused(hs256(), jwks_url=JWKS)


def test_a_key_that_is_known_goes_on_working_while_the_issuer_is_down(
    issuer: Issuer, monkeypatch: pytest.MonkeyPatch
) -> None:
    by_keys = verifier(jwks_url=JWKS)
    assert by_keys.verify(rs256())
    issuer.up = False
    monkeypatch.setattr(jwt.jwk_set_cache.JWKSetCache, "is_expired", lambda _: True)
    assert by_keys.verify(rs256(headcount="admin")).admin


def test_a_key_that_is_not_known_while_the_issuer_is_down_is_no_refusal(issuer: Issuer) -> None:
    issuer.up = False
    with pytest.raises(BusyError):
        verifier(jwks_url=JWKS).verify(rs256())


# ---------------------------------------------------------------------------------- where they are


def test_a_missing_token_is_a_401_and_another_s_a_403() -> None:
    with pytest.raises(UnauthorizedError):
        require_admin(None)
    with pytest.raises(ForbiddenError):
        require_admin(Caller("u1", admin=False))
    require_admin(Caller(None, admin=True))


@pytest.mark.parametrize(
    ("headers", "query", "cookies", "token"),
    [
        ({"authorization": "Bearer a"}, {"token": "b"}, ["t=c"], "a"),
        ({"authorization": "bearer  a "}, {}, [], "a"),
        ({"authorization": "Basic a"}, {"token": "b"}, ["t=c"], "b"),
        ({"authorization": "Bearer "}, {}, ["t=c"], "c"),
        ({"authorization": "Bearer"}, {"token": ""}, ["x=1", " t=c=d "], "c=d"),
        ({}, {}, ["t="], None),
        ({}, {}, ["tt=c", "other"], None),
        ({}, {}, [], None),
    ],
)
def test_a_token_is_in_the_header_the_query_or_the_cookie(
    headers: dict[str, str], query: dict[str, str], cookies: list[str], token: str | None
) -> None:
    assert token_in(headers, query, cookies, "t") == token


def test_no_cookie_is_read_where_none_is_named() -> None:
    assert token_in({}, {}, ["=a", "t=b"], "") is None
