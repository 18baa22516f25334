"""Live activity: the old system's requests, through the real handlers."""

from __future__ import annotations

from typing import Any

import pytest
from headcount.model.beat import SOURCES
from headcount.model.tally import MAX_VALUES
from headcount.systems import live_activity
from headcount.usecases import read as reading
from headcount.usecases.cleanup import DAYS_OF_BEATS

from lab.harness.clock import NOON
from lab.harness.engines import Engine
from lab.harness.sizes import item_size
from lab.harness.world import Answer, World
from tests.conftest import Worlds

PATH = "/api/analytics/live-activity"
SPACE = "activity:main"
MINUTE = 60_000

PHONE = "Mozilla/5.0 (iPhone; CPU iPhone OS 17_0 like Mac OS X) AppleWebKit/605.1.15 Mobile/15E148"
TABLET = "Mozilla/5.0 (iPad; CPU OS 16_0 like Mac OS X) AppleWebKit/605.1.15 Version/16.0"
DESKTOP = "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 Chrome/131.0 Safari/537.36"

EXAMPLE = {
    "userId": "user_abc123",
    "sessionId": "session_xyz789",
    "activityType": "watching",
    "contentId": "12345",
    "contentTitle": "Example Movie",
    "contentType": "movie",
    "seasonNumber": 1,
    "episodeNumber": 1,
    "currentPosition": 1800,
    "duration": 3600,
    "quality": "1080p",
    "country": "US",
}
EXAMPLE_ID = "live_user_abc123_session_xyz789"
ME = {"userId": "u1", "sessionId": "s1"}
BROWSING = {**ME, "activityType": "browsing"}
WATCHING = {**ME, "activityType": "watching", "contentId": "film"}


def send(world: World, body: object, agent: str = DESKTOP, **more: Any) -> Answer:
    """Send a heartbeat; it may be refused."""
    headers = {"user-agent": agent, **more.pop("headers", {})}
    return world.http("POST", PATH, body=body, headers=headers, **more)


def beat(world: World, fields: dict[str, Any], agent: str = DESKTOP, **more: Any) -> str:
    """A heartbeat that must be accepted; the activity's id."""
    answer = send(world, fields, agent, **more)
    assert answer.status == 200, answer
    return str(answer.body["activityId"])


def read(world: World, **query: str) -> Any:
    """The list, as an admin gets it."""
    answer = world.get(PATH, token=world.admin, **query)
    assert answer.status == 200, answer
    assert answer.body["success"] is True
    return answer.body


def users(world: World, **query: str) -> list[str]:
    """The listed users, in order."""
    return [activity["userId"] for activity in read(world, **query)["activities"]]


def only(world: World) -> Any:
    """The only activity."""
    (activity,) = read(world)["activities"]
    return activity


def end(world: World, id_: str, **more: str) -> Answer:
    return world.http("DELETE", PATH, query={"id": id_, **more})


def refused(world: World, answer: Answer, *words: str, status: int = 400) -> None:
    """A clear message, and nothing stored."""
    assert answer.status == status, answer
    assert answer.body["success"] is False
    assert len(answer.body["error"].split()) > 3
    for word in words:
        assert word in answer.body["error"], answer.body
    assert world.presence_rows() == []


# -------------------------------------------------------------------------- the document's examples


def test_the_documents_heartbeat_is_answered_with_the_activitys_id(world: World) -> None:
    answer = send(world, EXAMPLE)
    assert (answer.status, answer.body) == (200, {"success": True, "activityId": EXAMPLE_ID})


def test_the_documents_heartbeat_is_listed_with_every_column_of_its_table(world: World) -> None:
    beat(world, EXAMPLE)
    world.clock.advance(30)
    beat(world, EXAMPLE)
    assert read(world) == {
        "success": True,
        "activities": [
            {
                **EXAMPLE,
                "id": EXAMPLE_ID,
                "verified": False,
                "deviceType": "desktop",
                "startedAt": NOON,
                "lastHeartbeat": NOON + 30_000,
                "isActive": True,
                "createdAt": NOON,
                "updatedAt": NOON + 30_000,
            }
        ],
        "stats": {
            "totalActive": 1,
            "watching": 1,
            "browsing": 0,
            "byDevice": {"desktop": 1},
            "byCountry": {"US": 1},
            "topContent": [
                {
                    "contentId": "12345",
                    "contentTitle": "Example Movie",
                    "contentType": "movie",
                    "count": 1,
                }
            ],
        },
    }


def test_the_documents_logout_ends_the_activity(world: World) -> None:
    id_ = beat(world, EXAMPLE)
    answer = end(world, id_)
    assert (answer.status, answer.body) == (200, {"success": True})
    assert read(world)["activities"] == []


def test_without_users_the_list_is_empty_and_the_stats_are_zero(world: World) -> None:
    assert read(world) == {
        "success": True,
        "activities": [],
        "stats": {
            "totalActive": 0,
            "watching": 0,
            "browsing": 0,
            "byDevice": {},
            "byCountry": {},
            "topContent": [],
        },
    }


