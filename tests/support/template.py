"""template.yaml as the tests read it: parsed, and resolved for given parameters."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any
from unittest import mock

import yaml

ROOT = Path(__file__).resolve().parents[2]
NO_VALUE = object()
_PSEUDO = {
    "AWS::NoValue": NO_VALUE,
    "AWS::Region": "us-east-1",
    "AWS::AccountId": "123456789012",
    "AWS::Partition": "aws",
    "AWS::URLSuffix": "amazonaws.com",
    "AWS::StackName": "headcount",
}


class _Loader(yaml.SafeLoader):
    """YAML with CloudFormation's short forms."""


def _construct(loader: _Loader, tag: str, node: yaml.Node) -> Any:
    if isinstance(node, yaml.ScalarNode):
        value: Any = loader.construct_scalar(node)
    elif isinstance(node, yaml.SequenceNode):
        value = loader.construct_sequence(node, deep=True)
    else:
        assert isinstance(node, yaml.MappingNode)
        value = loader.construct_mapping(node, deep=True)
    if tag == "GetAtt" and isinstance(value, str):
        value = value.split(".", 1)
    return {tag if tag in {"Ref", "Condition"} else f"Fn::{tag}": value}


_Loader.add_multi_constructor("!", _construct)


@cache
def template() -> Template:
    """The project's template."""
    return Template(load((ROOT / "template.yaml").read_text()))


def load(text: str) -> dict[str, Any]:
    """A template's text, short forms as long ones."""
    document = yaml.load(text, _Loader)  # noqa: S506 - the loader is a SafeLoader
    assert isinstance(document, dict)
    return document


def translated() -> dict[str, Any]:
    """The project's template as SAM hands it to CloudFormation."""
    from samtranslator.translator.transform import transform

    class NoManagedPolicies:
        def load(self) -> dict[str, str]:
            return {}

    document = json.loads(json.dumps(load((ROOT / "template.yaml").read_text())))
    uploaded = {"CodeUri": "s3://bucket/code", "ContentUri": "s3://bucket/code"}
    for resource in document["Resources"].values():
        properties = resource.get("Properties", {})
        properties.update({key: uri for key, uri in uploaded.items() if key in properties})
    with mock.patch.dict(os.environ, AWS_DEFAULT_REGION="us-east-1"):
        done: dict[str, Any] = transform(document, {}, NoManagedPolicies())
    return done


class Template:
    """A parsed template."""

    def __init__(self, document: dict[str, Any]) -> None:
        self.document = document
        self.resources: dict[str, Any] = document["Resources"]
        self.parameters: dict[str, Any] = document["Parameters"]
        self.outputs: dict[str, Any] = document["Outputs"]

    @property
    def defaults(self) -> dict[str, str]:
        """Every parameter's default, as CloudFormation passes it on: as text."""
        return {name: str(spec["Default"]) for name, spec in self.parameters.items()}

    def of_type(self, kind: str) -> dict[str, Any]:
        """Logical id -> properties of the resources of a type."""
        return {
            name: resource.get("Properties", {})
            for name, resource in self.resources.items()
            if resource["Type"] == kind
        }

    @property
    def tables(self) -> dict[str, Any]:
        """Role (``presence``, ``counts``, ...) -> a table's properties."""
        return {
            name.removesuffix("Table").lower(): properties
            for name, properties in self.of_type("AWS::DynamoDB::Table").items()
        }

    @property
    def functions(self) -> dict[str, Any]:
        """Folder (``api``, ``count``, ...) -> a function's properties."""
        return {
            Path(properties["CodeUri"]).name: properties
            for properties in self.of_type("AWS::Serverless::Function").values()
        }

    def environment(self, function: str, **parameters: str) -> dict[str, str]:
        """A function's environment; tables and queues come out as their logical ids."""
        shared = self.document["Globals"]["Function"]["Environment"]["Variables"]
        own = self.functions[function].get("Environment", {}).get("Variables", {})
        resolved = self.resolve({**shared, **own}, **parameters)
        return {name: str(value) for name, value in resolved.items()}

    def events(self, function: str, kind: str, **parameters: str) -> list[Any]:
        """The properties of a function's events of a type, resolved."""
        return [
            self.resolve(event["Properties"], **parameters)
            for event in self.functions[function].get("Events", {}).values()
            if event["Type"] == kind
        ]

    def resolve(self, value: Any, **parameters: str) -> Any:
        """A value with its intrinsic functions worked out: resources become ``Id`` or ``Id.Att``"""
        return _Resolver(self, {**self.defaults, **parameters}).resolve(value)

    def holds(self, condition: Any, **parameters: str) -> bool:
        """Whether a condition holds."""
        return _Resolver(self, {**self.defaults, **parameters}).holds(condition)

    def statements(self, role: str) -> Iterator[dict[str, Any]]:
        """The policy statements of a role resource, unresolved."""
        for policy in self.resources[role]["Properties"]["Policies"]:
            yield from policy["PolicyDocument"]["Statement"]


class _Resolver:
    def __init__(self, of: Template, parameters: Mapping[str, str]) -> None:
        self._conditions = of.document.get("Conditions", {})
        self._mappings = of.document.get("Mappings", {})
        self._parameters = parameters

    def resolve(self, value: Any) -> Any:
        if isinstance(value, list):
            return [one for one in map(self.resolve, value) if one is not NO_VALUE]
        if not isinstance(value, dict):
            return value
        if len(value) == 1:
            ((name, inner),) = value.items()
            function: Callable[[Any], Any] | None = {
                "Ref": self._ref,
                "Fn::GetAtt": ".".join,
                "Fn::Sub": self._sub,
                "Fn::If": self._if,
                "Fn::FindInMap": self._find,
            }.get(name)
            if function is not None:
                return function(inner)
        resolved = {key: self.resolve(one) for key, one in value.items()}
        return {key: one for key, one in resolved.items() if one is not NO_VALUE}

    def _ref(self, name: str) -> Any:
        return self._parameters.get(name, _PSEUDO.get(name, name))

    def _sub(self, what: str | list[Any]) -> str:
        text, own = (what, {}) if isinstance(what, str) else (what[0], self.resolve(what[1]))
        names = {name: str(value) for name, value in own.items()}
        return re.sub(
            r"\$\{([^}]+)\}", lambda match: names.get(match[1], str(self._ref(match[1]))), text
        )

    def _find(self, path: list[str]) -> Any:
        found: Any = self._mappings
        for name in path:
            found = found[name]
        return found

    def _if(self, parts: list[Any]) -> Any:
        name, yes, no = parts
        return self.resolve(yes if self.holds({"Condition": name}) else no)

    def holds(self, condition: Any) -> bool:
        """Whether a condition holds."""
        ((name, inner),) = condition.items()
        match name:
            case "Condition":
                return self.holds(self._conditions[inner])
            case "Fn::Not":
                return not self.holds(inner[0])
            case "Fn::And":
                return all(map(self.holds, inner))
            case "Fn::Or":
                return any(map(self.holds, inner))
            case "Fn::Equals":
                return bool(self.resolve(inner[0]) == self.resolve(inner[1]))
        raise ValueError(f"unknown condition {name}")
