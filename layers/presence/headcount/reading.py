"""What the reads of the native API answer."""

from __future__ import annotations

import base64
import binascii
import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Any

from headcount.aggregating import Aggregator
from headcount.beats import MAX_IDENTIFIER
from headcount.counting import stays_in
from headcount.errors import ConflictError, InvalidRequestError
from headcount.events import visit_body
from headcount.headcounts import (
    Headcount,
    Numbers,
    Views,
    largest_first,
    next_headcount,
    periods_of,
)
from headcount.session import Session
from headcount.spaces import Kinds, Space
from headcount.stays import average_seconds, latest
from headcount.store.counts import CountsTable, SpaceCounts
from headcount.store.headcounts import HeadcountsTable
from headcount.store.history import HistoryTable
from headcount.store.numbers import NumbersTable
from headcount.store.presence import PresenceTable, moved_away
from headcount.store.visits import VisitsTable
from headcount.tally import tally_of
from headcount.times import (
    DAY,
    HOUR,
    MINUTE,
    add_days,
    day_of,
    day_start,
    iso,
    parse_day,
    parse_iso,
)
from headcount.visits import Day, Visit

MAX_VIEWERS = 100
MAX_TIMELINE = 7 * DAY
MAX_DAYS = 400
MAX_SPACES = 1_000
MAX_SHARDS = 100
# Beyond these, sums of days leave the calendar.
FIRST_DAY, LAST_DAY = day_start("2000-01-01"), day_start("3000-01-01")


_VIEWS_TRIES = 3
_COUNTED_BY = MINUTE
"""Joins older than this are in the ledger, or ``count`` is down."""


@dataclass(frozen=True, slots=True)
class Now:
    """A space at the moment of reading."""

    head: Headcount
    sessions: list[Session]
    whole: bool
    """Whether the numbers are of this moment and these are all sessions."""


