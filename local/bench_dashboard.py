"""How fast the dashboard is (`make bench-dashboard`).

The main-thread cost of an update of 1,000 sessions: the bundle runs in Chromium with generated
responses. For comparison, in the same run, a page shows the same 1,000 lines in a plain list. The
result is the ratio of the two. Then the longest task with 5,000 sessions, and the first paint on
the local stack, if one runs.
"""

import argparse
import json
import re
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from playwright.sync_api import (
    Browser,
    CDPSession,
    Error,
    Page,
    Route,
    WebSocketRoute,
    sync_playwright,
)

from local.bundle import BUILT, Bundler
from local.outputs import running_stack
from local.picture import CHROMIUM_ARGS, require_chromium
from local.settings import Settings, UsageError

ORIGIN = "http://headcount.test"
SPACE = "site:main"
MOST_SESSIONS = 5_000  # that the dashboard lists
OPENINGS = 5
LONG_TASK = 50  # ms: PerformanceObserver reports no shorter one
OBSERVE_TASKS = """
globalThis.longTasks = [];
new PerformanceObserver((list) => longTasks.push(...list.getEntries())).observe({
  type: 'longtask', buffered: true,
});
"""
TAKE_TASKS = "Math.max(0, ...longTasks.splice(0).map(({ duration }) => duration))"
FIRST_PAINT = """
new Promise((found) => new PerformanceObserver((list) => {
  const paint = list.getEntriesByName('first-contentful-paint')[0];
  if (paint) found(paint.startTime);
}).observe({ type: 'paint', buffered: true }))
"""
POLL_EVERY = 100  # ms: more frequent polling would distort the measurement
ALLOWED = {"read": ["*"], "people": ["*"]}
TYPES = {
    ".html": "text/html",
    ".js": "text/javascript",
    ".css": "text/css",
    ".svg": "image/svg+xml",
}
PLAIN = """
(count) => {
  const list = document.body.appendChild(document.createElement('ul'));
  for (let i = 0; i < count; i += 1) list.append(document.createElement('li'));
  const isText = (value) => typeof value === 'string';
  const words = (viewer) => Object.values(viewer).filter(isText).join(' · ');
  globalThis.update = (viewers) => {
    viewers.forEach((viewer, i) => { list.children[i].textContent = words(viewer); });
    return document.body.offsetHeight;
  };
  globalThis.read = async () => {
    const viewers = [];
    for (let cursor = '0'; cursor;) {
      const path = `/v1/spaces/site%3Amain/viewers?limit=100&cursor=${cursor}`;
      const body = await (await fetch(path)).json();
      viewers.push(...body.viewers);
      ({ cursor } = body);
    }
    return update(viewers);
  };
}
"""


@dataclass
class Backend:
    """Generated responses to the dashboard's requests; an update changes every session."""

    sessions: int
    update: int = 0
    socket: WebSocketRoute | None = None

    def headcount(self) -> dict[str, Any]:
        people = self.sessions - self.update % 7
        pages = [
            {"value": f"/page/{n}", "count": 10 + (n + self.update) % 9, "people": 10}
            for n in range(100)
        ]
        return {
            "success": True,
            "space": SPACE,
            "people": people,
            "signedIn": people // 3,
            "anonymous": people - people // 3,
            "sessions": self.sessions,
            "signedInSessions": self.sessions // 3,
            "anonymousSessions": self.sessions - self.sessions // 3,
            "facets": {"page": pages},
            "peak": {"people": self.sessions, "at": at(60)},
            "avgSeconds": 100,
            "quality": {},
            "engagement": {},
            "views": {"total": 1, "today": 1, "week": 1, "month": 1},
            "version": self.update + 1,
            "asOf": at(0),
        }

    def viewers(self, query: dict[str, list[str]]) -> dict[str, Any]:
        first = int(query.get("cursor", ["0"])[0])
        last = min(first + int(query["limit"][0]), self.sessions)
        return {
            "success": True,
            "viewers": [self.viewer(number) for number in range(first, last)],
            "cursor": str(last) if last < self.sessions else None,
        }

    def viewer(self, number: int) -> dict[str, Any]:
        return {
            "sessionId": f"session-{number:05}",
            "visitorId": f"visitor-{number}",
            "userId": f"user-{number}" if number % 3 == 0 else None,
            "verified": False,
            "name": f"Person {number}" if number % 3 == 0 else None,
            "avatar": None,
            "page": f"/page/{(number + self.update) % 100}",
            "facets": {"device": ("desktop", "mobile")[number % 2], "country": "DE"},
            "quality": {"latency": 4000 + (number + self.update) % 900},
            "engagement": {},
            "details": {"currentPosition": (number * 7 + self.update) % 3600, "duration": 3600},
            "state": "active",
            "joinedAt": at(number + 1),
            "lastSeen": at(number % 30),
        }

    def answer(self, route: Route) -> None:
        url = urlsplit(route.request.url)
        path, query = unquote(url.path), parse_qs(url.query)
        bodies: dict[str, Callable[[], dict[str, Any]]] = {
            "/dashboard/config.json": lambda: {"socketUrl": "ws://headcount.test/ws"},
            "/v1/token": lambda: {"success": True, "admin": True, "allows": ALLOWED},
            "/v1/spaces": lambda: {"success": True, "spaces": []},
            f"/v1/spaces/{SPACE}": self.headcount,
            f"/v1/spaces/{SPACE}/viewers": lambda: self.viewers(query),
            f"/v1/spaces/{SPACE}/timeline": lambda: {"success": True, "points": []},
            f"/v1/spaces/{SPACE}/days": lambda: {"success": True, "days": []},
        }
        if path in bodies:
            route.fulfill(json=bodies[path]())
        elif path == "/plain":
            route.fulfill(body="<!doctype html><body></body>", content_type="text/html")
        else:
            name = path.removeprefix("/dashboard").strip("/") or "index.html"
            content = BUILT / name
            route.fulfill(body=content.read_bytes(), content_type=TYPES[content.suffix])

    def listen(self, socket: WebSocketRoute) -> None:
        self.socket = socket
        socket.on_message(lambda _: self.push())

    def push(self) -> None:
        """Send the current version over the socket."""
        assert self.socket is not None
        data = self.headcount()
        frame = {"type": "headcount", "space": SPACE, "version": data["version"]}
        self.socket.send(json.dumps({**frame, "asOf": data["asOf"], "data": data}))


