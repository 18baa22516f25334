"""template.yaml: least privilege, every setting used, and the same names as the code."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import replace
from hashlib import blake2b
from itertools import product
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest
import yaml
from headcount.model.container import STARTED_BY
from headcount.model.rollups import RollUps
from headcount.model.session import Write
from headcount.model.space import Kinds
from headcount.settings import Settings
from headcount.store import keys
from headcount.store.presence import to_item
from headcount.times import DAY, SECOND, day_of
from headcount.usecases.deliver import OVERDUE
from headcount.usecases.limits import UNCOUNTED
from headcount.usecases.redelivery import (
    LONGEST,
    LONGEST_OF_CHUNKS,
    LONGEST_OF_ERASURES,
    wait_after,
)
from headcount.usecases.webhook import TIMEOUT, retry_wait
from samcli.yamlhelper import yaml_dump, yaml_parse

from lab.harness.consumer import EVENTS
from lab.harness.containers import (
    CONTAINERS,
    SET_UP,
    call,
    changed,
    containers,
    launch,
    listen,
)
from lab.harness.engines import Engine
from lab.harness.events import socket_event
from lab.harness.filters import matches, passes, patterns_of
from lab.harness.template import ROOT, load, template, translated
from lab.harness.world import World
from tests.conftest import Worlds
from tests.support.convex import ConvexClient
from tests.unit.test_session import gone, here

T = template()
FUNCTIONS = sorted(T.functions)
QUEUES = T.of_type("AWS::SQS::Queue")
WILDCARDS = {
    # A connection's id is not known before it connects; the API and the stage are named.
    ("execute-api:ManageConnections", "/live/POST/@connections/*"),
    ("execute-api:ManageConnections", "/live/DELETE/@connections/*"),
    # A task's id is not known before it runs; the cluster is named.
    ("ecs:DescribeTasks", ":task/live/*"),
    ("ecs:StopTask", ":task/live/*"),
    # A family without a revision means its newest; the cluster is a condition.
    ("ecs:RunTask", ":task-definition/encoder:*"),
    # A secret's or topic's owner chooses its key; the encryption context names what it may decrypt.
    ("kms:Decrypt", ":*:key/*"),
    ("kms:GenerateDataKey", ":*:key/*"),
    # IAM has no resource types for these.
    ("dynamodb:ListStreams", "*"),
    ("xray:PutTraceSegments", "*"),
    ("xray:PutTelemetryRecords", "*"),
}

EVERYTHING = {**CONTAINERS, **EVENTS, "Tracing": "true", "RollUps": "on"}
"""The parameters that turn on everything that is off by default."""


def role_of(function: str) -> str:
    role: str = T.functions[function]["Role"]["Fn::GetAtt"][0]
    return role


def grants(function: str, **parameters: str) -> Iterator[tuple[str, str]]:
    """(action, resource) of a function's role, by default with everything turned on."""
    for statement in statements(function, **(parameters or EVERYTHING)):
        assert statement["Effect"] == "Allow"
        assert isinstance(statement["Action"], list)
        for action in statement["Action"]:
            for resource in statement["Resource"]:
                yield action, resource


def statements(function: str, **parameters: str) -> list[dict[str, Any]]:
    """The statements of a function's role, resolved."""
    found = T.resolve(list(T.statements(role_of(function))), **parameters)
    assert isinstance(found, list)
    return found


# --------------------------------------------------------------------------------------- privileges


@pytest.mark.parametrize("function", FUNCTIONS)
def test_a_function_has_its_own_role(function: str) -> None:
    assert [other for other in FUNCTIONS if role_of(other) == role_of(function)] == [function]
    assert "Policies" not in T.functions[function]
    assert "ManagedPolicyArns" not in T.resources[role_of(function)]["Properties"]


@pytest.mark.parametrize("function", FUNCTIONS)
def test_no_action_is_a_wildcard(function: str) -> None:
    assert not [action for action, _ in grants(function) if "*" in action]


@pytest.mark.parametrize("function", FUNCTIONS)
def test_a_resource_is_a_wildcard_only_for_a_reason(function: str) -> None:
    for action, resource in grants(function):
        if "*" in resource:
            assert any(action == one and resource.endswith(end) for one, end in WILDCARDS), resource


@pytest.mark.parametrize("function", FUNCTIONS)
def test_a_function_writes_to_its_own_log_group(function: str) -> None:
    group = T.functions[function]["LoggingConfig"]["LogGroup"]["Ref"]
    assert T.resources[group]["Properties"]["RetentionInDays"] == {"Ref": "LogDays"}
    assert ("logs:PutLogEvents", f"{group}.Arn") in set(grants(function))
    assert {resource for action, resource in grants(function) if action.startswith("logs:")} == {
        f"{group}.Arn"
    }


def test_every_function_calls_exactly_what_its_role_allows(memory: Engine, worlds: Worlds) -> None:
    world = worlds(memory, ShardsPerSpace="2", Limits="inline-fanout=0", **EVERYTHING)
    called = trace(world)
    exercise_everything(world)
    exercise_segments(world)
    exercise_events(world)
    exercise_silent_dashboards(world)
    exercise_listeners(world)
    exercise_joins(world)
    exercise_sync(world)
    world.redeploy(ShardsPerSpace="1")
    exercise_silent_dashboards(world, "link:direct")
    queue, later = world.services("count").deferred_queue, world.clock() + 10_000
    queue.recount("link:direct", 0, at=later, durations=(), after=1)
    world.settle()
    world.leave("of-nobody", "site:small")  # looked up in its only possible shard
    link(world, "leave", "of-nobody")
    for function in FUNCTIONS:
        allowed = {
            (action, resource.replace(".Arn", ""))
            for action, resource in grants(function)
            if action.startswith("dynamodb:")
            and "StreamArn" not in resource
            and action != "dynamodb:ListStreams"  # called by Lambda, which reads the stream
        }
        seen = called.get(function, set())
        assert seen <= allowed, function
        # A statement that names a table and its index allows all of its actions on both.
        assert by_table(seen) == by_table(allowed), function


def test_only_containers_may_start_tasks_and_only_the_named_ones() -> None:
    named = {
        one["Action"][0]: one
        for one in statements("containers", **CONTAINERS)
        if one["Action"][0].startswith(("ecs:", "iam:"))
    }
    ours = "arn:aws:ecs:us-east-1:123456789012"
    assert named["ecs:RunTask"]["Resource"] == [
        f"{ours}:task-definition/encoder",
        f"{ours}:task-definition/encoder:*",
    ]
    assert named["ecs:RunTask"]["Condition"] == {
        "ArnEquals": {"ecs:cluster": f"{ours}:cluster/live"}
    }
    assert named["ecs:StopTask"]["Resource"] == [f"{ours}:task/live/*"]
    assert named["iam:PassRole"]["Resource"] == [
        SET_UP["task-role"],
        SET_UP["execution-role"],
    ]
    assert named["iam:PassRole"]["Condition"] == {
        "StringEquals": {"iam:PassedToService": "ecs-tasks.amazonaws.com"}
    }
    for function in set(FUNCTIONS) - {"containers"}:
        assert not [one for one, _ in grants(function) if one.startswith(("ecs:", "iam:"))]


