"""Share links: who may read by one, making and revoking them, and closing what they opened."""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import TYPE_CHECKING

from msgspec import Struct
from msgspec.structs import replace

from headcount.errors import ConflictError, NotFoundError
from headcount.model.access import Caller, covers
from headcount.model.moderation import AuditEntry
from headcount.model.share import MAX_SHARES, Share, hash_of, id_of, made_of, unknown
from headcount.times import iso

if TYPE_CHECKING:
    from headcount.store.history import HistoryTable
    from headcount.store.shares import SharesTable
    from headcount.store.subscriptions import SubscriptionsTable
    from headcount.usecases.queues import DeferredQueue

_LATE = 20
"""Seconds after which what a revoked link opened is closed once more: a connection that was being
opened at that moment, within the 10 s that the socket function has for it."""


class ShareLinks(Struct, frozen=True, eq=False):
    """Tells whom a share link makes of its holder. Nothing is cached: a read of the link's row is a
    tenth of what the request costs, and a revoked link opens nothing more."""

    shares: SharesTable
    clock: Callable[[], int]

    def caller(self, token: str) -> Caller:
        """The caller with a share link's token. UnauthorizedError if it opens nothing, or nothing
        any more."""
        share = self.shares.get(id_of(token))
        if share is None:
            raise unknown()
        return share.caller(token, self.clock())


class Sharing(Struct, frozen=True, eq=False):
    """Makes, lists and revokes share links. Making and revoking one is logged before it is done.
    ``clock`` returns epoch milliseconds, ``new_id`` a unique text of 128 random bits."""

    shares: SharesTable
    history: HistoryTable
    deferred_queue: DeferredQueue
    clock: Callable[[], int]
    new_id: Callable[[], str]

    def create(self, where: str, until: int, label: str | None, *, by: str) -> tuple[Share, str]:
        """A new link for a space or ``kind:*``, and its token, which nobody can read again."""
        if len(self.shares.all()) >= MAX_SHARES:
            raise ConflictError(
                f"There are {MAX_SHARES} share links, the maximum: one goes 30 days after it ended."
            )
        now = self.clock()
        id_, token = made_of(self.new_id(), self.new_id())
        share = Share(id_, hash_of(token), where, at=now, until=until, label=label)
        self._note(share, by, "createShare", until=iso(until), label=label)
        if not self.shares.add(share):
            raise ConflictError("There is a share link with this id. Try again.")
        return share, token

    def list(self, spaces: Collection[str]) -> list[Share]:
        """The links to these spaces, the newest first, until 30 days after their end."""
        return [share for share in self.shares.all() if covers(spaces, share.where)]

    def revoke(self, id_: str, spaces: Collection[str], *, by: str) -> Share:
        """End a link to one of these spaces, and close what it opened."""
        share = self.shares.get(id_)
        if share is None or not covers(spaces, share.where) or not share.is_open(self.clock()):
            raise NotFoundError("There is no share link with this id that could be revoked.")
        self._note(share, by, "revokeShare", label=share.label)
        now = self.clock()
        self.shares.revoke(id_, now)
        for after in (0, _LATE):
            self.deferred_queue.end_share(id_, after=after)
        return replace(share, revoked_at=now)

    def _note(self, share: Share, by: str, what: str, **parameters: str | None) -> None:
        parameters = {"id": share.id, **parameters}
        entry = AuditEntry(share.where, self.clock(), self.new_id(), by, what, parameters)
        self.history.add_audit_entry(entry)


class ShareSweeper(Struct, frozen=True, eq=False):
    """Has the connections closed that expired links opened."""

    subscriptions: SubscriptionsTable
    deferred_queue: DeferredQueue
    clock: Callable[[], int]

    def sweep(self) -> None:
        """Close what links opened that have expired since the last sweep."""
        now = self.clock()
        opened = self.subscriptions.opened_by_shares(consistent=False)
        for share in sorted({share for _, share, until in opened if until <= now}):
            self.deferred_queue.end_share(share)
