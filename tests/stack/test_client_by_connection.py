"""headcount.js with presence by connection, in a real browser on the running stack."""

from __future__ import annotations

import json
import select
import socket
import struct
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from threading import Thread
from typing import Any
from urllib.parse import urlsplit

import pytest
from headcount.model.session import SOCKET_LEASE
from headcount.store.attributes import decode, encode
from headcount.store.keys import presence_partition
from playwright.sync_api import Browser, Error, WebSocket

from lab.harness.clients import Api, eventually
from tests.stack.conftest import Stack, new_space
from tests.stack.test_client import Site, becomes, serving

pytestmark = [pytest.mark.stack, pytest.mark.browser]

MINUTE = 60_000
LEASE = 60
"""Of a site, in seconds."""


@dataclass
class Connections:
    """The sockets that a site's tabs opened, and the frames they sent."""

    opened: list[WebSocket] = field(default_factory=list)
    sent: list[dict[str, Any]] = field(default_factory=list)

    def of(self, site: Site) -> Connections:
        """Record the sockets of this site, from now on."""
        site.attributes["data-presence"] = "socket"
        site.context.on("page", lambda page: page.on("websocket", self._opened))
        return self

    def _opened(self, opened: WebSocket) -> None:
        self.opened.append(opened)
        opened.on("framesent", lambda frame: self.sent.append(json.loads(frame)))


@pytest.fixture
def site(browser: Browser, stack: Stack, space: str) -> Iterator[Site]:
    """A site in its own browser."""
    with serving(browser, stack, space) as site:
        yield site


@pytest.fixture
def connections(site: Site) -> Connections:
    """The site's tabs are present by connection."""
    return Connections().of(site)


@pytest.fixture
def here(api: Api, site: Site) -> Callable[[], tuple[int, int, list[str]]]:
    """(people, sessions, pages) as published."""

    def read() -> tuple[int, int, list[str]]:
        body = api.headcount(site.space)
        pages = [facet["value"] for facet in body["facets"].get("page", [])]
        return body["people"], body["sessions"], sorted(pages)

    return read


class Network:
    """A network path to the stack that can be cut, or fall silent."""

    def __init__(self, origin: str) -> None:
        self._to = (urlsplit(origin).hostname, urlsplit(origin).port)
        self._listening = socket.create_server(("127.0.0.1", 0))
        self._pairs: list[tuple[socket.socket, socket.socket]] = []
        self._silent = False
        Thread(target=self._accept, daemon=True).start()

    @property
    def url(self) -> str:
        """The WebSocket API's address on this path."""
        return f"ws://127.0.0.1:{self._listening.getsockname()[1]}/ws"

    def fall_silent(self) -> None:
        """Drop all packets from now on, without an error at either end."""
        self._silent = True

    def cut(self) -> None:
        """Reset all connections, without a close frame in either direction."""
        pairs, self._pairs = self._pairs, []
        for pair in pairs:
            for end in pair:
                end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                end.close()

    def close(self) -> None:
        """Accept no more connections."""
        with suppress(OSError):  # it is closed
            self._listening.shutdown(socket.SHUT_RDWR)  # or it would accept one more
        self._listening.close()
        self.cut()

    def _accept(self) -> None:
        while True:
            try:
                ends = self._listening.accept()[0], socket.create_connection(self._to)
            except OSError:
                return
            self._pairs.append(ends)
            Thread(target=self._carry, args=ends, daemon=True).start()

    def _carry(self, one: socket.socket, other: socket.socket) -> None:
        try:
            while True:
                for ready in select.select([one, other], [], [], 0.1)[0]:
                    data = b"" if self._silent else ready.recv(65_536)
                    if self._silent:
                        time.sleep(0.1)
                    elif not data:
                        one.shutdown(socket.SHUT_RDWR)
                        other.shutdown(socket.SHUT_RDWR)
                        return
                    else:
                        (other if ready is one else one).sendall(data)
        except (OSError, ValueError):  # it was cut
            return


@pytest.fixture
def network(site: Site, stack: Stack) -> Iterator[Network]:
    """Let the site's tabs reach the WebSocket API on this path."""
    network = Network(stack.outputs["origin"])
    site.attributes["data-socket-url"] = network.url
    yield network
    network.close()


def lease_left(stack: Stack, space: str) -> float:
    """Seconds until the lease of the one session in a space runs out."""
    rows = stack.client("dynamodb").query(
        TableName=stack.outputs["tables"]["presence"],
        KeyConditionExpression="#p = :p",
        ExpressionAttributeNames={"#p": "partition"},
        ExpressionAttributeValues=encode({":p": presence_partition(space, 0)}),
        ConsistentRead=True,
    )["Items"]
    (row,) = map(decode, rows)
    return float(row["expires_at"]) / 1000 - time.time()


@pytest.fixture
def left(stack: Stack, site: Site) -> Callable[[], float]:
    """Seconds until the lease of the site's one session runs out."""
    return lambda: lease_left(stack, site.space)


@dataclass(frozen=True)
class Loss:
    """A space with a visitor whose network is lost for good."""

    space: str
    at: float


@pytest.fixture(scope="module")
def loss(browser: Browser, stack: Stack) -> Iterator[Loss]:
    """Begins before the module's other tests, which run during the wait that its test needs."""
    space = new_space("loss")
    network = Network(stack.outputs["origin"])
    with serving(browser, stack, space) as site:
        Connections().of(site)
        site.attributes["data-socket-url"] = network.url
        site.open("/a")
        becomes(lambda: stack.api.headcount(space)["people"], 1)
        site.context.set_offline(offline=True)  # nor by HTTP
        network.close()
        yield Loss(space, time.time())


