"""A DynamoDB whose large tables are generated as they are read: real rows, in pages of up to 1 MB.

They are not stored, so that a million rows take no memory except the caller's.
"""

from __future__ import annotations

import base64
import json
import math
import re
import time
import zlib
from array import array
from bisect import bisect_right
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from http import HTTPStatus
from itertools import islice
from threading import Lock
from typing import Any

from headcount.aws.dynamodb import DynamoDB
from headcount.aws.signing import Credentials, Signer
from headcount.aws.wire import Endpoint, Response
from headcount.model.session import Facts, Session, Write
from headcount.model.space import shard_of
from headcount.settings import Settings
from headcount.store.attributes import encode
from headcount.store.keys import split_presence_partition, visits_partition
from headcount.store.presence import to_item
from headcount.times import DAY, HOUR, MINUTE, SECOND, day_of, day_start
from headcount.wiring import Services

from lab.bench.model import VIEWERS_PER_SHARD
from lab.harness.clock import NOON
from lab.harness.memory import MemoryDynamoDB
from lab.harness.sizes import item_size
from lab.harness.template import template
from lab.harness.world import SITE

PAGE_BYTES = 1024 * 1024
_READ_UNIT, _WRITE_UNIT = 4096, 1024
_RAN_OUT, _LEFT_LONG_AGO, _LEFT, _YOUNG = 600, 66, 11, 10
"""One in this many rows is of a session whose lease ran out since the last sweep, that left more
than five minutes ago, that left recently, or that joined or changed recently: as in a space with
visits of an hour, of which one in ten ends without a leave, and page changes every five minutes."""
_TWO_TABS, _SIGNED_IN, _PAGES = 10, 5, 60


class Rows:
    """The generated rows of a space."""

    def __init__(self, sessions: int, *, ran_out: bool = False) -> None:
        self.sessions = sessions
        self.shards = math.ceil(sessions / VIEWERS_PER_SHARD)
        self._ran_out = ran_out  # every lease
        self.of_shard = [array("I") for _ in range(self.shards)]
        for number in range(sessions):
            self.of_shard[shard_of(self._person(number), self.shards)].append(number)
        self._texts: dict[str, str] = {}
        for kind in ("live", "young", "user", "left", "bin", "out"):
            self._texts[kind] = self._text(kind)
        sizes = {
            kind: item_size(json.loads(_filled(text, 0, f"{SITE}#0")))
            for kind, text in self._texts.items()
        }
        some = range(min(sessions, _RAN_OUT * _LEFT))
        self.size = round(sum(sizes[self.kind(number)] for number in some) / len(some))
        self.per_page = PAGE_BYTES // self.size

    def _text(self, kind: str) -> str:
        """A real row in DynamoDB's JSON, with placeholders for what differs between rows."""
        ends_in = 40 * SECOND if kind in {"live", "young", "user"} else -SECOND
        left = {"left": NOON - MINUTE, "bin": NOON - 6 * MINUTE}.get(kind)
        changed = NOON - (10 * SECOND if kind == "young" else 2 * MINUTE)
        row = Session(
            space=SITE,
            shard=0,
            id="<session>",
            write=Write.BEAT if left is None else Write.LEAVE,
            request=f"{0:032x}",
            facts=Facts(
                user="<person>" if kind == "user" else None,
                visitor="<visitor>",
                page="/courses/<page>",
                facets={"device": "desktop", "country": "DE"},
            ),
            joined_at=NOON - HOUR // 2,
            visit="<visit>",
            changed_at=left or changed,
            last_seen=NOON - 20 * SECOND,
            expires_at=NOON + ends_in,
            beats={day_of(NOON): 61},
            seq=62,
            ended_at=left,
            ended_by=None if left is None else "leave",
        )
        text = json.dumps(to_item(row), separators=(",", ":"))
        return _form(text.replace(f"{SITE}#0", "<shard>"))

    @property
    def live(self) -> int:
        """The number of live sessions."""
        kinds = {"live", "young", "user"}
        return sum(self.kind(number) in kinds for number in range(self.sessions))

    def kind(self, number: int) -> str:
        """The kind of a row."""
        if self._ran_out or number % _RAN_OUT == 1:
            return "out"
        if number % _LEFT_LONG_AGO == 0:
            return "bin"
        if number % _LEFT == 0:
            return "left"
        if number % _YOUNG == 3:
            return "young"
        return "user" if number % _SIGNED_IN == 0 else "live"

    def _person(self, number: int) -> str:
        """The person of a row; some people have two sessions."""
        person = _person(number)
        return f"u:user{person:08d}" if self.kind(number) == "user" else f"v:v{person:021d}"

    def text(self, number: int, shard: int) -> str:
        """A row as JSON."""
        return _filled(self._texts[self.kind(number)], number, f"{SITE}#{shard}")

    def following(
        self, shards: Sequence[int], after: tuple[int, int] | None
    ) -> Iterator[tuple[int, int]]:
        """Shard and number of the rows of some shards, in order, from the one after ``after``."""
        for shard in shards:
            numbers = self.of_shard[shard]
            first = 0
            if after is not None:
                if after[0] in shards and shards.index(shard) < shards.index(after[0]):
                    continue
                first = bisect_right(numbers, after[1]) if shard == after[0] else 0
            for at in range(first, len(numbers)):
                yield shard, numbers[at]

    @staticmethod
    def key(number: int) -> str:
        """A row's session id, in the order of the numbers."""
        return f"s{number:021d}"


