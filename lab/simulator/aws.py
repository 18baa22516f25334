"""AWS as a handler sees it: calls take time, may fail, and may take effect even if they fail."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, Protocol

from botocore.exceptions import ClientError, ConnectTimeoutError, ReadTimeoutError
from headcount.errors import code

from lab.harness.fakes import aws_error
from lab.simulator import faults
from lab.simulator.faults import Faults

if TYPE_CHECKING:
    from lab.simulator.sources import Queues

_ATTEMPTS = 4  # as clients.py sets for botocore
_WRITES = frozenset(
    {"put_item", "update_item", "delete_item", "transact_write_items", "batch_write_item"}
)
_PAGED = frozenset({"query", "scan"})
_URL = "https://example.test"


class Caller(Protocol):
    """The calling process, which can wait and crash."""

    faults: Faults
    sleeps: int
    """How often it slept, or began to handle an event."""
    lineage: Mapping[str, int]
    """How often each function ran in the current chain of messages, this run included."""

    def pause(self, millis: int) -> None:
        """Wait while other tasks run; the process may crash."""

    def note(self, call: str) -> None:
        """Note a call in the trace."""


class Connection:
    """A connection to a service, where calls take time and may fail."""

    def __init__(self, caller: Caller, *, attempts: int = _ATTEMPTS) -> None:
        self._caller = caller
        self._attempts = attempts

    def call(self, name: str, act: Callable[[], Any], kinds: tuple[str, ...] = faults.CALLS) -> Any:
        """Make a call as botocore does, which retries some failures itself."""
        caller, random = self._caller, self._caller.faults.random
        for attempt in range(1, self._attempts + 1):
            caller.pause(random.randint(1, 8))
            fault = caller.faults.of_call(kinds)
            caller.note(f"{name} {fault or ''}")
            if fault is None:
                try:
                    return act()
                finally:
                    # A refusal takes time to arrive, too.
                    caller.pause(random.randint(0, 4))
            if fault == "timeout after the effect":
                done, answer = _ignoring_errors(act)
                caller.pause(5_000)
                if name == "transact_write_items" and done:
                    # botocore gives all attempts of a transaction the same token.
                    act = _returning(answer)
            elif fault == "timeout before the effect":
                caller.pause(2_000)
            if attempt == self._attempts or random.random() < 0.5:  # botocore's attempts all fail
                raise _error(fault, name)
            caller.pause(random.randint(50, 1_000))
        raise AssertionError("unreachable")


def _ignoring_errors(act: Callable[[], Any]) -> tuple[bool, Any]:
    """Make the call; whether it succeeded, and its lost answer."""
    try:
        return True, act()
    except Exception:
        return False, None


def _returning(answer: Any) -> Callable[[], Any]:
    return lambda: answer


def _error(fault: str, name: str) -> Exception:
    match fault:
        case "throttled":
            return aws_error("ThrottlingException", 400, name)
        case "server error":
            return aws_error("InternalServerError", 500, name)
        case "timeout before the effect":
            return ConnectTimeoutError(endpoint_url=_URL)
        case faults.CONFLICT:
            return aws_error("TransactionCanceledException", 400, name)
    return ReadTimeoutError(endpoint_url=_URL)


class DynamoDB:
    """A process's DynamoDB client, on the in-memory store.

    It reports a process that retries unprocessed items without backoff.
    """

    def __init__(
        self,
        caller: Caller,
        store: Any,
        written: Callable[[str, Any], None],
        report: Callable[[str], None],
    ) -> None:
        self._caller = caller
        self._store = store
        self._written = written
        self._report = report
        self._connection = Connection(caller)
        self._undone: dict[str, int] = {}  # operation -> the process's sleeps at that time

    def __getattr__(self, operation: str) -> Callable[..., Any]:
        method = getattr(self._store, operation)
        if operation in _WRITES:
            kinds: tuple[str, ...] = faults.CALLS
            if operation == "transact_write_items":
                kinds = (*kinds, faults.CONFLICT)

            def write(**params: Any) -> Any:
                self._check_backoff(operation)
                left: list[Any] = []
                if operation == "batch_write_item":
                    params, left = self._split(params)

                def act() -> Any:
                    answer = method(**params)
                    self._written(operation, params)
                    return answer

                try:
                    answer = self._connection.call(operation, act, kinds)
                except ClientError as error:
                    self._add_reasons(operation, error, params)
                    raise
                if left:
                    self._undone[operation] = self._caller.sleeps
                    return {**answer, "UnprocessedItems": dict(left)}
                return answer

            self.__dict__[operation] = write
            return write

        def read(**params: Any) -> Any:
            self._check_backoff(operation)
            left: list[Any] = []
            if operation == "batch_get_item":
                params, left = self._split(params)
            answer = self._connection.call(operation, lambda: method(**params))
            if left:
                self._undone[operation] = self._caller.sleeps
                return {**answer, "UnprocessedKeys": dict(left)}
            return answer

        self.__dict__[operation] = read
        return read

    def _split(self, params: Any) -> tuple[Any, list[Any]]:
        """The part of a batch that is processed, and the rest."""
        injector = self._caller.faults
        ((table, batch),) = params["RequestItems"].items()
        rows = batch["Keys"] if isinstance(batch, dict) else batch
        if len(rows) == 1 or not injector.strikes(faults.UNPROCESSED):
            return params, []
        some = injector.random.randint(1, len(rows) - 1)

        def of(part: list[Any]) -> Any:
            return {**batch, "Keys": part} if isinstance(batch, dict) else part

        return {**params, "RequestItems": {table: of(rows[:some])}}, [(table, of(rows[some:]))]

    def _check_backoff(self, operation: str) -> None:
        if self._undone.pop(operation, None) == self._caller.sleeps:
            self._report(f"{operation} retried unprocessed items at once")

    def _add_reasons(self, operation: str, error: ClientError, params: Any) -> None:
        """Give a transaction that conflicts with another a reason for each action."""
        response: Any = error.response
        if code(error) == "TransactionCanceledException" and "CancellationReasons" not in response:
            reasons = [{"Code": "None"} for _ in params["TransactItems"]]
            self._caller.faults.random.choice(reasons)["Code"] = "TransactionConflict"
            response["CancellationReasons"] = reasons
            self._undone[operation] = self._caller.sleeps

    def get_paginator(self, operation: str) -> Paginator:
        """Pages of a query or scan, sometimes of only a few rows."""
        assert operation in _PAGED
        return Paginator(getattr(self, operation), self._caller.faults)


class Paginator:
    """Like botocore's: page after page, each a separate call."""

    def __init__(self, call: Callable[..., Any], injector: Faults) -> None:
        self._call = call
        self._faults = injector

    def paginate(self, **params: Any) -> Iterator[Mapping[str, Any]]:
        """The pages."""
        random = self._faults.random
        limit = {"Limit": random.randint(1, 3)} if random.random() < 0.1 else {}
        while True:
            page = self._call(**{**params, **limit})
            yield page
            if not page.get("LastEvaluatedKey"):
                return
            params["ExclusiveStartKey"] = page["LastEvaluatedKey"]


