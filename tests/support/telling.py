"""Events that are told: the parameters that turn them on, their schema, and who follows them."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterable, Mapping
from typing import Any

from jsonschema import Draft202012Validator

from tests.support.template import ROOT
from tests.support.world import SITE, World

EVENTS = {
    "EventBus": "default",
    "WebhookUrl": "https://hooks.example.test/headcount",
}
"""Everything that can be told, to everybody."""

SCHEMA = json.loads((ROOT / "docs" / "events.schema.json").read_text())

_STRICT = copy.deepcopy(SCHEMA) | {"unevaluatedProperties": False}
for _one in _STRICT["oneOf"]:
    for _name, _part in _one["properties"].items():
        if _name in {"visit", "alert", "day"}:
            _part["unevaluatedProperties"] = False
_VALIDATOR = Draft202012Validator(_STRICT, format_checker=Draft202012Validator.FORMAT_CHECKER)


def checked(event: Mapping[str, Any]) -> dict[str, Any]:
    """The event, which must be as the schema says, and say nothing that the schema doesn't."""
    _VALIDATOR.validate(event)
    return dict(event)


def once(events: Iterable[Mapping[str, Any]], space: str = SITE) -> list[dict[str, Any]]:
    """A space's events in the order of their numbers, repeats left out.

    Numbers must begin at 1 and leave none out, and what is told again must be told the same.
    """
    numbered: dict[int, dict[str, Any]] = {}
    ids: dict[str, int] = {}
    for event in (checked(one) for one in events if one["space"] == space):
        seq = event["seq"]
        assert numbered.setdefault(seq, event) == event, f"two events are number {seq}"
        assert ids.setdefault(event["id"], seq) == seq, f"number {seq} was {ids[event['id']]}"
    missing = set(range(1, len(numbered) + 1)) - numbered.keys()
    assert not missing, f"nothing is number {sorted(missing)}"
    return [numbered[seq] for seq in sorted(numbered)]


def told(world: World, space: str = SITE) -> list[dict[str, Any]]:
    """What a world has told of a space by now, once."""
    world.settle()
    world.emit()
    return once(world.bus.events, space)


def types(events: Iterable[Mapping[str, Any]]) -> list[str]:
    """What they are."""
    return [event["type"] for event in events]


class Follower:
    """A consumer that does as docs/events.md says: it takes a snapshot, and each event that comes
    behind it once, in whatever order and however often they arrive."""

    def __init__(self, seq: int, visits: Iterable[str]) -> None:
        self.seq = seq
        self.here = set(visits)
        self._early: dict[int, Mapping[str, Any]] = {}

    def take(self, event: Mapping[str, Any]) -> None:
        """An event arrived."""
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
        """Whether an event is missing before one that arrived."""
        return bool(self._early)
