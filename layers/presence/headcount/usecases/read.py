"""The reads of the native API."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

from headcount.errors import ConflictError, InvalidRequestError
from headcount.model.durations import average_seconds, durations_in, ends_of, latest
from headcount.model.event import visit_body
from headcount.model.headcount import (
    Headcount,
    Numbers,
    Point,
    Views,
    gaps_between,
    largest_first,
    next_headcount,
    periods_of,
)
from headcount.model.person import picture_of
from headcount.model.rollups import RollUps, rollup_name
from headcount.model.session import Session, moved_away
from headcount.model.space import Kinds, Space
from headcount.model.tally import tally_of
from headcount.model.visit import QUARTER, Day, Visit
from headcount.store.counts import CountsTable, ShardCount
from headcount.store.headcounts import HeadcountsTable
from headcount.store.history import HistoryTable
from headcount.store.numbers import NumbersTable
from headcount.store.presence import PresenceTable
from headcount.store.visits import VisitsTable
from headcount.times import DAY, HOUR, MINUTE, add_days, day_of, day_start, iso, parse_iso
from headcount.usecases.daily import Aggregator
from headcount.usecases.live import LiveReader, shards_of
from headcount.usecases.parameters import (
    day_in,
    page_size,
    parse_cursor,
    read_page,
    time_in,
    times_in,
    whole_number,
)

if TYPE_CHECKING:
    from headcount.model.series import Step
    from headcount.web import answers

LIVE_UP_TO = 2_000
"""Sessions up to which a space is counted for each request; a larger one is as published."""
MAX_TIMELINE = 7 * DAY
MAX_HISTORY = 32 * DAY
"""A month, and the hour by which its days may differ from UTC."""
MAX_DAYS = 400
MAX_ACTS = 500
_MARKS: Mapping[str, Literal["mark", "message"]] = {"mark": "mark", "sendMessage": "message"}
MAX_SPACES = 1_000

_VIEWS_TRIES = 3
_RECORDED_WITHIN = MINUTE
"""Older joins are in the ledger, unless ``count`` is down."""


@dataclass(frozen=True, slots=True)
class Now:
    """A space at the time of reading."""

    head: Headcount
    sessions: list[Session]
    whole: bool
    """Whether the numbers are current and ``sessions`` are all of them."""


@dataclass(frozen=True, slots=True)
class Scrape:
    """All live spaces, largest first; the last recount and the last sample of the largest."""

    heads: Sequence[Headcount]
    recount: ShardCount | None = None
    sample: Point | None = None


@dataclass(frozen=True, slots=True)
class Reader:
    """What reading needs. ``clock`` returns epoch milliseconds."""

    presence: PresenceTable
    counts: CountsTable
    headcounts: HeadcountsTable
    visits: VisitsTable
    history: HistoryTable
    aggregator: Aggregator
    numbers: NumbersTable | None  # None: no events are sent
    live: LiveReader
    kinds: Kinds
    rollups: RollUps
    shards: int  # that new sessions are spread over
    picture_hosts: Collection[str]  # of people whom no token proved
    clock: Callable[[], int]

    def headcount(self, space: Space) -> answers.Headcount:
        """The published numbers of a space."""
        return self.headcounts.get(space.id).body(self.clock())

    def now(self, space: Space, *, up_to: int | None = None) -> Now:
        """A space's current numbers and sessions, if it has at most ``up_to`` sessions (default:
        ``LIVE_UP_TO``).

        For readers that must see their own writes. It reads every row, so a larger space is
        returned as last published, with the first ``up_to`` of its sessions.
        """
        up_to = LIVE_UP_TO if up_to is None else up_to
        head = self.headcounts.get(space.id)
        now = self.clock()
        if head.tally.sessions > up_to:
            return Now(head, self.live.first(space, up_to), whole=False)
        counted = self.counts.space(space.id)
        rows = self.live.rows(space, counted)
        here = [row for row in rows if row.live(now)]
        ended = latest(*(count.durations for count in counted.shards), durations_in(rows))
        numbers = Numbers(
            tally=tally_of(rows, now),
            views=self._views(space, counted.views, rows, now),
            avg_seconds=average_seconds(ended),
            ends=ends_of(ended),
            kind=space.kind,
            engagement=counted.engagement,
            readings=counted.readings,
            notice=counted.notice,
            removals=counted.removals.values(),
        )
        head = replace(
            next_headcount(head, numbers, cause=head.cause, now=now), version=head.version
        )
        return Now(head, here, whole=True)

    def _views(self, space: Space, views: Views, rows: Iterable[Session], now: int) -> Views:
        """The views, with those that ``count`` is about to add.

        The views are read before and after the ledger until both reads are equal: otherwise a view
        that is added meanwhile would be missed. If they keep growing, it is missed rather than
        counted twice.
        """
        fresh = [
            Visit.from_session(row)
            for row in rows
            if row.visit and not moved_away(row) and row.joined_at > now - _RECORDED_WITHIN
        ]
        if not fresh:
            return views
        for _ in range(_VIEWS_TRIES):
            known = self.visits.recorded(fresh)
            later = self.counts.space(space.id).views
            if later.total == views.total:
                break
            views = later
        else:
            known = self.visits.recorded(fresh)
        by_period = Counter(views.by_period)
        missing = [visit for visit in fresh if visit.id not in known]
        for visit in missing:
            by_period.update(periods_of(visit.day))
        return Views(views.total + len(missing), by_period)

    def day(self, space: Space, date: str) -> Day | None:
        """A UTC day of a space; None if no one was in it, or if it is past its retention."""
        return next(iter(self._days(space, date, date)), None)

    def spaces(self, kind: str | None, shown: Callable[[str], bool]) -> answers.LiveSpaces:
        """Spaces with anyone in them, largest first; only those that are ``shown``. And the kinds,
        with the spaces that their declarations name."""
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
                    "peak": {"people": head.peak.people, "at": iso(head.peak.at)}
                    if head.peak
                    else None,
                    "asOf": iso(head.as_of),
                }
                for head in largest_first(heads)[:MAX_SPACES]
                if head.tally.sessions
            ],
            "kinds": [
                {"kind": one.name, "spaces": named}
                for one in kinds
                if (named := [space for id_ in one.ids if shown(space := f"{one.name}:{id_}")])
                or shown(f"{one.name}:*")
            ],
        }

    def scrape(self, shown: Callable[[str], bool]) -> Scrape:
        """The numbers of all live spaces that are ``shown``, and how late those of the largest
        are. Eventually consistent: half a read unit for a space, two queries for the largest."""
        live = [one for kind in self.kinds for one in self.headcounts.live(kind.name) if shown(one)]
        heads = self.headcounts.many(live, consistent=False).values()
        ranked = largest_first(head for head in heads if head.tally.sessions)
        if not ranked:
            return Scrape(ranked)
        largest = ranked[0].space
        newest = max(
            self.counts.space(largest).shards, key=lambda one: one.counted_at, default=None
        )
        return Scrape(ranked, newest, self.history.last_point(largest))

    def viewers(self, space: Space, limit: str | None, cursor: str | None) -> answers.Viewers:
        """The live sessions of a space, page by page, ordered by session id."""
        now = self.clock()
        found, following = self._page(space, limit, cursor, 1, lambda row, _: row.live(now))
        viewers = [viewer(one, self.picture_hosts) for one in found]
        return {"success": True, "viewers": viewers, "cursor": following}

    def snapshot(self, space: Space, limit: str | None, cursor: str | None) -> answers.Snapshot:
        """The visits of a space that have not ended, page by page. With the events after the first
        page's ``eventSeq`` they give the current state.

        A visit whose lease expired is included until the cleanup ends it: that is an event.
        """
        if self.numbers is None:
            raise ConflictError(
                "This deployment sends no events. Deploy it with the parameter EventBus."
            )
        # First: an event's change is written before it gets its number, so it is found below.
        seq = self.numbers.last(space.id)
        found, following = self._page(space, limit, cursor, self.shards, self._runs)
        return {
            "success": True,
            "space": space.id,
            "eventSeq": seq,
            "asOf": iso(self.clock()),
            "visits": [visit_body(Visit.from_session(session)) for session in found],
            "cursor": following,
        }

    def _runs(self, row: Session, shards: int) -> bool:
        """Whether a visit goes on, also in another shard: that shard may have been read already."""
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
        """A page of a space's wanted rows, and where to continue; None: that was all.

        Reads all shards with a count, and ``at_least`` this many. ``wanted_row`` gets a row and the
        number of shards that the space may use.
        """
        size, position = page_size(limit), parse_cursor(cursor)
        shards = shards_of(self.counts.space(space.id), at_least)
        most = shards[-1] + 1
        return read_page(
            self.presence,
            space.id,
            shards,
            size,
            position,
            wanted=lambda row: wanted_row(row, most),
        )

    def timeline(self, space: str, since: str | None, until: str | None) -> answers.Timeline:
        """A point for each minute with anyone in a space or roll-up, by its id; the last hour by
        default."""
        start, end = times_in(since, until, now=self.clock(), default=HOUR)
        if end - start > MAX_TIMELINE:
            raise InvalidRequestError("Ask for at most 7 days of timeline at a time.")
        points = self.history.points(space, start, end)
        answer: answers.Timeline = {
            "success": True,
            "space": space,
            "points": [_point_body(point) for point in points],
        }
        gaps = gaps_between(points, self._present_after(space, points, end), start, end)
        if gaps:
            answer["gaps"] = [{"from": iso(one), "to": iso(other)} for one, other in gaps]
        return answer

    def _present_after(self, space: str, points: Sequence[Point], end: int) -> Point | None:
        """The first sample after these, or else the numbers of now."""
        if points and points[-1].at > end - MINUTE:
            return None
        if (later := self.history.next_point(space, end)) is not None:
            return later
        head, now = self.headcounts.get(space), self.clock()
        if not head.tally.sessions:
            return None
        last = points[-1] if points else None
        since = last.at if last is not None and last.at >= head.as_of else head.as_of
        running = now - now % MINUTE  # this minute may not be sampled yet
        return Point(space, running, head.tally.people, head.tally.sessions, since=since)

    def history_of(
        self,
        space: str,
        since: str | None,
        until: str | None,
        *,
        step: str | None,
        compare: str | None,
        usual: bool,
    ) -> answers.History:
        """A series of a period in a space or roll-up, by its id; the last hour by default. If asked
        for, with an equally long period from ``compare`` on, and with what is ``usual``."""
        from headcount.model.series import MAX_STEPS, WEEKS, usual_of

        minutes = whole_number("step", step, default=1, most=DAY // MINUTE)
        size = minutes * MINUTE
        start, end = times_in(since, until, now=self.clock(), default=HOUR)
        start -= start % size
        if end - start > MAX_HISTORY:
            raise InvalidRequestError("Ask for at most 32 days of history at a time.")
        if end - start > MAX_STEPS * size:
            raise InvalidRequestError(f"Ask for at most {MAX_STEPS} steps: make them longer.")
        if usual and end - start > 7 * DAY:
            raise InvalidRequestError("What is usual is known of at most 7 days at a time.")
        earlier = None if compare is None else time_in("compare", compare, 0)
        first = self.history.next_point(space, 0)
        day = self.history.first_steps(space)
        times = [one.at for one in [first] if one is not None]
        times += [day_start(one) for one in [day] if one is not None]
        known_from = min(times, default=self.clock())

        def steps(begin: int, end: int) -> list[Step | None]:
            return self._steps(space, begin, end, size, known_from)

        answer: answers.History = {
            "success": True,
            "space": space,
            "step": minutes,
            "since": iso(known_from) if times else None,
            "marks": [],
            **_series(start, end, steps(start, end)),  # type: ignore[typeddict-item]
        }
        if earlier is not None:
            earlier -= earlier % size
            compared = steps(earlier, earlier + end - start)
            answer["compared"] = _series(earlier, earlier + end - start, compared)
        if usual:
            weeks = [steps(start - n * 7 * DAY, end - n * 7 * DAY) for n in range(1, WEEKS + 1)]
            ranges = usual_of(weeks)
            answer["usual"] = {
                "weeks": sum(any(one is not None for one in week) for week in weeks),
                "low": [None if one is None else one.low for one in ranges],
                "median": [None if one is None else one.median for one in ranges],
                "high": [None if one is None else one.high for one in ranges],
            }
        return answer

    def _steps(
        self, space: str, start: int, end: int, size: int, known_from: int
    ) -> list[Step | None]:
        """The steps of a period: of whole days as stored, where they are, otherwise by minutes."""
        from headcount.model.series import merged, unpack_steps

        if size % QUARTER:
            return self._steps_by_minutes(space, start, end, size, known_from)
        stored = self.history.steps(space, day_of(start), day_of(end - 1)) if start < end else {}
        found: list[Step | None] = []
        at = start
        while at < end:
            day = day_of(at)
            until = min(day_start(day) + DAY, end)
            if day in stored:
                first = (at - day_start(day)) // QUARTER
                found += unpack_steps(stored[day])[first : first - (at - until) // QUARTER]
            else:
                while until < end and day_of(until) not in stored:
                    until = min(until + DAY, end)
                found += self._steps_by_minutes(space, at, until, QUARTER, known_from)
            at = until
        return merged(found, size // QUARTER)

    def _steps_by_minutes(
        self, space: str, start: int, end: int, size: int, known_from: int
    ) -> list[Step | None]:
        from headcount.model.series import steps_of

        now = self.clock()
        points = self.history.points(space, start, end - 1)
        gaps = gaps_between(points, self._present_after(space, points, end), start, end)
        # The running minute, and the one before it, may not be sampled yet.
        known = (known_from, now - now % MINUTE - MINUTE)
        return steps_of(points, gaps, start=start, end=end, step=size, known=known)

    def marks(self, space: Space, since: str, until: str) -> list[answers.Mark]:
        """What admins noted or sent to everyone between two times, oldest first."""
        found = self.history.audit_entries(
            space.id, parse_iso(since), parse_iso(until), limit=MAX_ACTS
        )
        return [
            {"at": iso(one.at), "what": _MARKS[one.what], "text": str(one.parameters.get("text"))}
            for one in reversed(found)
            if one.what in _MARKS
        ]

    def days(
        self, space: Space, since: str | None, until: str | None, *, quarters: bool = False
    ) -> answers.Days:
        """A row for each UTC day anyone was in the space, today so far included. ``quarters``: with
        the views of each quarter of an hour."""
        start, end = self.period(since, until)
        days = self._days(space, start, end)
        return {"success": True, "space": space.id, "days": [_day_body(d, quarters) for d in days]}

    def rollup(self, id_: str) -> answers.RollUp:
        """The published numbers of a roll-up, and how many of its spaces are live."""
        body = self.headcounts.get(id_).rollup_body(self.clock())
        what, name = rollup_name(id_)
        spaces = sum(
            id_ in self.rollups.of_space(space)
            for kind in self.rollups.kinds_in(id_)
            for space in self.headcounts.live(kind)
        )
        return {
            **body,
            "kind": name if what == "kind" else None,
            "group": name if what == "group" else None,
            "spaces": spaces,
        }

    def all_rollups(self, shown: Callable[[str], bool]) -> answers.ListedRollUps:
        """The published numbers of all roll-ups that are ``shown``."""
        ids = [id_ for id_ in self.rollups.ids if shown(id_)]
        kinds = sorted({kind for id_ in ids for kind in self.rollups.kinds_in(id_)})
        live = [space for kind in kinds for space in self.headcounts.live(kind)]
        spaces = Counter(id_ for space in live for id_ in self.rollups.of_space(space))
        heads = self.headcounts.many(ids)
        return {
            "success": True,
            "rollups": [
                _listed(heads.get(id_) or Headcount(id_), spaces[id_], self.clock()) for id_ in ids
            ],
        }

    def rollup_days(self, id_: str, since: str | None, until: str | None) -> answers.Days:
        """A row for each UTC day that is aggregated: for others, all visits of all its spaces would
        have to be read."""
        start, end = self.period(since, until)
        days = self.history.days(id_, start, end)
        return {"success": True, "space": id_, "days": [day.body() for day in days]}

    def costs(self, since: str | None, until: str | None) -> answers.Costs:
        """What each aggregated UTC day cost, estimated."""
        start, end = self.period(since, until)
        days = self.history.uses(start, end)
        return {
            "success": True,
            "days": [use.body(date) for date, use in sorted(days.items())],
        }

    def period(self, since: str | None, until: str | None) -> tuple[str, str]:
        """The first and the last requested UTC day; the last 30 days by default."""
        end = day_in("to", until, day_of(self.clock()))
        start = day_in("from", since, add_days(end, -29))
        if start > end:
            raise InvalidRequestError("'from' must not be later than 'to'.")
        if add_days(start, MAX_DAYS) <= end:
            raise InvalidRequestError(f"Ask for at most {MAX_DAYS} days at a time.")
        return start, end

    def _days(self, space: Space, start: str, end: str) -> list[Day]:
        today = day_of(self.clock())
        days = {day.date: day for day in self.history.days(space.id, start, end)}
        # Today is not aggregated yet, nor is yesterday until 01:00.
        missing = [
            date
            for date in (add_days(today, -1), today)
            if start <= date <= end and date not in days
        ]
        if missing:
            head = self.headcounts.get(space.id)
            for date in missing:
                # As in the aggregator: anyone in the space that day would have caused a version.
                if head.as_of < day_start(date) and not head.tally.sessions:
                    continue
                if (day := self.aggregator.summary(head, date)) is not None:
                    days[date] = day
        return [days[date] for date in sorted(days)]


def viewer(session: Session, picture_hosts: Collection[str]) -> answers.Viewer:
    """A session as admins see it."""
    facts = session.facts
    return {
        "sessionId": session.id,
        "visitorId": facts.visitor,
        "userId": facts.user,
        "verified": facts.verified,
        "name": facts.name,
        "avatar": picture_of(facts, picture_hosts),
        "page": facts.page,
        "facets": dict(facts.facets),
        "quality": dict(session.telemetry.quality),
        "engagement": dict(session.telemetry.engagement),
        "details": dict(session.telemetry.details),
        "state": facts.state,
        "joinedAt": iso(session.joined_at),
        "lastSeen": iso(session.last_seen),
    }


def _series(start: int, end: int, steps: Sequence[Step | None]) -> answers.Series:
    return {
        "from": iso(start),
        "to": iso(end),
        "people": [None if one is None else one.people for one in steps],
        "sessions": [None if one is None else one.sessions for one in steps],
        "peaks": [None if one is None else one.peak for one in steps],
    }


def _day_body(day: Day, quarters: bool) -> answers.Day:
    body = day.body()
    if quarters and day.quarters is not None:
        body["viewsByQuarter"] = list(day.quarters)
    return body


def _point_body(point: Point) -> answers.Point:
    body: answers.Point = {
        "at": iso(point.at),
        "people": point.people,
        "sessions": point.sessions,
    }
    if point.engagement:
        body["engagement"] = dict(point.engagement)
    return body


def _listed(head: Headcount, spaces: int, now: int) -> answers.ListedRollUp:
    body = head.rollup_body(now)
    what, name = rollup_name(head.space)
    return {
        "space": head.space,
        "kind": name if what == "kind" else None,
        "group": name if what == "group" else None,
        "people": body["people"],
        "signedIn": body["signedIn"],
        "anonymous": body["anonymous"],
        "sessions": body["sessions"],
        "peak": body["peak"],
        "spaces": spaces,
        "asOf": body["asOf"],
    }
