"""Beats and leaves: what the api does to the Presence table."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from headcount.badges import Badges
from headcount.beats import Beat, Leave
from headcount.errors import BusyError
from headcount.session import (
    NOTHING_RIDES,
    Facts,
    Riding,
    Session,
    Stale,
    Write,
    after_beat,
    after_drop,
    after_leave,
    check_rate,
    check_user,
    lease_of,
    person_of,
    tombstone,
)
from headcount.spaces import Space, shard_of
from headcount.store.presence import Page, PresenceTable

_TRIES = 8
_MOVES = 3
"""How often a session may have moved on while it is looked for."""
"""Each lost race means that somebody else's write to the same session went through."""


@dataclass(frozen=True, slots=True)
class Desk:
    """What recording presence needs: the table and how many shards a space has.

    A session may still be where it was put when there were more shards: ``badges`` know how many a
    space has in use. ``limit``: messages that are taken of a session in a rate period; 0 for any.
    """

    table: PresenceTable
    shards: int
    badges: Badges
    limit: int = 0

    def find(self, space: str, session: str, now: int) -> Session | None:
        """The session in whichever shard holds it: a running visit before an ended one."""
        found = self.table.find(space, self.shards, session)
        if found is None or found.ended:
            in_use = self.badges.glance(space, now).shards
            if in_use > self.shards:
                found = self.table.find(space, in_use, session)
        for _ in range(_MOVES):
            if found is None or found.moved_to is None:
                break
            # Into a shard that nobody here has heard of yet: the number was raised just now.
            found = self.table.get(space, found.moved_to, session) or found
        return found

    def record_beat(
        self,
        space: Space,
        beat: Beat,
        facts: Facts,
        *,
        request: str,
        now: int,
        connection: str | None = None,
    ) -> bool:
        """Store a beat; returns whether it was a join or a change.

        ``connection``: the WebSocket that holds the session from now on; None: beats do.

        A steady beat is one conditional write, and so is a change of a client that says it is one.
        Anything else reads what is there (the failed condition hands it over), decides, and writes
        on condition that nobody else did since.
        """
        riding = Riding.of(beat)
        person = person_of(facts.user, facts.visitor, beat.session_id)
        shard = shard_of(person, self.shards)
        old: Session | None = None
        if beat.seq not in {0, 1}:  # a client's first message joins: don't pay for a try
            write = self.table.change if beat.changed else self.table.steady
            done, old = write(
                space=space.id,
                shard=shard,
                session=beat.session_id,
                facts=facts,
                lease=lease_of(space.kind, facts.state, connection),
                seq=beat.seq,
                request=request,
                now=now,
                riding=riding,
                limit=self.limit,
                connection=connection,
            )
            if done:
                return beat.changed
        moved = old is not None and old.moved_to is not None
        if moved or (self._several(space, now) and (old is None or old.ended)):
            old = self.find(space.id, beat.session_id, now)  # it may live on in another shard
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
                limit=self.limit,
                connection=connection,
            )
            if isinstance(new, Stale):
                if old is not None and not old.ended:  # its first try may have died before this
                    self._heed_leave(space, old, now)
                return False
            done, seen = self.table.replace(old, new)
            if done:
                if old is None:
                    self._heed_leave(space, new, now)
                return new.write is not Write.BEAT
            old = seen or self.find(space.id, beat.session_id, now)
        raise BusyError

    def record_touch(
        self,
        space: Space,
        session: str,
        page: str | None,
        *,
        user: str | None,
        request: str,
        now: int,
        riding: Riding = NOTHING_RIDES,
        admit: Callable[[Session], None] | None = None,
    ) -> None:
        """Store a beat of a client that says who it is only when it joins.

        Its facts stay, but for the page, and but for a user whom a token proved: without that
        ``user``'s token they have signed out. After a leave it changes nothing (it was on its way);
        an expired or unknown session is here again. ``admit`` is asked about the session as it was
        and raises where it may not go on; with it, it is always read first.
        """
        lease = space.kind.lease_for("active")
        shard, old = 0, None
        look = admit is not None or self._several(space, now)
        if look:
            old = self.find(space.id, session, now)
            if admit is not None and old is not None:
                admit(old)
            shard = old.shard if old else shard_of(person_of(None, None, session), self.shards)
        if not look or old is not None:
            done, old = self.table.steady(
                space=space.id,
                shard=shard,
                session=session,
                facts=Page(page, user),
                lease=lease,
                seq=None,
                request=request,
                now=now,
                riding=riding,
                limit=self.limit,
            )
            if done:
                return
        for _ in range(_TRIES):
            if admit is not None and old is not None:
                admit(old)  # somebody else may have joined with it since
            if old is not None and old.ended_by == "leave":
                return
            facts = old.facts if old is not None else Facts()
            if facts.verified and facts.user != user:
                facts = replace(facts, user=None, verified=False)
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
                limit=self.limit,
            )
            if isinstance(new, Stale):
                return
            done, seen = self.table.replace(old, new)
            if done:
                return
            old = seen or self.find(space.id, session, now)
        raise BusyError

    def check_together(self, space: Space, said: Mapping[str, Sequence[Facts]], now: int) -> None:
        """Refuse what these sessions say, in that order, where some of it would be refused: it is
        too much of one session, or takes over what a token proved."""
        for session, messages in said.items():
            old = self.find(space.id, session, now)
            check_rate(old, len(messages), limit=self.limit, now=now)
            for facts in messages:
                if old is not None:
                    check_user(old, facts)
                    old = replace(old, facts=facts)

    def _several(self, space: Space, now: int) -> bool:
        """Whether the space's sessions may be in more shards than one."""
        return self.shards > 1 or self.badges.glance(space.id, now).shards > 1

    def sessions_of(
        self, space: str, name: str, value: str, *, shards: Iterable[int], now: int
    ) -> list[Session]:
        """The live sessions of a ``user`` or ``visitor``, or that ``session``, in these shards."""
        every = sorted({*shards, *range(self.shards)})
        if name == "session":
            rows = self.table.in_shards(space, every, value)
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
            old = self.find(space.id, leave.session_id, now)
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
            if done and (old is not None or not self._several(space, now)):
                return
            # With several shards the join may have landed meanwhile, where a leave that overtook it
            # is not in its way: look once more, as the join does.
        raise BusyError

    def _heed_leave(self, space: Space, joined: Session, now: int) -> None:
        """End a session that just joined if its leave overtook the join.

        In one shard the join's write finds the leave in its way. With several, the leave lies where
        the session alone would be: whoever of the two writes last sees the other.
        """
        if joined.seq is None or not self._several(space, now):
            return
        shard = shard_of(person_of(None, None, joined.id), self.shards)
        left = self.table.get(space.id, shard, joined.id)
        if left is None or left.write is not Write.GONE:
            return
        ended = after_leave(joined, seq=left.seq, request=f"{joined.request}-", now=now)
        if not isinstance(ended, Stale):
            self.table.replace(joined, ended)

    def record_disconnect(
        self, space: Space, session: str, connection: str, *, dropped: bool, request: str, now: int
    ) -> None:
        """A connection ended, and with it the visit of the session it holds. Who holds it by
        another, or beats, stays. ``dropped``: it was lost, and the client may be back in a moment.
        """
        for _ in range(_TRIES):
            old = self.find(space.id, session, now)
            if old is None or old.ended or old.connection != connection:
                return
            if dropped and old.live(now):
                new: Session | Stale = after_drop(
                    old, kind=space.kind, request=request, now=now, limit=self.limit
                )
            else:
                new = after_leave(old, seq=None, request=request, now=now)
            if isinstance(new, Stale) or self.table.replace(old, new)[0]:
                return
        raise BusyError
