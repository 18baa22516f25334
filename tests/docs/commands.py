"""The commands of a page, run one after the other in a shell as somebody who reads it would."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import botocore.session
import click
from botocore import xform_name
from botocore.exceptions import UnknownServiceError

from local.settings import STACK_NAME, Settings, aws_environment
from tests.support.template import ROOT, template

LIMIT = 90
"""Seconds that a command may take."""

_MAKES_OWN = {"ARGS", "MAKEFLAGS", "MAKELEVEL", "MFLAGS"}
"""What `make test ARGS=...` would hand on to a page's own `make`."""

ELSEWHERE = {
    "make run": ("tests/stack/test_make_run.py", '["make", "run", '),
    "make build": (".ci/run", "make build"),
    "make test": (".ci/run", "make test"),
    "make check": (".ci/run", "make check"),
    "make mutants": (".ci/run", "make mutants"),
    "make soak": (".ci/run", "make soak"),
    "make bench-check": (".ci/run", "make bench-check"),
    "make sam-local-image": (".ci/run", "make sam-local-image"),
    ".venv/bin/sam local": ("tests/stack/test_sam_local.py", '[SAM, "local", '),
    "make units": ("tests/handlers/test_units.py", "measure("),
    "make deploy-local": ("tests/stack/faults.py", "deploy("),
}
"""What CI runs anyway, and where it says so."""

LONG = {
    *("make bench-beat", "make bench-cold-start", "make bench-fanout", "make bench-cost"),
    *("make bench-dashboard", "make bench-sizes", "make picture", "make load"),
}
"""What takes minutes, or is right on a quiet machine only: started as far as its help."""

OUTSIDE = {"make lock", "make audit-dependencies"}
"""What asks servers of others: make says what it would do."""

LASTING = {
    "make demo": "visitors",
    "headcount demo": "visitors",
    "headcount watch": "people",
    ".venv/bin/headcount watch": "people",
}
"""What goes on until Ctrl-C, and a word that it says once it works."""

ONCE = {"headcount doctor"}
"""What looks at everything and changes nothing: the same line on another page is not run again."""
_done: set[str] = set()

APART = {"make clean"}
"""What would take the tests' own tools away: run in a folder that holds the like of them."""


class BrokenError(AssertionError):
    """A command does not do what its page says."""


def commands(text: str) -> list[str]:
    """A block's commands: lines, with those that go on in the next line whole."""
    found: list[str] = []
    open_line = ""
    for line in text.splitlines():
        open_line = f"{open_line}\n{line}" if open_line else line
        if not _is_whole(open_line):
            continue
        if re.sub(r"(?m)^\s*#.*$", "", open_line).strip():
            found.append(open_line.strip())
        open_line = ""
    return [*found, open_line] if open_line else found


def _is_whole(text: str) -> bool:
    """Whether no quote, no backslash and no here-document is open."""
    here = re.search(r"<<-?\s*['\"]?(\w+)", text)
    if here and not re.search(rf"^\s*{here[1]}$", text, re.MULTILINE):
        return False
    try:
        shlex.split(text, comments=True)
    except ValueError:
        return False
    return not text.endswith("\\")


def words(command: str) -> list[str]:
    """A command's words, without the assignments before it; none where the shell has to say."""
    try:
        found = shlex.split(command.replace("\\\n", " "), comments=True)
    except ValueError:
        return []
    while found and re.match(r"\w+=", found[0]):
        found = found[1:]
    return found


def starts(command: str, table: Any) -> str | None:
    """The entry that a command begins with, word by word."""
    found = words(command)
    return next((entry for entry in table if found[: len(entry.split())] == entry.split()), None)


