"""``socket``: frames of dashboards over the WebSocket API.

A dashboard subscribes to spaces and gets their versions from ``publish``. The first version it gets
here: the subscription is stored, the latest version read and sent, and then the subscription is
marked, which lets later versions through. A feed, which is opened with a path, is subscribed to on
connecting; its first frame has to wait until the connection is established.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

from msgspec import Struct

from headcount.errors import ForbiddenError, InvalidRequestError, RequestError, TooLargeError
from headcount.model.access import EVERYWHERE, Action, Caller, Scope, covers, require_scope
from headcount.model.feed import Feed, Forms, Message
from headcount.model.intervals import ATTENTIVE
from headcount.model.people import MOST_PEOPLE, NOT_KNOWN, check_people, spaces_in, watched_in
from headcount.model.pushes import is_listened
from headcount.model.rollups import RollUps, rollup_name
from headcount.model.space import SPACE, Kinds, is_rollup
from headcount.store.keys import Subscriptions
from headcount.usecases.deliver import ConnectionApi, Outcome, frame_of, to_frame

if TYPE_CHECKING:
    from headcount.model.headcount import Headcount
    from headcount.model.session import HeldSession
    from headcount.store.headcounts import HeadcountsTable
    from headcount.store.subscriptions import SubscriptionsTable
    from headcount.usecases.people import Watching
    from headcount.usecases.queues import DeferredQueue

MAX_SUBSCRIPTIONS = 50
MAX_FRAME = 16 * 1024
"""Characters of a dashboard's frame."""
_ACTIONS = "subscribe, unsubscribe, snapshot, watch, unwatch or ping"


class Greeter(Struct, frozen=True, eq=False):
    """Sends a subscriber's first headcount. ``clock`` returns epoch milliseconds."""

    subscriptions: SubscriptionsTable
    headcounts: HeadcountsTable
    forms: Forms
    clock: Callable[[], int]

    def greet(
        self,
        feed: Feed,
        connection: str,
        send: Callable[[str], None],
        *,
        sent_at: int | None = None,
    ) -> Headcount:
        """Subscribe, send the latest version, and only then let later ones through. Returns it.

        A snapshot of a subscribed space takes the same way: sent directly, it could reach the
        dashboard after a version that was published meanwhile.
        """
        self.subscriptions.add(
            feed.topic, connection, now=self.clock(), form=feed.form or None, sent_at=sent_at
        )
        headcount = self.headcounts.get(feed.topic)
        send(to_frame(frame_of(self.forms, feed.form, headcount, self.clock())))
        self.subscriptions.mark_greeted(feed.topic, connection, headcount.version)
        return headcount


