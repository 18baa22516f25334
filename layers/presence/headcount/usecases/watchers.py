"""Whether anybody hears of a space's versions at once: ``count`` waits longer where nobody does."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from msgspec import Struct

from headcount.model.pushes import PushBudget, topic_of

if TYPE_CHECKING:
    from headcount.model.feed import Forms
    from headcount.store.headcounts import HeadcountsTable
    from headcount.store.subscriptions import SubscriptionsTable


class Watchers(Struct, frozen=True, eq=False):
    """Finds those who hear of a space. ``clock`` returns epoch milliseconds."""

    headcounts: HeadcountsTable
    subscriptions: SubscriptionsTable
    forms: Forms
    budget: PushBudget
    clock: Callable[[], int]

    def any(self, space: str) -> bool:
        """Whether a dashboard, a feed, an alert rule or a listener waits for the next version.

        Listeners don't while the budget of their space is spent: no small change is pushed then.
        """
        head = self.headcounts.get(space)
        if head.alerts.states:
            return True
        overview = self.forms.overview_of(space)
        topics = [space, *([overview.topic] if overview is not None else [])]
        if head.pushes is None or head.pushes.may_push(self.budget, self.clock()):
            topics.append(topic_of(space))
        return any(map(self.subscriptions.has_subscribers, topics))
