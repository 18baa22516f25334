"""Course viewers: the REST routes and Convex's protocol, call by call and field by field."""

from __future__ import annotations

import base64
import struct
from collections.abc import Callable
from typing import Any

import pytest

from lab.harness.clock import NOON
from lab.harness.engines import Engine
from lab.harness.world import Answer, World
from tests.conftest import Worlds

PRESENCE = "/api/courses/c1/presence"
COUNT = "/api/courses/c1/viewers/count"
VIEWERS = "/api/courses/c1/viewers"


def enter(world: World, token: str | None = None, course: str = "c1", **fields: Any) -> Answer:
    """A beat that must be accepted."""
    answer = world.http("POST", f"/api/courses/{course}/presence", body=fields, token=token)
    assert answer.status == 200, answer
    return answer


def leave(world: World, token: str | None = None, **query: str) -> Answer:
    """A leave that must be accepted."""
    answer = world.http("DELETE", PRESENCE, query=query, token=token)
    assert answer.status == 200, answer
    return answer


def counted(world: World) -> tuple[int, dict[str, int]]:
    """The course's viewers, in total and by chapter."""
    answer = world.get(COUNT)
    assert answer.status == 200, answer
    return answer.body["total"], answer.body["byChapter"]


def listed(world: World, **query: str) -> list[dict[str, Any]]:
    """The course's viewers, as an admin sees them."""
    answer = world.get(VIEWERS, token=world.admin, **query)
    assert answer.status == 200, answer
    return list(answer.body["viewers"])


def ask(
    world: World,
    endpoint: str,
    function: str,
    args: Any,
    token: str | None = None,
    **more: Any,
) -> Answer:
    """A call as the package ``convex`` makes it."""
    call = {"path": function, "format": "convex_encoded_json", "args": [args], **more}
    headers = {"convex-client": "npm-1.48.0"}
    return world.http("POST", f"/api/{endpoint}", body=call, token=token, headers=headers)


def convex(world: World, name: str, token: str | None = None, **args: Any) -> Any:
    """The result of a function of liveViewers."""
    endpoint = "query" if name.startswith("get") else "mutation"
    args.setdefault("courseId", "c1")
    answer = ask(world, endpoint, f"liveViewers:{name}", args, token)
    assert (answer.status, answer.body["status"]) == (200, "success"), answer
    assert answer.body.keys() == {"status", "value", "logLines"}
    return answer.body["value"]


def failed(answer: Answer, *words: str) -> bool:
    """Convex's error format, with a message that has these words."""
    assert answer.body.keys() == {"status", "errorMessage", "logLines"}, answer
    message = answer.body["errorMessage"]
    return (
        answer.status == 560
        and answer.body["status"] == "error"
        and all(word in message for word in words)
    )


# ------------------------------------------------------------------------------------------ viewers


def test_a_viewers_beat_answers_the_count_and_when_to_beat_again(world: World) -> None:
    assert enter(world, userId="ada", chapterId="intro").body == {
        "success": True,
        "courseId": "c1",
        "count": 1,
        "version": 0,
        "leaseSeconds": 60,
        "nextBeatIn": 30,
    }
    enter(world, userId="ben")
    world.settle()
    world.clock.advance(30)
    assert enter(world, userId="ben").body["count"] == 2


def test_viewers_are_counted_in_total_and_by_chapter_at_once(world: World) -> None:
    assert world.get(COUNT).body == {"success": True, "total": 0, "byChapter": {}}
    enter(world, userId="ada", chapterId="intro")
    enter(world, userId="ben", chapterId="intro")
    enter(world, userId="cyd", chapterId="loops")
    enter(world, userId="dan")
    assert world.get(COUNT).body == {
        "success": True,
        "total": 4,
        "byChapter": {"intro": 2, "loops": 1},
    }


def test_three_tabs_are_one_viewer_in_the_chapter_opened_last(world: World) -> None:
    for chapter in ("one", "two", "three"):
        world.clock.advance(1)
        enter(world, userId="ada", chapterId=chapter)
    assert counted(world) == (1, {"three": 1})
    assert len(world.presence_rows()) == 1
    leave(world, userId="ada")
    assert counted(world) == (0, {})


def views(world: World) -> int:
    """The course's views so far."""
    world.settle()
    answer = world.get("/v1/spaces/course:c1", token=world.admin)
    return int(answer.body["views"]["total"])


WHO: list[dict[str, Any]] = [
    {"userId": "ada", "sessionId": "browser", "tabId": "t1"},
    {"userId": "ada", "sessionId": "s1"},
    {"userId": "ada", "tabId": "t1"},
    {"userId": "ada"},
    {"sessionId": "browser", "tabId": "t1"},
    {"sessionId": "browser"},
    {"userId": "ada", "sessionId": "browser", "tabId": "t1", "anonymous": True},
]


@pytest.mark.parametrize("who", WHO)
def test_a_late_leave_of_the_page_before_ends_nothing(world: World, who: dict[str, Any]) -> None:
    enter(world, **who, seq=1)
    enter(world, **who, seq=2)
    assert world.http("DELETE", PRESENCE, body={**who, "seq": 1}).status == 200
    assert counted(world)[0] == 1
    assert views(world) == 1
    leave(world, **{name: str(text) for name, text in who.items() if text is not True}, seq="3")
    assert counted(world)[0] == 0
    enter(world, **who, seq=2)  # was under way
    assert counted(world)[0] == 0
    enter(world, **who, seq=4)
    assert counted(world)[0] == 1


