"""Errors, throttles, drift and dropped loops, from CloudWatch's metrics."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

from headcount_cli.doctor.deployed import Deployed
from headcount_cli.doctor.findings import Finding, ok, warn

Clock = Callable[[], float]

ACTIONS = ("cloudwatch:GetMetricData",)
DAYS_BACK = 7
"""How long a dropped loop is reported: as long as an erasure may wait in its queue."""
_FIXES = {
    "Errors": "read the function's log; the events it gave up are in the dead-letter queues",
    "Throttles": "raise the account's concurrency, or the function's",
    "Drift": "the numbers were wrong and have been repaired; docs/audit.md says how to find why",
}


class _Metric(NamedTuple):
    subject: str
    namespace: str
    name: str
    dimensions: dict[str, str]


def last_hour(stack: Deployed, now: Clock = time.time) -> Iterator[Finding]:
    """Errors and throttles of the last hour, by function; and drift."""
    name = stack.stack.name
    wanted = [
        *(one for metric in ("Errors", "Throttles") for one in _of_functions(stack, metric)),
        _Metric(name, "Headcount", "Drift", {"Stack": name}),
    ]
    found = False
    for metric, result in _hourly_sums(stack, wanted, now, hours=1):
        if total := sum(result["Values"]):
            found = True
            yield warn(f"{metric.name} in the last hour: {total:,.0f}", _FIXES[metric.name]).about(
                subject=metric.subject
            )
    if not found:
        yield ok("no errors, throttles or drift in the last hour")


def dropped_loops(stack: Deployed, now: Clock = time.time) -> Iterator[Finding]:
    """Functions whose invocations Lambda dropped because they invoked themselves too often."""
    wanted = _of_functions(stack, "RecursiveInvocationsDropped")
    found = False
    for metric, result in _hourly_sums(stack, wanted, now, hours=24 * DAYS_BACK):
        pairs = zip(result["Timestamps"], result["Values"], strict=False)
        dropped = [(at, value) for at, value in pairs if value]
        if not dropped:
            continue
        found = True
        last = max(at for at, _ in dropped).astimezone(UTC)
        yield warn(
            f"Lambda dropped {sum(value for _, value in dropped):,.0f} invocations as a loop "
            f"within {DAYS_BACK} days, the last in the hour from {last:%Y-%m-%d %H:%M} UTC: the "
            "rest of their work was not done",
            "fix its recursion first (above), then run that work again "
            "(docs/troubleshooting.md#stopped-as-a-loop)",
        ).about(subject=metric.subject)
    if not found:
        yield ok(f"no invocations dropped as loops in the last {DAYS_BACK} days")


def _of_functions(stack: Deployed, metric: str) -> list[_Metric]:
    return [
        _Metric(one.id, "AWS/Lambda", metric, {"FunctionName": str(one.name)})
        for one in stack.of_type("AWS::Lambda::Function")
    ]


def _hourly_sums(
    stack: Deployed, wanted: list[_Metric], now: Clock, *, hours: int
) -> list[tuple[_Metric, Any]]:
    """Each metric that has values, with its sums by hour until now."""
    end = datetime.fromtimestamp(now(), UTC)
    queries = [
        {
            "Id": f"m{number}",
            "MetricStat": {
                "Metric": {
                    "Namespace": one.namespace,
                    "MetricName": one.name,
                    "Dimensions": [
                        {"Name": key, "Value": value} for key, value in one.dimensions.items()
                    ],
                },
                "Period": 3600,
                "Stat": "Sum",
            },
        }
        for number, one in enumerate(wanted)
    ]
    answer = stack.stack.client("cloudwatch").get_metric_data(
        StartTime=end - timedelta(hours=hours), EndTime=end, MetricDataQueries=queries
    )
    return [(wanted[int(one["Id"][1:])], one) for one in answer["MetricDataResults"]]
