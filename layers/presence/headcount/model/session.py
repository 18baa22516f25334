"""A session, one tab in one space: what beats, leaves and time make of its row. Pure.

Each function ``after_...`` takes the stored row and returns the row to write, ``Stale`` for a
message that changes nothing, or None. The store writes the new row only if no one else wrote the
old one in between. ``Write`` names each transition; the stream's filter wakes ``count`` by it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from enum import StrEnum
from itertools import zip_longest
from typing import Any

from msgspec import Struct, field, json
from msgspec.structs import replace

from headcount.errors import ForbiddenError, RateLimitError
from headcount.model.beat import OWN_PREFIX, Beat, Tab
from headcount.model.intervals import LONGEST_LEASE
from headcount.model.space import MAX_LEASE, Kind
from headcount.times import CLOCK_WAS_WRONG, DAY, MINUTE, SECOND, day_of

STEADY_MARGIN = 5 * SECOND
"""A beat with less lease left than this wakes ``count``: a running recount may have read the
session as expired, and nothing else would restore it."""

MOVED = "move"
"""What ended a session's row in a shard, if it continues in another."""

_PERSON_BYTES = 6
_INDEXED_BYTES = 8
MAX_FORMER_USERS = 4
"""The most former users of a visit that are remembered: more would not fit into the row."""

MAX_EARLIER = 4
"""Visits before this one that a row remembers: to join and leave more often between two recounts is
no visit that a peak has to know."""

EARLIER_FOR = 5 * MINUTE
"""How long they are remembered: as long as the row of an ended visit is kept."""

SOCKET_LEASE = 11 * MINUTE // SECOND
"""Lease in seconds of a session that a connection holds: API Gateway closes one that is silent for
10 minutes, and reports it."""

MAX_GROWTH = 300
"""How much a beat's engagement may exceed the last one's: what exceeds it counts later."""

MAX_ENGAGED = 100_000
"""What a visit may add to each of its space's totals."""

RATE_PERIOD = 10 * SECOND
"""The period of the limit on a session's messages, by the server's clock."""

RETURN_GRACE = 3 * SECOND // 2
"""How long a session still counts whose tab has closed its page and may be back, on the next page
of the site: usually it is, and then nobody sees the number fall and rise again."""

RETURN_WINDOW = 10 * SECOND
"""How long after such a leave the session's next beat continues the visit."""

ROW_RETENTION = DAY
"""How long after its lease TTL may delete a row. Usually the cleanup has deleted it long before."""


_encode = json.Encoder().encode


class Write(StrEnum):
    """The ``kind`` that every write of a presence row carries; the stream is filtered by it."""

    BEAT = "beat"  # steady: wakes no function
    JOIN = "join"  # a new visit
    CHANGE = "change"  # same visit, other facts, or a lease that had (nearly) expired
    LEAVE = "leave"  # the visit ended, by the client or by the cleanup
    GONE = "gone"  # a leave that overtook its join: only its sequence number matters


class Facts(Struct, frozen=True):
    """What a beat reports about its session: who it is, and on what."""

    user: str | None = None
    visitor: str | None = None
    name: str | None = None
    avatar: str | None = None
    page: str | None = None
    facets: Mapping[str, str] = field(default_factory=dict)
    state: str = "active"
    verified: bool = False

    @classmethod
    def from_beat(cls, beat: Beat, *, user: str | None, verified: bool) -> Facts:
        """The facts of a beat, with its user as claimed, or as proven by a token."""
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
        """Equal for equal facts, so that the write itself can check whether a beat is steady."""
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
        return hashlib.blake2b(_encode(facts), digest_size=9).hexdigest()


class Telemetry(Struct, frozen=True):
    """Measurements that beats carry. They never make a beat a change. Empty: same as before."""

    quality: Mapping[str, float] = field(default_factory=dict)  # current values, averaged
    engagement: Mapping[str, int] = field(default_factory=dict)  # totals of this visit, summed
    details: Mapping[str, Any] = field(default_factory=dict)  # texts and numbers, shown only

    @classmethod
    def from_beat(cls, beat: Beat) -> Telemetry:
        """The telemetry of a beat."""
        if not (beat.quality or beat.engagement or beat.details):
            return NO_TELEMETRY
        engagement = {
            name: min(number, MAX_ENGAGED) for name, number in (beat.engagement or {}).items()
        }
        return cls(beat.quality or {}, engagement, beat.details or {})

    def over(self, old: Telemetry) -> Telemetry:
        """This telemetry, with the old values where it has none. Engagement grows step by step."""
        return Telemetry(
            self.quality or old.quality,
            {
                name: min(number, old.engagement.get(name, 0) + MAX_GROWTH)
                for name, number in self.engagement.items()
            }
            or old.engagement,
            self.details or old.details,
        )


