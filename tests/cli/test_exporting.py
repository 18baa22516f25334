"""Files of rows: all of them, and harmless ones."""

from __future__ import annotations

import asyncio
import csv
import io
import json
import sys
from datetime import date, datetime
from pathlib import Path
from typing import Any, get_origin, get_type_hints

import pytest
from headcount.reading import MAX_DAYS, MAX_TIMELINE
from headcount.times import DAY, SECOND
from headcount.web.answers import Day, Point, Viewer
from headcount.web.moderation import ActOfAdmin
from headcount_cli import exporting
from headcount_cli.exporting import COLUMNS, as_csv, as_parquet, export, flat
from pyarrow import parquet

from tests.cli.conftest import Run
from tests.support.template import ROOT
from tests.support.world import World

SITE = "site:main"


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


def test_what_is_a_formula_is_what_the_dashboard_says_is_one() -> None:
    script = (ROOT / "functions" / "site" / "src" / "csv.js").read_text()
    assert f"const FORMULA = /{exporting._FORMULA.pattern}/;" in script


def test_the_file_s_name_says_its_format(here: World, run: Run, tmp_path: Path) -> None:
    here.beat("tab-1", visitorId="v")
    here.settle()
    asked = ("export", SITE, "--days", "--from", "2026-11-01", "--to", "2026-11-21", "-o")
    for name in ("days.csv", "days.json", "days.parquet"):
        done = run(*asked, str(tmp_path / name))
        assert done.exit_code == 0, done.stderr
        assert "1 rows in" in done.stderr
    (row,) = rows_of((tmp_path / "days.csv").read_text())
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


def test_nobody_makes_an_empty_file_and_not_an_error(here: World, run: Run) -> None:
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
def test_the_columns_are_what_the_server_answers(sort: str, row: type) -> None:
    said = {name for name, kind in get_type_hints(row).items() if get_origin(kind) is not dict}
    assert said == {*COLUMNS[sort]}


@pytest.mark.parametrize("sort", ["--days", "--timeline", "--audit"])
def test_a_period_that_ends_before_it_begins_is_no_empty_file(
    here: World, run: Run, sort: str
) -> None:
    here.beat("s1")
    done = run("export", SITE, sort, "--from", "2026-11-22", "--to", "2026-11-20")
    assert done.exit_code == 2
    assert "must not be later" in done.stderr


def test_a_file_of_a_name_that_says_no_format_is_refused(
    here: World, run: Run, tmp_path: Path
) -> None:
    here.beat("s1")
    file = tmp_path / "days.xlsx"
    assert run("export", SITE, "-o", str(file)).exit_code == 2
    assert run("export", SITE, "-o", str(file), "--format", "csv").exit_code == 0
    assert file.exists()


def test_a_file_that_can_not_be_put_in_its_place_leaves_none_behind(
    here: World, run: Run, tmp_path: Path
) -> None:
    (tmp_path / "days.csv").mkdir()
    done = run("export", SITE, "-o", str(tmp_path / "days.csv"))
    assert (done.exit_code, list(tmp_path.iterdir())) == (1, [tmp_path / "days.csv"])


def test_without_pyarrow_it_is_said_what_to_install(
    here: World, run: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    done = run("export", SITE, "--viewers", "-o", str(tmp_path / "v.parquet"))
    assert done.exit_code == 1
    assert ".[parquet]" in done.stderr
    assert not list(tmp_path.iterdir())


def test_one_sort_at_a_time(run: Run) -> None:
    assert run("export", SITE, "--days", "--viewers").exit_code == 2
    assert run("export", SITE, "--viewers", "--from", "2026-11-01").exit_code == 2
    assert "2026-11-21" in run("export", SITE, "--days", "--to", "yesterday").stderr


class Asked:
    """Answers every period with its first moment, and remembers what was asked for."""

    def __init__(self, rows: str) -> None:
        self.rows, self.periods = rows, list[tuple[str, str]]()

    async def get(self, _: str, **query: str) -> Any:
        self.periods.append((query["from"], query["to"]))
        return {self.rows: [{"from": query["from"]}]}


def exported(what: str, rows: str, start: str, end: str) -> Asked:
    api = Asked(rows)
    anything: Any = api
    found = asyncio.run(export(anything, what, SITE, start, end))
    assert len(found) == len(api.periods)
    return api


def test_longer_periods_than_the_server_takes_are_asked_for_piece_by_piece() -> None:
    days = exported("days", "days", "2024-01-01", "2026-11-21").periods
    assert days == [
        ("2024-01-01", "2025-02-03"),
        ("2025-02-04", "2026-03-10"),
        ("2026-03-11", "2026-11-21"),
    ]
    assert exporting.DAYS.days + 1 == MAX_DAYS
    points = exported("timeline", "points", "2026-11-01T00:00:00Z", "2026-11-10T00:00:00Z").periods
    assert points == [
        ("2026-11-01T00:00:00.000Z", "2026-11-07T23:59:59.999Z"),
        ("2026-11-08T00:00:00.000Z", "2026-11-10T00:00:00.000Z"),
    ]
    assert exporting.TIMELINE.total_seconds() * SECOND == MAX_TIMELINE == 7 * DAY


def test_acts_beyond_a_full_page_are_read_too() -> None:
    acts = [
        {"id": str(n), "at": f"2026-11-21T{23 - n // 60:02}:{59 - n % 60:02}:00Z"}
        for n in range(700)
    ]

    class Audit:
        async def get(self, _: str, **query: str) -> Any:
            return {"acts": [act for act in acts if act["at"] <= query["to"]][:500]}

    anything: Any = Audit()
    found = asyncio.run(export(anything, "audit", SITE, None, "2026-11-22T00:00:00Z"))
    assert [act["id"] for act in found] == [act["id"] for act in acts]


def test_rows_lie_flat() -> None:
    assert flat({"a": 1, "b": {"c": {"d": 2}}}) == {"a": 1, "b.c.d": 2}
    assert as_csv([{"a": [1, 2], "b": True}]) == b'a,b\r\n"[1, 2]",true\r\n'
