"""A space's minute samples as a series of equal steps, and what is usual at those times. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from msgspec import Struct

from headcount.model.durations import read_varint, varint
from headcount.times import MINUTE

if TYPE_CHECKING:
    from headcount.model.headcount import Point

MAX_STEPS = 3_000
"""Of a series."""
WEEKS = 4
"""Before a time, which tell what is usual then."""
FEWEST_WEEKS = 2
"""With fewer, nothing is usual."""


class Step(Struct, frozen=True):
    """The mean numbers of a step's minutes, and the highest number of people of a minute."""

    people: float
    sessions: float
    peak: int


class Range(Struct, frozen=True):
    """The quartiles of the same step in the weeks before."""

    low: float
    median: float
    high: float


def steps_of(
    points: Iterable[Point],
    gaps: Iterable[tuple[int, int]],
    *,
    start: int,
    end: int,
    step: int,
    known: tuple[int, int],
) -> list[Step | None]:
    """The steps from ``start``, a multiple of ``step``, to ``end`` (epoch milliseconds, ``end`` not
    included); None: not known.

    A minute without a sample had nobody, if it is within ``known`` (``end`` not included) and in no
    gap, and if it is not a single one: then its sample was taken a few seconds late.
    """
    sampled = {point.at: point for point in points}
    missing = {
        minute for first, last in gaps for minute in range(first, last + 1, MINUTE)
    }  # each of them begins a minute
    found: list[Step | None] = []
    for begin in range(start, end, step):
        minutes = range(begin, min(begin + step, end), MINUTE)
        here = [sampled[minute] for minute in minutes if minute in sampled]
        empty = sum(
            known[0] <= minute < known[1]
            for minute in minutes
            if minute not in sampled
            and minute not in missing
            and not (minute - MINUTE in sampled and minute + MINUTE in sampled)
        )
        if count := len(here) + empty:
            people = sum(point.people for point in here) / count
            sessions = sum(point.sessions for point in here) / count
            peak = max((point.people for point in here), default=0)
            found.append(Step(round(people, 2), round(sessions, 2), peak))
        else:
            found.append(None)
    return found


def merged(steps: Sequence[Step | None], count: int) -> list[Step | None]:
    """Longer steps, of ``count`` each."""
    if count == 1:
        return list(steps)
    found: list[Step | None] = []
    for index in range(0, len(steps), count):
        known = [one for one in steps[index : index + count] if one is not None]
        size = len(known)
        found.append(
            Step(
                round(sum(one.people for one in known) / size, 2),
                round(sum(one.sessions for one in known) / size, 2),
                max(one.peak for one in known),
            )
            if known
            else None
        )
    return found


def pack_steps(steps: Iterable[Step | None]) -> bytes:
    """A few bytes each: hundredths of the means, and the peak; a zero where nothing is known."""
    packed = bytearray()
    for one in steps:
        packed += varint(0 if one is None else round(one.people * 100) + 1)
        if one is not None:
            packed += varint(round(one.sessions * 100)) + varint(one.peak)
    return bytes(packed)


def unpack_steps(packed: bytes) -> list[Step | None]:
    """The inverse of ``pack_steps``."""
    found: list[Step | None] = []
    data = iter(packed)
    for first in data:
        people = read_varint(first, data)
        if people == 0:
            found.append(None)
            continue
        sessions = read_varint(next(data), data) / 100
        found.append(Step((people - 1) / 100, sessions, read_varint(next(data), data)))
    return found


def usual_of(weeks: Sequence[Sequence[Step | None]]) -> list[Range | None]:
    """What is usual in each step, by the same steps of the weeks before; None: too few of them are
    known."""
    return [
        _range([one.people for one in steps if one is not None])
        for steps in zip(*weeks, strict=True)
    ]


def _range(values: list[float]) -> Range | None:
    if len(values) < FEWEST_WEEKS:
        return None
    values.sort()
    return Range(*(round(_quantile(values, share), 2) for share in (0.25, 0.5, 0.75)))


def _quantile(values: Sequence[float], share: float) -> float:
    place = share * (len(values) - 1)
    before = int(place)
    after = min(before + 1, len(values) - 1)
    return values[before] + (values[after] - values[before]) * (place - before)
