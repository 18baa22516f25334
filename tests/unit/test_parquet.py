"""Parquet files as other programs read them: DuckDB and Arrow, unmodified."""

from __future__ import annotations

import io
from datetime import date
from pathlib import Path
from typing import Any

import duckdb
import pyarrow.parquet
from headcount.usecases.parquet import ParquetFile, Type
from hypothesis import given, settings
from hypothesis import strategies as st

COLUMNS = {"day": Type.DATE, "n": Type.INTEGER, "text": Type.TEXT}
days = st.dates(date(1900, 1, 1), date(2200, 1, 1))
rows = st.lists(
    st.fixed_dictionaries(
        {
            "day": days.map(date.isoformat),
            "n": st.integers(-(2**63), 2**63 - 1),
            "text": st.text(st.characters(exclude_categories=["Cs"]), max_size=50),
        }
    ),
    max_size=30,
)


def written(groups: list[list[dict[str, Any]]], columns: dict[str, Type] = COLUMNS) -> bytes:
    file = ParquetFile(columns)
    for group in groups:
        file.add(group)
    return file.content()


@settings(max_examples=30)
@given(st.lists(rows.filter(bool), max_size=20))
def test_arrow_reads_what_was_written(groups: list[list[dict[str, Any]]]) -> None:
    table = pyarrow.parquet.read_table(io.BytesIO(written(groups)))
    expected = [{**row, "day": date.fromisoformat(row["day"])} for group in groups for row in group]
    assert table.to_pylist() == expected
    assert [str(field.type) for field in table.schema] == ["date32[day]", "int64", "string"]


def test_duckdb_reads_many_groups_and_their_types(tmp_path: Path) -> None:
    groups = [
        [{"day": "2026-11-21", "n": 100 * group + n, "text": f"ä{n}"} for n in range(100)]
        for group in range(40)
    ]
    file = tmp_path / "a.parquet"
    file.write_bytes(written(groups))
    with duckdb.connect() as db:
        read = db.read_parquet(str(file))
        found = read.aggregate("count(*), sum(n), min(day), max(text)").fetchall()
        types = read.types
    assert found == [(4000, sum(range(4000)), date(2026, 11, 21), "ä99")]
    assert [str(one) for one in types] == ["DATE", "BIGINT", "VARCHAR"]


def test_a_file_without_rows_has_its_columns(tmp_path: Path) -> None:
    file = tmp_path / "a.parquet"
    file.write_bytes(written([]))
    with duckdb.connect() as db:
        assert db.read_parquet(str(file)).columns == [*COLUMNS]


def test_more_columns_than_a_short_list_holds() -> None:
    names = [f"c{number}" for number in range(20)]
    content = written([[dict.fromkeys(names, 7)]], dict.fromkeys(names, Type.INTEGER))
    assert pyarrow.parquet.read_table(io.BytesIO(content)).to_pylist() == [dict.fromkeys(names, 7)]


def test_the_same_rows_make_the_same_file() -> None:
    group = [{"day": "2026-11-21", "n": 1, "text": "a"}]
    assert written([group]) == written([group])
