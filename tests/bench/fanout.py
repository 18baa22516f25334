"""Posts to dashboards, over TLS to a management API on this machine that answers after 10 ms
(`make bench-fanout`).

First per second and core, beside boto3 in threads: one process on one core each, by turns. Compared
is the CPU time of a message, which what else runs here does not change; the rate stands beside it.

Then a version for 10,000 dashboards in parallel chunks: as many workers as the fan-out has, each
the built function in a process of its own. Compared is when the last dashboard that is there has
it, with all there and with some dead (410) and some that never answer, by turns; under the default
cap, and without one.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from random import Random
from typing import Any

from headcount.fanning import ChunkQueue

from tests.bench.artefact import built, environment, layers
from tests.bench.poster import MESSAGE
from tests.support.fakes import FakeQueue
from tests.support.template import ROOT, template

ROUNDS = 5
TARGET = 3.5
DASHBOARDS = 10_000
DEAD, SILENT = 0.05, 0.01
UNCAPPED = 10_000_000
MOST_HELD_UP = 1.5
"""How much later the dashboards that are there may have a version because others are not."""
_HERE = Path(__file__).parent


def certificate(folder: Path) -> tuple[Path, Path]:
    """A certificate for localhost that lives a day, and its key."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.x509.oid import NameOID

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    files = folder / "certificate.pem", folder / "key.pem"
    files[0].write_bytes(made.public_bytes(serialization.Encoding.PEM))
    files[1].write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    return files


@dataclass
class Poster:
    """A posting process."""

    child: subprocess.Popen[str]

    def post(self, count: int, *, gone: int = 0, slow: int = 0) -> tuple[float, float]:
        """Seconds, and CPU seconds, until everybody was tried."""
        assert self.child.stdin is not None
        assert self.child.stdout is not None
        self.child.stdin.write(f"{count} {gone} {slow}\n")
        self.child.stdin.flush()
        seconds, cpu = self.child.stdout.readline().split()
        return float(seconds), float(cpu)


@contextmanager
def running(command: list[str], environ: dict[str, str]) -> Iterator[subprocess.Popen[str]]:
    """A process of the bench, ended with it."""
    child = subprocess.Popen(
        [sys.executable, *command],
        env=environ,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        yield child
    finally:
        child.terminate()
        child.communicate()


@dataclass
class Heard:
    """What became of a version. Times are seconds from its first post on."""

    taken: int
    last_at: float  # when the last dashboard that is there had it
    busiest: int  # posts in the busiest second
    free_at: float  # when all workers were free for the next
    aside: int  # dashboards set aside, to be closed


class Stage:
    """A gateway, and the processes that post to it."""

    def __init__(self, stack: ExitStack) -> None:
        self._stack = stack
        artefact = built()
        scratch = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="headcount-")))
        public, private = certificate(scratch)
        self._gateway = stack.enter_context(
            running([str(_HERE / "stub_gateway.py"), str(public), str(private)], dict(os.environ))
        )
        assert self._gateway.stdout is not None
        self._url = self._gateway.stdout.readline().strip()
        self._environ = environment(
            "fanout",
            [*layers(artefact), ROOT / "functions" / "fanout"],
            SSL_CERT_FILE=str(public),
            AWS_CA_BUNDLE=str(public),
        )
        del self._environ["AWS_ENDPOINT_URL"]

    def process(self, which: str, cores: str = "", **environ: str) -> subprocess.Popen[str]:
        """A process of ``poster.py``."""
        command = [str(_HERE / "poster.py"), which, self._url, cores]
        return self._stack.enter_context(running(command, self._environ | environ))

    def told(self) -> tuple[int, float, int]:
        """What came to the gateway since it was asked last."""
        taken, seconds, busiest = _ask(self._gateway, "").split()
        return int(taken), float(seconds), int(busiest)


def _ask(child: subprocess.Popen[str], line: str) -> str:
    assert child.stdin is not None
    assert child.stdout is not None
    child.stdin.write(line + "\n")
    child.stdin.flush()
    return child.stdout.readline()


