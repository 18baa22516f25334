"""The one place that builds AWS clients and wires the use cases: lazily, once per process."""

from __future__ import annotations

import os
import random
import time
import uuid
from functools import cached_property
from typing import TYPE_CHECKING, Any, cast

from headcount.errors import BusyError
from headcount.logs import logger
from headcount.metrics import Meter
from headcount.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from concurrent.futures import Executor

    from botocore.config import Config
    from mypy_boto3_apigatewaymanagementapi import ApiGatewayManagementApiClient
    from mypy_boto3_dynamodb import DynamoDBClient
    from mypy_boto3_ecs import ECSClient
    from mypy_boto3_events import EventBridgeClient
    from mypy_boto3_secretsmanager import SecretsManagerClient
    from mypy_boto3_sns import SNSClient
    from mypy_boto3_sqs import SQSClient

    from headcount.aggregating import Aggregator
    from headcount.auditing import Auditor
    from headcount.aws.signing import Signer
    from headcount.badges import Badges
    from headcount.counting import Counter, Recounter
    from headcount.emitting import Emitter
    from headcount.erasing import Eraser, ErasureQueue, Erasures
    from headcount.errands import ErrandQueue, Runner
    from headcount.explaining import Explainer
    from headcount.fanning import ClosingQueue, Deliveries
    from headcount.feeds import Forms
    from headcount.launching import Announcer, Launcher
    from headcount.moderating import Moderator
    from headcount.pieces import PieceQueue, PieceRunner
    from headcount.presence import Desk
    from headcount.publishing import Publisher
    from headcount.reading import Reader
    from headcount.sockets import Courier, Line
    from headcount.store.containers import ContainersTable
    from headcount.store.counts import CountsTable
    from headcount.store.headcounts import HeadcountsTable
    from headcount.store.history import HistoryTable
    from headcount.store.numbers import NumbersTable
    from headcount.store.presence import PresenceTable
    from headcount.store.streams import StreamsTable
    from headcount.store.subscriptions import SubscriptionsTable
    from headcount.store.visits import VisitsTable
    from headcount.subscribing import Greeter, Switchboard
    from headcount.sweeping import Sweeper
    from headcount.tokens import Verifier
    from headcount.webhooks import Messenger


ROWS_AT_ONCE = 4
"""Rows that are written at once: all may be of one partition, which takes 1,000 writes a second."""

_POSTS_AT_ONCE = 128
"""Among so many, a few that do not answer hold up nobody."""
_ANSWER_WITHIN = 1
"""Seconds for a post. API Gateway takes milliseconds."""
_CONNECT_TIMEOUT = 2
READ_TIMEOUT = 2
"""Seconds. All tries that hear nothing must end before a function that answers runs out of time."""
SDK_TRIES = 3


