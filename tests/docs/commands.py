"""Run the commands of a page one after the other in a shell, as a reader would."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Any

import botocore.session
import click
from botocore import xform_name
from botocore.exceptions import UnknownServiceError

from lab.harness.template import ROOT, template
from local.settings import STACK_NAME, Settings, aws_environment
from tests.docs import register
from tests.docs.pages import Page

LIMIT = 90
"""The timeout of a command, in seconds."""

_MAKES_OWN = {"ARGS", "MAKEFLAGS", "MAKELEVEL", "MFLAGS"}
"""Variables that `make test ARGS=...` would pass to the `make` of a page."""

LASTING = {
    "make demo": "visitors",
    "headcount demo": "visitors",
    "headcount watch": "people",
    ".venv/bin/headcount watch": "people",
}
"""Commands that run until Ctrl-C, and a word that they print once they work."""

ONCE = {"headcount doctor"}
"""Slow commands that change nothing: the same line on another page is not run again."""
_done: set[str] = set()

APART = {"make clean"}
"""Commands that would delete the tests' own tools: they run in a folder with similar files."""


class BrokenError(AssertionError):
    """A command or snippet does not work as its page says."""


def commands(text: str) -> list[str]:
    """A block's commands: its lines, with continued lines joined."""
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
    """Whether no quote, backslash or here-document is open."""
    here = re.search(r"<<-?\s*['\"]?(\w+)", text)
    if here and not re.search(rf"^\s*{here[1]}$", text, re.MULTILINE):
        return False
    try:
        shlex.split(text, comments=True)
    except ValueError:
        return False
    return not text.endswith("\\")


def words(command: str) -> list[str]:
    """A command's words, without the assignments before it; none if only a shell can split it."""
    try:
        found = shlex.split(command.replace("\\\n", " "), comments=True)
    except ValueError:
        return []
    while found and re.match(r"\w+=", found[0]):
        found = found[1:]
    return found


def all_commands(pages: Iterable[Page]) -> list[str]:
    """Every command of the pages: those in blocks, then those that are only in sentences."""
    pages = list(pages)
    blocks = [
        command
        for page in pages
        for block in page.blocks
        if block.language == "sh"
        for command in commands(block.text)
    ]
    known = {command.split("#")[0].strip() for command in blocks}
    codes = {code for page in pages for code, _ in page.codes}
    return blocks + sorted(code for code in codes - known if re.match(_IN_A_SENTENCE, code))


_IN_A_SENTENCE = r"(make|uv|pip) [a-z]|headcount [a-z-]+ [^ ]"


def starts(command: str, table: Any) -> str | None:
    """The entry of a table with which a command begins, word by word."""
    found = words(command)
    return next((entry for entry in table if found[: len(entry.split())] == entry.split()), None)


class How(Enum):
    """How a page's command is tested."""

    HERE = "run with the page"
    APART = "run with the page, in a separate folder"
    ELSEWHERE = "run by CI or by a test"
    CHECKED = "checked by the tool's own parser: it needs an account on AWS"


def handled(command: str) -> How:
    """How a command is tested."""
    if starts(command, APART):
        return How.APART
    if register.is_run_elsewhere(words(command)):
        return How.ELSEWHERE
    return How.CHECKED if starts(command, CHECKED) else How.HERE


