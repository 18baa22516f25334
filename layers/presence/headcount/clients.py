"""The one place that builds AWS clients and wires the use cases: lazily, once per process."""

from __future__ import annotations

import os
import time
import uuid
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from typing import TYPE_CHECKING

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from headcount.aggregating import Aggregator
from headcount.badges import Badges
from headcount.counting import Counter
from headcount.errands import AlertTopic, ErrandQueue, Overviews, Runner
from headcount.errors import BusyError
from headcount.fanning import ChunkQueue
from headcount.feeds import Forms
from headcount.launching import Announcer, Launcher
from headcount.logs import logger
from headcount.moderating import Moderator
from headcount.presence import Desk
from headcount.publishing import Publisher
from headcount.reading import Reader
from headcount.settings import Settings
from headcount.sockets import Courier, Line
from headcount.store.containers import ContainersTable
from headcount.store.counts import CountsTable
from headcount.store.headcounts import HeadcountsTable
from headcount.store.history import HistoryTable
from headcount.store.presence import PresenceTable
from headcount.store.streams import StreamsTable
from headcount.store.subscriptions import SubscriptionsTable
from headcount.store.visits import VisitsTable
from headcount.subscribing import Greeter, Switchboard
from headcount.sweeping import Sweeper
from headcount.tokens import Verifier

if TYPE_CHECKING:
    from mypy_boto3_apigatewaymanagementapi import ApiGatewayManagementApiClient
    from mypy_boto3_dynamodb import DynamoDBClient
    from mypy_boto3_ecs import ECSClient
    from mypy_boto3_secretsmanager import SecretsManagerClient
    from mypy_boto3_sns import SNSClient
    from mypy_boto3_sqs import SQSClient

_POSTS_AT_ONCE = 32

_CONFIG = Config(
    connect_timeout=2,
    read_timeout=5,
    retries={"mode": "standard", "total_max_attempts": 4},
    max_pool_connections=_POSTS_AT_ONCE,
)
# Starting a task can take seconds. A retry carries the same client token: no second one starts.
_ECS_CONFIG = Config(
    connect_timeout=2,
    read_timeout=10,
    retries={"mode": "standard", "total_max_attempts": 2},
)
# The courier has retries of its own; a slow peer must not take the others' time.
_POST_CONFIG = Config(
    connect_timeout=1,
    read_timeout=3,
    retries={"mode": "standard", "total_max_attempts": 1},
    max_pool_connections=_POSTS_AT_ONCE,
)


def system_clock() -> int:
    """Epoch milliseconds by the server's clock."""
    return time.time_ns() // 1_000_000


def random_id() -> str:
    """A unique word."""
    return uuid.uuid4().hex


