"""Does every invariant have a test? Breaks them one by one and runs the tests that should fail.

    python -m lab.mutants [WORD ...]

applies each mutation (or those whose name contains a word) to a copy of the product, runs its tests
there on the in-memory engine, and prints which test caught it. Exits 1 if a mutation survives, if
its text is not in the product exactly once, or if a test fails without any mutation.
"""

from __future__ import annotations

import ast
import itertools
import multiprocessing
import os
import re
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

from lab.harness.template import ROOT

WORKERS = 2
_LIMIT = 180.0  # seconds, for a mutation that makes the product hang
_LIMIT_OF_ALL = 900.0  # seconds, for all tests without any mutation
_COPIED = ("layers/presence", "functions", "events", "clients", "lab", "tests", "local", "docs")
_LOG = "log"
_MTIMES = itertools.count(2_000_000_000)


@dataclass(frozen=True, slots=True)
class Mutant:
    """Replaces ``old`` by ``new`` in the function ``at``; ``edits`` are further such pairs.

    ``at`` is ``folder.module:Class.function`` in the package, or in the repository if it begins
    with ``functions.`` or ``lab.``; without a function it means the whole module. For the template
    it is ``template.yaml:LogicalId``. Each text must occur once; line breaks don't matter.
    """

    name: str
    at: str
    old: str
    new: str
    tests: tuple[str, ...]
    edits: tuple[tuple[str, str], ...] = ()

    @property
    def file(self) -> str:
        """Its path in the repository."""
        module = self.at.partition(":")[0]
        if module == TEMPLATE:
            return module
        path = module.replace(".", "/") + ".py"
        return path if module.startswith(("functions.", "lab.")) else _PRODUCT + path

    def applied(self, text: str) -> str:
        """The file's text with the mutation; ValueError if it does not fit any more."""
        module, _, name = self.at.partition(":")
        start, end = _resource(text, name) if module == TEMPLATE else _span(text, name)
        part = text[start:end]
        for old, new in (*self.edits, (self.old, self.new)):
            part = _replaced(part, old, new)
        return text[:start] + part + text[end:]


def _resource(text: str, logical_id: str) -> tuple[int, int]:
    """The start and end of a resource in the template; of the whole file for ""."""
    if not logical_id:
        return 0, len(text)
    found = list(re.finditer(rf"^  {logical_id}:\n(?:(?:    .*|  #.*)?\n)*", text, re.MULTILINE))
    if len(found) != 1:
        raise ValueError(f"the template has {logical_id} {len(found)} times")
    return found[0].span()


def _span(text: str, function: str) -> tuple[int, int]:
    """The start and end of a function or class in its file; of the whole file for ""."""
    if not function:
        return 0, len(text)
    node: ast.AST = ast.parse(text)
    for name in function.split("."):
        defined = [one for one in ast.iter_child_nodes(node) if getattr(one, "name", None) == name]
        if len(defined) != 1:
            raise ValueError(f"its file defines {function} {len(defined)} times")
        (node,) = defined
    assert isinstance(node, ast.FunctionDef | ast.ClassDef)
    lines = text.splitlines(keepends=True)
    first = min(node.lineno, *(one.lineno for one in node.decorator_list), node.lineno)
    return sum(map(len, lines[: first - 1])), sum(map(len, lines[: node.end_lineno]))


def _replaced(text: str, old: str, new: str) -> str:
    """The text with ``old`` replaced; line breaks don't matter."""
    words = [re.escape(word) for word in old.split()]
    found = list(re.finditer(r"\s+".join(words), text))
    if len(found) != 1:
        raise ValueError(f"{old!r} occurs {len(found)} times")
    lead, tail = len(old) - len(old.lstrip()), len(old) - len(old.rstrip())
    start, end = found[0].span()
    return text[: start - lead] + new + text[end + tail :]


# ----------------------------------------------------------------------------------------- the list

_PRODUCT = "layers/presence/headcount/"
TEMPLATE = "template.yaml"

_UNIT = ("tests/unit/test_session.py",)
_TABS = ("tests/unit/test_tabs.py",)
_ROWS = ("tests/stores/test_presence_store.py",)
_KNOWN = "tests/unit/test_shard_rows.py::"
_LATE = ("tests/stores/test_consistency.py",)
_PEAKS = "tests/handlers/test_peaks.py::"
_LAKE = "tests/handlers/test_lake.py::test_"
_SCRAPE = "tests/handlers/test_prometheus.py::test_"
_CHATTER = "tests/handlers/test_dashboards.py::"
_FAN_OUT = "tests/handlers/test_fan_out.py::"
_BACKLOG = "tests/handlers/test_backlog.py::"
_BEATS = "tests/handlers/test_beats.py::"
_BETWEEN = "tests/handlers/test_interleavings.py::"
_DRIFT = "tests/handlers/test_drift.py::"
_ORDERS = "tests/simulator/test_interleavings.py::test_nothing_is_wrong_in_any_order"
_ERASURES = "tests/handlers/test_erasures.py::test_"
_CLEANUP = "tests/handlers/test_cleanup.py::"
_RETURNS = "tests/handlers/test_returns.py::"
_ROLL_UPS = ("tests/handlers/test_rollups.py",)
_INDEX = ("tests/stores/test_rollups_store.py",)
_ROLLED_UP = "tests/handlers/test_rollups.py::test_"
_MEMBERS = "tests/unit/test_rollups.py::test_"
_SYNC = "tests/systems/test_course_viewers_sync.py::"
_PUSHED = "tests/unit/test_pushes.py::"
_PUSHES = "tests/handlers/test_pushes.py::"
_REDELIVERY = "tests/handlers/test_redelivery.py"
_FOUND = "tests/simulator/test_found.py::"
_SHARDS = "tests/handlers/test_shards.py::"
_ANY_STATE = "attribute_exists(#p) OR attribute_not_exists(#p)"
_STALE = "if seq is not None and old.seq is not None and seq <= old.seq:"
_VIEWS_APART = 16 * " " + 'self._client.update_item(**self._add_views(space, batch)["Update"])\n'
_EVENTUAL = ("ConsistentRead=True", "ConsistentRead=False")
_NUMBERS = ("tests/stores/test_numbers_store.py",)
_EVENT_BUS = ("tests/handlers/test_event_bus.py",)
_SNAPSHOTS = ("tests/handlers/test_snapshots.py",)
_WEBHOOKS = ("tests/unit/test_webhooks.py",)

_RIGHTS = "tests/template/test_template.py::"
_SOURCES = "tests/template/test_sources.py::"
_PAIRS = "tests/template/test_combinations.py::"

_CLAIMS = ("tests/handlers/test_claims.py",)

_DIRECT = "tests/handlers/test_direct_versions.py::test_"
_PACE = "tests/handlers/test_pace.py::test_"

_PEOPLE = "tests/handlers/test_people.py::test_"
_WATCHING = "tests/handlers/test_watching.py::test_"

