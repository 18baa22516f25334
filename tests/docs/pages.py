"""The project's pages: their blocks, links, headings and inline code, as GitHub renders them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from markdown_it import MarkdownIt
from markdown_it.token import Token

from lab.harness.template import ROOT

_MARKDOWN = MarkdownIt("commonmark").enable("table")


@dataclass(frozen=True)
class Block:
    """A fenced block."""

    language: str
    text: str
    line: int
    """The line of its opening fence, from 1."""


@dataclass(frozen=True)
class Page:
    """A page; `path` need not exist, so that tests can invent pages."""

    path: Path
    text: str

    @property
    def name(self) -> str:
        """Its path in the project, such as `docs/client.md`."""
        return self.path.relative_to(ROOT).as_posix()

    @cached_property
    def _tokens(self) -> list[Token]:
        return _MARKDOWN.parse(self.text)

    def _inline(self) -> Iterator[tuple[Token, int]]:
        """The inline tokens of paragraphs, headings and cells, with their lines."""
        for token in self._tokens:
            for child in token.children or ():
                yield child, (token.map or [0])[0] + 1

    @cached_property
    def blocks(self) -> list[Block]:
        """All blocks, from the top."""
        return [
            Block(token.info.strip(), token.content, (token.map or [0])[0] + 1)
            for token in self._tokens
            if token.type in {"fence", "code_block"}
        ]

    @cached_property
    def codes(self) -> list[tuple[str, int]]:
        """All inline code, with its lines."""
        return [
            (token.content, line) for token, line in self._inline() if token.type == "code_inline"
        ]

    @cached_property
    def links(self) -> list[tuple[str, int]]:
        """The targets of links and images, with their lines."""
        return [
            (str(token.attrs.get("href") or token.attrs.get("src")), line)
            for token, line in self._inline()
            if token.type in {"link_open", "image"}
        ]

    @cached_property
    def anchors(self) -> set[str]:
        """The anchors of its headings, as GitHub names them."""
        found: set[str] = set()
        for opened, heading in zip(self._tokens, self._tokens[1:], strict=False):
            if opened.type == "heading_open":
                shown = "".join(
                    child.content
                    for child in heading.children or ()
                    if child.type in {"text", "code_inline"}
                )
                anchor = name = re.sub(r"[^\w\- ]", "", shown.lower()).replace(" ", "-")
                number = 0
                while anchor in found:
                    number += 1
                    anchor = f"{name}-{number}"
                found.add(anchor)
        return found


def page(path: Path) -> Page:
    """An existing page."""
    return Page(path, path.read_text(encoding="utf-8"))


def pages() -> list[Page]:
    """All pages: at the root of the project, and below docs/."""
    return [page(path) for path in sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")])]
