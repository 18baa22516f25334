"""``publish``: merge a space's counts into the next version, and send it to the subscribers.

A space with one shard is published by ``count``, as soon as it has recounted it (``ready``,
``publish_directly``): that saves a stream's delay. Each recount wakes ``publish``, too, by the
stream of the Counts table: it publishes what ``count`` did not, and everything else. For each space
of a batch:

- the shards' counts are merged into a headcount with the next version number, and stored if the
  version before is still the latest;
- only then is it sent, inline to a small audience, in chunks through a FIFO queue to a large one.
  The stored version names the record that caused it, so a retry after a crash sees that it was
  stored, and only sends it again: a version may be sent twice, but none is skipped;
- a client gets its first version when it subscribes, and later ones wait until that one is sent.
  Only if a process crashes, or a version is sent twice, may an older one follow, which clients
  ignore.

So several processes may publish one space. A version is stored as unsent, and the process that sent
it takes that note away: no later version is stored before. Only ``publish``, of which the stream
runs one per space, sends a version that another process did not send, once that one can't be
sending it any more (``FENCE``).

A space is published at most once per ``PACE``, with bursts. An audience that takes longer to reach
is waited for: the records are deferred, and a recount through the deferred queue brings them back.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, NamedTuple

from msgspec import Struct

from headcount.errors import failures
from headcount.logs import logger
from headcount.model.durations import latest
from headcount.model.headcount import (
    CHUNKING_GRACE,
    CROWD,
    MAX_FANOUT_DELAY,
    PACE,
    CountsChange,
    Headcount,
    Numbers,
    is_repeat,
    next_headcount,
    version_due,
)
from headcount.model.peaks import Curve, lagging
from headcount.model.rollups import added_numbers
from headcount.model.space import is_rollup
from headcount.model.tally import merge
from headcount.model.trace import Cause, log_fields, oldest_of
from headcount.store.keys import Subscriptions
from headcount.store.rollups import counts_of
from headcount.times import CLOCKS_DIFFER, MINUTE, SECOND, whole_seconds
from headcount.usecases.count import Recounter, pace
from headcount.usecases.deliver import Deliveries, frame_of, to_frame

if TYPE_CHECKING:
    from headcount.metric_lines import MetricLines
    from headcount.model.feed import Forms
    from headcount.model.rollups import RollUps
    from headcount.model.space import Kind, Kinds
    from headcount.store.counts import CountsTable, ShardCount, SpaceCounts
    from headcount.store.headcounts import HeadcountsTable
    from headcount.store.rollups import RollupsTable
    from headcount.store.subscriptions import Subscription, SubscriptionsTable
    from headcount.usecases.pushes import Pusher
    from headcount.usecases.queues import ChunkQueue, DeferredQueue, SyncQueue

FENCE = 2 * SECOND
"""How long after storing a version ``count`` may be sending it. It stops retrying then."""

SLOWEST_PACE = 15 * SECOND
"""The longest time between versions for audiences that take more than a second to reach under the
rate limit. An audit counts changes as lost much later."""

GREETING_WAIT = 2 * SECOND
"""How long a version waits for subscribers whose first headcount is being sent."""

MAX_ROWS_READ = 100
"""A shard with more rows is not read to know whether there is a new peak: its next recount tells,
some seconds later."""

LONGEST_RUN = MINUTE
"""The timeout of the functions that publish."""

YIELD = 3 * SECOND // 10
"""How much later than ``count`` a crowd is published whose version is not due yet: else they would
take turns, each of them making a version of what the other has just counted."""

_MOST_AHEAD = 10
"""Counts that may be newer than the one that is to be published; more are of another beginning."""

_GREETING_POLL = 0.05

_TRIES = 3
"""Versions of others that one of ours waits for, before the stream tries again."""


OVERVIEW_PACE = 2
"""Seconds during which a feed across spaces gathers changes before it sends them."""


class Overviews(Struct, frozen=True, eq=False):
    """Schedules the messages of feeds across spaces, which follow the versions of each."""

    subscriptions: SubscriptionsTable
    forms: Forms
    deferred: DeferredQueue

    def schedule(self, space: str, now: int) -> None:
        """Schedule the feed of a space that was published, unless a message is scheduled already
        that will include the version."""
        feed = self.forms.overview_of(space)
        if feed is None or not self.subscriptions.subscribers(feed.topic):
            return
        if self.subscriptions.claim(feed.topic, now=now):
            self.deferred.send_feed(feed, after=OVERVIEW_PACE)


@dataclass(frozen=True, slots=True)
class Published:
    """A version, and the change that waited longest for it."""

    version: int
    cause: Cause | None
    delivered: bool  # to all subscribers, if any; False: it is on its way in chunks
    by_count: bool = False  # ``count`` published it, and has written its line
    watched: bool = False  # dashboards were due for it


def write_published(metrics: MetricLines, space: str, done: Published | None) -> None:
    """Write a line, and the time that a change took; None: the version was deferred."""
    if done is None:
        metrics.write("deferred", space=space)
        return
    if done.by_count:
        return
    if done.cause is not None and done.delivered:
        metrics.add_time_since("JoinToPush", done.cause.at)
    about: dict[str, Any] = {"space": space, "version": done.version}
    metrics.write("published", **(about | log_fields(done.cause)))


class Known(NamedTuple):
    """What was counted, read after the version ``after`` was stored: the next may be made of it.
    A later one was made of what was read later."""

    after: int
    counts: SpaceCounts


class Publisher(Struct, frozen=True, eq=False):
    """Publishes spaces. ``clock`` returns epoch milliseconds, ``sleep`` takes seconds."""

    counts: CountsTable
    headcounts: HeadcountsTable
    subscriptions: SubscriptionsTable
    deliveries: Deliveries
    chunks: ChunkQueue
    syncs: SyncQueue
    forms: Forms
    overviews: Overviews
    deferred_queue: DeferredQueue
    recounter: Recounter
    kinds: Kinds
    pusher: Pusher
    inline_limit: int  # to more dashboards than this, a version is sent in chunks
    chunked_per_second: int  # posts per second of the fan-out
    rollups: RollupsTable
    rolled_up: RollUps
    clock: Callable[[], int]
    sleep: Callable[[float], None]

    def publish(
        self,
        space: str,
        first: CountsChange,
        last: CountsChange,
        shards: Collection[int] = (),
        *,
        recounts: bool = False,
        until: int | None = None,
        known: Known | None = None,
    ) -> Published | None:
        """Publish a space whose counts changed, unless ``count`` did.

        ``first`` and ``last`` are the batch's records of the space, ``shards`` those that they are
        about; ``recounts``: none is about anything else; ``until``: when this invocation stops
        retrying throttled posts; ``known``: of what to make the version, if it needs no wait.
        Returns None if it was deferred, because the audience has not received the last version yet.
        Raises PublishContendedError, and UndeliveredError as ``Deliveries.deliver``.
        """
        old = self.headcounts.get(space)
        if is_repeat(old, first):
            delivered = self._send(old, until=until) is not False
            if is_repeat(old, last):
                return Published(old.version, None, delivered)
            old = self.headcounts.get(space)  # it may have been sent in chunks just now
        old = self._sent(old, until=until)
        alone = recounts and old.counted and {*shards} == {0}
        counted = self.counts.space(space).version if alone else 0
        if counted and old.counted == counted:
            return Published(old.version, None, delivered=True, by_count=True)
        wait = self._wait(old) if old.version else 0
        if wait > PACE:  # other spaces would wait with it
            now, after = self.clock(), whole_seconds(wait)
            self.deferred_queue.recount(
                space, min(shards, default=0), at=now, durations=latest(), after=after
            )
            self.headcounts.mark_deferred(old, last.number, now)
            return None
        contends = counted > 0 and wait > 0 and old.tally.sessions >= CROWD
        self.sleep((max(0, wait) + YIELD * contends) / 1000)
        if contends:
            new = self.headcounts.get(space)
            if new.version > old.version and 0 <= new.counted - counted <= _MOST_AHEAD:
                self._sent(new, until=until)
                return Published(new.version, None, delivered=True, by_count=True)
        known = None if wait > 0 else known
        return self._publish(old, shards, last.number, until=until, known=known)

    def publish_rollups(
        self, first: CountsChange, last: CountsChange, *, until: int | None = None
    ) -> dict[str, Published | None]:
        """Publish the roll-ups that changed when a part was recounted, as ``publish`` does; by
        id."""
        ids = self.rolled_up.ids
        heads = self.headcounts.many(ids)
        parts = self.rollups.parts()  # after the heads, see ``Known``
        numbers = added_numbers((one.numbers for one in parts), ids)
        return {
            id_: self.publish(
                id_, first, last, until=until, known=Known(old.version, counts_of(id_, parts))
            )
            for id_ in ids
            for old in [heads.get(id_) or Headcount(id_)]
            if old.tally != numbers[id_] or not old.readable or is_repeat(old, first)
        }

    def _counted(self, old: Headcount, known: Known | None) -> SpaceCounts:
        if known is not None and known.after == old.version:
            return known.counts
        if is_rollup(old.space):
            return counts_of(old.space, self.rollups.parts())
        return self.counts.space(old.space)

    def _sent(self, old: Headcount, *, until: int | None) -> Headcount:
        """Wait for another process to send the last version, or send it. Returns the last version,
        which is sent then. Raises PublishContendedError."""
        for _ in range(_TRIES):
            if not self._is_owed(old):
                return old
            self.sleep(max(0, min(old.as_of + FENCE - self.clock(), FENCE)) / 1000)
            last = self.headcounts.get(old.space)
            if last.version == old.version and self._is_owed(last):
                self._send(last, until=until)
                last = self.headcounts.get(old.space)
            old = last
        raise PublishContendedError(f"{old.space}: version {old.version} is not sent yet")

    def ready(self, space: str, *, by: int, lead: int = 0) -> Headcount | None:
        """Wait until ``lead`` milliseconds before the next version of a space is due. Returns the
        last one; None if ``publish`` has to make the next, because the last one is not sent, or the
        next not due by then."""
        old = self.headcounts.get(space)
        wait = self._wait(old) if old.version else 0
        if wait > max(0, by - self.clock()) or not old.readable or self._is_owed(old):
            return None
        self.sleep(max(0, wait - lead) / 1000)
        return old

    def publish_directly(self, old: Headcount, count: ShardCount) -> Published:
        """Publish a recount after the version ``old`` from ``ready``, when it is due. If it raises
        anything, ``publish`` does it."""
        if old.version:
            self.sleep(max(0, self._wait(old)) / 1000)
        # Without a cause: no record of the stream led to it.
        return self._publish(old, [count.shard], None, until=self.clock() + FENCE)

    def _publish(
        self,
        old: Headcount,
        shards: Collection[int],
        number: str | None,
        *,
        until: int | None,
        known: Known | None = None,
    ) -> Published:
        """Store the version after ``old``, and send it. ``number``: the record that caused it."""
        # Read after the wait: the version includes what happened during it.
        counted = self._counted(old, known)
        cause = oldest_of(one.cause for one in counted.shards if one.shard in shards)
        numbers = numbers_of(counted, self.kinds.known(old.space))
        new = next_headcount(old, numbers, cause=number, now=self.clock())
        if (curves := self._caught_up(new, counted)) is not None:
            numbers = replace(numbers, curves=curves)
            new = next_headcount(old, numbers, cause=number, now=self.clock())
        if (stored := self.pusher.save(old, new)) is None:
            what = f"version {new.version} was published by another"
            raise PublishContendedError(f"{old.space}: {what}")
        sent = self._send(stored, cause, until=until)
        return Published(stored.version, cause, sent is not False, watched=sent is not None)

    def _is_owed(self, headcount: Headcount) -> bool:
        """Whether a version, or an alert of it, may not be sent yet to all who are due for it."""
        if not headcount.unsent:
            return False
        if headcount.alerted or self.pusher.is_owed(headcount):
            return True
        # Who subscribed later than any process can have stored it is greeted with it.
        surely_stored = headcount.as_of + LONGEST_RUN + CLOCKS_DIFFER
        return any(
            one.since <= surely_stored if one.after is None else one.after < headcount.version
            for one in self.subscriptions.subscribers(headcount.space)
        )

    def _caught_up(self, new: Headcount, counted: SpaceCounts) -> Mapping[int, Curve] | None:
        """All shards' curves, with those up to now without which it is not known whether this is a
        new peak; None: it is known. Large shards are not read, but recounted soon."""
        curves = {count.shard: count.curve for count in counted.shards}
        at, shards = lagging(
            curves, new.peak.people if new.peak else 0, new.peak_sessions, new.day_peaks
        )
        for count in counted.shards:
            if count.shard in shards and count.rows <= MAX_ROWS_READ:
                read = self.recounter.curve(count)
                # It was read after that moment, whatever our clock says.
                curves[count.shard] = replace(read, known_until=max(read.known_until, at))
            elif count.shard in shards:
                after = whole_seconds(pace(count.rows))
                self.deferred_queue.recount(
                    count.space, count.shard, at=at - CLOCKS_DIFFER, durations=latest(), after=after
                )
        return curves if shards else None

    def _wait(self, old: Headcount) -> int:
        """Milliseconds until the next version is due: when all can have received the last one.

        Chunks of other spaces may delay the space's own. Its versions must not pile up in the queue
        until they are overdue, so no more than two of them may be there.
        """
        now = self.clock()
        since = now - old.as_of
        if since < -CLOCKS_DIFFER:  # a clock was ahead: do not wait until then
            return PACE
        if not old.in_chunks(now):
            # A burst to many would exceed the rate, and be sent in chunks for an hour from then on.
            busy = self.deliveries.broadcaster.connection_api.is_busy()
            return min(max(version_due(old) - now, PACE - since if busy else 0), PACE)
        audience = len(self.subscriptions.subscribers(old.space))
        pace = max(PACE, min(audience * SECOND // self.chunked_per_second, SLOWEST_PACE))
        if pace - since <= PACE and audience and self._is_behind(old, since):
            return max(2 * PACE, min(since, SLOWEST_PACE))
        return min(pace - since, pace)

    def _is_behind(self, old: Headcount, since: int) -> bool:
        """Whether to wait for the version before the last, which is not delivered yet."""
        delivered = self.subscriptions.delivered_version(old.space)
        if delivered is None:  # an older release does not note it, or these are the first chunks
            return since < SLOWEST_PACE
        return delivered < old.version - 1 and since < MAX_FANOUT_DELAY

    def _send(
        self, headcount: Headcount, cause: Cause | None = None, *, until: int | None
    ) -> bool | None:
        """Send a version, its alerts and its push, and note that they are sent. Returns what
        ``send`` does."""
        delivered = self.send(headcount, cause, until=until)
        for message in headcount.messages():
            if message["type"] == "alert":
                self.deferred_queue.notify(message)
        self.overviews.schedule(headcount.space, self.clock())
        pushed = self.pusher.send(headcount)
        if delivered is not None or headcount.alerted or pushed:
            self._note_sent(headcount)  # else no one waits for the note
        return delivered

    def _note_sent(self, headcount: Headcount) -> None:
        """An error is not raised: then this version is sent again before the next."""
        try:
            self.headcounts.mark_sent(headcount)
        except failures() as error:
            about = {"space": headcount.space, "error": type(error).__name__}
            logger().warning("version not marked as sent", extra=about)

    def send(
        self, headcount: Headcount, cause: Cause | None = None, *, until: int | None = None
    ) -> bool | None:
        """Send a version, and the messages that follow it, to all who subscribed before it. Returns
        False if it is sent in chunks, and so not delivered yet; None if no one is due for it."""
        subscribers, syncing = self._due_subscribers(headcount)
        if syncing:
            self.notify(headcount, syncing)
        if not subscribers:
            return True if syncing else None
        now = self.clock()
        by_form: dict[str | None, list[str]] = defaultdict(list)
        for one in subscribers:
            by_form[one.form].append(one.connection)
        frames = {form: [to_frame(frame_of(self.forms, form, headcount, now))] for form in by_form}
        if None in frames:  # clients of feeds know only their own messages
            frames[None] += map(to_frame, headcount.messages())
        posts = sum(len(frames[form]) * len(connections) for form, connections in by_form.items())
        if (
            len(subscribers) > self.inline_limit
            or posts > self.deliveries.broadcaster.connection_api.spare()
        ):
            if headcount.chunked_at + CHUNKING_GRACE / 3 < now:
                self.headcounts.mark_chunked(headcount.space, now)
        elif not headcount.in_chunks(now):
            for form, connections in by_form.items():
                for frame in frames[form]:
                    self.deliveries.deliver(headcount.space, frame, connections, until=until)
            return True
        # Also for a while after the audience became small: an inline version would overtake chunks.
        for form, connections in by_form.items():
            for frame in frames[form]:
                self.chunks.send(headcount.space, headcount.version, frame, connections, cause)
        return False

    def notify(self, headcount: Headcount, connections: Sequence[str]) -> None:
        """Notify Convex's clients that watch a space of its new version. Each then gets
        what its own queries return."""
        from headcount.model.sync import Changed, pack

        cause = pack(Changed(headcount.space))
        self.syncs.notify(headcount.space, headcount.version, cause, connections)

    def _due_subscribers(self, headcount: Headcount) -> tuple[list[Subscription], list[str]]:
        """The subscribers that are due for this version, and the connections of Convex's clients,
        whose messages have an order of their own.

        Subscribing stores a row, reads the version, sends it and marks the row. A subscriber that
        is not marked may be about to get an older version, so this one must not overtake it. The
        mark takes milliseconds, unless the process crashed: then this version is the first, if it
        is the latest.

        A subscriber that got a higher version than the latest got it before the numbers restarted.
        """
        deadline = self.clock() + GREETING_WAIT
        while True:
            everyone = self.subscriptions.subscribers(headcount.space)
            syncing = [one.connection for one in everyone if one.form == Subscriptions.SYNC]
            subscribers = [one for one in everyone if one.form != Subscriptions.SYNC]
            waiting = [one for one in subscribers if one.after is None]
            if not waiting or self.clock() >= deadline:
                break
            self.sleep(_GREETING_POLL)
        ahead = [one for one in subscribers if (one.after or 0) > headcount.version]
        due = [one for one in subscribers if one.after is None or one.after < headcount.version]
        if (waiting or ahead) and self._is_over(headcount):
            # One that waits may have subscribed after the next version was sent: there would be a
            # gap after this one.
            return [one for one in due if one.after is not None], syncing
        for one in [*waiting, *ahead]:
            # Not marked with this version: if sending it fails, the retry must not skip them.
            self.subscriptions.mark_greeted(one.space, one.connection, headcount.version - 1)
        return [*due, *ahead], syncing

    def _is_over(self, headcount: Headcount) -> bool:
        """Whether another publisher has stored a later version. Call it after the subscribers were
        read: any version later than that one finds all of them."""
        return self.headcounts.get(headcount.space).version > headcount.version


def numbers_of(counted: SpaceCounts, kind: Kind | None) -> Numbers:
    """A space's numbers from its shards'. ``kind``: None if it is no longer declared."""
    return Numbers(
        tally=merge(count.tally for count in counted.shards),
        views=counted.views,
        shards=counted.shards_in_use,
        counted=counted.version,
        avg_seconds=counted.avg_seconds,
        ends=counted.ends,
        kind=kind,
        engagement=counted.engagement,
        settled=counted.settled,
        readings=counted.readings,
        rules=counted.rules.values(),
        notice=counted.notice,
        removals=counted.removals.values(),
        curves={count.shard: count.curve for count in counted.shards},
    )


class PublishContendedError(RuntimeError):
    """Another publisher stored the version; the stream retries the batch."""
