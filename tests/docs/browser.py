"""The snippets of a page, run in one tab of Chromium, each after the ones above it."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

from playwright.sync_api import Browser, CDPSession, Error, Page, Request, Response, WebSocket

from tests.docs.commands import BrokenError
from tests.stack import javascript

PACKAGES = {
    "convex/browser": "convex-browser",
    "convex/server": "convex-server",
    "@supabase/supabase-js": "supabase",
    "react": "react",
    "vue/dist/vue.esm-bundler.js": "vue",
}
"""What snippets import by name, and what its bundle is called."""

GIVEN = """
const token = %(token)s, adminToken = token;
const session = { getToken: async () => token }, auth = session;
const [sessionId, visitorId, userId, userName] = ["docs-s", "docs-v", "docs-u", "Ada"];
const [courseId, chapterId, link, id] = ["docs-course", "one", "docs-link", "42"];
const [badge, banner] = [document.createElement("p"), document.createElement("p")];
"""
"""What a snippet takes for granted: the names that the reader's own page has."""

PATIENCE = 31_000
"""Milliseconds that pass after each snippet, for timers to fire: one beat and a bit."""


def bundle_packages(folder: Path) -> None:
    """The npm packages as modules that a page can import."""
    home = javascript.install()
    own = {"react": "./react/react.js"}  # React is CommonJS: this names what it exports
    entries = [f"{short}={own.get(name, name)}" for name, short in PACKAGES.items()]
    flags = ["--bundle", "--format=esm", "--platform=browser", "--log-level=error"]
    javascript.run(
        *(str(home / "node_modules" / ".bin" / "esbuild"), *entries, *flags),
        *(f"--outdir={folder}", '--define:process.env.NODE_ENV="development"'),
    )


