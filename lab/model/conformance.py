"""``make conformance``: the model accepts what the real code does.

The real handlers run in random orders of their calls, on ``lab.interleavings.stage``. Of each run,
what the model speaks of is kept: rows that are written, counts, versions, and frames that arrive.
The model accepts that trace if it has a run with the same: all of its states that the trace may
have led to are followed, through steps that leave no trace, too.

make conformance
make conformance ARGS="--traces 1000"
"""

from __future__ import annotations

import argparse
import itertools
import json
import logging
import multiprocessing
import os
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from functools import partial
from random import Random
from typing import Any

from headcount.model.session import shard_key
from headcount.model.space import shard_of
from headcount.store.attributes import decode
from msgspec.structs import replace

from lab.harness.world import SITE
from lab.interleavings.mistakes import BY_NAME, made
from lab.interleavings.stage import Stage
from lab.model.explore import problems
from lab.model.pipeline import Pipeline, Recount, Scene, State, Step, put, start

Event = tuple[object, ...]
"""What can be seen of a step: ``row``, session, number and whether it is there; ``ended``, session;
``count``, shard and sessions; ``version``, number and sessions; ``frame``, dashboard and version.
"""
TRACES = 200
"""Random orders of each scene: that many runs, of which some show the same."""
_LEASE = 61  # seconds, after which a lease is over
_STEADY = 20  # seconds, after which a beat is no part of a burst


@dataclass(frozen=True)
class Kind:
    """A kind of trace: what happens, and the scene of the model that has it."""

    scene: Scene
    begin: Callable[[Stage], None]
    parameters: Mapping[str, str] = field(default_factory=dict)


@dataclass
class Result:
    """The traces of a kind, perhaps with a mutation, up to the first that the model refuses."""

    scene: str
    mutation: str = ""
    traces: int = 0
    distinct: int = 0
    events: int = 0
    states: int = 0  # the most in which a trace may have been
    seconds: float = 0
    refused: Sequence[Event] = ()  # up to the event that the model does not have


# ------------------------------------------------------------------------------------------ traces


def _session(number: int, shards: int) -> str:
    """The name of a session whose home is the shard of its number, if there are several."""
    names = (f"s{number}{'.' * more}" for more in itertools.count())
    return next(
        name
        for name in names
        if shards == 1 or shard_of(shard_key(None, None, name), shards) == number
    )


def _message(stage: Stage, session: int, seq: int, what: str) -> None:
    send = stage.beat if what == "b" else stage.leave
    id_ = _session(session, int(stage.parameters.get("ShardsPerSpace", "1")))
    name = f"s{session} {what}{seq}"
    stage.spawn(name, lambda: send(id_, seq=seq, request=name))


def _greet(stage: Stage, dashboard: int) -> None:
    stage.connect(f"d{dashboard}")
    frame = {"action": "subscribe", "space": SITE}
    stage.spawn(f"greeting {dashboard}", lambda: stage.send(f"d{dashboard}", frame))


def _consume(stage: Stage) -> None:
    stage.consume("count")
    stage.consume("publish")


def _joins_and_a_leave(stage: Stage) -> None:
    _message(stage, 0, 1, "b")
    _message(stage, 0, 2, "l")
    _message(stage, 1, 1, "b")
    _greet(stage, 0)
    _consume(stage)


def _two_dashboards(stage: Stage) -> None:
    _message(stage, 0, 1, "b")
    _greet(stage, 0)
    _greet(stage, 1)
    _consume(stage)


def _known_for(stage: Stage, seconds: float) -> None:
    stage.beat("s0", seq=1)
    stage.settle()
    stage.clock.advance(seconds)


def _late_beat_and_sweep(stage: Stage) -> None:
    _known_for(stage, _LEASE)
    _message(stage, 0, 2, "b")
    stage.spawn("sweep", stage.sweep)
    _consume(stage)


