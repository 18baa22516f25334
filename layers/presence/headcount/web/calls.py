"""One call of a route: who calls, and what all systems do with a beat."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from headcount.beats import MAX_IDENTIFIER, Beat, Leave, check_size, check_text
from headcount.clients import Services
from headcount.devices import device_of, is_browser
from headcount.errors import BusyError, ForbiddenError, InvalidRequestError, UnauthorizedError
from headcount.moderation import NO_SUBJECT, Act, Notice, shown, until_when
from headcount.session import Facts, Session, persons_of
from headcount.spaces import Kind, Space
from headcount.times import iso, whole_seconds
from headcount.tokens import (
    Action,
    Caller,
    Scope,
    require,
    require_admin,
    takes_cookie,
    token_in,
)
from headcount.web.http import Event, Request

_COUNTRY = re.compile(r"[A-Z]{2}")
_COUNTRY_HEADER = "cloudfront-viewer-country"


@dataclass(frozen=True, slots=True)
class Identity:
    """Whom a beat is from: ``verified`` when a token proves it."""

    user: str | None
    verified: bool
    name: str | None = None
    picture: str | None = None


def proven(caller: Caller, subject: str) -> Identity:
    """Whom a token proves, by its subject. ForbiddenError for one that is no userId: nobody could
    name it later, to remove or to erase them."""
    try:
        check_text(subject, MAX_IDENTIFIER)
    except ValueError as error:
        raise ForbiddenError(
            f"The token's subject can't be a userId here: it {error}. Have it issued with a "
            "shorter or plainer 'sub', or send no token."
        ) from None
    return Identity(subject, True, caller.name, caller.picture)


def _check_engagement(beat: Beat, kind: Kind) -> None:
    if unknown := sorted({*(beat.engagement or {})} - {*kind.engagement}):
        shown = ", ".join(kind.engagement)
        raise InvalidRequestError(
            f"engagement may hold {shown} in this kind of space, not {unknown[0]!r}. "
            "The Kinds parameter can name others."
        )


@dataclass(frozen=True, slots=True)
class Count:
    """What a beat's answer says of its space."""

    people: int
    version: int
    changed: bool = False
    """Whether the beat was a join or a change."""
    notice: Notice | None = None
    """The message to everyone in the space, while it is shown."""


