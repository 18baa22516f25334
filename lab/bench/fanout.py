"""Posts to dashboards, over TLS to a management API on this machine that answers after 10 ms
(`make bench-fanout`).

First, posts per second of one core, compared with boto3 in threads: one process on one core each,
by turns. The CPU time per message decides, because other load on the machine does not change it;
the rate is printed with it.

Then a version for 10,000 dashboards in parallel chunks, with as many workers as the fan-out has;
each is the built function in its own process. Measured is when the last live dashboard has it, with
all of them live, and with some dead (410) and some that never answer, by turns; without a cap, and
with the default one.
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
from datetime import UTC, datetime
from pathlib import Path
from random import Random
from typing import Any

from headcount.usecases.queues import ChunkQueue

from lab.bench.artefact import built, environment, layers
from lab.bench.poster import MESSAGE
from lab.harness.fakes import FakeQueue
from lab.harness.template import ROOT, template

ROUNDS = 5
TARGET = 3.5
DASHBOARDS = 10_000
DEAD, SILENT = 0.05, 0.01
UNCAPPED = 10_000_000
MAX_DELAY = 1.5
"""How many times later live dashboards may get a version because others are dead or silent."""
_HERE = Path(__file__).parent


def certificate(folder: Path) -> tuple[Path, Path]:
    """A certificate for localhost that is valid on any day that tests know, and its key."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.x509.oid import NameOID

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(datetime(2000, 1, 1, tzinfo=UTC))  # OpenSSL has a clock of its own
        .not_valid_after(datetime(2100, 1, 1, tzinfo=UTC))
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
    """A process that posts."""

    child: subprocess.Popen[str]

    def post(self, count: int, *, gone: int = 0, slow: int = 0) -> tuple[float, float]:
        """Seconds, and CPU seconds, until every connection was tried."""
        assert self.child.stdin is not None
        assert self.child.stdout is not None
        self.child.stdin.write(f"{count} {gone} {slow}\n")
        self.child.stdin.flush()
        seconds, cpu = self.child.stdout.readline().split()
        return float(seconds), float(cpu)


@contextmanager
def running(command: list[str], environ: dict[str, str]) -> Iterator[subprocess.Popen[str]]:
    """A process of the bench, which ends with the block."""
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
class Delivery:
    """How a version was delivered. Times are seconds since its first post."""

    accepted: int
    last_at: float  # when the last live dashboard had it
    busiest: int  # posts in the busiest second
    free_at: float  # when all workers were free for the next version
    set_aside: int  # dashboards to be closed


class Setup:
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
        """Start a process of ``poster.py``."""
        command = [str(_HERE / "poster.py"), which, self._url, cores]
        return self._stack.enter_context(running(command, self._environ | environ))

    def posts(self) -> tuple[int, float, int]:
        """Posts that the gateway accepted since the last call, the seconds that they took, and the
        posts of the busiest second."""
        accepted, seconds, busiest = _ask(self._gateway, "").split()
        return int(accepted), float(seconds), int(busiest)


def _ask(child: subprocess.Popen[str], line: str) -> str:
    assert child.stdin is not None
    assert child.stdout is not None
    child.stdin.write(line + "\n")
    child.stdin.flush()
    return child.stdout.readline()