def _steady_beat_and_leave(stage: Stage) -> None:
    _known_for(stage, _STEADY)
    _message(stage, 0, 2, "b")
    _message(stage, 0, 3, "l")
    _consume(stage)


def _late_beat_sweep_and_leave(stage: Stage) -> None:
    _late_beat_and_sweep(stage)
    _message(stage, 0, 3, "l")


def _late_beat_and_join(stage: Stage) -> None:
    stage.beat("s0", seq=1)
    stage.settle()
    stage.clock.advance(_LEASE)
    _message(stage, 0, 2, "b")
    _message(stage, 1, 1, "b")
    _consume(stage)


def _without_faults(
    name: str,
    scripts: tuple[str, ...],
    homes: tuple[int, ...],
    dashboards: int = 0,
    lapses: int = 0,
) -> Scene:
    return Scene(name, scripts, homes, dashboards, lapses, crashes=0, repeats=0, delays=0)


_ONE_DASHBOARD = _without_faults("one leaves, one joins, one dashboard", ("bl", "b"), (0, 0), 1)
_SHARDS = _without_faults("the same in two shards", ("bl", "b"), (0, 1), 1)
_DASHBOARDS = _without_faults("one joins, two dashboards", ("b",), (0,), 2)
_LATE = _without_faults("a late beat, the sweep", ("bb",), (0,), lapses=1)
_STEADY_BEAT = _without_faults("a steady beat, a leave", ("bbl",), (0,))
_LATE_LEAVE = _without_faults("a late beat, the sweep, a leave", ("bbl",), (0,), lapses=1)
_LATE_JOIN = _without_faults("a late beat, another joins", ("bb", "b"), (0, 0), lapses=1)
KINDS = (
    Kind(_ONE_DASHBOARD, _joins_and_a_leave),
    Kind(_SHARDS, _joins_and_a_leave, {"ShardsPerSpace": "2"}),
    Kind(_DASHBOARDS, _two_dashboards),
    Kind(_LATE, _late_beat_and_sweep),
    Kind(_STEADY_BEAT, _steady_beat_and_leave),
    Kind(_LATE_LEAVE, _late_beat_sweep_and_leave),
    Kind(_LATE_JOIN, _late_beat_and_join),
)


def trace_of(kind: Kind, random: Random) -> tuple[Event, ...]:
    """What is seen of a run in a random order. A handler's error is an event that no model has."""
    stage = Stage(**kind.parameters)
    seen: list[Event] = []
    stage.observe = lambda name, params: seen.extend(_seen(stage, name, params))
    try:
        kind.begin(stage)
        while enabled := stage.enabled():
            stage.step(random.choice(sorted(enabled)))
        stage.settle()
        return (*seen, *(("problem", one) for one in stage.problems))
    finally:
        stage.close()


def _seen(stage: Stage, name: str, params: Mapping[str, Any]) -> Iterator[Event]:
    """What a call shows, if anything."""
    if name == "post_to_connection":
        frame = json.loads(params["Data"])
        if frame["type"] == "headcount":
            yield "frame", int(params["ConnectionId"][1:]), frame["version"]
        return
    if name not in {"put_item", "update_item"}:
        return
    table = params["TableName"]
    if table == "presence":
        yield _row(stage, params)
    elif name == "put_item" and table in {"counts", "headcounts"}:
        row = decode(params["Item"])
        if table == "headcounts":
            yield "version", row["version"], row["sessions"]
        elif row["part"].startswith("shard#"):
            yield "count", int(row["part"].removeprefix("shard#")), row["sessions"]


def _row(stage: Stage, params: Mapping[str, Any]) -> Event:
    table = stage.database.tables["presence"]
    found = table.rows.get(table.schema.key(params.get("Key") or params["Item"]))
    assert found is not None
    row = decode(found[0])
    session, live = int(row["session"][1]), row["kind"] not in {"leave", "gone"}
    # A leave that comes after the lease ends the visit as an expiry does, but has a number.
    if stage.acting is not None and stage.acting.name == "sweep" and not live:
        return "ended", session
    return "row", session, row["seq"], live


