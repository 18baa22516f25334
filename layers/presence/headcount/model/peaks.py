"""Peaks: how many people and sessions a space had at each moment, and the highest of it. Pure.

A recount sees who is here now. Who came and went since the recount before is in the rows, too: they
say when a visit began and ended, and an ended one is kept for minutes. So a recount also writes the
*steps* of its shard: each change of its numbers, with its time. ``publish`` adds up the steps of
all shards, moment by moment, and takes the highest sum: not the sum of each shard's highest.

A shard knows its numbers up to its recount. If it had people then, some may have left since, so a
later moment is *final* only when the shard has been recounted after it. Until then that moment does
not count, and ``lagging`` names the shards to recount.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import reduce
from itertools import groupby

from headcount.model.durations import read_varint, varint
from headcount.model.session import Session, person_hash
from headcount.times import DAY, MINUTE, day_of

_HASHED = "#"
"""The beginning of a person's key of whom only the hash is known."""

KEPT = 10 * MINUTE
"""How long a shard's steps are kept: longer than a count usually waits to be published."""

KEPT_OF_ONE_SHARD = 8 * DAY
"""As long as a space's daily peaks. There, only each day's highest step is needed, and its
last."""

MAX_STEPS = 200
"""Steps kept per shard, about a kilobyte. Above it, the oldest are merged into one with their
highest numbers: a sum over several shards may then be too high by what changed during that step."""


@dataclass(frozen=True, slots=True)
class Step:
    """The numbers from a moment on (epoch milliseconds), until the next step."""

    at: int
    people: int
    sessions: int


Steps = tuple[Step, ...]
"""In order of time."""


@dataclass(frozen=True, slots=True)
class Curve:
    """A shard's steps, and until when they are known: its recount. Later it may have changed."""

    steps: Steps
    known_until: int

    @property
    def may_fall(self) -> bool:
        """Whether anyone was there at the end, who may have left since."""
        return bool(self.steps) and self.steps[-1].sessions > 0


class StepsBuilder:
    """Builds a shard's steps between two recounts, row by row.

    It keeps what began or ended since: how often a person is here for the whole time is known from
    the tally.
    """

    def __init__(self, since: int, now: int) -> None:
        self._since, self._now = since, now
        self._stays: dict[str, list[tuple[int, int | None]]] = defaultdict(list)
        self._any_hashed = False
        self._new: Counter[str] = Counter()
        """Live sessions that began since, by person."""

    def add(self, row: Session, *, live: bool) -> None:
        """Add a row of the shard. ``live``: when it was read, as far as is known."""
        now = self._now
        for start, end in row.earlier:
            began = self._add_former(row, start, min(end, now))
            if began < end or began == start:
                self._add(row.person, began, min(end, now))
        began = self._add_former(row, row.began_here, now)
        if live:
            if began > self._since:
                self._new[row.person] += 1
                self._stays[row.person].append((min(began, now), None))
        elif row.visit:
            self._add(row.person, began, min(row.gone_at, now))

    def _add_former(self, row: Session, began: int, ended: int) -> int:
        """Add whom a row counted as before in a visit; returns since when it is as now."""
        for person, until in row.formerly:
            if until > began:
                self._add(_HASHED + person, began, min(until, ended))
                self._any_hashed = True
                began = until
            if until >= ended:
                break
        return began

    def _name(self, persons: Iterable[str]) -> None:
        """Find out who those are whom sessions counted as before."""
        known = {_HASHED + person_hash(one): one for one in (*persons, *self._stays)}
        for hashed in [one for one in self._stays if one in known]:
            self._stays[known[hashed]] += self._stays.pop(hashed)

    def _add(self, person: str, began: int, ended: int) -> None:
        if began >= self._now:
            return  # written while the rows were read: the next recount knows when
        ended = max(ended, began + 1)  # who came and left within a millisecond was here
        if ended > self._since:
            self._stays[person].append((began, ended))

    def build(
        self,
        tabs_of: Callable[[str], int],
        people: int,
        sessions: int,
        *,
        persons: Callable[[], Iterable[str]],
    ) -> Steps:
        """The steps: the first at the time of the recount before, the last with these numbers of
        now. ``tabs_of`` counts a person's live sessions, ``persons`` are all who have any."""
        if self._any_hashed:
            self._name(persons())
        throughout = {
            person for person in self._stays if tabs_of(person) > self._new.get(person, 0)
        }
        # At the same moment, those who leave go first.
        changes: list[tuple[int, int, str]] = []
        people -= sum(person not in throughout for person in self._new)
        sessions -= self._new.total()
        for person, stays in self._stays.items():
            for began, ended in stays:
                changes.append((max(began, self._since), 1, person))
                if ended is not None:
                    changes.append((ended, -1, person))
        changes.sort(key=lambda change: change[:2])
        steps = [Step(self._since, people, sessions)]
        here: Counter[str] = Counter()
        for at, change, person in changes:
            sessions += change
            here[person] += change
            # The first session of a person who came, or the last one of a person who left.
            if person not in throughout and here[person] == (change > 0):
                people += change
            if steps[-1].at == at:
                steps.pop()
            steps.append(Step(at, people, sessions))
        return tuple(steps)


