"""What a deployment tells others: joins, leaves, alerts and days. Pure.

docs/events.schema.json is the schema of ``Event.detail``, and docs/events.md says what is promised.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from headcount.headcounts import PRIVATE, Headcount
from headcount.times import DAY, SECOND, day_start, iso
from headcount.visits import Day, Visit

SCHEMA = 1
"""Grows when a field changes its meaning or goes; new fields may come at any time."""

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

    ``key`` tells it from all others of its type in that space, however often it is found.
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
        """What is told of it: its number in the space is ``seq``."""
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


def of_visit(old: Visit | None, new: Visit, day: str) -> list[Event]:
    """What a write of the ledger's row of a UTC day says: that a visit began, ended, or both.

    A stay over midnight has a row in each day. Only that of the first says anything.
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


def visit_body(visit: Visit) -> dict[str, Any]:
    """What is told of a visit while it lasts: ids and when it began, nothing else of anybody."""
    return {
        "id": visit.id,
        "joinedAt": iso(visit.joined_at),
        "userId": visit.user,
        "visitorId": visit.visitor,
    }


def of_headcount(headcount: Headcount) -> list[Event]:
    """The alerts that a version sets off."""
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


def of_day(space: str, day: Day) -> list[Event]:
    """A day's summary. One that comes out otherwise when it is made again is told again."""
    body = day.body()
    engagement = body["engagement"]
    body["engagement"] = {
        name: engagement[name] for name in engagement if not name.startswith(PRIVATE)
    }
    key = json.dumps(body, sort_keys=True)
    return [Event(space, "day", key, day_start(day.date) + DAY, {"day": body})]
