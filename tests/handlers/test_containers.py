"""Containers: launched, stopped, looked up over HTTP; their changes sent to sockets."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import boto3
import pytest
from botocore.exceptions import ClientError, ReadTimeoutError
from headcount.systems.stream_analytics.containers import ContainerAnswer

from lab.harness.clock import NOON
from lab.harness.containers import CONTAINERS, call, changed, containers, launch, listen
from lab.harness.engines import Engine
from lab.harness.fakes import FakeEcs, aws_error
from lab.harness.world import World
from tests.conftest import Worlds
from tests.handlers.test_api import is_error, logged

HEX = "c13b4cb40f1f4fe4a2971f76ae5a47ad"


@pytest.fixture
def here(memory: Engine, worlds: Worlds) -> World:
    """A deployment whose containers are set up."""
    return worlds(memory, **CONTAINERS)


def frames(world: World, connection: str) -> list[tuple[str, int]]:
    """(status, version) of the frames that a socket received, in order."""
    return [
        (frame["data"]["status"], frame["data"]["version"])
        for frame in world.management.frames[connection]
    ]


# ------------------------------------------------------------------------------------------- launch


def test_a_launch_starts_one_task_and_answers_it(here: World) -> None:
    answer = call(here, "POST", "launch/event-42")
    assert answer.status == 200
    assert answer.body == {
        "success": True,
        "containerId": f"{1:032x}",
        "eventId": "event-42",
        "status": "provisioning",
        "lastStatus": "PROVISIONING",
        "desiredStatus": "RUNNING",
        "healthStatus": "UNKNOWN",
        "createdAt": "2026-11-21T12:00:00.000Z",
        "startedAt": None,
        "stoppedAt": None,
        "stoppedReason": None,
    }
    (asked,) = here.ecs.named("RunTask")
    token = asked.pop("clientToken")
    assert asked == {
        "cluster": "live",
        "taskDefinition": "encoder",
        "count": 1,
        "launchType": "FARGATE",
        "startedBy": "headcount/event-42",
        "networkConfiguration": {
            "awsvpcConfiguration": {
                "subnets": ["subnet-1", "subnet-2"],
                "securityGroups": ["sg-1"],
                "assignPublicIp": "ENABLED",
            }
        },
        "overrides": {
            "containerOverrides": [
                {"name": "main", "environment": [{"name": "EVENT_ID", "value": "event-42"}]}
            ]
        },
    }
    assert len(token) == 64


def test_an_answer_is_as_it_is_documented(here: World) -> None:
    assert (
        call(here, "POST", "launch/event-42").body.keys() == ContainerAnswer.__annotations__.keys()
    )


@pytest.mark.parametrize("path", ["ev:1", "ev%3A1"])
def test_an_events_id_is_kept_though_ecs_accepts_fewer_characters(here: World, path: str) -> None:
    container = launch(here, path)
    assert here.ecs.tasks[container]["startedBy"] == "headcount/ev/3A1"
    assert call(here, "GET", f"status/{container}").body["eventId"] == "ev:1"


def test_what_is_not_set_is_left_to_ecs(memory: Engine, worlds: Worlds) -> None:
    world = worlds(
        memory,
        Containers="cluster=live,task-definition=encoder:7,subnets=subnet-1,launch-type=",
    )
    launch(world)
    (asked,) = world.ecs.named("RunTask")
    assert asked["networkConfiguration"]["awsvpcConfiguration"] == {
        "subnets": ["subnet-1"],
        "securityGroups": [],
    }
    assert not {"launchType", "overrides", "tags"} & asked.keys()


def test_a_launch_that_is_retried_with_its_key_is_the_same_container(here: World) -> None:
    first = launch(here, key="k1")
    assert launch(here, key="k1") == first
    assert launch(here, key="k2") != first
    assert len(here.ecs.tasks) == 2


def test_one_key_may_serve_several_events(here: World) -> None:
    assert launch(here, "event-1", key="k1") != launch(here, "event-2", key="k1")


def test_without_a_key_every_request_is_a_separate_launch(here: World) -> None:
    assert launch(here) != launch(here)
    assert launch(here, request="r1") == launch(here, request="r1")


def test_a_key_that_was_used_before_the_parameters_changed_is_a_409(here: World) -> None:
    launch(here, key="k1")
    here.redeploy(**containers(subnets="subnet-9"))
    assert is_error(call(here, "POST", "launch/event-42", key="k1"), 409)
    assert len(here.ecs.tasks) == 1


@pytest.mark.parametrize("key", ["", "k" * 201, "a\x00b", "\x7f", "\ud800", "x\udfff"])
def test_a_key_that_is_empty_too_long_or_no_text_is_a_400(here: World, key: str) -> None:
    assert is_error(call(here, "POST", "launch/event-42", key=key), 400)
    assert here.ecs.calls == []


@pytest.mark.parametrize("reason", ["RESOURCE:MEMORY", "AGENT", "Capacity is unavailable at this"])
def test_no_capacity_is_a_503_with_retry_after(here: World, reason: str) -> None:
    here.ecs.failures = [reason]
    answer = call(here, "POST", "launch/event-42")
    assert is_error(answer, 503)
    assert int(answer.headers["retry-after"]) > 0
    assert answer.body["details"] == [reason]


@pytest.mark.parametrize("reasons", [["ATTRIBUTE"], ["MISSING"], ["RESOURCE:CPU", "INACTIVE"]])
def test_a_launch_that_ecs_answers_with_other_failures_is_a_502(
    here: World, reasons: list[str]
) -> None:
    here.ecs.failures = reasons
    answer = call(here, "POST", "launch/event-42")
    assert is_error(answer, 502)
    assert answer.body["details"] == reasons


def test_a_launch_without_an_answer_says_how_to_retry(here: World) -> None:
    here.ecs.error = ReadTimeoutError(endpoint_url="https://ecs.example.test")
    answer = call(here, "POST", "launch/event-42", key="k1")
    assert is_error(answer, 503)
    assert "Idempotency-Key" in answer.body["error"]


def test_a_container_that_was_started_is_answered_though_it_can_not_be_kept(
    here: World, caplog: pytest.LogCaptureFixture
) -> None:
    services: Any = here.services("containers")
    services.containers._client = Failing(aws_error("ThrottlingException"))
    assert call(here, "POST", "launch/event-42").status == 200
    assert "not stored" in logged(caplog)


class Failing:
    """A client whose every call fails."""

    def __init__(self, error: Exception) -> None:
        self._error = error

    def __getattr__(self, name: str) -> Any:
        def fail(*_: Any, **__: Any) -> Any:
            raise self._error

        return fail


# ---------------------------------------------------------------------------------- stop and status


def test_a_stopped_container_is_stopping_until_it_has_stopped(here: World) -> None:
    container = launch(here)
    here.ecs.change(container, "RUNNING")
    answer = call(here, "POST", f"stop/{container}")
    assert (answer.status, answer.body["status"]) == (200, "stopping")
    assert answer.body["stoppedReason"] == "Stopped through Headcount"
    here.ecs.change(container, "STOPPED")
    answer = call(here, "GET", f"status/{container}")
    assert (answer.status, answer.body["status"]) == (200, "stopped")
    assert answer.body["stoppedAt"] == "2026-11-21T12:00:00.000Z"


def test_stopping_twice_tells_ecs_once(here: World) -> None:
    container = launch(here)
    first = call(here, "POST", f"stop/{container}").body
    assert call(here, "POST", f"stop/{container}").body == first
    assert len(here.ecs.named("StopTask")) == 1


def test_a_container_that_was_never_launched_is_a_404(here: World) -> None:
    assert is_error(call(here, "GET", f"status/{HEX}"), 404)
    assert is_error(call(here, "POST", f"stop/{HEX}"), 404)
    assert here.ecs.named("StopTask") == []


def test_another_task_of_the_cluster_can_be_neither_seen_nor_stopped(here: World) -> None:
    container = launch(here)
    here.ecs.tasks[container]["startedBy"] = "ecs-svc/9223370556150183303"
    assert is_error(call(here, "GET", f"status/{container}"), 404)
    assert is_error(call(here, "POST", f"stop/{container}"), 404)
    assert here.ecs.named("StopTask") == []


def test_a_stopped_container_is_still_found_after_ecs_deleted_it(here: World) -> None:
    container = launch(here)
    changed(here, here.ecs.change(container, "STOPPED", stoppedReason="Done"))
    before = call(here, "GET", f"status/{container}").body
    here.ecs.tasks.clear()
    here.clock.advance(3 * 86_400)
    assert call(here, "GET", f"status/{container}").body == before
    assert call(here, "POST", f"stop/{container}").body == before
    assert here.ecs.named("StopTask") == []


def test_a_container_that_ecs_does_not_know_yet_is_provisioning(here: World) -> None:
    container = launch(here)
    here.ecs.tasks.clear()
    assert call(here, "GET", f"status/{container}").body["status"] == "provisioning"
    here.clock.advance(60)
    assert is_error(call(here, "GET", f"status/{container}"), 404)


def test_looking_up_changes_nothing(here: World) -> None:
    container = launch(here)
    here.ecs.change(container, "RUNNING")
    before = here.snapshot()
    call(here, "GET", f"status/{container}")
    assert here.snapshot() == before


def test_no_answer_and_no_row_holds_an_address(here: World) -> None:
    container = launch(here)
    listen(here, container, "c1")
    shown = [call(here, "GET", f"status/{container}").body]
    changed(here, here.ecs.change(container, "RUNNING"))
    assert "10.0.0" not in json.dumps([shown, here.management.frames["c1"], here.snapshot()])


# ------------------------------------------------------------------------------------------- errors


@pytest.mark.parametrize(
    ("method", "tail"),
    [("POST", "launch/event-42"), ("POST", "stop/c1"), ("GET", "status/c1")],
)
def test_without_a_cluster_every_call_is_a_409_that_names_the_parameters(
    memory_world: World, method: str, tail: str
) -> None:
    answer = call(memory_world, method, tail)
    assert is_error(answer, 409)
    for name in ("Containers", "cluster", "task-definition", "subnets"):
        assert name in answer.body["error"]
    assert memory_world.ecs.calls == []


@pytest.mark.parametrize("name", ["task-definition", "subnets"])
def test_a_launch_that_lacks_one_setting_names_that_one(here: World, name: str) -> None:
    here.redeploy(**containers(**{name: ""}))
    answer = call(here, "POST", "launch/event-42")
    assert is_error(answer, 409)
    assert answer.body["details"] == [f"Containers has no {name}"]


@pytest.mark.parametrize("event", ["x" * 119, "a b", "a%2Fb", "a\nb", "é", "%00", ":" * 40])
def test_a_bad_event_is_a_400_and_launches_nothing(here: World, event: str) -> None:
    assert is_error(call(here, "POST", f"launch/{event}"), 400)
    assert here.ecs.calls == []


@pytest.mark.parametrize(
    "name", ["c1", HEX[:-1], f"{HEX}%0A", f"live%2F{HEX}", "é" * 32, "*", "%2A" * 32]
)
def test_a_bad_container_is_a_400_and_ecs_is_not_asked(here: World, name: str) -> None:
    assert is_error(call(here, "GET", f"status/{name}"), 400)
    assert is_error(call(here, "POST", f"stop/{name}"), 400)
    assert here.ecs.calls == []


ROUTES = [("POST", "launch/event-42"), ("POST", f"stop/{HEX}"), ("GET", f"status/{HEX}")]


@pytest.mark.parametrize(("method", "tail"), ROUTES)
def test_only_admins_may_call(here: World, method: str, tail: str) -> None:
    missing = call(here, method, tail, token=None)
    assert is_error(missing, 401)
    assert missing.headers["www-authenticate"].startswith("Bearer")
    assert is_error(call(here, method, tail, token="nonsense"), 401)
    assert is_error(call(here, method, tail, token=here.token(lives=-60, headcount="admin")), 401)
    assert is_error(call(here, method, tail, token=here.token(sub="u1")), 403)
    assert here.ecs.calls == []


@pytest.mark.parametrize(("method", "tail"), ROUTES)
def test_a_method_that_does_not_work_is_a_405_that_names_the_one_that_does(
    here: World, method: str, tail: str
) -> None:
    for other in {"GET", "POST", "PUT", "DELETE", "PATCH"} - {method}:
        answer = call(here, other, tail)
        assert is_error(answer, 405)
        assert answer.headers["allow"] == method
    assert here.ecs.calls == []


@pytest.mark.parametrize(
    "tail", ["", "nothing", "launch", "launch/", "launch/a/b", "Launch/x", f"stop/../{HEX}", "/"]
)
def test_a_path_with_nothing_there_is_a_404(here: World, tail: str) -> None:
    assert is_error(call(here, "POST", tail), 404)


def test_a_page_may_send_an_idempotency_key(here: World) -> None:
    asked = {"access-control-request-headers": "authorization,idempotency-key"}
    answer = call(here, "OPTIONS", "launch/event-42", token=None, headers=asked)
    assert answer.status == 204
    assert "idempotency-key" in answer.headers["access-control-allow-headers"]


@pytest.mark.parametrize(("method", "tail"), ROUTES)
@pytest.mark.parametrize(
    ("error", "status"),
    [
        (aws_error("ThrottlingException"), 503),
        (aws_error("ServerException", 500), 503),
        (ReadTimeoutError(endpoint_url="https://ecs.example.test"), 503),
        (aws_error("ClusterNotFoundException"), 502),
        (aws_error("ClientException"), 502),
        (aws_error("AccessDeniedException"), 502),
    ],
    ids=["throttled", "down", "silent", "no cluster", "refused", "denied"],
)
def test_what_ecs_can_not_do_is_reported_and_stores_nothing(
    here: World, method: str, tail: str, error: Exception, status: int
) -> None:
    here.ecs.error = error
    before = here.snapshot()
    answer = call(here, method, tail)
    assert is_error(answer, status)
    assert ("retry-after" in answer.headers) is (status == 503)
    assert here.snapshot() == before


def test_no_token_is_logged_when_ecs_refuses(here: World, caplog: pytest.LogCaptureFixture) -> None:
    here.ecs.error = aws_error("ClientException")
    call(here, "POST", "launch/event-42", query={"token": here.admin})
    assert "ECS refuses" in logged(caplog)
    assert here.admin not in logged(caplog)


# ------------------------------------------------------------------------------------------ changes


def test_a_containers_listener_receives_each_of_its_changes(here: World) -> None:
    container, other = launch(here), launch(here, "event-43")
    listen(here, container, "c1")
    listen(here, container, "c2")
    listen(here, other, "c3")
    changed(
        here,
        here.ecs.change(container, "PENDING"),
        here.ecs.change(container, "RUNNING"),
        here.ecs.change(container, "STOPPED"),
    )
    assert frames(here, "c1") == [("pending", 2), ("running", 3), ("stopped", 4)]
    assert frames(here, "c2") == frames(here, "c1")
    assert frames(here, "c3") == []


def test_a_frame_is_the_status_with_its_version_and_time(here: World) -> None:
    container = launch(here)
    listen(here, container, "c1")
    changed(here, here.ecs.change(container, "RUNNING"))
    status = call(here, "GET", f"status/{container}").body
    del status["success"]
    (frame,) = here.management.frames["c1"]
    assert frame == {
        "type": "container",
        "data": {**status, "version": 2, "at": "2026-11-21T12:00:00.000Z"},
    }


def test_a_change_that_comes_twice_is_sent_once(here: World) -> None:
    container = launch(here)
    listen(here, container, "c1")
    running = here.ecs.change(container, "RUNNING")
    changed(here, running, running)
    assert frames(here, "c1") == [("running", 2)]


def test_a_change_that_was_overtaken_is_not_sent(here: World) -> None:
    container = launch(here)
    listen(here, container, "c1")
    pending = here.ecs.change(container, "PENDING")
    running = here.ecs.change(container, "RUNNING")
    changed(here, running, pending, running)
    assert frames(here, "c1") == [("running", 3)]
    here.ecs.tasks.clear()
    assert call(here, "GET", f"status/{container}").body["status"] == "running"


def test_the_first_change_is_sent_though_the_launch_stored_it_already(here: World) -> None:
    container = launch(here)
    listen(here, container, "c1")
    provisioning = here.ecs.change(container, "PROVISIONING")
    provisioning["detail"]["version"] = 1
    changed(here, provisioning)
    assert frames(here, "c1") == [("provisioning", 1)]


@pytest.mark.parametrize("dies_at", ["subscribers", "mark_announced"])
def test_a_change_that_could_not_be_sent_is_sent_at_the_next_attempt(
    here: World, monkeypatch: pytest.MonkeyPatch, dies_at: str
) -> None:
    container = launch(here)
    listen(here, container, "c1")
    services = here.services("container_changes")
    store = services.subscriptions if dies_at == "subscribers" else services.containers
    running = here.ecs.change(container, "RUNNING")

    def die(*_: Any) -> Iterator[Any]:
        raise aws_error("ThrottlingException")

    with monkeypatch.context() as patched:
        patched.setattr(type(store), dies_at, die)
        with pytest.raises(ClientError):
            changed(here, running)
    changed(here, running, running)
    assert frames(here, "c1")[-1] == ("running", 2)
    assert len(frames(here, "c1")) == (1 if dies_at == "subscribers" else 2)


def test_a_socket_that_is_gone_delays_no_other(here: World) -> None:
    container = launch(here)
    listen(here, container, "c1")
    listen(here, container, "c2")
    here.clock.advance(60)
    here.management.set_gone("c1")
    changed(here, here.ecs.change(container, "RUNNING"), here.ecs.change(container, "STOPPED"))
    assert frames(here, "c2") == [("running", 2), ("stopped", 3)]
    assert here.management.attempts["c1"] == 1


def test_changes_of_containers_without_listeners_are_kept(here: World) -> None:
    container = launch(here)
    changed(here, here.ecs.change(container, "STOPPED", stoppedReason="OutOfMemoryError"))
    here.ecs.tasks.clear()
    body = call(here, "GET", f"status/{container}").body
    assert (body["status"], body["stoppedReason"]) == ("stopped", "OutOfMemoryError")


def test_another_tasks_changes_are_neither_kept_nor_sent(here: World) -> None:
    container = launch(here)
    listen(here, container, "c1")
    before = here.snapshot()
    event = here.ecs.change(container, "RUNNING")
    event["detail"]["startedBy"] = "ecs-svc/9223370556150183303"
    changed(here, event)
    assert (here.snapshot(), frames(here, "c1")) == (before, [])


@pytest.mark.parametrize(
    "detail",
    [None, [], {}, {"startedBy": 7}, {"startedBy": "headcount/e"}, "text"],
    ids=str,
)
def test_an_unreadable_event_is_logged_and_not_retried(
    here: World, caplog: pytest.LogCaptureFixture, detail: Any
) -> None:
    changed(here, {"id": "event-1", "detail": detail})
    assert here.tables["streams"].rows() == []
    assert ("unreadable event" in logged(caplog)) is (detail != {})


# --------------------------------------------------------------------------------------- moto's ECS


@pytest.mark.slow
def test_a_containers_life_on_motos_ecs(here: World, moto: Engine) -> None:
    session = boto3.session.Session(
        aws_access_key_id="test", aws_secret_access_key="test", region_name="us-east-1"
    )
    ecs = session.client("ecs")
    subnet = session.client("ec2").describe_subnets()["Subnets"][0]["SubnetId"]
    here.redeploy(**containers(**{"subnets": subnet, "security-groups": ""}))
    services: Any = here.services("containers")
    services.ecs = ecs
    assert is_error(call(here, "POST", "launch/event-42"), 502)
    ecs.create_cluster(clusterName="live")
    assert is_error(call(here, "POST", "launch/event-42"), 502)
    ecs.register_task_definition(
        family="encoder",
        requiresCompatibilities=["FARGATE"],
        networkMode="awsvpc",
        cpu="256",
        memory="512",
        containerDefinitions=[{"name": "main", "image": "encoder", "memory": 128}],
    )
    launched = call(here, "POST", "launch/event-42").body
    assert launched["status"] == "running"
    container = launched["containerId"]
    described = ecs.describe_tasks(cluster="live", tasks=[container])["tasks"][0]
    assert described["startedBy"] == "headcount/event-42"
    (override,) = described["overrides"]["containerOverrides"]
    assert override["environment"] == [{"name": "EVENT_ID", "value": "event-42"}]
    # In moto a task ends by itself, one step with every read.
    assert call(here, "POST", f"stop/{container}").body["status"] == "stopping"
    looks = [call(here, "GET", f"status/{container}").body["status"] for _ in range(5)]
    assert looks[-1] == "stopped"
    assert is_error(call(here, "GET", f"status/{HEX}"), 404)


def test_the_fake_ecs_accepts_what_the_real_one_would() -> None:
    """Its parameters are checked against botocore's model of ECS."""
    from botocore.session import get_session
    from botocore.validate import validate_parameters

    model = get_session().get_service_model("ecs")
    ecs = FakeEcs(lambda: NOON)
    shape = model.operation_model("RunTask").output_shape
    assert shape is not None
    answer = ecs.run_task(cluster="c", taskDefinition="t", startedBy="headcount/e", clientToken="k")
    validate_parameters(answer, shape)
