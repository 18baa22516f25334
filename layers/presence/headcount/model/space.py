"""Spaces (``kind:id``) and the kinds a deployment declares."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Mapping

from msgspec import Struct

from headcount.errors import InvalidRequestError

KIND = re.compile(r"[a-z][a-z0-9-]{0,31}")
ID = re.compile(r"[A-Za-z0-9._~@:+-]{1,128}")
SPACE = re.compile(rf"({KIND.pattern}):({ID.pattern})")


ROLLUP = "~"
"""The beginning of the id of a roll-up, and of no space's: see ``model.rollups``."""
_ROLLUPS = (f"{ROLLUP}kind:", f"{ROLLUP}group:", f"{ROLLUP}rollups")

ENGAGEMENT = ("chat", "reaction", "share")


class Kind(Struct, frozen=True):
    """The settings of a kind of space. Times are seconds."""

    name: str
    lease: int = 60
    hidden_lease: int = 180
    beat: int = 30
    hidden_beat: int = 60
    fixed: frozenset[str] = frozenset()
    """Which of ``lease``, ``hidden``, ``beat`` and ``hidden-beat`` the declaration names. The
    others grow with the space, for native clients (see ``model.intervals``)."""
    accuracy: float = 1.0
    """The mean error of the published people that this may lead to, in percent of the sessions; one
    person is always allowed."""
    counts_are_public: bool = False
    names: str = "admin"  # access to people's names: "admin", "users" (any valid token), "public"
    engagement: tuple[str, ...] = ENGAGEMENT
    """The names that are counted: without a list, strangers could fill a row with others."""
    ids: tuple[str, ...] = ()
    """The only valid ids; empty: any. With a list, strangers can't create other spaces."""
    messages_are_public: bool = False
    """Whether everyone in a space gets its message to everyone, or only readers of its counts."""
    counts_robots: bool = False
    """Whether crawlers, monitors and automated browsers count, under the facet ``robot``."""
    sources: bool = True
    """Whether referrers, campaigns, entry pages, browsers, systems, languages and new visitors are
    stored, as facets."""

    def lease_for(self, state: str) -> int:
        """How long a beat in this state keeps a session alive, in seconds."""
        return self.hidden_lease if state == "hidden" else self.lease

    def beat_for(self, state: str) -> int:
        """The time until the next beat in this state, in seconds."""
        return self.hidden_beat if state == "hidden" else self.beat


class Space(Struct, frozen=True):
    """A space whose kind is declared."""

    id: str
    kind: Kind


class Kinds:
    """The declared kinds, read from the ``Kinds`` template parameter.

    The text has one word per kind: its name, then optional settings, for example
    ``site:ids=main+blog,counts=public link:lease=300 doc``. Settings: ``ids``, the only valid ones
    (default: any); ``lease``, ``hidden`` (lease while hidden), ``beat``, ``hidden-beat`` in
    seconds; ``beat=auto`` (the default): 30 s, and up to 120 s in a crowd; ``accuracy``: the mean
    error that this may lead to, as ``0.5%`` (default: ``1%``); ``counts``: ``public`` or
    ``admin``; ``messages`` (to everyone in a space): the same (default: as ``counts``, because a
    stranger can be in any space); ``names``: ``admin``, ``users`` (any valid token) or ``public``;
    ``engagement``: the names to count (default: ``chat+reaction+share``); ``robots``: ``drop`` or
    ``count``; ``sources``: ``on`` or ``off``. Raises ValueError if it is not valid.
    """

    def __init__(self, text: str) -> None:
        kinds = [_parse_kind(word) for word in text.split()]
        self._kinds = {kind.name: kind for kind in kinds}
        if len(self._kinds) < len(kinds):
            raise ValueError(f"a kind is declared twice: {text}")
        if not self._kinds:
            raise ValueError("declare at least one kind, for example 'site:counts=public'")

    def __iter__(self) -> Iterator[Kind]:
        return iter(self._kinds.values())

    @property
    def names(self) -> list[str]:
        """The declared names, sorted."""
        return sorted(self._kinds)

    def declares(self, space: str) -> bool:
        """Whether the declaration names the space itself, by ``ids``."""
        kind, _, id_ = space.partition(":")
        return kind in self._kinds and id_ in self._kinds[kind].ids

    def known(self, space: str) -> Kind | None:
        """The kind of a stored space; None if it is no longer declared."""
        return self._kinds.get(kind_of(space))

    def kind(self, name: str) -> Kind:
        """The declared kind of that name. Raises InvalidRequestError."""
        found = self._kinds.get(name)
        if found is None:
            valid = KIND.fullmatch(name)
            shown = f"The kind {name!r}" if valid else "That kind"
            declared = f"{name if valid else 'name'}:counts=public"
            raise InvalidRequestError(
                f"{shown} is not declared here. Use one of: {', '.join(self.names)}. "
                f"To declare another: make run KINDS={declared} on your machine, the parameter "
                "Kinds on AWS; docs/api.md has its settings."
            )
        return found

    def space(self, text: str) -> Space:
        """A space from its id. Raises InvalidRequestError."""
        match = SPACE.fullmatch(text)
        if match is None:
            raise InvalidRequestError(
                "The space is not valid. Write kind:id, for example site:main: the kind is a "
                "lower-case word of up to 32 letters, digits and '-', the id 1 to 128 of "
                "A-Z a-z 0-9 . _ ~ @ : + -"
            )
        kind, id_ = self.kind(match[1]), match[2]
        if kind.ids and id_ not in kind.ids:
            shown = [f"{kind.name}:{one}" for one in kind.ids[:_SHOWN_IDS]]
            more = " or another that the Kinds parameter names" if kind.ids[_SHOWN_IDS:] else ""
            raise InvalidRequestError(
                f"There is no such space of the kind {kind.name!r} here. "
                f"Use {' or '.join(shown)}{more}."
            )
        return Space(text, kind)


