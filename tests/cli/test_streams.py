"""Standard streams that are closed, full, or in an encoding that lacks characters; no traceback."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest

from lab.harness.template import ROOT
from lab.harness.world import World

pytestmark = pytest.mark.slow  # a process for each command

SITE = "site:main"
NAMES = ["日本語", "Zoë", "🙂", "Łódź", "[b]:smile:"]
_MAIN = "import sys; from headcount_cli.app import main; main()"


@pytest.fixture
def shell(here: World, url: str) -> Callable[..., Any]:
    """Run `headcount` with these words as a process, by a shell: with its redirections."""

    def run(words: str, **environment: str) -> Any:
        python = f'"{sys.executable}" -c "{_MAIN}"'
        return subprocess.run(
            ["sh", "-c", f"{python} {words}"],
            check=False,
            capture_output=True,
            timeout=60,
            env={
                **os.environ,
                "NO_PROXY": "127.0.0.1",
                "PYTHONPATH": str(ROOT / "cli"),
                "HEADCOUNT_URL": url,
                "HEADCOUNT_TOKEN": here.admin,
                "HEADCOUNT_LOCAL_DIR": "/nowhere",
                **environment,
            },
        )

    return run


@pytest.fixture
def named(here: World) -> World:
    """People with all kinds of names."""
    for number, name in enumerate(NAMES):
        here.beat(f"tab-{number}", userId=f"u{number}", name=name, page="/")
    here.settle()
    here.sweep()
    here.settle()
    return here


@pytest.mark.parametrize("encoding", ["ascii", "cp1252:strict", "utf-8"])
def test_any_encoding_is_written(named: World, shell: Any, encoding: str) -> None:
    codec = encoding.partition(":")[0]
    done = shell(f"viewers {SITE} --json", PYTHONIOENCODING=encoding)
    assert (done.returncode, done.stderr) == (0, b"")
    assert [one["name"] for one in json.loads(done.stdout.decode(codec))] == NAMES
    for words in (f"show {SITE}", f"timeline {SITE} --from 2026-11-21"):
        done = shell(words, PYTHONIOENCODING=encoding)
        assert (done.returncode, done.stderr) == (0, b""), words
        assert done.stdout.decode(codec)
    table = shell(f"viewers {SITE}", PYTHONIOENCODING=encoding).stdout.decode(codec)
    for name in NAMES:
        lacking = name.encode(codec, "replace").decode(codec) != name
        escaped = "".join(
            one if one.encode(codec, "replace").decode(codec) == one else f"\\u{ord(one):04x}"
            for one in name
        )
        assert (escaped if lacking else name) in table


@pytest.mark.parametrize(
    ("words", "where"),
    [
        ("spaces", ">&-"),
        ("spaces --json", ">/dev/full"),
        (f"show {SITE}", "<&- >&-"),
        (f"export {SITE} --viewers", ">&-"),
        (f"export {SITE} --viewers", ">/dev/full"),
        ("--help", ">&-"),
        ("--help", ">/dev/full"),
        ("--version", ">&-"),
    ],
)
def test_output_that_can_t_be_written_is_one_sentence(
    named: World, shell: Any, words: str, where: str
) -> None:
    done = shell(f"{words} {where}")
    assert done.returncode == 1
    (line,) = done.stderr.decode().splitlines()
    assert line.startswith("The output could not be written: ")


def test_without_any_stream_nothing_is_lost(named: World, shell: Any, tmp_path: Any) -> None:
    file = tmp_path / "v.json"
    assert shell(f"export {SITE} --viewers -o {file} <&- >&- 2>&-").returncode == 0
    assert [one["name"] for one in json.loads(file.read_text())] == NAMES
    assert shell("spaces <&- >&- 2>&-").returncode == 1


def test_an_error_never_takes_the_place_of_output(shell: Any) -> None:
    done = shell("show nope:x 2>&-")
    assert (done.returncode, done.stdout, done.stderr) == (2, b"", b"")


def test_a_question_without_standard_input_is_not_asked(shell: Any) -> None:
    done = shell("erase --user u1 <&-")
    assert done.returncode == 1
    assert b"add --yes" in done.stderr


def test_a_reader_that_leaves_ends_the_command_quietly(named: World, shell: Any) -> None:
    assert shell(f"export {SITE} --viewers --format json | head -c 1").stderr == b""


def test_text_that_is_no_utf_8_is_refused_in_a_sentence(shell: Any) -> None:
    for words in ("show site:\\377", "spaces --kind \\377", "kick site:main --user \\377"):
        done = shell(f'$(printf "{words}")')
        assert done.returncode in (1, 2), words
        assert b"Traceback" not in done.stderr
        assert len(done.stderr.decode().splitlines()) == 1, done.stderr
