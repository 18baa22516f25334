"""Erasing a person: no data of them is left anywhere, and no one else's data changes."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from headcount.model.erasure import ROUND_DELAYS, ROUNDS
from headcount.model.moderation import person_hash
from headcount.model.person import Person, hashed_fingerprint, own_id
from headcount.times import MINUTE
from headcount.usecases import erase as erasing

from lab.harness.engines import Engine
from lab.harness.recursion import MOST, is_stopped
from lab.harness.template import template
from lab.harness.world import SITE, World
from tests.conftest import Worlds
from tests.support.moderation import act, try_beat

HER = "ada-7"
"""Part of every text of the erased person, and of no one else's."""
USER, BROWSER = f"user-{HER}", f"browser-{HER}"
STREAM, COURSE, QUIET, LINK = "stream:st1", "course:c1", "course:c2", "link:l1"


def texts_of_her() -> list[str]:
    """Everything that identifies her in a table, plain or hashed."""
    hashed = [hashed_fingerprint(BROWSER)]
    for space in (COURSE, QUIET):
        hashed += [own_id(space, how, USER) for how in ("claimed", "proven", "private")]
    hashed += [person_hash(f"u:{USER}"), person_hash(f"v:{BROWSER}"), person_hash(f"s:tab-{HER}")]
    return [HER, *hashed]


def raw(world: World) -> dict[str, str]:
    """Each table's rows, as text."""
    return {
        role: "\n".join(json.dumps(row, default=bytes.hex, sort_keys=True) for row in rows)
        for role, rows in world.snapshot().items()
    }


def traces(world: World) -> dict[str, list[str]]:
    """The rows where she is still found."""
    return {
        role: found
        for role, text in raw(world).items()
        if (found := [one for one in texts_of_her() if one in text])
    }


def beat_everywhere(world: World, who: str, *, token: str | None = None) -> None:
    """She joins by each of the five systems' APIs and by the native one."""

    def post(path: str, body: Any, token: str | None = None) -> None:
        answer = world.http("POST", path, body=body, token=token)
        assert answer.status in {200, 201}, answer

    user, tab = f"user-{who}", f"tab-{who}"
    named = {"userId": user, "name": f"Name of {who}", "avatar": f"https://{who}.example/a.png"}
    world.beat(tab, visitorId=f"browser-{who}", page="/a", **named)
    world.beat(tab, STREAM, visitorId=f"browser-{who}", engagement={"chat": 3}, **named)
    watching = {"activityType": "watching", "contentId": "c1", "contentTitle": "Example"}
    seen = {"userId": user, "sessionId": f"{tab}-live", **watching}
    post("/api/analytics/live-activity", seen)
    viewer = {"userId": user, "userName": f"Name of {who}", "chapterId": "ch1"}
    post("/api/courses/c1/presence", viewer)
    post("/api/courses/c2/presence", {**viewer, "anonymous": True})
    if token:
        post("/api/courses/c1/presence", {"chapterId": "ch2"}, token)
    joined = {"action": "join", "sessionId": f"{tab}-link", "fingerprint": f"browser-{who}"}
    post("/api/send/realtime/l1", {**joined, "email": f"{who}@example.com"})
    post("/api/heartbeats", {"sessionId": f"{tab}-site", "userId": user, "pagePath": "/b"})


def live_in(world: World) -> None:
    """Visits of yesterday and today, of her and of two others: ended ones and current ones."""
    hers = world.token(sub=USER, name=f"Name of {HER}")
    world.clock.set("2026-11-20T23:50:00Z")
    world.beat(f"old-{HER}", visitorId=BROWSER)  # before she signed in
    world.beat("old-bob", visitorId="browser-bob")
    world.beat(f"late-{HER}", userId=USER)
    world.clock.advance(30)
    world.leave(f"old-{HER}")
    world.leave("old-bob")
    world.settle()
    for _ in range(30):
        world.clock.advance(30)
        world.beat(f"late-{HER}", userId=USER)  # over midnight
    world.leave(f"late-{HER}")
    world.settle()
    world.clock.set("2026-11-21T01:00:00Z")
    world.sweep()
    world.daily()
    world.clock.set("2026-11-21T12:00:00Z")
    world.subscribe("c1")
    for who, token in ((HER, hers), ("bob", None), ("cyd", None)):
        beat_everywhere(world, who, token=token)
        world.settle()
    world.connect_viewer("held", f"held-{HER}", token=hers)
    world.beat("shared", userId=USER)
    world.beat("shared", userId="user-bob")  # she was signed in before him
    world.beat(f"gone-{HER}", userId=USER)
    world.settle()
    world.leave(f"gone-{HER}")
    world.settle()
    admin = world.token(headcount="admin", sub=USER)
    for by, body in (
        (admin, {"userId": "mallory", "reason": "spam"}),
        (world.admin, {"userId": USER, "reason": f"{HER} wrote so"}),
        (world.admin, {"visitorId": BROWSER}),
    ):
        answer = world.http("POST", "/v1/spaces/course:c9/removals", body=body, token=by)
        assert answer.status == 200, answer
    for method, path in (("PUT", "alerts/one"), ("DELETE", "alerts/one")):
        rule = {"body": {"type": "milestone", "people": 5}} if method == "PUT" else {}
        assert world.http(method, f"/v1/spaces/{SITE}/{path}", token=admin, **rule).status == 200
    world.settle()
    world.sweep()
    world.settle()


