"""What a client may say in a beat or a leave, and the limits that keep a row under 1 KB."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal, TypeVar

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    PlainValidator,
    ValidationError,
    WithJsonSchema,
)
from pydantic.alias_generators import to_camel
from pydantic_core import CoreSchema, core_schema

from headcount.errors import InvalidRequestError

MAX_FACETS = 8
MAX_RIDING = 8
"""Names in each of quality, engagement and details."""
MAX_IDENTIFIER = 128
"""Bytes of a session, visitor or user id."""
MAX_TOTAL_BYTES = 600
"""All of a beat's texts and the space's id together (a riding number counts as 10): with attribute
names, numbers and nine days of beats the row stays within one write unit (1 KB)."""

_NUMBER_BYTES = 10

_FACET_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_-]{0,31}")
_NAMES = {"pattern": f"^{_FACET_NAME.pattern}$"}
PRINTABLE = r"^[^\u0000-\u001f\u007f]*$"
_CONTROL = re.compile(r"[\x00-\x1f\x7f\ud800-\udfff]")


def check_text(value: str, limit: int) -> str:
    """The text, if it has at most that many bytes and no control characters; else ValueError."""
    if _CONTROL.search(value):
        raise ValueError("must not contain control characters")
    if len(value.encode()) > limit:
        raise ValueError(f"must be at most {limit} bytes, it is {len(value.encode())}")
    return value


@dataclass(frozen=True, eq=False)
class Rule:
    """A check of what came in, and what of it can be said in JSON Schema."""

    check: Callable[[Any], Any]
    says: Mapping[str, Any]

    def __get_pydantic_core_schema__(self, source: Any, handler: Any) -> CoreSchema:
        """The check comes after those of the type itself."""
        return core_schema.no_info_after_validator_function(self.check, handler(source))

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: Any) -> dict[str, Any]:
        """For the API's document."""
        return {**handler(schema), **self.says}


def text_up_to(limit: int) -> Rule:
    """A text of at most that many bytes, without control characters."""
    says = {"maxLength": limit, "pattern": PRINTABLE}
    return Rule(lambda value: check_text(value, limit), says)


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


def _riding(value: Mapping[str, object]) -> Mapping[str, object]:
    if len(value) > MAX_RIDING:
        raise ValueError(f"must hold at most {MAX_RIDING} names, it holds {len(value)}")
    for name in value:
        if not _FACET_NAME.fullmatch(name):
            raise ValueError(
                "has a name that is not valid: a letter, then up to 31 letters, digits, '_' or '-'"
            )
    return value


Identifier = Annotated[str, Field(min_length=1), text_up_to(MAX_IDENTIFIER)]


class Message(BaseModel):
    """What clients send: camelCase on the wire."""

    # Strict: a number where a string belongs is a client's bug, and storing it would hide it.
    # Unknown fields are ignored, so that a newer client works with an older deployment.
    model_config = ConfigDict(
        strict=True, frozen=True, alias_generator=to_camel, populate_by_name=True
    )


AnyModel = TypeVar("AnyModel", bound=BaseModel)


def _number(value: object) -> int | float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError("must be a number")  # noqa: TRY004 - pydantic makes sentences of these
    if not -_EXACT <= value <= _EXACT:
        raise ValueError("must be a number between -2^53 and 2^53")
    # DynamoDB takes no number that is next to nothing.
    return round(value, _DECIMALS) if isinstance(value, float) else value


def _text_or_number(value: object) -> str | int | float:
    if not isinstance(value, str):
        return _number(value)
    if not value:
        raise ValueError("must not be empty")
    return check_text(value, _DETAIL)


_DECIMALS = 6
_EXACT = 2**53  # beyond it JavaScript's numbers are no longer exact
_DETAIL = 200

_NUMBER_SCHEMA = {"type": "number", "minimum": -_EXACT, "maximum": _EXACT}
_TEXT_SCHEMA = {"type": "string", "minLength": 1, "maxLength": _DETAIL, "pattern": PRINTABLE}

# Plain functions: of a union's members pydantic would complain about each.
Number = Annotated[float, PlainValidator(_number), WithJsonSchema(_NUMBER_SCHEMA)]
Detail = Annotated[
    str | float,
    PlainValidator(_text_or_number),
    WithJsonSchema({"anyOf": [_TEXT_SCHEMA, _NUMBER_SCHEMA]}),
]
_Riding = Rule(_riding, {"maxProperties": MAX_RIDING, "propertyNames": _NAMES})
Quality = Annotated[dict[str, Number], _Riding]
Engagement = Annotated[dict[str, Annotated[int, Field(ge=0, le=2**31)]], _Riding]
Details = Annotated[dict[str, Detail], _Riding]


def _not_ours(value: str) -> str:
    if value.startswith(OWN):
        raise ValueError(f"must not begin with '{OWN}': such ids are Headcount's own")
    return value


OWN = "~"
"""Sessions that an adapter names after a person begin with it: nobody else may speak for them."""

SessionId = Annotated[
    Identifier,
    Rule(_not_ours, {"pattern": rf"^[^{OWN}\u0000-\u001f\u007f][^\u0000-\u001f\u007f]*$"}),
]

