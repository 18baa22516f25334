"""Tokens: which are accepted, which are refused, and where a request carries them."""

from __future__ import annotations

import base64
import hmac
import json
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from headcount.auth.keys import MAX_KEY_SET, MIN_SECRET, KeySet
from headcount.auth.tokens import LEEWAY, MAX_TOKEN, TokenSettings, Verifier, token_in
from headcount.errors import BusyError, ForbiddenError, UnauthorizedError
from headcount.model.access import Action, Caller, Scope, require_admin, require_scope
from jwt.algorithms import ECAlgorithm, RSAAlgorithm

from lab.harness.clock import Clock
from lab.harness.fakes import SECRET

RSA = rsa.generate_private_key(public_exponent=65537, key_size=2048)
EC = ec.generate_private_key(ec.SECP256R1())


LIVES = 86_400
"""Seconds: tokens are made at collection, and their tests may run much later."""


def claims(**more: Any) -> dict[str, Any]:
    return {"sub": "u1", "exp": int(time.time()) + LIVES, **more}


def hs256(more: dict[str, Any] | None = None, *, secret: str = SECRET) -> str:
    return jwt.encode(claims(**(more or {})), secret, algorithm="HS256")


def verifier(admin_claim: str = "headcount=admin", **settings: str) -> Verifier:
    return Verifier(TokenSettings(admin_claim, **settings), lambda: SECRET, Clock())


def refused(token: str, **settings: str) -> str:
    with pytest.raises(UnauthorizedError) as error:
        verifier(**settings).verify(token)
    return error.value.message


def test_a_valid_token_identifies_its_subject() -> None:
    assert verifier().verify(hs256()) == Caller("u1", admin=False)
    assert verifier().verify(hs256({"headcount": "admin"})) == Caller("u1", admin=True)


def test_an_expired_token_is_reported_as_such() -> None:
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
        pytest.param(hs256({"nbf": 2**33}), id="not valid yet"),
        pytest.param(hs256({"iat": 2**33}), id="issued in the future"),
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


# -------------------------------------------------------------------------------- the shared secret


class Safe:
    """Secrets Manager: counts its calls, and fails on demand."""

    def __init__(self, secret: str = SECRET) -> None:
        self.secret = secret
        self.asked = 0
        self.broken = False

    def __call__(self) -> str:
        self.asked += 1
        if self.broken:
            raise BusyError
        return self.secret


def by_secret(safe: Safe, clock: Clock) -> Verifier:
    return Verifier(TokenSettings("headcount=admin"), safe, clock)


def test_the_secret_is_asked_for_once_and_only_when_needed(clock: Clock) -> None:
    safe = Safe()
    lazy = by_secret(safe, clock)
    assert safe.asked == 0
    for _ in range(3):
        lazy.verify(hs256())
        clock.advance(99)
    assert safe.asked == 1


def test_a_secret_that_was_rotated_is_read_when_a_token_needs_it(clock: Clock) -> None:
    safe = Safe()
    tokens = by_secret(safe, clock)
    tokens.verify(hs256())
    safe.secret = "another secret of more than thirty-two bytes"
    new = hs256({"headcount": "admin"}, secret=safe.secret)
    with pytest.raises(UnauthorizedError):
        tokens.verify(new)  # within the first minute
    clock.advance(60)
    assert tokens.verify(new).admin
    with pytest.raises(UnauthorizedError):
        tokens.verify(hs256())


def test_a_secret_that_was_replaced_works_for_five_minutes_at_most(clock: Clock) -> None:
    safe = Safe()
    tokens = by_secret(safe, clock)
    tokens.verify(hs256())
    safe.secret = "another secret of more than thirty-two bytes"
    clock.advance(299)
    assert tokens.verify(hs256())  # nobody has come with a new one
    clock.advance(1)
    with pytest.raises(UnauthorizedError):
        tokens.verify(hs256())
    assert tokens.verify(hs256(secret=safe.secret))


def test_a_known_secret_stays_in_use_while_it_can_not_be_read(clock: Clock) -> None:
    safe = Safe()
    tokens = by_secret(safe, clock)
    tokens.verify(hs256())
    safe.broken = True
    for _ in range(20):
        clock.advance(60)
        assert tokens.verify(hs256())
    assert safe.asked == 1 + 16  # from the fifth minute on, once a minute
    safe.secret, safe.broken = "another secret of more than thirty-two bytes", False
    clock.advance(60)
    with pytest.raises(UnauthorizedError):
        tokens.verify(hs256())


