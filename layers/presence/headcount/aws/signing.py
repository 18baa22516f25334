"""Signature Version 4 for requests whose shape never changes.

Source: https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-create-signed-request.html
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from urllib.parse import quote

_ALGORITHM = "AWS4-HMAC-SHA256"


@dataclass(frozen=True, slots=True)
class Credentials:
    """An access key; the token comes with a role's."""

    access_key: str
    secret_key: str
    token: str = ""

    @classmethod
    def of(cls, environ: Mapping[str, str]) -> Credentials | None:
        """Those that Lambda puts in a function's environment; None where there are none."""
        access_key, secret_key = (
            environ.get("AWS_ACCESS_KEY_ID", ""),
            environ.get("AWS_SECRET_ACCESS_KEY", ""),
        )
        if not access_key or not secret_key:
            return None
        return cls(access_key, secret_key, environ.get("AWS_SESSION_TOKEN", ""))


@dataclass(slots=True)
class Signer:
    """Signs requests to one service in one region. ``clock`` gives epoch milliseconds."""

    credentials: Credentials
    region: str
    service: str
    clock: Callable[[], int]
    _key: tuple[str, bytes] = field(default=("", b""), init=False)

    def headers(
        self, method: str, path: str, body: bytes, signed: Mapping[str, str]
    ) -> dict[str, str]:
        """The headers to send: those to sign (lower-case names, ``host`` among them) and ours.

        ``path`` is what goes on the wire, encoded. Requests have no query.
        """
        now = datetime.fromtimestamp(self.clock() / 1000, UTC)
        date, time = f"{now:%Y%m%d}", f"{now:%Y%m%dT%H%M%SZ}"
        headers = {**signed, "x-amz-date": time}
        if self.credentials.token:
            headers["x-amz-security-token"] = self.credentials.token
        names = sorted(headers)
        named = ";".join(names)
        lines = "".join(f"{name}:{headers[name]}\n" for name in names)
        digest = hashlib.sha256(body).hexdigest()
        # Every service but S3 signs the path encoded once more.
        canonical = f"{method}\n{quote(path, safe='/-_.~')}\n\n{lines}\n{named}\n{digest}"
        scope = f"{date}/{self.region}/{self.service}/aws4_request"
        hashed = hashlib.sha256(canonical.encode()).hexdigest()
        text = f"{_ALGORITHM}\n{time}\n{scope}\n{hashed}"
        signature = hmac.digest(self._signing_key(date), text.encode(), "sha256").hex()
        headers["authorization"] = (
            f"{_ALGORITHM} Credential={self.credentials.access_key}/{scope}, "
            f"SignedHeaders={named}, Signature={signature}"
        )
        return headers

    def _signing_key(self, date: str) -> bytes:
        """The day's key: derived once a day, not once a request."""
        if self._key[0] != date:
            key = f"AWS4{self.credentials.secret_key}".encode()
            for part in (date, self.region, self.service, "aws4_request"):
                key = hmac.digest(key, part.encode(), "sha256")
            self._key = date, key
        return self._key[1]