def continued(before: Steps, later: Steps, *, shards: int) -> Steps:
    """A shard's steps after a recount: those before, up to where the later ones begin; not more
    than are needed, in a space with that many shards."""
    begin = later[0].at
    steps: list[Step] = []
    for step in (*(step for step in before if step.at < begin), *later):
        if not steps or (step.people, step.sessions) != (steps[-1].people, steps[-1].sessions):
            steps.append(step)
    kept = KEPT if shards > 1 else KEPT_OF_ONE_SHARD
    while len(steps) > 1 and steps[1].at <= begin - kept:
        steps.pop(0)
    if shards == 1:
        steps = [
            step
            for _, day in groupby(steps, key=lambda step: day_of(step.at))
            for step in _highest_and_last(list(day))
        ]
    while len(steps) > MAX_STEPS:
        steps[:2] = [_highest(steps[0], steps[1])]
    return tuple(steps)


def _highest(one: Step, other: Step) -> Step:
    best = other if (other.people, other.sessions) > (one.people, one.sessions) else one
    return Step(best.at, best.people, max(one.sessions, other.sessions))


def _highest_and_last(steps: list[Step]) -> list[Step]:
    best, last = reduce(_highest, steps), steps[-1]
    return [best] if best == last else [best, last]


def added_up(curves: Iterable[Curve]) -> Curve:
    """The steps of a space, and until when they are final."""
    shards = [curve for curve in curves if curve.steps]
    if not shards:
        return Curve((), 0)
    if len(shards) == 1:
        return Curve(shards[0].steps, max(shards[0].known_until, shards[0].steps[-1].at))
    begin = max(curve.steps[0].at for curve in shards)
    steps = [
        Step(
            at,
            sum(now_of[index].people for index in range(len(shards))),
            sum(now_of[index].sessions for index in range(len(shards))),
        )
        for at, now_of in _moments(shards)
        if at >= begin
    ]
    final = min((curve.known_until for curve in shards if curve.may_fall), default=steps[-1].at)
    return Curve(tuple(steps), final)


def _moments(shards: Sequence[Curve]) -> Iterable[tuple[int, dict[int, Step]]]:
    """Each time of a step, with the step that each shard has then."""
    ordered = sorted(
        ((step.at, index, step) for index, curve in enumerate(shards) for step in curve.steps),
        key=lambda one: one[:2],
    )
    current: dict[int, Step] = {}
    for position, (at, index, step) in enumerate(ordered):
        current[index] = step
        if position + 1 == len(ordered) or ordered[position + 1][0] != at:
            yield at, current


def lagging(
    curves: Mapping[int, Curve], peak: int, peak_sessions: int, day_peaks: Mapping[str, int]
) -> tuple[int, list[int]]:
    """The shards without whose recount it is not known whether a peak was higher, and the moment
    (epoch milliseconds) after which they must be recounted."""
    total = added_up(curves.values())
    at = max(
        (
            step.at
            for step in total.steps
            if step.at > total.known_until
            and (
                step.people > min(peak, day_peaks.get(day_of(step.at), 0))
                or step.sessions > peak_sessions
            )
        ),
        default=0,
    )
    return at, [
        shard for shard, curve in curves.items() if curve.may_fall and curve.known_until < at
    ]


def pack_steps(steps: Steps) -> bytes:
    """A few bytes per step: the time since the step before, people, sessions."""
    packed = bytearray()
    before = 0
    for step in steps:
        packed += varint(step.at - before) + varint(step.people) + varint(step.sessions)
        before = step.at
    return bytes(packed)


def unpack_steps(packed: bytes) -> Steps:
    """The inverse of ``pack_steps``."""
    steps = []
    data = iter(packed)
    at = 0
    for first in data:
        at += read_varint(first, data)
        people = read_varint(next(data), data)
        steps.append(Step(at, people, read_varint(next(data), data)))
    return tuple(steps)
