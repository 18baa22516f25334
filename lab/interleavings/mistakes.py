"""Mutations of the real code, made in this process: each must be found in some scene."""

from __future__ import annotations

import ast
import importlib
import inspect
import logging
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from lab.interleavings.reduction import explore
from lab.interleavings.scenes import Scene
from lab.interleavings.stage import Stage
from lab.mutants import MUTANTS, Mutant

BY_NAME = {one.name: one for one in MUTANTS}


@contextmanager
def made(mutant: Mutant) -> Iterator[None]:
    """Have the code be as the mutation of a function makes it."""
    place, _, path = mutant.at.partition(":")
    module = importlib.import_module(f"headcount.{place}")
    node: Any = ast.parse(mutant.applied(inspect.getsource(module)))
    *owners, name = path.split(".")
    owner: Any = module
    for part in owners:
        owner = getattr(owner, part)
    for part in path.split("."):
        (node,) = [one for one in node.body if getattr(one, "name", None) == part]
    code = ast.Module([node], type_ignores=[])
    made_here: dict[str, Any] = {}
    # Compiled like this module: its annotations are not evaluated there, either.
    exec(compile(code, mutant.at, "exec"), vars(module), made_here)  # noqa: S102 - our own code
    old, new = inspect.getattr_static(owner, name), made_here[name]
    if hasattr(new, "__set_name__"):  # a class calls it, but not for what it is given later
        new.__set_name__(owner, name)
    _replace(owner, name, old, new)
    try:
        yield
    finally:
        _replace(owner, name, new, old)


def _replace(owner: Any, name: str, old: Any, new: Any) -> None:
    """Replace a function where it is defined, and in modules that have imported it by its name:
    some do so while a mutation is made, and must not keep it."""
    for one in (*sys.modules.values(), owner):
        if getattr(one, "__dict__", {}).get(name) is old:
            setattr(one, name, new)


SHOWN_BY = {
    "two beats and a leave": (
        "races: a row is written over one that changed",
        "races: of two joins at once the second wins",
        "order: a late beat is taken, as decided",
        "order: no tombstone for a leave that overtook its join",
    ),
    "a leave between two beats": ("order: a late leave is taken",),
    "a leave between two steady beats": ("order: a late beat is steady",),
    "two beats, a leave, count": ("visits: recorded after the numbers",),
    "a batch twice at once": ("retry: a visit is recorded twice",),
    "two counts and a leave": (
        "recount: any version is overwritten",
        "recount: a lost race counts as won",
        "recount: the version is read after the rows",
    ),
    "a late beat, a sweep, a leave": ("races: a row is written over one that changed",),
    "a late beat, a sweep, count": ("races: a row is written over one that changed",),
    "a late beat and two sweeps": ("races: a row is written over one that changed",),
    "two publishers": (
        "versions: any is overwritten",
        "fence: `count` does not look whether the last version is sent",
    ),
    "a greeting and a version": (
        "greeting: a dashboard that is being greeted gets later versions first",
    ),
    "two greetings and a version": ("net: `publish` takes a recount for published",),
    "a greeting, a beat, count, publish": (
        "greeting: its version is sent again, and older ones after it",
    ),
    "an erasure and a beat": ("cleanup: deletes a row that was written since",),
    "an erasure and a count": ("erasures: one round",),
    "a sign-in across shards, a beat": (
        "moves: a beat that lost the race against one joins again",
        "moves: the row left behind ends the visit",
    ),
    "two sign-ins across shards": ("moves: the row left behind ends the visit",),
    "a sign-in across shards, a leave": ("order: a late beat is taken, as decided",),
    "a sign-in across shards, a leave, count": ("order: a late beat is taken, as decided",),
}
"""Of each scene, some mutations that it must show."""


@dataclass
class Found:
    """What a mutation led to: after how many runs what was wrong, and the calls that led to it."""

    mutation: str
    scene: str
    runs: int = 0
    wrong: str = ""
    calls: Sequence[str] = ()


def find(mutation: str, scene: Scene, most: int | None = None) -> Found:
    """Explore a scene with a mutation, up to the first run in which something is wrong."""
    result = Found(mutation, scene.name)

    def end(stage: Stage) -> bool:
        result.runs += 1
        result.calls = list(stage.lines)
        result.wrong = next(iter(scene.problems(stage)), "")
        return bool(result.wrong)

    with made(BY_NAME[mutation]):
        try:
            explore(scene.start, end, most=most)
        except Exception as error:  # the drain fails, or even what was before
            result.wrong = f"{type(error).__name__}: {error}"
    return result


def notice(scene: Scene) -> list[Found]:
    """Whether the mutations of a scene are noticed."""
    logging.disable(logging.CRITICAL)
    return [find(mutation, scene) for mutation in SHOWN_BY[scene.name]]
