"""What admins do to a space: alert rules, messages to everyone, removals. All of it is kept."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from headcount.alerts import MAX_RULES, Rule, State
from headcount.beats import Leave
from headcount.errors import ConflictError, NotFoundError
from headcount.moderation import MAX_REMOVALS, Act, Notice, Removal, person_hash
from headcount.presence import Desk
from headcount.spaces import Space
from headcount.store.counts import CountsTable
from headcount.store.headcounts import HeadcountsTable
from headcount.store.history import HistoryTable
from headcount.times import iso

_KNOWN_AS = {"userId": "user", "visitorId": "visitor", "sessionId": "session"}
_MAX_SESSIONS = 50
"""Sessions of one removal that are denied by themselves too."""


@dataclass(frozen=True, slots=True)
class Moderator:
    """What moderating needs. ``clock`` gives epoch milliseconds, ``new_id`` a unique word.

    Each act is kept before it is done: what can't be kept is not done. What was said takes effect
    with the space's next version, which it causes itself.
    """

    counts: CountsTable
    headcounts: HeadcountsTable
    history: HistoryTable
    desk: Desk
    clock: Callable[[], int]
    new_id: Callable[[], str]

    # ------------------------------------------------------------------------------------- alerts

    def put_rule(self, space: Space, rule: Rule, *, by: str) -> None:
        """Set an alert rule, in place of the one of that name."""
        rules = self.counts.space(space.id).rules
        if rule.name not in rules and len(rules) >= MAX_RULES:
            raise ConflictError(
                f"This space has {MAX_RULES} alert rules, which is the most: delete one first."
            )
        self._note(space, by, "putAlert", name=rule.name, **rule.said())
        self.counts.put_rule(space.id, rule)

    def delete_rule(self, space: Space, name: str, *, by: str) -> None:
        """Delete an alert rule."""
        if name not in self.counts.space(space.id).rules:
            raise NotFoundError("This space has no alert rule of that name.")
        self._note(space, by, "deleteAlert", name=name)
        self.counts.delete_rule(space.id, name)

    def rules(self, space: Space) -> Iterable[tuple[Rule, State]]:
        """The rules by name, with their state as of the last version."""
        head = self.headcounts.get(space.id)
        for _, rule in sorted(self.counts.space(space.id).rules.items()):
            yield rule, head.alerts.of(rule)

    # ----------------------------------------------------------------------------------- messages

    def send(self, space: Space, text: str, level: str, until: int, *, by: str) -> Notice:
        """Show a message to everyone, in place of the one before."""
        notice = Notice(self.new_id(), text, level, until)
        self._note(space, by, "sendMessage", **notice.body())
        self.counts.put_notice(space.id, notice)
        return notice

    def end_message(self, space: Space, *, by: str) -> None:
        """Show the message no longer."""
        notice = self.counts.space(space.id).notice
        if notice is None or notice.until <= self.clock():
            raise NotFoundError("There is no message to everyone in this space now.")
        self._note(space, by, "endMessage", id=notice.id)
        self.counts.delete_notice(space.id, id_=notice.id)

    # ----------------------------------------------------------------------------------- removals

    def remove(
        self,
        space: Space,
        field: str,
        value: str,
        until: int,
        *,
        by: str,
        request: str,
        reason: str | None = None,
    ) -> tuple[Removal, int]:
        """Deny somebody a space until a moment and end their sessions; returns how many ended."""
        now = self.clock()
        counted = self.counts.space(space.id)
        here = self.desk.sessions_of(
            space.id,
            _KNOWN_AS[field],
            value,
            shards=[count.shard for count in counted.shards],
            now=now,
        )
        latest = sorted(here, key=lambda one: -one.last_seen)[:_MAX_SESSIONS]
        removal = Removal(
            known_as=field,
            value=value,
            until=until,
            at=now,
            by=by,
            reason=reason,
            sessions=tuple(sorted({person_hash(f"s:{one.id}") for one in latest})),
        )
        current = [one for one in counted.removals.values() if one.until > now]
        if len(current) >= MAX_REMOVALS and removal.id not in {one.id for one in current}:
            raise ConflictError(
                f"{MAX_REMOVALS} people are removed from this space, which is the most: "
                "lift a removal first, or wait until one ends."
            )
        said = {field: value, "until": iso(until), "reason": reason}
        self._note(space, by, "removePerson", id=removal.id, **said)
        if (before := counted.removals.get(removal.id)) is not None:
            kept = list(dict.fromkeys((*removal.sessions, *before.sessions)))[:_MAX_SESSIONS]
            removal = Removal(field, value, until, now, by, reason, tuple(kept))
        # Denied first: whoever beats in between is not let in again for long.
        self.counts.put_removal(space.id, removal)
        for number, session in enumerate(here):
            self.desk.record_leave(
                space,
                Leave(session_id=session.id),
                request=f"{request}-{number}",
                now=self.clock(),
            )
        return removal, len(here)

    def lift(self, space: Space, id_: str, *, by: str) -> None:
        """Let somebody in again."""
        removal = self.counts.space(space.id).removals.get(id_)
        if removal is None or removal.until <= self.clock():
            raise NotFoundError("Nobody is removed from this space under that id.")
        self._note(space, by, "liftRemoval", id=id_, **{removal.known_as: removal.value})
        self.counts.delete_removal(space.id, removal)

    def removals(self, space: Space) -> list[Removal]:
        """Who is denied now, the latest first."""
        now = self.clock()
        current = [one for one in self.counts.space(space.id).removals.values() if one.until > now]
        return sorted(current, key=lambda one: (-one.at, one.id))

    # -------------------------------------------------------------------------------------- audit

    def _note(self, space: Space, who: str, what: str, /, **parameters: Any) -> None:
        self.history.add_act(Act(space.id, self.clock(), self.new_id(), who, what, parameters))
