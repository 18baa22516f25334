"""How long an event takes from one AWS service to the next, by published percentiles. Pure."""

from __future__ import annotations

import math
import tomllib
from bisect import bisect_right
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from functools import cache
from pathlib import Path
from statistics import NormalDist
from typing import Any

FILE = Path(__file__).with_name("hops.toml")

_NORMAL = NormalDist()


@dataclass(frozen=True, slots=True)
class Hop:
    """A distribution through some percentiles.

    Between two of them the logarithm of the time is linear in the normal distribution's quantile,
    so that a log-normal time would be exact. Beyond the last ones it continues likewise, but only
    up to the ``rarest`` event that was seen: the tail of a thousand events says nothing about one
    in a million.
    """

    what: str
    points: tuple[tuple[float, float], ...]  # share of the events (0 to 1), milliseconds
    rarest: float

    @classmethod
    def of(cls, what: str, milliseconds: Mapping[str, float], *, rarest: float) -> Hop:
        """From percentiles such as ``p50``; at least one."""
        points = sorted((float(name[1:]) / 100, one) for name, one in milliseconds.items())
        return cls(what, tuple(points), rarest)

    def at(self, share: float) -> float:
        """The milliseconds within which this share of the events arrives."""
        share = min(max(share, self.rarest), 1 - self.rarest)
        if len(self.points) == 1:
            return self.points[0][1]
        shares = [one for one, _ in self.points]
        place = min(max(bisect_right(shares, share), 1), len(shares) - 1)
        (low, from_), (high, to) = self.points[place - 1 : place + 1]
        x, x1, x2 = (_NORMAL.inv_cdf(one) for one in (share, low, high))
        slope = (math.log(to) - math.log(from_)) / (x2 - x1)
        return math.exp(math.log(from_) + slope * (x - x1))


@dataclass(frozen=True, slots=True)
class Hops:
    """The file of hops. ``of`` has the published and the assumed ones."""

    checked: date
    source: str
    events: int
    published: frozenset[str]
    of: Mapping[str, Hop]
    numbers: Mapping[str, float]
    meaning: Mapping[str, str]

    def __getitem__(self, name: str) -> Hop:
        return self.of[name]


def read(text: str) -> Hops:
    """Parse a file of hops."""
    loaded = tomllib.loads(text)
    rarest = 1 / loaded["events"]
    entries: dict[str, Any] = {**loaded["hops"], **loaded["assumed"]}
    return Hops(
        checked=loaded["checked"],
        source=loaded["source"],
        events=loaded["events"],
        published=frozenset(loaded["hops"]),
        of={
            name: Hop.of(one["what"], one["milliseconds"], rarest=rarest)
            for name, one in entries.items()
        },
        numbers={name: one["value"] for name, one in loaded["numbers"].items()},
        meaning={name: one["what"] for name, one in loaded["numbers"].items()},
    )


def fixed(**milliseconds: float) -> Hops:
    """Hops that always take as long as given, or else no time; for tests."""
    known = hops()
    of = {
        name: Hop.of(hop.what, {"p50": milliseconds.get(name, 0)}, rarest=0.001)
        for name, hop in known.of.items()
    }
    return Hops(known.checked, "", 0, frozenset(), of, known.numbers, known.meaning)


@cache
def hops() -> Hops:
    """The file of hops."""
    return read(FILE.read_text())