LOOKING = {"ecs:StopTask", "ecs:DescribeTasks"}


@pytest.mark.parametrize(
    ("without", "actions"),
    [
        (set(SET_UP), set()),
        ({"task-definition"}, LOOKING),
        ({"task-role", "execution-role"}, {*LOOKING, "ecs:RunTask"}),
        ({"task-role"}, {*LOOKING, "ecs:RunTask", "iam:PassRole"}),
    ],
    ids=["nothing", "no task definition", "no roles", "an execution role alone"],
)
def test_disabled_features_are_granted_nothing(without: set[str], actions: set[str]) -> None:
    granted = set(grants("containers", **containers(**dict.fromkeys(without, ""))))
    found = {action for action, _ in granted if action.startswith(("ecs:", "iam:"))}
    assert found == actions
    assert all(resource for _, resource in granted)


def by_table(permissions: set[tuple[str, str]]) -> set[tuple[str, str]]:
    return {(action, resource.partition("/")[0]) for action, resource in permissions}


def trace(world: World) -> dict[str, set[tuple[str, str]]]:
    """Function -> (action, table's logical id) of its calls from now on."""
    called: dict[str, set[tuple[str, str]]] = {}
    ids = {table.name: f"{role.capitalize()}Table" for role, table in world.tables.items()}
    invoke = world.invoke

    def traced(function: str, event: Any) -> Any:
        with world.engine.metered() as meter:
            try:
                return invoke(function, event)
            finally:
                for call in meter.calls:
                    for action, name in call.permissions:
                        table, slash, rest = name.partition("/")
                        found = called.setdefault(function, set())
                        found.add((action, ids[table] + slash + rest))

    world.invoke = traced  # type: ignore[method-assign]
    return called


def link(world: World, action: str, session: str, **fields: Any) -> None:
    """A message of a client of link analytics."""
    body = {"action": action, "sessionId": session}
    assert world.http("POST", "/api/send/realtime/link-1", body=body, **fields).status == 200


def exercise_joins(world: World) -> None:
    """So many new sessions of a network that the processes count them together."""
    for number in range(UNCOUNTED + 1):
        body = {"sessionId": f"crowd{number}"}
        world.http("POST", "/v1/spaces/site:main/presence", body=body, source="198.51.100.7")
        link(world, "join", f"crowd{number}", source="198.51.100.7")
        world.connect_viewer(f"v{number}", f"held{number}", source="198.51.100.7")
    world.restart("socket")
    world.clock.advance(15 * 60)  # the salt is replaced
    for number in range(UNCOUNTED + 1):
        world.connect_viewer(f"w{number}", f"holds{number}", source="198.51.100.7")


def exercise_everything(world: World) -> None:
    """Every situation in which a function makes a call that it makes nowhere else."""
    for action in ("join", "heartbeat", "leave"):
        link(world, action, "s1")
    world.subscribe("c1")
    world.subscribe("c2")
    world.send("c2", {"action": "unsubscribe", "space": "site:main"})
    many = {f"facet{n}": f"{n}" * 9 for n in range(8)}
    world.beat("s1", visitorId="v1", facets=many)
    for number in range(40):
        words = {name: blake2b(f"{name}{number}".encode()).hexdigest()[:40] for name in many}
        world.beat(f"t{number}", facets=words)
    world.settle()
    world.services("socket").subscriptions.add("site:main", "c3", now=world.clock())
    world.clock.advance(20)
    world.management.set_gone("c1")
    for user in ("u1", "u2", "u3"):
        world.beat("s1", visitorId="v1", userId=user)
    world.settle()
    site = [f"spaces/site:main/{below}" for below in ("viewers", "explain", "timeline", "days")]
    for path in ("spaces", "spaces/site:main", *site, "groups/all/explain"):
        world.get(f"/v1/{path}", token=world.admin)
    world.disconnect("c2")
    world.sweep()
    world.beat("w1")
    world.filtered("count")  # lost: the cleanup recounts
    world.sweep()
    world.leave("s1")
    world.filtered("count")  # lost: the cleanup records the end when it deletes the row
    world.redeploy(Limits="inline-fanout=200")
    world.management.set_gone("c3")
    world.clock.advance(91 * 60)  # no earlier chunk is on its way any more
    world.sweep()
    world.settle()
    world.clock.advance(400)
    world.beat("u1")
    world.filtered("count")  # lost
    world.leave("u1")
    world.filtered("count")  # lost
    world.clock.advance(400)
    world.sweep()
    world.settle()
    world.clock.set("2027-02-22T12:00:00Z")
    world.beat("s1", visitorId="v1")
    world.settle()
    world.clock.set("2027-02-23T01:00:00Z")
    world.daily()
    join_a_large_space(world)
    measure_streams(world)
    exercise_a_container(world)
    exercise_feeds(world)
    exercise_people(world)
    exercise_moderation(world)
    exercise_an_erasure(world)
    exercise_presence_sockets(world)


def exercise_sync(world: World) -> None:
    """A client of Convex's follows a course, comes and leaves, is pinged, and is gone."""
    client = ConvexClient(world)
    client.open()
    query = client.watch("getLiveViewerCount", courseId="c7")
    world.settle()
    client.mutate("recordPresence", courseId="c7", userId="u1")
    world.settle()
    client.unwatch(query)
    client.watch("getLiveViewerCount", courseId="c7")
    world.settle()
    world.sweep()
    world.management.set_gone(client.connection)
    client.mutate("removePresence", courseId="c7", userId="u1")
    world.settle()


def exercise_silent_dashboards(world: World, space: str = "link:silent") -> None:
    """A dashboard that does not answer, in a small audience and in a large one, and one whose first
    headcount was never sent."""
    for limit in ("200", "0"):
        world.redeploy(Limits=f"inline-fanout={limit}")
        world.subscribe(f"silent{limit}", space)
        world.management.hang(f"silent{limit}")
        world.services("socket").subscriptions.add(space, f"late{limit}", now=world.clock())
        world.beat(f"s{limit}", space)
        world.count(world.filtered("count"))
        world.publish(world.filtered("publish"))
        world.beat(f"next{limit}", space)
        world.count(world.filtered("count"))
        world.fan_out()
        world.management.hanging.clear()
        world.clock.advance(2)
        world.settle()


def exercise_listeners(world: World) -> None:
    """Counts are pushed at once, in chunks, and late."""
    for limit in ("200", "0"):
        world.redeploy(Limits=f"inline-fanout={limit},push-burst=1")
        query = {"space": f"link:heard{limit}", "listen": "count"}
        world.invoke("socket", socket_event("CONNECT", f"listener{limit}", query=query))
        for number in range(4):
            world.beat(f"s{number}", f"link:heard{limit}")
            world.settle()
            world.clock.advance(2)
        world.clock.advance(30)
        world.settle()


