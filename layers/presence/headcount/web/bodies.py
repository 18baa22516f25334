"""Request bodies as models, which explain what is wrong with a body and yield its JSON Schema."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal, TypeVar, get_origin

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
from headcount.model.beat import (
    KEY_NAME,
    MAX_AVATAR,
    MAX_BEAT_FACETS,
    MAX_DETAIL,
    MAX_ENGAGEMENT,
    MAX_EXACT,
    MAX_FACET,
    MAX_IDENTIFIER,
    MAX_NAME,
    MAX_PAGE,
    MAX_SEQ,
    MAX_TELEMETRY,
    OWN_PREFIX,
    Beat,
    Leave,
    Tab,
    check_detail,
    check_details,
    check_facets,
    check_not_ours,
    check_number,
    check_telemetry,
    check_text,
    shown,
    shown_avatar,
    shown_page,
)

_NAMES = {"pattern": f"^{KEY_NAME.pattern}$"}
CONTROLS = r"\u0000-\u001f\u007f-\u009f"
"""Control characters, for within brackets of a JSON Schema's pattern."""
PRINTABLE = f"^[^{CONTROLS}]*$"


@dataclass(frozen=True, eq=False)
class Rule:
    """A check of a value, and the JSON Schema keywords that express as much of it as they can."""

    check: Callable[[Any], Any]
    keywords: Mapping[str, Any]

    def __get_pydantic_core_schema__(self, source: Any, handler: Any) -> CoreSchema:
        """Run the check after those of the type itself."""
        return core_schema.no_info_after_validator_function(self.check, handler(source))

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: Any) -> dict[str, Any]:
        """Add the keywords, for the OpenAPI document."""
        return {**handler(schema), **self.keywords}


def text_up_to(limit: int) -> Rule:
    """A rule for text of at most ``limit`` bytes, without control characters."""
    keywords = {"maxLength": limit, "pattern": PRINTABLE}
    return Rule(lambda value: check_text(value, limit), keywords)


@dataclass(frozen=True, eq=False)
class Shown:
    """What is made of a text that is only shown, before anything else is checked."""

    make: Callable[[Any], Any]
    description: str

    def __get_pydantic_core_schema__(self, source: Any, handler: Any) -> CoreSchema:
        """Make it of texts only: anything else is refused by the type."""
        return core_schema.no_info_before_validator_function(
            lambda value: self.make(value) if isinstance(value, str) else value, handler(source)
        )

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: Any) -> dict[str, Any]:
        """Describe it, for the OpenAPI document."""
        return {**handler(schema), "description": self.description}


def cut_to(limit: int) -> Shown:
    """A text that is only shown: as much of it as fits into ``limit`` bytes."""
    return Shown(lambda value: shown(value, limit), f"Stored up to {limit} bytes")


Name = Annotated[str, cut_to(MAX_NAME)]
Avatar = Annotated[str | None, Shown(shown_avatar, f"Left out if over {MAX_AVATAR} bytes")]
Page = Annotated[str, Shown(shown_page, f"Without needless escapes, and up to {MAX_PAGE} bytes")]
Identifier = Annotated[str, Field(min_length=1), text_up_to(MAX_IDENTIFIER)]
Seq = Annotated[int, Field(ge=0, le=MAX_SEQ)]


class Message(BaseModel):
    """A request body: camelCase on the wire."""

    # Strict: a number in place of a string is a client's bug, and storing it would hide the bug.
    # Unknown fields are ignored, so that a newer client works with an older deployment.
    model_config = ConfigDict(
        strict=True, frozen=True, alias_generator=to_camel, populate_by_name=True
    )


AnyModel = TypeVar("AnyModel", bound=BaseModel)

_NUMBER_SCHEMA = {"type": "number", "minimum": -MAX_EXACT, "maximum": MAX_EXACT}
_TEXT_SCHEMA = {"type": "string", "description": f"Stored up to {MAX_DETAIL} bytes"}

# Plain functions, because pydantic reports one error for each member of a union.
Number = Annotated[float, PlainValidator(check_number), WithJsonSchema(_NUMBER_SCHEMA)]
Detail = Annotated[
    str | float,
    PlainValidator(check_detail),
    WithJsonSchema({"anyOf": [_TEXT_SCHEMA, _NUMBER_SCHEMA]}),
]
_Telemetry = Rule(check_telemetry, {"maxProperties": MAX_TELEMETRY, "propertyNames": _NAMES})
Quality = Annotated[dict[str, Number], _Telemetry]
Engagement = Annotated[dict[str, Annotated[int, Field(ge=0, le=MAX_ENGAGEMENT)]], _Telemetry]
Details = Annotated[
    dict[str, Detail],
    Rule(
        check_details, {"propertyNames": _NAMES, "description": f"The first {MAX_TELEMETRY} count"}
    ),
]

NOT_OURS = f"^[^{OWN_PREFIX}{CONTROLS}][^{CONTROLS}]*$"
SessionId = Annotated[Identifier, Rule(check_not_ours, {"pattern": NOT_OURS})]
VisitorId = SessionId

Facets = Annotated[
    dict[str, Annotated[str, Shown(str, f"Stored up to {MAX_FACET} bytes")]],
    Rule(
        check_facets,
        {
            "propertyNames": {**_NAMES, "not": {"const": "page"}},
            "description": f"The first {MAX_BEAT_FACETS} with a value count",
        },
    ),
]