def ask(world: World, **ids: str) -> Any:
    answer = world.http("POST", "/v1/erasures", body=ids, token=world.admin)
    assert answer.status == 202, answer
    return answer.body


def state(world: World, erasure: str) -> Any:
    answer = world.get(f"/v1/erasures/{erasure}", token=world.admin)
    assert answer.status == 200, answer
    return answer.body


def go_on(world: World) -> None:
    """The queue's next message, after its delay."""
    wait, text = world.queue.erasures.pop(0)
    world.clock.advance(wait)
    world.invoke("erase", {"Records": [{"body": text}]})


def first_round(world: World) -> None:
    """Run the erasure until it waits for a delay."""
    while world.queue.erasures and not world.queue.erasures[0][0]:
        go_on(world)
    world.settle()


def finish(world: World) -> None:
    while world.queue.erasures:
        go_on(world)
        world.settle()


def others(world: World) -> dict[str, list[str]]:
    """The rows of other people, without any of her data."""
    rows = {role: raw(world)[role].split("\n") for role in ("presence", "visits", "history")}
    return {
        role: [row for row in found if not any(text in row for text in texts_of_her())]
        for role, found in rows.items()
    }


def days(world: World, space: str) -> Any:
    """The rows without attributes that change with time or with the end of a visit."""
    found = act(world, "GET", "days", space=space, query={"from": "2026-11-20"}).body["days"]
    ends = {"avgSeconds", "engagement"}
    return [{name: day[name] for name in day if name not in ends} for day in found]


@pytest.mark.parametrize("shards", ["1", "3"])
def test_nothing_of_an_erased_person_is_left(engine: Engine, worlds: Worlds, shards: str) -> None:
    world = worlds(engine, ShardsPerSpace=shards)
    live_in(world)
    assert {"presence", "visits", "history", "counts"} <= set(traces(world))
    before, untouched = world.headcount(), others(world)
    erasure = ask(world, userId=USER, visitorId=BROWSER)
    first_round(world)
    assert traces(world) == {}
    after = world.headcount()
    assert (before["people"], after["people"]) == (4, 2), "proven, and by that id"
    assert after["views"] == before["views"]
    for space, people in ((STREAM, 2), (COURSE, 2), (QUIET, 2), (LINK, 2), ("activity:main", 2)):
        assert world.people(space) == people, space
    frame = world.management.frames["c1"][-1]
    assert (frame["type"], frame["version"]) == ("headcount", after["version"])
    left = others(world)
    for role, rows in untouched.items():
        assert set(rows) <= set(left[role]), role
    assert not state(world, erasure["id"])["complete"]
    finish(world)
    done = state(world, erasure["id"])
    assert (done["complete"], done["rounds"]) == (True, ROUNDS)
    assert done["erased"]["removals"] == 3
    assert min(done["erased"].values()) > 0
    assert traces(world) == {}


def test_the_numbers_of_days_stay_as_they_were(engine: Engine, worlds: Worlds) -> None:
    world = worlds(engine, ShardsPerSpace="3")
    live_in(world)
    spaces = (SITE, STREAM, COURSE, QUIET, LINK, "activity:main")
    before = {space: days(world, space) for space in spaces}
    assert [day["date"] for day in before[SITE]] == ["2026-11-20", "2026-11-21"]
    ask(world, userId=USER, visitorId=BROWSER)
    finish(world)
    assert {space: days(world, space) for space in spaces} == before
    world.clock.set("2026-11-22T01:00:00Z")
    world.sweep()
    world.settle()
    world.daily("2026-11-20")
    world.daily()
    later = {space: days(world, space) for space in spaces}
    for space in spaces:
        assert [day["uniquePeople"] for day in later[space]] == [
            day["uniquePeople"] for day in before[space]
        ], space
        assert [day["views"] for day in later[space]] == [day["views"] for day in before[space]]


