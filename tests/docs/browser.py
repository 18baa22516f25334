"""Run a page's snippets in one tab of Chromium, each after the ones above it."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from playwright.sync_api import Browser, CDPSession, Error, Page, Request, Response, WebSocket

from tests.docs.commands import BrokenError
from tests.stack import javascript
from tests.support.servers import serving_files

PACKAGES = {
    "convex/browser": "convex-browser",
    "convex/server": "convex-server",
    "@supabase/supabase-js": "supabase",
    "react": "react",
    "vue/dist/vue.esm-bundler.js": "vue",
}
"""Packages that snippets import, and the names of their bundles."""

GIVEN = """
const token = %(token)s, adminToken = token;
const session = { getToken: async () => token }, auth = session;
const [sessionId, visitorId, userId, userName] = ["docs-s", "docs-v", "docs-u", "Ada"];
const [courseId, chapterId, link, id] = ["docs-course", "one", "docs-link", "42"];
const [badge, banner] = [document.createElement("p"), document.createElement("p")];
"""
"""Variables that snippets expect on the reader's own page."""

FAST_FORWARD = 31_000
"""Milliseconds to advance the clock after each snippet, so that timers fire: over one beat."""


def bundle_packages(folder: Path) -> None:
    """Bundle the npm packages as modules that a page can import."""
    home = javascript.install()
    own = {"react": "./react/react.js"}  # React is CommonJS: this file names its exports
    entries = [f"{short}={own.get(name, name)}" for name, short in PACKAGES.items()]
    flags = ["--bundle", "--format=esm", "--platform=browser", "--log-level=error"]
    javascript.run(
        *(str(home / "node_modules" / ".bin" / "esbuild"), *entries, *flags),
        *(f"--outdir={folder}", '--define:process.env.NODE_ENV="development"'),
    )


