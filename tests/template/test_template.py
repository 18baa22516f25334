"""template.yaml: least privilege, nothing forgotten, nothing that drifts from the code."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import replace
from hashlib import blake2b
from typing import Any

import pytest
from headcount.containers import STARTED_BY
from headcount.session import Write
from headcount.settings import Settings
from headcount.store import keys
from headcount.store.presence import to_item
from headcount.times import DAY, day_of
from headcount.webhooks import TIMEOUT, wait_after

from tests.conftest import Worlds
from tests.support.containers import CONTAINERS, call, changed, launch, listen
from tests.support.engines import Engine
from tests.support.filters import matches, passes, patterns_of
from tests.support.telling import EVENTS
from tests.support.template import ROOT, template, translated
from tests.support.world import World
from tests.unit.test_session import gone, here

T = template()
FUNCTIONS = sorted(T.functions)
WILDCARDS = {
    # A connection's id is not known before it connects; the API and the stage are named.
    ("execute-api:ManageConnections", "/live/POST/@connections/*"),
    ("execute-api:ManageConnections", "/live/DELETE/@connections/*"),
    # A task's id is not known before it runs; the cluster is named.
    ("ecs:DescribeTasks", ":task/live/*"),
    ("ecs:StopTask", ":task/live/*"),
    # A family without a revision means its newest; the cluster is a condition.
    ("ecs:RunTask", ":task-definition/encoder:*"),
}

EVERYTHING = {**CONTAINERS, **EVENTS}
"""The parameters that turn on what is off."""


def role_of(function: str) -> str:
    role: str = T.functions[function]["Role"]["Fn::GetAtt"][0]
    return role


def grants(function: str, **parameters: str) -> Iterator[tuple[str, str]]:
    """(action, resource) of a function's role, with everything turned on unless told otherwise."""
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
def test_a_function_has_a_role_of_its_own(function: str) -> None:
    assert [other for other in FUNCTIONS if role_of(other) == role_of(function)] == [function]
    assert "Policies" not in T.functions[function]
    assert "ManagedPolicyArns" not in T.resources[role_of(function)]["Properties"]


@pytest.mark.parametrize("function", FUNCTIONS)
def test_no_action_is_a_wildcard(function: str) -> None:
    assert not [action for action, _ in grants(function) if "*" in action]


@pytest.mark.parametrize("function", FUNCTIONS)
def test_no_resource_is_a_wildcard_but_those_with_a_reason(function: str) -> None:
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


def test_every_function_calls_just_what_its_role_allows(memory: Engine, worlds: Worlds) -> None:
    world = worlds(memory, ShardsPerSpace="2", InlineFanout="0", **EVERYTHING)
    called = trace(world)
    live_through_everything(world)
    live_through_pieces(world)
    live_through_events(world)
    live_through_silence(world)
    world.redeploy(ShardsPerSpace="1")
    world.leave("of-nobody", "site:small")  # is looked for where it alone can be
    for function in FUNCTIONS:
        allowed = {
            (action, resource.replace(".Arn", ""))
            for action, resource in grants(function)
            if action.startswith("dynamodb:") and "StreamArn" not in resource
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
        CONTAINERS["ContainerTaskRole"],
        CONTAINERS["ContainerExecutionRole"],
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
        (set(CONTAINERS), set()),
        ({"ContainerTaskDefinition"}, LOOKING),
        ({"ContainerTaskRole", "ContainerExecutionRole"}, {*LOOKING, "ecs:RunTask"}),
        ({"ContainerTaskRole"}, {*LOOKING, "ecs:RunTask", "iam:PassRole"}),
    ],
    ids=["nothing", "no task definition", "no roles", "an execution role alone"],
)
def test_what_is_not_set_up_is_not_granted(without: set[str], actions: set[str]) -> None:
    parameters = {name: "" if name in without else text for name, text in CONTAINERS.items()}
    granted = set(grants("containers", **parameters))
    found = {action for action, _ in granted if action.startswith(("ecs:", "iam:"))}
    assert found == actions
    assert all(resource for _, resource in granted)


def by_table(permissions: set[tuple[str, str]]) -> set[tuple[str, str]]:
    return {(action, resource.partition("/")[0]) for action, resource in permissions}


