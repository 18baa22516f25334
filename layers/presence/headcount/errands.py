"""``errands``: small things that must wait a moment, by way of a queue."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import chain
from typing import TYPE_CHECKING, Any

from headcount.counting import Recounter
from headcount.feeds import Feed, Forms
from headcount.sockets import THROTTLE_BUDGET, Courier, UndeliveredError, to_frame
from headcount.stays import Stays, pack, unpack
from headcount.store.counts import Count
from headcount.store.subscriptions import SubscriptionsTable
from headcount.subscribing import Greeter

if TYPE_CHECKING:
    from mypy_boto3_sns import SNSClient
    from mypy_boto3_sqs import SQSClient

OVERVIEW_PACE = 2
"""Seconds that a feed across spaces gathers changes before it says them."""

_MOVED_TRIES = 5


@dataclass(frozen=True, slots=True)
class ErrandQueue:
    """Where errands are left. A failed one is tried again."""

    client: SQSClient
    url: str

    def greet(self, connection: str, feed: Feed) -> None:
        """Say the first frame as soon as the connection is up."""
        self._send({"do": "greet", "connection": connection, "feed": asdict(feed)})

    def say(self, feed: Feed, *, after: int = 0) -> None:
        """Say to everybody who hears a feed what there is to say, ``after`` so many seconds."""
        self._send({"do": "say", "feed": asdict(feed)}, after)

    def ring(self, alert: Mapping[str, Any]) -> None:
        """Let an alert's topic know."""
        self._send({"do": "alert", "alert": alert})

    def recount(self, space: str, shard: int, *, at: int, stays: Stays, after: int) -> None:
        """Recount a shard in ``after`` seconds, unless somebody else did since ``at``."""
        packed = base64.b64encode(pack(stays)).decode()
        errand = {"do": "recount", "space": space, "shard": shard, "at": at, "stays": packed}
        self._send(errand, after)

    def _send(self, errand: dict[str, Any], after: int = 0) -> None:
        self.client.send_message(
            QueueUrl=self.url, MessageBody=json.dumps(errand), DelaySeconds=after
        )


@dataclass(frozen=True, slots=True)
class Overviews:
    """Lets the feeds across spaces follow what is published in each."""

    subscriptions: SubscriptionsTable
    forms: Forms
    errands: ErrandQueue

    def published(self, space: str, now: int) -> None:
        """A version of a space was published.

        The first to say so leaves an errand; whoever comes before that one is run relies on it.
        """
        feed = self.forms.overview_of(space)
        if feed is None or not self.subscriptions.of(feed.topic):
            return
        if self.subscriptions.claim(feed.topic, now=now):
            self.errands.say(feed, after=OVERVIEW_PACE)


@dataclass(frozen=True, slots=True)
class AlertTopic:
    """The SNS topic that alerts go to; none without a name."""

    client: Callable[[], SNSClient]
    arn: str

    def publish(self, alert: Mapping[str, Any]) -> None:
        """Say an alert. Its id tells one that is said again."""
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


@dataclass(frozen=True, slots=True)
class Runner:
    """What running errands needs."""

    forms: Forms
    subscriptions: SubscriptionsTable
    courier: Courier
    greeter: Greeter
    topic: AlertTopic
    recounter: Recounter

    def run(self, errand: Mapping[str, Any]) -> Count | None:
        """Run an errand; doing so again does no harm. Returns the recount, if it made one."""
        if errand["do"] == "alert":
            self.topic.publish(errand["alert"])
            return None
        if errand["do"] == "recount":
            gone = unpack(base64.b64decode(errand["stays"]))
            return self.recounter.recount_since(
                errand["space"], errand["shard"], at=errand["at"], gone=gone
            )
        feed = Feed(**errand["feed"])
        if errand["do"] == "greet":
            self._greet(errand["connection"], feed)
        else:
            self._say(feed)
        return None

    def close(self, errands: Mapping[str, Sequence[str]]) -> list[str]:
        """Close each errand's connections; returns the errands of which some may still be open.
        Raises UndeliveredError when that is so of all.

        The next ones may come to another process, which knows nothing of this one's pace: so this
        one is not done before its posts are a second old.
        """
        if not errands:
            return []
        left = set(self.courier.try_to_close(chain.from_iterable(errands.values())))
        self.courier.sleep(1)
        failed = [name for name, connections in errands.items() if not left.isdisjoint(connections)]
        if len(failed) == len(errands):
            raise UndeliveredError(f"{len(left)} connections could not be closed")
        return failed

    def _greet(self, connection: str, feed: Feed) -> None:
        if feed.is_of_a_space:
            self.greeter.greet(
                feed, connection, lambda frame: self.courier.deliver(frame, [connection])
            )
        elif (message := self.forms.current(feed)) is not None:
            self.courier.deliver(to_frame(message), [connection])

    def _say(self, feed: Feed) -> None:
        # In this order: who publishes after the release leaves an errand of their own.
        self.subscriptions.release(feed.topic)
        until = self.courier.clock() + THROTTLE_BUDGET
        said = None
        for _ in range(_MOVED_TRIES):
            message = self.forms.current(feed)
            if message is None or message == said:
                return
            connections = [one.connection for one in self.subscriptions.of(feed.topic)]
            self.courier.deliver(to_frame(message), connections, until=until)
            said = message  # looked at again: a slower twin may have said something older last
