"""Counts are pushed to those who listen: at once, within the budget, and never an older one."""

from __future__ import annotations

import json
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import pytest
from headcount.model.pushes import LATE, PushBudget, topic_of
from headcount.store.headcounts import HeadcountsTable
from headcount.usecases.pushes import MOST_VIEWERS
from headcount.web.held_sessions import MAX_LISTENER_FRAMES

from lab.harness.engines import Engine
from lab.harness.events import socket_event
from lab.harness.fakes import aws_error
from lab.harness.world import SITE, World
from lab.simulator.loop import Crash
from tests.conftest import Worlds

OK = {"statusCode": 200}
BUDGET = PushBudget()
KINDS = "site:counts=public,names=public course:counts=public,names=users doc"


def open_socket(world: World, connection: str, *, source: str | None = None, **query: str) -> Any:
    """Open a socket with these parameters."""
    event = socket_event("CONNECT", connection, query=query, request=world.new_id(), source=source)
    return world.invoke("socket", event)


def listen(world: World, connection: str, space: str = SITE, **query: str) -> None:
    """Open a socket that only listens, and greet it."""
    assert open_socket(world, connection, space=space, listen="count", **query) == OK
    world.settle()


def frames(world: World, connection: str) -> list[dict[str, Any]]:
    return world.management.frames[connection]


def counts(world: World, connection: str) -> list[int]:
    return [frame["count"] for frame in frames(world, connection)]


def join(world: World, *sessions: str) -> None:
    """Sessions join, one version each."""
    for session in sessions:
        world.beat(session)
        world.settle()
        world.clock.advance(1.5)


def change(world: World, times: int, prefix: str = "x") -> None:
    """Change the count so often, a version each: ten join one by one, then they leave, and so on.
    So few are recounted once a second."""
    for number in range(times):
        phase = number % 20
        if phase < 10:
            world.beat(f"{prefix}{phase}")
        else:
            world.leave(f"{prefix}{phase - 10}")
        world.settle()
        world.clock.advance(1.5)


def spend(world: World) -> None:
    """Change the space's count until nothing is pushed at once any more."""
    change(world, BUDGET.burst + BUDGET.overdraft, "spent")


def refusal(answer: Any, status: int) -> str:
    assert answer["statusCode"] == status, answer
    return str(json.loads(answer["body"])["error"])


# ---------------------------------------------------------------------------------------- listening


def test_a_listener_hears_the_count_at_once_and_whenever_it_changes(memory_world: World) -> None:
    world = memory_world
    join(world, "s1")
    listen(world, "c1")
    join(world, "s2")
    world.leave("s1")
    world.settle()
    assert frames(world, "c1") == [
        {"type": "count", "space": SITE, "count": people, "version": version}
        for people, version in ((1, 1), (2, 2), (1, 3))
    ]


def test_a_change_that_keeps_the_count_is_not_pushed(memory_world: World) -> None:
    world = memory_world
    join(world, "s1")
    listen(world, "c1")
    world.subscribe("dashboard")
    world.beat("s1", page="/elsewhere")
    world.settle()
    assert world.versions("dashboard") == [1, 2]
    assert counts(world, "c1") == [1]


def test_a_listener_hears_only_its_space(memory_world: World) -> None:
    listen(memory_world, "c1", "site:other")
    join(memory_world, "s1")
    assert [frame["space"] for frame in frames(memory_world, "c1")] == ["site:other"]


def test_a_viewer_by_connection_listens_on_the_same_socket(memory_world: World) -> None:
    world = memory_world
    assert open_socket(world, "c1", space=SITE, sessionId="s1", listen="count") == OK
    world.settle()
    world.clock.advance(2)
    join(world, "s2")
    assert counts(world, "c1") == [1, 2]
    assert world.people() == 2
    world.disconnect_viewer("c1")
    world.settle()
    assert world.people() == 1
    assert world.services("publish").subscriptions.subscribers(topic_of(SITE)) == []


def test_a_viewer_who_does_not_ask_hears_nothing(memory_world: World) -> None:
    assert memory_world.connect_viewer("c1", "s1") == OK
    join(memory_world, "s2")
    assert frames(memory_world, "c1") == []


def test_a_listener_who_leaves_hears_nothing_more(memory_world: World) -> None:
    world = memory_world
    listen(world, "c1")
    world.disconnect("c1")
    join(world, "s1")
    assert counts(world, "c1") == [0]
    assert world.services("publish").subscriptions.subscribers(topic_of(SITE)) == []


