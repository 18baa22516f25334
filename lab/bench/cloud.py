"""AWS in virtual time without faults: every call, hop and second of CPU takes as long as it would.

The handlers, their use cases and their DynamoDB client are real, down to the bytes of a request.
DynamoDB is ``lab.harness.memory``. What invokes functions comes from the template: streams with
their filters, batching windows, batch sizes and parallelization factors, queues with their batch
sizes and most parallel invocations. Calls and hops take as long as ``hops.toml`` says.

Lambda's rules that decide how late a number is:

* One invocation at a time per shard of a stream, or as many as the parallelization factor. Records
  that arrive meanwhile wait, and form the next batch as soon as it ends.
* A batching window begins with the first record that can be read, and ends early with a full batch.
* A FIFO queue delivers a group's messages in order, and waits for one batch before the next.

The CPU time of a handler counts, too: it is measured in this process, between two calls, and
divided by the function's share of a processor. Threads of a process wait in parallel, but take
turns on its processor. All processes are warm: what a start takes is left out.
"""

from __future__ import annotations

import base64
import hashlib
import itertools
import json
import logging
import time
from collections import Counter, defaultdict, deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property, partial
from http import HTTPStatus
from pathlib import Path
from random import Random
from types import ModuleType
from typing import Any, Protocol

import jwt
import msgspec
from botocore.exceptions import ClientError
from headcount.aws.dynamodb import DynamoDB
from headcount.aws.management import Management
from headcount.aws.signing import Credentials, Signer
from headcount.aws.wire import Endpoint, Response
from headcount.metric_lines import MetricLines
from headcount.metrics import BeatMeter
from headcount.times import SECOND
from headcount.usecases.deliver import Broadcaster
from headcount.wiring import ROW_THREADS, Services, replace_services
from msgspec.structs import replace

from lab.bench.hops import Hop, Hops
from lab.bench.prices import prices
from lab.bench.quotas import quotas
from lab.harness.clock import NOON
from lab.harness.events import http_event, socket_event
from lab.harness.fakes import SECRET, as_received
from lab.harness.filters import passes, patterns_of
from lab.harness.memory import MemoryDynamoDB
from lab.harness.template import Template, template
from lab.harness.world import load_handler
from lab.simulator.loop import Loop
from lab.simulator.processes import settings_of, timeout_of

Record = dict[str, Any]

MILLISECOND = 1_000
"""The loop counts microseconds: a row takes tens of them."""
_TRIES = 20
_LIVES = 30 * 86_400  # seconds: tokens don't run out while a bench runs


class Cpu(Protocol):
    """The processor time that handlers take."""

    def start(self) -> None:
        """A handler begins, or goes on after a call."""

    def spent(self) -> float:
        """CPU seconds since then, of the measuring machine."""

    def answered(self, rows: int) -> None:
        """The call was answered with so many rows."""


class Measured:
    """What the handlers take in this process."""

    def __init__(self) -> None:
        self._since = 0.0

    def start(self) -> None:
        """Begin to measure."""
        self._since = time.thread_time()

    def spent(self) -> float:
        """CPU seconds since then."""
        return time.thread_time() - self._since

    def answered(self, rows: int) -> None:
        """Rows take as long as they take."""


@dataclass
class Fixed:
    """The same in every run: so many CPU seconds for each call, and for each row of an answer."""

    call: float = 0.0
    row: float = 0.0
    _rows: int = 0

    def start(self) -> None:
        """Nothing is measured."""

    def spent(self) -> float:
        """The CPU seconds of the last answer's rows, and of the next call."""
        rows, self._rows = self._rows, 0
        return self.call + rows * self.row

    def answered(self, rows: int) -> None:
        """Remember the rows."""
        self._rows = rows


@dataclass
class Work:
    """What a function did, in all its invocations."""

    invocations: int = 0
    failed: int = 0
    seconds: float = 0  # virtual
    longest: float = 0
    cpu: float = 0  # of the measuring machine
    rows: int = 0  # read
    posts: int = 0


