"""Every state that a scene can reach, breadth first, and what must hold in them."""

from __future__ import annotations

import gc
import itertools
import time
from array import array
from collections.abc import Iterator
from dataclasses import dataclass, field

from msgspec.structs import replace

from lab.model.pipeline import Pipeline, Publisher, Scene, State, start

OUTSIDE = {"WORLD", "CRASH", "REPEAT"}
"""What the pipeline does not do by itself."""
SAFETY = (
    "published equals the oracle when quiet",
    "a ghost is gone after one sweep, a lost change after one more",
    "nothing acknowledged is lost",
    "a visit is recorded once",
    "versions grow one by one",
    "versions reach a dashboard without gaps",
    "and in order, if one process publishes and none crashes",
    "a dashboard shows the last version when quiet",
    "no one is ended whose lease runs",
)
LIVENESS = "it becomes quiet, whatever happens next"


@dataclass
class Result:
    """What exploring a scene found. ``wrong``: the property that does not hold; ``path``: how."""

    scene: Scene
    states: int = 0
    transitions: int = 0
    quiet: int = 0
    seconds: float = 0
    wrong: str = ""
    path: list[str] = field(default_factory=list)


def explore(scene: Scene, without: str = "", most: int = 2_000_000) -> Result:
    """Visit all states of a scene; up to the first in which a property does not hold.
    More than ``most`` are an error: a million take about half a gigabyte."""
    collects = gc.isenabled()
    gc.disable()  # millions of states, and no circles
    try:
        return _explore(Pipeline(scene, without), most)
    finally:
        if collects:
            gc.enable()


def _explore(pipeline: Pipeline, most: int) -> Result:
    scene = pipeline.scene
    result, began = Result(scene), time.process_time()
    first = start(scene)
    seen, order = {first: 0}, [first]
    parents = array("I", [0])
    edges = array("I")  # the number of each state's next states, and these
    for number, state in enumerate(order):
        if len(order) > most:
            raise MemoryError(f"more than {most:,} states in {scene.name}")
        inside = swept = False
        targets = []
        for who, _, after in pipeline.steps(state):
            inside |= who not in OUTSIDE and who != "SWEEP"
            swept |= who == "SWEEP"
            new = folded(after)
            target = seen.setdefault(new, len(order))
            if target == len(order):
                order.append(new)
                parents.append(number)
            targets.append(target)
        result.transitions += len(targets)
        edges.append(len(targets))
        edges.extend(targets)
        result.quiet += not inside and not swept
        wrong = state.wrong or ("" if inside else next(problems(state, scene, swept=swept), ""))
        if wrong:
            result.wrong = wrong
            result.path = trace(pipeline, order, parents, number)
            break
    result.states = len(order)
    if not result.wrong and (number := unending(edges, len(order))) is not None:
        result.wrong = f"{LIVENESS}: it need not"
        result.path = trace(pipeline, order, parents, number)
    result.seconds = time.process_time() - began
    return result


def problems(s: State, scene: Scene, *, swept: bool) -> Iterator[str]:
    """What is wrong in a state in which nothing but the sweep is left to do, if it has anything.

    The oracle knows only each client's last message, and whether its lease ran out since.
    """
    for i, script in enumerate(scene.scripts):
        bit, home = 1 << i, scene.homes[i]
        here = bool(s.sent[i]) and script[s.sent[i] - 1] == "b" and bool(s.leases & bit)
        stored, shown = s.rows[i][1], bool(s.tally & bit)
        late = s.late is not None and s.late[0] == home
        if (here and not stored) or (stored and not here and s.leases & bit):
            yield f"nothing acknowledged is lost: s{i} is {'missing' if here else 'back'}"
        if shown == here:
            continue
        if not swept:
            yield f"published equals the oracle when quiet: not for s{i}"
        elif not late and not (shown and stored):
            yield f"a ghost is gone after one sweep, a lost change after one more: not s{i}"
    visits = sum(row[2] for row in s.rows)
    if s.late is None and s.ledger.bit_count() != visits:
        yield f"nothing acknowledged is lost: {s.ledger.bit_count()} of {visits} visits recorded"
    if s.views != s.ledger.bit_count():
        yield f"a visit is recorded once: {s.views} views, {s.ledger.bit_count()} visits"
    for d, one in enumerate(s.dashboards):
        if one.last < 0 and not swept:
            yield f"a dashboard shows the last version when quiet: not d{d}"


def folded(s: State) -> State:
    """The same for all states that differ only in which dashboard is which."""
    if len(s.dashboards) < 2 or s.dashboards[0] <= s.dashboards[1]:
        return s
    swap = (0, 2, 1, 3)

    def other(it: Publisher | None) -> Publisher | None:
        return it and replace(it, due=swap[it.due], waiting=swap[it.waiting])

    return replace(
        s,
        dashboards=s.dashboards[::-1],
        publishers=(other(s.publishers[0]), other(s.publishers[1])),
        chunks=tuple((version, swap[due]) for version, due in s.chunks),
        fanout=swap[s.fanout],
    )


def unending(edges: array[int], states: int) -> int | None:
    """A state from which it may go on forever; None: whatever happens, every run ends. States in
    which nothing more happens are quiet, so then every run becomes quiet."""
    before: list[int] = [0] * states
    starts = array("I", [0]) * (states + 1)
    at = 0
    for state in range(states):
        starts[state] = at
        for target in edges[at + 1 : at + 1 + edges[at]]:
            before[target] += 1
        at += 1 + edges[at]
    ready = [state for state in range(states) if not before[state]]
    ended = 0
    while ready:
        ended += 1
        at = starts[ready.pop()]
        for target in edges[at + 1 : at + 1 + edges[at]]:
            before[target] -= 1
            if not before[target]:
                ready.append(target)
    return None if ended == states else next(one for one in range(states) if before[one])


def trace(pipeline: Pipeline, order: list[State], parents: array[int], number: int) -> list[str]:
    """The shortest way to a state, as steps."""
    path = [number]
    while path[-1]:
        path.append(parents[path[-1]])
    path.reverse()
    lines = []
    for one, after in itertools.pairwise(path):
        who, what = next(
            (who, what)
            for who, what, new in pipeline.steps(order[one])
            if folded(new) == order[after]
        )
        lines.append(f"{who}: {what}")
    return lines