def test_dashboards_do_not_get_counts_nor_listeners_versions(memory_world: World) -> None:
    world = memory_world
    listen(world, "c1")
    world.subscribe("dashboard")
    join(world, "s1")
    assert {frame["type"] for frame in frames(world, "c1")} == {"count"}
    assert {frame["type"] for frame in frames(world, "dashboard")} == {"headcount"}


# ----------------------------------------------------------------------------------------- refusals


@pytest.mark.parametrize(
    ("query", "status", "words"),
    [
        ({"space": SITE, "listen": "all"}, 400, "'listen' must be count"),
        ({"space": SITE, "sessionId": "s1", "listen": ""}, 400, "'listen' must be count"),
        ({"listen": "count"}, 400, "'space' is missing"),
        ({"space": "nothing:1", "listen": "count"}, 400, "not declared"),
        ({"space": "doc:1", "listen": "count"}, 401, "token is missing"),
        ({"space": "doc:1", "sessionId": "s1", "listen": "count"}, 401, "token is missing"),
        ({"space": "doc:1", "listen": "count", "token": "x"}, 401, ""),
    ],
)
def test_what_can_not_be_listened_to_is_refused_and_nothing_is_stored(
    worlds: Worlds, memory: Engine, query: dict[str, str], status: int, words: str
) -> None:
    world = worlds(memory, Kinds=KINDS)
    assert words in refusal(open_socket(world, "c1", **query), status)
    assert world.presence_rows() == []
    assert world.tables["subscriptions"].rows() == []
    assert world.queue.deferred == []


def test_private_counts_are_heard_with_a_token_that_may_read_them(
    worlds: Worlds, memory: Engine
) -> None:
    world = worlds(memory, Kinds=KINDS)
    reader = world.token(headcount_scopes="read:doc:1")
    assert "read:doc:2" in refusal(
        open_socket(world, "c0", space="doc:2", listen="count", token=reader), 403
    )
    for connection, token in (("c1", reader), ("c2", world.admin)):
        assert open_socket(world, connection, space="doc:1", listen="count", token=token) == OK
    world.settle()
    assert (counts(world, "c1"), counts(world, "c2")) == ([0], [0])


def test_sockets_of_a_network_are_limited(worlds: Worlds, memory: Engine) -> None:
    world = worlds(memory, Limits="joins-per-source=20")
    outcomes = [
        open_socket(world, f"c{number}", space=SITE, listen="count", source="192.0.2.1")
        for number in range(22)
    ]
    assert [one["statusCode"] for one in outcomes] == [200] * 20 + [429] * 2
    assert "sockets listen from this network" in refusal(outcomes[-1], 429)
    assert open_socket(world, "d1", space=SITE, listen="count", source="192.0.2.2") == OK
    world.clock.advance(60)
    assert open_socket(world, "d2", space=SITE, listen="count", source="192.0.2.1") == OK


def test_a_listener_may_ping_and_nothing_else(memory_world: World) -> None:
    world = memory_world
    listen(world, "c1")
    for frame in (
        {"action": "ping"},
        {"action": "subscribe", "space": SITE},
        {"action": "beat"},
        {"action": "unknown"},
    ):
        world.send("c1", frame)
    answers = frames(world, "c1")[1:]
    assert [one["type"] for one in answers] == ["pong", "error", "error", "error"]
    assert "does not allow this" in answers[1]["error"]
    assert "holds no session" in answers[2]["error"]
    assert frames(world, "c1")[0]["count"] == 0


def test_a_listener_that_sends_too_much_is_closed(memory_world: World) -> None:
    world = memory_world
    listen(world, "c1")
    for _ in range(MAX_LISTENER_FRAMES):
        world.send("c1", {"action": "ping"})
    assert world.management.closed == []
    world.send("c1", {"action": "ping"})
    assert world.management.closed == ["c1"]


# ------------------------------------------------------------------------------------------- names


def test_callers_who_may_see_names_hear_who_is_there(worlds: Worlds, memory: Engine) -> None:
    world = worlds(memory, Kinds=KINDS)
    for number in range(MOST_VIEWERS + 2):
        world.beat(f"s{number:02d}", name=f"Name {number}")
    world.settle()
    world.clock.advance(2)
    listen(world, "c1")
    (frame,) = frames(world, "c1")
    assert frame["count"] == MOST_VIEWERS + 2
    assert len(frame["viewers"]) == MOST_VIEWERS
    assert frame["viewers"][0] == {
        "userId": None,
        "verified": False,
        "name": "Name 0",
        "avatar": None,
        "chapterId": None,
        "joinedAt": world.clock() - 2_000,
        "lastSeen": world.clock() - 2_000,
    }
    world.leave("s00")
    world.settle()
    assert frames(world, "c1")[1]["viewers"][0]["name"] == "Name 1"


