"""Containers over REST: launch one for an event, stop it, look it up."""

from __future__ import annotations

from http import HTTPStatus
from typing import Any, Literal

from typing_extensions import TypedDict

from headcount.containers import Container
from headcount.tokens import EVERYWHERE, Action, Scope
from headcount.web.calls import Call
from headcount.web.http import respond_error
from headcount.web.routing import Route, Who

shape_error = respond_error


class ContainerData(TypedDict):
    """A container. Times are ISO 8601; what ECS does not say is null."""

    containerId: str
    eventId: str
    status: Literal["provisioning", "pending", "running", "stopping", "stopped"]
    lastStatus: str
    desiredStatus: str
    healthStatus: str | None
    createdAt: str | None
    startedAt: str | None
    stoppedAt: str | None
    stoppedReason: str | None


class ContainerAnswer(ContainerData):
    """A container. Times are ISO 8601; what ECS does not say is null."""

    success: bool


def launch(call: Call) -> dict[str, Any]:
    """Launch a container for an event; the same one again for the same ``Idempotency-Key``."""
    # Without a key, only the SDK's own retries are the same launch.
    key = call.request.headers.get("idempotency-key", call.request.id)
    return _answer(call.services.launcher.launch(call.params["eventId"], key))


def stop(call: Call) -> dict[str, Any]:
    """Stop a container that was launched here. Stopping it again changes nothing."""
    return _answer(call.services.launcher.stop(call.params["containerId"]))


def status(call: Call) -> dict[str, Any]:
    """Look a container up that was launched here, up to 7 days after it stopped."""
    return _answer(call.services.launcher.status(call.params["containerId"]))


def _answer(container: Container) -> dict[str, Any]:
    return {"success": True, **container.body()}


_PATH = "/api/containers"
_REFUSED = [HTTPStatus.CONFLICT, HTTPStatus.BAD_GATEWAY]
_UNKNOWN = [HTTPStatus.NOT_FOUND, *_REFUSED]
_CONTAINERS = Scope(Action.CONTAINERS, EVERYWHERE)

ROUTES = [
    Route(
        "POST",
        f"{_PATH}/launch/<eventId>",
        launch,
        Who.ADMIN,
        ContainerAnswer,
        errors=_REFUSED,
        needs=_CONTAINERS,
    ),
    Route(
        "POST",
        f"{_PATH}/stop/<containerId>",
        stop,
        Who.ADMIN,
        ContainerAnswer,
        errors=_UNKNOWN,
        needs=_CONTAINERS,
    ),
    Route(
        "GET",
        f"{_PATH}/status/<containerId>",
        status,
        Who.ADMIN,
        ContainerAnswer,
        errors=_UNKNOWN,
        needs=_CONTAINERS,
    ),
]
