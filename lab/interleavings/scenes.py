"""Who acts at the same time, and what must hold afterwards."""

from __future__ import annotations

import json
import logging
import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial

from headcount.model.person import hashed_fingerprint
from headcount.model.session import shard_key
from headcount.model.space import shard_of

from lab.harness.world import SITE
from lab.interleavings.reduction import explore
from lab.interleavings.stage import Stage

LEASE = 60
"""Seconds, of ``site:main``."""
_LATER = 35
"""Seconds after which nothing is in flight, and no lease is over."""
_SHARDS = 2


def _nothing(_: Stage) -> Iterator[str]:
    yield from ()


@dataclass(frozen=True)
class Scene:
    """``begin`` says what was before, and adds the actors; ``here``: the sessions that must be
    there in the end, ``visits``: how many visits there may be by then, at least and at most."""

    name: str
    begin: Callable[[Stage], None]
    here: frozenset[str]
    visits: tuple[int, int]
    parameters: Mapping[str, str] = field(default_factory=dict)
    check: Callable[[Stage], Iterator[str]] = _nothing

    def start(self) -> Stage:
        """The scene, before anyone has made a call."""
        stage = Stage(**self.parameters)
        self.begin(stage)
        return stage

    def problems(self, stage: Stage) -> list[str]:
        """What is wrong at the end: once the streams are read to their end, and once more after the
        sweep, which must find nothing to repair."""
        stage.problems += self._problems(stage)
        return stage.problems

    def _problems(self, stage: Stage) -> Iterator[str]:
        stage.settle()
        yield from self.check(stage)
        yield from self._numbers(stage)
        yield from _versions(stage)
        stage.clock.advance(_LATER)
        if wrong := stage.sweep()["repaired"]:
            yield f"the sweep repaired {wrong}"
        stage.settle()
        yield from self._numbers(stage)
        yield from _versions(stage)

    def _numbers(self, stage: Stage) -> Iterator[str]:
        """Published equals the truth; each visit is recorded once, and ended if it is over."""
        body = stage.headcount()
        if body["sessions"] != len(self.here):
            yield f"{body['sessions']} sessions are published, but {len(self.here)} are there"
        live = stage.live_sessions()
        if sorted(live) != sorted(self.here):
            yield f"the rows of {live} are live, but {sorted(self.here)} are there"
        began = {row["visit"] for row in stage.written("presence") if row.get("visit")}
        ledger = stage.ledger()
        found = [row["id"] for row in ledger]
        if sorted(found) != sorted(began):
            yield f"the visits {sorted(began)} began, but {sorted(found)} are recorded"
        if body["views"]["total"] != len(found):
            yield f"{body['views']['total']} views, but {len(found)} visits"
        if not self.visits[0] <= len(found) <= self.visits[1]:
            yield f"{len(found)} visits, which should be {self.visits}"
        running = sum("ended_at" not in row for row in ledger)
        if running != len(self.here):
            yield f"{running} visits have no end, but {len(self.here)} are running"


def _versions(stage: Stage) -> Iterator[str]:
    """Versions are stored one by one, and reach each dashboard so, up to the last."""
    stored = stage.versions_stored
    if stored != [*range(1, len(stored) + 1)]:
        yield f"the versions {stored} are stored"
    for connection in stage.management.frames:
        last = 0
        for version in stage.versions(connection):
            if last and version not in (last, last + 1):
                yield f"{connection} received version {version} after {last}"
            last = version
        if last != stored[-1]:
            yield f"{connection} shows version {last} of {stored[-1]}"


# ------------------------------------------------------------------------------------------ actors


def _beat(stage: Stage, session: str, seq: int, **fields: str) -> None:
    name = f"beat {seq}"
    stage.spawn(name, lambda: stage.beat(session, seq=seq, request=name, **fields))


def _leave(stage: Stage, session: str, seq: int) -> None:
    name = f"leave {seq}"
    stage.spawn(name, lambda: stage.leave(session, seq=seq, request=name))


def _join(stage: Stage, session: str, **fields: str) -> None:
    """Somebody joined before, and is published."""
    stage.beat(session, seq=1, **fields)
    stage.settle()


def _handle(stage: Stage, name: str, function: str) -> None:
    """A function handles the records that wait now."""
    batch = stage.filtered(function)
    stage.spawn(name, lambda: stage.handle(function, batch))


# ------------------------------------------------------------------------------------------ scenes


def _two_beats_and_a_leave(stage: Stage) -> None:
    _beat(stage, "s1", 1)
    _beat(stage, "s1", 2, page="/2")
    _leave(stage, "s1", 3)


def _a_leave_between_beats(stage: Stage) -> None:
    _beat(stage, "s1", 1)
    _leave(stage, "s1", 2)
    _beat(stage, "s1", 3, page="/2")


def _a_leave_between_steady_beats(stage: Stage) -> None:
    _join(stage, "s1")
    stage.clock.advance(20)
    _beat(stage, "s1", 2)
    _leave(stage, "s1", 3)
    _beat(stage, "s1", 4)


