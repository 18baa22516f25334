"""Does every invariant have a test? Breaks them one by one and runs the tests that should see it.

    python -m tests.mutants [WORD ...]

applies each mutation (those whose name holds a word) to a copy of the product, runs its tests there
on the engine in memory, and prints which test caught it. Exits 1 if a mutation survives, if its
text is no longer in the product exactly once, or if a test is red without any mutation.
"""

from __future__ import annotations

import itertools
import multiprocessing
import os
import shutil
import sys
import tempfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from queue import Queue
from typing import Any

import pytest

from tests.support.template import ROOT

WORKERS = 2
_LIMIT = 180.0  # seconds, for a mutation that makes the product wait for ever
_LIMIT_OF_ALL = 900.0  # for every test without any mutation
_COPIED = ("layers/presence", "functions", "events", "tests", "local", "docs")
_LOG = "log"
_MTIMES = itertools.count(2_000_000_000)


@dataclass(frozen=True, slots=True)
class Mutant:
    """A mutation: in ``file``, ``old`` (the first behind ``after``, which is there once) becomes
    ``new``. ``edits`` are further pairs of old and new."""

    name: str
    file: str
    old: str
    new: str
    tests: tuple[str, ...]
    after: str = ""
    edits: tuple[tuple[str, str], ...] = ()

    def applied(self, text: str) -> str:
        """The file's text with it; ValueError where it does not fit any more."""
        for old, new in self.edits:
            text = _replaced(text, "", old, new)
        return _replaced(text, self.after, self.old, self.new)


def _replaced(text: str, after: str, old: str, new: str) -> str:
    if after:
        if text.count(after) != 1:
            raise ValueError(f"in its file {after!r} is there {text.count(after)} times")
        head, _, tail = text.partition(after)
        if old not in tail:
            raise ValueError(f"{old!r} is not there behind {after!r}")
        return head + after + tail.replace(old, new, 1)
    if text.count(old) != 1:
        raise ValueError(f"in its file {old!r} is there {text.count(old)} times")
    return text.replace(old, new)


# ----------------------------------------------------------------------------------------- the list

_PRODUCT = "layers/presence/headcount/"
SESSION = _PRODUCT + "session.py"
DESK = _PRODUCT + "presence.py"
TALLY = _PRODUCT + "tally.py"
COUNTING = _PRODUCT + "counting.py"
HEADCOUNTS = _PRODUCT + "headcounts.py"
PUBLISHING = _PRODUCT + "publishing.py"
SOCKETS = _PRODUCT + "sockets.py"
SUBSCRIBING = _PRODUCT + "subscribing.py"
SWEEPING = _PRODUCT + "sweeping.py"
AGGREGATING = _PRODUCT + "aggregating.py"
AUDITING = _PRODUCT + "auditing.py"
FANNING = _PRODUCT + "fanning.py"
ERRANDS = _PRODUCT + "errands.py"
PRESENCE_STORE = _PRODUCT + "store/presence.py"
COUNTS_STORE = _PRODUCT + "store/counts.py"
HEADCOUNTS_STORE = _PRODUCT + "store/headcounts.py"
VISITS_STORE = _PRODUCT + "store/visits.py"
SUBSCRIPTIONS_STORE = _PRODUCT + "store/subscriptions.py"
NUMBERS_STORE = _PRODUCT + "store/numbers.py"
EVENTS = _PRODUCT + "events.py"
EMITTING = _PRODUCT + "emitting.py"
READING = _PRODUCT + "reading.py"
WEBHOOKS = _PRODUCT + "webhooks.py"
TEMPLATE = "template.yaml"

_UNIT = ("tests/unit/test_session.py",)
_ROWS = ("tests/stores/test_presence_store.py",)
_LATE = ("tests/stores/test_consistency.py",)
_CHATTER = "tests/handlers/test_dashboards.py::"
_FAN_OUT = "tests/handlers/test_fan_out.py::"
_BACKLOG = "tests/handlers/test_backlog.py::"
_BEATS = "tests/handlers/test_beats.py::"
_BETWEEN = "tests/handlers/test_interleavings.py::"
_CLEANUP = "tests/handlers/test_cleanup.py::"
_SHARDS = "tests/handlers/test_shards.py::"
_ANY_STATE = "attribute_exists(#p) OR attribute_not_exists(#p)"
_STALE = "if seq is not None and old.seq is not None and seq <= old.seq:"
_WAIT = "        wait = self._wait(old)"
_VIEWS_APART = 16 * " " + 'self._client.update_item(**self._add_views(space, batch)["Update"])\n'
_EVENTUAL = ("ConsistentRead=True", "ConsistentRead=False")
_NUMBERS = ("tests/stores/test_numbers_store.py",)
_TELLING = ("tests/handlers/test_telling.py",)
_FOLLOWING = ("tests/handlers/test_following.py",)
_WEBHOOKS = ("tests/unit/test_webhooks.py",)