def test_bad_tokens_read_the_secret_once_a_minute_at_most(clock: Clock) -> None:
    safe = Safe()
    tokens = by_secret(safe, clock)
    for _ in range(100):
        with pytest.raises(UnauthorizedError):
            tokens.verify(hs256(secret="x" * 40))
        clock.advance(3)
    assert safe.asked == 5  # in five minutes


def test_a_text_that_is_no_token_never_reads_the_secret_again(clock: Clock) -> None:
    safe = Safe()
    tokens = by_secret(safe, clock)
    tokens.verify(hs256())
    for token in ("a.b.c", hs256({"exp": 1}), unsigned()):
        clock.advance(99)
        with pytest.raises(UnauthorizedError):
            tokens.verify(token)
    assert safe.asked == 1


def test_an_unreadable_secret_admits_no_one_and_is_not_read_for_each_token(
    clock: Clock,
) -> None:
    safe = Safe()
    safe.broken = True
    tokens = by_secret(safe, clock)
    for _ in range(10):
        with pytest.raises(BusyError):
            tokens.verify(hs256({"headcount": "admin"}))
    assert safe.asked == 1
    safe.broken = False
    clock.advance(5)
    assert tokens.verify(hs256())


def test_an_invocation_killed_while_it_read_the_secret_costs_the_next_one_nothing(
    clock: Clock,
) -> None:
    """Its token would be refused, and the beat be of nobody, though the secret can be read."""

    class KilledError(BaseException):
        pass

    secret = Safe()
    killed = iter([True])

    def read() -> str:
        if next(killed, False):
            raise KilledError
        return secret()

    tokens = Verifier(TokenSettings("headcount=admin"), read, clock)
    with pytest.raises(KilledError):
        tokens.verify(hs256())
    assert tokens.verify(hs256())


def test_a_known_secret_still_works_while_it_cannot_be_read(clock: Clock) -> None:
    safe = Safe()
    tokens = by_secret(safe, clock)
    tokens.verify(hs256())
    safe.broken = True
    clock.advance(60)
    with pytest.raises(UnauthorizedError):
        tokens.verify(hs256(secret="x" * 40))
    assert tokens.verify(hs256())
    assert safe.asked == 2


@pytest.mark.parametrize("secret", ["", "x" * (MIN_SECRET - 1)])
def test_a_guessable_secret_admits_no_one(clock: Clock, secret: str) -> None:
    token = forged({"alg": "HS256"}, lambda data: hmac_of(data, secret.encode()))
    with pytest.raises(BusyError):
        by_secret(Safe(secret), clock).verify(token)


# ----------------------------------------------------------------------------------------- key sets


class Issuer:
    """A key set on a separate server. ``answers``: its answers instead of the keys."""

    def __init__(self) -> None:
        self.keys = {"rsa": RSA.public_key(), "ec": EC.public_key()}
        self.answer: Callable[[BaseHTTPRequestHandler], None] | None = None
        self.fetched = 0
        issuer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                issuer.fetched += 1
                if issuer.answer is not None:
                    issuer.answer(self)
                    return
                respond(self, json.dumps({"keys": issuer.jwks()}).encode())

            def log_message(self, *_: Any) -> None: ...

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}/keys?v=1"
        Thread(target=self._server.serve_forever, args=(0.01,), daemon=True).start()

    def jwks(self) -> list[dict[str, Any]]:
        """The keys, each with its id."""
        return [
            {**_algorithm(key).to_jwk(key, as_dict=True), "kid": kid, "use": "sig"}
            for kid, key in self.keys.items()
        ]

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


def _algorithm(key: Any) -> Any:
    return RSAAlgorithm if isinstance(key, rsa.RSAPublicKey) else ECAlgorithm


def respond(to: BaseHTTPRequestHandler, body: bytes, status: int = 200, **headers: str) -> None:
    to.send_response(status)
    for name, value in headers.items():
        to.send_header(name, value)
    to.send_header("Content-Length", str(len(body)))
    to.end_headers()
    with suppress(OSError):  # the client may have disconnected
        to.wfile.write(body)


