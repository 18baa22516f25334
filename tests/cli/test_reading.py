"""Reading commands: their output and their errors."""

from __future__ import annotations

import io
import json
import re
import tomllib
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import pytest
from headcount.store.attributes import encode
from headcount_cli import output
from headcount_cli.app import app
from headcount_cli.screen import Screen
from rich.console import Console
from typer.main import get_command

from lab.harness.template import ROOT
from lab.harness.world import SITE, World
from tests.cli.conftest import Run, run_in, served

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


def test_a_person_is_found_where_they_are(crowd: World, run: Run) -> None:
    found = run("where", "u1")
    assert found.exit_code == 0
    assert re.search(r"c:u1 +site:main +/ +1", found.stdout), found.stdout
    assert "u:u1" not in found.stdout
    assert "v:vera" in run("where", "v:vera").stdout
    crowd.leave("tab-3")
    crowd.settle()
    assert "c:u1 is not here. Last seen" in run("where", "u1").stdout
    assert run("where", "nobody").stdout == "nobody has not been here in the last seven days.\n"
    people = json.loads(run("where", "v:vera", "--json").stdout)
    assert [space["space"] for space in people[0]["spaces"]].count("course:42") == 1
    assert run("where", "v:" + "x" * 129).exit_code == 2


ROLL_UPS = [{"RollUps": "school=course:*"}]


@pytest.fixture
def rolled_up(here: World) -> World:
    """Vera in two courses and on the site, and a user on the site."""
    for session, space in (("tab-1", SITE), ("tab-2", "course:1"), ("tab-3", "course:2")):
        here.beat(session, space, visitorId="vera")
    here.beat("tab-4", userId="u1")
    here.settle()
    here.pass_time(3)
    here.settle()
    return here


@pytest.mark.parametrize("here", ROLL_UPS, indirect=True)
def test_kinds_and_groups_are_counted_once_and_listed(rolled_up: World, run: Run) -> None:
    lines = [line.split() for line in run("kind").stdout.splitlines()]
    assert ["course", "1", "0", "1", "2", "2", "1"] in [line[:7] for line in lines]
    assert ["site", "2", "1", "1", "2", "1", "2"] in [line[:7] for line in lines]
    groups = [line.split()[:7] for line in run("group").stdout.splitlines()[1:]]
    assert groups == [
        ["all", "2", "1", "1", "4", "3", "2"],
        ["school", "1", "0", "1", "2", "2", "1"],
    ]
    assert re.search(r"school +1 +0 +1 +2 +2 +1 ", run("group", "school").stdout)
    found = json.loads(run("kind", "course", "--json").stdout)
    assert found == rolled_up.get("/v1/kinds/course", token=rolled_up.admin).body
    assert [one["group"] for one in json.loads(run("group", "--json").stdout)] == ["all", "school"]
    assert run("group", "nope").exit_code == 2


@pytest.mark.parametrize("here", ROLL_UPS, indirect=True)
def test_a_rollup_is_shown_explained_and_looked_back_at_as_a_space(
    rolled_up: World, run: Run
) -> None:
    assert re.search(r"│ +1 +0 +1 +2 +1 +│", run("show", "~group:school").stdout)
    done = run("explain", "~group:school")
    assert "agree with a recount" in done.stdout
    assert re.search(r"course:1 +1 +1\n", done.stdout), done.stdout
    assert "In more than one of these spaces: 1" in done.stdout
    assert re.search(r"tab-2 +visitor vera +course:1", done.stdout), done.stdout
    assert done.exit_code == 0
    sessions = json.loads(run("explain", "~group:all", "--json").stdout)["sessions"]
    assert len(sessions) == 4
    rolled_up.sweep()
    rolled_up.settle()
    points = run("timeline", "~kind:course", "--from", "2026-11-21T11:00:00Z").stdout
    assert re.search(r"2026-11-21 12:00:00 +1 +2\n", points), points
    assert run("days", "~kind:course").stdout == "No one was here.\n"


@pytest.mark.parametrize("here", ROLL_UPS, indirect=True)
def test_a_rollup_that_drifted_is_a_failure(rolled_up: World, run: Run) -> None:
    heads = rolled_up.tables["headcounts"]
    (row,) = (one for one in heads.rows() if one["space"] == "~group:all")
    heads.put(encode({**row, "signed_in": 41}))
    rolled_up.pass_time(31, "tab-1", "tab-4")
    assert run("explain", "~group:all").exit_code == 1


