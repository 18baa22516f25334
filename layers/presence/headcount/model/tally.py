"""Counting: from sessions to a shard's numbers, and from shards to a space's. Pure.

A person with several tabs counts once, and once per facet: under the value of the tab that joined
or changed last. All tabs of a person are in one shard, so the sum over shards is exact.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import chain
from typing import TYPE_CHECKING

from headcount.model.session import Session, is_user

if TYPE_CHECKING:
    from headcount.web import answers

MAX_VALUES = 200
"""Values kept per facet; the rest counts under ``other``."""
MAX_SPACE_FACETS = 24
"""Facets kept per space: the page, then the most used."""
MAX_FACETS_BYTES = 80 * 1024
"""The size of all facets as JSON, because a WebSocket frame holds 128 KB: above it, fewer values
are kept."""
OTHER = "other"
MAX_NAMES = 16
"""Names kept per space, of quality and of engagement."""
_DECIMALS = 6
_UNIT = 10**_DECIMALS

Facets = Mapping[str, Mapping[str, tuple[int, int]]]
"""facet -> value -> (sessions, people)."""

Quality = Mapping[str, tuple[int, float]]
"""name -> (sessions that report it, their sum)."""


@dataclass(frozen=True, slots=True)
class Tally:
    """The numbers of a shard, or of a space. ``people``: distinct, signed in and anonymous."""

    sessions: int = 0
    signed_in_sessions: int = 0
    signed_in: int = 0
    anonymous: int = 0
    facets: Facets = field(default_factory=dict)
    # Telemetry changes with every beat: it is not compared.
    quality: Quality = field(default_factory=dict, compare=False)
    engagement: Mapping[str, float] = field(default_factory=dict, compare=False)

    @property
    def people(self) -> int:
        """People, each once."""
        return self.signed_in + self.anonymous

    @property
    def anonymous_sessions(self) -> int:
        """Sessions of people who are not signed in."""
        return self.sessions - self.signed_in_sessions

    def ranked_facets(self) -> dict[str, list[answers.FacetValue]]:
        """Each facet's values as the API has them, largest first."""
        return {
            facet: [
                {"value": value, "count": count, "people": people}
                for value, (count, people) in ranked(values)
            ]
            for facet, values in self.facets.items()
        }


_Facets = tuple[tuple[str, str], ...]
"""The (facet, value) pairs of a session."""
_Tab = tuple[int, str, _Facets]
"""When a session joined or last changed, its id, and its facets."""
_Sums = dict[str, tuple[int, int]]
"""name -> (sessions that report it, their sum in millionths: whole numbers are the same in any
order, and after some are taken away again)."""


class TallyBuilder:
    """Builds a tally session by session, which may be removed again. It keeps only what identifies
    the person of a session: a million sessions have to fit into a function's memory."""

    def __init__(self) -> None:
        self._signed_in = self._users = 0
        self._counts: Counter[_Facets] = Counter()
        self._people: Counter[_Facets] = Counter()  # under what decides
        self._interned: dict[_Facets, _Facets] = {}  # thousands have the same: kept once
        self._only: dict[str, _Tab] = {}  # person -> their only tab
        self._several: dict[str, list[_Tab]] = {}  # person -> their tabs
        self._decided: dict[str, _Facets] = {}  # person with several -> as in ``_people``
        self._undecided: set[str] = set()  # persons whose tabs changed since
        self._quality: _Sums = {}
        self._engagement: _Sums = {}

    def add(self, session: Session) -> None:
        """Count a live session.

        In each facet a person counts once, under the value of their latest join or change.
        """
        facets = tuple(session.values.items())
        facets = self._interned.setdefault(facets, facets)
        self._counts[facets] += 1
        self._signed_in += session.facts.user is not None
        person, tab = session.person, (session.changed_at, session.id, facets)
        if person in self._several:
            self._several[person].append(tab)
            self._undecided.add(person)
        elif person in self._only:
            self._several[person] = [self._only.pop(person), tab]
            _take(self._people, self._several[person][0][2])
            self._undecided.add(person)
        else:
            self._only[person] = tab
            self._people[facets] += 1
            self._users += is_user(person)
        _sum_up(self._quality, session.telemetry.quality)
        self.add_ongoing(session)

    def remove(self, session: Session) -> None:
        """Undo ``add`` of the same session."""
        facets = tuple(session.values.items())
        if not _take(self._counts, facets):
            del self._interned[facets]
        self._signed_in -= session.facts.user is not None
        person, tab = session.person, (session.changed_at, session.id, facets)
        if person in self._only:
            del self._only[person]
            _take(self._people, facets)
            self._users -= is_user(person)
        else:
            tabs = self._several[person]
            tabs.remove(tab)
            self._undecided.add(person)
            if len(tabs) == 1:
                self._only[person] = self._several.pop(person)[0]
                self._people[self._only[person][2]] += 1
        _sum_up(self._quality, session.telemetry.quality, -1)
        self.remove_ongoing(session)

    def add_ongoing(self, session: Session) -> None:
        """Add the engagement of a visit that has not ended, whether or not it counts as present."""
        _sum_up(self._engagement, session.telemetry.engagement)

    def remove_ongoing(self, session: Session) -> None:
        """Undo ``add_ongoing``."""
        _sum_up(self._engagement, session.telemetry.engagement, -1)

    def add_row(self, row: Session, now: int) -> None:
        """Add a row of a shard: count it if it is live, as ``tally_of`` does."""
        if row.live(now):
            self.add(row)
        elif not row.ended:
            self.add_ongoing(row)

    def persons(self) -> Iterator[str]:
        """All who have a live session so far."""
        return chain(self._only, self._several)

    def tabs_of(self, person: str) -> int:
        """A person's live sessions so far."""
        return len(self._several.get(person, ())) or int(person in self._only)

    def build(self) -> Tally:
        """The numbers so far."""
        self._decide()
        sessions: dict[str, Counter[str]] = defaultdict(Counter)
        people: dict[str, Counter[str]] = defaultdict(Counter)
        for into, counts in ((sessions, self._counts), (people, self._people)):
            for facets, times in counts.items():
                for facet, value in facets:
                    into[facet][value] += times
        return Tally(
            sessions=self._counts.total(),
            signed_in_sessions=self._signed_in,
            signed_in=self._users,
            anonymous=len(self._only) + len(self._several) - self._users,
            facets=_capped(
                {
                    facet: {value: (count, people[facet][value]) for value, count in values.items()}
                    for facet, values in sessions.items()
                }
            ),
            quality=_merged(
                [{name: (number, total / _UNIT) for name, (number, total) in self._quality.items()}]
            ),
            engagement=summed(
                [
                    {
                        name: total / _UNIT if total % _UNIT else total // _UNIT
                        for name, (_, total) in self._engagement.items()
                    }
                ]
            ),
        )

    def _decide(self) -> None:
        """Find out under what those count whose tabs changed. Not with each tab: thousands of
        sessions may name the same user."""
        for person in self._undecided:
            if (decided := self._decided.pop(person, None)) is not None:
                _take(self._people, decided)
            if (tabs := self._several.get(person)) is not None:
                latest: dict[str, _Tab] = {}
                for tab in tabs:
                    _decide(latest, tab)
                facets = tuple((facet, dict(tab[2])[facet]) for facet, tab in latest.items())
                self._people[facets] += 1
                self._decided[person] = facets
        self._undecided.clear()


