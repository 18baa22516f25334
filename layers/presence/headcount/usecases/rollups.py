"""Roll-ups: count the distinct people of kinds and groups, by the index of people.

A join, a leave or a change of person changes entries of the index. ``count`` marks their parts, and
a deferred task recounts each: it reads all of the part's entries, and writes the numbers of all
roll-ups in one row, on condition that no other recount wrote it since. ``publish`` adds up the
parts, and publishes the roll-ups that changed as it publishes spaces.

An index follows its table after a moment, so a recount begins ``LAG`` after the change. What came
later still, or was lost, the sweep finds within a minute: it recounts every part.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import msgspec
from msgspec import Struct

from headcount.model.headcount import Headcount, Point, due_after, paid_after
from headcount.model.rollups import RollUps, added_numbers, numbers_of_part
from headcount.model.session import RETURN_WINDOW, Facts, Session, Write, place_of
from headcount.model.tally import Tally
from headcount.store.rollups import PartCount, RollupsTable
from headcount.times import CLOCKS_DIFFER, MINUTE, SECOND, whole_seconds
from headcount.usecases.audit import is_recent

if TYPE_CHECKING:
    from headcount.store.headcounts import HeadcountsTable
    from headcount.store.presence import PresenceTable
    from headcount.usecases.queues import DeferredQueue

LAG = 2 * SECOND
"""How long an entry of the index may take to appear. Usually it is some milliseconds."""

_SMALL, _SLOWEST_PACE = 500, 5 * SECOND
_LONGEST_PLAN = MINUTE
_TRIES = 20


def part_pace(rows: int) -> int:
    """Milliseconds between recounts of a part: 1 s up to 500 entries, which are six read units,
    and in proportion to them up to 5 s."""
    return min(_SLOWEST_PACE, SECOND * max(rows, _SMALL) // _SMALL)


class RollupRecounter(Struct, frozen=True, eq=False):
    """Recounts parts of the index of people. ``clock`` returns epoch milliseconds."""

    presence: PresenceTable
    table: RollupsTable
    declared: RollUps
    clock: Callable[[], int]

    def recount(
        self, part: int, *, at: int | None = None, only_changes: bool = False
    ) -> PartCount | None:
        """Read a part's entries and write its numbers. Returns None if a recount that began after
        ``at`` was made already, or with ``only_changes`` if none is needed. Raises
        PartContendedError.

        The version is read before the entries. If another recount was written in between, it may
        be based on newer entries, so this one is not written but made again.
        """
        for _ in range(_TRIES):
            before = self.table.part(part)
            now = self.clock()
            if at is not None and at + CLOCKS_DIFFER < before.counted_at <= now + CLOCKS_DIFFER:
                return None
            numbers, rows = numbers_of_part(self.presence.people(part), self.declared)
            if only_changes and before.readable and numbers == before.numbers:
                return None
            pace = part_pace(rows)
            paid_until = paid_after(before.paid_until, pace, now)
            count = PartCount(part, before.version + 1, numbers, rows, now, paid_until)
            if self.table.save(count):
                return count
        raise PartContendedError(f"part {part} of the roll-ups: lost {_TRIES} races")


class RollupMarker(Struct, frozen=True, eq=False):
    """Has the parts recounted in which a batch changed something. ``clock`` returns epoch
    milliseconds. ``planned``: when the recounts that this process deferred run, at the
    earliest."""

    table: RollupsTable
    deferred_queue: DeferredQueue
    parts: int
    clock: Callable[[], int]
    planned: dict[int, list[int]] = msgspec.field(default_factory=dict)

    def mark(self, written: Iterable[Session]) -> None:
        """Defer recounts that include these writes: of joins, of leaves, and of changes of a
        person, and of erasures, whose former part is not known. One that is away may return, which
        looks like any change: another recount follows then."""
        soon: set[int] = set()
        later: set[int] = set()
        for session in written:
            part, _ = place_of(session.person, self.parts)
            if session.write is Write.LEAVE and session.facts == Facts():
                soon.update(range(self.parts))  # an erasure's: whose it was is gone
            elif session.write is not Write.CHANGE:
                soon.add(part)
            elif session.away or session.hidden:
                soon.add(part)
                later.add(part)
            elif _is_another_person(session):
                soon.update(range(self.parts))
        self._plan(later, LAG + RETURN_WINDOW + CLOCKS_DIFFER, within=_LONGEST_PLAN)
        self._plan(soon, LAG, within=LAG + _SLOWEST_PACE)

    def _plan(self, parts: Iterable[int], wait: int, *, within: int) -> None:
        """Defer a recount of these parts by ``wait`` milliseconds at least, unless one is deferred
        that will run after that, and ``within`` so many milliseconds."""
        now = self.clock()
        todo = [
            part
            for part in sorted(parts)
            if not any(now + wait <= at <= now + within for at in self.planned.get(part, ()))
        ]
        if not todo:
            return
        due = max(
            (
                due_after(one.paid_until, part_pace(one.rows))
                for one in self.table.parts()
                if one.part in todo
            ),
            default=0,
        )
        # A longer wait can only come from a clock that stepped back.
        after = whole_seconds(max(wait, min(due - now, _SLOWEST_PACE)))
        at = now + after * SECOND
        self.deferred_queue.roll_up(todo, at=at, after=after)
        for part in todo:
            known = self.planned.get(part, ())
            self.planned[part] = [*(one for one in known if now < one <= now + _LONGEST_PLAN), at]


def _is_another_person(session: Session) -> bool:
    """Whether a change may have changed whom the session counts as."""
    return session.moved_at == session.changed_at or any(
        until == session.changed_at for _, until in session.formerly
    )


@dataclass(frozen=True, slots=True)
class RolledUp:
    """A roll-up whose published numbers were not those that are counted."""

    head: Headcount
    tally: Tally


class RollupSweeper(Struct, frozen=True, eq=False):
    """Recounts all parts, has published what was not, and samples the roll-ups."""

    recounter: RollupRecounter
    headcounts: HeadcountsTable
    clock: Callable[[], int]

    def sweep(self) -> tuple[list[Point], list[RolledUp]]:
        """Returns a point on the timeline for each roll-up with anyone in it, and those whose
        numbers had been counted for long, but were not published."""
        recounter = self.recounter
        counted = {one.part: one for one in recounter.table.parts()}
        for part in sorted({*range(recounter.presence.parts), *counted}):
            made = recounter.recount(part, only_changes=True)
            counted |= {part: made} if made is not None else {}
        ids = recounter.declared.ids
        heads = self.headcounts.many(ids)
        numbers = added_numbers((one.numbers for one in counted.values()), ids)
        now = self.clock()
        points = [
            Point(id_, now - now % MINUTE, tally.people, tally.sessions)
            for id_, tally in numbers.items()
            if tally.sessions
        ]
        if not counted or any(is_recent(one.counted_at, now) for one in counted.values()):
            return points, []
        every = [RolledUp(heads.get(id_) or Headcount(id_), numbers[id_]) for id_ in ids]
        wrong = [one for one in every if one.head.tally != one.tally or not one.head.readable]
        if wrong:
            recounter.recount(min(counted))  # any recount has all of them published
        return points, wrong


class PartContendedError(RuntimeError):
    """Other recounts kept winning; the queue retries the task."""
