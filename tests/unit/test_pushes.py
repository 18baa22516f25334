"""When a count is pushed: the budget, large changes, and the last one that was skipped."""

from __future__ import annotations

import random
from dataclasses import dataclass, field, replace

import pytest
from headcount.model.pushes import (
    LATE,
    LOCK,
    PushBudget,
    Pushes,
    late_wait,
    next_pushes,
    pushed_late,
    space_of,
    topic_of,
)
from headcount.times import HOUR, MINUTE, SECOND

BUDGET = PushBudget()
NOON = 1_800_000_000_000


@dataclass
class Space:
    """A space whose count changes, with its deferred task."""

    budget: PushBudget = BUDGET
    now: int = NOON
    people: int = 0
    version: int = 0
    pushes: Pushes | None = None
    pushed: list[tuple[int, int]] = field(default_factory=list)  # when, and which count
    skipped_at: int = 0
    task: tuple[int, int] | None = None  # when, and which

    def publish(self, people: int) -> None:
        """The next version."""
        before, self.people, self.version = self.people, people, self.version + 1
        self.pushes = next_pushes(
            self.pushes,
            self.budget,
            before=before,
            people=people,
            version=self.version,
            now=self.now,
        )
        if self.pushes.version == self.version:
            self.pushed.append((self.now, people))
        elif before != people and self.pushes.due_at:
            self.skipped_at = self.now
        if self.pushes.task_by == self.version:
            self.task = self.pushes.due_at, self.pushes.task

    def wait(self, milliseconds: int) -> None:
        """Pass time; the task runs when it is due."""
        until = self.now + milliseconds
        while self.task is not None and self.task[0] <= until:
            self.now, task = self.task
            self.task = None
            assert self.pushes is not None
            if self.pushes.task != task or not self.pushes.due_at:
                continue
            if wait := late_wait(self.pushes, self.budget, self.now):
                self.task = self.now + wait, task
                continue
            self.pushes = pushed_late(
                self.pushes, self.budget, people=self.people, version=self.version, now=self.now
            )
            self.pushed.append((self.now, self.people))
        self.now = until

    def counts(self) -> list[int]:
        return [count for _, count in self.pushed]


def test_every_change_is_pushed_at_once_while_there_are_tokens() -> None:
    space = Space()
    for people in range(1, BUDGET.burst + 1):
        space.publish(people)
        space.wait(SECOND)
    assert space.counts() == list(range(1, BUDGET.burst + 1))


def test_a_count_that_stays_is_not_pushed_again() -> None:
    space = Space()
    for people in (3, 3, 3):
        space.publish(people)
        space.wait(SECOND)
    assert space.counts() == [3]
    assert space.task is None


def test_beyond_the_burst_changes_are_pushed_on_credit_and_the_last_one_arrives() -> None:
    space = Space()
    for people in range(1, 201):
        space.publish(people)
        space.wait(SECOND)
    last = space.now - SECOND
    assert space.counts()[-1] != 200
    assert len(space.pushed) <= BUDGET.burst + BUDGET.overdraft + 200 * 40 // 3600 + 1
    space.wait(MINUTE)
    at, people = space.pushed[-1]
    assert people == 200
    assert LATE <= at - last <= 30 * SECOND
    assert space.task is None


def test_a_large_change_is_pushed_in_a_restless_space_and_a_small_one_is_not() -> None:
    restless = Pushes(100, tokens=0, at=NOON, changes=40 * 25, version=1)

    def is_pushed(people: int) -> bool:
        after = next_pushes(restless, BUDGET, before=100, people=people, version=2, now=NOON)
        return after.version == 2

    assert not is_pushed(105)  # the square root of 25, and a little
    assert is_pushed(106)
    assert is_pushed(94)
    assert not is_pushed(96)


def test_credit_ends() -> None:
    spent = Pushes(100, tokens=1 - BUDGET.overdraft - 0.01, at=NOON, changes=1, version=1)
    after = next_pushes(spent, BUDGET, before=100, people=5_000, version=2, now=NOON)
    assert (after.version, after.due_at) == (1, NOON + LATE)
    paid = replace(spent, tokens=1 - BUDGET.overdraft)
    after = next_pushes(paid, BUDGET, before=100, people=5_000, version=2, now=NOON)
    assert (after.version, after.tokens) == (2, -BUDGET.overdraft)


