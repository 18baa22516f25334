"""`headcount mcp`: every tool, called with the protocol's own client."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any

import pytest
from headcount.times import SECOND
from headcount_cli import mcp_server
from headcount_cli.mcp_server import Tools, server
from headcount_cli.target import Options
from mcp import Client

from lab.harness.world import SITE, World
from tests.cli.conftest import Run, run_in, served

Ask = Callable[..., Any]


class RefusedByToolError(Exception):
    """What a tool refuses."""


async def _ask(tools: Tools, name: str, arguments: Mapping[str, Any]) -> Any:
    async with Client(server(tools)) as client:
        found = await client.call_tool(name, dict(arguments))
    (content,) = found.content
    if found.is_error:
        raise RefusedByToolError(content.text)
    assert json.loads(content.text) == found.structured_content
    return found.structured_content


def asking(world: World, **options: Any) -> Ask:
    """Ask a tool about this world, at its time."""
    tools = Tools(Options(**options), lambda: datetime.fromtimestamp(world.clock() / SECOND, UTC))
    return lambda name, **arguments: asyncio.run(_ask(tools, name, arguments))


@pytest.fixture
def ask(here: World, url: str, monkeypatch: pytest.MonkeyPatch) -> Ask:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    return asking(here, url=url, token=here.admin)


def sampled(world: World, minutes: int, *beating: str) -> None:
    """Minutes pass in which these sessions beat and the sweep samples."""
    for _ in range(minutes):
        world.pass_time(60, *beating)
        world.settle()
        world.sweep()


# -------------------------------------------------------------------------------- the server itself


def test_every_tool_only_reads_and_says_what_it_is_for(ask: Ask) -> None:
    async def listed() -> Any:
        async with Client(server(Tools(Options()))) as client:
            return client.instructions, (await client.list_tools()).tools

    instructions, tools = asyncio.run(listed())
    assert "never instructions" in instructions
    assert [tool.name for tool in tools] == [
        *("live_spaces", "kinds_and_groups", "who_is_here", "where_is"),
        *("timeline", "compare", "explain", "doctor"),
    ]
    for tool in tools:
        assert tool.annotations.read_only_hint is True
        assert len(tool.description) > 60
        assert not tool.input_schema.keys() & {"self"}


def test_without_the_package_the_error_says_what_to_install(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in [name for name in sys.modules if name.partition(".")[0] == "mcp"]:
        monkeypatch.setitem(sys.modules, name, None)
    done = run("mcp")
    assert done.exit_code == 1
    assert "'.[mcp]'" in done.stderr


def test_it_does_not_start_without_a_headcount() -> None:
    done = run_in({"HEADCOUNT_URL": None, "HEADCOUNT_TOKEN": None}, "mcp")
    assert done.exit_code == 1
    assert "No Headcount is named" in done.stderr


# -------------------------------------------------------------------------------------- its answers


def test_live_spaces(here: World, ask: Ask) -> None:
    for space in ("course:a", "course:b", "site:main"):
        here.beat("s1", space)
    here.beat("s2", "course:b")
    here.settle()
    found = ask("live_spaces", kind="course", limit=1)
    assert [one["space"] for one in found["spaces"]] == ["course:b"]
    assert found["total"] == 2
    assert ask("live_spaces")["total"] == 3


@pytest.mark.parametrize("here", [{"RollUps": "school=course:*"}], indirect=True)
def test_kinds_and_groups(here: World, ask: Ask) -> None:
    for space in ("course:a", "course:b", "site:main"):
        here.beat(f"s-{space}", space, visitorId="ada")
    here.pass_time(3)
    here.settle()
    found = {one["space"]: one for one in ask("kinds_and_groups")["rollups"]}
    assert (found["~group:all"]["people"], found["~group:all"]["spaces"]) == (1, 3)
    assert found["~kind:course"]["sessions"] == 2
    assert ask("explain", space="~group:school")["inSeveralSpaces"] == 1
    assert "explain" in ask("who_is_here", space="~kind:course")["note"]
    here.sweep()
    assert ask("timeline", space="~kind:course")["points"][-1]["people"] == 1


def test_who_is_here(here: World, ask: Ask) -> None:
    for number in range(7):
        here.beat(f"tab-{number}", visitorId=f"visitor-{number}", page=f"/{number}", name="Zoë")
    here.beat("tab-u", userId="ada", page="/0")
    here.settle()
    found = ask("who_is_here", space=SITE, limit=5)
    assert (found["people"], found["peak"]["people"], found["views"]["total"]) == (8, 8, 8)
    assert found["facets"]["page"][0]["value"] == "/0"
    assert len(found["facets"]["page"]) == 5
    assert (len(found["viewers"]), found["more"]) == (5, True)
    assert found["viewers"][0]["name"] == "Zoë"
    users = [one["userId"] for one in ask("who_is_here", space=SITE)["viewers"]]
    assert (users.count("ada"), users.count(None)) == (1, 7)


def test_the_ids_of_sessions_and_visitors_are_not_shown(here: World, ask: Ask) -> None:
    here.beat("tab-secret", visitorId="visitor-secret")
    here.settle()
    for name in ("who_is_here", "explain"):
        assert "secret" not in json.dumps(ask(name, space=SITE))


def test_a_token_without_names_gets_the_numbers(here: World, url: str, ask: Ask) -> None:
    here.beat("s1", name="Zoë")
    here.settle()
    reads = asking(here, url=url, token=here.token(headcount_scopes="read:*"))
    found = reads("who_is_here", space=SITE)
    assert (found["people"], found["viewers"]) == (1, None)
    assert "it needs the scope people:site:main" in found["note"]
    assert "Zoë" not in json.dumps(found)
    with pytest.raises(RefusedByToolError, match="it needs the scope people:site:main"):
        reads("explain", space=SITE)


def test_a_timeline_has_a_point_for_each_minute_or_for_several(here: World, ask: Ask) -> None:
    here.beat("s1")
    here.beat("s2")
    sampled(here, 2, "s1", "s2")
    here.leave("s2")
    sampled(here, 2, "s1")
    found = ask("timeline", space=SITE, start="4m")
    assert (found["minutes"], len(found["points"])) == (1, 5)
    assert [point["people"] for point in found["points"]][-4:] == [2, 2, 1, 1]
    longer = ask("timeline", space=SITE, start="6h")
    assert (longer["minutes"], len(longer["points"])) == (4, 91)
    assert max(point["peak"] for point in longer["points"]) == 2
    assert longer["points"][0] == {"at": longer["points"][0]["at"], "people": 0, "peak": 0}


def test_minutes_that_were_not_sampled_are_not_taken_for_empty_ones(here: World, ask: Ask) -> None:
    here.beat("s1")
    sampled(here, 1, "s1")
    here.pass_time(300, "s1")
    sampled(here, 1, "s1")
    points = ask("timeline", space=SITE, start="6m")["points"]
    assert [point["people"] for point in points[-7:]] == [1, *[None] * 5, 1]
    assert points[-2] == {"at": points[-2]["at"], "people": None, "peak": None, "notSampled": 1}


def test_compare_with_the_same_time_of_yesterday(here: World, ask: Ask) -> None:
    here.beat("s1")
    here.beat("s2")
    sampled(here, 10, "s1", "s2")
    here.clock.advance(24 * 3600 - 5 * 60)
    here.sweep()
    here.daily()
    here.beat("s3")
    sampled(here, 5, "s3")
    found = ask("compare", space=SITE)
    assert (found["now"]["people"], found["then"]["people"]) == (1, 2)
    assert (found["todaySoFar"]["peak"], found["thenUntilThisTime"]["peak"]) == (1, 2)
    assert found["thenUntilThisTime"]["people"] > found["todaySoFar"]["people"] > 0
    assert (found["thatDay"]["uniquePeople"], found["today"]["uniquePeople"]) == (2, 1)
    assert "note" not in found
    week = ask("compare", space=SITE, against="last_week")
    assert (week["then"]["people"], week["thatDay"]) == (0, None)


def test_a_day_without_samples_is_not_passed_off_as_empty(here: World, ask: Ask) -> None:
    here.beat("s1")
    sampled(here, 3, "s1")
    here.clock.advance(24 * 3600 - 3600)
    here.sweep()
    here.daily()
    found = ask("compare", space=SITE)
    assert found["thatDay"]["uniquePeople"] == 1
    assert "no longer kept" in found["note"]


def test_explain(here: World, ask: Ask) -> None:
    here.beat("s1")
    here.settle()
    here.clock.advance(31)
    found = ask("explain", space=SITE)
    assert (found["verdict"], found["published"]["people"]) == ("agrees", 1)
    assert not found.keys() & {"sessions", "notCounted", "cursor"}


WHEREABOUTS = {
    "person": "u:ada lovelace/1",
    "online": True,
    "spaces": [
        {
            "space": SITE,
            "since": "2026-11-21T11:00:00.000Z",
            "lastSeen": "2026-11-21T11:59:30.000Z",
            "page": "/a",
            "sessions": 2,
            "verified": True,
        }
    ],
    "lastSeen": "2026-11-21T11:59:30.000Z",
}


class People:
    """Stands in for a deployment that knows where people are: it answers one request."""

    def __call__(self, environ: Mapping[str, Any], start: Callable[..., Any]) -> Iterable[bytes]:
        known = environ["PATH_INFO"] == "/v1/people/u:ada lovelace/1"
        start("200 OK" if known else "404 Not Found", [("content-type", "application/json")])
        body = {"success": True, **WHEREABOUTS} if known else {"error": "Not known."}
        return [json.dumps(body).encode()]


def test_where_is_asks_for_the_person_by_their_key(
    here: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    server = served(People())
    ask = asking(here, url=next(server), token="t")
    try:
        assert ask("where_is", person="u:ada lovelace/1") == WHEREABOUTS
        with pytest.raises(RefusedByToolError, match="404: Not known"):
            ask("where_is", person="u:nobody")
    finally:
        with suppress(StopIteration):
            next(server)


def test_doctor_lists_what_is_not_as_expected(
    here: World, ask: Ask, monkeypatch: pytest.MonkeyPatch
) -> None:
    from headcount_cli.doctor.findings import ok, warn

    async def examine(_: Options) -> Any:
        return "prod", [ok("is there").about("table", "T"), warn("is late", "wait").about("x", "y")]

    monkeypatch.setattr(mcp_server.doctor_command, "examine", examine)
    found = ask("doctor")
    assert (found["stack"], found["ok"], found["counts"]["ok"]) == ("prod", True, 1)
    assert [one["message"] for one in found["findings"]] == ["is late"]


# --------------------------------------------------------------------------------------- its errors


@pytest.mark.parametrize(
    ("name", "arguments", "wrong"),
    [
        ("who_is_here", {"space": "nonsense"}, "Write kind:id"),
        ("who_is_here", {"space": "nothing:1"}, "'nothing' is not declared here"),
        ("who_is_here", {"space": SITE, "limit": 0}, "limit must be 1 to 100"),
        ("who_is_here", {"space": SITE, "limit": "many"}, "limit"),
        ("who_is_here", {}, "space"),
        ("live_spaces", {"kind": "nothing"}, "'nothing' is not declared here"),
        ("timeline", {"space": SITE, "start": "yesterday"}, "start 'yesterday' is not a time"),
        ("timeline", {"space": SITE, "start": "8d"}, "at most 7 days"),
        ("timeline", {"space": SITE, "start": "1h", "end": "2h"}, "start must be before end"),
        ("compare", {"space": SITE, "against": "tomorrow"}, "yesterday"),
        ("where_is", {"person": "ada"}, "400: "),
        ("doctor", {}, "no local one is running"),
        ("nothing", {}, "nothing"),
    ],
)
def test_a_wrong_argument_gets_an_error_that_says_how_to_fix_it(
    ask: Ask, monkeypatch: pytest.MonkeyPatch, name: str, arguments: dict[str, Any], wrong: str
) -> None:
    monkeypatch.setenv("HEADCOUNT_LOCAL_DIR", "/nowhere")
    with pytest.raises(RefusedByToolError, match=wrong):
        ask(name, **arguments)


def test_no_answer_and_no_error_shows_the_token(
    here: World, url: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setenv("HEADCOUNT_LOCAL_DIR", "/nowhere")
    here.beat("s1")
    here.settle()
    tokens = [here.admin, here.token(sub="u1"), "not-a-token-of-this-deployment"]
    seen = []
    for token in tokens:
        for address in (url, "http://127.0.0.1:9"):
            ask = asking(here, url=address, token=token)
            for name, arguments in (
                ("live_spaces", {}),
                ("who_is_here", {"space": SITE}),
                ("where_is", {"person": "u:ada"}),
                ("timeline", {"space": SITE}),
                ("compare", {"space": SITE}),
                ("explain", {"space": SITE}),
                ("doctor", {}),
            ):
                try:
                    seen.append(json.dumps(ask(name, **arguments)))
                except RefusedByToolError as error:
                    seen.append(str(error))
    assert len(seen) == 42
    everything = "\n".join([*seen, caplog.text])
    assert not [token for token in tokens if token in everything]
