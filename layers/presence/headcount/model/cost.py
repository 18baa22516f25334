"""What a stack's days cost, estimated from what it stores about them. Pure.

Dollars at list prices of us-east-1, without free tiers, on demand. They follow from the price list
and the measured units (lab/bench/prices.toml, figures.json); a test compares them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec import Struct

from headcount.times import month_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from headcount.model.visit import Day
    from headcount.web import answers

A_MILLION_BEATS = 1.90
"""By the HTTP API: the request, the invocation, the write, logs and the answer's bytes. By a
function URL or a connection each costs less."""
A_MILLION_VISITS = 6.13
"""A join, a leave, and their rows in the ledger, beside the beats."""
A_THOUSAND_HOURS = 0.023
"""Of people's presence: recounts, versions and sweeps, in a space of a hundred."""
A_DAY = 0.167
"""Without anyone: alarms, a secret, idle queues and schedules."""
_HOUR = 3600


class Use(Struct, frozen=True):
    """What was used on a day: beats, visits that began, and seconds of presence."""

    beats: int = 0
    views: int = 0
    seconds: int = 0

    def plus(self, beats: int, views: int, seconds: int) -> Use:
        """This and more."""
        return Use(self.beats + beats, self.views + views, self.seconds + seconds)

    def with_day(self, day: Day) -> Use:
        """This and a day of a space."""
        return self.plus(day.beats, day.views, day.views * day.avg_seconds)

    def parts(self) -> answers.CostParts:
        """Dollars of a day, by what they are for."""
        return {
            "beats": self.beats * A_MILLION_BEATS / 1e6,
            "visits": self.views * A_MILLION_VISITS / 1e6,
            "presence": self.seconds / _HOUR * A_THOUSAND_HOURS / 1000,
            "fixed": A_DAY,
        }

    @property
    def dollars(self) -> float:
        """Of a day, in total."""
        parts = self.parts()
        return parts["beats"] + parts["visits"] + parts["presence"] + parts["fixed"]

    def body(self, date: str) -> answers.DayCost:
        """A row of ``GET /v1/costs``."""
        parts = self.parts()
        return {
            "date": date,
            "dollars": round(self.dollars, 4),
            "parts": {
                "beats": round(parts["beats"], 4),
                "visits": round(parts["visits"], 4),
                "presence": round(parts["presence"], 4),
                "fixed": round(parts["fixed"], 4),
            },
            "beats": self.beats,
            "views": self.views,
            "viewerHours": round(self.seconds / _HOUR, 1),
        }


def month_cents(days: Mapping[str, Use], last: str) -> int:
    """Cents of the days of a month up to its day ``last``, as far as they are known."""
    month = month_of(last)
    known = (use.dollars for date, use in days.items() if month_of(date) == month and date <= last)
    return round(100 * sum(known))