def test_engagement_stays_in_the_totals(world: World) -> None:
    live_in(world)
    before = world.headcount(STREAM)
    ask(world, userId=USER)
    finish(world)
    stats = world.tables["counts"].rows()
    (engagement,) = [row for row in stats if (row["space"], row["part"]) == (STREAM, "engagement")]
    assert engagement["chat"] == 3
    assert world.headcount(STREAM)["views"] == before["views"]


def test_a_visit_that_was_counted_late_is_erased_by_the_next_round(world: World) -> None:
    live_in(world)
    world.beat(f"last-{HER}", userId=USER)
    late = world.filtered("count")
    world.leave(f"last-{HER}")
    late += world.filtered("count")
    erasure = ask(world, userId=USER, visitorId=BROWSER)
    first_round(world)
    world.count(late)
    world.settle()
    assert set(traces(world)) == {"visits", "people"}
    views = world.headcount()["views"]
    go_on(world)
    world.settle()
    assert traces(world) == {}
    assert not state(world, erasure["id"])["complete"]
    world.count(late)  # and again, an hour later
    finish(world)
    assert traces(world) == {}
    assert state(world, erasure["id"])["complete"]
    assert world.headcount()["views"] == views


def test_the_last_round_is_later_than_any_record_of_a_stream(memory_world: World) -> None:
    (source,) = template().events("count", "DynamoDB")
    timeout = template().functions["count"]["Timeout"]
    ask(memory_world, userId=USER)
    first_round(memory_world)
    began = memory_world.clock()
    finish(memory_world)
    assert memory_world.clock() - began >= (source["MaximumRecordAgeInSeconds"] + timeout) * 1000
    assert ROUND_DELAYS[0] == 15 * MINUTE


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pages of three rows, two of them in a run."""
    monkeypatch.setattr(erasing, "PAGE", 3)
    monkeypatch.setattr(erasing, "PAGES", 2)


@pytest.mark.usefixtures("small")
def test_a_long_erasure_goes_on_from_run_to_run(memory_world: World) -> None:
    world = memory_world
    live_in(world)
    erasure = ask(world, userId=USER, visitorId=BROWSER)
    runs = 0
    while not state(world, erasure["id"])["complete"]:
        assert not is_stopped("erase", runs)
        go_on(world)
        world.settle()
        runs += 1
    assert runs > MOST
    assert world.queue.erasures == []
    assert traces(world) == {}


def test_a_run_that_dies_at_any_call_is_completed_by_the_next(
    memory: Engine, worlds: Worlds
) -> None:
    deaths = 0
    while True:
        world = worlds(memory)
        world.beat(f"tab-{HER}", visitorId=BROWSER, userId=USER, engagement={"chat": 1})
        world.beat("tab-bob", userId="user-bob")
        world.settle()
        world.beat(f"gone-{HER}", visitorId=BROWSER)
        world.leave(f"gone-{HER}")
        world.settle()
        act(world, "POST", "removals", {"userId": USER, "seconds": 9}, space="course:c9")
        ask(world, userId=USER, visitorId=BROWSER)
        go_on(world)
        _, text = world.queue.erasures[0]
        if not dies(world, text, calls=deaths):
            break
        world.settle()
        world.invoke("erase", {"Records": [{"body": text}]})
        world.settle()
        assert traces(world) == {}, deaths
        assert world.people() == 1, deaths
        assert world.headcount()["views"]["total"] == 3
        deaths += 1
    assert deaths > 10


class DiedError(RuntimeError):
    """The process died."""


def dies(world: World, text: str, *, calls: int) -> bool:
    """Run an erasure that dies after that many calls to DynamoDB; False if it completed."""
    made = 0

    def before(**_: Any) -> None:
        nonlocal made
        if made == calls:
            raise DiedError
        made += 1

    events = world.engine.client.meta.events
    events.register("before-parameter-build.dynamodb", before, unique_id="dies")
    try:
        world.invoke("erase", {"Records": [{"body": text}]})
    except DiedError:
        return True
    finally:
        events.unregister("before-parameter-build.dynamodb", unique_id="dies")
    return False


def test_a_session_that_is_written_meanwhile_is_erased_too(memory_world: World) -> None:
    world = memory_world
    world.beat("tab-bob", userId="user-bob")
    world.beat(f"tab-{HER}", userId=USER)
    world.settle()
    ask(world, userId=USER)
    presence = world.tables["presence"].name
    beat: Callable[[], object] = lambda: world.beat(f"tab-{HER}", userId=USER)  # noqa: E731
    world.clock.advance(20)
    with world.engine.interrupted("DeleteItem", presence, beat) as done:
        first_round(world)
    assert done == [1]
    assert world.people() == 1
    finish(world)
    assert traces(world) == {}
    assert world.headcount()["views"]["total"] == 3


def test_a_person_who_beats_on_is_there_again(memory_world: World) -> None:
    """The client has to stop: data that it sends after the erasure is new."""
    world = memory_world
    world.beat(f"tab-{HER}", userId=USER)
    world.settle()
    ask(world, userId=USER)
    first_round(world)
    world.clock.advance(30)
    world.beat(f"tab-{HER}", userId=USER)
    world.settle()
    assert world.people() == 1
    assert world.headcount()["views"]["total"] == 2


def test_a_visitor_and_a_session_can_be_named_by_themselves(memory_world: World) -> None:
    world = memory_world
    world.beat("s1", visitorId="v1", name="Her name")
    world.beat("s2", visitorId="v2", name="His name")
    world.settle()
    ask(world, visitorId="v1")
    ask(world, sessionId="s2")
    finish(world)
    text = str(raw(world))
    for gone in ("s1", "v1", "s2", "v2", "Her name", "His name"):
        assert f'"{gone}"' not in text
    assert world.people() == 0


def test_another_user_of_the_same_browser_stays(memory_world: World) -> None:
    world = memory_world
    world.beat(f"tab-{HER}", visitorId="family", userId=USER)
    world.beat("tab-bob", visitorId="family", userId="user-bob")
    world.beat("tab-nobody", visitorId="family")
    world.settle()
    bob = [row for row in world.snapshot()["presence"] if row.get("user") == "user-bob"]
    ask(world, userId=USER)
    finish(world)
    rows = world.presence_rows()
    assert [row for row in rows if row["session"] == "tab-bob"] == bob
    assert {row["session"] for row in rows} == {"tab-bob", "tab-nobody"}


def test_a_visitor_in_her_tab_before_the_sign_in_is_erased_with_her(
    memory_world: World,
) -> None:
    world = memory_world
    world.beat(f"tab-{HER}", visitorId="v1", name="Her name")
    world.settle()
    world.leave(f"tab-{HER}")
    late = world.filtered("count")
    world.count(late)
    world.settle()
    world.beat(f"tab-{HER}", userId=USER)
    world.settle()
    ask(world, userId=USER)
    first_round(world)
    world.count(late)  # restores the visitor in a row whose session is already pseudonymised
    assert '"v1"' in raw(world)["visits"]
    finish(world)
    assert traces(world) == {}
    assert '"v1"' not in str(raw(world))


def test_a_tab_that_is_named_is_erased_however_late_it_is_counted(memory_world: World) -> None:
    world = memory_world
    world.beat("s1", visitorId="v1")
    world.settle()
    world.leave("s1")
    late = world.filtered("count")
    world.count(late)
    ask(world, sessionId="s1")
    first_round(world)
    world.count(late)
    assert '"v1"' in raw(world)["visits"]
    finish(world)
    assert '"s1"' not in str(raw(world))
    assert '"v1"' not in str(raw(world))


def test_an_equal_session_id_in_another_space_is_another_session(memory_world: World) -> None:
    world = memory_world
    world.beat("s1", STREAM, userId=USER)
    world.beat("s1", name="Bob")
    world.settle()
    bob = [row for row in world.presence_rows() if row.get("name") == "Bob"]
    ask(world, userId=USER)
    first_round(world)
    assert world.presence_rows() == bob
    assert world.people() == 1


def test_the_removal_of_a_person_whose_id_she_claimed_as_a_visitor_stays(
    memory_world: World,
) -> None:
    world = memory_world
    act(world, "POST", "removals", {"userId": "carol", "seconds": 36_000})
    act(world, "POST", "removals", {"visitorId": "cid", "seconds": 36_000})
    world.settle()
    world.beat("cid", userId="eve", visitorId="carol")
    world.beat("carol", STREAM, userId="eve", visitorId="cid")
    world.settle()
    removals = act(world, "GET", "removals").body["removals"]
    for asked in ({"userId": "eve"}, {"visitorId": "carol"}, {"sessionId": "carol"}):
        ask(world, **asked)
        finish(world)
        world.settle()
        assert act(world, "GET", "removals").body["removals"] == removals, asked
        assert try_beat(world, "new", userId="carol").status == 403, asked
    ask(world, userId="carol")
    finish(world)
    world.settle()
    assert try_beat(world, "new", userId="carol").status == 200


@pytest.mark.parametrize("word", ["boss", "admin", "info", "milestone"])
def test_the_activity_log_is_not_erased_for_ids_that_equal_its_words(
    memory_world: World, word: str
) -> None:
    """An admin's subject, the placeholder for a missing one, a level, a type of alert."""
    world = memory_world
    boss = world.token(headcount="admin", sub="boss")
    for admin in (boss, world.admin):
        for method, tail, body in (
            ("POST", "messages", {"text": "Hello", "level": "info"}),
            ("PUT", "alerts/one", {"type": "milestone", "people": 5}),
            ("POST", "removals", {"userId": "mallory"}),
        ):
            answer = world.http(method, f"/v1/spaces/{SITE}/{tail}", body=body, token=admin)
            assert answer.status == 200, answer
    world.beat(word, userId="eve", visitorId=word)
    world.settle()
    before = act(world, "GET", "audit").body["acts"]
    asked = [{"userId": "eve"}, {"visitorId": word}, {"sessionId": word}]
    asked += [{"userId": word}] if word != "boss" else []
    for ids in asked:
        erasure = ask(world, **ids)
        finish(world)
        assert act(world, "GET", "audit").body["acts"] == before, ids
        assert state(world, erasure["id"])["who"] == "admin", ids
        assert state(world, erasure["id"])["complete"], ids
        assert state(world, erasure["id"])["erased"]["removals"] == 0, ids


