"""Convex's sync protocol: what a connection's client knows, and what to send it next. Pure.

The client has a version: of its set of queries, of its identity, and a timestamp. A Transition
leads from one version to the next, and the client throws at one that begins elsewhere. So all that
happens to a connection is a ``Cause``, and its causes are applied one after another: ``apply``
says which queries to evaluate, ``finish`` makes the messages.

A client's frames may overtake each other on their way here. Those that change its queries or its
identity name the version that they change: one that came too early waits in the state.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Iterable, Mapping
from typing import Any

import msgspec
from msgspec import Struct, field
from msgspec.structs import replace

from headcount.model.access import Caller
from headcount.times import SECOND

MAX_QUERIES = 50
"""Queries of a connection at a time."""
MAX_CAUSES, WINDOW = 400, 10 * SECOND
"""Causes of a connection in so many milliseconds. A page that mounts twice, as React does it in
development, sends four frames for each query and mutation."""
MAX_WAITING = 20
"""Frames that may wait for one that they overtook."""
LONGEST_WAIT = 10 * SECOND
"""How long they wait before that one must be lost."""
MAX_MESSAGE = 24_000
"""Characters of modifications in a Transition, well under API Gateway's 32 KB for a frame: more are
sent in several, one after another."""
MAX_TS = 2**63
"""Timestamps are below it. The client's may be up to half of it: no clock comes near that."""
_TS_BYTES = 8

Message = dict[str, Any]


class Watched(Struct, frozen=True, omit_defaults=True):
    """A query of the set. ``args`` are those that its value depends on. ``error``: it can't be
    evaluated, by any caller. ``space``: the one that it is about."""

    path: str
    args: dict[str, Any] = field(default_factory=dict)
    space: str | None = None
    error: str | None = None
    digest: str = ""
    """Of the result that the client has; empty: it has none."""


# ------------------------------------------------------------------------------------------ causes


class Connected(Struct, frozen=True, tag="connected"):
    """The client named itself, and the highest timestamp that it has seen."""

    client: str
    observed: int = 0


class Modified(Struct, frozen=True, tag="modified", omit_defaults=True):
    """The client's queries: from the version ``base`` to the version ``new`` of their set."""

    base: int
    new: int
    added: dict[int, Watched] = field(default_factory=dict)
    removed: list[int] = field(default_factory=list)


class Identified(Struct, frozen=True, tag="identified", omit_defaults=True):
    """Who the client is, by a token that was verified; None: nobody. ``until``: when the token ends
    (epoch milliseconds)."""

    base: int
    caller: Caller | None = None
    until: int = 0


class Settled(Struct, frozen=True, tag="settled", omit_defaults=True):
    """A mutation was run. ``error``: it failed. ``space``: where it changed something."""

    request: int
    error: str | None = None
    space: str | None = None


class Changed(Struct, frozen=True, tag="changed"):
    """A space has a new version."""

    space: str


Cause = Connected | Modified | Identified | Settled | Changed


class Waiting(Struct, frozen=True):
    """A cause that overtook another, and since when it waits."""

    cause: Modified | Identified
    since: int


class SyncState(Struct, frozen=True, omit_defaults=True):
    """What a connection's client knows, and who it is. Times are epoch milliseconds."""

    since: int = 0
    source: str = ""
    """An alias of the network that it connected from."""
    seen: dict[str, str] = field(default_factory=dict)
    """Facets that followed from its request's headers."""
    robot: str | None = None
    client: str | None = None
    query_set: int = 0
    identity: int = 0
    ts: int = 0
    observed: int = 0
    caller: Caller | None = None
    until: int = 0
    queries: dict[int, Watched] = field(default_factory=dict)
    waiting: list[Waiting] = field(default_factory=list)
    causes: int = 0
    window: int = 0
    settled: int = 0
    """Mutations that were run."""
    last: str = ""
    """The queue's message that was applied last. If it comes again, its messages to the client may
    have been sent or not."""

    def spaces(self) -> set[str]:
        """The spaces that its queries are about."""
        return {one.space for one in self.queries.values() if one.space is not None}

    def caller_at(self, now: int) -> Caller | None:
        """Who the client is, as long as its token proves it."""
        return self.caller if now < self.until else None