class Secrets:
    """Secrets Manager."""

    def __init__(self, caller: Caller, secret: str) -> None:
        self._connection = Connection(caller)
        self._secret = secret

    def get_secret_value(self, **_: Any) -> dict[str, str]:
        """The only secret. Reading it never fails: without it, a beat correctly has no user until
        the next one, which the oracle could not predict."""
        answer = self._connection.call(
            "get_secret_value", lambda: {"SecretString": self._secret}, ()
        )
        return dict(answer)


class Sqs:
    """A process's client of the queues. Its messages belong to its current chain of messages."""

    def __init__(self, caller: Caller, queues: Queues) -> None:
        self._caller = caller
        self._queues = queues
        self._connection = Connection(caller)

    def send_message(self, **params: Any) -> None:
        """Send a message."""
        lineage = self._caller.lineage
        self._connection.call("send_message", lambda: self._queues.send_message(lineage, **params))

    def change_message_visibility(self, **params: Any) -> None:
        """Change when a message is received again."""
        self._queues.postpone_requests.add(params["ReceiptHandle"])
        self._connection.call(
            "change_message_visibility", lambda: self._queues.change_message_visibility(**params)
        )


class Remote:
    """A process's client of a fake service: each of its methods is a call."""

    def __init__(
        self, caller: Caller, service: Any, kinds: tuple[str, ...], *, attempts: int = _ATTEMPTS
    ) -> None:
        self._service = service
        self._kinds = kinds
        self._connection = Connection(caller, attempts=attempts)

    def __getattr__(self, operation: str) -> Callable[..., Any]:
        method = getattr(self._service, operation)
        return lambda **params: self._connection.call(
            operation, lambda: method(**params), self._kinds
        )
