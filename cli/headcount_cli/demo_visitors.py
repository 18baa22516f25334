"""Simulated visitors: when each arrives, with which tabs, what they look at, how they leave.

Everything follows from the seed. Times are seconds since the demo's start.
"""

import itertools
import math
import random
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Literal, TypeVar

# ruff: noqa: S311 - a simulation needs no secure randomness

SITE = "site:main"
Option = TypeVar("Option", str, int)

# page -> the pages that people open next, by weight
SITE_MAP: Mapping[str, Mapping[str, int]] = {
    "/": {"/pricing": 5, "/features": 6, "/blog": 3, "/docs": 4, "/login": 2},
    "/features": {"/pricing": 6, "/": 2, "/docs": 3, "/signup": 2},
    "/pricing": {"/signup": 4, "/features": 3, "/": 2, "/contact": 1},
    "/blog": {"/blog/who-is-here": 5, "/blog/small-teams": 3, "/": 2},
    "/blog/who-is-here": {"/blog": 3, "/features": 3, "/signup": 1},
    "/blog/small-teams": {"/blog": 3, "/": 2},
    "/docs": {"/docs/quickstart": 6, "/docs/api": 4, "/": 1},
    "/docs/quickstart": {"/docs/api": 5, "/docs": 2, "/signup": 2},
    "/docs/api": {"/docs": 3, "/docs/quickstart": 2},
    "/contact": {"/": 3, "/pricing": 1},
    "/login": {"/app": 8, "/": 1},
    "/signup": {"/app": 5, "/pricing": 2},
    "/app": {"/app/reports": 4, "/app/settings": 1, "/docs": 1},
    "/app/reports": {"/app": 4, "/app/settings": 1},
    "/app/settings": {"/app": 3},
}
LANDINGS = {
    "/": 50,
    "/blog/who-is-here": 14,
    "/pricing": 10,
    "/docs": 10,
    "/features": 8,
    "/app": 8,
}
COURSES = {"course:watercolour": 5, "course:bread": 3, "course:first-guitar": 2}
CHAPTERS = [f"chapter-{number}" for number in range(1, 8)]
STREAMS = {"stream:open-stage": 4, "stream:launch-day": 1}
DEVICES = {"desktop": 56, "mobile": 38, "tablet": 6}
COUNTRIES = {"DE": 20, "US": 18, "FR": 12, "BR": 9, "IN": 9, "GB": 8, "JP": 6, "NG": 4, "AU": 4}
QUALITIES = {"1080p": 5, "720p": 4, "480p": 1}
# fmt: off
NAMES = [
    "Ada", "Alma", "Bela", "Bruno", "Cleo", "Dario", "Edda", "Emil", "Fina", "Gala", "Hugo",
    "Ida", "Ilias", "Jona", "Juna", "Kaja", "Karim", "Lena", "Levi", "Lumi", "Malik", "Mara",
    "Mio", "Nael", "Nika", "Odin", "Olga", "Pia", "Quinn", "Rafi", "Rosa", "Sami", "Suri", "Tamo",
    "Tilda", "Umar", "Vera", "Wim", "Yara", "Zeno",
]
# fmt: on

RETURNING, SIGNING_IN = 0.25, 0.2  # signed in from the start; during the visit
HIDING, CRASHING, COMING_BACK = 0.25, 0.12, 0.2
MORE_TABS = {1: 72, 2: 20, 3: 8}
IN_A_COURSE, IN_A_STREAM = 0.12, 0.1
RAMP, RAMP_SHARE, LAST_ARRIVAL = 0.45, 0.75, 0.9  # of the time; of the people; of the time
DWELL = 20.0  # median seconds on a page


@dataclass(frozen=True, slots=True)
class Step:
    """The tab's state from `at` on."""

    at: float
    page: str | None
    facets: Mapping[str, str]
    hidden: bool = False


@dataclass(frozen=True, slots=True)
class Stay:
    """A tab in a space from its first step to its end. A returning tab keeps its session."""

    space: str
    session: str
    steps: tuple[Step, ...]
    until: float
    ending: Literal["leave", "crash"]


@dataclass(frozen=True, slots=True)
class Person:
    """A browser and its user. `signs_in_at` is None if they stay anonymous."""

    visitor: str
    user: str
    name: str
    signs_in_at: float | None
    stays: tuple[Stay, ...]


def invent(seed: int, visitors: int, duration: float) -> list[Person]:
    """The people of a demo, in the order of their arrival."""
    arrivals = sorted(_arrivals(random.Random(f"{seed}"), visitors, duration))
    return [
        _person(random.Random(f"{seed}/{number}"), f"{seed}-{number}", arrival, duration)
        for number, arrival in enumerate(arrivals)
    ]


