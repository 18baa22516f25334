"""A crowd of 200 sessions in one space, and an oracle that counts them independently."""

from __future__ import annotations

import random
import threading
import time
from collections import Counter
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any

from lab.harness.clients import Api, Dashboard, Message, beat, eventually, leave, settled

PAGES = ["/", "/pricing", "/docs", "/blog", "/app", "/contact"]
SESSIONS = 200
SIGN_INS = 30
"""Visitors who sign in. For a moment one with two tabs is two people, perhaps between versions."""


@dataclass
class Oracle:
    """The live sessions, from the messages in the order in which they were sent, without the
    product."""

    here: dict[str, tuple[str | None, str, str | None, int]] = field(default_factory=dict)
    last: dict[str, int] = field(default_factory=dict)
    views: int = 0
    applied: int = 0

    def apply(
        self, session: str, seq: int | None, fact: tuple[str | None, str, str] | None
    ) -> None:
        """Apply a message; `fact` = (user, visitor, page), None = a leave. Ignore old numbers."""
        if seq is not None and seq <= self.last.get(session, -1):
            return
        self.last[session] = self.last.get(session, -1) if seq is None else seq
        self.applied += 1
        if fact is None:
            self.here.pop(session, None)
        else:
            self.views += session not in self.here
            if self.here.get(session, ())[:3] != fact:
                self.here[session] = (*fact, self.applied)

    def numbers(self) -> dict[str, Any]:
        """The expected headcount of the space."""
        users = {user for user, *_ in self.here.values() if user}
        anonymous = {visitor for user, visitor, *_ in self.here.values() if not user}
        latest: dict[tuple[bool, str], tuple[int, str]] = {}
        for user, visitor, page, order in self.here.values():
            person = (user is not None, user or visitor)
            latest[person] = max(latest.get(person, (0, "")), (order, page or ""))
        sessions = Counter(page or "" for _, _, page, _ in self.here.values())
        people = Counter(page for _, page in latest.values())
        return {
            "people": len(users) + len(anonymous),
            "signedIn": len(users),
            "anonymous": len(anonymous),
            "sessions": len(self.here),
            "views": self.views,
            "pages": {page: (count, people[page]) for page, count in sessions.items()},
        }


def numbers_of(body: dict[str, Any]) -> dict[str, Any]:
    """The same numbers from the product's headcount."""
    return {
        **{name: body[name] for name in ("people", "signedIn", "anonymous", "sessions")},
        "views": body["views"]["total"],
        "pages": {row["value"]: (row["count"], row["people"]) for row in body["facets"]["page"]}
        if "page" in body["facets"]
        else {},
    }


@dataclass(frozen=True)
class QuietPoint:
    """The oracle's and the product's numbers when nothing is under way."""

    expected: dict[str, Any]
    seen: dict[str, Any]
    peak: int
    highest_received: int
    crashed_at: float = 0.0
    gone_at: float = 0.0


CHAPTERS = ["joined", "moved", "left", "expired", "empty"]


