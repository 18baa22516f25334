"""The HTTP API, as the commands call it."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

import aiohttp

from headcount_cli.errors import CommandError, RefusedError, WrongCommandError, sentence
from headcount_cli.output import note
from headcount_cli.proxies import proxy_for
from headcount_cli.target import UNAUTHENTICATED, Target, is_private

TIMEOUT = aiohttp.ClientTimeout(total=30)
LONGEST_WAIT = 30.0
"""Seconds: a longer Retry-After is reported instead of waited for."""
ATTEMPTS = 4
_WRONG, _UNAUTHORIZED, _FORBIDDEN, _NOT_FOUND, _TOO_MANY, _BUSY = 400, 401, 403, 404, 429, 503
_SERVER_ERROR = 500
_REFUSALS = {_WRONG: WrongCommandError, _UNAUTHORIZED: RefusedError, _FORBIDDEN: RefusedError}
PAGE = 100
"""Rows of a page: the most that the server returns at once."""

Sleep = Callable[[float], Awaitable[None]]


ROLLUPS = {"~kind:": "/v1/kinds", "~group:": "/v1/groups"}
"""How the ids of roll-ups begin, and where these are."""


_OF_ROLLUPS = {"explain", "timeline", "days"}


def space_path(space: str, *rest: str) -> str:
    """The path of a space or a roll-up, or of something in it. WrongCommandError for a roll-up
    without a name, and for what only spaces have."""
    above, name = "/v1/spaces", space
    for prefix, path in ROLLUPS.items():
        if space.startswith(prefix):
            above, name = path, space.removeprefix(prefix)
            if not name:
                raise WrongCommandError(f"Name one after {prefix!r}, such as '{prefix}course'.")
            if rest and rest[0] not in _OF_ROLLUPS:
                raise WrongCommandError(
                    f"A roll-up has no {rest[0]}: name one of its spaces. "
                    "`headcount spaces` lists them."
                )
    parts = [quote(part, safe="", errors="surrogateescape") for part in (name, *rest)]
    return "/".join([above, *parts])


class Answer(dict[str, Any]):
    """An object in JSON from ``source``. A missing field is a CommandError: another server's."""

    def __init__(self, source: str, fields: Mapping[str, Any]) -> None:
        super().__init__(fields)
        self.source = source

    def __missing__(self, field: str) -> Any:
        raise foreign(self.source, f"JSON without {field!r}")


def parsed(text: str, source: str) -> Any:
    """JSON, with each object as an `Answer`. ValueError if it is none."""
    return json.loads(text, object_hook=lambda fields: Answer(source, fields))


def rows_of(answer: Mapping[str, Any], name: str) -> list[Any]:
    """The rows of a listing."""
    rows = answer[name]
    if isinstance(rows, list) and all(isinstance(row, dict) for row in rows):
        return rows
    raise foreign(getattr(answer, "source", "The server"), f"JSON without rows in {name!r}")


def foreign(source: str, what: str) -> CommandError:
    """An answer that is not a Headcount's."""
    return CommandError(
        f"{source} sent {what}, which is not a Headcount's answer: check the address, and whether "
        "a proxy or a sign-in page answers in its place."
    )


def bearer(token: str | None) -> dict[str, str]:
    """Headers with the token. CommandError if no header can carry it."""
    if not token:
        return {}
    if not re.fullmatch(r"[!-~]+", token):
        raise CommandError(
            "The token contains spaces or other characters that no token has: copy it again."
        )
    return {"authorization": f"Bearer {token}"}