def exercise_segments(world: World) -> None:
    """The table is large: it is swept in segments, and a day is left to the cleanup."""
    body = {"text": "hello", "seconds": 30}
    world.http("POST", "/v1/spaces/site:main/messages", body=body, token=world.admin)
    world.beat("large")
    world.settle()
    world.clock.advance(60)
    services: Any = world.services("cleanup")
    services.sweeper = msgspec.structs.replace(services.sweeper, rows_per_invocation=1)
    world.sweep()
    world.run_pieces()
    services.piece_queue.aggregate(day_of(world.clock() - DAY), ["site:main"], part=1)
    world.run_pieces()


def exercise_events(world: World) -> None:
    """Events are sent, some of them twice, and a consumer reads a snapshot."""
    changes = world.changes()
    for batch in (changes[:50], changes[50:100], changes[:50]):
        world.invoke("events", {"Records": batch})
    world.get("/v1/spaces/site:main/snapshot", token=world.admin)


def exercise_presence_sockets(world: World) -> None:
    """A viewer joins by connection, beats, becomes another person in another shard, and leaves."""
    for number in range(4):
        world.connect_viewer(f"p{number}", f"p{number}", visitorId=f"v{number}", page="/", seq=1)
        world.send_beat(f"p{number}", visitorId=f"v{number}", page="/", seq=2)
        world.clock.advance(2)
        world.send_beat(f"p{number}", visitorId=f"v{number}", userId=f"u{number}", seq=3)
        world.disconnect_viewer(f"p{number}")
    world.settle()


def exercise_an_erasure(world: World) -> None:
    """Erase a person who is here, was here in another's session, was removed, and is an admin."""
    admin = world.token(headcount="admin", sub="u7")
    world.beat("e1", userId="u7")
    world.beat("e2", userId="u7")
    world.beat("e2", userId="u8")
    for user in ("u7", "u9"):
        body = {"userId": user}
        world.http("POST", "/v1/spaces/course:c1/removals", body=body, token=admin)
    world.connect_viewer("e3", "e3", token=world.token(sub="u7"))
    world.settle()
    asked = world.http("POST", "/v1/erasures", body={"userId": "u7"}, token=world.admin)
    while world.queue.erasures:
        wait, text = world.queue.erasures.pop(0)
        world.clock.advance(wait)
        world.invoke("erase", {"Records": [{"body": text}]})
    world.get(f"/v1/erasures/{asked.body['id']}", token=world.admin)


def exercise_moderation(world: World) -> None:
    """An admin performs every action, and the daily job deletes what expired."""
    for method, tail, body in (
        ("PUT", "alerts/one", {"type": "milestone", "people": 1}),
        ("DELETE", "alerts/one", None),
        ("POST", "messages", {"text": "hello", "seconds": 1}),
        ("POST", "removals", {"userId": "u9", "seconds": 1}),
        ("GET", "audit", None),
    ):
        more = {} if body is None else {"body": body}
        world.http(method, f"/v1/spaces/site:main/{tail}", token=world.admin, **more)
    world.settle()
    world.clock.advance(60)
    world.daily()
    world.settle()


def exercise_feeds(world: World) -> None:
    """Each feed is opened, receives frames, is asked again, and closes."""
    world.beat("v9", "stream:st1")
    world.settle()
    paths = {
        "f1": "/api/ws/streams/st1/metrics",
        "f2": "/api/ws/analytics/realtime",
        "f3": f"/api/ws/container/{'0' * 32}",
    }
    for connection, path in paths.items():
        world.connect(connection, path=path)
        world.run_deferred()
        world.send(connection, "still here")
    world.settle()
    for connection, path in paths.items():
        world.connect(connection, path=path)
        world.management.set_gone(connection)
    world.run_deferred()


def exercise_a_container(world: World) -> None:
    """Situations in which the container functions make every call they may."""
    container = launch(world)
    listen(world, container, "c4")
    changed(world, world.ecs.change(container, "RUNNING"))
    world.management.set_gone("c4")
    changed(world, world.ecs.change(container, "STOPPED"))
    world.ecs.tasks.clear()
    call(world, "GET", f"status/{container}")


def exercise_people(world: World) -> None:
    """People are looked up and watched, come, move, go, and have too many tabs."""
    world.connect("watcher")
    world.send("watcher", {"action": "watch", "people": ["c:ada", "c:bob"]})
    for number in range(18):
        world.beat(f"p{number}", visitorId="v-ada", userId="ada", page="/a")
        if number % 9 == 0:
            world.settle()
    world.settle()
    world.beat("p1", visitorId="v-ada", userId="ada", page="/b")
    world.beat("p2", visitorId="v-ada")
    world.settle()
    world.leave("p1")
    world.settle()
    world.get("/v1/people/c%3Aada", token=world.admin)
    world.clock.advance(1)
    world.send("watcher", {"action": "unwatch"})
    world.disconnect("watcher")


def join_a_large_space(world: World) -> None:
    """A join that is counted later: by a deferred task, when the space's shard is due."""
    counts = world.services("count").counts
    for count in counts.space("site:main").shards:
        at = world.clock()
        counts.save(replace(count, version=count.version + 1, rows=1_000, counted_at=at))
    world.beat("large")
    world.settle()


def measure_streams(world: World) -> None:
    """A stream is registered, moves to another channel, is watched, and servers report on it."""
    analytics = "/api/v1/analytics/streams/st1"
    for channel in ("ch1", "ch2"):
        stream = {"id": "st1", "channelId": channel}
        world.http("POST", "/api/streams", body=stream, token=world.admin)
    world.beat("v1", "stream:st1")
    world.http("POST", f"{analytics}/events", body={"type": "chat"}, token=world.admin)
    reported = {"source": "rtmp", "load": 0.5}
    world.http("POST", f"{analytics}/infrastructure", body=reported, token=world.admin)
    world.get(f"{analytics}/metrics", token=world.admin)
    world.get("/api/streams", token=world.admin, channelId="ch2")


# ---------------------------------------------------------------------------------------- functions


@pytest.mark.parametrize("function", FUNCTIONS)
def test_a_function_is_given_every_setting_and_no_other_that_its_code_reads(
    memory_world: World, function: str
) -> None:
    read: set[str] = set()

    class Noted(dict[str, str]):
        def __getitem__(self, name: str) -> str:
            read.add(name)
            return super().__getitem__(name)

    given = Noted(T.environment(function))
    settings = Settings(given)
    for name in given:
        if name.endswith("_TABLE"):
            assert settings.table(name.removesuffix("_TABLE").lower()) in T.resources
    for name in vars(Settings):
        if isinstance(getattr(Settings, name), property) or name == "kinds":
            try:
                getattr(settings, name)
            except KeyError:
                assert name != "kinds"
    # The function tells its queue when to redeliver messages.
    brings = {source["Queue"].removesuffix(".Arn") for source in T.events(function, "SQS")}
    read |= {name for name, value in given.items() if value in brings}
    unread = (
        set(given) - read - {"AWS_ENDPOINT_URL", "POWERTOOLS_LOG_LEVEL", "SOCKET_URL", "URL_SUFFIX"}
    )
    assert not unread