class Process:
    """A warm process of a function."""

    def __init__(self, cloud: Cloud, function: str) -> None:
        self.cloud = cloud
        self.function = function
        self.work = cloud.work[function]
        memory = int(template().functions[function]["MemorySize"])
        self._share = min(1.0, memory / prices().assumed["memory_of_one_vcpu"])
        self._cpu_free_at = 0
        self.module: ModuleType = load_handler(function)
        self.services = _Services(self)

    # ------------------------------------------------------------------------------------- time

    def resume(self) -> None:
        """Go on after waiting."""
        replace_services(self.services)
        self.cloud.cpu.start()

    def spend(self, more: float = 0) -> None:
        """Let the CPU time since the last wait pass, and ``more`` seconds of it."""
        loop, seconds = self.cloud.loop, self.cloud.cpu.spent()
        self.work.cpu += seconds
        took = round((seconds * prices().assumed["cpu_of_one_vcpu"] + more) / self._share * 1e6)
        self._cpu_free_at = max(loop.now, self._cpu_free_at) + took
        if took:
            loop.pause(self._cpu_free_at - loop.now)

    def wait(self, microseconds: int) -> None:
        """Wait while other tasks run; what this thread did since it waited last takes no time."""
        if microseconds > 0:
            self.cloud.loop.pause(microseconds)
        self.resume()

    def sleep(self, seconds: float) -> None:
        """Sleep as the handler asks to."""
        self.spend()
        self.wait(round(max(0.0, float(seconds)) * 1e6))

    def call(self, hop: Hop, act: Callable[[int], Any], megabytes: Callable[[Any], float]) -> Any:
        """Call a service: the effect is in the middle of the time that the call takes. ``act`` gets
        the time at which the call was sent."""
        self.spend(quotas().assumed["tls_cpu"] if self.cloud.charges_tls else 0)
        sent, took = self.cloud.loop.now, self.cloud.draw(hop)
        self.wait(took // 2)
        answer = act(sent)
        more = round(self.cloud.draw(self.cloud.hops["megabyte"]) * megabytes(answer))
        self.wait(took - took // 2 + more)
        return answer

    def map(
        self, threads: int, function: Callable[[Any], Any], items: Iterable[Any]
    ) -> Iterator[Any]:
        """As a thread pool's: at most so many at once."""
        todo = list(items)
        if len(todo) < 2:
            return iter([function(item) for item in todo])
        results: dict[int, Any] = {}
        following = iter(enumerate(todo))

        def thread() -> None:
            self.resume()
            for place, item in following:
                results[place] = function(item)
            self.spend()

        self.spend()
        self.cloud.loop.gather([thread] * min(threads, len(todo)))
        self.resume()
        return iter([results[place] for place in range(len(todo))])

    # ------------------------------------------------------------------------------- invocations

    def handle(self, event: Mapping[str, Any]) -> Any:
        """Run the handler on an event; errors are raised."""
        began = self.cloud.loop.now
        self.work.invocations += 1
        self.resume()
        try:
            return self.module.handler(event, None)
        except Exception:
            self.work.failed += 1
            raise
        finally:
            self.spend()
            took = (self.cloud.loop.now - began) / 1e6
            self.work.seconds += took
            self.work.longest = max(self.work.longest, took)
            if took > timeout_of(self.function) / SECOND:
                raise TooSlowError(f"{self.function} took {took:.0f} s")


class TooSlowError(RuntimeError):
    """An invocation took longer than its function's timeout."""


class _Pool:
    """Stands in for a thread pool."""

    def __init__(self, process: Process, threads: int) -> None:
        self._process = process
        self._threads = threads

    def map(self, function: Callable[[Any], Any], items: Iterable[Any]) -> Iterator[Any]:
        """Run them in parallel."""
        return self._process.map(self._threads, function, items)


class _Services(Services):
    """A function's services as the template wires them, with clients of this cloud."""

    def __init__(self, process: Process) -> None:
        cloud = process.cloud
        super().__init__(settings_of(process.function, cloud.parameters))
        self._process = process
        self.clock = cloud.clock
        self.sleep = process.sleep  # type: ignore[assignment]
        self.new_id = cloud.new_id
        self.chance = cloud.random.random
        wired: Any = self
        wired.dynamodb = DynamoDB(
            Wire(process),  # type: ignore[arg-type]
            self._signer("dynamodb"),
            sleep=process.sleep,
            random=self.chance,
            new_id=self.new_id,
        )
        wired.management = Management(GatewayWire(process), self._signer("execute-api"))  # type: ignore[arg-type]
        wired.sqs = _Sqs(process)
        wired.secrets = _Secrets()
        wired.meter = BeatMeter("bench", self.clock, out=lambda _: None)
        wired.metrics = MetricLines("bench", self.clock, out=lambda _: None)
        wired.threads = _Pool(process, ROW_THREADS)

    def _signer(self, service: str) -> Signer:
        return Signer(Credentials("key", "secret", "token"), "us-east-1", service, self.clock)

    @cached_property
    def broadcaster(self) -> Broadcaster:
        """The broadcaster, whose threads are this process's."""
        built = Services.broadcaster.func(self)
        built.pool.shutdown()
        pool: Any = _Pool(self._process, built.threads)
        return replace(built, pool=pool)


class _Secrets:
    """Secrets Manager; a process reads the secret once, when it starts."""

    def get_secret_value(self, **_: Any) -> dict[str, str]:
        """The only secret."""
        return {"SecretString": SECRET}


# --------------------------------------------------------------------------------------- services

_encode = msgspec.json.Encoder().encode


def _with_bytes(value: dict[str, Any]) -> dict[str, Any]:
    return {"B": base64.b64decode(value["B"])} if value.keys() == {"B"} else value


class Wire:
    """A process's connections to DynamoDB."""

    endpoint = Endpoint.from_url("https://dynamodb.test")

    def __init__(self, process: Process) -> None:
        self._process = process

    def request(
        self, _method: str, _path: str, headers: Mapping[str, str], body: bytes
    ) -> Response:
        """Answer a request."""
        process, cloud = self._process, self._process.cloud
        operation = headers["x-amz-target"].rpartition(".")[2]
        rows = 0

        def act(sent: int) -> Response:
            nonlocal rows
            params = json.loads(body, object_hook=_with_bytes)
            params.pop("ClientRequestToken", None)
            try:
                answer = getattr(cloud.database.client, _snake(operation))(**params)
            except ClientError as error:
                return _refusal(error)
            finally:
                cloud.wake(sent)
            answer.pop("ResponseMetadata", None)
            rows = len(answer.get("Items", ()))
            process.work.rows += rows
            return Response(HTTPStatus.OK, _encode(answer))

        def megabytes(answer: Response) -> float:
            return len(answer.body) / 2**20 if rows else 0

        answer: Response = process.call(cloud.hops["dynamodb"], act, megabytes)
        cloud.cpu.answered(rows)
        return answer

    def close(self) -> None:
        """Nothing is open."""


def _snake(operation: str) -> str:
    return "".join(f"_{one.lower()}" if one.isupper() else one for one in operation)[1:]


def _refusal(error: ClientError) -> Response:
    response: Any = error.response
    about = response["Error"]
    members = {name: response[name] for name in ("Item", "CancellationReasons") if name in response}
    body = {"__type": f"com.amazonaws#{about['Code']}", "message": about["Message"], **members}
    return Response(HTTPStatus.BAD_REQUEST, _encode(body))


class GatewayWire:
    """A process's connections to the WebSocket API's management API."""

    endpoint = Endpoint.from_url("https://socket.test/live")

    def __init__(self, process: Process) -> None:
        self._process = process

    def request(self, method: str, path: str, _headers: Any, body: bytes) -> Response:
        """Post a frame."""
        process, cloud = self._process, self._process.cloud
        assert method == "POST", "no connection of the bench is closed"
        process.work.posts += 1
        connection = path.rpartition("/")[2]

        def act(_sent: int) -> Response:
            cloud.received(connection, body, process.function)
            return Response(HTTPStatus.OK, b"")

        answer: Response = process.call(cloud.hops["post"], act, lambda _: 0)
        return answer


class _Sqs:
    """A process's client of the queues."""

    def __init__(self, process: Process) -> None:
        self._process = process

    def send_message(self, **params: Any) -> None:
        """Send a message."""
        process, cloud = self._process, self._process.cloud
        queue = cloud.queues[params.pop("QueueUrl")]
        act = partial(queue.send, **params)
        process.call(cloud.hops["send"], act, lambda _: 0)

    def change_message_visibility(
        self,
        *,
        QueueUrl: str,  # noqa: N803
        ReceiptHandle: str,  # noqa: N803
        VisibilityTimeout: int,  # noqa: N803
    ) -> None:
        """Change after how many seconds a message is received again."""
        queue = self._process.cloud.queues[QueueUrl]
        queue.postponed[ReceiptHandle] = VisibilityTimeout


# ---------------------------------------------------------------------------------------- sources


class Stream:
    """A function's event source mapping of a table's stream."""

    def __init__(self, cloud: Cloud, function: str, settings: Mapping[str, Any]) -> None:
        self._cloud = cloud
        self._function = function
        self.role = settings["Stream"].removesuffix("Table.StreamArn").lower()
        self._patterns = patterns_of(settings)
        self._size = int(settings["BatchSize"])
        self._window = int(settings["MaximumBatchingWindowInSeconds"]) * SECOND * MILLISECOND
        self._factor = int(settings["ParallelizationFactor"])
        self._reports = "ReportBatchItemFailures" in settings.get("FunctionResponseTypes", ())
        self._read = 0
        self._shards: dict[tuple[int, int], deque[tuple[int, Record]]] = defaultdict(deque)
        self._served: set[tuple[int, int]] = set()
        self._polls: dict[tuple[int, int], tuple[int, int]] = {}  # the last one and its hop

    def wake(self, sent: int) -> None:
        """Read the new records, whose writes were sent at this time."""
        records = self._cloud.database.tables[self.role].records
        for record in records[self._read :]:
            if not passes(record, self._patterns):
                continue
            shard = self._shard_of(record)
            waiting = self._shards[shard]
            earliest = max(self._cloud.loop.now, waiting[-1][0] if waiting else 0)
            visible = max(earliest, sent + self._hop(shard, sent))
            waiting.append((visible, record))
            if shard not in self._served:
                self._served.add(shard)
                self._cloud.loop.start(partial(self._serve, shard))
        self._read = len(records)

    def _hop(self, shard: tuple[int, int], sent: int) -> int:
        """The hop of a write: what one poll finds is late or early together."""
        poll = int(sent * self._cloud.hops.numbers["polls"] / 1e6)
        if self._polls.get(shard, (-1, 0))[0] != poll:
            self._polls[shard] = poll, self._cloud.draw(self._cloud.hops["stream"])
        return self._polls[shard][1]

    def _shard_of(self, record: Record) -> tuple[int, int]:
        """The stream's shard, and the place of its parallel batches."""
        key = next(iter(record["dynamodb"]["Keys"].values()))["S"]
        digest = hashlib.blake2b(key.encode(), digest_size=8).digest()
        shards = int(self._cloud.hops.numbers["stream_shards"])
        return digest[0] % shards, digest[1] % self._factor

    def _serve(self, shard: tuple[int, int]) -> None:
        loop, waiting = self._cloud.loop, self._shards[shard]
        while waiting:
            loop.pause(max(0, waiting[0][0] - loop.now))
            ends = loop.now + self._window
            while loop.now < ends and self._visible(waiting) < self._size:
                loop.pause(min(ends - loop.now, 50 * MILLISECOND))
            size = min(self._visible(waiting), self._size)
            self._deliver([waiting.popleft()[1] for _ in range(size)])
        self._served.discard(shard)

    def _visible(self, waiting: deque[tuple[int, Record]]) -> int:
        now = self._cloud.loop.now
        return sum(1 for _ in itertools.takewhile(lambda one: one[0] <= now, waiting))

    def _deliver(self, batch: list[Record]) -> None:
        for _ in range(_TRIES):
            try:
                answer = self._cloud.invoke(self._function, {"Records": batch})
            except TooSlowError:
                raise
            except Exception as error:
                self._cloud.errors[f"{self._function}: {type(error).__name__}"] += 1
            else:
                batch = _failed(batch, answer if self._reports else None)
                if not batch:
                    return
            self._cloud.loop.pause(int(self._cloud.hops.numbers["retry_after"]) * MILLISECOND)
        raise RuntimeError(f"{self._function} fails again and again: {self._cloud.errors}")


def _failed(batch: list[Record], answer: Any) -> list[Record]:
    """The first record that a function reports as failed, and those after it."""
    numbers = [record["dynamodb"]["SequenceNumber"] for record in batch]
    failures = [one["itemIdentifier"] for one in (answer or {}).get("batchItemFailures", ())]
    return batch[min(map(numbers.index, failures)) :] if failures else []


@dataclass
class _Message:
    visible: int
    record: Record


class Queue:
    """A queue, and the event source mapping of the function that receives its messages."""

    def __init__(self, cloud: Cloud, name: str, function: str, settings: Mapping[str, Any]) -> None:
        self._cloud = cloud
        self._name = name
        self._function = function
        self._size = int(settings["BatchSize"])
        most = settings.get("ScalingConfig", {}).get("MaximumConcurrency")
        self._most = int(most) if most is not None else 1_000
        properties = template().resources[name]["Properties"]
        self._is_fifo = bool(properties.get("FifoQueue"))
        self._hop = cloud.hops["fifo" if self._is_fifo else "queue"]
        self._visibility = int(properties["VisibilityTimeout"])
        self._groups: dict[str, deque[_Message]] = {}
        self._busy: set[str] = set()
        self._running = 0
        self._seen: set[tuple[str, str]] = set()
        self._numbers = itertools.count(1)
        self.postponed: dict[str, int] = {}
        """Receipt handle -> seconds after which a failed message is received again."""

    def send(
        self,
        sent: int,
        *,
        MessageBody: str,  # noqa: N803
        MessageGroupId: str = "",  # noqa: N803
        MessageDeduplicationId: str = "",  # noqa: N803
        DelaySeconds: int = 0,  # noqa: N803
        MessageAttributes: Mapping[str, Any] | None = None,  # noqa: N803
    ) -> None:
        """Queue a message that was sent at this time."""
        loop, number = self._cloud.loop, next(self._numbers)
        if self._is_fifo:
            if (MessageGroupId, MessageDeduplicationId) in self._seen:
                return
            self._seen.add((MessageGroupId, MessageDeduplicationId))
        group = MessageGroupId if self._is_fifo else f"message-{number}"
        name = f"{self._name}-{number}"
        record = {
            "messageId": name,
            "receiptHandle": f"receipt of {name}",
            "body": MessageBody,
            "attributes": {
                "ApproximateReceiveCount": "1",
                "SentTimestamp": str(self._cloud.clock()),
                "MessageGroupId": MessageGroupId,
            },
            "messageAttributes": as_received(MessageAttributes),
            "eventSourceARN": f"arn:aws:sqs:us-east-1:123456789012:{self._name}",
        }
        late = DelaySeconds * SECOND * MILLISECOND + self._cloud.draw(self._hop)
        waiting = self._groups.setdefault(group, deque())
        visible = max(loop.now, sent + late, waiting[-1].visible if waiting else 0)
        waiting.append(_Message(visible, record))
        loop.at(visible, self._receive)

    def _receive(self) -> None:
        """Start an invocation for what can be received now, if one more may run."""
        while self._running < self._most:
            batch: dict[str, list[_Message]] = {}
            left = self._size
            for group, waiting in self._groups.items():
                while left and group not in self._busy and waiting:
                    if waiting[0].visible > self._cloud.loop.now:
                        break
                    batch.setdefault(group, []).append(waiting.popleft())
                    left -= 1
            if not batch:
                return
            self._busy.update(batch)
            self._running += 1
            self._cloud.loop.start(partial(self._deliver, batch))

    def _deliver(self, batch: Mapping[str, list[_Message]]) -> None:
        records = [message.record for messages in batch.values() for message in messages]
        failed = {record["messageId"] for record in records}
        try:
            answer = self._cloud.invoke(self._function, {"Records": records})
            failed = {one["itemIdentifier"] for one in (answer or {}).get("batchItemFailures", ())}
        except TooSlowError:
            raise
        except Exception as error:
            self._cloud.errors[f"{self._function}: {type(error).__name__}"] += 1
        self._running -= 1
        for group, messages in batch.items():
            again = [one for one in messages if one.record["messageId"] in failed]
            for one in again:
                seconds = self.postponed.pop(one.record["receiptHandle"], self._visibility)
                one.visible = self._cloud.loop.now + seconds * SECOND * MILLISECOND
                self._cloud.loop.at(one.visible, self._receive)
            self._groups[group].extendleft(reversed(again))
            self._busy.discard(group)
            if not self._groups[group]:
                del self._groups[group]
        self._receive()


# ------------------------------------------------------------------------------------------ cloud


@dataclass
class Cloud:
    """A deployment in virtual time. ``parameters`` are the template's, in order of their names."""

    random: Random
    hops: Hops
    cpu: Cpu
    parameters: tuple[tuple[str, str], ...] = ()
    charges_tls: bool = True
    received: Callable[[str, bytes, str], None] = lambda *_: None
    """Called with a connection, a frame and the function that posts it, when it arrives."""
    errors: Counter[str] = field(default_factory=Counter)
    """How often which function failed with which error; its event was delivered again."""
    work: dict[str, Work] = field(default_factory=lambda: defaultdict(Work))

    def __post_init__(self) -> None:
        self.loop = Loop(NOON * MILLISECOND)
        self.database = MemoryDynamoDB(self.clock)
        for role in template().tables:
            params = template().create_table(role, **dict(self.parameters))
            self.database.client.create_table(TableName=role, **params)
        self.streams: list[Stream] = []
        self.queues: dict[str, Queue] = {}
        for function in _deployed(template(), dict(self.parameters)):
            for source in template().events(function, "DynamoDB", **dict(self.parameters)):
                self.streams.append(Stream(self, function, source))
            for source in template().events(function, "SQS", **dict(self.parameters)):
                name = source["Queue"].removesuffix(".Arn")
                self.queues[name] = Queue(self, name, function, source)
        self._free: dict[str, list[Process]] = defaultdict(list)
        self._ids = itertools.count(1)
        self.admin = jwt.encode(
            {"exp": int(time.time()) + _LIVES, "headcount": "admin"}, SECRET, algorithm="HS256"
        )

    def clock(self) -> int:
        """Epoch milliseconds."""
        return self.loop.now // MILLISECOND

    def new_id(self) -> str:
        """A unique id as long as a real one."""
        return f"{next(self._ids):032x}"

    def draw(self, hop: Hop) -> int:
        """Draw how long a hop takes, in microseconds."""
        return round(hop.at(self.random.random()) * MILLISECOND)

    def wake(self, sent: int) -> None:
        """Read all streams after a write that was sent at this time."""
        for stream in self.streams:
            stream.wake(sent)

    def invoke(self, function: str, event: Mapping[str, Any]) -> Any:
        """Have a free process handle an event, or a new one; its errors are raised."""
        free = self._free[function]
        process = free.pop(self.random.randrange(len(free))) if free else Process(self, function)
        try:
            return process.handle(event)
        finally:
            free.append(process)

    def forget_work(self) -> None:
        """Reset what the functions did so far; those that are running are not entered."""
        self.work.clear()
        for function, processes in self._free.items():
            for process in processes:
                process.work = self.work[function]

    # ---------------------------------------------------------------------------------- clients

    def request(self, method: str, path: str, body: Mapping[str, Any]) -> Any:
        """Send a request to the HTTP API now; returns the decoded answer, which must be 200."""
        self.loop.pause(self.draw(self.hops["gateway"]))
        function = template().function_of(method, path)
        event = http_event(method, path, body=dict(body), request=self.new_id())
        answer = self.invoke(function, event)
        if answer["statusCode"] != HTTPStatus.OK:
            raise RuntimeError(f"{method} {path} was answered {answer}")
        return json.loads(answer["body"])

    def subscribe(self, connection: str, space: str) -> None:
        """Connect a dashboard and subscribe it to a space."""
        self._connect(connection, {"action": "subscribe", "space": space})

    def watch(self, connection: str, people: Sequence[str]) -> None:
        """Connect somebody who watches people."""
        self._connect(connection, {"action": "watch", "people": list(people)})

    def _connect(self, connection: str, message: Mapping[str, Any]) -> None:
        query = {"token": self.admin}
        body = json.dumps(message)
        for event in (
            socket_event("CONNECT", connection, query=query),
            socket_event("MESSAGE", connection, body=body, at=self.clock()),
        ):
            answer = self.invoke("socket", event)
            if answer != {"statusCode": 200}:
                raise RuntimeError(f"{connection} was answered {answer}")

    def run(self, seconds: float) -> None:
        """Let time pass."""
        self.loop.run(self.loop.now + round(seconds * 1e6))


def _deployed(of: Template, parameters: Mapping[str, str]) -> Iterator[str]:
    """The folders of the functions that a stack with these parameters has."""
    for resource in of.resources.values():
        if resource["Type"] == "AWS::Serverless::Function":
            condition = {name: resource[name] for name in ("Condition",) if name in resource}
            if not condition or of.holds(condition, **parameters):
                yield Path(resource["Properties"]["CodeUri"]).name


@contextmanager
def quiet() -> Iterator[None]:
    """Without the handlers' logs; at the end, no services are current."""
    logging.disable(logging.CRITICAL)
    try:
        yield
    finally:
        logging.disable(logging.NOTSET)
        replace_services(None)
