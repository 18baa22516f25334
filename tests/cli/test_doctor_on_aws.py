"""The doctor's checks of features that only AWS itself has, case by case."""

from __future__ import annotations

import asyncio
import copy
import json
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from headcount_cli.doctor import account, loops, metrics, resources, summary
from headcount_cli.doctor.deployed import Deployed
from headcount_cli.doctor.diagnosis import diagnose, examine, guarded
from headcount_cli.doctor.findings import Finding, Status
from headcount_cli.target import Target

from lab.harness.template import template, translated
from tests.cli import cloud
from tests.cli.cloud import ACCOUNT, REGION, refused
from tests.docs.commands import aws

QUEUE = f"arn:aws:sqs:{REGION}:{ACCOUNT}:work"
DEAD = f"arn:aws:sqs:{REGION}:{ACCOUNT}:dead"
ROLE = f"arn:aws:iam::{ACCOUNT}:role/worker-role"
STREAM = f"arn:aws:dynamodb:{REGION}:{ACCOUNT}:table/T/stream/2026-11-21T00:00:00.000"
OF_STREAM, OF_QUEUE = "14e0db71-5d35-4eb5-b481-8945cf9d10c2", "9c4c1b3b-07a4-4d3e-8d5a-1b3f0a4f2a10"
ZONE, DOMAIN, DOOR = "Z0123456789ABC", "live.example.com", "d-abc123.execute-api.us-east-1"

TEMPLATE: dict[str, Any] = {
    "Parameters": {
        "Burst": {"Type": "Number"},
        "Rate": {"Type": "Number"},
        "Posts": {"Type": "Number"},
        "Kinds": {"Type": "String"},
        "Edge": {"Type": "String"},
        "Limits": {"Type": "String"},
    },
    "Conditions": {"HasEdge": {"Fn::Equals": [{"Ref": "Edge"}, "true"]}},
    "Resources": {
        "Worker": {
            "Type": "AWS::Lambda::Function",
            "Properties": {
                "Role": {"Fn::GetAtt": ["WorkerRole", "Arn"]},
                "Environment": {
                    "Variables": {
                        "KINDS": {"Ref": "Kinds"},
                        "POSTS_PER_SECOND": {"Ref": "Posts"},
                    }
                },
            },
        },
        "WorkerRole": {
            "Type": "AWS::IAM::Role",
            "Properties": {
                "Policies": [
                    {
                        "PolicyName": "worker",
                        "PolicyDocument": {
                            "Statement": [
                                {
                                    "Effect": "Allow",
                                    "Action": ["sqs:ReceiveMessage", "sqs:SendMessage"],
                                    "Resource": [{"Fn::GetAtt": ["Work", "Arn"]}],
                                }
                            ]
                        },
                    }
                ]
            },
        },
        "Work": {
            "Type": "AWS::SQS::Queue",
            "Properties": {
                "RedrivePolicy": {
                    "deadLetterTargetArn": {"Fn::GetAtt": ["Dead", "Arn"]},
                    "maxReceiveCount": 5,
                }
            },
        },
        "Dead": {"Type": "AWS::SQS::Queue", "Properties": {}},
        "WorkSource": {
            "Type": "AWS::Lambda::EventSourceMapping",
            "Properties": {
                "EventSourceArn": {"Fn::GetAtt": ["Work", "Arn"]},
                "FunctionName": {"Ref": "Worker"},
                "BatchSize": 1,
            },
        },
        "StreamSource": {
            "Type": "AWS::Lambda::EventSourceMapping",
            "Properties": {
                "EventSourceArn": {"Fn::ImportValue": "elsewhere"},
                "FunctionName": {"Ref": "Worker"},
                "StartingPosition": "TRIM_HORIZON",
                "BatchSize": 100,
                "ParallelizationFactor": 2,
            },
        },
        "Schedule": {"Type": "AWS::Scheduler::Schedule", "Properties": {}},
        "Api": {"Type": "AWS::ApiGatewayV2::Api", "Properties": {}},
        "Stage": {
            "Type": "AWS::ApiGatewayV2::Stage",
            "Properties": {
                "ApiId": {"Ref": "Api"},
                "StageName": "$default",
                "DefaultRouteSettings": {
                    "ThrottlingRateLimit": {"Ref": "Rate"},
                    "ThrottlingBurstLimit": {"Ref": "Burst"},
                },
            },
        },
        "Domain": {
            "Type": "AWS::ApiGatewayV2::DomainName",
            "Properties": {"DomainName": DOMAIN},
        },
        "Record": {
            "Type": "AWS::Route53::RecordSet",
            "Properties": {"HostedZoneId": ZONE, "Name": DOMAIN, "Type": "A"},
        },
    },
}
NAMES = {
    "Worker": "worker",
    "WorkerRole": "worker-role",
    "Work": f"https://sqs.{REGION}.amazonaws.com/{ACCOUNT}/work",
    "Dead": f"https://sqs.{REGION}.amazonaws.com/{ACCOUNT}/dead",
    "WorkSource": OF_QUEUE,
    "StreamSource": OF_STREAM,
    "Schedule": "every-minute",
    "Api": "a1b2c3",
    "Stage": "$default",
    "Domain": DOMAIN,
    "Record": DOMAIN,
}
PARAMETERS = {"Burst": "4000", "Rate": "2000", "Posts": "4000", "Kinds": "site", "Edge": "false"}


