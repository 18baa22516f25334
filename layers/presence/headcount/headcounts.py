"""The published numbers of a space, and what the next publication makes of them. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from headcount.alerts import Memory, Rule, Seen, alert_id, watch
from headcount.moderation import Denied, Notice, Removal, denied_by, shown
from headcount.tally import Tally, ranked
from headcount.times import (
    CLOCK_WAS_WRONG,
    CLOCKS_DIFFER,
    MINUTE,
    add_days,
    day_of,
    day_start,
    iso,
    month_of,
    week_of,
)

PRIVATE = "$"
"""What engagement's names begin with that are nobody's to see but admins', such as revenue: no beat
can say them, and the counts of a space, which may be public, leave them out."""


CHUNKING_LINGERS = 90 * MINUTE
"""How long small audiences go on hearing in chunks after a large one did: for the hour that a chunk
may wait in the queue to be tried again, and the third of this by which the mark may be old."""

LONGEST_PACE = 2 * MINUTE
"""How long a version may wait at most for the fan-out to come to the one before the last: as many
spaces as are told within this time do not outrun it."""


@dataclass(frozen=True, slots=True)
class Peak:
    """The highest number of people ever published, and when (epoch milliseconds)."""

    people: int
    at: int


@dataclass(frozen=True, slots=True)
class Views:
    """Joins: all of them, and per UTC day, ISO week and calendar month."""

    total: int = 0
    by_period: Mapping[str, int] = field(
        default_factory=dict
    )  # "2026-11-21", "2026-W47", "2026-11"

    def at(self, now: int) -> dict[str, int]:
        """``{total, today, week, month}`` as of a moment."""
        today = day_of(now)
        return {
            "total": self.total,
            "today": self.by_period.get(today, 0),
            "week": self.by_period.get(week_of(today), 0),
            "month": self.by_period.get(month_of(today), 0),
        }

    def kept(self, now: int) -> Views:
        """Only what ``at`` can still ask for: the periods of this moment."""
        current = periods_of(day_of(now))
        return Views(
            self.total,
            {name: self.by_period[name] for name in current if name in self.by_period},
        )


@dataclass(frozen=True, slots=True)
class Engagement:
    """What people did, by name (chat, reaction, ...): in all, and per UTC day.

    Of visits that go on, only what their beats say so far, and not yet in any day.
    """

    totals: Mapping[str, float] = field(default_factory=dict)
    by_day: Mapping[str, Mapping[str, float]] = field(default_factory=dict)

    def with_live(self, live: Mapping[str, float]) -> Mapping[str, float]:
        """The totals, the visits that go on included."""
        names = sorted({*self.totals, *live})
        return {name: self.totals.get(name, 0) + live.get(name, 0) for name in names}


@dataclass(frozen=True, slots=True)
class Reading:
    """What a server reports of a space (epoch milliseconds): bandwidth, load, ..."""

    at: int
    numbers: Mapping[str, float]


def periods_of(day: str) -> tuple[str, str, str]:
    """The day, week and month a view on that day counts in."""
    return day, week_of(day), month_of(day)


@dataclass(frozen=True, slots=True)
class Headcount:
    """One published version of a space."""

    space: str
    version: int = 0
    tally: Tally = field(default_factory=Tally)
    views: Views = field(default_factory=Views)
    peak: Peak | None = None
    day_peaks: Mapping[str, int] = field(default_factory=dict)  # the last few UTC days
    as_of: int = 0
    shards: int = 1  # sessions may be in shards below this one, whatever the parameter says
    cause: str | None = None  # sequence number of the Counts record that led to this version
    left_at: int = 0  # when a later record, the cause since then, was left for later
    chunked_at: int = 0  # when a version last left in chunks (roughly)
    peak_sessions: int = 0  # the highest number of sessions ever published
    avg_seconds: int | None = None  # of the last 100 visits; None when none has ended
    engagement: Mapping[str, float] = field(default_factory=dict)
    engagement_today: Mapping[str, float] = field(default_factory=dict)  # of the day of ``as_of``
    readings: Mapping[str, Reading] = field(default_factory=dict)
    notice: Notice | None = None  # the message to everyone
    denied: Denied = field(default_factory=dict)
    alerts: Memory = field(default_factory=Memory)
    news: Sequence[Mapping[str, Any]] = ()  # what this version has to say beside its numbers
    readable: bool = True  # False: its row can't be read, so all but the version stands empty

    def in_chunks(self, now: int) -> bool:
        """Whether dashboards hear versions in chunks."""
        return self.chunked_at + CHUNKING_LINGERS >= now

    def notice_at(self, now: int) -> Notice | None:
        """The message to everyone, while it is shown."""
        return shown(self.notice, now)

    def body(self, now: int) -> dict[str, Any]:
        """The body of ``GET /v1/spaces/{space}``: also a dashboard's ``data``."""
        tally = self.tally
        notice = self.notice_at(now)
        return {
            "success": True,
            "space": self.space,
            "people": tally.people,
            "signedIn": tally.signed_in,
            "anonymous": tally.anonymous,
            "sessions": tally.sessions,
            "signedInSessions": tally.signed_in_sessions,
            "anonymousSessions": tally.anonymous_sessions,
            "facets": {
                facet: [
                    {"value": value, "count": count, "people": people}
                    for value, (count, people) in ranked(values)
                ]
                for facet, values in tally.facets.items()
            },
            "peak": {"people": self.peak.people, "at": iso(self.peak.at)} if self.peak else None,
            "peakSessions": self.peak_sessions,
            "avgSeconds": self.avg_seconds,
            "quality": {
                name: {"sessions": number, "mean": round(total / number, 3)}
                for name, (number, total) in tally.quality.items()
            },
            "engagement": {
                name: number
                for name, number in self.engagement.items()
                if not name.startswith(PRIVATE)
            },
            "views": self.views.at(now),
            "version": self.version,
            "asOf": self._as_of(now),
            **({"notice": notice.body()} if notice is not None else {}),
        }

    def messages(self) -> list[dict[str, Any]]:
        """What a dashboard hears right after this version: alerts, and a change of the message."""
        return [
            {
                "type": one["type"],
                "space": self.space,
                "version": self.version,
                "at": iso(self.as_of),
                **one,
            }
            for one in self.news
        ]

    def message(self, now: int) -> dict[str, Any]:
        """What a dashboard hears."""
        return {
            "type": "headcount",
            "space": self.space,
            "version": self.version,
            "asOf": self._as_of(now),
            "data": self.body(now),
        }

    def _as_of(self, now: int) -> str:
        # Of a space that nobody was ever in, the zeros are true now.
        return iso(self.as_of or now)

    def peak_on(self, day: str) -> int:
        """The highest number of people published as of any moment of a UTC day."""
        if day in self.day_peaks:
            return self.day_peaks[day]
        # Nothing was published that day: whoever was in before it stayed all day.
        return self.tally.people if self.as_of and self.as_of < day_start(day) else 0


