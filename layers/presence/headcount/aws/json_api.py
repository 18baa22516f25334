"""A client of the AWS services that speak JSON, with boto3's methods and results.

It replaces boto3's for queues, the bus and secrets, because every function that counts or publishes
needs one with its first event, and boto3's takes as long to build as 25 bare interpreters take to
start; `make bench-cold-start` shows what is left. It has only what this package calls.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from datetime import datetime
from http import HTTPStatus
from typing import Any

from msgspec import Struct

from headcount.aws.services import refusal_in
from headcount.aws.signing import Signer
from headcount.aws.wire import Pool, Response
from headcount.errors import UnansweredError, code

TRIES = 3
FIRST_BACKOFF = 0.1
"""The longest wait before the second try, in seconds; it doubles before the third."""

_THROTTLED = frozenset(
    {
        "LimitExceededException",
        "RequestLimitExceeded",
        "RequestThrottled",
        "RequestThrottledException",
        "ThrottledException",
        "Throttling",
        "ThrottlingException",
        "TooManyRequestsException",
    }
)


class Service(Struct, frozen=True):
    """A service: its name in addresses and signatures, and its calls by boto3's name."""

    name: str
    target: str
    version: str
    operations: Mapping[str, str]


SQS = Service(
    "sqs",
    "AmazonSQS",
    "1.0",
    {
        "send_message": "SendMessage",
        "change_message_visibility": "ChangeMessageVisibility",
    },
)
EVENTBRIDGE = Service("events", "AWSEvents", "1.1", {"put_events": "PutEvents"})
SECRETS_MANAGER = Service(
    "secretsmanager", "secretsmanager", "1.1", {"get_secret_value": "GetSecretValue"}
)


class JsonApi:
    """A client of one service in one region, for any number of threads.

    Raises RefusedError, whose response is as botocore's, and UnansweredError. A call whose response
    is lost is sent again, so it may take effect twice. ``sleep`` takes seconds, ``random`` returns
    0 to 1.
    """

    def __init__(
        self,
        service: Service,
        pool: Pool,
        signer: Signer,
        *,
        sleep: Callable[[float], None],
        random: Callable[[], float],
    ) -> None:
        self._service = service
        self._pool = pool
        self._path = pool.endpoint.path or "/"
        self._signer = signer
        self._sleep = sleep
        self._random = random

    def __getattr__(self, name: str) -> Callable[..., dict[str, Any]]:
        try:
            operation = self._service.operations[name]
        except KeyError:
            raise AttributeError(name) from None
        return lambda **parameters: self._call(operation, parameters)

    def close(self) -> None:
        """Close the connections."""
        self._pool.close()

    def _call(self, operation: str, parameters: Mapping[str, Any]) -> dict[str, Any]:
        body = json.dumps(parameters, separators=(",", ":"), default=_seconds).encode()
        for tried in range(1, TRIES + 1):
            try:
                response = self._request(operation, body)
            except OSError as error:
                if tried == TRIES:
                    raise UnansweredError(str(error)) from error
            else:
                if response.status == HTTPStatus.OK:
                    return json.loads(response.body or b"{}")  # type: ignore[no-any-return]
                refusal = refusal_in(operation, response)
                server_failed = response.status >= HTTPStatus.INTERNAL_SERVER_ERROR
                if tried == TRIES or not (server_failed or code(refusal) in _THROTTLED):
                    raise refusal
            self._sleep(self._random() * FIRST_BACKOFF * 2 ** (tried - 1))
        raise AssertionError("the last try raises")

    def _request(self, operation: str, body: bytes) -> Response:
        target = f"{self._service.target}.{operation}"
        signed = {"host": self._pool.endpoint.authority, "x-amz-target": target}
        headers = self._signer.headers("POST", self._path, body, signed)
        headers["content-type"] = f"application/x-amz-json-{self._service.version}"
        return self._pool.request("POST", self._path, headers, body)


def _seconds(value: object) -> float:
    if isinstance(value, datetime):
        return value.timestamp()
    raise TypeError(f"{type(value).__name__} can't be sent")