NO_TELEMETRY = Telemetry()


class Arrival(Struct, frozen=True):
    """A beat as the recorder passes it to the decision and to the table. A new field of beats goes
    into ``Facts`` if it changes what is counted or shown, else into ``Telemetry``.

    A session's messages are ordered by ``seq``; a retry has the same ``request``. ``limit``:
    messages accepted per session in a rate period; 0: any number.
    """

    space: str
    shard: int
    session: str
    facts: Facts
    lease: int  # seconds that it keeps the session alive
    seq: int | None
    request: str
    now: int  # epoch milliseconds
    telemetry: Telemetry = NO_TELEMETRY
    limit: int = 0
    connection: str | None = None  # the WebSocket that holds the session; None: beats do
    tab: Tab | None = None  # the tab that sends it, if several may share the session


def person_of(
    user: str | None, visitor: str | None, session: str, *, verified: bool = False
) -> str:
    """The key of a person: the user if signed in, else the visitor, else the session.

    A user whom a token proved (``u:``) is never the same person as one who only claims that id
    (``c:``): otherwise a stranger could claim an id and see whether the count stays as it is.
    """
    if user is not None:
        return f"{'u' if verified else 'c'}:{user}"
    return f"v:{visitor}" if visitor is not None else f"s:{session}"


def shard_key(user: str | None, visitor: str | None, session: str) -> str:
    """What a person's shard is chosen by. A proof changes it no more than 1.0.0's rows would."""
    return person_of(user, visitor, session, verified=True)


def is_user(person: str) -> bool:
    """Whether a person's key is a signed-in user's, proven or claimed."""
    return person.startswith(("u:", "c:"))


def persons_of(
    user: str | None, visitor: str | None, session: str, *, verified: bool = False
) -> list[str]:
    """All keys by which a person may be denied: user and visitor, if known, and session. ``u:`` is
    any user with that id, ``p:`` the one whom a token proved, ``c:`` those who claim to be them."""
    return [
        *([f"u:{user}", f"{'p' if verified else 'c'}:{user}"] if user is not None else []),
        *([f"v:{visitor}"] if visitor is not None else []),
        f"s:{session}",
    ]


