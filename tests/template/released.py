"""What an update must not replace, read from the templates of releases.

``python -m tests.template.released next.json < template.yaml`` keeps a release's facts.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from lab.harness.template import Template, load

FOLDER = Path(__file__).parent / "released"

FIXED: Mapping[str, tuple[str, ...]] = {
    "AWS::DynamoDB::Table": ("TableName", "KeySchema", "LocalSecondaryIndexes", "BillingMode"),
    "AWS::SQS::Queue": ("QueueName", "FifoQueue"),
    "AWS::SecretsManager::Secret": ("Name", "GenerateSecretString"),
    "AWS::Logs::LogGroup": ("LogGroupName",),
    "AWS::ApiGatewayV2::Api": ("ProtocolType",),
    "AWS::Serverless::HttpApi": (),
}
"""Type with data or an address -> properties whose change needs a new resource, a new secret or
another bill."""


def facts(of: Template) -> dict[str, dict[str, Any]]:
    """Logical id -> fixed properties, of the resources that an update must keep."""
    found: dict[str, dict[str, Any]] = {}
    for name, resource in of.resources.items():
        kind = resource["Type"]
        if kind not in FIXED:
            continue
        properties = of.resolve(resource.get("Properties", {}))
        found[name] = {"Type": kind} | {
            key: properties[key] for key in FIXED[kind] if key in properties
        }
        if kind == "AWS::DynamoDB::Table":
            keys = [key["AttributeName"] for key in properties["KeySchema"]]
            indexes = properties.get("GlobalSecondaryIndexes", [])
            found[name]["Indexes"] = {one["IndexName"]: one["KeySchema"] for one in indexes}
            keys += [key["AttributeName"] for one in indexes for key in one["KeySchema"]]
            found[name]["Attributes"] = {
                one["AttributeName"]: one["AttributeType"]
                for one in properties["AttributeDefinitions"]
                if one["AttributeName"] in keys
            }
            found[name]["Stream"] = properties.get("StreamSpecification")
    return found


def replaced(before: Mapping[str, Any], now: Mapping[str, Any]) -> Iterator[str]:
    """What an update from the old facts to the new ones would replace, delete or rebuild."""
    for name, was in before.items():
        found = now.get(name)
        if found is None:
            yield f"{name} is deleted"
            continue
        for key, value in was.items():
            after = found.get(key)
            if key == "Indexes":
                after = {index: (after or {}).get(index) for index in value}  # more may be added
            elif key == "Attributes":
                after = {attribute: (after or {}).get(attribute) for attribute in value}
            elif key == "Stream" and value is None:
                continue  # one may be added
            if after != value:
                yield f"{name}: {key} was {value}, is {after}"
        yield from (f"{name}: {key} is new" for key in found.keys() - was.keys() - {"Stream"})


def releases() -> dict[str, dict[str, Any]]:
    """Every release's facts, by its name."""
    return {path.stem: json.loads(path.read_text()) for path in sorted(FOLDER.glob("*.json"))}


if __name__ == "__main__":
    kept = facts(Template(load(sys.stdin.read())))
    (FOLDER / sys.argv[1]).write_text(json.dumps(kept, indent=2, sort_keys=True) + "\n")
