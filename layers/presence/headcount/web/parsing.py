"""A beat or a leave from decoded JSON.

A valid body is checked in plain Python, which is all that a beat pays for. Anything else goes to
the models of ``headcount.web.bodies``, which decide, and explain what is wrong.
"""

from __future__ import annotations

from headcount.errors import InvalidRequestError
from headcount.model.beat import Beat, Leave, fitted, plain_beat, plain_leave

SEQ = {"type": "string", "pattern": "^[0-9]+$"}
"""The JSON Schema of ``seq`` as a query parameter."""


MAY_RETURN = {"type": "string", "enum": ["true", "false"]}
"""The JSON Schema of ``mayReturn`` as a query parameter."""


def parse_beat(body: object, space: str, connection: str = "") -> Beat:
    """A beat from decoded JSON, or InvalidRequestError.

    ``space`` and ``connection`` (the id of the WebSocket that sends it, if any) are stored with the
    beat, so less of what is only shown may fit.
    """
    beat = plain_beat(body)
    if beat is None:
        from headcount.web.bodies import BeatMessage, parse

        beat = parse(BeatMessage, body).beat
    return fitted(beat, space, connection)


def parse_leave(body: object) -> Leave:
    """A leave from decoded JSON, or InvalidRequestError."""
    leave = plain_leave(body)
    if leave is None:
        from headcount.web.bodies import LeaveMessage, parse

        leave = parse(LeaveMessage, body).leave
    return leave


def parse_may_return(text: str | None) -> bool:
    """``mayReturn`` from a query, or InvalidRequestError."""
    if text not in {None, "true", "false"}:
        raise InvalidRequestError("'mayReturn' must be true or false.")
    return text == "true"


def parse_seq(text: str) -> int:
    """``seq`` from a query, or InvalidRequestError. One that is too large is for the models."""
    if not (text.isascii() and text.isdecimal()):
        raise InvalidRequestError("'seq' must be a whole number.")
    return int(text[:17])
