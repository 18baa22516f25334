"""What comes out the same each time of the built artefact and of a fan-out: counts, no seconds.

A steady beat's instructions are the interpreter's own: bytecodes, and calls of Python functions.
They differ from one Python to the next, so their figures are named by the version.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping
from contextlib import redirect_stdout
from functools import cache
from io import StringIO
from pathlib import Path
from typing import Any

from local.packing import DEPENDENCIES, sizes
from tests.bench import artefact
from tests.bench.artefact import OUR_LAYER, environment, layers, stub_dynamodb
from tests.bench.figures import Figure, Figures
from tests.support.engines import memory_engine
from tests.support.events import http_event
from tests.support.world import SITE, world_on

PYTHON = f"python{sys.version_info.major}{sys.version_info.minor}"

BUILT = (DEPENDENCIES, OUR_LAYER, "ApiFunction")
"""What a beat's cold start loads."""

SIZE_MAY_DIFFER = 0.05
"""By how much bytecode and wheels differ from one Python, or processor, to another."""

DASHBOARDS = 1_000
"""More than a version is sent to without chunks."""

_DRIVER = """
import json, sys
bare = set(sys.modules)
sys.path.insert(0, sys.argv[1])
from app import handler
imported = len(set(sys.modules) - bare)
from headcount.aws import http
sent = []
exchange = http.Connection.exchange
def noted(self, request):
    sent.append(len(request))
    return exchange(self, request)
http.Connection.exchange = noted
event = json.loads(sys.argv[2])
body = {"sessionId": "s" * 22, "visitorId": "v" * 22, "page": "/courses/intro"}
def beat(number):
    event["requestContext"]["requestId"] = f"request-{number:06d}"
    event["body"] = json.dumps({**body, "seq": 1_000 + number})
    answer = handler(event, None)
    assert answer["statusCode"] == 200, answer
    return answer
def traced(number):
    counts = {"bytecodes": 0, "calls": 0}
    def trace(frame, what, _):
        if what == "opcode":
            counts["bytecodes"] += 1
        elif what == "call":
            counts["calls"] += 1
            frame.f_trace_lines, frame.f_trace_opcodes = False, True
        return trace
    sys.settrace(trace)
    try:
        beat(number)
    finally:
        sys.settrace(None)
    return counts
for number in range(20):
    beat(number)
found = []
for number in range(20, 60):
    sent.clear()
    counts = traced(number)
    found.append({**counts, "requests": len(sent), "bytes_sent": sum(sent)})
answer = beat(60)
# A read of the count once a second, or an answer in two pieces, makes some beats more than steady.
least = {name: min(one[name] for one in found) for name in found[0]}
headers = sum(len(name) + len(value) + 4 for name, value in answer["headers"].items())
print(json.dumps({**least, "modules": imported, "answer": headers + len(answer["body"])}))
"""


@cache
def _built() -> Path:
    return artefact.built()


def beat() -> Figures:
    """A steady beat through the built handler, in a process of its own."""
    event = http_event("POST", f"/v1/spaces/{SITE}/presence", body={})
    with stub_dynamodb() as url:
        said = subprocess.run(
            [sys.executable, "-c", _DRIVER, str(_built() / "ApiFunction"), json.dumps(event)],
            env=environment("api", layers(_built()), AWS_ENDPOINT_URL=url),
            check=True,
            capture_output=True,
            text=True,
        ).stdout
    found: Mapping[str, int] = json.loads(said.splitlines()[-1])
    return {
        "beat.requests_to_dynamodb": Figure(found["requests"]),
        "beat.bytes_to_dynamodb": Figure(found["bytes_sent"]),
        "beat.bytes_of_the_answer": Figure(found["answer"]),
        f"beat.{PYTHON}.bytecodes": Figure(found["bytecodes"], tolerance=0.01),
        f"beat.{PYTHON}.calls": Figure(found["calls"]),
        f"beat.{PYTHON}.modules_imported": Figure(found["modules"]),
    }


def build() -> Figures:
    """Bytes of what a beat's cold start loads, as built."""
    found = sizes(_built())
    return {
        f"build.bytes_of_{name}": Figure(found[name], tolerance=SIZE_MAY_DIFFER) for name in BUILT
    }


def fan_out() -> Figures:
    """One version of a space that many dashboards hear, from the counts' stream to the last."""
    with memory_engine() as engine, world_on(engine) as world, redirect_stdout(StringIO()):
        for number in range(DASHBOARDS):
            world.subscribe(f"dashboard-{number:04d}")
        heard = len(world.line.frames["dashboard-0000"])
        world.beat("s1", page="/a", visitorId="v1")
        world.count(world.filtered("count"))
        records = world.filtered("publish")
        with engine.metered() as meter:
            world.publish(records)
            chunks = len(world.queue.messages)
            world.fan_out()
        tries = sum(world.line.tries.values()) - DASHBOARDS
        frames: list[dict[str, Any]] = world.line.frames["dashboard-0000"][heard:]
    assert len(frames) == 1, frames
    return {
        "fanout.calls_of_dynamodb": Figure(len(meter.calls)),
        "fanout.chunks": Figure(chunks),
        "fanout.posts": Figure(tries),
        "fanout.bytes_of_a_frame": Figure(len(json.dumps(frames[0], separators=(",", ":")))),
    }
