"""The cause of a count or a version: a request's way from the beat to the dashboards. Pure.

Each row of the Presence table names the request that wrote it. A recount keeps the oldest of those
that it is the first to count, and the version made from it carries it on: so one query of the logs
follows a request, and the time from a join to its push can be measured.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from headcount.model.session import Session
from headcount.times import MINUTE

MEMORY = 10 * MINUTE
"""A change older than this did not cause a recount: its own count was lost, and is made again."""


@dataclass(frozen=True, slots=True)
class Cause:
    """A join, change or leave: the request that made it, and when (epoch milliseconds)."""

    request: str
    at: int


def cause_of(rows: Iterable[Session], *, since: int, now: int) -> Cause | None:
    """The oldest change after ``since``, the time of the last count; None if there is none."""
    since = max(since, now - MEMORY)
    changed = [row for row in rows if row.changed_at > since]
    return _oldest(Cause(row.request, row.changed_at) for row in changed)


def oldest_of(causes: Iterable[Cause | None]) -> Cause | None:
    """The oldest of these causes."""
    return _oldest(cause for cause in causes if cause is not None)


def log_fields(cause: Cause | None) -> dict[str, str]:
    """The fields of a log line that name a cause; empty for None."""
    return {"cause": cause.request} if cause is not None else {}


def _oldest(causes: Iterable[Cause]) -> Cause | None:
    return min(causes, key=lambda cause: (cause.at, cause.request), default=None)
