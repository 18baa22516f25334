"""A process that posts, as it is told: ``ours`` by the courier of the functions, ``boto3`` by
boto3's client in threads. Reads ``count gone slow`` lines, prints ``seconds cpu`` for each.
"""

from __future__ import annotations

import os
import random
import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

MESSAGE = '{"type":"headcount","data":"' + "x" * 1_500 + '"}'
BOTO3_THREADS = 64


class Nobody:
    """Subscriptions of connections that nobody will miss."""

    def connected_at(self, connection: str) -> int | None:  # noqa: ARG002 - nobody
        """Long ago, or never."""
        return None

    def disconnect(self, connection: str) -> None:
        """Forgotten."""


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


def by_ours(url: str) -> Callable[[Sequence[str]], None]:
    """The functions' own courier, as they wire it."""
    from headcount.clients import Services
    from headcount.settings import Settings

    services = Services(Settings({**os.environ, "SOCKET_ENDPOINT": url}))
    services.__dict__["subscriptions"] = Nobody()
    return lambda connections: services.courier.deliver(MESSAGE, connections)


def main(which: str, url: str, cores: str) -> None:
    """Post whatever the lines say."""
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
