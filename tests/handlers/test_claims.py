"""A user id without a token is a claim: equal claims are one person, and never the proven user."""

from __future__ import annotations

from typing import Any

import pytest

from lab.harness.consumer import EVENTS, sent_events
from lab.harness.engines import Engine
from lab.harness.world import SITE, World
from tests.conftest import Worlds
from tests.support.moderation import act, ask, try_beat

pytestmark = pytest.mark.parametrize("shards", ["1", "3"])


@pytest.fixture
def world(memory: Engine, worlds: Worlds, shards: str) -> World:
    """A deployment with this many shards."""
    return worlds(memory, ShardsPerSpace=shards)


def numbers(world: World) -> tuple[int, int, int]:
    """People, signed in and sessions."""
    world.settle()
    body = world.headcount()
    return body["people"], body["signedIn"], body["sessions"]


def viewers(world: World) -> dict[str, Any]:
    """The list's sessions by id."""
    found = act(world, "GET", "viewers").body["viewers"]
    return {one["sessionId"]: one for one in found}


def day(world: World) -> tuple[int, int]:
    """People and users of today."""
    (today,) = act(world, "GET", "days", query={"from": "2026-11-21"}).body["days"]
    return today["uniquePeople"], today["uniqueUsers"]


def test_a_claim_does_not_show_that_the_user_is_here(world: World) -> None:
    world.beat("hers", token=world.token(sub="ada"), page="/pregnancy")
    before = numbers(world)
    world.beat("his", userId="ada", page="/probe")
    assert (before, numbers(world)) == ((1, 1, 1), (2, 2, 2))
    pages = {one["value"]: one["people"] for one in world.headcount()["facets"]["page"]}
    assert pages == {"/pregnancy": 1, "/probe": 1}
    assert {name: one["verified"] for name, one in viewers(world).items()} == {
        "hers": True,
        "his": False,
    }
    assert day(world) == (2, 2)


def test_equal_claims_are_one_person_and_signed_in(world: World) -> None:
    world.beat("one", userId="ada", visitorId="v1")
    world.beat("two", userId="ada", visitorId="v2")
    world.beat("other", userId="ben")
    assert numbers(world) == (2, 2, 3)
    assert day(world) == (2, 2)


def test_a_claim_that_its_token_proves_later_is_one_user_of_the_day(world: World) -> None:
    world.beat("hers", userId="ada")
    world.beat("hers", token=world.token(sub="ada"))
    assert numbers(world) == (1, 1, 1)
    assert day(world) == (1, 1)
    world.leave("hers")
    world.settle()
    assert day(world) == (1, 1)


def test_of_a_visit_the_day_knows_whom_a_token_proved(world: World) -> None:
    world.beat("shared", userId="claimed")
    world.beat("shared", token=world.token(sub="ada"))
    world.beat("shared")
    world.beat("shared", token=world.token(sub="ben"))
    world.leave("shared")
    world.beat("claims", userId="ada")
    world.beat("claims", token=world.token(sub="claimed"))
    world.leave("claims")
    world.settle()
    # Proven: ada, ben, claimed. Claimed: claimed, ada.
    assert day(world) == (5, 5)


@pytest.mark.parametrize("verified", [True, False, None])
def test_a_removal_is_of_the_claim_or_of_the_proven_user(
    world: World, *, verified: bool | None
) -> None:
    token = world.token(sub="ada")
    world.beat("hers", token=token)
    world.beat("his", userId="ada", visitorId="his browser")
    world.settle()
    body = {"userId": "ada", "seconds": 60, **({} if verified is None else {"verified": verified})}
    answer = ask(world, "POST", "removals", body, token=world.admin)
    if verified is None:
        assert (answer.status, "verified" in answer.body["error"]) == (409, True)
        return
    assert answer.body["ended"] == 1
    world.settle()
    world.clock.advance(2)
    hers, his = (try_beat(world, "hers", token=token), try_beat(world, "his", userId="ada"))
    assert (hers.status, his.status) == ((403, 200) if verified else (200, 403))
    (listed,) = act(world, "GET", "removals").body["removals"]
    assert (listed["userId"], listed["verified"]) == ("ada", verified)
    assert act(world, "DELETE", f"removals/{listed['id']}").status == 200
    world.settle()
    world.clock.advance(2)
    assert try_beat(world, "hers", token=token).status == 200
    assert try_beat(world, "his", userId="ada").status == 200
    acts = act(world, "GET", "audit").body["acts"]
    assert [one["parameters"]["verified"] for one in acts] == [verified] * 2


def test_a_removed_claimant_does_not_come_back_by_dropping_the_claim(world: World) -> None:
    world.beat("his", userId="ada", visitorId="his browser")
    world.settle()
    act(world, "POST", "removals", {"userId": "ada"})
    world.settle()
    world.clock.advance(2)
    assert try_beat(world, "his").status == 403
    assert try_beat(world, "another", visitorId="his browser").status == 403
    assert try_beat(world, "hers", token=world.token(sub="ada")).status == 200, "she is innocent"
    assert try_beat(world, "yet another", userId="ada").status == 403


def test_a_user_who_is_removed_while_away_is_refused_either_way(world: World) -> None:
    assert act(world, "POST", "removals", {"userId": "ada"}).body["ended"] == 0
    world.settle()
    world.clock.advance(2)
    assert try_beat(world, "his", userId="ada").status == 403
    assert try_beat(world, "hers", token=world.token(sub="ada")).status == 403


def test_only_a_users_removal_is_of_a_claim(world: World) -> None:
    body = {"visitorId": "v1", "verified": True}
    answer = ask(world, "POST", "removals", body, token=world.admin)
    assert answer.status == 400
    assert "verified" in answer.body["error"]


@pytest.mark.parametrize("changed", [{}, {"changed": True}], ids=["unmarked", "marked"])
def test_a_proven_user_is_remembered_until_the_visit_ends(
    world: World, changed: dict[str, Any]
) -> None:
    world.beat("tab", token=world.token(sub="ada"))
    for user in ("mallory", "mallory"):
        assert try_beat(world, "tab", userId=user, **changed).status == 403
        assert try_beat(world, "tab", **changed).status == 200, "she may sign out"
        assert try_beat(world, "tab", userId="ada", **changed).status == 200, "or claim her own id"
    assert try_beat(world, "tab", token=world.token(sub="ben"), **changed).status == 200
    assert try_beat(world, "tab", **changed).status == 200
    assert try_beat(world, "tab", userId="ada", **changed).status == 403, "he was the last"
    world.leave("tab")
    assert try_beat(world, "tab", userId="mallory", **changed).status == 200


def test_events_tell_claims_from_proofs(memory: Engine, worlds: Worlds, shards: str) -> None:
    world = worlds(memory, ShardsPerSpace=shards, **EVENTS)
    world.beat("his", userId="ada")
    world.beat("hers", token=world.token(sub="ada"))
    world.leave("hers")
    found = [(one["type"], one["visit"]["verified"]) for one in sent_events(world)]
    assert sorted(found) == [("joined", False), ("joined", True), ("left", True)]
    snapshot = act(world, "GET", "snapshot", space=SITE).body["visits"]
    assert [one["verified"] for one in snapshot] == [False]
