"""Commands that change something: removals, messages, share links, erasures, tokens."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Annotated, Any
from urllib.parse import quote, urlsplit

import typer

from headcount_cli.api import Api, connected, rows_of, space_path
from headcount_cli.errors import CommandError
from headcount_cli.output import note, print_json, print_line, print_rows, utc_time
from headcount_cli.target import Options, find_stack, find_target
from headcount_cli.times import seconds
from headcount_cli.tokens import ACTIONS, is_scope

DAY = 86_400
FIRST_PAUSE, LONGEST_PAUSE = 5.0, 60.0
"""Seconds between two reads of an erasure that the command waits for; the pauses grow."""


def _for(meaning: str) -> Any:
    """The option --for, a duration."""
    return Annotated[str, typer.Option("--for", metavar="TIME", help=meaning)]


def _id(meaning: str) -> Any:
    return Annotated[str | None, typer.Option(metavar="ID", help=meaning)]


Space = Annotated[str, typer.Argument(metavar="SPACE", help="For example site:main.")]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Don't ask for confirmation.")]


def _given(**ids: str | None) -> dict[str, str]:
    return {name: value for name, value in ids.items() if value is not None}


def _confirm(question: str, yes: bool) -> None:
    """Ask on a terminal. CommandError if there is none, or if the answer is no."""
    if yes:
        return
    if not sys.stdin.isatty():
        raise CommandError(f"{question} There is no terminal to ask on: add --yes to confirm.")
    if not typer.confirm(question, err=True):
        raise CommandError("Cancelled. Nothing was changed.")


async def kick(
    options: Options,
    space: Space,
    session: Annotated[
        str | None,
        typer.Argument(metavar="SESSION", help="A session's id, as listed by `viewers`."),
    ] = None,
    *,
    user: _id("A user, in all their tabs.") = None,  # type: ignore[valid-type]
    visitor: _id("A visitor, in all tabs of that browser.") = None,  # type: ignore[valid-type]
    verified: Annotated[
        bool | None,
        typer.Option(
            "--verified/--claimed",
            help="Only the user whom a token proved, or only those who claim the id. "
            "[default: the one who is here]",
            show_default=False,
        ),
    ] = None,
    duration: _for("How long they stay out, at most 30d.") = "1h",  # type: ignore[valid-type]
    reason: Annotated[
        str | None, typer.Option(metavar="TEXT", help="Shown to admins only.")
    ] = None,
) -> None:
    """Remove a session, a user or a visitor from a space for a while.

    Example: [cyan]headcount kick site:main --user u1 --for 2h --reason spam[/]
    """
    given = _given(sessionId=session, userId=user, visitorId=visitor)
    if len(given) != 1:
        raise typer.BadParameter("name exactly one: a SESSION, --user or --visitor")
    if verified is not None and user is None:
        raise typer.BadParameter("--verified and --claimed go with --user")
    body = {**given, "seconds": seconds(duration)} | ({"reason": reason} if reason else {})
    body |= {} if verified is None else {"verified": verified}
    async with connected(find_target(options)) as api:
        done = await api.call("POST", space_path(space, "removals"), body=body)
    until = utc_time(done["until"], date=True)
    _print_done(
        options,
        done,
        f"Removed until {until} UTC; {done['ended']} sessions ended. `let-in` lifts the removal.",
    )


_VERIFIED: Mapping[bool | None, str] = {True: "yes", False: "no", None: ""}


async def removals(options: Options, space: Space) -> None:
    """List who is removed from a space.

    Example: [cyan]headcount removals site:main[/]
    """
    async with connected(find_target(options)) as api:
        found = rows_of(await api.get(space_path(space, "removals")), "removals")
    print_rows(
        found,
        [
            ("id", "id"),
            ("who", lambda row: row["userId"] or row["visitorId"] or row["sessionId"]),
            ("until (UTC)", lambda row: utc_time(row["until"], date=True)),
            ("by", "by"),
            ("reason", "reason"),
            ("verified", lambda row: _VERIFIED[row.get("verified")]),
        ],
        empty="No one is removed.",
        as_json=options.json,
    )


async def let_in(
    options: Options,
    space: Space,
    who: Annotated[
        str,
        typer.Argument(metavar="WHO", help="A person or a removal's id, as listed by `removals`."),
    ],
) -> None:
    """Lift a removal, so that they may come back.

    Example: [cyan]headcount let-in site:main u1[/]
    """
    path = space_path(space, "removals")
    names = ("id", "userId", "visitorId", "sessionId")
    async with connected(find_target(options)) as api:
        found = rows_of(await api.get(path), "removals")
        ids = [one["id"] for one in found if who in [one[name] for name in names]]
        if not ids:
            raise CommandError(
                f"{who} is not removed from {space}. `headcount removals {space}` lists who is."
            )
        for removal in ids:
            done = await api.call("DELETE", space_path(space, "removals", removal))
    _print_done(options, done, "They may come back.")


async def send_message(
    options: Options,
    space: Space,
    text: Annotated[
        str | None, typer.Argument(metavar="TEXT", help="1 to 280 characters; omit with --end.")
    ] = None,
    *,
    warning: Annotated[bool, typer.Option("--warning", help="Show it as a warning.")] = False,
    duration: _for("How long it is shown, at most a day.") = "5m",  # type: ignore[valid-type]
    end: Annotated[bool, typer.Option("--end", help="End the current message early.")] = False,
) -> None:
    """Show a message to everyone in a space. It replaces the current one.

    Example: [cyan]headcount say site:main "We start in five minutes." --for 5m[/]
    """
    if (text is None) != end:
        raise typer.BadParameter("give either a TEXT or --end")
    path = space_path(space, "messages")
    async with connected(find_target(options)) as api:
        if end:
            _print_done(options, await api.call("DELETE", path), "The message has ended.")
            return
        level = "warning" if warning else "info"
        body = {"text": text, "level": level, "seconds": seconds(duration)}
        done = await api.call("POST", path, body=body)
    _print_done(options, done, f"Shown until {utc_time(done['until'], date=True)} UTC.")


async def mark(
    options: Options,
    space: Space,
    text: Annotated[str, typer.Argument(metavar="TEXT", help="1 to 100 characters.")],
) -> None:
    """Note on a space's charts what happens now, such as a release.

    Example: [cyan]headcount mark site:main "Release 2.3"[/]
    """
    async with connected(find_target(options)) as api:
        done = await api.call("POST", space_path(space, "marks"), body={"text": text})
    _print_done(options, done, "Noted.")


async def share(
    options: Options,
    space: Annotated[
        str | None, typer.Argument(metavar="SPACE", help="A space, or a kind as in site:*.")
    ] = None,
    *,
    days: Annotated[int, typer.Option(min=1, max=366, help="How long the link works.")] = 7,
    label: Annotated[
        str | None, typer.Option(metavar="TEXT", help="What it is for, as `--list` shows it.")
    ] = None,
    wall: Annotated[bool, typer.Option("--wall", help="Open it as a wall display.")] = False,
    list_links: Annotated[bool, typer.Option("--list", help="List the links.")] = False,
    revoke: _id("End a link, and close what it opened.") = None,  # type: ignore[valid-type]
) -> None:
    """Print a link with which anybody sees the numbers of a space, but no names, until it ends.

    Example: [cyan]headcount share site:main --days 7 --label "Screen in the lobby"[/]
    """
    if [space is not None, list_links, revoke is not None].count(True) != 1:
        raise typer.BadParameter("give a SPACE, --list or --revoke")
    target = find_target(options)
    async with connected(target) as api:
        if list_links:
            _print_links(options, rows_of(await api.get("/v1/shares"), "shares"))
            return
        if revoke is not None:
            path = f"/v1/shares/{quote(revoke, safe='', errors='surrogateescape')}"
            done = await api.call("DELETE", path)
            _print_done(options, done, "Revoked. What it opened closes within seconds.")
            return
        assert space is not None
        where = {"kind": space[:-2]} if space.endswith(":*") else {"space": space}
        body = {**where, "expiresIn": days * DAY, "view": "wall" if wall else None, "label": label}
        done = await api.call("POST", "/v1/shares", body=body)
    # Behind an edge, the API does not know the address that people use.
    link = f"{target.url.rstrip('/')}/dashboard#{urlsplit(done['url']).fragment}"
    note(f"It works until {utc_time(done['expiresAt'], date=True)} UTC. Its id is {done['id']}.")
    _print_done(options, {**done, "url": link}, link)


def _print_links(options: Options, found: list[Any]) -> None:
    print_rows(
        found,
        [
            ("id", "id"),
            ("space", "space"),
            ("label", "label"),
            ("state", "state"),
            ("until (UTC)", lambda row: utc_time(row["expiresAt"], date=True)),
        ],
        empty="No share links.",
        as_json=options.json,
    )


async def audit(options: Options, space: Space) -> None:
    """List the actions of admins in a space in the last 30 days, newest first.

    Example: [cyan]headcount audit site:main[/]
    """
    async with connected(find_target(options)) as api:
        found = rows_of(await api.get(space_path(space, "audit")), "acts")
    print_rows(
        found,
        [
            ("at (UTC)", lambda row: utc_time(row["at"], date=True)),
            ("admin", "who"),
            ("action", "what"),
            ("parameters", lambda row: " ".join(f"{k}={v}" for k, v in row["parameters"].items())),
        ],
        empty="No actions.",
        as_json=options.json,
    )


async def erase(
    options: Options,
    *,
    user: _id("Their user id.") = None,  # type: ignore[valid-type]
    visitor: _id("Their browser's visitor id.") = None,  # type: ignore[valid-type]
    session: _id("A session id of theirs.") = None,  # type: ignore[valid-type]
    yes: Yes = False,
    no_wait: Annotated[
        bool, typer.Option("--no-wait", help="Don't wait until all three rounds are done.")
    ] = False,
) -> None:
    """Erase a person everywhere; the numbers stay. Several ids mean the same person.

    It takes about an hour and a half, and continues after Ctrl-C.

    Example: [cyan]headcount erase --user u1 --visitor v1 --no-wait[/]
    """
    given = _given(userId=user, visitorId=visitor, sessionId=session)
    if not given:
        raise typer.BadParameter("name the person with --user, --visitor, --session, or several")
    who = " and ".join(f"{name} {value}" for name, value in given.items())
    _confirm(f"Erase {who} from all stored data? This can't be undone.", yes)
    async with connected(find_target(options)) as api:
        erasure = await api.call("POST", "/v1/erasures", body=given)
        await _follow_erasure(api, options, erasure, wait=not no_wait)


async def erasures(
    options: Options,
    erasure: Annotated[
        str | None, typer.Argument(metavar="ID", help="One erasure; without it, all of 30 days.")
    ] = None,
    wait: Annotated[bool, typer.Option("--wait", help="Wait until it is complete.")] = False,
) -> None:
    """Show the progress of erasures.

    Example: [cyan]headcount erasures[/]
    """
    async with connected(find_target(options)) as api:
        if erasure is not None:
            await _follow_erasure(api, options, await _erasure(api, erasure), wait=wait)
            return
        found = rows_of(await api.get("/v1/erasures"), "erasures")
    print_rows(
        found,
        [
            ("id", "id"),
            ("at (UTC)", lambda row: utc_time(row["at"], date=True)),
            ("who", "who"),
            ("rounds", "rounds"),
            ("rows", lambda row: sum(row["erased"].values())),
            ("complete", lambda row: "yes" if row["complete"] else "no"),
        ],
        empty="No erasures.",
        as_json=options.json,
    )


async def _erasure(api: Api, erasure: str) -> Any:
    return await api.get(f"/v1/erasures/{erasure}")


async def _follow_erasure(api: Api, options: Options, erasure: Any, *, wait: bool) -> None:
    """Print the progress, and with ``wait`` each change of it until the erasure is complete."""
    progress, pause = _progress(erasure), FIRST_PAUSE
    note(f"Erasure {erasure['id']}: {progress}")
    while wait and not erasure["complete"]:
        await api.sleep(pause)
        pause = min(LONGEST_PAUSE, pause * 1.5)
        erasure = await _erasure(api, erasure["id"])
        if (now := _progress(erasure)) != progress:
            progress, pause = now, FIRST_PAUSE
            note(f"Erasure {erasure['id']}: {progress}")
    more = f"It continues on its own. To wait for it: headcount erasures {erasure['id']} --wait"
    _print_done(options, erasure, "Erased." if erasure["complete"] else more)


def _progress(erasure: Any) -> str:
    rows = ", ".join(f"{number:,} {name}" for name, number in erasure["erased"].items() if number)
    return f"round {min(erasure['rounds'] + 1, 3)} of 3, erased {rows or 'nothing yet'}"


def token(
    options: Options,
    subject: Annotated[str, typer.Option(metavar="WHO", help="The token's `sub`.")] = "admin",
    scope: Annotated[
        list[str] | None,
        typer.Option(
            "--scope",
            "--scopes",
            metavar="SCOPE",
            help="What it allows, such as read:site:main or people:course:*; repeat it, or "
            "separate scopes by spaces. Without scopes the token is an admin's.",
        ),
    ] = None,
    duration: _for("How long it is valid.") = "12h",  # type: ignore[valid-type]
    ttl: Annotated[int | None, typer.Option(min=1, hidden=True)] = None,
) -> None:
    """Print a new token for the local stack, or for one on AWS that signs its own tokens.

    Example: [cyan]headcount token --scope "read:site:* moderate:course:42" --for 1h[/]
    """
    scopes = tuple(word for one in scope or [] for word in one.split())
    for word in scopes:
        if not is_scope(word):
            raise typer.BadParameter(
                f"{word!r} is not a scope: write it like read:site:main, people:course:* or "
                f"erase:*, with one of {', '.join(ACTIONS)}"
            )
    if scope is not None and not scopes:  # an empty variable must not make an admin
        raise typer.BadParameter("--scope is empty: omit it for an admin's token")
    made = find_stack(options).token(subject=subject, lives=ttl or seconds(duration), scopes=scopes)
    _print_done(options, {"token": made, "subject": subject, "scopes": list(scopes)}, made)


def _print_done(options: Options, body: Any, line: str) -> None:
    if options.json:
        print_json(body)
    else:
        print_line(line)
