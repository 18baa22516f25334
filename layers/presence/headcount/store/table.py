"""What all tables share: reads, conditional writes, batches, which retry what DynamoDB left
unprocessed, and transactions, which retry conflicts."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, ParamSpec, Protocol, TypeVar

from msgspec import Struct, json

from headcount.errors import (
    CONDITION_FAILED,
    THROTTLED,
    RefusedError,
    cancellation_reasons,
    condition_failed,
    others_in_the_way,
    refusals,
)
from headcount.store.attributes import Item, decode, encode
from headcount.times import DAY, SECOND, growing_wait

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient

_MAX_GETS = 100  # BatchGetItem's limit
_MAX_WRITES = 25  # BatchWriteItem's limit

STORE_TRIES = 8
"""Calls in a row that left something undone. Then the caller fails, and its own source (a queue, a
stream or a client) retries it."""
_FIRST_WAIT, _LONGEST_WAIT = 0.05, 1.0
"""The most seconds before the second try; each further try doubles them, up to the longest. All
waits together are well within every function's timeout."""


class Backoff(Struct, frozen=True):
    """Exponential backoff with jitter, because other callers were refused at the same moment.
    ``sleep`` takes seconds, ``chance`` returns 0 to 1."""

    sleep: Callable[[float], None] = time.sleep
    chance: Callable[[], float] = random.random

    def wait(self, tries: int) -> None:
        """Wait before the next try, after ``tries`` of them."""
        self.sleep(self.chance() * growing_wait(tries, _FIRST_WAIT, _LONGEST_WAIT))


BY_THE_CLOCK = Backoff()
"""The backoff with the real clock and random numbers: the default."""


_Argument = TypeVar("_Argument")
_Result = TypeVar("_Result")


class Parallel(Protocol):
    """Like ``map``, but with several calls in parallel; the results are in order."""

    def __call__(
        self, act: Callable[[_Argument], _Result], what: Iterable[_Argument], /
    ) -> Iterator[_Result]:
        """Raises the first call's error; some of the other calls may not be made then."""


class Segment(Struct, frozen=True):
    """One of ``total`` parts of a table that are scanned separately; ``number`` starts at 0.

    All rows of a partition are in the same segment.
    """

    number: int = 0
    total: int = 1

    def parameters(self) -> dict[str, Any]:
        """The parameters of Scan."""
        return {"Segment": self.number, "TotalSegments": self.total} if self.total > 1 else {}


WHOLE_TABLE = Segment()

Start = Mapping[str, Any] | None
"""The encoded key of the row after which a scan continues; None or empty: from the beginning."""


