"""The structured logger, built when the first line is written: a beat logs nothing.

Each line carries the id of the event that the process is handling, as ``correlation_id``.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from functools import cache, wraps
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    import logging

    from aws_lambda_powertools import Logger

Result = TypeVar("Result")

SPACES = ("space", "row")
"""The fields of a line that name a space, or a row of one."""

_USUAL_ID = "main"
_HASH_BYTES = 6

handling: list[Mapping[str, Any]] = []
"""The events that this process is handling, the latest last: one on Lambda, in as many threads as
its handler likes. Its id is read from it when a line is written, not before. Each handler takes out
its own event, so that none stays when several overlap."""


def logger() -> Logger:
    """A logger of JSON lines. Pass it spaces, versions and counts; never tokens, names, emails or
    IP addresses."""
    made = _logger()
    made.set_correlation_id(correlation_id(handling[-1]) if handling else None)
    return made


def correlated(
    handler: Callable[[Mapping[str, Any], Any], Result],
) -> Callable[[Mapping[str, Any], Any], Result]:
    """Have the lines of a handler carry the id of its event, and those after it none."""

    @wraps(handler)
    def handle(event: Mapping[str, Any], context: Any) -> Result:
        handling.append(event)
        try:
            return handler(event, context)
        finally:
            handling.remove(event)

    return handle


def correlation_id(event: Mapping[str, Any]) -> str | None:
    """An event's id: API Gateway's of a request, the first record's of a batch (a stream's event,
    a queue's message), otherwise EventBridge's."""
    if "requestContext" in event:
        return str(event["requestContext"]["requestId"])
    for record in event.get("Records", ()):
        return record.get("eventID") or record.get("messageId")  # type: ignore[no-any-return]
    return event.get("id")


@cache
def _logger() -> Logger:
    from aws_lambda_powertools import Logger

    made = Logger(service="headcount")
    made.addFilter(_without_ids)
    return made


class SpaceNames:
    """How lines name spaces: by their id if it is declared, else by a hash of it, because clients
    choose ids, and an erasure does not reach the logs."""

    def __init__(self) -> None:
        self._is_declared: Callable[[str], bool] = lambda _: False
        self._key: Callable[[], str] = str

    def use(self, is_declared: Callable[[str], bool], key: Callable[[], str]) -> None:
        """Name spaces of a deployment. ``key``: its stack's name, so that hashes differ."""
        self._is_declared, self._key = is_declared, key

    def __call__(self, space: str) -> str:
        """The name of a space, or of a row of one (``site:main#0``)."""
        name, mark, rest = space.partition("#")
        kind, colon, id_ = name.partition(":")
        if not colon or id_ == _USUAL_ID or self._is_declared(name):
            return space
        hashed = hashlib.blake2b(
            id_.encode(errors="replace"), digest_size=_HASH_BYTES, key=self._key().encode()[:64]
        )
        return f"{kind}:~{hashed.hexdigest()}{mark}{rest}"


name_of = SpaceNames()


def without_ids(fields: dict[str, Any]) -> dict[str, Any]:
    """A line's fields, with spaces named as ``name_of`` does."""
    return {
        key: name_of(value) if key in SPACES and isinstance(value, str) else value
        for key, value in fields.items()
    }


def _without_ids(record: logging.LogRecord) -> bool:
    for field in SPACES:
        value = getattr(record, field, None)
        if isinstance(value, str):
            setattr(record, field, name_of(value))
    return True
