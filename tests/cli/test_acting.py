"""Commands that change something: what the server then holds, and what is asked first."""

from __future__ import annotations

import asyncio
import json
import re
from typing import Any

import jwt
import pytest
from headcount.tokens import Action
from headcount_cli import acting
from headcount_cli.acting import seconds
from headcount_cli.api import Api
from headcount_cli.target import Asked
from headcount_cli.tokens import ACTIONS, is_scope, mint
from typer import BadParameter

from tests.cli.conftest import Run
from tests.support.world import World

SITE = "site:main"


def test_who_is_kicked_is_out_until_let_in(here: World, run: Run) -> None:
    here.beat("tab-1", userId="u1")
    here.beat("tab-2", userId="u1")
    done = run("kick", SITE, "--user", "u1", "--for", "2h", "--reason", "[b]spam")
    here.settle()
    assert done.exit_code == 0, done.stderr
    assert "Out until 2026-11-21 14:00:00 UTC; 2 sessions ended." in done.stdout
    assert here.people() == 0

    listed = run("removals", SITE).stdout
    assert re.search(r"u1 +2026-11-21 14:00:00 +admin +\[b\]spam", listed), listed
    assert run("let-in", SITE, "u2").exit_code == 1
    assert run("let-in", SITE, "u1").stdout == "They may come back.\n"
    assert run("removals", SITE).stdout == "Nobody is removed.\n"
    acts = [act["what"] for act in json.loads(run("audit", SITE, "--json").stdout)]
    assert acts == ["liftRemoval", "removePerson"]


@pytest.mark.parametrize(
    "words", [(), ("tab-1", "--user", "u1"), ("--visitor", "v", "--for", "soon")]
)
def test_kicking_names_one_and_a_time(run: Run, words: tuple[str, ...]) -> None:
    assert run("kick", SITE, *words).exit_code == 2


def test_a_session_alone_may_be_kicked(here: World, run: Run) -> None:
    here.beat("tab-1", visitorId="v")
    here.beat("tab-2", visitorId="v")
    assert json.loads(run("kick", SITE, "tab-1", "--json").stdout)["ended"] == 1
    assert here.live_sessions() == ["tab-2"]


def test_everyone_is_told_something_and_no_more(here: World, run: Run) -> None:
    here.beat("tab-1")
    assert "12:05:00" in run("say", SITE, "We start soon.").stdout
    here.settle()
    assert here.headcount()["notice"]["text"] == "We start soon."
    assert run("say", SITE, "--end").exit_code == 0
    here.settle()
    assert "notice" not in here.headcount()
    assert run("say", SITE).exit_code == 2
    assert run("say", SITE, "text", "--end").exit_code == 2


# ---------------------------------------------------------------------------------------- erasures


def test_nobody_is_erased_unless_somebody_said_yes(here: World, run: Run) -> None:
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


def test_an_erasure_is_waited_for_and_its_progress_told(capsys: pytest.CaptureFixture[str]) -> None:
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
    asyncio.run(acting._tell_erasure(api, Asked(), at(0, 0), wait=True))
    said = capsys.readouterr()
    assert said.out == "Erased.\n"
    assert re.findall(r"round \d of 3, erased .*", said.err) == [
        "round 1 of 3, erased nothing yet",
        "round 2 of 3, erased 2 sessions",
        "round 3 of 3, erased 2 sessions",
    ]
    assert slept == [5.0, 7.5, 5.0, 7.5]


# ------------------------------------------------------------------------------------------ tokens


def test_a_token_says_what_it_was_made_for() -> None:
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


def test_scopes_are_those_that_the_server_knows() -> None:
    assert {*ACTIONS} == {str(action) for action in Action}
    for good in ("read:site:main", "people:course:*", "erase:*", "*:site:main"):
        assert is_scope(good), good
    for wrong in ("read", "read:", "see:site:main", "read:Site:main", "read:site", ""):
        assert not is_scope(wrong), wrong


def test_a_scope_that_allows_nothing_is_refused(run: Run) -> None:
    assert run("token", "--scope", "see:site:main").exit_code == 2


@pytest.mark.parametrize("scope", ["", " "])
def test_an_empty_scope_makes_no_admin(run: Run, scope: str) -> None:
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