def test_a_person_with_the_same_fingerprint_stays(memory_world: World) -> None:
    world = memory_world

    def join(session: str, token: str | None = None) -> None:
        fields = {"action": "join", "sessionId": session, "fingerprint": "same"}
        answer = world.http("POST", "/api/send/realtime/l1", body=fields, token=token)
        assert answer.status == 200, answer

    join("tab-bob")
    join("tab-eve", world.token(sub="eve"))
    world.settle()
    ask(world, userId="eve")
    first_round(world)
    assert world.live_sessions() == ["tab-bob"]
    assert world.people(LINK) == 1


def test_claiming_the_same_visitor_erases_no_one_elses_session(
    memory_world: World,
) -> None:
    world = memory_world
    answer = world.http("POST", "/api/courses/c1/presence", body={"sessionId": "dora"})
    assert answer.status == 200, answer
    (hers,) = world.live_sessions()
    world.beat("tab-eve", COURSE, userId="eve", visitorId="dora")
    world.beat("tab-cyd", COURSE, userId="cyd", visitorId="dora")
    world.settle()
    ask(world, userId="eve")
    first_round(world)
    assert set(world.live_sessions()) == {hers, "tab-cyd"}


def test_a_course_visit_before_the_sign_in_is_erased_too(
    memory_world: World,
) -> None:
    world = memory_world
    for fields in ({"sessionId": f"tab-{HER}"}, {"sessionId": f"tab-{HER}", "userId": USER}):
        answer = world.http("POST", "/api/courses/c1/presence", body=fields)
        assert answer.status == 200, answer
        world.settle()
    ask(world, userId=USER)
    finish(world)
    assert traces(world) == {}


