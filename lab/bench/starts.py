"""What the functions import: counts, not seconds, so that no start gets slower unnoticed.

Of each built function: the modules that it has imported when its start is over, and those that its
first events import after that. What is left to a first event delays somebody, so it should be none;
where it is not, the figure says how much. Python versions differ, so the names contain the version.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from lab.bench import stub_aws
from lab.bench.artefact import ANSWERS, built, environment, folder_of, layers, stub
from lab.bench.figures import Figure, Figures
from lab.harness.template import ROOT, template

PYTHON = f"python{sys.version_info.major}{sys.version_info.minor}"
EVENTS = ROOT / "events"

_DRIVER = (
    ANSWERS
    + """
import json, sys
bare = set(sys.modules)
from app import handler
started = set(sys.modules)
handler(json.loads(sys.argv[1]), None)
ours = [len(started - bare), sorted(set(sys.modules) - started)]
print(json.dumps(ours), file=answers)
"""
)


def function_of(event: Path) -> str:
    """The function that an event of ``events/`` is for."""
    return max((one for one in template().functions if event.stem.startswith(one)), key=len)


def imports(event: Path, url: str, artefact: Path) -> tuple[int, list[str]]:
    """The number of modules that a function's start imports, and the modules that the event, which
    is the first, imports after it. ``url`` is where AWS is."""
    function = function_of(event)
    addresses = {
        "AWS_ENDPOINT_URL": url,
        "SOCKET_ENDPOINT": f"{url}/live",
        "SOCKET_URL": "wss://socket.example.test/live",
        "WEBHOOK_URL": f"{url}/webhook",
    }
    output = subprocess.run(
        [sys.executable, "-c", _DRIVER, event.read_text()],
        env=environment(function, [artefact / folder_of(function), *layers(artefact)], **addresses),
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    number, after = json.loads(output)
    return number, after


def modules() -> Figures:
    """The figures of all functions."""
    artefact = built()
    found: dict[str, Figure] = {}
    with stub(Path(stub_aws.__file__)) as url:
        for event in sorted(EVENTS.glob("*.json")):
            number, after = imports(event, url, artefact)
            found |= figures(function_of(event), event.stem, number, after)
    return found


def figures(function: str, event: str, number: int, after: list[str]) -> Mapping[str, Figure]:
    """The two figures of a first event."""
    return {
        f"start.{PYTHON}.modules_of_{function}": Figure(number),
        f"start.{PYTHON}.modules_that_{event}_imports": Figure(len(after)),
    }
