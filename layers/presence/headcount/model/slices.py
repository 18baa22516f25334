"""A slice of a space: the sessions, and the people, whose facets have certain values. Pure."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from headcount.errors import InvalidRequestError
from headcount.model.beat import KEY_NAME, MAX_PAGE, check_text
from headcount.model.session import Session
from headcount.model.tally import Facets, Tally, tally_of
from headcount.times import iso

if TYPE_CHECKING:
    from headcount.web import answers

MAX_CONDITIONS = 8
MAX_SEARCH = 100

Where = Sequence[tuple[str, str]]
"""(facet, value): all of them."""


def parse_where(texts: Collection[str]) -> Where:
    """Conditions such as ``device:mobile``. Raises InvalidRequestError."""
    if len(texts) > MAX_CONDITIONS:
        raise InvalidRequestError(f"'where' may be sent up to {MAX_CONDITIONS} times.")
    found = []
    for text in texts:
        facet, _, value = text.partition(":")
        try:
            check_text(value, MAX_PAGE)
        except ValueError as error:
            raise InvalidRequestError(f"A value of 'where' {error}.") from None
        if not value or not KEY_NAME.fullmatch(facet):
            raise InvalidRequestError(
                "'where' must be a facet and a value, for example device:mobile or page:/pricing."
            )
        found.append((facet, value))
    return tuple(found)


def fits(session: Session, where: Where) -> bool:
    """Whether all conditions hold for a session."""
    if not where:
        return True
    values = session.values
    return all(values.get(facet) == value for facet, value in where)


def slice_of(sessions: Sequence[Session], where: Where, now: int) -> Tally:
    """The numbers of a slice of these live sessions.

    In each facet a person has the value of their latest tab, as in a space's numbers: so a slice by
    one value has as many people as the breakdown says, and slices by all values add up.
    """
    latest: dict[tuple[str, str], Session] = {}
    for one in sessions:
        values = one.values
        for facet, _ in where:
            if facet in values:
                before = latest.setdefault((facet, one.person), one)
                if (before.changed_at, before.id) < (one.changed_at, one.id):
                    latest[facet, one.person] = one
    here = [one for one in sessions if fits(one, where)]
    counted = tally_of(here, now)
    deciding = [
        one
        for one in here
        if all(latest[facet, one.person].values[facet] == value for facet, value in where)
    ]
    if len(deciding) == len(here):
        return counted
    people = tally_of(deciding, now)
    return Tally(
        sessions=counted.sessions,
        signed_in_sessions=counted.signed_in_sessions,
        signed_in=people.signed_in,
        anonymous=people.anonymous,
        facets=_with_people(counted.facets, people.facets),
        quality=counted.quality,
        engagement=counted.engagement,
    )


def _with_people(sessions: Facets, people: Facets) -> Facets:
    return {
        facet: {
            value: (number, people.get(facet, {}).get(value, (0, 0))[1])
            for value, (number, _) in values.items()
        }
        for facet, values in sessions.items()
    }


@dataclass(frozen=True, slots=True)
class Slice:
    """The numbers of a slice, and those of the whole space. ``sample``: how many sessions were
    read, if not all; the numbers are then scaled from them."""

    tally: Tally
    whole: Tally
    sample: int | None = None

    def body(self, space: str, now: int) -> answers.Slice:
        """The body of ``GET /v1/spaces/{space}/slice``."""
        tally = self.tally
        body: answers.Slice = {
            "success": True,
            "space": space,
            "people": tally.people,
            "signedIn": tally.signed_in,
            "anonymous": tally.anonymous,
            "sessions": tally.sessions,
            "signedInSessions": tally.signed_in_sessions,
            "anonymousSessions": tally.anonymous_sessions,
            "facets": tally.ranked_facets(),
            "of": {"people": self.whole.people, "sessions": self.whole.sessions},
            "asOf": iso(now),
        }
        if self.sample is not None:
            body["sample"] = self.sample
        return body


def scaled(tally: Tally, sample: Tally, whole: Tally) -> Tally:
    """A slice of a sample, as it would be in the whole space: its share of the sessions, and of the
    people, of whom the sample has some with a part of their tabs."""
    by_session = whole.sessions / max(1, sample.sessions)
    by_person = whole.people / max(1, sample.people)
    return Tally(
        sessions=round(tally.sessions * by_session),
        signed_in_sessions=round(tally.signed_in_sessions * by_session),
        signed_in=round(tally.signed_in * by_person),
        anonymous=round(tally.anonymous * by_person),
        facets={
            facet: {
                value: (round(count * by_session), round(people * by_person))
                for value, (count, people) in values.items()
            }
            for facet, values in tally.facets.items()
        },
    )


@dataclass(frozen=True, slots=True)
class Search:
    """Which sessions are listed, and in which order."""

    where: Where = ()
    who: str | None = None
    state: str | None = None
    text: str | None = None
    order: str | None = None

    def finds(self, session: Session) -> bool:
        """Whether it is listed."""
        facts = session.facts
        return (
            fits(session, self.where)
            and (self.who is None or (self.who == "signed-in") == (facts.user is not None))
            and (self.state is None or facts.state == self.state)
            and (self.text is None or self._matches(session, self.text.lower()))
        )

    def _matches(self, session: Session, text: str) -> bool:
        facts = session.facts
        texts = [facts.name, facts.user, facts.visitor, session.id, *session.values.values()]
        texts.append(str(session.telemetry.details.get("contentTitle", "")))
        return any(text in one.lower() for one in texts if one)

    def ordered(self, sessions: Iterable[Session]) -> list[Session]:
        """Those that are found, in its order, then by id."""
        key = ORDERS[self.order] if self.order is not None else None
        found = sorted(filter(self.finds, sessions), key=lambda one: one.id)
        return found if key is None else sorted(found, key=key)


ORDERS: Mapping[str, Callable[[Session], Any]] = {
    "seen": lambda one: -one.last_seen,
    "longest": lambda one: one.joined_at,
    "newest": lambda one: -one.joined_at,
    "name": lambda one: (
        one.facts.name is None and one.facts.user is None,
        (one.facts.name or one.facts.user or "").casefold(),
    ),
}
