"""``webhook``: POST each event, signed, to one address until the receiver accepts it; to a chat
only the alerts, as sentences."""

from __future__ import annotations

import hmac
import ipaddress
import json
import socket
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from http import HTTPStatus
from http.client import HTTPConnection, HTTPException, HTTPSConnection
from typing import Any
from urllib.parse import SplitResult, urlsplit

from msgspec import Struct

from headcount.aws.wire import tls_context
from headcount.errors import failures
from headcount.logs import logger
from headcount.times import HOUR, MINUTE, SECOND, growing_wait
from headcount.usecases.chat import CHATS, chat_of
from headcount.usecases.redelivery import Message, Redelivery, tries_of

TIMEOUT = 5.0
"""Seconds to connect, and then for each read or write."""

LONGEST_WAIT = HOUR // SECOND
_FIRST_WAIT = 5
SECRET_FOR = 5 * MINUTE
"""How long a secret is used before it is read again."""

_SHORTEST_SECRET = 32


class WebhookRefusedError(RuntimeError):
    """No event must be sent to this address, or with this secret."""


_DETOURS = tuple(map(ipaddress.ip_network, ("64:ff9b::/96", "2002::/16", "::/96", "fec0::/10")))
"""Networks whose addresses embed another address, which may be private; and site-local addresses,
which older Pythons call global."""

_NOT_SENT = (OSError, HTTPException, WebhookRefusedError)


def signature(secret: str, body: bytes, at: int) -> str:
    """``t=<epoch seconds>,v1=<HMAC-SHA256 of "t.body", hexadecimal>``."""
    digest = hmac.digest(secret.encode(), f"{at}.".encode() + body, "sha256")
    return f"t={at},v1={digest.hex()}"


def retry_wait(tries: int) -> int:
    """Seconds until the next try: 5, 10, 20 and so on, at most an hour."""
    return int(growing_wait(tries, _FIRST_WAIT, LONGEST_WAIT))


@dataclass(frozen=True, slots=True)
class Receiver:
    """Where events are posted to.

    An ``https`` address on the public internet: not inside a network, nor on the function's own
    machine. With ``local``: only this machine, also without TLS.
    """

    url: str
    local: bool = False

    def post(self, headers: Mapping[str, str], body: bytes) -> int:
        """POST the body; returns the response's status. Redirects are not followed: their target
        was not configured.

        Raises OSError, HTTPException or WebhookRefusedError.
        """
        parts = urlsplit(self.url)
        connection = self._connect(parts)
        try:
            path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
            connection.request("POST", path, body, dict(headers))
            return connection.getresponse().status
        finally:
            connection.close()

    def _connect(self, parts: SplitResult) -> HTTPConnection:
        host = parts.hostname or ""
        tls = parts.scheme == "https"
        if not host or not (tls or (self.local and parts.scheme == "http")):
            raise WebhookRefusedError("a webhook's address must begin with https://")
        # Look up once and connect to that address: a second lookup may return another one.
        plain = self._reach(host, parts.port or (443 if tls else 80))
        if not tls:
            connection = HTTPConnection(host, parts.port)
            connection.sock = plain
            return connection
        try:
            connection = HTTPSConnection(host, parts.port, context=tls_context())
            connection.sock = tls_context().wrap_socket(plain, server_hostname=host)
        except BaseException:
            plain.close()
            raise
        return connection

    def _reach(self, host: str, port: int) -> socket.socket:
        """A connection to the first of the host's addresses that answers; all must be allowed."""
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        addresses = [str(address[0]) for *_, address in found]
        for address in addresses:
            if not self._allows(address):
                raise WebhookRefusedError(f"{host} is at {address}, which is not a public address")
        for address in addresses[:-1]:
            with suppress(OSError):
                return socket.create_connection((address, port), TIMEOUT)
        return socket.create_connection((addresses[-1], port), TIMEOUT)

    def _allows(self, address: str) -> bool:
        ip = ipaddress.ip_address(address)
        ip = getattr(ip, "ipv4_mapped", None) or ip
        if self.local:
            return ip.is_loopback
        return ip.is_global and not ip.is_multicast and not any(ip in net for net in _DETOURS)


@dataclass(slots=True)
class WebhookSecret:
    """A secret that is read again from time to time, so that it can change while functions run.
    While it can't be read, the known one stays in use."""

    read: Callable[[], str]
    clock: Callable[[], int]
    _kept: tuple[int, str] = field(default=(0, ""), init=False)

    def __call__(self) -> str:
        """The secret. Raises WebhookRefusedError if it is too short."""
        now = self.clock()
        if not self._kept[0] <= now < self._kept[0] + SECRET_FOR:
            try:
                secret = self.read()
            except failures():
                if not self._kept[1]:
                    raise
                logger().warning("the secret can't be read: the known one is used", exc_info=True)
                self._kept = now - SECRET_FOR + MINUTE, self._kept[1]  # read again in a minute
                return self._kept[1]
            if len(secret) < _SHORTEST_SECRET:
                raise WebhookRefusedError(
                    f"the webhook's secret is shorter than {_SHORTEST_SECRET} characters"
                )
            self._kept = now, secret
        return self._kept[1]


class WebhookSender(Struct, frozen=True, eq=False):
    """What delivering needs. ``clock`` returns epoch milliseconds."""

    receiver: Receiver
    secret: Callable[[], str]
    redelivery: Redelivery
    clock: Callable[[], int]

    def deliver(self, messages: Iterable[Message]) -> list[str]:
        """Post the queue's messages; returns the ids of those to retry.

        Those wait longer after each try. Events may arrive in any order: ``seq`` has the order in
        which they happened.
        """
        failed = []
        for message in messages:
            if not self._delivered(json.loads(message["body"])["detail"]):
                failed.append(message["messageId"])
                self.redelivery.put_off(message, retry_wait(tries_of(message)))
        return failed

    def _delivered(self, event: Mapping[str, Any]) -> bool:
        about = {"event": event["id"], "space": event["space"], "seq": event["seq"]}
        chat = chat_of(self.receiver.url)
        if chat is not None and "alert" not in event:
            return True
        headers = {"Content-Type": "application/json", "User-Agent": "headcount-webhook"}
        posted = event if chat is None else CHATS[chat](event)
        body = json.dumps(posted, ensure_ascii=False, separators=(",", ":")).encode()
        try:
            if chat is None:
                # Signed for each try: a receiver refuses old signatures, to prevent replays.
                headers |= {
                    "Headcount-Event": event["type"],
                    "Headcount-Event-Id": event["id"],
                    "Headcount-Signature": signature(self.secret(), body, self.clock() // SECOND),
                }
            status = self.receiver.post(headers, body)
        except failures(*_NOT_SENT) as error:
            logger().warning("not delivered", extra={**about, "error": type(error).__name__})
            return False
        if HTTPStatus(200) <= status < HTTPStatus(300):
            return True
        if status == HTTPStatus.GONE:
            logger().warning("the receiver is gone: the event is dropped", extra=about)
            return True
        logger().warning("not delivered", extra={**about, "status": status})
        return False
