"""Events of a stack reach the bus, a rule's queue and a webhook, signed."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from lab.harness.clients import Api, Loop, eventually, path_of
from lab.harness.consumer import Follower, by_number, types, validated
from local.settings import STACK_NAME
from local.stack import LocalStack
from tests.stack.conftest import Stack, assert_gone
from tests.support.receivers import Sink, receiver

pytestmark = pytest.mark.stack

WITHIN = 20
"""Seconds until an event must arrive: the first time, everything starts."""


@pytest.fixture(scope="module")
def publishing(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Stack, Sink]]:
    """A separate stack, and the receiver of its webhook."""
    with receiver() as sink:
        local = LocalStack(tmp_path_factory.mktemp("publishing"), webhook_url=sink.url)
        try:
            outputs = local.start().until_ready()
            with Loop() as loop, Api(loop, outputs["origin"], outputs["adminToken"]) as api:
                yield Stack(outputs, local.settings, loop, api, "", 0.0), sink
        finally:
            code = local.stop()
        assert code == 0, local.log.read_text()[-2000:]
        assert_gone(local.settings)


def secret_of(stack: Stack) -> str:
    """The secret that the stack signs its webhooks with."""
    (described,) = stack.client("cloudformation").describe_stacks(StackName=STACK_NAME)["Stacks"]
    arns = {output["OutputKey"]: output["OutputValue"] for output in described["Outputs"]}
    client = stack.client("secretsmanager")
    secret: str = client.get_secret_value(SecretId=arns["WebhookSecretArn"])["SecretString"]
    return secret


def events_at(sink: Sink, space: str, count: int) -> list[dict[str, Any]]:
    """A space's first events at the webhook, by number, once that many have arrived."""

    def have() -> list[int]:
        return sorted({event["seq"] for event in sink.events if event["space"] == space})

    eventually(lambda: len(have()) >= count, WITHIN, last=have)
    return by_number(sink.events, space)


def test_a_visit_reaches_a_webhook_signed_in_its_order_and_again_if_it_was_refused(
    publishing: tuple[Stack, Sink],
) -> None:
    stack, sink = publishing
    sink.statuses = [500]
    stack.api.beat("site:one", "s1", visitorId="v1", userId="u1", name="Uma")
    joined = events_at(sink, "site:one", 1)
    stack.api.leave("site:one", "s1")
    events = events_at(sink, "site:one", 2)

    assert types(events) == ["joined", "left"]
    assert events[0] == joined[0]
    assert events[0]["visit"]["userId"] == "u1"
    assert events[1]["visit"]["endedBy"] == "leave"
    secret = secret_of(stack)
    assert all(post.is_signed_with(secret) for post in sink.posts)
    assert "Uma" not in repr(sink.posts)

    def arrivals() -> list[int]:
        return [event["seq"] for event in sink.events if event["space"] == "site:one"]

    # The first was answered 500: it is sent again after five seconds.
    eventually(lambda: arrivals().count(1) == 2, WITHIN, last=arrivals)
    assert by_number(sink.events, "site:one") == events


def test_a_rules_queue_gets_the_same_events_and_with_a_snapshot_they_tell_who_is_here(
    publishing: tuple[Stack, Sink],
) -> None:
    stack, sink = publishing
    sqs, events = stack.client("sqs"), stack.client("events")
    queue = sqs.create_queue(QueueName="events")["QueueUrl"]
    attributes = sqs.get_queue_attributes(QueueUrl=queue, AttributeNames=["QueueArn"])
    pattern = {"source": ["headcount"], "detail": {"space": ["course:two"]}}
    events.put_rule(Name="all-events", EventPattern=json.dumps(pattern))
    arn = attributes["Attributes"]["QueueArn"]
    events.put_targets(Rule="all-events", Targets=[{"Id": "queue", "Arn": arn}])
    snapshot = stack.api.get(path_of("course:two") + "/snapshot").body
    follower = Follower(snapshot["eventSeq"], [visit["id"] for visit in snapshot["visits"]])
    rule, where = {"type": "milestone", "people": 2}, path_of("course:two") + "/alerts/two"
    assert stack.api.request("PUT", where, body=rule, token=stack.api.token).status == 200
    for number in range(3):
        stack.api.beat("course:two", f"s{number}", visitorId=f"v{number}")
    stack.api.leave("course:two", "s1")
    at_the_webhook = events_at(sink, "course:two", 5)
    at_the_queue: list[dict[str, Any]] = []

    def all_arrived() -> bool:
        got = sqs.receive_message(QueueUrl=queue, MaxNumberOfMessages=10).get("Messages", [])
        at_the_queue.extend(validated(json.loads(one["Body"])["detail"]) for one in got)
        return len({event["seq"] for event in at_the_queue}) == 5

    eventually(all_arrived, WITHIN, last=lambda: at_the_queue)
    assert by_number(at_the_queue, "course:two") == at_the_webhook
    assert sorted(types(at_the_webhook)) == ["joined", "joined", "joined", "left", "milestone"]
    for event in reversed(at_the_queue):
        follower.take(event)
    after = stack.api.get(path_of("course:two") + "/snapshot").body
    assert follower.here == {visit["id"] for visit in after["visits"]}
    assert (len(follower.here), follower.seq) == (2, after["eventSeq"])
