"""The lake: a day's rows as a file that DuckDB reads."""

from __future__ import annotations

import json
from datetime import date
from pathlib import Path
from typing import Any

import boto3
import duckdb
import pytest
from headcount.aws import clients
from headcount.usecases import lake
from headcount.usecases.daily import DayRefusedError
from headcount.usecases.lake import COLUMNS, NoLakeError
from moto import mock_aws

from lab.harness.engines import Engine
from lab.harness.world import World
from tests.conftest import Worlds

DAY = "2026-11-21"
KEY = "headcount/prod/days/2026-11-21.parquet"


class FakeS3:
    """Keeps what is put."""

    def __init__(self) -> None:
        self.objects: dict[tuple[str, str], bytes] = {}

    def put_object(self, *, Bucket: str, Key: str, Body: bytes) -> None:  # noqa: N803
        """Store an object."""
        self.objects[Bucket, Key] = Body


@pytest.fixture
def world(memory: Engine, worlds: Worlds) -> World:
    return with_lake(worlds(memory, Settings="lake=my-bucket/headcount/prod"))


def with_lake(world: World) -> World:
    services: Any = world.services("daily")
    services.s3 = FakeS3()
    return world


def stored(world: World) -> dict[tuple[str, str], bytes]:
    services: Any = world.services("daily")
    found: dict[tuple[str, str], bytes] = services.s3.objects
    return found


def export(world: World, **event: Any) -> int:
    return int(world.invoke("daily", {"export": True, **event})["exported"])


def query(world: World, folder: Path, sql: str) -> list[Any]:
    """What DuckDB finds in the exported files, as the table ``days``."""
    for (bucket, key), content in stored(world).items():
        file = folder / bucket / key
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content)
    with duckdb.connect() as db:
        db.read_parquet(f"{folder}/**/*.parquet").create_view("days")
        return db.sql(sql).fetchall()


def a_day(world: World) -> None:
    """Two spaces have visitors on a day, which is then aggregated."""
    for space in ("site:main", "course:a"):
        world.beat("s1", space, visitorId="v1", engagement={"chat": 3})
    world.beat("s2", visitorId="v2")
    world.settle()
    world.clock.advance(60)
    for session in ("s1", "s2"):
        world.leave(session)
    world.leave("s1", "course:a")
    world.settle()
    world.clock.advance(13 * 3600)
    world.sweep()
    world.daily()


def test_duckdb_reads_a_days_rows_of_all_spaces(world: World, tmp_path: Path) -> None:
    a_day(world)
    world.beat("s1", "course:later")
    world.settle()
    assert export(world) == 2
    assert [*stored(world)] == [("my-bucket", KEY)]
    (course, site) = query(world, tmp_path, "SELECT * FROM days ORDER BY space")
    named = dict(zip(COLUMNS, site, strict=True))
    assert (named["date"], named["space"], named["kind"]) == (
        date(2026, 11, 21),
        "site:main",
        "site",
    )
    assert (named["uniquePeople"], named["views"], named["peak"]) == (2, 2, 2)
    assert json.loads(named["engagement"]) == {"chat": 3}
    assert course[1:3] == ("course:a", "course")
    day = world.get("/v1/spaces/site%3Amain/days", token=world.admin).body["days"][0]
    assert {**named, "date": DAY, "engagement": {"chat": 3}} == {
        "space": "site:main",
        "kind": "site",
        **day,
    }


def test_a_day_is_exported_again_over_itself(world: World) -> None:
    a_day(world)
    export(world)
    first = stored(world)["my-bucket", KEY]
    assert export(world, date=DAY) == 2
    assert stored(world) == {("my-bucket", KEY): first}


def test_many_spaces_are_written_in_groups(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lake, "ROWS_OF_A_GROUP", 3)
    for number in range(8):
        world.beat("s1", f"course:{number}")
    world.settle()
    world.clock.advance(13 * 3600)
    world.sweep()
    world.daily()
    assert export(world) == 8
    assert query(world, tmp_path, "SELECT count(DISTINCT space), sum(views) FROM days") == [(8, 8)]


def test_a_day_without_anybody_is_a_file_without_rows(world: World, tmp_path: Path) -> None:
    assert export(world, date="2026-11-01") == 0
    assert query(world, tmp_path, "SELECT count(*) FROM days") == [(0,)]


def test_a_day_that_is_not_over_is_refused(world: World) -> None:
    with pytest.raises(DayRefusedError, match="not over yet"):
        export(world, date=DAY)
    with pytest.raises(ValueError, match="month must be"):
        export(world, date="2026-13-01")
    assert stored(world) == {}


def test_without_a_lake_nothing_is_exported(memory: Engine, worlds: Worlds) -> None:
    world = with_lake(worlds(memory))
    with pytest.raises(NoLakeError, match="lake=<bucket>"):
        export(world)
    assert stored(world) == {}


def test_a_bucket_needs_no_prefix(memory: Engine, worlds: Worlds) -> None:
    world = with_lake(worlds(memory, Settings="dashboard=false,lake=my-bucket"))
    export(world)
    assert [*stored(world)] == [("my-bucket", "days/2026-11-20.parquet")]


def test_the_client_puts_a_file_into_a_bucket(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in (
        ("AWS_ACCESS_KEY_ID", "test"),
        ("AWS_SECRET_ACCESS_KEY", "test"),
        ("AWS_DEFAULT_REGION", "us-east-1"),
    ):
        monkeypatch.setenv(name, value)
    with mock_aws():
        boto3.client("s3").create_bucket(Bucket="my-bucket")
        clients.s3().put_object(Bucket="my-bucket", Key=KEY, Body=b"PAR1")
        found = boto3.client("s3").get_object(Bucket="my-bucket", Key=KEY)
        assert found["Body"].read() == b"PAR1"