def test_a_course_session_is_found_by_the_id_that_its_client_sent(memory_world: World) -> None:
    """It is stored as the visitor of a row whose id is derived from the signed-in user."""
    world = memory_world
    for fields in ({"sessionId": "s1"}, {"sessionId": "s1", "userId": "u1"}):
        answer = world.http("POST", "/api/courses/c1/presence", body=fields)
        assert answer.status == 200, answer
    world.beat("tab-bob", COURSE, visitorId="s1")
    world.settle()
    ask(world, sessionId="s1")
    first_round(world)
    assert world.live_sessions() == ["tab-bob"]
    assert [row["session"] for row in world.ledger() if row.get("visitor") == "s1"] == ["tab-bob"]


def test_the_activity_log_says_that_a_person_was_erased_and_not_who(memory_world: World) -> None:
    world = memory_world
    admin = world.token(headcount="admin", sub="boss")
    world.http("POST", "/v1/erasures", body={"userId": USER}, token=admin)
    (listed,) = world.get("/v1/erasures", token=world.admin).body["erasures"]
    assert listed["who"] == "boss"
    assert (listed["complete"], listed["rounds"]) == (False, 0)
    assert listed["at"] == "2026-11-21T12:00:00.000Z"
    assert traces(world) == {}
    finish(world)
    (listed,) = world.get("/v1/erasures", token=world.admin).body["erasures"]
    assert listed["complete"]
    assert world.get(f"/v1/erasures/{listed['id']}", token=world.admin).body == {
        "success": True,
        **listed,
    }


