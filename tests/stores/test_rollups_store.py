"""The index of people and the roll-ups' counts, on every engine."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
from headcount.model.session import Arrival, Facts, Session, after_beat, after_leave
from headcount.model.tally import Tally
from headcount.store.attributes import encode
from headcount.store.presence import PresenceTable
from headcount.store.rollups import PartCount, RollupsTable
from msgspec.structs import replace

from lab.harness.engines import Engine

NOON = 1_795_262_400_000
PARTS = 2


def joined(session: str, space: str = "site:main", **facts: Any) -> Session:
    arrival = Arrival(
        space, 0, session, Facts(**facts), lease=60, seq=None, request=session, now=NOON
    )
    made = after_beat(None, arrival)
    assert isinstance(made, Session)
    return made


@pytest.fixture
def presence(engine: Engine) -> PresenceTable:
    table = engine.create("presence", RollUps="on")
    return PresenceTable(engine.client, table.name, parts=PARTS)


def entries(presence: PresenceTable) -> list[tuple[str, bytes]]:
    return sorted(one for part in range(PARTS) for one in presence.people(part))


def test_a_session_has_an_entry_while_it_is_present(presence: PresenceTable) -> None:
    ada = joined("s1", user="ada")
    there = joined("s2", "course:7", user="ada")
    other = joined("s3", visitor="grace")
    for session in (ada, there, other):
        assert presence.replace(None, session)[0]
    places = [session.indexed_in(PARTS) for session in (ada, there, other)]
    assert places[0] == places[1] != places[2]
    names = [place[1] for place in places if place is not None]
    spaces = ["site:main", "course:7", "site:main"]
    assert entries(presence) == sorted(zip(spaces, names, strict=True))
    stored = presence.get("site:main", 0, "s1")
    assert stored is not None
    assert stored.place == places[0]

    left = after_leave(stored, seq=None, request="leave", now=NOON + 1_000)
    assert isinstance(left, Session)
    assert presence.replace(stored, left)[0]
    assert [space for space, _ in entries(presence)] == ["course:7", "site:main"]


def test_one_that_is_away_has_no_entry_until_it_is_back(presence: PresenceTable) -> None:
    session = joined("s1", visitor="ada")
    assert presence.replace(None, session)[0]
    before = entries(presence)
    away = after_leave(session, seq=None, request="away", now=NOON + 1_000, may_return=True)
    assert isinstance(away, Session)
    assert presence.replace(session, away)[0]
    assert entries(presence) == []
    back = Arrival(
        "site:main",
        0,
        "s1",
        Facts(visitor="ada", page="/2"),
        lease=60,
        seq=None,
        request="back",
        now=NOON + 2_000,
    )
    assert presence.change(back) == (True, None)
    assert entries(presence) == before != []


def test_another_person_has_another_entry(presence: PresenceTable) -> None:
    session = joined("s1", visitor="ada")
    assert presence.replace(None, session)[0]
    user = replace(session, request="user", facts=Facts(user="ada", verified=True))
    assert presence.replace(session, user)[0]
    ((_, name),) = entries(presence)
    assert name[:1] == b"u"


def test_without_rollups_no_row_has_an_entry(engine: Engine) -> None:
    table = engine.create("presence")
    presence = PresenceTable(engine.client, table.name)
    assert presence.replace(None, joined("s1", user="ada"))[0]
    (row,) = table.rows()
    assert not {"r", "p"} & row.keys()


@pytest.fixture
def table(engine: Engine) -> RollupsTable:
    return RollupsTable(engine.client, engine.create("counts").name, day_rows_days=400)


NUMBERS: Mapping[str, Tally] = {
    "~kind:site": Tally(sessions=3, signed_in_sessions=1, signed_in=1, anonymous=2)
}


def test_a_part_is_stored_once_per_version(table: RollupsTable) -> None:
    assert (table.part(1), table.parts()) == (PartCount(1), [])
    count = PartCount(1, 1, NUMBERS, rows=3, counted_at=NOON, paid_until=NOON + 1_000)
    assert table.save(count)
    assert not table.save(replace_rows(count))
    assert (table.part(1), table.parts()) == (count, [count])
    empty = PartCount(1, 2, {}, counted_at=NOON, paid_until=NOON)
    assert table.save(empty)
    assert table.part(1) == empty


def replace_rows(count: PartCount) -> PartCount:
    return PartCount(count.part, count.version, {}, 9, count.counted_at, count.paid_until)


@pytest.mark.parametrize("numbers", ["text", {"~kind:site": [1]}, {"~kind:site": ["1"] * 4}])
def test_a_part_that_cant_be_read_counts_as_empty(
    engine: Engine, table: RollupsTable, numbers: Any
) -> None:
    values = {"space": "~rollups", "part": "shard#1", "version": 4, "numbers": numbers}
    engine.client.put_item(TableName=table._table, Item=encode(values))
    assert table.part(1) == PartCount(1, 4, readable=False)
    assert table.save(PartCount(1, 5, NUMBERS, counted_at=NOON))
