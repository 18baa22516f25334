"""How many sessions and beats one core and the local stack can handle.

    python -m lab.load

holds `--sessions` in this process, with the real handler, an in-memory database and a simulated
clock, and sends beats for `--seconds`. Then, if a local stack is running, it holds
`--stack-sessions` there for the same time, with a dashboard that listens. Both end by themselves,
connect only to this machine, and leave no session behind. Exit code 1: an error, or a wrong count.
"""

from __future__ import annotations

import argparse
import asyncio
import io
import sys
import time
import uuid
from bisect import bisect_left
from collections.abc import Callable, Sequence
from contextlib import redirect_stdout
from dataclasses import dataclass, field
from statistics import quantiles

import aiohttp
from headcount.times import SECOND

from lab.harness.clients import AT_ONCE, Api, Dashboard, Loop, Message, beat, leave, settled
from lab.harness.clock import Clock
from lab.harness.engines import Engine
from lab.harness.events import path_of
from lab.harness.memory import MemoryDynamoDB
from lab.harness.world import SITE, World, world_on
from local.outputs import running_stack
from local.settings import Settings, UsageError

BEAT = 30  # seconds between a session's beats, in process
STACK_BEAT = 5.0  # and on the stack, which handles some dozens of requests a second
WINDOW = 0.4  # share of the time on the stack in which its sessions join
PAGES = ("/", "/pricing", "/docs", "/blog", "/app")


@dataclass
class Load:
    """The result of a run. Times are seconds."""

    where: str
    held: int = 0
    counted: int = 0
    beats: int = 0
    seconds: float = 0.0  # duration of the beats
    errors: list[str] = field(default_factory=list)
    pushes: list[float] = field(default_factory=list)
    """From each join until a dashboard received a count that includes it."""

    @property
    def failed(self) -> bool:
        """Whether anything went wrong."""
        return bool(self.errors) or self.counted != self.held

    def lines(self) -> list[str]:
        """The lines to print."""
        rate = self.beats / self.seconds if self.seconds else 0.0
        held = f"{self.held:,} sessions held, {self.counted:,} counted"
        beats = f"{self.beats:,} beats in {self.seconds:.1f} s = {rate:,.0f} beats/s"
        lines = [f"{self.where}: {held}, {beats}, {len(self.errors)} errors"]
        if len(self.pushes) > 1:
            tenths, hundredths = quantiles(self.pushes, n=10), quantiles(self.pushes, n=100)
            lines.append(
                f"{self.where}: join to push p50 {tenths[4]:.2f} s, p90 {tenths[8]:.2f} s, "
                f"p99 {hundredths[98]:.2f} s, longest {max(self.pushes):.2f} s"
            )
        return lines + [f"  {error}" for error in self.errors[:10]]


