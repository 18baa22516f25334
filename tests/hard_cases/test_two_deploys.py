"""Two releases run at once, or one after the other: each reads what the other wrote.

``rows/released.json`` holds what a release stores and answers (see ``released.py``).
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from functools import cache
from typing import Any

import pytest
from headcount.store.keys import History

from lab.harness.engines import Engine
from lab.harness.template import template
from lab.harness.world import SITE, World
from tests.conftest import Worlds
from tests.hard_cases.released import PARAMETERS, QUESTIONS, RELEASED, answers, frozen, load

ENGINES_OWN = {"cause"}  # a stream's sequence number


@cache
def released() -> Any:
    """The release's rows and answers."""
    return json.loads(RELEASED.read_text())


@pytest.fixture
def world(engine: Engine, worlds: Worlds) -> World:
    """Today's code on the release's tables."""
    world = worlds(engine, **PARAMETERS)
    world.clock.now = released()["now"]
    load(world, released()["rows"])
    return world


def lacking(known: Any, found: Any, place: str = "") -> Iterator[str]:
    """The paths at which ``found`` lacks known data; more data is fine."""
    if isinstance(known, Mapping) and isinstance(found, Mapping):
        for name, value in known.items():
            if name not in found:
                yield f"{place}.{name} is missing"
            elif name not in ENGINES_OWN:
                yield from lacking(value, found[name], f"{place}.{name}")
    elif isinstance(known, list) and isinstance(found, list) and len(known) == len(found):
        for index, value in enumerate(known):
            yield from lacking(value, found[index], f"{place}[{index}]")
    elif place.endswith(".N"):
        if float(known) != float(found):
            yield f"{place} is {found}, not {known}"
    elif known != found:
        yield f"{place} is {found!r}, not {known!r}"


# ------------------------------------------------------------------ rows of the release, read today


@pytest.mark.parametrize("question", QUESTIONS)
def test_rows_of_the_release_give_the_same_answers(
    memory: Engine, worlds: Worlds, question: str
) -> None:
    world = worlds(memory, **PARAMETERS, Settings="avatar-hosts=example.test")
    world.clock.now = released()["now"]
    load(world, released()["rows"])
    answer = answers(world, [question])[question]
    assert list(lacking(released()["answers"][question], answer)) == []


def test_every_table_has_rows_of_the_release() -> None:
    later = {"people"}
    tables = set(template().tables)
    assert {role for role, rows in released()["rows"].items() if rows} == tables - later


def test_a_beat_on_a_row_of_the_release_is_steady(world: World) -> None:
    world.clock.advance(20)
    for session, facts in {
        "steady": {"visitorId": "v1", "page": "/a", "facets": {"plan": "pro"}, "seq": 3},
        "tab": {"visitorId": "v1", "page": "/b", "facets": {"plan": "pro"}},
        "user": {"userId": "u1", "name": "Ada", "avatar": "https://example.test/a"},
        "signs-in": {"visitorId": "v4", "userId": "u4"},
        "hidden": {"visitorId": "v6", "state": "hidden"},
        "proven": {"token": world.token(sub="u8", name="Grace")},
    }.items():
        with world.engine.metered() as meter:
            world.beat(session, **facts)
        assert meter.writes == ["UpdateItem"], session
    assert world.filtered("count") == []


def test_a_healthy_table_of_the_release_needs_no_repair(world: World) -> None:
    before = world.headcount()
    report = world.sweep()
    assert (report["repaired"], report["ended"], report["moved"]) == ([], 0, 0)
    world.settle()
    now = world.headcount()
    assert now.pop("accuracy") == {
        "people": 1,
        "because": "4 of the last 6 visits ended without a leave, and counted until their lease "
        "was over.",
    }
    assert {**now, "version": 0, "asOf": ""} == {**before, "version": 0, "asOf": ""}


def test_a_change_on_rows_of_the_release_is_the_next_version_for_its_dashboards(
    world: World,
) -> None:
    before = world.headcount()
    world.clock.advance(5)
    world.beat("tab", visitorId="v1", page="/c", facets={"plan": "pro"})
    world.settle()
    after = world.headcount()
    assert after["version"] == before["version"] + 1
    assert (after["people"], after["sessions"]) == (before["people"], before["sessions"])
    assert after["views"] == before["views"]
    assert world.versions("c1") == [after["version"]]
    world.beat("w0", "stream:live-1", page="/watch")
    world.settle()
    assert world.management.frames["c3"]
    # The release did not store what a connection's token may read, so that it has to come back.
    world.send("c1", {"action": "subscribe", "space": "site:large"})
    assert world.versions("c1", "site:large") == []
    world.connect("c1")
    world.send("c1", {"action": "subscribe", "space": "site:large"})
    assert world.versions("c1", "site:large") == [world.headcount("site:large")["version"]]


def test_everyone_of_the_release_leaves_or_expires_as_usual(world: World) -> None:
    live = Counter(row["session"] for row in world.presence_rows() if row["kind"] != "gone")
    assert live["steady"] == 1
    views = world.headcount()["views"]["total"]
    world.clock.advance(5)
    left_at = world.clock()
    world.leave("tab")
    world.leave("steady", seq=3)
    world.leave("signs-in")
    world.settle()
    assert world.headcount()["views"]["total"] == views
    for _ in range(12):
        world.clock.advance(60)
        world.sweep()
        world.settle()
    assert world.live_sessions() == []
    spaces = [SITE, "site:large", "course:c1", "link:abc", "stream:live-1", "activity:main"]
    assert [world.people(space) for space in spaces] == [0] * 6
    ended = {visit["session"]: visit for visit in world.ledger() if "ended_at" in visit}
    assert (ended["tab"]["ended_at"], ended["tab"]["ended_by"]) == (left_at, "leave")
    assert ended["crashes"]["ended_by"] == "expiry"
    assert [visit for visit in world.ledger() if "ended_at" not in visit] == []
    engagement = world.headcount("stream:live-1")["engagement"]
    assert (engagement["chat"], engagement["share"]) == (2, 1)


