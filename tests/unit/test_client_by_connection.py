"""headcount.js with ``presence: "socket"``: frames, opened and closed connections."""

from __future__ import annotations

import json
import shutil
import subprocess
from typing import Any

import pytest

from lab.harness.template import ROOT
from tests.support.missing import missing

CLIENT = ROOT / "clients" / "headcount.js"
TAB = ROOT / "tests" / "unit" / "tab.mjs"
MINUTE = 60


def story(*steps: tuple[Any, ...]) -> list[dict[str, Any]]:
    """A tab's actions, in order: ``opened`` and ``closed`` sockets, frames ``over`` them, requests
    ``posted``, ``beacon``s, and each ``count`` that a listener received."""
    if shutil.which("node") is None:
        missing("Node", "install it, 18 or later.")
    connects = any(step[0] in {"connect", "watch"} for step in steps)
    script = json.dumps(steps if connects else [("connect", {}), *steps])
    ran = subprocess.run(
        ["node", str(TAB), str(CLIENT)], input=script, capture_output=True, text=True, check=False
    )
    assert ran.returncode == 0, ran.stderr
    log: list[dict[str, Any]] = json.loads(ran.stdout)
    return log


def shape(log: list[dict[str, Any]]) -> list[tuple[Any, ...]]:
    """The log without the frames' content."""
    return [
        ("closed", one["closed"], one["code"])
        if "closed" in one
        else next((name, one[name]) for name in one if name not in {"frame", "asked"})
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
    frame = log[1]["frame"]
    assert (frame["action"], frame["page"], frame["seq"]) == ("beat", "/a", 2)
    assert "answer" not in frame


def test_it_has_the_next_connection_before_it_closes_the_old_one() -> None:
    log = story(("pass", 120 * MINUTE))
    opened, closed = (shape(log).index(one) for one in (("opened", 2), ("closed", 1, 1000)))
    assert opened < closed
    assert int(log[opened]["asked"]["seq"]) == max(one["frame"]["seq"] for one in log[1:opened]) + 1
    assert shape(log).count(("closed", 1, 1000)) == 1


def test_changes_go_out_at_once() -> None:
    log = story(("pass", 10), ("update", {"facets": {"chapter": "2"}}), ("hide",))
    assert shape(log) == [("opened", 1), ("over", 1), ("over", 1)]
    assert log[1]["frame"]["facets"]["chapter"] == "2"
    assert log[1]["frame"]["changed"] is True
    assert log[2]["frame"]["state"] == "hidden"


def test_telemetry_is_sent_with_the_first_beat() -> None:
    log = story(("connect", {"details": {"title": "x"}}), ("pass", 1))
    assert shape(log) == [("opened", 1), ("over", 1)]
    assert "details" not in log[0]["asked"]
    assert log[1]["frame"]["details"] == {"title": "x"}


def test_signing_in_opens_another_connection() -> None:
    log = story(("pass", 1), ("identify", {"userId": "u1", "token": "t1"}))
    assert shape(log) == [("opened", 1), ("opened", 2), ("closed", 1, 1000)]
    assert (log[1]["asked"]["token"], log[1]["asked"]["userId"]) == ("t1", "u1")


def test_a_lost_connection_is_opened_again() -> None:
    log = story(("pass", 2 * MINUTE), ("lose",), ("pass", 2))
    assert shape(log) == [("opened", 1), ("opened", 2)]
    assert [one["asked"]["seq"] for one in log] == ["1", "3"]  # 2 was for a leave
    assert log[0]["asked"]["sessionId"] == log[1]["asked"]["sessionId"]


def test_a_page_that_closes_may_be_followed_by_the_sites_next_one() -> None:
    assert shape(story(("pass", 1), ("unload",))) == [("opened", 1), ("closed", 1, 4000)]


def test_a_page_that_closes_in_a_tab_that_keeps_nothing_is_a_leave() -> None:
    log = story(("forbid", "taken"), ("connect", {}), ("pass", 1), ("unload",))
    assert shape(log) == [("opened", 1), ("closed", 1, 1000)]


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
    assert shape(log) == [("opened", 1), ("opened", 2), ("opened", 3), ("posted", 7)]


def test_a_refused_beat_is_settled_over_http() -> None:
    log = story(("pass", 1), ("receive", {"type": "error", "error": "no"}), ("pass", 1))
    assert shape(log) == [("opened", 1), ("closed", 1, 4000), ("posted", 2)]


ANSWER = {"type": "present", "space": "site:main", "count": 7, "version": 3}
COUNT = {"type": "count", "space": "site:main", "count": 8, "version": 4}


def listens(log: list[dict[str, Any]]) -> list[bool]:
    """Of each connection, whether it listens to the count."""
    return [one["asked"].get("listen") == "count" for one in log if "opened" in one]


def test_who_subscribes_later_listens_on_the_next_connection_which_replaces_the_first() -> None:
    log = story(("pass", 1), ("subscribe",), ("pass", 1), ("receive", ANSWER), ("receive", COUNT))
    assert shape(log) == [
        *(("opened", 1), ("opened", 2), ("closed", 1, 1000)),
        *(("over", 2), ("count", 7), ("count", 8)),
    ]
    assert log[3]["frame"]["answer"] is True
    assert listens(log) == [False, True]


def test_who_subscribes_at_once_has_one_connection() -> None:
    log = story(("watch",), ("pass", 1), ("receive", COUNT), ("pass", 1))
    assert shape(log) == [("opened", 1), ("over", 1), ("count", 8)]
    assert listens(log) == [True]


def test_where_only_admins_may_listen_it_is_present_without() -> None:
    """The first connection is refused; what the second receives has no count."""
    refusal = ("network", False), ("watch",), ("pass", 0.5), ("network", True)
    private = {"type": "present", "space": "site:main"}
    log = story(*refusal, ("pass", 5), ("receive", private), ("pass", 20 * MINUTE))
    assert listens(log) == [True, False]


def test_a_connection_without_listening_is_replaced_when_the_count_may_be_read() -> None:
    """The network was gone at first, which looks like a refusal."""
    gone = ("network", False), ("watch",), ("pass", 0.5), ("network", True)
    log = story(*gone, ("pass", 5), ("receive", ANSWER), ("pass", 10 * MINUTE))
    assert listens(log) == [True, False, True]


def test_a_count_that_was_overtaken_is_ignored_once() -> None:
    older, restored = {**COUNT, "count": 5, "version": 2}, {**COUNT, "count": 6, "version": 2}
    log = story(
        *(("watch",), ("pass", 1)),
        *(("receive", one) for one in (ANSWER, COUNT, older, restored)),
    )
    assert [one["count"] for one in log if "count" in one] == [7, 8, 6]


def test_a_count_does_not_end_a_message_to_everyone() -> None:
    notice = {"id": "1", "text": "Hello", "level": "info", "until": "2100-01-01T00:00:00Z"}
    log = story(
        *(("watch",), ("notices",), ("pass", 1)),
        *(("receive", {**ANSWER, "notice": notice}), ("receive", COUNT)),
    )
    assert [one["notice"] for one in log if "notice" in one] == [notice]


def test_leaving_and_coming_back_opens_a_new_connection() -> None:
    log = story(("pass", 1), ("leave",), ("start",), ("pass", 1))
    assert shape(log) == [("opened", 1), ("closed", 1, 1000), ("opened", 2)]


def test_a_browser_is_a_new_visitor_after_thirteen_months() -> None:
    away = ("pass", 1), ("leave",), ("pass", 1)
    log = story(*away, ("days", 394), ("start",), *away, ("days", 1), ("start",), *away, ("start",))
    first, still, renewed, then = (one["asked"]["visitorId"] for one in log if "opened" in one)
    assert first == still
    assert renewed != first
    assert then == renewed


# ------------------------------------------------------------------------------------------ sources

CAMPAIGN = "?utm_source=mail&utm_medium=email&utm_campaign=spring&utm_term=x&token=secret"


def sources(come: dict[str, Any], *steps: tuple[Any, ...], **options: Any) -> list[dict[str, str]]:
    """The facets of each beat of a tab that came so."""
    log = story(("come", come), ("connect", options), *steps)
    asked = [json.loads(one["asked"]["facets"]) for one in log if "opened" in one]
    return asked + [one["frame"]["facets"] for one in log if "over" in one]


def test_a_visit_says_where_it_came_from_and_nothing_else_of_the_address() -> None:
    (facets,) = sources({"search": CAMPAIGN, "referrer": "https://www.news.example/a/b?q=1#c"})
    assert facets == {
        "utm_source": "mail",
        "utm_medium": "email",
        "utm_campaign": "spring",
        "referrer": "www.news.example",
        "entry": "/a",
        "visitor": "new",
    }


def test_its_own_pages_are_no_referrer() -> None:
    (facets,) = sources({"referrer": "https://shop.example/b"})
    assert facets == {"entry": "/a", "visitor": "new"}


def test_where_a_visit_came_from_stays_the_same_while_it_lasts() -> None:
    steps = [("come", {}), ("update", {"page": "/b", "facets": {"chapter": "2"}})]
    first, second = sources({"referrer": "https://news.example/"}, *steps)
    assert second == {**first, "chapter": "2"}
    assert second["entry"] == "/a"


def test_the_pages_own_facets_take_precedence() -> None:
    (facets,) = sources({}, facets={"visitor": "member", "entry": "start"})
    assert facets == {"visitor": "member", "entry": "start"}


def test_a_browser_that_was_here_before_returns() -> None:
    steps = [("leave",), ("unload",), ("days", 1)]
    log = story(("connect", {}), *steps, ("connect", {"space": "site:other"}))
    visitors = [json.loads(one["asked"]["facets"])["visitor"] for one in log if "opened" in one]
    assert visitors == ["new", "returning"]


def test_without_storage_nobody_knows_who_returns() -> None:
    log = story(("forbid", ""), ("connect", {}))
    assert json.loads(log[0]["asked"]["facets"]) == {"entry": "/a"}


@pytest.mark.parametrize("signal", [{"doNotTrack": "1"}, {"globalPrivacyControl": True}])
def test_who_asks_not_to_be_tracked_counts_without_sources(signal: dict[str, Any]) -> None:
    assert sources({"search": CAMPAIGN, **signal}, facets={"chapter": "2"}) == [{"chapter": "2"}]


def test_a_page_may_do_without_sources() -> None:
    assert sources({"search": CAMPAIGN}, sources="off") == [{}]
