"""What admins do in a space: alert rules, messages to everyone, removals. All of it is logged."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from msgspec.structs import replace

from headcount.errors import ConflictError, NotFoundError
from headcount.model.alert import MAX_RULES, Rule, RuleState
from headcount.model.beat import Leave
from headcount.model.moderation import MAX_REMOVALS, AuditEntry, Notice, Removal, person_hash
from headcount.model.session import Session
from headcount.model.space import Space
from headcount.store.counts import CountsTable
from headcount.store.headcounts import HeadcountsTable
from headcount.store.history import HistoryTable
from headcount.times import day_of, iso
from headcount.usecases.record import SessionRecorder

_KNOWN_AS = {"userId": "user", "visitorId": "visitor", "sessionId": "session"}
_MAX_SESSIONS = 50
"""A removal also denies this many of the person's sessions by their own ids."""


@dataclass(frozen=True, slots=True)
class Moderator:
    """What moderating needs. ``clock`` returns epoch milliseconds, ``new_id`` a unique string.

    Each action is logged before it takes place: what can't be logged must not be done. It takes
    effect with the space's next version, which it causes.
    """

    counts: CountsTable
    headcounts: HeadcountsTable
    history: HistoryTable
    session_recorder: SessionRecorder
    clock: Callable[[], int]
    new_id: Callable[[], str]

    # ------------------------------------------------------------------------------------- alerts

    def put_rule(self, space: Space, rule: Rule, *, by: str) -> None:
        """Set an alert rule, in place of one with the same name."""
        rules = self.counts.space(space.id).rules
        if rule.name not in rules and len(rules) >= MAX_RULES:
            raise ConflictError(
                f"This space has {MAX_RULES} alert rules, the maximum: delete one first."
            )
        self.note(space, by, "putAlert", name=rule.name, **rule.fields())
        self.counts.put_rule(space.id, rule)

    def delete_rule(self, space: Space, name: str, *, by: str) -> None:
        """Delete an alert rule."""
        if name not in self.counts.space(space.id).rules:
            raise NotFoundError("This space has no alert rule with that name.")
        self.note(space, by, "deleteAlert", name=name)
        self.counts.delete_rule(space.id, name)

    def rules(self, space: Space) -> Iterable[tuple[Rule, RuleState]]:
        """The rules by name, with their state as of the last version."""
        head = self.headcounts.get(space.id)
        for _, rule in sorted(self.counts.space(space.id).rules.items()):
            yield rule, head.alerts.state_of(rule)

    # ----------------------------------------------------------------------------------- messages

    def send(self, space: Space, text: str, level: str, until: int, *, by: str) -> Notice:
        """Show a message to everyone, in place of the one before."""
        notice = Notice(self.new_id(), text, level, until)
        self.note(space, by, "sendMessage", **notice.body())
        self.counts.put_notice(space.id, notice)
        return notice

    def message(self, space: Space) -> Notice | None:
        """The published message to everyone; None if there is none now."""
        return self.headcounts.get(space.id).notice_at(self.clock())

    def end_message(self, space: Space, *, by: str) -> None:
        """Stop showing the message."""
        notice = self.counts.space(space.id).notice
        if notice is None or notice.until <= self.clock():
            raise NotFoundError("This space shows no message now.")
        self.note(space, by, "endMessage", id=notice.id)
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
        verified: bool | None = None,
    ) -> tuple[Removal, int]:
        """Deny a person a space until a time, and end their sessions; returns how many ended.

        ``verified``: the user whom a token proved, or those who only claim the id. None: whichever
        of them is here. ConflictError if both are, as one of them is innocent.
        """
        now = self.clock()
        counted = self.counts.space(space.id)
        sessions = self.session_recorder.sessions_of(
            space.id,
            _KNOWN_AS[field],
            value,
            shards=[count.shard for count in counted.shards],
            now=now,
        )
        if field == "userId":
            sessions, verified = _one_user(sessions, verified)
        latest = sorted(sessions, key=lambda one: -one.last_seen)[:_MAX_SESSIONS]
        removal = Removal(
            known_as=field,
            value=value,
            until=until,
            at=now,
            by=by,
            reason=reason,
            sessions=tuple(sorted(set(map(person_hash, _further_keys(latest)))))[:_MAX_SESSIONS],
            verified=verified,
        )
        current = [one for one in counted.removals.values() if one.until > now]
        if len(current) >= MAX_REMOVALS and removal.id not in {one.id for one in current}:
            raise ConflictError(
                f"{MAX_REMOVALS} people are removed from this space, the maximum: "
                "lift a removal first, or wait until one ends."
            )
        parameters: dict[str, Any] = {field: value, "until": iso(until), "reason": reason}
        if field == "userId":
            parameters["verified"] = verified
        self.note(space, by, "removePerson", id=removal.id, **parameters)
        if (before := counted.removals.get(removal.id)) is not None:
            kept = list(dict.fromkeys((*removal.sessions, *before.sessions)))[:_MAX_SESSIONS]
            removal = replace(removal, sessions=tuple(kept))
        # First, so that the sessions that are ended below can't rejoin.
        self.counts.put_removal(space.id, removal)
        for number, session in enumerate(sessions):
            self.session_recorder.record_leave(
                space,
                Leave(session_id=session.id),
                request=f"{request}-{number}",
                now=self.clock(),
            )
        return removal, len(sessions)

    def lift(self, space: Space, id_: str, *, by: str) -> None:
        """Let a removed person in again."""
        removal = self.counts.space(space.id).removals.get(id_)
        if removal is None or removal.until <= self.clock():
            raise NotFoundError("This space has no removal with that id.")
        who: dict[str, Any] = {removal.known_as: removal.value}
        if removal.known_as == "userId":
            who["verified"] = removal.verified
        self.note(space, by, "liftRemoval", id=id_, **who)
        self.counts.delete_removal(space.id, removal)

    def removals(self, space: Space) -> list[Removal]:
        """The removals that apply now, the latest first."""
        now = self.clock()
        current = [one for one in self.counts.space(space.id).removals.values() if one.until > now]
        return sorted(current, key=lambda one: (-one.at, one.id))

    # ----------------------------------------------------------------------------------- totals

    def correct_engagement(self, space: Space, name: str, total: float, *, by: str) -> float:
        """Correct a total of the space's engagement; returns what it was."""
        counted = self.counts.space(space.id)
        if name not in {*space.kind.engagement, *counted.engagement.totals}:
            raise NotFoundError("This space counts no engagement with that name.")
        was = counted.total_engagement.get(name, 0)
        self.note(space, by, "correctEngagement", name=name, was=was, total=total)
        return self.counts.correct_engagement(space.id, day_of(self.clock()), name, total)

    # -------------------------------------------------------------------------------------- audit

    def audit_log(self, space: Space, since: int, until: int, *, limit: int) -> list[AuditEntry]:
        """Actions of admins from ``since`` to ``until`` (epoch milliseconds, both included), the
        newest first, at most ``limit``; with those that concern all spaces of its kind."""
        found = [
            entry
            for where in (space.id, f"{space.kind.name}:*")
            for entry in self.history.audit_entries(where, since, until, limit=limit)
        ]
        return sorted(found, key=lambda entry: (entry.at, entry.id), reverse=True)[:limit]

    def note(self, space: Space, who: str, what: str, /, **parameters: Any) -> None:
        """Add an entry to the audit log, before the action itself."""
        self.history.add_audit_entry(
            AuditEntry(space.id, self.clock(), self.new_id(), who, what, parameters)
        )


def _one_user(sessions: list[Session], verified: bool | None) -> tuple[list[Session], bool | None]:
    """The sessions of the user who is meant, and whether a token proved them; None: nobody is here,
    so it may be either."""
    here = {one.facts.verified for one in sessions}
    if verified is None and len(here) > 1:
        raise ConflictError(
            "Two people here have this userId: one proved it by a token, and one only claims it. "
            "Say whom you mean: send verified true or false."
        )
    if verified is None and here:
        (verified,) = here
    return [one for one in sessions if verified in {None, one.facts.verified}], verified


def _further_keys(sessions: Iterable[Session]) -> list[str]:
    """The keys that are denied with a person: the sessions, and of users who are not proven also
    the browsers, because a claim is dropped more easily than a browser's storage."""
    keys = []
    for one in sessions:
        keys.append(f"s:{one.id}")
        if one.facts.user is not None and not one.facts.verified and one.facts.visitor is not None:
            keys.append(f"v:{one.facts.visitor}")
    return keys