_SHOWN_IDS = 5
_READABLE = {"counts", "messages"}
_INTERVALS = frozenset({"lease", "hidden", "beat", "hidden-beat"})


def _parse_kind(word: str) -> Kind:
    name, _, settings = word.partition(":")
    if not KIND.fullmatch(name):
        raise ValueError(f"{name!r} is not a kind: use a lower-case word")
    values: dict[str, str] = {}
    for setting in filter(None, settings.split(",")):
        key, equals, value = setting.partition("=")
        if not equals:
            raise ValueError(f"kind {name}: write {setting!r} as setting=value")
        values[key] = value
    known = {"ids", "accuracy", "names", "engagement", "robots", "sources"} | _INTERVALS | _READABLE
    if unknown := values.keys() - known:
        raise ValueError(f"kind {name}: unknown setting {min(unknown)!r}, use {sorted(known)}")
    counts = values.get("counts", "admin")
    messages = values.get("messages", counts)
    for what, who in (("counts", counts), ("messages", messages)):
        if who not in {"public", "admin"}:
            raise ValueError(f"kind {name}: {what} must be public or admin, not {who!r}")
    robots = values.get("robots", "drop")
    if robots not in {"drop", "count"}:
        raise ValueError(f"kind {name}: robots must be drop or count, not {robots!r}")
    sources = values.get("sources", "on")
    if sources not in {"on", "off"}:
        raise ValueError(f"kind {name}: sources must be on or off, not {sources!r}")
    names = values.get("names", "admin")
    if names not in {"admin", "users", "public"}:
        raise ValueError(f"kind {name}: names must be admin, users or public, not {names!r}")
    lease = _seconds(name, values, "lease", 60)
    if values.get("beat") == "auto":
        del values["beat"]
    beat = _seconds(name, values, "beat", 30)
    return Kind(
        name=name,
        lease=lease,
        hidden_lease=_seconds(name, values, "hidden", max(180, lease)),
        beat=beat,
        hidden_beat=_seconds(name, values, "hidden-beat", max(60, beat)),
        fixed=frozenset(values) & _INTERVALS,
        accuracy=_percent(name, values.get("accuracy", "1%")),
        counts_are_public=counts == "public",
        messages_are_public=messages == "public",
        counts_robots=robots == "count",
        sources=sources == "on",
        ids=_ids(name, values.get("ids")),
        names=names,
        engagement=_engagement(name, values.get("engagement")),
    )


_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_-]{0,31}")
_MOST_NAMES = 8
RESERVED_NAMES = frozenset({"space", "part", "ttl"})
"""Attributes of the row that holds the engagement's totals."""


def _engagement(kind: str, text: str | None) -> tuple[str, ...]:
    if text is None:
        return ENGAGEMENT
    names = tuple(text.split("+"))
    if taken := RESERVED_NAMES & {*names}:
        raise ValueError(
            f"kind {kind}: engagement can't be called {min(taken)!r}, name it otherwise"
        )
    if len(names) > _MOST_NAMES or not all(map(_NAME.fullmatch, names)):
        raise ValueError(
            f"kind {kind}: engagement must be up to {_MOST_NAMES} names joined by '+', each a "
            f"letter, then letters, digits, '_' or '-', not {text!r}"
        )
    return names


def _ids(kind: str, text: str | None) -> tuple[str, ...]:
    if text is None:
        return ()
    ids = tuple(text.split("+"))  # a listed id can't contain "+", as others may
    if not all(map(ID.fullmatch, ids)):
        raise ValueError(
            f"kind {kind}: ids must be one or more joined by '+', each 1 to 128 of "
            f"A-Z a-z 0-9 . _ ~ @ : -, not {text!r}"
        )
    return ids


MAX_LEASE = 86_400
"""The longest lease, and the longest time between two beats, in seconds."""


def _seconds(kind: str, values: Mapping[str, str], key: str, default: int) -> int:
    text = values.get(key, str(default))
    if not text.isdecimal() or not 1 <= int(text) <= MAX_LEASE:
        raise ValueError(f"kind {kind}: {key} must be 1 to {MAX_LEASE} seconds, not {text!r}")
    return int(text)


_PERCENT = re.compile(r"(\d{1,2}(?:\.\d{1,2})?)%")


def _percent(kind: str, text: str) -> float:
    match = _PERCENT.fullmatch(text)
    if match is None or not float(match[1]):
        raise ValueError(f"kind {kind}: accuracy must be 0.01% to 99%, such as 0.5%, not {text!r}")
    return float(match[1])


def kind_of(space: str) -> str:
    """The name of a space's kind."""
    return space.partition(":")[0]


def is_rollup(space: str) -> bool:
    """Whether this is the id of a roll-up, or of the rows of their parts, not of a space."""
    return space.startswith(_ROLLUPS)


def shard_of(person: str, shards: int) -> int:
    """The shard that a person counts in: the same on every machine and in every release."""
    if shards == 1:
        return 0
    digest = hashlib.blake2b(person.encode(), digest_size=8).digest()
    return int.from_bytes(digest) % shards
