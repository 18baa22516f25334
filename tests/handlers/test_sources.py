"""Where visits come from: facets of the client, and of what its browser's headers name."""

from __future__ import annotations

from typing import Any

import pytest
from headcount.model.beat import SOURCES

from lab.harness.engines import Engine
from lab.harness.world import World
from tests.conftest import Worlds

SPACE = "site:main"
IPAD = {
    "user-agent": "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605.1.15 "
    "(KHTML, like Gecko) Version/17.4 Safari/605.1.15",
    "accept-language": "de-AT,de;q=0.9",
}
SENT = {
    "referrer": "news.example",
    "utm_source": "newsletter",
    "utm_medium": "email",
    "utm_campaign": "spring",
    "entry": "/pricing",
    "visitor": "new",
}


def beat(world: World, facets: dict[str, str], headers: dict[str, str], **more: Any) -> None:
    body = {"sessionId": "s1", "page": "/", "facets": facets, **more}
    answer = world.http("POST", f"/v1/spaces/{SPACE}/presence", body=body, headers=headers)
    assert answer.status == 200


def facets(world: World) -> dict[str, str]:
    world.settle()
    found = world.headcount(SPACE)["facets"]
    return {name: values[0]["value"] for name, values in found.items() if name != "page"}


def test_sources_are_facets(world: World) -> None:
    beat(world, {**SENT, "chapter": "1"}, IPAD)
    assert facets(world) == {
        **SENT,
        "chapter": "1",
        "device": "desktop",
        "browser": "Safari",
        "os": "macOS",
        "language": "de",
    }


def test_an_ipad_that_calls_itself_a_mac_is_none(memory_world: World) -> None:
    beat(memory_world, {"device": "tablet"}, IPAD)
    assert facets(memory_world)["os"] == "iOS"


def test_the_clients_own_values_take_precedence(memory_world: World) -> None:
    beat(memory_world, {"language": "app-fr"}, IPAD)
    assert facets(memory_world)["language"] == "app-fr"


def test_a_kind_may_do_without_them(memory: Engine, worlds: Worlds) -> None:
    world = worlds(memory, Kinds="site:counts=public,sources=off")
    beat(world, {**SENT, "chapter": "1"}, IPAD)
    assert facets(world) == {"chapter": "1", "device": "desktop"}


@pytest.mark.parametrize("signal", ["dnt", "sec-gpc"])
def test_headers_say_nothing_of_who_asks_not_to_be_tracked(
    memory_world: World, signal: str
) -> None:
    beat(memory_world, {}, {**IPAD, signal: "1"})
    assert facets(memory_world) == {"device": "desktop"}


@pytest.mark.dynamodb_local
def test_they_never_make_a_steady_beat_a_change(local: Engine, worlds: Worlds) -> None:
    world = worlds(local)
    beat(world, SENT, IPAD, seq=1)
    changed = world.presence_rows()[0]["changed_at"]
    world.clock.advance(30)
    with local.metered(capacity=True) as meter:
        beat(world, SENT, IPAD, seq=2)
    assert (meter.writes, meter.write_units) == (["UpdateItem"], 1.0)
    assert world.presence_rows()[0]["changed_at"] == changed


def test_they_come_with_a_socket_too(memory_world: World) -> None:
    world = memory_world
    world.connect_viewer("c1", "s1", page="/", facets=SENT, headers=IPAD)
    world.send_beat("c1", page="/b", facets=SENT, answer=True)
    assert facets(world).items() >= {**SENT, "browser": "Safari", "language": "de"}.items()
    assert facets(world).keys() - SOURCES == {"device"}