# ------------------------------------------------------------------------------------------- model


def shown(  # noqa: PLR0911 - one table of steps
    before: State, who: str, what: str, after: State, versions: int
) -> Event | None:
    """What a step of the model shows, if anything; after so many ``versions``."""
    if what.startswith("message ") and ": stale" not in what:
        _, number, _, session = what.partition(":")[0].split()
        i = int(session[1:])
        return "row", i, int(number), after.rows[i][1]
    if what.startswith("ends s"):
        return "ended", int(what.removeprefix("ends s").partition(",")[0])
    if what == "writes the count":
        at = len(before.counts) if who == "cleanup" else int(who.removeprefix("count"))
        written = before.recounts[at]
        assert written is not None
        return "count", written.shard, after.counts[written.shard].bit_count()
    if what == "stores the next version":
        return "version", versions + 1, after.tally.bit_count()
    if what.startswith("posts to d"):
        publisher = before.publishers[who != "publish"]
        assert publisher is not None
        return "frame", int(what.removeprefix("posts to d")), versions + publisher.version
    if what == "posts it":
        d = int(who.removeprefix("socket"))
        return "frame", d, versions + before.dashboards[d].holds
    return None


class _Updated(Pipeline):
    """The model, whose sweep may also recount without a repair: to update the views, for example,
    of which the model does not speak."""

    def clean_up(self, s: State) -> Iterator[Step]:
        yield from super().clean_up(s)
        if s.sweep is None:
            yield "SWEEP", "reads the rows, to update", replace(s, sweep=(0, 0))
        elif not s.sweep[0] and s.recounts[-1] is None:
            for shard in range(self.shards):
                again = Recount(shard, 0, self.present(s, shard))
                recounts = put(s.recounts, self.shards, again)
                yield "cleanup", f"recounts shard {shard}, to update", replace(s, recounts=recounts)


class Follower:
    """All states of the model in which a trace may be so far."""

    def __init__(self, scene: Scene) -> None:
        self.pipeline = _Updated(scene)
        self._plain = Pipeline(scene)
        self.versions = 0
        self.states = {start(scene)}
        self.most = 1

    def refuses(self, trace: Sequence[Event]) -> Sequence[Event]:
        """The beginning of a trace that the model has no run with; empty if it has one."""
        for number, event in enumerate(trace, 1):
            if not self.see(event):
                return trace[:number]
        return () if self.ends() else (*trace, ("end",))

    def see(self, event: Event) -> bool:
        """Go on with an event; False if the model has no run with it."""
        found: set[State] = set()
        for before, who, what, after in self._steps():
            if shown(before, who, what, after, self.versions) == event:
                found.add(after)
        self.versions += event[0] == "version"
        self.states = found
        return bool(found)

    def ends(self) -> bool:
        """Whether the run may be over, with nothing wrong."""
        for _ in self._steps():
            pass
        scene = self.pipeline.scene
        return any(
            not state.wrong and not any(problems(state, scene, swept=False))
            for state in self.states
            if all(what.endswith("lease runs out") for _, what, _ in self._plain.steps(state))
        )

    def _steps(self) -> Iterator[tuple[State, str, str, State]]:
        """All steps from these states, and from those that steps without a trace lead to."""
        todo = list(self.states)
        while todo:
            before = todo.pop()
            for who, what, after in self.pipeline.steps(before):
                yield before, who, what, after
                if (
                    shown(before, who, what, after, self.versions) is None
                    and after not in self.states
                ):
                    self.states.add(after)
                    todo.append(after)
        self.most = max(self.most, len(self.states))


