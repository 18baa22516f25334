"""The end of the long story: crashes expire, and in the end no one is left."""

from __future__ import annotations

import pytest

from lab.harness.clients import assert_no_gaps
from tests.stack.story import SIGN_INS, Story

pytestmark = pytest.mark.stack

LEASE, SWEEP = 60, 65


def test_crashed_sessions_are_gone_after_the_lease_and_65_seconds(story: Story) -> None:
    point = story.points["expired"].result(200)

    assert point.seen == point.expected
    assert point.gone_at - point.crashed_at > LEASE - 10
    assert point.gone_at - point.crashed_at <= LEASE + SWEEP
    assert point.highest_received <= point.peak <= point.highest_received + SIGN_INS


def test_after_everyone_left_the_space_is_empty(story: Story) -> None:
    point = story.points["empty"].result(200)

    assert point.seen == point.expected
    assert point.seen["people"] == 0
    frames = story.socket.headcounts(story.space)
    assert frames[-1].message["data"]["people"] == 0
    assert_no_gaps(frames)
