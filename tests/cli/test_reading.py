"""Commands that look: what they show, and how they say what is wrong."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import pytest
from headcount_cli.app import app
from typer.main import get_command

from tests.cli.conftest import Run, run_in, served
from tests.support.world import World

COMMANDS: dict[str, Any] = dict(get_command(app).commands)  # type: ignore[attr-defined]


@pytest.fixture
def crowd(here: World) -> World:
    """Two people on the site with three tabs, one of them signed in; one in a course."""
    here.beat("tab-1", visitorId="vera", page="/")
    here.beat("tab-2", visitorId="vera", page="/pricing")
    here.beat("tab-3", visitorId="uma", userId="u1", name="[red]Uma", page="/")
    here.beat("seat-1", "course:42", visitorId="vera")
    here.settle()
    return here


def test_spaces_come_largest_first(crowd: World, run: Run) -> None:
    done = run("spaces")
    lines = done.stdout.splitlines()
    assert [line.split()[:2] for line in lines[1:]] == [["site:main", "2"], ["course:42", "1"]]
    assert done.exit_code == 0
    found = json.loads(run("spaces", "--kind", "course", "--json").stdout)
    assert [(one["space"], one["people"]) for one in found] == [("course:42", 1)]


def test_a_space_is_shown_with_its_numbers_and_top_facets(crowd: World, run: Run) -> None:
    shown = run("show", "site:main").stdout
    assert re.search(r"people +signed in +anonymous +sessions", shown), shown
    assert re.search(r"│ +2 +1 +1 +3 +2 +3 +3 +│", shown), shown
    assert re.search(r"/pricing +1", shown), shown
    assert json.loads(run("show", "site:main", "--json").stdout) == crowd.headcount()


def test_viewers_are_read_page_by_page(here: World, run: Run) -> None:
    for number in range(130):
        here.beat(f"tab-{number:03}", visitorId=f"v{number}")
    everybody = json.loads(run("viewers", "site:main", "--limit", "500", "--json").stdout)
    assert [one["sessionId"] for one in everybody] == [f"tab-{number:03}" for number in range(130)]
    some = run("viewers", "site:main", "--limit", "120")
    assert some.stdout.count("tab-") == 120
    assert "more than 120" in some.stderr


def test_what_others_wrote_is_shown_as_they_wrote_it(crowd: World, run: Run) -> None:
    assert "[red]Uma" in run("viewers", "site:main").stdout


def test_what_would_turn_a_line_round_is_named(here: World, run: Run) -> None:
    here.beat("tab-1", userId="u1", name="Eve\u202egnp.\U0001f469\u200d\U0001f4bb", page="/\u2028x")
    here.settle()
    (line,) = run("viewers", "site:main").stdout.splitlines()[1:]
    assert "Eve\\u202egnp.\U0001f469\u200d\U0001f4bb" in line
    assert "/\\u2028x" in line
    assert "/\\u2028x" in run("show", "site:main").stdout


def test_a_number_is_explained_and_drift_is_a_failure(crowd: World, run: Run) -> None:
    done = run("explain", "site:main")
    assert "agrees with a recount" in done.stdout
    assert re.search(r"tab-3 +user u1", done.stdout)
    assert done.exit_code == 0
    crowd.beat("tab-4", visitorId="nora")
    crowd.filtered("count")  # the stream loses it
    for _ in range(10):
        crowd.pass_time(25, "tab-1", "tab-2", "tab-3", "tab-4")
    assert run("explain", "site:main").exit_code == 1


def test_history_is_shown_by_minute_and_by_day(crowd: World, run: Run) -> None:
    crowd.sweep()
    crowd.settle()
    points = run("timeline", "site:main", "--from", "2026-11-21T11:00:00Z")
    assert re.search(r"2026-11-21 12:00:00 +2 +3\n█", points.stdout), points.stdout
    days = run("days", "site:main", "--from", "2026-11-01", "--to", "2026-11-21")
    assert re.search(r"2026-11-21 +2 +3 +3 +3 +2 ", days.stdout), days.stdout
    rows = json.loads(run("days", "site:main", "--to", "2026-11-21", "--json").stdout)
    assert [(row["date"], row["uniquePeople"]) for row in rows] == [("2026-11-21", 2)]


def test_an_empty_place_is_said_to_be_empty(here: World, run: Run) -> None:
    assert run("spaces").stdout == "Nobody is anywhere.\n"
    assert run("viewers", "site:main").stdout == "Nobody is here.\n"
    assert json.loads(run("spaces", "--json").stdout) == []


# ------------------------------------------------------------------------------------------- errors


def test_a_missing_token_is_asked_for(run: Run) -> None:
    done = run("spaces", HEADCOUNT_TOKEN="")
    assert done.exit_code == 1
    assert "HEADCOUNT_TOKEN" in done.stderr
    assert done.stdout == ""


def test_a_token_of_somebody_else_is_refused_and_not_repeated(here: World, run: Run) -> None:
    forged = here.token(headcount="admin", secret="another secret of thirty-two bytes or more")
    done = run("spaces", HEADCOUNT_TOKEN=forged)
    assert (done.exit_code, done.stderr[:4]) == (1, "401:")
    assert "headcount token" in done.stderr
    assert forged not in done.output


def test_a_token_that_may_not_is_told_of_scopes(here: World, run: Run) -> None:
    done = run("viewers", "site:main", HEADCOUNT_TOKEN=here.token(sub="u1"))
    assert (done.exit_code, done.stderr[:4]) == (1, "403:")
    assert "scope" in done.stderr


def test_what_the_server_says_is_wrong_is_said(run: Run) -> None:
    done = run("show", "nope:x")
    assert done.exit_code == 2
    assert "The kind 'nope' is not declared here" in done.stderr


def test_nobody_at_an_address_is_said_with_a_way_out() -> None:
    done = run_in({"HEADCOUNT_URL": "http://127.0.0.1:9"}, "spaces")
    assert done.exit_code == 1
    assert "No Headcount answers at http://127.0.0.1:9" in done.stderr


def test_without_any_address_the_ways_to_name_one_are_listed() -> None:
    done = run_in({}, "spaces")
    assert done.exit_code == 1
    for way in ("make run", "--url", "--stack"):
        assert way in done.stderr


@pytest.mark.parametrize(
    "words",
    [
        ("spaces", "--url", "localhost:8787"),
        ("watch",),
        ("viewers", "site:main", "--limit", "0"),
        ("nothing",),
        ("days", "site:main", "--from", "2026-02-30"),
        ("timeline", "site:main", "--to", "yesterday"),
        ("export", "site:main", "--to", "2026-13-01"),
        ("export", "site:main", "--timeline", "--from", "soon"),
        ("days", "site:main", "--from", "2026-11-22", "--to", "2026-11-20"),
    ],
)
def test_a_wrong_command_line_ends_with_2(run: Run, words: tuple[str, ...]) -> None:
    assert run(*words).exit_code == 2


class Throttling:
    """Answers 429 so many times, then an empty list of spaces."""

    def __init__(self, times: int, retry_after: str) -> None:
        self.times, self.retry_after, self.asked = times, retry_after, 0

    def __call__(
        self, _: Any, start_response: Callable[[str, list[tuple[str, str]]], Any]
    ) -> Iterable[bytes]:
        self.asked += 1
        if self.asked <= self.times:
            start_response("429 Too Many Requests", [("Retry-After", self.retry_after)])
            return [b'{"error": "Too much."}']
        start_response("200 OK", [])
        return [b'{"spaces": []}']


@pytest.fixture
def throttled() -> Iterator[Callable[[int, str], tuple[str, Throttling]]]:
    """A server that throttles."""
    opened: list[Iterator[str]] = []

    def serve(times: int, retry_after: str) -> tuple[str, Throttling]:
        application = Throttling(times, retry_after)
        opened.append(served(application))
        return next(opened[-1]), application

    yield serve
    for server in opened:
        assert list(server) == []


def test_429_is_waited_out(throttled: Any) -> None:
    url, server = throttled(2, "0")
    assert run_in({"HEADCOUNT_URL": url}, "spaces").exit_code == 0
    assert server.asked == 3


def test_a_long_retry_after_is_said_and_not_waited_for(throttled: Any) -> None:
    url, server = throttled(9, "900")
    done = run_in({"HEADCOUNT_URL": url}, "spaces")
    assert (done.exit_code, server.asked) == (1, 1)
    assert "try again in 900 s" in done.stderr


def test_who_goes_on_throttling_is_given_up(throttled: Any) -> None:
    url, server = throttled(9, "0")
    assert run_in({"HEADCOUNT_URL": url}, "spaces").exit_code == 1
    assert server.asked == 4


# --------------------------------------------------------------------------------------------- help


@pytest.mark.parametrize("name", sorted(COMMANDS))
def test_every_command_helps_with_an_example_and_no_token_in_it(name: str) -> None:
    done = run_in({"COLUMNS": "200"}, name, "--help")
    assert done.exit_code == 0
    (example,) = re.findall(r"Example: headcount (\S+)", done.stdout)
    assert example in {name, "demo"}
    assert "--json" in done.stdout
    assert not re.search(r"Example:.*--token ", done.stdout)


def test_completion_offers_live_spaces_and_never_fails(
    crowd: World, run: Run, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from headcount_cli.app import _spaces

    monkeypatch.setenv("HEADCOUNT_URL", url)
    monkeypatch.setenv("HEADCOUNT_TOKEN", crowd.admin)
    assert _spaces("") == ["site:main", "course:42"]
    assert _spaces("cou") == ["course:42"]
    monkeypatch.setenv("HEADCOUNT_URL", "http://127.0.0.1:9")
    assert _spaces("") == []
