"""A call of a route: its caller, and how every system records a beat."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs

from msgspec import Struct
from msgspec.structs import replace

from headcount.auth.tokens import takes_cookie, token_in
from headcount.errors import BusyError, ForbiddenError, InvalidRequestError, UnauthorizedError
from headcount.model.access import (
    SHARE_PREFIX,
    Action,
    Caller,
    Scope,
    covers,
    require_admin,
    require_scope,
)
from headcount.model.beat import MAX_IDENTIFIER, SOURCES, Beat, Leave, Tab, check_text, fitted
from headcount.model.intervals import Interval, interval_of
from headcount.model.moderation import NO_SUBJECT, Notice, active_notice, denied_until
from headcount.model.session import Facts, Session, persons_of
from headcount.model.space import Kind, Space
from headcount.times import iso, whole_seconds
from headcount.web.devices import TABLET, device_of, is_browser, sources_of
from headcount.web.http import Event, Request
from headcount.web.robots import AUTOMATED, robot_of

if TYPE_CHECKING:
    from headcount.wiring import Services

_COUNTRY = re.compile(r"[A-Z]{2}")
_AUTOMATED = re.compile(r'"robot"\s*:\s*true')  # as the clients of all systems say it
_COUNTRY_HEADER = "cloudfront-viewer-country"


class Identity(Struct, frozen=True):
    """The user a beat is from, if any. ``verified``: a token proves it."""

    user: str | None
    verified: bool
    name: str | None = None
    picture: str | None = None
    caller: Caller | None = None
    """Whose token the request carries, if it is valid here."""


def proven(caller: Caller, subject: str) -> Identity:
    """The identity that a token's subject proves.

    ForbiddenError where the subject can't be a userId: an admin could not name such a user later,
    to remove or to erase them.
    """
    try:
        check_text(subject, MAX_IDENTIFIER)
    except ValueError as error:
        raise ForbiddenError(
            f"The token's subject can't be a userId here: it {error}. Have it issued with a "
            "shorter or plainer 'sub', or send no token."
        ) from None
    return Identity(subject, True, caller.name, caller.picture, caller)


def _check_engagement(beat: Beat, kind: Kind) -> None:
    if unknown := sorted({*(beat.engagement or {})} - {*kind.engagement}):
        known = ", ".join(kind.engagement)
        raise InvalidRequestError(
            f"engagement may hold {known} in this kind of space, not {unknown[0]!r}. "
            "The Kinds parameter can name others."
        )


class BeatResult(Struct, frozen=True):
    """A recorded beat, and its space's published numbers for the response. ``people`` and
    ``version`` are None for callers who may not read the space's counts."""

    people: int | None
    version: int | None
    changed: bool = False
    """The beat was a join or a change."""
    notice: Notice | None = None
    """The message to everyone in the space, while it is shown."""


