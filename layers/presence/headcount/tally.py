"""Counting: sessions to numbers, and shards' numbers to a space's. Pure."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from headcount.session import Session, is_user

MAX_VALUES = 200
"""Values kept per facet; the rest is counted under ``other``."""
MAX_FACETS = 24
"""Facets kept per space, the page first, then the most used."""
MAX_FACETS_BYTES = 80 * 1024
"""All facets as JSON: a WebSocket frame holds 128 KB. Beyond it fewer values are kept."""
OTHER = "other"
MAX_NAMES = 16
"""Names kept per space of quality numbers, and of engagement."""
_DECIMALS = 6

Facets = Mapping[str, Mapping[str, tuple[int, int]]]
"""facet -> value -> (sessions, people)."""

Quality = Mapping[str, tuple[int, float]]
"""name -> (sessions that say it, their sum)."""


@dataclass(frozen=True, slots=True)
class Tally:
    """The numbers of a shard, or of a space. ``people`` = signed in + anonymous, distinct."""

    sessions: int = 0
    signed_in_sessions: int = 0
    signed_in: int = 0
    anonymous: int = 0
    facets: Facets = field(default_factory=dict)
    # What rides in beats is as of some moment: two tallies are equal whatever it says.
    quality: Quality = field(default_factory=dict, compare=False)
    engagement: Mapping[str, float] = field(default_factory=dict, compare=False)

    @property
    def people(self) -> int:
        """Each person once."""
        return self.signed_in + self.anonymous

    @property
    def anonymous_sessions(self) -> int:
        """Sessions of people who are not signed in."""
        return self.sessions - self.signed_in_sessions


_Said = tuple[tuple[str, str], ...]
"""(facet, value) of everything that a session says."""
_Tab = tuple[int, str, _Said]
"""When it joined or changed last, its id, and what it says."""


class Tallying:
    """A tally in the making. Of a session stays what tells its person from others, and no more: a
    million sessions have to fit in a function's memory."""

    def __init__(self) -> None:
        self._sessions = self._signed_in = 0
        self._said: Counter[_Said] = Counter()
        self._alike: dict[_Said, _Said] = {}  # thousands say the same: kept once
        self._only: dict[str, _Tab] = {}  # person -> their only tab so far
        self._several: dict[str, dict[str, _Tab]] = {}  # person -> facet -> the tab that decides
        self._quality: dict[str, tuple[int, float]] = {}
        self._engagement: dict[str, float] = {}

    def add(self, session: Session) -> None:
        """Count a live session.

        In each facet a person counts once, under what their latest join or change said.
        """
        said = tuple(session.values.items())
        said = self._alike.setdefault(said, said)
        self._said[said] += 1
        self._sessions += 1
        self._signed_in += session.facts.user is not None
        person, tab = session.person, (session.changed_at, session.id, said)
        if person in self._several:
            _decide(self._several[person], tab)
        elif person in self._only:
            latest = self._several[person] = {}
            _decide(latest, self._only.pop(person))
            _decide(latest, tab)
        else:
            self._only[person] = tab
        for name, value in session.riding.quality.items():
            number, total = self._quality.get(name, (0, 0.0))
            self._quality[name] = number + 1, total + float(value)
        self.go_on(session)

    def go_on(self, session: Session) -> None:
        """What was done in a visit that is not over, whether or not it is counted."""
        for name, number in session.riding.engagement.items():
            self._engagement[name] = self._engagement.get(name, 0) + number

    def add_row(self, row: Session, now: int) -> None:
        """Count a shard's row: as ``tally_of`` does."""
        if row.live(now):
            self.add(row)
        elif not row.ended:
            self.go_on(row)

    def done(self) -> Tally:
        """The numbers so far."""
        sessions: dict[str, Counter[str]] = defaultdict(Counter)
        people: dict[str, Counter[str]] = defaultdict(Counter)
        for said, times in self._said.items():
            for facet, value in said:
                sessions[facet][value] += times
        for said, times in Counter(said for _, _, said in self._only.values()).items():
            for facet, value in said:
                people[facet][value] += times
        for latest in self._several.values():
            for facet, (_, _, said) in latest.items():
                people[facet][dict(said)[facet]] += 1
        users = sum(map(is_user, self._only)) + sum(map(is_user, self._several))
        return Tally(
            sessions=self._sessions,
            signed_in_sessions=self._signed_in,
            signed_in=users,
            anonymous=len(self._only) + len(self._several) - users,
            facets=_capped(
                {
                    facet: {value: (count, people[facet][value]) for value, count in values.items()}
                    for facet, values in sessions.items()
                }
            ),
            quality=_merged([self._quality]),
            engagement=added([self._engagement]),
        )


