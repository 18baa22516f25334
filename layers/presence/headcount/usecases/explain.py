"""Explains a space's numbers: what is published, what a recount gives, and which sessions count."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from headcount.model.headcount import Headcount
from headcount.model.session import Session, moved_away
from headcount.model.space import Space
from headcount.model.tally import Facets, Tally, deciding_sessions
from headcount.store.counts import CountsTable, ShardCount
from headcount.store.headcounts import HeadcountsTable
from headcount.store.presence import PresenceTable
from headcount.times import iso
from headcount.usecases.audit import Auditor, SpaceAudit
from headcount.usecases.parameters import (
    Position,
    cursor_at,
    page_size,
    parse_cursor,
    read_page,
)

MAX_EXPLAINED_ROWS = 3_000
"""Rows up to which a whole space is read for every page: this takes about a second."""

_KNOWN_AS = {"u": "user", "c": "user", "v": "visitor", "s": "session"}


@dataclass(frozen=True, slots=True)
class Explainer:
    """Explains numbers. ``clock`` returns epoch milliseconds."""

    presence: PresenceTable
    counts: CountsTable
    headcounts: HeadcountsTable
    auditor: Auditor
    shards: int  # over which new sessions are spread
    clock: Callable[[], int]

    def explain(self, space: Space, limit: str | None, cursor: str | None) -> dict[str, Any]:
        """The published numbers, a fresh recount, and a page of the rows that were counted.

        A page has up to ``limit`` rows, counted or not, ordered by shard and session id. A space of
        more than ``MAX_EXPLAINED_ROWS`` rows is not read whole: its ``recount``, and what depends
        on it, are None.
        """
        wanted, position = page_size(limit), parse_cursor(cursor)
        head = self.headcounts.get(space.id)
        counts = {count.shard: count for count in self.counts.space(space.id).shards}
        shards = sorted({*counts, *range(self.shards)})
        if sum(count.rows for count in counts.values()) > MAX_EXPLAINED_ROWS:
            at = self.clock()
            rows, onward = read_page(self.presence, space.id, shards, wanted, position)
            return {
                **_numbers(space.id, head, counts),
                **_no_recount(),
                **_session_rows(rows, at, decided=None, whole=None),
                "cursor": onward,
            }
        audit = self.auditor.audit(space.id, shards, keep=True)
        rows, onward = _slice(audit.rows, wanted, position)
        decided = {
            (facet, session.shard, session.id)
            for every in audit.rows.values()
            for (facet, _), session in deciding_sessions(
                row for row in every if row.live(audit.at)
            ).items()
        }
        return {
            **_numbers(space.id, audit.head, audit.counts),
            **_recounted(audit),
            **_session_rows(rows, audit.at, decided=decided, whole=audit.rows),
            "cursor": onward,
        }


def _slice(
    rows: Mapping[int, Sequence[Session]], wanted: int, position: Position
) -> tuple[list[Session], str | None]:
    """The page after a position, from rows that were all read."""
    shard, after = position
    following = [
        row
        for number in sorted(rows)
        for row in rows[number]
        if (number, row.id) > (shard, after or "")
    ]
    page = following[:wanted]
    return page, cursor_at(page[-1].shard, page[-1].id) if len(following) > wanted else None


def _numbers(space: str, head: Headcount, counts: Mapping[int, ShardCount]) -> dict[str, Any]:
    return {
        "success": True,
        "space": space,
        "published": {
            **people_of(head.tally),
            "version": head.version,
            "asOf": iso(head.as_of) if head.version else None,
            "accuracy": head.accuracy_body,
        },
        "shards": [
            {
                "shard": count.shard,
                "people": count.tally.people,
                "sessions": count.tally.sessions,
                "rows": count.rows,
                "version": count.version,
                "countedAt": iso(count.counted_at),
            }
            for _, count in sorted(counts.items())
        ],
    }


def _no_recount() -> dict[str, Any]:
    return {
        "verdict": None,
        "recount": None,
        "difference": None,
        "onItsWay": None,
        "note": f"The space has more than {MAX_EXPLAINED_ROWS} rows: they are read only page by "
        "page. The cleanup compares it with a recount every minute.",
    }


def _recounted(audit: SpaceAudit) -> dict[str, Any]:
    published, fresh = audit.head.tally, audit.recount
    before, after = people_of(published), people_of(fresh)
    return {
        "verdict": "agrees" if audit.agrees else "drift" if audit.drifted else "onItsWay",
        "recount": {**after, "at": iso(audit.at)},
        "difference": None
        if published == fresh
        else {
            **{name: after[name] - before[name] for name in after},
            "facets": _different(published.facets, fresh.facets),
        },
        "onItsWay": {
            "written": audit.written,
            "leasesRunOut": audit.expired,
            "counted": audit.counted,
        },
        "note": None,
    }


def people_of(tally: Tally) -> dict[str, int]:
    """The numbers that are compared."""
    return {
        "people": tally.people,
        "signedIn": tally.signed_in,
        "anonymous": tally.anonymous,
        "sessions": tally.sessions,
    }


def _different(one: Facets, other: Facets) -> list[str]:
    return sorted(name for name in {*one, *other} if one.get(name) != other.get(name))


def _session_rows(
    rows: Sequence[Session],
    at: int,
    *,
    decided: Collection[tuple[str, int, str]] | None,
    whole: Mapping[int, Sequence[Session]] | None,
) -> dict[str, Any]:
    places = _places(whole, {row.id for row in rows if moved_away(row)})
    return {
        "sessions": [_counted(row, decided) for row in rows if row.live(at)],
        "notCounted": [_not_counted(row, places) for row in rows if not row.live(at)],
    }


def _counted(row: Session, decided: Collection[tuple[str, int, str]] | None) -> dict[str, Any]:
    return {
        "sessionId": row.id,
        "person": counted_as(row),
        "shard": row.shard,
        "facets": dict(row.values),
        "decides": None
        if decided is None
        else sorted(facet for facet in row.values if (facet, row.shard, row.id) in decided),
        "state": row.facts.state,
        "joinedAt": iso(row.joined_at),
        "lastSeen": iso(row.last_seen),
        "leaseEndsAt": iso(row.expires_at),
    }


def counted_as(row: Session) -> dict[str, Any]:
    """The person that a session counts as."""
    known_as, _, name = row.person.partition(":")
    return {"by": _KNOWN_AS[known_as], "id": name, "verified": row.facts.verified}


def _not_counted(row: Session, places: Mapping[str, int]) -> dict[str, Any]:
    return {
        "sessionId": row.id,
        "shard": row.shard,
        "reason": _reason(row),
        "movedTo": places.get(row.id) if moved_away(row) else None,
        "at": iso(max(row.expires_at, row.last_seen) if row.ended_at is None else row.ended_at),
    }


def _reason(row: Session) -> str:
    if moved_away(row):
        return "moved"
    if not row.visit:
        return "leaveOvertookJoin"
    return "left" if row.hidden or row.ended_by == "leave" else "leaseRanOut"


def _places(
    whole: Mapping[int, Sequence[Session]] | None, moved: Collection[str]
) -> dict[str, int]:
    """The shards that these sessions moved to."""
    return {
        row.id: shard
        for shard, rows in (whole or {}).items()
        for row in rows
        if row.id in moved and not moved_away(row)
    }
