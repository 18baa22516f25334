"""Record beats and leaves in the Presence table."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence

from msgspec import Struct
from msgspec.structs import replace

from headcount.errors import BusyError, ForbiddenError, RateLimitError
from headcount.model.beat import Beat, Leave, Tab
from headcount.model.session import (
    NO_TELEMETRY,
    Arrival,
    Facts,
    Session,
    Stale,
    Telemetry,
    Write,
    after_absence,
    after_beat,
    after_connection_loss,
    after_events,
    after_frame,
    after_leave,
    as_user_of,
    check_rate,
    check_user,
    lease_of,
    shard_key,
    tombstone,
)
from headcount.model.space import Space, shard_of
from headcount.store.presence import PresenceTable
from headcount.usecases.summaries import SummaryCache

_TRIES = 8
"""Each lost race means that another write to the same session succeeded."""
_MAX_MOVES = 3
"""How often a lookup follows a session that moves to another shard meanwhile."""


class SessionRecorder(Struct, frozen=True):
    """Records beats, leaves and lost connections in the Presence table.

    ``shards``: how many a space's people are spread over. If there were more before, a session may
    still be in one of those: ``summaries`` has the number that a space uses. ``limit``: messages
    accepted per session in a rate period; 0: any number.
    """

    table: PresenceTable
    shards: int
    summaries: SummaryCache
    limit: int = 0

    def find(self, space: str, session: str, now: int) -> Session | None:
        """The session in whichever shard holds it: a running visit before an ended one."""
        found = self.table.find(space, self.shards, session)
        if found is None or found.ended:
            in_use = self.summaries.summary(space, now).shards
            if in_use > self.shards:
                found = self.table.find(space, in_use, session)
        for _ in range(_MAX_MOVES):
            if found is None or found.moved_to is None:
                break
            # It may be in a shard that was not searched: the number was raised just now.
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
        tab: Tab | None = None,
        joins: bool = False,
        lease: int | None = None,
        admit_join: Callable[[int], None] | None = None,
    ) -> bool:
        """Store a beat; returns whether it was a join or a change.

        ``lease``: how long it keeps the session alive, in seconds; None: as the kind says, or for
        as long as a connection may be silent.
        ``connection``: the WebSocket that holds the session from now on; None: beats do. ``tab``:
        the sender, where tabs share a session. ``joins``: the client says that it has just come.
        ``admit_join`` is called with 1 before a visit begins, and raises if it may not; with -1 if
        none began.

        A steady beat is one conditional write, and so is a beat that the client marks as a change,
        be it the first after a page was left.
        Otherwise the failed condition returns the stored row, or it is read; then the new row is
        written on condition that the stored one is still the same.
        """
        person = shard_key(facts.user, facts.visitor, beat.session_id)
        arrival = Arrival(
            space=space.id,
            shard=shard_of(person, self.shards),
            session=beat.session_id,
            facts=facts,
            lease=lease_of(space.kind, facts.state, connection) if lease is None else lease,
            seq=beat.seq,
            request=request,
            now=now,
            telemetry=Telemetry.from_beat(beat),
            limit=self.limit,
            connection=connection,
            tab=tab,
        )
        old: Session | None = None
        seq = beat.seq if tab is None else tab.seq
        another = joins and tab is None  # possibly another tab's join, which is not steady
        if seq not in {0, 1} and not another:  # a client's first message is a join: don't try
            write = self.table.change if beat.changed else self.table.steady
            done, old = write(arrival)
            if done:
                return beat.changed
        moved = old is not None and old.moved_to is not None
        if moved or (self._several(space, now) and (old is None or old.ended)):
            old = self.find(space.id, beat.session_id, now)  # it may live on in another shard
        decide = _after_shared_beat if tab is not None or joins else after_beat
        admission = _Admission(admit_join)
        for _ in range(_TRIES):
            if old is not None and (
                (joins and old.hidden) or (old.away and old.runs_out_at <= now)
            ):
                old = self._end_before(space, old, request=f"{request}-", now=now)
                continue
            new = decide(old, arrival)
            if isinstance(new, Stale):
                if old is not None and not old.ended:  # the first try may have failed before this
                    self._apply_overtaken_leave(space, old, tab, now)
                return False
            if another and old is not None and not old.ended:
                new = replace(new, joins=old.joins + 1)
            if new.write is Write.JOIN and not admission.take():
                old = self.find(space.id, beat.session_id, now)  # it may be here: it was not read
                admission.require(old)
                continue
            done, seen = self.table.replace(old, new)
            if done:
                if old is None:
                    self._apply_overtaken_leave(space, new, tab, now)
                return new.write is not Write.BEAT
            old = self._stored(space, beat.session_id, seen, now)
            admission.give_back(old)
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
        telemetry: Telemetry = NO_TELEMETRY,
        tab: Tab | None = None,
        admit: Callable[[Session], None] | None = None,
        admit_join: Callable[[int], None] | None = None,
    ) -> None:
        """Store a beat of a client that sends its facts only when it joins.

        Keeps the stored facts except the page and a token-verified user: without a token of that
        ``user`` they have signed out. After a leave it changes nothing, because it was in flight;
        an expired or unknown session joins again. ``admit`` gets the stored session, which is then
        always read first, and raises if the beat is not allowed; ``admit_join`` as for beats.
        """
        shard, old = 0, None
        look = admit is not None or self._several(space, now)
        if look:
            old = self.find(space.id, session, now)
            if admit is not None and old is not None:
                admit(old)
            shard = old.shard if old else shard_of(shard_key(None, None, session), self.shards)
        arrival = Arrival(
            space=space.id,
            shard=shard,
            session=session,
            facts=Facts(),  # not repeated: those that are stored apply
            lease=space.kind.lease_for("active"),
            seq=None,
            request=request,
            now=now,
            telemetry=telemetry,
            limit=self.limit,
            tab=tab,
        )
        if not look or old is not None:
            done, old = self.table.touch(arrival, page=page, user=user)
            if done:
                return
        for _ in range(_TRIES):
            if admit is not None and old is not None:
                admit(old)  # someone else may have joined with this id since
            if old is not None and (old.ended_by == "leave" or old.was_left_by(tab)):
                return
            facts = old.facts if old is not None else Facts()
            place = old.shard if old is not None else shard
            if facts.verified and facts.user != user:
                facts = replace(facts, user=None, verified=False)
                # They are another person now, whose shard may be another one.
                place = shard_of(shard_key(None, facts.visitor, session), self.shards)
            beat = replace(
                arrival,
                shard=place,
                facts=facts if page is None else replace(facts, page=page),
                lease=space.kind.lease_for(facts.state),
            )
            new = _after_shared_beat(old, beat)
            if isinstance(new, Stale):
                return
            if admit_join is not None and new.write is Write.JOIN:
                admit_join(1)
                admit_join = None
            done, seen = self.table.replace(old, new)
            if done:
                return
            old = self._stored(space, session, seen, now)
        raise BusyError

    def record_frame(self, space: str, session: str, *, request: str, now: int) -> None:
        """Count a frame that is no beat as a message of the session. RateLimitError above the
        limit, and if there is no such session any more."""
        for _ in range(_TRIES):
            old = self.find(space, session, now)
            new = after_frame(old, request=request, now=now, limit=self.limit)
            if self.table.replace(old, new)[0]:
                return
        raise BusyError

    def record_events(
        self,
        space: Space,
        session: str,
        number: int,
        *,
        request: str,
        now: int,
        admit: Callable[[Session], None],
    ) -> None:
        """Charge a live session for events that it reports. ``admit`` gets it, and raises if it may
        not. ForbiddenError if the session is not here."""
        for _ in range(_TRIES):
            old = self.find(space.id, session, now)
            if old is None or not old.live(now):
                raise ForbiddenError(
                    "An event needs a session that is here now: send the sessionId of its beats, "
                    "or a token with the scope ingest."
                )
            if old.request == request:
                return
            admit(old)
            new = after_events(old, number, request=request, now=now, limit=self.limit)
            if self.table.replace(old, new)[0]:
                return
        raise BusyError

    def check_together(
        self, space: Space, messages: Mapping[str, Sequence[Facts]], now: int
    ) -> int:
        """Raise if one of several sessions' messages would be refused: because there are too many
        of one session, or because one takes over a session whose user a token proved. Returns how
        many of the sessions would join."""
        joins = 0
        for session, every in messages.items():
            old = self.find(space.id, session, now)
            joins += old is None or old.ended
            check_rate(old, len(every), limit=self.limit, now=now)
            for facts in every:
                if old is not None:
                    check_user(old, facts)
                    old = as_user_of(old, facts)
        return joins

    def _several(self, space: Space, now: int) -> bool:
        """Whether the space's sessions may be in more than one shard."""
        return self.shards > 1 or self.summaries.summary(space.id, now).shards > 1

    def sessions_of(
        self, space: str, name: str, value: str, *, shards: Iterable[int], now: int
    ) -> list[Session]:
        """The live sessions of a ``user`` or ``visitor``, or that ``session``, in these shards."""
        every = sorted({*shards, *range(self.shards)})
        if name == "session":
            rows = self.table.in_shards(space, every, value)
        else:
            rows = [
                row
                for shard in every
                for row in self.table.with_identity(space, shard, name, value)
            ]
        return [row for row in rows if row.live(now)]

    def record_leave(
        self,
        space: Space,
        leave: Leave,
        *,
        request: str,
        now: int,
        duration: int | None = None,
        tab: Tab | None = None,
        shared: bool = False,
        may_overtake: bool = True,
        admit_join: Callable[[int], None] | None = None,
    ) -> None:
        """End a session's visit now. Unknown, ended and overtaken sessions are left as they are.

        ``duration``: the seconds that the visit lasted, as the client reports it. ``shared``: tabs
        may share the session, and only ``tab`` leaves if it is given. ``may_overtake``: an unknown
        session may be one whose join is still under way: ``admit_join`` as for beats, because its
        row is as new as a join's.
        """
        seq = tab.seq if tab is not None else leave.seq
        for _ in range(_TRIES):
            old = self.find(space.id, leave.session_id, now)
            if old is None:
                if seq is None or not may_overtake:
                    return
                if admit_join is not None:
                    admit_join(1)
                    admit_join = None
                gone = tombstone(
                    space=space.id,
                    shard=shard_of(shard_key(None, None, leave.session_id), self.shards),
                    session=leave.session_id,
                    seq=seq,
                    request=request,
                    now=now,
                )
                new: Session | Stale = gone
                if tab is not None:
                    # Here and below: an import that beats of other systems need not pay for.
                    from headcount.model.tabs import closed

                    new = closed(replace(gone, seq=None), tab, now)
            elif shared or old.hidden:
                from headcount.model.tabs import after_tab_leave

                new = after_tab_leave(
                    old,
                    tab,
                    request=request,
                    now=now,
                    duration=duration,
                    may_return=leave.may_return,
                    limit=self.limit,
                )
            else:
                new = after_leave(
                    old,
                    seq=leave.seq,
                    request=request,
                    now=now,
                    duration=duration,
                    may_return=leave.may_return,
                    limit=self.limit,
                )
            if isinstance(new, Stale):
                return
            done, _ = self.table.replace(old, new)
            if done and (old is not None or not self._several(space, now)):
                return
            # With several shards a join that this leave overtook may be written meanwhile, in
            # another shard, where this row can't stop it: look once more, as the join does.
        raise BusyError

    def _end_before(self, space: Space, old: Session, *, request: str, now: int) -> Session | None:
        """End the visit of a session that is hidden, or away for too long, before its next one
        begins. Returns the row that is stored then."""
        if old.away:
            ended = after_absence(old, request=request)
        else:
            from headcount.model.tabs import end_hidden

            ended = end_hidden(old, request=request, now=now)
        done, seen = self.table.replace(old, ended)
        return ended if done else self._stored(space, old.id, seen, now)

    def _stored(self, space: Space, session: str, seen: Session | None, now: int) -> Session | None:
        """The row that is stored now, if a refused write has ``seen`` that one, or none: unless the
        session has moved to another shard, where it lives on."""
        moved = seen is None or seen.moved_to is not None
        return self.find(space.id, session, now) if moved else seen

    def _apply_overtaken_leave(
        self, space: Space, joined: Session, tab: Tab | None, now: int
    ) -> None:
        """End a session that just joined if its leave overtook the join.

        In one shard the leave's row makes the join's write fail. With several shards, that row is
        in the shard of the session id: whichever of the two is written last finds the other.
        """
        if (joined.seq is None and tab is None) or not self._several(space, now):
            return
        shard = shard_of(shard_key(None, None, joined.id), self.shards)
        left = self.table.get(space.id, shard, joined.id)
        if left is None or left.write is not Write.GONE:
            return
        from headcount.model.tabs import after_overtaken_leave

        ended = after_overtaken_leave(joined, left, tab, request=f"{joined.request}-", now=now)
        if not isinstance(ended, Stale):
            self.table.replace(joined, ended)

    def record_disconnect(
        self,
        space: Space,
        session: str,
        connection: str,
        *,
        dropped: bool,
        may_return: bool,
        request: str,
        now: int,
    ) -> None:
        """End the visit of the session that a closed connection holds, unless beats or another
        connection hold it by now. ``dropped``: it was lost, and the client may be back soon.
        ``may_return``: a page has closed, and its tab may be back on the next one."""
        for _ in range(_TRIES):
            old = self.find(space.id, session, now)
            if old is None or old.ended or old.connection != connection:
                return
            if dropped and old.live(now):
                new: Session | Stale = after_connection_loss(
                    old, kind=space.kind, request=request, now=now, limit=self.limit
                )
            else:
                new = after_leave(old, seq=None, request=request, now=now, may_return=may_return)
            if isinstance(new, Stale) or self.table.replace(old, new)[0]:
                return
        raise BusyError


class _Admission(Struct, eq=False):
    """A beat's admission to begin a visit: asked for at most once, and given back if none begins,
    because the first try does not read the row."""

    admit: Callable[[int], None] | None
    taken: bool = False
    refusal: RateLimitError | None = None

    def take(self) -> bool:
        """Whether a visit may begin."""
        if self.admit is not None and not self.taken:
            try:
                self.admit(1)
            except RateLimitError as error:
                self.refusal = error
                return False
        self.taken = True
        return True

    def require(self, old: Session | None) -> None:
        """Raise the refusal unless the session is here."""
        if self.refusal is not None and (old is None or old.ended):
            raise self.refusal

    def give_back(self, old: Session | None) -> None:
        """The session is here, so that no visit begins."""
        if self.admit is not None and self.taken and old is not None and not old.ended:
            self.admit(-1)
            self.taken = False


def _after_shared_beat(old: Session | None, beat: Arrival) -> Session | Stale:
    """``after_beat`` for a session that tabs may share."""
    from headcount.model.tabs import after_tab_beat

    return after_tab_beat(old, beat)