@pytest.fixture
def issuer() -> Iterator[Issuer]:
    one = Issuer()
    yield one
    one.close()


PATIENT, IMPATIENT = 30.0, 0.2
"""Seconds: long enough that a busy machine does not make a live server look dead."""


def wait_for(tokens: Verifier, seconds: float) -> None:
    vars(vars(tokens)["_key_set"])["_timeout"] = seconds


def by_keys(issuer: Issuer, clock: Clock, /, **settings: str) -> Verifier:
    made = Verifier(
        TokenSettings("headcount=admin", jwks_url=issuer.url, **settings), lambda: SECRET, clock
    )
    vars(made)["_key_set"] = KeySet(issuer.url, clock, timeout=PATIENT)
    return made


def rs256(kid: str = "rsa", key: Any = RSA, **more: Any) -> str:
    return jwt.encode(claims(**more), key, algorithm="RS256", headers={"kid": kid})


def forged(head: dict[str, Any], sign: Callable[[bytes], bytes], **more: Any) -> str:
    """An admin's token with this header, signed by that function."""
    parts = [{"typ": "JWT", **head}, claims(headcount="admin", **more)]
    data = b".".join(
        base64.urlsafe_b64encode(json.dumps(one).encode()).rstrip(b"=") for one in parts
    )
    return (data + b"." + base64.urlsafe_b64encode(sign(data)).rstrip(b"=")).decode()


def rsa_of(data: bytes) -> bytes:
    return RSA.sign(data, padding.PKCS1v15(), hashes.SHA256())


def hmac_of(data: bytes, key: bytes) -> bytes:
    return hmac.new(key, data, "sha256").digest()


def test_a_token_of_the_key_set_is_accepted(issuer: Issuer, clock: Clock) -> None:
    tokens = by_keys(issuer, clock)
    assert tokens.verify(rs256(headcount="admin")) == Caller("u1", admin=True)
    es256 = jwt.encode(claims(), EC, algorithm="ES256", headers={"kid": "ec"})
    assert tokens.verify(es256) == Caller("u1", admin=False)
    assert issuer.fetched == 1


PUBLIC = RSA.public_key().public_bytes(
    serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
)
STRANGER = rsa.generate_private_key(public_exponent=65537, key_size=2048)


@pytest.mark.parametrize(
    "token",
    [
        pytest.param(rs256(key=STRANGER), id="another's key under a known id"),
        pytest.param(rs256(kid="unknown"), id="an unknown key id"),
        pytest.param(jwt.encode(claims(), RSA, algorithm="RS256"), id="no key id"),
        pytest.param(jwt.encode(claims(), RSA, "RS256", {"kid": ""}), id="an empty key id"),
        pytest.param(forged({"alg": "RS256", "kid": 7}, lambda _: b""), id="a key id that is none"),
        pytest.param(forged({"alg": "RS256", "kid": ["rsa"]}, lambda _: b""), id="a list of ids"),
        pytest.param(
            forged({"alg": "HS256", "kid": "rsa"}, lambda data: hmac_of(data, PUBLIC)),
            id="the public key taken for a shared secret",
        ),
        pytest.param(
            jwt.encode(claims(), SECRET, algorithm="HS256", headers={"kid": "rsa"}),
            id="the shared secret under a key's id",
        ),
        pytest.param(hs256(), id="the shared secret"),
        pytest.param(forged({"alg": "none", "kid": "rsa"}, lambda _: b""), id="no algorithm"),
        pytest.param(
            forged({"alg": "nOnE", "kid": "rsa"}, lambda _: b""), id="no algorithm, oddly"
        ),
        pytest.param(forged({"kid": "rsa"}, lambda _: b""), id="no algorithm named"),
        pytest.param(jwt.encode(claims(), RSA, "RS384", {"kid": "rsa"}), id="RS384"),
        pytest.param(jwt.encode(claims(), RSA, "PS256", {"kid": "rsa"}), id="PS256"),
        pytest.param(rs256(kid="ec"), id="an RSA signature under an EC key's id"),
        pytest.param(
            jwt.encode(claims(), EC, "ES256", {"kid": "rsa"}), id="an EC signature under an RSA id"
        ),
        pytest.param(
            jwt.encode(claims(), RSA, "RS256", {"kid": "rsa", "crit": ["b64"], "b64": False}),
            id="an extension that must be understood",
        ),
        pytest.param(jwt.encode(claims(), RSA, "RS256", {"kid": "rsa", "crit": []}), id="crit"),
    ],
)
def test_a_token_that_the_issuers_keys_did_not_sign_is_refused(
    issuer: Issuer, clock: Clock, token: str
) -> None:
    tokens = by_keys(issuer, clock)
    with pytest.raises(UnauthorizedError):
        tokens.verify(token)
    assert tokens.verify(rs256())


