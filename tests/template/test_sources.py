"""What invokes functions: attempts, age limits, dead letters and permissions."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterator, Mapping
from typing import Any

import pytest

from lab.harness.template import ROOT
from tests.template.rendering import every_pair, rendered

ALL = rendered(**every_pair()[1])
"""The template with as much turned on as possible."""
QUEUES = ALL.of_type("AWS::SQS::Queue")
MAPPINGS = ALL.of_type("AWS::Lambda::EventSourceMapping")
FUNCTIONS = ALL.of_type("AWS::Lambda::Function")
ROLES = ALL.of_type("AWS::IAM::Role")


def to_queue(value: Any) -> str | None:
    """The queue with that ARN."""
    match value:
        case {"Fn::GetAtt": [str(name), "Arn"]} if name in QUEUES:
            return str(name)
    return None


def function_of(mapping: Mapping[str, Any]) -> str:
    """The function that a mapping invokes."""
    name: str = mapping["FunctionName"]["Ref"]
    return name


def statements(role: str) -> Iterator[Mapping[str, Any]]:
    """The statements of a role."""
    for policy in ROLES[role]["Policies"]:
        yield from policy["PolicyDocument"]["Statement"]


def consumer_of_queue() -> dict[str, str]:
    """Queue -> the function that reads it."""
    found = {to_queue(one["EventSourceArn"]): function_of(one) for one in MAPPINGS.values()}
    return {queue: function for queue, function in found.items() if queue is not None}


# ---------------------------------------------------------------------------------------- recursion


def sends_to(function: str) -> set[str]:
    """The queues that a function may write to."""
    role = FUNCTIONS[function]["Role"]["Fn::GetAtt"][0]
    return {
        queue
        for statement in statements(role)
        if "sqs:SendMessage" in statement["Action"]
        for resource in statement["Resource"]
        if (queue := to_queue(resource)) is not None
    }


def test_a_function_that_its_own_messages_invoke_is_not_stopped_as_a_loop() -> None:
    """Lambda stops the 17th call of a function in one chain through SQS, without an error."""
    consumers = consumer_of_queue()
    del consumers["ClosingQueue"]  # closing connections sends nothing
    after = {
        function: {consumers[queue] for queue in sends_to(function) & consumers.keys()}
        for function in FUNCTIONS
    }

    def reached(function: str) -> set[str]:
        found: set[str] = set()
        todo = set(after[function])
        while todo:
            found |= todo
            todo = {one for name in todo for one in after[name]} - found
        return found

    loops = {function for function in FUNCTIONS if function in reached(function)}
    assert loops == {"EraseFunction", "CleanupFunction", "DeferredFunction"}
    allowed = {name for name, one in FUNCTIONS.items() if one.get("RecursiveLoop") == "Allow"}
    assert allowed == loops
    # If an operator turns that off again, an alarm reports what Lambda does not.
    watched = {
        alarm["Dimensions"][0]["Value"]["Ref"]
        for alarm in ALL.of_type("AWS::CloudWatch::Alarm").values()
        if alarm["MetricName"] == "RecursiveInvocationsDropped"
    }
    assert watched == loops


# ----------------------------------------------------------------------------------------- attempts


@pytest.mark.parametrize("name", sorted(n for n, one in QUEUES.items() if "RedrivePolicy" in one))
def test_a_message_gets_five_attempts_before_its_queue_drops_it(name: str) -> None:
    queue = QUEUES[name]
    redrive = queue["RedrivePolicy"]
    assert redrive["maxReceiveCount"] >= 5  # AWS's own advice for queues that invoke functions
    assert queue["MessageRetentionPeriod"] > redrive["maxReceiveCount"] * queue["VisibilityTimeout"]
    dead = QUEUES[str(to_queue(redrive["deadLetterTargetArn"]))]
    # A dead letter keeps the age of its message.
    assert dead["MessageRetentionPeriod"] > queue["MessageRetentionPeriod"]
    assert dead.get("FifoQueue") == queue.get("FifoQueue")
    assert queue["VisibilityTimeout"] >= 6 * FUNCTIONS[consumer_of_queue()[name]]["Timeout"]


def streams() -> dict[str, Mapping[str, Any]]:
    """The mappings that read streams."""
    return {name: one for name, one in MAPPINGS.items() if "StartingPosition" in one}


STREAM_RETENTION = 86_400
"""Seconds for which a table's stream keeps a record."""
TIME_TO_INVESTIGATE = 4 * 3600
"""Seconds left to look up the records that a dead letter points to."""


@pytest.mark.parametrize("name", sorted(streams()))
def test_no_batch_of_a_stream_blocks_its_shard_forever(name: str) -> None:
    mapping = streams()[name]
    assert 1 <= mapping["MaximumRetryAttempts"] <= 10_000
    assert 60 <= mapping["MaximumRecordAgeInSeconds"] <= STREAM_RETENTION - TIME_TO_INVESTIGATE
    assert mapping["BisectBatchOnFunctionError"] is True


def test_throttled_sweeps_do_not_pile_up() -> None:
    """By default Lambda retries throttled invocations for six hours."""
    (waits,) = ALL.of_type("AWS::Lambda::EventInvokeConfig").values()
    assert waits["FunctionName"] == {"Ref": "CleanupFunction"}
    schedule = ALL.resources["CleanupFunctionEveryMinute"]["Properties"]
    assert schedule["ScheduleExpression"] == "rate(1 minute)"
    assert waits["MaximumEventAgeInSeconds"] == 60
    assert waits["MaximumRetryAttempts"] == 0


# ------------------------------------------------------------------------------------- dead letters

