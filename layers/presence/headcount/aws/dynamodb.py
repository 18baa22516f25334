"""DynamoDB's JSON protocol, with the methods, results and errors of boto3's client.

Why not boto3's: it is a third of a second of every cold start, and four fifths of a beat's CPU.
`make bench-beat` shows both. Left out is what the stores don't use.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

from headcount.aws.http import Pool
from headcount.aws.services import error_of, out_of_reach
from headcount.aws.signing import Signer

TRIES = 4
FIRST_BACKOFF = 0.05
"""Seconds at most before the second try; twice as many before each further one."""

SERVICE = "dynamodb"
_TARGET = "DynamoDB_20120810."
_TRANSIENT = frozenset(
    {
        "InternalServerError",
        "LimitExceededException",
        "ProvisionedThroughputExceededException",
        "RequestLimitExceeded",
        "RequestTimeout",
        "ServiceUnavailable",
        "ThrottledException",
        "Throttling",
        "ThrottlingException",
        "TransactionInProgressException",
    }
)
_MEMBERS = ("Item", "CancellationReasons")
"""What errors carry that the stores read."""
_OPERATIONS = {
    "batch_get_item": "BatchGetItem",
    "batch_write_item": "BatchWriteItem",
    "delete_item": "DeleteItem",
    "get_item": "GetItem",
    "put_item": "PutItem",
    "query": "Query",
    "scan": "Scan",
    "transact_write_items": "TransactWriteItems",
    "update_item": "UpdateItem",
}


class DynamoDB:
    """A client of one region's DynamoDB, for any number of threads.

    Parameters and results are typed attributes, as boto3 has them, but that binary values come as
    their base64. Raises botocore's ``ClientError``, and its ``BotoCoreError`` when no answer came.
    ``sleep`` takes seconds, ``random`` gives 0 to 1, ``new_id`` a unique word.
    """

    def __init__(
        self,
        pool: Pool,
        signer: Signer,
        *,
        sleep: Callable[[float], None],
        random: Callable[[], float],
        new_id: Callable[[], str],
    ) -> None:
        self._pool = pool
        self._path = pool.endpoint.path or "/"
        self._signer = signer
        self._sleep = sleep
        self._random = random
        self._new_id = new_id

    def __getattr__(self, name: str) -> Callable[..., dict[str, Any]]:
        try:
            operation = _OPERATIONS[name]
        except KeyError:
            raise AttributeError(name) from None

        def call(**parameters: Any) -> dict[str, Any]:
            return self.call(operation, parameters)

        setattr(self, name, call)
        return call

    def get_paginator(self, name: str) -> Paginator:
        """All pages of a ``query`` or ``scan``."""
        return Paginator(getattr(self, name))

    def close(self) -> None:
        """Close the connections."""
        self._pool.close()

    def call(self, operation: str, parameters: dict[str, Any]) -> dict[str, Any]:
        """One operation, tried again while DynamoDB is busy or out of reach."""
        if operation == "TransactWriteItems":
            # A try whose answer got lost must not fail by its own success.
            parameters = {"ClientRequestToken": self._new_id(), **parameters}
        body = json.dumps(parameters, separators=(",", ":"), default=_binary).encode()
        for left in range(TRIES - 1, -1, -1):
            try:
                response = self._pool.request(
                    "POST", self._path, self._headers(operation, body), body
                )
            except OSError as error:
                if not left:
                    raise out_of_reach(error, self._pool.endpoint) from error
            else:
                if response.status == HTTPStatus.OK:
                    return json.loads(response.body)  # type: ignore[no-any-return]
                said = _said(response.body)
                code = str(said.get("__type", "")).rpartition("#")[2]
                busy = code in _TRANSIENT or response.status >= HTTPStatus.INTERNAL_SERVER_ERROR
                if not left or not busy:
                    message = str(said.get("message", said.get("Message", "")))
                    members = {name: said[name] for name in _MEMBERS if name in said}
                    raise error_of(operation, code, response.status, message, members)
            self._sleep(self._random() * FIRST_BACKOFF * 2 ** (TRIES - 1 - left))
        raise AssertionError("the last try raises")

    def _headers(self, operation: str, body: bytes) -> dict[str, str]:
        headers = self._signer.headers(
            "POST",
            self._path,
            body,
            {"host": self._pool.endpoint.authority, "x-amz-target": _TARGET + operation},
        )
        headers["content-type"] = "application/x-amz-json-1.0"
        return headers


@dataclass(frozen=True, slots=True)
class Paginator:
    """A query or scan whose pages follow each other."""

    operation: Callable[..., dict[str, Any]]

    def paginate(self, **parameters: Any) -> Iterator[dict[str, Any]]:
        """The answers, until one names no key to go on from."""
        while True:
            page = self.operation(**parameters)
            yield page
            if not page.get("LastEvaluatedKey"):
                return
            parameters["ExclusiveStartKey"] = page["LastEvaluatedKey"]


def _binary(value: object) -> str:
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    raise TypeError(f"{type(value).__name__} is no attribute's type")


def _said(body: bytes) -> dict[str, Any]:
    try:
        said = json.loads(body)
    except ValueError:
        return {}
    return said if isinstance(said, dict) else {}