SERVICES = {
    "beat": ["session_recorder", "summaries", "verifier"],
    "api": [
        "session_recorder",
        "reader",
        "verifier",
        "headcounts",
        "counts",
        "history",
        "streams",
        "moderator",
        "explainer",
        "people_reader",
    ],
    "socket": ["dashboard_socket", "verifier", "session_recorder", "watching"],
    "count": ["counter", "people_noter"],
    "publish": ["publisher"],
    "fanout": ["broadcaster"],
    "deferred": ["runner"],
    "erase": ["eraser"],
    "cleanup": ["sweeper"],
    "daily": ["aggregator"],
    "containers": ["launcher", "verifier"],
    "container_changes": ["announcer"],
    "events": ["emitter"],
    "webhook": ["webhook_sender"],
}


@pytest.mark.parametrize("function", sorted(SERVICES))
def test_a_functions_services_can_be_built_from_its_environment(
    memory_world: World, function: str
) -> None:
    services = memory_world.services(function)
    for name in SERVICES[function]:
        assert getattr(services, name)


def test_every_function_has_a_folder_and_every_folder_a_function() -> None:
    folders = {path.parent.name for path in (ROOT / "functions").glob("*/app.py")}
    assert folders == set(FUNCTIONS)


@pytest.mark.parametrize("function", ["count", "publish"])
def test_records_that_a_stream_gives_up_are_kept(function: str) -> None:
    (source,) = T.events(function, "DynamoDB")
    assert source["DestinationConfig"]["OnFailure"]["Destination"] == "StreamDeadLetters.Arn"
    assert ("sqs:SendMessage", "StreamDeadLetters.Arn") in set(grants(function))
    assert source["ParallelizationFactor"] == 1
    assert source["BisectBatchOnFunctionError"] is True


CHANGE: dict[str, Any] = {
    "source": "aws.ecs",
    "detail-type": "ECS Task State Change",
    "detail": {
        "clusterArn": "arn:aws:ecs:us-east-1:123456789012:cluster/live",
        "startedBy": f"{STARTED_BY}event-42",
    },
}


@pytest.mark.parametrize(
    ("event", "invokes"),
    [
        (CHANGE, True),
        (CHANGE | {"source": "aws.ec2"}, False),
        (CHANGE | {"detail-type": "ECS Container Instance State Change"}, False),
        (CHANGE | {"detail": CHANGE["detail"] | {"clusterArn": "arn:other/live"}}, False),
        (CHANGE | {"detail": CHANGE["detail"] | {"startedBy": "ecs-svc/1"}}, False),
        (CHANGE | {"detail": {"clusterArn": CHANGE["detail"]["clusterArn"]}}, False),
    ],
    ids=["ours", "source", "instance", "another cluster", "a service's", "no task of ours"],
)
def test_changes_of_our_containers_invoke_only_container_changes(
    event: Any, *, invokes: bool
) -> None:
    (rule,) = T.events("container_changes", "EventBridgeRule", **CONTAINERS)
    assert matches(event, rule["Pattern"]) is invokes


def test_the_rule_and_its_function_are_there_only_with_a_cluster() -> None:
    made = {
        name: resource
        for name, resource in translated()["Resources"].items()
        if name.startswith("ContainerChanges")
    }
    assert {resource["Condition"] for resource in made.values()} == {"HasContainerCluster"}
    assert sorted(resource["Type"] for resource in made.values()) == [
        "AWS::CloudWatch::Alarm",
        "AWS::Events::Rule",
        "AWS::IAM::Role",
        "AWS::Lambda::Function",
        "AWS::Lambda::Permission",
        "AWS::Logs::LogGroup",
    ]


def test_a_change_that_is_given_up_is_kept() -> None:
    function = T.resolve(T.functions["container_changes"])
    assert function["DeadLetterQueue"]["TargetArn"] == "RunDeadLetters.Arn"
    assert ("sqs:SendMessage", "RunDeadLetters.Arn") in set(grants("container_changes"))


@pytest.mark.parametrize("function", ["cleanup", "daily"])
def test_invocations_that_a_schedule_gives_up_are_kept(function: str) -> None:
    assert T.resolve(T.functions[function]["DeadLetterQueue"])["TargetArn"] == "RunDeadLetters.Arn"
    assert ("sqs:SendMessage", "RunDeadLetters.Arn") in set(grants(function))
    (schedule,) = T.events(function, "ScheduleV2")
    assert schedule["DeadLetterConfig"]["Arn"] == "RunDeadLetters.Arn"


def test_chunks_that_are_given_up_are_kept() -> None:
    queue = T.resolve(T.resources["FanoutQueue"]["Properties"])
    assert queue["RedrivePolicy"]["deadLetterTargetArn"] == "FanoutDeadLetters.Arn"
    assert queue["DeduplicationScope"] == "messageGroup"
    assert queue["VisibilityTimeout"] >= 6 * T.functions["fanout"]["Timeout"]
    (source,) = T.events("fanout", "SQS")
    assert source["FunctionResponseTypes"] == ["ReportBatchItemFailures"]


LONGEST_OF = {"fanout": LONGEST_OF_CHUNKS, "erase": LONGEST_OF_ERASURES}
FROM_QUEUES = [
    (name, source["Queue"].removesuffix(".Arn"))
    for name in FUNCTIONS
    if name != "webhook"  # it has its own waits
    for source in T.events(name, "SQS")
]


def retried_for(function: str, queue: str, *, chance: float) -> int:
    """Seconds from a message's first attempt to its last, if all fail without a crash."""
    receives = T.resources[queue]["Properties"]["RedrivePolicy"]["maxReceiveCount"]
    longest = LONGEST_OF.get(function, LONGEST)
    return sum(wait_after(tries, longest, chance) for tries in range(1, receives))


@pytest.mark.parametrize(("function", "queue"), FROM_QUEUES)
def test_a_function_tells_its_queue_when_to_redeliver_failed_messages(
    function: str, queue: str
) -> None:
    properties = T.resolve(QUEUES[queue])
    assert ("sqs:ChangeMessageVisibility", f"{queue}.Arn") in set(grants(function))
    assert Settings(T.environment(function)).queue_of(f"arn:aws:sqs:::{queue}") == queue
    receives = properties["RedrivePolicy"]["maxReceiveCount"]
    assert receives >= 5
    # Retries outlast an outage of minutes, and a message whose function crashes each time is kept.
    assert retried_for(function, queue, chance=0) >= 300
    most = max(properties["VisibilityTimeout"], LONGEST_OF.get(function, LONGEST))
    assert receives * most < properties["MessageRetentionPeriod"]


