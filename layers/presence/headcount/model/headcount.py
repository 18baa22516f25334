"""The published numbers of a space, and how the next version follows from them. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from headcount.model.alert import AlertMemory, LastVersion, Rule, alert_id, evaluate
from headcount.model.intervals import Crowd, Ends, accuracy_of, because
from headcount.model.moderation import Denied, Notice, Removal, active_notice, denied_by
from headcount.model.space import is_rollup
from headcount.model.tally import Tally
from headcount.times import (
    CLOCK_WAS_WRONG,
    CLOCKS_DIFFER,
    DAY,
    MINUTE,
    SECOND,
    add_days,
    day_of,
    day_start,
    iso,
    month_of,
    week_of,
)

if TYPE_CHECKING:
    from headcount.model.peaks import Curve, Step
    from headcount.model.pushes import Pushes
    from headcount.model.space import Kind
    from headcount.web import answers

PRIVATE_PREFIX = "$"
"""The prefix of engagement names that only admins may see, such as revenue: beats can't contain
them, and the counts of a space, which may be public, leave them out."""

CHUNKING_GRACE = 90 * MINUTE
"""How long a space's versions are still sent in chunks after its audience became small: a chunk may
wait in the queue for an hour of retries, and the mark may be a third of this old."""

MAX_FANOUT_DELAY = 2 * MINUTE
"""The longest time that a version waits for the fan-out of the version before the last. Chunks do
not pile up for as many spaces as the fan-out serves within this time."""


PACE, BURST = SECOND, 3
"""The time between a space's versions in the long run, and how many a quiet space may have at once:
so at most 13 in ten seconds."""

CROWD, CROWD_PACE = 50, 770
"""From that many sessions on, versions are so far apart at least, without bursts: 13 in ten
seconds, too. There, something changes all the time."""


def due_after(paid_until: int, interval: int, *, burst: int = BURST) -> int:
    """When the next of a row of events is due: one per ``interval`` in the long run, and ``burst``
    at once after a rest. Each pays for an interval: ``paid_until`` is when the last one's ends."""
    return paid_until - (burst - 1) * interval


def paid_after(paid_until: int, interval: int, now: int, *, burst: int = BURST) -> int:
    """``paid_until`` after an event. More than a burst ahead can only come from a clock that
    stepped back."""
    return max(now, min(paid_until, now + burst * interval)) + interval


def version_due(last: Headcount) -> int:
    """When the version after the last one is due."""
    crowded = last.tally.sessions >= CROWD
    return last.paid_until if crowded else due_after(last.paid_until, PACE)


@dataclass(frozen=True, slots=True)
class Peak:
    """The highest number of people who were ever there at once, and since when (epoch
    milliseconds)."""

    people: int
    at: int


@dataclass(frozen=True, slots=True)
class Views:
    """Joins: all of them, and per UTC day, ISO week and calendar month."""

    total: int = 0
    by_period: Mapping[str, int] = field(
        default_factory=dict
    )  # "2026-11-21", "2026-W47", "2026-11"

    def at(self, now: int) -> answers.Views:
        """``{total, today, week, month}`` at a moment."""
        today = day_of(now)
        return {
            "total": self.total,
            "today": self.by_period.get(today, 0),
            "week": self.by_period.get(week_of(today), 0),
            "month": self.by_period.get(month_of(today), 0),
        }

    def kept(self, now: int) -> Views:
        """Only the periods that ``at`` can still need: those of this moment."""
        current = periods_of(day_of(now))
        return Views(
            self.total,
            {name: self.by_period[name] for name in current if name in self.by_period},
        )


@dataclass(frozen=True, slots=True)
class Engagement:
    """What people did, by name (chat, reaction, ...): totals, and per UTC day.

    Only of ended visits; running ones report their totals in their beats.
    """

    totals: Mapping[str, float] = field(default_factory=dict)
    by_day: Mapping[str, Mapping[str, float]] = field(default_factory=dict)

    def with_live(self, live: Mapping[str, float]) -> Mapping[str, float]:
        """The totals including running visits."""
        names = sorted({*self.totals, *live})
        return {name: self.totals.get(name, 0) + live.get(name, 0) for name in names}


