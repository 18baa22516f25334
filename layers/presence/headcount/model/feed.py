"""Feeds: messages for sockets that were opened with a path, instead of headcounts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from headcount.model.access import Scope
from headcount.model.headcount import Headcount

Message = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Feed:
    """A topic, and the form of its messages.

    The topic is a space, or a name that begins with ``~``, as no space does.
    """

    topic: str
    form: str

    @property
    def is_of_a_space(self) -> bool:
        """Whether the topic is a space, so that ``publish`` sends each version."""
        return not self.topic.startswith("~")


class Forms(Protocol):
    """The forms of feeds, implemented by an adapter."""

    def feed_of(self, path: str) -> Feed:
        """The feed at a path. Raises NotFoundError."""

    def needs(self, feed: Feed) -> Scope:
        """The scope that subscribing to a feed requires."""

    def of_headcount(self, form: str, headcount: Headcount, now: int) -> Message:
        """A version of a space in this form."""

    def current(self, feed: Feed) -> Message | None:
        """The current message of a topic that is not a space; None if nothing is known of it."""

    def overview_of(self, space: str) -> Feed | None:
        """The feed across spaces that a new version of this space changes, if any."""