def trace(world: World) -> dict[str, set[tuple[str, str]]]:
    """function -> (action, table's logical id) of what it calls from now on."""
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


def live_through_everything(world: World) -> None:
    """Everything that makes a function call something it calls nowhere else."""
    world.subscribe("c1")
    world.subscribe("c2")
    world.say("c2", {"action": "unsubscribe", "space": "site:main"})
    many = {f"facet{n}": f"{n}" * 9 for n in range(8)}
    world.beat("s1", visitorId="v1", facets=many)
    for number in range(40):
        words = {name: blake2b(f"{name}{number}".encode()).hexdigest()[:40] for name in many}
        world.beat(f"t{number}", facets=words)
    world.settle()
    world.services("socket").subscriptions.add("site:main", "c3", now=world.clock())
    world.clock.advance(20)
    world.line.go("c1")
    world.beat("s1", visitorId="v1", userId="u1")
    world.beat("s1", visitorId="v1", userId="u2")
    world.beat("s1", visitorId="v1", userId="u3")
    world.settle()
    world.get("/v1/spaces", token=world.admin)
    for tail in ("", "/viewers", "/explain", "/timeline", "/days"):
        world.get(f"/v1/spaces/site:main{tail}", token=world.admin)
    world.disconnect("c2")
    world.sweep()
    world.beat("w1")
    world.filtered("count")  # lost: the cleanup recounts
    world.sweep()
    world.leave("s1")
    world.filtered("count")  # lost: the cleanup records the end when it bins the row
    world.redeploy(InlineFanout="200")
    world.line.go("c3")
    world.clock.advance(91 * 60)  # no chunk of before is under way any more
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
    live_through_a_container(world)
    live_through_feeds(world)
    live_through_moderation(world)
    live_through_an_erasure(world)
    live_through_presence_sockets(world)


def live_through_silence(world: World) -> None:
    """A dashboard that does not answer, in a small audience and in a large one."""
    for limit in ("200", "0"):
        world.redeploy(InlineFanout=limit)
        world.subscribe(f"silent{limit}", "link:silent")
        world.line.hang(f"silent{limit}")
        world.beat(f"s{limit}", "link:silent")
        world.count(world.filtered("count"))
        world.publish(world.filtered("publish"))
        world.fan_out()
        world.line.hanging.clear()
        world.clock.advance(2)
        world.settle()


def live_through_pieces(world: World) -> None:
    """The table is large: it is swept in segments, and a day is left to the cleanup."""
    body = {"text": "hello", "seconds": 30}
    world.http("POST", "/v1/spaces/site:main/messages", body=body, token=world.admin)
    world.beat("large")
    world.settle()
    world.clock.advance(60)
    services: Any = world.services("cleanup")
    services.sweeper = replace(services.sweeper, rows_at_once=1)
    world.sweep()
    world.run_pieces()
    services.piece_queue.aggregate(day_of(world.clock() - DAY), ["site:main"])
    world.run_pieces()


def live_through_events(world: World) -> None:
    """What happened is told, some of it twice, and somebody follows it."""
    changes = world.changes()
    for batch in (changes[:50], changes[50:100], changes[:50]):
        world.invoke("events", {"Records": batch})
    world.get("/v1/spaces/site:main/snapshot", token=world.admin)


def live_through_presence_sockets(world: World) -> None:
    """A viewer joins by connection, beats, becomes another person in another shard, and leaves."""
    for number in range(4):
        world.attend(f"p{number}", f"p{number}", visitorId=f"v{number}", page="/", seq=1)
        world.tell(f"p{number}", visitorId=f"v{number}", page="/", seq=2)
        world.clock.advance(2)
        world.tell(f"p{number}", visitorId=f"v{number}", userId=f"u{number}", seq=3)
        world.hang_up(f"p{number}")
    world.settle()


