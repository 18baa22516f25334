"""In-memory stand-ins for the services that are not DynamoDB."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Callable
from typing import Any

from botocore.exceptions import ClientError, ReadTimeoutError

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
        self.before_post: Callable[[], object] = lambda: None
        self.after_post: Callable[[], object] = lambda: None

    def go(self, connection: str, *, times: int = 1_000_000) -> None:
        """Answer 410 for a connection, for the next ``times`` posts."""
        self.gone[connection] = times

    def fail(self, connection: str, *, times: int = 1_000_000) -> None:
        """Time out for a connection, for the next ``times`` posts."""
        self.failing[connection] = times

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
            raise ReadTimeoutError(endpoint_url="https://example.test")
        self.frames[ConnectionId].append(frame)
        self.after_post()

    def delete_connection(self, *, ConnectionId: str) -> None:  # noqa: N803
        """Close; gone ones say so."""
        self.closed.append(ConnectionId)
        if ConnectionId in self.gone:
            raise aws_error("GoneException", 410, "DeleteConnection")


class FakeQueue:
    """A FIFO queue: deduplicates, keeps the order of each message group."""

    def __init__(self) -> None:
        self.messages: list[dict[str, Any]] = []
        self._seen: set[tuple[str, str]] = set()

    def send_message(
        self,
        *,
        QueueUrl: str,  # noqa: N803
        MessageBody: str,  # noqa: N803
        MessageGroupId: str,  # noqa: N803
        MessageDeduplicationId: str,  # noqa: N803
    ) -> None:
        """Take a message unless its group has seen it (DeduplicationScope: messageGroup)."""
        assert len(MessageBody.encode()) < 256 * 1024
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
                    "SequenceNumber": f"{len(self._seen):020d}",
                    "MessageGroupId": MessageGroupId,
                    "MessageDeduplicationId": MessageDeduplicationId,
                },
                "messageAttributes": {},
                "eventSource": "aws:sqs",
                "eventSourceARN": f"arn:aws:sqs:us-east-1:123456789012:{QueueUrl}",
                "awsRegion": "us-east-1",
            }
        )

    def take(self) -> dict[str, Any] | None:
        """The next message as an event of one record (the template's batch size), or None."""
        return {"Records": [self.messages.pop(0)]} if self.messages else None


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
