"""Chromium and Firefox as people use them: they keep pages for Back, block storage and crash."""

from __future__ import annotations

import json
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from local.picture import CHROMIUM_ARGS, find_chromium
from tests.stack import javascript
from tests.support.missing import missing

TIMEOUT = 30.0
"""Seconds until a page is loaded."""


def find_firefox() -> str | None:
    """The installed Firefox, or None."""
    return shutil.which("firefox-esr") or shutil.which("firefox")


@dataclass(frozen=True)
class Puppet:
    """A browser with a profile of its own."""

    process: subprocess.Popen[str]

    def do(self, name: str, **given: Any) -> Any:
        """Run a command of puppets.mjs."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(json.dumps([name, given]) + "\n")
        self.process.stdin.flush()
        line = self.process.stdout.readline()
        assert line, f"the browser's driver ended with {self.process.wait(10)} in {name}"
        answer = json.loads(line)
        assert "error" not in answer, (name, answer)
        return answer["value"]

    def open(self, url: str) -> BrowserTab:
        """A page in a new tab."""
        return BrowserTab(self, self.do("open", url=url))

    def crash(self) -> None:
        """End it without a word."""
        self.do("crash")


@dataclass(frozen=True)
class BrowserTab:
    """A tab."""

    puppet: Puppet
    id: int

    def evaluate(self, script: str) -> Any:
        """The value of an expression in the page."""
        return self.puppet.do("evaluate", tab=self.id, script=script)

    def click(self, href: str) -> None:
        """Click a link to a page or file."""
        self.evaluate(
            "(() => { const link = document.body.appendChild(document.createElement('a'));"
            f"link.href = {json.dumps(href)}; link.textContent = 'link';"
            "setTimeout(() => link.click()); })()"
        )

    def arrives(self, path: str) -> None:
        """Wait until the page at this path is shown."""
        self._eventually(lambda: self.evaluate("document.readyState + location.pathname"), path)

    def go(self, path: str) -> None:
        """Follow a link to a page."""
        self.click(path)
        self.arrives(path)

    def move(self, script: str, path: str) -> None:
        """Leave the page by a script, and wait for the next one."""
        self.evaluate(f"void setTimeout(() => {script})")
        self.arrives(path)

    def reload(self) -> None:
        """Press the reload button."""
        self.puppet.do("reload", tab=self.id)

    def duplicate(self) -> BrowserTab:
        """A second tab with the same page."""
        return BrowserTab(self.puppet, self.puppet.do("duplicate", tab=self.id))

    def close(self) -> None:
        """Close it."""
        self.puppet.do("close", tab=self.id)

    def crash(self, *, is_killed: bool = False) -> None:
        """It crashes, or the system ends its process. Chromium only."""
        self.puppet.do("crashTab", tab=self.id, isKilled=is_killed)

    def freeze(self, *, is_frozen: bool = True) -> None:
        """The browser stops it to save energy, or lets it go on. Chromium only."""
        self.puppet.do("freeze", tab=self.id, isFrozen=is_frozen)

    def _eventually(self, read: Callable[[], str], path: str) -> None:
        deadline = time.monotonic() + TIMEOUT
        while True:
            try:
                found = read()
            except AssertionError as error:  # between two pages
                found = str(error)
            if found == f"complete{path}":
                return
            assert time.monotonic() < deadline, (path, found)
            time.sleep(0.05)


@contextmanager
def puppet(kind: str, profile: Path, *, is_forbidden: bool = False) -> Iterator[Puppet]:
    """A browser, ``chromium`` or ``firefox``, until the block ends. ``is_forbidden``: it keeps
    neither cookies nor anything else for sites."""
    executable = find_firefox() if kind == "firefox" else find_chromium()
    if executable is None:
        packages = {"firefox": "firefox-esr", "chromium": "chromium"}
        missing(kind.title(), f"install it (Debian: `apt-get install {packages[kind]}`).")
    try:
        home = javascript.install()
    except javascript.UnavailableError as error:
        missing("The browsers' driver", str(error))
    with subprocess.Popen(
        ["node", "puppets.mjs"], cwd=home, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        driven = Puppet(process)
        try:
            driven.do(
                "launch",
                kind="firefox" if kind == "firefox" else "chrome",
                executablePath=str(executable),
                args=[] if kind == "firefox" else [*CHROMIUM_ARGS],
                profile=str(profile),
                isForbidden=is_forbidden,
            )
            yield driven
        finally:
            assert process.stdin is not None
            process.stdin.close()  # then the driver ends the browser
            try:
                process.wait(30)
            except subprocess.TimeoutExpired:
                process.kill()
