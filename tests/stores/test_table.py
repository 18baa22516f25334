"""Unprocessed items are retried: with growing, random waits, and not forever."""

from __future__ import annotations

from typing import Any

import pytest
from botocore.exceptions import ClientError
from headcount.errors import RefusedError, is_busy, others_in_the_way
from headcount.store.table import STORE_TRIES, Backoff, Table

from lab.harness.fakes import aws_error

KEYS = [{"p": {"S": str(number)}} for number in range(30)]
ACTIONS = [{"Put": {"TableName": "t", "Item": key}} for key in KEYS[:2]]


class Reluctant:
    """DynamoDB that processes a few rows of each batch, and cancels some transactions."""

    def __init__(self, *, rows: int = 100, cancelled: int = 0, reasons: tuple[str, ...] = ()):
        self.rows = rows
        self.cancelled = cancelled
        self.reasons = reasons
        self.calls = 0
        self.written: list[Any] = []

    def batch_get_item(self, *, RequestItems: Any) -> Any:  # noqa: N803
        self.calls += 1
        keys = RequestItems["t"]["Keys"]
        left = {"t": {**RequestItems["t"], "Keys": keys[self.rows :]}} if keys[self.rows :] else {}
        return {"Responses": {"t": keys[: self.rows]}, "UnprocessedKeys": left}

    def batch_write_item(self, *, RequestItems: Any) -> Any:  # noqa: N803
        self.calls += 1
        puts = RequestItems["t"]
        self.written += puts[: self.rows]
        left = {"t": puts[self.rows :]} if puts[self.rows :] else {}
        return {"UnprocessedItems": left}

    def transact_write_items(self, *, TransactItems: Any) -> None:  # noqa: N803
        self.calls += 1
        if self.calls <= self.cancelled:
            error: Any = aws_error("TransactionCanceledException", 400, "TransactWriteItems")
            error.response["CancellationReasons"] = [{"Code": one} for one in self.reasons]
            raise error
        self.written += TransactItems


class Waits(list[float]):
    """The waits in seconds, in order."""

    def backoff(self, chance: float = 1) -> Backoff:
        return Backoff(self.append, lambda: chance)


def get(client: Any, waits: Waits) -> list[Any]:
    return [*Table(client, "t", backoff=waits.backoff())._get_rows(KEYS, consistent=True)]


def put(client: Any, waits: Waits) -> None:
    Table(client, "t", backoff=waits.backoff())._put_items(KEYS)


def transact(client: Any, waits: Waits) -> list[str]:
    return Table(client, "t", backoff=waits.backoff())._transact(ACTIONS)


@pytest.mark.parametrize("rows", [100, 7, 5])
def test_all_rows_are_read_and_written_even_a_few_at_a_time(rows: int) -> None:
    client: Any = Reluctant(rows=rows)
    assert sorted(int(row["p"]) for row in get(client, Waits())) == list(range(30))
    put(client, Waits())
    written = [one["PutRequest"]["Item"] for one in client.written]
    assert sorted(written, key=lambda item: int(item["p"]["S"])) == KEYS


def test_unprocessed_rows_wait_longer_each_time_and_a_complete_batch_does_not() -> None:
    waits = Waits()
    get(Reluctant(rows=100), waits)
    put(Reluctant(rows=100), waits)
    assert waits == []
    get(Reluctant(rows=5), waits)
    assert waits == [0.05, 0.1, 0.2, 0.4, 0.8]


def test_waits_are_random() -> None:
    waits = Waits()
    client: Any = Reluctant(rows=10)
    Table(client, "t", backoff=waits.backoff(chance=0.5))._put_items(KEYS)
    assert waits == [0.025, 0.05]


@pytest.mark.parametrize("call", [get, put])
def test_rows_that_stay_unprocessed_are_raised_as_throttled(call: Any) -> None:
    waits, client = Waits(), Reluctant(rows=0)
    with pytest.raises(RefusedError) as raised:
        call(client, waits)
    assert is_busy(raised.value)
    assert client.calls == STORE_TRIES
    assert sum(waits) < 5
    assert max(waits) == 1


def test_a_transaction_waits_for_others_on_the_same_rows() -> None:
    waits = Waits()
    client: Any = Reluctant(cancelled=3, reasons=("None", "TransactionConflict"))
    assert transact(client, waits) == []
    assert client.written == ACTIONS
    assert waits == [0.05, 0.1, 0.2]


def test_a_transaction_with_endless_conflicts_is_raised_as_busy() -> None:
    waits = Waits()
    client: Any = Reluctant(cancelled=99, reasons=("TransactionConflict", "None"))
    with pytest.raises(ClientError) as raised:
        transact(client, waits)
    assert client.calls == STORE_TRIES
    assert is_busy(raised.value)


def test_a_failed_condition_is_raised_at_once() -> None:
    waits = Waits()
    client: Any = Reluctant(cancelled=1, reasons=("TransactionConflict", "ConditionalCheckFailed"))
    assert transact(client, waits) == [
        "TransactionConflict",
        "ConditionalCheckFailed",
    ]
    assert waits == []


@pytest.mark.parametrize("reasons", [("ValidationError",), ()])
def test_an_invalid_transaction_is_not_retried(reasons: tuple[str, ...]) -> None:
    waits = Waits()
    client: Any = Reluctant(cancelled=1, reasons=reasons)
    with pytest.raises(ClientError) as raised:
        transact(client, waits)
    assert not others_in_the_way(raised.value)
    assert waits == []