def _config(*, read_timeout: int = READ_TIMEOUT, tries: int = SDK_TRIES) -> Config:
    from botocore.config import Config

    return Config(
        connect_timeout=_CONNECT_TIMEOUT,
        read_timeout=read_timeout,
        retries={"mode": "standard", "total_max_attempts": tries},
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
        self.chance = random.random
        self.meter = Meter()

    @cached_property
    def dynamodb(self) -> DynamoDBClient:
        """The DynamoDB client: our own, for its start and its share of a beat."""
        from headcount.aws.dynamodb import SERVICE, DynamoDB
        from headcount.aws.http import Pool
        from headcount.aws.services import endpoint_of

        client = DynamoDB(
            Pool(endpoint_of(SERVICE, os.environ), _CONNECT_TIMEOUT, READ_TIMEOUT),
            self._signer(SERVICE),
            sleep=self.sleep,
            random=self.chance,
            new_id=self.new_id,
        )
        return cast("DynamoDBClient", client)

    @cached_property
    def sqs(self) -> SQSClient:
        """The SQS client."""
        import boto3

        return boto3.client("sqs", config=_config())

    @cached_property
    def sns(self) -> SNSClient:
        """The SNS client."""
        import boto3

        return boto3.client("sns", config=_config())

    @cached_property
    def secrets(self) -> SecretsManagerClient:
        """The Secrets Manager client."""
        import boto3

        return boto3.client("secretsmanager", config=_config())

    @cached_property
    def eventbridge(self) -> EventBridgeClient:
        """The EventBridge client."""
        import boto3

        return boto3.client("events", config=_config())

    @cached_property
    def ecs(self) -> ECSClient:
        """The ECS client."""
        import boto3

        # Starting a task can take seconds. A retry carries the same client token: no second one
        # starts.
        return boto3.client("ecs", config=_config(read_timeout=10, tries=2))

    @cached_property
    def management(self) -> ApiGatewayManagementApiClient:
        """The management API of our WebSocket API."""
        from headcount.aws.http import Endpoint, Pool
        from headcount.aws.management import SERVICE, Management

        # The courier has retries of its own; a slow peer must not take the others' time.
        endpoint = Endpoint.of(self.settings.socket_endpoint)
        pool = Pool(endpoint, connect_timeout=_CONNECT_TIMEOUT, read_timeout=_ANSWER_WITHIN)
        return cast("ApiGatewayManagementApiClient", Management(pool, self._signer(SERVICE)))

    def _signer(self, service: str) -> Signer:
        from headcount.aws.services import region_of
        from headcount.aws.signing import Credentials, Signer

        credentials = Credentials.of(os.environ)
        if credentials is None:  # not on Lambda: wherever the SDK finds them
            import boto3

            found = boto3.Session().get_credentials()
            if found is None:
                raise RuntimeError("There are no AWS credentials: set AWS_ACCESS_KEY_ID.")
            frozen = found.get_frozen_credentials()
            credentials = Credentials(
                frozen.access_key or "", frozen.secret_key or "", frozen.token or ""
            )
        return Signer(credentials, region_of(os.environ), service, self.clock)

    @cached_property
    def presence(self) -> PresenceTable:
        """The Presence table."""
        from headcount.store.presence import PresenceTable

        return PresenceTable(self.dynamodb, self.settings.table("presence"))

    @cached_property
    def counts(self) -> CountsTable:
        """The Counts table."""
        from headcount.store.counts import CountsTable

        return CountsTable(
            self.dynamodb,
            self.settings.table("counts"),
            day_rows_days=self.settings.day_rows_days,
        )

    @cached_property
    def headcounts(self) -> HeadcountsTable:
        """The Headcounts table."""
        from headcount.store.headcounts import HeadcountsTable

        return HeadcountsTable(
            self.dynamodb,
            self.settings.table("headcounts"),
            day_rows_days=self.settings.day_rows_days,
        )

    @cached_property
    def visits(self) -> VisitsTable:
        """The Visits table."""
        from headcount.store.visits import VisitsTable

        return VisitsTable(
            self.dynamodb,
            self.settings.table("visits"),
            self.settings.table("counts"),
            day_rows_days=self.settings.day_rows_days,
            at_once=self._at_once,
        )

    @cached_property
    def threads(self) -> Executor:
        """Threads for rows that need not wait for each other."""
        from concurrent.futures import ThreadPoolExecutor

        return ThreadPoolExecutor(ROWS_AT_ONCE, thread_name_prefix="row")

    def _at_once(self, act: Callable[[Any], Any], what: Iterable[Any]) -> Iterator[Any]:
        return self.threads.map(act, what)

    @cached_property
    def history(self) -> HistoryTable:
        """The History table."""
        from headcount.store.history import HistoryTable

        return HistoryTable(
            self.dynamodb,
            self.settings.table("history"),
            timeline_days=self.settings.timeline_days,
            day_rows_days=self.settings.day_rows_days,
        )

    @cached_property
    def subscriptions(self) -> SubscriptionsTable:
        """The Subscriptions table."""
        from headcount.store.subscriptions import SubscriptionsTable

        return SubscriptionsTable(self.dynamodb, self.settings.table("subscriptions"))

    @cached_property
    def containers(self) -> ContainersTable:
        """The containers in the Streams table."""
        from headcount.store.containers import ContainersTable

        return ContainersTable(self.dynamodb, self.settings.table("streams"))

    @cached_property
    def streams(self) -> StreamsTable:
        """The registered streams in the Streams table."""
        from headcount.store.streams import StreamsTable

        return StreamsTable(self.dynamodb, self.settings.table("streams"))

    @cached_property
    def numbers(self) -> NumbersTable:
        """The events' numbers in the Streams table."""
        from headcount.store.numbers import NumbersTable

        return NumbersTable(
            self.dynamodb,
            self.settings.table("streams"),
            day_rows_days=self.settings.day_rows_days,
        )

    @cached_property
    def emitter(self) -> Emitter:
        """Tells the bus what happened."""
        from headcount.emitting import Bus, Emitter

        bus = Bus(
            client=self.eventbridge,
            name=self.settings.event_bus,
            stack=self.settings.stack,
            sleep=self.sleep,
            chance=self.chance,
        )
        return Emitter(self.numbers, bus, self.clock)

    @cached_property
    def messenger(self) -> Messenger:
        """Posts events to the webhook's receiver."""
        from headcount.webhooks import Messenger, Receiver, Secret

        def read() -> str:
            found = self.secrets.get_secret_value(SecretId=self.settings.webhook_secret)
            return found["SecretString"]

        return Messenger(
            receiver=Receiver(self.settings.webhook_url, local=self.settings.emulated),
            secret=Secret(read, self.clock),
            sqs=self.sqs,
            queue=self.settings.webhook_queue,
            clock=self.clock,
        )

    @cached_property
    def verifier(self) -> Verifier:
        """The token check."""
        from headcount.tokens import Verifier

        return Verifier(self.settings.tokens, self._secret, self.clock)

    def _secret(self) -> str:
        from botocore.exceptions import BotoCoreError, ClientError

        try:
            found = self.secrets.get_secret_value(SecretId=self.settings.token_secret)
        except (ClientError, BotoCoreError) as error:
            logger().exception("the token secret can't be read")
            raise BusyError("Tokens can't be checked now. Try again in a few seconds.") from error
        return found.get("SecretString", "")  # one that holds bytes is refused as too short

    @cached_property
    def desk(self) -> Desk:
        """Records beats and leaves."""
        from headcount.presence import Desk

        return Desk(
            self.presence, self.settings.shards, self.badges, self.settings.beats_per_session
        )

    @cached_property
    def badges(self) -> Badges:
        """The counts that beats' answers carry."""
        from headcount.badges import Badges

        return Badges(self.headcounts)

    @cached_property
    def moderator(self) -> Moderator:
        """Does what admins do to a space."""
        from headcount.moderating import Moderator

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
        from headcount.aggregating import Aggregator

        return Aggregator(
            presence=self.presence,
            counts=self.counts,
            headcounts=self.headcounts,
            visits=self.visits,
            history=self.history,
            pieces=self.piece_queue,
            clock=self.clock,
        )

    @cached_property
    def reader(self) -> Reader:
        """Answers reads."""
        from headcount.reading import Reader

        return Reader(
            presence=self.presence,
            counts=self.counts,
            headcounts=self.headcounts,
            visits=self.visits,
            history=self.history,
            aggregator=self.aggregator,
            numbers=self.numbers if self.settings.event_bus else None,
            kinds=self.settings.kinds,
            shards=self.settings.shards,
            clock=self.clock,
        )

    @cached_property
    def recounter(self) -> Recounter:
        """Recounts."""
        from headcount.counting import Recounter

        return Recounter(presence=self.presence, counts=self.counts, clock=self.clock)

    @cached_property
    def counter(self) -> Counter:
        """Counts what was written."""
        from headcount.counting import Counter

        return Counter(
            recounter=self.recounter,
            later=self.errand_queue,
            visits=self.visits,
            clock=self.clock,
            sleep=self.sleep,
        )

    @cached_property
    def auditor(self) -> Auditor:
        """Compares what is published with what a recount gives."""
        from headcount.auditing import Auditor

        return Auditor(
            presence=self.presence,
            counts=self.counts,
            headcounts=self.headcounts,
            clock=self.clock,
        )

    @cached_property
    def explainer(self) -> Explainer:
        """Explains numbers."""
        from headcount.explaining import Explainer

        return Explainer(
            presence=self.presence,
            counts=self.counts,
            headcounts=self.headcounts,
            auditor=self.auditor,
            shards=self.settings.shards,
            clock=self.clock,
        )

    @cached_property
    def line(self) -> Line:
        """Posts to a connection what its own frame asked for."""
        from headcount.sockets import Line

        return Line(self.management)

    @cached_property
    def courier(self) -> Courier:
        """Posts to many connections."""
        from concurrent.futures import ThreadPoolExecutor

        from headcount.sockets import Courier, Line, Pace

        pace = Pace(self.settings.posts_per_second, self.clock, self.sleep)
        return Courier(
            line=Line(self.management, pace),
            subscriptions=self.subscriptions,
            pool=ThreadPoolExecutor(_POSTS_AT_ONCE, thread_name_prefix="post"),
            at_once=_POSTS_AT_ONCE,
            meter=self.meter,
            clock=self.clock,
            sleep=self.sleep,
            chance=self.chance,
        )

    @cached_property
    def deliveries(self) -> Deliveries:
        """Lets dashboards hear versions."""
        from headcount.fanning import Deliveries

        return Deliveries(self.courier, self.subscriptions, self.closing_queue, self.clock)

    @cached_property
    def publisher(self) -> Publisher:
        """Publishes versions."""
        from headcount.errands import Overviews
        from headcount.fanning import ChunkQueue
        from headcount.publishing import Publisher

        return Publisher(
            counts=self.counts,
            headcounts=self.headcounts,
            subscriptions=self.subscriptions,
            deliveries=self.deliveries,
            chunks=ChunkQueue(self.sqs, self.settings.fanout_queue),
            forms=self.forms,
            overviews=Overviews(self.subscriptions, self.forms, self.errand_queue),
            bell=self.errand_queue,
            later=self.errand_queue,
            inline_limit=self.settings.inline_fanout,
            chunked_per_second=self.settings.chunked_posts_per_second,
            clock=self.clock,
            sleep=self.sleep,
        )

    @cached_property
    def sweeper(self) -> Sweeper:
        """Sweeps."""
        from headcount.sweeping import Sweeper

        return Sweeper(
            presence=self.presence,
            counts=self.counts,
            headcounts=self.headcounts,
            history=self.history,
            visits=self.visits,
            recounter=self.recounter,
            auditor=self.auditor,
            pieces=self.piece_queue,
            kinds=self.settings.kinds,
            shards=self.settings.shards,
            at_once=self._at_once,
            clock=self.clock,
            new_id=self.new_id,
        )

    @cached_property
    def piece_queue(self) -> PieceQueue:
        """Where pieces of sweeps and days are left."""
        from headcount.pieces import PieceQueue

        return PieceQueue(lambda: self.sqs, lambda: self.settings.piece_queue, self.clock)

    @cached_property
    def piece_runner(self) -> PieceRunner:
        """Does pieces of sweeps and days."""
        from headcount.pieces import PieceRunner

        return PieceRunner(self.sweeper, self.aggregator, self.clock)

    @cached_property
    def launcher(self) -> Launcher:
        """Launches, stops and looks up containers."""
        from headcount.launching import Launcher

        return Launcher(
            ecs=self.ecs,
            fleet=self.settings.fleet,
            containers=self.containers,
            clock=self.clock,
        )

    @cached_property
    def announcer(self) -> Announcer:
        """Tells sockets of containers' changes."""
        from headcount.launching import Announcer

        return Announcer(
            containers=self.containers,
            subscriptions=self.subscriptions,
            courier=self.courier,
            clock=self.clock,
        )

    @cached_property
    def switchboard(self) -> Switchboard:
        """Serves sockets."""
        from headcount.subscribing import Switchboard

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
        from headcount.subscribing import Greeter

        return Greeter(self.subscriptions, self.headcounts, self.forms, self.clock)

    @cached_property
    def errand_queue(self) -> ErrandQueue:
        """Where errands are left."""
        from headcount.errands import ErrandQueue

        return ErrandQueue(self.sqs, self.settings.errand_queue)

    @cached_property
    def closing_queue(self) -> ClosingQueue:
        """Where connections are left that must be closed."""
        from headcount.fanning import ClosingQueue

        return ClosingQueue(self.sqs, self.settings.closing_queue)

    @cached_property
    def erasure_queue(self) -> ErasureQueue:
        """Where erasures wait to go on."""
        from headcount.erasing import ErasureQueue

        return ErasureQueue(self.sqs, self.settings.erasure_queue)

    @cached_property
    def erasures(self) -> Erasures:
        """Asks for erasures."""
        from headcount.erasing import Erasures

        return Erasures(self.history, self.erasure_queue, self.clock, self.new_id)

    @cached_property
    def eraser(self) -> Eraser:
        """Erases."""
        from headcount.erasing import Eraser

        return Eraser(
            presence=self.presence,
            counts=self.counts,
            visits=self.visits,
            history=self.history,
            subscriptions=self.subscriptions,
            queue=self.erasure_queue,
            clock=self.clock,
            new_id=self.new_id,
        )

    @cached_property
    def runner(self) -> Runner:
        """Runs errands."""
        from headcount.errands import AlertTopic, Runner

        topic = AlertTopic(lambda: self.sns, self.settings.alert_topic)
        return Runner(
            self.forms, self.subscriptions, self.courier, self.greeter, topic, self.recounter
        )


_services: list[Services] = []


def services() -> Services:
    """This process's services."""
    if not _services:
        _services.append(Services(Settings(os.environ)))
    return _services[0]


def warm_up() -> None:
    """Build what every beat needs while Lambda starts the process, where there is more CPU for it
    and nobody waits; elsewhere it is built when it is needed."""
    if "AWS_LAMBDA_FUNCTION_NAME" in os.environ:
        from headcount.aws.http import tls_context
        from headcount.web import native  # noqa: F401 - the beats' route

        tls_context()
        here = services()
        _ = here.desk, here.badges


def replace_services(replacement: Services | None) -> None:
    """Use other services from now on (None: build them anew): for tests and simulations."""
    _services[:] = [replacement] if replacement else []
