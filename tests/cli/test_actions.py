"""Commands that change something: their effect on the server, and the confirmation."""

from __future__ import annotations

import asyncio
import json
import re
from typing import Any

import jwt
import pytest
from headcount.model.access import Action, Caller
from headcount_cli import actions
from headcount_cli.api import Api
from headcount_cli.target import Options
from headcount_cli.times import seconds
from headcount_cli.tokens import ACTIONS, is_scope, mint
from typer import BadParameter

from lab.harness.world import World
from tests.cli.conftest import Run

SITE = "site:main"


def test_a_kicked_user_stays_out_until_let_in(here: World, run: Run) -> None:
    here.beat("tab-1", userId="u1")
    here.beat("tab-2", userId="u1")
    done = run("kick", SITE, "--user", "u1", "--for", "2h", "--reason", "[b]spam")
    here.settle()
    assert done.exit_code == 0, done.stderr
    assert "Removed until 2026-11-21 14:00:00 UTC; 2 sessions ended." in done.stdout
    assert here.people() == 0

    listed = run("removals", SITE).stdout
    assert re.search(r"u1 +2026-11-21 14:00:00 +admin +\[b\]spam", listed), listed
    assert run("let-in", SITE, "u2").exit_code == 1
    assert run("let-in", SITE, "u1").stdout == "They may come back.\n"
    assert run("removals", SITE).stdout == "No one is removed.\n"
    acts = [act["what"] for act in json.loads(run("audit", SITE, "--json").stdout)]
    assert acts == ["liftRemoval", "removePerson"]


@pytest.mark.parametrize(
    "words", [(), ("tab-1", "--user", "u1"), ("--visitor", "v", "--for", "soon")]
)
def test_kick_needs_one_id_and_a_valid_duration(run: Run, words: tuple[str, ...]) -> None:
    assert run("kick", SITE, *words).exit_code == 2


def test_a_single_session_can_be_kicked(here: World, run: Run) -> None:
    here.beat("tab-1", visitorId="v")
    here.beat("tab-2", visitorId="v")
    assert json.loads(run("kick", SITE, "tab-1", "--json").stdout)["ended"] == 1
    assert here.live_sessions() == ["tab-2"]


def test_a_message_reaches_everyone_and_can_be_ended(here: World, run: Run) -> None:
    here.beat("tab-1")
    assert "12:05:00" in run("say", SITE, "We start soon.").stdout
    here.settle()
    assert here.headcount()["notice"]["text"] == "We start soon."
    assert run("say", SITE, "--end").exit_code == 0
    here.settle()
    assert "notice" not in here.headcount()
    assert run("say", SITE).exit_code == 2
    assert run("say", SITE, "text", "--end").exit_code == 2


def test_a_release_is_noted_on_the_charts(here: World, run: Run) -> None:
    assert run("mark", SITE, "Release 2.3").stdout == "Noted.\n"
    (mark,) = here.get(f"/v1/spaces/{SITE}/history", token=here.admin).body["marks"]
    assert (mark["what"], mark["text"]) == ("mark", "Release 2.3")
    refused = run("mark", SITE, "x" * 101)
    assert refused.exit_code == 2
    assert "at most 100 characters" in refused.stderr


# -------------------------------------------------------------------------------------- share links


def test_a_link_is_made_listed_and_revoked(here: World, run: Run) -> None:
    made = run("share", SITE, "--days", "2", "--label", "[b]Lobby", "--wall")
    assert made.exit_code == 0, made.stderr
    address, _, fragment = made.stdout.strip().partition("#")
    assert re.fullmatch(r"http://127\.0\.0\.1:\d+/dashboard", address)
    given = dict(part.split("=", 1) for part in fragment.split("&"))
    assert (given["space"], given["show"]) == (SITE, "wall")
    assert here.get(f"/v1/spaces/{SITE}", token=given["token"]).status == 200
    id_ = given["token"].split("_")[1]
    assert f"It works until 2026-11-23 12:00:00 UTC. Its id is {id_}." in made.stderr

    assert re.search(rf"{id_} +site:main +\[b\]Lobby +open", run("share", "--list").stdout)
    assert run("share", "--revoke", id_).stdout.startswith("Revoked.")
    assert "revoked" in run("share", "--list").stdout
    assert here.get("/v1/token", token=given["token"]).status == 401
    assert run("share", "--revoke", id_).exit_code == 1


def test_a_link_may_be_to_a_kind(here: World, run: Run) -> None:
    made = json.loads(run("share", "course:*", "--json").stdout)
    assert (made["space"], "#token=share_" in made["url"]) == ("course:*", True)
    assert here.get("/v1/spaces/course:c1", token=made["token"]).status == 200


