"""What every command takes: which Headcount, and how to answer."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable, Coroutine
from dataclasses import fields
from typing import Annotated, Any

import typer

from headcount_cli.errors import CommandError
from headcount_cli.output import complain
from headcount_cli.target import Asked, checked

_WHERE = "Which Headcount"


def _address(text: str) -> str:
    return _checked(text, {"http", "https"})


def _socket_address(text: str) -> str:
    return _checked(text, {"ws", "wss"})


def _checked(text: str, schemes: set[str]) -> str:
    try:
        return checked(text, schemes)
    except CommandError as error:
        raise typer.BadParameter(str(error)) from None


_SHARED: dict[str, Any] = {
    "url": Annotated[
        str | None,
        typer.Option(
            metavar="URL",
            parser=_address,
            help="Its address. Or HEADCOUNT_URL; else the local stack.",
            rich_help_panel=_WHERE,
        ),
    ],
    "socket_url": Annotated[
        str | None,
        typer.Option(
            metavar="URL",
            parser=_socket_address,
            help="Its WebSocket address, if not the one it tells. Or HEADCOUNT_SOCKET_URL.",
            rich_help_panel=_WHERE,
        ),
    ],
    "token": Annotated[
        str | None,
        typer.Option(
            metavar="TOKEN",
            help="An admin's token. Better: HEADCOUNT_TOKEN, which no list of processes shows.",
            rich_help_panel=_WHERE,
        ),
    ],
    "stack": Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="A stack on AWS, found with your AWS credentials.",
            rich_help_panel=_WHERE,
        ),
    ],
    "region": Annotated[
        str | None,
        typer.Option(
            metavar="REGION",
            help="That stack's region, if not your AWS settings'.",
            rich_help_panel=_WHERE,
        ),
    ],
    "local": Annotated[
        bool,
        typer.Option("--local", help="The stack of a running `make run`.", rich_help_panel=_WHERE),
    ],
    "json": Annotated[bool, typer.Option("--json", help="Answer as JSON, for scripts.")],
}

Command = Callable[..., Any]


def aimed(function: Command) -> Command:
    """A command whose first argument is what these options say (`Asked`).

    It may be a coroutine function. It returns the exit code; None is 0, and a CommandError its own.
    """
    _, *own = inspect.signature(function, eval_str=True).parameters.values()
    asked = {field.name: field.default for field in fields(Asked)}

    def run(**given: Any) -> None:
        where = Asked(**{name: given.pop(name) for name in asked})
        raise typer.Exit(finished(lambda: function(where, **given)))

    shared = [
        inspect.Parameter(
            name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=_SHARED[name]
        )
        for name, default in asked.items()
    ]
    named = [one.replace(kind=inspect.Parameter.KEYWORD_ONLY) for one in own]
    wrapped: Any = run
    wrapped.__signature__ = inspect.Signature([*named, *shared])
    wrapped.__annotations__ = {one.name: one.annotation for one in (*named, *shared)}
    wrapped.__name__, wrapped.__doc__ = function.__name__, function.__doc__
    return run


def finished(work: Callable[[], int | Coroutine[Any, Any, int | None] | None]) -> int:
    """Do it to its end; the exit code."""
    try:
        done = work()
        return (asyncio.run(done) if inspect.iscoroutine(done) else done) or 0  # type: ignore[return-value]
    except CommandError as error:
        complain(str(error))
        return error.code
    except BrokenPipeError:
        raise  # whoever read has enough: click ends it quietly
    except OSError as error:
        complain(f"The output could not be written: {error.strerror or error}.")
        return 1
    except KeyboardInterrupt:
        return 130