def queue_says(**attributes: str) -> dict[str, Any]:
    """As SQS answers: everything is text."""
    attributes = {
        "QueueArn": QUEUE,
        "ApproximateNumberOfMessages": "0",
        "VisibilityTimeout": "180",
        "MessageRetentionPeriod": "345600",
        "SqsManagedSseEnabled": "true",
        "RedrivePolicy": json.dumps({"deadLetterTargetArn": DEAD, "maxReceiveCount": 5}),
        **attributes,
    }
    return {"Attributes": {name: value for name, value in attributes.items() if value}}


def mapping_says(**settings: Any) -> dict[str, Any]:
    """As Lambda answers for a stream."""
    return {
        "UUID": OF_STREAM,
        "StartingPosition": "TRIM_HORIZON",
        "BatchSize": 100,
        "MaximumBatchingWindowInSeconds": 1,
        "ParallelizationFactor": 2,
        "EventSourceArn": STREAM,
        "FunctionArn": f"arn:aws:lambda:{REGION}:{ACCOUNT}:function:worker",
        "LastModified": datetime(2026, 11, 21, tzinfo=UTC),
        "LastProcessingResult": "OK",
        "State": "Enabled",
        "StateTransitionReason": "User action",
        "DestinationConfig": {"OnFailure": {}},
        "MaximumRecordAgeInSeconds": -1,
        "BisectBatchOnFunctionError": False,
        "MaximumRetryAttempts": 20,
        "TumblingWindowInSeconds": 0,
        "FunctionResponseTypes": [],
        **settings,
    }


def function_says(**settings: Any) -> dict[str, Any]:
    """As Lambda answers for a function."""
    return {
        "FunctionName": "worker",
        "FunctionArn": f"arn:aws:lambda:{REGION}:{ACCOUNT}:function:worker",
        "Runtime": "python3.13",
        "Role": ROLE,
        "Handler": "app.handler",
        "Timeout": 60,
        "MemorySize": 512,
        "Environment": {"Variables": {"KINDS": "site", "POSTS_PER_SECOND": "4000"}},
        "TracingConfig": {"Mode": "PassThrough"},
        "State": "Active",
        "LastUpdateStatus": "Successful",
        **settings,
    }


def records_say(*records: dict[str, Any]) -> dict[str, Any]:
    """As Route 53 answers: records from the requested name on, names with a final dot."""
    return {
        "ResourceRecordSets": list(records),
        "IsTruncated": False,
        "MaxItems": "300",
    }


def alias(kind: str, target: str, name: str = DOMAIN, **more: Any) -> dict[str, Any]:
    return {
        "Name": f"{name}.",
        "Type": kind,
        "AliasTarget": {
            "HostedZoneId": "Z1UJRXOUMOOFQ8",
            "DNSName": f"{target}.",
            "EvaluateTargetHealth": False,
        },
        **more,
    }


def account_says(whole: int, free: int | None = None) -> dict[str, Any]:
    """As Lambda answers for the account."""
    return {
        "AccountLimit": {
            "TotalCodeSize": 80530636800,
            "CodeSizeUnzipped": 262144000,
            "CodeSizeZipped": 52428800,
            "ConcurrentExecutions": whole,
            "UnreservedConcurrentExecutions": whole if free is None else free,
        },
        "AccountUsage": {"TotalCodeSize": 1, "FunctionCount": 14},
    }


def gateway_says(rate: float, burst: int) -> dict[str, Any]:
    """As API Gateway answers for the account."""
    return {
        "throttleSettings": {"rateLimit": rate, "burstLimit": burst},
        "features": ["UsagePlans"],
        "apiKeyVersion": "4",
    }


def simulated(**decisions: str) -> dict[str, Any]:
    """As IAM answers, by action."""
    return {
        "EvaluationResults": [
            {
                "EvalActionName": f"xray:{action}",
                "EvalResourceName": "*",
                "EvalDecision": decision,
                "MatchedStatements": [],
                "MissingContextValues": [],
            }
            for action, decision in decisions.items()
        ],
        "IsTruncated": False,
    }


def by_queue(QueueUrl: str, AttributeNames: list[str]) -> dict[str, Any]:  # noqa: N803 - as boto3
    assert AttributeNames == ["All"]
    if QueueUrl.endswith("dead"):
        return queue_says(QueueArn=DEAD, RedrivePolicy="")
    return queue_says()


def by_mapping(UUID: str) -> dict[str, Any]:  # noqa: N803 - as boto3 has it
    if UUID == OF_STREAM:
        return mapping_says()
    return {
        "UUID": OF_QUEUE,
        "BatchSize": 1,
        "MaximumBatchingWindowInSeconds": 0,
        "EventSourceArn": QUEUE,
        "FunctionArn": f"arn:aws:lambda:{REGION}:{ACCOUNT}:function:worker",
        "State": "Enabled",
        "StateTransitionReason": "USER_INITIATED",
        "FunctionResponseTypes": [],
    }


