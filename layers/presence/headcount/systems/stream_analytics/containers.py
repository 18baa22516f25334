"""Containers over REST: launch one for an event, stop it, get its status."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from http import HTTPStatus
from typing import Any

from typing_extensions import TypedDict

from headcount.model.access import EVERYWHERE, Action, Scope
from headcount.model.container import Container, ContainerStatus
from headcount.web.calls import Call
from headcount.web.http import respond_error
from headcount.web.routing import Route, Who

shape_error = respond_error


class ContainerData(TypedDict):
    """A container. Times are ISO 8601; values that ECS does not report are null."""

    containerId: str
    eventId: str
    status: ContainerStatus
    lastStatus: str
    desiredStatus: str
    healthStatus: str | None
    createdAt: str | None
    startedAt: str | None
    stoppedAt: str | None
    stoppedReason: str | None


class ContainerAnswer(ContainerData):
    """A container. Times are ISO 8601; values that ECS does not report are null."""

    success: bool


def launch(call: Call) -> ContainerAnswer:
    """Launch a container for an event. The same ``Idempotency-Key`` returns the same container."""
    # Without a key, only the SDK's own retries count as the same launch.
    key = call.request.headers.get("idempotency-key", call.request.id)
    return _body(call.services.launcher.launch(call.params["eventId"], key))


def stop(call: Call) -> ContainerAnswer:
    """Stop a container that this deployment launched. Stopping it again changes nothing."""
    return _body(call.services.launcher.stop(call.params["containerId"]))


def status(call: Call) -> ContainerAnswer:
    """Look up a container that this deployment launched, up to 7 days after it stopped."""
    return _body(call.services.launcher.status(call.params["containerId"]))


def _body(container: Container) -> ContainerAnswer:
    return {"success": True, **container.body()}


def _route(method: str, rule: str, handle: Callable[[Call], Any], errors: Sequence[int]) -> Route:
    path, needs = f"/api/containers/{rule}", Scope(Action.CONTAINERS, EVERYWHERE)
    return Route(method, path, handle, Who.ADMIN, ContainerAnswer, errors=errors, needs=needs)


_REFUSED = [HTTPStatus.CONFLICT, HTTPStatus.BAD_GATEWAY]
_UNKNOWN = [HTTPStatus.NOT_FOUND, *_REFUSED]

ROUTES = [
    _route("POST", "launch/<eventId>", launch, _REFUSED),
    _route("POST", "stop/<containerId>", stop, _UNKNOWN),
    _route("GET", "status/<containerId>", status, _UNKNOWN),
]
