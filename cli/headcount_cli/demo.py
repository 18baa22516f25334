"""Simulated visitors for a running Headcount: they arrive, browse, sign in and leave."""

import asyncio
import math
import random
import signal
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Annotated, Any

import aiohttp
import typer

from headcount_cli.api import space_path
from headcount_cli.demo_visitors import SITE, Person, Stay, Step, invent
from headcount_cli.errors import CommandError
from headcount_cli.proxies import proxy_for
from headcount_cli.target import Options, find_target

# ruff: noqa: S311 - a simulation needs no secure randomness

IN_FLIGHT = 12
REQUEST_LIMIT = aiohttp.ClientTimeout(total=15)
BACKOFFS = (0.5, 1.5, 4.0)  # seconds before each further attempt
JITTER = 0.15  # share by which beats come earlier than required
LEAVE_LIMIT = 8.0
SETTLE_LIMIT = 5.0
LINE_EVERY = 5.0
TOLERATED_FAILURES = 0.01
MAX_VISITORS, MAX_DURATION = 5_000, 86_400
STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM)


class RefusedError(Exception):
    """The server refused a message, or did not answer."""


@dataclass(slots=True)
class Server:
    """The API as visitors use it, with a count of requests and failures."""

    url: str
    session: aiohttp.ClientSession
    requests: int = 0
    failures: int = 0
    beats: int = 0
    errors: Counter[str] = field(default_factory=Counter)
    _slots: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(IN_FLIGHT))

    async def beat(self, space: str, message: dict[str, Any]) -> dict[str, Any]:
        """Send a beat, with retries. RefusedError if none succeeds."""
        for backoff in (*BACKOFFS, None):
            try:
                answer = await self._post(f"{space_path(space)}/presence", message)
                if not {"leaseSeconds", "nextBeatIn"} <= answer.keys():
                    raise RefusedError("the answer to a beat is not a Headcount's")
            except RefusedError:
                if backoff is None:
                    raise
                # Not seeded: retries of several runs must not coincide.
                await asyncio.sleep(backoff * random.uniform(0.7, 1.3))
            else:
                self.beats += 1
                return answer
        raise AssertionError("unreachable")

    async def leave(self, space: str, session: str, seq: int) -> None:
        """Send a leave, without retries."""
        await self._post(f"{space_path(space)}/presence/leave", {"sessionId": session, "seq": seq})

    async def people(self) -> int | None:
        """The published number of people on the site; None if it is not public."""
        url = self.url + space_path(SITE)
        async with self.session.get(url, proxy=proxy_for(url)) as answer:
            if answer.status in (401, 403):
                return None
            answer.raise_for_status()
            body = await answer.json(content_type=None)
            people = body.get("people") if isinstance(body, dict) else None
            if isinstance(people, int):
                return people
            raise ValueError(f"{answer.status}, but no number of people")

    async def _post(self, path: str, message: dict[str, Any]) -> dict[str, Any]:
        async with self._slots:
            self.requests += 1
            try:
                async with self.session.post(
                    self.url + path, json=message, proxy=proxy_for(self.url)
                ) as answer:
                    body = await answer.json(content_type=None)
                    if answer.ok and isinstance(body, dict):
                        return body
                    reason = f"{answer.status} {_error_of(body)}"
            except (aiohttp.ClientError, TimeoutError, ValueError) as error:
                reason = str(error) or type(error).__name__
            self.failures += 1
            self.errors[reason] += 1
            raise RefusedError(reason)


def _error_of(body: object) -> str:
    return str(body.get("error") or body.get("message")) if isinstance(body, dict) else "no error"


