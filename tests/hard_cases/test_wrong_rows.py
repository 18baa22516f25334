"""A stored row that is readable but wrong: with any content, the numbers are soon correct again.

Such rows come from a restored backup, a wrong clock, or an item that was changed by hand. Every
attribute of every row of a small deployment is replaced by other values of its type; every row and
every table is deleted, or restored to an hour ago. Then activity continues for some minutes, over a
full hour and midnight, and in the end all data must be as if nothing had happened, except for
history that can't be restored (``HISTORY``).
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

from lab.harness.clock import Clock
from lab.harness.consumer import EVENTS
from lab.harness.engines import Engine
from lab.harness.fakes import FakeEventBus, FakeManagementApi, FakeQueue
from lab.harness.template import ROOT, template
from lab.harness.world import World, world_on
from tests.conftest import MEMORY
from tests.docs.pages import page

BUSY, QUIET, EMPTY = SPACES = ("link:busy", "link:quiet", "link:empty")
"""In one people join and leave, in one they only stay, one is empty."""

STAYING: list[tuple[str, str, dict[str, Any]]] = [
    ("t1", BUSY, {"visitorId": "v1", "page": "/a", "facets": {"plan": "pro"}}),
    ("t2", BUSY, {"visitorId": "v1", "page": "/b"}),
    ("t3", BUSY, {"userId": "u1", "name": "Ada", "page": "/a"}),
    ("t4", QUIET, {"visitorId": "v2", "page": "/q"}),
    ("t5", QUIET, {"visitorId": "v2", "page": "/r", "quality": {"rate": 8.5}}),
    ("t6", QUIET, {"visitorId": "v3", "engagement": {"chat": 3}}),
]
CONNECTIONS = dict(zip(SPACES, ("c1", "c2", "c3"), strict=True))
"""The dashboard of each."""

Item = dict[str, Any]
Rows = dict[str, list[Item]]

HISTORY: Mapping[str, tuple[str, ...]] = {
    # Actions of admins are stored nowhere else.
    "counts * alert#*": ("* actions *",),
    "counts * denied#*": ("* actions *",),
    "counts * notice*": ("* actions *",),
    "streams streams one *": ("streams *",),
    # The totals of visits that were deleted.
    "counts * views *": ("* views *",),
    "counts * engagement *": ("* engagement *", "* days *"),
    # Durations of the last hundred visits: only those that ended in the last minutes are restored.
    "counts * shard#0 deleted": ("* average *",),
    "counts * shard#0 as an hour ago": ("* average *",),
    "counts * stays: *": ("* average *",),
    "counts * counted_at: in no calendar": ("* average *",),  # an unreadable row
    "counts * caused_at: in no calendar": ("* average *",),
    "counts * quality: rate: empty": ("* average *",),
    # Published numbers were seen: their peak stays, and their alerts were sent.
    "counts * shard#0 sessions: huge": ("* peaks *",),
    "counts * shard#0 signed_in: huge": ("* peaks *", "* days *", "* actions *"),
    "counts * shard#0 anonymous: huge": ("* peaks *", "* days *", "* actions *"),
    "counts as an hour ago": ("* average *", "* days *", "* views *", "* engagement *"),
    "counts put over": ("* average *", "* days *", "* views *", "* engagement *"),
    "headcounts * deleted": ("* peaks *", "* days *", "* actions *"),
    "headcounts * peak*": ("* peaks *", "* days *"),
    "headcounts * as_of: in no calendar": ("* peaks *", "* days *", "* actions *"),
    "headcounts * chunked_at: in no calendar": ("* peaks *", "* days *"),
    "headcounts * cause: empty": ("* peaks *", "* days *", "* actions *"),
    "headcounts * notice: *": ("* peaks *", "* days *"),
    "headcounts * quality: rate: empty": ("* peaks *", "* days *"),
    "headcounts * alerts: empty": ("* peaks *", "* days *"),
    "headcounts * day_peaks: *": ("* days *",),
    # The past, as reported.
    "history * day#2026-11-20 *": ("* days *",),
    # The ledger: a day is the sum of its visits. A lost visit counts as a new one, with a new view.
    "visits *": ("* days *",),
    "visits as an hour ago": ("* views *", "* engagement *"),
    # Only the session knows who was there and since when: with another time or id it is another
    # visit, and a deleted session returns as one.
    # A peak is of visits: of other ones it is another, and it stays.
    "presence * joined_at: *": (
        "* views *",
        "* engagement *",
        "* days *",
        "* average *",
        "* peaks *",
    ),
    "presence * earlier: *": ("* days *", "* peaks *"),
    "presence * formerly: *": ("* days *", "* peaks *"),
    "presence * visit: *": ("* views *", "* engagement *", "* days *", "* average *"),
    "presence * visitor: *": ("* days *", "* peaks *"),
    "presence * deleted": ("* views *", "* days *", "* average *"),
    "presence * as an hour ago": ("* days *", "* average *"),
    "presence as an hour ago": ("* days *", "* average *", "* engagement *"),
    "presence put over": ("* days *", "* average *", "* engagement *"),
    "presence * beats: *": ("* days *",),
    "presence * ended_at: *": ("* days *", "* peaks *"),
    "presence * user: *": ("* days *", "* peaks *"),
    # No release writes it: an unreadable session is not counted until its TTL deletes it.
    "presence * kind: empty": ("failures", "* numbers *", "* days *", "* average *"),
    # A session that sent too much is refused until it has been silent for a moment.
    "presence * n: huge": ("failures", "* days *"),
    # It stays a little longer or shorter.
    "presence * lost changed_at: *": ("* days *", "* average *"),
    "presence * lost last_seen: *": ("* days *", "* average *"),
    "presence * lost expires_at: *": ("* days *", "* average *"),
}


# ------------------------------------------------------------------------------------- the scenario


def beat_all(world: World) -> None:
    for session, space, facts in STAYING:
        world.beat(session, space, **facts)


def act(world: World, method: str, path: str, body: object) -> None:
    answer = world.http(method, path, body=body, token=world.admin)
    assert answer.status in {200, 201}, answer


def process(world: World) -> None:
    """Process everything, including events."""
    world.settle()
    world.emit()


def begin(world: World) -> None:
    """Yesterday, and today until an hour ago."""
    world.clock.set("2026-11-20T10:00:00Z")
    for space in SPACES:
        world.beat("y", space, visitorId="y", page="/")
    process(world)
    for space in SPACES:
        world.leave("y", space)
    process(world)
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
    """A dashboard subscribes to every space."""
    beat_all(world)
    for space in SPACES:
        world.beat(name, space, visitorId=name, page=f"/{name}", engagement={"chat": 1})
    process(world)
    world.clock.advance(30)
    for space in SPACES:
        world.leave(name, space)
    process(world)
    beat_all(world)
    world.sweep()
    process(world)


def later(world: World) -> None:
    """An hour later."""
    world.clock.set("2026-11-21T11:45:00Z")
    world.sweep()
    come_and_go(world, "late")
    world.beat("lost", QUIET, visitorId="lost", page="/lost")  # sends no more: its tab crashed
    process(world)
    for _ in range(2):
        world.clock.advance(60)
        beat_all(world)
        world.sweep()
        process(world)


class Continuation:
    """Activity in some spaces after a row went wrong; failures are noted, the rest continues."""

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

    def process(self) -> None:
        for function in ("count", "publish") * 3:
            self.do(getattr(self.world, function), self.world.filtered(function))
        self.do(self.world.fan_out)
        self.do(self.world.run_deferred)
        self.do(self.world.emit)

    def go_on(self) -> dict[str, Any]:
        """Continue the activity; returns all reported data at noon and a day later."""
        self.process()
        staying = [*STAYING[1:2], *STAYING[3:]]
        staying.append(("t3", BUSY, {"userId": "u1", "name": "Ada", "page": "/moved"}))
        staying.append(("new", BUSY, {"visitorId": "new", "page": "/new"}))
        if BUSY in self.spaces:
            self.do(self.world.leave, "t1", BUSY)
        for number in range(8):
            if number % 3 == 0:  # leases are five minutes
                for session, space, facts in staying:
                    self.beat(session, space, **facts)
                self.process()
            self.world.clock.advance(60)
            self.do(self.world.sweep)
            self.process()
        self._sweep_at("2026-11-21T12:00:10Z")  # and once an hour
        found = {f"{name} at noon": value for name, value in self.look().items()}
        self._sweep_at("2026-11-22T00:30:00Z")
        self._sweep_at("2026-11-22T01:00:00Z")
        self.do(self.world.daily)
        for space in self.spaces:
            self.beat("next", space, visitorId="next", page="/next")
        self.process()
        found |= {f"{name} next day": value for name, value in self.look().items()}
        found["failures"] = self.failed
        return found

    def _sweep_at(self, time: str) -> None:
        self.world.clock.set(time)
        self.do(self.world.sweep)
        self.process()

    def ask(self, path: str, **query: str) -> Any:
        answer = self.world.get(path, token=self.world.admin, **query)
        return answer.body if answer.status == 200 else answer.status

    def look(self) -> dict[str, Any]:
        """All reported data, by topic."""
        world = self.world
        seen: dict[str, Any] = {}
        for space in self.spaces:
            path = f"/v1/spaces/{space}"
            body = self.ask(path)
            if not isinstance(body, dict):
                seen[f"{space} numbers"] = body
                continue
            frames = world.management.frames[CONNECTIONS[space]]
            headcounts = [one for one in frames if one["type"] == "headcount"]
            shown = (
                -1,
                "",
            )  # a dashboard shows the highest version, or a later one
            for one in headcounts:
                if one["version"] >= shown[0] or one["asOf"] > shown[1]:
                    shown = one["version"], one["asOf"]
            seen |= {
                f"{space} numbers": {name: body[name] for name in NUMBERS},
                f"{space} views": body["views"],
                f"{space} peaks": [body["peak"] and body["peak"]["people"], body["peakSessions"]],
                # In minutes, because a session that waits a second longer stays a second longer.
                f"{space} average": body["avgSeconds"] and body["avgSeconds"] // 60,
                f"{space} engagement": body["engagement"],
                f"{space} actions": [self.ask(f"{path}/{what}") for what in ACTIONS],
                f"{space} is explained": self.ask(f"{path}/explain")["verdict"],
                f"{space} is of now": parse_iso(body["asOf"]) <= world.clock() + MINUTE,
                f"{space} days": [
                    {**day, "avgSeconds": day["avgSeconds"] // 60}
                    for day in self.ask(f"{path}/days")["days"]
                ],
                f"{space} is shown": not headcounts or shown == (body["version"], body["asOf"]),
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
ACTIONS = ("alerts", "messages", "removals")

(PUT_BACK,) = [
    block.text for block in page(ROOT / "docs" / "deploy.md").blocks if block.language == "python"
]
BACKED_UP = [
    role
    for role, spec in template().tables.items()
    if "PointInTimeRecoverySpecification" in template().resolve(spec, PointInTimeRecovery="true")
]


# ----------------------------------------------------------------------------------------- failures


@dataclass(frozen=True)
class Wrong:
    """A fault: its name, and the changes that cause it."""

    name: str
    rows: Rows  # to be put
    gone: Rows  # to be deleted


def replacements(value: Mapping[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Other values of the same type."""
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
    """All possible faults in the rows of a table."""
    old = {name_of(role, item): item for item in before[role]}
    tried: set[str] = set()
    # Where no one joins or leaves, only the sweep repairs it.
    for item in sorted(now[role], key=lambda item: QUIET not in name_of(role, item)):
        name = name_of(role, item)
        sort = re.sub(
            r"[0-9a-f]{16,}|(?<=\w)[^a-z ]\S*", "", name
        )  # without ids, numbers and times
        if sort not in tried:
            yield Wrong(f"{name} deleted", {}, {role: [item]})
            if old.get(name, item) != item:
                yield Wrong(f"{name} as an hour ago", {role: [old[name]]}, {})
        tried |= {
            sort,
            *keys_of(role),
            TTL,
        }  # DynamoDB's own attribute: at worst the row is deleted
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
    """A world that can be reset to the end of the scenario."""

    def __init__(self, world: World) -> None:
        self.world = world
        begin(world)
        self.before = self._rows()
        later(world)
        self.rows = self._rows()
        self.now = world.clock()
        self._right: dict[Sequence[str], dict[str, Any]] = {}

    def right(self, spaces: Sequence[str] = SPACES) -> dict[str, Any]:
        """The final data of these spaces without a fault."""
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
        """The final data of these spaces with a fault."""
        world = self.world
        for role, rows in self._rows().items():
            self._delete(role, rows)
            self._put(role, self.rows[role])
        world.management, world.queue, world.bus = (
            FakeManagementApi(),
            FakeQueue(world.clock),
            FakeEventBus(),
        )
        world.redeploy()  # all caches are empty
        world.clock.now = self.now
        for function in ("count", "publish"):
            world.filtered(function)
        world.changes()
        for role, rows in wrong.gone.items():
            self._delete(role, rows)
        for role, rows in wrong.rows.items():
            self._put(role, rows)
        return Continuation(world, spaces).go_on()

    def _put(self, role: str, rows: list[Item]) -> None:
        for row in rows:
            self.world.tables[role].put(row)

    def _delete(self, role: str, rows: list[Item]) -> None:
        name = self.world.tables[role].name
        for row in rows:
            self.world.engine.client.delete_item(TableName=name, Key=key_in(role, row))


