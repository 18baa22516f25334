"""No secrets in logs or environments, and throttling."""

from __future__ import annotations

import json
import re

import pytest
from headcount.settings import Settings

from lab.harness.template import template, translated

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


def test_a_function_traces_only_on_request_and_only_itself() -> None:
    """Lambda's own trace of an invocation has neither a request's path nor its query."""
    mode = {"Mode": {"Fn::If": ["HasTracing", "Active", "PassThrough"]}}
    assert {*settings_named("TracingConfig")} == {json.dumps(mode)}


@pytest.mark.parametrize("function", sorted(T.functions))
def test_a_function_gets_a_secrets_arn_and_never_the_secret(function: str) -> None:
    given = T.environment(
        function, TokenSecret="arn:of-the-secret", Settings="webhook-secret=arn:of-the-secret"
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
            [
                "a shared secret of more than thirty-two bytes",
                "arn:aws:ssm:eu-west-1:1:x",
                # IAM compares the whole ARN: a partial ARN allows nothing.
                "arn:aws:secretsmanager:eu-west-1:123456789012:secret:headcount",
                "arn:aws:secretsmanager:eu-west-1:123456789012:secret:headcount/token",
            ],
        ),
        (
            "JwksUrl",
            ["", "https://issuer.example.test/.well-known/jwks.json"],
            ["http://issuer.example.test/jwks.json", "file:///etc/passwd", "issuer.example.test"],
        ),
    ],
)
def test_a_parameter_accepts_no_secret_and_no_key_set_without_tls(
    parameter: str, fits: list[str], does_not: list[str]
) -> None:
    pattern = T.parameters[parameter]["AllowedPattern"]
    assert all(re.search(pattern, one) for one in fits)
    assert not any(re.search(pattern, one) for one in does_not)


def test_each_stage_is_throttled_by_parameters() -> None:
    http = T.resources["HttpApi"]["Properties"]["DefaultRouteSettings"]
    socket = T.resources["SocketStage"]["Properties"]["DefaultRouteSettings"]
    given = {
        "Limits": "socket-messages-burst=14,requests-burst=12,requests-per-second=11,"
        "socket-messages-per-second=13"
    }
    rate, burst = "ThrottlingRateLimit", "ThrottlingBurstLimit"
    assert T.resolve(http, **given) == {rate: "11", burst: "12"}
    assert T.resolve(socket, **given) == {rate: "13", burst: "14"}


NEWER_REGIONS = {"ThrottlingRateLimit": 2500, "ThrottlingBurstLimit": 1250}
"""API Gateway's account limits in the thirteen newest regions, which are the lowest."""


def test_a_stages_limits_fit_an_account_in_any_region() -> None:
    for stage in ("HttpApi", "SocketStage"):
        limits = T.resolve(T.resources[stage]["Properties"]["DefaultRouteSettings"])
        assert {
            name: quota for name, quota in NEWER_REGIONS.items() if int(limits[name]) > quota
        } == {}


def test_the_defaults_of_every_limit_are_above_zero_and_a_session_is_limited() -> None:
    for stage in ("HttpApi", "SocketStage"):
        limits = T.resolve(T.resources[stage]["Properties"]["DefaultRouteSettings"])
        assert all(int(limit) > 0 for limit in limits.values())
    assert Settings(T.environment("api")).beats_per_session == 20


@pytest.mark.parametrize("function", ["api", "socket", "containers"])
def test_every_function_that_checks_tokens_has_the_claims_settings(function: str) -> None:
    claims = "admin-claim=role=boss,scope-claim=permissions"
    given = Settings(T.environment(function, Settings=claims)).tokens
    assert (given.admin_claim, given.scope_claim) == ("role=boss", "permissions")