@dataclass(frozen=True, slots=True)
class Reading:
    """What a server reports about a space: bandwidth, load, ..."""

    at: int  # epoch milliseconds
    numbers: Mapping[str, float]


def periods_of(day: str) -> tuple[str, str, str]:
    """The day, week and month in which a view on that day counts."""
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
    paid_until: int = 0  # see ``version_due``
    counted: int = 0  # the version of its count, if it was always in one shard
    unsent: bool = False  # no process has noted that it was sent
    shards: int = 1  # sessions may be in shards below this one, whatever the parameter is now
    cause: str | None = None  # sequence number of the Counts record that led to this version
    deferred_at: int = 0  # when a later record, since then the cause, was deferred
    chunked_at: int = 0  # when a version was last sent in chunks (roughly)
    peak_sessions: int = 0  # the highest number of sessions at once
    avg_seconds: int | None = None  # of the last 100 visits; None when none has ended
    ends: Ends = field(default_factory=Ends)  # of the last 100 visits
    accuracy: int | None = None  # see ``accuracy_of``; None: published by an earlier release
    engagement: Mapping[str, float] = field(default_factory=dict)
    engagement_today: Mapping[str, float] = field(default_factory=dict)  # of the day of ``as_of``
    readings: Mapping[str, Reading] = field(default_factory=dict)
    notice: Notice | None = None  # the message to everyone
    denied: Denied = field(default_factory=dict)
    alerts: AlertMemory = field(default_factory=AlertMemory)
    news: Sequence[Mapping[str, Any]] = ()  # messages of this version beside its numbers
    pushes: Pushes | None = None  # None: by an older release, or before ``save``
    readable: bool = True  # False: its row can't be read, so all fields but version are empty

    def in_chunks(self, now: int) -> bool:
        """Whether versions are sent in chunks."""
        return self.chunked_at + CHUNKING_GRACE >= now

    def notice_at(self, now: int) -> Notice | None:
        """The message to everyone, if it has not ended."""
        return active_notice(self.notice, now)

    @property
    def accuracy_body(self) -> answers.Accuracy | None:
        """How wrong the number of people may be in the mean; None: not known."""
        if self.accuracy is None:
            return None
        return {"people": self.accuracy, "because": because(self.ends)}

    def body(self, now: int) -> answers.Headcount:
        """The body of ``GET /v1/spaces/{space}``, and the ``data`` of a dashboard's frame."""
        tally = self.tally
        body: answers.Headcount = {
            "success": True,
            "space": self.space,
            "people": tally.people,
            "signedIn": tally.signed_in,
            "anonymous": tally.anonymous,
            "sessions": tally.sessions,
            "signedInSessions": tally.signed_in_sessions,
            "anonymousSessions": tally.anonymous_sessions,
            "facets": tally.ranked_facets(),
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
                if not name.startswith(PRIVATE_PREFIX)
            },
            "views": self.views.at(now),
            "version": self.version,
            "asOf": self._as_of(now),
        }
        if (accuracy := self.accuracy_body) is not None:
            body["accuracy"] = accuracy
        if (notice := self.notice_at(now)) is not None:
            body["notice"] = notice.body()
        return body

    def rollup_body(self, now: int) -> answers.RolledUp:
        """The numbers that a roll-up has: those of its people and sessions."""
        body = self.body(now)
        return {
            "success": True,
            "space": self.space,
            "people": body["people"],
            "signedIn": body["signedIn"],
            "anonymous": body["anonymous"],
            "sessions": body["sessions"],
            "signedInSessions": body["signedInSessions"],
            "anonymousSessions": body["anonymousSessions"],
            "peak": body["peak"],
            "peakSessions": body["peakSessions"],
            "version": body["version"],
            "asOf": body["asOf"],
        }

    @property
    def alerted(self) -> bool:
        """Whether it triggered an alert, which goes to the alert topic, too."""
        return any(one["type"] == "alert" for one in self.news)

    @property
    def pushes_now(self) -> bool:
        """Whether its count is pushed to listeners with it, and not later by a task."""
        pushes = self.pushes
        return pushes is not None and pushes.version == self.version and pushes.late_at < self.as_of

    def messages(self) -> list[dict[str, Any]]:
        """The frames that follow this version: alerts, and a change of the message to everyone."""
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
        """The frame for dashboards."""
        return {
            "type": "headcount",
            "space": self.space,
            "version": self.version,
            "asOf": self._as_of(now),
            "data": self.rollup_body(now) if is_rollup(self.space) else self.body(now),
        }

    def _as_of(self, now: int) -> str:
        # The zeros of a space that was never used are true now.
        return iso(self.as_of or now)

    def peak_on(self, day: str) -> int:
        """The highest number of people who were there at once in a UTC day."""
        if day in self.day_peaks:
            return self.day_peaks[day]
        # Nothing was published that day: the number of people stayed the same all day.
        return self.tally.people if self.as_of and self.as_of < day_start(day) else 0


