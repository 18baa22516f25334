"""Wrong input is refused with a message and stores nothing."""

from __future__ import annotations

import json
import uuid
from typing import Any

import pytest

from lab.harness.clients import Api, path_of
from tests.stack.conftest import Stack

pytestmark = pytest.mark.stack

GOOD = {"sessionId": "s"}
BEATS: dict[str, tuple[str, Any]] = {
    "no session": ("site:MARK", {"visitorId": "MARK"}),
    "empty session": ("site:MARK", {"sessionId": ""}),
    "session too long": ("site:MARK", {"sessionId": "MARK" + "s" * 200}),
    "session is a number": ("site:MARK", {"sessionId": 7}),
    "session is null": ("site:MARK", {"sessionId": None}),
    "space of 300 characters": ("site:MARK" + "x" * 300, GOOD),
    "space without a kind": ("MARK", GOOD),
    "space with a blank": ("site:MARK MARK", GOOD),
    "space in unicode": ("site:MARK-ü", GOOD),
    "space with a control character": ("site:MARK\x07", GOOD),
    "undeclared kind": ("nowhere:MARK", GOOD),
    "control character in a session": ("site:MARK", {"sessionId": "MARK\x00"}),
    "lone surrogate": ("site:MARK", {**GOOD, "visitorId": "\ud800"}),
    "page is a list": ("site:MARK", {**GOOD, "page": ["/"]}),
    "facets are a list": ("site:MARK", {**GOOD, "facets": ["a"]}),
    "facet value is a number": ("site:MARK", {**GOOD, "facets": {"device": 1}}),
    "facet name with a blank": ("site:MARK", {**GOOD, "facets": {"a b": "c"}}),
    "unknown state": ("site:MARK", {**GOOD, "state": "asleep"}),
    "seq is text": ("site:MARK", {**GOOD, "seq": "1"}),
    "seq is negative": ("site:MARK", {**GOOD, "seq": -1}),
    "seq is a fraction": ("site:MARK", {**GOOD, "seq": 1.5}),
    "seq is huge": ("site:MARK", {**GOOD, "seq": 10**30}),
    "visitor id too long": ("site:MARK", {**GOOD, "visitorId": "ü" * 65}),
    "a list": ("site:MARK", [GOOD]),
    "a string": ("site:MARK", "MARK"),
    "null": ("site:MARK", None),
}
BODIES: dict[str, bytes] = {
    "nothing": b"",
    "no JSON": b"sessionId=s",
    "half of it": b'{"sessionId": "MARK',
    "deep": b"[" * 5_000,
    "NaN": b'{"sessionId": "s", "seq": NaN}',
    "1 MB": b'{"sessionId": "s", "page": "' + b"x" * 1_000_000 + b'"}',
}


def rows(stack: Stack) -> set[str]:
    """Every row of every table, as text."""
    client = stack.client("dynamodb")
    pages = client.get_paginator("scan")
    return {
        f"{role} {json.dumps(item, sort_keys=True, default=str)}"
        for role, table in stack.outputs["tables"].items()
        for page in pages.paginate(TableName=table)
        for item in page["Items"]
    }


_OTHERS = ("stk-", "site:main", "~rollups", "~kind:", "~group:")


def test_wrong_input_is_refused_with_a_message_and_stores_nothing(stack: Stack, api: Api) -> None:
    mark = f"bad{uuid.uuid4().hex[:8]}"
    before = rows(stack)
    requests = [
        (name, "POST", f"{path_of(space.replace('MARK', mark))}/presence", _bytes(body, mark))
        for name, (space, body) in BEATS.items()
    ]
    requests += [
        (f"{name} to {end}", "POST", f"{path_of(f'site:{mark}')}/{end}", body)
        for name, body in BODIES.items()
        for end in ("presence", "presence/leave")
    ]
    requests += [
        ("leave without session", "DELETE", f"{path_of(f'site:{mark}')}/presence", b""),
        (
            "leave, seq no number",
            "DELETE",
            f"{path_of(f'site:{mark}')}/presence?sessionId=s&seq=x",
            b"",
        ),
        ("wrong method", "PUT", f"{path_of(f'site:{mark}')}/presence", b"{}"),
        ("no such path", "POST", f"{path_of(f'site:{mark}')}/presences", b'{"sessionId": "s"}'),
    ]

    for name, method, path, body in requests:
        answer = api.request(method, path, data=body, headers={"content-type": "application/json"})

        assert 400 <= answer.status < 500, (name, answer)
        assert answer.body["success"] is False, name
        error = answer.body["error"]
        assert len(error.split()) >= 3, (name, error)
        assert "Traceback" not in answer.text, name
        if "1 MB" in name:
            assert answer.status == 413
    after = rows(stack)

    assert [row for row in after if mark in row] == []
    # Other tests and the schedules may write meanwhile; roll-ups have the people of other tests.
    assert [row for row in after - before if not any(other in row for other in _OTHERS)] == []


def _bytes(body: Any, mark: str) -> bytes:
    return json.dumps(body).replace("MARK", mark).encode()


@pytest.mark.parametrize(
    "path",
    [
        "/viewers?limit=0",
        "/viewers?limit=x",
        "/viewers?limit=101",
        "/viewers?cursor=nonsense",
        "/timeline?from=yesterday",
        "/timeline?from=2026-01-02T00:00:00Z&to=2026-01-01T00:00:00Z",
        "/timeline?from=2020-01-01T00:00:00Z",
        "/days?from=2026-13-01",
        "/days?from=2000-01-01",
    ],
)
def test_a_wrong_request_is_answered_with_an_error(api: Api, space: str, path: str) -> None:
    answer = api.get(path_of(space) + path)

    assert answer.status == 400
    assert answer.body["success"] is False
    assert len(answer.body["error"].split()) >= 4


def test_any_language_is_welcome(api: Api, space: str) -> None:
    api.beat(
        space, "сессия-1", visitorId="訪問者", userId="käyttäjä", name="Zoë 🌻", page="/über/日本"
    )

    viewer = api.get(f"{path_of(space)}/viewers").body["viewers"][0]

    assert (viewer["sessionId"], viewer["name"], viewer["page"]) == (
        "сессия-1",
        "Zoë 🌻",
        "/über/日本",
    )
