"""Exports: all rows, and no formulas in CSV."""

from __future__ import annotations

import asyncio
import csv
import io
import json
import re
import sys
from datetime import UTC, date, datetime
from itertools import product
from pathlib import Path
from typing import Any, get_origin, get_type_hints

import pytest
from headcount.times import DAY, SECOND
from headcount.usecases.read import MAX_DAYS, MAX_TIMELINE
from headcount.web.answers import Day, Point, Viewer
from headcount.web.moderation import ActOfAdmin
from headcount_cli import export as export_module
from headcount_cli.export import COLUMNS, as_csv, as_parquet, export, flat
from pyarrow import parquet

from lab.harness.template import ROOT
from lab.harness.world import World
from tests.cli.conftest import Run
from tests.unit.test_injection import FORMULAS, PARTS

SITE = "site:main"
NOW = datetime(2026, 11, 22, tzinfo=UTC)


def rows_of(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text)))


def test_all_viewers_are_exported_with_a_column_for_each_facet(here: World, run: Run) -> None:
    for number in range(130):
        here.beat(f"tab-{number:03}", visitorId=f"v{number}", facets={"device": "mobile"})
    here.beat("tab-x", page="/", facets={"plan": "pro"})
    rows = rows_of(run("export", SITE, "--viewers").stdout)
    assert len(rows) == 131
    assert rows[0]["facets.device"] == "mobile"
    assert (rows[-1]["facets.plan"], rows[-1]["facets.device"]) == ("pro", "")


def test_a_formula_is_text_in_a_spreadsheet(here: World, run: Run) -> None:
    here.beat("tab-1", userId="u1", name='=HYPERLINK("http://evil.test")', page="+1")
    (row,) = rows_of(run("export", SITE, "--viewers").stdout)
    assert row["name"] == '\'=HYPERLINK("http://evil.test")'
    assert row["page"] == "'+1"


def test_the_dashboard_has_the_same_rule_for_formulas() -> None:
    script = (ROOT / "clients" / "dashboard" / "csv.js").read_text()
    assert f"const FORMULA = /{export_module._FORMULA.pattern}/;" in script
    assert f"const FORMULA_INSIDE = /{export_module._FORMULA_INSIDE.pattern}/g;" in script


@pytest.mark.parametrize("separator", [",", ";", "\t", "|"])
def test_no_cell_is_a_formula_whatever_separates_cells(separator: str) -> None:
    texts = [f"{a}{b}{c}" for a, b, c in product(PARTS, FORMULAS, PARTS)]
    rows = [{"name": "x", text: [text], "text": text} for text in texts]
    written = as_csv(rows[:300]) + as_csv(rows[300:])
    found = 0
    for row in csv.reader(io.StringIO(written.decode(), newline=""), delimiter=separator):
        for cell in row:
            found += 1
            assert not re.match(r"""["\s]*[=+\-@＝＋－＠]""", cell), row
    assert found > 1000


def test_other_text_stays_as_it_is() -> None:
    texts = ["x;y", "a - b", "Wien, -5 °C", "a=b", "you+me@x.test", "/?a=1&b=-2", "a;b=c", "a\r\nb"]
    rows = [{"text": text, "n": -1.5} for text in texts]
    assert [row["text"] for row in rows_of(as_csv(rows).decode())] == texts
    assert {row["n"] for row in rows_of(as_csv(rows).decode())} == {"-1.5"}


def test_a_csv_file_begins_as_the_dashboard_s_and_a_pipe_does_not(
    here: World, run: Run, tmp_path: Path
) -> None:
    here.beat("tab-1", userId="u1", name="Zoë")
    run("export", SITE, "--viewers", "-o", str(tmp_path / "v.csv"))
    content = (tmp_path / "v.csv").read_bytes()
    assert content.startswith("\ufeffsessionId,".encode())
    assert rows_of(content.decode("utf-8-sig"))[0]["name"] == "Zoë"
    assert run("export", SITE, "--viewers").stdout_bytes == content.removeprefix(b"\xef\xbb\xbf")
    run("export", SITE, "--viewers", "-o", str(tmp_path / "v.json"))
    assert (tmp_path / "v.json").read_bytes().startswith(b"[")


