"""Presence stream (joins, changes, leaves): recount the shards and record the visits."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from headcount.causes import said
from headcount.clients import Services, services
from headcount.logs import logger
from headcount.metrics import named, say_metrics
from headcount.session import Session, Write
from headcount.store.counts import Count
from headcount.store.presence import from_item, moved_away


def handler(event: Mapping[str, Any], context: Any) -> None:  # noqa: ARG001 - Lambda passes it
    """Count a batch. Raises when a dependency fails: the stream tries again, nothing is lost."""
    here = services()
    sessions = list(_sessions(event))
    _say(here, sessions, here.counter.count(sessions))


def _say(here: Services, sessions: Iterable[Session], made: Iterable[Count]) -> None:
    """A line for each shard: which requests it was about, and which count they are in, if any."""
    counts = {(count.space, count.shard): count for count in made}
    by_shard: dict[tuple[str, int], list[Session]] = defaultdict(list)
    for session in sessions:
        by_shard[session.space, session.shard].append(session)
    for shard, written in by_shard.items():
        count = counts.get(shard)
        visits = [one for one in written if one.visit and not moved_away(one)]
        here.meter.add("Joins", sum(one.write is Write.JOIN for one in visits))
        here.meter.add("Leaves", sum(one.ended_by == "leave" for one in visits))
        say_metrics(
            here.meter.take(here.clock()),
            stack=here.settings.stack,
            now=here.clock(),
            message="counted" if count is not None else "left for later",
            space=shard[0],
            shard=shard[1],
            requests=named(one.request for one in written),
            **({"count": count.version} | said(count.cause) if count is not None else {}),
        )


def _sessions(event: Mapping[str, Any]) -> Iterator[Session]:
    for record in event["Records"]:
        try:
            yield from_item(record["dynamodb"]["NewImage"])
        except (KeyError, TypeError, ValueError):
            # Trying again would only block the shard; the cleanup repairs what it was about.
            logger().exception("unreadable record", extra={"event": record.get("eventID")})