@pytest.mark.parametrize("who", WHO)
def test_a_leave_without_a_number_still_ends_the_stay(world: World, who: dict[str, Any]) -> None:
    enter(world, **who, seq=1)
    enter(world, **who, seq=2)
    assert world.http("DELETE", PRESENCE, body={**who, "tabId": None}).status == 200
    assert counted(world)[0] == 0


@pytest.mark.parametrize("name", ["tabId", "sessionId"])
@pytest.mark.parametrize("numbers", [True, False])
@pytest.mark.parametrize("shards", ["1", "3"])
def test_one_of_two_tabs_may_close(
    engine: Engine, worlds: Worlds, shards: str, numbers: bool, name: str
) -> None:
    world = worlds(engine, ShardsPerSpace=shards)

    def sent(tab: str, seq: int) -> dict[str, Any]:
        return {"userId": "ada", name: tab, **({"seq": seq} if numbers else {})}

    enter(world, **sent("one", 1))
    world.clock.advance(10)
    enter(world, **sent("two", 1))
    assert world.http("DELETE", PRESENCE, body=sent("two", 2)).status == 200
    assert (counted(world)[0], views(world)) == (1, 1)
    world.clock.advance(20)
    enter(world, **sent("one", 2))
    world.clock.advance(40)
    assert (counted(world)[0], views(world)) == (1, 1)
    assert world.http("DELETE", PRESENCE, body=sent("one", 3)).status == 200
    assert (counted(world)[0], views(world)) == (0, 1)


def test_two_tabs_of_a_browser_without_a_user_are_one_viewer(world: World) -> None:
    enter(world, sessionId="browser", tabId="one", seq=1)
    enter(world, sessionId="browser", tabId="two", seq=1)
    leave(world, sessionId="browser", tabId="two", seq="2")
    assert (counted(world)[0], views(world)) == (1, 1)


def test_a_leave_that_overtakes_its_beat_makes_it_stale(memory_world: World) -> None:
    leave(memory_world, userId="ada", sessionId="browser", tabId="one", seq="2")
    assert len(memory_world.presence_rows()) == 1
    enter(memory_world, userId="ada", sessionId="browser", tabId="one", seq=1)
    assert counted(memory_world)[0] == 0


def test_a_tabs_steady_beat_costs_one_write(memory_world: World) -> None:
    tab = {"userId": "ada", "sessionId": "browser", "tabId": "one"}
    enter(memory_world, **tab, seq=1)
    memory_world.settle()
    memory_world.clock.advance(30)
    with memory_world.engine.metered() as meter:
        enter(memory_world, **tab, seq=2)
    assert meter.operations.count("UpdateItem") == 1
    assert "PutItem" not in meter.operations
    assert memory_world.filtered("count") == []


def test_a_chapter_that_is_closed_is_no_chapter(memory_world: World) -> None:
    for nothing in (None, ""):
        enter(memory_world, userId="ada", chapterId="one")
        enter(memory_world, userId="ada", chapterId=nothing)
        assert counted(memory_world) == (1, {})


def test_a_viewer_is_there_for_sixty_seconds_after_the_last_beat(world: World) -> None:
    enter(world, userId="ada", chapterId="intro")
    world.clock.advance(30)
    enter(world, userId="ada", chapterId="intro")
    world.settle()
    world.clock.advance(59.999)
    assert counted(world) == (1, {"intro": 1})
    world.clock.advance(0.001)
    assert counted(world) == (0, {})
    assert listed(world) == []
    world.sweep()
    world.settle()
    assert world.people("course:c1") == 0


def test_a_viewer_who_leaves_is_gone_at_once_and_may_come_back(world: World) -> None:
    enter(world, userId="ada")
    enter(world, userId="ben")
    assert leave(world, userId="ada").body == {"success": True, "courseId": "c1"}
    assert counted(world)[0] == 1
    enter(world, userId="ada")
    assert counted(world)[0] == 2


def test_a_beacon_ends_a_stay_as_delete_does(world: World) -> None:
    enter(world, userId="ada")
    path = "/api/courses/c1/presence/leave"
    answer = world.http("POST", path, query={"userId": "ada"})
    assert answer.body == {"success": True, "courseId": "c1"}
    assert counted(world)[0] == 0


def test_leaving_twice_or_without_having_come_changes_nothing(memory_world: World) -> None:
    enter(memory_world, userId="ada")
    leave(memory_world, userId="nobody")
    leave(memory_world, userId="ben")
    leave(memory_world, userId="ben")
    assert counted(memory_world)[0] == 1


def test_a_leave_may_name_the_viewer_in_its_body(memory_world: World) -> None:
    enter(memory_world, userId="ada")
    assert memory_world.http("DELETE", PRESENCE, body={"userId": "ada"}).status == 200
    assert counted(memory_world)[0] == 0