def test_the_format_follows_from_the_file_s_name(here: World, run: Run, tmp_path: Path) -> None:
    here.beat("tab-1", visitorId="v")
    here.settle()
    asked = ("export", SITE, "--days", "--from", "2026-11-01", "--to", "2026-11-21", "-o")
    for name in ("days.csv", "days.json", "days.parquet"):
        done = run(*asked, str(tmp_path / name))
        assert done.exit_code == 0, done.stderr
        assert "1 rows in" in done.stderr
    (row,) = rows_of((tmp_path / "days.csv").read_text(encoding="utf-8-sig"))
    assert (row["date"], row["uniquePeople"]) == ("2026-11-21", "1")
    assert json.loads((tmp_path / "days.json").read_text())[0]["views"] == 1
    (row,) = parquet.read_table(tmp_path / "days.parquet").to_pylist()
    assert (row["date"], row["uniquePeople"]) == (date(2026, 11, 21), 1)
    assert {path.name for path in tmp_path.iterdir()} == {"days.csv", "days.json", "days.parquet"}


def test_a_column_of_a_file_has_one_type() -> None:
    rows = [
        {"at": "2026-11-21T12:00:00.000Z", "details.x": "a", "n": 1, "none": None},
        {"at": "2026-11-21T12:01:00.000Z", "details.x": 1.5, "n": 2.5},
    ]
    table = parquet.read_table(io.BytesIO(as_parquet(rows)))
    assert table.to_pylist()[0] == {
        "at": datetime.fromisoformat("2026-11-21T12:00:00+00:00"),
        "details.x": "a",
        "n": 1.0,
        "none": None,
    }


def test_no_viewers_make_an_empty_file(here: World, run: Run) -> None:
    assert rows_of(run("export", SITE, "--viewers").stdout) == []
    assert json.loads(run("export", SITE, "--viewers", "--format", "json").stdout) == []
    assert parquet.read_table(io.BytesIO(as_parquet([]))).num_rows == 0


@pytest.mark.parametrize("sort", COLUMNS)
def test_a_file_without_rows_has_its_columns(here: World, run: Run, sort: str) -> None:
    assert run("export", SITE, f"--{sort}").stdout == ",".join(COLUMNS[sort]) + "\n"
    table = parquet.read_table(io.BytesIO(as_parquet([], COLUMNS[sort])))
    assert tuple(table.column_names) == COLUMNS[sort]


@pytest.mark.parametrize(
    ("sort", "row"),
    [("days", Day), ("timeline", Point), ("viewers", Viewer), ("audit", ActOfAdmin)],
)
def test_the_columns_are_those_of_the_server_s_answers(sort: str, row: type) -> None:
    # What has parts is no column.
    names = {
        name for name, kind in get_type_hints(row).items() if get_origin(kind) not in {dict, list}
    }
    assert names == {*COLUMNS[sort]}


@pytest.mark.parametrize("sort", ["--days", "--timeline", "--audit"])
def test_a_period_that_ends_before_it_begins_is_refused(here: World, run: Run, sort: str) -> None:
    here.beat("s1")
    done = run("export", SITE, sort, "--from", "2026-11-22", "--to", "2026-11-20")
    assert done.exit_code == 2
    assert "must not be later" in done.stderr


def test_an_unknown_extension_is_refused(here: World, run: Run, tmp_path: Path) -> None:
    here.beat("s1")
    file = tmp_path / "days.xlsx"
    assert run("export", SITE, "-o", str(file)).exit_code == 2
    assert run("export", SITE, "-o", str(file), "--format", "csv").exit_code == 0
    assert file.exists()


