"""The Presence table on each engine."""

from __future__ import annotations

from typing import Any

import pytest
from headcount.errors import ForbiddenError, RateLimitError
from headcount.model.beat import Tab
from headcount.model.session import (
    STEADY_MARGIN,
    Arrival,
    Facts,
    Session,
    Stale,
    Telemetry,
    Write,
    after_beat,
    after_expiry,
    after_leave,
    moved_away,
)
from headcount.model.space import Kinds
from headcount.model.tabs import after_tab_beat
from headcount.store.keys import Presence as Keys
from headcount.store.presence import PresenceTable, from_item, from_json, to_item
from headcount.store.rows import read
from headcount.times import DAY
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from msgspec import json
from msgspec.structs import replace

from lab.harness.clock import NOON
from lab.harness.engines import Engine, Table

SITE = Kinds("site").kind("site")
FACTS = Facts(
    user="u1",
    visitor="v1",
    name="Ada",
    avatar="https://example.test/a.png",
    page="/home",
    facets={"device": "phone"},
    verified=True,
)


@pytest.fixture
def table(engine: Engine) -> Table:
    return engine.create("presence")


@pytest.fixture
def store(table: Table) -> PresenceTable:
    return PresenceTable(table.engine.client, table.name)


def arrival(**changes: Any) -> Arrival:
    fields: dict[str, Any] = {
        "space": "site:main",
        "shard": 0,
        "session": "s1",
        "facts": FACTS,
        "seq": None,
        "request": "r2",
        "now": NOON + 30_000,
        **changes,
    }
    return Arrival(lease=SITE.lease_for(fields["facts"].state), **fields)


def joined(*, seq: int | None = None, shard: int = 0, now: int = NOON, **changes: Any) -> Session:
    session = after_beat(None, arrival(seq=seq, shard=shard, now=now, request="r1"))
    assert isinstance(session, Session)
    return replace(session, **changes)


def steady(store: PresenceTable, **changes: Any) -> tuple[bool, Session | None]:
    return store.steady(arrival(**changes))


