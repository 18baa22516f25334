"""ShardsPerSpace changes on a live table: everyone is still counted once."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

import pytest
from headcount.model.space import shard_of
from headcount.store.attributes import encode

from lab.harness.engines import Engine
from lab.harness.memory import MemoryDynamoDB
from lab.harness.world import SITE, World
from tests.conftest import Worlds

CHANGES = [(1, 3), (3, 1), (4, 2), (2, 4)]
PEOPLE = 6
TABS = {
    f"v{person}-{tab}": f"v{person}" for person in range(PEOPLE) for tab in range(person % 3 + 1)
}
"""Session -> visitor: some have one tab, some two, some three."""

changes = pytest.mark.parametrize(("before", "after"), CHANGES)


def beat(world: World, *sessions: str, **fields: int) -> None:
    for session in sessions:
        world.beat(session, visitorId=TABS[session], page=f"/{session}", **fields)


def changed(engine: Engine, worlds: Worlds, before: int, after: int, **fields: int) -> World:
    """A space with all sessions, whose number of shards was changed 10 s ago."""
    world = worlds(engine, ShardsPerSpace=str(before))
    beat(world, *TABS, **fields)
    world.settle()
    assert counted(world) == (PEOPLE, len(TABS), len(TABS))
    world.redeploy(ShardsPerSpace=str(after))
    world.clock.advance(10)
    return world


def counted(world: World) -> tuple[int, int, int]:
    body = world.headcount()
    return body["people"], body["sessions"], body["views"]["total"]


def places(world: World) -> Mapping[str, list[int]]:
    """Session -> the shards where it is live."""
    found: dict[str, list[int]] = {}
    for row in world.presence_rows():
        if row["kind"] not in {"leave", "gone"} and row["expires_at"] > world.clock():
            found.setdefault(row["session"], []).append(int(row["partition"].rpartition("#")[2]))
    return found


def right_places(after: int, sessions: Mapping[str, str] = TABS) -> Mapping[str, list[int]]:
    return {session: [shard_of(f"v:{who}", after)] for session, who in sessions.items()}


@pytest.mark.parametrize("numbered", [False, True])
@changes
def test_beats_after_the_change_move_everyone_and_count_no_one_twice(
    engine: Engine, worlds: Worlds, before: int, after: int, *, numbered: bool
) -> None:
    first, second = ({"seq": 1}, {"seq": 2}) if numbered else ({}, {})
    world = changed(engine, worlds, before, after, **first)
    for session in TABS:
        beat(world, session, **second)
        assert Counter(world.live_sessions()) == Counter(TABS.keys())
    world.settle()
    assert places(world) == right_places(after)
    assert counted(world) == (PEOPLE, len(TABS), len(TABS))


@changes
def test_one_sweep_moves_all_sessions_that_did_not_beat(
    engine: Engine, worlds: Worlds, before: int, after: int
) -> None:
    world = changed(engine, worlds, before, after)
    first_tabs = [session for session in TABS if session.endswith("-0")]
    beat(world, *first_tabs)  # people with several tabs are in two shards now
    world.settle()
    world.sweep()
    world.settle()
    assert places(world) == right_places(after)
    assert counted(world) == (PEOPLE, len(TABS), len(TABS))
    pages = world.headcount()["facets"]["page"]
    assert {page["value"]: page["people"] for page in pages if page["people"]} == {
        f"/v{person}-{max(tab for tab in range(person % 3 + 1))}": 1 for person in range(PEOPLE)
    }
    assert world.sweep()["moved"] == 0


@changes
def test_the_minutes_sample_while_people_move_is_exact(
    memory: Engine, worlds: Worlds, before: int, after: int
) -> None:
    world = changed(memory, worlds, before, after)
    beat(world, *[session for session in TABS if session.endswith("-1")])
    world.sweep()
    (point,) = world.get(f"/v1/spaces/{SITE}/timeline", token=world.admin).body["points"]
    assert (point["people"], point["sessions"]) == (PEOPLE, len(TABS))


@changes
def test_a_leave_after_the_change_ends_the_session_in_any_shard(
    memory: Engine, worlds: Worlds, before: int, after: int
) -> None:
    world = changed(memory, worlds, before, after)
    for session in TABS:
        world.leave(session)
    world.settle()
    assert places(world) == {}
    assert counted(world) == (0, 0, len(TABS))
    assert {visit["ended_at"] - visit["joined_at"] for visit in world.ledger()} == {10_000}


@changes
def test_a_session_that_crashed_before_the_change_ends_with_its_lease(
    memory: Engine, worlds: Worlds, before: int, after: int
) -> None:
    world = changed(memory, worlds, before, after)
    remaining = [session for session in TABS if TABS[session] in {"v1", "v2"}]
    beat(world, *remaining)
    world.settle()
    world.sweep()
    world.settle()
    world.clock.advance(50)
    world.sweep()
    world.settle()
    assert places(world) == right_places(after, {session: TABS[session] for session in remaining})
    assert counted(world) == (2, 5, len(TABS))
    ended = [visit for visit in world.ledger() if "ended_at" in visit]
    assert {(visit["ended_at"] - visit["joined_at"], visit["ended_by"]) for visit in ended} == {
        (60_000, "expiry")
    }
    assert len(ended) == len(TABS) - 5


@changes
def test_messages_without_a_person_find_the_session(
    memory: Engine, worlds: Worlds, before: int, after: int
) -> None:
    world = worlds(memory, ShardsPerSpace=str(before))

    def send(number: int, action: str) -> None:
        body = {"action": action, "sessionId": f"s{number}", "fingerprint": f"f{number}"}
        if action == "heartbeat":
            del body["fingerprint"]
        answer = world.http("POST", "/api/send/realtime/abc", body=body)
        assert answer.status == 200, answer

    for number in range(6):
        send(number, "join")
    world.settle()
    world.redeploy(ShardsPerSpace=str(after))
    world.clock.advance(10)
    for number in range(6):
        send(number, "heartbeat")
    world.settle()
    assert world.headcount("link:abc")["sessions"] == 6
    assert world.headcount("link:abc")["views"]["total"] == 6
    for number in range(6):
        send(number, "leave")
    world.settle()
    assert world.headcount("link:abc")["sessions"] == 0


@changes
def test_deleting_an_activity_by_its_id_finds_it(
    memory: Engine, worlds: Worlds, before: int, after: int
) -> None:
    world = worlds(memory, ShardsPerSpace=str(before))
    path = "/api/analytics/live-activity"
    for number in range(6):
        body = {"userId": f"u{number}", "sessionId": f"s{number}", "activityType": "browsing"}
        assert world.http("POST", path, body=body).status == 200
    world.settle()
    world.redeploy(ShardsPerSpace=str(after))
    for number in range(6):
        answer = world.http("DELETE", path, query={"id": f"live_u{number}_s{number}"})
        assert answer.status == 200, answer
    assert world.live_sessions() == []


@changes
def test_a_person_removed_after_the_change_is_gone_from_every_shard(
    memory: Engine, worlds: Worlds, before: int, after: int
) -> None:
    world = changed(memory, worlds, before, after)
    beat(world, "v2-0")
    world.settle()
    path = f"/v1/spaces/{SITE}/removals"
    answer = world.http("POST", path, body={"visitorId": "v2", "minutes": 5}, token=world.admin)
    assert answer.status in {200, 201}, answer
    assert not [session for session in world.live_sessions() if TABS[session] == "v2"]


@changes
def test_a_list_of_viewers_after_the_change_has_everyone_once(
    memory: Engine, worlds: Worlds, before: int, after: int
) -> None:
    world = changed(memory, worlds, before, after)
    beat(world, *list(TABS)[::2])
    world.settle()
    answer = world.get(f"/v1/spaces/{SITE}/viewers", token=world.admin, limit="100")
    assert sorted(one["sessionId"] for one in answer.body["viewers"]) == sorted(TABS)


def test_a_leave_while_the_session_is_being_moved_is_not_lost(
    memory: Engine, worlds: Worlds, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A batch read in parts: a row moves from an unread part to one already read."""
    monkeypatch.setattr(MemoryDynamoDB, "batch_rows", 1)
    world = changed(memory, worlds, 4, 2)
    session = next(one for one, (shard,) in places(world).items() if shard > 1)
    reads: list[int] = []

    def move() -> None:
        reads.append(1)
        if len(reads) == 5:  # of the four, after two reads of shards without the row
            world.sweep()

    presence = world.tables["presence"].name
    with world.engine.interrupted("BatchGetItem", presence, move, times=7):
        world.leave(session)
    assert len(reads) == 7  # and once more from the start
    assert session not in world.live_sessions()


