"""``webhook``: each event as a signed POST to one address, until the receiver takes it."""

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
from typing import TYPE_CHECKING, Any
from urllib.parse import SplitResult, urlsplit

from botocore.exceptions import BotoCoreError, ClientError

from headcount.aws.http import tls_context
from headcount.logs import logger
from headcount.times import HOUR, MINUTE, SECOND

if TYPE_CHECKING:
    from mypy_boto3_sqs import SQSClient

TIMEOUT = 5.0
"""Seconds to connect in, and then to wait for each sign of life."""

LONGEST_WAIT = HOUR // SECOND
_FIRST_WAIT = 5
SECRET_FOR = 5 * MINUTE
"""How long a secret that was read goes on being used."""

_SHORTEST_SECRET = 32

Message = Mapping[str, Any]


class WebhookRefusedError(RuntimeError):
    """The address, or the secret, is none that an event may be sent with."""


_DETOURS = tuple(map(ipaddress.ip_network, ("64:ff9b::/96", "2002::/16", "::/96", "fec0::/10")))
"""Addresses that hold another, which may be a private one; and site-local ones, which older Pythons
take for global."""

_NOT_SENT = (OSError, HTTPException, ClientError, BotoCoreError, WebhookRefusedError)


def signature(secret: str, body: bytes, at: int) -> str:
    """``t=<epoch seconds>,v1=<HMAC-SHA256 of "t.body", hexadecimal>``."""
    digest = hmac.digest(secret.encode(), f"{at}.".encode() + body, "sha256")
    return f"t={at},v1={digest.hex()}"


def wait_after(tries: int) -> int:
    """Seconds until the next try: 5, 10, 20 and so on, at most an hour."""
    return min(LONGEST_WAIT, _FIRST_WAIT << min(tries - 1, 20))


@dataclass(frozen=True, slots=True)
class Receiver:
    """Where events are posted to.

    An ``https`` address that everybody can reach: nothing inside a network, nor the function's own
    machine. With ``local``, this machine alone, without TLS too.
    """

    url: str
    local: bool = False

    def post(self, headers: Mapping[str, str], body: bytes) -> int:
        """The status of the answer. Redirects are not followed: nobody vouches for where they go.

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
            raise WebhookRefusedError("a webhook's address begins with https://")
        # Looked up once, and that very address is connected to: a second look may say another.
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
                raise WebhookRefusedError(f"{host} is at {address}, which is no public address")
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
class Secret:
    """A secret that is read anew now and then, so that it can be changed while functions run."""

    read: Callable[[], str]
    clock: Callable[[], int]
    _kept: tuple[int, str] = field(default=(0, ""), init=False)

    def __call__(self) -> str:
        """The secret. Raises WebhookRefusedError where it could be guessed."""
        now = self.clock()
        if not self._kept[0] <= now < self._kept[0] + SECRET_FOR:
            secret = self.read()
            if len(secret) < _SHORTEST_SECRET:
                raise WebhookRefusedError(
                    f"the webhook's secret is shorter than {_SHORTEST_SECRET} characters"
                )
            self._kept = now, secret
        return self._kept[1]


@dataclass(frozen=True, slots=True)
class Messenger:
    """What delivering needs. ``clock`` gives epoch milliseconds."""

    receiver: Receiver
    secret: Callable[[], str]
    sqs: SQSClient
    queue: str
    clock: Callable[[], int]

    def deliver(self, messages: Iterable[Message]) -> list[str]:
        """Post what the queue's messages hold; the ids of those that have to come again.

        Those wait longer after each try. In what order events arrive is not promised: ``seq`` says
        in which they happened.
        """
        failed = []
        for message in messages:
            if not self._delivered(json.loads(message["body"])["detail"]):
                failed.append(message["messageId"])
                self._have_wait(message)
        return failed

    def _have_wait(self, message: Message) -> None:
        tries = int(message["attributes"]["ApproximateReceiveCount"])
        try:
            self.sqs.change_message_visibility(
                QueueUrl=self.queue,
                ReceiptHandle=message["receiptHandle"],
                VisibilityTimeout=wait_after(tries),
            )
        except (ClientError, BotoCoreError):
            logger().warning("the queue decides how long to wait", exc_info=True)

    def _delivered(self, event: Mapping[str, Any]) -> bool:
        body = json.dumps(event, ensure_ascii=False, separators=(",", ":")).encode()
        about = {"event": event["id"], "space": event["space"], "seq": event["seq"]}
        try:
            # Of now: a receiver refuses what is minutes old, whoever sends it again.
            signed = signature(self.secret(), body, self.clock() // SECOND)
            headers = {
                "Content-Type": "application/json",
                "User-Agent": "headcount-webhook",
                "Headcount-Event": event["type"],
                "Headcount-Event-Id": event["id"],
                "Headcount-Signature": signed,
            }
            status = self.receiver.post(headers, body)
        except _NOT_SENT as error:
            logger().warning("not delivered", extra={**about, "error": type(error).__name__})
            return False
        if HTTPStatus(200) <= status < HTTPStatus(300):
            return True
        if status == HTTPStatus.GONE:
            logger().warning("the receiver is gone: not delivered for good", extra=about)
            return True
        logger().warning("not delivered", extra={**about, "status": status})
        return False
