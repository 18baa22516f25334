"""Pushing a space's count to those who listen to it: badges, hooks, elements.

``publish`` decides what is pushed with each version, and stores it with the version. Only then are
the listeners read and posted to, after the dashboards, and only once: what a listener does not
accept is left to queues, so that no dashboard waits for it. A listener that misses a count needs no
repeat, only a later one.

A listener's versions never go back. A small audience is posted to by one process after the other:
``publish`` and the deferred task keep away from each other by ``LOCK``. A large one, which gets its
counts in chunks, gets the next one when the last was delivered.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from msgspec import Struct

from headcount.errors import failures
from headcount.logs import logger
from headcount.model.pushes import (
    CHUNKS_LATE,
    LOCK,
    PEOPLE,
    PushBudget,
    late_wait,
    next_pushes,
    pushed_late,
    space_of,
    topic_of,
)
from headcount.times import CLOCKS_DIFFER, MINUTE, SECOND, whole_seconds
from headcount.usecases.deliver import Outcome, to_frame

if TYPE_CHECKING:
    from headcount.model.feed import Feed
    from headcount.model.headcount import Headcount
    from headcount.model.session import Session
    from headcount.model.viewer import NamedViewer
    from headcount.store.headcounts import HeadcountsTable
    from headcount.store.presence import PresenceTable
    from headcount.store.subscriptions import Audience, SubscriptionsTable
    from headcount.usecases.deliver import Broadcaster
    from headcount.usecases.queues import ChunkQueue, ClosingQueue, DeferredQueue

MOST_VIEWERS = 20
"""People in the frame of a listener who may see them."""
_SESSIONS_READ = 100
"""The sessions among which these people are."""

_TRIES = 3
_AGAIN_AFTER = 5
"""Seconds until a push is tried again that could not be made."""
_LONGEST_DELAY = 15 * MINUTE // SECOND  # SQS's limit


class Pusher(Struct, frozen=True, eq=False):
    """Pushes counts. ``clock`` returns epoch milliseconds."""

    headcounts: HeadcountsTable
    subscriptions: SubscriptionsTable
    presence: PresenceTable
    broadcaster: Broadcaster
    chunks: ChunkQueue
    closing_queue: ClosingQueue
    deferred_queue: DeferredQueue
    budget: PushBudget
    inline_limit: int  # to more listeners than this, a count is sent in chunks
    picture_hosts: Collection[str]  # of people whom no token proved
    clock: Callable[[], int]

    def save(self, old: Headcount, new: Headcount) -> Headcount | None:
        """Store a version together with what of it is pushed; None if it is not the next any more.

        A deferred task may push meanwhile, which is no reason to publish later.
        """
        known = old.pushes
        for _ in range(_TRIES):
            pushes = next_pushes(
                known,
                self.budget,
                before=old.tally.people,
                people=new.tally.people,
                version=new.version,
                now=new.as_of,
            )
            new = replace(new, pushes=pushes)
            if self.headcounts.save(new, pushed=known):
                return new
            stored = self.headcounts.get(new.space)
            if stored.version != old.version:
                return None
            known = stored.pushes
        return None

    def send(self, headcount: Headcount) -> bool:
        """Push a stored version to the listeners, or schedule the task that pushes what is skipped.
        Returns whether there was anything to do, which is noted. A failure is left to a deferred
        task; raises only if that can't be scheduled."""
        pushes = headcount.pushes
        if pushes is None:
            return False
        if pushes.version == headcount.version:
            try:
                return self._push(headcount)
            except failures() as error:
                about = {"space": headcount.space, "error": type(error).__name__}
                logger().warning("count not pushed", extra=about)
                self._push_again(headcount)
                return True
        if pushes.schedules(headcount.version):
            after = whole_seconds(max(0, pushes.due_at - self.clock()))
            self.deferred_queue.push(headcount.space, task=pushes.task, after=after)
            return True
        return False

    def is_owed(self, headcount: Headcount) -> bool:
        """Whether listeners are to hear a version with it, or it has to schedule the task that
        tells them later: no later version schedules it again."""
        if headcount.pushes is not None and headcount.pushes.schedules(headcount.version):
            return True
        if not headcount.pushes_now:
            return False
        audience = self.subscriptions.audience(topic_of(headcount.space))
        return bool(_due(audience, headcount))

    def run(self, space: str, *, task: int, missed: int) -> None:
        """Run a deferred task: push the count that was skipped, or (``missed``) the version that
        could not be pushed, unless a later one was pushed by now. Raises if a dependency fails."""
        for _ in range(_TRIES):
            headcount = self.headcounts.get(space)
            pushes, now = headcount.pushes, self.clock()
            if pushes is None or not pushes.waits_for(task=task, missed=missed):
                return
            if (wait := late_wait(pushes, self.budget, now)) > CLOCKS_DIFFER:
                after = min(whole_seconds(wait), _LONGEST_DELAY)
                self.deferred_queue.push(space, task=task, missed=missed, after=after)
                return
            people, version = headcount.tally.people, headcount.version
            done = pushed_late(pushes, self.budget, people=people, version=version, now=now)
            if self.headcounts.mark_pushed(headcount, done):
                self._push(replace(headcount, pushes=done), until=self.clock() + LOCK - SECOND)
                return
        raise PushContendedError(f"{space}: versions are published faster than this task reads")

    def greet(self, connection: str, feed: Feed, send: Callable[[str], None]) -> None:
        """Send a listener the current count, and only then let later ones through.

        A push does not wait for it, so this one looks whether it passed by, and starts again.
        """
        space = space_of(feed.topic)
        headcount = self.headcounts.get(space)
        for _ in range(_TRIES):
            self.subscriptions.add(feed.topic, connection, now=self.clock(), form=feed.form)
            headcount = self.headcounts.get(space)
            send(self._frame(feed.form, headcount))
            self.subscriptions.mark_greeted(feed.topic, connection, headcount.version)
            pushes = self.headcounts.get(space).pushes
            if pushes is None or pushes.version <= headcount.version:
                return

    def _push(self, headcount: Headcount, *, until: int | None = None) -> bool:
        """Post a stored version; False if there is no one to post it to. ``until``: afterwards a
        later one may be posted; then this raises PushContendedError."""
        topic = topic_of(headcount.space)
        audience = self.subscriptions.audience(topic)
        by_form = _due(audience, headcount)
        if not by_form:
            return False
        if self._is_behind(topic, audience, headcount.version):
            self._push_again(headcount)
            return True
        frames = {form: self._frame(form, headcount) for form in by_form}
        if until is not None and self.clock() > until:
            raise PushContendedError(f"{headcount.space}: it took too long to read who listens")
        posts = sum(map(len, by_form.values()))
        if posts > self.inline_limit or posts > self.broadcaster.connection_api.spare():
            self._send_chunks(headcount, frames, by_form)
            return True
        throttled: dict[str, list[str]] = defaultdict(list)
        broken: list[str] = []
        for form, connections in by_form.items():
            left = self.broadcaster.post_once(frames[form], connections)
            for connection, outcome in left.items():
                if outcome is Outcome.THROTTLED:
                    throttled[form].append(connection)
                elif outcome is not Outcome.GONE:
                    broken.append(connection)
        if throttled:
            self._send_chunks(headcount, frames, throttled)
        if broken:  # their clients connect again, and start from the count of then
            self.closing_queue.send(broken)
            self.broadcaster.unsubscribe(broken)
        return True

    def _is_behind(self, topic: str, audience: Audience, version: int) -> bool:
        """Whether the last count that was sent in chunks is not delivered yet."""
        if not 0 < audience.chunked < version:  # none, or a repeat, which the queue drops
            return False
        if not 0 <= self.clock() - audience.chunked_at < CHUNKS_LATE:
            return False
        return (self.subscriptions.delivered_version(topic) or 0) < audience.chunked

    def _send_chunks(
        self,
        headcount: Headcount,
        frames: Mapping[str, str],
        by_form: Mapping[str, Sequence[str]],
    ) -> None:
        topic = topic_of(headcount.space)
        self.subscriptions.mark_chunked(topic, headcount.version, now=self.clock())
        for form, connections in by_form.items():
            self.chunks.send(topic, headcount.version, frames[form], connections)

    def _push_again(self, headcount: Headcount) -> None:
        # By the version that was to be pushed: a later one may have the same count.
        missed = headcount.pushes.version if headcount.pushes else headcount.version
        self.deferred_queue.push(headcount.space, missed=missed, after=_AGAIN_AFTER)

    def _frame(self, form: str, headcount: Headcount) -> str:
        frame: dict[str, Any] = {
            "type": "count",
            "space": headcount.space,
            "count": headcount.tally.people,
            "version": headcount.version,
        }
        if form == PEOPLE:
            frame["viewers"] = self._viewers(headcount)
        return to_frame(frame)

    def _viewers(self, headcount: Headcount) -> list[NamedViewer]:
        """People of the space, as the list of a course's viewers has them."""
        # Few kinds show names: other deployments need not load this.
        from headcount.model.viewer import viewers_among
        from headcount.usecases.parameters import read_page

        now = self.clock()

        def is_here(row: Session) -> bool:
            return row.live(now)

        shards = range(headcount.shards)
        rows, _ = read_page(
            self.presence, headcount.space, shards, _SESSIONS_READ, (0, None), wanted=is_here
        )
        return viewers_among(rows, self.picture_hosts, MOST_VIEWERS)


class PushContendedError(RuntimeError):
    """Others stored versions of the space meanwhile, or may have; the queue retries the task."""


def _due(audience: Audience, headcount: Headcount) -> dict[str, list[str]]:
    """Who is to hear a version, by form. A listener who is not greeted yet will be greeted with
    this count, or a later one."""
    by_form: dict[str, list[str]] = defaultdict(list)
    for one in audience.subscriptions:
        if one.after is not None and one.after < headcount.version:
            by_form[one.form or ""].append(one.connection)
    return by_form
