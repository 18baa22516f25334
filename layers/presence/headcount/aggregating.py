"""``daily``: yesterday's row for every space that had anyone in it, and retention.

What is more than an invocation has time for is left to others, some spaces each. The day of a space
is not divided, for people are to be told apart in all of it: one that is too large for the others
is done here, where there is the most time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

from headcount.headcounts import Engagement, Headcount
from headcount.logs import logger
from headcount.store.counts import CountsTable, SpaceCounts
from headcount.store.headcounts import HeadcountsTable
from headcount.store.history import HistoryTable
from headcount.store.keys import Counts
from headcount.store.presence import PresenceTable, moved_away
from headcount.store.visits import RETENTION, VisitsTable
from headcount.times import DAY, add_days, day_of, day_start, month_of, week_of
from headcount.visits import Day, Visit, summarise

VISITS_AT_ONCE = 100_000
"""Visits of a day from which on spaces are left to other invocations, so many to each: seconds of
work. `make bench-sizes` has the figures."""

VISITS_OF_A_SPACE = 250
"""A space's rows take as long to read and write as so many visits."""

MOST_VISITS = 1_000_000
"""Visits of a space above which it is left to nobody."""

DAYS_KEPT, WEEKS_KEPT, MONTHS_KEPT = 7, 30, 366
"""Days after which a day's, a week's and a month's view counter is forgotten."""


class DayRefusedError(ValueError):
    """The day can't be aggregated (any more, or yet); what is stored for it stays."""


class DayIncompleteError(RuntimeError):
    """Some spaces' rows could not be written; the others' were. Aggregating again mends it."""


class Pieces(Protocol):
    """Where spaces are left to another invocation."""

    def aggregate(self, date: str, spaces: Sequence[str]) -> None:
        """Have a UTC day of these spaces aggregated."""


@dataclass(frozen=True, slots=True)
class Aggregated:
    """What was made of a day."""

    written: int  # rows
    left: int = 0  # spaces that other invocations aggregate


