"""What clients of stream analytics send."""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, ConfigDict, Field, model_validator
from pydantic.config import JsonDict

from headcount.messages import Message, Rule, text_up_to
from headcount.spaces import ID

MAX_NUMBERS = 16
"""Numbers in a report."""

_SOURCE = re.compile(r"[a-z0-9-]{1,32}")
_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_-]{0,31}")
_DECIMALS = 6
_MOST = 1_000_000_000_000


def _identifier(value: str) -> str:
    if not ID.fullmatch(value):
        raise ValueError("must be 1 to 128 of A-Z a-z 0-9 . _ ~ @ : + -")
    return value


def _source(value: str) -> str:
    if not _SOURCE.fullmatch(value):
        raise ValueError("must be 1 to 32 of a-z 0-9 -, for example rtmp")
    return value


def _whole_if_it_is(value: float) -> float:
    value = round(value, _DECIMALS)
    return int(value) if value.is_integer() else value


Id = Annotated[str, Rule(_identifier, {"pattern": f"^{ID.pattern}$"})]
Measurement = Annotated[
    float, Field(ge=-_MOST, le=_MOST, allow_inf_nan=False), AfterValidator(_whole_if_it_is)
]
"""A finite number, kept to six decimals."""


class Registration(Message):
    """``{id?, title?, channelId?, eventId?}``: what is left out is made, or stays as it was."""

    id: Id | None = None
    title: Annotated[str, text_up_to(200)] | None = None
    channel_id: Id | None = None
    event_id: Id | None = None


_VIEWERS_DO: JsonDict = {
    "properties": {
        "type": {"enum": ["chat", "reaction", "share"]},
        "amount": {"type": "null"},
    }
}
_COMES_IN: JsonDict = {
    "properties": {
        "type": {"const": "revenue"},
        "amount": {"type": "number"},
        "count": {"type": "null"},
    },
    "required": ["amount"],
}


class Happening(Message):
    """``{type, count?}``: what viewers did; ``{type: "revenue", amount}``: what came in.

    A negative amount is a refund. Amounts are added as they are, whatever their currency.
    """

    model_config = ConfigDict(json_schema_extra={"oneOf": [_VIEWERS_DO, _COMES_IN]})

    type: Literal["chat", "reaction", "share", "revenue"]
    count: Annotated[int, Field(ge=1, le=1_000)] | None = None
    amount: Measurement | None = None


class Report(Message):
    """``{source, bandwidth?, latency?, errorRate?, load?, uptime?, ...}``: what a server measures
    of a stream. Further numbers are kept under their names."""

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
    def _named(cls, body: Any) -> Any:
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
        """What was measured, by name."""
        return dict(self.__pydantic_extra__)
