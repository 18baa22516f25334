"""People on a running stack: looked up, and watched while they come, move, leave and crash."""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

import pytest

from lab.harness.clients import Dashboard, beat, eventually
from tests.stack.conftest import Stack, new_space

pytestmark = pytest.mark.stack

SOON = 8
LEASE_AND_SWEEP = 60 + 65


@pytest.fixture
def ada() -> str:
    return f"stk-ada-{uuid.uuid4().hex[:8]}"


@pytest.fixture
def watcher(stack: Stack, ada: str) -> Iterator[Dashboard]:
    """A socket whose token names Ada, and nobody else."""
    token = stack.token(sub="friend", headcount_scopes=[f"people:u:{ada}"])
    with stack.dashboard(token) as socket:
        socket.say_raw(json.dumps({"action": "watch", "people": [f"u:{ada}"]}))
        assert socket.answer("people")["people"][0]["online"] is False
        yield socket


def where(stack: Stack, person: str) -> Any:
    return stack.api.get(f"/v1/people/{quote(person, safe='')}").body


def beat_as(stack: Stack, token: str, space: str, session: str, **rest: Any) -> None:
    method, path, message = beat(space, session, **rest)
    assert stack.api.request(method, path, body=message, token=token).status == 200


def heard(socket: Dashboard) -> list[tuple[str, list[str | None]]]:
    messages = [one.message for one in socket.frames if one.message["type"] == "person"]
    return [(one["event"], [at["page"] for at in one["spaces"]]) for one in messages]


def last(socket: Dashboard) -> tuple[str, list[str | None]] | None:
    return heard(socket)[-1] if heard(socket) else None


def test_a_person_is_looked_up(stack: Stack, ada: str) -> None:
    course, site = new_space("people", "course"), new_space("people")
    token = stack.token(sub=ada)
    beat_as(stack, token, site, "s1", page="/a")
    beat_as(stack, token, course, "s2")
    stack.api.beat(site, "s3", userId=ada)

    def found() -> dict[str, int]:
        return {one["space"]: one["sessions"] for one in where(stack, f"u:{ada}")["spaces"]}

    eventually(lambda: found() == {site: 1, course: 1}, SOON, last=found)
    eventually(lambda: where(stack, f"c:{ada}")["online"], SOON)
    stack.api.leave(course, "s2")
    eventually(lambda: found() == {site: 1}, SOON, last=found)
    own = stack.api.request("GET", f"/v1/people/u%3A{ada}", token=token)
    assert own.body["online"] is True
    assert stack.api.request("GET", f"/v1/people/c%3A{ada}", token=token).status == 403
    people = [f"u:{ada}", "u:stk-nobody"]
    many = stack.api.request(
        "POST", "/v1/people/lookup", body={"people": people}, token=stack.outputs["adminToken"]
    )
    assert [one["online"] for one in many.body["people"]] == [True, False]


def test_who_watches_hears_a_person_come_move_and_leave(
    stack: Stack, ada: str, watcher: Dashboard
) -> None:
    site, token = new_space("watched"), stack.token(sub=ada)
    for page, event in (("/a", "online"), ("/b", "moved")):
        beat_as(stack, token, site, "s1", page=page)
        eventually(lambda e=(event, [page]): last(watcher) == e, SOON, last=lambda: heard(watcher))
    stack.api.leave(site, "s1")
    eventually(lambda: last(watcher) == ("offline", []), SOON, last=lambda: heard(watcher))


@pytest.mark.exhaustive
def test_who_watches_hears_of_a_crash_after_the_lease(
    stack: Stack, ada: str, watcher: Dashboard
) -> None:
    began = time.time()
    beat_as(stack, stack.token(sub=ada), new_space("crashed", "course"), "s1")
    eventually(lambda: last(watcher) == ("online", [None]), SOON, last=lambda: heard(watcher))
    eventually(
        lambda: last(watcher) == ("offline", []), LEASE_AND_SWEEP, last=lambda: heard(watcher)
    )
    assert 50 < time.time() - began <= LEASE_AND_SWEEP
    assert where(stack, f"u:{ada}")["lastSeen"] is not None
