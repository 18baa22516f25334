"""Feeds: what a socket that was opened with a path hears instead of headcounts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from headcount.headcounts import Headcount
from headcount.tokens import Scope

Message = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Feed:
    """A topic to hear, and in which form.

    The topic is a space, or a word with ``~`` in front, which no space has.
    """

    topic: str
    form: str

    @property
    def is_of_a_space(self) -> bool:
        """Whether ``publish`` sends it with each version of the space."""
        return not self.topic.startswith("~")


class Forms(Protocol):
    """The forms that feeds come in: an adapter's."""

    def feed_of(self, path: str) -> Feed:
        """The feed behind a path, or NotFoundError."""

    def needs(self, feed: Feed) -> Scope:
        """The scope that hearing a feed needs."""

    def of_headcount(self, form: str, headcount: Headcount, now: int) -> Message:
        """A version of a space in this form."""

    def current(self, feed: Feed) -> Message | None:
        """What is to say of a topic that is no space; None when nothing is known of it."""

    def overview_of(self, space: str) -> Feed | None:
        """The feed across spaces that a new version of this space changes, if any."""