@pytest.mark.parametrize("function", FUNCTIONS)
def test_only_a_function_that_queues_for_itself_is_allowed_to_loop(
    function: str,
) -> None:
    brings = {source["Queue"] for source in T.events(function, "SQS")}
    sends = {queue for action, queue in grants(function) if action == "sqs:SendMessage"}
    allowed = T.functions[function].get("RecursiveLoop") == "Allow"
    assert allowed is bool(brings & sends)


def test_a_chunk_is_overdue_before_its_retries_end() -> None:
    # Overdue chunks make their dashboards reconnect; a later version would leave a gap before it.
    assert retried_for("fanout", "FanoutQueue", chance=0) * SECOND > OVERDUE


def test_closings_are_retried_through_an_incident_and_kept_in_the_end() -> None:
    queue = T.resolve(T.resources["ClosingQueue"]["Properties"])
    assert queue["RedrivePolicy"]["deadLetterTargetArn"] == "DeadLetters.Arn"
    assert queue["VisibilityTimeout"] >= 6 * T.functions["deferred"]["Timeout"]
    # Half an hour, more or less by chance.
    assert retried_for("deferred", "ClosingQueue", chance=0) >= 1200
    assert retried_for("deferred", "ClosingQueue", chance=1) >= 1800


def test_the_schedules_are_every_minute_and_once_a_night() -> None:
    (minute,) = T.events("cleanup", "ScheduleV2")
    (night,) = T.events("daily", "ScheduleV2")
    assert minute["ScheduleExpression"] == "rate(1 minute)"
    assert night["ScheduleExpression"] == "cron(0 1 * * ? *)"
    assert night["ScheduleExpressionTimezone"] == "UTC"


def test_a_lake_adds_a_schedule_and_what_it_needs_and_nothing_else() -> None:
    lake = {"Settings": "dashboard=false,lake=my-bucket/a/b"}
    assert set(grants("daily", **lake)) - set(grants("daily", **T.defaults)) == {
        ("dynamodb:BatchGetItem", "HistoryTable.Arn"),
        ("s3:PutObject", "arn:aws:s3:::my-bucket/a/b/days/*.parquet"),
    }
    assert T.resources["LakeSchedule"]["Condition"] == "HasLake"
    assert T.holds({"Condition": "HasLake"}, **lake)
    assert not T.holds({"Condition": "HasLake"})
    schedule = T.resources["LakeSchedule"]["Properties"]
    assert schedule["ScheduleExpression"] == "cron(0 3 * * ? *)"
    assert schedule["ScheduleExpressionTimezone"] == "UTC"
    assert json.loads(schedule["Target"]["Input"]) == {"export": True}


def test_an_export_makes_the_calls_that_the_lake_allows(memory: Engine, worlds: Worlds) -> None:
    world = worlds(memory, Settings="lake=my-bucket")
    put: list[str] = []
    services: Any = world.services("daily")
    services.s3 = SimpleNamespace(put_object=lambda **given: put.append(given["Key"]))
    world.beat("s1")
    world.settle()
    world.clock.advance(24 * 3600)
    world.daily()
    called = trace(world)
    world.invoke("daily", {"export": True})
    assert put == ["days/2026-11-21.parquet"]
    assert by_table(called["daily"]) == {
        ("dynamodb:Scan", "HeadcountsTable"),
        ("dynamodb:BatchGetItem", "HistoryTable"),
    }


@pytest.mark.parametrize(
    ("session", "invokes"),
    [
        (here(write=Write.JOIN), True),
        (here(write=Write.CHANGE), True),
        (gone(), True),
        (here(write=Write.BEAT), False),
        (gone(write=Write.GONE), False),
    ],
    ids=["join", "change", "leave", "beat", "gone"],
)
def test_joins_changes_and_leaves_invoke_only_count(session: Any, *, invokes: bool) -> None:
    (source,) = T.events("count", "DynamoDB")
    record = {"eventName": "MODIFY", "dynamodb": {"NewImage": to_item(session)}}
    assert passes(record, patterns_of(source)) is invokes


def test_deleted_rows_invoke_no_function() -> None:
    gone_row = {"eventName": "REMOVE", "dynamodb": {"Keys": {"part": {"S": "shard#0"}}}}
    for function in ("count", "publish"):
        (source,) = T.events(function, "DynamoDB")
        assert not passes(gone_row, patterns_of(source))


@pytest.mark.parametrize(
    ("part", "invokes"),
    [
        (keys.count_part(0), True),
        (keys.count_part(37), True),
        (keys.Counts.ENGAGEMENT, True),
        (f"{keys.Counts.READING}rtmp", True),
        (f"{keys.Counts.ALERT}rule", True),
        (keys.Counts.NOTICE, True),
        (f"{keys.Counts.DENIED}{'0' * 16}", True),
        (keys.Counts.VIEWS, False),
    ],
)
def test_numbers_invoke_publish_and_views_do_not(part: str, *, invokes: bool) -> None:
    (source,) = T.events("publish", "DynamoDB")
    record = {"eventName": "MODIFY", "dynamodb": {"Keys": {"part": {"S": part}}}}
    assert passes(record, patterns_of(source)) is invokes


@pytest.mark.parametrize(
    "part", [f"{keys.Counts.ALERT}rule", keys.Counts.NOTICE, f"{keys.Counts.DENIED}{'0' * 16}"]
)
def test_withdrawn_admin_actions_invoke_publish_too(part: str) -> None:
    (source,) = T.events("publish", "DynamoDB")
    record = {"eventName": "REMOVE", "dynamodb": {"Keys": {"part": {"S": part}}}}
    assert passes(record, patterns_of(source))


def test_only_deferred_tasks_may_send_alerts_and_only_to_the_named_topic() -> None:
    topic = "arn:aws:sns:us-east-1:123456789012:alerts"
    for function in FUNCTIONS:
        may = [
            one
            for one in grants(function, Settings=f"alert-topic={topic}")
            if one[0].startswith("sns:")
        ]
        assert may == ([("sns:Publish", topic)] if function == "deferred" else [])
        assert not [
            one for one in grants(function, Settings="dashboard=true") if one[0].startswith("sns:")
        ]


def test_no_stream_function_may_write_to_the_table_it_reads() -> None:
    writes = {f"dynamodb:{kind}Item" for kind in ("Put", "Update", "Delete", "BatchWrite")}
    for function in FUNCTIONS:
        for source in T.events(function, "DynamoDB"):
            table = source["Stream"].removesuffix(".StreamArn")
            assert not [one for one in grants(function) if one[0] in writes and table in one[1]]


# -------------------------------------------------------------------------------- events for others


def test_only_events_may_put_events_and_only_on_the_named_bus() -> None:
    arn = "arn:aws:events:us-east-1:123456789012:event-bus/partners"
    for function in FUNCTIONS:
        may = [one for one in grants(function, EventBus="partners") if "events:" in one[0]]
        assert may == ([("events:PutEvents", arn)] if function == "events" else [])


