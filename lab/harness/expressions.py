"""DynamoDB's expressions, parsed and compiled once per text and names, then called.

Supports the whole condition grammar, SET, REMOVE and ADD on attributes and maps, key conditions and
projections, on items in DynamoDB's JSON (``{"name": {"S": "x"}}``), numbers normalized. What the
product does not use raises NotImplementedError: sets, and list elements in updates.
"""

# ruff: noqa: ARG005 - every operand and condition takes an item and values

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from decimal import Context, Decimal, DecimalException
from functools import cache, lru_cache
from typing import Any, NoReturn

Value = dict[str, Any]
Item = dict[str, Value]
Steps = tuple[str | int, ...]
Operand = Callable[[Item, Item], "Value | None"]
Condition = Callable[[Item, Item], bool]
Check = Callable[[Item], None]

MAX_BYTES = 4096
_DIGITS = 38
_NUMBERS = Context(prec=_DIGITS, Emax=125, Emin=-130)
_SCALARS = frozenset({"S", "N", "B"})
_COMPARATORS = frozenset({"=", "<>", "<", "<=", ">", ">="})
_TOKEN = re.compile(r"\s*(?:([A-Za-z_]\w*|[#:][\w-]+|\d+)|(<>|<=|>=|[=<>()+\-,.\[\]]))")


class InvalidError(Exception):
    """A ValidationException, with its message."""


def refuse(message: str) -> NoReturn:
    """Refuse a request as invalid."""
    raise InvalidError(message)


# ---------------------------------------------------------------------------------------- values

_PYTHON = {"S": str, "N": str, "B": (bytes, bytearray), "BOOL": bool, "M": dict, "L": list}


def normal(value: Any, depth: int = 0) -> Value:
    """A copy of a value with its numbers as DynamoDB returns them: ``1.50`` becomes ``1.5``."""
    if len(value) != 1:
        refuse("Supplied AttributeValue must contain exactly one of the supported datatypes")
    ((kind, inner),) = value.items()
    if kind == "S" and type(inner) is str:  # most are
        return {kind: inner}
    if kind == "NULL":
        return {kind: inner}
    if kind not in _PYTHON:
        raise NotImplementedError(f"the memory engine has no attributes of type {kind}")
    if not isinstance(inner, _PYTHON[kind]):  # type: ignore[arg-type]
        raise TypeError(f"{inner!r} is no {kind}")  # the SDK would not send it
    if kind == "N":
        return {kind: number(inner)}
    if kind in {"M", "L"} and depth == 32:
        refuse("Nesting Levels have exceeded supported limits")
    if kind == "M":
        return {kind: {name: normal(part, depth + 1) for name, part in inner.items()}}
    if kind == "L":
        return {kind: [normal(part, depth + 1) for part in inner]}
    return {kind: inner}


def number(text: str) -> str:
    """A number in its canonical form: plain digits without insignificant zeros."""
    if text.isdecimal() and text.isascii() and len(text) <= _DIGITS and text[0] != "0":
        return text
    try:
        parsed = Decimal(text)
    except DecimalException:
        refuse(f"The parameter cannot be converted to a numeric value: {text}")
    if not parsed.is_finite():
        refuse(f"The parameter cannot be converted to a numeric value: {text}")
    parsed = parsed.normalize(Context(prec=1000))
    if len(parsed.as_tuple().digits) > _DIGITS:
        refuse("Attempting to store more than 38 significant digits in a Number")
    if parsed and not _NUMBERS.Emin <= parsed.adjusted() <= _NUMBERS.Emax:
        refuse("Number overflow or underflow: its magnitude is out of the supported range")
    return f"{parsed:f}" if parsed else "0"


def _plus(left: Value, right: Value, sign: int) -> Value:
    one, other = left["N"], right["N"]
    if one.isdecimal() and other.isdecimal() and len(one) < _DIGITS > len(other):
        return {"N": str(int(one) + sign * int(other))}
    total = _NUMBERS.add(Decimal(one), sign * Decimal(other))
    return {"N": number(str(total))}


