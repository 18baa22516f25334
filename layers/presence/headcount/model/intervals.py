"""How often sessions beat, and how wrong a count may be for it. Pure.

A crowd need not beat every 30 s: a session that ends without a leave counts until its lease is
over, and in a crowd a few of those are few. So the interval grows with the space, as long as the
mean error of the published people stays within what the kind allows. What is known of a space comes
from its last visits: how many ended without a leave, and since when.
"""

from __future__ import annotations

import math
from itertools import pairwise

from msgspec import Struct

from headcount.model.space import Kind
from headcount.times import SECOND

BY_SIZE = ((50, 30), (100, 45), (1_000, 60), (10_000, 120))
"""Sessions of a space, and the seconds between beats: in between by the sessions' logarithm."""

LONGEST_LEASE = 3 * BY_SIZE[-1][1]
"""The longest lease in seconds that is chosen here: of a hidden tab in the largest space."""

SWEPT_AFTER = 35
"""Mean seconds from the end of a lease to the version without the session: half a minute until the
sweep, and what a recount and a version take."""

_DELAY = 3
"""Seconds by which a version is late in the mean, usually: it waits for the pace of recounts."""

_UNKNOWN = 60.0
"""Seconds in which a visit of a space may end, as long as none has."""

_ROUNDED = 1.0
"""Seconds by which the first of the last visits may have ended later than its time says."""

_SWEPT_WITHIN = 65.0
"""Seconds from the end of a visit until it is surely known: a sweep a minute ends those whose page
may have come back or crashed, and what a recount takes."""

_SHORT = 5.0
"""Seconds that are too short to tell how often visits end: a large space forgets them so soon. Then
it is the size of the space by the length of its visits."""


ATTENTIVE = 50
"""Up to so many sessions a space is recounted as quickly while nobody hears of it."""

UNHEARD_PACE = 15 * SECOND
"""How long a few joins and leaves, and changes of facets, wait for a recount in a larger one."""

MAX_ENDS = 100
"""How many of a space's last visits are known."""


class Ends(Struct, frozen=True):
    """How a space's last visits ended: up to a hundred, of which ``lost`` without a leave, the
    first at ``since`` and the last at ``until`` (epoch seconds; 0: unknown). They lasted ``mean``
    seconds."""

    visits: int = 0
    lost: int = 0
    since: int = 0
    mean: int = 0
    until: int = 0


class Crowd(Struct, frozen=True):
    """A space as its interval needs it."""

    sessions: int = 0
    ends: Ends = Ends()


class Interval(Struct, frozen=True):
    """Seconds until the next beat, and how long this one keeps the session alive."""

    beat: int
    lease: int


def interval_of(kind: Kind, state: str, crowd: Crowd, now: int) -> Interval:
    """When a session is to beat next, and its lease. ``now``: epoch milliseconds.

    Where the kind names an interval or a lease, that is it; a lease is never shorter than two of
    the intervals that are chosen here.
    """
    fixed = kind.fixed
    beat = kind.beat if "beat" in fixed else _beat(kind, crowd, now)
    lease = kind.lease if {"beat", "lease"} & fixed else 2 * beat
    if state != "hidden":
        return Interval(beat, lease)
    hidden = kind.hidden_beat
    if not {"beat", "hidden-beat"} & fixed:
        hidden = max(hidden, 3 * beat // 2)
        if "hidden" in fixed:
            hidden = max(kind.hidden_beat, min(hidden, kind.hidden_lease // 2))
    keeps = kind.hidden_lease if {"beat", "hidden"} & fixed else max(kind.hidden_lease, 2 * hidden)
    return Interval(hidden, keeps)


def accuracy_of(kind: Kind, crowd: Crowd, now: int) -> int:
    """The mean difference between the published and the true number of people is at most this."""
    counted = _counted_for(interval_of(kind, "active", crowd, now))
    error = _late(kind, crowd, now) + crowd.ends.lost / _seconds_known(crowd, now) * counted
    return max(math.floor(_allowed(kind, crowd)), min(math.ceil(error), crowd.sessions))


def because(ends: Ends) -> str:
    """Why a count is not more accurate, for people."""
    if not ends.visits:
        return (
            "No visit has ended yet. One that ends without a leave counts until its lease is over."
        )
    return (
        f"{ends.lost} of the last {ends.visits} visits ended without a leave, and counted until "
        "their lease was over."
    )


def _beat(kind: Kind, crowd: Crowd, now: int) -> int:
    """The interval by the size of the space, or the shorter one that its losses need."""
    longest = by_size(crowd.sessions)
    if "lease" in kind.fixed:
        longest = min(longest, kind.lease // 2)
    if longest <= kind.beat:
        return kind.beat
    rate = _lost_each_second(crowd, now)
    may_count = (_allowed(kind, crowd) - _late(kind, crowd, now)) / rate
    # The inverse of _counted_for, for a lease of two intervals.
    return max(kind.beat, min(longest, math.floor((may_count - SWEPT_AFTER) / 1.5)))


def by_size(sessions: int) -> int:
    """Seconds between the beats of a space of that size, if no visit is lost."""
    if sessions <= BY_SIZE[0][0]:
        return BY_SIZE[0][1]
    for (few, short), (many, long) in pairwise(BY_SIZE):
        if sessions <= many:
            share = math.log(sessions / few) / math.log(many / few)
            return math.floor(short + (long - short) * share)
    return BY_SIZE[-1][1]


def few(sessions: int, accuracy: float) -> int:
    """How many joins, and how many leaves, may wait for ``UNHEARD_PACE``, in a space whose numbers
    may differ by so many percent from who is there."""
    return max(1, math.floor(sessions * accuracy / 100))


def _allowed(kind: Kind, crowd: Crowd) -> float:
    return max(1.0, crowd.sessions * kind.accuracy / 100)


def _seconds_known(crowd: Crowd, now: int) -> float:
    """The seconds in which the last visits have ended."""
    ends = crowd.ends
    if not ends.visits:
        return _UNKNOWN
    known = now / SECOND - ends.since
    if ends.visits >= MAX_ENDS and ends.until:
        # More have ended since, which nobody knows yet.
        known -= min(now / SECOND - ends.until, _SWEPT_WITHIN)
    known = max(0.1, known - _ROUNDED)
    if known < _SHORT and crowd.sessions:
        known = max(known, min(_SHORT, ends.visits * ends.mean / crowd.sessions))
    return known


def _lost_each_second(crowd: Crowd, now: int) -> float:
    """Visits that end without a leave: one more than is known, for there may be one at any time."""
    return (crowd.ends.lost + 1) / _seconds_known(crowd, now)


def _late(kind: Kind, crowd: Crowd, now: int) -> float:
    """The mean error by versions that are late. Who leaves mostly makes up for who comes."""
    rate = crowd.ends.visits / _seconds_known(crowd, now)
    if not rate or crowd.sessions <= ATTENTIVE:
        return rate * _DELAY
    # While nobody hears of them: as many come as leave, until either are too many to wait.
    until_many = few(crowd.sessions, kind.accuracy) / rate
    return rate * max(_DELAY, min(UNHEARD_PACE / SECOND, until_many) / 2 + 0.5)


def _counted_for(interval: Interval) -> float:
    """Mean seconds for which a session counts that is gone: it goes at any time between beats."""
    return interval.lease - min(interval.beat, interval.lease) / 2 + SWEPT_AFTER
