"""The HTTP API as a command calls it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

import aiohttp

from headcount_cli.errors import CommandError, WrongCommandError
from headcount_cli.target import WITHOUT_ONE, Target, is_private

TIMEOUT = aiohttp.ClientTimeout(total=30)
PATIENCE = 30.0
"""Seconds: a longer Retry-After is not waited for, it is said."""
TRIES = 4
_WRONG, _UNAUTHORIZED, _FORBIDDEN, _NOT_FOUND, _TOO_MANY, _BUSY = 400, 401, 403, 404, 429, 503
_BROKEN = 500
PAGE = 100
"""Rows of a page: as many as the server gives at once."""

Sleep = Callable[[float], Awaitable[None]]


def space_path(space: str, *rest: str) -> str:
    """The path of a space, or of something in it."""
    return "/".join(["/v1/spaces", *(quote(part, safe="") for part in (space, *rest))])


@dataclass(frozen=True)
class Api:
    """Requests to one Headcount. What is refused is a CommandError that says how to mend it."""

    url: str
    token: str | None
    session: aiohttp.ClientSession
    sleep: Sleep = asyncio.sleep

    async def get(self, path: str, **query: object) -> Any:
        """Read; what was answered."""
        return await self.call("GET", path, query=query)

    async def call(
        self,
        method: str,
        path: str,
        *,
        body: Mapping[str, Any] | None = None,
        query: Mapping[str, object] | None = None,
    ) -> Any:
        """Call; 429 is waited out as long as it says, and so is 503 where nothing is changed."""
        given = {name: str(value) for name, value in (query or {}).items() if value is not None}
        headers = {"authorization": f"Bearer {self.token}"} if self.token else {}
        waits = {_TOO_MANY, _BUSY} if method == "GET" else {_TOO_MANY}
        for left in reversed(range(TRIES)):
            async with self._request(method, path, given, body, headers) as answer:
                said = await _decoded(answer)
                if answer.ok:
                    return said
                wait = retry_after(answer)
                if answer.status not in waits or wait is None or wait > PATIENCE or not left:
                    refusal = WrongCommandError if answer.status == _WRONG else CommandError
                    raise refusal(self._refused(answer.status, path, said, wait))
            await self.sleep(wait)
        raise AssertionError("unreachable")

    @asynccontextmanager
    async def _request(
        self,
        method: str,
        path: str,
        query: Mapping[str, str],
        body: Mapping[str, Any] | None,
        headers: Mapping[str, str],
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        try:
            async with self.session.request(
                method, self.url + path, params=query, json=body, headers=headers
            ) as answer:
                yield answer
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise CommandError(
                f"No Headcount answers at {self.url} ({error or type(error).__name__}). Is the "
                "address right, and for a local stack, does `make run` run?"
            ) from None

    def _refused(self, status: int, path: str, said: Any, wait: float | None) -> str:
        """What went wrong, in the server's words where it has any, and how to mend it."""
        words = _words(said)
        if status == _UNAUTHORIZED and not self.token:
            return f"{words or 'A token is needed.'} {WITHOUT_ONE}"
        mend = {
            _UNAUTHORIZED: "The token is not accepted: it may have expired, or be another "
            "deployment's. `headcount token` makes a new one.",
            _FORBIDDEN: "The token may not do this. It takes an admin's, or one with a scope for "
            "it (docs/security.md).",
            _NOT_FOUND: f"There is no {path} at {self.url}: is it a Headcount's address?",
            _TOO_MANY: f"Too much at once: try again in {wait or 1:.0f} s.",
        }.get(status, "")
        if status >= _BROKEN:
            mend = "Try again in a moment; if it stays so, `headcount doctor` looks for the cause."
        # Its own words know better than ours what is not there, or not allowed.
        is_told = status in {_FORBIDDEN, _NOT_FOUND} and "error" in (said or {})
        return f"{status}: {words}" if is_told else f"{status}: {words} {mend}".strip()


async def _decoded(answer: aiohttp.ClientResponse) -> Any:
    try:
        return await answer.json(content_type=None)
    except ValueError:
        return None


def _words(said: Any) -> str:
    """An error's words. The gateway's own bodies have only a `message`."""
    if not isinstance(said, dict):
        return ""
    return str(said.get("error") or said.get("message") or "")


def retry_after(answer: aiohttp.ClientResponse) -> float | None:
    """Seconds to wait by Retry-After; a second where the gateway says none; None: don't."""
    text = answer.headers.get("Retry-After", "")
    if text.isdecimal():
        return float(text)
    return 1.0 if answer.status == _TOO_MANY else None


def open_session() -> aiohttp.ClientSession:
    """A session that minds the environment's proxies."""
    return aiohttp.ClientSession(timeout=TIMEOUT, trust_env=True)


@asynccontextmanager
async def connected(
    target: Target, warn: Callable[[str], None] = lambda _: None
) -> AsyncIterator[Api]:
    """The API of a target."""
    token = target.token()
    if token and not is_private(target.url):
        warn(f"{target.url} is not encrypted: whoever is on the way can read the token.")
    async with open_session() as session:
        yield Api(target.url, token, session)


async def pages(api: Api, path: str, rows: str) -> AsyncIterator[list[Any]]:
    """Every page of a listing that goes on by a cursor."""
    cursor: str | None = None
    while True:
        page = await api.get(path, limit=PAGE, cursor=cursor)
        yield page[rows]
        cursor = page.get("cursor")
        if cursor is None:
            return
