"""A fresh stack and its first visitor."""

from __future__ import annotations

import stat
from urllib.error import HTTPError
from urllib.parse import urlsplit
from urllib.request import Request, urlopen

import pytest

from lab.harness.clients import Api, eventually
from tests.stack.conftest import Stack

pytestmark = pytest.mark.stack


def test_one_beat_makes_the_headcount_one(stack: Stack, api: Api, space: str) -> None:
    with stack.dashboard() as socket:
        first = socket.subscribe(space)
        answer = api.beat(space, "tab-1", visitorId="vera", page="/")

        eventually(
            lambda: api.headcount(space)["people"] == 1, 5, last=lambda: api.headcount(space)
        )
        eventually(lambda: socket.people(space) == 1, 5, last=lambda: socket.frames[-3:])

    assert first["version"] == 0
    assert first["data"]["people"] == 0
    assert first["data"]["peak"] is None
    assert {name: answer[name] for name in ("success", "space", "count", "leaseSeconds")} == {
        "success": True,
        "space": space,
        "count": 1,
        "leaseSeconds": 60,
    }
    assert answer["nextBeatIn"] == 30


def test_the_socket_and_the_api_have_the_same_numbers(stack: Stack, api: Api, space: str) -> None:
    with stack.dashboard() as socket:
        socket.subscribe(space)
        api.beat(space, "tab-1", userId="u1", name="Uma", page="/a", facets={"device": "mobile"})
        eventually(lambda: socket.people(space) == 1, 5, last=lambda: socket.frames[-3:])

        body = api.headcount(space)
        frame = socket.headcounts(space)[-1].message

    assert frame["data"] == body
    assert (frame["version"], frame["asOf"]) == (body["version"], body["asOf"])
    assert body["facets"] == {
        "device": [{"value": "mobile", "count": 1, "people": 1}],
        "page": [{"value": "/a", "count": 1, "people": 1}],
    }
    assert (body["signedIn"], body["anonymous"], body["signedInSessions"]) == (1, 0, 1)


def test_outputs_name_everything_that_others_need(stack: Stack) -> None:
    outputs = stack.outputs

    assert outputs["ready"] is True
    assert outputs["origin"] == outputs["httpUrl"] == f"http://localhost:{stack.settings.port}"
    assert outputs["webSocketUrl"].startswith(f"ws://localhost:{stack.settings.port}")
    assert outputs["dashboardUrl"].startswith(f"{outputs['origin']}/")
    assert outputs["awsEndpointUrl"].startswith(f"http://127.0.0.1:{stack.settings.gateway_port}/")
    assert outputs["adminToken"]
    assert outputs["region"]
    existing = set(stack.client("dynamodb").list_tables()["TableNames"])
    assert set(outputs["tables"].values()) == existing
    assert stat.S_IMODE(stack.settings.outputs_file.stat().st_mode) == 0o600


def test_the_emulator_answers_those_who_know_its_secret_alone(stack: Stack) -> None:
    url = urlsplit(stack.outputs["awsEndpointUrl"])
    open_url = f"{url.scheme}://{url.netloc}"

    def status(where: str, **headers: str) -> int:
        request = Request(f"{where}/2015-03-31/functions/", headers=headers)
        try:
            with urlopen(request) as response:
                return int(response.status)
        except HTTPError as error:
            return error.code

    assert len(url.path) > 32
    assert status(stack.outputs["awsEndpointUrl"]) == 200
    assert status(open_url) == 403
    assert status(f"{open_url}/guessed") == 403
    for name, value in (
        ("Origin", stack.outputs["origin"]),
        ("Host", f"rebound.example:{url.port}"),
        ("Sec-Fetch-Site", "same-site"),
    ):
        assert status(stack.outputs["awsEndpointUrl"], **{name: value}) == 403


def test_the_origin_itself_leads_to_the_dashboard(stack: Stack) -> None:
    with urlopen(stack.outputs["origin"]) as response:
        assert response.url == f"{stack.outputs['origin']}/dashboard"
        assert response.headers["content-type"].startswith("text/html")
