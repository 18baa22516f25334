"""The handlers' answers match the OpenAPI document, for valid and invalid requests."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import schemathesis
from headcount.documents import openapi
from headcount.settings import Settings
from headcount.systems.course_viewers_convex import FUNCTION_FAILED
from hypothesis import HealthCheck, given, settings
from hypothesis.strategies import SearchStrategy, booleans
from schemathesis import Case, GenerationMode

from lab.harness.consumer import EVENTS
from lab.harness.containers import CONTAINERS, launch
from lab.harness.engines import Engine
from lab.harness.template import template
from lab.harness.world import World, world_on
from tests.support.wsgi import Gateway

CASES = 20

_settings = Settings(template().environment("api"))
_document = openapi.document(tuple(_settings.kinds.names), _settings.token_cookie)
_config = schemathesis.Config.from_dict(
    {
        "seed": 1,
        "generation": {"deterministic": True, "with-security-parameters": False},
        # Literals from the source would change the cases with every edit.
        "analysis": {"constants": {"enabled": False}},
        "checks": {
            "not_a_server_error": {
                "expected-statuses": ["2xx", "3xx", "4xx", str(FUNCTION_FAILED)]
            },
            # JSON Schema can't express sums of bytes or dependencies between fields' values.
            "positive_data_acceptance": {"enabled": False},
            # It can't remove a token that it did not add; the last test here does.
            "ignored_auth": {"enabled": False},
        },
    }
)
schema = schemathesis.openapi.from_dict(_document, config=_config)
schema.app = gateway = Gateway()

OPERATIONS = [
    pytest.param(path, method, id=operation["operationId"])
    for path, operations in _document["paths"].items()
    for method, operation in operations.items()
]


def needs_admin(path: str, method: str) -> bool:
    """Whether a token is always required, by the document."""
    return {} not in _document["paths"][path][method]["security"]


def responses(path: str, method: str) -> dict[str, Any]:
    """The documented answers of an operation, by status."""
    found: dict[str, Any] = _document["paths"][path][method]["responses"]
    return found


def takes_anything(path: str, method: str) -> bool:
    """Whether any request could be invalid: some operations accept any text."""
    operation = _document["paths"][path][method]
    schemas = [parameter["schema"].keys() for parameter in operation.get("parameters", ())]
    return "requestBody" in operation or any(keys - {"type", "minLength"} for keys in schemas)


@pytest.fixture
def world(memory: Engine) -> Iterator[World]:
    """A separate deployment for the operation, with containers set up."""
    with world_on(memory, RollUps="on", **CONTAINERS, **EVENTS) as world:
        gateway.world = world
        yield world


def explore(strategy: SearchStrategy[Case], check: Callable[[Case, bool], None]) -> None:
    """Check cases, each with an admin's token or without any."""

    @settings(
        max_examples=CASES,
        database=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(case=strategy, admin=booleans())
    def run(case: Case, admin: bool) -> None:
        check(case, admin)

    run()


def token(world: World) -> dict[str, str]:
    return {"Authorization": f"Bearer {world.admin}"}


def populate(world: World) -> dict[str, str]:
    """Put sessions everywhere; returns the path parameters that lead to them."""
    for space in ("site:main", "activity:main", "course:here", "link:here", "stream:here"):
        world.beat("s1", space, userId="u1", name="Ada", page="/", facets={"chapter": "1"})
        telemetry = {
            "quality": {"bandwidth": 1.5},
            "engagement": {"chat": 2},
            "details": {"at": "x"},
        }
        world.beat("s2", space, visitorId="v2", **telemetry)
    world.http("POST", "/api/streams", token=world.admin, body={"id": "here", "channelId": "here"})
    below = "/v1/spaces/site:main"
    rule = {"type": "milestone", "people": 2}
    world.http("PUT", f"{below}/alerts/full", token=world.admin, body=rule)
    world.http("POST", f"{below}/messages", token=world.admin, body={"text": "Back at noon."})
    gone = world.http("POST", f"{below}/removals", token=world.admin, body={"userId": "u9"})
    erasure = world.http("POST", "/v1/erasures", token=world.admin, body={"userId": "u9"})
    share = world.http("POST", "/v1/shares", token=world.admin, body={"space": "site:main"})
    world.settle()
    world.clock.advance(60)
    world.sweep()
    return {
        "space": "site:main",
        "kind": "site",
        "group": "all",
        "share": share.body["id"],
        "erasure": erasure.body["id"],
        "name": "full",
        "removal": gone.body["id"],
        **dict.fromkeys(("course", "linkId", "id"), "here"),
        "containerId": launch(world),
    }


@pytest.mark.parametrize(("path", "method"), OPERATIONS)
def test_valid_requests_get_documented_answers(path: str, method: str, world: World) -> None:
    here = populate(world)
    seen = set()

    def check(case: Case, admin: bool) -> None:
        if admin and (known := here.keys() & case.path_parameters.keys()):
            case.path_parameters |= {name: here[name] for name in known}
        if admin and "/engagement/" in path:
            case.path_parameters["name"] = "chat"
        if admin and path == "/v1/shares" and isinstance(case.body, dict):
            case.body = {
                "space": "site:main"
            }  # a space or a kind, and one time: rarely so by chance
        headers = token(world) if admin or needs_admin(path, method) else {}
        seen.add(str(case.call_and_validate(headers=headers).status_code))

    explore(schema[path][method].as_strategy(generation_mode=GenerationMode.POSITIVE), check)
    successes = {status for status in responses(path, method) if status < "400"}
    assert not successes or successes & seen, "no request was accepted: the test proves little"


@pytest.mark.parametrize(
    ("path", "method"), [one for one in OPERATIONS if takes_anything(*one.values)]
)
def test_invalid_requests_get_documented_answers(path: str, method: str, world: World) -> None:
    def check(case: Case, admin: bool) -> None:
        case.call_and_validate(headers=token(world) if admin or needs_admin(path, method) else {})

    explore(schema[path][method].as_strategy(generation_mode=GenerationMode.NEGATIVE), check)


@pytest.mark.parametrize(
    ("path", "method"),
    # What a token allows is for everyone who has one.
    [one for one in OPERATIONS if needs_admin(*one.values) and one.values[0] != "/v1/token"],
)
def test_an_admins_operation_reveals_nothing_to_others(
    path: str, method: str, world: World
) -> None:
    user = {"Authorization": f"Bearer {world.token(sub='u1')}"}

    def check(case: Case, signed_in: bool) -> None:
        response = case.call_and_validate(headers=user if signed_in else {})
        assert response.status_code == (403 if signed_in else 401)

    explore(schema[path][method].as_strategy(generation_mode=GenerationMode.POSITIVE), check)
