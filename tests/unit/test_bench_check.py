"""The gate that holds what was reached."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.bench import check
from tests.bench.check import COMMITTED
from tests.bench.figures import Figure, compare, dump, load


@pytest.mark.parametrize(
    ("figure", "found", "verdict"),
    [
        (Figure(10), 10, "as committed"),
        (Figure(10), 10.5, "WORSE"),
        (Figure(10), 9.5, "better"),
        (Figure(10, better="higher"), 9.5, "WORSE"),
        (Figure(10, better="higher"), 10.5, "better"),
        (Figure(10, tolerance=0.05), 10.5, "as committed"),
        (Figure(10, tolerance=0.05), 10.6, "WORSE"),
        (Figure(0), 0.1, "WORSE"),
    ],
)
def test_a_figure_may_only_get_better(figure: Figure, found: float, verdict: str) -> None:
    assert figure.judge(found) == verdict


def test_figures_that_are_the_same_or_better_hold() -> None:
    lines, holds = compare(
        {"a.x": Figure(2), "a.y": Figure(2)}, {"a.x": Figure(2), "a.y": Figure(1)}
    )
    assert holds
    assert ["better" in line for line in lines] == [False, True]


@pytest.mark.parametrize(
    ("committed", "found", "word"),
    [
        ({"a.x": Figure(1)}, {"a.x": Figure(2)}, "WORSE"),
        ({"a.x": Figure(1)}, {}, "MISSING"),
        ({}, {"a.x": Figure(1)}, "NEW"),
    ],
)
def test_a_loss_a_missing_and_a_new_figure_do_not_hold(
    committed: dict[str, Figure], found: dict[str, Figure], word: str
) -> None:
    (line,), holds = compare(committed, found)
    assert not holds
    assert word in line


def test_the_committed_terms_count_not_those_measured_with() -> None:
    _, holds = compare({"a.x": Figure(10, tolerance=0)}, {"a.x": Figure(11, tolerance=1)})
    assert not holds


def test_figures_of_another_python_are_passed_over() -> None:
    (line,), holds = compare({"a.python311.x": Figure(1)}, {}, python="python312")
    assert holds
    assert "passed over: this is python312" in line
    assert not compare({"a.python311.x": Figure(1)}, {}, python="python311")[1]


@pytest.mark.parametrize("strict", [True, False])
def test_a_python_without_committed_figures_is_passed_over_unless_asked_to_be_strict(
    *, strict: bool
) -> None:
    found = {"a.python312.x": Figure(1)}
    committed = {"a.python311.x": Figure(1)}
    assert compare(committed, found, python="python312", strict=strict)[1] != strict
    known = {**committed, "a.python312.y": Figure(1), "a.python312.x": Figure(0.5)}
    assert not compare(known, {**found, "a.python312.y": Figure(1)}, python="python312")[1]


def test_every_bench_has_committed_figures() -> None:
    assert {name.partition(".")[0] for name in load(COMMITTED.read_text())} == set(check.BENCHES)


def test_figures_are_read_as_they_were_written() -> None:
    figures = {"b.y": Figure(1.5, "higher", 0.1), "a.x": Figure(2)}
    assert load(dump(figures)) == figures
    assert list(json.loads(dump(figures))) == ["a.x", "b.y"]


def run(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    monkeypatch.setattr("sys.argv", ["check", *arguments])
    return check.main()


def test_the_command_fails_on_a_loss_and_accepts_when_told_to(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    committed = tmp_path / "figures.json"
    committed.write_text(dump({"a.x": Figure(1), "b.y": Figure(1)}))
    monkeypatch.setattr(check, "COMMITTED", committed)
    benches = {"a": lambda: {"a.x": Figure(2)}, "b": lambda: {"b.y": Figure(1)}}
    monkeypatch.setattr(check, "BENCHES", benches)
    assert run(monkeypatch, "b") == 0
    assert run(monkeypatch) == 1
    assert run(monkeypatch, "a", "--accept") == 0
    assert load(committed.read_text()) == {"a.x": Figure(2), "b.y": Figure(1)}
    assert run(monkeypatch) == 0