@pytest.mark.parametrize("shards", ["1", "3"])
def test_the_stats_count_sessions_by_activity_device_country_and_content(
    engine: Engine, worlds: Worlds, shards: str
) -> None:
    world = worlds(engine, ShardsPerSpace=shards)
    audience = [
        ("a", "watching", "x", "US", DESKTOP),
        ("b", "watching", "x", "US", PHONE),
        ("c", "watching", "x", "UK", PHONE),
        ("d", "watching", "y", "CA", TABLET),
        ("e", "browsing", None, "US", DESKTOP),
        ("f", "browsing", None, None, DESKTOP),
    ]
    for user, doing, content, country, agent in audience:
        fields = {"userId": user, "sessionId": f"s_{user}", "activityType": doing}
        film = {"contentId": content, "contentTitle": f"Film {content}", "contentType": "movie"}
        beat(world, {**fields, **film, "country": country}, agent)
    stats = read(world)["stats"]
    assert stats == {
        "totalActive": 6,
        "watching": 4,
        "browsing": 2,
        "byDevice": {"desktop": 3, "mobile": 2, "tablet": 1},
        "byCountry": {"US": 3, "UK": 1, "CA": 1},
        "topContent": [
            {"contentId": "x", "contentTitle": "Film x", "contentType": "movie", "count": 3},
            {"contentId": "y", "contentTitle": "Film y", "contentType": "movie", "count": 1},
        ],
    }
    assert end(world, "live_c_s_c").status == 200
    assert read(world)["stats"]["totalActive"] == 5
    world.settle()
    assert world.headcount(SPACE)["sessions"] == 5


# --------------------------------------------------------------------------------------- heartbeats


def test_browsing_has_no_content(memory_world: World) -> None:
    beat(memory_world, {**EXAMPLE, "activityType": "browsing"})
    shown = only(memory_world)
    content = ("contentId", "contentTitle", "contentType", "seasonNumber", "episodeNumber")
    assert [shown[name] for name in (*content, "quality")] == [None] * 6
    assert (shown["currentPosition"], shown["duration"]) == (0, 0)
    assert (shown["deviceType"], shown["country"]) == ("desktop", "US")
    assert read(memory_world)["stats"]["topContent"] == []


def test_a_user_who_stops_watching_has_no_content(world: World) -> None:
    beat(world, {**WATCHING, "contentTitle": "Film", "currentPosition": 60, "quality": "4k"})
    world.clock.advance(5)
    beat(world, BROWSING)
    shown = only(world)
    assert (shown["activityType"], shown["startedAt"]) == ("browsing", NOON)
    assert [shown["contentId"], shown["contentTitle"], shown["quality"]] == [None] * 3
    assert shown["currentPosition"] == 0
    assert read(world)["stats"]["watching"] == 0


def test_the_next_content_does_not_keep_the_last_ones_title(memory_world: World) -> None:
    beat(
        memory_world, {**WATCHING, "contentTitle": "One", "seasonNumber": 2, "currentPosition": 60}
    )
    beat(memory_world, {**WATCHING, "contentId": "two"})
    shown = only(memory_world)
    assert (shown["contentId"], shown["contentTitle"], shown["seasonNumber"]) == ("two", None, None)
    assert shown["currentPosition"] == 0


def test_progress_is_a_steady_beat_that_invokes_nothing(world: World) -> None:
    film = {**WATCHING, "contentTitle": "Film", "duration": 3600}
    beat(world, {**film, "currentPosition": 0})
    world.settle()
    for position in (5, 10, 15):
        world.clock.advance(5)
        with world.engine.metered() as meter:
            beat(world, {**film, "currentPosition": position})
        assert "UpdateItem" in meter.operations
        assert not {"PutItem", "Query", "TransactWriteItems"} & set(meter.operations)
        assert only(world)["currentPosition"] == position
    assert world.filtered("count") == []


@pytest.mark.parametrize(
    ("sent", "kept"), [(1800.5, 1801), (1800.4, 1800), (0, 0), (0.4, 0), (59.5, 60), (2**31, 2**31)]
)
def test_positions_are_rounded_to_whole_seconds(
    memory_world: World, sent: float, kept: int
) -> None:
    beat(memory_world, {**WATCHING, "currentPosition": sent, "duration": sent})
    shown = only(memory_world)
    assert (shown["currentPosition"], shown["duration"]) == (kept, kept)
    assert isinstance(shown["currentPosition"], int)


