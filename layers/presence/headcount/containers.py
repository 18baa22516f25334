"""Containers: ECS tasks launched for an event, as the API and its sockets tell of them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from headcount.errors import ConflictError, InvalidRequestError
from headcount.times import iso, parse_iso

STARTED_BY = "headcount/"
"""What ``startedBy`` of our tasks begins with, the event's id behind it; the template's rule looks
for it. Other tasks of the cluster are none of ours."""

_STARTED_BY_LENGTH = 128
EVENT_ID = re.compile(r"[A-Za-z0-9._~@:+-]{1,118}")
_ESCAPED = re.compile(r"[^A-Za-z0-9_-]")
_ESCAPE = re.compile(r"/([0-9A-F]{2})")
CONTAINER_ID = re.compile(r"[A-Za-z0-9-]{32}(?:[A-Za-z0-9-]{4})?")

_STATUSES = {
    "PROVISIONING": "provisioning",
    "PENDING": "pending",
    "ACTIVATING": "pending",
    "RUNNING": "running",
    "DEACTIVATING": "stopping",
    "STOPPING": "stopping",
    "DEPROVISIONING": "stopping",
    "STOPPED": "stopped",
    "DELETED": "stopped",
}


def started_by(event: str) -> str:
    """What ``startedBy`` of an event's tasks is, or InvalidRequestError for a bad id.

    ECS takes letters, digits and ``_ - /`` there: others are written as ``/`` and two digits.
    """
    escaped = _ESCAPED.sub(lambda found: f"/{ord(found[0]):02X}", event)
    text = STARTED_BY + escaped
    if not EVENT_ID.fullmatch(event) or len(text) > _STARTED_BY_LENGTH:
        raise InvalidRequestError(
            "The event id is not valid. Use 1 to 118 of A-Z a-z 0-9 . _ ~ @ : + -, of which each "
            ". ~ @ : + counts as three."
        )
    return text


def event_in(started_by: str) -> str | None:
    """The inverse of ``started_by``; None when the task is none of ours."""
    if not started_by.startswith(STARTED_BY):
        return None
    return _ESCAPE.sub(lambda found: chr(int(found[1], 16)), started_by.removeprefix(STARTED_BY))


def container_id(text: str) -> str:
    """The container's id in a path, or InvalidRequestError."""
    if not CONTAINER_ID.fullmatch(text):
        raise InvalidRequestError(
            "The container id is not valid. Use the containerId that the launch answered: 32 or "
            "36 letters, digits and '-'."
        )
    return text


def topic(container: str) -> str:
    """What the sockets that listen to a container subscribe to: no space begins with ``~``."""
    return f"{_TOPIC}{container}"


def container_in(topic: str) -> str:
    """The inverse of ``topic``."""
    return topic.removeprefix(_TOPIC)


_TOPIC = "~container:"


@dataclass(frozen=True, slots=True)
class Fleet:
    """Where containers run and from what, by the template's parameters; empty where not given."""

    cluster: str = ""
    task_definition: str = ""
    subnets: tuple[str, ...] = ()
    security_groups: tuple[str, ...] = ()
    assign_public_ip: bool = False
    launch_type: str = "FARGATE"
    """``FARGATE``, ``EC2``, or empty for the cluster's own capacity providers."""
    container_name: str = ""
    """The container that is given ``EVENT_ID``; empty for none."""

    def require(self, *parameters: str) -> None:
        """Raise ConflictError, naming all that a launch lacks, where one of these is empty."""
        given: dict[str, object] = {
            "ContainerCluster": self.cluster,
            "ContainerTaskDefinition": self.task_definition,
            "ContainerSubnets": self.subnets,
        }
        if all(given[name] for name in parameters or given):
            return
        missing = [name for name, value in given.items() if not value]
        raise ConflictError(
            "Containers are not set up in this deployment. Deploy the stack again with the "
            f"template parameters {', '.join(missing)}.",
            details=[f"{name} is empty" for name in missing],
        )


@dataclass(frozen=True, slots=True)
class Container:
    """A task's state. Times are epoch milliseconds."""

    id: str
    event: str
    version: int
    """Grows with every change of the task; 0 where ECS gave none."""
    last_status: str
    desired_status: str
    health_status: str | None = None
    created_at: int | None = None
    started_at: int | None = None
    stopped_at: int | None = None
    stopped_reason: str | None = None

    @property
    def status(self) -> str:
        """provisioning, pending, running, stopping or stopped."""
        known = _STATUSES.get(self.last_status)
        if known in ("stopping", "stopped"):
            return known
        if self.desired_status == "STOPPED":
            return "stopping"
        return known or "pending"

    @property
    def is_to_stop(self) -> bool:
        """Whether it was told to stop, or has stopped."""
        return self.status in ("stopping", "stopped")

    def body(self) -> dict[str, Any]:
        """``{containerId, eventId, status, ...}``, times in ISO 8601; null where ECS says none."""
        return {
            "containerId": self.id,
            "eventId": self.event,
            "status": self.status,
            "lastStatus": self.last_status,
            "desiredStatus": self.desired_status,
            "healthStatus": self.health_status,
            "createdAt": _iso(self.created_at),
            "startedAt": _iso(self.started_at),
            "stoppedAt": _iso(self.stopped_at),
            "stoppedReason": self.stopped_reason,
        }

    def message(self, now: int) -> dict[str, Any]:
        """The frame that sockets get: ``{type: container, data: {..., version, at}}``."""
        data = {**self.body(), "version": self.version, "at": iso(now)}
        return {"type": "container", "data": data}


def from_task(task: Mapping[str, Any]) -> Container | None:
    """A task as ECS's API or its state change event describes it; None when it is none of ours.

    Raises KeyError, TypeError or ValueError when it is no task.
    """
    event = event_in(task.get("startedBy") or "")
    if event is None:
        return None
    return Container(
        id=task["taskArn"].rpartition("/")[2],
        event=event,
        version=int(task.get("version", 0)),
        last_status=task["lastStatus"],
        desired_status=task["desiredStatus"],
        health_status=task.get("healthStatus") or None,
        created_at=_millis(task.get("createdAt")),
        started_at=_millis(task.get("startedAt")),
        stopped_at=_millis(task.get("stoppedAt")),
        stopped_reason=task.get("stoppedReason") or None,
    )


def _millis(time: datetime | str | None) -> int | None:
    """The API gives datetimes, events give text."""
    if time is None:
        return None
    return parse_iso(time.isoformat() if isinstance(time, datetime) else time)


def _iso(millis: int | None) -> str | None:
    return None if millis is None else iso(millis)
