"""Our clients of AWS: signatures equal to botocore's, open connections, retries."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from typing import Any
from unittest import mock

import pytest
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials as BotocoreCredentials
from botocore.exceptions import ClientError, ReadTimeoutError
from headcount.aws import dynamodb, management
from headcount.aws.dynamodb import DynamoDB
from headcount.aws.management import Management
from headcount.aws.services import endpoint_of
from headcount.aws.signing import Credentials, Signer
from headcount.aws.wire import IDLE, Connection, Endpoint, Pool
from headcount.errors import (
    RefusedError,
    UnansweredError,
    cancellation_reasons,
    condition_failed,
    is_busy,
    is_gone,
)

from lab.harness.clock import Clock
from tests.support.script import CLOSE, NO_ANSWER, Script, answer, scripted

NOW = 1_795_262_400_123
OK = answer(200, b'{"Item": {"n": {"N": "7"}}}')
GET: dict[str, Any] = {"TableName": "t", "Key": {"p": {"S": "x"}}}


def error(code: str, **members: Any) -> bytes:
    body = {"__type": f"com.amazonaws.dynamodb.v20120810#{code}", "message": "no", **members}
    return json.dumps(body).encode()


def signer(service: str) -> Signer:
    return Signer(Credentials("AK", "SK", "TOKEN"), "us-east-1", service, lambda: NOW)


def pool_of(url: str, read_timeout: float = 5) -> Pool:
    return Pool(Endpoint.from_url(url), 5, read_timeout, lambda: NOW)


Client = tuple[DynamoDB, Script, list[float]]


@contextmanager
def client(
    *connections: Sequence[bytes | None],
    read_timeout: float = 5,
    clock: Callable[[], int] = lambda: NOW,
) -> Iterator[Client]:
    slept: list[float] = []
    ids = iter(range(100))
    with scripted(*connections) as script:
        pool = Pool(Endpoint.from_url(script.url), 5, read_timeout, clock)
        with closing(pool):
            yield (
                DynamoDB(
                    pool,
                    signer(dynamodb.SERVICE),
                    sleep=slept.append,
                    random=lambda: 1.0,
                    new_id=lambda: f"id-{next(ids)}",
                ),
                script,
                slept,
            )


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/"),
        ("POST", "/live/@connections/L0SM9c%3D"),
        ("DELETE", "/a%20b/@connections/x~y"),
    ],
)
@pytest.mark.parametrize("token", ["", "TOKEN"])
def test_a_signature_is_botocores(method: str, path: str, token: str) -> None:
    headers = {"host": "h.example:8443", "x-amz-target": "DynamoDB_20120810.GetItem"}
    ours = Signer(Credentials("AK", "SK", token), "eu-west-1", "dynamodb", lambda: NOW)
    request = AWSRequest(method, f"https://h.example:8443{path}", headers=headers, data=b'{"a":1}')
    with mock.patch(
        "botocore.auth.get_current_datetime", return_value=datetime.fromtimestamp(NOW / 1000, UTC)
    ):
        theirs = SigV4Auth(BotocoreCredentials("AK", "SK", token or None), "dynamodb", "eu-west-1")
        theirs.add_auth(request)
    for _ in range(2):  # the day's key is derived, then cached
        signed = ours.headers(method, path, b'{"a":1}', headers)
        assert signed["authorization"] == request.headers["Authorization"]
    assert signed["x-amz-date"] == request.headers["X-Amz-Date"]
    assert signed.get("x-amz-security-token") == request.headers.get("X-Amz-Security-Token")


def test_the_key_changes_at_midnight() -> None:
    times = iter([NOW, NOW + 86_400_000])
    ours = Signer(Credentials("AK", "SK"), "eu-west-1", "dynamodb", lambda: next(times))
    first, second = (ours.headers("POST", "/", b"", {"host": "h"}) for _ in range(2))
    fresh = Signer(Credentials("AK", "SK"), "eu-west-1", "dynamodb", lambda: NOW + 86_400_000)
    assert first != second == fresh.headers("POST", "/", b"", {"host": "h"})


def test_credentials_are_those_of_the_environment() -> None:
    environ = {"AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": "b", "AWS_SESSION_TOKEN": "c"}
    assert Credentials.from_environment(environ) == Credentials("a", "b", "c")
    assert Credentials.from_environment({"AWS_ACCESS_KEY_ID": "a"}) is None


@pytest.mark.parametrize(
    ("environ", "url"),
    [
        ({"AWS_REGION": "eu-west-1"}, "https://dynamodb.eu-west-1.example"),
        ({"AWS_DEFAULT_REGION": "x"}, "https://dynamodb.x.example"),
        ({"AWS_REGION": "x", "AWS_ENDPOINT_URL": "http://e:4566"}, "http://e:4566"),
        ({"AWS_REGION": "x", "AWS_ENDPOINT_URL_DYNAMODB": "http://d:1"}, "http://d:1"),
        ({"AWS_REGION": "x", "AWS_ENDPOINT_URL": ""}, "https://dynamodb.x.example"),
        ({"AWS_REGION": "x", "AWS_USE_FIPS_ENDPOINT": "True"}, "https://dynamodb-fips.x.example"),
        ({"AWS_REGION": "x", "AWS_USE_FIPS_ENDPOINT": "false"}, "https://dynamodb.x.example"),
    ],
)
def test_the_environment_sets_a_services_address(environ: dict[str, str], url: str) -> None:
    assert endpoint_of("dynamodb", {"URL_SUFFIX": "example", **environ}) == Endpoint.from_url(url)


def test_requests_share_a_connection() -> None:
    with client([OK, OK]) as (dynamodb, script, _):
        assert dynamodb.get_item(**GET) == {"Item": {"n": {"N": "7"}}}
        dynamodb.get_item(**GET)
        assert script.connections == 1
        head, _, body = script.requests[0].partition(b"\r\n\r\n")
        assert head.startswith(b"POST / HTTP/1.1\r\n")
        assert b"x-amz-target: DynamoDB_20120810.GetItem" in head
        assert json.loads(body) == GET


def test_an_endpoint_may_be_below_a_path() -> None:
    with scripted([OK]) as script, closing(pool_of(f"{script.url}/door/")) as pool:
        dynamodb = DynamoDB(
            pool, signer("dynamodb"), sleep=lambda _: None, random=lambda: 0, new_id=lambda: "x"
        )
        dynamodb.get_item(**GET)
        assert script.requests[0].startswith(b"POST /door HTTP/1.1\r\n")


def test_a_connection_that_was_closed_while_idle_is_replaced_at_once() -> None:
    with client([OK], [OK]) as (dynamodb, script, slept):
        dynamodb.get_item(**GET)
        dynamodb.get_item(**GET)
        assert script.connections == 2
        assert slept == []


@pytest.mark.parametrize(
    ("idled", "connections"),
    [(IDLE - 1, 1), (IDLE, 2), (3_600_000, 2), (-1_000, 2)],
)
def test_a_connection_that_idled_for_long_is_replaced_without_an_attempt(
    idled: int, connections: int
) -> None:
    times = iter([NOW, NOW + idled])
    # If a router dropped it, a request over it would get no answer.
    first = [OK, OK] if connections == 1 else [OK, NO_ANSWER]
    with client(first, [OK], read_timeout=2, clock=lambda: next(times)) as (
        dynamodb,
        script,
        slept,
    ):
        dynamodb.get_item(**GET)
        dynamodb.get_item(**GET)
        assert script.connections == connections
        assert len(script.requests) == 2
        assert slept == []


def test_all_connections_that_idled_for_long_are_closed() -> None:
    clock = Clock()
    with scripted([], [], [], [OK]) as script:
        pool = Pool(Endpoint.from_url(script.url), 5, 5, clock)
        kept = [Connection(pool.endpoint, 5, 5) for _ in range(3)]
        pool._idle += [(clock(), one) for one in kept]
        clock.advance(60)
        with closing(pool):
            pool.request("POST", "/", {}, b"")
            assert len(pool._idle) == 1
        assert all(one._socket.fileno() == -1 for one in kept)


def test_a_connection_that_says_close_is_not_used_again() -> None:
    with client([answer(200, b"{}", "Connection: close")], [OK]) as (dynamodb, script, _):
        dynamodb.get_item(**GET)
        dynamodb.get_item(**GET)
        assert script.connections == 2


@pytest.mark.parametrize(
    "refusal",
    [
        answer(400, error("ProvisionedThroughputExceededException")),
        answer(400, error("ThrottlingException")),
        answer(400, error("TransactionConflictException")),
        answer(500, error("InternalServerError")),
        answer(503, b"<html>not JSON</html>"),
    ],
)
def test_a_temporary_error_is_retried_later_each_time(refusal: bytes) -> None:
    with client([refusal, refusal, refusal, OK]) as (dynamodb, script, slept):
        dynamodb.get_item(**GET)
        assert len(script.requests) == 4
        assert slept == [0.05, 0.1, 0.2]


def test_a_lasting_error_is_raised_after_four_attempts() -> None:
    refusal = answer(400, error("ThrottlingException"))
    with client([refusal] * 5) as (dynamodb, script, _), pytest.raises(RefusedError) as raised:
        dynamodb.get_item(**GET)
    assert is_busy(raised.value)
    assert len(script.requests) == 4


def test_a_failed_condition_is_raised_at_once_with_the_row() -> None:
    row = {"p": {"S": "x"}}
    refusal = answer(400, error("ConditionalCheckFailedException", Item=row))
    with client([refusal]) as (dynamodb, script, _), pytest.raises(RefusedError) as raised:
        dynamodb.put_item(TableName="t", Item=row)
    assert condition_failed(raised.value)
    assert raised.value.response["Item"] == row
    assert len(script.requests) == 1


def test_a_cancelled_transaction_has_its_reasons() -> None:
    reasons = [{"Code": "None"}, {"Code": "ConditionalCheckFailed"}]
    refusal = answer(400, error("TransactionCanceledException", CancellationReasons=reasons))
    with client([refusal]) as (dynamodb, _, _), pytest.raises(RefusedError) as raised:
        dynamodb.transact_write_items(TransactItems=[])
    assert cancellation_reasons(raised.value) == ["None", "ConditionalCheckFailed"]


def test_a_transaction_whose_answer_got_lost_is_retried_as_the_same_one() -> None:
    with client([CLOSE], [answer(500), OK]) as (dynamodb, script, _):
        dynamodb.transact_write_items(TransactItems=[])
        tokens = [json.loads(one.partition(b"\r\n\r\n")[2]) for one in script.requests]
        assert [one["ClientRequestToken"] for one in tokens] == ["id-0"] * 3


def test_a_missing_answer_is_retried_and_then_a_timeout() -> None:
    silent: list[bytes | None] = [NO_ANSWER]
    with (
        client(silent, silent, silent, silent, read_timeout=0.05) as (dynamodb, script, slept),
        pytest.raises(UnansweredError),
    ):
        dynamodb.get_item(**GET)
    assert len(slept) == 3
    assert script.connections == 4


def test_an_unreachable_address_is_an_endpoint_error() -> None:
    with scripted() as script:
        endpoint = Endpoint.from_url(script.url)
    pool = Pool(endpoint, 1, 1, lambda: NOW)
    dynamodb = DynamoDB(
        pool, signer("dynamodb"), sleep=lambda _: None, random=lambda: 0, new_id=lambda: "x"
    )
    with pytest.raises(UnansweredError):
        dynamodb.get_item(**GET)


def test_a_long_answer_comes_whole_in_pieces_or_in_chunks() -> None:
    item = json.dumps({"Item": {"s": {"S": "x" * 300_000}}}).encode()
    chunks = b"".join(
        f"{len(item[at : at + 70_000]):x}\r\n".encode() + item[at : at + 70_000] + b"\r\n"
        for at in range(0, len(item), 70_000)
    )
    chunked = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + chunks + b"0\r\n\r\n"
    with client([answer(200, item), chunked, OK]) as (dynamodb, script, _):
        assert dynamodb.get_item(**GET) == json.loads(item)
        assert dynamodb.get_item(**GET) == json.loads(item)
        assert dynamodb.get_item(**GET)["Item"] == {"n": {"N": "7"}}
        assert script.connections == 1


@pytest.mark.parametrize(
    "garbage",
    [
        b"SSH-2.0-OpenSSH\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nshort",
    ],
)
def test_an_incomplete_answer_is_no_success(garbage: bytes) -> None:
    with client(*[[garbage]] * 4) as (dynamodb, _, _), pytest.raises(UnansweredError):
        dynamodb.get_item(**GET)


def test_pages_follow_each_other() -> None:
    first = {"Items": [{"n": {"N": "1"}}], "LastEvaluatedKey": {"p": {"S": "x"}}}
    second = {"Items": [{"n": {"N": "2"}}]}
    pages = [answer(200, json.dumps(page).encode()) for page in (first, second)]
    with client(pages) as (dynamodb, script, _):
        assert list(dynamodb.get_paginator("query").paginate(TableName="t")) == [first, second]
        asked = [json.loads(one.partition(b"\r\n\r\n")[2]) for one in script.requests]
        assert asked == [
            {"TableName": "t"},
            {"TableName": "t", "ExclusiveStartKey": {"p": {"S": "x"}}},
        ]


def test_a_raw_query_leaves_each_row_as_its_json() -> None:
    rows = [b'{"n":{"N":"1"}}', b'{"n": {"N": "2"}}']
    bodies = (
        b'{"Count":1,"Items":[%s],"LastEvaluatedKey":{"p":{"S":"x"}}}' % rows[0],
        b'{"Items":[%s]}' % rows[1],
    )
    with client([answer(200, body) for body in bodies]) as (dynamodb, script, _):
        pages = [*dynamodb.get_paginator("query_raw").paginate(TableName="t")]
        assert [row for page in pages for row in page["Items"]] == rows
        assert [json.loads(one.partition(b"\r\n\r\n")[2]) for one in script.requests] == [
            {"TableName": "t"},
            {"TableName": "t", "ExclusiveStartKey": {"p": {"S": "x"}}},
        ]


def test_bytes_go_out_as_base64() -> None:
    with client([OK]) as (dynamodb, script, _):
        dynamodb.put_item(TableName="t", Item={"b": {"B": b"\x00\xff"}})
        body = json.loads(script.requests[0].partition(b"\r\n\r\n")[2])
        assert body["Item"] == {"b": {"B": "AP8="}}


def test_the_client_has_only_operations_that_the_stores_use() -> None:
    with client() as (dynamodb, _, _), pytest.raises(AttributeError):
        dynamodb.describe_table  # noqa: B018 - asking for it is the test


@contextmanager
def line(*answers: bytes | None, read_timeout: float = 5) -> Iterator[tuple[Management, Script]]:
    with scripted(answers) as script:
        pool = pool_of(f"{script.url}/live", read_timeout)
        with closing(pool):
            yield Management(pool, signer(management.SERVICE)), script


def test_a_frame_is_posted_to_its_connection() -> None:
    with line(answer(200, b"")) as (api, script):
        api.post_to_connection(ConnectionId="L0SM9c=", Data=b"frame")
        head, _, body = script.requests[0].partition(b"\r\n\r\n")
        assert head.startswith(b"POST /live/@connections/L0SM9c%3D HTTP/1.1\r\n")
        assert body == b"frame"


def test_a_connection_is_closed() -> None:
    with line(answer(204, b"")) as (api, script):
        api.delete_connection(ConnectionId="c")
        assert script.requests[0].startswith(b"DELETE /live/@connections/c HTTP/1.1\r\n")


@pytest.mark.parametrize(
    ("status", "holds"),
    [(410, is_gone), (429, is_busy), (500, is_busy), (403, lambda one: not is_busy(one))],
)
def test_a_refused_post_is_raised_at_once(
    status: int, holds: Callable[[ClientError], bool]
) -> None:
    with line(answer(status)) as (api, script), pytest.raises(ClientError) as raised:
        api.post_to_connection(ConnectionId="c", Data=b"")
    assert holds(raised.value)
    assert len(script.requests) == 1


def test_a_post_that_hangs_is_a_timeout() -> None:
    with line(NO_ANSWER, read_timeout=0.05) as (api, _), pytest.raises(ReadTimeoutError):
        api.post_to_connection(ConnectionId="c", Data=b"")
