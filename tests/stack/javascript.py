"""The npm packages of existing clients, run by Node and by a page in Chromium."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
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

from local.settings import ROOT

SOURCES = ROOT / "tests" / "clients"
HOME = ROOT / ".local" / "clients"
LOCKED = ("package.json", "package-lock.json")
BUNDLE = HOME / "bundle.js"
REACT = HOME / "react"
HOOKS = ("headcount-react.js", "headcount-react.d.ts")
REACT_BUNDLE = REACT / "built" / "main.js"
OLDEST_NODE = 18


class UnavailableError(RuntimeError):
    """The clients can't run here; the message says what to install."""


class ThrownError(Exception):
    """What the JavaScript threw."""

    def __init__(self, kind: str, message: str, data: Any) -> None:
        super().__init__(f"{kind}: {message}")
        self.kind = kind
        self.message = message
        self.data = data


class Runtime(Protocol):
    """Something that runs the clients."""

    def call(self, name: str, *args: Any) -> Any:
        """Call a function of tests/clients, "system.function"; arguments and result are JSON."""
        ...


def install() -> Path:
    """Install what the lock file names, once per content of it; give the folder to run in."""
    _require_node()
    HOME.mkdir(parents=True, exist_ok=True)
    with (HOME.parent / "clients.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        stamp = HOME / "headcount.stamp"
        locked = hashlib.sha256(b"".join((SOURCES / name).read_bytes() for name in LOCKED))
        if not stamp.is_file() or stamp.read_text() != locked.hexdigest():
            stamp.unlink(missing_ok=True)
            for name in LOCKED:
                shutil.copy(SOURCES / name, HOME / name)
            run("npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund")
            stamp.write_text(locked.hexdigest())
        # The scripts run where their packages are, so that the source tree stays as it is.
        for script in SOURCES.glob("*.mjs"):
            shutil.copy(script, HOME / script.name)
        esbuild = str(HOME / "node_modules" / ".bin" / "esbuild")
        flags = ["--bundle", "--format=iife", "--platform=browser", "--log-level=warning"]
        run(esbuild, "browser.mjs", *flags, f"--outfile={BUNDLE}")
        _bundle_react(esbuild)
    return HOME


def _bundle_react(esbuild: str) -> None:
    """An app that has copied the hooks into its sources; React alone; and the app on a server."""
    shutil.copytree(SOURCES / "react", REACT, dirs_exist_ok=True)
    for name in HOOKS:
        shutil.copy(ROOT / "functions" / "site" / "static" / name, REACT / name)
    flags = ["--bundle", "--jsx=automatic", "--log-level=error", f"--outdir={REACT}/built"]
    define = '--define:process.env.NODE_ENV="development"'  # where effects run twice
    run(esbuild, "react/main.jsx", *flags, define, "--format=iife")
    run(esbuild, "react/react.js", *flags, define, "--format=esm")
    server = ["--platform=node", "--external:react", "--external:react-dom"]
    run(esbuild, "react/server.jsx", *flags, *server, "--format=esm", "--out-extension:.js=.mjs")


def _require_node() -> None:
    for tool, package in (("node", "nodejs"), ("npm", "npm")):
        if not shutil.which(tool):
            raise UnavailableError(f"There is no {tool}: install {package}.")
    version = run("node", "--version", cwd=ROOT).strip().removeprefix("v")
    if int(version.split(".")[0]) < OLDEST_NODE:
        raise UnavailableError(f"Node {version} is too old: install {OLDEST_NODE} or newer.")


def run(*command: str, cwd: Path = HOME) -> str:
    """What a command says, by default where the packages are installed."""
    done = subprocess.run(
        command,
        cwd=cwd,
        env={**os.environ, "NPM_CONFIG_UPDATE_NOTIFIER": "false"},
        check=False,
        capture_output=True,
        text=True,
        timeout=300,
    )
    if done.returncode:
        raise UnavailableError(f"{' '.join(command)} failed:\n{done.stdout}{done.stderr}")
    return done.stdout


@dataclass(frozen=True)
class Node:
    """One Node process that answers calls."""

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
    """Node, until the block ends."""
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
    """Somebody's site, of another origin than the stack; every path is a page with the clients."""

    origin: str
    browser: Browser

    @contextmanager
    def visitor(self, path: str = "/", *, with_clock: bool = False) -> Iterator[Tab]:
        """A tab in a browser profile of its own; the page must throw nothing by itself.

        ``with_clock``: the test can put its time forward.
        """
        complaints: list[str] = []
        context = self.browser.new_context()
        try:
            page = context.new_page()
            page.on("pageerror", lambda error: complaints.append(str(error)))
            if with_clock:
                page.clock.install()
            page.goto(self.origin + path)
            yield Tab(page)
        finally:
            context.close()
        assert complaints == []


@contextmanager
def site(browser: Browser, bundle: Path = BUNDLE) -> Iterator[Site]:
    """The site, until the block ends."""
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
