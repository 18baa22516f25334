"""Explains a roll-up's numbers: what is published, what a recount of the index of people gives, and
which spaces, people and sessions are in it."""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from headcount.model.headcount import Headcount
from headcount.model.rollups import RollUps, numbers_of_part, rollup_name
from headcount.model.session import Session
from headcount.model.tally import Tally, merge
from headcount.store.headcounts import HeadcountsTable
from headcount.store.presence import IndexEntry, PresenceTable
from headcount.store.rollups import PartCount, RollupsTable
from headcount.times import iso
from headcount.usecases.audit import is_recent
from headcount.usecases.explain import MAX_EXPLAINED_ROWS, counted_as, people_of
from headcount.usecases.parameters import Position, cursor_at, page_size, parse_cursor

_MOST_SPACES = 100


@dataclass(frozen=True, slots=True)
class RollupExplainer:
    """Explains the numbers of roll-ups. ``clock`` returns epoch milliseconds."""

    presence: PresenceTable
    table: RollupsTable
    headcounts: HeadcountsTable
    declared: RollUps
    clock: Callable[[], int]

    def explain(self, id_: str, limit: str | None, cursor: str | None) -> dict[str, Any]:
        """The published numbers, a fresh recount, the spaces, and a page of the sessions that are
        counted, those of a person one after the other.

        With more than ``MAX_EXPLAINED_ROWS`` entries the index is not read: ``recount`` and what
        depends on it are None.
        """
        wanted, position = page_size(limit), parse_cursor(cursor)
        head = self.headcounts.get(id_)
        counts = {one.part: one for one in self.table.parts()}
        answer = _numbers(id_, head, counts.values())
        if sum(count.rows for count in counts.values()) > MAX_EXPLAINED_ROWS:
            return {**answer, **_no_recount()}
        at = self.clock()
        parts = {
            part: list(self.presence.entries(part))
            for part in sorted({*counts, *range(self.presence.parts)})
        }
        found = {
            part: [one for one in entries if id_ in self.declared.of_space(one.space)]
            for part, entries in parts.items()
        }
        counted = {part: count.numbers.get(id_, Tally()) for part, count in counts.items()}
        recounted = {part: self._recount(id_, entries) for part, entries in found.items()}
        recent = sum(is_recent(count.counted_at, at) for count in counts.values())
        page, onward = _slice(found, wanted, position)
        return {
            **answer,
            **_compared(head, merge(counted.values()), merge(recounted.values()), recent, at),
            **_spaces(one for entries in found.values() for one in entries),
            "sessions": self._sessions(page),
            "cursor": onward,
        }

    def _recount(self, id_: str, entries: Iterable[IndexEntry]) -> Tally:
        numbers, _ = numbers_of_part(((one.space, one.person) for one in entries), self.declared)
        return numbers.get(id_, Tally())

    def _sessions(self, page: Sequence[IndexEntry]) -> list[dict[str, Any]]:
        """The rows of these entries; one that is gone meanwhile is left out."""
        keys = [(one.space, one.shard, one.session) for one in page]
        rows = self.presence.many(keys, consistent=True)
        return [_session(rows[key]) for key in keys if key in rows]


def _numbers(id_: str, head: Headcount, counts: Iterable[PartCount]) -> dict[str, Any]:
    what, name = rollup_name(id_)
    of_parts = [(one, one.numbers.get(id_, Tally())) for one in counts]
    return {
        "success": True,
        "space": id_,
        "kind": name if what == "kind" else None,
        "group": name if what == "group" else None,
        "published": {
            **people_of(head.tally),
            "version": head.version,
            "asOf": iso(head.as_of) if head.version else None,
        },
        "parts": [
            {
                "part": one.part,
                "people": tally.people,
                "sessions": tally.sessions,
                "entries": one.rows,
                "version": one.version,
                "countedAt": iso(one.counted_at),
            }
            for one, tally in sorted(of_parts, key=lambda pair: pair[0].part)
        ],
    }


def _no_recount() -> dict[str, Any]:
    return {
        "verdict": None,
        "recount": None,
        "difference": None,
        "countedRecently": None,
        "note": f"More than {MAX_EXPLAINED_ROWS} sessions are here, which is too many to read. The "
        "cleanup recounts them every minute.",
        "inSeveralSpaces": None,
        "spaces": [],
        "sessions": [],
        "cursor": None,
    }


def _compared(
    head: Headcount, counted: Tally, fresh: Tally, recent: int, at: int
) -> dict[str, Any]:
    """What the sweep would find. It recounts what the index shows and no task recounted, which is
    no drift: a change is deferred for longer than an index may lag."""
    published = head.tally
    wrong = counted != published or not head.readable
    before, after = people_of(published), people_of(fresh)
    return {
        "verdict": "agrees"
        if not wrong and fresh == counted
        else "drift"
        if wrong and not recent
        else "onItsWay",
        "recount": {**after, "at": iso(at)},
        "difference": None
        if fresh == published
        else {name: after[name] - before[name] for name in after},
        "countedRecently": recent,
        "note": None,
    }


def _spaces(entries: Iterable[IndexEntry]) -> dict[str, Any]:
    sessions: Counter[str] = Counter()
    people: dict[str, set[bytes]] = defaultdict(set)
    spaces: dict[bytes, set[str]] = defaultdict(set)
    for one in entries:
        sessions[one.space] += 1
        people[one.space].add(one.person)
        spaces[one.person].add(one.space)
    largest = sorted(people, key=lambda space: (-len(people[space]), space))
    return {
        "inSeveralSpaces": sum(len(their) > 1 for their in spaces.values()),
        "spaces": [
            {"space": space, "people": len(people[space]), "sessions": sessions[space]}
            for space in largest[:_MOST_SPACES]
        ],
    }


def _slice(
    found: Mapping[int, Sequence[IndexEntry]], wanted: int, position: Position
) -> tuple[list[IndexEntry], str | None]:
    """The page after a position, and the next page's cursor."""
    part, after = position
    following = [
        (number, key, entry)
        for number in sorted(found)
        for key, entry in sorted((_order(entry), entry) for entry in found[number])
        if (number, key) > (part, after or "")
    ]
    page = following[:wanted]
    onward = cursor_at(*page[-1][:2]) if len(following) > wanted else None
    return [entry for _, _, entry in page], onward


def _order(entry: IndexEntry) -> str:
    """Sorts entries by person; short enough for a cursor."""
    row = f"{entry.space} {entry.shard} {entry.session}".encode()
    return entry.person.hex() + hashlib.blake2b(row, digest_size=8).hexdigest()


def _session(row: Session) -> dict[str, Any]:
    return {
        "sessionId": row.id,
        "space": row.space,
        "person": counted_as(row),
        "joinedAt": iso(row.joined_at),
        "lastSeen": iso(row.last_seen),
        "leaseEndsAt": iso(row.expires_at),
    }
