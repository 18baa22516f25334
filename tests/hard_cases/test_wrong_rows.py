"""A stored row that can be read and is wrong: whatever it says, the numbers are right again soon.

What led to such rows: a backup that was put back, a clock that was wrong for a while, an item that
was changed by hand. Every attribute of every row of a small deployment is replaced by others of its
type; every row is deleted, or is again what it was an hour ago, and so is every table. Then life
goes on for some minutes, past a full hour and a midnight, and in the end all must be as if nothing
had happened, but for history: what nobody can know again (``HISTORY``).
"""

from __future__ import annotations

import fnmatch
import logging
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pytest
from botocore.exceptions import ClientError
from headcount.store.attributes import decode
from headcount.store.keys import TTL
from headcount.times import DAY, MINUTE, SECOND, parse_iso

from tests.conftest import MEMORY
from tests.docs.pages import page
from tests.support.clock import Clock
from tests.support.engines import Engine
from tests.support.fakes import FakeBus, FakeLine, FakeQueue
from tests.support.telling import EVENTS
from tests.support.template import ROOT, template
from tests.support.world import World, world_on

BUSY, QUIET, EMPTY = SPACES = ("link:busy", "link:quiet", "link:empty")
"""In one people come and go, in one they only stay, in one there is nobody."""

STAYING: list[tuple[str, str, dict[str, Any]]] = [
    ("t1", BUSY, {"visitorId": "v1", "page": "/a", "facets": {"plan": "pro"}}),
    ("t2", BUSY, {"visitorId": "v1", "page": "/b"}),
    ("t3", BUSY, {"userId": "u1", "name": "Ada", "page": "/a"}),
    ("t4", QUIET, {"visitorId": "v2", "page": "/q"}),
    ("t5", QUIET, {"visitorId": "v2", "page": "/r", "quality": {"rate": 8.5}}),
    ("t6", QUIET, {"visitorId": "v3", "engagement": {"chat": 3}}),
]
CONNECTIONS = dict(zip(SPACES, ("c1", "c2", "c3"), strict=True))
"""Who listens to each."""

Item = dict[str, Any]
Rows = dict[str, list[Item]]

HISTORY: Mapping[str, tuple[str, ...]] = {
    # What admins said is known from nowhere else.
    "counts * alert#*": ("* said *",),
    "counts * denied#*": ("* said *",),
    "counts * notice*": ("* said *",),
    "streams streams one *": ("streams *",),
    # The totals of visits that are in the bin.
    "counts * views *": ("* views *",),
    "counts * engagement *": ("* engagement *", "* days *"),
    # How long the last hundred visits were: those that ended in the last minutes are found again.
    "counts * shard#0 deleted": ("* average *",),
    "counts * shard#0 as an hour ago": ("* average *",),
    "counts * stays: *": ("* average *",),
    "counts * counted_at: in no calendar": ("* average *",),  # a row that can't be read
    "counts * caused_at: in no calendar": ("* average *",),
    "counts * quality: rate: empty": ("* average *",),
    # What was published was seen: the peak of it stays, and what it set off was told.
    "counts * shard#0 sessions: huge": ("* peaks *",),
    "counts * shard#0 signed_in: huge": ("* peaks *", "* days *", "* said *"),
    "counts * shard#0 anonymous: huge": ("* peaks *", "* days *", "* said *"),
    "counts as an hour ago": ("* average *", "* days *", "* views *", "* engagement *"),
    "counts put over": ("* average *", "* days *", "* views *", "* engagement *"),
    "headcounts * deleted": ("* peaks *", "* days *", "* said *"),
    "headcounts * peak*": ("* peaks *", "* days *"),
    "headcounts * as_of: in no calendar": ("* peaks *", "* days *", "* said *"),
    "headcounts * chunked_at: in no calendar": ("* peaks *", "* days *"),
    "headcounts * cause: empty": ("* peaks *", "* days *", "* said *"),
    "headcounts * notice: *": ("* peaks *", "* days *"),
    "headcounts * quality: rate: empty": ("* peaks *", "* days *"),
    "headcounts * alerts: empty": ("* peaks *", "* days *"),
    "headcounts * day_peaks: *": ("* days *",),
    # The past, as it is told.
    "history * day#2026-11-20 *": ("* days *",),
    # The ledger: a day is what its visits say. A visit that it lost is another, and another view.
    "visits *": ("* days *",),
    "visits as an hour ago": ("* views *", "* engagement *"),
    # Who was there, and since when, is known from the session alone: under another time or id it is
    # another visit, and a session that is gone comes back as one.
    "presence * joined_at: *": ("* views *", "* engagement *", "* days *", "* average *"),
    "presence * visit: *": ("* views *", "* engagement *", "* days *", "* average *"),
    "presence * deleted": ("* views *", "* days *", "* average *"),
    "presence * as an hour ago": ("* days *", "* average *"),
    "presence as an hour ago": ("* days *", "* average *", "* engagement *"),
    "presence put over": ("* days *", "* average *", "* engagement *"),
    "presence * beats: *": ("* days *",),
    "presence * ended_at: *": ("* days *",),
    "presence * user: *": ("* days *",),
    # No release writes it: a session that can't be read is nowhere until its TTL takes it away.
    "presence * kind: empty": ("failures", "* numbers *", "* days *", "* average *"),
    # A session that sent too much is refused until it was silent for a moment.
    "presence * n: huge": ("failures", "* days *"),
    # It stays a little longer, or shorter.
    "presence * lost changed_at: *": ("* days *", "* average *"),
    "presence * lost last_seen: *": ("* days *", "* average *"),
    "presence * lost expires_at: *": ("* days *", "* average *"),
}