class Services:
    """Everything a handler may need, built when first asked for."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.clock = system_clock
        self.sleep = time.sleep
        self.new_id = random_id

    @cached_property
    def dynamodb(self) -> DynamoDBClient:
        """The DynamoDB client."""
        return boto3.client("dynamodb", config=_CONFIG)

    @cached_property
    def sqs(self) -> SQSClient:
        """The SQS client."""
        return boto3.client("sqs", config=_CONFIG)

    @cached_property
    def sns(self) -> SNSClient:
        """The SNS client."""
        return boto3.client("sns", config=_CONFIG)

    @cached_property
    def secrets(self) -> SecretsManagerClient:
        """The Secrets Manager client."""
        return boto3.client("secretsmanager", config=_CONFIG)

    @cached_property
    def ecs(self) -> ECSClient:
        """The ECS client."""
        return boto3.client("ecs", config=_ECS_CONFIG)

    @cached_property
    def management(self) -> ApiGatewayManagementApiClient:
        """The management API of our WebSocket API."""
        return boto3.client(
            "apigatewaymanagementapi",
            endpoint_url=self.settings.socket_endpoint,
            config=_POST_CONFIG,
        )

    @cached_property
    def presence(self) -> PresenceTable:
        """The Presence table."""
        return PresenceTable(self.dynamodb, self.settings.table("presence"))

    @cached_property
    def counts(self) -> CountsTable:
        """The Counts table."""
        return CountsTable(self.dynamodb, self.settings.table("counts"))

    @cached_property
    def headcounts(self) -> HeadcountsTable:
        """The Headcounts table."""
        return HeadcountsTable(self.dynamodb, self.settings.table("headcounts"))

    @cached_property
    def visits(self) -> VisitsTable:
        """The Visits table."""
        return VisitsTable(
            self.dynamodb, self.settings.table("visits"), self.settings.table("counts")
        )

    @cached_property
    def history(self) -> HistoryTable:
        """The History table."""
        return HistoryTable(
            self.dynamodb,
            self.settings.table("history"),
            timeline_days=self.settings.timeline_days,
            day_rows_days=self.settings.day_rows_days,
        )

    @cached_property
    def subscriptions(self) -> SubscriptionsTable:
        """The Subscriptions table."""
        return SubscriptionsTable(self.dynamodb, self.settings.table("subscriptions"))

    @cached_property
    def containers(self) -> ContainersTable:
        """The containers in the Streams table."""
        return ContainersTable(self.dynamodb, self.settings.table("streams"))

    @cached_property
    def streams(self) -> StreamsTable:
        """The registered streams in the Streams table."""
        return StreamsTable(self.dynamodb, self.settings.table("streams"))

    @cached_property
    def verifier(self) -> Verifier:
        """The token check."""
        return Verifier(self.settings.tokens, self._secret)

    def _secret(self) -> str:
        try:
            found = self.secrets.get_secret_value(SecretId=self.settings.token_secret)
        except (ClientError, BotoCoreError) as error:
            logger().exception("the token secret can't be read")
            raise BusyError("Tokens can't be checked now. Try again in a few seconds.") from error
        return found["SecretString"]

    @cached_property
    def desk(self) -> Desk:
        """Records beats and leaves."""
        return Desk(self.presence, self.settings.shards)

    @cached_property
    def badges(self) -> Badges:
        """The counts that beats' answers carry."""
        return Badges(self.headcounts)

    @cached_property
    def moderator(self) -> Moderator:
        """Does what admins do to a space."""
        return Moderator(
            counts=self.counts,
            headcounts=self.headcounts,
            history=self.history,
            desk=self.desk,
            clock=self.clock,
            new_id=self.new_id,
        )

    @cached_property
    def aggregator(self) -> Aggregator:
        """Makes days."""
        return Aggregator(
            presence=self.presence,
            counts=self.counts,
            headcounts=self.headcounts,
            visits=self.visits,
            history=self.history,
            clock=self.clock,
        )

    @cached_property
    def reader(self) -> Reader:
        """Answers reads."""
        return Reader(
            presence=self.presence,
            counts=self.counts,
            headcounts=self.headcounts,
            visits=self.visits,
            history=self.history,
            aggregator=self.aggregator,
            kinds=self.settings.kinds,
            shards=self.settings.shards,
            clock=self.clock,
        )

    @cached_property
    def counter(self) -> Counter:
        """Recounts."""
        return Counter(
            presence=self.presence,
            counts=self.counts,
            visits=self.visits,
            clock=self.clock,
            sleep=self.sleep,
        )

    @cached_property
    def line(self) -> Line:
        """Posts to a connection."""
        return Line(self.management)

    @cached_property
    def courier(self) -> Courier:
        """Posts to many connections."""
        return Courier(
            line=self.line,
            subscriptions=self.subscriptions,
            pool=ThreadPoolExecutor(_POSTS_AT_ONCE, thread_name_prefix="post"),
            clock=self.clock,
            sleep=self.sleep,
        )

    @cached_property
    def publisher(self) -> Publisher:
        """Publishes versions."""
        return Publisher(
            counts=self.counts,
            headcounts=self.headcounts,
            subscriptions=self.subscriptions,
            courier=self.courier,
            chunks=ChunkQueue(self.sqs, self.settings.fanout_queue),
            forms=self.forms,
            overviews=Overviews(self.subscriptions, self.forms, self.errand_queue),
            bell=self.errand_queue,
            inline_limit=self.settings.inline_fanout,
            clock=self.clock,
            sleep=self.sleep,
        )

    @cached_property
    def sweeper(self) -> Sweeper:
        """Sweeps."""
        return Sweeper(
            presence=self.presence,
            counts=self.counts,
            headcounts=self.headcounts,
            history=self.history,
            visits=self.visits,
            counter=self.counter,
            kinds=self.settings.kinds,
            clock=self.clock,
            new_id=self.new_id,
        )

    @cached_property
    def launcher(self) -> Launcher:
        """Launches, stops and looks up containers."""
        return Launcher(
            ecs=self.ecs,
            fleet=self.settings.fleet,
            containers=self.containers,
            clock=self.clock,
        )

    @cached_property
    def announcer(self) -> Announcer:
        """Tells sockets of containers' changes."""
        return Announcer(
            containers=self.containers,
            subscriptions=self.subscriptions,
            courier=self.courier,
            clock=self.clock,
        )

    @cached_property
    def switchboard(self) -> Switchboard:
        """Serves sockets."""
        return Switchboard(
            subscriptions=self.subscriptions,
            headcounts=self.headcounts,
            line=self.line,
            kinds=self.settings.kinds,
            forms=self.forms,
            greeter=self.greeter,
            greetings=self.errand_queue,
            clock=self.clock,
        )

    @cached_property
    def forms(self) -> Forms:
        """The forms that feeds come in."""
        from headcount.systems.stream_analytics.feeds import StreamForms

        return StreamForms(
            kinds=self.settings.kinds,
            headcounts=self.headcounts,
            streams=lambda: self.streams,
            containers=lambda: self.containers,
            clock=self.clock,
        )

    @cached_property
    def greeter(self) -> Greeter:
        """Says first headcounts."""
        return Greeter(self.subscriptions, self.headcounts, self.forms, self.clock)

    @cached_property
    def errand_queue(self) -> ErrandQueue:
        """Where errands are left."""
        return ErrandQueue(self.sqs, self.settings.errand_queue)

    @cached_property
    def runner(self) -> Runner:
        """Runs errands."""
        topic = AlertTopic(lambda: self.sns, self.settings.alert_topic)
        return Runner(self.forms, self.subscriptions, self.courier, self.greeter, topic)


_services: list[Services] = []


def services() -> Services:
    """This process's services."""
    if not _services:
        _services.append(Services(Settings(os.environ)))
    return _services[0]


def replace_services(replacement: Services | None) -> None:
    """Use other services from now on (None: build them anew): for tests and simulations."""
    _services[:] = [replacement] if replacement else []