def _take(counts: Counter[_Facets], facets: _Facets) -> int:
    """Count one less; returns how many are left."""
    left = counts[facets] - 1
    if left:
        counts[facets] = left
    else:
        del counts[facets]
    return left


def _sum_up(sums: _Sums, values: Mapping[str, float], sign: int = 1) -> None:
    """Add a session's numbers, or take them away."""
    for name, value in values.items():
        number, total = sums.get(name, (0, 0))
        if number + sign:
            sums[name] = number + sign, total + sign * round(value * _UNIT)
        else:
            del sums[name]


def _decide(latest: dict[str, _Tab], tab: _Tab) -> None:
    """Let a tab decide its person's facets where it is the latest."""
    for facet, _ in tab[2]:
        other = latest.setdefault(facet, tab)
        if other[:2] < tab[:2]:
            latest[facet] = tab


def deciding_sessions(sessions: Iterable[Session]) -> dict[tuple[str, str], Session]:
    """(facet, person) -> the live session whose value the person counts under."""
    latest: dict[tuple[str, str], Session] = {}
    for session in sessions:
        for facet in session.values:
            other = latest.setdefault((facet, session.person), session)
            if (other.changed_at, other.id) < (session.changed_at, session.id):
                latest[facet, session.person] = session
    return latest


def tally_of(rows: Iterable[Session], now: int) -> Tally:
    """Count a shard: its live sessions, and the engagement of all visits that have not ended.

    The engagement of a visit whose lease expired counts here until the cleanup ends the visit, and
    the ledger adds it to the totals: in between it must not be missing.
    """
    builder = TallyBuilder()
    for row in rows:
        builder.add_row(row, now)
    return builder.build()


def merge(tallies: Iterable[Tally]) -> Tally:
    """The sum of shards. All sessions of a person are in one shard, so distinct people add up."""
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
        engagement=summed(part.engagement for part in parts),
    )


def _merged(parts: Iterable[Quality]) -> Quality:
    merged: dict[str, tuple[int, float]] = {}
    for part in parts:
        for name, (number, total) in part.items():
            have = merged.get(name, (0, 0.0))
            merged[name] = (have[0] + number, have[1] + total)
    # Names invented by clients must not fill the row: the most frequent are kept.
    kept = sorted(merged, key=lambda name: (-merged[name][0], name))[:MAX_NAMES]
    return {name: (merged[name][0], round(merged[name][1], _DECIMALS)) for name in sorted(kept)}


def summed(parts: Iterable[Mapping[str, float]]) -> Mapping[str, float]:
    """The sum of engagement by name; the largest are kept."""
    totals: dict[str, float] = {}
    for part in parts:
        for name, number in part.items():
            totals[name] = totals.get(name, 0) + number
    kept = sorted(totals, key=lambda name: (-totals[name], name))[:MAX_NAMES]
    return {name: totals[name] for name in sorted(kept)}


def ranked(values: Mapping[str, tuple[int, int]]) -> list[tuple[str, tuple[int, int]]]:
    """Largest first; equal counts by name, so that the order is always the same."""
    return sorted(values.items(), key=lambda pair: (-pair[1][0], -pair[1][1], pair[0]))


def _capped(facets: Mapping[str, Mapping[str, tuple[int, int]]]) -> Facets:
    if len(facets) > MAX_SPACE_FACETS:
        totals = {
            name: (-sum(count for count, _ in values.values()), name)
            for name, values in facets.items()
        }
        kept = sorted(facets, key=lambda name: (name != "page", totals[name]))[:MAX_SPACE_FACETS]
        facets = {name: facets[name] for name in kept}
    limit = MAX_VALUES
    while True:
        capped = {name: _capped_values(facets[name], limit) for name in sorted(facets)}
        if limit == 1 or sum(map(_bytes_of, capped.values())) <= MAX_FACETS_BYTES:
            return capped
        limit //= 2


def _bytes_of(values: Mapping[str, tuple[int, int]]) -> int:
    """The rough size of the values in a headcount's JSON, where ``"`` and ``\\`` are escaped."""
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
