"""Scheduled actions on a simulated clock, which also run while a handler sleeps."""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Callable
from threading import Semaphore, Thread

from lab.harness.clock import NOON, Clock


class Timeline(Clock):
    """A clock with an agenda. One action runs at a time, so that replays are deterministic.

    ``spawn`` what may sleep: the agenda continues while it does.
    """

    def __init__(self, now: int = NOON) -> None:
        super().__init__(now)
        self._agenda: list[tuple[int, int, Callable[[], None]]] = []
        self._order = itertools.count()
        self._running: _Task | None = None

    def at(self, when: float, act: Callable[[], None]) -> None:
        """Schedule an action for a time in epoch milliseconds."""
        heapq.heappush(self._agenda, (round(when), next(self._order), act))

    def run_until(self, end: int) -> None:
        """Run all actions that are due by then."""
        while self._agenda and self._agenda[0][0] <= end:
            when, _, act = heapq.heappop(self._agenda)
            self.now = max(self.now, when)
            act()
        self.now = end

    def spawn(self, work: Callable[[], None]) -> None:
        """Run something that may sleep; returns when it ends or sleeps."""
        self._resume(_Task(work))

    def sleep(self, seconds: float) -> None:
        """Sleep; only what was spawned can."""
        if seconds <= 0:
            return
        task = self._running
        if task is None:
            raise RuntimeError("only what was spawned can sleep: it would stop the agenda")
        self.slept.append(seconds)
        self.at(self.now + seconds * 1000, lambda: self._resume(task))
        task.pause()

    def _resume(self, task: _Task) -> None:
        before, self._running = self._running, task
        try:
            task.resume()
        finally:
            self._running = before


class _Task:
    """A thread that runs from `resume` until it pauses or ends, while the caller waits."""

    def __init__(self, work: Callable[[], None]) -> None:
        self._work = work
        self._turn = Semaphore(0)
        self._done = Semaphore(0)
        self._error: BaseException | None = None
        self._thread = Thread(target=self._run, daemon=True)
        self._thread.start()

    def resume(self) -> None:
        self._turn.release()
        self._done.acquire()
        if self._error is not None:
            raise self._error

    def pause(self) -> None:
        self._done.release()
        self._turn.acquire()

    def _run(self) -> None:
        self._turn.acquire()
        try:
            self._work()
        except BaseException as error:  # `resume` raises it again
            self._error = error
        self._done.release()
