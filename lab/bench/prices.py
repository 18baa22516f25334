"""Prices and assumptions from one dated file, and the cost of usage by them. Pure."""

from __future__ import annotations

import math
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import date
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

FILE = Path(__file__).with_name("prices.toml")

Name = TypeVar("Name")


class Amounts(dict[Name, float]):
    """An amount of each; 0 for what was never entered."""

    def __missing__(self, name: Name) -> float:
        return 0.0

    def add(self, more: Mapping[Name, float]) -> None:
        """Add amounts."""
        for name, amount in more.items():
            self[name] += amount

    def times(self, by: float) -> Amounts[Name]:
        """A multiple."""
        return Amounts({name: amount * by for name, amount in self.items()})


Usage = Amounts[str]
"""Quantities by the names in the price file."""


@dataclass(frozen=True, slots=True)
class Price:
    """The price of ``per`` of something."""

    what: str
    dollars: float
    per: float
    source: str


@dataclass(frozen=True, slots=True)
class Prices:
    """The price file."""

    checked: date
    region: str
    by_use: Mapping[str, Price]
    monthly: Mapping[str, Mapping[str, Any]]
    assumed: Mapping[str, float]
    assumptions: Mapping[str, str]
    hosted: tuple[Mapping[str, Any], ...]

    def cost(self, usage: Mapping[str, float]) -> float:
        """Dollars in total. KeyError for a quantity without a price."""
        return sum(self.costs(usage).values())

    def costs(self, usage: Mapping[str, float]) -> dict[str, float]:
        """Dollars of each quantity."""
        return {
            name: amount * self.by_use[name].dollars / self.by_use[name].per
            for name, amount in usage.items()
        }

    def seconds(self, *, cpu: float, memory: float, waited: float) -> float:
        """Billed seconds of one invocation with this memory (MB), in whole milliseconds.

        ``cpu``: CPU seconds of the measuring machine; ``waited``: seconds without CPU use.
        """
        share = min(1.0, memory / self.assumed["memory_of_one_vcpu"])
        took = cpu * self.assumed["cpu_of_one_vcpu"] / share + waited
        return max(1, math.ceil(took * 1000 - 1e-6)) / 1000

    def waited(self, *, calls: int, posts: int, queued: int, slept: float) -> float:
        """Seconds that one invocation waits for services."""
        rounds = math.ceil(posts / self.assumed["posts_at_once"])
        return (
            calls * self.assumed["dynamodb_wait"]
            + rounds * self.assumed["post_wait"]
            + queued * self.assumed["queue_wait"]
            + slept
        )

    def idle_polls(self, queues: int) -> float:
        """Requests a month of Lambda's polling of this many empty queues."""
        a_minute = self.assumed["pollers"] * self.assumed["polls_a_minute"]
        return queues * a_minute * 60 * self.assumed["hours_a_month"]

    def hosted_cost(self, service: Mapping[str, Any], *, messages: float) -> float:
        """Dollars per 1,000 viewer-hours of a hosted service, with this many messages in them."""
        month = self.assumed["hours_a_month"]
        message_cost = messages * service.get("dollars_per_million_messages", 0) / 1e6
        match service["kind"]:
            case "usage":
                return float(message_cost + 60_000 * service["dollars_per_million_minutes"] / 1e6)
            case "peak":
                return float(message_cost + service["dollars_per_thousand_peak"] / month)
            case "plan":
                hours = service["connections"] * month
                a_day = messages / 1000 * service["connections"] * 24
                plans = max(1, a_day / service["messages_a_day"])  # the messages may need more
                return float(service["dollars_a_month"] * plans / hours * 1000)
            case "users":
                hours = service["users"] * service["hours_a_user"]
                return float(service["dollars_a_month"] / hours * 1000)
        raise ValueError(f"unknown kind of price {service['kind']!r}")

    def hosted_month(
        self, service: Mapping[str, Any], *, viewers: int, hours: float, messages: float
    ) -> float | None:
        """Dollars a month of the smallest plan for so many viewers at once, who are there for
        ``hours`` a day, with ``messages`` in each of their hours. None: none is published."""
        days = self.assumed["hours_a_month"] / 24
        viewer_hours = viewers * hours * days
        needed = {
            "connections": viewers,
            "messages_a_day": viewer_hours / days * messages,
            "users": viewer_hours / self.assumed["hours_a_person"],
        }
        for plan in service["plans"]:
            if all(needed[what] <= most for what, most in plan.items() if what in needed):
                beside = self._beside(service, viewers, viewer_hours, messages)
                return float(plan["dollars"] + beside)
        return None

    def _beside(
        self, service: Mapping[str, Any], viewers: int, viewer_hours: float, messages: float
    ) -> float:
        """What is paid beside the plan, for what it does not include."""
        included = service.get("included", {})
        sent = max(0, viewer_hours * messages - included.get("messages", 0))
        dollars = sent * service.get("dollars_per_million_messages", 0) / 1e6
        dollars += viewer_hours * 60 * service.get("dollars_per_million_minutes", 0) / 1e6
        thousands = math.ceil(max(0, viewers - included.get("connections", 0)) / 1000)
        return float(dollars + thousands * service.get("dollars_per_thousand_peak", 0))


def messages_units(sizes: Iterable[int]) -> int:
    """Billed WebSocket messages: in units of 32 KB."""
    return sum(max(1, math.ceil(size / 32_768)) for size in sizes)


def read(text: str) -> Prices:
    """Parse a price file."""
    loaded = tomllib.loads(text)
    return Prices(
        checked=loaded["checked"],
        region=loaded["region"],
        by_use={name: Price(**price) for name, price in loaded["prices"].items()},
        monthly=loaded["monthly"],
        assumed={name: one["value"] for name, one in loaded["assumed"].items()},
        assumptions={name: one["what"] for name, one in loaded["assumed"].items()},
        hosted=tuple(loaded["hosted"]),
    )


@cache
def prices() -> Prices:
    """The price file."""
    return read(FILE.read_text())
