"""The stack from outside: the API answers, sockets open, strangers are refused, clocks agree."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from urllib.parse import urlsplit

import aiohttp

from headcount_cli.api import bearer, open_session
from headcount_cli.doctor.findings import Finding, fail, ok, unknown, warn
from headcount_cli.errors import CommandError
from headcount_cli.proxies import as_http, proxy_for
from headcount_cli.target import Target

Clock = Callable[[], float]

CLOCK_FAULT, CLOCK_WARNING = 60.0, 10.0
"""Seconds between this machine's clock and the server's that are a fault, or a warning."""
_REFUSALS = {401, 403}
_ANSWER_WITHIN = 15.0
_API_LOG = "read the log of the api function, and fix the faults above"
_SOCKET_LOG = "read the log of the socket function, and fix the faults above"
_NOT_HEADCOUNT = "this is another API: is the address Headcount's?"
_UNREACHABLE = (aiohttp.ClientError, TimeoutError, OSError)


async def probe(target: Target, now: Clock = time.time) -> list[Finding]:
    """Everything that a client would notice."""
    found: list[Finding] = []
    try:
        headers = bearer(target.token())
    except CommandError as error:
        found.append(unknown(str(error)).about("token"))
        headers = {}
    async with open_session() as session:
        found += await _probe_api(session, target.url, headers, now)
        if target.socket_url:
            found += [
                one.about("WebSocket")
                for one in await _probe_socket(session, target.socket_url, headers)
            ]
    return found


async def _probe_api(
    session: aiohttp.ClientSession, api: str, headers: dict[str, str], now: Clock
) -> list[Finding]:
    url = f"{api}/v1/spaces"
    proxy = proxy_for(url)
    try:
        async with session.get(url, headers=headers, proxy=proxy) as answer:
            status, date = answer.status, answer.headers.get("Date")
        async with session.get(url, proxy=proxy) as answer:
            without_token = answer.status
    except _UNREACHABLE as error:
        return [_unreachable(error, api, f"{api} does not answer", _API_LOG).about("health")]
    found = [_health(status, bool(headers)).about("health")]
    if date:
        with suppress(ValueError):  # a date in no known format says nothing about the clock
            found.append(clocks(parsedate_to_datetime(date).timestamp(), now()).about("clock"))
    if without_token < HTTPStatus.MULTIPLE_CHOICES:
        wrong = fail("lists the spaces without a token", _NOT_HEADCOUNT)
        found.append(wrong.about("authorizer"))
    elif without_token in _REFUSALS:
        found.append(ok("strangers are refused").about("authorizer"))
    return found


def _health(status: int, has_token: bool) -> Finding:
    if status == HTTPStatus.OK or (status in _REFUSALS and not has_token):
        return ok("the API answers")
    if status in _REFUSALS:
        return fail(
            f"the API refuses an admin's token ({status})",
            "the functions use another secret, admin claim or issuer than the stack's parameters "
            "say: compare the api function's TOKEN_SECRET, SETTINGS and JWKS_URL with them",
        )
    return fail(f"the API answers a read with {status}", _API_LOG)


def _unreachable(error: Exception, url: str, message: str, fix: str) -> Finding:
    """A connection that failed. A name that does not resolve is no fault of a function."""
    if isinstance(error, aiohttp.ClientConnectorDNSError):
        host = urlsplit(url).hostname
        return fail(
            f"the name {host} does not resolve",
            f"check it with `nslookup {host}`. If it is your own domain, its DNS record must lead "
            "to the stack's output HttpDomainTarget, SocketDomainTarget or EdgeDomainTarget "
            "(docs/deploy.md#domains-of-your-own); a new record takes some minutes. Otherwise "
            "check this machine's DNS and network",
        )
    return fail(f"{message}: {error or type(error).__name__}", fix)


def clocks(theirs: float, ours: float) -> Finding:
    """How far two clocks are apart. AWS's is right."""
    apart = ours - theirs
    side = "ahead of" if apart > 0 else "behind"
    message = f"this machine's is {abs(apart):.0f} s {side} the server's"
    fix = (
        "set this machine's clock (`timedatectl set-ntp true`): tokens made here are not valid "
        "yet, or have expired, and AWS refuses calls that are 5 minutes off"
    )
    if abs(apart) >= CLOCK_FAULT:
        return fail(message, fix)
    if abs(apart) >= CLOCK_WARNING:
        return warn(message, fix)
    return ok("this machine's and the server's agree")


async def _probe_socket(
    session: aiohttp.ClientSession, url: str, headers: dict[str, str]
) -> list[Finding]:
    found = []
    proxy = proxy_for(url)
    if headers:
        try:
            async with session.ws_connect(as_http(url), headers=headers, proxy=proxy) as socket:
                await socket.send_json({"action": "ping"})
                answer = await socket.receive_json(timeout=_ANSWER_WITHIN)
            is_pong = isinstance(answer, dict) and answer.get("type") == "pong"
            wrong = fail("does not answer a ping with a pong", _SOCKET_LOG)
            found.append(ok("opens and answers") if is_pong else wrong)
        except aiohttp.WSServerHandshakeError as error:
            found.append(fail(f"refuses an admin's token ({error.status})", _SOCKET_LOG))
        except (*_UNREACHABLE, TypeError, ValueError) as error:
            found.append(_unreachable(error, url, "does not open or answer", _SOCKET_LOG))
    try:
        async with session.ws_connect(as_http(url), proxy=proxy):
            found.append(fail("lets strangers in", _NOT_HEADCOUNT))
    except aiohttp.WSServerHandshakeError as error:
        if error.status in _REFUSALS:
            found.append(ok("refuses strangers"))
    except _UNREACHABLE:
        pass  # reported above if there is a token
    return found
