"""Share links: what they open, for how long, and what they never open."""

from __future__ import annotations

import re
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from headcount.model.share import MAX_SHARES
from headcount.store.attributes import encode
from headcount.times import DAY, HOUR, MINUTE, SECOND

from lab.harness.engines import Engine
from lab.harness.world import SITE, Answer, World
from tests.conftest import Worlds

KINDS = "site course:names=users stream"  # without public counts
PATH = f"/v1/spaces/{SITE}"


@pytest.fixture
def world(memory: Engine, worlds: Worlds) -> World:
    return worlds(memory, Kinds=KINDS)


def make(world: World, token: str | None = None, **body: Any) -> Answer:
    sent = {"space": SITE, **body} if "kind" not in body else body
    return world.http("POST", "/v1/shares", body=sent, token=token or world.admin)


def link(world: World, **body: Any) -> tuple[str, str]:
    """A new link's id and token."""
    answer = make(world, **body)
    assert answer.status == 201, answer
    return answer.body["id"], answer.body["token"]


def revoke(world: World, id_: str, token: str | None = None) -> Answer:
    return world.http("DELETE", f"/v1/shares/{id_}", token=token or world.admin)


def scoped(world: World, *scopes: str) -> str:
    return world.token(sub="service", headcount_scopes=" ".join(scopes))


# -------------------------------------------------------------------------------- what a link opens


def test_a_link_reads_numbers_and_history_of_its_space_and_nothing_else(world: World) -> None:
    world.beat("s1", userId="u1", name="Uma")
    world.beat("s2", "site:blog")
    world.settle()
    _, token = link(world)

    assert world.get(PATH, token=token).body["people"] == 1
    for part in ("/timeline", "/days"):
        assert world.get(PATH + part, token=token).status == 200
    spaces = world.get("/v1/spaces", token=token).body["spaces"]
    assert [one["space"] for one in spaces] == [SITE]

    for part in (
        "/viewers",
        "/explain",
        "/snapshot",
        "/alerts",
        "/messages",
        "/removals",
        "/audit",
    ):
        assert world.get(PATH + part, token=token).status == 403, part
    assert world.get("/v1/spaces/site:blog", token=token).status == 403
    assert world.get("/v1/erasures", token=token).status == 403
    assert world.get("/v1/shares", token=token).status == 403


def test_a_link_changes_nothing(world: World) -> None:
    world.beat("s1", userId="u1")
    world.settle()
    id_, token = link(world, space="stream:a")
    before = world.snapshot()
    stream = "/v1/spaces/stream:a"
    for method, path, body in (
        ("POST", f"{stream}/messages", {"text": "Hello"}),
        ("POST", f"{stream}/removals", {"sessionId": "s1"}),
        ("PUT", f"{stream}/alerts/rush", {"type": "milestone", "people": 9}),
        ("PUT", f"{stream}/engagement/chat", {"total": 5}),
        ("POST", "/api/streams", {"id": "a"}),
        ("POST", "/api/streams/a/start", None),
        ("POST", "/api/v1/analytics/streams/a/infrastructure", {"source": "cdn"}),
        ("POST", "/v1/erasures", {"userId": "u1"}),
        ("POST", "/v1/shares", {"space": "stream:a"}),
        ("DELETE", f"/v1/shares/{id_}", None),
        ("POST", "/api/containers/launch/e1", None),
    ):
        assert world.http(method, path, body=body, token=token).status == 403, path
    assert world.snapshot() == before


def test_a_link_makes_its_holder_nobody(world: World) -> None:
    _, token = link(world, space="course:c1")
    # Names of courses are for every user with a token; the holder of a link is no user.
    assert world.get("/v1/spaces/course:c1/viewers", token=token).status == 403
    assert world.get("/api/courses/c1/viewers", token=token).status == 403
    assert world.get("/api/courses/c1/viewers/count", token=token).status == 200
    answer = world.beat("s1", "course:c1", token=token, userId="u1")
    assert "count" not in answer.body, "a beat with a link is a beat without a token"
    (row,) = world.presence_rows()
    assert not row.get("verified")


