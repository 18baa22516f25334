"""``socket``: what dashboards say over the WebSocket API."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol

from headcount.errors import ForbiddenError, InvalidRequestError, RequestError, TooLargeError
from headcount.feeds import Feed, Forms, Message
from headcount.headcounts import Headcount
from headcount.sockets import Line, Outcome, to_frame
from headcount.spaces import SPACE, Kinds
from headcount.store.headcounts import HeadcountsTable
from headcount.store.subscriptions import Held, SubscriptionsTable
from headcount.tokens import Action, Caller, Scope, covers, require

MAX_SUBSCRIPTIONS = 50
MAX_FRAME = 4 * 1024
"""Characters of what a dashboard says."""
_ACTIONS = "subscribe, unsubscribe, snapshot or ping"


@dataclass(frozen=True, slots=True)
class Greeter:
    """Says a subscriber's first headcount. ``clock`` gives epoch milliseconds."""

    subscriptions: SubscriptionsTable
    headcounts: HeadcountsTable
    forms: Forms
    clock: Callable[[], int]

    def greet(
        self,
        feed: Feed,
        connection: str,
        say: Callable[[str], None],
        *,
        said_at: int | None = None,
    ) -> None:
        """Subscribe, say the version there, and only then let later ones through.

        A snapshot for a space that is heard already goes the same way: said by itself, it could
        reach the dashboard after a version that was published meanwhile.
        """
        self.subscriptions.add(
            feed.topic, connection, now=self.clock(), form=feed.form or None, said_at=said_at
        )
        headcount = self.headcounts.get(feed.topic)
        say(to_frame(frame_of(self.forms, feed.form, headcount, self.clock())))
        self.subscriptions.greeted(feed.topic, connection, headcount.version)


def frame_of(forms: Forms, form: str | None, headcount: Headcount, now: int) -> Message:
    """A version in the form that a subscriber hears it in."""
    return forms.of_headcount(form, headcount, now) if form else headcount.message(now)


class Greetings(Protocol):
    """Where first frames wait until their connection is up."""

    def greet(self, connection: str, feed: Feed) -> None:
        """Say the first frame as soon as the connection is up."""


@dataclass(frozen=True, slots=True)
class Switchboard:
    """What serving sockets needs. ``clock`` gives epoch milliseconds."""

    subscriptions: SubscriptionsTable
    headcounts: HeadcountsTable
    line: Line
    kinds: Kinds
    forms: Forms
    greeter: Greeter
    greetings: Greetings
    clock: Callable[[], int]

    def connect(self, connection: str, caller: Caller, path: str | None = None) -> None:
        """A dashboard connects; with a path, to hear the feed behind it. ForbiddenError without
        the scope. What its token may read is kept with the connection.

        Nothing can be said to it before this returns: its first frame is left as an errand.
        """
        feed = self.forms.feed_of(path) if path is not None else None
        require(caller, self.forms.needs(feed) if feed is not None else Scope(Action.READ, None))
        reads = caller.spaces(Action.READ)
        self.subscriptions.connect(connection, reads=reads, now=self.clock())
        if feed is not None:
            self.subscriptions.add(feed.topic, connection, now=self.clock(), form=feed.form)
            self.greetings.greet(connection, feed)

    def disconnect(self, connection: str) -> Held | None:
        """It went away (best effort: the publisher notices too); returns the session it held."""
        return self.subscriptions.disconnect(connection)

    def hear(self, connection: str, body: str, said_at: int | None = None) -> None:
        """Answer one frame, which the gateway took at ``said_at`` (None: now).

        What is wrong with it goes back as an error frame.
        """
        said_at = self.clock() if said_at is None else said_at
        space = None
        try:
            message = parse_frame(body)
            space = message.get("space")
            self._act(connection, message, said_at)
        except RequestError as error:
            if self._answer_heartbeat(connection):
                return
            answer = {"type": "error", "error": error.message}
            if isinstance(space, str) and SPACE.fullmatch(space):
                answer["space"] = space
            self._say(connection, answer)

    def _act(self, connection: str, message: dict[str, Any], said_at: int) -> None:
        action = message.get("action")
        if action == "ping":
            self._say(connection, {"type": "pong"})
            return
        if action not in ("subscribe", "unsubscribe", "snapshot"):
            raise InvalidRequestError(f"'action' must be {_ACTIONS}.")
        space = message.get("space")
        if not isinstance(space, str):
            raise InvalidRequestError("'space' is missing: send it as text, for example site:main.")
        space = self.kinds.space(space).id
        if action == "unsubscribe":
            self.subscriptions.remove(space, connection, said_at=said_at)
            return
        heard, reads = self.subscriptions.connection(connection)
        if not covers(reads, space):
            raise ForbiddenError(
                "The token of this connection does not allow this: it needs the scope "
                f"{Scope(Action.READ, space)}, or the admin claim."
            )
        if action == "snapshot" and space not in heard:
            self._say(connection, self.headcounts.get(space).message(self.clock()))
            return
        if space not in heard and len(heard) >= MAX_SUBSCRIPTIONS:
            raise InvalidRequestError(
                f"This connection hears {MAX_SUBSCRIPTIONS} spaces, which is the most: "
                "unsubscribe from one, or open another connection."
            )
        say = partial(self._send, connection)
        self.greeter.greet(Feed(space, ""), connection, say, said_at=said_at)

    def _answer_heartbeat(self, connection: str) -> bool:
        """Whatever the client of a feed says is a heartbeat: it is told how things are."""
        feeds = [
            Feed(topic, form)
            for topic, form in self.subscriptions.heard(connection).items()
            if form is not None
        ]
        for feed in feeds:
            if feed.is_of_a_space:
                self.greeter.greet(feed, connection, partial(self._send, connection))
            elif (message := self.forms.current(feed)) is not None:
                self._say(connection, message)
        return bool(feeds)

    def _say(self, connection: str, message: Message) -> None:
        self._send(connection, to_frame(message))

    def _send(self, connection: str, frame: str) -> None:
        outcome = self.line.post(connection, frame)
        if outcome is Outcome.SENT:
            return
        if outcome is Outcome.GONE or self.line.close(connection):
            self.subscriptions.disconnect(connection)


def parse_frame(body: str) -> dict[str, Any]:
    """A frame's JSON object; InvalidRequestError, or TooLargeError."""
    if len(body) > MAX_FRAME:
        raise TooLargeError(f"The message is too large: at most {MAX_FRAME} characters are taken.")
    try:
        message = json.loads(body)
    except (ValueError, RecursionError):
        message = None
    if not isinstance(message, dict):
        raise InvalidRequestError(
            'Send a JSON object, for example {"action": "subscribe", "space": "site:main"}.'
        )
    return message
