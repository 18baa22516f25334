"""The engine in memory behaves like DynamoDB Local: the same calls on both, answers compared."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import pytest
from botocore.exceptions import ClientError
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from lab.harness.clock import Clock
from lab.harness.engines import Engine, Table
from lab.harness.expressions import normal
from lab.harness.memory import MemoryDynamoDB

Values = dict[str, Any]
_ANSWERS = ("Item", "Attributes", "Items", "Count", "ScannedCount", "LastEvaluatedKey")
_runs = itertools.count(1)
both = pytest.mark.dynamodb_local


# -------------------------------------------------------------------------------------- two engines


@dataclass
class Pair:
    """The same tables on the engine in memory and on DynamoDB Local."""

    memory: dict[str, Table]
    local: dict[str, Table]

    def call(self, role: str, operation: str, **params: Any) -> Any:
        """The answer of both, which must be equal."""
        answers = [outcome(tables[role], operation, params) for tables in (self.memory, self.local)]
        assert answers[0] == answers[1], (operation, params)
        return answers[0]


def outcome(table: Table, operation: str, params: Mapping[str, Any]) -> Any:
    """An answer, or an error's code and reasons."""
    if operation == "transact_write_items":
        asked = {
            "TransactItems": [
                {kind: {"TableName": table.name, **action} for kind, action in one.items()}
                for one in params["actions"]
            ]
        }
    elif operation.startswith("batch"):
        asked = {"RequestItems": {table.name: params["requests"]}}
    else:
        asked = {"TableName": table.name, **params}
    try:
        answer = getattr(table.engine.client, operation)(**asked)
    except ClientError as error:
        code = error.response["Error"]["Code"]
        reasons: Any = error.response.get("CancellationReasons", [])
        codes = [reason["Code"] for reason in reasons]
        # Newer versions of DynamoDB name the action of a transaction that does not fit its item.
        return ("ValidationException", []) if "ValidationError" in codes else (code, codes)
    found = {name: answer[name] for name in _ANSWERS if name in answer}
    if operation == "scan":  # each engine has its own order of partitions
        found["Items"] = ordered(found["Items"])
    if operation == "batch_get_item":
        found["Items"] = ordered(answer["Responses"][table.name])
    return found


def ordered(items: list[Values]) -> list[Values]:
    """Items in an order that depends only on their content."""
    return sorted(items, key=lambda item: json.dumps(item, sort_keys=True, default=str))


@pytest.fixture(scope="module")
def pair(engines: Callable[[str], Engine]) -> Pair:
    """Tables that the tests share; each test has its own partitions."""
    memory, local = engines("memory"), engines("dynamodb-local")
    roles = ("presence", "headcounts")
    return Pair(
        {role: memory.create(role) for role in roles},
        {role: local.create(role) for role in roles},
    )


# ----------------------------------------------------------------------------------- any expression


@dataclass
class Request:
    """Expressions that are being written, with their names and values."""

    names: dict[str, str] = field(default_factory=dict)
    values: Values = field(default_factory=dict)

    def path(self, path: tuple[str, ...]) -> str:
        """A document path by placeholders."""
        for step in path:
            self.names[f"#{step}"] = step
        return ".".join(f"#{step}" for step in path)

    def value(self, value: Values) -> str:
        """A value's placeholder."""
        name = f":v{len(self.values)}"
        self.values[name] = value
        return name

    def attributes(self) -> dict[str, Any]:
        """The request's parameters for them."""
        carried: dict[str, Any] = {}
        if self.names:
            carried["ExpressionAttributeNames"] = self.names
        if self.values:
            carried["ExpressionAttributeValues"] = self.values
        return carried


