"""BatchGetItem, with what it left out asked for again."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
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
