"""Counting: people once, facets under the latest change, shards that add up."""

from __future__ import annotations

from typing import Any

from headcount.model.space import shard_of
from headcount.model.tally import MAX_SPACE_FACETS, MAX_VALUES, OTHER, Tally, merge, ranked
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from lab.harness.clock import NOON
from tests.support.tallies import live_session as session
from tests.support.tallies import tally


def test_no_sessions_are_an_empty_tally() -> None:
    assert tally([]) == merge([]) == Tally()


def test_three_tabs_of_one_person_are_three_sessions() -> None:
    counted = tally(session(f"s{number}", user="u1", visitor="v1") for number in range(3))
    assert (counted.sessions, counted.people, counted.signed_in, counted.anonymous) == (3, 1, 1, 0)
    assert (counted.signed_in_sessions, counted.anonymous_sessions) == (3, 0)


def test_three_tabs_of_one_stranger_are_one_person() -> None:
    counted = tally(session(f"s{number}", visitor="v1") for number in range(3))
    assert (counted.sessions, counted.people, counted.anonymous) == (3, 1, 1)


def test_users_visitors_and_bare_sessions_are_different_people() -> None:
    counted = tally([session("x", user="x"), session("y", visitor="x"), session("z")])
    assert (counted.signed_in, counted.anonymous, counted.people) == (1, 2, 3)


def test_a_person_counts_under_their_latest_change() -> None:
    counted = tally(
        [
            session("s1", visitor="v1", page="/old", changed_at=NOON),
            session("s2", visitor="v1", page="/new", changed_at=NOON + 1),
            session("s3", visitor="v2", page="/old", changed_at=NOON + 2),
        ]
    )
    assert counted.facets == {"page": {"/old": (2, 1), "/new": (1, 1)}}


def test_a_tie_between_two_tabs_is_decided_the_same_way_every_time() -> None:
    tabs = [session("s1", visitor="v", page="/a"), session("s2", visitor="v", page="/b")]
    assert (
        tally(tabs).facets == tally(reversed(tabs)).facets == {"page": {"/a": (1, 0), "/b": (1, 1)}}
    )


def test_each_facet_has_its_own_latest() -> None:
    counted = tally(
        [
            session("s1", visitor="v", page="/a", facets={"device": "tv"}, changed_at=NOON),
            session("s2", visitor="v", page="/b", changed_at=NOON + 1),
        ]
    )
    assert counted.facets["device"] == {"tv": (1, 1)}
    assert counted.facets["page"] == {"/a": (1, 0), "/b": (1, 1)}


def test_the_people_of_a_facets_value_are_counted_once() -> None:
    counted = tally(session(f"s{n}", visitor=f"v{n % 3}", page=f"/{n % 2}") for n in range(12))
    assert sum(people for _, people in counted.facets["page"].values()) == 3
    assert sum(count for count, _ in counted.facets["page"].values()) == 12


def test_values_beyond_200_are_counted_under_other() -> None:
    many = [session(f"s{n}-{m}", page=f"/{n:03d}") for n in range(250) for m in range(1 + n % 2)]
    page = tally(many).facets["page"]
    assert len(page) == MAX_VALUES + 1
    assert sum(count for count, _ in page.values()) == len(many)
    assert page[OTHER] == (50, 50)
    assert "/001" in page


def test_a_value_called_other_joins_the_rest() -> None:
    here = [session(f"s{n}", page=f"/{n:03d}") for n in range(205)]
    here += [session("o", page=OTHER)]
    assert tally(here).facets["page"][OTHER] == (6, 6)


def test_facets_beyond_the_limit_are_dropped_but_never_the_page() -> None:
    here = [
        session(f"s{n}", page="/", facets={f"f{n * 8 + m:02d}": "x" for m in range(8)})
        for n in range(4)
    ]
    here += [session("more", facets={"f31": "x"})]
    facets = tally(here).facets
    assert len(facets) == MAX_SPACE_FACETS
    assert "page" in facets
    assert "f31" in facets


def test_merging_capped_shards_keeps_the_sums() -> None:
    shards = [
        tally(session(f"s{shard}-{n}", page=f"/{shard}/{n:03d}") for n in range(150))
        for shard in range(3)
    ]
    page = merge(shards).facets["page"]
    assert len(page) == MAX_VALUES + 1
    assert sum(count for count, _ in page.values()) == 450


def test_the_largest_value_comes_first_and_equal_ones_by_name() -> None:
    values = {"b": (1, 1), "a": (1, 1), "c": (5, 1), "d": (1, 2)}
    assert [value for value, _ in ranked(values)] == ["c", "d", "a", "b"]


People = st.lists(
    st.tuples(
        st.sampled_from(["user", "visitor", "session"]),
        st.integers(0, 5),
        st.sampled_from(["/", "/a", "/b", None]),
        st.dictionaries(st.sampled_from(["device", "country"]), st.sampled_from("xyz")),
        st.integers(0, 3),
    ),
    max_size=25,
)


@given(people=People, shards=st.integers(1, 5))
@settings(max_examples=150)
def test_the_merge_of_shards_equals_one_tally_of_all(people: list[Any], shards: int) -> None:
    here = []
    for number, (kind, who, page, facets, changed) in enumerate(people):
        facts = {} if kind == "session" else {kind: f"{who}"}
        one = session(f"s{number}", page=page, facets=facets, changed_at=NOON + changed, **facts)
        here.append(replace(one, shard=shard_of(one.shard_key, shards)))
    parts = [tally(one for one in here if one.shard == shard) for shard in range(shards)]
    assert merge(parts) == tally(here)
