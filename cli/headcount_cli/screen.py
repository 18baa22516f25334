"""The screen of `headcount watch`: a space's current numbers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from rich.console import Console, ConsoleOptions, Group, RenderableType, RenderResult
from rich.markup import escape
from rich.measure import Measurement
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from headcount_cli.feed import Update
from headcount_cli.output import printable, sparkline, utc_time

KEPT = 240
"""Past values kept for the sparkline."""
TOP = 5
_FACETS = 4
_WIDTH = 60
_LONGEST_VALUE = 32
_NARROWEST_TOP, _BETWEEN = 16, 4
_ANY = 1_000  # columns


@dataclass
class Screen:
    """What is known of a space so far."""

    space: str
    head: Mapping[str, Any] | None = None
    recent: list[int | None] = field(default_factory=list)
    state: str = "connecting"
    notice: str = ""

    def apply(self, update: Update) -> None:
        """Take in a message of the space, or a lost connection."""
        if update.message is None:
            self.state = f"reconnecting in {update.pause:.0f} s ({update.reason})"
            return
        message = update.message
        self.state = "live"
        match message["type"]:
            case "headcount":
                before = self.head["version"] if self.head else None
                self.head = message["data"]
                if message["version"] != before:
                    self.recent = [*self.recent, message["data"]["people"]][-KEPT:]
            case "alert":
                self.notice = (
                    f"alert: {message['alert']['name']}, {message['alert']['people']} people"
                )
            case "notice":
                shown = message["notice"]
                self.notice = f"message to everyone: {printable(shown['text'])}" if shown else ""

    def render(self) -> RenderableType:
        """For a terminal."""
        title = f"[bold]{escape(self.space)}[/]"
        state = Text(self.state, style="green" if self.state == "live" else "yellow")
        if self.head is None:
            return Panel(state, title=title, expand=False)
        head = self.head
        lines: list[RenderableType] = [_Numbers(head)]
        if len(self.recent) > 1:
            bars = sparkline(self.recent, _WIDTH)
            known = [people for people in self.recent[-_WIDTH:] if people is not None]
            low, high = min(known, default=0), max(known, default=0)
            lines += [Text(""), Text(f"{bars}  {low:,} to {high:,}", style="cyan")]
        facets = [(name, values) for name, values in head.get("facets", {}).items() if values]
        if facets:
            lines += [Text(""), _Tops(dict(facets[:_FACETS]))]
        if self.notice:
            lines += [Text(""), Text(self.notice, style="magenta")]
        at = utc_time(head["asOf"])
        footer = Text.assemble(state, f"  version {head['version']:,} of {at} UTC")
        return Panel(Group(*lines, Text(""), footer), title=title, expand=False)

    def line(self) -> str:
        """One line, for output that is no terminal."""
        head = self.head or {}
        views = f"{head['views']['today']} views today, " if "views" in head else ""
        return (
            f"{utc_time(head['asOf'])} {self.space} {head['people']} people "
            f"({head['signedIn']} signed in), {head['sessions']} sessions, "
            f"{views}version {head['version']}"
        )


@dataclass(frozen=True)
class _Numbers:
    """The numbers side by side, or below each other where that is too wide: none is ever cut."""

    head: Mapping[str, Any]

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        yield self._table(console, options)

    def __rich_measure__(self, console: Console, options: ConsoleOptions) -> Measurement:
        return Measurement.get(console, options, self._table(console, options))

    def _table(self, console: Console, options: ConsoleOptions) -> Table:
        peak, views = self.head["peak"], self.head.get("views")  # a roll-up has no views
        cells = {
            "people": self.head["people"],
            "signed in": self.head["signedIn"],
            "anonymous": self.head["anonymous"],
            "sessions": self.head["sessions"],
            "peak": peak["people"] if peak else 0,
        }
        if views is not None:
            cells |= {"views today": views["today"], "in total": views["total"]}
        wide = Table(box=None, pad_edge=False, show_header=True, header_style="dim")
        for name in cells:
            wide.add_column(name, justify="right", no_wrap=True)
        wide.add_row(*map(_number, cells.values()))
        if Measurement.get(console, options.update(max_width=_ANY), wide).maximum <= (
            options.max_width
        ):
            return wide
        narrow = Table(box=None, pad_edge=False, show_header=False)
        narrow.add_column(style="dim", overflow="fold")
        narrow.add_column(justify="right", no_wrap=True)
        for name, value in cells.items():
            narrow.add_row(name, _number(value))
        return narrow


def _number(value: int) -> Text:
    return Text(f"{value:,}", style="bold")


@dataclass(frozen=True)
class _Tops:
    """The top values of facets, as many side by side as there is width for."""

    facets: Mapping[str, list[Mapping[str, Any]]]

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        yield self._rows(options)

    def __rich_measure__(self, console: Console, options: ConsoleOptions) -> Measurement:
        return Measurement.get(console, options, self._rows(options))

    def _rows(self, options: ConsoleOptions) -> Group:
        tops = [_top(name, values) for name, values in self.facets.items()]
        beside = max(1, (options.max_width + _BETWEEN) // (_NARROWEST_TOP + _BETWEEN))
        lines: list[RenderableType] = []
        for first in range(0, len(tops), beside):
            row = Table.grid(padding=(0, _BETWEEN))
            row.add_row(*tops[first : first + beside])
            lines += [Text(""), row] if lines else [row]
        return Group(*lines)


def _top(name: str, values: list[Mapping[str, Any]]) -> Table:
    table = Table(box=None, pad_edge=False, header_style="dim")
    table.add_column(_short(name), max_width=_LONGEST_VALUE)
    table.add_column("people", justify="right", no_wrap=True)
    for one in values[:TOP]:
        table.add_row(_short(str(one["value"])), f"{one['people']:,}")
    return table


def _short(text: str) -> Text:
    """Text that is cut where there is no width for it, so that its number is not."""
    return Text(printable(text), no_wrap=True, overflow="ellipsis")
