"""What is published equals what an outside oracle counts."""

from __future__ import annotations

from bisect import bisect_right

import pytest

from tests.stack.clients import assert_no_gaps
from tests.stack.story import CHAPTERS, Story

pytestmark = pytest.mark.stack

WINDOW, MOST_IN_WINDOW = 10.0, 15


@pytest.mark.parametrize("chapter", CHAPTERS[:3])
def test_the_numbers_of_a_crowd_equal_an_outside_count(story: Story, chapter: str) -> None:
    point = story.points[chapter].result(120)

    assert point.seen == point.expected
    assert point.peak == point.highest_heard


def test_a_dashboard_hears_every_version_once_a_second_at_most(story: Story) -> None:
    last = story.points["left"].result(120)
    frames = story.socket.headcounts(story.space)

    assert_no_gaps(frames)
    assert frames[-1].message["data"]["people"] == last.expected["people"]
    times = [frame.at for frame in frames]
    busiest = max(bisect_right(times, time + WINDOW) - number for number, time in enumerate(times))
    assert busiest <= MOST_IN_WINDOW, times