def test_a_tab_is_present_by_its_connection_until_it_closes(
    loss: Loss, stack: Stack, site: Site, connections: Connections, here: Callable[[], Any]
) -> None:
    assert loss.space != site.space
    with stack.dashboard() as dashboard:
        dashboard.subscribe(site.space)
        first = site.tab("/a")
        becomes(here, (1, 1, ["/a"]))
        second = site.tab("/b")  # another tab of the same visitor
        becomes(here, (1, 2, ["/a", "/b"]))
        second.page.close(run_before_unload=True)
        becomes(here, (1, 1, ["/a"]))
        first.page.close(run_before_unload=True)
        becomes(lambda: dashboard.headcounts(site.space)[-1].message["data"]["people"], 0)
    assert (first.sent, second.sent) == ([], []), "nothing went over HTTP"
    assert len(connections.opened) == 2


def test_a_page_change_is_one_frame_and_one_version(
    api: Api, site: Site, connections: Connections, here: Callable[[], Any]
) -> None:
    tab = site.tab("/a")
    becomes(here, (1, 1, ["/a"]))
    version = api.headcount(site.space)["version"]
    tab.page.evaluate("history.pushState({}, '', '/b')")
    becomes(here, (1, 1, ["/b"]))
    tab.until(lambda: connections.sent)
    assert [(one["action"], one["page"]) for one in connections.sent] == [("beat", "/b")]
    assert api.headcount(site.space)["version"] == version + 1
    assert (len(connections.opened), tab.sent) == (1, [])


def test_a_tab_that_crashes_is_gone_at_once(site: Site, connections: Connections, api: Api) -> None:
    tab = site.tab("/a")
    becomes(lambda: api.headcount(site.space)["people"], 1)
    tab.until(lambda: connections.opened)
    with pytest.raises(Error):  # the page can't answer
        tab.page.goto("chrome://crash", timeout=5000)
    becomes(lambda: api.headcount(site.space)["people"], 0)  # the browser closes it: 1001


def test_the_sites_next_page_goes_on_with_the_same_visit(
    api: Api,
    site: Site,
    connections: Connections,
    here: Callable[[], Any],
    left: Callable[[], float],
) -> None:
    tab = site.tab("/a")
    becomes(here, (1, 1, ["/a"]))
    tab.page.get_by_role("link", name="next").click()
    becomes(here, (1, 1, ["/next"]))
    tab.until(lambda: len(connections.opened) == 2)
    assert api.headcount(site.space)["views"]["total"] == 1
    assert left() > LEASE, "held by a connection again"


def test_the_next_connection_is_open_before_the_old_one_is_two_hours_old(
    api: Api,
    site: Site,
    connections: Connections,
    here: Callable[[], Any],
    left: Callable[[], float],
) -> None:
    tab = site.tab("/a", clock=True)
    becomes(here, (1, 1, ["/a"]))
    version = api.headcount(site.space)["version"]
    for _ in range(119 // 9):
        tab.page.clock.fast_forward(9 * MINUTE)
        tab.page.wait_for_timeout(700)  # a session's messages are limited in rate
    tab.until(lambda: len(connections.opened) == 2 and connections.opened[0].is_closed())
    assert not connections.opened[1].is_closed()
    becomes(lambda: left() > SOCKET_LEASE - 30, True)
    body = api.headcount(site.space)
    assert (body["people"], body["version"], body["views"]["total"]) == (1, version, 1)
    tab.page.close(run_before_unload=True)
    becomes(here, (0, 0, []))


def test_a_lost_connection_is_reopened_and_the_visit_goes_on(
    api: Api, site: Site, connections: Connections, network: Network, left: Callable[[], float]
) -> None:
    tab = site.tab("/a")
    becomes(lambda: api.headcount(site.space)["people"], 1)
    version = api.headcount(site.space)["version"]
    network.cut()
    tab.until(lambda: len(connections.opened) == 2, within=10)
    becomes(lambda: left() > LEASE, True)
    body = api.headcount(site.space)
    assert (body["people"], body["version"], body["views"]["total"]) == (1, version, 1)


def test_a_peer_that_falls_silent_is_here_for_eleven_minutes_and_no_longer(
    api: Api, site: Site, connections: Connections, network: Network, left: Callable[[], float]
) -> None:
    tab = site.tab("/a")
    becomes(lambda: api.headcount(site.space)["people"], 1)
    network.fall_silent()
    tab.page.wait_for_timeout(2_000)
    assert SOCKET_LEASE - 30 < left() < SOCKET_LEASE
    assert api.headcount(site.space)["people"] == 1
    assert not connections.opened[0].is_closed()


def test_where_no_connection_can_be_opened_it_beats_over_http(
    site: Site, connections: Connections, network: Network, here: Callable[[], Any]
) -> None:
    network.close()
    tab = site.tab("/a", clock=True)
    for _ in range(20):
        if tab.beats:
            break
        tab.page.clock.fast_forward(2_000)
        tab.page.wait_for_timeout(200)
    becomes(here, (1, 1, ["/a"]))
    assert not any(one.url for one in connections.opened if not one.is_closed())
    assert tab.beats == tab.sent
    tab.page.close(run_before_unload=True)
    becomes(here, (0, 0, []))


@pytest.mark.exhaustive
def test_a_visitor_without_a_network_is_gone_after_the_kinds_lease(
    loss: Loss, stack: Stack, api: Api
) -> None:
    eventually(lambda: lease_left(stack, loss.space) <= loss.at + LEASE + 5 - time.time(), 20)
    assert api.headcount(loss.space)["people"] == 1
    time.sleep(max(0, loss.at + LEASE + 1 - time.time()))
    api.beat(loss.space, "witness", visitorId="witness")
    api.leave(loss.space, "witness")  # a change: the space is counted again
    becomes(lambda: api.headcount(loss.space)["people"], 0)
