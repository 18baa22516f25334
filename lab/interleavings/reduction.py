"""All orders of some actors' steps, but for those that differ only in steps that commute.

Source sets and sleep sets, as in Abdulla, Aronis, Jonsson and Sagonas, "Optimal dynamic partial
order reduction" (POPL 2014), algorithm 1: of two steps of different actors that depend on each
other, the other order is tried too, from the state before the first; what was tried from a state is
not tried again after steps that it commutes with. Every order of the steps is equal to one that is
tried, up to swaps of neighbours that commute.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import Enum, auto
from functools import cache
from typing import Any, Protocol, TypeVar

TIME = -1
"""The actor that lets time pass, when all others wait for it."""


class Mode(Enum):
    """What a step does to a place."""

    READ = auto()
    WRITE = auto()
    ADD = auto()  # in no order, such as a message to a queue


Place = tuple[str, Any, Any]
"""A table or another resource, a partition and an item of it; None means all of them."""
Access = frozenset[tuple[Mode, Place]]
EVERYTHING: Access = frozenset({(Mode.WRITE, ("", None, None))})
"""What the passing of time touches: nothing commutes with it."""


@cache
def conflict(one: Access, other: Access) -> bool:
    """Whether the order of two steps may matter."""
    return (
        one is EVERYTHING
        or other is EVERYTHING
        or any(
            _overlap(place, there) and not (mode is how and mode is not Mode.WRITE)
            for mode, place in one
            for how, there in other
        )
    )


def _overlap(one: Place, other: Place) -> bool:
    return one[0] == other[0] and all(
        a is None or b is None or a == b for a, b in zip(one[1:], other[1:], strict=True)
    )


class Run(Protocol):
    """One run of a scene, from its beginning."""

    def enabled(self) -> Mapping[int, Access]:
        """Who can go on, and what their next step may touch; empty at the end."""

    def step(self, actor: int) -> Access:
        """Let an actor go on. Returns what the step did touch."""

    def close(self) -> None:
        """Give up the actors that are left."""


AnyRun = TypeVar("AnyRun", bound=Run)


@dataclass(slots=True)
class _Node:
    """A step of the current run, and what else to try in its place."""

    enabled: Mapping[int, Access]
    sleep: dict[int, Access]
    backtrack: set[int]
    actor: int
    access: Access = frozenset()
    number: int = 0  # which of its actor's steps it is
    clock: dict[int, int] = field(default_factory=dict)
    """Of each actor, how many of its steps came before, or led to it; this one included."""


@dataclass
class Explored:
    """What exploring found. ``blocked``: runs that were given up, as each continuation of them is
    equal to a run that was tried."""

    runs: int = 0
    blocked: int = 0
    steps: list[int] = field(default_factory=list)  # of the first run, by actor


def explore(
    start: Callable[[], AnyRun],
    end: Callable[[AnyRun], object],
    *,
    reduced: bool = True,
    most: int | None = None,
) -> Explored:
    """Call ``end`` after each run; up to ``most`` runs, or until it returns something true. Without
    ``reduced``, every order is tried, which takes long."""
    found = Explored()
    path: list[_Node] = []
    while True:
        run = start()
        try:
            complete = _follow(run, path, found, reduced=reduced)
            if complete and (end(run) or found.runs == most):
                return found
        finally:
            run.close()
        while path:
            last = path[-1]
            last.sleep[last.actor] = last.enabled[last.actor]
            if todo := sorted(last.backtrack - last.sleep.keys()):
                last.actor = todo[0]
                break
            path.pop()
        else:
            return found


def _follow(run: Run, path: list[_Node], found: Explored, *, reduced: bool) -> bool:
    """Repeat the steps of a path, the last of which is new, and go on. Returns whether it got to
    the end: it need not, if the rest is equal to a run that was tried."""
    for place, node in enumerate(path):
        run.enabled()
        access = run.step(node.actor)
        if place == len(path) - 1:
            _add(path, place, access, reduced=reduced)
    while enabled := run.enabled():
        sleep: dict[int, Access] = {}
        if reduced and path:
            last = path[-1]
            sleep = {
                actor: access
                for actor, access in last.sleep.items()
                if actor != last.actor and not conflict(access, last.access)
            }
        ready = enabled.keys() - sleep.keys()
        if not ready:
            found.blocked += 1
            return False
        before = path[-1].actor if path else TIME
        actor = before if before in ready else min(ready)
        path.append(_Node(enabled, sleep, {actor} if reduced else set(ready), actor))
        _add(path, len(path) - 1, run.step(actor), reduced=reduced)
    found.runs += 1
    if found.runs == 1:
        found.steps = [
            sum(node.actor == actor for node in path)
            for actor in sorted({node.actor for node in path} - {TIME})
        ]
    return True


def _add(path: list[_Node], place: int, access: Access, *, reduced: bool) -> None:
    """Note what a step touched, and what has to be tried before an earlier one because of it."""
    node = path[place]
    own = next((one for one in reversed(path[:place]) if one.actor == node.actor), None)
    clock = dict(own.clock) if own is not None else {}
    # Newest first, so that what is found are the races: steps on which this one depends, without
    # one in between that depends on them and on which this one depends.
    for index in range(place - 1, -1, -1):
        one = path[index]
        if clock.get(one.actor, 0) >= one.number or not conflict(one.access, access):
            continue
        if reduced and TIME not in (one.actor, node.actor):
            _reverse(path, index, place, clock)
        _join(clock, one.clock)
    node.access, node.number = access, clock.get(node.actor, 0) + 1
    node.clock = clock | {node.actor: node.number}


def _join(clock: dict[int, int], other: Mapping[int, int]) -> None:
    for actor, number in other.items():
        if clock.get(actor, 0) < number:
            clock[actor] = number


def _reverse(path: list[_Node], index: int, place: int, known: Mapping[int, int]) -> None:
    """Have the step at ``place`` tried before the one at ``index``: from the state before that one,
    first one of those who can begin what leads to it."""
    first, mine = path[index], path[place].actor
    began: dict[int, int] = {}  # the first step of each actor in what leads to it
    initials: list[int] = []

    def add(actor: int, number: int, clock: Mapping[int, int]) -> None:
        if actor not in began:
            if all(clock.get(one, 0) < step for one, step in began.items()):
                initials.append(actor)
            began[actor] = number

    for one in path[index + 1 : place]:
        if one.clock.get(first.actor, 0) < first.number:
            add(one.actor, one.number, one.clock)
    add(mine, known.get(mine, 0) + 1, known)
    able = [actor for actor in initials if actor in first.enabled]
    # None, if it was this very step that let the other one go on.
    if able and first.backtrack.isdisjoint(able):
        first.backtrack.add(mine if mine in able else able[0])
