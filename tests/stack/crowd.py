"""Visitors who join, move and leave during faults, and repeat messages until acknowledged."""

from __future__ import annotations

import asyncio
import random
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import aiohttp

from lab.harness.clients import Answer, Api, Message, beat, eventually, leave
from tests.stack.story import PAGES, Oracle

IN_FLIGHT = 4
ACK_TIMEOUT = 60.0  # seconds in which a message must be acknowledged


@dataclass
class Crowd:
    """Sessions with one visitor each. The oracle gets only acknowledged messages."""

    api: Api
    space: str
    size: int = 16
    oracle: Oracle = field(default_factory=Oracle)
    refusals: list[Answer] = field(default_factory=list)
    """Answers other than 200."""
    acknowledged: int = 0
    longest: float = 0.0
    """The longest time until a message was acknowledged, in seconds."""
    _ending: bool = False

    @contextmanager
    def busy(self) -> Iterator[None]:
        """Run the visitors during the block; at its end, all their messages are acknowledged."""
        self._ending = False
        running: Future[Any] = self.api.loop.start(self._run())
        try:
            yield
        finally:
            self._ending = True
            running.result(ACK_TIMEOUT + 30)

    async def _run(self) -> None:
        slots = asyncio.Semaphore(IN_FLIGHT)
        await asyncio.gather(*(self._visit(number, slots) for number in range(self.size)))

    async def _visit(self, number: int, slots: asyncio.Semaphore) -> None:
        chance = random.Random(number)  # noqa: S311 - a script, not a secret
        session, visitor = f"c{number}", f"cv{number}"
        user = f"cu{number}" if number % 4 == 0 else None
        seq = self.oracle.last.get(session, 0)
        while not self._ending:
            seq += 1
            leaves = session in self.oracle.here and chance.random() < 0.25
            page = chance.choice(PAGES)
            person = {"visitorId": visitor, **({"userId": user} if user else {})}
            message = (
                leave(self.space, session, seq=seq)
                if leaves
                else beat(self.space, session, **person, page=page, seq=seq)
            )
            await self._send(message, slots)
            self.oracle.apply(session, seq, None if leaves else (user, visitor, page))
            await asyncio.sleep(chance.uniform(0.1, 0.6))

    async def _send(self, message: Message, slots: asyncio.Semaphore) -> None:
        """Send a message until it is acknowledged."""
        began = time.monotonic()
        method, path, body = message
        while time.monotonic() - began < ACK_TIMEOUT:
            try:
                async with slots:
                    answer = await self.api.ask(method, path, body=body)
            except (aiohttp.ClientError, TimeoutError):
                pass
            else:
                if answer.status == 200:
                    self.acknowledged += 1
                    self.longest = max(self.longest, time.monotonic() - began)
                    return
                self.refusals.append(answer)
            await asyncio.sleep(0.3)
        raise AssertionError(f"{body} was not acknowledged: {Counter(self.statuses())}")

    def go_on(self, messages: int, within: float = 60) -> None:
        """Wait until this many more messages are acknowledged."""
        goal = self.acknowledged + messages
        eventually(lambda: self.acknowledged >= goal, within, self.statuses)

    def statuses(self) -> Counter[int]:
        """The number of each status other than 200."""
        return Counter(answer.status for answer in self.refusals)