class Table:
    """A table in DynamoDB. Its subclasses know the rows and, for all other code, are the table.

    ``_partition`` and ``_sort`` are the names of the partition key and of the sort key, if any.
    """

    _partition: ClassVar[str]
    _sort: ClassVar[str]

    def __init__(
        self, client: DynamoDBClient, table: str, *, backoff: Backoff = BY_THE_CLOCK
    ) -> None:
        self._client = client
        self._table = table
        self._backoff = backoff

    def _key(self, partition: str, sort: str) -> Item:
        """The key of a row."""
        return encode({self._partition: partition, self._sort: sort})

    def _get_row(self, key: Item, **consistency: Any) -> dict[str, Any] | None:
        """One row, decoded; None if there is none."""
        item = self._get_item(key, **consistency)
        return decode(item) if item else None

    def _get_item(self, key: Item, **consistency: Any) -> Item | None:
        """``_get_row`` without decoding."""
        return self._client.get_item(TableName=self._table, Key=key, **consistency).get("Item")

    def _query_rows(self, partition: str, **parameters: Any) -> Iterator[dict[str, Any]]:
        """The rows of a partition, decoded and read lazily. For the parameters see ``_query``."""
        return (decode(item) for page in self._query(partition, **parameters) for item in page)

    def _query(
        self,
        partition: str,
        *,
        condition: str = "#p = :p",
        names: Mapping[str, str] | None = None,
        values: Mapping[str, Any] | None = None,
        **parameters: Any,
    ) -> Iterator[list[Item]]:
        """The rows of a partition, page by page. ``names`` and ``values`` are those of further
        placeholders, ``parameters`` of Query."""
        pages = self._client.get_paginator("query").paginate(
            TableName=self._table,
            KeyConditionExpression=condition,
            ExpressionAttributeNames={"#p": self._partition, **(names or {})},
            ExpressionAttributeValues=encode({":p": partition, **(values or {})}),
            **parameters,
        )
        return (page["Items"] for page in pages)

    def _query_raw(self, partition: str, **parameters: Any) -> Iterator[list[bytes]]:
        """The rows of a partition as JSON, page by page, which our own client does not parse."""
        client: Any = self._client
        name = "query_raw" if hasattr(client, "query_raw") else "query"
        pages = client.get_paginator(name).paginate(
            TableName=self._table,
            KeyConditionExpression="#p = :p",
            ExpressionAttributeNames={"#p": self._partition},
            ExpressionAttributeValues=encode({":p": partition}),
            **parameters,
        )
        for page in pages:
            yield [item if isinstance(item, bytes) else json.encode(item) for item in page["Items"]]

    def _scan(self, segment: Segment, **parameters: Any) -> Iterator[list[Item]]:
        """The rows of the table or of a segment, page by page."""
        pages = self._client.get_paginator("scan").paginate(
            TableName=self._table, **segment.parameters(), **parameters
        )
        return (page["Items"] for page in pages)

    def _scan_page(self, start: Start, limit: int, **only: Any) -> tuple[list[Item], Start]:
        """Up to ``limit`` rows of the table, consistent, and where to continue; None: that was all.

        ``only``: the parameters of a filter.
        """
        if start:
            only["ExclusiveStartKey"] = start
        answer = self._client.scan(TableName=self._table, Limit=limit, ConsistentRead=True, **only)
        return answer["Items"], answer.get("LastEvaluatedKey")

    def _get_rows(self, keys: Iterable[Item], *, consistent: bool) -> Iterator[dict[str, Any]]:
        """The rows with these keys, decoded, in any order; missing ones are left out."""
        return map(decode, self._get_items(keys, consistent=consistent))

    def _get_items(self, keys: Iterable[Item], *, consistent: bool) -> Iterator[Item]:
        """``_get_rows`` without decoding."""
        todo: list[Any] = list(keys)
        tries = 0
        while todo:
            batch, todo = todo[:_MAX_GETS], todo[_MAX_GETS:]
            answer = self._client.batch_get_item(
                RequestItems={self._table: {"Keys": batch, "ConsistentRead": consistent}}
            )
            yield from answer["Responses"].get(self._table, [])
            left = answer["UnprocessedKeys"].get(self._table)
            todo += left["Keys"] if left else []
            tries = self._after("BatchGetItem", tries, left=bool(left))

    def _put_items(self, items: Iterable[Item]) -> None:
        """Write whole rows, all with different keys."""
        todo: list[Any] = [{"PutRequest": {"Item": item}} for item in items]
        tries = 0
        while todo:
            batch, todo = todo[:_MAX_WRITES], todo[_MAX_WRITES:]
            answer = self._client.batch_write_item(RequestItems={self._table: batch})
            left = answer["UnprocessedItems"].get(self._table, [])
            todo += left
            tries = self._after("BatchWriteItem", tries, left=bool(left))

    def _after(self, operation: str, tries: int, *, left: bool) -> int:
        """Count one more try: the tries in a row that left something. Waits before the next.

        Raises RefusedError (throttled) after ``STORE_TRIES``.
        """
        if not left:
            return 0
        if tries + 1 == STORE_TRIES:
            message = f"some of a batch was left {STORE_TRIES} times in a row"
            raise RefusedError(operation, {"Error": {"Code": THROTTLED, "Message": message}})
        self._backoff.wait(tries + 1)
        return tries + 1

    def _set_if_exists(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """The parameters of an update that sets these attributes of a row, if it exists."""
        return {
            "ConditionExpression": "attribute_exists(#p)",
            "UpdateExpression": "SET " + ", ".join(f"#{name} = :{name}" for name in values),
            "ExpressionAttributeNames": {
                "#p": self._partition,
                **{f"#{name}": name for name in values},
            },
            "ExpressionAttributeValues": encode({f":{name}": one for name, one in values.items()}),
        }

    def _transact(self, actions: Sequence[Any]) -> list[str]:
        """Make a transaction; retry it while others write the same rows.

        Returns a code per action if a condition did not hold, and nothing if the transaction was
        made. Raises the refusal after ``STORE_TRIES`` conflicts, and any other.
        """
        for tries in range(1, STORE_TRIES + 1):
            try:
                self._client.transact_write_items(TransactItems=actions)
            except refusals() as error:
                reasons = cancellation_reasons(error) or []
                if CONDITION_FAILED in reasons:
                    return reasons
                if tries == STORE_TRIES or not others_in_the_way(error):
                    raise
                self._backoff.wait(tries)
            else:
                break
        return []


class RetainedTable(Table):
    """A table whose rows are kept for ``day_rows_days``."""

    def __init__(
        self,
        client: DynamoDBClient,
        table: str,
        *,
        day_rows_days: int,
        backoff: Backoff = BY_THE_CLOCK,
    ) -> None:
        super().__init__(client, table, backoff=backoff)
        self._days = day_rows_days

    def _gone_at(self, at: int) -> int:
        """The TTL (epoch seconds) of a row of that time (epoch milliseconds)."""
        return (at + self._days * DAY) // SECOND


_Parameters = ParamSpec("_Parameters")


def conditional_write(
    write: Callable[_Parameters, object], *args: _Parameters.args, **kwargs: _Parameters.kwargs
) -> bool:
    """Make a conditional write; returns False if its condition did not hold."""
    try:
        write(*args, **kwargs)
    except refusals() as error:
        if not condition_failed(error):
            raise
        return False
    return True