class Step(Struct, frozen=True):
    """A state with a cause applied: what has to be evaluated and sent."""

    state: SyncState
    evaluate: frozenset[int] = frozenset()
    removed: frozenset[int] = frozenset()
    responses: tuple[Settled, ...] = ()


class Result(Struct, frozen=True):
    """What a query returned, or why it failed."""

    value: Any = None
    error: str | None = None


class ProtocolError(Exception):
    """The client breaks the protocol or exceeds its bounds: its end, with the reason."""


class LostError(Exception):
    """A frame of the client is missing, or it sends too much: it has to start over."""


_STATE = msgspec.json.Decoder(SyncState)
_CAUSE = msgspec.json.Decoder(Cause)


def pack(value: SyncState | Cause) -> str:
    """As JSON."""
    return msgspec.json.encode(value).decode()


def unpack_state(text: str) -> SyncState:
    """The inverse of ``pack``."""
    return _STATE.decode(text)


def unpack_cause(text: str) -> Cause:
    """The inverse of ``pack``."""
    return _CAUSE.decode(text)


# ------------------------------------------------------------------------------------------- steps


def apply(state: SyncState, cause: Cause, now: int) -> Step:
    """Apply a cause, and those that waited for it. Raises ProtocolError or LostError."""
    if not isinstance(cause, Changed):
        state = _charged(state, now)
    step = _apply(state, cause, now)
    while (ready := _ready(step.state)) is not None:
        waiting = [one for one in step.state.waiting if one is not ready]
        after = _apply(replace(step.state, waiting=waiting), ready.cause, now)
        step = Step(
            after.state,
            (step.evaluate | after.evaluate) - after.removed,
            step.removed | after.removed,
            step.responses + after.responses,
        )
    new = step.state
    # A client begins with its name and its queries, even if these are none.
    begins = new.client is None or new.query_set == 0
    since = [one.since for one in new.waiting] + ([new.since] if begins else [])
    if any(now - one > LONGEST_WAIT for one in since):
        raise LostError("a frame is missing")
    return step


def _apply(state: SyncState, cause: Cause, now: int) -> Step:
    match cause:
        case Connected(client, observed):
            seen = observed if observed < MAX_TS // 2 else 0
            return Step(replace(state, client=client, observed=seen))
        case Modified(base):
            if base == state.query_set:
                return _modified(state, cause)
            return _later(state, cause, now, late=base < state.query_set)
        case Identified(base, caller, until):
            if base == state.identity:
                new = replace(state, identity=base + 1, caller=caller, until=until)
                return Step(new, frozenset(new.queries))
            return _later(state, cause, now, late=base < state.identity)
        case Settled() | Changed():
            about = [n for n, one in state.queries.items() if one.space == cause.space is not None]
            responses = (cause,) if isinstance(cause, Settled) else ()
            new = replace(state, settled=state.settled + len(responses))
            return Step(new, frozenset(about), responses=responses)


def _modified(state: SyncState, cause: Modified) -> Step:
    removed = frozenset(cause.removed) & state.queries.keys()
    kept = {number: one for number, one in state.queries.items() if number not in removed}
    queries = kept | cause.added
    if len(queries) > MAX_QUERIES:
        raise ProtocolError(f"A connection may have at most {MAX_QUERIES} queries at a time.")
    new = replace(state, query_set=cause.new, queries=queries)
    return Step(new, frozenset(cause.added), removed - cause.added.keys())


def _later(state: SyncState, cause: Modified | Identified, now: int, *, late: bool) -> Step:
    if late:  # applied already
        return Step(state)
    if len(state.waiting) >= MAX_WAITING:
        raise LostError("too many frames wait for one that is missing")
    return Step(replace(state, waiting=[*state.waiting, Waiting(cause, now)]))


def _ready(state: SyncState) -> Waiting | None:
    for one in state.waiting:
        base = state.query_set if isinstance(one.cause, Modified) else state.identity
        if one.cause.base <= base:
            return one
    return None


def _charged(state: SyncState, now: int) -> SyncState:
    if not 0 <= now - state.window < WINDOW:
        return replace(state, window=now, causes=1)
    if state.causes >= MAX_CAUSES:
        raise LostError("too many frames")
    return replace(state, causes=state.causes + 1)


