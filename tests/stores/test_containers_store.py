"""The containers in the Streams table, on each engine."""

from __future__ import annotations

from dataclasses import replace

import pytest
from headcount.model.container import Container
from headcount.store.containers import ContainersTable
from headcount.times import DAY, SECOND

from lab.harness.clock import NOON
from lab.harness.engines import Engine, Table

ONE = Container(
    id="c13b4cb40f1f4fe4a2971f76ae5a47ad",
    event="event-42",
    version=3,
    last_status="RUNNING",
    desired_status="RUNNING",
)


@pytest.fixture
def table(engine: Engine) -> Table:
    return engine.create("streams")


@pytest.fixture
def containers(table: Table) -> ContainersTable:
    return ContainersTable(table.engine.client, table.name)


def test_a_state_comes_back_as_it_was_kept(containers: ContainersTable) -> None:
    full = replace(
        ONE,
        health_status="HEALTHY",
        created_at=NOON - 2,
        started_at=NOON - 1,
        stopped_at=NOON,
        stopped_reason="Essential container in task exited",
    )
    for state in (ONE, replace(full, version=4)):
        containers.save(state, now=NOON)
        assert containers.get(ONE.id) == state


def test_an_unknown_container_is_none(containers: ContainersTable) -> None:
    assert containers.get(ONE.id) is None
    assert containers.unannounced(ONE.id) is None


@pytest.mark.parametrize("version", [3, 2, 0])
def test_a_state_of_the_same_or_an_older_version_changes_nothing(
    containers: ContainersTable, version: int
) -> None:
    containers.save(ONE, now=NOON)
    containers.save(replace(ONE, last_status="PENDING", version=version), now=NOON)
    assert containers.get(ONE.id) == ONE


def test_a_state_is_to_be_sent_until_it_was(containers: ContainersTable) -> None:
    containers.save(ONE, now=NOON)
    assert containers.unannounced(ONE.id) == ONE
    containers.mark_announced(ONE)
    assert containers.unannounced(ONE.id) is None
    containers.save(ONE, now=NOON)
    assert containers.unannounced(ONE.id) is None
    later = replace(ONE, version=4)
    containers.save(later, now=NOON)
    assert containers.unannounced(ONE.id) == later


def test_a_state_that_was_sent_late_does_not_hide_a_newer_one(containers: ContainersTable) -> None:
    later = replace(ONE, version=4)
    containers.save(ONE, now=NOON)
    containers.save(later, now=NOON)
    containers.mark_announced(ONE)
    assert containers.unannounced(ONE.id) == later


def test_marking_an_unknown_state_as_sent_stores_nothing(
    containers: ContainersTable, table: Table
) -> None:
    containers.mark_announced(ONE)
    assert table.rows() == []


def test_a_container_is_kept_for_seven_days(containers: ContainersTable, table: Table) -> None:
    containers.save(ONE, now=NOON)
    (row,) = table.rows()
    assert (row["partition"], row["sort"]) == ("container", ONE.id)
    assert row["ttl"] == (NOON + 7 * DAY) // SECOND
