"""What a client may say in a beat or a leave, and the limits that keep a row under 1 KB."""

from __future__ import annotations

import re
from typing import Annotated, Literal, TypeVar

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError
from pydantic.alias_generators import to_camel

from headcount.errors import InvalidRequestError

MAX_FACETS = 8
MAX_IDENTIFIER = 128
"""Bytes of a session, visitor or user id."""
MAX_TOTAL_BYTES = 600
"""All of a beat's texts and the space's id together: with attribute names, numbers and nine days of
beats the row stays within one write unit (1 KB)."""

_FACET_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_-]{0,31}")
_CONTROL = re.compile(r"[\x00-\x1f\x7f\ud800-\udfff]")


def _text(limit: int) -> AfterValidator:
    def check(value: str) -> str:
        if _CONTROL.search(value):
            raise ValueError("must not contain control characters")
        if len(value.encode()) > limit:
            raise ValueError(f"must be at most {limit} bytes, it is {len(value.encode())}")
        return value

    return AfterValidator(check)


def _facets(value: dict[str, str]) -> dict[str, str]:
    if len(value) > MAX_FACETS:
        raise ValueError(f"must hold at most {MAX_FACETS} facets, it holds {len(value)}")
    for name in value:
        if not _FACET_NAME.fullmatch(name):
            raise ValueError(
                "has a name that is not valid: a letter, then up to 31 letters, digits, '_' or '-'"
            )
        if name == "page":
            raise ValueError("must not name 'page': send it as the field 'page'")
    return value


Identifier = Annotated[str, Field(min_length=1), _text(MAX_IDENTIFIER)]


class _Message(BaseModel):
    # Strict: a number where a string belongs is a client's bug, and storing it would hide it.
    # Unknown fields are ignored, so that a newer client works with an older deployment.
    model_config = ConfigDict(
        strict=True, frozen=True, alias_generator=to_camel, populate_by_name=True
    )


_AnyMessage = TypeVar("_AnyMessage", bound=_Message)


class Leave(_Message):
    """``{sessionId, seq?}``: this session left."""

    session_id: Identifier
    seq: Annotated[int, Field(ge=0, le=2**53)] | None = None


class Beat(_Message):
    """``{sessionId, visitorId?, userId?, name?, avatar?, page?, facets?, state?, seq?}``.

    "I am still here, and this is what I am doing." ``seq`` grows with every message of a
    session (join, beat and leave alike); with it, messages that arrive late change nothing.
    """

    session_id: Identifier
    visitor_id: Identifier | None = None
    user_id: Identifier | None = None
    name: Annotated[str, _text(100)] | None = None
    avatar: Annotated[str, _text(300)] | None = None
    page: Annotated[str, _text(300)] | None = None
    facets: Annotated[
        dict[str, Annotated[str, Field(min_length=1), _text(64)]], AfterValidator(_facets)
    ] = Field(default_factory=dict)
    state: Literal["active", "hidden"] = "active"
    seq: Annotated[int, Field(ge=0, le=2**53)] | None = None


def parse_beat(body: object, space: str) -> Beat:
    """A beat in a space from decoded JSON, or InvalidRequestError."""
    beat = _parse(Beat, body)
    words = [beat.session_id, beat.visitor_id, beat.user_id, beat.name, beat.avatar, beat.page]
    texts = (space, *words, *beat.facets, *beat.facets.values())
    total = sum(len(text.encode()) for text in texts if text)
    if total > MAX_TOTAL_BYTES:
        raise InvalidRequestError(
            f"The beat is too large: its texts and the space are {total} bytes together, "
            f"at most {MAX_TOTAL_BYTES} are allowed. Shorten page, avatar or facets."
        )
    return beat


def parse_leave(body: object) -> Leave:
    """A leave from decoded JSON, or InvalidRequestError."""
    return _parse(Leave, body)


def _parse(model: type[_AnyMessage], body: object) -> _AnyMessage:
    if not isinstance(body, dict):
        raise InvalidRequestError(
            'The body must be a JSON object, for example {"sessionId": "s1"}.'
        )
    try:
        return model.model_validate(body)
    except ValidationError as error:
        details = [_sentence(problem) for problem in error.errors(include_url=False)]
        raise InvalidRequestError(details[0], details) from None


_REASONS = {
    "missing": "is missing: send it as a string",
    "string_type": "must be a string",
    "int_type": "must be a whole number",
    "dict_type": "must be an object of strings",
    "string_too_short": "must not be empty",
    "greater_than_equal": "must be 0 or more",
    "less_than_equal": "must be at most 2^53",
}


def _sentence(problem: object) -> str:
    """One validation problem as a sentence; it never repeats the value, which may be personal."""
    assert isinstance(problem, dict)
    path = [str(part) for part in problem["loc"] if part != "[key]"]
    field = path[0] if path else "body"
    kind = str(problem["type"])
    if kind == "value_error":
        reason = str(problem["ctx"]["error"])
    elif kind == "literal_error":
        reason = f"must be {problem['ctx']['expected']}"
    else:
        reason = _REASONS.get(kind, str(problem["msg"]))
    where = f"a value in {field}" if field == "facets" and len(path) > 1 else field
    return f"{where} {reason}."
