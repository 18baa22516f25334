"""Who is where, according to acknowledged messages; and each day's numbers, according to writes.

The oracle does not know shards, recounts or versions. Of a message it knows when it was sent and
when it was acknowledged: the server handled it in between, by a clock that may be a second slow.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from itertools import groupby, pairwise
from typing import Any

from headcount.model.person import hashed_fingerprint
from headcount.model.session import MAX_EARLIER, RETURN_GRACE, RETURN_WINDOW
from headcount.store.attributes import decode
from headcount.times import CLOCKS_DIFFER, DAY, LATEST, SECOND, day_of, day_start

from lab.harness.fakes import SECRET

BEHIND = SECOND
"""Milliseconds by which a server's clock may be slow."""
Facets = dict[str, dict[str, tuple[int, int]]]
Row = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Beat:
    """A beat's relevant fields. The server handled it between ``sent`` and ``acknowledged``."""

    space: str
    session: str
    user: str | None
    verified: bool  # a token proves the user: someone who only claims the id is another person
    visitor: str | None
    facets: tuple[tuple[str, str], ...]
    facts: tuple[object, ...]  # a beat with other facts than the last is a change
    lease: int  # milliseconds
    sent: int
    acknowledged: int

    @property
    def person(self) -> str:
        """The person that the session counts for."""
        if self.user is not None:
            return f"{'user' if self.verified else 'claim'} {self.user}"
        return f"visitor {self.visitor}" if self.visitor else f"session {self.session}"

    @property
    def key(self) -> str:
        """The key by which the person is looked up."""
        if self.user is not None:
            return f"{'u' if self.verified else 'c'}:{self.user}"
        if self.visitor is None:
            return f"s:{self.session}"
        # Link analytics keeps the hash of what a browser sends.
        hashes = self.space.startswith("link:")
        return f"v:{hashed_fingerprint(self.visitor, SECRET) if hashes else self.visitor}"

    @property
    def ends(self) -> tuple[int, int]:
        """Bounds of the time at which the session expires without another beat."""
        return self.sent - BEHIND + self.lease, self.acknowledged + self.lease


@dataclass
class SessionState:
    """What is known about a session; pairs are lower and upper bounds."""

    beat: Beat | None = None
    left: tuple[int, int] | None = None
    may_return: tuple[int, int] | None = None  # a beat until then continues the visit
    changed: tuple[int, int] = (0, 0)
    joins: tuple[int, int] = (0, 0)
    beats: tuple[int, int] = (0, 0)