HEALTHY: dict[str, Any] = {
    "get_account_settings": account_says(1000),
    "get_account": gateway_says(10_000, 5_000),
    "get_stages": {
        "Items": [
            {
                "StageName": "$default",
                "AutoDeploy": True,
                "DefaultRouteSettings": {
                    "DetailedMetricsEnabled": False,
                    "ThrottlingBurstLimit": 4000,
                    "ThrottlingRateLimit": 2000.0,
                },
            }
        ]
    },
    "get_function_configuration": function_says(),
    "get_function_concurrency": {},
    "get_function_recursion_config": {"RecursiveLoop": "Allow"},
    "get_event_source_mapping": by_mapping,
    "get_queue_attributes": by_queue,
    "get_domain_name": {
        "DomainName": DOMAIN,
        "DomainNameConfigurations": [
            {
                "ApiGatewayDomainName": f"{DOOR}.amazonaws.com",
                "DomainNameStatus": "AVAILABLE",
                "EndpointType": "REGIONAL",
                "HostedZoneId": "Z1UJRXOUMOOFQ8",
            }
        ],
    },
    "list_resource_record_sets": records_say(alias("A", f"{DOOR}.amazonaws.com")),
}


def deployed(
    changed: Mapping[str, Any] | None = None,
    parameters: Mapping[str, str] | None = None,
    **answers: Any,
) -> Deployed:
    """The stack. ``changed``: properties by resource (None: without it); a Type adds another."""
    document = copy.deepcopy(TEMPLATE)
    names = dict(NAMES)
    for name, properties in (changed or {}).items():
        if "Type" in properties:
            document["Resources"][name] = properties
            names[name] = properties.get("Name", name.lower())
            continue
        known = document["Resources"][name]["Properties"]
        known.update(properties)
        for gone in [key for key, value in known.items() if value is None]:
            del known[gone]
    given = {**PARAMETERS, **(parameters or {})}
    return cloud.deployed(document, names, given, **{**HEALTHY, **answers})


def seen(stack: Deployed, logical_id: str, *names: str) -> list[tuple[str, str]]:
    """(status, message and fix) of checks of a resource."""
    (resource,) = (one for one in stack.resources if one.id == logical_id)
    return [
        (str(one.status), f"{one.message} | {one.fix}")
        for one in examine(stack, resource)
        if one.check in names
    ]


def whole(stack: Deployed, name: str) -> tuple[str, str]:
    """(status, message and fix) of a check of the whole stack."""
    (check,) = (one for one in account.STACK_CHECKS if one.name == name)
    found: Any = check.run(stack)
    return str(found.status), f"{found.message} | {found.fix}"


def test_a_healthy_stack_has_no_warning_here() -> None:
    stack = deployed(parameters={"Posts": "2000"})
    checks = ("retries", "limits", "recursion", "environment", "tracing", "record", "event source")
    for resource in stack.resources:
        if resource.type in {"AWS::ApiGatewayV2::Api", "AWS::Scheduler::Schedule"}:
            continue
        assert {status for status, _ in seen(stack, resource.id, *checks)} <= {"ok"}, resource.id
    assert [whole(stack, one.name)[0] for one in account.STACK_CHECKS] == ["ok", "ok"]


# ---------------------------------------------------------------------------- concurrency (account)


def test_a_new_account_s_concurrency_is_a_warning_with_the_number_needed() -> None:
    status, words = whole(deployed(get_account_settings=account_says(10)), "concurrency")
    # 2,000 requests a second by ten each; two of the stream, five of the queue, one of the schedule
    assert status == "warn"
    assert "10 in this account" in words
    assert "208: 200 to answer the 2,000 requests a second" in words
    assert "8 for streams, queues and schedules" in words
    assert "503" in words
    assert "--quota-code L-B99A9384 --desired-value 1000" in words


def test_concurrency_reserved_by_others_is_not_available() -> None:
    status, words = whole(deployed(get_account_settings=account_says(1000, 150)), "concurrency")
    assert (status, "850 are reserved" in words) == ("warn", True)
    own = {"Worker": {"ReservedConcurrentExecutions": 100}}
    found = whole(deployed(own, get_account_settings=account_says(1000, 150)), "concurrency")
    assert found[0] == "ok"


def test_slower_stages_need_less_concurrency() -> None:
    stage = {"StageName": "$default", "DefaultRouteSettings": {"ThrottlingRateLimit": 20.0}}
    slow = {"get_stages": {"Items": [stage]}}
    assert whole(deployed(get_account_settings=account_says(10), **slow), "concurrency")[0] == "ok"


def test_a_queue_with_a_low_maximum_needs_little_concurrency() -> None:
    few = {"WorkSource": {"ScalingConfig": {"MaximumConcurrency": 2}}}
    assert account.background(deployed()) == 8
    assert account.background(deployed(few)) == 5
    many = {"WorkSource": {"ScalingConfig": {"MaximumConcurrency": 200}}}
    assert account.background(deployed(many)) == 8


# --------------------------------------------------------------------------- requests (API Gateway)


def test_a_burst_above_the_account_s_is_a_warning_with_its_parameter() -> None:
    """13 newer regions begin with 2,500 a second and 1,250 at once."""
    newer = deployed(get_account=gateway_says(2500.0, 1250))
    ((status, words),) = seen(newer, "Stage", "limits")
    assert status == "warn"
    assert "4,000 requests at once" in words
    assert "1,250" in words
    assert "deploy with Burst=1250" in words
    assert seen(deployed(), "Stage", "limits")[0][0] == "ok"