@dataclass
class Shell:
    """A reader's terminal: what it is told stays in force until the page ends."""

    folder: Path
    settings: Settings
    literals: dict[str, str]
    """What stands in a page for an address, and the address."""
    variables: dict[str, str]

    def __post_init__(self) -> None:
        """The project's folder as the reader sees it, whose running stack is the test's."""
        for path in ROOT.iterdir():
            if path.name != ".local":
                (self.folder / path.name).symlink_to(path)
        (self.folder / ".local").symlink_to(self.settings.home)
        (self.folder / ".curlrc").write_text("fail-with-body\nsilent\nshow-error\nmax-time = 20\n")
        self._state = self.folder / ".state"
        self._state.touch()

    def environment(self) -> dict[str, str]:
        """A terminal's, aimed at the running stack and its AWS."""
        inherited = aws_environment(self.settings)
        return {
            **{name: value for name, value in inherited.items() if name not in _MAKES_OWN},
            **self.variables,
            "PATH": f"{ROOT / '.venv' / 'bin'}{os.pathsep}{os.environ['PATH']}",
            "CURL_HOME": str(self.folder),
            "HEADCOUNT_LOCAL_DIR": str(self.settings.home),
            "PORT": str(self.settings.port),
            "GATEWAY_PORT": str(self.settings.gateway_port),
            "TERM": "dumb",
        }

    def run(self, block: str) -> None:
        """Run a block's commands; BrokenError names the first that does not work."""
        for command in commands(block):
            self._run(command)

    def _run(self, command: str) -> None:
        checked, elsewhere = starts(command, CHECKED), starts(command, ELSEWHERE)
        if checked and (wrong := list(CHECKED[checked](words(self._ours(command))))):
            raise BrokenError(f"{command}: {'; '.join(wrong)}")
        if elsewhere:
            file, said = ELSEWHERE[elsewhere]
            if said not in (ROOT / file).read_text():
                raise BrokenError(f"{command}: {file} does not run it any more")
        if checked or elsewhere:
            return
        if starts(command, APART):
            self._run_apart(command)
            return
        if starts(command, OUTSIDE):
            command = command.replace("make", "make -n", 1)
        if long := starts(command, LONG):
            command = f"{long} ARGS=--help"
        ours = " ".join(words(self._ours(command)))
        if starts(command, ONCE) and ours in _done:
            return
        _done.add(ours)
        self._bash(command, LASTING.get(starts(command, LASTING) or ""))

    def _ours(self, text: str) -> str:
        for literal, meant in self.literals.items():
            text = text.replace(literal, meant)
        return text

    def _run_apart(self, command: str) -> None:
        place = self.folder / "apart"
        shutil.rmtree(place, ignore_errors=True)
        made = [place / ".venv", place / ".local", place / "functions" / "__pycache__"]
        for folder in made:
            folder.mkdir(parents=True)
        shutil.copy(ROOT / "Makefile", place)
        self._bash(f"cd {shlex.quote(str(place))} && {command}", None)
        if left := [folder.name for folder in made if folder.exists()]:
            raise BrokenError(f"{command} left {left}")

    def _bash(self, command: str, until: str | None) -> None:
        state = shlex.quote(str(self._state))
        script = (
            f"set -euo pipefail; . {state}; set -a\n{self._ours(command)}\n"
            f"set +a; {{ export -p; printf 'cd %q\\n' \"$PWD\"; }} > {state}"
        )
        output = self.folder / ".output"
        with output.open("wb") as log:
            shell = subprocess.Popen(
                ["bash", "-c", script],
                cwd=self.folder,
                env=self.environment(),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        try:
            code = shell.wait(LIMIT) if until is None else _until(shell, output, until)
        except subprocess.TimeoutExpired:
            code = f"no end within {LIMIT} s"
        finally:
            _end(shell)
        said = output.read_text(errors="replace")
        if code or "Traceback" in said:
            raise BrokenError(f"{command}\nended with {code}:\n{_shortened(said)}")


def _shortened(said: str, most: int = 2000) -> str:
    """How it began and how it ended."""
    return said if len(said) <= 2 * most else f"{said[:most]}\n[...]\n{said[-most:]}"


def _until(shell: subprocess.Popen[bytes], output: Path, word: str) -> str | int:
    """Wait for a word, press Ctrl-C and say how it ended: 0 where it was asked to."""
    deadline = time.monotonic() + LIMIT
    while word not in output.read_text(errors="replace"):
        if shell.poll() is not None or time.monotonic() > deadline:
            return f"{shell.returncode}, and never said {word!r}"
        time.sleep(0.1)
    if shell.poll() is None:
        os.killpg(shell.pid, signal.SIGINT)
        shell.wait(20)
    return 0


def _end(shell: subprocess.Popen[bytes]) -> None:
    try:
        os.killpg(shell.pid, signal.SIGKILL)
    except ProcessLookupError:
        return
    shell.wait()


# --------------------------------------------------------- what would need an account: only checked


def sam(command: list[str]) -> Iterator[str]:
    """What SAM CLI would refuse of a command's options, and parameters that there are none of."""
    from samcli.cli.context import Context
    from samcli.cli.main import cli

    name, rest = "sam", command[1:]
    at: Any = cli
    context = click.Context(cli, info_name=name, obj=Context())
    try:
        while isinstance(at, click.Group):
            name, rest = rest[0], rest[1:]
            at = at.get_command(context, name)
            if at is None:
                yield f"sam has no command {name}"
                return
        made = at.make_context(name, rest, parent=context)
    except click.ClickException as error:
        yield error.format_message()
        return
    for parameter in made.params.get("parameter_overrides") or ():
        if parameter not in template().parameters:
            yield f"the template has no parameter {parameter}"


def aws(command: list[str]) -> Iterator[str]:
    """What of an AWS CLI command its service does not know, or misses."""
    _, service, operation, *rest = command
    if (service, operation) == ("logs", "tail"):  # the CLI's own, of no service
        given = {word[2:] for word in rest if word.startswith("--")}
        yield from (f"tail does not take --{name}" for name in sorted(given - _AWS_LOGS_TAIL))
        return
    try:
        model = botocore.session.get_session().get_service_model(service)
    except UnknownServiceError:
        yield f"AWS has no service {service}"
        return
    known = {xform_name(name, "-"): name for name in model.operation_names}
    if operation not in known:
        yield f"{service} has no operation {operation}"
        return
    shape = model.operation_model(known[operation]).input_shape
    members = shape.members if shape else {}
    given = {word[2:].partition("=")[0] for word in rest if word.startswith("--")}
    taken = {xform_name(name, "-") for name in members} | _AWS_GLOBAL
    yield from (f"{operation} does not take --{name}" for name in sorted(given - taken))
    needed = {xform_name(name, "-") for name in (shape.required_members if shape else ())}
    yield from (f"{operation} needs --{name}" for name in sorted(needed - given))


_AWS_LOGS_TAIL = {"since", "follow", "filter-pattern", "format", "region", "profile"}
_AWS_GLOBAL = {"query", "output", "region", "profile", "no-cli-pager", "no-paginate"}

CHECKED: dict[str, Callable[[list[str]], Iterator[str]]] = {
    ".venv/bin/sam": sam,
    "aws": aws,
}
"""What would change or needs a stack on AWS: checked as far as the tool itself would."""


def for_stack(settings: Settings, outputs: dict[str, Any]) -> tuple[dict[str, str], dict[str, str]]:
    """What stands in a page for a stack's addresses, and the variables that pages use."""
    origin = str(outputs["origin"])
    literals = {
        "http://localhost:8787": origin,
        "ws://localhost:8787": origin.replace("http", "ws", 1),
        "https://YOUR-HTTP-URL": origin,
        "wss://YOUR-EDGE": origin.replace("http", "ws", 1),
        "http://localhost:4566": settings.gateway_url,
        "STACK=headcount": f"STACK={STACK_NAME}",
        "--stack headcount-prod": "--local",
        "--stack headcount": "--local",
    }
    variables = {
        "URL": origin,
        "HTTP_URL": origin,
        "SOCKET_URL": str(outputs["webSocketUrl"]),
        "TOKEN": str(outputs["adminToken"]),
    }
    return literals, variables
