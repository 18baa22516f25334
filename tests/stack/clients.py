"""Plain clients of a running stack. One event loop in a thread serves all: tests are sync."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from collections.abc import Callable, Coroutine, Iterable, Mapping
from concurrent.futures import Future
from dataclasses import dataclass, field
from itertools import pairwise
from types import TracebackType
from typing import Any, Self, TypeVar
from urllib.parse import quote

import aiohttp

Result = TypeVar("Result")
AT_ONCE = 6


class Loop:
    """An event loop in a thread of its own, until the block ends."""

    def __enter__(self) -> Self:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="clients", daemon=True)
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.run(self._end_tasks())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()

    def start(self, work: Coroutine[Any, Any, Result]) -> Future[Result]:
        """Run beside the test."""
        return asyncio.run_coroutine_threadsafe(work, self._loop)

    def run(self, work: Coroutine[Any, Any, Result], within: float = 60) -> Result:
        """Run to its end."""
        return self.start(work).result(within)

    async def _end_tasks(self) -> None:
        tasks = asyncio.all_tasks() - {asyncio.current_task()}
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


@dataclass(frozen=True)
class Answer:
    """What came back."""

    status: int
    headers: Mapping[str, str]  # case-insensitive
    text: str

    @property
    def body(self) -> Any:
        """The decoded JSON."""
        return json.loads(self.text)


@dataclass
class Api:
    """The HTTP API of a stack; `token` goes along unless a call says another, or None."""

    loop: Loop
    origin: str
    token: str
    _session: aiohttp.ClientSession = field(init=False)

    def __enter__(self) -> Self:
        self._session = self.loop.run(self._open())
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.loop.run(self._session.close())

    async def _open(self) -> aiohttp.ClientSession:
        return aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=40))

    async def ask(
        self,
        method: str,
        path: str,
        *,
        token: str | None = None,
        body: Any = None,
        data: bytes | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Answer:
        """One request; `body` is sent as JSON, `data` as it is."""
        sent = dict(headers or {})
        if token:
            sent["authorization"] = f"Bearer {token}"
        if body is not None:
            data = json.dumps(body).encode()
            sent.setdefault("content-type", "application/json")
        async with self._session.request(
            method, self.origin + path, data=data, headers=sent, allow_redirects=False
        ) as answer:
            return Answer(answer.status, answer.headers, await answer.text())

    def request(self, method: str, path: str, **rest: Any) -> Answer:
        """One request, without a token unless one is given."""
        return self.loop.run(self.ask(method, path, **rest))

    def get(self, path: str) -> Answer:
        """A read by an admin."""
        return self.request("GET", path, token=self.token)

    def headcount(self, space: str) -> Any:
        """The published numbers of a space, as anybody may read them."""
        answer = self.request("GET", path_of(space))
        assert answer.status == 200, answer
        return answer.body

    def beat(self, space: str, session: str, **rest: Any) -> Any:
        """A beat that has to be taken; its answer."""
        method, path, message = beat(space, session, **rest)
        answer = self.request(method, path, body=message)
        assert answer.status == 200, answer
        return answer.body

    def leave(self, space: str, session: str, **rest: Any) -> None:
        """A polite leave."""
        method, path, message = leave(space, session, **rest)
        answer = self.request(method, path, body=message)
        assert answer.status == 200, answer

    def all(self, messages: Iterable[Message]) -> None:
        """Send many at once; each has to be taken."""
        for status, text in self.loop.run(self.send(messages), within=120):
            assert status == 200, text

    async def send(self, messages: Iterable[Message]) -> list[tuple[int, str]]:
        """Send many, a few at a time, and return (status, text) of each."""
        slots = asyncio.Semaphore(AT_ONCE)

        async def one(message: Message) -> tuple[int, str]:
            async with slots:
                method, path, body = message
                answer = await self.ask(method, path, body=body)
                return answer.status, answer.text

        return await asyncio.gather(*map(one, messages))


Message = tuple[str, str, dict[str, Any]]
"""Method, path, body."""


def path_of(space: str) -> str:
    """A space's path in the API."""
    return f"/v1/spaces/{quote(space, safe='')}"


