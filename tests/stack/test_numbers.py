"""The published numbers equal those of an independent oracle."""

from __future__ import annotations

from bisect import bisect_right

import pytest

from lab.harness.clients import assert_no_gaps
from tests.stack.story import CHAPTERS, SIGN_INS, Story

pytestmark = pytest.mark.stack

WINDOW, MOST_IN_WINDOW = 10.0, 15


@pytest.mark.parametrize("chapter", CHAPTERS[:3])
def test_the_numbers_of_a_crowd_equal_an_independent_count(story: Story, chapter: str) -> None:
    point = story.points[chapter].result(120)

    assert point.seen == point.expected
    assert point.highest_received <= point.peak <= point.highest_received + SIGN_INS


def test_a_dashboard_receives_each_version_at_most_once_a_second(story: Story) -> None:
    last = story.points["left"].result(120)
    frames = story.socket.headcounts(story.space)

    assert_no_gaps(frames)
    assert frames[-1].message["data"]["people"] == last.expected["people"]
    times = [frame.at for frame in frames]
    busiest = max(bisect_right(times, time + WINDOW) - number for number, time in enumerate(times))
    assert busiest <= MOST_IN_WINDOW, times