class Session(Struct, frozen=True):
    """A presence row. Times are epoch milliseconds."""

    space: str
    shard: int
    id: str
    write: Write
    request: str  # the request that wrote the row last: reveals retries and races
    facts: Facts
    joined_at: int
    visit: str  # unique per visit; the ledger's key
    changed_at: int  # latest join, change or leave: the latest of a person's tabs decides facets
    last_seen: int
    expires_at: int
    beats: Mapping[str, int]  # UTC day -> beats
    seq: int | None = None
    ended_at: int | None = None
    # "leave" or "expiry"; without an end: "leave", see ``away``. (An attribute more would not fit
    # into the largest row, and earlier releases read this as a lease that is about to end.)
    ended_by: str | None = None
    telemetry: Telemetry = field(default_factory=Telemetry)
    duration: int | None = None  # seconds, as the client reported when it left
    former_users: tuple[str, ...] = ()  # were signed in during this visit, and no longer are
    former_proofs: tuple[bool, ...] = ()  # whether a token proved each; empty: none
    moved_to: int | None = None  # in a row left behind: the shard where the session continues
    burst: int = 1  # the fill level of the rate limit's bucket at the last beat
    connection: str | None = None  # the WebSocket that holds the session; None: beats do
    # Of tabs that share the session, by their keys (see ``tabs``): when each was last seen, in
    # seconds (negative: when it left), the number of its last message, and the joins of this visit.
    tabs: Mapping[str, int] = field(default_factory=dict)
    tab_seqs: Mapping[str, int] = field(default_factory=dict)
    joins: int = 1
    moved_at: int | None = None  # when it came from another shard
    # Whom it counted as before, in this shard and perhaps in ``earlier`` visits: each as its
    # ``person_hash``, and until when.
    formerly: tuple[tuple[str, int], ...] = ()
    # When its last visits before this one began and ended: their rows are overwritten, and a peak
    # must not miss them.
    earlier: tuple[tuple[int, int], ...] = ()
    events: int = 0  # of its visit, that were sent one by one instead of by beats
    place: tuple[int, bytes] | None = None  # its entry in the index of people, as stored

    @property
    def person(self) -> str:
        """The key of the person that this session counts as."""
        facts = self.facts
        return person_of(facts.user, facts.visitor, self.id, verified=facts.verified)

    @property
    def shard_key(self) -> str:
        """What its shard is chosen by."""
        return shard_key(self.facts.user, self.facts.visitor, self.id)

    @property
    def proven_user(self) -> str | None:
        """The user whom a token proved last in this visit, though they may have signed out."""
        if self.facts.verified:
            return self.facts.user
        proven = [
            user
            for user, proof in zip(self.former_users, self.former_proofs, strict=False)
            if proof
        ]
        return proven[-1] if proven else None

    @property
    def ended(self) -> bool:
        """A leave or the cleanup ended the visit."""
        return self.write in {Write.LEAVE, Write.GONE}

    def live(self, now: int) -> bool:
        """Whether it is present at this moment: the row alone does not mean that."""
        return not self.ended and self.expires_at > now

    @property
    def began_here(self) -> int:
        """When the visit began, or came from another shard."""
        return self.joined_at if self.moved_at is None else self.moved_at

    @property
    def gone_at(self) -> int:
        """Of a session that is not live: when it left, or its lease ended."""
        if self.ended_at is not None:
            return self.ended_at
        return self.last_seen if self.hidden else self.expires_at

    @property
    def hidden(self) -> bool:
        """A leave has hidden it: it has not ended, because another tab may still be here."""
        return not self.ended and self.expires_at <= self.last_seen

    @property
    def away(self) -> bool:
        """It left at ``changed_at`` and may be back: it counts until its grace is over, and its
        visit continues if it returns within ``RETURN_WINDOW``."""
        return (
            not self.ended
            and self.ended_by == "leave"
            and self.expires_at <= self.changed_at + RETURN_GRACE
        )

    def indexed_in(self, parts: int) -> tuple[int, bytes] | None:
        """Its entry in the index of people, which has that many parts; None: it has none, because
        it is not present, whatever its lease."""
        gone = not parts or self.ended or self.hidden or self.away
        return None if gone else place_of(self.person, parts)

    @property
    def runs_out_at(self) -> int:
        """When a visit that nobody continues may be ended."""
        if self.away:
            return self.changed_at + RETURN_WINDOW
        return max(self.expires_at, self.last_seen)

    def was_left_by(self, tab: Tab | None) -> bool:
        """Whether this tab, one of several, has left."""
        return tab is not None and self.tabs.get(tab.key, 1) < 0

    @property
    def seconds(self) -> int:
        """The duration of an ended visit: as reported, else until it left or was last seen."""
        if self.duration is not None:
            return max(0, self.duration)
        end = self.ended_at if self.ended_by == "leave" and self.ended_at else self.last_seen
        return max(0, end - self.joined_at) // SECOND

    @property
    def values(self) -> Mapping[str, str]:
        """All facets, including the page."""
        if self.facts.page is None:
            return self.facts.facets
        return {"page": self.facts.page, **self.facts.facets}


def moved_away(session: Session) -> bool:
    """Whether the session continues in another shard, so that the row's end is no visit's end."""
    return session.ended_by == MOVED


class Stale(Struct, frozen=True):
    """The message is older than the stored row, or a repeat: it changes nothing."""


