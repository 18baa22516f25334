"""`make story` writes a page that tells what happened with a seed, and loads nothing."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path

import pytest

from lab.harness.template import ROOT
from lab.simulator.schedules import Result, run
from lab.simulator.story import line_of, lines_of, page
from local.picture import CHROMIUM_ARGS, find_chromium
from tests.support.missing import missing

SEED = 17


@pytest.fixture(scope="module")
def result() -> Result:
    return run(SEED)


@pytest.mark.parametrize(
    ("text", "lane", "kind"),
    [
        ("count2 put_item ", "count2", "call"),
        ("count4 put_item timeout before the effect", "count4", "failed"),
        ("count2 begins", "count2", "call"),
        ("count2 ends ", "count2", "call"),
        ("count2 ends count2 crashed", "count2", "failed"),
        ("FAULT crash between two calls", "faults", "fault"),
        ("PROBLEM version 3 of site:main follows 1", "faults", "problem"),
        ("presence: room:r1#0/s1 join id-000001", "stream presence", "batch"),
        ("room:r1 version 2 has 1 people", "headcounts", "stored"),
        ("dashboard3-1 receives site:main version 2", "dashboard3", "frame"),
        ("listener4-2 hears 3 of version 2", "listener4", "frame"),
        ("CHECK without the cleanup", "world", "stored"),
    ],
)
def test_a_line_stands_in_its_lane(text: str, lane: str, kind: str) -> None:
    assert line_of(1.5, text)[:3] == (1.5, lane, kind)


def test_the_page_has_every_line_of_the_trace_and_every_fault(result: Result) -> None:
    (data,) = re.findall(r"^const story = (.*);$", page(result), re.M)
    story = json.loads(data)
    assert len(story["lines"]) == len(result.trace) == len(lines_of(result))
    struck = [text for _, _, kind, text in story["lines"] if kind == "fault"]
    assert struck, "the seed has faults"
    assert {*struck} <= {*story["faults"]}
    assert story["digest"] == result.digest


def test_no_text_of_the_trace_ends_the_script(result: Result) -> None:
    made = page(Result(1, ["</script><b>"], 1, 1, result.faults, [(0, "</script>")]))
    assert made.count("</script>") == 1
    assert made.count("http") == 1, "only the policy's own header: it loads nothing"


@pytest.mark.slow
@pytest.mark.browser
def test_the_page_is_filtered_in_a_browser(tmp_path: Path) -> None:
    chromium = find_chromium()
    if chromium is None:
        missing("Chromium", "install it (Debian: `apt-get install chromium`).")
    target = tmp_path / "story.html"
    subprocess.run(["make", "story", f"SEED={SEED}", f"ARGS=--to {target}"], cwd=ROOT, check=True)
    # The page as it is after a reader has searched for faults.
    searched = target.read_text().replace(
        "</script>",
        '$("search").value = "FAULT"; $("search").dispatchEvent(new Event("input", '
        "{bubbles: true}));</script>",
    )
    target.write_text(searched)
    alone = [f"--user-data-dir={tmp_path / 'profile'}"]
    dumped = subprocess.run(
        [chromium, *CHROMIUM_ARGS, *alone, "--dump-dom", target.as_uri()],
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    every = re.findall(r'<tr class="(\w+)"([^>]*)>', dumped)
    shown = [kind for kind, rest in every if "hidden" not in rest]
    assert len(every) > len(shown) > 0
    assert "fault" in shown
    assert "batch" not in shown