MUTANTS = [
    # Who is here.
    Mutant(
        "live: expiry is ignored",
        "model.session:Session.live",
        "return not self.ended and self.expires_at > now",
        "return not self.ended",
        _UNIT,
    ),
    Mutant(
        "live: still at the very end of the lease",
        "model.session:Session.live",
        "self.expires_at > now",
        "self.expires_at >= now",
        _UNIT,
    ),
    Mutant(
        "live: as long as the TTL leaves the row",
        "model.session:Session.live",
        "self.expires_at > now",
        "self.expires_at + ROW_RETENTION > now",
        _UNIT,
    ),
    Mutant(
        "person: a claim is the proven user",
        "model.session:person_of",
        """f"{'u' if verified else 'c'}:{user}\"""",
        'f"u:{user}"',
        _CLAIMS,
    ),
    Mutant(
        "person: claims are not signed in",
        "model.session:is_user",
        'person.startswith(("u:", "c:"))',
        'person.startswith("u:")',
        _CLAIMS,
    ),
    Mutant(
        "day: a claim is the proven user",
        "model.visit:_DayBuilder.build",
        "len(proven) + len(claimed)",
        "len(proven | claimed)",
        _CLAIMS,
    ),
    Mutant(
        "sign-in: signing out forgets whom a token proved",
        "model.session:Session.proven_user",
        "return proven[-1] if proven else None",
        "return None",
        _CLAIMS,
    ),
    Mutant(
        "removal: of the claim and of the proven user alike",
        "model.moderation:Removal.id",
        "self.verified is not None",
        "self.verified is None and self.verified",
        _CLAIMS,
    ),
    Mutant(
        "beat: tells the count to anybody",
        "web.calls:Call._published",
        "if not (kind.counts_are_public or reads):",
        "if False:",
        ("tests/handlers/test_strangers.py",),
    ),
    Mutant(
        "live: an ended visit too",
        "model.session:Session.live",
        "return not self.ended and self.expires_at > now",
        "return self.expires_at > now",
        (
            *_UNIT,
            _BEATS + "test_in_any_sequence_the_numbers_equal_the_rows_and_the_views_the_ledger",
        ),
    ),
    Mutant(
        "expiry: a moment early",
        "model.session:after_expiry",
        "if old.ended or old.expires_at > now:",
        "if old.ended or old.expires_at > now + 1:",
        _UNIT,
    ),
    Mutant(
        "expiry: a moment late",
        "model.session:after_expiry",
        "if old.ended or old.expires_at > now:",
        "if old.ended or old.expires_at >= now:",
        _UNIT,
    ),
    # Steady beats.
    Mutant(
        "margin: none",
        "model.session",
        "STEADY_MARGIN = 5 * SECOND",
        "STEADY_MARGIN = 0",
        (_BEATS + "test_a_beat_with_little_lease_left_is_recounted",),
    ),
    Mutant(
        "margin: a beat after its lease is steady",
        "model.session:after_beat",
        "old.facts == facts and old.expires_at > now + STEADY_MARGIN",
        "old.facts == facts",
        _UNIT,
    ),
    Mutant(
        "margin: 5 s exactly is steady, as decided",
        "model.session:after_beat",
        "old.expires_at > now + STEADY_MARGIN",
        "old.expires_at >= now + STEADY_MARGIN",
        _UNIT,
    ),
    Mutant(
        "margin: 5 s exactly is steady, as written",
        "store.presence:",
        "expires_at > :margin",
        "expires_at >= :margin",
        _ROWS,
    ),
    Mutant(
        "steady: whatever the facts",
        "store.presence:PresenceTable.steady",
        "update.expect(print=beat.facts.fingerprint)",
        "pass",
        _ROWS,
    ),
    Mutant(
        "steady: a visit that has ended",
        "store.presence:_Update.from_beat",
        "#kind IN (:beat, :join, :change)",
        "(#kind IN (:beat, :join, :change) OR attribute_exists(#kind))",
        _ROWS,
    ),
    # Retries and order.
    Mutant(
        "retry: a steady beat counts twice",
        "store.presence:_Update.from_beat",
        '"#request <> :request"]',
        '"attribute_exists(#request)"]',
        (*_ROWS, _BEATS + "test_a_steady_beat_that_is_sent_twice_counts_once"),
    ),
    Mutant(
        "retry: a join or change counts twice",
        "model.session:after_beat",
        "if old.request == beat.request:",
        "if False:",
        _UNIT,
    ),
    Mutant(
        "retry: a visit is recorded twice",
        "store.visits:VisitsTable._put",
        '"attribute_not_exists(#p)"',
        f'"{_ANY_STATE}"',
        ("tests/stores/test_visits_store.py",),
    ),
    Mutant(
        "retry: engagement of a visit is added twice",
        "store.visits:VisitsTable._write_engaged_end",
        '" AND attribute_not_exists(#ended_at)"',
        '""',
        (
            "tests/handlers/test_telemetry.py::test_an_end_that_is_delivered_twice_adds_engagement_once",
        ),
    ),
    Mutant(
        "order: a late beat is taken, as decided",
        "model.session:after_beat",
        _STALE,
        "if False:",
        _UNIT,
    ),
    Mutant(
        "order: a beat of the same number is taken, as decided",
        "model.session:after_beat",
        "seq <= old.seq",
        "seq < old.seq",
        _UNIT,
    ),
    Mutant(
        "returns: the next page is a new visit, as decided",
        "model.session:after_leave",
        "if may_return and old.expires_at > now:",
        "if False:",
        (*_UNIT, _RETURNS + "test_the_next_page_continues_the_visit_and_no_number_falls"),
    ),
    Mutant(
        "returns: a closed page counts for its whole lease",
        "model.session:after_leave",
        "expires_at=min(old.expires_at, now + RETURN_GRACE)",
        "expires_at=old.expires_at",
        _UNIT,
    ),
    Mutant(
        "returns: nobody can be back when the sweep comes",
        "model.session:after_expiry",
        "if old.runs_out_at <= now else None",
        "",
        _UNIT,
    ),
    Mutant(
        "returns: however late, it is the same visit, as decided",
        "usecases.record:SessionRecorder.record_beat",
        "old.away and old.runs_out_at <= now",
        "False",
        (_RETURNS + "test_who_comes_back_later_begins_a_new_visit",),
    ),
    Mutant(
        "returns: however late, it is the same visit, as written",
        "store.presence:PresenceTable.change",
        "#ended_by = :left AND changed_at > :window",
        "#ended_by = :left",
        (_RETURNS + "test_who_comes_back_later_begins_a_new_visit",),
        edits=(('        update.values[":window"] = beat.now - RETURN_WINDOW\n', ""),),
    ),
    Mutant(
        "returns: a late frame of a closed connection brings its session back",
        "store.presence:PresenceTable.change",
        "if beat.connection is not None:",
        "if False:",
        ("tests/handlers/test_presence_sockets.py",),
    ),
    Mutant(
        "order: a late message of a tab is taken, as decided",
        "model.tabs:is_late",
        "tab.seq <= known",
        "tab.seq < known",
        _TABS,
    ),
    Mutant(
        "order: a late beat of a tab is taken, as written",
        "store.presence:_Update.add_tab",
        '"tab_seqs.#tab < :tab_seq"',
        '"tab_seqs.#tab <> :tab_seq"',
        _ROWS,
    ),
    Mutant(
        "tabs: the first that leaves ends the stay",
        "model.tabs:_without",
        "until <= now",
        "until > now",
        _TABS,
    ),
    Mutant(
        "tabs: a silent one holds the stay",
        "model.tabs:_without",
        "or until <= now",
        "",
        _TABS,
    ),
    Mutant(
        "order: a late leave is taken",
        "model.session:after_leave",
        _STALE,
        "if False:",
        _UNIT,
    ),
    Mutant(
        "order: a leave of the same number is taken",
        "model.session:after_leave",
        "seq <= old.seq",
        "seq < old.seq",
        _UNIT,
    ),
    Mutant(
        "order: a late beat is steady",
        "store.presence:_Update.from_beat",
        'update.conditions.append("(attribute_not_exists(seq) OR seq < :seq)")',
        "pass",
        _ROWS,
    ),
    Mutant(
        "order: a beat of the same number is steady",
        "store.presence:_Update.from_beat",
        "seq < :seq",
        "seq <= :seq",
        _ROWS,
    ),
    Mutant(
        "order: no tombstone for a leave that overtook its join",
        "usecases.record:SessionRecorder.record_leave",
        "if seq is None or not may_overtake:",
        "if True:",
        (_BEATS + "test_a_leave_that_overtakes_its_join_wins",),
    ),
    Mutant(
        "order: a leave deletes its row",
        "usecases.record:SessionRecorder.record_leave",
        "done, _ = self.table.replace(old, new)",
        "done = old is None or self.table.delete_ended(old)",
        (
            _BETWEEN
            + "test_a_beat_that_was_on_its_way_when_its_session_left_does_not_bring_it_back",
        ),
    ),
    Mutant(
        "races: a row is written over one that changed",
        "store.presence:_unchanged",
        '"#request = :was"',
        '"#request = :was OR attribute_exists(#request)"',
        _ROWS,
    ),
    Mutant(
        "races: of two joins at once the second wins",
        "store.presence:_unchanged",
        '"attribute_not_exists(#p)"',
        f'"{_ANY_STATE}"',
        _ROWS,
    ),
    # Counting.
    Mutant(
        "people: a stranger per session",
        "model.tally:TallyBuilder.add",
        "person, tab = session.person, (",
        "person, tab = session.person if session.facts.user else session.id, (",
        ("tests/unit/test_tally.py",),
    ),
    Mutant(
        "people: a user per session",
        "model.tally:TallyBuilder.add",
        "person, tab = session.person, (",
        "person, tab = f'u:{session.id}' if session.facts.user else session.person, (",
        ("tests/unit/test_tally.py",),
    ),
    Mutant(
        "facets: people are sessions",
        "model.tally:TallyBuilder.build",
        "(count, people[facet][value])",
        "(count, count)",
        ("tests/unit/test_tally.py",),
    ),
    Mutant(
        "facets: the first reported value counts",
        "model.tally:_decide",
        "if other[:2] < tab[:2]:",
        "if other[:2] > tab[:2]:",
        ("tests/unit/test_tally.py",),
    ),
    Mutant(
        "recount: the version is read after the rows",
        "usecases.count:Recounter.recount",
        "before = before or self.counts.shard(space, shard)",
        "before = before or ShardCount(space, shard)",
        (_BETWEEN + "test_a_recount_between_two_reads_of_another_is_not_undone",),
        edits=(
            ("version=before.version + 1", "version=self.counts.shard(space, shard).version + 1"),
        ),
    ),
    Mutant(
        "recount: a lost race counts as won",
        "usecases.count:Recounter.recount",
        "if self.counts.save(count):",
        "if self.counts.save(count) or True:",
        (_BEATS + "test_of_two_recounts_at_once_the_slow_one_does_not_win",),
    ),
    Mutant(
        "recount: any version is overwritten",
        "store.counts:CountsTable.save",
        "**follows_version(count.version),",
        "",
        ("tests/stores/test_counts_store.py",),
    ),
    Mutant(
        "recount: a first count overwrites another",
        "store.rows:follows_version",
        '"attribute_not_exists(#version) OR #version <= :before"',
        '"attribute_not_exists(#version) OR #version >= :before"',
        ("tests/stores/test_counts_store.py",),
    ),
    Mutant(
        "recount: without a pace",
        "usecases.count:Counter._due",
        "if last.version else 0",
        "if False else 0",
        (_BEATS + "test_recounts_of_a_space_are_paced", "tests/handlers/test_pace.py"),
    ),
    Mutant(
        "recount: joins and leaves wait as long as facets",
        "usecases.count:Counter._due",
        "interval = _pace_of(last, facets=not people)",
        "interval = _pace_of(last, facets=True)",
        ("tests/handlers/test_pace.py",),
    ),
    Mutant(
        "recount: joins and leaves wait for a recount that was deferred for facets",
        "usecases.count:Counter._deferred_for",
        "(prompt if people else [last])",
        "[last]",
        ("tests/handlers/test_pace.py",),
    ),
    Mutant(
        "recount: a visit whose session has returned is not recounted in time",
        "usecases.count:Counter._due",
        "if deferrable and not returned and later",
        "if deferrable and later",
        ("tests/handlers/test_pace.py",),
    ),
    Mutant(
        "recount: nothing follows the grace of a closed page",
        "usecases.count:Counter._due",
        "at=at if others else max(at, until)",
        "at=at",
        (
            _RETURNS
            + "test_who_does_not_come_back_is_gone_within_3_seconds_also_where_nothing_else_"
            "happens",
        ),
        edits=(("until=until", "until=0"),),
    ),
    Mutant(
        "recount: others that are counted at once replace the one after the grace",
        "usecases.count:Counter.count",
        "if count.counted_at < one.until:",
        "if False:",
        (_RETURNS + "test_others_are_counted_at_once_while_somebody_may_return",),
    ),
    Mutant(
        "recount: a row that changed or is gone still counts",
        "model.shard_rows:ShardRows.read",
        "self._remove(gone.values())",
        "pass",
        (_KNOWN + "test_rows_add_up_to_what_they_add_up_to_from_the_beginning",),
    ),
    Mutant(
        "recount: a row that stays as it is counts when its lease has run out",
        "model.shard_rows:ShardRows.read",
        "self._end_leases()",
        "pass",
        (_KNOWN + "test_rows_add_up_to_what_they_add_up_to_from_the_beginning",),
    ),
    Mutant(
        "recount: a row that changed its facts has only beaten",
        "model.shard_rows:ShardRows._only_beat",
        "or session.facts != old.facts",
        "",
        (_KNOWN + "test_rows_add_up_to_what_they_add_up_to_from_the_beginning",),
    ),
    Mutant(
        "recount: a plain row's number may be any text",
        "store.presence:from_json",
        "except (ValidationError, ValueError):",
        "except ValidationError:",
        (_ROWS[0] + "::test_a_plain_row_is_read_as_any_other",),
    ),
    Mutant(
        "recount: time that goes back changes nothing",
        "model.shard_rows:ShardRows.read",
        "now < self._read_at or since < self._since",
        "False",
        (_KNOWN + "test_rows_add_up_to_what_they_add_up_to_from_the_beginning",),
    ),
    Mutant(
        "recount: who left between two recounts was never here",
        "model.shard_rows:ShardRows._is_past",
        "(session.id in self._live or session.gone_at < since)",
        "True",
        (_KNOWN + "test_rows_add_up_to_what_they_add_up_to_from_the_beginning",),
    ),
    Mutant(
        "recount: a tab that is taken away still decides its person's facets",
        "model.tally:TallyBuilder.remove",
        "self._undecided.add(person)",
        "pass",
        (_KNOWN + "test_rows_add_up_to_what_they_add_up_to_from_the_beginning",),
    ),
    Mutant(
        "recount: in a large space a dashboard waits for hundreds of joins",
        "usecases.count:crowding",
        "10 if watched else max(10, rows // 100)",
        "max(10, rows // 100)",
        (_PACE + "ten_joins_are_many_in_a_space_that_a_dashboard_watches",),
    ),
    Mutant(
        "recount: with several shards no dashboard is known",
        "usecases.count:Counter._recount",
        "if self.audience is not None:",
        "if False:",
        (_SHARDS + "test_each_shard_knows_whether_a_dashboard_watches",),
    ),
    Mutant(
        "recount: what a dashboard watches is as slow as the rest",
        "usecases.count:_pace_of",
        "watched=count.watched",
        "watched=False",
        (_PACE + "what_a_dashboard_watches_is_recounted_within_a_second",),
    ),
    Mutant(
        "unheard: what nobody hears of is as quick as the rest",
        "usecases.count:_pace_of",
        "unheard=count.unheard",
        "unheard=False",
        (_PACE + "what_nobody_hears_of_waits_longer",),
    ),
    Mutant(
        "unheard: any number may join and leave meanwhile",
        "usecases.count:_Traffic.may_wait",
        "max(len(self.came), len(self.went)) <= self.few",
        "self.few >= 0",
        (_PACE + "more_than_a_hundredth_that_joined_or_left_are_too_many_to_wait",),
    ),
    Mutant(
        "unheard: who came makes up for more who went",
        "usecases.count:_Traffic.may_wait",
        "max(len(self.came), len(self.went))",
        "abs(len(self.came) - len(self.went))",
        (_PACE + "more_than_a_hundredth_that_joined_or_left_are_too_many_to_wait",),
    ),
    Mutant(
        "unheard: who came and who went are as many as both",
        "usecases.count:_Traffic.may_wait",
        "max(len(self.came), len(self.went))",
        "len(self.came) + len(self.went)",
        (_PACE + "more_than_a_hundredth_that_joined_or_left_are_too_many_to_wait",),
    ),
    Mutant(
        "unheard: pages that closed are not among them",
        "usecases.count:_Traffic.note",
        "elif row.away:",
        "elif False:",
        (_PACE + "pages_that_closed_are_some_of_them",),
    ),
    Mutant(
        "unheard: who signs in changes no number",
        "usecases.count:_Traffic.note",
        "max(row.moved_at or 0, *(at for _, at in row.formerly), 0) > counted",
        "False",
        (_PACE + "who_signs_in_comes_and_goes",),
    ),
    Mutant(
        "unheard: who may be back is forgotten with the recount that counts them",
        "usecases.count:_Traffic.note",
        "max(now, min(row.expires_at, now + _GONE_WITHIN))",
        "now",
        (_PACE + "who_may_be_back_when_a_shard_is_recounted_is_one_who_goes_after_it",),
    ),
    Mutant(
        "unheard: the end of a visit that was counted no more does not wait",
        "usecases.count:_Traffic.note",
        "row.ended and (row.ended_at or 0) <= counted",
        "False",
        (_PACE + "the_end_of_a_visit_that_is_counted_no_more_may_wait",),
    ),
    Mutant(
        "unheard: another process's recount has all that reached this one",
        "usecases.count:Counter._due",
        "traffic.forget(last.counted_at - CLOCKS_DIFFER)",
        "traffic.forget(start)",
        (_PACE + "who_came_just_before_another_process_counted_may_be_missing_there",),
    ),
    Mutant(
        "unheard: another process's recount has nothing that reached this one",
        "usecases.count:Counter._due",
        "traffic.forget(last.counted_at - CLOCKS_DIFFER)",
        "pass",
        (_PACE + "who_came_just_before_another_process_counted_may_be_missing_there",),
    ),
    Mutant(
        "unheard: a kind's accuracy does not matter",
        "usecases.count:Counter._few",
        "kind.accuracy if kind is not None else 1.0",
        "1.0",
        (_PACE + "a_kind_that_is_to_be_more_accurate_waits_for_fewer",),
    ),
    Mutant(
        "unheard: small spaces, too",
        "usecases.count:Recounter._is_unheard",
        "tally.sessions <= ATTENTIVE",
        "False",
        (_PACE + "a_small_space_is_never_unheard",),
    ),
    Mutant(
        "unheard: alert rules wait",
        "usecases.watchers:Watchers.any",
        "if head.alerts.states:",
        "if False:",
        (_PACE + "an_alert_does_not_wait_longer",),
    ),
    Mutant(
        "unheard: listeners hear of all changes, even if none is pushed",
        "usecases.watchers:Watchers.any",
        "head.pushes.may_push(self.budget, self.clock())",
        "True",
        (_PACE + "while_the_budget_of_pushes_is_spent_nobody_listens",),
    ),
    Mutant(
        "unheard: a listener counts for nothing",
        "usecases.watchers:Watchers.any",
        "topics.append(topic_of(space))",
        "pass",
        (_PACE + "who_begins_to_hear_of_a_space_has_it_recounted_at_once",),
    ),
    Mutant(
        "unheard: who subscribes waits for the next recount",
        "usecases.socket:DashboardSocket._act",
        "self.deferred_queue.notice(space)",
        "pass",
        (_PACE + "who_begins_to_hear_of_a_space_has_it_recounted_at_once",),
    ),
    Mutant(
        "unheard: it is recounted once when somebody comes, though count waits",
        "usecases.deferred:DeferredRunner._notice",
        "range(_NOTICED_EVERY, UNHEARD_PACE + 1, _NOTICED_EVERY)",
        "()",
        (_PACE + "who_begins_to_hear_of_a_space_has_it_recounted_at_once",),
    ),
    Mutant(
        "unheard: each listener of a crowd has it recounted",
        "usecases.deferred:DeferredRunner._greet",
        "if not self.subscriptions.has_subscribers(feed.topic, 2):",
        "if True:",
        (_PACE + "a_second_listener_has_nothing_recounted",),
    ),
    Mutant(
        "unheard: a page that closed is recounted once more at the old pace",
        "usecases.count:Counter.count",
        "self._due_at(count, prompt=one.prompt)",
        "self._due_at(count, prompt=True)",
        (_PACE + "what_a_closed_page_leaves_waits_longer_too",),
    ),
    Mutant(
        "recount: a crowd's recount begins when its version is due",
        "usecases.count:Counter._recount",
        "lead=lead",
        "lead=0",
        (_PACE + "a_crowds_versions_are_as_far_apart_as_they_may_however_long_it_takes_to_read",),
    ),
    Mutant(
        "publish: makes a version of what count has published meanwhile",
        "usecases.publish:Publisher.publish",
        "if contends:",
        "if False:",
        (_DIRECT + "in_a_crowd_publish_waits_for_count_instead_of_taking_turns",),
    ),
    Mutant(
        "publish: a crowd's version that count stored and did not send is taken for sent",
        "usecases.publish:Publisher.publish",
        "self._sent(new, until=until)",
        "",
        (_DIRECT + "in_a_crowd_publish_sends_what_count_has_stored_meanwhile_and_not_sent",),
    ),
    Mutant(
        "recount: one that was deferred earlier replaces the one after the grace",
        "usecases.count:Counter._due",
        "and later and covered",
        "and later",
        (_RETURNS + "test_a_recount_deferred_to_a_time_within_the_grace_is_followed_by_another",),
    ),
    Mutant(
        "visits: recorded after the numbers",
        "usecases.count:Counter.count",
        "        engaged = self.settle(batch)\n",
        "",
        (_BETWEEN + "test_a_reader_of_a_number_finds_the_views_behind_it",),
        edits=(("self.visits.end(engaged)", "self.visits.end(self.settle(batch))"),),
    ),
    Mutant(
        "visits: a view is added apart from its visit",
        "store.visits:VisitsTable._record_batch",
        "                self._add_views(space, batch),\n",
        "",
        (_BETWEEN + "test_a_recording_that_dies_at_any_call_leaves_views_and_ledger_agreed",),
        edits=(
            (
                "            if not reasons:\n",
                "            if not reasons:\n" + _VIEWS_APART,
            ),
        ),
    ),
    Mutant(
        "moves: the row left behind ends the visit",
        "usecases.count:Counter.settle",
        "if not session.visit or moved_away(session):",
        "if not session.visit:",
        (_SHARDS + "test_a_moved_session_ends_once", "tests/handlers/test_shards.py"),
    ),
    Mutant(
        "moves: an ended row is found before a running visit",
        "store.presence:PresenceTable.find",
        "(row.ended, moved_away(row))",
        "(not row.ended, moved_away(row))",
        _ROWS,
    ),
    Mutant(
        "moves: a beat that lost the race against one joins again",
        "usecases.record:SessionRecorder._stored",
        "seen is None or seen.moved_to is not None",
        "seen is None",
        (_SHARDS + "test_a_beat_that_loses_a_race_against_a_move_does_not_join_again",),
    ),
    Mutant(
        "erasures: one round",
        "model.erasure:ErasureJob.complete",
        "self.round == ROUNDS",
        "self.round == 1",
        (f"{_ERASURES}a_visit_that_was_counted_late_is_erased_by_the_next_round",),
    ),
    Mutant(
        "moves: a running visit is overwritten",
        "store.presence:PresenceTable._move",
        '"attribute_not_exists(#p) OR #kind IN (:leave, :gone)"',
        f'"{_ANY_STATE} OR #kind IN (:leave, :gone)"',
        _ROWS,
    ),
    # Publishing.
    Mutant(
        "versions: not counted up",
        "model.headcount:next_headcount",
        "version=old.version + 1,\n        tally",
        "version=old.version,\n        tally",
        ("tests/unit/test_headcounts.py",),
    ),
    Mutant(
        "versions: any is overwritten",
        "store.headcounts:HeadcountsTable.save",
        "**_unless_pushed(pushed, follows_version(headcount.version)),",
        "",
        ("tests/stores/test_counts_store.py",),
    ),
    Mutant(
        "repeats: never noticed",
        "model.headcount:is_repeat",
        "return int(old.cause) >= int(change.number)",
        "return False",
        ("tests/unit/test_headcounts.py",),
    ),
    Mutant(
        "repeats: everything is one",
        "model.headcount:is_repeat",
        "return int(old.cause) >= int(change.number)",
        "return True",
        ("tests/unit/test_headcounts.py",),
    ),
    Mutant(
        "repeats: the same record is new",
        "model.headcount:is_repeat",
        "int(old.cause) >= int(change.number)",
        "int(old.cause) > int(change.number)",
        ("tests/unit/test_headcounts.py",),
    ),
    Mutant(
        "repeats: all records of a stream with other sequence numbers",
        "model.headcount:is_repeat",
        "if old.cause is None or change.at > max(old.as_of, old.deferred_at) + CLOCKS_DIFFER:",
        "if old.cause is None:",
        ("tests/unit/test_headcounts.py",),
    ),
    Mutant(
        "publish: the counts are read before the wait",
        "usecases.publish:Publisher",
        "numbers = numbers_of(counted, self.kinds.known(old.space))",
        "self.sleep(1.0); numbers = numbers_of(counted, self.kinds.known(old.space))",
        (_BETWEEN + "test_a_version_carries_what_happened_while_it_waited",),
        edits=(
            (
                "self.sleep((max(0, wait) + YIELD * contends) / 1000)",
                "",
            ),
        ),
    ),
    Mutant(
        "publish: without a pace",
        "usecases.publish:Publisher.publish",
        "self.sleep((max(0, wait) + YIELD * contends) / 1000)",
        "self.sleep(0 * wait)",
        (_CHATTER + "test_a_space_has_three_versions_at_once_and_then_one_a_second",),
    ),
    Mutant(
        "peak: of the latest version",
        "model.headcount:next_headcount",
        "if step.people and (peak is None or step.people > peak.people):",
        "if True:",
        ("tests/unit/test_headcounts.py",),
    ),
    Mutant(
        "peak: only of those who are here at a recount",
        "model.peaks:StepsBuilder._add",
        "if ended > self._since:",
        "if False:",
        (_PEAKS + "test_all_who_came_and_went_before_the_first_recount_were_there",),
    ),
    Mutant(
        "peak: a visit that its session followed by another is forgotten",
        "model.session:_earlier",
        "return (*before, *last)[-MAX_EARLIER:]",
        "return ()",
        (_PEAKS + "test_a_visit_that_is_followed_by_another_of_its_session_is_not_forgotten",),
    ),
    Mutant(
        "peak: the next visit's beats forget one that expired long before",
        "model.session:_kept_earlier",
        "return old.earlier if old.began_here > now - EARLIER_FOR else ()",
        "return tuple(one for one in old.earlier if one[1] > now - EARLIER_FOR)",
        (_PEAKS + "test_a_visit_that_expired_long_ago_is_not_forgotten_by_the_next_one",),
    ),
    Mutant(
        "peak: an earlier visit is of whom its session is now",
        "model.peaks:StepsBuilder.add",
        "began = self._add_former(row, start, min(end, now))",
        "began = start",
        (_PEAKS + "test_an_earlier_visit_that_changed_its_person_is_of_each_in_turn",),
    ),
    Mutant(
        "peak: a session that comes back as another was always that one",
        "model.session:after_beat",
        "changed = old is not None and old.person != person",
        "changed = False",
        (_PEAKS + "test_an_earlier_visit_is_of_whom_its_session_counted_as_then",),
    ),
    Mutant(
        "peak: of a shard's old number",
        "model.headcount:_final_steps",
        "if step.at > curve.known_until:",
        "if False:",
        (_PEAKS + "test_a_shard_that_is_recounted_late_raises_no_peak",),
    ),
    Mutant(
        "peak: unknown while a shard is silent",
        "usecases.publish:Publisher._caught_up",
        "return curves if shards else None",
        "return None",
        (_PEAKS + "test_a_peak_that_depends_on_a_silent_shard_is_known",),
    ),
    Mutant(
        "peak: a session that moves is in two shards at once",
        "model.session:Session.began_here",
        "return self.joined_at if self.moved_at is None else self.moved_at",
        "return self.joined_at",
        (_PEAKS + "test_a_session_that_moves_between_shards_is_one_at_each_moment",),
    ),
    Mutant(
        "time: a published one steps back",
        "model.headcount:next_headcount",
        "now = max(now, old.as_of)",
        "now = max(now, 0)",
        ("tests/unit/test_headcounts.py",),
    ),
    Mutant(
        "time: a version from a clock that was ahead blocks until then",
        "model.headcount:next_headcount",
        "if old.as_of <= now + CLOCK_WAS_WRONG:",
        "if True:",
        ("tests/unit/test_headcounts.py",),
    ),
    Mutant(
        "time: a session with a lease from a clock that was ahead stays until then",
        "usecases.cleanup:Sweeper._read_page",
        "if has_wrong_clock(session, read_at) and",
        "if False and",
        (_CLEANUP + "test_a_crashed_session_from_a_clock_that_was_ahead_is_gone_after_a_lease",),
    ),
    Mutant(
        "time: a sweep that stood still takes newer beats for a wrong clock's",
        "usecases.cleanup:Sweeper._read_page",
        "if has_wrong_clock(session, read_at) and",
        "if has_wrong_clock(session, now) and",
        (_CLEANUP + "test_a_sweep_that_stood_still_takes_no_newer_beat_for_a_wrong_clocks",),
    ),
    Mutant(
        "time: a recount that stood still counts who followed each other as together",
        "model.shard_rows:read_at",
        "return max(before, min(newest, after))",
        "return before",
        (_PEAKS + "test_two_who_follow_each_other_while_a_recount_stands_still_are_one",),
    ),
    Mutant(
        "time: a recount that stood still misses whose lease was renewed meanwhile",
        "model.shard_rows:read_at",
        "return max(before, min(newest, after))",
        "return after",
        (_PEAKS + "test_a_recount_that_stands_still_after_reading_misses_no_one",),
    ),
    # Dashboards.
    Mutant(
        "greeting: restarted version numbers reach no dashboard",
        "usecases.publish:Publisher._due_subscribers",
        "ahead = [one for one in subscribers if (one.after or 0) > headcount.version]",
        "ahead = []",
        (_CHATTER + "test_restarted_versions_reach_every_dashboard",),
    ),
    Mutant(
        "engagement: a published number that is too high stays",
        "model.headcount:next_headcount",
        "engagement=done if numbers.settled else",
        "engagement=done if False else",
        (
            "tests/handlers/test_drift.py::test_engagement_is_lowered_to_the_rows_once_nothing_is_on_its_way",
        ),
    ),
    Mutant(
        "greeting: a dashboard that is being greeted gets later versions first",
        "usecases.publish:Publisher._due_subscribers",
        "waiting = [one for one in subscribers if one.after is None]",
        "waiting = []",
        (_BETWEEN + "test_a_version_waits_for_a_greeting_that_is_on_its_way",),
    ),
    Mutant(
        "greeting: its version is sent again, and older ones after it",
        "usecases.publish:Publisher._due_subscribers",
        "if one.after is None or one.after < headcount.version]",
        "]",
        (_BETWEEN + "test_a_version_that_a_greeting_contained_is_not_sent_after_it",),
    ),
    Mutant(
        "greeting: reads the version before it subscribes",
        "usecases.socket:Greeter.greet",
        "self.subscriptions.add(",
        "headcount = self.headcounts.get(feed.topic)\n        self.subscriptions.add(",
        (_BETWEEN + "test_a_version_published_just_before_a_dashboard_subscribes_is_its_first",),
        edits=(("headcount = self.headcounts.get(feed.topic)", ""),),
    ),
    Mutant(
        "greeting: marked before it is sent",
        "usecases.socket:Greeter.greet",
        "send(to_frame(frame_of(self.forms, feed.form, headcount, self.clock())))",
        "self.subscriptions.mark_greeted(feed.topic, connection, headcount.version)\n"
        "        send(to_frame(frame_of(self.forms, feed.form, headcount, self.clock())))",
        (_ORDERS,),
        edits=(("self.subscriptions.mark_greeted(feed.topic, connection, headcount.version)", ""),),
    ),
    Mutant(
        "greeting: an outdated version is the first for a new dashboard",
        "usecases.publish:Publisher._due_subscribers",
        "if (waiting or ahead) and self._is_over(headcount):",
        "if ahead and self._is_over(headcount):",
        (_FOUND + "test_a_late_publisher_greets_no_one_with_an_outdated_version",),
    ),
    Mutant(
        "rest: a check may come when a lease ran out without a cleanup",
        "lab.simulator.simulation:Simulation.run_cleanup",
        "published_within=_NOTICED_WITHIN + took",
        "published_within=-HOUR",
        ("tests/simulator/test_itself.py",),
    ),
    Mutant(
        "launch: a key may hold half a character",
        "usecases.containers",
        "\\x9f\\ud800-\\udfff]",
        "\\x9f]",
        ("tests/handlers/test_containers.py",),
    ),
    Mutant(
        "queues: a chunk that failed waits for the visibility timeout",
        "functions.fanout.app:handler",
        "        here.redelivery.after_failure(records, longest=LONGEST_OF_CHUNKS)\n",
        "        pass\n",
        (_REDELIVERY,),
    ),
    Mutant(
        "queues: only the first message of a group is retried soon, and waits for the others",
        "usecases.redelivery:Redelivery.after_failure",
        "for message in messages:",
        "for message in messages[:1]:",
        (_REDELIVERY,),
    ),
    Mutant(
        "queues: a failed task waits for the visibility timeout",
        "usecases.redelivery:Redelivery.on_failure",
        "            self.after_failure(messages, longest=longest)\n",
        "",
        (_REDELIVERY,),
    ),
    Mutant(
        "queues: a chunk is given up before it is overdue",
        TEMPLATE,
        "maxReceiveCount: 9 ",
        "maxReceiveCount: 8 ",
        ("tests/template/test_template.py::test_a_chunk_is_overdue_before_its_retries_end",),
    ),
    Mutant(
        "queues: Lambda stops what erase queues for itself",
        "template.yaml:EraseFunction",
        "RecursiveLoop: Allow",
        "RecursiveLoop: Terminate",
        ("tests/handlers/test_erasures.py::test_a_long_erasure_goes_on_from_run_to_run",),
    ),
    Mutant(
        "queues: Lambda stops what cleanup queues for itself",
        "template.yaml:CleanupFunction",
        "RecursiveLoop: Allow",
        "RecursiveLoop: Terminate",
        ("tests/template/test_template.py",),
    ),
    Mutant(
        "wire: a connection that expired while a function was frozen is used again",
        "aws.wire:Pool.request",
        "if not 0 <= now - since < IDLE:",
        "if False:",
        ("tests/unit/test_aws_wire.py",),
    ),
    Mutant(
        "batches: unprocessed items are retried at once",
        "store.table:Table._after",
        "        self._backoff.wait(tries + 1)\n",
        "",
        ("tests/stores/test_table.py",),
    ),
    Mutant(
        "batches: unprocessed items are retried forever",
        "store.table:Table._after",
        "if tries + 1 == STORE_TRIES:",
        "if tries + 1 == 10 * STORE_TRIES:",
        ("tests/stores/test_table.py",),
    ),
    Mutant(
        "batches: a transaction that conflicts with others fails",
        "store.table:Table._transact",
        "if tries == STORE_TRIES or not others_in_the_way(error):",
        "if True:",
        ("tests/stores/test_table.py",),
    ),
    Mutant(
        "batches: all refused callers retry at the same time",
        "store.table:Backoff.wait",
        "self.chance() * growing_wait(",
        "1 * growing_wait(",
        ("tests/stores/test_table.py",),
    ),
    Mutant(
        "gone: a 410 is ignored",
        "usecases.deliver:_outcome_of",
        "if is_gone(error):",
        "if False:",
        (_CHATTER + "test_a_410_later_forgets_that_connection_and_no_other",),
    ),
    Mutant(
        "gone: a 410 right after connecting is final",
        "usecases.deliver:Broadcaster._is_connecting",
        "if since is not None and self.clock() - since < CONNECT_GRACE:",
        "if False:",
        (_CHATTER + "test_a_410_right_after_connecting_is_retried",),
    ),
    Mutant(
        "chunks: a version that is sent again is queued again",
        "usecases.queues:ChunkQueue.send",
        "MessageDeduplicationId=_name(space, number, str(version), message, *part)",
        "MessageDeduplicationId=__import__('uuid').uuid4().hex",
        (_CHATTER + "test_a_version_that_is_sent_again_is_queued_once",),
    ),
    Mutant(
        "chunks: a smaller audience gets versions that overtake them",
        "usecases.publish:Publisher.send",
        "elif not headcount.in_chunks(now):",
        "else:",
        (_CHATTER + "test_an_audience_that_shrinks_still_receives_versions_in_order",),
    ),
    Mutant(
        "silent: gets versions after the one it missed",
        "usecases.deliver:Deliveries.deliver_chunk",
        "if connection not in aside]",
        "if True]",
        (_FAN_OUT + "test_a_version_after_a_missed_one_does_not_reach_the_dashboard",),
    ),
    Mutant(
        "silent: forgotten, but not closed",
        "usecases.deliver:Deliveries._set_aside",
        "self.closing_queue.send(connections)",
        "pass",
        (_FAN_OUT + "test_a_silent_dashboard_is_tried_once_and_the_others_go_on",),
    ),
    Mutant(
        "silent: closed by the next process before this one's pace allows it",
        "usecases.deferred:DeferredRunner.close_connections",
        "self.broadcaster.sleep(1)",
        "pass",
        (_FAN_OUT + "test_closing_needs_no_knowledge_of_earlier_closings",),
    ),
    Mutant(
        "silent: those that may be open are not tried again",
        "usecases.deferred:DeferredRunner.close_connections",
        "if not left.isdisjoint(connections)",
        "if False",
        (_FAN_OUT + "test_only_connections_of_a_batch_that_may_be_open_are_retried",),
    ),
    Mutant(
        "silent: the others wait for another attempt",
        "usecases.deliver:RetryPolicy._gives_up",
        "if outcome is Outcome.SLOW and not outage:",
        "if False:",
        (_FAN_OUT + "test_a_silent_dashboard_is_tried_once_and_the_others_go_on",),
    ),
    Mutant(
        "silent: all are closed when the service does not answer for a moment",
        "usecases.deliver:RetryPolicy.given_up",
        "outage = slow > _MANY_SLOW and slow > posted / 2 and now < self.began + SLOW_BUDGET",
        "outage = False",
        (_FAN_OUT + "test_no_connection_is_closed_because_the_service_is_silent_for_a_moment",),
    ),
    Mutant(
        "pace: posts do not wait for their turn",
        "usecases.deliver:RateLimiter.acquire",
        "wait = max(0, min(self._sent_at[0] + SECOND - now, SECOND))",
        "wait = 0",
        (_FAN_OUT + "test_concurrent_posters_stay_under_the_parameter_in_any_second",),
    ),
    Mutant(
        "pushes: large changes borrow without an end",
        "model.pushes:_needed",
        "return 1 - budget.overdraft if is_large else 1",
        "return -1_000 if is_large else 1",
        (
            _PUSHED + "test_credit_ends",
            _PUSHES + "test_many_changes_are_within_the_budget_and_the_last_count_arrives",
        ),
    ),
    Mutant(
        "pushes: publish posts beside the deferred task",
        "model.pushes:next_pushes",
        "is_free = not 0 <= now - new.late_at < LOCK",
        "is_free = True",
        (_PUSHED + "test_publish_keeps_away_from_a_task_that_posts",),
    ),
    Mutant(
        "pushes: a greeting does not look for what passed by",
        "usecases.pushes:Pusher.greet",
        "if pushes is None or pushes.version <= headcount.version:",
        "if True:",
        (_PUSHES + "test_a_greeting_is_never_older_than_a_push",),
    ),
    Mutant(
        "pushes: a version fails because a task pushed meanwhile",
        "usecases.pushes:Pusher.save",
        "for _ in range(_TRIES):",
        "for _ in range(1):",
        (_PUSHES + "test_a_late_push_and_a_version_at_the_same_time",),
    ),
    Mutant(
        "pushes: the next count does not wait for chunks of the last",
        "usecases.pushes:Pusher._is_behind",
        "return (self.subscriptions.delivered_version(topic) or 0) < audience.chunked",
        "return False",
        (_PUSHES + "test_a_large_audience_gets_counts_in_chunks_one_after_the_other",),
    ),
    Mutant(
        "pace: versions follow faster than they can be delivered",
        "usecases.publish:Publisher.publish",
        "if wait > PACE:",
        "if False:",
        (
            _FAN_OUT
            + "test_the_next_version_waits_until_a_large_audience_can_have_received_the_last",
        ),
    ),
    Mutant(
        "pace: a deferred change is published by a late retry",
        "usecases.publish:Publisher.publish",
        "            self.headcounts.mark_deferred(old, last.number, now)\n",
        "",
        (_BACKLOG + "test_a_late_attempt_of_a_deferred_publish_makes_no_version",),
    ),
    Mutant(
        "pace: a large audience waits for a clock that was ahead",
        "usecases.publish:Publisher._wait",
        "if since < -CLOCKS_DIFFER:",
        "if False:",
        (_FAN_OUT + "test_a_large_audience_gets_versions_after_a_clock_was_ahead",),
    ),
    Mutant(
        "pace: versions pile up behind those of other spaces",
        "usecases.publish:Publisher._wait",
        "if pace - since <= PACE and audience and self._is_behind(old, since):",
        "if False:",
        (_BACKLOG + "test_chunks_do_not_get_overdue_and_the_last_number_is_sent",),
    ),
    Mutant(
        "audit: nothing has ever drifted",
        "usecases.audit:SpaceAudit.drifted",
        "if self._is_moving:",
        "if True:",
        (_DRIFT + "test_a_lost_batch_is_on_its_way_at_first_and_drift_at_the_next_sweep",),
    ),
    Mutant(
        "audit: a space that waits for the fan-out has drifted",
        "usecases.audit:SpaceAudit.drifted",
        "allowance = FANOUT_ALLOWANCE if self.head.in_chunks(self.at) else 0",
        "allowance = 0",
        (_BACKLOG + "test_a_space_that_waits_for_the_others_has_not_drifted",),
    ),
    Mutant(
        "pace: publish posts more than its share",
        "usecases.publish:Publisher.send",
        " or posts > self.deliveries.broadcaster.connection_api.spare()",
        "",
        (_FAN_OUT + "test_posts_over_publishs_limit_are_sent_in_chunks",),
    ),
    # The cleanup and the day.
    Mutant(
        "cleanup: ends no session",
        "usecases.cleanup:Sweeper._end",
        "return ended is not None and self.presence.replace(session, ended)[0]",
        "return False and ended is not None",
        (_CLEANUP + "test_a_lease_ends_a_session_exactly_when_it_is_over",),
    ),
    Mutant(
        "cleanup: deletes what ended a moment ago",
        "usecases.cleanup:Sweeper._read_page",
        "< now - DELETE_ENDED_AFTER",
        "< now",
        (_CLEANUP + "test_ended_rows_are_deleted_after_five_minutes",),
    ),
    Mutant(
        "cleanup: deletes what the ledger does not have",
        "usecases.cleanup:Sweeper._delete",
        "self.visits.end(visit for visit in lost.values() if visit.space not in report.failed)",
        "pass",
        (_CLEANUP + "test_an_end_that_the_stream_lost_is_in_the_ledger_before_its_row_is_deleted",),
    ),
    Mutant(
        "cleanup: deletes a row that was written since",
        "store.presence:PresenceTable.delete_ended",
        "**_unchanged(session),",
        "",
        _ROWS,
    ),
    Mutant(
        "day: one whose visits have begun to expire is zeroed",
        "usecases.daily:Aggregator._require_whole",
        "if day_start(date) + RETENTION <= now:",
        "if False:",
        (_CLEANUP + "test_a_day_that_is_not_over_or_has_begun_to_expire_is_refused",),
    ),
    Mutant(
        "day: one that is not over is written",
        "usecases.daily:Aggregator._require_whole",
        "if date >= today:",
        "if False:",
        (_CLEANUP + "test_a_day_that_is_not_over_or_has_begun_to_expire_is_refused",),
    ),
    Mutant(
        "cost: a part of an earlier run of the day counts, too",
        "store.history:HistoryTable.uses",
        "if int(part) < parts:",
        "if parts:",
        ("tests/handlers/test_pieces.py",),
    ),
    Mutant(
        "cost: the month before counts, too",
        "model.cost:month_cents",
        "if month_of(date) == month and date <= last",
        "if date <= last",
        ("tests/handlers/test_costs.py",),
    ),
    Mutant(
        "accuracy: the statement forgets what a late sweep adds",
        "model.intervals:_counted_for",
        "return interval.lease - min(interval.beat, interval.lease) / 2 + SWEPT_AFTER",
        "return interval.lease / 4",
        ("tests/simulator/test_accuracy.py",),
    ),
    Mutant(
        "accuracy: visits that no sweep has seen yet did not end",
        "model.intervals:_seconds_known",
        "known -= min(now / SECOND - ends.until, _SWEPT_WITHIN)",
        "known -= 0",
        ("tests/unit/test_intervals.py", "tests/simulator/test_accuracy.py"),
    ),
    Mutant(
        "day: a visit that is live and in the ledger counts twice",
        "model.visit:_keep_fuller",
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
        (_BEATS + "test_a_steady_beat_is_one_write_call_and_invokes_nothing",),
    ),
    Mutant(
        "stream: leaves don't wake count",
        TEMPLATE,
        '["join", "change", "leave"]',
        '["join", "change"]',
        ("tests/handlers/test_flow.py",),
    ),
    Mutant(
        "stream: counts don't wake publish",
        TEMPLATE,
        '[{"prefix": "shard#"}, ',
        "[",
        ("tests/handlers/test_flow.py",),
    ),
    # Reads on which a decision depends.
    *(
        Mutant(f"late: {what}", at, *_EVENTUAL, _LATE)
        for what, at in [
            ("a shard's sessions", "store.presence:PresenceTable.pages"),
            ("a session", "store.presence:PresenceTable.get"),
            ("a person's sessions", "store.presence:PresenceTable.with_identity"),
            ("a page of sessions", "store.presence:PresenceTable.page"),
            ("every session", "store.presence:PresenceTable.scan"),
            ("a shard's count", "store.counts:CountsTable.shard"),
            ("a space's counts", "store.counts:CountsTable.space"),
            ("a headcount", "store.headcounts:HeadcountsTable.get"),
            ("a headcount's facets", "store.headcounts:HeadcountsTable._headcount"),
            ("subscribers", "store.subscriptions:SubscriptionsTable._rows"),
            ("when a connection came", "store.subscriptions:SubscriptionsTable._item"),
        ]
    ),
    Mutant(
        "late: many headcounts",
        "store.headcounts:HeadcountsTable.many",
        "consistent=consistent",
        "consistent=False",
        _LATE,
    ),
    *[
        Mutant(f"roll-ups: {name}", at, old, new, tests)
        for name, at, old, new, tests in [
            (
                "who is away keeps the entry",
                "model.session:Session.indexed_in",
                " or self.away",
                "",
                _ROLL_UPS,
            ),
            (
                "a return has no entry",
                "store.presence:PresenceTable.change",
                "if self.parts:",
                "if not self.parts:",
                _INDEX,
            ),
            (
                "a recount does not wait for the index",
                "usecases.rollups:RollupMarker.mark",
                "self._plan(soon, LAG,",
                "self._plan(soon, 0,",
                _ROLL_UPS,
            ),
            (
                "a planned recount includes what the index may show later",
                "usecases.rollups:RollupMarker._plan",
                "now + wait <= at",
                "now <= at",
                _ROLL_UPS,
            ),
            (
                "each change is a recount",
                "usecases.rollups:RollupMarker._plan",
                "if not any(",
                "if True or any(",
                _ROLL_UPS,
            ),
            (
                "no recount for who may be back",
                "usecases.rollups:RollupMarker.mark",
                "later.add(part)",
                "pass",
                _ROLL_UPS,
            ),
            (
                "a new person's former part",
                "usecases.rollups:RollupMarker.mark",
                "_is_another_person(session)",
                "False",
                _ROLL_UPS,
            ),
            (
                "an earlier recount is enough",
                "usecases.rollups:RollupRecounter.recount",
                "at + CLOCKS_DIFFER < before.counted_at",
                "0 < before.counted_at",
                _ROLL_UPS,
            ),
            (
                "of two recounts, any may win",
                "store.rollups:RollupsTable.save",
                "**follows_version(count.version),",
                "",
                _INDEX,
            ),
            (
                "the sweep enters nobody",
                "usecases.cleanup:Sweeper.sweep",
                "self._each(self._index, scan.unindexed, report)",
                "",
                _ROLL_UPS,
            ),
            (
                "the sweep recounts no part",
                "usecases.cleanup:Sweeper.sweep",
                "sampled += self._roll_up(report)",
                "pass",
                _ROLL_UPS,
            ),
            (
                "the sweep takes a roll-up for a space",
                "usecases.cleanup:_may_be_wrong",
                "and not is_rollup(head.space)",
                "",
                _ROLL_UPS,
            ),
            (
                "a version is not sent again",
                "usecases.publish:Publisher.publish_rollups",
                "or is_repeat(old, first)",
                "",
                _ROLL_UPS,
            ),
            (
                "a person counts in each space",
                "model.rollups:numbers_of_part",
                "sessions[id_][person] += 1",
                "sessions[id_][person + space.encode()] += 1",
                _ROLL_UPS,
            ),
            (
                "a group of kinds that are not public is",
                "model.rollups:RollUps.is_public",
                "return all(",
                "return any(",
                _ROLL_UPS,
            ),
            (
                "the beginning of some spaces is one space",
                "model.rollups:_is_in",
                "space.startswith(one[:-1])",
                "space == one[:-1]",
                (f"{_MEMBERS}a_space_is_in_the_rollups_that_name_it",),
            ),
            (
                "a space is all that begin as it",
                "model.rollups:_is_in",
                "else space == one",
                "else space.startswith(one)",
                (f"{_MEMBERS}a_space_is_in_the_rollups_that_name_it",),
            ),
            (
                "a space whose kind is gone is in a group",
                "model.rollups:RollUps.of_space",
                "if known is not None else ()",
                "if known is not None else tuple(found)",
                (f"{_MEMBERS}a_space_is_in_the_rollups_that_name_it",),
            ),
            (
                "who claims a user is anonymous",
                "model.rollups:",
                '_USERS = (b"u", b"c")',
                '_USERS = (b"u",)',
                (f"{_MEMBERS}a_person_counts_once_in_each_rollup",),
            ),
            (
                "an erased person stays in their part",
                "usecases.rollups:RollupMarker.mark",
                "session.write is Write.LEAVE and session.facts == Facts()",
                "False",
                (f"{_ROLLED_UP}an_erased_person_is_in_no_rollup",),
            ),
            (
                "what was lost after a recount stays so",
                "usecases.rollups:RollupSweeper.sweep",
                "if wrong:",
                "if False:",
                (f"{_ROLLED_UP}a_recount_that_nobody_published_is_published_by_the_sweep",),
            ),
            (
                "the sweep publishes what is on its way",
                "usecases.rollups:RollupSweeper.sweep",
                "is_recent(one.counted_at, now)",
                "False",
                (f"{_ROLLED_UP}a_recount_that_nobody_published_is_published_by_the_sweep",),
            ),
            (
                "the sweep leaves parts alone that are no longer used",
                "usecases.rollups:RollupSweeper.sweep",
                "{*range(recounter.presence.parts), *counted}",
                "range(recounter.presence.parts)",
                (f"{_ROLLED_UP}fewer_parts_leave_nobody_behind_in_those_there_were",),
            ),
            (
                "a change is not published",
                "usecases.publish:Publisher.publish_rollups",
                "old.tally != numbers[id_] or",
                "",
                (f"{_ROLLED_UP}a_dashboard_hears_each_version_of_a_rollup",),
            ),
            (
                "each recount is a version of all",
                "usecases.publish:Publisher.publish_rollups",
                "old.tally != numbers[id_] or",
                "True or",
                (f"{_ROLLED_UP}a_dashboard_hears_each_version_of_a_rollup",),
            ),
            (
                "what another published meanwhile is undone",
                "usecases.publish:Publisher._counted",
                "and known.after == old.version",
                "",
                (f"{_ROLLED_UP}what_another_published_since_the_parts_were_read_is_not_undone",),
            ),
            (
                "a day has all spaces",
                "usecases.daily:Aggregator._roll_up",
                "head.space in self.rollups.of_space(one.space) and",
                "",
                _ROLL_UPS,
            ),
        ]
    ],
    Mutant(
        "late: which visits are known",
        "store.visits:VisitsTable.recorded",
        "consistent=True",
        "consistent=False",
        _LATE,
    ),
    Mutant(
        "late: which events have numbers",
        "store.numbers:NumbersTable._known",
        "consistent=True",
        "consistent=False",
        _LATE,
    ),
    # Events.
    Mutant(
        "events: numbers are forgotten when the next are assigned",
        "store.numbers:NumbersTable._assign",
        "        self._remember(space, head.latest, now)\n",
        "",
        _NUMBERS,
    ),
    Mutant(
        "events: two at once get the same numbers",
        "store.numbers:NumbersTable._assign",
        '"seq = :before OR',
        '"seq >= :before OR',
        _NUMBERS,
    ),
    Mutant(
        "events: an event that was found again gets another number",
        "store.numbers:NumbersTable._number",
        "if event not in known]",
        "if event]",
        _NUMBERS,
    ),
    Mutant(
        "events: refused entries are given up",
        "usecases.events:Bus._try",
        "                again.append(one)\n",
        "                pass\n",
        _EVENT_BUS,
    ),
    Mutant(
        "events: permanently refused entries are retried forever",
        "usecases.events:Bus._try",
        "if refuses_entry(code):",
        "if False:",
        _EVENT_BUS,
    ),
    Mutant(
        "events: a visit across midnight joins twice",
        "model.event:visit_events",
        "    if day != new.day:\n        return []\n",
        "",
        _EVENT_BUS,
    ),
    Mutant(
        "events: every write of an ended visit is a leave",
        "model.event:visit_events",
        "(old is None or old.ended_at is None)",
        "True",
        _EVENT_BUS,
    ),
    Mutant(
        "events: revenue is reported",
        "model.event:day_events",
        "if not name.startswith(PRIVATE_PREFIX)",
        "if True",
        _EVENT_BUS,
    ),
    Mutant(
        "snapshot: a visit ends with its lease",
        "usecases.read:Reader._runs",
        "        return not row.ended\n",
        "        return row.live(self.clock())\n",
        _SNAPSHOTS,
    ),
    Mutant(
        "snapshot: a session that moves shards meanwhile is missed",
        "usecases.read:Reader._runs",
        "return there is not None and there.visit == row.visit and not there.ended",
        "return False",
        _SNAPSHOTS,
    ),
    Mutant(
        "webhook: posts go into a network",
        "usecases.webhook:Receiver._reach",
        "if not self._allows(address):",
        "if False:",
        _WEBHOOKS,
    ),
    Mutant(
        "webhook: the signature is of the body alone",
        "usecases.webhook:signature",
        'f"{at}.".encode() + body',
        "body",
        _WEBHOOKS,
    ),
    # What AWS does and no emulator does.
    Mutant(
        "loop: Lambda stops an erasure at its 17th step",
        "template.yaml:EraseFunction",
        "RecursiveLoop: Allow",
        "RecursiveLoop: Terminate",
        (_SOURCES + "test_a_function_that_its_own_messages_invoke_is_not_stopped_as_a_loop",),
    ),
    Mutant(
        "trace: a function's role does not allow it",
        "template.yaml:SiteRole",
        "xray:PutTraceSegments, ",
        "",
        (_PAIRS + "test_a_combination_of_parameters_makes_a_valid_stack",),
    ),
    Mutant(
        "dead letters: a stream's are among the queues'",
        "template.yaml:CountFunction",
        "!GetAtt StreamDeadLetters.Arn }",
        "!GetAtt DeadLetters.Arn }",
        (_SOURCES + "test_a_queue_of_dead_letters_has_one_kind_of_source",),
    ),
    Mutant(
        "stream: a failed batch is retried forever",
        "template.yaml:CountFunction",
        "MaximumRetryAttempts: 100\n",
        "MaximumRetryAttempts: -1\n",
        (_SOURCES + "test_no_batch_of_a_stream_blocks_its_shard_forever",),
    ),
    Mutant(
        "sync: a message that comes again is applied again",
        "systems.course_viewers_sync:Syncer._tell",
        "if before.last == message:",
        "if not before:",
        (
            _SYNC + "test_a_message_that_comes_twice_is_handled_once",
            _SYNC + "test_a_crash_between_storing_and_telling_starts_over",
        ),
    ),
    Mutant(
        "sync: a version is not sent where no dashboard subscribed",
        "usecases.publish:Publisher.send",
        "if syncing:",
        "if syncing and subscribers:",
        (_SYNC + "test_a_query_has_its_value_at_once_and_follows_every_change",),
    ),
    Mutant(
        "sync: a frame that overtook another is dropped",
        "model.sync:_later",
        "return Step(replace(state, waiting=[*state.waiting, Waiting(cause, now)]))",
        "return Step(state)",
        (_SYNC + "test_a_frame_that_overtakes_another_waits_for_it",),
    ),
    Mutant(
        "sync: mutations have no order",
        "systems.course_viewers_frames:_Received._run",
        '"seq": frame.request_id + 1',
        '"seq": None',
        (_SYNC + "test_mutations_that_overtake_each_other_end_as_they_were_sent",),
    ),
    Mutant(
        "sync: nobody waits for a token",
        "systems.course_viewers_frames:_Received._wait_for_token",
        "services.clock() >= until",
        "services.clock() >= 0",
        (_SYNC + "test_the_first_frames_may_come_in_any_order",),
    ),
    Mutant(
        "sync: a post that may not have arrived is taken for sent",
        "systems.course_viewers_sync:Syncer._post",
        "if outcome is not Outcome.SENT:",
        "if outcome is None:",
        (_SYNC + "test_a_post_that_may_not_have_arrived_starts_over",),
    ),
    Mutant(
        "edge: sockets have no country",
        "template.yaml:EdgeDistribution",
        "{ PathPattern: /api/ws/*, <<: *to-sockets }",
        "{ PathPattern: /api/ws/*, <<: *to-sockets, "
        "CachePolicyId: 4135ea2d-6df8-44a3-9df3-4b5a84be39ad }",
        ("tests/template/test_edge.py::test_every_path_through_the_edge_forwards_the_country",),
    ),
    Mutant(
        "key: one that decrypts a secret decrypts everything under it",
        "template.yaml:BeatRole",
        "kms:EncryptionContext:SecretARN: !If",
        "kms:CallerAccount: !If",
        (_RIGHTS + "test_a_secret_or_topic_may_be_under_any_key_used_for_nothing_else",),
    ),
    # Versions that `count` publishes itself.
    Mutant(
        "fence: a later version than the one that is being sent",
        "usecases.publish:Publisher._is_owed",
        "if not headcount.unsent:",
        "if True:",
        (
            f"{_DIRECT}a_version_whose_process_died_before_sending_it_is_sent_before_the_next",
            f"{_DIRECT}no_later_version_is_stored_while_one_is_being_sent",
        ),
    ),
    Mutant(
        "fence: `count` does not look whether the last version is sent",
        "usecases.publish:Publisher.ready",
        " or self._is_owed(old)",
        "",
        (f"{_DIRECT}no_later_version_is_stored_while_one_is_being_sent",),
    ),
    Mutant(
        "fence: `publish` sends what another process is sending",
        "usecases.publish:Publisher._sent",
        "self.sleep(max(0, min(old.as_of + FENCE - self.clock(), FENCE)) / 1000)",
        "",
        (f"{_DIRECT}publish_waits_for_the_process_that_is_sending",),
    ),
    Mutant(
        "fence: a version is marked as sent before it is",
        "usecases.publish:Publisher._send",
        "delivered = self.send(headcount, cause, until=until)",
        "self._note_sent(headcount)\n        delivered = self.send(headcount, cause, until=until)",
        (f"{_DIRECT}a_version_whose_process_died_before_sending_it_is_sent_before_the_next",),
    ),
    Mutant(
        "fence: a version that died unsent is skipped",
        "usecases.publish:Publisher._sent",
        "self._send(last, until=until)",
        "self.headcounts.mark_sent(last)",
        (f"{_DIRECT}a_version_whose_process_died_before_sending_it_is_sent_before_the_next",),
    ),
    Mutant(
        "fence: a push that died unsent is forgotten",
        "usecases.publish:Publisher._is_owed",
        "if headcount.alerted or self.pusher.is_owed(headcount):",
        "if headcount.alerted:",
        ("tests/handlers/test_pushes.py::test_a_count_that_died_before_its_push_pushes_again",),
    ),
    Mutant(
        "fence: an alert that died unsent is forgotten",
        "usecases.publish:Publisher._is_owed",
        "if headcount.alerted or self.pusher.is_owed(headcount):",
        "if self.pusher.is_owed(headcount):",
        (f"{_DIRECT}an_alert_whose_process_died_before_it_was_queued_is_sent",),
    ),
    Mutant(
        "net: `publish` takes a recount for published",
        "usecases.publish:Publisher.publish",
        "if counted and old.counted == counted:",
        "if counted:",
        (
            f"{_DIRECT}a_recount_whose_process_died_before_the_version_is_published",
            f"{_DIRECT}a_recount_of_another_process_after_the_version_is_published",
        ),
    ),
    Mutant(
        "net: `publish` publishes again what `count` did",
        "usecases.publish:Publisher.publish",
        "if counted and old.counted == counted:",
        "if False:",
        (f"{_DIRECT}a_join_is_heard_without_the_second_stream",),
    ),
    Mutant(
        "net: a space that fails stops its batch",
        "usecases.count:Counter._recount",
        "except Exception:",
        "except ZeroDivisionError:",
        (f"{_DIRECT}a_space_that_can_not_be_published_delays_no_other",),
    ),
    Mutant(
        "net: a batch publishes however many spaces",
        "usecases.count:Counter._recount",
        "self.clock() - start <= DIRECTLY_WITHIN",
        "True",
        (f"{_DIRECT}a_batch_of_many_spaces_leaves_those_to_publish_that_would_wait_long",),
    ),
    Mutant(
        "burst: four at once",
        "model.headcount:",
        "PACE, BURST = SECOND, 3",
        "PACE, BURST = SECOND, 4",
        (f"{_CHATTER}test_a_space_has_three_versions_at_once_and_then_one_a_second",),
    ),
    Mutant(
        "burst: saved up for ever",
        "model.headcount:paid_after",
        "max(now, min(paid_until, now + burst * interval))",
        "min(paid_until, now + burst * interval)",
        (f"{_CHATTER}test_a_space_has_three_versions_at_once_and_then_one_a_second",),
    ),
    Mutant(
        "burst: versions pay nothing",
        "model.headcount:next_headcount",
        "paid_after(old.paid_until, PACE, now) if tally.sessions < CROWD",
        "0 if True",
        (f"{_CHATTER}test_a_space_has_three_versions_at_once_and_then_one_a_second",),
    ),
    Mutant(
        "burst: recounts pay nothing",
        "usecases.count:Recounter.recount",
        "paid_after(before.paid_until, pace(len(rows), watched=seen), now)",
        "0",
        ("tests/handlers/test_pace.py::test_facets_wait_for_the_recount_of_joins_and_leaves",),
    ),
    Mutant(
        "burst: to a large audience",
        "usecases.publish:Publisher._wait",
        "PACE - since if busy else 0",
        "0",
        (f"{_DIRECT}a_process_that_has_just_posted_a_lot_sends_no_burst",),
    ),
    Mutant(
        "rush: not noticed",
        "usecases.count:_Traffic.is_many",
        "self.changes >= crowding(self.rows, watched=bool(self.watched))",
        "False",
        ("tests/handlers/test_pace.py::test_many_joins_do_not_wait_for_the_pace",),
    ),
    Mutant(
        "rush: of all who joined in a while",
        "usecases.count:Counter.count",
        "rush &= count.counted_at - one.last.counted_at <= 2 * crowd_pace(count.rows)",
        "rush &= True",
        ("tests/handlers/test_pace.py::test_many_joins_in_a_while_are_no_rush",),
    ),
    Mutant(
        "peaks: what came after the count's time overlaps what it replaced",
        "model.peaks:StepsBuilder._add",
        "if began >= self._now:",
        "if False:",
        (f"{_PEAKS}test_a_session_that_changes_its_person_while_it_is_counted_is_one",),
    ),
    Mutant(
        "chat: gets every event",
        "usecases.webhook:WebhookSender._delivered",
        'if chat is not None and "alert" not in event:',
        "if False:",
        ("tests/unit/test_webhooks.py::test_slack_gets_the_alerts_as_text_and_nothing_else",),
    ),
    Mutant(
        "lake: a day that is not over",
        "usecases.lake:Exporter.export",
        "if date >= today:",
        "if date > today:",
        (f"{_LAKE}a_day_that_is_not_over_is_refused",),
    ),
    Mutant(
        "lake: without the later groups",
        "usecases.lake:Exporter.export",
        "while some :=",
        "if some :=",
        (f"{_LAKE}many_spaces_are_written_in_groups",),
    ),
    Mutant(
        "scrape: of every space",
        "usecases.read:Reader.scrape",
        "if shown(one)",
        "",
        (
            "tests/handlers/test_scopes.py::test_a_list_of_spaces_shows_those_that_the_token_may_read",
        ),
    ),
    Mutant(
        "scrape: without an end",
        "web.prometheus:_of_spaces",
        "scrape.heads[:MAX_SPACES]",
        "scrape.heads",
        (f"{_SCRAPE}only_the_largest_spaces_have_series_and_the_totals_include_all",),
    ),
    Mutant(
        "people: someone is where their presence row no longer says so",
        "model.people:OpenVisit.goes_on",
        "row is not None and row.visit == self.id and row.person == person and row.live(now)",
        "row is not None",
        (f"{_PEOPLE}an_expired_lease_is_offline_at_once_and_last_seen_at_its_last_beat",),
    ),
    Mutant(
        "people: a session's next visit is an earlier one",
        "store.people:PeopleTable.note",
        "Keys.VISIT + one.id: [*one.key, one.since] for one in began",
        "Keys.VISIT + one.session: [*one.key, one.since] for one in began",
        (f"{_PEOPLE}of_two_sessions_one_leaves",),
    ),
    Mutant(
        "people: last seen goes back",
        "store.people:PeopleTable.note",
        "[exists, _LATER]",
        "[exists]",
        (f"{_PEOPLE}a_batch_that_is_repeated_late_changes_nothing",),
    ),
    Mutant(
        "people: a leave makes a row of nobody",
        "store.people:PeopleTable.note",
        '"" if change.came or began else _EXISTS',
        '""',
        (f"{_PEOPLE}a_leave_without_a_join_makes_no_row",),
    ),
    Mutant(
        "people: who signs out stays",
        "usecases.people:changes_in",
        "changes[before].end(row.visit, row.changed_at)",
        "pass",
        (f"{_PEOPLE}who_signs_out_is_no_longer_there_but_was_seen_until_then",),
    ),
    Mutant(
        "people: a lost join stays lost",
        "usecases.people:PeopleNoter._record",
        "if one not in noted",
        "if False",
        (f"{_PEOPLE}whom_the_table_lost_is_found_after_the_next_change",),
    ),
    Mutant(
        "people: a lost join was last seen when it began",
        "usecases.people:PeopleNoter._record",
        " + [at for _, at in change.left.values()]",
        "",
        (f"{_PEOPLE}whom_the_table_lost_was_seen_until_they_signed_out",),
    ),
    Mutant(
        "people: a visit in another shard is lost",
        "store.people:PeopleTable.leave_shard",
        "#v[1] = :shard AND {_LATER}",
        "{_LATER}",
        (f"{_PEOPLE}when_the_number_of_shards_changes_nobody_is_lost",),
    ),
    Mutant(
        "people: a shared id's row grows",
        "usecases.people:PeopleNoter._record",
        "len(record.visits) > MOST_VISITS",
        "False",
        (f"{_PEOPLE}an_id_that_many_share_keeps_a_small_row",),
    ),
    Mutant(
        "people: any token sees everybody",
        "model.access:require_person",
        "not require_caller(caller).sees(person)",
        "not require_caller(caller)",
        (f"{_PEOPLE}a_token_shows_those_it_names",),
    ),
    Mutant(
        "people: a claim is oneself",
        "model.access:Caller.sees",
        'person == f"u:{self.subject}"',
        "person[2:] == self.subject",
        (f"{_PEOPLE}a_claimed_id_is_not_oneself",),
    ),
    Mutant(
        "people: any socket watches everybody",
        "usecases.socket:DashboardSocket._watch",
        "if not {person, EVERYWHERE} & {*sees}:",
        "if False:",
        (f"{_WATCHING}a_token_watches_those_it_names_and_its_own_user",),
    ),
    Mutant(
        "people: watching: everybody is reported",
        "usecases.people:PeopleNoter._note",
        "record.watched_until > self.clock()",
        "True",
        (f"{_WATCHING}nothing_is_queued_for_people_who_are_not_watched",),
    ),
    Mutant(
        "people: watching: a closed page is reported at once",
        "usecases.people:PeopleNoter._note",
        "whole_seconds(wait) if change.away_until else 0",
        "0",
        (f"{_WATCHING}a_closed_page_is_heard_after_its_grace_and_a_next_page_is_no_absence",),
    ),
    Mutant(
        "people: a change of page writes the row",
        "usecases.people:PeopleNoter.note",
        "self.people.many(looks) if looks else {}",
        "{}",
        (f"{_PEOPLE}a_steady_beat_costs_nothing_and_a_page_change_half_a_read",),
    ),
    Mutant(
        "people: an erased person is still found",
        "usecases.erase:Eraser._erase_people",
        "sum(map(self._forget, sorted(job.person.keys)))",
        "0",
        (f"{_WATCHING}a_row_that_only_a_watch_made_is_erased",),
    ),
    *[
        Mutant(f"people: {name}", at, old, new, tests)
        for name, at, old, new, tests in [
            (
                "an ended visit stays in the row",
                "usecases.people:changes_in",
                "elif row.ended: change.end(row.visit, seen_at_end(row))",
                "elif row.ended: pass",
                (f"{_PEOPLE}an_expired_lease_is_offline_at_once_and_last_seen_at_its_last_beat",),
            ),
            (
                "who crashed is seen until the sweep",
                "model.people:seen_at_end",
                "else min(row.last_seen, ended)",
                "else ended",
                (f"{_PEOPLE}an_expired_lease_is_offline_at_once_and_last_seen_at_its_last_beat",),
            ),
            (
                "last seen is known for ever",
                "model.people:whereabouts",
                "record.seen > now - RETENTION",
                "record.seen",
                (f"{_PEOPLE}last_seen_is_known_for_a_week_after_a_leave",),
            ),
            (
                "a steady beat is not seen",
                "model.people:whereabouts",
                "max((row.last_seen for row in here), default=0)",
                "0",
                (f"{_PEOPLE}a_steady_beat_is_seen_and_writes_nothing_more",),
            ),
            (
                "the page is of any tab",
                "model.people:whereabouts",
                "for row in reversed(here)",
                "for row in here",
                (f"{_PEOPLE}a_person_is_found_in_every_space_with_their_sessions",),
            ),
            (
                "since the latest tab",
                "model.people:whereabouts",
                "row.space: min(",
                "row.space: max(",
                (f"{_PEOPLE}a_person_is_found_in_every_space_with_their_sessions",),
            ),
            (
                "watching: who comes has moved",
                "usecases.people:Teller.tell",
                '"moved" if record.online else "online"',
                '"moved"',
                (f"{_WATCHING}online_moved_and_offline_are_heard",),
            ),
            (
                "watching: who goes has moved",
                "usecases.people:Teller.tell",
                '"offline" if not now["online"] else',
                "",
                (f"{_WATCHING}online_moved_and_offline_are_heard",),
            ),
            (
                "watching: what was reported is forgotten",
                "usecases.people:Teller.tell",
                'if record.online != now["online"]:',
                "if False:",
                (f"{_WATCHING}online_moved_and_offline_are_heard",),
            ),
            (
                "watching: who was online already comes",
                "usecases.people:Watching.watch",
                'if record.online != one["online"]:',
                "if False:",
                (f"{_WATCHING}who_was_online_already_moves",),
            ),
            (
                "watching: it does not end",
                "usecases.people:Watching.unwatch",
                "self.subscriptions.remove(topic_of(person), connection, sent_at=sent_at)",
                "pass",
                (f"{_WATCHING}two_connections_hear_the_same_and_one_that_unwatches_nothing",),
            ),
        ]
    ],
    Mutant(
        "a share link opens by its id alone",
        "model.share:Share.caller",
        "if not hmac.compare_digest(self.hash, hash_of(token)):",
        "if False:",
        ("tests/handlers/test_shares.py::test_a_forged_link_is_refused",),
    ),
    Mutant(
        "a revoked share link still opens",
        "model.share:Share.caller",
        "if self.revoked_at is not None:",
        "if False:",
        ("tests/handlers/test_shares.py::test_a_revoked_link_is_refused_at_once_and_says_so",),
    ),
    Mutant(
        "the holder of a share link is a user",
        "web.calls:Call.require_names",
        "and caller.share is None",
        "",
        ("tests/handlers/test_shares.py::test_a_link_makes_its_holder_nobody",),
    ),
    Mutant(
        "a revoked share link's sockets stay open",
        "usecases.shares:Sharing.revoke",
        "for after in (0, _LATE):",
        "for after in ():",
        ("tests/handlers/test_shares.py::test_revoking_closes_the_sockets_that_the_link_opened",),
    ),
    Mutant(
        "an expired share link's sockets stay open",
        "usecases.shares:ShareSweeper.sweep",
        "if until <= now",
        "if False",
        ("tests/handlers/test_shares.py::test_the_sweep_closes_the_sockets_of_expired_links",),
    ),
    Mutant(
        "a share link shows what its maker may not read",
        "web.shares:create",
        "(Action.SHARE, Action.READ)",
        "(Action.SHARE,)",
        ("tests/handlers/test_shares.py::test_a_token_shares_what_it_may_read_and_share",),
    ),
    Mutant(
        "an issuer's endpoint may add to the page's policy",
        "auth.discovery:_origin",
        "if not _ORIGIN.fullmatch(origin):",
        "if False:",
        ("tests/handlers/test_sign_in.py::test_what_an_issuer_must_not_say_is_not_used",),
    ),
    Mutant(
        "another issuer's endpoints are used",
        "auth.discovery:Issuer._checked",
        'or document.get("issuer") != self._sign_in.issuer',
        "",
        ("tests/handlers/test_sign_in.py::test_what_an_issuer_must_not_say_is_not_used",),
    ),
]