def _type(value: Value) -> str:
    (kind,) = value
    return kind


def comparable(value: Value) -> Any:
    """A string, number or binary as a Python value that can be ordered."""
    ((kind, inner),) = value.items()
    if kind == "N":
        return int(inner) if inner.isdecimal() else Decimal(inner)
    return inner


# ---------------------------------------------------------------------------------------- plans


@dataclass
class Plan:
    """A request's parsed expressions, with attribute names substituted."""

    condition: Condition | None = None
    update: Update | None = None
    filter: Condition | None = None
    keys: list[KeyTerm] | None = None
    projection: list[Steps] | None = None
    values: set[str] = field(default_factory=set)
    checks: list[Check] = field(default_factory=list)

    def accept(self, values: Mapping[str, Value] | None) -> Item:
        """The request's normalized values, if they are exactly those that the expressions name."""
        if values is None:
            values = {}
        elif not values:
            refuse("ExpressionAttributeValues must not be empty")
        if values.keys() != self.values:
            for name in self.values - values.keys():
                refuse(f"An expression attribute value used in expression is not defined: {name}")
            unused = ", ".join(values.keys() - self.values)
            refuse(f"Value provided in ExpressionAttributeValues unused in expressions: {unused}")
        accepted = {name: normal(value) for name, value in values.items()}
        for check in self.checks:
            check(accepted)
        return accepted


@dataclass(frozen=True)
class KeyTerm:
    """A term of a key condition: ``=``, ``<`` and so on, ``BETWEEN``, ``begins_with``."""

    attribute: str
    operator: str
    operands: tuple[str, ...]


@dataclass
class Update:
    """The actions of an update expression."""

    sets: list[tuple[Steps, Operand]] = field(default_factory=list)
    removes: list[Steps] = field(default_factory=list)
    adds: list[tuple[Steps, str]] = field(default_factory=list)

    def attributes(self) -> set[str]:
        """The top-level attributes that it changes."""
        paths = [path for path, _ in self.sets] + self.removes + [path for path, _ in self.adds]
        return {str(path[0]) for path in paths}

    def apply(self, item: Item, values: Item) -> Item:
        """The updated item. All reads happen before any write."""
        new = dict(item)
        written = [(path, operand(item, values)) for path, operand in self.sets]
        for path, value in written:
            if value is None:
                refuse("The provided expression refers to an attribute that does not exist")
            _write(new, path, value)
        for path, name in self.adds:
            old, value = _read(item, path), values[name]
            if old is not None and "N" not in old:
                refuse("An operand in the update expression has an incorrect data type")
            _write(new, path, value if old is None else _plus(old, value, 1))
        for path in self.removes:
            _write(new, path, None)
        return new


@lru_cache(maxsize=8192)
def plan(
    names: tuple[tuple[str, str], ...] | None,
    *,
    condition: str | None = None,
    update: str | None = None,
    filter_: str | None = None,
    keys: str | None = None,
    projection: str | None = None,
) -> Plan:
    """The plan of a request's expressions; InvalidError where DynamoDB would refuse them."""
    made = Plan()
    substitutes = dict(names or ())
    used: set[str] = set()

    def parser(kind: str, text: str) -> _Parser:
        return _Parser(kind, text, substitutes, used, made)

    if names is not None and not substitutes:
        refuse("ExpressionAttributeNames must not be empty")
    if condition is not None:
        made.condition = parser("ConditionExpression", condition).condition()
    if update is not None:
        made.update = parser("UpdateExpression", update).update()
    if filter_ is not None:
        made.filter = parser("FilterExpression", filter_).condition()
    if keys is not None:
        made.keys = parser("KeyConditionExpression", keys).key_condition()
    if projection is not None:
        made.projection = parser("ProjectionExpression", projection).projection()
    if unused := substitutes.keys() - used:
        unused_names = ", ".join(sorted(unused))
        refuse(f"Value provided in ExpressionAttributeNames unused in expressions: {unused_names}")
    return made


