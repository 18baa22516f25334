"""Commands that change something: removals, messages, erasures, tokens."""

from __future__ import annotations

import re
import sys
from typing import Annotated, Any

import typer

from headcount_cli.api import Api, connected, space_path
from headcount_cli.errors import CommandError
from headcount_cli.output import key, local_time, note, say, say_json, say_rows
from headcount_cli.target import Asked, find, find_stack
from headcount_cli.tokens import ACTIONS, HOUR, is_scope

LOOK_EVERY = 5.0
"""Seconds between two looks at an erasure that is waited for; later ones are rarer."""
RAREST_LOOK = 60.0
_UNITS = {"s": 1, "m": 60, "h": HOUR, "d": 24 * HOUR}
_FOR_EVER = 10 * 365 * 24 * HOUR


def seconds(text: str) -> int:
    """``90``, ``90s``, ``15m``, ``12h`` or ``30d`` in seconds."""
    match = re.fullmatch(r"([0-9]{1,9})([smhd]?)", text)
    if not match or not int(match[1]) or int(match[1]) * _UNITS[match[2] or "s"] > _FOR_EVER:
        raise typer.BadParameter(f"{text!r} is no time: write it like 90s, 15m, 12h or 30d")
    return int(match[1]) * _UNITS[match[2] or "s"]


def _lasting(words: str) -> Any:
    """An option that takes such a time."""
    return Annotated[str, typer.Option("--for", metavar="TIME", help=words)]


Space = Annotated[str, typer.Argument(metavar="SPACE", help="Such as site:main.")]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Don't ask.")]


def _sure(question: str, yes: bool) -> None:
    """Ask, where there is somebody to be asked. CommandError where there is not, or they say no."""
    if yes:
        return
    if not sys.stdin.isatty():
        raise CommandError(f"{question} Nobody is here to be asked: say --yes.")
    if not typer.confirm(question, err=True):
        raise CommandError("Nothing was done.")


async def kick(
    asked: Asked,
    space: Space,
    session: Annotated[
        str | None, typer.Argument(metavar="SESSION", help="A session's id, as `viewers` shows it.")
    ] = None,
    *,
    user: Annotated[str | None, typer.Option(metavar="ID", help="In all their tabs.")] = None,
    visitor: Annotated[str | None, typer.Option(metavar="ID", help="That browser.")] = None,
    lasting: _lasting("How long they stay out, 30d at most.") = "1h",  # type: ignore[valid-type]
    reason: Annotated[str | None, typer.Option(metavar="TEXT", help="For admins alone.")] = None,
) -> None:
    """Remove somebody from a space for a while: a session, a user or a visitor.

    Example: [cyan]headcount kick site:main --user u1 --for 2h --reason spam[/]
    """
    named = {"sessionId": session, "userId": user, "visitorId": visitor}
    given = {name: value for name, value in named.items() if value is not None}
    if len(given) != 1:
        raise typer.BadParameter("name one: a SESSION, --user or --visitor")
    body = {**given, "seconds": seconds(lasting)} | ({"reason": reason} if reason else {})
    async with connected(find(asked), note) as api:
        done = await api.call("POST", space_path(space, "removals"), body=body)
    if asked.json:
        say_json(done)
    else:
        until = local_time(done["until"], date=True)
        say(f"Out until {until} UTC; {done['ended']} sessions ended. `let-in` lets them in again.")


async def removals(asked: Asked, space: Space) -> None:
    """Who may not be in a space now.

    Example: [cyan]headcount removals site:main[/]
    """
    async with connected(find(asked), note) as api:
        found = (await api.get(space_path(space, "removals")))["removals"]
    say_rows(
        found,
        [
            ("id", key("id")),
            ("who", lambda row: row["userId"] or row["visitorId"] or row["sessionId"]),
            ("until (UTC)", lambda row: local_time(row["until"], date=True)),
            ("by", key("by")),
            ("reason", key("reason")),
        ],
        nothing="Nobody is removed.",
        as_json=asked.json,
    )


