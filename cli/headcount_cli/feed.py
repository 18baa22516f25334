"""The WebSocket of a space, with reconnects."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urljoin, urlsplit

import aiohttp

from headcount_cli.api import Api, bearer, parsed
from headcount_cli.errors import CommandError
from headcount_cli.proxies import as_http, proxy_for
from headcount_cli.target import UNAUTHENTICATED, Target

PING_EVERY = 240.0  # seconds: the gateway closes a connection that is silent for ten minutes
ANSWER_WITHIN = 10.0
LONGEST_PAUSE, FIRST_PAUSE = 30.0, 0.5
_REFUSED = {401, 403}


@dataclass(frozen=True, slots=True)
class Update:
    """A message of the space, or a lost connection (``message`` is None), with the reason and the
    seconds until the next attempt."""

    message: dict[str, Any] | None
    reason: str = ""
    pause: float = 0.0


@dataclass
class Feed:
    """The messages of one space. ``token`` is called for every connection, as tokens expire."""

    url: str
    token: Callable[[], str | None]
    space: str
    session: aiohttp.ClientSession
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep
    chance: Callable[[], float] = random.random
    failures: int = field(default=0, init=False)

    async def listen(self) -> AsyncIterator[Update]:
        """All updates, without end. CommandError if the socket is refused: retrying can't help."""
        while True:
            try:
                async for message in self._connection():
                    self.failures = 0
                    yield Update(message)
                reason = "closed by the server"
            except aiohttp.WSServerHandshakeError as error:
                if error.status in _REFUSED:
                    raise CommandError(self._refusal(error.status)) from None
                reason = f"answered {error.status}"
            except (aiohttp.ClientError, TimeoutError, OSError) as error:
                reason = str(error) or "no answer in time"
            pause = self.pause()
            self.failures += 1
            yield Update(None, reason, pause)
            await self.sleep(pause)

    def pause(self) -> float:
        """Seconds before the next attempt: exponential backoff with jitter."""
        ceiling = min(LONGEST_PAUSE, FIRST_PAUSE * 2.0**self.failures)
        return max(FIRST_PAUSE, ceiling * (0.5 + self.chance() / 2))

    async def _connection(self) -> AsyncIterator[dict[str, Any]]:
        """One connection's messages until it ends. A peer that does not answer in time is gone."""
        token = self.token()
        proxy = proxy_for(self.url)
        async with self.session.ws_connect(
            as_http(self.url), headers=bearer(token), proxy=proxy
        ) as socket:
            await socket.send_json({"action": "subscribe", "space": self.space})
            awaits_answer = True
            while True:
                timeout = ANSWER_WITHIN if awaits_answer else PING_EVERY
                try:
                    text = await socket.receive_str(timeout=timeout)
                except TimeoutError:
                    if awaits_answer:
                        raise
                    await socket.send_json({"action": "ping"})
                    awaits_answer = True
                    continue
                except aiohttp.WSMessageTypeError:  # closed, or not text
                    return
                awaits_answer = False
                try:
                    message = parsed(text, self.url)
                except ValueError:
                    message = None
                if not isinstance(message, dict) or "type" not in message:
                    return  # the gateway's own error, or another server: the request was lost
                if message["type"] == "error":
                    raise CommandError(str(message["error"]))
                if message.get("space") == self.space:
                    yield message

    def _refusal(self, status: int) -> str:
        if self.token() is None:
            return f"The WebSocket was refused ({status}). {UNAUTHENTICATED}"
        return (
            f"The WebSocket was refused ({status}): the token is not valid, or not an admin's. "
            "`headcount token` makes a new one."
        )


async def socket_url_of(target: Target, api: Api) -> str:
    """The target's WebSocket address, or the one that the API gives the dashboard."""
    url = target.socket_url
    if url is None:
        url = str((await api.get("/dashboard/config.json"))["socketUrl"])
    url = urljoin(f"{target.url}/", url)
    if urlsplit(url).scheme in {"http", "https"}:
        url = url.replace("http", "ws", 1)
    return url
