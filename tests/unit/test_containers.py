"""Containers: ECS's data of a task in our format; ids; missing parameters of a deployment."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Any

import pytest
from headcount.errors import ConflictError, InvalidRequestError
from headcount.model.container import (
    Container,
    Fleet,
    container_id,
    container_in,
    event_in,
    from_task,
    started_by,
    topic,
)
from headcount.times import parse_iso

HEX = "c13b4cb40f1f4fe4a2971f76ae5a47ad"
UUID = "3102878e-4af2-4b3c-b9c1-2556b95b2bbf"
ARN = f"arn:aws:ecs:us-east-1:123456789012:task/live/{HEX}"
TASK: dict[str, Any] = {
    "taskArn": ARN,
    "startedBy": "headcount/event-42",
    "lastStatus": "RUNNING",
    "desiredStatus": "RUNNING",
    "version": 3,
}


def task(**values: Any) -> Container:
    found = from_task({**TASK, **values})
    assert found is not None
    return found


@pytest.mark.parametrize(
    ("last", "desired", "status"),
    [
        ("PROVISIONING", "RUNNING", "provisioning"),
        ("PENDING", "RUNNING", "pending"),
        ("ACTIVATING", "RUNNING", "pending"),
        ("RUNNING", "RUNNING", "running"),
        ("RUNNING", "STOPPED", "stopping"),
        ("PENDING", "STOPPED", "stopping"),
        ("DEACTIVATING", "STOPPED", "stopping"),
        ("STOPPING", "STOPPED", "stopping"),
        ("DEPROVISIONING", "STOPPED", "stopping"),
        ("STOPPED", "STOPPED", "stopped"),
        ("DELETED", "STOPPED", "stopped"),
        ("STOPPED", "RUNNING", "stopped"),
        ("NOVELTY", "RUNNING", "pending"),
        ("NOVELTY", "STOPPED", "stopping"),
    ],
)
def test_each_status_of_ecs_is_one_of_our_five(last: str, desired: str, status: str) -> None:
    assert task(lastStatus=last, desiredStatus=desired).status == status


def test_a_task_of_the_api_and_one_of_an_event_give_the_same_result() -> None:
    by_api = task(createdAt=datetime(2026, 11, 21, 12, 0, 1, 702_000, UTC))
    by_event = task(createdAt="2026-11-21T12:00:01.702Z")
    assert by_api == by_event
    assert by_api.body()["createdAt"] == "2026-11-21T12:00:01.702Z"


@pytest.mark.parametrize("text", ["2016-12-06T16:41:06.8Z", "2016-12-06T16:41:06.800123456Z"])
def test_ecs_may_send_any_fraction_of_a_second(text: str) -> None:
    assert task(startedAt=text).body()["startedAt"] == "2016-12-06T16:41:06.800Z"


def test_data_that_ecs_does_not_send_is_null() -> None:
    assert task(stoppedReason="").body() == {
        "containerId": HEX,
        "eventId": "event-42",
        "status": "running",
        "lastStatus": "RUNNING",
        "desiredStatus": "RUNNING",
        "healthStatus": None,
        "createdAt": None,
        "startedAt": None,
        "stoppedAt": None,
        "stoppedReason": None,
    }


def test_a_frame_carries_the_version_and_when_it_was_sent() -> None:
    frame = task().message(parse_iso("2026-11-21T12:00:00Z"))
    assert frame["type"] == "container"
    assert frame["data"] == {
        **task().body(),
        "version": 3,
        "at": "2026-11-21T12:00:00.000Z",
    }


@pytest.mark.parametrize("started_by", [None, "", "ecs-svc/9223370556150183303", "headcount"])
def test_a_task_that_was_not_launched_here_is_ignored(started_by: str | None) -> None:
    assert from_task({**TASK, "startedBy": started_by}) is None


@pytest.mark.parametrize(
    "event",
    ["1", "event-42", "a_B-9", "x" * 118, "aZ9._~@:+-", ":" * 39, "a/2Eb".replace("/", "_")],
)
def test_ecs_gives_an_event_back_as_it_was_sent(event: str) -> None:
    sent = started_by(event)
    assert len(sent) <= 128
    assert re.fullmatch(r"headcount/[A-Za-z0-9_/-]+", sent)
    assert event_in(sent) == event
    assert task(startedBy=sent).event == event


HOSTILE = [
    *("", "x" * 129, "a/b", "../x", "a b", "a%20b", "a\nb", "é", "a\x00", "<script>", "'"),
    *("٣", "a#b", "a;b", "$(x)", "\ud800", "\U0001f600", "/2E"),
]


@pytest.mark.parametrize("text", [*HOSTILE, "x" * 119, ":" * 40])
def test_an_event_by_another_id_is_refused(text: str) -> None:
    with pytest.raises(InvalidRequestError, match="1 to 118 of A-Z a-z 0-9"):
        started_by(text)


@pytest.mark.parametrize("text", [HEX, UUID])
def test_a_container_is_named_by_its_tasks_id(text: str) -> None:
    assert container_id(text) == text
    assert container_in(topic(text)) == text


@pytest.mark.parametrize("text", [*HOSTILE, HEX[:-1], HEX + "a", HEX + "\n", "/" + HEX, ARN])
def test_a_container_by_another_id_is_refused(text: str) -> None:
    with pytest.raises(InvalidRequestError, match="containerId"):
        container_id(text)


def test_missing_parameters_are_named() -> None:
    with pytest.raises(ConflictError) as caught:
        Fleet(cluster="live").require_parameters()
    assert caught.value.details == [
        "Containers has no task-definition",
        "Containers has no subnets",
    ]
    with pytest.raises(ConflictError, match="Containers, and in it cluster, task-definition"):
        Fleet().require_parameters("cluster")


def test_a_deployment_that_only_has_a_cluster_can_look_containers_up() -> None:
    Fleet(cluster="live").require_parameters("cluster")
    Fleet(cluster="live", task_definition="encoder", subnets=("subnet-1",)).require_parameters()
