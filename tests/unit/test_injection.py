"""A stranger's name or page never runs as code: no markup, formula or log line."""

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
from headcount.web.bodies import BeatMessage, parse

from lab.harness.fakes import aws_error
from lab.harness.template import ROOT
from lab.harness.world import World
from tests.support.missing import missing

CLIENTS = ROOT / "clients"
MARKUP = re.compile(
    r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|createContextualFragment|DOMParser"
    r"|setHTMLUnsafe|srcdoc|\beval\b|new Function\b|javascript:"
)

# ------------------------------------------------------------------------------------------- markup


@pytest.mark.parametrize(
    "path",
    [path for path in sorted(CLIENTS.rglob("*")) if path.suffix in {".js", ".html"}],
    ids=lambda path: path.name,
)
def test_no_script_turns_text_into_markup_or_code(path: Path) -> None:
    """Texts are inserted as text; the policy against inline scripts is the second defence."""
    assert MARKUP.findall(path.read_text()) == []


# ---------------------------------------------------------------------------------------------- CSV

FORMULAS = ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1", "\n=1", "＝1", "＋1", "－1", "＠1"]
PARTS = ["", "a", '"', ",", ";", "\n", "\r\n", "\t", "'", "<b>", "\u202e", "\u2028", "é", "🙂"]


def as_csv(rows: list[list[Any]], tmp_path: Path) -> str:
    """As the dashboard writes it, by Node."""
    node = shutil.which("node")
    if node is None:
        missing("Node", "install nodejs 18 or newer")
    module = tmp_path / "csv.mjs"
    module.write_text((CLIENTS / "dashboard" / "csv.js").read_text())
    (tmp_path / "rows.json").write_text(json.dumps(rows))
    (tmp_path / "main.mjs").write_text(
        "import { readFileSync } from 'node:fs'; import { csv } from './csv.mjs';"
        "process.stdout.write(csv(JSON.parse(readFileSync('rows.json', 'utf8'))));"
    )
    run = [node, "main.mjs"]
    return subprocess.run(run, cwd=tmp_path, check=True, capture_output=True).stdout.decode()


def test_no_cell_of_a_csv_file_is_a_formula(tmp_path: Path) -> None:
    texts = [*FORMULAS, *(f"{a}{b}{c}" for a, b, c in product(PARTS, FORMULAS, PARTS))]
    rows = [["name", text, [text], "end"] for text in texts]
    written = as_csv(rows, tmp_path)
    for row in csv.reader(io.StringIO(written, newline="")):
        for cell in row:
            assert not re.match("[=+\\-@\t\r\n＝＋－＠]", cell), row
    for separator in (";", "\t", "|"):
        for row in csv.reader(io.StringIO(written, newline=""), delimiter=separator):
            for cell in row:
                assert not re.match(r"""["\s]*[=+\-@＝＋－＠]""", cell), (separator, row)


def test_a_csv_file_has_the_texts_themselves_except_for_an_apostrophe(tmp_path: Path) -> None:
    texts = ["".join(parts) for parts in product(PARTS, PARTS)] + FORMULAS
    rows: list[list[Any]] = [[text, 7, -1.5, None] for text in texts]
    read = list(csv.reader(io.StringIO(as_csv(rows, tmp_path), newline="")))
    assert [row[1:] for row in read] == [["7", "-1.5", ""]] * len(rows)
    assert [row[0].replace("'", "") for row in read] == [text.replace("'", "") for text in texts]


# -------------------------------------------------------------------------------------------- names


@pytest.mark.parametrize("bad", ["\0", "\n", "\r", "\x1b[31m", "\x7f", "\x9b31m", "\x85", "\ud800"])
@pytest.mark.parametrize("field", ["sessionId", "userId", "visitorId"])
def test_control_characters_are_refused_in_every_id(field: str, bad: str) -> None:
    with pytest.raises(InvalidRequestError) as refused:
        parse(BeatMessage, {"sessionId": "s1", field: f"a{bad}b"}, "{}")
    message = str(refused.value.message) + str(refused.value.details)
    assert field in message
    assert bad not in message


@pytest.mark.parametrize("bad", ["\0", "\n", "\r", "\x1b[31m", "\x7f", "\x9b31m", "\x85", "\ud800"])
def test_control_characters_are_left_out_of_what_is_only_shown(bad: str) -> None:
    text = f"a{bad}b"
    sent = {"name": text, "page": text, "facets": {"plan": text}, "details": {"title": text}}
    stored = parse(BeatMessage, {"sessionId": "s1", "avatar": text, **sent}, "{}").beat
    assert stored.avatar is None
    shown = f"a {bad[1:]}b" if len(bad) > 1 else "a b"  # the rest of an escape sequence is harmless
    assert (stored.name, stored.page) == (shown, shown)
    assert (stored.facets, stored.details) == ({"plan": shown}, {"title": shown})


@pytest.mark.parametrize("bad", ["\n", "\x1b[31m", "\x9b31m"])
def test_control_characters_are_refused_in_names_of_facets(bad: str) -> None:
    with pytest.raises(InvalidRequestError):
        parse(BeatMessage, {"sessionId": "s1", "facets": {f"a{bad}": "x"}}, "{}")


# --------------------------------------------------------------------------------------------- logs

NASTY = "a\nINFO forged\r\n\x1b[31mred\x9b0m\x00\x7f"


@pytest.fixture
def log() -> Iterator[io.StringIO]:
    """The log's output."""
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


def test_an_error_is_logged_in_lines_of_json_without_the_clients_data(
    memory_world: World, log: io.StringIO
) -> None:
    world = memory_world
    token = world.token(sub="somebody@example.com")
    body = {"sessionId": "secret-tab", "name": "Secret Name", "page": "/secret-page"}
    headers = {"user-agent": f"agent{NASTY}", "x-forwarded-for": "203.0.113.7"}

    def fail() -> None:
        raise aws_error("ValidationException")

    with world.engine.interrupted("UpdateItem", world.tables["presence"].name, fail):
        answer = world.http(
            "POST", "/v1/spaces/site:main/presence", body=body, token=token, headers=headers
        )
    assert answer.status == 500
    lines = log.getvalue().splitlines()
    assert [json.loads(line)["level"] for line in lines] == ["ERROR"]
    for secret in ("secret", "Secret", "somebody", "203.0.113.7", "forged", token):
        assert secret not in str(lines)