class Oracle:
    """The model: a session is live until it leaves or sends no beat within its lease."""

    def __init__(self) -> None:
        self.sessions: dict[tuple[str, str], SessionState] = defaultdict(SessionState)
        self.seen: dict[str, tuple[int, int]] = defaultdict(lambda: (0, 0))
        """Bounds of when each person, by key, was last seen."""

    def beat(self, beat: Beat, *, sure: bool, times: int = 1) -> None:
        """Add a beat, handled up to ``times`` times; ``sure``: no other message overlapped it."""
        state = self.sessions[beat.space, beat.session]
        was = state.beat
        gone = was is None or state.left is not None
        # By a slow clock it is earlier.
        until = state.may_return or (0, -BEHIND)
        new = gone and beat.sent - BEHIND > until[1]
        returns = gone and beat.acknowledged < until[0]
        running = returns or (not gone and was is not None and beat.acknowledged < was.ends[0])
        state.joins = (
            state.joins[0] + (new and sure),
            state.joins[1] + (new or not (running and sure)),
        )
        state.beats = state.beats[0] + sure, state.beats[1] + times
        # A beat that a leave overtakes may count for nothing.
        self._see(beat.key, beat.sent - BEHIND if sure else 0, beat.acknowledged)
        if was is not None:  # it was that person until now, if it was still there
            self._see(was.key, 0, beat.acknowledged)
        # With less than five seconds of the lease left, a beat with the same facts is a change.
        same = was is not None and was.facts == beat.facts
        if not gone and same and was is not None and sure:
            steady = beat.acknowledged < was.ends[0] - 6 * SECOND
            state.changed = state.changed if steady else (state.changed[0], beat.acknowledged)
        else:
            state.changed = beat.sent - BEHIND, beat.acknowledged
        state.beat, state.left, state.may_return = beat, None, None

    def leave(
        self,
        space: str,
        session: str,
        *,
        sent: int,
        acknowledged: int,
        sure: bool = True,
        may_return: bool = False,
    ) -> None:
        """Add a leave. ``sure``: no other message overlapped it; ``may_return``: it says so."""
        state = self.sessions[space, session]
        if state.beat is not None:
            self._see(state.beat.key, 0, acknowledged)  # if its lease had not run out
        if state.left is not None or state.beat is None:
            state.left = state.left or (sent - BEHIND, acknowledged)
            if state.may_return:  # whether this leave ends it or was the first one
                state.may_return = 0, state.may_return[1]
            elif may_return and not sure:  # it may have come first, and the other one late
                state.may_return = 0, acknowledged + RETURN_WINDOW
            return
        state.left = sent - BEHIND, acknowledged
        if may_return:
            certain = sure and acknowledged < state.beat.ends[0]  # else its lease may have run out
            first = state.left[0] + RETURN_WINDOW if certain else 0
            state.may_return = first, acknowledged + RETURN_WINDOW

    def _see(self, person: str, surely: int, perhaps: int) -> None:
        was = self.seen[person]
        self.seen[person] = max(was[0], surely), max(was[1], perhaps)

    def here(self, space: str, now: int) -> list[tuple[Beat, tuple[int, int]]]:
        """The last beats of a space's live sessions, and bounds of when each changed."""
        return [
            (state.beat, state.changed)
            for (where, _), state in self.sessions.items()
            if where == space and state.left is None and state.beat and now < state.beat.ends[0]
        ]

    def lapsed(self, space: str, now: int) -> bool:
        """Whether a session's lease ran out, or is about to."""
        return any(
            now > state.beat.ends[0] - SECOND
            for (where, _), state in self.sessions.items()
            if where == space and state.left is None and state.beat is not None
        )

    def unclear(self, now: int, *, published_within: int) -> bool:
        """Whether a lease may be ending now, or ended too recently to be published."""
        return any(
            state.beat.ends[0] - 10 * SECOND <= now < state.beat.ends[1] + published_within
            for state in self.sessions.values()
            if state.beat is not None and state.left is None
        )

    def numbers(self, *spaces: str, now: int) -> dict[str, int]:
        """The numbers of people and sessions, in one space or over several."""
        here = [beat for space in spaces for beat, _ in self.here(space, now)]
        users = {beat.person for beat in here if beat.user is not None}
        # Links store a hash of the visitor: in other spaces the same browser has another id.
        anonymous = {
            (beat.space.startswith("link:"), beat.person) for beat in here if beat.user is None
        }
        signed_in = sum(beat.user is not None for beat in here)
        return {
            "people": len(users) + len(anonymous),
            "signedIn": len(users),
            "anonymous": len(anonymous),
            "sessions": len(here),
            "signedInSessions": signed_in,
            "anonymousSessions": len(here) - signed_in,
        }

    def facets(self, space: str, now: int) -> tuple[Facets, set[str]]:
        """facet -> value -> (sessions, people), and the facets whose people are ambiguous."""
        counts: dict[str, Counter[str]] = defaultdict(Counter)
        values_by: dict[tuple[str, str], list[tuple[tuple[int, int], str]]] = defaultdict(list)
        for beat, changed in self.here(space, now):
            for facet, value in beat.facets:
                counts[facet][value] += 1
                values_by[facet, beat.person].append((changed, value))
        people: dict[str, Counter[str]] = defaultdict(Counter)
        unclear = set()
        for (facet, _), values in values_by.items():
            latest = max(changed[0] for changed, _ in values)
            candidates = {value for changed, value in values if changed[1] >= latest}
            people[facet][max(candidates)] += 1
            if len(candidates) > 1:
                unclear.add(facet)
        facets = {
            facet: {value: (count, people[facet][value]) for value, count in values.items()}
            for facet, values in counts.items()
        }
        return facets, unclear


@dataclass(frozen=True, slots=True)
class Stretch:
    """A part of a visit between two writes. In it its person was surely here from when it was
    ``stored`` to the end of the lease, and perhaps from ``start`` to the next write."""

    person: str
    start: int
    stored: int
    end: int
    until: int