def at(seconds: float) -> str:
    return (datetime.now(UTC) - timedelta(seconds=seconds)).isoformat()


def busy(session: CDPSession) -> float:
    """The CPU time that the page's main thread has used, in milliseconds."""
    metrics = {
        one["name"]: one["value"] for one in session.send("Performance.getMetrics")["metrics"]
    }
    return float(metrics["TaskDuration"]) * 1000


def measured(page: Page, updates: int, update: Callable[[], None]) -> float:
    """The main thread's CPU time for an update, in milliseconds, with the page's own timers."""
    session = page.context.new_cdp_session(page)
    session.send("Performance.enable", {"timeDomain": "threadTicks"})
    update()  # the first update makes the rows
    before = busy(session)
    for _ in range(updates):
        update()
    return (busy(session) - before) / updates


def plain(page: Page, backend: Backend, updates: int) -> tuple[float, float]:
    """The cost of setting every line's text, and the same after reading all sessions."""
    page.route(f"{ORIGIN}/**", backend.answer)
    page.goto(f"{ORIGIN}/plain")
    page.evaluate(PLAIN, backend.sessions)

    def update() -> None:
        backend.update += 1
        viewers = [backend.viewer(number) for number in range(backend.sessions)]
        page.evaluate("text => update(JSON.parse(text))", json.dumps(viewers))

    def read() -> None:
        backend.update += 1
        page.evaluate("read()")

    return measured(page, updates, update), measured(page, updates, read)


@dataclass
class Tasks:
    """The main thread's longest tasks, in ms."""

    longest: float = 0
    """By the clock, from ``LONG_TASK`` on, as a page's PerformanceObserver reports it; 0: none. On
    a busy machine a task waits for the processor, too."""
    cpu: float = 0
    """By the thread's CPU time, as the browser traces it."""

    def __str__(self) -> str:
        longest = f"{self.longest:.0f} ms" if self.longest else f"none over {LONG_TASK} ms"
        return f"{longest:>16}, {self.cpu:.0f} ms of CPU at most"


@contextmanager
def tasks_of(page: Page) -> Iterator[Tasks]:
    """The tasks of what is done meanwhile, filled in at the end."""
    browser = page.context.browser
    assert browser is not None
    browser.start_tracing(page=page, categories=["toplevel"])
    tasks = Tasks()
    yield tasks
    tasks.longest = float(page.evaluate(TAKE_TASKS))
    events = json.loads(browser.stop_tracing())["traceEvents"]
    main = {
        (one["pid"], one["tid"])
        for one in events
        if one["name"] == "thread_name" and one["args"]["name"] == "CrRendererMain"
    }
    tasks.cpu = max(
        one.get("tdur", 0) / 1000
        for one in events
        if one["name"].endswith("RunTask") and (one["pid"], one["tid"]) in main
    )