def test_a_link_to_a_kind_opens_its_spaces(world: World) -> None:
    for space in (SITE, "site:blog", "course:c1"):
        world.beat("s1", space)
    world.settle()
    _, token = link(world, kind="site")
    assert world.get("/v1/spaces/site:blog", token=token).status == 200
    assert world.get("/v1/spaces/course:c1", token=token).status == 403
    spaces = world.get("/v1/spaces", token=token).body["spaces"]
    assert {one["space"] for one in spaces} == {SITE, "site:blog"}


def test_the_url_carries_the_secret_in_its_fragment_only(world: World) -> None:
    made = world.http(
        "POST",
        "/v1/shares",
        body={"space": SITE, "view": "wall", "label": "Lobby", "expiresIn": 3600},
        token=world.admin,
        headers={"host": "live.example.test", "x-forwarded-proto": "https"},
    ).body
    url = urlsplit(made["url"])
    assert (url.scheme, url.netloc, url.path, url.query) == (
        "https",
        "live.example.test",
        "/dashboard",
        "",
    )
    assert parse_qs(url.fragment) == {"token": [made["token"]], "space": [SITE], "show": ["wall"]}
    assert (made["space"], made["label"], made["state"]) == (SITE, "Lobby", "open")
    kind = urlsplit(make(world, kind="site").body["url"])
    assert {"view": ["spaces"], "kind": ["site"]}.items() <= parse_qs(kind.fragment).items()


def test_the_secret_is_stored_nowhere(world: World) -> None:
    _, token = link(world, label="Lobby")
    _, _, secret = token.split("_")
    hashed = [row for row in world.tables["streams"].rows() if row["partition"] == "shares"]
    assert len(hashed) == 1
    assert len(hashed[0]["hash"]) == 64
    assert f"_{secret}" not in str(world.snapshot())
    listed = world.get("/v1/shares", token=world.admin)
    assert secret not in str(listed.body)


# ---------------------------------------------------------------------------------- how a link ends


def test_an_expired_link_is_refused_and_says_so(world: World) -> None:
    _, token = link(world, expiresIn=3600)
    world.clock.advance(3599)
    assert world.get(PATH, token=token).status == 200
    world.clock.advance(1)
    refused = world.get(PATH, token=token)
    assert (refused.status, "expired" in refused.body["error"]) == (401, True)


def test_a_revoked_link_is_refused_at_once_and_says_so(world: World) -> None:
    id_, token = link(world)
    assert revoke(world, id_).body["state"] == "revoked"
    refused = world.get(PATH, token=token)
    assert (refused.status, "revoked" in refused.body["error"]) == (401, True)
    assert world.connect("c1", token=token)["statusCode"] == 401
    assert revoke(world, id_).status == 404, "it can't be revoked twice"


def test_a_forged_link_is_refused(world: World) -> None:
    id_, token = link(world)
    others = [
        "share_",
        f"share_{id_}",
        f"share_{id_}_",
        f"{token}0",
        f"share_{id_}_{'0' * 32}",
        token.replace(id_, "other"),
        f"share_{'x' * 9000}_y",
        "share_é_é",
    ]
    for forged in others:
        refused = ask(world, forged)
        assert (refused.status, refused.body["success"]) == (401, False), forged


def ask(world: World, token: str) -> Answer:
    return world.http("GET", PATH, query={"token": token})


def test_a_damaged_row_opens_nothing(world: World) -> None:
    id_, token = link(world)
    table = world.tables["streams"]
    (row,) = (row for row in table.rows() if row["partition"] == "shares")
    for damage in ({"until": "soon"}, {"hash": 5}, {"where": 1}, {"revoked_at": "x"}):
        table.put(encode({**row, **damage}))
        assert ask(world, token).status == 401, damage
        assert world.get("/v1/shares", token=world.admin).body["shares"] == []
        assert revoke(world, id_).status == 404


def test_revoking_closes_the_sockets_that_the_link_opened(world: World) -> None:
    id_, token = link(world)
    _, other = link(world)
    world.beat("s1")
    world.settle()
    for connection, opened_by in (("c1", token), ("c2", other), ("c3", world.admin)):
        assert world.connect(connection, token=opened_by) == {"statusCode": 200}
        world.send(connection, {"action": "subscribe", "space": SITE})
        assert world.versions(connection)
    world.management.closed.clear()

    revoke(world, id_)
    world.settle()

    assert set(world.management.closed) == {"c1"}