texts = st.sampled_from(["", "a", "ab", "b", "é", "~"]).map(lambda text: {"S": text})
words = st.sampled_from(["a", "ab", "b"]).map(lambda text: {"S": text})
numbers = st.sampled_from(
    ["0", "1", "1.5", "2", "10", "-3", "0.1", "1000", "12345678901234567890.5"]
).map(lambda text: {"N": text})
blobs = st.sampled_from([b"a", b"ab"]).map(lambda data: {"B": data})
flags = st.booleans().map(lambda flag: {"BOOL": flag})
scalars = st.one_of(words, numbers, blobs)
maps = st.dictionaries(st.sampled_from(["x", "y"]), st.one_of(numbers, words)).map(
    lambda inner: {"M": inner}
)
lists = st.lists(st.one_of(numbers, words), max_size=2).map(lambda inner: {"L": inner})
values = st.one_of(words, numbers, numbers, blobs, flags, maps, lists)
paths = st.sampled_from([("a",), ("b",), ("c",), ("m",), ("m", "x"), ("m", "y"), ("a", "x")])


@st.composite
def conditions(draw: st.DrawFn, request: Request, depth: int = 2) -> str:  # noqa: PLR0911
    """A condition of any form."""
    forms = ["compare", "between", "in", "exists", "begins", "contains", "type", "size"]
    form = draw(st.sampled_from(forms + (["and", "or", "not"] if depth else [])))
    if form in {"and", "or"}:
        one, other = draw(conditions(request, depth - 1)), draw(conditions(request, depth - 1))
        return f"({one}) {form.upper()} {other}"
    if form == "not":
        return f"NOT ({draw(conditions(request, depth - 1))})"
    path = request.path(draw(paths))
    match form:
        case "compare":
            operator = draw(st.sampled_from(["=", "<>", "<", "<=", ">", ">="]))
            return f"{path} {operator} {request.value(draw(values))}"
        case "between":
            low, high = request.value(draw(scalars)), request.value(draw(scalars))
            return f"{path} BETWEEN {low} AND {high}"
        case "in":
            among = [request.value(one) for one in draw(st.lists(scalars, min_size=1, max_size=3))]
            return f"{path} IN ({', '.join(among)})"
        case "exists":
            return f"{draw(st.sampled_from(['attribute_exists', 'attribute_not_exists']))}({path})"
        case "begins":
            return f"begins_with({path}, {request.value(draw(st.one_of(words, blobs)))})"
        case "contains":
            return f"contains({path}, {request.value(draw(scalars))})"
        case "type":
            kind = draw(st.sampled_from(["S", "N", "B", "BOOL", "M", "L"]))
            return f"attribute_type({path}, {request.value({'S': kind})})"
    return f"size({path}) {draw(st.sampled_from(['=', '<', '>=']))} {request.value(draw(numbers))}"


@st.composite
def updates(draw: st.DrawFn, request: Request) -> str:
    """An update of any form that the stores use, and some that are wrong."""
    chosen = draw(st.lists(paths, min_size=1, max_size=4, unique=True))
    sections: dict[str, list[str]] = {}
    for path in chosen:
        section = draw(st.sampled_from(["SET", "SET", "ADD", "REMOVE"]))
        sections.setdefault(section, []).append(draw(actions(request, section, path)))
    return " ".join(f"{name} {', '.join(parts)}" for name, parts in sections.items())


@st.composite
def actions(draw: st.DrawFn, request: Request, section: str, target: tuple[str, ...]) -> str:
    """One action of an update."""
    path = request.path(target)
    if section == "REMOVE":
        return path
    if section == "ADD":
        return f"{path} {request.value(draw(st.one_of(numbers, numbers, words)))}"
    match draw(st.sampled_from(["value", "value", "path", "plus", "default"])):
        case "value":
            return f"{path} = {request.value(draw(values))}"
        case "path":
            other = draw(paths.filter(lambda other: other != target))
            return f"{path} = {request.path(other)}"
        case "plus":
            sign, one = draw(st.sampled_from("+-")), request.value(draw(numbers))
            return f"{path} = {path} {sign} {one}"
    start, one = request.value(draw(numbers)), request.value(draw(numbers))
    return f"{path} = if_not_exists({path}, {start}) + {one}"


