"""The field's words: those that were replaced stay out of code, comments, pages and screens."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

from lab.harness.template import ROOT

BETTER = {
    r"errands?": "deferred work, a deferred task",
    r"said": "fields, body, reported",
    r"told": "reported, sent; a numbered event",
    r"heed(s|ed|ing)?": "apply, respect",
    r"mend(s|ed|ing)?": "fix",
    r"whoever|whomever": "a subject: a client, a visitor, an operator",
    r"make-believe": "simulated",
    r"belated(ly)?": "late",
    r"patience": "timeout, limit",
    r"tidings": "event, message",
    r"switchboard": "DashboardSocket",
    r"glance": "SpaceSummary",
    r"hand(s|ed|ing)? on": "pass on",
    r"left for later|leave for later": "deferred",
    r"twice over|over and over": "repeatedly",
    r"as of when": "when",
    r"to be had": "available",
    r"of one's own": "own, separate",
}
"""A word as a regular expression -> what the field says."""

PLACES = [
    *("layers", "functions", "cdk", "cli", "clients", "local", "lab", "docs", "events", "tests"),
    *("template.yaml", "samconfig.toml", "README.md", "CONTRIBUTING.md", "SECURITY.md"),
    *("Makefile", ".ci/run"),
]
TEXT = {
    *(".py", ".js", ".mjs", ".jsx", ".ts", ".tsx", ".html", ".css"),
    *(".md", ".yaml", ".toml", ".json", ""),
}
LEFT_OUT = [
    Path(__file__).resolve(),  # names the words itself
    ROOT / "tests" / "template" / "released",  # names and rows of earlier releases
    ROOT / "tests" / "hard_cases" / "rows",
]
NAMES_THAT_STAY = re.compile(r"ErrandQueue|ErrandsLogs|-errands\b|[\"`]told[\"`]")
"""What release 1.0.0 named or stored, and an update would replace or miss."""
_WORDS = {
    better: re.compile(rf"(?<![A-Za-z]){word}(?![A-Za-z])", re.I) for word, better in BETTER.items()
}
_PARTS = re.compile(r"[_\-.]+|(?<=[a-z0-9])(?=[A-Z])")
"""Where the words of a name join."""


@cache
def sources() -> tuple[Path, ...]:
    """The project's own texts: nothing that was built, installed, locked or recorded."""
    generated = {"node_modules", "__pycache__", "built", "locks", "releases"}
    found = [
        path
        for place in PLACES
        for path in ([ROOT / place] if (ROOT / place).is_file() else (ROOT / place).rglob("*"))
        if path.is_file() and path.suffix in TEXT and not generated & {*path.parts}
    ]
    return tuple(
        sorted(
            path
            for path in found
            if path.name != "package-lock.json"
            and not any(path.resolve().is_relative_to(one) for one in LEFT_OUT)
        )
    )


def replaced_words(text: str) -> Iterator[tuple[int, str, str]]:
    """Lines with a replaced word, and the field's word."""
    for number, line in enumerate(text.splitlines(), 1):
        plain = NAMES_THAT_STAY.sub("", line)
        apart = _PARTS.sub(" ", plain)
        for better, word in _WORDS.items():
            if found := word.search(plain) or word.search(apart):
                yield number, found[0], better


def test_no_replaced_word_is_used() -> None:
    found = [
        f"{path.relative_to(ROOT)}:{number}: {word!r}: write {better}"
        for path in sources()
        for number, word, better in replaced_words(path.read_text(encoding="utf-8"))
    ]
    assert not found, "\n".join(found)


def test_no_merge_is_half_done() -> None:
    marks = re.compile(r"^(<<<<<<<|>>>>>>>) ", re.M)
    assert not [path for path in sources() if marks.search(path.read_text(encoding="utf-8"))]


@pytest.mark.parametrize(
    "line",
    [
        "def run_errands() -> None:",
        "saidNothing = 1",
        "# Whoever reads it",
        "ERRAND_QUEUE",
        "mends",
    ],
)
def test_a_replaced_word_is_noticed_in_a_name_and_in_a_sentence(line: str) -> None:
    assert list(replaced_words(line))


@pytest.mark.parametrize(
    "line", ["ErrandQueue:", "recommended", "a reminder", "amendment", "aside"]
)
def test_a_word_that_only_contains_one_is_not(line: str) -> None:
    assert not list(replaced_words(line))


def test_the_whole_project_is_checked() -> None:
    assert len(sources()) > 450
    assert {path.suffix for path in sources()} >= {".py", ".js", ".md", ".yaml", ".html"}
