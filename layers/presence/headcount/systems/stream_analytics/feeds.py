"""The WebSocket feeds of stream dashboards: paths to topics, and topics to messages."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import TYPE_CHECKING

from msgspec import Struct

from headcount.errors import NotFoundError
from headcount.model import container as containers
from headcount.model.access import EVERYWHERE, Action, Scope
from headcount.model.feed import Feed, Message
from headcount.model.headcount import Headcount
from headcount.model.space import Kinds
from headcount.model.stream import KIND, Status
from headcount.systems.stream_analytics.state import metrics_data, overview_data

if TYPE_CHECKING:
    from headcount.store.containers import ContainersTable
    from headcount.store.headcounts import HeadcountsTable
    from headcount.store.streams import StreamsTable

METRICS, ANALYTICS, CONTAINER = "metrics", "analytics", "container"
OVERVIEW = Feed("~streams", ANALYTICS)
EARNED = "~earned"
"""Not a space, but counted like one: the revenue of all streams together."""

_METRICS_PATH = re.compile(r"/api/ws/streams/([^/]+)/metrics/?")
_ANALYTICS_PATH = re.compile(r"/api/ws/analytics/realtime/?")
_CONTAINER_PATH = re.compile(r"/api/ws/container/([^/]+)/?")


class StreamForms(Struct, frozen=True, eq=False):
    """Makes the messages of the feeds. ``clock`` returns epoch milliseconds."""

    kinds: Kinds
    headcounts: HeadcountsTable
    streams: Callable[[], StreamsTable]
    containers: Callable[[], ContainersTable]
    clock: Callable[[], int]

    def feed_of(self, path: str) -> Feed:
        """The feed of a path ``/api/ws/...``. NotFoundError; InvalidRequestError for a bad id."""
        if found := _METRICS_PATH.fullmatch(path):
            return Feed(self.kinds.space(f"{KIND}:{found[1]}").id, METRICS)
        if _ANALYTICS_PATH.fullmatch(path):
            return OVERVIEW
        if found := _CONTAINER_PATH.fullmatch(path):
            return Feed(containers.topic(containers.container_id(found[1])), CONTAINER)
        raise NotFoundError(
            "There is no feed at this path. Use /api/ws/analytics/realtime, "
            "/api/ws/streams/{id}/metrics or /api/ws/container/{id}; or omit the path, and "
            "subscribe to spaces."
        )

    def needs(self, feed: Feed) -> Scope:
        """The scope that a feed needs: of a stream, of all streams, or of containers."""
        if feed.is_of_a_space:
            return Scope(Action.READ, feed.topic)
        if feed == OVERVIEW:
            return Scope(Action.READ, f"{KIND}:*")
        return Scope(Action.CONTAINERS, EVERYWHERE)

    def of_headcount(self, form: str, headcount: Headcount, now: int) -> Message:
        """The message ``{type: metrics, data}`` of a version of a stream's space."""
        return {"type": form, "data": metrics_data(headcount, now)}

    def current(self, feed: Feed) -> Message | None:
        """The message with the overview of all streams, or with a container's latest state."""
        now = self.clock()
        if feed.form == CONTAINER:
            container = self.containers().get(containers.container_in(feed.topic))
            return container.message(now) if container is not None else None
        streams = self.streams().all()
        started = {stream.space for stream in streams if stream.status is Status.LIVE}
        heads = self.headcounts.many({*self.headcounts.live(KIND), *started}).values()
        earned = self.headcounts.get(EARNED)
        data = overview_data(heads, streams, earned, now)
        return {"type": ANALYTICS, "data": data}

    def overview_of(self, space: str) -> Feed | None:
        """The overview, if it contains this space: a stream's, or the revenue of all streams."""
        is_part = space.startswith(f"{KIND}:") or space == EARNED
        return OVERVIEW if is_part else None
