"""What tokens are checked with: the shared secret, or the keys an issuer publishes.

Both are remembered by the process, and asked for again in a measured way: a flood of bad tokens, or
an issuer that is down, must not become a request for each beat.
"""

from __future__ import annotations

import http.client
import json
import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from headcount.errors import BusyError
from headcount.logs import logger
from headcount.times import HOUR, MINUTE, SECOND

if TYPE_CHECKING:
    from jwt.algorithms import AllowedKeys

LIFESPAN = HOUR
"""How long a key set is believed: a key that its issuer withdrew works no longer than this."""
REFETCH_AFTER = 30 * SECOND
"""A key set is not fetched again sooner, whatever keys tokens name."""
RETRY_AFTER = 5 * SECOND
"""Where there is no key or secret at all yet, it is tried again after this."""
REREAD_AFTER = MINUTE
"""A secret is not read again sooner, however many tokens fail."""

MIN_SECRET = 32
"""Bytes of a shared secret: RFC 7518 asks for as many as the hash has."""
MAX_KEY_SET = 256 * 1024
_CHUNK = 16 * 1024

_OUT_OF_REACH = "The token can't be checked now: its issuer's keys are out of reach. Try again."
_UNREADABLE = "Tokens can't be checked now. Try again in a few seconds."

Clock = Callable[[], int]
"""Epoch milliseconds."""


class UnknownKeyError(Exception):
    """The issuer has no such key."""


class Secret:
    """The shared secret. ``read`` fetches it; it may raise BusyError."""

    def __init__(self, read: Callable[[], str], clock: Clock) -> None:
        self._read = read
        self._clock = clock
        self._value: str | None = None
        self._tried_at: int | None = None

    def value(self) -> str:
        """The secret, or BusyError while it can't be read."""
        if self._value is None:
            if not _over(self._tried_at, RETRY_AFTER, self._clock()):
                raise BusyError(_UNREADABLE)
            self._tried_at = self._clock()
            self._value = self._checked()
        return self._value

    def rotated(self) -> bool:
        """Whether it is another one by now: for a token that the known one did not sign."""
        if not _over(self._tried_at, REREAD_AFTER, self._clock()):
            return False
        self._tried_at = self._clock()
        try:
            before, self._value = self._value, self._checked()
        except BusyError:
            return False
        return self._value != before

    def _checked(self) -> str:
        secret = self._read()
        if len(secret.encode()) < MIN_SECRET:  # an empty one would let everybody in
            logger().error(
                f"the token secret is too short: it needs {MIN_SECRET} bytes or more as plain text"
            )
            raise BusyError(_UNREADABLE)
        return secret


class KeySet:
    """The keys at a URL. One that is known goes on working while its issuer is down."""

    def __init__(self, url: str, clock: Clock, timeout: float = 3.0) -> None:
        self._url = url
        self._clock = clock
        self._timeout = timeout  # seconds
        self._keys: Mapping[str, AllowedKeys] = {}
        self._fetched_at: int | None = None
        self._tried_at: int | None = None
        self._down = False

    def key(self, id_: object) -> AllowedKeys:
        """The key of that id. Raises UnknownKeyError; BusyError while the issuer can't be asked."""
        if id_ not in self._keys or _over(self._fetched_at, LIFESPAN, self._clock()):
            self._refresh()
        if isinstance(id_, str) and id_ in self._keys:
            return self._keys[id_]
        if self._down:  # it may be a new one: no reason to refuse it
            raise BusyError(_OUT_OF_REACH)
        raise UnknownKeyError

    def _refresh(self) -> None:
        now = self._clock()
        if not _over(self._tried_at, REFETCH_AFTER if self._keys else RETRY_AFTER, now):
            return
        self._tried_at = now
        try:
            self._keys = keys_in(fetch(self._url, self._timeout))
        except (OSError, http.client.HTTPException, ValueError, RecursionError):
            logger().warning("the token issuer's key set can't be fetched", exc_info=True)
            self._down = True
        else:
            self._fetched_at = now
            self._down = False


def fetch(url: str, timeout: float) -> Any:
    """The JSON at a URL, within so many seconds; what is no plain 200 with JSON is a ValueError."""
    parts = urlsplit(url)
    secure = parts.scheme == "https"
    connect = http.client.HTTPSConnection if secure else http.client.HTTPConnection
    deadline = time.monotonic() + timeout
    connection = connect(parts.netloc, timeout=timeout)
    try:
        path = f"{parts.path or '/'}?{parts.query}" if parts.query else parts.path or "/"
        connection.request("GET", path, headers={"accept": "application/json"})
        answer = connection.getresponse()
        if answer.status != http.HTTPStatus.OK:  # a redirect, too: the parameter names the place
            raise ValueError(f"answered {answer.status}")
        data = b""
        while chunk := answer.read1(_CHUNK):
            data += chunk
            if len(data) > MAX_KEY_SET:
                raise ValueError(f"larger than {MAX_KEY_SET} bytes")
            if time.monotonic() > deadline:
                raise TimeoutError
    finally:
        connection.close()
    return json.loads(data)


def keys_in(document: object) -> dict[str, AllowedKeys]:
    """The keys of a key set that may sign, by id; ValueError where there is none."""
    from jwt import PyJWKSet, PyJWTError

    if not isinstance(document, dict):
        raise ValueError("no key set")  # noqa: TRY004 - like all else that is no key set
    try:
        found = PyJWKSet.from_dict(document).keys
    except (PyJWTError, TypeError, AttributeError) as error:
        raise ValueError("no key set") from error
    keys = {
        key.key_id: key.key for key in found if key.key_id and key.public_key_use in {None, "sig"}
    }
    if not keys:
        raise ValueError("no key that signs")
    return keys


def _over(since: int | None, span: int, now: int) -> bool:
    """Whether so many milliseconds passed, or the clock was set back."""
    return since is None or not since <= now < since + span
