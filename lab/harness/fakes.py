"""In-memory stand-ins for the services that are not DynamoDB."""

from __future__ import annotations

import copy
import itertools
import json
from collections import defaultdict
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any

from botocore.exceptions import ClientError, EndpointConnectionError, ReadTimeoutError
from headcount.times import SECOND, iso

SECRET = "a shared secret of more than thirty-two bytes"


def aws_error(code: str, status: int = 400, operation: str = "Operation") -> ClientError:
    """An error as botocore raises it."""
    response: Any = {
        "Error": {"Code": code, "Message": "made by a test"},
        "ResponseMetadata": {"HTTPStatusCode": status},
    }
    return ClientError(response, operation)


class FakeManagementApi:
    """The WebSocket API's management client: keeps the frames, and fails as a test says."""

    def __init__(self) -> None:
        self.frames: dict[str, list[dict[str, Any]]] = defaultdict(list)
        self.closed: list[str] = []
        self.attempts: dict[str, int] = defaultdict(int)
        self.gone: dict[str, int] = {}
        self.failing: dict[str, int] = {}
        self.hanging: set[str] = set()
        self.throttled: dict[str, int] = {}
        self.before_post: Callable[[], object] = lambda: None
        self.after_post: Callable[[], object] = lambda: None

    def set_gone(self, connection: str, *, times: int = 1_000_000) -> None:
        """Answer the next ``times`` posts to a connection with 410."""
        self.gone[connection] = times

    def fail(self, connection: str, *, times: int = 1_000_000) -> None:
        """Be unreachable for the next ``times`` posts to a connection."""
        self.failing[connection] = times

    def hang(self, connection: str) -> None:
        """Never answer calls for a connection."""
        self.hanging.add(connection)

    def throttle(self, connection: str, *, times: int = 1_000_000) -> None:
        """Answer the next ``times`` calls for a connection with 429."""
        self.throttled[connection] = times

    def post_to_connection(self, *, ConnectionId: str, Data: bytes) -> None:  # noqa: N803
        """Keep a frame, or raise the error that is due."""
        self.attempts[ConnectionId] += 1
        frame = json.loads(Data)
        self.before_post()
        if self.gone.get(ConnectionId, 0) > 0:
            self.gone[ConnectionId] -= 1
            raise aws_error("GoneException", 410, "PostToConnection")
        if self.failing.get(ConnectionId, 0) > 0:
            self.failing[ConnectionId] -= 1
            raise EndpointConnectionError(endpoint_url="https://example.test")
        self._hang(ConnectionId)
        self._limit(ConnectionId, "PostToConnection")
        self.frames[ConnectionId].append(frame)
        self.after_post()

    def delete_connection(self, *, ConnectionId: str) -> None:  # noqa: N803
        """Close a connection; one that is gone answers 410."""
        self._hang(ConnectionId)
        self._limit(ConnectionId, "DeleteConnection")
        self.closed.append(ConnectionId)
        if ConnectionId in self.gone:
            raise aws_error("GoneException", 410, "DeleteConnection")

    def _hang(self, connection: str) -> None:
        if connection in self.hanging:
            raise ReadTimeoutError(endpoint_url="https://example.test")

    def _limit(self, connection: str, operation: str) -> None:
        if self.throttled.get(connection, 0) > 0:
            self.throttled[connection] -= 1
            raise aws_error("LimitExceededException", 429, operation)


def as_received(attributes: Mapping[str, Any] | None) -> dict[str, Any]:
    """A message's attributes as in the event for the function."""
    return {
        name: {"dataType": one["DataType"], "stringValue": one["StringValue"]}
        for name, one in (attributes or {}).items()
    }