def faster(stage: Stage, rounds: int, messages: int) -> tuple[float, float]:
    """How many times boto3's messages ours are, in a second of a core and in one by the clock."""
    # One core posts; the other answers and draws no time from it.
    cores = "0" if (os.cpu_count() or 1) > 1 else ""
    uncapped = {"POSTS_PER_SECOND": str(UNCAPPED)}
    ours_at = Poster(stage.process("ours", cores, **uncapped))
    plain_at = Poster(stage.process("boto3", cores, PYTHONPATH=""))
    for poster in (ours_at, plain_at):
        poster.post(messages)  # connections are open from now on
    by_core, by_clock = [], []
    for _ in range(rounds):
        ours, ours_cpu = ours_at.post(4 * messages)
        plain, plain_cpu = plain_at.post(messages)
        by_core.append(4 * plain_cpu / ours_cpu)
        by_clock.append(4 * plain / ours)
        print(
            f"ours {4 * messages / ours:6.0f}/s, {ours_cpu / 4 / messages * 1e6:5.0f} µs CPU"
            f"   boto3 {messages / plain:6.0f}/s, {plain_cpu / messages * 1e6:5.0f} µs CPU"
        )
    return statistics.median(by_core), statistics.median(by_clock)


def _source() -> Any:
    (source,) = template().events("fanout", "SQS")
    return source


def publish(
    stage: Stage, workers: list[subprocess.Popen[str]], audience: list[str], version: int
) -> Heard:
    """Have an audience hear a version, in chunks as ``publish`` makes them."""
    queue = FakeQueue(lambda: time.time_ns() // 1_000_000)
    client: Any = queue
    ChunkQueue(client, "").send("site:main", version, MESSAGE, audience)
    size = _source()["BatchSize"]
    batches = iter([queue.messages[at : at + size] for at in range(0, len(queue.messages), size)])

    def work(worker: subprocess.Popen[str]) -> int:
        return sum(int(_ask(worker, json.dumps({"Records": batch}))) for batch in batches)

    stage.told()
    began = time.perf_counter()
    with ThreadPoolExecutor(len(workers)) as pool:
        aside = sum(pool.map(work, workers))
    free_at = time.perf_counter() - began
    taken, last_at, busiest = stage.told()
    return Heard(taken, last_at, busiest, free_at, aside)


def held_up(stage: Stage, rounds: int, dashboards: int, cap: int) -> tuple[float, int]:
    """How much later those that are there hear because others are not, and the posts of the
    busiest second."""
    count = _source()["ScalingConfig"]["MaximumConcurrency"]
    workers = [stage.process("worker", POSTS_PER_SECOND=str(cap)) for _ in range(count)]
    dead, silent = round(DEAD * dashboards), round(SILENT * dashboards)
    there = [f"conn-{number}=" for number in range(dashboards)]
    some = there[dead + silent :]
    some += [f"gone-{number}=" for number in range(dead)]
    some += [f"slow-{number}=" for number in range(silent)]
    for audience in (there, some):
        Random(7).shuffle(audience)  # noqa: S311 - any order will do
    publish(stage, workers, there[:2_000], 0)  # connections are open from now on
    ratios, busiest = [], 0
    for version in range(1, rounds + 1):
        whole = publish(stage, workers, there, version)
        part = publish(stage, workers, some, version)
        assert (whole.taken, part.taken) == (dashboards, dashboards - dead - silent)
        ratios.append(part.last_at / whole.last_at)
        busiest = max(busiest, whole.busiest, part.busiest)
        print(
            f"all there: the last after {whole.last_at:5.2f} s, at most {whole.busiest:5}/s"
            f"   some not: {part.last_at:5.2f} s, {part.busiest:5}/s; {part.aside} set aside,"
            f" workers free after {part.free_at:5.2f} s"
        )
    for worker in workers:
        worker.terminate()
    return statistics.median(ratios), busiest


def main() -> int:
    """Print the rates, the times and their ratios; 1 when one misses its target."""
    parser = argparse.ArgumentParser(prog="make bench-fanout", description=__doc__)
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--messages", type=int, default=1_000)
    parser.add_argument("--dashboards", type=int, default=DASHBOARDS)
    asked = parser.parse_args()
    cap = int(template().parameters["PostsPerSecond"]["Default"])
    with ExitStack() as stack:
        stage = Stage(stack)
        ratio, by_clock = faster(stage, asked.rounds, asked.messages)
        print(
            f"messages per second of a core: {ratio:.1f} times boto3's (at least {TARGET});"
            f" by the clock, beside all else that runs here: {by_clock:.1f} times\n"
        )
        missed = ratio < TARGET
        for name, limit, rounds in (
            ("without a cap", UNCAPPED, min(asked.rounds, 3)),
            (f"PostsPerSecond {cap}, half of it the fan-out's", cap, 1),
        ):
            print(f"{asked.dashboards} dashboards, {DEAD:.0%} dead, {SILENT:.0%} silent, {name}")
            later, busiest = held_up(stage, rounds, asked.dashboards, limit)
            print(f"later for who is there: {later:.2f} times (at most {MOST_HELD_UP})\n")
            missed = missed or later > MOST_HELD_UP or busiest > limit
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
