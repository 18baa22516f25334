"""template.yaml's alarms, dashboard, saved query and traces fit the functions' output."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from copy import deepcopy
from typing import Any

import pytest
from headcount.metrics import DIMENSION, METRICS, NAMESPACE
from headcount.times import SECOND
from headcount.usecases.deliver import OVERDUE
from jsonschema import Draft202012Validator, ValidationError

from lab.harness.consumer import EVENTS
from lab.harness.containers import CONTAINERS
from lab.harness.engines import Engine
from lab.harness.template import ROOT, template
from lab.harness.world import World, world_on
from tests.support.cloudwatch import DASHBOARD, Point, state_of
from tests.support.emf import lines

T = template()
ALARMS = T.of_type("AWS::CloudWatch::Alarm")
ALARMS_ON_AWS_METRICS = sorted(
    name for name, one in ALARMS.items() if one["Namespace"] != NAMESPACE
)
MINUTE = 60_000
NOW = 30_000_000 * MINUTE

AWS_METRICS = {
    ("AWS/Lambda", "FunctionName"): (
        "AWS::Serverless::Function",
        {
            *("Errors", "Throttles", "Duration", "Invocations", "IteratorAge"),
            "RecursiveInvocationsDropped",
        },
    ),
    ("AWS/SQS", "QueueName"): (
        "AWS::SQS::Queue",
        {"ApproximateNumberOfMessagesVisible", "ApproximateAgeOfOldestMessage"},
    ),
    ("AWS/DynamoDB", "TableName"): (
        "AWS::DynamoDB::Table",
        {"ConsumedWriteCapacityUnits", "ConsumedReadCapacityUnits", "WriteThrottleEvents"},
    ),
    ("AWS/ApiGateway", "ApiId"): (
        ("AWS::Serverless::HttpApi", "AWS::ApiGatewayV2::Api"),
        {"Count", "4xx", "5xx", "Latency", "MessageCount", "ConnectCount"},
    ),
}
"""(Namespace, dimension) -> the resource types and the metrics that AWS itself emits."""
OF_ONE_API = {"Count": "HttpApi", "4xx": "HttpApi", "5xx": "HttpApi", "MessageCount": "SocketApi"}


def check_emitted(namespace: str, metric: str, dimensions: list[tuple[str, str]]) -> None:
    """Fail unless this stack, or AWS for one of its resources, emits the metric."""
    ((dimension, value),) = dimensions
    if namespace == NAMESPACE:
        assert metric in METRICS
        assert (dimension, value) == (DIMENSION, "headcount")
        return
    kinds, known = AWS_METRICS[namespace, dimension]
    name = value.removesuffix(".QueueName")
    assert metric in known
    assert T.resources[name]["Type"] in kinds
    if namespace == "AWS/ApiGateway":
        assert OF_ONE_API[metric] == name


# ------------------------------------------------------------------------------------------- alarms


@pytest.mark.parametrize("name", sorted(ALARMS))
def test_an_alarms_metric_exists(name: str) -> None:
    alarm = T.resolve(ALARMS[name])
    dimensions = [(one["Name"], one["Value"]) for one in alarm["Dimensions"]]
    check_emitted(alarm["Namespace"], alarm["MetricName"], dimensions)


@pytest.mark.parametrize("name", sorted(ALARMS))
def test_an_alarm_describes_its_meaning_the_fix_and_a_page(name: str) -> None:
    description = ALARMS[name]["AlarmDescription"]
    assert len(description) <= 1024
    assert re.search(r" docs/troubleshooting[.]md#[a-z-]+$", description.strip())
    assert len(description) > 100


@pytest.mark.parametrize("name", ALARMS_ON_AWS_METRICS)
def test_an_alarm_on_awss_own_metric_goes_off_and_ends(name: str) -> None:
    alarm = T.resolve(ALARMS[name])
    threshold, periods = alarm["Threshold"], alarm["EvaluationPeriods"]

    def after(*values: float | None) -> str:
        """The state after these values, the last in the period that just ended."""
        dimensions = tuple((one["Name"], one["Value"]) for one in alarm["Dimensions"])
        fed = [
            Point(
                *(alarm["Namespace"], alarm["MetricName"], dimensions),
                *(NOW - (back + 1) * alarm["Period"] * 1000, value),
            )
            for back, value in enumerate(reversed(values))
            if value is not None
        ]
        return state_of(alarm, fed, NOW)

    bad, good = threshold + 1, threshold
    assert after(*[bad] * periods) == "ALARM"
    assert after(*[good] * periods) == "OK"
    assert after(*[bad] * periods, good) == "OK"
    assert after(*[bad] * periods, None) == "OK"
    assert after() == "OK"
    if periods > 1:
        assert after(*[bad] * (periods - 1)) == "OK"  # one slow minute sets off no alarm


def test_the_backlog_alarm_goes_off_well_before_dashboards_reconnect() -> None:
    alarm = T.resolve(ALARMS["FanoutLagAlarm"])
    assert alarm["Dimensions"] == [{"Name": "QueueName", "Value": "FanoutQueue.QueueName"}]
    alarmed = (alarm["Threshold"] + alarm["EvaluationPeriods"] * alarm["Period"]) * SECOND
    assert alarmed <= OVERDUE / 2


def test_another_stacks_metrics_set_off_no_alarm() -> None:
    alarm = T.resolve(ALARMS["DriftAlarm"])
    drift = Point(NAMESPACE, "Drift", ((DIMENSION, "headcount"),), NOW - 300_000, 1)
    assert state_of(alarm, [drift], NOW) == "ALARM"
    assert state_of(alarm, [drift._replace(dimensions=((DIMENSION, "other"),))], NOW) == "OK"


# ---------------------------------------------------------------------------------------- dashboard


EVERYTHING = {**CONTAINERS, **EVENTS, "Settings": "budget=25"}
"""The parameters that turn on every function."""


def body(**parameters: str) -> dict[str, Any]:
    """The dashboard's body as CloudFormation renders it, with each metric in full."""
    properties = T.resources["OperatorsDashboard"]["Properties"]
    loaded = json.loads(T.resolve(properties, **parameters)["DashboardBody"])
    assert isinstance(loaded, dict)
    for widget in loaded["widgets"]:
        if widget["type"] == "metric":
            widget["properties"]["metrics"] = list(in_full(widget["properties"]["metrics"]))
    return loaded