def test_a_limit_in_a_shared_parameter_is_named_with_its_setting() -> None:
    part = {"Fn::Split": [",burst=", {"Fn::Sub": ",${Limits},burst=4000,"}]}
    burst = {"Fn::Select": [0, {"Fn::Split": [",", {"Fn::Select": [1, part]}]}]}
    stack = deployed({"Stage": {"DefaultRouteSettings": {"ThrottlingBurstLimit": burst}}})
    (stage,) = stack.of_type("AWS::ApiGatewayV2::Stage")
    path = "DefaultRouteSettings", "ThrottlingBurstLimit"
    assert stack.parameter_of(stage, *path) == "Limits=burst"
    for own in (4000, {"Ref": "Work"}, {"Fn::Sub": "${Work}-x"}):
        stack = deployed({"Stage": {"DefaultRouteSettings": {"ThrottlingBurstLimit": own}}})
        assert stack.parameter_of(stage, *path) is None


def test_settings_are_named_by_the_template_s_parameters() -> None:
    stack = everything()
    stages = stack.of_type("AWS::ApiGatewayV2::Stage")
    assert len(stages) == 2
    named = [
        stack.parameter_of(stage, "DefaultRouteSettings", limit)
        for stage in stages
        for limit in ("ThrottlingRateLimit", "ThrottlingBurstLimit")
    ]
    assert len(set(named)) == 4
    (publish,) = (one for one in stack.resources if one.id == "PublishFunction")
    named += [
        stack.parameter_of(publish, "Environment", "Variables", name)
        for name in ("KINDS", "POSTS_PER_SECOND")
    ]
    for one in named:
        assert one is not None
        assert one.partition("=")[0] in template().parameters, one


def test_a_rate_above_the_account_s_is_a_warning_and_can_be_raised() -> None:
    small = deployed(get_account=gateway_says(500.0, 5000))
    ((status, words),) = seen(small, "Stage", "limits")
    assert status == "warn"
    assert "Rate=500" in words
    assert "L-8A5B8E43" in words


def test_a_stage_without_limits_has_the_template_s() -> None:
    """Like an emulator that ignores them."""
    bare = {"Items": [{"StageName": "$default", "DefaultRouteSettings": {}}]}
    stack = deployed(get_stages=bare, get_account=gateway_says(10_000.0, 1250))
    assert seen(stack, "Stage", "limits")[0][0] == "warn"


def test_posts_above_half_of_the_account_s_rate_are_a_warning() -> None:
    status, words = whole(deployed(get_account=gateway_says(2500.0, 1250)), "posts")
    assert status == "warn"
    assert "4,000 of the 2,500" in words
    assert "Posts=1000" in words
    assert whole(deployed(get_account=gateway_says(7999.0, 4000)), "posts")[0] == "warn"
    assert whole(deployed(get_account=gateway_says(8000.0, 4000)), "posts")[0] == "ok"


def test_posts_and_requests_that_together_exceed_the_rate_are_a_note() -> None:
    parameters = {"Posts": "1000"}
    status, words = whole(deployed(None, parameters, get_account=gateway_says(2500, 1250)), "posts")
    assert (status, "3,000 a second together" in words) == ("info", True)
    assert "lower Posts or Rate" in words


# -------------------------------------------------------------------------------------------- loops


def test_a_function_that_invokes_itself_must_be_allowed_to() -> None:
    ((status, words),) = seen(
        deployed(get_function_recursion_config={"RecursiveLoop": "Terminate"}),
        "Worker",
        "recursion",
    )
    assert status == "fail"
    assert "16" in words
    assert "put-function-recursion-config --function-name worker --recursive-loop Allow" in words
    assert [status for status, _ in seen(deployed(), "Worker", "recursion")] == ["ok"]


def test_a_function_that_sends_elsewhere_is_not_a_loop() -> None:
    def statement(**changes: Any) -> dict[str, Any]:
        allowed = {"Effect": "Allow", "Action": "sqs:SendMessage", "Resource": QUEUE, **changes}
        document = {"PolicyDocument": {"Statement": [allowed]}, "PolicyName": "worker"}
        return {"WorkerRole": {"Policies": [document]}}

    for harmless in ({"Resource": DEAD}, {"Action": "sqs:ReceiveMessage"}, {"Effect": "Deny"}):
        stack = deployed(statement(**harmless), get_function_recursion_config=refused("Never"))
        assert seen(stack, "Worker", "recursion") == [], harmless
    for wide in ({}, {"Action": "sqs:*"}, {"Resource": "*"}, {"Action": ["SQS:Send*"]}):
        assert loops.loops(deployed(statement(**wide))) == {"Worker"}, wide


def test_a_loop_of_two_functions_is_found() -> None:
    there, back = f"arn:aws:sqs:{REGION}:{ACCOUNT}:there", QUEUE

    def role(queue: str) -> dict[str, Any]:
        allowed = {"Effect": "Allow", "Action": "sqs:SendMessage", "Resource": queue}
        return {"Policies": [{"PolicyDocument": {"Statement": [allowed]}, "PolicyName": "p"}]}

    def function(role_name: str) -> dict[str, Any]:
        arn = {"Fn::GetAtt": [role_name, "Arn"]}
        return {"Type": "AWS::Lambda::Function", "Name": "other", "Properties": {"Role": arn}}

    changed: dict[str, Any] = {
        "WorkerRole": role(there),
        "OtherRole": {"Type": "AWS::IAM::Role", "Name": "other-role", "Properties": role(back)},
        "Other": function("OtherRole"),
        "OtherSource": {
            "Type": "AWS::Lambda::EventSourceMapping",
            "Properties": {"EventSourceArn": there, "FunctionName": {"Ref": "Other"}},
        },
        "Sender": {
            **function("OtherRole"),
            "Name": "sender",
        },  # invokes them, and no function invokes it
    }
    assert loops.loops(deployed(changed)) == {"Worker", "Other"}


