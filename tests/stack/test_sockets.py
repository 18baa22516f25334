"""What dashboards receive, and in which order."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from contextlib import ExitStack

import pytest

from lab.harness.clients import Api, assert_no_gaps, eventually
from tests.stack.conftest import Stack

pytestmark = pytest.mark.stack

NewSpace = Callable[[str], str]


def test_two_dashboards_receive_only_their_own_spaces(
    stack: Stack, api: Api, spaces: NewSpace
) -> None:
    left, right = spaces("left"), spaces("right")
    with stack.dashboard() as one, stack.dashboard() as other:
        one.subscribe(left)
        other.subscribe(right)
        api.beat(left, "l1")
        api.beat(right, "r1")
        api.beat(right, "r2")

        eventually(lambda: one.people(left) == 1, 5, last=lambda: one.frames)
        eventually(lambda: other.people(right) == 2, 5, last=lambda: other.frames)

        assert {frame.message["space"] for frame in one.frames} == {left}
        assert {frame.message["space"] for frame in other.frames} == {right}
        assert_no_gaps(one.headcounts(left))
        assert_no_gaps(other.headcounts(right))


def test_one_dashboard_receives_several_spaces(stack: Stack, api: Api, spaces: NewSpace) -> None:
    several = [spaces("several") for _ in range(3)]
    with stack.dashboard() as socket:
        for space in several:
            socket.subscribe(space)
        for space in several:
            api.beat(space, "s1")

        eventually(
            lambda: all(socket.people(space) == 1 for space in several),
            6,
            last=lambda: socket.frames[-4:],
        )


def test_a_subscription_during_publishing_receives_no_older_version(
    stack: Stack, api: Api, space: str
) -> None:
    over = threading.Event()

    def keep_joining() -> None:
        number = 0
        while not over.is_set():
            number += 1
            api.beat(space, f"s{number}", page=f"/{number % 3}")

    joining = threading.Thread(target=keep_joining)
    with ExitStack() as open_sockets:
        sockets = []
        joining.start()
        try:
            for _ in range(8):
                socket = open_sockets.enter_context(stack.dashboard())
                socket.subscribe(space)
                sockets.append(socket)
                time.sleep(0.35)  # each at another moment of the publisher's second
        finally:
            over.set()
            joining.join()
        total = eventually(
            lambda: settled_at(api, space), 10, last=lambda: api.headcount(space)["sessions"]
        )
        eventually(
            lambda: all(socket.people(space) == total for socket in sockets),
            5,
            last=lambda: [socket.people(space) for socket in sockets],
        )
        for socket in sockets:
            assert_no_gaps(socket.headcounts(space))


def settled_at(api: Api, space: str) -> int | None:
    """The people of a space once its version is older than the publishing interval; else None."""
    before = api.headcount(space)
    time.sleep(2.2)
    after = api.headcount(space)
    return int(after["people"]) if before["version"] == after["version"] else None


def test_unsubscribing_stops_the_versions(stack: Stack, api: Api, space: str) -> None:
    with stack.dashboard() as socket, stack.dashboard() as witness:
        socket.subscribe(space)
        witness.subscribe(space)
        socket.say("unsubscribe", space)
        socket.say("ping")
        socket.answer("pong")
        received = len(socket.headcounts(space))

        api.beat(space, "s1")
        eventually(lambda: witness.people(space) == 1, 5, last=lambda: witness.frames[-3:])
        socket.say("ping")
        socket.answer("pong")

        assert len(socket.headcounts(space)) == received


def test_a_snapshot_answers_without_a_subscription(stack: Stack, api: Api, space: str) -> None:
    api.beat(space, "s1")
    eventually(lambda: api.headcount(space)["people"] == 1, 5, last=lambda: api.headcount(space))
    with stack.dashboard() as socket, stack.dashboard() as witness:
        witness.subscribe(space)
        socket.say("snapshot", space)
        snapshot = socket.answer("headcount")
        assert snapshot["data"]["people"] == 1

        api.beat(space, "s2")
        eventually(lambda: witness.people(space) == 2, 5, last=lambda: witness.frames[-3:])
        socket.say("ping")
        socket.answer("pong")

        assert len(socket.headcounts(space)) == 1


@pytest.mark.parametrize(
    "frame",
    [
        "no json",
        "[]",
        "{}",
        '{"action": "dance"}',
        '{"action": "subscribe"}',
        '{"action": "subscribe", "space": 7}',
        '{"action": "subscribe", "space": "nowhere:main"}',
        '{"action": "subscribe", "space": "site:with a blank"}',
    ],
)
def test_a_wrong_frame_is_answered_with_an_error(stack: Stack, frame: str) -> None:
    with stack.dashboard() as socket:
        socket.say_raw(frame)

        error = socket.answer("error")["error"]

        assert len(error.split()) > 3
        socket.say("ping")
        socket.answer("pong")


def test_a_reconnected_dashboard_starts_from_the_current_number(
    stack: Stack, api: Api, space: str
) -> None:
    with stack.dashboard() as socket:
        socket.subscribe(space)
    api.beat(space, "s1")
    eventually(lambda: api.headcount(space)["people"] == 1, 5, last=lambda: api.headcount(space))

    with stack.dashboard() as socket:
        assert socket.subscribe(space)["data"]["people"] == 1
        api.beat(space, "s2")
        eventually(lambda: socket.people(space) == 2, 5, last=lambda: socket.frames[-3:])
        assert_no_gaps(socket.headcounts(space))