@pytest.mark.parametrize(
    ("words", "wrong"),
    [
        (("viewers", "~kind:course"), "A roll-up has no viewers: name one of its spaces"),
        (("kick", "~group:all", "--user", "u1"), "A roll-up has no removals"),
        (("show", "~kind:"), "Name one after '~kind:'"),
        (("explain", "~group:"), "Name one after '~group:'"),
    ],
)
def test_what_only_spaces_have_is_refused_with_what_to_name_instead(
    run: Run, words: tuple[str, ...], wrong: str
) -> None:
    done = run(*words)
    assert done.exit_code == 2
    assert wrong in " ".join(done.stderr.split())


def test_without_rollups_the_error_says_how_to_turn_them_on(here: World, run: Run) -> None:
    assert here.get("/healthz").status == 200
    for words in (("kind",), ("group", "all"), ("explain", "~kind:site")):
        done = run(*words)
        assert (done.exit_code, "RollUps=on" in done.stderr) == (1, True), words


def test_viewers_are_read_page_by_page(here: World, run: Run) -> None:
    for number in range(130):
        here.beat(f"tab-{number:03}", visitorId=f"v{number}")
    viewers = json.loads(run("viewers", "site:main", "--limit", "500", "--json").stdout)
    assert [one["sessionId"] for one in viewers] == [f"tab-{number:03}" for number in range(130)]
    some = run("viewers", "site:main", "--limit", "120")
    assert some.stdout.count("tab-") == 120
    assert "more than 120" in some.stderr


def test_markup_in_names_is_shown_literally(crowd: World, run: Run) -> None:
    assert "[red]Uma" in run("viewers", "site:main").stdout


def test_invisible_characters_are_shown_as_escapes(here: World, run: Run) -> None:
    here.beat("tab-1", userId="u1", name="Eve\u202egnp.\U0001f469\u200d\U0001f4bb", page="/\u2028x")
    here.settle()
    (line,) = run("viewers", "site:main").stdout.splitlines()[1:]
    assert "Eve\\u202egnp.\U0001f469\u200d\U0001f4bb" in line
    assert "/\\u2028x" in line
    assert "/\\u2028x" in run("show", "site:main").stdout


def test_a_number_is_explained_and_drift_is_a_failure(crowd: World, run: Run) -> None:
    done = run("explain", "site:main")
    assert "agree with a recount" in done.stdout
    assert re.search(r"tab-3 +user u1 \(claimed\)", done.stdout)
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


def test_empty_lists_say_so(here: World, run: Run) -> None:
    assert run("spaces").stdout == "No one is in any space.\n"
    assert run("viewers", "site:main").stdout == "No one is here.\n"
    assert json.loads(run("spaces", "--json").stdout) == []


# --------------------------------------------------------------------------------- narrow terminals

NUMBERS = ["147", "1,234,567", "12:00:05", "2026-11-21 12:00:00", "98,765 s"]


def printed(width: int, monkeypatch: pytest.MonkeyPatch, show: Callable[[], None]) -> str:
    """What is printed on a terminal of this width."""
    out = Console(file=io.StringIO(), width=width, highlight=False)
    monkeypatch.setattr(output, "console", lambda: out)
    show()
    assert isinstance(out.file, io.StringIO)
    return out.file.getvalue()


