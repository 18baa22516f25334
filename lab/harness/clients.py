"""Plain clients of a running stack, for synchronous tests; one event loop serves them all."""

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

import aiohttp

from lab.harness.events import path_of

Result = TypeVar("Result")
AT_ONCE = 6


class Loop:
    """An event loop in a separate thread, until the block ends."""

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
        """Run a coroutine in the background."""
        return asyncio.run_coroutine_threadsafe(work, self._loop)

    def run(self, work: Coroutine[Any, Any, Result], within: float = 60) -> Result:
        """Run a coroutine to its end."""
        return self.start(work).result(within)

    async def _end_tasks(self) -> None:
        tasks = asyncio.all_tasks() - {asyncio.current_task()}
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


@dataclass(frozen=True)
class Answer:
    """A response."""

    status: int
    headers: Mapping[str, str]  # case-insensitive
    text: str

    @property
    def body(self) -> Any:
        """The decoded JSON."""
        return json.loads(self.text)


@dataclass
class Api:
    """The HTTP API of a stack; reads by `get` use the admin's `token`."""

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
        """Send a request; `body` is sent as JSON, `data` unchanged."""
        all_headers = dict(headers or {})
        if token:
            all_headers["authorization"] = f"Bearer {token}"
        if body is not None:
            data = json.dumps(body).encode()
            all_headers.setdefault("content-type", "application/json")
        async with self._session.request(
            method, self.origin + path, data=data, headers=all_headers, allow_redirects=False
        ) as response:
            return Answer(response.status, response.headers, await response.text())

    def request(self, method: str, path: str, **rest: Any) -> Answer:
        """Send a request and wait, without a token unless one is given."""
        return self.loop.run(self.ask(method, path, **rest))

    def get(self, path: str) -> Answer:
        """Read as an admin."""
        return self.request("GET", path, token=self.token)

    def headcount(self, space: str) -> Any:
        """The published numbers of a space, read without a token."""
        answer = self.request("GET", path_of(space))
        assert answer.status == 200, answer
        return answer.body

    def beat(self, space: str, session: str, **rest: Any) -> Any:
        """Send a beat, which must be accepted; returns the response's body."""
        method, path, message = beat(space, session, **rest)
        answer = self.request(method, path, body=message)
        assert answer.status == 200, answer
        return answer.body

    def leave(self, space: str, session: str, **rest: Any) -> None:
        """Send a leave, which must be accepted."""
        method, path, message = leave(space, session, **rest)
        answer = self.request(method, path, body=message)
        assert answer.status == 200, answer

    def all(self, messages: Iterable[Message]) -> None:
        """Send many messages in parallel; each must be accepted."""
        for status, text in self.loop.run(self.send(messages), within=120):
            assert status == 200, text

    async def send(self, messages: Iterable[Message]) -> list[tuple[int, str]]:
        """Send many messages, a few at a time, and return (status, text) of each."""
        slots = asyncio.Semaphore(AT_ONCE)

        async def one(message: Message) -> tuple[int, str]:
            async with slots:
                method, path, body = message
                answer = await self.ask(method, path, body=body)
                return answer.status, answer.text

        return await asyncio.gather(*map(one, messages))


Message = tuple[str, str, dict[str, Any]]
"""Method, path, body."""


def beat(space: str, session: str, **rest: Any) -> Message:
    """The request of a beat."""
    return "POST", f"{path_of(space)}/presence", {"sessionId": session, **rest}


def leave(space: str, session: str, **rest: Any) -> Message:
    """The request of a leave."""
    return "POST", f"{path_of(space)}/presence/leave", {"sessionId": session, **rest}


@dataclass(frozen=True)
class Frame:
    """A received message, and when it arrived (`time.time`)."""

    at: float
    message: dict[str, Any]


@dataclass
class Dashboard:
    """A WebSocket client that keeps all frames it receives."""

    loop: Loop
    url: str
    frames: list[Frame] = field(default_factory=list)
    _sent_after: int = 0  # frames received before the last one was sent
    _ready: threading.Event = field(default_factory=threading.Event)

    def __enter__(self) -> Self:
        self._done = self.loop.start(self._listen())
        while not self._ready.wait(0.05):
            if self._done.done():
                self._done.result()  # raises the refusal
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
        """Whether the server closed it."""
        return self._done.done()

    def say(self, action: str, space: str | None = None) -> None:
        """Send an action."""
        message = {"action": action} if space is None else {"action": action, "space": space}
        self.say_raw(json.dumps(message))

    def say_raw(self, text: str) -> None:
        """Send any text."""
        self._sent_after = len(self.frames)
        self.loop.run(self._socket.send_str(text))

    def headcounts(self, space: str) -> list[Frame]:
        """The received headcounts of a space, in the order of their arrival."""
        return [
            frame
            for frame in list(self.frames)
            if frame.message["type"] == "headcount" and frame.message["space"] == space
        ]

    def people(self, space: str) -> int | None:
        """The people of a space according to the latest headcount."""
        received = self.headcounts(space)
        return received[-1].message["data"]["people"] if received else None

    def subscribe(self, space: str, within: float = 8) -> dict[str, Any]:
        """Subscribe, and wait for the first headcount."""
        before = len(self.headcounts(space))
        self.say("subscribe", space)
        eventually(lambda: len(self.headcounts(space)) > before, within, lambda: self.frames[-5:])
        return self.headcounts(space)[before].message

    def answer(self, kind: str, within: float = 8) -> dict[str, Any]:
        """Wait for the first message of a type since the last frame was sent."""

        def answers() -> list[dict[str, Any]]:
            received = list(self.frames)[self._sent_after :]
            return [frame.message for frame in received if frame.message["type"] == kind]

        eventually(answers, within, lambda: self.frames[-5:])
        return answers()[0]


def eventually(
    holds: Callable[[], Any], within: float, last: Callable[[], Any] = lambda: None
) -> Any:
    """Wait for a true value of `holds` and return it; fail at the deadline with the last states."""
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
    """The value of `read` once it equals `expected`, or at the deadline.

    A space of hundreds is counted every five seconds, and a busy machine is slower.
    """
    deadline = time.monotonic() + within
    while (seen := read()) != expected and time.monotonic() < deadline:
        time.sleep(0.2)
    return seen


def assert_no_gaps(frames: list[Frame]) -> None:
    """Versions grow one by one; repeats are allowed."""
    versions = [frame.message["version"] for frame in frames]
    steps = [later - earlier for earlier, later in pairwise(versions)]
    assert set(steps) <= {0, 1}, versions