def _arrivals(chance: random.Random, visitors: int, duration: float) -> Iterator[float]:
    """Most arrive in a steep rise, the others evenly."""
    for _ in range(visitors):
        if chance.random() < RAMP_SHARE:
            # density 1 - cos: slow, steep in the middle, slow
            yield duration * RAMP * (1 + math.asin(2 * chance.random() - 1) * 2 / math.pi) / 2
        else:
            yield duration * chance.uniform(0.02, LAST_ARRIVAL)


def _person(chance: random.Random, number: str, arrival: float, duration: float) -> Person:
    chance_of_signing_in = chance.random()
    stays = list(_site_stays(chance, number, arrival, duration))
    if chance.random() < IN_A_COURSE:
        stays.append(_course_stay(chance, number, arrival, duration))
    if chance.random() < IN_A_STREAM:
        stays.append(_stream_stay(chance, number, arrival, duration))
    signs_in_at = None
    if chance_of_signing_in < RETURNING:
        signs_in_at = 0.0
    elif chance_of_signing_in < RETURNING + SIGNING_IN:
        signs_in_at = arrival + chance.uniform(0.2, 0.8) * (stays[0].until - arrival)
    return Person(
        visitor=f"visitor-{number}",
        user=f"user-{number}",
        name=chance.choice(NAMES),
        signs_in_at=signs_in_at,
        stays=tuple(stays),
    )


def _site_stays(
    chance: random.Random, number: str, arrival: float, duration: float
) -> Iterator[Stay]:
    facets = {"device": _pick(chance, DEVICES), "country": _pick(chance, COUNTRIES)}
    for tab in range(_pick(chance, MORE_TABS)):
        session = f"tab-{number}-{tab}"
        start = arrival if tab == 0 else arrival + chance.uniform(1, 0.3 * duration)
        stay = _walk(chance, session, facets, start, duration)
        yield stay
        if chance.random() < COMING_BACK:
            pause = chance.uniform(0.05, 0.3) * duration
            yield _walk(chance, session, facets, stay.until + pause, duration)


def _walk(
    chance: random.Random, session: str, facets: Mapping[str, str], start: float, duration: float
) -> Stay:
    until = start + _length(chance, duration)
    page = _pick(chance, LANDINGS)
    steps = [Step(start, page, facets)]
    for at in _moments(chance, start, until):
        if steps[-1].hidden or chance.random() >= HIDING / 2:
            page = _pick(chance, SITE_MAP[page])
            steps.append(Step(at, page, facets))
        else:
            steps.append(Step(at, page, facets, hidden=True))
    return Stay(SITE, session, tuple(steps), until, _ending(chance))


def _course_stay(chance: random.Random, number: str, arrival: float, duration: float) -> Stay:
    start, until = _span(chance, arrival, duration)
    chapters = itertools.islice(itertools.cycle(CHAPTERS), chance.randrange(len(CHAPTERS)), None)
    moments = [start, *_moments(chance, start, until, slower=2)]
    steps = tuple(
        Step(at, None, {"chapter": chapter}) for at, chapter in zip(moments, chapters, strict=False)
    )
    return Stay(_pick(chance, COURSES), f"course-{number}", steps, until, _ending(chance))


def _stream_stay(chance: random.Random, number: str, arrival: float, duration: float) -> Stay:
    start, until = _span(chance, arrival, duration)
    step = Step(start, None, {"quality": _pick(chance, QUALITIES)})
    return Stay(_pick(chance, STREAMS), f"stream-{number}", (step,), until, _ending(chance))


def _span(chance: random.Random, arrival: float, duration: float) -> tuple[float, float]:
    start = arrival + chance.uniform(0, 10)
    return start, start + _length(chance, duration)


def _length(chance: random.Random, duration: float) -> float:
    """Most stay about a third of the demo, a few much longer."""
    return max(5.0, chance.lognormvariate(math.log(max(10.0, 0.35 * duration)), 0.6))


def _moments(
    chance: random.Random, start: float, until: float, slower: float = 1
) -> Iterator[float]:
    at = start
    while (at := at + max(2.0, chance.lognormvariate(math.log(DWELL * slower), 0.8))) < until:
        yield at


def _ending(chance: random.Random) -> Literal["leave", "crash"]:
    return "crash" if chance.random() < CRASHING else "leave"


def _pick(chance: random.Random, weights: Mapping[Option, int]) -> Option:
    return chance.choices(list(weights), list(weights.values()))[0]