@pytest.fixture(scope="module")
def deployment(engines: Callable[[str], Engine]) -> Iterator[Deployment]:
    logging.disable(logging.CRITICAL)  # hundreds of runs: half of the time would go into logging
    with world_on(engines(MEMORY), Clock(), **EVENTS) as world:
        yield Deployment(world)
    logging.disable(logging.NOTSET)


def history(wrong: str, what: str) -> bool:
    """Whether that is history that can't be restored."""
    return any(
        fnmatch.fnmatchcase(wrong, of) and fnmatch.fnmatchcase(what, lost)
        for of, losses in HISTORY.items()
        for lost in losses
    )


@pytest.mark.slow
@pytest.mark.parametrize("role", sorted(template().tables))
def test_a_wrong_row_is_repaired(deployment: Deployment, role: str) -> None:
    wrong_still = []
    for wrong in wrongs(role, deployment.before, deployment.rows):
        spaces = tuple(space for space in SPACES if space in wrong.name) or SPACES
        right = deployment.right(spaces)
        try:
            found = deployment.go_on(wrong, spaces)
        except ClientError:  # DynamoDB would not take such a row
            continue
        wrong_still += [
            f"{wrong.name} -> {what}: {value!r}, not {right[what]!r}"
            for what, value in found.items()
            if value != right[what] and not history(wrong.name, what)
        ]
    assert wrong_still == []