@st.composite
def writes(draw: st.DrawFn, kind: str, key: Values) -> Values:
    """The parameters of a put, an update or a delete of an item."""
    request = Request()
    asked: Values = {}
    if kind == "Put":
        attributes = st.fixed_dictionaries({}, optional=dict.fromkeys("abc", values) | {"m": maps})
        asked["Item"] = {**key, **draw(attributes)}
    else:
        asked["Key"] = key
    if kind == "Update":
        asked["UpdateExpression"] = draw(updates(request))
    if kind == "ConditionCheck" or draw(st.booleans()):
        asked["ConditionExpression"] = draw(conditions(request))
    return {**asked, **request.attributes()}


@st.composite
def steps(draw: st.DrawFn, prefix: str) -> tuple[str, Values]:
    """A call, with its parameters."""
    partitions = st.sampled_from([f"{prefix}-p", f"{prefix}-q"])
    sessions = st.sampled_from(["s1", "s2", "s10", "t"])

    def key() -> Values:
        return {"partition": {"S": draw(partitions)}, "session": {"S": draw(sessions)}}

    operation = draw(
        st.sampled_from(["put", "put", "update", "update", "update", "delete", "get", "query"])
        | st.sampled_from(["transact", "batch_get", "batch_write"])
    )
    match operation:
        case "put" | "update" | "delete":
            asked = draw(writes(operation.capitalize(), key()))
            returned = ["NONE", "ALL_OLD", *(["ALL_NEW"] if operation == "update" else [])]
            asked["ReturnValues"] = draw(st.sampled_from(returned))
            return f"{operation}_item", asked
        case "get":
            return "get_item", {"Key": key(), "ConsistentRead": True}
        case "query":
            return "query", draw(queries(draw(partitions)))
        case "transact":
            kinds = st.sampled_from(["Put", "Update", "Delete", "ConditionCheck"])
            items = {str(one): one for one in [key() for _ in range(draw(st.integers(1, 4)))]}
            chosen = [(draw(kinds), one) for one in items.values()]
            return "transact_write_items", {
                "actions": [{kind: draw(writes(kind, one))} for kind, one in chosen]
            }
        case "batch_get":
            keys = [key() for _ in range(draw(st.integers(1, 3)))]
            return "batch_get_item", {"requests": {"Keys": keys, "ConsistentRead": True}}
    requests: list[Values] = [
        {"DeleteRequest": {"Key": key()}}
        if draw(st.booleans())
        else {"PutRequest": {"Item": {**key(), "a": draw(values)}}}
        for _ in range(draw(st.integers(1, 3)))
    ]
    return "batch_write_item", {"requests": requests}


SESSIONS = ["s1", "s11", "t"]


@st.composite
def queries(draw: st.DrawFn, partition: str) -> Values:
    """A query of a partition of Presence."""
    request = Request()
    keys = f"{request.path(('partition',))} = {request.value({'S': partition})}"
    bounds = st.sampled_from(["s", "s1", "s10", "s2", "t", "u"]).map(lambda text: {"S": text})
    match draw(st.sampled_from(["all", "compare", "between", "begins"])):
        case "compare":
            operator = draw(st.sampled_from(["=", "<", "<=", ">", ">="]))
            keys += f" AND {request.path(('session',))} {operator} {request.value(draw(bounds))}"
        case "between":
            low, high = request.value(draw(bounds)), request.value(draw(bounds))
            keys += f" AND {request.path(('session',))} BETWEEN {low} AND {high}"
        case "begins":
            start = request.value(draw(bounds))
            keys += f" AND begins_with({request.path(('session',))}, {start})"
    asked: Values = {"KeyConditionExpression": keys, "ConsistentRead": True}
    # Where a row lies on a bound, Local sees that none follows and ends the pages early; DynamoDB
    # says so on the next page, for which it takes any key that it returned.
    on_a_bound = any({"S": session} in request.values.values() for session in SESSIONS)
    if draw(st.booleans()):
        asked["FilterExpression"] = draw(conditions(request))
    if draw(st.booleans()):
        chosen = draw(st.lists(paths, min_size=1, max_size=2, unique=True))
        asked["ProjectionExpression"] = ", ".join(request.path(path) for path in chosen)
    if draw(st.booleans()) and not on_a_bound:
        asked["Limit"] = draw(st.integers(1, 3))
    if draw(st.booleans()):
        asked["ScanIndexForward"] = draw(st.booleans())
    if draw(st.booleans()) and not on_a_bound:
        session = draw(st.sampled_from(SESSIONS))
        asked["ExclusiveStartKey"] = {"partition": {"S": partition}, "session": {"S": session}}
    return {**asked, **request.attributes()}