@dataclass(frozen=True)
class Api:
    """Requests to one Headcount. A refusal is a CommandError that says how to fix it."""

    url: str
    token: str | None
    session: aiohttp.ClientSession
    sleep: Sleep = asyncio.sleep

    async def get(self, path: str, **query: object) -> Any:
        """Read; returns the answer's body."""
        return await self.call("GET", path, query=query)

    async def call(
        self,
        method: str,
        path: str,
        *,
        body: Mapping[str, Any] | None = None,
        query: Mapping[str, object] | None = None,
    ) -> Any:
        """Call and return the answer's body. Waits and retries after 429, a read also after 503."""
        given = {name: str(value) for name, value in (query or {}).items() if value is not None}
        headers = bearer(self.token)
        retried = {_TOO_MANY, _BUSY} if method == "GET" else {_TOO_MANY}
        for left in reversed(range(ATTEMPTS)):
            async with self._request(method, path, given, body, headers) as response:
                answer = await _decoded(response)
                if response.ok:
                    if isinstance(answer, Answer):
                        return answer
                    raise foreign(_source(response), f"{response.status} with {_kind(response)}")
                wait = retry_after(response)
                may_retry = response.status in retried and left
                if not may_retry or wait is None or wait > LONGEST_WAIT:
                    refusal = _REFUSALS.get(response.status, CommandError)
                    raise refusal(self._refusal(response.status, path, answer, wait))
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
                method,
                self.url + path,
                params=query,
                json=body,
                headers=headers,
                proxy=proxy_for(self.url),
            ) as response:
                yield response
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise CommandError(
                f"No Headcount answers at {self.url} ({error or type(error).__name__}). Check the "
                "address; for the local stack, check that `make run` is running."
            ) from None
        except ValueError as error:  # such as text that is not UTF-8, or an unknown kind of proxy
            raise WrongCommandError(
                f"The request can't be made ({error}). Check the values on the command line, the "
                "address and the proxy."
            ) from None

    def _refusal(self, status: int, path: str, answer: Any, wait: float | None) -> str:
        """What went wrong, in the server's words if it has any, and what to do about it."""
        if status == _UNAUTHORIZED and not self.token:
            return UNAUTHENTICATED
        message = sentence(_error_of(answer)) or self._default_message(status, path)
        remedy = {
            _UNAUTHORIZED: "`headcount token` prints a new one.",
            _TOO_MANY: f"Try again in {wait or 1:.0f} s.",
        }.get(status, "")
        if status >= _SERVER_ERROR:
            remedy = "`headcount doctor` looks for the cause."
        return f"{status}: {message} {remedy}".rstrip()

    def _default_message(self, status: int, path: str) -> str:
        """What went wrong, by status alone: the gateway or another server answered."""
        if status >= _SERVER_ERROR:
            return "The server failed. Try again in a moment."
        return {
            _UNAUTHORIZED: "The token is not accepted.",
            _FORBIDDEN: "The token does not allow this. Use an admin's token, or one with a scope "
            "for it (docs/security.md#scopes).",
            _NOT_FOUND: f"There is no {path} at {self.url}. Is this the address of a Headcount?",
            _TOO_MANY: "Too many requests.",
        }.get(status, f"{self.url} refuses this. Is it the address of a Headcount?")


async def _decoded(response: aiohttp.ClientResponse) -> Any:
    try:
        return parsed(await response.text(), _source(response))
    except ValueError:
        return None


def _source(response: aiohttp.ClientResponse) -> str:
    """Where an answer is from, redirects followed."""
    return str(response.url.with_user(None).with_query(None))


def _kind(response: aiohttp.ClientResponse) -> str:
    kind = response.headers.get("Content-Type", "").partition(";")[0].strip()
    return f"{kind} that has no fields" if kind.endswith("json") else kind or "no content"


def _error_of(answer: Any) -> str:
    """A Headcount's error message; empty if another server answered."""
    return str(answer.get("error") or "") if isinstance(answer, dict) else ""


def retry_after(response: aiohttp.ClientResponse) -> float | None:
    """Seconds to wait: Retry-After, or 1 for the gateway's own 429. None: don't retry."""
    text = response.headers.get("Retry-After", "")
    if text.isdecimal():
        return float(text)
    return 1.0 if response.status == _TOO_MANY else None


def open_session() -> aiohttp.ClientSession:
    """A session. Its requests name their proxy: `proxy_for`."""
    return aiohttp.ClientSession(timeout=TIMEOUT)


@asynccontextmanager
async def connected(target: Target, *, quiet: bool = False) -> AsyncIterator[Api]:
    """The API of a target. Warns if the token would be sent unencrypted, unless ``quiet``."""
    token = target.token()
    if token and not quiet and not is_private(target.url):
        note(f"{target.url} is not encrypted: the token can be read on the way. Use https.")
    async with open_session() as session:
        yield Api(target.url, token, session)


async def pages(api: Api, path: str, rows: str) -> AsyncIterator[list[Any]]:
    """Every page of a listing with a cursor."""
    cursor: str | None = None
    while True:
        page = await api.get(path, limit=PAGE, cursor=cursor)
        yield rows_of(page, rows)
        cursor = page.get("cursor")
        if cursor is None:
            return
