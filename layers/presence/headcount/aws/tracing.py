"""Calls to DynamoDB as subsegments of Lambda's own traces, where tracing is on.

Each is one datagram to the X-Ray daemon that Lambda runs beside a traced function. Powertools'
Tracer needs X-Ray's SDK, which adds five bare interpreters to a start and is no longer developed.
Format: https://docs.aws.amazon.com/xray/latest/devguide/xray-api-sendingdata.html
"""

from __future__ import annotations

import json
import socket
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from typing import Any

from headcount.aws.dynamodb import DynamoDB
from headcount.errors import condition_failed, refusals

_HEADER = b'{"format": "json", "version": 1}\n'
TRACE = "_X_AMZN_TRACE_ID"
"""The variable with the header of the current invocation's trace: Lambda sets it anew for each."""


class Daemon:
    """The X-Ray daemon at ``host:port``. What can't be sent to it is dropped."""

    def __init__(self, address: str) -> None:
        host, _, port = address.rpartition(":")
        self._address = host, int(port)
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.setblocking(False)

    def send(self, subsegment: Mapping[str, Any]) -> None:
        """Send a subsegment, without waiting."""
        document = json.dumps(subsegment, separators=(",", ":")).encode()
        with suppress(OSError):
            self._socket.sendto(_HEADER + document, self._address)

    def close(self) -> None:
        """Close the socket."""
        self._socket.close()


def trace_calls(
    client: DynamoDB,
    header: Callable[[], str],
    send: Callable[[Mapping[str, Any]], object],
    *,
    clock: Callable[[], int],
    new_id: Callable[[], str],
) -> None:
    """Have a client trace its calls: their operations, tables, times and outcomes; never keys or
    values. ``header`` is the current invocation's trace, ``clock`` returns epoch milliseconds,
    ``new_id`` a string of hexadecimal digits."""
    call = client.call

    def traced(operation: str, parameters: dict[str, Any], *decoder: Any) -> Any:
        trace = sampled(header())
        if trace is None:
            return call(operation, parameters, *decoder)
        began, failure = clock(), {}
        try:
            return call(operation, parameters, *decoder)
        except Exception as error:
            # A condition that does not hold is an answer, not an error.
            if not isinstance(error, refusals()):
                failure = {"fault": True}
            elif not condition_failed(error):
                failure = {"error": True}
            raise
        finally:
            subsegment: dict[str, Any] = {
                "id": new_id()[-16:],
                "trace_id": trace["Root"],
                "parent_id": trace["Parent"],
                "type": "subsegment",
                "name": "DynamoDB",
                "namespace": "aws",
                "start_time": began / 1000,
                "end_time": clock() / 1000,
                "aws": {"operation": operation, "table_names": sorted({*_tables(parameters)})},
                **failure,
            }
            send(subsegment)

    client.call = traced  # type: ignore[method-assign, assignment]


def sampled(header: str) -> Mapping[str, str] | None:
    """The parts of a trace header; None unless this invocation is traced."""
    parts = dict(part.partition("=")[::2] for part in header.split(";"))
    return parts if parts.get("Sampled") == "1" and {"Root", "Parent"} <= parts.keys() else None


def _tables(parameters: Mapping[str, Any]) -> Iterator[str]:
    """The names of the tables of a call."""
    if "TableName" in parameters:
        yield parameters["TableName"]
    yield from parameters.get("RequestItems", ())
    for action in parameters.get("TransactItems", ()):
        for one in action.values():
            yield one["TableName"]