MUTANTS = [
    # Who is here.
    Mutant(
        "live: expiry is ignored",
        SESSION,
        "return not self.ended and self.expires_at > now",
        "return not self.ended",
        _UNIT,
    ),
    Mutant(
        "live: still at the very end of the lease",
        SESSION,
        "self.expires_at > now",
        "self.expires_at >= now",
        _UNIT,
        after="def live(",
    ),
    Mutant(
        "live: as long as the TTL leaves the row",
        SESSION,
        "self.expires_at > now",
        "self.expires_at + BIN_AFTER > now",
        _UNIT,
        after="def live(",
    ),
    Mutant(
        "live: an ended visit too",
        SESSION,
        "return not self.ended and self.expires_at > now",
        "return self.expires_at > now",
        (
            *_UNIT,
            _BEATS + "test_whatever_happens_the_numbers_equal_the_rows_and_the_views_the_ledger",
        ),
    ),
    Mutant(
        "expiry: a moment early",
        SESSION,
        "if old.ended or old.expires_at > now:",
        "if old.ended or old.expires_at > now + 1:",
        _UNIT,
    ),
    Mutant(
        "expiry: a moment late",
        SESSION,
        "if old.ended or old.expires_at > now:",
        "if old.ended or old.expires_at >= now:",
        _UNIT,
    ),
    # Steady beats.
    Mutant(
        "margin: none",
        SESSION,
        "STEADY_MARGIN = 5 * SECOND",
        "STEADY_MARGIN = 0",
        (_BEATS + "test_a_beat_with_little_lease_left_is_recounted",),
    ),
    Mutant(
        "margin: 5 s exactly is steady, as decided",
        SESSION,
        "old.expires_at > now + STEADY_MARGIN",
        "old.expires_at >= now + STEADY_MARGIN",
        _UNIT,
    ),
    Mutant(
        "margin: 5 s exactly is steady, as written",
        PRESENCE_STORE,
        "expires_at > :margin",
        "expires_at >= :margin",
        _ROWS,
    ),
    Mutant(
        "steady: whatever the facts",
        PRESENCE_STORE,
        "update.require(print=facts.fingerprint)",
        "pass",
        _ROWS,
    ),
    Mutant(
        "steady: a visit that has ended",
        PRESENCE_STORE,
        "#kind IN (:beat, :join, :change)",
        "(#kind IN (:beat, :join, :change) OR attribute_exists(#kind))",
        _ROWS,
    ),
    # Retries and order.
    Mutant(
        "retry: a steady beat counts twice",
        PRESENCE_STORE,
        '"#request <> :request"]',
        '"attribute_exists(#request)"]',
        (*_ROWS, _BEATS + "test_a_steady_beat_that_is_sent_twice_counts_once"),
    ),
    Mutant(
        "retry: a join or change counts twice",
        SESSION,
        "if old.request == request:",
        "if False:",
        _UNIT,
    ),
    Mutant(
        "retry: a visit is recorded twice",
        VISITS_STORE,
        '"attribute_not_exists(#p)"',
        f'"{_ANY_STATE}"',
        ("tests/stores/test_visits_store.py",),
        after="def _put(",
    ),
    Mutant(
        "retry: engagement of a visit is added twice",
        VISITS_STORE,
        "attribute_exists(#p) AND attribute_not_exists(#ended_at)",
        "attribute_exists(#p)",
        ("tests/handlers/test_riding.py::test_an_end_that_is_told_twice_adds_engagement_once",),
    ),
    Mutant(
        "order: a late beat is taken, as decided",
        SESSION,
        _STALE,
        "if False:",
        _UNIT,
        after="def after_beat(",
    ),
    Mutant(
        "order: a beat of the same number is taken, as decided",
        SESSION,
        "seq <= old.seq",
        "seq < old.seq",
        _UNIT,
        after="def after_beat(",
    ),
    Mutant(
        "order: a late leave is taken",
        SESSION,
        _STALE,
        "if False:",
        _UNIT,
        after="def after_leave(",
    ),
    Mutant(
        "order: a leave of the same number is taken",
        SESSION,
        "seq <= old.seq",
        "seq < old.seq",
        _UNIT,
        after="def after_leave(",
    ),
    Mutant(
        "order: a late beat is steady",
        PRESENCE_STORE,
        'update.conditions.append("(attribute_not_exists(seq) OR seq < :seq)")',
        "pass",
        _ROWS,
    ),
    Mutant(
        "order: a beat of the same number is steady",
        PRESENCE_STORE,
        "seq < :seq",
        "seq <= :seq",
        _ROWS,
    ),
    Mutant(
        "order: no tombstone for a leave that overtook its join",
        DESK,
        "if leave.seq is None:",
        "if True:",
        (_BEATS + "test_a_leave_that_overtakes_its_join_wins",),
    ),
    Mutant(
        "order: a leave deletes its row",
        DESK,
        "done, _ = self.table.replace(old, new)",
        "done = old is None or self.table.delete_ended(old)",
        (
            _BETWEEN
            + "test_a_beat_that_was_on_its_way_when_its_session_left_does_not_bring_it_back",
        ),
    ),
    Mutant(
        "races: a row is written over one that changed",
        PRESENCE_STORE,
        '"#request = :was"',
        '"#request = :was OR attribute_exists(#request)"',
        _ROWS,
    ),
    Mutant(
        "races: of two joins at once the second wins",
        PRESENCE_STORE,
        '"attribute_not_exists(#p)"',
        f'"{_ANY_STATE}"',
        _ROWS,
        after="def _unchanged(",
    ),
    # Counting.
    Mutant(
        "people: a stranger per session",
        TALLY,
        "person, tab = session.person, (",
        "person, tab = session.person if session.facts.user else session.id, (",
        ("tests/unit/test_tally.py",),
    ),
    Mutant(
        "people: a user per session",
        TALLY,
        "person, tab = session.person, (",
        "person, tab = f'u:{session.id}' if session.facts.user else session.person, (",
        ("tests/unit/test_tally.py",),
    ),
    Mutant(
        "facets: people are sessions",
        TALLY,
        "(count, people[facet][value])",
        "(count, count)",
        ("tests/unit/test_tally.py",),
    ),
    Mutant(
        "facets: the first thing said counts",
        TALLY,
        "if other[:2] < tab[:2]:",
        "if other[:2] > tab[:2]:",
        ("tests/unit/test_tally.py",),
    ),
    Mutant(
        "recount: the version is read after the rows",
        COUNTING,
        "before = before or self.counts.shard(space, shard)",
        "before = before or Count(space, shard)",
        (_BETWEEN + "test_a_recount_between_two_reads_of_another_is_not_undone",),
        edits=(
            ("version=before.version + 1", "version=self.counts.shard(space, shard).version + 1"),
        ),
    ),
    Mutant(
        "recount: a lost race counts as won",
        COUNTING,
        "if self.counts.save(count):",
        "if self.counts.save(count) or True:",
        (_BEATS + "test_of_two_recounts_at_once_the_slow_one_does_not_win",),
    ),
    Mutant(
        "recount: any version is overwritten",
        COUNTS_STORE,
        "**follows(count.version),",
        "",
        ("tests/stores/test_counts_store.py",),
    ),
    Mutant(
        "recount: a first count overwrites another",
        "layers/presence/headcount/store/rows.py",
        '"attribute_not_exists(#version) OR #version <= :before"',
        '"attribute_not_exists(#version) OR #version >= :before"',
        ("tests/stores/test_counts_store.py",),
    ),
    Mutant(
        "recount: without a pace",
        COUNTING,
        "last.counted_at + wait if",
        "0 * wait if",
        (_BEATS + "test_recounts_of_a_space_are_paced", "tests/handlers/test_pace.py"),
    ),
    Mutant(
        "recount: who comes or goes waits as long as facets",
        COUNTING,
        "wait = pace(last.rows, facets=not people)",
        "wait = pace(last.rows, facets=True)",
        ("tests/handlers/test_pace.py",),
    ),
    Mutant(
        "recount: people wait for whatever was left for facets",
        COUNTING,
        "left = (soon if people else last) - start",
        "left = last - start",
        ("tests/handlers/test_pace.py",),
    ),
    Mutant(
        "recount: a visit whose session is back is told by nobody",
        COUNTING,
        "if calm and not back and left > CLOCKS_DIFFER",
        "if calm and left > CLOCKS_DIFFER",
        ("tests/handlers/test_pace.py",),
    ),
    Mutant(
        "visits: recorded after the numbers",
        COUNTING,
        "        engaged = self.settle(batch)\n",
        "",
        (_BETWEEN + "test_whoever_reads_a_number_finds_the_views_that_led_to_it",),
        edits=(("self.visits.end(engaged)", "self.visits.end(self.settle(batch))"),),
    ),
    Mutant(
        "visits: a view is added apart from its visit",
        VISITS_STORE,
        "                        self._add_views(space, batch),\n",
        "",
        (_BETWEEN + "test_a_recording_that_dies_at_any_call_leaves_views_and_ledger_agreed",),
        edits=(
            (
                "            else:\n                self._continue(batch)\n",
                "            else:\n" + _VIEWS_APART + "                self._continue(batch)\n",
            ),
        ),
    ),
    Mutant(
        "moves: a farewell ends the visit",
        COUNTING,
        "if not session.visit or moved_away(session):",
        "if not session.visit:",
        (_SHARDS + "test_a_moved_session_ends_once", "tests/handlers/test_shards.py"),
    ),
    Mutant(
        "moves: an ended row is found before a running visit",
        PRESENCE_STORE,
        "(row.ended, moved_away(row))",
        "(not row.ended, moved_away(row))",
        _ROWS,
    ),
    Mutant(
        "moves: a running visit is overwritten",
        PRESENCE_STORE,
        '"attribute_not_exists(#p) OR #kind IN (:leave, :gone)"',
        f'"{_ANY_STATE} OR #kind IN (:leave, :gone)"',
        _ROWS,
    ),
    # Publishing.
    Mutant(
        "versions: not counted up",
        HEADCOUNTS,
        "version=old.version + 1,\n        tally",
        "version=old.version,\n        tally",
        ("tests/unit/test_headcounts.py",),
    ),
    Mutant(
        "versions: any is overwritten",
        HEADCOUNTS_STORE,
        "**follows(headcount.version),",
        "",
        ("tests/stores/test_counts_store.py",),
    ),
    Mutant(
        "repeats: never noticed",
        HEADCOUNTS,
        "return int(old.cause) >= int(change.number)",
        "return False",
        ("tests/unit/test_headcounts.py",),
    ),
    Mutant(
        "repeats: everything is one",
        HEADCOUNTS,
        "return int(old.cause) >= int(change.number)",
        "return True",
        ("tests/unit/test_headcounts.py",),
    ),
    Mutant(
        "repeats: the same record is news",
        HEADCOUNTS,
        "int(old.cause) >= int(change.number)",
        "int(old.cause) > int(change.number)",
        ("tests/unit/test_headcounts.py",),
    ),
    Mutant(
        "repeats: of a stream that counts from elsewhere, all are",
        HEADCOUNTS,
        "if old.cause is None or change.at > max(old.as_of, old.left_at) + CLOCKS_DIFFER:",
        "if old.cause is None:",
        ("tests/unit/test_headcounts.py",),
    ),
    Mutant(
        "repeats: not said again",
        PUBLISHING,
        "heard = self._say(old, until=until)",
        "heard = True",
        (_CHATTER + "test_a_publish_that_crashed_after_the_save_is_heard_at_the_retry",),
    ),
    Mutant(
        "publish: the counts are read before the wait",
        PUBLISHING,
        "next_headcount(old, numbers,",
        "next_headcount(old, before,",
        (_BETWEEN + "test_a_version_carries_what_happened_while_it_waited",),
        edits=(
            (
                _WAIT,
                "        before = numbers_of(self.counts.space(space))\n" + _WAIT,
            ),
        ),
    ),
    Mutant(
        "publish: without a pace",
        PUBLISHING,
        "self.sleep(max(0, wait) / 1000)",
        "self.sleep(0 * wait)",
        (_CHATTER + "test_versions_of_a_space_are_at_least_a_second_apart",),
    ),
    Mutant(
        "peak: of the latest version",
        HEADCOUNTS,
        "if tally.people and (peak is None or tally.people > peak.people):",
        "if True:",
        ("tests/unit/test_headcounts.py",),
    ),
    Mutant(
        "time: a published one steps back",
        HEADCOUNTS,
        "now = max(now, old.as_of)",
        "now = max(now, 0)",
        ("tests/unit/test_headcounts.py",),
    ),
    Mutant(
        "time: what a clock that was ahead published holds until then",
        HEADCOUNTS,
        "if old.as_of <= now + CLOCK_WAS_WRONG:",
        "if True:",
        ("tests/unit/test_headcounts.py",),
    ),
    Mutant(
        "time: who crashed after a beat by a clock that was ahead stays until then",
        SWEEPING,
        "if is_ahead(session, now) and",
        "if False and",
        (
            _CLEANUP
            + "test_who_crashed_after_a_beat_by_a_clock_that_was_ahead_is_gone_after_a_lease",
        ),
    ),
    # Dashboards.
    Mutant(
        "greeting: versions that begin anew are heard by nobody",
        PUBLISHING,
        "return [*due, *ahead]",
        "return due",
        (_CHATTER + "test_versions_that_begin_anew_are_heard_by_whoever_listens",),
    ),
    Mutant(
        "engagement: what was published too high stays",
        HEADCOUNTS,
        "engagement=done if numbers.settled else",
        "engagement=done if False else",
        (
            "tests/handlers/test_drift.py::test_what_people_did_is_brought_down_to_what_is_there_once_nothing_is_on_its_way",
        ),
    ),
    Mutant(
        "greeting: whoever is being greeted hears later versions first",
        PUBLISHING,
        "waiting = [one for one in subscribers if one.after is None]",
        "waiting = []",
        (_BETWEEN + "test_a_version_waits_for_a_greeting_that_is_on_its_way",),
    ),
    Mutant(
        "greeting: its version is said again, and older ones after it",
        PUBLISHING,
        "if one.after is None or one.after < headcount.version]",
        "]",
        (_BETWEEN + "test_a_version_that_a_greeting_said_already_is_not_said_after_it",),
    ),
    Mutant(
        "gone: a 410 means nothing",
        SOCKETS,
        "if is_gone(error):",
        "if False:",
        (_CHATTER + "test_a_410_later_forgets_that_connection_and_no_other",),
    ),
    Mutant(
        "gone: a 410 right after connecting is taken at its word",
        SOCKETS,
        "if since is not None and self.clock() - since < SETTLING:",
        "if False:",
        (_CHATTER + "test_a_410_right_after_connecting_is_tried_again",),
    ),
    Mutant(
        "chunks: sent again, queued again",
        FANNING,
        "MessageDeduplicationId=_name(space, number, str(version), message, *part)",
        "MessageDeduplicationId=__import__('uuid').uuid4().hex",
        (_CHATTER + "test_a_version_that_is_sent_again_is_queued_once",),
    ),
    Mutant(
        "chunks: a smaller audience hears at once what overtakes them",
        PUBLISHING,
        "elif not headcount.in_chunks(now):",
        "else:",
        (_CHATTER + "test_an_audience_that_shrinks_goes_on_hearing_in_order",),
    ),
    Mutant(
        "silent: hears versions behind the one it missed",
        FANNING,
        "if connection not in aside]",
        "if True]",
        (_FAN_OUT + "test_a_version_behind_the_one_it_missed_does_not_reach_it",),
    ),
    Mutant(
        "silent: forgotten, and left open",
        FANNING,
        "self.closings.close(connections)",
        "pass",
        (_FAN_OUT + "test_who_does_not_answer_is_tried_once_and_the_others_go_on",),
    ),
    Mutant(
        "silent: closed by the next process before this one's pace allows it",
        ERRANDS,
        "self.courier.sleep(1)",
        "pass",
        (_FAN_OUT + "test_whoever_closes_next_need_not_know_what_was_closed_before",),
    ),
    Mutant(
        "silent: of those that may be open none is tried again",
        ERRANDS,
        "if not left.isdisjoint(connections)",
        "if False",
        (_FAN_OUT + "test_of_a_batch_only_those_are_tried_again_that_may_be_open",),
    ),
    Mutant(
        "silent: the others wait for another try",
        SOCKETS,
        "if outcome is Outcome.SLOW and not outage:",
        "if False:",
        (_FAN_OUT + "test_who_does_not_answer_is_tried_once_and_the_others_go_on",),
    ),
    Mutant(
        "silent: all are closed when the service does not answer for a moment",
        SOCKETS,
        "outage = slow > _MANY_SLOW and slow > posted / 2 and now < self.began + SLOW_BUDGET",
        "outage = False",
        (_FAN_OUT + "test_nobody_is_closed_because_the_service_does_not_answer_for_a_moment",),
    ),
    Mutant(
        "pace: posts do not wait for their turn",
        SOCKETS,
        "wait = max(0, min(self._went[0] + SECOND - now, SECOND))",
        "wait = 0",
        (_FAN_OUT + "test_all_who_post_at_once_stay_under_the_parameter_in_any_second",),
    ),
    Mutant(
        "pace: versions follow faster than they are heard",
        PUBLISHING,
        "if wait > PACE:",
        "if False:",
        (_FAN_OUT + "test_the_next_version_waits_until_a_large_audience_can_have_heard_the_last",),
    ),
    Mutant(
        "pace: what was left for later is published by a belated try",
        PUBLISHING,
        "            self.headcounts.mark_left(old, last.number, now)\n",
        "",
        (_BACKLOG + "test_a_belated_try_of_what_was_left_for_later_makes_no_version",),
    ),
    Mutant(
        "pace: a large audience waits for a clock that was ahead",
        PUBLISHING,
        "if since < -CLOCKS_DIFFER:",
        "if False:",
        (_FAN_OUT + "test_a_large_audience_hears_on_after_a_clock_was_ahead",),
    ),
    Mutant(
        "pace: versions pile up behind those of other spaces",
        PUBLISHING,
        "if pace - since <= PACE and audience and self._is_behind(old, since):",
        "if False:",
        (_BACKLOG + "test_chunks_do_not_get_overdue_and_the_last_number_is_heard",),
    ),
    Mutant(
        "audit: a space that waits for the fan-out has drifted",
        AUDITING,
        "held_up = HELD_UP if self.head.in_chunks(self.at) else 0",
        "held_up = 0",
        (_BACKLOG + "test_a_space_that_waits_for_the_others_has_not_drifted",),
    ),
    Mutant(
        "pace: publish posts whatever is asked of it",
        PUBLISHING,
        " or posts > self.deliveries.courier.line.spare()",
        "",
        (_FAN_OUT + "test_what_publish_may_not_post_at_once_leaves_in_chunks",),
    ),
    # The cleanup and the day.
    Mutant(
        "cleanup: ends nobody",
        SWEEPING,
        "return ended is not None and self.presence.replace(session, ended)[0]",
        "return False and ended is not None",
        (_CLEANUP + "test_a_lease_ends_a_session_exactly_when_it_is_over",),
    ),
    Mutant(
        "cleanup: bins what ended a moment ago",
        SWEEPING,
        "< now - BIN_ENDED_AFTER",
        "< now",
        (_CLEANUP + "test_ended_rows_are_binned_after_five_minutes",),
    ),
    Mutant(
        "cleanup: bins what the ledger does not hold",
        SWEEPING,
        "self.visits.end(visit for visit in lost.values() if visit.space not in report.failed)",
        "pass",
        (_CLEANUP + "test_an_end_that_the_stream_lost_is_in_the_ledger_before_its_row_is_binned",),
    ),
    Mutant(
        "cleanup: bins a row that was written since",
        PRESENCE_STORE,
        "**_unchanged(session),",
        "",
        _ROWS,
        after="def delete_ended(",
    ),
    Mutant(
        "day: one whose visits have begun to expire is zeroed",
        AGGREGATING,
        "if day_start(date) + RETENTION <= now:",
        "if False:",
        (_CLEANUP + "test_a_day_that_is_not_over_or_has_begun_to_expire_is_refused",),
    ),
    Mutant(
        "day: one that is not over is written",
        AGGREGATING,
        "if date >= today:",
        "if False:",
        (_CLEANUP + "test_a_day_that_is_not_over_or_has_begun_to_expire_is_refused",),
    ),
    Mutant(
        "day: a visit that is live and in the ledger counts twice",
        _PRODUCT + "visits.py",
        "by_id[visit.id] = visit",
        "by_id[visit.id + str(len(by_id))] = visit",
        ("tests/unit/test_visits.py",),
    ),
    # Streams.
    Mutant(
        "stream: steady beats wake count",
        TEMPLATE,
        '["join", "change", "leave"]',
        '["join", "change", "leave", "beat"]',
        (_BEATS + "test_a_steady_beat_is_one_write_call_and_wakes_nobody",),
    ),
    Mutant(
        "stream: leaves wake nobody",
        TEMPLATE,
        '["join", "change", "leave"]',
        '["join", "change"]',
        ("tests/handlers/test_flow.py",),
    ),
    Mutant(
        "stream: numbers wake nobody",
        TEMPLATE,
        '[{"prefix": "shard#"}, ',
        "[",
        ("tests/handlers/test_flow.py",),
    ),
    # Reads on which a decision rests.
    *(
        Mutant(f"late: {what}", file, *_EVENTUAL, _LATE, after=after)
        for what, file, after in [
            ("a shard's sessions", PRESENCE_STORE, "def partition("),
            ("a session", PRESENCE_STORE, "def get("),
            ("a person's sessions", PRESENCE_STORE, "def said_by("),
            ("a page of sessions", PRESENCE_STORE, "def page("),
            ("every session", PRESENCE_STORE, "def scan("),
            ("a shard's count", COUNTS_STORE, "def shard("),
            ("a space's counts", COUNTS_STORE, "def space("),
            ("a headcount", HEADCOUNTS_STORE, "def get("),
            ("a headcount's facets", HEADCOUNTS_STORE, "def _headcount(self"),
            ("subscribers", SUBSCRIPTIONS_STORE, "def _rows("),
            ("when a connection came", SUBSCRIPTIONS_STORE, "def connected_at("),
        ]
    ),
    Mutant(
        "late: many headcounts",
        HEADCOUNTS_STORE,
        "consistent=True",
        "consistent=False",
        _LATE,
        after="def many(",
    ),
    Mutant(
        "late: which visits are known",
        VISITS_STORE,
        "consistent=True",
        "consistent=False",
        _LATE,
        after="def known(",
    ),
    Mutant(
        "late: which events have numbers",
        NUMBERS_STORE,
        "consistent=True",
        "consistent=False",
        _LATE,
    ),
    # Events for others.
    Mutant(
        "events: numbers are forgotten when others get theirs",
        NUMBERS_STORE,
        "        self._remember(space, head.latest, now)\n",
        "",
        _NUMBERS,
    ),
    Mutant(
        "events: two at once get the same numbers",
        NUMBERS_STORE,
        '"seq = :before OR',
        '"seq >= :before OR',
        _NUMBERS,
    ),
    Mutant(
        "events: an event that was found again gets another number",
        NUMBERS_STORE,
        "if event not in known]",
        "if event]",
        _NUMBERS,
    ),
    Mutant(
        "events: what was not taken is given up",
        EMITTING,
        "                again.append(one)\n",
        "                pass\n",
        _TELLING,
    ),
    Mutant(
        "events: what is refused for good comes again for ever",
        EMITTING,
        "if refuses_entry(code):",
        "if False:",
        _TELLING,
    ),
    Mutant(
        "events: a stay over midnight joins twice",
        EVENTS,
        "    if day != new.day:\n        return []\n",
        "",
        _TELLING,
    ),
    Mutant(
        "events: every write of an ended visit is a leave",
        EVENTS,
        "(old is None or old.ended_at is None)",
        "True",
        _TELLING,
    ),
    Mutant(
        "events: revenue is told",
        EVENTS,
        "if not name.startswith(PRIVATE)",
        "if True",
        _TELLING,
    ),
    Mutant(
        "snapshot: a lease that ran out is an end",
        READING,
        "        return not row.ended\n",
        "        return row.live(self.clock())\n",
        _FOLLOWING,
    ),
    Mutant(
        "snapshot: who moved meanwhile is missed",
        READING,
        "return there is not None and there.visit == row.visit and not there.ended",
        "return False",
        _FOLLOWING,
    ),
    Mutant(
        "webhook: posts go into a network",
        WEBHOOKS,
        "if not self._allows(address):",
        "if False:",
        _WEBHOOKS,
    ),
    Mutant(
        "webhook: the signature is of the body alone",
        WEBHOOKS,
        'f"{at}.".encode() + body',
        "body",
        _WEBHOOKS,
    ),
]


