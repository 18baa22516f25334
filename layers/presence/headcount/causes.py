"""What a count or a version waited for: the way from a beat to the dashboards, by request. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from headcount.session import Session
from headcount.times import MINUTE

MEMORY = 10 * MINUTE
"""What changed longer ago is not what a recount came for: its count was lost and is made anew."""


@dataclass(frozen=True, slots=True)
class Cause:
    """A join, change or leave: the request that made it, and when (epoch milliseconds)."""

    request: str
    at: int


def cause_of(rows: Iterable[Session], *, since: int, now: int) -> Cause | None:
    """Of what changed ``since`` the count before, what waited longest; None: nothing did."""
    since = max(since, now - MEMORY)
    changed = [row for row in rows if row.changed_at > since]
    return _oldest(Cause(row.request, row.changed_at) for row in changed)


def first_of(causes: Iterable[Cause | None]) -> Cause | None:
    """The one that waited longest."""
    return _oldest(cause for cause in causes if cause is not None)


def said(cause: Cause | None) -> dict[str, str]:
    """A cause as a line of the log names it."""
    return {"cause": cause.request} if cause is not None else {}


def _oldest(causes: Iterable[Cause]) -> Cause | None:
    return min(causes, key=lambda cause: (cause.at, cause.request), default=None)