def test_courses_are_apart_and_listed_together_for_the_course_wide_total(
    memory_world: World,
) -> None:
    enter(memory_world, userId="ada")
    enter(memory_world, userId="ben")
    enter(memory_world, userId="ada", course="c2")
    leave(memory_world, userId="ada")
    assert counted(memory_world)[0] == 1
    memory_world.settle()
    spaces = memory_world.get("/v1/spaces", token=memory_world.admin, kind="course").body["spaces"]
    assert sum(space["people"] for space in spaces) == 2


def test_a_steady_viewer_costs_one_write_and_invokes_nothing(memory_world: World) -> None:
    enter(memory_world, userId="ada", chapterId="intro")
    memory_world.settle()
    memory_world.clock.advance(30)
    enter(memory_world, userId="ada", chapterId="intro")
    assert memory_world.filtered("count") == []


def test_shards_change_no_number(memory: Engine, worlds: Worlds) -> None:
    world = worlds(memory, ShardsPerSpace="3")
    for number in range(9):
        enter(world, userId=f"u{number}", chapterId=f"ch{number % 2}")
        enter(world, userId=f"u{number}", chapterId=f"ch{number % 2}")
    enter(world, sessionId="s1", chapterId="ch1")
    enter(world, sessionId="s1", userId="u0", chapterId="ch0")
    assert counted(world) == (9, {"ch0": 5, "ch1": 4})
    leave(world, userId="u0")
    assert counted(world) == (8, {"ch0": 4, "ch1": 4})
    world.settle()
    assert world.people("course:c1") == 8


# ----------------------------------------------------------------------------------------- identity


def test_viewers_are_listed_with_name_avatar_chapter_and_times(world: World) -> None:
    avatar = "/people/ada.png"
    enter(world, userId="ada", userName="Ada", userAvatar=avatar, chapterId="intro")
    world.clock.advance(30)
    enter(world, userId="ada", userName="Ada", userAvatar=avatar, chapterId="intro")
    enter(world, sessionId="s1", userName="Guest")
    enter(world, userId="ben")
    assert world.get(VIEWERS, token=world.admin).body == {
        "success": True,
        "total": 3,
        "viewers": [
            {
                "userId": "ada",
                "verified": False,
                "name": "Ada",
                "avatar": avatar,
                "chapterId": "intro",
                "joinedAt": NOON,
                "lastSeen": NOON + 30_000,
            },
            {
                "userId": None,
                "verified": False,
                "name": "Guest",
                "avatar": None,
                "chapterId": None,
                "joinedAt": NOON + 30_000,
                "lastSeen": NOON + 30_000,
            },
            {
                "userId": "ben",
                "verified": False,
                "name": None,
                "avatar": None,
                "chapterId": None,
                "joinedAt": NOON + 30_000,
                "lastSeen": NOON + 30_000,
            },
        ],
    }


def test_at_most_twenty_are_listed_and_all_are_counted(memory_world: World) -> None:
    for number in range(25):
        memory_world.clock.advance(0.5)
        enter(memory_world, userId=f"u{number}", userName=f"User {number}")
    answer = memory_world.get(VIEWERS, token=memory_world.admin)
    assert answer.body["total"] == 25
    assert [one["userId"] for one in answer.body["viewers"]] == [f"u{n}" for n in range(20)]
    assert len(listed(memory_world, limit="5")) == 5
    assert len(convex(memory_world, "getActiveViewers", memory_world.admin)) == 20
    assert len(convex(memory_world, "getActiveViewers", memory_world.admin, limit=500)) == 20


@pytest.mark.parametrize("limit", ["0", "21", "-1", "1.5", "many", "", "1" * 5000, "٣"])
def test_an_invalid_limit_is_refused(memory_world: World, limit: str) -> None:
    answer = memory_world.get(VIEWERS, token=memory_world.admin, limit=limit)
    assert (answer.status, answer.body["success"]) == (400, False)
    assert "'limit'" in answer.body["error"]


def test_a_token_says_who_is_viewing(memory_world: World) -> None:
    token = memory_world.token(sub="ada", name="Ada", picture="https://example.test/a.png")
    enter(memory_world, token, userName="Not Ada", chapterId="intro")
    (viewer,) = listed(memory_world)
    assert (viewer["userId"], viewer["name"]) == ("ada", "Ada")
    assert viewer["avatar"] == "https://example.test/a.png"
    leave(memory_world, token)
    assert counted(memory_world)[0] == 0


def test_a_token_without_a_name_leaves_it_to_the_arguments(memory_world: World) -> None:
    enter(memory_world, memory_world.token(sub="ada"), userName="Ada", userAvatar="/a.png")
    (viewer,) = listed(memory_world)
    assert (viewer["name"], viewer["avatar"]) == ("Ada", "/a.png")


def test_a_token_with_too_long_claims_is_accepted(memory_world: World) -> None:
    token = memory_world.token(sub="ada", name="ä" * 99, picture="https://x.test/" + "a" * 300)
    enter(memory_world, token)
    (viewer,) = listed(memory_world)
    assert (viewer["name"], viewer["avatar"]) == ("ä" * 50, None)


