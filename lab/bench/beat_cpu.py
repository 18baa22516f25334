"""A beat's CPU time compared with a plain Powertools and boto3 handler's (`make bench-beat`).

Each runs in its own process against the same stand-in for DynamoDB, by turns; ours is the built
artefact. The result is the median ratio of the processes' CPU time (not wall time) over all rounds.
"""

from __future__ import annotations

import argparse
import compileall
import json
import statistics
import subprocess
import sys
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from lab.bench.artefact import (
    ANSWERS,
    NAIVE,
    built,
    environment,
    layers,
    stub_dynamodb,
    without_bytecode,
)

ROUNDS = 7
BEATS = 1_000
TARGET = 0.15
_DRIVER = (
    ANSWERS
    + """
import json, sys, time
sys.path.insert(0, sys.argv[1])
from app import handler
body = {"sessionId": "s" * 22, "visitorId": "v" * 22, "page": "/courses/intro"}
event = json.loads(sys.argv[2])
def beats(count, start):
    for number in range(start, start + count):
        event["requestContext"]["requestId"] = f"request-{number}"
        event["body"] = json.dumps({**body, "seq": number})
        answer = handler(event, None)
        assert answer["statusCode"] == 200, answer
start = 2  # a client's first message joins
beats(200, start)
start += 200
for line in sys.stdin:
    count = int(line)
    began = time.process_time()
    beats(count, start)
    print((time.process_time() - began) / count * 1e6, file=answers)
    start += count
"""
)
_CLIENT_DRIVER = """
import os, sys, time
from headcount.wiring import Services
from headcount.model.session import Arrival, Facts
from headcount.settings import Settings
from headcount.store.presence import PresenceTable
table = PresenceTable(Services(Settings(os.environ)).dynamodb, "presence")
calls, write = [], table._client.update_item
beat = dict(space="site:main", shard=0, session="s" * 22, facts=Facts(visitor="v" * 22, page="/"))
table._client.update_item = lambda **call: calls.append(call)
now = 1_764_000_000_000
table.steady(Arrival(**beat, lease=60, seq=2, request="r" * 16, now=now, limit=20))
(call,) = calls
for beats in (200, *map(int, sys.argv[1:])):
    began = time.process_time()
    for _ in range(beats):
        write(**call)
    print((time.process_time() - began) / beats * 1e6)
"""


@dataclass
class Handler:
    """A handler in its own process, which reads how many beats to handle."""

    child: subprocess.Popen[str]

    @classmethod
    def start(cls, folder: str, environ: Mapping[str, str], event: object) -> Handler:
        """Start it and warm it up with some beats."""
        return cls(
            subprocess.Popen(
                [sys.executable, "-c", _DRIVER, folder, json.dumps(event)],
                env=dict(environ),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
            )
        )

    def microseconds(self, beats: int) -> float:
        """CPU time per beat."""
        assert self.child.stdin is not None
        assert self.child.stdout is not None
        self.child.stdin.write(f"{beats}\n")
        self.child.stdin.flush()
        return float(self.child.stdout.readline())

    def end(self) -> None:
        """End the process."""
        self.child.communicate()


def measure(rounds: int = ROUNDS, beats: int = BEATS) -> list[tuple[float, float]]:
    """Microseconds of CPU time per beat, ours and the plain handler's, for each round."""
    from lab.harness.events import http_event

    artefact = built()
    event = http_event("POST", "/v1/spaces/site:main/presence", body={})
    with ExitStack() as stack:
        url = stack.enter_context(stub_dynamodb())
        environ = environment("beat", layers(artefact), AWS_ENDPOINT_URL=url)
        tracing = {"POWERTOOLS_TRACE_DISABLED": "1"}  # there is no daemon here to send to
        ours = Handler.start(str(artefact / "BeatFunction"), environ, event)
        scratch = stack.enter_context(TemporaryDirectory(prefix="headcount-"))
        packages = without_bytecode(Path(scratch))
        compileall.compile_dir(packages, quiet=2)
        public = environment("beat", [packages], AWS_ENDPOINT_URL=url)
        plain = Handler.start(str(NAIVE), public | tracing, event)
        try:
            return [(ours.microseconds(beats), plain.microseconds(beats)) for _ in range(rounds)]
        finally:
            ours.end()
            plain.end()


def client_microseconds(rounds: int = ROUNDS, beats: int = BEATS) -> float:
    """CPU time of our DynamoDB client for a steady beat's call: the median of the rounds."""
    with stub_dynamodb() as url:
        environ = environment("beat", layers(built()), AWS_ENDPOINT_URL=url)
        arguments = [str(beats)] * rounds
        output = subprocess.run(
            [sys.executable, "-c", _CLIENT_DRIVER, *arguments],
            env=environ,
            check=True,
            capture_output=True,
            text=True,
        ).stdout
    _, *found = map(float, output.split())  # the first round is the warm-up
    return statistics.median(found)


def main() -> int:
    """Print both and their ratio; 1 if it exceeds the target."""
    parser = argparse.ArgumentParser(prog="make bench-beat", description=__doc__)
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--beats", type=int, default=BEATS)
    args = parser.parse_args()
    found = measure(args.rounds, args.beats)
    ours, plain = (statistics.median(column) for column in zip(*found, strict=True))
    ratio = statistics.median(one / other for one, other in found)
    client = client_microseconds(args.rounds, args.beats)
    print(f"steady beat, our handler             {ours:8.0f} µs CPU")
    print(f"  of which our DynamoDB client       {client:8.0f} µs CPU")
    print(f"plain Powertools + boto3 update_item {plain:8.0f} µs CPU")
    print(f"ratio                                {ratio:8.2f} (at most {TARGET:.2f})")
    return 0 if ratio <= TARGET else 1


if __name__ == "__main__":
    sys.exit(main())
