"""Every page works: its commands and snippets are run from the top, as a reader would."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser

from lab.harness.template import ROOT
from tests.docs.browser import Tab, bundle_packages, tab
from tests.docs.checks import RUN, is_quoted
from tests.docs.commands import BrokenError, Shell, all_commands, commands, for_stack
from tests.docs.pages import Block, Page, page, pages
from tests.stack.conftest import Stack
from tests.stack.javascript import UnavailableError
from tests.support.missing import missing

pytestmark = [pytest.mark.stack, pytest.mark.browser]

IN_A_TAB = {"html", "js", "css", "vue"}


@dataclass
class Reader:
    """A reader who follows a page."""

    shell: Shell
    open_tab: Callable[[], Tab]
    python: str = ""
    _tab: Tab | None = field(default=None)

    def do(self, block: Block) -> None:
        """Run it; raises BrokenError if it fails."""
        if block.language == "sh":
            self.shell.run(block.text)
        elif block.language == "python":
            self._run_python(block.text)
        elif block.language in IN_A_TAB and not is_quoted(block):
            self._tab = self._tab or self.open_tab()
            getattr(self._tab, block.language)(block.text)

    def _run_python(self, text: str) -> None:
        """A page's Python is one script that grows."""
        self.python += f"{text}\n"
        done = subprocess.run(
            [sys.executable, "-c", self.python],
            cwd=self.shell.folder,
            env=self.shell.environment(),
            check=False,
            capture_output=True,
            text=True,
            timeout=60,
        )
        if done.returncode:
            raise BrokenError(done.stderr[-2000:])

    def read(self, page: Page) -> None:
        """All of a page, from the top."""
        for block in page.blocks:
            try:
                self.do(block)
            except BrokenError as error:
                raise BrokenError(f"{page.name}:{block.line}: {error}") from None
        if self._tab:
            self._tab.close()


@pytest.fixture(scope="package")
def packages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The npm packages that snippets import."""
    folder = tmp_path_factory.mktemp("packages")
    try:
        bundle_packages(folder)
    except UnavailableError as error:
        missing("The bundler of the npm packages", str(error))
    return folder


@pytest.fixture
def reader(stack: Stack, browser: Browser, packages: Path, tmp_path: Path) -> Iterator[Reader]:
    """A reader with a terminal and a browser of their own."""
    for tool in ("bash", "curl", "make"):
        if shutil.which(tool) is None:
            missing(tool, "install it.")
    literals, variables = for_stack(stack.settings, stack.outputs)
    shell = Shell(tmp_path, stack.settings, literals, variables)
    with ExitStack() as opened:

        def open_tab() -> Tab:
            return opened.enter_context(
                tab(
                    browser,
                    tmp_path,
                    packages,
                    stack=stack.outputs["origin"],
                    token=stack.outputs["adminToken"],
                    literals=literals,
                )
            )

        yield Reader(shell, open_tab)


def runnable() -> list[Any]:
    """The pages with anything to run; the README is in every run."""
    return [
        pytest.param(
            page.path,
            id=page.path.name,
            marks=[] if page.path.name == "README.md" else pytest.mark.exhaustive,
        )
        for page in pages()
        if any(block.language in RUN for block in page.blocks)
    ]


def sentences() -> list[str]:
    """The commands in sentences that no block has."""
    blocks = {
        command
        for page in pages()
        for block in page.blocks
        if block.language == "sh"
        for command in commands(block.text)
    }
    return [command for command in all_commands(pages()) if command not in blocks]


@pytest.mark.parametrize("path", runnable())
def test_a_page_works_as_written(path: Path, reader: Reader) -> None:
    reader.read(page(path))


@pytest.mark.exhaustive
@pytest.mark.parametrize("command", sentences())
def test_a_command_of_a_sentence_works(command: str, reader: Reader) -> None:
    reader.shell.run(command)


@pytest.mark.parametrize(
    ("text", "wrong"),
    [
        ("sh\ncurl $URL/v1/nothing", "There is nothing at this path"),
        (
            "sh\nexport SPACE=here\n```\n```sh\ncd docs\n```\n```sh\ncat $SPACE",
            "docs/here|here: No",
        ),
        ("sh\nmake clean run_nothing", "No rule to make target"),
        ("sh\n.venv/bin/sam deploy --guidedd", "No such option"),
        ("python\nx = 1\n```\n```python\nassert x == 2", "AssertionError"),
        ("js\nconst a = 1;\n```\n```js\nif (a !== 2) throw new TypeError('no');", "TypeError: no"),
        ('js\nawait fetch("https://YOUR-HTTP-URL/v1/nothing");', "is answered 404"),
        ("js\nsetTimeout(() => nothing(), 30_000);", "nothing is not defined"),
        ("js\nawait Promise.resolve(1);", "it sends nothing to the stack"),
        ('js\nnew WebSocket("wss://YOUR-EDGE/ws?token=x");', "Unexpected response code"),
        ('html\n<script src="https://YOUR-HTTP-URL/nothing.js"></script>', "nothing.js fails"),
        (
            "html\n<headcount-nothing></headcount-nothing>",
            "there is no element <headcount-nothing>",
        ),
        ("css\np { colour: red; }", "colour is no property"),
        ("vue\n<p>{{ nothing }}</p>", "nothing"),
    ],
)
def test_a_broken_page_is_noticed(text: str, wrong: str, reader: Reader) -> None:
    broken = Page(ROOT / "docs" / "made-up.md", f"# Broken\n\n```{text}\n```\n")
    with pytest.raises(BrokenError, match=wrong) as raised:
        reader.read(broken)
    assert str(raised.value).startswith("docs/made-up.md:")