class TabMessage(Message):
    """``{tabId?, seq?}``: the tab that sends a message, and the message's number, which grows with
    every message of that tab."""

    tab_id: Identifier | None = None
    seq: Seq | None = None

    def tab_or(self, session: str | None = None) -> Tab | None:
        """The tab it names, else the one with this session; None if nothing tells tabs apart."""
        if self.tab_id is None and session is None and self.seq is None:
            return None
        return Tab(self.tab_id or session or "", self.seq)


class LeaveMessage(Message):
    """``{sessionId, seq?, mayReturn?}``: the session leaves.

    ``mayReturn``: only a page has closed, and its tab may be back on the next one. It then counts
    for 1.5 seconds more, and a beat within 10 seconds continues the visit.
    """

    model_config = ConfigDict(title="Leave")

    session_id: SessionId
    seq: Seq | None = None
    may_return: bool = False

    @property
    def leave(self) -> Leave:
        """The leave it describes."""
        return Leave(**dict(self))


class BeatMessage(Message):
    """``{sessionId, visitorId?, userId?, name?, avatar?, page?, facets?, state?, seq?, ...}``.

    "I am still here, and this is what I am doing." ``seq`` grows with every message of a session,
    whether join, beat or leave, so that a message that arrives late changes nothing.

    Telemetry never makes a beat a change: ``quality`` (numbers averaged over the sessions, such as
    bandwidth), ``engagement`` (totals of this visit, added up, such as chat) and ``details`` (shown
    with the session, such as a title). A beat that omits one of them keeps its last value.

    ``changed``: a hint that something else differs from this session's last beat. Such a beat then
    takes one write instead of two; what is stored never depends on the hint.

    ``robot``: the browser is automated (``navigator.webdriver``). Such a beat is answered, and
    counts only in kinds with ``robots=count``, as do those of robots known by their User-Agent.
    """

    model_config = ConfigDict(title="Beat")

    session_id: SessionId
    visitor_id: VisitorId | None = None
    user_id: Identifier | None = None
    name: Name | None = None
    avatar: Avatar = None
    page: Page | None = None
    facets: Facets = Field(default_factory=dict)
    state: Literal["active", "hidden"] = "active"
    seq: Seq | None = None
    quality: Quality | None = None
    engagement: Engagement | None = None
    details: Details | None = None
    changed: bool = False
    robot: bool = False

    @property
    def beat(self) -> Beat:
        """The beat it describes."""
        return Beat(**dict(self))


def parse(model: type[AnyModel], body: object, example: str = '{"sessionId": "s1"}') -> AnyModel:
    """Make a model from decoded JSON. InvalidRequestError has a sentence for each problem."""
    if not isinstance(body, dict):
        raise InvalidRequestError(f"The body must be a JSON object, for example {example}.")
    try:
        return model.model_validate(body)
    except ValidationError as error:
        wanted = {
            field.alias: _WANTED.get(get_origin(field.annotation) or field.annotation, "string")
            for field in model.model_fields.values()
        }
        problems = error.errors(include_url=False)
        details = [_sentence(problem, wanted) for problem in problems]
        raise InvalidRequestError(details[0], details) from None


def _limit(context: Mapping[str, int]) -> str:
    if "gt" in context:
        return f"must be more than {context['gt']:.15g}"
    if "ge" in context:
        return f"must be {context['ge']:.15g} or more"
    most = context["le"]
    return f"must be at most {'2^53' if most == MAX_EXACT else format(most, '.15g')}"


_WANTED: dict[object, str] = {int: "number", float: "number", list: "list"}
_COLLECTIONS = {"facets", "quality", "engagement", "details", "people"}
_REASONS = {
    "string_type": "must be a string",
    "string_unicode": "must be text: it holds half of a surrogate pair",
    "int_type": "must be a whole number",
    "float_type": "must be a number",
    "finite_number": "must be a number",
    "bool_type": "must be true or false",
    "int_from_float": "must be a whole number",
    "dict_type": "must be an object of strings",
    "list_type": "must be a list",
    "string_too_short": "must not be empty",
    "too_short": "must not be empty",
}


def _sentence(problem: object, wanted: Mapping[str | None, str]) -> str:
    """A validation problem as a sentence, without the value, which may be personal data."""
    assert isinstance(problem, dict)
    path = [str(part) for part in problem["loc"] if part != "[key]"]
    field = path[0] if path else "body"
    kind = str(problem["type"])
    if kind == "value_error":
        reason = str(problem["ctx"]["error"])
    elif kind == "literal_error":
        reason = f"must be {problem['ctx']['expected']}"
    elif kind == "missing":
        reason = f"is missing: send it as a {wanted.get(field, 'string')}"
    elif kind == "too_long":
        reason = f"must have at most {problem['ctx']['max_length']} entries"
    else:
        reason = _REASONS.get(kind, str(problem["msg"]))
    if kind in {"greater_than", "greater_than_equal", "less_than_equal"}:
        reason = _limit(problem["ctx"])
    where = f"a value in {field}" if field in _COLLECTIONS and len(path) > 1 else field
    return f"{where} {reason}."
