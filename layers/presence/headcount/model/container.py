"""Containers: ECS tasks that were launched for an event. Pure.

A task carries its event in ECS's ``startedBy``, so that the API and the stream of task changes know
it without a table. ECS's statuses are reduced to five; ``version`` puts changes in order.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any, Literal

from headcount.errors import ConflictError, InvalidRequestError
from headcount.times import iso, parse_iso

if TYPE_CHECKING:
    from headcount.systems.stream_analytics.containers import ContainerData

STARTED_BY = "headcount/"
"""``startedBy`` of our tasks: this prefix and the event's id. The template's rule filters by it;
other tasks of the cluster are not ours."""

_STARTED_BY_LENGTH = 128
EVENT_ID = re.compile(r"[A-Za-z0-9._~@:+-]{1,118}")
_ESCAPED = re.compile(r"[^A-Za-z0-9_-]")
_ESCAPE = re.compile(r"/([0-9A-F]{2})")
CONTAINER_ID = re.compile(r"[A-Za-z0-9-]{32}(?:[A-Za-z0-9-]{4})?")

ContainerStatus = Literal["provisioning", "pending", "running", "stopping", "stopped"]

_STATUSES: dict[str, ContainerStatus] = {
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
    """``startedBy`` of an event's tasks. Raises InvalidRequestError for a bad id.

    ECS allows letters, digits and ``_ - /``: others become ``/`` and two hexadecimal digits.
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
    """The inverse of ``started_by``; None if the task is not ours."""
    if not started_by.startswith(STARTED_BY):
        return None
    return _ESCAPE.sub(lambda found: chr(int(found[1], 16)), started_by.removeprefix(STARTED_BY))


def container_id(text: str) -> str:
    """The container id in a path. Raises InvalidRequestError."""
    if not CONTAINER_ID.fullmatch(text):
        raise InvalidRequestError(
            "The container id is not valid. Use the containerId that the launch returned: 32 or "
            "36 letters, digits and '-'."
        )
    return text


def topic(container: str) -> str:
    """The topic that a container's sockets subscribe to. No space begins with ``~``."""
    return f"{_TOPIC}{container}"


def container_in(topic: str) -> str:
    """The inverse of ``topic``."""
    return topic.removeprefix(_TOPIC)


_TOPIC = "~container:"


@dataclass(frozen=True, slots=True)
class Fleet:
    """Where containers run and from which task definition: the template's ``Containers``; empty
    where not given."""

    cluster: str = ""
    task_definition: str = ""
    subnets: tuple[str, ...] = ()
    security_groups: tuple[str, ...] = ()
    assign_public_ip: bool = False
    launch_type: str = "FARGATE"
    """``FARGATE``, ``EC2``, or empty for the cluster's own capacity providers."""
    container_name: str = ""
    """The container that gets ``EVENT_ID`` in its environment; empty for none."""

    def require_parameters(self, *settings: str) -> None:
        """Raise ConflictError if one of these is empty; default: those that a launch needs. The
        error names all that are missing for a launch."""
        given: dict[str, object] = {
            "cluster": self.cluster,
            "task-definition": self.task_definition,
            "subnets": self.subnets,
        }
        if all(given[name] for name in settings or given):
            return
        missing = [name for name, value in given.items() if not value]
        raise ConflictError(
            "Containers are not set up in this deployment. Deploy the stack again with the "
            f"template parameter Containers, and in it {', '.join(missing)}.",
            details=[f"Containers has no {name}" for name in missing],
        )


@dataclass(frozen=True, slots=True)
class Container:
    """A task's state. Times are epoch milliseconds."""

    id: str
    event: str
    version: int
    """Grows with every change of the task; 0 if ECS sent none."""
    last_status: str
    desired_status: str
    health_status: str | None = None
    created_at: int | None = None
    started_at: int | None = None
    stopped_at: int | None = None
    stopped_reason: str | None = None

    @property
    def status(self) -> ContainerStatus:
        """The state, from ECS's last and desired status."""
        known = _STATUSES.get(self.last_status)
        if known in ("stopping", "stopped"):
            return known
        if self.desired_status == "STOPPED":
            return "stopping"
        return known or "pending"

    @property
    def is_stopping(self) -> bool:
        """Whether it is stopping, or has stopped."""
        return self.status in ("stopping", "stopped")

    def body(self) -> ContainerData:
        """``{containerId, eventId, status, ...}``, times in ISO 8601; null if ECS sent none."""
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
        """The frame for sockets: ``{type: container, data: {..., version, at}}``."""
        data = {**self.body(), "version": self.version, "at": iso(now)}
        return {"type": "container", "data": data}


def from_task(task: Mapping[str, Any]) -> Container | None:
    """A task from ECS's API or from a state change event; None if it is not ours.

    Raises KeyError, TypeError or ValueError if it is not a task.
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
    """Epoch milliseconds from the API's datetimes and the events' texts."""
    if time is None:
        return None
    return parse_iso(time.isoformat() if isinstance(time, datetime) else time)


def _iso(millis: int | None) -> str | None:
    return None if millis is None else iso(millis)