def project(item: Item, paths: list[Steps]) -> Item:
    """The parts of an item at these paths."""
    found: Item = {}
    for path in paths:
        value = _read(item, path)
        if value is None:
            continue
        inside = found
        for step in path[:-1]:
            assert isinstance(step, str)
            inside = inside.setdefault(step, {"M": {}})["M"]
        assert isinstance(path[-1], str)
        inside[path[-1]] = value
    return found


# ---------------------------------------------------------------------------------------- paths


def _read(item: Item, path: Steps) -> Value | None:
    value: Value | None = item.get(path[0])  # type: ignore[arg-type]
    for step in path[1:]:
        if value is None:
            return None
        if isinstance(step, int):
            inside = value.get("L", ())
            value = inside[step] if step < len(inside) else None
        else:
            value = value.get("M", {}).get(step)
    return value


def _write(item: Item, path: Steps, value: Value | None) -> None:
    """Set the value at a path (None: remove it) without changing maps that others may share."""
    inside = item
    for step in path[:-1]:
        assert isinstance(step, str)
        if "M" not in inside.get(step, {}):
            refuse("The document path provided in the update expression is invalid for update")
        copied = dict(inside[step]["M"])
        inside[step] = {"M": copied}
        inside = copied
    last = path[-1]
    assert isinstance(last, str)
    if value is None:
        inside.pop(last, None)
    else:
        inside[last] = value


def _overlap(one: Steps, other: Steps) -> bool:
    shorter = min(len(one), len(other))
    return one[:shorter] == other[:shorter]


@cache
def _reserved() -> frozenset[str]:
    from moto.dynamodb.parsing.reserved_keywords import ReservedKeywords

    return frozenset(ReservedKeywords.get_reserved_keywords())


# ---------------------------------------------------------------------------------------- parser


