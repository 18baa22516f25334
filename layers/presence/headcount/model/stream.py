"""Registered streams, and how registering, starting and stopping change them. Pure."""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum

KIND = "stream"


class Status(StrEnum):
    """A stream's status."""

    IDLE = "idle"  # registered, not started yet
    LIVE = "live"
    STOPPED = "stopped"


@dataclass(frozen=True, slots=True)
class Stream:
    """A registered stream. Times are epoch milliseconds; ``version`` grows with every write."""

    id: str
    created_at: int
    title: str | None = None
    channel: str | None = None
    event: str | None = None
    status: Status = Status.IDLE
    started_at: int | None = None  # the latest start
    stopped_at: int | None = None  # None while live
    version: int = 1

    @property
    def space(self) -> str:
        """The space of its viewers."""
        return space_of(self.id)


def space_of(stream: str) -> str:
    """``stream:<id>``."""
    return f"{KIND}:{stream}"


def stream_in(space: str) -> str:
    """The inverse of ``space_of``."""
    return space.partition(":")[2]


def registered(
    old: Stream | None,
    stream: str,
    *,
    title: str | None = None,
    channel: str | None = None,
    event: str | None = None,
    now: int,
) -> Stream:
    """The stream after it was registered. Registering again keeps its status and omitted fields."""
    if old is None:
        return Stream(stream, now, title, channel, event)
    return _written(
        old,
        replace(
            old,
            title=title if title is not None else old.title,
            channel=channel if channel is not None else old.channel,
            event=event if event is not None else old.event,
        ),
    )


def started(old: Stream | None, stream: str, *, now: int) -> Stream:
    """The stream after a start, which also registers it; a live one stays as it is."""
    if old is None:
        return Stream(stream, now, status=Status.LIVE, started_at=now)
    if old.status is Status.LIVE:
        return old
    return _written(old, replace(old, status=Status.LIVE, started_at=now, stopped_at=None))


def stopped(old: Stream, *, now: int) -> Stream:
    """The stream after a stop; a stopped one stays as it is."""
    if old.status is Status.STOPPED:
        return old
    return _written(old, replace(old, status=Status.STOPPED, stopped_at=now))


def _written(old: Stream, new: Stream) -> Stream:
    return old if new == old else replace(new, version=old.version + 1)