def live_through_an_erasure(world: World) -> None:
    """Of somebody who is here, was here in another's session, was removed, and is an admin."""
    admin = world.token(headcount="admin", sub="u7")
    world.beat("e1", userId="u7")
    world.beat("e2", userId="u7")
    world.beat("e2", userId="u8")
    for user in ("u7", "u9"):
        body = {"userId": user}
        world.http("POST", "/v1/spaces/course:c1/removals", body=body, token=admin)
    world.attend("e3", "e3", token=world.token(sub="u7"))
    world.settle()
    asked = world.http("POST", "/v1/erasures", body={"userId": "u7"}, token=world.admin)
    while world.queue.erasures:
        wait, text = world.queue.erasures.pop(0)
        world.clock.advance(wait)
        world.invoke("erase", {"Records": [{"body": text}]})
    world.get(f"/v1/erasures/{asked.body['id']}", token=world.admin)


def live_through_moderation(world: World) -> None:
    """An admin says everything there is to say, and the night forgets what ran out."""
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


def live_through_feeds(world: World) -> None:
    """Each feed is opened, heard, asked again, and goes away."""
    world.beat("v9", "stream:st1")
    world.settle()
    paths = {
        "f1": "/api/ws/streams/st1/metrics",
        "f2": "/api/ws/analytics/realtime",
        "f3": f"/api/ws/container/{'0' * 32}",
    }
    for connection, path in paths.items():
        world.connect(connection, path=path)
        world.run_errands()
        world.say(connection, "still here")
    world.settle()
    for connection, path in paths.items():
        world.connect(connection, path=path)
        world.line.go(connection)
    world.run_errands()


def live_through_a_container(world: World) -> None:
    """What makes the functions of containers call everything they may."""
    container = launch(world)
    listen(world, container, "c4")
    changed(world, world.ecs.change(container, "RUNNING"))
    world.line.go("c4")
    changed(world, world.ecs.change(container, "STOPPED"))
    world.ecs.tasks.clear()
    call(world, "GET", f"status/{container}")


def join_a_large_space(world: World) -> None:
    """A join that is not counted at once: an errand does so when the space's shard is due."""
    counts = world.services("count").counts
    for count in counts.space("site:main").shards:
        at = world.clock()
        counts.save(replace(count, version=count.version + 1, rows=1_000, counted_at=at))
    world.beat("large")
    world.settle()


def measure_streams(world: World) -> None:
    """A stream is registered, moves to another channel, is watched, and reported of."""
    analytics = "/api/v1/analytics/streams/st1"
    for channel in ("ch1", "ch2"):
        stream = {"id": "st1", "channelId": channel}
        world.http("POST", "/api/streams", body=stream, token=world.admin)
    world.beat("v1", "stream:st1")
    world.http("POST", f"{analytics}/events", body={"type": "chat"})
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
    unread = set(given) - read - {"AWS_ENDPOINT_URL", "POWERTOOLS_LOG_LEVEL", "SOCKET_URL"}
    assert not unread


SERVICES = {
    "api": [
        "desk",
        "reader",
        "verifier",
        "headcounts",
        "counts",
        "history",
        "streams",
        "moderator",
        "explainer",
    ],
    "socket": ["switchboard", "verifier", "desk"],
    "count": ["counter"],
    "publish": ["publisher"],
    "fanout": ["courier"],
    "errands": ["runner"],
    "erase": ["eraser"],
    "cleanup": ["sweeper"],
    "daily": ["aggregator"],
    "containers": ["launcher", "verifier"],
    "container_changes": ["announcer"],
    "events": ["emitter"],
    "webhook": ["messenger"],
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
def test_what_a_stream_gives_up_is_kept(function: str) -> None:
    (source,) = T.events(function, "DynamoDB")
    assert source["DestinationConfig"]["OnFailure"]["Destination"] == "DeadLetters.Arn"
    assert ("sqs:SendMessage", "DeadLetters.Arn") in set(grants(function))
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
    ("event", "wakes"),
    [
        (CHANGE, True),
        (CHANGE | {"source": "aws.ec2"}, False),
        (CHANGE | {"detail-type": "ECS Container Instance State Change"}, False),
        (CHANGE | {"detail": CHANGE["detail"] | {"clusterArn": "arn:other/live"}}, False),
        (CHANGE | {"detail": CHANGE["detail"] | {"startedBy": "ecs-svc/1"}}, False),
        (CHANGE | {"detail": {"clusterArn": CHANGE["detail"]["clusterArn"]}}, False),
    ],
    ids=["ours", "source", "instance", "another cluster", "a service's", "nobody's"],
)
def test_changes_of_our_containers_wake_container_changes_and_nothing_else(
    event: Any, *, wakes: bool
) -> None:
    (rule,) = T.events("container_changes", "EventBridgeRule", **CONTAINERS)
    assert matches(event, rule["Pattern"]) is wakes