@pytest.mark.parametrize("bad", ["A\nda", "\x00", "Ada\x9b"])
def test_a_token_with_claims_that_are_no_text_is_accepted_and_they_are_not_shown(
    memory_world: World, bad: str
) -> None:
    enter(memory_world, memory_world.token(sub="ada", name=bad, picture=bad))
    (viewer,) = listed(memory_world)
    assert (viewer["userId"], viewer["name"], viewer["avatar"]) == ("ada", None, None)


def test_a_token_with_a_picture_that_does_not_fit_is_accepted(memory_world: World) -> None:
    largest = {"sub": "u" * 128, "name": "n" * 200, "picture": "/" + "p" * 299}
    enter(memory_world, memory_world.token(**largest), sessionId="s" * 128, chapterId="c" * 64)
    (viewer,) = listed(memory_world)
    assert (viewer["userId"], viewer["name"]) == ("u" * 128, "n" * 100)
    assert viewer["avatar"] is None


def test_a_user_must_not_act_for_another(memory_world: World) -> None:
    token = memory_world.token(sub="ada")
    for method in ("POST", "DELETE"):
        answer = memory_world.http(method, PRESENCE, body={"userId": "ben"}, token=token)
        assert (answer.status, answer.body["success"]) == (403, False)
    assert memory_world.presence_rows() == []


def test_an_admin_acts_for_anyone_and_by_default_for_themselves(memory_world: World) -> None:
    boss = memory_world.token(sub="boss", name="Boss", headcount="admin")
    enter(memory_world, boss, userId="ada", userName="Ada")
    enter(memory_world, boss)
    viewers = listed(memory_world)
    assert {(one["userId"], one["name"]) for one in viewers} == {("ada", "Ada"), ("boss", "Boss")}
    leave(memory_world, boss, userId="ada")
    leave(memory_world, boss)
    assert counted(memory_world)[0] == 0


def test_only_they_and_admins_end_or_rename_a_verified_viewer(
    memory_world: World,
) -> None:
    token = memory_world.token(sub="ada", name="Ada")
    enter(memory_world, token, chapterId="intro")
    enter(memory_world, userId="ada", userName="Mallory")
    assert {one["name"]: one["verified"] for one in listed(memory_world)} == {
        "Ada": True,
        "Mallory": False,
    }
    assert counted(memory_world)[0] == 2, "else the stranger would see that Ada is here"
    leave(memory_world, userId="ada")
    leave(memory_world, "no-token", userId="ada")
    assert [one["name"] for one in listed(memory_world)] == ["Ada"]
    leave(memory_world, memory_world.admin, userId="ada")
    assert counted(memory_world)[0] == 0


def test_a_viewer_verified_later_is_still_one_viewer(memory_world: World) -> None:
    token = memory_world.token(sub="ada")
    enter(memory_world, userId="ada", sessionId="browser", chapterId="one")
    memory_world.clock.advance(1)
    enter(memory_world, token, sessionId="other browser", chapterId="two")
    assert counted(memory_world) == (2, {"one": 1, "two": 1})
    enter(memory_world, token, sessionId="browser", chapterId="three")
    assert counted(memory_world) == (1, {"three": 1})
    assert len(listed(memory_world)) == 1
    leave(memory_world, token)
    assert counted(memory_world)[0] == 0


def test_a_viewer_who_signs_in_is_no_second_viewer(world: World) -> None:
    enter(world, sessionId="s1")
    enter(world, sessionId="s1", userId="ada")
    assert counted(world)[0] == 1
    assert [one["userId"] for one in listed(world)] == ["ada"]
    leave(world, sessionId="s1", userId="ada")
    assert counted(world)[0] == 0


def test_a_private_viewer_is_counted_and_not_named(world: World) -> None:
    enter(world, userId="ada", userName="Ada", userAvatar="/a.png", chapterId="intro")
    enter(world, userId="ada", userName="Ada", userAvatar="/a.png", chapterId="in", anonymous=True)
    assert counted(world) == (1, {"in": 1})
    (viewer,) = listed(world)
    assert (viewer["userId"], viewer["name"], viewer["avatar"]) == (None, None, None)
    assert viewer["chapterId"] == "in"
    (row,) = (one for one in world.presence_rows() if one["kind"] == "join")
    assert not {"user", "name", "avatar"} & row.keys()
    assert "ada" not in str(row)
    leave(world, userId="ada")
    assert counted(world)[0] == 0


@pytest.mark.parametrize("ids", [{}, {"sessionId": "hers"}], ids=["user", "browser"])
@pytest.mark.parametrize("his", [{}, {"sessionId": "his"}], ids=["his-user", "his-browser"])
def test_claiming_the_id_of_a_private_viewer_does_not_show_that_they_are_here(
    memory_world: World, ids: dict[str, str], his: dict[str, str]
) -> None:
    world = memory_world
    enter(world, userId="ada", anonymous=True, chapterId="hers", **ids)
    enter(world, userId="ada", chapterId="his", **his)
    assert counted(world) == (2, {"hers": 1, "his": 1})
    leave(world, userId="ada", **his)
    if ids:
        assert counted(world) == (1, {"hers": 1})
        enter(world, userId="ada", anonymous=True, chapterId="his", **his)
        assert counted(world) == (2, {"hers": 1, "his": 1}), "not even by claiming it in private"
        enter(world, userId="ada", chapterId="public", **ids)
        enter(world, userId="ada", anonymous=True, chapterId="hers", **ids)
        assert "public" not in counted(world)[1], "privacy ends what was shown before"


