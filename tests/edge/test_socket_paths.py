"""WebSocket paths at the edge and at the local origin: one table of cases tests both.

The edge's function is read from the template, as CloudFormation does, and run by Node on events in
CloudFront's format.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import parse_qsl

import pytest
from aiohttp.test_utils import make_mocked_request

from lab.harness.template import template
from local.origin import socket_query
from tests.support.missing import missing

T = template()
FUNCTION = T.resources["EdgeSocketPath"]["Properties"]
RUNNER = Path(__file__).with_name("function.mjs")

Query = dict[str, list[str]]
"""Name -> its values in order, both as encoded on the wire."""


class Case(NamedTuple):
    """A WebSocket request, and what the WebSocket API gets of it; None: nothing."""

    path: str
    query: str
    sent: Query | None


CASES = {
    "the socket itself": Case("/ws", "", {}),
    "the socket itself with a token": Case("/ws", "token=a.b-c_d", {"token": ["a.b-c_d"]}),
    "the socket itself keeps a path it was asked with": Case(
        "/ws", "path=%2Fapi%2Fws%2Fx", {"path": ["%2Fapi%2Fws%2Fx"]}
    ),
    "a feed": Case(
        "/api/ws/analytics/realtime", "", {"path": ["%2Fapi%2Fws%2Fanalytics%2Frealtime"]}
    ),
    "a feed with a token": Case(
        "/api/ws/streams/42/metrics",
        "token=a.b-c_d",
        {"path": ["%2Fapi%2Fws%2Fstreams%2F42%2Fmetrics"], "token": ["a.b-c_d"]},
    ),
    "a container's feed": Case(
        "/api/ws/container/c-1",
        "token=t",
        {"path": ["%2Fapi%2Fws%2Fcontainer%2Fc-1"], "token": ["t"]},
    ),
    "values that come twice stay two, in their order": Case(
        "/api/ws/x",
        "a=2&b=3&a=1&a=2",
        {"path": ["%2Fapi%2Fws%2Fx"], "a": ["2", "1", "2"], "b": ["3"]},
    ),
    "encodings stay as they are": Case(
        "/api/ws/x",
        "t=a%2Bb+c%20d%26e&%C3%A9=%E2%82%AC&low=%c3%a9",
        {
            "path": ["%2Fapi%2Fws%2Fx"],
            "t": ["a%2Bb+c%20d%26e"],
            "%C3%A9": ["%E2%82%AC"],
            "low": ["%c3%a9"],
        },
    ),
    "a value with an equals sign": Case(
        "/api/ws/x", "t=YQ==", {"path": ["%2Fapi%2Fws%2Fx"], "t": ["YQ=="]}
    ),
    "an empty value": Case("/api/ws/x", "t=", {"path": ["%2Fapi%2Fws%2Fx"], "t": [""]}),
    "an encoded path is encoded once more": Case(
        "/api/ws/streams/a%20b%2Fc/metrics",
        "",
        {"path": ["%2Fapi%2Fws%2Fstreams%2Fa%2520b%252Fc%2Fmetrics"]},
    ),
    "signs in a path": Case(
        "/api/ws/streams/a:b@c+d,e;f$g!h'i(j)k*l~m-n_o.p/metrics",
        "",
        {"path": ["%2Fapi%2Fws%2Fstreams%2Fa%3Ab%40c%2Bd%2Ce%3Bf%24g!h'i(j)k*l~m-n_o.p%2Fmetrics"]},
    ),
    "a path that looks like a query": Case(
        "/api/ws/x&token=y", "token=t", {"path": ["%2Fapi%2Fws%2Fx%26token%3Dy"], "token": ["t"]}
    ),
    "nothing below /api/ws/": Case("/api/ws/", "", {"path": ["%2Fapi%2Fws%2F"]}),
    "the client's own path is dropped": Case(
        "/api/ws/x",
        "path=%2Fapi%2Fws%2Fother&token=t",
        {"path": ["%2Fapi%2Fws%2Fx"], "token": ["t"]},
    ),
    "the client's own paths are dropped wherever they stand": Case(
        "/api/ws/x", "path=1&token=t&path=2", {"path": ["%2Fapi%2Fws%2Fx"], "token": ["t"]}
    ),
    "the client's own path is dropped however it is spelt": Case(
        "/api/ws/x", "%70ath=1&pat%68=2&path=3", {"path": ["%2Fapi%2Fws%2Fx"]}
    ),
    "the client's own path without a value is dropped": Case(
        "/api/ws/x", "path", {"path": ["%2Fapi%2Fws%2Fx"]}
    ),
    "names that are only like path stay": Case(
        "/api/ws/x",
        "Path=1&paths=2&path%5B%5D=3&path%zz=4",
        {
            "path": ["%2Fapi%2Fws%2Fx"],
            "Path": ["1"],
            "paths": ["2"],
            "path%5B%5D": ["3"],
            "path%zz": ["4"],
        },
    ),
    "Convex's sync socket": Case("/api/1.48.0/sync", "", {"path": ["%2Fapi%2F1.48.0%2Fsync"]}),
    "Convex's sync socket of a version to come": Case(
        "/api/2.0.0-alpha.1/sync", "path=x", {"path": ["%2Fapi%2F2.0.0-alpha.1%2Fsync"]}
    ),
    "what is called sync and is not at a version": Case("/api/streams/sync", "", None),
    "below the sync socket": Case("/api/1.48.0/sync/x", "", None),
    "not below /api/ws/": Case("/api/ws", "", None),
    "only like /api/ws/": Case("/api/wsx/y", "", None),
    "below the socket itself": Case("/ws/x", "", None),
    "only like the socket itself": Case("/wsx", "", None),
    "the socket itself in capitals": Case("/WS", "", None),
    "the API": Case("/v1/spaces/site%3Amain", "path=x", None),
}
SENT = {name: case for name, case in CASES.items() if case.sent is not None}


def grouped(query: str) -> Query:
    """A query string by name, not decoded."""
    values: Query = {}
    for pair in filter(None, query.split("&")):
        name, _, value = pair.partition("=")
        values.setdefault(name, []).append(value)
    return values


def edge_request(case: Case) -> dict[str, Any]:
    """The request as CloudFront passes it to a function: several values have a `multiValue`."""
    fields: dict[str, Any] = {}
    for name, values in grouped(case.query).items():
        fields[name] = {"value": values[0]}
        if len(values) > 1:
            fields[name]["multiValue"] = [{"value": value} for value in values]
    headers = {"host": {"value": "d111111abcdef8.cloudfront.net"}}
    return {
        "method": "GET",
        "uri": case.path,
        "querystring": fields,
        "headers": headers,
        "cookies": {"session": {"value": "s"}},
    }


def edge_query(fields: dict[str, Any]) -> Query:
    """The query that CloudFront forwards after the function."""
    return {
        name: [one["value"] for one in field.get("multiValue", [field])]
        for name, field in fields.items()
    }


@pytest.fixture(scope="module")
def answers() -> dict[str, Any]:
    """The edge function's result for each of its cases, by the case's name."""
    node = shutil.which("node")
    if node is None:
        missing("Node", "install it (Debian and Ubuntu: `apt-get install nodejs`).")
    asked = {
        "code": FUNCTION["FunctionCode"],
        "requests": [edge_request(case) for case in SENT.values()],
    }
    done = subprocess.run(
        [node, RUNNER], input=json.dumps(asked), capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return dict(zip(SENT, json.loads(done.stdout), strict=True))


@pytest.mark.parametrize("name", SENT)
def test_the_edge_turns_a_path_into_a_query_of_the_stage(
    answers: dict[str, Any], name: str
) -> None:
    assert answers[name]["uri"] == "/" + T.resources["SocketStage"]["Properties"]["StageName"]
    assert edge_query(answers[name]["querystring"]) == SENT[name].sent


@pytest.mark.parametrize("name", SENT)
def test_the_edge_changes_nothing_but_path_and_query(answers: dict[str, Any], name: str) -> None:
    asked = edge_request(SENT[name])
    for field in ("method", "headers", "cookies"):
        assert answers[name][field] == asked[field]


@pytest.mark.parametrize("name", CASES)
def test_the_edge_routes_exactly_the_socket_paths_to_the_sockets(name: str) -> None:
    distribution = T.resources["EdgeDistribution"]["Properties"]["DistributionConfig"]
    targets = [
        behavior["TargetOriginId"]
        for behavior in distribution["CacheBehaviors"]
        if fnmatchcase(CASES[name].path, behavior["PathPattern"])
    ]
    assert targets == ([] if CASES[name].sent is None else ["socket"])


@pytest.mark.parametrize("name", CASES)
def test_the_local_origin_does_what_the_edge_does(name: str) -> None:
    case = CASES[name]
    query = socket_query(request_of(case, Upgrade="websocket"))
    assert (None if query is None else grouped(query.removeprefix("?"))) == case.sent
    assert query is None or query[:1] in {"", "?"}


@pytest.mark.parametrize("name", CASES)
def test_the_local_origin_bridges_only_websockets(name: str) -> None:
    assert socket_query(request_of(CASES[name])) is None


@pytest.mark.parametrize("name", [name for name in SENT if SENT[name].path != "/ws"])
def test_the_websocket_api_decodes_the_requested_path(name: str) -> None:
    query = socket_query(request_of(SENT[name], Upgrade="websocket"))
    assert query is not None
    # The last value wins in the event of $connect.
    assert dict(parse_qsl(query.removeprefix("?")))["path"] == SENT[name].path


def request_of(case: Case, **headers: str) -> Any:
    """The case as a request to the local origin."""
    return make_mocked_request("GET", f"{case.path}?{case.query}".rstrip("?"), headers=headers)


def test_the_function_keeps_to_what_cloudfront_allows() -> None:
    code = FUNCTION["FunctionCode"]
    assert len(code.encode()) < 10 * 1024
    # From its runtime 2.0 we use ES 5.1, const and arrows; it has no timers and no network.
    forbidden = r"\b(require|import|eval|Function|setTimeout|class|let|for|async|URLSearchParams)\b"
    assert not re.search(forbidden, re.sub(r"//.*", "", code))
