"""Virtual time: events happen in the order in which they are due, and waiting takes no time."""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Callable, Sequence
from functools import partial

from greenlet import getcurrent, greenlet


class Crash(BaseException):
    """The machine of a handler crashed.

    Not an ``Exception``, so that a handler that catches everything does not survive it.
    """


class Loop:
    """A simulation's scheduler. Times are epoch milliseconds, delays are milliseconds; or both are
    in another unit, which nothing here depends on.

    Each task (a handler, a client, a stream's poller) is a greenlet that runs until it waits. What
    is due at the same time runs in the order in which it was scheduled, so the same random choices
    give the same run.
    """

    def __init__(self, now: int) -> None:
        self.now = now
        self.busy = 0
        """The number of tasks that have started and not ended."""
        self._due: list[tuple[int, int, Callable[[], object]]] = []
        self._numbers = itertools.count()
        self._hub = getcurrent()
        self._until = now

    def at(self, time: int, act: Callable[[], object]) -> None:
        """Call something at a time, or now if that has passed. It must not wait."""
        heapq.heappush(self._due, (max(time, self.now), next(self._numbers), act))

    def start(self, run: Callable[[], object], *, after: int = 0) -> None:
        """Start a task, which may wait."""
        self.busy += 1

        def task() -> None:
            try:
                run()
            finally:
                self.busy -= 1

        self.at(self.now + after, lambda: greenlet(task).switch())

    def pause(self, millis: int) -> None:
        """Wait while other tasks run."""
        time = self.now + millis
        if time <= self._until and not (self._due and self._due[0][0] <= time):
            self.now = time  # nothing else is due before
            return
        self.at(time, getcurrent().switch)
        self._hub.switch()

    def gather(self, runs: Sequence[Callable[[], object]]) -> None:
        """Run tasks, and wait until all of them have ended."""
        left, waiting = len(runs), getcurrent()

        def task(run: Callable[[], object]) -> None:
            nonlocal left
            run()
            left -= 1
            if not left:
                self.at(self.now, waiting.switch)

        for run in runs:
            self.start(partial(task, run))
        if runs:
            self._hub.switch()

    def run(self, until: int) -> None:
        """Run everything that is due by a time. Errors are raised here."""
        self._hub, self._until = getcurrent(), until
        while self._due and self._due[0][0] <= until:
            self.now, _, act = heapq.heappop(self._due)
            act()
        self.now = until

    def drain(self, until: int) -> bool:
        """As ``run``, but only until no task is running; False if some still are."""
        self._hub, self._until = getcurrent(), until
        while self.busy and self._due and self._due[0][0] <= until:
            self.now, _, act = heapq.heappop(self._due)
            act()
        return not self.busy