@dataclass
class Shell:
    """A reader's terminal, whose variables and folder last until the page ends."""

    folder: Path
    settings: Settings
    literals: dict[str, str]
    """Placeholders for addresses in pages -> the addresses."""
    variables: dict[str, str]

    def __post_init__(self) -> None:
        """Link the project's files, as the reader sees them, to the test's running stack."""
        for path in ROOT.iterdir():
            if path.name != ".local":
                (self.folder / path.name).symlink_to(path)
        (self.folder / ".local").symlink_to(self.settings.home)
        (self.folder / ".curlrc").write_text("fail-with-body\nsilent\nshow-error\nmax-time = 20\n")
        self._state = self.folder / ".state"
        self._state.touch()

    def environment(self) -> dict[str, str]:
        """The environment of a terminal that uses the running stack and its emulator."""
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
        """Run a block's commands; BrokenError names the first that fails."""
        for command in commands(block):
            self._run(command)

    def _run(self, command: str) -> None:
        checked = starts(command, CHECKED)
        if checked and (wrong := list(CHECKED[checked](words(self._with_addresses(command))))):
            raise BrokenError(f"{command}: {'; '.join(wrong)}")
        how = handled(command)
        if how is How.APART:
            self._run_apart(command)
        elif how is How.ELSEWHERE:
            self._check_options(words(command))
        elif how is How.HERE:
            line = " ".join(words(self._with_addresses(command)))
            if starts(command, ONCE) and line in _done:
                return
            _done.add(line)
            self._bash(command, LASTING.get(starts(command, LASTING) or ""))

    def _check_options(self, command: list[str]) -> None:
        """Check that the options of a command exist that CI may run with others."""
        args = next((word for word in command if word.startswith("ARGS=")), "").partition("=")[2]
        options = {word for word in shlex.split(args) if word.startswith("-")}
        if not options or command in register.elsewhere():
            return
        help_command = f"make {register.target(command)} ARGS=--help"
        output = self._bash(help_command, None)
        if unknown := options - {*re.findall(r"(?<![\w-])--?[a-z][\w-]*", output)}:
            raise BrokenError(
                f"{' '.join(command)}: {help_command} does not list {sorted(unknown)}"
            )

    def _with_addresses(self, text: str) -> str:
        for literal, address in self.literals.items():
            text = text.replace(literal, address)
        return text

    def _run_apart(self, command: str) -> None:
        separate = self.folder / "apart"
        shutil.rmtree(separate, ignore_errors=True)
        made = [separate / ".venv", separate / ".local", separate / "functions" / "__pycache__"]
        for folder in made:
            folder.mkdir(parents=True)
        shutil.copy(ROOT / "Makefile", separate)
        self._bash(f"cd {shlex.quote(str(separate))} && {command}", None)
        if left := [folder.name for folder in made if folder.exists()]:
            raise BrokenError(f"{command} left {left}")

    def _bash(self, command: str, until: str | None) -> str:
        """Run a command, to its end or until it prints a word; returns its output."""
        state = shlex.quote(str(self._state))
        script = (
            f"set -euo pipefail; . {state}; set -a\n{self._with_addresses(command)}\n"
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
        text = output.read_text(errors="replace")
        if code or "Traceback (most" in text:
            raise BrokenError(f"{command}\nended with {code}:\n{_shortened(text)}")
        return text


def _shortened(text: str, most: int = 2000) -> str:
    """The beginning and the end of a text."""
    return text if len(text) <= 2 * most else f"{text[:most]}\n[...]\n{text[-most:]}"


def _until(shell: subprocess.Popen[bytes], output: Path, word: str) -> str | int:
    """Wait for a word, then press Ctrl-C; returns 0, or how it ended before."""
    deadline = time.monotonic() + LIMIT
    while word not in output.read_text(errors="replace"):
        if shell.poll() is not None or time.monotonic() > deadline:
            return f"{shell.returncode}, and never printed {word!r}"
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


# ------------------------------------------------- commands that need an account: only checked


def sam(command: list[str]) -> Iterator[str]:
    """Options that SAM CLI would refuse, and parameters that the template does not have."""
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
    """Unknown or missing parts of an AWS CLI command, according to the service's model."""
    _, service, operation, *rest = command
    if (service, operation) == ("logs", "tail"):  # the CLI's own command, without a model
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
"""Commands that need or change a stack on AWS, and the checks that the tools themselves do."""


def for_stack(settings: Settings, outputs: dict[str, Any]) -> tuple[dict[str, str], dict[str, str]]:
    """Placeholders in pages -> a stack's addresses, and the variables that pages use."""
    origin = str(outputs["origin"])
    literals = {
        "http://localhost:8787": origin,
        "ws://localhost:8787": origin.replace("http", "ws", 1),
        "https://YOUR-HTTP-URL": origin,
        "wss://YOUR-EDGE": origin.replace("http", "ws", 1),
        "wss://YOUR-WEBSOCKET-URL": f"{origin.replace('http', 'ws', 1)}/ws",
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