CAN_BE_MOVED_BACK = "a queue"


def kinds_of_dead_letters() -> dict[str, set[str]]:
    """Queue of dead letters -> the kinds of their sources."""
    found: dict[str, set[str]] = defaultdict(set)
    for one in QUEUES.values():
        if "RedrivePolicy" in one:
            found[str(to_queue(one["RedrivePolicy"]["deadLetterTargetArn"]))].add(CAN_BE_MOVED_BACK)
    for one in MAPPINGS.values():
        if "DestinationConfig" in one:
            target = to_queue(one["DestinationConfig"]["OnFailure"]["Destination"])
            found[str(target)].add("a stream")
    for one in FUNCTIONS.values():
        if "DeadLetterConfig" in one:
            found[str(to_queue(one["DeadLetterConfig"]["TargetArn"]))].add("an invocation")
    for one in ALL.of_type("AWS::Scheduler::Schedule").values():
        # A schedule's call is an invocation, too: it has the same event.
        found[str(to_queue(one["Target"]["DeadLetterConfig"]["Arn"]))].add("an invocation")
    return dict(found)


def test_a_queue_of_dead_letters_has_one_kind_of_source() -> None:
    """SQS can't redrive a queue that holds a message from another kind of source."""
    kinds = kinds_of_dead_letters()
    assert None not in kinds
    assert {name: len(found) for name, found in kinds.items() if len(found) > 1} == {}
    assert {name for name in QUEUES if name.endswith("DeadLetters")} == kinds.keys()


def test_every_event_that_is_given_up_is_kept() -> None:
    for name, one in streams().items():
        assert to_queue(one["DestinationConfig"]["OnFailure"]["Destination"]), name
    for queue in consumer_of_queue():
        assert "RedrivePolicy" in QUEUES[queue], queue
    asynchronous = {"CleanupFunction", "DailyFunction", "ContainerChangesFunction"}
    assert {name for name, one in FUNCTIONS.items() if "DeadLetterConfig" in one} == asynchronous


@pytest.mark.parametrize("name", sorted(kinds_of_dead_letters()))
def test_dead_letters_set_off_an_alarm_and_the_page_says_what_to_do(name: str) -> None:
    alarms = [
        alarm
        for alarm, one in ALL.of_type("AWS::CloudWatch::Alarm").items()
        if one["Dimensions"][0]["Value"] == {"Fn::GetAtt": [name, "QueueName"]}
        and one["MetricName"] == "ApproximateNumberOfMessagesVisible"
    ]
    assert alarms == [f"{name}Alarm"]
    page = (ROOT / "docs" / "troubleshooting.md").read_text()
    section = page.split("\n## Dead letters\n")[1].split("\n## ")[0]
    row = next(line for line in section.splitlines() if line.startswith(f"| `{name}`"))
    moved = kinds_of_dead_letters()[name] == {CAN_BE_MOVED_BACK}
    assert ("move" in row) is moved


# -------------------------------------------------------------------------------------------- trust


@pytest.mark.parametrize("role", sorted(ROLES))
def test_a_service_assumes_a_role_only_for_this_account(role: str) -> None:
    for statement in ROLES[role]["AssumeRolePolicyDocument"]["Statement"]:
        assert set(statement["Principal"]) == {"Service"}
        assert statement["Condition"]["StringEquals"] == {"aws:SourceAccount": "123456789012"}


def test_only_actions_without_resources_are_allowed_on_all() -> None:
    """IAM does not allow an action without resource types in a statement that names a resource."""
    without = {"dynamodb:ListStreams", "xray:PutTraceSegments", "xray:PutTelemetryRecords"}
    for role in ROLES:
        for statement in statements(role):
            actions = set(statement["Action"])
            if actions & without:
                assert actions <= without, role
            assert (statement["Resource"] == ["*"]) is bool(actions & without), (role, actions)
    readers = {function_of(one) for one in streams().values()}
    for function in readers:
        role = FUNCTIONS[function]["Role"]["Fn::GetAtt"][0]
        assert any("dynamodb:ListStreams" in one["Action"] for one in statements(role))


def test_schedules_call_their_functions_and_nothing_else() -> None:
    for one in ALL.of_type("AWS::Scheduler::Schedule").values():
        role = one["Target"]["RoleArn"]["Fn::GetAtt"][0]
        allowed = [
            (action, json.dumps(resource))
            for statement in statements(role)
            for action in statement["Action"]
            for resource in statement["Resource"]
        ]
        assert ("lambda:InvokeFunction", json.dumps(one["Target"]["Arn"])) in allowed
        assert {action for action, _ in allowed} == {"lambda:InvokeFunction", "sqs:SendMessage"}


# ------------------------------------------------------------------------------------------ aliases


def test_an_alias_is_called_only_after_its_permission_exists() -> None:
    """Otherwise every call fails for seconds when gradual deployments are turned on."""
    stack = rendered(Deployment="Canary10Percent5Minutes")
    aliases = stack.of_type("AWS::Lambda::Alias")
    permissions = stack.of_type("AWS::Lambda::Permission")
    for alias in aliases:
        (permission,) = (
            name for name, one in permissions.items() if one["FunctionName"] == {"Ref": alias}
        )
        text = f"${{{alias}}}/invocations"
        callers = [name for name, one in stack.resources.items() if text in json.dumps(one)]
        assert len(callers) == 1
        waits = json.dumps(stack.resources[callers[0]].get("Metadata"))
        assert json.dumps({"Ref": permission}) in waits
        assert permissions[permission]["SourceArn"]
        assert callers[0] not in json.dumps(permissions[permission])
