"""``daily``: yesterday's row for every space that had anyone in it, and retention.

Spaces that one invocation has no time for are left to others, a list of spaces each. The day of one
space is never divided, because counting unique people needs all of its visits. A space that is too
large for the others is aggregated here, where there is the most time.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import chain
from typing import TYPE_CHECKING

from msgspec import Struct

from headcount.logs import logger
from headcount.model.cost import Use, month_cents
from headcount.model.headcount import gaps_between
from headcount.model.series import pack_steps, steps_of
from headcount.model.session import moved_away
from headcount.model.space import is_rollup
from headcount.model.visit import QUARTER, Day, Visit, summarise
from headcount.store.keys import Counts
from headcount.store.presence import PresenceTable
from headcount.store.visits import RETENTION, VisitsTable
from headcount.times import DAY, add_days, day_of, day_start, month_of, week_of

if TYPE_CHECKING:
    from headcount.model.headcount import Engagement, Headcount
    from headcount.model.rollups import RollUps
    from headcount.store.counts import CountsTable, SpaceCounts
    from headcount.store.headcounts import HeadcountsTable
    from headcount.store.history import HistoryTable
    from headcount.usecases.queues import PieceQueue

VISITS_PER_INVOCATION = 100_000
"""Visits of a day that an invocation aggregates; spaces beyond them are left to others. It takes
seconds. `make bench-sizes` has the figures."""

VISITS_OF_A_SPACE = 250
"""Reading and writing a space's rows takes as long as reading this many visits."""

MAX_VISITS_OF_A_PIECE = 1_000_000
"""A space with more visits is not left to another invocation."""

DAYS_KEPT, WEEKS_KEPT, MONTHS_KEPT = 7, 30, 366
"""Days after which the view counter of a day, a week and a month is deleted."""


class DayRefusedError(ValueError):
    """The day can't be aggregated any more, or not yet. The stored rows stay."""


class DayIncompleteError(RuntimeError):
    """Some spaces' rows could not be written; the others' were. Aggregating again fixes it."""


@dataclass(frozen=True, slots=True)
class Aggregated:
    """What an aggregation did."""

    written: int  # rows
    left: int = 0  # spaces that other invocations aggregate


