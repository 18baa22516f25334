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
from headcount.times import iso

SECRET = "a shared secret of more than thirty-two bytes"


def aws_error(code: str, status: int = 400, operation: str = "Operation") -> ClientError:
    """An error as botocore raises it."""
    response: Any = {
        "Error": {"Code": code, "Message": "made by a test"},
        "ResponseMetadata": {"HTTPStatusCode": status},
    }
    return ClientError(response, operation)


class FakeLine:
    """The WebSocket API's management client: records frames, fails where it is told to."""

    def __init__(self) -> None:
        self.frames: dict[str, list[dict[str, Any]]] = defaultdict(list)
        self.closed: list[str] = []
        self.tries: dict[str, int] = defaultdict(int)
        self.gone: dict[str, int] = {}
        self.failing: dict[str, int] = {}
        self.hanging: set[str] = set()
        self.throttled: dict[str, int] = {}
        self.before_post: Callable[[], object] = lambda: None
        self.after_post: Callable[[], object] = lambda: None

    def go(self, connection: str, *, times: int = 1_000_000) -> None:
        """Answer 410 for a connection, for the next ``times`` posts."""
        self.gone[connection] = times

    def fail(self, connection: str, *, times: int = 1_000_000) -> None:
        """Be out of reach for a connection, for the next ``times`` posts."""
        self.failing[connection] = times

    def hang(self, connection: str) -> None:
        """Answer no call for a connection, until it is told otherwise."""
        self.hanging.add(connection)

    def throttle(self, connection: str, *, times: int = 1_000_000) -> None:
        """Answer 429 for a connection, for the next ``times`` calls."""
        self.throttled[connection] = times

    def post_to_connection(self, *, ConnectionId: str, Data: bytes) -> None:  # noqa: N803
        """One frame, or the error that is due."""
        self.tries[ConnectionId] += 1
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
        """Close; gone ones say so."""
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
    """A message's attributes in the event that brings it to a function."""
    return {
        name: {"dataType": one["DataType"], "stringValue": one["StringValue"]}
        for name, one in (attributes or {}).items()
    }


class FakeQueue:
    """A FIFO queue, which deduplicates and keeps the order of each message group; and beside it
    the queues of errands, closings and erasures, whose messages have no group."""

    def __init__(self, clock: Callable[[], int]) -> None:
        self._clock = clock
        self.messages: list[dict[str, Any]] = []
        self.errands: list[dict[str, Any]] = []
        self.delays: list[int] = []
        self.closings: list[dict[str, Any]] = []
        self.erasures: list[tuple[int, str]] = []  # seconds it waits, and the message
        self.pieces: list[dict[str, Any]] = []
        self._closings = itertools.count(1)
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
        """Take a message unless its group has seen it (DeduplicationScope: messageGroup)."""
        assert len(MessageBody.encode()) < 256 * 1024
        assert 0 <= DelaySeconds <= 900
        if QueueUrl == "ErasureQueue":
            self.erasures.append((DelaySeconds, MessageBody))
            return
        if QueueUrl == "PieceQueue":
            self.pieces.append({"messageId": "piece", "body": MessageBody})
            return
        if QueueUrl == "ClosingQueue":
            number = next(self._closings)
            self.closings.append({"messageId": f"closing-{number}", "body": MessageBody})
            return
        if not MessageGroupId:
            assert QueueUrl == "ErrandQueue"
            self.errands.append({"messageId": "errand", "body": MessageBody})
            self.delays.append(DelaySeconds)
            return
        assert DelaySeconds == 0, "a FIFO queue takes no delay per message"
        if (MessageGroupId, MessageDeduplicationId) in self._seen:
            return
        self._seen.add((MessageGroupId, MessageDeduplicationId))
        self.messages.append(
            {
                "messageId": f"message-{len(self._seen)}",
                "receiptHandle": f"receipt-{len(self._seen)}",
                "body": MessageBody,
                "attributes": {
                    "ApproximateReceiveCount": "1",
                    "SentTimestamp": str(self._clock()),
                    "SequenceNumber": f"{len(self._seen):020d}",
                    "MessageGroupId": MessageGroupId,
                    "MessageDeduplicationId": MessageDeduplicationId,
                },
                "messageAttributes": as_received(MessageAttributes),
                "eventSource": "aws:sqs",
                "eventSourceARN": f"arn:aws:sqs:us-east-1:123456789012:{QueueUrl}",
                "awsRegion": "us-east-1",
            }
        )

    def take(self) -> dict[str, Any] | None:
        """The next message as an event of one record, or None."""
        return {"Records": [self.messages.pop(0)]} if self.messages else None

    def take_piece(self) -> dict[str, Any] | None:
        """The next piece of a sweep or day as an event; None when there is none."""
        return {"Records": [self.pieces.pop(0)]} if self.pieces else None

    def take_closings(self, size: int) -> dict[str, Any] | None:
        """The next closings, so many at once, as an event; None when there are none."""
        batch, self.closings = self.closings[:size], self.closings[size:]
        return {"Records": batch} if batch else None

    def take_errand(self) -> dict[str, Any] | None:
        """The next errand as an event, its delay over; None when there is none."""
        return {"Records": [self.errands.pop(0)]} if self.errands else None