class FakeQueue:
    """All queues: a FIFO queue, which deduplicates and keeps the order of each message group, and
    those of deferred tasks, closings, pieces and erasures, whose messages have no group."""

    def __init__(self, clock: Callable[[], int]) -> None:
        self._clock = clock
        self.messages: list[dict[str, Any]] = []
        self.deferred: list[dict[str, Any]] = []
        self.delays: list[int] = []
        self.closings: list[dict[str, Any]] = []
        self.erasures: list[tuple[int, str]] = []  # delay in seconds, and message
        self.pieces: list[dict[str, Any]] = []
        self.postponed: list[tuple[str, str, int]] = []  # queue, message, seconds
        self.error: Exception | None = None  # raised when a visibility timeout is changed
        self._numbers = itertools.count(1)
        self._seen: set[tuple[str, str]] = set()

    def send_message(
        self,
        *,
        QueueUrl: str,  # noqa: N803
        MessageBody: str,  # noqa: N803
        MessageGroupId: str = "",  # noqa: N803
        MessageDeduplicationId: str = "",  # noqa: N803
        DelaySeconds: int = 0,  # noqa: N803
        MessageAttributes: Mapping[str, Any] | None = None,  # noqa: N803
    ) -> None:
        """Keep a message unless its group had it before (DeduplicationScope: messageGroup)."""
        assert len(MessageBody.encode()) < 256 * 1024
        assert 0 <= DelaySeconds <= 900
        if QueueUrl == "ErasureQueue":
            self.erasures.append((DelaySeconds, MessageBody))
            return
        if QueueUrl == "PieceQueue":
            self.pieces.append(self._record(QueueUrl, "piece", MessageBody))
            return
        if QueueUrl == "ClosingQueue":
            name = f"closing-{next(self._numbers)}"
            self.closings.append(self._record(QueueUrl, name, MessageBody))
            return
        if not MessageGroupId:
            assert QueueUrl == "ErrandQueue"
            record = self._record(QueueUrl, "deferred", MessageBody)
            record["due"] = self._clock() + DelaySeconds * SECOND
            self.deferred.append(record)
            self.delays.append(DelaySeconds)
            return
        assert DelaySeconds == 0, "a FIFO queue takes no delay per message"
        if (MessageGroupId, MessageDeduplicationId) in self._seen:
            return
        self._seen.add((MessageGroupId, MessageDeduplicationId))
        record = self._record(QueueUrl, f"message-{len(self._seen)}", MessageBody)
        record["attributes"] |= {
            "SequenceNumber": f"{len(self._seen):020d}",
            "MessageGroupId": MessageGroupId,
            "MessageDeduplicationId": MessageDeduplicationId,
        }
        record["messageAttributes"] = as_received(MessageAttributes)
        self.messages.append(record)

    def _record(self, queue: str, name: str, body: str) -> dict[str, Any]:
        """A message as in the event for a function."""
        return {
            "messageId": name,
            "receiptHandle": f"receipt of {name}",
            "body": body,
            "attributes": {
                "ApproximateReceiveCount": "1",
                "SentTimestamp": str(self._clock()),
            },
            "messageAttributes": {},
            "eventSource": "aws:sqs",
            "eventSourceARN": f"arn:aws:sqs:us-east-1:123456789012:{queue}",
            "awsRegion": "us-east-1",
        }

    def change_message_visibility(
        self,
        *,
        QueueUrl: str,  # noqa: N803
        ReceiptHandle: str,  # noqa: N803
        VisibilityTimeout: int,  # noqa: N803
    ) -> None:
        """Note after how many seconds a message is to be received again."""
        assert 0 <= VisibilityTimeout <= 43_200
        if self.error is not None:
            raise self.error
        name = ReceiptHandle.removeprefix("receipt of ")
        self.postponed.append((QueueUrl, name, VisibilityTimeout))

    def take(self) -> dict[str, Any] | None:
        """The next chunk as an event of one record; None if there is none."""
        return {"Records": [self.messages.pop(0)]} if self.messages else None

    def take_piece(self) -> dict[str, Any] | None:
        """The next piece of a sweep or day as an event; None if there is none."""
        return {"Records": [self.pieces.pop(0)]} if self.pieces else None

    def take_closings(self, size: int) -> dict[str, Any] | None:
        """The next ``size`` closings as an event; None if there are none."""
        batch, self.closings = self.closings[:size], self.closings[size:]
        return {"Records": batch} if batch else None

    def take_deferred(self) -> dict[str, Any] | None:
        """The next deferred task as an event, whatever its delay; None if there is none. A push has
        to wait, because it would only be deferred again, and a person's state until it changes."""
        for place, record in enumerate(self.deferred):
            waits = json.loads(record["body"])["do"] in {"push", "tell"}
            if not waits or record["due"] <= self._clock():
                return {"Records": [self.deferred.pop(place)]}
        return None


class FakeSns:
    """SNS: keeps everything, or raises ``error``."""

    def __init__(self) -> None:
        self.published: list[dict[str, Any]] = []
        self.error: Exception | None = None

    def publish(self, **params: Any) -> dict[str, str]:
        """Keep a message."""
        if self.error is not None:
            raise self.error
        self.published.append(params)
        return {"MessageId": f"message-{len(self.published)}"}

    @property
    def messages(self) -> list[dict[str, Any]]:
        """The published messages, decoded."""
        return [json.loads(one["Message"]) for one in self.published]


class FakeEventBus:
    """EventBridge's bus: accepts or refuses each entry separately, as a test says."""

    def __init__(self) -> None:
        self.entries: list[dict[str, Any]] = []
        self.calls: list[int] = []
        self.codes: list[str] = []
        self.error: Exception | None = None

    def refuse(self, *codes: str) -> None:
        """Answer the next entries with these error codes; an empty one accepts the entry."""
        self.codes += codes

    def put_events(self, *, Entries: list[dict[str, Any]]) -> dict[str, Any]:  # noqa: N803
        """Accept up to ten entries of 256 KB together, or raise the error that is due."""
        self.calls.append(len(Entries))
        assert 0 < len(Entries) <= 10
        assert sum(len(json.dumps(one, default=str).encode()) for one in Entries) < 256 * 1024
        if self.error is not None:
            raise self.error
        results: list[dict[str, str]] = []
        for entry in Entries:
            if code := self.codes.pop(0) if self.codes else "":
                results.append({"ErrorCode": code, "ErrorMessage": "made by a test"})
            else:
                self.entries.append(entry)
                results.append({"EventId": f"entry-{len(self.entries)}"})
        return {"FailedEntryCount": sum("ErrorCode" in one for one in results), "Entries": results}

    @property
    def events(self) -> list[dict[str, Any]]:
        """The accepted events, decoded, with repeats."""
        return [json.loads(entry["Detail"]) for entry in self.entries]