def test_a_private_viewer_is_not_the_same_stranger_in_two_courses(memory_world: World) -> None:
    enter(memory_world, userId="ada", anonymous=True)
    enter(memory_world, userId="ada", anonymous=True, course="c2")
    first, second = memory_world.presence_rows()
    assert first["visitor"] != second["visitor"]
    assert first["session"] != second["session"]


def test_a_proven_viewer_may_view_in_private_too(memory_world: World) -> None:
    token = memory_world.token(sub="ada", name="Ada", picture="/a.png")
    enter(memory_world, token, anonymous=True)
    assert "ada" not in str(memory_world.presence_rows()).lower()
    leave(memory_world, userId="ada")
    assert counted(memory_world)[0] == 1, "only Ada's token ends it"
    leave(memory_world, token)
    assert counted(memory_world)[0] == 0


def test_a_day_counts_a_viewer_once_over_all_their_visits(memory_world: World) -> None:
    enter(memory_world, sessionId="s1")
    enter(memory_world, sessionId="s1", userId="ada")
    memory_world.settle()
    leave(memory_world, userId="ada")
    enter(memory_world, userId="ada")
    memory_world.settle()
    days = memory_world.get("/v1/spaces/course:c1/days", token=memory_world.admin).body["days"]
    assert [day["uniquePeople"] for day in days] == [1]


# ------------------------------------------------------------------------------------------- access


@pytest.mark.parametrize("token", [None, "nonsense"])
def test_the_list_of_names_is_for_admins(memory_world: World, token: str | None) -> None:
    answer = memory_world.get(VIEWERS, token=token)
    assert (answer.status, answer.body["success"]) == (401, False)
    assert failed(ask(memory_world, "query", LIST, {"courseId": "c1"}, token), "token")
    user = memory_world.token(sub="ada")
    assert memory_world.get(VIEWERS, token=user).status == 403
    assert failed(ask(memory_world, "query", LIST, {"courseId": "c1"}, user), "admin")


LIST = "liveViewers:getActiveViewers"


@pytest.mark.parametrize(
    ("names", "anyone", "user"), [("admin", 401, 403), ("users", 401, 200), ("public", 200, 200)]
)
def test_a_kind_may_make_its_names_public(
    memory: Engine, worlds: Worlds, names: str, anyone: int, user: int
) -> None:
    world = worlds(memory, Kinds=f"course:counts=public,names={names}")
    assert world.get(VIEWERS).status == anyone
    assert world.get(VIEWERS, token=world.token(sub="ada")).status == user
    assert world.get(VIEWERS, token=world.admin).status == 200


def test_counts_are_for_admins_where_the_kind_says_so(memory: Engine, worlds: Worlds) -> None:
    world = worlds(memory, Kinds="course:counts=admin")
    assert world.get(COUNT).status == 401
    assert failed(ask(world, "query", "liveViewers:getLiveViewerCount", {"courseId": "c1"}))
    answer = world.get(COUNT, token=world.admin)
    assert (answer.status, answer.headers["cache-control"]) == (200, "no-store")


def test_public_counts_may_be_shared_for_a_second_but_not_cached_by_browsers(
    memory_world: World,
) -> None:
    assert memory_world.get(COUNT).headers["cache-control"] == "public, max-age=0, s-maxage=1"


def test_a_foreign_bearer_token_is_anonymous_on_open_routes(memory_world: World) -> None:
    enter(memory_world, "nonsense", userId="ada")
    convex(memory_world, "recordPresence", "nonsense", userId="ben")
    assert convex(memory_world, "getLiveViewerCount", "nonsense")["total"] == 2


def test_where_users_must_be_proven_a_claim_is_refused(memory: Engine, worlds: Worlds) -> None:
    world = worlds(memory, RequireVerifiedUsers="true")
    for method in ("POST", "DELETE"):
        answer = world.http(method, PRESENCE, body={"userId": "ada"})
        assert (answer.status, answer.body["success"]) == (401, False)
    for name in ("recordPresence", "removePresence"):
        fields = {"courseId": "c1", "userId": "ada"}
        assert failed(ask(world, "mutation", f"liveViewers:{name}", fields), "userId", "token")
    assert world.presence_rows() == []
    enter(world, world.token(sub="ada"))
    enter(world, sessionId="s1")
    assert counted(world)[0] == 2


# ------------------------------------------------------------------------------------- bad requests