@pytest.mark.parametrize(
    "token",
    [
        pytest.param(rs256(iss="me"), id="no audience"),
        pytest.param(rs256(aud="headcount"), id="no issuer"),
        pytest.param(rs256(iss="you", aud="headcount"), id="another issuer"),
        pytest.param(
            forged({"alg": "RS256", "kid": "rsa"}, rsa_of, iss=["me"], aud="headcount"),
            id="a list of issuers",
        ),
        pytest.param(rs256(iss="me", aud="others"), id="another audience"),
        pytest.param(rs256(iss="me", aud=["others"]), id="other audiences"),
        pytest.param(rs256(iss="me", aud=[]), id="no audiences"),
        pytest.param(rs256(iss="me", aud="headcount", nbf=2**33), id="not valid yet"),
        pytest.param(rs256(iss="me", aud="headcount", iat=2**33), id="issued in the future"),
        pytest.param(rs256(iss="me", aud="headcount", exp=None), id="no end"),
        pytest.param(rs256(iss="me", aud="headcount", exp=1), id="expired"),
    ],
)
def test_a_token_of_the_issuer_that_is_not_for_us_or_not_for_now_is_refused(
    issuer: Issuer, clock: Clock, token: str
) -> None:
    tokens = by_keys(issuer, clock, issuer="me", audience="headcount")
    with pytest.raises(UnauthorizedError):
        tokens.verify(token)
    for audience in ("headcount", ["others", "headcount"]):
        assert tokens.verify(rs256(iss="me", aud=audience))


def test_a_key_that_appears_is_fetched_when_a_token_names_it(issuer: Issuer, clock: Clock) -> None:
    tokens = by_keys(issuer, clock)
    tokens.verify(rs256())
    issuer.keys["new"] = STRANGER.public_key()
    clock.advance(30)
    assert tokens.verify(rs256("new", STRANGER))
    assert issuer.fetched == 2


def test_a_key_that_was_withdrawn_works_for_an_hour_at_most(issuer: Issuer, clock: Clock) -> None:
    tokens = by_keys(issuer, clock)
    tokens.verify(rs256())
    del issuer.keys["rsa"]
    clock.advance(3_599)
    assert tokens.verify(rs256())
    clock.advance(1)
    with pytest.raises(UnauthorizedError):
        tokens.verify(rs256())


def test_a_flood_of_unknown_key_ids_is_no_flood_at_the_issuer(issuer: Issuer, clock: Clock) -> None:
    tokens = by_keys(issuer, clock)
    for number in range(90):
        with pytest.raises(UnauthorizedError):
            tokens.verify(rs256(kid=f"invented-{number}"))
        clock.advance(1)
    assert issuer.fetched == 3
    assert tokens.verify(rs256())


def down(to: BaseHTTPRequestHandler) -> None:
    to.connection.close()


def drip(to: BaseHTTPRequestHandler) -> None:
    """A byte at a time, for longer than any timeout."""
    to.send_response(200)
    to.end_headers()
    with suppress(OSError):
        while True:
            to.wfile.write(b" ")


TROUBLE = {
    "down": down,
    "500": lambda to: respond(to, b"{}", 500),
    "404": lambda to: respond(to, b"{}", 404),
    "a redirect": lambda to: respond(to, b"", 302, Location="/elsewhere"),
    "HTML": lambda to: respond(to, b"<!doctype html><title>Sign in</title>"),
    "nothing": lambda to: respond(to, b""),
    "no object": lambda to: respond(to, b"[]"),
    "no keys": lambda to: respond(to, b'{"keys": []}'),
    "keys that are none": lambda to: respond(to, b'{"keys": [7, {}, {"kty": "RSA"}]}'),
    "keys that do not sign": lambda to: respond(to, json.dumps({"keys": [ENCRYPTS]}).encode()),
    "deep nesting": lambda to: respond(to, b"[" * 100_000),
    "too much": lambda to: respond(to, b" " * (MAX_KEY_SET + 1)),
    "no end": drip,
    "silence": lambda to: to.rfile.read(1),
}
SLOW = {"no end", "silence"}
ENCRYPTS = {**RSAAlgorithm.to_jwk(RSA.public_key(), as_dict=True), "kid": "rsa", "use": "enc"}