@pytest.mark.parametrize("name", ["x.CSV", "x.Json", "x.PARQUET", "x.y.Csv"])
def test_the_case_of_an_extension_does_not_matter(
    here: World, run: Run, tmp_path: Path, name: str
) -> None:
    here.beat("s1")
    assert run("export", SITE, "--viewers", "-o", str(tmp_path / name)).exit_code == 0
    start = {"C": b"sess", "J": b"[", "P": b"PAR1"}[name.rsplit(".", maxsplit=1)[-1][0]]
    assert start in (tmp_path / name).read_bytes()[:7]
    assert (
        run("export", SITE, "--viewers", "--format", name.rsplit(".", maxsplit=1)[-1]).exit_code
        == 0
    )


def test_a_file_that_can_t_be_written_leaves_nothing_behind(
    here: World, run: Run, tmp_path: Path
) -> None:
    (tmp_path / "days.csv").mkdir()
    done = run("export", SITE, "-o", str(tmp_path / "days.csv"))
    assert (done.exit_code, list(tmp_path.iterdir())) == (1, [tmp_path / "days.csv"])


def test_without_pyarrow_the_error_says_what_to_install(
    here: World, run: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    done = run("export", SITE, "--viewers", "-o", str(tmp_path / "v.parquet"))
    assert done.exit_code == 1
    assert ".[parquet]" in done.stderr
    assert not list(tmp_path.iterdir())


def test_only_one_type_of_row_at_a_time(run: Run) -> None:
    assert run("export", SITE, "--days", "--viewers").exit_code == 2
    assert run("export", SITE, "--viewers", "--from", "2026-11-01").exit_code == 2
    assert "2026-11-21" in run("export", SITE, "--days", "--to", "yesterday").stderr


class Options:
    """Answers every period with its first moment, and records the requests."""

    def __init__(self, rows: str) -> None:
        self.rows, self.periods = rows, list[tuple[str, str]]()

    async def get(self, _: str, **query: str) -> Any:
        self.periods.append((query["from"], query["to"]))
        return {self.rows: [{"from": query["from"]}]}


def exported(what: str, rows: str, start: str, end: str) -> Options:
    api = Options(rows)
    anything: Any = api
    found = asyncio.run(export(anything, what, SITE, start, end, now=NOW))
    assert len(found) == len(api.periods)
    return api


def test_long_periods_are_requested_in_parts() -> None:
    days = exported("days", "days", "2024-01-01", "2026-11-21").periods
    assert days == [
        ("2024-01-01", "2025-02-03"),
        ("2025-02-04", "2026-03-10"),
        ("2026-03-11", "2026-11-21"),
    ]
    assert export_module.DAYS.days + 1 == MAX_DAYS
    points = exported("timeline", "points", "2026-11-01T00:00:00Z", "2026-11-10T00:00:00Z").periods
    assert points == [
        ("2026-11-01T00:00:00.000Z", "2026-11-07T23:59:59.999Z"),
        ("2026-11-08T00:00:00.000Z", "2026-11-10T00:00:00.000Z"),
    ]
    assert export_module.TIMELINE.total_seconds() * SECOND == MAX_TIMELINE == 7 * DAY


def test_actions_beyond_a_full_page_are_read_too() -> None:
    acts = [
        {"id": str(n), "at": f"2026-11-21T{23 - n // 60:02}:{59 - n % 60:02}:00Z"}
        for n in range(700)
    ]

    class Audit:
        async def get(self, _: str, **query: str) -> Any:
            return {"acts": [act for act in acts if act["at"] <= query["to"]][:500]}

    anything: Any = Audit()
    found = asyncio.run(export(anything, "audit", SITE, None, "2026-11-22T00:00:00Z", now=NOW))
    assert [act["id"] for act in found] == [act["id"] for act in acts]


def test_rows_are_flattened() -> None:
    assert flat({"a": 1, "b": {"c": {"d": 2}}}) == {"a": 1, "b.c.d": 2}
    assert as_csv([{"a": [1, 2], "b": True}]) == b'a,b\r\n"[1, 2]",true\r\n'
