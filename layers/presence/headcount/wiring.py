"""Wires the use cases: each is built on first use, once per process."""

from __future__ import annotations

import os
import random
import time
from functools import cached_property
from typing import TYPE_CHECKING, Any

from headcount.aws import clients
from headcount.errors import BusyError, failures
from headcount.logs import logger, name_of
from headcount.metrics import BeatMeter
from headcount.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from concurrent.futures import Executor

    from mypy_boto3_apigatewaymanagementapi import ApiGatewayManagementApiClient
    from mypy_boto3_dynamodb import DynamoDBClient
    from mypy_boto3_ecs import ECSClient
    from mypy_boto3_events import EventBridgeClient
    from mypy_boto3_s3 import S3Client
    from mypy_boto3_secretsmanager import SecretsManagerClient
    from mypy_boto3_sns import SNSClient
    from mypy_boto3_sqs import SQSClient

    from headcount.auth.tokens import Verifier
    from headcount.metric_lines import MetricLines
    from headcount.model.feed import Forms
    from headcount.store.containers import ContainersTable
    from headcount.store.counts import CountsTable
    from headcount.store.headcounts import HeadcountsTable
    from headcount.store.history import HistoryTable
    from headcount.store.numbers import NumbersTable
    from headcount.store.people import PeopleTable
    from headcount.store.presence import PresenceTable
    from headcount.store.rollups import RollupsTable
    from headcount.store.shares import SharesTable
    from headcount.store.streams import StreamsTable
    from headcount.store.subscriptions import SubscriptionsTable
    from headcount.store.table import Backoff
    from headcount.store.visits import VisitsTable
    from headcount.systems.course_viewers_sync import Syncer
    from headcount.usecases.audit import Auditor
    from headcount.usecases.cleanup import Sweeper
    from headcount.usecases.containers import Announcer, Launcher
    from headcount.usecases.count import Counter, Recounter
    from headcount.usecases.daily import Aggregator
    from headcount.usecases.deferred import DeferredRunner
    from headcount.usecases.deliver import Broadcaster, ConnectionApi, Deliveries
    from headcount.usecases.erase import Eraser, Erasures
    from headcount.usecases.events import Emitter
    from headcount.usecases.explain import Explainer
    from headcount.usecases.explain_rollup import RollupExplainer
    from headcount.usecases.lake import Exporter
    from headcount.usecases.limits import FrameCounter, JoinLimits
    from headcount.usecases.live import LiveReader
    from headcount.usecases.moderate import Moderator
    from headcount.usecases.people import PeopleNoter, PeopleReader, Teller, Watching
    from headcount.usecases.pieces import PieceRunner
    from headcount.usecases.pings import Pinger
    from headcount.usecases.publish import Publisher
    from headcount.usecases.pushes import Pusher
    from headcount.usecases.queues import (
        ChunkQueue,
        ClosingQueue,
        DeferredQueue,
        ErasureQueue,
        PieceQueue,
        SyncQueue,
    )
    from headcount.usecases.read import Reader
    from headcount.usecases.record import SessionRecorder
    from headcount.usecases.redelivery import Redelivery
    from headcount.usecases.rollups import RollupMarker, RollupRecounter, RollupSweeper
    from headcount.usecases.shares import ShareLinks, ShareSweeper, Sharing
    from headcount.usecases.slices import Slicer
    from headcount.usecases.socket import DashboardSocket, Greeter
    from headcount.usecases.summaries import SummaryCache
    from headcount.usecases.watchers import Watchers
    from headcount.usecases.webhook import WebhookSender


ROW_THREADS = 4
"""Rows written in parallel: all may be in one partition, which takes 1,000 writes a second."""

_POST_THREADS = 128
"""With this many, a few connections that do not answer don't delay the others."""


def system_clock() -> int:
    """The server's clock, in epoch milliseconds."""
    return time.time_ns() // 1_000_000


def random_id() -> str:
    """A unique string: 128 random bits in hexadecimal. ``uuid`` would take 4 ms of every start."""
    return os.urandom(16).hex()