def _counted(begin: Callable[[Stage], None], stage: Stage) -> None:
    """The same, while ``count`` handles the records of it."""
    begin(stage)
    stage.consume("count")


def _beat_sweep_and_leave(stage: Stage) -> None:
    _join(stage, "s1")
    _join(stage, "s2")
    stage.clock.advance(LEASE - 10)
    stage.beat("s2", seq=2)
    stage.clock.advance(11)
    _beat(stage, "s1", 2)
    stage.spawn("sweep", stage.sweep)
    _leave(stage, "s1", 3)


def _late_beat_and_sweep(stage: Stage) -> None:
    _join(stage, "s1")
    stage.clock.advance(LEASE + 1)
    _beat(stage, "s1", 2)
    stage.spawn("sweep", stage.sweep)


def _two_sweeps_and_a_beat(stage: Stage) -> None:
    _late_beat_and_sweep(stage)
    stage.spawn("other sweep", stage.sweep)


def _a_batch_twice(stage: Stage) -> None:
    """A stream hands a batch over again while it is being handled."""
    stage.beat("s1", seq=1)
    batch = stage.filtered("count")
    stage.spawn("count", lambda: stage.handle("count", batch))
    stage.spawn("again", lambda: stage.handle("count", batch))


def _two_counts_and_a_leave(stage: Stage) -> None:
    """The parts of a split stream are counted at the same time."""
    _join(stage, "s1")
    stage.clock.advance(10)
    stage.beat("s2", seq=1)
    _handle(stage, "other count", "count")
    _leave(stage, "s1", 2)
    stage.consume("count")


def _two_publishers(stage: Stage) -> None:
    """``count`` publishes what it counted, while ``publish`` handles a count that was not."""
    _join(stage, "s1")
    stage.subscribe("c1")
    stage.clock.advance(10)
    stage.beat("s2", seq=1)
    stage.services("count").counter.settle([])
    late = stage.filtered("count")
    stage.services("count").recounter.recount(SITE, 0)
    _handle(stage, "publish", "publish")
    stage.beat("s3", seq=1)
    batch = [*late, *stage.filtered("count")]
    stage.spawn("count", lambda: stage.handle("count", batch))


def _a_greeting_and_a_version(stage: Stage) -> None:
    _join(stage, "s1")
    stage.clock.advance(10)
    stage.connect("c1")
    stage.beat("s2", seq=1)
    _handle(stage, "count", "count")
    frame = {"action": "subscribe", "space": SITE}
    stage.spawn("greeting", lambda: stage.send("c1", frame))


def _two_greetings_and_a_version(stage: Stage) -> None:
    _a_greeting_and_a_version(stage)
    stage.connect("c2")
    frame = {"action": "subscribe", "space": SITE}
    stage.spawn("other greeting", lambda: stage.send("c2", frame))


_USER, _TAB = "user-ada", "tab-ada"


def _two_sign_ins(stage: Stage) -> None:
    _join(stage, "s1", visitorId=_VISITOR)
    _beat(stage, "s1", 2, visitorId=_VISITOR, userId=_SIGNED_IN)
    _beat(stage, "s1", 3, visitorId=_VISITOR, userId=_OTHER_USER)


def _an_erasure_and_a_beat(stage: Stage) -> None:
    _join(stage, "s2")
    _join(stage, _TAB, userId=_USER, visitorId="browser-ada")
    _ask_for_erasure(stage)
    name = "beat 2"
    fields = {"userId": _USER, "visitorId": "browser-ada", "page": "/2"}
    stage.spawn(name, lambda: stage.beat(_TAB, seq=2, request=name, **fields))


def _an_erasure_and_a_count(stage: Stage) -> None:
    """What the person did just before is counted."""
    _join(stage, "s2")
    stage.beat(_TAB, seq=1, userId=_USER, visitorId="browser-ada")
    _ask_for_erasure(stage)
    _handle(stage, "count", "count")


def _ask_for_erasure(stage: Stage) -> None:
    """The first round: run after run, each of which the last one asks for."""
    body = {"userId": _USER, "visitorId": "browser-ada"}
    answer = stage.http("POST", "/v1/erasures", body=body, token=stage.admin)
    assert answer.status == 202, answer

    def act() -> None:
        while stage.queue.erasures and not stage.queue.erasures[0][0]:
            _, text = stage.queue.erasures.pop(0)
            stage.invoke("erase", {"Records": [{"body": text}]})

    stage.spawn("erase", act)


def _erased(stage: Stage) -> Iterator[str]:
    """Nothing of the person is left after the last round."""
    while stage.queue.erasures:
        wait, text = stage.queue.erasures.pop(0)
        stage.clock.advance(wait)
        stage.beat("s2")
        stage.settle()
        stage.invoke("erase", {"Records": [{"body": text}]})
        stage.settle()
    for role, rows in stage.snapshot().items():
        text = json.dumps(rows, default=bytes.hex)
        if "-ada" in text or hashed_fingerprint("browser-ada") in text:
            yield f"{role} still has the erased person"


