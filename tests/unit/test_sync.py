"""Convex's sync protocol, as pure steps: any order of frames leads to the same state, by versions
that follow each other."""

from __future__ import annotations

from itertools import permutations
from typing import Any

import pytest
from headcount.model.access import Caller
from headcount.model.sync import (
    LONGEST_WAIT,
    MAX_CAUSES,
    MAX_MESSAGE,
    MAX_WAITING,
    Cause,
    Changed,
    Connected,
    Identified,
    LostError,
    Modified,
    ProtocolError,
    Result,
    Settled,
    SyncState,
    Watched,
    apply,
    finish,
    pack,
    read_timestamp,
    timestamp,
    unpack_cause,
    unpack_state,
)
from hypothesis import given
from hypothesis import strategies as st

NOW = 1_795_262_400_000
ADA = Caller(subject="ada", admin=False, scopes=frozenset({"read:course:c1"}))


class Client:
    """A client that throws where the package does, and the state that the server keeps of it."""

    def __init__(self) -> None:
        self.state = SyncState(since=NOW, client="client")
        self.version = {"querySet": 0, "identity": 0, "ts": timestamp(0)}
        self.results: dict[int, Any] = {}
        self.settled: list[int] = []
        self.pending: dict[int, int] = {}

    def hears(self, cause: Cause, value: Any = 1, now: int = NOW) -> list[dict[str, Any]]:
        """Apply a cause; all its queries have this value."""
        before = self.state
        step = apply(before, unpack_cause(pack(cause)), now)
        results = {number: Result(value) for number in step.evaluate}
        after, messages = finish(before, step, results, now)
        for message in messages:
            self._take(message)
        self.state = unpack_state(pack(after))
        assert self.state == after
        return messages

    def _take(self, message: dict[str, Any]) -> None:
        if message["type"] == "MutationResponse":
            if message["success"]:
                self.pending[message["requestId"]] = read_timestamp(message["ts"])
            return
        assert message["startVersion"] == self.version
        self.version = message["endVersion"]
        reached = read_timestamp(self.version["ts"])
        assert reached > read_timestamp(message["startVersion"]["ts"])
        for one in message["modifications"]:
            if one["type"] == "QueryRemoved":
                del self.results[one["queryId"]]
            else:
                self.results[one["queryId"]] = one.get("value")
        for request, ts in list(self.pending.items()):
            if ts <= reached:
                self.settled.append(request)
                del self.pending[request]


def added(base: int, *queries: int, removed: tuple[int, ...] = ()) -> Modified:
    """A frame that adds queries of the course of the same number."""
    watched = {n: Watched("liveViewers:f", {"courseId": f"c{n}"}, f"course:c{n}") for n in queries}
    return Modified(base, base + 1, watched, list(removed))


FRAMES: list[Cause] = [
    Connected("client", 5),
    added(0, 1),
    added(1, 2, 3),
    added(2, 4, removed=(1, 3)),
    Identified(0, ADA, NOW * 2),
    Identified(1),
    Settled(0, space="course:c2"),
]


@given(st.permutations(FRAMES), st.lists(st.sampled_from(FRAMES[1:6]), max_size=5))
def test_frames_in_any_order_and_twice_lead_to_the_same(
    order: list[Cause], repeated: list[Cause]
) -> None:
    client = Client()
    for cause in [*order, *repeated]:
        client.hears(cause)
    assert client.results.keys() == {2, 4} == client.state.queries.keys()
    assert (client.version["querySet"], client.version["identity"]) == (3, 2)
    assert client.settled == [0]
    assert client.state.waiting == []
    assert client.state.caller is None
    assert client.state.client == "client"


def test_frames_of_one_kind_in_every_order() -> None:
    for order in permutations(FRAMES[1:4]):
        client = Client()
        for cause in order:
            client.hears(cause)
        assert client.results == {2: 1, 4: 1}


def test_a_query_is_client_again_only_if_its_value_is_another() -> None:
    client = Client()
    client.hears(added(0, 1, 2))
    assert client.hears(Changed("course:c1")) == []
    assert client.hears(Changed("course:c9"), value=2) == []
    (message,) = client.hears(Changed("course:c1"), value=2)
    assert [one["queryId"] for one in message["modifications"]] == [1]
    assert client.results == {1: 2, 2: 1}