def test_a_loop_that_the_template_allows_is_checked() -> None:
    """Even if it can't be derived here."""
    changed = {"WorkerRole": {"Policies": []}, "Worker": {"RecursiveLoop": "Allow"}}
    stack = deployed(changed, get_function_recursion_config={"RecursiveLoop": "Terminate"})
    assert seen(stack, "Worker", "recursion")[0][0] == "fail"


def test_dropped_invocations_are_reported_with_their_hour() -> None:
    asked: list[Any] = []

    def metric_data(**parameters: Any) -> Any:
        asked.append(parameters)
        hours = [datetime(2026, 11, 28, hour, tzinfo=UTC) for hour in (14, 13)]
        results = {"Id": "m0", "Label": "m0", "StatusCode": "Complete"}
        return {"MetricDataResults": [{**results, "Timestamps": hours, "Values": [1.0, 2.0]}]}

    now = datetime(2026, 11, 29, 12, tzinfo=UTC).timestamp()
    (found,) = metrics.dropped_loops(deployed(get_metric_data=metric_data), lambda: now)
    assert (found.subject, str(found.status)) == ("Worker", "warn")
    assert "dropped 3 invocations" in found.message
    assert "2026-11-28 14:00 UTC" in found.message
    (parameters,) = asked
    (query,) = parameters["MetricDataQueries"]
    assert query["MetricStat"]["Metric"] == {
        "Namespace": "AWS/Lambda",
        "MetricName": "RecursiveInvocationsDropped",
        "Dimensions": [{"Name": "FunctionName", "Value": "worker"}],
    }
    assert (parameters["EndTime"] - parameters["StartTime"]).days == 7


def test_no_dropped_invocations_is_ok() -> None:
    stack = deployed(get_metric_data={"MetricDataResults": []})
    assert [str(one.status) for one in metrics.dropped_loops(stack, lambda: 1e9)] == ["ok"]


def test_looping_functions_are_found_by_their_permissions() -> None:
    assert loops.loops(everything()) == {"EraseFunction", "CleanupFunction", "DeferredFunction"}


# ------------------------------------------------------------------------------------------ tracing


@pytest.mark.parametrize(
    ("segments", "telemetry", "missing"),
    [
        ("implicitDeny", "implicitDeny", "PutTraceSegments and xray:PutTelemetryRecords"),
        ("allowed", "explicitDeny", "lacks xray:PutTelemetryRecords"),
    ],
)
def test_a_traced_function_whose_role_may_not_send_traces_is_a_warning(
    segments: str, telemetry: str, missing: str
) -> None:
    asked: list[Any] = []

    def simulate(**parameters: Any) -> Any:
        asked.append(parameters)
        return simulated(PutTraceSegments=segments, PutTelemetryRecords=telemetry)

    stack = deployed(
        get_function_configuration=function_says(TracingConfig={"Mode": "Active"}),
        simulate_principal_policy=simulate,
    )
    ((status, words),) = seen(stack, "Worker", "tracing")
    assert (status, missing in words) == ("warn", True), words
    assert asked[0]["PolicySourceArn"] == ROLE


def test_a_traced_function_with_its_permissions_is_ok_and_an_untraced_one_is_not_checked() -> None:
    may = simulated(PutTraceSegments="allowed", PutTelemetryRecords="allowed")
    traced = deployed(
        get_function_configuration=function_says(TracingConfig={"Mode": "Active"}),
        simulate_principal_policy=may,
    )
    assert [status for status, _ in seen(traced, "Worker", "tracing")] == ["ok"]
    untraced = deployed(simulate_principal_policy=refused("Never"))
    assert seen(untraced, "Worker", "tracing") == []


def test_tracing_that_differs_from_the_template_is_a_warning() -> None:
    stack = deployed({"Worker": {"TracingConfig": {"Mode": "Active"}}})
    ((status, words),) = seen(stack, "Worker", "settings")
    assert (status, "TracingConfig" in words) == ("warn", True)


# -------------------------------------------------------------------------------------- environment


def with_kinds(size: int) -> dict[str, Any]:
    """An environment of this many bytes as JSON."""
    rest = len('{"KINDS":"","POSTS_PER_SECOND":"4000"}')
    variables = {"KINDS": "k" * (size - rest), "POSTS_PER_SECOND": "4000"}
    return {"get_function_configuration": function_says(Environment={"Variables": variables})}


@pytest.mark.parametrize(
    ("size", "status"),
    [(2000, "ok"), (3686, "ok"), (3687, "warn"), (4096, "warn"), (4097, "fail")],
)
def test_a_nearly_full_environment_is_reported_with_its_parameter(size: int, status: str) -> None:
    ((found, words),) = seen(deployed(**with_kinds(size)), "Worker", "environment")
    assert found == status
    assert f"{size:,} of" in words
    if status != "ok":
        assert "shorten the parameter Kinds" in words
        assert "kkkk" not in words


def test_an_environment_is_measured_as_json_in_bytes() -> None:
    variables = {"KINDS": "ö" * 1000 + '"' * 900}
    stack = deployed(get_function_configuration=function_says(Environment={"Variables": variables}))
    assert "3,812 of" in seen(stack, "Worker", "environment")[0][1]


