"""Large answers are compressed for those who accept it."""

from __future__ import annotations

import base64
import gzip
import json
from typing import Any

import pytest

from lab.harness.engines import Engine
from lab.harness.events import http_event
from lab.harness.world import World
from tests.conftest import Worlds


def ask(world: World, path: str, encoding: str | None) -> dict[str, Any]:
    """The function's raw answer."""
    headers = {} if encoding is None else {"accept-encoding": encoding}
    answer: dict[str, Any] = world.invoke("api", http_event("GET", path, headers=headers))
    return answer


@pytest.mark.parametrize(
    "encoding", ["gzip", "gzip, deflate, br", "br;q=1.0, gzip;q=0.8", "*", "deflate, GZIP"]
)
def test_a_large_answer_is_compressed(memory_world: World, encoding: str) -> None:
    plain = ask(memory_world, "/openapi.json", None)
    zipped = ask(memory_world, "/openapi.json", encoding)
    assert zipped["isBase64Encoded"] is True
    assert zipped["headers"]["content-encoding"] == "gzip"
    assert "accept-encoding" in zipped["headers"]["vary"]
    data = base64.b64decode(zipped["body"])
    assert json.loads(gzip.decompress(data)) == json.loads(plain["body"])
    assert len(data) < len(plain["body"]) / 5


@pytest.mark.parametrize("encoding", [None, "", "br", "identity", "gzip;q=0", "x-gzipped"])
def test_others_get_it_as_it_is(memory_world: World, encoding: str | None) -> None:
    answer = ask(memory_world, "/openapi.json", encoding)
    assert "content-encoding" not in answer["headers"]
    assert "accept-encoding" in answer["headers"]["vary"]
    json.loads(answer["body"])


def test_it_varies_by_origin_too(memory: Engine, worlds: Worlds) -> None:
    world = worlds(memory, AllowedOrigins="https://a.test")
    answer = ask(world, "/openapi.json", "gzip")
    assert answer["headers"]["vary"] == "origin, accept-encoding"


def test_a_small_answer_stays_as_it_is(memory_world: World) -> None:
    answer = ask(memory_world, "/v1/spaces/site%3Amain", "gzip")
    assert answer["statusCode"] == 200
    assert "content-encoding" not in answer["headers"]
    json.loads(answer["body"])