class Story(threading.Thread):
    """Joins, page changes, sign-ins, leaves and crashes, with a quiet point after each chapter."""

    def __init__(self, api: Api, socket: Dashboard, space: str) -> None:
        super().__init__(name="story", daemon=True)
        self.api, self.socket, self.space = api, socket, space
        self.points: dict[str, Future[QuietPoint]] = {name: Future() for name in CHAPTERS}
        self.oracle = Oracle()
        self._chance = random.Random(20)  # noqa: S311 - a script, not a secret
        self._seq: Counter[str] = Counter()
        # About one visitor in three has two tabs.
        self._sessions = [f"s{number:03}" for number in range(SESSIONS)]
        self._visitor = {name: f"v{int(name[1:]) * 3 // 4:03}" for name in self._sessions}
        self._user: dict[str, str | None] = {}
        self._queues: dict[str, list[Message]] = {}

    def run(self) -> None:
        """Play all chapters; an error is raised to the tests that wait for a chapter."""
        try:
            self.socket.subscribe(self.space)
            for name in CHAPTERS:
                self.points[name].set_result(getattr(self, f"_{name}")())
        except BaseException as error:  # the waiting tests raise it
            for point in self.points.values():
                if not point.done():
                    point.set_exception(error)

    def _joined(self) -> QuietPoint:
        for name in self._sessions:
            signed_in = int(self._visitor[name][1:]) % 5 == 0
            self._user[self._visitor[name]] = f"u{self._visitor[name]}" if signed_in else None
        early = "overtaken"
        self._visitor[early] = "v-overtaken"
        self._send(early, None, seq=5)  # a leave that overtakes its join: never live
        self._send(early, "/", seq=4)
        for number, name in enumerate(self._sessions):
            self._send(name, self._chance.choice(PAGES))
            if number % 10 == 0:
                self._resend(name)
        return self._quiet()

    def _moved(self) -> QuietPoint:
        for name in self._chance.sample(self._sessions, 80):
            self._send(name, self._chance.choice(PAGES))
        for name in self._chance.sample([n for n in self._sessions if self._numbered(n)], 30):
            seq = self._seq[name]
            self._seq[name] += 2
            self._send(name, "/app")  # then a message that was sent earlier arrives
            self._send(name, "/late", seq=seq + 1)
        for visitor in self._chance.sample(
            sorted({*self._visitor.values()} - {"v-overtaken"}), SIGN_INS
        ):
            self._user[visitor] = self._user.get(visitor) or f"u{visitor}"
            for name in [one for one, whose in self._visitor.items() if whose == visitor]:
                self._send(name, self.oracle.here[name][2])
        return self._quiet()

    def _left(self) -> QuietPoint:
        leavers = self._chance.sample(self._sessions, 70)
        for number, name in enumerate(leavers):
            self._send(name, None)
            if self._numbered(name):
                self._send(name, "/late", seq=self._seq[name] - 1)  # under way when it left
            if number % 7 == 0:
                self._resend(name)
        for name in leavers[:20]:
            self._send(name, "/")  # they return: a new view
        return self._quiet()

    def _expired(self) -> QuietPoint:
        """All but twenty crash; the twenty are hidden, so that one beat lasts for minutes."""
        here = sorted(self.oracle.here)
        stay = here[:: max(1, len(here) // 20)][:20]
        for name in here:
            self._send(
                name, self.oracle.here[name][2], state="hidden" if name in stay else "active"
            )
        self._flush()
        crashed_at = time.time()
        for name in set(here) - set(stay):
            del self.oracle.here[name]
        expected = self.oracle.numbers()
        frames = self.socket.frames
        eventually(
            lambda: self.socket.people(self.space) == expected["people"],
            60 + 65 + 30,  # the test checks the exact limit
            last=lambda: numbers_of(frames[-1].message["data"]),
        )
        arrived = self.socket.headcounts(self.space)[-1].at
        return self._quiet(crashed_at, arrived)

    def _empty(self) -> QuietPoint:
        for name in sorted(self.oracle.here):
            self._send(name, None)
        return self._quiet()

    def _numbered(self, name: str) -> bool:
        return name == "overtaken" or int(name[1:]) % 8 != 0  # most clients send numbers

    def _send(
        self, name: str, page: str | None, *, seq: int | None = None, state: str = "active"
    ) -> None:
        """Queue a message for the server and apply it to the oracle; page None = leave."""
        if seq is None and self._numbered(name):
            self._seq[name] += 1
            seq = self._seq[name]
        visitor = self._visitor[name]
        user = self._user.get(visitor)
        number = {} if seq is None else {"seq": seq}
        if page is None:
            message = leave(self.space, name, **number)
        else:
            person = {"visitorId": visitor, **({"userId": user} if user else {})}
            message = beat(self.space, name, **person, page=page, state=state, **number)
        self._queues.setdefault(visitor, []).append(message)
        self.oracle.apply(name, seq, None if page is None else (user, visitor, page))

    def _resend(self, name: str) -> None:
        """Repeat the last message, as a network does."""
        queue = self._queues[self._visitor[name]]
        queue.append(queue[-1])

    def _flush(self) -> None:
        """Send the queued messages: people in parallel, each person's messages in order."""
        while self._queues:
            self.api.all([queue.pop(0) for queue in self._queues.values()])
            self._queues = {name: queue for name, queue in self._queues.items() if queue}

    def _quiet(self, crashed_at: float = 0.0, gone_at: float = 0.0) -> QuietPoint:
        self._flush()
        expected = self.oracle.numbers()
        seen = settled(lambda: numbers_of(self.api.headcount(self.space)), expected)
        received = self.socket.headcounts(self.space)
        body = self.api.headcount(self.space)
        return QuietPoint(
            expected,
            seen,
            peak=body["peak"]["people"],
            highest_received=max(frame.message["data"]["people"] for frame in received),
            crashed_at=crashed_at,
            gone_at=gone_at,
        )