# ---------------------------------------------------------------------------------------- running


@dataclass(frozen=True, slots=True)
class Verdict:
    """What became of a mutation. ``caught_by``: the first red test; None: it survived."""

    mutant: Mutant
    caught_by: str | None
    trouble: str | None
    seconds: float


class _Watch:
    """The red tests of a run, and whether the tests could be collected."""

    def __init__(self) -> None:
        self.red: list[str] = []
        self.passed = 0
        self.trouble: str | None = None

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Note a failure, or an error of a fixture."""
        if report.failed:
            self.red.append(report.nodeid)
        self.passed += report.when == "call" and report.passed

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        """Note what can't be imported."""
        if report.failed:
            self.trouble = f"{report.nodeid} can't be collected"


def _run_tests(tree: Path, tests: tuple[str, ...], options: list[str], answer: Any) -> None:
    """In a process of its own: run tests in a copy, and say what was red."""
    os.chdir(tree)
    sys.path[:] = [one for one in sys.path if one not in {"", str(ROOT)}]
    for name in [one for one in sys.modules if one.partition(".")[0] in {"tests", "local"}]:
        del sys.modules[name]
    log = os.open(tree / _LOG, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(log, 1)
    os.dup2(log, 2)
    watch = _Watch()
    options += ["-q", "-p", "no:cacheprovider", "--rootdir", str(tree)]
    options += ["-W", "ignore::pytest.PytestAssertRewriteWarning"]  # some are imported already
    in_memory = ["-m", "not dynamodb_local", "-k", "not moto"]
    code = pytest.main([*options, *in_memory, *tests], plugins=[watch])
    if code not in {0, 1} and not watch.red and watch.trouble is None:
        watch.trouble = f"no such tests (pytest exits {int(code)})"
    if code == 0 and not watch.passed:
        watch.trouble = "no test ran"
    answer.send((watch.red, watch.trouble))


def _tested(
    tree: Path, tests: tuple[str, ...], *options: str, limit: float = _LIMIT
) -> tuple[list[str], str | None]:
    """The red tests in a copy of the product, and what else went wrong."""
    context = multiprocessing.get_context("fork")
    ours, theirs = context.Pipe(duplex=False)
    child = context.Process(target=_run_tests, args=(tree, tests, [*options], theirs))
    with _forking:
        child.start()
    theirs.close()
    try:
        if not ours.poll(limit):
            child.kill()
            return [f"(none: it did not end within {limit:g} s)"], None
        red, trouble = ours.recv()
    except EOFError:
        return [], "the tests died"
    finally:
        child.join()
    return red, trouble


_forking = threading.Lock()


def _write(path: Path, text: str) -> None:
    """Write a source file with a time it never had, or its old bytecode could pass for the new."""
    path.write_text(text)
    now = next(_MTIMES)
    os.utime(path, (now, now))


def _copy(to: Path) -> Path:
    """A copy of what the tests need."""
    ignored = shutil.ignore_patterns("__pycache__", "stack", "node_modules", "built")
    for folder in _COPIED:
        shutil.copytree(ROOT / folder, to / folder, ignore=ignored)
    for file in ("pyproject.toml", TEMPLATE):
        shutil.copy(ROOT / file, to / file)
    # The scheduling of the tests on the stack is part of the tests' configuration.
    (to / "tests" / "stack").mkdir()
    for file in ("__init__.py", "scheduling.py"):
        shutil.copy(ROOT / "tests" / "stack" / file, to / "tests" / "stack" / file)
    return to


def is_there(test: str) -> bool:
    """Whether the product has that test."""
    file, _, name = test.partition("::")
    path = ROOT / file
    return path.is_file() and (not name or f"def {name}(" in path.read_text())


def _judge(mutant: Mutant, trees: Queue[Path], red_before: list[str]) -> Verdict:
    tree = trees.get()
    path = tree / mutant.file
    original = path.read_text()
    start = time.monotonic()
    red: list[str] = []
    trouble: str | None = None
    without = [option for test in red_before for option in ("--deselect", test)]
    try:
        if missing := [test for test in mutant.tests if not is_there(test)]:
            raise ValueError(f"there is no {missing[0]}")
        _write(path, mutant.applied(original))
        red, trouble = _tested(tree, mutant.tests, "-x", *without)
    except ValueError as error:
        trouble = f"can't be tried: {error}"
    finally:
        _write(path, original)
        trees.put(tree)
    return Verdict(mutant, red[0] if red else None, trouble, time.monotonic() - start)


def run(mutants: list[Mutant]) -> bool:
    """Try them all and print the table; whether every one was caught."""
    with tempfile.TemporaryDirectory() as scratch, ThreadPoolExecutor(WORKERS) as pool:
        trees: Queue[Path] = Queue()
        for number in range(WORKERS):
            trees.put(_copy(Path(scratch) / str(number)))
        named = sorted({test for mutant in mutants for test in mutant.tests})
        tests = tuple(test for test in named if is_there(test))
        tree = trees.get()
        red, trouble = _tested(tree, tests, limit=_LIMIT_OF_ALL)
        trees.put(tree)
        for one in red:
            print(f"red without any mutation, and left out: {one}", file=sys.stderr)
        if trouble:
            print((tree / _LOG).read_text(), trouble, sep="\n", file=sys.stderr)
            return False
        print("| mutation | caught by | s |\n|---|---|--:|", flush=True)
        bad = 0
        for verdict in pool.map(lambda mutant: _judge(mutant, trees, red), mutants):
            said = verdict.caught_by or f"**{verdict.trouble or 'SURVIVES'}**"
            bad += verdict.caught_by is None or verdict.trouble is not None
            print(f"| {verdict.mutant.name} | {said} | {verdict.seconds:.1f} |", flush=True)
    print(f"\n{len(mutants) - bad} of {len(mutants)} mutations caught")
    return not bad and not red


def _preload() -> None:
    """Import what the tests import and no mutation changes: every run is a fork of this process."""
    import boto3
    import hypothesis
    import jwt
    import moto.dynamodb
    import samtranslator.translator.transform  # noqa: F401
    import yaml

    assert all((boto3, hypothesis, jwt, moto, yaml))


def main(words: list[str]) -> int:
    """The mutations whose names hold one of the words; all without any."""
    chosen = [one for one in MUTANTS if not words or any(word in one.name for word in words)]
    _preload()
    return 0 if run(chosen) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
