"""Alert rules of a space, and which of them a new version sets off. Pure."""

from __future__ import annotations

import hashlib
import json
import re
import zlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from headcount.times import MINUTE

MAX_RULES = 20
"""Rules a space may have."""
LONGEST_SPIKE = 60
"""Minutes that a spike may look back."""
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")

_STEADY = 2  # samples before the horizon that may still be asked for

Sample = tuple[int, int]
"""A minute (epoch minutes) and the number of people last published in it."""


@dataclass(frozen=True, slots=True)
class Milestone:
    """Set off when people rise to so many; again only after they were fewer."""

    name: str
    people: int

    type = "milestone"

    def said(self) -> dict[str, Any]:
        """What the rule says, as it was put."""
        return {"type": self.type, "people": self.people}


@dataclass(frozen=True, slots=True)
class Spike:
    """Set off when people are ``factor`` times those of ``minutes`` ago, and ``at_least`` so many;
    again only after that was not so."""

    name: str
    factor: float
    minutes: int
    at_least: int

    type = "spike"

    def said(self) -> dict[str, Any]:
        """What the rule says, as it was put."""
        return {
            "type": self.type,
            "factor": self.factor,
            "minutes": self.minutes,
            "atLeast": self.at_least,
        }


Rule = Milestone | Spike


def rule_from(name: str, said: Mapping[str, Any]) -> Rule:
    """The inverse of ``said``."""
    if said["type"] == Milestone.type:
        return Milestone(name, said["people"])
    return Spike(name, said["factor"], said["minutes"], said["atLeast"])


@dataclass(frozen=True, slots=True)
class State:
    """A rule as of a version: whether what it waits for is so, and when it was last set off."""

    on: bool = False
    fired_at: int | None = None  # epoch milliseconds


@dataclass(frozen=True, slots=True)
class Memory:
    """What is remembered from one version to the next."""

    samples: Sequence[Sample] = ()  # oldest first; only while there are spikes to look for
    states: Mapping[str, State] = field(default_factory=dict)  # by rule, as it stands

    def of(self, rule: Rule) -> State:
        """The state of a rule. One that says something else than before is another rule."""
        return self.states.get(_key(rule), State())

    def pack(self) -> bytes | None:
        """As compressed JSON; None when there is nothing to remember."""
        if not self.samples and not self.states:
            return None
        states = {key: [state.on, state.fired_at] for key, state in self.states.items()}
        text = json.dumps([list(self.samples), states], separators=(",", ":"))
        return zlib.compress(text.encode(), 9)

    @classmethod
    def unpack(cls, packed: bytes | None) -> Memory:
        """The inverse of ``pack``."""
        if packed is None:
            return cls()
        samples, states = json.loads(zlib.decompress(packed))
        return cls(
            tuple((minute, people) for minute, people in samples),
            {key: State(on, fired_at) for key, (on, fired_at) in states.items()},
        )


@dataclass(frozen=True, slots=True)
class Seen:
    """The version before: its people, and when it was published (0: there is none)."""

    people: int
    at: int


def watch(
    rules: Iterable[Rule], memory: Memory, before: Seen, people: int, now: int
) -> tuple[Memory, list[dict[str, Any]]]:
    """What a version with so many people sets off, and what to remember of it.

    It depends on what is published alone: the same version always sets off the same.
    """
    kept = sorted(rules, key=lambda rule: rule.name)[:MAX_RULES]
    longest = max((rule.minutes for rule in kept if isinstance(rule, Spike)), default=0)
    samples = _seeded(memory.samples, before) if longest else ()
    states: dict[str, State] = {}
    fired = []
    for rule in kept:
        old = memory.of(rule)
        if isinstance(rule, Milestone):
            # Also of a new rule: who is there already has not risen to it.
            was, on = before.people >= rule.people, people >= rule.people
            said: dict[str, Any] = {"threshold": rule.people}
        else:
            then = people_at(samples, now - rule.minutes * MINUTE)
            # It may have ceased by the time alone, without a version that could have said so.
            was = old.on and _spikes(rule, before.people, then)
            on = _spikes(rule, people, then)
            said = {
                "before": then,
                "factor": rule.factor,
                "minutes": rule.minutes,
                "atLeast": rule.at_least,
            }
        sets_off = on and not was
        states[_key(rule)] = replace(old, on=on, fired_at=now if sets_off else old.fired_at)
        if sets_off:
            fired.append({"name": rule.name, "type": rule.type, "people": people, **said})
    if longest:
        samples = _trimmed(_with(samples, now // MINUTE, people), now // MINUTE - longest)
    return Memory(tuple(samples), states), fired


def people_at(samples: Sequence[Sample], at: int) -> int | None:
    """The people published as of the full minute at or before a moment; None: not known."""
    minute = at // MINUTE
    known = [people for when, people in samples if when < minute]
    return known[-1] if known else None


def _spikes(rule: Spike, people: int, then: int | None) -> bool:
    return then is not None and people >= rule.at_least and people >= rule.factor * then


def _seeded(samples: Sequence[Sample], before: Seen) -> Sequence[Sample]:
    """What is known when looking begins: a version holds until the next one."""
    return samples or ((before.at // MINUTE, before.people),)


def _with(samples: Sequence[Sample], minute: int, people: int) -> list[Sample]:
    earlier = [one for one in samples if one[0] < minute]
    return [*earlier, (minute, people)] if not earlier or earlier[-1][1] != people else earlier


def _trimmed(samples: Sequence[Sample], horizon: int) -> list[Sample]:
    """What can still be asked for, and the number that held before it."""
    recent = [one for one in samples if one[0] >= horizon - _STEADY]
    before = [one for one in samples if one[0] < horizon - _STEADY]
    return [*before[-1:], *recent]


def _key(rule: Rule) -> str:
    text = json.dumps([rule.name, rule.said()], sort_keys=True)
    return hashlib.blake2b(text.encode(), digest_size=6).hexdigest()


def alert_id(space: str, version: int, name: str) -> str:
    """The same for the same alert, however often it is said."""
    text = f"{space}\0{version}\0{name}"
    return hashlib.blake2b(text.encode(), digest_size=12).hexdigest()