@dataclass(frozen=True, slots=True)
class Reader:
    """What reading needs. ``clock`` gives epoch milliseconds."""

    presence: PresenceTable
    counts: CountsTable
    headcounts: HeadcountsTable
    visits: VisitsTable
    history: HistoryTable
    aggregator: Aggregator
    numbers: NumbersTable | None  # None: no events are told
    kinds: Kinds
    shards: int  # that new sessions are spread over
    clock: Callable[[], int]

    def headcount(self, space: Space) -> dict[str, Any]:
        """The published numbers of a space."""
        return self.headcounts.get(space.id).body(self.clock())

    def now(self, space: Space, *, up_to: int) -> Now:
        """A space at this very moment, as long as no more than ``up_to`` sessions are in it.

        For readers that must find what was written just before. It reads every row, so a larger
        space comes as it was last published, with the first ``up_to`` of its sessions.
        """
        head = self.headcounts.get(space.id)
        now = self.clock()
        if head.tally.sessions > up_to:
            sessions: list[Session] = []
            for rows in self._rows(space, up_to):
                sessions += [row for row in rows if row.live(now)]
                if len(sessions) >= up_to:
                    break
            return Now(head, sessions[:up_to], whole=False)
        counted = self.counts.space(space.id)
        rows = [row for page in self._rows(space, None, counted) for row in page]
        here = [row for row in rows if row.live(now)]
        numbers = Numbers(
            tally=tally_of(rows, now),
            views=self._views(space, counted.views, rows, now),
            avg_seconds=average_seconds(
                latest(*(count.stays for count in counted.shards), stays_in(rows))
            ),
            engagement=counted.engagement,
            readings=counted.readings,
            notice=counted.notice,
            removals=counted.removals.values(),
        )
        head = replace(
            next_headcount(head, numbers, cause=head.cause, now=now), version=head.version
        )
        return Now(head, here, whole=True)

    def _rows(
        self, space: Space, limit: int | None, counted: SpaceCounts | None = None
    ) -> Iterator[list[Session]]:
        counted = counted or self.counts.space(space.id)
        for shard in sorted({count.shard for count in counted.shards} | set(range(self.shards))):
            if limit is None:
                yield self.presence.partition(space.id, shard)
                continue
            after: str | None = None
            while True:
                rows, after = self.presence.page(space.id, shard, limit=limit, after=after)
                yield rows
                if after is None:
                    break

    def _views(self, space: Space, views: Views, rows: Iterable[Session], now: int) -> Views:
        """The views, and those that ``count`` is about to add.

        The views are read before and after the ledger until both say the same: one that is added
        meanwhile would be missed. Where they keep growing, it is missed rather than counted twice.
        """
        fresh = [
            Visit.of(row)
            for row in rows
            if row.visit and not moved_away(row) and row.joined_at > now - _COUNTED_BY
        ]
        if not fresh:
            return views
        for _ in range(_VIEWS_TRIES):
            known = self.visits.known(fresh)
            later = self.counts.space(space.id).views
            if later.total == views.total:
                break
            views = later
        else:
            known = self.visits.known(fresh)
        by_period = Counter(views.by_period)
        missing = [visit for visit in fresh if visit.id not in known]
        for visit in missing:
            by_period.update(periods_of(visit.day))
        return Views(views.total + len(missing), by_period)

    def day(self, space: Space, date: str) -> Day | None:
        """A UTC day of a space; None when nobody was in it, or it is past keeping."""
        return next(iter(self._days(space, date, date)), None)

    def spaces(self, kind: str | None, shown: Callable[[str], bool]) -> dict[str, Any]:
        """Spaces with anyone in them, largest first: those that are ``shown``."""
        kinds = [self.kinds.kind(kind)] if kind is not None else list(self.kinds)
        live = [space for one in kinds for space in self.headcounts.live(one.name) if shown(space)]
        heads = self.headcounts.many(live).values()
        return {
            "success": True,
            "spaces": [
                {
                    "space": head.space,
                    "people": head.tally.people,
                    "sessions": head.tally.sessions,
                    "signedIn": head.tally.signed_in,
                    "anonymous": head.tally.anonymous,
                    "asOf": iso(head.as_of),
                }
                for head in largest_first(heads)[:MAX_SPACES]
                if head.tally.sessions
            ],
        }

    def viewers(self, space: Space, limit: str | None, cursor: str | None) -> dict[str, Any]:
        """Who is in a space, page by page, in the order of their session ids."""
        now = self.clock()
        found, following = self._page(space, limit, cursor, 1, lambda row, _: row.live(now))
        return _viewers(found, following)

    def snapshot(self, space: Space, limit: str | None, cursor: str | None) -> dict[str, Any]:
        """The visits of a space that have not ended, page by page: whoever has heard of the events
        up to ``eventSeq`` of the first page, and of those behind it, is told no more by them.

        One whose lease ran out is among them until the cleanup ends it: that is an event.
        """
        if self.numbers is None:
            raise ConflictError(
                "This deployment tells no events. Deploy it with the parameter EventBus."
            )
        # First: whatever had its number by then was written before, so it is found below.
        seq = self.numbers.last(space.id)
        found, following = self._page(space, limit, cursor, self.shards, self._runs)
        return {
            "success": True,
            "space": space.id,
            "eventSeq": seq,
            "asOf": iso(self.clock()),
            "visits": [visit_body(Visit.of(session)) for session in found],
            "cursor": following,
        }

    def _runs(self, row: Session, shards: int) -> bool:
        """Whether a visit goes on, be it in another shard: that one's page may have been read."""
        if moved_away(row):
            there = self.presence.find(row.space, shards, row.id)
            return there is not None and there.visit == row.visit and not there.ended
        return not row.ended

    def _page(
        self,
        space: Space,
        limit: str | None,
        cursor: str | None,
        at_least: int,
        wanted_row: Callable[[Session, int], bool],
    ) -> tuple[list[Session], str | None]:
        """Some of a space's rows that are wanted, and where to go on; None: that was all.

        Looked at are the shards that were counted, and so many ``at_least``. Whether a row is
        wanted is asked with how many shards the space's rows may be in.
        """
        wanted = page_size(limit)
        shard, after = parse_cursor(cursor)
        counts = self.counts.space(space.id).shards
        shards = sorted({count.shard for count in counts} | set(range(at_least)))
        found: list[Session] = []
        for number in [one for one in shards if one >= shard]:
            while len(found) < wanted:
                rows, following = self.presence.page(
                    space.id, number, limit=wanted - len(found), after=after
                )
                found += [row for row in rows if wanted_row(row, shards[-1] + 1)]
                after = following
                if following is None:
                    break
            if after is not None or (len(found) >= wanted and number != shards[-1]):
                return found, cursor_at(number if after else number + 1, after)
        return found, None

    def timeline(self, space: Space, since: str | None, until: str | None) -> dict[str, Any]:
        """A point for each minute with anyone in the space; the last hour by default."""
        now = self.clock()
        end = time_in("to", until, now)
        start = time_in("from", since, end - HOUR)
        if start > end:
            raise InvalidRequestError("'from' must not be later than 'to'.")
        if end - start > MAX_TIMELINE:
            raise InvalidRequestError("Ask for at most 7 days of timeline at a time.")
        points = self.history.points(space.id, start, end)
        return {
            "success": True,
            "space": space.id,
            "points": [
                {
                    "at": iso(point.at),
                    "people": point.people,
                    "sessions": point.sessions,
                    **({"engagement": dict(point.engagement)} if point.engagement else {}),
                }
                for point in points
            ],
        }

    def days(self, space: Space, since: str | None, until: str | None) -> dict[str, Any]:
        """A row for each UTC day anyone was in the space, today so far included."""
        start, end = self.period(since, until)
        return {
            "success": True,
            "space": space.id,
            "days": [day.body() for day in self._days(space, start, end)],
        }

    def period(self, since: str | None, until: str | None) -> tuple[str, str]:
        """The first and the last UTC day that are asked for; the last 30 by default."""
        end = _day("to", until, day_of(self.clock()))
        start = _day("from", since, add_days(end, -29))
        if start > end:
            raise InvalidRequestError("'from' must not be later than 'to'.")
        if add_days(start, MAX_DAYS) <= end:
            raise InvalidRequestError(f"Ask for at most {MAX_DAYS} days at a time.")
        return start, end

    def _days(self, space: Space, start: str, end: str) -> list[Day]:
        today = day_of(self.clock())
        days = {day.date: day for day in self.history.days(space.id, start, end)}
        # Not aggregated yet: today, and yesterday until 01:00.
        missing = [
            date
            for date in (add_days(today, -1), today)
            if start <= date <= end and date not in days
        ]
        if missing:
            head = self.headcounts.get(space.id)
            for date in missing:
                # As the aggregator: whoever was in a space that day left a version behind.
                if head.as_of < day_start(date) and not head.tally.sessions:
                    continue
                if (day := self.aggregator.summary(head, date)) is not None:
                    days[date] = day
        return [days[date] for date in sorted(days)]


