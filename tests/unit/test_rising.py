"""What rises, as the dashboard's own code decides it in Node."""

from __future__ import annotations

from typing import Any

import pytest

from tests.support.node import run_module

# Times are minutes. Each entry of `seen` is a time and the people of each page.
_SCRIPT = """
import { aboveUsual, remember, risingSince } from './clients/dashboard/rising.js';
const { people, usual, seen } = JSON.parse(process.argv[1]);
const values = (pages) => Object.entries(pages).map(([value, people]) => ({ value, people }));
const at = (minutes) => minutes * 60_000;
let kept = [];
let found;
for (const [minutes, pages] of seen ?? []) {
  kept = remember(kept, at(minutes), values(pages));
  found = risingSince(kept, at(minutes), values(pages));
}
const since = found?.since == null ? null : found.since / 60_000;
const pages = found?.values.map(({ value, people, before }) => [value, before, people]);
const note = seen ? '' : aboveUsual(people, usual);
console.log(JSON.stringify({ usual: note, since, pages, kept: kept.length }));
"""


def decided(**given: Any) -> Any:
    return run_module(_SCRIPT, given)


def usual(low: float, median: float, high: float) -> dict[str, float]:
    return {"low": low, "median": median, "high": high}


@pytest.mark.parametrize(
    ("people", "known", "note"),
    [
        (23, usual(8, 10, 12), "↑ 2.3× usual"),
        (15, usual(8, 10, 14), "↑ 1.5× usual"),
        (14, usual(8, 10, 13), ""),  # not by half more
        (20, usual(8, 10, 20), ""),  # within the middle half
        (4, usual(1, 1, 1), ""),  # too few to say
        (9, usual(0, 0, 0), "↑ usually nobody"),
        (9, usual(0, 0.5, 3), "↑ usually 0–3"),
        (90, None, ""),  # too few weeks are known
    ],
)
def test_a_space_is_above_what_is_usual_or_has_no_note(
    people: int, known: dict[str, float] | None, note: str
) -> None:
    assert decided(people=people, usual=known)["usual"] == note


def test_pages_rise_since_ten_minutes_ago_once_five_are_known() -> None:
    before = {"/": 20, "/pricing": 2, "/docs": 6}
    now = {"/": 22, "/pricing": 9, "/docs": 12, "/new": 5, "/few": 4}
    rising = [["/pricing", 2, 9], ["/docs", 6, 12], ["/new", 0, 5]]
    assert decided(seen=[[0, before], [4.9, now]])["pages"] == []
    assert decided(seen=[[0, before], [5, now]]) == {
        "usual": "",
        "since": 0,
        "pages": rising,
        "kept": 2,
    }
    # From then on it is compared with the first one that is less than eleven minutes old.
    every = [[minute / 2, before] for minute in range(60)]
    found = decided(seen=[*every, [30, now]])
    assert (found["since"], found["pages"], found["kept"]) == (20, rising, 11)


def test_what_was_not_seen_some_minutes_ago_is_compared_with_nothing() -> None:
    now = {"/pricing": 9}
    assert decided(seen=[[0, {"/pricing": 2}], [11, now]])["since"] is None
    # Of 200 values the rest are one: who was under a page that is not listed is not known.
    cut = {"/": 20, "/pricing": 2, "other": 50}
    found = decided(seen=[[0, cut], [6, {"/": 20, **now, "/new": 30, "other": 90}]])
    assert found["pages"] == [["/pricing", 2, 9]]
