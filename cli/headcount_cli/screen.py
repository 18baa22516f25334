"""The screen of `headcount watch`: a space's numbers, as they are now."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from rich.console import Group, RenderableType
from rich.markup import escape
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from headcount_cli.output import local_time, printable, sparkline

KEPT = 240
"""Numbers that the recent course is drawn from."""
TOP = 5
_FACETS = 4
_WIDTH = 60
_LONGEST = 32


@dataclass
class Screen:
    """What was heard of a space so far."""

    space: str
    head: Mapping[str, Any] | None = None
    recent: list[int] = field(default_factory=list)
    state: str = "connecting"
    notice: str = ""

    def hear(self, message: Mapping[str, Any]) -> None:
        """A message of the space."""
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

    def lose(self, why: str, pause: float) -> None:
        """The connection was lost."""
        self.state = f"reconnecting in {pause:.0f} s ({why})"

    def render(self) -> RenderableType:
        """As it is shown in a terminal."""
        title = f"[bold]{escape(self.space)}[/]"
        state = Text(self.state, style="green" if self.state == "live" else "yellow")
        if self.head is None:
            return Panel(state, title=title, expand=False)
        head = self.head
        lines: list[RenderableType] = [_numbers(head)]
        if len(self.recent) > 1:
            course = sparkline(self.recent, _WIDTH)
            low, high = min(self.recent[-_WIDTH:]), max(self.recent[-_WIDTH:])
            lines += [Text(""), Text(f"{course}  {low:,} to {high:,}", style="cyan")]
        if tops := [_top(name, values) for name, values in head["facets"].items() if values]:
            beside = Table.grid(padding=(0, 4))
            beside.add_row(*tops[:_FACETS])
            lines += [Text(""), beside]
        if self.notice:
            lines += [Text(""), Text(self.notice, style="magenta")]
        at = local_time(head["asOf"])
        footer = Text.assemble(state, f"  version {head['version']:,} of {at} UTC")
        return Panel(Group(*lines, Text(""), footer), title=title, expand=False)

    def line(self) -> str:
        """As it is said where there is no terminal."""
        head = self.head or {}
        return (
            f"{local_time(head['asOf'])} {self.space} {head['people']} people "
            f"({head['signedIn']} signed in), {head['sessions']} sessions, "
            f"{head['views']['today']} views today, version {head['version']}"
        )


def _numbers(head: Mapping[str, Any]) -> Table:
    peak, views = head["peak"], head["views"]
    table = Table(box=None, pad_edge=False, show_header=True, header_style="dim")
    cells = {
        "people": head["people"],
        "signed in": head["signedIn"],
        "anonymous": head["anonymous"],
        "sessions": head["sessions"],
        "peak": peak["people"] if peak else 0,
        "views today": views["today"],
        "in all": views["total"],
    }
    for name in cells:
        table.add_column(name, justify="right", no_wrap=True)
    table.add_row(*(Text(f"{value:,}", style="bold") for value in cells.values()))
    return table


def _top(name: str, values: list[Mapping[str, Any]]) -> Table:
    table = Table(box=None, pad_edge=False, header_style="dim")
    table.add_column(escape(printable(name)), overflow="ellipsis", max_width=_LONGEST, no_wrap=True)
    table.add_column("people", justify="right")
    for one in values[:TOP]:
        table.add_row(Text(printable(str(one["value"]))), f"{one['people']:,}")
    return table
