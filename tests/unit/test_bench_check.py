"""`make bench-check` fails if a figure is worse than committed."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from lab.bench import check, cold_start, starts
from lab.bench.check import COMMITTED
from lab.bench.figures import Figure, compare, dump, load
from lab.harness.template import template


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


def test_the_committed_tolerance_applies_not_the_measured_one() -> None:
    _, holds = compare({"a.x": Figure(10, tolerance=0)}, {"a.x": Figure(11, tolerance=1)})
    assert not holds


def test_figures_of_another_python_are_skipped() -> None:
    (line,), holds = compare({"a.python311.x": Figure(1)}, {}, python="python312")
    assert holds
    assert "passed over: this is python312" in line
    assert not compare({"a.python311.x": Figure(1)}, {}, python="python311")[1]


@pytest.mark.parametrize("strict", [True, False])
def test_a_python_without_committed_figures_is_skipped_unless_strict(*, strict: bool) -> None:
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


def test_the_command_fails_on_a_loss_and_accepts_with_its_option(
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


def test_a_functions_start_is_held_by_its_ratio_to_a_bare_interpreter() -> None:
    bare = {cold_start.BARE: 10.0, "plain function": 1_000.0}
    at_the_limits = {"beat": 70.0, "api": 260.0, "count": 130.0, "socket": 130.0}
    lines, holds = cold_start.report(bare | at_the_limits)
    assert holds
    assert lines[-1].split() == ["socket", "130", "13.0", "13"]
    for function, most in at_the_limits.items():
        lines, holds = cold_start.report(bare | at_the_limits | {function: most + 1})
        assert not holds
        assert ["TOO SLOW" in line for line in lines].count(True) == 1


def test_what_a_first_event_imports_is_a_figure_of_its_own() -> None:
    found = starts.figures("count", "count_join", 150, ["decimal", "uuid"])
    python = starts.PYTHON
    assert found == {
        f"start.{python}.modules_of_count": Figure(150),
        f"start.{python}.modules_that_count_join_imports": Figure(2),
    }


def test_every_function_has_an_event_whose_imports_are_counted() -> None:
    functions = {starts.function_of(event) for event in starts.EVENTS.glob("*.json")}
    assert functions == set(template().functions)


def test_only_a_token_has_a_first_event_import_anything() -> None:
    deferred = {
        name: figure.value
        for name, figure in load(COMMITTED.read_text()).items()
        if ".modules_that_" in name and figure.value
    }
    late = {name.partition("modules_that_")[2].removesuffix("_imports") for name in deferred}
    assert late <= {"containers_launch", "socket_connect"}  # a token's cryptography