class Call(Struct, frozen=True):
    """A request to a route, with the decoded parameters of its path."""

    services: Services
    request: Request
    params: Mapping[str, str]

    @classmethod
    def from_socket_event(cls, services: Services, event: Event) -> Call:
        """Make a call of a WebSocket event, which has neither a method nor a path."""
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
        """The server's time in epoch milliseconds."""
        return self.services.clock()

    def query(self, name: str) -> str | None:
        """A query parameter, or None."""
        return self.request.query.get(name)

    def queries(self, name: str) -> list[str]:
        """A query parameter that may come several times."""
        raw = str(self.request.event.get("rawQueryString") or "")
        return parse_qs(raw, keep_blank_values=True).get(name, [])

    def space(self, kind: str, name: str) -> Space:
        """``kind:name``, or InvalidRequestError."""
        return self.services.settings.kinds.space(f"{kind}:{name}")

    @property
    def path_space(self) -> Space:
        """The space that the path names, or InvalidRequestError."""
        return self.services.settings.kinds.space(self.params["space"])

    # ------------------------------------------------------------------------------------ callers

    @property
    def has_token(self) -> bool:
        """The request carries a token, valid or not."""
        return self._token() is not None

    def require_admin(self) -> None:
        """Refuse callers who are not admins."""
        require_admin(self.authenticate())

    def require_scope(self, scope: Scope) -> None:
        """Refuse callers who are not admins and whose token lacks the scope."""
        require_scope(self.authenticate(), scope)

    def allowed_spaces(self, action: Action) -> frozenset[str]:
        """The spaces in which the caller may do this, in the form ``covers`` takes."""
        caller = self.authenticate()
        return caller.spaces(action) if caller is not None else frozenset()

    @property
    def actor(self) -> str:
        """The admin, as the activity log names them: the token's subject if it has one."""
        caller = self.caller()
        return (caller.subject if caller is not None else None) or NO_SUBJECT

    def log_action(self, space: Space, what: str, **parameters: Any) -> None:
        """Add to the activity log what an admin is about to do; if that fails, it is not done."""
        self.services.moderator.note(space, self.actor, what, **parameters)

    def require_counts(self, space: Space) -> None:
        """Refuse callers who may not see the space's counts."""
        if not space.kind.counts_are_public:
            self.require_scope(Scope(Action.READ, space.id))

    def require_names(self, space: Space) -> None:
        """Refuse callers who may not see the people in the space."""
        if space.kind.names == "public":
            return
        caller = self.authenticate()
        if space.kind.names == "users" and caller is not None and caller.share is None:
            return
        require_scope(caller, Scope(Action.PEOPLE, space.id))

    def caller(self) -> Caller | None:
        """The caller of an open route; None without a token, or with one that is not valid here,
        and for a share link, whose holder is nobody."""
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
        """The user a beat is from: a token proves its subject, an admin's proves any user."""
        return self.identify_as(self.caller(), claimed)

    def identify_as(self, caller: Caller | None, claimed: str | None) -> Identity:
        """The user a beat is from, by a token that was verified before."""
        if caller is not None and caller.admin:
            return Identity(claimed, verified=claimed is not None, caller=caller)
        if caller is not None and caller.subject is not None:
            if claimed not in {None, caller.subject}:
                raise ForbiddenError("The userId is not the token's subject. Leave userId out.")
            return proven(caller, caller.subject)
        if claimed is not None and self.services.settings.require_verified_users:
            raise UnauthorizedError("A userId needs that user's token here. Send it, or no userId.")
        return Identity(claimed, verified=False, caller=caller)

    def authenticate(self) -> Caller | None:
        """The caller; None without a token. UnauthorizedError if the token is not valid here."""
        token = self._token()
        if token is None:
            return None
        if token.startswith(SHARE_PREFIX):
            return self.services.share_links.caller(token)
        return self.services.verifier.verify(token)

    def _token(self) -> str | None:
        request = self.request
        settings = self.services.settings
        cookie = settings.token_cookie
        if cookie and not takes_cookie(request.method, request.headers, settings.allowed_origins):
            cookie = ""
        return token_in(request.headers, request.query, request.cookies, cookie)

    # -------------------------------------------------------------------------------------- beats

    def record_beat(
        self,
        space: Space,
        beat: Beat,
        identity: Identity,
        connection: str | None = None,
        *,
        tab: Tab | None = None,
        joins: bool = False,
        admitted: bool = False,
        robot: str | None = None,
        lease: int | None = None,
    ) -> BeatResult:
        """Store a beat, with its device and country if the request reveals them.

        ``connection``: the WebSocket that holds the session from now on. ``tab``: the sender, where
        tabs share a session. ``joins``: the client says that it has just come. ``admitted``: a join
        was admitted before. ``robot``: the robot that sends it, if the request does not say so.
        ``lease``: seconds that it keeps the session alive; None: as the kind says.
        """
        robot = robot or self.robot or (AUTOMATED if beat.robot else None)
        if robot is not None and not space.kind.counts_robots:
            self.services.meter.add("Robots")
            return self._published(space, identity.caller, self.now)
        _check_engagement(beat, space.kind)
        facets = {**self.observed_facets(), **beat.facets}
        if not space.kind.sources:
            facets = {name: text for name, text in facets.items() if name not in SOURCES}
        elif facets.get("device") == TABLET and facets.get("os") == "macOS":
            facets["os"] = "iOS"  # iPads call themselves Macs
        if robot is not None:
            facets["robot"] = robot
        if identity.user != beat.user_id or len(facets) > len(beat.facets):  # not in the size yet
            beat = replace(beat, user_id=identity.user, facets=facets)
            beat = fitted(beat, space.id, connection or "")
        else:
            beat = replace(beat, facets=facets)
        self.admit(space, beat, identity)
        facts = Facts.from_beat(beat, user=identity.user, verified=identity.verified)
        now = self.now
        changed = self.services.session_recorder.record_beat(
            space,
            beat,
            facts,
            request=self.request.id,
            now=now,
            connection=connection,
            tab=tab,
            joins=joins,
            lease=lease,
            admit_join=None if admitted else partial(self.admit_joins, space),
        )
        self.services.meter.add("Beats")
        return replace(self._published(space, identity.caller, now), changed=changed)

    @property
    def beat_url(self) -> str | None:
        """Where the client may send its beats from now on; None: where it sent this one."""
        # A stage of the API names it: the function can't, as its URL follows from the function.
        return (self.request.event.get("stageVariables") or {}).get("beatUrl")

    def interval(self, space: Space, state: str) -> Interval:
        """When a session is to beat next, and how long its beat keeps it alive."""
        now = self.now
        return interval_of(
            space.kind, state, self.services.summaries.summary(space.id, now).crowd, now
        )

    def record_touch(
        self, space: Space, session: str, page: str | None, *, tab: Tab | None = None
    ) -> None:
        """Store a beat of a client that identifies itself only when it joins."""
        if self.robot is not None and not space.kind.counts_robots:
            self.services.meter.add("Robots")
            return
        caller = self.caller()
        user = caller.subject if caller is not None else None
        self.admit(space, Beat(session_id=session), Identity(user, verified=user is not None))

        denied = self.services.summaries.summary(space.id, self.now).denied
        self.services.session_recorder.record_touch(
            space,
            session,
            page,
            user=user,
            request=self.request.id,
            now=self.now,
            tab=tab,
            # Without removals there is nothing to check.
            admit=partial(self.admit_session, space) if denied else None,
            admit_join=partial(self.admit_joins, space),
        )
        self.services.meter.add("Beats")

    def record_events(self, space: Space, session: str, number: int) -> None:
        """Charge a live session for events that it reports."""
        self.services.session_recorder.record_events(
            space,
            session,
            number,
            request=self.request.id,
            now=self.now,
            admit=partial(self.admit_session, space),
        )

    def admit_session(self, space: Space, row: Session) -> None:
        """Refuse a message of a stored session whose person was removed from the space."""
        who = row.facts
        beat = Beat(session_id=row.id, visitor_id=who.visitor)
        self.admit(space, beat, Identity(who.user, who.verified))

    def admit(self, space: Space, beat: Beat, identity: Identity) -> None:
        """Refuse the beat of a person who was removed from the space, and end their session.

        The session may have come back before this process learned of the removal. The check reads
        the row that the response's count comes from, so it adds no cost.
        """
        now = self.now
        denied = self.services.summaries.summary(space.id, now).denied
        if not denied:
            return
        persons = persons_of(
            identity.user, beat.visitor_id, beat.session_id, verified=identity.verified
        )
        until = denied_until(denied, persons, now)
        if until is None:
            return
        self.record_leave(space, Leave(session_id=beat.session_id))
        raise ForbiddenError(
            f"You were removed from this space. You may come back after {iso(until)}.",
            headers={"Retry-After": str(max(1, whole_seconds(until - now)))},
        )

    def record_leave(
        self,
        space: Space,
        leave: Leave,
        *,
        duration: int | None = None,
        tab: Tab | None = None,
        shared: bool = False,
        may_overtake: bool = True,
    ) -> None:
        """End a session's visit. ``duration``: its length in seconds as the client reports it.

        ``shared``: tabs may share the session, and only ``tab`` leaves if it is given.
        ``may_overtake``: the session's join may still be under way.
        """
        may_overtake = may_overtake and (self.robot is None or space.kind.counts_robots)
        self.services.session_recorder.record_leave(
            space,
            leave,
            request=self.request.id,
            now=self.now,
            duration=duration,
            tab=tab,
            shared=shared,
            may_overtake=may_overtake,
            admit_join=partial(self.admit_joins, space),
        )

    def may_ingest(self, space: Space) -> bool:
        """Whether the caller is a server of the deployment's own: the limits of strangers are not
        for them."""
        caller = self.caller()
        return caller is not None and covers(caller.spaces(Action.INGEST), space.id)

    def admit_joins(self, space: Space, sessions: int = 1) -> None:
        """Admit new sessions, or raise RateLimitError: so many may come from a network, and to new
        spaces of a kind, in a minute. -1: one that was admitted did not begin."""
        if sessions and not self.may_ingest(space):
            self.services.join_limits.admit(
                space,
                exists=self.services.summaries.summary(space.id, self.now).version > 0,
                source=self.source,
                now=self.now,
                sessions=sessions,
            )

    def admit_listener(self, space: Space) -> None:
        """Admit a socket that only listens to a space's count. RateLimitError if too many of its
        network were opened in this minute."""
        if not self.may_ingest(space):
            source = self.request.source(self.services.settings.edge_key)
            self.services.join_limits.admit_listener(source, self.now)

    def may_see_names(self, space: Space) -> bool:
        """Whether the caller may see the people in the space."""
        try:
            self.require_names(space)
        except (ForbiddenError, UnauthorizedError):
            return False
        return True

    def _published(self, space: Space, caller: Caller | None, now: int) -> BeatResult:
        """The space's published numbers, for the response to a beat, as far as the caller may read
        them: anybody can send a beat."""
        summary = self.services.summaries.summary(space.id, now)
        kind, reads = space.kind, covers(caller.spaces(Action.READ), space.id) if caller else False
        notice = active_notice(summary.notice, now) if kind.messages_are_public or reads else None
        if not (kind.counts_are_public or reads):
            return BeatResult(None, None, notice=notice)
        # The first beat of an empty space is answered before its count is published.
        return BeatResult(max(summary.people, 1), summary.version, notice=notice)

    @property
    def source(self) -> str:
        """The network that the request comes from; empty if it is not known."""
        return self.request.source(self.services.settings.edge_key)

    @property
    def robot(self) -> str | None:
        """The robot that sends the request, by its User-Agent or because it says so; else None."""
        request = self.request
        if (found := robot_of(request.headers.get("user-agent", ""))) is not None:
            return found
        body = request.event.get("body") or ""
        says_so = _AUTOMATED.search(body) or request.query.get("robot") == "true"
        return AUTOMATED if says_so else None

    @property
    def device(self) -> str:
        """``desktop``, ``mobile`` or ``tablet``, from the User-Agent."""
        return device_of(self.request.headers.get("user-agent", ""))

    @property
    def country(self) -> str | None:
        """The viewer's country (ISO 3166, two letters); None if the edge does not send it."""
        country = self.request.headers.get(_COUNTRY_HEADER, "")
        return country if _COUNTRY.fullmatch(country) else None

    def observed_facets(self) -> dict[str, str]:
        """The facets that follow from the request's headers."""
        facets: dict[str, str] = {}
        if is_browser(self.request.headers.get("user-agent", "")):
            facets = {"device": self.device, **sources_of(self.request.headers)}
        if self.country is not None:
            facets["country"] = self.country
        return facets