@dataclass(frozen=True)
class Cost:
    """Of the dashboard: the main thread's CPU time per update, in ms, and the longest tasks."""

    push: float
    """A version from the socket."""
    read: float
    """All sessions read again."""
    opening: Tasks
    """Until the first page of sessions is shown."""
    updating: Tasks
    """From then on."""


def dashboard(page: Page, backend: Backend, updates: int) -> Cost:
    page.add_init_script(OBSERVE_TASKS)
    page.route(f"{ORIGIN}/**", backend.answer)
    page.route_web_socket("ws://headcount.test/**", backend.listen)
    with tasks_of(page) as opening:
        page.goto(f"{ORIGIN}/dashboard#token=bench&space={SPACE}&tab=people")
        page.get_by_test_id("viewer").first.wait_for()
    with tasks_of(page) as updating:
        while page.locator("#more").is_visible():
            page.locator("#more").dispatch_event("click")
            page.wait_for_timeout(300)
        loaded = page.locator("#viewers-count").filter(has_text=f"of {backend.sessions:,}")
        loaded.wait_for()
        costs = update(page, backend, updates)
    return Cost(*costs, opening=opening, updating=updating)


def update(page: Page, backend: Backend, updates: int) -> tuple[float, float]:
    """The cost of a version from the socket, and of reading all sessions again."""

    def push() -> None:
        backend.update += 1
        backend.push()
        people = f"{backend.headcount()['people']:,}"
        page.wait_for_function(
            "text => document.getElementById('people').textContent === text",
            arg=people,
            polling=POLL_EVERY,
        )

    def read() -> None:
        backend.update += 1
        page.evaluate("document.getElementById('refresh').click()")
        first = f"{4000 + backend.update % 900:,}"
        page.wait_for_function(
            "text => document.querySelector('#viewers .quality').textContent.startsWith(text)",
            arg=first,
            polling=POLL_EVERY,
        )

    return measured(page, updates, push), measured(page, updates, read)


def first_paint(browser: Browser, url: str) -> tuple[float, float]:
    """When a browser that has nothing of the dashboard shows the first of it, and its numbers: in
    ms since the navigation began, the medians of some openings."""
    paints, numbers = [], []
    for _ in range(OPENINGS):
        page = browser.new_page()
        page.goto(url)
        page.locator("#all-people").filter(has_text=re.compile(r"\d")).wait_for()
        numbers.append(float(page.evaluate("performance.now()")))
        paints.append(float(page.evaluate(FIRST_PAINT)))
        page.close()
    return statistics.median(paints), statistics.median(numbers)


def main() -> int:
    parser = argparse.ArgumentParser(prog="make bench-dashboard", description=__doc__)
    parser.add_argument("--sessions", type=int, default=1_000)
    parser.add_argument("--most", type=int, default=MOST_SESSIONS, help="for the longest task")
    parser.add_argument("--updates", type=int, default=10)
    args = parser.parse_args()
    try:
        Bundler().bundle()
        with sync_playwright() as playwright:
            browser = playwright.chromium.launch(
                executable_path=require_chromium(), args=CHROMIUM_ARGS
            )
            started = time.monotonic()
            text, text_read = plain(browser.new_page(), Backend(args.sessions), args.updates)
            cost = dashboard(browser.new_page(), Backend(args.sessions), args.updates)
            most = dashboard(browser.new_page(), Backend(args.most), args.updates)
            painted = paint_text(browser)
            browser.close()
    except (UsageError, Error) as error:
        print(error, file=sys.stderr)
        return 1
    print(f"{args.sessions:,} sessions, {args.updates} updates each, main-thread CPU per update")
    for what, ms, baseline in (
        ("plain list, every line's text set", text, text),
        ("dashboard, a version from the socket", cost.push, text),
        ("plain list, all sessions read again", text_read, text_read),
        ("dashboard, all sessions read again", cost.read, text_read),
    ):
        print(f"  {what:<38}{ms:7.1f} ms   {ms / baseline:5.2f} x plain")
    print(f"{args.most:,} sessions, longest task of the main thread (target: {LONG_TASK} ms)")
    print(f"  {'opening the page':<33}{most.opening}")
    print(f"  {'loading and updating the sessions':<33}{most.updating}")
    print(painted)
    print(f"  ({time.monotonic() - started:.0f} s)")
    return 0


def paint_text(browser: Browser) -> str:
    try:
        _, outputs = running_stack(Settings.from_environment())
    except UsageError as error:
        return f"First paint: not measured. {error}"
    paint, numbers = first_paint(browser, outputs["dashboardUrl"])
    return (
        f"First paint on the local stack (target: under 1,000 ms): {paint:.0f} ms, "
        f"with numbers {numbers:.0f} ms"
    )


if __name__ == "__main__":
    sys.exit(main())