def test_null_and_empty_fields_count_as_absent(memory_world: World) -> None:
    optional = set(EXAMPLE) - {"userId", "sessionId", "activityType"}
    numbers = {"seasonNumber", "episodeNumber", "currentPosition", "duration"}
    beat(memory_world, {**BROWSING, "activityType": "watching"} | dict.fromkeys(optional))
    nothing = only(memory_world)
    beat(
        memory_world,
        {**BROWSING, "activityType": "watching"} | dict.fromkeys(optional - numbers, ""),
    )
    assert only(memory_world) == nothing
    assert [nothing[name] for name in optional - {"currentPosition", "duration"}] == [None] * 7
    assert read(memory_world)["stats"]["byCountry"] == {}
    assert read(memory_world)["stats"]["watching"] == 1


def test_the_device_comes_from_the_user_agent_and_not_from_the_body(memory_world: World) -> None:
    for agent, device in [
        (PHONE, "mobile"),
        (TABLET, "tablet"),
        (DESKTOP, "desktop"),
        ("curl/8.5.0", "desktop"),
        ("", "desktop"),
    ]:
        beat(memory_world, {**BROWSING, "deviceType": "toaster", "device": "toaster"}, agent)
        assert only(memory_world)["deviceType"] == device
        assert read(memory_world)["stats"]["byDevice"] == {device: 1}


def test_the_country_is_the_bodys_or_else_the_edges_or_else_absent(memory_world: World) -> None:
    edge = {"cloudfront-viewer-country": "DE"}
    for fields, headers, country in [
        ({"country": "us"}, edge, "US"),
        ({}, edge, "DE"),
        ({"country": ""}, edge, "DE"),
        ({"country": "UK"}, {}, "UK"),
        ({}, {}, None),
    ]:
        beat(memory_world, {**BROWSING, **fields}, headers=headers)
        assert only(memory_world)["country"] == country


def test_custom_fields_become_facets_of_their_names(world: World) -> None:
    custom = {"variant": "B", "cohort": 3, "premium": True, "trial": False, "page": "/home"}
    beat(world, {**BROWSING, **custom})
    world.settle()
    facets = world.headcount(SPACE)["facets"]
    values = {name: [value["value"] for value in facets[name]] for name in custom}
    assert values == {
        "variant": ["B"],
        "cohort": ["3"],
        "premium": ["true"],
        "trial": ["false"],
        "page": ["/home"],
    }


def test_eight_custom_fields_fit_beside_the_activitys_own(memory_world: World) -> None:
    beat(memory_world, {**EXAMPLE, **{f"field{number}": "x" for number in range(8)}})
    (row,) = memory_world.presence_rows()
    assert len(row["facets"].keys() - SOURCES) == 8 + 6


def test_the_servers_own_fields_are_not_taken_from_the_client(memory_world: World) -> None:
    beat(memory_world, WATCHING)
    before = only(memory_world)
    for name in live_activity._NOT_CUSTOM:
        beat(memory_world, {**WATCHING, name: "invented"})
        assert only(memory_world) == before


def test_a_new_user_in_the_same_session_is_counted_once(engine: Engine, worlds: Worlds) -> None:
    world = worlds(engine, ShardsPerSpace="3")
    for user in ("anonymous_1", "ada", "ben", "ada"):
        world.clock.advance(1)
        beat(world, {**BROWSING, "userId": user})
    body = read(world)
    assert [shown["id"] for shown in body["activities"]] == ["live_ada_s1"]
    assert body["stats"]["totalActive"] == 1
    world.settle()
    headcount = world.headcount(SPACE)
    assert (headcount["people"], headcount["views"]["total"]) == (1, 1)


def test_two_tabs_of_one_user_are_two_activities_of_one_person(memory_world: World) -> None:
    beat(memory_world, BROWSING)
    beat(memory_world, {**BROWSING, "sessionId": "s2"})
    assert users(memory_world) == ["u1", "u1"]
    memory_world.settle()
    headcount = memory_world.headcount(SPACE)
    assert (headcount["people"], headcount["sessions"]) == (1, 2)


def test_an_ipad_that_calls_itself_a_mac_is_a_tablet(memory_world: World) -> None:
    for session, agent in (("s1", DESKTOP), ("s2", PHONE)):
        fields = {**BROWSING, "sessionId": session, "deviceType": "tablet"}
        beat(memory_world, fields, agent)
    memory_world.settle()
    devices = memory_world.headcount(SPACE)["facets"]["device"]
    assert {one["value"] for one in devices} == {"tablet", "mobile"}


def test_a_heartbeat_that_is_delivered_twice_is_one(world: World) -> None:
    beat(world, EXAMPLE, request="r1")
    before = world.snapshot()
    world.clock.advance(1)
    beat(world, EXAMPLE, request="r1")
    assert world.snapshot() == before