def test_others_hear_only_the_count(worlds: Worlds, memory: Engine) -> None:
    world = worlds(memory, Kinds=KINDS)
    world.beat("s1", "course:1", name="Ada")
    world.settle()
    listen(world, "c1", "course:1")
    listen(world, "c2", "course:1", token=world.token(sub="u1"))
    assert ["viewers" in frames(world, one)[0] for one in ("c1", "c2")] == [False, True]
    world.clock.advance(2)
    world.beat("s2", "course:1", name="Bo")
    world.settle()
    assert ["viewers" in frames(world, one)[1] for one in ("c1", "c2")] == [False, True]
    listed = world.get("/api/courses/1/viewers", token=world.token(sub="u1")).body
    assert frames(world, "c2")[1]["viewers"] == listed["viewers"]


# ------------------------------------------------------------------------------------------- budget


def test_many_changes_are_within_the_budget_and_the_last_count_arrives(memory_world: World) -> None:
    world = memory_world
    listen(world, "c1")
    change(world, 67)
    changed_at = world.clock() - 1_500
    assert len(frames(world, "c1")) - 1 <= BUDGET.burst + BUDGET.overdraft + 1
    assert world.people() == 7
    assert counts(world, "c1")[-1] != 7
    while counts(world, "c1")[-1] != 7:
        world.clock.advance(1)
        world.settle()
        assert world.clock() - changed_at < 30_000
    assert len(frames(world, "c1")) - 1 <= BUDGET.burst + BUDGET.overdraft + 2
    assert world.queue.deferred == []


def test_skipped_changes_keep_one_task(memory_world: World) -> None:
    world = memory_world
    spend(world)
    change(world, 10)
    tasks = [json.loads(one["body"]) for one in world.queue.deferred]
    assert [task["do"] for task in tasks] == ["push"]


def test_the_budget_is_a_setting(worlds: Worlds, memory: Engine) -> None:
    world = worlds(memory, Limits="pushes-per-hour=3600,push-burst=2")
    listen(world, "c1")
    for number in range(8):
        join(world, f"s{number}")
    assert counts(world, "c1") == list(range(9))


