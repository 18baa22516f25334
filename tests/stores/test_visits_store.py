"""The ledger of visits, and the views that must agree with it, on each engine."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
from headcount.model.headcount import Views
from headcount.model.visit import Visit
from headcount.store.counts import CountsTable
from headcount.store.table import STORE_TRIES, Backoff
from headcount.store.visits import RETENTION, VISITS_PER_TRANSACTION, VisitsTable
from headcount.times import DAY, HOUR, day_of
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from lab.harness.clock import NOON
from lab.harness.engines import Engine, Table
from lab.harness.fakes import aws_error

TODAY = "2026-11-21"
TOMORROW = "2026-11-22"


@dataclass
class Ledger:
    table: Table
    store: VisitsTable
    counts: CountsTable

    def views(self, space: str = "site:main") -> Views:
        return self.counts.space(space).views

    def agrees(self, space: str = "site:main") -> bool:
        """There are as many views as visits that began."""
        rows = [row for row in self.table.rows() if row["space"] == space]
        began = {row["id"] for row in rows if row["space_day"].endswith(day_of(row["joined_at"]))}
        return self.views(space).total == len(began)


@pytest.fixture
def ledger(engine: Engine) -> Ledger:
    return make_ledger(engine)


def make_ledger(engine: Engine) -> Ledger:
    table, counts = engine.create("visits"), engine.create("counts")
    return Ledger(
        table,
        VisitsTable(
            engine.client,
            table.name,
            counts.name,
            day_rows_days=400,
            backoff=Backoff(lambda _: None, lambda: 1),
        ),
        CountsTable(engine.client, counts.name, day_rows_days=400),
    )


def visit(name: str = "v1", *, joined_at: int = NOON, space: str = "site:main") -> Visit:
    return Visit(
        space=space,
        id=name,
        session=f"session of {name}",
        user="u1",
        visitor="w1",
        joined_at=joined_at,
        beats={day_of(joined_at): 1},
    )


def ended(of: Visit, *, at: int = NOON + 60_000, by: str = "leave", **beats: int) -> Visit:
    return replace(of, ended_at=at, ended_by=by, beats={**of.beats, **beats})


def test_a_visit_is_recorded_and_viewed_once(ledger: Ledger) -> None:
    assert ledger.store.record([visit()]) == 1
    assert ledger.store.record([visit()]) == 0
    assert list(ledger.store.on_day("site:main", TODAY)) == [visit()]
    assert ledger.views() == Views(1, {TODAY: 1, "2026-W47": 1, "2026-11": 1})


def test_a_visit_twice_in_a_batch_is_one(ledger: Ledger) -> None:
    assert ledger.store.record([visit(), visit()]) == 1
    assert ledger.views().total == 1


def test_a_batch_of_old_and_new_visits_adds_only_the_new(ledger: Ledger) -> None:
    ledger.store.record([visit("v1"), visit("v3")])
    assert ledger.store.record([visit(f"v{number}") for number in range(5)]) == 3
    assert ledger.views().total == 5
    assert ledger.agrees()


@pytest.mark.slow
def test_more_visits_than_fit_in_a_transaction_are_all_recorded(ledger: Ledger) -> None:
    many = [visit(f"v{number:03d}") for number in range(VISITS_PER_TRANSACTION * 2 + 3)]
    assert ledger.store.record(many[:50]) == 50
    assert ledger.store.record(many) == len(many) - 50
    assert ledger.views().total == len(many)
    assert ledger.agrees()


def test_each_space_has_its_own_views(ledger: Ledger) -> None:
    ledger.store.record([visit("v1"), visit("v2", space="site:other"), visit("v3")])
    assert ledger.views("site:main").total == 2
    assert ledger.views("site:other").total == 1


def test_a_view_counts_on_the_day_it_began(ledger: Ledger) -> None:
    ledger.store.record([visit("v1"), visit("v2", joined_at=NOON + DAY)])
    by_period = ledger.views().by_period
    assert by_period[TODAY] == by_period[TOMORROW] == 1
    assert by_period["2026-11"] == 2


def test_an_end_is_written_into_the_ledger(ledger: Ledger) -> None:
    ledger.store.record([visit()])
    done = ended(visit(), **{TODAY: 3})
    ledger.store.end([done])
    assert list(ledger.store.on_day("site:main", TODAY)) == [done]
    assert ledger.views().total == 1


def test_an_end_is_safe_to_repeat(ledger: Ledger) -> None:
    ledger.store.record([visit()])
    ledger.store.end([ended(visit())])
    before = ledger.table.rows()
    ledger.store.end([ended(visit())])
    assert ledger.table.rows() == before
    assert ledger.agrees()


def test_a_beginning_that_is_repeated_after_the_end_changes_nothing(ledger: Ledger) -> None:
    ledger.store.record([visit()])
    ledger.store.end([ended(visit())])
    before = ledger.table.rows()
    ledger.store.record([visit()])
    assert ledger.table.rows() == before


def test_an_end_without_a_beginning_records_the_whole_visit(ledger: Ledger) -> None:
    ledger.store.end([ended(visit())])
    assert list(ledger.store.on_day("site:main", TODAY)) == [ended(visit())]
    assert ledger.views().total == 1


def test_a_visit_over_midnight_is_in_both_days_with_one_view(ledger: Ledger) -> None:
    began = visit(joined_at=NOON + 11 * HOUR)
    ledger.store.record([began])
    done = ended(began, at=NOON + 13 * HOUR, **{TODAY: 100, TOMORROW: 120})
    ledger.store.end([done])
    assert list(ledger.store.on_day("site:main", TODAY)) == [done]
    assert list(ledger.store.on_day("site:main", TOMORROW)) == [done]
    assert ledger.views() == Views(1, {TODAY: 1, "2026-W47": 1, "2026-11": 1})
    assert ledger.agrees()


def test_a_visit_over_midnight_that_is_recorded_at_once_is_in_both_days(ledger: Ledger) -> None:
    done = ended(visit(), at=NOON + DAY, **{TOMORROW: 5})
    ledger.store.record([done])
    assert list(ledger.store.on_day("site:main", TOMORROW)) == [done]
    assert ledger.views().total == 1


def test_an_ended_visit_is_kept_for_a_week(ledger: Ledger) -> None:
    ledger.store.record([visit()])
    ledger.store.end([ended(visit(), at=NOON + HOUR)])
    (row,) = ledger.table.rows()
    assert row["ttl"] * 1000 == NOON + HOUR + RETENTION


def test_a_visit_without_an_end_outlasts_every_ended_one(ledger: Ledger) -> None:
    ledger.store.record([visit()])
    (row,) = ledger.table.rows()
    assert row["ttl"] * 1000 > NOON + RETENTION


def test_visits_are_settled_when_the_ledger_holds_their_end(ledger: Ledger) -> None:
    visits = [visit(f"v{number:03d}") for number in range(120)]
    ledger.store.record(visits)
    ledger.store.end([ended(visits[3]), ended(visits[110])])
    assert ledger.store.ended([*visits, visit("unknown")]) == {"v003", "v110"}
    assert ledger.store.ended([]) == set()


Steps = st.lists(
    st.tuples(
        st.sampled_from(["record", "end"]),
        st.lists(st.integers(0, 7), min_size=1, max_size=5),
    ),
    max_size=6,
)


@given(steps=Steps)
@settings(
    max_examples=12,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
def test_views_equal_the_ledger_in_any_order(
    memory: Engine, steps: list[tuple[str, list[int]]]
) -> None:
    ledger = make_ledger(memory)
    known: set[int] = set()
    for action, names in steps:
        visits = [visit(f"v{number}") for number in names]
        if action == "record":
            ledger.store.record(visits)
        else:
            ledger.store.end(map(ended, visits))
        known.update(names)
        assert ledger.agrees()
        assert ledger.views().total == len(known)


def test_two_processes_that_record_the_same_batch_count_it_once(ledger: Ledger) -> None:
    batch = [visit("v1"), visit("v2")]
    twin = twin_of(ledger)
    with ledger.table.engine.interrupted(
        "TransactWriteItems", ledger.table.name, lambda: twin([visit("v2"), visit("v3")])
    ) as interruptions:
        ledger.store.record(batch)
    assert interruptions
    assert ledger.views().total == 3
    assert ledger.agrees()


def twin_of(ledger: Ledger) -> Callable[[list[Visit]], int]:
    return ledger.store.record


def test_conflicting_visits_are_not_lost_beside_known_ones(engine: Engine) -> None:
    known, new = visit("known"), visit("new", joined_at=NOON + 1)
    ledger = make_ledger(engine)
    ledger.store.record([known])
    tries = []

    def conflict(**_: object) -> None:
        tries.append(None)
        if len(tries) < STORE_TRIES:
            reasons = [{"Code": "None"}, {"Code": "None"}, {"Code": "TransactionConflict"}]
            error: Any = aws_error("TransactionCanceledException", 400, "TransactWriteItems")
            error.response["CancellationReasons"] = reasons
            raise error

    events = engine.client.meta.events
    event = "before-parameter-build.dynamodb.TransactWriteItems"
    events.register(event, conflict, unique_id="conflict")
    try:
        ledger.store.record([known, new])
    finally:
        events.unregister(event, unique_id="conflict")
    assert ledger.views().total == 2
    assert ledger.agrees()
