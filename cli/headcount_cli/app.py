"""`headcount`: an operator's commands. This module reads; `acting` changes, `doctor` examines."""

from __future__ import annotations

import asyncio
import sys
from contextlib import suppress
from enum import StrEnum
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.live import Live

from headcount_cli import acting, costs, demo, doctor
from headcount_cli.api import Api, connected, pages, space_path
from headcount_cli.errors import CommandError
from headcount_cli.exporting import COLUMNS, export, flat, write
from headcount_cli.feed import Feed, socket_url_of
from headcount_cli.options import aimed
from headcount_cli.output import (
    console,
    key,
    local_time,
    note,
    say,
    say_json,
    say_rows,
    say_table,
    sparkline,
    while_read,
)
from headcount_cli.screen import Screen
from headcount_cli.target import Asked, find

app = typer.Typer(
    name="headcount",
    help="Who is here right now, on what, and how many: watch, look back, act, examine.",
    no_args_is_help=True,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

_LOOK, _BACK, _ACT, _RUN = "Look", "Look back", "Act", "Run"


def _spaces(incomplete: str) -> list[str]:
    """Live spaces, for the shell's completion; none where they can't be had quickly."""

    async def ask() -> list[str]:
        async with asyncio.timeout(2), connected(find(Asked())) as api:
            return [one["space"] for one in (await api.get("/v1/spaces"))["spaces"]]

    with suppress(CommandError, TimeoutError):
        return [space for space in asyncio.run(ask()) if space.startswith(incomplete)]
    return []


Space = Annotated[
    str,
    typer.Argument(metavar="SPACE", help="Such as site:main.", autocompletion=_spaces),
]
From = Annotated[str | None, typer.Option("--from", metavar="WHEN", help="The first, ISO 8601.")]
To = Annotated[str | None, typer.Option("--to", metavar="WHEN", help="The last, ISO 8601.")]


@app.command(rich_help_panel=_LOOK)
@aimed
async def watch(
    asked: Asked,
    space: Space,
    count: Annotated[
        int | None, typer.Option(min=1, metavar="N", help="End after so many versions.")
    ] = None,
) -> None:
    """A space's numbers as they change, until Ctrl-C.

    In a terminal a table, else a line for each version; with --json the headcounts themselves.

    Example: [cyan]headcount watch site:main[/]
    """
    target = find(asked)
    async with connected(target, note) as api:
        url = await socket_url_of(target, api)
        feed = Feed(url, target.token, space, api.session)
        screen = Screen(space, recent=await _recent(api, space))
        out = console()
        with suppress(asyncio.CancelledError):  # Ctrl-C: that is how one stops watching
            if asked.json or not out.is_terminal:
                heard_by = partial(_tell, screen, as_json=asked.json)
                await while_read(_follow(feed, screen, count, heard_by))
                return
            with Live(screen.render(), console=out, auto_refresh=False) as live:
                await _follow(
                    feed, screen, count, lambda _: live.update(screen.render(), refresh=True)
                )


async def _recent(api: Api, space: str) -> list[int]:
    """The people of the last hour, minute by minute."""
    try:
        points = (await api.get(space_path(space, "timeline")))["points"]
    except CommandError:  # what is to come can be watched without it
        return []
    return [point["people"] for point in points]


async def _follow(feed: Feed, screen: Screen, count: int | None, show: Any) -> None:
    """Show what is heard; a repeated version is shown once."""
    shown = -1
    left = count
    async for heard in feed.listen():
        if heard.message is None:
            screen.lose(heard.lost, heard.pause)
            show(heard)
            continue
        screen.hear(heard.message)
        is_new = heard.message["type"] != "headcount" or heard.message["version"] != shown
        if is_new:
            show(heard)
        if is_new and heard.message["type"] == "headcount":
            shown = heard.message["version"]
            if left is not None and (left := left - 1) == 0:
                return


def _tell(screen: Screen, heard: Any, *, as_json: bool) -> None:
    if heard.message is None:
        note(screen.state)
    elif as_json:
        say_json(heard.message, lines=True)
    elif heard.message["type"] == "headcount":
        say(screen.line())
    elif screen.notice:
        say(screen.notice)


@app.command(rich_help_panel=_LOOK)
@aimed
async def spaces(
    asked: Asked,
    kind: Annotated[str | None, typer.Option(metavar="KIND", help="Only these, as course.")] = None,
) -> None:
    """Spaces with anyone in them, the largest first.

    Example: [cyan]headcount spaces --kind course[/]
    """
    async with connected(find(asked), note) as api:
        found = (await api.get("/v1/spaces", kind=kind))["spaces"]
    say_rows(
        found,
        [
            ("space", key("space")),
            ("people", key("people")),
            ("signed in", key("signedIn")),
            ("anonymous", key("anonymous")),
            ("sessions", key("sessions")),
            ("as of (UTC)", lambda row: local_time(row["asOf"])),
        ],
        nothing="Nobody is anywhere.",
        as_json=asked.json,
    )


@app.command(rich_help_panel=_LOOK)
@aimed
async def show(asked: Asked, space: Space) -> None:
    """A space's published numbers, once.

    Example: [cyan]headcount show site:main[/]
    """
    async with connected(find(asked), note) as api:
        head = await api.get(space_path(space))
        if asked.json:
            say_json(head)
            return
        screen = Screen(space, head=head, recent=await _recent(api, space), state="published")
    console().print(screen.render())


@app.command(rich_help_panel=_LOOK)
@aimed
async def viewers(
    asked: Asked,
    space: Space,
    limit: Annotated[int, typer.Option(min=1, metavar="N", help="At most so many.")] = 50,
) -> None:
    """Who is in a space: its sessions, with names.

    Example: [cyan]headcount viewers course:42 --limit 200[/]
    """
    found: list[Any] = []
    async with connected(find(asked), note) as api:
        async for page in pages(api, space_path(space, "viewers"), "viewers"):
            found += page
            if len(found) > limit:
                break
    if asked.json:
        say_json(found[:limit])
        return
    say_table(
        found[:limit],
        [
            ("session", key("sessionId")),
            ("visitor", key("visitorId")),
            ("user", key("userId")),
            ("name", key("name")),
            ("page", key("page")),
            ("facets", lambda row: " ".join(f"{k}={v}" for k, v in row["facets"].items())),
            ("state", key("state")),
            ("joined (UTC)", lambda row: local_time(row["joinedAt"])),
            ("last seen", lambda row: local_time(row["lastSeen"])),
        ],
        nothing="Nobody is here.",
    )
    if len(found) > limit:
        note(f"There are more than {limit}: --limit, or headcount export {space} --viewers.")


@app.command(rich_help_panel=_LOOK)
@aimed
async def explain(asked: Asked, space: Space) -> None:
    """Why a number is what it is: a fresh recount beside it. Exit code 1 where they drifted.

    Example: [cyan]headcount explain site:main[/]
    """
    async with connected(find(asked), note) as api:
        found = await api.get(space_path(space, "explain"), limit=100)
        if asked.json:
            while found["cursor"] is not None:
                more = await api.get(
                    space_path(space, "explain"), limit=100, cursor=found["cursor"]
                )
                found["sessions"] += more["sessions"]
                found["notCounted"] += more["notCounted"]
                found["cursor"] = more["cursor"]
            say_json(found)
        else:
            _explain(found)
    if found["verdict"] == "drift":
        raise CommandError("What is published drifted. The next sweep repairs it: docs/audit.md.")


def _explain(found: Any) -> None:
    verdicts = {
        "agrees": "What is published agrees with a recount.",
        "onItsWay": "The difference is on its way.",
        "drift": "What is published does not follow from the sessions.",
    }
    say(verdicts.get(found["verdict"]) or str(found["note"]))
    compared = [("published", found["published"]), ("recount", found["recount"])]
    say_table(
        [{"numbers": name, **numbers} for name, numbers in compared if numbers],
        [
            ("numbers", key("numbers")),
            ("people", key("people")),
            ("signed in", key("signedIn")),
            ("anonymous", key("anonymous")),
            ("sessions", key("sessions")),
            ("as of (UTC)", lambda row: local_time(row.get("asOf") or row.get("at"))),
        ],
        nothing="",
    )
    say_table(
        found["sessions"],
        [
            ("counted", key("sessionId")),
            ("as", lambda row: f"{row['person']['by']} {row['person']['id']}"),
            ("decides", lambda row: " ".join(row["decides"] or [])),
            ("lease ends (UTC)", lambda row: local_time(row["leaseEndsAt"])),
        ],
        nothing="No session is counted.",
    )
    if found["notCounted"]:
        say_table(
            found["notCounted"],
            [
                ("not counted", key("sessionId")),
                ("why", key("reason")),
                ("since (UTC)", lambda row: local_time(row["at"])),
            ],
            nothing="",
        )
    if found["cursor"] is not None:
        note("There are more: --json has them all.")


@app.command(rich_help_panel=_BACK)
@aimed
async def timeline(asked: Asked, space: Space, start: From = None, end: To = None) -> None:
    """A point for each minute with anyone in the space; the last hour unless told otherwise.

    Example: [cyan]headcount timeline site:main --from 2026-11-20T08:00:00Z[/]
    """
    async with connected(find(asked), note) as api:
        path = space_path(space, "timeline")
        points = (await api.get(path, **{"from": start, "to": end}))["points"]
    if asked.json:
        say_json(points)
        return
    say_table(
        points,
        [
            ("at (UTC)", lambda row: local_time(row["at"], date=True)),
            ("people", key("people")),
            ("sessions", key("sessions")),
        ],
        nothing="Nobody was here.",
    )
    if points:
        say(sparkline([point["people"] for point in points], 60))


@app.command(rich_help_panel=_BACK)
@aimed
async def days(asked: Asked, space: Space, start: From = None, end: To = None) -> None:
    """A row for each UTC day with anyone in the space, today so far included.

    Example: [cyan]headcount days site:main --from 2026-11-01 --to 2026-11-21[/]
    """
    async with connected(find(asked), note) as api:
        found = (await api.get(space_path(space, "days"), **{"from": start, "to": end}))["days"]
    say_rows(
        found,
        [
            ("day", key("date")),
            ("people", key("uniquePeople")),
            ("sessions", key("uniqueSessions")),
            ("views", key("views")),
            ("beats", key("beats")),
            ("peak", key("peak")),
            ("average", lambda row: f"{row['avgSeconds']:,} s"),
        ],
        nothing="Nobody was here.",
        as_json=asked.json,
    )


class Format(StrEnum):
    """A file's format."""

    csv = "csv"
    json = "json"
    parquet = "parquet"


@app.command("export", rich_help_panel=_BACK)
@aimed
async def export_command(
    asked: Asked,
    space: Space,
    *,
    days: Annotated[bool, typer.Option("--days", help="A row for each day (the default).")] = False,
    timeline: Annotated[bool, typer.Option("--timeline", help="A row for each minute.")] = False,
    viewers: Annotated[
        bool, typer.Option("--viewers", help="A row for each session here.")
    ] = False,
    audit: Annotated[bool, typer.Option("--audit", help="A row for each act of an admin.")] = False,
    start: From = None,
    end: To = None,
    format: Annotated[
        Format | None, typer.Option(help="By the file's name unless told; else csv.")
    ] = None,
    output: Annotated[
        Path | None, typer.Option("-o", "--output", metavar="FILE", help="Else standard output.")
    ] = None,
) -> None:
    """Everything of one sort as a file: page by page, however much there is.

    Texts that a spreadsheet would run as a formula are made harmless in CSV.

    Example: [cyan]headcount export site:main --days --from 2026-01-01 -o days.parquet[/]
    """
    wanted = {"days": days, "timeline": timeline, "viewers": viewers, "audit": audit}
    chosen = [name for name, is_wanted in wanted.items() if is_wanted] or ["days"]
    if len(chosen) > 1:
        raise typer.BadParameter(f"choose one of --{' and --'.join(chosen)}")
    by_name = output.suffix.removeprefix(".") if output else ""
    if by_name and format is None and by_name not in set(Format):
        raise typer.BadParameter(f"a .{by_name} is none of {', '.join(Format)}: say --format")
    kind = str(format or (by_name if by_name in set(Format) else "json" if asked.json else "csv"))
    if kind == "parquet" and output is None and sys.stdout.isatty():
        raise typer.BadParameter("a Parquet file needs a place: -o days.parquet")
    async with connected(find(asked), note) as api:
        rows = await export(api, chosen[0], space, start, end)
    table = [flat(row) for row in rows] if kind != "json" else rows
    write(table, kind, output, COLUMNS[chosen[0]])
    if output:
        note(f"{len(rows):,} rows in {output}")


app.command(rich_help_panel=_ACT)(aimed(acting.kick))
app.command(rich_help_panel=_ACT)(aimed(acting.removals))
app.command("let-in", rich_help_panel=_ACT)(aimed(acting.let_in))
app.command("say", rich_help_panel=_ACT)(aimed(acting.say_to_all))
app.command(rich_help_panel=_ACT)(aimed(acting.audit))
app.command(rich_help_panel=_ACT)(aimed(acting.erase))
app.command(rich_help_panel=_ACT)(aimed(acting.erasures))
app.command(rich_help_panel=_ACT)(aimed(acting.token))
app.command("doctor", rich_help_panel=_RUN)(aimed(doctor.command))
app.command("cost", rich_help_panel=_RUN)(aimed(costs.command))
app.command("demo", rich_help_panel=_RUN)(aimed(demo.command))
app.command("seed", hidden=True)(aimed(demo.command))


def main() -> None:
    """The console script."""
    app(prog_name="headcount")
