"""Which differences are explained, and which are drift."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
from headcount.model.headcount import Headcount
from headcount.model.session import Session, Write
from headcount.model.tally import Tally, merge
from headcount.store.counts import ShardCount
from headcount.times import MINUTE, SECOND
from headcount.usecases.audit import IN_FLIGHT, ShardScan, SpaceAudit
from msgspec.structs import replace

from tests.support.tallies import tally
from tests.unit.test_session import NOON, gone, here

SITE = "site:main"
LONG_AGO = NOON - 10 * MINUTE
OLD = NOON - IN_FLIGHT - 1
WRONG = Tally(sessions=7, anonymous=7)


def live(session: str = "s1", **changes: Any) -> Session:
    """A session that joined long ago and is still beating."""
    since = {"joined_at": LONG_AGO, "changed_at": LONG_AGO, "last_seen": NOON - 5 * SECOND}
    return here(id=session, write=Write.BEAT, **{**since, **changes})


def audit(
    *rows: Session,
    counted: Tally | None = None,
    published: Tally | None = None,
    counted_at: int = OLD,
    as_of: int = OLD,
    also: dict[int, list[Session]] | None = None,
) -> SpaceAudit:
    """An audit of shard 0 with these rows, and of other shards; only the arguments are wrong."""
    shards = {0: list(rows), **(also or {})}
    right = {
        shard: tally(row for row in every if row.live(NOON)) for shard, every in shards.items()
    }
    if counted is not None:
        right[0] = counted
    counts = {
        shard: ShardCount(SITE, shard, 3, numbers, counted_at=counted_at)
        for shard, numbers in right.items()
    }
    head = Headcount(SITE, 3, merge(right.values()) if published is None else published)
    return SpaceAudit(dataclasses.replace(head, as_of=as_of), counts, looks(shards), NOON)


def looks(shards: dict[int, list[Session]]) -> dict[int, ShardScan]:
    """Shards' rows as an audit reads them."""
    found = {shard: ShardScan(NOON) for shard in shards}
    for shard, rows in shards.items():
        for row in rows:
            found[shard].add(row)
    return found


def test_equal_numbers_are_no_drift_during_any_pending_changes() -> None:
    found = audit(live(), live("s2", changed_at=NOON - SECOND))
    assert found.agrees
    assert found.drifted == []
    assert (found.written, found.expired, found.counted) == (1, 0, 0)


def test_a_wrong_count_that_nothing_explains_is_drift() -> None:
    found = audit(live(), counted=WRONG)
    assert (found.miscounted, found.drifted) == ([0], [0])
    assert found.recount.sessions == 1


def test_a_wrong_publication_that_nothing_explains_is_drift() -> None:
    found = audit(live(), published=WRONG)
    assert (found.miscounted, found.unpublished, found.drifted) == ([], True, [0])


@pytest.mark.parametrize("young", [NOON - IN_FLIGHT, NOON, NOON + SECOND])
def test_a_recent_write_explains_a_wrong_count(young: int) -> None:
    assert audit(live(changed_at=young), counted=WRONG).drifted == []
    left = gone(ended_at=young, ended_by="leave", expires_at=NOON + MINUTE)
    assert audit(live(), left, counted=WRONG).drifted == []


def test_a_recent_write_in_another_shard_explains_nothing() -> None:
    other = {1: [live("s2", shard=1, changed_at=NOON)]}
    assert audit(live(), counted=WRONG, also=other).drifted == [0]


def test_a_lease_that_ran_out_explains_a_wrong_count_until_a_sweep_ends_it() -> None:
    run_out = live("s2", expires_at=NOON)
    assert audit(live(), run_out, counted=WRONG).drifted == []
    ended = replace(run_out, write=Write.LEAVE, ended_at=NOON, ended_by="expiry")
    assert audit(live(), ended, counted=WRONG).drifted == []
    before = NOON - IN_FLIGHT - MINUTE - 1
    assert audit(live(), replace(ended, ended_at=before), counted=WRONG).drifted == [0]


def test_a_recent_count_explains_a_wrong_publication() -> None:
    found = audit(live(), published=WRONG, counted_at=NOON - IN_FLIGHT)
    assert (found.counted, found.drifted) == (1, [])


def test_a_write_without_a_recount_in_time_is_drift_despite_pending_changes() -> None:
    busy = live("s2", changed_at=NOON - SECOND)
    overdue = live("s3", changed_at=OLD)
    late = {"counted_at": OLD - 2 * SECOND, "as_of": NOON}
    assert audit(live(), busy, overdue, counted=WRONG, **late).drifted == [0]
    # Within the clocks' possible difference, the recount may have seen it.
    close = {"counted_at": OLD - SECOND, "as_of": NOON}
    assert audit(live(), busy, overdue, counted=WRONG, **close).drifted == []


def test_a_count_without_a_version_in_time_is_drift_despite_fresh_counts() -> None:
    overdue = live("s3", changed_at=OLD)
    late = {"counted_at": NOON - SECOND, "as_of": OLD - 2 * SECOND}
    assert audit(live(), overdue, published=WRONG, **late).drifted == [0]
    close = {"counted_at": NOON - SECOND, "as_of": OLD - SECOND}
    assert audit(live(), overdue, published=WRONG, **close).drifted == []


@pytest.mark.parametrize(
    "row",
    [
        gone(id="s3", ended_at=OLD, ended_by="expiry"),
        gone(id="s3", ended_at=OLD, ended_by="leave", write=Write.GONE),
    ],
    ids=["an end that a sweep wrote some time later", "a leave that changed nothing"],
)
def test_rows_without_the_time_of_counts_invocation_are_no_drift(row: Session) -> None:
    busy = live("s2", changed_at=NOON - SECOND)
    assert audit(live(), busy, row, counted=WRONG, counted_at=OLD - MINUTE).drifted == []


def test_a_session_that_moves_between_shards_is_not_overdue() -> None:
    came = live("s2", shard=1, changed_at=OLD)
    farewell = replace(
        live("s2"), write=Write.LEAVE, ended_at=NOON - SECOND, ended_by="move", changed_at=OLD
    )
    late = LONG_AGO - MINUTE
    found = audit(live(), farewell, counted=WRONG, also={1: [came]}, counted_at=late)
    assert found.drifted == []
    arrived = replace(farewell, ended_at=OLD)
    found = audit(live(), arrived, counted=WRONG, also={1: [came]}, counted_at=late)
    assert found.drifted == [0]


def test_of_a_space_without_counts_any_shard_is_recounted() -> None:
    head = Headcount(SITE, 3, WRONG, as_of=OLD)
    assert SpaceAudit(head, {}, {}, NOON).drifted == [0]
