"""Quotas and assumptions from one dated file. Pure."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from functools import cache
from pathlib import Path

FILE = Path(__file__).with_name("quotas.toml")


@dataclass(frozen=True, slots=True)
class Quota:
    """What AWS grants by default, and how to raise it."""

    name: str
    what: str
    value: float
    lifted: str
    source: str


@dataclass(frozen=True, slots=True)
class Quotas:
    """The quotas file."""

    checked: date
    of: Mapping[str, Quota]
    assumed: Mapping[str, float]
    assumptions: Mapping[str, str]


def read(text: str) -> Quotas:
    """Parse a quotas file."""
    loaded = tomllib.loads(text)
    return Quotas(
        checked=loaded["checked"],
        of={name: Quota(**quota) for name, quota in loaded["quotas"].items()},
        assumed={name: one["value"] for name, one in loaded["assumed"].items()},
        assumptions={name: one["what"] for name, one in loaded["assumed"].items()},
    )


@cache
def quotas() -> Quotas:
    """The quotas file."""
    return read(FILE.read_text())