@pytest.mark.parametrize(
    ("fields", "error"),
    [
        ({}, "userId"),
        ({"anonymous": True}, "userId"),
        ({"userId": 7}, "userId"),
        ({"userId": ""}, "userId"),
        ({"userId": "u" * 129}, "userId"),
        ({"userId": "a\nb"}, "userId"),
        ({"userId": "u", "userName": ["Ada"]}, "userName"),
        ({"userId": "u", "userAvatar": 1}, "userAvatar"),
        ({"sessionId": {}}, "sessionId"),
        ({"sessionId": "s" * 129}, "sessionId"),
        ({"sessionId": "~s"}, "sessionId must not begin with '~'"),
        ({"userId": "u", "chapterId": 3}, "chapterId"),
        ({"userId": "u", "anonymous": "yes"}, "anonymous"),
        ({"userId": "u", "tabId": 7}, "tabId must be a string."),
        ({"userId": "u", "tabId": ""}, "tabId must not be empty."),
        ({"userId": "u", "seq": "1"}, "seq must be a whole number."),
        ({"userId": "u", "seq": -1}, "seq must be 0 or more."),
        ([], "JSON object"),
        ("text", "JSON"),
    ],
)
def test_a_wrong_field_is_named_and_nothing_is_stored(
    memory_world: World, fields: Any, error: str
) -> None:
    answer = memory_world.http("POST", PRESENCE, body=fields)
    assert (answer.status, answer.body["success"]) == (400, False)
    assert error in answer.body["error"]
    if isinstance(fields, dict):
        assert failed(
            ask(
                memory_world, "mutation", "liveViewers:recordPresence", {**fields, "courseId": "c1"}
            ),
            error,
        )
    assert memory_world.presence_rows() == []


@pytest.mark.parametrize("seq", ["-1", "x", "1.5", "9" * 20])
def test_a_leave_with_a_number_that_is_none_is_refused(memory_world: World, seq: str) -> None:
    answer = memory_world.http("DELETE", PRESENCE, query={"userId": "ada", "seq": seq})
    assert (answer.status, answer.body["success"]) == (400, False)
    assert "seq" in answer.body["error"]


@pytest.mark.parametrize("fields", [{}, {"userId": 7}, [1]])
def test_a_leave_without_a_viewer_is_refused(memory_world: World, fields: Any) -> None:
    answer = memory_world.http("DELETE", PRESENCE, body=fields)
    assert (answer.status, answer.body["success"]) == (400, False)


@pytest.mark.parametrize("course", ["a b", "a%", "ä", "c" * 129, "<b>"])
def test_a_course_id_that_no_space_may_have_is_refused(memory_world: World, course: str) -> None:
    answer = memory_world.http("POST", f"/api/courses/{course}/presence", body={"userId": "ada"})
    assert answer.status == 400
    assert "courseId" in answer.body["error"]
    fields = {"courseId": course, "userId": "ada"}
    assert failed(ask(memory_world, "mutation", "liveViewers:recordPresence", fields), "courseId")


@pytest.mark.parametrize(
    ("method", "path"), [("GET", PRESENCE), ("POST", COUNT), ("DELETE", VIEWERS), ("PUT", VIEWERS)]
)
def test_other_methods_are_refused(memory_world: World, method: str, path: str) -> None:
    answer = memory_world.http(method, path, token=memory_world.admin)
    assert answer.status == 405
    assert answer.headers["allow"]


def test_a_leave_with_a_body_that_is_too_large_is_refused_as_documented(
    memory_world: World,
) -> None:
    answer = memory_world.http("DELETE", PRESENCE, body={"userId": "u" * 17_000})
    assert answer.status == 413
    assert not answer.body["success"]
    document = memory_world.get("/openapi.json").body
    assert "413" in document["paths"]["/api/courses/{course}/presence"]["delete"]["responses"]


# -------------------------------------------------------------------------------- Convex's protocol


def test_the_four_functions_work_as_the_badge_calls_them(world: World) -> None:
    assert convex(world, "getLiveViewerCount") == {"total": 0, "byChapter": {}}
    avatar = "/a.png"
    fields = {"userId": "ada", "userName": "Ada", "userAvatar": avatar, "chapterId": "intro"}
    assert convex(world, "recordPresence", **fields) is None
    assert convex(world, "getLiveViewerCount") == {"total": 1, "byChapter": {"intro": 1}}
    assert convex(world, "getActiveViewers", world.admin) == [
        {
            "userId": "ada",
            "verified": False,
            "name": "Ada",
            "avatar": avatar,
            "chapterId": "intro",
            "joinedAt": NOON,
            "lastSeen": NOON,
        }
    ]
    world.clock.advance(60)
    assert convex(world, "getLiveViewerCount") == {"total": 0, "byChapter": {}}
    convex(world, "recordPresence", **fields)
    assert convex(world, "removePresence", userId="ada") is None
    assert convex(world, "getLiveViewerCount") == {"total": 0, "byChapter": {}}


def test_convexs_calls_name_and_number_tabs_too(world: World) -> None:
    one, two = {"userId": "ada", "tabId": "one"}, {"userId": "ada", "tabId": "two"}
    convex(world, "recordPresence", **one, seq=1)
    convex(world, "recordPresence", **two, seq=1)
    convex(world, "removePresence", **two, seq=2)
    convex(world, "recordPresence", **one, seq=3)
    convex(world, "removePresence", **one, seq=2)
    assert convex(world, "getLiveViewerCount")["total"] == 1
    convex(world, "removePresence", userId="ada")
    assert convex(world, "getLiveViewerCount")["total"] == 0


