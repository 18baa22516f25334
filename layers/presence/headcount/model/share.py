"""Share links: anyone with one reads the numbers of a space, or of a kind, until it ends. Pure.

Its secret is part of the link and is stored nowhere: the row holds a hash. So it needs neither an
issuer of tokens nor a key that signs them.
"""

from __future__ import annotations

import hashlib
import hmac
import re

from msgspec import Struct

from headcount.errors import UnauthorizedError
from headcount.model.access import SHARE_PREFIX, Action, Caller
from headcount.times import DAY, MINUTE

SHORTEST, LONGEST = MINUTE, 366 * DAY
"""How long a link may be valid."""
MAX_SHARES = 500
"""Links that are kept at a time, the ended ones of the last 30 days included."""

_TOKEN = re.compile(rf"{SHARE_PREFIX}([A-Za-z0-9-]{{1,32}})_([A-Za-z0-9-]{{1,64}})")
_ID_LENGTH = 16
_UNKNOWN = "This share link is not valid. Ask for a new one."


class Share(Struct, frozen=True):
    """A share link. Times are epoch milliseconds; nothing in it names a person."""

    id: str
    hash: str
    """Of the whole token."""
    where: str
    """A space, or ``kind:*``."""
    at: int
    until: int
    label: str | None = None
    revoked_at: int | None = None

    def is_open(self, now: int) -> bool:
        """Whether the link works."""
        return self.revoked_at is None and now < self.until

    def caller(self, token: str, now: int) -> Caller:
        """Whom the link makes of its holder. UnauthorizedError if the token is not this link's, or
        if the link has ended."""
        if not hmac.compare_digest(self.hash, hash_of(token)):
            raise UnauthorizedError(_UNKNOWN)
        if self.revoked_at is not None:
            raise UnauthorizedError("This share link was revoked. Ask for a new one.")
        if now >= self.until:
            raise UnauthorizedError("This share link has expired. Ask for a new one.")
        scopes = frozenset({f"{Action.READ}:{self.where}"})
        return Caller(None, admin=False, scopes=scopes, share=self.id, until=self.until)


def id_of(token: str) -> str:
    """The id of the link that a token belongs to, if it belongs to any."""
    match = _TOKEN.fullmatch(token)
    if match is None:
        raise UnauthorizedError(_UNKNOWN)
    return match[1]


def unknown() -> UnauthorizedError:
    """The refusal of a token that belongs to no link."""
    return UnauthorizedError(_UNKNOWN)


def made_of(random_id: str, secret: str) -> tuple[str, str]:
    """A new link's id and its token, of two unique texts of which the second is random."""
    id_ = random_id[:_ID_LENGTH]
    return id_, f"{SHARE_PREFIX}{id_}_{secret}"


def hash_of(token: str) -> str:
    """What is stored of a token: it has 128 random bits, so a plain hash is enough."""
    return hashlib.sha256(token.encode(errors="surrogatepass")).hexdigest()