def _decide(latest: dict[str, _Tab], tab: _Tab) -> None:
    """Have a tab speak for its person in the facets where it is the latest."""
    for facet, _ in tab[2]:
        other = latest.setdefault(facet, tab)
        if other[:2] < tab[:2]:
            latest[facet] = tab


def tally(sessions: Iterable[Session]) -> Tally:
    """Count live sessions."""
    tallying = Tallying()
    for session in sessions:
        tallying.add(session)
    return tallying.done()


def deciding(sessions: Iterable[Session]) -> dict[tuple[str, str], Session]:
    """(facet, person) -> the live session whose value the person counts under."""
    latest: dict[tuple[str, str], Session] = {}
    for session in sessions:
        for facet in session.values:
            other = latest.setdefault((facet, session.person), session)
            if (other.changed_at, other.id) < (session.changed_at, session.id):
                latest[facet, session.person] = session
    return latest


def tally_of(rows: Iterable[Session], now: int) -> Tally:
    """Count a shard: who is live; and what was done in every visit that is not over yet.

    A visit whose lease ran out goes on in that respect until the cleanup ends it, when the ledger
    adds up what was done in it: between the two it must not be missing from the totals.
    """
    tallying = Tallying()
    for row in rows:
        tallying.add_row(row, now)
    return tallying.done()


def merge(tallies: Iterable[Tally]) -> Tally:
    """Add shards up. A person is in one shard, so distinct people add exactly."""
    parts = list(tallies)
    facets: dict[str, dict[str, tuple[int, int]]] = {}
    for part in parts:
        for facet, values in part.facets.items():
            into = facets.setdefault(facet, {})
            for value, (sessions, people) in values.items():
                have = into.get(value, (0, 0))
                into[value] = (have[0] + sessions, have[1] + people)
    return Tally(
        sessions=sum(part.sessions for part in parts),
        signed_in_sessions=sum(part.signed_in_sessions for part in parts),
        signed_in=sum(part.signed_in for part in parts),
        anonymous=sum(part.anonymous for part in parts),
        facets=_capped(facets),
        quality=_merged(part.quality for part in parts),
        engagement=added(part.engagement for part in parts),
    )


def _merged(parts: Iterable[Quality]) -> Quality:
    merged: dict[str, tuple[int, float]] = {}
    for part in parts:
        for name, (number, total) in part.items():
            have = merged.get(name, (0, 0.0))
            merged[name] = (have[0] + number, have[1] + total)
    # Thousands of clients' names must not fill the row: the most said are kept.
    kept = sorted(merged, key=lambda name: (-merged[name][0], name))[:MAX_NAMES]
    return {name: (merged[name][0], round(merged[name][1], _DECIMALS)) for name in sorted(kept)}


def added(parts: Iterable[Mapping[str, float]]) -> Mapping[str, float]:
    """What people did, by name: the most are kept."""
    totals: dict[str, float] = {}
    for part in parts:
        for name, number in part.items():
            totals[name] = totals.get(name, 0) + number
    kept = sorted(totals, key=lambda name: (-totals[name], name))[:MAX_NAMES]
    return {name: totals[name] for name in sorted(kept)}


def ranked(values: Mapping[str, tuple[int, int]]) -> list[tuple[str, tuple[int, int]]]:
    """Largest first; equal counts by name, so that the order is the same on every run."""
    return sorted(values.items(), key=lambda pair: (-pair[1][0], -pair[1][1], pair[0]))


def _capped(facets: Mapping[str, Mapping[str, tuple[int, int]]]) -> Facets:
    if len(facets) > MAX_FACETS:
        totals = {
            name: (-sum(count for count, _ in values.values()), name)
            for name, values in facets.items()
        }
        kept = sorted(facets, key=lambda name: (name != "page", totals[name]))[:MAX_FACETS]
        facets = {name: facets[name] for name in kept}
    limit = MAX_VALUES
    while True:
        capped = {name: _capped_values(facets[name], limit) for name in sorted(facets)}
        if limit == 1 or sum(map(_bytes_of, capped.values())) <= MAX_FACETS_BYTES:
            return capped
        limit //= 2


def _bytes_of(values: Mapping[str, tuple[int, int]]) -> int:
    """Roughly what the values take in a headcount's JSON, where ``"`` and ``\\`` are escaped."""
    return sum(40 + len(value.encode()) + value.count('"') + value.count("\\") for value in values)


def _capped_values(
    values: Mapping[str, tuple[int, int]], limit: int
) -> Mapping[str, tuple[int, int]]:
    named = [pair for pair in ranked(values) if pair[0] != OTHER]
    kept = dict(named[:limit])
    rest = [numbers for _, numbers in named[limit:]] + [
        values[OTHER] for _ in range(OTHER in values)
    ]
    if rest:
        kept[OTHER] = (sum(count for count, _ in rest), sum(people for _, people in rest))
    return kept
