"""The handlers answer as the OpenAPI document says, to what it allows and to what it does not."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import schemathesis
from headcount.settings import Settings
from headcount.systems.course_viewers_convex import FUNCTION_FAILED
from headcount.web.documents import openapi
from hypothesis import HealthCheck, given, settings
from hypothesis.strategies import SearchStrategy, booleans
from schemathesis import Case, GenerationMode

from tests.support.containers import CONTAINERS, launch
from tests.support.engines import Engine
from tests.support.telling import EVENTS
from tests.support.template import template
from tests.support.world import World, world_on
from tests.support.wsgi import Gateway

CASES = 12

_settings = Settings(template().environment("api"))
_document = openapi.document(tuple(_settings.kinds.names), _settings.token_cookie)
_config = schemathesis.Config.from_dict(
    {
        "seed": 1,
        "generation": {"deterministic": True, "with-security-parameters": False},
        # Words from the source would make the cases others with every edit.
        "analysis": {"constants": {"enabled": False}},
        "checks": {
            "not_a_server_error": {
                "expected-statuses": ["2xx", "3xx", "4xx", str(FUNCTION_FAILED)]
            },
            # Sums of bytes, and what one field means for another, can't be said in JSON Schema.
            "positive_data_acceptance": {"enabled": False},
            # It can't take a token away that it did not bring; the last test here does.
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
    """Whether the document says that a token is always needed."""
    return {} not in _document["paths"][path][method]["security"]


def responses(path: str, method: str) -> dict[str, Any]:
    """What the document says of an operation's answers, by status."""
    found: dict[str, Any] = _document["paths"][path][method]["responses"]
    return found


def takes_anything(path: str, method: str) -> bool:
    """Whether there is anything that could be sent wrong: any text is a good one somewhere."""
    operation = _document["paths"][path][method]
    said = [parameter["schema"].keys() for parameter in operation.get("parameters", ())]
    return "requestBody" in operation or any(keys - {"type", "minLength"} for keys in said)


@pytest.fixture
def world(memory: Engine) -> Iterator[World]:
    """A deployment of the operation's own, its containers set up."""
    with world_on(memory, **CONTAINERS, **EVENTS) as world:
        gateway.world = world
        yield world


def explore(strategy: SearchStrategy[Case], check: Callable[[Case, bool], None]) -> None:
    """Check cases, each with an admin's token or without any."""

    @settings(
        max_examples=CASES,
        derandomize=True,
        database=None,
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(case=strategy, admin=booleans())
    def run(case: Case, admin: bool) -> None:
        check(case, admin)

    run()


def token(world: World) -> dict[str, str]:
    return {"Authorization": f"Bearer {world.admin}"}


def populate(world: World) -> dict[str, str]:
    """Somebody everywhere; the path parameters that lead there."""
    for space in ("site:main", "activity:main", "course:here", "link:here", "stream:here"):
        world.beat("s1", space, userId="u1", name="Ada", page="/", facets={"chapter": "1"})
        riding = {"quality": {"bandwidth": 1.5}, "engagement": {"chat": 2}, "details": {"at": "x"}}
        world.beat("s2", space, visitorId="v2", **riding)
    world.http("POST", "/api/streams", token=world.admin, body={"id": "here", "channelId": "here"})
    below = "/v1/spaces/site:main"
    rule = {"type": "milestone", "people": 2}
    world.http("PUT", f"{below}/alerts/full", token=world.admin, body=rule)
    world.http("POST", f"{below}/messages", token=world.admin, body={"text": "Back at noon."})
    gone = world.http("POST", f"{below}/removals", token=world.admin, body={"userId": "u9"})
    erasure = world.http("POST", "/v1/erasures", token=world.admin, body={"userId": "u9"})
    world.settle()
    world.clock.advance(60)
    world.sweep()
    return {
        "space": "site:main",
        "erasure": erasure.body["id"],
        "name": "full",
        "removal": gone.body["id"],
        **dict.fromkeys(("course", "linkId", "id"), "here"),
        "containerId": launch(world),
    }


@pytest.mark.parametrize(("path", "method"), OPERATIONS)
def test_what_the_document_allows_is_answered_as_it_says(
    path: str, method: str, world: World
) -> None:
    here = populate(world)
    seen = set()

    def check(case: Case, admin: bool) -> None:
        if admin and (known := here.keys() & case.path_parameters.keys()):
            case.path_parameters |= {name: here[name] for name in known}
        headers = token(world) if admin or needs_admin(path, method) else {}
        seen.add(str(case.call_and_validate(headers=headers).status_code))

    explore(schema[path][method].as_strategy(generation_mode=GenerationMode.POSITIVE), check)
    successes = {status for status in responses(path, method) if status < "400"}
    assert not successes or successes & seen, "nothing was accepted: the test proves little"


@pytest.mark.parametrize(
    ("path", "method"), [one for one in OPERATIONS if takes_anything(*one.values)]
)
def test_what_the_document_does_not_allow_is_answered_as_it_says(
    path: str, method: str, world: World
) -> None:
    def check(case: Case, admin: bool) -> None:
        case.call_and_validate(headers=token(world) if admin or needs_admin(path, method) else {})

    explore(schema[path][method].as_strategy(generation_mode=GenerationMode.NEGATIVE), check)


@pytest.mark.parametrize(
    ("path", "method"), [one for one in OPERATIONS if needs_admin(*one.values)]
)
def test_an_admins_operation_tells_nobody_else_anything(
    path: str, method: str, world: World
) -> None:
    user = {"Authorization": f"Bearer {world.token(sub='u1')}"}

    def check(case: Case, signed_in: bool) -> None:
        response = case.call_and_validate(headers=user if signed_in else {})
        assert response.status_code == (403 if signed_in else 401)

    explore(schema[path][method].as_strategy(generation_mode=GenerationMode.POSITIVE), check)