def test_rest_and_convex_have_the_same_viewers(memory_world: World) -> None:
    enter(memory_world, userId="ada", chapterId="one")
    convex(memory_world, "recordPresence", userId="ada", chapterId="two")
    assert counted(memory_world) == (1, {"two": 1})
    convex(memory_world, "removePresence", userId="ada")
    assert counted(memory_world)[0] == 0


def test_a_caller_with_setauth_is_the_tokens_user(memory_world: World) -> None:
    token = memory_world.token(sub="ada", name="Ada")
    convex(memory_world, "recordPresence", token)
    assert [one["name"] for one in listed(memory_world)] == ["Ada"]
    convex(memory_world, "removePresence", token)
    assert counted(memory_world)[0] == 0


def encoded(value: float) -> dict[str, str]:
    """A number that JSON can't represent, as the client encodes it."""
    if isinstance(value, int):
        return {"$integer": base64.b64encode(value.to_bytes(8, "little", signed=True)).decode()}
    return {"$float": base64.b64encode(struct.pack("<d", value)).decode()}


def test_a_bigint_is_a_number(memory_world: World) -> None:
    for number in range(7):
        enter(memory_world, userId=f"u{number}")
    assert encoded(5) == {"$integer": "BQAAAAAAAAA="}
    for limit in (5, encoded(5)):
        assert len(convex(memory_world, "getActiveViewers", memory_world.admin, limit=limit)) == 5


@pytest.mark.parametrize(
    "limit",
    [
        0,
        -1,
        2.5,
        "5",
        True,
        encoded(-0.0),
        encoded(float("nan")),
        encoded(float("inf")),
        encoded(-3),
        {"$integer": "BQ=="},
        {"$integer": 5},
        {"$float": "AAA="},
        {"$bytes": "%"},
        {"$bytes": "AQI="},
        {"$other": 1},
    ],
)
def test_a_limit_that_is_no_number_from_one_on_is_refused(memory_world: World, limit: Any) -> None:
    fields = {"courseId": "c1", "limit": limit}
    assert failed(ask(memory_world, "query", LIST, fields, memory_world.admin), "limit")


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("limit", "limit"),
        ("\ud800", "An argument"),
        ("é", "An argument"),
        ("x" * 99, "An argument"),
    ],
)
def test_a_badly_encoded_argument_is_named_where_its_name_can_be_sent(
    memory_world: World, name: str, shown: str
) -> None:
    fields = {"courseId": "c1", name: {"$integer": "BQ=="}}
    answer = ask(memory_world, "query", "liveViewers:getLiveViewerCount", fields)
    assert failed(answer, f"{shown} is not encoded in Convex's format.")
    assert answer.body["errorMessage"].isascii()


def test_arguments_may_come_unwrapped_and_as_plain_json(memory_world: World) -> None:
    fields = {"courseId": "c1", "userId": "ada"}
    name = "liveViewers:recordPresence"
    for call in (
        {"path": name, "args": fields},
        {"path": name, "args": fields, "format": "json"},
        {"path": "liveViewers.js:recordPresence", "args": [fields], "format": "json"},
    ):
        answer = memory_world.http("POST", "/api/mutation", body=call)
        assert answer.body == {"status": "success", "value": None, "logLines": []}, call
    assert counted(memory_world)[0] == 1


def test_a_consistent_query_asks_for_a_moment_first(memory_world: World) -> None:
    enter(memory_world, userId="ada")
    asked = memory_world.http("POST", "/api/query_ts")
    assert asked.status == 200
    assert len(base64.b64decode(asked.body["ts"], validate=True)) == 8
    answer = ask(
        memory_world,
        "query_at_ts",
        "liveViewers:getLiveViewerCount",
        {"courseId": "c1"},
        ts=asked.body["ts"],
    )
    assert answer.body["value"] == {"total": 1, "byChapter": {}}


def test_a_client_whose_url_ends_with_a_slash_is_understood(memory_world: World) -> None:
    call = {"path": "liveViewers:getLiveViewerCount", "args": [{"courseId": "c1"}]}
    answer = memory_world.http("POST", "//api/query", body=call)
    assert answer.body["value"] == {"total": 0, "byChapter": {}}


@pytest.mark.parametrize("chapter", ["größe", "$first", "a\u2028b"])
def test_a_chapter_the_client_could_not_read_is_refused_or_shown_as_other(
    memory_world: World, chapter: str
) -> None:
    fields = {"courseId": "c1", "userId": "ada", "chapterId": chapter}
    answer = ask(memory_world, "mutation", "liveViewers:recordPresence", fields)
    assert failed(answer, "chapterId")
    enter(memory_world, userId="ada", chapterId=chapter)
    enter(memory_world, userId="ben", chapterId="é")
    enter(memory_world, userId="cyd", chapterId="ok")
    assert convex(memory_world, "getLiveViewerCount") == {
        "total": 3,
        "byChapter": {"other": 2, "ok": 1},
    }


def test_an_unknown_function_is_named(memory_world: World) -> None:
    for name in ("liveViewers:getMood", "liveViewers:cleanupExpiredViewers", "other:f", "x"):
        answer = ask(memory_world, "query", name, {})
        assert failed(answer, f"'{name}'", "liveViewers:recordPresence")


