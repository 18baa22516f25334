"""The numbers of events: from 1, without gaps or duplicates, on each engine."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
from botocore.exceptions import ClientError
from headcount.store.numbers import (
    BATCH_SIZE,
    NUMBER_RETENTION,
    NumbersContendedError,
    NumbersTable,
)
from headcount.times import DAY, SECOND
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lab.harness.clock import NOON
from lab.harness.engines import Engine, Table
from lab.harness.fakes import aws_error

SITE = "site:main"


@dataclass
class Numbers:
    table: Table
    store: NumbersTable

    def give(self, *names: str, space: str = SITE) -> list[int]:
        """The numbers of these events, in this order."""
        given = self.store.number(space, map(event, names), now=NOON)
        return [given[event(name)] for name in names]


@pytest.fixture
def numbers(engine: Engine) -> Numbers:
    return made_on(engine)


def made_on(engine: Engine) -> Numbers:
    table = engine.create("streams")
    return Numbers(table, NumbersTable(engine.client, table.name, day_rows_days=400))


def event(name: str) -> str:
    """An event's id."""
    return name.encode().hex().rjust(24, "0")


def many(count: int) -> list[str]:
    return [f"e{number}" for number in range(count)]


def test_numbers_begin_at_one_and_go_on(numbers: Numbers) -> None:
    assert numbers.store.last(SITE) == 0
    assert numbers.give("a", "b") == [1, 2]
    assert numbers.give("c") == [3]
    assert numbers.store.last(SITE) == 3


def test_an_event_keeps_its_number(numbers: Numbers) -> None:
    assert numbers.give("a", "b") == [1, 2]
    assert numbers.give("b", "c", "a", "c") == [2, 3, 1, 3]
    for name in many(5):
        numbers.give(name)
    assert numbers.give("c", "a", "e4") == [3, 1, 8]


def test_each_space_has_its_own(numbers: Numbers) -> None:
    assert numbers.give("a", space="course:c1") == [1]
    assert numbers.give("a", "b", space="course:c2") == [1, 2]
    assert numbers.give("b", space="course:c1") == [2]


def test_more_events_than_fit_together_get_their_numbers_too(numbers: Numbers) -> None:
    names = many(2 * BATCH_SIZE + 3)
    assert numbers.give(*names) == list(range(1, len(names) + 1))
    assert numbers.give(*reversed(names)) == list(range(len(names), 0, -1))


def test_a_head_takes_one_write_unit(numbers: Numbers) -> None:
    numbers.give(*many(BATCH_SIZE))
    (head,) = [row for row in numbers.table.rows() if row["sort"] == "head"]
    size = sum(len(name) for name in head) + len(head["latest"]) + len(head["partition"])
    assert size + 4 + 2 * 12 < 1024  # its sort key, and two numbers


def test_rows_expire_when_no_stream_has_their_events_any_more(numbers: Numbers) -> None:
    numbers.give("a")
    numbers.give("b")
    ttl = {row["sort"]: row["ttl"] for row in numbers.table.rows()}
    assert ttl == {
        "head": (NOON + 400 * DAY) // SECOND,
        event("a"): (NOON + NUMBER_RETENTION) // SECOND,
    }


def test_a_conflict_costs_another_attempt(engine: Engine) -> None:
    numbers = made_on(engine)
    numbers.give("a")
    with engine.interrupted("UpdateItem", numbers.table.name, lambda: numbers.give("x", "b")):
        assert numbers.give("b", "c") == [3, 4]
    assert numbers.give("x", "b", "c") == [2, 3, 4]


@pytest.mark.slow
def test_endless_conflicts_are_an_error(engine: Engine) -> None:
    numbers = made_on(engine)
    names = iter(many(100))

    def others() -> None:
        twin = NumbersTable(engine.twin().client, numbers.table.name, day_rows_days=400)
        twin.number(SITE, [event(next(names))], now=NOON)

    with (
        engine.interrupted("UpdateItem", numbers.table.name, others, times=99),
        pytest.raises(NumbersContendedError),
    ):
        numbers.give("late")


@pytest.mark.parametrize("operation", ["GetItem", "BatchGetItem", "BatchWriteItem", "UpdateItem"])
def test_a_crash_before_any_call_loses_no_number(engine: Engine, operation: str) -> None:
    numbers = made_on(engine)
    numbers.give("a", "b")

    def crash() -> None:
        raise aws_error("InternalServerError", 500)

    with (
        engine.interrupted(operation, numbers.table.name, crash),
        pytest.raises(ClientError),
    ):
        numbers.give("c")
    assert numbers.give("d", "c", "a") == [3, 4, 1]


@given(st.lists(st.tuples(st.lists(st.integers(0, 9), min_size=1, max_size=6), st.integers(0, 4))))
@settings(max_examples=60, suppress_health_check=list(HealthCheck))
def test_numbers_are_correct_despite_repeats_crashes_and_conflicts(
    memory: Engine, batches: list[tuple[list[int], int]]
) -> None:
    """Each batch of events may die before one of its calls, and is then repeated later."""
    numbers = made_on(memory)
    given_to: dict[str, int] = {}
    calls = ["UpdateItem", "BatchGetItem", "BatchWriteItem", "GetItem", "none"]

    def crash() -> None:
        raise aws_error("InternalServerError", 500)

    for events, dies_before in [*batches, *((events, 4) for events, _ in batches)]:
        names = [f"e{number}" for number in events]
        with memory.interrupted(calls[dies_before], numbers.table.name, crash):
            try:
                found = dict(zip(names, numbers.give(*names), strict=True))
            except ClientError:
                continue
        for name, seq in found.items():
            assert given_to.setdefault(name, seq) == seq
    assert sorted(given_to.values()) == list(range(1, len(given_to) + 1))
    assert numbers.store.last(SITE) == len(given_to)


@pytest.mark.parametrize("seq", ["0", "-1"])
def test_numbering_goes_on_from_a_head_without_a_number(numbers: Numbers, seq: str) -> None:
    numbers.give("a")
    (head,) = (row for row in numbers.table.rows() if row["sort"] == "head")
    key = {name: {"S": head[name]} for name in ("partition", "sort")}
    item = {**key, "seq": {"N": seq}, "latest": {"B": bytes(12)}}
    numbers.table.put(item)
    assert numbers.give("b", "c") == [int(seq) + 1, int(seq) + 2]
    assert numbers.give("d") == [int(seq) + 3]
