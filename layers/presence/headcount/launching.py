"""``containers`` and ``container_changes``: launch, stop, look up, and tell those who listen."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from botocore.exceptions import BotoCoreError, ClientError

from headcount.containers import (
    Container,
    Fleet,
    container_id,
    from_task,
    started_by,
    topic,
)
from headcount.errors import (
    BusyError,
    ConflictError,
    InvalidRequestError,
    NotFoundError,
    UpstreamError,
    is_busy,
    is_denied,
    token_reused,
)
from headcount.logs import logger
from headcount.sockets import Courier, to_frame
from headcount.store.containers import ContainersTable
from headcount.store.subscriptions import SubscriptionsTable
from headcount.times import MINUTE

if TYPE_CHECKING:
    from mypy_boto3_ecs import ECSClient
    from mypy_boto3_ecs.type_defs import RunTaskRequestTypeDef, TaskOverrideTypeDef

MAX_KEY = 200
"""Characters of an Idempotency-Key."""

_PASSING = (
    "RESOURCE:",
    "AGENT",
    "Capacity is unavailable",
    "EMPTY CAPACITY PROVIDER",
    "NO ACTIVE INSTANCES",
)
"""Beginnings of the reasons for which ECS starts no task now and may start one later."""


@dataclass(frozen=True, slots=True)
class Launcher:
    """What launching containers needs. ``clock`` gives epoch milliseconds."""

    ecs: ECSClient
    fleet: Fleet
    containers: ContainersTable
    clock: Callable[[], int]

    def launch(self, event: str, key: str) -> Container:
        """Start one task for an event. The same event and key within 24 hours: the same task.

        Raises InvalidRequestError, ConflictError (not set up, or the key was used for another
        launch), BusyError (throttled, no capacity, no answer) and UpstreamError (ECS refuses).
        """
        self.fleet.require()
        ours = started_by(event)
        if not 0 < len(key) <= MAX_KEY:
            raise InvalidRequestError(f"The Idempotency-Key must have 1 to {MAX_KEY} characters.")
        try:
            with _refusals():
                answer = self.ecs.run_task(**self._request(event, ours, key))
        except BotoCoreError as error:
            raise BusyError(
                "ECS did not answer, and the container may be starting. Try again with the same "
                "Idempotency-Key: no second one starts."
            ) from error
        for task in answer["tasks"]:
            container = from_task(task)
            if container is not None:
                self._remember(container)
                return container
        raise _not_started([failure.get("reason", "") for failure in answer["failures"]])

    def stop(self, container: str) -> Container:
        """Tell a container to stop; telling it again changes nothing. NotFoundError for others."""
        found = self.status(container)
        if found.is_to_stop:
            return found
        with _refusals():
            answer = self.ecs.stop_task(
                cluster=self.fleet.cluster, task=found.id, reason="Stopped through Headcount"
            )
        stopping = from_task(answer["task"]) or found
        self._remember(stopping)
        return stopping

    def status(self, container: str) -> Container:
        """A container as ECS knows it, else as it was last heard of; else NotFoundError."""
        self.fleet.require("ContainerCluster")
        wanted = container_id(container)
        with _refusals():
            tasks = self.ecs.describe_tasks(cluster=self.fleet.cluster, tasks=[wanted])["tasks"]
        found = from_task(tasks[0]) if tasks else self._last_heard(wanted)
        if found is None:
            raise NotFoundError(
                "There is no such container. Launch one with POST /api/containers/launch/{eventId}."
            )
        return found

    def _last_heard(self, container: str) -> Container | None:
        """What is kept of a container that ECS does not know: not yet, or not any more."""
        kept = self.containers.get(container)
        if kept is None or kept.status == "stopped":
            return kept
        return kept if self.clock() - (kept.created_at or 0) < MINUTE else None

    def _request(self, event: str, ours: str, key: str) -> RunTaskRequestTypeDef:
        fleet = self.fleet
        token = hashlib.blake2b(f"{event}\n{key}".encode(), digest_size=32)
        request: RunTaskRequestTypeDef = {
            "cluster": fleet.cluster,
            "taskDefinition": fleet.task_definition,
            "count": 1,
            "startedBy": ours,
            "clientToken": token.hexdigest(),
            "networkConfiguration": {
                "awsvpcConfiguration": {
                    "subnets": list(fleet.subnets),
                    "securityGroups": list(fleet.security_groups),
                }
            },
        }
        if fleet.assign_public_ip:
            request["networkConfiguration"]["awsvpcConfiguration"]["assignPublicIp"] = "ENABLED"
        if fleet.launch_type == "FARGATE":
            request["launchType"] = "FARGATE"
        elif fleet.launch_type == "EC2":
            request["launchType"] = "EC2"
        if fleet.container_name:
            overrides: TaskOverrideTypeDef = {
                "containerOverrides": [
                    {
                        "name": fleet.container_name,
                        "environment": [{"name": "EVENT_ID", "value": event}],
                    }
                ]
            }
            request["overrides"] = overrides
        return request

    def _remember(self, container: Container) -> None:
        """Keep what ECS answered. The event that follows brings it too: no reason to fail."""
        try:
            self.containers.save(container, now=self.clock())
        except (ClientError, BotoCoreError):
            logger().warning("container's state not kept", exc_info=True)


@dataclass(frozen=True, slots=True)
class Announcer:
    """What telling of state changes needs. ``clock`` gives epoch milliseconds."""

    containers: ContainersTable
    subscriptions: SubscriptionsTable
    courier: Courier
    clock: Callable[[], int]

    def hear(self, container: Container) -> None:
        """Keep a state and tell its listeners, once per version.

        A duplicate or an older state changes nothing and is told to nobody. When telling failed
        half way, the next try tells it again. Raises when a dependency fails.
        """
        self.containers.save(container, now=self.clock())
        latest = self.containers.unannounced(container.id)
        if latest is None:
            return
        listeners = self.subscriptions.of(topic(latest.id))
        frame = to_frame(latest.message(self.clock()))
        self.courier.deliver(frame, [listener.connection for listener in listeners])
        self.containers.announced(latest)


@contextmanager
def _refusals() -> Iterator[None]:
    """What ECS refuses, in sentences; what passes by itself goes on as it is."""
    try:
        yield
    except ClientError as error:
        if is_busy(error):
            raise BusyError("ECS is busy. Try again in a few seconds.") from error
        if token_reused(error):
            raise ConflictError(
                "This Idempotency-Key was used for another launch, or the stack's parameters have "
                "changed since. Send another key."
            ) from error
        if is_denied(error):
            logger().warning("ECS denies the call", exc_info=True)
            raise UpstreamError(
                "AWS does not let this deployment do that. Name the task definition's roles in the "
                "template parameters ContainerTaskRole and ContainerExecutionRole."
            ) from error
        logger().warning("ECS refuses the call", exc_info=True)
        raise UpstreamError(
            "ECS refuses the call. Check the template parameters that begin with Container.",
            details=[_text(error)],
        ) from error


def _not_started(reasons: list[str]) -> UpstreamError | BusyError:
    """The error for a launch that ECS answered with failures only."""
    named = [reason for reason in reasons if reason]
    if named and all(reason.startswith(_PASSING) for reason in named):
        busy = BusyError("ECS has no capacity for the container now. Try again in a few minutes.")
        busy.details = named
        return busy
    return UpstreamError(
        "ECS did not start the container. Check the cluster and the task definition.", details=named
    )


def _text(error: ClientError) -> str:
    response: Mapping[str, Any] = error.response
    return str(response.get("Error", {}).get("Message", ""))