def test_without_a_bus_there_is_no_events_function_stream_or_secret() -> None:
    assert all(
        "StreamSpecification" not in T.resolve(T.tables[role])
        for role in ("visits", "headcounts", "history")
    )
    made = translated()["Resources"]
    conditions = {
        name: one.get("Condition")
        for name, one in made.items()
        if name.startswith(("Events", "Webhook", "MadeWebhook"))
    }
    assert {name for name, condition in conditions.items() if condition == "HasEventBus"} >= {
        "EventsFunction",
        "EventsRole",
        "EventsLogs",
        "EventsFunctionVisits",
    }
    assert {name for name, condition in conditions.items() if condition == "SendsWebhooks"} >= {
        "WebhookFunction",
        "WebhookRole",
        "WebhookLogs",
        "WebhookRule",
        "WebhookQueue",
    }
    assert conditions["MadeWebhookSecret"] == "MakesWebhookSecret"
    assert None not in conditions.values()


@pytest.mark.parametrize(
    ("role", "view"),
    [("visits", "NEW_AND_OLD_IMAGES"), ("headcounts", "NEW_IMAGE"), ("history", "NEW_IMAGE")],
)
def test_with_a_bus_the_tables_it_follows_have_streams(role: str, view: str) -> None:
    spec = T.resolve(T.tables[role], **EVENTS)
    assert spec["StreamSpecification"] == {"StreamViewType": view}


def test_events_that_the_bus_refuses_are_retried_for_most_of_a_day() -> None:
    for source in T.events("events", "DynamoDB"):
        assert source["MaximumRecordAgeInSeconds"] == 72_000
        assert source["FunctionResponseTypes"] == ["ReportBatchItemFailures"]
        assert source["ParallelizationFactor"] == 1
        assert source["DestinationConfig"]["OnFailure"]["Destination"] == "StreamDeadLetters.Arn"
    assert ("sqs:SendMessage", "StreamDeadLetters.Arn") in set(grants("events"))


@pytest.mark.parametrize(
    ("news", "invokes"),
    [
        ([{"type": "alert", "alert": {}}], True),
        ([{"type": "alert", "alert": {}}, {"type": "notice", "notice": None}], True),
        ([{"type": "notice", "notice": None}], False),
        ([], False),
    ],
    ids=["alert", "alert and message", "message", "nothing"],
)
def test_only_versions_that_set_off_an_alert_invoke_events(
    news: list[Any], *, invokes: bool
) -> None:
    _, source, _ = T.events("events", "DynamoDB")
    image = {"news": {"S": json.dumps(news, separators=(",", ":"))}} if news else {}
    record = {"eventName": "MODIFY", "dynamodb": {"NewImage": image}}
    assert passes(record, patterns_of(source)) is invokes


@pytest.mark.parametrize(
    ("key", "name", "invokes"),
    [
        (f"{keys.History.DAY}2026-11-21", "INSERT", True),
        (f"{keys.History.DAY}2026-11-21", "MODIFY", True),
        (f"{keys.History.DAY}2026-11-21", "REMOVE", False),
        (f"{keys.History.MINUTE}2026-11-21T12:00:00.000Z", "INSERT", False),
        (f"{keys.History.AUDIT}2026-11-21T12:00:00.000Z#1", "INSERT", False),
    ],
)
def test_only_days_of_history_invoke_events(key: str, name: str, *, invokes: bool) -> None:
    *_, source = T.events("events", "DynamoDB")
    record = {"eventName": name, "dynamodb": {"Keys": {"at": {"S": key}}}}
    assert passes(record, patterns_of(source)) is invokes


def test_webhooks_get_only_this_stacks_events_and_only_the_rule_writes_to_their_queue() -> None:
    rule = T.resolve(T.resources["WebhookRule"]["Properties"], **EVENTS)
    event = {"source": "headcount", "detail": {"stack": "headcount"}}
    assert matches(event, rule["EventPattern"])
    assert not matches(event | {"detail": {"stack": "another"}}, rule["EventPattern"])
    assert not matches(event | {"source": "aws.ecs"}, rule["EventPattern"])
    assert [one["Arn"] for one in rule["Targets"]] == ["WebhookQueue.Arn"]
    policy = T.resolve(T.resources["WebhookQueuePolicy"]["Properties"]["PolicyDocument"])
    allowed = [one for one in policy["Statement"] if one["Effect"] == "Allow"]
    assert [one["Principal"] for one in allowed] == [{"Service": "events.amazonaws.com"}]
    assert allowed[0]["Condition"] == {"ArnEquals": {"aws:SourceArn": "WebhookRule.Arn"}}


def test_a_webhook_without_a_bus_is_refused_before_anything_is_deployed() -> None:
    rule = T.document["Rules"]["WebhooksNeedABus"]
    (assertion,) = rule["Assertions"]
    wanted = {name: T.resolve({"Ref": name}) for name in ("WebhookUrl", "EventBus")}
    assert wanted == {"WebhookUrl": "", "EventBus": ""}
    assert rule["RuleCondition"] == {"Fn::Not": [{"Fn::Equals": [{"Ref": "WebhookUrl"}, ""]}]}
    assert assertion["Assert"] == {"Fn::Not": [{"Fn::Equals": [{"Ref": "EventBus"}, ""]}]}


@pytest.mark.parametrize(
    ("url", "fits"),
    [
        ("", True),
        ("https://hooks.example.test/headcount?key=1", True),
        ("http://localhost:9000/hook", True),
        ("http://127.0.0.1:9000", True),
        ("http://hooks.example.test/", False),
        ("http://localhost.example.test/", False),
        ("http://127.0.0.1.example.test/", False),
        ("hooks.example.test", False),
        ("file:///etc/passwd", False),
    ],
)
def test_a_webhook_uses_https_or_is_local(url: str, *, fits: bool) -> None:
    assert bool(re.search(T.parameters["WebhookUrl"]["AllowedPattern"], url)) is fits


def test_a_webhook_is_retried_for_most_of_a_day_and_then_kept() -> None:
    queue = T.resolve(QUEUES["WebhookQueue"])
    assert queue["RedrivePolicy"]["deadLetterTargetArn"] == "WebhookDeadLetters.Arn"
    tries = queue["RedrivePolicy"]["maxReceiveCount"]
    waited = sum(map(retry_wait, range(1, tries)))
    assert 16 * 3600 < waited < queue["MessageRetentionPeriod"]
    assert queue["VisibilityTimeout"] >= 6 * T.functions["webhook"]["Timeout"]
    (source,) = T.events("webhook", "SQS")
    assert T.functions["webhook"]["Timeout"] >= source["BatchSize"] * 2 * TIMEOUT


# ------------------------------------------------------------------------------------------- tables

