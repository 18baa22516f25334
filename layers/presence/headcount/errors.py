"""Errors a client can mend, and the one place that reads AWS's error codes."""

from __future__ import annotations

from collections.abc import Sequence
from http import HTTPStatus
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from botocore.exceptions import ClientError


class RequestError(Exception):
    """What the caller did wrong, or must wait for, in a sentence that says how to mend it."""

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
    """409: the request is right, the deployment's state does not allow it."""

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
    """503: a dependency is throttled or down; nothing was stored, the client may try again."""

    status = HTTPStatus.SERVICE_UNAVAILABLE

    def __init__(self, message: str = "The service is busy. Try again in a few seconds.") -> None:
        super().__init__(message, headers={"Retry-After": "5"})


class UpstreamError(RequestError):
    """502: a service behind this one refuses; trying again won't help, mending will."""

    status = HTTPStatus.BAD_GATEWAY


class UnexpectedError(RequestError):
    """500: a fault of ours."""

    status = HTTPStatus.INTERNAL_SERVER_ERROR


_CONDITION = "ConditionalCheckFailedException"
_CANCELED = "TransactionCanceledException"
_DENIED = frozenset({"AccessDeniedException", "AccessDenied", "UnauthorizedOperation"})
_BUSY = frozenset(
    {
        "ProvisionedThroughputExceededException",
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


def code(error: ClientError) -> str:
    """The AWS error code of a botocore error."""
    return str(error.response.get("Error", {}).get("Code", ""))


def condition_failed(error: ClientError) -> bool:
    """A write's condition did not hold."""
    return code(error) == _CONDITION


def cancellation_reasons(error: ClientError) -> list[str] | None:
    """One code per action of a cancelled transaction (``None`` = that action was fine)."""
    if code(error) != _CANCELED:
        return None
    reasons = error.response.get("CancellationReasons", [])
    return [reason.get("Code", "None") for reason in reasons]


def is_denied(error: ClientError) -> bool:
    """Our role, or what it may pass on, does not allow the call."""
    return code(error) in _DENIED


def token_reused(error: ClientError) -> bool:
    """The client token was used before, for a call with other parameters."""
    return code(error) == "ConflictException"


def is_busy(error: ClientError) -> bool:
    """Throttled, or down for the moment: worth another try later."""
    return code(error) in _BUSY or _http_status(error) >= HTTPStatus.INTERNAL_SERVER_ERROR


def is_gone(error: ClientError) -> bool:
    """The WebSocket connection does not exist (any more, or not yet)."""
    return code(error) in {"GoneException", "410"} or _http_status(error) == HTTPStatus.GONE


def is_throttled(error: ClientError) -> bool:
    """The WebSocket API takes no more calls for the moment, whichever connection they are for."""
    return _http_status(error) == HTTPStatus.TOO_MANY_REQUESTS


_REFUSED_ENTRIES = frozenset({"InvalidArgument", "MalformedDetail"})


def refuses_entry(error_code: str) -> bool:
    """EventBridge will not take this entry however often it is put: the entry is wrong itself."""
    return error_code in _REFUSED_ENTRIES


def _http_status(error: ClientError) -> int:
    return int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))