@pytest.mark.parametrize("width", [10, 20, 30, 40, 60, 80, 120, 200])
@pytest.mark.parametrize(
    "text", ["a", "a-long-word-that-is-an-id-of-somebody" * 2, "some words " * 9]
)
def test_no_table_cuts_anything(width: int, text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    row = dict(enumerate([text, 147, 1234567, "12:00:05", "2026-11-21 12:00:00", "98,765 s", text]))
    names = ["space", "people", "views", "as of (UTC)", "at (UTC)", "average", "facets"]
    columns = [(name, lambda row, n=n: row[n]) for n, name in enumerate(names)]
    shown = printed(width, monkeypatch, lambda: output.print_table([row, row], columns))
    assert "…" not in shown
    for number in NUMBERS:
        assert shown.count(number) == 2, shown
    assert re.sub(r"\s", "", shown).count("-long-word" if "long" in text else "a") >= 1
    lines = shown.splitlines()
    if max(map(len, lines)) > width:  # a list, which the terminal wraps
        assert lines[0].startswith("space        ")


@pytest.mark.parametrize("width", [24, 30, 40, 60, 80, 200])
def test_no_number_of_the_screen_is_cut(width: int) -> None:
    values = [
        {"value": f"/a/long/page/{n}" * 3, "count": 1, "people": 654321 - n} for n in range(3)
    ]
    head = {
        "people": 1234567,
        "signedIn": 147,
        "anonymous": 1234420,
        "sessions": 2345678,
        "peak": {"people": 3456789, "at": "2026-11-21T12:00:00Z"},
        "views": {"today": 4567890, "total": 56789012},
        "facets": dict.fromkeys(("page", "device", "country", "a-long-name-of-a-facet"), values),
        "version": 9876543,
        "asOf": "2026-11-21T12:00:05Z",
    }
    out = Console(file=io.StringIO(), width=width)
    out.print(Screen("site:main", head=head, recent=[1, 2], state="live").render())
    assert isinstance(out.file, io.StringIO)
    shown = out.file.getvalue()
    wanted = ["1,234,567", "147", "1,234,420", "2,345,678", "3,456,789", "4,567,890", "56,789,012"]
    for number in [*wanted, "9,876,543", "12:00:05", "654,321", "654,320", "654,319"]:
        assert number in shown, shown
    assert shown.count("654,321") == 4
    assert max(map(len, shown.splitlines())) <= width


def test_a_pipe_gets_a_line_for_each_row(here: World, run: Run) -> None:
    here.beat("s" * 128, visitorId="v" * 128, page="/" + "p" * 200)
    (line,) = run("viewers", "site:main").stdout.splitlines()[1:]
    assert "s" * 128 in line
    assert "p" * 200 in line


def test_the_version_is_shown() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    done = run_in({}, "--version")
    assert (done.exit_code, done.stdout) == (0, f"headcount {project['version']}\n")
    assert "watch, look back" in run_in({"COLUMNS": "200"}, "--help").stdout


# ------------------------------------------------------------------------------------------- errors


def test_a_missing_token_is_reported(run: Run) -> None:
    done = run("spaces", HEADCOUNT_TOKEN="")
    assert done.exit_code == 1
    assert "HEADCOUNT_TOKEN" in done.stderr
    assert done.stdout == ""


def test_a_foreign_token_is_refused_and_not_repeated(here: World, run: Run) -> None:
    forged = here.token(headcount="admin", secret="another secret of thirty-two bytes or more")
    done = run("spaces", HEADCOUNT_TOKEN=forged)
    assert (done.exit_code, done.stderr[:4]) == (1, "401:")
    assert "headcount token" in done.stderr
    assert forged not in done.output


def test_a_token_without_the_scope_gets_a_hint(here: World, run: Run) -> None:
    done = run("viewers", "site:main", HEADCOUNT_TOKEN=here.token(sub="u1"))
    assert (done.exit_code, done.stderr[:4]) == (1, "403:")
    assert "scope" in done.stderr


def test_the_server_s_error_is_printed(run: Run) -> None:
    done = run("show", "nope:x")
    assert done.exit_code == 2
    assert "The kind 'nope' is not declared here" in done.stderr


def test_an_unreachable_address_is_reported_with_a_remedy() -> None:
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
def test_an_invalid_command_line_ends_with_2(run: Run, words: tuple[str, ...]) -> None:
    assert run(*words).exit_code == 2


class Throttling:
    """Answers 429 this many times, then an empty list of spaces."""

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


def test_a_long_retry_after_is_reported_instead_of_waited_for(throttled: Any) -> None:
    url, server = throttled(9, "900")
    done = run_in({"HEADCOUNT_URL": url}, "spaces")
    assert (done.exit_code, server.asked) == (1, 1)
    assert "Try again in 900 s" in done.stderr


def test_endless_throttling_is_given_up(throttled: Any) -> None:
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
    assert not re.search(r"Example:.*(--token |20\d\d-)", done.stdout)


@pytest.mark.parametrize("name", sorted(n for n, one in COMMANDS.items() if not one.hidden))
def test_every_command_is_documented(name: str) -> None:
    page = (ROOT / "docs" / "command-line.md").read_text(encoding="utf-8")
    assert re.search(rf"headcount {name}\b", page)


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
