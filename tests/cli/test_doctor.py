"""The doctor's checks, case by case; tests/stack/test_doctor.py runs them on a whole stack."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import EndpointConnectionError
from headcount.auth.keys import MIN_SECRET
from headcount_cli import doctor
from headcount_cli.doctor import diagnosis, metrics, probes, resources, stack_checks
from headcount_cli.doctor.account import STACK_CHECKS
from headcount_cli.doctor.deployed import Deployed
from headcount_cli.doctor.diagnosis import CHECKS, examine
from headcount_cli.doctor.findings import Finding, Status, fail, info, ok, unknown, warn
from headcount_cli.doctor.resources import routes_of, secret_strength
from headcount_cli.doctor.template import UNKNOWN, Resolver
from headcount_cli.errors import CommandError
from headcount_cli.target import Options, Stack, Target

from lab.harness.template import template, translated
from tests.cli import cloud
from tests.cli.cloud import refused
from tests.cli.conftest import run_in, served

TABLE_ARN = "arn:aws:dynamodb:us-east-1:123456789012:table/T"
STREAM = f"{TABLE_ARN}/stream/2026-11-21"
UUID = "14e0db71-5d35-4eb5-b481-8945cf9d10c2"
TEMPLATE: dict[str, Any] = {
    "Parameters": {},
    "Conditions": {"Never": {"Fn::Equals": ["a", "b"]}},
    "Resources": {
        "Table": {
            "Type": "AWS::DynamoDB::Table",
            "Properties": {
                "KeySchema": [{"AttributeName": "id", "KeyType": "HASH"}],
                "StreamSpecification": {"StreamViewType": "NEW_IMAGE"},
                "TimeToLiveSpecification": {"AttributeName": "ttl", "Enabled": True},
            },
        },
        "Source": {
            "Type": "AWS::Lambda::EventSourceMapping",
            "Properties": {
                "EventSourceArn": {"Fn::GetAtt": ["Table", "StreamArn"]},
                "FunctionName": {"Ref": "Function"},
                "StartingPosition": "TRIM_HORIZON",
                "BatchSize": 100,
            },
        },
        "Function": {"Type": "AWS::Lambda::Function", "Properties": {}},
        "Rule": {"Type": "AWS::Events::Rule", "Properties": {}},
        "Other": {"Type": "AWS::Lambda::Function", "Condition": "Never", "Properties": {}},
    },
}
NAMES = {"Table": "T", "Source": UUID, "Function": "F", "Rule": "bus|rule"}


DESCRIBED: dict[str, Any] = {
    "TableStatus": "ACTIVE",
    "KeySchema": [{"AttributeName": "id", "KeyType": "HASH"}],
    "StreamSpecification": {"StreamEnabled": True, "StreamViewType": "NEW_IMAGE"},
    "LatestStreamArn": STREAM,
}
HEALTHY: dict[str, Any] = {
    "describe_table": {"Table": DESCRIBED},
    "describe_time_to_live": {
        "TimeToLiveDescription": {"TimeToLiveStatus": "ENABLED", "AttributeName": "ttl"}
    },
    "get_event_source_mapping": {
        "UUID": UUID,
        "StartingPosition": "TRIM_HORIZON",
        "BatchSize": 100,
        "MaximumBatchingWindowInSeconds": 0,
        "ParallelizationFactor": 1,
        "EventSourceArn": STREAM,
        "FunctionArn": "arn:aws:lambda:us-east-1:123456789012:function:F",
        "LastProcessingResult": "No records processed",
        "State": "Enabled",
        "StateTransitionReason": "User action",
        "DestinationConfig": {"OnFailure": {}},
        "MaximumRecordAgeInSeconds": 3600,
        "BisectBatchOnFunctionError": False,
        "MaximumRetryAttempts": 20,
        "TumblingWindowInSeconds": 0,
        "FunctionResponseTypes": [],
    },
}


def deployed(parameters: Mapping[str, str] | None = None, **answers: Any) -> Deployed:
    return cloud.deployed(TEMPLATE, NAMES, parameters, **{**HEALTHY, **answers})


def found(logical_id: str, **answers: Any) -> list[tuple[str, str, str]]:
    """(check, status, message) of a resource."""
    stack = deployed(**answers)
    (resource,) = (one for one in stack.resources if one.id == logical_id)
    return [(one.check, str(one.status), one.message) for one in examine(stack, resource)]


def problems(logical_id: str, **answers: Any) -> list[str]:
    return [
        f"{check} {message}"
        for check, status, message in found(logical_id, **answers)
        if status not in {"ok", "info"}
    ]


# ------------------------------------------------------------------------------------------- tables


def test_a_table_that_matches_the_template_has_no_fault() -> None:
    assert problems("Table") == []
    assert [check for check, _, _ in found("Table")] == ["table", "time to live", "stream"]


@pytest.mark.parametrize(
    ("described", "words"),
    [
        ({"TableStatus": "ARCHIVED"}, "table is ARCHIVED, not ACTIVE"),
        (
            {"KeySchema": [{"AttributeName": "key", "KeyType": "HASH"}]},
            "table has other keys than the template says",
        ),
        (
            {"StreamSpecification": {"StreamEnabled": False}},
            "stream is off: writes have no effect",
        ),
        (
            {"StreamSpecification": {"StreamEnabled": True, "StreamViewType": "KEYS_ONLY"}},
            "stream delivers KEYS_ONLY, not NEW_IMAGE: writes have no effect",
        ),
    ],
)
def test_a_table_that_differs_from_the_template(described: dict[str, Any], words: str) -> None:
    assert problems("Table", describe_table={"Table": {**DESCRIBED, **described}}) == [words]


def test_a_table_without_its_protection_is_a_warning(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    properties = TEMPLATE["Resources"]["Table"]["Properties"]
    monkeypatch.setitem(properties, "DeletionProtectionEnabled", True)
    assert problems("Table") == ["protection is off, though the template asks for it"]
    protected = {**DESCRIBED, "DeletionProtectionEnabled": True}
    assert problems("Table", describe_table={"Table": protected}) == []


def test_a_deleted_resource_is_reported_once() -> None:
    gone = refused("ResourceNotFoundException")
    answers = {"describe_table": gone, "describe_time_to_live": gone}
    assert problems("Table", **answers) == ["table is gone"]


def test_an_event_source_of_an_ended_stream_is_a_fault() -> None:
    newer = {**DESCRIBED, "LatestStreamArn": f"{TABLE_ARN}/stream/2026-12-01"}
    (words,) = problems("Source", describe_table={"Table": newer})
    assert "it reads a stream that has ended" in words


def test_a_stream_that_is_off_is_reported_for_the_table_only() -> None:
    off = {name: value for name, value in DESCRIBED.items() if name != "StreamSpecification"}
    assert problems("Source", describe_table={"Table": off}) == []


@pytest.mark.parametrize(
    ("mapping", "words"),
    [
        ({"State": "Disabled"}, "is Disabled: its function is not invoked"),
        ({"FunctionArn": "arn:aws:lambda:us-east-1:1:function:G"}, "its function"),
        ({"EventSourceArn": "arn:aws:dynamodb:us-east-1:1:table/U/stream/1"}, "another table's"),
        ({"FilterCriteria": {"Filters": [{"Pattern": "{}"}]}}, "its filters"),
        ({"FunctionResponseTypes": ["ReportBatchItemFailures"]}, "its partial batch response"),
        ({"DestinationConfig": {"OnFailure": {"Destination": "arn"}}}, "its dead letters"),
        ({"LastProcessingResult": "PROBLEM: Function call failed"}, "PROBLEM"),
    ],
)
def test_an_event_source_that_differs_from_the_template(
    mapping: dict[str, Any], words: str
) -> None:
    other = {**HEALTHY["get_event_source_mapping"], **mapping}
    (problem,) = problems("Source", get_event_source_mapping=other)
    assert words in problem


@pytest.mark.parametrize(
    ("name", "asked"),
    [
        ("bus|rule", {"Name": "rule", "EventBusName": "bus"}),
        ("rule", {"Name": "rule"}),
    ],
)
def test_a_rule_is_looked_up_on_its_bus(
    name: str, asked: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(NAMES, "Rule", name)

    def describe(**parameters: str) -> Any:
        return {"State": "ENABLED" if parameters == asked else "DISABLED"}

    assert problems("Rule", describe_rule=describe) == []
    off = problems("Rule", describe_rule={"State": "DISABLED"})
    assert off == ["rule is off: its function is not invoked"]


# ---------------------------------------------------------------------------------- refusals of AWS


def test_a_missing_permission_is_named_and_is_not_a_fault() -> None:
    (one,) = [
        one
        for one in found("Table", describe_time_to_live=refused("AccessDeniedException"))
        if one[1] == "unknown"
    ]
    words = "could not check: needs dynamodb:DescribeTimeToLive"
    assert one == ("time to live", "unknown", words)


def test_an_unexpected_error_stops_no_other_check() -> None:
    checks = found("Table", describe_time_to_live=refused("InternalServerError"))
    assert [status for _, status, _ in checks] == ["ok", "unknown", "ok"]
    unreachable = EndpointConnectionError(endpoint_url="https://x")
    assert [status for _, status, _ in found("Source", get_event_source_mapping=unreachable)] == [
        *("unknown", "unknown")
    ]


def test_an_unreadable_stack_names_the_permissions_needed() -> None:
    with pytest.raises(CommandError, match="ListStackResources"):
        deployed(get_template=refused("AccessDenied"))
    with pytest.raises(CommandError, match="--region"):
        deployed(describe_stacks=refused("ValidationError"))


def test_every_check_names_the_action_it_needs() -> None:
    for check in [*(one for several in CHECKS.values() for one in several), *STACK_CHECKS]:
        assert check.actions, check
        for action in check.actions:
            assert re.fullmatch("[a-z0-9]+:[A-Za-z]+", action), check


def test_the_page_lists_every_action_that_the_doctor_needs() -> None:
    page = (Path(__file__).parents[2] / "docs" / "command-line.md").read_text()
    looks = [*(one for several in CHECKS.values() for one in several), *STACK_CHECKS]
    for action in {action for look in looks for action in look.actions}:
        assert f"- {action}\n" in page, action


# ----------------------------------------------------------------------------------------- template


def test_every_resource_that_can_fail_is_checked() -> None:
    """The others have no state of their own, or are checked with the resource that uses them."""
    types = {one["Type"] for one in translated()["Resources"].values()}
    assert types - set(CHECKS) <= UNWATCHED


UNWATCHED = {
    "AWS::ApiGatewayV2::Integration",  # seen by the routes that lead to it
    "AWS::ApiGatewayV2::Route",  # seen with its API
    "AWS::ApiGatewayV2::Stage",
    "AWS::CloudFront::CachePolicy",
    "AWS::CloudFront::Function",
    "AWS::CloudWatch::Dashboard",
    "AWS::CodeDeploy::Application",
    "AWS::IAM::Policy",
    "AWS::IAM::Role",
    "AWS::Lambda::EventInvokeConfig",
    "AWS::Lambda::LayerVersion",
    "AWS::Lambda::Url",  # clients fall back to the API
    "AWS::Lambda::Version",
    "AWS::Logs::QueryDefinition",
    "AWS::Route53::RecordSet",
    "AWS::Route53::RecordSetGroup",
    "AWS::SQS::QueuePolicy",
}


def test_routes_are_read_from_the_body_that_sam_writes() -> None:
    body = translated()["Resources"]["HttpApi"]["Properties"]["Body"]
    keys = set(routes_of(body))
    assert {"$default", "ANY /dashboard", "ANY /api/containers/{proxy+}"} <= keys


def resolver(**parameters: str) -> Resolver:
    def ref(name: str) -> Any:
        return {"Function": "F", "AWS::Region": "us-east-1"}.get(name, UNKNOWN)

    def attribute(name: str, what: str) -> Any:
        return f"arn:{name}" if what == "Arn" else UNKNOWN

    conditions = {
        "IsProd": {"Fn::Equals": [{"Ref": "Stage"}, "prod"]},
        "IsDev": {"Fn::Not": [{"Condition": "IsProd"}]},
        "Both": {"Fn::And": [{"Condition": "IsProd"}, {"Condition": "IsDev"}]},
        "Any": {"Fn::Or": [{"Condition": "IsProd"}, {"Condition": "IsDev"}]},
    }
    return Resolver({"Conditions": conditions}, {"Stage": "dev", **parameters}, ref, attribute)


@pytest.mark.parametrize(
    ("value", "resolved"),
    [
        ({"Ref": "Stage"}, "dev"),
        ({"Ref": "Function"}, "F"),
        ({"Fn::GetAtt": "Function.Arn"}, "arn:Function"),
        ({"Fn::GetAtt": ["Function", "Version"]}, UNKNOWN),
        ({"Fn::Sub": "${Stage}-${Function.Arn}-${!kept}"}, "dev-arn:Function-${kept}"),
        ({"Fn::Sub": ["${a}/${AWS::Region}", {"a": {"Ref": "Stage"}}]}, "dev/us-east-1"),
        ({"Fn::Sub": "${Nobody}"}, UNKNOWN),
        ({"Fn::If": ["IsProd", 1, {"Ref": "AWS::NoValue"}]}, None),
        ({"Fn::Join": ["-", ["a", {"Ref": "Stage"}]]}, "a-dev"),
        ({"Fn::Select": [1, {"Fn::Split": [":", "a:b"]}]}, "b"),
        ({"Fn::Select": [1, {"Fn::Split": [":", {"Ref": "Nobody"}]}]}, UNKNOWN),
        ({"Fn::ImportValue": "x"}, UNKNOWN),
        ({"a": {"Fn::If": ["IsDev", 1, 2]}, "b": {"Ref": "AWS::NoValue"}}, {"a": 1}),
    ],
)
def test_intrinsic_functions_are_evaluated(value: Any, resolved: Any) -> None:
    done = resolver().resolve([value])
    assert done == ([] if resolved is None else [resolved])


def test_conditions_are_evaluated() -> None:
    assert [resolver().holds(name) for name in ("IsProd", "IsDev", "Both", "Any")] == [
        *(False, True, False, True)
    ]
    assert resolver(Stage="prod").holds("IsProd")
    assert resolver().holds(None)


# ----------------------------------------------------------------------------------------- verdicts


def test_a_weak_secret_is_a_fault() -> None:
    assert secret_strength("Zx3" * 20, "arn").status is Status.FAIL
    assert secret_strength("abcdefghijklmno", "arn").status is Status.FAIL
    assert secret_strength("abcdefghijklmnopqrstuvwxyz0123456789", "arn").status is Status.OK
    assert resources.MIN_SECRET == MIN_SECRET
    assert "Zx3" not in secret_strength("Zx3" * 20, "arn").message


@pytest.mark.parametrize(
    ("ours", "status"),
    [(1000, "ok"), (1009, "ok"), (985, "warn"), (1059, "warn"), (1300, "fail"), (700, "fail")],
)
def test_clocks(ours: float, status: str) -> None:
    assert str(probes.clocks(1000, ours).status) == status


def of_parameters(**parameters: str) -> list[tuple[str, str]]:
    stack = deployed(
        {**template().defaults, **parameters}, get_secret_value={"SecretString": "short"}
    )
    return [(one.check, str(one.status)) for one in stack_checks.parameters(stack)]


def test_origins_that_no_browser_sends_are_a_fault() -> None:
    assert ("CORS", "info") in of_parameters()
    assert ("CORS", "ok") in of_parameters(AllowedOrigins="https://a.test http://localhost:3000")
    for wrong in ("https://a.test/", "a.test", "https://a.test/path", "https://u@a.test"):
        assert ("CORS", "fail") in of_parameters(AllowedOrigins=f"https://b.test {wrong}"), wrong
    assert ("CORS", "warn") in of_parameters(Settings="token-cookie=session")


def test_the_operator_s_own_secrets_are_checked_too() -> None:
    arn = "arn:aws:secretsmanager:us-east-1:123456789012:secret:own"
    assert ("TokenSecret", "fail") in of_parameters(TokenSecret=arn)
    assert ("webhook-secret", "fail") in of_parameters(Settings=f"webhook-secret={arn}")


@pytest.mark.parametrize(
    ("status", "judgement"),
    [
        ("CREATE_COMPLETE", "ok"),
        ("UPDATE_COMPLETE", "ok"),
        ("UPDATE_IN_PROGRESS", "warn"),
        ("UPDATE_ROLLBACK_COMPLETE", "warn"),
        ("ROLLBACK_COMPLETE", "fail"),
        ("UPDATE_ROLLBACK_FAILED", "fail"),
    ],
)
def test_the_state_of_the_stack(status: str, judgement: str) -> None:
    described = cloud.described(TEMPLATE, NAMES, {})["describe_stacks"]
    described["Stacks"][0]["StackStatus"] = status
    stack = deployed(describe_stacks=described)
    assert str(stack_checks.state(stack).status) == judgement


def test_errors_of_the_last_hour_are_named_by_function() -> None:
    results = [{"Id": "m0", "Values": [3.0, 4.0]}, {"Id": "m2", "Values": [1.0]}]
    stack = deployed(get_metric_data={"MetricDataResults": results})
    findings = list(metrics.last_hour(stack, lambda: 0.0))
    assert [(one.subject, one.message) for one in findings] == [
        ("Function", "Errors in the last hour: 7"),
        ("headcount", "Drift in the last hour: 1"),
    ]


# ------------------------------------------------------------------------------------- from outside


class Server:
    """Answers GET /v1/spaces with one status for requests with a token, and another without."""

    def __init__(self, admins: str, strangers: str) -> None:
        self.admins, self.strangers = admins, strangers

    def __call__(
        self, environ: Mapping[str, Any], start: Callable[[str, list[tuple[str, str]]], Any]
    ) -> Iterable[bytes]:
        start(self.admins if "HTTP_AUTHORIZATION" in environ else self.strangers, [])
        return [b"{}"]


@pytest.fixture
def seen() -> Iterator[Callable[..., dict[str, str]]]:
    """The statuses of the probes of such a server, by check."""
    servers: list[Iterator[str]] = []

    def look(admins: str, strangers: str, *, has_token: bool = True, ahead: float = 0) -> Any:
        import time

        servers.append(served(Server(admins, strangers)))
        target = Target(next(servers[-1]), None, lambda: "t" if has_token else None, None)
        found = asyncio.run(probes.probe(target, lambda: time.time() + ahead))
        return {one.check: str(one.status) for one in found}

    yield look
    for server in servers:
        assert list(server) == []


def test_an_api_that_answers_only_admins_is_healthy(seen: Callable[..., Any]) -> None:
    well = {"health": "ok", "clock": "ok", "authorizer": "ok"}
    assert seen("200 OK", "401 Unauthorized") == well
    assert seen("200 OK", "401 Unauthorized", has_token=False) == well


def test_an_api_that_admits_strangers_or_no_one_is_a_fault(seen: Callable[..., Any]) -> None:
    assert seen("200 OK", "200 OK")["authorizer"] == "fail"
    assert seen("401 Unauthorized", "401 Unauthorized")["health"] == "fail"
    assert seen("503 Busy", "503 Busy")["health"] == "fail"
    assert seen("200 OK", "401 Unauthorized", ahead=-120)["clock"] == "fail"


def test_an_unreachable_api_is_a_fault() -> None:
    target = Target("http://127.0.0.1:9", "ws://127.0.0.1:9/ws", lambda: "t", None)
    found = asyncio.run(probes.probe(target))
    assert [(one.check, str(one.status)) for one in found] == [
        ("health", "fail"),
        ("WebSocket", "fail"),
    ]


def test_a_name_that_does_not_resolve_is_not_blamed_on_a_function(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """`.invalid` never resolves (RFC 6761)."""
    for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"):
        monkeypatch.delenv(name, raising=False)
    target = Target("https://api.invalid", "wss://socket.invalid", lambda: "t", None)
    for one, host in zip(
        asyncio.run(probes.probe(target)), ("api.invalid", "socket.invalid"), strict=True
    ):
        assert one.status is Status.FAIL
        assert one.message == f"the name {host} does not resolve"
        assert f"nslookup {host}" in one.fix
        assert "HttpDomainTarget" in one.fix
        assert "log of" not in one.fix


@pytest.mark.parametrize(
    ("partition", "suffix"),
    [
        ("aws", "amazonaws.com"),
        ("aws-cn", "amazonaws.com.cn"),
        ("aws-us-gov", "amazonaws.com"),
        ("aws-iso", "c2s.ic.gov"),
    ],
)
def test_services_have_the_domain_of_their_partition(partition: str, suffix: str) -> None:
    stack_id = cloud.STACK_ID.replace("arn:aws:", f"arn:{partition}:")
    described = cloud.described(TEMPLATE, NAMES, {})["describe_stacks"]
    described["Stacks"][0]["StackId"] = stack_id
    assert deployed(describe_stacks=described)._ref("AWS::URLSuffix") == suffix


def test_consequences_of_a_known_fault_are_warnings() -> None:
    def one(check: str, found: Finding) -> Finding:
        return found.about(check, "x")

    outside = [one("health", fail("503", "m")), one("clock", fail("off", "m"))]
    table = [one("table", fail("is gone", "m"))]
    assert [str(f.status) for f in diagnosis._blame_known_faults(outside, table)] == [
        "warn",
        "fail",
    ]
    assert diagnosis._blame_known_faults(outside, [one("table", ok("is there"))]) == outside


# -------------------------------------------------------------------------------------- the command


@pytest.fixture
def findings(monkeypatch: pytest.MonkeyPatch) -> list[Finding]:
    """The findings that the command receives."""
    found: list[Finding] = []

    async def diagnose(*_: Any) -> list[Finding]:
        return found

    session: Any = None
    stack = Stack("prod", session)
    monkeypatch.setattr(doctor, "find_stack", lambda _: stack)
    monkeypatch.setattr(
        doctor, "find_target", lambda _: Target("https://x", None, lambda: None, stack)
    )
    monkeypatch.setattr(diagnosis, "diagnose", diagnose)
    return found


def test_a_fault_ends_with_1_and_its_fix(findings: list[Finding]) -> None:
    for finding in (fail("is [off]", "aws switch-on"), warn("w", "look"), ok("fine"), info("i")):
        findings.append(finding.about("log", "ApiLogs"))
    done = run_in({}, "doctor")
    assert done.exit_code == 1
    assert "✗ ApiLogs: log is [off]\n    fix: aws switch-on" in done.stdout
    assert "fine" not in done.stdout
    last = "prod: 4 checks: 1 passed, 1 note, 1 warning, 1 fault"
    assert done.stdout.splitlines()[-1] == last
    assert "fine" in run_in({}, "doctor", "--all").stdout


def test_a_stack_without_faults_ends_with_0(findings: list[Finding]) -> None:
    findings.append(unknown("could not check: needs x:Y").about("log", "ApiLogs"))
    done = run_in({}, "doctor", "--json")
    assert done.exit_code == 0
    body = json.loads(done.stdout)
    assert (body["ok"], body["counts"]["unknown"], body["stack"]) == (True, 1, "prod")
    assert body["findings"][0] == {
        "check": "log",
        "subject": "ApiLogs",
        "status": "unknown",
        "message": "could not check: needs x:Y",
        "fix": "",
    }


def test_an_address_in_the_environment_does_not_name_a_stack(
    findings: list[Finding], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Otherwise the local stack's tables and another API would be examined as one stack."""
    asked: list[Options] = []
    session: Any = None

    def find_stack(given: Options) -> Stack:
        asked.append(given)
        return Stack("headcount-local", session)

    monkeypatch.setattr(doctor, "find_stack", find_stack)
    run_in({"HEADCOUNT_URL": "https://api.test"}, "doctor")
    run_in({"HEADCOUNT_URL": "https://api.test"}, "doctor", "--stack", "prod")
    assert [(one.local, one.stack) for one in asked] == [(True, None), (False, "prod")]
