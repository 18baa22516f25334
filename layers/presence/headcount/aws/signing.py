"""Signature Version 4, for requests without a query.

Source: https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-create-signed-request.html
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from urllib.parse import quote

from msgspec import Struct

_ALGORITHM = "AWS4-HMAC-SHA256"


class Credentials(Struct, frozen=True):
    """An access key; ``token`` is the session token of a role's credentials."""

    access_key: str
    secret_key: str
    token: str = ""

    @classmethod
    def from_environment(cls, environ: Mapping[str, str]) -> Credentials | None:
        """The credentials that Lambda puts in a function's environment; None if it has none."""
        access_key, secret_key = (
            environ.get("AWS_ACCESS_KEY_ID", ""),
            environ.get("AWS_SECRET_ACCESS_KEY", ""),
        )
        if not access_key or not secret_key:
            return None
        return cls(access_key, secret_key, environ.get("AWS_SESSION_TOKEN", ""))


class Signer:
    """Signs requests to one service in one region. ``clock`` returns epoch milliseconds."""

    def __init__(
        self, credentials: Credentials, region: str, service: str, clock: Callable[[], int]
    ) -> None:
        self._credentials = credentials
        self._place = f"{region}/{service}"
        self._clock = clock
        self._at = 0, "", ""  # a second, its day and its time, formatted
        self._key = "", b""  # a day, and its signing key

    def headers(
        self, method: str, path: str, body: bytes, signed: Mapping[str, str]
    ) -> dict[str, str]:
        """The headers to send: the ``signed`` ones and those that carry the signature.

        ``signed`` has lower-case names and includes ``host``. ``path`` is encoded, as on the wire.
        """
        date, time = self._now()
        headers = {**signed, "x-amz-date": time}
        if self._credentials.token:
            headers["x-amz-security-token"] = self._credentials.token
        names = sorted(headers)
        named = ";".join(names)
        lines = "".join([f"{name}:{headers[name]}\n" for name in names])
        digest = hashlib.sha256(body).hexdigest()
        # For every service except S3 the path is encoded once more.
        encoded = path if path == "/" else quote(path, safe="/-_.~")
        canonical = f"{method}\n{encoded}\n\n{lines}\n{named}\n{digest}"
        scope = f"{date}/{self._place}/aws4_request"
        hashed = hashlib.sha256(canonical.encode()).hexdigest()
        text = f"{_ALGORITHM}\n{time}\n{scope}\n{hashed}"
        signature = hmac.digest(self._signing_key(date), text.encode(), "sha256").hex()
        headers["authorization"] = (
            f"{_ALGORITHM} Credential={self._credentials.access_key}/{scope}, "
            f"SignedHeaders={named}, Signature={signature}"
        )
        return headers

    def _now(self) -> tuple[str, str]:
        """The day and the time, formatted once a second."""
        second = self._clock() // 1000
        if second != self._at[0]:
            now = datetime.fromtimestamp(second, UTC)
            self._at = second, f"{now:%Y%m%d}", f"{now:%Y%m%dT%H%M%SZ}"
        return self._at[1:]

    def _signing_key(self, date: str) -> bytes:
        """The day's signing key, derived once a day."""
        if self._key[0] != date:
            key = f"AWS4{self._credentials.secret_key}".encode()
            for part in (date, *self._place.split("/"), "aws4_request"):
                key = hmac.digest(key, part.encode(), "sha256")
            self._key = date, key
        return self._key[1]