def most(stays: Iterable[tuple[str, int, int]], day: str | None = None) -> int:
    """The most different names that were there at once, on that day or ever; each from a time, up
    to another."""
    begin, over = (0, LATEST) if day is None else (day_start(day), day_start(day) + DAY)
    changes: list[tuple[int, int, str]] = []
    for name, start, left in stays:
        end = max(left, start + 1)
        if start < over and end > begin:
            changes += [(max(start, begin), 1, name), (end, -1, name)]
    here: Counter[str] = Counter()
    highest = 0
    for _, change, name in sorted(changes):
        here[name] += change
        highest = max(highest, sum(number > 0 for number in here.values()))
    return highest


@dataclass
class Journal:
    """Every write of Presence in order: what ledger, views and days must agree with."""

    shards_per_space: int = 1
    visits: dict[str, Row] = field(default_factory=dict)  # visit -> its latest row
    users: dict[str, list[str]] = field(default_factory=lambda: defaultdict(list))
    proven: dict[str, set[str]] = field(default_factory=lambda: defaultdict(set))
    sessions: dict[tuple[str, str], list[str]] = field(default_factory=lambda: defaultdict(list))
    dropped: set[str] = field(default_factory=set)
    moved: Counter[str] = field(default_factory=Counter)  # space -> moves from shard to shard
    shards: dict[str, set[str]] = field(default_factory=lambda: defaultdict(set))  # of a space
    writes: dict[str, list[Row]] = field(default_factory=lambda: defaultdict(list))  # by visit

    def add(self, records: Iterable[Mapping[str, Any]], now: int) -> None:
        """Add records of the stream, which were written now."""
        for record in records:
            image = record["dynamodb"].get("NewImage")
            row = decode(image) if image else {}
            visit = row.get("visit")
            if row.get("ended_by") == "move":
                self.moved[row["partition"].rpartition("#")[0]] += 1
            if not visit or row.get("ended_by") == "move":
                continue
            row["space"], _, shard = row["partition"].rpartition("#")
            self.shards[row["space"]].add(shard)
            row["written_at"] = now
            if visit not in self.visits:
                self.sessions[row["space"], row["session"]].append(visit)
            self.visits[visit] = row
            self.writes[visit].append(row)
            user = row.get("user")
            if user and user not in self.users[visit]:
                self.users[visit].append(user)
            if user and row.get("verified"):
                self.proven[visit].add(user)

    def add_dropped(self, records: Iterable[Mapping[str, Any]]) -> None:
        """Add records that ``count`` never receives."""
        for record in records:
            image = record["dynamodb"].get("NewImage", {})
            if "visit" in image:
                self.dropped.add(image["visit"]["S"])

    @property
    def excused(self) -> set[str]:
        """Visits whose row was overwritten after their record was dropped: nothing that is stored
        shows that they existed, or how they ended."""
        return {
            visit
            for visits in self.sessions.values()
            for visit in visits[:-1]
            if visit in self.dropped
        }

    def of(self, *spaces: str) -> dict[str, Row]:
        """The visits of these spaces."""
        return {id_: row for id_, row in self.visits.items() if row["space"] in spaces}

    def peaks(self, space: str, day: str | None = None) -> tuple[tuple[int, int], tuple[int, int]]:
        """Bounds of the highest number of people, and of sessions, who were here at once: ever, or
        on a UTC day.

        Close but where a visit went on after its lease had ended, or changed its person often, or
        where the space has several shards.
        """
        sure: list[tuple[str, int, int]] = []
        possible: list[tuple[str, int, int]] = []
        sessions: list[tuple[str, int, int]] = []
        whole: list[tuple[str, int, int]] = []
        for id_ in self.of(space):
            stretches = list(_stretches(self.writes[id_]))
            if not stretches:
                continue
            end = max(max(one.until, one.end) for one in stretches)
            whole.append((id_, stretches[0].start, end))
            sessions += [(id_, one.stored, one.end) for one in stretches if one.stored < one.end]
            people = [name for name, _ in groupby(one.person for one in stretches)]
            if len(people) > _FORMER + 1:
                possible += [(name, stretches[0].start, end) for name in people]
                continue
            sure += [(one.person, one.stored, one.end) for one in stretches if one.stored < one.end]
            possible += [(one.person, one.start, max(one.until, one.end)) for one in stretches]
        # Servers' clocks differ by a second: who left and who came within it can't be ordered.
        sure, sessions = _widened(sure, -CLOCKS_DIFFER), _widened(sessions, -CLOCKS_DIFFER)
        several = len(self.shards[space]) > 1
        slow = _SLOW_WRITE if several else CLOCKS_DIFFER  # other shards were counted meanwhile
        possible, whole = _widened(possible, slow), _widened(whole, slow)
        least, more = (most(sure, day), most(sessions, day)), 0
        if self.shards_per_space > 1:
            least = (0, 0)  # steps are kept for minutes only, and an outage may be longer
        if several:
            # A session that moves is in both shards for as long as a slow write takes.
            least, more = (0, 0), self.moved[space]
        return (least[0], most(possible, day) + more), (least[1], most(whole, day) + more)

    def day(self, *spaces: str, date: str) -> dict[str, int]:
        """The numbers of a past day whose visits have all ended, in one space or over several."""
        visits = {
            id_: row for id_, row in self.of(*spaces).items() if row.get("beats", {}).get(date)
        }
        users = {(user, user in self.proven[id_]) for id_ in visits for user in self.users[id_]}
        known = {
            (kind, visits[id_].get(kind)) for id_ in visits if self.users[id_] for kind in _NAMED
        }
        anonymous = {
            row.get("visitor") or row["session"]
            for id_, row in visits.items()
            if not self.users[id_]
            and not any(row.get(kind) and (kind, row[kind]) in known for kind in _NAMED)
        }
        return {
            "uniquePeople": len(users) + len(anonymous),
            "uniqueUsers": len(users),
            "uniqueSessions": len({row["session"] for row in visits.values()}),
            "views": sum(day_of(row["joined_at"]) == date for row in visits.values()),
            "beats": sum(row["beats"][date] for row in visits.values()),
        }


