"""`make load` reports correct numbers."""

from __future__ import annotations

from itertools import count

import pytest

from lab.harness.world import Answer, World
from lab.load import Load, in_process, waits


def test_all_sessions_are_held_and_counted_and_their_beats_are_timed() -> None:
    ticks = count()
    load = in_process(150, 450.0, timer=lambda: float(next(ticks)))  # a beat takes a second
    assert not load.failed, load.lines()
    assert (load.held, load.counted) == (150, 150)
    assert (load.beats, load.seconds) == (450, 450.0)
    assert "450 beats in 450.0 s = 1 beats/s, 0 errors" in load.lines()[0]


def test_a_refused_beat_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(World, "http", lambda *_, **__: Answer(503, {"error": "busy"}, {}))
    monkeypatch.setattr(World, "headcount", lambda *_: {"sessions": 0})
    load = in_process(3, 60.0)
    assert load.failed
    assert "3 sessions held, 0 counted" in load.lines()[0]
    assert "503" in load.lines()[1]


def test_a_wrong_count_fails() -> None:
    assert Load("here", held=2, counted=1).failed
    assert not Load("here", held=2, counted=2).failed


def test_a_join_waits_until_a_dashboard_receives_its_count() -> None:
    received = [(0, 9.0), (2, 11.0), (3, 12.5)]
    assert waits([10.5, 10.0, 12.0, 12.2], received) == [1.0, 0.5, 0.5]