def _person(number: int) -> int:
    return number - (number % _TWO_TABS == _TWO_TABS - 1)


_PLACE = re.compile("<(session|visitor|person|visit|page|shard|place)>")


def _form(text: str) -> str:
    """A format string from a text with placeholders."""
    return _PLACE.sub(r"%(\1)s", text.replace("%", "%%"))


def _filled(form: str, number: int, shard: str, place: str = "") -> str:
    person = _person(number)
    return form % {
        "session": Rows.key(number),
        "visitor": f"v{person:021d}",
        "person": f"user{person:08d}",
        "visit": f"{number:032x}",
        "page": number % _PAGES,
        "shard": shard,
        "place": place,
    }


class DayOfVisits:
    """The generated visits of a day in a space."""

    def __init__(self, visits: int, day: str) -> None:
        self.visits = visits
        joined = day_start(day) + HOUR
        row: dict[str, Any] = {
            "space_day": visits_partition(SITE, day),
            "visit": "<place>",
            "space": SITE,
            "id": "<visit>",
            "session": "<session>",
            "visitor": "<visitor>",
            "joined_at": joined,
            "beats": {day: 121},
            "ended_at": joined + HOUR,
            "ended_by": "leave",
            "ttl": (joined + 8 * DAY) // SECOND,
        }
        self._plain = _form(json.dumps(encode(row), separators=(",", ":")))
        self._user = _form(json.dumps(encode(row | {"user": "<person>"}), separators=(",", ":")))
        self.size = item_size(json.loads(self.text(0)))
        self.per_page = PAGE_BYTES // self.size

    def text(self, number: int) -> str:
        """A row as JSON."""
        form = self._plain if number % _SIGNED_IN else self._user
        return _filled(form, number, "", self.key(number))

    @staticmethod
    def key(number: int) -> str:
        """A row's sort key, in the order of the numbers."""
        return f"{NOON:013d}#{number:032x}"