class _Parser:
    def __init__(
        self, kind: str, text: str, names: Mapping[str, str], used: set[str], plan: Plan
    ) -> None:
        self._kind = kind
        self._names = names
        self._used = used
        self._plan = plan
        if not text.strip():
            self._refuse("The expression can not be empty")
        if len(text.encode()) > MAX_BYTES:
            self._refuse("Expression size has exceeded the maximum allowed size")
        self._tokens = list(self._split(text))
        self._at = 0

    def condition(self) -> Condition:
        """A condition or filter."""
        parsed = self._or()
        self._end()
        return parsed

    def key_condition(self) -> list[KeyTerm]:
        """Terms joined by AND."""
        terms = self._key_terms()
        self._end()
        return terms

    def projection(self) -> list[Steps]:
        """Paths, separated by commas."""
        paths = list(self._listed(self._map_path))
        self._end()
        self._apart(paths)
        return paths

    def update(self) -> Update:
        """SET, REMOVE and ADD sections, each at most once."""
        made = Update()
        seen: set[str] = set()
        while not self._ended():
            section = self._next().upper()
            if section in seen:
                self._refuse(f'The "{section}" section can only be used once')
            seen.add(section)
            match section:
                case "SET":
                    made.sets += self._listed(self._assignment)
                case "REMOVE":
                    made.removes += self._listed(self._map_path)
                case "ADD":
                    made.adds += self._listed(self._addition)
                case "DELETE":
                    raise NotImplementedError("the memory engine has no sets to delete from")
                case _:
                    self._refuse(f"Syntax error at {section}")
        paths = [path for path, _ in made.sets] + made.removes + [path for path, _ in made.adds]
        self._apart(paths)
        return made

    # ------------------------------------------------------------------------------- updates

    def _assignment(self) -> tuple[Steps, Operand]:
        path = self._map_path()
        self._take("=")
        left = self._set_operand()
        while (sign := self._peek()) in {"+", "-"}:
            self._next()
            left = self._sum(left, self._set_operand(), 1 if sign == "+" else -1)
        return path, left[0]

    def _set_operand(self) -> tuple[Operand, str | None]:
        """An operand, and its name if it is a value of the request."""
        token = self._peek()
        if token == "if_not_exists" and self._peek(1) == "(":
            self._at += 2
            path = self._path()
            self._take(",")
            other, _ = self._set_operand()
            self._take(")")
            return lambda item, values: _read(item, path) or other(item, values), None
        if token is not None and token[0] == ":":
            return self._value(), token
        if self._peek(1) == "(":
            self._refuse(f"Invalid function name; function: {token}")
        path = self._path()
        return lambda item, values: _read(item, path), None

    def _sum(
        self, left: tuple[Operand, str | None], right: tuple[Operand, str | None], sign: int
    ) -> tuple[Operand, None]:
        for _, name in (left, right):
            if name is not None:
                self._restrict(name, "+" if sign > 0 else "-", frozenset("N"))
        (one, _), (other, _) = left, right

        def total(item: Item, values: Item) -> Value | None:
            first, second = one(item, values), other(item, values)
            if first is None or second is None:
                return None
            if "N" not in first or "N" not in second:
                refuse("An operand in the update expression has an incorrect data type")
            return _plus(first, second, sign)

        return total, None

    def _addition(self) -> tuple[Steps, str]:
        path = self._map_path()
        name = self._value_name()
        self._restrict(name, "ADD", frozenset("N"))
        return path, name

    # ------------------------------------------------------------------------------ conditions

    def _or(self) -> Condition:
        parts = [self._and()]
        while self._keyword("OR"):
            parts.append(self._and())
        if len(parts) == 1:
            return parts[0]
        return lambda item, values: any(part(item, values) for part in parts)

    def _and(self) -> Condition:
        parts = [self._not()]
        while self._keyword("AND"):
            parts.append(self._not())
        if len(parts) == 1:
            return parts[0]
        return lambda item, values: all(part(item, values) for part in parts)

    def _not(self) -> Condition:
        if self._keyword("NOT"):
            negated = self._not()
            return lambda item, values: not negated(item, values)
        if self._peek() == "(":
            self._next()
            parsed = self._or()
            self._take(")")
            return parsed
        return self._term()

    def _term(self) -> Condition:
        if self._peek(1) == "(" and self._peek() != "size":
            return self._function()
        left, name = self._operand()
        operator = self._next()
        if operator in _COMPARATORS:
            right, other = self._operand()
            for one in (name, other):
                if one is not None and operator not in {"=", "<>"}:
                    self._restrict(one, operator, _SCALARS)
            return _comparison(left, operator, right)
        if operator.upper() == "BETWEEN":
            low, low_name = self._operand()
            if not self._keyword("AND"):
                self._refuse("Syntax error: BETWEEN needs an AND")
            high, high_name = self._operand()
            for one in (name, low_name, high_name):
                if one is not None:
                    self._restrict(one, "BETWEEN", _SCALARS)
            self._ordered(low_name, high_name)
            above, below = _comparison(left, ">=", low), _comparison(left, "<=", high)
            return lambda item, values: above(item, values) and below(item, values)
        if operator.upper() != "IN":
            self._refuse(f"Syntax error at {operator}")
        self._take("(")
        others = [operand for operand, _ in self._listed(self._operand)]
        self._take(")")
        equal = [_comparison(left, "=", other) for other in others]
        return lambda item, values: any(one(item, values) for one in equal)

    def _function(self) -> Condition:
        name = self._next()
        self._take("(")
        if name in {"attribute_exists", "attribute_not_exists"}:
            path = self._path()
            self._take(")")
            if name == "attribute_exists":
                return lambda item, values: _read(item, path) is not None
            return lambda item, values: _read(item, path) is None
        if name not in {"begins_with", "contains", "attribute_type"}:
            self._refuse(f"Invalid function name; function: {name}")
        left, left_name = self._operand()
        self._take(",")
        right, right_name = self._operand()
        self._take(")")
        if name == "begins_with":
            for one in (left_name, right_name):
                if one is not None:
                    self._restrict(one, name, frozenset("SB"))
            return lambda item, values: _begins(left(item, values), right(item, values))
        if name == "contains":
            return lambda item, values: _contains(left(item, values), right(item, values))
        return lambda item, values: _is_of_type(left(item, values), right(item, values))

    def _operand(self) -> tuple[Operand, str | None]:
        """An operand of a condition, and its name if it is a value of the request."""
        token = self._peek()
        if token is not None and token[0] == ":":
            return self._value(), token
        if token == "size" and self._peek(1) == "(":
            self._at += 2
            path = self._path()
            self._take(")")
            return lambda item, values: _size(_read(item, path)), None
        path = self._path()
        if len(path) == 1:
            name = path[0]
            return lambda item, values: item.get(name), None
        return lambda item, values: _read(item, path), None

    # --------------------------------------------------------------------------- key conditions

    def _key_terms(self) -> list[KeyTerm]:
        terms = self._key_term()
        while self._keyword("AND"):
            terms += self._key_term()
        return terms

    def _key_term(self) -> list[KeyTerm]:
        if self._peek() == "(":
            self._next()
            terms = self._key_terms()
            self._take(")")
            return terms
        if self._peek() == "begins_with" and self._peek(1) == "(":
            self._at += 2
            attribute = self._attribute()
            self._take(",")
            name = self._value_name()
            self._restrict(name, "begins_with", frozenset("SB"))
            self._take(")")
            return [KeyTerm(attribute, "begins_with", (name,))]
        attribute, operator = self._attribute(), self._next()
        if operator.upper() == "BETWEEN":
            low = self._value_name()
            if not self._keyword("AND"):
                self._refuse("Syntax error: BETWEEN needs an AND")
            high = self._value_name()
            self._ordered(low, high)
            return [KeyTerm(attribute, "BETWEEN", (low, high))]
        if operator not in _COMPARATORS - {"<>"}:
            self._refuse(f"Invalid operator used in KeyConditionExpression: {operator}")
        return [KeyTerm(attribute, operator, (self._value_name(),))]

    def _attribute(self) -> str:
        path = self._path()
        if len(path) > 1:
            self._refuse("KeyConditionExpressions cannot have conditions on nested attributes")
        return str(path[0])

    # ----------------------------------------------------------------------------------- parts

    def _value_name(self) -> str:
        name = self._next()
        if name[0] != ":":
            self._refuse(f"Syntax error at {name}")
        self._plan.values.add(name)
        return name

    def _value(self) -> Operand:
        name = self._value_name()
        return lambda item, values: values[name]

    def _map_path(self) -> Steps:
        path = self._path()
        if not all(isinstance(step, str) for step in path):
            raise NotImplementedError("the memory engine writes and projects no list elements")
        return path

    def _path(self) -> Steps:
        steps: list[str | int] = [self._name()]
        while (token := self._peek()) in {".", "["}:
            self._next()
            if token == ".":
                steps.append(self._name())
            else:
                steps.append(int(self._next()))
                self._take("]")
        return tuple(steps)

    def _name(self) -> str:
        token = self._next()
        if token[0] == "#":
            if token not in self._names:
                self._refuse(f"An expression attribute name used is not defined: {token}")
            self._used.add(token)
            return self._names[token]
        if not (token[0].isalpha() or token[0] == "_"):
            self._refuse(f"Syntax error at {token}")
        if token.upper() in _reserved():
            self._refuse(f"Attribute name is a reserved keyword; reserved keyword: {token}")
        return token

    def _listed(self, part: Callable[[], Any]) -> Iterator[Any]:
        yield part()
        while self._peek() == ",":
            self._next()
            yield part()

    def _apart(self, paths: list[Steps]) -> None:
        """Refuse paths that overlap."""
        for index, path in enumerate(paths):
            if any(_overlap(path, other) for other in paths[:index]):
                self._refuse(f"Two document paths overlap with each other; one is {list(path)}")

    def _restrict(self, name: str, operator: str, kinds: frozenset[str]) -> None:
        """Refuse the request if that value has another type."""

        def check(values: Item) -> None:
            if _type(values[name]) not in kinds:
                self._refuse(f"Incorrect operand type for operator or function: {operator}")

        self._plan.checks.append(check)

    def _ordered(self, low: str | None, high: str | None) -> None:
        """Refuse the request if two of its values are no lower and upper bound."""
        if low is None or high is None:
            return

        def check(values: Item) -> None:
            first, second = values[low], values[high]
            if _type(first) != _type(second):
                self._refuse("The BETWEEN operator requires same data type for both bounds")
            if comparable(first) > comparable(second):
                self._refuse("The BETWEEN operator requires the upper bound not to be the lower")

        self._plan.checks.append(check)

    # ---------------------------------------------------------------------------------- tokens

    def _split(self, text: str) -> Iterator[str]:
        at = 0
        text = text.rstrip()
        while at < len(text):
            match = _TOKEN.match(text, at)
            if match is None:
                self._refuse(f"Syntax error; token: {text[at:].strip()[:1]}")
            at = match.end()
            yield match[1] or match[2]

    def _peek(self, ahead: int = 0) -> str | None:
        at = self._at + ahead
        return self._tokens[at] if at < len(self._tokens) else None

    def _next(self) -> str:
        token = self._peek()
        if token is None:
            self._refuse("Syntax error; token: <EOF>")
        self._at += 1
        return token

    def _take(self, token: str) -> None:
        if (found := self._next()) != token:
            self._refuse(f"Syntax error; token: {found}, expected {token}")

    def _keyword(self, word: str) -> bool:
        token = self._peek()
        if token is None or token.upper() != word:
            return False
        self._at += 1
        return True

    def _ended(self) -> bool:
        return self._at == len(self._tokens)

    def _end(self) -> None:
        if not self._ended():
            self._refuse(f"Syntax error; token: {self._peek()}")

    def _refuse(self, what: str) -> NoReturn:
        refuse(f"Invalid {self._kind}: {what}")


