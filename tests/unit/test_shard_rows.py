"""What a shard's rows add up to is the same, whatever was read before."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from itertools import count
from typing import Any

import pytest
from headcount.model.durations import durations_in, latest
from headcount.model.peaks import StepsBuilder
from headcount.model.session import MOVED, Facts, Session, Telemetry, Write, person_hash
from headcount.model.shard_rows import KnownShards, ShardRows, read_at
from headcount.model.tally import TallyBuilder
from headcount.model.trace import cause_of
from headcount.times import CLOCKS_DIFFER
from hypothesis import given, settings
from hypothesis import strategies as st

from lab.harness.clock import NOON

_STEP = CLOCKS_DIFFER // 4
_MOMENTS = st.integers(0, 60).map(lambda step: NOON + step * _STEP)
"""Few times, so that the same one is drawn often."""
_PAIRS = st.lists(st.tuples(_MOMENTS, _MOMENTS).map(lambda pair: (min(pair), max(pair))))
_PEOPLE = ("ada", "bob", "eve")


def _session(id_: str = "s1", **facts: Any) -> Session:
    return Session(
        space="site:main",
        shard=0,
        id=id_,
        write=Write.JOIN,
        request="r",
        facts=Facts(**facts),
        joined_at=NOON,
        visit="v",
        changed_at=NOON,
        last_seen=NOON,
        expires_at=NOON + 30,
        beats={},
    )


_FACTS = st.builds(
    Facts,
    user=st.sampled_from((None, None, *_PEOPLE)),
    visitor=st.sampled_from((None, *_PEOPLE)),
    page=st.sampled_from((None, "/a", "/b")),
    facets=st.dictionaries(st.sampled_from(("device", "country")), st.sampled_from("xy")),
    verified=st.booleans(),
)
_TELEMETRY = st.builds(
    Telemetry,
    quality=st.dictionaries(st.sampled_from(("bitrate", "delay")), st.floats(0, 1e6)),
    engagement=st.dictionaries(st.sampled_from(("chat", "share")), st.integers(0, 5)),
)


@st.composite
def _rows(draw: st.DrawFn) -> Session:
    """A row in any state, possible or not."""
    write = draw(st.sampled_from(Write))
    ended = write in {Write.LEAVE, Write.GONE}
    id_ = draw(st.sampled_from("12345"))
    return Session(
        space="site:main",
        shard=0,
        id=id_,
        write=write,
        request=draw(st.sampled_from("rs")),
        facts=draw(_FACTS),
        joined_at=draw(_MOMENTS),
        visit=draw(st.sampled_from(("", f"v{id_}", f"w{id_}"))),
        changed_at=draw(_MOMENTS),
        last_seen=draw(_MOMENTS),
        expires_at=draw(_MOMENTS),
        beats={},
        ended_at=draw(_MOMENTS) if ended else None,
        ended_by=draw(st.sampled_from(("leave", "expiry", MOVED))) if ended else None,
        telemetry=draw(_TELEMETRY),
        moved_at=draw(st.none() | _MOMENTS),
        formerly=tuple(
            (person_hash(f"v:{person}"), until)
            for person, until in draw(
                st.lists(st.tuples(st.sampled_from(_PEOPLE), _MOMENTS), max_size=2)
            )
        ),
        earlier=tuple(draw(_PAIRS)[:2]),
    )


_READINGS = st.lists(
    st.tuples(
        st.lists(_rows() | st.sampled_from("12345"), max_size=3),  # written, or deleted by id
        st.integers(-2, 20),  # steps of time until they are read
        st.integers(-2, 20),  # until the recount that it follows
        st.just(0) | st.integers(0, 20),  # how long it takes to read a page
    ),
    min_size=1,
    max_size=8,
)


def _read(
    rows: ShardRows, stored: Iterable[Session], since: int, now: int, slow: int = 0
) -> Mapping[str, bool]:
    """Read the rows, ``slow`` milliseconds a page; returns who was live then, by id."""
    by_key = {repr(session).encode(): session for session in stored}
    keys = [*by_key]
    pages = keys[:2], keys[2:]
    clock = count(now + slow, slow).__next__
    rows.read(pages, by_key.get, clock, since=since, now=now)
    live, at = {}, now
    for number, page in enumerate(pages, 1):
        sessions = [by_key[key] for key in page]
        at = read_at(sessions, at, now + number * slow)
        live |= {session.id: session.live(at) for session in sessions}
    return live


@settings(max_examples=200, deadline=None)
@given(_READINGS)
def test_rows_add_up_to_what_they_add_up_to_from_the_beginning(readings: Any) -> None:
    rows = ShardRows()
    stored: dict[str, Session] = {}
    now, since = NOON + 10 * _STEP, NOON
    for written, later, until, slow in readings:
        for one in written:
            if isinstance(one, Session):
                stored[one.id] = one
            else:
                stored.pop(one, None)
        now += later * _STEP
        since = min(since + until * _STEP, now)
        live = _read(rows, stored.values(), since, now, slow * _STEP)
        tally, builder, course = rows.tally(), TallyBuilder(), StepsBuilder(since, now)
        for session in stored.values():
            course.add(session, live=live[session.id])
            if live[session.id]:
                builder.add(session)
            elif not session.ended:
                builder.add_ongoing(session)
        expected = builder.build()
        assert tally == expected
        assert tally.engagement == expected.engagement
        assert tally.quality == expected.quality
        assert rows.steps(tally) == course.build(
            builder.tabs_of, expected.people, expected.sessions, persons=builder.persons
        )
        assert rows.cause(since + 1) == cause_of(stored.values(), since=since + 1, now=now)
        assert rows.durations(()) == latest(durations_in(stored.values()))
        assert len(rows) == len(stored)


def test_rows_that_are_the_same_are_not_decoded_again() -> None:
    decoded: list[bytes] = []

    def decode(row: bytes) -> Session | None:
        decoded.append(row)
        return None if row == b"broken" else _session(row.decode(), visitor=row.decode())

    rows = ShardRows()
    rows.read([[b"s1", b"broken"], [b"s2"]], decode, lambda: NOON, since=NOON, now=NOON)
    assert (len(rows), rows.tally().people) == (2, 2)
    rows.read([[b"s1", b"broken", b"s3"]], decode, lambda: NOON, since=NOON, now=NOON)
    assert (len(rows), rows.tally().people) == (2, 2)
    assert decoded == [b"s1", b"broken", b"s2", b"broken", b"s3"]


def test_no_more_rows_are_kept_than_may_be(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(KnownShards, "MOST", 3)
    known = KnownShards()
    for shard, ids in enumerate((("a", "b"), ("c", "d"), ("e", "f", "g", "h"))):
        rows = known.take("site:main", shard)
        _read(rows, [_session(id_) for id_ in ids], NOON, NOON)
        known.keep("site:main", shard, rows)
        assert known.rows == 2
    assert len(known.take("site:main", 1)) == 2
    assert known.rows == 0  # nobody else has them now
