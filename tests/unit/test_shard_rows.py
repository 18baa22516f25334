"""What a shard's rows add up to is the same, whatever was read before."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from itertools import count
from random import Random
from typing import Any

import pytest
from headcount.model.durations import durations_in, latest
from headcount.model.peaks import StepsBuilder
from headcount.model.session import MOVED, Facts, Session, Telemetry, Write, person_hash
from headcount.model.shard_rows import KnownShards, ShardRows, read_at
from headcount.model.tally import TallyBuilder
from headcount.model.trace import cause_of
from headcount.times import CLOCKS_DIFFER
from msgspec.structs import replace

from lab.harness.clock import NOON
from tests.support.tallies import live_session

_STEP = CLOCKS_DIFFER // 4
_PEOPLE = ("ada", "bob", "eve")


def _session(id_: str = "s1", **facts: Any) -> Session:
    return live_session(id_, expires_at=NOON + 30, **facts)


class _Rows:
    """Rows in any state, possible or not."""

    def __init__(self, random: Random) -> None:
        self._random = random

    def moment(self) -> int:
        """One of few times, so that many are the same."""
        return NOON + self._random.randrange(60) * _STEP

    def pair(self) -> tuple[int, int]:
        """Two of them, in order."""
        one, other = self.moment(), self.moment()
        return min(one, other), max(one, other)

    def beat(self, old: Session) -> Session:
        """A row that was written again: nearly as it was."""
        other = self.row(old.id)
        expires_at = self._random.choice((other.expires_at, old.expires_at + 20 * _STEP))
        new = replace(old, request=other.request, last_seen=other.last_seen, expires_at=expires_at)
        names = ("facts", "telemetry", "changed_at", "joined_at", "earlier", "formerly", "visit")
        name = self._random.choice((*names, *[""] * len(names)))
        return replace(new, **{name: getattr(other, name)}) if name else new

    def row(self, id_: str) -> Session:
        """A row of a session."""
        pick = self._random.choice
        write = pick((Write.JOIN, Write.BEAT, Write.CHANGE, Write.LEAVE, Write.GONE))
        ended = write in {Write.LEAVE, Write.GONE}
        return Session(
            space="site:main",
            shard=0,
            id=id_,
            write=write,
            request=pick("rs"),
            facts=Facts(
                user=pick((None, None, *_PEOPLE)),
                visitor=pick((None, *_PEOPLE)),
                page=pick((None, "/a", "/b")),
                facets=pick(({}, {"device": "x"}, {"device": "y", "country": "x"})),
                verified=pick((True, False)),
            ),
            joined_at=self.moment(),
            visit=pick(("", f"v{id_}", f"w{id_}")),
            changed_at=self.moment(),
            last_seen=self.moment(),
            expires_at=self.moment() + pick((0, 40)) * _STEP,
            beats={},
            ended_at=self.moment() if ended else None,
            ended_by=pick(("leave", "expiry", MOVED)) if ended else None,
            telemetry=Telemetry(
                quality=pick(({}, {"bitrate": self._random.random() * 1e6}, {"delay": 0.1})),
                engagement=pick(({}, {"chat": 2}, {"chat": 1, "share": 0})),
            ),
            moved_at=pick((None, None, None, self.moment())),
            formerly=pick(((), ((person_hash(f"v:{pick(_PEOPLE)}"), self.moment()),))),
            earlier=pick(((), (self.pair(),))),
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


@pytest.mark.parametrize("seed", range(300))
def test_rows_add_up_to_what_they_add_up_to_from_the_beginning(seed: int) -> None:
    random = Random(seed)  # noqa: S311 - a test, not a secret
    of, rows = _Rows(random), ShardRows()
    stored: dict[str, Session] = {}
    now, since = NOON + 10 * _STEP, NOON
    for _ in range(20):
        for id_ in random.sample("12345", random.randrange(3)):
            if random.random() < 0.2:
                stored.pop(id_, None)
            elif random.random() < 0.5 and id_ in stored:
                stored[id_] = of.beat(stored[id_])
            else:
                stored[id_] = of.row(id_)
        now += random.randint(-1, 8) * _STEP
        since = min(since + random.randint(-1, 8) * _STEP, now)
        slow = random.choice((0, 0, 0, random.randrange(20)))
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
    monkeypatch.setattr(KnownShards, "MOST", 4)
    known = KnownShards()

    def take(shard: int) -> ShardRows:
        rows = known.take("site:main", shard)
        rows.read(
            [[b"s1", b"s2"][:shard]],
            lambda row: _session(row.decode()),
            lambda: NOON,
            since=0,
            now=NOON,
        )
        return rows

    for shard in (1, 2, 1):
        known.keep("site:main", shard, take(shard))
    assert [len(known.take("site:main", shard)) for shard in (1, 2)] == [1, 0]
    assert len(known.take("site:main", 1)) == 0  # one has them now
    monkeypatch.setattr(KnownShards, "MOST", 3)
    known.keep("site:main", 2, take(2))
    assert len(known.take("site:main", 2)) == 0
