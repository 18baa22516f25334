"""Which robot a User-Agent names: crawlers, monitors, headless browsers, by a well-kept list. Pure.

Libraries and tools for HTTP are none: an app or a server may send beats for people.
"""

from __future__ import annotations

import re
from functools import cache, lru_cache

AUTOMATED = "webdriver"
"""A browser that is remote-controlled, and says so itself (``navigator.webdriver``)."""

_LONGEST = 400
_LABEL = re.compile(r"[^A-Za-z0-9._ -]+")
_LABEL_LETTERS = 40


@lru_cache(maxsize=1_000)
def robot_of(user_agent: str) -> str | None:
    """The robot's name in the list; None for everybody else."""
    user_agent = user_agent[:_LONGEST]
    texts, starts, expression = _list()
    for text in texts:
        if text in user_agent:
            return _label(text)
    if user_agent.startswith(starts):
        return _label(user_agent.partition("/")[0])
    match = expression.search(user_agent)
    return _label(match[0]) if match is not None else None


def _label(text: str) -> str:
    return _LABEL.sub(" ", text).strip()[:_LABEL_LETTERS] or "robot"


@cache
def _list() -> tuple[list[str], tuple[str, ...], re.Pattern[str]]:
    from headcount.web.robot_list import EXPRESSION, STARTS, TEXTS

    return TEXTS.strip("\n").split("\n"), STARTS, re.compile(EXPRESSION)