def in_full(metrics: list[list[Any]]) -> Iterator[list[Any]]:
    """Metrics as CloudWatch reads them: "..." repeats the start of the metric before it."""
    before: list[str] = []
    for first, *rest in metrics:
        texts = [part for part in rest if isinstance(part, str)]
        begins = before[: len(before) - len(texts)] if first == "..." else [first]
        before = [*begins, *texts]
        yield [*begins, *rest]


def widgets(kind: str, **parameters: str) -> Iterator[dict[str, Any]]:
    return (one["properties"] for one in body(**parameters)["widgets"] if one["type"] == kind)


@pytest.mark.parametrize("parameters", [{}, EVERYTHING], ids=["default", "everything"])
def test_cloudwatch_accepts_the_dashboard(parameters: dict[str, str]) -> None:
    Draft202012Validator.check_schema(DASHBOARD)
    Draft202012Validator(DASHBOARD).validate(body(**parameters))


@pytest.mark.parametrize(
    ("where", "name", "value"),
    [
        ("widget", "type", "graph"),
        ("widget", "x", 24),
        ("widget", "colour", "red"),
        ("properties", "view", "timeseries"),
        ("properties", "stat", "Total"),
        ("properties", "period", 61),
        ("properties", "metrics", [["Headcount"]]),
        ("properties", "metrics", [["Headcount", "Joins", {"colour": "red"}]]),
        ("properties", "region", ""),
    ],
)
def test_a_dashboard_that_cloudwatch_refuses_is_noticed(where: str, name: str, value: Any) -> None:
    broken = deepcopy(body())
    widget = next(one for one in broken["widgets"] if one["type"] == "metric")
    (widget if where == "widget" else widget["properties"])[name] = value
    with pytest.raises(ValidationError):
        Draft202012Validator(DASHBOARD).validate(broken)


