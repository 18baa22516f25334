"""Where a person is: the visits that are open, and when the person was last seen. Pure.

A person is looked up by the key that they count under: ``u:`` and a user's id that a token proved,
``c:`` and one that is only claimed, ``v:`` and a visitor's id, ``s:`` and a session's.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from itertools import zip_longest
from typing import TYPE_CHECKING, Any

from msgspec import Struct, field

from headcount.errors import InvalidRequestError
from headcount.model.access import PERSON
from headcount.model.beat import MAX_IDENTIFIER, check_text
from headcount.model.session import Session, person_hash, person_of
from headcount.times import DAY, iso

if TYPE_CHECKING:
    from headcount.web import answers

RETENTION = 7 * DAY
"""How long it is known when a person was last seen: as long as visits are kept."""

MOST_PEOPLE = 100
"""People in one lookup, and people that a connection watches."""

MOST_VISITS = 16
"""Open visits of a person that are remembered, the latest ones: with an id that many share, each
join would else write a larger row."""

NOT_KNOWN = "This deployment does not know where people are. Deploy it with people=on in Settings."

_TOPIC = "~person:"


class OpenVisit(Struct, frozen=True):
    """A visit that began and has, as far as is known, not ended."""

    id: str
    space: str
    shard: int
    session: str
    since: int

    @classmethod
    def from_session(cls, row: Session) -> OpenVisit:
        """The visit of a presence row."""
        return cls(row.visit, row.space, row.shard, row.id, row.joined_at)

    @property
    def key(self) -> tuple[str, int, str]:
        """The presence row: space, shard and session."""
        return self.space, self.shard, self.session

    def goes_on(self, row: Session | None, person: str, now: int) -> bool:
        """Whether its presence row says that this person is here."""
        return row is not None and row.visit == self.id and row.person == person and row.live(now)


class PersonRecord(Struct, frozen=True):
    """What is known of a person. Times are epoch milliseconds."""

    person: str
    visits: tuple[OpenVisit, ...] = ()
    seen: int | None = None  # the last join, leave or end of a visit
    watched_until: int = 0  # some connection may watch the person until then
    online: bool = False  # as last reported to those who watch


class PersonChange(Struct):
    """What a batch of changes of the Presence table means for a person."""

    began: dict[str, OpenVisit] = field(default_factory=dict)
    ended: set[str] = field(default_factory=set)
    came: bool = False
    """Whether one of the visits that ended began, or became this person's, in the same batch: the
    person may be new."""
    left: dict[str, tuple[int, int]] = field(default_factory=dict)
    """Visits that went on in another shard: the shard that they left, and when."""
    looks: dict[str, OpenVisit] = field(default_factory=dict)
    """Visits in which something else changed."""
    seen: int = 0
    away_until: int = 0

    def begin(self, visit: OpenVisit, at: int) -> None:
        """A visit of this person is open, since it began or since they signed in."""
        self.began[visit.id] = visit
        self.ended.discard(visit.id)
        self.seen = max(self.seen, at)

    def end(self, visit: str, at: int) -> None:
        """A visit is not this person's any more."""
        was = self.began.pop(visit, None), self.looks.pop(visit, None)
        self.came |= was != (None, None)
        self.ended.add(visit)
        self.seen = max(self.seen, at)


def former_person(row: Session) -> str | None:
    """Whom a session counted as until this change; None if it did not change that. The empty text
    if the row does not say who it was."""
    if not row.formerly or row.formerly[-1][1] != row.changed_at:
        return None
    # Of a user without a proof, none is stored.
    users: Any = zip_longest(row.former_users, row.former_proofs, fillvalue=False)
    facts = row.facts
    known = [
        *(person_of(user, None, row.id, verified=proof) for user, proof in users),
        *(person_of(facts.user, None, row.id, verified=proof) for proof in (True, False)),
        person_of(None, facts.visitor, row.id),
        person_of(None, None, row.id),
    ]
    before = row.formerly[-1][0]
    return next((one for one in known if person_hash(one) == before), "")


def seen_at_end(row: Session) -> int:
    """When the person of an ended visit was last seen in it."""
    ended = row.changed_at if row.ended_at is None else row.ended_at
    return ended if row.ended_by == "leave" else min(row.last_seen, ended)


def check_person(text: object) -> str:
    """A person's key, or InvalidRequestError."""
    if not isinstance(text, str) or not PERSON.fullmatch(text):
        raise InvalidRequestError(
            "Name a person as u:<userId> (proven by a token), c:<userId> (claimed), v:<visitorId> "
            "or s:<sessionId>."
        )
    try:
        check_text(text[2:], MAX_IDENTIFIER)
    except ValueError as error:
        raise InvalidRequestError(f"The id of a person {error}.") from None
    return text


def check_people(people: object) -> list[str]:
    """The keys of up to 100 people, or InvalidRequestError."""
    if not isinstance(people, list) or not 0 < len(people) <= MOST_PEOPLE:
        raise InvalidRequestError(
            f"'people' must be a list of 1 to {MOST_PEOPLE} people, for example "
            '{"people": ["u:ada"]}.'
        )
    return [check_person(one) for one in people]


def topic_of(person: str) -> str:
    """The topic to which those who watch a person are subscribed."""
    return _TOPIC + person


def watched_in(topics: Iterable[str]) -> list[str]:
    """The people that are watched among these topics."""
    return [topic.removeprefix(_TOPIC) for topic in topics if is_person_topic(topic)]


def spaces_in(topics: Iterable[str]) -> list[str]:
    """The topics that are no person's."""
    return [topic for topic in topics if not is_person_topic(topic)]


def is_person_topic(topic: str) -> bool:
    """Whether this is the topic of those who watch a person."""
    return topic.startswith(_TOPIC)


def whereabouts(
    person: str,
    record: PersonRecord | None,
    rows: Mapping[tuple[str, int, str], Session],
    now: int,
) -> answers.Whereabouts:
    """Where a person is, by the presence rows of their visits, each by its ``OpenVisit.key``."""
    visits = record.visits if record is not None else ()
    here = [row for one in visits if one.goes_on(row := rows.get(one.key), person, now) and row]
    here.sort(key=lambda row: (row.last_seen, row.joined_at, row.id), reverse=True)
    sessions = Counter(row.space for row in here)
    since = {row.space: min(o.joined_at for o in here if o.space == row.space) for row in here}
    latest = {row.space: row for row in reversed(here)}
    seen = max((row.last_seen for row in here), default=0)
    if record is not None and record.seen is not None and record.seen > now - RETENTION:
        seen = max(seen, record.seen)
    spaces: list[Any] = [
        {
            "space": space,
            "since": iso(since[space]),
            "lastSeen": iso(latest[space].last_seen),
            "page": latest[space].facts.page,
            "sessions": sessions[space],
            "verified": latest[space].facts.verified,
        }
        for space in dict.fromkeys(row.space for row in here)
    ]
    return {
        "person": person,
        "online": bool(here),
        "spaces": spaces,
        "lastSeen": iso(seen) if seen else None,
    }
