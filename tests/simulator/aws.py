"""AWS as a handler meets it: calls take time, may fail, and may have happened all the same."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, Protocol

from botocore.exceptions import ClientError, ConnectTimeoutError, ReadTimeoutError
from headcount.errors import code

from tests.simulator import faults
from tests.simulator.faults import Faults
from tests.support.fakes import aws_error

_ATTEMPTS = 4  # as clients.py has botocore try
_WRITES = frozenset(
    {"put_item", "update_item", "delete_item", "transact_write_items", "batch_write_item"}
)
_PAGED = frozenset({"query", "scan"})
_URL = "https://example.test"


class Caller(Protocol):
    """Who calls: a process that can wait, crash and be told of."""

    faults: Faults

    def pause(self, millis: int) -> None:
        """Let others go on; maybe never come back."""

    def note(self, call: str) -> None:
        """A call goes out."""


class Wire:
    """The way of a call to a service and back."""

    def __init__(self, caller: Caller, *, attempts: int = _ATTEMPTS) -> None:
        self._caller = caller
        self._attempts = attempts

    def call(self, name: str, act: Callable[[], Any], kinds: tuple[str, ...] = faults.CALLS) -> Any:
        """Make a call as botocore does: some failures are tried again before the code hears."""
        caller, random = self._caller, self._caller.faults.random
        for attempt in range(1, self._attempts + 1):
            caller.pause(random.randint(1, 8))
            fault = caller.faults.of_call(kinds)
            caller.note(f"{name} {fault or ''}")
            if fault is None:
                try:
                    return act()
                finally:
                    # Also an answer that says no has to come back.
                    caller.pause(random.randint(0, 4))
            if fault == "timeout after the effect":
                done, answer = _quietly(act)
                caller.pause(5_000)
                if name == "transact_write_items" and done:
                    # botocore gives all tries of a transaction one token: it is made once.
                    act = _giving(answer)
            elif fault == "timeout before the effect":
                caller.pause(2_000)
            if attempt == self._attempts or random.random() < 0.5:  # the others fail alike
                raise _error(fault, name)
            caller.pause(random.randint(50, 1_000))
        raise AssertionError("unreachable")


def _quietly(act: Callable[[], Any]) -> tuple[bool, Any]:
    """Have it happen; its answer is lost."""
    try:
        return True, act()
    except Exception:
        return False, None


def _giving(answer: Any) -> Callable[[], Any]:
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
    """A process's DynamoDB client, on a store that is in memory."""

    def __init__(self, caller: Caller, store: Any, written: Callable[[str, Any], None]) -> None:
        self._caller = caller
        self._store = store
        self._written = written
        self._wire = Wire(caller)

    def __getattr__(self, operation: str) -> Callable[..., Any]:
        method = getattr(self._store, operation)
        if operation in _WRITES:
            kinds: tuple[str, ...] = faults.CALLS
            if operation == "transact_write_items":
                kinds = (*kinds, faults.CONFLICT)

            def write(**params: Any) -> Any:
                def act() -> Any:
                    answer = method(**params)
                    self._written(operation, params)
                    return answer

                try:
                    return self._wire.call(operation, act, kinds)
                except ClientError as error:
                    self._say_reasons(error, params)
                    raise

            self.__dict__[operation] = write
            return write

        def read(**params: Any) -> Any:
            return self._wire.call(operation, lambda: method(**params))

        self.__dict__[operation] = read
        return read

    def _say_reasons(self, error: ClientError, params: Any) -> None:
        """A transaction that another one got in the way of has a reason for each action."""
        said: Any = error.response
        if code(error) == "TransactionCanceledException" and "CancellationReasons" not in said:
            reasons = [{"Code": "None"} for _ in params["TransactItems"]]
            self._caller.faults.random.choice(reasons)["Code"] = "TransactionConflict"
            said["CancellationReasons"] = reasons

    def get_paginator(self, operation: str) -> Paginator:
        """Queries and scans come in pages; here in pages of a few rows now and then."""
        assert operation in _PAGED
        return Paginator(getattr(self, operation), self._caller.faults)


class Paginator:
    """As botocore's: page after page, each a call of its own."""

    def __init__(self, call: Callable[..., Any], weather: Faults) -> None:
        self._call = call
        self._faults = weather

    def paginate(self, **params: Any) -> Iterator[Mapping[str, Any]]:
        """The pages."""
        random = self._faults.random
        limit = {"Limit": random.randint(1, 3)} if random.random() < 0.1 else {}
        while True:
            page = self._call(**params, **limit)
            yield page
            if not page.get("LastEvaluatedKey"):
                return
            params["ExclusiveStartKey"] = page["LastEvaluatedKey"]


class Secrets:
    """Secrets Manager."""

    def __init__(self, caller: Caller, secret: str) -> None:
        self._wire = Wire(caller)
        self._secret = secret

    def get_secret_value(self, **_: Any) -> dict[str, str]:
        """The one secret there is: always there. Without it a beat is nobody's in particular until
        the next one, as it should be and as no oracle can know."""
        answer = self._wire.call("get_secret_value", lambda: {"SecretString": self._secret}, ())
        return dict(answer)


class Remote:
    """A process's client of a fake service: each of its methods is a call."""

    def __init__(
        self, caller: Caller, service: Any, kinds: tuple[str, ...], *, attempts: int = _ATTEMPTS
    ) -> None:
        self._service = service
        self._kinds = kinds
        self._wire = Wire(caller, attempts=attempts)

    def __getattr__(self, operation: str) -> Callable[..., Any]:
        method = getattr(self._service, operation)
        return lambda **params: self._wire.call(operation, lambda: method(**params), self._kinds)