# ------------------------------------------------------------------------------------- the story


def beat_all(world: World) -> None:
    for session, space, facts in STAYING:
        world.beat(session, space, **facts)


def act(world: World, method: str, path: str, body: object) -> None:
    answer = world.http(method, path, body=body, token=world.admin)
    assert answer.status in {200, 201}, answer


def happen(world: World) -> None:
    """Let everything have its effect, and be told."""
    world.settle()
    world.emit()


def begin(world: World) -> None:
    """Yesterday, and today until an hour before."""
    world.clock.set("2026-11-20T10:00:00Z")
    for space in SPACES:
        world.beat("y", space, visitorId="y", page="/")
    happen(world)
    for space in SPACES:
        world.leave("y", space)
    happen(world)
    world.clock.set("2026-11-21T01:00:00Z")
    world.daily()
    world.clock.set("2026-11-21T10:40:00Z")
    for space in (BUSY, QUIET):
        rules = f"/v1/spaces/{space}/alerts"
        act(world, "PUT", f"{rules}/many", {"type": "milestone", "people": 9})
        act(
            world,
            "PUT",
            f"{rules}/jump",
            {"type": "spike", "factor": 9, "minutes": 5, "atLeast": 9},
        )
        act(world, "POST", f"/v1/spaces/{space}/messages", {"text": "Hello.", "seconds": 4 * 3600})
        act(world, "POST", f"/v1/spaces/{space}/removals", {"userId": "rude", "seconds": 4 * 3600})
    act(world, "POST", "/api/streams", {"id": "one", "title": "Opening", "channelId": "ch"})
    act(world, "POST", "/api/streams/one/start", {})
    for space, connection in CONNECTIONS.items():
        world.subscribe(connection, space)
    world.connect("c4", path="/api/ws/analytics/realtime")
    come_and_go(world, "early")


def come_and_go(world: World, name: str) -> None:
    """Somebody looks into every space."""
    beat_all(world)
    for space in SPACES:
        world.beat(name, space, visitorId=name, page=f"/{name}", engagement={"chat": 1})
    happen(world)
    world.clock.advance(30)
    for space in SPACES:
        world.leave(name, space)
    happen(world)
    beat_all(world)
    world.sweep()
    happen(world)


def later(world: World) -> None:
    """An hour later."""
    world.clock.set("2026-11-21T11:45:00Z")
    world.sweep()
    come_and_go(world, "late")
    world.beat("lost", QUIET, visitorId="lost", page="/lost")  # says no more: its tab crashed
    happen(world)
    for _ in range(2):
        world.clock.advance(60)
        beat_all(world)
        world.sweep()
        happen(world)


