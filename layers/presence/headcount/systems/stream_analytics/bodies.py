"""The request bodies of stream analytics."""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, ConfigDict, Field, model_validator
from pydantic.config import JsonDict

from headcount.model.space import ID
from headcount.web.bodies import Message, Rule, SessionId, text_up_to

MAX_NUMBERS = 16
"""Numbers in a report."""

_SOURCE = re.compile(r"[a-z0-9-]{1,32}")
_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_-]{0,31}")
_DECIMALS = 6
_MAX_MEASUREMENT = 1_000_000_000_000


def _identifier(value: str) -> str:
    if not ID.fullmatch(value):
        raise ValueError("must be 1 to 128 of A-Z a-z 0-9 . _ ~ @ : + -")
    return value


def _source(value: str) -> str:
    if not _SOURCE.fullmatch(value):
        raise ValueError("must be 1 to 32 of a-z 0-9 -, for example rtmp")
    return value


def _rounded(value: float) -> float:
    value = round(value, _DECIMALS)
    return int(value) if value.is_integer() else value


Id = Annotated[str, Rule(_identifier, {"pattern": f"^{ID.pattern}$"})]
Measurement = Annotated[
    float,
    Field(ge=-_MAX_MEASUREMENT, le=_MAX_MEASUREMENT, allow_inf_nan=False),
    AfterValidator(_rounded),
]
"""A finite number, rounded to six decimals; whole numbers are integers."""


class Registration(Message):
    """``{id?, title?, channelId?, eventId?}``: without an id, the server makes one. Of a registered
    stream, omitted fields keep their values."""

    id: Id | None = None
    title: Annotated[str, text_up_to(200)] | None = None
    channel_id: Id | None = None
    event_id: Id | None = None


_ENGAGEMENT: JsonDict = {
    "properties": {
        "type": {"enum": ["chat", "reaction", "share"]},
        "amount": {"type": "null"},
    }
}
_REVENUE: JsonDict = {
    "properties": {
        "type": {"const": "revenue"},
        "amount": {"type": "number"},
        "count": {"type": "null"},
    },
    "required": ["amount"],
}


class StreamEvent(Message):
    """``{type, count?, sessionId?}`` for engagement, or ``{type: "revenue", amount}`` for revenue.

    Engagement is from a session that is here now, by ``sessionId``, or from a server with the scope
    ``ingest``.

    A negative amount is a refund. Amounts are added up without regard to currency.
    """

    model_config = ConfigDict(json_schema_extra={"oneOf": [_ENGAGEMENT, _REVENUE]})

    type: Literal["chat", "reaction", "share", "revenue"]
    count: Annotated[int, Field(ge=1, le=1_000)] | None = None
    session_id: SessionId | None = None
    amount: Measurement | None = None


class Report(Message):
    """``{source, bandwidth?, latency?, errorRate?, load?, uptime?, ...}``: a server's measurements
    of a stream. Numbers with other names are stored, too."""

    model_config = ConfigDict(
        extra="allow",
        json_schema_extra={
            "propertyNames": {"pattern": f"^{_NAME.pattern}$"},
            "minProperties": 2,
            "maxProperties": 1 + MAX_NUMBERS,
        },
    )
    __pydantic_extra__: dict[str, Measurement]

    source: Annotated[str, Rule(_source, {"pattern": f"^{_SOURCE.pattern}$"})]

    @model_validator(mode="before")
    @classmethod
    def _check_names(cls, body: Any) -> Any:
        names = [name for name in body if name != "source"]
        if not 1 <= len(names) <= MAX_NUMBERS:
            raise ValueError(
                f"must hold 1 to {MAX_NUMBERS} numbers besides source, such as load; "
                f"it holds {len(names)}"
            )
        if not all(map(_NAME.fullmatch, names)):
            raise ValueError(
                "has a name that is not valid: a letter, then up to 31 letters, digits, '_' or '-'"
            )
        return body

    @property
    def numbers(self) -> dict[str, float]:
        """The measurements, by name."""
        return dict(self.__pydantic_extra__)
