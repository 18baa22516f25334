"""``deferred``: small tasks that must wait a moment, through a queue.

First frames of feeds, which can't be sent before a connection is established; feeds across spaces,
which gather changes for a moment; alerts to SNS; recounts that are not due yet; and connections to
close, because they do not answer or a share link ended; counts to push that were skipped; where
people are who are watched; recounts of spaces that somebody began to watch. Running a task twice
does no harm.
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Mapping, Sequence
from itertools import chain
from typing import TYPE_CHECKING, Any

from msgspec import Struct

from headcount.model.durations import latest, unpack
from headcount.model.feed import Feed, Forms
from headcount.model.intervals import UNHEARD_PACE
from headcount.model.pushes import is_listened, space_of
from headcount.model.space import is_rollup
from headcount.times import SECOND
from headcount.usecases.deliver import THROTTLE_BUDGET, Broadcaster, UndeliveredError, to_frame
from headcount.usecases.pings import PING

if TYPE_CHECKING:
    from mypy_boto3_sns import SNSClient

    from headcount.store.counts import ShardCount
    from headcount.store.subscriptions import SubscriptionsTable
    from headcount.usecases.count import Recounter
    from headcount.usecases.people import Teller
    from headcount.usecases.pushes import Pusher
    from headcount.usecases.queues import ClosingQueue
    from headcount.usecases.rollups import RollupRecounter
    from headcount.usecases.socket import Greeter

_MAX_SENDS = 5

_NOTICED_EVERY = 5 * SECOND
"""How often a space is recounted after somebody began to watch it, until ``count`` surely knows."""


class AlertTopic(Struct, frozen=True, eq=False):
    """The SNS topic for alerts; without an ARN, none are published."""

    client: Callable[[], SNSClient]
    arn: str

    def publish(self, alert: Mapping[str, Any]) -> None:
        """Publish an alert. A repeated one has the same id."""
        if self.arn:
            self.client().publish(
                TopicArn=self.arn,
                Message=to_frame(alert),
                MessageAttributes={
                    name: {"DataType": "String", "StringValue": value}
                    for name, value in (
                        ("space", alert["space"]),
                        ("name", alert["alert"]["name"]),
                        ("type", alert["alert"]["type"]),
                    )
                },
            )


class DeferredRunner(Struct, frozen=True, eq=False):
    """Runs deferred tasks."""

    forms: Forms
    subscriptions: SubscriptionsTable
    broadcaster: Broadcaster
    greeter: Greeter
    topic: AlertTopic
    recounter: Recounter
    pusher: Pusher
    closing_queue: ClosingQueue
    rollups: RollupRecounter
    teller: Teller | None = None  # None: people can't be looked up

    def run(self, task: Mapping[str, Any]) -> ShardCount | None:
        """Run a task; to repeat it does no harm. Returns the recount, if it made one."""
        if task["do"] == "alert":
            self.topic.publish(task["alert"])
            return None
        if task["do"] == "recount":
            return self._recount(task)
        if task["do"] == "notice":
            return self._notice(task["space"])
        if task["do"] == "roll up":
            for part in task["parts"]:
                self.rollups.recount(part, at=task["at"])
            return None
        self._post(task)
        return None

    def _post(self, task: Mapping[str, Any]) -> None:
        if task["do"] == "ping":
            self._ping(task["part"], task["of"])
            return
        if task["do"] == "tell":
            if self.teller is not None:
                self.teller.tell(task["person"])
            return
        if task["do"] == "end share":
            opened = self.subscriptions.opened_by_shares()
            self.closing_queue.send([one for one, share, _ in opened if share == task["share"]])
            return
        if task["do"] == "push":
            self.pusher.run(task["space"], task=task["task"], missed=task["missed"])
            return
        feed = Feed(**task["feed"])
        if task["do"] == "greet":
            self._greet(task["connection"], feed)
        else:
            self._send(feed)

    def close_connections(self, tasks: Mapping[str, Sequence[str]]) -> list[str]:
        """Close each message's connections; returns the messages with connections that may still be
        open. Raises UndeliveredError if these are all messages.

        The next message may go to another process, which does not know how many requests this one
        has just made: so this one returns only a second after its last request.
        """
        if not tasks:
            return []
        left = set(self.broadcaster.try_to_close(chain.from_iterable(tasks.values())))
        self.broadcaster.sleep(1)
        failed = [name for name, connections in tasks.items() if not left.isdisjoint(connections)]
        if len(failed) == len(tasks):
            raise UndeliveredError(f"{len(left)} connections could not be closed")
        return failed

    def _recount(self, task: Mapping[str, Any]) -> ShardCount | None:
        space, shard = task["space"], task["shard"]
        if is_rollup(space):  # whose audience ``publish`` had to wait for
            self.rollups.recount(shard)
            return None
        ended = unpack(base64.b64decode(task["stays"]))
        return self.recounter.recount_since(space, shard, at=task["at"], ended=ended)

    def _ping(self, part: int, of: int) -> None:
        self.broadcaster.deliver(PING, self.subscriptions.syncing()[part::of])

    def _greet(self, connection: str, feed: Feed) -> None:
        def send(frame: str) -> None:
            self.broadcaster.deliver(frame, [connection])

        if feed.is_of_a_space:
            self.greeter.greet(feed, connection, send)
            self._notice(feed.topic)
        elif is_listened(feed.topic):
            self.pusher.greet(connection, feed, send)
            if not self.subscriptions.has_subscribers(feed.topic, 2):
                self._notice(space_of(feed.topic))
        elif (message := self.forms.current(feed)) is not None:
            self.broadcaster.deliver(to_frame(message), [connection])

    def _notice(self, space: str) -> ShardCount | None:
        """Recount a space of which nobody heard, and again while ``count`` may wait for a recount
        that it deferred before. Returns the last recount, if it made one."""
        made = None
        for shard in range(self.pusher.headcounts.get(space).shards):
            last = self.recounter.counts.shard(space, shard)
            if not last.unheard:
                continue
            made = self.recounter.recount(space, shard, before=last)
            for after in range(_NOTICED_EVERY, UNHEARD_PACE + 1, _NOTICED_EVERY):
                self.pusher.deferred_queue.recount(
                    space,
                    shard,
                    at=made.counted_at + after,
                    durations=latest(),
                    after=after // SECOND,
                )
        return made

    def _send(self, feed: Feed) -> None:
        # In this order: a version published after the release schedules its own message.
        self.subscriptions.release(feed.topic)
        until = self.broadcaster.clock() + THROTTLE_BUDGET
        sent = None
        for _ in range(_MAX_SENDS):
            message = self.forms.current(feed)
            if message is None or message == sent:
                return
            connections = [one.connection for one in self.subscriptions.subscribers(feed.topic)]
            self.broadcaster.deliver(to_frame(message), connections, until=until)
            sent = message  # read again: a slower parallel run may have sent an older one last