KEYS = {
    "presence": [keys.Presence.PARTITION, keys.Presence.SORT],
    "counts": [keys.Counts.PARTITION, keys.Counts.SORT],
    "headcounts": [keys.Headcounts.PARTITION],
    "visits": [keys.Visits.PARTITION, keys.Visits.SORT],
    "history": [keys.History.PARTITION, keys.History.SORT],
    "subscriptions": [keys.Subscriptions.PARTITION, keys.Subscriptions.SORT],
    "streams": [keys.Streams.PARTITION, keys.Streams.SORT],
    "people": [keys.People.PARTITION],
}


@pytest.mark.parametrize("role", sorted(T.tables))
def test_a_tables_keys_are_those_of_the_code(role: str) -> None:
    assert [key["AttributeName"] for key in T.tables[role]["KeySchema"]] == KEYS[role]


def test_the_index_of_live_spaces_is_the_codes() -> None:
    (index,) = T.tables["headcounts"]["GlobalSecondaryIndexes"]
    assert index["IndexName"] == keys.Headcounts.LIVE_INDEX
    names = [key["AttributeName"] for key in index["KeySchema"]]
    assert names == [keys.Headcounts.LIVE, keys.Headcounts.PARTITION]


def test_no_table_that_beats_write_to_has_an_index() -> None:
    assert "GlobalSecondaryIndexes" not in T.create_table("presence")
    assert "LocalSecondaryIndexes" not in T.tables["presence"]


def test_the_index_of_people_has_nothing_that_a_steady_beat_changes() -> None:
    table = T.create_table("presence", RollUps="on")
    (index,) = table["GlobalSecondaryIndexes"]
    assert index["IndexName"] == keys.Presence.PEOPLE_INDEX
    assert index["Projection"] == {"ProjectionType": "KEYS_ONLY"}
    assert [one["AttributeName"] for one in index["KeySchema"]] == [
        keys.Presence.PART,
        keys.Presence.PERSON,
    ]


@pytest.mark.parametrize(
    ("text", "valid"),
    [
        ("on", True),
        ("school=course:*,stream:main chapter=course:42-*", True),
        ("on everything=*", True),
        ("off", False),
        ("school", False),
        ("school=course", False),
        ("School=course:*", False),
        ("school=course:* ", False),
        ("school=course:*;chapter=course:1", False),
    ],
)
def test_roll_ups_that_are_not_valid_are_refused_by_the_template(text: str, *, valid: bool) -> None:
    pattern = T.parameters["RollUps"]["AllowedPattern"]
    assert bool(re.fullmatch(pattern, text)) is valid
    if valid:
        assert RollUps(text, Kinds(T.defaults["Kinds"])).ids


@pytest.mark.parametrize("role", sorted(T.tables))
def test_old_rows_expire_by_the_codes_attribute(role: str) -> None:
    ttl = T.tables[role]["TimeToLiveSpecification"]
    assert ttl == {"AttributeName": keys.TTL, "Enabled": True}


@pytest.mark.parametrize("part", [keys.count_part(0), keys.Counts.ENGAGEMENT, keys.Counts.VIEWS])
def test_expired_numbers_invoke_no_function(part: str) -> None:
    """DynamoDB's own deletes are in the stream too; an expired space is not published again."""
    (source,) = T.events("publish", "DynamoDB")
    record = {"eventName": "REMOVE", "dynamodb": {"Keys": {"part": {"S": part}}}}
    assert not passes(record, patterns_of(source))


# ------------------------------------------------------------------------- encryption and transport

KEY = "arn:aws:kms:us-east-1:123456789012:key/0a1b"
QUEUES = T.of_type("AWS::SQS::Queue")
UNKEYED = {
    *("StreamDeadLetters.Arn", "RunDeadLetters.Arn"),
    *("WebhookQueue.Arn", "WebhookDeadLetters.Arn"),
}
"""Queues without personal data, and those of EventBridge, which could not use the key."""


@pytest.mark.parametrize("role", sorted(T.tables))
def test_a_table_is_encrypted_by_a_key_that_dynamodb_owns_or_by_the_named_one(role: str) -> None:
    assert T.resolve(T.tables[role])["SSESpecification"] == {"SSEEnabled": False}
    assert T.resolve(T.tables[role], KmsKey=KEY)["SSESpecification"] == {
        "SSEEnabled": True,
        "SSEType": "KMS",
        "KMSMasterKeyId": KEY,
    }


@pytest.mark.parametrize("queue", sorted(QUEUES))
def test_a_queue_is_encrypted_by_a_key_that_sqs_owns_or_by_the_named_one(queue: str) -> None:
    properties = T.resolve(QUEUES[queue])
    assert properties["SqsManagedSseEnabled"] is True
    assert "KmsMasterKeyId" not in properties
    keyed = T.resolve(QUEUES[queue], KmsKey=KEY)
    if f"{queue}.Arn" in UNKEYED:
        assert keyed == properties
    else:
        assert keyed["KmsMasterKeyId"] == KEY
        assert "SqsManagedSseEnabled" not in keyed  # SQS accepts only one of the two


def test_the_created_secret_is_encrypted_by_the_named_key() -> None:
    for name in ("MadeTokenSecret", "MadeWebhookSecret"):
        secret = T.resources[name]["Properties"]
        assert T.resolve(secret, KmsKey=KEY)["KmsKeyId"] == KEY
        assert "KmsKeyId" not in T.resolve(secret)


@pytest.mark.parametrize("function", FUNCTIONS)
def test_a_function_may_use_the_key_only_for_its_calls(function: str) -> None:
    assert not [one for one, _ in grants(function, KmsKey="") if one.startswith("kms:")]
    granted = statements(function, KmsKey=KEY, **EVERYTHING)
    found = [one for one in granted if one["Resource"] == [KEY]]
    called = {
        action.partition(":")[0]
        for one in granted
        for action in one["Action"]
        for resource in one["Resource"]
        if resource not in UNKEYED
    } & {"dynamodb", "sqs"}
    if not called:
        assert found == []
        return
    (one,) = found
    sends = any(
        "sqs:SendMessage" in other["Action"] and set(other["Resource"]) - UNKEYED
        for other in granted
    )
    assert one["Action"] == ["kms:Decrypt", *(["kms:GenerateDataKey"] if sends else [])]
    via = one["Condition"]["StringEquals"]["kms:ViaService"]
    assert set(via) == {f"{service}.us-east-1.amazonaws.com" for service in called}


TOKENS = "arn:aws:secretsmanager:us-east-1:123456789012:secret:tokens-AbCdEf"
WEBHOOKS = "arn:aws:secretsmanager:us-east-1:123456789012:secret:webhooks-AbCdEf"
TOPIC = "arn:aws:sns:us-east-1:123456789012:alerts"
KEYED = {
    "secretsmanager:GetSecretValue": ("secretsmanager", "SecretARN", ["kms:Decrypt"]),
    "sns:Publish": ("sns", "aws:sns:topicArn", ["kms:Decrypt", "kms:GenerateDataKey"]),
}
"""Resources under a key that the template does not know: the service, the encryption context, and
the key's actions it needs."""