def test_the_dashboard_names_only_emitted_metrics() -> None:
    shown = [metric for one in widgets("metric", **EVERYTHING) for metric in one["metrics"]]
    assert len(shown) > 40
    for namespace, metric, *rest in shown:
        texts = [text for text in rest if isinstance(text, str)]
        check_emitted(namespace, metric, list(zip(texts[::2], texts[1::2], strict=True)))


def test_the_dashboard_shows_all_our_own_metrics_and_all_alarms() -> None:
    shown = {metric[1] for one in widgets("metric") for metric in one["metrics"]}
    assert shown >= METRICS.keys()
    (status,) = widgets("alarm")
    # An alarm that does not exist must not be named.
    always = {name for name in ALARMS if "Condition" not in T.resources[name]}
    assert {one.removesuffix(".Arn") for one in status["alarms"]} == always
    (status,) = widgets("alarm", **EVERYTHING)
    assert {one.removesuffix(".Arn") for one in status["alarms"]} == ALARMS.keys()


def test_every_graph_names_its_unit_of_time_and_its_statistic() -> None:
    for one in widgets("metric"):
        assert one["period"] == 60
        for metric in one["metrics"]:
            own = metric[-1] if isinstance(metric[-1], dict) else {}
            assert "stat" in own or "stat" in one, one["title"]


def test_widgets_do_not_overlap() -> None:
    taken: set[tuple[int, int]] = set()
    for one in body()["widgets"]:
        assert one["x"] + one["width"] <= 24
        cells = {
            (one["x"] + column, one["y"] + row)
            for column in range(one["width"])
            for row in range(one["height"])
        }
        assert not cells & taken
        taken |= cells


def test_a_line_on_a_graph_is_at_its_alarms_threshold() -> None:
    thresholds = {(one["MetricName"], one["Threshold"]) for one in map(T.resolve, ALARMS.values())}
    drawn = [
        (one["metrics"][0][1], line["value"])
        for one in widgets("metric")
        for line in one.get("annotations", {}).get("horizontal", [])
    ]
    assert len(drawn) == 3
    assert set(drawn) <= thresholds


def test_without_a_dashboard_there_is_none() -> None:
    assert T.resources["OperatorsDashboard"]["Condition"] == "HasDashboard"
    assert T.outputs["OperatorsDashboardUrl"]["Condition"] == "HasDashboard"
    assert T.holds({"Condition": "HasDashboard"})
    assert not T.holds({"Condition": "HasDashboard"}, Settings="dashboard=false")


# ----------------------------------------------------------------------------------- every function

FUNCTIONS = T.of_type("AWS::Serverless::Function")
READERS = sorted(
    name
    for name, one in FUNCTIONS.items()
    if any(event["Type"] == "DynamoDB" for event in one.get("Events", {}).values())
)
DEAD_LETTERS = sorted(name for name in T.of_type("AWS::SQS::Queue") if "DeadLetters" in name)
BACKLOG = "ApproximateNumberOfMessagesVisible"


def shown(metric: str, **parameters: str) -> set[str]:
    """The functions or queues whose metric the dashboard shows, by logical id."""
    return {
        row[3].removesuffix(".QueueName")
        for one in widgets("metric", **parameters)
        for row in one["metrics"]
        if row[1] == metric
    }


def alarms_for(function: str) -> set[tuple[str, str]]:
    """(Metric, resource) of alarms that go off while this function fails."""
    events = FUNCTIONS[function].get("Events", {}).values()
    queues = [one["Properties"]["Queue"] for one in events if one["Type"] == "SQS"]
    found = {("Errors", function)}
    if f"${{{function}.Arn}}" in str(T.resources["HttpApi"]["Properties"]["DefinitionBody"]):
        found.add(("5xx", "HttpApi"))
    if function in READERS:  # a failed batch is retried, and the stream waits
        found.add(("IteratorAge", function))
    found |= {("ApproximateAgeOfOldestMessage", T.resolve(one)) for one in queues}
    return {(metric, of.replace(".Arn", ".QueueName")) for metric, of in found}