class DashboardSocket(Struct, frozen=True, eq=False):
    """Serves dashboards' sockets. ``clock`` returns epoch milliseconds."""

    subscriptions: SubscriptionsTable
    headcounts: HeadcountsTable
    connection_api: ConnectionApi
    kinds: Kinds
    rollups: RollUps
    forms: Forms
    greeter: Greeter
    deferred_queue: DeferredQueue
    clock: Callable[[], int]
    watching: Watching | None = None  # None: people can't be looked up

    def connect(self, connection: str, caller: Caller, path: str | None = None) -> None:
        """A dashboard connects; with a path, to the feed at that path. Raises ForbiddenError
        without the scope, NotFoundError for other paths.

        The spaces that its token may read, and the people that it names, are stored with the
        connection. Nothing can be sent to it before this returns, so a feed's first frame is
        deferred.
        """
        feed = self.forms.feed_of(path) if path is not None else None
        sees = caller.people if self.watching is not None else frozenset()
        if feed is not None:
            require_scope(caller, self.forms.needs(feed))
        elif not sees:
            require_scope(caller, Scope(Action.READ, None))
        if self.watching is not None and caller.subject is not None:
            sees |= {f"u:{caller.subject}"}
        reads = caller.spaces(Action.READ)
        if caller.share is not None and caller.until is not None:
            self.subscriptions.open_by_share(
                connection, caller.share, caller.until, now=self.clock()
            )
        self.subscriptions.connect(connection, reads=reads, sees=sees, now=self.clock())
        if feed is not None:
            self.subscriptions.add(feed.topic, connection, now=self.clock(), form=feed.form)
            self.deferred_queue.greet(connection, feed)

    def disconnect(self, connection: str) -> HeldSession | None:
        """A connection ended; this may not be called, then ``publish`` notices it. Returns the
        session that the connection held, if any."""
        return self.subscriptions.disconnect(connection)

    def receive(self, connection: str, body: str, sent_at: int | None = None) -> None:
        """Handle a frame, which the gateway received at ``sent_at`` (None: now).

        An invalid frame is answered with an error frame.
        """
        sent_at = self.clock() if sent_at is None else sent_at
        space = None
        try:
            message = parse_frame(body)
            space = message.get("space")
            self._act(connection, message, sent_at)
        except RequestError as error:
            topics = self.subscriptions.topics(connection)
            if Subscriptions.SYNC in topics:
                self._refuse_sync(connection)
                return
            if self._answer_heartbeat(connection, topics):
                return
            answer = {"type": "error", "error": error.message}
            if isinstance(space, str) and SPACE.fullmatch(space):
                answer["space"] = space
            self._reply(connection, answer)

    def _act(self, connection: str, message: dict[str, Any], sent_at: int) -> None:
        action = message.get("action")
        if action == "ping":
            self._reply(connection, {"type": "pong"})
            return
        if action in ("watch", "unwatch"):
            self._watch(connection, message, sent_at)
            return
        if action not in ("subscribe", "unsubscribe", "snapshot"):
            raise InvalidRequestError(f"'action' must be {_ACTIONS}.")
        space = message.get("space")
        if not isinstance(space, str):
            raise InvalidRequestError("'space' is missing: send it as text, for example site:main.")
        needed = space = self._topic(space)
        if is_rollup(space):
            needed = self.rollups.scope_of(space)
        if action == "unsubscribe":
            self.subscriptions.remove(space, connection, sent_at=sent_at)
            return
        topics, reads = self.subscriptions.connection(connection)
        if not covers(reads, needed):
            raise ForbiddenError(
                "The token of this connection does not allow this: it needs the scope "
                f"{Scope(Action.READ, needed)}, or the admin claim."
            )
        if action == "snapshot" and space not in topics:
            self._reply(connection, self.headcounts.get(space).message(self.clock()))
            return
        if space not in topics and len(spaces_in(topics)) >= MAX_SUBSCRIPTIONS:
            raise InvalidRequestError(
                f"This connection is subscribed to {MAX_SUBSCRIPTIONS} spaces, the maximum: "
                "unsubscribe from one, or open another connection."
            )
        send = partial(self._send, connection)
        headcount = self.greeter.greet(Feed(space, ""), connection, send, sent_at=sent_at)
        if space not in topics and headcount.tally.sessions > ATTENTIVE and not is_rollup(space):
            self.deferred_queue.notice(space)

    def _watch(self, connection: str, message: dict[str, Any], sent_at: int) -> None:
        """Watch people, and reply where they are; or watch them no longer."""
        watching, people = self.watching, message.get("people")
        if watching is None:
            raise InvalidRequestError(NOT_KNOWN)
        if message["action"] == "unwatch":
            chosen = None if people is None else check_people(people)
            watching.unwatch(connection, chosen, sent_at=sent_at)
            return
        chosen = list(dict.fromkeys(check_people(people)))
        topics, sees = self.subscriptions.watching(connection)
        for person in chosen:
            if not {person, EVERYWHERE} & {*sees}:
                raise ForbiddenError(
                    "The token of this connection does not allow this: it needs the scope "
                    f"{Action.PEOPLE}:{person}, or {Action.PEOPLE}:{EVERYWHERE} for everybody, or "
                    "the admin claim."
                )
        if len({*watched_in(topics), *chosen}) > MOST_PEOPLE:
            raise InvalidRequestError(
                f"A connection watches at most {MOST_PEOPLE} people: unwatch some, or open "
                "another connection."
            )
        for frame in watching.watch(connection, chosen, sent_at=sent_at):
            self._reply(connection, frame)

    def _topic(self, space: str) -> str:
        """A space's id, or a roll-up's. Raises RequestError."""
        if is_rollup(space):
            return self.rollups.find(*rollup_name(space))
        return self.kinds.space(space).id

    def _refuse_sync(self, connection: str) -> None:
        """End a client of Convex's that does not keep to its protocol, in that protocol's words."""
        self._reply(connection, {"type": "FatalError", "error": "The message is not valid."})
        self.connection_api.close(connection)

    def _answer_heartbeat(self, connection: str, topics: Mapping[str, str | None]) -> bool:
        """Any frame of a feed's client is a heartbeat: reply with the current state. Returns
        whether the connection has a feed."""
        feeds = [
            Feed(topic, form)
            for topic, form in topics.items()
            if form is not None and not is_listened(topic)
        ]
        for feed in feeds:
            if feed.is_of_a_space:
                self.greeter.greet(feed, connection, partial(self._send, connection))
            elif (message := self.forms.current(feed)) is not None:
                self._reply(connection, message)
        return bool(feeds)

    def _reply(self, connection: str, message: Message) -> None:
        self._send(connection, to_frame(message))

    def _send(self, connection: str, frame: str) -> None:
        outcome = self.connection_api.post(connection, frame)
        if outcome is Outcome.SENT:
            return
        if outcome is Outcome.GONE or self.connection_api.close(connection):
            self.subscriptions.disconnect(connection)


def parse_frame(body: str) -> dict[str, Any]:
    """A frame's JSON object. Raises InvalidRequestError or TooLargeError."""
    if len(body) > MAX_FRAME:
        raise TooLargeError(
            f"The message is too large: at most {MAX_FRAME} characters are allowed."
        )
    try:
        message = json.loads(body)
    except (ValueError, RecursionError):
        message = None
    if not isinstance(message, dict):
        raise InvalidRequestError(
            'Send a JSON object, for example {"action": "subscribe", "space": "site:main"}.'
        )
    return message