@dataclass(slots=True)
class Demo:
    """The simulated people, and the demo's own count of who is here."""

    server: Server
    people: list[Person]
    seed: int
    began: float = field(default_factory=time.time)
    started: float = field(default_factory=time.monotonic)
    _seqs: Counter[str] = field(default_factory=Counter)
    _beating: dict[tuple[str, str], None] = field(default_factory=dict)
    """Each (space, session) that the server may count, in the order of their first beats."""
    _here: dict[tuple[str, str], tuple[str, float]] = field(default_factory=dict)
    """(space, session) -> (person, the end of the lease)."""

    def elapsed(self) -> float:
        return time.monotonic() - self.started

    def here(self) -> int:
        """The people on the site. Crashed sessions count until their lease ends."""
        now = time.monotonic()
        return len(
            {
                person
                for (space, _), (person, until) in self._here.items()
                if space == SITE and until > now
            }
        )

    async def run(self) -> None:
        """Run everyone's visits."""
        async with asyncio.TaskGroup() as group:
            for person in self.people:
                for session in dict.fromkeys(stay.session for stay in person.stays):
                    stays = [stay for stay in person.stays if stay.session == session]
                    group.create_task(self._tab(person, stays))

    async def end_all(self) -> None:
        """End every session that may still be counted, crashed ones too."""
        await asyncio.gather(
            *(self._leave(space, session) for space, session in list(self._beating))
        )

    async def _tab(self, person: Person, stays: list[Stay]) -> None:
        """One tab: a stay, and possibly another one later."""
        for stay in sorted(stays, key=lambda stay: stay.steps[0].at):
            await self._stay(person, stay)

    async def _stay(self, person: Person, stay: Stay) -> None:
        chance = random.Random(f"{self.seed}/{stay.session}/{stay.steps[0].at}")
        changes = [step.at for step in stay.steps]
        if person.signs_in_at is not None:
            changes.append(person.signs_in_at)
        due = stay.steps[0].at
        while due < stay.until:
            await asyncio.sleep(due - self.elapsed())
            due = max(due, self.elapsed())
            interval = await self._beat(person, stay, due)
            due += interval * (1 - JITTER * chance.random())
            due = min([due, *(at for at in changes if self.elapsed() < at)])
        await asyncio.sleep(stay.until - self.elapsed())
        if stay.ending == "leave":
            await self._leave(stay.space, stay.session)

    async def _beat(self, person: Person, stay: Stay, now: float) -> float:
        """Send the tab's current state; returns the seconds until the next beat is due."""
        step = _step_at(stay, now)
        signed_in = person.signs_in_at is not None and person.signs_in_at <= now
        message: dict[str, Any] = {
            "sessionId": stay.session,
            "visitorId": person.visitor,
            "facets": dict(step.facets),
            "state": "hidden" if step.hidden else "active",
            "seq": self._next_seq(stay.session),
        }
        if signed_in:
            message |= {"userId": person.user, "name": person.name}
        if step.page:
            message["page"] = step.page
        key = (stay.space, stay.session)
        self._beating[key] = None
        who = person.user if signed_in else person.visitor
        try:
            answer = await self.server.beat(stay.space, message)
        except RefusedError:
            return 10.0
        self._here[key] = who, time.monotonic() + float(answer["leaseSeconds"])
        return float(answer["nextBeatIn"])

    async def _leave(self, space: str, session: str) -> None:
        self._here.pop((space, session), None)
        self._beating.pop((space, session), None)
        try:
            await self.server.leave(space, session, self._next_seq(session))
        except RefusedError:
            return  # its lease will end

    def _next_seq(self, session: str) -> int:
        # Starts from the clock: a second run with the same seed continues the sequence.
        self._seqs[session] = max(self._seqs[session] + 1, int(self.began * 1000))
        return self._seqs[session]


def _step_at(stay: Stay, now: float) -> Step:
    return [step for step in stay.steps if step.at <= now or step is stay.steps[0]][-1]


def _is_terminal() -> bool:
    return sys.stdout.isatty()  # looked up late: it may be closed


