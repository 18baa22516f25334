"""The end of the long story: crashes expire, and at last nobody is left."""

from __future__ import annotations

import pytest

from tests.stack.clients import assert_no_gaps
from tests.stack.story import Story

pytestmark = pytest.mark.stack

LEASE, SWEEP = 60, 65


def test_who_crashed_is_gone_by_the_lease_and_65_seconds(story: Story) -> None:
    point = story.points["expired"].result(200)

    assert point.seen == point.expected
    assert point.gone_at - point.crashed_at > LEASE - 10
    assert point.gone_at - point.crashed_at <= LEASE + SWEEP
    assert point.peak == point.highest_heard


def test_after_everyone_left_nobody_is_here(story: Story) -> None:
    point = story.points["empty"].result(200)

    assert point.seen == point.expected
    assert point.seen["people"] == 0
    frames = story.socket.headcounts(story.space)
    assert frames[-1].message["data"]["people"] == 0
    assert_no_gaps(frames)
