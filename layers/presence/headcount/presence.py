"""Beats and leaves: what the api does to the Presence table."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

from headcount.beats import Beat, Leave
from headcount.errors import BusyError
from headcount.session import (
    NOTHING_RIDES,
    Facts,
    Riding,
    Session,
    Stale,
    after_beat,
    after_leave,
    person_of,
    tombstone,
)
from headcount.spaces import Space, shard_of
from headcount.store.presence import Page, PresenceTable

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
        riding = Riding.of(beat)
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
                riding=riding,
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
                riding=riding,
            )
            if isinstance(new, Stale):
                return None
            done, seen = self.table.replace(old, new)
            if done:
                return new
            old = seen or self.table.find(space.id, self.shards, beat.session_id)
        raise BusyError

    def record_touch(
        self,
        space: Space,
        session: str,
        page: str | None,
        *,
        request: str,
        now: int,
        riding: Riding = NOTHING_RIDES,
    ) -> None:
        """Store a beat of a client that says who it is only when it joins.

        Its facts stay, but for the page. After a leave it changes nothing (it was on its way); an
        expired or unknown session is here again.
        """
        lease = space.kind.lease_for("active")
        shard, old = 0, None
        if self.shards > 1:
            old = self.table.find(space.id, self.shards, session)
            shard = old.shard if old else shard_of(person_of(None, None, session), self.shards)
        if self.shards == 1 or old is not None:
            done, old = self.table.steady(
                space=space.id,
                shard=shard,
                session=session,
                facts=Page(page),
                lease=lease,
                seq=None,
                request=request,
                now=now,
                riding=riding,
            )
            if done:
                return
        for _ in range(_TRIES):
            if old is not None and old.ended_by == "leave":
                return
            facts = old.facts if old is not None else Facts()
            new = after_beat(
                old,
                space=space.id,
                shard=old.shard if old is not None else shard,
                session=session,
                facts=facts if page is None else replace(facts, page=page),
                kind=space.kind,
                seq=None,
                request=request,
                now=now,
                riding=riding,
            )
            if isinstance(new, Stale):
                return
            done, seen = self.table.replace(old, new)
            if done:
                return
            old = seen or self.table.find(space.id, self.shards, session)
        raise BusyError

    def sessions_of(
        self, space: str, name: str, value: str, *, shards: Iterable[int], now: int
    ) -> list[Session]:
        """The live sessions of a ``user`` or ``visitor``, or that ``session``, in these shards."""
        every = sorted({*shards, *range(self.shards)})
        if name == "session":
            rows = [row for shard in every if (row := self.table.get(space, shard, value))]
        else:
            rows = [row for shard in every for row in self.table.said_by(space, shard, name, value)]
        return [row for row in rows if row.live(now)]

    def record_leave(
        self,
        space: Space,
        leave: Leave,
        *,
        request: str,
        now: int,
        stayed: int | None = None,
    ) -> None:
        """End a session's visit now. Unknown, ended and overtaken sessions are left as they are.

        ``stayed`` is how many seconds the client says the visit was.
        """
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
                new = after_leave(old, seq=leave.seq, request=request, now=now, stayed=stayed)
            if isinstance(new, Stale):
                return
            done, _ = self.table.replace(old, new)
            if done:
                return
        raise BusyError
