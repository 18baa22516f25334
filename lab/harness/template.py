"""template.yaml, parsed and resolved for given parameters."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Iterator, Mapping
from functools import cache, cached_property
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
    "AWS::StackId": "arn:aws:cloudformation:us-east-1:123456789012:stack/headcount/"
    "6d5c3b2a-1f0e-4d9c-8b7a-5e4f3c2d1b0a",
}


EMULATED = {"AWS::AccountId": "000000000000"}
"""A pseudo parameter: the account id of every emulator."""


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
    """A parsed template, with short forms turned into long ones."""
    document = yaml.load(text, _Loader)  # noqa: S506 - the loader is a SafeLoader
    assert isinstance(document, dict)
    return document


def translated(parameters: Mapping[str, str] = {}) -> dict[str, Any]:
    """The project's template as SAM passes it to CloudFormation."""
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
        done: dict[str, Any] = transform(document, dict(parameters), NoManagedPolicies())
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
        """Every parameter's default, as text, as CloudFormation passes it."""
        return {name: str(spec["Default"]) for name, spec in self.parameters.items()}

    def of_type(self, kind: str) -> dict[str, Any]:
        """Logical id -> properties of the resources of a type."""
        return {
            name: resource.get("Properties", {})
            for name, resource in self.resources.items()
            if resource["Type"] == kind
        }

    @cached_property
    def tables(self) -> dict[str, Any]:
        """Role (``presence``, ``counts``, ...) -> a table's properties."""
        return {
            name.removesuffix("Table").lower(): properties
            for name, properties in self.of_type("AWS::DynamoDB::Table").items()
        }

    @cached_property
    def functions(self) -> dict[str, Any]:
        """Folder (``api``, ``count``, ...) -> a function's properties, with how all of them log."""
        logging = self.document["Globals"]["Function"]["LoggingConfig"]
        return {
            Path(properties["CodeUri"]).name: properties
            | {"LoggingConfig": logging | properties["LoggingConfig"]}
            for properties in self.of_type("AWS::Serverless::Function").values()
        }

    def create_table(self, role: str, **parameters: str) -> dict[str, Any]:
        """The parameters of CreateTable for a table, without its name."""
        table = self.resolve(self.tables[role], **parameters)
        names = ("BillingMode", "AttributeDefinitions", "KeySchema", "GlobalSecondaryIndexes")
        params = {name: table[name] for name in names if name in table}
        if "StreamSpecification" in table:
            params["StreamSpecification"] = {"StreamEnabled": True, **table["StreamSpecification"]}
        return params

    def environment(
        self, function: str, tables: Mapping[str, str] = {}, **parameters: str
    ) -> dict[str, str]:
        """A function's environment. Tables get their names from ``tables`` (by role); what is not
        in it, and queues, appear as their logical ids."""
        shared = self.document["Globals"]["Function"]["Environment"]["Variables"]
        own = self.functions[function].get("Environment", {}).get("Variables", {})
        resolved = self.resolve({**shared, **own}, **parameters)
        names = {f"{role.capitalize()}Table": name for role, name in tables.items()}
        return {name: names.get(str(value), str(value)) for name, value in resolved.items()}

    def events(self, function: str, kind: str, **parameters: str) -> list[Any]:
        """The properties of a function's events of a type, resolved."""
        return [
            self.resolve(event["Properties"], **parameters)
            for event in self.functions[function].get("Events", {}).values()
            if event["Type"] == kind
        ]

    def function_of(self, method: str, path: str) -> str:
        """The folder of the function that the HTTP API's routes name for a request."""
        for wanted, pattern, folder in self._routes:
            if wanted in {method, "ANY"} and pattern.fullmatch(path):
                return folder
        raise LookupError(path)

    @cached_property
    def _routes(self) -> list[tuple[str, re.Pattern[str], str]]:
        """Method or ANY, a pattern of paths, and a function's folder; the most exact come first."""
        folders = {
            name: Path(properties["CodeUri"]).name
            for name, properties in self.of_type("AWS::Serverless::Function").items()
        }
        found = []
        paths = self.resources["HttpApi"]["Properties"]["DefinitionBody"]["paths"]
        for path, methods in self.resolve(paths).items():
            rule = ".*" if path == "$default" else re.sub(r"\{\w+\}", "[^/]+", path)
            rule = rule.replace("{proxy+}", ".+")
            for method, route in methods.items():
                uri = route["x-amazon-apigateway-integration"]["uri"]
                folder = folders[uri.partition("/functions/")[2].split(".")[0]]
                wanted = "ANY" if method.startswith("x-") else method.upper()
                found.append((wanted, re.compile(rule, re.DOTALL), folder))
        return sorted(found, key=lambda one: one[1].pattern == ".*")

    def resolve(self, value: Any, **parameters: str) -> Any:
        """A value with its intrinsic functions resolved; resources become ``Id`` or ``Id.Att``."""
        return self._resolver(parameters).resolve(value)

    def holds(self, condition: Any, **parameters: str) -> bool:
        """Whether a condition holds."""
        return self._resolver(parameters).holds(condition)

    def throttle(self, stage: str) -> float:
        """Requests or messages per second that the HTTP API's or the socket's stage accepts."""
        settings = self.resources[stage]["Properties"]["DefaultRouteSettings"]
        return float(self.resolve(settings["ThrottlingRateLimit"]))

    def takes(self, parameter: str, value: str) -> bool:
        """Whether CloudFormation would accept this value of a parameter that has a pattern."""
        return re.search(self.parameters[parameter]["AllowedPattern"], value) is not None

    def _resolver(self, parameters: Mapping[str, str]) -> Resolver:
        unknown = parameters.keys() - self.parameters.keys() - EMULATED.keys()
        assert not unknown, f"the template has no parameter {', '.join(sorted(unknown))}"
        return Resolver(self, {**self.defaults, **parameters})

    def statements(self, role: str) -> Iterator[dict[str, Any]]:
        """The policy statements of a role resource, unresolved."""
        for policy in self.resources[role]["Properties"]["Policies"]:
            yield from policy["PolicyDocument"]["Statement"]