@pytest.mark.parametrize(
    ("tab", "is_steady"),
    [
        (Tab("a", 3), True),
        (Tab("b"), True),
        (Tab("a", 2), False),  # late
        (Tab("b", 1), False),  # its first number
        (Tab("left", 9), False),
        (Tab("new", 1), False),
    ],
)
def test_a_known_tabs_beat_is_steady(store: PresenceTable, tab: Tab, is_steady: bool) -> None:
    tabs = {Tab("a").key: NOON // 1000, Tab("b").key: NOON // 1000, Tab("left").key: -NOON // 1000}
    session = replace(joined(), tabs=tabs, tab_seqs={Tab("a").key: 2, Tab("left").key: 5}, joins=2)
    store.replace(None, session)
    assert store.get("site:main", 0, "s1") == session
    beat = arrival(tab=tab)
    assert store.steady(beat)[0] == is_steady
    stored = after_tab_beat(session, beat) if is_steady else session
    assert store.get("site:main", 0, "s1") == stored


def test_every_field_of_a_session_survives_the_table(store: PresenceTable) -> None:
    session = joined(seq=7)
    assert store.replace(None, session) == (True, None)
    assert store.get("site:main", 0, "s1") == session


def test_a_row_of_a_release_with_fewer_fields_is_understood() -> None:
    session = joined()
    item = to_item(session)
    for later in ("facets", "verified", "changed_at", "beats", "visit", "request"):
        del item[later]
    read = from_item(item)
    assert read.facts.facets == {}
    assert read.changed_at == session.joined_at


def test_a_row_has_its_state_only_if_it_is_not_the_usual_one() -> None:
    usual, hidden = joined(), joined(facts=replace(FACTS, state="hidden"))
    assert "state" not in to_item(usual)
    assert from_item(to_item(usual)) == usual
    assert (
        from_item({**to_item(usual), "state": {"S": "active"}}) == usual
    )  # as old releases wrote it
    assert from_item(to_item(hidden)) == hidden


def test_a_row_of_a_release_with_more_fields_is_understood() -> None:
    session = joined()
    assert from_item({**to_item(session), "novelty": {"NULL": True}}) == session


def test_a_row_is_deleted_a_day_after_its_lease(store: PresenceTable, table: Table) -> None:
    store.replace(None, joined())
    (row,) = table.rows()
    assert row["ttl"] * 1000 == row["expires_at"] + DAY
    assert steady(store)[0]
    (row,) = table.rows()
    assert row["ttl"] * 1000 == row["expires_at"] + DAY


def test_a_steady_beat_extends_the_lease_and_counts_itself(store: PresenceTable) -> None:
    store.replace(None, joined())
    assert steady(store) == (True, None)
    assert store.get("site:main", 0, "s1") == joined(
        write=Write.BEAT,
        request="r2",
        last_seen=NOON + 30_000,
        expires_at=NOON + 90_000,
        beats={"2026-11-21": 2},
    )


def test_a_steady_beat_equals_what_the_decision_would_write(store: PresenceTable) -> None:
    old = joined(seq=1)
    store.replace(None, old)
    steady(store, seq=2)
    assert store.get("site:main", 0, "s1") == after_beat(old, arrival(seq=2))


def test_a_steady_beat_on_a_new_day_counts_under_that_day(store: PresenceTable) -> None:
    store.replace(None, joined())
    now = NOON + DAY // 2
    store.replace(joined(), joined(expires_at=now + 60_000, request="r1b"))
    assert steady(store, now=now)[0]
    row = store.get("site:main", 0, "s1")
    assert row is not None
    assert row.beats == {"2026-11-21": 1, "2026-11-22": 1}


@pytest.mark.parametrize(
    "changes",
    [
        pytest.param({"session": "s2"}, id="another session"),
        pytest.param({"shard": 1}, id="another shard"),
        pytest.param({"facts": replace(FACTS, page="/other")}, id="another page"),
        pytest.param({"facts": replace(FACTS, user="u2")}, id="another user"),
        pytest.param({"facts": replace(FACTS, facets={"device": "tv"})}, id="another facet"),
        pytest.param({"facts": replace(FACTS, state="hidden")}, id="another state"),
        pytest.param({"facts": replace(FACTS, verified=False)}, id="no longer verified"),
        pytest.param({"request": "r1"}, id="the same request"),
        pytest.param({"now": NOON + 60_000 - STEADY_MARGIN}, id="5 s of lease left"),
        pytest.param({"now": NOON + 60_000}, id="the lease just over"),
        pytest.param({"seq": 5}, id="the sequence number stored"),
        pytest.param({"seq": 4}, id="a lower sequence number"),
    ],
)
def test_a_beat_is_not_steady_with(
    store: PresenceTable, table: Table, changes: dict[str, Any]
) -> None:
    store.replace(None, joined(seq=5))
    before = table.rows()
    done, _ = steady(store, **changes)
    assert not done
    assert table.rows() == before


@pytest.mark.parametrize(
    "changes",
    [
        pytest.param({"now": NOON + 60_000 - STEADY_MARGIN - 1}, id="just over 5 s of lease left"),
        pytest.param({"seq": 6}, id="a higher sequence number"),
        pytest.param({"now": NOON - 10_000}, id="a clock that stepped back"),
    ],
)
def test_a_beat_is_steady_with(store: PresenceTable, changes: dict[str, Any]) -> None:
    store.replace(None, joined(seq=5))
    assert steady(store, **changes) == (True, None)


@pytest.mark.parametrize("write", [Write.LEAVE, Write.GONE])
def test_an_ended_session_accepts_no_steady_beat(store: PresenceTable, write: Write) -> None:
    store.replace(None, joined(write=write))
    assert not steady(store)[0]


def test_a_row_without_a_sequence_number_accepts_any(store: PresenceTable) -> None:
    store.replace(None, joined())
    assert steady(store, seq=1) == (True, None)
    row = store.get("site:main", 0, "s1")
    assert row is not None
    assert row.seq == 1


def change(store: PresenceTable, **changes: Any) -> tuple[bool, Session | None]:
    fields = {"facts": replace(FACTS, page="/next"), "seq": 6, **changes}
    return store.change(arrival(**fields))


@pytest.mark.parametrize(
    "facts",
    [
        pytest.param(replace(FACTS, page="/next"), id="another page"),
        pytest.param(replace(FACTS, facets={"device": "tv", "of": "x"}), id="other facets"),
        pytest.param(replace(FACTS, state="hidden", name="Countess"), id="another state and name"),
        pytest.param(
            replace(FACTS, page=None, name=None, avatar=None, facets={}), id="less than before"
        ),
    ],
)
def test_a_change_in_one_write_equals_what_the_decision_would_write(
    store: PresenceTable, table: Table, facts: Facts
) -> None:
    old = joined(seq=1, former_users=("u0",), telemetry=Telemetry(quality={"latency": 1}))
    sent = {"facts": facts, "telemetry": Telemetry(engagement={"chat": 2})}
    decided = after_beat(old, arrival(seq=6, **sent))
    assert isinstance(decided, Session)
    store.replace(None, decided)
    rows = table.rows()
    store.replace(decided, old)
    assert change(store, **sent) == (True, None)
    assert table.rows() == rows


@pytest.mark.parametrize(
    "changes",
    [
        pytest.param({"session": "s2"}, id="another session"),
        pytest.param({"shard": 1}, id="another shard"),
        pytest.param({"facts": FACTS}, id="the same facts"),
        pytest.param({"facts": replace(FACTS, user="u2")}, id="another user"),
        pytest.param({"facts": replace(FACTS, user=None)}, id="no user any more"),
        pytest.param({"facts": replace(FACTS, visitor="v2")}, id="another visitor"),
        pytest.param({"facts": replace(FACTS, visitor=None)}, id="no visitor any more"),
        pytest.param({"facts": replace(FACTS, verified=False)}, id="no longer verified"),
        pytest.param({"request": "r1"}, id="the same request"),
        pytest.param({"now": NOON + 60_000 - STEADY_MARGIN}, id="5 s of lease left"),
        pytest.param({"seq": 5}, id="the sequence number stored"),
        pytest.param({"now": NOON + 499, "limit": 20}, id="a burst"),
    ],
)
def test_a_change_is_looked_at_with(
    store: PresenceTable, table: Table, changes: dict[str, Any]
) -> None:
    store.replace(None, joined(seq=5))
    before = table.rows()
    assert not change(store, **changes)[0]
    assert table.rows() == before


@pytest.mark.parametrize("write", [Write.LEAVE, Write.GONE])
def test_an_ended_session_accepts_no_change(store: PresenceTable, write: Write) -> None:
    store.replace(None, joined(write=write))
    assert not change(store)[0]


MAYBE = st.sampled_from
ALL_FACTS = st.builds(
    Facts,
    user=MAYBE([None, "u1", "u2"]),
    visitor=MAYBE([None, "v1", "v2"]),
    name=MAYBE([None, "Ada"]),
    avatar=MAYBE([None, "a.png"]),
    page=MAYBE([None, "/a", "/b"]),
    facets=MAYBE([{}, {"device": "tv"}, {"device": "phone", "size": "a"}]),
    state=MAYBE(["active", "hidden"]),
    verified=st.booleans(),
)
TELEMETRY = st.builds(
    Telemetry,
    quality=MAYBE([{}, {"latency": 1}, {"latency": 2, "errors": 0.5}]),
    engagement=MAYBE([{}, {"chat": 3}]),
    details=MAYBE([{}, {"title": "One"}]),
)
ROWS = st.builds(
    joined,
    seq=MAYBE([None, 0, 5, 6]),
    write=MAYBE([*[Write.BEAT, Write.JOIN, Write.CHANGE] * 3, Write.LEAVE, Write.GONE]),
    request=MAYBE(["r0", "r0", "r0", "r2"]),
    facts=ALL_FACTS,
    telemetry=TELEMETRY,
    former_users=MAYBE([(), ("u0",), ("u2", "u0")]),
    burst=MAYBE([1, 1, 2, 19, 20]),
    beats=MAYBE([{}, {"2026-11-20": 4}, {"2026-11-21": 4}]),
    expires_at=MAYBE([NOON + 90_000, NOON + 40_000, NOON + 35_000, NOON]),
    last_seen=MAYBE([NOON, NOON + 20_000, NOON + 29_400, NOON + 29_500, NOON + 31_000]),
)


@pytest.mark.slow
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_every_direct_write_equals_what_the_decision_would_write(
    store: PresenceTable, table: Table, data: st.DataObject
) -> None:
    old, facts = data.draw(ROWS), data.draw(ALL_FACTS)
    beat = arrival(
        facts=facts,
        seq=data.draw(MAYBE([None, 6, 7])),
        telemetry=data.draw(TELEMETRY),
        limit=data.draw(MAYBE([0, 20])),
    )

    def put(row: Session) -> list[dict[str, Any]]:
        table.put(to_item(row))
        return table.rows()

    try:
        decided = after_beat(old, beat)
    except (ForbiddenError, RateLimitError):
        decided = Stale()
    expected = None if isinstance(decided, Stale) else put(decided)
    for write in (store.steady, store.change):
        before = put(old)
        done, _ = write(beat)
        assert table.rows() == (expected if done else before)


def test_a_failed_steady_beat_hands_over_the_row_where_the_engine_can(
    store: PresenceTable, engine: Engine
) -> None:
    store.replace(None, joined())
    _, seen = steady(store, facts=Facts())
    assert seen == (None if engine.name == "dynamodb-local" else joined())


def test_of_two_joins_at_once_one_wins(store: PresenceTable) -> None:
    assert store.replace(None, joined())[0]
    done, _ = store.replace(None, joined(request="r2"))
    assert not done
    assert store.get("site:main", 0, "s1") == joined()


def test_a_write_based_on_an_old_row_is_refused(store: PresenceTable) -> None:
    old = joined()
    store.replace(None, old)
    steady(store)
    left = after_leave(old, seq=None, request="r3", now=NOON + 31_000)
    assert isinstance(left, Session)
    assert not store.replace(old, left)[0]
    current = store.get("site:main", 0, "s1")
    assert current is not None
    assert current.write is Write.BEAT


def test_the_cleanup_does_not_end_a_session_that_has_beaten_since(store: PresenceTable) -> None:
    old = joined()
    store.replace(None, old)
    now = NOON + 60_000
    ended = after_expiry(old, request="sweep", now=now)
    back = after_beat(old, arrival(now=now))
    assert ended is not None
    assert not isinstance(back, Stale)
    assert store.replace(old, back)[0]
    assert not store.replace(old, ended)[0]


def test_a_move_leaves_a_row_that_is_no_end_of_the_visit(store: PresenceTable) -> None:
    old = joined()
    store.replace(None, old)
    new = replace(old, shard=3, write=Write.CHANGE, request="r2", last_seen=NOON + 1_000)
    assert store.replace(old, new)[0]
    farewell = store.get("site:main", 0, "s1")
    assert farewell is not None
    assert moved_away(farewell)
    assert farewell.ended
    assert store.get("site:main", 3, "s1") == new
    assert store.find("site:main", 4, "s1") == new


def test_a_move_is_refused_when_the_row_was_written_since(store: PresenceTable) -> None:
    old = joined()
    store.replace(None, old)
    steady(store)
    new = replace(old, shard=3, write=Write.CHANGE, request="r3")
    assert not store.replace(old, new)[0]
    assert store.get("site:main", 3, "s1") is None


def test_a_move_back_replaces_the_row_left_behind(store: PresenceTable) -> None:
    old = joined()
    store.replace(None, old)
    there = replace(old, shard=3, write=Write.CHANGE, request="r2")
    store.replace(old, there)
    back = replace(there, shard=0, request="r3")
    assert store.replace(there, back)[0]
    assert store.get("site:main", 0, "s1") == back
    assert store.find("site:main", 4, "s1") == back


def test_a_move_does_not_overwrite_a_running_visit(store: PresenceTable) -> None:
    old = joined()
    other = joined(shard=3, request="r9")
    store.replace(None, old)
    store.replace(None, other)
    assert not store.replace(old, replace(old, shard=3, request="r2"))[0]
    assert store.get("site:main", 3, "s1") == other


def test_a_running_visit_is_found_before_an_ended_one(store: PresenceTable) -> None:
    store.replace(None, joined(write=Write.LEAVE))
    running = joined(shard=2)
    store.replace(None, running)
    assert store.find("site:main", 4, "s1") == running
    assert store.find("site:main", 4, "nobody") is None


def test_an_ended_row_is_deleted_unless_it_was_written_since(store: PresenceTable) -> None:
    ended = joined(write=Write.LEAVE, ended_at=NOON)
    store.replace(None, ended)
    store.replace(ended, joined(request="r2"))
    assert not store.delete_ended(ended)
    assert store.delete_ended(joined(request="r2"))
    assert store.get("site:main", 0, "s1") is None
    assert not store.delete_ended(ended)


def test_a_shard_is_read_whole_and_alone(store: PresenceTable) -> None:
    for number in range(3):
        store.replace(None, replace(joined(), id=f"s{number}"))
    store.replace(None, replace(joined(), id="s9", shard=1))
    store.replace(None, replace(joined(), id="s8", space="site:mainland"))
    assert [one.id for one in store.partition("site:main", 0)] == ["s0", "s1", "s2"]


def test_pages_go_on_where_the_last_one_ended(store: PresenceTable) -> None:
    for number in range(5):
        store.replace(None, replace(joined(), id=f"s{number}"))
    seen: list[str] = []
    after: str | None = None
    while True:
        rows, after = store.page("site:main", 0, limit=2, after=after)
        seen += [one.id for one in rows]
        if after is None:
            break
    assert seen == [f"s{number}" for number in range(5)]


def test_a_scan_sees_every_row_once(store: PresenceTable) -> None:
    for number in range(5):
        store.replace(None, replace(joined(), id=f"s{number}", space=f"site:{number % 2}"))
    ids = sorted(one.id for page in store.scan() for one in page)
    assert ids == [f"s{number}" for number in range(5)]


def test_rows_that_did_not_change_are_the_same_json(store: PresenceTable, table: Table) -> None:
    for id_ in ("s1", "s2", "s3"):
        table.put(to_item(joined(id=id_)))
    first = [row for page in store.raw_pages("site:main", 0) for row in page]
    assert [from_json(row) for row in first] == store.partition("site:main", 0)
    table.put(to_item(replace(joined(id="s2"), expires_at=joined().expires_at + 1)))
    second = [row for page in store.raw_pages("site:main", 0) for row in page]
    assert [from_json(row) for row in second] == store.partition("site:main", 0)
    assert [one == other for one, other in zip(first, second, strict=True)] == [True, False, True]


def test_a_row_in_json_that_no_release_wrote_is_none(store: PresenceTable, table: Table) -> None:
    table.put(to_item(joined()) | {"kind": {"S": "?"}})
    ((row,),) = store.raw_pages("site:main", 0)
    assert from_json(row) is None


def _as_json(item: dict[str, Any]) -> bytes:
    return json.encode(item)


def test_most_rows_are_plain(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr("headcount.store.presence.read")  # what reads the others
    for session in (joined(), joined(seq=3, connection="c1")):
        assert from_json(_as_json(to_item(session))) == session


@pytest.mark.parametrize("name", [*to_item(joined()), "user", "seq", "verified", "c", "other"])
def test_a_plain_row_is_read_as_any_other(name: str) -> None:
    item = to_item(joined())
    item.pop(name, None)
    values: list[Any] = [
        *({"S": text} for text in ("x", "", "site:main#7", "leave")),
        *({"N": text} for text in ("7", "-7", "1.5", "1e3", "99999999999999999999")),
        *({"M": {"a": one}} for one in ({"S": "x"}, {"N": "1"}, {"N": "1.5"}, {"L": []})),
        *({"M": {}}, {"BOOL": True}, {"L": []}, {"NULL": True}),
    ]
    for one in (item, *(item | {name: value} for value in values)):
        if name in {Keys.PARTITION, Keys.SORT} and "S" not in one.get(name, {}):
            continue  # a key is a text
        assert from_json(_as_json(one)) == read(from_item, one, "")


def _key_of(session: Session) -> dict[str, Any]:
    return {name: to_item(session)[name] for name in (Keys.PARTITION, Keys.SORT)}
