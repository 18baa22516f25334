"""`headcount`, the operator's command line: its reading commands, and the list of all commands."""

from __future__ import annotations

import asyncio
import re
import sys
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from enum import StrEnum
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.live import Live

from headcount_cli import actions, carry_over, cost, demo, doctor, mcp_server, streams
from headcount_cli.api import Api, connected, pages, rows_of, space_path
from headcount_cli.errors import CommandError, unwritable
from headcount_cli.export import COLUMNS, export, flat, minutes_of, people_by_minute, write
from headcount_cli.feed import Feed, Update, socket_url_of
from headcount_cli.files import STDOUT
from headcount_cli.options import Command, with_options
from headcount_cli.output import (
    Column,
    console,
    is_blank,
    note,
    print_error,
    print_json,
    print_line,
    print_rows,
    print_table,
    sparkline,
    until_reader_leaves,
    utc_time,
)
from headcount_cli.screen import Screen
from headcount_cli.target import Options, find_target
from headcount_cli.times import day, is_ago, iso, moment

app = typer.Typer(
    name="headcount",
    help="Who is here right now, on what, and how many: watch, look back, act, examine.",
    no_args_is_help=True,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _print_version(wanted: bool) -> None:
    if wanted:
        print_line(f"headcount {version('headcount-cli')}")
        raise typer.Exit


@app.callback()
def _options_without_command(
    _: Annotated[
        bool,
        typer.Option(
            "--version", callback=_print_version, is_eager=True, help="Show the version and exit."
        ),
    ] = False,
) -> None:
    """Take the options that need no command. `--help` shows the help of ``app``, not this."""


_WATCH, _HISTORY, _ACT, _OPERATE = "Watch", "History", "Act", "Operate"


def command(panel: str, name: str | None = None) -> Callable[[Command], Command]:
    """Register a command in a panel of `--help`; its own name is the function's."""

    def register(function: Command) -> Command:
        app.command(name, rich_help_panel=panel)(with_options(function))
        return function

    return register


def _spaces(incomplete: str) -> list[str]:
    """Live spaces, for shell completion; none if the server does not answer quickly."""

    async def fetch() -> list[str]:
        target = find_target(Options())
        async with asyncio.timeout(2), connected(target, quiet=True) as api:
            return [one["space"] for one in rows_of(await api.get("/v1/spaces"), "spaces")]

    with suppress(CommandError, TimeoutError):
        return [space for space in asyncio.run(fetch()) if space.startswith(incomplete)]
    return []


Space = Annotated[
    str,
    typer.Argument(metavar="SPACE", help="For example site:main.", autocompletion=_spaces),
]
_WHEN = "ISO 8601, or how long ago: 6h, 7d."
From = Annotated[str | None, typer.Option("--from", metavar="WHEN", help=f"Start: {_WHEN}")]
To = Annotated[str | None, typer.Option("--to", metavar="WHEN", help=f"End: {_WHEN}")]


@command(_WATCH)
async def watch(
    options: Options,
    space: Space,
    count: Annotated[
        int | None, typer.Option(min=1, metavar="N", help="Stop after N versions.")
    ] = None,
) -> None:
    """Show a space's numbers as they change, until Ctrl-C.

    On a terminal this is a live table, otherwise a line for each version; --json prints every
    message.

    Example: [cyan]headcount watch site:main[/]
    """
    target = find_target(options)
    async with connected(target) as api:
        url = await socket_url_of(target, api)
        feed = Feed(url, target.token, space, api.session)
        screen = Screen(space, recent=await _recent(api, space))
        out = console()
        with suppress(asyncio.CancelledError):  # Ctrl-C is the normal end
            if options.json or not out.is_terminal:
                show = partial(_print_update, screen, as_json=options.json)
                await until_reader_leaves(_follow(feed, screen, count, show))
                return
            with Live(screen.render(), console=out, auto_refresh=False) as live:
                await _follow(
                    feed, screen, count, lambda _: live.update(screen.render(), refresh=True)
                )


async def _recent(api: Api, space: str) -> list[int | None]:
    """The number of people in each minute of the last hour; None: not sampled."""
    try:
        answer = await api.get(space_path(space, "timeline"))
    except CommandError:  # watching works without a history
        return []
    return people_by_minute(minutes_of(answer))


async def _follow(feed: Feed, screen: Screen, count: int | None, show: Any) -> None:
    """Show every update; a repeated version only once."""
    shown = -1
    left = count
    async for update in feed.listen():
        screen.apply(update)
        message = update.message
        is_headcount = message is not None and message["type"] == "headcount"
        if message is None or not is_headcount:
            show(update)
        elif message["version"] != shown:
            show(update)
            shown = message["version"]
            if left is not None and (left := left - 1) == 0:
                return


def _print_update(screen: Screen, update: Update, *, as_json: bool) -> None:
    if update.message is None:
        note(screen.state)
    elif as_json:
        print_json(update.message, one_line=True)
    elif update.message["type"] == "headcount":
        print_line(screen.line())
    elif screen.notice:
        print_line(screen.notice)


@command(_WATCH)
async def spaces(
    options: Options,
    kind: Annotated[
        str | None, typer.Option(metavar="KIND", help="Only this kind, such as course.")
    ] = None,
) -> None:
    """List the spaces that have people in them, largest first.

    Example: [cyan]headcount spaces --kind course[/]
    """
    async with connected(find_target(options)) as api:
        found = rows_of(await api.get("/v1/spaces", kind=kind), "spaces")
    print_rows(
        found,
        [
            ("space", "space"),
            *_NUMBERS,
            ("as of (UTC)", lambda row: utc_time(row["asOf"])),
        ],
        empty="No one is in any space.",
        as_json=options.json,
    )


_NUMBERS = [
    ("people", "people"),
    ("signed in", "signedIn"),
    ("anonymous", "anonymous"),
    ("sessions", "sessions"),
]


def _rollup_columns(what: str) -> list[Column]:
    return [
        (what, what),
        *_NUMBERS,
        ("spaces", "spaces"),
        ("peak", lambda row: row["peak"]["people"] if row["peak"] else 0),
        ("as of (UTC)", lambda row: utc_time(row["asOf"])),
    ]


async def _show_rollups(options: Options, what: str, name: str | None) -> None:
    async with connected(find_target(options)) as api:
        if name is None:
            listed = rows_of(await api.get("/v1/rollups"), "rollups")
            found = [one for one in listed if one[what] is not None]
        else:
            found = [await api.get(space_path(f"~{what}:{name}"))]
    print_rows(
        found[0] if options.json and name is not None else found,
        _rollup_columns(what),
        empty=f"The token allows to read no {what}.",
        as_json=options.json,
    )


@command(_WATCH)
async def kind(
    options: Options,
    name: Annotated[
        str | None, typer.Argument(metavar="KIND", help="Such as course; without it, all kinds.")
    ] = None,
) -> None:
    """Show how many people are in all spaces of a kind, each counted once.

    `watch`, `timeline`, `days` and `explain` take '~kind:course' in place of a space.

    Example: [cyan]headcount kind course[/]
    """
    await _show_rollups(options, "kind", name)


@command(_WATCH)
async def group(
    options: Options,
    name: Annotated[
        str | None,
        typer.Argument(metavar="GROUP", help="As in RollUps, or all; without it, all groups."),
    ] = None,
) -> None:
    """Show how many people are in all spaces of a group, each counted once.

    `watch`, `timeline`, `days` and `explain` take '~group:all' in place of a space.

    Example: [cyan]headcount group all[/]
    """
    await _show_rollups(options, "group", name)


@command(_WATCH)
async def show(options: Options, space: Space) -> None:
    """Show a space's published numbers once.

    Example: [cyan]headcount show site:main[/]
    """
    async with connected(find_target(options)) as api:
        head = await api.get(space_path(space))
        if options.json:
            print_json(head)
            return
        screen = Screen(space, head=head, recent=await _recent(api, space), state="published")
    console().print(screen.render())


@command(_WATCH)
async def viewers(
    options: Options,
    space: Space,
    limit: Annotated[int, typer.Option(min=1, metavar="N", help="At most N sessions.")] = 50,
) -> None:
    """List who is in a space: its sessions, with names.

    Example: [cyan]headcount viewers course:42 --limit 200[/]
    """
    found: list[Any] = []
    async with connected(find_target(options)) as api:
        async for page in pages(api, space_path(space, "viewers"), "viewers"):
            found += page
            if len(found) > limit:
                break
    print_rows(
        found[:limit],
        [
            ("session", "sessionId"),
            ("visitor", "visitorId"),
            ("user", "userId"),
            ("verified", lambda row: row["userId"] and ("yes" if row["verified"] else "no")),
            ("name", lambda row: None if is_blank(row["name"]) else row["name"]),
            ("page", "page"),
            ("facets", lambda row: " ".join(f"{k}={v}" for k, v in row["facets"].items())),
            ("state", "state"),
            ("joined (UTC)", lambda row: utc_time(row["joinedAt"])),
            ("last seen", lambda row: utc_time(row["lastSeen"])),
        ],
        empty="No one is here.",
        as_json=options.json,
    )
    if len(found) > limit and not options.json:
        note(
            f"There are more than {limit}. Raise --limit, or use `headcount export {space} "
            "--viewers`."
        )


@command(_WATCH)
async def where(
    options: Options,
    person: Annotated[
        str,
        typer.Argument(
            metavar="PERSON",
            help="u:ada (proven), c:ada (claimed), v: and a visitor, s: and a session; ada: "
            "u:ada and c:ada.",
        ),
    ],
) -> None:
    """Show where a person is, and when they were last seen.

    Example: [cyan]headcount where ada[/]
    """
    keys = [person] if _PERSON.match(person) else [f"u:{person}", f"c:{person}"]
    async with connected(find_target(options)) as api:
        answer = await api.call("POST", "/v1/people/lookup", body={"people": keys})
    found = rows_of(answer, "people")
    if options.json:
        print_json(found)
        return
    here = [{**space, "person": one["person"]} for one in found for space in one["spaces"]]
    if here:
        print_table(
            here,
            [
                ("person", "person"),
                ("space", "space"),
                ("page", "page"),
                ("sessions", "sessions"),
                ("since (UTC)", lambda row: utc_time(row["since"], date=True)),
                ("last seen", lambda row: utc_time(row["lastSeen"])),
            ],
        )
    for one in found:
        if not one["online"] and one["lastSeen"]:
            seen = utc_time(one["lastSeen"], date=True)
            print_line(f"{one['person']} is not here. Last seen (UTC): {seen}")
    if not any(one["lastSeen"] for one in found):
        print_line(f"{person} has not been here in the last seven days.")


_PERSON = re.compile(r"[ucvs]:.", re.DOTALL)


@command(_WATCH)
async def explain(options: Options, space: Space) -> None:
    """Explain a space's number with a fresh recount. Exit code 1 if the published number drifted.

    '~kind:course' and '~group:all' explain how many people are in several spaces.

    Example: [cyan]headcount explain site:main[/]
    """
    path = space_path(space, "explain")
    async with connected(find_target(options)) as api:
        found = await api.get(path, limit=100)
        if options.json:
            while found["cursor"] is not None:
                more = await api.get(path, limit=100, cursor=found["cursor"])
                for rows in found.keys() & {"sessions", "notCounted"}:
                    found[rows] += more[rows]
                found["cursor"] = more["cursor"]
            print_json(found)
        else:
            _print_explanation(found)
    if found["verdict"] == "drift":
        raise CommandError(
            "The published numbers drifted. The next sweep repairs them; docs/audit.md says how to "
            "find the cause."
        )


def _print_explanation(found: Any) -> None:
    verdicts = {
        "agrees": "The published numbers agree with a recount.",
        "onItsWay": "The difference is on its way.",
        "drift": "The published numbers do not follow from the sessions.",
    }
    print_line(verdicts.get(found["verdict"]) or str(found["note"]))
    is_rollup = "parts" in found
    compared = [("published", found["published"]), ("recount", found["recount"])]
    print_table(
        [{"numbers": name, **numbers} for name, numbers in compared if numbers],
        [
            ("numbers", "numbers"),
            *_NUMBERS,
            ("as of (UTC)", lambda row: utc_time(row.get("asOf") or row.get("at"))),
        ],
    )
    if is_rollup and found["spaces"]:
        print_table(
            found["spaces"], [("space", "space"), ("people", "people"), ("sessions", "sessions")]
        )
        print_line(f"In more than one of these spaces: {found['inSeveralSpaces']:,}")
    print_table(
        found["sessions"],
        [
            ("counted", "sessionId"),
            ("as", lambda row: _known_as(row["person"])),
            ("in", "space")
            if is_rollup
            else ("decides", lambda row: " ".join(row["decides"] or [])),
            ("lease ends (UTC)", lambda row: utc_time(row["leaseEndsAt"])),
        ],
        empty="No session is counted.",
    )
    if not is_rollup and found["notCounted"]:
        print_table(
            found["notCounted"],
            [
                ("not counted", "sessionId"),
                ("why", "reason"),
                ("since (UTC)", lambda row: utc_time(row["at"])),
            ],
        )
    if found["cursor"] is not None:
        note("There are more sessions: --json prints all of them.")


def _known_as(person: Any) -> str:
    claimed = person["by"] == "user" and not person["verified"]
    return f"{person['by']} {person['id']}{' (claimed)' if claimed else ''}"


@command(_HISTORY)
async def timeline(options: Options, space: Space, start: From = None, end: To = None) -> None:
    """Show each minute in which the space had people; by default the last hour. A minute without
    numbers had people too, but was not sampled.

    Example: [cyan]headcount timeline site:main --from 6h[/]
    """
    now = datetime.now(UTC)
    if start and is_ago(start):  # both by this clock: the server's could make the period too long
        end = end or iso(now)
    period = {
        "from": iso(moment("--from", start, now)) if start else None,
        "to": iso(moment("--to", end, now)) if end else None,
    }
    async with connected(find_target(options)) as api:
        points = minutes_of(await api.get(space_path(space, "timeline"), **period))
    print_rows(
        points,
        [
            ("at (UTC)", lambda row: utc_time(row["at"], date=True)),
            ("people", "people"),
            ("sessions", "sessions"),
        ],
        empty="No one was here.",
        as_json=options.json,
    )
    if points and not options.json:
        print_line(sparkline(people_by_minute(points), 60))


@command(_HISTORY)
async def days(options: Options, space: Space, start: From = None, end: To = None) -> None:
    """Show each UTC day on which the space had people, including today so far.

    Example: [cyan]headcount days site:main --from 14d --to 1d[/]
    """
    now = datetime.now(UTC)
    period = {
        "from": day("--from", start, now).isoformat() if start else None,
        "to": day("--to", end, now).isoformat() if end else None,
    }
    async with connected(find_target(options)) as api:
        found = rows_of(await api.get(space_path(space, "days"), **period), "days")
    print_rows(
        found,
        [
            ("day", "date"),
            ("people", "uniquePeople"),
            ("sessions", "uniqueSessions"),
            ("views", "views"),
            ("beats", "beats"),
            ("peak", "peak"),
            ("average", lambda row: f"{row['avgSeconds']:,} s"),
        ],
        empty="No one was here.",
        as_json=options.json,
    )


class Format(StrEnum):
    """A file's format."""

    csv = "csv"
    json = "json"
    parquet = "parquet"


@command(_HISTORY, "export")
async def export_command(
    options: Options,
    space: Space,
    *,
    days: Annotated[bool, typer.Option("--days", help="A row per day (the default).")] = False,
    timeline: Annotated[bool, typer.Option("--timeline", help="A row per minute.")] = False,
    viewers: Annotated[
        bool, typer.Option("--viewers", help="A row per session that is here.")
    ] = False,
    audit: Annotated[bool, typer.Option("--audit", help="A row per action of an admin.")] = False,
    start: From = None,
    end: To = None,
    format: Annotated[
        Format | None,
        typer.Option(case_sensitive=False, help="Default: by the file's name, else csv."),
    ] = None,
    output: Annotated[
        str | None,
        typer.Option("-o", "--output", metavar="FILE", help="Default: standard output, as with -."),
    ] = None,
) -> None:
    """Export all rows of one type to a file, page by page.

    In CSV, text that a spreadsheet would run as a formula gets an apostrophe. A file starts
    with a byte order mark, as spreadsheets expect; standard output does not.

    Example: [cyan]headcount export site:main --days --from 90d -o days.parquet[/]
    """
    wanted = {"days": days, "timeline": timeline, "viewers": viewers, "audit": audit}
    chosen = [name for name, is_wanted in wanted.items() if is_wanted] or ["days"]
    if len(chosen) > 1:
        raise typer.BadParameter(f"choose only one of --{' and --'.join(chosen)}")
    if output == STDOUT:
        output = None
    extension = Path(output or "").suffix.removeprefix(".").lower()
    if extension and format is None and extension not in set(Format):
        raise typer.BadParameter(
            f".{extension} is not one of {', '.join(Format)}: choose one with --format"
        )
    by_default = "json" if options.json else "csv"
    kind = str(format or (extension if extension in set(Format) else by_default))
    if kind == "parquet" and output is None and sys.stdout.isatty():
        raise typer.BadParameter("Parquet needs a file: add -o days.parquet")
    async with connected(find_target(options)) as api:
        rows = await export(api, chosen[0], space, start, end, now=datetime.now(UTC))
    table = [flat(row) for row in rows] if kind != "json" else rows
    write(table, kind, output, COLUMNS[chosen[0]])
    if output is not None:
        note(f"{len(rows):,} rows in {output}")


command(_ACT)(actions.kick)
command(_ACT)(actions.removals)
command(_ACT, "let-in")(actions.let_in)
command(_ACT, "say")(actions.send_message)
command(_ACT)(actions.mark)
command(_ACT)(actions.share)
command(_ACT)(actions.audit)
command(_ACT)(actions.erase)
command(_ACT)(actions.erasures)
command(_ACT)(actions.token)
command(_OPERATE, "doctor")(doctor.command)
command(_OPERATE, "carry-over")(carry_over.command)
command(_OPERATE, "cost")(cost.command)
command(_OPERATE, "demo")(demo.command)
command(_OPERATE, "mcp")(mcp_server.command)
app.command("seed", hidden=True)(with_options(demo.command))


def main() -> None:
    """The console script."""
    streams.prepare()
    try:
        app(prog_name="headcount")
    except OSError as error:  # from help or from an error in the command line
        print_error(unwritable(error))
        raise SystemExit(1) from None
    finally:
        streams.finish()
