"""Who may read and subscribe, and which CORS headers a browser gets."""

from __future__ import annotations

import time
from collections.abc import Callable

import aiohttp
import jwt
import pytest
from headcount_cli.tokens import CLAIM

from lab.harness.clients import Api, path_of
from tests.stack.conftest import Stack

pytestmark = pytest.mark.stack

ADMIN_READS = ["/viewers", "/timeline", "/days"]


def forged(_: Stack) -> str:
    """Signed with another secret."""
    claims = {CLAIM: "admin", "sub": "eve", "exp": int(time.time()) + 600}
    return jwt.encode(claims, "another secret of a good length, for HS256", algorithm="HS256")


def unsigned(_: Stack) -> str:
    """The algorithm "none"."""
    return jwt.encode({CLAIM: "admin", "exp": int(time.time()) + 600}, "", algorithm="none")


def expired(stack: Stack) -> str:
    """Expired."""
    return stack.token(**{CLAIM: "admin"}, exp=int(time.time()) - 120)


def not_admin(stack: Stack) -> str:
    """A user's token."""
    return stack.token(sub="u1", **{CLAIM: "viewer"})


def missing(_: Stack) -> None:
    """No token."""


REFUSED = [(missing, 401), (forged, 401), (unsigned, 401), (expired, 401), (not_admin, 403)]
Make = Callable[[Stack], str | None]


def named(value: object) -> str:
    """A case by the name of its token."""
    return getattr(value, "__name__", str(value))


@pytest.mark.parametrize(("make", "status"), REFUSED, ids=named)
def test_lists_and_history_are_for_admins(
    stack: Stack, api: Api, space: str, make: Make, status: int
) -> None:
    token = make(stack)
    for path in [*(path_of(space) + part for part in ADMIN_READS), "/v1/spaces"]:
        answer = api.request("GET", path, token=token)

        assert answer.status == status, (path, answer)
        assert answer.body["success"] is False
        assert len(answer.body["error"].split()) > 3
        if status == 401:
            assert answer.headers["WWW-Authenticate"].startswith("Bearer")


@pytest.mark.parametrize(("make", "status"), REFUSED, ids=named)
def test_sockets_are_for_admins(stack: Stack, make: Make, status: int) -> None:
    with (
        pytest.raises(aiohttp.WSServerHandshakeError) as refusal,
        stack.dashboard(make(stack)),
    ):
        pass

    # AWS returns our status; the emulator answers 403 to every refusal.
    assert refusal.value.status in {status, 403}


def test_an_admin_reads_everything(stack: Stack, api: Api, space: str) -> None:
    for path in [*(path_of(space) + part for part in ["", *ADMIN_READS]), "/v1/spaces"]:
        assert api.get(path).status == 200, path
    query = f"{path_of(space)}/viewers?token={api.token}"
    assert api.request("GET", query).status == 200


def test_a_public_count_needs_no_token_and_a_private_one_does(
    api: Api, spaces: Callable[..., str]
) -> None:
    public, private = spaces("public"), spaces("private", "activity")

    assert api.request("GET", path_of(public)).status == 200
    assert api.request("GET", path_of(private)).status == 401
    assert api.get(path_of(private)).status == 200


def test_a_page_of_another_origin_may_beat_and_leave(api: Api, space: str) -> None:
    origin = {"origin": "https://shop.example"}
    for method, path in [
        ("POST", "/presence"),
        ("DELETE", "/presence"),
        ("POST", "/presence/leave"),
    ]:
        asked = {
            **origin,
            "access-control-request-method": method,
            "access-control-request-headers": "authorization,content-type",
        }
        preflight = api.request("OPTIONS", path_of(space) + path, headers=asked)

        assert preflight.status == 204
        assert preflight.headers["access-control-allow-origin"] in ("*", origin["origin"])
        assert method in preflight.headers["access-control-allow-methods"]
        allowed = preflight.headers["access-control-allow-headers"].lower()
        assert {"authorization", "content-type"} <= set(allowed.replace(" ", "").split(","))

    path = f"{path_of(space)}/presence"
    taken = api.request("POST", path, body={"sessionId": "s1"}, headers=origin)
    refused = api.request("POST", path, body={}, headers=origin)
    beacon = api.request(
        "POST",
        f"{path}/leave",
        data=b'{"sessionId": "s1"}',
        headers={**origin, "content-type": "text/plain;charset=UTF-8"},
    )
    assert (taken.status, refused.status, beacon.status) == (200, 400, 200)
    for answer in (taken, refused, beacon):  # a page must be able to read errors, too
        assert answer.headers["access-control-allow-origin"] in ("*", origin["origin"])


def test_session_ids_are_hidden_without_the_admin_claim(stack: Stack, api: Api, space: str) -> None:
    api.beat(space, "secret-session", visitorId="secret-visitor", userId="secret-user")

    public = api.request("GET", path_of(space)).text

    assert "secret" not in public
