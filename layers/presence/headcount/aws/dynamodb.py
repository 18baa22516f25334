"""A client of DynamoDB's JSON protocol with the methods, results and errors of boto3's client.

It replaces boto3's because that takes a third of a second of every cold start, and four fifths of a
beat's CPU; `make bench-beat` shows both. It has only what the stores use.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from http import HTTPStatus
from typing import Any

from msgspec import Raw, Struct, json

from headcount.aws.services import refusal_in
from headcount.aws.signing import Signer
from headcount.aws.wire import Pool
from headcount.errors import UnansweredError, code

TRIES = 4
FIRST_BACKOFF = 0.05
"""The longest wait before the second try, in seconds; it doubles before each further try."""

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
        "TransactionConflictException",
        "TransactionInProgressException",
    }
)
_encode, _decode = json.Encoder().encode, json.Decoder().decode  # bytes as base64
_ERROR_MEMBERS = ("Item", "CancellationReasons")
"""The members of errors that the stores read."""
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


class _RawPage(Struct, gc=False):
    """A query's answer."""

    Items: list[Raw]
    LastEvaluatedKey: dict[str, Any] | None = None


_decode_raw = json.Decoder(_RawPage).decode


class DynamoDB:
    """A client of one region's DynamoDB, for any number of threads.

    Parameters and results are typed attributes as in boto3, but binary values are returned
    in base64. Raises RefusedError, whose response is as botocore's, and UnansweredError.
    ``sleep`` takes seconds, ``random`` returns 0 to 1, ``new_id`` a unique string.
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
            answer: dict[str, Any] = self.call(operation, parameters)
            return answer

        setattr(self, name, call)
        return call

    def query_raw(self, **parameters: Any) -> dict[str, Any]:
        """``query`` with each item as JSON: thousands of rows are compared, and few are read."""
        page = self.call("Query", parameters, _decode_raw)
        return {"Items": [*map(bytes, page.Items)], "LastEvaluatedKey": page.LastEvaluatedKey}

    def get_paginator(self, name: str) -> Paginator:
        """A paginator of ``query``, ``query_raw`` or ``scan``."""
        return Paginator(getattr(self, name))

    def close(self) -> None:
        """Close the connections."""
        self._pool.close()

    def call(
        self,
        operation: str,
        parameters: dict[str, Any],
        decode: Callable[[bytes], Any] = _decode,
    ) -> Any:
        """Call an operation, with retries while DynamoDB is busy or unreachable."""
        if operation == "TransactWriteItems":
            # A retry after a lost response must not fail because the first try succeeded.
            parameters = {"ClientRequestToken": self._new_id(), **parameters}
        body = _encode(parameters)
        for left in range(TRIES - 1, -1, -1):
            try:
                response = self._pool.request(
                    "POST", self._path, self._headers(operation, body), body
                )
            except OSError as error:
                if not left:
                    raise UnansweredError(str(error)) from error
            else:
                if response.status == HTTPStatus.OK:
                    return decode(response.body)
                refusal = refusal_in(operation, response, _ERROR_MEMBERS)
                server_failed = response.status >= HTTPStatus.INTERNAL_SERVER_ERROR
                if not left or not (server_failed or code(refusal) in _TRANSIENT):
                    raise refusal
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


class Paginator(Struct, frozen=True):
    """Follows a query or scan from page to page."""

    operation: Callable[..., dict[str, Any]]

    def paginate(self, **parameters: Any) -> Iterator[dict[str, Any]]:
        """The results, page by page, up to the last."""
        while True:
            page = self.operation(**parameters)
            yield page
            if not page.get("LastEvaluatedKey"):
                return
            parameters["ExclusiveStartKey"] = page["LastEvaluatedKey"]
