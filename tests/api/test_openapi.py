"""The OpenAPI document: whole, valid, readable, and served."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
from headcount import errors
from headcount.documents import openapi
from headcount.documents.schemas import Schemas
from headcount.errors import RequestError
from headcount.settings import Settings
from headcount.web.routing import MODULE_OF_PATH
from jsonschema import Draft202012Validator
from openapi_spec_validator import OpenAPIV31SpecValidator

from lab.harness.template import ROOT, template
from lab.harness.world import World

_settings = Settings(template().environment("api"))
DOCUMENT = openapi.document(tuple(_settings.kinds.names), _settings.token_cookie)
OPERATIONS = {
    (method.upper(), path): operation
    for path, operations in DOCUMENT["paths"].items()
    for method, operation in operations.items()
}
SYSTEMS = openapi.systems()


def test_the_document_is_openapi() -> None:
    assert [error.message for error in OpenAPIV31SpecValidator(DOCUMENT).iter_errors()] == []


@pytest.mark.parametrize("name", sorted(DOCUMENT["components"]["schemas"]))
def test_a_schema_is_json_schema(name: str) -> None:
    Draft202012Validator.check_schema(DOCUMENT["components"]["schemas"][name])


def test_every_route_is_in_the_document() -> None:
    routes = {
        (route.method, re.sub(r"<(\w+)>", r"{\1}", route.rule))
        for system in SYSTEMS
        for route in system.ROUTES
    }
    assert routes == set(OPERATIONS)
    assert len(routes) > 40


def test_every_prefix_leads_to_a_path() -> None:
    for prefix in MODULE_OF_PATH:
        first = re.sub(r"<(\w+)>", r"{\1}", prefix)
        assert any(path == first or path.startswith(f"{first}/") for _, path in OPERATIONS)


def test_the_guides_table_is_in_the_document() -> None:
    text = (ROOT / "docs" / "api.md").read_text()
    calls = re.findall(r"^\| `(GET|POST|PUT|PATCH|DELETE) ([^`?\s]+)[^`]*`", text, re.MULTILINE)
    assert len(calls) > 7
    assert set(calls) <= set(OPERATIONS)


@pytest.mark.parametrize("call", sorted(OPERATIONS), ids=" ".join)
def test_an_operation_can_be_read(call: tuple[str, str]) -> None:
    operation = OPERATIONS[call]
    description = operation["description"]
    assert description[0].isupper()
    assert description.endswith(".")
    summary = operation["summary"]
    assert 10 < len(summary) <= 100
    assert summary[0].isupper()
    assert summary[-1].isalnum() or summary[-1] in ")`"
    assert description.startswith(summary.split()[0])
    for parameter in operation.get("parameters", ()):
        assert parameter["description"].endswith(".")
        assert parameter["description"][0].isupper()
    for response in operation["responses"].values():
        assert ("$ref" in response) or response["description"].endswith((".", "``"))


def test_operations_have_unique_names() -> None:
    names = [operation["operationId"] for operation in OPERATIONS.values()]
    assert len(set(names)) == len(names)
    assert all(re.fullmatch(r"[a-z][a-z0-9_]+", name) for name in names)


def test_every_tag_is_described_and_short() -> None:
    tags = {tag["name"]: tag["description"] for tag in DOCUMENT["tags"]}
    assert len(tags) == len(SYSTEMS)
    for name, description in tags.items():
        assert len(name) < 50
        assert description.endswith(".")
    assert {tag for operation in OPERATIONS.values() for tag in operation["tags"]} == set(tags)


def test_answers_allow_no_undeclared_fields() -> None:
    for name in ("Headcount", "NativeViewers", "NamedViewer", "MetricsData", "Problem"):
        assert DOCUMENT["components"]["schemas"][name]["additionalProperties"] is False
    assert "additionalProperties" not in DOCUMENT["components"]["schemas"]["Beat"]


@pytest.mark.parametrize("system", SYSTEMS, ids=lambda system: system.__name__)
def test_a_systems_errors_match_the_document(system: Any) -> None:
    problem = openapi.problem(system)
    schemas = Schemas(bodies=[], answers=[problem])
    validator = Draft202012Validator(
        {**schemas.of_answer(problem), "components": {"schemas": schemas.components}}
    )
    every: list[RequestError] = [
        errors.InvalidRequestError("Wrong.", ["Wrong."]),
        errors.UnauthorizedError("Who?"),
        errors.NotFoundError("Nothing."),
        errors.MethodNotAllowedError("PUT", "/", ["GET"]),
        errors.TooLargeError("Long."),
        errors.UnexpectedError("Oh."),
        errors.BusyError(),
    ]
    for error in every:
        validator.validate(json.loads(system.shape_error(error)["body"]))


def test_anyone_may_cache_the_document_for_five_minutes(memory_world: World) -> None:
    answer = memory_world.get("/openapi.json")
    assert answer.status == 200
    assert answer.headers["cache-control"] == "public, max-age=300"
    assert answer.headers["content-type"].startswith("application/json")
    assert answer.body == DOCUMENT


def test_the_document_has_the_deployments_kinds_and_cookie(memory_world: World) -> None:
    memory_world.redeploy(Kinds="site doc", Settings="token-cookie=session")
    document = memory_world.get("/openapi.json").body
    (space,) = document["paths"]["/v1/spaces/{space}"]["get"]["parameters"]
    assert re.fullmatch(space["schema"]["pattern"], "doc:1")
    assert not re.fullmatch(space["schema"]["pattern"], "course:1")
    assert document["components"]["securitySchemes"]["cookie"]["name"] == "session"


@pytest.mark.parametrize("path", ["/nothing", "/v1", "/api", "/openapi.json/x", "/rest"])
def test_a_path_that_is_not_in_the_document_is_not_found(memory_world: World, path: str) -> None:
    answer = memory_world.get(path)
    assert answer.status == 404
    assert answer.body["success"] is False
    assert "/openapi.json" in answer.body["error"]


@pytest.mark.parametrize("path", sorted(DOCUMENT["paths"]))
def test_a_method_that_is_not_in_the_document_is_not_allowed(
    memory_world: World, path: str
) -> None:
    filled = re.sub(r"{\w+}", "x1", path.replace("{space}", "site:main"))
    declared = {method.upper() for method in DOCUMENT["paths"][path]}
    for method in {"GET", "POST", "PUT", "PATCH", "DELETE", "TRACE"} - declared:
        answer = memory_world.http(method, filled, token=memory_world.admin)
        assert answer.status == 405, method
        assert declared <= set(answer.headers["allow"].split(", "))
