"""Events as a consumer gets them: what turns them on, their schema, and an example consumer."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterable, Mapping
from typing import Any

import jsonschema_rs

from lab.harness.template import ROOT
from lab.harness.world import SITE, World

EVENTS = {
    "EventBus": "default",
    "WebhookUrl": "https://hooks.example.test/headcount",
}
"""Parameters that send every event, to the bus and to a webhook."""

SCHEMA = json.loads((ROOT / "docs" / "events.schema.json").read_text())

_STRICT = copy.deepcopy(SCHEMA) | {"unevaluatedProperties": False}
for _one in _STRICT["oneOf"]:
    for _name, _part in _one["properties"].items():
        if _name in {"visit", "alert", "day"}:
            _part["unevaluatedProperties"] = False
_VALIDATOR = jsonschema_rs.validator_for(_STRICT, validate_formats=True)


def validated(event: Mapping[str, Any]) -> dict[str, Any]:
    """The event, which must match the schema and have no other fields."""
    _VALIDATOR.validate(event)
    return dict(event)


def by_number(events: Iterable[Mapping[str, Any]], space: str = SITE) -> list[dict[str, Any]]:
    """A space's events in the order of their numbers, without repeats.

    Numbers must begin at 1 without gaps, and a repeat must equal the first.
    """
    numbered: dict[int, dict[str, Any]] = {}
    ids: dict[str, int] = {}
    for event in (validated(one) for one in events if one["space"] == space):
        seq = event["seq"]
        assert numbered.setdefault(seq, event) == event, f"two events are number {seq}"
        assert ids.setdefault(event["id"], seq) == seq, f"number {seq} was {ids[event['id']]}"
    missing = set(range(1, len(numbered) + 1)) - numbered.keys()
    assert not missing, f"nothing is number {sorted(missing)}"
    return [numbered[seq] for seq in sorted(numbered)]


def sent_events(world: World, space: str = SITE) -> list[dict[str, Any]]:
    """The events of a space that a world has sent so far, without repeats."""
    world.settle()
    world.emit()
    return by_number(world.bus.events, space)


def types(events: Iterable[Mapping[str, Any]]) -> list[str]:
    """The types of these events."""
    return [event["type"] for event in events]


class Follower:
    """A consumer as docs/events.md describes it: it takes a snapshot, then applies each later event
    once, in whatever order and however often they arrive."""

    def __init__(self, seq: int, visits: Iterable[str]) -> None:
        self.seq = seq
        self.here = set(visits)
        self._early: dict[int, Mapping[str, Any]] = {}

    def take(self, event: Mapping[str, Any]) -> None:
        """Apply an event, or keep it until those before it have arrived."""
        if event["seq"] <= self.seq:
            return
        self._early[event["seq"]] = event
        while (following := self._early.pop(self.seq + 1, None)) is not None:
            self.seq += 1
            if following["type"] == "joined":
                self.here.add(following["visit"]["id"])
            elif following["type"] == "left":
                self.here.discard(following["visit"]["id"])

    @property
    def misses(self) -> bool:
        """Whether an event before one that arrived is missing."""
        return bool(self._early)