def test_the_largest_heartbeat_stays_within_one_write_unit(memory_world: World) -> None:
    fields: dict[str, Any] = {
        **EXAMPLE,
        "userId": "u" * 36,
        "sessionId": "s" * 36,
        **dict.fromkeys(("seasonNumber", "episodeNumber", "currentPosition", "duration"), 2**31),
        **{f"field{number}": "x" for number in range(8)},
    }
    limits = {"contentTitle": 200, **{f"field{number}": 64 for number in range(8)}}
    table = memory_world.tables["presence"].name
    sizes = []
    for name, limit in limits.items():  # ever longer: at last, some of it is left out
        for length in range(1, limit + 1, 9):
            fields[name] = "x" * length
            beat(memory_world, fields)
            memory_world.clock.advance(2)
            (item,) = memory_world.engine.client.scan(TableName=table)["Items"]
            row: Any = dict(item)
            row["beats"] = {
                "M": {f"2026-11-{10 + day}": {"N": "2880"} for day in range(DAYS_OF_BEATS)}
            }
            row["request"] = row["visit"] = {"S": "r" * 16}
            sizes.append(item_size(row))
    assert 600 < max(sizes) <= 1024


# ----------------------------------------------------------------------------------------- refusals


@pytest.mark.parametrize("field", ["userId", "sessionId", "activityType"])
def test_a_required_field_that_is_not_right_is_named(memory_world: World, field: str) -> None:
    fields: dict[str, Any] = dict(BROWSING)
    del fields[field]
    refused(memory_world, send(memory_world, fields), field, "missing")
    for wrong in (None, "", 7, True, ["x"], {"x": "y"}, "x\x00", "\ud800"):
        refused(memory_world, send(memory_world, {**fields, field: wrong}), field)


def test_an_activity_of_another_type_is_refused(memory_world: World) -> None:
    for kind in ("Watching", "paused", "watching ", "<script>"):
        answer = send(memory_world, {**BROWSING, "activityType": kind})
        refused(memory_world, answer, "activityType", "'watching' or 'browsing'")


@pytest.mark.parametrize(
    "field", ["contentId", "contentTitle", "contentType", "quality", "country"]
)
def test_a_text_that_is_not_right_is_named(memory_world: World, field: str) -> None:
    for doing in ("watching", "browsing"):
        wrongs: list[object] = [7, True, ["x"], {"x": "y"}]
        for wrong in wrongs:
            answer = send(memory_world, {**WATCHING, "activityType": doing, field: wrong})
            refused(memory_world, answer, field)


@pytest.mark.parametrize("field", ["currentPosition", "duration", "seasonNumber", "episodeNumber"])
def test_a_number_that_is_not_right_is_named(memory_world: World, field: str) -> None:
    wrongs: list[object] = ["1", True, -1, -0.5, 2**31 + 1, 10**400, [1], {}]
    for wrong in wrongs:
        answer = send(memory_world, {**WATCHING, field: wrong})
        refused(memory_world, answer, field, "must be")


@pytest.mark.parametrize("wrong", ["NaN", "Infinity", "-Infinity", "1e999"])
def test_a_number_that_is_not_finite_is_refused(memory_world: World, wrong: str) -> None:
    text = f'{{"userId":"u","sessionId":"s","activityType":"watching","duration":{wrong}}}'
    refused(memory_world, send(memory_world, text), "duration must be a number")


def test_episodes_are_whole_numbers(memory_world: World) -> None:
    answer = send(memory_world, {**WATCHING, "episodeNumber": 1.5})
    refused(memory_world, answer, "episodeNumber must be a whole number")