@pytest.mark.parametrize(
    ("endpoint", "name", "kind"),
    [
        ("mutation", "getLiveViewerCount", "Query"),
        ("query", "recordPresence", "Mutation"),
        ("query_at_ts", "removePresence", "Mutation"),
        ("action", "recordPresence", "Mutation"),
        ("action", "getActiveViewers", "Query"),
    ],
)
def test_a_function_is_called_by_its_own_type(
    memory_world: World, endpoint: str, name: str, kind: str
) -> None:
    answer = ask(memory_world, endpoint, f"liveViewers:{name}", {"courseId": "c1", "userId": "u"})
    assert failed(answer, f"defined as {kind}")
    assert memory_world.presence_rows() == []


def test_all_wrong_arguments_are_named_together(memory_world: World) -> None:
    answer = ask(memory_world, "mutation", "liveViewers:recordPresence", {"userId": 7})
    assert failed(answer, "courseId is missing", "userId must be a string")


@pytest.mark.parametrize(
    "call",
    [
        None,
        "{",
        [],
        {},
        {"path": 7, "args": [{}]},
        {"path": "p" * 201, "args": [{}]},
        {"path": LIST, "args": [{}, {}]},
        {"path": LIST, "args": ["c1"]},
        {"path": LIST, "args": "c1"},
        {"path": LIST, "args": [{}], "format": "xml"},
        {"path": LIST, "args": []},
        {"path": LIST},
    ],
)
def test_an_invalid_call_is_refused_in_the_clients_shape(memory_world: World, call: Any) -> None:
    for endpoint in ("query", "mutation", "action", "query_at_ts"):
        assert failed(memory_world.http("POST", f"/api/{endpoint}", body=call))


def test_convexs_endpoints_accept_only_post(memory_world: World) -> None:
    for endpoint in ("query", "mutation", "action", "query_ts", "query_at_ts"):
        answer = memory_world.get(f"/api/{endpoint}")
        assert (answer.status, answer.headers["allow"]) == (405, "POST")
        assert answer.body["status"] == "error"


def test_an_internal_error_reveals_no_details(
    memory_world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise RuntimeError("secret")

    monkeypatch.setattr("headcount.systems.course_viewers.record", fail)
    run: Callable[..., Answer] = ask
    answer = run(
        memory_world, "mutation", "liveViewers:recordPresence", {"courseId": "c1", "userId": "u"}
    )
    assert failed(answer, "Something went wrong")
    assert "secret" not in str(answer)


# ----------------------------------------------------------------- functions by path, of any kind


RECORD_PATH = "liveViewers:recordPresence"


def _run(world: World, path: str, body: object) -> Answer:
    return world.http("POST", path, body=body)


def test_a_function_runs_by_its_path_and_by_its_name_of_any_kind(memory_world: World) -> None:
    args = {"courseId": "c1", "userId": "ada", "chapterId": "ch1"}
    for path, body in (
        ("/api/run/liveViewers/recordPresence", {"args": args, "format": "json"}),
        (
            "/api/function",
            {"componentPath": None, "path": "liveViewers:recordPresence", "args": [args]},
        ),
    ):
        assert _run(memory_world, path, body).body == {
            "status": "success",
            "value": None,
            "logLines": [],
        }
    memory_world.settle()
    asked = {"courseId": "c1"}
    for path, body in (
        ("/api/run/liveViewers/getLiveViewerCount", {"args": asked}),
        ("/api/run/liveViewers.js/getLiveViewerCount", {"args": asked}),
        ("/api/function", {"path": "liveViewers:getLiveViewerCount", "args": asked}),
    ):
        answer = _run(memory_world, path, body)
        assert answer.body["value"] == {"total": 1, "byChapter": {"ch1": 1}}, answer


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/api/run/liveViewers/getMoods", {"args": {}}),
        ("/api/run/liveViewers/getLiveViewerCount", {"args": {}}),
        ("/api/run/liveViewers/getLiveViewerCount", {"args": 1}),
        ("/api/function", {"path": "liveViewers:getMoods", "args": {}}),
        (
            "/api/function",
            {"path": "liveViewers:getLiveViewerCount", "args": {}, "componentPath": "x"},
        ),
        ("/api/query", {"path": "liveViewers:recordPresence", "args": {}}),
        ("/api/mutation", {"path": "liveViewers:getLiveViewerCount", "args": {}}),
        ("/api/action", {"path": "liveViewers:getLiveViewerCount", "args": {}}),
    ],
)
def test_other_functions_and_kinds_are_refused_as_convex_does(
    memory_world: World, path: str, body: object
) -> None:
    answer = _run(memory_world, path, body)
    assert (answer.status, answer.body["status"]) == (560, "error")
    assert answer.body["errorMessage"]
    assert answer.body["logLines"] == []
    assert _run(memory_world, path, body).status == 560
    assert memory_world.get(path).status == 405


@pytest.mark.parametrize("path", ["/api/run/getMoods", "/api/run/a/b/getMoods", "/api/run"])
def test_a_path_that_names_no_function_is_not_found(memory_world: World, path: str) -> None:
    answer = _run(memory_world, path, {"args": {}})
    assert (answer.status, answer.body["status"]) == (404, "error")
