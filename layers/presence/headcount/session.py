"""One tab in one space, and what a beat or a leave makes of it. Pure."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Any

from headcount.beats import OWN, Beat
from headcount.errors import ForbiddenError, RateLimitError
from headcount.spaces import LONGEST_LEASE, Kind
from headcount.times import CLOCK_WAS_WRONG, DAY, MINUTE, SECOND, day_of

STEADY_MARGIN = 5 * SECOND
"""A beat with less lease left than this wakes ``count``: a recount under way may have read the
session as expired, and nobody else would put it back."""

MAX_FORMER_USERS = 4
"""Users remembered of a visit that went from one to another: more would not fit the row."""

SOCKET_LEASE = 11 * MINUTE // SECOND
"""Seconds that a session lives on after its connection was last heard of: API Gateway closes one
that is silent for 10 minutes, and tells of it."""

RATE_PERIOD = 10 * SECOND
"""What a session's messages are limited in, by the server's clock."""

BIN_AFTER = DAY
"""TTL is only the bin: it comes a day after the lease, long after the cleanup."""


class Write(StrEnum):
    """The ``kind`` every write of a presence row carries; the stream's filter looks at it alone."""

    BEAT = "beat"  # steady: wakes nobody
    JOIN = "join"  # a new visit
    CHANGE = "change"  # same visit, other facts, or a lease that had (nearly) run out
    LEAVE = "leave"  # the visit ended, by the client or by the cleanup
    GONE = "gone"  # a leave that overtook its join: only its sequence number matters


@dataclass(frozen=True, slots=True)
class Facts:
    """What a beat says beyond "I am here": who, and on what."""

    user: str | None = None
    visitor: str | None = None
    name: str | None = None
    avatar: str | None = None
    page: str | None = None
    facets: Mapping[str, str] = field(default_factory=dict)
    state: str = "active"
    verified: bool = False

    @classmethod
    def of(cls, beat: Beat, *, user: str | None, verified: bool) -> Facts:
        """The facts of a beat whose user has been settled (claimed, or proven by a token)."""
        return cls(
            user=user,
            visitor=beat.visitor_id,
            name=beat.name,
            avatar=beat.avatar,
            page=beat.page,
            facets=beat.facets,
            state=beat.state,
            verified=verified,
        )

    @property
    def fingerprint(self) -> str:
        """Equal for equal facts: what makes a beat steady is checked by the write itself."""
        facts = [
            self.user,
            self.visitor,
            self.name,
            self.avatar,
            self.page,
            sorted(self.facets.items()),
            self.state,
            self.verified,
        ]
        text = json.dumps(facts, ensure_ascii=False, separators=(",", ":"))
        return hashlib.blake2b(text.encode(), digest_size=9).hexdigest()


@dataclass(frozen=True, slots=True)
class Riding:
    """What rides in beats and makes none of them a change. Empty = as it was said before."""

    quality: Mapping[str, float] = field(default_factory=dict)  # as of now: averaged
    engagement: Mapping[str, int] = field(default_factory=dict)  # so far in this visit: added up
    details: Mapping[str, Any] = field(default_factory=dict)  # texts and numbers, shown only

    @classmethod
    def of(cls, beat: Beat) -> Riding:
        """What rides in a beat."""
        return cls(beat.quality or {}, beat.engagement or {}, beat.details or {})

    def over(self, old: Riding) -> Riding:
        """This, and what was said before where this says nothing."""
        return Riding(
            self.quality or old.quality,
            self.engagement or old.engagement,
            self.details or old.details,
        )


def person_of(user: str | None, visitor: str | None, session: str) -> str:
    """The user when signed in, else the visitor, else the session: what "unique" counts."""
    if user is not None:
        return f"u:{user}"
    return f"v:{visitor}" if visitor is not None else f"s:{session}"


def is_user(person: str) -> bool:
    """Whether a person is known by being signed in."""
    return person.startswith("u:")


def persons_of(user: str | None, visitor: str | None, session: str) -> list[str]:
    """Everybody this may be: the user, the visitor and the session, where they are known."""
    return [
        *([f"u:{user}"] if user is not None else []),
        *([f"v:{visitor}"] if visitor is not None else []),
        f"s:{session}",
    ]


