"""When a space's count is pushed to those who listen to it. Pure.

A space may push so many frames an hour, and some at once: a bucket of tokens, a frame to all
listeners each. With tokens left, every change is pushed. Without, a change is pushed if it is large
for a space that changes so often, and borrows a token. Otherwise it is skipped, and a deferred task
pushes the count once nothing was skipped for a while, which may borrow more.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

from headcount.times import CLOCK_WAS_WRONG, HOUR, LATEST, MINUTE, SECOND

COUNT, PEOPLE = "count", "people"
"""The forms of a listener's frames: without and with the people who are there."""

_TOPIC = "~count:"


def topic_of(space: str) -> str:
    """The topic that a space's listeners subscribe to, beside its dashboards."""
    return _TOPIC + space


def space_of(topic: str) -> str:
    """The inverse of ``topic_of``; any other topic as it is."""
    return topic.removeprefix(_TOPIC)


def is_listened(topic: str) -> bool:
    """Whether this is the topic of a space's listeners."""
    return topic.startswith(_TOPIC)


LATE = 25 * SECOND
"""How long after the last skipped change the count is pushed."""

LOCK = 3 * SECOND
"""How long ``publish`` pushes nothing after a deferred task did, which posts at the same time: its
older count must not arrive later."""

CHUNKS_LATE = 2 * MINUTE
"""How long the next count waits for the chunks of the last, which are given up then."""

TASK_LOST = 15 * MINUTE
"""The age from which a deferred task must have been lost: SQS delays no message longer."""

_MILLI = 1_000


@dataclass(frozen=True, slots=True)
class PushBudget:
    """``per_hour`` frames to each listener in the long run, and ``burst`` at once."""

    per_hour: int = 40
    burst: int = 20

    @property
    def overdraft(self) -> int:
        """Frames that large changes may borrow."""
        return self.burst // 2

    @property
    def reserve(self) -> int:
        """Frames that may be borrowed so that a skipped count arrives."""
        return self.burst


@dataclass(frozen=True, slots=True)
class Pushes:
    """What was pushed of a space, and what it may still push. Times are epoch milliseconds."""

    count: int
    """The people that were pushed last."""
    tokens: float
    at: int = 0
    """When ``tokens`` and ``changes`` were right."""
    changes: float = 0.0
    """Changes of the count within about an hour, older ones counting less."""
    version: int = 0
    """The version that was pushed last."""
    due_at: int = 0
    """When a count that was skipped is to be pushed; 0: none was."""
    task: int = 0
    """The deferred task that will push it, by the time when it was first due."""
    task_by: int = 0
    """The version that schedules this task."""
    late_at: int = 0
    """When a deferred task last pushed."""

    def may_push(self, budget: PushBudget, now: int) -> bool:
        """Whether the next change of the count is pushed at once, however small."""
        return _at(self, budget, now).tokens >= 1

    def waits_for(self, *, task: int, missed: int) -> bool:
        """Whether a deferred task still has something to push: a skipped count, or (``missed``) a
        version that could not be pushed, and that no later one has replaced."""
        if missed:
            return self.version == missed and not self.due_at
        return self.task == task

    def schedules(self, version: int) -> bool:
        """Whether this version has to schedule the task that pushes what was skipped."""
        return self.due_at > 0 and self.task_by == version

    def pack(self) -> list[int]:
        """As it is stored."""
        return [
            self.count,
            round(self.tokens * _MILLI),
            self.at,
            round(self.changes * _MILLI),
            self.version,
            self.due_at,
            self.task,
            self.task_by,
            self.late_at,
        ]

    @classmethod
    def unpack(cls, stored: Any) -> Pushes | None:
        """The inverse of ``pack``; None if it is not what ``pack`` makes, or missing, because an
        older release published last: then pushing starts anew, which is no reason to lose a row."""
        if not isinstance(stored, list) or len(stored) != len(cls.__dataclass_fields__):
            return None
        if not all(type(one) is int and abs(one) < LATEST for one in stored):
            return None
        count, tokens, at, changes, *rest = stored
        return cls(count, tokens / _MILLI, at, max(0, changes) / _MILLI, *rest)


def next_pushes(
    old: Pushes | None, budget: PushBudget, *, before: int, people: int, version: int, now: int
) -> Pushes:
    """What follows from a new version: its count is pushed if the result has this ``version``, and
    a task is scheduled for ``due_at`` if ``task_by`` is this version.

    ``before``: the people of the version before. A count that equals the last pushed one is not
    pushed, unless others were skipped in between: someone who came meanwhile was sent one of those.
    """
    if old is None:
        old = Pushes(before, budget.burst, now)
    new = _at(old, budget, now)
    if people != before:
        new = replace(new, changes=new.changes + 1)
    moved = abs(people - new.count)
    if not moved and not new.due_at:
        return new
    is_free = not 0 <= now - new.late_at < LOCK
    if moved and is_free and new.tokens >= _needed(new, budget, moved):
        return _pushed(new, people, version)
    if people != before or not new.due_at:
        new = replace(new, due_at=now + (LATE if is_free else LOCK))
    if not old.due_at or not -LATE <= now - new.task < TASK_LOST:
        new = replace(new, task=new.due_at, task_by=version)
    return new


def late_wait(pushes: Pushes, budget: PushBudget, now: int) -> int:
    """Milliseconds until a deferred task may push; 0: now. What was paid for needs no token."""
    until_free = pushes.late_at + LOCK - now if now >= pushes.late_at else 0
    if not pushes.due_at:
        return max(until_free, 0)
    until_due = pushes.due_at - now
    missing = 1 - budget.reserve - _at(pushes, budget, now).tokens
    until_token = math.ceil(missing * HOUR / budget.per_hour) if missing > 0 else 0
    return max(until_due, until_free, until_token, 0)


def pushed_late(
    pushes: Pushes, budget: PushBudget, *, people: int, version: int, now: int
) -> Pushes:
    """A deferred task pushes the count. It stays the known task: if it fails while it sends, its
    retry sends again, without another token."""
    new = _at(pushes, budget, now)
    if not new.due_at:
        return replace(new, late_at=now)
    return replace(_pushed(new, people, version), late_at=now, task=pushes.task)


def _needed(pushes: Pushes, budget: PushBudget, moved: int) -> float:
    """The tokens with which a change is pushed at once."""
    is_large = moved >= math.sqrt(pushes.changes / budget.per_hour)
    return 1 - budget.overdraft if is_large else 1


def _pushed(pushes: Pushes, people: int, version: int) -> Pushes:
    return replace(
        pushes, count=people, version=version, tokens=pushes.tokens - 1, due_at=0, task=0, task_by=0
    )


def _at(pushes: Pushes, budget: PushBudget, now: int) -> Pushes:
    """With the tokens and the changes of a later moment; the same if a clock stepped back."""
    at = pushes.at if now < pushes.at <= now + CLOCK_WAS_WRONG else now
    passed = max(0, at - pushes.at)
    tokens = max(pushes.tokens, -budget.reserve) + passed * budget.per_hour / HOUR
    return replace(
        pushes,
        at=at,
        tokens=min(budget.burst, tokens),
        changes=pushes.changes * math.exp(-passed / HOUR),
    )
