"""Live sessions, and the tally of them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from headcount.model.session import Facts, Session, Write
from headcount.model.tally import Tally, TallyBuilder

from lab.harness.clock import NOON


def live_session(
    id_: str, *, changed_at: int = NOON, expires_at: int = NOON + 1, **facts: Any
) -> Session:
    """A session that began at noon."""
    return Session(
        space="site:main",
        shard=0,
        id=id_,
        write=Write.JOIN,
        request="r",
        facts=Facts(**facts),
        joined_at=NOON,
        visit="r",
        changed_at=changed_at,
        last_seen=NOON,
        expires_at=expires_at,
        beats={},
    )


def tally(sessions: Iterable[Session]) -> Tally:
    """Count live sessions."""
    builder = TallyBuilder()
    for session in sessions:
        builder.add(session)
    return builder.build()
