"""The doctor on the real stack: it finds nothing, then one planted fault at a time."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import boto3
import pytest
from headcount_cli.doctor.diagnosis import diagnose
from headcount_cli.doctor.findings import Finding, Status
from headcount_cli.target import Stack as StackOnAws
from headcount_cli.target import Target

from local.settings import STACK_NAME
from tests.stack.conftest import Stack

pytestmark = pytest.mark.stack

Undo = Callable[[], object]


@dataclass(frozen=True)
class Patient:
    """The running stack, and the doctor's findings about it."""

    stack: Stack
    names: dict[str, str]

    def client(self, service: str) -> Any:
        """A boto3 client of the emulator."""
        return self.stack.client(service)

    def faults(self, *, ahead: float = 0.0) -> list[Finding]:
        """The faults found; ``ahead``: seconds by which this machine's clock is ahead."""
        outputs = self.stack.outputs
        session = boto3.Session(
            aws_access_key_id="test", aws_secret_access_key="test", region_name=outputs["region"]
        )
        target = Target(
            outputs["origin"],
            outputs["webSocketUrl"],
            lambda: str(outputs["adminToken"]),
            StackOnAws(STACK_NAME, session, outputs["awsEndpointUrl"]),
        )
        found = self.stack.loop.run(diagnose(target, lambda: time.time() + ahead))
        assert len(found) > 100, found
        return [one for one in found if one.status is Status.FAIL]


@pytest.fixture(scope="module")
def patient(stack: Stack) -> Patient:
    """The stack, and the physical names of its resources."""
    pages = stack.client("cloudformation").get_paginator("list_stack_resources")
    names = {
        one["LogicalResourceId"]: one["PhysicalResourceId"]
        for page in pages.paginate(StackName=STACK_NAME)
        for one in page["StackResourceSummaries"]
    }
    return Patient(stack, names)


# ----------------------------------------------------------------------------------- planted faults


def time_to_live_off(patient: Patient) -> Undo:
    dynamodb, table = patient.client("dynamodb"), patient.names["VisitsTable"]

    def switch(on: bool) -> None:
        dynamodb.update_time_to_live(
            TableName=table, TimeToLiveSpecification={"AttributeName": "ttl", "Enabled": on}
        )

    switch(False)
    return lambda: switch(True)


def time_to_live_by_another_attribute(patient: Patient) -> Undo:
    dynamodb, table = patient.client("dynamodb"), patient.names["HistoryTable"]

    def go_by(attribute: str) -> None:
        dynamodb.update_time_to_live(
            TableName=table, TimeToLiveSpecification={"AttributeName": attribute, "Enabled": True}
        )

    go_by("expires")
    return lambda: go_by("ttl")


def table_gone(patient: Patient) -> Undo:
    dynamodb, table = patient.client("dynamodb"), patient.names["StreamsTable"]
    described = dynamodb.describe_table(TableName=table)["Table"]
    dynamodb.update_table(TableName=table, DeletionProtectionEnabled=False)
    dynamodb.delete_table(TableName=table)

    def make_again() -> None:
        kept = ("TableName", "KeySchema", "AttributeDefinitions")
        dynamodb.create_table(
            **{name: described[name] for name in kept}, BillingMode="PAY_PER_REQUEST"
        )
        dynamodb.update_time_to_live(
            TableName=table, TimeToLiveSpecification={"AttributeName": "ttl", "Enabled": True}
        )

    return make_again


def event_source_off(patient: Patient) -> Undo:
    functions, uuid = patient.client("lambda"), patient.names["CountFunctionPresence"]
    functions.update_event_source_mapping(UUID=uuid, Enabled=False)
    return lambda: functions.update_event_source_mapping(UUID=uuid, Enabled=True)


def event_source_of_everything(patient: Patient) -> Undo:
    functions, uuid = patient.client("lambda"), patient.names["PublishFunctionCounts"]
    before = functions.get_event_source_mapping(UUID=uuid)["FilterCriteria"]
    anything = {"Filters": [{"Pattern": json.dumps({"eventName": ["REMOVE"]})}]}
    functions.update_event_source_mapping(UUID=uuid, FilterCriteria=anything)
    return lambda: functions.update_event_source_mapping(UUID=uuid, FilterCriteria=before)