class Onwards:
    """What happens in some spaces after a row went wrong; what fails is noted, and the rest goes
    on."""

    def __init__(self, world: World, spaces: Sequence[str]) -> None:
        self.world = world
        self.spaces = spaces
        self.failed: list[str] = []

    def do(self, what: Callable[..., object], *args: Any, **named: Any) -> None:
        try:
            what(*args, **named)
        except Exception as error:
            self.failed.append(f"{what.__name__}: {type(error).__name__}: {error}"[:200])

    def beat(self, session: str, space: str, **facts: Any) -> None:
        if space in self.spaces:
            self.do(self.world.beat, session, space, **facts)

    def happen(self) -> None:
        for function in ("count", "publish") * 3:
            self.do(getattr(self.world, function), self.world.filtered(function))
        self.do(self.world.fan_out)
        self.do(self.world.run_errands)
        self.do(self.world.emit)

    def go_on(self) -> dict[str, Any]:
        """Life goes on; returns all that anybody is told at noon and a day later."""
        self.happen()
        staying = [*STAYING[1:2], *STAYING[3:]]
        staying.append(("t3", BUSY, {"userId": "u1", "name": "Ada", "page": "/moved"}))
        staying.append(("new", BUSY, {"visitorId": "new", "page": "/new"}))
        if BUSY in self.spaces:
            self.do(self.world.leave, "t1", BUSY)
        for number in range(8):
            if number % 3 == 0:  # leases are five minutes
                for session, space, facts in staying:
                    self.beat(session, space, **facts)
                self.happen()
            self.world.clock.advance(60)
            self.do(self.world.sweep)
            self.happen()
        self._sweep_at("2026-11-21T12:00:10Z")  # and once an hour
        found = {f"{name} at noon": said for name, said in self.look().items()}
        self._sweep_at("2026-11-22T00:30:00Z")
        self._sweep_at("2026-11-22T01:00:00Z")
        self.do(self.world.daily)
        for space in self.spaces:
            self.beat("next", space, visitorId="next", page="/next")
        self.happen()
        found |= {f"{name} next day": said for name, said in self.look().items()}
        found["failures"] = self.failed
        return found

    def _sweep_at(self, time: str) -> None:
        self.world.clock.set(time)
        self.do(self.world.sweep)
        self.happen()

    def ask(self, path: str, **query: str) -> Any:
        answer = self.world.get(path, token=self.world.admin, **query)
        return answer.body if answer.status == 200 else answer.status

    def look(self) -> dict[str, Any]:
        """All that anybody is told, by what it is about."""
        world = self.world
        seen: dict[str, Any] = {}
        for space in self.spaces:
            path = f"/v1/spaces/{space}"
            body = self.ask(path)
            if not isinstance(body, dict):
                seen[f"{space} numbers"] = body
                continue
            frames = world.line.frames[CONNECTIONS[space]]
            heard = [one for one in frames if one["type"] == "headcount"]
            shown = (
                -1,
                "",
            )  # what a dashboard shows: the highest version, or one that is as of later
            for one in heard:
                if one["version"] >= shown[0] or one["asOf"] > shown[1]:
                    shown = one["version"], one["asOf"]
            seen |= {
                f"{space} numbers": {name: body[name] for name in NUMBERS},
                f"{space} views": body["views"],
                f"{space} peaks": [body["peak"] and body["peak"]["people"], body["peakSessions"]],
                # In minutes: who waits a second more for its turn, stays a second more.
                f"{space} average": body["avgSeconds"] and body["avgSeconds"] // 60,
                f"{space} engagement": body["engagement"],
                f"{space} said": [self.ask(f"{path}/{what}") for what in SAID],
                f"{space} is explained": self.ask(f"{path}/explain")["verdict"],
                f"{space} is of now": parse_iso(body["asOf"]) <= world.clock() + MINUTE,
                f"{space} days": [
                    {**day, "avgSeconds": day["avgSeconds"] // 60}
                    for day in self.ask(f"{path}/days")["days"]
                ],
                f"{space} is shown": not heard or shown == (body["version"], body["asOf"]),
            }
        for kind in ("link", "site"):
            listed = self.ask("/v1/spaces", kind=kind)["spaces"]
            seen[f"index of {kind}"] = sorted({one["space"] for one in listed} & {*self.spaces})
        seen["streams"] = self.ask("/api/streams")
        seen["joined"] = sorted(
            row["space_day"] for row in world.ledger() if row["session"] in {"new", "next"}
        )
        numbers = [(event["space"], event["seq"]) for event in world.bus.events]
        seen["events"] = len(numbers) == len(set(numbers))
        return seen


NUMBERS = (
    *("people", "signedIn", "anonymous", "sessions", "signedInSessions", "anonymousSessions"),
    *("facets", "quality"),
)
SAID = ("alerts", "messages", "removals")

(PUT_BACK,) = [
    block.text for block in page(ROOT / "docs" / "deploy.md").blocks if block.language == "python"
]
BACKED_UP = [
    role
    for role, spec in template().tables.items()
    if "PointInTimeRecoverySpecification" in template().resolve(spec, PointInTimeRecovery="true")
]


# ---------------------------------------------------------------------------------- what goes wrong


@dataclass(frozen=True)
class Wrong:
    """Something that is wrong: what, and how to make it so."""

    name: str
    rows: Rows  # to be put
    gone: Rows  # to be deleted


def replacements(value: Mapping[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Other values of the type of one."""
    ((kind, was),) = value.items()
    if kind == "N":
        millis = float(was) > 10**12
        time = millis or float(was) > 10**9  # or in seconds
        if time:
            yield "a day on", {"N": str(int(was) + DAY // (1 if millis else SECOND))}
        yield "in no calendar" if time else "huge", {"N": str(10**15)}
    elif kind == "S":
        yield ("40 digits", {"S": "9" * 40}) if was.isdigit() else ("empty", {"S": ""})
    elif kind in {"B", "M", "L"}:
        yield "empty", {kind: {"B": b"", "M": {}, "L": []}[kind]}
    if kind == "M":
        for name, inner in was.items():
            for how, other in replacements(inner):
                yield f"{name}: {how}", {"M": {**was, name: other}}
    if kind == "L":
        for place, inner in enumerate(was):
            for how, other in replacements(inner):
                yield f"{place}: {how}", {"L": [*was[:place], other, *was[place + 1 :]]}


def keys_of(role: str) -> list[str]:
    return [key["AttributeName"] for key in template().tables[role]["KeySchema"]]


def key_in(role: str, item: Item) -> Item:
    return {name: item[name] for name in keys_of(role)}


def name_of(role: str, item: Item) -> str:
    return " ".join([role, *(item[name]["S"] for name in keys_of(role))])


def wrongs(role: str, before: Rows, now: Rows) -> Iterator[Wrong]:
    """All that may be wrong with the rows of a table."""
    old = {name_of(role, item): item for item in before[role]}
    tried: set[str] = set()
    # Where nobody comes or goes, nothing but the sweep makes it good.
    for item in sorted(now[role], key=lambda item: QUIET not in name_of(role, item)):
        name = name_of(role, item)
        sort = re.sub(
            r"[0-9a-f]{16,}|(?<=\w)[^a-z ]\S*", "", name
        )  # without ids, numbers and times
        if sort not in tried:
            yield Wrong(f"{name} deleted", {}, {role: [item]})
            if old.get(name, item) != item:
                yield Wrong(f"{name} as an hour ago", {role: [old[name]]}, {})
        tried |= {sort, *keys_of(role), TTL}  # which is DynamoDB's: at worst the row is deleted
        for attribute, value in item.items():
            if not {attribute, f"{sort} {attribute}"} & tried:
                tried.add(f"{sort} {attribute}")
                for how, other in replacements(value):
                    yield Wrong(
                        f"{name} {attribute}: {how}", {role: [{**item, attribute: other}]}, {}
                    )
    yield Wrong(f"{role} as an hour ago", {role: before[role]}, {role: now[role]})
    yield Wrong(f"{role} put over", {role: before[role]}, {})


class Deployment:
    """A world that can be put back to where the story ended."""

    def __init__(self, world: World) -> None:
        self.world = world
        begin(world)
        self.before = self._rows()
        later(world)
        self.rows = self._rows()
        self.now = world.clock()
        self._right: dict[Sequence[str], dict[str, Any]] = {}

    def right(self, spaces: Sequence[str] = SPACES) -> dict[str, Any]:
        """What is so in the end of these spaces if nothing is wrong."""
        if spaces not in self._right:
            self._right[spaces] = self.go_on(Wrong("nothing", {}, {}), spaces)
        return self._right[spaces]

    def _rows(self) -> Rows:
        client = self.world.engine.client
        return {
            role: list(client.scan(TableName=table.name, ConsistentRead=True)["Items"])
            for role, table in self.world.tables.items()
        }

    def go_on(self, wrong: Wrong, spaces: Sequence[str]) -> dict[str, Any]:
        """What is so in the end of these spaces if something is wrong now."""
        world = self.world
        for role, rows in self._rows().items():
            self._delete(role, rows)
            self._put(role, self.rows[role])
        world.line, world.queue, world.bus = FakeLine(), FakeQueue(world.clock), FakeBus()
        world.redeploy()  # nobody remembers anything
        world.clock.now = self.now
        for function in ("count", "publish"):
            world.filtered(function)
        world.changes()
        for role, rows in wrong.gone.items():
            self._delete(role, rows)
        for role, rows in wrong.rows.items():
            self._put(role, rows)
        return Onwards(world, spaces).go_on()

    def _put(self, role: str, rows: list[Item]) -> None:
        for row in rows:
            self.world.tables[role].put(row)

    def _delete(self, role: str, rows: list[Item]) -> None:
        name = self.world.tables[role].name
        for row in rows:
            self.world.engine.client.delete_item(TableName=name, Key=key_in(role, row))


@pytest.fixture(scope="module")
def deployment(engines: Callable[[str], Engine]) -> Iterator[Deployment]:
    logging.disable(logging.CRITICAL)  # hundreds of lives: half of the time would go into lines
    with world_on(engines(MEMORY), Clock(), **EVENTS) as world:
        yield Deployment(world)
    logging.disable(logging.NOTSET)


def history(wrong: str, what: str) -> bool:
    """Whether that is history which nobody can know again."""
    return any(
        fnmatch.fnmatchcase(wrong, of) and fnmatch.fnmatchcase(what, lost)
        for of, losses in HISTORY.items()
        for lost in losses
    )


@pytest.mark.parametrize("role", sorted(template().tables))
def test_a_wrong_row_is_made_good(deployment: Deployment, role: str) -> None:
    wrong_still = []
    for wrong in wrongs(role, deployment.before, deployment.rows):
        spaces = tuple(space for space in SPACES if space in wrong.name) or SPACES
        right = deployment.right(spaces)
        try:
            found = deployment.go_on(wrong, spaces)
        except ClientError:  # DynamoDB would not take such a row
            continue
        wrong_still += [
            f"{wrong.name} -> {what}: {said!r}, not {right[what]!r}"
            for what, said in found.items()
            if said != right[what] and not history(wrong.name, what)
        ]
    assert wrong_still == []


def test_nothing_goes_wrong_by_itself(deployment: Deployment) -> None:
    right = deployment.right()
    assert deployment.go_on(Wrong("nothing", {}, {}), SPACES) == right
    assert right["failures"] == []
    for space in SPACES:
        for when in ("at noon", "next day"):
            assert right[f"{space} is explained {when}"] == "agrees"
            assert right[f"{space} is of now {when}"]


@pytest.mark.parametrize("role", sorted(BACKED_UP))
def test_what_the_page_says_puts_back_the_rows_that_are_missing_and_no_others(
    deployment: Deployment, role: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = deployment.world.engine
    backup, table = engine.create(role), engine.create(role)
    for row in deployment.before[role]:
        backup.put(row)
    newer = {**deployment.before[role][0], "newer": {"S": "than the backup"}}
    table.put(newer)
    said: dict[str, Any] = {}
    exec(PUT_BACK, said)  # noqa: S102 - the page's own
    monkeypatch.setattr(said["boto3"], "client", lambda _: engine.client)
    key = keys_of(role)[0]
    assert said["put_back"](backup.name, table.name, key) == len(deployment.before[role]) - 1
    assert said["put_back"](backup.name, table.name, key) == 0
    assert [row for row in table.rows() if "newer" in row] == [decode(newer)]
    assert len(table.rows()) == len(deployment.before[role])
    assert f"`{key}`" in PUT_BACK