def check_rate(old: Session | None, messages: int, *, limit: int, now: int) -> int:
    """The session's burst after this many messages. Raises RateLimitError above ``limit``.

    A leaky bucket for ``limit`` messages (0: any number), which is empty after a rate period. It
    includes messages from before the visit's end, so leaving and coming back does not evade it.
    """
    if not limit:
        return 1
    burst = messages + (_undrained(old, limit, now) if old is not None else 0)
    if burst > limit:
        raise RateLimitError(
            f"This session sends too much: at most {limit} messages in "
            f"{RATE_PERIOD // SECOND} seconds are accepted. Wait as long as Retry-After says.",
            -(-(burst - limit) * RATE_PERIOD // (limit * SECOND)),
        )
    return burst


def message_drains_in(limit: int) -> int:
    """Milliseconds after which one message is no longer part of a burst."""
    return -(-RATE_PERIOD // limit)


def _undrained(old: Session, limit: int, now: int) -> int:
    passed = now - _last_message(old)
    if passed < 0:  # the clock was set back: begin with an empty bucket
        return 0
    return max(0, old.burst - passed * limit // RATE_PERIOD)


def _last_message(old: Session) -> int:
    """When a session sent its last message: a leave is one, and leaves ``last_seen`` as it is."""
    tabs = max(map(abs, old.tabs.values()), default=0) * SECOND
    return max(old.last_seen, tabs, old.changed_at if old.ended else 0)


def check_user(old: Session, facts: Facts) -> None:
    """Refuse an unproven user in a visit in which a token proved another, with ForbiddenError.

    Signing out does not end that: the next user in this tab needs a token, too.
    """
    if old.ended or facts.verified or facts.user is None:
        return
    if old.proven_user not in {None, facts.user}:
        raise ForbiddenError(
            "A token proved who this session belongs to. Send the token of the user who signs in, "
            "or no userId to sign out."
        )


def after_beat(old: Session | None, beat: Arrival) -> Session | Stale:
    """The row a beat leads to, given the row that is stored.

    Raises RateLimitError above the beat's ``limit``, and ForbiddenError if the beat claims a
    session that a token proved to be another user's.
    """
    seq, now, facts, connection = beat.seq, beat.now, beat.facts, beat.connection
    if old is not None:
        if old.request == beat.request:
            return Stale()  # our own write, retried after its response was lost
        if seq is not None and old.seq is not None and seq <= old.seq:
            return Stale()
        if connection is not None and connection == old.connection and old.ended_by == "leave":
            return Stale()  # overtaken by the end of its connection, which does not come back
        check_user(old, facts)
    burst = check_rate(old, 1, limit=beat.limit, now=now)
    expires_at = now + beat.lease * SECOND
    today = day_of(now)
    person = person_of(facts.user, facts.visitor, beat.session, verified=facts.verified)
    if old is None or old.ended:
        earlier = _earlier(old, now) if old is not None and old.shard == beat.shard else ()
        changed = old is not None and old.person != person
        return Session(
            space=beat.space,
            shard=beat.shard,
            id=beat.session,
            write=Write.JOIN,
            request=beat.request,
            facts=facts,
            joined_at=now,
            visit=beat.request,
            changed_at=now,
            last_seen=now,
            expires_at=expires_at,
            beats={today: 1},
            seq=seq if seq is not None else (old.seq if old else None),
            telemetry=beat.telemetry.over(NO_TELEMETRY),
            burst=burst,
            connection=connection,
            formerly=_formerly(old, now, changed=changed) if earlier and old is not None else (),
            earlier=earlier,
        )
    stays = old.shard == beat.shard
    nothing_new = old.facts == facts and old.expires_at > now + STEADY_MARGIN
    steady = nothing_new and stays  # a move changes two shards' numbers
    return replace(
        old,
        shard=beat.shard,
        write=Write.BEAT if steady else Write.CHANGE,
        request=beat.request,
        facts=facts,
        changed_at=old.changed_at if nothing_new else now,
        last_seen=now,
        expires_at=expires_at,
        beats={**old.beats, today: old.beats.get(today, 0) + 1},
        seq=seq if seq is not None else old.seq,
        telemetry=beat.telemetry.over(old.telemetry),
        **_former_users(old, facts),
        burst=burst,
        connection=connection,
        moved_at=old.moved_at if stays else now,
        formerly=_formerly(old, now, changed=old.person != person) if stays else (),
        earlier=_kept_earlier(old, now) if stays else (),
        ended_by=None,
        duration=None if old.away else old.duration,
    )


def _earlier(old: Session, now: int) -> tuple[tuple[int, int], ...]:
    """The last visits of a session that joins again."""
    before = _kept_earlier(old, now)
    if not old.visit or old.ended_at is None or old.moved_to is not None:
        return before
    # An expiry may be long ago, and found only now.
    is_known = old.ended_by != "expiry" and old.ended_at <= now - EARLIER_FOR
    last = () if is_known else ((old.began_here, old.ended_at),)
    return (*before, *last)[-MAX_EARLIER:]


def _kept_earlier(old: Session, now: int) -> tuple[tuple[int, int], ...]:
    """The visits before this one, until a recount must have read them in this one's row: however
    long ago they ended, no recount may have seen that."""
    return old.earlier if old.began_here > now - EARLIER_FOR else ()


def _formerly(old: Session, now: int, *, changed: bool) -> tuple[tuple[str, int], ...]:
    """Whom a session counted as until now, and a short while ago."""
    before = (*old.formerly, (person_hash(old.person), now)) if changed else old.formerly
    return tuple(one for one in before if one[1] > now - EARLIER_FOR)[-MAX_EARLIER:]


def lease_of(kind: Kind, state: str, connection: str | None) -> int:
    """How long a beat keeps a session alive, in seconds. Over a connection, this depends neither on
    the kind nor on the state."""
    return kind.lease_for(state) if connection is None else SOCKET_LEASE


def person_hash(person: str) -> str:
    """A short name of a person's key."""
    return hashlib.blake2b(person.encode(), digest_size=_PERSON_BYTES).hexdigest()


def place_of(person: str, parts: int) -> tuple[int, bytes]:
    """A person's part of the index of people, and their name there: the kind of their id, and a
    hash. Among a million people, two have the same one in 40 million cases once."""
    digest = hashlib.blake2b(person.encode(), digest_size=_INDEXED_BYTES).digest()
    return int.from_bytes(digest) % parts, person[0].encode() + digest


def as_user_of(old: Session, facts: Facts) -> Session:
    """The session as it is while these facts hold, as far as users go."""
    return replace(old, facts=facts, **_former_users(old, facts))


def _former_users(old: Session, facts: Facts) -> dict[str, Any]:
    """The former users after a beat, and their proofs: a day counts everybody who was signed in
    during a visit, and a proven user keeps the tab from being claimed by others.

    A session id derived from a person belongs to them only: a beat without a user then just means
    that they asked not to be named.
    """
    if old.id.startswith(OWN_PREFIX):
        return {"former_users": (), "former_proofs": ()}
    known = dict(zip_longest(old.former_users, old.former_proofs, fillvalue=False))
    user, proven = old.facts.user, old.facts.verified
    # A claim that its token proves now is the same user's, and not a former one.
    if user is not None and (user != facts.user or (proven and not facts.verified)):
        proven = known.pop(user, False) or proven
        known[user] = proven
    kept = list(known.items())[-MAX_FORMER_USERS:]
    proofs = tuple(proof for _, proof in kept)
    return {
        "former_users": tuple(one for one, _ in kept),
        "former_proofs": proofs if any(proofs) else (),
    }


def after_leave(
    old: Session,
    *,
    seq: int | None,
    request: str,
    now: int,
    duration: int | None = None,
    may_return: bool = False,
    limit: int = 0,
) -> Session | Stale:
    """The row a leave leads to: an update, not a delete, so that the end can be recorded.

    It counts as one of the session's messages, but the one that ends a visit is never refused; a
    further one raises RateLimitError above ``limit``.
    ``duration``: the visit's seconds as reported by the client. ``may_return``: only a page has
    closed, and the tab may be back on the next one.
    """
    if seq is not None and old.seq is not None and seq <= old.seq:
        return Stale()
    if old.ended:
        if seq is None:
            return Stale()
        # Remember the higher number, or a beat between the two leaves would join again.
        burst = check_rate(old, 1, limit=limit, now=now)
        return replace(old, request=request, seq=seq, write=Write.GONE, changed_at=now, burst=burst)
    if old.away:
        new = after_absence(old, request=request)
        if may_return:  # its number is new
            new = replace(old, request=request, write=Write.BEAT)
        return replace(new, seq=seq if seq is not None else old.seq)
    if may_return and old.expires_at > now:
        # No message of the rate limit: the beat that follows is one.
        return replace(
            old,
            write=Write.CHANGE,
            request=request,
            changed_at=now,
            expires_at=min(old.expires_at, now + RETURN_GRACE),
            ended_by="leave",
            seq=seq if seq is not None else old.seq,
            duration=duration,
        )
    return replace(
        old,
        write=Write.LEAVE,
        request=request,
        changed_at=now,
        ended_at=min(now, old.expires_at),
        ended_by="leave" if old.expires_at > now else "expiry",
        seq=seq if seq is not None else old.seq,
        duration=duration,
        burst=old.burst + 1,
    )


def after_absence(old: Session, *, request: str) -> Session:
    """The end of the visit of a session that is ``away``, at the leave."""
    return replace(
        old, write=Write.LEAVE, request=request, ended_at=old.changed_at, ended_by="leave"
    )


def after_connection_loss(
    old: Session, *, kind: Kind, request: str, now: int, limit: int = 0
) -> Session:
    """The row after its connection was lost: a client that returns within the kind's own lease was
    never away. It wakes no function. The session was present until now, so it was last seen now."""
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
    """The row of a leave that overtook its join: it makes the join stale."""
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


def after_events(old: Session, number: int, *, request: str, now: int, limit: int) -> Session:
    """The row after a live session reported something that its person did. It wakes no function.

    Raises RateLimitError above ``limit``, and ForbiddenError above what a visit may add.
    """
    if old.events + number > MAX_ENGAGED:
        raise ForbiddenError(f"This visit has reported {MAX_ENGAGED} events, the maximum.")
    burst = check_rate(old, 1, limit=limit, now=now)
    events = old.events + number
    return replace(
        old, write=Write.BEAT, request=request, last_seen=now, burst=burst, events=events
    )


def after_frame(old: Session | None, *, request: str, now: int, limit: int) -> Session:
    """The row after a frame that is no beat. It wakes no function.

    Raises RateLimitError above ``limit``, or without a row, which would count the frame.
    """
    if old is None:
        raise RateLimitError("This connection's session has ended. Open another connection.", 1)
    burst = check_rate(old, 1, limit=limit, now=now)
    if old.ended:
        return replace(old, write=Write.GONE, request=request, changed_at=now, burst=burst)
    return replace(old, write=Write.BEAT, request=request, last_seen=now, burst=burst)


def has_wrong_clock(session: Session, now: int) -> bool:
    """Whether a wrong clock wrote a live session's row: it would live too long, or decide its
    person's facets for too long."""
    return (
        max(session.last_seen, session.changed_at) > now + CLOCK_WAS_WRONG
        or session.expires_at - session.last_seen > MAX_LEASE * SECOND
    )


def after_clock_repair(old: Session, *, kind: Kind, request: str, now: int) -> Session:
    """The row of a live session that ``has_wrong_clock``: the time of its last beat is unknown, so
    it is set to now, with the lease that it gave. The start of the visit stays as it is in the
    ledger."""
    given = old.expires_at - old.last_seen
    lease = max(
        lease_of(kind, old.facts.state, old.connection) * SECOND, min(given, LONGEST_LEASE * SECOND)
    )
    return replace(
        old,
        write=Write.CHANGE,
        request=request,
        changed_at=min(old.changed_at, now),
        last_seen=now,
        expires_at=now + lease,
        ended_by=None,
    )


def after_expiry(old: Session, *, request: str, now: int) -> Session | None:
    """The row after the lease expired, in the shape of a leave; None while the lease runs, or while
    a session that is away may return."""
    if old.ended or old.expires_at > now:
        return None
    if old.away:
        return after_absence(old, request=request) if old.runs_out_at <= now else None
    return replace(
        old, write=Write.LEAVE, request=request, ended_at=old.expires_at, ended_by="expiry"
    )


class HeldSession(Struct, frozen=True):
    """The session that a connection holds, and what was known when the connection opened."""

    space: str
    session: str
    user: str | None = None
    """The user that the token proved."""
    admin: bool = False
    """Whether the token was an admin's, who may send beats for anyone."""
    reads: bool = False
    """Whether the token allows to read the space's counts."""
    robot: str | None = None
    """The robot that opened the connection."""
    seen: Mapping[str, str] = field(default_factory=dict)
    """Facets from the request's headers: device and country."""