@dataclass(frozen=True, slots=True)
class Call:
    """A request to a route, its path's parameters decoded."""

    services: Services
    request: Request
    params: Mapping[str, str]

    @classmethod
    def of_socket(cls, services: Services, event: Event) -> Call:
        """An event of a WebSocket as a request: it has neither method nor path of its own."""
        headers = {name.lower(): value for name, value in (event.get("headers") or {}).items()}
        request = Request(
            id=event["requestContext"]["requestId"],
            method="GET",
            path="/ws",
            query=event.get("queryStringParameters") or {},
            headers=headers,
            cookies=headers.get("cookie", "").split(";"),
            event=event,
        )
        return cls(services, request, {})

    @property
    def now(self) -> int:
        """The server's time, in epoch milliseconds."""
        return self.services.clock()

    def query(self, name: str) -> str | None:
        """A query parameter."""
        return self.request.query.get(name)

    def space(self, kind: str, name: str) -> Space:
        """``kind:name``, or InvalidRequestError."""
        return self.services.settings.kinds.space(f"{kind}:{name}")

    # ------------------------------------------------------------------------------------ callers

    @property
    def has_token(self) -> bool:
        """Whether a token came along, valid or not."""
        return self._token() is not None

    def require_admin(self) -> None:
        """Let admins pass."""
        require_admin(self.verified())

    def require(self, scope: Scope) -> None:
        """Let pass whose token has the scope, and admins."""
        require(self.verified(), scope)

    def spaces(self, action: Action) -> frozenset[str]:
        """Where the caller may do this, as ``covers`` takes it."""
        caller = self.verified()
        return caller.spaces(action) if caller is not None else frozenset()

    @property
    def who(self) -> str:
        """The admin that calls, for the record: the token's subject where it has one."""
        caller = self.caller()
        return (caller.subject if caller is not None else None) or NO_SUBJECT

    def note(self, space: Space, what: str, **parameters: Any) -> None:
        """Keep what an admin is about to do to a space: what can't be kept is not done."""
        self.services.history.add_act(
            Act(space.id, self.now, self.services.new_id(), self.who, what, parameters)
        )

    def require_counts(self, space: Space) -> None:
        """Let pass whoever may see the space's counts."""
        if not space.kind.counts_are_public:
            self.require(Scope(Action.READ, space.id))

    def require_names(self, space: Space) -> None:
        """Let pass whoever may see who is in the space."""
        if space.kind.names == "public":
            return
        caller = self.verified()
        if space.kind.names == "users" and caller is not None:
            return
        require(caller, Scope(Action.PEOPLE, space.id))

    def caller(self) -> Caller | None:
        """Whoever calls an open route: what is no token of ours makes nobody."""
        token = self._token()
        if token is None:
            return None
        try:
            return self.services.verifier.verify(token)
        except UnauthorizedError:
            return None
        except BusyError:
            if self.services.settings.require_verified_users:
                raise
            return None

    def identify(self, claimed: str | None) -> Identity:
        """Whom a beat is from. A token proves its subject; an admin's may speak for anyone."""
        return self.identify_as(self.caller(), claimed)

    def identify_as(self, caller: Caller | None, claimed: str | None) -> Identity:
        """Whom a beat is from, by a token that was checked before."""
        if caller is not None and caller.admin:
            return Identity(claimed, verified=claimed is not None)
        if caller is not None and caller.subject is not None:
            if claimed not in {None, caller.subject}:
                raise ForbiddenError("The userId is not the token's subject. Leave userId out.")
            return proven(caller, caller.subject)
        if claimed is not None and self.services.settings.require_verified_users:
            raise UnauthorizedError("A userId needs that user's token here. Send it, or no userId.")
        return Identity(claimed, verified=False)

    def verified(self) -> Caller | None:
        """Whoever calls; UnauthorizedError for what is no token of ours."""
        token = self._token()
        return self.services.verifier.verify(token) if token else None

    def _token(self) -> str | None:
        request = self.request
        settings = self.services.settings
        cookie = settings.token_cookie
        if cookie and not takes_cookie(request.method, request.headers, settings.allowed_origins):
            cookie = ""
        return token_in(request.headers, request.query, request.cookies, cookie)

    # -------------------------------------------------------------------------------------- beats

    def record_beat(
        self, space: Space, beat: Beat, identity: Identity, connection: str | None = None
    ) -> Count:
        """Store a beat, its device and country filled in where they are known.

        ``connection``: the WebSocket that holds the session from now on.
        """
        _check_engagement(beat, space.kind)
        if identity.user != beat.user_id:  # a token's, which the beat was not measured with
            check_size(replace(beat, user_id=identity.user), space.id, connection or "")
        self.admit(space, beat, identity.user)
        facts = Facts.of(beat, user=identity.user, verified=identity.verified)
        facts = replace(facts, facets={**self.seen(), **facts.facets})
        now = self.now
        changed = self.services.desk.record_beat(
            space, beat, facts, request=self.request.id, now=now, connection=connection
        )
        self.services.meter.add("Beats")
        return replace(self.count(space, now), changed=changed)

    def record_touch(self, space: Space, session: str, page: str | None) -> None:
        """Store a beat of a client that says who it is only when it joins."""
        caller = self.caller()
        user = caller.subject if caller is not None else None
        self.admit(space, Beat(session_id=session), user)

        def admit(row: Session) -> None:
            who = row.facts
            self.admit(space, Beat(session_id=session, visitor_id=who.visitor), who.user)

        denied = self.services.badges.glance(space.id, self.now).denied
        self.services.desk.record_touch(
            space,
            session,
            page,
            user=user,
            request=self.request.id,
            now=self.now,
            admit=admit if denied else None,  # else nobody has to be looked at
        )
        self.services.meter.add("Beats")

    def admit(self, space: Space, beat: Beat, user: str | None) -> None:
        """Refuse the beat of somebody who was removed from the space.

        It rests on what the answer's count is read from, so it costs nothing of its own. A session
        that came back before the removal was known here is ended.
        """
        now = self.now
        denied = self.services.badges.glance(space.id, now).denied
        persons = persons_of(user, beat.visitor_id, beat.session_id) if denied else ()
        until = until_when(denied, persons, now)
        if until is None:
            return
        self.record_leave(space, Leave(session_id=beat.session_id))
        raise ForbiddenError(
            f"You were removed from this space. You may come back after {iso(until)}.",
            headers={"Retry-After": str(max(1, whole_seconds(until - now)))},
        )

    def record_leave(self, space: Space, leave: Leave, *, stayed: int | None = None) -> None:
        """End a session's visit. ``stayed`` is how many seconds the client says it was."""
        self.services.desk.record_leave(
            space, leave, request=self.request.id, now=self.now, stayed=stayed
        )

    def count(self, space: Space, now: int) -> Count:
        """The count for the answer to a beat of somebody who is there."""
        seen = self.services.badges.glance(space.id, now)
        # The first beat of an empty space is answered before its count is published.
        return Count(max(seen.people, 1), seen.version, notice=shown(seen.notice, now))

    @property
    def device(self) -> str:
        """``desktop``, ``mobile`` or ``tablet``, by the User-Agent."""
        return device_of(self.request.headers.get("user-agent", ""))

    @property
    def country(self) -> str | None:
        """The viewer's country (ISO 3166, two letters) where the edge says it."""
        country = self.request.headers.get(_COUNTRY_HEADER, "")
        return country if _COUNTRY.fullmatch(country) else None

    def seen(self) -> dict[str, str]:
        """The facets that the request's headers say."""
        seen = {}
        if is_browser(self.request.headers.get("user-agent", "")):
            seen["device"] = self.device
        if self.country is not None:
            seen["country"] = self.country
        return seen
