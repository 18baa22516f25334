"""``socket``: what dashboards say over the WebSocket API."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from headcount.errors import InvalidRequestError, RequestError
from headcount.sockets import Line, Outcome, to_frame
from headcount.spaces import SPACE, Kinds
from headcount.store.headcounts import HeadcountsTable
from headcount.store.subscriptions import SubscriptionsTable

MAX_SUBSCRIPTIONS = 50
_ACTIONS = "subscribe, unsubscribe, snapshot or ping"


@dataclass(frozen=True, slots=True)
class Switchboard:
    """What serving sockets needs. ``clock`` gives epoch milliseconds."""

    subscriptions: SubscriptionsTable
    headcounts: HeadcountsTable
    line: Line
    kinds: Kinds
    clock: Callable[[], int]

    def connect(self, connection: str) -> None:
        """A dashboard whose token was accepted."""
        self.subscriptions.connect(connection, now=self.clock())

    def disconnect(self, connection: str) -> None:
        """It went away (best effort: the publisher notices too)."""
        self.subscriptions.disconnect(connection)

    def hear(self, connection: str, body: str) -> None:
        """Answer one frame; what is wrong with it goes back as an error frame."""
        space = None
        try:
            message = _parse(body)
            space = message.get("space")
            self._act(connection, message)
        except RequestError as error:
            answer = {"type": "error", "error": error.message}
            if isinstance(space, str) and SPACE.fullmatch(space):
                answer["space"] = space
            self._say(connection, answer)

    def _act(self, connection: str, message: dict[str, Any]) -> None:
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
            self.subscriptions.remove(space, connection)
            return
        heard = self.subscriptions.spaces(connection)
        if action == "snapshot" and space not in heard:
            self._say(connection, self.headcounts.get(space).message(self.clock()))
            return
        if space not in heard and len(heard) >= MAX_SUBSCRIPTIONS:
            raise InvalidRequestError(
                f"This connection hears {MAX_SUBSCRIPTIONS} spaces, which is the most: "
                "unsubscribe from one, or open another connection."
            )
        self._greet(space, connection)

    def _greet(self, space: str, connection: str) -> None:
        """Subscribe, say the version there, and only then let later ones through.

        A snapshot for a space that is heard already goes the same way: said by itself, it could
        reach the dashboard after a version that was published meanwhile.
        """
        self.subscriptions.add(space, connection, now=self.clock())
        headcount = self.headcounts.get(space)
        self._say(connection, headcount.message(self.clock()))
        self.subscriptions.greeted(space, connection, headcount.version)

    def _say(self, connection: str, message: dict[str, Any]) -> None:
        outcome = self.line.post(connection, to_frame(message))
        if outcome is Outcome.GONE:
            self.subscriptions.disconnect(connection)
        elif outcome is Outcome.FAILED:
            self.line.close(connection)
            self.subscriptions.disconnect(connection)


def _parse(body: str) -> dict[str, Any]:
    try:
        message = json.loads(body)
    except (ValueError, RecursionError):
        message = None
    if not isinstance(message, dict):
        raise InvalidRequestError(
            'Send a JSON object, for example {"action": "subscribe", "space": "site:main"}.'
        )
    return message
