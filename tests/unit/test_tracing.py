"""Where tracing is on, calls to DynamoDB are subsegments of Lambda's own traces."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
from collections.abc import Mapping
from contextlib import closing
from typing import Any

import pytest
from botocore.exceptions import EndpointConnectionError
from headcount.aws.tracing import Daemon, sampled, trace_calls
from headcount.errors import RefusedError, UnansweredError

from lab.harness.clock import Clock
from lab.harness.fakes import aws_error
from lab.harness.template import ROOT, template

HEADER = "Root=1-5759e988-bd862e3fe1be46a994272793;Parent=53995c3f42cd8ad8;Sampled=1;Lineage=a:0"


def refused(code: str) -> RefusedError:
    return RefusedError("UpdateItem", {"Error": {"Code": code, "Message": ""}})


class Client:
    """A client whose calls fail as a test says, and take a second."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.error: Exception | None = None

    def call(self, operation: str, _: dict[str, Any]) -> dict[str, Any]:
        self.clock.advance(1)
        if self.error is not None:
            raise self.error
        return {"called": operation}


def traced(header: str = HEADER) -> tuple[Client, list[Mapping[str, Any]]]:
    client: Any = Client(Clock())
    sent: list[Mapping[str, Any]] = []
    id_ = "0123456789abcdef0123456789abcdef"
    trace_calls(client, lambda: header, sent.append, clock=client.clock, new_id=lambda: id_)
    return client, sent


def test_a_call_is_a_subsegment_of_the_invocations_trace() -> None:
    client, sent = traced()
    began = client.clock() / 1000
    item = {"TableName": "presence", "Key": {"session": {"S": "a session"}}}
    assert client.call("UpdateItem", item) == {"called": "UpdateItem"}
    (subsegment,) = sent
    assert subsegment == {
        "id": "0123456789abcdef",
        "trace_id": "1-5759e988-bd862e3fe1be46a994272793",
        "parent_id": "53995c3f42cd8ad8",
        "type": "subsegment",
        "name": "DynamoDB",
        "namespace": "aws",
        "start_time": began,
        "end_time": began + 1,
        "aws": {"operation": "UpdateItem", "table_names": ["presence"]},
    }


@pytest.mark.parametrize(
    ("parameters", "tables"),
    [
        ({"RequestItems": {"b": [], "a": []}}, ["a", "b"]),
        (
            {"TransactItems": [{"Put": {"TableName": "v"}}, {"Update": {"TableName": "c"}}]},
            ["c", "v"],
        ),
    ],
)
def test_batches_and_transactions_name_their_tables(
    parameters: dict[str, Any], tables: list[str]
) -> None:
    client, sent = traced()
    client.call("x", parameters)
    assert sent[0]["aws"]["table_names"] == tables


@pytest.mark.parametrize(
    ("error", "outcome"),
    [
        (UnansweredError("no answer"), {"fault"}),
        (EndpointConnectionError(endpoint_url="https://x"), {"fault"}),
        (
            RefusedError("UpdateItem", {"Error": {"Code": "ThrottlingException", "Message": ""}}),
            {"error"},
        ),
        (aws_error("ThrottlingException"), {"error"}),
        (aws_error("ConditionalCheckFailedException"), set()),
    ],
)
def test_a_failure_is_marked_and_a_condition_that_does_not_hold_is_none(
    error: Exception, outcome: set[str]
) -> None:
    client, sent = traced()
    client.error = error
    with pytest.raises(type(error)):
        client.call("UpdateItem", {"TableName": "presence"})
    assert sent[0].keys() & {"fault", "error"} == outcome


@pytest.mark.parametrize(
    "header", ["", "Root=1-a;Parent=b;Sampled=0", "Root=1-a;Sampled=1", "nonsense"]
)
def test_an_invocation_that_is_not_traced_sends_nothing(header: str) -> None:
    assert sampled(header) is None
    client, sent = traced(header)
    assert client.call("UpdateItem", {"TableName": "presence"}) == {"called": "UpdateItem"}
    assert sent == []


def test_a_subsegment_is_a_datagram_to_the_daemon_and_one_that_is_gone_stops_nothing() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as listener:
        listener.bind(("127.0.0.1", 0))
        listener.settimeout(5)
        with closing(Daemon(f"127.0.0.1:{listener.getsockname()[1]}")) as daemon:
            daemon.send({"name": "DynamoDB"})
            header, _, document = listener.recv(65_536).partition(b"\n")
            listener.close()
            for _ in range(3):
                daemon.send({"name": "DynamoDB"})
    assert json.loads(header) == {"format": "json", "version": 1}
    assert json.loads(document) == {"name": "DynamoDB"}


def modules(**environ: str) -> list[str]:
    """The modules of tracing that building a client imports."""
    program = (
        "import sys; from headcount.aws import clients; "
        "clients.dynamodb(clock=None, sleep=None, random=None, new_id=None); "
        "print(*[name for name in sys.modules if 'trac' in name and 'traceback' not in name])"
    )
    environ = {
        "PYTHONPATH": str(ROOT / "layers" / "presence"),
        "AWS_REGION": "us-east-1",
        "URL_SUFFIX": "example.test",
        "AWS_ACCESS_KEY_ID": "a",
        "AWS_SECRET_ACCESS_KEY": "b",
        "AWS_XRAY_DAEMON_ADDRESS": "169.254.100.1:2000",
        **environ,
    }
    return subprocess.run(
        [sys.executable, "-c", program], env=environ, check=True, capture_output=True, text=True
    ).stdout.split()


def test_only_where_tracing_is_on_is_anything_imported_for_it() -> None:
    assert modules() == []
    assert modules(TRACING="true") == ["headcount.aws.tracing"]


def test_the_template_says_whether_tracing_is_on() -> None:
    assert template().environment("count", Tracing="true")["TRACING"] == "true"
    assert "TRACING" not in template().environment("count")