def beat(space: str, session: str, **rest: Any) -> Message:
    """A beat, to be sent."""
    return "POST", f"{path_of(space)}/presence", {"sessionId": session, **rest}


def leave(space: str, session: str, **rest: Any) -> Message:
    """A leave, to be sent."""
    return "POST", f"{path_of(space)}/presence/leave", {"sessionId": session, **rest}


@dataclass(frozen=True)
class Frame:
    """A message, and when it arrived (`time.time`)."""

    at: float
    message: dict[str, Any]


@dataclass
class Dashboard:
    """A WebSocket client that keeps all it hears."""

    loop: Loop
    url: str
    frames: list[Frame] = field(default_factory=list)
    _said_at: int = 0  # frames heard before the last thing said
    _ready: threading.Event = field(default_factory=threading.Event)

    def __enter__(self) -> Self:
        self._done = self.loop.start(self._listen())
        while not self._ready.wait(0.05):
            if self._done.done():
                self._done.result()  # raises what refused us
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.loop.run(self._socket.close())
        self._done.result(10)

    async def _listen(self) -> None:
        async with (
            aiohttp.ClientSession() as session,
            session.ws_connect(self.url, heartbeat=None) as socket,
        ):
            self._socket = socket
            self._ready.set()
            async for message in socket:
                self.frames.append(Frame(time.time(), json.loads(message.data)))

    @property
    def closed(self) -> bool:
        """Whether the server ended it."""
        return self._done.done()

    def say(self, action: str, space: str | None = None) -> None:
        """Send an action."""
        message = {"action": action} if space is None else {"action": action, "space": space}
        self.say_raw(json.dumps(message))

    def say_raw(self, text: str) -> None:
        """Send whatever."""
        self._said_at = len(self.frames)
        self.loop.run(self._socket.send_str(text))

    def headcounts(self, space: str) -> list[Frame]:
        """The versions of a space it heard, in the order of their arrival."""
        return [
            frame
            for frame in list(self.frames)
            if frame.message["type"] == "headcount" and frame.message["space"] == space
        ]

    def people(self, space: str) -> int | None:
        """What it would show for a space now."""
        heard = self.headcounts(space)
        return heard[-1].message["data"]["people"] if heard else None

    def subscribe(self, space: str, within: float = 8) -> dict[str, Any]:
        """Subscribe, and wait for the first headcount."""
        before = len(self.headcounts(space))
        self.say("subscribe", space)
        eventually(lambda: len(self.headcounts(space)) > before, within, lambda: self.frames[-5:])
        return self.headcounts(space)[before].message

    def answer(self, kind: str, within: float = 8) -> dict[str, Any]:
        """The first message of that type since the last thing said."""

        def since() -> list[dict[str, Any]]:
            heard = list(self.frames)[self._said_at :]
            return [frame.message for frame in heard if frame.message["type"] == kind]

        eventually(since, within, lambda: self.frames[-5:])
        return since()[0]


def eventually(
    holds: Callable[[], Any], within: float, last: Callable[[], Any] = lambda: None
) -> Any:
    """The first true value of `holds`; fails with the last states seen when the time is up."""
    deadline = time.monotonic() + within
    seen: list[Any] = []
    while True:
        value = holds()
        if value:
            return value
        state = last()
        if not seen or seen[-1] != state:
            seen.append(state)
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {within} s; the last states: {seen[-4:]}")
        time.sleep(0.1)


def settled(read: Callable[[], Any], expected: Any, within: float = 20) -> Any:
    """What `read` gives once it equals `expected`, or at the deadline.

    A space of hundreds is counted every five seconds, and a busy machine takes its time.
    """
    deadline = time.monotonic() + within
    while (seen := read()) != expected and time.monotonic() < deadline:
        time.sleep(0.2)
    return seen


def assert_no_gaps(frames: list[Frame]) -> None:
    """Versions grow one by one; repeats may be."""
    versions = [frame.message["version"] for frame in frames]
    steps = [later - earlier for earlier, later in pairwise(versions)]
    assert set(steps) <= {0, 1}, versions