class FakeSns:
    """SNS that takes everything, or fails as it is told to."""

    def __init__(self) -> None:
        self.published: list[dict[str, Any]] = []
        self.error: Exception | None = None

    def publish(self, **params: Any) -> dict[str, str]:
        """One message."""
        if self.error is not None:
            raise self.error
        self.published.append(params)
        return {"MessageId": f"message-{len(self.published)}"}

    @property
    def messages(self) -> list[dict[str, Any]]:
        """What was said, decoded."""
        return [json.loads(one["Message"]) for one in self.published]


class FakeBus:
    """EventBridge's bus: takes and refuses each entry for itself, as it is told to."""

    def __init__(self) -> None:
        self.entries: list[dict[str, Any]] = []
        self.calls: list[int] = []
        self.codes: list[str] = []
        self.error: Exception | None = None

    def refuse(self, *codes: str) -> None:
        """Give the next entries these error codes, one each; an empty one takes the entry."""
        self.codes += codes

    def put_events(self, *, Entries: list[dict[str, Any]]) -> dict[str, Any]:  # noqa: N803
        """Up to ten entries of 256 KB together, or the error that is due."""
        self.calls.append(len(Entries))
        assert 0 < len(Entries) <= 10
        assert sum(len(json.dumps(one, default=str).encode()) for one in Entries) < 256 * 1024
        if self.error is not None:
            raise self.error
        said: list[dict[str, str]] = []
        for entry in Entries:
            if code := self.codes.pop(0) if self.codes else "":
                said.append({"ErrorCode": code, "ErrorMessage": "made by a test"})
            else:
                self.entries.append(entry)
                said.append({"EventId": f"entry-{len(self.entries)}"})
        return {"FailedEntryCount": sum("ErrorCode" in one for one in said), "Entries": said}

    @property
    def events(self) -> list[dict[str, Any]]:
        """What was told, decoded, repeats and all."""
        return [json.loads(entry["Detail"]) for entry in self.entries]


class FakeSecrets:
    """Secrets Manager with one secret."""

    def __init__(self, secret: str = SECRET) -> None:
        self.secret = secret
        self.asked = 0

    def get_secret_value(self, *, SecretId: str) -> dict[str, str]:  # noqa: N803
        """The secret, whatever its name."""
        assert SecretId, "no secret was configured"
        self.asked += 1
        return {"SecretString": self.secret}


class FakeEcs:
    """ECS with one cluster: keeps client tokens, counts versions, says what is MISSING."""

    ACCOUNT = "arn:aws:ecs:us-east-1:123456789012"

    def __init__(self, clock: Callable[[], int]) -> None:
        self._clock = clock
        self.tasks: dict[str, dict[str, Any]] = {}
        self.calls: list[tuple[str, dict[str, Any]]] = []
        self.error: Exception | None = None
        self.failures: list[str] = []
        self._launches: dict[str, tuple[dict[str, Any], str]] = {}

    def run_task(self, **params: Any) -> dict[str, Any]:
        """One task, or the failures that are due."""
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
        """The task, told to stop."""
        self._called("StopTask", params)
        if params["task"] not in self.tasks:
            raise aws_error("InvalidParameterException", 400, "StopTask")
        task = self.tasks[params["task"]]
        task |= {"desiredStatus": "STOPPED", "stoppedReason": params["reason"]}
        task["version"] += 1
        return {"task": copy.deepcopy(task)}

    def describe_tasks(self, **params: Any) -> dict[str, Any]:
        """The tasks it knows."""
        self._called("DescribeTasks", params)
        known = [self.tasks[task] for task in params["tasks"] if task in self.tasks]
        missing = [
            {"arn": f"{self.ACCOUNT}:task/{params['cluster']}/{task}", "reason": "MISSING"}
            for task in params["tasks"]
            if task not in self.tasks
        ]
        return {"tasks": copy.deepcopy(known), "failures": missing}

    def change(self, task: str, status: str, **values: Any) -> dict[str, Any]:
        """Have a task change; returns the event that EventBridge delivers."""
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
        """The parameters of the calls of an operation."""
        return [params for name, params in self.calls if name == operation]

    def _called(self, operation: str, params: dict[str, Any]) -> None:
        self.calls.append((operation, params))
        if self.error is not None:
            raise self.error

    def _now(self) -> datetime:
        return datetime.fromtimestamp(self._clock() / 1000, UTC)