@dataclass(frozen=True, slots=True)
class Session:
    """A presence row. Times are epoch milliseconds."""

    space: str
    shard: int
    id: str
    write: Write
    request: str  # the request that wrote the row last: makes retries and races visible
    facts: Facts
    joined_at: int
    visit: str  # unique per stay; the ledger's key
    changed_at: int  # latest join, change or leave: decides where a person with many tabs counts
    last_seen: int
    expires_at: int
    beats: Mapping[str, int]  # UTC day -> beats
    seq: int | None = None
    ended_at: int | None = None
    ended_by: str | None = None  # "leave" or "expiry"
    riding: Riding = field(default_factory=Riding)
    stayed: int | None = None  # seconds, as the client said when it left
    former_users: tuple[str, ...] = ()  # who were signed in during this visit and are no more
    moved_to: int | None = None  # the shard where the session went on, of a row it left behind
    burst: int = 1  # messages at the last beat that came faster than they are taken
    connection: str | None = None  # the WebSocket that holds the session; None: beats do

    @property
    def person(self) -> str:
        """Who this session is counted as."""
        return person_of(self.facts.user, self.facts.visitor, self.id)

    @property
    def ended(self) -> bool:
        """A leave or the cleanup ended the visit."""
        return self.write in {Write.LEAVE, Write.GONE}

    def live(self, now: int) -> bool:
        """Here, at this moment: never because the row exists."""
        return not self.ended and self.expires_at > now

    @property
    def seconds(self) -> int:
        """How long an ended visit was: as the client said, else until it left or was last seen."""
        if self.stayed is not None:
            return max(0, self.stayed)
        end = self.ended_at if self.ended_by == "leave" and self.ended_at else self.last_seen
        return max(0, end - self.joined_at) // SECOND

    @property
    def values(self) -> Mapping[str, str]:
        """Every facet, the page among them."""
        if self.facts.page is None:
            return self.facts.facets
        return {"page": self.facts.page, **self.facts.facets}


NOTHING_RIDES = Riding()


@dataclass(frozen=True, slots=True)
class Stale:
    """The message is older than what is stored, or a repeat: it changes nothing."""


