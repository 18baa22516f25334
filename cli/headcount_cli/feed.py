"""What a space's WebSocket says, version by version, however often the connection is lost."""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urljoin, urlsplit

import aiohttp

from headcount_cli.api import Api
from headcount_cli.errors import CommandError
from headcount_cli.target import WITHOUT_ONE, Target

PING_EVERY = 240.0  # seconds: the gateway closes what is silent for ten minutes
ANSWER_WITHIN = 10.0
LONGEST_PAUSE, FIRST_PAUSE = 30.0, 0.5
_REFUSED = {401, 403}


@dataclass(frozen=True, slots=True)
class Heard:
    """A message of the space, or that the connection was lost (then ``message`` is None)."""

    message: dict[str, Any] | None
    lost: str = ""
    pause: float = 0.0


@dataclass
class Feed:
    """The messages of one space; ``token`` is asked at every connection, for it may expire."""

    url: str
    token: Callable[[], str | None]
    space: str
    session: aiohttp.ClientSession
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep
    chance: Callable[[], float] = random.random
    failures: int = field(default=0, init=False)

    async def listen(self) -> AsyncIterator[Heard]:
        """For ever. CommandError where the socket is refused: no later try would do better."""
        while True:
            try:
                async for message in self._connection():
                    self.failures = 0
                    yield Heard(message)
                why = "closed by the server"
            except aiohttp.WSServerHandshakeError as error:
                if error.status in _REFUSED:
                    raise CommandError(self._refused(error.status)) from None
                why = f"answered {error.status}"
            except (aiohttp.ClientError, TimeoutError, OSError) as error:
                why = str(error) or "no answer in time"
            pause = self.pause()
            self.failures += 1
            yield Heard(None, why, pause)
            await self.sleep(pause)

    def pause(self) -> float:
        """Seconds before the next try: longer each time, by chance, lest all come at once."""
        ceiling = min(LONGEST_PAUSE, FIRST_PAUSE * 2.0**self.failures)
        return max(FIRST_PAUSE, ceiling * (0.5 + self.chance() / 2))

    async def _connection(self) -> AsyncIterator[dict[str, Any]]:
        """One connection's messages to its end; a peer that does not answer in time has gone."""
        token = self.token()
        headers = {"authorization": f"Bearer {token}"} if token else {}
        async with self.session.ws_connect(self.url, headers=headers) as socket:
            await socket.send_json({"action": "subscribe", "space": self.space})
            asked = True
            while True:
                try:
                    text = await socket.receive_str(timeout=ANSWER_WITHIN if asked else PING_EVERY)
                except TimeoutError:
                    if asked:
                        raise
                    await socket.send_json({"action": "ping"})
                    asked = True
                    continue
                except aiohttp.WSMessageTypeError:  # a close, or what is no text
                    return
                asked = False
                message = json.loads(text)
                if "type" not in message:  # the gateway's own: what was asked got lost
                    return
                if message["type"] == "error":
                    raise CommandError(str(message["error"]))
                if message.get("space") == self.space:
                    yield message

    def _refused(self, status: int) -> str:
        if self.token() is None:
            return f"The WebSocket was refused ({status}). {WITHOUT_ONE}"
        return (
            f"The WebSocket was refused ({status}): the token is not accepted, or is no admin's. "
            "`headcount token` makes a new one."
        )


async def socket_url_of(target: Target, api: Api) -> str:
    """Where to listen: what the target says, else what the dashboard is told."""
    url = target.socket_url
    if url is None:
        told = await api.get("/dashboard/config.json")
        url = str(told["socketUrl"])
    url = urljoin(f"{target.url}/", url)
    if urlsplit(url).scheme in {"http", "https"}:
        url = url.replace("http", "ws", 1)
    return url