def speedup(setup: Setup, rounds: int, messages: int) -> tuple[float, float]:
    """How many times as many messages as boto3 we post per CPU second, and per second."""
    # One core posts; the gateway runs on the other.
    cores = "0" if (os.cpu_count() or 1) > 1 else ""
    uncapped = {"POSTS_PER_SECOND": str(UNCAPPED)}
    our_poster = Poster(setup.process("ours", cores, **uncapped))
    boto3_poster = Poster(setup.process("boto3", cores, PYTHONPATH=""))
    for poster in (our_poster, boto3_poster):
        poster.post(messages)  # opens the connections
    by_core, by_clock = [], []
    for _ in range(rounds):
        ours, ours_cpu = our_poster.post(4 * messages)
        plain, plain_cpu = boto3_poster.post(messages)
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
    setup: Setup, workers: list[subprocess.Popen[str]], audience: list[str], version: int
) -> Delivery:
    """Deliver a version to an audience, in chunks as ``publish`` makes them."""
    queue = FakeQueue(lambda: time.time_ns() // 1_000_000)
    client: Any = queue
    ChunkQueue(client, "").send("site:main", version, MESSAGE, audience)
    size = _source()["BatchSize"]
    batches = iter([queue.messages[at : at + size] for at in range(0, len(queue.messages), size)])

    def work(worker: subprocess.Popen[str]) -> int:
        return sum(int(_ask(worker, json.dumps({"Records": batch}))) for batch in batches)

    setup.posts()
    began = time.perf_counter()
    with ThreadPoolExecutor(len(workers)) as pool:
        set_aside = sum(pool.map(work, workers))
    free_at = time.perf_counter() - began
    accepted, last_at, busiest = setup.posts()
    return Delivery(accepted, last_at, busiest, free_at, set_aside)


def delay(setup: Setup, rounds: int, dashboards: int, cap: int) -> tuple[float, int]:
    """How many times later live dashboards get a version because others are dead or silent, and the
    posts of the busiest second."""
    count = _source()["ScalingConfig"]["MaximumConcurrency"]
    workers = [setup.process("worker", POSTS_PER_SECOND=str(cap)) for _ in range(count)]
    dead, silent = round(DEAD * dashboards), round(SILENT * dashboards)
    all_live = [f"conn-{number}=" for number in range(dashboards)]
    mixed = all_live[dead + silent :]
    mixed += [f"gone-{number}=" for number in range(dead)]
    mixed += [f"slow-{number}=" for number in range(silent)]
    for audience in (all_live, mixed):
        Random(7).shuffle(audience)  # noqa: S311 - any order will do
    publish(setup, workers, all_live[:2_000], 0)  # opens the connections
    ratios, busiest = [], 0
    for version in range(1, rounds + 1):
        whole = publish(setup, workers, all_live, version)
        part = publish(setup, workers, mixed, version)
        assert (whole.accepted, part.accepted) == (dashboards, dashboards - dead - silent)
        ratios.append(part.last_at / whole.last_at)
        busiest = max(busiest, whole.busiest, part.busiest)
        print(
            f"all live: the last after {whole.last_at:5.2f} s, at most {whole.busiest:5}/s"
            f"   some dead: {part.last_at:5.2f} s, {part.busiest:5}/s; {part.set_aside} set aside,"
            f" workers free after {part.free_at:5.2f} s"
        )
    for worker in workers:
        worker.terminate()
    return statistics.median(ratios), busiest


def main() -> int:
    """Print rates, times and ratios; 1 if one misses its target, unless too little ran to tell."""
    parser = argparse.ArgumentParser(prog="make bench-fanout", description=__doc__)
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--messages", type=int, default=1_000)
    parser.add_argument("--dashboards", type=int, default=DASHBOARDS)
    args = parser.parse_args()
    cap = int(template().parameters["PostsPerSecond"]["Default"])
    with ExitStack() as stack:
        setup = Setup(stack)
        ratio, by_clock = speedup(setup, args.rounds, args.messages)
        print(
            f"messages per CPU second: {ratio:.1f} times boto3's (at least {TARGET});"
            f" per second, with this machine's other load: {by_clock:.1f} times\n"
        )
        missed = ratio < TARGET and args.rounds >= ROUNDS
        for name, limit, rounds in (
            ("without a cap", UNCAPPED, min(args.rounds, 3)),
            (f"PostsPerSecond {cap}, half of it the fan-out's", cap, 1),
        ):
            print(f"{args.dashboards} dashboards, {DEAD:.0%} dead, {SILENT:.0%} silent, {name}")
            later, busiest = delay(setup, rounds, args.dashboards, limit)
            print(f"live dashboards: {later:.2f} times as late (at most {MAX_DELAY})\n")
            is_judged = args.dashboards >= DASHBOARDS  # with fewer, noise is larger than the delay
            missed = missed or busiest > limit or (is_judged and later > MAX_DELAY)
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