def test_a_hidden_environment_is_not_a_difference() -> None:
    hidden = {"Error": {"ErrorCode": "AccessDeniedException", "Message": "KMS"}}
    stack = deployed(get_function_configuration=function_says(Environment=hidden))
    found = seen(stack, "Worker", "settings", "environment")
    assert [status for status, _ in found] == ["unknown"]
    assert "kms:Decrypt" in found[0][1]


# ------------------------------------------------------------------------------------------ retries


@pytest.mark.parametrize(
    ("settings", "status", "words"),
    [
        ({"MaximumRetryAttempts": -1}, "fail", "never becomes a dead letter"),
        (
            {"MaximumRetryAttempts": -1, "MaximumRecordAgeInSeconds": 3600},
            "warn",
            "retried for 1 hour, and later records of its shard wait",
        ),
        (
            {"MaximumRetryAttempts": -1, "MaximumRecordAgeInSeconds": 72000},
            "warn",
            "20 hours",
        ),
        ({"MaximumRetryAttempts": 20}, "ok", "end after 20"),
        ({"MaximumRetryAttempts": 0}, "ok", "end after 0"),
    ],
)
def test_a_stream_s_retries_are_limited(settings: dict[str, int], status: str, words: str) -> None:
    stack = deployed(get_event_source_mapping=mapping_says(**settings))
    ((found, text),) = seen(stack, "StreamSource", "retries")
    assert (found, words in text) == (status, True), text


@pytest.mark.parametrize(
    ("wanted", "is_"),
    [
        ({"MaximumRetryAttempts": 20}, {"MaximumRetryAttempts": -1}),
        ({"MaximumRecordAgeInSeconds": 3600}, {"MaximumRecordAgeInSeconds": 60}),
        ({"BisectBatchOnFunctionError": True}, {"BisectBatchOnFunctionError": False}),
    ],
)
def test_retries_that_differ_from_the_template_are_one_fault(
    wanted: dict[str, Any], is_: dict[str, Any]
) -> None:
    stack = deployed({"StreamSource": wanted}, get_event_source_mapping=mapping_says(**is_))
    ((status, words),) = seen(stack, "StreamSource", "event source", "retries")
    assert (status, "its retries" in words) == ("fail", True)


def test_concurrency_of_an_event_source_is_the_template_s() -> None:
    stack = deployed(get_event_source_mapping=mapping_says(ParallelizationFactor=10))
    ((status, words),) = seen(stack, "StreamSource", "event source")
    assert (status, "how many run at once" in words) == ("fail", True)


def redrive(tries: int | None) -> tuple[dict[str, Any], dict[str, Any]]:
    """A queue of the template with this many receives, and SQS's answer."""
    policy = tries and {"deadLetterTargetArn": DEAD, "maxReceiveCount": tries}
    attributes = queue_says(RedrivePolicy=json.dumps(policy) if policy else "")
    return {"Work": {"RedrivePolicy": policy}}, {"get_queue_attributes": attributes}


@pytest.mark.parametrize(
    ("tries", "status", "words"),
    [
        (None, "fail", "comes back for 4 days, then is lost"),
        (3, "warn", "5 or more"),
        (5, "ok", "end after 5"),
        (30, "ok", "end after 30"),
    ],
)
def test_a_queue_s_messages_are_retried_often_enough_and_not_without_limit(
    tries: int | None, status: str, words: str
) -> None:
    changed, answers = redrive(tries)
    ((found, text),) = seen(deployed(changed, **answers), "Work", "retries")
    assert (found, words in text) == (status, True), text


def test_a_different_redrive_policy_is_one_fault() -> None:
    _, answers = redrive(None)
    ((status, words),) = seen(deployed(**answers), "Work", "queue", "retries")
    assert (status, "redrive policy" in words) == ("fail", True)


@pytest.mark.parametrize(
    ("fed_by", "way_out"),
    [
        ({}, f"start-message-move-task --source-arn {DEAD}"),
        ({"StreamSource": {"DestinationConfig": {"OnFailure": {"Destination": DEAD}}}}, "by hand"),
        ({"Schedule": {"Target": {"DeadLetterConfig": {"Arn": DEAD}}}}, "by hand"),
        ({"Worker": {"DeadLetterConfig": {"TargetArn": DEAD}}}, "by hand"),
    ],
)
def test_moving_dead_letters_back_is_advised_only_if_sqs_can(
    fed_by: dict[str, Any], way_out: str
) -> None:
    """SQS has no source queue for dead letters of a stream, a schedule or an invocation."""
    lying = queue_says(QueueArn=DEAD, RedrivePolicy="", ApproximateNumberOfMessages="2")
    ((status, words),) = seen(deployed(fed_by, get_queue_attributes=lying), "Dead", "messages")
    assert (status, way_out in words) == ("fail", True), words
    assert ("move-task" in words) == (not fed_by)


def test_dead_letters_need_no_dead_letters() -> None:
    assert seen(deployed(), "Dead", "retries") == []


# ------------------------------------------------------------------------------------------ records


def records(*found: dict[str, Any], **changed: Any) -> list[tuple[str, str]]:
    stack = deployed(changed, list_resource_record_sets=records_say(*found))
    return seen(stack, "Record", "record")


OURS = f"{DOOR}.amazonaws.com"


