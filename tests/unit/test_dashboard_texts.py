"""What the dashboard shows of texts and shares from others, by its own code in Node."""

from __future__ import annotations

from typing import Any

from headcount_cli.output import is_blank, printable

from tests.support.node import run_module

_SCRIPT = """
import * as tools from './clients/dashboard/tools.js';
const [name, values] = JSON.parse(process.argv[1]);
console.log(JSON.stringify(values.map((value) => tools[name](value))));
"""


def computed(name: str, *values: Any) -> list[Any]:
    """What a function of the dashboard returns for each of these."""
    found: list[Any] = run_module(_SCRIPT, [name, values])
    return found


def test_some_are_never_none_and_most_are_never_all() -> None:
    shares = (0, 1 / 300, 0.0049, 0.005, 0.5, 0.994, 299 / 300, 0.9999, 1)
    texts = ["0%", "<1%", "<1%", "1%", "50%", "99%", ">99%", ">99%", "100%"]
    assert computed("percent", *shares) == texts


NAMES = (
    "Ada",
    "\u202enimda",
    "Zoë 👩\u200d💻",
    "a\u200bb",
    "\u2066x\u2069",
    "\x1b[31m",
    "🏴",
    "नि\u200dक",
)
BLANKS = (
    "\u3164",
    "   ",
    "\u200b",
    "\u202e",
    "\u2800\u00a0",
    "\u115f\u1160",
    "\ufeff",
    "\u2003",
    "",
)


def test_what_is_invisible_is_shown_as_the_command_line_does() -> None:
    texts = [*NAMES, "\u3164", "\u200b\u200b", "\u2800"]
    assert computed("shown", *texts) == [printable(text) for text in texts]
    assert computed("shown", "\u202enimda") == ["\\u202enimda"]
    assert computed("shown", "\u3164") == ["\\u3164"]
    assert computed("shown", "two\nlines", 12) == ["two\nlines", "12"]


def test_a_name_that_shows_nothing_is_none() -> None:
    assert computed("isBlank", *BLANKS) == [True] * len(BLANKS)
    assert [is_blank(name) for name in BLANKS] == [True] * len(BLANKS)
    assert computed("isBlank", *NAMES) == [False] * len(NAMES)
    assert [is_blank(name) for name in NAMES] == [False] * len(NAMES)
