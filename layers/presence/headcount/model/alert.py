"""Alert rules of a space, and which of them a new version triggers. Pure."""

from __future__ import annotations

import hashlib
import json
import re
import zlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from headcount.times import MINUTE

MAX_RULES = 20
"""Rules per space."""
LONGEST_SPIKE = 60
"""Minutes that a spike rule may look back."""
RULE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")

_SLACK = 2  # minutes before the horizon for which a sample may still be needed

Sample = tuple[int, int]
"""A minute (epoch minutes) and the number of people last published in it."""


@dataclass(frozen=True, slots=True)
class Milestone:
    """Triggers when the number of people reaches ``people``; again only after it was lower."""

    name: str
    people: int

    type = "milestone"

    def fields(self) -> dict[str, Any]:
        """The rule's fields as the API has them, without its name."""
        return {"type": self.type, "people": self.people}


@dataclass(frozen=True, slots=True)
class Spike:
    """Triggers when there are ``factor`` times as many people as ``minutes`` ago, and at least
    ``at_least``; again only after this was no longer true."""

    name: str
    factor: float
    minutes: int
    at_least: int

    type = "spike"

    def fields(self) -> dict[str, Any]:
        """The rule's fields as the API has them, without its name."""
        return {
            "type": self.type,
            "factor": self.factor,
            "minutes": self.minutes,
            "atLeast": self.at_least,
        }


Rule = Milestone | Spike


def rule_from(name: str, fields: Mapping[str, Any]) -> Rule:
    """The inverse of ``fields``."""
    if fields["type"] == Milestone.type:
        return Milestone(name, fields["people"])
    return Spike(name, fields["factor"], fields["minutes"], fields["atLeast"])


PAUSE = 5 * MINUTE
"""The shortest time between two alerts of a rule: around its threshold people come and go."""


@dataclass(frozen=True, slots=True)
class RuleState:
    """A rule at a version: whether its condition holds, and when it last triggered."""

    on: bool = False
    fired_at: int | None = None  # epoch milliseconds
    owed: bool = False  # its condition came to hold again within the pause


@dataclass(frozen=True, slots=True)
class AlertMemory:
    """What one version passes on to the next."""

    samples: Sequence[Sample] = ()  # oldest first; only while the space has spike rules
    states: Mapping[str, RuleState] = field(default_factory=dict)  # by a rule's hash

    def state_of(self, rule: Rule) -> RuleState:
        """The state of a rule. A rule whose fields changed is a new rule."""
        return self.states.get(_key(rule), RuleState())

    def pack(self) -> bytes | None:
        """As compressed JSON; None if it is empty."""
        if not self.samples and not self.states:
            return None
        states = {
            key: [state.on, state.fired_at, *([True] if state.owed else [])]
            for key, state in self.states.items()
        }
        text = json.dumps([list(self.samples), states], separators=(",", ":"))
        return zlib.compress(text.encode(), 9)

    @classmethod
    def unpack(cls, packed: bytes | None) -> AlertMemory:
        """The inverse of ``pack``."""
        if packed is None:
            return cls()
        samples, states = json.loads(zlib.decompress(packed))
        return cls(
            tuple((minute, people) for minute, people in samples),
            {key: RuleState(*state) for key, state in states.items()},
        )


@dataclass(frozen=True, slots=True)
class LastVersion:
    """The people of the version before, and when it was published (0: there is none)."""

    people: int
    at: int


def evaluate(
    rules: Iterable[Rule], memory: AlertMemory, before: LastVersion, people: int, now: int
) -> tuple[AlertMemory, list[dict[str, Any]]]:
    """What to remember of a version with ``people``, and the alerts that it triggers.

    They depend on published numbers only: the same version always triggers the same alerts.
    """
    kept = sorted(rules, key=lambda rule: rule.name)[:MAX_RULES]
    longest = max((rule.minutes for rule in kept if isinstance(rule, Spike)), default=0)
    samples = _seeded(memory.samples, before) if longest else ()
    states: dict[str, RuleState] = {}
    fired = []
    for rule in kept:
        old = memory.state_of(rule)
        if isinstance(rule, Milestone):
            # For a new rule too: people who were there before it have not reached it.
            was, on = before.people >= rule.people, people >= rule.people
            details: dict[str, Any] = {"threshold": rule.people}
        else:
            then = people_at(samples, now - rule.minutes * MINUTE)
            # The condition may have ended with time alone, without a version to record that.
            was = old.on and _spikes(rule, before.people, then)
            on = _spikes(rule, people, then)
            details = {
                "before": then,
                "factor": rule.factor,
                "minutes": rule.minutes,
                "atLeast": rule.at_least,
            }
        triggers = on and (not was or old.owed)
        owed = False
        if triggers and old.fired_at is not None and 0 <= now - old.fired_at < PAUSE:
            triggers, owed = False, True  # it follows when the pause is over, if it still holds
        states[_key(rule)] = RuleState(on, now if triggers else old.fired_at, owed)
        if triggers:
            fired.append({"name": rule.name, "type": rule.type, "people": people, **details})
    if longest:
        samples = _trimmed(_with(samples, now // MINUTE, people), now // MINUTE - longest)
    return AlertMemory(tuple(samples), states), fired


def people_at(samples: Sequence[Sample], at: int) -> int | None:
    """The people last published before the minute of a moment; None: not known."""
    minute = at // MINUTE
    known = [people for when, people in samples if when < minute]
    return known[-1] if known else None


def _spikes(rule: Spike, people: int, then: int | None) -> bool:
    return then is not None and people >= rule.at_least and people >= rule.factor * then


def _seeded(samples: Sequence[Sample], before: LastVersion) -> Sequence[Sample]:
    """The samples to begin with: a version is valid until the next one."""
    return samples or ((before.at // MINUTE, before.people),)


def _with(samples: Sequence[Sample], minute: int, people: int) -> list[Sample]:
    earlier = [one for one in samples if one[0] < minute]
    return [*earlier, (minute, people)] if not earlier or earlier[-1][1] != people else earlier


def _trimmed(samples: Sequence[Sample], horizon: int) -> list[Sample]:
    """The samples since the horizon, and the number that was valid before them."""
    recent = [one for one in samples if one[0] >= horizon - _SLACK]
    before = [one for one in samples if one[0] < horizon - _SLACK]
    return [*before[-1:], *recent]


def _key(rule: Rule) -> str:
    text = json.dumps([rule.name, rule.fields()], sort_keys=True)
    return hashlib.blake2b(text.encode(), digest_size=6).hexdigest()


def alert_id(space: str, version: int, name: str) -> str:
    """The same id for the same alert, however often it is sent."""
    text = f"{space}\0{version}\0{name}"
    return hashlib.blake2b(text.encode(), digest_size=12).hexdigest()