@dataclass(slots=True)
class Progress:
    """A line of progress, rewritten in place on a terminal."""

    demo: Demo
    duration: float
    terminal: bool = field(default_factory=_is_terminal)
    people: int | None = None

    async def keep_showing(self) -> None:
        """Until cancelled."""
        printed = -math.inf
        while True:
            await self.refresh()
            if self.terminal or time.monotonic() - printed >= LINE_EVERY:
                printed = time.monotonic()
                self.show()
            await asyncio.sleep(1)

    async def refresh(self) -> None:
        """Read the server's number; keep the last one if that fails."""
        try:
            self.people = await self.demo.server.people()
        except (aiohttp.ClientError, TimeoutError, ValueError):
            return

    def show(self, end: bool = False) -> None:
        """Print the line."""
        demo, server = self.demo, self.demo.server
        line = (
            f"{min(demo.elapsed(), self.duration):5.0f}/{self.duration:.0f} s   "
            f"here now {demo.here():<5} server {'-' if self.people is None else self.people:<5} "
            f"beats {server.beats:<7} errors {server.failures}"
        )
        if self.terminal:
            print(f"\r\x1b[K{line}", end="\n" if end else "", flush=True)
        else:
            print(line, flush=True)


async def perform(url: str, visitors: int, duration: float, seed: int) -> int:
    """Run the demo against the Headcount at `url`; returns the exit code."""
    async with aiohttp.ClientSession(timeout=REQUEST_LIMIT) as session:
        server = Server(url, session)
        await _require_answer(server)
        demo = Demo(server, invent(seed, visitors, duration), seed)
        progress = Progress(demo, duration)
        print(f"{visitors} visitors for {duration:g} s at {url}, seed {seed}", flush=True)
        stop = asyncio.Event()
        for number in STOP_SIGNALS:  # end early, with a leave for every session
            asyncio.get_running_loop().add_signal_handler(number, stop.set)
        async with _background(progress.keep_showing()), _background(stop.wait()) as stopped:
            async with _background(demo.run()) as running:
                await asyncio.wait(
                    [running, stopped], timeout=duration, return_when=asyncio.FIRST_COMPLETED
                )
                if running.done():
                    running.result()
            try:
                async with asyncio.timeout(LEAVE_LIMIT):
                    await demo.end_all()
            except TimeoutError:
                print("\nnot every session could be ended: the others expire", flush=True)
        await _until_settled(progress)
        progress.show(end=True)
    return _exit_code(server)


async def _until_settled(progress: Progress) -> None:
    """Wait until the server has published the last leave."""
    deadline = time.monotonic() + SETTLE_LIMIT
    await progress.refresh()
    while progress.people and time.monotonic() < deadline:
        await asyncio.sleep(0.3)
        await progress.refresh()


def _exit_code(server: Server) -> int:
    for reason, times in server.errors.most_common(5):
        print(f"  {times} x {reason}", file=sys.stderr)
    if server.failures > TOLERATED_FAILURES * server.requests:
        print(
            f"{server.failures} of {server.requests} requests failed: more than "
            f"{TOLERATED_FAILURES:.0%}.",
            file=sys.stderr,
        )
        return 1
    return 0


async def _require_answer(server: Server) -> None:
    try:
        await server.people()
    except aiohttp.ClientResponseError as error:
        raise CommandError(
            f"{server.url} answers {error.status}. Is it a Headcount's address, without a path?"
        ) from None
    except (aiohttp.ClientError, TimeoutError, ValueError) as error:
        raise CommandError(
            f"No Headcount answers at {server.url} ({error or type(error).__name__}). "
            "Start one with `make run`, or name another one with --url."
        ) from None


@asynccontextmanager
async def _background(work: Coroutine[Any, Any, Any]) -> AsyncIterator[asyncio.Task[Any]]:
    """Run a task during the block."""
    task = asyncio.create_task(work)
    try:
        yield task
    finally:
        task.cancel()
        await asyncio.wait([task])


async def command(
    options: Options,
    visitors: Annotated[
        int, typer.Option(min=1, max=MAX_VISITORS, metavar="N", help="How many people.")
    ] = 200,
    duration: Annotated[
        float, typer.Option(min=1, max=MAX_DURATION, metavar="SECONDS", help="For how long.")
    ] = 300.0,
    seed: Annotated[
        int, typer.Option(metavar="N", help="The same seed simulates the same people.")
    ] = 1,
) -> int:
    """Simulate visitors who arrive, browse, sign in and leave. All of them have left at the end.

    Example: [cyan]headcount demo --visitors 300 --duration 120[/]
    """
    return await perform(find_target(options).url, visitors, duration, seed)