def viewer(session: Session) -> dict[str, Any]:
    """A session as admins see it."""
    facts = session.facts
    return {
        "sessionId": session.id,
        "visitorId": facts.visitor,
        "userId": facts.user,
        "verified": facts.verified,
        "name": facts.name,
        "avatar": facts.avatar,
        "page": facts.page,
        "facets": dict(facts.facets),
        "quality": dict(session.riding.quality),
        "engagement": dict(session.riding.engagement),
        "details": dict(session.riding.details),
        "state": facts.state,
        "joinedAt": iso(session.joined_at),
        "lastSeen": iso(session.last_seen),
    }


def _viewers(sessions: list[Session], cursor: str | None) -> dict[str, Any]:
    return {"success": True, "viewers": [viewer(one) for one in sessions], "cursor": cursor}


def page_size(text: str | None) -> int:
    """``limit`` as a number of sessions, 50 unless told otherwise, or InvalidRequestError."""
    if text is None:
        return 50
    short = text.isascii() and text.isdecimal() and len(text) <= len(str(MAX_VIEWERS))
    if not short or int(text) not in range(1, MAX_VIEWERS + 1):
        raise InvalidRequestError(f"'limit' must be a whole number from 1 to {MAX_VIEWERS}.")
    return int(text)


def cursor_at(shard: int, after: str | None) -> str:
    """The cursor that goes on behind a session of a shard (None: before its first)."""
    return base64.urlsafe_b64encode(json.dumps([shard, after]).encode()).decode().rstrip("=")


def parse_cursor(cursor: str | None) -> tuple[int, str | None]:
    """The shard and the session that a cursor goes on behind, or InvalidRequestError."""
    if cursor is None:
        return 0, None
    try:
        padded = cursor + "=" * (-len(cursor) % 4)
        shard, after = json.loads(base64.b64decode(padded, altchars=b"-_", validate=True))
        if type(shard) is int and shard in range(MAX_SHARDS) and _is_session_id(after):
            return shard, after
    except (binascii.Error, ValueError, TypeError, RecursionError):
        pass
    raise InvalidRequestError(
        "The cursor is not valid. Send the 'cursor' of the page before, or none for the first page."
    )


def _is_session_id(after: object) -> bool:
    if after is None:
        return True
    return isinstance(after, str) and 0 < len(after.encode()) <= MAX_IDENTIFIER


def time_in(name: str, text: str | None, default: int) -> int:
    """A query parameter as epoch milliseconds, or InvalidRequestError."""
    if text is None:
        return default
    try:
        time = parse_iso(text)
    except ValueError:
        time = -1
    if not FIRST_DAY <= time < LAST_DAY:
        raise InvalidRequestError(
            f"'{name}' must be a time in ISO 8601 from 2000 to 2999, for example "
            "2026-11-21T09:30:00Z."
        )
    return time


def _day(name: str, text: str | None, default: str) -> str:
    if text is None:
        return default
    try:
        day = parse_day(text)
    except ValueError:
        day = ""
    if not day or not FIRST_DAY <= day_start(day) < LAST_DAY:
        raise InvalidRequestError(
            f"'{name}' must be a day from 2000 to 2999, for example 2026-11-21."
        )
    return day
