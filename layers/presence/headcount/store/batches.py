"""Batches, with what they left out asked for again; and scans: in parts, or where they were."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from headcount.store.attributes import Item, decode

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient

_BATCH = 100  # BatchGetItem's limit
_WRITES = 25  # BatchWriteItem's


def get_many(
    client: DynamoDBClient, table: str, keys: Iterable[Item], *, consistent: bool
) -> Iterator[dict[str, Any]]:
    """The rows with these keys, decoded, in no order; those that are not there are left out."""
    return map(decode, get_items(client, table, keys, consistent=consistent))


def get_items(
    client: DynamoDBClient, table: str, keys: Iterable[Item], *, consistent: bool
) -> Iterator[Item]:
    """``get_many``, with the rows as DynamoDB has them."""
    todo: list[Any] = list(keys)
    while todo:
        batch, todo = todo[:_BATCH], todo[_BATCH:]
        answer = client.batch_get_item(
            RequestItems={table: {"Keys": batch, "ConsistentRead": consistent}}
        )
        yield from answer["Responses"].get(table, [])
        if table in answer["UnprocessedKeys"]:
            todo += answer["UnprocessedKeys"][table]["Keys"]


def put_many(client: DynamoDBClient, table: str, items: Iterable[Item]) -> None:
    """Write whole rows, each of another key."""
    todo: list[Any] = [{"PutRequest": {"Item": item}} for item in items]
    while todo:
        batch, todo = todo[:_WRITES], todo[_WRITES:]
        answer = client.batch_write_item(RequestItems={table: batch})
        todo += answer["UnprocessedItems"].get(table, [])


_Asked = TypeVar("_Asked")
_Done = TypeVar("_Done")


class AtOnce(Protocol):
    """Does something with each, several at once; the results come in order. ``map`` does it one by
    one."""

    def __call__(
        self, act: Callable[[_Asked], _Done], what: Iterable[_Asked], /
    ) -> Iterator[_Done]:
        """Raises what the first that failed raised; some of the others may not be done then."""


@dataclass(frozen=True, slots=True)
class Segment:
    """One of several parts of a table that are scanned apart: ``number`` counts from 0.

    DynamoDB has all rows of a partition in the same segment.
    """

    number: int = 0
    of: int = 1

    def parameters(self) -> dict[str, Any]:
        """Of a scan."""
        return {"Segment": self.number, "TotalSegments": self.of} if self.of > 1 else {}


WHOLE = Segment()
"""The whole table."""

Start = Mapping[str, Any] | None
"""The key of the row behind which a scan goes on, encoded; None or empty: at the first."""


def scan_page(
    client: DynamoDBClient, table: str, start: Start, limit: int, **only: Any
) -> tuple[list[Item], Start]:
    """Up to ``limit`` rows of a table, consistent, and where to go on; None: that was all.

    ``only`` are the parameters of a filter.
    """
    if start:
        only["ExclusiveStartKey"] = start
    answer = client.scan(TableName=table, Limit=limit, ConsistentRead=True, **only)
    return answer["Items"], answer.get("LastEvaluatedKey")
