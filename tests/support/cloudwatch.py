"""CloudWatch as documented: what a dashboard may contain, and when an alarm goes off."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

Dimensions = tuple[tuple[str, str], ...]


class Point(NamedTuple):
    """A value of a metric; ``at`` in epoch milliseconds."""

    namespace: str
    metric: str
    dimensions: Dimensions
    at: int
    value: float


def state_of(alarm: Mapping[str, Any], points: Iterable[Point], now: int) -> str:
    """``OK`` or ``ALARM`` at ``now`` (epoch milliseconds), by the alarm's resolved properties.

    It evaluates the last ``EvaluationPeriods`` whole periods, each by the statistic of its values;
    ``DatapointsToAlarm`` of them (by default all) must breach the threshold. A period without data
    counts as ``TreatMissingData`` says. CloudWatch itself also looks back further for late data.
    """
    period = int(alarm["Period"]) * 1000
    last = now // period  # the current period
    evaluated = range(last - int(alarm["EvaluationPeriods"]), last)
    values: dict[int, list[float]] = defaultdict(list)
    for point in points:
        if is_of(alarm, point):
            values[point.at // period].append(point.value)
    breaching = sum(_breaches(alarm, values.get(number, [])) for number in evaluated)
    needed = int(alarm.get("DatapointsToAlarm", alarm["EvaluationPeriods"]))
    return "ALARM" if breaching >= needed else "OK"


def is_of(alarm: Mapping[str, Any], point: Point) -> bool:
    """Whether an alarm watches this metric."""
    dimensions = tuple((one["Name"], one["Value"]) for one in alarm["Dimensions"])
    watched = (alarm["Namespace"], alarm["MetricName"], dimensions)
    return watched == (point.namespace, point.metric, point.dimensions)


def _breaches(alarm: Mapping[str, Any], values: list[float]) -> bool:
    if not values:
        return {"breaching": True, "notBreaching": False}[str(alarm["TreatMissingData"])]
    value = _statistic(str(alarm.get("Statistic") or alarm["ExtendedStatistic"]), values)
    threshold = float(alarm["Threshold"])
    return {
        "GreaterThanThreshold": value > threshold,
        "GreaterThanOrEqualToThreshold": value >= threshold,
        "LessThanThreshold": value < threshold,
        "LessThanOrEqualToThreshold": value <= threshold,
    }[str(alarm["ComparisonOperator"])]


def _statistic(name: str, values: list[float]) -> float:
    plain = {"Sum": sum, "Maximum": max, "Minimum": min, "SampleCount": len}
    if name in plain:
        return float(plain[name](values))
    if name == "Average":
        return sum(values) / len(values)
    # A percentile by the nearest rank; CloudWatch interpolates, but never beyond the next value.
    rank = math.ceil(float(name.removeprefix("p")) / 100 * len(values))
    return sorted(values)[max(0, rank - 1)]


# --------------------------------------------------------------------------------------- dashboards

_TEXT = {"type": "string", "minLength": 1}
_ARN = {"type": "string", "pattern": "^arn:|[.]Arn$"}
_PERIOD = {"type": "integer", "enum": [1, 5, 10, 30, *range(60, 86_401, 60)]}
_STAT = {
    "type": "string",
    "pattern": "^(SampleCount|Average|Sum|Minimum|Maximum|p(100|[0-9]{1,2}([.][0-9]{1,2})?))$",
}
_AXIS = {
    "type": "object",
    "properties": {
        "min": {"type": "number"},
        "max": {"type": "number"},
        "label": {"type": "string"},
        "showUnits": {"type": "boolean"},
    },
    "additionalProperties": False,
}
_LINE = {
    "type": "object",
    "properties": {
        "value": {"type": "number"},
        "label": {"type": "string"},
        "color": {"type": "string", "pattern": "^#[0-9a-f]{6}$"},
        "fill": {"enum": ["above", "below", "none"]},
        "visible": {"type": "boolean"},
        "yAxis": {"enum": ["left", "right"]},
    },
    "required": ["value"],
    "additionalProperties": False,
}
_RENDERING = {
    "type": "object",
    "properties": {
        "accountId": _TEXT,
        "color": {"type": "string", "pattern": "^#[0-9a-f]{6}$"},
        "expression": _TEXT,
        "id": {"type": "string", "pattern": "^[a-z][A-Za-z0-9_]*$"},
        "label": {"type": "string"},
        "period": _PERIOD,
        "region": _TEXT,
        "stat": _STAT,
        "visible": {"type": "boolean"},
        "yAxis": {"enum": ["left", "right"]},
    },
    "additionalProperties": False,
}
_METRIC = {
    "type": "array",
    # Namespace, metric, then the dimensions' names and values, and how to draw it.
    "minItems": 2,
    "maxItems": 63,
    "prefixItems": [_TEXT, _TEXT],
    "items": {"anyOf": [_TEXT, _RENDERING]},
}
_METRICS = {
    "type": "object",
    "properties": {
        "accountId": _TEXT,
        "annotations": {
            "type": "object",
            "properties": {"horizontal": {"type": "array", "items": _LINE}},
            "additionalProperties": False,
        },
        "legend": {
            "type": "object",
            "properties": {"position": {"enum": ["right", "bottom", "hidden"]}},
            "additionalProperties": False,
        },
        "liveData": {"type": "boolean"},
        "metrics": {"type": "array", "items": _METRIC, "minItems": 1, "maxItems": 500},
        "period": _PERIOD,
        "region": _TEXT,
        "setPeriodToTimeRange": {"type": "boolean"},
        "sparkline": {"type": "boolean"},
        "stacked": {"type": "boolean"},
        "stat": _STAT,
        "timezone": {"type": "string", "pattern": "^[+-][0-9]{4}$"},
        "title": {"type": "string"},
        "view": {"enum": ["timeSeries", "singleValue", "gauge", "bar", "pie", "table"]},
        "yAxis": {
            "type": "object",
            "properties": {"left": _AXIS, "right": _AXIS},
            "additionalProperties": False,
        },
    },
    "required": ["metrics", "region"],
    "additionalProperties": False,
}
_ALARMS = {
    "type": "object",
    "properties": {
        "alarms": {"type": "array", "items": _ARN, "minItems": 1, "maxItems": 100},
        "sortBy": {"enum": ["default", "stateUpdatedTimestamp", "timestamp"]},
        "states": {"type": "array", "items": {"enum": ["ALARM", "INSUFFICIENT_DATA", "OK"]}},
        "title": {"type": "string"},
    },
    "required": ["alarms"],
    "additionalProperties": False,
}
_MARKDOWN = {
    "type": "object",
    "properties": {"markdown": _TEXT, "background": {"enum": ["solid", "transparent"]}},
    "required": ["markdown"],
    "additionalProperties": False,
}
_QUERY = {
    "type": "object",
    "properties": {
        "query": {"type": "string", "pattern": "^SOURCE "},
        "region": _TEXT,
        "stacked": {"type": "boolean"},
        "title": {"type": "string"},
        "view": {"enum": ["table", "timeSeries", "bar", "pie"]},
        "accountId": _TEXT,
    },
    "required": ["query", "region"],
    "additionalProperties": False,
}


def _widget(kind: str, properties: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "if": {"properties": {"type": {"const": kind}}},
        "then": {"properties": {"properties": properties}},
    }


DASHBOARD: dict[str, Any] = {
    "$schema": "https://json-schema.org/draft/2020-12/schema",
    "type": "object",
    "properties": {
        "start": {"type": "string"},
        "end": {"type": "string"},
        "periodOverride": {"enum": ["auto", "inherit"]},
        "widgets": {
            "type": "array",
            "maxItems": 500,
            "items": {
                "type": "object",
                "properties": {
                    "type": {"enum": ["metric", "text", "alarm", "log"]},
                    "x": {"type": "integer", "minimum": 0, "maximum": 23},
                    "y": {"type": "integer", "minimum": 0},
                    "width": {"type": "integer", "minimum": 1, "maximum": 24},
                    "height": {"type": "integer", "minimum": 1, "maximum": 1000},
                    "properties": {"type": "object"},
                },
                "required": ["type", "properties"],
                "additionalProperties": False,
                "allOf": [
                    _widget("metric", _METRICS),
                    _widget("text", _MARKDOWN),
                    _widget("alarm", _ALARMS),
                    _widget("log", _QUERY),
                ],
            },
        },
    },
    "required": ["widgets"],
    "additionalProperties": False,
}
"""The structure of a dashboard's body according to CloudWatch's API reference ("Dashboard Body
Structure and Syntax"), without explorer and custom widgets and metric math, which are not used
here."""
