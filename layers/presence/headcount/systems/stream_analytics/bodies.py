"""What clients of stream analytics send."""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, ConfigDict, Field, model_validator

from headcount.beats import Message, text_up_to
from headcount.streams import STREAM_ID

MAX_NUMBERS = 16
"""Numbers in a report."""

_SOURCE = re.compile(r"[a-z0-9-]{1,32}")
_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_-]{0,31}")
_DECIMALS = 6
_MOST = 1_000_000_000_000


def _identifier(value: str) -> str:
    if not STREAM_ID.fullmatch(value):
        raise ValueError("must be 1 to 128 of A-Z a-z 0-9 . _ ~ @ : + -")
    return value


def _source(value: str) -> str:
    if not _SOURCE.fullmatch(value):
        raise ValueError("must be 1 to 32 of a-z 0-9 -, for example rtmp")
    return value


def _whole_if_it_is(value: float) -> float:
    value = round(value, _DECIMALS)
    return int(value) if value.is_integer() else value


Id = Annotated[str, AfterValidator(_identifier)]
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


class Happening(Message):
    """``{type, count?}``: what viewers did; ``{type: "revenue", amount}``: what came in.

    A negative amount is a refund. Amounts are added as they are, whatever their currency.
    """

    type: Literal["chat", "reaction", "share", "revenue"]
    count: Annotated[int, Field(ge=1, le=1_000)] | None = None
    amount: Measurement | None = None


class Report(Message):
    """``{source, bandwidth?, latency?, errors?, errorRate?, load?, uptime?, ...}``: what a server
    measures of a stream. Further numbers are kept under their names."""

    model_config = ConfigDict(extra="allow")
    __pydantic_extra__: dict[str, Measurement]

    source: Annotated[str, AfterValidator(_source)]
    bandwidth: Measurement | None = None
    latency: Measurement | None = None
    errors: Measurement | None = None
    error_rate: Measurement | None = None
    load: Measurement | None = None
    uptime: Measurement | None = None

    @model_validator(mode="before")
    @classmethod
    def _names(cls, body: Any) -> Any:
        names = [name for name in body if name != "source"]
        if len(names) > MAX_NUMBERS:
            raise ValueError(f"must hold at most {MAX_NUMBERS} numbers, it holds {len(names)}")
        for name in names:
            if not _NAME.fullmatch(name):
                raise ValueError(
                    "has a name that is not valid: a letter, then up to 31 letters, digits, "
                    "'_' or '-'"
                )
        return body

    @property
    def numbers(self) -> dict[str, float]:
        """What was measured, by name."""
        return {
            name: number
            for name, number in self.model_dump(by_alias=True, exclude={"source"}).items()
            if number is not None
        }