def test_a_record_that_leads_only_here_is_ok() -> None:
    assert records(alias("A", OURS))[0][0] == "ok"
    assert records(alias("A", f"dualstack.{OURS.upper()}"))[0][0] == "ok"
    neighbour = alias("A", "elsewhere.example.net", "logs.example.com")
    text = {"Name": f"{DOMAIN}.", "Type": "TXT", "TTL": 60, "ResourceRecords": [{"Value": '"x"'}]}
    assert records(alias("A", OURS), text, neighbour)[0][0] == "ok"


def test_a_record_that_is_gone_is_a_fault() -> None:
    ((status, words),) = records(alias("A", "x.example.net", "logs.example.com"))
    assert (status, f"is gone: {DOMAIN} has no A" in words) == ("fail", True)


def test_a_record_that_leads_elsewhere_is_a_fault() -> None:
    ((status, words),) = records(alias("A", "d111111abcdef8.cloudfront.net"))
    assert (status, "d111111abcdef8.cloudfront.net" in words) == ("fail", True)


def test_a_partly_wrong_answer_is_a_fault() -> None:
    half = [
        alias("A", target, SetIdentifier=target[:3], Weight=50)
        for target in (OURS, "old.example.net")
    ]
    ((status, words),) = records(*half)
    assert (status, "old.example.net" in words) == ("fail", True)


def test_an_ipv6_record_that_leads_elsewhere_is_a_fault() -> None:
    old = {
        "Name": f"{DOMAIN}.",
        "Type": "AAAA",
        "TTL": 300,
        "ResourceRecords": [{"Value": "2001:db8::1"}],
    }
    ((status, words),) = records(alias("A", OURS), old)
    assert (status, "AAAA" in words, "2001:db8::1" in words) == ("fail", True, True)


def test_a_handmade_record_next_to_the_stack_s_blocks_the_edge() -> None:
    ((status, words),) = records(alias("A", OURS), alias("AAAA", OURS))
    assert (status, "turning the edge on" in words) == ("warn", True)


TWIN = {
    "Type": "AWS::Route53::RecordSetGroup",
    "Condition": "HasEdge",
    "Properties": {
        "HostedZoneId": ZONE,
        "RecordSets": [
            {"Name": DOMAIN, "Type": "A", "AliasTarget": {}},
            {"Name": DOMAIN, "Type": "AAAA", "AliasTarget": {}},
        ],
    },
}


def test_a_template_with_a_second_record_for_the_edge_is_a_warning() -> None:
    """Like release 1.0.0's: turning the edge on was rolled back."""
    ((status, words),) = records(alias("A", OURS), EdgeRecord=TWIN)
    assert (status, "EdgeRecord" in words) == ("warn", True)
    ipv6 = {**TWIN, "Properties": {**TWIN["Properties"]}}  # type: ignore[dict-item]
    ipv6["Properties"] = {"HostedZoneId": ZONE, "RecordSets": [{"Name": DOMAIN, "Type": "AAAA"}]}
    assert records(alias("A", OURS), EdgeRecord=ipv6)[0][0] == "ok"


def test_two_resources_of_one_name_belong_together_and_a_foreign_record_is_reported_once() -> None:
    ipv6 = {
        "Type": "AWS::Route53::RecordSet",
        "Properties": {"HostedZoneId": ZONE, "Name": DOMAIN, "Type": "AAAA"},
    }
    both = records_say(alias("A", OURS), alias("AAAA", OURS))
    stack = deployed({"RecordV6": ipv6}, list_resource_record_sets=both)
    for one in ("Record", "RecordV6"):
        assert [status for status, _ in seen(stack, one, "record")] == ["ok"]
    other = {"Name": f"{DOMAIN}.", "Type": "CNAME", "TTL": 9, "ResourceRecords": [{"Value": "x.y"}]}
    stack = deployed({"RecordV6": ipv6}, list_resource_record_sets=records_say(other))
    found = seen(stack, "Record", "record") + seen(stack, "RecordV6", "record")
    assert sum("x.y" in words for _, words in found) == 1


def test_the_edge_s_record_leads_to_its_distribution() -> None:
    changed: dict[str, Any] = {
        "Domain": {"DomainName": "other.example.com"},
        "Distribution": {
            "Type": "AWS::CloudFront::Distribution",
            "Name": "E123",
            "Properties": {"DistributionConfig": {"Aliases": [DOMAIN]}},
        },
    }
    distribution = {
        "Id": "E123",
        "ARN": "arn",
        "Status": "Deployed",
        "LastModifiedTime": 0,
        "InProgressInvalidationBatches": 0,
        "DomainName": "d222222abcdef8.cloudfront.net",
        "DistributionConfig": {
            "CallerReference": "x",
            "Origins": {"Quantity": 1, "Items": [{"Id": "x", "DomainName": "x.example.com"}]},
            "DefaultCacheBehavior": {"TargetOriginId": "x", "ViewerProtocolPolicy": "https-only"},
            "Comment": "",
            "Enabled": True,
        },
    }
    for target, status in (("d222222abcdef8.cloudfront.net", "ok"), (OURS, "fail")):
        stack = deployed(
            changed,
            get_distribution={"Distribution": distribution},
            list_resource_record_sets=records_say(alias("A", target)),
        )
        assert seen(stack, "Record", "record")[0][0] == status


def test_a_missing_zone_is_a_fault() -> None:
    stack = deployed(list_resource_record_sets=refused("NoSuchHostedZone"))
    ((status, words),) = seen(stack, "Record", "record")
    assert (status, ZONE in words) == ("fail", True)