@pytest.mark.parametrize(
    ("field", "limit"),
    [("userId", 128), ("sessionId", 128)],
)
def test_ids_have_limits_in_bytes(memory_world: World, field: str, limit: int) -> None:
    for letter in ("x", "ü", "😀"):
        longest = letter * (limit // len(letter.encode()))
        answer = send(memory_world, {**WATCHING, field: longest + letter})
        assert (answer.status, str(limit) in answer.body["error"]) == (400, True)
        assert field in answer.body["error"]
        beat(memory_world, {**WATCHING, field: longest})


@pytest.mark.parametrize(
    ("field", "limit"),
    [("contentId", 128), ("contentType", 64), ("quality", 64), ("contentTitle", 200)],
)
def test_what_is_only_shown_is_cut_at_a_whole_character(
    memory_world: World, field: str, limit: int
) -> None:
    for letter in ("x", "ü", "😀"):
        longest = letter * (limit // len(letter.encode()))
        beat(memory_world, {**WATCHING, field: longest + letter})
        activity = only(memory_world)
        assert activity[field] == longest
        memory_world.clock.advance(2)


@pytest.mark.parametrize("country", ["USA", "U", "U1", "United States", "U ", "ÄÖ", "**"])
def test_a_country_is_two_letters(memory_world: World, country: str) -> None:
    refused(
        memory_world, send(memory_world, {**BROWSING, "country": country}), "country", "two letters"
    )


@pytest.mark.parametrize("value", [["B"], {"a": "b"}, 0.5, 2**60])
def test_a_custom_field_that_is_not_right_is_named(memory_world: World, value: object) -> None:
    refused(
        memory_world, send(memory_world, {**BROWSING, "variant": value}), "custom field variant"
    )


@pytest.mark.parametrize("name", ["", "1st", "a b", "x" * 33, "<script>", "ü", "a.b", "\x00"])
def test_a_custom_field_of_a_wrong_name_is_refused_and_not_repeated(
    memory_world: World, name: str
) -> None:
    answer = send(memory_world, {**BROWSING, name: "x"})
    refused(memory_world, answer, "custom field", "not valid")
    assert name == "" or name not in answer.body["error"] or name in {"a b", "a.b"}


def test_the_first_eight_custom_fields_count(memory_world: World) -> None:
    beat(memory_world, {**BROWSING, "f0": "x" * 65, **{f"f{n}": "x" for n in range(1, 9)}})
    memory_world.settle()
    facets = memory_world.headcount(SPACE)["facets"]
    assert [name for name in facets if name.startswith("f")] == [f"f{n}" for n in range(8)]
    assert facets["f0"][0]["value"] == "x" * 64


def test_a_heartbeat_too_large_for_its_row_shows_less_and_counts(memory_world: World) -> None:
    custom = {f"f{number}": "x" * 64 for number in range(8)}
    beat(memory_world, {**EXAMPLE, **custom, "contentTitle": "x" * 200})
    activity = only(memory_world)
    assert activity["activityType"] == "watching"
    assert activity["contentTitle"] is None


@pytest.mark.parametrize("body", ["", "{", "null", "[]", '"x"', "7", "[" * 5_000, "\x00"])
def test_a_body_that_is_no_object_is_refused(memory_world: World, body: str) -> None:
    refused(memory_world, send(memory_world, body), "body", "JSON")


def test_a_body_over_sixteen_kilobytes_is_refused(memory_world: World) -> None:
    answer = send(memory_world, {**BROWSING, "x": "y" * 17_000})
    refused(memory_world, answer, "too large", status=413)


def test_errors_repeat_nothing_personal(memory_world: World) -> None:
    secret = "ada@example.com"
    for fields in (
        {"userId": secret, "sessionId": secret},
        {**BROWSING, "userId": secret, "country": secret},
        {**BROWSING, "contentTitle": [secret]},
        {**BROWSING, "variant": [secret]},
    ):
        answer = send(memory_world, fields)
        assert answer.status == 400
        assert secret not in str(answer.body)


def test_hostile_texts_come_back_as_they_were(memory_world: World) -> None:
    text = "<script>alert(1)</script> '; DROP TABLE live_activity; -- \u202e{{7*7}}"
    beat(
        memory_world,
        {**WATCHING, "userId": text[:40], "contentTitle": text, "contentId": text[:60]},
    )
    shown = only(memory_world)
    assert (shown["userId"], shown["contentTitle"]) == (text[:40], text)
    assert end(memory_world, shown["id"]).status == 200
    assert read(memory_world)["activities"] == []


# ------------------------------------------------------------------------------------------- maxAge


def test_the_list_holds_five_minutes_unless_asked_for_another_age(world: World) -> None:
    for user, minutes in [("a", 1), ("b", 4), ("c", 1), ("d", 0)]:
        beat(world, {**BROWSING, "userId": user, "sessionId": user})
        world.clock.advance(minutes * 60)
    # a: 6 minutes ago, b: 5, c: 1, d: now
    assert users(world) == ["d", "c", "b"]
    assert users(world, maxAge="1") == ["d", "c"]
    assert users(world, maxAge="0.99") == ["d"]
    assert users(world, maxAge="6") == ["d", "c", "b", "a"]
    assert read(world, maxAge="1")["stats"]["totalActive"] == 2
    world.clock.advance(0.001)
    assert users(world) == ["d", "c"]


def test_no_activity_is_listed_longer_than_the_lease_of_ten_minutes(world: World) -> None:
    beat(world, BROWSING)
    world.clock.advance(599.999)
    assert users(world, maxAge="1000000") == ["u1"]
    world.clock.advance(0.001)
    assert users(world, maxAge="1000000") == []


@pytest.mark.parametrize(
    "age", ["", "0", "0.0", "-1", "x", "5m", "NaN", "Infinity", "1e3", "1_0", " 5", "٥", "9" * 400]
)
def test_an_age_that_is_no_number_above_zero_is_refused(memory_world: World, age: str) -> None:
    answer = memory_world.get(PATH, token=memory_world.admin, maxAge=age)
    refused(memory_world, answer, "maxAge", "minutes")


def test_reading_changes_nothing(world: World) -> None:
    beat(world, EXAMPLE)
    beat(world, {**BROWSING, "userId": "old"})
    world.settle()
    world.clock.advance(15 * 60)
    before = world.snapshot()
    for age in ("0.1", "1", "5", "10"):
        read(world, maxAge=age)
    assert world.snapshot() == before


# ------------------------------------------------------------------------------- lists and contents


def test_the_newest_heartbeat_comes_first(memory_world: World) -> None:
    for user in ("a", "b", "c"):
        beat(memory_world, {**BROWSING, "userId": user, "sessionId": user})
        memory_world.clock.advance(1)
    beat(memory_world, {**BROWSING, "userId": "a", "sessionId": "a"})
    assert users(memory_world) == ["a", "c", "b"]


def test_the_ten_most_watched_contents_are_named_most_sessions_first(memory_world: World) -> None:
    for content in range(12):
        for viewer in range(content + 1 if content > 9 else 1):
            name = f"{content}-{viewer}"
            fields = {"userId": name, "sessionId": name, "activityType": "watching"}
            beat(memory_world, {**fields, "contentId": f"c{content:02d}"})
    top = read(memory_world)["stats"]["topContent"]
    assert [(one["contentId"], one["count"]) for one in top] == [
        ("c11", 12),
        ("c10", 11),
        *[(f"c{content:02d}", 1) for content in range(8)],
    ]


def test_a_contents_title_and_type_are_the_last_ones_sent(memory_world: World) -> None:
    for user, fields in [
        ("a", {"contentTitle": "Old title", "contentType": "film"}),
        ("b", {"contentTitle": "New title", "contentType": "movie"}),
        ("c", {}),
    ]:
        beat(memory_world, {**WATCHING, "userId": user, "sessionId": user, **fields})
        memory_world.clock.advance(1)
    assert read(memory_world)["stats"]["topContent"] == [
        {"contentId": "film", "contentTitle": "New title", "contentType": "movie", "count": 3}
    ]


def test_the_stats_are_complete_with_many_custom_fields(memory_world: World) -> None:
    beat(memory_world, {**WATCHING, "country": "US"})
    for number in range(4):
        custom = {f"a{number}{letter}": "x" for letter in "abcdefgh"}
        name = f"v{number}"
        beat(memory_world, {**BROWSING, "userId": name, "sessionId": name, **custom})
    stats = read(memory_world)["stats"]
    assert stats["byCountry"] == {"US": 1}
    assert [one["contentId"] for one in stats["topContent"]] == ["film"]


def test_the_rest_of_very_many_contents_is_no_content_itself(
    memory_world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("headcount.model.tally.MAX_VALUES", 3)
    monkeypatch.setattr(reading, "LIVE_UP_TO", 5)
    assert MAX_VALUES == 200
    for number in range(9):
        name = f"v{number}"
        beat(memory_world, {**WATCHING, "userId": name, "sessionId": name, "contentId": name})
    assert len(read(memory_world)["stats"]["topContent"]) == 9
    memory_world.settle()
    top = read(memory_world)["stats"]["topContent"]
    assert [one["contentId"] for one in top] == ["v0", "v1", "v2"]


def test_a_content_called_other_is_a_content(memory_world: World) -> None:
    beat(memory_world, {**WATCHING, "contentId": "other", "contentTitle": "Other"})
    (top,) = read(memory_world)["stats"]["topContent"]
    assert (top["contentId"], top["contentTitle"], top["count"]) == ("other", "Other", 1)


def test_a_long_list_is_cut_but_its_stats_count_everyone(
    memory_world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(live_activity, "MAX_ACTIVITIES", 3)
    for number in range(5):
        beat(memory_world, {**BROWSING, "userId": f"u{number}", "sessionId": f"s{number}"})
        memory_world.clock.advance(1)
    body = read(memory_world)
    assert [shown["userId"] for shown in body["activities"]] == ["u4", "u3", "u2"]
    assert body["stats"]["totalActive"] == 5


def test_a_very_large_audience_is_counted_as_published(
    memory_world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reading, "LIVE_UP_TO", 3)
    for number in range(5):
        fields = {**WATCHING, "userId": f"u{number}", "sessionId": f"s{number}"}
        beat(memory_world, {**fields, "contentTitle": "Film"})
    memory_world.settle()
    body = read(memory_world)
    assert len(body["activities"]) == 3
    stats = body["stats"]
    assert (stats["totalActive"], stats["watching"]) == (5, 5)
    (top,) = stats["topContent"]
    assert (top["contentTitle"], top["count"]) == ("Film", 5)


def test_sessions_of_the_native_api_are_listed_with_their_fields(memory_world: World) -> None:
    memory_world.beat("tab", SPACE, facets={"activity": "watching", "content": "film"})
    shown = only(memory_world)
    assert (shown["id"], shown["userId"], shown["sessionId"]) == (None, None, "tab")
    assert (shown["activityType"], shown["contentId"]) == ("watching", "film")
    assert (shown["currentPosition"], shown["deviceType"]) == (0, None)


# ------------------------------------------------------------------------------------------- ending


@pytest.mark.parametrize("shards", ["1", "3"])
@pytest.mark.parametrize(
    ("user", "session"),
    [
        ("u", "s"),
        ("user_abc123", "session_xyz789"),
        ("_", "_"),
        ("__a__", "_b_"),
        ("a b", "ü/?&=#"),
    ],
)
def test_an_id_is_understood_wherever_its_underscores_are(
    memory: Engine, worlds: Worlds, shards: str, user: str, session: str
) -> None:
    world = worlds(memory, ShardsPerSpace=shards)
    beat(world, {**BROWSING, "userId": "bystander", "sessionId": "other"})
    id_ = beat(world, {**BROWSING, "userId": user, "sessionId": session})
    assert sorted(users(world)) == sorted([user, "bystander"])
    assert end(world, id_).body == {"success": True}
    assert users(world) == ["bystander"]


@pytest.mark.parametrize("id_", ["live_u1_s2", "live_u2_s1", "live_u1_s1_", "live_u_1_s_1"])
def test_an_unknown_id_ends_no_activity(memory_world: World, id_: str) -> None:
    beat(memory_world, BROWSING)
    assert (end(memory_world, id_).status, users(memory_world)) == (200, ["u1"])


def test_ending_an_activity_again_changes_nothing(world: World) -> None:
    id_ = beat(world, BROWSING)
    end(world, id_)
    before = world.snapshot()
    world.clock.advance(5)
    assert end(world, id_).body == {"success": True}
    assert world.snapshot() == before


@pytest.mark.parametrize(
    "id_", ["", "x", "live", "live_", "live_u1", "live__s1", "live_u1_", "LIVE_u_s", "u1_s1", "__"]
)
def test_an_id_of_another_form_is_refused(memory_world: World, id_: str) -> None:
    refused(memory_world, end(memory_world, id_), "id", "live_<userId>_<sessionId>")


@pytest.mark.parametrize("id_", ["live_a_\x00", "live_" + "x" * 500, "live_a_\ud800"])
def test_a_hostile_id_is_refused(memory_world: World, id_: str) -> None:
    answer = memory_world.invoke("api", _delete(id_))
    refused(memory_world, Answer.of(answer), "id")


def _delete(id_: str) -> dict[str, Any]:
    from lab.harness.events import http_event

    event = http_event("DELETE", PATH)
    event["queryStringParameters"] = {"id": id_}
    return event


def test_a_missing_id_is_asked_for(memory_world: World) -> None:
    refused(memory_world, memory_world.http("DELETE", PATH), "id is missing")


def test_a_beacon_ends_an_activity_as_delete_does(memory_world: World) -> None:
    id_ = beat(memory_world, BROWSING)
    answer = memory_world.http("POST", f"{PATH}/leave", query={"id": id_})
    assert (answer.status, answer.body) == (200, {"success": True})
    assert read(memory_world)["activities"] == []


def test_every_valid_id_can_be_ended(memory_world: World) -> None:
    most = live_activity.MAX_SPLITS - 1
    fields = {**BROWSING, "userId": "_" * most, "sessionId": "s"}
    refused(memory_world, send(memory_world, {**fields, "sessionId": "_s"}), "underscores")
    id_ = beat(memory_world, fields)
    assert end(memory_world, id_).status == 200
    assert read(memory_world)["activities"] == []
    with memory_world.engine.metered() as meter:
        answer = end(memory_world, "live_" + "_" * 40)
    assert (answer.status, meter.operations) == (400, [])


def views(world: World) -> int:
    world.settle()
    answer = world.get(f"/v1/spaces/{SPACE}", token=world.admin)
    return int(answer.body["views"]["total"])


def test_a_late_logout_of_the_page_before_ends_nothing(world: World) -> None:
    for shown in 1, 2:
        id_ = beat(world, {**BROWSING, "seq": shown})
    assert end(world, id_, seq="1").status == 200
    assert (users(world), views(world)) == (["u1"], 1)
    end(world, id_, seq="5")
    assert users(world) == []
    end(world, id_, seq="8")  # the one of the page after
    beat(world, {**BROWSING, "seq": 7})
    assert (users(world), views(world)) == ([], 1)
    beat(world, {**BROWSING, "seq": 9})
    assert (users(world), views(world)) == (["u1"], 2)


def test_a_logout_without_a_number_still_ends_the_activity(world: World) -> None:
    end(world, beat(world, {**BROWSING, "seq": 4}))
    assert users(world) == []


def test_a_logout_that_overtakes_its_heartbeat_makes_it_stale(world: World) -> None:
    end(world, "live_u1_s1", seq="2")
    assert beat(world, {**BROWSING, "seq": 1}) == "live_u1_s1"
    assert users(world) == []


def test_a_number_is_no_custom_field(world: World) -> None:
    beat(world, {**BROWSING, "seq": 4})
    assert "seq" not in world.get(f"/v1/spaces/{SPACE}", token=world.admin).body["facets"]


@pytest.mark.parametrize(
    ("seq", "sentence"),
    [
        ("4", "seq must be a whole number."),
        (-1, "seq must be 0 or more."),
        (1.5, "seq must be a whole number."),
        (2**53 + 1, "seq must be at most 2^53."),
    ],
)
def test_a_heartbeat_with_a_wrong_number_is_refused(
    memory_world: World, seq: object, sentence: str
) -> None:
    refused(memory_world, send(memory_world, {**BROWSING, "seq": seq}), sentence)


@pytest.mark.parametrize("seq", ["", "-1", "x", "1.5", "9" * 20])
def test_a_logout_with_a_wrong_number_is_refused(memory_world: World, seq: str) -> None:
    refused(memory_world, end(memory_world, "live_u1_s1", seq=seq), "seq")


def test_a_heartbeat_after_logout_is_a_new_visit(world: World) -> None:
    end(world, beat(world, BROWSING))
    world.settle()
    world.clock.advance(60)
    beat(world, BROWSING)
    assert only(world)["startedAt"] == NOON + MINUTE
    world.settle()
    assert world.headcount(SPACE)["views"]["total"] == 2


def test_history_stays_when_activities_end(world: World) -> None:
    end(world, beat(world, BROWSING))
    beat(world, {**BROWSING, "userId": "u2", "sessionId": "s2"})
    world.settle()
    world.clock.advance(11 * 60)
    assert users(world, maxAge="10") == []
    world.sweep()
    world.settle()
    ended = {row["session"]: row["ended_by"] for row in world.ledger()}
    assert ended == {"s1": "leave", "s2": "expiry"}
    world.clock.set("2026-11-22T01:00:00Z")
    world.daily()
    answer = world.get(f"/v1/spaces/{SPACE}/days", token=world.admin)
    (day,) = answer.body["days"]
    assert (day["date"], day["uniquePeople"], day["views"]) == ("2026-11-21", 2, 2)


def test_the_cleanup_ends_activities_after_ten_minutes_without_a_heartbeat(world: World) -> None:
    beat(world, BROWSING)
    world.settle()
    world.clock.advance(599)
    world.sweep()
    world.settle()
    assert world.headcount(SPACE)["sessions"] == 1
    world.clock.advance(1)
    world.sweep()
    world.settle()
    assert world.headcount(SPACE)["sessions"] == 0


# ------------------------------------------------------------------------------------------- access


def test_only_admins_read_the_list(memory_world: World) -> None:
    for token, status in [
        (None, 401),
        ("nonsense", 401),
        (memory_world.token(headcount="admin", lives=-60), 401),
        (memory_world.token(headcount="admin", secret="x" * 40), 401),
        (memory_world.token(sub="u1"), 403),
    ]:
        refused(memory_world, memory_world.get(PATH, token=token), status=status)


def test_a_caller_with_a_foreign_bearer_token_may_beat_and_end(memory_world: World) -> None:
    answer = send(memory_world, BROWSING, token="nonsense")
    assert answer.status == 200
    ended = memory_world.http(
        "DELETE", PATH, token="nonsense", query={"id": answer.body["activityId"]}
    )
    assert ended.status == 200
    assert read(memory_world)["activities"] == []


def test_a_token_proves_its_user_and_no_other(memory_world: World) -> None:
    token = memory_world.token(sub="u1")
    refused(memory_world, send(memory_world, {**BROWSING, "userId": "u2"}, token=token), status=403)
    beat(memory_world, BROWSING, token=token)
    (row,) = memory_world.presence_rows()
    assert (row["user"], row["verified"]) == ("u1", True)


def test_where_users_must_be_verified_a_claim_is_refused(memory: Engine, worlds: Worlds) -> None:
    world = worlds(memory, RequireVerifiedUsers="true")
    refused(world, send(world, BROWSING), "token", status=401)
    refused(world, send(world, BROWSING, token="nonsense"), status=401)
    id_ = beat(world, BROWSING, token=world.token(sub="u1"))
    assert users(world) == ["u1"]
    assert end(world, id_).status == 200
    assert users(world) == []


@pytest.mark.parametrize("method", ["PUT", "PATCH"])
def test_another_method_is_answered_with_the_allowed_ones(memory_world: World, method: str) -> None:
    answer = memory_world.http(method, PATH, body=BROWSING)
    refused(memory_world, answer, "DELETE, GET, POST", status=405)
    assert answer.headers["allow"] == "DELETE, GET, POST"


def test_a_path_below_is_not_found(memory_world: World) -> None:
    refused(memory_world, memory_world.http("POST", f"{PATH}/x", body=BROWSING), status=404)


def test_a_session_that_is_named_like_our_own_is_refused(memory_world: World) -> None:
    body = {"userId": "u1", "sessionId": "~s1", "activityType": "browsing"}
    answer = memory_world.http("POST", "/api/analytics/live-activity", body=body)
    assert answer.status == 400
    query = {"id": "live_u1_~s1"}
    assert memory_world.http("DELETE", "/api/analytics/live-activity", query=query).status == 200
