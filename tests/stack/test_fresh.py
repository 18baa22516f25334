"""A fresh stack and its first visitor."""

from __future__ import annotations

import stat

import pytest

from tests.stack.clients import Api, eventually
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


def test_the_socket_says_what_the_api_says(stack: Stack, api: Api, space: str) -> None:
    with stack.dashboard() as socket:
        socket.subscribe(space)
        api.beat(space, "tab-1", userId="u1", name="Uma", page="/a", facets={"device": "mobile"})
        eventually(lambda: socket.people(space) == 1, 5, last=lambda: socket.frames[-3:])

        body = api.headcount(space)
        heard = socket.headcounts(space)[-1].message

    assert heard["data"] == body
    assert (heard["version"], heard["asOf"]) == (body["version"], body["asOf"])
    assert body["facets"] == {
        "device": [{"value": "mobile", "count": 1, "people": 1}],
        "page": [{"value": "/a", "count": 1, "people": 1}],
    }
    assert (body["signedIn"], body["anonymous"], body["signedInSessions"]) == (1, 0, 1)


def test_outputs_tell_all_that_others_need(stack: Stack) -> None:
    outputs = stack.outputs

    assert outputs["ready"] is True
    assert outputs["origin"] == outputs["httpUrl"] == f"http://localhost:{stack.settings.port}"
    assert outputs["webSocketUrl"].startswith(f"ws://localhost:{stack.settings.port}")
    assert outputs["dashboardUrl"].startswith(f"{outputs['origin']}/")
    assert outputs["awsEndpointUrl"].endswith(f":{stack.settings.gateway_port}")
    assert outputs["adminToken"]
    assert outputs["region"]
    existing = set(stack.client("dynamodb").list_tables()["TableNames"])
    assert set(outputs["tables"].values()) == existing
    assert stat.S_IMODE(stack.settings.outputs_file.stat().st_mode) == 0o600
