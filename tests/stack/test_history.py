"""History and lists."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime

import pytest

from lab.harness.clients import Api, beat, eventually, path_of, settled
from tests.stack.conftest import Stack

pytestmark = pytest.mark.stack


def test_the_timeline_has_a_point_within_70_seconds(stack: Stack, api: Api) -> None:
    path = f"{path_of(stack.sampled)}/timeline"

    point = eventually(
        lambda: api.get(path).body["points"],
        max(1.0, stack.sampled_at + 75 - time.time()),
        last=lambda: api.get(path).body,
    )[0]

    at = datetime.fromisoformat(point["at"]).timestamp()
    assert (point["people"], point["sessions"]) == (2, 3)
    assert stack.sampled_at - 60 < at <= stack.sampled_at + 70
    assert at % 60 == 0


@pytest.mark.usefixtures("one_day")
def test_today_is_among_the_days(api: Api, space: str) -> None:
    today = datetime.now(UTC).date().isoformat()
    for number in range(3):
        api.beat(space, f"s{number}", visitorId=f"v{number // 2}")

    def days() -> dict[str, dict[str, int]]:
        return {
            day["date"]: {
                name: day[name] for name in ("uniquePeople", "uniqueSessions", "views", "peak")
            }
            for day in api.get(f"{path_of(space)}/days").body["days"]
        }

    expected = {today: {"uniquePeople": 2, "uniqueSessions": 3, "views": 3, "peak": 2}}
    assert settled(days, expected) == expected


def test_live_spaces_are_listed_by_people(api: Api, spaces: Callable[..., str]) -> None:
    wanted = {spaces("busy", "course"): 4, spaces("calm", "course"): 1, spaces("fair", "course"): 2}
    empty = spaces("empty", "course")
    api.all(beat(space, f"s{n}") for space, people in wanted.items() for n in range(people))
    api.beat(empty, "s1")
    api.leave(empty, "s1")

    def listed() -> list[tuple[str, int]]:
        rows = api.get("/v1/spaces?kind=course").body["spaces"]
        return [(row["space"], row["people"]) for row in rows]

    ours = sorted(wanted.items(), key=lambda pair: -pair[1])
    eventually(lambda: [row for row in listed() if row[0] in wanted] == ours, 6, last=listed)

    assert [people for _, people in listed()] == sorted([n for _, n in listed()], reverse=True)
    eventually(lambda: empty not in dict(listed()), 5, last=listed)
    assert all(space.startswith("course:") for space, _ in listed())


def test_the_viewers_of_a_space_come_page_by_page(api: Api, space: str) -> None:
    sessions = {f"s{number:03}" for number in range(120)}
    api.all(beat(space, name, visitorId=f"v{name}", page="/") for name in sorted(sessions))
    api.leave(space, "s050")

    found: list[str] = []
    pages, cursor = 0, ""
    while True:
        body = api.get(f"{path_of(space)}/viewers?limit=50{cursor}").body
        found += [viewer["sessionId"] for viewer in body["viewers"]]
        pages += 1
        if body["cursor"] is None:
            break
        assert pages < 10
        cursor = f"&cursor={body['cursor']}"

    assert len(found) == len(set(found))
    assert set(found) == sessions - {"s050"}
    assert pages == 3
