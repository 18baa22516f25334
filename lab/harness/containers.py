"""Containers in a world: the parameters that enable them, and calls of their API."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from headcount.model.container import topic

from lab.harness.events import http_event
from lab.harness.world import Answer, World

SET_UP = {
    "cluster": "live",
    "task-definition": "encoder",
    "subnets": "subnet-1+subnet-2",
    "security-groups": "sg-1",
    "public-ip": "true",
    "container-name": "main",
    "task-role": "arn:aws:iam::123456789012:role/task",
    "execution-role": "arn:aws:iam::123456789012:role/execution",
}
"""Everything that can be set."""


def containers(**changes: str) -> dict[str, str]:
    """The `Containers` parameter with every value of SET_UP, or these; empty ones are omitted."""
    values = {name: value for name, value in {**SET_UP, **changes}.items() if value}
    return {"Containers": ",".join(f"{name}={value}" for name, value in values.items())}


CONTAINERS = containers()

ADMIN = "the world's own admin"


def call(
    world: World,
    method: str,
    tail: str,
    *,
    token: str | None = ADMIN,
    key: str | None = None,
    headers: Mapping[str, str] | None = None,
    **event: Any,
) -> Answer:
    """Send a request below /api/containers, as an admin unless ``token`` is given."""
    sent = dict(headers or {})
    if token is not None:
        sent["authorization"] = f"Bearer {world.admin if token == ADMIN else token}"
    if key is not None:
        sent["idempotency-key"] = key
    event.setdefault("request", world.new_id())
    path = f"/api/containers/{tail}"
    return Answer.of(world.invoke("containers", http_event(method, path, headers=sent, **event)))


def launch(world: World, event: str = "event-42", **how: Any) -> str:
    """Launch a container and return its id; the launch must succeed."""
    answer = call(world, "POST", f"launch/{event}", **how)
    assert answer.status == 200, answer
    return str(answer.body["containerId"])


def listen(world: World, container: str, connection: str) -> None:
    """Subscribe a socket to a container."""
    subscriptions = world.services("container_changes").subscriptions
    subscriptions.connect(connection, reads=(), now=world.clock())
    subscriptions.add(topic(container), connection, now=world.clock())


def changed(world: World, *events: Mapping[str, Any]) -> None:
    """Deliver these events as EventBridge does."""
    for event in events:
        assert world.invoke("container_changes", event) is None