class Resolver:
    """Resolves intrinsic functions; what only a deployment knows becomes its name."""

    def __init__(
        self, of: Template, parameters: Mapping[str, str], pseudo: Mapping[str, Any] = _PSEUDO
    ) -> None:
        self._pseudo = pseudo
        self._conditions = of.document.get("Conditions", {})
        self._mappings = of.document.get("Mappings", {})
        self._parameters = parameters

    def resolve(self, value: Any) -> Any:
        """A value with its intrinsic functions resolved."""
        if isinstance(value, list):
            return [one for one in map(self.resolve, value) if one is not NO_VALUE]
        if not isinstance(value, dict):
            return value
        if len(value) == 1:
            ((name, inner),) = value.items()
            function: Callable[[Any], Any] | None = {
                "Ref": self._ref,
                "Fn::GetAtt": self._get_att,
                "Fn::Sub": self._sub,
                "Fn::If": self._if,
                "Fn::FindInMap": self._find,
                "Fn::Split": self._split,
                "Fn::Select": self._select,
            }.get(name)
            if function is not None:
                return function(inner)
        resolved = {key: self.resolve(one) for key, one in value.items()}
        return {key: one for key, one in resolved.items() if one is not NO_VALUE}

    def _ref(self, name: str) -> Any:
        return self._parameters.get(name, self._pseudo.get(name, name))

    def _get_att(self, path: list[str]) -> Any:
        return ".".join(path)

    def _sub(self, what: str | list[Any]) -> Any:
        text, own = (what, {}) if isinstance(what, str) else (what[0], self.resolve(what[1]))
        names = {name: str(value) for name, value in own.items()}
        return re.sub(
            r"\$\{([^}]+)\}", lambda match: names.get(match[1], str(self._ref(match[1]))), text
        )

    def _find(self, path: list[Any]) -> Any:
        found: Any = self._mappings
        for name in self.resolve(path):
            found = found[name]
        return found

    def _split(self, parts: list[Any]) -> list[str]:
        delimiter, text = parts
        return str(self.resolve(text)).split(delimiter)

    def _select(self, parts: list[Any]) -> Any:
        index, values = parts
        return self.resolve(values)[index]

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
