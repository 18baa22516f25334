"""Virtual time: what is due first happens first, and waiting takes no time at all."""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Callable

from greenlet import getcurrent, greenlet


class Crash(BaseException):
    """The machine under a handler is gone, between two of its instructions.

    Not an ``Exception``: a handler that catches everything must not survive it.
    """


class Loop:
    """The one thread of a simulation. Times are epoch milliseconds, what is waited is milliseconds.

    Who runs in it (a handler, a client, a stream's poller) is a greenlet that goes on until it
    waits. What is due at the same moment happens in the order in which it was asked for, so the
    same random choices lead to the same run.
    """

    def __init__(self, now: int) -> None:
        self.now = now
        self.busy = 0
        """How many are under way that were started and have not come to their end."""
        self._due: list[tuple[int, int, Callable[[], object]]] = []
        self._numbers = itertools.count()
        self._hub = getcurrent()

    def at(self, time: int, act: Callable[[], object]) -> None:
        """Have something happen at a moment, or now if that has passed. It must not wait."""
        heapq.heappush(self._due, (max(time, self.now), next(self._numbers), act))

    def start(self, run: Callable[[], object], *, after: int = 0) -> None:
        """Have something under way that may wait."""
        self.busy += 1

        def whole() -> None:
            try:
                run()
            finally:
                self.busy -= 1

        self.at(self.now + after, lambda: greenlet(whole).switch())

    def pause(self, millis: int) -> None:
        """Wait; others go on meanwhile."""
        self.at(self.now + millis, getcurrent().switch)
        self._hub.switch()

    def run(self, until: int) -> None:
        """Let happen what is due up to a moment. What goes wrong in it is raised here."""
        self._hub = getcurrent()
        while self._due and self._due[0][0] <= until:
            self.now, _, act = heapq.heappop(self._due)
            act()
        self.now = until

    def drain(self, until: int) -> bool:
        """As ``run``, but only until nothing is under way any more; False if that never came."""
        self._hub = getcurrent()
        while self.busy and self._due and self._due[0][0] <= until:
            self.now, _, act = heapq.heappop(self._due)
            act()
        return not self.busy