@pytest.mark.slow
@both
@given(data=st.data())
@settings(
    max_examples=25,
    phases=[Phase.explicit, Phase.generate],  # to shrink takes minutes
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
def test_any_calls_get_the_same_answers_rows_and_records_from_both(
    pair: Pair, data: st.DataObject
) -> None:
    prefix = f"run{next(_runs)}"
    for _ in range(30):
        operation, params = data.draw(steps(prefix))
        pair.call("presence", operation, **params)
    assert rows(pair.memory["presence"]) == rows(pair.local["presence"])
    assert records(pair.memory["presence"]) == records(pair.local["presence"])


def rows(table: Table) -> list[Any]:
    """Every item, as the engine has it."""
    found = table.engine.client.scan(TableName=table.name, ConsistentRead=True)
    return ordered(found["Items"])


def records(table: Table) -> dict[str, list[Any]]:
    """The stream's new records, by item, because only an item's records are in order."""
    found: dict[str, list[Any]] = {}
    for record in table.new_records():
        written = record["dynamodb"]
        image = written.get("NewImage", {})  # its numbers are as they were sent
        plain = {name: normal(value) for name, value in image.items() if "B" not in value}
        found.setdefault(str(written["Keys"]), []).append((record["eventName"], plain))
    return found


# ----------------------------------------------------------------------------------------- refusals

KEY: Values = {"partition": {"S": "site:main#0"}, "session": {"S": "s1"}}
ONE: Values = {":one": {"N": "1"}}
LONG = "x" * 2049


def condition(text: str, values: Values | None = None, names: Values | None = None) -> Values:
    """The parameters of a delete on a condition."""
    return {
        "Key": KEY,
        "ConditionExpression": text,
        **({"ExpressionAttributeValues": values} if values is not None else {}),
        **({"ExpressionAttributeNames": names} if names is not None else {}),
    }


def update(text: str, values: Values | None = None, names: Values | None = None) -> Values:
    """The parameters of an update."""
    asked = condition("", values, names)
    return {**{name: asked[name] for name in asked.keys() - {"ConditionExpression"}}} | {
        "UpdateExpression": text
    }


def query(keys: str, values: Values, **more: Any) -> Values:
    """The parameters of a query."""
    return {"KeyConditionExpression": keys, "ExpressionAttributeValues": values, **more}


HASH: Values = {":p": {"S": "site:main#0"}}
REFUSED: dict[str, tuple[str, Values]] = {
    "a name that is not given": ("delete_item", condition("#a = :one", ONE)),
    "a name that is not used": ("delete_item", condition("a = :one", ONE, {"#a": "a"})),
    "no names at all": ("delete_item", condition("a = :one", ONE, {})),
    "names of no expression": ("get_item", {"Key": KEY, "ExpressionAttributeNames": {"#a": "a"}}),
    "a value that is not given": ("delete_item", condition("a = :two", {})),
    "a value that is not used": ("delete_item", condition("attribute_exists(a)", ONE)),
    "a reserved word": ("delete_item", condition("ttl = :one", ONE)),
    "a reserved word in an update": ("update_item", update("SET state = :one", ONE)),
    "an empty condition": ("delete_item", condition("")),
    "half a condition": ("delete_item", condition("a = :one AND", ONE)),
    "a comma too many": ("update_item", update("SET a = :one,", ONE)),
    "two SETs": ("update_item", update("SET a = :one SET b = :one", ONE)),
    "an unknown section": ("update_item", update("PUT a = :one", ONE)),
    "an unknown function": ("delete_item", condition("exists(a) OR a = :one", ONE)),
    "a character of no expression": ("delete_item", condition("a == :one", ONE)),
    "an expression over 4 KB": (
        "delete_item",
        condition(" OR ".join(["a = :one"] * 400), ONE),
    ),
    "bounds in the wrong order": (
        "delete_item",
        condition("a BETWEEN :two AND :one", {**ONE, ":two": {"N": "2"}}),
    ),
    "bounds of two types": (
        "delete_item",
        condition("a BETWEEN :one AND :two", {**ONE, ":two": {"S": "2"}}),
    ),
    "an order of flags": ("delete_item", condition("a < :f", {":f": {"BOOL": True}})),
    "a number as a start": ("delete_item", condition("begins_with(a, :one)", ONE)),
    "a text to add": ("update_item", update("ADD a :a", {":a": {"S": "a"}})),
    "a text in a sum": ("update_item", update("SET a = a + :a", {":a": {"S": "a"}})),
    "a path into nothing": ("update_item", update("SET none.x = :one", ONE)),
    "a path into a text": ("update_item", update("SET t.x = :one", ONE)),
    "a copy of nothing": ("update_item", update("SET a = none")),
    "a sum with nothing": ("update_item", update("SET a = none + :one", ONE)),
    "a sum with a text": ("update_item", update("SET a = t + :one", ONE)),
    "a count in a text": ("update_item", update("ADD t :one", ONE)),
    "two actions on one path": ("update_item", update("SET a = :one REMOVE a", ONE)),
    "actions on a map and in it": ("update_item", update("SET m = :one, m.x = :one", ONE)),
    "an update of the key": (
        "update_item",
        update("SET #s = :one", ONE, {"#s": "session"}),
    ),
    "a key too few": ("get_item", {"Key": {"partition": {"S": "site:main#0"}}}),
    "a key too many": ("get_item", {"Key": {**KEY, "a": {"S": "a"}}}),
    "a key of another type": ("get_item", {"Key": {**KEY, "session": {"N": "1"}}}),
    "an item without its key": ("put_item", {"Item": {"partition": {"S": "site:main#0"}}}),
    "an item with an empty key": ("put_item", {"Item": {**KEY, "session": {"S": ""}}}),
    "a sort key over 1 KB": ("put_item", {"Item": {**KEY, "session": {"S": LONG[:1025]}}}),
    "a partition key over 2 KB": ("put_item", {"Item": {**KEY, "partition": {"S": LONG}}}),
    "an item over 400 KB": ("put_item", {"Item": {**KEY, "a": {"S": "x" * 410_000}}}),
    "an item that grows over 400 KB": (
        "update_item",
        update("SET a = :a", {":a": {"S": "x" * 410_000}}),
    ),
    "no number": ("put_item", {"Item": {**KEY, "a": {"N": "one"}}}),
    "a number that is none": ("put_item", {"Item": {**KEY, "a": {"N": "nan"}}}),
    "a number of 39 digits": ("put_item", {"Item": {**KEY, "a": {"N": "1" * 39}}}),
    "a number too large": ("put_item", {"Item": {**KEY, "a": {"N": "1e126"}}}),
    "a query without its partition": ("query", query("session = :p", HASH)),
    "a query of a range of partitions": (
        "query",
        query("#p < :p", HASH) | {"ExpressionAttributeNames": {"#p": "partition"}},
    ),
    "a query by what is no key": (
        "query",
        query("#p = :p AND a = :p", HASH) | {"ExpressionAttributeNames": {"#p": "partition"}},
    ),
    "a query of two conditions on a key": (
        "query",
        query("#p = :p AND #p = :p", HASH) | {"ExpressionAttributeNames": {"#p": "partition"}},
    ),
    "a query by a key of another type": (
        "query",
        query("#p = :one", ONE) | {"ExpressionAttributeNames": {"#p": "partition"}},
    ),
    "an index that is not there": (
        "query",
        query("#p = :p", HASH, IndexName="live")
        | {"ExpressionAttributeNames": {"#p": "partition"}},
    ),
    "two actions on one item": (
        "transact_write_items",
        {"actions": [{"Put": {"Item": KEY}}, {"Delete": {"Key": KEY}}]},
    ),
    "an item twice in a batch": (
        "batch_write_item",
        {"requests": [{"PutRequest": {"Item": KEY}}, {"DeleteRequest": {"Key": KEY}}]},
    ),
    "a key twice in a batch": ("batch_get_item", {"requests": {"Keys": [KEY, KEY]}}),
    "more than 100 keys": (
        "batch_get_item",
        {"requests": {"Keys": [{**KEY, "session": {"S": str(n)}} for n in range(101)]}},
    ),
    "more than 25 writes": (
        "batch_write_item",
        {
            "requests": [
                {"PutRequest": {"Item": {**KEY, "session": {"S": str(n)}}}} for n in range(26)
            ]
        },
    ),
}


@both
@pytest.mark.parametrize("what", REFUSED)
def test_invalid_calls_are_refused_by_both(pair: Pair, what: str) -> None:
    pair.call("presence", "put_item", Item={**KEY, "t": {"S": "text"}, "m": {"M": {}}})
    operation, params = REFUSED[what]
    assert pair.call("presence", operation, **params) == ("ValidationException", [])


@both
@pytest.mark.parametrize("text", ["-0", "1.50", "1e3", "007", "1E-7", "-0.10", "1" * 38, "+5"])
def test_a_number_comes_back_in_its_canonical_form(pair: Pair, text: str) -> None:
    pair.call("presence", "put_item", Item={**KEY, "a": {"N": text}})
    pair.call("presence", "get_item", Key=KEY)
    pair.call("presence", "update_item", **update("ADD a :one", ONE))
    pair.call("presence", "get_item", Key=KEY)


@both
def test_a_missing_table_is_not_found_by_both(pair: Pair) -> None:
    codes = set()
    for tables in (pair.memory, pair.local):
        missing = Table(tables["presence"].engine, "presence", "nowhere")
        codes.add(str(outcome(missing, "get_item", {"Key": KEY})))
    assert codes == {"('ResourceNotFoundException', [])"}


@both
def test_a_consistent_read_of_an_index_is_refused_by_both(pair: Pair) -> None:
    asked = query("live = :p", HASH, IndexName="live", ConsistentRead=True)
    assert pair.call("headcounts", "query", **asked) == ("ValidationException", [])


# ---------------------------------------------------------------------------- indexes, pages, units


def put_space(pair: Pair, space: str, live: Values | None, **more: Values) -> Any:
    """A row of Headcounts, on both."""
    item = {"space": {"S": space}, **more, **({"live": live} if live else {})}
    return pair.call("headcounts", "put_item", Item=item)


@both
def test_an_index_holds_the_items_that_have_its_key(pair: Pair) -> None:
    kind = {"S": "index"}
    for number in range(5):
        put_space(pair, f"index:{number}", kind, version={"N": "1"})
    put_space(pair, "index:none", None)
    put_space(pair, "index:1", None)
    put_space(pair, "index:2", {"S": "other"})
    pair.call("headcounts", "delete_item", Key={"space": {"S": "index:3"}})
    asked = query("live = :k", {":k": kind}, IndexName="live", Limit=1)
    first = pair.call("headcounts", "query", **asked)
    assert first["Items"] == [{"live": kind, "space": {"S": "index:0"}}]
    start = first["LastEvaluatedKey"]
    second = pair.call("headcounts", "query", **asked, ExclusiveStartKey=start)
    assert second["Items"] == [{"live": kind, "space": {"S": "index:4"}}]


@both
def test_an_index_refuses_an_invalid_key(pair: Pair) -> None:
    refused = ("ValidationException", [])
    assert put_space(pair, "bad:1", {"N": "1"}) == refused
    assert put_space(pair, "bad:1", {"S": ""}) == refused
    # DynamoDB refuses this; the build of 2020 accepted it.
    asked = update("SET live = :one", ONE) | {"Key": {"space": {"S": "bad:1"}}}
    assert outcome(pair.memory["headcounts"], "update_item", asked) == refused


@both
def test_a_page_ends_at_1_mb(pair: Pair) -> None:
    partition = {"S": f"pages{next(_runs)}"}
    for number in range(6):
        item = {"partition": partition, "session": {"S": f"s{number}"}, "a": {"S": "x" * 300_000}}
        for tables in (pair.memory, pair.local):
            table = tables["presence"]
            table.engine.client.put_item(TableName=table.name, Item=item)
    for tables in (pair.memory, pair.local):
        table = tables["presence"]
        pages = table.engine.client.get_paginator("query").paginate(
            TableName=table.name,
            KeyConditionExpression="#p = :p",
            ExpressionAttributeNames={"#p": "partition"},
            ExpressionAttributeValues={":p": partition},
        )
        sizes = [len(page["Items"]) for page in pages]
        assert sum(sizes) == 6
        assert max(sizes) <= 4
        few = table.engine.client.get_paginator("query").paginate(
            TableName=table.name,
            KeyConditionExpression="#p = :p",
            ExpressionAttributeNames={"#p": "partition"},
            ExpressionAttributeValues={":p": partition},
            Limit=2,
        )
        assert [len(page["Items"]) for page in few][:3] == [2, 2, 2]


@both
@given(size=st.integers(1, 9000), again=st.integers(1, 3000))
@settings(
    max_examples=15,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
def test_reads_and_writes_cost_the_same_units(pair: Pair, size: int, again: int) -> None:
    def units(tables: dict[str, Table]) -> list[float | None]:
        table = tables["presence"]
        client, name = table.engine.client, table.name
        item = {**KEY, "a": {"S": "x" * size}, "n": {"N": "-12.5"}, "m": {"M": {"x": {"N": "12"}}}}
        asked: Any = {"TableName": name, "Key": KEY}
        with table.engine.metered(capacity=True) as meter:
            client.put_item(TableName=name, Item=item)
            client.get_item(**asked)
            client.get_item(**asked, ConsistentRead=True)
            client.update_item(
                **asked,
                UpdateExpression="SET a = :a",
                ExpressionAttributeValues={":a": {"S": "y" * again}},
            )
            client.query(
                TableName=name,
                KeyConditionExpression="#p = :p",
                ExpressionAttributeNames={"#p": "partition"},
                ExpressionAttributeValues={":p": KEY["partition"]},
            )
            client.delete_item(**asked)
            client.delete_item(**asked)
        return [call.units for call in meter.calls]

    assert units(pair.memory) == units(pair.local)


# ------------------------------------------------------- features that DynamoDB Local of 2020 lacks


@pytest.fixture
def database(clock: Clock) -> MemoryDynamoDB:
    """A database with the test's clock."""
    return MemoryDynamoDB(clock)


@pytest.fixture
def presence(database: MemoryDynamoDB) -> Table:
    """Its Presence table."""
    return Engine("memory", database.connect).create("presence")


def put(table: Table, session: str, **attributes: Values) -> None:
    """Write a row."""
    table.put({**KEY, "session": {"S": session}, **attributes})


def sessions(table: Table, *, consistent: bool) -> list[str]:
    """The items in the partition, by a query."""
    asked = query("#p = :p", HASH, ConsistentRead=consistent)
    answer = table.engine.client.query(
        TableName=table.name, ExpressionAttributeNames={"#p": "partition"}, **asked
    )
    return [item["session"]["S"] for item in answer["Items"]]


def test_a_failed_condition_returns_the_item_on_request(presence: Table) -> None:
    put(presence, "s1", a={"N": "1"})
    asked: Any = {
        **condition("a = :a", {":a": {"N": "2"}}),
        "ReturnValuesOnConditionCheckFailure": "ALL_OLD",
    }
    client = presence.engine.client
    with pytest.raises(ClientError) as alone:
        client.delete_item(TableName=presence.name, **asked)
    assert alone.value.response["Item"] == {**KEY, "a": {"N": "1"}}
    with pytest.raises(ClientError) as together:
        client.transact_write_items(
            TransactItems=[{"Delete": {"TableName": presence.name, **asked}}]
        )
    (reason,) = together.value.response["CancellationReasons"]
    assert reason["Item"] == {**KEY, "a": {"N": "1"}}


@pytest.mark.parametrize(("actions", "refused"), [(100, False), (101, True)])
def test_a_transaction_may_have_100_actions(presence: Table, actions: int, refused: bool) -> None:
    puts: Any = [
        {"Put": {"TableName": presence.name, "Item": {**KEY, "session": {"S": str(number)}}}}
        for number in range(actions)
    ]
    if refused:
        with pytest.raises(ClientError, match="100"):
            presence.engine.client.transact_write_items(TransactItems=puts)
    else:
        presence.engine.client.transact_write_items(TransactItems=puts)
    assert len(presence.rows()) == (0 if refused else actions)


def test_ttl_deletes_expired_rows_and_the_stream_says_so(
    presence: Table, database: MemoryDynamoDB, clock: Clock
) -> None:
    now = clock() // 1000
    put(presence, "due", ttl={"N": str(now - 60)})
    put(presence, "soon", ttl={"N": str(now - 59)})
    put(presence, "kept")
    put(presence, "no time", ttl={"S": "1"})
    put(presence, "long ago", ttl={"N": "1"})
    presence.new_records()
    assert database.expire(clock(), lag=60) == 1
    (record,) = presence.new_records()
    assert record["eventName"] == "REMOVE"
    assert record["dynamodb"]["Keys"]["session"] == {"S": "due"}
    assert record["userIdentity"] == {"Type": "Service", "PrincipalId": "dynamodb.amazonaws.com"}


def test_records_that_were_trimmed_are_gone_and_the_next_ones_come(
    presence: Table, database: MemoryDynamoDB
) -> None:
    put(presence, "s1")
    (first,) = presence.new_records()
    put(presence, "s2")
    database.trim()
    put(presence, "s3")
    (third,) = presence.new_records()
    assert third["dynamodb"]["Keys"]["session"] == {"S": "s3"}
    assert third["dynamodb"]["SequenceNumber"] > first["dynamodb"]["SequenceNumber"]


def test_an_eventually_consistent_read_sees_what_was_there_before_the_lag(
    presence: Table, database: MemoryDynamoDB, clock: Clock
) -> None:
    put(presence, "s1")
    put(presence, "s2")
    clock.advance(10)
    database.lag = 1000
    presence.engine.client.delete_item(TableName=presence.name, Key=KEY)
    put(presence, "s2", a={"N": "1"})
    put(presence, "s3")
    assert sessions(presence, consistent=True) == ["s2", "s3"]
    assert sessions(presence, consistent=False) == ["s1", "s2"]
    client = presence.engine.client
    late = [item["session"]["S"] for item in client.scan(TableName=presence.name)["Items"]]
    assert late == ["s1", "s2"]
    key: Any = {**KEY, "session": {"S": "s2"}}
    assert "a" not in client.get_item(TableName=presence.name, Key=key)["Item"]
    several: Any = {presence.name: {"Keys": [KEY, {**KEY, "session": {"S": "s3"}}]}}
    found = client.batch_get_item(RequestItems=several)["Responses"][presence.name]
    assert [item["session"]["S"] for item in found] == ["s1"]
    clock.advance(1)
    assert sessions(presence, consistent=False) == ["s2", "s3"]


def test_an_index_lags_too(database: MemoryDynamoDB, clock: Clock) -> None:
    headcounts = Engine("memory", database.connect).create("headcounts")
    database.lag = 1000
    headcounts.put({"space": {"S": "site:main"}, "live": {"S": "site"}})
    asked: Any = query("live = :k", {":k": {"S": "site"}}, IndexName="live")
    client = headcounts.engine.client
    assert client.query(TableName=headcounts.name, **asked)["Items"] == []
    clock.advance(1)
    assert len(client.query(TableName=headcounts.name, **asked)["Items"]) == 1