@pytest.mark.parametrize("trouble", TROUBLE)
def test_without_its_first_keys_a_failing_issuer_admits_no_one(
    issuer: Issuer, clock: Clock, trouble: str
) -> None:
    issuer.answer = TROUBLE[trouble]
    tokens = by_keys(issuer, clock)
    wait_for(tokens, IMPATIENT if trouble in SLOW else PATIENT)
    for _ in range(3):
        with pytest.raises(BusyError):
            tokens.verify(rs256(headcount="admin"))
    assert issuer.fetched <= 1, "it is not requested for each token"
    issuer.answer = None
    wait_for(tokens, PATIENT)
    clock.advance(5)
    assert tokens.verify(rs256(headcount="admin")).admin


@pytest.mark.parametrize("trouble", TROUBLE)
def test_known_keys_still_work_while_their_issuer_fails(
    issuer: Issuer, clock: Clock, trouble: str
) -> None:
    tokens = by_keys(issuer, clock)
    tokens.verify(rs256())
    issuer.answer = TROUBLE[trouble]
    wait_for(tokens, IMPATIENT if trouble in SLOW else PATIENT)
    clock.advance(7_200)
    assert tokens.verify(rs256(headcount="admin")).admin
    with pytest.raises(BusyError):  # it may be a new key
        tokens.verify(rs256("new", STRANGER))
    assert issuer.fetched <= 2
    with pytest.raises(UnauthorizedError):
        tokens.verify(rs256(key=STRANGER))


def test_only_the_parameters_address_is_requested(issuer: Issuer, clock: Clock) -> None:
    asked: list[str] = []
    issuer.answer = lambda to: (asked.append(to.path), respond(to, b"", 302, Location="/x"))[1]
    with pytest.raises(BusyError):
        by_keys(issuer, clock).verify(rs256())
    assert asked == ["/keys?v=1"]


@pytest.mark.parametrize("length", [MAX_TOKEN + 1, 1_000_000])
def test_a_token_that_is_too_long_is_not_even_parsed(length: int) -> None:
    assert "too long" in refused("x" * length)


@pytest.mark.parametrize("brackets", [500, 4_000, 6_000])
def test_a_token_of_deep_nesting_is_refused(brackets: int) -> None:
    head = base64.urlsafe_b64encode(b"[" * brackets).decode().rstrip("=")
    assert "not valid here" in refused(f"{head}.e30.e30")
    assert "not valid here" in refused(f"{hs256().split('.')[0]}.{head}.e30")


# ------------------------------------------------------------------------------------------- scopes


def scoped(*scopes: str, **more: Any) -> Caller:
    settings = TokenSettings("headcount=admin", scope_claim="headcount_scopes")
    token = hs256({"headcount_scopes": " ".join(scopes), **more})
    return Verifier(settings, lambda: SECRET, Clock()).verify(token)


def allows(caller: Caller | None, action: Action, space: str | None) -> bool:
    try:
        require_scope(caller, Scope(action, space))
    except ForbiddenError:
        return False
    return True


@pytest.mark.parametrize(
    ("scope", "allowed", "refused_"),
    [
        ("read:site:main", ["site:main"], ["site:main2", "site:mai", "site:*", "doc:main", "*"]),
        ("read:site:*", ["site:main", "site:x", "site:*"], ["sites:x", "doc:x", "*", "doc:*"]),
        ("read:*", ["site:main", "doc:x", "site:*", "*"], []),
        ("*:site:main", ["site:main"], ["site:x", "*"]),
        ("*:*", ["site:main", "*"], []),
        ("people:*", [], ["site:main", "*"]),
        ("read", [], ["site:main", "*"]),
        ("read:", [], ["site:main", "*"]),
        ("READ:site:main", [], ["site:main"]),
        ("read:site", [], ["site:main"]),
        ("read:site:ma*", [], ["site:main", "site:ma"]),
        ("read:*:main", [], ["site:main"]),
        (":site:main", [], ["site:main"]),
    ],
)
def test_a_scope_is_an_action_and_where(
    scope: str, allowed: list[str], refused_: list[str]
) -> None:
    caller = scoped(scope)
    assert [space for space in allowed if not allows(caller, Action.READ, space)] == []
    assert [space for space in refused_ if allows(caller, Action.READ, space)] == []
    assert allows(caller, Action.READ, None) is bool(allowed)
    assert not caller.admin


