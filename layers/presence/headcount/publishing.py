"""``publish``: merge a space's shards into the next version, and let its dashboards hear it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from headcount.causes import Cause, first_of
from headcount.fanning import Deliveries
from headcount.feeds import Forms
from headcount.headcounts import (
    CHUNKING_LINGERS,
    LONGEST_PACE,
    Change,
    Headcount,
    Numbers,
    is_repeat,
    next_headcount,
)
from headcount.sockets import to_frame
from headcount.stays import latest
from headcount.store.counts import CountsTable, SpaceCounts
from headcount.store.headcounts import HeadcountsTable
from headcount.store.subscriptions import Subscription, SubscriptionsTable
from headcount.subscribing import frame_of
from headcount.tally import merge
from headcount.times import CLOCKS_DIFFER, SECOND, whole_seconds

if TYPE_CHECKING:
    from headcount.counting import Later

PACE = SECOND
"""At most about one version a second and space."""

SLOWEST_PACE = 15 * SECOND
"""For audiences that take longer than a second to be told under the cap. Well under what an audit
takes for lost."""

GREETING_PATIENCE = 2 * SECOND
"""How long a version waits for a subscriber's first headcount that is on its way."""

_GREETING_POLL = 0.05


class Overviews(Protocol):
    """The feeds across spaces."""

    def published(self, space: str, now: int) -> None:
        """A version of a space was published."""


class Bell(Protocol):
    """What lets others than dashboards know of alerts."""

    def ring(self, alert: Mapping[str, Any]) -> None:
        """An alert was set off; the same one may come again, under the same id."""


class Chunks(Protocol):
    """Where large fan-outs go."""

    def send(
        self,
        space: str,
        version: int,
        message: str,
        connections: Sequence[str],
        cause: Cause | None = None,
    ) -> None:
        """Have these connections hear this message, after all earlier ones. ``cause`` is what the
        version waited for."""


@dataclass(frozen=True, slots=True)
class Published:
    """A version, and what it waited for. ``heard``: whoever listens has heard it by now, or
    nobody does; else it left in chunks."""

    version: int
    cause: Cause | None
    heard: bool