_DAYS_OF_PEAKS = 8


def _grown(old: Mapping[str, float], new: Mapping[str, float]) -> Mapping[str, float]:
    """What people did never falls: of a visit that ended a moment ago it may be on its way from the
    session's row to the totals. What admins report may fall: a refund is negative revenue."""
    return {
        name: number if name.startswith(PRIVATE) else max(number, old.get(name, 0))
        for name, number in {**dict.fromkeys(old, 0), **new}.items()
    }


@dataclass(frozen=True, slots=True)
class Numbers:
    """All that a version says of a space."""

    tally: Tally
    views: Views
    shards: int = 1  # in use: below this one lie all that hold rows
    avg_seconds: int | None = None
    engagement: Engagement = field(default_factory=Engagement)
    settled: bool = False  # of visits that ended, none is on its way to the engagement
    readings: Mapping[str, Reading] = field(default_factory=dict)
    rules: Iterable[Rule] = ()
    notice: Notice | None = None
    removals: Iterable[Removal] = ()


def next_headcount(old: Headcount, numbers: Numbers, *, cause: str | None, now: int) -> Headcount:
    """The version after ``old``: one higher, with the highest people ever published."""
    tally = numbers.tally
    if old.as_of <= now + CLOCK_WAS_WRONG:
        now = max(now, old.as_of)  # a server clock may step back; a published time does not
    today = day_of(now)
    done = numbers.engagement.with_live(tally.engagement)
    peak = old.peak
    if tally.people and (peak is None or tally.people > peak.people):
        peak = Peak(tally.people, now)
    day_peaks = {
        day: old.peak_on(day)
        for day in (add_days(today, -ago) for ago in range(_DAYS_OF_PEAKS))
        if day in old.day_peaks or (old.as_of and day > day_of(old.as_of))
    }
    day_peaks[today] = max(day_peaks.get(today, 0), tally.people)
    notice = shown(numbers.notice, now)
    alerts, fired = watch(
        numbers.rules, old.alerts, Seen(old.tally.people, old.as_of), tally.people, now
    )
    news: list[dict[str, Any]] = [
        {"type": "alert", "alert": {"id": alert_id(old.space, old.version + 1, one["name"]), **one}}
        for one in fired
    ]
    if notice != old.notice:
        news.append({"type": "notice", "notice": notice.body() if notice else None})
    return Headcount(
        space=old.space,
        version=old.version + 1,
        tally=tally,
        views=numbers.views.kept(now),
        peak=peak,
        day_peaks=day_peaks,
        as_of=now,
        shards=numbers.shards,
        cause=cause,
        chunked_at=min(old.chunked_at, now),
        peak_sessions=max(old.peak_sessions, tally.sessions),
        avg_seconds=numbers.avg_seconds,
        engagement=done if numbers.settled else _grown(old.engagement, done),
        engagement_today=numbers.engagement.by_day.get(today, {}),
        readings=numbers.readings,
        notice=notice,
        denied=denied_by(numbers.removals, now),
        alerts=alerts,
        news=tuple(news),
    )


@dataclass(frozen=True, slots=True)
class Change:
    """A record of the Counts table's stream: its sequence number, and when it was made (epoch
    milliseconds, rounded down to a second; 0: it does not say)."""

    number: str
    at: int = 0


def is_repeat(old: Headcount, change: Change) -> bool:
    """Whether a batch that starts with this record has been published before.

    Sequence numbers of a space's records grow. If the version there was caused by this batch's
    first record or a later one, an earlier try wrote it and may have died while sending. A record
    that was made after that version is none of its causes, whatever its number: the table was
    restored or its stream set up anew, and a stream of its own counts from elsewhere.

    What was left for later is a repeat, too: a belated try of it, which nobody tries again, would
    otherwise store a version and may die before it is sent.
    """
    if old.cause is None or change.at > max(old.as_of, old.left_at) + CLOCKS_DIFFER:
        return False
    return int(old.cause) >= int(change.number)


def largest_first(headcounts: Iterable[Headcount]) -> list[Headcount]:
    """Most people first; equal ones by sessions, then by name."""
    return sorted(
        headcounts, key=lambda head: (-head.tally.people, -head.tally.sessions, head.space)
    )
