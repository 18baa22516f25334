"""Who is where, by what clients were told was taken; and what a day was, by what was written.

The oracle knows nothing of shards, recounts or versions. Of a message it knows when it was sent
and when its answer came: the server took it in between, by a clock that may be a second behind.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from headcount.store.attributes import decode
from headcount.times import SECOND, day_of

BEHIND = SECOND
"""Milliseconds that a server's clock may be behind."""
Facets = dict[str, dict[str, tuple[int, int]]]
Row = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Said:
    """A beat, as far as it counts. ``sent`` and ``taken`` bound when the server took it."""

    space: str
    session: str
    user: str | None
    visitor: str | None
    facets: tuple[tuple[str, str], ...]
    facts: tuple[object, ...]  # all that makes a beat a change if it is not as it was
    lease: int  # milliseconds
    sent: int
    taken: int

    @property
    def person(self) -> str:
        """Whom it counts for."""
        if self.user is not None:
            return f"user {self.user}"
        return f"visitor {self.visitor}" if self.visitor else f"session {self.session}"

    @property
    def ends(self) -> tuple[int, int]:
        """Bounds of the moment at which the session is gone unless it says more."""
        return self.sent - BEHIND + self.lease, self.taken + self.lease


@dataclass
class Stay:
    """What is known of one session."""

    said: Said | None = None
    left: tuple[int, int] | None = None
    changed: tuple[int, int] = (0, 0)
    joins: tuple[int, int] = (0, 0)  # at least, at most
    beats: tuple[int, int] = (0, 0)


class Oracle:
    """The model: a session is here until it leaves or is silent for its lease."""

    def __init__(self) -> None:
        self.stays: dict[tuple[str, str], Stay] = defaultdict(Stay)

    def beat(self, said: Said, *, sure: bool, times: int = 1) -> None:
        """A beat was taken, ``times`` at most; ``sure``: no other message was under way."""
        stay = self.stays[said.space, said.session]
        was = stay.said
        new = was is None or stay.left is not None
        running = not new and was is not None and said.taken < was.ends[0]
        stay.joins = stay.joins[0] + (new and sure), stay.joins[1] + (new or not (running and sure))
        stay.beats = stay.beats[0] + sure, stay.beats[1] + times
        # With less than five seconds of its lease left, the same facts count as said anew.
        same = was is not None and was.facts == said.facts
        if not new and same and was is not None and sure:
            steady = said.taken < was.ends[0] - 6 * SECOND
            stay.changed = stay.changed if steady else (stay.changed[0], said.taken)
        else:
            stay.changed = said.sent - BEHIND, said.taken
        stay.said, stay.left = said, None

    def leave(self, space: str, session: str, *, sent: int, taken: int) -> None:
        """A leave was taken."""
        stay = self.stays[space, session]
        if stay.left is None:
            stay.left = sent - BEHIND, taken

    def here(self, space: str, now: int) -> list[tuple[Said, tuple[int, int]]]:
        """What the live sessions of a space said last, and bounds of when they changed."""
        return [
            (stay.said, stay.changed)
            for (where, _), stay in self.stays.items()
            if where == space and stay.left is None and stay.said and now < stay.said.ends[0]
        ]

    def lapsed(self, space: str, now: int) -> bool:
        """Whether anybody's lease ran out, or is about to."""
        return any(
            now > stay.said.ends[0] - SECOND
            for (where, _), stay in self.stays.items()
            if where == space and stay.left is None and stay.said is not None
        )

    def unclear(self, now: int, *, published_within: int) -> bool:
        """Whether a lease may just be ending, or ended too recently for everybody to know."""
        return any(
            stay.said.ends[0] - 10 * SECOND <= now < stay.said.ends[1] + published_within
            for stay in self.stays.values()
            if stay.said is not None and stay.left is None
        )

    def numbers(self, space: str, now: int) -> dict[str, int]:
        """People and sessions."""
        here = [said for said, _ in self.here(space, now)]
        users = {said.user for said in here if said.user is not None}
        strangers = {said.person for said in here if said.user is None}
        signed_in = sum(said.user is not None for said in here)
        return {
            "people": len(users) + len(strangers),
            "signedIn": len(users),
            "anonymous": len(strangers),
            "sessions": len(here),
            "signedInSessions": signed_in,
            "anonymousSessions": len(here) - signed_in,
        }

    def facets(self, space: str, now: int) -> tuple[Facets, set[str]]:
        """facet -> value -> (sessions, people), and the facets whose people can't be told."""
        counts: dict[str, Counter[str]] = defaultdict(Counter)
        said_by: dict[tuple[str, str], list[tuple[tuple[int, int], str]]] = defaultdict(list)
        for said, changed in self.here(space, now):
            for facet, value in said.facets:
                counts[facet][value] += 1
                said_by[facet, said.person].append((changed, value))
        people: dict[str, Counter[str]] = defaultdict(Counter)
        unclear = set()
        for (facet, _), values in said_by.items():
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


