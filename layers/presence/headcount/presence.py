"""Beats and leaves: what the api does to the Presence table."""

from __future__ import annotations

from dataclasses import dataclass

from headcount.beats import Beat, Leave
from headcount.errors import BusyError
from headcount.session import (
    Facts,
    Session,
    Stale,
    after_beat,
    after_leave,
    person_of,
    tombstone,
)
from headcount.spaces import Space, shard_of
from headcount.store.presence import PresenceTable

_TRIES = 8
"""Each lost race means that somebody else's write to the same session went through."""


@dataclass(frozen=True, slots=True)
class Desk:
    """What recording presence needs: the table and how many shards a space has."""

    table: PresenceTable
    shards: int

    def record_beat(
        self, space: Space, beat: Beat, facts: Facts, *, request: str, now: int
    ) -> Session | None:
        """Store a beat; returns the row when it was a join or a change, None otherwise.

        A steady beat is one conditional write. Anything else reads what is there (the failed
        condition hands it over), decides, and writes on condition that nobody else did since.
        """
        person = person_of(facts.user, facts.visitor, beat.session_id)
        shard = shard_of(person, self.shards)
        old: Session | None = None
        if beat.seq not in {0, 1}:  # a client's first message joins: don't pay for a try at steady
            done, old = self.table.steady(
                space=space.id,
                shard=shard,
                session=beat.session_id,
                facts=facts,
                lease=space.kind.lease_for(facts.state),
                seq=beat.seq,
                request=request,
                now=now,
            )
            if done:
                return None
        if self.shards > 1 and (old is None or old.ended):  # it may live on in another shard
            old = self.table.find(space.id, self.shards, beat.session_id)
        for _ in range(_TRIES):
            new = after_beat(
                old,
                space=space.id,
                shard=shard,
                session=beat.session_id,
                facts=facts,
                kind=space.kind,
                seq=beat.seq,
                request=request,
                now=now,
            )
            if isinstance(new, Stale):
                return None
            done, seen = self.table.replace(old, new)
            if done:
                return new
            old = seen or self.table.find(space.id, self.shards, beat.session_id)
        raise BusyError

    def record_leave(self, space: Space, leave: Leave, *, request: str, now: int) -> None:
        """End a session's visit now. Unknown, ended and overtaken sessions are left as they are."""
        for _ in range(_TRIES):
            old = self.table.find(space.id, self.shards, leave.session_id)
            if old is None:
                if leave.seq is None:
                    return
                new: Session | Stale = tombstone(
                    space=space.id,
                    shard=shard_of(person_of(None, None, leave.session_id), self.shards),
                    session=leave.session_id,
                    seq=leave.seq,
                    request=request,
                    now=now,
                )
            else:
                new = after_leave(old, seq=leave.seq, request=request, now=now)
            if isinstance(new, Stale):
                return
            done, _ = self.table.replace(old, new)
            if done:
                return
        raise BusyError
