"""template.yaml's alarms, dashboard, saved query and traces, beside what the functions say."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from copy import deepcopy
from typing import Any

import pytest
from headcount.fanning import OVERDUE
from headcount.metrics import DIMENSION, METRICS, NAMESPACE
from headcount.times import SECOND
from jsonschema import Draft202012Validator, ValidationError

from tests.support.cloudwatch import DASHBOARD, Point, state_of
from tests.support.emf import lines
from tests.support.engines import Engine
from tests.support.template import ROOT, template
from tests.support.world import World, world_on

T = template()
ALARMS = T.of_type("AWS::CloudWatch::Alarm")
ON_AWSS_OWN = sorted(name for name, one in ALARMS.items() if one["Namespace"] != NAMESPACE)
MINUTE = 60_000
NOW = 30_000_000 * MINUTE

AWSS_OWN = {
    ("AWS/Lambda", "FunctionName"): (
        "AWS::Serverless::Function",
        {"Errors", "Throttles", "Duration", "Invocations", "IteratorAge"},
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
"""What AWS itself says, by what: of these resources, these metrics."""
OF_ONE_API = {"Count": "HttpApi", "4xx": "HttpApi", "5xx": "HttpApi", "MessageCount": "SocketApi"}


def check_said(namespace: str, metric: str, dimensions: list[tuple[str, str]]) -> None:
    """Fail unless this stack, or AWS of one of its resources, says the metric."""
    ((dimension, value),) = dimensions
    if namespace == NAMESPACE:
        assert metric in METRICS
        assert (dimension, value) == (DIMENSION, "headcount")
        return
    kinds, known = AWSS_OWN[namespace, dimension]
    name = value.removesuffix(".QueueName")
    assert metric in known
    assert T.resources[name]["Type"] in kinds
    if namespace == "AWS/ApiGateway":
        assert OF_ONE_API[metric] == name


# ------------------------------------------------------------------------------------------- alarms


@pytest.mark.parametrize("name", sorted(ALARMS))
def test_an_alarm_is_on_a_metric_that_there_is(name: str) -> None:
    alarm = T.resolve(ALARMS[name])
    dimensions = [(one["Name"], one["Value"]) for one in alarm["Dimensions"]]
    check_said(alarm["Namespace"], alarm["MetricName"], dimensions)


@pytest.mark.parametrize("name", sorted(ALARMS))
def test_an_alarm_says_what_it_means_what_to_do_and_where_more_stands(name: str) -> None:
    said = ALARMS[name]["AlarmDescription"]
    assert len(said) <= 1024
    assert re.search(r" docs/troubleshooting[.]md#[a-z-]+$", said.strip())
    assert len(said) > 100


@pytest.mark.parametrize("name", ON_AWSS_OWN)
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
        assert after(*[bad] * (periods - 1)) == "OK"  # one slow minute wakes nobody


def test_a_backlog_is_told_of_well_before_its_dashboards_start_over() -> None:
    alarm = T.resolve(ALARMS["FanoutLagAlarm"])
    assert alarm["Dimensions"] == [{"Name": "QueueName", "Value": "FanoutQueue.QueueName"}]
    told = (alarm["Threshold"] + alarm["EvaluationPeriods"] * alarm["Period"]) * SECOND
    assert told <= OVERDUE / 2


def test_another_stacks_numbers_set_off_no_alarm() -> None:
    alarm = T.resolve(ALARMS["DriftAlarm"])
    drift = Point(NAMESPACE, "Drift", ((DIMENSION, "headcount"),), NOW - 300_000, 1)
    assert state_of(alarm, [drift], NOW) == "ALARM"
    assert state_of(alarm, [drift._replace(dimensions=((DIMENSION, "other"),))], NOW) == "OK"


# ---------------------------------------------------------------------------------------- dashboard


def body() -> dict[str, Any]:
    """The dashboard's body as CloudFormation makes it."""
    said = T.resolve(T.resources["OperatorsDashboard"]["Properties"])["DashboardBody"]
    loaded = json.loads(said)
    assert isinstance(loaded, dict)
    return loaded