def test_a_socket_that_was_being_opened_is_closed_a_little_later(world: World) -> None:
    id_, _ = link(world)
    revoke(world, id_)
    delays = [task["due"] - world.clock() for task in world.queue.deferred]
    assert delays == [0, 20 * SECOND]


def test_the_sweep_closes_the_sockets_of_expired_links(world: World) -> None:
    _, token = link(world, expiresIn=120)
    _, longer = link(world, expiresIn=3600)
    world.connect("c1", token=token)
    world.connect("c2", token=longer)
    world.clock.advance(119)
    world.sweep()
    world.settle()
    assert world.management.closed == []
    world.clock.advance(1)
    world.sweep()
    world.settle()
    assert world.management.closed == ["c1"]


def test_a_link_s_socket_gets_its_space_only(world: World) -> None:
    _, token = link(world)
    world.connect("c1", token=token)
    for space in (SITE, "site:blog"):
        world.send("c1", {"action": "subscribe", "space": space})
    headcount, error = world.management.frames["c1"]
    assert (headcount["type"], headcount["space"]) == ("headcount", SITE)
    assert "read:site:blog" in error["error"]
    world.disconnect("c1")
    assert world.tables["subscriptions"].rows() == [], "nothing is left of it"


def test_a_link_s_socket_may_subscribe_to_fifty_spaces(world: World) -> None:
    _, token = link(world, kind="site")
    world.connect("c1", token=token)
    for number in range(51):
        world.send("c1", {"action": "subscribe", "space": f"site:s{number}"})
    kinds = [frame["type"] for frame in world.management.frames["c1"]]
    assert kinds == ["headcount"] * 50 + ["error"]


# --------------------------------------------------------------------- making, listing and revoking


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ({"space": None}, "Send a space, or a kind"),
        ({"space": SITE, "kind": "site"}, ""),
        ({"space": "nowhere:main"}, "not declared"),
        ({"kind": "nowhere"}, "not declared"),
        ({"kind": "*"}, "not declared"),
        ({"expiresIn": 59}, "expiresIn"),
        ({"expiresIn": 367 * 86_400}, "expiresIn"),
        ({"expiresIn": 60, "expiresAt": "2026-12-24T00:00:00Z"}, "not both"),
        ({"expiresAt": "yesterday"}, "ISO 8601"),
        ({"expiresAt": "2001-01-01T00:00:00Z"}, "between a minute and 366 days"),
        ({"label": "x" * 81}, "label"),
        ({"view": "desk"}, "view"),
    ],
)
def test_a_wrong_request_is_explained_and_stores_nothing(
    world: World, body: dict[str, Any], words: str
) -> None:
    before = world.snapshot()
    if body.get("space") and "kind" in body:
        answer = world.http("POST", "/v1/shares", body=body, token=world.admin)
    else:
        answer = make(world, **body)
    assert answer.status == 400, answer
    assert words in str(answer.body)
    assert world.snapshot() == before


def test_a_token_shares_what_it_may_read_and_share(world: World) -> None:
    assert make(world, token=scoped(world, f"share:{SITE}", "read:site:*")).status == 201
    for scopes, missing in (
        ([f"share:{SITE}"], "read:site:main"),
        (["share:site:blog", "read:*"], "share:site:main"),
        (["read:*", "moderate:*"], "share"),
    ):
        refused = make(world, token=scoped(world, *scopes))
        assert refused.status == 403
        assert missing in refused.body["error"]
    narrow = scoped(world, f"share:{SITE}", f"read:{SITE}")
    assert world.http("POST", "/v1/shares", body={"kind": "site"}, token=narrow).status == 403
    wide = scoped(world, "share:site:*", "read:site:*")
    assert world.http("POST", "/v1/shares", body={"kind": "site"}, token=wide).status == 201


def test_a_token_lists_and_revokes_the_links_that_it_may_share(world: World) -> None:
    mine, _ = link(world)
    others, token = link(world, space="course:c1")
    whole, _ = link(world, kind="site")
    narrow = scoped(world, f"share:{SITE}")

    def listed(by: str) -> set[str]:
        return {one["id"] for one in world.get("/v1/shares", token=by).body["shares"]}

    assert listed(narrow) == {mine}
    assert listed(scoped(world, "share:site:*")) == {mine, whole}
    assert listed(world.admin) == {mine, others, whole}
    assert revoke(world, others, narrow).status == 404
    assert revoke(world, whole, narrow).status == 404
    assert world.get("/v1/spaces/course:c1", token=token).status == 200
    assert revoke(world, mine, narrow).status == 200
    assert revoke(world, "no-such").status == 404
    assert revoke(world, "~").status == 404


