"""The routes that a visitor's client calls: the hot path imports no router and no logger."""

from __future__ import annotations

import re
from urllib.parse import unquote

from headcount.beats import Beat, Leave, parse_beat, parse_leave
from headcount.clients import Services
from headcount.errors import (
    BusyError,
    ForbiddenError,
    InvalidRequestError,
    MethodNotAllowedError,
    UnauthorizedError,
)
from headcount.session import Facts
from headcount.times import SECOND
from headcount.tokens import Caller, token_in
from headcount.web.http import Request, Response, respond

_PATH = re.compile(r"/v1/spaces/([^/]+)/presence(/leave)?")

_COUNT_LIFE = SECOND
_COUNTS_KEPT = 1_000


class PresenceRoutes:
    """POST and DELETE of a presence, and the leave beacon.

    Remembers each space's published count for a second, so that the counts which beats carry cost
    at most one half-unit read per space, second and process.
    """

    def __init__(self, services: Services) -> None:
        self._services = services
        self._counts: dict[str, tuple[int, int, int]] = {}  # space -> read at, people, version

    def handle(self, request: Request) -> Response | None:
        """The response, or None when the request is for another route."""
        match = _PATH.fullmatch(request.path)
        if match is None:
            return None
        if match[2]:
            if request.method != "POST":
                raise MethodNotAllowedError(request.method, request.path, ["POST"])
            return self._leave(request, match[1], parse_leave(request.json()))
        if request.method == "POST":
            return self._beat(request, match[1])
        if request.method == "DELETE":
            return self._leave(request, match[1], _leave_in(request))
        raise MethodNotAllowedError(request.method, request.path, ["POST", "DELETE"])

    def _beat(self, request: Request, space_id: str) -> Response:
        services = self._services
        space = services.settings.kinds.space(unquote(space_id))
        beat = parse_beat(request.json(), space.id)
        user, verified = self._identity(request, beat)
        facts = Facts.of(beat, user=user, verified=verified)
        now = services.clock()
        services.desk.record_beat(space, beat, facts, request=request.id, now=now)
        people, version = self._count(space.id, now)
        return respond(
            {
                "success": True,
                "space": space.id,
                # The first beat of an empty space is answered before its count is published.
                "count": max(people, 1),
                "version": version,
                "leaseSeconds": space.kind.lease_for(beat.state),
                "nextBeatIn": space.kind.beat_for(beat.state),
            }
        )

    def _leave(self, request: Request, space_id: str, leave: Leave) -> Response:
        services = self._services
        space = services.settings.kinds.space(unquote(space_id))
        services.desk.record_leave(space, leave, request=request.id, now=services.clock())
        return respond({"success": True, "space": space.id})

    def _identity(self, request: Request, beat: Beat) -> tuple[str | None, bool]:
        """(user, proven?). A token proves its subject; an admin's may speak for anyone."""
        caller = self._caller(request)
        if caller is not None and caller.admin:
            return beat.user_id, beat.user_id is not None
        if caller is not None and caller.subject is not None:
            if beat.user_id not in {None, caller.subject}:
                raise ForbiddenError("The userId is not the token's subject. Leave userId out.")
            return caller.subject, True
        if beat.user_id is not None and self._services.settings.require_verified_users:
            raise UnauthorizedError("A userId needs that user's token here. Send it, or no userId.")
        return beat.user_id, False

    def _caller(self, request: Request) -> Caller | None:
        settings = self._services.settings
        token = token_in(request.headers, request.query, request.cookies, settings.token_cookie)
        if token is None:
            return None
        try:
            return self._services.verifier.verify(token)
        except UnauthorizedError:
            return None  # an open route: what is no token of ours makes nobody
        except BusyError:
            if settings.require_verified_users:
                raise
            return None

    def _count(self, space: str, now: int) -> tuple[int, int]:
        read_at, people, version = self._counts.get(space, (-_COUNT_LIFE, 0, 0))
        if not 0 <= now - read_at < _COUNT_LIFE:
            people, version = self._services.headcounts.people(space)
            if len(self._counts) >= _COUNTS_KEPT:
                self._counts.clear()
            self._counts[space] = now, people, version
        return people, version


def _leave_in(request: Request) -> Leave:
    seq = request.query.get("seq")
    if seq is not None and not (seq.isascii() and seq.isdecimal()):
        raise InvalidRequestError("'seq' must be a whole number.")
    session = request.query.get("sessionId")
    message: dict[str, object] = {} if session is None else {"sessionId": session}
    return parse_leave(message if seq is None else {**message, "seq": int(seq[:17])})