@dataclass
class Tab:
    """A reader's own page, of another origin than the stack."""

    page: Page
    folder: Path
    """What its site serves: what the page's commands fetched is there."""
    origin: str
    stack: str
    token: str
    literals: dict[str, str]
    wrong: list[str] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)
    answered: int = 0
    sockets: list[tuple[WebSocket, list[str]]] = field(default_factory=list)
    spoken: int = 0
    """How often it asked the stack for something, up to the snippet before."""
    signed_in: bool = True
    """Elements in markup have no token yet: what needs one is 401, for the next snippet to mend."""
    _console: CDPSession | None = None

    def __post_init__(self) -> None:
        self.page.clock.install()
        self.page.on("pageerror", lambda error: self.wrong.append(str(error)))
        self.page.on("request", self._asked)
        self.page.on("response", self._answered)
        self.page.on("requestfailed", self._failed)
        self.page.on("websocket", self._opened)

    def _asked(self, request: Request) -> None:
        if request.url.startswith(self.stack):
            self.asked.append(f"{request.method} {request.url}")

    def _answered(self, response: Response) -> None:
        if response.url.startswith(self.stack):
            self.answered += 1
            request = response.request
            is_expected = response.status == 401 and not self.signed_in
            if response.status >= 400 and not is_expected:
                self.wrong.append(f"{request.method} {response.url} is answered {response.status}")

    def _failed(self, request: Request) -> None:
        if request.url.startswith(self.stack) and request.failure != "net::ERR_ABORTED":
            self.answered += 1  # aborted are those of a page that was left
            self.wrong.append(f"{request.method} {request.url} fails: {request.failure}")

    def _opened(self, socket: WebSocket) -> None:
        heard: list[str] = []
        self.sockets.append((socket, heard))
        socket.on("framereceived", lambda frame: heard.append(str(frame)))
        socket.on("socketerror", lambda error: self._refused(f"{socket.url}: {error}"))

    def _refused(self, said: str) -> None:
        if self.signed_in:
            self.wrong.append(said)

    def open(self, body: str = "") -> None:
        """Make the reader's page: what it imports, and a body."""
        imports = {name: f"/packages/{short}.js" for name, short in PACKAGES.items()}
        head = f'<script type="importmap">{json.dumps({"imports": imports})}</script>'
        document = f"<!doctype html><html><head>{head}</head><body>{self._ours(body)}</body></html>"
        (self.folder / "index.html").write_text(document)
        self.page.goto(f"{self.origin}/index.html")
        self._console = self.page.context.new_cdp_session(self.page)
        self._evaluate(GIVEN % {"token": json.dumps(self.token)})

    def html(self, text: str) -> None:
        """Put it into the page, whose elements are then what they are called."""
        self.signed_in = "<headcount-" not in text
        self.open(text)
        self._pass(text)
        unknown = self.page.evaluate(
            "[...document.querySelectorAll(':not(:defined)')].map((one) => one.localName)"
        )
        self.wrong += [f"no element is called <{name}>" for name in unknown]
        self._judge()

    def js(self, text: str) -> None:
        """Run it as a console would, so that names stay and `await` works."""
        if self._console is None:
            self.open()
        self._evaluate(_for_a_console(self._ours(text)))
        self._pass(text)
        self._judge()

    def css(self, text: str) -> None:
        """Nothing of it is left out by the browser."""
        rules = self.page.evaluate(
            """(text) => {
              const sheet = new CSSStyleSheet();
              sheet.replaceSync(text);
              return [...sheet.cssRules].map((rule) => rule.cssText);
            }""",
            text,
        )
        kept = " ".join(rules)
        for name in re.findall(r"([\w-]+)\s*:(?!:)\s*[^;{}]+;", text):
            if name not in kept:
                self.wrong.append(f"{name} is no property, or has no such value")
        if len(rules) != text.count("{"):
            self.wrong.append(f"{len(rules)} rules of {text.count('{')} are understood")
        self._judge()

    def vue(self, text: str) -> None:
        """Compile and mount a template."""
        self.js(
            f"""
            import {{ createApp }} from "vue/dist/vue.esm-bundler.js";
            const app = createApp({{
              template: {json.dumps(text)},
              data: () => ({{ link, id }}),
              methods: {{ getToken: () => token }},
            }});
            app.config.compilerOptions.isCustomElement = (name) => name.includes("-");
            app.config.warnHandler = (message) => {{ throw new Error(message); }};
            app.mount(document.body.appendChild(document.createElement("main")));
            """
        )

    def close(self) -> None:
        """Leave the page as a browser does when another address is typed."""
        self.page.goto("about:blank")
        self.page.wait_for_timeout(100)
        self._judge()

    def _ours(self, text: str) -> str:
        for literal, meant in self.literals.items():
            text = text.replace(literal, meant)
        return text

    def _evaluate(self, script: str) -> None:
        assert self._console is not None
        answer: dict[str, Any] = self._console.send(
            "Runtime.evaluate", {"expression": script, "replMode": True, "awaitPromise": True}
        )
        if thrown := answer.get("exceptionDetails"):
            said = thrown.get("exception", {}).get("description") or thrown["text"]
            raise BrokenError(said.splitlines()[0])

    def _pass(self, text: str) -> None:
        """Let time go by until its timers fired and all it asked for is answered."""
        self._wait()
        try:
            self.page.clock.fast_forward(PATIENCE)
        except Error as error:  # of a timer
            self.wrong.append(error.message.splitlines()[0])
        self._wait()
        spoken = len(self.asked) + len(self.sockets)
        if spoken == self.spoken and re.search(r"\bawait |WebSocket\(|<script", text):
            self.wrong.append("it asks nothing of the stack")
        self.spoken = spoken

    def _wait(self) -> None:
        """Until nothing asked of the stack is without its answer."""
        for _ in range(100):
            self.page.wait_for_timeout(100)
            if self.answered >= len(self.asked):
                return
        self.wrong.append(f"no answer to one of {self.asked}")

    def _judge(self) -> None:
        for socket, heard in self.sockets:
            self.wrong += [f"{socket.url} hears {frame}" for frame in heard if '"error"' in frame]
        if self.wrong:
            raise BrokenError("; ".join(self.wrong))


def _for_a_console(script: str) -> str:
    """A module's text for a console, which imports only when called."""

    def imported(match: re.Match[str]) -> str:
        names = re.sub(r"\s+as\s+", ": ", match[1])
        return f'const {{{names}}} = await import("{match[2]}");'

    script = re.sub(r'(?m)^\s*import\s*\{([^}]*)\}\s*from\s*"([^"]+)";?', imported, script)
    return re.sub(r"(?m)^export ", "", script)


@contextmanager
def site(folder: Path, packages: Path) -> Iterator[str]:
    """The reader's site, until the block ends: its address."""
    (folder / "packages").symlink_to(packages)

    class Files(SimpleHTTPRequestHandler):
        def log_message(self, *_: Any) -> None:
            return

    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Files, directory=str(folder)))
    Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()


@contextmanager
def tab(
    browser: Browser, folder: Path, packages: Path, *, stack: str, token: str, literals: Any
) -> Iterator[Tab]:
    """A tab of a browser profile of its own, with the reader's page in it."""
    with site(folder, packages) as origin:
        context = browser.new_context()
        try:
            yield Tab(context.new_page(), folder, origin, stack, token, literals)
        finally:
            context.close()
