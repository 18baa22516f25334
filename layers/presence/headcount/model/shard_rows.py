"""A shard's rows as a recount read them, and what they add up to. Pure.

A recount always reads all rows, so that no number depends on what was seen before. But nearly all
of them are, byte by byte, what they were at the last recount. Those are not decoded and added up
again: what is new is added, what changed or is gone is taken away.

Some rows mean something else although they stay as they are: a lease runs out. So the leases are
kept in order, and what may be a part of the steps since the last recount, or have caused this one,
is looked at each time. If time goes back, everything is added up anew.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from heapq import heappop, heappush

from headcount.model.durations import RecentDurations, VisitDuration, durations_in, latest
from headcount.model.intervals import MAX_ENDS
from headcount.model.peaks import Steps, StepsBuilder
from headcount.model.session import Session
from headcount.model.tally import Tally, TallyBuilder
from headcount.model.trace import Cause, cause_of
from headcount.times import CLOCKS_DIFFER


class ShardRows:
    """The rows of a shard. ``since`` and ``now`` are the times of the last two recounts. ``size``:
    bytes of their JSON."""

    def __init__(self) -> None:
        self._rows: Mapping[bytes, Session] = {}
        self.size = 0
        self._add_up_anew()

    def _add_up_anew(self) -> None:
        self._since = self._now = 0
        self._read_at = 0  # it is known who was live then
        self._tally = TallyBuilder()
        self._live: dict[str, Session] = {}
        self._leases: list[tuple[int, str]] = []  # a heap of (when it runs out, session)
        self._recent: dict[str, Session] = {}
        self._ended: dict[str, VisitDuration] = {}

    def __len__(self) -> int:
        return len(self._rows)

    def read(
        self,
        pages: Iterable[Collection[bytes]],
        decode: Callable[[bytes], Session | None],
        clock: Callable[[], int],
        *,
        since: int,
        now: int,
    ) -> None:
        """Read all rows, undecoded, page by page. ``decode`` returns None for one that can't be
        read. After an error this must not be used any more."""
        before, rows, came, at = self._rows, dict[bytes, Session](), list[Session](), now
        read: list[tuple[int, list[Session]]] = []
        for page in pages:
            sessions = []
            for row in page:
                session = before.get(row)
                if session is None:
                    if (session := decode(row)) is None:
                        continue
                    came.append(session)
                rows[row] = session
                sessions.append(session)
            at = read_at(sessions, at, clock())
            read.append((at, sessions))
        self._rows, self.size = rows, sum(map(len, rows))
        if at > now or now < self._read_at or since < self._since:
            self._add_up_anew()
            for self._read_at, sessions in read:
                self._add(sessions)
        else:
            self._read_at = now
            gone: dict[str, Session] = {}
            if len(before) + len(came) > len(rows):
                gone = {one.id: one for row, one in before.items() if row not in rows}
            came = [one for one in came if not self._only_beat(gone, one)]
            self._remove(gone.values())
            self._add(came)
            self._end_leases()
        self._since, self._now = since, now
        self._recent = {
            id_: session for id_, session in self._recent.items() if not self._is_past(session)
        }

    def tally(self) -> Tally:
        """The numbers now."""
        return self._tally.build()

    def steps(self, tally: Tally) -> Steps:
        """The steps since the last recount, up to the ``tally`` now."""
        course = StepsBuilder(self._since, self._now)
        for session in self._recent.values():
            course.add(session, live=session.id in self._live)
        builder = self._tally
        return course.build(builder.tabs_of, tally.people, tally.sessions, persons=builder.persons)

    def cause(self, since: int) -> Cause | None:
        """What caused a recount, after one at ``since``."""
        return cause_of(self._recent.values(), since=since, now=self._now)

    def durations(self, before: RecentDurations) -> RecentDurations:
        """The last durations, with those ``before``."""
        oldest = before[0] if len(before) == MAX_ENDS else None
        newer = [one for one in self._ended.values() if oldest is None or one > oldest]
        return latest(before, newer)

    # -------------------------------------------------------------------------------------- parts

    def _add(self, sessions: Iterable[Session]) -> None:
        for session in sessions:
            if session.live(self._read_at):
                self._tally.add(session)
                self._live[session.id] = session
                heappush(self._leases, (session.expires_at, session.id))
            elif not session.ended:
                self._tally.add_ongoing(session)
            self._recent[session.id] = session
            for duration in durations_in([session]):
                self._ended[session.id] = duration

    def _only_beat(self, gone: dict[str, Session], session: Session) -> bool:
        """Whether a session has only beaten since: then it is a part of the same sums as before,
        and no longer one of those who are gone."""
        old = gone.get(session.id)
        if (
            old is None
            or session.id not in self._live
            or not session.live(self._read_at)
            or session.changed_at != old.changed_at
            or session.facts != old.facts
            or session.telemetry != old.telemetry
            or (session.began_here, session.earlier, session.formerly)
            != (old.began_here, old.earlier, old.formerly)
        ):
            return False
        del gone[session.id]
        self._live[session.id] = session
        heappush(self._leases, (session.expires_at, session.id))
        if session.id in self._recent:
            self._recent[session.id] = session
        return True

    def _remove(self, sessions: Iterable[Session]) -> None:
        for session in sessions:
            if session.id in self._live:
                self._tally.remove(self._live.pop(session.id))
            elif not session.ended:
                self._tally.remove_ongoing(session)
            self._recent.pop(session.id, None)
            self._ended.pop(session.id, None)

    def _end_leases(self) -> None:
        while self._leases and self._leases[0][0] <= self._read_at:
            session = self._live.get(heappop(self._leases)[1])
            if session is not None and not session.live(self._read_at):  # else it was extended
                del self._live[session.id]
                self._tally.remove(session)
                self._tally.add_ongoing(session)
                self._recent[session.id] = session

    def _is_past(self, session: Session) -> bool:
        """Whether it is no part of the steps, nor a cause, as long as it stays as it is."""
        since = self._since
        return (
            session.changed_at < since
            and session.began_here < since
            and (session.id in self._live or session.gone_at < since)
            and all(end < since for _, end in session.earlier)
            and all(until < since for _, until in session.formerly)
        )


def read_at(page: Iterable[Session], before: int, after: int) -> int:
    """When a page was read, at the earliest: not before its newest write. If that is long after the
    recount began, a session whose lease ended meanwhile is not here together with that one. It is
    not the time ``after`` the read: by then, a lease may have been renewed."""
    if after - before <= CLOCKS_DIFFER:
        return before
    newest = max((max(row.last_seen, row.changed_at) for row in page), default=0)
    return max(before, min(newest, after))


class KnownShards:
    """The rows of the shards that a process recounted last."""

    MOST = 64 * 2**20
    """Bytes of JSON that are kept, some 100,000 rows. With what they were decoded to, they take
    five times as much memory."""

    def __init__(self) -> None:
        self._shards: dict[tuple[str, int], ShardRows] = {}

    def take(self, space: str, shard: int) -> ShardRows:
        """A shard's rows, for one who reads them: until they are kept, no one else has them."""
        return self._shards.pop((space, shard), None) or ShardRows()

    def keep(self, space: str, shard: int, rows: ShardRows) -> None:
        """Keep a shard's rows, and others if there is room for them."""
        if rows.size > self.MOST:
            return
        while self._shards and rows.size + self._size() > self.MOST:
            # The one that was read least lately.
            self._shards.pop(next(iter([*self._shards])), None)
        self._shards[space, shard] = rows

    def _size(self) -> int:
        return sum(one.size for one in [*self._shards.values()])
