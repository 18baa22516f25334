"""Make-believe visitors for a running Headcount: they arrive, walk about, sign in and go."""

import asyncio
import math
import random
import signal
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from typing import Annotated, Any

import aiohttp
import typer

from headcount_cli.api import space_path
from headcount_cli.errors import CommandError
from headcount_cli.target import Asked, find
from headcount_cli.visitors import SITE, Person, Stay, Step, invent

# ruff: noqa: S311 - make-believe needs no secrets, and the one line is rewritten in place

IN_FLIGHT = 12
REQUEST_LIMIT = aiohttp.ClientTimeout(total=15)
BACKOFFS = (0.5, 1.5, 4.0)  # seconds before each further try
JITTER = 0.15  # beats come up to this share earlier than asked for
FAREWELL_LIMIT = 8.0
SETTLE_LIMIT = 5.0
LINE_EVERY = 5.0
TOLERATED_FAILURES = 0.01
MAX_VISITORS, MAX_DURATION = 5_000, 86_400
ENDING = (signal.SIGINT, signal.SIGTERM)


class RefusedError(Exception):
    """The server did not take a message, for all our trying."""


@dataclass(slots=True)
class Server:
    """The API as visitors see it; keeps count of requests and failures."""

    url: str
    session: aiohttp.ClientSession
    requests: int = 0
    failures: int = 0
    beats: int = 0
    complaints: Counter[str] = field(default_factory=Counter)
    _slots: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(IN_FLIGHT))

    async def beat(self, space: str, message: dict[str, Any]) -> dict[str, Any]:
        """Send a beat, with patience; RefusedError if it was not taken."""
        for backoff in (*BACKOFFS, None):
            try:
                answer = await self._post(f"{space_path(space)}/presence", message)
            except RefusedError:
                if backoff is None:
                    raise
                # Not part of what the seed decides: retries must not come in step.
                await asyncio.sleep(backoff * random.uniform(0.7, 1.3))
            else:
                self.beats += 1
                return answer
        raise AssertionError("unreachable")

    async def leave(self, space: str, session: str, seq: int) -> None:
        """Say goodbye, once."""
        await self._post(f"{space_path(space)}/presence/leave", {"sessionId": session, "seq": seq})

    async def people(self) -> int | None:
        """The published number of people on the site; None where that is not public."""
        async with self.session.get(self.url + space_path(SITE)) as answer:
            if answer.status in (401, 403):
                return None
            answer.raise_for_status()
            people: int = (await answer.json())["people"]
            return people

    async def _post(self, path: str, message: dict[str, Any]) -> dict[str, Any]:
        async with self._slots:
            self.requests += 1
            try:
                async with self.session.post(self.url + path, json=message) as answer:
                    body = await answer.json(content_type=None)
                    if answer.ok and isinstance(body, dict):
                        return body
                    said = f"{answer.status} {_words(body)}"
            except (aiohttp.ClientError, TimeoutError, ValueError) as error:
                said = str(error) or type(error).__name__
            self.failures += 1
            self.complaints[said] += 1
            raise RefusedError(said)


def _words(body: object) -> str:
    return str(body.get("error") or body.get("message")) if isinstance(body, dict) else "no words"


@dataclass(slots=True)
class Demo:
    """The people at it, and our own truth about who is here."""

    server: Server
    people: list[Person]
    seed: int
    began: float = field(default_factory=time.time)
    started: float = field(default_factory=time.monotonic)
    _seqs: Counter[str] = field(default_factory=Counter)
    _told: dict[tuple[str, str], None] = field(default_factory=dict)
    """(space, session) that the server may count, in the order of their first beat."""
    _here: dict[tuple[str, str], tuple[str, float]] = field(default_factory=dict)
    """(space, session) -> (person, the end of the lease)."""

    def elapsed(self) -> float:
        return time.monotonic() - self.started

    def here(self) -> int:
        """The people on the site as told to the server; who crashed counts until the lease ends."""
        now = time.monotonic()
        return len(
            {
                person
                for (space, _), (person, until) in self._here.items()
                if space == SITE and until > now
            }
        )

    async def run(self) -> None:
        """Everybody's whole visit."""
        async with asyncio.TaskGroup() as group:
            for person in self.people:
                for session in dict.fromkeys(stay.session for stay in person.stays):
                    stays = [stay for stay in person.stays if stay.session == session]
                    group.create_task(self._tab(person, stays))

    async def farewell(self) -> None:
        """Everybody who is still counted leaves, also tabs that crashed a moment ago."""
        await asyncio.gather(*(self._leave(space, session) for space, session in list(self._told)))

    async def _tab(self, person: Person, stays: list[Stay]) -> None:
        """One tab: a stay, and perhaps another after a while."""
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
        """Beat as the tab is now; returns in how many seconds the next one is due."""
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
        self._told[key] = None
        who = person.user if signed_in else person.visitor
        try:
            answer = await self.server.beat(stay.space, message)
        except RefusedError:
            return 10.0
        self._here[key] = who, time.monotonic() + float(answer["leaseSeconds"])
        return float(answer["nextBeatIn"])

    async def _leave(self, space: str, session: str) -> None:
        self._here.pop((space, session), None)
        self._told.pop((space, session), None)
        try:
            await self.server.leave(space, session, self._next_seq(session))
        except RefusedError:
            return  # its lease ends by itself

    def _next_seq(self, session: str) -> int:
        # From the clock on: a second run of the same people goes on where the first one ended.
        self._seqs[session] = max(self._seqs[session] + 1, int(self.began * 1000))
        return self._seqs[session]