_DAYS_OF_PEAKS = 8


def _grown(old: Mapping[str, float], new: Mapping[str, float]) -> Mapping[str, float]:
    """Totals of what people did never fall: those of a visit that has just ended may be in transit
    from the session's row to the totals. Admins' reports may fall: a refund is negative revenue."""
    return {
        name: number if name.startswith(PRIVATE_PREFIX) else max(number, old.get(name, 0))
        for name, number in {**dict.fromkeys(old, 0), **new}.items()
    }


@dataclass(frozen=True, slots=True)
class Numbers:
    """All numbers of a version."""

    tally: Tally
    views: Views
    shards: int = 1  # in use: all shards with rows are below this one
    counted: int = 0  # the version of the count, if the space was always in one shard
    avg_seconds: int | None = None
    engagement: Engagement = field(default_factory=Engagement)
    settled: bool = False  # the engagement includes all visits that ended
    readings: Mapping[str, Reading] = field(default_factory=dict)
    rules: Iterable[Rule] = ()
    notice: Notice | None = None
    removals: Iterable[Removal] = ()
    curves: Mapping[int, Curve] = field(default_factory=dict)  # by shard
    ends: Ends = field(default_factory=Ends)
    kind: Kind | None = None  # None: unknown, and so is the accuracy

    @property
    def curve(self) -> Curve:
        """How the space's numbers changed lately; without curves, no one knows."""
        from headcount.model.peaks import added_up

        return added_up(self.curves.values())


def next_headcount(old: Headcount, numbers: Numbers, *, cause: str | None, now: int) -> Headcount:
    """The version after ``old``, with the peaks so far and the alerts that it triggers."""
    tally = numbers.tally
    if old.as_of <= now + CLOCK_WAS_WRONG:
        now = max(now, old.as_of)  # a server's clock may step back, a published time may not
    today = day_of(now)
    done = numbers.engagement.with_live(tally.engagement)
    peak, peak_sessions = old.peak, old.peak_sessions
    known = bool(numbers.curve.steps)  # then the steps tell who stayed over midnight
    days = [add_days(today, -ago) for ago in range(_DAYS_OF_PEAKS)]
    day_peaks = {
        day: old.peak_on(day)
        for day in days
        if day in old.day_peaks or (not known and old.as_of and day > day_of(old.as_of))
    }
    day_peaks.setdefault(today, 0)
    for step in _final_steps(numbers, now):
        if step.people and (peak is None or step.people > peak.people):
            peak = Peak(step.people, step.at)
        peak_sessions = max(peak_sessions, step.sessions)
        day = day_of(step.at)
        if day in days and step.people:
            day_peaks[day] = max(day_peaks.get(day, 0), step.people)
    notice = active_notice(numbers.notice, now)
    alerts, fired = evaluate(
        numbers.rules, old.alerts, LastVersion(old.tally.people, old.as_of), tally.people, now
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
        paid_until=paid_after(old.paid_until, PACE, now)
        if tally.sessions < CROWD
        else now + CROWD_PACE,
        counted=numbers.counted,
        unsent=True,
        shards=numbers.shards,
        cause=cause,
        chunked_at=min(old.chunked_at, now),
        peak_sessions=peak_sessions,
        avg_seconds=numbers.avg_seconds,
        ends=numbers.ends,
        accuracy=None
        if numbers.kind is None
        else accuracy_of(numbers.kind, Crowd(tally.sessions, numbers.ends), now),
        engagement=done if numbers.settled else _grown(old.engagement, done),
        engagement_today=numbers.engagement.by_day.get(today, {}),
        readings=numbers.readings,
        notice=notice,
        denied=denied_by(numbers.removals, now),
        alerts=alerts,
        news=tuple(news),
    )


