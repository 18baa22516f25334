"""Things that happen in order on a clock that nobody waits for: also while a handler sleeps."""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Callable
from threading import Semaphore, Thread

from tests.support.clock import NOON, Clock


class Timeline(Clock):
    """A clock with an agenda. One thing runs at a time, so that a replay comes out the same again.

    Whatever may sleep is ``spawn``ed: while it does, the agenda goes on without it.
    """

    def __init__(self, now: int = NOON) -> None:
        super().__init__(now)
        self._agenda: list[tuple[int, int, Callable[[], None]]] = []
        self._order = itertools.count()
        self._running: _Task | None = None

    def at(self, when: float, act: Callable[[], None]) -> None:
        """Have something happen at a time in epoch milliseconds."""
        heapq.heappush(self._agenda, (round(when), next(self._order), act))

    def run_until(self, end: int) -> None:
        """Let everything happen that is due until then."""
        while self._agenda and self._agenda[0][0] <= end:
            when, _, act = heapq.heappop(self._agenda)
            self.now = max(self.now, when)
            act()
        self.now = end

    def spawn(self, work: Callable[[], None]) -> None:
        """Run something now, until it ends or sleeps."""
        self._go_on(_Task(work))

    def sleep(self, seconds: float) -> None:
        """Sleep, in what was spawned."""
        if seconds <= 0:
            return
        task = self._running
        if task is None:
            raise RuntimeError("only what was spawned may sleep: the agenda would stand still")
        self.slept.append(seconds)
        self.at(self.now + seconds * 1000, lambda: self._go_on(task))
        task.pause()

    def _go_on(self, task: _Task) -> None:
        before, self._running = self._running, task
        try:
            task.run_on()
        finally:
            self._running = before


class _Task:
    """A thread that runs only while it is told to, and hands back when it sleeps or ends."""

    def __init__(self, work: Callable[[], None]) -> None:
        self._work = work
        self._turn = Semaphore(0)
        self._done = Semaphore(0)
        self._error: BaseException | None = None
        self._thread = Thread(target=self._run, daemon=True)
        self._thread.start()

    def run_on(self) -> None:
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
        except BaseException as error:  # raised again where it was told to run on
            self._error = error
        self._done.release()