@pytest.mark.parametrize("metric", ["Errors", "Throttles", "Duration"])
@pytest.mark.parametrize("function", sorted(FUNCTIONS))
def test_the_dashboard_shows_every_functions_metrics(function: str, metric: str) -> None:
    assert function in shown(metric, **EVERYTHING)
    assert (function in shown(metric)) is ("Condition" not in T.resources[function])


@pytest.mark.parametrize("function", sorted(FUNCTIONS))
def test_an_alarm_goes_off_when_a_function_fails(function: str) -> None:
    on = {
        (one["MetricName"], one["Dimensions"][0]["Value"])
        for one in map(T.resolve, ALARMS.values())
    }
    assert on & alarms_for(function)


@pytest.mark.parametrize("function", READERS)
def test_a_waiting_stream_is_shown_and_sets_off_an_alarm(function: str) -> None:
    assert function in shown("IteratorAge", **EVERYTHING)
    lags = [one for one in map(T.resolve, ALARMS.values()) if one["MetricName"] == "IteratorAge"]
    assert function in {one["Dimensions"][0]["Value"] for one in lags}


@pytest.mark.parametrize("queue", DEAD_LETTERS)
def test_the_dashboard_shows_all_dead_letters(queue: str) -> None:
    assert queue in shown(BACKLOG, **EVERYTHING)


@pytest.mark.parametrize("name", sorted(ALARMS))
def test_an_alarm_exists_exactly_where_its_resource_does(name: str) -> None:
    watched = T.resolve(ALARMS[name])["Dimensions"][0]["Value"].partition(".")[0]
    if watched in T.resources:
        condition = T.resources[watched].get("Condition")
        assert T.resources[name].get("Condition") == condition


# -------------------------------------------------------------------------------------- saved query


def test_the_saved_query_reads_fields_that_the_lines_have(
    memory: Engine, capsys: pytest.CaptureFixture[str]
) -> None:
    query = T.resources["WayOfABeat"]["Properties"]["QueryString"]
    fields = re.search(r"^fields (.+)$", query, re.MULTILINE)
    assert fields is not None
    asked = {one.split(" as ")[0].split(".")[0].strip() for one in fields[1].split(",")} - {
        "@timestamp",
        "level",
        "exception",
    }
    with world_on(memory, Limits="inline-fanout=0") as world:
        live(world)
    logged = {name for line in lines(capsys.readouterr().out) for name in line}
    assert asked <= logged


def live(world: World) -> None:
    """A beat all the way to a dashboard's frame, and a hundred that are only counted."""
    world.subscribe("c1")
    world.beat("s0")
    world.settle()
    for number in range(100):
        world.beat(f"s{number}", seq=2)


PAGE = (ROOT / "docs" / "observability.md").read_text()


def test_the_page_has_the_saved_query_every_metric_and_every_alarm() -> None:
    query = T.resources["WayOfABeat"]["Properties"]["QueryString"]
    assert f"```text\n{query}\n```" in PAGE
    for name in [*METRICS, *ALARMS]:
        assert f"`{name}`" in PAGE


def test_the_saved_query_reads_the_logs_of_every_function_on_a_beats_path() -> None:
    groups = T.resolve(T.resources["WayOfABeat"]["Properties"])["LogGroupNames"]
    passed = ("beat", "api", "socket", "count", "deferred", "publish", "fanout")
    logs = [T.functions[one]["LoggingConfig"]["LogGroup"]["Ref"] for one in passed]
    assert sorted(groups) == sorted(logs)


# ------------------------------------------------------------------------------------------- traces


TRACING = {"Tracing": "true"}


def test_tracing_is_off_by_default() -> None:
    tracing = T.document["Globals"]["Function"]["Tracing"]
    assert T.resolve(tracing) == "PassThrough"
    assert T.resolve(tracing, Tracing="true") == "Active"
    for role in T.of_type("AWS::IAM::Role").values():
        assert "xray:" not in str(T.resolve(role))


def test_no_function_includes_the_tracing_library() -> None:
    locked = (ROOT / "layers" / "dependencies" / "requirements.txt").read_text()
    assert "xray" not in locked