class Aggregator(Struct, frozen=True, eq=False):
    """What aggregating needs. ``clock`` returns epoch milliseconds."""

    presence: PresenceTable
    counts: CountsTable
    headcounts: HeadcountsTable
    visits: VisitsTable
    history: HistoryTable
    pieces: PieceQueue
    rollups: RollUps
    clock: Callable[[], int]

    def aggregate(self, date: str | None = None) -> Aggregated:
        """Write the day's rows. Running it again changes nothing.

        ``date`` is a past UTC day whose visits are all still kept; by default yesterday. If it
        fails for a space, raises after all the others are written.
        """
        date = date or add_days(day_of(self.clock()), -1)
        self._require_whole(date)
        here: list[Headcount] = []
        large: list[Headcount] = []
        piece: list[str] = []
        capacity = piece_capacity = VISITS_PER_INVOCATION
        left, parts = 0, 1
        rolled_up: Counter[str] = Counter()
        for head in self.headcounts.scan():
            if is_rollup(head.space):
                continue
            visits = _visits(head, date)
            rolled_up.update(dict.fromkeys(self.rollups.of_space(head.space), visits))
            if visits > MAX_VISITS_OF_A_PIECE:
                large.append(head)
            elif capacity > 0:
                here.append(head)
                capacity -= visits
            elif visits:
                piece.append(head.space)
                piece_capacity -= visits
                left += 1
            if piece_capacity <= 0:
                self.pieces.aggregate(date, piece, part=parts)
                piece, piece_capacity, parts = [], VISITS_PER_INVOCATION, parts + 1
        if piece:
            self.pieces.aggregate(date, piece, part=parts)
            parts += 1
        # Each reads the visits of all its spaces again.
        for id_, visits in sorted(rolled_up.items()):
            if visits > capacity:
                self.pieces.aggregate(date, [id_], part=parts)
                left, parts = left + 1, parts + 1
            elif visits:
                large.append(self.headcounts.get(id_))
                capacity -= visits
        return Aggregated(self._each([*here, *large], date, part=0, parts=parts), left)

    def aggregate_some(
        self, date: str, spaces: Iterable[str], *, part: int | None = None
    ) -> Aggregated:
        """Write these spaces' rows of a day, as ``aggregate`` does; ``part``: the day's."""
        self._require_whole(date)
        return Aggregated(self._each(self.headcounts.many(spaces).values(), date, part=part))

    def month_cents(self) -> int:
        """What the running month cost until yesterday, estimated; on its first day, the last one.
        Days whose parts are still being aggregated are incomplete."""
        yesterday = add_days(day_of(self.clock()), -1)
        return month_cents(self.history.uses(f"{month_of(yesterday)}-01", yesterday), yesterday)

    def _require_whole(self, date: str) -> None:
        """Raise unless the day is over and its visits are all still kept."""
        now = self.clock()
        today = day_of(now)
        if date >= today:
            raise DayRefusedError(f"{date} is not over yet: aggregate it after midnight UTC")
        if day_start(date) + RETENTION <= now:
            raise DayRefusedError(
                f"visits of {date} have begun to expire: its numbers would be too low, so the "
                f"stored row stays. The earliest possible day is {day_of(now - RETENTION + DAY)}"
            )

    def _each(
        self, heads: Iterable[Headcount], date: str, *, part: int | None, parts: int | None = None
    ) -> int:
        """Write the spaces' rows, and what the day used; returns how many spaces had anyone."""
        now = self.clock()
        today = day_of(now)
        written = failed = 0
        use = Use()
        for head in heads:
            try:
                if (day := self._aggregate(head, date, today)) is not None:
                    written += 1
                    if not is_rollup(head.space):  # its spaces' rows have it
                        use = use.with_day(day)
                if head.notice is not None or head.denied or not head.readable:
                    self._forget_moderation(head.space, now)
            except Exception:
                logger().exception("not aggregated", extra={"space": head.space})
                failed += 1
        if part is not None:
            self.history.add_use(date, part, use, parts=parts)
        if failed:
            raise DayIncompleteError(f"{date}: spaces that failed: {failed}; the log names them")
        return written

    def _aggregate(self, head: Headcount, date: str, today: str) -> Day | None:
        """Write a space's row, and return it. None: there was nothing to write."""
        if is_rollup(head.space):
            return self._roll_up(head, date)
        if is_unused(head, date):
            return None
        counted = self.counts.space(head.space)
        day = self._summarise(head, counted, date)
        if day is not None:
            self.history.add_days([(head.space, day)])
            self._add_steps(head.space, date)
        self.counts.delete_views(head.space, past_keeping(counted.views.by_period, today))
        self.counts.delete_engagement(head.space, past_days(counted.engagement, today))
        return day

    def _roll_up(self, head: Headcount, date: str) -> Day | None:
        """Write a roll-up's row: a person is one in all its spaces. None: there was nothing
        to write, or too much to read."""
        used = [
            one
            for one in self.headcounts.scan()
            if head.space in self.rollups.of_space(one.space) and not is_unused(one, date)
        ]
        if sum(_visits(one, date) for one in used) > MAX_VISITS_OF_A_PIECE:
            logger().warning("too many visits to roll up", extra={"space": head.space})
            return None
        day = summarise(
            date,
            chain.from_iterable(self.visits.on_day(one.space, date) for one in used),
            # Before the ledger, as in a space: see ``_summarise``.
            live=[visit for one in used for visit in self._live(one, self.counts.space(one.space))],
            peak=head.peak_on(date),
            now=self.clock(),
        )
        if day is not None:
            self.history.add_days([(head.space, day)])
            self._add_steps(head.space, date)
        return day

    def _add_steps(self, space: str, date: str) -> None:
        """Write the day's quarters of an hour from its minutes."""
        start = day_start(date)
        end = start + DAY
        points = self.history.points(space, start, end - 1)
        if not points:
            return
        first = self.history.next_point(space, 0)
        gaps = gaps_between(points, self.history.next_point(space, end - 1), start, end)
        known = (start if first is None else first.at, end)
        steps = steps_of(points, gaps, start=start, end=end, step=QUARTER, known=known)
        self.history.add_steps(space, date, pack_steps(steps))

    def _forget_moderation(self, space: str, now: int) -> None:
        """Delete an expired message and expired removals: no number depends on them."""
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
        return summarise(
            date,
            self.visits.on_day(head.space, date),
            # First: a visit that ends meanwhile is then in the ledger, and counts once.
            live=self._live(head, counted),
            peak=head.peak_on(date),
            now=self.clock(),
            engagement=counted.engagement.by_day.get(date),
        )

    def _live(self, head: Headcount, counted: SpaceCounts) -> Iterator[Visit]:
        """The visits of a space's rows."""
        return (
            Visit.from_session(session)
            for shard in sorted({count.shard for count in counted.shards})
            for page in self.presence.pages(head.space, shard)
            for session in page
            if session.visit and not moved_away(session)
        )


def is_unused(head: Headcount, date: str) -> bool:
    """Whether the space was certainly empty on that day, and since."""
    return head.readable and head.as_of < day_start(date) and not head.tally.sessions


def _visits(head: Headcount, date: str) -> int:
    """An estimate, from the headcount, of the work that a space takes: its visits, and its rows."""
    if is_unused(head, date) and head.notice is None and not head.denied:
        return 0
    return VISITS_OF_A_SPACE + head.tally.sessions + head.views.by_period.get(date, 0)


def past_days(engagement: Engagement, today: str) -> list[str]:
    """The engagement counters of days that are aggregated and past their retention."""
    first = add_days(today, -DAYS_KEPT)
    return sorted(
        f"{day}{Counts.DAY_SEPARATOR}{name}"
        for day, names in engagement.by_day.items()
        if day < first
        for name in names
    )


def past_keeping(periods: Iterable[str], today: str) -> list[str]:
    """The view counters whose period is past its retention.

    A run that began before midnight may find counters of the next day.
    """
    kept = (
        add_days(today, -DAYS_KEPT),
        week_of(add_days(today, -WEEKS_KEPT)),
        month_of(add_days(today, -MONTHS_KEPT)),
    )
    first = {len(period): period for period in kept}  # periods of one length sort as text
    return sorted(period for period in periods if period < first[len(period)])