def test_a_steady_beat_long_after_the_change_reads_nothing_but_its_count(
    memory: Engine, worlds: Worlds
) -> None:
    world = changed(memory, worlds, 3, 1)
    for _ in range(2):
        beat(world, *TABS)
        world.settle()
        world.clock.advance(30)
    with world.engine.metered() as meter:
        beat(world, "v2-0")
    assert meter.operations == ["GetItem", "UpdateItem"]


def test_a_join_looks_in_as_many_shards_as_are_in_use_and_in_no_others_once_they_are_empty(
    memory: Engine, worlds: Worlds
) -> None:
    world = changed(memory, worlds, 3, 1)

    def reads_of_a_join(session: str) -> float:
        world.clock.advance(2)
        with world.engine.metered(capacity=True) as meter:
            world.beat(session)
        world.settle()
        assert meter.operations.count("BatchGetItem") <= 1
        reads = [call for call in meter.calls if call.operation in {"GetItem", "BatchGetItem"}]
        return sum(call.units or 0 for call in reads) - 0.5  # the read of the count

    assert reads_of_a_join("new-1") == 1 + 3
    for _ in range(13):
        world.clock.advance(30)
        beat(world, *TABS)
        world.settle()
        world.sweep()
        world.settle()
    assert {row["partition"] for row in world.presence_rows()} == {f"{SITE}#0"}
    assert reads_of_a_join("new-2") == 0
    assert world.sweep()["repaired"] == []


