"""``daily``: yesterday's row for every space that had anyone in it, and retention."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

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

DAYS_KEPT, WEEKS_KEPT, MONTHS_KEPT = 7, 30, 366
"""Days after which a day's, a week's and a month's view counter is forgotten."""


class DayRefusedError(ValueError):
    """The day can't be aggregated (any more, or yet); what is stored for it stays."""


class DayIncompleteError(RuntimeError):
    """Some spaces' rows could not be written; the others' were. Aggregating again mends it."""


@dataclass(frozen=True, slots=True)
class Aggregator:
    """What aggregating needs. ``clock`` gives epoch milliseconds."""

    presence: PresenceTable
    counts: CountsTable
    headcounts: HeadcountsTable
    visits: VisitsTable
    history: HistoryTable
    clock: Callable[[], int]

    def aggregate(self, date: str | None = None) -> int:
        """Write the day's rows; returns how many. Running it again changes nothing.

        ``date`` is a UTC day that is over and whose visits are all still kept; default yesterday.
        Raises when it failed for a space, after all the others.
        """
        now = self.clock()
        today = day_of(now)
        date = date or add_days(today, -1)
        if date >= today:
            raise DayRefusedError(f"{date} is not over yet: aggregate it after midnight UTC")
        if day_start(date) + RETENTION <= now:
            raise DayRefusedError(
                f"visits of {date} have begun to expire: its row would come out too low, so the "
                f"stored one stays. The earliest day possible is {day_of(now - RETENTION + DAY)}"
            )
        written = failed = 0
        for head in self.headcounts.scan():
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
        if head.readable and head.as_of < day_start(date) and not head.tally.sessions:
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
        visits = [
            Visit.of(session)
            for shard in sorted(shards)
            for session in self.presence.partition(head.space, shard)
            if session.visit and not moved_away(session)
        ]
        visits += self.visits.of_day(head.space, date)
        return summarise(
            date,
            visits,
            peak=head.peak_on(date),
            now=self.clock(),
            engagement=counted.engagement.by_day.get(date),
        )


def past_days(engagement: Engagement, today: str) -> list[str]:
    """The engagement counters of days that are aggregated and past keeping."""
    kept = {add_days(today, -ago) for ago in range(DAYS_KEPT + 1)}
    return sorted(
        f"{day}{Counts.DAY_SEPARATOR}{name}"
        for day, names in engagement.by_day.items()
        if day not in kept
        for name in names
    )


def past_keeping(periods: Iterable[str], today: str) -> list[str]:
    """The view counters whose period ended longer ago than it is kept."""
    days = {add_days(today, -ago) for ago in range(DAYS_KEPT + 1)}
    weeks = {week_of(add_days(today, -ago)) for ago in range(WEEKS_KEPT + 1)}
    months = {month_of(add_days(today, -ago)) for ago in range(MONTHS_KEPT + 1)}
    return sorted(set(periods) - days - weeks - months)