@dataclass
class Tab:
    """A reader's own page, with another origin than the stack."""

    page: Page
    folder: Path
    """What its site serves, including what the page's commands downloaded."""
    origin: str
    stack: str
    token: str
    literals: dict[str, str]
    problems: list[str] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)
    responses: int = 0
    sockets: list[tuple[WebSocket, list[str]]] = field(default_factory=list)
    used_before: int = 0
    """Requests and sockets to the stack before the current snippet."""
    signed_in: bool = True
    """False for elements in markup: their token comes with the next snippet, until then 401."""
    _console: CDPSession | None = None

    def __post_init__(self) -> None:
        self.page.clock.install()
        self.page.on("pageerror", lambda error: self.problems.append(str(error)))
        self.page.on("request", self._on_request)
        self.page.on("response", self._on_response)
        self.page.on("requestfailed", self._on_failure)
        self.page.on("websocket", self._on_socket)

    def _on_request(self, request: Request) -> None:
        if request.url.startswith(self.stack):
            self.requests.append(f"{request.method} {request.url}")

    def _on_response(self, response: Response) -> None:
        if response.url.startswith(self.stack):
            self.responses += 1
            request = response.request
            is_expected = response.status == 401 and not self.signed_in
            if response.status >= 400 and not is_expected:
                self.problems.append(
                    f"{request.method} {response.url} is answered {response.status}"
                )

    def _on_failure(self, request: Request) -> None:
        # Leaving a page aborts its requests.
        if request.url.startswith(self.stack) and request.failure != "net::ERR_ABORTED":
            self.responses += 1
            self.problems.append(f"{request.method} {request.url} fails: {request.failure}")

    def _on_socket(self, socket: WebSocket) -> None:
        frames: list[str] = []
        self.sockets.append((socket, frames))
        socket.on("framereceived", lambda frame: frames.append(str(frame)))
        socket.on("socketerror", lambda error: self._on_refusal(f"{socket.url}: {error}"))

    def _on_refusal(self, problem: str) -> None:
        # Leaving a page closes the sockets that it was about to open.
        if self.signed_in and "closed before the connection is established" not in problem:
            self.problems.append(problem)

    def open(self, body: str = "") -> None:
        """Open the reader's page, with an import map and a body."""
        imports = {name: f"/packages/{short}.js" for name, short in PACKAGES.items()}
        head = f'<script type="importmap">{json.dumps({"imports": imports})}</script>'
        body = self._with_addresses(body)
        document = f"<!doctype html><html><head>{head}</head><body>{body}</body></html>"
        (self.folder / "index.html").write_text(document)
        self.page.goto(f"{self.origin}/index.html")
        self._console = self.page.context.new_cdp_session(self.page)
        self._evaluate(GIVEN % {"token": json.dumps(self.token)})

    def html(self, text: str) -> None:
        """Open it as the page; all its elements must be defined."""
        self.signed_in = "<headcount-" not in text
        self.open(text)
        self._wait_for_effects(text)
        unknown = self.page.evaluate(
            "[...document.querySelectorAll(':not(:defined)')].map((one) => one.localName)"
        )
        self.problems += [f"there is no element <{name}>" for name in unknown]
        self._raise_problems()

    def js(self, text: str) -> None:
        """Run it as in a console, so that variables stay and `await` works."""
        if self._console is None:
            self.open()
        self._evaluate(_for_console(self._with_addresses(text)))
        self._wait_for_effects(text)
        self._raise_problems()

    def css(self, text: str) -> None:
        """Check that the browser accepts every rule and property."""
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
                self.problems.append(f"{name} is no property, or its value is invalid")
        if len(rules) != text.count("{"):
            self.problems.append(f"only {len(rules)} of {text.count('{')} rules are valid")
        self._raise_problems()

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
        """Navigate away, as a user who enters another address."""
        self.page.goto("about:blank")
        self.page.wait_for_timeout(100)
        self._raise_problems()

    def _with_addresses(self, text: str) -> str:
        for literal, address in self.literals.items():
            text = text.replace(literal, address)
        return text

    def _evaluate(self, script: str) -> None:
        assert self._console is not None
        answer: dict[str, Any] = self._console.send(
            "Runtime.evaluate", {"expression": script, "replMode": True, "awaitPromise": True}
        )
        if thrown := answer.get("exceptionDetails"):
            message = thrown.get("exception", {}).get("description") or thrown["text"]
            raise BrokenError(message.splitlines()[0])

    def _wait_for_effects(self, text: str) -> None:
        """Advance the clock until timers have fired, and wait for all responses."""
        self._wait()
        try:
            self.page.clock.fast_forward(FAST_FORWARD)
        except Error as error:  # in a timer
            self.problems.append(error.message.splitlines()[0])
        self._wait()
        used = len(self.requests) + len(self.sockets)
        if used == self.used_before and re.search(r"\bawait |WebSocket\(|<script", text):
            self.problems.append("it sends nothing to the stack")
        self.used_before = used

    def _wait(self) -> None:
        """Wait until every request to the stack has its response."""
        for _ in range(100):
            self.page.wait_for_timeout(100)
            if self.responses >= len(self.requests):
                return
        self.problems.append(f"no response to one of {self.requests}")

    def _raise_problems(self) -> None:
        for socket, frames in self.sockets:
            self.problems += [
                f"{socket.url} receives {frame}" for frame in frames if '"error"' in frame
            ]
        if self.problems:
            raise BrokenError("; ".join(self.problems))


def _for_console(script: str) -> str:
    """A module's text for a console, which allows only dynamic imports."""

    def imported(match: re.Match[str]) -> str:
        names = re.sub(r"\s+as\s+", ": ", match[1])
        return f'const {{{names}}} = await import("{match[2]}");'

    script = re.sub(r'(?m)^\s*import\s*\{([^}]*)\}\s*from\s*"([^"]+)";?', imported, script)
    return re.sub(r"(?m)^export ", "", script)


@contextmanager
def site(folder: Path, packages: Path) -> Iterator[str]:
    """Serve the reader's site until the block ends; yields its address."""
    (folder / "packages").symlink_to(packages)
    with serving_files(folder) as origin:
        yield origin


@contextmanager
def tab(
    browser: Browser, folder: Path, packages: Path, *, stack: str, token: str, literals: Any
) -> Iterator[Tab]:
    """A tab in a separate browser profile, with the reader's page."""
    with site(folder, packages) as origin:
        context = browser.new_context()
        try:
            yield Tab(context.new_page(), folder, origin, stack, token, literals)
        finally:
            context.close()
