"""headcount.js with ``presence: "socket"``: what it sends, and when it closes and opens."""

from __future__ import annotations

import json
import shutil
import subprocess
from typing import Any

from tests.support.missing import missing
from tests.support.template import ROOT

CLIENT = ROOT / "functions" / "site" / "static" / "headcount.js"
TAB = ROOT / "tests" / "unit" / "tab.mjs"
MINUTE = 60


def story(*steps: tuple[Any, ...]) -> list[dict[str, Any]]:
    """What a tab did, in order: ``opened`` and ``closed`` sockets, what went ``over`` them, what
    was ``posted``, ``beacon``s, and each ``count`` that a listener heard."""
    if shutil.which("node") is None:
        missing("Node", "install it, 18 or later.")
    connects = any(step[0] == "connect" for step in steps)
    told = json.dumps(steps if connects else [("connect", {}), *steps])
    ran = subprocess.run(
        ["node", str(TAB), str(CLIENT)], input=told, capture_output=True, text=True, check=False
    )
    assert ran.returncode == 0, ran.stderr
    log: list[dict[str, Any]] = json.loads(ran.stdout)
    return log


def shape(log: list[dict[str, Any]]) -> list[tuple[Any, ...]]:
    """The log without what was said."""
    return [
        ("closed", one["closed"], one["code"])
        if "closed" in one
        else next((name, one[name]) for name in one if name not in {"said", "asked"})
        for one in log
    ]


def test_a_tab_joins_by_its_connection_and_leaves_by_closing_it() -> None:
    log = story(("pass", 1), ("leave",), ("pass", 1))
    assert shape(log) == [("opened", 1), ("closed", 1, 1000)]
    asked = log[0]["asked"]
    assert (asked["space"], asked["page"], asked["state"], asked["seq"]) == (
        *("site:main", "/a", "active"),
        "1",
    )
    assert asked.keys() >= {"sessionId", "visitorId"}
    assert "token" not in asked


def test_it_beats_before_the_idle_limit_and_no_sooner() -> None:
    quiet = story(("pass", 8 * MINUTE))
    assert shape(quiet) == [("opened", 1)]
    log = story(("pass", 20 * MINUTE))
    assert shape(log) == [("opened", 1), ("over", 1), ("over", 1)]
    said = log[1]["said"]
    assert (said["action"], said["page"], said["seq"]) == ("beat", "/a", 2)
    assert "answer" not in said


def test_it_has_the_next_connection_before_it_closes_the_old_one() -> None:
    log = story(("pass", 120 * MINUTE))
    opened, closed = (shape(log).index(one) for one in (("opened", 2), ("closed", 1, 1000)))
    assert opened < closed
    assert int(log[opened]["asked"]["seq"]) == max(one["said"]["seq"] for one in log[1:opened]) + 1
    assert shape(log).count(("closed", 1, 1000)) == 1


def test_changes_go_out_at_once() -> None:
    log = story(("pass", 10), ("update", {"facets": {"chapter": "2"}}), ("hide",))
    assert shape(log) == [("opened", 1), ("over", 1), ("over", 1)]
    assert log[1]["said"]["facets"] == {"chapter": "2"}
    assert log[1]["said"]["changed"] is True
    assert log[2]["said"]["state"] == "hidden"


def test_what_rides_in_beats_goes_with_the_first() -> None:
    log = story(("connect", {"details": {"title": "x"}}), ("pass", 1))
    assert shape(log) == [("opened", 1), ("over", 1)]
    assert "details" not in log[0]["asked"]
    assert log[1]["said"]["details"] == {"title": "x"}


def test_who_signs_in_opens_another_connection() -> None:
    log = story(("pass", 1), ("identify", {"userId": "u1", "token": "t1"}))
    assert shape(log) == [("opened", 1), ("opened", 2), ("closed", 1, 1000)]
    assert (log[1]["asked"]["token"], log[1]["asked"]["userId"]) == ("t1", "u1")


def test_a_lost_connection_is_opened_again() -> None:
    log = story(("pass", 2 * MINUTE), ("lose",), ("pass", 2))
    assert shape(log) == [("opened", 1), ("opened", 2)]
    assert [one["asked"]["seq"] for one in log] == ["1", "2"]
    assert log[0]["asked"]["sessionId"] == log[1]["asked"]["sessionId"]


def test_the_sites_next_page_is_no_leave() -> None:
    log = story(("pass", 1), ("click",), ("unload",))
    assert shape(log) == [("opened", 1), ("closed", 1, 4000)]


def test_closing_the_tab_is_a_leave_and_needs_no_beacon() -> None:
    assert shape(story(("pass", 1), ("unload",))) == [("opened", 1), ("closed", 1, 1000)]


def test_without_an_open_connection_the_leave_is_a_beacon() -> None:
    log = story(("pass", 2 * MINUTE), ("network", False), ("lose",), ("pass", 1.5), ("unload",))
    assert shape(log)[-1] == ("beacon", "/v1/spaces/site%3Amain/presence/leave")


def test_after_three_connections_that_fail_it_beats_over_http() -> None:
    log = story(("network", False), ("connect", {}), ("pass", 60))
    assert shape(log)[:4] == [("opened", 1), ("opened", 2), ("opened", 3), ("posted", 4)]
    assert {name for name, *_ in shape(log)[4:]} == {"posted"}


def test_connections_that_do_not_last_are_given_up_too() -> None:
    steps = [step for _ in range(3) for step in (("pass", 5), ("lose",))]
    log = story(*steps, ("pass", 5))
    assert shape(log) == [("opened", 1), ("opened", 2), ("opened", 3), ("posted", 4)]


def test_a_refused_beat_is_settled_over_http() -> None:
    log = story(("pass", 1), ("hear", {"type": "error", "error": "no"}), ("pass", 1))
    assert shape(log) == [("opened", 1), ("closed", 1, 4000), ("posted", 2)]


def test_who_listens_asks_for_the_count() -> None:
    answer = {"type": "present", "space": "site:main", "count": 7, "version": 3}
    log = story(("pass", 1), ("subscribe",), ("hear", answer))
    assert shape(log) == [("opened", 1), ("over", 1), ("count", 7)]
    assert log[1]["said"]["answer"] is True


def test_who_leaves_and_comes_back_opens_a_new_connection() -> None:
    log = story(("pass", 1), ("leave",), ("start",), ("pass", 1))
    assert shape(log) == [("opened", 1), ("closed", 1, 1000), ("opened", 2)]
