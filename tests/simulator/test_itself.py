"""The simulator itself: its checks find injected bugs, and report no false ones."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from random import Random

import pytest
from headcount.store.people import PeopleTable
from headcount.store.table import Backoff
from headcount.times import MINUTE, SECOND
from headcount.usecases import rollups
from headcount.usecases.redelivery import Redelivery

from lab.harness import recursion
from lab.simulator import faults
from lab.simulator.checks import at_rest
from lab.simulator.schedules import has_roll_ups, run
from lab.simulator.simulation import Simulation, simulated


def test_no_lease_runs_out_unnoticed_while_everything_comes_to_rest() -> None:
    with simulated(Random(1)) as simulation:  # noqa: S311 - a simulation, not a secret
        simulation.faults.on = False
        simulation.arrive("site:main", 1)
        simulation.arrive("room:r1", 2).wanted = False
        late = simulation.loop.now + 2 * MINUTE + 9 * SECOND
        # Like a dashboard that is closed after two hours, reconnects, and subscribes again.
        simulation.loop.at(late, lambda: simulation.loop.start(lambda: _long_task(simulation)))
        at_rest(simulation)
        assert simulation.problems == []
        assert simulation.loop.now > late + 200 * SECOND


def _long_task(simulation: Simulation) -> None:
    simulation.loop.pause(200 * SECOND)


def retry_without_backoff(patch: pytest.MonkeyPatch) -> None:
    """Retry unprocessed items at once."""
    patch.setattr(Backoff, "wait", lambda *_: None)


def keep_visibility_timeouts(patch: pytest.MonkeyPatch) -> None:
    """Leave failed messages invisible for their queue's whole timeout."""
    patch.setattr(Redelivery, "after_failure", lambda *_, **__: None)


def stop_all_chains(patch: pytest.MonkeyPatch) -> None:
    """Stop every chain of messages in which a function runs for the 17th time."""
    patch.setattr(recursion, "is_stopped", lambda _, times: times >= recursion.MOST)


def count_people_in_each_space(patch: pytest.MonkeyPatch) -> None:
    """Let a roll-up count a person once in each of its spaces."""
    added = rollups.numbers_of_part
    apart = lambda entries, declared: added(  # noqa: E731
        ((space, person + space.encode()) for space, person in entries), declared
    )
    patch.setattr(rollups, "numbers_of_part", apart)


def note_nobody(patch: pytest.MonkeyPatch) -> None:
    """Let the table of people know nobody."""
    patch.setattr(PeopleTable, "note", lambda *_: None)


def see_the_crashed_until_the_sweep(patch: pytest.MonkeyPatch) -> None:
    """Let everybody be seen until their visit was ended."""
    patch.setattr("headcount.usecases.people.seen_at_end", lambda row: row.changed_at)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("break_it", "problem"),
    [
        (count_people_in_each_space, "groups/"),
        (note_nobody, "but is in Counter()"),
        (see_the_crashed_until_the_sweep, "was last seen should be in"),
        (retry_without_backoff, "retried unprocessed items at once"),
        (keep_visibility_timeouts, "a failed message waits for the visibility timeout"),
        (stop_all_chains, "is incomplete after"),
    ],
)
def test_a_bug_is_found_within_some_schedules(
    monkeypatch: pytest.MonkeyPatch,
    break_it: Callable[[pytest.MonkeyPatch], None],
    problem: str,
) -> None:
    break_it(monkeypatch)
    found = (one for seed in range(100) for one in run(seed).problems)
    assert problem in next(found)


def test_half_of_the_schedules_have_roll_ups() -> None:
    assert 450 < sum(map(has_roll_ups, range(1_000))) < 550
    assert (has_roll_ups(0), has_roll_ups(3)) == (False, True)
    assert run(0).digest == run(0, roll_ups=False).digest != run(0, roll_ups=True).digest
    assert run(3).digest == run(3, roll_ups=True).digest


@pytest.mark.slow
def test_every_fault_is_injected_and_counted() -> None:
    injected = sum((run(seed).faults for seed in range(40)), Counter[str]())
    consequences = {faults.OUT_OF_SIGHT, faults.GROUP_WAITS, faults.HOPS}
    assert injected.keys() >= {*faults.RATES, *consequences}
