"""Compile the list of robots' User-Agents into the module that beats are checked with.

    python -m local.robots

The list is the package crawler-user-agents, pinned in local/locks/dev.in. A test compares the
module with what this makes of the package.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

from local.settings import ROOT

MODULE = ROOT / "layers" / "presence" / "headcount" / "web" / "robot_list.py"

TOOLS = (
    "curl/8.5.0",
    "Wget/1.21.4",
    "python-requests/2.32.3",
    "python-httpx/0.27.0",
    "Python/3.12 aiohttp/3.9.5",
    "Python-urllib/3.13",
    "okhttp/4.12.0",
    "Go-http-client/2.0",
    "Java/21.0.2",
    "Java-http-client/21.0.2",
    "Apache-HttpClient/5.3 (Java/21)",
    "axios/1.7.2",
    "node-fetch/1.0 (+https://github.com/bitinn/node-fetch)",
    "undici",
    "node",
    "Deno/1.44.0",
    "Bun/1.1.12",
    "got (https://github.com/sindresorhus/got)",
    "Ruby",
    "Faraday v2.9.0",
    "GuzzleHttp/7",
    "HTTPie/3.2.2",
    "PostmanRuntime/7.39.0",
    "insomnia/9.2.0",
    "Dart/3.4 (dart:io)",
    "MyApp/1.0 CFNetwork/1494.0.7 Darwin/23.4.0",
    "libwww-perl/6.77",
    "reqwest/0.12",
    "aws-sdk-js/3.583.0",
)
"""Libraries and tools for HTTP, with which an app or a server sends beats for people."""

Texts = list[str]


def entries() -> list[tuple[str, set[str]]]:
    """The package's patterns, each with its tags."""
    from crawleruseragents import CRAWLER_USER_AGENTS_DATA  # type: ignore[import-untyped]

    return [(one["pattern"], set(one.get("tags", ()))) for one in CRAWLER_USER_AGENTS_DATA]


def texts_of(parsed: Any) -> Texts | None:
    """All texts that a parsed expression matches; None if they can't be listed."""
    found = [""]
    for kind, value in parsed:
        match str(kind):
            case "LITERAL":
                some: Texts | None = [chr(value)]
            case "IN":
                plain = all(str(one) == "LITERAL" for one, _ in value)
                some = [chr(letter) for _, letter in value] if plain else None
            case "BRANCH":
                branches = [texts_of(one) for one in value[1]]
                some = (
                    None if None in branches else [text for one in branches for text in one or ()]
                )
            case "SUBPATTERN":
                some = texts_of(value[-1])
            case _:
                some = None
        if some is None:
            return None
        found = [text + more for text in found for more in some]
    return found


def compiled(found: Iterable[tuple[str, set[str]]]) -> tuple[Texts, Texts, Texts]:
    """What a robot's User-Agent contains, or begins with, and the expressions that match the rest;
    without what matches a library or a tool."""
    texts, starts, expressions = set(), set(), set()
    for pattern, tags in found:
        if "http-library" in tags or any(re.search(pattern, tool) for tool in TOOLS):
            continue
        plain = texts_of(re._parser.parse(pattern.removeprefix("^")))  # type: ignore[attr-defined]
        if plain is None:
            expressions.add(pattern)
        elif pattern.startswith("^"):
            starts.update(plain)
        else:
            texts.update(plain)
    kept = sorted(text for text in texts if not any(o != text and o in text for o in texts))
    return kept, sorted(starts), sorted(expressions)


def source() -> str:
    """The module's source."""
    texts, starts, expressions = compiled(entries())
    lines = "\n".join(texts)
    assert '"""' not in lines
    return "\n".join(
        (
            '"""Made by local/robots.py of the package crawler-user-agents (MIT)."""',
            "",
            "# ruff: noqa",
            f'TEXTS = r"""\n{lines}\n"""',
            f"STARTS = {tuple(starts)!r}",
            f"EXPRESSION = {'|'.join(expressions)!r}",
            "",
        )
    )


if __name__ == "__main__":
    MODULE.write_text(source())
