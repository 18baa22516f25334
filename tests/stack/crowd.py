"""Visitors who come, move and go while something goes wrong, and say again what was not taken."""

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

from tests.stack.clients import Answer, Api, Message, beat, eventually, leave
from tests.stack.story import PAGES, Oracle

IN_FLIGHT = 4
PATIENCE = 60.0  # seconds until a message has to be acknowledged


@dataclass
class Crowd:
    """Sessions with one visitor each. The oracle hears what was acknowledged, and only that."""

    api: Api
    space: str
    size: int = 16
    oracle: Oracle = field(default_factory=Oracle)
    refusals: list[Answer] = field(default_factory=list)
    """Answers other than 200."""
    taken: int = 0
    longest: float = 0.0
    """Seconds that a message took until it was acknowledged, at most."""
    _over: bool = False

    @contextmanager
    def busy(self) -> Iterator[None]:
        """They come and go while the block runs; after it, all they said is acknowledged."""
        self._over = False
        going: Future[Any] = self.api.loop.start(self._go())
        try:
            yield
        finally:
            self._over = True
            going.result(PATIENCE + 30)

    async def _go(self) -> None:
        slots = asyncio.Semaphore(IN_FLIGHT)
        await asyncio.gather(*(self._visit(number, slots) for number in range(self.size)))

    async def _visit(self, number: int, slots: asyncio.Semaphore) -> None:
        chance = random.Random(number)  # noqa: S311 - a script, not a secret
        session, visitor = f"c{number}", f"cv{number}"
        user = f"cu{number}" if number % 4 == 0 else None
        seq = self.oracle.last.get(session, 0)
        while not self._over:
            seq += 1
            leaves = session in self.oracle.here and chance.random() < 0.25
            page = chance.choice(PAGES)
            who = {"visitorId": visitor, **({"userId": user} if user else {})}
            message = (
                leave(self.space, session, seq=seq)
                if leaves
                else beat(self.space, session, **who, page=page, seq=seq)
            )
            await self._say(message, slots)
            self.oracle.hear(session, seq, None if leaves else (user, visitor, page))
            await asyncio.sleep(chance.uniform(0.1, 0.6))

    async def _say(self, message: Message, slots: asyncio.Semaphore) -> None:
        """Until it is acknowledged."""
        began = time.monotonic()
        method, path, body = message
        while time.monotonic() - began < PATIENCE:
            try:
                async with slots:
                    answer = await self.api.ask(method, path, body=body)
            except (aiohttp.ClientError, TimeoutError):
                pass
            else:
                if answer.status == 200:
                    self.taken += 1
                    self.longest = max(self.longest, time.monotonic() - began)
                    return
                self.refusals.append(answer)
            await asyncio.sleep(0.3)
        raise AssertionError(f"{body} was not taken: {Counter(self.statuses())}")

    def go_on(self, messages: int, within: float = 60) -> None:
        """Wait until so many more messages were acknowledged."""
        goal = self.taken + messages
        eventually(lambda: self.taken >= goal, within, self.statuses)

    def statuses(self) -> Counter[int]:
        """How often which status was answered, the good one aside."""
        return Counter(answer.status for answer in self.refusals)
