"""What a stranger calls themselves, or their page, runs nowhere: not as markup, formula or line."""

from __future__ import annotations

import csv
import io
import json
import logging
import re
import shutil
import subprocess
from collections.abc import Iterator
from itertools import product
from pathlib import Path
from typing import Any

import pytest
from headcount.errors import InvalidRequestError
from headcount.logs import logger
from headcount.messages import BeatMessage, parse

from tests.support.fakes import aws_error
from tests.support.missing import missing
from tests.support.template import ROOT
from tests.support.world import World

SITE = ROOT / "functions" / "site"
MARKUP = re.compile(
    r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|createContextualFragment|DOMParser"
    r"|setHTMLUnsafe|srcdoc|\beval\b|new Function\b|javascript:"
)

# ------------------------------------------------------------------------------------------ markup


@pytest.mark.parametrize(
    "path",
    [
        path
        for path in sorted([*SITE.glob("src/**/*"), *SITE.glob("static/**/*")])
        if path.suffix in {".js", ".html"}
    ],
    ids=lambda path: path.name,
)
def test_no_script_makes_markup_or_code_of_a_text(path: Path) -> None:
    """Texts are put in as texts; the policy that forbids inline scripts is the second door."""
    assert MARKUP.findall(path.read_text()) == []


# --------------------------------------------------------------------------------------------- CSV

FORMULAS = ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1", "\n=1", "＝1", "＋1", "－1", "＠1"]
PARTS = ["", "a", '"', ",", ";", "\n", "\r\n", "\t", "'", "<b>", "\u202e", "\u2028", "é", "🙂"]


def as_csv(rows: list[list[Any]], tmp_path: Path) -> str:
    """As the dashboard writes it, by Node."""
    node = shutil.which("node")
    if node is None:
        missing("Node", "install nodejs 18 or newer")
    module = tmp_path / "csv.mjs"
    module.write_text((SITE / "src" / "csv.js").read_text())
    (tmp_path / "rows.json").write_text(json.dumps(rows))
    (tmp_path / "main.mjs").write_text(
        "import { readFileSync } from 'node:fs'; import { csv } from './csv.mjs';"
        "process.stdout.write(csv(JSON.parse(readFileSync('rows.json', 'utf8'))));"
    )
    run = [node, "main.mjs"]
    return subprocess.run(run, cwd=tmp_path, check=True, capture_output=True).stdout.decode()


def test_no_cell_of_a_csv_file_is_a_formula(tmp_path: Path) -> None:
    texts = [*FORMULAS, *(f"{a}{b}{c}" for a, b, c in product(PARTS, FORMULAS, PARTS))]
    written = as_csv([["name", text, "end"] for text in texts], tmp_path)
    for row in csv.reader(io.StringIO(written, newline="")):
        for cell in row:
            assert not re.match("[=+\\-@\t\r\n＝＋－＠]", cell), row


def test_a_csv_file_says_what_was_said_but_for_an_apostrophe(tmp_path: Path) -> None:
    texts = ["".join(parts) for parts in product(PARTS, PARTS)] + FORMULAS
    rows: list[list[Any]] = [[text, 7, -1.5, None] for text in texts]
    read = list(csv.reader(io.StringIO(as_csv(rows, tmp_path), newline="")))
    assert [row[1:] for row in read] == [["7", "-1.5", ""]] * len(rows)
    assert [row[0].removeprefix("'") for row in read] == [text.removeprefix("'") for text in texts]


# -------------------------------------------------------------------------------------------- names


@pytest.mark.parametrize("bad", ["\0", "\n", "\r", "\x1b[31m", "\x7f", "\x9b31m", "\x85", "\ud800"])
@pytest.mark.parametrize("field", ["sessionId", "userId", "visitorId", "name", "avatar", "page"])
def test_control_characters_are_refused_in_every_text(field: str, bad: str) -> None:
    with pytest.raises(InvalidRequestError) as refused:
        parse(BeatMessage, {"sessionId": "s1", field: f"a{bad}b"}, "{}")
    said = str(refused.value.message) + str(refused.value.details)
    assert field in said
    assert bad not in said


@pytest.mark.parametrize("bad", ["\n", "\x1b[31m", "\x9b31m", "\ud800"])
def test_control_characters_are_refused_in_facets(bad: str) -> None:
    for facets in ({"plan": f"a{bad}"}, {f"a{bad}": "x"}):
        with pytest.raises(InvalidRequestError):
            parse(BeatMessage, {"sessionId": "s1", "facets": facets}, "{}")


# --------------------------------------------------------------------------------------------- logs

NASTY = "a\nINFO forged\r\n\x1b[31mred\x9b0m\x00\x7f"


@pytest.fixture
def log() -> Iterator[io.StringIO]:
    """What is logged."""
    handler = logger().registered_handler
    assert isinstance(handler, logging.StreamHandler)
    written = io.StringIO()
    before = handler.setStream(written)
    yield written
    handler.setStream(before)


def test_a_line_of_the_log_stays_one_line(log: io.StringIO) -> None:
    try:
        raise ValueError(NASTY)
    except ValueError:
        logger().exception(NASTY, extra={"space": NASTY, "event": [NASTY]})
    (line,) = log.getvalue().removesuffix("\n").split("\n")
    assert json.loads(line)["space"] == NASTY
    assert not re.search(r"[\x00-\x1f]", line)


def test_what_fails_is_logged_in_lines_of_json_without_what_was_said(
    memory_world: World, log: io.StringIO
) -> None:
    world = memory_world
    token = world.token(sub="somebody@example.com")
    body = {"sessionId": "secret-tab", "name": "Secret Name", "page": "/secret-page"}
    said = {"user-agent": f"agent{NASTY}", "x-forwarded-for": "203.0.113.7"}

    def fail() -> None:
        raise aws_error("ValidationException")

    with world.engine.interrupted("UpdateItem", world.tables["presence"].name, fail):
        answer = world.http(
            "POST", "/v1/spaces/site:main/presence", body=body, token=token, headers=said
        )
    assert answer.status == 500
    lines = log.getvalue().splitlines()
    assert [json.loads(line)["level"] for line in lines] == ["ERROR"]
    for secret in ("secret", "Secret", "somebody", "203.0.113.7", "forged", token):
        assert secret not in str(lines)