@pytest.mark.parametrize("after", [2, 4])
def test_beats_follow_a_sweep_that_knew_of_more_shards_before_they_did(
    memory: Engine, worlds: Worlds, after: int
) -> None:
    world = worlds(memory, ShardsPerSpace="1")
    beat(world, *TABS, seq=1)
    world.settle()
    before = counted(world)
    world.restart("cleanup", ShardsPerSpace=str(after))
    assert world.sweep()["moved"]
    world.restart("api", ShardsPerSpace="1")  # it is deployed a second later
    world.clock.advance(1)
    beat(world, *TABS, seq=2)
    world.settle()
    assert counted(world) == before
    world.redeploy(ShardsPerSpace=str(after))
    for number in range(3, 7):
        world.clock.advance(20)
        beat(world, *TABS, seq=number)
        world.settle()
        assert world.sweep()["repaired"] == []
        world.settle()
        assert counted(world) == before
    assert places(world) == right_places(after)


def test_a_session_in_two_shards_is_in_one_after_a_sweep_and_blocks_no_audit(
    memory: Engine, worlds: Worlds
) -> None:
    world = worlds(memory, ShardsPerSpace="4")
    beat(world, *TABS, seq=1)
    world.settle()
    before = counted(world)
    (row, *_) = world.presence_rows()
    space, _, shard = row["partition"].rpartition("#")
    twin = {**row, "partition": f"{space}#{(int(shard) + 1) % 4}", "request": "a twin"}
    world.tables["presence"].put(encode(twin))
    for _ in range(2):
        world.sweep()
        world.settle()
        world.clock.advance(20)
        beat(world, *TABS, seq=world.clock())
        world.settle()
    world.clock.advance(20)
    beat(world, *TABS, seq=world.clock())
    world.sweep()
    world.settle()
    assert counted(world)[:2] == before[:2]
    assert places(world) == right_places(4)
