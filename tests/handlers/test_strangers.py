"""What somebody without a token may read, show and cost."""

from __future__ import annotations

from typing import Any

import pytest

from lab.harness.engines import Engine
from lab.harness.world import World
from tests.conftest import Worlds
from tests.support.moderation import act

PRIVATE = "activity:main"
KINDS = (
    "activity:lease=600 site:counts=public course:counts=admin room:messages=public "
    "hall:counts=public,messages=admin"
)


def presence(world: World, space: str, token: str | None = None, **body: Any) -> Any:
    """The answer to a beat."""
    path = f"/v1/spaces/{space}/presence"
    answer = world.http("POST", path, body={"sessionId": "spy", **body}, token=token)
    assert answer.status == 200, answer
    return answer.body


@pytest.mark.parametrize(
    ("space", "counts", "messages"),
    [
        (PRIVATE, False, False),
        ("site:main", True, True),
        ("room:r1", False, True),
        ("hall:h1", True, False),
    ],
)
def test_a_beat_tells_only_what_its_sender_may_read(
    memory: Engine, worlds: Worlds, space: str, *, counts: bool, messages: bool
) -> None:
    world = worlds(memory, Kinds=KINDS)
    act(world, "POST", "messages", {"text": "Hello."}, space=space)
    presence(world, space, sessionId="other")
    presence(world, space)
    world.settle()
    world.clock.advance(2)
    for token in (None, world.token(sub="ada"), world.token(headcount_scopes="read:site:other")):
        body = presence(world, space, token)
        assert {"count" in body, "version" in body} == {counts}
        assert ("notice" in body) == messages
    for token in (world.admin, world.token(headcount_scopes=f"read:{space}")):
        body = presence(world, space, token)
        assert (body["count"], "version" in body, "notice" in body) == (2, True, True)


def test_the_other_systems_tell_no_more(memory: Engine, worlds: Worlds) -> None:
    world = worlds(memory, Kinds="site course")
    for path, body in (
        ("/api/heartbeats", {"sessionId": "s1", "pagePath": "/"}),
        ("/api/courses/c1/presence", {"sessionId": "s1"}),
        ("/api/courses/c1/presence", {"userId": "u1", "anonymous": True}),
    ):
        for token, reads in ((None, False), (world.admin, True)):
            answer = world.http("POST", path, body=body, token=token)
            assert (answer.status, "count" in answer.body, "version" in answer.body) == (
                200,
                reads,
                reads,
            )


@pytest.mark.parametrize(
    ("claims", "reads"),
    [({}, False), ({"sub": "ada"}, False), ({"headcount_scopes": [f"read:{PRIVATE}"]}, True)],
)
def test_a_socket_tells_no_more(
    memory_world: World, claims: dict[str, Any], *, reads: bool
) -> None:
    world = memory_world
    token = {"token": world.token(**claims)} if claims else {}
    assert world.connect_viewer("c1", "spy", space=PRIVATE, **token) == {"statusCode": 200}
    world.send_beat("c1", answer=True)
    (frame,) = world.management.frames["c1"]
    assert (frame["type"], "count" in frame, "version" in frame) == ("present", reads, reads)


@pytest.mark.parametrize(
    ("hosts", "url", "kept"),
    [
        ("", "https://evil.test/pixel.png", False),
        ("", "/me.png", True),
        ("", "//evil.test/me.png", False),
        ("", "/\\evil.test/me.png", False),
        ("", "me.png", False),
        ("", "data:image/gif;base64,AAAA", False),
        ("img.example+cdn.example", "https://CDN.example/a.png?x=1", True),
        ("img.example", "https://img.example", True),
        ("img.example", "https://img.example:443/a", True),
        ("img.example", "https://img.example:8443/a", False),
        ("img.example", "http://img.example/a", False),
        ("img.example", "//img.example/a", False),
        ("img.example", "https://img.example.evil.test/a", False),
        ("img.example", "https://img.example@evil.test/a", False),
        ("img.example", "https://evil.test\\@img.example/a", False),
        ("img.example", "https://img.example\\.evil.test/a", False),
        ("*", "https://evil.test/pixel.png", True),
    ],
)
def test_only_pictures_of_proven_users_or_allowed_hosts_are_shown(
    memory: Engine, worlds: Worlds, hosts: str, url: str, *, kept: bool
) -> None:
    world = worlds(memory, Settings=f"avatar-hosts={hosts}" if hosts else "")
    world.beat("visitor", avatar=url)
    world.beat("claims", userId="ada", avatar=url)
    world.beat("proven", token=world.token(sub="ada"), avatar=url)
    course = {"userId": "ada", "userAvatar": url}
    world.http("POST", "/api/courses/c1/presence", body=course)
    viewers = act(world, "GET", "viewers").body["viewers"]
    shown = {one["sessionId"]: one["avatar"] for one in viewers}
    claimed = url if kept else None
    assert shown == {"visitor": claimed, "claims": claimed, "proven": url}
    (viewer,) = world.get("/api/courses/c1/viewers", token=world.admin).body["viewers"]
    assert viewer["avatar"] == claimed
