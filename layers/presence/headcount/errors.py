"""Errors that are returned to clients, and the one place that reads AWS's error codes."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any, cast


class RequestError(Exception):
    """An error for the client: ``message`` is a sentence that says how to fix it."""

    status = HTTPStatus.BAD_REQUEST

    def __init__(
        self,
        message: str,
        details: Sequence[str] = (),
        headers: dict[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.details = list(details)
        self.headers = headers or {}


class InvalidRequestError(RequestError):
    """400: the request can't be understood."""


class UnauthorizedError(RequestError):
    """401: a token is missing or not valid."""

    status = HTTPStatus.UNAUTHORIZED

    def __init__(self, message: str) -> None:
        super().__init__(message, headers={"WWW-Authenticate": 'Bearer realm="headcount"'})


class ForbiddenError(RequestError):
    """403: the token is valid and does not allow this."""

    status = HTTPStatus.FORBIDDEN


class NotFoundError(RequestError):
    """404."""

    status = HTTPStatus.NOT_FOUND


class MethodNotAllowedError(RequestError):
    """405: the path exists, the method does not."""

    status = HTTPStatus.METHOD_NOT_ALLOWED

    def __init__(self, method: str, path: str, allowed: Sequence[str]) -> None:
        allow = ", ".join(sorted(allowed))
        super().__init__(
            f"{method} does not work on {path}; use {allow}.", headers={"Allow": allow}
        )


class ConflictError(RequestError):
    """409: the request is valid, but the current state does not allow it."""

    status = HTTPStatus.CONFLICT


class TooLargeError(RequestError):
    """413: the body is over the limit."""

    status = HTTPStatus.REQUEST_ENTITY_TOO_LARGE


class RateLimitError(RequestError):
    """429: too many messages in too short a time; this one was not stored."""

    status = HTTPStatus.TOO_MANY_REQUESTS

    def __init__(self, message: str, seconds: int) -> None:
        super().__init__(message, headers={"Retry-After": str(seconds)})


class BusyError(RequestError):
    """503: a dependency is throttled or down; nothing was stored, the client may retry."""

    status = HTTPStatus.SERVICE_UNAVAILABLE

    def __init__(self, message: str = "The service is busy. Try again in a few seconds.") -> None:
        super().__init__(message, headers={"Retry-After": "5"})


class UpstreamError(RequestError):
    """502: a service behind this one refuses. A retry does not help, a fix does."""

    status = HTTPStatus.BAD_GATEWAY


class UnexpectedError(RequestError):
    """500: a bug in this service."""

    status = HTTPStatus.INTERNAL_SERVER_ERROR


class RefusedError(Exception):
    """A call that AWS refused, as this package's own client of DynamoDB raises it.

    ``response`` is that of botocore's ClientError, whose import takes a tenth of a beat's start.
    """

    def __init__(self, operation: str, response: Mapping[str, Any]) -> None:
        error = response["Error"]
        super().__init__(f"{operation}: {error['Code']}: {error['Message']}")
        self.response = response


class UnansweredError(Exception):
    """A call of that client without a response, which may have taken effect."""


def refusals() -> tuple[type[Exception], ...]:
    """What refused calls raise, for an ``except`` clause, which is evaluated when something was
    raised. A library that was never imported can't have raised it."""
    botocore = sys.modules.get("botocore.exceptions")
    return (RefusedError,) if botocore is None else (RefusedError, botocore.ClientError)


def failures(*others: type[Exception]) -> tuple[type[Exception], ...]:
    """What failed calls raise: ``refusals``, and calls without a response; and these others."""
    botocore = sys.modules.get("botocore.exceptions")
    own = (UnansweredError,) if botocore is None else (UnansweredError, botocore.BotoCoreError)
    return (*refusals(), *own, *others)


CONDITION_FAILED = "ConditionalCheckFailed"
"""The reason code of a transaction's action whose condition did not hold."""

THROTTLED = "ProvisionedThroughputExceededException"
"""DynamoDB's error code if it processes nothing of a batch."""

_CONDITION = "ConditionalCheckFailedException"
_CANCELED = "TransactionCanceledException"
_DENIED = frozenset({"AccessDeniedException", "AccessDenied", "UnauthorizedOperation"})
_BUSY = frozenset(
    {
        THROTTLED,
        "ThrottlingException",
        "ThrottledException",
        "TooManyRequestsException",
        "RequestLimitExceeded",
        "LimitExceededException",
        "InternalServerError",
        "InternalServerErrorException",
        "ServiceUnavailable",
        "ServiceUnavailableException",
        "TransactionInProgressException",
        "TransactionConflictException",
    }
)


def response_of(error: Exception) -> Mapping[str, Any]:
    """The response to a refused call; empty for an error of another kind."""
    return cast("Mapping[str, Any]", getattr(error, "response", None) or {})


def code(error: Exception) -> str:
    """The AWS error code of a refused call."""
    return str(response_of(error).get("Error", {}).get("Code", ""))


def condition_failed(error: Exception) -> bool:
    """A write's condition did not hold."""
    return code(error) == _CONDITION


def cancellation_reasons(error: Exception) -> list[str] | None:
    """One code per action of a cancelled transaction (``"None"``: that action was fine); None if
    the error is another one."""
    if code(error) != _CANCELED:
        return None
    reasons = response_of(error).get("CancellationReasons", [])
    return [reason.get("Code", "None") for reason in reasons]


_PASSING_REASONS = frozenset(
    {"None", "TransactionConflict", "ThrottlingError", "ProvisionedThroughputExceeded"}
)


def others_in_the_way(error: Exception) -> bool:
    """A transaction was cancelled only because of concurrent writes to its rows, or throttling: a
    retry may succeed in a moment."""
    reasons = cancellation_reasons(error)
    return bool(reasons) and _PASSING_REASONS.issuperset(reasons or ())


def is_denied(error: Exception) -> bool:
    """Our role, or a role that it may pass, does not allow the call."""
    return code(error) in _DENIED


def token_reused(error: Exception) -> bool:
    """The client token was used before, for a call with other parameters."""
    return code(error) == "ConflictException"


def is_busy(error: Exception) -> bool:
    """Throttled, or temporarily down: worth a retry later."""
    return (
        code(error) in _BUSY
        or _http_status(error) >= HTTPStatus.INTERNAL_SERVER_ERROR
        or others_in_the_way(error)
    )


def is_gone(error: Exception) -> bool:
    """The WebSocket connection does not exist: no longer, or not yet."""
    return code(error) in {"GoneException", "410"} or _http_status(error) == HTTPStatus.GONE


def is_throttled(error: Exception) -> bool:
    """The WebSocket API throttles calls at the moment, for all connections."""
    return _http_status(error) == HTTPStatus.TOO_MANY_REQUESTS


_REFUSED_ENTRIES = frozenset({"InvalidArgument", "MalformedDetail"})


def refuses_entry(error_code: str) -> bool:
    """EventBridge will never accept this entry, because the entry itself is invalid."""
    return error_code in _REFUSED_ENTRIES


def _http_status(error: Exception) -> int:
    return int(response_of(error).get("ResponseMetadata", {}).get("HTTPStatusCode", 0))
