"""Containers in a world: the parameters that set them up, and calls of their API."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from headcount.containers import topic

from tests.support.events import http_event
from tests.support.world import Answer, World

CONTAINERS = {
    "ContainerCluster": "live",
    "ContainerTaskDefinition": "encoder",
    "ContainerSubnets": "subnet-1, subnet-2",
    "ContainerSecurityGroups": "sg-1",
    "ContainerPublicIp": "true",
    "ContainerName": "main",
    "ContainerTaskRole": "arn:aws:iam::123456789012:role/task",
    "ContainerExecutionRole": "arn:aws:iam::123456789012:role/execution",
}
"""Everything that can be set."""

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
    """One request below /api/containers, as an admin unless told otherwise."""
    sent = dict(headers or {})
    if token is not None:
        sent["authorization"] = f"Bearer {world.admin if token == ADMIN else token}"
    if key is not None:
        sent["idempotency-key"] = key
    event.setdefault("request", world.new_id())
    path = f"/api/containers/{tail}"
    return Answer.of(world.invoke("containers", http_event(method, path, headers=sent, **event)))


def launch(world: World, event: str = "event-42", **how: Any) -> str:
    """Launch a container that must be accepted; its id."""
    answer = call(world, "POST", f"launch/{event}", **how)
    assert answer.status == 200, answer
    return str(answer.body["containerId"])


def listen(world: World, container: str, connection: str) -> None:
    """Have a socket listen to a container."""
    subscriptions = world.services("container_changes").subscriptions
    subscriptions.connect(connection, reads=(), now=world.clock())
    subscriptions.add(topic(container), connection, now=world.clock())


def changed(world: World, *events: Mapping[str, Any]) -> None:
    """Have EventBridge deliver these."""
    for event in events:
        assert world.invoke("container_changes", event) is None
