"""A process that posts, as it is told: ``ours`` by the courier of the functions, ``boto3`` by
boto3's client in threads. Reads ``count gone slow`` lines, prints ``seconds cpu`` for each.

``worker`` is the function of the fan-out: it reads its events, and prints how many connections it
set aside.
"""

from __future__ import annotations

import io
import json
import os
import random
import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import redirect_stdout
from typing import Any

MESSAGE = '{"type":"headcount","data":"' + "x" * 1_500 + '"}'
BOTO3_THREADS = 64


class Nobody:
    """Subscriptions of connections that nobody will miss."""

    def connected_at(self, connection: str) -> int | None:  # noqa: ARG002 - nobody
        """Long ago, or never."""
        return None

    def disconnect(self, connection: str) -> None:
        """Forgotten."""

    def aside(self, space: str) -> set[str]:  # noqa: ARG002 - nobody
        """None yet."""
        return set()

    def set_aside(self, space: str, connection: str, *, now: int) -> None:
        """Remembered."""

    def note_told(self, space: str, version: int, *, now: int) -> None:
        """Noted."""


class Closings:
    """Where connections are left that must be closed."""

    def __init__(self) -> None:
        self.left = 0

    def close(self, connections: Sequence[str]) -> None:
        """So many more."""
        self.left += len(connections)


def by_boto3(url: str) -> Callable[[Sequence[str]], None]:
    """What one would write first."""
    import boto3
    from botocore.config import Config
    from botocore.exceptions import BotoCoreError, ClientError

    settings = Config(
        max_pool_connections=BOTO3_THREADS,
        connect_timeout=1,
        read_timeout=3,
        retries={"total_max_attempts": 1},
    )
    client = boto3.client("apigatewaymanagementapi", endpoint_url=url, config=settings)
    pool = ThreadPoolExecutor(BOTO3_THREADS)

    def post(connection: str) -> None:
        try:
            client.post_to_connection(ConnectionId=connection, Data=MESSAGE.encode())
        except (ClientError, BotoCoreError):
            return

    return lambda connections: [*pool.map(post, connections)].clear()


def services_of(url: str) -> Any:
    """What the function of the fan-out has, as it is wired there, but for the table."""
    from headcount.clients import Services
    from headcount.settings import Settings

    services = Services(Settings({**os.environ, "SOCKET_ENDPOINT": url}))
    services.__dict__["subscriptions"] = Nobody()
    return services


def by_ours(url: str) -> Callable[[Sequence[str]], None]:
    """The functions' own courier."""
    services = services_of(url)
    return lambda connections: services.courier.hand_out(MESSAGE, connections)


def work(url: str) -> None:
    """Handle events, one after the other."""
    import app
    from headcount.clients import replace_services

    services, closings = services_of(url), Closings()
    services.__dict__["closing_queue"] = closings
    replace_services(services)
    for line in sys.stdin:
        closings.left = 0
        with redirect_stdout(io.StringIO()):  # what it says for the log
            answer = app.handler(json.loads(line), None)
        assert answer == {"batchItemFailures": []}, answer
        print(closings.left, flush=True)


def main(which: str, url: str, cores: str) -> None:
    """Post whatever the lines say."""
    if which == "worker":
        work(url)
        return
    if cores and hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {int(core) for core in cores.split(",")})
    deliver = {"ours": by_ours, "boto3": by_boto3}[which](url)
    deliver([f"warm-{number}=" for number in range(200)])
    for line in sys.stdin:
        count, gone, slow = map(int, line.split())
        names = ["gone"] * gone + ["slow"] * slow + ["conn"] * (count - gone - slow)
        connections = [f"{name}-{number}=" for number, name in enumerate(names)]
        random.Random(7).shuffle(connections)  # noqa: S311 - any order will do
        began, cpu = time.perf_counter(), time.process_time()
        deliver(connections)
        print(time.perf_counter() - began, time.process_time() - cpu, flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
