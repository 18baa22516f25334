"""docs/events.md: its examples are events, its code follows a space and checks signatures."""

from __future__ import annotations

import io
import json
import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any
from urllib.parse import parse_qsl, urlsplit
from urllib.request import Request

import pytest
from headcount.model.event import NAMES
from headcount.usecases.webhook import signature

from lab.harness.clock import NOON
from lab.harness.consumer import EVENTS, sent_events, validated
from lab.harness.engines import Engine
from lab.harness.fakes import SECRET
from lab.harness.template import ROOT
from lab.harness.world import SITE, World
from tests.conftest import Worlds
from tests.docs.pages import page
from tests.support.missing import missing

PAGE = page(ROOT / "docs" / "events.md")
FOLLOWING, CHECKING = [block.text for block in PAGE.blocks if block.language == "python"]
(NODE,) = [block.text for block in PAGE.blocks if "verify.mjs" in block.text]
NOW = NOON // 1000
BODY = '{"type":"joined","space":"site:main","name":"Zoë"}'.encode()


def test_there_is_an_example_of_each_type_and_each_is_an_event() -> None:
    examples = [
        validated(json.loads(block.text)) for block in PAGE.blocks if block.language == "json"
    ]
    assert [example["type"] for example in examples] == list(NAMES)
    table = re.findall(r"^\| `([A-Z][\w ]+)` \| `(\w+)` \|", PAGE.text, re.MULTILINE)
    assert {type_: name for name, type_ in table} == NAMES


# ---------------------------------------------------------------------------------------- following


@pytest.fixture
def follow(
    memory: Engine, worlds: Worlds, monkeypatch: pytest.MonkeyPatch
) -> tuple[World, Callable[[], Any]]:
    """A world, and the page's follower of it."""
    world = worlds(memory, **EVENTS)
    monkeypatch.setenv("URL", "https://api.example.test")
    monkeypatch.setenv("TOKEN", world.admin)

    def read(request: Request) -> Any:
        parts = urlsplit(request.full_url)
        token = request.get_header("Authorization", "").removeprefix("Bearer ")
        path = parts.path.replace("%3A", ":")
        answer = world.get(path, token=token, **dict(parse_qsl(parts.query)) | {"limit": "2"})
        assert answer.status == 200, answer
        return io.StringIO(json.dumps(answer.body))

    code: dict[str, Any] = {"__name__": "page"}
    monkeypatch.setattr("urllib.request.urlopen", read)
    exec(FOLLOWING, code)  # noqa: S102 - it is our own page
    return world, lambda: code["Follower"](SITE)


def visits(world: World) -> set[str]:
    return {row["visit"] for row in world.presence_rows() if row["kind"] != "leave"}


def test_the_follower_knows_who_is_here(follow: tuple[World, Callable[[], Any]]) -> None:
    world, follower = follow
    for number in range(5):
        world.beat(f"s{number}")
    sent_events(world)
    early = follower()
    assert set(early.here) == visits(world)
    for number in range(3, 9):
        world.beat(f"s{number}")
        world.leave(f"s{number - 2}")
    late = follower()
    events = sent_events(world) * 2
    Random(3).shuffle(events)  # noqa: S311 - a script, not a secret
    for event in events:
        early.take(event)
        late.take(event)
    assert set(early.here) == set(late.here) == visits(world)


def test_the_follower_notices_a_loss_and_restarts_from_a_snapshot(
    follow: tuple[World, Callable[[], Any]],
) -> None:
    world, follower = follow
    one = follower()
    for number in range(3):
        world.beat(f"s{number}")
    first, _, last = sent_events(world)
    assert one.take(first) is True
    assert one.take(last) is False
    one.resync()
    assert set(one.here) == visits(world)
    assert one.take(last) is True


# --------------------------------------------------------------------------------------- signatures

WRONG = {
    "another secret": (SECRET + "?", signature(SECRET, BODY, NOW), BODY),
    "another body": (SECRET, signature(SECRET, BODY, NOW), BODY + b" "),
    "another time": (SECRET, signature(SECRET, BODY, NOW).replace(str(NOW), str(NOW + 1)), BODY),
    "sent long ago": (SECRET, signature(SECRET, BODY, NOW - 301), BODY),
    "sent in the future": (SECRET, signature(SECRET, BODY, NOW + 301), BODY),
    "no signature": (SECRET, f"t={NOW}", BODY),
    "half a signature": (SECRET, signature(SECRET, BODY, NOW)[:-2], BODY),
    "nothing": (SECRET, "", BODY),
    "something else": (SECRET, "Bearer token", BODY),
}
RIGHT = {
    "now": (SECRET, signature(SECRET, BODY, NOW), BODY),
    "a while ago": (SECRET, signature(SECRET, BODY, NOW - 299), BODY),
}


def test_the_python_accepts_only_our_signatures() -> None:
    code: dict[str, Any] = {}
    exec(CHECKING, code)  # noqa: S102 - it is our own page
    check = code["is_from_headcount"]
    assert [name for name, case in RIGHT.items() if not check(*case, now=NOW)] == []
    assert [name for name, case in WRONG.items() if check(*case, now=NOW)] == []


def test_the_node_code_accepts_only_our_signatures(tmp_path: Path) -> None:
    if shutil.which("node") is None:
        missing("node", "install Node.js 20 or newer.")
    module, _, rest = NODE.partition("cat > verify.mjs <<'END'\n")[2].partition("END\n")
    assert rest
    (tmp_path / "verify.mjs").write_text(module)
    cases = [
        [secret, header, body.decode()]
        for secret, header, body in [*RIGHT.values(), *WRONG.values()]
    ]
    script = (
        "import { isFromHeadcount } from './verify.mjs';"
        f"const cases = {json.dumps(cases)};"
        "console.log(JSON.stringify(cases.map(([secret, header, body]) =>"
        f" isFromHeadcount(secret, header, Buffer.from(body), {NOW}))));"
    )
    (tmp_path / "run.mjs").write_text(script)
    done = subprocess.run(
        ["node", "run.mjs"], cwd=tmp_path, check=True, capture_output=True, text=True
    )
    accepted = dict(zip([*RIGHT, *WRONG], json.loads(done.stdout), strict=True))
    assert accepted == dict.fromkeys(RIGHT, True) | dict.fromkeys(WRONG, False)
