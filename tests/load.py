"""How much one core and the local stack carry: sessions are held, and beats are counted.

    python -m tests.load

has the API's own handler hold `--sessions` in this process, on a database in memory and by a clock
that need not wait, and beats for `--seconds`. Then, if a local stack is running, it holds
`--stack-sessions` there for as long, with a dashboard that listens. Both end by themselves, speak
to nothing but this machine, and leave nobody behind. Exit code 1: an error, or a wrong count.
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
from urllib.parse import quote

import aiohttp
from headcount.times import SECOND

from local.outputs import running_stack
from local.settings import Settings, UsageError
from tests.stack.clients import AT_ONCE, Api, Dashboard, Loop, Message, beat, leave, settled
from tests.support.clock import Clock
from tests.support.engines import Engine
from tests.support.memory import MemoryDynamoDB
from tests.support.world import SITE, World, world_on

BEAT = 30  # seconds between a session's beats, in process
STACK_BEAT = 5.0  # and on the stack, which takes some dozens of requests a second
WINDOW = 0.4  # share of the time on the stack in which its sessions arrive
PAGES = ("/", "/pricing", "/docs", "/blog", "/app")


@dataclass
class Load:
    """What was carried. Times are seconds."""

    where: str
    held: int = 0
    counted: int = 0
    beats: int = 0
    seconds: float = 0.0  # that the beats took
    errors: list[str] = field(default_factory=list)
    pushes: list[float] = field(default_factory=list)
    """From a join until a dashboard was told of as many, each."""

    @property
    def failed(self) -> bool:
        """Whether anything went wrong."""
        return bool(self.errors) or self.counted != self.held

    def lines(self) -> list[str]:
        """What to print."""
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
    """Hold sessions in one space and beat for `seconds` by the timer, or a round at least.

    The beats' time is what the handler takes of one core, with the event's making and reading.
    Recounts and sweeps go on, untimed.
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
        f"/v1/spaces/{quote(SITE, safe='')}/presence",
        body={"sessionId": f"s{number}", "visitorId": f"v{number}", "page": _page(number)},
    )
    if answer.status != 200:
        load.errors.append(f"a beat was answered {answer.status}: {answer.body}")


def on_stack(settings: Settings, sessions: int, seconds: float) -> Load:
    """Hold sessions in a space of their own on the running stack, then let them leave."""
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
            heard = [
                (frame.message["data"]["sessions"], frame.at)
                for frame in dashboard.headcounts(space)
            ]
            load.pushes = waits(run.joins, heard)
            loop.run(run.leave(), within=120)
    return load


def waits(joins: Sequence[float], heard: Sequence[tuple[int, float]]) -> list[float]:
    """For each join, from when it was sent until a dashboard heard of as many sessions.

    `joins` are times; `heard` is (sessions, time) in the order of arrival, growing.
    """
    numbers = [sessions for sessions, _ in heard]
    told = [bisect_left(numbers, place) for place in range(1, len(joins) + 1)]
    return [
        heard[index][1] - sent
        for sent, index in zip(sorted(joins), told, strict=True)
        if index < len(heard)
    ]


@dataclass
class _StackRun:
    """A crowd on the stack: each session joins in its turn, then beats."""

    api: Api
    space: str
    sessions: int
    seconds: float
    load: Load = field(default_factory=lambda: Load("on the stack"))
    joins: list[float] = field(default_factory=list)

    async def hold(self) -> None:
        """Until the time is over."""
        self._slots = asyncio.Semaphore(AT_ONCE)
        self._began = time.monotonic()
        await asyncio.gather(*map(self._stay, range(self.sessions)))
        self.load.seconds = time.monotonic() - self._began

    async def leave(self) -> None:
        """All go."""
        await asyncio.gather(
            *(self._say(leave(self.space, f"s{number}")) for number in range(self.sessions))
        )

    async def _stay(self, number: int) -> None:
        await asyncio.sleep(number * WINDOW * self.seconds / self.sessions)
        message = beat(self.space, f"s{number}", visitorId=f"v{number}", page=_page(number))
        joined = False
        while time.monotonic() - self._began < self.seconds:
            due = time.monotonic() + STACK_BEAT
            if await self._say(message, None if joined else self.joins):
                self.load.beats += 1
                self.load.held += not joined
                joined = True
            await asyncio.sleep(max(0.0, due - time.monotonic()))

    async def _say(self, message: Message, sent: list[float] | None = None) -> bool:
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
    parser.add_argument("--seconds", type=float, default=30.0, help="of beats, each (30)")
    given = parser.parse_args(arguments)
    loads = [in_process(given.sessions, given.seconds)]
    print(*loads[0].lines(), sep="\n", flush=True)
    try:
        loads.append(on_stack(Settings.from_environment(), given.stack_sessions, given.seconds))
        print(*loads[1].lines(), sep="\n")
    except UsageError as error:
        print(f"on the stack: not tried. {error}")
    return int(any(load.failed for load in loads))


if __name__ == "__main__":
    sys.exit(main())
