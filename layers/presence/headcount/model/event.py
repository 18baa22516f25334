"""Events for other systems: joins, leaves, alerts and days. Pure.

docs/events.schema.json is the schema of ``Event.detail``; docs/events.md has the guarantees.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from headcount.model.headcount import PRIVATE_PREFIX, Headcount
from headcount.model.visit import Day, Visit
from headcount.times import DAY, SECOND, day_start, iso

if TYPE_CHECKING:
    from headcount.web import answers

SCHEMA = 1
"""Grows when a field changes its meaning or is removed; fields may be added at any time."""

NAMES: Mapping[str, str] = {
    "joined": "Visit Joined",
    "left": "Visit Left",
    "milestone": "Milestone Reached",
    "spike": "Spike Seen",
    "day": "Day Summarised",
}
"""type -> EventBridge's detail-type."""


@dataclass(frozen=True, slots=True)
class Event:
    """Something that happened in a space at a moment (epoch milliseconds).

    ``key`` is unique among the events of its type in that space, and the same each time that the
    event is found.
    """

    space: str
    type: str
    key: str
    at: int
    data: Mapping[str, Any]

    @property
    def id(self) -> str:
        """24 hexadecimal digits, the same for the same event."""
        text = f"{self.space}\0{self.type}\0{self.key}"
        return hashlib.blake2b(text.encode(), digest_size=12).hexdigest()

    def detail(self, stack: str, seq: int) -> dict[str, Any]:
        """The event as it is sent. ``seq`` is its number in the space."""
        return {
            "schema": SCHEMA,
            "id": self.id,
            "type": self.type,
            "stack": stack,
            "space": self.space,
            "seq": seq,
            "at": iso(self.at),
            **self.data,
        }


def visit_events(old: Visit | None, new: Visit, day: str) -> list[Event]:
    """The events of a write to the ledger's row of a UTC day: the visit began, ended, or both.

    A visit over midnight has a row in each day. Only writes to the first day's row are events.
    """
    if day != new.day:
        return []
    events = []
    if old is None:
        events.append(Event(new.space, "joined", new.id, new.joined_at, {"visit": visit_body(new)}))
    if new.ended_at is not None and (old is None or old.ended_at is None):
        ended = {
            **visit_body(new),
            "leftAt": iso(new.ended_at),
            "endedBy": new.ended_by,
            "seconds": max(0, new.ended_at - new.joined_at) // SECOND,
        }
        events.append(Event(new.space, "left", new.id, new.ended_at, {"visit": ended}))
    return events


def visit_body(visit: Visit) -> answers.Visit:
    """A visit that has not ended: ids and the time of its join, no other personal data."""
    return {
        "id": visit.id,
        "joinedAt": iso(visit.joined_at),
        "userId": visit.user,
        "verified": bool(visit.verified),
        "visitorId": visit.visitor,
    }


def headcount_events(headcount: Headcount) -> list[Event]:
    """The alerts that a version triggers."""
    alerts = [one["alert"] for one in headcount.messages() if one["type"] == "alert"]
    return [
        Event(
            headcount.space,
            alert["type"],
            alert["id"],
            headcount.as_of,
            {
                "version": headcount.version,
                "alert": {name: alert[name] for name in alert if name not in {"id", "type"}},
            },
        )
        for alert in alerts
    ]


def day_events(space: str, day: Day) -> list[Event]:
    """A day's summary. If the day is summarised again with other numbers, it is a new event."""
    body = day.body()
    engagement = body["engagement"]
    body["engagement"] = {
        name: engagement[name] for name in engagement if not name.startswith(PRIVATE_PREFIX)
    }
    key = json.dumps(body, sort_keys=True)
    return [Event(space, "day", key, day_start(day.date) + DAY, {"day": body})]
