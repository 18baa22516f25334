"""Admins' requests to a space, in a world."""

from __future__ import annotations

from typing import Any

from lab.harness.world import SITE, Answer, World


def act(
    world: World, method: str, tail: str, body: Any = None, *, space: str = SITE, **how: Any
) -> Answer:
    """Send a request below a space, as an admin; it must be accepted."""
    answer = ask(world, method, tail, body, space=space, token=world.admin, **how)
    assert answer.status == 200, answer
    return answer


def ask(
    world: World, method: str, tail: str, body: Any = None, *, space: str = SITE, **how: Any
) -> Answer:
    """Send a request below a space; returns any answer."""
    if body is not None:
        how["body"] = body
    return world.http(method, f"/v1/spaces/{space}/{tail}", **how)


def frames_of(world: World, connection: str, kind: str) -> list[dict[str, Any]]:
    """The frames of a type that a dashboard received."""
    return [frame for frame in world.management.frames[connection] if frame.get("type") == kind]


def try_beat(world: World, session: str, space: str = SITE, **fields: Any) -> Answer:
    """Send a beat; returns any answer."""
    token = fields.pop("token", None)
    body = {"sessionId": session, **fields}
    return world.http("POST", f"/v1/spaces/{space}/presence", body=body, token=token)