def schedule_off(patient: Patient) -> Undo:
    scheduler, name = patient.client("scheduler"), patient.names["DailyFunctionEveryDay"]
    found = scheduler.get_schedule(Name=name)
    kept = ("Name", "ScheduleExpression", "FlexibleTimeWindow", "Target", "Description")
    schedule = {key: found[key] for key in kept}
    scheduler.update_schedule(**schedule, State="DISABLED")
    return lambda: scheduler.update_schedule(**schedule, State="ENABLED")


def schedule_of_another_function(patient: Patient) -> Undo:
    scheduler, name = patient.client("scheduler"), patient.names["DailyFunctionEveryDay"]
    found = scheduler.get_schedule(Name=name)
    kept = ("Name", "ScheduleExpression", "FlexibleTimeWindow", "Target", "Description", "State")
    schedule = {key: found[key] for key in kept}
    arn = schedule["Target"]["Arn"].replace("DailyFunction", "NightlyFunction")
    scheduler.update_schedule(**schedule | {"Target": schedule["Target"] | {"Arn": arn}})
    return lambda: scheduler.update_schedule(**schedule)


def route_gone(patient: Patient) -> Undo:
    return without_route(patient, "HttpApi", "ANY /headcount-react.js")


def socket_route_gone(patient: Patient) -> Undo:
    return without_route(patient, "SocketApi", "$disconnect")


def without_route(patient: Patient, name: str, key: str) -> Undo:
    gateway, api = patient.client("apigatewayv2"), patient.names[name]
    routes = gateway.get_routes(ApiId=api)["Items"]
    (route,) = (one for one in routes if one["RouteKey"] == key)
    gateway.delete_route(ApiId=api, RouteId=route["RouteId"])
    return lambda: gateway.create_route(
        ApiId=api, RouteKey=route["RouteKey"], Target=route["Target"]
    )


def secret_too_short(patient: Patient) -> Undo:
    secrets, arn = patient.client("secretsmanager"), patient.names["MadeTokenSecret"]
    before = secrets.get_secret_value(SecretId=arn)["SecretString"]
    secrets.put_secret_value(SecretId=arn, SecretString="short")
    return lambda: secrets.put_secret_value(SecretId=arn, SecretString=before)


def function_with_another_table(patient: Patient) -> Undo:
    functions, name = patient.client("lambda"), patient.names["DailyFunction"]
    before = functions.get_function_configuration(FunctionName=name)["Environment"]
    wrong = {**before["Variables"], "VISITS_TABLE": patient.names["HistoryTable"]}
    functions.update_function_configuration(FunctionName=name, Environment={"Variables": wrong})
    return lambda: functions.update_function_configuration(FunctionName=name, Environment=before)


def function_stopped(patient: Patient) -> Undo:
    functions, name = patient.client("lambda"), patient.names["EraseFunction"]
    functions.put_function_concurrency(FunctionName=name, ReservedConcurrentExecutions=0)
    return lambda: functions.delete_function_concurrency(FunctionName=name)


def loop_stopped(patient: Patient) -> Undo:
    functions, name = patient.client("lambda"), patient.names["EraseFunction"]

    def recur(setting: str) -> None:
        functions.put_function_recursion_config(FunctionName=name, RecursiveLoop=setting)

    recur("Terminate")
    return lambda: recur("Allow")


def dead_letter(patient: Patient) -> Undo:
    queues, url = patient.client("sqs"), patient.names["DeadLetters"]
    queues.send_message(QueueUrl=url, MessageBody="a batch that was given up")
    return lambda: queues.purge_queue(QueueUrl=url)


def queue_that_drops_what_fails(patient: Patient) -> Undo:
    queues, url = patient.client("sqs"), patient.names["ErasureQueue"]
    before = queues.get_queue_attributes(QueueUrl=url, AttributeNames=["RedrivePolicy"])
    policy = before["Attributes"]["RedrivePolicy"]
    other = json.dumps({**json.loads(policy), "maxReceiveCount": 1000})
    queues.set_queue_attributes(QueueUrl=url, Attributes={"RedrivePolicy": other})
    return lambda: queues.set_queue_attributes(QueueUrl=url, Attributes={"RedrivePolicy": policy})


def alarm_goes_off(patient: Patient) -> Undo:
    watch, name = patient.client("cloudwatch"), patient.names["CountLagAlarm"]
    watch.set_alarm_state(AlarmName=name, StateValue="ALARM", StateReason="lag")
    return lambda: watch.set_alarm_state(AlarmName=name, StateValue="OK", StateReason="no lag")