def in_process(
    sessions: int, seconds: float, timer: Callable[[], float] = time.process_time
) -> Load:
    """Hold sessions in one space and send beats for `seconds` by the timer, at least one round.

    Measured is the handler's time on one core, including making the event and reading the answer.
    Recounts and sweeps continue, unmeasured.
    """
    database, clock = MemoryDynamoDB(), Clock()
    load = Load("in process")
    with (
        world_on(Engine("memory", database.connect), clock) as world,
        redirect_stdout(io.StringIO()),  # the cleanup's metrics
    ):
        for number in range(sessions):
            _beat(world, number, load)
        world.settle()
        while load.seconds < seconds and not load.errors:
            started = clock()
            for number in range(sessions):
                clock.now = max(clock.now, started + number * BEAT * SECOND // sessions)
                before = timer()
                _beat(world, number, load)
                load.seconds += timer() - before
                load.beats += 1
            world.sweep()
            world.settle()
            database.trim()
        load.held = sessions
        load.counted = world.headcount()["sessions"]
    return load


def _beat(world: World, number: int, load: Load) -> None:
    answer = world.http(
        "POST",
        f"{path_of(SITE)}/presence",
        body={"sessionId": f"s{number}", "visitorId": f"v{number}", "page": _page(number)},
    )
    if answer.status != 200:
        load.errors.append(f"a beat was answered {answer.status}: {answer.body}")


def on_stack(settings: Settings, sessions: int, seconds: float) -> Load:
    """Hold sessions in a new space on the running stack, then let them leave."""
    _, outputs = running_stack(settings)
    origin, token = outputs["origin"], outputs["adminToken"]
    space = f"site:load-{uuid.uuid4().hex[:8]}"
    with Loop() as loop, Api(loop, origin, token) as api:
        url = f"{outputs['webSocketUrl']}?token={token}"
        with Dashboard(loop, url) as dashboard:
            dashboard.subscribe(space)
            run = _StackRun(api, space, sessions, seconds)
            loop.run(run.hold(), within=seconds + 60)
            load = run.load
            load.counted = settled(lambda: api.headcount(space)["sessions"], load.held, 10)
            received = [
                (frame.message["data"]["sessions"], frame.at)
                for frame in dashboard.headcounts(space)
            ]
            load.pushes = waits(run.joins, received)
            loop.run(run.leave(), within=120)
    return load


def waits(joins: Sequence[float], received: Sequence[tuple[int, float]]) -> list[float]:
    """For each join, the time until a dashboard received a count that includes it.

    `joins` are times; `received` is (sessions, time) in the order of arrival, growing.
    """
    numbers = [sessions for sessions, _ in received]
    indexes = [bisect_left(numbers, place) for place in range(1, len(joins) + 1)]
    return [
        received[index][1] - sent
        for sent, index in zip(sorted(joins), indexes, strict=True)
        if index < len(received)
    ]


@dataclass
class _StackRun:
    """The sessions on the stack: each joins in its turn, then sends beats."""

    api: Api
    space: str
    sessions: int
    seconds: float
    load: Load = field(default_factory=lambda: Load("on the stack"))
    joins: list[float] = field(default_factory=list)

    async def hold(self) -> None:
        """Hold the sessions until the time is over."""
        self._slots = asyncio.Semaphore(AT_ONCE)
        self._began = time.monotonic()
        await asyncio.gather(*map(self._stay, range(self.sessions)))
        self.load.seconds = time.monotonic() - self._began

    async def leave(self) -> None:
        """End all sessions."""
        await asyncio.gather(
            *(self._send(leave(self.space, f"s{number}")) for number in range(self.sessions))
        )

    async def _stay(self, number: int) -> None:
        await asyncio.sleep(number * WINDOW * self.seconds / self.sessions)
        message = beat(self.space, f"s{number}", visitorId=f"v{number}", page=_page(number))
        joined = False
        while time.monotonic() - self._began < self.seconds:
            due = time.monotonic() + STACK_BEAT
            if await self._send(message, None if joined else self.joins):
                self.load.beats += 1
                self.load.held += not joined
                joined = True
            await asyncio.sleep(max(0.0, due - time.monotonic()))

    async def _send(self, message: Message, sent: list[float] | None = None) -> bool:
        method, path, body = message
        try:
            async with self._slots:
                if sent is not None:
                    sent.append(time.time())
                answer = await self.api.ask(method, path, body=body)
        except (aiohttp.ClientError, TimeoutError) as error:
            self.load.errors.append(repr(error))
            return False
        if answer.status != 200:
            self.load.errors.append(f"{method} was answered {answer.status}: {answer.text[:200]}")
        return answer.status == 200


def _page(number: int) -> str:
    return PAGES[number % len(PAGES)]


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="make load ARGS=...", description=__doc__)
    parser.add_argument("--sessions", type=int, default=10_000, help="in process (10000)")
    parser.add_argument("--stack-sessions", type=int, default=200, help="on the stack (200)")
    parser.add_argument("--seconds", type=float, default=30.0, help="duration of each (30)")
    args = parser.parse_args(arguments)
    loads = [in_process(args.sessions, args.seconds)]
    print(*loads[0].lines(), sep="\n", flush=True)
    try:
        loads.append(on_stack(Settings.from_environment(), args.stack_sessions, args.seconds))
        print(*loads[1].lines(), sep="\n")
    except UsageError as error:
        print(f"on the stack: skipped. {error}")
    return int(any(load.failed for load in loads))


if __name__ == "__main__":
    sys.exit(main())