def test_a_skipped_count_waits_for_a_token_when_the_reserve_is_spent() -> None:
    spent = Pushes(5, tokens=-BUDGET.reserve, at=NOON, due_at=NOON, task=NOON, task_by=2, version=1)
    assert late_wait(spent, BUDGET, NOON) == HOUR // 40
    assert late_wait(spent, BUDGET, NOON + HOUR // 40) == 0


def test_a_viewer_who_came_while_counts_were_skipped_learns_of_the_way_back() -> None:
    """They were sent the skipped one, and a count that equals the last pushed one is news to
    them."""
    space = Space(
        pushes=Pushes(5, tokens=-BUDGET.overdraft, at=NOON, version=1), people=5, version=1
    )
    space.publish(6)
    space.wait(SECOND)
    space.publish(5)
    assert space.pushed == []
    space.wait(30 * SECOND)
    assert space.counts() == [5]


def test_publish_keeps_away_from_a_task_that_posts() -> None:
    space = Space(
        pushes=Pushes(5, tokens=-BUDGET.overdraft, at=NOON, version=1), people=5, version=1
    )
    space.publish(6)
    space.wait(LATE)
    assert space.counts() == [6]
    assert space.pushes is not None
    space.pushes = replace(space.pushes, tokens=20)
    space.publish(7)
    assert space.counts() == [6]
    space.wait(LOCK)
    assert space.counts() == [6, 7]


def test_a_task_that_was_lost_is_replaced() -> None:
    lost = Pushes(5, tokens=-20, at=NOON, due_at=NOON, task=NOON, task_by=2, version=1)
    after = next_pushes(lost, BUDGET, before=6, people=7, version=3, now=NOON + MINUTE)
    assert after.task_by == 2
    slow = PushBudget(per_hour=1)
    after = next_pushes(lost, slow, before=6, people=7, version=3, now=NOON + 20 * MINUTE)
    assert (after.task_by, after.task) == (3, NOON + 20 * MINUTE + LATE)


@pytest.mark.parametrize("seed", range(30))
def test_any_space_stays_within_its_budget_and_every_last_count_arrives(seed: int) -> None:
    chance = random.Random(seed)  # noqa: S311 - a script, not a secret
    budget = PushBudget(chance.choice((1, 10, 40, 100)), chance.choice((1, 2, 20)))
    space = Space(budget)
    for _ in range(chance.randrange(1, 400)):
        step = chance.choice((1, 1, 1, 20))
        space.publish(max(0, space.people + chance.choice((-step, 0, step))))
        space.wait(chance.choice((1, 1, 1, 5, 26, 100)) * SECOND)
    times = [at for at, _ in space.pushed]
    most = budget.burst + budget.reserve
    for first in range(len(times)):
        for last in range(first, len(times)):
            allowed = most + (times[last] - times[first]) * budget.per_hour / HOUR
            assert last - first + 1 <= allowed + 1
    space.wait(30 * SECOND + HOUR // budget.per_hour)
    assert not space.pushed or space.counts()[-1] == space.people
    assert space.task is None


def test_what_is_stored_is_what_was_packed() -> None:
    pushes = Pushes(5, -3.25, NOON, 7.5, 4, NOON + 1, NOON + 2, 3, NOON + 4)
    assert Pushes.unpack(pushes.pack()) == pushes


@pytest.mark.parametrize(
    "stored", [None, [], [1] * 8, [1] * 10, ["1"] * 9, [10**20] * 9, [True] * 9, 5, {"a": 1}]
)
def test_pushing_starts_anew_where_nothing_valid_is_stored(stored: object) -> None:
    assert Pushes.unpack(stored) is None
    after = next_pushes(None, BUDGET, before=4, people=5, version=9, now=NOON)
    assert (after.version, after.tokens) == (9, BUDGET.burst - 1)
    after = next_pushes(None, BUDGET, before=4, people=4, version=9, now=NOON)
    assert (after.version, after.tokens) == (0, BUDGET.burst)


def test_a_time_from_a_wrong_clock_stops_nothing() -> None:
    wrong = Pushes(5, tokens=-1e6, at=NOON + 1_000 * HOUR, changes=1, version=1)
    after = next_pushes(wrong, BUDGET, before=5, people=5, version=2, now=NOON)
    after = next_pushes(after, BUDGET, before=5, people=6, version=3, now=NOON + HOUR)
    assert after.version == 3


def test_a_topic_belongs_to_its_space() -> None:
    assert topic_of("site:main") == "~count:site:main"
    assert space_of(topic_of("site:main")) == "site:main"
    assert space_of("site:main") == "site:main"
