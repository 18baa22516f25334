"""All orders of calls are tried, but for those that differ only in calls that commute."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from random import Random
from types import SimpleNamespace
from typing import Any

import pytest
from headcount.model import session

from lab.interleavings.__main__ import mutations, table
from lab.interleavings.mistakes import BY_NAME, SHOWN_BY, Found, find, made
from lab.interleavings.reduction import EVERYTHING, TIME, Access, Mode, conflict, explore
from lab.interleavings.scenes import SCENES, Result, run
from lab.interleavings.stage import Stage

BY_SCENE = {scene.name: scene for scene in SCENES}
LARGE = {name for name in BY_SCENE if name.endswith(", count")}
"""Left to ``make interleavings``."""

Program = tuple[tuple[str, str], ...]
"""What an actor does: reads, writes, adds to or polls a register, or waits."""


class Registers:
    """Actors that use registers; their outcome depends on the order of what they do."""

    def __init__(self, programs: tuple[Program, ...]) -> None:
        self._programs = programs
        self._at = [0] * len(programs)
        self._seen = [0] * len(programs)
        self._values = {"a": 0, "b": 0, "queue": 0}
        self._asleep: set[int] = set()

    @property
    def outcome(self) -> tuple[object, ...]:
        """What is stored, and what each actor has seen."""
        return (*self._values.values(), *self._seen)

    def enabled(self) -> Mapping[int, Access]:
        ready = {}
        for actor, program in enumerate(self._programs):
            if self._at[actor] == len(program) or actor in self._asleep:
                continue
            what, register = program[self._at[actor]]
            if what == "poll" and not self._values[register]:
                continue
            ready[actor] = _access(what, register)
        return ready or ({TIME: EVERYTHING} if self._asleep else {})

    def step(self, actor: int) -> Access:
        if actor == TIME:
            self._asleep.clear()
            return EVERYTHING
        what, register = self._programs[actor][self._at[actor]]
        self._at[actor] += 1
        if what == "wait":
            self._asleep.add(actor)
        elif what == "write":
            self._values[register] = 10 * (actor + 1) + self._seen[actor] % 10
        elif what == "add":
            self._values[register] += 1
        else:
            self._seen[actor] = 7 * self._seen[actor] + self._values[register]
        if what == "poll":
            self._values[register] = 0
        return _access(what, register)

    def close(self) -> None:
        pass


def _access(what: str, register: str) -> Access:
    if what == "wait":
        return frozenset()
    mode = {"read": Mode.READ, "poll": Mode.READ, "write": Mode.WRITE, "add": Mode.ADD}[what]
    return frozenset({(mode, (register, None, None))})


def _program(random: Random, *, polls: bool) -> Program:
    steps = [
        (random.choice(("read", "write", "write", "wait")), random.choice("ab")) for _ in range(3)
    ]
    steps.insert(random.randint(0, 3), ("poll" if polls else "add", "queue"))
    return tuple(steps)


@pytest.mark.parametrize("seed", [*range(8), 18, 22])
def test_the_reduction_loses_no_outcome(seed: int) -> None:
    random = Random(seed)  # noqa: S311 - a simulation, not a secret
    programs = (
        _program(random, polls=False),
        _program(random, polls=False),
        _program(random, polls=True),
    )
    outcomes: dict[bool, set[object]] = {True: set(), False: set()}
    runs = {}
    for reduced, seen in outcomes.items():
        found = explore(
            lambda: Registers(programs), lambda one, to=seen: to.add(one.outcome), reduced=reduced
        )
        runs[reduced] = found.runs
    assert outcomes[True] == outcomes[False]
    assert runs[True] < runs[False]


def test_the_reduction_loses_no_outcome_of_the_real_handlers() -> None:
    scene = BY_SCENE["a leave between two steady beats"]
    outcomes: dict[bool, set[str]] = {True: set(), False: set()}
    for reduced, seen in outcomes.items():

        def end(stage: Stage, seen: set[str] = seen) -> None:
            stage.settle()
            seen.add(repr(stage.snapshot()))

        found = explore(scene.start, end, reduced=reduced)
        assert found.runs > (17 if not reduced else 1)
    assert outcomes[True] == outcomes[False]


def test_reads_commute_and_so_do_additions_but_nothing_with_a_write_or_with_time() -> None:
    read, write, add = (frozenset({(mode, ("t", "p", "s"))}) for mode in Mode)
    other = frozenset({(Mode.WRITE, ("t", "p", "x"))})
    whole = frozenset({(Mode.READ, ("t", "p", None))})
    assert not conflict(read, read)
    assert not conflict(add, add)
    assert not conflict(write, other)
    assert conflict(read, write)
    assert conflict(read, add)
    assert conflict(write, write)
    assert conflict(whole, other)
    assert conflict(EVERYTHING, frozenset())


@pytest.mark.parametrize("name", sorted(BY_SCENE.keys() - LARGE))
def test_nothing_is_wrong_in_any_order(name: str) -> None:
    result = run(BY_SCENE[name])
    assert result.wrong == []
    assert result.runs > 1


@pytest.mark.parametrize("name", sorted(BY_SCENE.keys() - LARGE))
def test_each_scene_shows_a_mutation(name: str) -> None:
    found = find(SHOWN_BY[name][0], BY_SCENE[name])
    assert found.wrong
    assert found.calls or found.runs == 0


def test_a_module_that_is_imported_while_a_mutation_is_made_does_not_keep_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    before: Any = session.after_beat
    module = SimpleNamespace()
    with made(BY_NAME["order: a late beat is taken, as decided"]):
        module.after_beat = session.after_beat
        assert module.after_beat is not before
        monkeypatch.setitem(sys.modules, "imported_meanwhile", module)
    assert module.after_beat is before


def test_each_scene_has_a_mutation_to_show_which_a_test_catches_too() -> None:
    assert SHOWN_BY.keys() == BY_SCENE.keys()
    assert all(BY_NAME[name].tests for names in SHOWN_BY.values() for name in names)


def test_the_tables_say_what_failed_and_how() -> None:
    broken = Result("scene", 2, 2, 1, 0.1, ["two are there"], ["beat 1 put_item"])
    assert "FAILED scene" in table([broken])
    assert "beat 1 put_item" in table([broken])
    assert "NEVER" in mutations([Found("mutation", "scene")])