@dataclass
class Wire:
    """Stands in for the connection to DynamoDB: generated rows, and real small tables. It counts
    calls and units, and the CPU time that it takes itself."""

    rows: Rows
    day: DayOfVisits | None = None
    endpoint: Endpoint = field(default_factory=lambda: Endpoint.from_url("https://dynamodb.test"))
    calls: Counter[str] = field(default_factory=Counter)
    read_units: float = 0
    write_units: float = 0
    cpu: float = 0
    _lock: Any = field(default_factory=Lock)

    @cached_property
    def _small(self) -> Any:
        """A client of the other tables."""
        client = MemoryDynamoDB(lambda: NOON).client
        for role in template().tables:
            params = template().create_table(role)
            params.pop("StreamSpecification", None)  # its records would only take memory
            client.create_table(TableName=role, **params)
        return client

    def request(
        self, _method: str, _path: str, headers: Mapping[str, str], body: bytes
    ) -> Response:
        """Answer a request."""
        began = time.thread_time()
        with self._lock:
            operation = headers["x-amz-target"].rpartition(".")[2]
            params = json.loads(body, object_hook=_with_bytes)
            self.calls[operation] += 1
            answer = self._answer(operation, params).encode()
            self.cpu += time.thread_time() - began
        return Response(HTTPStatus.OK, answer)

    def forget(self) -> None:
        """Reset the counters."""
        self.calls.clear()
        self.read_units = self.write_units = 0

    def _answer(self, operation: str, params: dict[str, Any]) -> str:
        table = params.get("TableName", "")
        if table == "presence":
            return self._presence(operation, params)
        if table == "visits" and operation == "Query" and self.day is not None:
            return self._visits(params)
        if operation == "BatchGetItem" and "visits" in params["RequestItems"]:
            return self._settled(params["RequestItems"]["visits"]["Keys"])
        call: Callable[..., dict[str, Any]] = getattr(self._small, _snake(operation))
        answer = call(**params, ReturnConsumedCapacity="TOTAL")
        self._enter(operation, answer.pop("ConsumedCapacity"))
        answer.pop("ResponseMetadata")
        return json.dumps(answer, default=lambda binary: base64.b64encode(binary).decode())

    def _enter(self, operation: str, consumed: Any) -> None:
        for one in consumed if isinstance(consumed, list) else [consumed]:
            if operation in {"GetItem", "BatchGetItem", "Query", "Scan"}:
                self.read_units += one["CapacityUnits"]
            else:
                self.write_units += one["CapacityUnits"]

    def _presence(self, operation: str, params: dict[str, Any]) -> str:
        if operation in {"PutItem", "DeleteItem"}:
            self.write_units += math.ceil(self.rows.size / _WRITE_UNIT)
            return "{}"
        if operation == "Query":
            (partition,) = params["ExpressionAttributeValues"].values()
            shards = [split_presence_partition(partition["S"])[1]]
        else:
            of, number = params.get("TotalSegments", 1), params.get("Segment", 0)
            shards = [one for one in range(self.rows.shards) if _segment(one, of) == number]
        start, after = params.get("ExclusiveStartKey"), None
        if start:
            shard = split_presence_partition(start["partition"]["S"])[1]
            after = shard, int(start["session"]["S"][1:])
        limit = min(params.get("Limit", self.rows.per_page), self.rows.per_page)
        page = list(islice(self.rows.following(shards, after), limit + 1))
        more, page = len(page) > limit, page[:limit]
        self.read_units += max(1, math.ceil(len(page) * self.rows.size / _READ_UNIT))
        last = ""
        if more:
            shard, number = page[-1]
            partition = f'"partition":{{"S":"{SITE}#{shard}"}}'
            last = f'{{{partition},"session":{{"S":"{Rows.key(number)}"}}}}'
        return _paged([self.rows.text(number, shard) for shard, number in page], last)

    def _visits(self, params: dict[str, Any]) -> str:
        assert self.day is not None
        after = params.get("ExclusiveStartKey")
        first = int(after["visit"]["S"].rpartition("#")[2], 16) + 1 if after else 0
        page = range(first, min(first + self.day.per_page, self.day.visits))
        self.read_units += max(1, math.ceil(len(page) * self.day.size / _READ_UNIT)) / 2
        more = bool(page) and page[-1] + 1 < self.day.visits
        key = f'{{"visit":{{"S":"{self.day.key(page[-1])}"}}}}' if more else ""
        return _paged([self.day.text(one) for one in page], key)

    def _settled(self, keys: list[Any]) -> str:
        """Visits in the ledger that have all ended."""
        self.read_units += len(keys) / 2
        rows = [
            encode(
                {
                    "space": SITE,
                    "id": key["visit"]["S"].rpartition("#")[2],
                    "session": "",
                    "joined_at": 0,
                    "ended_at": 1,
                }
            )
            for key in keys
        ]
        return json.dumps({"Responses": {"visits": rows}, "UnprocessedKeys": {}})


def _with_bytes(value: dict[str, Any]) -> dict[str, Any]:
    """Decode binary values: base64 in a request, bytes in the in-memory engine as in boto3."""
    return {"B": base64.b64decode(value["B"])} if value.keys() == {"B"} else value


def _segment(shard: int, of: int) -> int:
    return zlib.crc32(f"{SITE}#{shard}".encode()) * of >> 32


def _paged(rows: list[str], last: str) -> str:
    more = f',"LastEvaluatedKey":{last}' if last else ""
    return f'{{"Items":[{",".join(rows)}],"Count":{len(rows)}{more}}}'


def _snake(operation: str) -> str:
    return "".join(f"_{one.lower()}" if one.isupper() else one for one in operation)[1:]


def services_on(wire: Wire, function: str, now: int = NOON) -> Services:
    """A function's services as the template wires them, over this wire."""
    tables = {role: role for role in template().tables}
    shards = str(wire.rows.shards)
    environment = template().environment(function, tables, ShardsPerSpace=shards)
    services = Services(Settings(environment))
    services.clock = lambda: now
    services.sleep = lambda _: None
    pool: Any = wire
    client = DynamoDB(
        pool,
        Signer(Credentials("key", "secret", "token"), "us-east-1", "dynamodb", services.clock),
        sleep=services.sleep,
        random=services.chance,
        new_id=services.new_id,
    )
    wired: Any = services
    wired.dynamodb = client
    wired.management = None  # there are no dashboards
    wired.sqs = Messages()
    return services


class Messages:
    """A queue that keeps its messages."""

    def __init__(self) -> None:
        self.bodies: list[str] = []

    def send_message(self, *, QueueUrl: str, MessageBody: str) -> None:  # noqa: N803
        """Keep a message."""
        assert QueueUrl
        self.bodies.append(MessageBody)