async def let_in(
    asked: Asked,
    space: Space,
    who: Annotated[
        str, typer.Argument(metavar="WHO", help="Whom `removals` shows, or the removal's id.")
    ],
) -> None:
    """Lift a removal: they may come back.

    Example: [cyan]headcount let-in site:main u1[/]
    """
    path = space_path(space, "removals")
    names = ("id", "userId", "visitorId", "sessionId")
    async with connected(find(asked), note) as api:
        found = (await api.get(path))["removals"]
        ids = [one["id"] for one in found if who in [one[name] for name in names]]
        if not ids:
            raise CommandError(f"{who} is not removed from {space}: `headcount removals {space}`.")
        for removal in ids:
            done = await api.call("DELETE", space_path(space, "removals", removal))
    _done(asked, done, "They may come back.")


async def say_to_all(
    asked: Asked,
    space: Space,
    text: Annotated[
        str | None, typer.Argument(metavar="TEXT", help="1 to 280 characters; none with --end.")
    ] = None,
    *,
    warning: Annotated[bool, typer.Option("--warning", help="As a warning.")] = False,
    lasting: _lasting("How long it is shown, a day at most.") = "5m",  # type: ignore[valid-type]
    end: Annotated[bool, typer.Option("--end", help="End the message before its time.")] = False,
) -> None:
    """Show a message to everyone in a space, in place of the one before.

    Example: [cyan]headcount say site:main "We start in five minutes." --for 5m[/]
    """
    if (text is None) != end:
        raise typer.BadParameter("say a TEXT, or --end")
    path = space_path(space, "messages")
    async with connected(find(asked), note) as api:
        if end:
            _done(asked, await api.call("DELETE", path), "It is over.")
            return
        level = "warning" if warning else "info"
        body = {"text": text, "level": level, "seconds": seconds(lasting)}
        done = await api.call("POST", path, body=body)
    _done(asked, done, f"Shown until {local_time(done['until'], date=True)} UTC.")


async def audit(asked: Asked, space: Space) -> None:
    """What admins did to a space in the last 30 days, the newest first.

    Example: [cyan]headcount audit site:main[/]
    """
    async with connected(find(asked), note) as api:
        found = (await api.get(space_path(space, "audit")))["acts"]
    say_rows(
        found,
        [
            ("at (UTC)", lambda row: local_time(row["at"], date=True)),
            ("who", key("who")),
            ("what", key("what")),
            ("of what", lambda row: " ".join(f"{k}={v}" for k, v in row["parameters"].items())),
        ],
        nothing="Nothing was done.",
        as_json=asked.json,
    )


async def erase(
    asked: Asked,
    *,
    user: Annotated[str | None, typer.Option(metavar="ID", help="Their user id.")] = None,
    visitor: Annotated[str | None, typer.Option(metavar="ID", help="Their browser's id.")] = None,
    session: Annotated[str | None, typer.Option(metavar="ID", help="A tab's id.")] = None,
    yes: Yes = False,
    no_wait: Annotated[
        bool, typer.Option("--no-wait", help="Don't wait until all three rounds are done.")
    ] = False,
) -> None:
    """Erase a person everywhere; the numbers stay. Several ids are all the same person's.

    It takes about an hour and a half, and goes on by itself when the wait is ended by Ctrl-C.

    Example: [cyan]headcount erase --user u1 --visitor v1 --no-wait[/]
    """
    named = {"userId": user, "visitorId": visitor, "sessionId": session}
    given = {name: value for name, value in named.items() if value is not None}
    if not given:
        raise typer.BadParameter("name the person: --user, --visitor, --session, or several")
    who = " and ".join(f"{name} {value}" for name, value in given.items())
    _sure(f"Erase {who} from everything that is stored? It can't be undone.", yes)
    async with connected(find(asked), note) as api:
        begun = await api.call("POST", "/v1/erasures", body=given)
        await _tell_erasure(api, asked, begun, not no_wait)


