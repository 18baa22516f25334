"""What clients send, as models: they say what is wrong with it, and what it may look like."""

from __future__ import annotations

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

from headcount.beats import (
    EXACT,
    MAX_AVATAR,
    MAX_DETAIL,
    MAX_ENGAGEMENT,
    MAX_FACET,
    MAX_FACETS,
    MAX_IDENTIFIER,
    MAX_NAME,
    MAX_PAGE,
    MAX_RIDING,
    MAX_SEQ,
    NAME,
    OWN,
    Beat,
    Leave,
    check_detail,
    check_facets,
    check_not_ours,
    check_number,
    check_riding,
    check_text,
)
from headcount.errors import InvalidRequestError

_NAMES = {"pattern": f"^{NAME.pattern}$"}
CONTROLS = r"\u0000-\u001f\u007f-\u009f"
"""Control characters, for within brackets of a JSON Schema's pattern."""
PRINTABLE = f"^[^{CONTROLS}]*$"


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


Identifier = Annotated[str, Field(min_length=1), text_up_to(MAX_IDENTIFIER)]
Seq = Annotated[int, Field(ge=0, le=MAX_SEQ)]


class Message(BaseModel):
    """What clients send: camelCase on the wire."""

    # Strict: a number where a string belongs is a client's bug, and storing it would hide it.
    # Unknown fields are ignored, so that a newer client works with an older deployment.
    model_config = ConfigDict(
        strict=True, frozen=True, alias_generator=to_camel, populate_by_name=True
    )


AnyModel = TypeVar("AnyModel", bound=BaseModel)

_NUMBER_SCHEMA = {"type": "number", "minimum": -EXACT, "maximum": EXACT}
_TEXT_SCHEMA = {"type": "string", "minLength": 1, "maxLength": MAX_DETAIL, "pattern": PRINTABLE}

# Plain functions: of a union's members pydantic would complain about each.
Number = Annotated[float, PlainValidator(check_number), WithJsonSchema(_NUMBER_SCHEMA)]
Detail = Annotated[
    str | float,
    PlainValidator(check_detail),
    WithJsonSchema({"anyOf": [_TEXT_SCHEMA, _NUMBER_SCHEMA]}),
]
_Riding = Rule(check_riding, {"maxProperties": MAX_RIDING, "propertyNames": _NAMES})
Quality = Annotated[dict[str, Number], _Riding]
Engagement = Annotated[dict[str, Annotated[int, Field(ge=0, le=MAX_ENGAGEMENT)]], _Riding]
Details = Annotated[dict[str, Detail], _Riding]

NOT_OURS = f"^[^{OWN}{CONTROLS}][^{CONTROLS}]*$"
SessionId = Annotated[Identifier, Rule(check_not_ours, {"pattern": NOT_OURS})]
VisitorId = SessionId

Facets = Annotated[
    dict[str, Annotated[str, Field(min_length=1), text_up_to(MAX_FACET)]],
    Rule(
        check_facets,
        {"maxProperties": MAX_FACETS, "propertyNames": {**_NAMES, "not": {"const": "page"}}},
    ),
]


class LeaveMessage(Message):
    """``{sessionId, seq?}``: this session left."""

    model_config = ConfigDict(title="Leave")

    session_id: SessionId
    seq: Seq | None = None

    @property
    def leave(self) -> Leave:
        """What it says."""
        return Leave(**dict(self))


class BeatMessage(Message):
    """``{sessionId, visitorId?, userId?, name?, avatar?, page?, facets?, state?, seq?, ...}``.

    "I am still here, and this is what I am doing." ``seq`` grows with every message of a
    session (join, beat and leave alike); with it, messages that arrive late change nothing.

    ``quality`` (numbers, averaged over the sessions: bandwidth, latency, ...), ``engagement``
    (how often so far in this visit, added up: chat, reaction, ...) and ``details`` (shown beside
    the session: position, title, ...) ride along: they make no beat a change. Each stays as it was
    last said where a beat leaves it out.

    ``changed`` says that anything else differs from what this session said last: such a beat is
    then one write instead of two. It is a hint, so what is stored never depends on it.
    """

    model_config = ConfigDict(title="Beat")

    session_id: SessionId
    visitor_id: VisitorId | None = None
    user_id: Identifier | None = None
    name: Annotated[str, text_up_to(MAX_NAME)] | None = None
    avatar: Annotated[str, text_up_to(MAX_AVATAR)] | None = None
    page: Annotated[str, text_up_to(MAX_PAGE)] | None = None
    facets: Facets = Field(default_factory=dict)
    state: Literal["active", "hidden"] = "active"
    seq: Seq | None = None
    quality: Quality | None = None
    engagement: Engagement | None = None
    details: Details | None = None
    changed: bool = False

    @property
    def beat(self) -> Beat:
        """What it says."""
        return Beat(**dict(self))


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
    return f"must be at most {'2^53' if said['le'] == EXACT else format(said['le'], '.15g')}"


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
