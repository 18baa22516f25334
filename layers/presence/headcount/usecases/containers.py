"""``containers`` and ``container_changes``: launch, stop, look up, and announce state changes."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from botocore.exceptions import BotoCoreError, ClientError
from msgspec import Struct

from headcount.errors import (
    BusyError,
    ConflictError,
    InvalidRequestError,
    NotFoundError,
    UpstreamError,
    failures,
    is_busy,
    is_denied,
    token_reused,
)
from headcount.logs import logger
from headcount.model.container import (
    Container,
    Fleet,
    container_id,
    from_task,
    started_by,
    topic,
)
from headcount.times import MINUTE
from headcount.usecases.deliver import Broadcaster, to_frame

if TYPE_CHECKING:
    from mypy_boto3_ecs import ECSClient
    from mypy_boto3_ecs.type_defs import RunTaskRequestTypeDef, TaskOverrideTypeDef

    from headcount.store.containers import ContainersTable
    from headcount.store.subscriptions import SubscriptionsTable

MAX_KEY = 200
"""Characters of an Idempotency-Key."""

_KEY = re.compile(rf"[^\x00-\x1f\x7f-\x9f\ud800-\udfff]{{1,{MAX_KEY}}}")
"""As in a beat's texts: no control characters and no lone surrogates, which UTF-8 can't encode."""

_PASSING = (
    "RESOURCE:",
    "AGENT",
    "Capacity is unavailable",
    "EMPTY CAPACITY PROVIDER",
    "NO ACTIVE INSTANCES",
)
"""How the reasons begin for which ECS can't start a task now, but may later."""


class Launcher(Struct, frozen=True, eq=False):
    """What launching containers needs. ``clock`` returns epoch milliseconds."""

    ecs: ECSClient
    fleet: Fleet
    containers: ContainersTable
    clock: Callable[[], int]

    def launch(self, event: str, key: str) -> Container:
        """Start one task for an event. The same event and key within 24 hours: the same task.

        Raises InvalidRequestError, ConflictError (not set up, or the key was used for another
        launch), BusyError (throttled, no capacity, no answer) and UpstreamError (ECS refuses).
        """
        self.fleet.require_parameters()
        ours = started_by(event)
        if not _KEY.fullmatch(key):
            raise InvalidRequestError(
                f"The Idempotency-Key must have 1 to {MAX_KEY} characters, no control characters."
            )
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
        """Stop a container; stopping it again changes nothing. NotFoundError if it is unknown."""
        found = self.status(container)
        if found.is_stopping:
            return found
        with _refusals():
            answer = self.ecs.stop_task(
                cluster=self.fleet.cluster, task=found.id, reason="Stopped through Headcount"
            )
        stopping = from_task(answer["task"]) or found
        self._remember(stopping)
        return stopping

    def status(self, container: str) -> Container:
        """A container's state from ECS, or else the last stored one. Raises NotFoundError."""
        self.fleet.require_parameters("cluster")
        wanted = container_id(container)
        with _refusals():
            tasks = self.ecs.describe_tasks(cluster=self.fleet.cluster, tasks=[wanted])["tasks"]
        found = from_task(tasks[0]) if tasks else self._last_stored(wanted)
        if found is None:
            raise NotFoundError(
                "There is no such container. Launch one with POST /api/containers/launch/{eventId}."
            )
        return found

    def _last_stored(self, container: str) -> Container | None:
        """The stored state of a container that ECS does not know yet, or no longer."""
        stored = self.containers.get(container)
        if stored is None or stored.status == "stopped":
            return stored
        return stored if self.clock() - (stored.created_at or 0) < MINUTE else None

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
        """Store the state that ECS returned. An error is not raised: an event brings it again."""
        try:
            self.containers.save(container, now=self.clock())
        except failures():
            logger().warning("container's state not stored", exc_info=True)


class Announcer(Struct, frozen=True, eq=False):
    """What announcing state changes needs. ``clock`` returns epoch milliseconds."""

    containers: ContainersTable
    subscriptions: SubscriptionsTable
    broadcaster: Broadcaster
    clock: Callable[[], int]

    def announce(self, container: Container) -> None:
        """Store a state and send it to its subscribers, once per version.

        A duplicate or an older state changes nothing and is not sent. If sending fails half way, a
        retry sends it again. Raises if a dependency fails.
        """
        self.containers.save(container, now=self.clock())
        latest = self.containers.unannounced(container.id)
        if latest is None:
            return
        subscribers = self.subscriptions.subscribers(topic(latest.id))
        frame = to_frame(latest.message(self.clock()))
        self.broadcaster.deliver(frame, [one.connection for one in subscribers])
        self.containers.mark_announced(latest)


@contextmanager
def _refusals() -> Iterator[None]:
    """Turn ECS's refusals into errors for the client, which say how to fix them."""
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
                "template parameter Containers, as its task-role and execution-role."
            ) from error
        logger().warning("ECS refuses the call", exc_info=True)
        raise UpstreamError(
            "ECS refuses the call. Check the template parameter Containers.",
            details=[_text(error)],
        ) from error


def _not_started(reasons: list[str]) -> UpstreamError | BusyError:
    """The error for a launch for which ECS returned only failures."""
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