# ------------------------------------------------------------------------------------ comparisons


def _comparison(left: Operand, operator: str, right: Operand) -> Condition:
    """A comparison. Values that are missing or of different types are unequal and unordered."""
    if operator == "=":

        def equal(item: Item, values: Item) -> bool:
            one = left(item, values)
            return one is not None and one == right(item, values)

        return equal
    if operator == "<>":
        return lambda item, values: left(item, values) != right(item, values)
    decide: Callable[[Any, Any], bool] = {
        "<": lambda one, other: one < other,
        "<=": lambda one, other: one <= other,
        ">": lambda one, other: one > other,
        ">=": lambda one, other: one >= other,
    }[operator]

    def ordered(item: Item, values: Item) -> bool:
        one, other = left(item, values), right(item, values)
        if one is None or other is None:
            return False
        kind = _type(one)
        if kind not in _SCALARS or kind != _type(other):
            return False
        return decide(comparable(one), comparable(other))

    return ordered


def _begins(value: Value | None, start: Value | None) -> bool:
    if value is None or start is None or value.keys() != start.keys():
        return False
    ((kind, inner),) = value.items()
    return kind in {"S", "B"} and bool(inner.startswith(start[kind]))


def _contains(value: Value | None, part: Value | None) -> bool:
    if value is None or part is None:
        return False
    if "L" in value:
        return part in value["L"]
    kind = _type(value)
    return kind in {"S", "B"} and kind in part and part[kind] in value[kind]


def _is_of_type(value: Value | None, kind: Value | None) -> bool:
    return value is not None and kind is not None and _type(value) == kind.get("S")


def _size(value: Value | None) -> Value | None:
    if value is None:
        return None
    ((kind, inner),) = value.items()
    match kind:
        case "S":
            return {"N": str(len(inner.encode()))}
        case "B" | "M" | "L":
            return {"N": str(len(inner))}
    return None