class Services:
    """Everything a handler may need, built on first use."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.clock = system_clock
        self.sleep = time.sleep
        self.new_id = random_id
        self.chance = random.random
        name_of.use(
            lambda space: settings.kinds.declares(space),  # noqa: PLW0108 - kinds are read lazily
            lambda: settings.stack,
        )

    @cached_property
    def meter(self) -> BeatMeter:
        """The beats of this process since its last line."""
        return BeatMeter(self.settings.stack, self.clock)

    @cached_property
    def metrics(self) -> MetricLines:
        """All other metrics of this process since its last line."""
        from headcount.metric_lines import MetricLines

        return MetricLines(self.settings.stack, self.clock)

    @cached_property
    def dynamodb(self) -> DynamoDBClient:
        """The DynamoDB client."""
        return clients.dynamodb(
            clock=self.clock, sleep=self.sleep, random=self.chance, new_id=self.new_id
        )

    @cached_property
    def sqs(self) -> SQSClient:
        """The SQS client."""
        return clients.sqs(clock=self.clock, sleep=self.sleep, random=self.chance)

    @cached_property
    def sns(self) -> SNSClient:
        """The SNS client."""
        return clients.sns()

    @cached_property
    def secrets(self) -> SecretsManagerClient:
        """The Secrets Manager client."""
        return clients.secrets_manager(clock=self.clock, sleep=self.sleep, random=self.chance)

    @cached_property
    def eventbridge(self) -> EventBridgeClient:
        """The EventBridge client."""
        return clients.eventbridge(clock=self.clock, sleep=self.sleep, random=self.chance)

    @cached_property
    def ecs(self) -> ECSClient:
        """The ECS client."""
        return clients.ecs()

    @cached_property
    def s3(self) -> S3Client:
        """The S3 client."""
        return clients.s3()

    @cached_property
    def management(self) -> ApiGatewayManagementApiClient:
        """The client of the WebSocket API's management API."""
        return clients.management(self.settings.socket_endpoint, clock=self.clock)

    @cached_property
    def backoff(self) -> Backoff:
        """The waits before retries of batches and transactions."""
        from headcount.store.table import Backoff

        return Backoff(self.sleep, self.chance)

    @cached_property
    def presence(self) -> PresenceTable:
        """The Presence table."""
        from headcount.store.presence import PresenceTable

        return PresenceTable(
            self.dynamodb,
            self.settings.table("presence"),
            backoff=self.backoff,
            parts=self.settings.parts,
        )

    @cached_property
    def counts(self) -> CountsTable:
        """The Counts table."""
        from headcount.store.counts import CountsTable

        return CountsTable(
            self.dynamodb,
            self.settings.table("counts"),
            day_rows_days=self.settings.day_rows_days,
            backoff=self.backoff,
        )

    @cached_property
    def rollups(self) -> RollupsTable:
        """The roll-ups' numbers in the Counts table."""
        from headcount.store.rollups import RollupsTable

        return RollupsTable(
            self.dynamodb,
            self.settings.table("counts"),
            day_rows_days=self.settings.day_rows_days,
            backoff=self.backoff,
        )

    @cached_property
    def rollup_recounter(self) -> RollupRecounter:
        """Recounts roll-ups."""
        from headcount.usecases.rollups import RollupRecounter

        return RollupRecounter(self.presence, self.rollups, self.settings.rollups, self.clock)

    @cached_property
    def rollup_marker(self) -> RollupMarker | None:
        """Has roll-ups recounted; None: there are none."""
        if not (parts := self.settings.parts):
            return None
        from headcount.usecases.rollups import RollupMarker

        return RollupMarker(self.rollups, self.deferred_queue, parts, self.clock)

    @cached_property
    def rollup_sweeper(self) -> RollupSweeper | None:
        """Sweeps roll-ups; None: there are none."""
        if not self.settings.parts:
            return None
        from headcount.usecases.rollups import RollupSweeper

        return RollupSweeper(self.rollup_recounter, self.headcounts, self.clock)

    @cached_property
    def headcounts(self) -> HeadcountsTable:
        """The Headcounts table."""
        from headcount.store.headcounts import HeadcountsTable

        return HeadcountsTable(
            self.dynamodb,
            self.settings.table("headcounts"),
            day_rows_days=self.settings.day_rows_days,
            backoff=self.backoff,
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
            in_parallel=self._in_parallel,
            backoff=self.backoff,
        )

    @cached_property
    def threads(self) -> Executor:
        """Threads for reading and writing rows in parallel."""
        from concurrent.futures import ThreadPoolExecutor

        return ThreadPoolExecutor(ROW_THREADS, thread_name_prefix="row")

    def _in_parallel(self, act: Callable[[Any], Any], what: Iterable[Any]) -> Iterator[Any]:
        return self.threads.map(act, what)

    @cached_property
    def people(self) -> PeopleTable | None:
        """The People table; None if people can't be looked up."""
        if not self.settings.knows_people:
            return None
        from headcount.store.people import PeopleTable

        return PeopleTable(self.dynamodb, self.settings.table("people"), backoff=self.backoff)

    @cached_property
    def people_reader(self) -> PeopleReader | None:
        """Looks people up; None if they can't be."""
        if self.people is None:
            return None
        from headcount.usecases.people import PeopleReader

        return PeopleReader(self.people, self.presence, self.clock)

    @cached_property
    def people_noter(self) -> PeopleNoter | None:
        """Notes where people are; None if they can't be looked up."""
        if self.people is None:
            return None
        from headcount.usecases.people import PeopleNoter

        return PeopleNoter(
            self.people, self.presence, self.deferred_queue, self._in_parallel, self.clock
        )

    @cached_property
    def watching(self) -> Watching | None:
        """Keeps who watches whom; None if people can't be looked up."""
        if self.people is None or self.people_reader is None:
            return None
        from headcount.usecases.people import Watching

        return Watching(
            self.people, self.subscriptions, self.people_reader, self._in_parallel, self.clock
        )

    @cached_property
    def teller(self) -> Teller | None:
        """Tells those who watch; None if people can't be looked up."""
        if self.people is None or self.people_reader is None:
            return None
        from headcount.usecases.people import Teller

        return Teller(
            people=self.people,
            subscriptions=self.subscriptions,
            reader=self.people_reader,
            broadcaster=self.broadcaster,
            chunks=self.chunk_queue,
            inline_limit=self.settings.inline_fanout,
            clock=self.clock,
        )

    @cached_property
    def history(self) -> HistoryTable:
        """The History table."""
        from headcount.store.history import HistoryTable

        return HistoryTable(
            self.dynamodb,
            self.settings.table("history"),
            timeline_days=self.settings.timeline_days,
            day_rows_days=self.settings.day_rows_days,
            backoff=self.backoff,
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

        return StreamsTable(self.dynamodb, self.settings.table("streams"), backoff=self.backoff)

    @cached_property
    def numbers(self) -> NumbersTable:
        """The events' numbers in the Streams table."""
        from headcount.store.numbers import NumbersTable

        return NumbersTable(
            self.dynamodb,
            self.settings.table("streams"),
            day_rows_days=self.settings.day_rows_days,
            backoff=self.backoff,
        )

    @cached_property
    def emitter(self) -> Emitter:
        """Sends events to the bus."""
        from headcount.usecases.events import Bus, Emitter

        bus = Bus(
            client=self.eventbridge,
            name=self.settings.event_bus,
            stack=self.settings.stack,
            backoff=self.backoff,
        )
        return Emitter(self.numbers, bus, self.clock)

    @cached_property
    def redelivery(self) -> Redelivery:
        """Tells queues when to redeliver failed messages."""
        from headcount.usecases.redelivery import Redelivery

        return Redelivery(lambda: self.sqs, self.settings.queue_of, self.chance)

    @cached_property
    def webhook_sender(self) -> WebhookSender:
        """Posts events to the webhook's receiver."""
        from headcount.usecases.webhook import Receiver, WebhookSecret, WebhookSender

        def read() -> str:
            found = self.secrets.get_secret_value(SecretId=self.settings.webhook_secret)
            return found["SecretString"]

        return WebhookSender(
            receiver=Receiver(self.settings.webhook_url, local=self.settings.emulated),
            secret=WebhookSecret(read, self.clock),
            redelivery=self.redelivery,
            clock=self.clock,
        )

    @cached_property
    def verifier(self) -> Verifier:
        """Verifies tokens."""
        from headcount.auth.tokens import Verifier

        return Verifier(self.settings.tokens, self._secret, self.clock)

    @cached_property
    def shares(self) -> SharesTable:
        """The share links in the Streams table."""
        from headcount.store.shares import SharesTable

        return SharesTable(self.dynamodb, self.settings.table("streams"))

    @cached_property
    def share_links(self) -> ShareLinks:
        """Tells who reads by a share link."""
        from headcount.usecases.shares import ShareLinks

        return ShareLinks(self.shares, self.clock)

    @cached_property
    def sharing(self) -> Sharing:
        """Makes and revokes share links."""
        from headcount.usecases.shares import Sharing

        return Sharing(self.shares, self.history, self.deferred_queue, self.clock, self.new_id)

    @cached_property
    def share_sweeper(self) -> ShareSweeper:
        """Closes what expired share links opened."""
        from headcount.usecases.shares import ShareSweeper

        return ShareSweeper(self.subscriptions, self.deferred_queue, self.clock)

    def _secret(self) -> str:
        try:
            found = self.secrets.get_secret_value(SecretId=self.settings.token_secret)
        except failures() as error:
            logger().exception("the token secret can't be read")
            raise BusyError("Tokens can't be checked now. Try again in a few seconds.") from error
        return found.get("SecretString", "")  # a binary secret is refused as too short

    def hash_fingerprint(self, fingerprint: str) -> str:
        """The visitor id of a browser's fingerprint. Raises BusyError."""
        from headcount.model.person import hashed_fingerprint

        return hashed_fingerprint(fingerprint, self._fingerprint_key)

    @cached_property
    def _fingerprint_key(self) -> str:
        return self._secret() if self.settings.token_secret else ""  # with a key set there is none

    @cached_property
    def session_recorder(self) -> SessionRecorder:
        """Records beats and leaves."""
        from headcount.usecases.record import SessionRecorder

        return SessionRecorder(
            self.presence, self.settings.shards, self.summaries, self.settings.beats_per_session
        )

    @cached_property
    def join_limits(self) -> JoinLimits:
        """Bounds new sessions and spaces."""
        from headcount.store.limits import LimitsTable
        from headcount.usecases.limits import JoinLimits

        return JoinLimits(
            LimitsTable(self.dynamodb, self.settings.table("streams")),
            per_source=self.settings.joins_per_source,
            spaces_per_kind=self.settings.spaces_per_kind,
            new_id=self.new_id,
        )

    @cached_property
    def frames(self) -> FrameCounter:
        """The frames of each connection, in this process."""
        from headcount.usecases.limits import FrameCounter

        return FrameCounter()

    @cached_property
    def summaries(self) -> SummaryCache:
        """The counts for the responses to beats."""
        from headcount.store.summaries import SummariesTable
        from headcount.usecases.summaries import SummaryCache

        return SummaryCache(SummariesTable(self.dynamodb, self.settings.table("headcounts")))

    @cached_property
    def moderator(self) -> Moderator:
        """Carries out what admins do in a space."""
        from headcount.usecases.moderate import Moderator

        return Moderator(
            counts=self.counts,
            headcounts=self.headcounts,
            history=self.history,
            session_recorder=self.session_recorder,
            clock=self.clock,
            new_id=self.new_id,
        )

    @cached_property
    def aggregator(self) -> Aggregator:
        """Aggregates days."""
        from headcount.usecases.daily import Aggregator

        return Aggregator(
            presence=self.presence,
            counts=self.counts,
            headcounts=self.headcounts,
            visits=self.visits,
            history=self.history,
            pieces=self.piece_queue,
            rollups=self.settings.rollups,
            clock=self.clock,
        )

    @cached_property
    def exporter(self) -> Exporter:
        """Exports days to the lake."""
        from headcount.usecases.lake import Exporter

        return Exporter(
            headcounts=self.headcounts,
            history=self.history,
            s3=self.s3,
            place=self.settings.lake,
            clock=self.clock,
        )

    @cached_property
    def live(self) -> LiveReader:
        """Reads who is in a space now."""
        from headcount.usecases.live import LiveReader

        return LiveReader(
            presence=self.presence,
            counts=self.counts,
            headcounts=self.headcounts,
            shards=self.settings.shards,
            clock=self.clock,
        )

    @cached_property
    def reader(self) -> Reader:
        """Reads for the native API."""
        from headcount.usecases.read import Reader

        return Reader(
            presence=self.presence,
            counts=self.counts,
            headcounts=self.headcounts,
            visits=self.visits,
            history=self.history,
            aggregator=self.aggregator,
            numbers=self.numbers if self.settings.event_bus else None,
            live=self.live,
            kinds=self.settings.kinds,
            rollups=self.settings.rollups,
            shards=self.settings.shards,
            picture_hosts=self.settings.avatar_hosts,
            clock=self.clock,
        )

    @cached_property
    def slicer(self) -> Slicer:
        """Slices of spaces, for the native API."""
        from headcount.usecases.slices import Slicer

        return Slicer(self.live, self.settings.avatar_hosts, self.clock)

    @cached_property
    def recounter(self) -> Recounter:
        """Recounts shards."""
        from headcount.usecases.count import Recounter

        return Recounter(
            presence=self.presence,
            counts=self.counts,
            clock=self.clock,
            shards=self.settings.shards,
            watchers=self.watchers,
        )

    @cached_property
    def watchers(self) -> Watchers:
        """Finds those who hear of a space."""
        from headcount.usecases.watchers import Watchers

        return Watchers(
            self.headcounts, self.subscriptions, self.forms, self.settings.push_budget, self.clock
        )

    @cached_property
    def counter(self) -> Counter:
        """Counts batches of the Presence table's stream."""
        from headcount.usecases.count import Counter

        return Counter(
            recounter=self.recounter,
            deferred_queue=self.deferred_queue,
            visits=self.visits,
            clock=self.clock,
            sleep=self.sleep,
            # Several shards of a space are counted at once: their versions would contend.
            publisher=self.publisher if self.settings.shards == 1 else None,
            audience=self.subscriptions if self.settings.shards > 1 else None,
            people=self.people_noter,
            rollups=self.rollup_marker,
            kinds=self.settings.kinds,
        )

    @cached_property
    def auditor(self) -> Auditor:
        """Compares published numbers with a recount."""
        from headcount.usecases.audit import Auditor

        return Auditor(
            presence=self.presence,
            counts=self.counts,
            headcounts=self.headcounts,
            clock=self.clock,
        )

    @cached_property
    def explainer(self) -> Explainer:
        """Explains numbers."""
        from headcount.usecases.explain import Explainer

        return Explainer(
            presence=self.presence,
            counts=self.counts,
            headcounts=self.headcounts,
            auditor=self.auditor,
            shards=self.settings.shards,
            clock=self.clock,
        )

    @cached_property
    def rollup_explainer(self) -> RollupExplainer:
        """Explains the numbers of roll-ups."""
        from headcount.usecases.explain_rollup import RollupExplainer

        return RollupExplainer(
            self.presence, self.rollups, self.headcounts, self.settings.rollups, self.clock
        )

    @cached_property
    def connection_api(self) -> ConnectionApi:
        """Posts replies to a connection's own frames."""
        from headcount.usecases.deliver import ConnectionApi

        return ConnectionApi(self.management)

    @cached_property
    def broadcaster(self) -> Broadcaster:
        """Posts to many connections."""
        from concurrent.futures import ThreadPoolExecutor

        from headcount.usecases.deliver import Broadcaster, ConnectionApi, RateLimiter

        limiter = RateLimiter(self.settings.posts_per_second, self.clock, self.sleep)
        return Broadcaster(
            connection_api=ConnectionApi(self.management, limiter),
            subscriptions=self.subscriptions,
            pool=ThreadPoolExecutor(_POST_THREADS, thread_name_prefix="post"),
            threads=_POST_THREADS,
            metrics=self.metrics,
            clock=self.clock,
            sleep=self.sleep,
            chance=self.chance,
        )

    @cached_property
    def deliveries(self) -> Deliveries:
        """Delivers versions to dashboards."""
        from headcount.usecases.deliver import Deliveries

        return Deliveries(self.broadcaster, self.subscriptions, self.closing_queue, self.clock)

    @cached_property
    def publisher(self) -> Publisher:
        """Publishes versions."""
        from headcount.usecases.publish import Overviews, Publisher

        return Publisher(
            counts=self.counts,
            headcounts=self.headcounts,
            subscriptions=self.subscriptions,
            deliveries=self.deliveries,
            chunks=self.chunk_queue,
            syncs=self.sync_queue,
            forms=self.forms,
            overviews=Overviews(self.subscriptions, self.forms, self.deferred_queue),
            deferred_queue=self.deferred_queue,
            recounter=self.recounter,
            kinds=self.settings.kinds,
            pusher=self.pusher,
            inline_limit=self.settings.inline_fanout,
            chunked_per_second=self.settings.chunked_posts_per_second,
            rollups=self.rollups,
            rolled_up=self.settings.rollups,
            clock=self.clock,
            sleep=self.sleep,
        )

    @cached_property
    def pusher(self) -> Pusher:
        """Pushes counts to those who listen."""
        from headcount.usecases.pushes import Pusher

        return Pusher(
            headcounts=self.headcounts,
            subscriptions=self.subscriptions,
            presence=self.presence,
            broadcaster=self.broadcaster,
            chunks=self.chunk_queue,
            closing_queue=self.closing_queue,
            deferred_queue=self.deferred_queue,
            budget=self.settings.push_budget,
            inline_limit=self.settings.inline_fanout,
            picture_hosts=self.settings.avatar_hosts,
            clock=self.clock,
        )

    @cached_property
    def sweeper(self) -> Sweeper:
        """Sweeps the Presence table."""
        from headcount.usecases.cleanup import Sweeper

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
            rollups=self.rollup_sweeper,
            in_parallel=self._in_parallel,
            clock=self.clock,
            new_id=self.new_id,
        )

    @cached_property
    def piece_queue(self) -> PieceQueue:
        """The queue of parts of sweeps and days."""
        from headcount.usecases.queues import PieceQueue

        return PieceQueue(lambda: self.sqs, lambda: self.settings.piece_queue, self.clock)

    @cached_property
    def piece_runner(self) -> PieceRunner:
        """Runs parts of sweeps and days."""
        from headcount.usecases.pieces import PieceRunner

        return PieceRunner(self.sweeper, self.aggregator, self.clock)

    @cached_property
    def launcher(self) -> Launcher:
        """Launches, stops and looks up containers."""
        from headcount.usecases.containers import Launcher

        return Launcher(
            ecs=self.ecs,
            fleet=self.settings.fleet,
            containers=self.containers,
            clock=self.clock,
        )

    @cached_property
    def announcer(self) -> Announcer:
        """Announces changes of containers."""
        from headcount.usecases.containers import Announcer

        return Announcer(
            containers=self.containers,
            subscriptions=self.subscriptions,
            broadcaster=self.broadcaster,
            clock=self.clock,
        )

    @cached_property
    def dashboard_socket(self) -> DashboardSocket:
        """Serves dashboards' sockets."""
        from headcount.usecases.socket import DashboardSocket

        return DashboardSocket(
            subscriptions=self.subscriptions,
            headcounts=self.headcounts,
            connection_api=self.connection_api,
            kinds=self.settings.kinds,
            rollups=self.settings.rollups,
            forms=self.forms,
            greeter=self.greeter,
            deferred_queue=self.deferred_queue,
            clock=self.clock,
            watching=self.watching,
        )

    @cached_property
    def forms(self) -> Forms:
        """The forms of feeds' messages."""
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
        """Sends first headcounts."""
        from headcount.usecases.socket import Greeter

        return Greeter(self.subscriptions, self.headcounts, self.forms, self.clock)

    @cached_property
    def sync_queue(self) -> SyncQueue:
        """The queue of what happens to Convex's clients."""
        from headcount.usecases.queues import SyncQueue

        return SyncQueue(self.sqs, self.settings.fanout_queue, self.new_id)

    @cached_property
    def syncer(self) -> Syncer:
        """Tells Convex's clients what happened."""
        from headcount.systems.course_viewers_sync import Syncer

        return Syncer(self)

    @cached_property
    def deferred_queue(self) -> DeferredQueue:
        """The queue of deferred tasks."""
        from headcount.usecases.queues import DeferredQueue

        return DeferredQueue(self.sqs, self.settings.deferred_queue)

    @cached_property
    def chunk_queue(self) -> ChunkQueue:
        """The queue of versions and counts for large audiences."""
        from headcount.usecases.queues import ChunkQueue

        return ChunkQueue(self.sqs, self.settings.fanout_queue)

    @cached_property
    def closing_queue(self) -> ClosingQueue:
        """The queue of connections to close."""
        from headcount.usecases.queues import ClosingQueue

        return ClosingQueue(self.sqs, self.settings.closing_queue)

    @cached_property
    def erasure_queue(self) -> ErasureQueue:
        """The queue of erasures in progress."""
        from headcount.usecases.queues import ErasureQueue

        return ErasureQueue(self.sqs, self.settings.erasure_queue)

    @cached_property
    def erasures(self) -> Erasures:
        """Requests erasures."""
        from headcount.usecases.erase import Erasures

        return Erasures(
            history=self.history,
            queue=self.erasure_queue,
            clock=self.clock,
            new_id=self.new_id,
            hash_fingerprint=self.hash_fingerprint,
        )

    @cached_property
    def eraser(self) -> Eraser:
        """Erases people."""
        from headcount.usecases.erase import Eraser

        return Eraser(
            presence=self.presence,
            counts=self.counts,
            visits=self.visits,
            history=self.history,
            subscriptions=self.subscriptions,
            queue=self.erasure_queue,
            clock=self.clock,
            new_id=self.new_id,
            people=self.people,
        )

    @cached_property
    def pinger(self) -> Pinger:
        """Has Convex's clients pinged."""
        from headcount.usecases.pings import Pinger

        return Pinger(self.subscriptions, self.deferred_queue)

    @cached_property
    def runner(self) -> DeferredRunner:
        """Runs deferred tasks."""
        from headcount.usecases.deferred import AlertTopic, DeferredRunner

        topic = AlertTopic(lambda: self.sns, self.settings.alert_topic)
        return DeferredRunner(
            self.forms,
            self.subscriptions,
            self.broadcaster,
            self.greeter,
            topic,
            self.recounter,
            self.pusher,
            self.closing_queue,
            self.rollup_recounter,
            self.teller,
        )


_services: list[Services] = []


def services() -> Services:
    """This process's services."""
    if not _services:
        _services.append(Services(Settings(os.environ)))
    return _services[0]


def build_at_start(needed: Callable[[Services], object]) -> None:
    """On Lambda, build what every event needs while the process starts: it has more CPU then, and
    no event waits. Elsewhere it is built on first use."""
    if "AWS_LAMBDA_FUNCTION_NAME" in os.environ:
        from headcount.aws.wire import aws_tls_context

        aws_tls_context()
        needed(services())


def replace_services(replacement: Services | None) -> None:
    """Use other services from now on (None: build new ones): for tests and simulations."""
    _services[:] = [replacement] if replacement else []