def check_rate(old: Session | None, messages: int, *, limit: int, now: int) -> int:
    """The session's burst when so many messages come now, or RateLimitError above ``limit``.

    A bucket that holds ``limit`` messages (0: any number) and takes a rate period to run empty.
    What came before an end of the visit is in it too, or leaving and coming back would go round it.
    """
    if not limit:
        return 1
    burst = messages + (_undrained(old, limit, now) if old is not None else 0)
    if burst > limit:
        raise RateLimitError(
            f"This session sends too much: at most {limit} messages in "
            f"{RATE_PERIOD // SECOND} seconds are taken. Wait as long as Retry-After says.",
            -(-(burst - limit) * RATE_PERIOD // (limit * SECOND)),
        )
    return burst


def message_drains_in(limit: int) -> int:
    """Milliseconds after which one message is no longer part of a burst."""
    return -(-RATE_PERIOD // limit)


def _undrained(old: Session, limit: int, now: int) -> int:
    passed = now - old.last_seen
    if passed < 0:  # the clock was set back: begin anew
        return 0
    return max(0, old.burst - passed * limit // RATE_PERIOD)


def check_user(old: Session, facts: Facts) -> None:
    """Who only claims to be somebody does not take over a session that a token proved."""
    proven = old.facts.verified and not old.ended
    if proven and not facts.verified and facts.user not in {None, old.facts.user}:
        raise ForbiddenError(
            "A token proved who this session belongs to. Send the token of the user who signs in, "
            "or no userId to sign out."
        )


def after_beat(
    old: Session | None,
    *,
    space: str,
    shard: int,
    session: str,
    facts: Facts,
    kind: Kind,
    seq: int | None,
    request: str,
    now: int,
    riding: Riding = NOTHING_RIDES,
    limit: int = 0,
    connection: str | None = None,
) -> Session | Stale:
    """The row a beat leads to, given the row that is there.

    ``connection``: the WebSocket it came over, or that was opened with it.
    Raises RateLimitError above ``limit`` messages in a rate period (0: any number), ForbiddenError
    where the beat claims a session that a token proved to be another user's.
    """
    if old is not None:
        if old.request == request:
            return Stale()  # our own write, tried again after its answer got lost
        if seq is not None and old.seq is not None and seq <= old.seq:
            return Stale()
        if connection is not None and connection == old.connection and old.ended_by == "leave":
            return Stale()  # overtaken by the end of its connection, which does not come back
        check_user(old, facts)
    burst = check_rate(old, 1, limit=limit, now=now)
    expires_at = now + lease_of(kind, facts.state, connection) * SECOND
    today = day_of(now)
    if old is None or old.ended:
        return Session(
            space=space,
            shard=shard,
            id=session,
            write=Write.JOIN,
            request=request,
            facts=facts,
            joined_at=now,
            visit=request,
            changed_at=now,
            last_seen=now,
            expires_at=expires_at,
            beats={today: 1},
            seq=seq if seq is not None else (old.seq if old else None),
            riding=riding,
            burst=burst,
            connection=connection,
        )
    nothing_new = old.facts == facts and old.expires_at > now + STEADY_MARGIN
    steady = nothing_new and old.shard == shard  # a move changes two shards' numbers
    return replace(
        old,
        shard=shard,
        write=Write.BEAT if steady else Write.CHANGE,
        request=request,
        facts=facts,
        changed_at=old.changed_at if nothing_new else now,
        last_seen=now,
        expires_at=expires_at,
        beats={**old.beats, today: old.beats.get(today, 0) + 1},
        seq=seq if seq is not None else old.seq,
        riding=riding.over(old.riding),
        former_users=_former_users(old, facts.user),
        burst=burst,
        connection=connection,
    )


def lease_of(kind: Kind, state: str, connection: str | None) -> int:
    """How long a beat keeps a session alive, in seconds: over a connection it is no matter of
    the kind's, nor of the state's."""
    return kind.lease_for(state) if connection is None else SOCKET_LEASE


def _former_users(old: Session, user: str | None) -> tuple[str, ...]:
    """A day counts everybody who was signed in, also who signed out before their visit ended.

    A row that is named after a person has no other's: there they only asked not to be named.
    """
    if old.id.startswith(OWN):
        return ()
    if old.facts.user in {None, user, *old.former_users}:
        return old.former_users
    return (*old.former_users, str(old.facts.user))[-MAX_FORMER_USERS:]


def after_leave(
    old: Session, *, seq: int | None, request: str, now: int, stayed: int | None = None
) -> Session | Stale:
    """The row a leave leads to: an update, not a delete, so that the end can be recorded.

    It is one of the session's messages, but never one too many: a visit must end.
    ``stayed`` is how many seconds the client says the visit was.
    """
    if seq is not None and old.seq is not None and seq <= old.seq:
        return Stale()
    if old.ended:
        if seq is None:
            return Stale()
        # Remember the higher number, or a beat between the two leaves would come back to life.
        return replace(old, request=request, seq=seq, write=Write.GONE, changed_at=now)
    return replace(
        old,
        write=Write.LEAVE,
        request=request,
        changed_at=now,
        ended_at=min(now, old.expires_at),
        ended_by="leave" if old.expires_at > now else "expiry",
        seq=seq if seq is not None else old.seq,
        stayed=stayed,
        burst=old.burst + 1,
    )


def after_drop(old: Session, *, kind: Kind, request: str, now: int, limit: int = 0) -> Session:
    """The row that losing its connection leads to: who comes back within the kind's own lease was
    never away. It wakes nobody. Until now they were here, so this is when they were last seen."""
    return replace(
        old,
        write=Write.BEAT,
        request=request,
        last_seen=now,
        expires_at=min(old.expires_at, now + kind.lease_for(old.facts.state) * SECOND),
        burst=max(1, _undrained(old, limit, now)),
        connection=None,
    )


def tombstone(*, space: str, shard: int, session: str, seq: int, request: str, now: int) -> Session:
    """What a leave leaves behind that overtook its join: the join will be stale."""
    return Session(
        space=space,
        shard=shard,
        id=session,
        write=Write.GONE,
        request=request,
        facts=Facts(),
        joined_at=now,
        visit="",
        changed_at=now,
        last_seen=now,
        expires_at=now,
        beats={},
        seq=seq,
        ended_at=now,
        ended_by="leave",
    )


def is_ahead(session: Session, now: int) -> bool:
    """Whether a clock that was wrong wrote the row of a live session: it would live too long, or
    speak for its person for as long."""
    return (
        max(session.last_seen, session.changed_at) > now + CLOCK_WAS_WRONG
        or session.expires_at - session.last_seen > LONGEST_LEASE * SECOND
    )


def after_clock(old: Session, *, kind: Kind, request: str, now: int) -> Session:
    """The row of a live session that ``is_ahead``: nobody knows when its last beat came, so it is
    as if that came now. The visit began when the ledger says it did."""
    return replace(
        old,
        write=Write.CHANGE,
        request=request,
        changed_at=min(old.changed_at, now),
        last_seen=now,
        expires_at=now + lease_of(kind, old.facts.state, old.connection) * SECOND,
    )


def after_expiry(old: Session, *, request: str, now: int) -> Session | None:
    """The row the cleanup leaves, or None while the lease runs. Shares its shape with a leave."""
    if old.ended or old.expires_at > now:
        return None
    return replace(
        old, write=Write.LEAVE, request=request, ended_at=old.expires_at, ended_by="expiry"
    )
