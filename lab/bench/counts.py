"""Deterministic figures of the built artefact and of a fan-out: counts, not seconds.

A steady beat is measured in the interpreter's instructions: bytecodes, and calls of Python
functions. They differ between Python versions, so the names of these figures contain the version.
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

from lab.bench import artefact
from lab.bench.artefact import ANSWERS, OUR_LAYER, environment, layers, stub_dynamodb
from lab.bench.figures import Figure, Figures
from lab.harness.engines import memory_engine
from lab.harness.events import http_event
from lab.harness.world import SITE, world_on
from local.packing import DEPENDENCIES, sizes

PYTHON = f"python{sys.version_info.major}{sys.version_info.minor}"

BUILT = (DEPENDENCIES, OUR_LAYER, "BeatFunction")
"""What a beat's cold start loads."""

SIZE_MAY_DIFFER = 0.05
"""The share by which bytecode and wheels differ between Python versions and processors."""

DASHBOARDS = 1_000
"""More than a version reaches without chunks."""

_DRIVER = (
    ANSWERS
    + """
import json, sys
bare = set(sys.modules)
sys.path.insert(0, sys.argv[1])
from app import handler
imported = len(set(sys.modules) - bare)
from headcount.aws import wire
sent = []
exchange = wire.Connection.exchange
def metered(self, request):
    sent.append(len(request))
    return exchange(self, request)
wire.Connection.exchange = metered
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
# Some beats do more: the count is read once a second, and an answer may come in two pieces.
least = {name: min(one[name] for one in found) for name in found[0]}
headers = sum(len(name) + len(value) + 4 for name, value in answer["headers"].items())
result = {**least, "modules": imported, "answer": headers + len(answer["body"])}
print(json.dumps(result), file=answers)
"""
)


@cache
def _built() -> Path:
    return artefact.built()


def beat() -> Figures:
    """A steady beat through the built handler, in a separate process."""
    event = http_event("POST", f"/v1/spaces/{SITE}/presence", body={})
    with stub_dynamodb() as url:
        output = subprocess.run(
            [sys.executable, "-c", _DRIVER, str(_built() / "BeatFunction"), json.dumps(event)],
            env=environment("beat", layers(_built()), AWS_ENDPOINT_URL=url),
            check=True,
            capture_output=True,
            text=True,
        ).stdout
    found: Mapping[str, int] = json.loads(output)
    return {
        "beat.requests_to_dynamodb": Figure(found["requests"]),
        "beat.bytes_to_dynamodb": Figure(found["bytes_sent"]),
        "beat.bytes_of_the_answer": Figure(found["answer"]),
        f"beat.{PYTHON}.bytecodes": Figure(found["bytecodes"], tolerance=0.01),
        f"beat.{PYTHON}.calls": Figure(found["calls"]),
        f"beat.{PYTHON}.modules_imported": Figure(found["modules"]),
    }


def build() -> Figures:
    """Built bytes of what a beat's cold start loads."""
    found = sizes(_built())
    return {
        f"build.bytes_of_{name}": Figure(found[name], tolerance=SIZE_MAY_DIFFER) for name in BUILT
    }


def fan_out() -> Figures:
    """One version of a space with many dashboards, from a join in the stream to the last post."""
    with memory_engine() as engine, world_on(engine) as world, redirect_stdout(StringIO()):
        for number in range(DASHBOARDS):
            world.subscribe(f"dashboard-{number:04d}")
        before = len(world.management.frames["dashboard-0000"])
        world.beat("s1", page="/a", visitorId="v1")
        records = world.filtered("count")
        with engine.metered() as meter:
            world.count(records)
            world.publish(world.filtered("publish"))
            chunks = len(world.queue.messages)
            world.fan_out()
        posts = sum(world.management.attempts.values()) - DASHBOARDS
        frames: list[dict[str, Any]] = world.management.frames["dashboard-0000"][before:]
    assert len(frames) == 1, frames
    return {
        "fanout.calls_of_dynamodb": Figure(len(meter.calls)),
        "fanout.chunks": Figure(chunks),
        "fanout.posts": Figure(posts),
        "fanout.bytes_of_a_frame": Figure(len(json.dumps(frames[0], separators=(",", ":")))),
    }
