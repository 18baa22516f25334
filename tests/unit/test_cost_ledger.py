"""The cost ledger's calculations: prices, billed quantities, and required functions."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from headcount.model.intervals import UNHEARD_PACE
from headcount.times import SECOND

from lab.bench.ledger import (
    PEOPLE,
    Account,
    Ledger,
    NeverInvokedError,
    units_of,
)
from lab.bench.model import rhythm, shards_of
from lab.bench.prices import Amounts, Price, Prices, messages_units, prices
from lab.bench.replay import BEAT_EVERY, ByHttp, Scenario
from lab.bench.report import presence_messages, table
from lab.bench.timeline import Timeline
from lab.harness.engines import Call
from lab.harness.template import template

FULL_PROCESSOR = 1769


def plain(**assumed: float) -> Prices:
    """The price file with only these assumptions about time."""
    found = prices()
    nothing = dict.fromkeys(found.assumed, 0.0)
    kept = {name: found.assumed[name] for name in ("memory_of_one_vcpu", "posts_at_once")}
    return replace(found, assumed={**nothing, **kept, "cpu_of_one_vcpu": 1.0, **assumed})


# ------------------------------------------------------------------------------------------- prices


def test_a_quantity_costs_its_price_per_unit() -> None:
    by_use = {"things": Price("things", dollars=0.625, per=1_000_000, source="")}
    assert replace(prices(), by_use=by_use).cost({"things": 120_000}) == pytest.approx(0.075)


def test_a_quantity_without_a_price_is_an_error() -> None:
    with pytest.raises(KeyError):
        prices().cost({"unheard of": 1})


def test_every_price_has_a_date_and_a_source() -> None:
    found = prices()
    assert found.checked.year >= 2026
    sources = [one.source for one in found.by_use.values()]
    sources += [one["source"] for one in (*found.monthly.values(), *found.hosted)]
    assert all(source.startswith("https://") for source in sources)


def test_monthly_costs_are_of_resources_in_the_template() -> None:
    for monthly in prices().monthly.values():
        assert template().of_type(monthly["resource"])


def test_half_a_processor_takes_twice_as_long() -> None:
    seconds = plain().seconds
    assert seconds(cpu=0.01, memory=FULL_PROCESSOR, waited=0) == 0.01
    assert seconds(cpu=0.01, memory=FULL_PROCESSOR / 2, waited=0) == 0.02


def test_more_memory_than_a_whole_processors_does_not_speed_up_one_thread() -> None:
    assert plain().seconds(cpu=0.01, memory=4 * FULL_PROCESSOR, waited=0) == 0.01


def test_waiting_takes_as_long_with_any_memory_and_is_billed_by_the_millisecond() -> None:
    assert plain().seconds(cpu=0, memory=128, waited=0.0052) == 0.006
    assert plain().seconds(cpu=0, memory=128, waited=0) == 0.001


def test_posts_wait_for_each_other_only_beyond_those_under_way_at_once() -> None:
    waited = plain(post_wait=0.01).waited
    assert waited(calls=0, posts=32, queued=0, slept=0) == pytest.approx(0.01)
    assert waited(calls=0, posts=33, queued=0, slept=0) == pytest.approx(0.02)


def test_calls_and_sleep_add_up() -> None:
    waited = plain(dynamodb_wait=0.005, queue_wait=0.01).waited
    assert waited(calls=2, posts=0, queued=1, slept=0.5) == pytest.approx(0.52)


def test_a_frame_is_a_message_for_each_32_kb() -> None:
    assert messages_units([1, 32_768, 32_769]) == 4


def test_an_idle_queue_is_polled_all_month() -> None:
    found = plain(pollers=5, polls_a_minute=3, hours_a_month=730)
    assert found.idle_polls(2) == 2 * 5 * 3 * 60 * 730


def test_a_hosted_service_charges_connection_minutes_and_messages() -> None:
    service = {
        "kind": "usage",
        "dollars_per_million_messages": 2.5,
        "dollars_per_million_minutes": 1.0,
    }
    assert prices().hosted_cost(service, messages=0) == pytest.approx(0.06)
    assert prices().hosted_cost(service, messages=100_000) == pytest.approx(0.31)


def test_a_plans_price_is_divided_by_its_viewer_hours() -> None:
    service = {"kind": "plan", "dollars_a_month": 73, "connections": 100, "messages_a_day": 10**9}
    assert prices().hosted_cost(service, messages=0) == pytest.approx(1.0)


def test_a_plan_with_too_few_messages_is_bought_several_times() -> None:
    service = {"kind": "plan", "dollars_a_month": 73, "connections": 100, "messages_a_day": 1_200}
    assert prices().hosted_cost(service, messages=1_000) == pytest.approx(2.0)


def service(**of: Any) -> dict[str, Any]:
    return {"plans": [{"dollars": 29, "connections": 100}, {"dollars": 399}], **of}


def month(viewers: int, messages: float = 0, **of: Any) -> float | None:
    found = plain(hours_a_month=720, hours_a_person=20)
    return found.hosted_month(service(**of), viewers=viewers, hours=4, messages=messages)


def test_a_month_needs_a_plan_that_is_large_enough() -> None:
    assert (month(100), month(101)) == (29, 399)
    assert month(101, plans=[{"dollars": 29, "connections": 100}]) is None, "by quote"
    daily = [{"dollars": 1, "messages_a_day": 4_000}, {"dollars": 2, "messages_a_day": 4_001}]
    assert (month(100, 10, plans=daily), month(100, 10.0025, plans=daily)) == (1, 2)
    by_users = [{"dollars": 98, "users": 600}]
    assert month(100, plans=by_users) == 98, "4 hours on 30 days are 120, of 20 each"
    assert month(101, plans=by_users) is None


def test_a_month_costs_what_the_plan_does_not_include() -> None:
    assert month(100, dollars_per_million_minutes=1) == pytest.approx(29 + 12_000 * 60 / 1e6)
    sent = {"dollars_per_million_messages": 2.5, "included": {"messages": 10_000}}
    assert month(100, 10, **sent) == pytest.approx(29 + 110_000 * 2.5 / 1e6)
    peak = {"dollars_per_thousand_peak": 10, "included": {"connections": 500}}
    assert [month(one, **peak) for one in (500, 501, 1_500, 1_501)] == [399, 409, 409, 419]


def test_a_join_a_leave_and_page_changes_are_each_sent_and_received() -> None:
    assert presence_messages(3600) == 2 * 1000 * (2 + 12)
    assert presence_messages(600) == 2 * 1000 * (12 + 12)


# ------------------------------------------------------------------------------------------- ledger


def call(operation: str, role: str, units: float | None, *, failed: bool = False) -> Call:
    return Call(operation, frozenset({role}), frozenset(), units, failed)


def ledger_with(part: str, account: Account) -> Ledger:
    ledger = Ledger(plain())
    names = ("presence", "visits", "counts", "headcounts", "people")
    ledger.roles = {name: name for name in names}
    ledger.on = True
    ledger.close(part, account)
    return ledger


def test_units_are_entered_by_operation_and_table() -> None:
    calls = [call("UpdateItem", "presence", 1.0), call("GetItem", "headcounts", 0.5)]
    part = ledger_with("beats", Account("api", calls)).parts["beats"]
    assert (part.usage["write_units"], part.usage["read_units"]) == (1.0, 0.5)
    assert part.operations == {("UpdateItem", "presence"): 1.0, ("GetItem", "headcounts"): 0.5}


def test_a_failed_condition_costs_what_it_would_have_written() -> None:
    assert units_of(call("UpdateItem", "presence", None, failed=True)) == 1.0
    assert units_of(call("GetItem", "presence", None, failed=True)) == 0.0


def test_a_query_that_finds_nothing_costs_half_a_unit() -> None:
    assert units_of(call("Query", "headcounts", 0.0)) == 0.5
    consistent = replace(call("Query", "subscriptions", 0.0), consistent=True)
    assert units_of(consistent) == 1.0


def test_counts_writes_of_visits_are_entered_separately_from_its_recounts() -> None:
    both = Call("TransactWriteItems", frozenset({"visits", "counts"}), frozenset(), 4.0, False)
    calls = [both, call("Query", "presence", 10.0), call("PutItem", "counts", 1.0)]
    ledger = ledger_with("recounts", Account("count", calls))
    assert ledger.parts["visits"].usage == {"write_units": 4.0}
    assert ledger.parts["recounts"].usage["write_units"] == 1.0
    assert ledger.counts["recounts"] == 1


def test_counts_calls_for_people_are_entered_separately_too() -> None:
    calls = [call("BatchGetItem", "people", 0.5), call("UpdateItem", "people", 1.0)]
    calls.append(call("Query", "presence", 10.0))
    parts = ledger_with("recounts", Account("count", calls)).parts
    assert parts[PEOPLE].usage == {"read_units": 0.5, "write_units": 1.0}
    assert parts["recounts"].usage["write_units"] == 0
    asked = ledger_with("looking up", Account("api", calls)).parts["looking up"]
    assert asked.usage["read_units"] == 10.5


def test_transactions_that_only_the_engine_splits_update_the_views_once() -> None:
    calls = [
        Call("TransactWriteItems", frozenset({"visits", "counts"}), frozenset(), units, False)
        for units in (20.0, 20.0, 6.0)
    ]
    ledger = ledger_with("recounts", Account("count", calls))
    assert ledger.parts["visits"].usage["write_units"] == 2 * (9 + 9 + 2) + 2
    assert ledger.split_transactions == 2


def test_frames_belong_to_dashboards_and_deferred_tasks_are_sent_received_and_deleted() -> None:
    account = Account("publish", frames=[100, 40_000])
    account.queued["queue"] = 2
    ledger = ledger_with("publishes", account)
    assert ledger.parts["dashboards"].usage["socket_messages"] == 3
    assert ledger.parts["publishes"].usage["queue_requests"] == 6


def test_a_functions_second_is_billed_by_its_memory() -> None:
    account = Account("count", slept=2.0)
    part = ledger_with("recounts", account).parts["recounts"]
    memory = template().functions["count"]["MemorySize"]
    assert part.usage["lambda_gb_seconds"] == pytest.approx(2.0 * memory / 1024)


def test_before_the_window_only_invocations_are_noted() -> None:
    ledger = Ledger(prices())
    ledger.close("beats", Account("api"))
    assert (ledger.invoked["api"], ledger.parts) == (1, {})


def invoked(functions: set[str]) -> Ledger:
    ledger = Ledger(prices())
    for function in functions:
        ledger.close("", Account(function))
    return ledger


def test_a_replay_that_never_invokes_a_function_fails() -> None:
    needed = set(template().functions)
    invoked(needed).require_every_function()
    for function in needed:
        with pytest.raises(NeverInvokedError, match=f"cost is missing: {function}\\."):
            invoked(needed - {function}).require_every_function()


def test_an_amount_that_was_never_entered_is_zero_and_is_not_stored() -> None:
    amounts: Amounts[str] = Amounts()
    assert amounts["x"] == 0.0
    assert amounts == {}
    amounts.add({"x": 2})
    assert amounts.times(1.5) == {"x": 3.0}


# ----------------------------------------------------------------------------------------- timeline


def test_actions_run_in_order_while_others_sleep() -> None:
    timeline, seen = Timeline(0), []

    def sleeper() -> None:
        seen.append(("asleep", timeline()))
        timeline.sleep(2)
        seen.append(("awake", timeline()))

    timeline.at(1000, lambda: timeline.spawn(sleeper))
    timeline.at(2000, lambda: seen.append(("meanwhile", timeline())))
    timeline.run_until(5000)
    assert seen == [("asleep", 1000), ("meanwhile", 2000), ("awake", 3000)]
    assert timeline() == 5000


def test_sleepers_wake_in_their_own_order() -> None:
    timeline, seen = Timeline(0), []

    def sleeper(seconds: float) -> None:
        timeline.sleep(seconds)
        seen.append(seconds)

    for seconds in (3.0, 1.0, 2.0):
        timeline.spawn(lambda seconds=seconds: sleeper(seconds))  # type: ignore[misc]
    timeline.run_until(10_000)
    assert seen == [1.0, 2.0, 3.0]


def test_an_error_of_a_sleeper_is_raised_by_the_agenda() -> None:
    timeline = Timeline(0)

    def fails() -> None:
        timeline.sleep(1)
        raise ValueError("found out late")

    timeline.spawn(fails)
    with pytest.raises(ValueError, match="found out late"):
        timeline.run_until(2_000)


def test_what_was_not_spawned_cannot_sleep() -> None:
    timeline = Timeline(0)
    timeline.at(0, lambda: timeline.sleep(1))
    with pytest.raises(RuntimeError, match="only what was spawned can sleep"):
        timeline.run_until(1)


# -------------------------------------------------------------------------------------------- model


def test_a_space_has_a_shard_for_each_30_000() -> None:
    assert [shards_of(viewers) for viewers in (100, 30_000, 30_001, 1_000_000)] == [1, 1, 2, 34]


def test_more_changes_cause_more_recounts_up_to_the_pace() -> None:
    few, some, many, rush = (
        rhythm(Scenario(viewers, 600, visits), prices()).recounts
        for viewers, visits in ((10, 3600), (30, 3600), (10_000, 3600), (1_000, 300))
    )
    assert few < some
    # The longest interval, plus up to a second, because queues have delays of whole seconds.
    assert UNHEARD_PACE <= 3600 * SECOND / many < UNHEARD_PACE + SECOND
    assert rush > many


def test_a_shard_of_a_large_space_is_recounted_as_often_as_a_smaller_space() -> None:
    whole, part = (rhythm(Scenario(viewers, 600), prices()) for viewers in (30_000, 900_000))
    assert (whole.recounts, whole.rows) == (part.recounts, part.rows)


def test_rows_of_ended_visits_are_read_until_the_cleanup_deletes_them() -> None:
    scenario = Scenario(1_000, seconds=60, visit_seconds=600)
    assert rhythm(scenario, prices()).rows == 1_550
    assert rhythm(scenario, prices(), steady=False).rows == 1_050


def test_presence_by_http_has_the_templates_beat_interval() -> None:
    assert ByHttp().interval(1) == BEAT_EVERY == 30


def test_a_table_has_a_line_for_each_row() -> None:
    assert table(("a", "b"), [("x", "1")]) == "| a | b |\n| --- | --: |\n| x | 1 |"