def test_scopes_add_up_and_other_words_are_ignored() -> None:
    caller = scoped("openid", "read:site:main", "people:doc:*", "dance:site:main")
    assert allows(caller, Action.READ, "site:main")
    assert allows(caller, Action.PEOPLE, "doc:1")
    assert not allows(caller, Action.PEOPLE, "site:main")
    assert not allows(caller, Action.READ, "doc:1")


@pytest.mark.parametrize("action", Action)
def test_an_admin_may_do_everything_and_another_nothing(action: Action) -> None:
    for space in ("site:main", "site:*", "*", None):
        assert allows(scoped(headcount="admin"), action, space)
        assert not allows(scoped(), action, space)
        with pytest.raises(UnauthorizedError):
            require_scope(None, Scope(action, space))


def test_scopes_may_be_a_list_and_other_types_are_ignored() -> None:
    settings = TokenSettings("headcount=admin", scope_claim="permissions")
    tokens = Verifier(settings, lambda: SECRET, Clock())
    listed = tokens.verify(hs256({"permissions": ["read:site:main", 7, None, "people:*"]}))
    assert listed.scopes == {"read:site:main", "people:*"}
    for claim in (None, 7, True, {"read:site:main": 1}, "", []):
        assert tokens.verify(hs256({"permissions": claim})).scopes == frozenset()


def test_without_a_scope_claim_there_are_no_scopes() -> None:
    assert verifier().verify(hs256({"": "read:*", "headcount_scopes": "read:*"})).scopes == set()


def test_a_refusal_names_the_missing_scope() -> None:
    with pytest.raises(ForbiddenError, match="it needs the scope people:site:main, or the admin"):
        require_scope(scoped("read:*"), Scope(Action.PEOPLE, "site:main"))
    with pytest.raises(ForbiddenError, match="it needs the scope ingest:kind:id, or the admin"):
        require_scope(scoped("read:*"), Scope(Action.INGEST, None))


# ---------------------------------------------------------------------------------------- addresses


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


@pytest.mark.parametrize("name", ["\ud800", "x\udfff", ["Ada"], ""])
def test_a_claim_that_can_not_be_stored_as_text_is_ignored(name: Any) -> None:
    caller = verifier().verify(hs256({"name": name, "picture": name}))
    assert caller == Caller("u1", admin=False)


def test_a_subject_of_half_a_character_is_ignored() -> None:
    assert verifier().verify(hs256({"sub": "\ud800"})).subject is None


def test_no_cookie_is_read_unless_one_is_named() -> None:
    assert token_in({}, {}, ["=a", "t=b"], "") is None


DAY = 24 * 3600


@pytest.mark.parametrize(
    ("days", "taken"), [(3_649, True), (3_651, False), (2_900_000, False), (10**12, False)]
)
def test_a_token_does_not_live_for_ever(days: int, *, taken: bool) -> None:
    token = jwt.encode(claims(exp=int(time.time()) + days * DAY), SECRET, algorithm="HS256")
    if taken:
        assert verifier().verify(token).subject == claims()["sub"]
    else:
        refused(token)


@pytest.mark.filterwarnings("ignore::jwt.warnings.InsecureKeyLengthWarning")
def test_a_weak_rsa_key_of_the_key_set_verifies_nothing(issuer: Issuer, clock: Clock) -> None:
    weak = rsa.generate_private_key(public_exponent=65537, key_size=1024)  # noqa: S505 - that is it
    issuer.keys["weak"] = weak.public_key()
    verifier = by_keys(issuer, clock)
    assert verifier.verify(rs256()).subject == claims()["sub"]
    with pytest.raises(UnauthorizedError):
        verifier.verify(rs256("weak", weak))
    issuer.keys = {"weak": weak.public_key()}
    with pytest.raises(BusyError):
        by_keys(issuer, clock).verify(rs256("weak", weak))
