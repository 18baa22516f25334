"""Course viewers over Convex's sync socket: a client with the package's own rules, on the real
handlers."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
from headcount.model.sync import timestamp

from lab.harness.world import World
from tests.support.convex import PATH, ConvexClient, number

COUNT = "getLiveViewerCount"
NOBODY = {"total": 0, "byChapter": {}}


@pytest.fixture
def client(world: World) -> ConvexClient:
    """A page with an open connection."""
    client = ConvexClient(world)
    client.open()
    settle(client)
    return client


def settle(*clients: ConvexClient) -> None:
    """Run everything that is queued, and have the clients read."""
    clients[0].world.settle()
    for client in clients:
        client.read()


def counts(client: ConvexClient, query: int) -> tuple[int, dict[str, int]]:
    """What the client shows for the query of a count."""
    value = client.results[query]
    return value["total"], value["byChapter"]


def enter(world: World, user: str, course: str = "c1", **fields: Any) -> None:
    """A viewer comes, or changes the chapter, by HTTP."""
    body = {"userId": user, **fields}
    assert world.http("POST", f"/api/courses/{course}/presence", body=body).status == 200


def leave(world: World, user: str, course: str = "c1") -> None:
    """A viewer leaves, by HTTP."""
    path = f"/api/courses/{course}/presence"
    assert world.http("DELETE", path, query={"userId": user}).status == 200


# ------------------------------------------------------------------------------------------ queries


def test_a_query_has_its_value_at_once_and_follows_every_change(
    client: ConvexClient, world: World
) -> None:
    query = client.watch(COUNT, courseId="c1")
    settle(client)
    assert client.results == {query: NOBODY}
    enter(world, "ada", chapterId="intro")
    settle(client)
    assert counts(client, query) == (1, {"intro": 1})
    world.clock.advance(2)
    enter(world, "ada", chapterId="loops")
    settle(client)
    assert counts(client, query) == (1, {"loops": 1})
    world.clock.advance(2)
    leave(world, "ada")
    settle(client)
    assert counts(client, query) == (0, {})


def test_several_queries_share_a_socket_and_change_apart(
    client: ConvexClient, world: World
) -> None:
    one, other = client.watch(COUNT, courseId="c1"), client.watch(COUNT, courseId="c2")
    settle(client)
    enter(world, "ada", "c2")
    settle(client)
    assert (counts(client, one)[0], counts(client, other)[0]) == (0, 1)
    before = client.transitions
    enter(world, "ben", "c3")
    settle(client)
    assert client.transitions == before


def test_a_query_that_ended_is_removed_and_its_course_forgotten(
    client: ConvexClient, world: World
) -> None:
    query, same = client.watch(COUNT, courseId="c1"), client.watch(COUNT, courseId="c1", limit=1)
    settle(client)
    client.unwatch(query)
    settle(client)
    assert client.results.keys() == {same}
    enter(world, "ada")
    settle(client)
    assert counts(client, same)[0] == 1
    client.unwatch(same)
    settle(client)
    assert not world.services("publish").subscriptions.subscribers("course:c1")
    before = client.transitions
    world.clock.advance(2)
    enter(world, "ben")
    settle(client)
    assert client.transitions == before


def test_a_version_that_changes_nothing_for_the_client_is_not_sent(
    client: ConvexClient, world: World
) -> None:
    client.watch(COUNT, courseId="c1")
    enter(world, "ada")
    settle(client)
    before = client.transitions
    world.clock.advance(2)
    enter(world, "ada", userName="Ada")  # a version, of the same numbers
    settle(client)
    assert client.transitions == before


@pytest.mark.parametrize(
    ("name", "args", "error"),
    [
        (COUNT, {}, "courseId is missing"),
        (COUNT, {"courseId": "not an id"}, "courseId is not valid"),
        ("getViewerMood", {"courseId": "c1"}, "Could not find public function"),
        ("recordPresence", {"courseId": "c1"}, "it is defined as Mutation"),
        ("getActiveViewers", {"courseId": "c1"}, "A token is missing"),
        ("getActiveViewers", {"courseId": "c1", "limit": 0}, "limit must be 1 or more"),
        (COUNT, {"courseId": {"$integer": "no"}}, "is not encoded in Convex's format"),
        ("\ud800", {"courseId": "c1"}, "Could not find public function for 'this path'"),
        (COUNT, {"courseId": "\ud800"}, "courseId is not valid"),
    ],
)
def test_a_query_fails_as_over_http(
    client: ConvexClient, name: str, args: dict[str, Any], error: str
) -> None:
    query = client.watch(name, **args)
    settle(client)
    assert error in client.results[query]
    assert client.fatal is None


def test_a_frame_that_overtakes_another_waits_for_it(client: ConvexClient, world: World) -> None:
    first = client.watch(COUNT, sent=False, courseId="c1")
    frame = client._modify([client._add(first, *client.queries[first])], base=1)
    second = client.watch(COUNT, courseId="c2")
    settle(client)
    assert client.results == {}
    client.send(frame)
    settle(client)
    assert client.results == {first: NOBODY, second: NOBODY}


@pytest.mark.parametrize("order", list(itertools.permutations(range(4))))
def test_the_first_frames_may_come_in_any_order(world: World, order: tuple[int, ...]) -> None:
    client = ConvexClient(world, token=world.token(sub="ada", name="Ada"))
    client.connection = "burst"
    client.queries[0] = ("liveViewers:getLiveViewerCount", {"courseId": "c1"})
    client.mutate("recordPresence", sent=False, courseId="c1")
    world.connect("burst", token="", path=PATH)
    frames = client.opening()
    clock = world.services("socket")
    sleep, others = clock.sleep, [frames[index] for index in order]

    def while_it_waits(seconds: float) -> None:
        """The others arrive, and are handled, while one waits."""
        sleep(seconds)
        clock.sleep = sleep
        while others:
            client.send(others.pop(0))
        world.settle()

    clock.sleep = while_it_waits
    while others:
        client.send(others.pop(0))
    settle(client)
    assert client.settled == {0: None}
    assert counts(client, 0) == (1, {})
    (row,) = [row for row in world.presence_rows() if row["partition"].startswith("course:c1")]
    assert row["user"] == "ada"
    assert row.get("verified")


# ---------------------------------------------------------------------------------------- mutations


def test_a_mutation_settles_once_the_queries_show_it(client: ConvexClient) -> None:
    query = client.watch(COUNT, courseId="c1")
    settle(client)
    request = client.mutate("recordPresence", courseId="c1", userId="ada", chapterId="intro")
    client.world.fan_out()  # nothing was counted and published yet
    client.read()
    assert client.settled == {request: None}
    assert counts(client, query) == (1, {"intro": 1})
    request = client.mutate("removePresence", courseId="c1", userId="ada")
    client.world.fan_out()
    client.read()
    assert client.settled[request] is None
    assert counts(client, query) == (0, {})


def test_a_steady_beat_settles_and_reads_no_course(client: ConvexClient, world: World) -> None:
    client.mutate("recordPresence", courseId="c1", userId="ada")
    client.watch(COUNT, courseId="c1")
    settle(client)
    world.clock.advance(30)
    client.mutate("recordPresence", courseId="c1", userId="ada")
    with world.engine.metered() as meter:
        world.fan_out()
    client.read()
    assert client.waiting == {}
    touched = {name for call in meter.calls for _, name in call.permissions}
    assert touched == {world.tables["subscriptions"].name}


@pytest.mark.parametrize(
    ("name", "args", "error"),
    [
        ("recordPresence", {"courseId": "c1"}, "The viewer is missing"),
        ("recordPresence", {"userId": "ada"}, "courseId is missing"),
        ("recordPresence", {"courseId": "c1", "userId": 1}, "userId must be a string"),
        ("recordPresence", {"courseId": "c1", "userId": "a", "chapterId": "é"}, "printable ASCII"),
        (COUNT, {"courseId": "c1"}, "it is defined as Query"),
        ("cleanupExpiredViewers", {}, "Could not find public function"),
    ],
)
def test_a_mutation_fails_as_over_http(
    client: ConvexClient, name: str, args: dict[str, Any], error: str
) -> None:
    request = client.mutate(name, **args)
    settle(client)
    assert error in client.settled[request]


@pytest.mark.parametrize("order", list(itertools.permutations(range(3))))
@pytest.mark.parametrize("user", ["sessionId", "userId"])
def test_mutations_that_overtake_each_other_end_as_they_were_sent(
    client: ConvexClient, user: str, order: tuple[int, ...]
) -> None:
    """React mounts twice in development: it records, removes, and records in one moment."""
    query = client.watch(COUNT, courseId="c1")
    frames = [
        client.waiting[client.mutate(name, sent=False, courseId="c1", **{user: "s1"})]
        for name in ("recordPresence", "removePresence", "recordPresence")
    ]
    for index in order:
        client.send(frames[index])
    settle(client)
    assert client.settled == {0: None, 1: None, 2: None}
    assert counts(client, query)[0] == 1
    client.mutate("removePresence", courseId="c1", **{user: "s1"})
    settle(client)
    assert counts(client, query)[0] == 0


def test_a_user_stays_until_the_last_page_has_left(world: World) -> None:
    pages = [ConvexClient(world, token=world.token(sub="ada")) for _ in range(2)]
    for page in pages:
        page.open()
        settle(page)
        page.mutate("recordPresence", courseId="c1")
        settle(page)
        world.clock.advance(2)
    query = pages[0].watch(COUNT, courseId="c1")
    pages[1].mutate("removePresence", courseId="c1")
    settle(*pages)
    assert counts(pages[0], query)[0] == 1
    world.clock.advance(2)
    pages[0].mutate("removePresence", courseId="c1")
    settle(*pages)
    assert counts(pages[0], query)[0] == 0


def test_an_action_fails_at_once(client: ConvexClient) -> None:
    client.send({"type": "Action", "requestId": 7, "udfPath": "liveViewers:mail", "args": [{}]})
    client.read()
    assert "Could not find public function" in client.settled[7]


def test_the_sessions_rate_is_that_of_http(client: ConvexClient) -> None:
    requests = [client.mutate("recordPresence", courseId="c1", userId="ada") for _ in range(30)]
    settle(client)
    refused = [one for one in requests if client.settled[one] is not None]
    assert 0 < len(refused) < 30
    assert "sends too much" in client.settled[refused[0]]


# ------------------------------------------------------------------------------------------- tokens


def test_a_token_proves_the_viewer(world: World) -> None:
    client = ConvexClient(world, token=world.token(sub="ada", name="Ada L."))
    client.open()
    settle(client)
    assert client.authenticated == [True]
    client.mutate("recordPresence", courseId="c1")
    settle(client)
    (viewer,) = world.get("/api/courses/c1/viewers", token=world.admin).body["viewers"]
    assert (viewer["userId"], viewer["verified"], viewer["name"]) == ("ada", True, "Ada L.")


def test_names_are_for_those_who_may_see_them(client: ConvexClient, world: World) -> None:
    enter(world, "ben", userName="Ben")
    settle(client)
    query = client.watch("getActiveViewers", courseId="c1")
    settle(client)
    assert "A token is missing" in client.results[query]
    client.authenticate(world.admin)
    settle(client)
    assert [viewer["name"] for viewer in client.results[query]] == ["Ben"]
    client.authenticate(None)
    settle(client)
    assert "A token is missing" in client.results[query]
    assert client.version["identity"] == 2


def test_a_token_that_is_not_valid_is_an_auth_error(client: ConvexClient, world: World) -> None:
    client.authenticate(world.token(sub="ada", secret="of another deployment, and long enough"))
    settle(client)
    (error,) = [f for f in world.management.frames[client.connection] if f["type"] == "AuthError"]
    assert error["baseVersion"] == 0
    assert error["authUpdateAttempted"] is True
    assert client.version["identity"] == 0


def test_a_token_that_ended_has_the_client_fetch_another(world: World) -> None:
    client = ConvexClient(world, token=world.token(sub="ada", headcount="admin"))
    client.open()
    query = client.watch("getActiveViewers", courseId="c1")
    settle(client)
    assert client.results[query] == []
    services = world.services("socket")
    _, until = services.verifier.verify_until(client.token or "")
    world.clock.advance((until - world.clock()) / 1000 + 1)
    request = client.mutate("recordPresence", courseId="c1")
    enter(world, "ben")
    settle(client)
    assert client.authenticated == [True, False, False]
    assert request in client.waiting
    assert client.results[query] == []


def test_nobody_waits_for_a_token_that_does_not_come_more_than_a_few_times(
    client: ConvexClient, world: World
) -> None:
    began = world.clock()
    for _ in range(20):
        client.mutate("recordPresence", courseId="c1", userId="ada")
        world.clock.advance(1)
    settle(client)
    assert 0 < world.clock() - began - 20_000 <= 5 * 600


# --------------------------------------------------------------------------------------- reconnects


def test_a_client_that_comes_back_has_everything_anew(client: ConvexClient, world: World) -> None:
    query = client.watch(COUNT, courseId="c1")
    settle(client)
    enter(world, "ada")
    world.disconnect(client.connection)
    world.settle()
    observed = client._observed
    client.open()
    settle(client)
    assert counts(client, query)[0] == 1
    assert observed is not None
    assert number(client.version["ts"]) > number(observed)


def test_a_mutation_that_is_sent_again_is_done_once_and_settles(
    client: ConvexClient, world: World
) -> None:
    request = client.mutate("recordPresence", courseId="c1", userId="ada")
    later = client.mutate("removePresence", courseId="c1", userId="ada")
    world.queue.messages.clear()  # lost: the client never heard of it
    world.disconnect(client.connection)
    client.open()
    settle(client)
    assert client.settled == {request: None, later: None}
    assert world.live_sessions() == []


def test_a_clock_that_was_ahead_does_not_keep_a_mutation_from_settling(
    client: ConvexClient, world: World
) -> None:
    request = client.mutate("recordPresence", courseId="c1", userId="ada")
    settle(client)
    client.waiting[request] = {
        "type": "Mutation",
        "requestId": request,
        "udfPath": "liveViewers:recordPresence",
        "args": [{"courseId": "c1", "userId": "ada"}],
    }
    del client.settled[request]
    ahead = number(client.version["ts"]) + 10**15
    client._observed = timestamp(ahead)
    client.open()
    settle(client)
    assert number(client.version["ts"]) > ahead
    assert client.settled == {request: None}


def test_an_ended_connection_leaves_no_row(client: ConvexClient, world: World) -> None:
    client.watch(COUNT, courseId="c1")
    settle(client)
    world.disconnect(client.connection)
    enter(world, "ada")
    world.settle()
    assert world.tables["subscriptions"].rows() == []


# ------------------------------------------------------------------------------------------- faults


def test_a_message_that_comes_twice_is_handled_once(client: ConvexClient, world: World) -> None:
    query = client.watch(COUNT, courseId="c1")
    settle(client)
    client.mutate("recordPresence", courseId="c1", userId="ada")
    (record,) = world.queue.messages
    world.fan_out()
    client.read()
    assert counts(client, query)[0] == 1
    # It is not known whether the first was sent: the client starts over.
    world.invoke("fanout", {"Records": [record]})
    world.close_silent()
    assert client.connection in world.management.closed
    client.read()
    client.open()
    settle(client)
    assert counts(client, query)[0] == 1


class CrashError(Exception):
    """The process ends."""


def test_a_crash_between_storing_and_telling_starts_over(
    client: ConvexClient, world: World
) -> None:
    query = client.watch(COUNT, courseId="c1")
    (record,) = world.queue.messages

    def crash() -> None:
        world.management.before_post = lambda: None
        raise CrashError

    world.management.before_post = crash
    with pytest.raises(Exception, match="could be delivered"):
        world.fan_out()
    client.read()
    assert client.results == {}
    world.invoke("fanout", {"Records": [record]})  # the queue brings it again
    world.close_silent()
    assert client.connection in world.management.closed
    client.open()
    settle(client)
    assert client.results == {query: NOBODY}


def test_a_post_that_may_not_have_arrived_starts_over(client: ConvexClient, world: World) -> None:
    client.watch(COUNT, courseId="c1")
    world.management.fail(client.connection, times=1)
    settle(client)
    assert client.connection in world.management.closed
    assert world.tables["subscriptions"].rows() == []


def test_a_throttled_post_is_sent_later(client: ConvexClient, world: World) -> None:
    query = client.watch(COUNT, courseId="c1")
    world.management.throttle(client.connection, times=3)
    settle(client)
    assert client.results == {query: NOBODY}
    assert client.connection not in world.management.closed


def test_a_client_that_is_gone_is_forgotten(client: ConvexClient, world: World) -> None:
    client.watch(COUNT, courseId="c1")
    world.management.set_gone(client.connection)
    settle(client)
    assert world.tables["subscriptions"].rows() == []


def test_one_of_many_that_fails_leaves_the_others_alone(world: World) -> None:
    clients = [ConvexClient(world) for _ in range(5)]
    for client in clients:
        client.open()
        client.watch(COUNT, courseId="c1")
    settle(*clients)
    world.management.hang(clients[2].connection)
    enter(world, "ada")
    world.count(world.filtered("count"))
    world.publish(world.filtered("publish"))
    world.fan_out()
    world.management.hanging.clear()
    world.close_silent()
    for client in clients:
        client.read()
    shown = [counts(client, 0)[0] for client in clients]
    assert shown == [1, 1, 0, 1, 1]
    assert world.management.closed == [clients[2].connection]


def test_dashboards_of_the_same_course_get_its_versions(client: ConvexClient, world: World) -> None:
    query = client.watch(COUNT, courseId="c1")
    settle(client)
    world.subscribe("dashboard", "course:c1")
    enter(world, "ada")
    settle(client)
    assert world.versions("dashboard", "course:c1") == [0, 1]
    assert counts(client, query)[0] == 1


def test_what_depends_on_a_service_that_fails_is_tried_again(
    client: ConvexClient, world: World
) -> None:
    """The connection is closed: the client comes back, and sends what did not settle."""

    def fail(**_: Any) -> None:
        raise ConnectionError

    services: Any = world.services("socket")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(services.presence._client, "update_item", fail, raising=False)
        patch.setattr(services.presence._client, "put_item", fail, raising=False)
        request = client.mutate("recordPresence", courseId="c1", userId="ada")
    settle(client)
    assert client.connection in world.management.closed
    assert client.settled == {}
    client.open()
    settle(client)
    assert client.settled == {request: None}


def test_a_token_that_can_not_be_checked_now_is_sent_again(
    client: ConvexClient, world: World
) -> None:
    world.secrets.secret = "too short"
    world.restart("socket")
    client.authenticate(world.token(sub="ada"))
    settle(client)
    assert client.authenticated == []
    assert client.connection in world.management.closed


def test_a_mutation_of_a_client_without_a_name_is_not_run(world: World) -> None:
    """Its place among the others is not known: the client sends it again."""
    client = ConvexClient(world)
    client.open()
    world.disconnect(client.connection)
    world.queue.messages.clear()
    world.connect(client.connection, token="", path=PATH)  # and the first frame is lost
    client.mutate("recordPresence", courseId="c1", userId="ada")
    assert client.connection in world.management.closed
    assert world.live_sessions() == []


def test_a_mutation_is_run_though_the_queue_is_late(world: World) -> None:
    client = ConvexClient(world)
    client.open()
    client.mutate("recordPresence", courseId="c1", userId="ada")
    assert len(world.live_sessions()) == 1


def test_a_lost_frame_ends_the_connection(client: ConvexClient, world: World) -> None:
    client.watch(COUNT, sent=False, courseId="c1")
    client.watch(COUNT, courseId="c2")
    settle(client)
    world.clock.advance(11)
    client.mutate("recordPresence", courseId="c1", userId="ada")
    settle(client)
    assert client.connection in world.management.closed


# ------------------------------------------------------------------------------------------- bounds


@pytest.mark.parametrize(
    "frame",
    [
        {"type": "Connect"},
        {"type": "Connect", "sessionId": "x" * 65},
        {"type": "Connect", "sessionId": "a", "maxObservedTimestamp": "no"},
        {"type": "ModifyQuerySet", "baseVersion": 0, "newVersion": 1, "modifications": {}},
        {"type": "ModifyQuerySet", "baseVersion": -1, "newVersion": 1, "modifications": []},
        {"type": "Mutation", "requestId": "1", "udfPath": "a:b", "args": []},
        {"type": "Mutation", "requestId": 1, "udfPath": "x" * 300, "args": []},
        {"type": "Mutation", "requestId": 1, "udfPath": "liveViewers:recordPresence", "args": [1]},
        {"type": "Authenticate", "tokenType": "Root", "baseVersion": 0},
        {"type": "Event", "event": "x" * 17_000},
        {"type": "Subscribe"},
        {"action": "subscribe", "space": "course:c1"},
        "no JSON",
        "[" * 3_000,
        '{"type": "Connect", "sessionId": "\\ud800"}',
    ],
    ids=range(15),
)
def test_a_frame_that_breaks_the_protocol_ends_the_client_and_stores_nothing(
    client: ConvexClient, world: World, frame: Any
) -> None:
    before = world.snapshot()
    client.send(frame)
    client.read()
    assert client.fatal
    assert client.connection in world.management.closed
    assert world.queue.messages == []
    assert world.snapshot() == before


def test_a_limit_of_any_size_is_twenty_at_most(world: World) -> None:
    client = ConvexClient(world, token=world.admin)
    client.open()
    query = client.watch("getActiveViewers", courseId="c1", limit=10**400)
    settle(client)
    assert client.results[query] == []


def test_queries_are_bounded(client: ConvexClient, world: World) -> None:
    for course in range(51):
        client.watch(COUNT, courseId=f"c{course}")
    settle(client)
    assert client.fatal == "A connection may have at most 50 queries at a time."
    assert client.connection in world.management.closed


def test_frames_are_bounded(client: ConvexClient, world: World) -> None:
    for _ in range(201):
        client.unwatch(client.watch(COUNT, courseId="c1"))
        world.clock.advance(0.001)
    settle(client)
    assert client.connection in world.management.closed


def test_connections_of_a_network_are_bounded(world: World) -> None:
    world.redeploy(Limits="joins-per-source=100")
    answers = {ConvexClient(world).open()["statusCode"] for _ in range(101)}
    assert answers == {200, 429}


def test_joins_of_a_network_are_bounded_as_by_http(world: World) -> None:
    world.redeploy(Limits="joins-per-source=100")
    client = ConvexClient(world)
    client.open()
    settle(client)
    for session in range(101):
        client.mutate("recordPresence", courseId="c1", sessionId=f"s{session}")
    settle(client)
    refused = [error for error in client.settled.values() if error is not None]
    assert len(refused) == 1
    assert "Too many new sessions come from this network" in refused[0]


def test_a_connection_of_the_sync_protocol_reads_nothing_else(
    client: ConvexClient, world: World
) -> None:
    """No address and no name of a viewer is stored with it."""
    client.watch(COUNT, courseId="c1", userId="ada", userName="Ada")
    settle(client)
    text = str(world.tables["subscriptions"].rows())
    assert "ada" not in text.lower()
    assert "198.51" not in text
    assert "203.0.113" not in text


def test_an_erasure_forgets_the_connection_of_the_person(world: World) -> None:
    clients = {user: ConvexClient(world, token=world.token(sub=user)) for user in ("ada", "ben")}
    for client in clients.values():
        client.open()
        client.watch(COUNT, courseId="c1")
    settle(*clients.values())
    world.http("POST", "/v1/erasures", body={"userId": "ada"}, token=world.admin)
    while world.queue.erasures:
        wait, text = world.queue.erasures.pop(0)
        world.clock.advance(wait)
        world.invoke("erase", {"Records": [{"body": text}]})
    enter(world, "cyd")
    settle(*clients.values())
    text = str(world.tables["subscriptions"].rows())
    assert clients["ada"].connection not in text
    assert clients["ben"].connection in text
    clients["ada"].mutate("recordPresence", courseId="c1")
    assert clients["ada"].connection in world.management.closed


def test_long_results_come_in_several_transitions(world: World) -> None:
    world.redeploy(Kinds="course:counts=public,names=public")
    client = ConvexClient(world)
    client.open()
    for viewer in range(20):
        enter(world, f"user-{viewer}", userName=f"{viewer}" + "n" * 90, chapterId="c" * 60)
    world.settle()
    added = []
    for limit in range(1, 21):
        client.queries[limit] = ("liveViewers:getActiveViewers", {"courseId": "c1", "limit": limit})
        added.append(client._add(limit, *client.queries[limit]))
    client.send(client._modify(added, base=1))
    settle(client)
    assert client.transitions > 2
    assert [len(client.results[limit]) for limit in range(1, 21)] == list(range(1, 21))
    assert client.version["querySet"] == 2


# -------------------------------------------------------------------------------------------- pings


def test_clients_are_pinged_twice_a_minute(client: ConvexClient, world: World) -> None:
    other = ConvexClient(world)
    other.open()
    settle(client, other)
    world.sweep()
    assert world.queue.delays[-2:] == [0, 30]
    settle(client, other)
    assert (client.pings, other.pings) == (2, 2)
    for one in (client, other):
        world.disconnect(one.connection)
    before = len(world.queue.delays)
    world.sweep()
    assert len(world.queue.delays) == before
