"""Spaces (``kind:id``) and the kinds a deployment declares."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from headcount.errors import InvalidRequestError

KIND = re.compile(r"[a-z][a-z0-9-]{0,31}")
ID = re.compile(r"[A-Za-z0-9._~@:+-]{1,128}")
SPACE = re.compile(rf"({KIND.pattern}):({ID.pattern})")


ENGAGEMENT = ("chat", "reaction", "share")


@dataclass(frozen=True, slots=True)
class Kind:
    """What a kind of space lives by. Times are seconds."""

    name: str
    lease: int = 60
    hidden_lease: int = 180
    beat: int = 30
    hidden_beat: int = 60
    counts_are_public: bool = False
    names: str = "admin"  # who may see who is here: "admin", "users" (any valid token), "public"
    engagement: tuple[str, ...] = ENGAGEMENT
    """What may be counted: without a list, strangers could fill a row with inventions."""
    ids: tuple[str, ...] = ()
    """The only ones there are, or any: where the application knows its spaces, strangers can't
    invent others."""

    def lease_for(self, state: str) -> int:
        """How long a beat in this state keeps a session alive, in seconds."""
        return self.hidden_lease if state == "hidden" else self.lease

    def beat_for(self, state: str) -> int:
        """When the next beat is due, in seconds."""
        return self.hidden_beat if state == "hidden" else self.beat


@dataclass(frozen=True, slots=True)
class Space:
    """A space whose kind is declared."""

    id: str
    kind: Kind


class Kinds:
    """The declared kinds, read from the ``Kinds`` template parameter.

    The text is one word per kind: its name, then optional settings, for example
    ``site:ids=main+blog,counts=public link:lease=300 doc``. Settings: ``ids``, the only ones there
    are (any where it is left out); ``lease``, ``hidden`` (lease while hidden), ``beat``,
    ``hidden-beat`` in seconds; ``counts`` ``public`` or ``admin``;
    ``names`` ``admin``, ``users`` (whoever has a valid token) or ``public``; ``engagement`` the
    names that may be counted, ``chat+reaction+share`` where it is left out.
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

    def kind(self, name: str) -> Kind:
        """The declared kind of that name, or InvalidRequestError."""
        found = self._kinds.get(name)
        if found is None:
            shown = name if KIND.fullmatch(name) else "that"
            raise InvalidRequestError(
                f"The kind {shown!r} is not declared here. "
                f"Use one of: {', '.join(self.names)} (the Kinds parameter adds more)."
            )
        return found

    def space(self, text: str) -> Space:
        """A space from its id, or InvalidRequestError."""
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


def _parse_kind(word: str) -> Kind:
    name, _, settings = word.partition(":")
    if not KIND.fullmatch(name):
        raise ValueError(f"{name!r} is no kind: use a lower-case word")
    values: dict[str, str] = {}
    for setting in filter(None, settings.split(",")):
        key, equals, value = setting.partition("=")
        if not equals:
            raise ValueError(f"kind {name}: write {setting!r} as setting=value")
        values[key] = value
    known = {"ids", "lease", "hidden", "beat", "hidden-beat", "counts", "names", "engagement"}
    if unknown := values.keys() - known:
        raise ValueError(f"kind {name}: unknown setting {min(unknown)!r}, use {sorted(known)}")
    counts = values.get("counts", "admin")
    if counts not in {"public", "admin"}:
        raise ValueError(f"kind {name}: counts must be public or admin, not {counts!r}")
    names = values.get("names", "admin")
    if names not in {"admin", "users", "public"}:
        raise ValueError(f"kind {name}: names must be admin, users or public, not {names!r}")
    lease = _seconds(name, values, "lease", 60)
    beat = _seconds(name, values, "beat", 30)
    return Kind(
        name=name,
        lease=lease,
        hidden_lease=_seconds(name, values, "hidden", max(180, lease)),
        beat=beat,
        hidden_beat=_seconds(name, values, "hidden-beat", max(60, beat)),
        counts_are_public=counts == "public",
        ids=_ids(name, values.get("ids")),
        names=names,
        engagement=_engagement(name, values.get("engagement")),
    )


_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_-]{0,31}")
_MOST_NAMES = 8
TAKEN = frozenset({"space", "part", "ttl"})
"""What the row that engagement is added up in has for itself."""


def _engagement(kind: str, text: str | None) -> tuple[str, ...]:
    if text is None:
        return ENGAGEMENT
    names = tuple(text.split("+"))
    if taken := TAKEN & {*names}:
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
    ids = tuple(text.split("+"))  # which an id may hold too, but not one that is listed
    if not all(map(ID.fullmatch, ids)):
        raise ValueError(
            f"kind {kind}: ids must be one or more joined by '+', each 1 to 128 of "
            f"A-Z a-z 0-9 . _ ~ @ : -, not {text!r}"
        )
    return ids


LONGEST_LEASE = 86_400
"""Seconds that a lease, or the time between two beats, may be set to."""


def _seconds(kind: str, values: Mapping[str, str], key: str, default: int) -> int:
    text = values.get(key, str(default))
    if not text.isdecimal() or not 1 <= int(text) <= LONGEST_LEASE:
        raise ValueError(f"kind {kind}: {key} must be 1 to {LONGEST_LEASE} seconds, not {text!r}")
    return int(text)


def kind_of(space: str) -> str:
    """The name of a space's kind."""
    return space.partition(":")[0]


def shard_of(person: str, shards: int) -> int:
    """The shard a person is counted in; the same on every machine and version."""
    if shards == 1:
        return 0
    digest = hashlib.blake2b(person.encode(), digest_size=8).digest()
    return int.from_bytes(digest) % shards