# ---------------------------------------------------------------------------------------- running


@dataclass(frozen=True, slots=True)
class Verdict:
    """The result of a mutation. ``caught_by``: the first failed test; None: it survived."""

    mutant: Mutant
    caught_by: str | None
    trouble: str | None
    seconds: float


class _Watch:
    """A pytest plugin that keeps a run's failed tests, and whether collection failed."""

    def __init__(self) -> None:
        self.red: list[str] = []
        self.passed = 0
        self.trouble: str | None = None

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Keep a failure, or an error of a fixture."""
        if report.failed:
            self.red.append(report.nodeid)
        self.passed += report.when == "call" and report.passed

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        """Keep a module that can't be imported."""
        if report.failed:
            self.trouble = f"{report.nodeid} can't be collected"


def _run_tests(tree: Path, tests: tuple[str, ...], options: list[str], answer: Any) -> None:
    """In a separate process: run tests in a copy, and send which failed."""
    os.chdir(tree)
    sys.path[:] = [one for one in sys.path if one not in {"", str(ROOT)}]
    for name in [one for one in sys.modules if one.partition(".")[0] in {"lab", "tests", "local"}]:
        del sys.modules[name]
    log = os.open(tree / _LOG, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(log, 1)
    os.dup2(log, 2)
    watch = _Watch()
    options += ["-q", "-p", "no:cacheprovider", "--rootdir", str(tree)]
    options += ["-W", "ignore::pytest.PytestAssertRewriteWarning"]  # some modules are preloaded
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
    """The failed tests in a copy of the product, and any other trouble."""
    context = multiprocessing.get_context("fork")
    ours, theirs = context.Pipe(duplex=False)
    child = context.Process(target=_run_tests, args=(tree, tests, [*options], theirs))
    with _forking:
        child.start()
    theirs.close()
    try:
        if not ours.poll(limit):
            child.kill()
            return [f"(timeout: the tests did not end within {limit:g} s)"], None
        red, trouble = ours.recv()
    except EOFError:
        return [], "the tests' process crashed"
    finally:
        child.join()
    return red, trouble


_forking = threading.Lock()


def _write(path: Path, text: str) -> None:
    """Write a source file with a new modification time, so that old bytecode is not used for it."""
    path.write_text(text)
    now = next(_MTIMES)
    os.utime(path, (now, now))


def _copy(to: Path) -> Path:
    """A copy of what the tests need."""
    ignored = shutil.ignore_patterns("__pycache__", "stack", "node_modules", "built")
    for folder in _COPIED:
        shutil.copytree(ROOT / folder, to / folder, ignore=ignored)
    for file in ("pyproject.toml", TEMPLATE, "LICENSE"):  # the last is in the npm package
        shutil.copy(ROOT / file, to / file)
    # The scheduling of the tests on the stack is part of the tests' configuration.
    (to / "tests" / "stack").mkdir()
    for file in ("__init__.py", "scheduling.py"):
        shutil.copy(ROOT / "tests" / "stack" / file, to / "tests" / "stack" / file)
    return to


def is_there(test: str) -> bool:
    """Whether the test exists."""
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
            raise ValueError(f"{missing[0]} does not exist")
        _write(path, mutant.applied(original))
        red, trouble = _tested(tree, mutant.tests, "-x", *without)
    except ValueError as error:
        trouble = f"can't be applied: {error}"
    finally:
        _write(path, original)
        trees.put(tree)
    return Verdict(mutant, red[0] if red else None, trouble, time.monotonic() - start)


def run(mutants: list[Mutant]) -> bool:
    """Try all mutations and print a table; whether every one was caught."""
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
            print(f"fails without any mutation, and is left out: {one}", file=sys.stderr)
        if trouble:
            print((tree / _LOG).read_text(), trouble, sep="\n", file=sys.stderr)
            return False
        print("| mutation | caught by | s |\n|---|---|--:|", flush=True)
        bad = 0
        for verdict in pool.map(lambda mutant: _judge(mutant, trees, red), mutants):
            result = verdict.caught_by or f"**{verdict.trouble or 'SURVIVES'}**"
            bad += verdict.caught_by is None or verdict.trouble is not None
            print(f"| {verdict.mutant.name} | {result} | {verdict.seconds:.1f} |", flush=True)
    print(f"\n{len(mutants) - bad} of {len(mutants)} mutations caught")
    return not bad and not red


def _preload() -> None:
    """Import packages that the tests need and no mutation changes; each run forks this process."""
    import boto3
    import hypothesis
    import jwt
    import moto.dynamodb
    import samtranslator.translator.transform  # noqa: F401
    import yaml

    assert all((boto3, hypothesis, jwt, moto, yaml))


def main(words: list[str]) -> int:
    """Try the mutations whose names contain one of the words, or all."""
    chosen = [one for one in MUTANTS if not words or any(word in one.name for word in words)]
    _preload()
    return 0 if run(chosen) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