def _final_steps(numbers: Numbers, now: int) -> Iterator[Step]:
    """The steps whose numbers are sure. The last one lasts until now: it is a step of each day that
    began meanwhile, as the others are."""
    from headcount.model.peaks import Step

    curve, tally = numbers.curve, numbers.tally
    if not curve.steps:
        yield Step(now, tally.people, tally.sessions)
        return
    for step, after in pairwise((*curve.steps, Step(max(now, curve.steps[-1].at), 0, 0))):
        if step.at > curve.known_until:
            return
        yield replace(step, at=min(step.at, now))
        midnight = day_start(day_of(max(step.at, now - _DAYS_OF_PEAKS * DAY))) + DAY
        while midnight <= min(after.at, curve.known_until, now):
            yield replace(step, at=midnight)
            midnight += DAY


@dataclass(frozen=True, slots=True)
class CountsChange:
    """A record of the Counts table's stream: its sequence number, and when it was written (epoch
    milliseconds, rounded down to a second; 0: unknown)."""

    number: str
    at: int = 0


def is_repeat(old: Headcount, change: CountsChange) -> bool:
    """Whether a batch that starts with this record has been published before.

    Sequence numbers of a space's records grow. If this batch's first record or a later one caused
    the stored version, an earlier try wrote it, and may have crashed while sending. A record
    written after that version cannot be its cause, whatever its number: after a restore, or with a
    new stream, numbers start elsewhere.

    A batch that was deferred is a repeat, too. A late retry of it would store a version, and could
    crash before sending it, with no further retry to send it.
    """
    if old.cause is None or change.at > max(old.as_of, old.deferred_at) + CLOCKS_DIFFER:
        return False
    return int(old.cause) >= int(change.number)


def largest_first(headcounts: Iterable[Headcount]) -> list[Headcount]:
    """Most people first; then most sessions, then by name."""
    return sorted(
        headcounts, key=lambda head: (-head.tally.people, -head.tally.sessions, head.space)
    )


@dataclass(frozen=True, slots=True)
class Point:
    """A sample of a space at a full minute (epoch milliseconds)."""

    space: str
    at: int
    people: int
    sessions: int
    engagement: Mapping[str, float] = field(default_factory=dict)  # totals up to then
    since: int | None = None  # from then on, someone was there all the time


def gaps_between(
    points: Sequence[Point], later: Point | None, start: int, end: int
) -> list[tuple[int, int]]:
    """The minutes between two times in which someone was there although there is no sample: the
    first and the last of each row of them. ``later`` is the first sample after ``points``.

    A single minute is no gap: a sweep that comes some seconds late samples the next one.
    """
    gaps = []
    before = start - MINUTE
    for point in [*points, *([later] if later is not None else [])]:
        since = point.at if point.since is None else point.since
        first = max(before - before % MINUTE + MINUTE, -(-since // MINUTE) * MINUTE)
        last = min(point.at - 1, end)
        last -= last % MINUTE
        if first < last:
            gaps.append((first, last))
        before = point.at
    return gaps