def test_nothing_is_read_of_the_listeners_when_nothing_is_pushed(
    memory_world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = memory_world
    join(world, "s1")
    read: list[str] = []
    table = world.services("publish").subscriptions
    audience = type(table).audience
    monkeypatch.setattr(
        type(table), "audience", lambda self, topic: read.append(topic) or audience(self, topic)
    )
    for page in ("/elsewhere", "/further"):
        read.clear()
        world.clock.advance(2)
        world.beat("s1", page=page)
        world.settle()
    assert {*read} == {SITE}
    world.clock.advance(2)
    join(world, "s2")
    assert topic_of(SITE) in read


# ----------------------------------------------------------------------------------------- failures


def test_a_listener_that_is_gone_is_forgotten(memory_world: World) -> None:
    world = memory_world
    listen(world, "c1")
    listen(world, "c2")
    world.clock.advance(11)
    world.management.set_gone("c1")
    join(world, "s1")
    left = world.services("publish").subscriptions.subscribers(topic_of(SITE))
    assert [one.connection for one in left] == ["c2"]
    assert counts(world, "c2") == [0, 1]


@pytest.mark.parametrize("trouble", ["hang", "fail"])
def test_a_listener_that_does_not_accept_a_count_starts_over(
    memory_world: World, trouble: str
) -> None:
    world = memory_world
    listen(world, "c1")
    listen(world, "c2")
    getattr(world.management, trouble)("c1")
    posts = world.management.attempts["c1"]
    world.beat("s1")
    world.count(world.filtered("count"))
    before = world.clock()
    world.publish(world.filtered("publish"))
    assert world.clock() == before  # nobody waited
    assert world.management.attempts["c1"] == posts + 1
    assert counts(world, "c2") == [0, 1]
    world.management.hanging.clear()
    world.management.failing.clear()
    world.settle()
    assert world.management.closed == ["c1"]
    left = world.services("publish").subscriptions.subscribers(topic_of(SITE))
    assert [one.connection for one in left] == ["c2"]


def test_a_throttled_count_is_left_to_the_queue(memory_world: World) -> None:
    world = memory_world
    listen(world, "c1")
    world.management.throttle("c1", times=1)
    world.beat("s1")
    world.count(world.filtered("count"))
    world.publish(world.filtered("publish"))
    assert counts(world, "c1") == [0]
    world.fan_out()
    assert counts(world, "c1") == [0, 1]


def test_a_failure_to_read_listeners_fails_no_version(
    memory_world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = memory_world
    listen(world, "c1")
    world.subscribe("dashboard")
    table = type(world.services("publish").subscriptions)
    audience = table.audience

    def fails(self: Any, topic: str) -> Any:
        if topic == topic_of(SITE):
            raise aws_error("InternalServerError", 500, "Query")
        return audience(self, topic)

    monkeypatch.setattr(table, "audience", fails)
    join(world, "s1")
    assert world.versions("dashboard") == [0, 1]
    assert counts(world, "c1") == [0]
    monkeypatch.undo()
    world.clock.advance(5)
    world.settle()
    assert counts(world, "c1") == [0, 1]


def test_a_count_that_died_before_its_push_pushes_again(
    memory_world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The version is stored, and nothing of it is sent: the next one waits for that."""
    world = memory_world
    listen(world, "c1")
    world.beat("s1")

    def dies(*_: Any) -> None:
        raise Crash("the process died here")

    monkeypatch.setattr(type(world.services("count").pusher), "send", dies)
    with pytest.raises(Crash):
        world.count(world.filtered("count"))
    monkeypatch.undo()
    world.restart("count")
    assert counts(world, "c1") == [0]
    world.settle()
    assert counts(world, "c1") == [0, 1]
    assert all(one <= other for one, other in pairwise(versions(world, "c1")))


def test_a_publisher_that_crashed_pushes_again(memory_world: World) -> None:
    world = memory_world
    world.stream_alone()
    listen(world, "c1")
    world.beat("s1")
    world.count(world.filtered("count"))
    records = world.filtered("publish")

    def crash() -> None:
        raise KeyboardInterrupt

    world.management.before_post = crash
    with pytest.raises(KeyboardInterrupt):
        world.publish(records)
    world.management.before_post = lambda: None
    world.publish(records)
    assert counts(world, "c1") == [0, 1]


def test_a_late_push_that_crashed_is_made_again(memory_world: World) -> None:
    world = memory_world
    spend(world)
    listen(world, "c1")
    join(world, "s1")
    (task,) = world.queue.deferred
    world.clock.advance(LATE / 1000)
    posts = world.management.before_post

    def crash() -> None:
        raise KeyboardInterrupt

    world.management.before_post = crash
    with pytest.raises(KeyboardInterrupt):
        world.invoke("deferred", {"Records": [task]})
    world.management.before_post = posts
    tokens = world.services("publish").headcounts.get(SITE).pushes
    world.clock.advance(2)
    world.invoke("deferred", {"Records": [task]})
    after = world.services("publish").headcounts.get(SITE).pushes
    assert counts(world, "c1")[-1] == world.people()
    assert tokens is not None
    assert after is not None
    assert 0 <= after.tokens - tokens.tokens < 0.1  # not paid twice
    world.queue.deferred.clear()
    join(world, "s2")
    world.clock.advance(LATE / 1000)
    posted = len(frames(world, "c1"))
    world.invoke("deferred", {"Records": [task]})  # an old task, once more
    assert len(frames(world, "c1")) == posted


def test_a_late_push_and_a_version_at_the_same_time(
    memory_world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The task notes its push between the publisher's read and its write: the version is stored
    all the same, at once, and both frames are paid for."""
    world = memory_world
    world.stream_alone()
    listen(world, "c1")
    spend(world)
    join(world, "s1")
    (task,) = world.queue.deferred
    world.queue.deferred.clear()
    world.clock.advance(LATE / 1000 + 1)
    world.beat("s2")
    world.count(world.filtered("count"))
    records = world.filtered("publish")
    save = HeadcountsTable.save
    tries: list[int] = []

    def save_later(self: Any, headcount: Any, **known: Any) -> bool:
        tries.append(headcount.version)
        if len(tries) == 1:
            world.invoke("deferred", {"Records": [task]})
        return save(self, headcount, **known)

    monkeypatch.setattr(HeadcountsTable, "save", save_later)
    world.publish(records)
    assert tries[0] == tries[1]
    assert world.people() == 12
    world.clock.advance(4)
    world.settle()
    assert counts(world, "c1")[-2:] == [11, 12]
    assert all(one <= other for one, other in pairwise(versions(world, "c1")))


def versions(world: World, connection: str) -> list[int]:
    return [frame["version"] for frame in frames(world, connection)]


def in_between(world: World, act: Callable[[], object]) -> None:
    """Do something once, right before the next post."""

    def once() -> None:
        world.management.before_post = lambda: None
        act()

    world.management.before_post = once


def test_a_greeting_is_never_older_than_a_push(memory_world: World) -> None:
    """A version is published after the greeting read the one before, and is not sent to it: the
    greeting notices, and sends the later one."""
    world = memory_world
    world.stream_alone()
    join(world, "s1")
    assert open_socket(world, "c1", space=SITE, listen="count") == OK
    world.beat("s2")
    world.count(world.filtered("count"))
    records = world.filtered("publish")
    in_between(world, lambda: world.publish(records))
    world.run_deferred()
    assert versions(world, "c1") == [1, 2]
    world.settle()
    assert versions(world, "c1") == [1, 2]


def test_a_greeting_and_a_push_of_the_same_version(memory_world: World) -> None:
    """The greeting had the version that is being sent: it is not sent again."""
    world = memory_world
    world.stream_alone()
    world.beat("s1")
    world.count(world.filtered("count"))
    records = world.filtered("publish")
    world.subscribe("dashboard")
    assert open_socket(world, "c1", space=SITE, listen="count") == OK
    in_between(world, world.run_deferred)
    world.publish(records)
    assert versions(world, "c1") == [1]


# -------------------------------------------------------------------------------- large audiences


def test_a_large_audience_gets_counts_in_chunks_one_after_the_other(
    worlds: Worlds, memory: Engine
) -> None:
    world = worlds(memory, Limits="inline-fanout=2")
    for number in range(5):
        listen(world, f"c{number}")
    world.subscribe("dashboard")
    world.beat("s1")
    world.count(world.filtered("count"))
    world.publish(world.filtered("publish"))
    assert world.versions("dashboard") == [0, 1]
    assert counts(world, "c0") == [0]
    chunks = [*world.queue.messages]
    world.clock.advance(2)
    world.beat("s2")
    world.count(world.filtered("count"))
    world.publish(world.filtered("publish"))
    assert world.queue.messages == chunks  # the first is not delivered yet
    world.fan_out()
    assert [counts(world, f"c{number}") for number in range(5)] == [[0, 1]] * 5
    world.clock.advance(5)
    world.settle()
    assert [counts(world, f"c{number}") for number in range(5)] == [[0, 1, 2]] * 5
    assert world.versions("dashboard") == [0, 1, 2]


def test_a_count_that_waits_for_chunks_survives_versions_with_the_same_count(
    worlds: Worlds, memory: Engine
) -> None:
    world = worlds(memory, Limits="inline-fanout=1")
    for number in range(2):
        listen(world, f"c{number}")
    world.beat("s1")
    world.count(world.filtered("count"))
    world.publish(world.filtered("publish"))  # in chunks, which are not delivered yet
    world.clock.advance(2)
    world.beat("s2")
    world.count(world.filtered("count"))
    world.publish(world.filtered("publish"))
    world.clock.advance(2)
    world.beat("s2", page="/elsewhere")
    world.count(world.filtered("count"))
    world.publish(world.filtered("publish"))
    world.clock.advance(5)
    world.run_deferred()  # too early, once more
    world.fan_out()
    world.clock.advance(5)
    world.settle()
    assert [counts(world, f"c{number}") for number in range(2)] == [[0, 1, 2]] * 2


def test_a_skipped_count_is_pushed_later_though_its_task_was_not_queued_at_first(
    memory_world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Found by the simulator: the next version, with as many people, took the task for queued."""
    world = memory_world
    listen(world, "c1")
    spend(world)

    def fails(*_: Any, **__: Any) -> None:
        raise aws_error("ThrottlingException", operation="SendMessage")

    with monkeypatch.context() as broken:
        broken.setattr(type(world.services("count").deferred_queue), "push", fails)
        world.beat("skipped")
        world.count(world.filtered("count"))
    assert world.services("api").headcounts.get(SITE).unsent
    world.clock.advance(1.5)
    world.beat("skipped", page="/b")
    world.settle()
    world.clock.advance(2 * LATE / 1000)
    world.settle()
    assert counts(world, "c1")[-1] == world.headcount()["people"]