@dataclass
class Journal:
    """Every write of Presence in order: what the ledger, the views and the days must come to."""

    visits: dict[str, Row] = field(default_factory=dict)  # by visit: its latest row
    users: dict[str, list[str]] = field(default_factory=lambda: defaultdict(list))
    sessions: dict[tuple[str, str], list[str]] = field(default_factory=lambda: defaultdict(list))
    dropped: set[str] = field(default_factory=set)
    moved: set[str] = field(default_factory=set)  # spaces with sessions that changed shards

    def wrote(self, records: Iterable[Mapping[str, Any]]) -> None:
        """Read the stream's records."""
        for record in records:
            image = record["dynamodb"].get("NewImage")
            row = decode(image) if image else {}
            visit = row.get("visit")
            if row.get("ended_by") == "move":
                self.moved.add(row["partition"].rpartition("#")[0])
            if not visit or row.get("ended_by") == "move":
                continue
            row["space"] = row["partition"].rpartition("#")[0]
            if visit not in self.visits:
                self.sessions[row["space"], row["session"]].append(visit)
            self.visits[visit] = row
            user = row.get("user")
            if user and user not in self.users[visit]:
                self.users[visit].append(user)

    def lost(self, records: Iterable[Mapping[str, Any]]) -> None:
        """Records that no ``count`` will ever see."""
        for record in records:
            image = record["dynamodb"].get("NewImage", {})
            if "visit" in image:
                self.dropped.add(image["visit"]["S"])

    @property
    def excused(self) -> set[str]:
        """Visits whose row was written over after their record was dropped: nothing is left from
        which anybody could tell that they were, or how they ended."""
        return {
            visit
            for visits in self.sessions.values()
            for visit in visits[:-1]
            if visit in self.dropped
        }

    def of(self, space: str) -> dict[str, Row]:
        """A space's visits."""
        return {id_: row for id_, row in self.visits.items() if row["space"] == space}

    def day(self, space: str, date: str) -> dict[str, int]:
        """A day that is over, of visits that are, too."""
        visits = {id_: row for id_, row in self.of(space).items() if row.get("beats", {}).get(date)}
        users = {user for id_ in visits for user in self.users[id_]}
        known = {
            (kind, visits[id_].get(kind)) for id_ in visits if self.users[id_] for kind in _NAMED
        }
        strangers = {
            row.get("visitor") or row["session"]
            for id_, row in visits.items()
            if not self.users[id_]
            and not any(row.get(kind) and (kind, row[kind]) in known for kind in _NAMED)
        }
        return {
            "uniquePeople": len(users) + len(strangers),
            "uniqueUsers": len(users),
            "uniqueSessions": len({row["session"] for row in visits.values()}),
            "views": sum(day_of(row["joined_at"]) == date for row in visits.values()),
            "beats": sum(row["beats"][date] for row in visits.values()),
        }


_NAMED = ("visitor", "session")
