"""Lines in CloudWatch's embedded metric format, as CloudWatch reads them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from jsonschema import Draft4Validator

_NAME = {"type": "string", "minLength": 1, "maxLength": 1024}
SCHEMA = {
    "type": "object",
    "title": "Root Node",
    "required": ["_aws"],
    "properties": {
        "_aws": {
            "type": "object",
            "title": "Metadata",
            "required": ["Timestamp", "CloudWatchMetrics"],
            "properties": {
                "Timestamp": {"type": "integer", "minimum": 0},
                "CloudWatchMetrics": {
                    "type": "array",
                    "items": {
                        "type": "object",
                        "title": "MetricDirective",
                        "required": ["Namespace", "Dimensions", "Metrics"],
                        "properties": {
                            "Namespace": _NAME,
                            "Dimensions": {
                                "type": "array",
                                "minItems": 1,
                                "items": {
                                    "type": "array",
                                    "minItems": 1,
                                    "maxItems": 30,
                                    "items": {"type": "string", "minLength": 1, "maxLength": 250},
                                },
                            },
                            "Metrics": {
                                "type": "array",
                                "minItems": 1,
                                "maxItems": 100,
                                "items": {
                                    "type": "object",
                                    "required": ["Name"],
                                    "properties": {
                                        "Name": _NAME,
                                        "Unit": {"enum": ["Count", "Milliseconds", "None"]},
                                    },
                                },
                            },
                        },
                    },
                },
            },
        }
    },
}
"""The documented format, with the units that are used here."""


def lines(printed: str) -> list[dict[str, Any]]:
    """Every printed line of JSON."""
    return [json.loads(line) for line in printed.splitlines() if line.startswith("{")]


def metrics(printed: str) -> list[dict[str, Any]]:
    """The lines with metrics, validated: each metric has a number, or up to 100."""
    found = [line for line in lines(printed) if "_aws" in line]
    for line in found:
        Draft4Validator(SCHEMA).validate(line)
        for directive in line["_aws"]["CloudWatchMetrics"]:
            for one in directive["Metrics"]:
                values = _values(line[one["Name"]])
                assert 1 <= len(values) <= 100
                assert all(type(value) is int for value in values)
            for dimensions in directive["Dimensions"]:
                assert all(isinstance(line[name], str) for name in dimensions)
    return found


def points(printed: str) -> Iterator[tuple[str, str, tuple[tuple[str, str], ...], int, int]]:
    """(namespace, metric, dimensions, epoch milliseconds, value) of each metric in the lines."""
    for line in metrics(printed):
        for directive in line["_aws"]["CloudWatchMetrics"]:
            for names in directive["Dimensions"]:
                dimensions = tuple((name, line[name]) for name in names)
                for one in directive["Metrics"]:
                    for value in _values(line[one["Name"]]):
                        yield (
                            *(directive["Namespace"], one["Name"], dimensions),
                            *(line["_aws"]["Timestamp"], value),
                        )


def _values(value: int | list[int]) -> list[int]:
    return value if isinstance(value, list) else [value]