@dataclass(frozen=True, slots=True)
class Aggregator:
    """What aggregating needs. ``clock`` gives epoch milliseconds."""

    presence: PresenceTable
    counts: CountsTable
    headcounts: HeadcountsTable
    visits: VisitsTable
    history: HistoryTable
    pieces: Pieces
    clock: Callable[[], int]

    def aggregate(self, date: str | None = None) -> Aggregated:
        """Write the day's rows. Running it again changes nothing.

        ``date`` is a UTC day that is over and whose visits are all still kept; default yesterday.
        Raises when it failed for a space, after all the others.
        """
        date = date or add_days(day_of(self.clock()), -1)
        self._require_whole(date)
        here: list[Headcount] = []
        large: list[Headcount] = []
        piece: list[str] = []
        room = room_in_piece = VISITS_AT_ONCE
        left = 0
        for head in self.headcounts.scan():
            visits = _visits(head, date)
            if visits > MOST_VISITS:
                large.append(head)
            elif room > 0:
                here.append(head)
                room -= visits
            elif visits:
                piece.append(head.space)
                room_in_piece -= visits
                left += 1
            if room_in_piece <= 0:
                self.pieces.aggregate(date, piece)
                piece, room_in_piece = [], VISITS_AT_ONCE
        if piece:
            self.pieces.aggregate(date, piece)
        return Aggregated(self._each([*here, *large], date), left)

    def aggregate_some(self, date: str, spaces: Iterable[str]) -> Aggregated:
        """Write these spaces' rows of a day, as ``aggregate`` does."""
        self._require_whole(date)
        return Aggregated(self._each(self.headcounts.many(spaces).values(), date))

    def _require_whole(self, date: str) -> None:
        """Raise unless the day is over and its visits are all still kept."""
        now = self.clock()
        today = day_of(now)
        if date >= today:
            raise DayRefusedError(f"{date} is not over yet: aggregate it after midnight UTC")
        if day_start(date) + RETENTION <= now:
            raise DayRefusedError(
                f"visits of {date} have begun to expire: its row would come out too low, so the "
                f"stored one stays. The earliest day possible is {day_of(now - RETENTION + DAY)}"
            )

    def _each(self, heads: Iterable[Headcount], date: str) -> int:
        """Write the spaces' rows; returns how many."""
        now = self.clock()
        today = day_of(now)
        written = failed = 0
        for head in heads:
            try:
                written += self._aggregate(head, date, today)
                if head.notice is not None or head.denied or not head.readable:
                    self._forget_moderation(head.space, now)
            except Exception:
                logger().exception("not aggregated", extra={"space": head.space})
                failed += 1
        if failed:
            raise DayIncompleteError(f"{date}: spaces that failed: {failed}; the log names them")
        return written

    def _aggregate(self, head: Headcount, date: str, today: str) -> bool:
        """Write a space's row; whether there is anything to write."""
        if _is_unused(head, date):
            return False
        counted = self.counts.space(head.space)
        day = self._summarise(head, counted, date)
        if day is not None:
            self.history.add_days([(head.space, day)])
        self.counts.forget_views(head.space, past_keeping(counted.views.by_period, today))
        self.counts.forget_engagement(head.space, past_days(counted.engagement, today))
        return day is not None

    def _forget_moderation(self, space: str, now: int) -> None:
        """Drop what admins said that has run out; no number depends on it any more."""
        counted = self.counts.space(space)
        if counted.notice is not None and counted.notice.until <= now:
            self.counts.delete_notice(space, id_=counted.notice.id)
        for removal in counted.removals.values():
            if removal.until <= now:
                self.counts.delete_removal(space, removal)

    def summary(self, head: Headcount, date: str) -> Day | None:
        """A day of a space from its live and its recorded visits."""
        return self._summarise(head, self.counts.space(head.space), date)

    def _summarise(self, head: Headcount, counted: SpaceCounts, date: str) -> Day | None:
        shards = {count.shard for count in counted.shards}
        # Live ones first: a visit that ends in between is then in the ledger, and counts once.
        live = (
            Visit.of(session)
            for shard in sorted(shards)
            for page in self.presence.pages(head.space, shard)
            for session in page
            if session.visit and not moved_away(session)
        )
        return summarise(
            date,
            self.visits.of_day(head.space, date),
            live=live,
            peak=head.peak_on(date),
            now=self.clock(),
            engagement=counted.engagement.by_day.get(date),
        )


def _is_unused(head: Headcount, date: str) -> bool:
    """Whether nobody can have been there on that day, or since."""
    return head.readable and head.as_of < day_start(date) and not head.tally.sessions


def _visits(head: Headcount, date: str) -> int:
    """How many visits it takes as long as to aggregate a space, by what is published of it."""
    if _is_unused(head, date) and head.notice is None and not head.denied:
        return 0
    return VISITS_OF_A_SPACE + head.tally.sessions + head.views.by_period.get(date, 0)


def past_days(engagement: Engagement, today: str) -> list[str]:
    """The engagement counters of days that are aggregated and past keeping."""
    first = add_days(today, -DAYS_KEPT)
    return sorted(
        f"{day}{Counts.DAY_SEPARATOR}{name}"
        for day, names in engagement.by_day.items()
        if day < first
        for name in names
    )


def past_keeping(periods: Iterable[str], today: str) -> list[str]:
    """The view counters whose period ended longer ago than it is kept.

    A run that began before midnight finds those of a day that is new to it.
    """
    kept = (
        add_days(today, -DAYS_KEPT),
        week_of(add_days(today, -WEEKS_KEPT)),
        month_of(add_days(today, -MONTHS_KEPT)),
    )
    first = {len(period): period for period in kept}  # as text, those of one length are in order
    return sorted(period for period in periods if period < first[len(period)])