@dataclass(frozen=True, slots=True)
class Publisher:
    """What publishing needs. ``clock`` gives epoch milliseconds, ``sleep`` takes seconds."""

    counts: CountsTable
    headcounts: HeadcountsTable
    subscriptions: SubscriptionsTable
    deliveries: Deliveries
    chunks: Chunks
    forms: Forms
    overviews: Overviews
    bell: Bell
    later: Later
    inline_limit: int  # more dashboards than this leave in chunks
    chunked_per_second: int  # how many of those hear a version in a second
    clock: Callable[[], int]
    sleep: Callable[[float], None]

    def publish(
        self,
        space: str,
        first: Change,
        last: Change,
        shards: Collection[int] = (),
        *,
        until: int | None = None,
    ) -> Published | None:
        """Publish a space whose counts changed, given its first and last record, and which shards
        they are of. ``until``: when this invocation has waited long enough for posts that
        are throttled. None: its audience has not heard the last version yet, and it is left for
        later, by way of a recount.

        The version is stored before it is sent. If an earlier try of this batch stored it and died
        while sending, it is sent again first: a version may be heard twice, but none is skipped.
        """
        old = self.headcounts.get(space)
        if is_repeat(old, first):
            heard = self._say(old, until=until)
            if is_repeat(old, last):
                return Published(old.version, None, heard)
            old = self.headcounts.get(space)  # it may have left in chunks just now
        wait = self._wait(old) if old.version else 0
        if wait > PACE:  # other spaces would wait with it
            now, after = self.clock(), whole_seconds(wait)
            self.later.recount(space, min(shards, default=0), at=now, stays=latest(), after=after)
            self.headcounts.mark_left(old, last.number, now)
            return None
        self.sleep(max(0, wait) / 1000)
        # Read after the wait: the version carries all that happened during it.
        counted = self.counts.space(space)
        cause = first_of(one.cause for one in counted.shards if one.shard in shards)
        numbers = numbers_of(counted)
        new = next_headcount(old, numbers, cause=last.number, now=self.clock())
        if not self.headcounts.save(new):
            raise PublishContendedError(f"{space}: version {new.version} was published by another")
        return Published(new.version, cause, self._say(new, cause, until=until))

    def _wait(self, old: Headcount) -> int:
        """Milliseconds until the next version is due: when everybody can have been told the last.

        Chunks of other spaces may be in the way. Versions that came at their own pace all the same
        would pile up in the queue until they are overdue: so no more than two of a space are there.
        """
        now = self.clock()
        since = now - old.as_of
        if since < -CLOCKS_DIFFER:  # a clock was ahead: nobody waits for that time to come
            return PACE
        if not old.in_chunks(now):
            return min(PACE - since, PACE)
        audience = len(self.subscriptions.of(old.space))
        pace = max(PACE, min(audience * SECOND // self.chunked_per_second, SLOWEST_PACE))
        if pace - since <= PACE and audience and self._is_behind(old, since):
            return max(2 * PACE, min(since, SLOWEST_PACE))
        return min(pace - since, pace)

    def _is_behind(self, old: Headcount, since: int) -> bool:
        """Whether the version before the last is still on its way, and may be waited for."""
        told = self.subscriptions.told(old.space)
        if told is None:  # by a release that does not say so, or these are the first
            return since < SLOWEST_PACE
        return told < old.version - 1 and since < LONGEST_PACE

    def _say(self, headcount: Headcount, cause: Cause | None = None, *, until: int | None) -> bool:
        heard = self.send(headcount, cause, until=until)
        for message in headcount.messages():
            if message["type"] == "alert":
                self.bell.ring(message)
        self.overviews.published(headcount.space, self.clock())
        return heard

    def send(
        self, headcount: Headcount, cause: Cause | None = None, *, until: int | None = None
    ) -> bool:
        """Let everybody who subscribed before this version hear it, and what it sets off. False:
        it leaves in chunks, and is on its way."""
        listeners = self._greeted(headcount)
        if not listeners:
            return True
        now = self.clock()
        by_form: dict[str | None, list[str]] = defaultdict(list)
        for listener in listeners:
            by_form[listener.form].append(listener.connection)
        frames = {form: [to_frame(frame_of(self.forms, form, headcount, now))] for form in by_form}
        if None in frames:  # a feed's clients know their own messages alone
            frames[None] += map(to_frame, headcount.messages())
        posts = sum(len(frames[form]) * len(connections) for form, connections in by_form.items())
        if len(listeners) > self.inline_limit or posts > self.deliveries.courier.line.spare():
            if headcount.chunked_at + CHUNKING_LINGERS / 3 < now:
                self.headcounts.mark_chunked(headcount.space, now)
        elif not headcount.in_chunks(now):
            for form, connections in by_form.items():
                for frame in frames[form]:
                    self.deliveries.deliver(headcount.space, frame, connections, until=until)
            return True
        # Also for a while after the audience shrank: an inline version would overtake the chunks.
        for form, connections in by_form.items():
            for frame in frames[form]:
                self.chunks.send(headcount.space, headcount.version, frame, connections, cause)
        return False

    def _greeted(self, headcount: Headcount) -> list[Subscription]:
        """The subscribers due for this version.

        A subscriber stores its row, reads the version there, sends it and marks the row. Whoever is
        not marked yet may be about to hear an older version; sending ours first would turn them
        round. The mark is milliseconds away, unless the subscriber died: then ours is the first.

        Whoever heard a later version than there is heard it before the versions began anew.
        """
        deadline = self.clock() + GREETING_PATIENCE
        while True:
            subscribers = self.subscriptions.of(headcount.space)
            waiting = [one for one in subscribers if one.after is None]
            if not waiting or self.clock() >= deadline:
                break
            self.sleep(_GREETING_POLL)
        ahead = [one for one in subscribers if (one.after or 0) > headcount.version]
        if ahead and self.headcounts.get(headcount.space).version > headcount.version:
            ahead = []  # another publisher's, which they heard already
        for one in [*waiting, *ahead]:
            # Not this version yet: should sending it fail, the next try must not leave them out.
            self.subscriptions.greeted(one.space, one.connection, headcount.version - 1)
        due = [one for one in subscribers if one.after is None or one.after < headcount.version]
        return [*due, *ahead]


def numbers_of(counted: SpaceCounts) -> Numbers:
    """A space's numbers from its shards'."""
    return Numbers(
        tally=merge(count.tally for count in counted.shards),
        views=counted.views,
        shards=counted.shards_in_use,
        avg_seconds=counted.avg_seconds,
        engagement=counted.engagement,
        settled=counted.settled,
        readings=counted.readings,
        rules=counted.rules.values(),
        notice=counted.notice,
        removals=counted.removals.values(),
    )


class PublishContendedError(RuntimeError):
    """Another publisher wrote the version; the stream tries the batch again."""
