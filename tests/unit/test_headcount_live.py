"""headcount-live.js: one socket for all that show a space's count, and what it does in trouble."""

from __future__ import annotations

import json
import shutil
import subprocess
from itertools import pairwise
from typing import Any

from lab.harness.template import ROOT
from tests.support.missing import missing

LIVE = ROOT / "clients" / "headcount-live.js"
PAGE = ROOT / "tests" / "unit" / "live.mjs"
MINUTE = 60


def ran(*steps: tuple[Any, ...]) -> dict[str, Any]:
    """What a page did: ``opened`` and ``closed`` sockets, frames ``over`` them, ``stale``, and the
    counts that each part of it showed."""
    if shutil.which("node") is None:
        missing("Node", "install it, 18 or later.")
    done = subprocess.run(
        ["node", str(PAGE), str(LIVE)],
        input=json.dumps(steps),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def story(*steps: tuple[Any, ...]) -> list[dict[str, Any]]:
    log: list[dict[str, Any]] = ran(*steps)["log"]
    return log


def shape(log: list[dict[str, Any]]) -> list[tuple[str, Any]]:
    """The log without times and frames."""
    return [next(iter(one.items())) for one in log]


def opened_at(log: list[dict[str, Any]]) -> list[float]:
    return [one["at"] for one in log if "opened" in one]


def test_all_that_show_a_space_share_a_socket() -> None:
    log = story(("listen", "a"), ("listen", "b"), ("pass", 1), ("again", "a"), ("hear", 5, 2))
    assert shape(log) == [("opened", 1), ("a", 1), ("b", 1), ("a", 5), ("b", 5)]
    assert log[0]["asked"] == {"space": "site:main", "listen": "count"}


def test_one_that_comes_later_gets_the_latest_count() -> None:
    log = story(("listen", "a"), ("pass", 1), ("hear", 5, 2), ("listen", "b"), ("pass", 1))
    assert shape(log)[2:] == [("a", 5), ("b", 5)]


def test_an_older_count_is_ignored() -> None:
    log = story(("listen", "a"), ("pass", 1), ("hear", 5, 4), ("hear", 4, 3), ("hear", 6, 5))
    assert [count for name, count in shape(log) if name == "a"] == [1, 5, 6]


def test_the_last_one_closes_it() -> None:
    done = ran(("listen", "a"), ("listen", "b"), ("pass", 1), ("end", "a"), ("pass", 2))
    assert ("closed", 1) not in shape(done["log"])
    done = ran(("listen", "a"), ("pass", 1), ("unwant", "a"), ("pass", 2))
    assert shape(done["log"])[-1] == ("closed", 1)
    assert done["timers"] == 1  # it may be wanted again
    done = ran(("listen", "a"), ("pass", 1), ("end", "a"), ("pass", 2))
    assert (shape(done["log"])[-1], done["timers"]) == (("closed", 1), 0)


def test_a_lost_socket_is_replaced_soon_and_then_less_and_less_often() -> None:
    log = story(("listen", "a"), ("pass", 90), ("lose",), ("pass", 5))
    assert 90 < opened_at(log)[1] <= 93
    log = story(("network", False), ("listen", "a"), ("pass", 60 * MINUTE))
    assert opened_at(log) == []  # its address is not known
    log = story(
        *(("listen", "a"), ("pass", 1), ("network", False), ("lose",)),
        *(("pass", 60 * MINUTE), ("network", True), ("go", "online"), ("pass", 1)),
    )
    gaps = [after - before for before, after in pairwise(opened_at(log))]
    assert gaps[:3] == sorted(gaps[:3])
    assert max(gaps) <= 5 * MINUTE
    assert len(gaps) < 25
    assert opened_at(log)[-1] <= 60 * MINUTE + 2
    assert shape(log)[-1] == ("a", 1)


def test_a_site_without_sockets_is_left_alone() -> None:
    log = story(("site", None), ("listen", "a"), ("pass", 59 * MINUTE))
    assert log == []


def test_a_socket_that_brings_no_count_is_replaced() -> None:
    log = story(("answering", False), ("listen", "a"), ("pass", 30))
    assert shape(log)[:3] == [("opened", 1), ("closed", 1), ("opened", 2)]
    assert 20 < opened_at(log)[1] <= 26


def test_it_pings_only_when_it_is_silent() -> None:
    log = story(("listen", "a"), ("pass", 30 * MINUTE))
    assert [one["frame"] for one in log if "over" in one] == [{"action": "ping"}] * 3
    quiet = [
        step for number in range(10) for step in (("pass", 5 * MINUTE), ("hear", 7, number + 9))
    ]
    log = story(("listen", "a"), *quiet)
    assert [one for one in log if "over" in one] == []


def test_a_dead_socket_is_noticed_by_its_ping() -> None:
    log = story(("listen", "a"), ("pass", 1), ("answering", False), ("pass", 9 * MINUTE + 20))
    assert shape(log)[-3:] == [("over", 1), ("closed", 1), ("opened", 2)]


def test_the_next_socket_is_there_before_the_old_one_is_closed() -> None:
    log = story(("listen", "a"), ("pass", 119 * MINUTE))
    order = [one for one in shape(log) if one[0] in {"opened", "closed"}]
    assert order == [("opened", 1), ("opened", 2), ("closed", 1)]
    assert 94 * MINUTE < opened_at(log)[1] < 106 * MINUTE


def test_a_hidden_tab_listens_for_five_minutes() -> None:
    log = story(("listen", "a"), ("pass", 1), ("hide", True), ("pass", 4 * MINUTE))
    assert ("closed", 1) not in shape(log)
    hidden = ("listen", "a"), ("pass", 1), ("hide", True), ("pass", 6 * MINUTE)
    assert shape(story(*hidden))[-1] == ("closed", 1)
    assert shape(story(*hidden, ("hide", False), ("pass", 1)))[-2:] == [("opened", 2), ("a", 1)]


def test_a_page_in_the_back_forward_cache_holds_no_socket() -> None:
    log = story(("listen", "a"), ("pass", 1), ("go", "pagehide"))
    assert shape(log)[-1] == ("closed", 1)
    log = story(("listen", "a"), ("pass", 1), ("go", "pagehide"), ("go", "pageshow"), ("pass", 1))
    assert shape(log)[-2:] == [("opened", 2), ("a", 1)]


def test_a_beat_that_came_in_time_is_not_stale_before_the_next_one_is_due() -> None:
    beats = [step for _ in range(3) for step in (("pass", 30), ("beat", 30))]
    log = story(("site", None), ("listen", "a", 30), ("beat",), *beats, ("pass", 35))
    assert log == []


def test_it_says_once_when_neither_socket_nor_beat_brought_a_count() -> None:
    beats = ("site", None), ("listen", "a", 30), ("beat",)
    log = story(*beats, ("pass", 39))
    assert log == []
    log = story(*beats, ("pass", 120))
    assert [(name, space) for name, space in shape(log)] == [("stale", "site:main")]
    assert 40 <= log[0]["at"] <= 42


def test_counts_by_socket_are_never_stale() -> None:
    log = story(("listen", "a", 30), ("beat",), ("pass", 5 * MINUTE))
    assert "stale" not in dict(shape(log))
    log = story(
        *(("listen", "a", 30), ("beat",), ("pass", 2 * MINUTE)),
        *(("network", False), ("lose",), ("pass", 2)),
    )
    assert "stale" in dict(shape(log))