def _widened(stays: list[tuple[str, int, int]], by: int) -> list[tuple[str, int, int]]:
    return [(name, start - by, end + by) for name, start, end in stays if start - by < end + by]


_SLOW_WRITE = 15 * SECOND
"""How long a write takes at most, with all of its tries."""

_FORMER = MAX_EARLIER
"""How many former persons of a visit a recount knows the times of."""


def _stretches(writes: list[Row]) -> Iterable[Stretch]:
    """The parts of a visit, from its rows in the order in which they were written."""
    begin = 0
    for row, after in pairwise([*writes, None]):
        assert row is not None
        if row["kind"] in {"leave", "gone"} or row["expires_at"] <= row["last_seen"]:
            continue  # a leave, perhaps a hidden one
        if _is_away(row):  # it counts for a moment, and longer if it returns: nothing is sure
            back = 0 if after is None else after["last_seen"]
            until = max(row["expires_at"], back)
            begin = max(begin, row["changed_at"])
            yield Stretch(_person(row), begin, begin, begin, max(begin, until))
            continue
        # A slower clock may have written it: a stretch begins where the last one ends.
        start = max(begin, row["joined_at"] if row["kind"] == "join" else row["last_seen"])
        until = row["expires_at"]
        if after is not None and _is_away(after):
            until = max(start, after["changed_at"])
        elif after is not None:
            leaves = after["kind"] in {"leave", "gone"}
            until = max(start, after.get("ended_at", until) if leaves else after["last_seen"])
        begin = until
        end = min(until, row["expires_at"])
        if after is not None and until < row["expires_at"]:
            until = max(until, after["written_at"])  # nobody could know before
        # A recount also finds what was stored a second late.
        stored = start if row["written_at"] <= start + SECOND else row["written_at"]
        yield Stretch(_person(row), start, stored, end, until)


def _is_away(row: Row) -> bool:
    """A page has closed, and its tab may be back."""
    return (
        row["kind"] == "change"
        and row.get("ended_by") == "leave"
        and row["expires_at"] <= row["changed_at"] + RETURN_GRACE
    )


def _person(row: Row) -> str:
    if row.get("user"):
        return f"{'user' if row.get('verified') else 'claim'} {row['user']}"
    return f"visitor {row['visitor']}" if row.get("visitor") else f"session {row['session']}"


_NAMED = ("visitor", "session")