def test_the_rule_and_its_function_are_there_only_with_a_cluster() -> None:
    made = {
        name: resource
        for name, resource in translated()["Resources"].items()
        if name.startswith("ContainerChanges")
    }
    assert {resource["Condition"] for resource in made.values()} == {"HasContainerCluster"}
    assert sorted(resource["Type"] for resource in made.values()) == [
        "AWS::Events::Rule",
        "AWS::IAM::Role",
        "AWS::Lambda::Function",
        "AWS::Lambda::Permission",
        "AWS::Logs::LogGroup",
    ]


def test_a_change_that_is_given_up_is_kept() -> None:
    function = T.resolve(T.functions["container_changes"])
    assert function["DeadLetterQueue"]["TargetArn"] == "DeadLetters.Arn"
    assert ("sqs:SendMessage", "DeadLetters.Arn") in set(grants("container_changes"))


@pytest.mark.parametrize("function", ["cleanup", "daily"])
def test_what_a_schedule_gives_up_is_kept(function: str) -> None:
    assert T.resolve(T.functions[function]["DeadLetterQueue"])["TargetArn"] == "DeadLetters.Arn"
    (schedule,) = T.events(function, "ScheduleV2")
    assert schedule["DeadLetterConfig"]["Arn"] == "DeadLetters.Arn"


def test_chunks_that_are_given_up_are_kept() -> None:
    queue = T.resolve(T.resources["FanoutQueue"]["Properties"])
    assert queue["RedrivePolicy"]["deadLetterTargetArn"] == "FanoutDeadLetters.Arn"
    assert queue["DeduplicationScope"] == "messageGroup"
    assert queue["VisibilityTimeout"] >= 6 * T.functions["fanout"]["Timeout"]
    (source,) = T.events("fanout", "SQS")
    assert source["FunctionResponseTypes"] == ["ReportBatchItemFailures"]


def test_closings_are_tried_until_an_incident_is_over_and_those_given_up_are_kept() -> None:
    queue = T.resolve(T.resources["ClosingQueue"]["Properties"])
    assert queue["RedrivePolicy"]["deadLetterTargetArn"] == "DeadLetters.Arn"
    assert queue["VisibilityTimeout"] >= 6 * T.functions["errands"]["Timeout"]
    tries = queue["VisibilityTimeout"] * queue["RedrivePolicy"]["maxReceiveCount"]
    assert 1800 <= tries < queue["MessageRetentionPeriod"]


def test_the_schedules_are_every_minute_and_one_in_the_night() -> None:
    (minute,) = T.events("cleanup", "ScheduleV2")
    (night,) = T.events("daily", "ScheduleV2")
    assert minute["ScheduleExpression"] == "rate(1 minute)"
    assert night["ScheduleExpression"] == "cron(0 1 * * ? *)"
    assert night["ScheduleExpressionTimezone"] == "UTC"


@pytest.mark.parametrize(
    ("session", "wakes"),
    [
        (here(write=Write.JOIN), True),
        (here(write=Write.CHANGE), True),
        (gone(), True),
        (here(write=Write.BEAT), False),
        (gone(write=Write.GONE), False),
    ],
    ids=["join", "change", "leave", "beat", "gone"],
)
def test_joins_changes_and_leaves_wake_count_and_nothing_else(session: Any, *, wakes: bool) -> None:
    (source,) = T.events("count", "DynamoDB")
    record = {"eventName": "MODIFY", "dynamodb": {"NewImage": to_item(session)}}
    assert passes(record, patterns_of(source)) is wakes


def test_deleted_rows_wake_nobody() -> None:
    gone_row = {"eventName": "REMOVE", "dynamodb": {"Keys": {"part": {"S": "shard#0"}}}}
    for function in ("count", "publish"):
        (source,) = T.events(function, "DynamoDB")
        assert not passes(gone_row, patterns_of(source))