def test_a_list_says_what_became_of_a_link(world: World) -> None:
    link(world, label="open", expiresIn=7 * 86_400)
    id_, _ = link(world, label="revoked")
    link(world, label="expired", expiresIn=60)
    revoke(world, id_)
    world.clock.advance(61)
    shares = world.get("/v1/shares", token=world.admin).body["shares"]
    assert {one["label"]: one["state"] for one in shares} == {
        name: name for name in ("open", "revoked", "expired")
    }
    rows = [row for row in world.tables["streams"].rows() if row["partition"] == "shares"]
    for row in rows:
        assert row["ttl"] == (row["until"] + 30 * DAY) // SECOND


def test_making_and_revoking_is_in_the_activity_log_without_the_secret(world: World) -> None:
    service = scoped(world, "share:*", "read:*")
    id_, token = link(world, label="Lobby", expiresIn=HOUR // SECOND)
    world.clock.advance(MINUTE // SECOND)
    revoke(world, id_, service)
    whole, _ = link(world, kind="site")
    acts = world.get(f"{PATH}/audit", token=world.admin).body["acts"]
    assert [(one["who"], one["what"], one["parameters"]["id"]) for one in reversed(acts)] == [
        ("admin", "createShare", id_),
        ("service", "revokeShare", id_),
        ("admin", "createShare", whole),
    ]
    assert acts[-1]["parameters"]["label"] == "Lobby"
    assert token.rpartition("_")[2] not in str(acts)
    assert world.get("/v1/spaces/course:c1/audit", token=world.admin).body["acts"] == []


def test_what_can_not_be_logged_is_not_made(world: World) -> None:
    world.services("api").history.add_audit_entry = broken  # type: ignore[method-assign]
    assert make(world).status == 500
    assert world.tables["streams"].rows() == []


def broken(*_: Any) -> None:
    raise RuntimeError


def test_there_is_a_most_number_of_links(world: World) -> None:
    table = world.tables["streams"]
    link(world)
    (row,) = (row for row in table.rows() if row["partition"] == "shares")
    for number in range(MAX_SHARES - 1):
        table.put(encode({**row, "sort": f"other-{number}"}))
    refused = make(world)
    assert (refused.status, str(MAX_SHARES) in refused.body["error"]) == (409, True)


# ------------------------------------------------------------------------------ what a token allows


def test_a_token_learns_what_it_allows(world: World) -> None:
    def allowed(token: str) -> Any:
        answer = world.get("/v1/token", token=token)
        assert answer.status == 200, answer
        return answer.body

    admin = allowed(world.admin)
    assert admin["admin"] is True
    assert set(admin["allows"]) >= {"read", "people", "moderate", "share"}
    assert admin["allows"]["read"] == ["*"]
    service = allowed(scoped(world, "read:site:*", "people:site:main", "read:no such space"))
    assert service["allows"] == {"read": ["site:*"], "people": [SITE]}
    assert (service["admin"], service["name"], service["share"]) == (False, "service", None)
    assert allowed(world.token(sub="u1", name="Uma"))["allows"] == {}
    id_, token = link(world, expiresIn=3600)
    share = allowed(token)
    assert share["allows"] == {"read": [SITE]}
    assert (share["share"]["id"], share["share"]["space"], share["name"]) == (id_, SITE, None)
    assert re.fullmatch(r"20\d\d-.*Z", share["share"]["expiresAt"])


def test_without_a_valid_token_there_is_nothing_to_learn(world: World) -> None:
    for token in (None, "nonsense", "share_x_y"):
        refused = world.get("/v1/token", token=token)
        assert (refused.status, refused.body["success"]) == (401, False)


def test_a_link_opens_no_feed_of_containers(world: World) -> None:
    _, token = link(world, kind="stream")
    path = f"/api/ws/container/{'0' * 31}1"
    assert world.connect("c1", token=token, path=path)["statusCode"] == 403
    assert world.connect("c2", token=token, path="/api/ws/analytics/realtime") == {
        "statusCode": 200
    }
