"""What the template keeps out of logs and environments, and what it throttles."""

from __future__ import annotations

import json
import re

import pytest

from tests.support.template import template, translated

T = template()


def settings_named(*names: str) -> list[str]:
    """The values, anywhere in the translated template, of properties with these names."""
    found: list[str] = []
    todo = [translated()["Resources"]]
    while todo:
        for key, value in todo.pop().items():
            if key in names:
                found.append(json.dumps(value))
            inner = value if isinstance(value, list) else [value]
            todo += [one for one in inner if isinstance(one, dict)]
    return found


def test_nothing_logs_requests_whose_query_may_hold_a_token() -> None:
    logs = settings_named(
        "AccessLogSettings", "AccessLogSetting", "Logging", "RealtimeLogConfigArn"
    )
    traces = settings_named("DataTraceEnabled", "LoggingLevel", "TracingEnabled")
    assert logs == traces == []


def test_a_function_traces_only_where_that_is_asked_for_and_then_itself_alone() -> None:
    """Lambda's own trace of an invocation knows neither a request's path nor its query."""
    mode = {"Mode": {"Fn::If": ["HasTracing", "Active", "PassThrough"]}}
    assert {*settings_named("TracingConfig")} == {json.dumps(mode)}


@pytest.mark.parametrize("function", sorted(T.functions))
def test_a_function_is_told_where_a_secret_is_and_never_a_secret(function: str) -> None:
    given = T.environment(
        function, TokenSecret="arn:of-the-secret", WebhookSecret="arn:of-the-secret"
    )
    for name, value in given.items():
        assert "{{resolve" not in value
        if re.search("SECRET|PASSWORD|PRIVATE", name):
            assert value == "arn:of-the-secret"
    assert not [name for name in given if "LOG_EVENT" in name]


@pytest.mark.parametrize(
    ("parameter", "fits", "does_not"),
    [
        (
            "TokenSecret",
            ["", "arn:aws:secretsmanager:eu-west-1:123456789012:secret:tokens-AbCdEf"],
            ["a shared secret of more than thirty-two bytes", "arn:aws:ssm:eu-west-1:1:x"],
        ),
        (
            "JwksUrl",
            ["", "https://issuer.example.test/.well-known/jwks.json"],
            ["http://issuer.example.test/jwks.json", "file:///etc/passwd", "issuer.example.test"],
        ),
    ],
)
def test_a_parameter_takes_no_secret_and_no_key_set_that_could_be_changed_on_its_way(
    parameter: str, fits: list[str], does_not: list[str]
) -> None:
    pattern = T.parameters[parameter]["AllowedPattern"]
    assert all(re.search(pattern, one) for one in fits)
    assert not any(re.search(pattern, one) for one in does_not)


def test_each_stage_is_throttled_by_parameters() -> None:
    http = T.resources["HttpApi"]["Properties"]["DefaultRouteSettings"]
    socket = T.resources["SocketStage"]["Properties"]["DefaultRouteSettings"]
    given = {"RequestsPerSecond": "11", "RequestsBurst": "12"}
    given |= {"SocketMessagesPerSecond": "13", "SocketMessagesBurst": "14"}
    rate, burst = "ThrottlingRateLimit", "ThrottlingBurstLimit"
    assert T.resolve(http, **given) == {rate: "11", burst: "12"}
    assert T.resolve(socket, **given) == {rate: "13", burst: "14"}


def test_the_defaults_of_every_limit_are_above_zero_and_a_session_is_limited() -> None:
    for name in ("RequestsPerSecond", "RequestsBurst", "SocketMessagesPerSecond"):
        assert T.parameters[name]["MinValue"] == 1
    assert T.environment("api")["BEATS_PER_SESSION"] == "20"


@pytest.mark.parametrize("function", ["api", "socket", "containers"])
def test_whoever_checks_tokens_knows_all_that_they_may_say(function: str) -> None:
    given = T.environment(function, AdminClaim="role=boss", ScopeClaim="permissions")
    assert (given["ADMIN_CLAIM"], given["SCOPE_CLAIM"]) == ("role=boss", "permissions")