@pytest.mark.parametrize(
    ("part", "wakes"),
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
def test_numbers_wake_publish_and_views_do_not(part: str, *, wakes: bool) -> None:
    (source,) = T.events("publish", "DynamoDB")
    record = {"eventName": "MODIFY", "dynamodb": {"Keys": {"part": {"S": part}}}}
    assert passes(record, patterns_of(source)) is wakes


@pytest.mark.parametrize(
    "part", [f"{keys.Counts.ALERT}rule", keys.Counts.NOTICE, f"{keys.Counts.DENIED}{'0' * 16}"]
)
def test_what_an_admin_takes_back_wakes_publish_too(part: str) -> None:
    (source,) = T.events("publish", "DynamoDB")
    record = {"eventName": "REMOVE", "dynamodb": {"Keys": {"part": {"S": part}}}}
    assert passes(record, patterns_of(source))


def test_only_errands_may_say_alerts_and_only_to_the_topic_that_was_named() -> None:
    topic = "arn:aws:sns:us-east-1:123456789012:alerts"
    for function in FUNCTIONS:
        may = [one for one in grants(function, AlertTopic=topic) if one[0].startswith("sns:")]
        assert may == ([("sns:Publish", topic)] if function == "errands" else [])
        assert not [one for one in grants(function, AlertTopic="") if one[0].startswith("sns:")]


def test_no_stream_function_may_write_to_the_table_it_reads() -> None:
    writes = {f"dynamodb:{kind}Item" for kind in ("Put", "Update", "Delete", "BatchWrite")}
    for function in FUNCTIONS:
        for source in T.events(function, "DynamoDB"):
            table = source["Stream"].removesuffix(".StreamArn")
            assert not [one for one in grants(function) if one[0] in writes and table in one[1]]


# ------------------------------------------------------------------------------- events for others


def test_only_events_may_put_events_and_only_on_the_bus_that_was_named() -> None:
    arn = "arn:aws:events:us-east-1:123456789012:event-bus/partners"
    for function in FUNCTIONS:
        may = [one for one in grants(function, EventBus="partners") if "events:" in one[0]]
        assert may == ([("events:PutEvents", arn)] if function == "events" else [])


def test_without_a_bus_there_is_no_function_no_stream_and_no_secret() -> None:
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
def test_with_a_bus_the_tables_that_it_hears_of_have_streams(role: str, view: str) -> None:
    spec = T.resolve(T.tables[role], **EVENTS)
    assert spec["StreamSpecification"] == {"StreamViewType": view}


def test_what_the_bus_does_not_take_is_tried_for_as_long_as_streams_keep_it() -> None:
    for source in T.events("events", "DynamoDB"):
        assert source["MaximumRecordAgeInSeconds"] == 86_400
        assert source["FunctionResponseTypes"] == ["ReportBatchItemFailures"]
        assert source["ParallelizationFactor"] == 1
        assert source["DestinationConfig"]["OnFailure"]["Destination"] == "DeadLetters.Arn"
    assert ("sqs:SendMessage", "DeadLetters.Arn") in set(grants("events"))


@pytest.mark.parametrize(
    ("news", "wakes"),
    [
        ([{"type": "alert", "alert": {}}], True),
        ([{"type": "alert", "alert": {}}, {"type": "notice", "notice": None}], True),
        ([{"type": "notice", "notice": None}], False),
        ([], False),
    ],
    ids=["alert", "alert and message", "message", "nothing"],
)
def test_versions_that_set_off_an_alert_wake_events_and_no_others(
    news: list[Any], *, wakes: bool
) -> None:
    _, source, _ = T.events("events", "DynamoDB")
    image = {"news": {"S": json.dumps(news, separators=(",", ":"))}} if news else {}
    record = {"eventName": "MODIFY", "dynamodb": {"NewImage": image}}
    assert passes(record, patterns_of(source)) is wakes


@pytest.mark.parametrize(
    ("key", "name", "wakes"),
    [
        (f"{keys.History.DAY}2026-11-21", "INSERT", True),
        (f"{keys.History.DAY}2026-11-21", "MODIFY", True),
        (f"{keys.History.DAY}2026-11-21", "REMOVE", False),
        (f"{keys.History.MINUTE}2026-11-21T12:00:00.000Z", "INSERT", False),
        (f"{keys.History.AUDIT}2026-11-21T12:00:00.000Z#1", "INSERT", False),
    ],
)
def test_days_wake_events_and_no_other_history(key: str, name: str, *, wakes: bool) -> None:
    *_, source = T.events("events", "DynamoDB")
    record = {"eventName": name, "dynamodb": {"Keys": {"at": {"S": key}}}}
    assert passes(record, patterns_of(source)) is wakes


def test_webhooks_are_of_this_stacks_events_alone_and_nobody_else_writes_to_their_queue() -> None:
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
def test_a_webhook_goes_by_https_or_stays_on_this_machine(url: str, *, fits: bool) -> None:
    assert bool(re.search(T.parameters["WebhookUrl"]["AllowedPattern"], url)) is fits


def test_a_webhook_is_tried_for_most_of_a_day_and_then_kept() -> None:
    queue = T.resolve(QUEUES["WebhookQueue"])
    assert queue["RedrivePolicy"]["deadLetterTargetArn"] == "WebhookDeadLetters.Arn"
    tries = queue["RedrivePolicy"]["maxReceiveCount"]
    waited = sum(map(wait_after, range(1, tries)))
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
    assert "GlobalSecondaryIndexes" not in T.tables["presence"]
    assert "LocalSecondaryIndexes" not in T.tables["presence"]


@pytest.mark.parametrize("role", sorted(T.tables))
def test_rows_that_grow_old_are_binned_by_the_codes_attribute(role: str) -> None:
    ttl = T.tables[role]["TimeToLiveSpecification"]
    assert ttl == {"AttributeName": keys.TTL, "Enabled": True}


@pytest.mark.parametrize("part", [keys.count_part(0), keys.Counts.ENGAGEMENT, keys.Counts.VIEWS])
def test_numbers_that_go_to_the_bin_wake_nobody(part: str) -> None:
    """DynamoDB's own deletes are in the stream too; a forgotten space is not published again."""
    (source,) = T.events("publish", "DynamoDB")
    record = {"eventName": "REMOVE", "dynamodb": {"Keys": {"part": {"S": part}}}}
    assert not passes(record, patterns_of(source))


# ------------------------------------------------------------------------- encryption and transport

KEY = "arn:aws:kms:us-east-1:123456789012:key/0a1b"
QUEUES = T.of_type("AWS::SQS::Queue")
UNKEYED = {"DeadLetters.Arn", "WebhookQueue.Arn", "WebhookDeadLetters.Arn"}
"""Queues of whoever could not use the key: roles that SAM makes, and EventBridge."""


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
    said = T.resolve(QUEUES[queue])
    assert said["SqsManagedSseEnabled"] is True
    assert "KmsMasterKeyId" not in said
    keyed = T.resolve(QUEUES[queue], KmsKey=KEY)
    if f"{queue}.Arn" in UNKEYED:
        assert keyed == said
    else:
        assert keyed["KmsMasterKeyId"] == KEY
        assert "SqsManagedSseEnabled" not in keyed  # SQS takes one of the two


def test_the_made_secret_is_encrypted_by_the_named_key() -> None:
    for name in ("MadeTokenSecret", "MadeWebhookSecret"):
        secret = T.resources[name]["Properties"]
        assert T.resolve(secret, KmsKey=KEY)["KmsKeyId"] == KEY
        assert "KmsKeyId" not in T.resolve(secret)


@pytest.mark.parametrize("function", FUNCTIONS)
def test_a_function_may_use_the_key_for_what_it_calls_and_no_other(function: str) -> None:
    assert not [one for one, _ in grants(function, KmsKey="") if one.startswith("kms:")]
    said = statements(function, KmsKey=KEY, **EVERYTHING)
    found = [one for one in said if one["Action"][0].startswith("kms:")]
    called = {
        action.partition(":")[0]
        for one in said
        for action in one["Action"]
        for resource in one["Resource"]
        if resource not in UNKEYED
    } & {"dynamodb", "sqs", "secretsmanager"}
    if not called:
        assert found == []
        return
    (one,) = found
    sends = any(
        "sqs:SendMessage" in other["Action"] and other["Resource"] != ["DeadLetters.Arn"]
        for other in said
    )
    assert one["Action"] == ["kms:Decrypt", *(["kms:GenerateDataKey"] if sends else [])]
    assert one["Resource"] == [KEY]
    via = one["Condition"]["StringEquals"]["kms:ViaService"]
    assert set(via) == {f"{service}.us-east-1.amazonaws.com" for service in called}


def test_queues_take_no_calls_without_tls() -> None:
    policies = [T.resolve(one) for one in T.of_type("AWS::SQS::QueuePolicy").values()]
    assert sorted(queue for said in policies for queue in said["Queues"]) == sorted(QUEUES)
    for said in policies:
        statement = said["PolicyDocument"]["Statement"][0]
        assert (statement["Effect"], statement["Principal"]) == ("Deny", "*")
        assert (statement["Action"], statement["Resource"]) == ("sqs:*", "*")
        assert statement["Condition"] == {"Bool": {"aws:SecureTransport": "false"}}


def test_what_is_kept_is_backed_up_where_that_is_wanted() -> None:
    wanted = {
        role: T.resolve(spec, PointInTimeRecovery="true").get("PointInTimeRecoverySpecification")
        for role, spec in T.tables.items()
    }
    on = {"PointInTimeRecoveryEnabled": "true"}
    # Sessions and subscriptions are of this moment: a backup would only keep them longer.
    of_this_moment = {"presence", "subscriptions"}
    assert wanted == {role: None if role in of_this_moment else on for role in T.tables}


def test_only_erase_may_look_at_every_row_of_who_was_where() -> None:
    for role in ("Visits", "History", "Counts", "Subscriptions"):
        table = f"{role}Table.Arn"
        scanning = [name for name in FUNCTIONS if ("dynamodb:Scan", table) in set(grants(name))]
        assert scanning == ["erase"], table


def test_an_erasure_outlives_an_outage_and_what_is_given_up_is_kept() -> None:
    queue = T.resolve(QUEUES["ErasureQueue"])
    assert queue["RedrivePolicy"]["deadLetterTargetArn"] == "DeadLetters.Arn"
    assert queue["VisibilityTimeout"] >= 6 * T.functions["erase"]["Timeout"]
    tries = queue["VisibilityTimeout"] * queue["RedrivePolicy"]["maxReceiveCount"]
    assert queue["MessageRetentionPeriod"] > tries
    (source,) = T.events("erase", "SQS")
    assert source["BatchSize"] == 1


# --------------------------------------------------------------------------- parameters and outputs


def test_every_parameter_is_described_has_a_default_and_stands_in_one_group() -> None:
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


def test_the_outputs_are_what_the_local_stack_and_people_need() -> None:
    assert set(T.outputs) >= OUTPUTS
    assert (
        T.outputs["SocketStage"]["Value"] == T.resources["SocketStage"]["Properties"]["StageName"]
    )


def test_a_secret_is_made_only_where_nothing_else_was_given() -> None:
    made = T.environment("api")["TOKEN_SECRET"]
    given = T.environment("api", TokenSecret="arn:aws:secretsmanager:us-east-1:1:secret:mine")
    by_keys = T.environment("api", JwksUrl="https://issuer.example.test/jwks.json")
    assert made == "MadeTokenSecret"
    assert given["TOKEN_SECRET"].endswith("secret:mine")
    assert by_keys["TOKEN_SECRET"] == ""


def test_alarms_are_silent_without_a_topic_and_speak_with_one() -> None:
    for properties in T.of_type("AWS::CloudWatch::Alarm").values():
        assert "AlarmActions" not in T.resolve(properties)
        assert T.resolve(properties, AlarmTopic="arn:t")["AlarmActions"] == ["arn:t"]
        assert properties["AlarmDescription"].strip()


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
    assert kinds.count("AWS::Scheduler::Schedule") == 2
    assert kinds.count("AWS::Events::Rule") == 2
