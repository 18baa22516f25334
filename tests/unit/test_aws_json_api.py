"""Our client of queues, the bus and secrets: requests equal to botocore's, and our own errors."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from typing import Any

import boto3
import pytest
from botocore.awsrequest import AWSPreparedRequest, AWSResponse
from headcount.aws.json_api import EVENTBRIDGE, SECRETS_MANAGER, SQS, JsonApi, Service
from headcount.aws.signing import Credentials, Signer
from headcount.aws.wire import Endpoint, Pool
from headcount.errors import RefusedError, UnansweredError, is_busy, is_denied

from tests.support.script import CLOSE, NO_ANSWER, Script, answer, scripted

NOW = 1_795_262_400_123
OK = answer(200, b'{"MessageId": "m"}')
SEND: dict[str, Any] = {"QueueUrl": "https://sqs.example/1/q", "MessageBody": "é"}
CHUNK = {
    **SEND,
    "MessageGroupId": "g",
    "MessageDeduplicationId": "d",
    "MessageAttributes": {
        "cause": {"DataType": "String", "StringValue": "r"},
        "caused_at": {"DataType": "Number", "StringValue": "7"},
    },
}
ENTRY = {
    "EventBusName": "b",
    "Source": "headcount",
    "DetailType": "Visitor joined",
    "Time": datetime.fromtimestamp(NOW / 1000, UTC),
    "Detail": "{}",
}
CALLS: list[tuple[Service, str, dict[str, Any]]] = [
    (SQS, "send_message", {**SEND, "DelaySeconds": 5}),
    (SQS, "send_message", CHUNK),
    (
        SQS,
        "change_message_visibility",
        {"QueueUrl": SEND["QueueUrl"], "ReceiptHandle": "r", "VisibilityTimeout": 6},
    ),
    (EVENTBRIDGE, "put_events", {"Entries": [ENTRY]}),
    (SECRETS_MANAGER, "get_secret_value", {"SecretId": "arn"}),
]
Client = tuple[JsonApi, Script, list[float]]


@contextmanager
def client(
    service: Service, *connections: Sequence[bytes | None], read_timeout: float = 5
) -> Iterator[Client]:
    slept: list[float] = []
    with scripted(*connections) as script:
        pool = Pool(Endpoint.from_url(script.url), 5, read_timeout, lambda: NOW)
        signer = Signer(Credentials("AK", "SK"), "us-east-1", service.name, lambda: NOW)
        with closing(pool):
            yield (
                JsonApi(service, pool, signer, sleep=slept.append, random=lambda: 1.0),
                script,
                slept,
            )


def parsed(request: bytes) -> tuple[str, dict[str, str], Any]:
    head, _, body = request.partition(b"\r\n\r\n")
    first, *lines = head.decode().split("\r\n")
    headers = dict(line.lower().split(": ", 1) for line in lines)
    return first, headers, json.loads(body)


def botocores(service: Service, name: str, parameters: dict[str, Any]) -> AWSPreparedRequest:
    sent: list[AWSPreparedRequest] = []

    class Empty:
        def stream(self, **_: Any) -> Iterator[bytes]:
            yield b"{}"

    def keep(request: AWSPreparedRequest, **_: Any) -> AWSResponse:
        sent.append(request)
        return AWSResponse(request.url, 200, {}, Empty())

    made: Any = boto3.client(
        service.name,  # type: ignore[call-overload]
        region_name="us-east-1",
        aws_access_key_id="AK",
        aws_secret_access_key="SK",
    )
    made.meta.events.register_first("before-send", keep)  # before moto, if it is there
    getattr(made, name)(**parameters)
    return sent[0]


@pytest.mark.parametrize(("service", "name", "parameters"), CALLS)
def test_a_call_is_sent_as_botocore_sends_it(
    service: Service, name: str, parameters: dict[str, Any]
) -> None:
    theirs = botocores(service, name, parameters)
    with client(service, [OK]) as (ours, script, _):
        assert getattr(ours, name)(**parameters) == {"MessageId": "m"}
        first, headers, body = parsed(script.requests[0])
    assert first == f"{theirs.method} / HTTP/1.1"
    assert body == json.loads(theirs.body)
    expected = {name.lower(): value for name, value in theirs.headers.items()}
    for header in ("content-type", "x-amz-target"):
        value = expected[header]
        assert headers[header] == (value.decode() if isinstance(value, bytes) else value).lower()
    assert f"/us-east-1/{service.name}/aws4_request" in headers["authorization"]


def test_only_calls_that_the_package_makes_are_there() -> None:
    with client(SQS) as (sqs, _, _), pytest.raises(AttributeError):
        sqs.receive_message  # noqa: B018 - asking for it is the test


def test_an_empty_answer_is_an_empty_result() -> None:
    with client(SQS, [answer(200, b"")]) as (sqs, _, _):
        assert sqs.change_message_visibility(QueueUrl="q") == {}


@pytest.mark.parametrize(
    "refusal",
    [
        answer(400, b'{"__type": "com.amazonaws.sqs#RequestThrottled"}'),
        answer(400, b'{"__type": "ThrottlingException", "message": "Rate exceeded"}'),
        answer(503, b"<html>not JSON</html>"),
        answer(500, b"[]"),
    ],
)
def test_a_temporary_error_is_retried_later_each_time(refusal: bytes) -> None:
    with client(SQS, [refusal, refusal, OK]) as (sqs, script, slept):
        sqs.send_message(**SEND)
        assert len(script.requests) == 3
        assert slept == [0.1, 0.2]


def test_after_three_tries_the_error_is_the_callers() -> None:
    refusal = answer(400, b'{"__type": "ThrottlingException"}')
    with client(SQS, [refusal] * 4) as (sqs, script, _), pytest.raises(RefusedError) as raised:
        sqs.send_message(**SEND)
    assert is_busy(raised.value)
    assert len(script.requests) == 3


def test_a_refusal_is_raised_at_once_with_its_code() -> None:
    refusal = answer(400, b'{"__type": "AccessDeniedException", "Message": "no"}')
    with (
        client(SECRETS_MANAGER, [refusal]) as (secrets, script, _),
        pytest.raises(RefusedError, match=r"GetSecretValue: AccessDeniedException: no") as raised,
    ):
        secrets.get_secret_value(SecretId="arn")
    assert is_denied(raised.value)
    assert len(script.requests) == 1


def test_a_lost_answer_is_asked_for_again() -> None:
    with client(SQS, [CLOSE], [OK]) as (sqs, script, slept):
        sqs.send_message(**SEND)
        assert (len(script.requests), len(slept)) == (2, 1)


def test_a_missing_answer_is_none_in_the_end() -> None:
    silent: list[bytes | None] = [NO_ANSWER]
    with (
        client(SQS, silent, silent, silent, read_timeout=0.05) as (sqs, script, _),
        pytest.raises(UnansweredError),
    ):
        sqs.send_message(**SEND)
    assert script.connections == 3


def test_an_unreachable_address_is_no_answer() -> None:
    with client(SQS) as (sqs, _, _):
        pass
    with pytest.raises(UnansweredError):
        sqs.send_message(**SEND)