@pytest.mark.parametrize("function", FUNCTIONS)
@pytest.mark.parametrize(
    "given",
    [
        {"TokenSecret": TOKENS, "Settings": f"webhook-secret={WEBHOOKS},alert-topic={TOPIC}"},
        {"KmsKey": KEY},
    ],
    ids=["others'", "the stack's own under its key"],
)
def test_a_secret_or_topic_may_be_under_any_key_used_for_nothing_else(
    function: str, given: dict[str, str]
) -> None:
    granted = statements(function, **EVERYTHING, **given)
    uses = {
        (action, *one["Resource"]) for one in granted for action in one["Action"] if action in KEYED
    }
    opened = [one for one in granted if one["Resource"] == ["arn:aws:kms:us-east-1:*:key/*"]]
    wanted = []
    for action, resource in sorted(uses):
        service, context, needs = KEYED[action]
        bound = {
            "kms:ViaService": f"{service}.us-east-1.amazonaws.com",
            f"kms:EncryptionContext:{context}": resource,
        }
        wanted.append((needs, {"StringEquals": bound}))
    assert sorted(((one["Action"], one["Condition"]) for one in opened), key=str) == sorted(
        wanted, key=str
    )


def test_queues_refuse_calls_without_tls() -> None:
    policies = [T.resolve(one) for one in T.of_type("AWS::SQS::QueuePolicy").values()]
    assert sorted(queue for policy in policies for queue in policy["Queues"]) == sorted(QUEUES)
    for policy in policies:
        statement = policy["PolicyDocument"]["Statement"][0]
        assert (statement["Effect"], statement["Principal"]) == ("Deny", "*")
        assert (statement["Action"], statement["Resource"]) == ("sqs:*", "*")
        assert statement["Condition"] == {"Bool": {"aws:SecureTransport": "false"}}


def test_permanent_tables_can_be_backed_up() -> None:
    wanted = {
        role: T.resolve(spec, PointInTimeRecovery="true").get("PointInTimeRecoverySpecification")
        for role, spec in T.tables.items()
    }
    on = {"PointInTimeRecoveryEnabled": "true"}
    # Sessions, subscriptions and where people are: a backup would only keep them longer.
    of_this_moment = {"presence", "subscriptions", "people"}
    assert wanted == {role: None if role in of_this_moment else on for role in T.tables}


def test_only_erase_may_scan_the_tables_of_visits() -> None:
    for role in ("Visits", "History", "Counts", "Subscriptions"):
        table = f"{role}Table.Arn"
        scanning = [name for name in FUNCTIONS if ("dynamodb:Scan", table) in set(grants(name))]
        assert scanning == ["erase"], table


def test_an_erasure_outlasts_an_outage_and_is_kept_in_the_end() -> None:
    queue = T.resolve(QUEUES["ErasureQueue"])
    assert queue["RedrivePolicy"]["deadLetterTargetArn"] == "DeadLetters.Arn"
    assert queue["VisibilityTimeout"] >= 6 * T.functions["erase"]["Timeout"]
    assert retried_for("erase", "ErasureQueue", chance=0) >= 3 * 3600
    (source,) = T.events("erase", "SQS")
    assert source["BatchSize"] == 1


# --------------------------------------------------------------------------- parameters and outputs


def test_every_parameter_has_a_description_a_default_and_one_group() -> None:
    groups = T.document["Metadata"]["AWS::CloudFormation::Interface"]["ParameterGroups"]
    grouped = [name for group in groups for name in group["Parameters"]]
    assert sorted(grouped) == sorted(T.parameters)
    for name, parameter in T.parameters.items():
        assert parameter["Description"].strip().endswith("."), name
        assert "Default" in parameter, name


def test_every_parameter_is_used() -> None:
    text = (ROOT / "template.yaml").read_text().split("\nConditions:")[1]
    unused = [name for name in T.parameters if name not in text]
    assert unused == []


OUTPUTS = {
    *("HttpUrl", "DashboardUrl", "WebSocketUrl"),
    *("HttpApiId", "SocketApiId", "SocketStage", "TokenSecretArn"),
    *(f"{role.capitalize()}Table" for role in T.tables),
}


def test_the_outputs_are_those_that_the_local_stack_and_people_need() -> None:
    assert set(T.outputs) >= OUTPUTS
    assert (
        T.outputs["SocketStage"]["Value"] == T.resources["SocketStage"]["Properties"]["StageName"]
    )


def test_a_secret_is_created_only_if_none_was_given() -> None:
    made = T.environment("api")["TOKEN_SECRET"]
    given = T.environment("api", TokenSecret="arn:aws:secretsmanager:us-east-1:1:secret:mine")
    by_keys = T.environment("api", JwksUrl="https://issuer.example.test/jwks.json")
    assert made == "MadeTokenSecret"
    assert given["TOKEN_SECRET"].endswith("secret:mine")
    assert by_keys["TOKEN_SECRET"] == ""


def test_alarms_notify_only_with_a_topic() -> None:
    for properties in T.of_type("AWS::CloudWatch::Alarm").values():
        assert "AlarmActions" not in T.resolve(properties)
        assert T.resolve(properties, AlarmTopic="arn:t")["AlarmActions"] == ["arn:t"]
        assert properties["AlarmDescription"].strip()


def test_sam_cli_expands_the_templates_aliases(monkeypatch: pytest.MonkeyPatch) -> None:
    """CloudFormation supports no YAML aliases or merges, and gets none."""
    for kind, name in product(
        (yaml.constructor.SafeConstructor, yaml.SafeLoader),
        ("yaml_constructors", "yaml_multi_constructors"),
    ):  # SAM CLI adds to them
        monkeypatch.setattr(kind, name, dict(getattr(kind, name)))
    text = (ROOT / "template.yaml").read_text()
    deployed = yaml_dump(yaml_parse(text))
    found = [
        token
        for token in yaml.scan(deployed, yaml.SafeLoader)
        if isinstance(token, yaml.AnchorToken | yaml.AliasToken)
        or (isinstance(token, yaml.ScalarToken) and token.value == "<<")
    ]
    assert found == []
    assert json.dumps(load(deployed), sort_keys=True) == json.dumps(load(text), sort_keys=True)


def test_sam_translates_the_template() -> None:
    kinds = [resource["Type"] for resource in translated()["Resources"].values()]
    assert kinds.count("AWS::Lambda::Function") == len(FUNCTIONS)
    sources = [
        event["Type"]
        for properties in T.functions.values()
        for event in properties.get("Events", {}).values()
    ]
    mapped = sources.count("DynamoDB") + sources.count("SQS")
    assert kinds.count("AWS::Lambda::EventSourceMapping") == mapped
    assert kinds.count("AWS::Scheduler::Schedule") == 3  # the lake's is beside its function
    assert kinds.count("AWS::Events::Rule") == 2
