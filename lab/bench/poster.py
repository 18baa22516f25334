"""A process that posts to connections: ``ours`` with the functions' broadcaster, ``boto3`` with
boto3's client in threads. It reads lines of ``count gone slow``, and prints ``seconds cpu`` for
each.

``worker`` runs the fan-out function: it reads events, and prints how many connections each set
aside.
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


class NoSubscriptions:
    """Stands in for the subscriptions' table, and stores nothing."""

    def connected_at(self, connection: str) -> int | None:  # noqa: ARG002 - nothing is stored
        """None: no connection is recent."""
        return None

    def disconnect(self, connection: str) -> None:
        """Do nothing."""

    def aside(self, space: str) -> set[str]:  # noqa: ARG002 - nothing is stored
        """No connection is set aside."""
        return set()

    def set_aside(self, space: str, connection: str, *, now: int) -> None:
        """Do nothing."""

    def mark_delivered(self, space: str, version: int, *, now: int) -> None:
        """Do nothing."""


class CountedClosings:
    """Stands in for the queue of connections to close, and counts them."""

    def __init__(self) -> None:
        self.count = 0

    def send(self, connections: Sequence[str]) -> None:
        """Count connections."""
        self.count += len(connections)


def by_boto3(url: str) -> Callable[[Sequence[str]], None]:
    """Post with boto3 in a thread pool."""
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
    """The services of the fan-out function, wired as there, but without the table."""
    from headcount.settings import Settings
    from headcount.wiring import Services

    services = Services(Settings({**os.environ, "SOCKET_ENDPOINT": url}))
    services.__dict__["subscriptions"] = NoSubscriptions()
    return services


def by_ours(url: str) -> Callable[[Sequence[str]], None]:
    """Post with the functions' broadcaster."""
    services = services_of(url)
    return lambda connections: services.broadcaster.post_all(MESSAGE, connections)


def work(url: str) -> None:
    """Handle one event after the other."""
    import app
    from headcount.wiring import replace_services

    services, closings = services_of(url), CountedClosings()
    services.__dict__["closing_queue"] = closings
    replace_services(services)
    for line in sys.stdin:
        closings.count = 0
        with redirect_stdout(io.StringIO()):  # its log
            answer = app.handler(json.loads(line), None)
        assert answer == {"batchItemFailures": []}, answer
        print(closings.count, flush=True)


def main(which: str, url: str, cores: str) -> None:
    """Post as the lines of standard input say."""
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