def test_an_erasure_that_can_not_be_logged_is_not_started(memory_world: World) -> None:
    world = memory_world

    def fail() -> None:
        raise RuntimeError("the history can't be written")

    with world.engine.interrupted("PutItem", world.tables["history"].name, fail):
        answer = world.http("POST", "/v1/erasures", body={"userId": USER}, token=world.admin)
    assert answer.status == 500
    assert world.queue.erasures == []


@pytest.mark.parametrize(
    ("body", "sentence"),
    [
        ({}, "Name the person: send userId, visitorId, sessionId, or several."),
        ({"userId": ""}, "userId"),
        ({"userId": "x" * 129}, "userId"),
        ([], "JSON"),
    ],
)
def test_an_erasure_without_a_person_is_refused(
    memory_world: World, body: Any, sentence: str
) -> None:
    answer = memory_world.http("POST", "/v1/erasures", body=body, token=memory_world.admin)
    assert answer.status == 400
    assert sentence in str(answer.body)
    assert memory_world.queue.erasures == []


@pytest.mark.parametrize("erasure", ["x", "1-x", "9999999999999-id", "1795262400000-id-000001"])
def test_an_unknown_erasure_is_not_found(memory_world: World, erasure: str) -> None:
    answer = memory_world.get(f"/v1/erasures/{erasure}", token=memory_world.admin)
    assert answer.status == 404


def test_erasures_are_for_admins(memory_world: World) -> None:
    for token, status in ((None, 401), (memory_world.token(sub="u1"), 403)):
        for method, path in (("POST", ""), ("GET", ""), ("GET", "/1-x")):
            answer = memory_world.http(method, f"/v1/erasures{path}", token=token)
            assert answer.status == status


def test_the_queue_waits_a_quarter_of_an_hour_at_most(memory_world: World) -> None:
    ask(memory_world, userId=USER)
    waits = []
    while memory_world.queue.erasures:
        waits.append(memory_world.queue.erasures[0][0])
        go_on(memory_world)
    assert waits == [0, 0, 900, 900, 900, 900, 900, 900]


def test_linked_ids_are_kept_as_hashes_and_expire(
    memory_world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(erasing, "MAX_LINKED", 3)
    world = memory_world
    for number in range(5):
        world.beat(f"s{number}", userId=USER)
    world.settle()
    ask(world, userId=USER)
    go_on(world)
    _, text = world.queue.erasures[0]
    assert len(json.loads(text)["linked"]) == 3
    assert "s1" not in text
    first_round(world)
    assert world.presence_rows() == []


def test_an_alias_is_the_same_for_the_same_id_and_another_for_each_erasure() -> None:
    one, other = Person("key-1"), Person("key-2")
    assert one.hashed("u1") == one.hashed("u1")
    assert len({one.hashed("u1"), one.hashed("u2"), other.hashed("u1")}) == 3


def test_a_connection_that_holds_their_session_is_forgotten_and_others_are_not(
    memory: Engine, worlds: Worlds
) -> None:
    world = worlds(memory)
    world.connect_viewer("c1", "s1", token=world.token(sub="eve"))
    world.connect_viewer("c2", "s2", token=world.token(sub="bob"))
    world.settle()
    before = [row for row in world.tables["subscriptions"].rows() if row.get("user") == "bob"]
    asked = world.http("POST", "/v1/erasures", body={"userId": "eve"}, token=world.admin)
    while world.queue.erasures:
        wait, text = world.queue.erasures.pop(0)
        world.clock.advance(wait)
        world.invoke("erase", {"Records": [{"body": text}]})
    rows = world.tables["subscriptions"].rows()
    assert "eve" not in str(rows)
    assert [row for row in rows if row.get("user") == "bob"] == before
    done = world.get(f"/v1/erasures/{asked.body['id']}", token=world.admin).body
    assert done["complete"]
    assert done["erased"]["connections"] == 1