@pytest.mark.parametrize(
    "words", [(), (SITE, "--list"), ("--list", "--revoke", "x"), (SITE, "--days", "0")]
)
def test_a_share_is_one_thing_at_a_time(run: Run, words: tuple[str, ...]) -> None:
    assert run("share", *words).exit_code == 2


# ----------------------------------------------------------------------------------------- erasures


def test_no_one_is_erased_without_confirmation(here: World, run: Run) -> None:
    here.beat("tab-1", userId="u1")
    done = run("erase", "--user", "u1")
    assert done.exit_code == 1
    assert "--yes" in done.stderr
    assert json.loads(run("erasures", "--json").stdout) == []
    assert run("erase", "--yes").exit_code == 2


def test_an_erasure_begins_and_is_listed(here: World, run: Run) -> None:
    here.beat("tab-1", userId="u1")
    begun = json.loads(run("erase", "--user", "u1", "--yes", "--no-wait", "--json").stdout)
    assert begun["complete"] is False
    (listed,) = json.loads(run("erasures", "--json").stdout)
    assert listed["id"] == begun["id"]
    assert begun["id"] in run("erasures").stdout
    assert "--wait" in run("erasures", begun["id"]).stdout
    assert run("erasures", "1-nobody").exit_code == 1


def test_waiting_for_an_erasure_prints_its_progress(capsys: pytest.CaptureFixture[str]) -> None:
    def at(rounds: int, sessions: int) -> dict[str, Any]:
        erased = {"sessions": sessions, "visits": 0}
        return {"id": "1-a", "rounds": rounds, "complete": rounds == 3, "erased": erased}

    looks = iter([at(0, 0), at(1, 2), at(1, 2), at(3, 2)])
    slept: list[float] = []

    async def sleep(pause: float) -> None:
        slept.append(pause)

    class Answering(Api):
        async def get(self, path: str, **_: object) -> Any:
            assert path == "/v1/erasures/1-a"
            return next(looks)

    nothing: Any = None
    api = Answering("http://test", None, nothing, sleep)
    asyncio.run(actions._follow_erasure(api, Options(), at(0, 0), wait=True))
    output = capsys.readouterr()
    assert output.out == "Erased.\n"
    assert re.findall(r"round \d of 3, erased .*", output.err) == [
        "round 1 of 3, erased nothing yet",
        "round 2 of 3, erased 2 sessions",
        "round 3 of 3, erased 2 sessions",
    ]
    assert slept == [5.0, 7.5, 5.0, 7.5]


# ------------------------------------------------------------------------------------------- tokens


def test_a_token_has_the_requested_claims() -> None:
    made = mint("s" * 32, now=1_000_000_000, subject="ada", lives=60, scopes=["read:site:*"])
    claims = jwt.decode(made, options={"verify_signature": False})
    assert claims == {
        "sub": "ada",
        "headcount_scopes": "read:site:*",
        "iat": 1_000_000_000,
        "exp": 1_000_000_060,
    }
    admin = mint("s" * 32, now=0, admin_claim="role=boss")
    assert jwt.decode(admin, options={"verify_signature": False})["role"] == "boss"


def test_scopes_are_those_of_the_server() -> None:
    assert {*ACTIONS} == {str(action) for action in Action}
    for good in (
        *("read:site:main", "people:course:*", "erase:*", "*:site:main"),
        *("read:~group:school", "people:~group:*", "people:u:ada", "people:u:zoé", "*:v:a/b"),
    ):
        assert allowed_by(good), good
        assert is_scope(good), good
    for wrong in (
        *("read", "read:", "see:site:main", "read:Site:main", "read:site", ""),
        *("read:~kind:course", "read:~group:", "read:u:zoé", "people:u:"),
    ):
        assert not allowed_by(wrong), wrong
        assert not is_scope(wrong), wrong


def allowed_by(scope: str) -> bool:
    """Whether the server lets a token with the scope do anything."""
    caller = Caller(subject=None, admin=False, scopes=frozenset({scope}))
    return bool(caller.people or any(caller.spaces(action) for action in Action))


def test_a_scope_that_allows_nothing_is_refused(run: Run) -> None:
    assert run("token", "--scope", "see:site:main").exit_code == 2


@pytest.mark.parametrize("scope", ["", " "])
def test_an_empty_scope_does_not_make_an_admin(run: Run, scope: str) -> None:
    done = run("token", "--scope", scope)
    assert done.exit_code == 2
    assert done.stdout == ""


def test_times_are_written_with_their_unit() -> None:
    assert [seconds(text) for text in ("90", "90s", "15m", "12h", "30d")] == [
        *(90, 90, 900, 43_200, 2_592_000)
    ]
    for wrong in ("", "0", "1y", "-5", "1.5h", "9" * 10):
        with pytest.raises(BadParameter):
            seconds(wrong)
