"""The tabs that share a session: which of them are open, and the order of their messages. Pure.

In some systems several tabs share one row: a person's in a course, a link's session. Without more
knowledge, one tab's leave would end the stay of all. So such a row keeps, for each tab that is
named, when it was last seen and the number of its last message; and how often a session that names
no tab has joined.

These functions go around the transitions in ``session``, which know one sender per row.
"""

from __future__ import annotations

from msgspec.structs import replace

from headcount.model.beat import Tab
from headcount.model.session import (
    Arrival,
    Session,
    Stale,
    Write,
    after_beat,
    after_leave,
    check_rate,
)
from headcount.times import MINUTE, SECOND

MAX_TABS = 8
"""Tabs remembered per row: those that closed are forgotten first, then the least recently seen.

Each takes about 25 bytes. ``MAX_TOTAL_BYTES`` has no share for them: a row of the largest size with
tabs costs a second write unit, which is better than to refuse the beat."""

MEMORY = 10 * MINUTE // SECOND
"""Seconds for which the number of a closed or silent tab is remembered: longer than a request can
be under way."""


def is_late(row: Session | None, tab: Tab) -> bool:
    """Whether a later message of this tab was stored before this one."""
    known = row.tab_seqs.get(tab.key) if row is not None else None
    return tab.seq is not None and known is not None and tab.seq <= known


def after_tab_beat(old: Session | None, beat: Arrival) -> Session | Stale:
    """``after_beat`` for a row that tabs may share."""
    tab = beat.tab
    if tab is not None and is_late(old, tab):
        return Stale()
    new = after_beat(old, beat)
    if isinstance(new, Stale):
        return new
    if old is not None and not old.ended and new.duration is not None:
        new = replace(new, duration=None)  # a tab that left reported it, but another is still here
    if tab is None:
        return new
    if old is not None and old.ended:  # all tabs have left, and their numbers still apply
        tabs = {key: -abs(at) for key, at in old.tabs.items()}
        new = replace(new, tabs=tabs, tab_seqs=old.tab_seqs)
    return _marked(new, tab, beat.now)


def after_tab_leave(
    old: Session,
    tab: Tab | None,
    *,
    request: str,
    now: int,
    duration: int | None = None,
    may_return: bool = False,
    limit: int = 0,
) -> Session | Stale:
    """``after_leave`` for a row that tabs may share: it ends with the last of them.

    A leave without a tab, or without a number by a tab that is not known, ends the stay of all. If
    the session joined more than once without naming its tabs, another tab may still be here: then
    the leave only hides it, until that tab's next heartbeat. ``may_return``: the tab may be back.
    """
    if old.request == request or (tab is not None and is_late(old, tab)):
        return Stale()  # overtaken, or our own write, retried after its response was lost
    if tab is not None and old.ended and tab.seq is not None:
        # Remember the higher number, or a beat between the two leaves would join again.
        burst = check_rate(old, 1, limit=limit, now=now)
        gone = replace(closed(old, tab, now), request=request, write=Write.GONE)
        return replace(gone, changed_at=now, burst=burst)
    if tab is not None and (tab.seq is not None or tab.key in old.tabs):
        new = _without(old, tab, request=request, now=now)
        if new is not None:
            return replace(new, burst=check_rate(old, 1, limit=limit, now=now))
    elif old.hidden:
        return end_hidden(old, request=request, now=now)
    elif old.joins > 1 and not old.ended:
        return _hidden(old, request=request, now=now, duration=duration)
    end = after_leave(
        old, seq=None, request=request, now=now, duration=duration, may_return=may_return
    )
    return end if isinstance(end, Stale) or tab is None else closed(end, tab, now)


def after_overtaken_leave(
    joined: Session, left: Session, tab: Tab | None, *, request: str, now: int
) -> Session | Stale:
    """The row of a session that just joined, if ``left``, of a leave that overtook the join, ends
    it."""
    if tab is None:
        if left.seq is None:
            return Stale()
        return after_leave(joined, seq=left.seq, request=request, now=now)
    if not is_late(left, tab):
        return Stale()
    leave = Tab(tab.id, left.tab_seqs[tab.key] + 1)
    return after_tab_leave(joined, leave, request=request, now=now)


def end_hidden(old: Session, *, request: str, now: int) -> Session:
    """The end of a hidden session's visit, at the leave that hid it."""
    new = after_leave(old, seq=None, request=request, now=now, duration=old.duration)
    assert not isinstance(new, Stale)
    return replace(new, ended_at=old.last_seen, ended_by="leave")


def _without(old: Session, tab: Tab, *, request: str, now: int) -> Session | None:
    """The row after one of several tabs has left; None if it was the last."""
    last_seen = max((at for key, at in old.tabs.items() if key != tab.key), default=0)
    until = (last_seen + 1) * SECOND + old.expires_at - old.last_seen
    if old.ended or last_seen <= 0 or until <= now:
        return None
    return replace(
        closed(old, tab, now),
        write=Write.BEAT,  # the person stays, so no number changes
        request=request,
        expires_at=min(old.expires_at, until),
    )


def _hidden(old: Session, *, request: str, now: int, duration: int | None) -> Session:
    # Not ended: a heartbeat then continues the same visit, and otherwise the cleanup ends it. There
    # is no lease, so that by no clock, however wrong, it is still here.
    return replace(
        old,
        write=Write.CHANGE,
        request=request,
        changed_at=now,
        last_seen=now,
        expires_at=0,
        duration=duration,
        connection=None,
        joins=old.joins - 1,
    )


def closed(row: Session, tab: Tab, now: int) -> Session:
    """The row after this tab's leave."""
    return _marked(row, tab, now, left=True)


def _marked(row: Session, tab: Tab, now: int, *, left: bool = False) -> Session:
    """The row with this message of a tab, without tabs that are of no more use."""
    at = now // SECOND
    others = {key: t for key, t in row.tabs.items() if key != tab.key and abs(t) > at - MEMORY}
    kept = sorted(others, key=lambda key: (others[key] > 0, abs(others[key])))[-(MAX_TABS - 1) :]
    seqs = {key: row.tab_seqs[key] for key in kept if key in row.tab_seqs}
    seq = tab.seq if tab.seq is not None else row.tab_seqs.get(tab.key)
    return replace(
        row,
        tabs={**{key: others[key] for key in kept}, tab.key: -at if left else at},
        tab_seqs=seqs if seq is None else {**seqs, tab.key: seq},
    )
