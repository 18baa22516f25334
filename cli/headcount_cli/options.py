"""The options that every command takes: which Headcount, and the output's form."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable, Coroutine
from dataclasses import fields
from typing import Annotated, Any

import typer

from headcount_cli.errors import CommandError, unwritable
from headcount_cli.output import print_error
from headcount_cli.target import Options, parse_url

_PANEL = "Which Headcount"


def _http_url(text: str) -> str:
    return _url(text, {"http", "https"})


def _socket_url(text: str) -> str:
    return _url(text, {"ws", "wss"})


def _url(text: str, schemes: set[str]) -> str:
    try:
        return parse_url(text, schemes)
    except CommandError as error:
        raise typer.BadParameter(str(error)) from None


def _target(metavar: str, help: str, **more: Any) -> Any:
    """An option that helps to find the target."""
    return Annotated[
        str | None, typer.Option(metavar=metavar, help=help, rich_help_panel=_PANEL, **more)
    ]


_SHARED: dict[str, Any] = {
    "url": _target(
        "URL", "Its address. Default: HEADCOUNT_URL, else the local stack.", parser=_http_url
    ),
    "socket_url": _target(
        "URL",
        "Its WebSocket address, if not the one that the API names. Default: HEADCOUNT_SOCKET_URL.",
        parser=_socket_url,
    ),
    "token": _target(
        "TOKEN", "An admin's token. HEADCOUNT_TOKEN is safer: process lists don't show it."
    ),
    "stack": _target("NAME", "A stack on AWS, found with your AWS credentials."),
    "region": _target("REGION", "That stack's region. Default: your AWS settings."),
    "local": Annotated[
        bool,
        typer.Option("--local", help="The stack of a running `make run`.", rich_help_panel=_PANEL),
    ],
    "json": Annotated[bool, typer.Option("--json", help="Print JSON, for scripts.")],
}

Command = Callable[..., Any]


def with_options(function: Command) -> Command:
    """A command with these options, which ``function`` takes as its first argument (`Options`).

    The function may be a coroutine function. It returns the exit code (None is 0); a CommandError
    has its own.
    """
    _, *own = inspect.signature(function, eval_str=True).parameters.values()
    shared = {field.name: field.default for field in fields(Options)}

    def run(**given: Any) -> None:
        options = Options(**{name: given.pop(name) for name in shared})
        raise typer.Exit(run_to_exit_code(lambda: function(options, **given)))

    parameters = [
        *(one.replace(kind=inspect.Parameter.KEYWORD_ONLY) for one in own),
        *(
            inspect.Parameter(
                name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=_SHARED[name]
            )
            for name, default in shared.items()
        ),
    ]
    wrapped: Any = run
    wrapped.__signature__ = inspect.Signature(parameters)
    wrapped.__annotations__ = {one.name: one.annotation for one in parameters}
    wrapped.__name__, wrapped.__doc__ = function.__name__, function.__doc__
    return run


def run_to_exit_code(work: Callable[[], int | Coroutine[Any, Any, int | None] | None]) -> int:
    """Run a command and print its error, if any. Returns the exit code."""
    try:
        done = work()
        return (asyncio.run(done) if inspect.iscoroutine(done) else done) or 0  # type: ignore[return-value]
    except CommandError as error:
        print_error(str(error))
        return error.code
    except BrokenPipeError:
        raise  # the reader has left: click ends quietly
    except OSError as error:
        print_error(unwritable(error))
        return 1
    except KeyboardInterrupt:
        return 130