def test_a_failure_is_client_and_ends() -> None:
    client = Client()
    step = apply(client.state, added(0, 1), NOW)
    state, (message,) = finish(client.state, step, {1: Result(error="no")}, NOW)
    (failed,) = message["modifications"]
    assert (failed["type"], failed["errorMessage"]) == ("QueryFailed", "no")
    step = apply(state, Changed("course:c1"), NOW)
    _, (message,) = finish(state, step, {1: Result(3)}, NOW)
    assert message["modifications"][0]["type"] == "QueryUpdated"


def test_a_mutation_settles_though_nothing_changed() -> None:
    client = Client()
    for request in range(3):  # in one millisecond
        client.hears(Settled(request))
    assert client.settled == [0, 1, 2]


def test_a_failed_mutation_needs_no_transition() -> None:
    (message,) = Client().hears(Settled(0, error="no"))
    assert message == {
        "type": "MutationResponse",
        "requestId": 0,
        "logLines": [],
        "success": False,
        "result": "no",
    }


def test_the_timestamp_grows_though_the_clock_goes_back() -> None:
    client = Client()
    client.hears(Settled(0))
    client.hears(Settled(1), now=NOW - 60_000)
    assert client.settled == [0, 1]


@pytest.mark.parametrize(
    ("observed", "at_least"),
    [(NOW * 10**6 + 10**15, NOW * 10**6 + 10**15), (2**62, 0), (2**64 - 1, 0)],
)
def test_the_timestamp_is_beyond_what_the_client_saw_unless_that_is_no_time(
    observed: int, at_least: int
) -> None:
    client = Client()
    client.hears(Connected("client", observed))
    client.hears(Settled(0))
    assert at_least < read_timestamp(client.version["ts"]) < 2**62


def test_who_the_client_is_ends_with_its_token() -> None:
    client = Client()
    client.hears(Identified(0, ADA, NOW + 5))
    assert client.state.caller_at(NOW + 4) == ADA
    assert client.state.caller_at(NOW + 5) is None


def test_long_results_are_split_and_only_the_last_part_is_the_new_version() -> None:
    client = Client()
    messages = client.hears(added(0, *range(10)), value="x" * (MAX_MESSAGE // 3))
    assert len(messages) > 1
    assert [one["endVersion"]["querySet"] for one in messages] == [0] * (len(messages) - 1) + [1]
    assert client.results.keys() == set(range(10))


def test_a_frame_waits_for_one_that_it_overtook_but_not_for_ever() -> None:
    client = Client()
    client.hears(added(1, 2))
    client.hears(Changed("course:c1"), now=NOW + LONGEST_WAIT)
    with pytest.raises(LostError):
        client.hears(Changed("course:c1"), now=NOW + LONGEST_WAIT + 1)


@pytest.mark.parametrize("first", [Connected("client"), added(0, 1)])
def test_a_client_whose_first_frames_are_lost_starts_over(first: Cause) -> None:
    """It would wait for ever: it is pinged, so it does not reconnect by itself."""
    client = Client()
    client.state = SyncState(since=NOW)
    client.hears(first)
    client.hears(Settled(0), now=NOW + LONGEST_WAIT)
    with pytest.raises(LostError):
        client.hears(Settled(1), now=NOW + LONGEST_WAIT + 1)


def test_few_frames_may_wait() -> None:
    client = Client()
    for base in range(1, MAX_WAITING + 1):
        client.hears(added(base, base))
    with pytest.raises(LostError):
        client.hears(added(MAX_WAITING + 1, 1))


def test_frames_are_counted_and_versions_are_not() -> None:
    client = Client()
    for request in range(MAX_CAUSES):
        client.hears(Settled(request))
        client.hears(Changed("course:c1"))
    with pytest.raises(LostError):
        client.hears(Settled(0))
    client.hears(Settled(0), now=NOW + 10_000)


def test_queries_are_bounded() -> None:
    with pytest.raises(ProtocolError):
        Client().hears(added(0, *range(51)))


@pytest.mark.parametrize("text", ["", "AAAA", "é", "AAAAAAAAAAAA", "!"])
def test_a_timestamp_is_eight_bytes(text: str) -> None:
    with pytest.raises(ProtocolError):
        read_timestamp(text)


def test_timestamps_are_those_of_the_package() -> None:
    assert timestamp(0) == "AAAAAAAAAAA="
    assert timestamp(258) == "AgEAAAAAAAA="
    assert read_timestamp(timestamp(2**64 - 1)) == 2**64 - 1
