"""Existing clients' npm packages, run in Node and in Chromium."""

from __future__ import annotations

import fcntl
import json
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any, Protocol

from playwright.sync_api import Browser, Page

from lab.harness import npm
from local.settings import ROOT

SOURCES = ROOT / "tests" / "clients"
HOME = ROOT / ".local" / "clients"
BUNDLE = HOME / "bundle.js"
REACT = HOME / "react"
HOOKS = ("headcount-react.js", "headcount-react.d.ts")
REACT_BUNDLE = REACT / "built" / "main.js"
HOOKS_BUNDLE = REACT / "built" / "presence.js"
OLDEST_NODE = 18
UnavailableError = npm.UnavailableError


class ThrownError(Exception):
    """An error that the JavaScript threw."""

    def __init__(self, kind: str, message: str, data: Any) -> None:
        super().__init__(f"{kind}: {message}")
        self.kind = kind
        self.message = message
        self.data = data


class Runtime(Protocol):
    """Runs the clients: Node or a page."""

    def call(self, name: str, *args: Any) -> Any:
        """Call a function of tests/clients by "system.function", with JSON arguments and result."""
        ...


def install() -> Path:
    """Install the locked packages and bundle the scripts; returns the folder to run in."""
    npm.install(SOURCES, HOME, oldest_node=OLDEST_NODE)
    with (HOME.parent / "clients.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        # The scripts run next to their packages, so that the source tree stays unchanged.
        for script in SOURCES.glob("*.mjs"):
            shutil.copy(script, HOME / script.name)
        esbuild = str(HOME / "node_modules" / ".bin" / "esbuild")
        flags = ["--bundle", "--format=iife", "--platform=browser", "--log-level=warning"]
        run(esbuild, "browser.mjs", *flags, f"--outfile={BUNDLE}")
        _bundle_react(esbuild)
    return HOME


def _bundle_react(esbuild: str) -> None:
    """Bundle an app with a copy of the hooks, React alone, and the app for a server."""
    shutil.copytree(SOURCES / "react", REACT, dirs_exist_ok=True)
    for name in HOOKS:
        shutil.copy(ROOT / "clients" / name, REACT / name)
    flags = ["--bundle", "--jsx=automatic", "--log-level=error", f"--outdir={REACT}/built"]
    define = '--define:process.env.NODE_ENV="development"'  # in which effects run twice
    run(esbuild, "react/main.jsx", *flags, define, "--format=iife")
    run(esbuild, "react/presence.jsx", *flags, define, "--format=iife")
    run(esbuild, "react/react.js", *flags, define, "--format=esm")
    server = ["--platform=node", "--external:react", "--external:react-dom"]
    run(esbuild, "react/server.jsx", *flags, *server, "--format=esm", "--out-extension:.js=.mjs")


def run(*command: str, cwd: Path = HOME) -> str:
    """The output of a command, run by default in the folder with the packages."""
    return npm.run(*command, cwd=cwd)


@dataclass(frozen=True)
class Node:
    """A Node process that answers calls."""

    process: subprocess.Popen[str]

    def call(self, name: str, *args: Any) -> Any:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(json.dumps([name, args]) + "\n")
        self.process.stdin.flush()
        line = self.process.stdout.readline()
        assert line, f"Node ended with {self.process.wait(10)} in {name}"
        return _value(json.loads(line))


@contextmanager
def node() -> Iterator[Node]:
    """A Node process, until the block ends."""
    home = install()
    with subprocess.Popen(
        ["node", "node.mjs"],
        cwd=home,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            yield Node(process)
        finally:
            assert process.stdin is not None
            process.stdin.close()
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()


@dataclass(frozen=True)
class Tab:
    """A page that answers calls."""

    page: Page

    def call(self, name: str, *args: Any) -> Any:
        answer = self.page.evaluate(
            "([name, args]) => headcountTests.call(name, args)", [name, list(args)]
        )
        return _value(answer)


@dataclass(frozen=True)
class Site:
    """A site with another origin than the stack; every path is a page with the clients."""

    origin: str
    browser: Browser

    @contextmanager
    def visitor(self, path: str = "/", *, with_clock: bool = False) -> Iterator[Tab]:
        """A tab in a separate browser profile; the page must not throw by itself.

        ``with_clock``: the test can advance its time.
        """
        errors: list[str] = []
        context = self.browser.new_context()
        try:
            page = context.new_page()
            page.on("pageerror", lambda error: errors.append(str(error)))
            if with_clock:
                page.clock.install()
            page.goto(self.origin + path)
            yield Tab(page)
        finally:
            context.close()
        assert errors == []


@contextmanager
def site(browser: Browser, bundle: Path = BUNDLE) -> Iterator[Site]:
    """Serve the site, until the block ends."""
    install()
    script = bundle.read_bytes()

    class Pages(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            is_script = self.path == "/bundle.js"
            body = script if is_script else b'<!doctype html><script src="/bundle.js"></script>'
            self.send_response(200)
            self.send_header("content-type", "text/javascript" if is_script else "text/html")
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: Any) -> None:
            return

    server = ThreadingHTTPServer(("127.0.0.1", 0), Pages)
    Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield Site(f"http://127.0.0.1:{server.server_port}", browser)
    finally:
        server.shutdown()
        server.server_close()


def _value(answer: dict[str, Any]) -> Any:
    if "error" in answer:
        error = answer["error"]
        raise ThrownError(error["kind"], error["message"], error["data"])
    return answer["value"]
