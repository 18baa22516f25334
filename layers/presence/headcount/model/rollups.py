"""Roll-ups: distinct people of a kind of space, and of a declared group of spaces. Pure.

A roll-up is published like a space, under an id that no space can have: ``~kind:site``,
``~group:school``. Its people are found by the index of the Presence table, in which each session
that is present has an entry under a *part*: a number that depends only on its person. So a person
is in one part whatever spaces they are in, and the distinct people of the parts add up.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping

from headcount.errors import InvalidRequestError, NotFoundError
from headcount.model.space import ID, KIND, ROLLUP, Kinds, kind_of
from headcount.model.tally import Tally, merge

_KIND, _GROUP = f"{ROLLUP}kind:", f"{ROLLUP}group:"

ALL = "all"
"""The group of all spaces, which always exists."""

MAX_GROUPS = 20
_PATTERN = re.compile(rf"\*|({KIND.pattern}):(\*|{ID.pattern}\*?)")

Numbers = Mapping[str, Tally]
"""The numbers of each roll-up that has any, by its id."""


def rollup_name(id_: str) -> tuple[str, str]:
    """What it is (``kind`` or ``group``), and its name."""
    what, _, name = id_.removeprefix(ROLLUP).partition(":")
    return what, name


class RollUps:
    """The declared roll-ups, read from the ``RollUps`` template parameter.

    Empty: there are none. ``on``: each kind, and the group ``all``. A word more per group: its name
    and the spaces that are in it, such as ``school=course:*,stream:lectures`` or
    ``chapter=course:42-*``: a space, all whose id begins so, all of a kind, or ``*``. Raises
    ValueError if it is not valid.
    """

    def __init__(self, text: str, kinds: Kinds) -> None:
        words = text.split()
        self.on = bool(words)
        self._kinds = kinds
        self._groups: dict[str, tuple[str, ...]] = {ALL: ("*",)} if words else {}
        for word in words:
            if word == "on":
                continue
            name, patterns = _parse_group(word, kinds)
            if name in self._groups:
                raise ValueError(f"the group {name!r} is there already: name it otherwise")
            self._groups[name] = patterns
        if len(self._groups) > MAX_GROUPS + 1:
            raise ValueError(f"declare at most {MAX_GROUPS} groups, not {len(self._groups) - 1}")
        self._of_space: dict[str, tuple[str, ...]] = {}

    @property
    def ids(self) -> list[str]:
        """The ids of all roll-ups."""
        if not self.on:
            return []
        kinds = [_KIND + name for name in self._kinds.names]
        return [*kinds, *(_GROUP + name for name in sorted(self._groups))]

    def of_space(self, space: str) -> tuple[str, ...]:
        """The ids of the roll-ups that a space is in."""
        if not self.on:
            return ()
        if space not in self._of_space:
            found = [_GROUP + name for name, of in self._groups.items() if _is_in(space, of)]
            known = self._kinds.known(space)
            # One whose kind is no longer declared is in none: nobody may read its numbers.
            ids = (_KIND + known.name, *found) if known is not None else ()
            if len(self._of_space) >= _MOST_REMEMBERED:
                self._of_space.clear()
            self._of_space[space] = ids
        return self._of_space[space]

    def find(self, what: str, name: str) -> str:
        """The id of the roll-up of a ``kind``, or of a ``group``. Raises InvalidRequestError, and
        NotFoundError where there are no roll-ups."""
        self.require()
        if what == "kind":
            return _KIND + self._kinds.kind(name).name
        if name not in self._groups:
            shown = f"The group {name!r}" if KIND.fullmatch(name) else "That group"
            raise InvalidRequestError(
                f"{shown} is not declared here. Use one of: "
                f"{', '.join(sorted(self._groups))} (the RollUps parameter adds more)."
            )
        return _GROUP + name

    def require(self) -> None:
        """Raises NotFoundError where there are no roll-ups."""
        if not self.on:
            raise NotFoundError(
                "This deployment has no roll-ups. Deploy it with the parameter RollUps=on."
            )

    def scope_of(self, id_: str) -> str:
        """Where a token must allow to read: a kind is all its spaces, a group is itself."""
        what, name = rollup_name(id_)
        return f"{name}:*" if what == "kind" else id_

    def is_public(self, id_: str) -> bool:
        """Whether everybody may read its numbers: if they may read those of each kind in it."""
        return all(self._kinds.kind(name).counts_are_public for name in self.kinds_in(id_))

    def kinds_in(self, id_: str) -> list[str]:
        """The declared kinds of which there may be spaces in a roll-up."""
        what, name = rollup_name(id_)
        if what == "kind":
            return [name]
        patterns = self._groups[name]
        return [
            kind for kind in self._kinds.names if "*" in patterns or kind in map(kind_of, patterns)
        ]


_MOST_REMEMBERED = 100_000


def _parse_group(word: str, kinds: Kinds) -> tuple[str, tuple[str, ...]]:
    name, equals, text = word.partition("=")
    if not equals or not KIND.fullmatch(name):
        raise ValueError(
            f"{word!r} is not a group: write name=pattern, for example school=course:*,stream:main"
        )
    patterns = tuple(text.split(","))
    for pattern in patterns:
        if not _PATTERN.fullmatch(pattern):
            raise ValueError(
                f"group {name}: {pattern!r} must be a space (course:42), the beginning of some "
                "(course:42-*), all of a kind (course:*) or *"
            )
        if pattern != "*" and kind_of(pattern) not in kinds.names:
            raise ValueError(f"group {name}: the kind {kind_of(pattern)!r} is not declared")
    return name, patterns


def _is_in(space: str, patterns: Iterable[str]) -> bool:
    return any(
        space.startswith(one[:-1]) if one.endswith("*") else space == one for one in patterns
    )


_USERS = (b"u", b"c")
"""How the names of signed-in people begin, see ``model.session.is_user``."""


def numbers_of_part(entries: Iterable[tuple[str, bytes]], declared: RollUps) -> tuple[Numbers, int]:
    """The numbers of each roll-up from a part's entries of the index, and how many entries there
    were. An entry is a space, and a person's name in the index."""
    sessions: dict[str, Counter[bytes]] = defaultdict(Counter)  # of each person
    rows = 0
    for space, person in entries:
        rows += 1
        for id_ in declared.of_space(space):
            sessions[id_][person] += 1
    numbers = {}
    for id_, people in sorted(sessions.items()):
        users = [person for person in people if person[:1] in _USERS]
        numbers[id_] = Tally(
            sessions=people.total(),
            signed_in_sessions=sum(people[user] for user in users),
            signed_in=len(users),
            anonymous=len(people) - len(users),
        )
    return numbers, rows


def added_numbers(parts: Iterable[Numbers], ids: Iterable[str]) -> dict[str, Tally]:
    """The numbers of these roll-ups from those of all parts. No person is in two of them."""
    every = list(parts)
    return {id_: merge(part[id_] for part in every if id_ in part) for id_ in ids}