def alarm_gone(patient: Patient) -> Undo:
    watch, name = patient.client("cloudwatch"), patient.names["DriftAlarm"]
    (found,) = watch.describe_alarms(AlarmNames=[name])["MetricAlarms"]
    watch.delete_alarms(AlarmNames=[name])
    kept = (
        *("AlarmName", "Namespace", "MetricName", "Dimensions", "Statistic", "Period"),
        *("EvaluationPeriods", "Threshold", "ComparisonOperator", "TreatMissingData"),
        "AlarmDescription",
    )
    return lambda: watch.put_metric_alarm(**{key: found[key] for key in kept})


def log_kept_for_ever(patient: Patient) -> Undo:
    logs, group = patient.client("logs"), patient.names["ApiLogs"]
    logs.delete_retention_policy(logGroupName=group)
    return lambda: logs.put_retention_policy(logGroupName=group, retentionInDays=14)


def permission_gone(patient: Patient) -> Undo:
    functions, name = patient.client("lambda"), patient.names["SocketFunction"]
    policy = json.loads(functions.get_policy(FunctionName=name)["Policy"])
    (statement,) = policy["Statement"]
    functions.remove_permission(FunctionName=name, StatementId=statement["Sid"])
    (arn,) = (value for test in statement["Condition"].values() for value in test.values())
    return lambda: functions.add_permission(
        FunctionName=name,
        StatementId=statement["Sid"],
        Action=statement["Action"],
        Principal=statement["Principal"]["Service"],
        SourceArn=arn,
    )


PLANTED: list[tuple[Callable[[Patient], Undo], str, str, str]] = [
    (time_to_live_off, "time to live", "VisitsTable", "update-time-to-live"),
    (time_to_live_by_another_attribute, "time to live", "HistoryTable", "update-time-to-live"),
    (table_gone, "table", "StreamsTable", "backup"),
    (event_source_off, "event source", "CountFunctionPresence", "--enabled"),
    (event_source_of_everything, "event source", "PublishFunctionCounts", "sam deploy"),
    (schedule_off, "schedule", "DailyFunctionEveryDay", "EventBridge Scheduler"),
    (schedule_of_another_function, "schedule", "DailyFunctionEveryDay", "sam deploy"),
    (route_gone, "routes", "HttpApi", "sam deploy"),
    (socket_route_gone, "routes", "SocketApi", "sam deploy"),
    (secret_too_short, "secret", "MadeTokenSecret", "put-secret-value"),
    (function_with_another_table, "settings", "DailyFunction", "configuration"),
    (function_stopped, "concurrency", "EraseFunction", "delete-function-concurrency"),
    (loop_stopped, "recursion", "EraseFunction", "--recursive-loop Allow"),
    (dead_letter, "messages", "DeadLetters", "receive-message"),
    (queue_that_drops_what_fails, "queue", "ErasureQueue", "sam deploy"),
    (alarm_goes_off, "alarm", "CountLagAlarm", "count function"),
    (alarm_gone, "alarm", "DriftAlarm", "sam deploy"),
    (log_kept_for_ever, "log", "ApiLogs", "put-retention-policy"),
    (permission_gone, "permission", "SocketPermission", "sam deploy"),
]


@contextmanager
def planted(plant: Callable[[Patient], Undo], patient: Patient) -> Iterator[None]:
    """Plant a fault during the block."""
    undo = plant(patient)
    try:
        yield
    finally:
        undo()


def test_nothing_is_wrong_with_a_stack_that_was_just_deployed(patient: Patient) -> None:
    assert patient.faults() == []


@pytest.mark.exhaustive
@pytest.mark.parametrize(
    ("plant", "check", "subject", "fix"), PLANTED, ids=lambda value: getattr(value, "__name__", "")
)
def test_a_planted_fault_is_named_and_no_other(
    patient: Patient, plant: Callable[[Patient], Undo], check: str, subject: str, fix: str
) -> None:
    with planted(plant, patient):
        (fault,) = patient.faults()
    assert (fault.check, fault.subject) == (check, subject), fault
    assert fix in fault.fix, fault


def test_a_clock_that_is_five_minutes_ahead_is_named(patient: Patient) -> None:
    (fault,) = patient.faults(ahead=300)
    assert fault.check == "clock"
    assert re.search(r"(29[5-9]|30[0-5]) s ahead", fault.message), fault


def test_nothing_is_wrong_once_all_faults_are_undone(patient: Patient) -> None:
    assert patient.faults() == []