_Facets = Rule(
    _facets,
    {"maxProperties": MAX_FACETS, "propertyNames": {**_NAMES, "not": {"const": "page"}}},
)


class Leave(Message):
    """``{sessionId, seq?}``: this session left."""

    session_id: SessionId
    seq: Annotated[int, Field(ge=0, le=2**53)] | None = None


class Beat(Message):
    """``{sessionId, visitorId?, userId?, name?, avatar?, page?, facets?, state?, seq?, ...}``.

    "I am still here, and this is what I am doing." ``seq`` grows with every message of a
    session (join, beat and leave alike); with it, messages that arrive late change nothing.

    ``quality`` (numbers, averaged over the sessions: bandwidth, latency, ...), ``engagement``
    (how often so far in this visit, added up: chat, reaction, ...) and ``details`` (shown beside
    the session: position, title, ...) ride along: they make no beat a change. Each stays as it was
    last said where a beat leaves it out.
    """

    session_id: SessionId
    visitor_id: Identifier | None = None
    user_id: Identifier | None = None
    name: Annotated[str, text_up_to(100)] | None = None
    avatar: Annotated[str, text_up_to(300)] | None = None
    page: Annotated[str, text_up_to(300)] | None = None
    facets: Annotated[dict[str, Annotated[str, Field(min_length=1), text_up_to(64)]], _Facets] = (
        Field(default_factory=dict)
    )
    state: Literal["active", "hidden"] = "active"
    seq: Annotated[int, Field(ge=0, le=2**53)] | None = None
    quality: Quality | None = None
    engagement: Engagement | None = None
    details: Details | None = None


def parse_beat(body: object, space: str) -> Beat:
    """A beat in a space from decoded JSON, or InvalidRequestError."""
    beat = parse(Beat, body)
    check_size(beat, space)
    return beat


def check_size(beat: Beat, space: str) -> None:
    """Refuse a beat whose row would not fit one write unit."""
    words = [beat.session_id, beat.visitor_id, beat.user_id, beat.name, beat.avatar, beat.page]
    riding = [said for said in (beat.quality, beat.engagement, beat.details) if said]
    texts: list[object] = [space, *words, *beat.facets, *beat.facets.values()]
    texts += [part for said in riding for pair in said.items() for part in pair]
    total = sum(
        len(text.encode()) if isinstance(text, str) else _NUMBER_BYTES
        for text in texts
        if text is not None
    )
    if total > MAX_TOTAL_BYTES:
        raise InvalidRequestError(
            f"The beat is too large: its texts and the space are {total} bytes together, "
            f"at most {MAX_TOTAL_BYTES} are allowed. Shorten page, avatar, facets or details."
        )


def parse_leave(body: object) -> Leave:
    """A leave from decoded JSON, or InvalidRequestError."""
    return parse(Leave, body)


def parse(model: type[AnyModel], body: object, example: str = '{"sessionId": "s1"}') -> AnyModel:
    """A model from decoded JSON, or InvalidRequestError with a sentence for each problem."""
    if not isinstance(body, dict):
        raise InvalidRequestError(f"The body must be a JSON object, for example {example}.")
    try:
        return model.model_validate(body)
    except ValidationError as error:
        numbers = {
            field.alias for field in model.model_fields.values() if field.annotation in (int, float)
        }
        problems = error.errors(include_url=False)
        details = [_sentence(problem, numbers) for problem in problems]
        raise InvalidRequestError(details[0], details) from None


def _limit(said: Mapping[str, int]) -> str:
    if "gt" in said:
        return f"must be more than {said['gt']:.15g}"
    if "ge" in said:
        return f"must be {said['ge']:.15g} or more"
    return f"must be at most {'2^53' if said['le'] == _EXACT else format(said['le'], '.15g')}"


_MAPPINGS = {"facets", "quality", "engagement", "details"}
_REASONS = {
    "missing": "is missing: send it as a string",
    "string_type": "must be a string",
    "string_unicode": "must be text: it holds half a character",
    "int_type": "must be a whole number",
    "float_type": "must be a number",
    "finite_number": "must be a number",
    "bool_type": "must be true or false",
    "int_from_float": "must be a whole number",
    "dict_type": "must be an object of strings",
    "string_too_short": "must not be empty",
}


def _sentence(problem: object, numbers: Collection[str | None] = ()) -> str:
    """One validation problem as a sentence; it never repeats the value, which may be personal."""
    assert isinstance(problem, dict)
    path = [str(part) for part in problem["loc"] if part != "[key]"]
    field = path[0] if path else "body"
    kind = str(problem["type"])
    if kind == "value_error":
        reason = str(problem["ctx"]["error"])
    elif kind == "literal_error":
        reason = f"must be {problem['ctx']['expected']}"
    elif kind == "missing" and field in numbers:
        reason = "is missing: send it as a number"
    else:
        reason = _REASONS.get(kind, str(problem["msg"]))
    if kind in {"greater_than", "greater_than_equal", "less_than_equal"}:
        reason = _limit(problem["ctx"])
    where = f"a value in {field}" if field in _MAPPINGS and len(path) > 1 else field
    return f"{where} {reason}."
