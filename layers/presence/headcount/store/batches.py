"""BatchGetItem, with what it left out asked for again; and a scan that goes on where it was."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from headcount.store.attributes import Item, decode

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient

_BATCH = 100  # BatchGetItem's limit


def get_many(
    client: DynamoDBClient, table: str, keys: Iterable[Item], *, consistent: bool
) -> Iterator[dict[str, Any]]:
    """The rows with these keys, decoded, in no order; those that are not there are left out."""
    todo: list[Any] = list(keys)
    while todo:
        batch, todo = todo[:_BATCH], todo[_BATCH:]
        answer = client.batch_get_item(
            RequestItems={table: {"Keys": batch, "ConsistentRead": consistent}}
        )
        yield from map(decode, answer["Responses"].get(table, []))
        if table in answer["UnprocessedKeys"]:
            todo += answer["UnprocessedKeys"][table]["Keys"]


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