def test_sequence_numbers_of_the_release_stop_late_messages(world: World) -> None:
    before = world.presence_rows()
    world.beat("leaves", visitorId="v2", seq=2)
    world.beat("overtaken", seq=6)
    world.leave("steady", seq=1)
    assert world.presence_rows() == before


def test_actions_of_admins_under_the_release_still_apply(world: World) -> None:
    assert world.beat("new").body["notice"]["text"] == "We close at noon."
    path = f"/v1/spaces/{SITE}/presence"
    rude = world.http("POST", path, body={"sessionId": "s", "userId": "rude"})
    assert rude.status == 403
    world.settle()
    assert world.sns.published == []  # the alert went off under the release


def test_days_of_the_release_are_unchanged_and_the_next_one_is_complete(world: World) -> None:
    def day_rows() -> list[dict[str, Any]]:
        return [row for row in world.tables["history"].rows() if row["at"].startswith("day#")]

    (before,) = day_rows()
    assert world.daily("2026-11-20") == 1
    (again,) = day_rows()
    # Later releases add the views of each quarter of an hour.
    assert {**again, "quarters": None} == {**before, "quarters": None}
    world.clock.set("2026-11-22T01:00:00Z")
    world.sweep()
    world.settle()
    world.daily()
    rows = {(row["space"], row["at"]): row for row in day_rows()}
    day = rows[SITE, "day#2026-11-21"]
    known = released()["answers"][f"/v1/spaces/{SITE}/days"]["days"][-1]
    assert known["date"] == "2026-11-21"
    assert (day["views"], day["unique_people"]) == (known["views"], known["uniquePeople"])
    assert rows["stream:live-1", "day#2026-11-21"]["views"] == 2


# ------------------------------------------------------------------------ rows of today, read by it


def test_todays_rows_have_all_attributes_that_the_release_reads(
    memory: Engine, worlds: Worlds
) -> None:
    """The release reads attributes by name and ignores unknown ones: rows with its attributes are
    valid rows to it."""
    stored = frozen(unkeyed(worlds(memory, **PARAMETERS)))
    assert abs(stored["now"] - released()["now"]) <= 1_000  # versions wait otherwise than then
    today = renumbered(stored["rows"])
    missing = [
        f"{role}{key}: {what}"
        for role, rows in renumbered(released()["rows"]).items()
        for key, row in by_key(role, rows).items()
        for what in lacking(row, by_key(role, today[role]).get(key, {}))
        # The release reads a session's time of change only while it is live.
        if not (row.get("kind") == {"S": "leave"} and what.startswith(".changed_at"))
        # To the release, a session without a state is active.
        and not (row.get("state") == {"S": "active"} and what.startswith(".state"))
        # A bit of a visit's hash says whether it was lost, which the release takes for the hash.
        and not what.startswith(".stays")
        # Its versions waited otherwise.
        and not _seconds_apart(what)
        # It missed that two viewers of the link were there before one of them left.
        and not (key == ("link:abc",) and what.startswith((".day_peaks", ".peak_")))
    ]
    assert missing == []


def _seconds_apart(what: str) -> bool:
    times = [int(one) for one in re.findall(r"\b(\d{10})(?:\d{3})?\b", what)]
    return len(times) == 2 and abs(times[0] - times[1]) <= 5


def test_todays_rows_have_only_the_releases_keys(memory: Engine, worlds: Worlds) -> None:
    """A row under a key that the release does not expect could be read as something else."""
    today = renumbered(frozen(unkeyed(worlds(memory, **PARAMETERS)))["rows"])
    for role, rows in renumbered(released()["rows"]).items():
        # What a day of the stack used: no space has its partition. And a day's quarters of an hour:
        # the release reads ranges of a prefix, which is not theirs.
        keys = {
            key
            for key in by_key(role, today[role])
            if key[0] != History.STACK and not key[-1].startswith(History.STEPS)
        }
        assert keys == set(by_key(role, rows)), role


def unkeyed(world: World) -> World:
    """A world that hashes fingerprints without a key, as the release did."""
    vars(world.services("api"))["_fingerprint_key"] = ""
    return world


def renumbered(rows: Any) -> Any:
    """The tables' rows with generated ids numbered in order, because the number of generated and
    dropped ids does not matter."""
    text = json.dumps(rows)
    order = {id_: f"id-{place}" for place, id_ in enumerate(sorted(set(_MADE_UP.findall(text))))}
    return json.loads(_MADE_UP.sub(lambda found: order[found[0]], text))


_MADE_UP = re.compile(r"id-\d{6}")


def by_key(role: str, rows: list[Any]) -> dict[tuple[str, ...], Any]:
    """The rows of a table by their keys."""
    names = [key["AttributeName"] for key in template().tables[role]["KeySchema"]]
    return {tuple(row[name]["S"] for name in names): row for row in rows}