_VISITOR = "v1"
_HOME = shard_of(shard_key(None, _VISITOR, "s1"), _SHARDS)
_SIGNED_IN, _OTHER_USER, *_ = (
    name
    for name in map("u{}".format, range(20))
    if shard_of(shard_key(name, None, "s1"), _SHARDS) != _HOME
)
"""Users who count in another shard than the visitor before the sign-in."""


def _a_sign_in_and_a_leave(stage: Stage) -> None:
    _join(stage, "s1", visitorId=_VISITOR)
    _beat(stage, "s1", 2, visitorId=_VISITOR, userId=_SIGNED_IN)
    _leave(stage, "s1", 3)


def _a_sign_in_and_beats(stage: Stage) -> None:
    _join(stage, "s1", visitorId=_VISITOR)
    _beat(stage, "s1", 2, visitorId=_VISITOR)
    _beat(stage, "s1", 3, visitorId=_VISITOR, userId=_SIGNED_IN)


def _from_beat_to_dashboard(stage: Stage) -> None:
    _join(stage, "s1")
    stage.clock.advance(10)
    stage.connect("c1")
    frame = {"action": "subscribe", "space": SITE}
    stage.spawn("greeting", lambda: stage.send("c1", frame))
    _beat(stage, "s2", 1)
    stage.consume("count")
    stage.consume("publish")


_NOBODY: frozenset[str] = frozenset()
_ONE, _OTHER = frozenset({"s1"}), frozenset({"s2"})
_UNLIMITED = {"Limits": "beats-per-session=0"}  # else beats of the same moment are not steady
_SHARDED = {"ShardsPerSpace": str(_SHARDS)}

SCENES = (
    Scene("two beats and a leave", _two_beats_and_a_leave, _NOBODY, (0, 2)),
    Scene("two beats, a leave, count", partial(_counted, _two_beats_and_a_leave), _NOBODY, (0, 2)),
    Scene("a leave between two beats", _a_leave_between_beats, _ONE, (1, 2)),
    Scene(
        "a leave between two steady beats", _a_leave_between_steady_beats, _ONE, (1, 2), _UNLIMITED
    ),
    Scene("a batch twice at once", _a_batch_twice, _ONE, (1, 1)),
    Scene("two counts and a leave", _two_counts_and_a_leave, _OTHER, (2, 2)),
    Scene("a late beat, a sweep, a leave", _beat_sweep_and_leave, _OTHER, (2, 3)),
    Scene("a late beat, a sweep, count", partial(_counted, _late_beat_and_sweep), _ONE, (1, 2)),
    Scene("a late beat and two sweeps", _two_sweeps_and_a_beat, _ONE, (1, 2)),
    Scene("two publishers", _two_publishers, _ONE | _OTHER | {"s3"}, (3, 3)),
    Scene("a greeting and a version", _a_greeting_and_a_version, _ONE | _OTHER, (2, 2)),
    Scene("two greetings and a version", _two_greetings_and_a_version, _ONE | _OTHER, (2, 2)),
    Scene("a greeting, a beat, count, publish", _from_beat_to_dashboard, _ONE | _OTHER, (2, 2)),
    Scene("an erasure and a beat", _an_erasure_and_a_beat, _OTHER, (2, 3), check=_erased),
    Scene("an erasure and a count", _an_erasure_and_a_count, _OTHER, (2, 2), check=_erased),
    Scene("a sign-in across shards, a beat", _a_sign_in_and_beats, _ONE, (1, 1), _SHARDED),
    Scene("two sign-ins across shards", _two_sign_ins, _ONE, (1, 1), _SHARDED),
    Scene("a sign-in across shards, a leave", _a_sign_in_and_a_leave, _NOBODY, (1, 1), _SHARDED),
    Scene(
        "a sign-in across shards, a leave, count",
        partial(_counted, _a_sign_in_and_a_leave),
        _NOBODY,
        (1, 1),
        _SHARDED,
    ),
)


@dataclass
class Result:
    """What exploring a scene found: how many runs, out of ``orders`` of the first one's ``calls``;
    what was wrong in the first that failed, and the calls that led to it."""

    scene: str
    calls: int = 0
    orders: int = 0
    runs: int = 0
    seconds: float = 0
    wrong: Sequence[str] = ()
    lines: Sequence[str] = ()


def run(scene: Scene) -> Result:
    """Explore a scene, up to the first failure."""
    logging.disable(logging.CRITICAL)
    result, began = Result(scene.name), time.process_time()

    def end(stage: Stage) -> bool:
        result.runs += 1
        result.lines = list(stage.lines)
        result.wrong = scene.problems(stage)
        return bool(result.wrong)

    steps = explore(scene.start, end).steps
    result.calls = sum(steps)
    result.orders = math.factorial(result.calls)
    for number in steps:
        result.orders //= math.factorial(number)
    result.seconds = time.process_time() - began
    return result