def widgets(kind: str) -> Iterator[dict[str, Any]]:
    return (one["properties"] for one in body()["widgets"] if one["type"] == kind)


def test_the_dashboard_is_one_that_cloudwatch_takes() -> None:
    Draft202012Validator.check_schema(DASHBOARD)
    Draft202012Validator(DASHBOARD).validate(body())


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


def test_the_dashboard_names_no_metric_that_nobody_says() -> None:
    shown = [metric for one in widgets("metric") for metric in one["metrics"]]
    assert len(shown) > 40
    for namespace, metric, *rest in shown:
        texts = [text for text in rest if isinstance(text, str)]
        check_said(namespace, metric, list(zip(texts[::2], texts[1::2], strict=True)))


def test_the_dashboard_shows_every_metric_of_our_own_and_every_alarm() -> None:
    shown = {metric[1] for one in widgets("metric") for metric in one["metrics"]}
    assert shown >= METRICS.keys()
    (status,) = widgets("alarm")
    # One that may not be there can't be named.
    always = {name for name in ALARMS if "Condition" not in T.resources[name]}
    assert {one.removesuffix(".Arn") for one in status["alarms"]} == always


def test_every_graph_says_its_unit_of_time_and_its_statistic() -> None:
    for one in widgets("metric"):
        assert one["period"] == 60
        for metric in one["metrics"]:
            own = metric[-1] if isinstance(metric[-1], dict) else {}
            assert "stat" in own or "stat" in one, one["title"]


def test_widgets_stand_side_by_side_and_not_upon_each_other() -> None:
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


def test_a_line_on_a_graph_stands_where_the_alarm_does() -> None:
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
    assert not T.holds({"Condition": "HasDashboard"}, Dashboard="false")


# -------------------------------------------------------------------------------------- saved query


def test_the_saved_query_asks_for_what_the_lines_say(
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
    with world_on(memory, InlineFanout="0") as world:
        live(world)
    said = {name for line in lines(capsys.readouterr().out) for name in line}
    assert asked <= said


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


def test_the_saved_query_reads_the_logs_of_all_that_a_beat_passes() -> None:
    groups = T.resolve(T.resources["WayOfABeat"]["Properties"])["LogGroupNames"]
    passed = ("api", "socket", "count", "errands", "publish", "fanout")
    logs = [T.functions[one]["LoggingConfig"]["LogGroup"]["Ref"] for one in passed]
    assert sorted(groups) == sorted(logs)


# ------------------------------------------------------------------------------------------- traces


def test_tracing_costs_nothing_unless_it_is_asked_for() -> None:
    tracing = T.document["Globals"]["Function"]["Tracing"]
    assert T.resolve(tracing) == "PassThrough"
    assert T.resolve(tracing, Tracing="true") == "Active"
    assert T.resources["TracingPolicy"]["Condition"] == "HasTracing"
    assert not T.holds({"Condition": "HasTracing"})


def test_every_function_may_trace_where_that_is_asked_for() -> None:
    conditional = {"EventBus": "default", "WebhookUrl": "https://example.test"}
    conditional |= {"ContainerCluster": "live"}
    policy = T.resolve(T.resources["TracingPolicy"]["Properties"], Tracing="true", **conditional)
    (statement,) = policy["PolicyDocument"]["Statement"]
    assert statement["Action"] == ["xray:PutTraceSegments", "xray:PutTelemetryRecords"]
    roles = {properties["Role"]["Fn::GetAtt"][0] for properties in T.functions.values()}
    assert set(policy["Roles"]) == roles
    # A role that is not there can't be given a policy.
    few = T.resolve(T.resources["TracingPolicy"]["Properties"], Tracing="true")["Roles"]
    there = {name for name in roles if "Condition" not in T.resources[name]}
    assert set(few) == there


def test_no_function_carries_the_tracers_library() -> None:
    locked = (ROOT / "layers" / "dependencies" / "requirements.txt").read_text()
    assert "xray" not in locked
