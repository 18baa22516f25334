"""`headcount watch`: its output, and lost connections."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from headcount_cli import app, feed
from headcount_cli.errors import CommandError
from headcount_cli.feed import Feed, Update, socket_url_of
from headcount_cli.output import sparkline
from headcount_cli.screen import Screen
from headcount_cli.target import Target
from rich.console import Console

from lab.harness.world import World

SITE = "site:main"
Serve = Callable[[web.WebSocketResponse], Awaitable[None]]


def headcount(version: int, people: int, **more: Any) -> dict[str, Any]:
    """A message with a version."""
    data = {
        "people": people,
        "signedIn": 1,
        "anonymous": people - 1,
        "sessions": people + 1,
        "facets": {
            "page": [
                {"value": "/", "count": 4, "people": 3},
                {"value": "[b]x", "count": 1, "people": 1},
            ],
            "device": [{"value": "mobile", "count": 2, "people": 2}],
            "plan": [],
        },
        "peak": {"people": 1234, "at": "2026-11-20T08:00:00.000Z"},
        "views": {"total": 5000, "today": 17, "week": 40, "month": 80},
        "version": version,
        "asOf": "2026-11-21T12:00:05.000Z",
        **more,
    }
    return {"type": "headcount", "space": SITE, "version": version, "data": data}


SCREEN = """\
╭────────────────────────────── site:main ───────────────────────────────╮
│ people  signed in  anonymous  sessions   peak  views today  in total   │
│      4          1          3         5  1,234           17     5,000   │
│                                                                        │
│ ▃▅█  1 to 4                                                            │
│                                                                        │
│ page  people    device  people                                         │
│ /          3    mobile       2                                         │
│ [b]x       1                                                           │
│                                                                        │
│ message to everyone: Back at noon.                                     │
│                                                                        │
│ live  version 3 of 12:00:05 UTC                                        │
╰────────────────────────────────────────────────────────────────────────╯
"""


def drawn(screen: Screen) -> str:
    """As a terminal of 80 columns shows it."""
    console = Console(record=True, width=80, file=open("/dev/null", "w"))  # noqa: SIM115, PTH123
    with console.file:
        console.print(screen.render())
        return console.export_text()


def test_the_screen_shows_numbers_trend_top_facets_and_messages() -> None:
    screen = Screen(SITE, recent=[1, 2])
    assert "connecting" in drawn(screen)
    screen.apply(Update(headcount(3, 4)))
    screen.apply(Update({"type": "notice", "space": SITE, "notice": {"text": "Back at noon."}}))
    assert lines(drawn(screen)) == lines(SCREEN)


def lines(text: str) -> list[str]:
    """Without the frame, whose width depends on rich."""
    return [line.strip("│╭╮╰╯─ ") for line in text.splitlines()]


def test_a_repeated_version_is_one_point_of_the_trend() -> None:
    screen = Screen(SITE)
    for message in (headcount(3, 4), headcount(3, 4), headcount(4, 5)):
        screen.apply(Update(message))
    assert screen.recent == [4, 5]


def test_a_lost_connection_is_shown_until_the_next_message() -> None:
    screen = Screen(SITE)
    screen.apply(Update(headcount(1, 1)))
    screen.apply(Update(None, "closed by the server", 2.0))
    assert "reconnecting in 2 s (closed by the server)" in drawn(screen)
    screen.apply(Update(headcount(2, 1)))
    assert "reconnecting" not in drawn(screen)


def test_a_sparkline_goes_from_zero_to_the_highest() -> None:
    assert sparkline([0, 1, 2, 4], 10) == "▁▃▅█"
    assert sparkline([1, 1, 1], 2) == "██"
    assert sparkline([0, 0], 5) == "▁▁"
    assert sparkline([], 5) == ""


# --------------------------------------------------------------------------------------------- feed


class Peer:
    """A WebSocket server that follows a script, a connection each; then it refuses with 403."""

    def __init__(self, *script: Serve) -> None:
        self.script = list(script)
        self.tokens: list[str | None] = []
        self.asked: list[Any] = []

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """One connection."""
        self.tokens.append(request.headers.get("authorization"))
        assert "token" not in request.query_string
        if not self.script:
            return web.Response(status=403)
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        self.asked.append(await socket.receive_json())
        await self.script.pop(0)(socket)
        await socket.close()
        return socket


def says(*messages: Any) -> Serve:
    """Send these messages, then close."""

    async def serve(socket: web.WebSocketResponse) -> None:
        for message in messages:
            await socket.send_json(message)

    return serve


def received_from(
    peer: Peer, tokens: list[str], until: int = 99
) -> tuple[list[Update], list[float], str]:
    """The updates until the peer refuses, the pauses, and the final error."""
    updates: list[Update] = []
    slept: list[float] = []

    async def sleep(pause: float) -> None:
        slept.append(pause)

    async def listen() -> str:
        application = web.Application()
        application.router.add_get("/ws", peer.handle)
        async with TestServer(application) as server, aiohttp.ClientSession() as session:
            left = iter(tokens)
            source = Feed(
                str(server.make_url("/ws")), lambda: next(left), SITE, session, sleep, lambda: 1.0
            )
            try:
                async for one in source.listen():
                    updates.append(one)
                    if len(updates) == until:
                        break
            except CommandError as error:
                return str(error)
            return ""

    return updates, slept, asyncio.run(listen())


def test_a_lost_connection_is_opened_again_with_a_fresh_token_and_growing_pauses() -> None:
    peer = Peer(says(headcount(1, 1)), says(), says(), says(headcount(2, 2)))
    updates, slept, words = received_from(peer, ["a", "b", "c", "d", "e", "e"])
    versions = [one.message["version"] for one in updates if one.message]
    assert versions == [1, 2]
    assert slept == [0.5, 1.0, 2.0, 0.5]  # a received message resets the pauses
    assert peer.tokens == [f"Bearer {token}" for token in "abcde"]
    assert peer.asked == [{"action": "subscribe", "space": SITE}] * 4
    assert "refused (403)" in words


def test_pauses_grow_to_half_a_minute_with_jitter() -> None:
    nothing: Any = None
    source = Feed("ws://x", lambda: None, SITE, nothing, chance=lambda: 0.0)
    source.failures = 50
    assert source.pause() == 15.0
    source.chance = lambda: 1.0
    assert source.pause() == 30.0


def test_an_error_ends_the_feed_and_other_spaces_are_ignored() -> None:
    other = {**headcount(7, 7), "space": "site:other"}
    wrong = {"type": "error", "error": "The kind 'nope' is not declared here."}
    updates, _, words = received_from(Peer(says(other, headcount(1, 1), wrong)), ["a"])
    assert [one.message["version"] for one in updates if one.message] == [1]
    assert "not declared" in words


def test_a_foreign_message_means_a_lost_connection() -> None:
    updates, _, _ = received_from(
        Peer(says({"message": "Internal server error"}), says(headcount(1, 1))), ["a"] * 5, until=2
    )
    assert [one.message is None for one in updates] == [True, False]


def test_a_silent_peer_is_pinged_and_then_given_up(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(feed, "PING_EVERY", 0.01)
    monkeypatch.setattr(feed, "ANSWER_WITHIN", 0.2)
    asked: list[Any] = []

    async def silent(socket: web.WebSocketResponse) -> None:
        await socket.send_json(headcount(1, 1))
        asked.append(await socket.receive_json())
        await socket.receive()

    updates, _, _ = received_from(Peer(silent), ["a"] * 3, until=2)
    assert asked == [{"action": "ping"}]
    assert updates[1].message is None


def test_a_refusal_without_a_token_asks_for_one() -> None:
    nothing: Any = None
    assert "HEADCOUNT_TOKEN" in Feed("ws://x", lambda: None, SITE, nothing)._refusal(401)


@pytest.mark.parametrize(
    ("address", "found"),
    [
        ("wss://socket.test/live", "wss://socket.test/live"),
        ("/ws", "wss://api.test/ws"),
        ("https://edge.test/ws", "wss://edge.test/ws"),
    ],
)
def test_the_socket_s_address_is_the_dashboard_s(address: str, found: str) -> None:
    class NumberedEvent:
        async def get(self, path: str) -> Any:
            assert path == "/dashboard/config.json"
            return {"socketUrl": address}

    anything: Any = NumberedEvent()
    target = Target("https://api.test", None, lambda: None, None)
    assert asyncio.run(socket_url_of(target, anything)) == found


# ---------------------------------------------------------------------------------- lines for pipes


def followed(monkeypatch: pytest.MonkeyPatch, *, as_json: bool, count: int = 2) -> None:
    """Follow a script in which a version comes twice and the connection is lost once."""

    class Scripted:
        async def listen(self) -> Any:
            yield Update(headcount(1, 1))
            yield Update(headcount(1, 1))
            yield Update(None, "closed by the server", 1.0)
            yield Update(headcount(2, 2))
            yield Update(headcount(3, 3))

    screen = Screen(SITE)
    anything: Any = Scripted()
    asyncio.run(
        app._follow(
            anything, screen, count, lambda one: app._print_update(screen, one, as_json=as_json)
        )
    )


def test_a_pipe_gets_a_line_for_each_version(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    followed(monkeypatch, as_json=False)
    output = capsys.readouterr()
    first, second = output.out.splitlines()
    assert first.startswith("12:00:05 site:main 1 people (1 signed in), 2 sessions, 17 views today")
    assert second.endswith("version 2")
    assert "reconnecting" in output.err


def test_a_script_gets_the_messages_themselves(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    followed(monkeypatch, as_json=True)
    found = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert found == [headcount(1, 1), headcount(2, 2)]


def test_a_real_headcount_fits_the_screen(memory_world: World) -> None:
    memory_world.subscribe("dash")
    memory_world.beat("tab-1", userId="u1", page="/")
    memory_world.settle()
    screen = Screen(SITE)
    for message in memory_world.management.frames["dash"]:
        screen.apply(Update(message))
    assert "1 people (1 signed in), 1 sessions, 1 views today" in screen.line()
    assert "page  people" in drawn(screen)
