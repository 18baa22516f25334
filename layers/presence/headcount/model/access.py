"""Authorization: scopes, and the callers whose tokens hold them. Pure."""

from __future__ import annotations

import re
from collections.abc import Collection
from enum import StrEnum

from msgspec import Struct

from headcount.errors import ForbiddenError, UnauthorizedError
from headcount.model.space import ID, KIND, ROLLUP, kind_of


class Action(StrEnum):
    """What a scope can allow."""

    READ = "read"  # numbers: counts, timelines, days, live spaces, dashboards' sockets
    PEOPLE = "people"  # people by name and session; where those are whom the scope names
    MODERATE = "moderate"  # alerts, messages, removals and their audit log
    INGEST = "ingest"  # reports from servers: streams and their state, revenue, infrastructure
    CONTAINERS = "containers"  # launch, stop and look up
    ERASE = "erase"  # erase a person everywhere
    SHARE = "share"  # links with which anybody reads numbers, where the token may read them, too


EVERYWHERE = "*"
"""All spaces, and everything that belongs to none."""

PERSON = re.compile(r"[ucvs]:.+", re.DOTALL)
"""A person's key, see ``model.people``."""
SHARE_PREFIX = "share_"
"""How the token of a share link begins; no JWT does."""

_WHO = re.compile(rf"\*|{PERSON.pattern}", re.DOTALL)
_WHERE = re.compile(rf"\*|{KIND.pattern}:(\*|{ID.pattern})|{ROLLUP}group:(\*|{KIND.pattern})")


class Scope(Struct, frozen=True):
    """A required permission: an action in a space. ``space`` is a space, ``kind:*`` or ``*``; None:
    any space, where the response then holds only the spaces that the token allows."""

    action: Action
    space: str | None

    def __str__(self) -> str:
        return f"{self.action}:{self.space or 'kind:id'}"


class Caller(Struct, frozen=True):
    """The holder of a valid token."""

    subject: str | None
    admin: bool
    name: str | None = None
    picture: str | None = None
    scopes: frozenset[str] = frozenset()  # as in the token: read:site:main, people:course:*
    share: str | None = None
    """The id of the share link that takes the place of a token. Its holder is nobody in particular:
    neither a user nor an admin."""
    until: int | None = None
    """When that link ends, in epoch milliseconds."""

    def spaces(self, action: Action) -> frozenset[str]:
        """Where the caller may do this: spaces, ``kind:*`` and ``*``."""
        return self._named(action, _WHERE)

    def sees(self, person: str) -> bool:
        """Whether the caller may see where a person is: themselves, those whom the token names, or
        everybody."""
        return bool({person, EVERYWHERE} & self.people) or (
            self.subject is not None and person == f"u:{self.subject}"
        )

    @property
    def people(self) -> frozenset[str]:
        """The people that the token names: their keys, or ``*``."""
        return self._named(Action.PEOPLE, _WHO)

    def _named(self, action: Action, valid: re.Pattern[str]) -> frozenset[str]:
        """What the scopes with this action name."""
        if self.admin:
            return frozenset({EVERYWHERE})
        split = [scope.partition(":") for scope in self.scopes]
        return frozenset(
            what for name, _, what in split if name in {action, "*"} and valid.fullmatch(what)
        )


def require_person(caller: Caller | None, person: str) -> None:
    """Accept whom ``Caller.sees`` lets see a person. Raises UnauthorizedError without a token,
    ForbiddenError with any other."""
    if not require_caller(caller).sees(person):
        raise ForbiddenError(
            f"The token does not allow this: it needs the scope {Action.PEOPLE}:{person}, or "
            f"{Action.PEOPLE}:{EVERYWHERE} for everybody, or the admin claim."
        )


def covers(spaces: Collection[str], space: str) -> bool:
    """Whether these include a space, or a whole ``kind:*``."""
    return bool({space, f"{kind_of(space)}:*", EVERYWHERE} & {*spaces})


def require_scope(caller: Caller | None, scope: Scope) -> None:
    """Accept admins and tokens with the scope. Raises UnauthorizedError without a token,
    ForbiddenError with any other."""
    spaces = require_caller(caller).spaces(scope.action)
    if not spaces or (scope.space is not None and not covers(spaces, scope.space)):
        raise ForbiddenError(
            f"The token does not allow this: it needs the scope {scope}, or the admin claim."
        )


def require_admin(caller: Caller | None) -> None:
    """Accept admins. Raises UnauthorizedError without a token, ForbiddenError with any other."""
    if not require_caller(caller).admin:
        raise ForbiddenError("The token does not allow this: it needs the admin claim.")


def require_caller(caller: Caller | None) -> Caller:
    """The caller; raises UnauthorizedError if there is none."""
    if caller is None:
        raise UnauthorizedError(
            "A token is missing. Send 'Authorization: Bearer <token>' or '?token=<token>'."
        )
    return caller
