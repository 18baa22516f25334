"""The keys that verify tokens: a shared secret, or the key set that an issuer publishes.

The process caches both and limits how often it fetches them again: a flood of bad tokens, or an
issuer that is down, must not cause a request for each beat.
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
    from jwt import PyJWK
    from jwt.algorithms import AllowedKeys

LIFESPAN = HOUR
"""How long a key set is valid: a key may work for this long after its issuer withdrew it."""
REFETCH_AFTER = 30 * SECOND
"""The time between two fetches of a key set, whatever keys tokens name."""
RETRY_AFTER = 5 * SECOND
"""The time between two tries while there is no key or secret yet."""
SECRET_LIFESPAN = 5 * MINUTE
"""How long a secret is used before it is read again: one that was replaced works no longer."""
REREAD_AFTER = MINUTE
"""The time between two reads of a secret, however many tokens fail."""

MIN_SECRET = 32
"""Bytes of a shared secret: RFC 7518 requires at least as many as the hash has."""
MIN_RSA = 2048
"""Bits of an RSA key: RFC 7518 requires at least as many."""
MAX_KEY_SET = 256 * 1024
"""Bytes of a key set."""
_CHUNK = 16 * 1024

_OUT_OF_REACH = "The token can't be checked now: its issuer's keys are unreachable. Try again."
_UNREADABLE = "Tokens can't be checked now. Try again in a few seconds."

Clock = Callable[[], int]
"""Epoch milliseconds."""


class UnknownKeyError(Exception):
    """The issuer has no such key."""


class SharedSecret:
    """The secret that signs tokens. ``read`` fetches it, and may raise BusyError: a known secret
    stays in use while it can't be read."""

    def __init__(self, read: Callable[[], str], clock: Clock) -> None:
        self._read = read
        self._clock = clock
        self._value: str | None = None
        self._read_at: int | None = None
        self._tried_at: int | None = None

    def value(self) -> str:
        """The secret, or BusyError while it can't be read."""
        if self._value is None:
            if not _is_over(self._tried_at, RETRY_AFTER, self._clock()):
                raise BusyError(_UNREADABLE)
            try:
                self._value = self._checked()
            except BusyError:  # not before: to be killed meanwhile is no failure to read it
                self._tried_at = self._clock()
                raise
            self._tried_at = self._read_at
        elif _is_over(self._read_at, SECRET_LIFESPAN, self._clock()):
            self.was_rotated()
        return self._value

    def was_rotated(self) -> bool:
        """Read it again, at most once per REREAD_AFTER; whether it has changed."""
        if not _is_over(self._tried_at, REREAD_AFTER, self._clock()):
            return False
        self._tried_at = self._clock()
        try:
            before, self._value = self._value, self._checked()
        except BusyError:
            return False
        return self._value != before

    def _checked(self) -> str:
        secret = self._read()
        if len(secret.encode()) < MIN_SECRET:  # anyone can sign with an empty secret
            logger().error(
                f"the token secret is too short: it needs {MIN_SECRET} bytes or more as plain text"
            )
            raise BusyError(_UNREADABLE)
        self._read_at = self._clock()
        return secret


class KeySet:
    """The keys at a URL. Known keys stay in use while their issuer is down."""

    def __init__(self, url: str, clock: Clock, timeout: float = 3.0) -> None:
        self._url = url
        self._clock = clock
        self._timeout = timeout  # seconds
        self._keys: Mapping[str, AllowedKeys] = {}
        self._fetched_at: int | None = None
        self._tried_at: int | None = None
        self._down = False

    def key(self, id_: object) -> AllowedKeys:
        """The key with this id. UnknownKeyError, or BusyError while the issuer is unreachable."""
        if id_ not in self._keys or _is_over(self._fetched_at, LIFESPAN, self._clock()):
            self._refresh()
        if isinstance(id_, str) and id_ in self._keys:
            return self._keys[id_]
        if self._down:  # it may be a new key
            raise BusyError(_OUT_OF_REACH)
        raise UnknownKeyError

    def _refresh(self) -> None:
        now = self._clock()
        if not _is_over(self._tried_at, REFETCH_AFTER if self._keys else RETRY_AFTER, now):
            return
        self._tried_at = now
        try:
            self._keys = keys_in(self._fetched())
        except (OSError, http.client.HTTPException, ValueError, RecursionError):
            logger().warning("the token issuer's key set can't be fetched", exc_info=True)
            self._down = True
        else:
            self._fetched_at = now
            self._down = False

    def _fetched(self) -> Any:
        """The key set; the URL may also be that of the document by which its issuer names it."""
        document = fetch(self._url, self._timeout)
        if not isinstance(document, dict) or "keys" in document or "jwks_uri" not in document:
            return document
        url = document["jwks_uri"]
        if not isinstance(url, str) or urlsplit(url).scheme != urlsplit(self._url).scheme:
            raise ValueError("a jwks_uri that is not https")
        return fetch(url, self._timeout)


def fetch(url: str, timeout: float) -> Any:
    """Fetch JSON within ``timeout`` seconds. ValueError unless the response is a 200 with JSON."""
    parts = urlsplit(url)
    secure = parts.scheme == "https"
    connect = http.client.HTTPSConnection if secure else http.client.HTTPConnection
    deadline = time.monotonic() + timeout
    connection = connect(parts.netloc, timeout=timeout)
    try:
        path = f"{parts.path or '/'}?{parts.query}" if parts.query else parts.path or "/"
        connection.request("GET", path, headers={"accept": "application/json"})
        response = connection.getresponse()
        if response.status != http.HTTPStatus.OK:  # redirects too: the parameter must name the URL
            raise ValueError(f"status {response.status}")
        data = b""
        while chunk := response.read1(_CHUNK):
            data += chunk
            if len(data) > MAX_KEY_SET:
                raise ValueError(f"larger than {MAX_KEY_SET} bytes")
            if time.monotonic() > deadline:
                raise TimeoutError
    finally:
        connection.close()
    return json.loads(data)


def keys_in(document: object) -> dict[str, AllowedKeys]:
    """The signing keys of a key set, by id. ValueError if there are none."""
    from jwt import PyJWKSet, PyJWTError

    if not isinstance(document, dict):
        raise ValueError("no key set")  # noqa: TRY004 - as for any other invalid key set
    try:
        found = PyJWKSet.from_dict(document).keys
    except (PyJWTError, TypeError, AttributeError) as error:
        raise ValueError("no key set") from error
    keys = {
        key.key_id: key.key
        for key in found
        if key.key_id and key.public_key_use in {None, "sig"} and not _is_weak(key)
    }
    if not keys:
        raise ValueError("no key that signs")
    return keys


def _is_weak(key: PyJWK) -> bool:
    """Whether its tokens could be forged."""
    return key.key_type == "RSA" and getattr(key.key, "key_size", 0) < MIN_RSA


def _is_over(since: int | None, span: int, now: int) -> bool:
    """Whether ``span`` milliseconds have passed, or the clock was set back."""
    return since is None or not since <= now < since + span