# ---------------------------------------------------------------------------------- least privilege


ON = {
    "Edge": "true",
    "DomainName": DOMAIN,
    "HostedZoneId": ZONE,
    "CertificateArn": f"arn:aws:acm:us-east-1:{ACCOUNT}:certificate/c",
    "Tracing": "true",
    "EventBus": "default",
    "WebhookUrl": "https://hooks.example.com",
    "ContainerCluster": "streams",
    "Containers": "cluster=streams,task-definition=viewer",
    "Settings": "tracing=true",
    "Deployment": "Canary10Percent5Minutes",
    "PointInTimeRecovery": "true",
    "ProtectTables": "true",
}
"""Parameters that create as many of the template's resources as possible at once."""


def everything(**answers: Any) -> Deployed:
    """The project's own template with all its resources; other calls are denied."""
    document = translated()
    known = {name: value for name, value in ON.items() if name in document["Parameters"]}
    names = {
        name: f"https://sqs.{REGION}.amazonaws.com/{ACCOUNT}/{name}"
        if one["Type"] == "AWS::SQS::Queue"
        else OF_STREAM
        if one["Type"] == "AWS::Lambda::EventSourceMapping"
        else f"{name}-in-aws"
        for name, one in document["Resources"].items()
    }
    parameters = {**template().defaults, **known}
    return cloud.deployed(document, names, parameters, denied=True, **answers)


def test_without_any_permission_each_check_names_its_own_and_there_is_no_fault() -> None:
    stack = everything().stack
    target = Target("http://127.0.0.1:9", None, lambda: None, stack)
    found = asyncio.run(diagnose(target, lambda: 1e9))
    inside = [one for one in found if one.check != "health"]
    assert not [one for one in inside if one.status in (Status.FAIL, Status.WARN)], inside
    unseen = [one for one in inside if one.status is Status.UNKNOWN]
    assert len(unseen) > 100
    page = (Path(__file__).parents[2] / "docs" / "command-line.md").read_text()
    for one in unseen:
        needed = one.message.removeprefix("could not check: needs ")
        assert needed != one.message, one
        assert needed in one.fix
        for action in needed.split(" and "):
            assert f"- {action}\n" in page, one


def test_only_the_missing_permission_is_named() -> None:
    denied = refused("AccessDenied", "SimulatePrincipalPolicy")
    stack = deployed(
        get_function_configuration=function_says(TracingConfig={"Mode": "Active"}),
        simulate_principal_policy=denied,
    )
    ((status, words),) = seen(stack, "Worker", "tracing")
    assert status == "unknown"
    assert words.startswith("could not check: needs iam:SimulatePrincipalPolicy |")


@pytest.mark.parametrize("code", ["NotImplemented", "InvalidAction", "400", "UnknownOperation"])
def test_operations_that_an_emulator_lacks_are_not_faults(code: str) -> None:
    for check in account.STACK_CHECKS:
        stack = deployed(get_account=refused(code), get_account_settings=refused(code))
        run = partial(check.run, stack)
        (one,) = guarded(check.name, "headcount", check.actions, run)
        assert one.status is Status.UNKNOWN, one
    for operation in ("get_function_recursion_config", "list_resource_record_sets"):
        stack = deployed(**{operation: refused(code)})
        found = seen(stack, "Worker", "recursion") + seen(stack, "Record", "record")
        assert "unknown" in {status for status, _ in found}
        assert not {"fail", "warn"} & {status for status, _ in found}


def test_advised_commands_are_valid_aws_commands() -> None:
    """Their syntax; whether they help can only be seen on AWS."""
    poor = deployed(
        get_account_settings=account_says(10),
        get_account=gateway_says(500, 1250),
        get_function_recursion_config={"RecursiveLoop": "Terminate"},
    )
    texts = [
        *(whole(poor, one.name)[1] for one in account.STACK_CHECKS),
        *(words for _, words in seen(poor, "Stage", "limits")),
        *(words for _, words in seen(poor, "Worker", "recursion")),
    ]
    advised = [found for words in texts for found in re.findall(r"\baws [^;,()]*", words)]
    assert len(advised) == 4
    for command in advised:
        assert list(aws(command.split())) == [], command


# -------------------------------------------------------------------------------------- the summary


@pytest.mark.parametrize(
    ("numbers", "words"),
    [
        ((141, 7, 0, 0, 0), "148 checks: 141 passed, 7 notes, [bold]no faults[/]"),
        (
            (1, 1, 1, 1, 1),
            "5 checks: 1 passed, 1 note, 1 warning, 1 not checked, [bold]1 fault[/]",
        ),
        ((0, 0, 2, 0, 2), "4 checks: 2 warnings, [bold]2 faults[/]"),
        ((0, 0, 0, 0, 0), "no checks: [bold]no faults[/]"),
    ],
)
def test_the_counts_of_the_summary_add_up(numbers: tuple[int, ...], words: str) -> None:
    order = (Status.OK, Status.INFO, Status.WARN, Status.UNKNOWN, Status.FAIL)
    findings = [
        Finding(status, "message")
        for status, number in zip(order, numbers, strict=True)
        for _ in range(number)
    ]
    assert summary(findings) == words


def test_limits_are_lambda_s() -> None:
    assert (resources.MAX_ENVIRONMENT, resources.MIN_RECEIVES) == (4096, 5)
    assert account.REQUESTS_PER_PROCESS == 10