def finish(
    before: SyncState, step: Step, results: Mapping[int, Result], now: int
) -> tuple[SyncState, list[Message]]:
    """The new state, and what to send for it, in this order; nothing if the client need not know.

    A mutation's response comes before the Transition that reaches its timestamp: the client
    fulfils the mutation's promise when it has both.
    """
    state = step.state
    queries = dict(state.queries)
    modifications: list[Message] = [
        {"type": "QueryRemoved", "queryId": number}
        for number in sorted(step.removed & before.queries.keys())
    ]
    for number, result in sorted(results.items()):
        digest = _digest(result)
        if digest != queries[number].digest:
            queries[number] = replace(queries[number], digest=digest)
            modifications.append(_modification(number, result))
    same = (state.query_set, state.identity) == (before.query_set, before.identity)
    if same and not modifications and all(one.error is not None for one in step.responses):
        return state, [_response(one, state.ts) for one in step.responses]
    parts = list(_parts(modifications))
    # Each version of the clock's milliseconds has room for a million Transitions.
    end = max(now * 1_000_000, state.ts + 1, state.observed) + len(parts)
    if end >= MAX_TS:
        raise ProtocolError("The timestamp is too high.")
    messages = [_response(one, end) for one in step.responses]
    version = _version(before)
    for number, part in enumerate(parts, 1 - len(parts)):
        # Only the last has the new version: until then, the client has not seen all of it.
        whole = state if number == 0 else before
        after = _version(whole, end + number)
        messages.append(
            {
                "type": "Transition",
                "startVersion": version,
                "endVersion": after,
                "modifications": part,
            }
        )
        version = after
    return replace(state, queries=queries, ts=end), messages


def _parts(modifications: Iterable[Message]) -> Iterable[list[Message]]:
    part: list[Message] = []
    size = 0
    for one in modifications:
        length = len(json.dumps(one))
        if part and size + length > MAX_MESSAGE:
            yield part
            part, size = [], 0
        part.append(one)
        size += length
    yield part


def _version(state: SyncState, ts: int | None = None) -> Message:
    stamp = timestamp(state.ts if ts is None else ts)
    return {"querySet": state.query_set, "identity": state.identity, "ts": stamp}


def _modification(number: int, result: Result) -> Message:
    common: Message = {"queryId": number, "logLines": [], "journal": None}
    if result.error is not None:
        return {"type": "QueryFailed", "errorMessage": result.error, **common}
    return {"type": "QueryUpdated", "value": result.value, **common}


def _response(settled: Settled, ts: int) -> Message:
    common: Message = {"type": "MutationResponse", "requestId": settled.request, "logLines": []}
    if settled.error is not None:
        return {**common, "success": False, "result": settled.error}
    return {**common, "success": True, "result": None, "ts": timestamp(ts)}


def _digest(result: Result) -> str:
    from hashlib import blake2b

    text = json.dumps([result.value, result.error], sort_keys=True)
    return blake2b(text.encode(), digest_size=8).hexdigest()


def timestamp(number: int) -> str:
    """A timestamp as the client reads it: 64 bits, little endian, in base64."""
    return base64.b64encode(number.to_bytes(_TS_BYTES, "little")).decode()


def read_timestamp(text: str) -> int:
    """The inverse of ``timestamp``. Raises ProtocolError."""
    try:
        data = base64.b64decode(text, validate=True)
    except ValueError:
        data = b""
    if len(data) != _TS_BYTES:
        raise ProtocolError("A timestamp must be 8 bytes in base64.")
    return int.from_bytes(data, "little")


def auth_error(error: str, base: int, *, attempted: bool) -> Message:
    """The client's token is not accepted, any more or at all (``attempted``): it gets another one,
    and starts over. ``base``: the version of the identity before that token's."""
    return {
        "type": "AuthError",
        "error": error,
        "baseVersion": base,
        "authUpdateAttempted": attempted,
    }


def fatal_error(error: str) -> Message:
    """The client gives up: it closes the connection and does not come back."""
    return {"type": "FatalError", "error": error}