def follow(kind: Kind, traces: range, mutation: str = "") -> Result:
    """Check traces, by their seeds, up to the first that the model refuses."""
    logging.disable(logging.CRITICAL)
    result, began = Result(kind.scene.name, mutation), time.process_time()
    accepted: set[tuple[Event, ...]] = set()
    with made(BY_NAME[mutation]) if mutation else nullcontext():
        for seed in traces:
            result.traces += 1
            trace = trace_of(kind, Random(f"{kind.scene.name} {seed}"))  # noqa: S311 - no secret
            result.events += len(trace)
            if trace in accepted:
                continue
            accepted.add(trace)
            follower = Follower(kind.scene)
            result.refused = follower.refuses(trace)
            result.states = max(result.states, follower.most)
            if result.refused:
                break
    result.distinct = len(accepted)
    result.seconds = time.process_time() - began
    return result


REFUSED = {
    _ONE_DASHBOARD.name: (
        "order: no tombstone for a leave that overtook its join",
        "races: of two joins at once the second wins",
        "versions: any is overwritten",
        "fence: `count` does not look whether the last version is sent",
        "net: `publish` takes a recount for published",
    ),
    _SHARDS.name: ("order: a late leave is taken",),
    _DASHBOARDS.name: (
        "greeting: a dashboard that is being greeted gets later versions first",
        "greeting: its version is sent again, and older ones after it",
    ),
    _LATE.name: ("versions: any is overwritten",),
    _STEADY_BEAT.name: ("order: a late beat is taken, as decided",),
    _LATE_LEAVE.name: ("races: a row is written over one that changed",),
    _LATE_JOIN.name: ("margin: a beat after its lease is steady",),
}
"""Of each scene, some mutations of the code whose traces the model must refuse."""


def table(results: Sequence[Result]) -> str:
    """The scenes, and the trace that the model refused."""
    width = max(len(one.scene) for one in results)
    head = f"{'traces':>6} {'distinct':>8} {'steps':>6} {'states':>6} {'accepted':>8} {'CPU s':>6}"
    lines = [f"{'scene':{width}} {head}"]
    lines += [
        f"{one.scene:{width}} {one.traces:>6,} {one.distinct:>8,} {one.events:>6,} "
        f"{one.states:>6,} {one.traces - bool(one.refused):>8,} {one.seconds:>6.1f}"
        for one in results
    ]
    for one in results:
        if one.refused:
            lines.append(f"REFUSED {one.scene}")
            lines += ["  " + " ".join(map(str, event)) for event in one.refused]
    return "\n".join(lines)


def mutations(results: Sequence[Result]) -> str:
    """After how many traces the model refused one of each mutation, and at which step."""
    lines = [f"{'mutation':70} {'scene':36} {'after':>5}  refused"]
    for one in results:
        last = " ".join(map(str, one.refused[-1])) if one.refused else "NEVER"
        lines.append(f"{one.mutation:70} {one.scene:36} {one.traces:>5}  {last}")
    return "\n".join(lines)


def main() -> int:
    """Run what the command line says; 1 if a trace is refused, or a mutation is accepted."""
    parser = argparse.ArgumentParser(description="Check traces of the real code by the model.")
    parser.add_argument("--traces", type=int, default=TRACES, help="of each scene")
    seeds = range(parser.parse_args().traces)
    began = time.monotonic()
    with multiprocessing.get_context("spawn").Pool(os.cpu_count()) as pool:
        results = pool.map(partial(follow, traces=seeds), KINDS, chunksize=1)
        print(table(results), end="\n\n")
        planted = [(kind, seeds, one) for kind in KINDS for one in REFUSED[kind.scene.name]]
        found = pool.starmap(follow, planted, chunksize=1)
    print(mutations(found), end="\n\n")
    print(f"{time.monotonic() - began:.0f} s on {os.cpu_count()} cores")
    return 1 if any(one.refused for one in results) or not all(one.refused for one in found) else 0


if __name__ == "__main__":
    sys.exit(main())