async def erasures(
    asked: Asked,
    erasure: Annotated[
        str | None, typer.Argument(metavar="ID", help="One of them; else all of 30 days.")
    ] = None,
    wait: Annotated[bool, typer.Option("--wait", help="Until it is complete.")] = False,
) -> None:
    """How far erasures are.

    Example: [cyan]headcount erasures[/]
    """
    async with connected(find(asked), note) as api:
        if erasure is not None:
            await _tell_erasure(api, asked, await _erasure(api, erasure), wait)
            return
        found = (await api.get("/v1/erasures"))["erasures"]
    say_rows(
        found,
        [
            ("id", key("id")),
            ("at (UTC)", lambda row: local_time(row["at"], date=True)),
            ("who", key("who")),
            ("rounds", key("rounds")),
            ("rows", lambda row: sum(row["erased"].values())),
            ("complete", lambda row: "yes" if row["complete"] else "no"),
        ],
        nothing="Nobody was erased.",
        as_json=asked.json,
    )


async def _erasure(api: Api, erasure: str) -> Any:
    return await api.get(f"/v1/erasures/{erasure}")


async def _tell_erasure(api: Api, asked: Asked, found: Any, wait: bool) -> None:
    """Say how far it is, as often as that changes while it is waited for."""
    told, pause = _progress(found), LOOK_EVERY
    note(f"Erasure {found['id']}: {told}")
    while wait and not found["complete"]:
        await api.sleep(pause)
        pause = min(RAREST_LOOK, pause * 1.5)
        found = await _erasure(api, found["id"])
        if (now := _progress(found)) != told:
            told, pause = now, LOOK_EVERY
            note(f"Erasure {found['id']}: {told}")
    if asked.json:
        say_json(found)
    elif found["complete"]:
        say("Erased.")
    else:
        say(f"It goes on by itself: headcount erasures {found['id']} --wait")


def _progress(found: Any) -> str:
    rows = ", ".join(f"{number:,} {name}" for name, number in found["erased"].items() if number)
    return f"round {min(found['rounds'] + 1, 3)} of 3, erased {rows or 'nothing yet'}"


def token(
    asked: Asked,
    subject: Annotated[str, typer.Option(metavar="WHO", help="The token's `sub`.")] = "admin",
    scope: Annotated[
        list[str] | None,
        typer.Option(
            "--scope",
            "--scopes",
            metavar="SCOPE",
            help="What it allows, as read:site:main or people:course:*; several times, or "
            "separated by spaces. Without any, everything: an admin's.",
        ),
    ] = None,
    lasting: _lasting("How long it is valid.") = "12h",  # type: ignore[valid-type]
    ttl: Annotated[int | None, typer.Option(min=1, hidden=True)] = None,
) -> None:
    """Make a token of the local stack, or of one on AWS that signs its own, and print it.

    Example: [cyan]headcount token --scope "read:site:* moderate:course:42" --for 1h[/]
    """
    scopes = tuple(word for one in scope or [] for word in one.split())
    for word in scopes:
        if not is_scope(word):
            raise typer.BadParameter(
                f"{word!r} is no scope: write it like read:site:main, people:course:* or erase:*, "
                f"with one of {', '.join(ACTIONS)}"
            )
    if scope is not None and not scopes:  # an empty variable must not make an admin
        raise typer.BadParameter("--scope names no scope: leave it out for an admin's token")
    made = find_stack(asked).token(subject=subject, lives=ttl or seconds(lasting), scopes=scopes)
    if asked.json:
        say_json({"token": made, "subject": subject, "scopes": list(scopes)})
    else:
        say(made)


def _done(asked: Asked, body: Any, words: str) -> None:
    if asked.json:
        say_json(body)
    else:
        say(words)
