"""The doctor's judgement, case by case; on a whole stack it is tests/stack/test_doctor.py."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError, EndpointConnectionError
from headcount.token_keys import MIN_SECRET
from headcount_cli import doctor
from headcount_cli.doctor import diagnosis, live, resources
from headcount_cli.doctor.deployed import SERVICES, Deployed
from headcount_cli.doctor.diagnosis import examine
from headcount_cli.doctor.findings import Finding, Said, Status, fail, info, ok, unknown, warn
from headcount_cli.doctor.resources import CHECKS, judged, routes_of
from headcount_cli.doctor.template import UNKNOWN, Resolver
from headcount_cli.errors import CommandError
from headcount_cli.target import Asked, Stack, Target

from tests.cli.conftest import run_in, served
from tests.support.template import template, translated

STACK_ID = "arn:aws:cloudformation:us-east-1:123456789012:stack/headcount/1"
TABLE_ARN = "arn:aws:dynamodb:us-east-1:123456789012:table/T"
STREAM = f"{TABLE_ARN}/stream/2026-11-21"
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
            },
        },
        "Function": {"Type": "AWS::Lambda::Function", "Properties": {}},
        "Rule": {"Type": "AWS::Events::Rule", "Properties": {}},
        "Other": {"Type": "AWS::Lambda::Function", "Condition": "Never", "Properties": {}},
    },
}
NAMES = {"Table": "T", "Source": "uuid", "Function": "F", "Rule": "bus|rule"}


def refused(code: str) -> ClientError:
    return ClientError({"Error": {"Code": code, "Message": "no"}}, "Operation")


class Cloud:
    """Answers by operation, where that is a function what it says of the parameters; an exception
    is raised."""

    def __init__(self, **answers: Any) -> None:
        self.answers = {**HEALTHY, **answers}

    def __getattr__(self, operation: str) -> Callable[..., Any]:
        def answer(**parameters: Any) -> Any:
            found = self.answers[operation]
            if callable(found):
                return found(**parameters)
            if isinstance(found, Exception):
                raise found
            return found

        return answer

    def get_paginator(self, _: str) -> Any:
        summaries = [
            {"LogicalResourceId": key, "PhysicalResourceId": name} for key, name in NAMES.items()
        ]
        paginator: Any = type("Paginator", (), {})()
        paginator.paginate = lambda **_: [{"StackResourceSummaries": summaries}]
        return paginator


DESCRIBED: dict[str, Any] = {
    "TableStatus": "ACTIVE",
    "KeySchema": [{"AttributeName": "id", "KeyType": "HASH"}],
    "StreamSpecification": {"StreamEnabled": True, "StreamViewType": "NEW_IMAGE"},
    "LatestStreamArn": STREAM,
}
HEALTHY: dict[str, Any] = {
    "describe_stacks": {"Stacks": [{"StackId": STACK_ID, "StackStatus": "CREATE_COMPLETE"}]},
    "get_template": {"TemplateBody": TEMPLATE},
    "describe_table": {"Table": DESCRIBED},
    "describe_time_to_live": {
        "TimeToLiveDescription": {"TimeToLiveStatus": "ENABLED", "AttributeName": "ttl"}
    },
    "get_event_source_mapping": {
        "State": "Enabled",
        "EventSourceArn": STREAM,
        "FunctionArn": "arn:aws:lambda:us-east-1:123456789012:function:F",
    },
}


def deployed(**answers: Any) -> Deployed:
    session: Any = None
    cloud = Cloud(**answers)
    return Deployed(Stack("headcount", session, _clients=dict.fromkeys(SERVICES, cloud)))


def found(logical_id: str, **answers: Any) -> list[tuple[str, str, str]]:
    """(check, status, words) of a resource."""
    stack = deployed(**answers)
    (resource,) = (one for one in stack.resources if one.id == logical_id)
    return [(one.check, str(one.status), one.said) for one in examine(stack, resource)]


def ill(logical_id: str, **answers: Any) -> list[str]:
    return [
        f"{check} {said}"
        for check, status, said in found(logical_id, **answers)
        if status not in {"ok", "info"}
    ]


# ----------------------------------------------------------------------------------------- tables


def test_a_table_as_the_template_says_has_no_fault() -> None:
    assert ill("Table") == []
    assert [check for check, _, _ in found("Table")] == ["table", "time to live", "stream"]


@pytest.mark.parametrize(
    ("described", "words"),
    [
        ({"TableStatus": "ARCHIVED"}, "table is ARCHIVED, not ACTIVE"),
        (
            {"KeySchema": [{"AttributeName": "key", "KeyType": "HASH"}]},
            "table has other keys than the template says",
        ),
        ({"StreamSpecification": None}, "stream is off: nothing that is written has any effect"),
        (
            {"StreamSpecification": {"StreamEnabled": True, "StreamViewType": "KEYS_ONLY"}},
            "stream tells KEYS_ONLY, not NEW_IMAGE: nothing that is written has any effect",
        ),
    ],
)
def test_a_table_that_is_another(described: dict[str, Any], words: str) -> None:
    assert ill("Table", describe_table={"Table": {**DESCRIBED, **described}}) == [words]


def test_a_table_that_can_be_deleted_by_mistake_is_worth_a_warning(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    properties = TEMPLATE["Resources"]["Table"]["Properties"]
    monkeypatch.setitem(properties, "DeletionProtectionEnabled", True)
    assert ill("Table") == ["protection is off, though the template asks for it"]
    protected = {**DESCRIBED, "DeletionProtectionEnabled": True}
    assert ill("Table", describe_table={"Table": protected}) == []


def test_what_is_gone_is_said_once() -> None:
    gone = refused("ResourceNotFoundException")
    answers = {"describe_table": gone, "describe_time_to_live": gone}
    assert ill("Table", **answers) == ["table is gone"]


def test_an_event_source_of_a_stream_that_has_ended_is_named() -> None:
    newer = {**DESCRIBED, "LatestStreamArn": f"{TABLE_ARN}/stream/2026-12-01"}
    (words,) = ill("Source", describe_table={"Table": newer})
    assert "it reads a stream that has ended" in words


def test_a_stream_that_is_off_is_the_table_s_fault_alone() -> None:
    off = {**DESCRIBED, "StreamSpecification": None}
    assert ill("Source", describe_table={"Table": off}) == []


@pytest.mark.parametrize(
    ("mapping", "words"),
    [
        ({"State": "Disabled"}, "is Disabled: its function hears nothing"),
        ({"FunctionArn": "arn:aws:lambda:us-east-1:1:function:G"}, "whom it tells"),
        ({"EventSourceArn": "arn:aws:dynamodb:us-east-1:1:table/U/stream/1"}, "another table's"),
        ({"FilterCriteria": {"Filters": [{"Pattern": "{}"}]}}, "its filters"),
        ({"FunctionResponseTypes": ["ReportBatchItemFailures"]}, "tried again"),
        ({"DestinationConfig": {"OnFailure": {"Destination": "arn"}}}, "where failures go"),
        ({"LastProcessingResult": "PROBLEM: Function call failed"}, "PROBLEM"),
    ],
)
def test_an_event_source_that_is_another(mapping: dict[str, Any], words: str) -> None:
    other = {**HEALTHY["get_event_source_mapping"], **mapping}
    (said,) = ill("Source", get_event_source_mapping=other)
    assert words in said


@pytest.mark.parametrize(
    ("name", "asked"),
    [
        ("bus|rule", {"Name": "rule", "EventBusName": "bus"}),
        ("rule", {"Name": "rule"}),
    ],
)
def test_a_rule_is_asked_for_by_its_bus(
    name: str, asked: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(NAMES, "Rule", name)

    def describe(**parameters: str) -> Any:
        return {"State": "ENABLED" if parameters == asked else "DISABLED"}

    assert ill("Rule", describe_rule=describe) == []
    off = ill("Rule", describe_rule={"State": "DISABLED"})
    assert off == ["rule is off: its function hears nothing"]


# ------------------------------------------------------------------------------- what AWS refuses


def test_a_missing_permission_is_named_and_is_no_fault() -> None:
    (one,) = [
        one
        for one in found("Table", describe_time_to_live=refused("AccessDeniedException"))
        if one[1] == "unknown"
    ]
    words = "could not check: needs dynamodb:DescribeTimeToLive"
    assert one == ("time to live", "unknown", words)


def test_an_answer_that_nobody_expects_stops_no_other_check() -> None:
    checks = found("Table", describe_time_to_live=refused("InternalServerError"))
    assert [status for _, status, _ in checks] == ["ok", "unknown", "ok"]
    unreachable = EndpointConnectionError(endpoint_url="https://x")
    assert [status for _, status, _ in found("Source", get_event_source_mapping=unreachable)] == [
        "unknown"
    ]


def test_a_stack_that_may_not_be_read_says_what_it_takes() -> None:
    with pytest.raises(CommandError, match="ListStackResources"):
        deployed(get_template=refused("AccessDenied"))
    with pytest.raises(CommandError, match="--region"):
        deployed(describe_stacks=refused("ValidationError"))


def test_every_check_names_the_action_it_needs() -> None:
    for checks in CHECKS.values():
        for check in checks:
            assert check.actions.count(":") == 1, check


def test_the_page_lists_every_action_that_the_doctor_needs() -> None:
    page = (Path(__file__).parents[2] / "docs" / "command-line.md").read_text()
    for action in {check.actions for checks in CHECKS.values() for check in checks}:
        assert f"- {action}\n" in page, action


# --------------------------------------------------------------------------------------- template


def test_every_resource_of_the_template_that_can_fail_is_looked_at() -> None:
    """What is left out has no state of its own, or is seen by what uses it."""
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
    "AWS::Lambda::Version",
    "AWS::Logs::QueryDefinition",
    "AWS::Route53::RecordSet",
    "AWS::Route53::RecordSetGroup",
    "AWS::SQS::QueuePolicy",
}


def test_routes_are_read_from_the_body_that_sam_writes() -> None:
    body = translated()["Resources"]["HttpApi"]["Properties"]["Body"]
    keys = set(routes_of(body))
    assert {"$default", "GET /dashboard", "ANY /api/containers/{proxy+}"} <= keys


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
        ({"Fn::ImportValue": "x"}, UNKNOWN),
        ({"a": {"Fn::If": ["IsDev", 1, 2]}, "b": {"Ref": "AWS::NoValue"}}, {"a": 1}),
    ],
)
def test_intrinsic_functions_are_worked_out(value: Any, resolved: Any) -> None:
    done = resolver().resolve([value])
    assert done == ([] if resolved is None else [resolved])


def test_conditions_hold_or_not() -> None:
    assert [resolver().holds(name) for name in ("IsProd", "IsDev", "Both", "Any")] == [
        *(False, True, False, True)
    ]
    assert resolver(Stage="prod").holds("IsProd")
    assert resolver().holds(None)


# -------------------------------------------------------------------------------------- judgement


def test_a_secret_is_strong_or_is_said_to_be_weak() -> None:
    assert judged("Zx3" * 20, "arn").status is Status.FAIL
    assert judged("abcdefghijklmno", "arn").status is Status.FAIL
    assert judged("abcdefghijklmnopqrstuvwxyz0123456789", "arn").status is Status.OK
    assert resources.MIN_SECRET == MIN_SECRET
    assert "Zx3" not in judged("Zx3" * 20, "arn").words


@pytest.mark.parametrize(
    ("ours", "status"),
    [(1000, "ok"), (1009, "ok"), (985, "warn"), (1059, "warn"), (1300, "fail"), (700, "fail")],
)
def test_clocks(ours: float, status: str) -> None:
    assert str(live.clocks(1000, ours).status) == status


def of_parameters(**parameters: str) -> list[tuple[str, str]]:
    stack = deployed(
        describe_stacks={
            "Stacks": [
                {
                    "StackId": STACK_ID,
                    "StackStatus": "CREATE_COMPLETE",
                    "Parameters": [
                        {"ParameterKey": name, "ParameterValue": value}
                        for name, value in {**template().defaults, **parameters}.items()
                    ],
                }
            ]
        },
        get_secret_value={"SecretString": "short"},
    )
    return [(one.check, str(one.said.status)) for one in live.parameters(stack)]


def test_origins_that_no_browser_sends_are_a_fault() -> None:
    assert ("CORS", "info") in of_parameters()
    assert ("CORS", "ok") in of_parameters(AllowedOrigins="https://a.test http://localhost:3000")
    for wrong in ("https://a.test/", "a.test", "https://a.test/path", "https://u@a.test"):
        assert ("CORS", "fail") in of_parameters(AllowedOrigins=f"https://b.test {wrong}"), wrong
    assert ("CORS", "warn") in of_parameters(TokenCookie="session")


def test_a_shared_secret_of_one_s_own_is_judged_too() -> None:
    arn = "arn:aws:secretsmanager:us-east-1:123456789012:secret:own"
    assert ("TokenSecret", "fail") in of_parameters(TokenSecret=arn)


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
def test_the_stack_s_own_state(status: str, judgement: str) -> None:
    stack = deployed(describe_stacks={"Stacks": [{"StackId": STACK_ID, "StackStatus": status}]})
    assert str(live.state(stack).status) == judgement


def test_errors_of_the_last_hour_are_named_by_function() -> None:
    results = [{"Id": "m0", "Values": [3.0, 4.0]}, {"Id": "m2", "Values": [1.0]}]
    stack = deployed(get_metric_data={"MetricDataResults": results})
    said = list(live.hours_metrics(stack, lambda: 0.0))
    assert [(subject, one.words) for subject, one in said] == [
        ("Function", "Errors in the last hour: 7"),
        ("headcount", "Drift in the last hour: 1"),
    ]


# ----------------------------------------------------------------------------------- from outside


class Server:
    """Answers GET /v1/spaces with a status for those with a token, and another for strangers."""

    def __init__(self, admins: str, strangers: str) -> None:
        self.admins, self.strangers = admins, strangers

    def __call__(
        self, environ: Mapping[str, Any], start: Callable[[str, list[tuple[str, str]]], Any]
    ) -> Iterable[bytes]:
        start(self.admins if "HTTP_AUTHORIZATION" in environ else self.strangers, [])
        return [b"{}"]


@pytest.fixture
def seen() -> Iterator[Callable[..., dict[str, str]]]:
    """What is seen of such a server, by check."""
    servers: list[Iterator[str]] = []

    def look(admins: str, strangers: str, *, has_token: bool = True, ahead: float = 0) -> Any:
        import time

        servers.append(served(Server(admins, strangers)))
        target = Target(next(servers[-1]), None, lambda: "t" if has_token else None, None)
        found = asyncio.run(live.outside(target, lambda: time.time() + ahead))
        return {one.check: str(one.said.status) for one in found}

    yield look
    for server in servers:
        assert list(server) == []


def test_an_api_that_answers_admins_alone_is_well(seen: Callable[..., Any]) -> None:
    well = {"health": "ok", "clock": "ok", "authorizer": "ok"}
    assert seen("200 OK", "401 Unauthorized") == well
    assert seen("200 OK", "401 Unauthorized", has_token=False) == well


def test_an_api_that_lets_strangers_in_or_nobody_is_ill(seen: Callable[..., Any]) -> None:
    assert seen("200 OK", "200 OK")["authorizer"] == "fail"
    assert seen("401 Unauthorized", "401 Unauthorized")["health"] == "fail"
    assert seen("503 Busy", "503 Busy")["health"] == "fail"
    assert seen("200 OK", "401 Unauthorized", ahead=-120)["clock"] == "fail"


def test_an_api_that_is_not_there_is_ill() -> None:
    target = Target("http://127.0.0.1:9", "ws://127.0.0.1:9/ws", lambda: "t", None)
    found = asyncio.run(live.outside(target))
    assert [(one.check, str(one.said.status)) for one in found] == [
        ("health", "fail"),
        ("WebSocket", "fail"),
    ]


def test_what_follows_from_a_known_fault_is_none_of_its_own() -> None:
    def one(check: str, said: Said) -> Finding:
        return diagnosis._found(check, "x", said)

    outside = [one("health", fail("503", "m")), one("clock", fail("off", "m"))]
    table = [one("table", fail("is gone", "m"))]
    assert [str(f.status) for f in diagnosis._explained(outside, table)] == ["warn", "fail"]
    assert diagnosis._explained(outside, [one("table", ok("is there"))]) == outside


# ------------------------------------------------------------------------------------ the command


@pytest.fixture
def findings(monkeypatch: pytest.MonkeyPatch) -> list[Finding]:
    """What the command is told was found."""
    found: list[Finding] = []

    async def diagnose(*_: Any) -> list[Finding]:
        return found

    session: Any = None
    stack = Stack("prod", session)
    monkeypatch.setattr(doctor, "find_stack", lambda _: stack)
    monkeypatch.setattr(doctor, "find", lambda _: Target("https://x", None, lambda: None, stack))
    monkeypatch.setattr(diagnosis, "diagnose", diagnose)
    return found


def test_a_fault_ends_with_1_and_its_mend(findings: list[Finding]) -> None:
    for said in (fail("is [off]", "aws switch-on"), warn("w", "look"), ok("fine"), info("i")):
        findings.append(diagnosis._found("log", "ApiLogs", said))
    done = run_in({}, "doctor")
    assert done.exit_code == 1
    assert "✗ ApiLogs: log is [off]\n    mend: aws switch-on" in done.stdout
    assert "fine" not in done.stdout
    last = "prod: 4 checks, 1 as they should be, 1 warnings, 0 not checked, 1 fault"
    assert done.stdout.splitlines()[-1] == last
    assert "fine" in run_in({}, "doctor", "--all").stdout


def test_a_stack_without_faults_ends_with_0(findings: list[Finding]) -> None:
    findings.append(diagnosis._found("log", "ApiLogs", unknown("could not check: needs x:Y")))
    done = run_in({}, "doctor", "--json")
    assert done.exit_code == 0
    body = json.loads(done.stdout)
    assert (body["ok"], body["counts"]["unknown"], body["stack"]) == (True, 1, "prod")
    assert body["findings"][0] == {
        "check": "log",
        "subject": "ApiLogs",
        "status": "unknown",
        "said": "could not check: needs x:Y",
        "mend": "",
    }


def test_an_address_in_the_environment_names_no_stack(
    findings: list[Finding], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else the local stack's tables and another's API would be taken for one stack."""
    asked: list[Asked] = []
    session: Any = None

    def find_stack(given: Asked) -> Stack:
        asked.append(given)
        return Stack("headcount-local", session)

    monkeypatch.setattr(doctor, "find_stack", find_stack)
    run_in({"HEADCOUNT_URL": "https://api.test"}, "doctor")
    run_in({"HEADCOUNT_URL": "https://api.test"}, "doctor", "--stack", "prod")
    assert [(one.local, one.stack) for one in asked] == [(True, None), (False, "prod")]