class FakeSecrets:
    """Secrets Manager with one secret."""

    def __init__(self, secret: str = SECRET) -> None:
        self.secret = secret
        self.reads = 0

    def get_secret_value(self, *, SecretId: str) -> dict[str, str]:  # noqa: N803
        """The secret, under any name."""
        assert SecretId, "no secret was configured"
        self.reads += 1
        return {"SecretString": self.secret}


class FakeEcs:
    """ECS with one cluster: it keeps client tokens, counts versions and reports MISSING tasks."""

    ACCOUNT = "arn:aws:ecs:us-east-1:123456789012"

    def __init__(self, clock: Callable[[], int]) -> None:
        self._clock = clock
        self.tasks: dict[str, dict[str, Any]] = {}
        self.calls: list[tuple[str, dict[str, Any]]] = []
        self.error: Exception | None = None
        self.failures: list[str] = []
        self._launches: dict[str, tuple[dict[str, Any], str]] = {}

    def run_task(self, **params: Any) -> dict[str, Any]:
        """Start a task, or return the failures that are due."""
        self._called("RunTask", params)
        if self.failures:
            return {"tasks": [], "failures": [{"reason": reason} for reason in self.failures]}
        token = params["clientToken"]
        assert 0 < len(token) <= 64
        before, task = self._launches.get(token, (params, ""))
        if before != params:
            raise aws_error("ConflictException", 400, "RunTask")
        if not task:
            task = f"{len(self.tasks) + 1:032x}"
            self._launches[token] = params, task
            self.tasks[task] = {
                "taskArn": f"{self.ACCOUNT}:task/{params['cluster']}/{task}",
                "clusterArn": f"{self.ACCOUNT}:cluster/{params['cluster']}",
                "taskDefinitionArn": f"{self.ACCOUNT}:task-definition/{params['taskDefinition']}:1",
                "startedBy": params["startedBy"],
                "lastStatus": "PROVISIONING",
                "desiredStatus": "RUNNING",
                "healthStatus": "UNKNOWN",
                "createdAt": self._now(),
                "attachments": [
                    {"details": [{"name": "privateIPv4Address", "value": "10.0.0.139"}]}
                ],
                "version": 1,
            }
        return {"tasks": [copy.deepcopy(self.tasks[task])], "failures": []}

    def stop_task(self, **params: Any) -> dict[str, Any]:
        """Ask a task to stop."""
        self._called("StopTask", params)
        if params["task"] not in self.tasks:
            raise aws_error("InvalidParameterException", 400, "StopTask")
        task = self.tasks[params["task"]]
        task |= {"desiredStatus": "STOPPED", "stoppedReason": params["reason"]}
        task["version"] += 1
        return {"task": copy.deepcopy(task)}

    def describe_tasks(self, **params: Any) -> dict[str, Any]:
        """The known tasks; the others as failures."""
        self._called("DescribeTasks", params)
        known = [self.tasks[task] for task in params["tasks"] if task in self.tasks]
        missing = [
            {"arn": f"{self.ACCOUNT}:task/{params['cluster']}/{task}", "reason": "MISSING"}
            for task in params["tasks"]
            if task not in self.tasks
        ]
        return {"tasks": copy.deepcopy(known), "failures": missing}

    def change(self, task: str, status: str, **values: Any) -> dict[str, Any]:
        """Change a task; returns the event that EventBridge delivers."""
        known = self.tasks[task]
        known |= {"lastStatus": status, **values, "version": known["version"] + 1}
        if status == "RUNNING":
            known["startedAt"] = self._now()
        if status == "STOPPED":
            known |= {"stoppedAt": self._now(), "desiredStatus": "STOPPED"}
        detail = {
            key: iso(round(value.timestamp() * 1000)) if isinstance(value, datetime) else value
            for key, value in copy.deepcopy(known).items()
        }
        return {
            "version": "0",
            "id": f"{task}-{known['version']}",
            "detail-type": "ECS Task State Change",
            "source": "aws.ecs",
            "account": "123456789012",
            "time": "2026-11-21T12:00:00Z",
            "region": "us-east-1",
            "resources": [known["taskArn"]],
            "detail": detail,
        }

    def named(self, operation: str) -> list[dict[str, Any]]:
        """The parameters of all calls of an operation."""
        return [params for name, params in self.calls if name == operation]

    def _called(self, operation: str, params: dict[str, Any]) -> None:
        self.calls.append((operation, params))
        if self.error is not None:
            raise self.error

    def _now(self) -> datetime:
        return datetime.fromtimestamp(self._clock() / 1000, UTC)