def test_without_a_fault_nothing_is_wrong(deployment: Deployment) -> None:
    right = deployment.right()
    assert deployment.go_on(Wrong("nothing", {}, {}), SPACES) == right
    assert right["failures"] == []
    for space in SPACES:
        for when in ("at noon", "next day"):
            assert right[f"{space} is explained {when}"] == "agrees"
            assert right[f"{space} is of now {when}"]


@pytest.mark.parametrize("role", sorted(BACKED_UP))
def test_the_pages_script_restores_only_missing_rows(
    deployment: Deployment, role: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = deployment.world.engine
    backup, table = engine.create(role), engine.create(role)
    for row in deployment.before[role]:
        backup.put(row)
    newer = {**deployment.before[role][0], "newer": {"S": "than the backup"}}
    table.put(newer)
    names: dict[str, Any] = {}
    exec(PUT_BACK, names)  # noqa: S102 - the page's own
    monkeypatch.setattr(names["boto3"], "client", lambda _: engine.client)
    key = keys_of(role)[0]
    assert names["put_back"](backup.name, table.name, key) == len(deployment.before[role]) - 1
    assert names["put_back"](backup.name, table.name, key) == 0
    assert [row for row in table.rows() if "newer" in row] == [decode(newer)]
    assert len(table.rows()) == len(deployment.before[role])
    assert f"`{key}`" in PUT_BACK
