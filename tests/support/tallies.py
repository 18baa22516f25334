"""The tally of sessions that are all live."""

from __future__ import annotations

from collections.abc import Iterable

from headcount.model.session import Session
from headcount.model.tally import Tally, TallyBuilder


def tally(sessions: Iterable[Session]) -> Tally:
    """Count live sessions."""
    builder = TallyBuilder()
    for session in sessions:
        builder.add(session)
    return builder.build()
