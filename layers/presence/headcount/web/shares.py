"""Share links, and what a token allows."""

from __future__ import annotations

import re
from typing import Annotated, Literal
from urllib.parse import quote

from pydantic import Field
from typing_extensions import TypedDict

from headcount.errors import InvalidRequestError, NotFoundError
from headcount.model.access import Action, Scope, require_caller, require_scope
from headcount.model.share import LONGEST, SHORTEST, Share
from headcount.times import DAY, SECOND, iso
from headcount.usecases.parameters import time_in
from headcount.web.bodies import Message, parse, text_up_to
from headcount.web.calls import Call
from headcount.web.http import respond_error
from headcount.web.routing import Reply, Route, Who

shape_error = respond_error

_DEFAULT_LIFE = 7 * DAY
_ID = re.compile(r"[A-Za-z0-9-]{1,32}")
_SAMPLE = '{"space": "site:main", "expiresIn": 604800}'


class LinkToMake(Message):
    """What the link shows: a ``space``, or all spaces of a ``kind``. ``expiresIn``: seconds from
    now, by default 7 days, at most 366; or ``expiresAt``: a time. ``view``: ``wall`` opens the wall
    display. The ``label`` says in lists what the link is for."""

    space: Annotated[str, text_up_to(200)] | None = None
    kind: Annotated[str, text_up_to(32)] | None = None
    expires_in: Annotated[int, Field(ge=SHORTEST // SECOND, le=LONGEST // SECOND)] | None = None
    expires_at: Annotated[str, text_up_to(40)] | None = None
    label: Annotated[str, text_up_to(80)] | None = None
    view: Literal["wall"] | None = None


class Link(TypedDict):
    """A share link; ``space`` is a space, or ``kind:*``."""

    id: str
    space: str
    label: str | None
    createdAt: str
    expiresAt: str
    revokedAt: str | None
    state: Literal["open", "expired", "revoked"]


class _Succeeded(TypedDict):
    success: bool


class NewLink(_Succeeded, Link):
    """A new link. Only this answer has its secret: in ``url`` and, alone, in ``token``."""

    url: str
    token: str


class Links(TypedDict):
    """The links that the token may revoke, the newest first, until 30 days after their end."""

    success: bool
    shares: list[Link]


class Revoked(_Succeeded, Link):
    """The link opens nothing any more. What it had opened is closed within seconds."""


class ShareOfCaller(TypedDict):
    """The share link that takes the place of a token."""

    id: str
    space: str
    expiresAt: str


class Rights(TypedDict):
    """What a token allows: for each action, the spaces where, as a space, ``kind:*`` or ``*``.
    ``name``: the user's, else their id. ``share``: the link, if the caller has one instead."""

    success: bool
    admin: bool
    name: str | None
    allows: dict[str, list[str]]
    share: ShareOfCaller | None


def create(call: Call) -> Reply:
    """Make a share link. Anyone with it reads the numbers of a space, or of a kind, and their
    history, but neither names nor sessions. To make one takes the scope to read there, too."""
    body = parse(LinkToMake, call.request.json(), _SAMPLE)
    where = _where(call, body)
    caller = call.authenticate()
    for action in (Action.SHARE, Action.READ):
        require_scope(caller, Scope(action, where))
    share, token = call.services.sharing.create(
        where, _end(body, call.now), body.label, by=call.actor
    )
    new: NewLink = {
        "success": True,
        **_link(share, call.now),
        "url": f"{_origin(call)}/dashboard#{_fragment(where, token, body.view)}",
        "token": token,
    }
    return Reply(new, status=201)


def links(call: Call) -> Links:
    """List the share links that the token may revoke."""
    found = call.services.sharing.list(call.allowed_spaces(Action.SHARE))
    return {"success": True, "shares": [_link(share, call.now) for share in found]}


def revoke(call: Call) -> Revoked:
    """Revoke a share link: it opens nothing any more, and what it opened is closed."""
    id_ = call.params["share"]
    if not _ID.fullmatch(id_):
        raise NotFoundError("There is no share link with this id.")
    spaces = call.allowed_spaces(Action.SHARE)
    share = call.services.sharing.revoke(id_, spaces, by=call.actor)
    return {"success": True, **_link(share, call.now)}


def rights(call: Call) -> Rights:
    """What the token allows, so that a screen can show just that."""
    caller = require_caller(call.authenticate())
    allows = {action.value: sorted(caller.spaces(action)) for action in Action}
    share: ShareOfCaller | None = None
    if caller.share is not None and caller.until is not None:
        (where,) = caller.spaces(Action.READ)
        share = {"id": caller.share, "space": where, "expiresAt": iso(caller.until)}
    return {
        "success": True,
        "admin": caller.admin,
        "name": caller.name or caller.subject,
        "allows": {action: spaces for action, spaces in allows.items() if spaces},
        "share": share,
    }


def _where(call: Call, body: LinkToMake) -> str:
    """A space, or ``kind:*``, that exists here."""
    if (body.space is None) == (body.kind is None):
        raise InvalidRequestError(f"Send a space, or a kind: for example {_SAMPLE}.")
    kinds = call.services.settings.kinds
    if body.space is not None:
        return kinds.space(body.space).id
    return f"{kinds.kind(body.kind or '').name}:*"


def _end(body: LinkToMake, now: int) -> int:
    if body.expires_in is not None and body.expires_at is not None:
        raise InvalidRequestError("Send expiresIn or expiresAt, not both.")
    if body.expires_at is None:
        return now + (_DEFAULT_LIFE if body.expires_in is None else body.expires_in * SECOND)
    end = time_in("expiresAt", body.expires_at, now)
    if not now + SHORTEST <= end <= now + LONGEST:
        raise InvalidRequestError("expiresAt must be between a minute and 366 days from now.")
    return end


def _origin(call: Call) -> str:
    """Where the caller reached this API. Behind the edge that is the API's own address."""
    headers = call.request.headers
    return f"{headers.get('x-forwarded-proto', 'https')}://{headers.get('host', '')}"


def _fragment(where: str, token: str, view: str | None) -> str:
    """The part of the link that browsers send to no server."""
    kind, _, rest = where.partition(":")
    place = f"view=spaces&kind={kind}" if rest == "*" else f"space={quote(where, safe=':')}"
    return f"token={token}&{place}" + (f"&show={view}" if view else "")


def _link(share: Share, now: int) -> Link:
    ended: Literal["expired", "revoked"] = "expired" if share.revoked_at is None else "revoked"
    return {
        "id": share.id,
        "space": share.where,
        "label": share.label,
        "createdAt": iso(share.at),
        "expiresAt": iso(share.until),
        "revokedAt": iso(share.revoked_at) if share.revoked_at is not None else None,
        "state": "open" if share.is_open(now) else ended,
    }


_SHARE = Scope(Action.SHARE, None)

ROUTES = [
    Route(
        "POST",
        "/v1/shares",
        create,
        Who.ADMIN,
        NewLink,
        body=LinkToMake,
        status=201,
        errors=[409],
        needs=_SHARE,
    ),
    Route("GET", "/v1/shares", links, Who.ADMIN, Links, needs=_SHARE),
    Route("DELETE", "/v1/shares/<share>", revoke, Who.ADMIN, Revoked, errors=[404], needs=_SHARE),
    Route("GET", "/v1/token", rights, Who.HOLDER, Rights),
]
