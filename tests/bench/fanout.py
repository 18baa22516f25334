"""Posts to dashboards per second and core, beside boto3 in threads (`make bench-fanout`).

Both post the same message over TLS to a management API on this machine that answers after 10 ms,
from one process on one core, by turns. Compared is the rate; CPU per message stands beside it.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from tests.bench.artefact import built, environment, layers

ROUNDS = 5
TARGET = 3.5
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


def measure(rounds: int, messages: int) -> tuple[list[tuple[float, float]], list[float]]:
    """Rates of both, round by round; then seconds of ours with all there, and with some not."""
    artefact = built()
    with ExitStack() as stack:
        scratch = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="headcount-")))
        public, private = certificate(scratch)
        # One core posts; the other answers and draws no time from it.
        cores = "0" if (os.cpu_count() or 1) > 1 else ""
        gateway = stack.enter_context(
            running([str(_HERE / "stub_gateway.py"), str(public), str(private)], dict(os.environ))
        )
        assert gateway.stdout is not None
        url = gateway.stdout.readline().strip()
        environ = environment(
            "fanout",
            layers(artefact),
            SSL_CERT_FILE=str(public),
            AWS_CA_BUNDLE=str(public),
        )
        del environ["AWS_ENDPOINT_URL"]
        posters = {
            which: Poster(
                stack.enter_context(
                    running([str(_HERE / "poster.py"), which, url, cores], environ | path)
                )
            )
            for which, path in (("ours", {}), ("boto3", {"PYTHONPATH": ""}))
        }
        rates = []
        for _ in range(rounds):
            ours, ours_cpu = posters["ours"].post(4 * messages)
            plain, plain_cpu = posters["boto3"].post(messages)
            rates.append((4 * messages / ours, messages / plain))
            print(
                f"ours {4 * messages / ours:6.0f}/s, {ours_cpu / 4 / messages * 1e6:5.0f} µs CPU"
                f"   boto3 {messages / plain:6.0f}/s, {plain_cpu / messages * 1e6:5.0f} µs CPU"
            )
        whole, _ = posters["ours"].post(4 * messages)
        dead, _ = posters["ours"].post(4 * messages, gone=messages // 10)
        return rates, [whole, dead]


def main() -> int:
    """Print the rates and their ratio; 1 when it is under the target."""
    parser = argparse.ArgumentParser(prog="make bench-fanout", description=__doc__)
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--messages", type=int, default=1_000)
    asked = parser.parse_args()
    rates, (whole, dead) = measure(asked.rounds, asked.messages)
    ratio = statistics.median(ours / plain for ours, plain in rates)
    print(f"\nmessages per second and core: {ratio:.1f} times boto3's (at least {TARGET})")
    print(f"one in forty gone: {dead / whole:.2f} times as long")
    return 0 if ratio >= TARGET else 1


if __name__ == "__main__":
    sys.exit(main())