def _step_at(stay: Stay, now: float) -> Step:
    return [step for step in stay.steps if step.at <= now or step is stay.steps[0]][-1]


@dataclass(slots=True)
class Progress:
    """One line, rewritten in place on a terminal."""

    demo: Demo
    duration: float
    terminal: bool = field(default_factory=sys.stdout.isatty)
    people: int | None = None

    async def keep_telling(self) -> None:
        """Until cancelled."""
        told = -math.inf
        while True:
            await self.look()
            if self.terminal or time.monotonic() - told >= LINE_EVERY:
                told = time.monotonic()
                self.tell()
            await asyncio.sleep(1)

    async def look(self) -> None:
        """Ask the server for its number; a failed look leaves the last one standing."""
        try:
            self.people = await self.demo.server.people()
        except (aiohttp.ClientError, TimeoutError, ValueError, KeyError):
            return

    def tell(self, end: bool = False) -> None:
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
    """The whole demo against a Headcount at `url`; the exit code."""
    async with AsyncExitStack() as stack:
        session = await stack.enter_async_context(
            aiohttp.ClientSession(timeout=REQUEST_LIMIT, trust_env=True)
        )
        server = Server(url, session)
        await _require_answer(server)
        demo = Demo(server, invent(seed, visitors, duration), seed)
        progress = Progress(demo, duration)
        print(f"{visitors} visitors for {duration:g} s at {url}, seed {seed}", flush=True)
        stop = stack.enter_context(_Stop())
        telling = await stack.enter_async_context(_background(progress.keep_telling))
        async with _background(demo.run) as running:
            await asyncio.wait(
                [running, stop.asked], timeout=duration, return_when=asyncio.FIRST_COMPLETED
            )
            if running.done():
                running.result()
        try:
            async with asyncio.timeout(FAREWELL_LIMIT):
                await demo.farewell()
        except TimeoutError:
            print("\nnot everybody could say goodbye: the rest expire by themselves", flush=True)
        telling.cancel()
        await _until_settled(progress)
        progress.tell(end=True)
    return _verdict(server)


async def _until_settled(progress: Progress) -> None:
    """Give the server a moment to publish the last goodbye."""
    deadline = time.monotonic() + SETTLE_LIMIT
    await progress.look()
    while progress.people and time.monotonic() < deadline:
        await asyncio.sleep(0.3)
        await progress.look()


def _verdict(server: Server) -> int:
    for said, times in server.complaints.most_common(5):
        print(f"  {times} x {said}", file=sys.stderr)
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
            f"{server.url} answers {error.status} to a headcount: is it a Headcount's address, "
            "without a path?"
        ) from None
    except (aiohttp.ClientError, TimeoutError, ValueError, KeyError) as error:
        raise CommandError(
            f"No Headcount answers at {server.url} ({error or type(error).__name__}). "
            "Start one with `make run`, or name another with --url."
        ) from None


class _Stop:
    """SIGINT and SIGTERM end the demo early, and politely."""

    def __init__(self) -> None:
        self.asked = asyncio.ensure_future(asyncio.Event().wait())

    def __enter__(self) -> "_Stop":
        for number in ENDING:
            asyncio.get_running_loop().add_signal_handler(number, self.asked.cancel)
        return self

    def __exit__(self, *_: object) -> None:
        for number in ENDING:
            asyncio.get_running_loop().remove_signal_handler(number)
        self.asked.cancel()


@asynccontextmanager
async def _background(work: Callable[[], Any]) -> AsyncIterator[asyncio.Task[None]]:
    """Runs beside the block and ends with it."""
    task: asyncio.Task[None] = asyncio.create_task(work())
    try:
        yield task
    finally:
        task.cancel()
        await asyncio.wait([task])


async def command(
    asked: Asked,
    visitors: Annotated[
        int, typer.Option(min=1, max=MAX_VISITORS, metavar="N", help="People.")
    ] = 200,
    duration: Annotated[
        float, typer.Option(min=1, max=MAX_DURATION, metavar="SECONDS", help="For how long.")
    ] = 300.0,
    seed: Annotated[int, typer.Option(metavar="N", help="Other seeds, other people.")] = 1,
) -> int:
    """Make-believe visitors: they arrive, walk about, sign in and go, and nobody is left behind.

    Example: [cyan]headcount demo --visitors 300 --duration 120[/]
    """
    return await perform(find(asked).url, visitors, duration, seed)
